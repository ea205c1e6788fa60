"""Checksums of columns: computed when they are written, verified when they are read.

The hash is XXH3 with 64 bits (https://xxhash.com), which takes less than a twentieth of the time of writing
the bytes. It detects damage, not intent: anyone who can write the values can write their checksum too.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash


__all__ = ["bytes_checksum", "column_checksum", "seed_of"]

_SIGN = 1 << 63


def column_checksum(column: npt.NDArray[Any]) -> int:
    """Return the checksum of a column: of its values, their dtype, and its shape.

    The byte order of the values does not matter.

    >>> column_checksum(np.arange(3)) == column_checksum(np.arange(3, dtype=">i8"))
    True
    >>> column_checksum(np.arange(3)) == column_checksum(np.arange(3, dtype=np.uint64))
    False

    Args:
        column: numbers of any shape, or an object array of ``str`` or of ``bytes``, with None for missing values.

    Returns:
        A signed 64-bit integer.
    """
    seed, is_plain = seed_of(column.dtype, column.shape)
    if not (is_plain and column.flags.c_contiguous):
        if column.dtype == object:
            return _checksum_of_objects(column)
        column = np.ascontiguousarray(column, column.dtype.newbyteorder("<")).reshape(-1).view(np.uint8)
    return _signed(bytes_checksum(column, seed))


#: Return the checksum of bytes, an unsigned 64-bit integer.
#:
#: Args:
#:     data: bytes, or an object with a contiguous buffer.
#:     seed: the checksum of the preceding part, for data in several parts; that of :func:`seed_of` for
#:         the bytes of a column.
bytes_checksum: Callable[..., int] = xxhash.xxh3_64_intdigest


def _checksum_of_objects(column: npt.NDArray[Any]) -> int:
    digest = xxhash.xxh3_64(seed=seed_of(np.dtype(object), column.shape)[0])
    for value in column.reshape(-1):
        if isinstance(value, str):
            kind, content = 1, value.encode("utf-8", "surrogatepass")
        else:
            kind, content = (2, b"") if value is None else (0, bytes(value))
        digest.update(f"{kind}{len(content)},".encode())
        digest.update(content)
    return _signed(digest.intdigest())


@lru_cache(maxsize=4096)
def seed_of(dtype: np.dtype[Any], shape: tuple[int, ...]) -> tuple[int, bool]:
    """Return the seed that distinguishes columns with the same bytes, and whether the bytes are hashed directly.

    If they are, the checksum of a column is :func:`bytes_checksum` of its bytes with this seed, except for the sign.
    """
    little = dtype.newbyteorder("<")
    seed = xxhash.xxh3_64_intdigest(f"{little.str}{shape}".encode())
    return seed, dtype.kind in "biufc" and dtype == little


def _signed(digest: int) -> int:
    return digest - 2 * _SIGN if digest >= _SIGN else digest
