"""Datasets that move: with ``rename_dataset``, and with the tools of the system."""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import minari
from minari import delete_dataset, list_local_datasets, load_dataset, rename_dataset
from minari._catalog import layout
from minari.dataset._storages.file_lock import folder_lock
from minari.dataset.minari_storage import MinariStorage
from minari.errors import DatasetBusyError, DatasetExistsError, DatasetIdError, DatasetNotFoundError, StorageError
from minari.storage import local
from support.killing import killed


Record = Callable[..., minari.MinariDataset]


def stored_id(directory: Path) -> str:
    return str(json.loads((directory / "data" / "metadata.json").read_text())["dataset_id"])


def test_renamed_dataset_is_found_under_the_new_id_alone(datasets_root: Path, record: Record) -> None:
    record("a/x-v0", 3)
    rename_dataset("a/x-v0", "b/c/y-v2")
    renamed = load_dataset("b/c/y-v2")
    assert renamed.id == renamed.spec.dataset_id == renamed.storage.metadata["dataset_id"] == "b/c/y-v2"
    assert [episode.rewards.tolist() for episode in renamed] == [[0, 0], [1, 1], [2, 2]]
    assert list(list_local_datasets()) == ["b/c/y-v2"]
    assert stored_id(datasets_root / "b/c/y-v2") == "b/c/y-v2"
    assert minari.namespace.list_local_namespaces() == ["a", "b", "b/c"]
    assert not minari.validate("b/c/y-v2", checksums=True).findings
    renamed.update_dataset_from_buffer([])


def test_dataset_of_another_root_is_renamed_there(record: Record, tmp_path: Path) -> None:
    record("x-v0", root=tmp_path / "own")
    rename_dataset("x-v0", "x-v1", root=tmp_path / "own")
    assert list(list_local_datasets(root=tmp_path / "own")) == ["x-v1"]
    assert list_local_datasets() == {}


def test_combined_datasets_follow(record: Record) -> None:
    minari.combine_datasets([record("x-v0"), record("y-v0")], "both-v0")
    rename_dataset("x-v0", "n/x-v0")
    assert load_dataset("both-v0").combined_datasets == ["n/x-v0", "y-v0"]


def test_damaged_dataset_is_renamed(datasets_root: Path, record: Record) -> None:
    record("x-v0")
    (datasets_root / "x-v0/data/metadata.json").write_text("{")
    rename_dataset("x-v0", "y-v0")
    assert sorted(path.name for path in datasets_root.iterdir()) == ["y-v0"]


@pytest.mark.parametrize(
    ("old_id", "new_id", "error", "words"),
    [
        ("x-v0", "taken-v0", DatasetExistsError, "already exists"),
        ("x-v0", "name", DatasetIdError, "has no version"),
        ("x-v0", "../y-v0", DatasetIdError, "Malformed dataset ID"),
        ("x-v0", "x-v0", DatasetExistsError, "already exists"),
        ("x-v0", "x-v0/y-v0", DatasetExistsError, "inside the dataset"),
        ("x-v0", "taken-v0/deeper/y-v0", DatasetExistsError, "inside the dataset"),
        ("taaken-v0", "y-v0", DatasetNotFoundError, r"cannot be renamed\. Did you mean 'taken-v0'\?"),
        ("quite/another-v7", "y-v0", DatasetNotFoundError, r"cannot be renamed\.$"),
    ],
)
def test_impossible_ids_are_refused(
    datasets_root: Path, record: Record, old_id: str, new_id: str, error: type[Exception], words: str
) -> None:
    record("x-v0")
    record("taken-v0")
    before = sorted(datasets_root.rglob("*"))
    with pytest.raises(error, match=words):
        rename_dataset(old_id, new_id)
    assert sorted(datasets_root.rglob("*")) == before


def test_failed_rename_changes_nothing(datasets_root: Path, record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    record("x-v0")
    with folder_lock(datasets_root / "x-v0/data"), pytest.raises(DatasetBusyError, match="in use"):
        rename_dataset("x-v0", "y-v0", lock_timeout=0)
    monkeypatch.setattr(local, "publish_directory", refuse)
    with pytest.raises(StorageError, match="x-v0 cannot be renamed"):
        rename_dataset("x-v0", "y-v0")
    assert list(list_local_datasets()) == ["x-v0"]
    assert stored_id(datasets_root / "x-v0") == "x-v0"


def test_metadata_that_cannot_be_written_does_not_undo_it(
    datasets_root: Path, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise StorageError("no room")

    record("x-v0")
    monkeypatch.setattr(MinariStorage, "writing", refuse)
    rename_dataset("x-v0", "y-v0")
    renamed = load_dataset("y-v0")
    assert stored_id(datasets_root / "y-v0") == "x-v0"
    assert renamed.id == renamed.storage.metadata["dataset_id"] == "y-v0"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the child processes are forks")
def test_killed_rename_leaves_the_dataset_once(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "flush_tree", lambda directory: None)
    for at in itertools.count(1):
        record("a/x-v0")
        was_killed = killed(at, lambda: rename_dataset("a/x-v0", "b/y-v0"))
        ((dataset_id, metadata),) = list_local_datasets().items()
        assert metadata["dataset_id"] == load_dataset(dataset_id).id == dataset_id
        delete_dataset(dataset_id)
        if not was_killed:
            assert dataset_id == "b/y-v0"
            break


# Moved with the tools of the system


def test_id_is_the_place_in_the_root(datasets_root: Path, record: Record, share: Path, tmp_path: Path) -> None:
    record("a/x-v0")
    shutil.copytree(datasets_root / "a/x-v0", datasets_root / "b/copy-v3")
    dataset = load_dataset("b/copy-v3")
    assert dataset.storage.metadata["dataset_id"] == dataset[0:1].id == "b/copy-v3"
    (tmp_path / "link").symlink_to(datasets_root)
    assert minari.open_dataset(tmp_path / "link/b/copy-v3").id == "b/copy-v3"
    outside = shutil.copytree(datasets_root / "b/copy-v3", tmp_path / "elsewhere-v9")
    assert minari.open_dataset(outside).id == "a/x-v0", "outside of a root the stored id counts"
    both = minari.combine_datasets([load_dataset(name) for name in ("a/x-v0", "b/copy-v3")], "both-v0")
    assert both.combined_datasets == ["a/x-v0", "b/copy-v3"]
    minari.upload_dataset("b/copy-v3")
    assert stored_id(share / "b/copy-v3") == "b/copy-v3"
    assert {name: raw["dataset_id"] for name, raw in minari.list_remote_datasets().items()} == {
        "b/copy-v3": "b/copy-v3"
    }
    delete_dataset("b/copy-v3")
    assert list(list_local_datasets()) == ["both-v0", "a/x-v0"]
    minari.download_dataset("b/copy-v3")
    assert load_dataset("b/copy-v3").id == "b/copy-v3"


@pytest.mark.parametrize("move", [shutil.move, shutil.copytree])
def test_id_is_the_place_on_a_remote(record: Record, share: Path, move: Callable[[Path, Path], object]) -> None:
    record("a/x-v0", 2)
    minari.upload_dataset("a/x-v0")
    (share / "b").mkdir()
    move(share / "a/x-v0", share / "b/y-v1")
    assert minari.list_remote_datasets()["b/y-v1"]["dataset_id"] == "b/y-v1"
    minari.download_dataset("b/y-v1")
    dataset = load_dataset("b/y-v1")
    assert dataset.id == "b/y-v1"
    assert dataset[1].rewards.tolist() == [1, 1]
