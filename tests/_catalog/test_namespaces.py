"""Namespaces on this machine, and their exchange with a remote."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

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
from minari.storage.remotes.directory import FileStorage
from minari.storage.remotes.registry import REMOTES
from support.scripted import PLANE, buffer_of, listing


FILE = "namespace_metadata.json"


def make_dataset(directory: Path) -> None:
    (directory / "data").mkdir(parents=True)
    (directory / "data" / "metadata.json").write_text("{}")


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@pytest.fixture
def remote(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of the default remote, which has three namespaces."""
    directory = tmp_path_factory.mktemp("remote")
    for namespace, text in {"far/b": '{"description": "from afar"}', "far": "{}", "near": "{}"}.items():
        (directory / namespace).mkdir(parents=True, exist_ok=True)
        (directory / namespace / FILE).write_text(text)
    monkeypatch.setenv("MINARI_REMOTE", f"file://{directory}")
    return directory


class GuardedStorage(FileStorage):
    """A directory that lets in whoever has the token, and records who asks for private uploads."""

    asked_private: ClassVar[list[bool]] = []

    def __init__(self, name: str, token: str | None = None, **options: Any) -> None:
        super().__init__(name, token, **options)
        self.asked_private.append(options["private"])

    def read_file(self, name: str) -> bytes:
        if self.token != "secret":
            raise RemoteAccessError("the remote does not let you in")
        return super().read_file(name)


@pytest.fixture
def guarded(remote: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of the same directory, behind a token."""
    monkeypatch.setitem(REMOTES, "guarded", (f"{__name__}:GuardedStorage", ""))
    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__, ModuleType(__name__)))
    monkeypatch.setattr(sys.modules[__name__], "GuardedStorage", GuardedStorage, raising=False)
    monkeypatch.setattr(GuardedStorage, "asked_private", [])
    return f"guarded://{remote}"


ENTRANCES: list[Callable[[Any], Any]] = [
    *(validate_namespace, create_namespace, update_namespace_metadata, get_namespace_metadata),
    *(delete_namespace, download_namespace_metadata, upload_namespace),
]


@pytest.mark.parametrize("function", ENTRANCES)
def test_bad_names_are_refused_everywhere(function: Any, datasets_root: Path, remote: Path) -> None:
    for namespace in ("", "..", "../x", "/a", "a/", "a//b", "a b", "a.b", ".a", "a\n"):
        with pytest.raises(ValueError, match="Malformed"):
            function(namespace)
    with pytest.raises(TypeError, match="must be a string"):
        function(None)
    assert list(datasets_root.rglob("*")) == []


def test_good_names_are_split_into_a_hierarchy() -> None:
    for namespace in ("a", "ab", "ab/c", "a-b_c", "A1/b2", "-ab", "a-v0"):
        validate_namespace(namespace)
    assert list(namespace_hierarchy("a/b/c")) == ["a", "a/b", "a/b/c"]
    assert list(namespace_hierarchy(None)) == []
    with pytest.raises(DatasetIdError):
        list(namespace_hierarchy("a//b"))


# On this machine


def test_creating_one_creates_those_around_it(datasets_root: Path) -> None:
    create_namespace("a/b", "first", url="https://example.org", numbers=(1, np.int64(2)))
    assert list_local_namespaces() == ["a", "a/b"]
    expected = {"url": "https://example.org", "numbers": [1, 2], "description": "first"}
    assert (get_namespace_metadata("a"), get_namespace_metadata("a/b")) == ({}, expected)
    assert list(json.loads((datasets_root / "a" / "b" / FILE).read_text())) == list(expected)
    create_namespace("a/c")
    assert get_namespace_metadata("a/c") == {}
    for namespace in ("a", "a/b"):
        with pytest.raises(NamespaceError, match=f"'{namespace}' already exists"):
            create_namespace(namespace, "second")
    assert get_namespace_metadata("a/b") == expected


def test_a_directory_becomes_a_namespace_and_a_dataset_does_not(datasets_root: Path) -> None:
    make_dataset(datasets_root / "a" / "b-v0")
    for namespace, error in (("a/b-v0", NamespaceError), ("a/b-v0/c", ValueError)):
        with pytest.raises(error, match="is a dataset"):
            create_namespace(namespace)
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


def test_missing_and_damaged_metadata_are_told(datasets_root: Path) -> None:
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
    (datasets_root / "a" / "b" / ".mine").touch()
    (datasets_root / "a" / "b" / f".{FILE}.0123456789ab.partial").touch()  # the remnant of a killed update
    for namespace, inside in (("a", "b"), ("c", r"d-v0, notes\.txt"), ("a/b", r"\.mine;")):
        with pytest.raises(NamespaceError, match=f"not empty, it holds {inside}"):
            delete_namespace(namespace)
    assert list_local_namespaces() == ["a", "a/b", "c"]
    (datasets_root / "a" / "b" / ".mine").unlink()
    delete_namespace("a/b")
    delete_namespace("a")
    make_dataset(datasets_root / "plain" / "b-v0")
    for namespace in ("nowhere", "plain", "plain/b-v0"):
        with pytest.warns(UserWarning, match=f"'{namespace}'"):
            delete_namespace(namespace)
    assert names(datasets_root) == ["c", "plain"]


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
    for hidden in (".trash", "b/.partial", "b/c-v0/data/d"):
        (datasets_root / hidden).mkdir(parents=True)
        (datasets_root / hidden / FILE).write_text("{}")
    assert list_local_namespaces() == ["a", "a-b", "a/b", "b", "z", "z/y", "z/y/x"]


def test_official_namespaces_are_found(real_root: Path) -> None:
    assert list_local_namespaces() == ["D4RL", "D4RL/door"]
    assert isinstance(get_namespace_metadata("D4RL/door"), dict)


def test_every_function_takes_another_root(tmp_path: Path, datasets_root: Path, remote: Path) -> None:
    assert list_local_namespaces(root=tmp_path / "nowhere") == []
    create_namespace("a", "own", root=tmp_path)
    update_namespace_metadata("a", "new", root=tmp_path)
    assert get_namespace_metadata("a", root=tmp_path) == {"description": "new"}
    assert list_local_namespaces(root=tmp_path) == ["a"]
    delete_namespace("a", root=tmp_path)
    download_namespace_metadata("far", root=tmp_path)
    create_namespace("far/x", root=tmp_path)
    upload_namespace("far/x", root=tmp_path)
    assert (remote / "far" / "x" / FILE).exists()
    assert list(datasets_root.iterdir()) == []


# On a remote


def test_metadata_are_downloaded_and_local_ones_kept_unless_asked(remote: Path, datasets_root: Path) -> None:
    assert list_remote_namespaces() == ["far", "far/b", "near"]
    create_namespace("near", "mine")
    with pytest.warns(UserWarning, match="overwrite=True"):
        download_namespace_metadata("near")
    assert get_namespace_metadata("near") == {"description": "mine"}
    download_namespace_metadata("near", overwrite=True)
    assert get_namespace_metadata("near") == {}
    download_namespace_metadata("far/b")
    assert get_namespace_metadata("far/b") == {"description": "from afar"}
    assert get_namespace_metadata("far") == {}
    assert names(datasets_root) == ["far", "near"]


def refusing_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", refuse)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_failed_download_changes_nothing(
    overwrite: bool, remote: Path, datasets_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if overwrite:
        create_namespace("far/b", "mine")
    before = listing(datasets_root)
    with pytest.raises(NamespaceError, match="'unknown'"):
        download_namespace_metadata("unknown")
    with pytest.raises(RemoteError):
        download_namespace_metadata("far/b", overwrite=overwrite, remote=f"file://{remote}/nowhere")
    with monkeypatch.context() as patched:
        refusing_disk(patched)
        with pytest.raises(StorageError, match="Input/output error"):
            download_namespace_metadata("far/b", overwrite=overwrite)
    (remote / "far/b" / FILE).write_text("<html>")
    with pytest.raises(DatasetCorruptError):
        download_namespace_metadata("far/b", overwrite=overwrite)
    assert listing(datasets_root) == before


def test_tokens_and_privacy_reach_the_remote(guarded: str, remote: Path, datasets_root: Path) -> None:
    create_namespace("far/new")
    before = listing(datasets_root)
    with pytest.raises(RemoteAccessError, match="does not let you in"):
        download_namespace_metadata("far/b", remote=guarded)
    assert listing(datasets_root) == before
    with pytest.raises(RemoteAccessError):
        upload_namespace("far/new", "wrong", remote=guarded)
    GuardedStorage.asked_private.clear()
    upload_namespace("far/new", "secret", remote=guarded)
    assert (remote / "far" / "new" / FILE).exists()
    assert GuardedStorage.asked_private == [False]


def test_an_upload_brings_the_levels_that_are_missing_and_no_others(remote: Path) -> None:
    create_namespace("far/new/deep", "here")
    update_namespace_metadata("far", "mine")
    upload_namespace("far/new/deep")
    assert list_remote_namespaces() == ["far", "far/b", "far/new", "far/new/deep", "near"]
    assert json.loads((remote / "far" / "new" / "deep" / FILE).read_text()) == {"description": "here"}
    before = listing(remote)
    with pytest.warns(UserWarning, match="has the namespace 'far' already"):
        upload_namespace("far")
    with pytest.raises(NamespaceError, match="Namespace 'near' does not exist locally"):
        upload_namespace("near")
    assert listing(remote) == before
    assert (remote / "far" / FILE).read_text() == "{}"


@pytest.mark.filterwarnings("ignore:`.*` is set to None")
@pytest.mark.parametrize("what", ["metadata", "a dataset", "an upload"])
def test_a_namespace_arrives_with_its_metadata(
    what: str, tmp_path: Path, datasets_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = tmp_path / "there"
    there.mkdir()
    source, target = (datasets_root, there) if what == "an upload" else (there, datasets_root)
    create_namespace("far/b", "from afar", root=source)
    if what == "a dataset":
        given_spaces = {"observation_space": PLANE, "action_space": spaces.Discrete(3)}
        create_dataset_from_buffers("far/b/c-v0", [buffer_of(3)], root=there, **given_spaces)
    seen: list[str] = []  # the contents that the file has had
    replace = Path.replace

    def watched(path: Path, destination: Path) -> Path:
        replaced = replace(path, destination)
        if destination == target / "far" / "b" / FILE:
            seen.append(destination.read_text())
        return replaced

    monkeypatch.setattr(Path, "replace", watched)
    if what == "an upload":
        upload_namespace("far/b", remote=f"file://{there}")
    elif what == "metadata":
        download_namespace_metadata("far/b", remote=f"file://{there}")
    else:
        download_dataset("far/b/c-v0", remote=f"file://{there}")
    assert set(seen) == {'{"description": "from afar"}'}
