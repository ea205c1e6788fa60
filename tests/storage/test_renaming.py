"""Datasets that move: with ``rename_dataset``, and with the tools of the system."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import minari
from minari._catalog import layout as publishing
from minari.dataset._storages.file_lock import folder_lock
from minari.errors import (
    DatasetBusyError,
    DatasetExistsError,
    DatasetIdError,
    DatasetNotFoundError,
    StorageError,
)
from minari.storage import local
from support.killing import killed


def record(dataset_id: str, *, rewards: float = 1.0, root: Path | None = None) -> minari.MinariDataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return minari.create_dataset_from_arrays(
            dataset_id,
            observations=np.zeros(3),
            actions=np.zeros(2),
            rewards=np.full(2, rewards),
            terminations=np.array([False, True]),
            root=root,
        )


def stored_id(directory: Path) -> str:
    return str(json.loads((directory / "data" / "metadata.json").read_text())["dataset_id"])


class TestRename:
    def test_it_is_found_under_the_new_id_alone(self, datasets_root: Path) -> None:
        record("a/x-v0", rewards=3.0)
        minari.rename_dataset("a/x-v0", "b/c/y-v2")
        renamed = minari.load_dataset("b/c/y-v2")
        assert renamed.id == renamed.spec.dataset_id == renamed.storage.metadata["dataset_id"] == "b/c/y-v2"
        assert renamed[0].rewards.tolist() == [3.0, 3.0]
        assert list(minari.list_local_datasets()) == ["b/c/y-v2"]
        assert stored_id(datasets_root / "b/c/y-v2") == "b/c/y-v2"
        assert minari.namespace.list_local_namespaces() == ["a", "b", "b/c"]
        assert not minari.validate("b/c/y-v2", checksums=True).findings
        renamed.update_dataset_from_buffer([])

    def test_in_another_root(self, tmp_path: Path) -> None:
        record("x-v0", root=tmp_path / "own")
        minari.rename_dataset("x-v0", "x-v1", root=tmp_path / "own")
        assert list(minari.list_local_datasets(root=tmp_path / "own")) == ["x-v1"]
        assert minari.list_local_datasets() == {}

    def test_datasets_that_name_it_follow(self, datasets_root: Path) -> None:
        parts = [record("x-v0"), record("y-v0")]
        minari.combine_datasets(parts, "both-v0")
        minari.rename_dataset("x-v0", "n/x-v0")
        assert minari.load_dataset("both-v0").combined_datasets == ["n/x-v0", "y-v0"]

    def test_one_that_is_damaged(self, datasets_root: Path) -> None:
        record("x-v0")
        (datasets_root / "x-v0/data/metadata.json").write_text("{")
        minari.rename_dataset("x-v0", "y-v0")
        assert sorted(path.name for path in datasets_root.iterdir()) == ["y-v0"]

    @pytest.mark.parametrize(
        ("new_id", "error", "words"),
        [
            ("taken-v0", DatasetExistsError, "already exists"),
            ("name", DatasetIdError, "has no version"),
            ("../y-v0", DatasetIdError, "Malformed dataset ID"),
            ("x-v0", DatasetExistsError, "already exists"),
            ("x-v0/y-v0", DatasetExistsError, "inside the dataset"),
            ("taken-v0/deeper/y-v0", DatasetExistsError, "inside the dataset"),
        ],
    )
    def test_new_ids_that_are_refused(
        self, datasets_root: Path, new_id: str, error: type[Exception], words: str
    ) -> None:
        record("x-v0")
        record("taken-v0")
        before = sorted(datasets_root.rglob("*"))
        with pytest.raises(error, match=words):
            minari.rename_dataset("x-v0", new_id)
        assert sorted(datasets_root.rglob("*")) == before

    def test_a_missing_one_with_what_may_have_been_meant(self) -> None:
        record("door/human-v0")
        with pytest.raises(DatasetNotFoundError, match=r"cannot be renamed\. Did you mean 'door/human-v0'\?"):
            minari.rename_dataset("door/humann-v0", "y-v0")
        with pytest.raises(DatasetNotFoundError) as caught:
            minari.rename_dataset("quite/another-v7", "y-v0")
        assert "Did you mean" not in str(caught.value)

    def test_one_that_is_being_written(self, datasets_root: Path) -> None:
        record("x-v0")
        with folder_lock(datasets_root / "x-v0/data"), pytest.raises(DatasetBusyError, match="in use"):
            minari.rename_dataset("x-v0", "y-v0", lock_timeout=0)
        assert list(minari.list_local_datasets()) == ["x-v0"]

    def test_what_the_system_refuses_changes_nothing(
        self, datasets_root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        record("x-v0")

        def refuse(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(local, "publish_directory", refuse)
        with pytest.raises(StorageError, match="x-v0 cannot be renamed"):
            minari.rename_dataset("x-v0", "y-v0")
        assert stored_id(datasets_root / "x-v0") == "x-v0"

    def test_metadata_that_cannot_be_written_do_not_undo_it(
        self, datasets_root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        record("x-v0")

        def refuse(*_: object) -> None:
            raise StorageError("no room")

        monkeypatch.setattr(local, "_update_ids", refuse)
        minari.rename_dataset("x-v0", "y-v0")
        renamed = minari.load_dataset("y-v0")
        assert stored_id(datasets_root / "y-v0") == "x-v0"
        assert renamed.id == renamed.storage.metadata["dataset_id"] == "y-v0"

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="the child processes are forks")
    def test_killed_at_any_moment_it_is_there_once(self, datasets_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(publishing, "flush_tree", lambda directory: None)
        for at in itertools.count(1):
            record("a/x-v0")
            was_killed = killed(at, lambda: minari.rename_dataset("a/x-v0", "b/y-v0"))
            (found,) = minari.list_local_datasets().items()
            assert found[1]["dataset_id"] == found[0]
            assert minari.load_dataset(found[0]).id == found[0]
            minari.delete_dataset(found[0])
            if not was_killed:
                assert found[0] == "b/y-v0"
                break


class TestMoved:
    """With the tools of the system."""

    @pytest.fixture
    def moved(self, datasets_root: Path) -> Path:
        record("a/x-v0", rewards=1.0)
        shutil.copytree(datasets_root / "a/x-v0", datasets_root / "b/copy-v3")
        return datasets_root

    def test_the_id_is_the_place(self, moved: Path) -> None:
        dataset = minari.load_dataset("b/copy-v3")
        assert dataset.storage.metadata["dataset_id"] == dataset[0:1].id == "b/copy-v3"
        minari.delete_dataset(dataset.id)
        assert list(minari.list_local_datasets()) == ["a/x-v0"]

    def test_through_a_link_to_the_root(self, moved: Path, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to(moved)
        assert minari.open_dataset(tmp_path / "link/b/copy-v3").id == "b/copy-v3"

    def test_outside_of_the_root_the_stored_id_counts(self, moved: Path, tmp_path: Path) -> None:
        other = shutil.copytree(moved / "a/x-v0", tmp_path / "elsewhere-v9")
        assert minari.open_dataset(other).id == "a/x-v0"

    def test_combined(self, moved: Path) -> None:
        both = minari.combine_datasets([minari.load_dataset(name) for name in ("a/x-v0", "b/copy-v3")], "both-v0")
        assert both.combined_datasets == ["a/x-v0", "b/copy-v3"]

    def test_uploaded_and_downloaded(self, moved: Path, share: Path) -> None:
        minari.upload_dataset("b/copy-v3")
        assert stored_id(share / "b/copy-v3") == "b/copy-v3"
        assert {name: raw["dataset_id"] for name, raw in minari.list_remote_datasets().items()} == {
            "b/copy-v3": "b/copy-v3"
        }
        minari.delete_dataset("b/copy-v3")
        minari.download_dataset("b/copy-v3")
        assert minari.load_dataset("b/copy-v3").id == "b/copy-v3"

    @pytest.mark.parametrize("move", [shutil.move, shutil.copytree])
    def test_on_a_remote(self, datasets_root: Path, share: Path, move: Callable[[Path, Path], object]) -> None:
        record("a/x-v0", rewards=5.0)
        minari.upload_dataset("a/x-v0")
        (share / "b").mkdir()
        move(share / "a/x-v0", share / "b/y-v1")
        assert minari.list_remote_datasets()["b/y-v1"]["dataset_id"] == "b/y-v1"
        minari.download_dataset("b/y-v1")
        dataset = minari.load_dataset("b/y-v1")
        assert dataset.id == "b/y-v1"
        assert dataset[0].rewards.tolist() == [5.0, 5.0]
