"""``file:///folder``: a folder as a remote, such as one that a laboratory shares over its network.

The folder is laid out as the local root is, so that a root can be a remote as it stands. The folder of
a dataset is moved as a whole, without what is hidden in it, as that belongs to programs on one machine.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from urllib.request import url2pathname

from minari.dataset.dataset_id import DatasetId, dataset_id_sort_key, is_dataset_id, is_part, parse_namespace
from minari.dataset.minari_storage import MinariStorage
from minari.errors import DatasetBusyError, DatasetNotFoundError, MinariError, NamespaceError, RemoteError
from minari.progress import track
from minari.storage.datasets_root_dir import get_dataset_path
from minari.storage.publishing import (
    NAMESPACE_METADATA_FILENAME,
    catalogue_folders,
    dataset_exists,
    ensure_namespace_directories,
    staged_directory,
    write_atomically,
)
from minari.storage.remotes.cloud_storage import CloudStorage, RemoteDatasetNotFoundError, file_within


__all__ = ["FileStorage"]

_CHUNK = 1 << 20  # bytes: what is copied between two reports of progress


class FileStorage(CloudStorage):
    """A folder that several machines can reach, as a remote.

    Args:
        name: the path of the folder as in an address, ``/folder`` for ``file:///folder`` and
            ``/C:/folder`` for ``file:///C:/folder``; spaces may be written as ``%20``.
        token: not used, the system decides who may read and write.

    Raises:
        RemoteError: the path is relative, or there is no such folder.
    """

    def __init__(self, name: str, token: str | None = None) -> None:
        super().__init__(name, token)
        self._root = _folder(name)
        with _failures_told(f"Opening the folder {self._root}"):
            is_folder = self._root.is_dir()
        if not is_folder:
            raise RemoteError(
                f"There is no folder {self._root} to serve as a remote; create it, or mount what it lies on."
            )

    @classmethod
    def split_location(cls, location: str) -> tuple[str, str]:
        """The folder of the remote and the dataset id in the path of a dataset.

        The folders around a dataset belong to its id as far as they are namespaces, that is, have
        metadata; the first one that has none is the remote. It makes no difference whether the dataset
        itself exists.
        """
        parts = location.split("/")
        first = len(parts) - 1
        while first > 1 and is_part(unquote(parts[first - 1])) and _is_namespace("/".join(parts[:first])):
            first -= 1
        return "/".join(parts[:first]) or "/", unquote("/".join(parts[first:]))

    def list_datasets(self, prefix: str | None = None) -> list[str]:
        """The ids of the datasets, sorted, those that begin with a prefix where one is given."""
        with _failures_told(f"Listing the datasets of {self._root}"):
            found = [
                dataset_id
                for dataset_id, folder in catalogue_folders(self._root)
                if dataset_id.startswith(prefix or "") and is_dataset_id(dataset_id) and dataset_exists(folder)
            ]
        return sorted(found, key=dataset_id_sort_key)

    def get_dataset_metadata(self, dataset_id: str) -> dict[str, Any]:
        """The metadata of a dataset as they are stored."""
        folder = self._dataset_folder(dataset_id)
        with _failures_told(f"Reading the metadata of {dataset_id} in {self._root}"):
            return MinariStorage.read_raw_metadata(folder / "data")

    def download_dataset(self, dataset_id: str, path: Path) -> None:
        """Copy a dataset from the folder; it appears in ``path`` when it is complete."""
        destination = path.joinpath(*parse_namespace(dataset_id))
        with _failures_told(f"Copying {dataset_id} from {self._root} to {path}"):
            _copy(self._dataset_folder(dataset_id), destination, f"downloading {dataset_id}")

    def upload_dataset(self, dataset_id: str, *, root: str | os.PathLike[str] | None = None) -> None:
        """Copy a local dataset to the folder; it appears there when it is complete."""
        source = get_dataset_path(str(DatasetId.parse(dataset_id)), root=root)
        if not dataset_exists(source):
            raise DatasetNotFoundError(f"There is no dataset {dataset_id} at {source} to upload.")
        with _failures_told(f"Copying {dataset_id} to {self._root}"):
            _copy(source, self._root.joinpath(*parse_namespace(dataset_id)), f"uploading {dataset_id}")

    def list_namespaces(self) -> list[str]:
        """The namespaces that have metadata, sorted."""
        with _failures_told(f"Listing the namespaces of {self._root}"):
            folders = catalogue_folders(self._root)
            return sorted(name for name, folder in folders if (folder / NAMESPACE_METADATA_FILENAME).is_file())

    def download_namespace_metadata(self, namespace: str, path: Path) -> None:
        """Copy the metadata of a namespace from the folder."""
        parts = parse_namespace(namespace)
        file = self._root.joinpath(*parts, NAMESPACE_METADATA_FILENAME)
        with _failures_told(f"Copying the metadata of the namespace {namespace} from {self._root}"):
            if not file.is_file():
                raise NamespaceError(f"There is no namespace {namespace!r} in {self._root}.")
            _size_and_stamp(file, file.parent.resolve())
            folder = path.joinpath(*parts)
            folder.mkdir(parents=True, exist_ok=True)
            write_atomically(folder / NAMESPACE_METADATA_FILENAME, file.read_bytes())

    def upload_namespace(self, namespace: str, *, root: str | os.PathLike[str] | None = None) -> None:
        """Copy the metadata of a local namespace to the folder."""
        file = get_dataset_path(namespace, root=root) / NAMESPACE_METADATA_FILENAME
        if not file.is_file():
            raise NamespaceError(f"There is no local namespace {namespace!r} to upload; create it first.")
        with _failures_told(f"Copying the metadata of the namespace {namespace} to {self._root}"):
            _size_and_stamp(file, file.parent.resolve())
            ensure_namespace_directories(self._root, namespace)
            target = self._root.joinpath(*parse_namespace(namespace), NAMESPACE_METADATA_FILENAME)
            write_atomically(target, file.read_bytes())

    def _dataset_folder(self, dataset_id: str) -> Path:
        folder = self._root.joinpath(*parse_namespace(str(DatasetId.parse(dataset_id))))
        if not dataset_exists(folder):
            raise RemoteDatasetNotFoundError(f"There is no dataset {dataset_id} in {self._root}.")
        return folder


def _folder(name: str) -> Path:
    if not name.startswith("/"):
        raise RemoteError(f"The address of a folder must be of the form file:///folder, got 'file://{name}'.")
    with _failures_told(f"Understanding 'file://{name}'"):
        return Path(url2pathname(name))


def _is_namespace(location: str) -> bool:
    with _failures_told(f"Looking for namespaces at 'file://{location}'"):
        return (_folder(location) / NAMESPACE_METADATA_FILENAME).is_file()


@contextmanager
def _failures_told(action: str) -> Iterator[None]:
    """What the system refuses, as an error of this library."""
    try:
        yield
    except MinariError:
        raise
    except OSError as error:
        raise RemoteError(
            f"{action} failed ({error}); see that the folder is mounted, has room, and may be read and written."
        ) from error


@dataclass(frozen=True, slots=True)
class _File:
    """One file of a dataset: where, how long, and what changes whenever it is written."""

    name: str
    size: int
    stamp: tuple[int, int]


def _copy(source: Path, destination: Path, description: str) -> None:
    """Copy the folder of a dataset. It appears when it is complete, and agrees with one moment of the source."""
    files = _files_at_rest(source)
    chunks = sum(-(-file.size // _CHUNK) for file in files)
    with staged_directory(destination) as folder:
        for _ in track(_copied(files, source, folder), description, total=chunks, unit="MiB"):
            pass
        if _files_at_rest(source) != files:
            raise DatasetBusyError(
                f"The dataset {source} was changed while it was copied; try again when nobody is writing it."
            )


def _copied(files: list[_File], source: Path, folder: Path) -> Iterator[None]:
    for file in files:
        target = file_within(folder, file.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        with (source / file.name).open("rb") as reader, target.open("xb") as writer:
            while chunk := reader.read(_CHUNK):
                writer.write(chunk)
                yield
        size = target.stat().st_size
        if size != file.size:
            raise RemoteError(
                f"{source / file.name} has {file.size} bytes and its copy has {size}; try again when nobody is "
                "writing the dataset and there is room for it."
            )


def _files_at_rest(source: Path) -> list[_File]:
    """The files of a dataset once no change is half made."""
    MinariStorage.read_raw_metadata(source / "data")  # finishes what a killed program has left, or waits
    return list(_files_below(source, source.resolve(), ""))


def _files_below(folder: Path, base: Path, prefix: str) -> Iterator[_File]:
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _files_below(path, base, f"{prefix}{path.name}/")
        else:
            yield _File(f"{prefix}{path.name}", *_size_and_stamp(path, base))


def _size_and_stamp(path: Path, base: Path) -> tuple[int, tuple[int, int]]:
    """The size of a regular file in bytes, and its stamp; links that lead elsewhere are refused."""
    if not path.resolve().is_relative_to(base):
        raise RemoteError(
            f"{path} is a link that leads out of {base}, and only what lies there is copied; put the file "
            "itself in its place."
        )
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise RemoteError(f"{path} is a link to a folder, or no file at all; take it out of the dataset.")
    return status.st_size, (status.st_ino, status.st_mtime_ns)
