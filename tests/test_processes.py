"""Datasets in other processes and threads: training code has workers, and while it reads somebody records."""

from __future__ import annotations

import importlib
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

import minari
from minari.data_collector import EpisodeBuffer
from minari.errors import DatasetBusyError
from support.cases import SPACES
from support.operations import record
from support.programs import start
from support.scripted import PLANE, buffer_of


pytestmark = pytest.mark.filterwarnings(
    "ignore:`.*` is set to None",
    # Python warns of forks in a process with threads; that these forks work is what is tested here.
    "ignore:This process .* is multi-threaded:DeprecationWarning",
)

ACTIONS = spaces.Discrete(3)
COUNT = 24


@pytest.fixture
def dataset() -> minari.MinariDataset:
    buffers = [episode(number) for number in range(COUNT)]
    return minari.create_dataset_from_buffers("test/shared-v0", buffers, observation_space=PLANE, action_space=ACTIONS)


def check(episode: minari.EpisodeData) -> int:
    """Require that an episode is the one of its number, and return the number."""
    number = int(episode.id)
    times = np.arange(number + 2)
    assert np.array_equal(episode.observations[:, 0], 100 * number + times)
    assert np.array_equal(episode.infos["k"], times)
    assert episode.actions.tolist() == (times[:-1] % 3).tolist()
    assert len(episode) == number + 1
    return number


def read_all(dataset: minari.MinariDataset, start: int = 0) -> list[int]:
    """Check every episode, beginning with another one in each worker."""
    return sorted(check(dataset[(start + offset) % len(dataset)]) for offset in range(len(dataset)))


def read_one(dataset: minari.MinariDataset, index: int) -> int:
    return check(dataset[index])


def read_for_a_loader(indices: list[int]) -> list[int]:
    """Run like a worker of a data loader that was forked with the dataset in its memory."""
    return [check(inherited[0][index]) for index in indices]


inherited: list[minari.MinariDataset] = []


def episode(number: int) -> Any:
    """The buffer of the episode of a number."""
    return buffer_of(number + 1, start=100 * number, infos={"k": np.arange(number + 2)})


def grow(dataset: minari.MinariDataset, by: int) -> None:
    for number in range(len(dataset), len(dataset) + by):
        dataset.update_dataset_from_buffer([episode(number)])


# Processes


@pytest.mark.parametrize(
    "method", [m for m in ("fork", "forkserver", "spawn") if m in multiprocessing.get_all_start_methods()]
)
def test_a_dataset_in_the_workers_of_a_pool(dataset: minari.MinariDataset, method: str) -> None:
    assert check(dataset[3]) == 3  # the file has been opened here before
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        whole = list(pool.map(read_all, [dataset] * 4, range(4)))
        view = list(pool.map(read_one, [dataset[::-2]] * 3, range(3)))
    assert whole == [list(range(COUNT))] * 4
    assert view == [23, 21, 19]


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="there are no forks here")
def test_forked_workers_use_the_dataset_that_they_inherit(dataset: minari.MinariDataset) -> None:
    """As the loader of torch does: it needs `len`, integers as indices, and no care about open files."""
    inherited[:] = [dataset]
    iterator = iter(dataset)
    next(iterator)
    sampler = np.random.default_rng(0).permutation(len(dataset))
    batches = [sampler[start : start + 4].tolist() for start in range(0, COUNT, 4)]
    with multiprocessing.get_context("fork").Pool(3) as pool:
        loaded = pool.map(read_for_a_loader, batches)
        here = [check(episode) for episode in iterator]
    assert loaded == batches
    assert here == list(range(1, COUNT))


@pytest.mark.parametrize("index", [1, np.int64(1), np.int32(1), np.uint8(1), -1, np.int64(-1)])
def test_indices_that_a_sampler_may_give(dataset: minari.MinariDataset, index: Any) -> None:
    assert check(dataset[index]) == int(index) % COUNT
    with pytest.raises(IndexError):  # how a loop over indices knows the end
        dataset[COUNT]


# Pickles


def test_a_dataset_and_its_views_can_be_pickled(dataset: minari.MinariDataset) -> None:
    view = dataset[[5, 1]]
    view.set_seed(3)
    copy = pickle.loads(pickle.dumps(view))
    assert copy.episode_indices.tolist() == [5, 1]
    assert (copy.id, copy.spec) == (view.id, view.spec)
    assert [e.id for e in copy.sample_episodes(2)] == [e.id for e in view.sample_episodes(2)]
    dataset.update_dataset_from_buffer([buffer_of(2)])
    assert len(pickle.loads(pickle.dumps(dataset))) == COUNT + 1
    assert copy.storage.total_episodes == COUNT + 1
    copy.update_dataset_from_buffer([buffer_of(2)])
    assert dataset.storage.total_episodes == COUNT + 2


def test_pickles_are_small_whatever_the_dataset_holds(dataset: minari.MinariDataset) -> None:
    noise = np.random.default_rng(0).random((20_001, 2)).astype(np.float32)
    dataset.update_dataset_from_buffer([buffer_of(20_000, observations=noise)])
    list(dataset)
    assert len(pickle.dumps(dataset)) < 20_000


@pytest.mark.parametrize("case", ["dict-nested", "tuple-nested", "text-unicode", "dict-of-tuples"])
def test_episodes_can_be_pickled(case: str) -> None:
    assert case in SPACES
    record("test/nested-v0", case, infos=True)
    for episode in minari.load_dataset("test/nested-v0"):
        copy = pickle.loads(pickle.dumps(episode))
        assert copy == episode
        assert copy.copy() == episode


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("minari.data_collector.episode_buffer", "EpisodeBuffer"),
        ("minari.data_collector", "EpisodeBuffer"),
        ("minari._model.episode", "EpisodeData"),
        ("minari.dataset.minari_dataset", "EpisodeData"),
        ("minari.dataset.minari_dataset", "MinariDatasetSpec"),
        ("minari.dataset.minari_dataset", "MinariDataset"),
    ],
)
def test_pickles_name_classes_where_they_used_to_be(
    dataset: minari.MinariDataset, module: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {
        "EpisodeBuffer": EpisodeBuffer(seed=3, rewards=[1.0]), "EpisodeData": dataset[2].copy(),
        "MinariDatasetSpec": dataset.spec, "MinariDataset": dataset,
    }  # fmt: skip
    kind = getattr(importlib.import_module(module), name)
    assert isinstance(values[name], kind)
    with monkeypatch.context() as patched:
        patched.setattr(kind, "__module__", module)
        pickled = pickle.dumps(values[name], protocol=2)
    assert f"c{module}\n{name}\n".encode() in pickled
    restored = pickle.loads(pickled)
    assert restored.spec == dataset.spec if name == "MinariDataset" else restored == values[name]


# Threads


def test_threads_read_at_once(dataset: minari.MinariDataset) -> None:
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(lambda start: read_all(dataset, start), range(16)))
    assert read == [list(range(COUNT))] * 16


# One process appends while others read


APPEND = """
    import sys, minari, test_processes
    test_processes.grow(minari.load_dataset("test/shared-v0"), int(sys.argv[1]))
    print("done")
"""


def test_what_was_opened_before_stays_as_it_was(dataset: minari.MinariDataset) -> None:
    """Concurrent readers and writers of all formats meet in `support.beside`."""
    iterator = iter(dataset)
    first = [next(iterator) for _ in range(5)]
    with start(APPEND, "5") as child:
        assert child.communicate()[0] == "done\n"
    assert [check(episode) for episode in [*first, *iterator]] == list(range(COUNT))
    assert read_all(dataset) == list(range(COUNT))
    grown = minari.load_dataset("test/shared-v0")
    assert read_all(grown) == list(range(COUNT + 5))
    assert grown.total_steps == sum(range(1, COUNT + 6))
    assert dataset.storage.total_episodes == COUNT + 5


def test_two_processes_append_and_nothing_is_lost(dataset: minari.MinariDataset) -> None:
    program = """
        import sys, minari, test_processes
        from minari.errors import DatasetBusyError
        dataset = minari.load_dataset("test/shared-v0")
        for number in range(8):
            while True:
                try:
                    dataset.update_dataset_from_buffer([test_processes.buffer_of(3, seed=int(sys.argv[1]) + number)])
                    break
                except DatasetBusyError:
                    pass
    """
    children = [start(program, first) for first in ("100", "200")]
    for child in children:
        with child:
            assert child.wait() == 0
    storage = minari.load_dataset("test/shared-v0").storage
    assert storage.total_episodes == COUNT + 16
    seeds = [metadata["seed"] for metadata in storage.get_episode_metadata(range(COUNT, COUNT + 16))]
    assert sorted(seeds) == [*range(100, 108), *range(200, 208)]
    assert [seed for seed in seeds if seed < 200] == list(range(100, 108))


def test_a_writer_that_is_refused_is_told_why(dataset: minari.MinariDataset) -> None:
    def episodes() -> Any:
        other = minari.load_dataset("test/shared-v0")
        with pytest.raises(DatasetBusyError, match="try again"):
            other.update_dataset_from_buffer([buffer_of(3)])
        yield episode(COUNT)

    dataset.storage.update_episodes(episodes())
    assert issubclass(DatasetBusyError, OSError)
    assert read_all(minari.load_dataset("test/shared-v0")) == list(range(COUNT + 1))
