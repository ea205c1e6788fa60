"""The remote that the documentation builds passes the suite that it names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from minari.storage.remotes import CloudStorage, get_cloud_storage, register_remote, registry, split_address
from minari.testing import RemoteConformance


PAGE = Path(__file__).parents[3] / "docs" / "remotes.md"


class TestSQLite(RemoteConformance):
    @pytest.fixture(autouse=True)
    def package(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The class, in a module that can be imported, under its scheme."""
        blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
        (source,) = [block for block in blocks if "class SQLiteStorage" in block]
        directory = tmp_path / "package"
        directory.mkdir()
        name = f"minari_sqlite_{tmp_path.name.replace('-', '_')}"
        (directory / f"{name}.py").write_text(source, encoding="utf-8")
        monkeypatch.syspath_prepend(directory)
        monkeypatch.setattr(registry, "_remotes", dict(registry._remotes))
        register_remote("sqlite", f"{name}:SQLiteStorage", "minari-sqlite")

    @pytest.fixture
    def address(self, tmp_path: Path, package: None) -> str:
        return f"sqlite://{tmp_path}/datasets.db"

    @pytest.fixture
    def remote(self, address: str) -> CloudStorage:
        return get_cloud_storage(address)

    def test_the_address_of_a_dataset(self, address: str) -> None:
        assert split_address(f"{address}/toy/a-v0") == (address, "toy/a-v0")
