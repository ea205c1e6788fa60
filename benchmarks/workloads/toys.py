"""Environments with negligible cost, so that only recording is measured."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from benchmarks.workloads.data import ACTION, OBSERVATION, STEPS


class Replay(gym.Env[NDArray[Any], Any]):
    """Environment with episodes of 200 steps that returns copies of precomputed rows.

    Args:
        rows: The observations, one after the other; more than an episode has, so that episodes differ.
        observation_space: Where they lie.
        action_space: Of the actions, which change nothing.
    """

    def __init__(
        self, rows: NDArray[Any], observation_space: gym.Space[NDArray[Any]], action_space: gym.Space[Any]
    ) -> None:
        self.observation_space = observation_space
        self.action_space = action_space
        self._rows = rows
        self._place = 0
        self._step = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Start an episode at a row that depends on the number of steps so far."""
        self._step = 0
        return self._next(), {}

    def step(self, action: Any) -> tuple[NDArray[Any], float, bool, bool, dict[str, Any]]:
        """Return the next row, with its number as the reward."""
        self._step += 1
        return self._next(), float(self._step), False, self._step == STEPS, {}

    def _next(self) -> NDArray[Any]:
        self._place = (self._place + 1) % len(self._rows)
        row: NDArray[Any] = self._rows[self._place].copy()
        return row


def vector_env() -> Replay:
    """Create an environment with 39 float64 observations and 28 float32 actions."""
    rows = np.random.default_rng(0).standard_normal((1009, *OBSERVATION.shape))
    return Replay(rows, OBSERVATION, ACTION)


def frames_env() -> Replay:
    """Create an environment with 84x84x3 frames like those of a simulator: a static background and moving objects."""
    rng = np.random.default_rng(0)
    background = (np.indices((84, 84)).sum(0) // 12 * 12).astype(np.uint8)
    frames = np.repeat(background[None, :, :, None], 3, axis=3).repeat(211, axis=0)
    for _ in range(6):
        color, (top, left), (down, right) = rng.integers(0, 256, 3), rng.integers(0, 76, 2), rng.integers(1, 4, 2)
        for time, frame in enumerate(frames):
            y, x = (top + time * down) % 76, (left + time * right) % 76
            frame[y : y + 8, x : x + 8] = color
    return Replay(frames, gym.spaces.Box(0, 255, (84, 84, 3), np.uint8), gym.spaces.Discrete(4))
