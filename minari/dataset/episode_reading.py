"""Episodes for readers: whole ones, and ones that read each part when it is used."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, cast

import numpy as np

from minari._model.episode import EpisodeData, episode_of, with_metadata
from minari._model.multi_agent import MultiAgentCodec, MultiAgentEpisodeData
from minari._storages.base import MinariStorage
from minari.errors import DatasetBusyError
from minari.spaces import AGENTS


__all__ = ["episodes_on_demand", "whole_episode", "whole_episodes"]

_MOST_AHEAD = 256  # episodes, whose metadata is read at once


class _MetadataReader:
    """The metadata of episodes that are read in order, a few at a time from the first that is asked for.

    Args:
        storage: of the dataset.
        numbers: of the episodes in order; None if they are not known in advance.
    """

    def __init__(self, storage: MinariStorage, numbers: Sequence[int] | None) -> None:
        self._storage, self._numbers = storage, numbers
        self._known: dict[int, dict[str, Any]] = {}
        self._ahead = 1

    def read(self, place: int, number: int) -> dict[str, Any]:
        """Return the metadata of the episode at a place in the order."""
        if place not in self._known:
            numbers = [number] if self._numbers is None else self._numbers[place : place + self._ahead]
            self._known = dict(enumerate(self._storage.get_episode_metadata(numbers), place))
            self._ahead = min(4 * self._ahead, _MOST_AHEAD)
        return self._known.pop(place)


class _LengthReader:
    """The numbers of steps of episodes, all of which are read when the first is asked for.

    Args:
        storage: of the dataset.
        numbers: of the episodes in order.
    """

    def __init__(self, storage: MinariStorage, numbers: Sequence[int]) -> None:
        self._storage, self._numbers = storage, numbers
        self._known: list[int] | None = None

    def read(self, place: int) -> int:
        """Return the number of steps of the episode at a place in the order."""
        if self._known is None:
            self._known = self._storage.get_episode_lengths(self._numbers).tolist()
        return self._known[place]


def whole_episodes(storage: MinariStorage, numbers: Iterable[int], *, copy: bool = True) -> Iterator[EpisodeData]:
    """Yield episodes, see :meth:`minari.MinariDataset.iterate_episodes`; those of many agents as such.

    Args:
        storage: of the dataset.
        numbers: of the episodes, in this order.
        copy: True if the arrays should belong to the caller.
    """
    if isinstance(numbers, np.ndarray):
        numbers = numbers.tolist()
    reader = _MetadataReader(storage, numbers if isinstance(numbers, Sequence) else None)
    episodes, is_multi_agent = storage.get_episodes(numbers, copy=copy), storage.is_multi_agent
    for place, values in enumerate(episodes):
        read = partial(reader.read, place, values["id"])
        if is_multi_agent:
            yield cast("EpisodeData", _of_many_agents(storage, MultiAgentEpisodeData(**values), read))
        else:
            yield episode_of(values, read)


def whole_episode(storage: MinariStorage, number: int) -> EpisodeData:
    """Return one episode, as :func:`whole_episodes` yields it."""
    if storage.is_multi_agent:
        return next(whole_episodes(storage, [number]))
    return episode_of(storage.get_episode(number), partial(_metadata_of, storage, number))


def _metadata_of(storage: MinariStorage, number: int) -> dict[str, Any]:
    (metadata,) = storage.get_episode_metadata([number])
    return metadata


def _of_many_agents(storage: MinariStorage, episode: MultiAgentEpisodeData, read: Any) -> MultiAgentEpisodeData:
    codec = storage.episode_codec
    names = codec.names if isinstance(codec, MultiAgentCodec) else {}
    for agent, trajectory in episode.episodes.items():
        with_metadata(trajectory, partial(_metadata_of_agent, episode, names.get(agent)))
    return with_metadata(episode, read)


def _metadata_of_agent(episode: MultiAgentEpisodeData, name: str | None) -> dict[str, Any]:
    """Return the metadata of the episode, with that of one agent instead of those of all."""
    metadata = dict(episode.metadata)
    of_agents = metadata.pop(AGENTS, None)
    own = of_agents.get(name) if isinstance(of_agents, Mapping) else None
    return {**metadata, **(own if isinstance(own, Mapping) else {})}


class _EpisodeOnDemand(EpisodeData):
    """An episode that reads its metadata, its outcomes (rewards and flags) and everything else when they are used.

    Copies and pickles are plain :class:`EpisodeData`.
    """

    _storage: MinariStorage
    _read_length: Callable[[], int]

    @classmethod
    def of(cls, values: dict[str, Any], storage: MinariStorage, read_length: Callable[[], int]) -> _EpisodeOnDemand:
        """Create an episode of the fields that have been read."""
        episode = object.__new__(cls)
        episode.__dict__.update(values, _storage=storage, _read_length=read_length)
        return episode

    def has(self, name: str) -> bool:
        """Return whether a field has been read."""
        return name in self.__dict__

    def __len__(self) -> int:
        if not self.has("rewards") and not self.has("_length"):
            self.__dict__["_length"] = self._read_length()
        return len(self.rewards) if self.has("rewards") else int(self.__dict__["_length"])

    def __getattr__(self, name: str) -> Any:  # called only for fields that have not been read
        if name in ("rewards", "terminations", "truncations"):
            (values,) = self._storage.get_outcomes([self.id])
        elif name in ("observations", "actions", "infos"):
            (values,) = self._storage.get_episodes([self.id])
        else:
            raise AttributeError(f"An EpisodeData has no attribute {name!r}.")
        known = self.__dict__
        before, steps = len(self) if "rewards" in known or "_length" in known else None, len(values["rewards"])
        if before not in (None, steps):
            raise DatasetBusyError(
                f"Episode {self.id} changed from {before} to {steps} steps while it was read, as another program is "
                f"changing it; filter the dataset again."
            )
        known.update({key: value for key, value in values.items() if key not in known})
        return known[name]

    def __reduce__(self) -> Any:
        whole = {name: getattr(self, name) for name in EpisodeData.__dataclass_fields__}
        return episode_of, (whole,), {"_metadata": self.metadata}


class _MultiAgentEpisodeOnDemand(MultiAgentEpisodeData):
    """An episode of many agents that reads its trajectories when they are used; pickles are plain episodes."""

    _storage: MinariStorage
    _read_length: Callable[[], int]

    @classmethod
    def of(cls, number: int, storage: MinariStorage, read_length: Callable[[], int]) -> _MultiAgentEpisodeOnDemand:
        """Create an episode of which nothing has been read."""
        episode = object.__new__(cls)
        episode.__dict__.update(id=number, _storage=storage, _read_length=read_length)
        return episode

    @property
    def is_read(self) -> bool:
        """Return whether the trajectories have been read."""
        return "_whole" in self.__dict__

    @property
    def _read(self) -> MultiAgentEpisodeData:
        if not self.is_read:
            (whole,) = whole_episodes(self._storage, [self.id])
            self.__dict__["_whole"] = whole
        whole_episode: MultiAgentEpisodeData = self.__dict__["_whole"]
        return whole_episode

    @property
    def total_steps(self) -> int:
        """Return the number of joint steps, T."""
        if self.is_read:
            return self._read.total_steps
        return self._read_length()

    @property
    def episodes(self) -> dict[Any, Any]:
        """Return the trajectory of each agent that has one."""
        return self._read.episodes

    @property
    def state(self) -> Any:
        """Return the global states."""
        return self._read.state

    def __reduce__(self) -> Any:
        return _identity, (self._read,)


def _identity(episode: MultiAgentEpisodeData) -> MultiAgentEpisodeData:
    return episode


def episodes_on_demand(storage: MinariStorage, numbers: Sequence[int]) -> Iterator[EpisodeData]:
    """Yield episodes that read only what is used, for functions that are called with one after the other.

    Nothing is read at first. From the first episode on whose rewards or flags have been used, those of the following
    ones are read in advance, and all fields from the first one on of which something else has been used.

    Args:
        storage: of the dataset.
        numbers: of the episodes, in this order.
    """
    reader, lengths, place = _MetadataReader(storage, numbers), _LengthReader(storage, numbers), 0
    if storage.is_multi_agent:
        is_read = False
        while place < len(numbers) and not is_read:
            joint = _MultiAgentEpisodeOnDemand.of(numbers[place], storage, partial(lengths.read, place))
            yield cast("EpisodeData", with_metadata(joint, partial(reader.read, place, numbers[place])))
            place, is_read = place + 1, joint.is_read
        if place < len(numbers):
            yield from whole_episodes(storage, numbers[place:])
        return
    episode = None
    while place < len(numbers) and not (episode is not None and episode.has("rewards")):
        episode = _EpisodeOnDemand.of({"id": numbers[place]}, storage, partial(lengths.read, place))
        yield with_metadata(episode, partial(reader.read, place, numbers[place]))
        place += 1
    if place < len(numbers) and not (episode is not None and episode.has("observations")):
        for values in storage.get_outcomes(numbers[place:]):
            episode = _EpisodeOnDemand.of(values, storage, partial(lengths.read, place))
            yield with_metadata(episode, partial(reader.read, place, values["id"]))
            place += 1
            if episode.has("observations"):
                break
    if place < len(numbers):
        yield from whole_episodes(storage, numbers[place:])
