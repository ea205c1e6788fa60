"""Remotes: how they are found by their address, and what is special about a directory as a remote."""

from __future__ import annotations

import os
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import minari
from minari._storages.journal import JOURNAL_NAME, FileTransaction, Overlay
from minari.errors import DatasetBusyError, MinariError, MissingDependencyError, RemoteError
from minari.progress import observe_progress
from minari.storage.remotes import (
    DEFAULT_REMOTE,
    CloudStorage,
    get_cloud_storage,
    get_remote_schemes,
    register_remote,
    registry,
    split_address,
)
from minari.storage.remotes.directory import FileStorage
from minari.storage.transfer.index import parse_index
from minari.testing.remote_conformance import BIG
from support.remotes import Interference, tree, upload_dataset, uploaded, visible, write_dataset, write_namespace


# Addresses


class Elsewhere(FileStorage):
    """A remote that a package would bring; it only remembers what it was made with."""

    __init__ = CloudStorage.__init__
    find_location = CloudStorage.find_location
    split_location = CloudStorage.split_location


@pytest.mark.parametrize("address", ["", "file", "file:/x", "file://", "://x", "1x://y", "a b://c", None, 3])
def test_malformed_address_is_refused(address: Any) -> None:
    with pytest.raises(RemoteError, match=r"scheme://name.*got .*file") as caught:
        get_cloud_storage(address if address is not None else "")
    assert isinstance(caught.value, ValueError)
    with pytest.raises(RemoteError, match="scheme://name"):
        split_address(address)


@pytest.mark.parametrize("call", [get_cloud_storage, split_address])
def test_unknown_scheme_names_the_known_ones(call: Callable[[str], object]) -> None:
    with pytest.raises(RemoteError, match=r"'far'.*file://.*hf://.*minari\.remotes"):
        call("far://bucket/x-v0")


def test_default_remote(share: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(get_cloud_storage(), FileStorage)
    monkeypatch.setenv("MINARI_REMOTE", "nonsense")
    with pytest.raises(RemoteError, match="nonsense"):
        get_cloud_storage()
    monkeypatch.delenv("MINARI_REMOTE")
    assert get_cloud_storage().address == DEFAULT_REMOTE == "hf://farama-minari"
    assert split_address("gcp://bucket/lab/a/x-v0") == ("gcp://bucket", "lab/a/x-v0")
    monkeypatch.setenv("MINARI_REMOTE", "gcp://bucket/lab/")
    assert split_address("gcp://bucket/lab/a/x-v0") == ("gcp://bucket/lab", "a/x-v0")
    assert split_address("gcp://bucket/lab2/x-v0") == ("gcp://bucket", "lab2/x-v0")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        *(({"max_workers": number}, "must be a number from 1") for number in (0, -1, True, 1.5, "2")),
        ({"private": True}, "cannot keep single datasets private"),
    ],
)
def test_options_that_a_directory_cannot_have(options: dict[str, Any], words: str, share: Path) -> None:
    with pytest.raises(RemoteError, match=words):
        get_cloud_storage(share.as_uri(), **options)


def test_remote_of_a_package(register: Callable[[str, type], None], monkeypatch: pytest.MonkeyPatch) -> None:
    register("hf", Elsewhere)
    assert "hf" in get_remote_schemes()
    remote = get_cloud_storage("HF://farama-minari/", "secret")
    assert isinstance(remote, Elsewhere)
    assert (remote.name, remote.token) == ("farama-minari", "secret")
    assert "secret" not in repr(remote)
    assert split_address("hf://org/D4RL/door/human-v2") == ("hf://org", "D4RL/door/human-v2")
    assert split_address("hf://org") == ("hf://org", "")
    monkeypatch.setattr(registry, "REMOTES", dict(registry.REMOTES))
    register_remote("far", "package_that_is_absent:Far", "a-package")
    with pytest.raises(MissingDependencyError, match=r'package_that_is_absent.*pip install "a-package"'):
        get_cloud_storage("far://x")


def test_entry_point_does_not_replace_own_remotes(
    register: Callable[[str, type], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def entry_points(group: str) -> list[Any]:
        assert group == "minari.remotes"
        targets = {"far": "package_of_near:Remote", "file": "absent:X"}
        return [types.SimpleNamespace(name=name, value=targets[name], dist=None, module="m") for name in targets]

    register("near", Elsewhere)
    monkeypatch.setattr("importlib.metadata.entry_points", entry_points)
    assert {"far", "file", "hf"} <= set(get_remote_schemes())
    assert isinstance(get_cloud_storage("far://bucket"), Elsewhere)
    assert split_address("file:///x-v0") == ("file:///", "x-v0")


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("{}/absent", "There is no directory"),
        ("{}/file", "There is no directory"),
        ("file://lab/x", "form file:///directory, got 'file://lab/x'"),
    ],
)
def test_addresses_that_are_no_directory(address: str, words: str, share: Path) -> None:
    (share / "file").write_text("")
    with pytest.raises(RemoteError, match=words):
        get_cloud_storage(address.format(share.as_uri()))


def test_address_of_a_directory_may_have_spaces(share: Path) -> None:
    assert "%20" in share.as_uri()
    write_dataset(share, "x-v0")
    for address in (share.as_uri(), f"file://{share}/", f"FILE://{share}"):
        assert list(minari.list_remote_datasets(address)) == ["x-v0"]


def test_address_of_a_dataset_ends_where_namespaces_begin(tmp_path: Path) -> None:
    share = tmp_path / "a b"
    base = share.as_uri()
    write_namespace(share, "a/b")  # `a` itself is none
    assert split_address(f"{base}/a/b/x-v0") == (f"{base}/a", "b/x-v0")
    assert split_address(f"{base}/a/x-v0/") == (f"{base}/a", "x-v0")
    assert split_address(f"file://{share}/a/b/x-v0") == (f"file://{share}/a", "b/x-v0")
    write_namespace(share, "a")
    assert split_address(f"{base}/a/b/x-v0") == (base, "a/b/x-v0")
    write_namespace(share, "größe")
    assert split_address(f"{base}/gr%C3%B6%C3%9Fe/x-v0") == (base, "größe/x-v0")


# A directory


def test_layout_is_that_of_a_root(share: Path, datasets_root: Path) -> None:
    write_dataset(share, "put-here-v0")
    for dataset_id in ("a/x-v10", "a/x-v9"):
        write_dataset(datasets_root, dataset_id)
        upload_dataset(dataset_id)
    assert "a/x-v9/data/manifest.json" in tree(share)
    sent = {name: content for name, content in uploaded(share).items() if name not in tree(share / "a")}
    assert {**tree(datasets_root), "a/namespace_metadata.json": b"{}"}.items() <= sent.items()
    ids = ["put-here-v0", "a/x-v9", "a/x-v10"]
    assert get_cloud_storage().list_datasets() == ids
    index = parse_index((share / "datasets_index.json.gz").read_bytes())
    assert index == {dataset_id: (share / dataset_id / "data/metadata.json").read_bytes() for dataset_id in ids}


def test_namespace_of_several_levels(share: Path, datasets_root: Path) -> None:
    write_namespace(datasets_root, "a/b", n=1)
    get_cloud_storage().upload_namespace("a/b")  # a directory of the remote has metadata where it is a namespace
    files = {name: content for name, content in tree(share).items() if content is not None}
    assert files == {"a/namespace_metadata.json": b"{}", "a/b/namespace_metadata.json": b'{"n": 1}'}


def test_dataset_is_there_without_the_index(share: Path, datasets_root: Path, caplog: pytest.LogCaptureFixture) -> None:
    (share / "datasets_index.json.gz").mkdir()
    write_dataset(datasets_root, "x-v0")
    upload_dataset("x-v0")
    assert list(minari.list_remote_datasets()) == ["x-v0"]
    assert "index of file://" in caplog.text


def test_manifest_does_not_count_after_a_recording_in_place(share: Path, datasets_root: Path, arrival: Path) -> None:
    write_dataset(datasets_root, "x-v0")
    upload_dataset("x-v0")
    directory = write_dataset(share, "x-v0", total_steps=5, files={"data/main_data.hdf5": b"longer than it was"})
    os.utime(directory / "data/metadata.json", ns=(2**62, 2**62))
    with pytest.warns(UserWarning, match="changed there after it was uploaded"):
        minari.download_dataset("x-v0", root=arrival)
    assert uploaded(arrival) == uploaded(share)


def test_what_is_no_dataset_is_not_listed(share: Path) -> None:
    for name in (".x-v0.partial", ".hidden/x-v0", "without-version"):
        write_dataset(share, name)
    (share / "empty-v0").mkdir()
    (share / "file-v0").write_text("")
    assert minari.list_remote_datasets() == {}


def test_links_that_stay_inside_are_followed(share: Path, datasets_root: Path, arrival: Path, tmp_path: Path) -> None:
    directory = write_dataset(tmp_path / "large disk", "x-v0")
    (directory / "data" / "again").symlink_to("main_data.hdf5")
    (datasets_root / "x-v0").symlink_to(directory)  # the directory of a dataset may lie elsewhere
    upload_dataset("x-v0")
    minari.download_dataset("x-v0", root=arrival)
    assert not (arrival / "x-v0").is_symlink()
    assert not (arrival / "x-v0/data/again").is_symlink()
    assert tree(arrival / "x-v0") == tree(directory)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda data: (data / "z").write_bytes(BIG + b"more"), RemoteError),
        (lambda data: (data / "z").write_bytes(b"less"), RemoteError),
        (lambda data: os.utime(data / "z", ns=(0, 0)), DatasetBusyError),
        (lambda data: (data / "new").write_bytes(b""), DatasetBusyError),
        (lambda data: (data / "main_data.hdf5").unlink(), DatasetBusyError),
    ],
    ids=["grow", "shrink", "rewrite", "add", "remove"],
)
def test_dataset_that_changes_is_not_uploaded(
    change: Callable[[Path], object], error: type[MinariError], share: Path, datasets_root: Path
) -> None:
    directory = write_dataset(datasets_root, "n/x-v0", files={"data/z": BIG, "data/main_data.hdf5": BIG})
    interference = Interference(lambda: change(directory / "data"), during="uploading")
    with observe_progress(interference), pytest.raises(error):
        upload_dataset("n/x-v0")
    assert set(visible(share)) <= {"n", "n/namespace_metadata.json"}


def test_interrupted_change_is_not_uploaded(share: Path, datasets_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_dataset(datasets_root, "x-v0", files={"data/main_data.hdf5": BIG}) / "data"
    monkeypatch.setattr(Overlay, "apply", lambda *_: None)  # as if it had been killed
    with FileTransaction(data / "main_data.hdf5") as file:
        file.commit({})
    assert (data / JOURNAL_NAME).exists()
    with pytest.raises(DatasetBusyError, match=r"interrupted change .*minari clean"):
        upload_dataset("x-v0")
    assert tree(share) == {}


def test_others_see_a_dataset_when_it_is_complete(share: Path, datasets_root: Path) -> None:
    def full() -> None:
        seen.append(list(minari.list_remote_datasets()))
        raise OSError(28, "No space left on device")

    seen: list[list[str]] = []
    write_dataset(datasets_root, "x-v0", files={"data/main_data.hdf5": BIG})
    with (
        observe_progress(Interference(full, during="uploading")),
        pytest.raises(RemoteError, match=r"Copying x-v0 to .* failed \(.*No space left.*has room"),
    ):
        upload_dataset("x-v0")
    assert seen == [[]]
    assert visible(share) == {}
    upload_dataset("x-v0")
    assert list(minari.list_remote_datasets()) == ["x-v0"]


def test_directory_that_went_away_is_an_error(share: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", str(share))

    remote = get_cloud_storage()
    monkeypatch.setattr(os, "scandir", refuse)
    for call in (remote.list_datasets, remote.list_namespaces):
        with pytest.raises(RemoteError, match=r"Listing .* failed .*Permission denied"):
            call()
