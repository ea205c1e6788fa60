"""The same episodes in every format and with several compressions: speed and size."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

import minari
from benchmarks.workloads.data import ACTION, AUTHORSHIP, EPISODES, OBSERVATION, episodes
from benchmarks.workloads.toys import frames_env
from benchmarks.workloads.workload import Job, root_at
from minari.data_collector import EpisodeBuffer


WINDOW, WINDOWS = 64, 50  # steps, and how many windows are read
FRAME_STEPS = 160


@dataclass(frozen=True, slots=True)
class Form:
    """A way to store one kind of episodes.

    Attributes:
        kind: Of episodes, a key of `KINDS`.
        data_format: The format.
        compression: As the argument of that name; None for what is usual.
        jpeg: Whether frames are JPEG.
    """

    kind: str
    data_format: str
    compression: str | None = None
    jpeg: bool = False

    @property
    def name(self) -> str:
        """Return the name that is passed to a worker."""
        return "/".join([self.kind, self.data_format, self.compression or "usual", *["jpeg"] * self.jpeg])


@dataclass(frozen=True, slots=True)
class Kind:
    """Episodes to be stored.

    Attributes:
        title: For the table.
        make: That many of them.
        observation_space: Of them.
        action_space: Of them.
        size: How many.
        quick: The same for a try.
    """

    title: str
    make: Callable[[int], list[EpisodeBuffer]]
    observation_space: gym.Space[Any]
    action_space: gym.Space[Any]
    size: int
    quick: int


def _frames(count: int) -> list[EpisodeBuffer]:
    """Episodes of 161 frames each."""
    env = frames_env()
    buffers = []
    for number in range(count):
        frames = [env.reset()[0], *(env.step(0)[0] for _ in range(FRAME_STEPS))]
        steps = np.arange(FRAME_STEPS)
        buffers.append(
            EpisodeBuffer(
                seed=number,
                observations=np.stack(frames),
                actions=steps % 4,
                rewards=steps / 2,
                terminations=steps == FRAME_STEPS - 1,
                truncations=np.zeros(FRAME_STEPS, np.bool_),
                infos={},
            )
        )
    return buffers


KINDS = {
    "numbers": Kind("1,000 episodes of 200 steps, 39 float64 and 28 float32", episodes, OBSERVATION, ACTION, 1000, 20),
    "frames": Kind(
        "20 episodes of 161 frames of 84×84×3, as a simulator draws them",
        _frames,
        gym.spaces.Box(0, 255, (84, 84, 3), np.uint8),
        gym.spaces.Discrete(4),
        20,
        2,
    ),
}

FORMS = (
    *(Form("numbers", data_format) for data_format in ("hdf5", "arrow", "parquet", "zarr")),
    Form("numbers", "hdf5", "gzip"),
    *(Form("numbers", data_format, "zstd") for data_format in ("arrow", "parquet", "zarr")),
    *(Form("frames", data_format) for data_format in ("hdf5", "arrow", "parquet", "zarr")),
    *(Form("frames", data_format, "none") for data_format in ("hdf5", "arrow", "parquet", "zarr")),
    Form("frames", "hdf5", jpeg=True),
)


def measure(form: Form, job: Job) -> dict[str, float]:
    """Return the seconds for writing all episodes, reading all of them and reading a window; and the bytes on disk."""
    kind = KINDS[form.kind]
    buffers = kind.make(job.size)
    with root_at(job.scratch / "rehearsal"):
        _window_of(_store(form, kind, buffers[:2]), np.random.default_rng(0))
    writing, dataset = _clock(lambda: _store(form, kind, buffers))
    dataset = minari.load_dataset(EPISODES)
    first, _ = _clock(lambda: _read(dataset))
    again, total = _clock(lambda: _read(dataset))
    if not form.jpeg and total != sum(int(buffer.observations[..., 0].astype(np.float64).sum()) for buffer in buffers):
        raise RuntimeError(f"{form.name} does not give back what was written")
    rng = np.random.default_rng(1)
    windows, _ = _clock(lambda: [_window_of(dataset, rng) for _ in range(WINDOWS)])
    files = [file for file in (job.scratch / EPISODES).rglob("*") if file.is_file() and file.name != "metadata.json"]
    return {
        "writing": writing,
        "reading": min(first, again),
        "window": windows / WINDOWS,
        "bytes": sum(file.stat().st_size for file in files),
    }


def _store(form: Form, kind: Kind, buffers: list[EpisodeBuffer]) -> minari.MinariDataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return minari.create_dataset_from_buffers(
            EPISODES,
            buffers,
            observation_space=kind.observation_space,
            action_space=kind.action_space,
            data_format=form.data_format,
            compression=form.compression,
            jpeg_encoding=form.jpeg,
            **AUTHORSHIP,
        )


def _read(dataset: minari.MinariDataset) -> int:
    return sum(int(episode.observations[..., 0].astype(np.float64).sum()) for episode in dataset)


def _window_of(dataset: minari.MinariDataset, rng: np.random.Generator) -> Any:
    index = int(rng.integers(len(dataset)))
    length = int(dataset.storage.get_episode_lengths([index])[0])
    start = int(rng.integers(length - WINDOW + 1))
    return dataset.storage.get_window(index, start, start + WINDOW)


def _clock(operation: Callable[[], Any]) -> tuple[float, Any]:
    begin = time.perf_counter()
    result = operation()
    return time.perf_counter() - begin, result
