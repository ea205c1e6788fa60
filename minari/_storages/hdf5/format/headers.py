"""Object headers, and the attributes in them (HDF5 File Format Specification, IV.A)."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final, TypeAlias

import numpy as np

from minari._storages.hdf5.format.datatypes import BYTES, Kind, decode_datatype
from minari._storages.hdf5.format.heaps import (
    FractalHeap,
    GlobalHeapReader,
    read_checked,
    tree_records,
    without_checksum,
)
from minari._storages.hdf5.format.objects import (
    ATTRIBUTE,
    ATTRIBUTE_INFO,
    CHECKSUM_SIZE,
    COMPACT_MESSAGE,
    CONTINUATION,
    HEADER,
    MESSAGE,
    MOST_DIMENSIONS,
    UNDEFINED,
    VARIABLE_LENGTH,
    aligned,
)
from minari._storages.hdf5.format.source import NotUnderstood, Source


#: The messages of an object by their kinds, each with its flags.
Messages: TypeAlias = dict[int, list[tuple[int, bytes]]]
#: The shape of an array, and its maximum shape if that is larger; both None if there is none.
Space: TypeAlias = tuple[tuple[int, ...] | None, tuple[int, ...] | None]

_ATTRIBUTE: Final = struct.Struct("<BBHHH")  # version, flags, bytes of the name, the datatype and the dataspace
_SHARED: Final = 2  # a flag of messages and attributes whose parts are elsewhere
_START: Final = 320  # bytes that are read to identify an object
_MOST_MESSAGES: Final = 2**17  # a header of version 2 does not contain their number
_ATTRIBUTE_RECORD: Final = (8, 17)  # the kind of the records of the attribute index, and their size


def read_messages(source: Source, address: int, *, verified: bool = True) -> Messages:
    """Return the messages of an object.

    Args:
        source: the file.
        address: address of its header.
        verified: False to leave out the checksum of a header, which takes ten times as long as the rest.

    Raises:
        ValueError: there is no object, or it is damaged.
    """
    start = source.read(address, min(_START, max(0, source.size - source.base - address)))
    if start[:4] == b"OHDR":
        return _messages_2(source, address, start, verified)
    return _messages_1(source, address, start)


def _messages_1(source: Source, address: int, start: bytes) -> Messages:
    version, count, _, size = HEADER.unpack_from(start)
    if version != 1:
        raise ValueError(f"there is no object at byte {address}")
    found: Messages = {}
    begin, unpack, overhead = address + HEADER.size, MESSAGE.unpack_from, MESSAGE.size
    blocks = [(begin, size)]
    for begin, length in blocks:
        inside = begin == address + HEADER.size and HEADER.size + length <= len(start)
        data, position = start[HEADER.size : HEADER.size + length] if inside else source.read(begin, length), 0
        while position + overhead <= length:
            if count == 0:  # in a damaged file, a block may be followed by itself
                raise ValueError(f"the object at byte {address} has more messages than it says")
            count -= 1
            kind, size, flags = unpack(data, position)
            position += overhead
            end = position + size
            if end > length:
                raise ValueError(f"a message of the object at byte {address} is cut off")
            if kind == CONTINUATION:
                blocks.append(struct.unpack_from("<QQ", data, position))
            elif kind in found:
                found[kind].append((flags, data[position:end]))
            else:
                found[kind] = [(flags, data[position:end])]
            position = end
    if count:
        raise ValueError(f"the object at byte {address} has fewer messages than it says")
    return found


def _messages_2(source: Source, address: int, start: bytes, verified: bool) -> Messages:
    if start[4] != 2:
        raise NotUnderstood(f"an object header of version {start[4]}")
    flags = start[5]
    position = 6 + (16 if flags & 32 else 0) + (4 if flags & 16 else 0)
    width = 1 << (flags & 3)
    size = int.from_bytes(start[position : position + width], "little")
    blocks = [(address, position + width, position + width + size)]
    found: Messages = {}
    left, unpack = _MOST_MESSAGES, COMPACT_MESSAGE.unpack_from
    overhead = COMPACT_MESSAGE.size + (2 if flags & 4 else 0)
    for begin, position, end in blocks:
        data = _block(source, begin, end, start if begin == address else b"", verified)
        if begin != address and data[:4] != b"OCHK":
            raise ValueError(f"there is no part of an object at byte {begin}")
        while position + overhead <= end:
            kind, size, message_flags = unpack(data, position)
            position, left = position + overhead, left - 1
            if size > end - position or left < 0:
                raise ValueError(f"a message of the object at byte {address} is cut off")
            if kind == CONTINUATION:
                following, length = struct.unpack_from("<QQ", data, position)
                if length < 8:
                    raise ValueError(f"a part of the object at byte {address} is damaged")
                blocks.append((following, 4, length - 4))
            elif kind in found:
                found[kind].append((message_flags, data[position : position + size]))
            else:
                found[kind] = [(message_flags, data[position : position + size])]
            position += size
    return found


def _block(source: Source, address: int, size: int, known: bytes, verified: bool) -> bytes:
    """Return the bytes of a part of a header.

    Args:
        source: the file.
        address: address of the part.
        size: its size without the checksum behind it.
        known: bytes that have been read from there.
        verified: True to compare the checksum.
    """
    if size + CHECKSUM_SIZE > len(known):
        return read_checked(source, address, size) if verified else source.read(address, size)
    return without_checksum(known[: size + CHECKSUM_SIZE], address) if verified else known


def the_message(messages: Messages, kind: int) -> bytes | None:
    """Return the body of a message that an object has at most once.

    Raises:
        NotUnderstood: it is elsewhere.
    """
    if kind not in messages:
        return None
    flags, body = messages[kind][0]
    if flags & _SHARED:
        raise NotUnderstood("a message that objects share")
    return body


def decode_space(body: bytes) -> Space:
    """Return the shape described by a dataspace message.

    Raises:
        ValueError: it is damaged.
    """
    version, rank, flags, kind = body[:4]
    if version == 1:
        start, is_null = 8, False
    elif version == 2 and kind in (0, 1, 2):  # scalar, simple, null
        start, is_null = 4, kind == 2
    else:
        raise NotUnderstood(f"a dataspace of version {version}")
    if rank > MOST_DIMENSIONS:
        raise ValueError(f"an array has {rank} dimensions, expected at most {MOST_DIMENSIONS}")
    if is_null:
        return None, None
    shape = struct.unpack_from(f"<{rank}Q", body, start)
    most = struct.unpack_from(f"<{rank}Q", body, start + 8 * rank) if flags & 1 else shape
    return shape, most


def read_attributes(source: Source, messages: Messages) -> list[tuple[str, Any]]:
    """Return the names and values of the attributes of an object; None for a missing value.

    Args:
        source: the file.
        messages: messages of the object.

    Raises:
        ValueError: they are damaged.
        NotUnderstood: one of them has an unusual type.
    """
    heap = GlobalHeapReader(source)
    return [_attribute(body, heap) for body in _bodies(source, messages)]


def attribute_names(source: Source, messages: Messages) -> dict[str, bytes]:
    """Return the undecoded attributes of an object by their names."""
    return {_described(_description(body))[0]: body for body in _bodies(source, messages)}


def decode_attribute(source: Source, body: bytes) -> Any:
    """Return the value of an attribute found by :func:`attribute_names`."""
    return _attribute(body, GlobalHeapReader(source))[1]


def _bodies(source: Source, messages: Messages) -> Iterator[bytes]:
    for flags, body in messages.get(ATTRIBUTE, ()):
        if flags & _SHARED:
            raise NotUnderstood("an attribute that objects share")
        yield body
    info = the_message(messages, ATTRIBUTE_INFO)
    if info is not None:
        heap_at, index_at = struct.unpack_from("<QQ", info, 4 if info[1] & 1 else 2)
        if heap_at != UNDEFINED:
            heap = FractalHeap(source, heap_at)
            for record in tree_records(source, index_at, *_ATTRIBUTE_RECORD):
                if record[8] & _SHARED:
                    raise NotUnderstood("an attribute that objects share")
                yield heap.get(record[:8])


def _description(body: bytes) -> bytes:
    """Return the parts before the value of an attribute."""
    version, flags, name_size, type_size, space_size = _ATTRIBUTE.unpack_from(body)
    if version == 1:  # every part is padded to a multiple of 8
        return body[: 8 + aligned(name_size) + aligned(type_size) + aligned(space_size)]
    if version not in (2, 3) or flags:
        raise NotUnderstood(f"an attribute of version {version}")
    return body[: version + 6 + name_size + type_size + space_size]


@lru_cache(maxsize=1024)
def _described(description: bytes) -> tuple[str, Kind | None, tuple[int, ...] | None]:
    """Return the name, type and shape of an attribute; the type is None if it is not supported."""
    version, _, name_size, type_size, space_size = _ATTRIBUTE.unpack_from(description)
    start = 9 if version == 3 else 8
    type_at = start + (aligned(name_size) if version == 1 else name_size)
    space_at = type_at + (aligned(type_size) if version == 1 else type_size)
    name = description[start : start + name_size].split(b"\0")[0].decode()
    kind = decode_datatype(description[type_at : type_at + type_size])
    shape, _ = decode_space(description[space_at : space_at + space_size])
    return name, None if kind == BYTES else kind, shape


def _attribute(body: bytes, heap: GlobalHeapReader) -> tuple[str, Any]:
    description = _description(body)
    name, kind, shape = _described(description)
    if shape is None:
        return name, None
    if kind is None:
        raise NotUnderstood(f"the attribute {name!r:.99} of an unusual type")
    if isinstance(kind, np.dtype) and not shape:
        return name, np.frombuffer(body, kind, 1, len(description))[0]
    dtype, count = VARIABLE_LENGTH if isinstance(kind, str) else kind, math.prod(shape)
    if count * dtype.itemsize > len(body) - len(description):
        raise ValueError(f"the attribute {name!r:.99} is cut off")
    values = np.frombuffer(body, dtype, count, len(description)) if count else np.empty(0, dtype)
    if not isinstance(kind, str):
        return name, values.reshape(shape).copy()
    texts = [until_nul(value).decode(errors="surrogateescape") for value in heap.values(values)]
    if not shape:
        return name, texts[0]
    array = np.empty(count, object)
    array[:] = texts
    return name, array.reshape(shape)


def until_nul(value: bytes) -> bytes:
    """Return a NUL-terminated text; libraries may include the terminator in its length."""
    return value if 0 not in value else value[: value.index(0)]
