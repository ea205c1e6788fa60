"""New arrays in memory of arrays that nobody refers to any more.

The memory of a large array is new to the process, and the system clears each of its pages when it is first written
to, which takes two to three times as long as copying a batch of frames. Memory that is used again has its pages.
"""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any, Final

import numpy as np
import numpy.typing as npt


__all__ = ["LARGE", "ArrayPool", "keep_freed_memory", "new_array"]

#: Bytes from which on memory is kept; :func:`keep_freed_memory` lets the C library keep that of smaller arrays.
LARGE: Final = 2**20

_MOST_IDLE: Final = 2**27
_MOST_FREED: Final = 2**24


def keep_freed_memory() -> None:
    """Let the C library of this process use the memory of freed arrays again, instead of giving it back to the system.

    At first, glibc asks the system for the memory of every array from 128 KiB on, and gives it back when the array is
    freed, so that the pages of the next one are cleared again. It raises that limit to the size of the largest array
    that has been freed, and keeps up to twice as much in all (``M_MMAP_THRESHOLD`` in *mallopt(3)*): here 16 MiB, of
    which no page is written to. Other C libraries are not affected.
    """
    np.empty(_MOST_FREED, np.uint8)


class ArrayPool:
    """Memory of large arrays, kept for the next ones; safe to use from several threads.

    An array owns its memory for as long as there is a reference to it, to a view of it, or to anything else that keeps
    it alive, such as a tensor that shares its memory.

    Args:
        limit: the greatest number of bytes that are kept while no array uses them.

    Example:
        >>> import numpy as np
        >>> from minari._storages.array_pool import ArrayPool
        >>> pool = ArrayPool()
        >>> first = pool.empty((1000, 1000), float)
        >>> first[:] = 1
        >>> del first
        >>> pool.idle_bytes
        8000000
        >>> second = pool.empty((8, 1000, 1000), np.uint8)
        >>> pool.idle_bytes
        0
    """

    def __init__(self, limit: int = _MOST_IDLE) -> None:
        self._limit = limit
        # Single operations on lists and dicts are atomic. A lock could be waited for by the thread that holds it, as
        # the memory of an array may come back at any moment.
        self._idle: dict[int, list[npt.NDArray[np.uint8]]] = {}

    @property
    def idle_bytes(self) -> int:
        """Return the number of bytes that are kept while no array uses them."""
        return sum(size * len(several) for size, several in list(self._idle.items()))

    def empty(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """Return a new array without initializing its values.

        Args:
            shape: of the array.
            dtype: of its items, which are numbers.
        """
        dtype = np.dtype(dtype)
        size = math.prod(shape, start=dtype.itemsize)
        if size < LARGE:
            return np.empty(shape, dtype)
        memory = self._idle_memory(size)
        if memory is None:
            memory = np.empty(size, np.uint8)
        return np.asarray(_Lent(self, memory))[:size].view(dtype).reshape(shape)

    def _idle_memory(self, size: int) -> npt.NDArray[np.uint8] | None:
        """Take the smallest memory that has at least so many bytes and at most twice as many; None if there is none."""
        for fitting in sorted(one for one in list(self._idle) if size <= one <= 2 * size):
            with suppress(KeyError, IndexError):  # another thread may have been faster
                return self._idle[fitting].pop()
        return None

    def take_back(self, memory: npt.NDArray[np.uint8]) -> None:
        """Keep memory that no array uses; beyond the limit, forget what has been kept before."""
        if self.idle_bytes + memory.nbytes > self._limit:
            self._idle = {}
        if memory.nbytes <= self._limit:
            self._idle.setdefault(memory.nbytes, []).append(memory)


class _Lent:
    """The owner of the memory of an array, which is deleted after the last reference to the array or to a view of it.

    Args:
        pool: that the memory goes back to.
        memory: the memory, as an array of bytes.
    """

    __slots__ = ("__array_interface__", "_memory", "_pool")

    def __init__(self, pool: ArrayPool, memory: npt.NDArray[np.uint8]) -> None:
        self._pool, self._memory = pool, memory
        self.__array_interface__ = memory.__array_interface__

    def __del__(self) -> None:
        self._pool.take_back(self._memory)


#: Return a new array without initializing its values, in memory that is used again.
new_array: Final = ArrayPool().empty
