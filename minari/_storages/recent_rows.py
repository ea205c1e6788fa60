"""Rows of leaves out of whole episodes, of which the last ones are kept.

The rows of all episodes that are kept lie in one array for each leaf, so that a batch of them is one indexing
operation of NumPy. Each array is a ring: a new episode takes the place of those that were read first.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from minari._base.locks import ThreadLock
from minari._storages.rows import NUMBERS, RowRequest, check_exact, leaf_of
from minari.spaces import Column, ColumnPath, Columns, without_ones


__all__ = ["RecentRows"]

_LIMIT: Final = 2**28  # bytes of rows that are kept
_LARGE_ROW: Final = 2**12  # bytes, from which on copying rows one by one pays

#: Rows, and the positions in a batch that they belong to.
_Part = tuple[npt.NDArray[np.int64], Column]


class RecentRows:
    """The rows of the episodes that were read last, up to a number of bytes; safe to use from several threads.

    Args:
        limit: the greatest number of bytes.
    """

    def __init__(self, limit: int = _LIMIT) -> None:
        self._limit = limit
        self._rings: OrderedDict[frozenset[ColumnPath], _Ring] = OrderedDict()
        self._state: object = None
        self._lock = ThreadLock()

    @property
    def used_bytes(self) -> int:
        """Return the number of bytes of the rows that are kept."""
        return sum(ring.used_bytes for ring in list(self._rings.values()))

    def gather(
        self,
        requests: Sequence[RowRequest],
        state: object,
        total_episodes: int,
        total_steps: int,
        rows_beyond_steps: Callable[[ColumnPath], int],
        read: Callable[[list[int], frozenset[ColumnPath]], Iterable[tuple[int, Columns]]],
    ) -> list[Column]:
        """Return the rows of each request in a new array, reading each episode that is not kept once.

        Args:
            requests: the rows to read.
            state: differs after any change of the dataset, when everything is read again.
            total_episodes: the number of episodes of the dataset.
            total_steps: the number of steps of all of them.
            rows_beyond_steps: returns how many rows a leaf has in addition to those of the steps of an episode.
            read: returns the columns of episodes at some paths, in the order of their numbers.

        Raises:
            DatasetCorruptError: a column is missing, has too few rows, or rows of another shape or type.
        """
        paths = frozenset(request.path for request in requests)
        with self._lock.current:
            if state != self._state:
                self._rings.clear()
                self._state = state
            ring = self._rings.pop(paths, None)
            if ring is None:
                further = {path: rows_beyond_steps(path) for path in paths}
                total_rows = total_steps + total_episodes * max(further.values(), default=0)
                ring = _Ring(requests, further, total_episodes, total_rows, self._limit)
            self._rings[paths] = ring  # the last one is the one used last
            known = {id(request.episodes): ring.starts[request.episodes] for request in requests}
            found = [ring.rows_of(request, known[id(request.episodes)]) for request in requests]
        if all(isinstance(one, np.ndarray) for one in found):
            return [one for one in found if isinstance(one, np.ndarray)]
        outputs = [_Output(request, known) for request, known in zip(requests, found, strict=True)]
        self._read_missing(outputs, ring, lambda episodes: read(episodes, paths))
        return [output.result() for output in outputs]

    def _read_missing(
        self, outputs: Sequence[_Output], ring: _Ring, read: Callable[[list[int]], Iterable[tuple[int, Columns]]]
    ) -> None:
        """Add the rows that are missing, and keep their episodes."""
        for index, columns in read(np.unique(np.concatenate([output.missing for output in outputs])).tolist()):
            for output in outputs:
                output.add(index, columns)
            with self._lock.current:
                ring.add(index, columns)
                while len(self._rings) > 1 and self.used_bytes > self._limit:
                    self._rings.popitem(last=False)


class _Output:
    """The rows of a request, as they are found.

    Args:
        request: the rows.
        known: those that are kept: all of them, or parts.

    Attributes:
        missing: the number of the episode of each row, or of each sequence of rows, that is not kept, sorted.
    """

    def __init__(self, request: RowRequest, known: Column | list[_Part]) -> None:
        self._request = request
        self._array: Column | None = None
        self._dtypes: set[np.dtype[Any]] = set()
        is_missing = np.ones(len(request.episodes), bool)
        if isinstance(known, np.ndarray):
            self._array = known
            is_missing[:] = False
        else:
            for positions, rows in known:
                self._target(rows.dtype)[positions] = rows
                is_missing[positions] = False
        positions = np.flatnonzero(is_missing)
        self._positions = positions[np.argsort(request.episodes[positions], kind="stable")]
        self.missing = request.episodes[self._positions]

    def add(self, index: int, columns: Columns) -> None:
        """Add the rows of an episode, if some are missing.

        Raises:
            DatasetCorruptError: the column is missing, has too few rows, or rows of another shape or type.
        """
        begin, end = np.searchsorted(self.missing, (index, index + 1)).tolist()
        if begin == end:
            return
        positions = self._positions[begin:end]
        request = self._request
        rows = request.all_rows[positions] if request.length is None else request.rows[positions]
        length = request.length or 1
        leaf = leaf_of(columns, request, index, int(rows.max(initial=-1)) + length)
        target = self._target(leaf.dtype)
        if rows.ndim > 1 or math.prod(leaf.shape[1:], start=length * leaf.itemsize) < _LARGE_ROW:
            target[positions] = leaf[rows if request.length is None else rows[:, None] + np.arange(length)]
            return
        for place, row in zip(positions.tolist(), rows.tolist(), strict=True):
            target[place] = leaf[row] if request.length is None else leaf[row : row + length]

    def result(self) -> Column:
        """Return all rows in their order."""
        if self._array is None:
            return np.empty((*self._request.all_rows.shape, *self._request.shape))
        return self._array

    def _target(self, dtype: np.dtype[Any]) -> Column:
        """Return the array of all rows, with a dtype that represents these values too."""
        self._dtypes.add(dtype)
        array = self._request.target(dtype.newbyteorder("=")) if self._array is None else self._array
        if dtype != array.dtype:
            common = np.result_type(array.dtype, dtype)
            check_exact(self._dtypes, common, self._request.path)
            with np.errstate(invalid="ignore"):  # rows that are not set yet may have any bits
                array = array if array.dtype == common else array.astype(common)
        self._array = array
        return array


class _Ring:
    """The rows of some leaves of several episodes, one episode after the other.

    Args:
        requests: of the leaves.
        further: how many rows each leaf has in addition to those of the steps.
        total_episodes: the number of episodes of the dataset.
        total_rows: the number of rows of all of them, at most.
        limit: the greatest number of bytes.

    Attributes:
        starts: the position of the first row of each episode; -1 for those that are not kept.
    """

    def __init__(
        self,
        requests: Sequence[RowRequest],
        further: Mapping[ColumnPath, int],
        total_episodes: int,
        total_rows: int,
        limit: int,
    ) -> None:
        self._further = further
        self.starts = np.full(total_episodes, -1)
        self._steps = np.zeros(total_episodes, np.int64)
        self._shapes = {request.path: request.shape for request in requests}
        self._total_rows, self._limit = total_rows, limit
        self._arrays: dict[ColumnPath, Column] = {}
        self._row_size = self._capacity = self._end = self._used = 0
        self._kept: deque[tuple[int, int, int]] = deque()  # episode, begin, end, in the order in which they were added

    @property
    def used_bytes(self) -> int:
        """Return the number of bytes that have been written to."""
        return self._used * self._row_size

    def rows_of(self, request: RowRequest, starts: npt.NDArray[np.int64]) -> Column | list[_Part]:
        """Return the rows of a request; if some are not kept, a list with those that are.

        Args:
            request: the rows.
            starts: of its episodes.
        """
        rows = request.all_rows
        counts = self._steps[request.episodes] + self._further[request.path]
        array = self._arrays.get(request.path)
        if array is None:
            return []
        is_kept = (starts >= 0) & ((rows if rows.ndim == 1 else rows.max(axis=1, initial=0)) < counts)
        at = (starts if rows.ndim == 1 else starts[:, None]) + rows
        if is_kept.all():
            return array.take(at, axis=0, out=request.target(array.dtype), mode="clip")
        positions = np.flatnonzero(is_kept)
        return [(positions, array[at[positions]])] if len(positions) else []

    def add(self, index: int, columns: Columns) -> None:
        """Keep the rows of an episode, unless they are of other types than those of the first one, or too many."""
        try:
            leaves = {path: self._leaf(columns[path], shape) for path, shape in self._shapes.items()}
        except (KeyError, ValueError):
            return
        if not self._arrays:
            self._row_size = sum(math.prod(leaf.shape[1:], start=leaf.itemsize) for leaf in leaves.values())
            self._capacity = min(self._total_rows, self._limit // max(self._row_size, 1))
            self._arrays = {
                path: np.empty((self._capacity, *leaf.shape[1:]), leaf.dtype) for path, leaf in leaves.items()
            }
        count = max(map(len, leaves.values()))
        if (
            self.starts[index] >= 0
            or count > self._capacity
            or any(leaf.dtype != self._arrays[path].dtype for path, leaf in leaves.items())
        ):
            return
        begin = self._end if self._end + count <= self._capacity else 0
        while self._kept and self._is_in_the_way(begin, begin + count):
            self.starts[self._kept[0][0]] = -1
            self._kept.popleft()
        for path, leaf in leaves.items():
            self._arrays[path][begin : begin + len(leaf)] = leaf
        self._end = begin + count
        self._used = max(self._used, self._end)
        self._kept.append((index, begin, self._end))
        self._steps[index] = min(len(leaf) - self._further[path] for path, leaf in leaves.items())
        self.starts[index] = begin

    def _is_in_the_way(self, begin: int, end: int) -> bool:
        """Return whether the episode that was added first lies between two positions, or after a turn behind them."""
        _, first, last = self._kept[0]
        return (first < end and last > begin) or (begin == 0 and first >= self._end > 0)

    @staticmethod
    def _leaf(column: Column, shape: tuple[int, ...]) -> Column:
        """Return a column with rows of the shape in the space.

        Raises:
            ValueError: it has rows of another shape or type.
        """
        if column.dtype.kind not in NUMBERS or without_ones(column.shape[1:]) != without_ones(shape):
            raise ValueError(f"{column.dtype} rows of shape {column.shape[1:]}")
        return column.reshape(len(column), *shape)
