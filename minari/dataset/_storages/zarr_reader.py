"""Reads the episodes of a Zarr store as it was at one moment."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from minari.dataset._storages import json_metadata
from minari.dataset._storages.zarr_metadata import plain
from minari.dataset._storages.zarr_rows import join
from minari.dataset._storages.zarr_store import Arrays, Rows
from minari.dataset._storages.zarr_table import RAGGED, StoredColumn, Table, ends_of
from minari.errors import DatasetCorruptError
from minari.spaces import Column, Columns, Path


Ends = npt.NDArray[np.int64]

ATTRIBUTE: Final = "minari"  # of the root group
EPISODE_ENDS: Final = "meta/episode_ends"
LAYOUTS: Final = "meta/layout"

_READ_AT_A_TIME = 32 << 20


class StoreReader:
    """What a store holds: where the rows of each episode lie, and its metadata, all in memory.

    Args:
        arrays: of the store.
        episodes: how many episodes it is to hold; what lies behind them was never committed.

    Raises:
        DatasetCorruptError: something is missing or damaged.
    """

    def __init__(self, arrays: Arrays, episodes: int) -> None:
        self.arrays, self.episodes = arrays, episodes
        self.table = self._read_table() if episodes else Table()
        ragged = [a for c in self.table.columns if c.kind.kind in RAGGED for a in c.arrays]
        values = [c.arrays[0] for c in self.table.columns if c.kind.kind == "value"]
        names = [EPISODE_ENDS, LAYOUTS, *map(ends_of, ragged), *values] if episodes else []
        read = dict(zip(names, arrays.read([(name, 0, episodes) for name in names]), strict=True))
        self.ends = self._checked_ends(EPISODE_ENDS, read.get(EPISODE_ENDS))
        self.layouts = self._checked_layouts(read.get(LAYOUTS))
        self._ragged = {array: self._checked_ends(array, read[ends_of(array)]) for array in ragged}
        self._values = {array: read[array] for array in values}
        self._texts = self._read_texts()

    def _read_table(self) -> Table:
        text = self.arrays.text("zarr.json")
        try:
            return Table.from_json(json.loads(text or b"")["attributes"][ATTRIBUTE])
        except (ValueError, KeyError, TypeError, IndexError) as error:
            found = "is missing" if text is None else f"is damaged, or not of a dataset of Minari ({error})"
            raise DatasetCorruptError(
                f"The zarr.json of {self.arrays.store} {found}; copy or download the dataset again."
            ) from error

    def _checked_ends(self, array: str, ends: Any) -> Ends:
        """The ends with a zero before them, so that each episode has a start as well."""
        with_start = np.zeros(self.episodes + 1, np.int64)
        if ends is not None:
            with_start[1:] = ends
        if (np.diff(with_start) < 0).any():
            raise DatasetCorruptError(
                f"The ends of the episodes in {array} of {self.arrays.store} are not in order; copy or download "
                f"the dataset again."
            )
        return with_start

    def _checked_layouts(self, layouts: Any) -> npt.NDArray[Any]:
        found = np.zeros(0, np.int32) if layouts is None else layouts
        if len(found) and not (found.min() >= 0 and found.max() < len(self.table.layouts)):
            raise DatasetCorruptError(
                f"{LAYOUTS} of {self.arrays.store} has numbers of layouts that there are not, expected less than "
                f"{len(self.table.layouts)}; copy or download the dataset again."
            )
        return found

    def _read_texts(self) -> dict[str, npt.NDArray[np.uint8]]:
        names = [array for column in self.table.columns if column.kind.kind == "json" for array in column.arrays]
        return dict(zip(names, self.arrays.read([(n, 0, int(self._ragged[n][-1])) for n in names]), strict=True))

    # Episodes

    def size_of(self, first: int, stop: int) -> int:
        """About how many bytes some episodes that lie one after the other have."""
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
        """Numbers of episodes as runs, each from a number to before another, of no more than 32 MB or one episode."""
        first = stop = -1
        for index in indices:
            if index != stop or self.size_of(first, index + 1) > _READ_AT_A_TIME:
                if stop > first:
                    yield first, stop
                first = index
            stop = index + 1
        if stop > first:
            yield first, stop

    def read(self, first: int, stop: int) -> list[Columns]:
        """The columns of the episodes from one number to before another."""
        changes = np.flatnonzero(np.diff(self.layouts[first:stop])) + first + 1
        bounds = [first, *changes.tolist(), stop]
        return [columns for a, b in pairwise(bounds) for columns in self._read_alike(a, b)]

    def _read_alike(self, first: int, stop: int) -> Iterator[Columns]:
        """The same for episodes that all have the same columns."""
        stored = self._data_columns(first)
        wanted = [(array, *self._rows(array, first, stop)) for column in stored for array in column.arrays]
        slabs = dict(zip((name for name, _, _ in wanted), self.arrays.read(wanted), strict=True))
        for column in stored:
            self._check_form(column, slabs[column.arrays[0]])
        starts = {name: start for name, start, _ in wanted}
        for index in range(first, stop):
            columns: dict[Path, Column] = {}
            for column in stored:
                names = column.arrays
                bounds = (self._rows(name, index, index + 1) for name in names)
                parts = [
                    slabs[name][start - starts[name] : end - starts[name]]
                    for name, (start, end) in zip(names, bounds, strict=True)
                ]
                joined = join(column.kind.kind, parts, names[0])
                columns[column.kind.path] = joined if joined is not parts[0] or stop - first == 1 else joined.copy()
            yield columns

    def _check_form(self, column: StoredColumn, rows: npt.NDArray[Any]) -> None:
        kind = column.kind
        expected = "int64" if kind.kind in ("text", "bytes") else np.dtype(kind.dtype).name
        if rows.dtype.name != expected or rows.shape[1:] != kind.row_shape:
            raise DatasetCorruptError(
                f"The array {column.arrays[0]} of {self.arrays.store} holds {rows.dtype} values of the shape "
                f"{rows.shape[1:]} a row, expected {expected} of {kind.row_shape}; copy or download the dataset again."
            )

    def window(self, index: int, start: int, stop: int) -> Columns | None:
        """The steps of an episode from one to before another, of which the other chunks are not read.

        None where it has a column whose rows differ in size, so that nobody knows where they lie.
        """
        stored = self._data_columns(index)
        if any(column.kind.kind in RAGGED for column in stored):
            return None
        begin, end = (int(bound) for bound in self.ends[index : index + 2])
        wanted: list[Rows] = []
        for column in stored:
            if column.kind.kind == "steps":
                wanted.append((column.arrays[0], begin + start, begin + stop))
            else:
                data, final = column.arrays
                with_last = begin + stop == end
                wanted.append((data, begin + start, begin + stop + (not with_last)))
                wanted.append((final, index, index + with_last))
        parts = iter(self.arrays.read(wanted))
        return {
            column.kind.path: join(column.kind.kind, [next(parts) for _ in column.arrays], column.name)
            for column in stored
        }

    def _data_columns(self, index: int) -> list[StoredColumn]:
        columns = self.table.columns_of(int(self.layouts[index]))
        return [column for column in columns if column.kind.kind not in ("value", "json")]

    def _rows(self, array: str, first: int, stop: int) -> tuple[int, int]:
        """The rows that episodes have in an array."""
        if array in self._ragged:
            ends = self._ragged[array]
        elif array.startswith("meta/"):
            return first, stop
        else:
            ends = self.ends
        return int(ends[first]), int(ends[stop])

    def array_names(self) -> set[str]:
        """The paths of all arrays of the store."""
        arrays = {array for column in self.table.columns for array in column.arrays}
        return arrays | set(map(ends_of, self._ragged)) | ({EPISODE_ENDS, LAYOUTS} if self.episodes else set())

    def last_end(self, array: str) -> int:
        """How many rows an array has of all episodes."""
        return self._rows(array, 0, self.episodes)[1]

    def has_rows(self, column: StoredColumn, array: str, start: int) -> bool:
        """Whether some episode has values in an array from a row on."""
        if array in self._ragged:
            return bool(self._ragged[array][-1] > start)
        if column.kind.kind == "value":
            return self.episodes > start
        first = start if array.startswith("meta/") else int(np.searchsorted(self.ends, start, side="right")) - 1
        having = [number for number, layout in enumerate(self.table.layouts) if column.number in layout]
        return bool(np.isin(self.layouts[max(0, first) :], having).any())

    # Metadata

    def metadata(self, index: int) -> dict[str, Any]:
        """The metadata of an episode, without ``id`` and ``total_steps``."""
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
        except (ValueError, KeyError, TypeError) as error:
            raise DatasetCorruptError(
                f"The metadata of episode {index} in {self.arrays.store} are damaged ({error}); copy or download "
                f"the dataset again."
            ) from error
