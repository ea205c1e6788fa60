"""The first difference between two datasets: a leaf of their spaces, a key of their environment specs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gymnasium import spaces

from minari._base.json_text import shortened
from minari.spaces.codecs import codec_for
from minari.spaces.columns import path_name


__all__ = ["differing_key", "differing_leaf"]

Space = spaces.Space[Any]


def differing_leaf(ours: Space, theirs: Space, path: tuple[str | int, ...] = (), *, exact: bool = False) -> str:
    """Return the first leaf whose values have a different layout, with both of its spaces.

    Args:
        ours: the first space.
        theirs: the second space.
        path: path of both inside larger spaces.
        exact: True for the first leaf whose spaces differ in anything, such as their bounds.

    Returns:
        A text such as ``"observations/camera is Box(...) and Discrete(3)"``; empty if there is no such leaf.
    """
    if isinstance(ours, spaces.Dict) and isinstance(theirs, spaces.Dict):
        if ours.spaces.keys() != theirs.spaces.keys():
            return f"{path_name(path)} has the keys {shortened(list(ours.spaces))} and {shortened(list(theirs.spaces))}"
        parts: Any = [(key, ours.spaces[key], theirs.spaces[key]) for key in ours.spaces]
    elif isinstance(ours, spaces.Tuple) and isinstance(theirs, spaces.Tuple):
        if len(ours.spaces) != len(theirs.spaces):
            return f"{path_name(path)} has {len(ours.spaces)} and {len(theirs.spaces)} parts"
        parts = [(i, *both) for i, both in enumerate(zip(ours.spaces, theirs.spaces, strict=True))]
    elif ours != theirs if exact else codec_for(ours).layout() != codec_for(theirs).layout():
        return f"{path_name(path)} is {shortened(ours)} and {shortened(theirs)}"
    else:
        return ""
    return next(
        filter(None, (differing_leaf(mine, other, (*path, key), exact=exact) for key, mine, other in parts)), ""
    )


def differing_key(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    """Return the first key whose values differ in two descriptions, with both values; empty if there is none.

    >>> differing_key({"id": "A-v0", "kwargs": {"n": 1}}, {"id": "A-v0", "kwargs": {"n": 2}})
    'kwargs/n is 1 and 2'
    """
    for key in dict.fromkeys([*ours, *theirs]):
        mine, other = ours.get(key), theirs.get(key)
        if mine == other:
            continue
        if isinstance(mine, Mapping) and isinstance(other, Mapping):
            return f"{key}/{differing_key(mine, other)}"
        return f"{key} is {shortened(mine)} and {shortened(other)}"
    return ""
