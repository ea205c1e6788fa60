"""Conversion of episode metadata to attributes: numbers, arrays and texts by name, and back to nested dicts.

Nested keys are joined by ``/``. A value that JSON can represent but HDF5 cannot becomes a JSON text under a
name that ends in ``:json``; an array too large for an attribute becomes the base64 text of an ``.npy`` file
under a name that ends in ``:npy``.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from minari._base.checksums import bytes_checksum
from minari._base.json_text import parse_json
from minari._storages.hdf5.format.datatypes import TEXT
from minari._storages.hdf5.format.objects import MOST_DIMENSIONS
from minari.spaces import has_flags, is_utf8_text


_JSON_SUFFIX: Final = ":json"
_ARRAY_SUFFIX: Final = ":npy"
_SUFFIXES: Final = (_JSON_SUFFIX, _ARRAY_SUFFIX)
_LARGEST_ARRAY: Final = 60_000  # bytes; an attribute has at most 64 KiB including its name

_MOST_INT64: Final = 2**63 - 1

_MANTISSA_OF_X87: Final = 63  # bits of a long double whose other bytes are padding
_BYTES_OF_X87: Final = 10


def flatten_metadata(metadata: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Return metadata as names and values of attributes: NumPy scalars and arrays, and texts."""
    for key, value in metadata.items():
        name = prefix + key
        if isinstance(value, dict) and value:
            yield from flatten_metadata(value, f"{name}/")
        elif type(value) is np.float64 and ":" not in name:  # most metadata of episodes; it has no suffix
            yield name, value
        elif type(value) is int and -_MOST_INT64 <= value <= _MOST_INT64 and ":" not in name:
            yield name, np.int64(value)
        else:
            yield _named(name, value)


def _named(name: str, value: Any) -> tuple[str, Any]:
    is_suffixed = name.endswith(_SUFFIXES)  # needs another suffix, whose end is distinguishable from its own
    stored = None if is_suffixed else _attribute_value(value)
    is_large = isinstance(stored, np.ndarray) and (
        stored.nbytes + len(name.encode()) > _LARGEST_ARRAY
        or stored.ndim >= MOST_DIMENSIONS  # (NumPy 1 supports no more, and needs one itself)
    )
    if is_large or (is_suffixed and isinstance(value, (np.ndarray, np.generic))):
        file = io.BytesIO()
        np.save(file, value, allow_pickle=False)
        return name + _ARRAY_SUFFIX, base64.b64encode(file.getvalue()).decode()
    if stored is None:
        return name + _JSON_SUFFIX, json.dumps(value, default=lambda item: item.tolist())
    return name, stored


def _attribute_value(value: Any) -> Any:
    """Return the attribute for a value, None if it would not be restored equal."""
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


def metadata_checksums(
    kinds: Sequence[tuple[str, Any, tuple[int, ...]]], values: Sequence[npt.NDArray[Any]]
) -> npt.NDArray[np.int64]:
    """Return the checksums of the metadata of episodes whose attributes have the same names and kinds.

    The upper half covers the names and kinds, to distinguish a program that adds or removes an attribute from
    a flipped bit. The number of the episode is not included.

    Args:
        kinds: name, dtype and shape of each attribute; the dtype is a text for text attributes.
        values: for each attribute, the values of all episodes in its first dimension; for texts, the results
            of :func:`text_checksum`.
    """
    chosen = sorted(
        (f"{name}\0{dtype if isinstance(dtype, str) else dtype.newbyteorder('<').str}\0{shape}", number)
        for number, (name, dtype, shape) in enumerate(kinds)
        if name != "id"
    )
    seed = bytes_checksum("\0".join(kind for kind, _ in chosen).encode("utf-8", "surrogatepass")) >> 32
    count = len(values[0])
    parts = [_bytes_of(values[number]).reshape(count, -1) for _, number in chosen if values[number].size]
    rows = np.concatenate(parts, axis=1)
    data, width = rows.tobytes(), rows.shape[1]
    digests = [bytes_checksum(data[begin : begin + width], seed) for begin in range(0, len(data), width)]
    numbers = np.array(digests, np.uint64) >> np.uint64(32) | np.uint64(seed << 32)
    checksums: npt.NDArray[np.int64] = np.maximum(numbers, np.uint64(1)).view(np.int64)
    return checksums


def _bytes_of(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Return the bytes of numbers in little-endian order, with zeros where they have no meaning."""
    content = np.ascontiguousarray(values, values.dtype.newbyteorder("<")).reshape(-1).view(np.uint8)
    if values.dtype.char in "gG" and np.finfo(np.longdouble).nmant == _MANTISSA_OF_X87:
        content = content.reshape(-1, np.dtype(np.longdouble).itemsize).copy()
        content[:, _BYTES_OF_X87:] = 0
    return content


def text_checksum(text: bytes) -> np.uint64:
    """Return the placeholder of a text in checksums of metadata."""
    number: np.uint64 = np.uint64(bytes_checksum(text))
    return number


def metadata_checksum(metadata: Mapping[str, Any]) -> int:
    """Return the checksum of the metadata of one episode, as computed by :func:`metadata_checksums`."""
    kinds: list[tuple[str, Any, tuple[int, ...]]] = []
    values = []
    for name, value in flatten_metadata(metadata):
        is_text = isinstance(value, str)
        array = np.asarray(text_checksum(value.encode()) if is_text else value)
        kinds.append((name, TEXT if is_text else array.dtype, array.shape))
        values.append(array[None])
    return int(metadata_checksums(kinds, values)[0])


def is_damaged(checksum: int, expected: int) -> bool:
    """Return whether metadata differs from what was written although it has the same names and kinds."""
    return checksum != expected and checksum >> 32 == expected >> 32


def nested_metadata(attributes: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return the metadata of the attributes of an episode."""
    metadata: dict[str, Any] = {}
    others = []
    for name, value in attributes:
        if "/" in name or name.endswith(_SUFFIXES):
            others.append(_unsuffixed(name, value))
        else:
            metadata[name] = value
    # Another program may have written both a value and something below it, or a value twice, once with a suffix.
    # In this order the first of them takes precedence; the other keeps its name.
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
    """Return the name without a suffix, and the value."""
    if name.endswith(_SUFFIXES):
        with contextlib.suppress(ValueError, TypeError):  # of another program, with another meaning
            if name.endswith(_JSON_SUFFIX):
                return name.removesuffix(_JSON_SUFFIX), name, parse_json(value)
            return name.removesuffix(_ARRAY_SUFFIX), name, _array_of_file(base64.b64decode(value, validate=True))
    return name, name, value


def _array_of_file(content: bytes) -> Any:
    """Return the array of an ``.npy`` file, whose header must match the number of bytes."""
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
    """Return whether the attribute with this name belongs to one of these keys of the metadata."""
    suffix = next(filter(name.endswith, _SUFFIXES), "")  # only one: a key may end in one too
    return name.removesuffix(suffix).split("/")[0] in keys
