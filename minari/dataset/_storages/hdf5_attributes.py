"""Metadata of an episode as attributes: numbers, arrays and texts by name, and nested dicts again.

Nested keys are joined by ``/``. What HDF5 has no type for, and JSON has, becomes a JSON text under a
name that ends in ``:json``; an array too large for an attribute becomes the base64 text of an ``.npy``
file under a name that ends in ``:npy``.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

import numpy as np

from minari.spaces import has_flags, is_utf8_text


_JSON_SUFFIX: Final = ":json"
_ARRAY_SUFFIX: Final = ":npy"
_SUFFIXES: Final = (_JSON_SUFFIX, _ARRAY_SUFFIX)
_LARGEST_ARRAY: Final = 60_000  # bytes; with its name an attribute may have 64 KiB

#: What the numbers of most episodes are, and what they become.
_NUMBERS: Final[dict[type, Callable[[Any], Any]]] = {float: np.float64, np.float64: np.float64, np.int64: np.int64}


def flatten_metadata(metadata: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Metadata as names and values of attributes: NumPy scalars and arrays, and texts."""
    for key, value in metadata.items():
        name = prefix + key
        if type(value) not in _NUMBERS and isinstance(value, Mapping) and value:
            yield from flatten_metadata(value, f"{name}/")
        else:
            yield _named(name, value)


def _named(name: str, value: Any) -> tuple[str, Any]:
    stored = None if name.endswith(_SUFFIXES) else _attribute_value(value)
    if stored is None:
        return name + _JSON_SUFFIX, json.dumps(value, default=lambda item: item.tolist())
    if isinstance(stored, np.ndarray) and stored.nbytes > _LARGEST_ARRAY:
        file = io.BytesIO()
        np.save(file, stored, allow_pickle=False)
        return name + _ARRAY_SUFFIX, base64.b64encode(file.getvalue()).decode()
    return name, stored


def _attribute_value(value: Any) -> Any:
    """What an attribute holds for a value, None where it would not come back as it was."""
    number = _NUMBERS.get(type(value))
    if number is not None:
        return number(value)
    if isinstance(value, str):
        return str(value) if is_utf8_text(value) else None
    if isinstance(value, (float, np.generic, np.ndarray)):
        return np.asarray(value)[()]
    if isinstance(value, (int, list, tuple)):
        try:
            array = np.asarray(value)
        except (ValueError, OverflowError):
            return None
        is_exact = array.dtype.kind in "biuf" and array.size and array.tolist() == _as_list(value)
        rounds_flags = array.dtype.kind != "b" and has_flags(value)
        return array[()] if is_exact and not rounds_flags else None
    return None


def _as_list(value: Any) -> Any:
    return [_as_list(item) for item in value] if isinstance(value, (list, tuple)) else value


def nested_metadata(attributes: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """The metadata that the attributes of an episode were made of."""
    metadata: dict[str, Any] = {}
    for name, value in attributes:
        if name.endswith(_SUFFIXES):
            name, value = _unsuffixed(name, value)
        if "/" not in name:
            metadata[name] = value
            continue
        *parents, key = name.split("/")
        node: Any = metadata
        for parent in parents:
            node = node.setdefault(parent, {}) if isinstance(node, dict) else None
        if isinstance(node, dict):
            node[key] = value
        else:  # another program has written both a value and something below it
            metadata[name] = value
    return metadata


def _unsuffixed(name: str, value: Any) -> tuple[str, Any]:
    if name.endswith(_JSON_SUFFIX):
        return name.removesuffix(_JSON_SUFFIX), json.loads(value)
    array = np.load(io.BytesIO(base64.b64decode(value)), allow_pickle=False)
    return name.removesuffix(_ARRAY_SUFFIX), array


def is_of(name: str, keys: Iterable[str]) -> bool:
    """Whether the attribute of this name belongs to one of these keys of the metadata."""
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix)
    return name.split("/")[0] in keys
