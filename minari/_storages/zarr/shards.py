"""Rows from the shards of local arrays, without zarr-python, which takes a millisecond an array.

This is for arrays as :mod:`~minari._storages.zarr.arrays` writes them. Other arrays, and those of remote
stores, are read through zarr-python (see :mod:`~minari._storages.zarr.store`).

The chunks of an index are compared with the file before anything is allocated: they lie in the file, and
no two of them overlap. Chunks that a shard does not have count as zeros, and a :class:`Budget` bounds
how much memory may be allocated for few bytes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from threading import Lock
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from minari._base.files import Directory
from minari._base.parallel import map_in_batches
from minari._storages.mapped_file import MappedFile
from minari._storages.zarr.arrays import ABSENT, ArrayForm
from minari._storages.zarr.codecs import CHECKSUM_SIZE, checksum, decode
from minari.errors import ChecksumError, DatasetCorruptError, UnsafePathError


_ALONE: Final = 1 << 20  # bytes of chunks that are too few for threads
_ENOUGH_FOR_A_THREAD: Final = 1 << 18  # bytes

_seeking = Lock()  # for systems that cannot read at an offset


class Budget:
    """A limit on the memory of one read, by the bytes that are stored.

    Constant values compress many thousand times, and zeros are not stored at all, so that some bytes are
    free. Beyond them only a multiple of the stored bytes may be taken, which values that differ from step
    to step do not reach.

    Args:
        free: the number of bytes that may be taken in any case.
        per_byte: the number for every stored byte.
    """

    def __init__(self, free: int = 1 << 30, per_byte: int = 1 << 10) -> None:
        self._free, self._per_byte = free, per_byte
        self._taken = self._present = 0
        self._uncounted: list[Callable[[], int]] = []

    def take(self, size: int, passing: int, present: Callable[[], int]) -> None:
        """Take bytes before they are allocated.

        Args:
            size: their number.
            passing: the number of further ones, which are freed soon.
            present: returns the number of bytes stored for them; called if that matters.

        Raises:
            ValueError: far too few are stored.
        """
        self._taken += size
        self._uncounted.append(present)
        needed = self._taken + passing - self._free
        if needed <= 0:
            return
        self._present += sum(count() for count in self._uncounted)
        self._uncounted.clear()
        if needed > self._per_byte * self._present:
            raise ValueError(f"{self._taken + passing:,} bytes are to be made of {self._present:,}")


class StoreDirectories:
    """The open directories of a store as one: a file is that of the first directory that has it.

    The groups of the store stay open as well until the directories are closed, so that files in them are
    opened in fewer steps.

    Args:
        directories: the parent and the name of each; those that do not exist count as empty.
    """

    def __init__(self, directories: Iterable[tuple[str, str]]) -> None:
        self._directories: list[Directory] = []
        self._groups: dict[tuple[int, str], Directory] = {}
        try:
            for parent, name in directories:
                with suppress(FileNotFoundError, NotADirectoryError), Directory(parent) as outer:
                    self._directories.append(outer.directory(name))
        except BaseException as error:
            self.close()
            if isinstance(error, OSError):
                raise unreadable(error) from error
            raise

    def __enter__(self) -> StoreDirectories:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the directories; files that were opened in them stay open."""
        for directory in (*self._groups.values(), *self._directories):
            directory.close()

    def open_sized(self, key: str) -> tuple[int, int]:
        """Open a file and return its descriptor and size.

        Raises:
            UnsafePathError: its name leads out of the store, by itself or through a link, or it is not a regular file.
            DatasetCorruptError: it cannot be opened.
            FileNotFoundError: no directory has it.
        """
        group, _, inner = key.partition("/")
        for number, directory in enumerate(self._directories):
            try:
                if not inner:
                    return directory.open_sized(key)
                if (number, group) not in self._groups:
                    self._groups[number, group] = directory.directory(group)
                try:
                    return self._groups[number, group].open_sized(inner)
                except UnsafePathError:
                    return directory.open_sized(key)  # reached through a link to another group, or refused
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                raise unreadable(error, f"{directory.path}/{key}") from error
        raise FileNotFoundError(key)


class Piece(NamedTuple):
    """Some rows of a chunk that are read.

    Attributes:
        key: of the shard.
        offset, size: of the chunk in it; an absent chunk has the size 0.
        start, stop: of the rows in the chunk.
        at: their place in the result.
    """

    key: str
    offset: int
    size: int
    start: int
    stop: int
    at: int


class MappedShard(NamedTuple):
    """A map of a shard whose chunks are not compressed.

    Attributes:
        file: the map.
        starts: the offset of each chunk.
    """

    file: MappedFile
    starts: npt.NDArray[np.int64]


@dataclass(slots=True)
class ShardedArray:
    """A local array.

    Attributes:
        name: the path of the array in the store.
        form: of the array.
        rows: their number.
    """

    name: str
    form: ArrayForm
    rows: int
    _indices: dict[int, tuple[str, npt.NDArray[np.uint64]]] = field(default_factory=dict)

    def read(
        self, directories: StoreDirectories, start: int, stop: int, budget: Budget, verify: bool = False
    ) -> npt.NDArray[Any]:
        """Return a range of rows.

        Args:
            directories: of the store.
            start: the first row.
            stop: the row after the last one.
            budget: for the memory.
            verify: whether every chunk is read as a whole, and compared with its checksum; otherwise only
                those that are compressed, or of which half of the rows are wanted.

        Raises:
            FileNotFoundError: a shard with some of the rows is missing.
            ChecksumError: a chunk differs from what was written.
            ValueError: a shard is damaged.
        """
        form = self.form
        if start == stop or not form.has_data:
            return np.empty((stop - start, *form.row_shape), form.dtype)
        pieces = list(self._pieces(directories, start, stop))
        size = (stop - start) * form.row_size
        budget.take(size, form.row_size * form.chunk_rows, lambda: sum(piece.size for piece in pieces))
        # Zeros that are never accessed take no memory.
        allocate = np.empty if all(piece.size for piece in pieces) else np.zeros
        out = allocate((stop - start, *form.row_shape), form.dtype)
        for key, group in groupby((piece for piece in pieces if piece.size), attrgetter("key")):
            descriptor, _ = directories.open_sized(key)
            try:
                self._take_all(descriptor, list(group), out, verify)
            finally:
                os.close(descriptor)
        return out

    def read_chunks(
        self, directories: StoreDirectories, numbers: Sequence[int], outs: Sequence[npt.NDArray[Any]]
    ) -> None:
        """Read whole chunks.

        Args:
            directories: of the store.
            numbers: of the chunks, in order.
            outs: for the rows of each.

        Raises:
            FileNotFoundError: a shard is missing.
            ChecksumError: a chunk differs from what was written.
            ValueError: a shard is damaged.
        """
        chunk_rows = self.form.chunk_rows
        of_shard = self.form.shard_rows // chunk_rows
        for shard, group in groupby(zip(numbers, outs, strict=True), lambda one: one[0] // of_shard):
            key, index = self._indices.get(shard) or self._read_index(directories, shard)
            tasks = [(*index[number - shard * of_shard].tolist(), out) for number, out in group]
            descriptor, _ = directories.open_sized(key)

            def take(task: tuple[int, int, npt.NDArray[Any]], key: str = key, descriptor: int = descriptor) -> None:
                offset, size, out = task
                if size:
                    self._take(descriptor, Piece(key, offset, size, 0, chunk_rows, 0), out, False)
                else:
                    out[...] = 0

            try:
                map_in_batches(take, tasks, max(1, _ENOUGH_FOR_A_THREAD // max(1, self.form.row_size * chunk_rows)))
            finally:
                os.close(descriptor)

    def mapped(self, directories: StoreDirectories, shard: int, rows: int) -> MappedShard | None:
        """Return a map of a shard of uncompressed chunks; None if it cannot be mapped, or lacks some of them.

        Args:
            directories: of the store.
            shard: its number.
            rows: the number of rows of the array that matter.

        Raises:
            FileNotFoundError: it is missing.
            ValueError: it is damaged.
        """
        form = self.form
        count = -(-min(rows - shard * form.shard_rows, form.shard_rows) // form.chunk_rows)
        descriptor, size = directories.open_sized(f"{self.name}/{form.key(shard)}")
        try:
            index = self._index_of(descriptor, size)[:count]
            self._check_sizes(index[index[:, 1] > 0, 1])
            if not index[:, 1].all():
                return None
            return MappedShard(MappedFile(descriptor, size), index[:, 0].astype(np.int64))
        except OSError:
            return None
        finally:
            os.close(descriptor)

    def _check_sizes(self, sizes: npt.ArrayLike) -> None:
        """Raise unless chunks that are not compressed have these sizes."""
        expected = self.form.row_size * self.form.chunk_rows + CHECKSUM_SIZE * self.form.has_checksums
        other = np.asarray(sizes)[np.asarray(sizes) != expected]
        if len(other):
            raise ValueError(f"a chunk has {other[0]} bytes, expected {expected}")

    def _pieces(self, directories: StoreDirectories, start: int, stop: int) -> Iterator[Piece]:
        form, at = self.form, start
        while at < stop:
            shard, row = divmod(at, form.shard_rows)
            chunk, first = divmod(row, form.chunk_rows)
            taken = min(stop - at, form.chunk_rows - first)
            key, index = self._indices.get(shard) or self._read_index(directories, shard)
            offset, size = index[chunk].tolist()
            yield Piece(key, offset, size, first, first + taken, at - start)
            at += taken

    def _read_index(self, directories: StoreDirectories, shard: int) -> tuple[str, npt.NDArray[np.uint64]]:
        """Return the key of a shard, and the offset and the size of each chunk, which is 0 for absent ones."""
        key = f"{self.name}/{self.form.key(shard)}"
        descriptor, size = directories.open_sized(key)
        try:
            self._indices[shard] = key, self._index_of(descriptor, size)
        finally:
            os.close(descriptor)
        return self._indices[shard]

    def _index_of(self, descriptor: int, size: int) -> npt.NDArray[np.uint64]:
        """Return the index at the end of a shard of a size."""
        index_size = 16 * (self.form.shard_rows // self.form.chunk_rows) + CHECKSUM_SIZE
        end = size - index_size
        if end < 0:
            raise ValueError("it ends too early")
        content = np.empty(index_size, np.uint8)
        read_into(descriptor, content, end)
        if checksum(content[:-CHECKSUM_SIZE]) != content[-CHECKSUM_SIZE:].tobytes():
            raise ChecksumError("its index is not what its checksum says")
        index: npt.NDArray[np.uint64] = content[:-CHECKSUM_SIZE].view("<u8").reshape(-1, 2).copy()
        is_there = index[:, 0] != ABSENT
        index[~is_there] = 0
        offsets, sizes = index[is_there].T
        if (sizes == 0).any() or (offsets > end).any() or (sizes > end - offsets).any():
            raise ValueError("its index has chunks that are empty, or lie outside of it")
        order = np.argsort(offsets)
        if (offsets[order][1:] < (offsets + sizes)[order][:-1]).any():
            raise ValueError("its index has chunks that overlap")
        return index

    def _take_all(self, descriptor: int, pieces: Sequence[Piece], out: npt.NDArray[Any], verify: bool) -> None:
        def take(piece: Piece) -> None:
            self._take(descriptor, piece, out[piece.at : piece.at + piece.stop - piece.start], verify)

        if len(pieces) == 1 or out.nbytes < _ALONE or self.form.codec is None:
            for piece in pieces:
                take(piece)
        else:
            map_in_batches(take, pieces, at_a_time=1)

    def _take(self, descriptor: int, piece: Piece, out: npt.NDArray[Any], verify: bool) -> None:
        form = self.form
        has_all = len(out) == form.chunk_rows
        if form.codec is None:
            self._check_sizes([piece.size])
            if has_all or not form.has_checksums or not (verify or 2 * len(out) >= form.chunk_rows):
                read_into(descriptor, _bytes_of(out), piece.offset + piece.start * form.row_size)
                if has_all and form.has_checksums:
                    stored = np.empty(CHECKSUM_SIZE, np.uint8)
                    read_into(descriptor, stored, piece.offset + out.nbytes)
                    _compare(_bytes_of(out), stored)
                return
        content = np.empty(piece.size, np.uint8)
        read_into(descriptor, content, piece.offset)
        if form.has_checksums:
            content, stored = np.split(content, [-CHECKSUM_SIZE])
            _compare(content, stored)
        if form.codec is None:
            _bytes_of(out)[:] = content[piece.start * form.row_size : piece.stop * form.row_size]
            return
        chunk = out if has_all else np.empty((form.chunk_rows, *form.row_shape), form.dtype)
        decode(form.codec.name, memoryview(content.data), _bytes_of(chunk))
        if not has_all:
            out[...] = chunk[piece.start : piece.stop]


def _compare(content: npt.NDArray[np.uint8], stored: npt.NDArray[np.uint8]) -> None:
    if checksum(content) != stored.tobytes():
        raise ChecksumError("the bytes of a chunk are not those of its checksum")


def _bytes_of(rows: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    return rows.reshape(-1).view(np.uint8)


def read_into(descriptor: int, out: npt.NDArray[np.uint8], offset: int) -> None:
    """Fill an array with bytes of a file, starting at an offset.

    Raises:
        ValueError: the file is too short.
    """
    done = 0
    while done < len(out):
        count = _read_some(descriptor, out[done:], offset + done)
        if not count:
            raise ValueError("it ends too early")
        done += count


def _read_some(descriptor: int, out: npt.NDArray[np.uint8], offset: int) -> int:
    if hasattr(os, "preadv"):
        return os.preadv(descriptor, [out.data], offset)
    with _seeking:
        os.lseek(descriptor, offset, os.SEEK_SET)
        content = os.read(descriptor, len(out))
    out[: len(content)] = np.frombuffer(content, np.uint8)
    return len(content)


def unreadable(error: OSError, path: str | None = None) -> DatasetCorruptError:
    """Return the error about a file or directory that the system refuses to read."""
    return DatasetCorruptError(
        f"{path or error.filename} cannot be read ({error.strerror or error}); look at its permissions, "
        f"or copy or download the dataset again."
    )


def missing_shard(key: str, store: object) -> DatasetCorruptError:
    """Return the error about a missing shard."""
    return DatasetCorruptError(f"The shard {key} of {store} is missing; copy or download the dataset again.")
