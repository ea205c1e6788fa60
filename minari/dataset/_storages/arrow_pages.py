"""The footer and the pages of a Parquet file, looked at before pyarrow decodes them.

Both are structures in Thrift's compact protocol. The footer says where the pages of a column lie and how
many values they have; each page begins with a header, which says how many of them it has and to how many
bytes it expands. pyarrow makes room for what they say, and ends the program where some of it disagrees,
so they are read and compared here.
"""

from __future__ import annotations

import base64
from typing import Any, Final

from minari.dataset._storages.arrow_limits import check_expansion, check_rows


_LARGEST_FOOTER: Final = 2**22
_MAGIC: Final = b"PAR1"
_BYTES_OF_VALUE: Final = 8  # at most, unless it is text, which the pages have
# What is found wherever the schema as Arrow has it, which a footer holds in base 64, names an extension type.
_EXTENSIONS: Final = tuple(
    base64.b64encode(b"_" * shift + b"ARROW:extension:name")[4 if shift else 0 : -4] for shift in range(3)
)

# The fields that are looked at, by their numbers: of the footer, of a row group, of a column chunk,
_ROWS, _GROUPS = 3, 4
_CHUNKS, _GROUP_ROWS = 1, 3
_CHUNK = 3
_VALUES, _SIZE, _DATA_PAGE, _DICTIONARY_PAGE = 5, 7, 9, 11
# of the size statistics of a chunk: how many values there are of each level,
_STATISTICS, _HISTOGRAMS = 16, (2, 3)
# and of the header of a page.
_PAGE_EXPANDED, _PAGE_SIZE, _PAGE_HEADERS, _PAGE_VALUES = 2, 3, (5, 8), 1

_DEEPEST: Final = 16
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _STRUCT = 1, 2, 3, 7, 8, 12
_INTEGERS: Final = (4, 5, 6)
_BOOLEANS: Final = (_TRUE, _FALSE)
_LONGEST_NUMBER: Final = 10  # bytes
_LISTS: Final = (9, 10)


def check_footer(data: Any, rows: int | None = None) -> dict[int, Any]:
    """Check and return the footer of a Parquet file, before pyarrow opens it.

    Args:
        data: the bytes of the file.
        rows: how many the table must have; None where that is not known.

    Raises:
        ValueError: the file is damaged, has another number of rows, names an extension type, or would take
            far more memory than it has bytes.
    """
    view = memoryview(data).cast("B")
    footer = _footer(view)
    found = expanded = 0
    for group in _items(footer, _GROUPS):
        found += _integer(group, _GROUP_ROWS)
        for item in _items(group, _CHUNKS):
            chunk = item.get(_CHUNK)
            if not isinstance(chunk, dict):
                raise ValueError("a column has no metadata")
            expanded += _BYTES_OF_VALUE * _integer(chunk, _VALUES) + _expanded_size(view, chunk)
            check_expansion(expanded, len(view))
    if found != _integer(footer, _ROWS):
        raise ValueError(f"its groups have {found} rows, expected {_integer(footer, _ROWS)}")
    check_rows(found, rows)
    return footer


def check_levels(footer: dict[int, Any], levels: list[tuple[int, int]]) -> None:
    """Check the columns of a Parquet file against its schema, before pyarrow looks at them.

    Args:
        footer: of the file.
        levels: of each column, the highest level of repetition and of definition.

    Raises:
        ValueError: a column has more or fewer values than rows, or statistics of other levels.
    """
    for group in _items(footer, _GROUPS):
        chunks = [item[_CHUNK] for item in _items(group, _CHUNKS)]
        if len(chunks) != len(levels):
            raise ValueError(f"a group has {len(chunks)} columns, expected {len(levels)}")
        for chunk, highest in zip(chunks, levels, strict=True):
            if highest[0] == 0 and _integer(chunk, _VALUES) != _integer(group, _GROUP_ROWS):
                raise ValueError(f"a column has {chunk[_VALUES]} values in {group[_GROUP_ROWS]} rows")
            statistics = chunk.get(_STATISTICS)
            for number, level in zip(_HISTOGRAMS, highest, strict=True):
                counts = statistics.get(number) if isinstance(statistics, dict) else None
                if counts and len(counts) != level + 1:
                    raise ValueError(f"a column has statistics of {len(counts)} levels, expected {level + 1}")


def _footer(view: memoryview) -> dict[int, Any]:
    if len(view) < 12 or bytes(view[:4]) != _MAGIC or bytes(view[-4:]) != _MAGIC:
        raise ValueError("it does not begin and end as a Parquet file does")
    size = int.from_bytes(view[-8:-4], "little")
    if size > min(len(view) - 12, _LARGEST_FOOTER):
        raise ValueError(f"it claims a footer of {size:,} bytes")
    footer = bytes(view[-8 - size : -8])
    if any(name in footer for name in _EXTENSIONS):
        raise ValueError("it has a column of an extension type, which no dataset has")
    return _Reader(memoryview(footer), 0, size).struct()


def _expanded_size(view: memoryview, chunk: dict[int, Any]) -> int:
    """The number of bytes that the pages of a column chunk claim, checked against the chunk."""
    start, expected = _integer(chunk, _DATA_PAGE), _integer(chunk, _VALUES)
    if _DICTIONARY_PAGE in chunk and 0 < _integer(chunk, _DICTIONARY_PAGE) < start:
        start = _integer(chunk, _DICTIONARY_PAGE)
    end = start + _integer(chunk, _SIZE)
    if end > len(view):
        raise ValueError("the pages of a column lie outside of the file")
    values = expanded = 0
    while values < expected:
        reader = _Reader(view, start, end)
        page = reader.struct()
        start = reader.place + _integer(page, _PAGE_SIZE)
        if start > end:
            raise ValueError("a page lies outside of the file")
        headers = [page[number] for number in _PAGE_HEADERS if number in page]
        values += sum(_integer(header, _PAGE_VALUES) for header in headers)  # a dictionary has none
        expanded += _integer(page, _PAGE_EXPANDED)
    if values != expected:
        raise ValueError(f"a column has {values} values, expected {expected}")
    return expanded


def _integer(struct: Any, number: int) -> int:
    """A field that is there, and a number of things."""
    value = struct.get(number) if isinstance(struct, dict) else None
    if type(value) is not int or not 0 <= value < 2**63:
        raise ValueError("a number in its footer or in a page is missing or negative")
    return value


def _items(struct: dict[int, Any], number: int) -> list[dict[int, Any]]:
    items = struct.get(number)
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise ValueError("a list in its footer is missing")
    return items


class _Reader:
    """Thrift's compact protocol: structs as dicts by the number of the field, without their texts."""

    def __init__(self, view: memoryview, place: int, end: int) -> None:
        self._view, self.place, self._end = view, place, end

    def struct(self, depth: int = 0) -> dict[int, Any]:
        """The struct at the place, which moves behind it."""
        if depth > _DEEPEST:
            raise ValueError("its footer or a page is nested too deeply")
        fields: dict[int, Any] = {}
        number = 0
        view, last = self._view, self._end - 1
        while byte := self._byte():
            number = number + (byte >> 4) if byte >> 4 else self._zigzag()
            kind = byte & 0x0F
            if kind in _INTEGERS and self.place < last and (value := view[self.place]) < 0x80:  # as most are
                self.place += 1
                fields[number] = (value >> 1) ^ -(value & 1)
            else:
                fields[number] = kind == _TRUE if kind in _BOOLEANS else self._value(kind, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if kind in _INTEGERS:
            return self._zigzag()
        if kind == _STRUCT:
            return self.struct(depth + 1)
        if kind in _LISTS:
            byte = self._byte()
            count = self._varint() if byte >> 4 == 15 else byte >> 4
            if count > self._end - self.place:
                raise ValueError("its footer or a page is cut off")
            return [self._value(byte & 0x0F, depth + 1) for _ in range(count)]
        if kind in (*_BOOLEANS, _BYTE, _DOUBLE, _BINARY):
            size = self._varint() if kind == _BINARY else 8 if kind == _DOUBLE else 1
            self.place += size
            return None
        raise ValueError("its footer or a page is damaged")

    def _byte(self) -> int:
        if self.place >= self._end:
            raise ValueError("its footer or a page is cut off")
        self.place += 1
        return self._view[self.place - 1]

    def _varint(self) -> int:
        view, place, value = self._view, self.place, 0
        for shift, at in enumerate(range(place, min(place + _LONGEST_NUMBER, self._end))):
            byte = view[at]
            value |= (byte & 0x7F) << 7 * shift
            if byte < 0x80:
                self.place = at + 1
                return value
        raise ValueError("its footer or a page is damaged or cut off")

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
