"""One episode under way, or one that is to be stored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from minari._base.notices import warn
from minari.dataset.infos import append_info
from minari.dataset.step_data import StepData
from minari.errors import EpisodeError, EpisodeTypeError


STEP_KEYS = frozenset(StepData.__annotations__)


@dataclass(frozen=True)
class EpisodeBuffer:
    """The data of an episode of T steps, column by column.

    Leaves are lists or arrays with time first; dicts and tuples of them follow the space. A leaf
    of a ``Text``, ``Sequence``, ``Graph`` or ``OneOf`` is a list with one value a step.

    Attributes:
        id: the number of the episode; None for the next one.
        seed: what the environment was reset with.
        options: what the environment was reset with.
        observations: T+1 observations.
        actions: T actions.
        rewards: T rewards.
        terminations: T booleans.
        truncations: T booleans.
        infos: T+1 values for each key, nested as the infos are.

    Example:
        >>> buffer = EpisodeBuffer(seed=3)
        >>> reset = {"observation": 0.5, "action": None, "reward": None,
        ...          "terminated": None, "truncated": None, "info": {}}
        >>> step = {"observation": 0.7, "action": 1, "reward": 2.0,
        ...         "terminated": True, "truncated": False, "info": {}}
        >>> buffer = buffer.add_step_data(reset).add_step_data(step)
        >>> len(buffer), buffer.observations, buffer.actions
        (1, [0.5, 0.7], [1])
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

    def __len__(self) -> int:
        """The number of steps, T."""
        return len(self.rewards)

    def add_step_data(self, step_data: StepData) -> EpisodeBuffer:
        """The buffer with one more step, or with the reset when it is still empty.

        The lists of this buffer are extended and shared with the buffer that is returned, so go on
        with that one. Keys beyond those of :class:`StepData` are kept as infos.

        Args:
            step_data: the step; action, reward, terminated and truncated are None for a reset.

        Raises:
            KeyError: ``step_data`` lacks one of the keys of :class:`StepData`.
            EpisodeError: the observation or action is nested otherwise than those before it.
        """
        recorded = 0 if self.observations is None else _length(self.observations, len(self.rewards) + 1)
        infos = {
            **step_data["info"],
            **{key: value for key, value in step_data.items() if key not in STEP_KEYS},
        }
        new = replace(
            self,
            observations=_appended(self.observations, step_data["observation"], "observation"),
            infos=append_info({} if self.infos is None else self.infos, infos, recorded),
        )
        if step_data["action"] is None:
            return new
        new.rewards.append(step_data["reward"])
        new.terminations.append(step_data["terminated"])
        new.truncations.append(step_data["truncated"])
        return replace(new, actions=_appended(self.actions, step_data["action"], "action"))


def as_episode_buffers(buffers: Iterable[Any]) -> Iterable[EpisodeBuffer]:
    """Episodes as a caller gives them; up to 0.4 they were plain dicts with the fields of a buffer.

    Args:
        buffers: the episodes. Those of a list are looked at before any of them is stored.

    Warns:
        DeprecationWarning: once, where there are dicts.

    Raises:
        EpisodeTypeError: an episode is neither a buffer nor such a dict.
    """
    if isinstance(buffers, EpisodeBuffer):
        raise EpisodeTypeError("The episodes are a single EpisodeBuffer, expected a list of them; put it in a list.")
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


def _as_buffer(number: int, buffer: Any) -> EpisodeBuffer:
    if isinstance(buffer, EpisodeBuffer):
        return buffer
    names = [field.name for field in fields(EpisodeBuffer)]
    if isinstance(buffer, Mapping) and set(buffer) <= set(names):
        return EpisodeBuffer(**buffer)
    got = f"a dict with the keys {sorted(buffer, key=str)}" if isinstance(buffer, Mapping) else repr(buffer)
    raise EpisodeTypeError(f"Episode {number} is {got}, expected an EpisodeBuffer, whose fields are {names}.")


def _is_structure(value: Any) -> bool:
    """Dicts and plain tuples are structure; a named tuple, such as a graph, is one value."""
    return isinstance(value, Mapping) or (isinstance(value, tuple) and not hasattr(value, "_fields"))


def _length(values: Any, unknown: int) -> int:
    """How many steps the values have; ``unknown`` where they are dicts and tuples without any leaf."""
    return next((len(leaf) for leaf in _leaves(values)), unknown)


def _leaves(values: Any) -> Iterator[Any]:
    if not _is_structure(values):
        yield values
        return
    for part in values.values() if isinstance(values, Mapping) else values:
        yield from _leaves(part)


def _appended(values: Any, value: Any, what: str) -> Any:
    if isinstance(value, Mapping) and (values is None or isinstance(values, Mapping)):
        if values is not None and values.keys() != value.keys():
            raise EpisodeError(
                f"The {what} has the keys {sorted(value)}, expected {sorted(values)} as in the steps before."
            )
        return {key: _appended(values and values[key], part, what) for key, part in value.items()}
    if _is_structure(value) and (values is None or isinstance(values, tuple)):
        if values is not None and len(values) != len(value):
            raise EpisodeError(
                f"The {what} has {len(value)} parts, expected {len(values)} as in the steps before; "
                f"give the values of a Sequence as a list, one a step."
            )
        return tuple(_appended(values and values[i], part, what) for i, part in enumerate(value))
    if values is None:
        return [value]
    if isinstance(values, np.ndarray):
        values = list(values)
    if not isinstance(values, list):
        raise EpisodeError(f"The {what} is {value!r}, expected one nested as in the steps before.")
    values.append(value)
    return values
