"""Holds a whole episode against its space at once."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from minari.spaces import path_name, uniform_bound


class SpaceCheck:
    """Finds values that lie outside a space; what can be told from the space alone is worked out once.

    Args:
        space: what the values should lie in.
        path: of the space inside a larger one.
    """

    def __init__(self, space: gym.Space[Any], path: tuple[str | int, ...] = ()) -> None:
        self.space = space
        self._name = path_name(path)
        self._parts: list[tuple[Any, SpaceCheck]] | None = None
        if isinstance(space, gym.spaces.Dict):
            self._parts = [(key, SpaceCheck(sub, (*path, key))) for key, sub in space.spaces.items()]
        elif isinstance(space, gym.spaces.Tuple):
            self._parts = [(i, SpaceCheck(sub, (*path, i))) for i, sub in enumerate(space.spaces)]
        self._bounds = _bounds_of(space)

    def first_outside(self, values: Any) -> tuple[int, str] | None:
        """The first step whose value lies outside the space.

        Args:
            values: many steps, column by column.

        Returns:
            The step and the path of the part that is outside; None where all are inside.
        """
        if self._parts is not None:
            places = [part.first_outside(values[key]) for key, part in self._parts]
            return min((place for place in places if place is not None), default=None)
        row = self._first_row_outside(values)
        return None if row is None else (row, self._name)

    def _first_row_outside(self, values: Any) -> int | None:
        if type(values) is list and type(self.space) is gym.spaces.Discrete and _are_choices(self.space, values):
            return None
        if self._bounds is not None:
            array = _as_numbers(values, self.space.shape)
            if array is not None:
                return self._bounds.first_row_outside(array, is_typed=isinstance(values, np.ndarray))
        # No rule for all rows at once: ask the space row by row.
        return next((row for row, value in enumerate(values) if not _contains(self.space, value)), None)


def _contains(space: gym.Space[Any], value: Any) -> bool:
    try:
        return bool(space.contains(value))
    except Exception:  # spaces are asked about values they were not made for
        return False


_WHOLE_NUMBERS = frozenset({int} | {np.dtype(code).type for code in "bhilqBHILQ"})


def _are_choices(space: gym.spaces.Discrete, values: list[Any]) -> bool:
    """Whether whole numbers of one type are inside; few of them differ, so that no array is needed to tell.

    Right after the steps of another program, an array and its least and greatest number cost four times as much.
    """
    types = set(map(type, values))
    if len(types) != 1 or not types <= _WHOLE_NUMBERS:
        return False
    different = set(values)
    return bool(space.start <= min(different) and max(different) < space.start + space.n)


def _as_numbers(values: Any, shape: tuple[int, ...] | None) -> npt.NDArray[Any] | None:
    """The values as numbers with one row a step, if that is what they are."""
    try:
        array = np.asarray(values)
    except ValueError:
        return None
    fits = array.dtype.kind in "biuf" and array.shape[1:] == shape and len(array) > 0
    return array if fits else None


class _Bounds:
    """The lowest and the highest numbers of a space.

    Args:
        dtype: of the numbers.
        low: the lowest, for each part of a value.
        high: the highest, likewise.
        is_box: whether the space takes numbers of all kinds that can be cast to its dtype, or
            whole numbers of any size.
    """

    def __init__(self, dtype: Any, low: npt.NDArray[Any], high: npt.NDArray[Any], is_box: bool) -> None:
        self._dtype, self._low, self._high, self._is_box = np.dtype(dtype), low, high, is_box
        # Where all parts have the same bounds, the least and the greatest of all numbers decide.
        self._least, self._greatest = uniform_bound(low), uniform_bound(high)
        info = np.iinfo(self._dtype) if self._dtype.kind in "iu" else None
        self._is_whole_dtype = info is not None and (self._least, self._greatest) == (info.min, info.max)

    def first_row_outside(self, array: npt.NDArray[Any], is_typed: bool) -> int | None:
        """The first row that is outside, if any.

        Args:
            array: the rows.
            is_typed: whether the values came with a dtype, rather than as Python numbers.
        """
        if self._is_refused(array.dtype, is_typed):
            return 0
        if self._holds(array):
            return None
        inside = (array >= self._low) & (array <= self._high)
        return int(np.argmin(inside.reshape(len(array), -1).all(axis=1)))

    def _is_refused(self, dtype: np.dtype[Any], is_typed: bool) -> bool:
        if dtype == self._dtype:
            return False
        if self._is_box:
            return is_typed and not np.can_cast(dtype, self._dtype)
        return dtype.kind not in "biu"

    def _holds(self, array: npt.NDArray[Any]) -> bool:
        """Whether all rows are inside; a NaN is not."""
        if array.size == 0 or (self._is_whole_dtype and array.dtype == self._dtype):
            return True
        if self._least is not None and self._greatest is not None:
            # Two passes that keep nothing: half the time of two comparisons of every number.
            low_enough = np.maximum.reduce(array, axis=None) <= self._greatest
            return bool(low_enough and np.minimum.reduce(array, axis=None) >= self._least)
        not_low, not_high = np.count_nonzero(array >= self._low), np.count_nonzero(array <= self._high)
        return bool(not_low == not_high == array.size)


def _bounds_of(space: gym.Space[Any]) -> _Bounds | None:
    """The bounds of a space of numbers; a space of another type may have a rule of its own."""
    if type(space) is gym.spaces.Box:
        return _Bounds(space.dtype, space.low, space.high, is_box=True)
    if type(space) is gym.spaces.Discrete:
        low, high = int(space.start), int(space.start) + int(space.n) - 1
        return _Bounds(space.dtype, np.asarray(low), np.asarray(high), is_box=False)
    if type(space) is gym.spaces.MultiDiscrete:
        return _Bounds(space.dtype, space.start, space.start + space.nvec - 1, is_box=False)
    if type(space) is gym.spaces.MultiBinary:
        return _Bounds(space.dtype, np.asarray(0), np.asarray(1), is_box=False)
    return None
