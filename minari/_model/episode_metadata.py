"""Metadata of an episode in the form for every storage format: nested dicts, checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from minari._base.plain_values import brief, from_tagged, is_tagged, plain_value, to_tagged, type_name
from minari.errors import MetadataError
from minari.spaces import is_utf8_text


#: Keys that are derived from the data and cannot be set.
OWN_KEYS = ("id", "total_steps")

_MOST_LEVELS = 30  # of nested dicts
_MOST_BITS = 14_000  # of an integer: Python converts no more than 4,300 digits to text

#: Types whose values every format stores unchanged.
_PLAIN = frozenset({type(None), str, bool, int, float} | {np.dtype(code).type for code in "?bhilqBHILQefdFD"})

#: Types of which every value can be stored.
_FLAT = _PLAIN - {int}


def checked_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return metadata that every format can store, or raise an error.

    A key with slashes is equivalent to nested dicts, as on disk:

    >>> checked_metadata({"level": 3, "state/position": [0.5, 1.0], "state/name": "start"})
    {'level': 3, 'state': {'position': [0.5, 1.0], 'name': 'start'}}

    Args:
        metadata: numbers, arrays, strings, bytes, dates, None, and lists and dicts of these; the seed is an
            integer or None.

    Raises:
        MetadataError: a key is not a string that can be stored, or is reserved by the library; or a value has
            another type.
    """
    if type(metadata) is dict and _FLAT.issuperset(map(type, metadata.values())) and _are_flat(tuple(metadata)):
        return metadata.copy()  # only statistics, as in nearly all episodes
    own = [key for key in OWN_KEYS if key in metadata]
    if own:
        raise MetadataError(f"The episode metadata {own[0]!r} follows from the data; leave it out.")
    nested = _nested(metadata, "")
    if "seed" in nested:
        nested["seed"] = _checked_seed(nested["seed"])
    return nested


def _nested(metadata: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    if prefix.count("/") > _MOST_LEVELS:
        raise MetadataError(f"The episode metadata {brief(prefix)} is nested too deeply; flatten it.")
    for key, value in metadata.items():
        name = f"{prefix}{key}"
        place = _place_of(key) if isinstance(key, str) else None
        if place is None:
            raise MetadataError(
                f"The episode metadata has the key {key!r}{f' in {prefix[:-1]!r}' if prefix else ''}, expected "
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
            is_plain = type(value) in _PLAIN and not (type(value) is int and value.bit_length() > _MOST_BITS)
            node[last] = value if is_plain else _checked_value(name, value)
    return nested


@lru_cache(maxsize=1024)  # every episode has the same keys
def _place_of(key: str) -> tuple[list[str], str] | None:
    """Return the parts of a key between slashes, with the last part separate; None for a key that cannot be stored."""
    *outer, last = key.split("/")
    return (outer, last) if all((*outer, last)) and is_utf8_text(key) else None


@lru_cache(maxsize=1024)
def _are_flat(keys: tuple[Any, ...]) -> bool:
    """Return whether all keys can be stored unchanged, and none has a special meaning."""
    places = [_place_of(key) if isinstance(key, str) else None for key in keys]
    return all(place is not None and not place[0] for place in places) and {*OWN_KEYS, "seed"}.isdisjoint(keys)


def _conflict(name: str) -> MetadataError:
    return MetadataError(f"The episode metadata give {name!r} twice, once with slashes; rename one of the two.")


def _checked_value(name: str, value: Any) -> Any:
    """Return a value of a type that every format stores, converted if necessary."""
    value = plain_value(value)
    if isinstance(value, complex):
        return np.complex128(value)
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "biufc":
        return value
    try:
        if isinstance(value, int) and value.bit_length() > _MOST_BITS:
            raise ValueError("a number of too many digits")
        tagged = to_tagged(value)
        text = json.dumps(tagged)
    except (TypeError, ValueError) as error:
        raise MetadataError(
            f"The episode metadata {name!r} is {brief(value)} ({type_name(value)}), which is or holds what cannot be "
            f"stored ({error}), expected a number, an array, a string, or what JSON can hold; convert or leave it out."
        ) from error
    if isinstance(value, (np.ndarray, np.generic)):
        return tagged
    try:  # JSON represents most values unchanged, except for arrays as lists
        return value if json.dumps(value, default=_to_list) == text else tagged
    except TypeError:
        return tagged


def _to_list(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    raise TypeError


def _checked_seed(seed: Any) -> int | None:
    """Return the seed of an episode.

    Raises:
        MetadataError: it is not an integer.
    """
    if seed is None:
        return None
    if isinstance(seed, (bool, np.bool_)) or not isinstance(seed, (int, np.integer)):
        raise MetadataError(
            f"The episode metadata 'seed' is {brief(seed)} ({type(seed).__name__}), expected a whole number or None; "
            f"store it under another name."
        )
    return int(seed)


def decoded_metadata(metadata: dict[str, Any]) -> dict[str, Any]:
    """Return stored metadata of an episode with values of their original types."""
    return {key: from_tagged(value) if isinstance(value, (dict, list)) else value for key, value in metadata.items()}


def encoded_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return metadata of an episode in the form in which it is stored, so that :func:`decoded_metadata` returns it.

    >>> decoded_metadata(encoded_metadata({"state": {"raw": b"x"}, "level": 3}))
    {'state': {'raw': b'x'}, 'level': 3}

    Raises:
        MetadataError: a value cannot be stored.
    """
    return {key: _encoded(key, value) for key, value in metadata.items()}


def _encoded(name: str, value: Any) -> Any:
    if type(value) in _PLAIN:
        return value
    if isinstance(value, Mapping) and all(type(key) is str for key in value) and not is_tagged(value):
        return {key: _encoded(f"{name}/{key}", inner) for key, inner in value.items()}
    return _checked_value(name, value)
