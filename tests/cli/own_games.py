"""A module beside the user: games that count, and policies."""

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv
from pettingzoo.utils import parallel_to_aec


class Counting(ParallelEnv):
    """Agents "a" and "b" see the time and earn their actions; "b" ends two steps before "a"."""

    render_mode = None

    def __init__(self, length=5):
        self.metadata, self.possible_agents = {"name": "counting_v0"}, ["a", "b"]
        self.length = length
        self.space = {agent: spaces.Discrete(3) for agent in self.possible_agents}

    def observation_space(self, agent):
        return spaces.Box(0, 99, (1,), np.int64)

    def action_space(self, agent):
        return self.space[agent]

    def observe(self, agent):
        return np.array([self.time])

    def inform(self):
        return {"time": self.time}

    def reset(self, seed=None, options=None):
        self.time, self.agents = 0, ["a", "b"]
        return {agent: self.observe(agent) for agent in self.agents}, {agent: self.inform() for agent in self.agents}

    def step(self, actions):
        self.time += 1
        acting, ends = self.agents, {"a": self.length, "b": self.length - 2}
        self.agents = [agent for agent in acting if self.time < ends[agent]]
        return (
            {agent: self.observe(agent) for agent in acting},
            {agent: float(actions[agent]) for agent in acting},
            {agent: self.time >= ends[agent] for agent in acting},
            dict.fromkeys(acting, False),
            {agent: self.inform() for agent in acting},
        )

    def state(self):
        return np.array([self.time])


class Masked(Counting):
    def observation_space(self, agent):
        return spaces.Dict(observation=spaces.Box(0, 99, (1,), np.int64), action_mask=spaces.MultiBinary(3))

    def observe(self, agent):
        return {"observation": np.array([self.time]), "action_mask": np.array([0, 1, 0], np.int8)}


class Odd(Counting):
    def inform(self):
        return {"time": self.time, "lock": object()}


together, masked, odd = Counting, Masked, Odd


def in_turns(length=5):
    return parallel_to_aec(Counting(length))


def broken():
    raise RuntimeError("no board")


def no_environment():
    return 3


number = 3


def two(observation, agent):
    return 2


def failing(observation, agent):
    if observation[0] == 2 and agent == "b":
        raise KeyError("lost")
    return 1


class Clock:
    """Acts by the time, and has to be given the environment."""

    def __init__(self, env):
        self.counts = {agent: int(env.action_space(agent).n) for agent in env.possible_agents}

    def __call__(self, observation, agent):
        return int(observation[0]) % self.counts[agent]
