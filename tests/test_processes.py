"""Datasets across processes and threads: pools, forked and spawned workers, pickles, writers beside readers."""

from __future__ import annotations

import multiprocessing
import pickle
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.context import BaseContext

import gymnasium as gym
import numpy as np
import pytest

import minari
from minari.data_collector import EpisodeBuffer


EPISODES = 40
METHODS = [method for method in ("fork", "spawn", "forkserver") if method in multiprocessing.get_all_start_methods()]


def episode(number: int) -> EpisodeBuffer:
    """An episode whose every number tells which one it is; text is read through HDF5, arrays are not."""
    steps = 3 + number % 4
    return EpisodeBuffer(
        seed=number,
        observations={"x": np.full((steps + 1, 2), number, np.float32), "t": [str(number)] * (steps + 1)},
        actions=np.zeros(steps, np.int64),
        rewards=np.full(steps, float(number)),
        terminations=np.zeros(steps, np.bool_),
        truncations=np.zeros(steps, np.bool_),
    )


@pytest.fixture
def dataset() -> minari.MinariDataset:
    return minari.create_dataset_from_buffers(
        "shared/numbers-v0",
        [episode(number) for number in range(EPISODES)],
        observation_space=gym.spaces.Dict({"x": gym.spaces.Box(0, 1e6, (2,)), "t": gym.spaces.Text(6)}),
        action_space=gym.spaces.Discrete(2),
        author="A",
        author_email="B",
        algorithm_name="C",
        code_permalink="D",
        description="E",
        eval_env="CartPole-v1",
    )


def numbers(data: minari.EpisodeData) -> tuple[int, float, str, float]:
    return data.id, float(data.observations["x"].max()), data.observations["t"][0], float(data.rewards.max())


def read_item(job: tuple[minari.MinariDataset, int]) -> tuple[int, float, str, float]:
    whole, position = job
    return numbers(whole[position])


def read_all(whole: minari.MinariDataset) -> list[tuple[int, float, str, float]]:
    return [numbers(data) for data in whole]


def expected(ids: list[int]) -> list[tuple[int, float, str, float]]:
    return [(number, float(number), str(number), float(number)) for number in ids]


@pytest.fixture(params=METHODS)
def context(request: pytest.FixtureRequest) -> Iterator[BaseContext]:
    yield multiprocessing.get_context(request.param)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
class TestWorkers:
    def test_a_pool_reads_single_episodes(self, dataset: minari.MinariDataset, context: BaseContext) -> None:
        dataset[0]  # maps the file before the workers are made
        with context.Pool(2) as pool:
            found = pool.map(read_item, [(dataset, position) for position in range(EPISODES)], chunksize=7)
        assert found == expected(list(range(EPISODES)))

    def test_a_view_goes_to_workers_as_a_view(self, dataset: minari.MinariDataset, context: BaseContext) -> None:
        view = dataset.filter_episodes(lambda data: data.id % 3 == 0)[::-1]
        with context.Pool(2) as pool:
            first, second = pool.map(read_all, [view, view[:2]])
        ids = [number for number in range(EPISODES) if number % 3 == 0][::-1]
        assert first == expected(ids)
        assert second == expected(ids[:2])


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickles(dataset: minari.MinariDataset, protocol: int) -> None:
    view = dataset[3:7]
    view.set_seed(5)
    copy = pickle.loads(pickle.dumps(view, protocol))
    assert read_all(copy) == read_all(view)
    assert [data.id for data in copy.sample_episodes(3)] == [data.id for data in view.sample_episodes(3)]
    assert pickle.loads(pickle.dumps(view[0], protocol)) == view[0]
    assert pickle.loads(pickle.dumps(view.spec, protocol)).dataset_id == view.id
    buffer = pickle.loads(pickle.dumps(episode(2), protocol))
    assert buffer.seed == 2


@pytest.mark.parametrize(
    "name",
    [
        "minari.MinariDataset",
        "minari.dataset.minari_dataset.MinariDataset",
        "minari.dataset.minari_dataset.EpisodeData",
        "minari.dataset.episode_data.EpisodeData",
        "minari.data_collector.EpisodeBuffer",
        "minari.data_collector.episode_buffer.EpisodeBuffer",
        "minari.data_collector.callbacks.StepDataCallback",
        "minari.data_collector.callbacks.step_callback.StepDataCallback",
        "minari.dataset.minari_dataset.MinariDatasetSpec",
        "minari.utils.RandomPolicy",
    ],
)
def test_pickles_that_name_any_import_path_can_be_opened(name: str) -> None:
    module, _, attribute = name.rpartition(".")
    old = f"c{module}\n{attribute}\n.".encode()  # how pickle spells a reference to a class
    assert pickle.loads(old).__name__ == attribute


def test_threads_read_at_once(dataset: minari.MinariDataset) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda position: numbers(dataset[position]), list(range(EPISODES)) * 5))
    assert found == expected(list(range(EPISODES)) * 5)


def test_readers_go_on_while_another_process_appends(dataset: minari.MinariDataset) -> None:
    program = textwrap.dedent(
        """
        import minari, numpy as np
        dataset = minari.load_dataset("shared/numbers-v0")
        for number in range(40, 80):
            data = dataset[0]
            dataset.update_dataset_from_buffer([minari.data_collector.EpisodeBuffer(
                observations={"x": np.full((3, 2), number, np.float32), "t": [str(number)] * 3},
                actions=[0, 0], rewards=[float(number)] * 2, terminations=[False] * 2, truncations=[False] * 2,
            )])
        """
    )
    with subprocess.Popen([sys.executable, "-c", program]) as writer:
        seen = set()
        while writer.poll() is None:
            found = read_all(minari.load_dataset("shared/numbers-v0"))
            assert found == expected(list(range(len(found))))
            assert read_all(dataset) == expected(list(range(EPISODES)))
            seen.add(len(found))
    assert writer.returncode == 0
    assert len(seen) > 1, "the reader never saw a change under way"
    assert read_all(minari.load_dataset("shared/numbers-v0")) == expected(list(range(80)))
