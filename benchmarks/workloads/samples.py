"""Episodes to sample from, as datasets and as arrays for other libraries."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

import minari
from benchmarks.workloads.data import AUTHORSHIP
from minari.data_collector import EpisodeBuffer


STEPS = 200


def make_samples(directory: Path, kind: str, episodes: int) -> None:
    """Write the same episodes as arrays and as datasets: frames also compressed, vectors also in other formats."""
    os.environ["MINARI_DATASETS_PATH"] = str(directory)
    rng = np.random.default_rng(0)
    make = _vectors if kind == "vectors" else _frames
    observations, actions = make(rng, episodes)
    rewards = rng.random((episodes, STEPS))
    for name, values in (("observations", observations), ("actions", actions), ("rewards", rewards)):
        np.save(directory / f"{name}.npy", values)
    spaces: dict[str, Any] = {
        "observation_space": gym.spaces.Box(0, 255, (84, 84, 3), np.uint8)
        if kind == "frames"
        else gym.spaces.Box(-np.inf, np.inf, (39,), np.float64),
        "action_space": gym.spaces.Discrete(4) if kind == "frames" else gym.spaces.Box(-1, 1, (28,), np.float32),
    }
    made: dict[str, dict[str, Any]] = {"plain": {"compression": "none"}}
    if kind == "frames":
        made["compressed"] = {}
    else:
        made |= {name: {"data_format": name} for name in ("arrow", "parquet", "zarr")}
    for name, options in made.items():
        buffers = (
            EpisodeBuffer(
                observations=observations[number],
                actions=actions[number],
                rewards=rewards[number],
                terminations=np.arange(STEPS) == STEPS - 1,
                truncations=np.zeros(STEPS, bool),
            )
            for number in range(episodes)
        )
        minari.create_dataset_from_buffers(f"samples/{name}-v0", list(buffers), **options, **spaces, **AUTHORSHIP)


def _vectors(rng: np.random.Generator, episodes: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    observations = rng.standard_normal((episodes, STEPS + 1, 39))
    return observations, rng.uniform(-1, 1, (episodes, STEPS, 28)).astype(np.float32)


def _frames(rng: np.random.Generator, episodes: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return squares that move over still backgrounds."""
    frames = np.empty((episodes, STEPS + 1, 84, 84, 3), np.uint8)
    for episode in frames:
        episode[:] = rng.integers(0, 255, (12, 12, 3), np.uint8).repeat(7, 0).repeat(7, 1)
        x, y = rng.integers(0, 70, 2)
        for step, frame in enumerate(episode):
            left, top = (x + 2 * step) % 70, (y + step) % 70
            frame[top : top + 14, left : left + 14] = rng.integers(0, 255, 3, np.uint8)
    return frames, rng.integers(0, 4, (episodes, STEPS))
