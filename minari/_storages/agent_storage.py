"""The trajectories of one of many agents as a storage of its own, for everything that works on one agent."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import numpy.typing as npt

from minari._base.json_text import shortened
from minari._model.compression import CompressionChoice
from minari._model.format_version import FORMAT_VERSION
from minari._model.metadata import DatasetMetadata
from minari._model.multi_agent import AgentID, MultiAgentCodec, agent_name, trajectory_of
from minari._storages.base import EpisodeWriter, MinariStorage
from minari._storages.rows import LeafRequest, RowRequest
from minari.errors import ArgumentError, DatasetCorruptError, EpisodeIndexError, StorageError
from minari.spaces import AGENTS, Column, ColumnPath, Columns
from minari.spaces.serialization import serialize_space


__all__ = ["AgentStorage", "steps_of_agents"]

#: Keys of the metadata of all agents.
_OF_ALL_AGENTS = ("multi_agent", "observation_space", "action_space", "space_classes", "compression", "total_steps")


class AgentStorage(MinariStorage):
    """The trajectories of one agent in a storage of many, which cannot be changed.

    Its episodes have the numbers of those of all agents; an episode without a trajectory of the agent has no step and
    cannot be read.

    Args:
        storage: the storage of all agents.
        agent: the id of the agent.

    Raises:
        ArgumentError: the storage has no such agent.
    """

    def __init__(self, storage: MinariStorage, agent: AgentID) -> None:
        codec = storage.episode_codec
        if not isinstance(codec, MultiAgentCodec) or agent not in codec.names:
            known = codec.agents if isinstance(codec, MultiAgentCodec) else "one agent without a name"
            raise ArgumentError(
                f"{storage.dataset_id} has no agent {shortened(agent)}, expected one of {shortened(known)}."
            )
        self._storage, self.agent, self._name = storage, agent, agent_name(agent)
        self._total: tuple[object, int] | None = None
        self._whole = storage.current_metadata
        vars(self)["FORMAT"] = storage.FORMAT  # that of the bytes, which this class does not know
        super().__init__(storage.data_path, self._metadata_of_agent(self._whole))
        self.placed_id = storage.placed_id

    def __getstate__(self) -> dict[str, Any]:
        return {"storage": self._storage, "agent": self.agent}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def __repr__(self) -> str:
        return f"AgentStorage({self._storage!r}, {self.agent!r})"

    # Metadata

    def _metadata_of_agent(self, metadata: DatasetMetadata) -> DatasetMetadata:
        raw = metadata.raw
        codec = metadata.episode_codec
        if not isinstance(codec, MultiAgentCodec) or self.agent not in codec.names:
            raise DatasetCorruptError(
                f"The agent {shortened(self.agent)} is no longer in {metadata.source}; the dataset was replaced, so "
                f"open it again."
            )
        own = {key: value for key, value in raw.items() if key not in _OF_ALL_AGENTS}
        own["observation_space"] = serialize_space(codec.observation_spaces[self.agent])
        own["action_space"] = serialize_space(codec.action_spaces[self.agent])
        own["total_steps"] = 0
        choice = raw.get("compression")
        if isinstance(choice, Mapping):
            mine = f"{AGENTS}/{self._name}/"
            others = f"{AGENTS}/"
            choice = {
                name.removeprefix(mine): codec
                for name, codec in choice.items()
                if name.startswith(mine) or not name.startswith(others)
            }
        if choice:
            own["compression"] = choice
        if classes := self._own_classes(raw.get("space_classes")):
            own["space_classes"] = classes
        found = DatasetMetadata.from_raw(own, metadata.source)
        return found.updated({"minari_version": FORMAT_VERSION}, allow_protected=True)

    def _own_classes(self, classes: object) -> dict[str, Any]:
        """Return the classes of the spaces of the agent, out of those of all."""
        own = {}
        for path, name in classes.items() if isinstance(classes, Mapping) else ():
            field, _, rest = str(path).partition("/")
            if rest == self._name or rest.startswith(f"{self._name}/"):
                own["/".join([field, *rest.split("/")[1:]])] = name
        return own

    @property
    def current_metadata(self) -> DatasetMetadata:
        """Return the current metadata, with the spaces of the agent."""
        whole = self._storage.current_metadata
        if whole is not self._whole:
            self._whole, self._metadata = whole, self._metadata.with_spaces_kept(self._metadata_of_agent(whole))
        return self._metadata

    @property
    def total_steps(self) -> int:
        """Return the number of steps of the agent in all episodes."""
        state = self.state
        if self._total is None or self._total[0] != state:
            self._total = state, int(self.get_episode_lengths().sum())
        return self._total[1]

    @property
    def state(self) -> object:
        """Return what differs after every change that has been committed."""
        return self._storage.state

    @property
    def verify_checksums(self) -> bool:
        """Return whether every read verifies the values with the checksums from when they were written."""
        return self._storage.verify_checksums

    @verify_checksums.setter
    def verify_checksums(self, value: bool) -> None:
        self._storage.verify_checksums = value

    def full_path(self, path: ColumnPath) -> ColumnPath:
        """Return the path of a column in the storage of all agents."""
        return (AGENTS, self._name, *path)

    # Reading

    def _count_episodes(self) -> int:
        return self._storage.total_episodes

    def _read_columns(self, indices: Iterable[int]) -> Iterator[tuple[int, Columns]]:
        return self._own_columns(self._storage._read_columns(indices))

    def _view_columns(self, indices: Iterable[int]) -> Iterator[tuple[int, Columns]]:
        return self._own_columns(self._storage._view_columns(indices))

    def _read_leaves(self, indices: Iterable[int], paths: Container[ColumnPath]) -> Iterator[tuple[int, Columns]]:
        return self._own_columns(self._storage._read_leaves(indices, _PathsOfAgent(self._name, paths)))

    def _own_columns(self, episodes: Iterable[tuple[int, Columns]]) -> Iterator[tuple[int, Columns]]:
        for index, columns in episodes:
            trajectory = trajectory_of(columns, self._name)
            if not trajectory:
                raise EpisodeIndexError(
                    f"Episode {index} has no trajectory of the agent {shortened(self.agent)}; MinariDataset.for_agent "
                    f"has the episodes in which it acts."
                )
            trajectory.pop(("timesteps",), None)
            yield index, trajectory

    def _read_rows(self, requests: Sequence[RowRequest]) -> list[Column]:
        return self._storage.read_rows([request._replace(path=self.full_path(request.path)) for request in requests])

    def _read_concatenated(self, episodes: npt.NDArray[np.int64], requests: Sequence[LeafRequest]) -> list[Column]:
        wanted = [request._replace(path=self.full_path(request.path)) for request in requests]
        return self._storage.read_concatenated(episodes, wanted)

    def has_plain_rows(self, request: RowRequest) -> bool:
        """Return whether the rows of a request are stored as they are in memory."""
        return self._storage.has_plain_rows(request._replace(path=self.full_path(request.path)))

    def _read_episode_metadata(self, indices: Iterable[int]) -> Iterator[dict[str, Any]]:
        for metadata in self._storage._read_episode_metadata(indices):
            of_agents = metadata.pop(AGENTS, None)
            own = of_agents.get(self._name) if isinstance(of_agents, Mapping) else None
            own = own if isinstance(own, Mapping) else {}
            yield {**metadata, **own, "total_steps": own.get("total_steps", 0)}

    def _read_lengths(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        return steps_of_agents(self._storage, indices.tolist())[self.agent]

    def _episodes_without_checksums(self, indices: Iterable[int]) -> list[int]:
        return self._storage.episodes_without_checksums(indices)

    # Writing

    def repack(self, *, compression: CompressionChoice = None, lock_timeout: float | None = None) -> None:
        """Raise, since the trajectories of one agent cannot be rewritten.

        Raises:
            StorageError: always.
        """
        raise self._refusal()

    def _writer(self) -> AbstractContextManager[EpisodeWriter]:
        raise self._refusal()

    def _refusal(self) -> StorageError:
        return StorageError(
            f"The trajectories of the agent {shortened(self.agent)} are a view of {self._storage.dataset_id}, which "
            f"cannot be changed; save it as a dataset of its own."
        )


def steps_of_agents(storage: MinariStorage, indices: Sequence[int]) -> dict[Any, npt.NDArray[np.int64]]:
    """Return the number of steps of each agent in some episodes, as their metadata says.

    Raises:
        DatasetCorruptError: the metadata of an episode does not say it.
    """
    codec = storage.episode_codec
    names = codec.names if isinstance(codec, MultiAgentCodec) else {}
    steps = {agent: np.zeros(len(indices), np.int64) for agent in names}
    for place, metadata in enumerate(storage.get_episode_metadata(indices)):
        of_agents: Any = metadata.get(AGENTS)
        for agent, name in names.items() if isinstance(of_agents, Mapping) else ():
            if name in of_agents:
                steps[agent][place] = _checked_steps(of_agents[name], metadata, agent, storage)
        if not isinstance(of_agents, Mapping) or not of_agents:
            raise _without_steps(of_agents, metadata, storage)
    return steps


def _checked_steps(of_agent: Any, metadata: Mapping[str, Any], agent: AgentID, storage: MinariStorage) -> int:
    try:
        steps = int(of_agent["total_steps"]) if isinstance(of_agent, Mapping) else -1
    except (TypeError, ValueError, KeyError, OverflowError):
        steps = -1
    if not 0 <= steps <= metadata["total_steps"]:
        raise _without_steps(of_agent, metadata, storage, f" of the agent {shortened(agent)}")
    return steps


def _without_steps(
    found: Any, metadata: Mapping[str, Any], storage: MinariStorage, of_agent: str = ""
) -> DatasetCorruptError:
    return DatasetCorruptError(
        f"The metadata{of_agent} of episode {metadata['id']} in {storage.data_path} is {shortened(found)}, expected "
        f"the number of steps of each agent, at most the {metadata['total_steps']} of the episode; copy or download "
        f"the dataset again."
    )


class _PathsOfAgent:
    """The paths of columns of one agent, which are wanted without its name.

    Args:
        name: of the agent in files.
        paths: the wanted ones.
    """

    def __init__(self, name: str, paths: Container[ColumnPath]) -> None:
        self._prefix, self._paths = (AGENTS, name), paths

    def __contains__(self, path: object) -> bool:
        return isinstance(path, tuple) and path[:2] == self._prefix and path[2:] in self._paths
