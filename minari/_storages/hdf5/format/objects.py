"""The bytes of HDF5 objects: headers and their messages, and text.

HDF5 libraries create one object per call; this module creates thousands at once. It contains the part of the
file format that a writer needs, in the smallest form that every HDF5 library since 1.10 reads. Names and numbers
are those of the HDF5 File Format Specification, version 3.0.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt


#: The number of a filter, its parameters when a chunk was written, and its name, which is present for filters
#: that are not part of every HDF5 library.
Filter: TypeAlias = tuple[int, tuple[int, ...], str]

#: The address of a missing object.
UNDEFINED: Final = 2**64 - 1

#: Limits of an object: messages, dimensions, and bytes in the name of a member.
MOST_MESSAGES: Final = 2**16 - 1
MOST_DIMENSIONS: Final = 32
LONGEST_NAME: Final = 65_000

ALIGNMENT: Final = 8
_LARGEST_MESSAGE: Final = 2**16 - 8

# IV.A.2, the types of messages
DATASPACE, LINK_INFO, DATATYPE, FILL_VALUE, LINK, _GROUP_INFO, PIPELINE = 0x1, 0x2, 0x3, 0x5, 0x6, 0xA, 0xB
LAYOUT = 0x8
ATTRIBUTE, CONTINUATION, SYMBOL_TABLE, ATTRIBUTE_INFO = 0xC, 0x10, 0x11, 0x15

#: The table of chunks is divided into pages if it has more than two to the power of this elements: never.
PAGE_BITS: Final = 31
#: The number of the first filter with a name.
FIRST_WITH_A_NAME: Final = 256
_OPTIONAL: Final = 1  # the flag of a filter that may be omitted when a chunk is written

#: When the bytes of an array are allocated, and that no value is given to fill them with.
_EARLY: Final = 1
_WITH_EACH_CHUNK: Final = 3
_NEVER_FILLED: Final = 1 << 2 | 1 << 4

#: The flag of a header that says how many attributes it may have, and after what number others move into it.
_WITH_LIMITS: Final = 16
_MOST_IN_HEADER: Final = 2**16 - 1

_CONSTANT: Final = 1  # the flag of a message that does not change while its object exists
_UTF8: Final = 1

#: Type, number of bytes, and flags.
MESSAGE: Final = struct.Struct("<HHB3x")
#: Version, number of messages, references, and bytes of messages.
HEADER: Final = struct.Struct("<BxHII4x")
#: Offset of the number of references in such a header, four bytes.
REFERENCES_AT: Final = 4
#: Type, number of bytes, and flags of a message in a header of version 2.
COMPACT_MESSAGE: Final = struct.Struct("<BHB")
#: Bytes of the checksum at the end of such a header.
CHECKSUM_SIZE: Final = 4


@dataclass(frozen=True, slots=True)
class Field:
    """A part of an object whose value differs between objects of the same kind.

    Attributes:
        name: name of the field.
        offset: offset in bytes.
        format: its type.
    """

    name: str
    offset: int
    format: Any


@dataclass(frozen=True, slots=True)
class Message:
    """A message of an object header; offsets of its fields are relative to the beginning of the body."""

    kind: int
    body: bytes
    fields: tuple[Field, ...] = ()
    flags: int = 0


def aligned(length: int) -> int:
    """Return the next position at or after ``length`` where an object may begin."""
    return -length % ALIGNMENT + length


def padded(data: bytes) -> bytes:
    """Return bytes padded with zeros to where the next object may begin."""
    return data + bytes(-len(data) % ALIGNMENT)


def object_header(messages: Sequence[Message]) -> tuple[bytes, list[Field]]:
    """Return an object header (IV.A.1.a, version 1) and the fields of its messages.

    Raises:
        ValueError: a message is larger than the limit of a header, 64 KiB.
    """
    body, fields = bytearray(), []
    for message in messages:
        data = padded(message.body)
        if len(data) > _LARGEST_MESSAGE:
            raise ValueError(f"it takes {len(data)} bytes where HDF5 allows {_LARGEST_MESSAGE}")
        body += MESSAGE.pack(message.kind, len(data), message.flags)
        start = HEADER.size + len(body)
        fields += [Field(field.name, start + field.offset, field.format) for field in message.fields]
        body += data
    return HEADER.pack(1, len(messages), 1, len(body)) + bytes(body), fields


def compact_header(messages: Sequence[Message]) -> tuple[bytes, list[Field]]:
    """Return an object header (IV.A.1.b, version 2) without its checksum, and the fields of its messages.

    It is smaller than one of version 1, and does not count references: there is one. Attributes that are added to it
    stay in the header, however many there are.

    Raises:
        ValueError: a message is larger than the limit of a header, 64 KiB.
    """
    body, found = bytearray(), []
    for message in messages:
        if len(message.body) > _LARGEST_MESSAGE:
            raise ValueError(f"it takes {len(message.body)} bytes where HDF5 allows {_LARGEST_MESSAGE}")
        body += COMPACT_MESSAGE.pack(message.kind, len(message.body), message.flags)
        found += [(len(body), field) for field in message.fields]
        body += message.body
    width = next(power for power in range(4) if len(body) < 256 ** (1 << power))  # of its size, in powers of two
    limits = b""
    if any(message.kind == ATTRIBUTE_INFO for message in messages):
        width, limits = width | _WITH_LIMITS, struct.pack("<HH", _MOST_IN_HEADER, 0)
    start = struct.pack("<4sBB", b"OHDR", 2, width) + limits + len(body).to_bytes(1 << (width & 3), "little")
    return start + bytes(body), [Field(field.name, len(start) + at + field.offset, field.format) for at, field in found]


def group_messages() -> list[Message]:
    """Return the messages of a group with its links in the header."""
    return [
        Message(LINK_INFO, struct.pack("<BBQQ", 0, 0, UNDEFINED, UNDEFINED)),
        Message(_GROUP_INFO, bytes(2), flags=_CONSTANT),
    ]


def link(name: str, field: str, target: int) -> Message:
    """Return a link in the header of a group to the object at the address ``target``, which is a field."""
    encoded = name.encode()
    wide = len(encoded) > 255
    charset = b"" if encoded.isascii() else bytes([_UTF8])
    start = struct.pack("<BB", 1, (0x10 if charset else 0) | wide) + charset
    start += struct.pack("<H" if wide else "<B", len(encoded)) + encoded
    return Message(LINK, start + struct.pack("<Q", target), (Field(field, len(start), "<u8"),))


def attribute_messages() -> list[Message]:
    """Return the messages of an object with attributes in its header of version 2, beside the attributes."""
    return [Message(ATTRIBUTE_INFO, struct.pack("<BBQQ", 0, 0, UNDEFINED, UNDEFINED))]


def dataset_messages(name: str, datatype: bytes, row_shape: tuple[int, ...]) -> list[Message]:
    """Return the messages of a contiguous array with rows along time.

    The number of rows, the address and the number of bytes are fields: ``rows of NAME``,
    ``address of NAME`` and ``size of NAME``.
    """
    return [  # what differs comes last, since checksums of equal beginnings are computed once
        Message(DATATYPE, datatype, flags=_CONSTANT),
        Message(FILL_VALUE, bytes([3, _EARLY | _NEVER_FILLED]), flags=_CONSTANT),
        Message(DATASPACE, _dataspace((0, *row_shape)), (Field(f"rows of {name}", 4, "<u8"),)),
        Message(
            LAYOUT,
            struct.pack("<BBQQ", 3, 1, UNDEFINED, 0),  # version, contiguous
            (Field(f"address of {name}", 2, "<u8"), Field(f"size of {name}", 10, "<u8")),
        ),
    ]


def chunked_dataset_messages(
    name: str, datatype: bytes, row_shape: tuple[int, ...], chunk: tuple[int, ...], filters: Sequence[Filter]
) -> list[Message]:
    """Return the messages of an array in filtered chunks with rows along time.

    The number of rows and the address of the table of chunks are fields: ``rows of NAME`` and
    ``address of NAME``.
    """
    element_size = int.from_bytes(datatype[4:8], "little")
    sides = (*chunk, element_size)
    width = (max(sides).bit_length() + 7) // 8  # some libraries accept no other
    layout = struct.pack("<BBBBB", 4, 2, 0, len(sides), width)  # version, chunked, no flags
    layout += b"".join(side.to_bytes(width, "little") for side in sides)
    layout += struct.pack("<BB", 3, PAGE_BITS)  # a fixed array
    pipeline = struct.pack("<BB", 2, len(filters))
    for number, values, filter_name in filters:
        # (HDF5 crashes when it copies an array with a named filter whose name is missing here)
        named, text = number >= FIRST_WITH_A_NAME, filter_name.encode() + b"\0"
        pipeline += struct.pack("<HH" if named else "<H", number, *([len(text)] if named else []))
        pipeline += struct.pack("<HH", _OPTIONAL, len(values)) + (text if named else b"")
        pipeline += struct.pack(f"<{len(values)}I", *values)
    return [
        Message(DATATYPE, datatype, flags=_CONSTANT),
        Message(FILL_VALUE, bytes([3, _WITH_EACH_CHUNK | _NEVER_FILLED]), flags=_CONSTANT),
        Message(PIPELINE, pipeline, flags=_CONSTANT),
        Message(DATASPACE, _dataspace((0, *row_shape)), (Field(f"rows of {name}", 4, "<u8"),)),
        Message(LAYOUT, layout + struct.pack("<Q", UNDEFINED), (Field(f"address of {name}", len(layout), "<u8"),)),
    ]


def attribute(name: str, datatype: bytes, shape: tuple[int, ...], field: Field) -> Message:
    """Return an attribute whose value is a field; the offset of ``field`` does not matter.

    Raises:
        ValueError: the name, the value or the number of dimensions exceeds the limits of HDF5.
    """
    encoded, space = name.encode() + b"\0", _dataspace(shape)
    version, charset = (2, b"") if encoded.isascii() else (3, bytes([_UTF8]))
    if len(encoded) > LONGEST_NAME:
        raise ValueError(f"its name takes {len(encoded)} bytes where at most {LONGEST_NAME} are possible")
    if len(shape) > MOST_DIMENSIONS:
        raise ValueError(f"it has {len(shape)} dimensions where HDF5 allows {MOST_DIMENSIONS}")
    sizes = len(encoded), len(datatype), len(space)
    start = struct.pack("<BBHHH", version, 0, *sizes) + charset + encoded + datatype + space
    dtype = np.dtype(field.format)
    if len(start) + dtype.itemsize > _LARGEST_MESSAGE:
        raise ValueError(f"it takes {len(start) + dtype.itemsize} bytes where HDF5 allows {_LARGEST_MESSAGE}")
    return Message(ATTRIBUTE, start + bytes(dtype.itemsize), (Field(field.name, len(start), dtype),))


def _dataspace(shape: tuple[int, ...]) -> bytes:
    is_array = bool(shape)
    return struct.pack(f"<BBBB{len(shape)}Q", 2, len(shape), 0, is_array, *shape)


# Text, and byte strings of different lengths

#: An element of variable length in an array: its length, and the object and collection of the global heap that
#: contain it.
VARIABLE_LENGTH: Final = np.dtype([("length", "<u4"), ("collection", "<u8"), ("object", "<u4")])

#: Signature, version and number of bytes of a collection.
COLLECTION: Final = struct.Struct("<4sB3xQ")
#: Number of an object in a collection, and its number of bytes.
OBJECT: Final = struct.Struct("<H6xQ")
_SMALLEST_COLLECTION: Final = 4096
_ENOUGH: Final = 2**16  # target size of a collection in bytes, unless one object is larger


class GlobalHeap:
    """Byte strings to be stored in collections of the global heap (III.E)."""

    def __init__(self) -> None:
        self._waiting: list[tuple[npt.NDArray[Any], Sequence[bytes]]] = []
        self.size = 0  # approximate size of the pending byte strings

    def add(self, values: Sequence[bytes]) -> npt.NDArray[Any]:
        """Add byte strings; the returned elements are filled in by :meth:`lay_out`."""
        elements = np.zeros(len(values), VARIABLE_LENGTH)
        self._waiting.append((elements, values))
        self.size += sum(map(len, values)) + len(values) * (OBJECT.size + ALIGNMENT)
        return elements

    def lay_out(self, address: int) -> bytes:
        """Return the collections of all pending byte strings, for an address in the file."""
        collections = bytearray()
        objects, number = bytearray(), 0
        for elements, values in self._waiting:
            for element, value in zip(elements, values, strict=True):
                if len(objects) > _ENOUGH:
                    collections += _collection(objects)
                    objects, number = bytearray(), 0
                number += 1
                element["length"], element["object"] = len(value), number
                element["collection"] = address + len(collections)
                objects += OBJECT.pack(number, len(value)) + padded(value)
        if number:
            collections += _collection(objects)
        self._waiting, self.size = [], 0
        return bytes(collections)


def _collection(objects: bytearray) -> bytes:
    size = max(COLLECTION.size + len(objects), _SMALLEST_COLLECTION)
    free = size - COLLECTION.size - len(objects)
    rest = OBJECT.pack(0, free) if free >= OBJECT.size else b""  # object 0 is the free space
    return (COLLECTION.pack(b"GCOL", 1, size) + objects + rest).ljust(size, b"\0")
