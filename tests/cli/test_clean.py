"""``minari clean``: shows what killed programs have left, asks, and completes or removes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.conftest import Minari
from support.remotes import write_dataset


@pytest.fixture
def leftovers(datasets_root: Path) -> list[Path]:
    data = write_dataset(datasets_root, "toy/a-v0") / "data"
    left = [datasets_root / ".b-v0.abcdefgh.deleted", data / ".staged", datasets_root / ".c-v0.download"]
    for directory in left:
        (directory / "inner").mkdir(parents=True)
        (directory / "inner" / "file").write_bytes(bytes(10**6))
    return left


class TestClean:
    def test_it_shows_and_asks(self, run: Minari, leftovers: list[Path]) -> None:
        done = run("clean", answer="n\n")
        assert done.code == 1
        for path in leftovers:
            assert any(line.startswith(f"{path} (1.0 MB): ") for line in done.lines)
            assert path.is_dir()
        done = run("clean", answer="y\n")
        assert done.code == 0
        assert done.lines[-1].endswith("Cleaned 3 of 3, 3.0 MB.")
        assert not any(path.exists() for path in leftovers)

    @pytest.mark.parametrize("option", ["--dry-run", "-n"])
    def test_it_only_shows(self, run: Minari, leftovers: list[Path], option: str) -> None:
        done = run("clean", option)
        assert (done.code, len(done.lines)) == (0, 3)
        assert all(path.is_dir() for path in leftovers)

    def test_some_of_them(self, run: Minari, leftovers: list[Path]) -> None:
        assert run("clean", "--yes", "toy/a-v0", "c-v0").code == 0
        assert [path.is_dir() for path in leftovers] == [True, False, False]

    def test_another_root(self, run: Minari, leftovers: list[Path], datasets_root: Path, tmp_path: Path) -> None:
        done = run("clean", "--root", str(datasets_root), "-y", MINARI_DATASETS_PATH=str(tmp_path / "other"))
        assert done.code == 0
        assert not any(path.exists() for path in leftovers)

    def test_nothing(self, run: Minari, datasets_root: Path) -> None:
        done = run("clean")
        assert (done.code, done.lines) == (0, [f"Nothing is left of killed programs in {datasets_root}."])

    def test_an_id_of_nothing(self, run: Minari) -> None:
        done = run("clean", "x-v0", "-y")
        assert done.code == 1
        assert "There is no dataset at" in done.complaints[0]
