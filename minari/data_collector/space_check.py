"""Holds a whole episode against its space at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from minari.spaces import path_name


def first_outside(space: gym.Space[Any], values: Any, path: tuple[str | int, ...] = ()) -> tuple[int, str] | None:
    """The first step whose value lies outside the space.

    Args:
        space: what the values should lie in.
        values: many steps, column by column.
        path: of the space inside a larger one.

    Returns:
        The step and the path of the part that is outside; None where all are inside.
    """
    if isinstance(space, gym.spaces.Dict) and isinstance(values, Mapping):
        found = [first_outside(sub, values[key], (*path, key)) for key, sub in space.spaces.items()]
    elif isinstance(space, gym.spaces.Tuple) and isinstance(values, tuple):
        found = [
            first_outside(sub, part, (*path, i)) for i, (sub, part) in enumerate(zip(space.spaces, values, strict=True))
        ]
    else:
        outside = _first_row_outside(space, values)
        return None if outside is None else (outside, path_name(path))
    return min((place for place in found if place is not None), default=None)


def _first_row_outside(space: gym.Space[Any], values: Any) -> int | None:
    inside = _rows_inside(space, values)
    if inside is None:  # no rule for all rows at once: ask the space row by row
        return next((row for row, value in enumerate(values) if not _contains(space, value)), None)
    return None if inside.all() else int(np.argmin(inside))


def _contains(space: gym.Space[Any], value: Any) -> bool:
    try:
        return bool(space.contains(value))
    except Exception:  # spaces are asked about values they were not made for
        return False


def _rows_inside(space: gym.Space[Any], values: Any) -> npt.NDArray[np.bool_] | None:
    if type(space) not in (
        gym.spaces.Box,
        gym.spaces.Discrete,
        gym.spaces.MultiDiscrete,
        gym.spaces.MultiBinary,
    ):
        return None
    try:
        array = np.asarray(values)
    except ValueError:
        return None
    if array.dtype.kind not in "biuf" or array.shape[1:] != space.shape or len(array) == 0:
        return None
    if isinstance(space, gym.spaces.Box):
        if isinstance(values, np.ndarray) and not np.can_cast(array.dtype, space.dtype):
            return np.zeros(len(array), dtype=np.bool_)
        within: Any = (array >= space.low) & (array <= space.high)
    elif array.dtype.kind not in "biu":
        return np.zeros(len(array), dtype=np.bool_)
    elif isinstance(space, gym.spaces.Discrete):
        within = (array >= space.start) & (array < space.start + space.n)
    elif isinstance(space, gym.spaces.MultiDiscrete):
        within = (array >= space.start) & (array < space.start + space.nvec)
    else:
        within = (array == 0) | (array == 1)
    rows: npt.NDArray[np.bool_] = within.reshape(len(array), -1).all(axis=1)
    return rows
