"""Rows of leaves out of many episodes of a local store, as samplers ask for them.

Row ``r`` of episode ``e`` is a row of one array, whose number follows from the ends of the episodes. Rows that are not
compressed lie in the shards as they are in memory, and are gathered from maps of them. Chunks that are compressed are
decoded when one of their rows is first asked for, and the last of them are kept in memory.
"""

from __future__ import annotations

import os
import weakref
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

from minari._base.locks import ThreadLock
from minari._storages.array_pool import new_array
from minari._storages.decoded_blocks import KEPT_BYTES, DecodedBlocks, MemoryBudget
from minari._storages.rows import RowRequest
from minari._storages.zarr.layout import StoredColumn
from minari._storages.zarr.reader import StoreReader
from minari._storages.zarr.shards import MappedShard, ShardedArray
from minari._storages.zarr.store import Arrays
from minari.spaces import Column, ColumnPath


__all__ = ["Gatherer"]

_Numbers = npt.NDArray[np.int64]

#: Maps of shards in this process, each of which has a descriptor.
MOST_MAPS = 2**8
_MOST_CHUNKS: Final = 2**24  # of an array
_CAN_MAP: Final = os.name != "nt"  # where a file cannot be replaced while there is a map of it
_DECODED_AT_ONCE: Final = 2**24  # bytes of chunks that are not kept
_FEW: Final = 8  # shards, for each of which the rows are looked for
_LARGE_ROW: Final = 2**12  # bytes, from which on copying rows one by one pays


class Gatherer:
    """Rows of the leaves of a store, as long as that does not change; safe to use from several threads.

    Args:
        reader: of the store.
    """

    def __init__(self, reader: StoreReader) -> None:
        self._reader = reader
        self._leaves: dict[ColumnPath, _LeafRows | None] = {}
        self._budget = MemoryBudget(KEPT_BYTES)
        self._maps = _Maps(reader.arrays)
        self._lock = ThreadLock()

    def gather(self, requests: Sequence[RowRequest]) -> list[Column | None]:
        """Return the rows of each request in a new array; None where they have to be read in another way.

        Raises:
            DatasetCorruptError: a shard is missing or damaged.
        """
        with self._lock.current:
            leaves = [self._leaf(request) for request in requests]
            return [
                None if leaf is None else leaf.read(request) for leaf, request in zip(leaves, requests, strict=True)
            ]

    def is_mapped(self, request: RowRequest) -> bool:
        """Return whether the rows of a request are stored as they are in memory."""
        with self._lock.current:
            leaf = self._leaf(request)
            return leaf is not None and leaf.is_mapped

    def _leaf(self, request: RowRequest) -> _LeafRows | None:
        if request.path not in self._leaves:
            self._leaves[request.path] = self._made(request)
        return self._leaves[request.path]

    def _made(self, request: RowRequest) -> _LeafRows | None:
        """Return the rows of a leaf; None if it is not one column of numbers, in the form that this library writes."""
        column = self._reader.number_column(request.path, request.shape)
        if column is None or not column.kind.row_size:
            return None
        sharded = [self._reader.direct(column, array) for array in column.arrays]
        arrays = [_ArrayRows(one, self._reader, self._maps, self._budget) for one in sharded if one is not None]
        if len(arrays) < len(sharded) or any(array.is_too_large for array in arrays):
            return None
        return _LeafRows(self._reader, column, arrays)


class _LeafRows:
    """The rows of a leaf.

    Args:
        reader: of the store.
        column: of the leaf.
        arrays: that of the rows of its steps, or of all its rows, and maybe that of the last rows of the episodes.
    """

    def __init__(self, reader: StoreReader, column: StoredColumn, arrays: Sequence[_ArrayRows]) -> None:
        self._array, *self._final = arrays
        self._dtype, self._row_shape = np.dtype(column.kind.dtype), column.kind.row_shape
        ends = reader.ends_in(column.arrays[0])
        self._starts, self._counts = ends[:-1], np.diff(ends)
        self._has_rows = reader.have_column(column.kind.path, np.arange(reader.episodes))

    @property
    def is_mapped(self) -> bool:
        """Return whether all rows are stored as they are in memory."""
        return all(array.is_mapped for array in (self._array, *self._final))

    def read(self, request: RowRequest) -> Column | None:
        """Return the rows of a request; None if some episodes do not have them."""
        episodes, rows, length = request.episodes, request.rows, request.length or 1
        starts, counts = self._starts[episodes], self._counts[episodes]
        if rows.ndim > 1:
            starts, counts = starts[:, None], counts[:, None]
        beyond = rows + length - counts  # rows after those of the steps
        if not self._has_rows[episodes].all() or (beyond > len(self._final)).any():
            return None
        out = request.target(self._dtype)
        found = out.reshape(rows.size, length, *self._row_shape)
        self._array.read((starts + rows).reshape(-1), found)
        is_last = np.flatnonzero(beyond > 0)
        if len(is_last):
            several = episodes if rows.ndim == 1 else np.repeat(episodes, rows.shape[1])
            last = np.empty((len(is_last), 1, *self._row_shape), self._dtype)
            self._final[0].read(several[is_last], last)
            found[is_last, -1] = last[:, 0]
        return out


class _ArrayRows:
    """The rows of an array, out of maps of its shards or out of decoded chunks.

    Args:
        sharded: the array.
        reader: of the store.
        maps: of shards.
        budget: of the memory for decoded chunks.

    Attributes:
        is_mapped: whether all rows are in shards as they are in memory, as far as is known.
        is_too_large: whether it has too many chunks, or too large ones, to be read in this way.
    """

    def __init__(self, sharded: ShardedArray, reader: StoreReader, maps: _Maps, budget: MemoryBudget) -> None:
        self._sharded, self._arrays, self._maps, self._budget = sharded, reader.arrays, maps, budget
        form = sharded.form
        self._rows = reader.last_end(sharded.name)
        self._chunks = -(-self._rows // form.chunk_rows)
        self._chunk_size = form.chunk_rows * form.row_size
        self.is_mapped = _CAN_MAP and form.codec is None
        self.is_too_large = self._chunks > _MOST_CHUNKS or self._chunk_size > KEPT_BYTES
        self._blocks: DecodedBlocks | None = None  # made when they are first needed

    def read(self, at: _Numbers, out: npt.NDArray[Any]) -> None:
        """Read consecutive rows; those beyond the end of the array may become anything.

        Args:
            at: the number of the first row of each sequence.
            out: the rows, shape (N, L, ...) for N sequences of L.
        """
        if not at.size or not self._rows:
            return
        self.is_mapped = self.is_mapped and self._read_from_maps(at, out)
        if not self.is_mapped:
            self._read_decoded(self._single(at, out.shape[1]), out.reshape(-1, *out.shape[2:]))

    def _read_decoded(self, at: _Numbers, out: npt.NDArray[Any]) -> None:
        """Read rows out of chunks that are decoded, each once."""
        form = self._sharded.form
        if self._blocks is None:
            self._blocks = DecodedBlocks(self._chunks, form.chunk_rows, form.row_shape, form.dtype, self._budget)
        numbers = at // form.chunk_rows
        rows = at - numbers * form.chunk_rows
        if self._blocks.gather(numbers, rows, out, self._decode):
            return
        touched = np.unique(numbers)
        together = max(1, _DECODED_AT_ONCE // self._chunk_size)
        for start in range(0, len(touched), together):
            part = touched[start : start + together]
            decoded = new_array((len(part) * form.chunk_rows, *form.row_shape), form.dtype)
            self._decode(part, np.arange(len(part)) * form.chunk_rows, decoded)
            where = np.flatnonzero((numbers >= part[0]) & (numbers <= part[-1]))
            out[where] = decoded[np.searchsorted(part, numbers[where]) * form.chunk_rows + rows[where]]

    def _decode(self, chunks: _Numbers, positions: _Numbers, decoded: npt.NDArray[Any]) -> None:
        """Decode chunks to positions of an array."""
        outs = [decoded[position : position + self._sharded.form.chunk_rows] for position in positions.tolist()]
        with self._arrays.reading(self._sharded.name) as directories:
            self._sharded.read_chunks(directories, chunks.tolist(), outs)

    def _single(self, at: _Numbers, length: int) -> _Numbers:
        """Return the number of each row of sequences of a length."""
        rows: _Numbers = np.minimum((at[:, None] + np.arange(length)).reshape(-1), self._rows - 1)
        return rows

    def _read_from_maps(self, at: _Numbers, out: npt.NDArray[Any]) -> bool:
        """Read sequences that lie in one chunk each in one piece, and others row by row; return False if that fails."""
        form, length = self._sharded.form, out.shape[1]
        content = out.reshape(-1).view(np.uint8)  # opaque items are copied as a whole, which is faster
        single = content.view(np.dtype((np.void, form.row_size)))
        if length == 1:
            return self._copy(self._single(at, 1), np.arange(len(at)), single)
        is_whole = (at % form.chunk_rows + length <= form.chunk_rows) & (at + length <= self._rows)
        whole, cut = np.flatnonzero(is_whole), np.flatnonzero(~is_whole)
        several = content.view(np.dtype((np.void, length * form.row_size)))
        places = (cut[:, None] * length + np.arange(length)).reshape(-1)
        return self._copy(at[whole], whole, several) and self._copy(self._single(at[cut], length), places, single)

    def _copy(self, at: _Numbers, places: _Numbers, items: npt.NDArray[np.void]) -> bool:
        """Copy items that begin with some rows to their places; return False if a shard has no map."""
        form = self._sharded.form
        for shard, chosen in _groups(at // form.shard_rows):
            mapped = self._maps.get(self._sharded, shard, self._rows)
            if mapped is None:
                return False
            inner = at[chosen] - shard * form.shard_rows
            chunks = inner // form.chunk_rows
            offsets = mapped.starts[chunks] + (inner - chunks * form.chunk_rows) * form.row_size
            view = mapped.file.array(0, [max(0, len(mapped.file) - items.itemsize + 1)], items.dtype, 1)
            if items.itemsize < _LARGE_ROW:
                items[places[chosen]] = view[offsets]
                continue
            for place, offset in zip(places[chosen].tolist(), offsets.tolist(), strict=True):
                items[place : place + 1] = view[offset : offset + 1]
        return True


class _Maps:
    """Maps of the shards of a store that were read last.

    Args:
        arrays: of the store.
    """

    _all: ClassVar[weakref.WeakSet[_Maps]] = weakref.WeakSet()
    _lock: ClassVar[ThreadLock] = ThreadLock()

    def __init__(self, arrays: Arrays) -> None:
        self._arrays = arrays
        self._known: OrderedDict[tuple[str, int], MappedShard | None] = OrderedDict()
        self._all.add(self)

    def get(self, sharded: ShardedArray, shard: int, rows: int) -> MappedShard | None:
        """Return a shard of an array with so many rows; None if some of its rows are not in it as they are in memory.

        Raises:
            DatasetCorruptError: the shard is missing, damaged, or has been cut off.
        """
        key = sharded.name, shard
        with self._lock.current:
            if key not in self._known:
                with self._arrays.reading(sharded.name) as directories:
                    mapped = self._known[key] = sharded.mapped(directories, shard, rows)
                while sum(len(maps._known) for maps in self._all) > MOST_MAPS:
                    max(self._all, key=lambda maps: len(maps._known))._known.popitem(last=False)
            else:
                mapped = self._known[key]
                self._known.move_to_end(key)
        if mapped is not None:
            mapped.file.check_size()
        return mapped


def _groups(numbers: _Numbers) -> Iterator[tuple[int, Any]]:
    """Yield each number with an index of its places."""
    if not len(numbers):
        return
    first, last = int(numbers.min()), int(numbers.max())
    if first == last:
        yield first, slice(None)
        return
    if last - first < _FEW:
        for number in range(first, last + 1):
            yield number, np.flatnonzero(numbers == number)
        return
    order = np.argsort(numbers, kind="stable")
    for places in np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1):
        yield int(numbers[places[0]]), places
