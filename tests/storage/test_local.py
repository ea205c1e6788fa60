"""The local catalog: list, load, open and delete."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minari
from minari.errors import DataPathError, DatasetCorruptError, DatasetIdError, DatasetNotFoundError, DatasetVersionError
from minari.storage import hosting
from minari.storage.local import (
    dataset_id_sort_key,
    delete_dataset,
    list_local_datasets,
    list_non_hidden_dirs,
    load_dataset,
    open_dataset,
)
from support.remotes import NAMESPACE_FILE, tree, write_dataset, write_namespace


MALFORMED = ["", "x", "../x-v0", "/x-v0", "x-v0/", "a//x-v0", ".x-v0", "a/../x-v0", "x-v0\n", "x-v01", None, 3]


def record(dataset_id: str, *, root: Path | None = None, episodes: int = 2) -> minari.MinariDataset:
    """A dataset whose episode number i has the rewards i, i."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return minari.create_dataset_from_arrays(
            dataset_id,
            observations=np.zeros(3 * episodes),
            actions=np.zeros(2 * episodes),
            rewards=np.repeat(np.arange(float(episodes)), 2),
            terminations=np.tile([False, True], episodes),
            root=root,
        )


class TestList:
    def test_nothing(self, datasets_root: Path, tmp_path: Path) -> None:
        assert list_local_datasets() == {}
        assert list_local_datasets(root=tmp_path / "absent") == {}
        assert not (tmp_path / "absent").exists()

    def test_metadata_as_they_are_stored(self, datasets_root: Path) -> None:
        directory = write_dataset(datasets_root, "a/x-v0", author=["Ann"], mine={"deep": [1, None]})
        stored = json.loads((directory / "data/metadata.json").read_text())
        assert list_local_datasets() == {"a/x-v0": {**stored, "dataset_size": 0.0}}  # measured, as none is stored

    def test_sorted_by_namespace_name_and_number(self, datasets_root: Path) -> None:
        ids = ["b-v2", "b-v10", "c-v0", "B/a-v0", "a/x-v0", "a/b/a-v0", "aa/a-v1"]
        for dataset_id in reversed(ids):
            write_dataset(datasets_root, dataset_id)
        expected = ["b-v2", "b-v10", "c-v0", "B/a-v0", "a/x-v0", "a/b/a-v0", "aa/a-v1"]
        assert list(list_local_datasets()) == expected == sorted(ids, key=dataset_id_sort_key)

    def test_a_prefix_is_whole_parts_of_an_id(self, datasets_root: Path) -> None:
        for dataset_id in ("a/x-v1", "a/x-v10", "a/b/x-v0", "ab/x-v0", "x-v0"):
            write_dataset(datasets_root, dataset_id)
        for prefix in ("a", "a/"):
            assert list(list_local_datasets(prefix=prefix)) == ["a/x-v1", "a/x-v10", "a/b/x-v0"]
        assert list(list_local_datasets(prefix="a/x-v1")) == ["a/x-v1"]
        assert list(list_local_datasets(prefix="a/b")) == ["a/b/x-v0"]
        assert len(list_local_datasets(prefix="")) == 5
        for prefix in ("nothing", "a/x", "a/x-v", "/"):
            assert list_local_datasets(prefix=prefix) == {}

    def test_the_latest_version(self, datasets_root: Path) -> None:
        for dataset_id in ("x-v9", "x-v10", "a/x-v3", "a/x-y-v0", "b/x-v1"):
            write_dataset(datasets_root, dataset_id)
        assert list(list_local_datasets(latest_version=True)) == ["x-v10", "a/x-v3", "a/x-y-v0", "b/x-v1"]

    def test_the_compatible_ones(self, datasets_root: Path) -> None:
        versions = {0: "~=0.4", 1: "0.5.4", 2: "0.5.99", 3: "1.0.0", 4: "nonsense"}
        for number, version in versions.items():
            write_dataset(datasets_root, f"x-v{number}", version=version)
        assert len(list_local_datasets()) == 5
        assert list(list_local_datasets(compatible_minari_version=True)) == ["x-v0", "x-v1"]
        assert list(list_local_datasets(True, True)) == ["x-v1"]

    def test_a_damaged_dataset_is_left_out_with_a_warning(self, datasets_root: Path) -> None:
        for number in range(4):
            write_dataset(datasets_root, f"x-v{number}")
        (datasets_root / "x-v0/data/metadata.json").write_text('{"total_')
        (datasets_root / "x-v1/data/metadata.json").write_text("[1]")
        (datasets_root / "x-v2/data/metadata.json").unlink()
        with pytest.warns(UserWarning, match="left out") as caught:
            assert list(list_local_datasets()) == ["x-v3"]
        assert [str(warning.message).split()[2] for warning in caught] == ["x-v0", "x-v1", "x-v2"]
        assert {warning.filename for warning in caught} == {__file__}

    def test_what_is_no_dataset_is_no_reason_to_warn(self, datasets_root: Path) -> None:
        write_dataset(datasets_root, "x-v0")
        write_dataset(datasets_root, ".x-v1.partial")
        write_dataset(datasets_root, "no-version")
        write_namespace(datasets_root, "space-v3")
        (datasets_root / "note.txt").write_text("")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert list(list_local_datasets()) == ["x-v0"]

    def test_what_official_releases_wrote(self, copy_release: Callable[[str], Path]) -> None:
        copy_release("0.3.1")
        copy_release("0.5.4")
        listed = list_local_datasets()
        assert len(listed) > 10
        assert all(isinstance(metadata["total_episodes"], int) for metadata in listed.values())


class TestLoad:
    def test_what_was_recorded(self) -> None:
        record("a/x-v0")
        dataset = load_dataset("a/x-v0")
        assert dataset.id == "a/x-v0"
        assert [episode.rewards.tolist() for episode in dataset] == [[0, 0], [1, 1]]

    def test_from_another_root(self, datasets_root: Path, tmp_path: Path) -> None:
        record("x-v0", root=tmp_path)
        assert load_dataset("x-v0", root=str(tmp_path)).total_episodes == 2
        with pytest.raises(DatasetNotFoundError):
            load_dataset("x-v0")

    def test_the_root_is_read_at_each_call(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        record("x-v0")
        monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
        with pytest.raises(DatasetNotFoundError):
            load_dataset("x-v0")

    def test_one_that_is_not_here(self, datasets_root: Path) -> None:
        write_namespace(datasets_root, "x-v1")
        for dataset_id in ("x-v0", "a/x-v0", "x-v1"):
            with pytest.raises(FileNotFoundError, match=r"not found locally at .*download=True"):
                load_dataset(dataset_id)

    @pytest.mark.parametrize("dataset_id", MALFORMED)
    def test_malformed_ids(self, dataset_id: Any, datasets_root: Path) -> None:
        write_dataset(datasets_root.parent, "x-v0")
        for function in (load_dataset, delete_dataset):
            with pytest.raises(DatasetIdError):
                function(dataset_id)

    def test_a_damaged_one(self, datasets_root: Path) -> None:
        record("x-v0")
        (datasets_root / "x-v0/data/metadata.json").write_text("{")
        with pytest.raises(DatasetCorruptError):
            load_dataset("x-v0")

    def test_of_another_time(self, datasets_root: Path) -> None:
        record("x-v0")
        file = datasets_root / "x-v0/data/metadata.json"
        text = json.dumps(json.loads(file.read_text()) | {"minari_version": "7.0.0"})
        file.write_text(text)
        with pytest.raises(DatasetVersionError, match=r"7\.0\.0"):
            load_dataset("x-v0")

    def test_what_is_here_is_not_downloaded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        record("x-v0")

        def refuse(*_: object, **__: object) -> None:
            pytest.fail("nothing should be downloaded")

        monkeypatch.setattr(hosting, "download_dataset", refuse)
        assert load_dataset("x-v0", download=True).total_episodes == 2

    def test_what_is_not_here_is_downloaded_when_asked(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(hosting, "download_dataset", lambda dataset_id, root, **_: record(dataset_id, root=root))
        with pytest.raises(DatasetNotFoundError):
            load_dataset("x-v0")
        assert load_dataset("x-v0", True).total_episodes == 2
        assert load_dataset("a/x-v0", download=True, root=tmp_path).total_episodes == 2
        assert list(list_local_datasets()) == ["x-v0"]


class TestOpen:
    def test_a_directory_anywhere(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        record("x-v0", root=tmp_path)
        (tmp_path / "x-v0").rename(tmp_path / "any name")
        monkeypatch.chdir(tmp_path)
        for path in (tmp_path / "any name", str(tmp_path / "any name" / "data"), "any name", "any name/data"):
            assert open_dataset(path).total_steps == 4

    def test_the_home_may_be_written_short(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        record("x-v0", root=tmp_path)
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("USERPROFILE", str(tmp_path))
        assert open_dataset("~/x-v0").total_steps == 4

    def test_directories_without_one(self, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        (tmp_path / "file").write_text("")
        for name in ("absent", "empty", "file"):
            with pytest.raises(DataPathError, match=name):
                open_dataset(tmp_path / name)


class TestDelete:
    def test_only_the_dataset(self, datasets_root: Path) -> None:
        for dataset_id in ("a/x-v1", "a/x-v10", "a/x-v1-more-v0"):
            write_dataset(datasets_root, dataset_id)
        write_namespace(datasets_root, "a")
        delete_dataset("a/x-v1")
        assert sorted(path.name for path in (datasets_root / "a").iterdir()) == [
            NAMESPACE_FILE,
            "x-v1-more-v0",
            "x-v10",
        ]

    def test_the_namespace_stays(self, datasets_root: Path) -> None:
        write_namespace(datasets_root, "a")
        write_dataset(datasets_root, "a/x-v0")
        delete_dataset("a/x-v0")
        assert sorted(tree(datasets_root)) == ["a", f"a/{NAMESPACE_FILE}"]

    def test_in_another_root(self, datasets_root: Path, tmp_path: Path) -> None:
        for root in (datasets_root, tmp_path):
            write_dataset(root, "x-v0")
        delete_dataset("x-v0", root=tmp_path)
        assert list(list_local_datasets()) == ["x-v0"]
        assert list_local_datasets(root=tmp_path) == {}

    def test_a_damaged_one(self, datasets_root: Path) -> None:
        write_dataset(datasets_root, "x-v0")
        (datasets_root / "x-v0/data/metadata.json").write_text("{")
        delete_dataset("x-v0")
        assert tree(datasets_root) == {}

    def test_what_is_no_dataset(self, datasets_root: Path) -> None:
        write_namespace(datasets_root, "a")
        write_namespace(datasets_root, "b-v0")
        (datasets_root / "file-v0").write_text("")
        before = tree(datasets_root)
        for dataset_id in ("x-v0", "b-v0", "file-v0", "a/x-v0"):
            with pytest.raises(FileNotFoundError, match="nothing to delete"):
                delete_dataset(dataset_id)
        assert tree(datasets_root) == before

    @pytest.mark.skipif(os.name == "nt", reason="Windows asks for a privilege to make links")
    def test_a_link_is_deleted_and_what_it_points_to_stays(self, datasets_root: Path, tmp_path: Path) -> None:
        directory = write_dataset(tmp_path, "x-v0")
        (datasets_root / "x-v0").symlink_to(directory)
        delete_dataset("x-v0")
        assert tree(datasets_root) == {}
        assert (directory / "data/metadata.json").exists()


def test_directories_that_are_not_hidden(tmp_path: Path) -> None:
    for name in ("a", ".b", "c d"):
        (tmp_path / name).mkdir()
    (tmp_path / "file").write_text("")
    assert sorted(list_non_hidden_dirs(tmp_path)) == ["a", "c d"]
    assert sorted(list_non_hidden_dirs(str(tmp_path))) == ["a", "c d"]
