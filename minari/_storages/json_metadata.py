"""Metadata of an episode <-> JSON.

Numbers, strings, lists and dicts are as in JSON, arrays are nested lists. The key ``_dtypes`` has their
types: it is nested like the metadata, with ``["float32", [2, 3]]`` (the NumPy name of the type, and the
shape) in the place of an array, or of a number of a type that JSON does not have. Complex numbers are
lists of two.

>>> to_json({"seed": 3, "options": {"start": np.float32([0.5, 1.0])}})
'{"seed": 3, "options": {"start": [0.5, 1.0]}, "_dtypes": {"options": {"start": ["float32", [2]]}}}'
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from operator import methodcaller
from typing import Any

import numpy as np

from minari._base.json_text import parse_json, shortened
from minari._base.plain_values import numeric_dtype
from minari.errors import MetadataError


_DTYPES = "_dtypes"
_TO_LIST = methodcaller("tolist")  # of arrays and numbers inside lists
_JSON_SCALARS = (np.bool_, np.int64, np.float64)  # restored as Python types


def to_json(metadata: Mapping[str, Any]) -> str:
    """Return the text of metadata.

    Raises:
        MetadataError: a value cannot be stored.
    """
    if _DTYPES in metadata:
        raise MetadataError(f"The episode metadata has the key {_DTYPES!r}, which the format uses; rename it.")
    plain, dtypes = _plain_dict(metadata)
    return json.dumps(
        {**plain, **({_DTYPES: dtypes} if dtypes else {})}, default=_TO_LIST
    )  # arrays and numbers inside lists


def _plain_dict(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return values for JSON, and the types of those that are not as in JSON."""
    plain: dict[str, Any] = {}
    dtypes: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            plain[key], inner = _plain_dict(value)
            if inner:
                dtypes[key] = inner
        elif isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "biufc":
            plain[key] = _numbers(key, value)
            if not isinstance(value, _JSON_SCALARS):
                dtypes[key] = [value.dtype.name, list(value.shape)]
        else:
            plain[key] = value
    return plain, dtypes


def _numbers(key: str, value: Any) -> Any:
    if value.dtype.itemsize > (16 if value.dtype.kind == "c" else 8):
        raise MetadataError(
            f"The episode metadata {key!r} have the type {value.dtype}, which JSON cannot hold; convert them "
            f"to {'complex128' if value.dtype.kind == 'c' else 'float64'}."
        )
    return np.stack([value.real, value.imag], -1).tolist() if value.dtype.kind == "c" else value.tolist()


def from_json(text: str | bytes) -> dict[str, Any]:
    """Return the metadata in a text.

    Raises:
        ValueError: it was not created by :func:`to_json`.
    """
    values = parse_json(text)
    if not isinstance(values, dict):
        raise ValueError(f"expected a JSON object, got {shortened(values)}")
    return _typed_dict(values, values.pop(_DTYPES, {}))


def _typed_dict(values: Any, dtypes: Any) -> dict[str, Any]:
    if not isinstance(values, dict) or not isinstance(dtypes, dict) or not dtypes.keys() <= values.keys():
        raise ValueError(f"the dtypes are {shortened(dtypes)}, expected some for the keys of {shortened(values)}")
    for key, dtype in dtypes.items():
        values[key] = _typed_dict(values[key], dtype) if isinstance(dtype, dict) else _typed(values[key], dtype)
    return values


def _typed(value: Any, dtype: Any) -> Any:
    """Return an array, or a number, of a type and a shape that the data names."""
    name, shape = dtype if isinstance(dtype, list) and len(dtype) == 2 else (None, None)
    known = numeric_dtype(name)
    if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError(f"the shape of {shortened(value)} is {shortened(shape)}, expected a list of sizes")
    is_complex = known.kind == "c"
    if is_complex:
        shape = [*shape, 2]
    try:
        numbers = np.array(value, f"f{known.itemsize // 2}" if is_complex else known)
        if numbers.size != math.prod(shape):
            raise ValueError(f"there are {numbers.size} numbers")
        numbers = numbers.reshape(shape)
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(
            f"{shortened(value)} does not make {name} values of the shape {shortened(shape)} ({error})"
        ) from None
    return (numbers.view(known)[..., 0] if is_complex else numbers)[()]
