"""Reading: all episodes, a sample, those that satisfy a condition."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import minari
from benchmarks.workloads.data import EPISODES, STEPS, episodes, leaves, payload
from benchmarks.workloads.workload import Floor, Job, Workload


SAMPLE, CALLS = 32, 20

#: The leaves of an episode.
Columns = tuple[NDArray[Any], ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """A dataset and a buffer array for each leaf.

    Touching a leaf takes its first and its last value, which shows what getting at it costs. Copying a leaf
    touches each of its bytes once, as using it does, and costs what moving them costs; the arrays are small
    enough to stay in the processor's cache, so nothing but the reading is measured. Summing the leaves would
    take longer than reading them, on both sides alike, and hide the reading.
    """

    dataset: minari.MinariDataset
    columns: Columns

    def touch(self) -> None:
        """Read every episode and access both ends of every leaf."""
        for episode in self.dataset:
            for leaf in (
                episode.observations,
                episode.actions,
                episode.rewards,
                episode.terminations,
                episode.truncations,
            ):
                leaf[0], leaf[-1]

    def copy(self) -> None:
        """Read every episode and copy every leaf."""
        observations, actions, rewards, terminations, truncations = self.columns
        for episode in self.dataset:
            np.copyto(observations, episode.observations)
            np.copyto(actions, episode.actions)
            np.copyto(rewards, episode.rewards)
            np.copyto(terminations, episode.terminations)
            np.copyto(truncations, episode.truncations)

    def sum(self) -> float:
        """Return the sum of everything that is read."""
        return sum(float(leaf.sum()) for episode in self.dataset for leaf in leaves(episode))


@dataclass(frozen=True, slots=True)
class Copying:
    """The bytes of episodes in memory and a buffer array."""

    episodes: list[NDArray[np.uint8]]
    destination: NDArray[np.uint8]

    def run(self) -> None:
        """Copy all episodes."""
        for episode in self.episodes:
            np.copyto(self.destination, episode)

    def run_samples(self) -> None:
        """Copy as many episodes as are sampled."""
        for _ in range(CALLS):
            for episode in random.sample(self.episodes, SAMPLE):
                np.copyto(self.destination, episode)


@dataclass(frozen=True, slots=True)
class Choosing:
    """A dataset and the return that selected episodes exceed."""

    dataset: minari.MinariDataset
    threshold: float

    def run(self) -> int:
        """Return the number of steps of the selected episodes."""
        chosen = self.dataset.filter_episodes(lambda episode: bool(episode.rewards.sum() > self.threshold))
        return int(chosen.total_steps)


@dataclass(frozen=True, slots=True)
class Rewards:
    """The rewards of each episode in memory and the return that selected episodes exceed."""

    arrays: list[NDArray[Any]]
    threshold: float

    def run(self) -> int:
        """Return the number of steps of the selected episodes."""
        return sum(len(array) for array in self.arrays if array.sum() > self.threshold)


def copying(job: Job) -> Copying:
    """Create as many episodes in memory as the dataset has."""
    stored = [np.frombuffer(payload([buffer]), np.uint8) for buffer in episodes(job.size)]
    return Copying(stored, np.ones_like(stored[0]))


def reading(job: Job) -> Reading:
    """Load the dataset created for this side."""
    return Reading(job.load(EPISODES), _columns())


def _reading_of_a_copy(job: Job) -> Reading:
    shutil.copytree(job.data, job.scratch, dirs_exist_ok=True)
    return Reading(minari.load_dataset(EPISODES), _columns())


def _columns() -> Columns:
    return tuple(np.ones_like(leaf) for leaf in leaves(episodes(1)[0]))


def _sampling(job: Job) -> minari.MinariDataset:
    dataset = job.load(EPISODES)
    dataset.set_seed(0)
    return dataset


def _sample(dataset: minari.MinariDataset) -> int:
    return sum(len(dataset.sample_episodes(SAMPLE)) for _ in range(CALLS))


def _rewards(job: Job) -> Rewards:
    arrays = [np.asarray(buffer.rewards) for buffer in episodes(job.size)]
    return Rewards(arrays, float(np.median([array.sum() for array in arrays])))


def _choosing(job: Job) -> Choosing:
    return Choosing(job.load(EPISODES), _rewards(job).threshold)


def _open_and_sum(job: Job) -> float:
    return sum(float(episode.observations.sum()) for episode in job.load(EPISODES))


def _observations(job: Job) -> list[NDArray[Any]]:
    return [np.asarray(buffer.observations) for buffer in episodes(job.size)]


def _sum(arrays: list[NDArray[Any]]) -> float:
    return sum(float(array.sum()) for array in arrays)


def _iterating(name: str, title: str, target: float, run: Callable[[Reading], None]) -> Workload:
    return Workload(
        name=name,
        title=title,
        target=target,
        data="episodes",
        setup=reading,
        run=run,
        check=lambda reading, _: reading.sum(),
        warm=True,
        floor=Floor(note=COPY, setup=copying, run=Copying.run, at_most=3),
        size=1000,
        quick=40,
    )


COPY = "copying the same bytes in memory with `numpy.copyto`, one episode at a time"

WORKLOADS = (
    _iterating(
        "iterate", f"Iterate over 1,000 episodes of {STEPS} steps, warm, touching every leaf", 100, Reading.touch
    ),
    _iterating("iterate_copy", "The same, copying every leaf", 1, Reading.copy),
    Workload(
        name="iterate_released",
        title="Copy every leaf of a dataset written by 0.5.4, second pass",
        target=5,
        data="episodes",
        released_data=True,
        setup=_reading_of_a_copy,
        run=Reading.copy,
        check=lambda reading, _: reading.sum(),
        warm=True,
        floor=Floor(note=COPY, setup=copying, run=Copying.run),
        size=1000,
        quick=40,
    ),
    Workload(
        name="open_and_sum",
        title="Open the dataset in a new process and sum all observations",
        target=20,
        data="episodes",
        setup=lambda job: job,
        run=_open_and_sum,
        check=lambda job, total: total,
        floor=Floor(note="summing the same arrays in memory", setup=_observations, run=_sum),
        size=1000,
        quick=40,
    ),
    Workload(
        name="sample_episodes",
        title=f"`sample_episodes({SAMPLE})`",
        target=100,
        data="episodes",
        setup=_sampling,
        run=_sample,
        check=lambda dataset, sampled: sampled,
        warm=True,
        floor=Floor(
            note=f"copying all bytes of {SAMPLE} episodes in memory with `numpy.copyto`",
            setup=copying,
            run=Copying.run_samples,
        ),
        per="call",
        count=lambda job: CALLS,
        size=1000,
        quick=40,
    ),
    Workload(
        name="filter_episodes",
        title="`filter_episodes` on the return, then `total_steps`",
        target=50,
        data="episodes",
        setup=_choosing,
        run=Choosing.run,
        check=lambda choosing, steps: steps,
        warm=True,
        floor=Floor(note="summing the same rewards in memory", setup=_rewards, run=Rewards.run),
        size=1000,
        quick=40,
    ),
)
