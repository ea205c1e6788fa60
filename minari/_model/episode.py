"""An episode as returned to readers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, SupportsFloat, TypeAlias, TypedDict, TypeVar

import numpy as np
import numpy.typing as npt

from minari.errors import DatasetBusyError


#: Function that reads the metadata of an episode, with ``id`` and ``total_steps``.
ReadMetadata: TypeAlias = Callable[[], dict[str, Any]]


class WithMetadata:
    """Base class of episodes with metadata, which is read at the first access.

    It is not a field, and not in ``vars(episode)``: a dataset is read without the metadata of its episodes, and an
    episode that is made from arrays has none.
    """

    __slots__ = ("_metadata", "_read_metadata")

    _metadata: dict[str, Any]
    _read_metadata: ReadMetadata

    @property
    def metadata(self) -> dict[str, Any]:
        """Return the metadata of the episode: ``seed``, ``options``, and what was recorded beside the arrays.

        It is read at the first access, and empty if the episode is not from a dataset. Equality of episodes does not
        depend on it.

        Raises:
            DatasetBusyError: another program has changed the episode since it was read.
        """
        try:
            return self._metadata
        except AttributeError:
            pass
        read: ReadMetadata | None = getattr(self, "_read_metadata", None)
        found = {} if read is None else dict(read())
        number, steps = found.pop("id", None), found.pop("total_steps", None)
        if steps is not None and steps != len(self):  # type: ignore[arg-type]  # subclasses have a length
            raise DatasetBusyError(
                f"Episode {number} has {steps} steps now and had {len(self)} when it was read, as another program "  # type: ignore[arg-type]
                f"is changing it; read the episode again."
            )
        object.__setattr__(self, "_metadata", found)
        return found

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_metadata": self.metadata}  # which pickles and deep copies keep, and no file

    def __setstate__(self, state: dict[str, Any]) -> None:
        values = dict(state)
        metadata = values.pop("_metadata", None)
        self.__dict__.update(values)
        if metadata is not None:
            object.__setattr__(self, "_metadata", metadata)


#: Set the attribute of a frozen instance.
_set_reader: Callable[[WithMetadata, ReadMetadata], None] = vars(WithMetadata)["_read_metadata"].__set__

Episode = TypeVar("Episode", bound=WithMetadata)


def with_metadata(episode: Episode, read: ReadMetadata) -> Episode:
    """Let an episode read its metadata with a function when it is used; return the episode."""
    _set_reader(episode, read)
    return episode


def with_metadata_of(other: WithMetadata, episode: Episode) -> Episode:
    """Give an episode the metadata of another one, or the way to read it; return the episode."""
    for name in WithMetadata.__slots__:
        if hasattr(other, name):
            object.__setattr__(episode, name, copied(getattr(other, name)))
    return episode


@dataclass(frozen=True, eq=False)
class EpisodeData(WithMetadata):
    """An episode of T steps.

    Arrays belong to the caller and can be modified in place. Only views (``iterate_episodes(copy=False)``)
    are read-only; :meth:`copy` returns writable arrays.

    Attributes:
        id: the number of the episode in its dataset.
        observations: the T+1 observations, from the reset to the last step: arrays with time first, nested in
            dicts and tuples like the observation space; a list for a space without a fixed shape (``Text``,
            ``Sequence``, ``Graph``, ``OneOf``).
        actions: the T actions, in the same form.
        rewards: array of shape (T,), or (T, k) for k numbers per step.
        terminations: boolean array of shape (T,).
        truncations: boolean array of shape (T,).
        infos: the T+1 infos, each leaf with time first; empty if none were recorded.
        metadata: what was recorded beside the arrays, such as ``seed`` and ``options``; read at the first access.
    """

    id: int
    observations: Any
    actions: Any
    rewards: npt.NDArray[Any]
    terminations: npt.NDArray[np.bool_]
    truncations: npt.NDArray[np.bool_]
    infos: dict[str, Any]

    def __len__(self) -> int:
        """Return the number of steps, T."""
        return len(self.rewards)

    def __eq__(self, other: object) -> bool:
        """Return whether both have the same values, with NaN equal to NaN."""
        if not isinstance(other, EpisodeData):
            return NotImplemented
        return all(same_values(getattr(self, f.name), getattr(other, f.name)) for f in fields(self))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        rewards = f"shape {self.rewards.shape}" if np.ndim(self.rewards) > 1 else f"{len(self.rewards)} floats"
        return (
            f"EpisodeData(id={self.id!r}, total_steps={len(self)}, "
            f"observations={_describe(self.observations)}, actions={_describe(self.actions)}, "
            f"rewards=ndarray of {rewards}, "
            f"terminations=ndarray of {len(self.terminations)} bools, "
            f"truncations=ndarray of {len(self.truncations)} bools, "
            f"infos=dict with the following keys: {list(self.infos or {})})"
        )

    def copy(self) -> EpisodeData:
        """Return the episode with its own arrays, which can be modified in place."""
        return with_metadata_of(self, EpisodeData(**{f.name: copied(getattr(self, f.name)) for f in fields(self)}))


def episode_of(values: dict[str, Any], read_metadata: ReadMetadata | None = None) -> EpisodeData:
    """Create an episode like ``EpisodeData(**values)``, three times as fast.

    Args:
        values: the fields.
        read_metadata: function that reads its metadata when that is used.
    """
    episode = object.__new__(EpisodeData)
    episode.__dict__.update(values)
    if read_metadata is not None:
        _set_reader(episode, read_metadata)
    return episode


def same_values(a: Any, b: Any) -> bool:
    """Return whether two nested values agree in structure, values, shapes and dtypes, with NaN equal to NaN."""
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        if not (isinstance(a, np.ndarray) and isinstance(b, np.ndarray)):
            return False
        if a.dtype != b.dtype or a.shape != b.shape:
            return False
        if a.dtype == object:
            return all(map(same_values, a.ravel().tolist(), b.ravel().tolist()))
        return np.array_equal(a, b, equal_nan=a.dtype.kind in "fcMm")
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same_values(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same_values, a, b))
    if isinstance(a, (float, np.floating)) and isinstance(b, (float, np.floating)) and a != a:
        return bool(b != b)
    return bool(a == b)


def _describe(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"ndarray of shape {value.shape} and dtype {value.dtype}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_describe(part)}" for key, part in value.items()) + "}"
    if isinstance(value, tuple):
        return "(" + ", ".join(map(_describe, value)) + ")"
    return repr(value)


def copied(value: Any) -> Any:
    """Return nested values with their own arrays."""
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, dict):
        return {key: copied(part) for key, part in value.items()}
    if isinstance(value, tuple):
        parts = map(copied, value)
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    if isinstance(value, list):
        return [copied(part) for part in value]
    return value


class StepData(TypedDict):
    """One step of an environment, or its reset.

    For a reset, which only has an observation and an info, the other values are None. A callback may add its
    own keys: they are recorded as infos.

    Keys:
        observation: the observation after the step.
        action: the action that led to it.
        reward: the reward of the step.
        terminated: True if the episode has ended in a terminal state.
        truncated: True if the episode was cut off.
        info: the info dict.
    """

    observation: Any
    action: Any | None
    reward: SupportsFloat | None
    terminated: bool | None
    truncated: bool | None
    info: dict[str, Any]
