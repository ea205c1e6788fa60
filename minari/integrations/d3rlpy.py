"""d3rlpy: replay buffers from datasets, and datasets from replay buffers.

The episodes of d3rlpy have one observation a step, so that the observation after the last step is lost: d3rlpy leaves
out the last transition of a truncated episode. :class:`RecordedEpisode` and :class:`FinalObservationPicker`, which
:func:`to_replay_buffer` uses, keep it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from minari._model.episode import EpisodeData
from minari._model.episode_buffer import EpisodeBuffer
from minari.dataset.from_buffers import create_dataset_from_buffers
from minari.dataset.minari_dataset import MinariDataset
from minari.errors import ArgumentError, ArgumentTypeError, MissingDependencyError
from minari.integrations._replay import (
    Losses,
    check_dataset,
    episodes_of,
    is_one_array,
    known_spaces,
    last_flags,
    unsupported,
)
from minari.spaces.inference import infer_observation_space


try:
    from d3rlpy.constants import ActionSpace
    from d3rlpy.dataset import (
        BasicTransitionPicker,
        Episode,
        EpisodeBase,
        InfiniteBuffer,
        ReplayBuffer,
        ReplayBufferBase,
        Transition,
        TransitionPickerProtocol,
    )
except ImportError as error:
    raise MissingDependencyError(
        'minari.integrations.d3rlpy needs d3rlpy, which is not installed; run pip install "minari[d3rlpy]".',
        name="d3rlpy",
    ) from error


__all__ = ["FinalObservationPicker", "RecordedEpisode", "from_replay_buffer", "to_replay_buffer"]


@dataclass(frozen=True)
class RecordedEpisode(Episode):
    """An episode of d3rlpy that also keeps its final observation and whether it was truncated.

    ``ReplayBuffer.dump`` writes these as well; ``ReplayBuffer.load`` reads them with ``episode_cls=RecordedEpisode``
    and ``transition_picker=FinalObservationPicker()``.

    Attributes:
        final_observation: the observation after the last step, or a list of arrays.
        truncated: True if the episode was cut off.
    """

    final_observation: Any
    truncated: bool

    @property
    def transition_count(self) -> int:
        """Return the number of transitions, one for each step."""
        return len(self.actions)

    def serialize(self) -> dict[str, Any]:
        """Return the data of the episode by name, for d3rlpy."""
        return {
            **super().serialize(),
            "final_observation": self.final_observation,
            "truncated": self.truncated,
        }

    @classmethod
    def deserialize(cls, serializedData: dict[str, Any]) -> RecordedEpisode:
        """Return the episode of its data, for d3rlpy."""
        flags = {key: bool(serializedData[key]) for key in ("terminated", "truncated")}
        return cls(**{**serializedData, **flags})


class FinalObservationPicker(TransitionPickerProtocol):
    """The transitions of episodes, where the last one leads to the recorded final observation.

    Other episodes than :class:`RecordedEpisode` give d3rlpy's own transitions. There is no action after the final
    observation; ``next_action`` is zeros, as it is for d3rlpy after a terminal step.
    """

    def __init__(self) -> None:
        self._pick = BasicTransitionPicker()

    def __call__(self, episode: EpisodeBase, index: int) -> Transition:
        """Return the transition of one step."""
        last = episode.size() - 1
        if index < last or not isinstance(episode, RecordedEpisode):
            return self._pick(episode, index)
        several = isinstance(episode.observations, (list, tuple))
        return Transition(
            observation=[part[index] for part in episode.observations] if several else episode.observations[index],
            action=episode.actions[index],
            reward=episode.rewards[index],
            next_observation=episode.final_observation,
            next_action=np.zeros_like(episode.actions[index]),
            terminal=float(episode.terminated),
            interval=1,
            rewards_to_go=episode.rewards[index:],
        )


def to_replay_buffer(
    dataset: MinariDataset, *, transition_picker: TransitionPickerProtocol | None = None, **options: Any
) -> ReplayBuffer:
    """Return a replay buffer with all episodes of a dataset.

    Args:
        dataset: the dataset, or a view of one. Observations in dicts and tuples become lists of arrays, in the order
            of the space.
        transition_picker: by default one that knows the final observations. For another one, such as d3rlpy's for
            stacks of frames, the episodes are d3rlpy's own, without final observations.
        **options: of ``d3rlpy.dataset.ReplayBuffer``, such as ``trajectory_slicer``.

    Returns:
        The buffer. The values keep their dtypes; d3rlpy casts batches to float32.

    Warns:
        UserWarning: something is lost: infos, flags before the last step; with a picker of d3rlpy also final
            observations, without which the last step of a truncated episode is not a transition, and whether episodes
            were truncated. Seeds and options of resets are left out without a warning.

    Raises:
        ArgumentError: the dataset is empty, rewards are vectors, or a space is not supported.

    Example:
        >>> import contextlib, minari, numpy as np
        >>> dataset = minari.create_dataset_from_arrays(
        ...     "docs/d3rlpy-v0", observations=np.zeros((5, 3), np.float32), actions=np.zeros((4, 1), np.float32),
        ...     rewards=np.ones(4), terminations=np.arange(4) == 3,
        ... )
        >>> with contextlib.redirect_stdout(None):  # where d3rlpy logs
        ...     buffer = to_replay_buffer(dataset)
        >>> buffer.transition_count, buffer.sample_transition_batch(2).rewards.shape
        (4, (2, 1))
    """
    check_dataset(dataset)
    kind, size = _action_kind(dataset.action_space)
    if not all(map(is_one_array, leaves := list(_leaf_spaces(dataset.observation_space)))) or not leaves:
        supported = "a Box or a Discrete space, or a Dict or Tuple of these"
        raise unsupported("observation", "d3rlpy", dataset.observation_space, supported)
    losses = Losses("d3rlpy")
    episodes = []
    for recorded in episodes_of(dataset, losses):
        episode = _recorded_episode(recorded, dataset.observation_space, losses)
        episodes.append(episode if transition_picker is None else _plain_episode(episode, losses))
    losses.warn()
    return ReplayBuffer(
        InfiniteBuffer(),
        transition_picker=FinalObservationPicker() if transition_picker is None else transition_picker,
        episodes=episodes,
        **{"action_space": kind, "action_size": size, **options},
    )


def _action_kind(space: gym.Space[Any]) -> tuple[ActionSpace, int]:
    if isinstance(space, spaces.Discrete) and space.start == 0:
        return ActionSpace.DISCRETE, int(space.n)
    if isinstance(space, spaces.Box) and len(space.shape) <= 1:
        return ActionSpace.CONTINUOUS, int(np.prod(space.shape, dtype=int))
    raise unsupported("action", "d3rlpy", space, "a Box of vectors or a Discrete space that starts at 0")


def _recorded_episode(episode: EpisodeData, space: gym.Space[Any], losses: Losses) -> RecordedEpisode:
    terminated, truncated = last_flags(episode, losses)
    leaves = [_with_two_dimensions(leaf) for leaf in _leaves(episode.observations)]
    one = not isinstance(space, (spaces.Dict, spaces.Tuple))
    return RecordedEpisode(
        observations=leaves[0][:-1] if one else [leaf[:-1] for leaf in leaves],
        actions=_with_two_dimensions(episode.actions),
        rewards=episode.rewards.reshape(-1, 1),
        terminated=terminated,
        final_observation=leaves[0][-1] if one else [leaf[-1] for leaf in leaves],
        truncated=truncated,
    )


def _plain_episode(episode: RecordedEpisode, losses: Losses) -> Episode:
    if episode.terminated:
        losses.add("final observations of terminated episodes")
        if episode.truncated:
            losses.add("truncations of steps that are also terminated")
    else:
        losses.add("final observations of other episodes, without which their last steps are not transitions")
        if not episode.truncated:
            losses.add("the difference between cut and truncated episodes")
    return Episode(episode.observations, episode.actions, episode.rewards, episode.terminated)


def _with_two_dimensions(values: Any) -> Any:
    """Return numbers as vectors of one element, which d3rlpy wants for each step."""
    return values.reshape(-1, 1) if values.ndim == 1 else values


def _leaf_spaces(space: gym.Space[Any]) -> Iterator[gym.Space[Any]]:
    if not isinstance(space, (spaces.Dict, spaces.Tuple)):
        yield space
        return
    for part in space.spaces.values() if isinstance(space, spaces.Dict) else space.spaces:
        yield from _leaf_spaces(part)


def _leaves(values: Any) -> Iterator[Any]:
    if not isinstance(values, (dict, tuple)):
        yield values
        return
    for part in values.values() if isinstance(values, dict) else values:
        yield from _leaves(part)


def from_replay_buffer(
    buffer: ReplayBufferBase,
    dataset_id: str,
    *,
    observation_space: gym.Space[Any] | None = None,
    action_space: gym.Space[Any] | None = None,
    **options: Any,
) -> MinariDataset:
    """Create a dataset of the episodes in a replay buffer.

    Episodes that :func:`to_replay_buffer` made are complete. Those of d3rlpy lack the final observation: a terminated
    one repeats its last observation, since nothing is learned from the state after the end; any other one ends one
    step earlier, so that its last observation becomes the final one, and is truncated. Where d3rlpy collected an
    episode of a single step, it has joined it to the next one, which no one can tell afterwards.

    Args:
        buffer: a replay buffer of d3rlpy.
        dataset_id: ``(namespace/)*name-vN``.
        observation_space: by default that of ``env``, or a ``Box`` with the full range of the dtype, in a tuple for
            observations of several arrays. In a ``Dict`` or ``Tuple``, the arrays are nested in its order.
        action_space: by default that of ``env``, or what d3rlpy knows.
        **options: of :func:`minari.create_dataset_from_buffers`, such as ``env`` and ``description``.

    Returns:
        The dataset.

    Warns:
        UserWarning: final observations, last steps, or the cause of an end were not kept.

    Raises:
        ArgumentError: the buffer holds no step, or its observations do not fit the space.
    """
    if not isinstance(buffer, ReplayBufferBase):
        raise ArgumentTypeError(
            f"buffer is a {type(buffer).__name__}, expected a replay buffer of d3rlpy; for other data there is "
            f"minari.create_dataset_from_arrays."
        )
    losses = Losses("The replay buffer")
    episodes = [complete for episode in buffer.episodes if (complete := _completed(episode, losses)) is not None]
    if not episodes:
        raise ArgumentError("The replay buffer has no transition, expected at least one; collect some episodes first.")
    observation_space, action_space = known_spaces(observation_space, action_space, options.get("env"))
    if observation_space is None:
        first = episodes[0].observations
        observation_space = infer_observation_space(tuple(first) if isinstance(first, (list, tuple)) else first)
    if action_space is None:
        action_space = _inferred_action_space(buffer, episodes[0])
    expected = list(_leaf_spaces(observation_space))
    buffers = [_episode_buffer(episode, observation_space, expected, action_space) for episode in episodes]
    losses.warn()
    return create_dataset_from_buffers(
        dataset_id, buffers, observation_space=observation_space, action_space=action_space, **options
    )


def _inferred_action_space(buffer: ReplayBufferBase, episode: RecordedEpisode) -> gym.Space[Any]:
    if buffer.dataset_info.action_space == ActionSpace.DISCRETE:
        return spaces.Discrete(buffer.dataset_info.action_size)
    return infer_observation_space(episode.actions)  # a Box, also for whole numbers


def _completed(episode: EpisodeBase, losses: Losses) -> RecordedEpisode | None:
    """Return an episode with a final observation; None if no step is left."""
    if isinstance(episode, RecordedEpisode):
        return episode
    observations, several = episode.observations, isinstance(episode.observations, (list, tuple))
    final = [part[-1] for part in observations] if several else observations[-1]
    steps = episode.size()
    if episode.terminated:
        losses.add("final observations of terminated episodes, in whose place the ones before are repeated")
    else:
        losses.add("final observations of other episodes, which end one step earlier for that, truncated")
        steps -= 1
        if not steps:
            losses.add("what is left of episodes of one step, which are left out")
            return None
    return RecordedEpisode(
        observations=[part[:steps] for part in observations] if several else observations[:steps],
        actions=episode.actions[:steps],
        rewards=episode.rewards[:steps],
        terminated=bool(episode.terminated),
        final_observation=final,
        truncated=not episode.terminated,
    )


def _episode_buffer(
    episode: RecordedEpisode,
    observation_space: gym.Space[Any],
    expected: list[gym.Space[Any]],
    action_space: gym.Space[Any],
) -> EpisodeBuffer:
    several = isinstance(episode.observations, (list, tuple))
    parts = episode.observations if several else [episode.observations]
    finals = episode.final_observation if several else [episode.final_observation]
    if len(parts) != len(expected):
        raise ArgumentError(
            f"The observations are {len(parts)} arrays, expected {len(expected)} for the observation space "
            f"{observation_space}; give a Dict or Tuple of {len(parts)} spaces."
        )
    leaves = (
        _shaped(np.concatenate([part, np.asarray(final)[None]]), space)
        for part, final, space in zip(parts, finals, expected, strict=True)
    )
    steps = episode.size()
    ends = np.arange(steps) == steps - 1
    return EpisodeBuffer(
        observations=_nested(leaves, observation_space),
        actions=_shaped(episode.actions, action_space),
        rewards=episode.rewards.reshape(steps),
        terminations=ends & episode.terminated,
        truncations=ends & episode.truncated,
    )


def _shaped(values: Any, space: gym.Space[Any]) -> Any:
    """Return values in the shape and dtype of a space, if they have as many elements; else as they are."""
    shape = space.shape or ()
    fits = int(np.prod(values.shape[1:])) == int(np.prod(shape))
    return values.reshape(len(values), *shape).astype(space.dtype, copy=False) if fits else values


def _nested(leaves: Iterator[Any], space: gym.Space[Any]) -> Any:
    if isinstance(space, spaces.Dict):
        return {key: _nested(leaves, part) for key, part in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(_nested(leaves, part) for part in space.spaces)
    return next(leaves)
