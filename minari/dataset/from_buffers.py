"""Creation of datasets from recorded episodes, with their metadata."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec

from minari._base.json_text import shortened
from minari._base.warnings import warn
from minari._catalog.layout import free_dataset_path, get_dataset_path, new_dataset
from minari._model.arguments import check_callable, check_count, check_score, check_space
from minari._model.compression import CompressionChoice
from minari._model.dataset_id import DatasetId
from minari._model.env_spec import env_spec_to_json, make_environment, spaces_of, spec_of
from minari._model.episode_buffer import AnyEpisodeBuffer, BufferBatch, EpisodeBuffer, as_episode_buffers
from minari._model.episode_codec import EpisodeCodec
from minari._model.format_version import FORMAT_VERSION
from minari._model.frame_stack import KEEP, FrameStackChoice, check_frame_stack
from minari._model.metadata import json_value
from minari._model.multi_agent import (
    MultiAgentCodec,
    SpacesByAgent,
    agent_spaces,
    codec_for_spaces,
    spaces_of_agents,
)
from minari._model.space_check import OutsideValues
from minari._storages.base import PathLike, check_compatible, create_storage
from minari._storages.core import checked_compression, warn_about_whole_stacks
from minari._storages.registry import get_minari_storage
from minari._storages.write_session import append_buffers
from minari.dataset.minari_dataset import MinariDataset
from minari.dataset.scores import RandomPolicy, get_average_reference_score
from minari.errors import MetadataError, MissingMetadataWarning, ScoreError, SpaceError


EnvLike = str | gym.Env[Any, Any] | EnvSpec
Policy = Callable[[Any], Any]

_WORTH_GIVING = {
    "code_permalink": "link the code that made the dataset, so that it can be made again",
    "author": "name the author, so that people know whose work it is",
    "author_email": "give an email address, so that people can ask about it",
    "algorithm_name": "name the policy or algorithm that chose the actions",
    "description": "describe the dataset, so that people know what it is good for",
    "eval_env": "give the environment that policies are to be evaluated in, where it is not the one recorded",
}


@dataclass(frozen=True)
class DatasetDescription:
    """Metadata given by the user when a dataset is created; see ``DataCollector.create_dataset``."""

    eval_env: EnvLike | None = None
    algorithm_name: str | None = None
    author: str | Iterable[str] | None = None
    author_email: str | Iterable[str] | None = None
    code_permalink: str | None = None
    ref_min_score: float | None = None
    ref_max_score: float | None = None
    expert_policy: Policy | None = None
    num_episodes_average_score: int = 100
    description: str | None = None
    requirements: Sequence[str] | None = None

    def metadata(self, dataset_id: str, env_spec: EnvSpec | None) -> dict[str, Any]:
        """Return the metadata to store, after estimating the reference scores if requested.

        Warns:
            MissingMetadataWarning: lists the metadata worth giving that were left out.

        Raises:
            ScoreError: the maximum score is given twice, or there is no environment to estimate it in.
            EnvironmentSpecError: the evaluation environment is unknown.
        """
        self._check()
        if self.expert_policy is not None and self.ref_max_score is not None:
            raise ScoreError("Both expert_policy and ref_max_score are given, expected one of them; leave one out.")
        missing = [
            f"`{name}` is set to None: {use}" for name, use in _WORTH_GIVING.items() if getattr(self, name) is None
        ]
        if missing:
            warn(f"{'; '.join(missing)}.", MissingMetadataWarning)
        metadata: dict[str, Any] = {"dataset_id": dataset_id, "minari_version": FORMAT_VERSION}
        if self.eval_env is not None:
            metadata["eval_env_spec"] = env_spec_to_json(self.eval_env)
        for name in ("code_permalink", "algorithm_name", "description"):
            if getattr(self, name) is not None:
                metadata[name] = getattr(self, name)
        metadata["author"] = sorted(_names("author", self.author))
        metadata["author_email"] = sorted(_names("author_email", self.author_email))
        if self.requirements is not None:
            metadata["requirements"] = _names("requirements", self.requirements)
        # Checked before the policies run, which may take long.
        metadata = {name: json_value(value, name) for name, value in metadata.items()}
        return {**metadata, **self._scores(env_spec)}

    def _check(self) -> None:
        """Reject invalid values before a policy runs."""
        if self.expert_policy is not None:
            check_callable("expert_policy", self.expert_policy, "a function of the observation that gives an action")
        check_count("num_episodes_average_score", self.num_episodes_average_score, 1, ScoreError)
        check_score("ref_min_score", self.ref_min_score)
        check_score("ref_max_score", self.ref_max_score)

    def given(self) -> dict[str, Any]:
        """Return the given texts in the form of the metadata, without those that cannot be stored."""
        words: dict[str, Any] = {}
        for name in ("code_permalink", "algorithm_name", "description"):
            if isinstance(getattr(self, name), str):
                words[name] = getattr(self, name)
        for name in ("author", "author_email"):
            with suppress(MetadataError):
                if getattr(self, name) is not None:
                    words[name] = sorted(_names(name, getattr(self, name)))
        return words

    def _scores(self, env_spec: EnvSpec | None) -> dict[str, Any]:
        low, high = self.ref_min_score, self.ref_max_score
        if self.expert_policy is not None or (high is not None and low is None):
            env = self._environment_for_scores(env_spec)
            try:
                if self.expert_policy is not None:
                    high = get_average_reference_score(env, self.expert_policy, self.num_episodes_average_score)
                if low is None:
                    low = get_average_reference_score(env, RandomPolicy(env), self.num_episodes_average_score)
            finally:
                env.close()
        scores = {"ref_max_score": high, "ref_min_score": low}
        given = {name: score for name, score in scores.items() if score is not None}
        return {**given, "num_episodes_average_score": self.num_episodes_average_score} if given else {}

    def _environment_for_scores(self, env_spec: EnvSpec | None) -> gym.Env[Any, Any]:
        spec = env_spec if self.eval_env is None else spec_of(self.eval_env)
        if spec is None:
            raise ScoreError(
                "Reference scores are to be estimated and there is no environment to play in; give eval_env, or "
                "give both ref_min_score and ref_max_score."
            )
        return make_environment(spec)


def _names(key: str, names: str | Iterable[str] | None) -> list[str]:
    if names is None:
        return []
    listed = [names] if isinstance(names, str) else list(names) if isinstance(names, Iterable) else [names]
    if not all(isinstance(name, str) for name in listed):
        raise MetadataError(f"{key} is {names!r}, expected a string or several strings.")
    return listed


def generate_dataset_metadata(
    dataset_id: str,
    env_spec: EnvSpec | None,
    eval_env: EnvLike | None,
    algorithm_name: str | None,
    author: str | Iterable[str] | None,
    author_email: str | Iterable[str] | None,
    code_permalink: str | None,
    ref_min_score: float | None,
    ref_max_score: float | None,
    expert_policy: Policy | None,
    num_episodes_average_score: int,
    description: str | None,
    requirements: Sequence[str] | None,
) -> dict[str, Any]:
    """Return the metadata of a new dataset, in the argument order of older programs."""
    description_of_dataset = DatasetDescription(
        eval_env=eval_env,
        algorithm_name=algorithm_name,
        author=author,
        author_email=author_email,
        code_permalink=code_permalink,
        ref_min_score=ref_min_score,
        ref_max_score=ref_max_score,
        expert_policy=expert_policy,
        num_episodes_average_score=num_episodes_average_score,
        description=description,
        requirements=requirements,
    )
    return description_of_dataset.metadata(str(DatasetId.parse(dataset_id)), env_spec)


def create_dataset_from_buffers(
    dataset_id: str,
    buffer: Iterable[AnyEpisodeBuffer],
    env: EnvLike | None = None,
    eval_env: EnvLike | None = None,
    algorithm_name: str | None = None,
    author: str | Iterable[str] | None = None,
    author_email: str | Iterable[str] | None = None,
    code_permalink: str | None = None,
    action_space: gym.Space[Any] | SpacesByAgent | None = None,
    observation_space: gym.Space[Any] | SpacesByAgent | None = None,
    ref_min_score: float | None = None,
    ref_max_score: float | None = None,
    expert_policy: Policy | None = None,
    num_episodes_average_score: int = 100,
    description: str | None = None,
    data_format: str | None = None,
    requirements: Sequence[str] | None = None,
    *,
    jpeg_encoding: bool = False,
    compression: CompressionChoice = None,
    frame_stack: FrameStackChoice = KEEP,
    compatible_with: str | None = None,
    extra_metadata: Mapping[str, Any] | None = None,
    root: PathLike | None = None,
) -> MinariDataset:
    """Create a dataset from episodes in memory.

    Args:
        dataset_id: ``(namespace/)*name-vN``.
        buffer: the episodes, as :class:`EpisodeBuffer` or, with many agents, :class:`MultiAgentEpisodeBuffer`; an
            empty list creates a dataset to append to.
        env: the environment of the episodes: its id, the environment itself or its spec; an environment of PettingZoo
            only for the spaces of its agents.
        eval_env: the environment for the evaluation of policies.
        algorithm_name: name of the algorithm that chose the actions.
        author: one name, or several.
        author_email: one address, or several.
        code_permalink: link to the code that created the dataset.
        action_space: by default that of the environment; for many agents a mapping with that of each.
        observation_space: by default that of the environment; for many agents a mapping with that of each.
        ref_min_score: mean return of a random policy; estimated if it is missing and the maximum is given.
        ref_max_score: mean return of an expert.
        expert_policy: policy to estimate ``ref_max_score``, which must then not be given.
        num_episodes_average_score: number of episodes for the estimates.
        description: Markdown.
        data_format: format of the storage, by default ``"hdf5"``.
        requirements: requirements of the environment in the format of ``pip install``.
        jpeg_encoding: True to store frames as JPEG, which is lossy.
        compression: a codec such as ``"gzip"`` or ``"gzip:9"``, for all columns or for some
            (``{"observations/pixels": "gzip:9"}``). By default, only frames are compressed, without loss.
        frame_stack: ``"deduplicate"`` to store each frame of stacks once, as those of ``FrameStackObservation``, where
            the stacks can be rebuilt exactly from the frames.
        compatible_with: ``"0.5"`` for a dataset that 0.5.4 can read; None for this release.
        extra_metadata: further metadata of the dataset.
        root: root of the catalog; by default that of ``MINARI_DATASETS_PATH``.

    Returns:
        The dataset.

    Raises:
        DatasetIdError: the id is malformed.
        DatasetExistsError: a dataset with this id already exists.
        SpaceError: a space is missing and there is no environment.
        ArgumentError: ``frame_stack`` is not a choice, or there are many agents and it is ``"deduplicate"``.
        CompressionError: the format does not support the codec, or there is no such column.
        DatasetVersionError: ``compatible_with`` is not a known release, or that release does not support the format or
            a space.
        EpisodeError: an episode does not match the spaces. No dataset is created.

    Example:
        >>> import minari, numpy as np
        >>> from gymnasium import spaces
        >>> episode = minari.data_collector.EpisodeBuffer(
        ...     observations=np.zeros((3, 2), np.float32), actions=[0, 1], rewards=[1.0, 2.0],
        ...     terminations=[False, True], truncations=[False, False],
        ... )
        >>> dataset = minari.create_dataset_from_buffers(
        ...     "docs/buffers-v0", [episode],
        ...     observation_space=spaces.Box(-1, 1, (2,)), action_space=spaces.Discrete(2),
        ... )
        >>> dataset[0].rewards
        array([1., 2.])
    """
    DatasetId.parse(dataset_id)  # detects arguments in the wrong order
    of_agents = spaces_of_agents(env)
    if of_agents is not None:
        env = None
        observation_space = of_agents[0] if observation_space is None else observation_space
        action_space = of_agents[1] if action_space is None else action_space
    if env is None and (observation_space is None or action_space is None):
        raise SpaceError("Without an env both observation_space and action_space are needed; give them.")
    episodes = as_episode_buffers(buffer)
    free_dataset_path(dataset_id, root=root)
    env_spec = spec_of(env)
    if observation_space is None or action_space is None:
        if isinstance(env, gym.Env):
            env_observation_space, env_action_space = env.observation_space, env.action_space
        elif env_spec is not None:
            env_observation_space, env_action_space = spaces_of(env_spec)
        else:
            raise SpaceError("The spaces are not known; give observation_space and action_space.")
        # Not `or`: an empty Dict space counts as false.
        observation_space = env_observation_space if observation_space is None else observation_space
        action_space = env_action_space if action_space is None else action_space
    for name, space in (("observation_space", observation_space), ("action_space", action_space)):
        check_space(name, space if (spaces := agent_spaces(space)) is None else spaces)
    storage_type = get_minari_storage(data_format or "hdf5")
    codec = codec_for_spaces(observation_space, action_space)
    checked_compression(storage_type, codec, compression, jpeg_encoding, check_frame_stack(frame_stack))
    check_compatible(compatible_with, data_format or "hdf5", frame_stack, codec)
    metadata = generate_dataset_metadata(
        dataset_id,
        env_spec,
        eval_env,
        algorithm_name,
        author,
        author_email,
        code_permalink,
        ref_min_score,
        ref_max_score,
        expert_policy,
        num_episodes_average_score,
        description,
        requirements,
    )
    with new_dataset(dataset_id, root) as data_path:
        storage = create_storage(
            data_path,
            observation_space,
            action_space,
            env_spec,
            data_format or "hdf5",
            jpeg_encoding=jpeg_encoding,
            compression=compression,
            frame_stack=frame_stack,
            compatible_with=compatible_with,
            durable=False,
        )
        storage.update_metadata({**metadata, **(extra_metadata or {})})
        outside = _Outside(codec)
        append_buffers(storage, episodes, None, written=outside.look_at)
        for sentence in outside.sentences():
            warn(sentence)
        warn_about_whole_stacks(storage)
    return MinariDataset(get_dataset_path(dataset_id, root=root) / "data")


class _Outside:
    """The values of episodes outside their spaces, for each agent.

    Args:
        codec: the codec of the episodes.
    """

    def __init__(self, codec: EpisodeCodec) -> None:
        self._of_agents = isinstance(codec, MultiAgentCodec)
        self._number = 0
        self._found = (
            {agent: OutsideValues(codec.spaces[0][agent], codec.spaces[1][agent]) for agent in codec.agents}
            if isinstance(codec, MultiAgentCodec)
            else {None: OutsideValues(*codec.spaces)}
        )

    def look_at(self, episodes: AnyEpisodeBuffer | BufferBatch) -> None:
        """Count the values outside their spaces of an episode, or of several, that have passed other checks."""
        if isinstance(episodes, BufferBatch):
            with suppress(KeyError, IndexError, TypeError):
                if not self._found[None].is_any(episodes.observations, episodes.actions):
                    self._number += len(episodes.total_steps)
                    return
            for episode in episodes.buffers():
                self.look_at(episode)
            return
        agents = {None: episodes} if isinstance(episodes, EpisodeBuffer) else episodes.agents
        for agent, trajectory in agents.items():
            with suppress(KeyError, IndexError, TypeError):  # nested in another way that the storage accepts
                self._found[agent].add(trajectory.observations, trajectory.actions, self._number)
        self._number += 1

    def sentences(self) -> list[str]:
        """Return a sentence for each leaf that has such values."""
        return [
            f"Agent {shortened(agent)}: {sentence}" if self._of_agents else sentence
            for agent, outside in self._found.items()
            for sentence in outside.take_summary(is_first_time=True)
        ]
