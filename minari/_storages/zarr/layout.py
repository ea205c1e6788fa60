"""Layout of a Zarr store: its arrays, and those of each episode.

Episodes may differ: an info that only some have, rewards that are float32 and later float64. Every
kind of column has arrays of its own, and every set of columns that some episode has is a *layout*,
known by its number. Both lists are attributes of the root group, so that a reader need not guess.

>>> table = Table()
>>> column = table.column(ColumnKind(("observations", "x"), "states", "<f4", (3,)))
>>> column.arrays
('data/observations/x', 'meta/final/observations/x')
>>> table.layout([column]), table.layout([]), table.layout([column])
(0, 1, 0)
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any, Final
from urllib.parse import quote

import numpy as np

from minari._base.files import relative_parts
from minari._base.json_text import shortened
from minari._storages.zarr.arrays import KNOWN_TYPES, check_sizes
from minari.spaces import ANY_ROWS, ColumnPath


#: The directory of the store, in that of the data.
STORE_NAME: Final = "main_data.zarr"
VERSION: Final = 1

#: The kinds of columns: the arrays of their rows, where ``{}`` stands for the name of the column.
KINDS: Final = {
    "steps": ("data/{}",),  # one row a step
    "states": ("data/{}", "meta/final/{}"),  # one row a step, and one more at the end
    "rows": ("ragged/{}",),  # any number of rows in an episode
    "text": ("ragged/{}/lengths", "ragged/{}/bytes"),  # any number of texts
    "bytes": ("ragged/{}/lengths", "ragged/{}/bytes"),  # any number of byte strings
    "value": ("meta/episodes/{}",),  # one number per episode, of its metadata
    "json": ("meta/json/{}",),  # the rest of its metadata, in one text
}
#: Kinds whose arrays have any number of rows for an episode, with the ends of the episodes beside them.
RAGGED: Final = frozenset({"rows", "text", "bytes", "json"})
#: Kinds that hold the metadata of episodes.
OF_METADATA: Final = frozenset({"value", "json"})

_LONGEST_NAME = 80  # letters of a part; longer ones are truncated
_MOST_PARTS = 200  # of a path
_FIELDS = ("observations", "actions", "rewards", "terminations", "truncations", "infos", *ANY_ROWS)
_NAME = re.compile(r"(?!\.|__|zarr\.json$|c\.\d)[\w.~%-]{1,100}", re.ASCII)  # as `encoded` makes them, with a number


@dataclass(frozen=True, slots=True)
class ColumnKind:
    """A kind of column, all rows of which lie in the same arrays.

    Attributes:
        path: path of the column; the key for the metadata of an episode.
        kind: one of :data:`KINDS`.
        dtype: of the values, as NumPy writes it, little-endian; of text, that of its bytes.
        row_shape: of one row, without time.
    """

    path: ColumnPath
    kind: str
    dtype: str
    row_shape: tuple[int, ...]

    @property
    def row_size(self) -> int:
        """The number of bytes of one row."""
        return np.dtype(self.dtype).itemsize * math.prod(self.row_shape)

    @property
    def has_steps(self) -> bool:
        """Return whether it has one row per step, in shards shared with all other such columns."""
        return self.kind in ("steps", "states")


@dataclass(frozen=True, slots=True)
class StoredColumn:
    """A column of the store.

    Attributes:
        number: its place in the list of columns.
        kind: of the column.
        name: of its arrays within their groups.
        arrays: their paths in the store.
    """

    number: int
    kind: ColumnKind
    name: str
    arrays: tuple[str, ...]

    @property
    def all_arrays(self) -> list[str]:
        """Its arrays, and those of the ends of the episodes in them."""
        return [*self.arrays, *(map(ends_of, self.arrays) if self.kind.kind in RAGGED else ())]

    def form_of(self, array: str) -> tuple[np.dtype[Any], tuple[int, ...]]:
        """Return the dtype and the shape of a row of one of its arrays."""
        is_lengths = self.kind.kind in ("text", "bytes") and array == self.arrays[0]
        return np.dtype("<i8" if is_lengths else self.kind.dtype), self.kind.row_shape


def ends_of(array: str) -> str:
    """Return the path of the ends of the episodes in an array of a ragged column."""
    group, _, name = array.partition("/")
    return f"meta/json_ends/{name[len('json/') :]}" if group == "meta" else f"meta/ends/{name}"


class Table:
    """The columns and the layouts of a store, extended by new kinds of episodes.

    Attributes:
        shard_rows: the number of steps in a shard of the arrays with one row a step; None before there are
            any.
    """

    def __init__(self) -> None:
        self.shard_rows: int | None = None
        self.columns: list[StoredColumn] = []
        self.layouts: list[tuple[int, ...]] = []
        self._by_kind: dict[ColumnKind, StoredColumn] = {}
        self._numbers: dict[tuple[int, ...], int] = {}
        self._leaves: set[str] = set()
        self._groups: set[str] = set()

    def column(self, kind: ColumnKind) -> StoredColumn:
        """Return the column of a kind, a new one if there is none."""
        column = self._by_kind.get(kind)
        return self._add(kind, self._free_name(kind)) if column is None else column

    def layout(self, columns: Iterable[StoredColumn]) -> int:
        """Return the number of the layout with these columns."""
        numbers = tuple(sorted(column.number for column in columns))
        if numbers not in self._numbers:
            self._numbers[numbers] = len(self.layouts)
            self.layouts.append(numbers)
        return self._numbers[numbers]

    def columns_of(self, layout: int) -> list[StoredColumn]:
        """Return the columns of a layout."""
        return [self.columns[number] for number in self.layouts[layout]]

    def without_metadata(self) -> Table:
        """Return a table of the columns that hold no metadata of episodes, with the same names, and no layouts."""
        table = Table()
        table.shard_rows = self.shard_rows
        for column in self.columns:
            if column.kind.kind not in OF_METADATA:
                table._add(column.kind, column.name)
        return table

    def value_count(self) -> int:
        """Return the number of columns that hold numbers of the metadata of episodes."""
        return sum(column.kind.kind == "value" for column in self.columns)

    def value_kind(self, key: str) -> ColumnKind | None:
        """Return the kind of the column for numbers that the metadata of episodes has under a key."""
        return next((c.kind for c in self.columns if c.kind.kind == "value" and c.kind.path == (key,)), None)

    def copy(self) -> Table:
        """Return a table with the same columns and layouts."""
        return self.from_json(self.to_json())

    def to_json(self) -> dict[str, Any]:
        """Return the table as attributes of the root group."""
        columns = [
            {
                "path": list(column.kind.path),
                "kind": column.kind.kind,
                "dtype": column.kind.dtype,
                "row_shape": list(column.kind.row_shape),
                "arrays": list(column.arrays),
                "name": column.name,
            }
            for column in self.columns
        ]
        layouts = [list(layout) for layout in self.layouts]
        return {"version": VERSION, "shard_rows": self.shard_rows, "columns": columns, "layouts": layouts}

    @classmethod
    def from_json(cls, value: Any) -> Table:
        """Return the table from untrusted attributes.

        Raises:
            UnsafePathError: the name of a column leads out of its group.
            ValueError: they were not created by :meth:`to_json`.
        """
        try:
            version, shard_rows, columns, layouts = (
                value[key] for key in ("version", "shard_rows", "columns", "layouts")
            )
        except (KeyError, TypeError):
            raise ValueError("it lacks a key, or holds no table of columns") from None
        if version != VERSION:
            raise ValueError(f"the version of its layout is {shortened(version)}, expected {VERSION}")
        table = cls()
        if shard_rows is not None:
            check_sizes([shard_rows], 1)
            if shard_rows & (shard_rows - 1):
                raise ValueError(f"its shards have {shard_rows} rows, expected a power of two")
            table.shard_rows = shard_rows
        for stored in _list(columns, "columns"):
            table._add_stored(stored)
        for layout in _list(layouts, "layouts"):
            table._add_layout(_list(layout, "a layout"))
        return table

    def _add_stored(self, stored: Any) -> None:
        try:
            path, kind, dtype, shape, arrays, name = (
                stored[key] for key in ("path", "kind", "dtype", "row_shape", "arrays", "name")
            )
        except (KeyError, TypeError):
            raise ValueError(f"its column {len(self.columns)} lacks a key") from None
        if not isinstance(kind, str) or kind not in KINDS:
            raise ValueError(f"it has a column of the kind {shortened(kind)}, expected one of {sorted(KINDS)}")
        if not isinstance(dtype, str) or dtype not in KNOWN_TYPES:
            raise ValueError(f"it has a column of the dtype {shortened(dtype)}, expected one of {sorted(KNOWN_TYPES)}")
        check_sizes(shape, 0)
        column = ColumnKind(_checked_path(path, kind), kind, dtype, tuple(shape))
        if kind not in ("steps", "states", "rows") and (shape or (kind != "value" and dtype != "|u1")):
            raise ValueError(f"its column {shortened(path)} has the dtype {dtype!r} and the row_shape {shape}")
        if any(not _NAME.fullmatch(part) for part in relative_parts(name)):
            raise ValueError(f"its column {shortened(path)} has the name {shortened(name)}, which no column has")
        places = [place.format(name) for place in KINDS[kind]]
        if arrays != places:
            raise ValueError(f"its column {shortened(path)} lies in {shortened(arrays)}, expected {places}")
        prefixes = [_prefixes(place.casefold()) for place in places]
        if column in self._by_kind or any(
            parts[-1] in self._groups or not self._leaves.isdisjoint(parts) for parts in prefixes
        ):
            raise ValueError(f"its column {shortened(path)} takes the place of another one, in {places[0]}")
        self._add(column, name)

    def _add_layout(self, numbers: list[Any]) -> None:
        known = range(len(self.columns))
        if not all(type(number) is int and number in known for number in numbers):
            raise ValueError(f"it has the layout {shortened(numbers)}, expected numbers less than {len(known)}")
        of_data = [self.columns[n].kind.path for n in numbers if self.columns[n].kind.kind not in OF_METADATA]
        if len(set(of_data)) < len(of_data) or len(set(numbers)) < len(numbers):
            raise ValueError(f"it has the layout {shortened(numbers)}, which has a column twice")
        count = len(self.layouts)
        if self.layout(self.columns[number] for number in numbers) != count:
            raise ValueError(f"it has the layout {shortened(numbers)} twice")

    def _add(self, kind: ColumnKind, name: str) -> StoredColumn:
        column = StoredColumn(len(self.columns), kind, name, tuple(place.format(name) for place in KINDS[kind.kind]))
        self.columns.append(column)
        self._by_kind[kind] = column
        for array in column.arrays:
            *outer, _ = _prefixes(array.casefold())
            self._groups.update(outer)
            self._leaves.add(array.casefold())
        return column

    def _free_name(self, kind: ColumnKind) -> str:
        """Return a name whose arrays lie in no other array, contain none, and differ from all in more than case."""
        name = ""
        parts = [encoded(part) for part in kind.path] or ["episodes"]
        for depth, part in enumerate(parts, 1):
            candidates = (part if number == 1 else f"{part}.{number}" for number in range(1, len(self.columns) + 2))
            name = next(
                candidate
                for candidate in (f"{name}/{part}" if name else part for part in candidates)
                if self._is_free(
                    [place.format(candidate).casefold() for place in KINDS[kind.kind]], depth == len(parts)
                )
            )
        return name

    def _is_free(self, places: Iterable[str], are_arrays: bool) -> bool:
        """Return whether arrays, or groups of arrays, can be at some places."""
        return all(
            self._leaves.isdisjoint(_prefixes(place)) and not (are_arrays and place in self._groups) for place in places
        )


@cache
def encoded(part: str | int) -> str:
    """Return a part of a path as the name of a directory on any system; letters and digits stay as they are.

    >>> encoded("a b"), encoded(0), encoded("..")
    ('a%20b', '0', '%2E.')
    """
    name = quote(str(part), safe="")
    if re.match(r"\.|__|zarr\.json$|c\.\d", name):  # hidden files, and names that Zarr uses
        name = f"%{ord(name[0]):02X}{name[1:]}"
    return name[:_LONGEST_NAME] or "%00"


def _list(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{name} are {shortened(value)}, expected a list")
    return value


def _checked_path(path: Any, kind: str) -> ColumnPath:
    """Return the path of a column from attributes: keys, and positions."""
    parts = _list(path, "the path of a column")
    is_known = {"value": len(parts) == 1, "json": not parts}.get(kind, bool(parts) and parts[0] in _FIELDS)
    if not is_known or len(parts) > _MOST_PARTS or not all(type(part) in (str, int) for part in parts):
        raise ValueError(f"it has a column of the kind {kind!r} with the path {shortened(path)}")
    return tuple(parts)


def _prefixes(array: str) -> list[str]:
    parts = array.split("/")
    return ["/".join(parts[:depth]) for depth in range(1, len(parts) + 1)]
