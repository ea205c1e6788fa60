"""Operations on large datasets and their peak memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import gymnasium as gym
import numpy as np

import minari
from benchmarks.workloads.data import EPISODES, MORE, episodes, store
from benchmarks.workloads.drawing import (
    Measured,
    anonymous,
    draw_epoch,
    draw_in_workers,
    draw_with_minari,
    draw_with_numpy,
    make_frames,
    memory_of,
)
from benchmarks.workloads.recording import Recording, random_policy
from benchmarks.workloads.workload import Job


#: Steps of an episode of the large datasets, which has 2.15 MB.
LONG, BATCH = 5000, 20

#: Episodes of frames, 4.25 MB each.
FRAMES = 250


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """An operation on a large dataset.

    Attributes:
        name: Name of the case.
        title: Title in the table.
        size: Number of episodes of a large dataset, or of steps to record.
        quick: `size` with `--quick`.
        operation: The measured operation; returns its peak memory and the number of bytes it read or wrote.
        make: Creates the datasets it reads, in another process.
        limit: Peak memory in bytes that maintainers accept.
    """

    name: str
    title: str
    size: int
    quick: int
    operation: Callable[[Job], Measured]
    make: Callable[[Job], None] | None = None
    limit: int = 200_000_000


def peak(case: Case, job: Job) -> dict[str, int]:
    """Return the peak memory of the operation in bytes, and the bytes that it read or wrote."""
    most, through = case.operation(job)
    return {"peak": most, "through": through}


def resident(operation: Callable[[Job], int]) -> Callable[[Job], Measured]:
    """Return the operation with its peak resident memory, minus what was resident after the imports."""

    def measured(job: Job) -> Measured:
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak
        before = memory_of("status", "VmRSS")
        through = operation(job)
        return memory_of("status", "VmHWM") - before, through

    return measured


def make_one(job: Job) -> None:
    """Create a dataset of `job.size` large episodes, written a few at a time."""
    _fill(EPISODES, job.size)


def make_halves(job: Job) -> None:
    """Create two datasets, each with half as many episodes."""
    _fill(EPISODES, job.size // 2)
    _fill(MORE, job.size // 2)


def _fill(dataset_id: str, size: int) -> None:
    batch = min(BATCH, size)
    dataset = store(dataset_id, episodes(batch, steps=LONG))
    for done in range(batch, size, batch):
        dataset.update_dataset_from_buffer(episodes(min(batch, size - done), seed=done, steps=LONG))


def _read(dataset: minari.MinariDataset) -> int:
    """Return the bytes of all leaves."""
    through = 0
    for episode in dataset:
        for leaf in (episode.observations, episode.actions, episode.rewards, episode.truncations):
            np.add.reduce(leaf, axis=None)
            through += leaf.nbytes
        np.add.reduce(episode.terminations)
        through += episode.terminations.nbytes
    return through


def _iterate(job: Job) -> int:
    return _read(job.load(EPISODES))


def _combine(job: Job) -> int:
    (job.scratch / "bench").mkdir()
    combined = minari.combine_datasets([job.load(EPISODES), job.load(MORE)], "bench/combined-v0")
    return _stored(job.scratch, combined)


def _split(job: Job) -> int:
    dataset = job.load(EPISODES)
    half = len(dataset) // 2
    return sum(_read(part) for part in minari.split_dataset(dataset, [half, len(dataset) - half], seed=0))


def _combine_views(job: Job) -> int:
    (job.scratch / "bench").mkdir()
    dataset = job.load(EPISODES)
    part, _ = minari.split_dataset(dataset, [len(dataset) // 2, len(dataset) - len(dataset) // 2], seed=0)
    return _stored(job.scratch, minari.combine_datasets([part], "bench/combined-v0"))


def _record(job: Job) -> int:
    dataset = Recording(gym.make("CartPole-v1"), random_policy, job.size).record()
    return _stored(job.scratch, dataset)


def _stored(root: Path, dataset: minari.MinariDataset) -> int:
    return sum(file.stat().st_size for file in (root / dataset.id).rglob("*") if file.is_file())


def _recording(steps: int, quick: int) -> Case:
    return Case(
        name=f"record_{steps}",
        title=f"Record {steps:,} steps of CartPole",
        size=steps,
        quick=quick,
        operation=resident(_record),
    )


def _drawing(name: str, title: str, operation: Callable[[Job], Measured], limit: int = 200_000_000) -> Case:
    return Case(name=name, title=title, size=FRAMES, quick=4, operation=operation, make=make_frames, limit=limit)


CASES = (
    Case(
        name="iterate",
        title="Iterate over every leaf",
        size=1000,
        quick=20,
        operation=resident(_iterate),
        make=make_one,
    ),
    Case(
        name="split",
        title="Split in two at random and iterate over both parts",
        size=1000,
        quick=20,
        operation=resident(_split),
        make=make_one,
    ),
    Case(
        name="combine_views",
        title="Combine a random half of a dataset into a new one",
        size=1000,
        quick=20,
        operation=resident(_combine_views),
        make=make_one,
    ),
    Case(
        name="combine",
        title="Combine two datasets into a new one",
        size=1000,
        quick=20,
        operation=resident(_combine),
        make=make_halves,
    ),
    _recording(100_000, 1000),
    _recording(1_000_000, 3000),
    _drawing("draw", "Draw an epoch of 50,000 frames", anonymous(draw_epoch("plain"))),
    _drawing("draw_compressed", "Draw an epoch of compressed frames", anonymous(draw_epoch("compressed"))),
    _drawing(
        "draw_blocks",
        "Draw an epoch of compressed frames in blocks",
        anonymous(draw_epoch("compressed", order="blocks")),
        limit=400_000_000,
    ),
    _drawing(
        "draw_cached",
        "Draw an epoch of compressed frames with a cache of 64 MB",
        anonymous(draw_epoch("compressed", cache="memory", cache_bytes=64_000_000)),
    ),
    _drawing(
        "workers",
        "Draw 20 batches in each of eight forked processes",
        draw_in_workers(partial(draw_with_minari, name="plain", prefetch=0)),
        limit=300_000_000,
    ),
    _drawing("workers_numpy", "The same with mapped arrays of NumPy", draw_in_workers(draw_with_numpy), limit=10**9),
)
