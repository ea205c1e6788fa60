"""Transactions on the HDF5 file of a dataset."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Protocol, runtime_checkable

from minari._base.atomic import EarlyWriteBack, write_atomically
from minari._base.files import METADATA_FILE_NAME
from minari._base.lazy import LazyModule, cached_property
from minari._base.system_errors import failures_logged
from minari._model.compression import Codec
from minari._model.metadata import DatasetMetadata
from minari._storages.core import EpisodeWriter, StorageCore
from minari._storages.hdf5.appender import EpisodeAppender, StoredEpisode
from minari._storages.hdf5.format.btree import File, MemberTable, empty_group, find_table
from minari._storages.hdf5.format.objects import REFERENCES_AT
from minari._storages.hdf5.format.source import NotUnderstood
from minari._storages.hdf5.format.superblock import (
    NEW_SUPERBLOCK_SIZE,
    SUPERBLOCK_SIZE,
    Superblock,
    new_superblock,
    read_superblock,
)
from minari._storages.hdf5.index import EpisodeIndex, PlacedEpisodes
from minari._storages.hdf5.names import group_name
from minari._storages.hdf5.reader import EpisodeFile, check_not_in_use
from minari._storages.journal import FileTransaction, has_journal, write_all
from minari.errors import DatasetCorruptError, MinariError
from minari.spaces import ColumnPath, EpisodeBatch, EpisodeColumns


if TYPE_CHECKING:
    from minari._storages.hdf5 import h5py_io
else:
    h5py_io = LazyModule("minari._storages.hdf5.h5py_io")  # imports h5py, which appending does not need


@dataclass(frozen=True, slots=True)
class WriterContext:
    """The dataset that a writer changes, as it is when nobody else can write any more.

    Attributes:
        file: the data file, beside the metadata.
        index: of the episodes in the file.
        total_episodes: their number.
        known_paths: the paths of the columns of the spaces, by their names in the file.
        agents: the names of the agents, if there are many.
        codec_for: returns the codec of a column.
        durable: True if changes must survive a power failure.
    """

    file: Path
    index: EpisodeIndex
    total_episodes: int
    known_paths: Mapping[str, ColumnPath]
    agents: frozenset[str]
    codec_for: Callable[[ColumnPath], Codec | None]
    durable: bool


@runtime_checkable
class StoredEpisodesSource(Protocol):
    """A storage whose episodes can be copied as they are stored."""

    def stored_episodes(self, indices: Iterable[int]) -> Iterator[StoredEpisode | EpisodeColumns]:
        """Yield episodes as they are stored, or with their values where their bytes cannot be copied."""


class _Target(File, Protocol):
    """The file to write to; its changes become visible with ``commit`` or not at all."""

    path: Path
    failure: OSError | None

    @property
    def end(self) -> int:
        """Return the end of the file."""

    def for_hdf5(self) -> Any:
        """Return what HDF5 can open instead of the file."""

    def commit(self, texts: Mapping[str, str]) -> os.stat_result: ...

    def discard(self) -> None: ...

    def close(self) -> None: ...


#: Exceptions for structures of a file that are damaged.
_DAMAGE: Final = (ValueError, IndexError, OverflowError, struct.error)


class _ExistingFile(FileTransaction):
    """A file that contains episodes."""

    def for_hdf5(self) -> Any:
        self.seek(0)
        return self


def empty_file() -> bytes:
    """Return the bytes of an HDF5 file without episodes."""
    root = empty_group(NEW_SUPERBLOCK_SIZE)
    return new_superblock(NEW_SUPERBLOCK_SIZE, NEW_SUPERBLOCK_SIZE + len(root)) + root


class _NewFile:
    """The first episodes of a dataset: written to a temporary file and renamed."""

    failure: OSError | None = None  # HDF5 writes the file itself and raises its own errors

    def __init__(self, path: Path, *, durable: bool) -> None:
        self.path, self._durable = path, durable
        self._temporary = path.with_name(f".{path.name}.partial")
        self._bytes: BinaryIO | None = None
        self._write_back: EarlyWriteBack | None = None
        self._process = os.getpid()
        self._start = empty_file()

    @property
    def end(self) -> int:
        if self._bytes is None or self._bytes.closed:
            return len(self._start)
        return os.fstat(self._bytes.fileno()).st_size

    def _opened(self) -> BinaryIO:
        if self._bytes is None:
            self._temporary.unlink(missing_ok=True)  # of a killed writer, or a link created by another program
            self._bytes = self._temporary.open("x+b", buffering=0)
            self._write_back = EarlyWriteBack(self._bytes.fileno())
            write_all(self._bytes, memoryview(self._start))
        return self._bytes

    def read_at(self, offset: int, size: int) -> bytes:
        file = self._opened()
        file.seek(offset)
        return file.read(size)

    def write_at(self, offset: int, view: memoryview) -> None:
        file = self._opened()
        file.seek(offset)
        write_all(file, view)
        if self._write_back is not None:
            self._write_back.written(len(view))

    def for_hdf5(self) -> Any:
        self._opened()
        return self._temporary

    def commit(self, texts: Mapping[str, str]) -> os.stat_result:
        self._move_into_place()
        status = self.path.stat()
        self._write_texts(texts)
        return status

    def _move_into_place(self) -> None:
        if self._bytes is not None:
            if self._write_back is not None:
                self._write_back.wait()
            if self._durable:
                os.fsync(self._bytes.fileno())
            self._bytes.close()
        self._temporary.replace(self.path)

    def _write_texts(self, texts: Mapping[str, str]) -> None:
        for name, text in texts.items():
            write_atomically(self.path.with_name(name), text, durable=self._durable)

    def discard(self) -> None:
        pass

    def close(self) -> None:
        try:
            if self._write_back is not None:
                with suppress(OSError):  # of data that has been discarded
                    self._write_back.wait()
        finally:  # even if the program is interrupted once more
            if self._bytes is not None:
                self._bytes.close()
            if os.getpid() == self._process:  # not in a child process that was forked in the meantime
                self._temporary.unlink(missing_ok=True)


class _ReplacementFile(_NewFile):
    """All episodes of a dataset rewritten with the same values."""

    def commit(self, texts: Mapping[str, str]) -> os.stat_result:
        if self.path.with_name(METADATA_FILE_NAME).exists():
            self._move_into_place()
            self._write_texts(texts)
        else:  # as up to 0.4, whose files contain the metadata, and new metadata matches the old file too
            self._write_texts(texts)
            self._move_into_place()
        status = self.path.stat()
        for linked in self.path.parent.glob("additional_data_*.hdf5"):
            with failures_logged(f"Removing {linked}"):
                linked.unlink()
        return status


class HDF5Writer(EpisodeWriter):
    """Writer for the file of an HDF5 dataset; created by :func:`open_writer`.

    Episodes are written immediately. Operations that need the HDF5 library are deferred to the end, when it
    can open the file with the episodes in it.

    Args:
        context: the dataset.
        target: the file.

    Attributes:
        redescribed: the episodes whose metadata was changed by the commit.
    """

    def __init__(self, context: WriterContext, target: _Target) -> None:
        self._context, self._target = context, target
        self.redescribed: list[int] = []
        self._old_end = target.end
        self._appender = EpisodeAppender(target.write_at, self._old_end, context.codec_for)
        self._appended = self._committed = False
        self._replaced: dict[str, str] = {}
        self._changed: set[int] = set()
        self._described: list[int] = []  # episodes with changed metadata
        self._through_hdf5: list[Callable[[h5py_io.File], None]] = []
        self._file: h5py_io.File | None = None
        self._placed: list[PlacedEpisodes] = []

    def append(self, first_index: int, episodes: Sequence[EpisodeColumns]) -> None:
        for index, episode in enumerate(episodes, first_index):
            self._append(index, episode)

    def append_batch(self, first_index: int, batch: EpisodeBatch) -> None:
        if self._has_table:
            self._appended = True
            self._appender.add_batch(first_index, batch)
        else:
            self.append(first_index, batch)

    def replace(self, index: int, episode: EpisodeColumns) -> None:
        self._replaced[group_name(index)] = f"replaced_{index}"
        self._changed.add(index)
        self._append(index, episode, is_new=False)

    def _append(self, index: int, episode: EpisodeColumns | StoredEpisode, *, is_new: bool = True) -> None:
        """Write an episode; HDF5 links one that takes the place of another, and all if the root has not a table."""
        self._appender.add(index, episode, counted=not self._has_table or not is_new)
        self._appended = True

    @cached_property
    def _has_table(self) -> bool:
        """Return whether the members of the root are in a table, to which this library adds more itself."""
        superblock = self._superblock()
        if superblock.end > self._old_end:
            raise DatasetCorruptError(
                f"{self._target.path} has {self._old_end} bytes of {superblock.end}; it is cut off, so copy or "
                f"download it again."
            )
        return self._table(superblock) is not None

    def _table(self, superblock: Superblock) -> tuple[int, int] | None:
        try:
            return find_table(self._target, superblock.root)
        except _DAMAGE as error:
            raise self._damaged_members(error) from error

    def _damaged_members(self, error: Exception) -> DatasetCorruptError:
        return DatasetCorruptError(
            f"{self._target.path} cannot be extended, since the list of its episodes is damaged ({error}); "
            f"copy or download it again."
        )

    def update_metadata(self, index: int, metadata: Mapping[str, Any]) -> None:
        self._changed.add(index)
        self._described.append(index)
        self._through_hdf5.append(lambda file: h5py_io.update_metadata(file[group_name(index)], metadata))

    def copy_from(self, first_index: int, storage: StorageCore, indices: Sequence[int]) -> bool:
        if not isinstance(storage, StoredEpisodesSource):
            return False
        for index, episode in enumerate(storage.stored_episodes(indices), first_index):
            self._append(index, episode)
        return True

    def finish(self) -> int:
        self._finish()
        size = self._target.end
        if not isinstance(self._target, _ReplacementFile):  # replaces these
            size += sum(linked.stat().st_size for linked in self._target.path.parent.glob("additional_data_*.hdf5"))
        return size

    def _finish(self) -> None:
        """Do everything except making it visible."""
        unlinked: list[PlacedEpisodes] = []
        if self._appended:
            superblock = self._superblock()
            self._placed, end = self._appender.finish()
            table = self._table(superblock)
            linked: list[PlacedEpisodes] = []
            for placed in self._placed:
                is_linked = table is not None and group_name(int(placed.indices[0])) not in self._replaced
                (linked if is_linked else unlinked).append(placed)
            if linked and table is not None:
                try:
                    members = MemberTable(self._target, table, end, superblock.leaf_k, superblock.node_k)
                    end = members.add(_names(linked), _headers(linked))
                except _DAMAGE as error:
                    raise self._damaged_members(error) from error
            self._target.write_at(0, memoryview(superblock.with_end(end)))
        if unlinked or self._through_hdf5:
            self._superblock()  # for its flags about open files
            self._change_through_hdf5(unlinked)

    def _superblock(self) -> Superblock:
        path = self._target.path
        try:
            superblock = read_superblock(self._target.read_at(0, SUPERBLOCK_SIZE))
        except NotUnderstood as error:
            raise DatasetCorruptError(
                f"{path} is laid out in a way that cannot be extended ({error}); rewrite it with h5repack first."
            ) from error
        except ValueError as error:
            raise DatasetCorruptError(
                f"{path} cannot be read as HDF5; {error}, so copy or download it again. (Where it has a user block, "
                f"rewrite it with h5repack first.)"
            ) from error
        check_not_in_use(superblock, path)
        return superblock

    def _check_changed(self) -> None:
        """Check that the objects to be changed can be read, as damage may hang or crash HDF5."""
        episodes = EpisodeFile(self._target.path, self._target.end, self._context.agents)
        episodes.read_at = self._target.read_at
        episodes.count()
        for index in sorted(self._changed):
            episodes.locate(index, self._context.known_paths)
            episodes.read_metadata(index)

    def _change_through_hdf5(self, unlinked: Sequence[PlacedEpisodes]) -> None:
        self._check_changed()
        try:
            self._let_hdf5_change(unlinked)
        except MinariError:
            raise
        except (KeyError, RuntimeError, ValueError, TypeError, AttributeError) as error:
            # Exceptions of h5py for a damaged file or a failed write.
            if self._target.failure is not None:
                raise self._target.failure from error
            raise DatasetCorruptError(
                f"{self._target.path} cannot be changed by HDF5 ({error}); it is damaged, so copy or download it again."
            ) from error

    def _let_hdf5_change(self, unlinked: Sequence[PlacedEpisodes]) -> None:
        self._file = file = h5py_io.open_for_writing(self._target.for_hdf5(), str(self._target.path))
        for name, aside in self._replaced.items():
            file.move(name, aside)
        h5py_io.link_objects(file, _headers(unlinked), _names(unlinked))
        for change in self._through_hdf5:
            change(file)
        # Deleted last, so that nothing overwrites the old arrays: a reader may have views of them.
        for aside in self._replaced.values():
            del file[aside]
        file.close()
        for address in _headers(unlinked):
            # Linking has added a reference to each, and HDF5 has counted the link too.
            self._target.write_at(address + REFERENCES_AT, memoryview(b"\1\0\0\0"))

    def commit(self, metadata: DatasetMetadata) -> None:
        texts = {METADATA_FILE_NAME: metadata.to_json()}
        if self._placed or self._through_hdf5:
            status = self._target.commit(texts)
            self._committed = True
            if not has_journal(self._target.path.parent):  # everything has been applied
                with failures_logged(f"Keeping the index of {self._target.path}"):
                    self._context.index.remember(self._placed, self._described, status, metadata.total_episodes)
                self.redescribed = self._described
        else:
            file = self._target.path.with_name(METADATA_FILE_NAME)
            write_atomically(file, texts[METADATA_FILE_NAME], durable=self._context.durable)

    def abandon(self) -> None:
        """Undo what has not been committed."""
        if self._committed:
            return
        if self._target.end > self._old_end or self._file is not None:
            self._target.discard()
            if self._file is not None:
                with suppress(Exception):  # HDF5 may fail to write data that is discarded anyway
                    self._file.close()
            self._context.index.confirm()


def _names(placed: Iterable[PlacedEpisodes]) -> list[str]:
    return [group_name(index) for episodes in placed for index in episodes.indices.tolist()]


def _headers(placed: Iterable[PlacedEpisodes]) -> list[int]:
    return [address for episodes in placed for address in episodes.headers.tolist()]


@contextmanager
def open_writer(context: WriterContext, *, replacing: bool = False) -> Iterator[HDF5Writer]:
    """Open the writer of a dataset, until the context ends.

    Args:
        context: the dataset.
        replacing: True if the new episodes replace all existing ones.

    Raises:
        DatasetBusyError: another program has the file open for writing.
        DatasetCorruptError: the file that should hold the episodes is missing.
    """
    path, durable = context.file, context.durable
    target: _Target
    try:
        if replacing:
            if has_journal(path.parent):
                FileTransaction(path, durable=durable).close()  # completes what a killed writer has committed
            target = _ReplacementFile(path, durable=durable)
        elif context.total_episodes:
            target = _ExistingFile(path, durable=durable)
        else:
            target = _NewFile(path, durable=durable)
        if context.total_episodes:
            context.index.reread()  # another program may have changed the file
    except FileNotFoundError:
        raise DatasetCorruptError(
            f"The metadata claims {context.total_episodes} episodes, and the file {path} that should hold them is "
            f"missing; copy or download the dataset again."
        ) from None
    writer = HDF5Writer(context, target)
    try:
        yield writer
    finally:
        writer.abandon()
        with failures_logged(f"Closing {path}"):
            target.close()
