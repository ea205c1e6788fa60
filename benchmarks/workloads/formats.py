"""Arrow and Parquet: the same episodes as for HDF5, with a directory for each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import minari
from benchmarks.workloads.data import EPISODES, STEPS, episodes, payload, store
from benchmarks.workloads.reading import COPY, Copying, Reading, copying, reading
from benchmarks.workloads.workload import Floor, Job, Workload, root_at
from benchmarks.workloads.writing import last_sum
from minari.data_collector import EpisodeBuffer


@dataclass(frozen=True, slots=True)
class Directories:
    """Bytes to write into one directory per episode."""

    data: bytes
    count: int
    path: Path

    def write(self) -> None:
        """Write an equal share of the bytes for each episode, and 300 bytes of metadata."""
        self.path.mkdir()
        share = len(self.data) // self.count
        for number in range(self.count):
            directory = self.path / str(number)
            directory.mkdir()
            (directory / "part-0").write_bytes(self.data[number * share : (number + 1) * share])
            (directory / "metadata.json").write_bytes(self.data[:300])


def _writing(data_format: str, size: int, target: float, repeats: int | None = None) -> Workload:
    def setup(job: Job) -> list[EpisodeBuffer]:
        with root_at(job.scratch / data_format):  # of this format, which is imported when it is first used
            store(EPISODES, episodes(3), data_format)
        return episodes(job.size)

    def run(buffers: list[EpisodeBuffer]) -> minari.MinariDataset:
        return store(EPISODES, buffers, data_format)

    return Workload(
        name=f"write_{data_format}_{size}",
        title=f"Write {size:,} episodes of {STEPS} steps, {data_format.capitalize()}",
        target=target,
        setup=setup,
        run=run,
        check=last_sum,
        floor=Floor(
            note="creating as many directories, each with a file of the same size and a small one, without flushing",
            setup=lambda job: Directories(payload(episodes(job.size)), job.size, job.scratch / "floor"),
            run=Directories.write,
        ),
        size=size,
        quick=20,
        repeats=repeats,
        written=EPISODES,
    )


def _iterating(data_format: str, target: float) -> Workload:
    return Workload(
        name=f"iterate_{data_format}",
        title=f"Iterate over 300 such episodes, warm, touching every leaf, {data_format.capitalize()}",
        target=target,
        data=data_format,
        setup=reading,
        run=Reading.touch,
        check=lambda reading, _: reading.sum(),
        warm=True,
        floor=Floor(note=COPY, setup=copying, run=Copying.run),
        size=300,
        quick=40,
    )


WORKLOADS = (
    _writing("arrow", 100, 20),
    _writing("arrow", 1000, 200, repeats=1),
    _writing("parquet", 100, 20),
    _writing("parquet", 1000, 200, repeats=1),
    _iterating("arrow", 20),
    _iterating("parquet", 2),
)
