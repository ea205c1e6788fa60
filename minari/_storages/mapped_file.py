"""Views of a mapped file, for callers that request arrays without a copy."""

from __future__ import annotations

import mmap
from collections.abc import Hashable, Iterable, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from minari.errors import DatasetCorruptError


#: Pages of a map that have been read count as memory of the process. For a file that is larger than twice this
#: number of bytes, they are released after this many; they stay in the page cache of the operating system.
RESIDENT_BYTES = 64 * 2**20

_K = TypeVar("_K", bound=Hashable)


class MappedFile(mmap.mmap):
    """Read-only arrays over a file that nobody truncates: reading beyond its end kills the process.

    The arrays keep the map, and with it a descriptor of the file.

    Args:
        descriptor: of an open file, which may be closed afterwards.
        size: of the file in bytes.
        stamp: what differs once the file has been changed or replaced.

    Raises:
        OSError: the file cannot be mapped, for example because the address space is limited.
        ValueError: the file is empty.
    """

    def __new__(cls, descriptor: int, size: int, stamp: tuple[int, ...] = ()) -> MappedFile:
        """Map the file."""
        return super().__new__(cls, descriptor, size, access=mmap.ACCESS_READ)

    def __init__(self, descriptor: int, size: int, stamp: tuple[int, ...] = ()) -> None:
        self.stamp = stamp
        self._seen = 0

    def check_size(self) -> None:
        """Raise if the file has become shorter than the map, beyond whose end reading would kill the process.

        Raises:
            DatasetCorruptError: it has.
        """
        if self.size() < len(self):
            raise DatasetCorruptError(
                f"The file has been cut off to {self.size()} of {len(self)} bytes after it was opened; copy or "
                f"download the dataset again."
            )

    def array(
        self, offset: int, shape: Sequence[int], dtype: np.dtype[Any], stride: int | None = None
    ) -> npt.NDArray[Any]:
        """Return a view of the bytes at an offset as an array.

        Args:
            offset: of the first byte.
            shape: of the array.
            dtype: of its items.
            stride: for one dimension, the number of bytes from an item to the next; by default the size of an item.

        Raises:
            ValueError: the file is too short.
        """
        if offset < 0:  # NumPy would accept bytes before the map
            raise ValueError(f"byte {offset} of {len(self)}")
        try:
            array: npt.NDArray[Any] = np.ndarray(shape, dtype, self, offset, None if stride is None else [stride])
        except TypeError as error:
            raise ValueError(f"an array of shape {tuple(shape)} at byte {offset} of {len(self)}") from error
        return array

    def arrays(
        self, leaves: Iterable[tuple[_K, np.dtype[Any], tuple[int, ...]]], places: Sequence[int], size: int
    ) -> dict[_K, npt.NDArray[Any]]:
        """Return views of several arrays.

        Args:
            leaves: the name, dtype and row shape of each array.
            places: the number of rows and the offset of each array in turn.
            size: the approximate total size.

        Raises:
            ValueError: the file ends before one of them.
        """
        self._count(size)
        return {
            name: self.array(offset, (rows, *shape), dtype)
            for (name, dtype, shape), rows, offset in zip(leaves, places[::2], places[1::2], strict=True)
        }

    def _count(self, size: int) -> None:
        self._seen += size
        if self._seen > RESIDENT_BYTES and len(self) > 2 * RESIDENT_BYTES:
            self._seen = 0
            if hasattr(mmap, "MADV_DONTNEED"):
                self.madvise(mmap.MADV_DONTNEED)
