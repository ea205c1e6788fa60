"""Appends episodes to the arrays of a Zarr store, which become visible with the ``zarr.json`` files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from minari._model.compression import Codec
from minari._storages.metadata_file import SizeCache
from minari._storages.zarr.arrays import (
    ATTRIBUTE,
    SMALLEST_CHUNK,
    ArrayForm,
    common_shard_rows,
    fitting,
    form_of_rows,
    form_of_steps,
    to_zarr_json,
)
from minari._storages.zarr.codecs import checksum
from minari._storages.zarr.layout import OF_METADATA, RAGGED, STORE_NAME, ColumnKind, StoredColumn, ends_of
from minari._storages.zarr.reader import EPISODE_ENDS, INT32, INT64, LAYOUTS, StoreReader, groups_of
from minari._storages.zarr.rows import JSON, kind_of, split, split_metadata
from minari._storages.zarr.store import Rows
from minari.errors import DatasetCorruptError, EpisodeError
from minari.spaces import ANY_ROWS, ColumnPath, EpisodeBatch, EpisodeColumns, path_name


#: Bytes of the chunks that are written together if they are not compressed.
BLOCK = 1 << 18
_LARGEST_BLOCK: Final = 1 << 27  # bytes of the rows of an incomplete shard, which are read to append to it
_OF_META: Final = Codec("zstd", 1)  # of everything but columns of numbers: ends, metadata, texts
#: Of few of these numbers: Python has it, while loading Zstandard takes longer than opening a dataset.
_OF_LITTLE_META: Final = Codec("gzip", 1)
_LITTLE: Final = 1 << 16  # bytes


class NewFile(Protocol):
    """A file of a store that is being written."""

    def write(self, parts: Sequence[memoryview]) -> None:
        """Write the next parts of its content, whose memory may be used again afterwards."""

    def finish(self) -> None:
        """Put the file into the store; nothing is written afterwards."""


#: Creates a file of a store by its key.
Create: TypeAlias = Callable[[str], NewFile]


@dataclass(frozen=True, slots=True)
class WriterContext:
    """The dataset that a writer changes.

    Attributes:
        data_path: where it lies.
        leaves: the columns of the spaces that have one row a step.
        codec_for: returns the codec of a new column.
        open_reader: returns a reader of the store as it is now, which verifies checksums.
        size: of the store.
        durable: True if changes must survive a power failure.
    """

    data_path: Path
    leaves: frozenset[ColumnPath]
    codec_for: Callable[[ColumnPath], Codec | None]
    open_reader: Callable[[], StoreReader]
    size: SizeCache
    durable: bool

    @property
    def store_path(self) -> Path:
        """The store in the data."""
        return self.data_path / STORE_NAME

    def appender(self, create: Create, reader: StoreReader | None = None, is_fixed: bool = False) -> StoreAppender:
        """Return an appender to the store as it is, or as a reader says; see :class:`StoreAppender`."""
        return StoreAppender(create, reader or self.open_reader(), self.leaves, self.codec_for, is_fixed)


@dataclass(frozen=True, slots=True)
class Remainder:
    """An episode without the rows of its steps.

    Attributes:
        total_steps: the number of its steps.
        columns: the numbers of its columns.
        rows: of the arrays that have other rows, in the order of :func:`arrays_of_remainder`.
        metadata: of the episode.
    """

    total_steps: int
    columns: list[int]
    rows: list[npt.NDArray[Any]]
    metadata: dict[str, Any]


def arrays_of_remainder(columns: Sequence[StoredColumn]) -> list[tuple[StoredColumn, str]]:
    """Return the arrays of some columns that do not have one row per step, each with its column."""
    return [(column, array) for column in columns for array in column.arrays if not array.startswith("data/")]


class StoreAppender:
    """Writer that appends episodes to those of a store.

    Args:
        create: creates files; nothing is read from there.
        reader: of the store as it is.
        leaves: the columns of the spaces that have one row a step.
        codec_for: returns the codec of a new column.
        is_fixed: whether chunks are as large as usual however few rows there are, and never change.

    Attributes:
        table: of the columns of all episodes.
        episodes: the number of episodes.
        steps: the number of their steps.
    """

    def __init__(
        self,
        create: Create,
        reader: StoreReader,
        leaves: frozenset[ColumnPath],
        codec_for: Callable[[ColumnPath], Codec | None],
        is_fixed: bool = False,
    ) -> None:
        self._create, self._reader, self._leaves, self._codec_for = create, reader, leaves, codec_for
        self._is_fixed = is_fixed
        self.table = reader.table.copy()
        self.episodes, self.steps = reader.episodes, int(reader.ends[-1])
        self._known = reader.array_names()  # arrays that exist
        self._columns: dict[Any, list[StoredColumn]] = {}
        self._streams: dict[str, RowStream] = {}
        # Values with one number an episode are kept until the end.
        self._episode_ends: list[int] = []
        self._layouts: list[int] = []
        self._lengths: dict[str, int] = {}  # of arrays of ragged columns, so far
        self._ends: dict[str, dict[int, int]] = {}
        self._values: dict[StoredColumn, dict[int, Any]] = {}

    def add(self, episode: EpisodeColumns) -> None:
        """Append an episode; its arrays may be reused afterwards.

        Raises:
            EpisodeTypeError: values have a type that Zarr does not support; nothing of the episode is stored.
            MetadataError: metadata cannot be stored; nothing of the episode is stored.
        """
        metadata = split_metadata(self.table, episode.metadata)
        columns = self._columns_of(episode)
        for column, array, rows in rows_of(columns, episode):
            self._put_rows(column, array, rows)
        self._add_metadata(columns, *metadata)
        self._end_episode(episode.total_steps)

    def add_batch(self, batch: EpisodeBatch) -> None:
        """Append the episodes of a batch, whose arrays may be reused afterwards; see :meth:`add`."""
        first = batch[0]
        values, text = split_metadata(self.table, first.metadata)
        columns = self._columns_of(first)
        is_plain = text is None and all(a.ndim == 1 and a.dtype != np.uint64 for a in batch.metadata.values())
        if not is_plain or any(column.kind.kind not in ("steps", "states") for column in columns):
            for episode in batch:
                self.add(episode)
            return
        for column in columns:
            rows = batch.columns[column.kind.path]
            if column.kind.kind == "states":
                ends = batch.bounds(column.kind.path)[1:] - 1
                self._put_rows(column, column.arrays[1], rows[ends])
                rows = np.delete(rows, ends, axis=0)
            self._put_rows(column, column.arrays[0], rows)
        of_metadata = [self.table.column(kind) for kind in values]
        for column, numbers in zip(of_metadata, batch.metadata.values(), strict=True):
            self._values.setdefault(column, {}).update(enumerate(numbers, self.episodes))
        self._layouts += [self.table.layout([*columns, *of_metadata])] * len(batch)
        self._episode_ends += (self.steps + np.cumsum(batch.total_steps)).tolist()
        self.steps, self.episodes = self._episode_ends[-1], self.episodes + len(batch)

    def _end_episode(self, total_steps: int) -> None:
        self.steps += total_steps
        self._episode_ends.append(self.steps)
        self.episodes += 1

    # Episodes whose steps and whose other rows are written by different processes

    def plan(self, episodes: Iterable[EpisodeColumns]) -> None:
        """Create the columns of episodes like these."""
        for episode in episodes:
            self._columns_of(episode)

    def add_steps(self, episode: EpisodeColumns, at: int, first: int, stop: int) -> Remainder:
        """Put the rows of the steps of an episode in a range; the table stays as it is.

        Args:
            episode: the episode.
            at: the place of its first step.
            first: the first place that is put.
            stop: the place after the last one.

        Returns:
            The rest of the episode, for :meth:`add_remainder`.

        Raises:
            EpisodeError: the episode has a column that was not planned.
        """
        planned = len(self.table.columns)
        columns = self._columns_of(episode)
        if len(self.table.columns) > planned:
            name = path_name(self.table.columns[planned].kind.path)
            raise EpisodeError(
                f"An episode has a column {name!r} unlike those that the parts were planned for; give an episode that "
                f"has it among those that show what is to come."
            )
        self.steps, others = first, []
        for column, array, rows in rows_of(columns, episode):
            if array.startswith("data/"):
                begin, end = max(first - at, 0), min(stop - at, len(rows))
                stream = self._streams.get(array) or self._new_stream(column, array)
                self._streams[array] = stream
                stream.put(at + begin, rows[begin:end])
            else:
                others.append(rows)
        return Remainder(episode.total_steps, [column.number for column in columns], others, episode.metadata)

    def flush(self) -> None:
        """Write the rows that are held in memory."""
        for stream in self._streams.values():
            stream.flush()

    def add_remainder(self, remainder: Remainder) -> None:
        """Append an episode whose steps are put by another process."""
        metadata = split_metadata(self.table, remainder.metadata)
        columns = [self.table.columns[number] for number in remainder.columns]
        for (column, array), rows in zip(arrays_of_remainder(columns), remainder.rows, strict=True):
            self._put_rows(column, array, rows)
        self._add_metadata(columns, *metadata)
        self._end_episode(remainder.total_steps)

    # Columns and metadata

    def _columns_of(self, episode: EpisodeColumns) -> list[StoredColumn]:
        """Return the stored columns of an episode; looked up once for all episodes of its kind."""
        total_steps = episode.total_steps
        sort = tuple(
            (path, c.dtype, c.shape[1:], 0 if path[0] in ANY_ROWS else len(c) - total_steps)
            for path, c in episode.columns.items()
        )
        columns = self._columns.get(sort)
        if columns is None or any(column.dtype == object for column in episode.columns.values()):
            kinds = [kind_of(path, c, total_steps, self._leaves) for path, c in episode.columns.items()]
            if self.table.shard_rows is None:
                self.table.shard_rows = common_shard_rows([kind.row_size for kind in kinds if kind.has_steps])
            columns = self._columns[sort] = [self.table.column(kind) for kind in kinds]
        return columns

    def renew_metadata(self, metadatas: Iterable[Mapping[str, Any]]) -> None:
        """Replace the metadata of all stored episodes, before any episode is added.

        Raises:
            MetadataError: metadata cannot be stored.
        """
        old, self.table = self.table, self.table.without_metadata()
        self._known = {a for c in self.table.columns for a in c.all_arrays} | {EPISODE_ENDS}
        self.episodes = 0
        for metadata, layout in zip(metadatas, self._reader.layouts.tolist(), strict=True):
            of_data = [self.table.column(c.kind) for c in old.columns_of(layout) if c.kind.kind not in OF_METADATA]
            self._add_metadata(of_data, *split_metadata(self.table, metadata))
            self.episodes += 1

    def _add_metadata(self, columns: list[StoredColumn], values: Mapping[ColumnKind, Any], text: bytes | None) -> None:
        """Take the metadata of the next episode, and its layout."""
        of_metadata = [self.table.column(kind) for kind in values]
        for column, value in zip(of_metadata, values.values(), strict=True):
            self._values.setdefault(column, {})[self.episodes] = value
        if text is not None:
            column = self.table.column(JSON)
            self._put_rows(column, column.arrays[0], np.frombuffer(text, np.uint8))
            of_metadata.append(column)
        self._layouts.append(self.table.layout([*columns, *of_metadata]))

    def _put_rows(self, column: StoredColumn, array: str, rows: npt.NDArray[Any]) -> None:
        stream = self._streams.get(array)
        if stream is None:
            stream = self._streams[array] = self._new_stream(column, array)
        if column.kind.kind in RAGGED:
            at = self._length(array)
            self._lengths[array] = at + len(rows)
            self._ends.setdefault(array, {})[self.episodes] = at + len(rows)
        else:
            at = self.episodes if array.startswith("meta/") else self.steps
        stream.put(at, rows)

    # Arrays

    def _new_stream(self, column: StoredColumn, array: str) -> RowStream:
        start = self.steps if array.startswith("data/") else self.episodes
        if column.kind.kind in RAGGED:
            start = self._length(array)
        return self._stream(array, self._fresh_form(column, array), start, column)

    def _fresh_form(self, column: StoredColumn, array: str) -> ArrayForm:
        """Return the form of a new array."""
        kind = column.kind
        dtype, row_shape = column.form_of(array)
        is_number = kind.kind in ("steps", "states", "rows")
        is_jpeg = kind.kind == "bytes" and dtype != INT64
        codec = self._codec_for(kind.path) if is_number else None if is_jpeg else _OF_META
        if array.startswith("data/"):
            return form_of_steps(dtype, row_shape, self.table.shard_rows or SMALLEST_CHUNK, codec)
        return form_of_rows(dtype, row_shape, codec)

    def _stream(self, array: str, form: ArrayForm, start: int, column: StoredColumn | None = None) -> RowStream:
        """Return the stream of an array, from its end on if it exists."""
        if array not in self._known:
            return RowStream(self._create, array, form, start, self._is_fixed)
        expected, form, end = form, self._form(array), self._reader.last_end(array)
        if (form.dtype, form.row_shape) != (expected.dtype, expected.row_shape):
            raise self._refusal(
                array,
                f"it holds {form.dtype} of {form.row_shape}, expected {expected.dtype} of {expected.row_shape}",
            )
        if start // form.shard_rows > end // form.shard_rows:  # the last stored shard stays as it is
            return RowStream(self._create, array, form, start, self._is_fixed)
        first = end - end % form.shard_rows
        if first == end or not form.has_data or not (column is None or self._reader.has_rows(column, array, first)):
            return RowStream(self._create, array, form, end, self._is_fixed)
        stream = RowStream(self._create, array, form, first, self._is_fixed)
        stream.put(first, self._reader.arrays.read([Rows(array, first, end, form.dtype, form.row_shape)])[0])
        return stream

    def _form(self, array: str) -> ArrayForm:
        form = self._reader.arrays.open(array).form
        if isinstance(form, str):
            raise self._refusal(array, form)
        if form.row_size * form.shard_rows > max(_LARGEST_BLOCK, form.row_size * SMALLEST_CHUNK):
            raise self._refusal(array, f"its shards have {form.shard_rows} rows")
        return form

    def _refusal(self, array: str, why: str) -> DatasetCorruptError:
        return DatasetCorruptError(
            f"The array {array} of {self._reader.arrays.store} cannot be appended to, since it is damaged, or "
            f"another program has written it in another way ({why}); copy the episodes to a new dataset."
        )

    def _length(self, array: str) -> int:
        if array not in self._lengths:
            self._lengths[array] = self._reader.last_end(array) if array in self._known else 0
        return self._lengths[array]

    # The end

    def finish(self) -> None:
        """Write everything that is held in memory, and then the metadata of all arrays and groups."""
        if not self.episodes:
            return
        self._put_numbers(EPISODE_ENDS, INT64, self._episode_ends)
        self._put_numbers(LAYOUTS, INT32, self._layouts)
        for column in self.table.columns:
            if column.kind.kind == "value":
                (array,) = column.arrays
                self._put_numbers(array, np.dtype(column.kind.dtype), self._dense(array, self._values.get(column, {})))
            elif column.kind.kind in RAGGED:
                for array in column.arrays:
                    self._put_numbers(ends_of(array), INT64, self._ends_since(array))
        self.flush()
        shapes = self._shapes()
        columns = {array: column for column in self.table.columns for array in column.arrays}
        for array, rows in shapes.items():
            if array in self._streams:
                form = self._streams[array].form
            else:
                form = self._form(array) if array in self._known else self._fresh_form(columns[array], array)
            self._put_json(f"{array}/zarr.json", form.zarr_json(rows))
        for group in sorted({group for array in shapes for group in groups_of(array)}):
            self._put_json(f"{group}/zarr.json", _group({}))
        self._put_json("zarr.json", _group({ATTRIBUTE: self.table.to_json()}))

    def _put_numbers(self, array: str, dtype: np.dtype[Any], numbers: Any) -> None:
        start = self.episodes - len(numbers)
        values = np.asarray(numbers, dtype)
        codec = _OF_LITTLE_META if values.nbytes <= _LITTLE else _OF_META
        stream = self._streams[array] = self._stream(array, form_of_rows(dtype, (), codec), start)
        stream.put(start, values)

    def _dense(self, array: str, values: Mapping[int, Any]) -> npt.NDArray[Any]:
        """Return the numbers of the episodes that an array does not have yet, 0 for an episode without."""
        start = self._reader.episodes if array in self._known else 0
        dense = np.zeros(self.episodes - start, np.asarray(next(iter(values.values()), 0)).dtype)
        for index, value in values.items():
            dense[index - start] = value
        return dense

    def _ends_since(self, array: str) -> npt.NDArray[np.int64]:
        """Return the ends of the episodes that an array does not have yet."""
        ends = self._dense(ends_of(array), self._ends.get(array, {})).astype(np.int64)
        first = self._reader.last_end(array) if array in self._known else 0
        return np.maximum.accumulate(np.concatenate([[first], ends]))[1:]

    def _shapes(self) -> dict[str, int]:
        """Return the number of rows of every array."""
        shapes = {EPISODE_ENDS: self.episodes, LAYOUTS: self.episodes}
        for column in self.table.columns:
            for array in column.arrays:
                if column.kind.kind in RAGGED:
                    shapes[array], shapes[ends_of(array)] = self._length(array), self.episodes
                else:
                    shapes[array] = self.episodes if array.startswith("meta/") else self.steps
        return shapes

    def _put_json(self, key: str, value: Mapping[str, Any]) -> None:
        file = self._create(key)
        file.write([memoryview(to_zarr_json(value))])
        file.finish()


def rows_of(
    columns: Iterable[StoredColumn], episode: EpisodeColumns
) -> Iterator[tuple[StoredColumn, str, npt.NDArray[Any]]]:
    """Yield the rows of an episode for each array."""
    for column in columns:
        parts = split(column.kind.kind, episode.columns[column.kind.path], episode.total_steps)
        for array, rows in zip(column.arrays, parts, strict=True):
            yield column, array, rows


def _group(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {"zarr_format": 3, "node_type": "group", "attributes": attributes}


class RowStream:
    """The rows of one array on their way into shards, in order, with gaps.

    The rows of a few chunks are held in memory, and written as soon as these are full.

    Args:
        create: creates shards.
        array: the path of the array.
        form: of the array.
        start: the first row that may come.
        is_fixed: whether the chunks must stay as they are, even if only the first shard has any.
    """

    def __init__(self, create: Create, array: str, form: ArrayForm, start: int, is_fixed: bool = False) -> None:
        self.array, self.form = array, form
        self._create = create
        self._is_fixed = is_fixed
        chunks = 2 * (os.cpu_count() or 1) if form.codec else BLOCK // max(1, form.row_size * form.chunk_rows)
        rows = min(form.shard_rows, max(1, chunks) * form.chunk_rows)
        self._block: npt.NDArray[Any] = np.empty((rows, *form.row_shape), form.dtype)
        self._file: NewFile | None = None
        self._begin(start)

    def _begin(self, start: int) -> None:
        """Begin a shard, with a block that the first row that may come is in."""
        self._shard, offset = divmod(start, self.form.shard_rows)
        self._is_fixed = self._is_fixed or self._shard > 0
        self._index, self._end = self.form.new_index(), 0
        self._begin_block(offset)

    def _begin_block(self, offset: int) -> None:
        self._base = offset - offset % self.form.chunk_rows
        self._filled = offset - self._base
        self._block[: self._filled] = 0
        self._runs: list[list[int]] = []  # rows of the block that have come: start and stop

    def put(self, at: int, rows: npt.NDArray[Any]) -> None:
        """Take rows that lie after those that came before."""
        size = self.form.shard_rows
        while len(rows):
            shard, offset = divmod(at, size)
            if shard != self._shard:
                self.flush()
                self._begin(at)
            if offset >= self._base + len(self._block):
                self._write_block()
                self._begin_block(offset)
            inner = offset - self._base
            taken = min(len(rows), len(self._block) - inner, size - offset)
            if inner > self._filled:
                self._block[self._filled : inner] = 0
            self._block[inner : inner + taken] = rows[:taken]
            if self._runs and self._runs[-1][1] == inner:
                self._runs[-1][1] += taken
            else:
                self._runs.append([inner, inner + taken])
            self._filled = inner + taken
            rows, at = rows[taken:], at + taken

    def _write_block(self) -> None:
        """Write the chunks of the block that have rows."""
        if not self._runs or not self.form.has_data:
            return
        if not self._is_fixed:
            self.form = fitting(self.form, self._base + self._filled)
            self._is_fixed, self._index = True, self.form.new_index()
        size = self.form.chunk_rows
        self._block[self._filled : -(-self._filled // size) * size] = 0
        numbers = sorted({number for start, stop in self._runs for number in range(start // size, -(-stop // size))})
        if self._file is None:
            self._file = self._create(f"{self.array}/{self.form.key(self._shard)}")
        chunks = [self._block[number * size : (number + 1) * size] for number in numbers]
        for number, parts in zip(numbers, self.form.encoded(chunks), strict=True):
            length = sum(part.nbytes for part in parts)
            self._index[self._base // size + number] = self._end, length
            self._end += length
            self._file.write(parts)
        self._runs = []

    def flush(self) -> None:
        """Write the shard that is being filled, unless it is empty."""
        self._write_block()
        if self._file is not None:
            content = self._index.tobytes()
            self._file.write([memoryview(content + checksum(content))])
            self._file.finish()
            self._file = None
