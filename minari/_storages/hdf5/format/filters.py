"""The shapes of the chunks of an HDF5 file, and the filters that every chunk goes through."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from minari._storages.hdf5.format.objects import Filter


DEFLATE, SHUFFLE, FLETCHER32 = 1, 2, 3  # numbers of filters that every HDF5 library has
GZIP: Final = "gzip"
GZIP_LEVELS: Final = range(10)
GZIP_LEVEL: Final = 4
GZIP_FRAME_LEVEL: Final = 3

#: Bytes of a chunk of whole rows. Less compresses worse, more is decoded in vain where few steps are wanted.
_CHUNK_SIZE: Final = 2**18
#: Rows of a chunk, at least. Rows next to each other in time are what makes frames small.
_CHUNK_ROWS: Final = 32
#: Bytes of a chunk where that many rows are larger, and are cut into strips. Deflate looks back no further than
#: 32 KiB, and is faster where less comes between a place and the same place a step before.
_STRIP_SIZE: Final = 2**17
_FLETCHER: Final = 2**16 - 1
_MOST_ADDED: Final = 16  # bytes that filters before deflate may have added to a chunk
#: Deflate makes at most this many bytes of one.
MOST_EXPANDED: Final = 1032


@dataclass(frozen=True, slots=True)
class Chunking:
    """The shape of the chunks of a leaf, and their filters.

    Attributes:
        shape: of a chunk, time first; chunks at the edges reach beyond them.
        filters: that a chunk goes through when it is written, in this order.
    """

    shape: tuple[int, ...]
    filters: tuple[Filter, ...]

    def count(self, shape: Sequence[int]) -> int:
        """Return the number of chunks of an array."""
        return math.prod(-(-side // chunk) for side, chunk in zip(shape, self.shape, strict=True))

    def size(self, dtype: np.dtype[Any]) -> int:
        """Return the number of bytes of a chunk, decoded."""
        return math.prod(self.shape, start=dtype.itemsize)


def chunk_shape(shape: Sequence[int], dtype: np.dtype[Any]) -> tuple[int, ...]:
    """Return the shape of the chunks for an array with time first, none of whose sides is 0.

    Chunks span time. Where so many whole rows are too large they hold strips of rows. Along time the side is a
    power of two, so that episodes of different lengths are mostly alike.

    >>> chunk_shape((161, 96, 96, 3), np.dtype(np.uint8))
    (32, 12, 96, 3)
    >>> chunk_shape((2000, 17), np.dtype(np.float64))
    (1024, 17)
    """
    row, (rows, *sides) = math.prod(shape[1:], start=dtype.itemsize), shape
    wanted = min(max(_CHUNK_SIZE // row, _CHUNK_ROWS), rows)
    rows = 1 << (wanted.bit_length() - 1)
    if rows * row > _CHUNK_SIZE:
        for axis in range(len(sides)):
            while sides[axis] > 1 and rows * math.prod(sides, start=dtype.itemsize) > _STRIP_SIZE:
                sides[axis] = -(-sides[axis] // 2)
    return (rows, *sides)


def gzip_chunking(shape: Sequence[int], dtype: np.dtype[Any], level: int = GZIP_LEVEL) -> Chunking:
    """Return the chunks of an array that is compressed with gzip: what is wider than a byte is shuffled before."""
    shuffle: tuple[Filter, ...] = ((SHUFFLE, (dtype.itemsize,), ""),) if dtype.itemsize > 1 else ()
    return Chunking(chunk_shape(shape, dtype), (*shuffle, (DEFLATE, (level,), "")))


def is_known(filters: Sequence[Filter]) -> bool:
    """Return whether :func:`decoded` can undo all of these filters."""
    return all(
        number in (DEFLATE, FLETCHER32) or (number == SHUFFLE and len(values) == 1) for number, values, _ in filters
    )


def encoded(chunk: npt.NDArray[Any], filters: Sequence[Filter]) -> bytes:
    """Return the bytes of a chunk as they are stored."""
    data: Any = chunk
    for number, values, _ in filters:
        if number == SHUFFLE:
            flat = np.ascontiguousarray(data).reshape(-1).view(np.uint8)
            data = np.ascontiguousarray(flat.reshape(-1, values[0]).T)
        else:
            data = zlib.compress(data, values[0])
    return bytes(data)


def decoded(data: bytes, size: int, filters: Sequence[Filter], skipped: int = 0) -> npt.NDArray[np.uint8]:
    """Return the bytes of a chunk as they were.

    Args:
        data: as they are stored.
        size: how many they have to become.
        filters: that they went through.
        skipped: the filters that they did not go through after all, a bit each.

    Raises:
        ValueError: the bytes are damaged.
    """
    result: Any = data
    for place, (number, values, _) in reversed(list(enumerate(filters))):
        if skipped >> place & 1:
            continue
        if number == DEFLATE:
            result = _inflated(result, size)
        elif number == FLETCHER32:
            result, stored = memoryview(result)[:-4], bytes(result[-4:])
            if stored != fletcher32(result).to_bytes(4, "little"):
                raise ValueError("its checksum is wrong")
        else:
            if values[0] < 1 or len(result) % values[0]:
                raise ValueError(f"{len(result)} bytes are not elements of {values[0]}")
            result = np.ascontiguousarray(np.frombuffer(result, np.uint8).reshape(values[0], -1).T).reshape(-1)
    if len(result) != size:
        raise ValueError(f"it has {len(result)} bytes, expected {size}")
    return np.frombuffer(result, np.uint8)


def _inflated(data: Any, size: int) -> bytes:
    """Undo deflate, up to ``size`` bytes and what filters may have added to them."""
    if size > MOST_EXPANDED * len(data):
        raise ValueError(f"{len(data)} bytes cannot become {size}")
    inflater = zlib.decompressobj()
    try:
        result = inflater.decompress(data, size + _MOST_ADDED)
    except zlib.error as error:
        raise ValueError(str(error)) from None
    if not inflater.eof:
        raise ValueError(f"it ends too early, or becomes more than {size} bytes")
    return result


def fletcher32(data: bytes | memoryview) -> int:
    """Return the checksum of the filter of that name.

    >>> hex(fletcher32(b"abcde"))
    '0x4ff029c7'
    """
    padded = bytes(data) + bytes(len(data) % 2)
    words = np.frombuffer(padded, ">u2").astype(np.int64)
    weights = np.arange(len(words), 0, -1, dtype=np.int64) % _FLETCHER
    first, second = int(words.sum()), int((words * weights % _FLETCHER).sum())
    # Sums that are 0 without all words being 0 are written as what is the same.
    first, second = ((number - 1) % _FLETCHER + 1 if first else 0 for number in (first, second))
    return second << 16 | first
