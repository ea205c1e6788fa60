"""RLlib: datasets as lists and buffers of ``SingleAgentEpisode``, and those as datasets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import gymnasium as gym
import numpy as np

from minari._base.json_text import shortened
from minari._base.warnings import warn
from minari._model.episode import EpisodeData
from minari._model.episode_buffer import EpisodeBuffer
from minari._model.infos import append_info
from minari.dataset.minari_dataset import MinariDataset
from minari.errors import ArgumentError, ArgumentTypeError, MissingDependencyError
from minari.integrations._replay import (
    checked_dataset,
    create_dataset,
    map_leaves,
    names,
    warn_about_lost_columns,
)


try:
    from ray.rllib.env.single_agent_episode import SingleAgentEpisode
    from ray.rllib.utils.replay_buffers.episode_replay_buffer import EpisodeReplayBuffer
except ImportError as error:
    raise MissingDependencyError(
        'minari.integrations.rllib needs RLlib, which is not installed; run pip install "minari[rllib]".', name="ray"
    ) from error


__all__ = ["from_replay_buffer", "to_episodes", "to_replay_buffer"]


def to_episodes(dataset: MinariDataset) -> list[SingleAgentEpisode]:
    """Return the episodes of a dataset or view as those of RLlib, in NumPy's form.

    They have all observations, the final one included, infos, and the flags of the last step. Their ids are
    the id of the dataset and the number of the episode.

    Args:
        dataset: a dataset, or a view of one, with one reward a step and observations and actions of any space but
            those without a fixed shape.

    Warns:
        UserWarning: steps before the last of an episode are terminated or truncated, which RLlib does not keep.

    Raises:
        ArgumentError: the rewards are vectors, or values have no fixed shape.
    """
    warn_about_lost_columns(
        checked_dataset(dataset), "RLlib's episode", infos=False, early_ends="only the flags of the last step are kept"
    )
    return [_episode(dataset, episode) for episode in dataset.iterate_episodes()]


def to_replay_buffer(dataset: MinariDataset, **options: Any) -> EpisodeReplayBuffer:
    """Return the episodes of a dataset or view in an ``EpisodeReplayBuffer``; see :func:`to_episodes`.

    Args:
        dataset: a dataset, or a view of one.
        **options: of ``EpisodeReplayBuffer``; ``capacity`` is the number of steps by default.

    Raises:
        ArgumentError: the capacity is less than the number of steps, so that the first episodes would be dropped; or
            see :func:`to_episodes`.
    """
    count = checked_dataset(dataset).total_steps
    capacity = options.pop("capacity", count)
    if capacity < count:
        raise ArgumentError(
            f"capacity is {capacity} and {dataset.id} has {count} steps, expected at least that many; give a larger "
            f"one, or a view of the dataset."
        )
    buffer = EpisodeReplayBuffer(capacity=capacity, **options)
    buffer.add(to_episodes(dataset))
    return buffer


def _episode(dataset: MinariDataset, episode: EpisodeData) -> SingleAgentEpisode:
    if episode.rewards.ndim > 1:
        raise ArgumentError(
            f"The rewards of {dataset.id} have {episode.rewards.shape[1]} numbers a step, and RLlib's episodes have "
            f"one; expected a dataset with a single reward."
        )
    for field in ("observations", "actions"):
        _check_shapes(getattr(episode, field), field)
    count = len(episode)
    return SingleAgentEpisode(
        f"{dataset.id}/{episode.id}",
        observations=[_row(episode.observations, step) for step in range(count + 1)],
        observation_space=dataset.observation_space,
        infos=[_row(episode.infos, step) for step in range(count + 1)],
        actions=[_row(episode.actions, step) for step in range(count)],
        action_space=dataset.action_space,
        rewards=list(episode.rewards),
        terminated=bool(episode.terminations[-1]),
        truncated=bool(episode.truncations[-1]),
        t_started=0,
        len_lookback_buffer=0,
    ).to_numpy()


def _check_shapes(tree: Any, name: str) -> None:
    if isinstance(tree, list):
        raise ArgumentError(
            f"The {name} have no fixed shape, such as {shortened(tree[0])}, expected arrays; RLlib's episodes are made "
            f"of those only."
        )
    if isinstance(tree, (Mapping, tuple)):
        for key, part in tree.items() if isinstance(tree, Mapping) else enumerate(tree):
            _check_shapes(part, f"{name}/{key}")


def _row(tree: Any, step: int) -> Any:
    return map_leaves(lambda values: values[step], tree)


def from_replay_buffer(
    buffer: EpisodeReplayBuffer | Iterable[SingleAgentEpisode],
    dataset_id: str,
    *,
    observation_space: gym.Space[Any] | None = None,
    action_space: gym.Space[Any] | None = None,
    **options: Any,
) -> MinariDataset:
    """Create a dataset of RLlib's episodes.

    Parts of an episode, which ``EnvRunner.sample`` returns one after the other, are joined; episodes that were not
    finished have no end. Actions are those of the episode: with ``normalize_actions``, which is RLlib's default,
    the policy's actions for a ``Box`` are normalized to the range from -1 to 1.

    Args:
        buffer: an ``EpisodeReplayBuffer``, or episodes such as those that ``EnvRunner.sample`` returns.
        dataset_id: of the new dataset.
        observation_space: by default that of ``env`` or of the episodes, or inferred.
        action_space: by default that of ``env`` or of the episodes, or inferred.
        **options: arguments of :func:`minari.create_dataset_from_buffers`, such as ``env`` and ``author``.

    Warns:
        UserWarning: a space is inferred, episodes lack their beginning, or they have outputs of the model, which a
            dataset has no place for.

    Raises:
        ArgumentError: there is no step.
    """
    given = list(buffer.episodes) if isinstance(buffer, EpisodeReplayBuffer) else buffer
    chunks = list(given) if isinstance(given, Iterable) else [given]
    for one in chunks:
        if not isinstance(one, SingleAgentEpisode):
            raise ArgumentTypeError(
                f"buffer is {shortened(buffer)}, expected an EpisodeReplayBuffer or a list of SingleAgentEpisode."
            )
    chunks = [one for one in chunks if len(one)]
    lost = {f"extra_model_outputs/{key}" for one in chunks for key in one.extra_model_outputs}
    if lost:
        warn(f"The entries {names(lost)} of the episodes are left out, as a dataset has no place for them.")
    joined = list(_joined(chunks))
    partial = sum(parts[0].t_started > 0 for parts in joined)
    if partial:
        warn(f"{partial} of {len(joined)} episodes lack their beginning; they start at the first step that is there.")
    if options.get("env") is None and chunks:
        observation_space = chunks[0].observation_space if observation_space is None else observation_space
        action_space = chunks[0].action_space if action_space is None else action_space
    return create_dataset(
        dataset_id,
        [_buffer_of(parts) for parts in joined],
        observation_space=observation_space,
        action_space=action_space,
        options=options,
    )


def _joined(chunks: list[SingleAgentEpisode]) -> Iterator[list[SingleAgentEpisode]]:
    """Yield the consecutive parts of each episode, in the order in which the episodes begin."""
    episodes: dict[str, list[SingleAgentEpisode]] = {}
    for one in chunks:
        episodes.setdefault(one.id_, []).append(one)
    for parts in episodes.values():
        parts.sort(key=lambda part: part.t_started)
        run = parts[:1]
        for part in parts[1:]:
            if part.t_started != run[-1].t_started + len(run[-1]):
                yield run
                run = []
            run.append(part)
        yield run


def _buffer_of(parts: list[SingleAgentEpisode]) -> EpisodeBuffer:
    count = sum(map(len, parts))
    # Each part begins with the observation and info that the part before ends with.
    news = [slice(int(place > 0), None) for place in range(len(parts))]
    observations = [_column(part.get_observations(new)) for part, new in zip(parts, news, strict=True)]
    infos = [info for part, new in zip(parts, news, strict=True) for info in part.get_infos(new)]
    columns: dict[str, Any] = {}
    for recorded, info in enumerate(infos if any(infos) else []):
        columns = append_info(columns, info, recorded)
    at_end = np.arange(count) == count - 1
    return EpisodeBuffer(
        observations=_concatenated(observations),
        actions=_concatenated([_column(part.get_actions()) for part in parts]),
        rewards=np.concatenate([np.asarray(part.get_rewards()) for part in parts]),
        terminations=at_end & parts[-1].is_terminated,
        truncations=at_end & parts[-1].is_truncated,
        infos=columns or None,
    )


def _column(values: Any) -> Any:
    """Return values with time first, which are those of single steps in a list before ``to_numpy``."""
    if isinstance(values, list):
        return map_leaves(lambda *rows: np.stack([np.asarray(row) for row in rows]), *values)
    return values


def _concatenated(columns: list[Any]) -> Any:
    return map_leaves(lambda *parts: np.concatenate([np.asarray(part) for part in parts]), *columns)
