"""Arrays in untrusted HDF5 files: the positions of their bytes, and their values.

Supports what HDF5 libraries write by default since 1.8, and what this library writes. Values in other files
are refused.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from minari._storages.hdf5.format.chunks import (
    Map,
    Piece,
    StoredColumn,
    check_expansion,
    corners,
    fill_from_chunks,
    one_by_one,
)
from minari._storages.hdf5.format.datatypes import TEXT, Kind, decode_datatype
from minari._storages.hdf5.format.filters import Chunking, is_known
from minari._storages.hdf5.format.headers import Messages, decode_space, the_message, until_nul
from minari._storages.hdf5.format.heaps import GlobalHeapReader, read_checked
from minari._storages.hdf5.format.objects import (
    DATASPACE,
    DATATYPE,
    FILL_VALUE,
    FIRST_WITH_A_NAME,
    LAYOUT,
    PIPELINE,
    UNDEFINED,
    VARIABLE_LENGTH,
    Filter,
)
from minari._storages.hdf5.format.source import NotUnderstood, Source, StoredElsewhere


_OLD_FILL_VALUE, _EXTERNAL_FILES = 0x4, 0x7
_COMPACT, _CONTIGUOUS, _CHUNKED, _VIRTUAL = range(4)
_TREE, _SINGLE, _IMPLICIT, FIXED_ARRAY = range(4)  # kinds of chunk indexes; the first is of old files
_NODE: Final = struct.Struct("<4sBBHQQ")  # signature, type, level, children, left and right neighbors
_MOST_LEVELS: Final = 32
_SINGLE_FILTERED: Final = 2  # a flag of arrays with a single chunk


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk in the file.

    Attributes:
        corner: its first indices.
        address: address of its bytes.
        size: number of its bytes.
        skipped: the filters that were not applied to it, one bit each.
    """

    corner: tuple[int, ...]
    address: int
    size: int
    skipped: int = 0


@dataclass(frozen=True, slots=True)
class ArrayObject:
    """An array as described by its header.

    Attributes:
        kind: kind of its elements.
        shape: shape of the array.
        most: maximum shape that it can grow to.
        layout: layout of its bytes.
        address: address of its bytes, or of the table of its chunks; UNDEFINED if there are none.
        data: its bytes, if they are in the header.
        chunking: its chunks, None if it is contiguous.
        index: kind of the chunk index.
        index_data: parameters of the chunk index in the header.
        fill: the bytes of an element that was never written.
        is_ascii: True if it contains texts marked as ASCII, as by other programs for byte strings.
    """

    kind: Kind
    shape: tuple[int, ...]
    most: tuple[int, ...]
    layout: int
    address: int
    data: bytes
    chunking: Chunking | None
    index: int
    index_data: bytes
    fill: bytes
    is_ascii: bool = False

    @property
    def dtype(self) -> np.dtype[Any]:
        """Return the dtype of the elements in the file."""
        return VARIABLE_LENGTH if isinstance(self.kind, str) else self.kind

    @property
    def nbytes(self) -> int:
        """Return the number of bytes of all elements."""
        return math.prod(self.shape, start=self.dtype.itemsize)


def is_array(messages: Messages) -> bool:
    """Return whether an object with these messages is an array."""
    return DATATYPE in messages and DATASPACE in messages and LAYOUT in messages


def decode_array(messages: Messages) -> ArrayObject:
    """Return the array described by a header.

    Raises:
        ValueError: it is damaged.
        NotUnderstood: it is stored in an unusual way.
        StoredElsewhere: its values lie in other files.
    """
    layout, space, datatype = (the_message(messages, kind) for kind in (LAYOUT, DATASPACE, DATATYPE))
    if layout is None or space is None or datatype is None or len(layout) < 2:
        raise ValueError("the header of an array is incomplete")
    version, layout_kind = layout[0], layout[1]
    if _EXTERNAL_FILES in messages or (version >= 3 and layout_kind == _VIRTUAL):
        raise StoredElsewhere("the values of an array lie in other files")
    kind, (shape, most) = decode_datatype(datatype), decode_space(space)
    if kind is None or shape is None or most is None:
        raise NotUnderstood("an array of an unusual type")
    if version not in (3, 4):
        raise NotUnderstood(f"a layout of version {version}")
    is_ascii = kind == TEXT and not datatype[2] & 15
    array = ArrayObject(kind, shape, most, layout_kind, UNDEFINED, b"", None, _TREE, b"", _fill(messages), is_ascii)
    if layout_kind == _COMPACT:
        (size,) = struct.unpack_from("<H", layout, 2)
        return replace(array, data=layout[4 : 4 + size])
    if layout_kind == _CONTIGUOUS:
        return replace(array, address=struct.unpack_from("<Q", layout, 2)[0])
    if layout_kind != _CHUNKED:
        raise ValueError(f"an array has the layout {layout_kind}, which there is not")
    return _with_chunks(array, layout, _filters(the_message(messages, PIPELINE)))


def _with_chunks(array: ArrayObject, layout: bytes, filters: tuple[Filter, ...]) -> ArrayObject:
    flags, index, index_data = 0, _TREE, b""
    if layout[0] == 3:
        rank = layout[2]
        (address,) = struct.unpack_from("<Q", layout, 3)
        sides = struct.unpack_from(f"<{rank}I", layout, 11)
    else:
        flags, rank, width = layout[2:5]
        sides = tuple(int.from_bytes(layout[at : at + width], "little") for at in range(5, 5 + rank * width, width))
        at = 5 + rank * width
        index = layout[at]
        length = {_SINGLE: 12 if flags & _SINGLE_FILTERED else 0, _IMPLICIT: 0, FIXED_ARRAY: 1}.get(index)
        if length is None:
            raise NotUnderstood(f"chunks with an index of kind {index}")
        index_data = layout[at + 1 : at + 1 + length]
        (address,) = struct.unpack_from("<Q", layout, at + 1 + length)
    if rank != len(array.shape) + 1 or sides[-1] != array.dtype.itemsize or not all(sides):
        raise ValueError("the chunks of an array are not like the array")
    if flags & ~_SINGLE_FILTERED:
        raise NotUnderstood("chunks at the edges that are stored in another way")
    chunking = Chunking(tuple(sides[:-1]), filters)
    return replace(array, address=address, chunking=chunking, index=index, index_data=index_data)


def _fill(messages: Messages) -> bytes:
    """Return the bytes of an element that was never written; empty for zeros."""
    body = the_message(messages, FILL_VALUE)
    if body is None:
        old = the_message(messages, _OLD_FILL_VALUE)
        return b"" if old is None else _sized(old, 0)
    version = body[0]
    if version == 1 or (version == 2 and body[3]):
        return _sized(body, 4)
    if version == 3 and body[1] & 32:
        return _sized(body, 2)
    if version > 3:
        raise NotUnderstood(f"a fill value of version {version}")
    return b""


def _sized(body: bytes, at: int) -> bytes:
    if len(body) < at + 4:
        return b""
    size = int.from_bytes(body[at : at + 4], "little", signed=True)
    return body[at + 4 : at + 4 + size] if size > 0 else b""


def _filters(body: bytes | None) -> tuple[Filter, ...]:
    if body is None:
        return ()
    version, count = body[:2]
    if version not in (1, 2):
        raise NotUnderstood(f"filters of version {version}")
    position, found = (8 if version == 1 else 2), []
    for _ in range(count):
        (number,) = struct.unpack_from("<H", body, position)
        position += 2
        length = 0
        if version == 1 or number >= FIRST_WITH_A_NAME:
            (length,) = struct.unpack_from("<H", body, position)
            position += 2
        _, values = struct.unpack_from("<HH", body, position)
        position += 4
        name = body[position : position + length]
        position += length
        text = name.split(b"\0")[0].decode(errors="replace") if number >= FIRST_WITH_A_NAME else ""
        found.append((number, struct.unpack_from(f"<{values}I", body, position), text))
        position += 4 * (values + (values & 1 if version == 1 else 0))
    return tuple(found)


# Chunks


def chunks_of(source: Source, array: ArrayObject) -> list[Chunk]:
    """Return the chunks of an array that are in the file, in the order of their corners.

    Raises:
        ValueError: they are damaged.
        NotUnderstood: the chunk index has an unusual form.
    """
    chunking = array.chunking
    if chunking is None or array.address == UNDEFINED or not all(array.shape):
        return []
    size = chunking.size(array.dtype)
    if array.index == _TREE:
        chunks = list(_tree_chunks(source, array, array.address, None))
    elif array.index == _SINGLE:
        stored, skipped = struct.unpack("<QI", array.index_data) if array.index_data else (size, 0)
        chunks = [Chunk((0,) * len(array.shape), array.address, stored, skipped)]
    elif array.index == _IMPLICIT:
        places = enumerate(_grid(array, size, source))
        chunks = [Chunk(corner, array.address + number * size, size) for number, corner in places]
    else:
        chunks = _fixed_array_chunks(source, array, size)
    inside = [chunk for chunk in chunks if all(at < side for at, side in zip(chunk.corner, array.shape, strict=True))]
    inside.sort(key=lambda chunk: chunk.corner)
    if len({chunk.corner for chunk in inside}) < len(inside):
        raise ValueError("two chunks of an array are at the same place")
    if not chunking.filters and any(chunk.size != size for chunk in inside):
        raise ValueError("a chunk is not of the size of the others")
    return inside


def _tree_chunks(source: Source, array: ArrayObject, address: int, level: int | None) -> Iterator[Chunk]:
    signature, kind, found_level, count, *_ = _NODE.unpack(source.read(address, _NODE.size))
    if (signature, kind) != (b"TREE", 1) or found_level != (found_level if level is None else level):
        raise ValueError(f"there is no list of chunks at byte {address}")
    if found_level > _MOST_LEVELS:
        raise ValueError(f"the list of chunks at byte {address} is too deep")
    entry = struct.Struct(f"<II{len(array.shape)}Q8xQ")
    sides = array.chunking.shape if array.chunking else ()
    for size, skipped, *corner, child in entry.iter_unpack(source.read(address + _NODE.size, count * entry.size)):
        if found_level:
            yield from _tree_chunks(source, array, child, found_level - 1)
        elif any(at % side for at, side in zip(corner, sides, strict=True)):
            raise ValueError("a chunk begins within another")
        else:
            yield Chunk(tuple(corner), child, size, skipped)


def _grid(array: ArrayObject, bytes_for_each: int, source: Source) -> list[tuple[int, ...]]:
    """Return the corners of all chunks in the order of tables, each of which takes some bytes of the file."""
    sides = array.chunking.shape if array.chunking else ()
    most = [max(side, now) for side, now in zip(array.most, array.shape, strict=True)]
    if UNDEFINED in most:
        raise ValueError("an array that can grow without end has a table of a fixed size")
    count = math.prod(-(-side // chunk) for side, chunk in zip(most, sides, strict=True))
    if count * bytes_for_each > source.size:
        raise ValueError(f"the file is too small for the {count} chunks of an array")
    source.count(count * bytes_for_each)
    return list(corners(most, sides))


_ARRAY_HEADER: Final = struct.Struct("<4sBBBBQQ")
_ARRAY_BLOCK: Final = struct.Struct("<4sBBQ")


def _fixed_array_chunks(source: Source, array: ArrayObject, size: int) -> list[Chunk]:
    header = _ARRAY_HEADER.unpack(read_checked(source, array.address, _ARRAY_HEADER.size))
    signature, version, filtered, element, page_bits, count, block_at = header
    width = element - 12 if filtered else 0
    if (signature, version) != (b"FAHD", 0) or filtered > 1 or width not in range(9) or (not filtered and element != 8):
        raise ValueError("the table of chunks of an array is damaged")
    if block_at == UNDEFINED:
        return []
    grid = _grid(array, element, source)
    if count != len(grid):
        raise ValueError(f"the table has {count} chunks, expected {len(grid)}")
    data = _fixed_array_elements(source, array.address, block_at, (filtered, element, page_bits, count))
    chunks = []
    for number, corner in enumerate(grid):
        begin = number * element
        address = int.from_bytes(data[begin : begin + 8], "little")
        if address == UNDEFINED:
            continue
        stored, skipped = size, 0
        if filtered:
            stored = int.from_bytes(data[begin + 8 : begin + 8 + width], "little")
            skipped = int.from_bytes(data[begin + 8 + width : begin + element], "little")
        chunks.append(Chunk(corner, address, stored, skipped))
    return chunks


def _fixed_array_elements(source: Source, header_at: int, block_at: int, form: tuple[int, int, int, int]) -> bytes:
    """Return the elements of a table of chunks; those of pages that were never written are undefined."""
    filtered, element, page_bits, count = form
    start = _ARRAY_BLOCK.pack(b"FADB", 0, filtered, header_at)
    page = 1 << page_bits if page_bits < 64 else count
    if count <= page:
        block = read_checked(source, block_at, len(start) + count * element)
        if block[: len(start)] != start:
            raise ValueError("the table of chunks belongs to another array")
        return block[len(start) :]
    pages = -(-count // page)
    prefix = read_checked(source, block_at, len(start) + (pages + 7) // 8)
    if prefix[: len(start)] != start:
        raise ValueError("the table of chunks belongs to another array")
    position, parts = block_at + len(prefix) + 4, []
    for number in range(pages):
        length = min(page, count - number * page) * element
        written = prefix[len(start) + number // 8] & (0x80 >> number % 8)
        parts.append(read_checked(source, position, length) if written else b"\xff" * length)
        position += length + 4
    return b"".join(parts)


# Values


def stored_column(source: Source, array: ArrayObject) -> StoredColumn | None:
    """Return the stored form of a chunked array; None if it is not chunked, or lacks a chunk.

    Raises:
        ValueError: it is damaged.
        NotUnderstood: the chunk index has an unusual form.
    """
    if array.chunking is None or not all(array.shape) or not isinstance(array.kind, np.dtype):
        return None
    chunks = chunks_of(source, array)
    if len(chunks) != array.chunking.count(array.shape):
        return None
    pieces = [Piece(source.read(chunk.address, chunk.size), chunk.skipped) for chunk in chunks]
    return StoredColumn(array.kind, array.shape, array.chunking, pieces)


def read_array(
    source: Source, array: ArrayObject, *, ascii_as_bytes: bool = False, map_chunks: Map = one_by_one
) -> npt.NDArray[Any]:
    """Return the values of an array: text as ``str``, byte strings as ``bytes``, anything else as stored.

    Args:
        source: the bytes of the file.
        array: the array described by its header.
        ascii_as_bytes: True if texts marked as ASCII are byte strings.
        map_chunks: calls a function for all chunks, possibly in several threads.

    Raises:
        ValueError: it is damaged.
        NotUnderstood: it is stored in an unusual way.
    """
    elements = _elements(source, array, map_chunks)
    if not isinstance(array.kind, str):
        return elements
    values: list[Any] = GlobalHeapReader(source).values(elements.reshape(-1))
    if array.kind == TEXT:
        values = [until_nul(value) for value in values]
        if not (array.is_ascii and ascii_as_bytes):
            values = [value.decode() for value in values]
    if elements.ndim == 1:
        return _objects(values)
    nested = _objects(values).reshape(elements.shape)
    return _objects(nested.tolist())


def _objects(values: list[Any]) -> npt.NDArray[Any]:
    """Return an object array of the values in one dimension."""
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _elements(source: Source, array: ArrayObject, map_chunks: Map) -> npt.NDArray[Any]:
    """Return the concatenated elements as stored in the file."""
    dtype, shape, size = array.dtype, array.shape, array.nbytes
    if array.chunking is not None:
        return _chunked_elements(source, array, array.chunking, map_chunks)
    if size == 0:
        return np.empty(shape, dtype)
    if array.layout == _COMPACT:
        if len(array.data) < size:
            raise ValueError(f"an array has {len(array.data)} bytes, expected {size}")
        data = bytearray(array.data[:size])
    elif array.address == UNDEFINED:
        _check_room(source, size)
        return _filled(array)
    else:
        data = bytearray(source.read(array.address, size))
    elements: npt.NDArray[Any] = np.frombuffer(data, dtype).reshape(shape)
    return elements


def _check_room(source: Source, size: int) -> None:
    if size > source.size:
        raise ValueError(f"an array of {size} bytes that were never written, in a file of {source.size}")
    source.count(size)


def _filled(array: ArrayObject) -> npt.NDArray[Any]:
    """Return an array that contains only the fill value."""
    dtype = array.dtype
    if isinstance(array.kind, str) or len(array.fill) != dtype.itemsize:
        return np.zeros(array.shape, dtype)
    return np.full(array.shape, np.frombuffer(array.fill, dtype)[0], dtype)


def checked_chunks(source: Source, array: ArrayObject, chunking: Chunking) -> list[Chunk]:
    """Return the chunks of an array like :func:`chunks_of`, if the bytes in the file can be the whole array.

    Raises:
        ValueError: they are damaged, or too few for the array.
        NotUnderstood: they went through other filters than those of every HDF5 library.
    """
    chunks = chunks_of(source, array)
    if not is_known(chunking.filters):
        raise NotUnderstood("chunks that went through other filters than those of every HDF5 library")
    missing = array.nbytes - len(chunks) * chunking.size(array.dtype)
    if missing > 0:
        _check_room(source, missing)
    check_expansion(chunking, array.dtype, [chunk.size for chunk in chunks])
    return chunks


def _chunked_elements(source: Source, array: ArrayObject, chunking: Chunking, map_chunks: Map) -> npt.NDArray[Any]:
    chunks = checked_chunks(source, array, chunking)
    missing = array.nbytes - len(chunks) * chunking.size(array.dtype)
    pieces = [Piece(source.read(chunk.address, chunk.size), chunk.skipped) for chunk in chunks]
    values = _filled(array) if missing > 0 else np.empty(array.shape, array.dtype)
    fill_from_chunks(values, chunking, zip((chunk.corner for chunk in chunks), pieces, strict=True), map_chunks)
    return values
