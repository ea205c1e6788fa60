"""The bytes of an HDF5 file that somebody else may have written, read within bounds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias


#: Gives bytes of a file, by offset and number; fewer where it ends.
ReadAt: TypeAlias = Callable[[int, int], bytes]

_READS_COST: Final = 16  # bytes that a read counts as, beside those that it gives
_TIMES: Final = 4  # that the bytes of a file may be read for one purpose
_ALLOWANCE: Final = 2**20  # bytes beyond that, since small files are read in small pieces


class NotUnderstood(ValueError):
    """Something that is laid out in a way that only an HDF5 library knows."""


class StoredElsewhere(ValueError):
    """An array whose values lie in other files."""


class Source:
    """The bytes of a file, each of which is read only a few times for one purpose.

    The structures of a sound file do not overlap, so what reads more than there is goes round in
    circles, or through a structure that refers to the same bytes again and again. That is one bound for
    all of them: it ends loops, and limits what is allocated.

    Args:
        read_at: gives bytes of the file.
        size: of the file.

    Attributes:
        size: of the file.
        base: what addresses in the file count from.
        kept: heaps by their addresses, which other values may need as well.
    """

    __slots__ = ("_left", "_read_at", "base", "kept", "size")

    def __init__(self, read_at: ReadAt, size: int) -> None:
        self._read_at = read_at
        self.size, self.base = size, 0
        self.kept: dict[int, Any] = {}
        self.renew()

    def renew(self) -> None:
        """Begin to read for another purpose."""
        self._left = _TIMES * self.size + _ALLOWANCE

    def read(self, address: int, size: int) -> bytes:
        """Return the bytes at an address.

        Raises:
            ValueError: they lie outside the file, or too many have been read.
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
        """Count bytes that are made of what has been read already.

        Raises:
            ValueError: they are too many.
        """
        self._spend(size)

    def _spend(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise ValueError("its structures refer to the same bytes again and again")
