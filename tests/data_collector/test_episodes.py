"""Beginning and end of episodes, their seeds and options, and the state of the collector."""

from __future__ import annotations

import contextlib
import threading
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import minari
from minari import DataCollector
from minari.data_collector.data_collector import AUTOSEED_BIT_SIZE
from minari.errors import (
    CombineError,
    DatasetBusyError,
    DatasetExistsError,
    DatasetIdError,
    EpisodeError,
    MetadataError,
)
from support.scripted import ScriptedEnv, listing, place, play


pytestmark = pytest.mark.filterwarnings("ignore:`.*` is set to None")


def lengths(dataset: minari.MinariDataset) -> list[int]:
    return [len(episode) for episode in dataset]


def metadata_of(dataset: minari.MinariDataset) -> list[dict[str, Any]]:
    return list(dataset.storage.get_episode_metadata(range(dataset.total_episodes)))


# Where episodes begin and end


def test_a_reset_ends_a_running_episode_truncated() -> None:
    collector = DataCollector(ScriptedEnv())
    play(collector, steps=3)
    play(collector)
    dataset = collector.create_dataset("test/cut-v0")
    first, second = dataset
    assert first.truncations.tolist() == [False, False, True]
    assert first.terminations.tolist() == [False] * 3
    assert first.observations[:, 0].tolist() == [0, 1, 2, 3]
    assert second.truncations.tolist() == [False] * 5
    assert second.terminations.tolist() == [False] * 4 + [True]


def test_creating_ends_a_running_episode_and_goes_on_with_a_new_one() -> None:
    collector = DataCollector(ScriptedEnv(), record_infos=True)
    play(collector, steps=2)
    (first,) = collector.create_dataset("test/cut-v0")
    assert first.truncations.tolist() == [False, True]
    collector.step(0)
    collector.step(0)
    (second,) = collector.create_dataset("test/cut-v1")
    assert second.observations[:, 0].tolist() == [2, 3, 4]
    assert "seed" not in metadata_of(minari.load_dataset("test/cut-v1"))[0]


def test_a_terminated_last_step_is_not_truncated_by_the_reset_that_follows() -> None:
    collector = DataCollector(ScriptedEnv(length=1))
    play(collector, episodes=2)
    dataset = collector.create_dataset("test/ends-v0")
    assert [episode.truncations.tolist() for episode in dataset] == [[False], [False]]
    assert [episode.terminations.tolist() for episode in dataset] == [[True], [True]]


def test_a_step_without_a_reset_begins_a_new_episode_with_the_last_observation() -> None:
    collector = DataCollector(ScriptedEnv(length=2, inform=lambda time: {"time": time}), record_infos=True)
    play(collector, seed=3)
    collector.step(1)
    first, second = collector.create_dataset("test/goes-on-v0")
    assert second.observations[:, 0].tolist() == [2, 3]
    assert second.actions.tolist() == [1]
    assert second.infos["time"].tolist() == [2, 3]
    assert first.observations[:, 0].tolist() == [0, 1, 2]
    with_seed, without = metadata_of(minari.load_dataset("test/goes-on-v0"))
    assert with_seed["seed"] == 3
    assert "seed" not in without


@pytest.mark.parametrize("resets", [1, 2, 3])
def test_a_reset_without_a_step_is_no_episode(resets: int) -> None:
    collector = DataCollector(ScriptedEnv())
    for _ in range(resets):
        collector.reset()
    assert (collector.total_episodes, collector.total_steps) == (0, 0)
    with pytest.raises(EpisodeError, match="Nothing has been recorded for the dataset test/none-v0"):
        collector.create_dataset("test/none-v0")
    play(collector, seed=5)
    dataset = collector.create_dataset("test/none-v0")
    assert (lengths(dataset), metadata_of(dataset)[0]["seed"]) == ([5], 5)


def test_a_step_before_the_first_reset_is_refused() -> None:
    with pytest.raises(gym.error.ResetNeeded, match="reset"):
        DataCollector(ScriptedEnv()).step(0)


def test_several_datasets_from_one_collector() -> None:
    collector = DataCollector(ScriptedEnv())
    for version, episodes in enumerate([1, 3, 2]):
        play(collector, episodes)
        assert (collector.total_episodes, collector.total_steps) == (episodes, 5 * episodes)
        dataset = collector.create_dataset(f"test/many-v{version}")
        assert lengths(dataset) == [5] * episodes
        assert (collector.total_episodes, collector.total_steps) == (0, 0)


# Seeds and options


def test_each_episode_gets_a_seed_of_its_own_of_32_bits() -> None:
    env = ScriptedEnv(length=1)
    collector = DataCollector(env)
    play(collector, 60)
    seeds = [metadata["seed"] for metadata in metadata_of(collector.create_dataset("test/seeds-v0"))]
    assert seeds == [reset["seed"] for reset in env.resets]
    assert len(set(seeds)) == 60
    assert AUTOSEED_BIT_SIZE == 32
    assert all(0 <= seed < 2**32 for seed in seeds)
    assert max(seeds) > 2**30  # with a probability of 1 - 2**-120


def test_environments_with_the_legacy_seeding_of_numpy_take_the_seeds() -> None:
    class Legacy(ScriptedEnv):
        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            np.random.RandomState(seed)
            return super().reset(seed=seed, options=options)

    play(DataCollector(Legacy(length=1)), 20)


@pytest.mark.parametrize("seed", [0, 7, 2**32, 2**63, 2**64 - 1, 2**64, 2**200, np.int64(9), np.uint64(2**64 - 1)])
def test_a_given_seed_is_kept(seed: int) -> None:
    class Deaf(ScriptedEnv):
        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            return super().reset(seed=None, options=options)

    collector = DataCollector(Deaf())
    play(collector, seed=seed)
    collector.create_dataset("test/seed-v0")
    (metadata,) = metadata_of(minari.load_dataset("test/seed-v0"))
    assert type(metadata["seed"]) is int
    assert metadata["seed"] == int(seed)


@pytest.mark.parametrize(
    ("options", "passed", "has_seed"),
    [
        (None, None, True),
        ({}, {}, True),
        ({"level": 2}, {"level": 2}, True),
        ({"minari_autoseed": False}, None, False),
        ({"minari_autoseed": True}, None, True),
        ({"minari_autoseed": False, "level": 2}, {"level": 2}, False),
        ({"minari_autoseed": True, "level": 2}, {"level": 2}, True),
    ],
)
def test_our_own_option_is_neither_passed_on_nor_kept(options: Any, passed: Any, has_seed: bool) -> None:
    env = ScriptedEnv()
    collector = DataCollector(env)
    given = None if options is None else dict(options)
    play(collector, options=given)
    assert given == options  # ours are taken out of a copy
    (reset,) = env.resets
    assert reset["options"] == passed
    assert (reset["seed"] is not None) == has_seed
    (metadata,) = metadata_of(collector.create_dataset("test/options-v0"))
    assert metadata.get("seed") == reset["seed"]
    assert metadata.get("options", {}) == (passed or {})


def test_a_seed_counts_although_no_automatic_one_is_wanted() -> None:
    env = ScriptedEnv()
    play(DataCollector(env), seed=4, options={"minari_autoseed": False})
    assert env.resets == [{"seed": 4, "options": None}]


# The environment, and others, raise


def test_an_exception_in_a_step_leaves_what_was_recorded() -> None:
    def observe(time: int) -> Any:
        if time == 3 and failures:
            raise failures.pop()
        return place(time)

    failures: list[BaseException] = [RuntimeError("the simulator crashed"), KeyboardInterrupt()]
    collector = DataCollector(ScriptedEnv(observe))
    for error in (KeyboardInterrupt, RuntimeError):
        with pytest.raises(error):
            play(collector)
    play(collector)
    dataset = collector.create_dataset("test/crash-v0")
    assert lengths(dataset) == [2, 2, 5]
    assert [bool(episode.truncations[-1]) for episode in dataset] == [True, True, False]


def test_an_exception_in_a_reset_leaves_what_was_recorded() -> None:
    class Failing(ScriptedEnv):
        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            if options:
                raise RuntimeError("no such level")
            return super().reset(seed=seed, options=options)

    collector = DataCollector(Failing())
    play(collector, steps=3)
    with pytest.raises(RuntimeError, match="no such level"):
        collector.reset(options={"level": 99})
    play(collector)
    assert lengths(collector.create_dataset("test/crash-v0")) == [3, 5]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"dataset_id": "no version"}, DatasetIdError),
        ({"dataset_id": "test/taken-v0"}, DatasetExistsError),
        ({"eval_env": "NoSuchEnv-v0"}, ValueError),
        ({"expert_policy": lambda _: 0, "ref_max_score": 1.0}, ValueError),
        ({"author": 3}, MetadataError),
        ({"author": {"Ann", 3}}, MetadataError),
        ({"description": object()}, MetadataError),
        ({"requirements": [3]}, MetadataError),
    ],
)
def test_a_creation_that_is_refused_leaves_everything_as_it_was(
    arguments: dict[str, Any], error: type[Exception], datasets_root: Any
) -> None:
    collector = DataCollector(ScriptedEnv(), buffer_steps=10)
    play(collector)
    collector.create_dataset("test/taken-v0")
    play(collector)
    before = listing(datasets_root)
    with pytest.raises(error) as caught:
        collector.create_dataset(**{"dataset_id": "test/new-v0", **arguments})
    assert "\n" not in str(caught.value)
    assert listing(datasets_root) == before
    assert (collector.total_episodes, collector.total_steps) == (1, 5)
    assert lengths(collector.create_dataset("test/new-v0")) == [5]


# add_to_dataset


def test_adding_to_a_dataset() -> None:
    collector = DataCollector(ScriptedEnv())
    play(collector, 2, seed=1)
    dataset = collector.create_dataset("test/grows-v0")
    collector.add_to_dataset(dataset)  # nothing was recorded
    play(collector, 3, seed=2, options={"level": 1})
    collector.add_to_dataset(dataset)
    assert (collector.total_episodes, dataset.total_episodes, dataset.total_steps) == (0, 5, 25)
    loaded = minari.load_dataset("test/grows-v0")
    assert [metadata["seed"] for metadata in metadata_of(loaded)] == [1, 1, 2, 2, 2]
    assert [metadata.get("options") for metadata in metadata_of(loaded)] == [None, None, *3 * [{"level": 1}]]
    assert [metadata["rewards_sum"] for metadata in metadata_of(loaded)] == [15.0] * 5
    play(collector, 1)
    assert lengths(collector.create_dataset("test/grows-v1")) == [5]


def test_adding_to_a_view_adds_to_the_view_as_well() -> None:
    collector = DataCollector(ScriptedEnv())
    play(collector, 3)
    view = collector.create_dataset("test/grows-v0")[:1]
    play(collector)
    collector.add_to_dataset(view)
    assert view.episode_indices.tolist() == [0, 3]


@pytest.mark.parametrize("buffer_steps", [10_000, 1])
def test_a_dataset_of_other_spaces_is_refused(buffer_steps: int) -> None:
    other = DataCollector(ScriptedEnv(action_space=gym.spaces.Box(-1, 1, (2,))))
    play(other, action=np.zeros(2, np.float32))
    dataset = other.create_dataset("test/other-v0")
    collector = DataCollector(ScriptedEnv(), buffer_steps=buffer_steps)
    play(collector)
    with pytest.raises(CombineError, match="actions"):
        collector.add_to_dataset(dataset)
    assert dataset.total_episodes == minari.load_dataset("test/other-v0").total_episodes == 1
    assert lengths(collector.create_dataset("test/mine-v0")) == [5]


def test_concurrent_collectors_lose_nothing() -> None:
    """A collector that finds the dataset in use gets an error, keeps its episodes and tries again."""
    dataset = minari.create_dataset_from_buffers(
        "test/shared-v0",
        [buffer_of_zeros()],
        observation_space=ScriptedEnv().observation_space,
        action_space=ScriptedEnv().action_space,
    )
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            collector = DataCollector(ScriptedEnv(length=number + 1), buffer_steps=3)
            for _ in range(5):
                play(collector, 2)
                while collector.total_episodes:
                    with contextlib.suppress(DatasetBusyError):
                        collector.add_to_dataset(minari.load_dataset("test/shared-v0"))
        except BaseException as error:  # told by the test's own thread
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert dataset.storage.total_episodes == 41
    assert sorted(lengths(minari.load_dataset("test/shared-v0"))) == sorted([1] + 10 * [1, 2, 3, 4])


def buffer_of_zeros() -> Any:
    return minari.data_collector.EpisodeBuffer(
        observations=np.zeros((2, 2), np.float32), actions=[0], rewards=[0.0], terminations=[True], truncations=[False]
    )
