"""imitation: trajectories, transitions and replay buffers from datasets, and datasets from them.

imitation marks the end of an episode by one flag, for terminations and truncations alike. As the environments of
Stable-Baselines3 do, the info ``TimeLimit.truncated`` of the last step tells them apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from minari._base.json_text import shortened
from minari._model.arguments import check_count
from minari._model.episode import EpisodeData
from minari._model.episode_buffer import EpisodeBuffer
from minari._model.infos import append_info
from minari.dataset.from_buffers import create_dataset_from_buffers
from minari.dataset.minari_dataset import MinariDataset
from minari.errors import ArgumentError, ArgumentTypeError, MissingDependencyError
from minari.integrations._replay import (
    Losses,
    check_dataset,
    episode_slices,
    episodes_of,
    is_one_array,
    joined,
    known_spaces,
    last_flags,
    part_of,
    rows_equal,
    unsupported,
)
from minari.spaces.inference import infer_action_space, infer_observation_space


try:
    from imitation.data.buffer import ReplayBuffer
    from imitation.data.rollout import flatten_trajectories_with_rew
    from imitation.data.types import DictObs, Trajectory, TrajectoryWithRew, Transitions, TransitionsWithRew
except ImportError as error:
    raise MissingDependencyError(
        "minari.integrations.imitation needs imitation, which is not installed; run "
        'pip install "minari[imitation]" && pip install --no-deps imitation, as the versions that imitation asks for '
        "are older than those that minari needs.",
        name="imitation",
    ) from error


__all__ = [
    "from_replay_buffer",
    "from_trajectories",
    "from_transitions",
    "to_replay_buffer",
    "to_trajectories",
    "to_transitions",
]

#: The info by which environments of Stable-Baselines3 tell truncation from termination.
TRUNCATED: Final = "TimeLimit.truncated"
#: The info with a whole episode, as it was before wrappers changed it, which would be stored once for each step.
_UNWRAPPED: Final = "rollout"
#: Infos that such environments add, which repeat what an episode says anyway.
_ADDED = frozenset({TRUNCATED, "terminal_observation", _UNWRAPPED})


def to_trajectories(dataset: MinariDataset) -> list[TrajectoryWithRew]:
    """Return the episodes of a dataset as trajectories with rewards.

    Args:
        dataset: the dataset, or a view of one.

    Returns:
        One trajectory for each episode, which is ``terminal`` if it was terminated or truncated. The infos are those
        returned by the steps, and ``TimeLimit.truncated`` for the last step of an episode that has ended.

    Warns:
        UserWarning: something is lost: infos of resets, flags before the last step, or the truncation of a step that
            is also terminated. Seeds and options of resets are left out without a warning.

    Raises:
        ArgumentError: the dataset is empty, rewards are vectors, or a space is not supported.

    Example:
        >>> import minari, numpy as np
        >>> dataset = minari.create_dataset_from_arrays(
        ...     "docs/imitation-v0", observations=np.zeros((5, 3), np.float32), actions=np.zeros((4, 1), np.float32),
        ...     rewards=np.ones(4), terminations=np.arange(4) == 3,
        ... )
        >>> [len(trajectory) for trajectory in to_trajectories(dataset)]
        [4]
    """
    losses = Losses("imitation")
    trajectories = _trajectories(dataset, losses)
    losses.warn()
    return trajectories


def to_transitions(dataset: MinariDataset) -> TransitionsWithRew:
    """Return the steps of a dataset as transitions with rewards.

    Args:
        dataset: the dataset, or a view of one.

    Warns:
        UserWarning: something is lost: what :func:`to_trajectories` loses, or the ends of episodes that are neither
            terminated nor truncated.

    Raises:
        ArgumentError: the dataset is empty, rewards are vectors, or a space is not supported.
    """
    losses = Losses("imitation")
    transitions = _transitions(dataset, losses)
    losses.warn()
    return transitions


def to_replay_buffer(dataset: MinariDataset, *, capacity: int | None = None) -> ReplayBuffer:
    """Return a replay buffer with all steps of a dataset, without their rewards, which it has no place for.

    Args:
        dataset: the dataset, or a view of one.
        capacity: the number of steps that the buffer can hold; by default those of the dataset.

    Warns:
        UserWarning: rewards, and what :func:`to_transitions` loses.

    Raises:
        ArgumentError: the dataset is empty or larger than the capacity, rewards are vectors, or a space is not
            supported, as observations in dicts.
    """
    check_dataset(dataset)
    if isinstance(dataset.observation_space, spaces.Dict):
        raise unsupported("observation", "imitation's ReplayBuffer", dataset.observation_space, "a space of one array")
    if capacity is not None:
        check_count("capacity", capacity, 1)
    if capacity is not None and capacity < dataset.total_steps:
        raise ArgumentError(
            f"capacity is {capacity}, expected at least the {dataset.total_steps} steps of {dataset.id}."
        )
    losses = Losses("imitation")
    transitions = _transitions(dataset, losses, rewards_are_lost=True)
    losses.warn()
    return ReplayBuffer.from_data(transitions, capacity=capacity)


def _transitions(dataset: MinariDataset, losses: Losses, rewards_are_lost: bool = False) -> TransitionsWithRew:
    trajectories = _trajectories(dataset, losses)
    for trajectory in trajectories:
        if rewards_are_lost:
            losses.add("rewards")
        if not trajectory.terminal:
            losses.add("the ends of episodes that were cut, unless the next one starts from another observation")
    return flatten_trajectories_with_rew(trajectories)


def _trajectories(dataset: MinariDataset, losses: Losses) -> list[TrajectoryWithRew]:
    check_dataset(dataset)
    space = dataset.observation_space
    parts = space.spaces.values() if isinstance(space, spaces.Dict) else [space]
    if not parts or not all(map(is_one_array, parts)):
        supported = "a Box, Discrete, MultiDiscrete or MultiBinary space, or a Dict of these"
        raise unsupported("observation", "imitation", space, supported)
    if not is_one_array(dataset.action_space):
        supported = "a Box, Discrete, MultiDiscrete or MultiBinary space"
        raise unsupported("action", "imitation", dataset.action_space, supported)
    # The infos of steps are kept, and only those of resets are lost.
    of_library = Losses("imitation")
    return [_trajectory(episode, losses) for episode in episodes_of(dataset, of_library)]


def _trajectory(episode: EpisodeData, losses: Losses) -> TrajectoryWithRew:
    terminated, truncated = last_flags(episode, losses)
    infos = np.empty(len(episode), dtype=object)
    infos[:] = [_info(episode.infos, step + 1) for step in range(len(episode))]
    if episode.infos:
        losses.add("infos of resets")
    if terminated and truncated:
        losses.add("truncations of steps that are also terminated")
    if terminated or truncated:
        infos[-1][TRUNCATED] = truncated and not terminated
    rewards = episode.rewards
    return TrajectoryWithRew(
        obs=DictObs(episode.observations) if isinstance(episode.observations, dict) else episode.observations,
        acts=episode.actions,
        infos=infos,
        terminal=terminated or truncated,
        rews=rewards if rewards.dtype.kind == "f" else rewards.astype(np.float64),
    )


def _info(infos: dict[str, Any], row: int) -> dict[str, Any]:
    return {key: _info(value, row) if isinstance(value, dict) else value[row] for key, value in infos.items()}


def from_trajectories(
    trajectories: Iterable[Trajectory],
    dataset_id: str,
    *,
    infos: bool = True,
    observation_space: gym.Space[Any] | None = None,
    action_space: gym.Space[Any] | None = None,
    **options: Any,
) -> MinariDataset:
    """Create a dataset of trajectories.

    Args:
        trajectories: such as those of ``imitation.data.rollout.rollout``, best with ``exclude_infos=False``.
        dataset_id: ``(namespace/)*name-vN``.
        infos: False to leave out the infos, besides the one that tells truncation from termination.
        observation_space: by default that of ``env``, or a space with the full range of the dtype.
        action_space: by default that of ``env``, or inferred likewise.
        **options: of :func:`minari.create_dataset_from_buffers`, such as ``env`` and ``description``.

    Returns:
        The dataset. Trajectories that are not ``terminal`` are episodes without an end.

    Warns:
        UserWarning: a trajectory has no rewards, which become NaN, or its infos do not say whether it was truncated,
            so that it becomes terminated.

    Raises:
        ArgumentError: there is no trajectory.
    """
    listed = list(trajectories)
    for trajectory in listed:
        if not isinstance(trajectory, Trajectory):
            raise ArgumentTypeError(
                f"trajectories holds {shortened(trajectory)}, expected Trajectory objects of imitation; convert it."
            )
    losses = Losses("imitation")
    buffers = [
        _episode(
            _plain(one.obs), one.acts, getattr(one, "rews", None), one.terminal,
            [{}] * len(one) if one.infos is None else one.infos, infos, losses,
        )
        for one in listed
    ]  # fmt: skip
    losses.warn()
    return _created(buffers, dataset_id, observation_space, action_space, options)


def from_transitions(
    transitions: Transitions,
    dataset_id: str,
    *,
    infos: bool = True,
    observation_space: gym.Space[Any] | None = None,
    action_space: gym.Space[Any] | None = None,
    **options: Any,
) -> MinariDataset:
    """Create a dataset of transitions in the order in which they were collected.

    An episode ends at a step that is done, and where the next step does not continue from its last observation.

    Args:
        transitions: such as those of ``imitation.data.rollout.flatten_trajectories``.
        dataset_id: ``(namespace/)*name-vN``.
        infos: False to leave out the infos, besides the one that tells truncation from termination.
        observation_space: by default that of ``env``, or a space with the full range of the dtype.
        action_space: by default that of ``env``, or inferred likewise.
        **options: of :func:`minari.create_dataset_from_buffers`, such as ``env`` and ``description``.

    Returns:
        The dataset.

    Warns:
        UserWarning: there are no rewards, which become NaN, or the infos of a done step do not say whether it was
            truncated, so that it becomes terminated.

    Raises:
        ArgumentError: there is no transition.
    """
    if not isinstance(transitions, Transitions):
        raise ArgumentTypeError(
            f"transitions is a {type(transitions).__name__}, expected Transitions of imitation, with next_obs and "
            f"dones; for trajectories there is from_trajectories."
        )
    obs, after = _plain(transitions.obs), _plain(transitions.next_obs)
    ends = transitions.dones.copy()
    ends[:-1] |= ~rows_equal(part_of(after, slice(None, -1)), part_of(obs, slice(1, None)))
    rewards, losses = getattr(transitions, "rews", None), Losses("imitation")
    buffers = []
    for steps in episode_slices(ends) if len(ends) else []:
        last = steps.stop - 1
        buffers.append(
            _episode(
                joined(part_of(obs, steps), part_of(after, slice(last, last + 1))),
                transitions.acts[steps],
                None if rewards is None else rewards[steps],
                bool(transitions.dones[last]),
                transitions.infos[steps],
                infos,
                losses,
            )
        )
    losses.warn()
    return _created(buffers, dataset_id, observation_space, action_space, options)


def from_replay_buffer(buffer: ReplayBuffer, dataset_id: str, **options: Any) -> MinariDataset:
    """Create a dataset of the steps in a replay buffer, the oldest first, with NaN as rewards, which it lacks.

    Where steps were overwritten, the first episode may lack its beginning.

    Args:
        buffer: a replay buffer of imitation.
        dataset_id: ``(namespace/)*name-vN``.
        **options: of :func:`from_transitions`.

    Warns:
        UserWarning: rewards, and what :func:`from_transitions` warns of.

    Raises:
        ArgumentError: the buffer is empty.
    """
    if not isinstance(buffer, ReplayBuffer):
        raise ArgumentTypeError(
            f"buffer is a {type(buffer).__name__}, expected a ReplayBuffer of imitation; for those of "
            f"Stable-Baselines3 there is minari.integrations.sb3."
        )
    return from_transitions(_chronological(buffer), dataset_id, **options)


def _chronological(buffer: ReplayBuffer) -> Transitions:
    """Return the steps of a buffer, the oldest first."""
    # There is no public way to read a buffer but to draw from it at random.
    ring = buffer._buffer
    size = ring.size()
    start = ring._idx if size == buffer.capacity else 0
    rows = (start + np.arange(size)) % buffer.capacity
    return Transitions(**{name: values[rows] for name, values in ring._arrays.items()})


def _episode(
    observations: Any,
    actions: npt.NDArray[Any],
    rewards: npt.NDArray[Any] | None,
    done: bool,
    step_infos: Sequence[Any],
    keeps_infos: bool,
    losses: Losses,
) -> EpisodeBuffer:
    steps = len(actions)
    truncated = False
    if done:
        if TRUNCATED in step_infos[-1]:
            truncated = bool(step_infos[-1][TRUNCATED])
        else:
            losses.add(
                f"whether done means truncated where infos lack {TRUNCATED!r} (exclude_infos=False keeps them), so "
                f"that it becomes terminated"
            )
    if keeps_infos and any(_UNWRAPPED in info for info in step_infos):
        losses.add(f"the info {_UNWRAPPED!r} of RolloutInfoWrapper (unwrap=True makes trajectories of it)")
    if rewards is None:
        losses.add("rewards, which become NaN")
        rewards = np.full(steps, np.nan)
    ends = np.arange(steps) == steps - 1
    return EpisodeBuffer(
        observations=observations,
        actions=actions,
        rewards=rewards,
        terminations=ends & (done and not truncated),
        truncations=ends & truncated,
        infos=_columns(step_infos) if keeps_infos else None,
    )


def _columns(step_infos: Sequence[Any]) -> dict[str, Any] | None:
    """Return the infos of the steps as columns, whose first row, that of the reset, has no values."""
    columns: dict[str, Any] = {}
    for row, info in enumerate([{}, *step_infos]):
        columns = append_info(columns, {key: value for key, value in info.items() if key not in _ADDED}, row)
    return columns or None


def _created(
    buffers: list[EpisodeBuffer],
    dataset_id: str,
    observation_space: gym.Space[Any] | None,
    action_space: gym.Space[Any] | None,
    options: dict[str, Any],
) -> MinariDataset:
    if not buffers:
        raise ArgumentError("There is no step, expected at least one; collect some first.")
    observation_space, action_space = known_spaces(observation_space, action_space, options.get("env"))
    if observation_space is None:
        observation_space = infer_observation_space(buffers[0].observations)
    if action_space is None:
        action_space = infer_action_space(np.concatenate([buffer.actions for buffer in buffers]))
    return create_dataset_from_buffers(
        dataset_id, buffers, observation_space=observation_space, action_space=action_space, **options
    )


def _plain(observations: Any) -> Any:
    return observations.unwrap() if isinstance(observations, DictObs) else observations
