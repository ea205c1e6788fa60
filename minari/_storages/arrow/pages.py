"""Checks of the footer and the pages of a Parquet file, before pyarrow decodes them.

Both are structures in Thrift's compact protocol. The footer gives the places of the pages of a column and
the number of their values; each page begins with a header, which gives the number of its values and the
size to which it expands. pyarrow allocates memory by these claims, and aborts the process if some of them
disagree, so they are read and compared here.
"""

from __future__ import annotations

import base64
from itertools import zip_longest
from typing import Any, Final

from minari._storages.arrow.limits import check_expansion, check_rows


_LARGEST_FOOTER: Final = 2**22
_LARGEST_FOREIGN_FOOTER: Final = 2**26
_MAGIC: Final = b"PAR1"
_BYTES_OF_VALUE: Final = 8  # at most, unless it is text, which the pages have
# Found wherever Arrow's schema, which a footer holds in base 64, names an extension type.
_EXTENSIONS: Final = tuple(
    base64.b64encode(b"_" * shift + b"ARROW:extension:name")[4 if shift else 0 : -4] for shift in range(3)
)

# The fields that are checked, by their numbers: of the footer, of a row group, of a column chunk,
_SCHEMA, _ROWS, _GROUPS = 2, 3, 4
# of an element of the schema, of which those without children are columns,
_TYPE, _TYPE_LENGTH, _CHILDREN = 1, 2, 5
_FIXED_SIZE = 7
_CHUNKS, _GROUP_ROWS = 1, 3
_CHUNK = 3
_VALUES, _SIZE, _DATA_PAGE, _DICTIONARY_PAGE = 5, 7, 9, 11
# of the size statistics of a chunk: the number of values of each level,
_STATISTICS, _HISTOGRAMS = 16, (2, 3)
# and of the header of a page.
_PAGE_EXPANDED, _PAGE_SIZE, _PAGE_HEADERS, _PAGE_VALUES = 2, 3, (5, 8), 1

_DEEPEST: Final = 16
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _STRUCT = 1, 2, 3, 7, 8, 12
_SIZES: Final = {_TRUE: 1, _FALSE: 1, _BYTE: 1, _DOUBLE: 8}  # in a list
_INTEGERS: Final = (4, 5, 6)
_BOOLEANS: Final = (_TRUE, _FALSE)
_LISTS: Final = (9, 10)


def check_footer(data: Any, rows: int | None = None, *, is_foreign: bool = False) -> tuple[dict[int, Any], int]:
    """Check and return the footer of a Parquet file, and the bytes that it expands to, before pyarrow opens it.

    Args:
        data: the bytes of the file.
        rows: the number that the table must have; None if that is not known.
        is_foreign: True for a file of another program, which may have extension types and a large footer.

    Raises:
        ValueError: the file is damaged, has another number of rows, names an extension type, or would expand
            to far more memory than it has bytes.
    """
    view = memoryview(data).cast("B")
    footer = _footer(view, is_foreign)
    found = expanded = 0
    sizes = _sizes_of_values(footer)
    for group in _items(footer, _GROUPS):
        found += _integer(group, _GROUP_ROWS)
        for size, item in zip_longest(sizes, _items(group, _CHUNKS), fillvalue=None):
            if size is None or item is None:
                raise ValueError("a group has other columns than the schema")
            chunk = item.get(_CHUNK)
            if not isinstance(chunk, dict):
                raise ValueError("a column has no metadata")
            expanded += size * _integer(chunk, _VALUES) + _expanded_size(view, chunk)
            check_expansion(expanded, len(view))
    if found != _integer(footer, _ROWS):
        raise ValueError(f"its groups have {found} rows, expected {_integer(footer, _ROWS)}")
    check_rows(found, rows)
    return footer, expanded


def _sizes_of_values(footer: dict[int, Any]) -> list[int]:
    """Return the number of bytes that a value of each column may take, since a dictionary may have it only once."""
    leaves = [element for element in _items(footer, _SCHEMA) if not element.get(_CHILDREN)]
    return [
        max(_BYTES_OF_VALUE, _integer(leaf, _TYPE_LENGTH) if leaf.get(_TYPE) == _FIXED_SIZE else 0) for leaf in leaves
    ]


def check_levels(footer: dict[int, Any], levels: list[tuple[int, int]]) -> None:
    """Check the columns of a Parquet file against its schema, before pyarrow reads them.

    Args:
        footer: the footer of the file.
        levels: the highest level of repetition and of definition of each column.

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


def _footer(view: memoryview, is_foreign: bool) -> dict[int, Any]:
    if len(view) < 12 or bytes(view[:4]) != _MAGIC or bytes(view[-4:]) != _MAGIC:
        raise ValueError("it does not begin and end as a Parquet file does")
    size = int.from_bytes(view[-8:-4], "little")
    if size > min(len(view) - 12, _LARGEST_FOREIGN_FOOTER if is_foreign else _LARGEST_FOOTER):
        raise ValueError(f"it claims a footer of {size:,} bytes")
    footer = bytes(view[-8 - size : -8])
    if not is_foreign and any(name in footer for name in _EXTENSIONS):
        raise ValueError("it has a column of an extension type, which no dataset has")
    return _read_struct(footer)[0]


def _expanded_size(view: memoryview, chunk: dict[int, Any]) -> int:
    """Return the size that the pages of a column chunk claim, checked against the chunk."""
    start, expected = _integer(chunk, _DATA_PAGE), _integer(chunk, _VALUES)
    if _DICTIONARY_PAGE in chunk and 0 < _integer(chunk, _DICTIONARY_PAGE) < start:
        start = _integer(chunk, _DICTIONARY_PAGE)
    end = start + _integer(chunk, _SIZE)
    if end > len(view):
        raise ValueError("the pages of a column lie outside of the file")
    values = expanded = 0
    while values < expected:
        page, length = _read_struct(view[start:end])
        start += length + _integer(page, _PAGE_SIZE)
        if start > end:
            raise ValueError("a page lies outside of the file")
        headers = [page[number] for number in _PAGE_HEADERS if number in page]
        values += sum(_integer(header, _PAGE_VALUES) for header in headers)  # a dictionary has none
        expanded += _integer(page, _PAGE_EXPANDED)
    if values != expected:
        raise ValueError(f"a column has {values} values, expected {expected}")
    return expanded


def _integer(struct: Any, number: int) -> int:
    """Return a field that must be a number of things."""
    value = struct.get(number) if isinstance(struct, dict) else None
    if type(value) is not int or not 0 <= value < 2**63:
        raise ValueError("a number in its footer or in a page is missing or negative")
    return value


def _items(struct: dict[int, Any], number: int) -> list[dict[int, Any]]:
    items = struct.get(number)
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise ValueError("a list in its footer is missing")
    return items


def _read_struct(data: bytes | memoryview) -> tuple[dict[int, Any], int]:
    """Return the struct at the beginning of bytes in Thrift's compact protocol, and the place of its end.

    The struct is a dict by the number of the field, without its texts.
    """
    try:
        return _struct(data, 0, 0)
    except IndexError:
        raise ValueError("its footer or a page is cut off") from None


def _struct(data: bytes | memoryview, place: int, depth: int) -> tuple[dict[int, Any], int]:
    """Return the struct at a place, which is never negative, and the place after it."""
    if depth > _DEEPEST:
        raise ValueError("its footer or a page is nested too deeply")
    fields: dict[int, Any] = {}
    number = 0
    while byte := data[place]:
        place += 1
        kind = byte & 0x0F
        if byte >> 4:
            number += byte >> 4
        else:
            number, place = _zigzag(data, place)
        if kind in _INTEGERS:
            fields[number], place = _zigzag(data, place)
        elif kind in _BOOLEANS:
            fields[number] = kind == _TRUE
        else:
            fields[number], place = _value(data, place, kind, depth)
    return fields, place + 1


def _value(data: bytes | memoryview, place: int, kind: int, depth: int) -> tuple[Any, int]:
    if kind in _INTEGERS:
        return _zigzag(data, place)
    if kind == _STRUCT:
        return _struct(data, place, depth + 1)
    if kind == _BINARY:
        size, place = _varint(data, place)
        return None, place + size
    if kind in _LISTS:
        return _list(data, place, depth)
    if kind in _SIZES:
        return None, place + _SIZES[kind]
    raise ValueError("its footer or a page is damaged")


def _list(data: bytes | memoryview, place: int, depth: int) -> tuple[list[Any], int]:
    if depth > _DEEPEST:
        raise ValueError("its footer or a page is nested too deeply")
    byte = data[place]
    count, place = _varint(data, place + 1) if byte >> 4 == 15 else (byte >> 4, place + 1)
    if count > len(data) - place:
        raise ValueError("its footer or a page is cut off")
    items = []
    for _ in range(count):
        item, place = _value(data, place, byte & 0x0F, depth + 1)
        items.append(item)
    return items, place


def _varint(data: bytes | memoryview, place: int) -> tuple[int, int]:
    value = data[place]
    if value < 0x80:  # the most frequent case
        return value, place + 1
    value &= 0x7F
    for shift in range(7, 70, 7):
        place += 1
        byte = data[place]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place + 1
    raise ValueError("its footer or a page is damaged")


def _zigzag(data: bytes | memoryview, place: int) -> tuple[int, int]:
    value = data[place]
    if value < 0x80:
        place += 1
    else:
        value, place = _varint(data, place)
    return (value >> 1) ^ -(value & 1), place
