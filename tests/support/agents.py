"""Scripted environments of many agents that log what they do, and the trajectories that follow from such a log."""

from __future__ import annotations

import copy
import random
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium import spaces


BOX = spaces.Box(-1e6, 1e6, (2,), np.float64)
NESTED = spaces.Dict(
    place=spaces.Box(-1e6, 1e6, (2,), np.float32),
    word=spaces.Text(8, min_length=0),
    pair=spaces.Tuple([spaces.Discrete(1_000), spaces.Box(-1e6, 1e6, (), np.float64)]),
)
KINDS: dict[str, gym.Space[Any]] = {"box": BOX, "nested": NESTED, "number": spaces.Discrete(1_000_000)}


@dataclass
class Events:
    """Events of one agent, in order.

    Attributes:
        log: ``("observation", time, value, info)``, ``("action", time, value)``, ``("reward", value)``,
            ``("end", terminated, truncated)``.
    """

    log: list[tuple[Any, ...]] = field(default_factory=list)

    def trajectory(self, *, cut: bool) -> dict[str, Any]:
        """The rows that follow: at each action the latest observation, the rewards until the next one, the end.

        Args:
            cut: Whether the episode was cut off from outside, if the agent did not end before.
        """
        rows: list[tuple[Any, ...]] = []
        rewards: list[float] = []
        actions: list[Any] = []
        early, latest, flags = 0.0, None, (False, False)
        for kind, *values in self.log:
            if kind == "observation":
                latest = tuple(values)
            elif kind == "action":
                assert latest is not None
                rows.append(latest)
                actions.append(values[1])
                rewards.append(0.0)
            elif kind == "reward":
                if rewards:
                    rewards[-1] += values[0]
                else:
                    early += values[0]
            else:
                flags = (values[0], values[1])
        assert latest is not None
        rows.append(latest)
        terminated, truncated = flags if any(flags) else (False, cut)
        steps = len(actions)
        return {
            "timesteps": [row[0] for row in rows],
            "observations": [row[1] for row in rows],
            "infos": [row[2] for row in rows],
            "actions": actions,
            "rewards": rewards,
            "terminations": [False] * (steps - 1) + [terminated] * (steps > 0),
            "truncations": [False] * (steps - 1) + [truncated] * (steps > 0),
            "early": early,
        }


@dataclass
class Part:
    """The part of an agent in a script.

    Attributes:
        agent: Its id.
        kind: Of its observations, one of `KINDS`.
        first: The time at which it appears.
        last: The time at which it ends; later than the end of the episode if it does not.
        terminates: Whether its end is a terminal state, or it is cut off.
    """

    agent: Hashable
    kind: str
    first: int
    last: int
    terminates: bool


class Scripted:
    """Base of both kinds of environment: observations, infos and rewards of a script, and the log.

    Args:
        parts: The parts of the agents.
        length: The time at which everybody who is left is cut off.
        seed: Of everything else.
        reuses: Whether the environment gives the same arrays and dicts at all times.
        knows: Whether there are `possible_agents`.
    """

    metadata: ClassVar[dict[str, Any]] = {"name": "scripted_v0", "is_parallelizable": True}
    render_mode = None

    def __init__(
        self, parts: list[Part], length: int, seed: int = 0, *, reuses: bool = False, knows: bool = True
    ) -> None:
        self.parts = {part.agent: part for part in parts}
        self.length, self.rng, self.reuses = length, random.Random(seed), reuses
        if knows:
            self.possible_agents = list(self.parts)
        self.agents: list[Any] = []
        self.episodes: list[dict[Hashable, Events]] = []
        self.states: list[list[Any]] = []
        self.resets: list[tuple[Any, Any]] = []
        self.count, self.time, self.origin, self.closed = 0, 0, 0, False
        self.gone: set[Hashable] = set()
        self._spaces = {agent: (KINDS[part.kind], spaces.Discrete(5)) for agent, part in self.parts.items()}
        self._own: dict[Hashable, Any] = {}
        self._own_state = np.zeros(3)

    def observation_space(self, agent: Hashable) -> gym.Space[Any]:
        return self._spaces[agent][0]

    def action_space(self, agent: Hashable) -> gym.Space[Any]:
        return self._spaces[agent][1]

    def begin(self, seed: Any, options: Any) -> None:
        self.resets.append((seed, options))
        self.episodes.append({})
        self.time = self.origin = 0
        self.gone.clear()

    @property
    def moment(self) -> int:
        """The time since the reset, or since the episode was saved."""
        return self.time - self.origin

    @property
    def has_steps(self) -> bool:
        """Return whether an agent has acted in the current episode."""
        return any(event[0] == "action" for events in self.episodes[-1].values() for event in events.log)

    def saved(self) -> None:
        """Begin another log, as the episode up to now has been saved and goes on without a reset."""
        before, now = self.episodes[-1], self.time
        self.episodes.append({})
        self.gone |= {agent for agent, events in before.items() if any(event[0] == "end" for event in events.log)}
        for agent, events in before.items():
            latest = [event for event in events.log if event[0] == "observation"][-1:]
            if agent not in self.gone and latest and self.is_given_again(agent, latest[0][1]):
                self.events(agent).log.append(("observation", 0, *latest[0][2:]))
        self.origin = now

    def is_given_again(self, agent: Hashable, moment: int) -> bool:
        """Return whether an agent acts on the observation that it was given before the episode was saved."""
        return agent in self.agents

    def events(self, agent: Hashable) -> Events:
        if agent in self.gone:
            return Events()  # belongs to the episode before
        return self.episodes[-1].setdefault(agent, Events())

    def expected(self, *, cut: bool) -> list[dict[Hashable, dict[str, Any]]]:
        """The trajectories of each episode in which somebody has acted.

        Args:
            cut: Whether agents that had not ended were truncated.
        """
        return [
            {
                agent: events.trajectory(cut=cut)
                for agent, events in episode.items()
                if any(event[0] == "observation" for event in events.log)
            }
            for episode in self.episodes
            if any(event[0] == "action" for events in episode.values() for event in events.log)
        ]

    def make(self, agent: Hashable) -> Any:
        """A new observation, different from all before."""
        self.count += 1
        number, kind = self.count, self.parts[agent].kind
        if kind == "number":
            return number
        if kind == "box":
            value: Any = np.array([number, -number], np.float64)
        else:
            value = {
                "place": np.array([number, 0], np.float32),
                "word": "w" * (number % 5),
                "pair": (number % 1_000, np.array(number, np.float64)),
            }
        if not self.reuses:
            return value
        own = self._own.setdefault(agent, value)
        if kind == "box":
            own[:] = value
        else:
            own["place"][:] = value["place"]
            own["word"], own["pair"] = value["word"], value["pair"]
        return own

    def inform(self, agent: Hashable) -> dict[str, Any]:
        return {"count": self.count} if self.rng.random() < 0.7 else {}

    def reward(self) -> float:
        return float(self.rng.choice([0.0, 0.0, 1.0, -2.5, 0.5]))

    def state(self) -> Any:
        self._own_state[:] = [self.time, len(self.agents), self.time**2]
        return self._own_state if self.reuses else self._own_state.copy()

    def render(self) -> None:
        return None

    def close(self) -> None:
        self.closed = True


def parallel_env(*arguments: Any, returns_dead: bool = False, **options: Any) -> Any:
    """A scripted `ParallelEnv`; `returns_dead` makes it give entries for agents that are not there."""
    from pettingzoo import ParallelEnv

    class ScriptedParallel(Scripted, ParallelEnv):  # type: ignore[misc]
        def reset(self, seed: Any = None, options: Any = None) -> Any:
            self.begin(seed, options)
            self.agents = [agent for agent, part in self.parts.items() if part.first == 0]
            observations, infos = {}, {}
            for agent in self.agents:
                observations[agent], infos[agent] = self.make(agent), self.inform(agent)
                self.events(agent).log.append(
                    ("observation", 0, copy.deepcopy(observations[agent]), copy.deepcopy(infos[agent]))
                )
            if returns_dead:
                for agent in self.parts.keys() - observations.keys():
                    observations[agent], infos[agent] = self.make(agent), {}
            return observations, infos

        def step(self, actions: Any) -> Any:
            alive = list(self.agents)
            for agent in alive:
                if actions.get(agent) is not None:
                    self.events(agent).log.append(("action", self.moment, copy.deepcopy(actions[agent])))
                    if isinstance(actions[agent], np.ndarray):
                        actions[agent][...] = 0  # the environment's own from now on
            self.time += 1
            results: tuple[dict[Any, Any], ...] = ({}, {}, {}, {}, {})
            new = [agent for agent, part in self.parts.items() if part.first == self.time < self.length]
            others = list(self.parts.keys() - {*alive, *new}) if returns_dead else []
            for agent in [*alive, *new, *others]:
                part = self.parts[agent]
                ends = agent in alive and self.time >= part.last
                terminated = ends and part.terminates
                truncated = (ends and not part.terminates) or (self.time >= self.length and not terminated)
                values = (self.make(agent), self.reward(), terminated, truncated, self.inform(agent))
                for result, value in zip(results, values, strict=True):
                    result[agent] = value
                if agent in others:
                    continue
                log = self.events(agent).log
                log.append(("observation", self.moment, copy.deepcopy(values[0]), copy.deepcopy(values[4])))
                log.append(("reward", values[1]))
                if terminated or truncated:
                    log.append(("end", terminated, truncated))
            self.agents = [a for a in [*alive, *new] if not (results[2][a] or results[3][a])]
            return results

    return ScriptedParallel(*arguments, **options)


def turns_env(*arguments: Any, **options: Any) -> Any:
    """A scripted `AECEnv`: agents act in random order, and earn rewards whoever acts."""
    from pettingzoo import AECEnv

    class ScriptedTurns(Scripted, AECEnv):  # type: ignore[misc]
        def reset(self, seed: Any = None, options: Any = None) -> None:
            self.begin(seed, options)
            self.agents = [agent for agent, part in self.parts.items() if part.first == 0]
            self.rewards = dict.fromkeys(self.agents, 0.0)
            self._cumulative_rewards = dict.fromkeys(self.agents, 0.0)
            self.terminations = dict.fromkeys(self.agents, False)
            self.truncations = dict.fromkeys(self.agents, False)
            self.infos = {agent: self.inform(agent) for agent in self.agents}
            self._skip_agent_selection = None
            self.agent_selection = self.rng.choice(self.agents)

        def is_given_again(self, agent: Hashable, moment: int) -> bool:
            return agent == self.agent_selection and moment == self.moment

        def observe(self, agent: Hashable) -> Any:
            """Every call gives another observation, so that it matters which one is recorded."""
            observation = self.make(agent)
            self.events(agent).log.append(
                ("observation", self.moment, copy.deepcopy(observation), copy.deepcopy(self.infos[agent]))
            )
            return observation

        def step(self, action: Any) -> None:
            agent = self.agent_selection
            if self.terminations[agent] or self.truncations[agent]:
                self._was_dead_step(action)
                self.time += 1
                return
            self.events(agent).log.append(("action", self.moment, copy.deepcopy(action)))
            self._cumulative_rewards[agent] = 0.0
            self.time += 1
            for new, part in self.parts.items():
                if part.first == self.time < self.length and new not in self.agents:
                    self.agents.append(new)
                    self._cumulative_rewards[new] = 0.0
                    self.terminations[new] = self.truncations[new] = False
            for other in self.agents:
                self.rewards[other] = self.reward()
                self.events(other).log.append(("reward", self.rewards[other]))
                self.infos[other] = self.inform(other)
                part = self.parts[other]
                if self.time >= part.last and not (self.terminations[other] or self.truncations[other]):
                    self.terminations[other], self.truncations[other] = part.terminates, not part.terminates
                    self.events(other).log.append(("end", part.terminates, not part.terminates))
                elif self.time >= self.length and not (self.terminations[other] or self.truncations[other]):
                    self.truncations[other] = True
                    self.events(other).log.append(("end", False, True))
            self._accumulate_rewards()
            alive = [a for a in self.agents if not (self.terminations[a] or self.truncations[a])]
            if alive:
                self.agent_selection = self.rng.choice(alive)
            self._deads_step_first()

    return ScriptedTurns(*arguments, **options)


def all_differences(dataset: Any, env: Scripted) -> list[str]:
    """Return the differences between the episodes of a dataset and the log of the environment."""
    expected = env.expected(cut=True)
    if len(dataset) != len(expected):
        return [f"{len(dataset)} episodes instead of {len(expected)}"]
    found = []
    metadatas = dataset.storage.get_episode_metadata(range(len(dataset)))
    for episode, logged, metadata in zip(dataset, expected, metadatas, strict=True):
        if set(episode.agents) != set(logged):
            found.append(f"episode {episode.id} has {episode.agents} instead of {list(logged)}")
            continue
        names = dataset.storage.episode_codec.names
        for agent, trajectory in logged.items():
            found += [f"episode {episode.id}, {agent}, {text}" for text in differences(episode[agent], trajectory)]
            early = metadata["agents"][names[agent]].get("rewards_before_first_action", 0.0)
            if early != trajectory["early"]:
                found.append(f"episode {episode.id}, {agent}, early {early} instead of {trajectory['early']}")
    return found


def rows(values: Any, steps: int) -> list[Any]:
    """The values of an episode row by row, from values column by column."""
    if isinstance(values, dict):
        parts = {key: rows(part, steps) for key, part in values.items()}
        return [{key: part[row] for key, part in parts.items()} for row in range(steps)]
    if isinstance(values, tuple):
        columns = [rows(part, steps) for part in values]
        return [tuple(column[row] for column in columns) for row in range(steps)]
    return list(values)


def same(recorded: Any, given: Any) -> bool:
    """Return whether a recorded value is the one that was given, whatever its type in memory."""
    if isinstance(given, dict):
        return recorded.keys() == given.keys() and all(same(recorded[key], given[key]) for key in given)
    if isinstance(given, tuple):
        return len(recorded) == len(given) and all(map(same, recorded, given))
    return bool(np.array_equal(np.asarray(recorded), np.asarray(given)))


def info_rows(infos: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """The infos row by row, without what a mask says was missing."""
    found: list[dict[str, Any]] = [{} for _ in range(count)]
    for key, values in infos.items():
        mask = infos.get(f"_{key}")
        if key.startswith("_") and key[1:] in infos:
            continue
        for row in range(count):
            if mask is None or mask[row]:
                found[row][key] = values[row]
    return found


def differences(episode: Any, expected: dict[str, Any]) -> list[str]:
    """Return the differences between a recorded trajectory and that of a log."""
    steps = len(expected["actions"])
    found = {
        "timesteps": list(episode.timesteps),
        "observations": rows(episode.observations, steps + 1),
        "actions": rows(episode.actions, steps),
        "rewards": list(episode.rewards),
        "terminations": list(episode.terminations),
        "truncations": list(episode.truncations),
        "infos": info_rows(episode.infos, steps + 1),
    }
    return [
        f"{name}: {values!r} instead of {expected[name]!r}"
        for name, values in found.items()
        if len(values) != len(expected[name])
        or not all(same(value, given) for value, given in zip(values, expected[name], strict=True))
    ]
