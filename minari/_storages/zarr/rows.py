"""Columns and metadata of an episode <-> the rows of arrays.

Metadata that are numbers have arrays of their own; all others are in one JSON text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from minari._storages import json_metadata
from minari._storages.zarr.arrays import KNOWN_TYPES
from minari._storages.zarr.layout import ColumnKind, Table
from minari.errors import DatasetCorruptError, EpisodeTypeError
from minari.spaces import ANY_ROWS, Column, ColumnPath, object_column, path_name


Array = npt.NDArray[Any]

_WITH_LAST_ROW: Final = ("observations", "infos")
_RAGGED_INFO: Final = "_ragged_values"

#: The column of the text.
JSON: Final = ColumnKind((), "json", "|u1", ())

_MOST_VALUES: Final = 64  # keys with their own array; others go into the text
_PYTHON: Final = frozenset({"|b1", "<i8", "<f8"})  # restored as Python types


def kind_of(path: ColumnPath, column: Column, total_steps: int, leaves: frozenset[ColumnPath]) -> ColumnKind:
    """Return the kind of a column, which decides on its arrays.

    Args:
        path: path of the column.
        column: its values in an episode.
        total_steps: number of steps of that episode.
        leaves: the columns of the spaces that have one row per step.

    Raises:
        EpisodeTypeError: Zarr does not support the type of the values.
    """
    if column.dtype == object:
        is_bytes = len(column) > 0 and isinstance(column[0], bytes)
        return ColumnKind(path, "bytes" if is_bytes else "text", "|u1", ())
    dtype = column.dtype.newbyteorder("<").str
    if dtype not in KNOWN_TYPES:
        raise EpisodeTypeError(
            f"{path_name(path)!r} has {column.dtype} values, which Zarr does not know; convert them to "
            f"{'complex128' if column.dtype.kind == 'c' else 'float64'}."
        )
    if path[0] in ANY_ROWS:
        return ColumnKind(path, "rows", dtype, column.shape[1:])
    with_last = path[0] in _WITH_LAST_ROW
    kind = "states" if with_last else "steps"
    of_space = path[0] in ("observations", "actions")
    if (path not in leaves if of_space else path[-1] == _RAGGED_INFO) or len(column) != total_steps + with_last:
        kind = "rows"
    return ColumnKind(path, kind, dtype, column.shape[1:])


def split(kind: str, column: Column, total_steps: int) -> tuple[Array, ...]:
    """Return the rows of a column for each of the arrays of its kind."""
    if kind == "states":
        return column[:total_steps], column[total_steps:]
    if kind in ("text", "bytes"):
        encoded = [value.encode() if kind == "text" else value for value in column]
        lengths = np.fromiter(map(len, encoded), np.int64, count=len(encoded))
        return lengths, np.frombuffer(b"".join(encoded), np.uint8)
    return (column,)


def join(kind: str, parts: Sequence[Array], array: str) -> Column:
    """Return the column that :func:`split` has split.

    Args:
        kind: kind of the column.
        parts: rows of each of its arrays.
        array: name of one of them, for messages.

    Raises:
        DatasetCorruptError: texts are not UTF-8, or their lengths are not those of their bytes.
    """
    if kind == "states":
        return np.concatenate(parts)
    if kind not in ("text", "bytes"):
        return parts[0]
    lengths, content = parts[0].tolist(), parts[1].tobytes()
    if min(lengths, default=0) < 0 or sum(lengths) != len(content):
        raise DatasetCorruptError(
            f"The lengths in {array} make {sum(lengths)} bytes, and there are {len(content)}; copy or download "
            f"the dataset again."
        )
    values: list[Any] = []
    start = 0
    for length in lengths:
        values.append(content[start : start + length])
        start += length
    if kind == "bytes":
        return object_column(values)
    try:
        return object_column([value.decode() for value in values])
    except UnicodeDecodeError as error:
        raise DatasetCorruptError(
            f"The texts beside {array} are damaged ({error}); copy or download the dataset again."
        ) from error


def split_metadata(table: Table, metadata: Mapping[str, Any]) -> tuple[dict[ColumnKind, Any], bytes | None]:
    """Return the numbers among metadata, by the kind of their column, and the text of the rest, if any.

    A number goes into the text if its key already has an array of another type.

    Raises:
        MetadataError: a value cannot be stored.
    """
    values: dict[ColumnKind, Any] = {}
    others: dict[str, Any] = {}
    room = _MOST_VALUES - table.value_count()
    for key, value in metadata.items():
        dtype, known = _dtype_of(value), table.value_kind(key)
        fits = room > 0 if known is None else known.dtype == dtype
        if dtype is None or not fits:
            others[key] = value
        else:
            room -= known is None
            values[ColumnKind((key,), "value", dtype, ())] = value
    return values, json_metadata.to_json(others).encode() if others else None


def _dtype_of(value: Any) -> str | None:
    """Return the type of the array for a value; None if it is not a number, or too large."""
    if isinstance(value, bool):
        return "|b1"
    if isinstance(value, np.generic):
        dtype = value.dtype.newbyteorder("<").str
        return dtype if dtype in KNOWN_TYPES else None
    if isinstance(value, int):
        return "<i8" if -(2**63) <= value < 2**63 else None
    return "<f8" if isinstance(value, float) else None


def plain(value: Any) -> Any:
    """Return a number from an array as it was given: Python's own if JSON knows the type."""
    return value.item() if value.dtype.str in _PYTHON else value
