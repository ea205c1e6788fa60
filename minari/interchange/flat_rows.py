"""Flat rows of steps, one episode after the other, cut into episodes: the layout of D4RL and of replay buffers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from minari._base.json_text import shortened
from minari._model.episode_buffer import EpisodeBuffer
from minari.errors import ArgumentError, InterchangeError
from minari.interchange.format import FINAL_OBSERVATIONS, FinalObservation, Report


__all__ = [
    "LOST_TERMINATIONS",
    "FlatRows",
    "Rows",
    "action_values",
    "blocks_of",
    "flags_of",
    "map_rows",
    "with_missing_row",
]

#: What an import says where a step that is left out was a termination.
LOST_TERMINATIONS: Final = "the terminations of last steps that are left out"

_AT_ONCE = 2**24  # bytes of the rows that are compared
_BLOCK = 2**22  # bytes of the rows that are looked at


class Rows(Protocol):
    """An array with time first, read by consecutive rows."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Return its shape."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Return its dtype."""

    def __getitem__(self, rows: slice) -> npt.NDArray[Any]: ...


#: Rows, or dicts and tuples of rows.
RowsTree: TypeAlias = Any


def map_rows(function: Any, *trees: RowsTree) -> Any:
    """Return what a function makes of each array of nested dicts and tuples, in the same nesting."""
    first = trees[0]
    if isinstance(first, Mapping):
        return {key: map_rows(function, *(tree[key] for tree in trees)) for key in first}
    if isinstance(first, tuple):
        return tuple(map_rows(function, *parts) for parts in zip(*trees, strict=True))
    return function(*trees)


def blocks_of(rows: Rows) -> Iterator[npt.NDArray[Any]]:
    """Yield all rows, some MB at a time."""
    count = max(1, _BLOCK // max(1, math.prod(rows.shape[1:], start=rows.dtype.itemsize)))
    for first in range(0, rows.shape[0], count):
        yield rows[first : min(first + count, rows.shape[0])]


def flags_of(name: str, rows: Rows, where: object) -> npt.NDArray[np.bool_]:
    """Return flags that are stored as booleans or as numbers 0 and 1, of shape (N,) or (N, 1).

    Raises:
        InterchangeError: they are something else.
    """
    found = [np.zeros(0, np.bool_)]
    is_right = len(rows.shape) > 0 and math.prod(rows.shape[1:]) == 1 and rows.dtype.kind in "biuf"
    for values in blocks_of(rows) if is_right else ():
        is_right = values.dtype.kind == "b" or bool(((values == 0) | (values == 1)).all())
        if not is_right:
            break
        found.append(values.reshape(len(values)).astype(np.bool_))
    if not is_right:
        raise InterchangeError(
            f"The {name} of {where} are {rows.dtype} values of shape {rows.shape}, expected a flag a step, 0 or 1."
        )
    return np.concatenate(found)


def action_values(rows: Rows) -> npt.NDArray[Any]:
    """Return what a space of actions follows from: the least and the greatest of choices, or one row of others."""
    if len(rows.shape) > 1 or rows.dtype.kind not in "iu":
        return rows[0:1]
    limits = [limit for block in blocks_of(rows) for limit in (block.min(), block.max())]
    return np.array([min(limits), max(limits)], rows.dtype) if limits else rows[0:0]


@dataclass(frozen=True, slots=True)
class FlatRows:
    """N rows of steps with the bounds of E episodes; the rows are read when an episode is asked for.

    Attributes:
        observations: the observation before each step, as rows in nested dicts and tuples.
        actions: the actions, in the same form.
        rewards: of shape (N,), (N, 1) or (N, k).
        terminated: whether each step ended in a terminal state, shape (N,).
        truncated: whether an episode was cut off after each step, shape (N,).
        starts: the first row of each episode, shape (E,).
        ends: the row after the last one of each episode, shape (E,).
        next_observations: the observation after each step, None if they are not stored.
        infos: values by nested names; the info of a row belongs to the observation before the step.
        next_infos: values by nested names; the info of a row belongs to the observation after the step.
        metadata: metadata of each episode, empty if there is none.
    """

    observations: RowsTree
    actions: RowsTree
    rewards: Rows
    terminated: npt.NDArray[np.bool_]
    truncated: npt.NDArray[np.bool_]
    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    next_observations: RowsTree | None = None
    infos: Mapping[str, Any] = field(default_factory=dict)
    next_infos: Mapping[str, Any] = field(default_factory=dict)
    metadata: list[dict[str, Any]] = field(default_factory=list)

    def check_final_observation(self, choice: FinalObservation, where: object) -> None:
        """Raise unless the last observations are there, or a choice says what to do.

        Raises:
            ArgumentError: it is not a choice.
            InterchangeError: they are missing and the choice is ``"error"``.
        """
        if choice not in FINAL_OBSERVATIONS:
            expected = ", ".join(map(repr, FINAL_OBSERVATIONS))
            raise ArgumentError(f"final_observation is {shortened(choice)}, expected one of {expected}.")
        if choice == "error" and self.next_observations is None:
            raise InterchangeError(
                f"{where} has no observation after the last step of its {len(self.starts)} episodes; choose "
                f"final_observation='repeat' to repeat the one before, 'drop_last_step' to leave out the last step, or "
                f"'next_row' to take the first one of the next episode."
            )

    def episodes(self, choice: FinalObservation, report: Report) -> Iterator[EpisodeBuffer]:
        """Yield the episodes, and complete the report.

        Args:
            choice: where the last observation of an episode comes from if ``next_observations`` are not stored.
            report: the report of the conversion.
        """
        has_next = self.next_observations is not None
        if not has_next:
            report.note("assumed", _ASSUMED[choice])
        lost = 0
        for number, (start, end) in enumerate(zip(self.starts.tolist(), self.ends.tolist(), strict=True)):
            drops = not has_next and (
                choice == "drop_last_step" or (choice == "next_row" and end == len(self.terminated))
            )
            if drops and choice == "next_row":
                report.note("assumed", "the last step of the file, after which there is no row, is left out")
            stop = end - drops
            if drops and self.terminated[stop]:
                report.note("missing", LOST_TERMINATIONS)
            if stop == start:
                lost += 1
                continue
            yield self._episode(number, start, stop, end, choice)
        if lost:
            report.note("missing", f"{lost} episodes of a single step, which is the last one")

    def _episode(self, number: int, start: int, stop: int, end: int, choice: FinalObservation) -> EpisodeBuffer:
        steps = slice(start, stop)
        truncated = self.truncated[steps].copy()
        if stop < end:
            truncated[-1] = True
        rewards = self.rewards[steps]
        return EpisodeBuffer(
            observations=self._observations(start, stop, end, choice),
            actions=map_rows(lambda rows: rows[steps], self.actions),
            rewards=rewards.reshape(len(rewards)) if rewards.size == len(rewards) else rewards,
            terminations=self.terminated[steps].copy(),
            truncations=truncated,
            infos=_infos(self.infos, self.next_infos, start, stop, end),
            metadata=self.metadata[number] if self.metadata else None,
        )

    def _observations(self, start: int, stop: int, end: int, choice: FinalObservation) -> Any:
        if self.next_observations is not None:
            last = map_rows(lambda rows: rows[stop - 1 : stop], self.next_observations)
        elif stop < end or choice == "next_row":
            return map_rows(lambda rows: rows[start : stop + 1], self.observations)
        else:
            last = map_rows(lambda rows: rows[stop - 1 : stop], self.observations)
        before = map_rows(lambda rows: rows[start:stop], self.observations)
        return map_rows(lambda a, b: np.concatenate([a, b]), before, last)

    def breaks(self) -> npt.NDArray[np.bool_]:
        """Return after which rows the next observation is not that of the next row, shape (N,); the last one is True.

        NaN equals NaN.
        """
        total = len(self.terminated)
        found = np.zeros(total, np.bool_)
        found[-1:] = True
        if self.next_observations is None:
            return found
        sizes: list[int] = []
        map_rows(lambda rows: sizes.append(math.prod(rows.shape[1:], start=rows.dtype.itemsize)), self.observations)
        count = max(1, _AT_ONCE // max(1, *sizes))
        for first in range(0, total - 1, count):
            stop = min(first + count, total - 1)

            def differ(after: Rows, before: Rows, first: int = first, stop: int = stop) -> None:
                a, b = after[first:stop], before[first + 1 : stop + 1]
                places = np.flatnonzero(a != b)  # few, so that this is faster than to look at each row
                if a.dtype.kind in "fc" and len(places):
                    x, y = a.reshape(-1)[places], b.reshape(-1)[places]
                    places = places[(x == x) | (y == y)]  # NaN is not equal to itself
                found[first + places // (a.size // len(a))] = True

            map_rows(differ, self.next_observations, self.observations)
        return found


_ASSUMED: Mapping[str, str] = {
    "error": "",
    "repeat": "the observation after the last step of an episode is the one before it (final_observation='repeat')",
    "drop_last_step": "the last step of each episode, whose next observation is missing, is left out, and the one "
    "before it is truncated (final_observation='drop_last_step')",
    "next_row": "the observation after the last step of an episode is that of the next row of the file "
    "(final_observation='next_row')",
}


def _infos(infos: Mapping[str, Any], next_infos: Mapping[str, Any], start: int, stop: int, end: int) -> dict[str, Any]:
    """Return the infos of an episode: one row for each observation, masked where there is none."""
    found: dict[str, Any] = {}
    for key in {**infos, **next_infos}:
        before, after = infos.get(key), next_infos.get(key)
        if isinstance(before, Mapping) or isinstance(after, Mapping):
            found[key] = _infos(before or {}, after or {}, start, stop, end)
            continue
        if before is not None and stop < end:  # the row of the step that is left out
            found[key] = before[start : stop + 1]
            continue
        first = None if before is None else before[start:stop]
        last = None if after is None else after[stop - 1 : stop] if before is not None else after[start:stop]
        found[key] = _joined(first, last)
        if (before is None or after is None) and f"_{key}" not in {**infos, **next_infos}:
            found[f"_{key}"] = np.arange(stop - start + 1) != (0 if before is None else stop - start)
    return found


def with_missing_row(values: Any) -> tuple[Any, npt.NDArray[np.bool_]]:
    """Return values of steps, an array or a list, with a filled row at the end, and the mask of those that are real."""
    mask = np.arange(len(values) + 1) < len(values)
    if isinstance(values, np.ndarray):
        return np.concatenate([values, _filled_row(values)]), mask
    return [*values, values[0][:0]] if values else [], mask


def _filled_row(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.full((1, *values.shape[1:]), "" if values.dtype == object else 0, values.dtype)


def _joined(first: npt.NDArray[Any] | None, last: npt.NDArray[Any] | None) -> npt.NDArray[Any]:
    """Return two parts of a column after each other, with one filled row for the part that is missing."""
    if first is not None:
        return np.concatenate([first, _filled_row(first) if last is None else last])
    if last is None:
        raise ValueError("both parts are missing")
    return np.concatenate([_filled_row(last), last])
