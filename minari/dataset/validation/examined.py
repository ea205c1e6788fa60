"""The objects that checks examine: the open dataset, and one episode after the other, decoded once for all."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from minari._base.lazy import cached_property
from minari._model.episode_codec import ACTIONS, OBSERVATIONS, REWARDS, TERMINATIONS, TRUNCATIONS, EpisodeCodec
from minari._model.multi_agent import MultiAgentCodec, agent_of_name, trajectory_of
from minari._storages.base import MinariStorage
from minari.dataset.validation.findings import Finding
from minari.sampling.episode_statistics import OutcomesCollector
from minari.spaces import AGENTS, Column, ColumnPath, Columns, Leaf, path_name


__all__ = [
    "DatasetCheck",
    "EpisodeCheck",
    "Examined",
    "ReadEpisode",
    "RunningCheck",
    "Trajectory",
]


@dataclass(frozen=True, slots=True)
class Trajectory:
    """The values of an episode, or those of one of its agents.

    Attributes:
        prefix: the first parts of the paths of its columns in the episode: none, or those of the agent.
        codec: the codec of its values.
        columns: its columns, with frames decoded and stacks rebuilt; observations have T+1 rows.
        decoded: the observations and actions as readers get them, by the name of the field.
    """

    prefix: ColumnPath
    codec: EpisodeCodec
    columns: Columns
    decoded: Mapping[str, Any]

    def name(self, path: ColumnPath) -> str:
        """Return the name of a column in the dataset."""
        return path_name((*self.prefix, *path))

    @property
    def outcome(self) -> dict[str, Column]:
        """Return the columns of its outcomes, by the name of the field."""
        return {str(path[0]): self.columns[path] for path in (REWARDS, TERMINATIONS, TRUNCATIONS)}

    @property
    def rewards(self) -> Column:
        """Return the rewards, of shape (T,) or (T, k)."""
        return self.columns[REWARDS]

    @property
    def ends(self) -> Mapping[ColumnPath, npt.NDArray[np.bool_]]:
        """Return the flags that end an episode, each of shape (T,)."""
        return {path: self.columns[path].reshape(-1).astype(bool, copy=False) for path in (TERMINATIONS, TRUNCATIONS)}


@dataclass(frozen=True, slots=True)
class ReadEpisode:
    """An episode that has been read.

    Attributes:
        index: its number.
        stored: its columns as they are stored.
        columns: the same with frames decoded and stacks rebuilt.
        length: the number of its steps according to the format.
        metadata: its metadata; empty if it cannot be read, which has been reported.
        trajectories: its values, or those of each agent; none if they do not match the spaces.
        problem: why they do not; None if they do.
    """

    index: int
    stored: Columns
    columns: Columns
    length: int
    metadata: Mapping[str, Any]
    trajectories: tuple[Trajectory, ...]
    problem: Exception | None

    @property
    def outcomes(self) -> Mapping[str, Any]:
        """Return the outcomes in the form of :meth:`MinariStorage.get_outcomes`."""
        if self.trajectories and not self.trajectories[0].prefix:
            return self.trajectories[0].outcome
        return {"agents": {agent_of_name(str(each.prefix[1])): each.outcome for each in self.trajectories}}

    @classmethod
    def of(
        cls, storage: MinariStorage, index: int, stored: Columns, length: int, metadata: Mapping[str, Any]
    ) -> ReadEpisode:
        """Decode the columns of an episode.

        Raises:
            DatasetCorruptError: its frames cannot be decoded.
        """
        columns = storage.with_frames(stored)
        try:
            trajectories, problem = tuple(_trajectories(storage.episode_codec, index, columns, length)), None
        except Exception as error:
            return cls(index, stored, columns, length, metadata, (), error)
        return cls(index, stored, columns, length, metadata, trajectories, problem)


def _trajectories(codec: EpisodeCodec, index: int, columns: Columns, length: int) -> Iterator[Trajectory]:
    decoded = codec.decode(index, columns, length)
    if not isinstance(codec, MultiAgentCodec):
        yield Trajectory((), codec, columns, decoded)
        return
    for agent, values in decoded["episodes"].items():
        name = codec.names[agent]
        fields = {OBSERVATIONS: values.observations, ACTIONS: values.actions}
        yield Trajectory((AGENTS, name), codec.of_agent(agent), trajectory_of(columns, name), fields)


@dataclass
class Examined:
    """The dataset that checks examine.

    Attributes:
        storage: the open dataset.
        checksums: True to verify the checksums of values.
        outcomes: collects the outcomes of the episodes in the pass.
    """

    storage: MinariStorage
    checksums: bool
    outcomes: OutcomesCollector = field(init=False)

    def __post_init__(self) -> None:
        self.outcomes = OutcomesCollector(self.storage)

    @cached_property
    def codecs(self) -> dict[ColumnPath, EpisodeCodec]:
        """The codec of each trajectory of an episode, by the first parts of its paths."""
        codec = self.storage.episode_codec
        if not isinstance(codec, MultiAgentCodec):
            return {(): codec}
        return {(AGENTS, name): codec.of_agent(agent) for agent, name in codec.names.items()}

    @cached_property
    def reward_shape(self) -> tuple[int, ...] | None:
        """The shape of the reward of a step; None if it is unknown."""
        return self.storage.reward_shape

    @cached_property
    def leaves(self) -> tuple[Leaf, ...]:
        """The leaves of the observations and the actions, with their paths in an episode."""
        codec = self.storage.episode_codec
        return (*codec.observations.leaves(), *codec.actions.leaves())


#: Examines the open dataset.
DatasetCheck: TypeAlias = Callable[[Examined], Iterable[Finding]]
#: Examines one episode.
EpisodeCheck: TypeAlias = Callable[[Examined, ReadEpisode], Iterable[Finding]]


class RunningCheck(ABC):
    """A check that looks at all episodes, and then yields one finding about each leaf.

    Args:
        examined: the dataset.
    """

    def __init__(self, examined: Examined) -> None:
        self.examined = examined

    @abstractmethod
    def add(self, episode: ReadEpisode) -> None:
        """Examine an episode; of its arrays, no more than single rows are kept."""

    @abstractmethod
    def findings(self) -> Iterator[Finding]:
        """Yield what was found in all of them."""
