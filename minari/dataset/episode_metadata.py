"""Metadata of an episode in the form that every storage format takes: nested dicts, checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from minari.errors import MetadataError
from minari.spaces import is_utf8_text


#: Keys that follow from the data, and that nobody sets.
OWN_KEYS = ("id", "total_steps")

#: Types whose values every format holds as they are.
_PLAIN = frozenset({type(None), str, bool, int, float} | {np.dtype(code).type for code in "?bhilqBHILQefdFD"})


def checked_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata that every format can hold, or an error.

    A key with slashes is the same as nested dicts, which is how it is spelled on disk:

    >>> checked_metadata({"level": 3, "state/position": [0.5, 1.0], "state/name": "start"})
    {'level': 3, 'state': {'position': [0.5, 1.0], 'name': 'start'}}

    Args:
        metadata: numbers, arrays of numbers, strings, None, and lists and dicts of these.

    Raises:
        MetadataError: a key is not a string that can be stored, or belongs to the library; or a
            value is of another kind.
    """
    own = [key for key in OWN_KEYS if key in metadata]
    if own:
        raise MetadataError(f"The episode metadata {own[0]!r} follow from the data; leave them out.")
    return _nested(metadata, "")


def _nested(metadata: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for key, value in metadata.items():
        name = f"{prefix}{key}"
        place = _place_of(key) if isinstance(key, str) else None
        if place is None:
            raise MetadataError(
                f"The episode metadata have the key {key!r}{f' in {prefix[:-1]!r}' if prefix else ''}, expected "
                f"a string that is not empty, also between slashes, and has no NUL character; rename it."
            )
        outer, last = place
        node = nested
        for part in outer:
            node = node.setdefault(part, {})
            if not isinstance(node, dict):
                raise _conflict(name)
        if type(value) not in _PLAIN and isinstance(value, Mapping):
            there, more = node.get(last, {}), _nested(value, f"{name}/")
            if not isinstance(there, dict) or not more.keys().isdisjoint(there):
                raise _conflict(name)
            node[last] = {**there, **more}
        elif last in node:
            raise _conflict(name)
        else:
            node[last] = value if type(value) in _PLAIN else _checked_value(name, value)
    return nested


@lru_cache(maxsize=1024)  # every episode brings the same keys
def _place_of(key: str) -> tuple[list[str], str] | None:
    """The key at its slashes, the last part for itself; None for one that cannot be stored."""
    *outer, last = key.split("/")
    return (outer, last) if all((*outer, last)) and is_utf8_text(key) else None


def _conflict(name: str) -> MetadataError:
    return MetadataError(f"The episode metadata give {name!r} twice, once with slashes; rename one of the two.")


def _checked_value(name: str, value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        if value.dtype.kind in "biufc":
            return value
        value = value.tolist()
    if value is not None and not isinstance(value, (str, bool, int, float)):
        try:
            json.dumps(value, default=_plain)
        except (TypeError, ValueError) as error:
            raise MetadataError(
                f"The episode metadata {name!r} are {value!r} ({type(value).__name__}), expected a number, "
                f"an array, a string, or what JSON can hold."
            ) from error
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    raise TypeError
