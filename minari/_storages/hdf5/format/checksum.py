"""The checksum of the metadata of HDF5 files: Bob Jenkins' hash function ``hashlittle``."""

from __future__ import annotations

import struct
from typing import Final


_MASK: Final = 0xFFFFFFFF


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
