"""Checks of the messages of an Arrow file, before pyarrow decodes them.

A file is a sequence of messages between two magic words: the schema, then the record batches. A message
is a FlatBuffers table (https://flatbuffers.dev/internals), which says how long the body is that
follows. pyarrow trusts the claims that are checked here: the number and the depth of the fields of a
schema, dictionaries and extension types, the number of rows, and the size to which compressed buffers
expand, for which it allocates memory before it decompresses them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Final

from minari._storages.arrow.limits import check_expansion, check_rows


_MAGIC: Final = b"ARROW1"
MESSAGES: Final = 8  # offset of the first message, after the magic word and its padding
_END: Final = 4 + len(_MAGIC)  # the length of the footer, and the magic word again
_CONTINUATION: Final = 0xFFFFFFFF
_SCHEMA, _RECORD_BATCH = 1, 3
_LZ4: Final = 0
_MOST_OF_LZ4, _MOST_OF_ZSTD = 255, 2**15  # bytes that one byte expands to
_MOST_FIELDS: Final = 20_000
_DEEPEST: Final = 48
_LONGEST_KNOWN: Final = 2**16  # bytes of a schema that is cached
_EXTENSION: Final = b"ARROW:extension:"


def check_schema_message(data: Any) -> None:
    """Check the first message of an Arrow file, which is its schema.

    Raises:
        ValueError: the file is truncated or damaged, or has a schema that no dataset has.
    """
    _check_schema(_Messages(data))


def check_messages(data: Any, rows: int | None) -> int:
    """Check the messages of an Arrow file, and return the number of bytes that its compressed buffers expand to.

    Args:
        data: the bytes of the file.
        rows: the number of rows that the table must have; None if that is not known.

    Raises:
        ValueError: as for :func:`check_schema_message`, or the table has another number of rows, or the file
            would expand to far more memory than it has bytes.
    """
    messages = _Messages(data)
    _check_schema(messages)
    found, expanded = _check_batches(messages)
    check_rows(found, rows)
    return expanded


def _check_batches(messages: _Messages) -> tuple[int, int]:
    """Check the record batches; return the number of their rows, and of the bytes that they expand to."""
    found = expanded = 0
    while (message := messages.next()) is not None:
        kind, batch, body = message
        if kind != _RECORD_BATCH:
            raise ValueError(f"it has a message of type {kind}, expected record batches")
        found += batch.number(0, "q")
        expanded += _expanded_size(batch, body)
        check_expansion(expanded, messages.size)
    return found, expanded


def stream_messages(read_at: Callable[[int, int], bytes], size: int) -> Iterator[bytes]:
    """Yield the messages of an Arrow stream of another program, each checked: the schema, then record batches.

    Args:
        read_at: called with an offset and a number of bytes, returns these bytes of the stream.
        size: the number of bytes of the stream.

    Raises:
        ValueError: as for :func:`check_messages`.
    """
    place = 0
    while place < size:  # the mark of the end may be missing
        continuation, length = struct.unpack_from("<Ii", read_at(place, 8).ljust(8, b"\0"))
        if continuation != _CONTINUATION or not 0 <= length <= size - place - 8:
            raise ValueError(f"no message begins at byte {place:,}")
        if length == 0:
            break
        metadata = memoryview(read_at(place + 8, length))
        message = _Table(metadata, _at(metadata, "<I", 0))
        body = message.number(3, "q") if place else _check_schema_metadata(bytes(metadata), extensions=True)
        if not 0 <= body <= size - place - 8 - length:
            raise ValueError(f"a message claims {body:,} bytes, which the file does not have")
        data = read_at(place, 8 + length + body)
        if place:
            if message.number(1, "B") != _RECORD_BATCH:
                raise ValueError(f"it has a message of type {message.number(1, 'B')}, expected record batches")
            check_expansion(_expanded_size(message.table(2), memoryview(data)[8 + length :]), len(data))
        place += len(data)
        yield data
    if not place:
        raise ValueError("it does not begin with a schema")


def check_stream(data: Any) -> None:
    """Check the messages of an Arrow stream of another program, which may have extension types.

    Raises:
        ValueError: as for :func:`check_messages`.
    """
    messages = _Messages(data, is_stream=True)
    metadata = messages.next_metadata()
    if metadata is None:
        raise ValueError("it does not begin with a schema")
    messages.skip_body(_check_schema_metadata(bytes(metadata), extensions=True))
    _check_batches(messages)


class _Messages:
    """The messages of a file, in order."""

    def __init__(self, data: Any, *, is_stream: bool = False) -> None:
        self._view = memoryview(data).cast("B")
        self._is_stream = is_stream
        if is_stream:
            self._place, self.size = 0, len(self._view)
            return
        self._place = MESSAGES
        self.size = len(self._view)
        begin, end = bytes(self._view[: len(_MAGIC)]), bytes(self._view[-len(_MAGIC) :])
        if self.size < MESSAGES + _END or begin != _MAGIC or end != _MAGIC:
            raise ValueError("it does not begin and end as an Arrow file does")

    def next(self) -> tuple[int, _Table, memoryview] | None:
        """Return the type of the next message, its header and its body; None after the last one."""
        metadata = self.next_metadata()
        if metadata is None:
            return None
        message = _Table(metadata, _at(metadata, "<I", 0))
        return message.number(1, "B"), message.table(2), self.skip_body(message.number(3, "q"))

    def next_metadata(self) -> memoryview | None:
        """Return the bytes before the body of the next message, which must be skipped; None after the last one."""
        if self._is_stream and self._place == self.size:  # the mark of the end may be missing
            return None
        continuation, length = _at(self._view, "<I", self._place), _at(self._view, "<i", self._place + 4)
        if continuation != _CONTINUATION or length < 0:
            raise ValueError(f"no message begins at byte {self._place:,}")
        if length == 0:
            return None
        start = self._place + 8
        self._place = start + length
        return self._view[start : self._place]

    def skip_body(self, size: int) -> memoryview:
        """Return the body of the message, after which the next one begins."""
        start = self._place
        if not 0 <= size <= self.size - start:
            raise ValueError(f"a message claims {size:,} bytes, which the file does not have")
        self._place = start + size
        return self._view[start : self._place]


def _check_schema(messages: _Messages) -> None:
    metadata = messages.next_metadata()
    if metadata is None:
        raise ValueError("it does not begin with a schema")
    check = _check_known if len(metadata) <= _LONGEST_KNOWN else _check_schema_metadata
    messages.skip_body(check(bytes(metadata)))


def _check_schema_metadata(metadata: bytes, extensions: bool = False) -> int:
    """Check the message of a schema, and return the length of its body."""
    view = memoryview(metadata)
    message = _Table(view, _at(view, "<I", 0))
    if message.number(1, "B") != _SCHEMA:
        raise ValueError("it does not begin with a schema")
    _check_fields(message.table(2), extensions)
    return message.number(3, "q")


#: The files of a dataset begin with the same bytes; refusals are not remembered.
_check_known: Final = lru_cache(maxsize=64)(_check_schema_metadata)


def _check_fields(schema: _Table, extensions: bool) -> None:
    fields = [(field, 1) for field in schema.tables(1)]
    count = 0
    while fields:
        field, depth = fields.pop()
        count += 1
        if count + len(fields) > _MOST_FIELDS or depth > _DEEPEST:
            raise ValueError(f"its schema has more than {_MOST_FIELDS:,} fields, or is nested too deeply")
        if field.has(4):
            raise ValueError("it has a column with a dictionary, which no dataset has")
        if not extensions and any(key.text(0).startswith(_EXTENSION) for key in field.tables(6)):
            raise ValueError("it has a column of an extension type, which no dataset has")
        fields += [(child, depth + 1) for child in field.tables(5)]


def _expanded_size(batch: _Table, body: memoryview) -> int:
    """Return the size to which the buffers of a record batch claim to expand."""
    if not batch.has(3):
        return 0  # uncompressed buffers are parts of the body
    most = _MOST_OF_LZ4 if batch.table(3).number(0, "b") == _LZ4 else _MOST_OF_ZSTD
    total = 0
    for offset, length in batch.pairs(2):
        if length:
            size = _at(body, "<q", offset)
            if size < -1 or not 8 <= length <= len(body) - offset:
                raise ValueError("a compressed buffer lies outside of the file")
            if size > most * length:
                raise ValueError(f"{length:,} bytes of a buffer claim to expand to {size:,}, which is not possible")
            total += max(size, 0)
    return total


class _Table:
    """A FlatBuffers table: fields by their number, each of which may be missing."""

    __slots__ = ("_data", "_fields", "_place", "_size")

    def __init__(self, data: memoryview, place: int) -> None:
        self._data, self._place = data, place
        self._fields = place - _at(data, "<i", place)
        self._size = _at(data, "<H", self._fields)

    def has(self, number: int) -> bool:
        return self._field(number) is not None

    def number(self, number: int, code: str) -> int:
        place = self._field(number)
        return 0 if place is None else _at(self._data, f"<{code}", place)

    def table(self, number: int) -> _Table:
        place = self._target(number)
        if place is None:
            raise ValueError("a message has no header")
        return _Table(self._data, place)

    def tables(self, number: int) -> list[_Table]:
        start, count = self._vector(number, 4)
        if count > _MOST_FIELDS:
            raise ValueError(f"its schema has more than {_MOST_FIELDS:,} fields")
        places = (start + 4 * i for i in range(count))
        return [_Table(self._data, place + _at(self._data, "<I", place)) for place in places]

    def pairs(self, number: int) -> Iterator[tuple[int, int]]:
        start, count = self._vector(number, 16)
        return struct.iter_unpack("<qq", self._data[start : start + 16 * count])

    def text(self, number: int) -> bytes:
        start, count = self._vector(number, 1)
        return bytes(self._data[start : start + count])

    def _field(self, number: int) -> int | None:
        entry = 4 + 2 * number
        offset = _at(self._data, "<H", self._fields + entry) if entry < self._size else 0
        return self._place + offset if offset else None

    def _target(self, number: int) -> int | None:
        place = self._field(number)
        return None if place is None else place + _at(self._data, "<I", place)

    def _vector(self, number: int, size: int) -> tuple[int, int]:
        """Return the place of the elements of a vector, and their number."""
        place = self._target(number)
        if place is None:
            return 0, 0
        count = _at(self._data, "<I", place)
        if count * size > len(self._data) - place - 4:
            raise ValueError("a message is cut off")
        return place + 4, count


def _at(data: memoryview, code: str, place: int) -> int:
    if not 0 <= place <= len(data) - struct.calcsize(code):
        raise ValueError("a message is cut off")
    value: int = struct.unpack_from(code, data, place)[0]
    return value
