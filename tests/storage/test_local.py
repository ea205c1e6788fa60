"""The local catalog: list, load, open and delete."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import minari
from minari import delete_dataset, list_local_datasets, load_dataset, open_dataset
from minari.errors import DataPathError, DatasetCorruptError, DatasetIdError, DatasetNotFoundError, DatasetVersionError
from minari.storage import hosting
from minari.storage.local import dataset_id_sort_key, list_non_hidden_dirs
from support.remotes import NAMESPACE_FILE, tree, write_dataset, write_namespace


Record = Callable[..., minari.MinariDataset]
MALFORMED = ["", "x", "../x-v0", "/x-v0", "x-v0/", "a//x-v0", ".x-v0", "a/../x-v0", "x-v0\n", "x-v01", None, 3]


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def write(root: Path, *dataset_ids: str) -> None:
    for dataset_id in dataset_ids:
        write_dataset(root, dataset_id)


# List


def test_list_of_nothing_is_empty(datasets_root: Path, tmp_path: Path) -> None:
    assert list_local_datasets() == list_local_datasets(root=tmp_path / "absent") == {}
    assert not (tmp_path / "absent").exists()


def test_list_has_the_metadata_as_stored(datasets_root: Path) -> None:
    directory = write_dataset(datasets_root, "a/x-v0", author=["Ann"], mine={"deep": [1, None]})
    stored = json.loads((directory / "data/metadata.json").read_text())
    assert list_local_datasets() == {"a/x-v0": {**stored, "dataset_size": 0.0}}  # measured, as none is stored


def test_list_is_sorted_by_namespace_name_and_number(datasets_root: Path) -> None:
    ids = ["b-v2", "b-v10", "c-v0", "B/a-v0", "a/x-v0", "a/b/a-v0", "aa/a-v1"]
    write(datasets_root, *reversed(ids))
    assert list(list_local_datasets()) == ids
    assert sorted(["b-v10", "a/x-v0", "b-v2"], key=dataset_id_sort_key) == ["b-v2", "b-v10", "a/x-v0"]


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("a", ["a/x-v1", "a/x-v10", "a/b/x-v0"]),
        ("a/", ["a/x-v1", "a/x-v10", "a/b/x-v0"]),
        ("a/x-v1", ["a/x-v1"]),
        ("a/b", ["a/b/x-v0"]),
        ("", ["x-v0", "a/x-v1", "a/x-v10", "a/b/x-v0", "ab/x-v0"]),
        *((prefix, []) for prefix in ("nothing", "a/x", "a/x-v", "/")),
    ],
)
def test_prefix_of_a_list_is_whole_parts_of_an_id(datasets_root: Path, prefix: str, expected: list[str]) -> None:
    write(datasets_root, "a/x-v1", "a/x-v10", "a/b/x-v0", "ab/x-v0", "x-v0")
    assert list(list_local_datasets(prefix=prefix)) == expected


def test_list_of_latest_and_of_compatible_versions(datasets_root: Path) -> None:
    write(datasets_root, "x-v9", "x-v10", "a/x-v3", "a/x-y-v0", "b/x-v1")
    assert list(list_local_datasets(latest_version=True)) == ["x-v10", "a/x-v3", "a/x-y-v0", "b/x-v1"]
    for number, version in enumerate(["~=0.4", "0.5.4", "0.5.99", "1.0.0", "nonsense"]):
        write_dataset(datasets_root, f"c/x-v{number}", version=version)
    assert len(list_local_datasets(prefix="c")) == 5
    assert list(list_local_datasets(compatible_minari_version=True, prefix="c")) == ["c/x-v0", "c/x-v1"]
    assert list(list_local_datasets(True, True, "c")) == ["c/x-v1"]


def test_damaged_datasets_are_left_out_with_a_warning(datasets_root: Path) -> None:
    write(datasets_root, "x-v0", "x-v1", "x-v2", "x-v3")
    (datasets_root / "x-v0/data/metadata.json").write_text('{"total_')
    (datasets_root / "x-v1/data/metadata.json").write_text("[1]")
    (datasets_root / "x-v2/data/metadata.json").unlink()
    with pytest.warns(UserWarning, match="left out") as caught:
        assert list(list_local_datasets()) == ["x-v3"]
    assert [str(warning.message).split()[2] for warning in caught] == ["x-v0", "x-v1", "x-v2"]
    assert {warning.filename for warning in caught} == {__file__}


@pytest.mark.usefixtures("no_surprises")
def test_what_is_no_dataset_is_no_reason_to_warn(datasets_root: Path) -> None:
    write(datasets_root, "x-v0", ".x-v1.partial", "no-version")
    write_namespace(datasets_root, "space-v3")
    (datasets_root / "note.txt").write_text("")
    assert list(list_local_datasets()) == ["x-v0"]


def test_datasets_of_official_releases_are_listed(copy_release: Callable[[str], Path]) -> None:
    copy_release("0.3.1")
    copy_release("0.5.4")
    listed = list_local_datasets()
    assert len(listed) > 10
    assert all(isinstance(metadata["total_episodes"], int) for metadata in listed.values())


# Load


def test_recorded_dataset_is_loaded_from_its_root(
    record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record("a/x-v0", 2)
    record("x-v0", 2, tmp_path)
    dataset = load_dataset("a/x-v0")
    assert dataset.id == "a/x-v0"
    assert [episode.rewards.tolist() for episode in dataset] == [[0, 0], [1, 1]]
    assert load_dataset("x-v0", root=str(tmp_path)).total_episodes == 2
    with pytest.raises(DatasetNotFoundError):
        load_dataset("x-v0")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    with pytest.raises(DatasetNotFoundError):
        load_dataset("a/x-v0")


@pytest.mark.parametrize("dataset_id", ["x-v0", "a/x-v0", "x-v1"])
def test_missing_dataset_is_not_found(datasets_root: Path, dataset_id: str) -> None:
    write_namespace(datasets_root, "x-v1")
    with pytest.raises(FileNotFoundError, match=r"not found locally at .*download=True"):
        load_dataset(dataset_id)


@pytest.mark.parametrize("dataset_id", MALFORMED)
def test_malformed_ids_are_refused(dataset_id: Any, datasets_root: Path) -> None:
    write_dataset(datasets_root.parent, "x-v0")
    for function in (load_dataset, delete_dataset):
        with pytest.raises(DatasetIdError):
            function(dataset_id)


def test_damaged_and_incompatible_datasets_are_not_loaded(datasets_root: Path, record: Record) -> None:
    record("x-v0")
    file = datasets_root / "x-v0/data/metadata.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"minari_version": "7.0.0"}))
    with pytest.raises(DatasetVersionError, match=r"7\.0\.0"):
        load_dataset("x-v0")
    file.write_text("{")
    with pytest.raises(DatasetCorruptError):
        load_dataset("x-v0")


def test_only_missing_datasets_are_downloaded(record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosting, "download_dataset", lambda dataset_id, root, **_: record(dataset_id, 2, root))
    with pytest.raises(DatasetNotFoundError):
        load_dataset("x-v0")
    assert load_dataset("x-v0", True).total_episodes == 2
    assert load_dataset("a/x-v0", download=True, root=tmp_path).total_episodes == 2
    assert list(list_local_datasets()) == ["x-v0"]
    monkeypatch.setattr(hosting, "download_dataset", lambda *_, **__: pytest.fail("nothing should be downloaded"))
    assert load_dataset("x-v0", download=True).total_episodes == 2


# Open


def test_directory_anywhere_is_opened(record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record("x-v0", root=tmp_path)
    (tmp_path / "x-v0").rename(tmp_path / "any name")
    monkeypatch.chdir(tmp_path)
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(tmp_path))
    place = tmp_path / "any name"
    for path in (place, str(place / "data"), "any name", "any name/data", "~/any name"):
        assert open_dataset(path).total_steps == 2


@pytest.mark.parametrize("name", ["absent", "empty", "file"])
def test_directory_without_dataset_is_not_opened(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(DataPathError, match=name):
        open_dataset(tmp_path / name)


# Delete


def test_only_the_dataset_is_deleted(datasets_root: Path, tmp_path: Path) -> None:
    write(datasets_root, "a/x-v1", "a/x-v10", "a/x-v1-more-v0", "b/x-v0")
    write(tmp_path, "b/x-v0", "y-v0")
    for namespace in ("a", "b"):
        write_namespace(datasets_root, namespace)
    (tmp_path / "y-v0/data/metadata.json").write_text("{")
    delete_dataset("a/x-v1")
    assert names(datasets_root / "a") == [NAMESPACE_FILE, "x-v1-more-v0", "x-v10"]
    for dataset_id in ("b/x-v0", "y-v0"):
        delete_dataset(dataset_id, root=tmp_path)
    assert names(tmp_path) == ["b"]
    delete_dataset("b/x-v0")
    assert names(datasets_root / "b") == [NAMESPACE_FILE], "the namespace stays"


@pytest.mark.parametrize("dataset_id", ["x-v0", "b-v0", "file-v0", "a/x-v0"])
def test_what_is_no_dataset_is_not_deleted(datasets_root: Path, dataset_id: str) -> None:
    for namespace in ("a", "b-v0"):
        write_namespace(datasets_root, namespace)
    (datasets_root / "file-v0").write_text("")
    before = tree(datasets_root)
    with pytest.raises(FileNotFoundError, match="nothing to delete"):
        delete_dataset(dataset_id)
    assert tree(datasets_root) == before


@pytest.mark.skipif(os.name == "nt", reason="Windows asks for a privilege to make links")
def test_link_is_deleted_and_its_target_stays(datasets_root: Path, tmp_path: Path) -> None:
    directory = write_dataset(tmp_path, "x-v0")
    (datasets_root / "x-v0").symlink_to(directory)
    delete_dataset("x-v0")
    assert tree(datasets_root) == {}
    assert (directory / "data/metadata.json").exists()


def test_directories_that_are_not_hidden(tmp_path: Path) -> None:
    for name in ("a", ".b", "c d"):
        (tmp_path / name).mkdir()
    (tmp_path / "file").write_text("")
    assert sorted(list_non_hidden_dirs(tmp_path)) == sorted(list_non_hidden_dirs(str(tmp_path))) == ["a", "c d"]
