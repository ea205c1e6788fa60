"""Rows of leaves out of many episodes, gathered from a map of the file or decoded chunk by chunk.

Uncompressed rows lie in the file as they are in memory, so that a batch is one indexing operation of NumPy over
the map: row ``r`` of episode ``e`` begins at byte ``offset[e] + r * size``. Compressed rows lie in chunks, each
of which is decoded once a batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from minari._base.data_file import DataFile
from minari._base.parallel import map_in_batches
from minari._storages.array_pool import LARGE
from minari._storages.decoded_blocks import DecodedBlocks, MemoryBudget
from minari._storages.hdf5.format.chunks import ChunkTable, check_expansion, decode_chunk
from minari._storages.hdf5.format.filters import Chunking
from minari._storages.hdf5.index import LeafPlace
from minari._storages.mapped_file import MappedFile
from minari._storages.rows import RowRequest, check_exact
from minari.errors import DatasetCorruptError
from minari.spaces import Column, ColumnPath, path_name, without_ones


Positions = npt.NDArray[np.int64]

_NOT_MAPPED: Final = -1
_MOST_TABLES: Final = 2**22  # numbers in the tables of chunks that are kept
_ENOUGH_FOR_A_THREAD: Final = 2**18  # bytes
_LARGE_ROW: Final = 2**12  # bytes, from which on copying rows one by one into an array that is there pays


@dataclass(frozen=True, slots=True)
class _Compressed:
    """Episodes whose leaf has the same chunks.

    Attributes:
        dtype: of the values.
        shape: of a row.
        chunking: shape and filters of the chunks.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    chunking: Chunking


class LeafRows:
    """The positions of the rows of one leaf in all episodes.

    Args:
        path: the path of the leaf.
        shape: the shape of a row in the space.
        found: where the leaf lies, see :meth:`EpisodeIndex.leaf`.
        total_rows: the number of rows that the leaf must have in each episode.
        budget: of memory for what is decoded.

    Attributes:
        dtype: of the rows.
        size: of a row in bytes.
        is_mapped: True if every row lies in the file as it is in memory.
    """

    def __init__(
        self,
        path: ColumnPath,
        shape: tuple[int, ...],
        found: Iterable[tuple[LeafPlace, npt.NDArray[np.int64], npt.NDArray[np.int64]]],
        total_rows: npt.NDArray[np.int64],
        budget: MemoryBudget,
    ) -> None:
        self.path, self.shape = path, shape
        self._offsets = np.full(len(total_rows), _NOT_MAPPED)
        self._forms = np.full(len(total_rows), _NOT_MAPPED)  # numbers of compressed layouts
        self._heights = np.ones(len(total_rows), np.int64)  # of chunks
        self._compressed: list[_Compressed] = []
        self._budget = budget
        self._blocks: DecodedBlocks | None = None  # made when they are first asked for
        self._block_starts = total_rows  # numbers of the first blocks of the episodes, set with them
        self._tables: dict[int, ChunkTable] = {}
        self._table_numbers = 0
        usable = [
            (leaf, episodes[is_whole], places[is_whole])
            for leaf, episodes, places in found
            if leaf.dtype is not None
            and not leaf.needs_hdf5
            and leaf.dtype.isnative
            and without_ones(leaf.shape) == without_ones(shape)
            and (is_whole := places[:, 0] == total_rows[episodes]).any()
        ]
        dtypes = {leaf.dtype for leaf, _, _ in usable if leaf.dtype is not None}
        self._is_usable = bool(dtypes)
        self.is_mapped = False
        self.dtype = np.result_type(*dtypes) if dtypes else np.dtype(float)
        check_exact(dtypes, self.dtype, path)
        self.size = math.prod(shape, start=self.dtype.itemsize)
        for leaf, episodes, places in usable:
            if leaf.dtype is None:
                continue
            if leaf.filters is not None and leaf.chunks is not None:
                self._forms[episodes] = len(self._compressed)
                self._offsets[episodes], self._heights[episodes] = places[:, 1], leaf.chunks[0]
                self._compressed.append(_Compressed(leaf.dtype, leaf.shape, Chunking(leaf.chunks, leaf.filters)))
            elif leaf.chunks is None and leaf.dtype == self.dtype and self.size:
                self._offsets[episodes] = places[:, 1]
        self.is_mapped = bool((self._forms < 0).all() and (self._offsets >= 0).all())
        mapped = self._offsets[(self._forms < 0) & (self._offsets >= 0)]
        self._unit = math.gcd(int(np.gcd.reduce(mapped)) if len(mapped) else 0, self.size) or 1
        self._units, self._step = self._offsets // self._unit, self.size // self._unit
        self._end = int(mapped.max(initial=0))
        self._last = total_rows

    def gather(self, file: DataFile, mapped: MappedFile | None, request: RowRequest) -> Column | None:
        """Return the rows of a request; None if another way of reading is needed.

        Raises:
            DatasetCorruptError: the file has been cut off, or a chunk is damaged.
        """
        if not self._is_usable:
            return None
        episodes = request.episodes
        if self.is_mapped:
            return None if mapped is None else self.from_map(mapped, request)
        forms = self._forms[episodes]
        if (forms >= 0).all():
            return self._from_chunks(file, request)
        if (forms < 0).all() and mapped is not None and (self._offsets[episodes] >= 0).all():
            return self.from_map(mapped, request)
        return None

    def from_map(self, mapped: MappedFile, request: RowRequest) -> Column:
        """Return rows by one index over a view of the map, in which every row begins at a multiple of the unit.

        Raises:
            DatasetCorruptError: the file has been cut off.
        """
        dtype, length = self.dtype, request.length or 1
        size = length * self.size
        units = self._units.take(request.episodes)
        rows = request.rows
        at = (units if rows.ndim == 1 else units[:, None]) + rows * self._step
        is_number = size == dtype.itemsize and self._unit % size == 0
        # Opaque items are copied as a whole, which is faster than row by row with a dtype.
        view = mapped.array(
            0,
            [max(0, (len(mapped) - size) // self._unit + 1)],
            dtype if is_number else np.dtype((np.void, size)),
            self._unit,
        )
        try:
            if size < _LARGE_ROW or (request.out is None and at.size * size < LARGE):
                shape = () if request.length is None else (length,)
                return view[at].view(dtype).reshape(*rows.shape, *shape, *request.shape)
            out = request.target(dtype)
            items = out.reshape(-1).view(view.dtype)
            for place, unit in enumerate(at.reshape(-1).tolist()):
                items[place : place + 1] = view[unit : unit + 1]
        except (IndexError, ValueError):
            raise self._cut_off(mapped) from None
        return out

    def pieces_of(self, episodes: npt.NDArray[np.int64]) -> tuple[Positions, Positions] | None:
        """Return the offset and the number of bytes of the rows of each episode; None unless all are as in memory."""
        offsets = self._offsets[episodes]
        if (offsets < 0).any() or (self._forms[episodes] >= 0).any():
            return None
        return offsets, self._last[episodes] * self.size

    def _cut_off(self, mapped: MappedFile) -> DatasetCorruptError:
        return DatasetCorruptError(
            f"The {path_name(self.path)} lie beyond the end of the file, which has been cut off after it was opened; "
            f"copy or download the dataset again."
        )

    # Compressed leaves

    def _from_chunks(self, file: DataFile, request: RowRequest) -> Column:
        rows = request.all_rows
        flat = rows.reshape(-1)
        episodes = np.repeat(request.episodes, rows.size // max(len(request.episodes), 1))
        out = request.target(self.dtype)
        result = out.reshape(len(flat), *self.shape)
        if request.once or not self._from_blocks(file, episodes, flat, result):
            self._decode(file, episodes, flat, np.arange(len(flat)), result)
        return out

    def _from_blocks(self, file: DataFile, episodes: Positions, rows: Positions, target: Column) -> bool:
        """Write rows to an array by way of the blocks that are kept; False if they are not worth keeping."""
        if self._blocks is None:
            counts = np.where(self._forms >= 0, -(-self._last // self._heights), 0)
            self._block_starts = np.cumsum(counts) - counts
            height = max(form.chunking.shape[0] for form in self._compressed)
            self._blocks = DecodedBlocks(int(counts.sum()), height, self.shape, self.dtype, self._budget)
        heights = self._heights[episodes]

        def decode(blocks: Positions, places: Positions, kept: Column) -> None:
            episodes = self._block_starts.searchsorted(blocks, "right") - 1
            heights = self._heights[episodes]
            first = (blocks - self._block_starts[episodes]) * heights
            counts = np.minimum(heights, self._last[episodes] - first)
            each = np.repeat(np.arange(len(blocks)), counts)
            inner = np.arange(len(each)) - np.repeat(np.cumsum(counts) - counts, counts)
            self._decode(file, episodes[each], first[each] + inner, places[each] + inner, kept)

        return self._blocks.gather(self._block_starts[episodes] + rows // heights, rows % heights, target, decode)

    def _decode(self, file: DataFile, episodes: Positions, rows: Positions, places: Positions, target: Column) -> None:
        """Write rows of episodes to places in an array."""
        forms = self._forms[episodes]
        tasks: list[_ChunkTask] = []
        for number in np.unique(forms).tolist():
            form = self._compressed[number]
            chosen = np.flatnonzero(forms == number)
            of_form = target.reshape(len(target), *form.shape)
            tasks += self._chunk_tasks(file, form, episodes[chosen], rows[chosen], places[chosen], of_form)

        def decode(task: _ChunkTask) -> None:
            where, inside = (task.at, *task.strip), (task.rows, *task.inside)
            try:
                decode_chunk(file.read_chunk, task.table, task.number, task.target, where, inside)
            except ValueError as error:
                raise DatasetCorruptError(
                    f"The {path_name(self.path)} of episode {task.episode} cannot be decompressed ({error}); the file "
                    f"is damaged, so copy or download the dataset again."
                ) from error

        chunk_size = max((form.chunking.size(form.dtype) for form in self._compressed), default=1)
        map_in_batches(decode, tasks, max(1, _ENOUGH_FOR_A_THREAD // chunk_size))

    def _chunk_tasks(
        self,
        file: DataFile,
        form: _Compressed,
        episodes: npt.NDArray[np.int64],
        rows: npt.NDArray[np.int64],
        places: npt.NDArray[np.int64],
        target: Column,
    ) -> Iterable[_ChunkTask]:
        """Yield what is to be decoded: each chunk with rows that are asked for, once."""
        height, *sides = form.chunking.shape
        blocks = rows // height
        order = np.lexsort((blocks, episodes))
        episodes, blocks, rows, places = (
            episodes[order],
            blocks[order],
            rows[order] - blocks[order] * height,
            places[order],
        )
        starts = np.flatnonzero(np.diff(episodes, prepend=-1) | np.diff(blocks, prepend=-1))
        strips = [
            tuple(
                slice(start, min(start + side, end)) for start, side, end in zip(corner, sides, form.shape, strict=True)
            )
            for corner in product(*(range(0, end, side) for end, side in zip(form.shape, sides, strict=True)))
        ]
        insides = [tuple(slice(strip.stop - strip.start) for strip in all_sides) for all_sides in strips]
        groups = zip(
            episodes[starts].tolist(),
            blocks[starts].tolist(),
            _groups(places, starts),
            _groups(rows, starts),
            strict=True,
        )
        for episode, block, at, inner in groups:
            table = self._table(file, form, episode)
            for number, (strip, inside) in enumerate(zip(strips, insides, strict=True), block * len(strips)):
                yield _ChunkTask(episode, table, number, target, at, inner, strip, inside)

    def _table(self, file: DataFile, form: _Compressed, episode: int) -> ChunkTable:
        table = self._tables.get(episode)
        if table is None:
            shape = (int(self._last[episode]), *form.shape)
            try:
                table = ChunkTable.read(file.read_at, int(self._offsets[episode]), shape, form.dtype, form.chunking)
                check_expansion(form.chunking, form.dtype, table.sizes)
            except ValueError as error:
                raise DatasetCorruptError(
                    f"The {path_name(self.path)} of episode {episode} cannot be read ({error}); the file is damaged, "
                    f"so copy or download the dataset again."
                ) from error
            self._table_numbers += 3 * len(table.places)
            if self._table_numbers > _MOST_TABLES:
                self._tables, self._table_numbers = {}, 3 * len(table.places)
            self._tables[episode] = table
        return table


def _groups(positions: Positions, starts: Positions) -> list[Positions | slice]:
    """Return the groups that begin at some places; as a slice, which NumPy copies at once, if they are consecutive."""
    ends = np.append(starts[1:], len(positions))
    breaks = np.cumsum(np.diff(positions, prepend=positions[:1]) != 1)
    are_slices = breaks[ends - 1] == breaks[starts]
    return [
        slice(first, first + end - start) if is_slice else positions[start:end]
        for first, start, end, is_slice in zip(
            positions[starts].tolist(), starts.tolist(), ends.tolist(), are_slices.tolist(), strict=True
        )
    ]


@dataclass(frozen=True, slots=True)
class _ChunkTask:
    """A chunk to decode, and where its rows go.

    Attributes:
        episode: number of the episode, for messages.
        table: of the chunks of the episode.
        number: of the chunk.
        target: the rows of the request.
        at: positions in it.
        rows: rows in the chunk.
        strip: the part of a row that the chunk has.
        inside: where that lies in the chunk.
    """

    episode: int
    table: ChunkTable
    number: int
    target: Column
    at: Positions | slice
    rows: Positions | slice
    strip: tuple[slice, ...]
    inside: tuple[slice, ...]
