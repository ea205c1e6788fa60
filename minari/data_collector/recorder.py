"""The running episode, leaf by leaf, in columns that grow.

Appending copies the values of a step and does nothing else: no checks, no trees of temporary
objects. Whatever is odd about a value, it is kept, and looked at when the episode is stored.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from minari.dataset.episode_buffer import STEP_KEYS, EpisodeBuffer
from minari.dataset.infos import ABSENT, append_info, discard_info
from minari.errors import EpisodeError


_FIRST_ROWS = 64


class GrowingColumn(Protocol):
    """The values of one node of a space, step by step."""

    def append(self, value: Any) -> None:
        """Keep the value of one more step."""

    def cut(self, rows: int) -> None:
        """Forget the values after the first ``rows``."""

    def take(self) -> Any:
        """The values so far, column by column; the column is empty afterwards."""


class _ArrayColumn:
    """Arrays of one shape, copied into rows of a larger one."""

    def __init__(self, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
        self._dtype, self._shape = dtype, shape
        self._rows = _FIRST_ROWS
        self._restart()

    def _restart(self) -> None:
        self._data: npt.NDArray[Any] = np.empty((self._rows, *self._shape), self._dtype)
        self._count = 0
        self._odd: list[Any] | None = None  # the values, once one did not fit the array

    def append(self, value: Any) -> None:
        if (
            self._odd is None
            and type(value) is np.ndarray
            and value.dtype == self._dtype
            and value.shape == self._shape
        ):
            if self._count == self._rows:
                self._grow()
            self._data[self._count] = value
            self._count += 1
        else:
            self._append_odd(value)

    def _grow(self) -> None:
        self._rows *= 2
        data = np.empty((self._rows, *self._shape), self._dtype)
        data[: self._count] = self._data
        self._data = data

    def _append_odd(self, value: Any) -> None:
        if self._odd is None:
            is_plain = isinstance(value, np.ndarray) and value.dtype.kind in "biuf" and value.shape == self._shape
            if self._count == 0 and is_plain:
                # The environment has another dtype than its space; what it returns is what counts.
                self._dtype = value.dtype
                self._restart()
                self.append(np.asarray(value))
                return
            self._odd = list(self._data[: self._count])
        self._odd.append(kept(value))

    def cut(self, rows: int) -> None:
        self._count = min(self._count, rows)
        if self._odd is not None:
            del self._odd[rows:]

    def take(self) -> Any:
        if self._odd is not None:
            values: Any = self._odd
        else:
            values = self._data[: self._count]
            if self._count < 0.75 * self._rows:
                values = values.copy()
        self._rows = max(_FIRST_ROWS, self._count)
        self._restart()
        return values


class _ValueColumn:
    """Scalars, text and values without a fixed shape, in a list."""

    def __init__(self) -> None:
        self._values: list[Any] = []

    def append(self, value: Any) -> None:
        self._values.append(value if type(value) in _IMMUTABLE else kept(value))

    def cut(self, rows: int) -> None:
        del self._values[rows:]

    def take(self) -> Any:
        values, self._values = self._values, []
        return values


class _DictColumn:
    """One column for each key of a ``Dict``."""

    def __init__(self, space: gym.spaces.Dict, notes: list[str]) -> None:
        self._columns = {key: growing_column(sub, notes) for key, sub in space.spaces.items()}
        self._notes, self._noted = notes, False

    def append(self, value: Any) -> None:
        if not isinstance(value, Mapping):
            value = {}
        for key, column in self._columns.items():
            column.append(value.get(key, ABSENT))
        if len(value) > len(self._columns) and not self._noted:
            self._noted = True
            self._notes.append(
                f"The keys {sorted(value.keys() - self._columns.keys(), key=str)} are not in the space "
                f"{sorted(self._columns)} and are not recorded; give DataCollector a space that has them."
            )

    def cut(self, rows: int) -> None:
        for column in self._columns.values():
            column.cut(rows)

    def take(self) -> Any:
        return {key: column.take() for key, column in self._columns.items()}


class _TupleColumn:
    """One column for each part of a ``Tuple``."""

    def __init__(self, space: gym.spaces.Tuple[Any], notes: list[str]) -> None:
        self._columns = tuple(growing_column(sub, notes) for sub in space.spaces)

    def append(self, value: Any) -> None:
        parts = value if isinstance(value, (tuple, list)) and len(value) == len(self._columns) else None
        for position, column in enumerate(self._columns):
            column.append(ABSENT if parts is None else parts[position])

    def cut(self, rows: int) -> None:
        for column in self._columns:
            column.cut(rows)

    def take(self) -> Any:
        return tuple(column.take() for column in self._columns)


def growing_column(space: gym.Space[Any], notes: list[str]) -> GrowingColumn:
    """The column for the values of a space.

    Args:
        space: the space.
        notes: where the column says what it leaves out.
    """
    if isinstance(space, gym.spaces.Dict):
        return _DictColumn(space, notes)
    if isinstance(space, gym.spaces.Tuple):
        return _TupleColumn(space, notes)
    if space.dtype is not None and space.shape:
        return _ArrayColumn(np.dtype(space.dtype), tuple(space.shape))
    return _ValueColumn()


_IMMUTABLE = frozenset(
    {bool, int, float, complex, str, bytes, type(None)} | {np.dtype(code).type for code in "?bhilqBHILQefdF"}
)


def kept(value: Any) -> Any:
    """A copy that stays what it is when the environment goes on working with its own."""
    if type(value) in _IMMUTABLE or value is ABSENT:
        return value
    if isinstance(value, np.ndarray) and value.dtype != object:
        return value.copy()
    try:
        return copy.deepcopy(value)
    except Exception:  # foreign objects may refuse for any reason, and a step must go on
        return value


def last_row(values: Any) -> Any:
    """A copy of the value of the last step, from values column by column."""
    if isinstance(values, dict):
        return {key: last_row(part) for key, part in values.items()}
    if isinstance(values, tuple):
        return tuple(map(last_row, values))
    return kept(values[-1])


class EpisodeRecorder:
    """Collects the steps of one episode at a time.

    Args:
        observation_space: of what is recorded.
        action_space: of what is recorded.
        record_infos: whether the infos are recorded, beside what a callback adds.
    """

    def __init__(self, observation_space: gym.Space[Any], action_space: gym.Space[Any], record_infos: bool) -> None:
        self._notes: list[str] = []
        self._observations = growing_column(observation_space, self._notes)
        self._actions = growing_column(action_space, self._notes)
        self._record_infos = record_infos
        self._rewards: list[Any] = []
        self._terminations: list[Any] = []
        self._truncations: list[Any] = []
        self._infos: dict[str, Any] = {}
        self._seed: int | None = None
        self._options: dict[str, Any] | None = None
        self._started = self._noted = False

    @property
    def started(self) -> bool:
        """Whether an episode is under way."""
        return self._started

    def __len__(self) -> int:
        return len(self._rewards)

    def start(self, step_data: Mapping[str, Any], seed: int | None, options: dict[str, Any] | None) -> None:
        """Begin an episode with what a reset returned."""
        missing = STEP_KEYS - step_data.keys()
        if missing:
            raise EpisodeError(
                f"The StepDataCallback left out {sorted(missing)}, expected each of {sorted(STEP_KEYS)}; change "
                f"what super().__call__ returns."
            )
        self.take()
        self._observations.append(step_data["observation"])
        self._add_infos(step_data, recorded=0)
        self._started, self._seed, self._options = True, seed, options

    def add(self, step_data: Mapping[str, Any]) -> None:
        """Add one step, or nothing of it where an interruption comes in between."""
        steps = len(self._rewards)
        try:
            self._add_infos(step_data, recorded=steps + 1)
            self._observations.append(step_data["observation"])
            self._actions.append(step_data["action"])
            self._terminations.append(kept(step_data["terminated"]))
            self._truncations.append(kept(step_data["truncated"]))
            self._rewards.append(kept(step_data["reward"]))
        except BaseException:
            self._cut(steps)
            raise

    def _cut(self, steps: int) -> None:
        self._observations.cut(steps + 1)
        self._actions.cut(steps)
        for values in (self._rewards, self._terminations, self._truncations):
            del values[steps:]
        _cut_infos(self._infos, steps + 1)

    def _add_infos(self, step_data: Mapping[str, Any], recorded: int) -> None:
        info = step_data["info"] if self._record_infos else {}
        if not isinstance(info, Mapping):
            info = self._without_info(info)
        if len(step_data) > len(STEP_KEYS):
            added = {key: value for key, value in step_data.items() if key not in STEP_KEYS}
            info = {**info, **added}
        if info or self._infos:
            append_info(self._infos, info, recorded, kept)

    def _without_info(self, info: Any) -> dict[str, Any]:
        if not (info is None or self._noted):
            self._noted = True
            self._notes.append(f"The info of a step is {info!r}, expected a dict; it is not recorded.")
        return {}

    def take_notes(self) -> list[str]:
        """What was left out of the steps so far, in a sentence each; none is given twice."""
        notes = list(self._notes)
        self._notes.clear()
        return notes

    def discard_info(self, name: str) -> None:
        """Drop one info of the running episode."""
        discard_info(self._infos, name)

    def truncate(self) -> None:
        """Mark the last step as truncated, unless the episode has ended there."""
        if self._truncations and not self._terminations[-1]:
            self._truncations[-1] = True

    def take(self) -> EpisodeBuffer:
        """The episode so far; the recorder is empty afterwards."""
        buffer = EpisodeBuffer(
            seed=self._seed,
            options=self._options,
            observations=self._observations.take(),
            actions=self._actions.take(),
            rewards=self._rewards,
            terminations=self._terminations,
            truncations=self._truncations,
            infos=self._infos,
        )
        self._rewards, self._terminations, self._truncations, self._infos = [], [], [], {}
        self._seed = self._options = None
        self._started = False
        return buffer


def _cut_infos(infos: dict[str, Any], rows: int) -> None:
    for values in infos.values():
        if isinstance(values, dict):
            _cut_infos(values, rows)
        else:
            del values[rows:]
