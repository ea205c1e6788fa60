"""The pages of a Parquet file, looked at before pyarrow decodes them.

Each page begins with a header in Thrift's compact protocol, which says how many values the page has and
to how many bytes it expands. pyarrow makes room for what it says, so it is checked here.
"""

from __future__ import annotations

import base64
from typing import Any, Final

from minari.dataset._storages.arrow_limits import check_expansion, check_rows


_MOST_GROUPS: Final = 10_000
_MOST_COLUMNS: Final = 20_000
_BYTES_OF_VALUE: Final = 8  # at most, unless it is text, which the pages have
# Fields of a header: a page's, and that of the header of its kind.
_EXPANDED, _SIZE, _DATA, _DATA_2 = 2, 3, 5, 8
_COUNT: Final = 1
_DEEPEST: Final = 8
_STRUCT, _TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY = 12, 1, 2, 3, 7, 8
# What is found wherever the schema as Arrow has it, which a footer holds in base 64, names an extension type.
_EXTENSIONS: Final = tuple(
    base64.b64encode(b"_" * shift + b"ARROW:extension:name")[4 if shift else 0 : -4] for shift in range(3)
)
_INTEGERS: Final = (4, 5, 6)


def check_pages(data: Any, metadata: Any, rows: int | None) -> None:
    """Check the pages of a Parquet file against its footer, and what both claim against its bytes.

    Args:
        data: the bytes of the file.
        metadata: of the file, as pyarrow reads them.
        rows: how many the table must have; None where that is not known.

    Raises:
        ValueError: the file is damaged, or would take far more memory than it has bytes.
    """
    if metadata.num_row_groups > _MOST_GROUPS or metadata.num_columns > _MOST_COLUMNS:
        raise ValueError(f"it claims {metadata.num_row_groups:,} row groups of {metadata.num_columns:,} columns")
    view = memoryview(data).cast("B")
    flat = [metadata.schema.column(i).max_repetition_level == 0 for i in range(metadata.num_columns)]
    found = expanded = 0
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        found += group.num_rows
        for i, is_flat in enumerate(flat):
            chunk = group.column(i)
            if is_flat and chunk.num_values != group.num_rows:
                raise ValueError(f"column {i} has {chunk.num_values} values in {group.num_rows} rows")
            if not 0 <= chunk.num_values * _BYTES_OF_VALUE <= 2**62:
                raise ValueError(f"column {i} claims {chunk.num_values} values")
            expanded += chunk.num_values * _BYTES_OF_VALUE
            check_expansion(expanded, len(view))
            expanded += _expanded_size(view, chunk)
            check_expansion(expanded, len(view))
    check_rows(metadata.num_rows, found)
    check_rows(found, rows)


def has_plain_types(data: Any) -> bool:
    """Whether the footer of a Parquet file names no extension type.

    pyarrow makes the types of a schema when it opens a file, those that a program has registered among them.
    """
    footer = bytes(memoryview(data)[-8 - int.from_bytes(bytes(memoryview(data)[-8:-4]), "little") :])
    return not any(name in footer for name in _EXTENSIONS)


def _expanded_size(view: memoryview, chunk: Any) -> int:
    """The number of bytes that the pages of a column chunk claim, checked against the chunk."""
    start = chunk.data_page_offset
    if chunk.has_dictionary_page and 0 < (chunk.dictionary_page_offset or 0) < start:
        start = chunk.dictionary_page_offset
    end = start + chunk.total_compressed_size
    if not 4 <= start <= end <= len(view):
        raise ValueError("the pages of a column lie outside of the file")
    values = expanded = 0
    while values < chunk.num_values:
        if start >= end:
            raise ValueError(f"a column has {values} values, expected {chunk.num_values}")
        header, start = _Reader(view, start, end).header()
        size, claimed = header.get((_SIZE,), -1), header.get((_EXPANDED,), -1)
        count = header.get((_DATA, _COUNT), header.get((_DATA_2, _COUNT), 0))  # a dictionary has no values
        if not (0 <= size <= end - start and 0 <= claimed < 2**31 and count >= 0):
            raise ValueError("a page lies outside of the file")
        values, expanded, start = values + count, expanded + claimed, start + size
    if values > chunk.num_values:
        raise ValueError(f"a column has {values} values, expected {chunk.num_values}")
    return expanded


class _Reader:
    """Thrift's compact protocol: the integers of a struct and of the structs in it."""

    def __init__(self, view: memoryview, place: int, end: int) -> None:
        self._view, self._place, self._end = view, place, end
        self._found: dict[tuple[int, ...], int] = {}

    def header(self) -> tuple[dict[tuple[int, ...], int], int]:
        """The integers, each under the numbers of the fields that lead to it, and where the struct ends."""
        self._struct(())
        return self._found, self._place

    def _byte(self) -> int:
        if self._place >= self._end:
            raise ValueError("a page is cut off")
        self._place += 1
        return self._view[self._place - 1]

    def _varint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise ValueError("the header of a page is damaged")

    def _integer(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

    def _struct(self, path: tuple[int, ...]) -> None:
        number = 0
        while byte := self._byte():
            number = number + (byte >> 4) if byte >> 4 else self._integer()
            self._value(byte & 0x0F, (*path, number))

    def _value(self, kind: int, path: tuple[int, ...]) -> None:
        if len(path) > _DEEPEST:
            raise ValueError("the header of a page is nested too deeply")
        if kind in _INTEGERS:
            self._found[path] = self._integer()
        elif kind == _STRUCT:
            self._struct(path)
        elif kind in (_BYTE, _DOUBLE, _BINARY):
            size = {_BYTE: 1, _DOUBLE: 8}.get(kind) or self._varint()
            self._place += size
        elif kind not in (_TRUE, _FALSE):  # a list or a map, which no such header has
            raise ValueError("the header of a page is damaged")
