"""Writing: new datasets, appended episodes, and combinations."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import minari
from benchmarks.workloads.data import EPISODES, MORE, STEPS, episodes, payload, store
from benchmarks.workloads.workload import Floor, Job, Workload
from minari.data_collector import EpisodeBuffer


WRITTEN = "writing the same bytes to the same disk in blocks of one megabyte"
_AT_A_TIME = 2**20  # bytes; the system takes larger pieces many times more slowly


@dataclass(frozen=True, slots=True)
class Blob:
    """Bytes to write into a file."""

    data: bytes
    path: Path

    def write(self) -> None:
        """Write all bytes; the operating system may keep them in memory, as for the other workloads."""
        view = memoryview(self.data)
        with self.path.open("wb", buffering=0) as file:
            for start in range(0, len(view), _AT_A_TIME):
                file.write(view[start : start + _AT_A_TIME])


def blob(job: Job, times: int = 1) -> Blob:
    """Return the bytes of as many episodes."""
    return Blob(payload(episodes(job.size)) * times, job.scratch / "floor.bin")


def _append_setup(job: Job) -> tuple[minari.MinariDataset, list[EpisodeBuffer]]:
    shutil.copytree(job.data, job.scratch, dirs_exist_ok=True)
    os.sync()  # or whoever flushes a file first pays for the copy
    return minari.load_dataset(EPISODES), episodes(job.size, seed=2)


def _append_run(state: tuple[minari.MinariDataset, list[EpisodeBuffer]]) -> minari.MinariDataset:
    dataset, buffers = state
    dataset.update_dataset_from_buffer(buffers)
    return dataset


def _combine_setup(job: Job) -> list[minari.MinariDataset]:
    (job.scratch / "bench").mkdir()  # the released package does not make the directory of the namespace here
    return [job.load(EPISODES), job.load(MORE)]


def last_sum(state: Any, dataset: minari.MinariDataset) -> float:
    """Return the steps and the sum of the last episode, to verify that everything was written."""
    last = dataset[dataset.total_episodes - 1]
    return float(dataset.total_steps + last.observations.sum())


WORKLOADS = (
    Workload(
        name="write_hdf5",
        title=f"Write 1,000 episodes of {STEPS} steps (87 MB), HDF5",
        target=10,
        setup=lambda job: episodes(job.size),
        run=lambda buffers: store(EPISODES, buffers),
        check=last_sum,
        floor=Floor(note=WRITTEN, setup=blob, run=Blob.write),
        size=1000,
        quick=20,
        written=EPISODES,
    ),
    Workload(
        name="append_hdf5",
        title="Append 200 such episodes to such a dataset",
        target=10,
        data="episodes",
        setup=_append_setup,
        run=_append_run,
        check=last_sum,
        floor=Floor(note=WRITTEN, setup=blob, run=Blob.write),
        size=200,
        quick=5,
    ),
    Workload(
        name="combine",
        title="Combine two such datasets",
        target=30,
        data="two",
        setup=_combine_setup,
        run=lambda datasets: minari.combine_datasets(datasets, "bench/combined-v0"),
        check=last_sum,
        floor=Floor(note=WRITTEN, setup=lambda job: blob(job, times=2), run=Blob.write),
        written="bench/combined-v0",
        size=1000,
        quick=40,
    ),
)
