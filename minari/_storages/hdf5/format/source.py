"""The bytes of an untrusted HDF5 file, read within limits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias


#: Returns bytes of a file by offset and size, fewer at its end.
ReadAt: TypeAlias = Callable[[int, int], bytes]

_READS_COST: Final = 16  # bytes that each read counts in addition to those it returns
_TIMES: Final = 4  # how many times the bytes of a file may be read for one purpose
_ALLOWANCE: Final = 2**20  # additional bytes, since small files are read in small parts


class NotUnderstood(ValueError):
    """A structure that only an HDF5 library supports."""


class StoredElsewhere(ValueError):
    """The values of an array are in other files."""


class Source:
    """The bytes of a file, each of which may be read only a few times for one purpose.

    The structures of a valid file do not overlap, so a reader that reads more than there is follows a cycle,
    or a structure that refers to the same bytes repeatedly. This single limit ends loops and bounds
    allocations.

    Args:
        read_at: returns bytes of the file.
        size: size of the file.

    Attributes:
        size: size of the file.
        base: origin of the addresses in the file.
        kept: cached heaps by their addresses, which other values may need too.
    """

    __slots__ = ("_left", "_read_at", "base", "kept", "size")

    def __init__(self, read_at: ReadAt, size: int) -> None:
        self._read_at = read_at
        self.size, self.base = size, 0
        self.kept: dict[int, Any] = {}
        self.renew()

    def renew(self) -> None:
        """Reset the limit for another purpose."""
        self._left = _TIMES * self.size + _ALLOWANCE

    def read(self, address: int, size: int) -> bytes:
        """Return the bytes at an address.

        Raises:
            ValueError: they are outside the file, or too many have been read.
        """
        begin = self.base + address
        if not 0 <= begin <= begin + size <= self.size:
            raise ValueError(f"it refers to bytes {begin} to {begin + size} of {self.size}")
        self._spend(size + _READS_COST)
        data = self._read_at(begin, size)
        if len(data) < size:
            raise ValueError(f"the file ends before byte {begin + size}")
        return data

    def count(self, size: int) -> None:
        """Count bytes that are created from bytes already read.

        Raises:
            ValueError: the limit is exceeded.
        """
        self._spend(size)

    def _spend(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise ValueError("its structures refer to the same bytes again and again")
