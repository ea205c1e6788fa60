"""``tf.train.Example``: named lists of integers, floats of 32 bits, or byte strings, in the wire format of protobuf.

An Example has one field with a map from names to features, and a feature one of three lists. The messages are those of
https://github.com/tensorflow/tensorflow/tree/master/tensorflow/core/example (``feature.proto``), the wire format is
that of https://protobuf.dev/programming-guides/encoding/. Errors are ``ValueError``, whose text is a reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt


__all__ = ["Feature", "FeatureList", "parse_example", "written_example"]

#: What a feature is written from: an array of integers or of floats, or byte strings.
FeatureList: TypeAlias = npt.NDArray[Any] | list[bytes]

_VARINT, _LONG, _BYTES, _SHORT = 0, 1, 2, 5  # wire types
_LONGEST_VARINT: Final = 10  # bytes
_AT_ONCE: Final = 2**18  # bytes or values
_SHIFTS: Final = np.arange(0, 7 * _LONGEST_VARINT, 7, dtype=np.uint64)
#: The fields of a feature.
_LISTS: Final = {1: "byte strings", 2: "floats", 3: "integers"}


@dataclass(frozen=True, slots=True)
class Feature:
    """A list of values that is not decoded yet.

    Attributes:
        kind: ``"byte strings"``, ``"floats"`` or ``"integers"``; empty for a list of no kind, which has no values.
        data: the list in the wire format.
    """

    kind: str
    data: memoryview

    def strings(self) -> list[memoryview]:
        """Return byte strings."""
        return [part for _, part in self._parts("byte strings", _BYTES)]

    def floats(self) -> npt.NDArray[np.float32]:
        """Return floats, as an array that cannot be written to."""
        parts = []
        for wire, part in self._parts("floats", _BYTES, _SHORT):
            if wire == _BYTES and len(part) % 4:
                raise ValueError(f"{len(part)} bytes of floats")
            parts.append(np.frombuffer(part, "<f4"))
        return parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, "<f4"), *parts])

    def integers(self, dtype: npt.DTypeLike = np.int64) -> npt.NDArray[Any]:
        """Return integers.

        Args:
            dtype: the dtype of the result; unsigned numbers of 64 bits were written as signed ones.

        Raises:
            ValueError: a number is outside the range of the dtype.
        """
        parts = [_fitting(values, np.dtype(dtype)) for values in self._integers()]
        return parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, dtype), *parts])

    def _integers(self) -> Iterator[npt.NDArray[np.int64]]:
        for wire, part in self._parts("integers", _BYTES, _VARINT):
            yield from _varints(part if wire == _BYTES else memoryview(bytes(part)))

    def _parts(self, kind: str, *wires: int) -> Iterator[tuple[int, memoryview]]:
        if self.kind not in ("", kind):
            raise ValueError(f"{self.kind} where {kind} were expected")
        for number, wire, part in _fields(self.data):
            if number == 1:
                if wire not in wires:
                    raise ValueError(f"a list of {kind} of the wire type {wire}")
                yield wire, part


def parse_example(data: bytes) -> dict[str, Feature]:
    """Return the features of an Example by their names; nothing of their values is decoded yet.

    Raises:
        ValueError: it is not an Example.
    """
    found = {}
    for features in _messages(memoryview(data), 1):
        for entry in _messages(features, 1):
            name, feature = "", Feature("", memoryview(b""))
            for number, wire, part in _fields(entry):
                if wire == _BYTES and number == 1:
                    name = str(part, "utf-8")
                elif wire == _BYTES and number == 2:
                    feature = _feature(part)
            found[name] = feature
    return found


def written_example(features: Mapping[str, FeatureList]) -> bytes:
    """Return an Example in the wire format, with the features in their order."""
    entries: list[bytes] = []
    for name, values in features.items():
        entries += _field(1, [*_field(1, [name.encode()]), *_field(2, _written_list(values))])
    return b"".join(_field(1, entries))


def _written_list(values: FeatureList) -> list[bytes]:
    """Return a feature, in parts."""
    if isinstance(values, list):
        parts = [part for value in values for part in _field(1, [value])]
        return _field(1, parts)
    if values.dtype.kind == "f":
        return _field(2, _field(1, [values.astype("<f4").tobytes()]))
    flat = values.reshape(-1)
    pieces = [_written_varints(flat[start : start + _AT_ONCE]) for start in range(0, len(flat), _AT_ONCE)]
    return _field(3, _field(1, pieces))


def _field(number: int, parts: list[bytes]) -> list[bytes]:
    """Return a field that consists of bytes, in parts that are joined later."""
    return [bytes([number << 3 | _BYTES]), _varint(sum(map(len, parts))), *parts]


def _varint(value: int) -> bytes:
    written = bytearray()
    while value >= 0x80:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*written, value])


def _written_varints(values: npt.NDArray[Any]) -> bytes:
    unsigned = values.astype(np.int64, copy=False).view(np.uint64)
    longest = max(1, -(int(unsigned.max(initial=0)).bit_length() // -7))
    if longest == 1:
        return unsigned.astype(np.uint8).tobytes()
    groups = unsigned[:, None] >> _SHIFTS[:longest]
    counts = np.maximum(1, (groups != 0).sum(axis=1))
    places = np.arange(longest)
    written = (groups & np.uint64(0x7F)).astype(np.uint8)
    written |= np.where(places < counts[:, None] - 1, 0x80, 0).astype(np.uint8)
    return bytes(written[places < counts[:, None]])


def _feature(data: memoryview) -> Feature:
    found = Feature("", memoryview(b""))
    for number, wire, part in _fields(data):
        if number in _LISTS and wire == _BYTES:
            found = Feature(_LISTS[number], part)
    return found


def _messages(data: memoryview, wanted: int) -> Iterator[memoryview]:
    for number, wire, part in _fields(data):
        if number == wanted:
            if wire != _BYTES:
                raise ValueError("it is not a tf.train.Example")
            yield part


def _fields(data: memoryview) -> Iterator[tuple[int, int, memoryview]]:
    """Yield number, wire type and bytes of the fields of a message."""
    place, size = 0, len(data)
    while place < size:
        key, place = _read_varint(data, place)
        wire = key & 7
        if wire == _BYTES:
            length, place = _read_varint(data, place)
        elif wire == _VARINT:
            length = _read_varint(data, place)[1] - place
        elif wire in (_LONG, _SHORT):
            length = 8 if wire == _LONG else 4
        else:
            raise ValueError(f"a field of the wire type {wire}")
        if length > size - place:
            raise ValueError(f"a field of {length} bytes, of which {size - place} are there")
        yield key >> 3, wire, data[place : place + length]
        place += length


def _read_varint(data: memoryview, place: int) -> tuple[int, int]:
    """Return a number, and the place after it."""
    value = 0
    for position in range(_LONGEST_VARINT):
        if place + position >= len(data):
            break
        byte = data[place + position]
        value |= (byte & 0x7F) << 7 * position
        if byte < 0x80:
            return value, place + position + 1
    raise ValueError("a number that does not end")


def _varints(data: memoryview) -> Iterator[npt.NDArray[np.int64]]:
    """Yield the numbers in bytes, some at a time."""
    raw = np.frombuffer(data, np.uint8)
    start = 0
    while start < len(raw):
        piece = raw[start : start + _AT_ONCE]
        ends = np.flatnonzero(piece < 0x80)
        if not len(ends):
            raise ValueError("a number that does not end")
        piece = piece[: ends[-1] + 1]
        start += len(piece)
        if len(ends) == len(piece):
            yield piece.astype(np.int64)
            continue
        starts = np.concatenate([[0], ends[:-1] + 1])
        further = ends - starts  # bytes after the first one
        if further.max() >= _LONGEST_VARINT:
            raise ValueError("a number that does not end")
        bits = piece & np.uint8(0x7F)
        values, position = bits[starts].astype(np.uint64), 0
        while len(rows := np.flatnonzero(further > position)):
            position += 1
            values[rows] |= bits[starts[rows] + position].astype(np.uint64) << _SHIFTS[position]
        yield values.view(np.int64)


def _fitting(values: npt.NDArray[np.int64], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    if dtype == np.uint64:
        return values.view(np.uint64)
    low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    if values.size and (int(values.min()) < low or int(values.max()) > high):
        raise ValueError(f"numbers from {values.min()} to {values.max()}, which are not of the dtype {dtype}")
    return values.astype(dtype, copy=False)
