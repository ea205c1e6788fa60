"""The hot paths, one by one, for pytest-benchmark: ``pytest -n 0 --benchmark-enable tests/performance``.

In an ordinary run each is called once and only what it gives is looked at; no test asserts a time.
``--benchmark-autosave`` and ``--benchmark-compare`` show what a change did. How the library fares beside
the released one is the affair of ``python -m benchmarks``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from pytest_benchmark.fixture import BenchmarkFixture

import minari
from minari import MinariDataset
from minari.data_collector import EpisodeBuffer


# What a dataset should say of itself does not matter here.
pytestmark = pytest.mark.filterwarnings("ignore:`:UserWarning")

EPISODES, STEPS, SAMPLE = 64, 200, 32
OBSERVATION = spaces.Box(-np.inf, np.inf, (39,), np.float64)
ACTION = spaces.Box(-1, 1, (28,), np.float32)
ID = "hot/paths-v0"


def episode(seed: int) -> EpisodeBuffer:
    rng = np.random.default_rng(seed)
    last = np.arange(STEPS) == STEPS - 1
    return EpisodeBuffer(
        seed=seed,
        observations=rng.standard_normal((STEPS + 1, 39)),
        actions=rng.uniform(-1, 1, (STEPS, 28)).astype(np.float32),
        rewards=rng.random(STEPS),
        terminations=np.zeros_like(last),
        truncations=last,
        infos={},
    )


def store(dataset_id: str, buffers: list[EpisodeBuffer]) -> MinariDataset:
    return minari.create_dataset_from_buffers(
        dataset_id,
        buffers,
        observation_space=OBSERVATION,
        action_space=ACTION,
    )


@pytest.fixture
def dataset() -> MinariDataset:
    """Episodes on disk, opened as a program opens them, and read once."""
    store(ID, [episode(seed) for seed in range(EPISODES)])
    opened = minari.load_dataset(ID)
    assert len(list(opened)) == EPISODES
    return opened


class Still(gym.Env[np.ndarray, np.ndarray]):
    """Costs nothing, so that a step is the collector's."""

    observation_space, action_space = OBSERVATION, ACTION

    def __init__(self) -> None:
        self.observation = np.arange(39.0)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        return self.observation, {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        return self.observation, 1.0, False, False, {}


def test_a_recorded_step(benchmark: BenchmarkFixture) -> None:
    collector = minari.DataCollector(Still())
    action = np.zeros(28, np.float32)
    collector.reset(seed=0)
    observation, reward, *_ = benchmark.pedantic(collector.step, (action,), rounds=20, iterations=100)
    assert (observation.tolist(), reward) == (np.arange(39.0).tolist(), 1.0)
    collector.close()


def test_storing_episodes(benchmark: BenchmarkFixture, dataset: MinariDataset) -> None:
    buffers = [episode(EPISODES + number) for number in range(8)]
    rounds = 10
    benchmark.pedantic(dataset.update_dataset_from_buffer, (buffers,), rounds=rounds)
    assert dataset.total_episodes == EPISODES + len(buffers) * (rounds if benchmark.enabled else 1)
    np.testing.assert_array_equal(dataset[EPISODES + 7].observations, buffers[7].observations)


def test_reading_an_episode(benchmark: BenchmarkFixture, dataset: MinariDataset) -> None:
    read = benchmark.pedantic(dataset.__getitem__, (7,), rounds=20, iterations=20)
    for leaf in ("observations", "actions", "rewards", "truncations"):
        np.testing.assert_array_equal(getattr(read, leaf), getattr(episode(7), leaf))


def test_iterating(benchmark: BenchmarkFixture, dataset: MinariDataset) -> None:
    read = benchmark.pedantic(lambda: [len(each) for each in dataset], rounds=20)
    assert read == [STEPS] * EPISODES


def test_sampling(benchmark: BenchmarkFixture, dataset: MinariDataset) -> None:
    dataset.set_seed(0)
    sampled = benchmark.pedantic(dataset.sample_episodes, (SAMPLE,), rounds=20)
    assert len({each.id for each in sampled}) == SAMPLE


def test_filtering(benchmark: BenchmarkFixture, dataset: MinariDataset) -> None:
    returns = [float(np.sum(episode(seed).rewards)) for seed in range(EPISODES)]
    median = float(np.median(returns))
    steps = benchmark.pedantic(
        lambda: dataset.filter_episodes(lambda each: bool(each.rewards.sum() > median)).total_steps, rounds=20
    )
    assert steps == STEPS * EPISODES // 2


def test_listing(benchmark: BenchmarkFixture) -> None:
    ids = [f"hot/path{number}-v0" for number in range(8)]
    for dataset_id in ids:
        store(dataset_id, [episode(0)])
    listed = benchmark.pedantic(minari.list_local_datasets, rounds=20)
    assert list(listed) == ids
    assert {metadata["total_steps"] for metadata in listed.values()} == {STEPS}


def test_reading_metadata(benchmark: BenchmarkFixture, dataset: MinariDataset) -> None:
    def read() -> list[dict[str, Any]]:
        storage = minari._storages.base.MinariStorage.read(Path(dataset.spec.data_path))
        return list(storage.get_episode_metadata(range(EPISODES)))

    metadatas = benchmark.pedantic(read, rounds=20)
    assert [(each["seed"], each["total_steps"]) for each in metadatas] == [(seed, STEPS) for seed in range(EPISODES)]
