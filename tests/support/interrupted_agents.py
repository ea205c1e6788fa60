"""The server of `support.interrupted` for recorders of agents that act together, or in turns.

Their environments are none of PettingZoo's classes, so that the server needs nothing else.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from gymnasium import spaces

import minari
from support.interrupted import Kind, main


AGENTS = ("first", "second")


def length(number: int, agent: str) -> int:
    """Return the number of steps of an agent in the episode of a number; the second one ends first."""
    return number % 5 + 2 if agent == "first" else number % 2 + 1


class CountedAgents:
    """The episode of a seed: everything follows from that number, as in `support.interrupted`."""

    def __init__(self, fails_at: int | None) -> None:
        self.fails_at, self.steps = fails_at, 0
        self.possible_agents = list(AGENTS)
        self.agents: list[str] = []

    def observation_space(self, agent: str) -> Any:
        return spaces.Box(-1e9, 1e9, (2,), np.float64)

    def action_space(self, agent: str) -> Any:
        return spaces.Discrete(9)

    def begin(self, seed: int) -> None:
        self.seed, self.agents, self.times = seed, list(AGENTS), dict.fromkeys(AGENTS, 0)

    def act(self, agent: str) -> None:
        self.steps += 1
        if self.steps == self.fails_at:
            raise RuntimeError("the environment fails")
        self.times[agent] += 1

    def has_ended(self, agent: str) -> bool:
        return self.times[agent] >= length(self.seed, agent)

    def observe(self, agent: str) -> Any:
        return np.array([self.seed, self.times[agent]], np.float64)

    def info(self) -> dict[str, Any]:
        return {"text": str(self.seed)}


class CountedJointly(CountedAgents):
    def reset(self, seed: Any = None, options: Any = None) -> Any:
        self.begin(seed or 0)
        return {agent: self.observe(agent) for agent in AGENTS}, {agent: self.info() for agent in AGENTS}

    def step(self, actions: Any) -> Any:
        acting = list(self.agents)
        for agent in acting:
            self.act(agent)
        ended = {agent: self.has_ended(agent) for agent in acting}
        self.agents = [agent for agent in acting if not ended[agent]]
        return (
            {agent: self.observe(agent) for agent in acting},
            dict.fromkeys(acting, float(self.seed)),
            ended,
            dict.fromkeys(acting, False),
            {agent: self.info() for agent in acting},
        )


class CountedTurns(CountedAgents):
    def reset(self, seed: Any = None, options: Any = None) -> None:
        self.begin(seed or 0)
        self.agent_selection = "first"
        self.truncations = dict.fromkeys(AGENTS, False)
        self._cumulative_rewards = dict.fromkeys(AGENTS, 0.0)

    @property
    def terminations(self) -> dict[str, bool]:
        return {agent: self.has_ended(agent) for agent in AGENTS}

    @property
    def infos(self) -> dict[str, Any]:
        return {agent: self.info() for agent in AGENTS}

    def last(self, observe: bool = True) -> Any:
        agent = self.agent_selection
        observation = self.observe(agent) if observe else None
        return observation, self._cumulative_rewards[agent], self.has_ended(agent), False, self.info()

    def step(self, action: Any) -> None:
        agent = self.agent_selection
        if self.has_ended(agent):
            self.agents.remove(agent)
        else:
            self.act(agent)
            self._cumulative_rewards[agent] = float(self.seed)
        others = [other for other in self.agents if other != agent] or self.agents
        self.agent_selection = others[0] if others else agent


def make_jointly(fails_at: int | None, **options: Any) -> Any:
    return minari.MultiAgentDataCollector(CountedJointly(fails_at), **options)


def make_turns(fails_at: int | None, **options: Any) -> Any:
    return minari.MultiAgentDataCollector(CountedTurns(fails_at), **options)


def play_jointly(collector: Any, number: int) -> None:
    collector.reset(seed=number)
    step = 0
    while collector.agents:
        collector.step(dict.fromkeys(collector.agents, step % 9))
        step += 1


def play_turns(collector: Any, number: int) -> None:
    collector.reset(seed=number)
    counts = dict.fromkeys(AGENTS, 0)
    while collector.agents:
        agent = collector.agent_selection
        *_, terminated, _, _ = collector.last()
        collector.step(None if terminated else counts[agent] % 9)
        counts[agent] += 1


def wrong_values(episode: Any, number: int) -> bool:
    """Return whether an episode differs from the one of its number."""
    return set(episode.agents) != set(AGENTS) or any(is_wrong(episode[agent], number, agent) for agent in AGENTS)


def is_wrong(trajectory: Any, number: int, agent: str) -> bool:
    steps = length(number, agent)
    return not (
        np.array_equal(trajectory.observations, [[number, t] for t in range(steps + 1)])
        and trajectory.rewards.tolist() == [number] * steps
        and trajectory.actions.tolist() == [t % 9 for t in range(steps)]
        and list(trajectory.infos["text"]) == [str(number)] * (steps + 1)
        and trajectory.terminations.tolist() == [False] * (steps - 1) + [True]
    )


def is_running(episode: Any) -> bool:
    return len(episode.agents) < 2 or any(not episode[agent].terminations[-1:].any() for agent in AGENTS)


KINDS = {
    "jointly": Kind(make_jointly, play_jointly, wrong_values, is_running),
    "turns": Kind(make_turns, play_turns, wrong_values, is_running),
}


if __name__ == "__main__":
    main(KINDS[sys.argv.pop()])
