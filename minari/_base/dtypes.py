"""Names of NumPy dtypes in data, restricted to a closed list."""

from __future__ import annotations

import json
import re
from typing import Any, Final

import numpy as np

from minari._base.json_text import parse_json, shortened


__all__ = ["dtype_from_name", "name_of_dtype", "numeric_dtype"]

_NUMERIC: Final = {np.dtype(code).name: np.dtype(code) for code in "?bhilqBHILQefdgFDG"}
_BYTES: Final = re.compile(r"[SVU][1-9][0-9]{0,5}")
_TIME: Final = re.compile(r"(?:datetime|timedelta)64(?:\[[0-9]{0,9}(?:Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as)\])?")
_LARGEST: Final = 2**20  # bytes of one element
_MOST_FIELDS: Final = 4096
_MOST_LEVELS: Final = 16  # of nested structures


def numeric_dtype(name: object) -> np.dtype[Any]:
    """Return the numeric or boolean dtype with this name.

    >>> numeric_dtype("float32")
    dtype('float32')

    Raises:
        ValueError: the name is that of another kind of dtype, or of none.
    """
    dtype = _NUMERIC.get(name) if isinstance(name, str) else None
    if dtype is None:
        raise ValueError(f"{shortened(name)} is the name of no numeric dtype")
    return dtype


def name_of_dtype(dtype: np.dtype[Any]) -> str:
    """Return the name of a dtype of numbers, bytes, dates or structures of these, in native byte order.

    >>> name_of_dtype(np.dtype("M8[us]")), name_of_dtype(np.dtype("S3"))
    ('datetime64[us]', 'S3')
    >>> name_of_dtype(np.dtype([("a", "<i4"), ("b", "<f8", (2,))]))
    '{"fields": [["a", "int32", [], 0], ["b", "float64", [2], 4]], "size": 20}'

    Raises:
        ValueError: the dtype contains objects or nothing, and has no such name.
    """
    name = _name(dtype)
    return name if isinstance(name, str) else json.dumps(name)


def _name(dtype: np.dtype[Any]) -> Any:
    if dtype.hasobject or not dtype.itemsize or dtype.itemsize > _LARGEST:
        raise ValueError(f"values of dtype {dtype} cannot be named")
    if dtype.fields is not None:
        fields = []
        for key in dtype.names or ():
            part, offset = dtype.fields[key][:2]
            base, shape = part.subdtype or (part, ())
            fields.append([key, _name(base), list(shape), offset])
        return {"fields": fields, "size": dtype.itemsize}
    if dtype.kind in "SVU":
        return f"{dtype.kind}{dtype.itemsize // (4 if dtype.kind == 'U' else 1)}"
    return dtype.name


def dtype_from_name(name: str) -> np.dtype[Any]:
    """Return the dtype with a name given by :func:`name_of_dtype`.

    >>> dtype_from_name("timedelta64[ms]")
    dtype('<m8[ms]')

    Raises:
        ValueError: the name is not a valid one.
    """
    return _dtype(parse_json(name) if name.startswith("{") else name, 0)


def _dtype(name: Any, level: int) -> np.dtype[Any]:
    if isinstance(name, dict) and level < _MOST_LEVELS:
        return _structure(name, level)
    if not isinstance(name, str):
        raise ValueError(f"{shortened(name)} is the name of no dtype")
    dtype = np.dtype(name) if _BYTES.fullmatch(name) or _TIME.fullmatch(name) else numeric_dtype(name)
    if dtype.itemsize > _LARGEST:
        raise ValueError(f"{shortened(name)} is the name of a dtype of {dtype.itemsize} bytes")
    return dtype


def _structure(name: dict[str, Any], level: int) -> np.dtype[Any]:
    fields, size = name.get("fields"), name.get("size")
    if not isinstance(fields, list) or len(fields) > _MOST_FIELDS or type(size) is not int or not 0 < size <= _LARGEST:
        raise ValueError(f"{shortened(name)} is not a structure")
    names, formats, offsets = [], [], []
    for field in fields:
        if not isinstance(field, list) or len(field) != 4:
            raise ValueError(f"{shortened(field)} is not a field of a structure")
        key, base, shape, offset = field
        is_place = type(offset) is int and 0 <= offset < size
        if not isinstance(key, str) or not is_place or not isinstance(shape, list) or len(shape) > 32:
            raise ValueError(f"{shortened(field)} is not a field of a structure")
        if not all(type(side) is int and 0 < side <= _LARGEST for side in shape):
            raise ValueError(f"{shortened(shape)} is not the shape of a field")
        names.append(key)
        formats.append((_dtype(base, level + 1), tuple(shape)) if shape else _dtype(base, level + 1))
        offsets.append(offset)
    description: Any = {"names": names, "formats": formats, "offsets": offsets, "itemsize": size}
    try:
        structure: np.dtype[Any] = np.dtype(description)
    except (TypeError, OverflowError, MemoryError) as error:
        raise ValueError(f"{shortened(name)} is not a structure ({error})") from None
    return structure
