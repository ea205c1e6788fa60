"""Changes to the HDF5 file of a dataset, in one transaction."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

import h5py
from h5py import h5o

from minari.dataset._storages.file_lock import folder_lock
from minari.dataset._storages.hdf5_file import (
    LIBRARY_VERSIONS,
    EpisodeGroupWriter,
    locate,
    open_for_reading,
)
from minari.dataset._storages.hdf5_index import Located
from minari.dataset._storages.hdf5_names import group_name
from minari.dataset._storages.transaction import FileTransaction, write_all
from minari.dataset.metadata import METADATA_FILE_NAME, DatasetMetadata
from minari.dataset.minari_storage import EpisodeWriter, MinariStorage
from minari.errors import DatasetCorruptError
from minari.spaces import EpisodeColumns
from minari.storage.publishing import write_atomically


if TYPE_CHECKING:
    from minari.dataset._storages.hdf5_storage import HDF5Storage


# The first bytes of a file have the version of the superblock at 8, and from version 3 on at 11 whether
# somebody has it open for writing. Programs that write in place set the mark and take it away at the end.
_MARKED_SUPERBLOCK = b"\x03"


class _Target(Protocol):
    """The file that is written to, whose changes appear at ``commit`` or not at all."""

    def open(self) -> h5py.File: ...

    def write_at(self, offset: int, view: memoryview) -> None: ...

    def commit(self, texts: Mapping[str, str]) -> os.stat_result: ...

    def discard(self) -> None: ...

    def close(self) -> None: ...


class _ExistingFile(FileTransaction):
    """A file with episodes in it."""

    def open(self) -> h5py.File:
        self.seek(0)
        head = self.read(12) or b""
        if head[8:9] == _MARKED_SUPERBLOCK and head[11] & 1:
            raise DatasetCorruptError(
                f"{self.path} was open for writing in another program that died, so it may be damaged; look "
                f"at it and remove the mark with h5clear --status, or copy or download it again."
            )
        self.seek(0)
        try:
            return h5py.File(self, "r+", libver=LIBRARY_VERSIONS)
        except OSError as error:
            raise DatasetCorruptError(
                f"{self.path} cannot be read as HDF5 ({error}); it is cut off, damaged or another kind of "
                f"file, so copy or download it again."
            ) from error


class _NewFile:
    """The first episodes of a dataset: written beside their place, and renamed into it."""

    def __init__(self, path: FilePath) -> None:
        self._path = path
        self._temporary = path.with_name(f".{path.name}.partial")
        self._bytes: BinaryIO | None = None

    def open(self) -> h5py.File:
        file = h5py.File(self._temporary, "w", libver=LIBRARY_VERSIONS, locking=False)
        self._bytes = self._temporary.open("r+b", buffering=0)
        return file

    def write_at(self, offset: int, view: memoryview) -> None:
        if self._bytes is not None:
            self._bytes.seek(offset)
            write_all(self._bytes, view)

    def commit(self, texts: Mapping[str, str]) -> os.stat_result:
        if self._bytes is not None:
            os.fsync(self._bytes.fileno())
            self._bytes.close()
        self._temporary.replace(self._path)
        for name, text in texts.items():
            write_atomically(self._path.with_name(name), text)
        return self._path.stat()

    def discard(self) -> None:
        pass

    def close(self) -> None:
        if self._bytes is not None:
            self._bytes.close()
        self._temporary.unlink(missing_ok=True)


class HDF5Writer(EpisodeWriter):
    """Writes into the file of an HDF5 dataset; made by :func:`open_writer`."""

    def __init__(self, storage: HDF5Storage, target: _Target) -> None:
        self._storage, self._target = storage, target
        self._opened: tuple[h5py.File, EpisodeGroupWriter] | None = None
        self._placed: list[tuple[int, int, Sequence[Located]]] = []
        self._replaced: list[str] = []

    def _open(self) -> tuple[h5py.File, EpisodeGroupWriter]:
        if self._opened is None:
            file = self._target.open()
            self._opened = file, EpisodeGroupWriter(file)
        return self._opened

    def append(self, first_index: int, episodes: Sequence[EpisodeColumns]) -> None:
        _, groups = self._open()
        for index, episode in enumerate(episodes, first_index):
            located, pending = groups.write(index, episode)
            self._placed.append((index, episode.total_steps, located))
            for part in pending:
                self._target.write_at(part.offset, part.bytes())

    def replace(self, index: int, episode: EpisodeColumns) -> None:
        file, _ = self._open()
        # Deleted last, so that nothing is written over the old arrays: a reader may have views of them.
        self._replaced.append(f"replaced_{len(self._replaced)}")
        file.move(group_name(index), self._replaced[-1])
        self.append(index, [episode])

    def update_metadata(self, index: int, metadata: Mapping[str, Any]) -> None:
        _, groups = self._open()
        groups.update_metadata(index, metadata)

    def copy_from(self, first_index: int, storage: MinariStorage, indices: Sequence[int]) -> bool:
        if not isinstance(storage, type(self._storage)):
            return False
        # Arrays that lie there in one piece are read and written faster than HDF5 copies them; what is
        # compressed, encoded or text is copied as it is.
        if storage._are_mapped(indices):
            return False
        file, _ = self._open()
        with open_for_reading(storage._file) as source:
            for index, old in enumerate(indices, first_index):
                h5o.copy(source.id, group_name(old).encode(), file.id, group_name(index).encode())
                group = file[group_name(index)]
                group.attrs.modify("id", index)
                total_steps = int(group.attrs.get("total_steps", len(group["rewards"])))
                self._placed.append((index, total_steps, locate(group, self._storage._known_paths)))
        return True

    def size(self) -> int:
        if self._opened is None:
            return self._storage._file_size()
        size: int = self._opened[0].id.get_filesize()
        return size

    def commit(self, metadata: DatasetMetadata) -> None:
        texts = {METADATA_FILE_NAME: metadata.to_json()}
        if self._opened is None:
            write_atomically(self._storage.data_path / METADATA_FILE_NAME, texts[METADATA_FILE_NAME])
            return
        file, _ = self._opened
        for name in self._replaced:
            del file[name]
        file.close()
        status = self._target.commit(texts)
        self._opened = None
        self._storage._remember(self._placed, status, metadata.total_episodes)

    def abandon(self) -> None:
        """Undo what has not been committed."""
        if self._opened is not None:
            self._target.discard()
            with suppress(Exception):  # HDF5 may not manage to write what is thrown away anyway
                self._opened[0].close()


@contextmanager
def open_writer(storage: HDF5Storage) -> Iterator[HDF5Writer]:
    """The only writer of a dataset, until the context ends.

    Raises:
        DatasetBusyError: another program is writing the dataset.
    """
    with folder_lock(storage.data_path):
        target = _target(storage)
        writer = HDF5Writer(storage, target)
        try:
            yield writer
        finally:
            writer.abandon()
            target.close()


def _target(storage: HDF5Storage) -> _Target:
    if storage.total_episodes == 0:
        return _NewFile(storage._file)
    try:
        return _ExistingFile(storage._file)
    except FileNotFoundError:
        raise DatasetCorruptError(
            f"The metadata speak of {storage.total_episodes} episodes, and the file {storage._file} that "
            f"should hold them is missing; copy or download the dataset again."
        ) from None
