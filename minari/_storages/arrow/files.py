"""Table files of Arrow and of Parquet.

An Arrow file is one record batch, since 0.5.4 reads no further ones, of which either all buffers are compressed or none
is. A Parquet file
is one row group, whose columns are compressed one by one; a page holds up to 64 MB, since frames
compress best together with their neighbors. Numbers are stored as they are, without dictionaries,
except frames: Parquet has no 8-bit type and would spend 32 bits on each value.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final, TypeAlias

import numpy as np

from minari._base.files import FilesBeneath
from minari._base.json_text import shortened
from minari._base.parallel import in_background
from minari._model.compression import Codec
from minari._storages.arrow.library import Array, DataType, Field, Schema, Table, pa, pq
from minari._storages.arrow.limits import RowCountError
from minari._storages.arrow.messages import MESSAGES, check_messages, check_schema_message
from minari._storages.arrow.pages import check_footer, check_levels
from minari.errors import DatasetCorruptError


# Smaller files are read, which is faster, and a process may only have so many maps. Windows has no path for
# a descriptor, and does not let a mapped file be replaced.
_MAPPED_FROM: Final = 2**18
_DESCRIPTORS: Final = Path("/dev/fd")  # has paths of open files
_CAN_MAP: Final = _DESCRIPTORS.is_dir()
_CAN_READ_INTO: Final = hasattr(os, "readv")

_DECODED_AT_ONCE: Final = 2**18  # bytes, below which another thread does not pay
_PAGE = 2**26
_MOST_ROWS = 2**31 - 1  # of a row group
_FRAME_VALUES = 1024  # a step, from which on a dictionary of bytes pays
_LONGEST_TEXT: Final = 2**24  # of the footer of a Parquet file; the schema as Arrow has it is one
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
#: Errors about bytes that are not those of a table.
_DAMAGE: Final = (pa.ArrowException, OSError, ValueError, TypeError, ArithmeticError, MemoryError, RecursionError)

#: The offset of values in a file, and their type there if it differs from that in the table.
Place: TypeAlias = tuple[int, np.dtype[Any] | None]


class TableFiles(ABC):
    """The table files of a format.

    Attributes:
        name: of the file of an episode.
        is_compressed_whole: whether all leaves have the same codec, the first that is given.
    """

    name: ClassVar[str]
    is_compressed_whole: ClassVar[bool]

    @abstractmethod
    def decoding(self, data: Any, rows: int | None = None) -> tuple[int, Callable[[], Table]]:
        """Check the bytes of a file; return how many they expand to, and a function for any thread that decodes them.

        Args:
            data: the bytes.
            rows: the number of rows that the table must have; None if that is not known.

        Raises:
            RowCountError: it has another number of rows.
            Exception: of any kind that pyarrow raises, or a ``ValueError``: the bytes are not a table.
        """

    @abstractmethod
    def decode_schema(self, data: Any) -> Schema:
        """Return the schema of that table only."""

    @abstractmethod
    def encode(self, table: Table, codecs: Sequence[Codec | None]) -> Any:
        """Return the bytes of a file with a table, each leaf with its codec."""

    @abstractmethod
    def places(self, data: Any, arrays: Sequence[Array]) -> list[Place] | None:
        """Return the places of the values of numeric leaves, None if they are not stored as they are."""

    def decode(self, data: Any) -> Table:
        """Return the table in the bytes of a file; raises as :meth:`decoding` does."""
        return self.decoding(data)[1]()

    def begin(self, data: Any, path: str, rows: int) -> tuple[int, Callable[[], Table]]:
        """Begin to decode the table in the bytes of a file.

        Args:
            data: the bytes.
            path: of the file, for messages.
            rows: the number that the table must have.

        Returns:
            The number of bytes that are being decompressed in other threads, and a function that returns the table,
            validated in full, and raises as this one does.

        Raises:
            DatasetCorruptError: the bytes are not a table, or one with another number of rows, or would
                take far more memory than the file has bytes.
        """
        with self._damage(path, rows):
            size, decode = self.decoding(data, rows)
            if size < _DECODED_AT_ONCE:
                size, decode = 0, partial(_given, decode())
            else:
                decode = in_background(decode)

        def table() -> Table:
            with self._damage(path, rows):
                table = decode()
                check_types(table.schema)
                table.validate(full=True)  # follows offsets and checks that text is UTF-8
            return table

        return size, table

    @staticmethod
    @contextmanager
    def _damage(path: str, rows: int) -> Iterator[None]:
        """Explain that a file is damaged."""
        try:
            yield
        except RowCountError as error:
            raise DatasetCorruptError(
                f"The table in {path} has {error.found} rows, expected {rows} for the {rows - 1} steps that "
                f"metadata.json beside it claims; the two do not belong together, so copy or download them again."
            ) from None
        except _DAMAGE as error:
            raise damaged(path, error) from error

    def schema(self, data: Any, path: str) -> Schema:
        """Return the schema of the table in the bytes of a file; raises as :meth:`table` does."""
        try:
            schema = self.decode_schema(data)
            check_types(schema)
        except _DAMAGE as error:
            raise damaged(path, error) from error
        return schema


def read_part(files: FilesBeneath, name: str) -> Any:
    """Return the content of a file as an array of bytes that belongs to the caller.

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
    """Return the same, as a read-only view of a map of the file unless it is small."""
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


def _given(table: Table) -> Table:
    return table


def has_codec(name: str) -> bool:
    """Return whether pyarrow was built with a codec."""
    return bool(pa.Codec.is_available(name))


def damaged(path: str, error: Exception) -> DatasetCorruptError:
    """Return the error about a file that is not a table."""
    return DatasetCorruptError(
        f"{path} cannot be read ({error}); it is cut off, damaged or another kind of file, so copy or "
        f"download it again."
    )


def check_types(schema: Schema) -> None:
    """Check that a schema has only types that datasets have.

    Raises:
        ValueError: it has another one.
    """
    types = [field.type for field in schema]
    while types:
        found = types.pop()
        if found.id not in _TYPES:
            raise ValueError(f"it has a column of the type {shortened(str(found))}, which no dataset has")
        types += [found.field(i).type for i in range(found.num_fields)]


class ArrowFiles(TableFiles):
    """Arrow's own files."""

    name = "part-0.arrow"
    is_compressed_whole = True

    def decoding(self, data: Any, rows: int | None = None) -> tuple[int, Callable[[], Table]]:
        size = check_messages(data, rows)
        return size, lambda: pa.ipc.open_stream(pa.py_buffer(data).slice(MESSAGES)).read_all()

    def decode_schema(self, data: Any) -> Schema:
        check_schema_message(data)
        return pa.ipc.open_stream(pa.py_buffer(data).slice(MESSAGES)).schema

    def encode(self, table: Table, codecs: Sequence[Codec | None]) -> Any:
        codec = next(filter(None, codecs), None)
        compression = None if codec is None else pa.Codec(codec.name, compression_level=codec.level)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
            writer.write_table(table)
        return sink.getvalue()

    def places(self, data: Any, arrays: Sequence[Array]) -> list[Place] | None:
        start = pa.py_buffer(data).address
        if any(array.offset for array in arrays):
            return None
        return [(array.buffers()[-1].address - start, None) for array in arrays]


class ParquetFiles(TableFiles):
    """Parquet files."""

    name = "part-0.parquet"
    is_compressed_whole = False

    def decoding(self, data: Any, rows: int | None = None) -> tuple[int, Callable[[], Table]]:
        footer, size = check_footer(data, rows)
        return size, lambda: self._read(data, footer)

    def _read(self, data: Any, footer: dict[int, Any]) -> Table:
        with open_parquet(data) as file:
            check_types(file.schema_arrow)
            columns = map(file.schema.column, range(len(file.schema)))
            check_levels(footer, [(column.max_repetition_level, column.max_definition_level) for column in columns])
            return file.read(use_threads=False)

    def decode_schema(self, data: Any) -> Schema:
        check_footer(data)
        with open_parquet(data) as file:
            return file.schema_arrow

    def encode(self, table: Table, codecs: Sequence[Codec | None]) -> Any:
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
            # A file that is not compressed is made and read by a template, and its checksums are beside it.
            write_page_checksum=any(codecs),
        )
        return sink.getvalue()

    def places(self, data: Any, arrays: Sequence[Array]) -> list[Place] | None:
        with open_parquet(data) as file:
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
            # A page is its header, the levels and then the values; in a column of several pages, other values are
            # found here than the table has, and no template is made.
            end = column.data_page_offset + column.total_compressed_size
            places.append((end - -(-len(values) * bits // 8), np.dtype(np.int32) if is_widened else None))
        return places


def open_parquet(data: Any) -> Any:
    """Open a file whose footer has been checked."""
    return pq.ParquetFile(
        pa.BufferReader(pa.py_buffer(data)),
        page_checksum_verification=True,
        thrift_string_size_limit=_LONGEST_TEXT,
        thrift_container_size_limit=_LONGEST_LIST,
    )


def _parquet_columns(fields: Iterable[Field], prefix: str = "") -> Iterator[tuple[str, DataType, int]]:
    """Yield the name of each Parquet column of a schema, the type of an element, and the elements of a row."""
    for field in fields:
        name, element, size = f"{prefix}{field.name}", field.type, 1
        if pa.types.is_struct(element):
            yield from _parquet_columns((element[i] for i in range(element.num_fields)), f"{name}.")
            continue
        while pa.types.is_fixed_size_list(element) or pa.types.is_list(element) or pa.types.is_large_list(element):
            size *= getattr(element, "list_size", 1)
            name, element = f"{name}.list.element", element.value_type
        yield name, element, size


ARROW: Final = ArrowFiles()
PARQUET: Final = ParquetFiles()
