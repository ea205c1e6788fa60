"""Conversion of NumPy dtypes to HDF5 datatype messages and back (HDF5 File Format Specification, IV.A.2.d)."""

from __future__ import annotations

import struct
from typing import Any, Final, TypeAlias

import numpy as np

from minari._storages.hdf5.format.objects import VARIABLE_LENGTH, aligned, padded


#: Placeholders for a dtype if each element is a text, or a byte string of its own length.
TEXT: Final = "text"
BYTES: Final = "bytes"
BYTES_AS_TEXT: Final = "bytes as text"  # ASCII text, as other programs store byte strings without zeros
Kind: TypeAlias = "np.dtype[Any] | str"

_START = struct.Struct("<B3sI")  # version and class, bits that depend on the class, size of an element
_INTEGER, _FLOAT, _STRING, _OPAQUE, _COMPOUND, _ENUMERATION, _VARIABLE_LENGTH, _ARRAY = 0, 1, 3, 5, 6, 8, 9, 10
_COMPLEX: Final = (b"r", b"i")  # names of the parts of complex numbers in h5py
_LONGEST_STRING: Final = 2**16  # bytes of a text of fixed length

# For each floating-point type, by its bytes and the bits of its fraction: position of the sign, normalization
# of the fraction, precision, exponent (position, bits), fraction and bias.
FLOATS: Final[dict[tuple[int, int], tuple[int, int, bytes]]] = {
    (2, 10): (15, 0x20, struct.pack("<HHBBBBI", 0, 16, 10, 5, 0, 10, 15)),
    (4, 23): (31, 0x20, struct.pack("<HHBBBBI", 0, 32, 23, 8, 0, 23, 127)),
    (8, 52): (63, 0x20, struct.pack("<HHBBBBI", 0, 64, 52, 11, 0, 52, 1023)),
    (16, 63): (79, 0, struct.pack("<HHBBBBI", 0, 80, 64, 15, 0, 64, 16383)),  # of x86, with a leading one
    (16, 112): (127, 0x20, struct.pack("<HHBBBBI", 0, 128, 112, 15, 0, 112, 16383)),
}
_BOOLEAN: Final = b"FALSE\0TRUE\0\0\1"  # names and values, without padding in version 3


class NoDatatype(ValueError):
    """There is no HDF5 datatype for a dtype."""


def encode_datatype(kind: Kind) -> bytes:
    """Return the datatype of elements of this kind.

    Raises:
        NoDatatype: HDF5 has none.
    """
    if isinstance(kind, str):
        element = _integer(np.dtype(np.uint8))
        bits = {TEXT: b"\1\1\0", BYTES_AS_TEXT: b"\1\0\0", BYTES: bytes(3)}[kind]  # a text, in UTF-8 or ASCII
        return _START.pack(_class(_VARIABLE_LENGTH), bits, VARIABLE_LENGTH.itemsize) + element
    if kind.kind in "iu":
        return _integer(kind)
    if kind.kind == "f":
        return _float(kind)
    if kind.kind == "b":  # an enumeration of two names, as in h5py
        values = _integer(np.dtype(np.int8)) + _BOOLEAN
        return _START.pack(_class(_ENUMERATION, 3), (2).to_bytes(3, "little"), 1) + values
    if kind.kind == "c":  # a structure of r and i, as in h5py
        part = np.dtype(f"{kind.byteorder}f{kind.itemsize // 2}")
        no_dimensions = bytes(28)
        members = [
            padded(name + b"\0") + struct.pack("<I", offset) + no_dimensions + _float(part)
            for name, offset in ((b"r", 0), (b"i", part.itemsize))
        ]
        return _START.pack(_class(_COMPOUND), (2).to_bytes(3, "little"), kind.itemsize) + b"".join(members)
    if kind.kind == "S":
        return _START.pack(_class(_STRING), b"\1\0\0", kind.itemsize)  # padded with zeros, in ASCII
    if kind.kind == "V":
        return _START.pack(_class(_OPAQUE), bytes(3), kind.itemsize) if kind.fields is None else _compound(kind)
    raise NoDatatype(f"HDF5 has no type for elements of dtype {kind}")


def _class(number: int, version: int = 1) -> int:
    return version << 4 | number


def _compound(dtype: np.dtype[Any]) -> bytes:
    """Return a structure in version 3, the only one with arrays in it."""
    width = _width(dtype.itemsize)
    members = b""
    for name, (part, offset, *_) in (dtype.fields or {}).items():
        if "\0" in name:
            raise NoDatatype(f"HDF5 has no structure with a part that is called {name!r}")
        base, shape = part.subdtype or (part, ())
        element = encode_datatype(base)
        if shape:
            sides = struct.pack(f"<B{len(shape)}I", len(shape), *shape)
            element = _START.pack(_class(_ARRAY, 3), bytes(3), part.itemsize) + sides + element
        members += name.encode() + b"\0" + offset.to_bytes(width, "little") + element
    count = len(dtype.fields or {}).to_bytes(3, "little")
    return _START.pack(_class(_COMPOUND, 3), count, dtype.itemsize) + members


def _width(size: int) -> int:
    """Return the size of an offset in a structure of this size."""
    return (size.bit_length() + 7) // 8


def _is_big_endian(dtype: np.dtype[Any]) -> bool:
    return bool(dtype.newbyteorder("<") != dtype)


def _integer(dtype: np.dtype[Any]) -> bytes:
    bits = _is_big_endian(dtype) | 8 * (dtype.kind == "i")
    return _START.pack(_class(_INTEGER), bytes([bits, 0, 0]), dtype.itemsize) + struct.pack(
        "<HH", 0, 8 * dtype.itemsize
    )


def _float(dtype: np.dtype[Any]) -> bytes:
    try:
        sign, bits, properties = FLOATS[dtype.itemsize, np.finfo(dtype).nmant]
    except KeyError:
        raise NoDatatype(f"HDF5 has no type for elements of dtype {dtype} as this machine has it") from None
    return _START.pack(_class(_FLOAT), bytes([bits | _is_big_endian(dtype), sign, 0]), dtype.itemsize) + properties


def decode_datatype(message: bytes) -> Kind | None:
    """Return the kind of the elements of a datatype, None if it is not a common one."""
    if len(message) < _START.size:
        return None
    kind, (bits, more_bits, _), size = message[0] & 15, message[1:4], int.from_bytes(message[4:8], "little")
    if kind in (_INTEGER, _FLOAT):
        return _decode_number(message)
    if kind == _STRING and 0 < size <= _LONGEST_STRING and bits & 15 <= 2 and bits >> 4 <= 1:
        return np.dtype(f"S{size}")  # with any padding, in ASCII or UTF-8
    if kind == _VARIABLE_LENGTH:
        if bits & 15 == 1 and more_bits & 15 in (0, 1):  # text, in ASCII or UTF-8, with any padding
            return TEXT
        return BYTES if bits & 15 == 0 and _decode_number(message[_START.size :]) == np.uint8 else None
    if kind == _ENUMERATION:
        return _decode_enumeration(message, bits + (more_bits << 8))
    if kind == _COMPOUND and bits + (more_bits << 8) == len(_COMPLEX):
        return _decode_complex(message, size)
    return None


def _decode_number(message: bytes) -> np.dtype[Any] | None:
    """Return the dtype of integers and floats with the usual description."""
    if len(message) < _START.size:
        return None
    kind, bits, size = message[0] & 15, message[1], int.from_bytes(message[4:8], "little")
    order = ">" if bits & 1 else "<"
    if kind == _INTEGER and size in (1, 2, 4, 8):
        dtype = np.dtype(f"{order}{'i' if bits & 8 else 'u'}{size}")
    elif kind == _FLOAT and size in (2, 4, 8):
        dtype = np.dtype(f"{order}f{size}")
    elif kind == _FLOAT and size == np.dtype(np.longdouble).itemsize:
        dtype = np.dtype(f"{order}g")
    else:
        return None
    expected = encode_datatype(dtype)  # the version of a message is the same for all of these
    return dtype if message[1 : len(expected)] == expected[1:] else None


def _decode_enumeration(message: bytes, count: int) -> Kind | None:
    base = _decode_number(message[_START.size :])
    if base is None or base.kind not in "iu" or base.itemsize != int.from_bytes(message[4:8], "little"):
        return None
    is_packed, start = message[0] >> 4 >= 3, _START.size + len(encode_datatype(base))
    names, position = [], start
    for _ in range(count):
        end = message.find(0, position)
        if end < 0:
            return None
        names.append(message[position:end])
        position = end + 1 if is_packed else position + aligned(end + 1 - position)
    if position + count * base.itemsize > len(message) or len(set(names)) < count or not all(names):
        return None
    if names != [b"FALSE", b"TRUE"] or np.frombuffer(message, base, count, position).tolist() != [0, 1]:
        return base
    return np.dtype(np.bool_) if base.itemsize == 1 else None


def _decode_complex(message: bytes, size: int) -> Kind | None:
    version, position = message[0] >> 4, _START.size
    parts = []
    for number, name in enumerate(_COMPLEX):
        if message[position : position + 2] != name + b"\0":
            return None
        position += 2 if version >= 3 else 8
        width = _width(size) if version >= 3 else 4
        if int.from_bytes(message[position : position + width], "little") != number * size // 2:
            return None
        position += width + (28 if version == 1 else 0)
        part = _decode_number(message[position:])
        if part is None or part.kind != "f" or part.itemsize * 2 != size:
            return None
        parts.append(part)
        position += len(encode_datatype(part))
    return np.dtype(f"{parts[0].byteorder}c{size}") if parts[0] == parts[1] else None
