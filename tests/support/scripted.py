"""A scripted environment, and functions to run it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces


PLANE = spaces.Box(-100.0, 100.0, (2,), np.float32)


def place(time: int) -> np.ndarray:
    """The observation of a time, unless a script says otherwise."""
    return np.full(2, time, np.float32)


class ScriptedEnv(gym.Env[Any, Any]):
    """Returns what functions of the time say; time 0 is the reset.

    Args:
        observe: The observation of a time.
        inform: The info of a time.
        reward: The reward of a time.
        length: The time at which an episode terminates.
        observation_space: Of the observations, whatever `observe` returns.
        action_space: Of the actions.
    """

    def __init__(
        self,
        observe: Callable[[int], Any] = place,
        *,
        inform: Callable[[int], Any] = lambda time: {},
        reward: Callable[[int], Any] = float,
        length: int = 5,
        observation_space: spaces.Space[Any] = PLANE,
        action_space: spaces.Space[Any] | None = None,
    ) -> None:
        self.observe, self.inform, self.reward, self.length = observe, inform, reward, length
        self.observation_space = observation_space
        self.action_space = spaces.Discrete(3) if action_space is None else action_space
        self.resets: list[dict[str, Any]] = []
        self.time = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
        super().reset(seed=seed)
        self.resets.append({"seed": seed, "options": options})
        self.time = 0
        return self.observe(0), self.inform(0)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, Any]:
        self.time += 1
        over = self.time >= self.length
        return self.observe(self.time), self.reward(self.time), over, False, self.inform(self.time)


def play(env: Any, episodes: int = 1, *, action: Any = 0, steps: int | None = None, **reset: Any) -> None:
    """Play whole episodes, or one of so many steps, always with the same action."""
    for _ in range(episodes):
        env.reset(**reset)
        over, count = False, 0
        while not over and count != steps:
            *_, terminated, truncated, _ = env.step(action)
            over, count = terminated or truncated, count + 1


def collected(
    env: Any = None, episodes: int = 1, *, action: Any = 0, steps: int | None = None, reset: Any = None, **options: Any
) -> Any:
    """A `DataCollector` with these options that has recorded episodes; see `play`."""
    from minari import DataCollector

    collector = DataCollector(ScriptedEnv() if env is None else env, **options)
    play(collector, episodes, action=action, steps=steps, **(reset or {}))
    return collector


def recorded(env: Any = None, episodes: int = 1, *, dataset_id: str = "test/recorded-v0", **options: Any) -> Any:
    """A dataset of what a collector has recorded, loaded again; see `collected`."""
    import minari

    collected(env, episodes, **options).create_dataset(dataset_id)
    return minari.load_dataset(dataset_id)


def seeds(dataset: Any) -> list[Any]:
    """The seeds of all episodes of a dataset, None where there is none."""
    return [metadata.get("seed") for metadata in dataset.storage.get_episode_metadata(range(len(dataset)))]


def buffer_of(length: int = 3, *, start: float = 0.0, **fields: Any) -> Any:
    """An episode of the default spaces as an `EpisodeBuffer`, its observations counting from `start`."""
    from minari.data_collector import EpisodeBuffer

    values: dict[str, Any] = {
        "observations": np.repeat(start + np.arange(length + 1, dtype=np.float32)[:, None], 2, axis=1),
        "actions": np.arange(length) % 3,
        "rewards": [float(step) for step in range(length)],
        "terminations": [step == length - 1 for step in range(length)],
        "truncations": [False] * length,
    }
    return EpisodeBuffer(**(values | fields))


def listing(directory: Path) -> dict[str, bytes | None]:
    """Every file below a directory with its content, and every directory."""
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(directory.rglob("*"))
    }
