"""Episodes of many agents: their values, and their conversion to columns.

An episode is a set of trajectories, one for each agent, each of which is stored like an episode of one agent, below
``("agents", name)``. Nothing is padded: ``timesteps`` beside a trajectory has the joint step of each of its
observations, and :meth:`MultiAgentEpisodeData.joint` makes dense arrays of an episode if they are needed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Any, Final, TypeAlias

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from minari._base.json_text import shortened
from minari._model.episode import EpisodeData, WithMetadata, copied, same_values, with_metadata_of
from minari._model.episode_buffer import AnyEpisodeBuffer, EpisodeBuffer, MultiAgentEpisodeBuffer
from minari._model.episode_codec import ACTIONS, OBSERVATIONS, OUTCOMES, REWARDS, EpisodeCodec, reset_metadata
from minari._model.episode_metadata import checked_metadata
from minari._model.infos import decode_infos, encode_infos
from minari._model.infos.keys import escaped, key_of, parts_of_key
from minari.errors import (
    DatasetCorruptError,
    EpisodeError,
    EpisodeKeyError,
    EpisodeTypeError,
    MetadataError,
    SpaceError,
)
from minari.spaces import AGENTS, STATE, Column, ColumnPath, Columns, DictCodec, EpisodeColumns, codec_for, path_name
from minari.spaces.differences import differing_leaf
from minari.spaces.serialization import serialize_space


__all__ = [
    "AgentEpisodeData",
    "AgentID",
    "AgentSpaces",
    "JointEpisode",
    "MultiAgentCodec",
    "MultiAgentEpisodeBuffer",
    "MultiAgentEpisodeData",
    "SpacesByAgent",
    "agent_name",
    "agent_of_name",
    "spaces_of_agents",
    "agent_spaces",
    "is_of_agents",
    "codec_for_spaces",
    "spaces_by_agent",
    "spaces_by_name",
    "trajectory_of",
]

#: The id of an agent in its environment: nearly always text.
AgentID: TypeAlias = Hashable
#: A space for each agent, by its id.
SpacesByAgent: TypeAlias = Mapping[Any, gym.Space[Any]]

TIMESTEPS: Final[ColumnPath] = ("timesteps",)
#: Names that mean something else in the group of an episode.
_RESERVED: Final = frozenset({AGENTS, STATE, OBSERVATIONS, ACTIONS, *(str(path[0]) for path in OUTCOMES), "infos"})
_STATE_AS_INFO: Final = "state"


@lru_cache(maxsize=1024, typed=True)  # every episode has the same agents
def agent_name(agent: AgentID) -> str:
    """Return the name of an agent in files: its id, escaped unless it is text without a slash.

    >>> agent_name("agent_0"), agent_name(3), agent_name(("red", 1))
    ('agent_0', '_key:3', '_key:["red", 1]')

    Raises:
        EpisodeTypeError: the id has a type that cannot be written.
    """
    if type(agent) is str and agent not in _RESERVED and parts_of_key(agent) == (agent,):
        return agent
    try:
        name = escaped(agent)
    except TypeError:
        name = ""
    if not name or key_of(name) != agent:
        raise EpisodeTypeError(
            f"An agent has the id {shortened(agent)} ({type(agent).__name__}), expected text, a number or a tuple of "
            f"these; rename it in the environment."
        )
    return name


def agent_of_name(name: str) -> Any:
    """Return the id of the agent that has a name in files, see :func:`agent_name`."""
    return key_of(name)


class AgentSpaces(gym.spaces.Dict):
    """The spaces of many agents: a mapping from the id of each to its space, in the order of the agents.

    As a space, its values are dicts with a value for each agent. In a dataset it is described as a ``Dict`` with the
    names of the agents in files.

    Args:
        spaces: the space of each agent, by its id.

    Example:
        >>> from gymnasium import spaces
        >>> AgentSpaces({"predator": spaces.Discrete(5), "prey": spaces.Discrete(3)})["prey"]
        Discrete(3)
    """

    def __init__(self, spaces: SpacesByAgent) -> None:
        for agent, space in spaces.items():
            if not isinstance(space, gym.Space):
                raise SpaceError(
                    f"The space of the agent {shortened(agent)} is {shortened(space)}, expected a gymnasium space such "
                    f"as gymnasium.spaces.Box."
                )
        super().__init__(OrderedDict(spaces))  # Gymnasium sorts the keys of a plain dict

    def __getitem__(self, key: Any) -> gym.Space[Any]:
        """Return the space of an agent.

        Raises:
            KeyError: there is no such agent.
        """
        return self.spaces[key]

    def __contains__(self, x: object) -> bool:
        """Return whether there is an agent with this id; for a dict, whether it is a value of the space."""
        return self.contains(x) if isinstance(x, Mapping) else x in self.spaces


@serialize_space.register
def _write_agent_spaces(space: AgentSpaces, to_string: bool = True) -> Any:
    return serialize_space(spaces_by_name(space), to_string)


def agent_spaces(value: object) -> AgentSpaces | None:
    """Return the spaces of many agents; None if the value is a space of one, or no mapping.

    Raises:
        SpaceError: the mapping holds something else.
    """
    if isinstance(value, AgentSpaces):
        return value
    return AgentSpaces(value) if isinstance(value, Mapping) and not isinstance(value, gym.Space) else None


def spaces_of_agents(env: object) -> tuple[AgentSpaces, AgentSpaces] | None:
    """Return the observation and action spaces of the agents of an environment of PettingZoo; None for any other.

    Args:
        env: a ``ParallelEnv`` or an ``AECEnv``.
    """
    agents = getattr(env, "possible_agents", None)
    observation_space: Any = getattr(env, "observation_space", None)
    action_space: Any = getattr(env, "action_space", None)
    if not (isinstance(agents, (list, tuple)) and callable(observation_space) and callable(action_space)):
        return None
    return (
        AgentSpaces({agent: observation_space(agent) for agent in agents}),
        AgentSpaces({agent: action_space(agent) for agent in agents}),
    )


def codec_for_spaces(observation_space: Any, action_space: Any) -> EpisodeCodec:
    """Return the codec of the episodes of one agent with these spaces, or of many, if both are mappings.

    Raises:
        SpaceError: only one of both is a mapping, or one lacks an agent.
    """
    observation_spaces, action_spaces = agent_spaces(observation_space), agent_spaces(action_space)
    if observation_spaces is None and action_spaces is None:
        return EpisodeCodec(observation_space, action_space)
    if observation_spaces is None or action_spaces is None:
        raise SpaceError(
            "One of observation_space and action_space is a mapping with the spaces of many agents, and the other one "
            "is not; give both for each agent."
        )
    return MultiAgentCodec(observation_spaces, action_spaces)


def spaces_by_name(spaces: SpacesByAgent) -> gym.spaces.Dict:
    """Return the spaces of agents as a space by their names in files, in the same order."""
    return gym.spaces.Dict(OrderedDict((agent_name(agent), space) for agent, space in spaces.items()))


def spaces_by_agent(space: gym.Space[Any]) -> AgentSpaces:
    """Return the spaces of agents by their ids, from the space that :func:`spaces_by_name` has made.

    Raises:
        SpaceError: it is another space, or two agents have the same id.
    """
    if not isinstance(space, gym.spaces.Dict):
        raise SpaceError(f"The space of many agents is {shortened(space)}, expected a Dict with the space of each.")
    by_agent = OrderedDict((agent_of_name(name), part) for name, part in space.spaces.items())
    for agent, name in zip(by_agent, space.spaces, strict=False):
        if len(by_agent) < len(space.spaces) or _name_or_none(agent) != name:
            raise SpaceError(f"The space of many agents has the key {shortened(name)}, which is not the name of one.")
    return AgentSpaces(by_agent)


def _name_or_none(agent: AgentID) -> str | None:
    try:
        return agent_name(agent)
    except EpisodeTypeError:
        return None


def trajectory_of(columns: Columns, name: str) -> dict[ColumnPath, Column]:
    """Return the columns of the agent with a name in files, as those of an episode of one agent and its timesteps."""
    return {path[2:]: column for path, column in columns.items() if path[:2] == (AGENTS, name)}


@dataclass(frozen=True, eq=False, repr=False)
class AgentEpisodeData(EpisodeData):
    """The trajectory of one of many agents: an :class:`EpisodeData` of T_a steps, which may be none.

    Attributes:
        timesteps: integer array of shape (T_a + 1,): the joint step (or turn) at which each observation was made.
    """

    timesteps: npt.NDArray[np.int64]

    def __eq__(self, other: object) -> bool:
        """Return whether both have the same values; an episode without timesteps is compared without them."""
        if not isinstance(other, AgentEpisodeData):
            return NotImplemented
        return super().__eq__(other)

    __hash__ = None

    def __repr__(self) -> str:
        return f"Agent{super().__repr__()[:-1]}, timesteps=ndarray of {len(self.timesteps)} ints)"

    def copy(self) -> AgentEpisodeData:
        """Return the trajectory with its own arrays, which can be modified in place."""
        own = {f.name: copied(getattr(self, f.name)) for f in fields(self)}
        return with_metadata_of(self, AgentEpisodeData(**own))


@dataclass(frozen=True, eq=False, repr=False)
class MultiAgentEpisodeData(WithMetadata):
    """An episode of many agents, of T joint steps: of all agents that are alive, or turns of one of them.

    ``episode[agent]`` is the trajectory of an agent. The length of an episode is T.

    Attributes:
        id: the number of the episode in its dataset.
        total_steps: the number of joint steps, T.
        episodes: the trajectory of each agent that has one.
        state: the T + 1 global states; None if they were not recorded.
        metadata: what was recorded beside the arrays, that of each agent by its name under ``"agents"``; read at the
            first access. That of ``episode[agent]`` is the same with that of the agent in its place.
    """

    id: int
    total_steps: int
    episodes: dict[Any, AgentEpisodeData]
    state: Any = None

    @property
    def agents(self) -> list[Any]:
        """Return the ids of the agents that have a trajectory, in the order of the dataset."""
        return list(self.episodes)

    @property
    def timesteps(self) -> dict[Any, npt.NDArray[np.int64]]:
        """Return, for each agent, the joint step at which each of its observations was made."""
        return {agent: episode.timesteps for agent, episode in self.episodes.items()}

    def __len__(self) -> int:
        """Return the number of joint steps, T."""
        return self.total_steps

    def __bool__(self) -> bool:
        return True

    def __contains__(self, agent: object) -> bool:
        return agent in self.episodes

    def __iter__(self) -> Iterator[Any]:
        """Return an iterator over the agents."""
        return iter(self.episodes)

    def __getitem__(self, agent: AgentID) -> AgentEpisodeData:
        """Return the trajectory of an agent.

        Raises:
            EpisodeKeyError: the agent has none in this episode.
        """
        if agent not in self.episodes:
            raise EpisodeKeyError(
                f"Episode {self.id} has no trajectory of the agent {shortened(agent)}, expected one of "
                f"{shortened(self.agents)}."
            )
        return self.episodes[agent]

    def __eq__(self, other: object) -> bool:
        """Return whether both have the same values, with NaN equal to NaN; the order of the agents is not compared."""
        if not isinstance(other, MultiAgentEpisodeData):
            return NotImplemented
        return (
            (self.id, self.total_steps) == (other.id, other.total_steps)
            and self.episodes == other.episodes
            and same_values(self.state, other.state)
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        steps = ", ".join(f"{agent!r}: {len(episode)} steps" for agent, episode in self.episodes.items())
        state = "" if self.state is None else ", with states"
        return f"MultiAgentEpisodeData(id={self.id!r}, total_steps={self.total_steps}, agents={{{steps}}}{state})"

    def copy(self) -> MultiAgentEpisodeData:
        """Return the episode with its own arrays, which can be modified in place."""
        copies = {agent: episode.copy() for agent, episode in self.episodes.items()}
        whole = MultiAgentEpisodeData(self.id, self.total_steps, copies, copied(self.state))
        return with_metadata_of(self, whole)

    def joint(self) -> JointEpisode:
        """Return the trajectories of all agents in dense arrays, with zeros where an agent was not there.

        Raises:
            SpaceError: the spaces of the agents differ, or hold more than arrays of numbers.
        """
        parts = list(self.episodes.values())
        rows = [episode.timesteps for episode in parts]
        acting = [steps[:-1] for steps in rows]
        length, agents = self.total_steps, self.agents
        alive = np.zeros((length + 1, len(agents)), np.bool_)
        for column, steps in enumerate(rows):
            alive[steps, column] = True

        def dense(name: str) -> Any:
            with_last = name == OBSERVATIONS
            values = [getattr(episode, name) for episode in parts]
            return _dense(name, agents, values, rows if with_last else acting, length + with_last)

        return JointEpisode(
            agents=agents,
            observations=dense(OBSERVATIONS),
            actions=dense(ACTIONS),
            rewards=dense("rewards"),
            terminations=dense("terminations"),
            truncations=dense("truncations"),
            alive=alive,
            timesteps=np.arange(length + 1),
        )


@dataclass(frozen=True, eq=False)
class JointEpisode:
    """An episode of T joint steps of n agents in dense arrays, with zeros where an agent was not there.

    Attributes:
        agents: the ids of the agents, in the order of the second axis.
        observations: arrays of shape (T + 1, n, ...), nested like the observation space of each agent.
        actions: arrays of shape (T, n, ...): the action that was taken at each joint step.
        rewards: array of shape (T, n), or (T, n, k).
        terminations: boolean array of shape (T, n).
        truncations: boolean array of shape (T, n).
        alive: boolean array of shape (T + 1, n): whether an agent has an observation at a joint step.
        timesteps: the numbers of the joint steps, of shape (T + 1,).
    """

    agents: list[Any]
    observations: Any
    actions: Any
    rewards: npt.NDArray[Any]
    terminations: npt.NDArray[np.bool_]
    truncations: npt.NDArray[np.bool_]
    alive: npt.NDArray[np.bool_]
    timesteps: npt.NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of joint steps, T."""
        return len(self.rewards)

    def __eq__(self, other: object) -> bool:
        """Return whether both have the same values, with NaN equal to NaN."""
        if not isinstance(other, JointEpisode):
            return NotImplemented
        return all(same_values(getattr(self, f.name), getattr(other, f.name)) for f in fields(self))

    __hash__ = None  # type: ignore[assignment]

    @property
    def acting(self) -> npt.NDArray[np.bool_]:
        """Return whether an agent acts at a joint step, of shape (T, n): at each of its observations but the last."""
        last = len(self.alive) - 1 - np.argmax(self.alive[::-1], axis=0)
        acting: npt.NDArray[np.bool_] = self.alive.copy()
        acting[last, np.arange(len(last))] = False
        return acting[:-1]


def _dense(
    name: str, agents: Sequence[Any], values: Sequence[Any], rows: Sequence[npt.NDArray[np.int64]], length: int
) -> Any:
    """Return the values of all agents at their joint steps, of shape (length, n, ...).

    Args:
        name: of the values, for messages.
        agents: the ids of the agents.
        values: of each agent, nested alike.
        rows: the joint step of each of their rows.
        length: the number of joint steps.
    """
    first = values[0]
    if isinstance(first, dict) and all(isinstance(each, dict) and each.keys() == first.keys() for each in values):
        return {key: _dense(f"{name}/{key}", agents, [each[key] for each in values], rows, length) for key in first}
    if isinstance(first, tuple) and all(isinstance(each, tuple) and len(each) == len(first) for each in values):
        return tuple(
            _dense(f"{name}/{place}", agents, [each[place] for each in values], rows, length)
            for place in range(len(first))
        )
    for agent, each in zip(agents, values, strict=True):
        if not isinstance(each, np.ndarray) or each.dtype.kind not in "biufc":
            raise SpaceError(
                f"The {name} of the agent {shortened(agent)} are no arrays of numbers that those of all agents could "
                f"be joined with; use the trajectory of each agent."
            )
    # The rewards of an agent that never acted have no number of components.
    shaped = [each for each in values if len(each)] or list(values)
    model = shaped[0]
    for agent, each in zip(agents, values, strict=True):
        if each.dtype.kind != model.dtype.kind or (len(each) and each.shape[1:] != model.shape[1:]):
            raise SpaceError(
                f"The {name} of the agent {shortened(agent)} are {each.dtype} values of shape {each.shape[1:]}, and "
                f"those of others {model.dtype} values of shape {model.shape[1:]}, which cannot be joined; use the "
                f"trajectory of each agent."
            )
    joined = np.zeros((length, len(values), *model.shape[1:]), np.result_type(*values))
    for column, (each, steps) in enumerate(zip(values, rows, strict=True)):
        if len(each):
            joined[steps, column] = each
    return joined


class _AgentsCodec(DictCodec):
    """The observations or the actions of all agents.

    Args:
        space: the space of each agent, by its name in files.
        field: ``"observations"`` or ``"actions"``.
    """

    def __init__(self, space: gym.spaces.Dict, field: str) -> None:
        super().__init__(gym.spaces.Dict(), (field,))
        self.space = space
        self.codecs = {name: codec_for(part, (AGENTS, name, field)) for name, part in space.spaces.items()}


class MultiAgentCodec(EpisodeCodec):
    """Encoder and decoder of the episodes of many agents with these spaces.

    Args:
        observation_spaces: the space of the observations of each agent, by its id.
        action_spaces: the space of the actions of each agent.

    Attributes:
        names: the name of each agent in files, by its id.
        observation_spaces: the space of the observations of each agent.
        action_spaces: the space of the actions of each agent.

    Raises:
        SpaceError: one of both lacks an agent.
        EpisodeTypeError: the id of an agent cannot be written.
    """

    def __init__(self, observation_spaces: SpacesByAgent, action_spaces: SpacesByAgent) -> None:
        for key, one, other in (
            ("observation_space", observation_spaces, action_spaces),
            ("action_space", action_spaces, observation_spaces),
        ):
            if missing := [agent for agent in other if agent not in one]:
                raise SpaceError(
                    f"The {key} has no space of the agent {shortened(missing[0])}, expected one for each of "
                    f"{shortened(list(other))}."
                )
        self.names: dict[Any, str] = {agent: agent_name(agent) for agent in observation_spaces}
        self.observation_spaces = AgentSpaces(observation_spaces)
        self.action_spaces = AgentSpaces({agent: action_spaces[agent] for agent in self.names})
        self.observations = _AgentsCodec(spaces_by_name(self.observation_spaces), OBSERVATIONS)
        self.actions = _AgentsCodec(spaces_by_name(self.action_spaces), ACTIONS)
        self._agents = {name: agent for agent, name in self.names.items()}
        self._codecs = {
            name: EpisodeCodec(observation_spaces[agent], action_spaces[agent], least_steps=0)
            for agent, name in self.names.items()
        }
        self.outcomes = frozenset((AGENTS, name, *path) for name in self._codecs for path in OUTCOMES)

    @property
    def agents(self) -> list[Any]:
        """Return the ids of the agents."""
        return list(self.names)

    @property
    def spaces(self) -> tuple[AgentSpaces, AgentSpaces]:
        """Return the observation spaces and the action spaces, by agent."""
        return self.observation_spaces, self.action_spaces

    def of_agent(self, agent: AgentID) -> EpisodeCodec:
        """Return the codec of the trajectories of an agent."""
        return self._codecs[self.names[agent]]

    def with_agents(self, observation_spaces: SpacesByAgent, action_spaces: SpacesByAgent) -> MultiAgentCodec:
        """Return a codec for further agents as well; the same one if all of them are known.

        Raises:
            SpaceError: the space of an agent differs from the one that is known.
        """
        for name, ours, theirs in (
            (OBSERVATIONS, self.observation_spaces, observation_spaces),
            (ACTIONS, self.action_spaces, action_spaces),
        ):
            for agent, space in theirs.items():
                if agent in ours and (differing := differing_leaf(ours[agent], space, (name,))):
                    raise SpaceError(
                        f"The space of the agent {shortened(agent)} is another one than before, {differing}; give each "
                        f"of its spaces an agent of its own, or record it with one space that has both."
                    )
        if self.names.keys() >= observation_spaces.keys() | action_spaces.keys():
            return self
        return MultiAgentCodec(
            {**self.observation_spaces, **_without(observation_spaces, self.names)},
            {**self.action_spaces, **_without(action_spaces, self.names)},
        )

    def required_paths(self, columns: Columns) -> set[ColumnPath]:
        """Return the paths of the columns that an episode with these columns must have, for each of its agents."""
        present = {path[1] for path in columns if path[0] == AGENTS and len(path) > 2} & self._codecs.keys()
        return {
            (AGENTS, name, *path)
            for name in map(str, present)
            for path in (*self._codecs[name].required_paths({}), TIMESTEPS)
        }

    def steps_of(self, columns: Columns, total_steps: int) -> Mapping[str, int]:
        """Return the numbers of steps of each agent, for comparison with the metadata, by its nested keys."""
        paths = {name: (AGENTS, name, *REWARDS) for name in self._codecs}
        found = {f"{AGENTS}/{name}/total_steps": len(columns[path]) for name, path in paths.items() if path in columns}
        return {"total_steps": total_steps, **found}

    def reward_shape(self, columns: Columns) -> tuple[int, ...] | None:
        shapes = (columns[path].shape for name in self._codecs if (path := (AGENTS, name, *REWARDS)) in columns)
        return next((shape[1:] for shape in shapes if shape[0]), None)

    # Encoding

    def encode(self, buffer: AnyEpisodeBuffer) -> EpisodeColumns:
        """Return the checked columns of an episode.

        Raises:
            EpisodeError: a trajectory does not match its spaces or its timesteps, an agent is unknown, or nobody acts.
            MetadataError: the options or other metadata cannot be stored.
        """
        buffer = self._checked(buffer)
        total_steps = _checked_total(buffer)
        columns: dict[ColumnPath, Column] = {}
        of_agents: dict[str, Any] = {}
        for agent, name in self.names.items():
            if agent not in buffer.agents:
                continue
            with _errors_of(agent):
                trajectory = buffer.agents[agent]
                if trajectory.actions is None and not len(trajectory):
                    trajectory = replace(trajectory, actions=[])
                episode = self._codecs[name].encode(trajectory)
                steps = buffer.timesteps.get(agent, range(episode.total_steps + 1))
                steps = _checked_timesteps(steps, episode.total_steps, total_steps)
                with_steps = {**episode.columns, TIMESTEPS: steps}
                columns.update({(AGENTS, name, *path): column for path, column in with_steps.items()})
                self._check_rewards(columns, episode.columns[REWARDS])
            of_agents[name] = {**episode.metadata, "total_steps": episode.total_steps}
        if not any(each["total_steps"] for each in of_agents.values()):
            raise EpisodeError("No agent of the episode has a step, expected at least one; leave it out.")
        if buffer.state is not None:
            columns.update(_encoded_state(buffer.state, total_steps + 1))
        episode = EpisodeColumns(total_steps, columns, {**reset_metadata(buffer), AGENTS: of_agents})
        if buffer.metadata:
            self.describe(episode, buffer.metadata)
        return episode

    def encode_further_steps(self, buffer: AnyEpisodeBuffer) -> EpisodeColumns:
        """Raise, since an episode of many agents is stored as a whole.

        Raises:
            EpisodeError: always.
        """
        raise EpisodeError(
            "An episode of many agents cannot be extended by further steps, expected a whole one; leave out the id."
        )

    def _checked(self, buffer: AnyEpisodeBuffer) -> MultiAgentEpisodeBuffer:
        if not isinstance(buffer, MultiAgentEpisodeBuffer):
            raise EpisodeTypeError(
                f"The episode is {type(buffer).__name__}, expected a MultiAgentEpisodeBuffer, since the dataset has "
                f"many agents: {shortened(self.agents)}."
            )
        if not isinstance(buffer.agents, Mapping) or not buffer.agents:
            raise EpisodeError(
                f"The agents of the episode are {shortened(buffer.agents)}, expected the trajectory of at least one."
            )
        for agent, trajectory in buffer.agents.items():
            if agent not in self.names:
                raise EpisodeError(
                    f"The episode has a trajectory of the agent {shortened(agent)}, which has no spaces, expected "
                    f"agents among {shortened(self.agents)}; give its observation space and its action space."
                )
            if not isinstance(trajectory, EpisodeBuffer):
                raise EpisodeTypeError(
                    f"The trajectory of the agent {shortened(agent)} is {shortened(trajectory)}, expected an "
                    f"EpisodeBuffer."
                )
            if (trajectory.id, trajectory.seed, trajectory.options) != (None, None, None):
                raise EpisodeError(
                    f"The trajectory of the agent {shortened(agent)} has an id, a seed or options, which belong to the "
                    f"whole episode; give them to the MultiAgentEpisodeBuffer."
                )
        if others := [agent for agent in buffer.timesteps if agent not in buffer.agents]:
            raise EpisodeError(
                f"The episode has timesteps of the agent {shortened(others[0])}, which has no trajectory; leave them "
                f"out."
            )
        return buffer

    def _check_rewards(self, columns: Columns, rewards: Column) -> None:
        expected = self.reward_shape(columns)
        if expected is not None and len(rewards) and rewards.shape[1:] != expected:
            raise EpisodeError(
                f"The rewards have the shape {rewards.shape[1:]} a step, expected {expected} as those of the other "
                f"agents."
            )

    def describe(self, episode: EpisodeColumns, metadata: Mapping[str, Any]) -> None:
        """Add metadata to an episode; those under ``"agents"`` are of each agent, by its id.

        Keys such as ``"agents/agent_0/role"`` are equivalent to nested dicts.

        Raises:
            MetadataError: they cannot be stored.
            EpisodeError: an agent has no trajectory in the episode.
        """
        of_agents = episode.metadata[AGENTS]
        further, given = self._split_metadata(metadata)
        for agent, more in given.items():
            name = self.names.get(agent)
            if name not in of_agents:
                raise EpisodeError(
                    f"There is metadata of the agent {shortened(agent)}, which has no trajectory in the episode, "
                    f"expected some of {shortened([self._agents[known] for known in of_agents])}."
                )
            kept = {"total_steps": of_agents[name]["total_steps"]} if "total_steps" in of_agents[name] else {}
            of_agents[name] = {**of_agents[name], **checked_metadata(more), **kept}
        episode.metadata.update(checked_metadata(further))

    def _split_metadata(self, metadata: Mapping[str, Any]) -> tuple[dict[str, Any], dict[AgentID, dict[str, Any]]]:
        """Return the metadata of an episode, and that of each agent by its id.

        Raises:
            MetadataError: the metadata of an agent is not a dict, or is given twice.
        """
        further = {key: value for key, value in metadata.items() if not is_of_agents(key)}
        whole = metadata.get(AGENTS, {})
        if not isinstance(whole, Mapping) or not all(isinstance(more, Mapping) for more in whole.values()):
            raise MetadataError(
                f"The episode metadata 'agents' are {shortened(whole)}, expected a dict with those of each agent."
            )
        given = {agent: dict(more) for agent, more in whole.items()}
        for key, value in metadata.items():
            if is_of_agents(key) and key != AGENTS:
                _, name, *rest = key.split("/")
                if not rest:
                    raise MetadataError(
                        f"The episode metadata {shortened(key)} is that of an agent, expected a key of it, such as "
                        f"{shortened(f'{key}/role')}."
                    )
                of_agent, inner = given.setdefault(self._agents.get(name, name), {}), "/".join(rest)
                if inner in of_agent:
                    raise MetadataError(f"The episode metadata give {shortened(key)} twice, expected it once.")
                of_agent[inner] = value
        return further, given

    # Decoding

    def decode(self, episode_id: int, columns: Columns, total_steps: int | None = None) -> dict[str, Any]:
        """Return the fields of a :class:`MultiAgentEpisodeData`.

        Raises:
            DatasetCorruptError: a column is missing, or does not match the spaces or the others.
        """
        steps = self._total_of(columns) if total_steps is None else total_steps
        episodes = {}
        for name, trajectory in self._trajectories(episode_id, columns).items():
            with _damage_of(self._agents[name]):
                timesteps = _stored_timesteps(episode_id, trajectory.pop(TIMESTEPS, None), trajectory, steps)
                values = self._codecs[name].decode(episode_id, trajectory)
            episodes[self._agents[name]] = AgentEpisodeData(**values, timesteps=timesteps)
        state = _stored_state(episode_id, columns, steps)
        return {"id": episode_id, "total_steps": steps, "episodes": episodes, "state": state}

    def fields(self, episode_id: int, columns: Columns, total_steps: int | None = None) -> dict[str, Any]:
        """Return the fields of a :class:`MultiAgentEpisodeData` of columns that :meth:`encode` has just made."""
        return self.decode(episode_id, columns, total_steps)

    def decode_outcomes(self, episode_id: int, columns: Columns) -> dict[str, Any]:
        """Return the number of the episode, and rewards, terminations and truncations of each agent by its id.

        Raises:
            DatasetCorruptError: a column is missing or invalid.
        """
        outcomes = {}
        for name, trajectory in self._trajectories(episode_id, columns).items():
            with _damage_of(self._agents[name]):
                outcomes[self._agents[name]] = self._codecs[name].decode_outcomes(episode_id, trajectory)
        return {"id": episode_id, "agents": outcomes}

    def check(self, episode_id: int, columns: Columns, total_steps: int, encoded: Iterable[ColumnPath] = ()) -> None:
        """Compare the columns of an episode with the spaces, without decoding them; see :class:`EpisodeCodec`."""
        paths = frozenset(encoded)
        for name, trajectory in self._trajectories(episode_id, columns).items():
            with _damage_of(self._agents[name]):
                _stored_timesteps(episode_id, trajectory.pop(TIMESTEPS, None), trajectory, total_steps)
                steps = len(trajectory[REWARDS])
                frames = [path[2:] for path in paths if path[:2] == (AGENTS, name)]
                self._codecs[name].check(episode_id, trajectory, steps, frames)
        _stored_state(episode_id, columns, total_steps)

    def _trajectories(self, episode_id: int, columns: Columns) -> dict[str, dict[ColumnPath, Column]]:
        """Return the columns of each agent that has a trajectory, in the order of the agents."""
        found: dict[str, dict[ColumnPath, Column]] = {}
        for path, column in columns.items():
            if path[0] == AGENTS and len(path) > 2:
                found.setdefault(str(path[1]), {})[path[2:]] = column
            elif path[0] != STATE:
                raise DatasetCorruptError(
                    f"Episode {episode_id} has {shortened(path_name(path))}, expected trajectories of agents; the file "
                    f"is damaged, or belongs to another dataset."
                )
        if unknown := [name for name in found if name not in self._codecs]:
            raise DatasetCorruptError(
                f"Episode {episode_id} has a trajectory of {shortened(agent_of_name(unknown[0]))}, expected agents "
                f"among {shortened(self.agents)}; the file is damaged, or belongs to another dataset."
            )
        if not found:
            raise DatasetCorruptError(
                f"Episode {episode_id} has no trajectory of an agent, and the metadata of the dataset says "
                f"that it has many agents; the file is damaged, or belongs to another dataset."
            )
        return {name: found[name] for name in self._codecs if name in found}

    @staticmethod
    def _total_of(columns: Columns) -> int:
        """Return the last joint step at which there is an observation, for episodes whose length is not known."""
        ends = (column[-1] for path, column in columns.items() if path[2:] == TIMESTEPS and column.size)
        return int(max(ends, default=0))


def _without(spaces: SpacesByAgent, known: Mapping[Any, Any]) -> dict[Any, gym.Space[Any]]:
    return {agent: space for agent, space in spaces.items() if agent not in known}


@contextmanager
def _errors_of(agent: AgentID) -> Iterator[None]:
    """Let an error name the agent whose trajectory cannot be stored."""
    try:
        yield
    except EpisodeError as error:
        prefix = f"The trajectory of the agent {shortened(agent)} cannot be stored."
        raise type(error)(
            f"{prefix} {error}", info_path=error.info_path, problem=f"{prefix} {error.problem}"
        ) from error


@contextmanager
def _damage_of(agent: AgentID) -> Iterator[None]:
    """Let an error name the agent whose trajectory is damaged."""
    try:
        yield
    except DatasetCorruptError as error:
        raise type(error)(f"The trajectory of the agent {shortened(agent)} cannot be read. {error}") from error


def _checked_total(buffer: MultiAgentEpisodeBuffer) -> int:
    total_steps: Any = buffer.total_steps
    if total_steps is None:
        try:
            total_steps = len(buffer)
        except (TypeError, ValueError, LookupError) as error:
            raise EpisodeError(
                f"The timesteps of the episode do not tell its length ({error}), expected increasing numbers."
            ) from error
    if isinstance(total_steps, bool) or not isinstance(total_steps, (int, np.integer)) or total_steps < 1:
        raise EpisodeError(f"The episode has {shortened(total_steps)} steps, expected at least one; leave it out.")
    return int(total_steps)


def _checked_timesteps(values: Any, steps: int, total_steps: int) -> npt.NDArray[np.int64]:
    """Return the joint steps of the observations of an agent.

    Raises:
        EpisodeError: they are not as many increasing numbers of joint steps.
    """
    given = np.asarray(values)
    problem = _problem_with_timesteps(given, steps, total_steps)
    if problem:
        raise EpisodeError(f"The timesteps {problem}.")
    return given.astype(np.int64)


def is_of_agents(key: object) -> bool:
    """Return whether a key of the metadata of an episode is that of all agents, or of one."""
    return isinstance(key, str) and (key == AGENTS or key.startswith(f"{AGENTS}/"))


def _problem_with_timesteps(values: Column, steps: int, total_steps: int) -> str | None:
    if values.ndim != 1 or values.dtype.kind not in "iu":
        return f"are {values.dtype} values of shape {values.shape}, expected {steps + 1} whole numbers"
    if len(values) != steps + 1:
        return f"are {len(values)}, expected {steps + 1}, one more than its {steps} steps"
    if (values[1:] <= values[:-1]).any() or values[0] < 0 or values[-1] > total_steps:
        return f"are {shortened(values.tolist())}, expected increasing numbers from 0 to {total_steps}"
    return None


def _stored_timesteps(
    episode_id: int, column: Column | None, trajectory: Columns, total_steps: int
) -> npt.NDArray[np.int64]:
    rewards = trajectory.get(REWARDS)
    if column is None or rewards is None or not rewards.ndim:
        missing = "timesteps" if column is None else "rewards"
        raise DatasetCorruptError(
            f"Episode {episode_id} has no {missing}, which each trajectory needs; the file is damaged, or belongs to "
            f"another dataset."
        )
    problem = _problem_with_timesteps(column, len(rewards), total_steps)
    if problem:
        raise DatasetCorruptError(
            f"The timesteps of episode {episode_id} {problem}; the file is damaged, or belongs to another dataset."
        )
    return column.astype(np.int64, copy=False)


def _encoded_state(state: Any, rows: int) -> dict[ColumnPath, Column]:
    """Return the columns of the global state, which has no space and is stored as an info is.

    Raises:
        EpisodeError: there is not a value for each row.
    """
    try:
        columns = encode_infos({_STATE_AS_INFO: state}, rows)
    except EpisodeError as error:
        raise type(error)(f"The state of the episode cannot be stored. {error}") from error
    found = {path[1:]: column for path, column in columns.items()}
    if any(path[0] != STATE for path in found):
        raise EpisodeError(f"The state of the episode is missing at some steps, expected {rows} values, one a step.")
    return found


def _stored_state(episode_id: int, columns: Columns, total_steps: int) -> Any:
    """Return the global states, None if there are none.

    Raises:
        DatasetCorruptError: they were not created by :func:`_encoded_state`.
    """
    stored = {("infos", *path): column for path, column in columns.items() if path[0] == STATE}
    if not stored:
        return None
    state = decode_infos(stored)[_STATE_AS_INFO]
    for count in _row_counts(state):
        if count != total_steps + 1:
            raise DatasetCorruptError(
                f"The state of episode {episode_id} has {count} values, expected {total_steps + 1} for its "
                f"{total_steps} steps; the file is damaged, or belongs to another dataset."
            )
    return state


def _row_counts(values: Any) -> Iterator[int]:
    if isinstance(values, dict):
        for part in values.values():
            yield from _row_counts(part)
    elif isinstance(values, tuple):
        for part in values:
            yield from _row_counts(part)
    else:
        yield len(values)
