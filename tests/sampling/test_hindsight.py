"""Goals in hindsight: drawn from the right steps, with their own rewards, and the same for the same seed."""

from __future__ import annotations

import pickle
from itertools import islice
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import minari
from minari import MinariDataset
from minari.errors import ArgumentError
from support.sampling_model import assert_same


LENGTHS = (4, 1, 30)

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def reward(achieved: Any, desired: Any, infos: Any) -> Any:
    return -(achieved != desired).any(axis=-1).astype(float)


@pytest.fixture
def goals() -> MinariDataset:
    """Row ``r`` of episode ``e`` has achieved ``100 * e + r``."""
    space = gym.spaces.Box(-1000, 1000, (1,), np.float64)
    total = sum(LENGTHS)
    ends = np.isin(np.arange(total), np.cumsum(LENGTHS) - 1)
    reached = np.concatenate([100 * number + np.arange(length + 1) for number, length in enumerate(LENGTHS)])
    return minari.create_dataset_from_arrays(
        "sampled/goals-v0",
        observation_space=gym.spaces.Dict({"achieved_goal": space, "desired_goal": space, "speed": space}),
        observations={
            "achieved_goal": reached[:, None].astype(float),
            "desired_goal": np.full((total + 3, 1), 999.0),
            "speed": np.zeros((total + 3, 1)),
        },
        actions=np.zeros(total),
        rewards=np.full(total, -1.0),
        terminations=ends,
    )


@pytest.mark.parametrize("strategy", ["future", "final", "episode"])
def test_goals_are_achieved_in_the_episode(goals: MinariDataset, strategy: Any) -> None:
    transitions = goals.transitions()
    hindsight = transitions.with_hindsight_goals(strategy, ratio=0.5, reward=reward, seed=3)
    seen: dict[int, set[float]] = {}
    for batch in islice(hindsight.batches(35, seed=1), 200):
        recorded = transitions[batch["timesteps"] + np.cumsum([0, *LENGTHS])[batch["episode_ids"]]]
        changed = batch["relabeled"]
        goal = batch["observations"]["desired_goal"][:, 0]
        np.testing.assert_array_equal(goal, batch["next_observations"]["desired_goal"][:, 0])
        assert (goal[~changed] == 999).all()
        np.testing.assert_array_equal(batch["observations"]["achieved_goal"], recorded["observations"]["achieved_goal"])
        np.testing.assert_array_equal(batch["terminations"], recorded["terminations"])
        expected = reward(batch["next_observations"]["achieved_goal"], goal[:, None], {})
        np.testing.assert_array_equal(batch["rewards"], np.where(changed, expected, -1.0))
        for episode, step, one in zip(batch["episode_ids"], batch["timesteps"], goal, strict=True):
            if one != 999:
                assert 100 * episode < one <= 100 * episode + LENGTHS[episode]
                assert strategy != "future" or one > 100 * episode + step
                assert strategy != "final" or one == 100 * episode + LENGTHS[episode]
                seen.setdefault(100 * episode + step, set()).add(one)
    share = np.mean([batch["relabeled"].mean() for batch in islice(hindsight.batches(35, seed=1), 200)])
    assert share == pytest.approx(0.5, abs=0.03)
    if strategy != "final":
        assert seen[0] == {1.0, 2.0, 3.0, 4.0}


@pytest.mark.parametrize("options", [{}, {"order": "blocks"}, {"replace": True}])
def test_a_seed_gives_the_same_goals(goals: MinariDataset, options: dict[str, Any]) -> None:
    hindsight = goals.transitions().with_hindsight_goals(reward=reward, seed=3)
    expected = list(islice(hindsight.batches(10, seed=1, **options), 8))
    again = pickle.loads(pickle.dumps(hindsight)).batches(10, seed=1, **options)
    for _ in range(2):
        next(again)
    state = again.state_dict()
    resumed = hindsight.batches(10, seed=1, **options)
    resumed.load_state_dict(state)
    for found, wanted in zip(islice(resumed, 6), expected[2:], strict=True):
        assert_same(found, wanted)
    assert_same(hindsight[:], hindsight[:])
    assert_same(hindsight[[7]], hindsight[7:8])


def test_infos_are_given_to_the_reward(dataset: MinariDataset, goals: MinariDataset) -> None:
    seen = []

    def looks(achieved: Any, desired: Any, infos: Any) -> Any:
        seen.append((achieved.shape, desired.shape, dict(infos)))
        return np.zeros(len(achieved))

    goals.transitions().with_hindsight_goals(ratio=1, reward=looks)[:5]
    assert seen == [((5, 1), (5, 1), {})]


def test_what_has_no_hindsight(goals: MinariDataset, dataset: MinariDataset) -> None:
    transitions = goals.transitions()
    for made, message in (
        (lambda: dataset.transitions().with_hindsight_goals(reward=reward), "no array 'achieved_goal' as a goal"),
        (lambda: transitions.with_hindsight_goals(achieved="goal", reward=reward), r"arrays are \['achieved_goal', "),
        (lambda: transitions.with_hindsight_goals("past", reward=reward), "strategy is 'past'"),
        (lambda: transitions.with_hindsight_goals(ratio=2, reward=reward), "ratio is 2"),
        (lambda: transitions.with_hindsight_goals(reward=None), "reward is None"),
        (lambda: transitions.with_hindsight_goals(reward=reward, seed=-1), "seed is -1"),
        (lambda: goals.transitions(n_step=2).with_hindsight_goals(reward=reward), "Other goals change the rewards"),
        (lambda: goals.transitions(returns_to_go=True).with_hindsight_goals(reward=reward), "Other goals change"),
        (lambda: transitions.with_hindsight_goals(ratio=1, reward=lambda *_: [1, 2])[:3], "reward returned"),
    ):
        with pytest.raises(ArgumentError, match=message):
            made()  # type: ignore[no-untyped-call]
