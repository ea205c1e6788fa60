"""An environment whose state is hidden, and changes with every action, and a slow obvious replay of its episodes."""

from __future__ import annotations

import os
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec


BOX = spaces.Box(-np.inf, np.inf, (2,), np.float64)
NESTED = spaces.Dict(
    place=BOX,
    word=spaces.Text(8, min_length=0),
    pair=spaces.Tuple([spaces.Discrete(1000), spaces.Sequence(spaces.Box(-np.inf, np.inf, (), np.float32))]),
)
FRAMES = spaces.Dict(picture=spaces.Box(0, 255, (40, 48, 3), np.uint8), place=BOX)
SPACES: dict[str, spaces.Space[Any]] = {"box": BOX, "nested": NESTED, "frames": FRAMES}


class Hidden(gym.Env[Any, Any]):
    """Episodes that end by chance after eight steps; observations show the state, which actions change for good.

    Args:
        kind: Of the observations, one of `SPACES`.
        gain: By how much an action changes the state.
        rewards: Number of components of a reward; None for a number.
        leaks: Whether the state of one episode is kept in the next one.
        fails: Whether the process ends in the third step.
        noisy: Whether the observations have noise that no seed determines.
    """

    def __init__(
        self,
        kind: str = "box",
        gain: float = 1.0,
        rewards: int | None = None,
        leaks: bool = False,
        fails: bool = False,
        noisy: bool = False,
    ) -> None:
        self.kind, self.gain, self.rewards, self.leaks, self.fails, self.noisy = (
            *(kind, gain, rewards, leaks, fails, noisy),
        )
        self.observation_space, self.action_space = SPACES[kind], spaces.Discrete(5)
        self.hidden = 0.0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        start = float(self.np_random.integers(100)) + float((options or {}).get("start", 0))
        self.hidden = start + (self.hidden if self.leaks else 0.0)
        self.time = 0
        return self.observe(), {}

    def step(self, action: Any) -> Any:
        self.time += 1
        if self.fails and self.time == 3:
            os._exit(7)
        self.hidden = (1.25 * self.hidden + self.gain * float(action) + float(self.np_random.random())) % 1000
        reward: Any = self.hidden / 7
        if self.rewards is not None:
            reward = np.arange(self.rewards) + reward
        ends = self.np_random.random() < 0.05
        return self.observe(), reward, bool(ends and self.time >= 8), False, {}

    def observe(self) -> Any:
        noise = float(np.random.default_rng().random()) if self.noisy else 0.0
        place = np.array([self.hidden + noise, self.time])
        if self.kind == "box":
            return place
        if self.kind == "frames":
            picture = np.full((40, 48, 3), int(self.hidden) % 256, np.uint8)
            picture[0, 0] = self.time % 256
            return {"picture": picture, "place": place}
        parts = tuple(np.array(self.hidden + i, np.float32) for i in range(self.time % 3))
        return {"place": place, "word": "w" * (int(self.hidden) % 7), "pair": (int(self.hidden), parts)}


def make(**arguments: Any) -> gym.Env[Any, Any]:
    """Return the environment with a spec from which it can be made in other processes."""
    env: gym.Env[Any, Any] = gym.make(EnvSpec("Hidden-v0", "support.hidden:Hidden", kwargs=arguments))
    return env


def leaves(value: Any, name: str) -> list[tuple[str, Any]]:
    """The parts of an observation that are compared, with their names."""
    if isinstance(value, dict):
        return [leaf for key, part in value.items() for leaf in leaves(part, f"{name}/{key}")]
    if isinstance(value, tuple) and name.endswith("pair"):
        return [leaf for key, part in enumerate(value) for leaf in leaves(part, f"{name}/{key}")]
    return [(name, value)]


def is_near(a: Any, b: Any, tolerance: float) -> bool:
    if isinstance(a, tuple):
        return len(a) == len(b) and all(is_near(x, y, tolerance) for x, y in zip(a, b, strict=True))
    if isinstance(a, (str, bool, np.bool_, int, np.integer)):
        return bool(a == b)
    differences = np.abs(np.asarray(a, float) - np.asarray(b, float))
    return bool((differences <= tolerance * (1 + np.abs(a))).all())


def slow_replay(
    env: gym.Env[Any, Any], episode: dict[str, Any], tolerance: float
) -> tuple[int | None, set[str]] | None:
    """The first step at which an episode diverges, None for the reset, and the leaves that differ there.

    Args:
        env: The environment.
        episode: Lists with a value for each step, and the seed.
        tolerance: Absolute and relative together.
    """
    observation, _ = env.reset(seed=episode["seed"])
    last = len(episode["actions"]) - 1
    steps: list[int | None] = [None, *range(last + 1)]
    for step in steps:
        results: dict[str, Any] = {}
        if step is not None:
            observation, *outcome, _ = env.step(episode["actions"][step])
            results = dict(zip(("rewards", "terminations", "truncations"), outcome, strict=True))
            if step == last and episode["truncations"][step] and not episode["terminations"][step]:
                results.pop("truncations")
        recorded = dict(leaves(episode["observations"][0 if step is None else step + 1], "observations"))
        pairs = {name: (recorded[name], value) for name, value in leaves(observation, "observations")}
        pairs |= {name: (episode[name][step], value) for name, value in results.items()}
        differing = {name for name, (a, b) in pairs.items() if not is_near(a, b, tolerance)}
        if differing:
            return step, differing
    return None
