"""Returns, lengths and last flags of episodes, computed in one pass and kept beside the data."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from minari._model.multi_agent import MultiAgentCodec
from minari._storages.base import MinariStorage
from minari._storages.derived_file import DerivedFile
from minari.errors import EpisodeError
from minari.progress import track


__all__ = ["DatasetStatistics", "EpisodeOutcomes", "OutcomesCollector", "outcomes_of", "statistics_of"]

FILE_NAME: Final = ".episode_statistics.json"

_VERSION: Final = 2


@dataclass(frozen=True, slots=True, eq=False)
class EpisodeOutcomes:
    """The outcomes of E episodes, an element for each of them.

    Attributes:
        lengths: the number of steps, int64.
        returns: the sum of the rewards of shape (E,), or (E, k) for rewards of k components; float64.
        terminated: whether the last step is a termination; with many agents, that of every agent.
        truncated: whether the last step is a truncation; with many agents, that of at least one agent.
        agents: with many agents, the same of each by its id; the length is zero where an agent does not act.
    """

    lengths: npt.NDArray[np.int64]
    returns: npt.NDArray[np.float64]
    terminated: npt.NDArray[np.bool_]
    truncated: npt.NDArray[np.bool_]
    agents: Mapping[Any, EpisodeOutcomes] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.lengths)

    def take(self, places: npt.NDArray[Any]) -> EpisodeOutcomes:
        """Return those of the episodes at some places, or where a mask is True."""
        agents = {agent: one.take(places) for agent, one in self.agents.items()}
        flags = self.terminated[places], self.truncated[places]
        return EpisodeOutcomes(self.lengths[places], self.returns[places], *flags, agents)


@dataclass(frozen=True, slots=True, eq=False)
class DatasetStatistics:
    """Returns and lengths of the episodes of a dataset or view.

    Attributes:
        returns: the undiscounted return of each episode, shape (E,), or (E, k) for rewards of k components.
        lengths: the number of steps of each episode, shape (E,).
        agents: with many agents, the statistics of each over the episodes in which it acts, by its id; the returns
            above are then the sums of those of all agents, and the lengths joint steps.
    """

    returns: npt.NDArray[np.float64]
    lengths: npt.NDArray[np.int64]
    agents: Mapping[Any, DatasetStatistics] | None = None

    def summary(self) -> dict[str, dict[str, Any]]:
        """Return minimum, mean, maximum and standard deviation of both; empty for a view without episodes.

        If rewards have several components, the values for returns are lists with one number for each. With many agents
        there is also ``"agents"``, with the summary of each that acts, by its id.
        """
        if not len(self.returns):
            return {}
        summary: dict[str, dict[str, Any]] = {"return": _summary(self.returns), "length": _summary(self.lengths)}
        if self.agents is not None:
            summary["agents"] = {agent: one.summary() for agent, one in self.agents.items() if len(one.returns)}
        return summary


def _summary(values: npt.NDArray[Any]) -> dict[str, Any]:
    return {
        "min": values.min(axis=0).astype(float).tolist(),
        "mean": values.mean(axis=0).tolist(),
        "max": values.max(axis=0).astype(float).tolist(),
        "std": values.std(axis=0).tolist(),
    }


def statistics_of(storage: MinariStorage, numbers: npt.NDArray[np.int_]) -> DatasetStatistics:
    """Return the statistics of some episodes.

    Raises:
        EpisodeError: the number of reward components differs between episodes.
    """
    outcomes = outcomes_of(storage, numbers)
    if not storage.is_multi_agent:
        return DatasetStatistics(outcomes.returns, outcomes.lengths)
    acting = {agent: one.take(one.lengths > 0) for agent, one in outcomes.agents.items()}
    agents = {agent: DatasetStatistics(one.returns, one.lengths) for agent, one in acting.items()}
    return DatasetStatistics(outcomes.returns, outcomes.lengths, agents)


def outcomes_of(storage: MinariStorage, numbers: npt.NDArray[np.int_]) -> EpisodeOutcomes:
    """Return the outcomes of some episodes; those of a whole local dataset are kept in a hidden file beside its data.

    Args:
        storage: of the dataset.
        numbers: of the episodes.

    Raises:
        EpisodeError: the number of reward components differs between episodes.
    """
    collector = OutcomesCollector(storage)
    kept = collector.kept()
    if kept is not None:
        return kept.take(numbers)
    for episode in track(storage.get_outcomes(numbers), "adding up the rewards", total=len(numbers)):
        collector.add(episode)
    found = collector.result(storage.get_episode_lengths(numbers))
    collector.keep(found, numbers)
    return found


class OutcomesCollector:
    """Collects the outcomes of episodes that are read for whatever reason.

    Args:
        storage: of the dataset, before its episodes are read.
    """

    def __init__(self, storage: MinariStorage) -> None:
        self._storage = storage
        self._file = DerivedFile(storage, FILE_NAME, _VERSION)
        codec = storage.episode_codec
        self._agents: dict[Any, str] = codec.names if isinstance(codec, MultiAgentCodec) else {}
        self._rows: dict[Any, list[tuple[Any, bool, bool]]] = {agent: [] for agent in self._agents}
        self._lengths: dict[Any, list[int]] = {agent: [] for agent in self._agents}
        self._all: list[tuple[Any, bool, bool]] = []

    def __len__(self) -> int:
        """Return the number of episodes that were added."""
        return len(self._all)

    def add(self, episode: Mapping[str, Any]) -> None:
        """Add an episode, in the form of :meth:`MinariStorage.get_outcomes`."""
        if not self._storage.is_multi_agent:
            self._all.append(_outcome(episode))
            return
        acting = []
        for agent in self._agents:
            one = episode["agents"].get(agent)
            steps = 0 if one is None else len(one["rewards"])
            self._rows[agent].append(_outcome(one) if steps else _NOTHING)
            self._lengths[agent].append(steps)
            if steps:
                acting.append(self._rows[agent][-1])
        total = sum((rewards for rewards, _, _ in acting), start=np.float64(0))
        flags = all(flag for _, flag, _ in acting), any(flag for _, _, flag in acting)
        self._all.append((total, *flags) if acting else _NOTHING)

    def result(self, lengths: npt.NDArray[np.int64]) -> EpisodeOutcomes:
        """Return the outcomes of the added episodes.

        Args:
            lengths: their numbers of steps.

        Raises:
            EpisodeError: the number of reward components differs between episodes.
        """
        agents = {
            agent: self._arrays(rows, np.array(self._lengths[agent], np.int64)) for agent, rows in self._rows.items()
        }
        whole = self._arrays(self._all, lengths)
        return EpisodeOutcomes(whole.lengths, whole.returns, whole.terminated, whole.truncated, agents)

    def _arrays(self, rows: Sequence[tuple[Any, bool, bool]], lengths: npt.NDArray[np.int64]) -> EpisodeOutcomes:
        shapes = sorted({np.shape(row[0]) for row in rows if row is not _NOTHING})
        if len(shapes) > 1:
            raise EpisodeError(
                f"The rewards of {self._storage.data_path} have the shapes {shapes} a step in different episodes, "
                f"expected one shape; take the returns of episodes that are alike, or `minari validate` the dataset."
            )
        returns = np.zeros((len(rows), *(shapes[0] if shapes else ())))
        for place, row in enumerate(rows):
            returns[place] = row[0]
        flags = np.array([row[1:] for row in rows], np.bool_).reshape(len(rows), 2)
        return EpisodeOutcomes(lengths, returns, flags[:, 0], flags[:, 1])

    def kept(self) -> EpisodeOutcomes | None:
        """Return the outcomes of all episodes that are kept beside the data; None if there are none of this data."""
        try:
            stored = self._file.read()
            if stored is None:
                return None
            whole = self._decoded(stored)
            agents = {agent: self._decoded(stored["agents"][name]) for agent, name in self._agents.items()}
        except (ValueError, TypeError, LookupError, OverflowError):  # another program has written something else
            return None
        return EpisodeOutcomes(whole.lengths, whole.returns, whole.terminated, whole.truncated, agents)

    def is_wanted(self, numbers: npt.NDArray[np.int_]) -> bool:
        """Return whether the outcomes of these episodes can be kept beside the data and are not."""
        return self._file.is_possible and self._are_all(numbers) and self.kept() is None

    def _are_all(self, numbers: npt.NDArray[np.int_]) -> bool:
        return np.array_equal(np.sort(numbers), np.arange(self._storage.total_episodes))

    def keep(self, found: EpisodeOutcomes, numbers: npt.NDArray[np.int_]) -> None:
        """Keep the outcomes beside the data, if they are those of all episodes.

        Args:
            found: the outcomes.
            numbers: of their episodes.
        """
        if not self._are_all(numbers):
            return
        sorted_outcomes = found.take(np.argsort(numbers, kind="stable"))
        agents = {name: _encoded(sorted_outcomes.agents[agent]) for agent, name in self._agents.items()}
        self._file.write({**_encoded(sorted_outcomes), "agents": agents})

    def _decoded(self, stored: Mapping[str, Any]) -> EpisodeOutcomes:
        total = self._storage.total_episodes
        lengths = _array(stored["lengths"], "<i8", (total,))
        components = tuple(map(int, stored["components"]))
        if min(components, default=0) < 0:  # which NumPy replaces by what is left
            raise ValueError(f"a return has {components} components")
        returns = _array(stored["returns"], "<f8", (total, *components))
        terminated, truncated = (_array(stored[name], "?", (total,)) for name in ("terminated", "truncated"))
        return EpisodeOutcomes(lengths, returns, terminated, truncated)


#: The outcome of an agent that does not act.
_NOTHING: Final = (0.0, False, False)


def _outcome(episode: Mapping[str, Any]) -> tuple[Any, bool, bool]:
    """Return the sum of the rewards, and the flags of the last step."""
    flags = (bool(episode[name][-1:].any()) for name in ("terminations", "truncations"))
    terminated, truncated = flags
    return episode["rewards"].sum(axis=0, dtype=np.float64), terminated, truncated


def _encoded(one: EpisodeOutcomes) -> dict[str, Any]:
    return {
        "components": one.returns.shape[1:],
        "lengths": _text(one.lengths, "<i8"),
        "returns": _text(one.returns, "<f8"),
        "terminated": _text(one.terminated, "?"),
        "truncated": _text(one.truncated, "?"),
    }


def _text(values: npt.NDArray[Any], dtype: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype).tobytes()).decode("ascii")


def _array(text: str, dtype: str, shape: Iterable[int]) -> npt.NDArray[Any]:
    """Return the array of a text; raise ``ValueError`` unless it has the given shape."""
    return np.frombuffer(base64.b64decode(text, validate=True), dtype).reshape(tuple(shape)).astype(dtype[-2:])
