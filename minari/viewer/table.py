"""The table of episodes: its columns, their order, and the rows of a page."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from minari._base.json_text import shortened
from minari._base.suggestions import did_you_mean
from minari.dataset.episodes_table import episode_columns
from minari.errors import ArgumentError
from minari.viewer.answers import as_json, cut, numbers, plain
from minari.viewer.opened import Opened
from minari.viewer.requests import Query


__all__ = ["MOST_ROWS", "TableColumn", "episodes", "table_columns"]

ColumnKind: TypeAlias = Literal["number", "flag", "text"]

MOST_ROWS: Final = 1_000

_USUAL_ROWS: Final = 200
_MOST_COLUMNS: Final = 200
_MOST_COMPONENTS: Final = 64  # of a column of arrays
_LONGEST_CELL: Final = 500  # characters
_NUMBERS = "iuf"


@dataclass
class TableColumn:
    """A column of the table.

    Attributes:
        name: the name, as conditions have it.
        values: an array of shape (E,); of objects, with None where an episode has none, if they are of several types.
        kind: what its values are.
    """

    name: str
    values: npt.NDArray[Any]
    kind: ColumnKind
    _ranks: npt.NDArray[np.int_] | None = field(default=None, init=False, repr=False)

    @classmethod
    def of(cls, name: str, values: npt.NDArray[Any]) -> TableColumn:
        """Return the column of an array."""
        return cls(name, values, _kind_of(values))

    def order(self, descending: bool) -> npt.NDArray[np.int_]:
        """Return the places of the episodes in the order of the values; those without one come last, in both."""
        if self._ranks is None:
            self._ranks = _ranks_of(self.values)
        ranks = self._ranks
        keys = np.where(ranks < 0, len(ranks), -ranks if descending else ranks)
        return np.argsort(keys, kind="stable")

    def cells(self, places: npt.NDArray[np.int_]) -> list[Any]:
        """Return the JSON values of some episodes."""
        chosen = self.values[places]
        if chosen.dtype != object:
            return numbers(chosen)
        if self.kind == "text":
            return [None if value is None else _text_of(value) for value in chosen]
        return [plain(value) for value in chosen]


def _kind_of(values: npt.NDArray[Any]) -> ColumnKind:
    if values.dtype != object:
        return "flag" if values.dtype.kind == "b" else "number" if values.dtype.kind in _NUMBERS else "text"
    types = {type(value) for value in values if value is not None}
    if types and types <= {bool, np.bool_}:
        return "flag"
    return "number" if types and types <= {int, float} else "text"


def _text_of(value: Any) -> str:
    return cut(value if isinstance(value, str) else as_json(plain(value)).decode(), _LONGEST_CELL)


def _ranks_of(values: npt.NDArray[Any]) -> npt.NDArray[np.int_]:
    """Return numbers from 0 in the order of the values, equal ones for equal values; -1 where there is none."""
    if values.dtype != object:
        missing = np.isnan(values) if values.dtype.kind == "f" else np.zeros(len(values), np.bool_)
        return np.where(missing, -1, np.unique(values, return_inverse=True)[1].reshape(len(values)))
    keys = [_sort_key(value) for value in values]
    known = {key: rank for rank, key in enumerate(sorted({key for key in keys if key is not None}))}
    return np.array([-1 if key is None else known[key] for key in keys], np.int_)


def _sort_key(value: Any) -> tuple[int, Any] | None:
    """Return what a value of any type is sorted by: numbers first, then texts, then anything else by its text."""
    if isinstance(value, (bool, int, float)):
        return None if math.isnan(value) else (0, value)
    if value is None:
        return None
    return (1, value) if isinstance(value, str) else (2, _text_of(value))


def table_columns(opened: Opened) -> list[TableColumn]:
    """Return the columns of the table of all episodes, without those that are empty; computed once."""
    return opened.computed("table", lambda: list(_columns(opened)))


def _columns(opened: Opened) -> Iterator[TableColumn]:
    dataset = opened.dataset
    for name, values in episode_columns(dataset.storage, dataset.episode_indices, opened.outcomes()).items():
        if values.ndim > 1:
            flat = values.reshape(len(values), math.prod(values.shape[1:]))
            for place, index in islice(enumerate(np.ndindex(values.shape[1:])), _MOST_COMPONENTS):
                yield TableColumn.of(name + "".join(f"[{position}]" for position in index), flat[:, place])
        elif values.dtype != object or any(value is not None for value in values):
            yield TableColumn.of(name, values)


def episodes(opened: Opened, query: Query) -> dict[str, Any]:
    """Return some rows of the table of episodes, sorted and filtered.

    Raises:
        ArgumentError: there is no such column, or the filter is not a condition.
    """
    offset, limit = query.number("offset", 0, 2**52, 0), query.number("limit", 0, MOST_ROWS, _USUAL_ROWS)
    descending = query.number("descending", 0, 1, 0) == 1
    columns = table_columns(opened)
    shown = columns[:_MOST_COLUMNS]
    order = _column(columns, query.text("sort", "id")).order(descending)
    total = len(order)
    selected = opened.selected(query.text("where", ""))
    if len(selected) < total:
        is_selected = np.zeros(total, np.bool_)
        is_selected[selected] = True
        order = order[is_selected[order]]
    places = order[offset : offset + limit]
    cells = [column.cells(places) for column in shown]
    return {
        "revision": opened.revision,
        "columns": [{"name": column.name, "kind": column.kind} for column in shown],
        "omitted": len(columns) - len(shown),
        "total": len(order),
        "of": total,
        "rows": [list(row) for row in zip(*cells, strict=True)],
    }


def _column(columns: Sequence[TableColumn], name: str) -> TableColumn:
    for column in columns:
        if column.name == name:
            return column
    names = [column.name for column in columns]
    raise ArgumentError(
        f"sort is {shortened(name)}, expected one of the columns {shortened(names)}.{did_you_mean(name, names)}"
    )
