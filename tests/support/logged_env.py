"""An environment that logs its own episodes: what a recorder inside every sub-environment would see."""

from __future__ import annotations

import copy
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces


class LoggedEnv(gym.Env[Any, Any]):
    """Returns random values of its spaces, ends at random, and logs everything.

    Args:
        observation_space: Of the observations.
        action_space: Of the actions.
        seed: Of the generator, until a reset has one.
        longest: The most steps of an episode.
        ends: The probability that a step terminates the episode.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        seed: int = 0,
        longest: int = 8,
        ends: float = 0.15,
    ) -> None:
        self.observation_space, self.action_space = copy.deepcopy(observation_space), copy.deepcopy(action_space)
        self.rng, self.longest, self.ends = np.random.default_rng(seed), longest, ends
        self.clock = 0  # set by the test
        self.episodes: list[dict[str, Any]] = []

    def _observe(self) -> Any:
        self.observation_space.seed(int(self.rng.integers(2**31)))
        return self.observation_space.sample()

    def _inform(self, is_reset: bool) -> dict[str, Any]:
        rng, info = self.rng, {"always": float(self.rng.random())}
        if is_reset:
            info["at_reset"] = int(rng.integers(9))
        if rng.random() < 0.5:
            info["nested"] = {"vector": rng.random(3), "flag": bool(rng.random() < 0.5)}
        if rng.random() < 0.3:
            info["text"] = "abc"[: rng.integers(1, 4)]
        if rng.random() < 0.2:
            info["_own"] = int(rng.integers(5))  # looks like a mask
        return info

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None:
            self.rng = np.random.default_rng(seed)
        self.cut()
        observation, info = self._observe(), self._inform(is_reset=True)
        self._begin(observation, info, seed=seed, options=options or None)
        return observation, info

    def _begin(self, observation: Any, info: Any, **origin: Any) -> None:
        fields: dict[str, Any] = {name: [] for name in ("actions", "rewards", "terminations", "truncations")}
        self.episodes.append(
            {
                "observations": [copy.deepcopy(observation)],
                "infos": [copy.deepcopy(info)],
                **fields,
                **origin,
                "end": None,
            }
        )

    def cut(self, again: bool = False) -> None:
        """End the running episode, if it has a step; truncated."""
        if self.episodes and self.episodes[-1]["end"] is None:
            last = self.episodes[-1]
            if last["rewards"]:
                last["truncations"][-1], last["end"] = True, self.clock
                if again:
                    self._begin(last["observations"][-1], last["infos"][-1], seed=None, options=None)
            elif not again:
                self.episodes.pop()

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        rng, episode = self.rng, self.episodes[-1]
        observation, info, reward = self._observe(), self._inform(is_reset=False), float(rng.normal())
        terminated = bool(rng.random() < self.ends)
        truncated = bool(rng.random() < self.ends / 2) or len(episode["rewards"]) + 1 >= self.longest
        values = copy.deepcopy((observation, action, reward, terminated, truncated, info))
        names = ("observations", "actions", "rewards", "terminations", "truncations", "infos")
        for name, value in zip(names, values, strict=True):
            episode[name].append(value)
        if terminated or truncated:
            episode["end"] = self.clock
        return observation, reward, terminated, truncated, info
