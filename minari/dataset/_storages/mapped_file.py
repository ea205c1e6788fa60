"""A file read through a map of it, so that reading costs what the bytes cost."""

from __future__ import annotations

import math
import mmap
import os
import weakref
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import numpy as np
import numpy.typing as npt


#: What has been read of a map counts as memory of the process. After that many bytes of a file that is larger
#: than twice as much, the system is told that it can have the memory back; what is needed again it takes from
#: its own cache of the file.
_RESIDENT: Final = 64 * 2**20
#: Bytes that are mapped at a time where the process may not map the whole file.
_WINDOW: Final = 32 * 2**20

_K = TypeVar("_K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class _Window:
    begin: int
    end: int
    map: mmap.mmap


def stamp_of(status: os.stat_result) -> tuple[int, int]:
    """What a file that has changed does not have any more: its size and its time."""
    return status.st_size, status.st_mtime_ns


class Change(Protocol):
    """A change to a file: where it ends then, and offsets with the bytes that are to be there."""

    @property
    def end(self) -> int: ...

    @property
    def changes(self) -> Sequence[tuple[int, bytes]]: ...


class MappedFile:
    """Read-only arrays over a file that does not change.

    Args:
        path: of the file; what is at that path later does not matter.
        change: to the file, which is not in place.

    Attributes:
        size: of the file, in bytes.
        stamp: of the file.
    """

    def __init__(self, path: Path, change: Change | None = None) -> None:
        self._change = change
        self._file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        weakref.finalize(self, os.close, self._file)
        status = os.fstat(self._file)
        self.size, self.stamp = status.st_size if change is None else change.end, stamp_of(status)
        self._window = self._other = _Window(0, 0, mmap.mmap(-1, 1))
        self._read = 0
        if self.size:
            self._window = self._opened(0, self.size)

    def arrays(
        self, leaves: Iterable[tuple[_K, np.dtype[Any], tuple[int, ...]]], places: Sequence[int], size: int
    ) -> dict[_K, npt.NDArray[Any]]:
        """Views of several arrays.

        Args:
            leaves: of each array its name, its dtype and the shape of a row.
            places: of each array its number of rows and its offset, one array after the other.
            size: of all of them together, about.

        Raises:
            ValueError: the file ends before one of them.
        """
        self._count(size)
        arrays: dict[_K, npt.NDArray[Any]] = {}
        window = self._window
        is_whole, position = window.end - window.begin == self.size > 0, 0
        for name, dtype, shape in leaves:
            rows, offset = places[position], places[position + 1]
            if is_whole and offset >= 0:  # NumPy would take what lies before the map
                try:
                    arrays[name] = np.ndarray((rows, *shape), dtype, window.map, offset)
                except TypeError as error:
                    raise ValueError(f"{rows} rows at {offset} of {self.size} bytes") from error
            else:
                arrays[name] = self.array(offset, (rows, *shape), dtype)
            position += 2
        return arrays

    def array(self, offset: int, shape: Sequence[int], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        """A view of the bytes at an offset as an array.

        Raises:
            ValueError: the file ends before.
        """
        window = self._window_with(offset, math.prod(shape, start=dtype.itemsize))
        array: npt.NDArray[Any] = np.ndarray(shape, dtype, window.map, offset - window.begin)
        return array

    def array_of_chunks(
        self, offsets: Sequence[int], shape: Sequence[int], dtype: np.dtype[Any], chunks: Sequence[int]
    ) -> npt.NDArray[Any]:
        """An array put together from chunks, which lie in the order of their indices, each as a whole.

        Raises:
            ValueError: the file ends before.
        """
        array = np.empty(shape, dtype)
        self._count(array.nbytes)
        corners = product(*(range(0, side, chunk) for side, chunk in zip(shape, chunks, strict=True)))
        for offset, corner in zip(offsets, corners, strict=True):
            part = array[tuple(slice(start, start + chunk) for start, chunk in zip(corner, chunks, strict=True))]
            part[...] = self.array(offset, chunks, dtype)[tuple(slice(side) for side in part.shape)]
        array.flags.writeable = False  # as views are, so that nobody relies on the layout of a file
        return array

    def read_at(self, offset: int, size: int) -> bytes:
        """Bytes at an offset, fewer where the file ends."""
        size = max(0, min(size, self.size - offset))
        window = self._window_with(offset, size)
        return window.map[offset - window.begin : offset - window.begin + size]

    def _count(self, size: int) -> None:
        self._read += size
        if self._read > _RESIDENT and self.size > 2 * _RESIDENT:
            self._read = 0
            if hasattr(mmap, "MADV_DONTNEED"):
                for window in (self._window, self._other):
                    window.map.madvise(mmap.MADV_DONTNEED)

    def _window_with(self, offset: int, size: int) -> _Window:
        """The window that has these bytes, as the current one."""
        if self._window.begin <= offset and offset + size <= self._window.end:
            return self._window
        if offset < 0 or offset + size > self.size:
            raise ValueError(f"bytes {offset} to {offset + size} of {self.size}")
        if not (self._other.begin <= offset and offset + size <= self._other.end):
            begin = offset - offset % mmap.ALLOCATIONGRANULARITY
            self._other = self._opened(begin, min(max(begin + _WINDOW, offset + size), self.size))
        self._window, self._other = self._other, self._window
        return self._window

    def _opened(self, begin: int, end: int) -> _Window:
        access = mmap.ACCESS_READ if self._change is None else mmap.ACCESS_COPY
        try:
            window = _Window(begin, end, mmap.mmap(self._file, end - begin, access=access, offset=begin))
            for at, data in () if self._change is None else self._change.changes:
                start, stop = max(at, begin), min(at + len(data), end)
                if start < stop:
                    window.map[start - begin : stop - begin] = data[start - at : stop - at]
            return window
        except (OSError, OverflowError):
            if end - begin <= _WINDOW or end - begin < self.size:
                raise
            return self._opened(begin, begin + _WINDOW)  # the address space is limited
