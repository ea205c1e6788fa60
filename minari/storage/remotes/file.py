"""A folder as a remote, such as one that a laboratory shares over the network: ``file:///folder``."""

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
from minari._model.metadata_json import with_id_of_place
from minari._storages.metadata_file import read_raw_metadata, refuse_unfinished
from minari.errors import DatasetBusyError, MinariError, RemoteError, UnsafePathError
from minari.storage.remotes.cloud_storage import CloudStorage
from minari.storage.transfer.checksums import checksums_of, read_in_pieces
from minari.storage.transfer.index import INDEX_FILE_NAME, dump_index
from minari.storage.transfer.manifest import MANIFEST_NAME, Manifest
from minari.storage.transfer.outgoing import OutgoingDataset, OutgoingFile, local_files
from minari.storage.transfer.remote_files import (
    METADATA_NAME,
    SMALL_FILE_LIMIT,
    RemoteFile,
    RemoteFileNotFoundError,
    UnsafeNameError,
    check_size,
    file_within,
)
from minari.storage.transfer.under_way import folder_under_way
from minari.storage.transfer.workers import Advance


__all__ = ["FileStorage"]


_log = logging.getLogger(__name__)

_COPIED_AT_ONCE = 1 << 20  # bytes


class FileStorage(CloudStorage):
    """A folder that several machines can reach, as a remote.

    Args:
        name: the path of the folder as in an address, ``/folder`` for ``file:///folder`` and
            ``/C:/folder`` for ``file:///C:/folder``; spaces may be written as ``%20``.
        token: not used, the system decides who may read and write.
        **options: as for :class:`CloudStorage`.

    Raises:
        RemoteError: the path is relative, or there is no such folder.
    """

    SCHEME = "file"
    MOVABLE = True

    def _begin(self) -> None:
        self._root = _folder(self.name)
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

    def survey(self, prefix: str | None = None) -> dict[str, bytes | None]:
        """The datasets; their metadata are read one by one."""
        with _failures_told(f"Listing the datasets of {self._root}"):
            return {
                folder.id: None
                for folder in walk_catalog(self._root)
                if folder.is_dataset and folder.id.startswith(prefix or "") and is_dataset_id(folder.id)
            }

    def list_namespaces(self) -> list[str]:
        """The namespaces that have metadata, sorted."""
        with _failures_told(f"Listing the namespaces of {self._root}"):
            return sorted(folder.id for folder in walk_catalog(self._root) if folder.is_namespace)

    def has_dataset(self, dataset_id: str) -> bool:
        """Whether there is a dataset of this id; folders appear whole, so it is complete."""
        with _failures_told(f"Looking for {dataset_id} in {self._root}"):
            return dataset_exists(self._path(str(DatasetId.parse(dataset_id))))

    def get_dataset_metadata(self, dataset_id: str) -> dict[str, Any]:
        """The metadata of a dataset under the id that it has here, those of old releases included."""
        if not self.has_dataset(dataset_id):
            raise self._no_dataset(dataset_id)
        with _failures_told(f"Reading the metadata of {dataset_id} in {self._root}"):
            return with_id_of_place(read_raw_metadata(self._path(dataset_id) / "data"), dataset_id)

    def list_files(self, folder: str) -> list[RemoteFile]:
        """All files below a folder, once no change to them is half made."""
        path = self._path(folder)
        with _failures_told(f"Listing the files of {folder} in {self._root}"):
            if not path.is_dir():
                return []
            if dataset_exists(path):
                refuse_unfinished(path / "data")
            found = [
                RemoteFile(f"{folder}/{file.name}", file.size, None, "{}-{}".format(*file.stamp))
                for file in local_files(path)
            ]
            manifest = file_within(path, MANIFEST_NAME)
            if manifest.is_file() and not self._is_changed(folder):
                found.append(RemoteFile(f"{folder}/{MANIFEST_NAME}", manifest.stat().st_size))
            return found

    def _is_changed(self, dataset_id: str) -> bool:
        """Whether a dataset was recorded into where it lies, after it was uploaded with a manifest.

        Every such change writes the metadata file anew, and nearly all of them write something else.
        """
        name = f"{dataset_id}/{MANIFEST_NAME}"
        manifest, metadata = self._path(name), self._path(f"{dataset_id}/{METADATA_NAME}")
        if not (manifest.is_file() and metadata.is_file()):
            return False
        if metadata.stat().st_mtime_ns <= manifest.stat().st_mtime_ns:
            return False
        expected = Manifest.parse(self.read_file(name), name).files.get(METADATA_NAME)
        return expected is not None and expected.sha256 != _sha256(metadata)

    def read_file(self, name: str) -> bytes:
        """A small file."""
        with self._opened(name) as file:
            content = file.read(SMALL_FILE_LIMIT + 1)
        return check_size(content, SMALL_FILE_LIMIT, name)

    def read_range(self, name: str, start: int, stop: int) -> bytes:
        """A part of a file."""
        with self._opened(name) as file:
            file.seek(start)
            return file.read(max(stop - start, 0))

    @contextmanager
    def _opened(self, name: str) -> Iterator[BinaryIO]:
        dataset, is_data, inside = name.partition("/data/")
        folder, inside = (dataset, f"data/{inside}") if is_data else name.rpartition("/")[::2]
        path = self._path(folder) if folder else self._root
        with _failures_told(f"Reading {name} in {self._root}"):
            try:
                with Directory(path) as opened, os.fdopen(opened.open(inside), "rb") as file:
                    yield file
            except (FileNotFoundError, NotADirectoryError):
                raise RemoteFileNotFoundError(f"There is no file {name} in {self._root}.") from None
            except UnsafePathError as error:
                raise UnsafeNameError(str(error)) from None

    def write_file(self, name: str, content: bytes) -> None:
        """Write a small file of a namespace, which is made where missing."""
        path = self._path(name)
        with _failures_told(f"Writing {name} in {self._root}"):
            if path.name == NAMESPACE_METADATA_FILENAME and not path.exists():
                ensure_namespace_directories(self._root, name.rpartition("/")[0], content)
            else:
                write_atomically(path, content)

    def fetch_dataset(self, dataset_id: str, folder: Path, like: Path | None = None) -> Path:
        """Copy the files of a dataset; they agree with one moment, or the copy fails."""
        before = self.list_files(str(DatasetId.parse(dataset_id)))
        with _failures_told(f"Reading the manifest of {dataset_id} in {self._root}"):
            if self._is_changed(dataset_id):
                warn(
                    f"{self._path(dataset_id)} was changed there after it was uploaded, so that its manifest does "
                    "not count: it is copied as it is, and only the sizes of its files are compared.",
                )
        fetched = super().fetch_dataset(dataset_id, folder, like)
        if self.list_files(dataset_id) != before:
            raise DatasetBusyError(
                f"The dataset {self._path(dataset_id)} was changed while it was copied; try again when nobody is "
                "writing it."
            )
        return fetched

    def send_dataset(self, outgoing: OutgoingDataset, advance: Advance, *, force: bool) -> None:
        """Copy a dataset into a hidden folder, which is renamed when it is complete."""
        destination = self._path(outgoing.dataset_id)
        hidden = destination.with_name(f".{destination.name}.upload")
        with _failures_told(f"Copying {outgoing.dataset_id} to {self._root}"):
            refuse_taken(destination)
            with folder_under_way(hidden, f"uploading {outgoing.dataset_id}") as folder:
                refuse_taken(destination)  # another program may have uploaded it, which was waited for
                copied = folder / "files"
                texts = {} if outgoing.metadata is None else {METADATA_NAME: outgoing.metadata}
                texts[MANIFEST_NAME] = outgoing.manifest  # after the metadata: see _is_changed
                _remove_others(copied, {*texts, *(file.name for file in outgoing.files)})
                with Directory(copied) as target:
                    for file in outgoing.files:
                        _copy(file, target)
                        advance(file.size, 1)
                    for name, content in texts.items():
                        with os.fdopen(target.create(name, os.O_WRONLY | os.O_TRUNC), "wb") as writer:
                            writer.write(content)
                        advance(len(content), 1)
                outgoing.check_unchanged()
                publish_directory(copied, destination)
        try:
            self._write_index()
        except (MinariError, OSError) as error:
            _log.warning("The index of %s was not brought up to date: %s", self.address, error)

    def _write_index(self) -> None:
        """List all datasets in one file, for those who read the folder through a web server."""
        entries: dict[str, bytes] = {}
        with folder_under_way(self._root / ".index", "writing the index"):
            for dataset_id in self.survey():
                with suppress(RemoteFileNotFoundError):  # of an old release; the web does not tell these apart
                    entries[dataset_id] = self.read_file(f"{dataset_id}/{METADATA_NAME}")
            write_atomically(self._root / INDEX_FILE_NAME, dump_index(entries))

    def _path(self, name: str) -> Path:
        return file_within(self._root, name)


def _copy(file: OutgoingFile, target: Directory) -> None:
    """Copy a file, unless an upload that was broken off has left it, and make sure that it arrived."""
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
                f"The copy of {file.path} in {target.path} is not what the file was; try again when nobody is writing "
                "the dataset and there is room for it."
            )


def _sha256_of(file: BinaryIO) -> str:
    file.seek(0)
    pieces = iter(partial(file.read, _COPIED_AT_ONCE), b"")
    return checksums_of(pieces, 0, ["sha256"])["sha256"].value


def _sha256(path: Path) -> str:
    return checksums_of(read_in_pieces(path), 0, ["sha256"])["sha256"].value


def _remove_others(folder: Path, names: set[str]) -> None:
    """Remove what an upload of other data has left, and what is no regular file."""
    if folder.is_symlink():
        folder.unlink()
    folder.mkdir(exist_ok=True)
    for path in sorted(folder.rglob("*"), reverse=True):
        is_directory = path.is_dir() and not path.is_symlink()
        is_wanted = path.relative_to(folder).as_posix() in names
        if is_directory and (is_wanted or not any(path.iterdir())):
            shutil.rmtree(path)
        elif not is_directory and not (is_wanted and stat.S_ISREG(path.lstat().st_mode) and path.lstat().st_nlink == 1):
            path.unlink()


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
