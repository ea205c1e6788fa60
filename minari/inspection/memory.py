"""An episode in memory, as ``dataset[i]`` returns it, by the same leaves as one in a dataset."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from minari._base.json_text import shortened
from minari._base.lazy import cached_property
from minari._model.episode import EpisodeData
from minari._model.multi_agent import AgentEpisodeData, MultiAgentEpisodeData, agent_name
from minari.errors import ArgumentError, ArgumentTypeError
from minari.inspection.episode import EpisodeLeaf, find_leaf, flat_values, leaf_of_values
from minari.inspection.pictures import as_rgb
from minari.spaces import AGENTS, STATE


__all__ = ["EpisodeInMemory"]

_FIELDS: Final = ("observations", "actions", "rewards", "terminations", "truncations", "infos")


class EpisodeInMemory:
    """The leaves of an episode that has been read, with the names that :class:`EpisodeReader` gives them.

    Its pictures are those of bytes, as the bounds of other numbers are not known.

    >>> from minari import EpisodeData
    >>> flags = np.array([False, True])
    >>> episode = EpisodeData(0, {"x": np.arange(3.0)}, np.zeros(2), np.ones(2), flags, ~flags, {})
    >>> [leaf.name for leaf in EpisodeInMemory(episode).leaves]
    ['observations/x', 'actions', 'rewards', 'terminations', 'truncations']

    Args:
        episode: the episode.

    Raises:
        ArgumentTypeError: it is something else.
    """

    def __init__(self, episode: EpisodeData | MultiAgentEpisodeData) -> None:
        if not isinstance(episode, (EpisodeData, MultiAgentEpisodeData)):
            raise ArgumentTypeError(
                f"episode is {shortened(episode)} ({type(episode).__name__}), expected an episode such as dataset[0]."
            )
        self.episode, self.number, self.length = episode, int(episode.id), len(episode)

    @cached_property
    def _values(self) -> dict[str, tuple[EpisodeLeaf, Any]]:
        if isinstance(self.episode, EpisodeData):
            return self._of_one(self.episode, None)
        found: dict[str, tuple[EpisodeLeaf, Any]] = {}
        for agent, episode in self.episode.episodes.items():
            if len(episode):
                found |= self._of_one(episode, agent_name(agent))
        state = [] if self.episode.state is None else flat_values(self.episode.state, STATE)
        return found | {name: (leaf_of_values(name, values, None), values) for name, values in state}

    def _of_one(self, episode: EpisodeData, agent: str | None) -> dict[str, tuple[EpisodeLeaf, Any]]:
        prefix = "" if agent is None else f"{AGENTS}/{agent}/"
        return {
            f"{prefix}{name}": (leaf_of_values(f"{prefix}{name}", values, agent), values)
            for field in _FIELDS
            for name, values in flat_values(getattr(episode, field), field)
        }

    @cached_property
    def leaves(self) -> list[EpisodeLeaf]:
        """The leaves of the episode."""
        return [leaf for leaf, _ in self._values.values()]

    def leaf(self, name: str) -> EpisodeLeaf:
        """Return the leaf of a name.

        Raises:
            ArgumentError: there is none; the message has the nearest names.
        """
        return find_leaf(self.leaves, name, self.number)

    def values(self, name: str) -> Any:
        """Return the values of a leaf: an array, or a list of values without a shape.

        Raises:
            ArgumentError: there is no such leaf.
        """
        self.leaf(name)
        return self._values[name][1]

    def rows(self, name: str) -> int:
        """Return the number of values of a leaf."""
        return len(self.values(name))

    def timesteps(self, name: str) -> npt.NDArray[np.int64]:
        """Return the step of each value of a leaf, shape (rows,); with many agents, the joint one."""
        rows = self.rows(name)
        for agent, episode in getattr(self.episode, "episodes", {}).items():
            if agent_name(agent) == self.leaf(name).agent:
                return np.asarray(episode.timesteps, np.int64)[:rows]
        if isinstance(self.episode, AgentEpisodeData):
            return np.asarray(self.episode.timesteps, np.int64)[:rows]
        return np.arange(rows)

    def frames_at(self, name: str, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        """Return the pictures of a leaf at some rows as RGB, shape (n, H, W, 3).

        Raises:
            ArgumentError: there is no such leaf, or its values are not pictures.
        """
        leaf = self.leaf(name)
        if leaf.picture is None:
            raise ArgumentError(
                f"The leaf {shortened(name)} has {leaf.dtype} of shape {leaf.shape}, expected pictures."
            )
        return as_rgb(self.values(name)[rows], leaf.picture)
