"""The collector among Gymnasium's own environments and wrappers."""

from __future__ import annotations

import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import wrappers

import minari
from minari import DataCollector
from support.scripted import ScriptedEnv, collected, play, recorded, seeds
from support.toys import Witness
from support.values import assert_identical


pytestmark = pytest.mark.filterwarnings("ignore:`.*` is set to None")


# Autoreset


def test_an_environment_that_resets_itself_is_recorded_without_invented_steps() -> None:
    witness = Witness(gym.make("CartPole-v1"))
    collector = DataCollector(wrappers.Autoreset(witness))
    collector.reset(seed=7)
    collector.action_space.seed(7)
    for _ in range(90):
        collector.step(collector.action_space.sample())
    episodes = list(collector.create_dataset("test/autoreset-v0"))
    truth = [episode for episode in witness.episodes if episode["actions"]]
    assert len(episodes) == len(truth) >= 3
    for episode, expected in zip(episodes, truth, strict=True):
        for field in ("observations", "actions", "rewards", "terminations"):
            assert_identical(getattr(episode, field), np.array(expected[field]), (field,))
    # The last one was still running.
    assert [bool(episode.terminations[-1]) for episode in episodes[:-1]] == [True] * (len(episodes) - 1)
    assert [int(episode.truncations.sum()) for episode in episodes] == [0] * (len(episodes) - 1) + [1]


def test_the_step_after_an_end_is_recorded_as_a_reset() -> None:
    collector = DataCollector(wrappers.Autoreset(ScriptedEnv(length=3)), record_infos=True)
    collector.reset(seed=1)
    returned = [collector.step(action) for action in (0, 1, 2, 0, 1, 2, 0, 1)]
    # The fourth and the eighth step are resets: what they return is no transition.
    assert [step[0][0] for step in returned] == [1, 2, 3, 0, 1, 2, 3, 0]
    assert (collector.total_episodes, collector.total_steps) == (2, 6)
    dataset = collector.create_dataset("test/autoreset-v0")
    assert [episode.observations[:, 0].tolist() for episode in dataset] == [[0, 1, 2, 3]] * 2
    assert [episode.actions.tolist() for episode in dataset] == [[0, 1, 2], [1, 2, 0]]
    assert [episode.rewards.tolist() for episode in dataset] == [[1, 2, 3]] * 2
    assert seeds(dataset) == [1, None]


def test_resets_by_hand_and_datasets_in_between_go_on() -> None:
    collector = collected(wrappers.Autoreset(ScriptedEnv(length=3)), 2)
    for _ in range(2):
        collector.step(0)  # a reset, and a step
    assert [len(episode) for episode in collector.create_dataset("test/autoreset-v0")] == [3, 3, 1]
    collector.step(0)
    collector.step(0)
    (episode,) = collector.create_dataset("test/autoreset-v1")
    assert episode.observations[:, 0].tolist() == [1, 2, 3]


def test_autoreset_outside_of_the_collector_resets_it() -> None:
    env = wrappers.Autoreset(DataCollector(ScriptedEnv(length=3)))
    env.reset(seed=1)
    for _ in range(8):
        env.step(0)
    assert [len(episode) for episode in env.env.create_dataset("test/autoreset-v0")] == [3, 3]


# Other wrappers


def test_statistics_that_come_with_the_last_step_are_masked() -> None:
    for episode in recorded(wrappers.RecordEpisodeStatistics(ScriptedEnv()), 2, record_infos=True):
        assert episode.infos["_episode"].tolist() == [False] * 5 + [True]
        assert (episode.infos["episode"]["r"][-1], episode.infos["episode"]["l"][-1]) == (15.0, 5)


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
@pytest.mark.parametrize(
    "wrap",
    [
        wrappers.FlattenObservation,
        wrappers.NormalizeObservation,
        lambda env: wrappers.TimeLimit(env, 3),
        lambda env: wrappers.TransformReward(env, lambda reward: reward / 2),
        lambda env: wrappers.TimeAwareObservation(wrappers.TimeLimit(env, 9)),
        lambda env: wrappers.DtypeObservation(env, np.float64),
        lambda env: wrappers.RescaleObservation(env, np.float32(-1), np.float32(1)),
    ],
)
def test_wrappers_below_the_collector_change_what_is_recorded(wrap: Any) -> None:
    witness = Witness(wrap(ScriptedEnv()))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".* is not in .* space")
        (episode,) = recorded(witness)
    (truth,) = witness.columns()
    for field in ("observations", "actions", "rewards", "terminations", "truncations"):
        assert_identical(getattr(episode, field), truth[field], (field,))


def test_a_wrapper_around_the_collector_is_not_recorded() -> None:
    env = wrappers.TransformReward(DataCollector(ScriptedEnv()), lambda reward: 100 * reward)
    play(env)
    assert env.env.create_dataset("test/inner-v0")[0].rewards.tolist() == [1, 2, 3, 4, 5]


def test_a_collector_in_a_collector_records_the_same() -> None:
    inner = DataCollector(ScriptedEnv())
    outer = collected(inner, reset={"seed": 3})
    assert inner.create_dataset("test/inner-v0")[0] == outer.create_dataset("test/outer-v0")[0]


# The environment's spec


def test_the_spec_of_a_registered_environment_is_kept_and_recovers_it() -> None:
    env = gym.make("CartPole-v1", max_episode_steps=9, sutton_barto_reward=True)
    evaluation = gym.make("CartPole-v1", max_episode_steps=99)
    collected(env, action=1, reset={"seed": 4}).create_dataset("test/cartpole-v0", eval_env=evaluation)
    dataset = minari.load_dataset("test/cartpole-v0")
    env = dataset.recover_environment()
    assert (env.spec.max_episode_steps, env.spec.kwargs) == (9, {"sutton_barto_reward": True})
    assert dataset.recover_environment(eval_env=True).spec.max_episode_steps == 99
    observation, _ = env.reset(seed=4)
    assert_identical(observation, dataset[0].observations[0])
    for time, action in enumerate(dataset[0].actions):
        assert_identical(env.step(action)[0], dataset[0].observations[time + 1])


def test_an_environment_without_a_spec_gives_a_dataset_without_one() -> None:
    dataset = recorded()
    assert dataset.env_spec is dataset.spec.env_spec is None
    assert "env_spec" not in dataset.storage.metadata
    with pytest.raises(ValueError, match=r"test/recorded-v0 cannot be recovered.*created without one"):
        dataset.recover_environment()


def test_an_environment_without_spaces_is_recorded_with_given_ones() -> None:
    class Spaceless(ScriptedEnv):
        def __init__(self) -> None:
            super().__init__()
            del self.observation_space, self.action_space

    env = ScriptedEnv()
    dataset = recorded(Spaceless(), observation_space=env.observation_space, action_space=env.action_space)
    assert dataset.total_steps == 5


@pytest.mark.parametrize("mode", ["sync", "vector_entry_point"])
def test_a_vector_environment_is_refused(mode: str) -> None:
    env = gym.make_vec("CartPole-v1", num_envs=2, vectorization_mode=mode)
    with pytest.raises(TypeError, match="single environment, got the vector environment"):
        DataCollector(env)  # type: ignore[arg-type]
    env.close()


def test_anything_but_an_environment_is_refused() -> None:
    with pytest.raises(TypeError, match=r"[Ee]nv"):
        DataCollector("CartPole-v1")  # type: ignore[arg-type]
