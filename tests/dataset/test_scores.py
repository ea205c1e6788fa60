"""Reference scores and normalized returns."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import minari
from minari import DataCollector
from minari.errors import EnvironmentSpecError, MinariError, ScoreError
from minari.utils import RandomPolicy, get_average_reference_score
from support.scripted import PLANE, ScriptedEnv, buffer_of, play


pytestmark = pytest.mark.filterwarnings("ignore:`.*` is set to None")


def balance(observation: Any) -> int:
    """A policy for CartPole: push to where the pole falls."""
    return int(observation[2] > 0)


def create(dataset_id: str = "test/scored-v0", **scores: Any) -> minari.MinariDataset:
    collector = DataCollector(gym.make("CartPole-v1"))
    play(collector, steps=3)
    collector.create_dataset(dataset_id, **scores)
    return minari.load_dataset(dataset_id)


def scores_of(dataset: minari.MinariDataset) -> dict[str, Any]:
    names = ("ref_min_score", "ref_max_score", "num_episodes_average_score")
    return {name: dataset.storage.metadata[name] for name in names if name in dataset.storage.metadata}


def played(policy: Any, episodes: int) -> float:
    """The mean return of a policy, played here, with the seed that every release has used."""
    env = gym.make("CartPole-v1")
    returns, seed = [], 123
    for _ in range(episodes):
        observation, _ = env.reset(seed=seed)
        seed, total, over = None, 0.0, False
        while not over:
            observation, reward, terminated, truncated, _ = env.step(policy(observation))
            total, over = total + reward, terminated or truncated
        returns.append(total)
    return float(np.mean(returns))


# What 0.5.4 gives for these two policies and CartPole, in float32.
RANDOM_5, BALANCE_5 = 20.799999237060547, 41.20000076293945


def test_average_scores_are_those_of_earlier_releases() -> None:
    env = gym.make("CartPole-v1")
    assert get_average_reference_score(env, RandomPolicy(env), 5) == pytest.approx(RANDOM_5, rel=1e-6)
    assert get_average_reference_score(env, balance, 5) == pytest.approx(BALANCE_5, rel=1e-6)
    assert get_average_reference_score(env, balance, 5) == played(balance, 5)


def test_an_expert_policy_gives_both_scores() -> None:
    scores = scores_of(create(expert_policy=balance, num_episodes_average_score=5))
    assert scores["ref_max_score"] == pytest.approx(BALANCE_5, rel=1e-6)
    assert scores["ref_min_score"] == pytest.approx(RANDOM_5, rel=1e-6)
    assert scores["num_episodes_average_score"] == 5
    assert scores_of(create("test/scored-v1", expert_policy=balance, num_episodes_average_score=5)) == scores


def test_a_maximum_alone_has_the_minimum_estimated() -> None:
    scores = scores_of(create(ref_max_score=500.0, num_episodes_average_score=5))
    assert scores["ref_max_score"] == 500.0
    assert scores["ref_min_score"] == pytest.approx(RANDOM_5, rel=1e-6)


def test_given_scores_are_kept_and_nothing_is_played() -> None:
    given = {"ref_min_score": -2.5, "ref_max_score": np.float32(7.5)}
    dataset = minari.create_dataset_from_buffers(
        "test/scored-v0",
        [buffer_of(2)],
        observation_space=PLANE,
        action_space=gym.spaces.Discrete(3),
        **given,  # type: ignore[arg-type]
    )
    assert scores_of(dataset) == {**given, "num_episodes_average_score": 100}
    assert scores_of(create("test/scored-v1")) == {}


def test_a_minimum_of_zero_is_a_minimum() -> None:
    scores = scores_of(create(expert_policy=balance, ref_min_score=0, num_episodes_average_score=1))
    assert scores["ref_min_score"] == 0


@pytest.mark.parametrize("eval_env", ["CartPole-v1", gym.spec("CartPole-v1"), "made"])
def test_scores_are_played_in_the_evaluation_environment(eval_env: Any) -> None:
    env = gym.make("CartPole-v1", max_episode_steps=4) if eval_env == "made" else eval_env
    dataset = create(expert_policy=balance, eval_env=env, num_episodes_average_score=3)
    expected = 4.0 if eval_env == "made" else played(balance, 3)
    assert scores_of(dataset)["ref_max_score"] == expected


def test_scores_are_played_in_an_environment_of_their_own() -> None:
    """The recording goes on in the middle of an episode, as if nothing had been played."""
    env = gym.make("CartPole-v1")
    collector = DataCollector(env)
    collector.reset(seed=3)
    before = env.unwrapped.state
    collector.step(1)
    after = env.unwrapped.state
    dataset = collector.create_dataset("test/scored-v0", expert_policy=balance, num_episodes_average_score=2)
    assert env.unwrapped.state is after
    assert before is not after
    assert dataset.total_steps == 1


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"expert_policy": balance, "ref_max_score": 3.0}, ScoreError, "Both expert_policy and ref_max_score"),
        ({"expert_policy": balance, "num_episodes_average_score": 0}, ScoreError, "num_episodes_average_score is 0"),
        ({"expert_policy": balance, "eval_env": "NoSuchEnv-v0"}, EnvironmentSpecError, "NoSuchEnv-v0"),
    ],
)
def test_scores_that_cannot_be(arguments: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text) as caught:
        create(**arguments)
    assert isinstance(caught.value, MinariError)
    assert isinstance(caught.value, ValueError)


def test_without_an_environment_nothing_can_be_estimated() -> None:
    collector = DataCollector(ScriptedEnv())
    play(collector)
    for scores in ({"expert_policy": balance}, {"ref_max_score": 3.0}):
        with pytest.raises(ScoreError, match="no environment to play in; give eval_env"):
            collector.create_dataset("test/scored-v0", **scores)
    assert collector.total_episodes == 1


def test_a_policy_that_raises_leaves_the_recording() -> None:
    collector = DataCollector(gym.make("CartPole-v1"))
    play(collector, steps=3)

    def broken(observation: Any) -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        collector.create_dataset("test/scored-v0", expert_policy=broken)
    assert collector.create_dataset("test/scored-v0").total_steps == 3


# Normalized scores


@pytest.mark.parametrize(
    ("returns", "expected"),
    [
        (2.0, 0.0),
        (7.0, 0.5),
        ([2.0, 12.0], [0.0, 1.0]),
        (np.array([[2.0, 7.0], [12.0, 22.0]]), [[0.0, 0.5], [1.0, 2.0]]),
        (np.array([7], np.int32), [0.5]),
        ([], []),
    ],
)
def test_returns_are_normalized(returns: Any, expected: Any) -> None:
    dataset = create(ref_min_score=2.0, ref_max_score=12.0)
    normalized = minari.get_normalized_score(dataset, returns)
    assert normalized.dtype == np.float64
    assert normalized.tolist() == expected
    assert minari.get_normalized_score(dataset[:0], returns).tolist() == expected


@pytest.mark.parametrize("given", [{}, {"ref_min_score": 1.0}])
def test_without_reference_scores_nothing_can_be_normalized(given: dict[str, float]) -> None:
    dataset = create(**given)
    with pytest.raises(ScoreError, match="test/scored-v0 has no ref_min_score and ref_max_score") as caught:
        minari.get_normalized_score(dataset, np.array([1.0]))
    assert isinstance(caught.value, ValueError)


def test_scores_that_are_set_later() -> None:
    dataset = create()
    dataset.storage.update_metadata({"ref_min_score": 0.0, "ref_max_score": 4.0})
    assert minari.get_normalized_score(dataset, [1.0]).tolist() == [0.25]
