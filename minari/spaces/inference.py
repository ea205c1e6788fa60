"""Inference of spaces for data without an environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from minari.errors import SpaceError


def infer_observation_space(values: Any) -> gym.Space[Any]:
    """Return a space that contains these observations: boxes with the full range of their dtype, or text.

    Args:
        values: array with time first, or dicts and tuples of such arrays. A space can replace an array.

    Raises:
        SpaceError: an array contains neither numbers nor strings.
    """
    return _infer(values, _observation_leaf)


def infer_action_space(values: Any) -> gym.Space[Any]:
    """Return a space that contains these actions; one integer per step is a ``Discrete`` choice.

    Args:
        values: array with time first, or dicts and tuples of such arrays.

    Raises:
        SpaceError: an array contains neither numbers nor strings.
    """
    return _infer(values, _action_leaf)


def _infer(values: Any, leaf: Any) -> gym.Space[Any]:
    if isinstance(values, Mapping):
        return spaces.Dict({key: _infer(part, leaf) for key, part in values.items()})
    if isinstance(values, tuple):
        return spaces.Tuple([_infer(part, leaf) for part in values])
    space: gym.Space[Any] = values if isinstance(values, gym.Space) else leaf(values)
    return space


def _observation_leaf(column: npt.NDArray[Any]) -> gym.Space[Any]:
    dtype, shape = column.dtype, column.shape[1:]
    if dtype.kind == "f":
        return spaces.Box(-np.inf, np.inf, shape, dtype.type)
    if dtype.kind == "b":
        return spaces.Box(0, 1, shape, np.bool_)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return spaces.Box(limits.min, limits.max, shape, dtype.type)
    if dtype.kind in "UO" and not shape and all(isinstance(text, str) for text in column):
        characters = sorted(set("".join(column))) or ["a"]
        lengths = [len(text) for text in column]
        return spaces.Text(max(1, *lengths), min_length=min(lengths), charset="".join(characters))
    raise SpaceError(f"No space can be inferred for values of dtype {dtype} and shape {shape} a step; give the space.")


def _action_leaf(column: npt.NDArray[Any]) -> gym.Space[Any]:
    if column.dtype.kind in "iu" and column.ndim == 1:
        start, count = min(int(column.min()), 0), int(column.max()) + 1
        if count - start <= np.iinfo(np.int64).max:
            return spaces.Discrete(count - start, start=start)
    return _observation_leaf(column)
