"""Tables of other programs, as Parquet files and Arrow streams, read by rows and columns."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from minari._base.files import FilesBeneath
from minari._base.json_text import shortened
from minari._storages.arrow.conversions import pa
from minari._storages.arrow.files import open_parquet, view_part
from minari._storages.arrow.messages import check_stream
from minari._storages.arrow.pages import check_footer, check_levels
from minari.errors import InterchangeError


__all__ = ["ArrowStream", "ForeignTable", "MemoryTable", "ParquetTable", "open_table", "values_of"]

_MOST_LEVELS = 8  # of nested lists
_ROOM = 2**25  # bytes of the rows that are kept, of all columns
_LEAST_ROOM = 2**16  # bytes of the rows of a column
_MOST_ROWS = 2**16  # that are kept of a column, as equal values take next to nothing in a file


class ForeignTable(Protocol):
    """A table in a file, whose values are read when they are asked for.

    Attributes:
        where: the path of the file, for messages.
        schema: Arrow's schema.
        rows: the number of rows.
    """

    where: str
    schema: Any
    rows: int

    def column(self, name: str, start: int, stop: int) -> Any:
        """Return rows of a column as an array of Arrow.

        Raises:
            InterchangeError: the table has no such column, or not so many rows.
        """


class _Table:
    where: str
    schema: Any
    rows: int

    def _check(self, name: str, start: int, stop: int) -> None:
        if self.schema.get_field_index(name) < 0:
            raise InterchangeError(
                f"{self.where} has no column {name!r}, expected one of {shortened(list(self.schema.names))}."
            )
        if not 0 <= start <= stop <= self.rows:
            raise InterchangeError(
                f"{self.where} has {self.rows} rows, and the rows {start} to {stop} are asked for; it is cut off, or "
                f"does not belong to the files beside it."
            )


class ParquetTable(_Table):
    """A Parquet file, checked before pyarrow decodes it; of each column some rows are kept.

    Args:
        directory: the directory in which the file must lie.
        name: its name there.
    """

    def __init__(self, directory: Path, name: str) -> None:
        self.where = str(directory / name)
        data = view_part(FilesBeneath(str(directory)), name)
        try:
            footer, _ = check_footer(data, is_foreign=True)
            self._file = open_parquet(data)
            columns = map(self._file.schema.column, range(len(self._file.schema)))
            check_levels(footer, [(one.max_repetition_level, one.max_definition_level) for one in columns])
            self._sizes = _sizes_of_columns(self._file)
        except (ValueError, LookupError, OSError) as error:
            raise InterchangeError(
                f"{self.where} cannot be read as Parquet ({' '.join(str(error).split())}); it is damaged, or the "
                f"program that wrote it ended before it was complete."
            ) from error
        self.schema = self._file.schema_arrow
        sizes = [self._file.metadata.row_group(i).num_rows for i in range(self._file.metadata.num_row_groups)]
        self._bounds = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
        self.rows = int(self._bounds[-1])
        self._room = max(_LEAST_ROOM, _ROOM // max(1, len(self._sizes)))
        self._kept: dict[str, tuple[int, Any]] = {}
        self._streams: dict[str, tuple[int, Iterator[Any]]] = {}

    def column(self, name: str, start: int, stop: int) -> Any:
        """Return rows of a column."""
        self._check(name, start, stop)
        parts = []
        while start < stop:
            first, array = self._rows(name, start)
            count = min(stop, first + len(array)) - start
            parts.append(array.slice(start - first, count))
            start += count
        if len(parts) == 1:
            return parts[0]
        return pa.concat_arrays(parts) if parts else _one_array(pa.chunked_array([], self.schema.field(name).type))

    def _rows(self, name: str, row: int) -> tuple[int, Any]:
        """Return rows of a column with a given one among them, and the number of the first of them."""
        first, array = self._kept.get(name, (0, ()))
        if first <= row < first + len(array):
            return first, array
        group = int(np.searchsorted(self._bounds, row, "right")) - 1
        sizes, bounds = self._sizes[name], self._bounds
        if sizes[group] > self._room or bounds[group + 1] - bounds[group] > _MOST_ROWS:
            return self._next_rows(name, group, row)
        last = group + 1
        room = self._room - sizes[group]
        while (
            last < len(sizes) and bounds[last + 1] - bounds[group] <= _MOST_ROWS and (room := room - sizes[last]) >= 0
        ):
            last += 1
        table = self._file.read_row_groups(range(group, last), columns=[name], use_threads=False)
        return self._keep(name, int(self._bounds[group]), _one_array(table.column(name)))

    def _next_rows(self, name: str, group: int, row: int) -> tuple[int, Any]:
        """Return rows of a column of a large group of rows, which is decoded from its beginning on."""
        begin, end = int(self._bounds[group]), int(self._bounds[group + 1])
        first, array = self._kept.get(name, (begin, ()))
        place = first + len(array)
        if name not in self._streams or not begin <= place <= row or self._streams[name][0] != group:
            count = min(_MOST_ROWS, max(1, self._room * (end - begin) // max(1, self._sizes[name][group])))
            batches = self._file.iter_batches(count, row_groups=[group], columns=[name], use_threads=False)
            self._streams[name], place = (group, batches), begin
        for batch in self._streams[name][1]:
            first, array = self._keep(name, place, _one_array(pa.chunked_array([batch.column(0)])))
            place += len(array)
            if row < place:
                return first, array
        raise InterchangeError(f"{self.where} has fewer rows than it says; it is damaged, so copy it again.")

    def _keep(self, name: str, first: int, array: Any) -> tuple[int, Any]:
        array.validate(full=True)
        self._kept[name] = first, array
        return first, array


def _sizes_of_columns(file: Any) -> dict[str, list[int]]:
    """Return the bytes of each column in each group of rows, without compression; those of a nested column are one."""
    metadata = file.metadata
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    sizes: dict[str, list[int]] = {}
    begin = 0
    for field in file.schema_arrow:
        end = begin + _leaves_of(field.type)
        sizes[field.name] = [
            sum(max(0, group.column(number).total_uncompressed_size) for number in range(begin, end))
            for group in groups
        ]
        begin = end
    if begin != metadata.num_columns:
        raise ValueError(f"it has {metadata.num_columns} columns, expected {begin}")
    return sizes


def _leaves_of(kind: Any) -> int:
    """Return the number of columns of Parquet in which a type is stored."""
    kind = kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind
    return sum(_leaves_of(kind.field(number).type) for number in range(kind.num_fields)) if kind.num_fields else 1


class ArrowStream(_Table):
    """An Arrow stream, as the library ``datasets`` writes, checked before pyarrow decodes it.

    Args:
        directory: the directory in which the file must lie.
        name: its name there.
    """

    def __init__(self, directory: Path, name: str) -> None:
        self.where = str(directory / name)
        data = view_part(FilesBeneath(str(directory)), name)
        try:
            check_stream(data)
            self._table = pa.ipc.open_stream(pa.py_buffer(data)).read_all()
        except (ValueError, LookupError, OSError) as error:
            raise InterchangeError(
                f"{self.where} cannot be read as an Arrow stream ({' '.join(str(error).split())}); it is damaged or "
                f"cut off, so copy or download it again."
            ) from error
        self._table.validate(full=True)
        self.schema, self.rows = self._table.schema, self._table.num_rows

    def column(self, name: str, start: int, stop: int) -> Any:
        """Return rows of a column."""
        self._check(name, start, stop)
        return _one_array(self._table.column(name).slice(start, stop - start))


class MemoryTable(_Table):
    """A table of Arrow in memory.

    Args:
        table: the table.
    """

    def __init__(self, table: Any) -> None:
        self.where, self._table = "the data frame", table
        self.schema, self.rows = table.schema, table.num_rows

    def column(self, name: str, start: int, stop: int) -> Any:
        """Return rows of a column."""
        self._check(name, start, stop)
        return _one_array(self._table.column(name).slice(start, stop - start))


def open_table(directory: Path, name: str) -> ForeignTable:
    """Open a table by its name: ``.arrow`` is a stream, and everything else Parquet."""
    return ArrowStream(directory, name) if name.endswith(".arrow") else ParquetTable(directory, name)


def _one_array(column: Any) -> Any:
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    return array.storage if isinstance(array.type, pa.BaseExtensionType) else array


def values_of(array: Any, what: object) -> npt.NDArray[Any]:
    """Return the values of a column: numbers with time first, nested lists as further axes, and texts as objects.

    Args:
        array: array of Arrow.
        what: the column, for messages.

    Raises:
        InterchangeError: values are missing, of another type, or lists of different lengths.
    """
    return _values(array, what, 0)


def _values(array: Any, what: object, level: int) -> npt.NDArray[Any]:
    kind, types = array.type, pa.types
    if array.null_count:
        raise InterchangeError(f"{what} has {array.null_count} rows without a value, expected a value in each row.")
    if level > _MOST_LEVELS:
        raise InterchangeError(f"{what} has lists nested more than {_MOST_LEVELS} levels deep, expected fewer.")
    if types.is_fixed_size_list(kind):
        return _nested(_values(array.flatten(), what, level + 1), len(array), kind.list_size)
    if types.is_list(kind) or types.is_large_list(kind):
        lengths = np.diff(array.offsets.to_numpy())
        if len(lengths) and (lengths != lengths[0]).any():
            raise InterchangeError(
                f"{what} has lists of {lengths.min()} to {lengths.max()} values, expected one number."
            )
        size = int(lengths[0]) if len(lengths) else 0
        return _nested(_values(array.flatten(), what, level + 1), len(array), size)
    if types.is_boolean(kind) or types.is_integer(kind) or types.is_floating(kind):
        values: npt.NDArray[Any] = array.to_numpy(zero_copy_only=False)
        return values
    if types.is_string(kind) or types.is_large_string(kind):
        texts = np.empty(len(array), object)
        texts[:] = array.to_pylist()
        return texts
    raise InterchangeError(f"{what} has values of the type {shortened(str(kind))}, expected numbers, lists or texts.")


def _nested(inner: npt.NDArray[Any], count: int, size: int) -> npt.NDArray[Any]:
    return inner.reshape(count, size, *inner.shape[1:])
