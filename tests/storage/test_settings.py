"""Environment variables whose value is at fault are named, and a path where an address was expected is understood."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import minari
import minari.storage.remotes.directory  # loaded while everything may be read
from minari.errors import DatasetBusyError, DatasetIdError, RemoteError, StorageError
from minari.storage.remotes import RemoteDatasetNotFoundError
from support.scripted import ScriptedEnv
from support.stored import as_nobody


Record = Callable[..., minari.MinariDataset]
root_only = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="becomes another user, which needs root"
)


@pytest.mark.parametrize(
    "call",
    [
        lambda record: minari.list_local_datasets(),
        lambda record: minari.namespace.list_local_namespaces(),
        lambda record: minari.load_dataset("a-v0"),
        lambda record: record("a-v0"),
        lambda record: minari.namespace.create_namespace("a"),
        lambda record: minari.DataCollector(ScriptedEnv()),
    ],
)
def test_root_that_is_a_file_is_named(
    call: Callable[[Record], Any], record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(file))
    with pytest.raises(StorageError, match=f"MINARI_DATASETS_PATH is {file}, which is a file"):
        call(record)
    with pytest.raises(StorageError, match=f"The root of the datasets is {file}, which is a file"):
        minari.load_dataset("a-v0", root=file)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(file / "deeper"))
    with pytest.raises(StorageError, match=r"MINARI_DATASETS_PATH is .*, which cannot be made") as caught:
        record("a-v0")
    assert caught.value.errno is not None


@pytest.fixture
def others_root(monkeypatch: pytest.MonkeyPatch, record: Record) -> Iterator[Path]:
    """A root that everybody may read; those of pytest are closed again whenever another run of it begins."""
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        root.chmod(0o755)
        monkeypatch.setenv("MINARI_DATASETS_PATH", directory)
        record("a-v0")
        yield root
        root.chmod(0o755)


@root_only
@pytest.mark.parametrize("closed", ["n", "n/b-v0", "n/b-v0/data", "n/b-v0/data/metadata.json"])
def test_closed_directories_are_left_out_with_a_warning(others_root: Path, record: Record, closed: str) -> None:
    record("n/b-v0")
    (others_root / closed).chmod(0)

    def look() -> str:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            lists = [list(minari.list_local_datasets()), list(minari.list_remote_datasets(others_root.as_uri()))]
        return f"{lists} {len(caught)}"

    assert as_nobody(look) == "[['a-v0'], ['a-v0']] 2"


@root_only
def test_closed_dataset_and_root_are_named(others_root: Path, record: Record) -> None:
    assert "name another directory in MINARI_DATASETS_PATH" in as_nobody(lambda: str(record("b-v0")))
    (others_root / "a-v0").chmod(0)
    for call in (minari.load_dataset, minari.delete_dataset, minari.validate):
        assert "StorageError: " in as_nobody(lambda: str(call("a-v0")))  # noqa: B023
    assert "DataPathError" in as_nobody(lambda: str(minari.open_dataset(others_root / "a-v0")))
    others_root.chmod(0)
    listed = as_nobody(lambda: str(minari.list_local_datasets()))
    assert listed.startswith(f"StorageError: MINARI_DATASETS_PATH is {others_root}, which may not be read")


@pytest.mark.parametrize("value", ["soon", "-1", "nan"])
def test_impossible_timeout_is_named(value: str, record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = record("a-v0")
    monkeypatch.setenv("MINARI_LOCK_TIMEOUT", value)
    with pytest.raises(DatasetBusyError, match=f"MINARI_LOCK_TIMEOUT is '{value}'"):
        dataset.storage.update_metadata({"a": 1})


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("/mnt/lab", "For a directory, write file:///mnt/lab."),
        ("lab", "must be of the form"),
        ("hff://lab", "Did you mean 'hf'?"),
        ("file:///not/there", "There is no directory /not/there"),
    ],
)
def test_impossible_remote_is_named(value: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINARI_REMOTE", value)
    for call in (minari.list_remote_datasets, lambda: minari.download_dataset("x-v0")):
        with pytest.raises(RemoteError) as caught:
            call()
        assert words in str(caught.value)
        assert "named by MINARI_REMOTE; correct or unset that." in str(caught.value)
    with pytest.raises(RemoteError) as caught:
        minari.list_remote_datasets("file:///nor/this")
    assert "MINARI_REMOTE" not in str(caught.value)


@pytest.mark.parametrize("path", ["./share", "../share", "~/share", "/share"])
def test_path_as_a_remote_is_understood(path: str) -> None:
    expected = Path(path).expanduser().absolute().as_uri()
    with pytest.raises(RemoteError) as caught:
        minari.list_remote_datasets(path)
    assert str(caught.value).endswith(f"For a directory, write {expected}.")
    with pytest.raises(DatasetIdError) as refused:
        minari.download_dataset(f"{path}/x-v0")
    assert str(refused.value).endswith(f"write {expected}/x-v0.")


def test_similar_ids_of_a_remote_are_suggested(share: Path, record: Record) -> None:
    record("door/human-v0")
    minari.upload_dataset("door/human-v0")
    with pytest.raises(RemoteDatasetNotFoundError, match=r"Did you mean 'door/human-v0'\?"):
        minari.download_dataset("door/humans-v0")
