"""The metadata of an episode: numbers in arrays of their own, everything else as one JSON text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from minari._storages import json_metadata
from minari._storages.zarr.arrays import KNOWN_TYPES
from minari._storages.zarr.layout import ColumnKind, Table


#: The column of the text.
JSON: Final = ColumnKind((), "json", "|u1", ())

_MOST_VALUES: Final = 64  # keys that have an array each; others go into the text
_PYTHON: Final = frozenset({"|b1", "<i8", "<f8"})  # these come back as Python's own


def split_metadata(table: Table, metadata: Mapping[str, Any]) -> tuple[dict[ColumnKind, Any], bytes | None]:
    """The numbers among metadata, by the kind of their column, and the text of the rest, None where there is none.

    A number goes into the text where its key has an array of another type already.

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
    """The type of array that a number is kept in; None for what is no number, or too large."""
    if isinstance(value, bool):
        return "|b1"
    if isinstance(value, np.generic):
        dtype = value.dtype.newbyteorder("<").str
        return dtype if dtype in KNOWN_TYPES else None
    if isinstance(value, int):
        return "<i8" if -(2**63) <= value < 2**63 else None
    return "<f8" if isinstance(value, float) else None


def plain(value: Any) -> Any:
    """A number out of an array as it was given: Python's own where JSON knows the type."""
    return value.item() if value.dtype.str in _PYTHON else value
