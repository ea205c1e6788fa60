"""Operations on large datasets and their peak memory."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import gymnasium as gym
import numpy as np

import minari
from benchmarks.workloads.data import EPISODES, MORE, episodes, store
from benchmarks.workloads.recording import Recording, random_policy
from benchmarks.workloads.workload import Job


#: Steps of an episode of the large datasets, which has 2.15 MB.
LONG, BATCH = 5000, 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """An operation on a large dataset.

    Attributes:
        name: Name of the case.
        title: Title in the table.
        size: Number of episodes of a large dataset, or of steps to record.
        quick: `size` with `--quick`.
        operation: The measured operation; returns the number of bytes it read or wrote.
        make: Creates the datasets it reads, in another process.
        limit: Peak memory in bytes that maintainers accept.
    """

    name: str
    title: str
    size: int
    quick: int
    operation: Callable[[Job], int]
    make: Callable[[Job], None] | None = None
    limit: int = 200_000_000


def peak(case: Case, job: Job) -> dict[str, float]:
    """Return the peak resident memory of the operation in bytes, minus what was resident after the imports."""
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak resident size
    before = _resident("VmRSS")
    through = case.operation(job)
    return {"peak": _resident("VmHWM") - before, "through": through}


def _resident(key: str) -> int:
    status = Path("/proc/self/status").read_text()
    found = re.search(rf"^{key}:\s+(\d+) kB$", status, flags=re.MULTILINE)
    if found is None:
        raise RuntimeError(f"/proc/self/status has no {key}")
    return int(found[1]) * 1024


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
        name=f"record_{steps}", title=f"Record {steps:,} steps of CartPole", size=steps, quick=quick, operation=_record
    )


CASES = (
    Case(name="iterate", title="Iterate over every leaf", size=1000, quick=20, operation=_iterate, make=make_one),
    Case(
        name="split",
        title="Split in two at random and iterate over both parts",
        size=1000,
        quick=20,
        operation=_split,
        make=make_one,
    ),
    Case(
        name="combine_views",
        title="Combine a random half of a dataset into a new one",
        size=1000,
        quick=20,
        operation=_combine_views,
        make=make_one,
    ),
    Case(
        name="combine",
        title="Combine two datasets into a new one",
        size=1000,
        quick=20,
        operation=_combine,
        make=make_halves,
    ),
    _recording(100_000, 1000),
    _recording(1_000_000, 3000),
)
