"""Knowledge of agents beyond the current episode: spaces, values outside of them, descriptions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import gymnasium as gym

from minari._base.json_text import shortened
from minari._model.arguments import check_space
from minari._model.multi_agent import AgentID, agent_name
from minari._model.space_check import OutsideValues
from minari.data_collector.callbacks import EpisodeMetadataCallback
from minari.data_collector.finished_episodes import checked_description
from minari.errors import SpaceError
from minari.spaces.differences import differing_leaf
from minari.spaces.serialization import serialize_space


class SpacesOfAgents:
    """The spaces of the agents that have appeared so far, or that may appear.

    Args:
        env: the environment.
        observation_space: space of the recorded observations: of all agents, or of some; None for those of ``env``.
        action_space: space of the recorded actions.

    Attributes:
        announce: called with the observation space and the action space of an agent that is new, by its id; what it
            raises is raised, and the agent stays unknown.

    Raises:
        SpaceError: a given space is none.
    """

    def __init__(self, env: Any, observation_space: Any, action_space: Any) -> None:
        self._env = env
        self._given = {"observation_space": observation_space, "action_space": action_space}
        for name, given in self._given.items():
            for space in given.values() if _is_by_agent(given) else [given]:
                check_space(name, space)
        self.announce: Callable[[dict[AgentID, gym.Space[Any]], dict[AgentID, gym.Space[Any]]], None] = _nothing
        self._known: dict[AgentID, tuple[gym.Space[Any], gym.Space[Any]]] = {}
        self._compared: set[AgentID] = set()

    def of(self, agent: AgentID) -> tuple[gym.Space[Any], gym.Space[Any]]:
        """Return the observation space and the action space of an agent."""
        return self._known[agent]

    @property
    def observation_spaces(self) -> dict[AgentID, gym.Space[Any]]:
        """Return the observation space of each agent."""
        return {agent: spaces[0] for agent, spaces in self._known.items()}

    @property
    def action_spaces(self) -> dict[AgentID, gym.Space[Any]]:
        """Return the action space of each agent."""
        return {agent: spaces[1] for agent, spaces in self._known.items()}

    def begin_episode(self) -> None:
        """Compare the spaces of all agents again."""
        self._compared.clear()

    def learn(self, agents: Iterable[AgentID]) -> None:
        """Take in the spaces of agents, or compare them with those known.

        Raises:
            SpaceError: an agent has another space than before.
            UnknownSpaceError: a space has a type without a codec.
            EpisodeTypeError: the id of an agent cannot be written.
        """
        for agent in agents:
            if agent in self._compared:
                continue
            spaces = self._space_of("observation_space", agent), self._space_of("action_space", agent)
            if agent in self._known:
                self._compare(agent, spaces)
            else:
                agent_name(agent)  # rejects ids and spaces that cannot be stored
                for space in spaces:
                    serialize_space(space)
                self.announce({agent: spaces[0]}, {agent: spaces[1]})
                self._known[agent] = spaces
            self._compared.add(agent)

    def _compare(self, agent: AgentID, spaces: tuple[gym.Space[Any], gym.Space[Any]]) -> None:
        for name, known, space in zip(("observation_space", "action_space"), self._known[agent], spaces, strict=True):
            if space is not known and (differing := differing_leaf(known, space, (name,))):
                raise SpaceError(
                    f"The {name} of the agent {shortened(agent)} is another one than before: {differing}; give it one "
                    f"space for all episodes, or another id."
                )

    def _space_of(self, name: str, agent: AgentID) -> gym.Space[Any]:
        given = self._given[name]
        if _is_by_agent(given):
            given = given.get(agent)
        space = getattr(self._env, name)(agent) if given is None else given
        if not isinstance(space, gym.Space):
            raise SpaceError(
                f"The {name} of the agent {shortened(agent)} is {shortened(space)}, expected a gymnasium space; return "
                f"one from {name}(agent) of the environment."
            )
        return space


def _nothing(*spaces: object) -> None:
    pass


def _is_by_agent(given: Any) -> bool:
    return isinstance(given, Mapping) and not isinstance(given, gym.Space)


class OutsideValuesOfAgents:
    """Counter of the values of a recording outside the spaces of each agent."""

    def __init__(self) -> None:
        self._of_agents: dict[AgentID, OutsideValues] = {}

    def add(
        self,
        agent: AgentID,
        spaces: tuple[gym.Space[Any], gym.Space[Any]],
        observations: Any,
        actions: Any,
        episode: int,
    ) -> list[str]:
        """Add the trajectory of an agent.

        Returns:
            A sentence for each leaf that has values outside for the first time.
        """
        if agent not in self._of_agents:
            self._of_agents[agent] = OutsideValues(*spaces, owner=f"the agent {shortened(agent)}")
        return self._of_agents[agent].add(observations, actions, episode)

    def take_summary(self) -> list[str]:
        """Return a sentence for each leaf with the totals, and reset the counts."""
        return [sentence for outside in self._of_agents.values() for sentence in outside.take_summary()]


class DescriptionOfAgents:
    """Metadata of an episode of many agents: what a callback returns of the trajectory of each.

    Args:
        make: makes the callback of an agent.
    """

    def __init__(self, make: Callable[[], EpisodeMetadataCallback]) -> None:
        self._make = make
        self._callbacks: dict[AgentID, EpisodeMetadataCallback] = {}

    def __call__(self, episode: dict[str, Any]) -> dict[str, Any]:
        """Return the metadata of each agent that has acted.

        Args:
            episode: the fields of a :class:`~minari.MultiAgentEpisodeData`.

        Raises:
            MetadataError: a callback does not return a dict.
        """
        described = {}
        for agent, trajectory in episode["episodes"].items():
            if len(trajectory):
                if agent not in self._callbacks:
                    self._callbacks[agent] = self._make()
                fields = {**vars(trajectory), "id": episode["id"], "agent": agent}
                described[agent] = checked_description(self._callbacks[agent](fields))
        return {"agents": described}
