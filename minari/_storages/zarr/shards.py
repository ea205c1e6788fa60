"""Rows out of the shards of an array in a folder, without zarr-python, which takes a millisecond an array.

This is for arrays as :mod:`zarr_arrays` writes them. Others, and those that lie elsewhere than in a
folder, are read through zarr-python (see :mod:`zarr_store`).

What an index says of chunks is compared with the file before anything is allocated: they lie in the
file, and no two of them have bytes in common. Chunks that a shard does not have count as zeros, and a
:class:`Budget` bounds how much may be made of few bytes.
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
from minari._storages.zarr.arrays import ABSENT, ArrayForm
from minari._storages.zarr.codecs import CHECKSUM_SIZE, checksum, decode
from minari.errors import ChecksumError, DatasetCorruptError, UnsafePathError


_ALONE: Final = 1 << 20  # bytes of chunks that are not worth a thread

_seeking = Lock()  # for systems that cannot read at a place


class Budget:
    """How much memory one read may take, by the bytes that there are.

    Constant values are compressed many thousand times, and what is all zeros is not stored at all, so
    that some bytes are free. Beyond them no more than a multiple of the stored bytes may be taken, which
    values that differ from step to step do not reach.

    Args:
        free: how many bytes may be taken however few there are.
        per_byte: how many for every byte there is.
    """

    def __init__(self, free: int = 1 << 30, per_byte: int = 1 << 10) -> None:
        self._free, self._per_byte = free, per_byte
        self._taken = self._present = 0
        self._uncounted: list[Callable[[], int]] = []

    def take(self, size: int, passing: int, present: Callable[[], int]) -> None:
        """Ask for bytes before they are allocated.

        Args:
            size: how many.
            passing: how many more, which are given back soon.
            present: returns how many are stored for them; called where that matters.

        Raises:
            ValueError: there are far too few of them.
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


class Folders:
    """The folders of a store, open, as one: a file is that of the first folder that has it.

    The groups of the store stay open as well until the folders are closed, so that files in them are
    opened in fewer steps.

    Args:
        folders: the parent of each, and its name; those that do not exist count as empty.
    """

    def __init__(self, folders: Iterable[tuple[str, str]]) -> None:
        self._folders: list[Directory] = []
        self._groups: dict[tuple[int, str], Directory] = {}
        try:
            for parent, name in folders:
                with suppress(FileNotFoundError, NotADirectoryError), Directory(parent) as outer:
                    self._folders.append(outer.directory(name))
        except BaseException as error:
            self.close()
            if isinstance(error, OSError):
                raise unreadable(error) from error
            raise

    def __enter__(self) -> Folders:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the folders; files that were opened in them stay open."""
        for directory in (*self._groups.values(), *self._folders):
            directory.close()

    def open(self, key: str) -> int:
        """Open a file and return its descriptor.

        Raises:
            UnsafePathError: its name leads out of the store, by itself or through a link, or it is no regular file.
            DatasetCorruptError: it cannot be opened.
            FileNotFoundError: no folder has it.
        """
        group, _, inner = key.partition("/")
        for number, folder in enumerate(self._folders):
            try:
                if not inner:
                    return folder.open(key)
                if (number, group) not in self._groups:
                    self._groups[number, group] = folder.directory(group)
                try:
                    return self._groups[number, group].open(inner)
                except UnsafePathError:
                    return folder.open(key)  # as it is reached through a link to another group, or not at all
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                raise unreadable(error, f"{folder.path}/{key}") from error
        raise FileNotFoundError(key)


class Piece(NamedTuple):
    """Some rows of a chunk, on their way out of it.

    Attributes:
        key: of the shard.
        offset, size: of the chunk in it; the size of one that it does not have is 0.
        start, stop: of the rows in the chunk.
        at: where they go.
    """

    key: str
    offset: int
    size: int
    start: int
    stop: int
    at: int


@dataclass(slots=True)
class ShardedArray:
    """An array in a folder.

    Attributes:
        name: the path of the array in it.
        form: what it is like.
        rows: how many it has.
    """

    name: str
    form: ArrayForm
    rows: int
    _indices: dict[int, tuple[str, npt.NDArray[np.uint64]]] = field(default_factory=dict)

    def read(self, folders: Folders, start: int, stop: int, budget: Budget, verify: bool = False) -> npt.NDArray[Any]:
        """The rows from one to before another.

        Args:
            folders: of the store; the first that has a shard is the one that counts.
            start: the first row.
            stop: the row behind the last one.
            budget: for what is allocated.
            verify: whether every chunk is read as a whole, and compared with its checksum. Otherwise that is
                done where it is compressed, or half of its rows are wanted.

        Raises:
            FileNotFoundError: a shard with some of the rows is missing.
            ChecksumError: a chunk is not as it was written.
            ValueError: a shard is damaged.
        """
        form = self.form
        if start == stop or not form.has_data:
            return np.empty((stop - start, *form.row_shape), form.dtype)
        pieces = list(self._pieces(folders, start, stop))
        size = (stop - start) * form.row_size
        budget.take(size, form.row_size * form.chunk_rows, lambda: sum(piece.size for piece in pieces))
        # Zeros that nobody touches take no memory.
        allocate = np.empty if all(piece.size for piece in pieces) else np.zeros
        out = allocate((stop - start, *form.row_shape), form.dtype)
        for key, group in groupby((piece for piece in pieces if piece.size), attrgetter("key")):
            descriptor = folders.open(key)
            try:
                self._take_all(descriptor, list(group), out, verify)
            finally:
                os.close(descriptor)
        return out

    def _pieces(self, folders: Folders, start: int, stop: int) -> Iterator[Piece]:
        form, at = self.form, start
        while at < stop:
            shard, row = divmod(at, form.shard_rows)
            chunk, first = divmod(row, form.chunk_rows)
            taken = min(stop - at, form.chunk_rows - first)
            key, index = self._indices.get(shard) or self._read_index(folders, shard)
            offset, size = index[chunk].tolist()
            yield Piece(key, offset, size, first, first + taken, at - start)
            at += taken

    def _read_index(self, folders: Folders, shard: int) -> tuple[str, npt.NDArray[np.uint64]]:
        """The key of a shard, and the offset and the size of each chunk, which is 0 of those that are absent."""
        key = f"{self.name}/{self.form.key(shard)}"
        descriptor = folders.open(key)
        try:
            self._indices[shard] = key, self._index_of(descriptor)
        finally:
            os.close(descriptor)
        return self._indices[shard]

    def _index_of(self, descriptor: int) -> npt.NDArray[np.uint64]:
        size = 16 * (self.form.shard_rows // self.form.chunk_rows) + CHECKSUM_SIZE
        end = os.fstat(descriptor).st_size - size
        if end < 0:
            raise ValueError("it ends too early")
        content = np.empty(size, np.uint8)
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
            expected = form.row_size * form.chunk_rows + CHECKSUM_SIZE * form.has_checksums
            if piece.size != expected:
                raise ValueError(f"a chunk has {piece.size} bytes, expected {expected}")
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
    """Fill an array with bytes of a file, from an offset on.

    Raises:
        ValueError: it ends before.
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
    """The error about a file or a folder that the system does not let anybody read."""
    return DatasetCorruptError(
        f"{path or error.filename} cannot be read ({error.strerror or error}); look at its permissions, "
        f"or copy or download the dataset again."
    )


def missing_shard(key: str, store: object) -> DatasetCorruptError:
    """The error about a shard that there is not."""
    return DatasetCorruptError(f"The shard {key} of {store} is missing; copy or download the dataset again.")
