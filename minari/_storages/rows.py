"""Rows of leaves out of many episodes, as samplers ask for them."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from minari._base.locks import ThreadLock
from minari._storages.array_pool import new_array
from minari.errors import DatasetCorruptError
from minari.spaces import Column, ColumnPath, Columns, path_name, without_ones


__all__ = ["RecentEpisodes", "RowRequest", "check_exact", "gather_rows", "merged", "split"]

_NUMBERS: Final = "biufc"  # kinds of dtypes
_EXACT_BITS: Final = {2: 11, 4: 24, 8: 53}  # of whole numbers in a float of so many bytes
_RECENT: Final = 2**27  # bytes of episodes that are kept


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
    """

    path: ColumnPath
    shape: tuple[int, ...]
    episodes: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    length: int | None = None
    out: Column | None = None

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


def gather_rows(
    requests: Sequence[RowRequest], read: Callable[[list[int]], Iterable[tuple[int, Columns]]]
) -> list[Column]:
    """Return the rows of each request in a new array, reading each episode once.

    Args:
        requests: the rows to read.
        read: returns the columns of episodes, in the order of their numbers.

    Raises:
        DatasetCorruptError: a column is missing, has too few rows, or rows of another shape or type.
    """
    episodes = np.unique(np.concatenate([request.episodes for request in requests]))
    groups = {id(request.episodes): _Group(request.episodes) for request in requests}
    all_rows = [request.all_rows[groups[id(request.episodes)].order] for request in requests]
    parts: list[list[Column]] = [[] for _ in requests]
    for index, columns in read(episodes.tolist()):
        for request, rows, found in zip(requests, all_rows, parts, strict=True):
            begin, end = groups[id(request.episodes)].bounds(index)
            if begin < end:
                found.append(_rows_of(columns, request, index, rows[begin:end]))
    return [
        groups[id(request.episodes)].in_order(joined(found, request))
        if found
        else np.empty((*request.all_rows.shape, *request.shape))
        for request, found in zip(requests, parts, strict=True)
    ]


class _Group:
    """The positions at which each episode is asked for."""

    def __init__(self, episodes: npt.NDArray[np.int64]) -> None:
        self.order = np.argsort(episodes, kind="stable")
        self._sorted = episodes[self.order]

    def bounds(self, index: int) -> tuple[int, int]:
        begin, end = np.searchsorted(self._sorted, (index, index + 1))
        return int(begin), int(end)

    def in_order(self, rows: Column) -> Column:
        result = np.empty_like(rows)
        result[self.order] = rows
        return result


def _rows_of(columns: Columns, request: RowRequest, index: int, rows: npt.NDArray[np.int64]) -> Column:
    column = columns.get(request.path)
    if column is None:
        raise DatasetCorruptError(
            f"Episode {index} has no {path_name(request.path)}, which the spaces of the dataset ask for; the file is "
            f"damaged, or belongs to another dataset."
        )
    if (
        column.dtype.kind not in _NUMBERS
        or without_ones(column.shape[1:]) != without_ones(request.shape)
        or (rows.size and rows.max() >= len(column))
    ):
        raise DatasetCorruptError(
            f"The {path_name(request.path)} of episode {index} are {column.dtype} values of shape {column.shape}, "
            f"expected at least {rows.max() + 1} rows of numbers of shape {request.shape}; the file is damaged, or "
            f"belongs to another dataset."
        )
    return column.reshape(len(column), *request.shape)[rows]


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


class RecentEpisodes:
    """The columns of the episodes that were read last, up to a number of bytes; safe to use from several threads."""

    def __init__(self, limit: int = _RECENT) -> None:
        self._limit, self._size = limit, 0
        self._episodes: OrderedDict[tuple[frozenset[ColumnPath], int], Columns] = OrderedDict()
        self._state: object = None
        self._lock = ThreadLock()

    def read(
        self,
        indices: Iterable[int],
        paths: frozenset[ColumnPath],
        state: object,
        read: Callable[[list[int], frozenset[ColumnPath]], Iterable[tuple[int, Columns]]],
    ) -> Iterator[tuple[int, Columns]]:
        """Yield the columns at some paths of episodes, in the order of the indices.

        Args:
            indices: the numbers of the episodes.
            paths: the paths of the columns.
            state: differs after any change of the dataset, when everything is read again.
            read: reads those that are not there.
        """
        indices = list(indices)
        with self._lock.current:
            if state != self._state:
                self._episodes.clear()
                self._state, self._size = state, 0
            known = {index: self._episodes.get((paths, index)) for index in indices}
            for index, columns in known.items():
                if columns is not None:
                    self._episodes.move_to_end((paths, index))
        missing = iter(read([index for index, columns in known.items() if columns is None], paths))
        for index in indices:
            columns = known.pop(index)
            if columns is None:
                _, columns = next(missing)
                self._keep(index, paths, columns, state)
            yield index, columns

    def _keep(self, index: int, paths: frozenset[ColumnPath], columns: Columns, state: object) -> None:
        size = _size(columns)
        if 2 * size > self._limit:
            return
        with self._lock.current:
            if state != self._state or (paths, index) in self._episodes:
                return
            self._episodes[paths, index] = columns
            self._size += size
            while self._size > self._limit:
                self._size -= _size(self._episodes.popitem(last=False)[1])


def _size(columns: Columns) -> int:
    return sum(column.nbytes + (50 * column.size if column.dtype.hasobject else 0) for column in columns.values())
