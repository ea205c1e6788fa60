"""A deterministic toy environment for any pair of spaces, and a wrapper that keeps what it returned."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec

from support.values import stack_steps


def draw(space: spaces.Space[Any], rng: np.random.Generator) -> Any:
    """Draw a value of a space from `rng` alone, bounds included, so that two processes draw the same."""
    if isinstance(space, spaces.Dict):
        return {key: draw(part, rng) for key, part in space.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(draw(part, rng) for part in space)
    if isinstance(space, spaces.Text):
        letters = sorted(space.character_set)
        length = int(rng.integers(space.min_length, space.max_length + 1))
        return "".join(letters[place] for place in rng.integers(0, len(letters), length))
    if isinstance(space, spaces.Discrete):
        return space.dtype.type(int(space.start) + int(rng.integers(0, int(space.n))))
    if isinstance(space, spaces.MultiDiscrete):
        return (space.start + rng.integers(0, space.nvec)).astype(space.dtype)
    if isinstance(space, spaces.MultiBinary):
        return rng.integers(0, 2, space.shape).astype(space.dtype)
    if isinstance(space, spaces.Box):
        return _draw_box(space, rng)
    raise TypeError(f"the toy environment draws no values of {space}")


def _draw_box(space: spaces.Box, rng: np.random.Generator) -> np.ndarray:
    """Elements between the bounds, every fourth one the lower or the upper bound itself."""
    low, high = (np.broadcast_to(bound, space.shape) for bound in (space.low, space.high))
    if space.dtype.kind == "f":
        # Unbounded elements stay within a hundred; the bounds themselves still come up as infinities.
        inside = rng.uniform(np.clip(low, -100, 100), np.clip(high, -100, 100))
    elif space.dtype.kind == "b":
        inside = rng.integers(0, 2, space.shape)
    else:
        inside = rng.integers(low, high, dtype=space.dtype, endpoint=True)
    choice = rng.integers(0, 8, space.shape)
    return np.asarray(np.where(choice == 0, low, np.where(choice == 1, high, inside)), space.dtype)


class ToyEnv(gym.Env[Any, Any]):
    """Episodes of a fixed length with values of any spaces, all decided by the seed of the reset.

    Args:
        observation_space: Where the observations come from.
        action_space: Which actions it takes; it does not look at them.
        episode_length: Steps of an episode.
        infos: Whether the infos hold arrays, nested values and texts, or nothing.
        truncate: Whether episodes end truncated, not terminated.
        smooth_images: Draw image leaves as smooth gradients, which JPEG hardly changes.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        episode_length: int = 4,
        *,
        infos: bool = False,
        truncate: bool = False,
        smooth_images: bool = False,
    ) -> None:
        self.observation_space = observation_space
        self.action_space = action_space
        self.episode_length = episode_length
        self.infos = infos
        self.truncate = truncate
        self.smooth_images = smooth_images
        self._rng = np.random.default_rng(0)
        self._time = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None:
            self._rng = np.random.default_rng(seed)
        self._time = 0
        return self._observe(), self._info()

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._time += 1
        done = self._time >= self.episode_length
        reward = float(self._rng.normal())
        return self._observe(), reward, done and not self.truncate, done and self.truncate, self._info()

    def _observe(self) -> Any:
        if self.smooth_images and isinstance(self.observation_space, spaces.Box):
            return gradient(self.observation_space.shape, int(self._rng.integers(0, 256)))
        return draw(self.observation_space, self._rng)

    def _info(self) -> dict[str, Any]:
        if not self.infos:
            return {}
        return {
            "tick": np.array([self._time, -self._time], np.float32),
            "nested": {"count": np.int64(self._time), "deep": {"flag": bool(self._time % 2)}},
        }


def gradient(shape: tuple[int, ...], phase: int) -> np.ndarray:
    """A picture whose brightness runs smoothly over it, another one for each phase and for each color."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    ramp = (rows / shape[0] + columns / shape[1]) / 2
    colors = [np.abs((ramp + phase / 256 + color / 3) % 2 - 1) for color in range(shape[2] if shape[2:] else 1)]
    picture = np.stack(colors, -1) if shape[2:] else colors[0]
    return (picture * 255).astype(np.uint8)


class Witness(gym.Wrapper[Any, Any, Any, Any]):
    """Keeps every value that passes between an environment and its collector, episode by episode.

    It is no part of the environment's spec: a dataset recorded through it names the environment alone.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        self.episodes: list[dict[str, Any]] = []

    @property
    def spec(self) -> EnvSpec | None:
        return self.env.spec

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        observation, info = self.env.reset(seed=seed, options=options)
        fields: dict[str, Any] = {field: [] for field in ("actions", "rewards", "terminations", "truncations")}
        self.episodes.append({"seed": seed, "observations": [observation], **fields, "infos": [info]})
        return observation, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        episode = self.episodes[-1]
        for field, value in zip(
            ("observations", "actions", "rewards", "terminations", "truncations", "infos"),
            (observation, action, reward, terminated, truncated, info),
            strict=True,
        ):
            episode[field].append(value)
        return observation, reward, terminated, truncated, info

    def columns(self) -> list[dict[str, Any]]:
        """The episodes so far, each as nested columns with time first, and with its seed."""
        return [
            {field: value if field == "seed" else stack_steps(value) for field, value in episode.items()}
            for episode in self.episodes
        ]
