"""Files that differ in nothing but their values, which are read and written without looking at the rest.

As long as nothing is compressed, the tables of two episodes that have the same columns and the same
length are the same bytes but for the values, which lie in the same places. Those bytes and places are
a mould. A file is read through it where all its other bytes are those of the mould, and only then; so
whatever is unlike, cut off or damaged there is left to the library of the format.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from minari.spaces import Column, Columns, Path


_MOST_MOULDS: Final = 2048  # of some kilobytes each; a dataset has one for each length of its episodes
_SMALL_FILE: Final = 2**20
_MOST_KEPT: Final = 16  # bytes of a file for each byte of a column that is a view of it


@dataclass(frozen=True, slots=True)
class Values:
    """Where the values of a column lie in a file, and as what.

    Attributes:
        path: of the column.
        offset: of the first value.
        shape: of all values in the file.
        stored: their type; booleans are bits.
        rows: how many of the first belong to the column; the others fill it up.
        dtype: the type that the column has.
    """

    path: Path
    offset: int
    shape: tuple[int, ...]
    stored: np.dtype[Any]
    rows: int
    dtype: np.dtype[Any]

    @property
    def size(self) -> int:
        """The number of bytes."""
        count = math.prod(self.shape)
        return -(-count // 8) if self.stored.kind == "b" else count * self.stored.itemsize

    def reading(self, file_size: int) -> Callable[[Any], Column]:
        """What gives the column in the bytes of a file; a view of them where that is possible."""
        shape, stored, dtype, offset = (self.rows, *self.shape[1:]), self.stored, self.dtype, self.offset
        count = math.prod(shape)
        size = -(-count // 8)
        is_small = file_size > _SMALL_FILE and self.size * _MOST_KEPT < file_size

        def view(data: Any) -> Column:
            column: Column = np.ndarray(shape, stored, data, offset)
            return column

        def from_bits(data: Any) -> Column:
            bits = np.ndarray(size, np.uint8, data, offset)
            flags = np.unpackbits(bits, count=count, bitorder="little").view(np.bool_)
            return flags if len(shape) == 1 else flags.reshape(shape)

        def copy(data: Any) -> Column:
            return view(data).astype(dtype)

        if stored.kind == "b":
            return from_bits
        # Some libraries cannot work on numbers that do not lie at a multiple of their size, and who keeps a
        # small column is not to keep a large file in memory.
        is_aligned = offset % stored.itemsize == 0
        return view if stored == dtype and is_aligned and not is_small else copy

    def pieces(self, column: Column) -> list[Any]:
        """The bytes for the file, filled up with zeros."""
        column = np.ascontiguousarray(column, self.stored)
        if self.stored.kind == "b":
            column = np.packbits(column.reshape(-1), bitorder="little")
        return [column, bytes(self.size - column.nbytes)]


class Mould:
    """What files of one kind have in common, and where their values lie.

    Args:
        data: the bytes of such a file.
        values: where its values lie, in their order.

    Raises:
        ValueError: there are none, or the places do not lie in the file, one after the other.
    """

    def __init__(self, data: Any, values: Sequence[Values]) -> None:
        view = memoryview(data).cast("B")
        begins = [0, *(each.offset + each.size for each in values)]
        ends = [*(each.offset for each in values), len(view)]
        if not values or any(begin > end for begin, end in zip(begins, ends, strict=True)):
            raise ValueError(f"values at {ends[:-1]} until {begins[1:]} of {len(view)} bytes")
        self._values = tuple(values)
        self._columns = [(each.path, each.reading(len(view))) for each in values]
        around = [slice(begin, end) for begin, end in zip(begins, ends, strict=True)]
        self._fixed = [bytes(view[each]) for each in around]
        self._around = [each for each in around if each.start < each.stop]
        self._all_fixed = b"".join(self._fixed)

    @property
    def rows(self) -> int:
        """Of the table: one more than the episode has steps."""
        return self._values[0].shape[0]

    def fits(self, data: memoryview) -> bool:
        """Whether a file of the same size is of this kind."""
        # Views are compared one byte after the other, which takes ten times as long.
        return b"".join([data[each] for each in self._around]) == self._all_fixed

    def read(self, data: Any) -> dict[Path, Column]:
        """The columns of a file that fits; they can be written to where its bytes can, each in a part of its own."""
        return {path: reading(data) for path, reading in self._columns}

    def is_for_any_values(self) -> bool:
        """Whether all values of these dtypes have equal ones of the types that they are stored with."""
        return all(is_safe(values.dtype, values.stored) for values in self._values)

    def cast(self, columns: Columns) -> bytes:
        """A file with these columns, which must have the dtypes and shapes of the first."""
        pieces: list[Any] = [self._fixed[0]]
        for values, fixed in zip(self._values, self._fixed[1:], strict=True):
            pieces += values.pieces(columns[values.path])
            pieces.append(fixed)
        return b"".join(pieces)


class Moulds:
    """The moulds of files that were seen, each under a key."""

    def __init__(self) -> None:
        self._moulds: dict[Hashable, list[Mould]] = {}
        self._count = 0

    def add(self, key: Hashable, mould: Mould) -> None:
        """Keep a mould; all that are kept are given up where they become too many."""
        if self._count >= _MOST_MOULDS:
            self._moulds.clear()
            self._count = 0
        self._moulds.setdefault(key, []).append(mould)
        self._count += 1

    def under(self, key: Hashable) -> Iterable[Mould]:
        """Those that were kept under a key."""
        return self._moulds.get(key, ())


def kind_of(columns: Columns) -> Hashable:
    """What decides how the file of an episode looks, its values aside."""
    return tuple([(path, column.dtype, column.shape) for path, column in columns.items()])


def is_safe(dtype: np.dtype[Any], stored: np.dtype[Any]) -> bool:
    """Whether every value of a type has an equal one of another, so that no value need be looked at."""
    if dtype == stored:
        return dtype.isnative
    return dtype.kind in "iuf" and stored.kind in "iuf" and stored.isnative and _holds_all(dtype, stored)


def _holds_all(dtype: np.dtype[Any], stored: np.dtype[Any]) -> bool:
    if dtype.kind in "iu" and stored.kind == "f":
        return bool(8 * dtype.itemsize <= np.finfo(stored).nmant + 1)
    return bool(np.can_cast(dtype, stored))


def same(one: Columns, other: Columns) -> bool:
    """Whether columns are the same, bit for bit."""
    return one.keys() == other.keys() and all(
        column.dtype == other[path].dtype
        and column.shape == other[path].shape
        and column.tobytes() == other[path].tobytes()
        for path, column in one.items()
    )
