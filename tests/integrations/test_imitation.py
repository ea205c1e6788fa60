"""The adapter to imitation, with the real library."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from minari.errors import ArgumentError, ArgumentTypeError
from support.replay_datasets import (
    ENDS,
    KEPT,
    MARKS,
    STRICT,
    UNFIT,
    CountingEnv,
    assert_counts_are_right,
    assert_refused,
    assert_same_episode,
    assert_same_episodes,
    counting,
    make,
    spaces_of,
)


pytest.importorskip("imitation")

from imitation.algorithms import bc
from imitation.data import rollout
from imitation.data.buffer import ReplayBuffer
from imitation.data.types import Trajectory, Transitions, TransitionsMinimal
from imitation.data.wrappers import RolloutInfoWrapper
from imitation.util import logger
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import DummyVecEnv

from minari.integrations import imitation as adapter


pytestmark = [*MARKS, STRICT]

SPACES = ["float32", "float64", "frames", "number", "discrete", "bits", "dict"]


@pytest.mark.parametrize("actions", ["unit", "double", "choice", "choices", "shifted"])
@pytest.mark.parametrize("observations", SPACES)
def test_a_round_trip_over_trajectories_keeps_every_value(observations: str, actions: str) -> None:
    dataset = make("imitation/from-v0", observations, actions, ends=ENDS[:3])
    trajectories = adapter.to_trajectories(dataset)
    assert [len(one) for one in trajectories] == [4, 1, 7, 1, 2, 5, 1, 1]
    assert [one.terminal for one in trajectories] == [True, True, False, True, True, False, True, True]
    back = adapter.from_trajectories(trajectories, "imitation/back-v0", **spaces_of(dataset))
    assert_same_episodes(back, dataset)


@pytest.mark.parametrize("observations", SPACES)
def test_a_round_trip_over_transitions_keeps_every_value(observations: str) -> None:
    dataset = make("imitation/from-v0", observations, ends=KEPT)
    back = adapter.from_transitions(adapter.to_transitions(dataset), "imitation/back-v0", **spaces_of(dataset))
    assert_same_episodes(back, dataset)


@pytest.mark.parametrize("observations", [name for name in SPACES if name != "dict"])
def test_a_round_trip_over_a_replay_buffer_loses_only_rewards(observations: str) -> None:
    dataset = make("imitation/from-v0", observations, ends=KEPT)
    with pytest.warns(UserWarning, match=r"imitation does not keep rewards \(8 episodes\)\."):
        buffer = adapter.to_replay_buffer(dataset)
    assert buffer.size() == buffer.capacity == 22
    with pytest.warns(UserWarning, match=r"rewards, which become NaN \(8 episodes\)\."):
        back = adapter.from_replay_buffer(buffer, "imitation/back-v0", **spaces_of(dataset))
    assert_same_episodes(back, dataset, "rewards")
    assert all(np.isnan(episode.rewards).all() for episode in back)


def test_spaces_are_inferred() -> None:
    dataset = make("imitation/from-v0", "dict", ends=KEPT)
    back = adapter.from_trajectories(adapter.to_trajectories(dataset), "imitation/back-v0")
    assert isinstance(back.observation_space, gym.spaces.Dict)
    assert back.action_space == gym.spaces.Discrete(4)
    assert_same_episodes(back, dataset)


def test_infos_of_steps_are_kept() -> None:
    dataset = make("imitation/from-v0", ends=KEPT, infos=True)
    with pytest.warns(UserWarning, match=r"imitation does not keep infos of resets \(8 episodes\)\."):
        trajectories = adapter.to_trajectories(dataset)
    back = adapter.from_trajectories(trajectories, "imitation/back-v0", observation_space=dataset.observation_space)
    for found, episode in zip(back, dataset, strict=True):
        np.testing.assert_array_equal(found.infos["clock"][1:], episode.infos["clock"][1:])
        assert list(found.infos["deep"]["word"][1:]) == list(episode.infos["deep"]["word"][1:])
        assert not any("TimeLimit" in key for key in found.infos)
    without = adapter.from_trajectories(trajectories, "imitation/without-v0", infos=False)
    assert not without[0].infos


def test_what_is_lost_is_named_in_one_warning() -> None:
    dataset = make("imitation/from-v0", ends=("cut", "both"))
    with pytest.warns(UserWarning, match="imitation does not keep") as caught:
        transitions = adapter.to_transitions(dataset)
    message = str(caught.pop(UserWarning).message)
    assert not caught.list
    assert "truncations of steps that are also terminated (4 episodes)" in message
    assert "ends of episodes that were cut, unless the next one starts from another observation (4 episodes)" in message
    back = adapter.from_transitions(transitions, "imitation/back-v0", **spaces_of(dataset))
    assert_same_episodes(back, dataset, "truncations")
    assert not any(episode.truncations.any() for episode in back)


def test_early_flags_are_lost_with_a_warning() -> None:
    dataset = make("imitation/from-v0", lengths=(5, 3), ends=("early", "terminated"))
    with pytest.warns(UserWarning, match=r"terminations and truncations before the last step \(1 episode\)"):
        trajectories = adapter.to_trajectories(dataset)
    back = adapter.from_trajectories(trajectories, "imitation/back-v0", **spaces_of(dataset))
    assert_same_episode(back[0], dataset[0], "terminations")
    assert not back[0].terminations.any()


def test_an_end_without_infos_becomes_a_termination_with_a_warning() -> None:
    dataset = make("imitation/from-v0", ends=("truncated",), lengths=(3, 2))
    trajectories = [
        Trajectory(obs=one.obs, acts=one.acts, infos=None, terminal=True) for one in adapter.to_trajectories(dataset)
    ]
    with pytest.warns(UserWarning, match="so that it becomes terminated") as caught:
        back = adapter.from_trajectories(trajectories, "imitation/back-v0")
    assert "rewards, which become NaN (2 episodes)" in str(caught.pop(UserWarning).message)
    assert [episode.terminations[-1] for episode in back] == [True, True]
    assert_same_episode(back[0], dataset[0], "terminations", "truncations", "rewards")


def collected(count: int, steps: int, **options: Any) -> list[Any]:
    """Let the library collect trajectories by random actions."""
    environments = DummyVecEnv(counting(count, **options))
    environments.action_space.seed(0)

    def at_random(observations: Any, state: Any, starts: Any) -> tuple[Any, None]:
        # The random policy of the library takes the keys of dicts for environments.
        return np.stack([environments.action_space.sample() for _ in range(count)]), None

    enough = rollout.make_min_timesteps(steps)
    return list(rollout.generate_trajectories(at_random, environments, enough, rng=np.random.default_rng(0)))


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("options", [{}, {"continuous": True}, {"nested": True}])
def test_trajectories_that_the_library_collected(count: int, options: dict[str, Any]) -> None:
    trajectories = collected(count, 80, **options)
    dataset = adapter.from_trajectories(trajectories, "imitation/collected-v0")
    assert dataset.total_steps == sum(map(len, trajectories)) >= 80
    assert_counts_are_right(dataset)
    assert any(episode.terminations[-1] for episode in dataset)
    assert any(episode.truncations[-1] for episode in dataset)
    np.testing.assert_array_equal(dataset[0].infos["clock"][1:], np.arange(1, len(dataset[0]) + 1))
    assert set(dataset[0].infos) == {"clock", "_clock"}


def test_the_info_with_a_whole_episode_is_left_out_with_a_warning() -> None:
    environments = DummyVecEnv([lambda: RolloutInfoWrapper(CountingEnv())])
    enough = rollout.make_min_episodes(4)
    trajectories = rollout.rollout(None, environments, enough, rng=np.random.default_rng(0), exclude_infos=False)
    with pytest.warns(UserWarning, match=r"keep the info 'rollout' of RolloutInfoWrapper \(.*\) \(4 episodes\)"):
        dataset = adapter.from_trajectories(trajectories, "imitation/wrapped-v0")
    assert set(dataset[0].infos) == {"clock", "_clock"}
    assert_counts_are_right(dataset)


def test_transitions_that_the_library_collected() -> None:
    transitions = rollout.flatten_trajectories_with_rew(collected(2, 80))
    assert_counts_are_right(adapter.from_transitions(transitions, "imitation/collected-v0"))


def test_a_replay_buffer_that_wrapped_around_is_read_in_order() -> None:
    trajectories = collected(1, 80)
    buffer = ReplayBuffer(50, DummyVecEnv([CountingEnv]))
    for trajectory in trajectories:
        buffer.store(rollout.flatten_trajectories([trajectory]))
    with pytest.warns(UserWarning, match="rewards, which become NaN"):
        dataset = adapter.from_replay_buffer(buffer, "imitation/wrapped-v0")
    assert dataset.total_steps == 50
    expected = np.concatenate([trajectory.obs[1:] for trajectory in trajectories])[-50:]
    np.testing.assert_array_equal(np.concatenate([episode.observations[1:] for episode in dataset]), expected)
    for episode in dataset:
        np.testing.assert_array_equal(np.diff(episode.observations[:, 2]), 1)
        assert episode.terminations[-1] or episode.truncations[-1]


def test_behavioral_cloning_trains(tmp_path: Path) -> None:
    dataset = make("imitation/from-v0", lengths=(20, 20))
    for demonstrations in (adapter.to_trajectories(dataset), adapter.to_transitions(dataset)):
        # Named, as the default asks for a learning rate schedule of earlier releases of Stable-Baselines3.
        policy = ActorCriticPolicy(dataset.observation_space, dataset.action_space, lambda _: 1e-3)
        trainer = bc.BC(
            observation_space=dataset.observation_space,
            action_space=dataset.action_space,
            rng=np.random.default_rng(0),
            demonstrations=demonstrations,
            policy=policy,
            batch_size=8,
            custom_logger=logger.configure(tmp_path, []),
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer.train(n_epochs=1, progress_bar=False)


@pytest.mark.parametrize(
    ("options", "message"), [*UNFIT, ({"observations": "tuple"}, "The observation space is .*Tuple.* expected a Box")]
)
def test_datasets_that_do_not_fit_are_refused(options: dict[str, Any], message: str) -> None:
    dataset = make("imitation/from-v0", **options)
    for function in (adapter.to_trajectories, adapter.to_transitions, adapter.to_replay_buffer):
        with pytest.raises(ArgumentError, match=message):
            function(dataset)


def test_invalid_arguments() -> None:
    dataset = make("imitation/from-v0", ends=KEPT)
    nested = make("imitation/dict-v0", "dict", ends=KEPT)
    transitions = adapter.to_transitions(dataset)
    assert isinstance(transitions, Transitions)
    minimal = TransitionsMinimal(obs=transitions.obs, acts=transitions.acts, infos=transitions.infos)
    name = "imitation/back-v0"
    assert_refused(
        (lambda: adapter.to_trajectories(dataset[[]]), ArgumentError, "no step in this view"),
        (lambda: adapter.to_replay_buffer("imitation/from-v0"), ArgumentTypeError, "expected a MinariDataset"),
        (
            lambda: adapter.to_replay_buffer(dataset, capacity=5),
            ArgumentError,
            "capacity is 5, expected at least the 22 steps",
        ),
        (lambda: adapter.to_replay_buffer(dataset, capacity=0), ArgumentError, "capacity is 0"),
        (
            lambda: adapter.to_replay_buffer(nested),
            ArgumentError,
            r"observation space is .*Dict.*, expected a space of one array",
        ),
        (lambda: adapter.from_trajectories([], name), ArgumentError, "There is no step"),
        (lambda: adapter.from_transitions(transitions[:0], name), ArgumentError, "There is no step"),
        (lambda: adapter.from_trajectories([3], name), ArgumentTypeError, "expected Trajectory objects"),
        (lambda: adapter.from_transitions(minimal, name), ArgumentTypeError, "transitions is a TransitionsMinimal"),
        (lambda: adapter.from_replay_buffer(transitions, name), ArgumentTypeError, "buffer is a TransitionsWithRew"),
    )
