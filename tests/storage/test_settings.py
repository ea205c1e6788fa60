"""Environment variables whose value is at fault are named, and a path where an address was expected is understood."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minari
import minari.storage.remotes.directory  # loaded while everything may be read
from minari.errors import DatasetBusyError, DatasetIdError, RemoteError, StorageError
from minari.storage.remotes import RemoteDatasetNotFoundError
from support.scripted import ScriptedEnv
from support.stored import as_nobody


def record(dataset_id: str) -> minari.MinariDataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return minari.create_dataset_from_arrays(
            dataset_id, np.zeros(3), np.zeros(2), np.ones(2), np.array([False, True])
        )


@pytest.mark.parametrize(
    "call",
    [
        minari.list_local_datasets,
        minari.namespace.list_local_namespaces,
        lambda: minari.load_dataset("a-v0"),
        lambda: record("a-v0"),
        lambda: minari.namespace.create_namespace("a"),
        lambda: minari.DataCollector(ScriptedEnv()),
    ],
)
def test_a_root_that_is_a_file(call: Callable[[], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(file))
    with pytest.raises(StorageError, match=f"MINARI_DATASETS_PATH is {file}, which is a file"):
        call()


def test_a_root_that_is_given_and_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=f"The root of the datasets is {tmp_path / 'file'}, which is a file"):
        minari.load_dataset("a-v0", root=tmp_path / "file")


def test_a_root_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "file" / "deeper"))
    with pytest.raises(StorageError, match=r"MINARI_DATASETS_PATH is .*, which cannot be made") as caught:
        record("a-v0")
    assert caught.value.errno is not None


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="becomes another user, which needs root")
class TestOtherPeoplesDirectories:
    @pytest.fixture
    def datasets_root(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
        """One that everybody may read; those of pytest are closed again whenever another run of it begins."""
        with tempfile.TemporaryDirectory() as directory:
            root = Path(directory)
            root.chmod(0o755)
            monkeypatch.setenv("MINARI_DATASETS_PATH", directory)
            record("a-v0")
            yield root
            root.chmod(0o755)

    @pytest.mark.parametrize("closed", ["n", "n/b-v0", "n/b-v0/data", "n/b-v0/data/metadata.json"])
    def test_they_are_left_out_with_a_warning(self, datasets_root: Path, closed: str) -> None:
        record("n/b-v0")
        (datasets_root / closed).chmod(0)

        def look() -> str:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                lists = [list(minari.list_local_datasets()), list(minari.list_remote_datasets(datasets_root.as_uri()))]
            return f"{lists} {len(caught)}"

        assert as_nobody(look) == "[['a-v0'], ['a-v0']] 2"

    def test_those_that_are_asked_for_by_their_id(self, datasets_root: Path) -> None:
        (datasets_root / "a-v0").chmod(0)
        for call in (minari.load_dataset, minari.delete_dataset, minari.validate):
            assert "StorageError: " in as_nobody(lambda: str(call("a-v0")))  # noqa: B023
        assert "DataPathError" in as_nobody(lambda: str(minari.open_dataset(datasets_root / "a-v0")))

    def test_the_root(self, datasets_root: Path) -> None:
        datasets_root.chmod(0)
        listed = as_nobody(lambda: str(minari.list_local_datasets()))
        assert listed.startswith(f"StorageError: MINARI_DATASETS_PATH is {datasets_root}, which may not be read")

    def test_a_root_that_may_not_be_written(self, datasets_root: Path) -> None:
        assert "name another directory in MINARI_DATASETS_PATH" in as_nobody(lambda: str(record("b-v0")))


@pytest.mark.parametrize("value", ["soon", "-1", "nan"])
def test_a_timeout_that_is_none(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_a_remote_that_is_none(value: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_a_path_as_a_remote(path: str) -> None:
    expected = Path(path).expanduser().absolute().as_uri()
    with pytest.raises(RemoteError) as caught:
        minari.list_remote_datasets(path)
    assert str(caught.value).endswith(f"For a directory, write {expected}.")
    with pytest.raises(DatasetIdError) as refused:
        minari.download_dataset(f"{path}/x-v0")
    assert str(refused.value).endswith(f"write {expected}/x-v0.")


def test_ids_of_a_remote(share: Path) -> None:
    record("door/human-v0")
    minari.upload_dataset("door/human-v0")
    with pytest.raises(RemoteDatasetNotFoundError, match=r"Did you mean 'door/human-v0'\?"):
        minari.download_dataset("door/humans-v0")
