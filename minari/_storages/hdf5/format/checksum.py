"""The checksum of the metadata of HDF5 files: Bob Jenkins' hash function ``hashlittle``."""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt


_Words: TypeAlias = npt.NDArray[np.uint32]

_MASK: Final = 0xFFFFFFFF
_FEW: Final = 24  # rows, for which one by one is faster


def checksum(data: bytes) -> int:
    """Return the checksum of metadata, ``hashlittle(data, 0)``.

    >>> hex(checksum(b"Four score and seven years ago"))
    '0x17770551'
    """
    a = b = c = (0xDEADBEEF + len(data)) & _MASK
    if not data:
        return c
    words: tuple[int, ...] = struct.unpack(f"<{(len(data) + 11) // 12 * 3}I", data + bytes(-len(data) % 12))
    # Inlined, since tables of chunks are long: function calls would take three times as long.
    for at in range(0, len(words) - 3, 3):
        a, b, c = a + words[at], b + words[at + 1], (c + words[at + 2]) & _MASK
        a = (a - c) & _MASK ^ (c << 4 & _MASK | c >> 28)
        c += b
        b = (b - a) & _MASK ^ (a << 6 & _MASK | a >> 26)
        a += c
        c = (c - b) & _MASK ^ (b << 8 & _MASK | b >> 24)
        b = (b + a) & _MASK
        a = (a - c) & _MASK ^ (c << 16 & _MASK | c >> 16)
        c += b
        b = (b - a) & _MASK ^ (a << 19 & _MASK | a >> 13)
        a += c
        c = (c - b) & _MASK ^ (b << 4 & _MASK | b >> 28)
        b = (b + a) & _MASK
        a &= _MASK
    a, b, c = (a + words[-3]) & _MASK, (b + words[-2]) & _MASK, (c + words[-1]) & _MASK
    for bits in (14, 11, 25, 16, 4, 14, 24):
        c = ((c ^ b) - (b << bits & _MASK | b >> (32 - bits))) & _MASK
        a, b, c = b, c, a
    return b


def checksums(rows: npt.NDArray[np.uint8], equal: int = 0) -> _Words:
    """Return the checksum of each row.

    Args:
        rows: bytes, one row for each checksum.
        equal: the number of bytes at the beginning in which no row differs from the first.

    >>> [hex(one) for one in checksums(np.frombuffer(b"Four score and seven years ago" * 2, np.uint8).reshape(2, -1))]
    ['0x17770551', '0x17770551']
    """
    count, size = rows.shape
    if count and equal >= size:
        return np.full(count, checksum(rows[0].tobytes()), np.uint32)
    if count < _FEW or not size:
        return np.array([checksum(row.tobytes()) for row in rows], np.uint32)
    words = np.zeros((count, (size + 11) // 12 * 12), np.uint8)
    words[:, :size] = rows
    columns: _Words = np.ascontiguousarray(words.view("<u4").T, np.uint32)
    skipped = min(equal // 12 * 3, len(columns) - 3)
    state = _state_after(words[0, : 4 * skipped].tobytes(), size)
    a, b, c = _mixed([np.full(count, word, np.uint32) for word in state], columns[skipped:-3])
    a, b, c = a + columns[-3], b + columns[-2], c + columns[-1]
    for bits in (14, 11, 25, 16, 4, 14, 24):
        c = (c ^ b) - (b << bits | b >> 32 - bits)
        a, b, c = b, c, a
    found: _Words = b
    return found


@lru_cache(maxsize=256)
def _state_after(beginning: bytes, size: int) -> tuple[int, ...]:
    """Return the state of the checksum of so many bytes after those at their beginning, a multiple of twelve."""
    start = np.full(1, (0xDEADBEEF + size) & _MASK, np.uint32)
    columns = np.array(struct.unpack(f"<{len(beginning) // 4}I", beginning), np.uint32).reshape(-1, 1)
    return tuple([int(word[0]) for word in _mixed([start, start.copy(), start.copy()], columns)])


def _mixed(state: list[_Words], columns: _Words) -> list[Any]:
    """Return the states of several checksums after all blocks of three words except for the last one."""
    a, b, c = state
    high, low = np.empty_like(a), np.empty_like(a)
    for at in range(0, len(columns), 3):
        a += columns[at]
        b += columns[at + 1]
        c += columns[at + 2]
        for bits in (4, 6, 8, 16, 19, 4):
            a -= c
            np.left_shift(c, bits, out=high)
            np.right_shift(c, 32 - bits, out=low)
            a ^= high
            a ^= low
            c += b
            a, b, c = b, c, a
    return [a, b, c]
