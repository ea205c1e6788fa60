"""Data that both sides store: episodes of a robot-like task, generated from a seed."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

import minari
from benchmarks.workloads.workload import Data, Job, root_at
from minari.data_collector import EpisodeBuffer


STEPS = 200
OBSERVATION = gym.spaces.Box(-np.inf, np.inf, (39,), np.float64)
ACTION = gym.spaces.Box(-1, 1, (28,), np.float32)

#: Filled in so that the released package does not warn of what is missing.
AUTHORSHIP: dict[str, Any] = {
    "algorithm_name": "random",
    "author": "Ada",
    "author_email": "ada@example.org",
    "code_permalink": "https://example.org/code",
    "description": "Made for a benchmark.",
}

#: File systems allow so many links to a file, and ext4 no more than 65,000.
LINKS = 10_000

EPISODES, MORE, TINY = "bench/episodes-v0", "bench/more-v0", "many/tiny-v0"


def episodes(count: int, seed: int = 0, steps: int = STEPS) -> list[EpisodeBuffer]:
    """Return episodes with 39 float64 observations and 28 float32 actions per step: 87 KB each for 200 steps."""
    rng = np.random.default_rng(seed)
    return [_episode(rng, number, steps) for number in range(count)]


def _episode(rng: np.random.Generator, number: int, steps: int) -> EpisodeBuffer:
    last = np.zeros(steps, np.bool_)
    last[-1] = True
    return EpisodeBuffer(
        seed=number,
        observations=rng.standard_normal((steps + 1, *OBSERVATION.shape)),
        actions=rng.uniform(-1, 1, (steps, *ACTION.shape)).astype(np.float32),
        rewards=rng.random(steps),
        terminations=np.zeros(steps, np.bool_),
        truncations=last,
        infos={},
    )


def leaves(episode: Any) -> tuple[NDArray[Any], ...]:
    """Return the arrays of an episode."""
    return (episode.observations, episode.actions, episode.rewards, episode.terminations, episode.truncations)


def payload(buffers: Iterable[EpisodeBuffer]) -> bytes:
    """Return the concatenated bytes of the arrays of episodes."""
    return b"".join(leaf.tobytes() for buffer in buffers for leaf in leaves(buffer))


def store(dataset_id: str, buffers: list[EpisodeBuffer], data_format: str = "hdf5") -> minari.MinariDataset:
    """Create a dataset of episodes, without an environment."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return minari.create_dataset_from_buffers(
            dataset_id,
            buffers,
            observation_space=OBSERVATION,
            action_space=ACTION,
            data_format=data_format,
            jpeg_encoding=False,
            **AUTHORSHIP,
        )


def metadata_files(root: Path) -> list[Path]:
    """Return the metadata files of all datasets below a root."""
    return sorted(root.rglob("data/metadata.json"))


def _make_episodes(job: Job) -> None:
    store(EPISODES, episodes(job.size))


def _make_in(data_format: str, job: Job) -> None:
    store(EPISODES, episodes(job.size), data_format)


def _make_two(job: Job) -> None:
    store(EPISODES, episodes(job.size))
    store(MORE, episodes(job.size, seed=1))


def make_many(job: Job) -> None:
    """Create many tiny datasets: one is written, the others are copies of its files under their own ids."""
    with root_at(job.scratch / "first"):
        store(TINY, episodes(1, steps=2))
    first = job.scratch / "first" / TINY / "data"
    metadata = json.loads((first / "metadata.json").read_text(encoding="utf-8"))
    others = [file for file in first.iterdir() if file.name != "metadata.json"]
    source = first
    for number in range(job.size):
        dataset_id = f"many/tiny{number:06}-v0"
        directory = job.scratch / dataset_id / "data"
        directory.mkdir(parents=True)
        text = json.dumps({**metadata, "dataset_id": dataset_id})
        (directory / "metadata.json").write_text(text, encoding="utf-8")
        if number % LINKS == 0:
            for file in others:
                shutil.copy(file, directory)
            source = directory
            continue
        for file in others:
            # Listing does not open the episodes: a link saves the disk what would be the same bytes.
            (directory / file.name).hardlink_to(source / file.name)
    namespace = job.scratch / "first" / "many" / "namespace_metadata.json"
    if namespace.exists():
        shutil.copy(namespace, job.scratch / "many")
    shutil.rmtree(job.scratch / "first")


DATA = (
    Data(name="episodes", make=_make_episodes, size=1000, quick=40),
    Data(name="two", make=_make_two, size=1000, quick=40),
    Data(name="arrow", make=lambda job: _make_in("arrow", job), size=300, quick=40),
    Data(name="parquet", make=lambda job: _make_in("parquet", job), size=300, quick=40),
    Data(name="many_200", make=make_many, size=200, quick=5),
    Data(name="many_5000", make=make_many, size=5000, quick=20),
)
