"""The hot paths, one by one, for pytest-benchmark: ``pytest -n 0 --benchmark-enable tests/performance``.

In an ordinary run each is called once and only what it gives is looked at; no test asserts a time.
``--benchmark-autosave`` and ``--benchmark-compare`` show what a change did. How the library fares beside
the released one is the affair of ``python -m benchmarks``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from pytest_benchmark.fixture import BenchmarkFixture

import minari
from minari import MinariDataset
from minari.data_collector import EpisodeBuffer
from minari.dataset.minari_storage import MinariStorage
from support.stored import plain_buffer


pytestmark = pytest.mark.filterwarnings("ignore:`:UserWarning")  # about missing metadata

EPISODES, STEPS, SAMPLE = 64, 200, 32
OBSERVATION = spaces.Box(-np.inf, np.inf, (39,), np.float64)
ACTION = spaces.Box(-1, 1, (28,), np.float32)


def episode(seed: int) -> EpisodeBuffer:
    rng = np.random.default_rng(seed)
    actions = rng.uniform(-1, 1, (STEPS, 28)).astype(np.float32)
    return plain_buffer(rng.standard_normal((STEPS + 1, 39)), actions=actions, rewards=rng.random(STEPS), seed=seed)


def store(dataset_id: str, seeds: Iterable[int]) -> MinariDataset:
    return minari.create_dataset_from_buffers(
        dataset_id, map(episode, seeds), observation_space=OBSERVATION, action_space=ACTION
    )


@pytest.fixture
def dataset() -> MinariDataset:
    """Episodes on disk, opened as a program opens them, and read once."""
    store("hot/paths-v0", range(EPISODES))
    opened = minari.load_dataset("hot/paths-v0")
    assert len(list(opened)) == EPISODES
    return opened


class Still(gym.Env[np.ndarray, np.ndarray]):
    """Costs nothing, so that a step is the collector's."""

    observation_space, action_space, observation = OBSERVATION, ACTION, np.arange(39.0)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        return self.observation, {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        return self.observation, 1.0, False, False, {}


def test_recorded_step(benchmark: BenchmarkFixture) -> None:
    collector = minari.DataCollector(Still())
    collector.reset(seed=0)
    action = np.zeros(28, np.float32)
    observation, reward, *_ = benchmark.pedantic(collector.step, (action,), rounds=20, iterations=100)
    assert (observation.tolist(), reward) == (np.arange(39.0).tolist(), 1.0)
    collector.close()


def test_storing_episodes(benchmark: BenchmarkFixture, dataset: MinariDataset) -> None:
    buffers, rounds = [episode(EPISODES + number) for number in range(8)], 10
    benchmark.pedantic(dataset.update_dataset_from_buffer, (buffers,), rounds=rounds)
    assert dataset.total_episodes == EPISODES + len(buffers) * (rounds if benchmark.enabled else 1)
    np.testing.assert_array_equal(dataset[EPISODES + 7].observations, buffers[7].observations)


def test_reading_an_episode(benchmark: BenchmarkFixture, dataset: MinariDataset) -> None:
    read = benchmark.pedantic(dataset.__getitem__, (7,), rounds=20, iterations=20)
    for leaf in ("observations", "actions", "rewards", "truncations"):
        np.testing.assert_array_equal(getattr(read, leaf), getattr(episode(7), leaf))


def test_iterating(benchmark: BenchmarkFixture, dataset: MinariDataset) -> None:
    assert benchmark.pedantic(lambda: [len(each) for each in dataset], rounds=20) == [STEPS] * EPISODES


def test_sampling(benchmark: BenchmarkFixture, dataset: MinariDataset) -> None:
    dataset.set_seed(0)
    sampled = benchmark.pedantic(dataset.sample_episodes, (SAMPLE,), rounds=20)
    assert len({each.id for each in sampled}) == SAMPLE


def test_filtering(benchmark: BenchmarkFixture, dataset: MinariDataset) -> None:
    median = float(np.median([float(np.sum(episode(seed).rewards)) for seed in range(EPISODES)]))

    def steps() -> int:
        return dataset.filter_episodes(lambda each: bool(each.rewards.sum() > median)).total_steps

    assert benchmark.pedantic(steps, rounds=20) == STEPS * EPISODES // 2


def test_listing(benchmark: BenchmarkFixture) -> None:
    ids = [f"hot/path{number}-v0" for number in range(8)]
    for dataset_id in ids:
        store(dataset_id, [0])
    listed = benchmark.pedantic(minari.list_local_datasets, rounds=20)
    assert list(listed) == ids
    assert {metadata["total_steps"] for metadata in listed.values()} == {STEPS}


def test_reading_metadata(benchmark: BenchmarkFixture, dataset: MinariDataset) -> None:
    def read() -> list[dict[str, Any]]:
        return list(MinariStorage.read(dataset.spec.data_path).get_episode_metadata(range(EPISODES)))

    metadatas = benchmark.pedantic(read, rounds=20)
    assert [(each["seed"], each["total_steps"]) for each in metadatas] == [(seed, STEPS) for seed in range(EPISODES)]
