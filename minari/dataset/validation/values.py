"""Checks of values over all episodes: inside their spaces, finite, and not always the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from minari._base.json_text import shortened
from minari._model.episode_codec import ACTIONS, OBSERVATIONS, REWARDS
from minari._model.space_check import SpaceCheck
from minari.dataset.validation.examined import Examined, ReadEpisode, RunningCheck, Trajectory
from minari.dataset.validation.findings import Finding, Level
from minari.dataset.validation.tally import Tally, listed, place_text
from minari.spaces import Column, ColumnPath, Leaf, SpaceCodec, path_name


__all__ = ["ValueCheck", "VariationCheck"]

_FIELDS = (OBSERVATIONS, ACTIONS, REWARDS[0])
_LEAST_STEPS = 10  # fewer values, or a shorter episode, may well be all the same
_MOST_SHOWN = 4  # numbers of a value in a message


class ValueCheck(RunningCheck):
    """Counts the values outside their spaces, and those that are not finite, by leaf.

    A number that is not finite is not counted as outside as well.
    """

    def __init__(self, examined: Examined) -> None:
        super().__init__(examined)
        self._checks: dict[ColumnPath, list[tuple[str, SpaceCodec, SpaceCheck]]] = {}
        self._leaves: dict[ColumnPath, Leaf] = {}
        for prefix, codec in examined.codecs.items():
            spaces = ((OBSERVATIONS, codec.observations), (ACTIONS, codec.actions))
            self._checks[prefix] = [(name, part, SpaceCheck(part.space, any_dtype=True)) for name, part in spaces]
            self._leaves.update({(*prefix, *leaf.path): leaf for _, part in spaces for leaf in part.leaves()})
        self._outside: dict[str, Tally] = {}
        self._spaces: dict[str, str] = {}  # of those
        self._not_finite: dict[str, Tally] = {}
        self._infinite: dict[str, Tally] = {}

    def add(self, episode: ReadEpisode) -> None:
        """Examine the values of an episode."""
        for trajectory in episode.trajectories:
            replaced = self._without_odd_numbers(episode.index, trajectory)
            for name, codec, check in self._checks[trajectory.prefix]:
                values = trajectory.decoded[name]
                if any(path[0] == name for path in replaced):
                    values = codec.decode({**trajectory.columns, **replaced})
                for outside in check.outside(values):
                    leaf = trajectory.name((name, outside.path) if outside.path else (name,))
                    self._spaces.setdefault(leaf, shortened(outside.space))
                    tally = self._outside.setdefault(leaf, Tally())
                    tally.add(episode.index, outside.first, outside.count)
                    tally.compare(outside.worst, outside.excess)

    def _without_odd_numbers(self, index: int, trajectory: Trajectory) -> dict[ColumnPath, Column]:
        """Count numbers that are not finite; return the columns that have some, with others in their place."""
        replaced: dict[ColumnPath, Column] = {}
        with np.errstate(all="ignore"):
            for path, column in trajectory.columns.items():
                if column.dtype.kind not in "fc" or path[0] not in _FIELDS or _is_finite(column):
                    continue
                leaf = self._leaves.get((*trajectory.prefix, *path))
                odd = ~np.isfinite(column)
                allowed = _allowed_infinities(column, leaf)
                has_steps = leaf is not None or path == REWARDS  # the elements of a Sequence are rows as well
                for found, part in ((self._not_finite, odd & ~allowed), (self._infinite, odd & allowed)):
                    if part.any():
                        tally = found.setdefault(trajectory.name(path), Tally())
                        _count(tally, index, column, part, has_steps)
                if leaf is not None:
                    replaced[path] = np.where(odd, _inner_value(column, leaf), column).astype(column.dtype)
        return replaced

    def findings(self) -> Iterator[Finding]:
        """Yield a finding for each leaf."""
        for name, tally in self._not_finite.items():
            message = (
                f"{_counted_values(tally.count, name)} not finite {place_text(tally)}; the worst is {tally.worst}."
            )
            yield _about("warning", "not finite", message, name, tally)
        for name, tally in self._outside.items():
            steps = "1 step of" if tally.count == 1 else f"{tally.count:,} steps of"
            verb = "lies" if tally.count == 1 else "lie"
            message = (
                f"{steps} {name} {verb} outside of {self._spaces[name]}, {place_text(tally)}; the value farthest "
                f"outside is {tally.worst}."
            )
            yield _about("warning", "outside", message, name, tally)
        for name, tally in self._infinite.items():
            message = f"{_counted_values(tally.count, name)} infinite, which the space allows, {place_text(tally)}."
            yield _about("note", "infinite", message, name, tally)


def _count(tally: Tally, index: int, column: Column, odd: npt.NDArray[np.bool_], has_steps: bool) -> None:
    """Count the odd numbers of a column; a NaN is worse than an infinity."""
    row = int(np.argmax(odd.reshape(len(odd), -1).any(axis=1)))
    tally.add(index, row if has_steps else None, int(np.count_nonzero(odd)))
    has_nan = bool(np.isnan(column[odd]).any())
    tally.compare("nan" if has_nan else str(column[odd].flat[0]), float(has_nan))


def _counted_values(count: int, name: str) -> str:
    return f"1 value of {name} is" if count == 1 else f"{count:,} values of {name} are"


def _about(level: Level, kind: str, message: str, name: str, tally: Tally) -> Finding:
    return Finding(level, kind, message, tally.episode, name, step=tally.step, count=tally.count, worst=tally.worst)


def _is_finite(column: Column) -> bool:
    """Return whether all numbers are finite; their sum tells, unless it overflows."""
    return bool(np.isfinite(np.add.reduce(column, axis=None)) or np.isfinite(column).all())


def _allowed_infinities(column: Column, leaf: Leaf | None) -> npt.NDArray[np.bool_]:
    """Return which numbers are infinite where the bound of the space is the same infinity."""
    bounds = None if leaf is None or column.dtype.kind != "f" else _bounds_for(column, leaf)
    if bounds is None:
        return np.zeros(column.shape, np.bool_)
    low, high = bounds
    is_allowed: npt.NDArray[np.bool_] = np.isinf(column) & ((column == low) | (column == high))
    return is_allowed


def _inner_value(column: Column, leaf: Leaf) -> Any:
    """Return a value inside the space, for each element of a row."""
    bounds = _bounds_for(column, leaf)
    return 0 if bounds is None else np.clip(0, *bounds)


def _bounds_for(column: Column, leaf: Leaf) -> tuple[Column, Column] | None:
    """Return the bounds in the shape of a row of the column; None if the leaf has none."""
    if leaf.low is None or leaf.high is None:
        return None
    shape = column.shape[1:]
    return leaf.low.reshape(shape), leaf.high.reshape(shape)


@dataclass(slots=True)
class _Variation:
    """The variation of a leaf so far.

    Attributes:
        is_observed: True for a part of the observations.
        first: the bytes of its first row.
        shown: the value of the first row, for the message.
        rows: the number of rows.
        varies: True if two rows differ.
        frozen: the episodes of at least ten steps in which all rows are the same.
        long: the number of episodes of at least ten steps.
    """

    is_observed: bool
    first: bytes
    shown: str
    rows: int = 0
    varies: bool = False
    frozen: Tally = field(default_factory=Tally)
    long: int = 0


class VariationCheck(RunningCheck):
    """Looks for leaves that have one value everywhere, and for observations that stand still in some episodes."""

    def __init__(self, examined: Examined) -> None:
        super().__init__(examined)
        self._paths: dict[ColumnPath, list[ColumnPath]] = {}
        for prefix, codec in examined.codecs.items():
            leaves = [leaf.path for part in (codec.observations, codec.actions) for leaf in part.leaves()]
            self._paths[prefix] = [*leaves, REWARDS]
        self._found: dict[ColumnPath, _Variation] = {}

    def add(self, episode: ReadEpisode) -> None:
        """Examine the values of an episode."""
        for trajectory in episode.trajectories:
            is_long = len(trajectory.rewards) >= _LEAST_STEPS
            for path in self._paths[trajectory.prefix]:
                column = trajectory.columns[path]
                if not column.size:
                    continue
                key, first = trajectory.prefix + path, column[0].tobytes()
                known = self._found.get(key)
                if known is None:
                    known = self._found[key] = _Variation(path[0] == OBSERVATIONS, first, _shown(column[0]))
                known.rows += len(column)
                if known.varies and not (known.is_observed and is_long):
                    continue
                varies = _varies(column, first)
                known.varies |= varies or first != known.first
                if is_long:
                    known.long += 1
                    if not varies:
                        known.frozen.add(episode.index)

    def findings(self) -> Iterator[Finding]:
        """Yield a note for each leaf that does not vary as expected."""
        for path, known in self._found.items():
            name, frozen = path_name(path), known.frozen
            if not known.varies:
                if known.rows >= _LEAST_STEPS:
                    message = f"All {known.rows:,} values of {name} are {known.shown}."
                    yield Finding("note", "constant", message, leaf=name, count=known.rows)
            elif known.is_observed and frozen.episodes:
                message = f"The {name} differ from episode to episode and never within one, as goals do."
                if frozen.episodes < known.long:
                    message = (
                        f"The {name} stay the same throughout {listed(frozen)}, out of {known.long:,} with "
                        f"{_LEAST_STEPS} steps or more."
                    )
                yield Finding("note", "frozen", message, frozen.episode, name, count=frozen.episodes)


def _varies(column: Column, first: bytes) -> bool:
    """Return whether rows of a column differ; the last and the middle one nearly always tell."""
    if column[-1].tobytes() != first or column[len(column) // 2].tobytes() != first:
        return True
    return not bool((column == column[0]).all())


def _shown(row: Any) -> str:
    return shortened(np.asarray(row).tolist()) if np.size(row) <= _MOST_SHOWN else "the same"
