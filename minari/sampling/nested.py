"""Batches as nested values: arrays with the batch first, in dicts and tuples, and lists of values of no fixed shape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypedDict, cast

import numpy as np
import numpy.typing as npt

from minari.errors import ArgumentError


__all__ = [
    "Batch",
    "EpisodeArrays",
    "Fields",
    "as_batch",
    "as_fields",
    "concatenated",
    "element_of",
    "filled",
    "taken",
    "without_batch",
]

#: A batch by the names of its fields, some of which depend on the arguments.
Fields = dict[str, Any]


class Batch(TypedDict, total=False):
    """A batch, for type checkers; at run time it is a plain dict with the fields that were asked for.

    B is the number of elements. For windows of L steps, each array has the shape (B, L, …). Observations and actions
    are nested as their spaces are; values without a fixed shape are lists.

    Attributes:
        observations: of the steps.
        actions: of the steps.
        next_observations: the recorded successors.
        rewards: (B,), or (B, k) for several at each step.
        terminations: (B,), bool.
        truncations: (B,), bool.
        episode_ids: the number of the episode in the whole dataset, (B,), int64.
        timesteps: from 0 at the start of the episode, (B,), int64.
        returns_to_go: discounted sums of the rewards to the end of the episode, (B,), float64.
        discounts: the discount factor to the power of the steps up to the successors, (B,), float64.
        infos: by name.
        next_infos: those of the successors.
        mask: True for steps, False for padding, (B, L), bool.
        observations_mask: True for rows that exist, with ``offsets``.
        actions_mask: the same for actions.
        rewards_mask: the same for rewards.
        probabilities: of drawing each element, with ``weights``, (B,), float64.
        relabeled: True where the goal is another one, with hindsight, (B,), bool.
        sources: the position of the source in a mixture, (B,), int64.
        masks: True where an agent acts, in joint transitions of n agents, (B, n), bool.
        alive: True where an agent has an observation, in joint transitions, (B, n), bool.
    """

    observations: Any
    actions: Any
    next_observations: Any
    rewards: npt.NDArray[Any]
    terminations: npt.NDArray[np.bool_]
    truncations: npt.NDArray[np.bool_]
    episode_ids: npt.NDArray[np.int64]
    timesteps: npt.NDArray[np.int64]
    returns_to_go: npt.NDArray[np.float64]
    discounts: npt.NDArray[np.float64]
    infos: dict[str, Any]
    next_infos: dict[str, Any]
    mask: npt.NDArray[np.bool_]
    observations_mask: npt.NDArray[np.bool_]
    actions_mask: npt.NDArray[np.bool_]
    rewards_mask: npt.NDArray[np.bool_]
    probabilities: npt.NDArray[np.float64]
    relabeled: npt.NDArray[np.bool_]
    sources: npt.NDArray[np.int64]


class EpisodeArrays(TypedDict, total=False):
    """The values of several episodes, one after the other, for type checkers; at run time it is a plain dict.

    With E episodes of N steps in all, the steps of the episode at position ``i`` are the rows ``episode_starts[i]`` to
    ``episode_starts[i + 1]`` of actions, rewards and flags; its observations and infos, which are one more for each
    episode, are the rows ``episode_starts[i] + i`` to ``episode_starts[i + 1] + i + 1``.

    Attributes:
        observations: nested as their space is, N + E rows.
        actions: nested as their space is, N rows.
        rewards: (N,), or (N, k) for several at each step.
        terminations: (N,), bool.
        truncations: (N,), bool.
        infos: by name, N + E rows.
        episode_ids: the number of each episode in the whole dataset, (E,), int64.
        episode_starts: the number of steps before each episode, and of all, (E + 1,), int64.
    """

    observations: Any
    actions: Any
    rewards: npt.NDArray[Any]
    terminations: npt.NDArray[np.bool_]
    truncations: npt.NDArray[np.bool_]
    infos: dict[str, Any]
    episode_ids: npt.NDArray[np.int64]
    episode_starts: npt.NDArray[np.int64]


def as_batch(fields: Fields) -> Batch:
    """Return fields as a batch, for type checkers."""
    return cast("Batch", fields)


def as_fields(batch: Batch) -> Fields:
    """Return a batch as its fields, for type checkers."""
    return cast("Fields", batch)


def _mapped(function: Callable[[Any], Any], value: Any) -> Any:
    """Return the result of a function for each array and list, nested as they are."""
    if isinstance(value, dict):
        return {key: _mapped(function, inner) for key, inner in value.items()}
    if isinstance(value, tuple):
        return tuple(_mapped(function, inner) for inner in value)
    return None if value is None else function(value)


def element_of(batch: Any, position: int) -> Any:
    """Return one element of a batch; its arrays are views."""
    return _mapped(lambda value: value[position], batch)


def without_batch(batch: Any, position: int = 0) -> Any:
    """Return one element of a batch, with arrays of its own."""
    return _mapped(lambda value: _copied(value[position]), batch)


def _copied(value: Any) -> Any:
    return value.copy() if isinstance(value, np.ndarray) else value


def taken(batch: Any, positions: npt.NDArray[np.int64]) -> Any:
    """Return the elements at some positions, as a batch of its own."""
    return _mapped(
        lambda value: value[positions] if isinstance(value, np.ndarray) else [value[i] for i in positions.tolist()],
        batch,
    )


def concatenated(batches: Sequence[Any]) -> Any:
    """Return batches of equal structure as one."""
    first = batches[0]
    if len(batches) == 1 or first is None:
        return first
    if isinstance(first, dict):
        return {key: concatenated([batch[key] for batch in batches]) for key in first}
    if isinstance(first, tuple):
        return tuple(map(concatenated, zip(*batches, strict=True)))
    if isinstance(first, np.ndarray):
        return np.concatenate(batches)
    return [value for batch in batches for value in batch]


def filled(batch: Any, out: Any) -> Any:
    """Return a batch in the arrays of another one, which is changed; the batch itself if there is no other.

    Raises:
        ArgumentError: their fields, shapes or dtypes differ.
    """
    if out is None:
        return batch
    _fill(batch, out, "out")
    return out


def _fill(value: Any, out: Any, name: str) -> None:
    if isinstance(value, dict) and isinstance(out, dict) and value.keys() == out.keys():
        for key, inner in value.items():
            _fill(inner, out[key], f"{name}[{key!r}]")
    elif isinstance(value, tuple) and isinstance(out, tuple) and len(value) == len(out):
        for place, inner in enumerate(value):
            _fill(inner, out[place], f"{name}[{place}]")
    elif isinstance(value, np.ndarray) and isinstance(out, np.ndarray):
        if (value.shape, value.dtype) != (out.shape, out.dtype) or not out.flags.writeable:
            raise ArgumentError(
                f"{name} is a{'' if out.flags.writeable else ' read-only'} array of shape {out.shape} and {out.dtype}, "
                f"expected one of shape {value.shape} and {value.dtype}; give a batch of the same size and fields."
            )
        if value is not out:
            out[...] = value
    elif isinstance(value, list) and isinstance(out, list):
        out[:] = value
    elif value is not None or out is not None:
        raise ArgumentError(f"{name} has other fields than the batch; give a batch of the same size and fields.")
