"""What a process that writes some steps hands over to the one that commits, as bytes.

Every episode is a record: two lengths and a checksum, a header in JSON, and the bytes of its arrays one
after the other. How long those are and what they hold is known from the table of columns, so that a
record is read without taking its word for anything.
"""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import xxhash

from minari._base.json_text import parse_json, shortened
from minari._storages import json_metadata
from minari._storages.zarr.arrays import check_sizes
from minari._storages.zarr.layout import StoredColumn


_LENGTHS: Final = struct.Struct("<QQQ")  # of the header, of the arrays, and the checksum of both


@dataclass(frozen=True, slots=True)
class Rest:
    """An episode without the rows of its steps.

    Attributes:
        total_steps: the number of its steps.
        columns: the numbers of its columns.
        rows: of the arrays that have other rows, in the order of :func:`arrays_of_rest`.
        metadata: of the episode.
    """

    total_steps: int
    columns: list[int]
    rows: list[npt.NDArray[Any]]
    metadata: dict[str, Any]


def arrays_of_rest(columns: Sequence[StoredColumn]) -> list[tuple[StoredColumn, str]]:
    """Return the arrays of some columns that do not have one row a step, each with its column."""
    return [(column, array) for column in columns for array in column.arrays if not array.startswith("data/")]


def to_record(rest: Rest, columns: Sequence[StoredColumn]) -> list[Any]:
    """Return a record, in several parts.

    Args:
        rest: what is handed over.
        columns: all columns that the store has.

    Raises:
        MetadataError: metadata that cannot be stored.
    """
    header = json.dumps(
        {
            "total_steps": rest.total_steps,
            "columns": rest.columns,
            "counts": [len(rows) for rows in rest.rows],
            "metadata": json_metadata.to_json(rest.metadata),
        }
    ).encode()
    arrays = arrays_of_rest([columns[number] for number in rest.columns])
    parts = [
        np.ascontiguousarray(rows, column.form_of(array)[0]).reshape(-1).view(np.uint8)
        for (column, array), rows in zip(arrays, rest.rows, strict=True)
    ]
    lengths = len(header), sum(part.nbytes for part in parts)
    return [_LENGTHS.pack(*lengths, _checksum(header, *parts)), header, *parts]


def read_records(descriptor: int, columns: Sequence[StoredColumn]) -> Iterator[Rest]:
    """Read what :func:`to_record` has made, one record after the other.

    Args:
        descriptor: of the file.
        columns: all columns that the store has.

    Raises:
        ValueError: the file holds something else, or is damaged.
    """
    left = os.fstat(descriptor).st_size
    with open(descriptor, "rb", closefd=False) as file:
        while left:
            lengths = file.read(_LENGTHS.size)
            left -= _LENGTHS.size
            if left < 0 or len(lengths) < _LENGTHS.size:
                raise ValueError("it ends too early")
            header_size, size, expected = _LENGTHS.unpack(lengths)
            left -= header_size + size
            if left < 0:
                raise ValueError("it ends too early")
            header, content = file.read(header_size), file.read(size)
            if len(content) < size or _checksum(header, content) != expected:
                raise ValueError("it is not what its checksum says")
            yield _rest_of(header, content, columns)


def _rest_of(header: bytes, content: bytes, columns: Sequence[StoredColumn]) -> Rest:
    value = parse_json(header)
    keys = ("total_steps", "columns", "counts", "metadata")
    if not isinstance(value, dict) or value.keys() != set(keys):
        raise ValueError(f"it has the keys {shortened(value)}, expected {list(keys)}")
    total_steps, numbers, counts, metadata = (value[key] for key in keys)
    check_sizes([total_steps], 1)
    if not isinstance(numbers, list) or not all(type(n) is int and 0 <= n < len(columns) for n in numbers):
        raise ValueError(f"it has the columns {shortened(numbers)}, expected numbers less than {len(columns)}")
    arrays = arrays_of_rest([columns[number] for number in numbers])
    if not isinstance(counts, list) or len(counts) != len(arrays) or not isinstance(metadata, str):
        raise ValueError(f"it has {shortened(counts)} rows, expected a number for each of {len(arrays)} arrays")
    rows: list[npt.NDArray[Any]] = []
    start = 0
    for (column, array), count in zip(arrays, counts, strict=True):
        dtype, row_shape = column.form_of(array)
        check_sizes([count], 0)
        if column.kind.kind == "states" and count != 1:
            raise ValueError(f"it has {count} rows for {array}, expected one")
        end = start + count * dtype.itemsize * math.prod(row_shape)
        if end > len(content):
            raise ValueError(f"it ends before the rows of {array}")
        rows.append(np.frombuffer(content[start:end], dtype).reshape(count, *row_shape))
        start = end
    if start != len(content):
        raise ValueError("it goes on behind its rows")
    return Rest(total_steps, numbers, rows, json_metadata.from_json(metadata))


def _checksum(*parts: Any) -> int:
    digest = xxhash.xxh3_64()
    for part in parts:
        digest.update(part)
    return digest.intdigest()
