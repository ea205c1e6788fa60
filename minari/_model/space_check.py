"""Comparison of whole episodes with their spaces, with counts of the values outside over a recording."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from minari._base.json_text import shortened
from minari.spaces import path_name, uniform_bound, without_ones


__all__ = ["Outside", "OutsideValues", "SpaceCheck"]

_UNKNOWN = float("inf")
_SHORT_ROW, _REPEATED_NUMBERS = 64, 2048


@dataclass(frozen=True, slots=True)
class Outside:
    """Values of one leaf that lie outside their space.

    Attributes:
        space: space of the leaf.
        path: path of the leaf inside the whole space, empty for the whole.
        first: the first step with a value outside.
        count: the number of such steps.
        worst: the value farthest outside, as text; for an array, the number in it.
        excess: its distance from the bound; infinite if there is no meaningful distance.
    """

    space: gym.Space[Any]
    path: str
    first: int
    count: int
    worst: str
    excess: float

    def united(self, later: Outside) -> Outside:
        """Return the union of both, of the same leaf; the first step is that of the earlier one."""
        worst = later if later.excess > self.excess else self
        return Outside(self.space, self.path, self.first, self.count + later.count, worst.worst, worst.excess)


class OutsideValues:
    """Counter of the values of a recording outside their spaces, by leaf.

    Args:
        observation_space: observation space of the recording.
        action_space: action space of the recording.
        owner: whose values they are, as a phrase; empty if there is only one agent.
    """

    def __init__(self, observation_space: gym.Space[Any], action_space: gym.Space[Any], owner: str = "") -> None:
        self._owner = f" of {owner}" if owner else ""
        self._observations, self._actions = SpaceCheck(observation_space), SpaceCheck(action_space)
        self._found: dict[tuple[str, str], tuple[Outside, int]] = {}
        self._is_news: set[tuple[str, str]] = set()

    def add(self, observations: Any, actions: Any, episode: int) -> list[str]:
        """Add an episode.

        Args:
            observations: the observations of all steps, nested like their space.
            actions: the actions of all steps.
            episode: its number.

        Returns:
            A sentence for each leaf that has values outside for the first time.
        """
        sentences = []
        for name, check, values in self._with(observations, actions):
            for outside in check.outside(values):
                key = name, outside.path
                if key in self._found:
                    before, first = self._found[key]
                    self._found[key] = before.united(outside), first
                    self._is_news.add(key)
                else:
                    self._found[key] = outside, episode
                    sentences.append(_sentence(name, self._owner, outside, episode))
        return sentences

    def is_any(self, observations: Any, actions: Any) -> bool:
        """Return whether values of some episodes, column by column, are outside, without counting them."""
        return any(check.outside(values) for _, check, values in self._with(observations, actions))

    def _with(self, observations: Any, actions: Any) -> tuple[tuple[str, SpaceCheck, Any], ...]:
        """Return the names of both spaces, their checks, and the values of some episodes."""
        return ("Observation", self._observations, observations), ("Action", self._actions, actions)

    def take_summary(self, *, is_first_time: bool = False) -> list[str]:
        """Return a sentence for each leaf with the totals, and reset the counts.

        Args:
            is_first_time: True if the result of :meth:`add` was not shown; otherwise leaves without further
                values are omitted.
        """
        sentences = [
            _sentence(name, self._owner, outside, first)
            for (name, path), (outside, first) in self._found.items()
            if is_first_time or (name, path) in self._is_news
        ]
        self._found.clear()
        self._is_news.clear()
        return sentences


def _sentence(name: str, owner: str, outside: Outside, episode: int) -> str:
    place = f" at {outside.path}" if outside.path else ""
    steps = "1 step is" if outside.count == 1 else f"{outside.count} steps are"
    return (
        f"{name}{owner} is not in {name.lower()} space, in episode {episode} first at step {outside.first}{place}; "
        f"{steps} outside up to now, and the worst value is {outside.worst}. It is recorded as it is.\n"
        f"Space: {shortened(outside.space)}"
    )


class SpaceCheck:
    """Check for values outside a space; precomputes everything that depends only on the space.

    Args:
        space: the space.
        path: its path inside a larger space.
        any_dtype: True for values that were stored: their type, and dimensions of length one, are not compared.
    """

    def __init__(self, space: gym.Space[Any], path: tuple[str | int, ...] = (), *, any_dtype: bool = False) -> None:
        self.space = space
        self._name, self._any_dtype = path_name(path), any_dtype
        parts: Iterable[tuple[Any, gym.Space[Any]]] | None = None
        if isinstance(space, gym.spaces.Dict):
            parts = space.spaces.items()
        elif isinstance(space, gym.spaces.Tuple):
            parts = enumerate(space.spaces)
        self._parts: list[tuple[Any, SpaceCheck]] | None = None
        if parts is not None:
            self._parts = [(key, SpaceCheck(part, (*path, key), any_dtype=any_dtype)) for key, part in parts]
        self._bounds = _bounds_of(space, any_dtype)
        self._choices = (
            (int(space.start), int(space.start) + int(space.n) - 1) if type(space) is gym.spaces.Discrete else None
        )

    def outside(self, values: Any) -> list[Outside]:
        """Return the values outside the space, one item per leaf.

        Args:
            values: many steps, column by column or, where the episode was given so, one by one.
        """
        if self._parts is not None:
            is_by_column = isinstance(values, (Mapping, tuple))
            return [
                outside
                for key, part in self._parts
                for outside in part.outside(values[key] if is_by_column else [value[key] for value in values])
            ]
        if self._choices is not None and type(values) is list and _are_choices(*self._choices, values):
            return []
        if self._bounds is not None:
            array = _as_numbers(values, self.space.shape, any_ones=self._any_dtype)
            if array is not None:
                found = self._bounds.outside(array, is_typed=isinstance(values, np.ndarray))
                return [] if found is None else [Outside(self.space, self._name, *found)]
        # There is no vectorized rule: check row by row.
        rows = [row for row, value in enumerate(values) if not _contains(self.space, value)]
        return [Outside(self.space, self._name, r, len(rows), shortened(values[r]), _UNKNOWN) for r in rows[:1]]


def _contains(space: gym.Space[Any], value: Any) -> bool:
    try:
        return bool(space.contains(value))
    except Exception:  # spaces may raise anything for unexpected values
        return False


_WHOLE_NUMBERS = frozenset({int} | {np.dtype(code).type for code in "bhilqBHILQ"})


def _are_choices(lowest: int, highest: int, values: list[Any]) -> bool:
    """Return whether integers of one type are within bounds; uses a set, as few of them differ.

    After the steps of another program, an array with its minimum and maximum takes four times as long.
    """
    types = set(map(type, values))
    if len(types) != 1 or not types <= _WHOLE_NUMBERS:
        return False
    numbers = [*map(int, set(values))]
    return lowest <= min(numbers) and max(numbers) <= highest


def _as_numbers(values: Any, shape: tuple[int, ...] | None, any_ones: bool = False) -> npt.NDArray[Any] | None:
    """Return the values as numbers with one row per step, if they are numbers.

    Args:
        values: the values.
        shape: the shape of one.
        any_ones: True to accept another number of dimensions of length one.
    """
    try:
        array = np.asarray(values)
    except ValueError:
        return None
    is_other = any_ones and shape is not None and array.ndim > 0 and array.shape[1:] != shape
    if is_other and without_ones(array.shape[1:]) == without_ones(shape or ()):
        array = array.reshape(len(array), *(shape or ()))
    fits = array.dtype.kind in "biuf" and array.shape[1:] == shape and len(array) > 0
    return array if fits else None


class _Bounds:
    """The lowest and the highest numbers of a space.

    Args:
        dtype: dtype of the numbers.
        low: the lowest number for each element of a value.
        high: the highest number for each element.
        is_box: True if the space accepts all types of numbers that can be cast to its dtype, or integers of any size.
        any_dtype: True to accept all types of numbers.
    """

    def __init__(
        self, dtype: Any, low: npt.NDArray[Any], high: npt.NDArray[Any], is_box: bool, any_dtype: bool
    ) -> None:
        self._dtype, self._low, self._high, self._is_box = np.dtype(dtype), low, high, is_box
        self._any_dtype = any_dtype
        # If all elements have the same bounds, the minimum and maximum of all numbers are sufficient.
        self._least, self._greatest = uniform_bound(low), uniform_bound(high)
        self._low_rows, self._high_rows = _repeated(low), _repeated(high)
        info = np.iinfo(self._dtype) if self._dtype.kind in "iu" else None
        self._is_whole_dtype = info is not None and (self._least, self._greatest) == (info.min, info.max)

    def outside(self, array: npt.NDArray[Any], is_typed: bool) -> tuple[int, int, str, float] | None:
        """Return the first row outside, the number of such rows, the worst number and its distance from the bound.

        Args:
            array: the rows.
            is_typed: True if the values came with a dtype, False for Python numbers.
        """
        is_refused = array.dtype != self._dtype and not self._accepts(array.dtype, is_typed)
        if self._holds(array):
            return (0, len(array), f"{array.flat[0]} of the dtype {array.dtype}", _UNKNOWN) if is_refused else None
        with np.errstate(invalid="ignore", over="ignore"):
            beyond = np.maximum(self._low - array.astype(np.float64), array.astype(np.float64) - self._high)
        beyond[(array >= self._low) & (array <= self._high)] = -_UNKNOWN
        beyond[np.isnan(beyond)] = _UNKNOWN  # NaN is beyond every bound
        inside = (beyond == -_UNKNOWN).reshape(len(array), -1).all(axis=1)
        worst = int(np.argmax(beyond))
        excess = float(beyond.flat[worst])
        if is_refused:
            return 0, len(array), f"{array.flat[worst]} of the dtype {array.dtype}", excess
        return int(np.argmin(inside)), int(np.count_nonzero(~inside)), str(array.flat[worst]), excess

    def _accepts(self, dtype: np.dtype[Any], is_typed: bool) -> bool:
        """Return whether numbers of another dtype than that of the space may be inside."""
        if self._any_dtype:
            return True
        return not is_typed or np.can_cast(dtype, self._dtype) if self._is_box else dtype.kind in "biu"

    def _holds(self, array: npt.NDArray[Any]) -> bool:
        """Return whether all rows are inside; a NaN is not."""
        if array.size == 0 or (self._is_whole_dtype and array.dtype == self._dtype):
            return True
        if self._least is not None and self._greatest is not None:
            # Two reductions without temporary arrays: half the time of two elementwise comparisons.
            low_enough = np.maximum.reduce(array, axis=None) <= self._greatest
            return bool(low_enough and np.minimum.reduce(array, axis=None) >= self._least)
        rows = len(self._low_rows)
        for part in [array] if rows == 1 or len(array) <= rows else np.split(array, range(rows, len(array), rows)):
            not_low, not_high = part >= self._low_rows[: len(part)], part <= self._high_rows[: len(part)]
            if not np.count_nonzero(not_low) == np.count_nonzero(not_high) == part.size:
                return False
        return True


def _repeated(bound: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the bound of a short row for many rows, which NumPy compares in a quarter of the time of broadcasting."""
    rows = _REPEATED_NUMBERS // bound.size if 0 < bound.size <= _SHORT_ROW else 1
    return bound[np.newaxis] if rows == 1 else np.repeat(bound[np.newaxis], rows, axis=0)


def _bounds_of(space: gym.Space[Any], any_dtype: bool) -> _Bounds | None:
    """Return the bounds of a space of numbers; None for other types, which may have their own rules."""
    if type(space) is gym.spaces.Box:
        return _Bounds(space.dtype, space.low, space.high, is_box=True, any_dtype=any_dtype)
    if type(space) is gym.spaces.Discrete:
        low, high = int(space.start), int(space.start) + int(space.n) - 1
        return _Bounds(space.dtype, np.asarray(low), np.asarray(high), is_box=False, any_dtype=any_dtype)
    if type(space) is gym.spaces.MultiDiscrete:
        return _Bounds(space.dtype, space.start, space.start + space.nvec - 1, is_box=False, any_dtype=any_dtype)
    if type(space) is gym.spaces.MultiBinary:
        return _Bounds(space.dtype, np.asarray(0), np.asarray(1), is_box=False, any_dtype=any_dtype)
    return None
