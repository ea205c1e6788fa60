"""Comparison of recorded and replayed values, leaf by leaf: the first row that differs, and by how much."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from minari._base.json_text import shortened
from minari._model.episode import same_values
from minari.spaces import ArrayCodec, Column, ColumnPath, Columns, DictCodec, SpaceCodec, TupleCodec


__all__ = ["Difference", "Differences", "Rows", "first_difference", "leaf_codecs", "rows_of"]

#: The values of a leaf, one a step: an array, or a list of values without a fixed shape.
Rows: TypeAlias = "Column | list[Any]"


@dataclass(frozen=True, slots=True)
class Difference:
    """The first row in which a leaf differs, or the largest difference that was tolerated.

    Attributes:
        row: the row; None if every difference was tolerated.
        index: the element of the row that is off the most.
        recorded: its recorded value.
        replayed: its replayed value.
        size: the absolute difference; None for values that are not numbers.
    """

    row: int | None
    index: tuple[int, ...]
    recorded: Any
    replayed: Any
    size: float | None


class Differences:
    """The differences of an episode: the first one, and the largest one that was tolerated.

    Args:
        tolerance: the tolerated difference.

    Attributes:
        largest: the largest tolerated difference so far.
    """

    def __init__(self, tolerance: float) -> None:
        self._tolerance = tolerance
        self._found: list[tuple[int, ColumnPath, Difference]] = []
        self.largest = 0.0

    def compare(self, path: ColumnPath, recorded: Rows, replayed: Rows, first_row: int) -> None:
        """Compare as many rows of a leaf, the first of which has a number."""
        difference = first_difference(recorded, replayed, self._tolerance)
        if difference is None:
            return
        if difference.row is None:
            self.largest = max(self.largest, difference.size or 0.0)
        else:
            self._found.append((first_row + difference.row, path, difference))

    @property
    def first(self) -> tuple[int, ColumnPath, Difference] | None:
        """Return the number of the first row that differs, and its leaf; None if there is none."""
        return min(self._found, key=lambda found: found[0], default=None)


def leaf_codecs(codec: SpaceCodec) -> Iterator[SpaceCodec]:
    """Yield the codecs of the parts of a space that are no ``Dict`` or ``Tuple``."""
    if isinstance(codec, DictCodec):
        for part in codec.codecs.values():
            yield from leaf_codecs(part)
    elif isinstance(codec, TupleCodec):
        for part in codec.codecs:
            yield from leaf_codecs(part)
    else:
        yield codec


def rows_of(codec: SpaceCodec, columns: Columns, count: int) -> Rows:
    """Return the values of a leaf, one a step.

    Args:
        codec: codec of the leaf.
        columns: columns of an episode.
        count: number of its rows.
    """
    if isinstance(codec, ArrayCodec):
        column = columns[codec.path]
        return column.reshape(len(column), *codec.shape)  # other releases leave out dimensions of length one
    return codec.steps(codec.decode(columns), count)


def first_difference(recorded: Rows, replayed: Rows, tolerance: float) -> Difference | None:
    """Return the first row in which values differ by more than is tolerated, or the largest tolerated difference.

    NaN equals NaN. Numbers are compared in the dtype of the recorded ones, and only floating-point numbers are
    tolerated to be off: by ``tolerance * (1 + abs(recorded))``.

    >>> first_difference(np.array([0.0, 1.0, 2.0]), np.array([0.0, 1.5, 2.5]), 0.1).row
    1
    >>> first_difference(np.array([0.0, 1.0]), np.array([0.0, 1.125]), 0.1)
    Difference(row=None, index=(), recorded=1.0, replayed=1.125, size=0.125)

    Args:
        recorded: rows of the dataset.
        replayed: as many rows of the environment.
        tolerance: the tolerated difference, absolute and relative.

    Returns:
        None if all rows are equal.
    """
    if not len(recorded):  # of an agent that has not acted, whose rewards have no shape
        return None
    if isinstance(recorded, np.ndarray) and isinstance(replayed, np.ndarray):
        if recorded.shape == replayed.shape and recorded.dtype.kind in "biufc" and replayed.dtype.kind in "biufc":
            return _difference_of_arrays(recorded, replayed, tolerance)
        if recorded.shape[1:] != replayed.shape[1:]:
            return _of_row(0, f"shape {recorded.shape[1:]}", f"shape {replayed.shape[1:]}")
    return _difference_of_values(list(recorded), list(replayed), tolerance)


def _difference_of_arrays(recorded: Column, replayed: Column, tolerance: float) -> Difference | None:
    with np.errstate(all="ignore"):
        if recorded.dtype.kind in "fc":  # integers are not converted, which could make them equal
            replayed = replayed.astype(recorded.dtype, copy=False)
        is_off = _differs(recorded, replayed)
        if not is_off.any():
            return None
        sizes = _sizes(recorded, replayed)
        allowed = np.zeros(recorded.shape)
        if recorded.dtype.kind in "fc":
            wide = np.complex128 if recorded.dtype.kind == "c" else np.float64
            allowed = tolerance * (1 + np.abs(recorded.astype(wide)))
        beyond = is_off & ~(sizes <= allowed)
    rows = beyond.reshape(len(beyond), -1).any(axis=1)
    row = int(rows.argmax()) if rows.any() else None
    ranked = np.where(is_off, np.where(np.isnan(sizes), np.inf, sizes), -1.0)
    if row is not None:
        ranked = np.where(beyond, ranked, -1.0)[row]
        place = tuple(map(int, np.unravel_index(int(ranked.argmax()), ranked.shape)))
        return _element(row, place, recorded[row], replayed[row], sizes[row])
    first, *place_in_row = map(int, np.unravel_index(int(ranked.argmax()), ranked.shape))
    return _element(None, tuple(place_in_row), recorded[first], replayed[first], sizes[first])


def _differs(a: Column, b: Column) -> npt.NDArray[np.bool_]:
    is_off: npt.NDArray[np.bool_] = a != b
    if a.dtype.kind in "fc":
        is_off &= ~(np.isnan(a) & np.isnan(b))
    return is_off


def _sizes(a: Column, b: Column) -> npt.NDArray[np.float64]:
    """Return the absolute differences, which are infinite where only one of both is a number."""
    wide = np.complex128 if "c" in a.dtype.kind + b.dtype.kind else np.float64
    sizes = np.abs(a.astype(wide) - b.astype(wide))
    return np.where(np.isnan(sizes), np.inf, sizes)


def _element(row: int | None, place: tuple[int, ...], a: Any, b: Any, sizes: Any) -> Difference:
    size = float(np.asarray(sizes)[place])
    recorded, replayed = np.asarray(a)[place], np.asarray(b)[place]
    is_number = recorded.dtype.kind != "b" and math.isfinite(size)
    return Difference(row, place, _plain(recorded), _plain(replayed), size if is_number else None)


def _difference_of_values(recorded: Sequence[Any], replayed: Sequence[Any], tolerance: float) -> Difference | None:
    largest: Difference | None = None
    for row, (a, b) in enumerate(zip(recorded, replayed, strict=True)):
        if same_values(a, b):
            continue
        size = _tolerated(a, b, tolerance)
        if size is None:
            return _of_row(row, a, b)
        if largest is None or size > (largest.size or 0.0):
            largest = Difference(None, (), _plain(a), _plain(b), size)
    return largest


def _tolerated(a: Any, b: Any, tolerance: float) -> float | None:
    """Return the largest difference between the numbers of nested values; None if it is not tolerated."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        pairs = [(a[key], b[key]) for key in a] if a.keys() == b.keys() else None
    elif isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        pairs = list(zip(a, b, strict=True)) if len(a) == len(b) else None
    elif isinstance(a, (np.ndarray, np.generic, float)) and isinstance(b, (np.ndarray, np.generic, float)):
        x, y = np.asarray(a), np.asarray(b)
        if x.shape != y.shape or x.dtype.kind not in "biufc" or y.dtype.kind not in "biufc":
            return None
        found = _difference_of_arrays(x[None], y[None], tolerance)
        return 0.0 if found is None else found.size if found.row is None else None
    else:
        return 0.0 if same_values(a, b) else None
    sizes = None if pairs is None else [_tolerated(x, y, tolerance) for x, y in pairs]
    if sizes is None or None in sizes:
        return None
    return max((size for size in sizes if size is not None), default=0.0)


def _of_row(row: int, recorded: Any, replayed: Any) -> Difference:
    return Difference(row, (), _plain(recorded), _plain(replayed), None)


def _plain(value: Any) -> Any:
    """Return a value that JSON can represent, as text unless it is a number or short text."""
    if isinstance(value, (np.generic, np.ndarray)) and np.ndim(value) == 0:
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, (bool, int, float)) else shortened(value)
