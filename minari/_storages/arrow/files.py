"""The files of tables in Arrow and Parquet format.

An Arrow file is one record batch, and compressed as a whole or not at all. A Parquet file is one row group,
whose columns are compressed individually; a page holds up to 64 MB, since frames compress best together with
their neighbors. Numbers are stored without dictionaries, except for frames: Parquet has no 8-bit type and
would use 32 bits for each value.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from minari._base.files import FilesBeneath
from minari._base.json_text import shortened
from minari._model.compression import Codec
from minari._storages.arrow.limits import RowCountError
from minari._storages.arrow.messages import MESSAGES, check_messages, check_schema_message
from minari._storages.arrow.pages import check_footer, check_levels
from minari.errors import DatasetCorruptError


# Smaller files are read, which is faster, and the number of maps of a process is limited. Windows has no path
# for a descriptor, and does not allow replacing a mapped file.
_MAPPED_FROM: Final = 2**18
_DESCRIPTORS: Final = Path("/dev/fd")  # has paths of open files
_CAN_MAP: Final = _DESCRIPTORS.is_dir()
_CAN_READ_INTO: Final = hasattr(os, "readv")

_PAGE = 2**26
_MOST_ROWS = 2**31 - 1  # of a row group
_FRAME_VALUES = 1024  # values of a step, above which a dictionary of bytes is worthwhile
_LONGEST_TEXT: Final = 2**24  # of the footer of a Parquet file, which contains the Arrow schema as one text
_LONGEST_LIST: Final = 2**17
_BITS = {"BOOLEAN": 1, "INT32": 32, "INT64": 64, "FLOAT": 32, "DOUBLE": 64}

_TYPES: Final = frozenset(
    data_type.id
    for data_type in (
        *(pa.null(), pa.bool_(), pa.int8(), pa.int16(), pa.int32(), pa.int64()),
        *(pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64(), pa.float16(), pa.float32(), pa.float64()),
        *(pa.string(), pa.large_string(), pa.binary(), pa.large_binary(), pa.binary(1)),
        *(pa.timestamp("ns"), pa.duration("ns"), pa.date32(), pa.date64()),
        *(pa.struct([]), pa.list_(pa.null()), pa.large_list(pa.null()), pa.list_(pa.null(), 1)),
    )
)
#: Exceptions raised for bytes that are not those of a table.
_DAMAGE: Final = (pa.ArrowException, OSError, ValueError, TypeError, ArithmeticError, MemoryError, RecursionError)

#: Positions of values in a file, and their type there if it differs from the table.
Place: TypeAlias = tuple[int, np.dtype[Any] | None]


@dataclass(frozen=True, slots=True)
class TableFiles:
    """Functions to read and write the tables of a format.

    Attributes:
        name: name of the file of an episode.
        decode: returns the table of a file with that many rows, or with any number.
        decode_schema: returns the schema of that table, without the table.
        encode: returns the bytes of a table, each leaf with its codec.
        places: returns the positions of the values of leaves that are all numbers; None if they are unknown.
        is_compressed_whole: True if all leaves have the same codec, the first one given.
    """

    name: str
    decode: Callable[..., Any]
    decode_schema: Callable[[Any], Any]
    encode: Callable[[Any, Sequence[Codec | None]], Any]
    places: Callable[[Any, Sequence[Any]], list[Place] | None]
    is_compressed_whole: bool

    def table(self, data: Any, path: str, rows: int) -> Any:
        """Return the table of a file, checked completely.

        Args:
            data: the bytes of the file.
            path: path of the file, for messages.
            rows: the required number of rows.

        Raises:
            DatasetCorruptError: they are not those of a table, have another number of rows, or would expand
                to far more memory than the file has bytes.
        """
        try:
            table = self.decode(data, rows)
            check_types(table.schema)
            table.validate(full=True)  # follows offsets and checks that text is UTF-8
        except RowCountError as error:
            raise DatasetCorruptError(
                f"The table in {path} has {error.found} rows, expected {rows} for the {rows - 1} steps that "
                f"metadata.json beside it speaks of; the two do not belong together, so copy or download them again."
            ) from None
        except _DAMAGE as error:
            raise damaged(path, error) from error
        return table

    def schema(self, data: Any, path: str) -> Any:
        """Return the schema of the table in a file; raises like :meth:`table`."""
        try:
            schema = self.decode_schema(data)
            check_types(schema)
        except _DAMAGE as error:
            raise damaged(path, error) from error
        return schema


def read_part(files: FilesBeneath, name: str) -> Any:
    """Return the bytes of a file in a new array.

    Raises:
        DatasetCorruptError: the file is missing, cannot be read, or is outside the directory.
    """
    try:
        descriptor, size = files.open_sized(name)
        try:
            return _content(descriptor, size)
        finally:
            os.close(descriptor)
    except (OSError, MemoryError) as error:
        raise _unreadable(files, name, error) from error


def view_part(files: FilesBeneath, name: str) -> Any:
    """Return the bytes of a file as a view of a map, unless it is small; read-only."""
    try:
        descriptor, size = files.open_sized(name)
        try:
            if size < _MAPPED_FROM or not _CAN_MAP:
                return _content(descriptor, size)
            with pa.memory_map(str(_DESCRIPTORS / str(descriptor))) as memory:  # needs no descriptor
                return np.frombuffer(memory.read_buffer(size), np.uint8)
        finally:
            os.close(descriptor)
    except (pa.ArrowException, OSError, MemoryError) as error:
        raise _unreadable(files, name, error) from error


def _content(descriptor: int, size: int) -> Any:
    data: Any = np.empty(size, np.uint8)
    done = _read_into(descriptor, data)
    while done < size:  # the system may return less than requested
        count = _read_into(descriptor, data[done:])
        if not count:
            raise OSError("it becomes shorter while it is read")
        done += count
    return data


def _read_into(descriptor: int, data: Any) -> int:
    if _CAN_READ_INTO:
        return os.readv(descriptor, [data])
    part = os.read(descriptor, len(data))
    data[: len(part)] = np.frombuffer(part, np.uint8)
    return len(part)


def _unreadable(files: FilesBeneath, name: str, error: Exception) -> DatasetCorruptError:
    path = f"{files.path}{os.sep}{name}"
    if isinstance(error, FileNotFoundError):
        return DatasetCorruptError(f"The file {path} of an episode is missing; copy or download the dataset again.")
    return damaged(path, error)


def has_codec(name: str) -> bool:
    """Return whether the library of both formats was built with a codec."""
    return bool(pa.Codec.is_available(name))


def damaged(path: str, error: Exception) -> DatasetCorruptError:
    """Return the error for a file that is not a table."""
    return DatasetCorruptError(
        f"{path} cannot be read ({error}); it is cut off, damaged or another kind of file, so copy or "
        f"download it again."
    )


def check_types(schema: Any) -> None:
    """Raise unless the types of a schema are among those of datasets.

    Raises:
        ValueError: there is another type.
    """
    types = [field.type for field in schema]
    while types:
        found = types.pop()
        if found.id not in _TYPES:
            raise ValueError(f"it has a column of the type {shortened(str(found))}, which no dataset has")
        types += [found.field(i).type for i in range(found.num_fields)]


def _decode_arrow(data: Any, rows: int | None = None) -> Any:
    check_messages(data, rows)
    return pa.ipc.open_stream(pa.py_buffer(data).slice(MESSAGES)).read_all()


def _decode_arrow_schema(data: Any) -> Any:
    check_schema_message(data)
    return pa.ipc.open_stream(pa.py_buffer(data).slice(MESSAGES)).schema


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


def _open_parquet(data: Any) -> Any:
    """Open a Parquet file whose footer has been checked."""
    return pq.ParquetFile(
        pa.BufferReader(pa.py_buffer(data)),
        page_checksum_verification=True,
        thrift_string_size_limit=_LONGEST_TEXT,
        thrift_container_size_limit=_LONGEST_LIST,
    )


def _decode_parquet(data: Any, rows: int | None = None) -> Any:
    footer = check_footer(data, rows)
    with _open_parquet(data) as file:
        check_types(file.schema_arrow)
        columns = map(file.schema.column, range(len(file.schema)))
        check_levels(footer, [(column.max_repetition_level, column.max_definition_level) for column in columns])
        return file.read(use_threads=False)  # threads only help with several large columns


def _decode_parquet_schema(data: Any) -> Any:
    check_footer(data)
    with _open_parquet(data) as file:
        return file.schema_arrow


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
        # An uncompressed file is written and read through a template, and its checksums are beside it.
        write_page_checksum=any(codecs),
    )
    return sink.getvalue()


def _parquet_columns(fields: Iterable[Any], prefix: str = "") -> Iterator[tuple[str, Any, int]]:
    """Yield the Parquet names of the columns of a schema, with the type of an element and the elements of a row."""
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
    with _open_parquet(data) as file:
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
        # A page is its header, the levels and then the values; if a column has several pages, the values found
        # here differ from those of the table.
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
