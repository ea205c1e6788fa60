"""A module beside the user: an environment that counts, and policies."""

import random
import time
from pathlib import Path

import gymnasium as gym
import numpy as np
from gymnasium import spaces


class Counting(gym.Env):
    """Observes the seed and the time; its episodes last five steps."""

    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float64)
    action_space = spaces.Discrete(3)

    def __init__(self, fails_at=None, odd=False):
        self.fails_at, self.odd, self.total = fails_at, odd, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.seed, self.time = seed, 0
        return self.observation(), {}

    def step(self, action):
        self.time += 1
        self.total += 1
        if self.total == self.fails_at:
            raise RuntimeError("the motor\nbroke")
        info = {"time": self.time, "odd": object()} if self.odd else {"time": self.time}
        return self.observation(), float(action), self.time == 5, False, info

    def observation(self):
        return np.array([-1.0 if self.seed is None else self.seed, self.time], np.float64)


gym.register("Counting-v0", entry_point="own:Counting")


def two(observation):
    return 2


class Clock:
    """Acts by the time, and has to be given the environment."""

    def __init__(self, env):
        self.count = int(env.action_space.n)

    def __call__(self, observation):
        return int(observation[1]) % self.count


def drawing(observation):
    return (random.randrange(3) + np.random.randint(3)) % 3


def failing(observation):
    if observation[1] == 3:
        raise KeyError("lost")
    return 0


def broken(observation):
    return observation.missing


class Late:
    """Fails deeper down, after a while."""

    def __init__(self, env):
        self.steps = 0

    def __call__(self, observation):
        self.steps += 1
        return self.give_up() if self.steps > 4 else 0

    def give_up(self):
        raise RuntimeError("out of ideas")


class Slow:
    """Reports by a file that sixty steps are over, and is slow from then on."""

    pause = 0.002

    def __init__(self, env):
        self.steps = 0

    def __call__(self, observation):
        self.steps += 1
        if self.steps == 60:
            Path("sixty-steps").touch()
        time.sleep(self.pause if self.steps >= 60 else 0)
        return 0


class Hanging(Slow):
    pause = 300


number = 3


class Alternating:
    """Acts in all environments at once, and has to be given the vector environment."""

    batched = True

    def __init__(self, env):
        self.num_envs = env.num_envs

    def __call__(self, observations):
        assert observations.shape == (self.num_envs, 2)
        return np.arange(self.num_envs) % 3
