"""A file read through maps of parts of it, so that a pass over a large one keeps little of it in memory."""

from __future__ import annotations

import mmap
import os
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt


#: Bytes of a file that is mapped as a whole; others are mapped in windows, of which two are kept.
_WHOLE: Final = 96 * 2**20
_WINDOW: Final = 32 * 2**20


@dataclass(frozen=True, slots=True)
class _Window:
    begin: int
    end: int
    map: mmap.mmap


class MappedFile:
    """Read-only views of a file that does not change.

    A window stays mapped as long as there is a view of it. What the system has read of a mapped
    file counts as memory of the process until then.

    Args:
        path: of the file; what is at that path later does not matter.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        weakref.finalize(self, os.close, self._file)
        self.size = os.fstat(self._file).st_size
        self._window = self._other = _Window(0, 0, mmap.mmap(-1, 1))

    def array(self, offset: int, shape: Sequence[int], dtype: np.dtype[Any], size: int) -> npt.NDArray[Any]:
        """A view of ``size`` bytes at an offset as an array.

        Raises:
            ValueError: the file ends before.
        """
        window = self._window
        if not (window.begin <= offset and offset + size <= window.end):
            window = self._moved(offset, size)
        array: npt.NDArray[Any] = np.ndarray(shape, dtype, window.map, offset - window.begin)
        return array

    def read_at(self, offset: int, size: int) -> bytes:
        """Bytes at an offset, fewer where the file ends."""
        size = max(0, min(size, self.size - offset))
        window = self._window
        if not (window.begin <= offset and offset + size <= window.end):
            window = self._moved(offset, size)
        return window.map[offset - window.begin : offset - window.begin + size]

    def _moved(self, offset: int, size: int) -> _Window:
        """The window that has these bytes, as the current one."""
        if offset < 0 or offset + size > self.size:
            raise ValueError(f"bytes {offset} to {offset + size} of {self.size}")
        if not (self._other.begin <= offset and offset + size <= self._other.end):
            if self.size <= _WHOLE:
                begin, end = 0, self.size
            else:
                begin = offset - offset % mmap.ALLOCATIONGRANULARITY
                end = min(max(begin + _WINDOW, offset + size), self.size)
            opened = mmap.mmap(self._file, end - begin, access=mmap.ACCESS_READ, offset=begin)
            self._other = _Window(begin, end, opened)
        self._window, self._other = self._other, self._window
        return self._window
