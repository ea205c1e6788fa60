"""Names of infos in columns: their keys, masks, and the markers of values that need more than a column of numbers."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any, Final

import numpy as np

from minari._base.json_text import parse_json, shortened
from minari._base.plain_values import brief, dtype_from_name, name_of_dtype, plain_value
from minari.errors import DatasetCorruptError, EpisodeTypeError
from minari.spaces.columns import ColumnPath, has_no_space, is_utf8_text, path_name


#: Name of the column with the numbers of arrays of different shapes, which does not have one row per step.
RAGGED_VALUES: Final = "_ragged_values"
#: Name of the column with the shapes of these arrays.
RAGGED_SHAPES: Final = "_ragged_shapes"
#: Name of a column with one JSON text per step.
JSON_TEXTS: Final = "_json"
#: Prefix of the name of a column of dates, bytes or structures; the dtype follows.
DTYPE: Final = "_dtype="
#: Prefix of an escaped key; its JSON follows.
ESCAPED_KEY: Final = "_key:"

_RESERVED = frozenset({RAGGED_VALUES, RAGGED_SHAPES, JSON_TEXTS})
_LONGEST_NAME: Final = 30_000  # maximum length of the name of a dtype
_POSITION = re.compile(r"_index_\d+")  # name of a position in a tuple on disk


@lru_cache(maxsize=1024)  # every episode has the same keys
def parts_of_key(key: str) -> tuple[str, ...] | None:
    """Return the parts of a key between slashes; None for a key that has to be escaped."""
    parts = tuple(key.split("/"))
    is_reserved = any(
        not part.strip(".") or is_marker(part) or part.startswith(ESCAPED_KEY) or _POSITION.fullmatch(part)
        for part in parts
    )
    return parts if is_utf8_text(key) and not is_reserved else None


def is_marker(part: str) -> bool:
    """Return whether the part of a path says how the values of an info are stored."""
    return part in _RESERVED or part.startswith(DTYPE)


def escaped_key(key: Any, path: ColumnPath) -> str:
    """Return the escaped name of a key of any type; a slash would start another level."""
    try:
        return escaped(key)
    except TypeError:
        raise EpisodeTypeError(
            f"The infos under {path_name(path)!r} have the key {brief(key)} ({type(key).__name__}), expected text, a "
            f"number, None or a tuple of these; rename it in a StepDataCallback."
        ) from None


def escaped(key: Any) -> str:
    """Return the escaped name of a key of any type that JSON can represent, see :func:`key_of`.

    Raises:
        TypeError: JSON has no such key.
    """
    return ESCAPED_KEY + json.dumps(_plain_key(key)).replace("/", "\\u002f")


def _plain_key(key: Any) -> Any:
    """Return the key as JSON represents it, a tuple as a list.

    Raises:
        TypeError: JSON has no such key.
    """
    if key is None:
        return None
    key = plain_value(key)
    if isinstance(key, np.generic) and key.dtype.kind in "biuf":
        key = key.item()
    if isinstance(key, tuple):
        return [_plain_key(part) for part in key]
    for kind in (bool, int, float, str):
        if isinstance(key, kind):
            return kind(key)
    raise TypeError(f"a {type(key).__name__} cannot be a key in JSON")


def key_of(name: Any) -> Any:
    """Return the key for a name in a file."""
    if not isinstance(name, str) or not name.startswith(ESCAPED_KEY):
        return name
    try:
        key = _hashable(parse_json(name[len(ESCAPED_KEY) :]))
    except ValueError:
        return name
    return name if isinstance(key, dict) else key


def _hashable(key: Any) -> Any:
    if isinstance(key, dict):
        raise ValueError("no key of an info is a dict")
    return tuple(map(_hashable, key)) if isinstance(key, list) else key


def info_name(path: ColumnPath) -> str:
    """Return the keys of the info at a path, joined by ``/``."""
    return path_name(tuple(map(key_of, path[1:])))


def shown_info(path: ColumnPath) -> str:
    """Return a path below ``infos`` in the form for :func:`discard_info`."""
    return f"{path[0]}/{info_name(path)}"


def mask_name(key: Any) -> str:
    """Return the name of the mask of an info, unless there is another info of that name."""
    return f"_{key}"


def second_mask_name(key: Any) -> str:
    """Return the name of the mask of an info if there is another info of the usual name."""
    return f"_mask:{key}"


def name_of_column(dtype: np.dtype[Any]) -> str:
    """Return the name of the column with the bytes or integers of values of a dtype.

    Raises:
        ValueError: the dtype has no such name.
    """
    name = name_of_dtype(dtype).replace("/", "\\u002f")
    if len(name) > _LONGEST_NAME or not is_utf8_text(name):
        raise ValueError(f"values of dtype {shortened(name)} have too many parts")
    return DTYPE + name


@lru_cache(maxsize=256)
def dtype_in_name(name: str) -> np.dtype[Any] | None:
    """Return the dtype in the name of a column; None if it is not such a name."""
    try:
        return dtype_from_name(name[len(DTYPE) :])
    except ValueError:
        return None


def dtype_of_column(path: ColumnPath) -> np.dtype[Any] | None:
    """Return the dtype of the values stored as bytes or integers in a column without a space; None for others."""
    name = path[-1]
    return dtype_in_name(name) if isinstance(name, str) and name.startswith(DTYPE) and has_no_space(path) else None


def damaged_info(path: ColumnPath, reason: str) -> DatasetCorruptError:
    """Return the error for columns of an info that do not fit together."""
    return DatasetCorruptError(
        f"The info {shortened(path_name(path))} {reason}, so that the episode is damaged; copy or download the dataset "
        f"again."
    )
