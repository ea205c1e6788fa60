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
from minari._storages.array_pool import new_array
from minari._storages.mapped_file import MappedFile
from minari._storages.zarr.arrays import ABSENT, ArrayForm
from minari._storages.zarr.codecs import CHECKSUM_SIZE, checksum, decode
from minari.errors import ChecksumError, DatasetCorruptError, UnsafePathError


_ENOUGH_FOR_A_THREAD: Final = 1 << 18  # bytes
_MOST_PIECES: Final = 1 << 8  # that one call fills, of which Linux allows 1,024
_LEAST_PIECE: Final = 1 << 12  # bytes, below which copying is faster than filling pieces

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
        at: their place among all rows that are read.
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

    def pieces(self, directories: StoreDirectories, start: int, stop: int, budget: Budget) -> list[Piece]:
        """Return the chunks that have a range of rows, after taking the bytes of these rows from a budget.

        Raises:
            FileNotFoundError: a shard with some of the rows is missing.
            ChecksumError: an index differs from what was written.
            ValueError: a shard is damaged, or far too few bytes are stored.
        """
        form = self.form
        if start == stop or not form.has_data:
            return []
        pieces = list(self._pieces(directories, start, stop))
        size = (stop - start) * form.row_size
        budget.take(size, form.row_size * form.chunk_rows, lambda: sum(piece.size for piece in pieces))
        return pieces

    def read(
        self,
        directories: StoreDirectories,
        pieces: Sequence[Piece],
        outs: Sequence[npt.NDArray[Any]],
        verify: bool = False,
    ) -> None:
        """Read a range of rows into arrays, each of which has the rows after those of the one before.

        Args:
            directories: of the store.
            pieces: the chunks that have the rows, of :meth:`pieces`.
            outs: the arrays.
            verify: whether every chunk is read as a whole, and compared with its checksum; otherwise only
                those that are compressed, or of which half of the rows are wanted.

        Raises:
            FileNotFoundError: a shard is missing.
            ChecksumError: a chunk differs from what was written.
            ValueError: a shard is damaged.
        """
        ends = np.cumsum([len(out) for out in outs])
        at_a_time = max(1, _ENOUGH_FOR_A_THREAD // max(1, self.form.row_size * self.form.chunk_rows))
        for key, group in groupby(pieces, attrgetter("key")):
            of_shard = list(group)
            if not any(piece.size for piece in of_shard):  # whose file need not be opened
                for piece in of_shard:
                    for target in _targets(outs, ends, piece):
                        target[...] = 0
                continue
            descriptor, _ = directories.open_sized(key)

            def take(piece: Piece, descriptor: int = descriptor) -> None:
                self._take(descriptor, piece, _targets(outs, ends, piece), verify)

            try:
                map_in_batches(take, of_shard, at_a_time)
            finally:
                os.close(descriptor)

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
                self._take(descriptor, Piece(key, offset, size, 0, chunk_rows, 0), [out], False)

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

    def _take(self, descriptor: int, piece: Piece, targets: Sequence[npt.NDArray[Any]], verify: bool) -> None:
        """Read rows of a chunk into arrays that have the rows of one after those of another."""
        form, count = self.form, piece.stop - piece.start
        if not piece.size:
            for target in targets:
                target[...] = 0
            return
        if form.codec is None:
            self._check_sizes([piece.size])
            is_verified = form.has_checksums and (verify or 2 * count >= form.chunk_rows)
            if len(targets) <= _MOST_PIECES and count * form.row_size >= _LEAST_PIECE * len(targets):
                self._take_stored(descriptor, piece, targets, is_verified)
                return
            first, stop = (0, form.chunk_rows) if is_verified else (piece.start, piece.stop)
            chunk = new_array((stop - first, *form.row_shape), form.dtype)
            self._take_stored(descriptor, piece._replace(start=first, stop=stop), [chunk], is_verified)
        else:
            content = np.empty(piece.size, np.uint8)
            read_into(descriptor, content, piece.offset)
            if form.has_checksums:
                content, stored = np.split(content, [-CHECKSUM_SIZE])
                if checksum(content) != stored.tobytes():
                    raise _other_checksum()
            is_whole = len(targets) == 1 and len(targets[0]) == form.chunk_rows and targets[0].flags.c_contiguous
            first, chunk = 0, targets[0] if is_whole else new_array((form.chunk_rows, *form.row_shape), form.dtype)
            decode(form.codec.name, memoryview(content.data), _bytes_of(chunk))
            if is_whole:
                return
        at = piece.start - first
        for target in targets:
            target[...] = chunk[at : at + len(target)]
            at += len(target)

    def _take_stored(
        self, descriptor: int, piece: Piece, targets: Sequence[npt.NDArray[Any]], is_verified: bool
    ) -> None:
        """Read rows of a chunk that is not compressed straight into arrays, with the rest of it to be verified."""
        form = self.form
        parts = list(map(_bytes_of, targets))
        if not is_verified:
            read_parts(descriptor, parts, piece.offset + piece.start * form.row_size)
            return
        before = np.empty(piece.start * form.row_size, np.uint8)
        after = np.empty((form.chunk_rows - piece.stop) * form.row_size, np.uint8)
        stored = np.empty(CHECKSUM_SIZE, np.uint8)
        parts = [part for part in (before, *parts, after) if len(part)]
        read_parts(descriptor, [*parts, stored], piece.offset)
        if checksum(*parts) != stored.tobytes():
            raise _other_checksum()


def _targets(outs: Sequence[npt.NDArray[Any]], ends: npt.NDArray[np.int64], piece: Piece) -> list[npt.NDArray[Any]]:
    """Return the parts of arrays, which have the rows after those of the one before, that have the rows of a piece."""
    at, stop = piece.at, piece.at + piece.stop - piece.start
    number = int(np.searchsorted(ends, at, "right"))
    found = []
    while at < stop:
        out = outs[number]
        first = at - int(ends[number]) + len(out)
        found.append(out[first : first + stop - at])
        at += len(found[-1])
        number += 1
    return [part for part in found if len(part)]


def _other_checksum() -> ChecksumError:
    return ChecksumError("the bytes of a chunk are not those of its checksum")


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


def read_parts(descriptor: int, parts: Sequence[npt.NDArray[np.uint8]], offset: int) -> None:
    """Fill several arrays with bytes of a file that follow each other, starting at an offset.

    Raises:
        ValueError: the file is too short.
    """
    if hasattr(os, "preadv") and os.preadv(descriptor, parts, offset) == sum(map(len, parts)):  # type: ignore[arg-type]
        return
    for part in parts:  # the system reads less than 2 GiB at once, or the file is too short
        read_into(descriptor, part, offset)
        offset += len(part)


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
