"""Chunk shapes of the leaves of an HDF5 file, and the filters of chunks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from minari._storages.hdf5.format.codecs import CODECS, DEFLATE, LZ4, ZSTD, ChunkCodec
from minari._storages.hdf5.format.objects import Filter


SHUFFLE, FLETCHER32 = 2, 3  # numbers of the filters of every HDF5 library; others are those of the codecs
GZIP: Final = "gzip"
GZIP_LEVELS: Final = range(10)
GZIP_FRAME_LEVEL: Final = 3
_GZIP_LEVEL: Final = 4
_ZSTD_LEVEL: Final = 1  # compresses chunks of frames of this size as much as 3, and faster

#: Bytes of a chunk of whole rows. Smaller chunks compress worse, larger ones decode more than a few steps need.
_CHUNK_SIZE: Final = 2**18
#: The same for Zstandard, which looks back further than the 32 KiB of deflate and has more to do for each chunk.
_ZSTD_CHUNK_SIZE: Final = 2**19
#: Minimum rows of a chunk. Frames compress well because consecutive rows are similar.
_CHUNK_ROWS: Final = 8
#: Bytes of a chunk if that many rows are larger and are split into strips, so that deflate still sees the same position
#: one step earlier.
_STRIP_SIZE: Final = 2**18
_ZSTD_STRIP_SIZE: Final = 2**20
_FLETCHER: Final = 2**16 - 1
_MOST_ADDED: Final = 16  # bytes that filters before a codec may add to a chunk


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


def chunk_shape(
    shape: Sequence[int], dtype: np.dtype[Any], size: int = _CHUNK_SIZE, strip_size: int = _STRIP_SIZE
) -> tuple[int, ...]:
    """Return the chunk shape for an array with time first and no side of length 0.

    Chunks span time. If the fewest whole rows of a chunk are too large, chunks are strips of rows. Their length in
    time is a power of two, so that episodes of different lengths mostly have the same chunks.

    Args:
        shape: of the array.
        dtype: of its elements.
        size: the greatest number of bytes of a chunk that has more than the fewest rows.
        strip_size: the greatest number of bytes of any other chunk.

    >>> chunk_shape((161, 96, 96, 3), np.dtype(np.uint8))
    (8, 96, 96, 3)
    >>> chunk_shape((161, 480, 640, 3), np.dtype(np.uint8))
    (8, 15, 640, 3)
    >>> chunk_shape((2000, 17), np.dtype(np.float64))
    (1024, 17)
    """
    row, (rows, *sides) = math.prod(shape[1:], start=dtype.itemsize), shape
    wanted = min(max(size // row, _CHUNK_ROWS), rows)
    rows = 1 << (wanted.bit_length() - 1)
    if rows * row > size:
        for axis in range(len(sides)):
            while sides[axis] > 1 and rows * math.prod(sides, start=dtype.itemsize) > strip_size:
                sides[axis] = -(-sides[axis] // 2)
    return (rows, *sides)


def chunking_of(name: str, level: int | None, shape: Sequence[int], dtype: np.dtype[Any]) -> Chunking | None:
    """Return the chunks of an array that is compressed; items wider than a byte are shuffled first.

    Args:
        name: of the codec.
        level: of compression; None for the default of the codec.
        shape: of the array, with time first and no side of length 0.
        dtype: of its elements.

    Returns:
        The chunks; None if only HDF5 has the codec.
    """
    shuffle: tuple[Filter, ...] = ((SHUFFLE, (dtype.itemsize,), ""),) if dtype.itemsize > 1 else ()
    if name == GZIP:
        last: Filter = (DEFLATE, (_GZIP_LEVEL if level is None else level,), "")
    elif name == CODECS[LZ4].name:
        last = (LZ4, (0,), name)
    elif name == CODECS[ZSTD].name:
        last = (ZSTD, (_ZSTD_LEVEL if level is None else level,), name)
        return Chunking(chunk_shape(shape, dtype, _ZSTD_CHUNK_SIZE, _ZSTD_STRIP_SIZE), (*shuffle, last))
    else:
        return None
    return Chunking(chunk_shape(shape, dtype), (*shuffle, last))


def codec_of(name: str) -> ChunkCodec | None:
    """Return the codec of a name in a choice of compression; None if only HDF5 has it."""
    return next((codec for codec in CODECS.values() if codec.name == name), None)


def is_known(filters: Sequence[Filter]) -> bool:
    """Return whether :func:`decoded` supports all of these filters, for which packages may have to be installed."""
    return all(
        number == FLETCHER32
        or (number == SHUFFLE and len(values) == 1)
        or (number in CODECS and CODECS[number].is_available())
        for number, values, _ in filters
    )


def most_decoded(filters: Sequence[Filter], stored: int) -> int:
    """Return the greatest number of bytes that chunks can have, by the number of their stored bytes."""
    codecs = [CODECS.get(number, CODECS[DEFLATE]) for number, *_ in filters if number not in (SHUFFLE, FLETCHER32)]
    return max((codec.most_decoded(stored) for codec in codecs), default=stored)


def encoded(chunk: npt.NDArray[Any], filters: Sequence[Filter]) -> bytes:
    """Return the stored bytes of a chunk."""
    data: Any = chunk
    for number, values, _ in filters:
        if number == SHUFFLE:
            flat = np.ascontiguousarray(data).reshape(-1).view(np.uint8)
            data = np.ascontiguousarray(flat.reshape(-1, values[0]).T)
        else:
            data = CODECS[number].encode(data, values)
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
        if number in CODECS:
            if size > CODECS[number].most_decoded(len(result)):
                raise ValueError(f"{len(result)} bytes cannot become {size}")
            result = CODECS[number].decode(result, size + _MOST_ADDED)
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
