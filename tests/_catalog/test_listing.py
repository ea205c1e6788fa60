"""Listing opens each directory and each metadata file once, and nothing else."""

from __future__ import annotations

import json
import os
import re
import shutil
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from minari._catalog import listing as catalog
from minari._catalog.listing import CatalogEntry, has_prefix, list_local_datasets, newest_versions, walk_catalog
from minari._storages.journal import FileTransaction, Overlay
from minari._storages.staged_directory import StagedOverlay, open_staged_directory
from minari.errors import UnsafePathError
from minari.storage.local import delete_dataset, load_dataset
from support.programs import run
from support.remotes import write_dataset, write_namespace
from support.stored import as_nobody


#: Prints every file and every directory that is opened, below the root, while the last line runs.
WATCHED = """
import json, os, sys
import minari, minari._catalog.listing, minari.namespace, minari._model.version_intervals
root = os.environ["MINARI_DATASETS_PATH"]
opened, watching = [], False
def note(event, arguments):
    if watching and event in ("open", "os.scandir", "os.listdir"):
        opened.append((event, os.path.relpath(os.fspath(arguments[0]), root)))
sys.addaudithook(note)
watching = True
listed = {call}
watching = False
print(json.dumps([list(listed), opened]))
"""


def watched(call: str) -> tuple[list[str], Counter[tuple[str, str]]]:
    """The result of a call, and the number of times each path was opened."""
    listed, opened = json.loads(run(WATCHED.format(call=call)))
    return listed, Counter((event, Path(path).as_posix()) for event, path in opened)


@pytest.fixture
def datasets(datasets_root: Path) -> list[str]:
    """Datasets with namespaces around and other files beside their metadata."""
    ids = ["top-v0", "toy/a-v0", "toy/a-v1", "toy/b-v0", "toy/deep/c-v2"]
    for number, dataset_id in enumerate(ids):
        version = ["0.5.4", "~=0.4", "0.4.3"][number % 3]
        files = {"data/0/part-0.arrow": b"", "data/.lock": b""}
        write_dataset(datasets_root, dataset_id, version=version, files=files, dataset_size=0.0)
    for namespace in ("toy", "toy/deep", "empty"):
        write_namespace(datasets_root, namespace)
    write_dataset(datasets_root, ".hidden-v0")
    (datasets_root / "top-v0" / "readme.txt").write_text("")
    return ids


DIRECTORIES = [".", "top-v0", "toy", "toy/a-v0", "toy/a-v1", "toy/b-v0", "toy/deep", "toy/deep/c-v2", "empty"]


@pytest.mark.parametrize("arguments", ["", "latest_version=True, compatible_minari_version=True"])
def test_each_directory_and_each_metadata_file_is_opened_once(datasets: list[str], arguments: str) -> None:
    listed, opened = watched(f"minari.list_local_datasets({arguments})")
    assert listed == [name for name in datasets if not arguments or name != "toy/a-v0"]
    expected = [("os.scandir", directory) for directory in DIRECTORIES]
    expected += [("open", f"{dataset_id}/data/metadata.json") for dataset_id in datasets]
    assert opened == Counter(expected)


def test_only_metadata_of_what_has_the_prefix_are_opened(datasets: list[str]) -> None:
    listed, opened = watched("minari.list_local_datasets(prefix='toy/deep')")
    assert listed == ["toy/deep/c-v2"]
    assert [path for event, path in opened if event == "open"] == ["toy/deep/c-v2/data/metadata.json"]


def test_namespaces_are_known_by_the_names_of_files(datasets: list[str]) -> None:
    listed, opened = watched("minari.namespace.list_local_namespaces()")
    assert listed == ["empty", "toy", "toy/deep"]
    assert opened == Counter(("os.scandir", directory) for directory in DIRECTORIES)


def test_sizes_are_measured_and_metadata_read_whatever_their_length(datasets_root: Path) -> None:
    data = {"data/main_data.hdf5": bytes(1_260_000)}
    write_dataset(datasets_root, "x-v0", files={**data, "data/.lock": bytes(900_000)}, author=["Ann"])
    write_dataset(datasets_root, "y-v0", files=data, dataset_size=1.5)
    lengths = [1, 65_000, 65_536, 131_072, 1_000_000]
    for number, length in enumerate(lengths):
        write_dataset(datasets_root, f"z-v{number}", description="é" * length)
    listed = list_local_datasets()
    assert [listed[name]["dataset_size"] for name in ("x-v0", "y-v0")] == [1.3, 1.5]  # 0.5.0 left it out
    assert [len(listed[f"z-v{number}"]["description"]) for number in range(5)] == lengths
    listed["x-v0"]["author"].append("Bob")
    assert list_local_datasets()["x-v0"]["author"] == ["Ann"]


@pytest.mark.parametrize("kind", ["journal", "changes"])
def test_a_change_that_is_committed_and_not_in_place_is_seen(
    datasets_root: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    data = write_dataset(datasets_root, "x-v0", files={"data/main_data.hdf5": b"data"}) / "data"
    metadata = json.dumps(json.loads((data / "metadata.json").read_text()) | {"total_steps": 99})
    for whole in (Overlay, StagedOverlay):
        monkeypatch.setattr(whole, "apply", lambda *_: None)  # as if it had been killed
    if kind == "journal":
        with FileTransaction(data / "main_data.hdf5") as file:
            file.commit({"metadata.json": metadata})
    else:
        with open_staged_directory(data) as changes:
            changes.path.mkdir()
            changes.commit(metadata)

    def written() -> dict[Path, tuple[int, int, int]]:  # reading changes nothing but the time of access
        found = ((path, path.stat()) for path in data.rglob("*"))
        return {path: (status.st_ino, status.st_size, status.st_mtime_ns) for path, status in found}

    before = written()
    assert list_local_datasets()["x-v0"]["total_steps"] == 99
    assert written() == before


def test_the_id_is_where_a_dataset_lies(datasets_root: Path) -> None:
    directory = write_dataset(datasets_root, "x-v0")
    file = directory / "data" / "metadata.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "dataset_id": "x-v0"}))
    (datasets_root / "n").mkdir()
    shutil.copytree(directory, datasets_root / "n" / "y-v3")
    assert {name: raw["dataset_id"] for name, raw in list_local_datasets().items()} == {
        "n/y-v3": "n/y-v3",
        "x-v0": "x-v0",
    }


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="becomes another user, which needs root")
def test_a_directory_that_may_not_be_read_is_left_out(datasets_root: Path) -> None:
    write_dataset(datasets_root, "x-v0")
    write_dataset(datasets_root, "mine/y-v0")
    for directory in (datasets_root, *datasets_root.parents):
        if directory != Path("/"):
            directory.chmod(directory.stat().st_mode | 0o055)
    (datasets_root / "mine").chmod(0o700)

    def look() -> str:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = list(list_local_datasets())
        return f"{found} {[str(warning.message) for warning in caught]}"

    assert re.fullmatch(r"\['x-v0'\] \[.*mine is left out \(Permission denied\)\..*\]", as_nobody(look))


def test_what_is_deleted_while_the_list_is_made_is_left_out(
    datasets_root: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    for dataset_id in ("x-v0", "x-v1", "x-v2", "x-v1/inner-v0"):
        write_dataset(datasets_root, dataset_id)
    real = catalog.read_raw_metadata

    def late(path: str) -> Any:
        shutil.rmtree(datasets_root / "x-v1", ignore_errors=True)
        return real(path)

    monkeypatch.setattr(catalog, "read_raw_metadata", late)
    assert list(list_local_datasets()) == ["x-v0", "x-v2"]
    assert not recwarn.list


def test_the_walk_tells_datasets_and_namespaces(datasets_root: Path, datasets: list[str]) -> None:
    found = {directory.id: directory for directory in walk_catalog(datasets_root)}
    assert sorted(found) == sorted([*datasets, "toy", "toy/deep", "empty"])
    assert found["toy/b-v0"] == CatalogEntry("toy/b-v0", str(datasets_root / "toy" / "b-v0"), True, False)
    assert all(directory.is_dataset == ("-v" in name) for name, directory in found.items())
    assert {name for name, directory in found.items() if directory.is_namespace} == {"empty", "toy", "toy/deep"}


def test_a_directory_of_datasets_may_be_called_data_or_like_a_dataset(datasets_root: Path) -> None:
    for dataset_id in ("data/a-v0", "group-v1/b-v0", "c-v0/inner-v0", "c-v0"):
        write_dataset(datasets_root, dataset_id)
    (datasets_root / "group-v1" / "namespace_metadata.json").mkdir()
    found = {directory.id: (directory.is_dataset, directory.is_namespace) for directory in walk_catalog(datasets_root)}
    namespaces = {"data", "group-v1"}
    datasets = {"data/a-v0", "group-v1/b-v0", "c-v0", "c-v0/inner-v0"}
    assert found == dict.fromkeys(namespaces, (False, False)) | dict.fromkeys(datasets, (True, False))


def test_a_root_that_is_a_dataset_is_walked(tmp_path: Path) -> None:
    root = write_dataset(tmp_path, "x-v0")
    write_dataset(root, "y-v0")
    write_dataset(root / "data", "z-v0")
    assert [directory.id for directory in walk_catalog(root)] == ["y-v0"]


@pytest.mark.skipif(os.name == "nt", reason="Windows asks for a privilege to make links")
def test_links_are_followed_inside_the_root(datasets_root: Path, tmp_path: Path) -> None:
    directory = write_dataset(tmp_path, "disk-v0")
    (datasets_root / "linked-v0").symlink_to(directory)
    (datasets_root / "parts-v0").mkdir()
    (datasets_root / "parts-v0" / "data").symlink_to(directory / "data")
    (datasets_root / "nowhere-v0").symlink_to(tmp_path / "nowhere")
    (datasets_root / "around").symlink_to(datasets_root)
    (datasets_root / "alias-v1").symlink_to(write_dataset(datasets_root, "here-v0"))
    with pytest.warns(UserWarning, match="leads out"):
        found = {directory.id: directory.is_dataset for directory in walk_catalog(datasets_root)}
    assert {name: is_dataset for name, is_dataset in found.items() if "/" not in name} == {
        "parts-v0": False, "around": False, "here-v0": True, "alias-v1": True
    }  # fmt: skip
    with pytest.warns(UserWarning, match=r"is left out \(a link that leads out of the root\), and \d more"):
        assert [name for name in list_local_datasets() if "/" not in name] == ["alias-v1", "here-v0"]


@pytest.mark.skipif(os.name == "nt", reason="Windows asks for a privilege to make links")
def test_links_to_everywhere_end(datasets_root: Path) -> None:
    """Each directory with links to all others, which has more paths than anybody can walk."""
    directories = [datasets_root / f"f{number}" for number in range(20)]
    for directory in directories:
        directory.mkdir()
        for other in directories:
            (directory / f"to-{other.name}").symlink_to(other)
    assert len(list(walk_catalog(datasets_root))) == 20 + 20 * 20


def test_what_is_no_file_does_not_hold_it_up(datasets_root: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("there are no FIFOs")
    data = write_dataset(datasets_root, "x-v0") / "data"
    for file in (data / "metadata.json", datasets_root / "namespace_metadata.json", data / ".lock"):
        file.unlink(missing_ok=True)
        os.mkfifo(file)
    os.mkfifo(datasets_root / "fifo-v0")
    with pytest.warns(UserWarning, match=r"x-v0 is left out, .*pipe"):
        assert list_local_datasets() == {}
    with pytest.raises(UnsafePathError):
        load_dataset("x-v0")
    delete_dataset("x-v0")


def test_the_walk_ends_at_a_depth(datasets_root: Path) -> None:
    directory = datasets_root
    for _ in range(120):
        directory = directory / "n"
    directory.mkdir(parents=True)
    assert 90 < len(list(walk_catalog(datasets_root))) < 120


def test_prefixes_are_whole_parts() -> None:
    assert all(has_prefix("a/b/x-v1", prefix) for prefix in ("a", "a/", "a/b", "a/b/x-v1"))
    assert not any(has_prefix("a/b/x-v1", prefix) for prefix in ("a/b/x", "b", "a/b/x-v", "a/b/x-v10", "/"))


def test_the_newest_version_of_each_is_kept() -> None:
    ids = ["x-v9", "x-v10", "a/x-v2", "a/x-y-v0"]
    assert newest_versions({dataset_id: {"id": dataset_id} for dataset_id in ids}) == {
        dataset_id: {"id": dataset_id} for dataset_id in ids[1:]
    }
