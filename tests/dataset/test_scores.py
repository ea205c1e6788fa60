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
from support.scripted import collected


pytestmark = pytest.mark.filterwarnings("ignore:`.*` is set to None")


def balance(observation: Any) -> int:
    """A policy for CartPole: push to where the pole falls."""
    return int(observation[2] > 0)


def create(dataset_id: str = "test/scored-v0", **scores: Any) -> minari.MinariDataset:
    collected(gym.make("CartPole-v1"), steps=3).create_dataset(dataset_id, **scores)
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
RANDOM_5, BALANCE_5 = pytest.approx(20.799999237060547, rel=1e-6), pytest.approx(41.20000076293945, rel=1e-6)


def test_average_scores_are_those_of_earlier_releases() -> None:
    env = gym.make("CartPole-v1")
    assert get_average_reference_score(env, RandomPolicy(env), 5) == RANDOM_5
    assert get_average_reference_score(env, balance, 5) == BALANCE_5
    assert get_average_reference_score(env, balance, 5) == played(balance, 5)


@pytest.mark.parametrize(
    ("given", "scores"),
    [
        (
            {"expert_policy": balance, "num_episodes_average_score": 5},
            {"ref_min_score": RANDOM_5, "ref_max_score": BALANCE_5},
        ),
        (
            {"ref_max_score": 500.0, "num_episodes_average_score": 5},
            {"ref_min_score": RANDOM_5, "ref_max_score": 500.0},
        ),
        (
            {"expert_policy": balance, "ref_min_score": 0, "num_episodes_average_score": 5},
            {"ref_min_score": 0, "ref_max_score": BALANCE_5},
        ),
        ({"ref_min_score": -2.5, "ref_max_score": np.float32(7.5)}, {"ref_min_score": -2.5, "ref_max_score": 7.5}),
        ({}, {}),
    ],
)
def test_scores_that_are_not_given_are_estimated(given: dict[str, Any], scores: dict[str, Any]) -> None:
    count = {"num_episodes_average_score": given.get("num_episodes_average_score", 100)} if scores else {}
    assert scores_of(create(**given)) == scores | count


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


def broken(observation: Any) -> int:
    raise ZeroDivisionError


@pytest.mark.parametrize(
    ("has_env", "arguments", "error", "text"),
    [
        (True, {"expert_policy": balance, "ref_max_score": 3.0}, ScoreError, "Both expert_policy and ref_max_score"),
        (
            True,
            {"expert_policy": balance, "num_episodes_average_score": 0},
            ScoreError,
            "num_episodes_average_score is 0",
        ),
        (True, {"expert_policy": balance, "eval_env": "NoSuchEnv-v0"}, EnvironmentSpecError, "NoSuchEnv-v0"),
        (False, {"expert_policy": balance}, ScoreError, "no environment to play in; give eval_env"),
        (False, {"ref_max_score": 3.0}, ScoreError, "no environment to play in; give eval_env"),
        (True, {"expert_policy": broken}, ZeroDivisionError, ""),
    ],
)
def test_scores_that_cannot_be_leave_the_recording(has_env: bool, arguments: Any, error: Any, text: str) -> None:
    collector = collected(gym.make("CartPole-v1") if has_env else None, steps=3)
    with pytest.raises(error, match=text) as caught:
        collector.create_dataset("test/scored-v0", **arguments)
    assert error is ZeroDivisionError or (
        isinstance(caught.value, MinariError) and isinstance(caught.value, ValueError)
    )
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
@pytest.mark.parametrize("later", [False, True])
def test_returns_are_normalized(returns: Any, expected: Any, later: bool) -> None:
    scores = {"ref_min_score": 2.0, "ref_max_score": 12.0}
    dataset = create(**({} if later else scores))
    if later:
        dataset.storage.update_metadata(scores)
    normalized = minari.get_normalized_score(dataset, returns)
    assert normalized.dtype == np.float64
    assert normalized.tolist() == expected
    assert minari.get_normalized_score(dataset[:0], returns).tolist() == expected


@pytest.mark.parametrize("given", [{}, {"ref_min_score": 1.0}])
def test_without_reference_scores_nothing_can_be_normalized(given: dict[str, float]) -> None:
    with pytest.raises(ScoreError, match="test/scored-v0 has no ref_min_score and ref_max_score") as caught:
        minari.get_normalized_score(create(**given), np.array([1.0]))
    assert isinstance(caught.value, ValueError)
