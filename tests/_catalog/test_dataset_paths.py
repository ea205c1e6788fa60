"""Paths of datasets: variables are read at each call, and no id leaves the root."""

from __future__ import annotations

from pathlib import Path

import pytest

from minari._base.settings import get_datasets_root, get_default_remote
from minari.errors import DatasetIdError
from minari.storage import get_dataset_path


def test_the_variable_is_read_at_each_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / name))
        assert get_datasets_root() == tmp_path / name
        assert get_dataset_path("a-v0") == tmp_path / name / "a-v0"


@pytest.mark.parametrize("value", [None, ""])
def test_the_default_root_is_in_the_home(value: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    if value is None:
        monkeypatch.delenv("MINARI_DATASETS_PATH")
    else:
        monkeypatch.setenv("MINARI_DATASETS_PATH", value)
    assert get_datasets_root() == tmp_path / ".minari" / "datasets"
    monkeypatch.setenv("MINARI_DATASETS_PATH", "~/elsewhere")
    assert get_datasets_root() == tmp_path / "elsewhere"


def test_an_argument_goes_before_the_variable_and_only_the_root_is_created(tmp_path: Path) -> None:
    root = tmp_path / "deep" / "root"
    assert get_datasets_root(str(root)) == root
    assert get_datasets_root("~/x") == Path.home() / "x"
    assert not root.exists()
    assert get_dataset_path(root=root) == root
    assert get_dataset_path("ns/a-v0", root=root) == root / "ns" / "a-v0"
    assert get_dataset_path("ns/deeper", root=root) == root / "ns" / "deeper"
    assert list(root.iterdir()) == []


@pytest.mark.parametrize("dataset_id", ["", ".", "..", "../x-v0", "/etc", "a/../../x", "a//b", "a\\..\\b", ".a"])
def test_nothing_leads_out_of_the_root(dataset_id: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetIdError):
        get_dataset_path(dataset_id, root=tmp_path / "root")
    assert not (tmp_path / "root").exists()


def test_the_default_remote(monkeypatch: pytest.MonkeyPatch) -> None:
    assert get_default_remote() == "hf://farama-minari"
    monkeypatch.setenv("MINARI_REMOTE", "gcp://bucket")
    assert get_default_remote() == "gcp://bucket"
