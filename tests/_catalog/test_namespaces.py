"""Namespaces on this machine, and their exchange with a remote."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from minari import create_dataset_from_buffers, download_dataset
from minari.errors import (
    DatasetCorruptError,
    DatasetIdError,
    MetadataError,
    NamespaceError,
    RemoteAccessError,
    RemoteError,
    StorageError,
)
from minari.namespace import (
    create_namespace,
    delete_namespace,
    download_namespace_metadata,
    get_namespace_metadata,
    list_local_namespaces,
    list_remote_namespaces,
    namespace_hierarchy,
    update_namespace_metadata,
    upload_namespace,
    validate_namespace,
)
from minari.storage import remote_namespaces
from minari.storage.remotes.directory import FileStorage
from minari.testing.examples import as_buffer, draw_truth


FILE = "namespace_metadata.json"


def make_dataset(directory: Path) -> None:
    (directory / "data").mkdir(parents=True)
    (directory / "data" / "metadata.json").write_text("{}")


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


class Remote(FileStorage):
    """A directory as a remote that can be set to fail."""

    def __init__(self, directory: Path) -> None:
        super().__init__(str(directory))
        self.directory = directory
        self.uploaded: list[str] = []
        self.asked: list[tuple[str | None, str | None, dict[str, object]]] = []
        self.is_down = False

    def read_file(self, name: str) -> bytes:
        if self.is_down:
            raise RemoteAccessError("the remote does not let you in")
        return super().read_file(name)

    def write_file(self, name: str, content: bytes) -> None:
        self.uploaded.append(name.removesuffix(f"/{FILE}"))


@pytest.fixture
def remote(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Remote:
    directory = tmp_path_factory.mktemp("remote")
    for namespace, text in {"far/b": '{"description": "from afar"}', "far": "{}", "near": "{}"}.items():
        (directory / namespace).mkdir(parents=True, exist_ok=True)
        (directory / namespace / FILE).write_text(text)
    remote = Remote(directory)

    def get(remote_path: str | None = None, token: str | None = None, **options: object) -> Remote:
        remote.asked.append((remote_path, token, options))
        return remote

    monkeypatch.setattr(remote_namespaces, "get_cloud_storage", get)
    return remote


def test_the_hierarchy() -> None:
    assert list(namespace_hierarchy("a/b/c")) == ["a", "a/b", "a/b/c"]
    assert list(namespace_hierarchy(None)) == []
    with pytest.raises(DatasetIdError):
        list(namespace_hierarchy("a//b"))


@pytest.mark.parametrize("namespace", ["a", "ab", "ab/c", "a-b_c", "A1/b2", "-ab", "a-v0"])
def test_good_names(namespace: str) -> None:
    validate_namespace(namespace)


ENTRANCES: list[Any] = [
    *(validate_namespace, create_namespace, update_namespace_metadata, get_namespace_metadata),
    *(delete_namespace, download_namespace_metadata, lambda name: upload_namespace(name, "token")),
]


@pytest.mark.parametrize("function", ENTRANCES)
def test_bad_names_are_refused_everywhere(function: Any, datasets_root: Path, remote: Remote) -> None:
    for namespace in ("", "..", "../x", "/a", "a/", "a//b", "a b", "a.b", ".a", "a\n"):
        with pytest.raises(ValueError, match="Malformed"):
            function(namespace)
    with pytest.raises(TypeError, match="must be a string"):
        function(None)
    assert list(datasets_root.rglob("*")) == []


def test_creating_one_creates_those_around_it(datasets_root: Path) -> None:
    create_namespace("a/b", "first", url="https://example.org", numbers=(1, np.int64(2)))
    assert list_local_namespaces() == ["a", "a/b"]
    assert get_namespace_metadata("a") == {}
    expected = {"url": "https://example.org", "numbers": [1, 2], "description": "first"}
    assert get_namespace_metadata("a/b") == expected
    assert list(json.loads((datasets_root / "a" / "b" / FILE).read_text())) == list(expected)
    create_namespace("a/c")
    assert get_namespace_metadata("a/c") == {}


def test_an_existing_one_is_not_created_again() -> None:
    create_namespace("a/b", "first")
    for namespace in ("a", "a/b"):
        with pytest.raises(NamespaceError, match=f"'{namespace}' already exists"):
            create_namespace(namespace, "second")
    assert get_namespace_metadata("a/b") == {"description": "first"}


def test_a_dataset_does_not_become_a_namespace(datasets_root: Path) -> None:
    make_dataset(datasets_root / "a-v0")
    with pytest.raises(NamespaceError, match="is a dataset"):
        create_namespace("a-v0")
    with pytest.raises(ValueError, match="is a dataset"):
        create_namespace("a-v0/b")
    assert list_local_namespaces() == []


def test_a_directory_without_metadata_becomes_one(datasets_root: Path) -> None:
    make_dataset(datasets_root / "a" / "b-v0")
    assert list_local_namespaces() == []
    create_namespace("a", "now it is")
    assert list_local_namespaces() == ["a"]


def test_an_update_replaces_everything() -> None:
    create_namespace("a", "first", url="x")
    update_namespace_metadata("a", author="Ann")
    assert get_namespace_metadata("a") == {"author": "Ann", "description": None}
    with pytest.raises(NamespaceError, match="Namespace 'b' does not exist locally"):
        update_namespace_metadata("b", "first")


@pytest.mark.parametrize("value", [object(), b"bytes", {1: 2}])
def test_metadata_that_json_cannot_hold_change_nothing(value: Any, datasets_root: Path) -> None:
    create_namespace("a", "first")
    with pytest.raises(MetadataError, match="'odd'"):
        update_namespace_metadata("a", odd=value)
    with pytest.raises(MetadataError, match="'odd'"):
        create_namespace("a/b", odd=value)
    assert get_namespace_metadata("a") == {"description": "first"}
    assert names(datasets_root / "a") == [FILE]


def test_missing_and_damaged_metadata(datasets_root: Path) -> None:
    with pytest.raises(NamespaceError, match="Namespace 'a' does not exist locally"):
        get_namespace_metadata("a")
    create_namespace("a")
    for text in ("{", "[]", ""):
        (datasets_root / "a" / FILE).write_text(text)
        with pytest.raises(DatasetCorruptError, match=FILE):
            get_namespace_metadata("a")
    assert list_local_namespaces() == ["a"]


def test_only_empty_namespaces_are_deleted(datasets_root: Path) -> None:
    create_namespace("a/b", "inner")
    make_dataset(datasets_root / "c" / "d-v0")
    create_namespace("c")
    (datasets_root / "c" / "notes.txt").write_text("mine")
    for namespace, inside in (("a", "b"), ("c", r"d-v0, notes\.txt")):
        with pytest.raises(NamespaceError, match=f"not empty, it holds {inside}"):
            delete_namespace(namespace)
    assert list_local_namespaces() == ["a", "a/b", "c"]
    delete_namespace("a/b")
    delete_namespace("a")
    assert names(datasets_root) == ["c"]


def test_deleting_an_unknown_one_is_a_warning(datasets_root: Path) -> None:
    make_dataset(datasets_root / "a" / "b-v0")
    for namespace in ("nowhere", "a", "a/b-v0"):
        with pytest.warns(UserWarning, match=f"'{namespace}'"):
            delete_namespace(namespace)
    assert (datasets_root / "a" / "b-v0" / "data").is_dir()


def test_what_arrives_during_a_deletion_is_kept(datasets_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create_namespace("a", "kept")
    unlink = Path.unlink

    def overtaken(path: Path, missing_ok: bool = False) -> None:
        unlink(path, missing_ok)
        if path.name == FILE:
            make_dataset(datasets_root / "a" / "b-v0")

    monkeypatch.setattr(Path, "unlink", overtaken)
    with pytest.raises(OSError, match="not empty"):
        delete_namespace("a")
    assert get_namespace_metadata("a") == {"description": "kept"}


def test_the_list_is_sorted_and_passes_over_what_is_hidden(datasets_root: Path) -> None:
    for namespace in ("b", "a/b", "a-b", "z/y/x"):
        create_namespace(namespace)
    for hidden in (".trash", "b/.partial"):
        (datasets_root / hidden).mkdir()
        (datasets_root / hidden / FILE).write_text("{}")
    (datasets_root / "b" / "c-v0" / "data" / "d").mkdir(parents=True)
    (datasets_root / "b" / "c-v0" / "data" / "d" / FILE).write_text("{}")
    assert list_local_namespaces() == ["a", "a-b", "a/b", "b", "z", "z/y", "z/y/x"]


def test_official_namespaces_are_found(real_root: Path) -> None:
    assert list_local_namespaces() == ["D4RL", "D4RL/door"]
    assert isinstance(get_namespace_metadata("D4RL/door"), dict)


def test_another_root(tmp_path: Path, datasets_root: Path, remote: Remote) -> None:
    assert list_local_namespaces(root=tmp_path / "nowhere") == []
    create_namespace("a", "own", root=tmp_path)
    update_namespace_metadata("a", "new", root=tmp_path)
    assert get_namespace_metadata("a", root=tmp_path) == {"description": "new"}
    assert list_local_namespaces(root=tmp_path) == ["a"]
    delete_namespace("a", root=tmp_path)
    download_namespace_metadata("far", root=tmp_path)
    upload_namespace("far/x", "token", root=_with_namespace(tmp_path, "far/x"))
    assert list_local_namespaces() == []
    assert list(datasets_root.iterdir()) == []


def _with_namespace(root: Path, namespace: str) -> Path:
    create_namespace(namespace, root=root)
    return root


def test_the_remotes_namespaces(remote: Remote) -> None:
    assert list_remote_namespaces() == ["far", "far/b", "near"]


def test_metadata_are_downloaded(remote: Remote, datasets_root: Path) -> None:
    download_namespace_metadata("far/b")
    assert get_namespace_metadata("far/b") == {"description": "from afar"}
    assert get_namespace_metadata("far") == {}
    assert names(datasets_root) == ["far"]


def test_local_metadata_are_kept_unless_asked(remote: Remote) -> None:
    create_namespace("far/b", "mine")
    with pytest.warns(UserWarning, match="overwrite=True"):
        download_namespace_metadata("far/b")
    assert get_namespace_metadata("far/b") == {"description": "mine"}
    download_namespace_metadata("far/b", overwrite=True)
    assert get_namespace_metadata("far/b") == {"description": "from afar"}


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_failed_download_changes_nothing(overwrite: bool, remote: Remote, datasets_root: Path) -> None:
    if overwrite:
        create_namespace("far/b", "mine")
    before = sorted(datasets_root.rglob("*"))
    remote.is_down = True
    with pytest.raises(RemoteError, match="does not let you in"):
        download_namespace_metadata("far/b", overwrite=overwrite)
    remote.is_down = False
    (remote.directory / "far/b" / FILE).write_text("<html>")
    with pytest.raises(DatasetCorruptError):
        download_namespace_metadata("far/b", overwrite=overwrite)
    with pytest.raises(NamespaceError, match="'unknown'"):
        download_namespace_metadata("unknown")
    assert sorted(datasets_root.rglob("*")) == before
    if overwrite:
        assert get_namespace_metadata("far/b") == {"description": "mine"}


def test_an_upload_brings_the_levels_that_are_missing(remote: Remote) -> None:
    create_namespace("far/new/deep")
    upload_namespace("far/new/deep", "secret")
    assert remote.uploaded == ["far/new", "far/new/deep"]
    assert remote.asked == [(None, "secret", {"private": False})]


def test_what_the_remote_has_is_not_uploaded(remote: Remote) -> None:
    create_namespace("far/b", "mine")
    with pytest.warns(UserWarning, match="has the namespace 'far/b' already"):
        upload_namespace("far/b", "secret")
    with pytest.raises(NamespaceError, match="Namespace 'near' does not exist locally"):
        upload_namespace("near", "secret")
    assert remote.uploaded == []


@pytest.fixture
def contents_seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Record successive contents of metadata files by their path."""
    seen: list[tuple[str, str]] = []
    replace = Path.replace

    def watched(path: Path, target: Path) -> Path:
        replaced = replace(path, target)
        if target.name == FILE:
            seen.append((str(target), target.read_text()))
        return replaced

    monkeypatch.setattr(Path, "replace", watched)
    return seen


@pytest.mark.parametrize("what", ["metadata", "a dataset", "an upload"])
def test_a_namespace_arrives_with_its_metadata(
    what: str, tmp_path: Path, datasets_root: Path, contents_seen: list[tuple[str, str]]
) -> None:
    there = tmp_path / "there"
    there.mkdir()
    source = datasets_root if what == "an upload" else there
    target = there if what == "an upload" else datasets_root
    create_namespace("far/b", "from afar", root=source)
    if what == "a dataset":
        create_dataset_from_buffers(
            "far/b/c-v0",
            [as_buffer(draw_truth(spaces.Discrete(2), spaces.Discrete(2), 3, 0))],
            observation_space=spaces.Discrete(2),
            action_space=spaces.Discrete(2),
            root=there,
        )
    contents_seen.clear()
    if what == "an upload":
        upload_namespace("far/b", remote=f"file://{there}")
    elif what == "metadata":
        download_namespace_metadata("far/b", remote=f"file://{there}")
    else:
        download_dataset("far/b/c-v0", remote=f"file://{there}")
    file = str(target / "far" / "b" / FILE)
    assert {text for path, text in contents_seen if path == file} == {'{"description": "from afar"}'}


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_disk_that_refuses_downloaded_metadata(
    overwrite: bool, remote: Remote, datasets_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if overwrite:
        create_namespace("far/b", "mine")
    before = sorted(datasets_root.rglob("*"))

    def refuse(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StorageError, match="Input/output error"):
        download_namespace_metadata("far/b", overwrite=overwrite)
    assert sorted(datasets_root.rglob("*")) == before
    assert not overwrite or get_namespace_metadata("far/b") == {"description": "mine"}


def test_the_remnant_of_a_killed_update_keeps_no_namespace(datasets_root: Path) -> None:
    create_namespace("a", "first")
    (datasets_root / "a" / f".{FILE}.0123456789ab.partial").write_text("{")
    (datasets_root / "a" / ".mine").write_text("{")
    with pytest.raises(NamespaceError, match=r"it holds \.mine;"):
        delete_namespace("a")
    (datasets_root / "a" / ".mine").unlink()
    delete_namespace("a")
    assert names(datasets_root) == []
