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
from typing import Any, ClassVar, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from minari._base.locks import ThreadLock
from minari._storages.array_pool import new_array
from minari._storages.decoded_blocks import KEPT_BYTES, DecodedBlocks, MemoryBudget
from minari._storages.mapped_file import MappedFile
from minari._storages.rows import RowRequest
from minari._storages.zarr.arrays import ArrayForm
from minari._storages.zarr.layout import StoredColumn
from minari._storages.zarr.reader import StoreReader
from minari._storages.zarr.shards import MappedShard, ShardedArray
from minari._storages.zarr.store import Arrays
from minari.spaces import Column, ColumnPath


__all__ = ["Gatherer"]

_Numbers = npt.NDArray[np.int64]

#: Maps of shards in this process, each of which has a descriptor.
MOST_MAPS = 2**8
_MOST_CHUNKS: Final = 2**20  # of an array
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
            known: _Known = {}
            return [
                None if leaf is None else leaf.read(request, known)
                for leaf, request in zip(leaves, requests, strict=True)
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
        self._ends = reader.ends_in(column.arrays[0])
        self._has_rows = reader.have_column(column.kind.path, np.arange(reader.episodes))

    @property
    def is_mapped(self) -> bool:
        """Return whether all rows are stored as they are in memory."""
        return all(array.is_mapped for array in (self._array, *self._final))

    def read(self, request: RowRequest, known: _Known) -> Column | None:
        """Return the rows of a request; None if some episodes do not have them.

        Args:
            request: the rows.
            known: where the rows of other requests of the same batch are.
        """
        key = id(request.episodes), id(request.rows), request.length, id(self._ends)
        if key not in known:
            known[key] = _Sequences(request, self._ends)
        sequences = known[key]
        if not self._has_rows[request.episodes].all() or sequences.most_beyond > len(self._final):
            return None
        out = request.target(self._dtype)
        found = out.reshape(len(sequences.at), sequences.length, *self._row_shape)
        self._array.read(sequences, found)
        if len(sequences.ended):
            last = np.empty((len(sequences.ended), 1, *self._row_shape), self._dtype)
            self._final[0].read(sequences.final, last)
            found[sequences.ended, -1] = last[:, 0]
        return out


class _Sequences:
    """Positions of the rows of a request in arrays with rows for the steps of episodes.

    Args:
        request: the rows.
        ends: of the episodes, after a zero.

    Attributes:
        at: the number of the first row of each sequence of consecutive rows.
        length: the number of rows of a sequence.
        most_beyond: how many rows a sequence has after those of its episode, at most.
        ended: the sequences that have some, of which the last one belongs to the end of the episode.
        final: where these last rows are, in an array with one row for each episode.
    """

    def __init__(self, request: RowRequest, ends: _Numbers) -> None:
        episodes, rows, self.length = request.episodes, request.rows, request.length or 1
        starts, stops = ends[episodes], ends[episodes + 1]
        if rows.ndim > 1:
            starts, stops = starts[:, None], stops[:, None]
        at = starts + rows
        beyond = at + (self.length - stops)
        self.at = at.reshape(-1)
        self._rows = int(ends[-1])
        self._parts: dict[tuple[int, int], list[_Part]] = {}
        self.most_beyond = int(beyond.max(initial=0))
        self.ended = np.flatnonzero(beyond > 0)
        if len(self.ended):
            several = episodes if rows.ndim == 1 else np.repeat(episodes, rows.shape[1])
            numbers = np.arange(len(ends))
            self.final = _Sequences(
                RowRequest((), (), several[self.ended], np.zeros(len(self.ended), np.int64)), numbers
            )

    def singles(self, which: Any = slice(None)) -> _Numbers:
        """Return the number of each row of some sequences; those beyond the end of an array count as its last one."""
        rows: _Numbers = np.minimum((self.at[which, None] + np.arange(self.length)).reshape(-1), self._rows - 1)
        return rows

    def parts(self, form: ArrayForm) -> list[_Part]:
        """Return how they are copied from an array: sequences that lie in one chunk, and the rows of the others."""
        key = form.shard_rows, form.chunk_rows if self.length > 1 else 1
        if key not in self._parts:
            length = self.length
            if length == 1:
                parts = [_Part(1, self.singles(), np.arange(len(self.at)), form)]
            else:
                is_whole = (self.at % form.chunk_rows + length <= form.chunk_rows) & (self.at + length <= self._rows)
                whole, cut = np.flatnonzero(is_whole), np.flatnonzero(~is_whole)
                places = (cut[:, None] * length + np.arange(length)).reshape(-1)
                parts = [_Part(length, self.at[whole], whole, form), _Part(1, self.singles(cut), places, form)]
            self._parts[key] = [part for part in parts if len(part.at)]
        return self._parts[key]


class _Part:
    """Sequences of rows of one length that are copied from an array.

    Args:
        length: the number of rows of each.
        at: the number of the first row of each.
        places: of the sequences among all of this length.
        form: of the array.

    Attributes:
        of_shards: the number of each shard that they are in, with which of them are in it, and their places.
    """

    def __init__(self, length: int, at: _Numbers, places: _Numbers, form: ArrayForm) -> None:
        self.length, self.at = length, at
        self.of_shards = [(shard, chosen, places[chosen]) for shard, chosen in _groups(at // form.shard_rows)]


#: Sequences by the arrays of their requests, and the ends of the episodes.
_Known: TypeAlias = dict[tuple[int, int, int | None, int], _Sequences]


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
        self._starts = np.full(min(self._chunks, _MOST_CHUNKS), -1)  # of chunks in the shards that were mapped
        self._chunk_size = form.chunk_rows * form.row_size
        self.is_mapped = _CAN_MAP and form.codec is None
        self.is_too_large = self._chunks > _MOST_CHUNKS or self._chunk_size > KEPT_BYTES
        self._blocks: DecodedBlocks | None = None  # made when they are first needed

    def read(self, sequences: _Sequences, out: npt.NDArray[Any]) -> None:
        """Read N sequences of L rows into an array, shape (N, L, ...); those beyond an episode may become anything."""
        if not out.size or not self._rows:
            return
        self.is_mapped = self.is_mapped and self._read_from_maps(sequences, out)
        if not self.is_mapped:
            self._read_decoded(sequences.singles(), out.reshape(-1, *out.shape[2:]))

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

    def _read_from_maps(self, sequences: _Sequences, out: npt.NDArray[Any]) -> bool:
        """Copy sequences out of maps; return False if a shard has no map."""
        content = out.reshape(-1).view(np.uint8)
        return all(self._copy(part, content) for part in sequences.parts(self._sharded.form))

    def _copy(self, part: _Part, content: npt.NDArray[np.uint8]) -> bool:
        form = self._sharded.form
        size = part.length * form.row_size
        opaque = np.dtype((np.void, size))  # is copied as a whole, which is faster
        items = content.view(opaque)
        maps = [self._mapped(shard) for shard, _, _ in part.of_shards]  # which also finds their chunks
        chunks = part.at // form.chunk_rows
        offsets = self._starts[chunks] + (part.at - chunks * form.chunk_rows) * form.row_size
        for mapped, (_, chosen, places) in zip(maps, part.of_shards, strict=True):
            if mapped is None:
                return False
            stored = mapped.array(0, (max(0, len(mapped) - size + 1),), opaque, 1)
            if size < _LARGE_ROW:
                items[places] = stored[offsets[chosen]]
                continue
            for place, offset in zip(places.tolist(), offsets[chosen].tolist(), strict=True):
                items[place : place + 1] = stored[offset : offset + 1]
        return True

    def _mapped(self, shard: int) -> MappedFile | None:
        mapped = self._maps.get(self._sharded, shard, self._rows)
        if mapped is None:
            return None
        first = shard * (self._sharded.form.shard_rows // self._sharded.form.chunk_rows)
        self._starts[first : first + len(mapped.starts)] = mapped.starts
        return mapped.file


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
