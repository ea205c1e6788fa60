"""Rows of leaves out of many episodes, as samplers ask for them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from minari._storages.array_pool import new_array
from minari.errors import DatasetCorruptError
from minari.spaces import Column, ColumnPath, Columns, path_name, without_ones


__all__ = [
    "NUMBERS",
    "LeafRequest",
    "RowRequest",
    "check_exact",
    "concatenated",
    "joined",
    "leaf_of",
    "merged",
    "split",
]

#: Kinds of dtypes.
NUMBERS: Final = "biufc"

_EXACT_BITS: Final = {2: 11, 4: 24, 8: 53}  # of whole numbers in a float of so many bytes


class RowRequest(NamedTuple):
    """Rows of one leaf: row ``rows[i]`` of episode ``episodes[i]``, or several rows of each.

    Attributes:
        path: the path of the leaf.
        shape: the shape of a row in the space.
        episodes: the numbers of the episodes, shape (B,).
        rows: the numbers of the rows, shape (B,), or (B, L) for L rows of each episode.
        length: for ``rows`` of shape (B,), the number of consecutive rows from each on; None for one row, without
            a dimension of its own.
        out: an array that large rows may be written to, if its shape and dtype are those of the result; then it is the
            result.
        once: True if the caller keeps the rows, so that nothing else has to.
    """

    path: ColumnPath
    shape: tuple[int, ...]
    episodes: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    length: int | None = None
    out: Column | None = None
    once: bool = False

    @property
    def all_rows(self) -> npt.NDArray[np.int64]:
        """Return the numbers of all rows, shape (B,) or (B, L)."""
        return self.rows if self.length is None else self.rows[:, None] + np.arange(self.length)

    def target(self, dtype: np.dtype[Any]) -> Column:
        """Return the array to write all rows to: ``out`` if it is as it must be, otherwise a new one."""
        count = () if self.length is None else (self.length,)
        shape, out = (*self.rows.shape, *count, *self.shape), self.out
        if out is not None and (out.shape, out.dtype) == (shape, dtype) and out.flags.carray:
            return out
        return new_array(shape, dtype)


class LeafRequest(NamedTuple):
    """All rows of one leaf in several episodes, those of one episode after those of another.

    Attributes:
        path: the path of the leaf.
        shape: the shape of a row in the space.
        counts: the number of rows of each episode, shape (E,).
    """

    path: ColumnPath
    shape: tuple[int, ...]
    counts: npt.NDArray[np.int64]

    def target(self, dtype: np.dtype[Any]) -> Column:
        """Return a new array for all rows, whose values are not set.

        Raises:
            MemoryError: it is too large.
        """
        total = sum(self.counts.tolist())
        try:
            return np.empty((total, *self.shape), dtype)
        except (MemoryError, ValueError, OverflowError):
            raise MemoryError(
                f"The {path_name(self.path)} of {len(self.counts)} episodes have {total} rows of {dtype} and shape "
                f"{self.shape}, which do not fit in memory; read fewer episodes or fields at once."
            ) from None

    def rows_of(self, episodes: npt.NDArray[np.int64], dtype: np.dtype[Any]) -> RowRequest:
        """Return the request of the same rows one by one, to be written to an array of a dtype.

        Raises:
            MemoryError: the array is too large.
        """
        counts, target = self.counts, self.target(dtype)
        rows = np.arange(len(target)) - np.repeat(np.cumsum(counts) - counts, counts)
        return RowRequest(self.path, self.shape, np.repeat(episodes, counts), rows, out=target, once=True)


def merged(requests: Sequence[RowRequest]) -> RowRequest:
    """Return several requests of one leaf as one, of shape (N,), see :func:`split`."""
    if len(requests) == 1:
        return requests[0]
    rows = [request.all_rows for request in requests]
    episodes = [
        np.repeat(request.episodes, one.size // max(len(one), 1)) for request, one in zip(requests, rows, strict=True)
    ]
    first = requests[0]
    return RowRequest(
        first.path, first.shape, np.concatenate(episodes), np.concatenate([one.reshape(-1) for one in rows])
    )


def split(rows: Column, requests: Sequence[RowRequest]) -> list[Column]:
    """Return the rows of each request out of those of the merged one."""
    if len(requests) == 1:
        return [rows]
    shapes = [request.all_rows.shape for request in requests]
    ends = np.cumsum([math.prod(shape) for shape in shapes])
    parts = np.split(rows, ends[:-1])
    return [part.reshape(*shape, *part.shape[1:]) for part, shape in zip(parts, shapes, strict=True)]


def leaf_of(columns: Columns, request: RowRequest | LeafRequest, index: int, count: int) -> Column:
    """Return a column of an episode with rows of the shape in the space, of which there are at least ``count``."""
    column = columns.get(request.path)
    if column is None:
        raise DatasetCorruptError(
            f"Episode {index} has no {path_name(request.path)}, which the spaces of the dataset ask for; the file is "
            f"damaged, or belongs to another dataset."
        )
    if (
        column.dtype.kind not in NUMBERS
        or without_ones(column.shape[1:]) != without_ones(request.shape)
        or len(column) < count
    ):
        raise DatasetCorruptError(
            f"The {path_name(request.path)} of episode {index} are {column.dtype} values of shape {column.shape}, "
            f"expected at least {count} rows of numbers of shape {request.shape}; the file is damaged, or belongs to "
            f"another dataset."
        )
    return column.reshape(len(column), *request.shape)


def concatenated(requests: Sequence[LeafRequest], episodes: Iterable[tuple[int, Columns]]) -> list[Column]:
    """Return a new array for each request, into which the rows of one episode after the other are copied.

    Args:
        requests: of leaves in the same episodes.
        episodes: the number and the columns of each episode.

    Raises:
        DatasetCorruptError: a column is missing, has too few rows, or rows of another shape or type.
        MemoryError: an array is too large.
    """
    arrays: list[Column] = []
    ends, counts = [0] * len(requests), [request.counts.tolist() for request in requests]
    for place, (index, columns) in enumerate(episodes):
        for number, request in enumerate(requests):
            begin, count = ends[number], counts[number][place]
            ends[number] = end = begin + count
            rows = columns.get(request.path)
            if (
                place == 0
                or rows is None
                or rows.dtype != arrays[number].dtype
                or rows.shape != (count, *request.shape)
            ):
                rows = leaf_of(columns, request, index, count)[:count]
                if place == 0:
                    arrays.append(request.target(rows.dtype.newbyteorder("=")))
                elif rows.dtype != arrays[number].dtype:
                    arrays[number] = _as_common(arrays[number], begin, rows.dtype, request)
            arrays[number][begin:end] = rows
    return arrays


def _as_common(array: Column, rows: int, dtype: np.dtype[Any], request: LeafRequest) -> Column:
    """Return an array with a dtype that represents its first rows, which have been set, and values of another dtype."""
    common = np.result_type(array.dtype, dtype)
    check_exact({array.dtype, dtype}, common, request.path)
    if array.dtype == common:
        return array
    converted = request.target(common)
    converted[:rows] = array[:rows]
    return converted


def joined(parts: Sequence[Column], request: RowRequest) -> Column:
    """Return arrays one after the other, with a dtype that represents all their values.

    Raises:
        DatasetCorruptError: there is no such dtype, so that values would be rounded.
    """
    result = np.concatenate(parts) if len(parts) > 1 else parts[0]
    check_exact({part.dtype for part in parts}, result.dtype, request.path)
    return result


def check_exact(stored: Iterable[np.dtype[Any]], common: np.dtype[Any], path: ColumnPath) -> None:
    """Raise unless a dtype represents all values of the others.

    Raises:
        DatasetCorruptError: whole numbers would be rounded.
    """
    limit = _EXACT_BITS.get(common.itemsize // (2 if common.kind == "c" else 1), 64)
    for dtype in stored:
        if dtype.kind in "iu" and common.kind in "fc" and 8 * dtype.itemsize > limit:
            raise DatasetCorruptError(
                f"The {path_name(path)} of some episodes are {dtype} and those of others are of another type, and "
                f"{common} would round them; read such episodes one by one, or convert them to one type."
            )
