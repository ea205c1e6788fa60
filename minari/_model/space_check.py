"""Holds a whole episode against its space at once, and counts over a recording what lies outside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from minari._base.json_text import shortened
from minari.spaces import path_name, uniform_bound


__all__ = ["Outside", "OutsideValues", "SpaceCheck"]

_UNKNOWN = float("inf")


@dataclass(frozen=True, slots=True)
class Outside:
    """Values of one leaf that lie outside their space.

    Attributes:
        space: of the leaf.
        path: of the leaf inside the whole space, empty for the whole.
        first: the first step that is outside.
        count: how many steps are.
        worst: the value that is farthest outside, as text; of an array, the number in it.
        excess: how far that is beyond its bound; infinite where distance means nothing.
    """

    space: gym.Space[Any]
    path: str
    first: int
    count: int
    worst: str
    excess: float

    def united(self, later: Outside) -> Outside:
        """Both, of one leaf; the first step stays that of the earlier."""
        worst = later if later.excess > self.excess else self
        return Outside(self.space, self.path, self.first, self.count + later.count, worst.worst, worst.excess)


class OutsideValues:
    """Counts, leaf by leaf, the values of a recording that lie outside their spaces.

    Args:
        observation_space: of the recording.
        action_space: likewise.
    """

    def __init__(self, observation_space: gym.Space[Any], action_space: gym.Space[Any]) -> None:
        self._checks = ("Observation", SpaceCheck(observation_space)), ("Action", SpaceCheck(action_space))
        self._found: dict[tuple[str, str], tuple[Outside, int]] = {}
        self._is_news: set[tuple[str, str]] = set()

    def add(self, observations: Any, actions: Any, episode: int) -> list[str]:
        """Look at an episode.

        Args:
            observations: of all steps, nested as their space is.
            actions: likewise.
            episode: its number.

        Returns:
            A sentence for each leaf that is outside for the first time.
        """
        sentences = []
        for (name, check), values in zip(self._checks, (observations, actions), strict=True):
            for outside in check.outside(values):
                key = name, outside.path
                if key in self._found:
                    before, first = self._found[key]
                    self._found[key] = before.united(outside), first
                    self._is_news.add(key)
                else:
                    self._found[key] = outside, episode
                    sentences.append(_sentence(name, outside, episode))
        return sentences

    def take_summary(self, *, is_first_time: bool = False) -> list[str]:
        """Return a sentence for each leaf with all that was outside, and begin at zero.

        Args:
            is_first_time: whether nobody has heard what :meth:`add` returned; a leaf of which that was all
                is left out otherwise.
        """
        sentences = [
            _sentence(name, outside, first)
            for (name, path), (outside, first) in self._found.items()
            if is_first_time or (name, path) in self._is_news
        ]
        self._found.clear()
        self._is_news.clear()
        return sentences


def _sentence(name: str, outside: Outside, episode: int) -> str:
    place = f" at {outside.path}" if outside.path else ""
    steps = "1 step is" if outside.count == 1 else f"{outside.count} steps are"
    return (
        f"{name} is not in {name.lower()} space, in episode {episode} first at step {outside.first}{place}; {steps} "
        f"outside up to now, and the worst value is {outside.worst}. It is recorded as it is.\n"
        f"Space: {shortened(outside.space)}"
    )


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
        self._choices = (
            (int(space.start), int(space.start) + int(space.n) - 1) if type(space) is gym.spaces.Discrete else None
        )

    def outside(self, values: Any) -> list[Outside]:
        """Return what lies outside the space, one a leaf.

        Args:
            values: many steps, column by column.
        """
        if self._parts is not None:
            return [outside for key, part in self._parts for outside in part.outside(values[key])]
        if self._choices is not None and type(values) is list and _are_choices(*self._choices, values):
            return []
        if self._bounds is not None:
            array = _as_numbers(values, self.space.shape)
            if array is not None:
                found = self._bounds.outside(array, is_typed=isinstance(values, np.ndarray))
                return [] if found is None else [Outside(self.space, self._name, *found)]
        # No rule for all rows at once: ask the space row by row.
        rows = [row for row, value in enumerate(values) if not _contains(self.space, value)]
        return [Outside(self.space, self._name, r, len(rows), shortened(values[r]), _UNKNOWN) for r in rows[:1]]


def _contains(space: gym.Space[Any], value: Any) -> bool:
    try:
        return bool(space.contains(value))
    except Exception:  # spaces are asked about values they were not made for
        return False


_WHOLE_NUMBERS = frozenset({int} | {np.dtype(code).type for code in "bhilqBHILQ"})


def _are_choices(lowest: int, highest: int, values: list[Any]) -> bool:
    """Whether whole numbers of one type are within bounds; few of them differ, so that no array is needed to tell.

    Right after the steps of another program, an array and its least and greatest number cost four times as much.
    """
    types = set(map(type, values))
    if len(types) != 1 or not types <= _WHOLE_NUMBERS:
        return False
    return all(lowest <= value <= highest for value in map(int, set(values)))


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

    def outside(self, array: npt.NDArray[Any], is_typed: bool) -> tuple[int, int, str, float] | None:
        """Return the first row that is outside, how many are, the worst number and how far it is outside.

        Args:
            array: the rows.
            is_typed: whether the values came with a dtype, rather than as Python numbers.
        """
        is_refused = self._is_refused(array.dtype, is_typed)
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
