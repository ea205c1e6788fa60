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
from support.scripted import PLANE, ScriptedEnv, buffer_of, collected, listing, place, play, recorded, seeds


pytestmark = pytest.mark.filterwarnings("ignore:`.*` is set to None")


def lengths(dataset: minari.MinariDataset) -> list[int]:
    return [len(episode) for episode in dataset]


def metadata_of(dataset: minari.MinariDataset) -> list[dict[str, Any]]:
    return list(dataset.storage.get_episode_metadata(range(dataset.total_episodes)))


# Where episodes begin and end


def test_a_reset_ends_a_running_episode_truncated_unless_it_has_terminated() -> None:
    collector = collected(steps=3)
    play(collector)
    collector.env.length = 1
    play(collector, 2)
    first, *others = collector.create_dataset("test/cut-v0")
    assert (first.terminations.tolist(), first.truncations.tolist()) == ([False] * 3, [False, False, True])
    assert first.observations[:, 0].tolist() == [0, 1, 2, 3]
    assert [episode.terminations.tolist() for episode in others] == [[False] * 4 + [True], [True], [True]]
    assert not any(episode.truncations.any() for episode in others)


def test_a_step_without_a_reset_begins_a_new_episode_with_the_last_observation() -> None:
    env = ScriptedEnv(length=2, inform=lambda time: {"time": time})
    collector = collected(env, reset={"seed": 3}, record_infos=True)
    env.length = 9
    collector.step(1)
    first, second = dataset = collector.create_dataset("test/goes-on-v0")
    assert first.observations[:, 0].tolist() == [0, 1, 2]
    assert second.observations[:, 0].tolist() == second.infos["time"].tolist() == [2, 3]
    assert second.actions.tolist() == [1]
    assert second.truncations.tolist() == [True]  # ended by the creation
    assert seeds(dataset) == [3, None]
    collector.step(0)
    (third,) = collector.create_dataset("test/goes-on-v1")
    assert third.observations[:, 0].tolist() == [3, 4]


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
    assert (lengths(dataset), seeds(dataset)) == ([5], [5])


def test_a_step_before_the_first_reset_is_refused() -> None:
    with pytest.raises(gym.error.ResetNeeded, match="reset"):
        DataCollector(ScriptedEnv()).step(0)


# Seeds and options


class Legacy(ScriptedEnv):
    """Seeds as NumPy did formerly, which takes 32 bits."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        np.random.RandomState(seed)
        return super().reset(seed=seed, options=options)


def test_each_episode_gets_a_seed_of_its_own_of_32_bits() -> None:
    env = Legacy(length=1)
    drawn = seeds(recorded(env, 60))
    assert drawn == [reset["seed"] for reset in env.resets]
    assert len(set(drawn)) == 60
    assert AUTOSEED_BIT_SIZE == 32
    assert all(0 <= seed < 2**32 for seed in drawn)
    assert max(drawn) > 2**30  # with a probability of 1 - 2**-120


@pytest.mark.parametrize("seed", [0, 7, 2**32, 2**63, 2**64 - 1, 2**64, 2**200, np.int64(9), np.uint64(2**64 - 1)])
def test_a_given_seed_is_kept(seed: int) -> None:
    class Deaf(ScriptedEnv):
        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            return super().reset(seed=None, options=options)

    (stored,) = seeds(recorded(Deaf(), reset={"seed": seed}))
    assert type(stored) is int
    assert stored == int(seed)


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
    given = None if options is None else dict(options)
    (metadata,) = metadata_of(recorded(env, reset={"options": given}))
    assert given == options  # ours are taken out of a copy
    (reset,) = env.resets
    assert reset["options"] == passed
    assert (reset["seed"] is not None) == has_seed
    assert metadata.get("seed") == reset["seed"]
    assert metadata.get("options", {}) == (passed or {})
    play(DataCollector(env), seed=4, options=given)  # a seed counts although no automatic one is wanted
    assert env.resets[-1] == {"seed": 4, "options": passed}


# The environment, and others, raise


def test_an_exception_in_a_step_or_a_reset_leaves_what_was_recorded() -> None:
    failures: list[BaseException] = [RuntimeError("the simulator crashed"), KeyboardInterrupt()]

    def observe(time: int) -> Any:
        if time == 3 and failures:
            raise failures.pop()
        return place(time)

    class Failing(ScriptedEnv):
        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            if options:
                raise RuntimeError("no such level")
            return super().reset(seed=seed, options=options)

    collector = DataCollector(Failing(observe))
    for error in (KeyboardInterrupt, RuntimeError):
        with pytest.raises(error):
            play(collector)
    play(collector, steps=3)
    with pytest.raises(RuntimeError, match="no such level"):
        collector.reset(options={"level": 99})
    play(collector)
    dataset = collector.create_dataset("test/crash-v0")
    assert lengths(dataset) == [2, 2, 3, 5]
    assert [bool(episode.truncations[-1]) for episode in dataset] == [True, True, True, False]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"dataset_id": "no version"}, DatasetIdError),
        ({"dataset_id": "test/taken-v0"}, DatasetExistsError),
        ({"eval_env": "NoSuchEnv-v0"}, ValueError),
        ({"expert_policy": lambda _: 0, "ref_max_score": 1.0}, ValueError),
        ({"author": {"Ann", 3}}, MetadataError),
        ({"description": object()}, MetadataError),
    ],
)
def test_a_creation_that_is_refused_leaves_everything_as_it_was(arguments: Any, error: Any, datasets_root: Any) -> None:
    collector = collected(buffer_steps=10)
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


def test_adding_extends_a_dataset_and_the_view_that_is_given() -> None:
    collector = collected(None, 2, reset={"seed": 1})
    dataset = collector.create_dataset("test/grows-v0")
    collector.add_to_dataset(dataset)  # nothing was recorded
    play(collector, 3, seed=2, options={"level": 1})
    collector.add_to_dataset(dataset)
    assert (collector.total_episodes, dataset.total_episodes, dataset.total_steps) == (0, 5, 25)
    loaded = minari.load_dataset("test/grows-v0")
    assert seeds(loaded) == [1, 1, 2, 2, 2]
    assert [metadata.get("options") for metadata in metadata_of(loaded)] == [None, None, *3 * [{"level": 1}]]
    assert [metadata["rewards_sum"] for metadata in metadata_of(loaded)] == [15.0] * 5
    view = loaded[:1]
    play(collector)
    collector.add_to_dataset(view)
    assert view.episode_indices.tolist() == [0, 5]


@pytest.mark.parametrize("buffer_steps", [10_000, 1])
def test_adding_to_a_dataset_of_other_spaces_is_refused(buffer_steps: int) -> None:
    other = ScriptedEnv(action_space=gym.spaces.Box(-1, 1, (2,)))
    dataset = recorded(other, action=np.zeros(2, np.float32), dataset_id="test/other-v0")
    collector = collected(buffer_steps=buffer_steps)
    with pytest.raises(CombineError, match="actions"):
        collector.add_to_dataset(dataset)
    assert dataset.total_episodes == minari.load_dataset("test/other-v0").total_episodes == 1
    assert lengths(collector.create_dataset("test/mine-v0")) == [5]


def test_concurrent_collectors_lose_nothing() -> None:
    """A collector that finds the dataset in use gets an error, keeps its episodes and tries again."""
    dataset = minari.create_dataset_from_buffers(
        "test/shared-v0", [buffer_of(1)], observation_space=PLANE, action_space=gym.spaces.Discrete(3)
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
