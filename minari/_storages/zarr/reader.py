"""Reads the episodes of a Zarr store, as it was at one moment."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from minari._storages import json_metadata
from minari._storages.rows import NUMBERS, LeafRequest
from minari._storages.zarr.arrays import ATTRIBUTE, is_as_written
from minari._storages.zarr.layout import RAGGED, StoredColumn, Table, ends_of
from minari._storages.zarr.rows import join, plain
from minari._storages.zarr.shards import Budget, ShardedArray
from minari._storages.zarr.store import Arrays, Rows
from minari.errors import ChecksumError, DatasetCorruptError, MinariError
from minari.spaces import FRAMES, Column, ColumnPath, Columns, without_ones


Ends = npt.NDArray[np.int64]

INT64: Final = np.dtype("<i8")
INT32: Final = np.dtype("<i4")
EPISODE_ENDS: Final = "meta/episode_ends"
LAYOUTS: Final = "meta/layout"

_READ_AT_A_TIME = 32 << 20
# The memory of an open store: bytes for any store, and bytes for every stored byte. Ends that grow with every
# episode compress to one of eight bytes at best.
_FREE, _PER_BYTE = 64 << 20, 256


class StoreReader:
    """The index of a store in memory: the places of the rows of each episode, and its metadata.

    Args:
        arrays: of the store.
        episodes: their number according to the metadata; rows after them were never committed.

    Raises:
        DatasetCorruptError: something is missing or damaged.
    """

    def __init__(self, arrays: Arrays, episodes: int) -> None:
        self.arrays, self.episodes = arrays, episodes
        budget = Budget(_FREE, _PER_BYTE)
        self.has_checksum = False  # of the zarr.json of the root
        self.table = self._read_table() if episodes else Table()
        ragged = [a for c in self.table.columns if c.kind.kind in RAGGED for a in c.arrays]
        values = [c for c in self.table.columns if c.kind.kind == "value"]
        wanted = [Rows(name, 0, episodes, INT64) for name in (EPISODE_ENDS, *map(ends_of, ragged))]
        wanted += [Rows(LAYOUTS, 0, episodes, INT32)]
        wanted += [Rows(c.arrays[0], 0, episodes, *c.form_of(c.arrays[0])) for c in values]
        found = arrays.read(wanted, budget) if episodes else [np.zeros(0, rows.dtype) for rows in wanted]
        read = dict(zip((rows.array for rows in wanted), found, strict=True))
        self.ends = self._checked_ends(EPISODE_ENDS, read[EPISODE_ENDS])
        self.layouts = self._checked_layouts(read[LAYOUTS])
        self._ragged = {array: self._checked_ends(array, read[ends_of(array)]) for array in ragged}
        self._values = {column.arrays[0]: read[column.arrays[0]] for column in values}
        texts = [column for column in self.table.columns if column.kind.kind == "json"]
        wanted = [Rows(a, 0, int(self._ragged[a][-1]), *c.form_of(a)) for c in texts for a in c.arrays]
        self._texts: dict[str, npt.NDArray[np.uint8]] = dict(
            zip((rows.array for rows in wanted), arrays.read(wanted, budget), strict=True)
        )
        self._with_checksums: dict[int, bool] = {}  # layouts
        if arrays.verify and episodes:
            self._verify_json()

    def _read_table(self) -> Table:
        store = self.arrays.store
        try:
            root = self.arrays.root()
            if self.arrays.verify and is_as_written(root) is False:
                raise self.arrays.changed_json("zarr.json")
            self.has_checksum = is_as_written(root) is not None
            attributes = root.get("attributes")
            own = attributes.get(ATTRIBUTE) if isinstance(attributes, dict) else None
            if own is None:
                raise ValueError(f"it has no attribute {ATTRIBUTE!r}")
            return Table.from_json(own)
        except FileNotFoundError as error:
            raise DatasetCorruptError(f"{error}; copy or download the dataset again.") from error
        except ChecksumError:
            raise
        except ValueError as error:
            kind = type(error) if isinstance(error, MinariError) else DatasetCorruptError
            raise kind(
                f"The zarr.json of {store} is damaged, or not of a dataset of Minari ({error}); copy or download the "
                f"dataset again."
            ) from error

    def _verify_json(self) -> None:
        """Check that the root has a checksum if arrays have some, and that groups are as they were written."""
        arrays = self.array_names()
        if not self.has_checksum and any(self.arrays.open(array).has_checksums for array in arrays):
            raise self.arrays.changed_json("zarr.json")
        if self.has_checksum:
            self.arrays.check_groups(sorted({group for array in arrays for group in groups_of(array)}))

    def has_checksums(self, index: int) -> bool:
        """Return whether everything that an episode is read from has checksums."""
        layout = int(self.layouts[index])
        if layout not in self._with_checksums:
            columns = self.table.columns_of(layout)
            arrays = [EPISODE_ENDS, LAYOUTS, *(array for column in columns for array in column.all_arrays)]
            self._with_checksums[layout] = self.has_checksum and all(
                self.arrays.open(array).has_checksums for array in arrays
            )
        return self._with_checksums[layout]

    def _checked_ends(self, array: str, ends: Ends) -> Ends:
        """Return the ends after a zero, so that each episode has a start as well."""
        with_start = np.concatenate([np.zeros(1, np.int64), ends])
        if (with_start[1:] < with_start[:-1]).any():
            raise DatasetCorruptError(
                f"The ends of the episodes in {array} of {self.arrays.store} are not in order; copy or download "
                f"the dataset again."
            )
        return with_start

    def _checked_layouts(self, layouts: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if len(layouts) and not (layouts.min() >= 0 and layouts.max() < len(self.table.layouts)):
            raise DatasetCorruptError(
                f"{LAYOUTS} of {self.arrays.store} has numbers of layouts that there are not, expected less than "
                f"{len(self.table.layouts)}; copy or download the dataset again."
            )
        return layouts

    # Episodes

    def size_of(self, first: int, stop: int) -> int:
        """Return the approximate number of bytes of consecutive episodes."""
        steps = int(self.ends[stop] - self.ends[first])
        columns = self.table.columns
        fixed = sum(column.kind.row_size for column in columns if column.kind.has_steps)
        ragged = sum(
            int(self._ragged[array][stop] - self._ragged[array][first]) * column.kind.row_size
            for column in columns
            if column.kind.kind in RAGGED
            for array in column.arrays
        )
        return steps * fixed + ragged

    def runs(self, indices: Iterable[int]) -> Iterator[tuple[int, int]]:
        """Group numbers of episodes into consecutive ranges of no more than 32 MB, or of one episode."""
        first = stop = -1
        for index in indices:
            if index != stop or self.size_of(first, index + 1) > _READ_AT_A_TIME:
                if stop > first:
                    yield first, stop
                first = index
            stop = index + 1
        if stop > first:
            yield first, stop

    def read(self, first: int, stop: int, paths: Container[ColumnPath] | None = None) -> list[Columns]:
        """Return the columns of a range of episodes: all of them, or those of some paths."""
        changes = np.flatnonzero(np.diff(self.layouts[first:stop])) + first + 1
        bounds = [first, *changes.tolist(), stop]
        return [columns for a, b in pairwise(bounds) for columns in self._read_alike(a, b, paths)]

    def _read_alike(self, first: int, stop: int, paths: Container[ColumnPath] | None) -> Iterator[Columns]:
        """Read a range of episodes that all have the same columns."""
        stored = [column for column in self._data_columns(first) if paths is None or column.kind.path in paths]
        wanted = [Rows(a, *self._rows(a, first, stop), *column.form_of(a)) for column in stored for a in column.arrays]
        with self.arrays.planned(wanted) as read_into:
            parts = [self._new_parts(column, first, stop) for column in stored]
            read_into([rows for _, of_arrays in parts for rows in of_arrays])
        joined = [
            whole
            if whole is not None
            else [join(column.kind.kind, one, column.name) for one in zip(*rows, strict=True)]
            for column, (whole, rows) in zip(stored, parts, strict=True)
        ]
        for number in range(stop - first):
            yield {column.kind.path: whole[number] for column, whole in zip(stored, joined, strict=True)}

    def _new_parts(
        self, column: StoredColumn, first: int, stop: int
    ) -> tuple[list[Column] | None, list[list[npt.NDArray[Any]]]]:
        """Return arrays for a column of each of a range of episodes, and the parts that the rows of its arrays fill.

        There are only parts of columns of texts.
        """
        if column.kind.kind in ("text", "bytes"):
            return None, [
                [np.empty(count, column.form_of(array)[0]) for count in self._counts(array, first, stop)]
                for array in column.arrays
            ]
        dtype, row_shape = column.form_of(column.arrays[0])
        counts = self._counts(column.arrays[0], first, stop)
        further = len(column.arrays) - 1  # rows at the end of an episode
        whole = [np.empty((count + further, *row_shape), dtype) for count in counts]
        if not further:
            return whole, [whole]
        return whole, [[rows[:-1] for rows in whole], [rows[-1:] for rows in whole]]

    def _counts(self, array: str, first: int, stop: int) -> list[int]:
        """Return the number of rows that each of a range of episodes has in an array."""
        counts: list[int] = np.diff(self.ends_in(array)[first : stop + 1]).tolist()
        return counts

    def window(self, index: int, start: int, stop: int) -> Columns | None:
        """Return a range of steps of an episode, for which no other chunks are read.

        None if it has a column whose rows differ in size, so that their places are not known. The frames of stacks are
        those of the steps, and as many before the last one as a stack has.
        """
        stored = self._data_columns(index)
        if any(column.kind.kind in RAGGED and not _is_of_frames(column) for column in stored):
            return None
        begin, end = (int(bound) for bound in self.ends[index : index + 2])
        wanted: list[Rows] = []
        for column in stored:
            if _is_of_frames(column):
                (array,) = column.arrays
                first, last = self._rows(array, index, index + 1)
                further = last - first - (end - begin)
                if further < 1:
                    raise DatasetCorruptError(
                        f"Episode {index} has {last - first} rows of {array} in {self.arrays.store}, expected more "
                        f"than its {end - begin} steps; copy or download the dataset again."
                    )
                wanted.append(Rows(array, first + start, first + stop + further, *column.form_of(array)))
            elif column.kind.kind == "steps":
                (array,) = column.arrays
                wanted.append(Rows(array, begin + start, begin + stop, *column.form_of(array)))
            else:
                data, final = column.arrays
                with_last = begin + stop == end
                wanted.append(Rows(data, begin + start, begin + stop + (not with_last), *column.form_of(data)))
                wanted.append(Rows(final, index, index + with_last, *column.form_of(final)))
        parts = iter(self.arrays.read(wanted))
        return {
            column.kind.path: join(column.kind.kind, [next(parts) for _ in column.arrays], column.name)
            for column in stored
        }

    def number_column(self, path: ColumnPath, row_shape: tuple[int, ...]) -> StoredColumn | None:
        """Return the column of a leaf of numbers; None if there are several, or if they are stored in another way."""
        columns = [column for column in self.table.columns if column.kind.path == path]
        if len(columns) != 1 or columns[0].kind.kind not in ("steps", "states", "rows"):
            return None
        kind = columns[0].kind
        dtype = np.dtype(kind.dtype)
        has_shape = without_ones(kind.row_shape) == without_ones(row_shape)
        return columns[0] if dtype.isnative and dtype.kind in NUMBERS and has_shape else None

    def concatenated(self, episodes: npt.NDArray[np.int64], request: LeafRequest) -> Column | None:
        """Return all rows of a leaf in several episodes, read straight into one array; None if that is not possible."""
        column = self.number_column(request.path, request.shape)
        if column is None or not self.have_column(request.path, episodes).all():
            return None
        array, *final = column.arrays
        form, ends = column.form_of(array), self.ends_in(array)
        further = request.counts - np.diff(ends)[episodes]
        if (further != further[0]).any() or further[0] not in range(len(final) + 1):
            return None
        final = final[: int(further[0])]
        starts = [0, *(np.flatnonzero(np.diff(episodes) != 1) + 1).tolist(), len(episodes)]
        runs = [(int(episodes[a]), int(episodes[b - 1]) + 1) for a, b in pairwise(starts)]  # of consecutive episodes
        wanted = [Rows(name, *self._rows(name, *run), *form) for name in (array, *final) for run in runs]
        with self.arrays.planned(wanted) as read_into:
            out = request.target(form[0])
            rows = out.reshape(len(out), *form[1])
            bounds = [0, *np.cumsum(request.counts).tolist()]
            if not final:
                read_into([[rows[bounds[a] : bounds[b]]] for a, b in pairwise(starts)])
                return out
            steps = [rows[begin : end - 1] for begin, end in pairwise(bounds)]
            last = [rows[end - 1 : end] for end in bounds[1:]]
            read_into([parts[a:b] for parts in (steps, last) for a, b in pairwise(starts)])
        return out

    def have_column(self, path: ColumnPath, episodes: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Return which episodes have a column."""
        numbers = {column.number for column in self.table.columns if column.kind.path == path}
        having = [number for number, layout in enumerate(self.table.layouts) if not numbers.isdisjoint(layout)]
        return np.isin(self.layouts[episodes], having)

    def _data_columns(self, index: int) -> list[StoredColumn]:
        columns = self.table.columns_of(int(self.layouts[index]))
        return [column for column in columns if column.kind.kind not in ("value", "json")]

    def _rows(self, array: str, first: int, stop: int) -> tuple[int, int]:
        """Return the range of rows of a range of episodes in an array."""
        if array.startswith("meta/") and array not in self._ragged:
            return first, stop
        ends = self.ends_in(array)
        return int(ends[first]), int(ends[stop])

    def ends_in(self, array: str) -> Ends:
        """Return the ends of the episodes in an array with rows for their steps, or with any rows, after a zero."""
        return self._ragged.get(array, self.ends)

    def direct(self, column: StoredColumn, array: str) -> ShardedArray | None:
        """Return an array of a column that can be read without zarr-python; None if it cannot."""
        return self.arrays.checked(Rows(array, 0, self.last_end(array), *column.form_of(array))).direct

    def array_names(self) -> set[str]:
        """Return the paths of all arrays of the store."""
        arrays = {array for column in self.table.columns for array in column.arrays}
        return arrays | set(map(ends_of, self._ragged)) | ({EPISODE_ENDS, LAYOUTS} if self.episodes else set())

    def last_end(self, array: str) -> int:
        """Return the number of rows that an array has for all episodes."""
        return self._rows(array, 0, self.episodes)[1]

    def has_rows(self, column: StoredColumn, array: str, start: int) -> bool:
        """Return whether some episode has values in an array from a row on."""
        if array in self._ragged:
            return bool(self._ragged[array][-1] > start)
        if column.kind.kind == "value":
            return self.episodes > start
        first = start if array.startswith("meta/") else int(np.searchsorted(self.ends, start, side="right")) - 1
        having = [number for number, layout in enumerate(self.table.layouts) if column.number in layout]
        return bool(np.isin(self.layouts[max(0, first) :], having).any())

    # Metadata

    def metadata(self, index: int) -> dict[str, Any]:
        """Return the metadata of an episode, without ``id`` and ``total_steps``."""
        metadata: dict[str, Any] = {}
        for column in self.table.columns_of(int(self.layouts[index])):
            (array, *_) = column.arrays
            if column.kind.kind == "value":
                value = self._values[array][index]
                metadata[str(column.kind.path[0])] = plain(value)
            elif column.kind.kind == "json":
                start, end = self._rows(array, index, index + 1)
                metadata.update(self._parsed(self._texts[array][start:end].tobytes(), index))
        return metadata

    def _parsed(self, text: bytes, index: int) -> dict[str, Any]:
        try:
            return json_metadata.from_json(text)
        except ValueError as error:
            raise DatasetCorruptError(
                f"The metadata of episode {index} in {self.arrays.store} is damaged ({error}); copy or download "
                f"the dataset again."
            ) from error


def _is_of_frames(column: StoredColumn) -> bool:
    """Return whether a column has the frames of stacks, as they are."""
    return column.kind.kind == "rows" and column.kind.path[0] == FRAMES


def groups_of(array: str) -> list[str]:
    """Return the groups that an array lies in, except the root."""
    parts = array.split("/")
    return ["/".join(parts[:depth]) for depth in range(1, len(parts))]
