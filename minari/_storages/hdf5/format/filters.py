"""Chunk shapes of the leaves of an HDF5 file, and the filters of chunks."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from minari._storages.hdf5.format.objects import Filter


DEFLATE, SHUFFLE, FLETCHER32 = 1, 2, 3  # numbers of the filters of every HDF5 library
GZIP: Final = "gzip"
GZIP_LEVELS: Final = range(10)
GZIP_LEVEL: Final = 4
GZIP_FRAME_LEVEL: Final = 3

#: Bytes of a chunk of whole rows. Smaller chunks compress worse, larger ones decode more than a few steps need.
_CHUNK_SIZE: Final = 2**18
#: Minimum rows of a chunk. Frames compress well because consecutive rows are similar.
_CHUNK_ROWS: Final = 32
#: Bytes of a chunk if that many rows are larger and are split into strips. Deflate looks back at most 32 KiB,
#: and is faster with fewer bytes between a position and the same position one step earlier.
_STRIP_SIZE: Final = 2**17
_FLETCHER: Final = 2**16 - 1
_MOST_ADDED: Final = 16  # bytes that filters before deflate may add to a chunk
#: Maximum expansion of a byte by deflate.
MOST_EXPANDED: Final = 1032


@dataclass(frozen=True, slots=True)
class Chunking:
    """The chunks of a leaf.

    Attributes:
        shape: shape of a chunk, time first; chunks at the edges extend beyond them.
        filters: filters applied to a chunk when it is written, in this order.
    """

    shape: tuple[int, ...]
    filters: tuple[Filter, ...]

    def count(self, shape: Sequence[int]) -> int:
        """Return the number of chunks of an array."""
        return math.prod(-(-side // chunk) for side, chunk in zip(shape, self.shape, strict=True))

    def size(self, dtype: np.dtype[Any]) -> int:
        """Return the size of a decoded chunk in bytes."""
        return math.prod(self.shape, start=dtype.itemsize)


def chunk_shape(shape: Sequence[int], dtype: np.dtype[Any]) -> tuple[int, ...]:
    """Return the chunk shape for an array with time first and no side of length 0.

    Chunks span time. If that many whole rows are too large, chunks are strips of rows. Their length in time
    is a power of two, so that episodes of different lengths mostly have the same chunks.

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
    """Return the chunks of an array compressed with gzip; items wider than a byte are shuffled first."""
    shuffle: tuple[Filter, ...] = ((SHUFFLE, (dtype.itemsize,), ""),) if dtype.itemsize > 1 else ()
    return Chunking(chunk_shape(shape, dtype), (*shuffle, (DEFLATE, (level,), "")))


def is_known(filters: Sequence[Filter]) -> bool:
    """Return whether :func:`decoded` supports all of these filters."""
    return all(
        number in (DEFLATE, FLETCHER32) or (number == SHUFFLE and len(values) == 1) for number, values, _ in filters
    )


def encoded(chunk: npt.NDArray[Any], filters: Sequence[Filter]) -> bytes:
    """Return the stored bytes of a chunk."""
    data: Any = chunk
    for number, values, _ in filters:
        if number == SHUFFLE:
            flat = np.ascontiguousarray(data).reshape(-1).view(np.uint8)
            data = np.ascontiguousarray(flat.reshape(-1, values[0]).T)
        else:
            data = zlib.compress(data, values[0])
    return bytes(data)


def decoded(data: bytes, size: int, filters: Sequence[Filter], skipped: int = 0) -> npt.NDArray[np.uint8]:
    """Return the original bytes of a chunk.

    Args:
        data: the stored bytes.
        size: the expected number of bytes.
        filters: the filters of the array.
        skipped: the filters that were not applied to this chunk, one bit each.

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
    """Return decompressed data; at most ``size`` bytes plus what other filters may have added."""
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
    # Sums that are 0 although not all words are 0 are replaced by an equivalent value.
    first, second = ((number - 1) % _FLETCHER + 1 if first else 0 for number in (first, second))
    return second << 16 | first
