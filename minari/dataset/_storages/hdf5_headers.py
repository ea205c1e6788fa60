"""Attributes, and the places of chunks, read from the bytes of an object header.

That is twenty times faster than HDF5 opens the object.

Understood is what this library and h5py write by default; for anything else the answer is None, and
HDF5 has to be asked. The layouts are those of the HDF5 File Format Specification, IV.A.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, TypeAlias

import numpy as np

from minari.dataset._storages.hdf5_datatypes import TEXT, Kind, decode_datatype
from minari.dataset._storages.hdf5_objects import (
    ATTRIBUTE,
    COLLECTION,
    CONTINUATION,
    HEADER,
    LAYOUT,
    MESSAGE,
    OBJECT,
    VARIABLE_LENGTH,
    aligned,
)


ReadAt: TypeAlias = Callable[[int, int], bytes]

_SHARED: Final = 2  # a flag of messages, and of attributes: their parts lie elsewhere
_CHUNKED, _FIXED_ARRAY = 2, 3  # a class of layouts, and a kind of tables of chunks
_LARGEST_BLOCK: Final = 2**24  # bytes; more are an unusual text, or damage


def read_attributes(read_at: ReadAt, address: int) -> list[tuple[str, Any]] | None:
    """The names and values of the attributes of an object, or None where HDF5 has to be asked.

    Args:
        read_at: gives bytes of the file, by offset and number.
        address: of the header of the object.
    """
    try:
        return [_attribute(data, at, read_at) for data, at, _ in _messages(read_at, address, ATTRIBUTE)]
    except (struct.error, ValueError, IndexError, OverflowError):  # not as usual, cut off or damaged
        return None


def read_table_address(read_at: ReadAt, address: int) -> int | None:
    """Where the table of the chunks of an array lies, or None where it is not a fixed array.

    Args:
        read_at: gives bytes of the file, by offset and number.
        address: of the header of the array.
    """
    try:
        ((data, start, size),) = _messages(read_at, address, LAYOUT)
        version, kind, _, rank, width = data[start : start + 5]
        index_at = start + 5 + rank * width
        if (version, kind) != (4, _CHUNKED) or data[index_at] != _FIXED_ARRAY or index_at + 10 > start + size:
            return None
        (table,) = struct.unpack_from("<Q", data, index_at + 2)
    except (struct.error, ValueError, IndexError, OverflowError):
        return None
    return int(table)


def _messages(read_at: ReadAt, address: int, wanted: int) -> list[tuple[bytes, int, int]]:
    """The messages of a kind: for each the bytes it is among, where it begins, and its number of bytes.

    Raises:
        ValueError: the header is not as usual, or damaged.
    """
    version, messages, _, size = HEADER.unpack(read_at(address, HEADER.size))
    if version != 1:
        raise ValueError
    found, blocks = [], [(address + HEADER.size, size)]
    for start, length in blocks:
        data, position = _block(read_at, start, length), 0
        while position + MESSAGE.size <= length:
            if messages == 0:  # in a damaged file, a block may be said to be followed by itself
                raise ValueError
            messages -= 1
            kind, size, flags = MESSAGE.unpack_from(data, position)
            position += MESSAGE.size
            if kind == wanted:
                if flags & _SHARED:
                    raise ValueError
                found.append((data, position, size))
            elif kind == CONTINUATION:
                blocks.append(struct.unpack_from("<QQ", data, position))
            position += size
    if messages:
        raise ValueError
    return found


def _block(read_at: ReadAt, start: int, length: int) -> bytes:
    data = read_at(start, length) if length <= _LARGEST_BLOCK else b""
    if len(data) < length:  # the file ends before
        raise ValueError
    return data


def _attribute(data: bytes, position: int, read_at: ReadAt) -> tuple[str, Any]:
    version, flags, name_size, type_size, space_size = struct.unpack_from("<BBHHH", data, position)
    if version == 1:  # every part is filled up to a multiple of 8
        sizes = [aligned(name_size), aligned(type_size), aligned(space_size)]
        start = position + 8
    elif version == 3 and not flags:
        sizes, start = [name_size, type_size, space_size], position + 9
    else:
        raise ValueError
    value_at = start + sum(sizes)
    name, kind, shape = _kind(data[start:value_at], *sizes)
    if isinstance(kind, str):
        return name, _text(np.frombuffer(data, VARIABLE_LENGTH, 1, value_at)[0], read_at)
    if not shape:
        return name, np.frombuffer(data, kind, 1, value_at)[0]
    count = int(np.prod(shape))
    return name, np.frombuffer(data, kind, count, value_at).reshape(shape).copy() if count else np.empty(shape, kind)


@lru_cache(maxsize=1024)
def _kind(description: bytes, name_size: int, type_size: int, space_size: int) -> tuple[str, Kind, tuple[int, ...]]:
    """The name, dtype and shape that stand before the value of an attribute."""
    name = description[:name_size].split(b"\0")[0].decode()
    datatype, space = description[name_size : name_size + type_size], description[name_size + type_size :]
    version, rank, kind = space[0], space[1], space[3]
    if version == 1:
        dims = space[8:]
    elif version == 2 and kind in (0, 1):  # scalar, simple
        dims = space[4:]
    else:
        raise ValueError
    shape = struct.unpack_from(f"<{rank}Q", dims)
    dtype = decode_datatype(datatype)
    if dtype is None or (dtype == TEXT and shape):
        raise ValueError
    return name, dtype, shape


def _text(element: Any, read_at: ReadAt) -> str:
    length, collection, wanted = (int(element[name]) for name in ("length", "collection", "object"))
    if length == 0:
        return ""
    signature, _, size = COLLECTION.unpack(read_at(collection, COLLECTION.size))
    if signature != b"GCOL":
        raise ValueError
    data, position = _block(read_at, collection, size), COLLECTION.size
    while True:
        number, size = OBJECT.unpack_from(data, position)
        position += OBJECT.size
        if number == 0 or (number == wanted and size < length):
            raise ValueError
        if number == wanted:
            return data[position : position + length].decode()
        position += aligned(size)
