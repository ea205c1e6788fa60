"""``file:///directory``: a directory as a remote, such as a network share."""

from __future__ import annotations

import logging
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote
from urllib.request import url2pathname

from minari._base.atomic import write_atomically
from minari._base.files import NAMESPACE_METADATA_FILENAME, Directory
from minari._base.warnings import warn
from minari._catalog.layout import dataset_exists, ensure_namespace_directories, publish_directory, refuse_taken
from minari._catalog.listing import walk_catalog
from minari._model.dataset_id import DatasetId, is_dataset_id, is_part
from minari._model.manifest import MANIFEST_NAME, Manifest
from minari._model.metadata_json import with_id_of_place
from minari._storages.metadata_file import read_raw_metadata, refuse_unfinished
from minari.errors import DatasetBusyError, MinariError, RemoteError, UnsafePathError
from minari.storage.remotes.base import CloudStorage
from minari.storage.transfer.checksums import checksums_of, read_in_pieces
from minari.storage.transfer.index import INDEX_FILE_NAME, dump_index
from minari.storage.transfer.meter import Advance
from minari.storage.transfer.remote_files import (
    METADATA_NAME,
    SMALL_FILE_LIMIT,
    RemoteFile,
    RemoteFileNotFoundError,
    UnsafeNameError,
    check_size,
    file_within,
)
from minari.storage.transfer.upload_snapshot import SnapshotFile, UploadSnapshot, local_files
from minari.storage.transfer.work_dir import work_dir


__all__ = ["FileStorage"]


_log = logging.getLogger(__name__)

_COPIED_AT_ONCE = 1 << 20  # bytes


class FileStorage(CloudStorage):
    """Directory that several machines can access, as a remote.

    Args:
        name: path of the directory as in an address: ``/shared`` for ``file:///shared``,
            ``/C:/shared`` for ``file:///C:/shared``; spaces may be written as ``%20``.
        token: not used, since the system controls access.
        **options: as for :class:`CloudStorage`.

    Raises:
        RemoteError: the path is relative, or there is no such directory.
    """

    SCHEME = "file"
    MOVABLE = True

    def __init__(self, name: str, token: str | None = None, **options: Any) -> None:
        super().__init__(name, token, **options)
        self._root = _directory(name)
        with _remote_errors(f"Opening the directory {self._root}"):
            is_directory = self._root.is_dir()
        if not is_directory:
            raise RemoteError(
                f"There is no directory {self._root} to use as a remote; create it, or mount its file system."
            )

    @classmethod
    def split_location(cls, location: str) -> tuple[str, str]:
        """Return the directory of the remote and the dataset id in the path of a dataset without a namespace."""
        directory, _, dataset_id = location.rpartition("/")
        return directory or "/", unquote(dataset_id)

    @classmethod
    def find_location(cls, location: str) -> tuple[str, str]:
        """Return the directory of the remote and the dataset id in the path of a dataset.

        The directories that contain a dataset belong to its id if they are namespaces, that is, have metadata; the
        innermost directory without metadata is the remote. The dataset itself need not exist.
        """
        parts = location.split("/")
        first = len(parts) - 1
        while first > 1 and is_part(unquote(parts[first - 1])) and _is_namespace("/".join(parts[:first])):
            first -= 1
        return "/".join(parts[:first]) or "/", unquote("/".join(parts[first:]))

    def list_with_metadata(self, prefix: str | None = None) -> dict[str, bytes | None]:
        """List the datasets; their metadata is read individually."""
        with _remote_errors(f"Listing the datasets of {self._root}"):
            return {
                directory.id: None
                for directory in walk_catalog(self._root)
                if directory.is_dataset and directory.id.startswith(prefix or "") and is_dataset_id(directory.id)
            }

    def list_namespaces(self) -> list[str]:
        """Return the namespaces that have metadata, sorted."""
        with _remote_errors(f"Listing the namespaces of {self._root}"):
            return sorted(directory.id for directory in walk_catalog(self._root) if directory.is_namespace)

    def has_dataset(self, dataset_id: str) -> bool:
        """Return whether there is a dataset with this id, which is complete, since directories appear atomically."""
        with _remote_errors(f"Looking for {dataset_id} in {self._root}"):
            return dataset_exists(self._path(str(DatasetId.parse(dataset_id))))

    def get_dataset_metadata(self, dataset_id: str) -> dict[str, Any]:
        """Return the metadata of a dataset, also of an old release, with its id on this remote."""
        if not self.has_dataset(dataset_id):
            raise self.missing_dataset(dataset_id)
        with _remote_errors(f"Reading the metadata of {dataset_id} in {self._root}"):
            return with_id_of_place(read_raw_metadata(self._path(dataset_id) / "data"), dataset_id)

    def list_files(self, directory: str) -> list[RemoteFile]:
        """List all files below a directory, unless a change to them is unfinished."""
        path = self._path(directory)
        with _remote_errors(f"Listing the files of {directory} in {self._root}"):
            if not path.is_dir():
                return []
            if dataset_exists(path):
                refuse_unfinished(path / "data")
            found = [
                RemoteFile(f"{directory}/{file.name}", file.size, None, "{}-{}".format(*file.stamp))
                for file in local_files(path)
            ]
            manifest = file_within(path, MANIFEST_NAME)
            if manifest.is_file() and not self._is_changed(directory):
                found.append(RemoteFile(f"{directory}/{MANIFEST_NAME}", manifest.stat().st_size))
            return found

    def _is_changed(self, dataset_id: str) -> bool:
        """Return whether a dataset was changed in place after it was uploaded with a manifest.

        Every such change rewrites the metadata file, nearly always with other content.
        """
        name = f"{dataset_id}/{MANIFEST_NAME}"
        manifest, metadata = self._path(name), self._path(f"{dataset_id}/{METADATA_NAME}")
        if not (manifest.is_file() and metadata.is_file()):
            return False
        if metadata.stat().st_mtime_ns <= manifest.stat().st_mtime_ns:
            return False
        expected = Manifest.parse(self.read_file(name), name).files.get(METADATA_NAME)
        if expected is None:
            return False
        return expected.sha256 != checksums_of(read_in_pieces(metadata), 0, ["sha256"])["sha256"].value

    def read_file(self, name: str) -> bytes:
        """Read a small file."""
        with self._opened(name) as file:
            content = file.read(SMALL_FILE_LIMIT + 1)
        return check_size(content, SMALL_FILE_LIMIT, name)

    def read_range(self, name: str, start: int, stop: int) -> bytes:
        """Read some bytes of a file."""
        with self._opened(name) as file:
            file.seek(start)
            return file.read(max(stop - start, 0))

    @contextmanager
    def _opened(self, name: str) -> Iterator[BinaryIO]:
        dataset, is_data, inside = name.partition("/data/")
        directory, inside = (dataset, f"data/{inside}") if is_data else name.rpartition("/")[::2]
        path = self._path(directory) if directory else self._root
        with _remote_errors(f"Reading {name} in {self._root}"):
            try:
                with Directory(path) as opened, os.fdopen(opened.open(inside), "rb") as file:
                    yield file
            except (FileNotFoundError, NotADirectoryError):
                raise RemoteFileNotFoundError(f"There is no file {name} in {self._root}.") from None
            except UnsafePathError as error:
                raise UnsafeNameError(str(error)) from None

    def write_file(self, name: str, content: bytes) -> None:
        """Write a small file of a namespace, which is created if missing."""
        path = self._path(name)
        with _remote_errors(f"Writing {name} in {self._root}"):
            if path.name == NAMESPACE_METADATA_FILENAME and not path.exists():
                ensure_namespace_directories(self._root, name.rpartition("/")[0], content)
            else:
                write_atomically(path, content)

    @contextmanager
    def unchanged(self, dataset_id: str) -> Iterator[None]:
        """Raise unless the files that are copied in the block belong to the same state of the dataset."""
        before = self.list_files(str(DatasetId.parse(dataset_id)))
        with _remote_errors(f"Reading the manifest of {dataset_id} in {self._root}"):
            if self._is_changed(dataset_id):
                warn(
                    f"{self._path(dataset_id)} was changed there after it was uploaded, so its manifest is "
                    "outdated: it is copied as it is, and only the sizes of its files are compared.",
                )
        yield
        if self.list_files(dataset_id) != before:
            raise DatasetBusyError(
                f"The dataset {self._path(dataset_id)} was changed while it was copied; try again when no program "
                "is writing it."
            )

    def send_snapshot(self, snapshot: UploadSnapshot, advance: Advance, *, force: bool) -> None:
        """Copy a dataset to a hidden directory, which is renamed when it is complete."""
        destination = self._path(snapshot.dataset_id)
        hidden = destination.with_name(f".{destination.name}.upload")
        with _remote_errors(f"Copying {snapshot.dataset_id} to {self._root}"):
            refuse_taken(destination)
            with work_dir(hidden, f"uploading {snapshot.dataset_id}") as directory:
                refuse_taken(destination)  # by another program, for which this one has waited
                copied = directory / "files"
                texts = {} if snapshot.metadata is None else {METADATA_NAME: snapshot.metadata}
                texts[MANIFEST_NAME] = snapshot.manifest  # after the metadata: see _is_changed
                _remove_others(copied, {*texts, *(file.name for file in snapshot.files)})
                with Directory(copied) as target:
                    for file in snapshot.files:
                        _copy(file, target)
                        advance(file.size, 1)
                    for name, content in texts.items():
                        with os.fdopen(target.create(name, os.O_WRONLY | os.O_TRUNC), "wb") as writer:
                            writer.write(content)
                        advance(len(content), 1)
                snapshot.check_unchanged()
                publish_directory(copied, destination)
        try:
            self._write_index()
        except (MinariError, OSError) as error:
            _log.warning("The index of %s was not brought up to date: %s", self.address, error)

    def _write_index(self) -> None:
        """Write the index of all datasets, for clients that read the directory through a web server."""
        entries: dict[str, bytes] = {}
        with work_dir(self._root / ".index", "writing the index"):
            for dataset_id in self.list_with_metadata():
                with suppress(
                    RemoteFileNotFoundError
                ):  # a dataset of an old release, which is not available through the web server
                    entries[dataset_id] = self.read_file(f"{dataset_id}/{METADATA_NAME}")
            write_atomically(self._root / INDEX_FILE_NAME, dump_index(entries))

    def _path(self, name: str) -> Path:
        return file_within(self._root, name)


def _copy(file: SnapshotFile, target: Directory) -> None:
    """Copy a file, unless an interrupted upload has already done so, and verify the copy."""
    descriptor = target.create(file.name)
    with os.fdopen(descriptor, "r+b") as copy:
        if _sha256_of(copy) == file.sha256:
            return
        copy.seek(0)
        copy.truncate()
        with file.open() as reader:
            shutil.copyfileobj(reader, copy, _COPIED_AT_ONCE)
        copy.flush()
        if copy.tell() != file.size or _sha256_of(copy) != file.sha256:
            raise RemoteError(
                f"The copy of {file.path} in {target.path} differs from the file; try again when no program is writing "
                "the dataset and there is room for it."
            )


def _sha256_of(file: BinaryIO) -> str:
    file.seek(0)
    pieces = iter(partial(file.read, _COPIED_AT_ONCE), b"")
    return checksums_of(pieces, 0, ["sha256"])["sha256"].value


def _remove_others(directory: Path, names: set[str]) -> None:
    """Remove leftovers of an upload of other data, and everything that is not a regular file."""
    if directory.is_symlink():
        directory.unlink()
    directory.mkdir(exist_ok=True)
    for path in sorted(directory.rglob("*"), reverse=True):
        is_directory = path.is_dir() and not path.is_symlink()
        is_wanted = path.relative_to(directory).as_posix() in names
        if is_directory and (is_wanted or not any(path.iterdir())):
            shutil.rmtree(path)
        elif not is_directory and not (is_wanted and stat.S_ISREG(path.lstat().st_mode) and path.lstat().st_nlink == 1):
            path.unlink()


def _directory(name: str) -> Path:
    if not name.startswith("/"):
        raise RemoteError(f"The address of a directory must be of the form file:///directory, got 'file://{name}'.")
    with _remote_errors(f"Parsing 'file://{name}'"):
        return Path(url2pathname(name))


def _is_namespace(location: str) -> bool:
    with _remote_errors(f"Looking for namespaces at 'file://{location}'"):
        return (_directory(location) / NAMESPACE_METADATA_FILENAME).is_file()


@contextmanager
def _remote_errors(action: str) -> Iterator[None]:
    """Turn errors of the operating system in the block into a :class:`RemoteError`."""
    try:
        yield
    except MinariError:
        raise
    except OSError as error:
        raise RemoteError(
            f"{action} failed ({error}); check that the directory is mounted, has room, and is readable and writable."
        ) from error
