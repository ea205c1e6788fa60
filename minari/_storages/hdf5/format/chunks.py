"""Arrays in compressed chunks: splitting, encoding, reassembling, and the table of their positions.

The table is a fixed array of HDF5 (HDF5 File Format Specification, version 3.0, appendix C), contiguous: its
header, immediately followed by the block with one element per chunk.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any, Final, Protocol, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from minari._storages.hdf5.format.checksum import checksum
from minari._storages.hdf5.format.filters import Chunking, decoded, encoded, most_decoded
from minari._storages.hdf5.format.objects import PAGE_BITS
from minari._storages.hdf5.format.source import ReadAt


# Signature, version, filtered chunks, bytes of an element, bits of a page, elements, and address of the block.
_HEADER: Final = struct.Struct("<4sBBBBQQ")
# Signature, version, filtered chunks, and address of the header.
_BLOCK: Final = struct.Struct("<4sBBQ")
_CHECKSUM: Final = struct.Struct("<I")
_ADDRESS, _MASK = 8, 4  # bytes in an element; those in between hold the size of the chunk

ENOUGH_FOR_A_THREAD = 2**18  # bytes

_Index: TypeAlias = "tuple[slice | npt.NDArray[np.int64], ...]"
_A = TypeVar("_A")
_B = TypeVar("_B")


class Map(Protocol):
    """A function that calls another one for many items, possibly in several threads."""

    def __call__(self, function: Callable[[_A], _B], items: Iterable[_A], at_a_time: int) -> list[_B]:
        """Return the results in the order of the items."""


def one_by_one(function: Callable[[_A], _B], items: Iterable[_A], at_a_time: int) -> list[_B]:
    """Call a function for each item in turn."""
    return list(map(function, items))


@dataclass(frozen=True, slots=True)
class Piece:
    """An encoded chunk.

    Attributes:
        data: its stored bytes.
        skipped: the filters that were not applied to it, one bit each.
    """

    data: bytes
    skipped: int = 0


@dataclass(frozen=True, slots=True)
class StoredColumn:
    """A column in its stored form.

    Attributes:
        dtype: dtype of its elements.
        shape: shape with time first.
        chunking: its chunks.
        pieces: the chunks, in the order of their indices.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    chunking: Chunking
    pieces: Sequence[Piece]


def compressed(column: npt.NDArray[Any], chunking: Chunking, map_chunks: Map = one_by_one) -> StoredColumn:
    """Return a column in chunks that have passed through filters which :func:`filters.is_known`.

    Args:
        column: the column.
        chunking: the shape of its chunks, and their filters.
        map_chunks: calls a function for all chunks, possibly in several threads.
    """
    shape, filters = chunking.shape, chunking.filters

    def encode(corner: tuple[int, ...]) -> Piece:
        chunk = column[_around(corner, shape)]
        if chunk.shape != shape:  # it extends beyond the edge
            chunk, part = np.zeros(shape, column.dtype), chunk
            chunk[tuple(map(slice, part.shape))] = part
        return Piece(encoded(np.ascontiguousarray(chunk), filters))

    at_a_time = _chunks_at_a_time(chunking.size(column.dtype))
    pieces = map_chunks(encode, corners(column.shape, shape), at_a_time)
    return StoredColumn(column.dtype, column.shape, chunking, pieces)


def decompressed(stored: StoredColumn, map_chunks: Map = one_by_one) -> npt.NDArray[Any]:
    """Return the decompressed column in new memory.

    Args:
        stored: the column as stored.
        map_chunks: calls a function for all chunks, possibly in several threads.

    Raises:
        ValueError: a chunk is damaged.
    """
    dtype, shape, chunking = stored.dtype, stored.shape, stored.chunking
    size = math.prod(shape, start=dtype.itemsize)
    check_expansion(chunking, dtype, [len(piece.data) for piece in stored.pieces], size)
    array = np.empty(shape, dtype)
    fill_from_chunks(array, chunking, zip(corners(shape, chunking.shape), stored.pieces, strict=True), map_chunks)
    return array


def check_expansion(chunking: Chunking, dtype: np.dtype[Any], sizes: Sequence[int], least: int = 0) -> None:
    """Raise if chunks have too few bytes for an array, so that no memory is allocated for it.

    Args:
        chunking: the chunks.
        dtype: dtype of their elements.
        sizes: the stored size of each.
        least: the number of bytes of the array.

    Raises:
        ValueError: they have.
    """
    size, stored = max(least, len(sizes) * chunking.size(dtype)), sum(sizes)
    if size > most_decoded(chunking.filters, stored):
        raise ValueError(f"its chunks have {stored} bytes, too few for an array of {size}")


def fill_from_chunks(
    array: npt.NDArray[Any],
    chunking: Chunking,
    placed: Iterable[tuple[tuple[int, ...], Piece]],
    map_chunks: Map = one_by_one,
) -> None:
    """Fill an array from chunks.

    Args:
        array: the array to fill.
        chunking: its chunks.
        placed: chunks, each with its first indices.
        map_chunks: calls a function for all chunks, possibly in several threads.

    Raises:
        ValueError: a chunk is damaged.
    """

    def decode(placed: tuple[tuple[int, ...], Piece]) -> None:
        corner, piece = placed
        where = _around(corner, chunking.shape)
        _decode(piece, chunking, array.dtype, array, where, tuple(map(slice, array[where].shape)))

    map_chunks(decode, placed, _chunks_at_a_time(chunking.size(array.dtype)))


def _chunks_at_a_time(size: int) -> int:
    return max(1, ENOUGH_FOR_A_THREAD // max(size, 1))


def corners(shape: Sequence[int], chunk: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Return the first indices of each chunk of an array."""
    return product(*(range(0, side, step) for side, step in zip(shape, chunk, strict=True)))


def _around(corner: Sequence[int], chunk: Sequence[int]) -> tuple[slice, ...]:
    return tuple(slice(start, start + side) for start, side in zip(corner, chunk, strict=True))


# The table


def _size_width(chunk_size: int) -> int:
    """Return the number of bytes for the size of an encoded chunk: one more than its decoded size requires."""
    return min(8, 1 + (chunk_size.bit_length() + 7) // 8)


def table_size(chunks: int, chunk_size: int) -> int:
    """Return the number of bytes of a table.

    Args:
        chunks: number of chunks.
        chunk_size: size of a decoded chunk in bytes.
    """
    element = _ADDRESS + _size_width(chunk_size) + _MASK
    return _HEADER.size + _BLOCK.size + chunks * element + 2 * _CHECKSUM.size


def table_of(address: int, places: Sequence[int], pieces: Sequence[Piece], chunk_size: int) -> bytes:
    """Return the table of chunks.

    Args:
        address: address of the table.
        places: position of each chunk.
        pieces: the chunks.
        chunk_size: size of a decoded chunk in bytes.
    """
    width = _size_width(chunk_size)
    elements = np.empty((len(pieces), _ADDRESS + width + _MASK), np.uint8)
    for begin, count, numbers in (
        (0, _ADDRESS, places),
        (_ADDRESS, width, [len(piece.data) for piece in pieces]),
        (_ADDRESS + width, _MASK, [piece.skipped for piece in pieces]),
    ):
        elements[:, begin : begin + count] = np.array(numbers, "<u8").view(np.uint8).reshape(-1, 8)[:, :count]
    block_at = address + _HEADER.size + _CHECKSUM.size
    header = _HEADER.pack(b"FAHD", 0, 1, elements.shape[1], PAGE_BITS, len(pieces), block_at)
    return _checked(header) + _checked(_BLOCK.pack(b"FADB", 0, 1, address) + elements.tobytes())


def _checked(data: bytes) -> bytes:
    return data + _CHECKSUM.pack(checksum(data))


@dataclass(frozen=True, slots=True)
class ChunkTable:
    """The positions of the chunks of a column.

    Attributes:
        dtype: dtype of the elements of the column.
        chunking: its chunks.
        places: position of each chunk, in the order of their indices.
        sizes: stored size of each.
        skipped: the filters that were not applied to each, one bit each.
    """

    dtype: np.dtype[Any]
    chunking: Chunking
    places: Sequence[int]
    sizes: Sequence[int]
    skipped: Sequence[int]

    @classmethod
    def read(
        cls, read_at: ReadAt, address: int, shape: tuple[int, ...], dtype: np.dtype[Any], chunking: Chunking
    ) -> ChunkTable:
        """Return the table at an address.

        Args:
            read_at: returns bytes of the file by offset and size, fewer at its end.
            address: address of the table.
            shape: shape of the column.
            dtype: dtype of its elements.
            chunking: its chunks.

        Raises:
            ValueError: the table is damaged or has another layout, or the file ends before it does.
        """
        width = _size_width(chunking.size(dtype))
        count, element = chunking.count(shape), _ADDRESS + width + _MASK
        block_at = _block_address(read_at, address, count, element)
        block = _read_checked(read_at, block_at, _BLOCK.size + count * element)
        if _BLOCK.unpack_from(block) != (b"FADB", 0, 1, address):
            raise ValueError("the table of its chunks belongs to another array")
        elements = np.frombuffer(block, np.uint8, offset=_BLOCK.size).reshape(count, element)
        bounds = (0, _ADDRESS, _ADDRESS + width, element)
        return cls(dtype, chunking, *(_integers(elements[:, begin:end]) for begin, end in pairwise(bounds)))

    def piece(self, read_at: ReadAt, number: int) -> Piece:
        """Return a chunk in its stored form.

        Raises:
            ValueError: the file ends before it does.
        """
        return Piece(_read(read_at, self.places[number], self.sizes[number]), self.skipped[number])


def read_column(
    read_at: ReadAt,
    address: int,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    chunking: Chunking,
) -> StoredColumn:
    """Return a column in its stored form; see :meth:`ChunkTable.read`.

    Raises:
        ValueError: the table is damaged or has another layout, or the file ends before a chunk.
    """
    table = ChunkTable.read(read_at, address, shape, dtype, chunking)
    return StoredColumn(dtype, shape, chunking, [table.piece(read_at, number) for number in range(len(table.places))])


def decode_chunk(
    read_at: ReadAt, table: ChunkTable, number: int, array: npt.NDArray[Any], where: _Index, inside: _Index
) -> None:
    """Write a part of a chunk to an array.

    Args:
        read_at: returns bytes of the file; may be called in several threads.
        table: the chunks.
        number: of the chunk.
        array: the array.
        where: an index of the array.
        inside: an index of the part in the chunk in its whole shape, which may extend beyond the column.

    Raises:
        ValueError: the chunk is damaged, or the file ends before it does.
    """
    _decode(table.piece(read_at, number), table.chunking, table.dtype, array, where, inside)


def decompressed_rows(
    read_at: ReadAt, table: ChunkTable, row_shape: tuple[int, ...], rows: range, map_chunks: Map = one_by_one
) -> npt.NDArray[Any]:
    """Return consecutive rows of a column, of which only the chunks that have them are read and decoded.

    Args:
        read_at: returns bytes of the file; called in several threads.
        table: the chunks of the column, which has these rows.
        row_shape: shape of a row.
        rows: numbers of the rows.
        map_chunks: calls a function for all chunks, possibly in several threads.

    Raises:
        ValueError: a chunk is damaged, or the file ends before it does.
    """
    height, *sides = table.chunking.shape
    check_expansion(table.chunking, table.dtype, table.sizes)
    array = np.empty((len(rows), *row_shape), table.dtype)
    strips = list(corners(row_shape, sides))
    blocks = range(rows.start // height, -(-rows.stop // height))

    def decode(place: tuple[int, int]) -> None:
        block, strip = place
        first, last = max(rows.start, block * height), min(rows.stop, (block + 1) * height)
        where = (slice(first - rows.start, last - rows.start), *_around(strips[strip], sides))
        inside = (slice(first - block * height, last - block * height), *map(slice, array[where].shape[1:]))
        decode_chunk(read_at, table, block * len(strips) + strip, array, where, inside)

    places = product(blocks, range(len(strips)))
    map_chunks(decode, places, _chunks_at_a_time(table.chunking.size(table.dtype)))
    return array


def _decode(
    piece: Piece, chunking: Chunking, dtype: np.dtype[Any], array: npt.NDArray[Any], where: _Index, inside: _Index
) -> None:
    data = decoded(piece.data, chunking.size(dtype), chunking.filters, piece.skipped)
    array[where] = data.view(dtype).reshape(chunking.shape)[inside]


def has_table(read_at: ReadAt, address: int, shape: tuple[int, ...], dtype: np.dtype[Any], chunking: Chunking) -> bool:
    """Return whether :func:`read_column` supports a table."""
    element = _ADDRESS + _size_width(chunking.size(dtype)) + _MASK
    try:
        _block_address(read_at, address, chunking.count(shape), element)
    except ValueError:
        return False
    return True


def _block_address(read_at: ReadAt, address: int, count: int, element: int) -> int:
    """Return the address of the elements of a table, which must have ``count`` of that size, contiguous."""
    *kind, page_bits, found, block_at = _HEADER.unpack(_read_checked(read_at, address, _HEADER.size))
    if kind != [b"FAHD", 0, 1, element] or found != count or count > 1 << page_bits:
        raise ValueError("the table of its chunks is not that of such an array")
    return int(block_at)


def _integers(data: npt.NDArray[np.uint8]) -> list[int]:
    wide = np.zeros((len(data), 8), np.uint8)
    wide[:, : data.shape[1]] = data
    numbers: list[int] = wide.reshape(-1).view("<u8").tolist()
    return numbers


def _read(read_at: ReadAt, address: int, size: int) -> bytes:
    data = read_at(address, size)
    if len(data) < size:
        raise ValueError(f"the file ends before byte {address + size}")
    return data


def _read_checked(read_at: ReadAt, address: int, size: int) -> bytes:
    data = _read(read_at, address, size + _CHECKSUM.size)
    body = data[:size]
    if _CHECKSUM.pack(checksum(body)) != data[size:]:
        raise ValueError("the table of its chunks is damaged")
    return body
