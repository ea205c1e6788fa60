"""Metadata of an episode as attributes: numbers, arrays and texts by name, and nested dicts again.

Nested keys are joined by ``/``. What HDF5 has no type for, and JSON has, becomes a JSON text under a
name that ends in ``:json``; an array too large for an attribute becomes the base64 text of an ``.npy``
file under a name that ends in ``:npy``.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from operator import itemgetter
from typing import Any, Final

import numpy as np

from minari._base.json_text import parse_json
from minari.dataset._storages.hdf5_objects import MOST_DIMENSIONS
from minari.spaces import has_flags, is_utf8_text


_JSON_SUFFIX: Final = ":json"
_ARRAY_SUFFIX: Final = ":npy"
_SUFFIXES: Final = (_JSON_SUFFIX, _ARRAY_SUFFIX)
_LARGEST_ARRAY: Final = 60_000  # bytes; with its name an attribute may have 64 KiB

_MOST_INT64: Final = 2**63 - 1


def flatten_metadata(metadata: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Metadata as names and values of attributes: NumPy scalars and arrays, and texts."""
    for key, value in metadata.items():
        name = prefix + key
        if isinstance(value, dict) and value:
            yield from flatten_metadata(value, f"{name}/")
        elif type(value) is np.float64 and not name.endswith(_SUFFIXES):  # most of what episodes have
            yield name, value
        else:
            yield _named(name, value)


def _named(name: str, value: Any) -> tuple[str, Any]:
    is_suffixed = name.endswith(_SUFFIXES)  # and needs another suffix, whose end can be told from its own
    stored = None if is_suffixed else _attribute_value(value)
    is_large = isinstance(stored, np.ndarray) and (
        stored.nbytes + len(name.encode()) > _LARGEST_ARRAY
        or stored.ndim >= MOST_DIMENSIONS  # (NumPy 1 has no more, and needs one itself)
    )
    if is_large or (is_suffixed and isinstance(value, (np.ndarray, np.generic))):
        file = io.BytesIO()
        np.save(file, value, allow_pickle=False)
        return name + _ARRAY_SUFFIX, base64.b64encode(file.getvalue()).decode()
    if stored is None:
        return name + _JSON_SUFFIX, json.dumps(value, default=lambda item: item.tolist())
    return name, stored


def _attribute_value(value: Any) -> Any:
    """What an attribute holds for a value, None where it would not come back as it was."""
    if type(value) is int and -_MOST_INT64 <= value <= _MOST_INT64:
        return np.int64(value)
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
    others = []
    for name, value in attributes:
        if "/" in name or name.endswith(_SUFFIXES):
            others.append(_unsuffixed(name, value))
        else:
            metadata[name] = value
    # Another program may have written both a value and something below it, or a value twice, once with a suffix.
    # In this order the first of them comes first; the other keeps its name.
    for name, written, value in sorted(others, key=itemgetter(0, 1)):
        *parents, key = name.split("/")
        node: Any = metadata
        for parent in parents:
            node = node.setdefault(parent, {}) if isinstance(node, dict) else None
        if isinstance(node, dict) and key not in node:
            node[key] = value
        else:
            metadata[written] = value
    return metadata


def _unsuffixed(name: str, value: Any) -> tuple[str, str, Any]:
    """The name without a suffix, as it is written, and the value."""
    if name.endswith(_SUFFIXES):
        with contextlib.suppress(ValueError, TypeError):  # of another program, which means something else by it
            if name.endswith(_JSON_SUFFIX):
                return name.removesuffix(_JSON_SUFFIX), name, parse_json(value)
            return name.removesuffix(_ARRAY_SUFFIX), name, _array_of_file(base64.b64decode(value, validate=True))
    return name, name, value


def _array_of_file(content: bytes) -> Any:
    """The array in an ``.npy`` file, whose header must speak of as many bytes as there are."""
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"an array file of version {version}")
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = header(file)
    if dtype.hasobject or math.prod(shape) * dtype.itemsize != len(content) - file.tell():
        raise ValueError(f"an array of the shape {shape} in {len(content)} bytes")
    file.seek(0)
    return np.lib.format.read_array(file, allow_pickle=False)[()]


def is_of(name: str, keys: Iterable[str]) -> bool:
    """Whether the attribute of this name belongs to one of these keys of the metadata."""
    suffix = next(filter(name.endswith, _SUFFIXES), "")  # only one: a key may end in one as well
    return name.removesuffix(suffix).split("/")[0] in keys
