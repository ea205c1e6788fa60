"""Infos of fixed-size bytes and structures, for which HDF5 has its own types.

Other formats store them as columns of bytes below the key, named after the dtype (see :mod:`minari._model.infos`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from minari._model.infos.keys import dtype_of_column, name_of_column
from minari._model.infos.values import raw_of, typed_of
from minari._storages.hdf5.format.datatypes import NoDatatype, encode_datatype
from minari.spaces import Column, ColumnPath, Columns, has_no_space, native


_OWN_KINDS: Final = "SV"
_LONGEST_DATATYPE: Final = 2**15  # bytes; of a header message of less than 64 KiB


def with_own_types(columns: Mapping[ColumnPath, Any]) -> Mapping[ColumnPath, Any]:
    """Return the columns of an episode with such infos in the types of HDF5."""
    raw = {path: dtype for path in columns if (dtype := dtype_of_column(path)) is not None and _has_type(dtype)}
    if not raw:
        return columns
    return {
        path[:-1] if path in raw else path: typed_of(column, raw[path]) if path in raw else column
        for path, column in columns.items()
    }


def _has_type(dtype: np.dtype[Any]) -> bool:
    try:
        return dtype.kind in _OWN_KINDS and len(encode_datatype(dtype)) <= _LONGEST_DATATYPE
    except (NoDatatype, UnicodeError):  # as of a structure that has dates in it
        return False


def without_own_types(columns: Mapping[ColumnPath, Column]) -> Columns:
    """Return the columns of an episode in native byte order, with such infos as columns of bytes."""
    return dict(map(_as_bytes, columns.items()))


def _as_bytes(item: tuple[ColumnPath, Column]) -> tuple[ColumnPath, Column]:
    path, column = item[0], native(item[1])
    if column.dtype.kind not in _OWN_KINDS or not has_no_space(path):
        return path, column
    return (*path, name_of_column(column.dtype)), raw_of(column)
