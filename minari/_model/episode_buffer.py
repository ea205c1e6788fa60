"""An episode in progress, or one to be stored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from minari._base.json_text import shortened
from minari._base.warnings import warn
from minari._model.episode import StepData
from minari._model.infos import append_info
from minari.errors import EpisodeError, EpisodeKeyError, EpisodeTypeError


STEP_KEYS = frozenset(StepData.__annotations__)


@dataclass(frozen=True)
class EpisodeBuffer:
    """The data of an episode of T steps, column by column.

    Leaves are lists or arrays with time first, in dicts and tuples nested like the space. A leaf of a
    ``Text``, ``Sequence``, ``Graph`` or ``OneOf`` is a list with one value per step.

    A buffer that is filled step by step can start with the first observation and info as the environment gave
    them: until :meth:`add_step_data` creates lists, any value that is not a list is a single value.

    Attributes:
        id: the number of the episode; None for the next one.
        seed: the seed of the reset.
        options: the options of the reset.
        observations: T+1 observations.
        actions: T actions.
        rewards: T rewards.
        terminations: T booleans.
        truncations: T booleans.
        infos: T+1 values for each key, nested like the infos.
        metadata: further metadata of the episode, such as ``{"task": "pick"}``: numbers, strings, arrays, and
            nested dicts of them.

    Example:
        >>> buffer = EpisodeBuffer(observations=0.5, infos={"height": 3}, seed=7)
        >>> step = {"observation": 0.7, "action": 1, "reward": 2.0,
        ...         "terminated": True, "truncated": False, "info": {"height": 4}}
        >>> buffer = buffer.add_step_data(step)
        >>> len(buffer), buffer.observations, buffer.actions, buffer.infos
        (1, [0.5, 0.7], [1], {'height': [3, 4]})
    """

    id: int | None = None
    seed: int | None = None
    options: dict[str, Any] | None = None
    observations: Any = None
    actions: Any = None
    rewards: Any = field(default_factory=list)
    terminations: Any = field(default_factory=list)
    truncations: Any = field(default_factory=list)
    infos: dict[str, Any] | None = None
    metadata: Mapping[str, Any] | None = field(default=None, kw_only=True)

    def __len__(self) -> int:
        """Return the number of steps, T."""
        return len(self.rewards)

    def add_step_data(self, step_data: StepData) -> EpisodeBuffer:
        """Return the buffer with one more step, or with the reset if it is still empty.

        Values are appended to lists. A leaf that is not a list is the first value itself, be it an array, a
        number, a text or None; an array can also hold the rows of several steps. The returned buffer shares
        and extends the lists of this buffer, so continue with the returned one. Keys other than those of
        :class:`StepData` are recorded as infos.

        Args:
            step_data: the step; action, reward, terminated and truncated are None for a reset.

        Raises:
            EpisodeKeyError: ``step_data`` lacks one of the keys of :class:`StepData`.
            EpisodeError: the observation or action is nested differently from those before it.
        """
        steps, observations, infos = len(self.rewards), self.observations, self.infos
        recorded = 0 if observations is None else _count(observations, steps + 1)
        try:
            observation, action, info = step_data["observation"], step_data["action"], step_data["info"]
            reward, terminated, truncated = step_data["reward"], step_data["terminated"], step_data["truncated"]
        except KeyError:
            raise EpisodeKeyError(
                f"The step has the keys {shortened(sorted(step_data, key=str))}, expected all of {sorted(STEP_KEYS)}."
            ) from None
        if infos is None:
            infos = {}
        elif not steps:
            infos = {key: _first_info(value) for key, value in infos.items()}
        if len(step_data) > len(STEP_KEYS):
            info = {**info, **{key: value for key, value in step_data.items() if key not in STEP_KEYS}}
        changes: dict[str, Any] = {
            "observations": _grown(observations, observation, "observation", steps + 1),
            "infos": append_info(infos, info, recorded),
        }
        if action is not None:
            changes["actions"] = _grown(self.actions, action, "action", steps)
            changes["rewards"] = _extended(self.rewards, reward)
            changes["terminations"] = _extended(self.terminations, terminated)
            changes["truncations"] = _extended(self.truncations, truncated)
        return replace(self, **changes)


@dataclass(frozen=True, slots=True, eq=False)
class BufferBatch:
    """Episodes that are concatenated column by column, without infos and options.

    Attributes:
        total_steps: the number of steps of each episode, shape (E,), int64.
        observations: T+1 observations of each episode, one episode after the other.
        actions: T actions of each.
        rewards: T rewards of each.
        terminations: T booleans of each.
        truncations: T booleans of each.
        metadata: integers of each, as the seed, by their name; shape (E,).
    """

    total_steps: npt.NDArray[np.int64]
    observations: Any
    actions: Any
    rewards: Any
    terminations: Any
    truncations: Any
    metadata: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)

    def part(self, start: int, stop: int) -> BufferBatch:
        """Return some consecutive episodes, whose values are views."""
        ends = np.concatenate([[0], np.cumsum(self.total_steps)])
        first, last = int(ends[start]), int(ends[stop])
        return BufferBatch(
            self.total_steps[start:stop],
            rows_of(self.observations, first + start, last + stop),
            rows_of(self.actions, first, last),
            rows_of(self.rewards, first, last),
            rows_of(self.terminations, first, last),
            rows_of(self.truncations, first, last),
            {name: values[start:stop] for name, values in self.metadata.items()},
        )

    def buffers(self) -> Iterator[EpisodeBuffer]:
        """Yield the episodes one by one."""
        start = 0
        for number, steps in enumerate(self.total_steps.tolist()):
            stop = start + steps
            yield EpisodeBuffer(
                observations=rows_of(self.observations, start + number, stop + number + 1),
                actions=rows_of(self.actions, start, stop),
                rewards=rows_of(self.rewards, start, stop),
                terminations=rows_of(self.terminations, start, stop),
                truncations=rows_of(self.truncations, start, stop),
                metadata={name: int(values[number]) for name, values in self.metadata.items()},
            )
            start = stop


def rows_of(values: Any, start: int, stop: int) -> Any:
    """Return a range of the rows of nested values, column by column."""
    if isinstance(values, dict):
        return {key: rows_of(part, start, stop) for key, part in values.items()}
    if isinstance(values, tuple):
        return tuple(rows_of(part, start, stop) for part in values)
    return values[start:stop]


@dataclass(frozen=True)
class MultiAgentEpisodeBuffer:
    """The data of an episode of many agents: a trajectory for each, and the joint steps at which its rows lie.

    Agents may come, leave and act at different times; nothing is padded. A joint step is a step of all agents that
    are alive, or, where agents take turns, the turn of one of them.

    Attributes:
        agents: the trajectory of each agent, by its id; a trajectory may have no step, but has an observation.
        timesteps: for each agent, the joint step at which each of its observations was made, T_a + 1 increasing
            numbers; action i of an agent was taken at the joint step of observation i. An agent without any was
            there from the beginning, at every step: 0, 1, ..., T_a.
        total_steps: the number of joint steps, or turns, of the episode; None for the last one in ``timesteps``.
        state: T + 1 values of the global state, column by column like infos; None if it was not recorded.
        id: the number of the episode; None for the next one.
        seed: the seed of the reset.
        options: the options of the reset.
        metadata: further metadata of the episode. Its key ``"agents"`` has metadata of each agent, by its id.

    Example:
        >>> steps = dict(rewards=[1.0], terminations=[False], truncations=[True])
        >>> predator = EpisodeBuffer(observations=[0.1, 0.2], actions=[1], **steps)
        >>> prey = EpisodeBuffer(observations=[0.7, 0.9], actions=[0], **steps)
        >>> buffer = MultiAgentEpisodeBuffer(
        ...     {"predator": predator, "prey": prey}, timesteps={"predator": [0, 2], "prey": [1, 2]}, total_steps=2
        ... )
        >>> len(buffer), len(buffer.agents["prey"])
        (2, 1)
    """

    agents: Mapping[Any, EpisodeBuffer]
    timesteps: Mapping[Any, Any] = field(default_factory=dict)
    total_steps: int | None = None
    state: Any = None
    id: int | None = None
    seed: int | None = None
    options: dict[str, Any] | None = None
    metadata: Mapping[str, Any] | None = None

    def __len__(self) -> int:
        """Return the number of joint steps, T."""
        if self.total_steps is not None:
            return self.total_steps
        ends = [self.timesteps.get(agent, [len(buffer)]) for agent, buffer in self.agents.items()]
        return max((int(steps[-1]) for steps in ends if len(steps)), default=0)


#: An episode of one agent, or of many.
AnyEpisodeBuffer: TypeAlias = EpisodeBuffer | MultiAgentEpisodeBuffer


def as_episode_buffers(buffers: Iterable[Any]) -> Iterable[AnyEpisodeBuffer]:
    """Yield episodes as buffers; up to 0.4 they were plain dicts with the fields of a buffer.

    Args:
        buffers: the episodes. A list is checked before any of its episodes is stored.

    Warns:
        DeprecationWarning: once, if there are dicts.

    Raises:
        EpisodeTypeError: an episode is neither a buffer nor such a dict.
    """
    if isinstance(buffers, AnyEpisodeBuffer):
        kind = type(buffers).__name__
        raise EpisodeTypeError(f"The episodes are a single {kind}, expected a list of them; put it in a list.")
    if not isinstance(buffers, Iterable) or isinstance(buffers, Mapping):
        raise EpisodeTypeError(f"The episodes are {type(buffers).__name__} values, expected a list of EpisodeBuffer.")
    if not isinstance(buffers, Sequence):
        return buffers
    if any(isinstance(buffer, Mapping) for buffer in buffers):
        warn(
            "Episodes as plain dicts are the older form of EpisodeBuffer(**episode); use that.",
            DeprecationWarning,
        )
    return [_as_buffer(number, buffer) for number, buffer in enumerate(buffers)]


def _as_buffer(number: int, buffer: Any) -> AnyEpisodeBuffer:
    if isinstance(buffer, AnyEpisodeBuffer):
        return buffer
    names = [field.name for field in fields(EpisodeBuffer)]
    if isinstance(buffer, Mapping) and set(buffer) <= set(names):
        return EpisodeBuffer(**buffer)
    got = f"a dict with the keys {sorted(buffer, key=str)}" if isinstance(buffer, Mapping) else repr(buffer)
    raise EpisodeTypeError(f"Episode {number} is {got}, expected an EpisodeBuffer, whose fields are {names}.")


def _is_structure(value: Any) -> bool:
    """Return whether a value is structure: a dict or plain tuple. A named tuple, such as a graph, is one value.

    An empty tuple is also a value, as it may be the first of several of a ``Sequence``.
    """
    return isinstance(value, Mapping) or (isinstance(value, tuple) and bool(value) and not hasattr(value, "_fields"))


def _count(values: Any, recorded: int) -> int:
    """Return the number of steps of the values; ``recorded`` for dicts without leaves."""
    for leaf in _leaves(values):
        return len(leaf) if _is_column(leaf, recorded) else 1
    return recorded


def _leaves(values: Any) -> Iterator[Any]:
    if not _is_structure(values):
        yield values
        return
    for part in values.values() if isinstance(values, Mapping) else values:
        yield from _leaves(part)


def _first_info(value: Any) -> Any:
    """Return the first info in lists, as by :func:`append_info`; lists are unchanged."""
    if isinstance(value, list):
        return value
    if isinstance(value, Mapping) and value:
        return {key: _first_info(part) for key, part in value.items()}
    if isinstance(value, tuple) and value and all(isinstance(part, list) for part in value):
        return list(zip(*value, strict=False))
    return [value]


def _extended(values: Any, value: Any) -> list[Any]:
    """Return the same list with one more value, or a new one if the values are an array."""
    column: list[Any] = values if isinstance(values, list) else list(values)
    column.append(value)
    return column


def _grown(values: Any, value: Any, what: str, recorded: int) -> Any:
    """Return the values of the steps so far and one more.

    Args:
        values: lists, nested like the value, or the first value itself; None if there is none yet.
        value: the value of the next step.
        what: the name of the value, for messages.
        recorded: the number of steps so far, for values without leaves.
    """
    return _started(value) if values is None else _appended(values, value, what, recorded)


def _appended(values: Any, value: Any, what: str, recorded: int) -> Any:
    if isinstance(values, list):
        values.append(value)
        return values
    if isinstance(values, Mapping):
        if not isinstance(value, Mapping):
            raise EpisodeError(f"The {what} is {shortened(value)}, expected one nested as in the steps before.")
        if values.keys() != value.keys():
            raise EpisodeError(
                f"The {what} has the keys {sorted(value, key=str)}, expected {sorted(values, key=str)} as in the "
                f"steps before."
            )
        return {key: _appended(values[key], part, what, recorded) for key, part in value.items()}
    if _is_structure(values):
        return _appended_to_tuple(values, value, what, recorded)
    return [*values, value] if _is_column(values, recorded) else [values, value]


def _appended_to_tuple(values: tuple[Any, ...], value: Any, what: str, recorded: int) -> Any:
    """Append to a ``Tuple`` part by part, and to a ``Sequence`` or ``OneOf`` step by step once values differ."""
    if not isinstance(value, tuple):
        raise EpisodeError(f"The {what} is {shortened(value)}, expected one nested as in the steps before.")
    count = _count(values, recorded)
    if len(value) == len(values):
        try:
            return tuple(_appended(old, part, what, recorded) for old, part in zip(values, value, strict=True))
        except EpisodeError:
            pass
    return [*(_row(values, row, recorded) for row in range(count)), value]


def _started(value: Any) -> Any:
    """Return the value of the first step, in lists."""
    if isinstance(value, Mapping):
        return {key: _started(part) for key, part in value.items()}
    return tuple(map(_started, value)) if _is_structure(value) else [value]


def _row(values: Any, row: int, recorded: int) -> Any:
    """Return the value of one of the steps so far."""
    if isinstance(values, Mapping):
        return {key: _row(part, row, recorded) for key, part in values.items()}
    if _is_structure(values):
        return tuple(_row(part, row, recorded) for part in values)
    return values[row] if _is_column(values, recorded) else values


def _is_column(leaf: Any, recorded: int) -> bool:
    """Return whether a leaf has one row per step, or is the value of the first one."""
    return isinstance(leaf, list) or (recorded > 1 and isinstance(leaf, np.ndarray) and leaf.ndim > 0)
