"""The files of the tables: Arrow's own, which is mapped into memory, and Parquet.

An Arrow file is one record batch, and compressed as a whole or not at all. A Parquet file is one row
group, whose columns are compressed one by one; a page holds up to 64 MB, since frames are compressed
best together with those before and after them. Numbers are stored as they are, without dictionaries,
but for frames: Parquet has no type of eight bits and would spend 32 on each value.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from minari.dataset.compression import Codec
from minari.errors import DatasetCorruptError


# Smaller files are read, which is faster, and a process may only have so many maps. On Windows a file
# that is mapped cannot be replaced.
_MAPPED_FROM = sys.maxsize if sys.platform == "win32" else 2**18
_READ_ONLY = os.O_RDONLY | getattr(os, "O_BINARY", 0)

_PAGE = 2**26
_MOST_ROWS = 2**31 - 1  # of a row group
_FRAME_VALUES = 1024  # a step, from which on a dictionary of bytes is worth while
_BITS = {"BOOLEAN": 1, "INT32": 32, "INT64": 64, "FLOAT": 32, "DOUBLE": 64}

#: Where values begin in a file, and their type there where it is another than in the table.
Place: TypeAlias = tuple[int, np.dtype[Any] | None]


@dataclass(frozen=True, slots=True)
class TableFiles:
    """How the tables of a format are read and written.

    Attributes:
        name: of the file of an episode.
        decode: the bytes of a file as a table.
        decode_schema: the schema of that table, without the table.
        encode: a table as the bytes of a file, each leaf with its codec.
        places: where in the bytes the values of leaves begin that are all numbers; None where that
            cannot be said.
        is_compressed_whole: whether all leaves have the same codec, the first that is given.
    """

    name: str
    decode: Callable[[Any], Any]
    decode_schema: Callable[[Any], Any]
    encode: Callable[[Any, Sequence[Codec | None]], Any]
    places: Callable[[Any, Sequence[Any]], list[Place] | None]
    is_compressed_whole: bool

    def table(self, data: Any, path: str) -> Any:
        """The table in the bytes of a file, checked as far as that is cheap.

        Raises:
            DatasetCorruptError: they are those of no table.
        """
        try:
            table = self.decode(data)
            table.validate()
        except (pa.ArrowException, OSError) as error:
            raise damaged(path, error) from error
        return table

    def schema(self, data: Any, path: str) -> Any:
        """The schema of the table in the bytes of a file; raises as :meth:`table` does."""
        try:
            return self.decode_schema(data)
        except (pa.ArrowException, OSError) as error:
            raise damaged(path, error) from error


def read_bytes(path: str) -> Any:
    """The bytes of a file: read where they are few, mapped otherwise.

    Raises:
        DatasetCorruptError: the file is missing or cannot be read.
    """
    try:
        descriptor = os.open(path, _READ_ONLY)
        try:
            size = os.fstat(descriptor).st_size
            if size < _MAPPED_FROM:
                data = os.read(descriptor, size)
                if len(data) == size:
                    return data
        finally:
            os.close(descriptor)
        with pa.memory_map(path) as file:
            return file.read_buffer()
    except FileNotFoundError as error:
        raise DatasetCorruptError(
            f"The file {path} of an episode is missing; copy or download the dataset again."
        ) from error
    except (pa.ArrowException, OSError) as error:
        raise damaged(path, error) from error


def has_codec(name: str) -> bool:
    """Whether the library of both formats was built with a codec."""
    return bool(pa.Codec.is_available(name))


def damaged(path: str, error: Exception) -> DatasetCorruptError:
    """That a file is no table."""
    return DatasetCorruptError(
        f"{path} cannot be read ({error}); it is cut off, damaged or another kind of file, so copy or "
        f"download it again."
    )


def _decode_arrow(data: Any) -> Any:
    return pa.ipc.open_file(pa.py_buffer(data)).read_all()


def _decode_arrow_schema(data: Any) -> Any:
    return pa.ipc.open_file(pa.py_buffer(data)).schema


def _encode_arrow(table: Any, codecs: Sequence[Codec | None]) -> Any:
    codec = next(filter(None, codecs), None)
    compression = None if codec is None else pa.Codec(codec.name, compression_level=codec.level)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(table)
    return sink.getvalue()


def _places_in_arrow(data: Any, arrays: Sequence[Any]) -> list[Place] | None:
    start = pa.py_buffer(data).address
    if any(array.offset for array in arrays):
        return None
    return [(array.buffers()[-1].address - start, None) for array in arrays]


def _decode_parquet(data: Any) -> Any:
    with pq.ParquetFile(pa.py_buffer(data)) as file:
        return file.read(use_threads=False)  # threads only help where several columns are big


def _decode_parquet_schema(data: Any) -> Any:
    return pq.read_schema(pa.BufferReader(pa.py_buffer(data)))


def _encode_parquet(table: Any, codecs: Sequence[Codec | None]) -> Any:
    compression, levels, with_dictionary = {}, {}, []
    for (name, element, size), codec in zip(_parquet_columns(table.schema), codecs, strict=True):
        is_text = pa.types.is_string(element) or pa.types.is_large_string(element)
        if is_text or (pa.types.is_uint8(element) and size >= _FRAME_VALUES):
            with_dictionary.append(name)
        compression[name] = "NONE" if codec is None else codec.name.upper()
        if codec is not None and codec.level is not None:
            levels[name] = codec.level
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        compression=compression,
        compression_level=levels or None,
        use_dictionary=with_dictionary or False,
        write_statistics=False,
        data_page_size=_PAGE,
        row_group_size=_MOST_ROWS,
    )
    return sink.getvalue()


def _parquet_columns(fields: Iterable[Any], prefix: str = "") -> Iterator[tuple[str, Any, int]]:
    """The columns of a schema as Parquet calls them, with the type of an element and the elements of a row."""
    for field in fields:
        name, element, size = f"{prefix}{field.name}", field.type, 1
        if pa.types.is_struct(element):
            yield from _parquet_columns((element[i] for i in range(element.num_fields)), f"{name}.")
            continue
        while pa.types.is_fixed_size_list(element) or pa.types.is_list(element) or pa.types.is_large_list(element):
            size *= getattr(element, "list_size", 1)
            name, element = f"{name}.list.element", element.value_type
        yield name, element, size


def _places_in_parquet(data: Any, arrays: Sequence[Any]) -> list[Place] | None:
    with pq.ParquetFile(pa.py_buffer(data)) as file:
        metadata = file.metadata
    if metadata.num_row_groups != 1 or metadata.num_columns != len(arrays):
        return None
    group = metadata.row_group(0)
    places: list[Place] = []
    for number, array in enumerate(arrays):
        column = group.column(number)
        values = array.values if pa.types.is_fixed_size_list(array.type) else array
        is_plain = "PLAIN" in column.encodings and {*column.encodings} <= {"PLAIN", "RLE"}  # (RLE is for levels)
        bits = _BITS.get(column.physical_type)
        is_widened = pa.types.is_integer(values.type) and values.type.bit_width < 32 and bits == 32
        if column.compression != "UNCOMPRESSED" or column.has_dictionary_page or not is_plain:
            return None
        if bits is None or (bits != values.type.bit_width and not is_widened):
            return None
        # A page is its header, the levels and then the values; where a column has several pages, what is
        # found here is not what the table has.
        end = column.data_page_offset + column.total_compressed_size
        places.append((end - -(-len(values) * bits // 8), np.dtype(np.int32) if is_widened else None))
    return places


ARROW: Final = TableFiles(
    "part-0.arrow", _decode_arrow, _decode_arrow_schema, _encode_arrow, _places_in_arrow, is_compressed_whole=True
)
PARQUET: Final = TableFiles(
    "part-0.parquet",
    _decode_parquet,
    _decode_parquet_schema,
    _encode_parquet,
    _places_in_parquet,
    is_compressed_whole=False,
)
