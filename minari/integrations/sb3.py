"""Stable-Baselines3: replay buffers from datasets, and datasets from replay buffers.

Its off-policy algorithms scale the actions of a bounded ``Box`` to [-1, 1] before they store them. Both functions do
so as well; ``scaled_actions=False`` leaves them as they are.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from minari._model.arguments import check_count
from minari._model.episode import EpisodeData
from minari._model.episode_buffer import EpisodeBuffer
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
    part_of,
    rows_equal,
    unsupported,
)


try:
    from stable_baselines3.common.buffers import DictReplayBuffer, ReplayBuffer
except ImportError as error:
    raise MissingDependencyError(
        'minari.integrations.sb3 needs Stable-Baselines3, which is not installed; run pip install "minari[sb3]".',
        name="stable_baselines3",
    ) from error


__all__ = ["from_replay_buffer", "to_replay_buffer"]

Array = npt.NDArray[Any]


def to_replay_buffer(
    dataset: MinariDataset, *, buffer_size: int | None = None, device: Any = "auto", scaled_actions: bool = True
) -> ReplayBuffer:
    """Return a replay buffer with all steps of a dataset, for one environment.

    Truncated steps are stored as time-outs, after which an algorithm bootstraps from the final observation; so are the
    last steps of episodes that were cut without an end. Observations are stored as they are: for frames with the
    channels last, give the buffer to a model whose environment has the same observation space.

    Args:
        dataset: the dataset, or a view of one.
        buffer_size: the number of steps that the buffer can hold, for training to continue online; by default those
            of the dataset.
        device: where sampled batches are placed.
        scaled_actions: True to scale the actions of a bounded ``Box`` to [-1, 1], which is how the algorithms of the
            library store them.

    Returns:
        A ``ReplayBuffer``, or a ``DictReplayBuffer`` for observations in a dict.

    Warns:
        UserWarning: something is lost: infos, digits of float64 rewards or actions, which are kept as float32, the
            truncation of a step that is also terminated, that an episode was cut, or that it continues after a flag.
            Seeds and options of resets are
            left out without a warning.

    Raises:
        ArgumentError: the dataset is empty, the buffer too small, rewards are vectors, or a space is not supported.

    Example:
        >>> import minari, numpy as np
        >>> dataset = minari.create_dataset_from_arrays(
        ...     "docs/sb3-v0", observations=np.zeros((5, 3), np.float32), actions=np.zeros((4, 1), np.float32),
        ...     rewards=np.ones(4), terminations=np.arange(4) == 3,
        ... )
        >>> buffer = to_replay_buffer(dataset)
        >>> buffer.size(), buffer.sample(2).rewards.shape
        (4, torch.Size([2, 1]))
    """
    check_dataset(dataset)
    observation_space, action_space = dataset.observation_space, dataset.action_space
    parts = observation_space.spaces.values() if isinstance(observation_space, spaces.Dict) else [observation_space]
    if not parts or not all(map(is_one_array, parts)):
        supported = "a Box, Discrete, MultiDiscrete or MultiBinary space, or a Dict of these"
        raise unsupported("observation", "Stable-Baselines3", observation_space, supported)
    if not is_one_array(action_space):
        supported = "a Box, Discrete, MultiDiscrete or MultiBinary space"
        raise unsupported("action", "Stable-Baselines3", action_space, supported)
    total = int(dataset.total_steps)
    size = total if buffer_size is None else buffer_size
    check_count("buffer_size", size, 1)
    if size < total:
        raise ArgumentError(f"buffer_size is {size}, expected at least the {total} steps of {dataset.id}.")
    made = DictReplayBuffer if isinstance(observation_space, spaces.Dict) else ReplayBuffer
    buffer = made(size, observation_space, action_space, device=device)
    losses, start = Losses("Stable-Baselines3"), 0
    for episode in episodes_of(dataset, losses):
        _store(buffer, slice(start, start + len(episode)), episode, scaled_actions, losses)
        start += len(episode)
    buffer.pos, buffer.full = start % size, start == size
    losses.warn()
    return buffer


def _store(buffer: Any, rows: slice, episode: EpisodeData, scaled_actions: bool, losses: Losses) -> None:
    """Fill some rows of a buffer with an episode."""
    _fill(buffer.observations, rows, episode.observations, slice(0, -1))
    _fill(buffer.next_observations, rows, episode.observations, slice(1, None))
    actions = episode.actions
    if scaled_actions and (bounds := _scale(buffer.action_space)):
        low, high = bounds
        actions = 2 * ((actions - low) / (high - low)) - 1
    elif not _survives(actions, buffer.actions.dtype):
        losses.add(f"digits of {actions.dtype} actions")
    buffer.actions[rows, 0] = actions.reshape(len(episode), -1)
    buffer.rewards[rows, 0] = episode.rewards
    if not _survives(episode.rewards, buffer.rewards.dtype):
        losses.add(f"digits of {episode.rewards.dtype} rewards")
    terminations, timeouts = episode.terminations, episode.truncations & ~episode.terminations
    if (terminations & episode.truncations).any():
        losses.add("truncations of steps that are also terminated")
    if not (terminations[-1] or timeouts[-1]):
        losses.add("the difference between cut and truncated episodes, so that cut ones become truncated")
        timeouts = timeouts.copy()
        timeouts[-1] = True
    if (terminations | timeouts)[:-1].any():
        losses.add("that episodes continue after a termination or truncation, so that they become several")
    buffer.dones[rows, 0] = terminations | timeouts
    buffer.timeouts[rows, 0] = timeouts


def _fill(target: Any, rows: slice, values: Any, steps: slice) -> None:
    if isinstance(values, dict):
        for key, leaf in values.items():
            _fill(target[key], rows, leaf, steps)
    else:
        chosen = values[steps]
        target[rows, 0] = chosen.reshape(len(chosen), *target.shape[2:])


def _survives(values: Array, dtype: npt.DTypeLike) -> bool:
    """Return whether values are the same in another dtype."""
    if values.dtype == dtype:
        return True
    with np.errstate(over="ignore"):
        return np.array_equal(values.astype(dtype), values, equal_nan=values.dtype.kind == "f")


def _scale(action_space: gym.Space[Any]) -> tuple[Array, Array] | None:
    """Return the bounds between which actions are scaled; None if they are -1 and 1, or if there are none."""
    if not isinstance(action_space, spaces.Box) or action_space.dtype.kind != "f":
        return None
    low, high = action_space.low.astype(np.float64), action_space.high.astype(np.float64)
    if not (np.isfinite(low).all() and np.isfinite(high).all() and (low < high).all()):
        return None
    return None if (low == -1).all() and (high == 1).all() else (low, high)


def from_replay_buffer(
    buffer: ReplayBuffer, dataset_id: str, *, scaled_actions: bool = True, **options: Any
) -> MinariDataset:
    """Create a dataset of the episodes in a replay buffer, those of the first environment first.

    An episode ends where the buffer says so, and where the next step does not continue from its last observation, as
    after a second call of ``learn``. What the algorithm collected last is an episode without an end. In a buffer
    that is full, the first episode of each environment may lack its beginning. With ``optimize_memory_usage`` it
    cannot be seen where a second call of ``learn`` has left an episode unfinished.

    Args:
        buffer: a ``ReplayBuffer`` of any kind, filled by ``learn`` or :func:`to_replay_buffer`.
        dataset_id: ``(namespace/)*name-vN``.
        scaled_actions: True if the actions of a bounded ``Box`` were scaled to [-1, 1], as the algorithms of the
            library do.
        **options: of :func:`minari.create_dataset_from_buffers`, such as ``env`` and ``description``.

    Returns:
        The dataset, with the spaces of the buffer.

    Warns:
        UserWarning: the buffer did not keep final observations (``optimize_memory_usage``), the difference between
            time-outs and terminations (``handle_timeout_termination=False``), or overwrote the oldest steps.

    Raises:
        ArgumentError: the buffer is empty.
    """
    if not isinstance(buffer, ReplayBuffer):
        raise ArgumentTypeError(
            f"buffer is a {type(buffer).__name__}, expected a ReplayBuffer of Stable-Baselines3; give "
            f"model.replay_buffer."
        )
    order, after = _chronological(buffer)
    losses = Losses("The replay buffer")
    episodes = [
        episode
        for env in range(buffer.n_envs)
        for episode in _episodes(buffer, env, order, after, scaled_actions, losses)
    ]
    losses.warn()
    spaces_of_buffer = {"observation_space": buffer.observation_space, "action_space": buffer.action_space}
    return create_dataset_from_buffers(dataset_id, episodes, **{**spaces_of_buffer, **options})


def _chronological(buffer: ReplayBuffer) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the rows that hold steps, the oldest first, and the row after each."""
    rows = np.arange(buffer.pos, buffer.pos + buffer.size()) % buffer.buffer_size if buffer.full else None
    order = np.arange(buffer.pos) if rows is None else rows
    if buffer.full and buffer.optimize_memory_usage:
        order = order[1:]  # the newest step's successor lies where the oldest step's observation was
    if not len(order):
        raise ArgumentError("The replay buffer has no step, expected at least one; fill it with learn() first.")
    return order, (order + 1) % buffer.buffer_size


def _episodes(
    buffer: Any,
    env: int,
    order: npt.NDArray[np.int64],
    after: npt.NDArray[np.int64],
    scaled_actions: bool,
    losses: Losses,
) -> list[EpisodeBuffer]:
    """Return the episodes of one environment."""
    shared = buffer.optimize_memory_usage
    observations = _rows(buffer.observations, order, env, buffer.observation_space)
    following = _rows(
        buffer.observations if shared else buffer.next_observations,
        after if shared else order,
        env,
        buffer.observation_space,
    )
    dones, timeouts = (values[order, env].astype(np.bool_) for values in (buffer.dones, buffer.timeouts))
    actions = _actions(buffer.actions[order, env], buffer.action_space, scaled_actions)
    rewards = buffer.rewards[order, env]
    ends = dones.copy()
    if not shared:
        ends[:-1] |= ~rows_equal(part_of(following, slice(None, -1)), part_of(observations, slice(1, None)))
    slices = episode_slices(ends)
    if buffer.full and buffer.pos:
        losses.add("steps that were overwritten, so that an episode may lack its beginning")
    found = []
    for steps in slices:
        last = steps.stop - 1
        if dones[last] and not buffer.handle_timeout_termination:
            losses.add("time-outs, so that truncated episodes become terminated")
        final = part_of(following, slice(last, last + 1))
        if shared and dones[last] and last < len(order) - 1:
            losses.add("final observations, in whose place the ones before are repeated")
            final = part_of(observations, slice(last, last + 1))
        found.append(
            EpisodeBuffer(
                observations=joined(part_of(observations, steps), final),
                actions=actions[steps],
                rewards=rewards[steps],
                terminations=(dones & ~timeouts)[steps],
                truncations=(dones & timeouts)[steps],
            )
        )
    return found


def _rows(values: Any, rows: npt.NDArray[np.int64], env: int, space: gym.Space[Any]) -> Any:
    """Return observations of one environment in the shape that the space gives them."""
    if isinstance(space, spaces.Dict):
        return {key: _rows(values[key], rows, env, part) for key, part in space.spaces.items()}
    return values[rows, env].reshape(len(rows), *(space.shape or ()))


def _actions(stored: Array, space: gym.Space[Any], scaled_actions: bool) -> Array:
    """Return actions as the environment takes them."""
    actions = stored.reshape(len(stored), *(space.shape or ()))
    if scaled_actions and (bounds := _scale(space)):
        low, high = bounds
        inside = np.abs(actions) <= 1
        actions = low + 0.5 * (actions.astype(np.float64) + 1) * (high - low)
        actions = np.where(inside, np.clip(actions, low, high), actions)  # rounding must not lead out of the space
    return actions.astype(space.dtype)
