"""Python values as JSON text and back, exactly, for two processes that share no package but NumPy."""

from __future__ import annotations

import ast
import base64
import json
from typing import Any

import numpy as np


def encode(value: Any) -> str:
    """Write nested dicts, lists, tuples, sets, bytes, texts, numbers and arrays as one line of JSON."""
    return json.dumps(_pack(value))


def decode(text: str) -> Any:
    """Read what `encode` wrote: the same types, dtypes, shapes and bits."""
    return _unpack(json.loads(text))


def _pack(value: Any) -> Any:
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, (np.ndarray, np.generic)):
        return _pack_array(value)
    if isinstance(value, bytes):
        return {"bytes": base64.b64encode(value).decode()}
    if isinstance(value, dict):
        return {"dict": [[_pack(key), _pack(part)] for key, part in value.items()]}
    for kind, name in ((list, "list"), (tuple, "tuple"), (set, "set")):
        if isinstance(value, kind):
            return {name: [_pack(part) for part in value]}
    raise TypeError(f"a {type(value).__name__} cannot be sent to the other process")


def _pack_array(value: np.ndarray | np.generic) -> Any:
    array = np.asarray(value)
    kind = "array" if isinstance(value, np.ndarray) else "scalar"
    if array.dtype == object:
        return {kind: [_pack(part) for part in array.ravel().tolist()], "dtype": "object", "shape": array.shape}
    data = base64.b64encode(array.tobytes()).decode()
    return {kind: data, "dtype": repr(np.lib.format.dtype_to_descr(array.dtype)), "shape": array.shape}


def _unpack(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if "dtype" in value:
        return _unpack_array(value)
    if "bytes" in value:
        return base64.b64decode(value["bytes"])
    if "dict" in value:
        return {_unpack(key): _unpack(part) for key, part in value["dict"]}
    ((name, parts),) = value.items()
    return {"list": list, "tuple": tuple, "set": set}[name](_unpack(part) for part in parts)


def _unpack_array(value: dict[str, Any]) -> Any:
    shape = tuple(value["shape"])
    kind = "array" if "array" in value else "scalar"
    if value["dtype"] == "object":
        array = np.empty(shape, object)
        array.ravel()[:] = [_unpack(part) for part in value[kind]]
    else:
        data = base64.b64decode(value[kind])
        array = np.frombuffer(bytearray(data), np.lib.format.descr_to_dtype(ast.literal_eval(value["dtype"]))).reshape(
            shape
        )
    return array if kind == "array" else array[()]
