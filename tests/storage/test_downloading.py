"""Download: what is done, refused and said, and what comes along with a dataset, whatever the remote."""

from __future__ import annotations

import os
import shutil
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import minari
from minari.errors import (
    DatasetCorruptError,
    DatasetExistsError,
    DatasetIdError,
    DatasetNotFoundError,
    DatasetVersionError,
    MinariError,
    RemoteError,
    StorageError,
)
from minari.namespace import get_namespace_metadata, list_local_namespaces, update_namespace_metadata
from minari.progress import observe_progress
from minari.storage.hosting import download_dataset, upload_dataset
from minari.storage.remotes import RemoteDatasetNotFoundError, RemoteFile
from minari.storage.transfer import installer
from support.remotes import (
    NAMESPACE_FILE,
    Interference,
    SpyStorage,
    interrupt,
    tree,
    visible,
    write_dataset,
    write_namespace,
)


pytestmark = pytest.mark.usefixtures("no_surprises")
MIB = bytes(1 << 20)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def description_of(dataset_id: str) -> object:
    return minari.list_local_datasets()[dataset_id].get("description")


def test_recorded_dataset_comes_with_its_namespaces(
    share: Path, datasets_root: Path, record: Callable[..., minari.MinariDataset]
) -> None:
    record("a/b/real-v0", 3)
    update_namespace_metadata("a", description="outer")
    upload_dataset("a/b/real-v0")
    shutil.rmtree(datasets_root)
    got = minari.load_dataset("a/b/real-v0", download=True)
    assert [episode.rewards.tolist() for episode in got] == [[0, 0], [1, 1], [2, 2]]
    assert get_namespace_metadata("a")["description"] == "outer"
    assert list_local_namespaces() == ["a", "a/b"]


def test_download_into_another_root(share: Path, datasets_root: Path, tmp_path: Path) -> None:
    write_dataset(share, "x-v0", total_episodes=0, total_steps=0)
    download_dataset("x-v0", root=tmp_path / "other")
    assert tree(tmp_path / "other") == tree(share)
    assert minari.load_dataset("x-v0", download=True, root=tmp_path / "third").total_episodes == 0
    assert tree(datasets_root) == {}
    with pytest.raises(DatasetNotFoundError, match="download=True"):
        minari.load_dataset("x-v0")


def test_download_by_full_address(share: Path, datasets_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MINARI_REMOTE")
    write_namespace(share, "a")
    write_dataset(share, "a/x-v0")
    address = f"{share.as_uri()}/a/x-v0"
    download_dataset(address)
    assert tree(datasets_root) == tree(share)
    with pytest.raises(RemoteError, match="no kind of remote called 'far'"):
        download_dataset("far://farama-minari/D4RL/door/human-v2")
    with pytest.raises(RemoteError, match="names its remote itself"):
        download_dataset(address, remote=share.as_uri())
    with pytest.raises(DatasetIdError):
        download_dataset(f"{share.as_uri()}/a/x")


@pytest.mark.parametrize("dataset_id", ["../x-v0", "/x-v0", "x", "", "x-v", ".x-v0", "a//x-v0", None])
def test_malformed_ids_are_refused(dataset_id: Any, share: Path, datasets_root: Path) -> None:
    with pytest.raises(DatasetIdError):
        download_dataset(dataset_id)
    assert tree(datasets_root) == {}


def test_older_name_of_the_argument_is_deprecated(share: Path, datasets_root: Path) -> None:
    write_dataset(share, "x-v0")
    with pytest.warns(DeprecationWarning, match="dataset_id") as caught:
        download_dataset(dataset_name="x-v0")
    assert [warning.filename for warning in caught] == [__file__]
    assert names(datasets_root) == ["x-v0"]


def test_unknown_dataset_is_an_error(share: Path, datasets_root: Path) -> None:
    for dataset_id in ("xy-v0", "x-vw-v0", "n/x-v0"):
        write_dataset(share, dataset_id)
    with pytest.raises(ValueError, match="no version of a dataset x;"):
        download_dataset("x-v0")
    assert tree(datasets_root) == {}


def test_only_its_own_versions_are_requested(share: Path, spy: type[SpyStorage]) -> None:
    for dataset_id in ("a/x-v0", "a/x-vw-v0", "a/xy-v0", "b/x-v0"):
        write_dataset(share, dataset_id)
    download_dataset("a/x-v0")
    calls = ["list_datasets a/x-v", "get_dataset_metadata a/x-v0", "download_dataset a/x-v0"]
    assert spy.calls == dict.fromkeys(calls, 1)


def write_versions(share: Path, *compatible: int, incompatible: int) -> None:
    for number in compatible:
        write_dataset(share, f"x-v{number}")
    write_dataset(share, f"x-v{incompatible}", version="7.0.0")


@pytest.mark.parametrize(
    ("compatible", "wanted", "error", "words"),
    [
        ([2, 9, 10], "x-v3", RemoteDatasetNotFoundError, r"does not have x-v3,.* is x-v10\.$"),
        ([], "x-v0", RemoteDatasetNotFoundError, r"does not have x-v0,.* no version of it"),
        ([0], "x-v11", DatasetVersionError, r"7\.0\.0.* is x-v0; force_download=True"),
        ([], "x-v11", DatasetVersionError, "not compatible; no version of it"),
    ],
)
def test_error_names_the_latest_compatible_version(
    compatible: list[int], wanted: str, error: type[Exception], words: str, share: Path, datasets_root: Path
) -> None:
    write_versions(share, *compatible, incompatible=11)
    with pytest.raises(error, match=words) as caught:
        download_dataset(wanted)
    assert isinstance(caught.value, ValueError)
    assert tree(datasets_root) == {}


def test_older_version_is_a_warning(share: Path, datasets_root: Path) -> None:
    write_versions(share, 2, 10, incompatible=11)
    with pytest.warns(UserWarning, match=r"x-v2 is an older version.* is x-v10\.$") as caught:
        download_dataset("x-v2")
    assert [warning.filename for warning in caught] == [__file__]
    download_dataset("x-v10")
    with pytest.warns(UserWarning, match=r"7\.0\.0, which is not compatible.* is x-v10\.$"):
        download_dataset("x-v11", force_download=True)
    assert names(datasets_root) == ["x-v10", "x-v11", "x-v2"]


def test_version_may_be_a_specifier(share: Path, datasets_root: Path) -> None:
    write_dataset(share, "x-v0", version="~=0.4")
    download_dataset("x-v0")
    assert names(datasets_root) == ["x-v0"]


def test_damaged_version_does_not_hide_others(share: Path, datasets_root: Path) -> None:
    for number in range(2):
        write_dataset(share, f"x-v{number}")
    (share / "x-v1/data/metadata.json").write_text("{")
    with pytest.raises(DatasetCorruptError):
        download_dataset("x-v1")
    assert tree(datasets_root) == {}
    download_dataset("x-v0")


def test_existing_dataset_is_kept(share: Path, datasets_root: Path, spy: type[SpyStorage]) -> None:
    write_dataset(datasets_root, "x-v0", description="mine")
    before = tree(datasets_root)
    with pytest.warns(UserWarning, match="x-v0 is at .* already.*force_download=True") as caught:
        download_dataset("x-v0")
    assert caught[0].filename == __file__
    assert tree(datasets_root) == before
    assert not spy.calls  # it takes no network to know


def test_force_replaces_existing_dataset(share: Path, datasets_root: Path) -> None:
    write_dataset(datasets_root, "a/x-v0", description="mine", files={"data/old": b"", "data/.index.json": b""})
    write_dataset(share, "a/x-v0", description="theirs", files={"data/new": b"1", "data/big": 3 * MIB})
    seen = Interference(lambda: descriptions.append(description_of("a/x-v0")), during="downloading")
    descriptions: list[object] = []
    with observe_progress(seen):
        download_dataset("a/x-v0", force_download=True)
    assert descriptions == ["mine"], "the old one stays until the new one is complete"
    assert tree(datasets_root / "a/x-v0") == tree(share / "a/x-v0")
    assert names(datasets_root / "a") == [NAMESPACE_FILE, "x-v0"]


@pytest.mark.parametrize("here", [True, False])
def test_failure_changes_nothing(here: bool, share: Path, datasets_root: Path) -> None:
    write_dataset(share, "a/b/x-v0", files={f"data/{name}": MIB for name in ("big", "k", "l", "last")})
    if here:
        write_dataset(datasets_root, "a/b/x-v0", description="mine")
    before = tree(datasets_root)
    shorten = Interference(lambda: (share / "a/b/x-v0/data/last").write_bytes(b""), during="downloading")
    for interference, error in (
        (Interference(interrupt, during="downloading"), KeyboardInterrupt),
        (shorten, MinariError),
    ):
        with observe_progress(interference), pytest.raises(error):
            download_dataset("a/b/x-v0", here, max_workers=1)
        assert visible(datasets_root) == (before if here else {"a": None, "a/b": None})


def test_existing_dataset_stays_when_the_new_one_cannot_be_placed(
    share: Path, datasets_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_dataset(share, "x-v0")
    write_dataset(datasets_root, "x-v0", description="mine")
    before = tree(datasets_root)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(installer, "replace_directory", refuse)
    with pytest.raises(StorageError, match=r"cannot be downloaded .*Permission denied.* as it was before"):
        download_dataset("x-v0", True)
    assert visible(datasets_root) == before


def test_dataset_that_arrives_meanwhile_is_kept(share: Path, datasets_root: Path) -> None:
    write_dataset(share, "x-v0", description="theirs")
    arrive = Interference(lambda: write_dataset(datasets_root, "x-v0", description="mine"), during="downloading")
    with observe_progress(arrive):
        download_dataset("x-v0")
    assert description_of("x-v0") == "mine"
    assert names(datasets_root) == ["x-v0"]


@pytest.mark.skipif(os.name == "nt", reason="Windows asks for a privilege to make links")
def test_work_directory_is_on_the_disk_of_the_namespace(share: Path, datasets_root: Path, tmp_path: Path) -> None:
    disk = tmp_path / "large disk"
    disk.mkdir()
    (datasets_root / "a").symlink_to(disk)
    write_dataset(share, "a/b/x-v0", files={"data/big": 2 * MIB})
    seen: list[list[str]] = []
    with observe_progress(Interference(lambda: seen.append(names(disk / "b")), during="downloading")):
        download_dataset("a/b/x-v0")
    assert seen == [[".x-v0.download"]]
    assert tree(disk / "b/x-v0") == tree(share / "a/b/x-v0")


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("kind", ["file", "directory", "namespace", "inside another dataset"])
def test_what_is_no_dataset_is_never_replaced(
    kind: str, force: bool, share: Path, datasets_root: Path, spy: type[SpyStorage]
) -> None:
    wanted = "x-v0/y-v0" if kind == "inside another dataset" else "x-v0"
    write_dataset(share, wanted)
    if kind == "file":
        (datasets_root / "x-v0").write_text("mine")
    elif kind == "directory":
        (datasets_root / "x-v0" / "precious").mkdir(parents=True)
    elif kind == "namespace":
        write_namespace(datasets_root, "x-v0")
    else:
        write_dataset(datasets_root, "x-v0")
    before = tree(datasets_root)
    with pytest.raises(DatasetExistsError, match=None if "/" in wanted else "is not a dataset"):
        download_dataset(wanted, force)
    assert tree(datasets_root) == before
    assert spy.downloads() == []


def test_remote_that_sends_other_files_is_refused(
    share: Path, datasets_root: Path, spy: type[SpyStorage], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_dataset(share, "x-v1")
    monkeypatch.setattr(spy, "list_files", lambda self, directory: [RemoteFile(f"{directory}/x-v10.txt", 0)])
    monkeypatch.setattr(spy, "has_file", lambda self, name: False)
    with pytest.raises(RemoteError, match="sent something else"):
        download_dataset("x-v1")
    assert visible(datasets_root) == {}


def test_remote_that_sends_half_is_refused(
    share: Path, datasets_root: Path, spy: type[SpyStorage], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_dataset(share, "a/x-v1")
    monkeypatch.setattr(spy, "read_range", lambda self, name, start, stop: b'{"total_'.ljust(stop - start))
    with pytest.raises(DatasetCorruptError):
        download_dataset("a/x-v1")
    assert visible(datasets_root) == {"a": None}


def test_workers_may_download_concurrently(share: Path, datasets_root: Path) -> None:
    write_dataset(share, "a/x-v0", files={"data/big": 2 * MIB})
    start = threading.Barrier(4)

    def work(_: int) -> None:
        start.wait()
        download_dataset("a/x-v0")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one that is late may find the dataset here
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, range(4)))
    assert tree(datasets_root / "a/x-v0") == tree(share / "a/x-v0")
    assert names(datasets_root / "a") == [NAMESPACE_FILE, "x-v0"]


# Namespaces


def test_local_metadata_of_namespaces_is_kept(share: Path, datasets_root: Path) -> None:
    for namespace in ("a", "a/b", "c"):
        write_namespace(share, namespace, owner="theirs")
    write_namespace(datasets_root, "a", owner="mine")
    write_dataset(share, "a/b/x-v0")
    write_dataset(share, "d/x-v0")
    download_dataset("a/b/x-v0")
    assert [get_namespace_metadata(name)["owner"] for name in ("a", "a/b")] == ["mine", "theirs"]
    assert list_local_namespaces() == ["a", "a/b"]
    download_dataset("d/x-v0")
    assert get_namespace_metadata("d") == {}, "the remote has none"


def test_damaged_namespace_stops_the_download(share: Path, datasets_root: Path) -> None:
    write_dataset(share, "a/b/x-v0")
    write_namespace(share, "a/b").write_text("[]")
    with pytest.raises(DatasetCorruptError):
        download_dataset("a/b/x-v0")
    assert visible(datasets_root) == {"a": None, "a/b": None}


# Combined datasets


@pytest.fixture
def combined(share: Path) -> None:
    """A combination of a combination; a newer version of a part is nobody's concern."""
    for dataset_id in ("a/one-v0", "a/one-v1", "two-v0", "other-v0"):
        write_dataset(share, dataset_id)
    write_dataset(share, "b/inner-v0", combined=["a/one-v0", "two-v0"])
    write_dataset(share, "all-v0", combined=["b/inner-v0", "two-v0"])


@pytest.mark.usefixtures("combined")
def test_parts_come_along(spy: type[SpyStorage]) -> None:
    download_dataset("all-v0")
    ids = ["a/one-v0", "all-v0", "b/inner-v0", "two-v0"]
    assert sorted(minari.list_local_datasets()) == sorted(spy.downloads()) == ids
    assert spy.downloads()[-1] == "all-v0"
    assert list_local_namespaces() == ["a", "b"]


@pytest.mark.usefixtures("combined")
def test_existing_parts_are_kept(datasets_root: Path, spy: type[SpyStorage]) -> None:
    for dataset_id in ("two-v0", "all-v0"):
        write_dataset(datasets_root, dataset_id, description="mine")
    download_dataset("all-v0", force_download=True)
    assert sorted(spy.downloads()) == ["a/one-v0", "all-v0", "b/inner-v0"]
    assert (description_of("two-v0"), description_of("all-v0")) == ("mine", None)


@pytest.mark.usefixtures("combined")
def test_parts_that_the_remote_lacks_are_named(share: Path, datasets_root: Path) -> None:
    for directory in ("two-v0", "a"):
        shutil.rmtree(share / directory)
    write_dataset(datasets_root, "a/one-v0")  # it is here, so that it is not missed
    with pytest.warns(UserWarning, match=r"all-v0 was combined from two-v0, which file://.* not have") as caught:
        download_dataset("all-v0")
    assert len(caught) == 1
    assert sorted(minari.list_local_datasets()) == ["a/one-v0", "all-v0", "b/inner-v0"]


def test_parts_with_malicious_names_are_not_downloaded(share: Path) -> None:
    write_dataset(share.parent, "outside-v0")
    write_dataset(share, "x-v0", combined=["../outside-v0", "/etc", "y"])
    with pytest.warns(UserWarning, match=r"\.\./outside-v0, /etc, y, which"):
        download_dataset("x-v0")
    assert list(minari.list_local_datasets()) == ["x-v0"]


def test_circular_parts_are_downloaded_once(share: Path, spy: type[SpyStorage]) -> None:
    write_dataset(share, "x-v0", combined=["y-v0", "x-v0"])
    write_dataset(share, "y-v0", combined=["x-v0"])
    download_dataset("x-v0")
    assert sorted(minari.list_local_datasets()) == ["x-v0", "y-v0"]
    assert set(spy.calls.values()) <= {1, 2, 3}


@pytest.mark.usefixtures("combined")
@pytest.mark.parametrize("call", ["download_dataset two-v0", "get_dataset_metadata two-v0"])
def test_failed_part_stops_the_download_and_can_be_retried(call: str, spy: type[SpyStorage]) -> None:
    spy.failures[call] = RemoteError("gone")
    with pytest.raises(RemoteError, match="gone"):
        download_dataset("all-v0")
    assert "all-v0" not in minari.list_local_datasets()
    spy.failures.clear()
    download_dataset("all-v0")
    assert len(minari.list_local_datasets()) == 4
    assert spy.calls["download_dataset b/inner-v0"] == 1
