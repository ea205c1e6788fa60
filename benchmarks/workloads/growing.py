"""Cost of an episode, or of a listed dataset, when there are many of them."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np

import minari
from benchmarks.workloads.data import AUTHORSHIP, make_many
from benchmarks.workloads.rehearsal import rehearse
from benchmarks.workloads.workload import Job, root_at
from minari.data_collector import EpisodeBuffer


STEPS, MORE, SAMPLE, CALLS = 20, 200, 32, 20
DATASET = "bench/short-v0"


def least(operation: Callable[[], Any], repeat: int) -> float:
    """Return the time of the fastest of several calls, in seconds."""
    return min(_seconds(operation) for _ in range(repeat))


def _seconds(operation: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    operation()
    return time.perf_counter() - begin


def short_episodes(count: int) -> list[EpisodeBuffer]:
    """Yield episodes of 20 steps like those of CartPole, cycling through a thousand different ones."""
    rng = np.random.default_rng(0)
    last = np.zeros(STEPS, np.bool_)
    last[-1] = True
    different: list[dict[str, Any]] = [
        {
            "observations": rng.standard_normal((STEPS + 1, 4), np.float32),
            "actions": rng.integers(0, 2, STEPS),
            "rewards": np.ones(STEPS),
            "terminations": last,
            "truncations": np.zeros(STEPS, np.bool_),
        }
        for _ in range(min(count, 1000))
    ]
    return [EpisodeBuffer(seed=place, infos={}, **different[place % len(different)]) for place in range(count)]


def _store(buffers: list[EpisodeBuffer]) -> minari.MinariDataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return minari.create_dataset_from_buffers(
            DATASET,
            buffers,
            observation_space=gym.spaces.Box(-np.inf, np.inf, (4,), np.float32),
            action_space=gym.spaces.Discrete(2),
            data_format="hdf5",
            **AUTHORSHIP,
        )


def grow_episodes(job: Job) -> dict[str, float]:
    """Return the seconds per episode for writing, sampling and appending with a dataset of `job.size` episodes."""
    rehearse(job.scratch / "rehearsal")
    buffers = short_episodes(job.size)
    writing = _seconds(lambda: _store(buffers)) / job.size
    dataset = minari.load_dataset(DATASET)
    dataset.sample_episodes(SAMPLE)
    sampling = least(lambda: dataset.sample_episodes(SAMPLE), CALLS) / SAMPLE
    more = buffers[:MORE]
    appending = least(lambda: dataset.update_dataset_from_buffer(more), 5) / len(more)
    if dataset.total_episodes != job.size + 5 * len(more):
        raise RuntimeError(f"{dataset.total_episodes} episodes are there, expected {job.size + 5 * len(more)}")
    return {"writing": writing, "appending": appending, "sampling": sampling}


def grow_datasets(job: Job) -> dict[str, float]:
    """Return the seconds per dataset for listing `job.size` datasets."""
    make_many(job)
    with root_at(job.scratch):
        found = len(minari.list_local_datasets())
        listing = least(minari.list_local_datasets, 5) / job.size
    if found != job.size:
        raise RuntimeError(f"{found} datasets are listed, expected {job.size}")
    return {"listing": listing}


GROWTH = {"episodes": grow_episodes, "datasets": grow_datasets}
