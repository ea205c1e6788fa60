"""The adapter to Stable-Baselines3, with the real library."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import minari
from minari.errors import ArgumentError, ArgumentTypeError
from support.replay_model import (
    OBSERVATIONS,
    CountingEnv,
    assert_counts_are_right,
    assert_same_episode,
    assert_same_episodes,
    make,
)


if find_spec("stable_baselines3") is None:
    pytest.skip("Stable-Baselines3 is not installed", allow_module_level=True)

from stable_baselines3 import DQN, SAC
from stable_baselines3.common.buffers import DictReplayBuffer, NStepReplayBuffer, ReplayBuffer
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import DummyVecEnv

from minari.integrations import sb3 as adapter


pytestmark = [
    pytest.mark.integrations,
    pytest.mark.filterwarnings("error", "ignore::minari.errors.MissingMetadataWarning"),
    # Of the libraries themselves.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:.*Gym has been unmaintained"),
]


@pytest.mark.parametrize("actions", ["unit", "choice", "choices"])
@pytest.mark.parametrize("observations", ["float32", "float64", "frames", "number", "discrete", "bits", "dict"])
def test_a_round_trip_keeps_every_value(observations: str, actions: str) -> None:
    dataset = make("sb3/from-v0", observations, actions)
    buffer = adapter.to_replay_buffer(dataset)
    assert buffer.size() == dataset.total_steps == 22
    assert isinstance(buffer, DictReplayBuffer) == (observations == "dict")
    back = adapter.from_replay_buffer(buffer, "sb3/back-v0")
    assert_same_episodes(back, dataset)
    assert back.observation_space == dataset.observation_space
    assert back.action_space == dataset.action_space


def test_views_keep_their_order_and_leave_room_to_continue() -> None:
    dataset = make("sb3/from-v0")[[5, 0, 1]]
    buffer = adapter.to_replay_buffer(dataset, buffer_size=20)
    assert (buffer.pos, buffer.full, buffer.buffer_size) == (10, False, 20)
    assert_same_episodes(adapter.from_replay_buffer(buffer, "sb3/back-v0"), dataset)


def test_samples_bootstrap_from_final_observations_unless_terminated() -> None:
    dataset = make("sb3/from-v0", lengths=(1, 1), ends=("terminated", "truncated"))
    batch = adapter.to_replay_buffer(dataset, device="cpu").sample(200)
    for number, terminated in enumerate((1.0, 0.0)):
        episode = dataset[number]
        rows = (batch.observations.numpy() == episode.observations[0]).all(axis=1)
        assert rows.any()
        assert set(batch.dones.numpy()[rows].ravel()) == {terminated}
        assert (batch.next_observations.numpy()[rows] == episode.observations[1]).all()


def test_what_is_lost_is_named_in_one_warning() -> None:
    dataset = make("sb3/from-v0", actions="double", ends=("cut", "both", "truncated"), infos=True)
    with pytest.warns(UserWarning, match="Stable-Baselines3 does not keep") as caught:
        buffer = adapter.to_replay_buffer(dataset)
    message = str(caught.pop(UserWarning).message)
    assert not caught.list
    assert "infos (8 episodes)" in message
    assert "digits of float64 actions (8 episodes)" in message
    assert "truncations of steps that are also terminated (3 episodes)" in message
    assert "cut ones become truncated (3 episodes)" in message
    back = adapter.from_replay_buffer(buffer, "sb3/back-v0")
    for number, (found, episode) in enumerate(zip(back, dataset, strict=True)):
        assert_same_episode(found, episode, "actions", "truncations")
        np.testing.assert_array_equal(found.actions, episode.actions.astype(np.float32).astype(np.float64))
        assert found.truncations[-1] == (number % 3 != 1)
        assert not found.infos


def test_an_episode_that_continues_after_its_end_becomes_two_with_a_warning() -> None:
    dataset = make("sb3/from-v0", lengths=(5, 3), ends=("early", "terminated"))
    with pytest.warns(UserWarning, match=r"continue after a termination or truncation, .* several \(1 episode\)"):
        buffer = adapter.to_replay_buffer(dataset)
    back = adapter.from_replay_buffer(buffer, "sb3/back-v0")
    assert [len(episode) for episode in back] == [2, 3, 3]
    np.testing.assert_array_equal(back[0].observations, dataset[0].observations[:3])
    np.testing.assert_array_equal(back[1].observations, dataset[0].observations[2:])
    assert [(bool(e.terminations[-1]), bool(e.truncations[-1])) for e in back] == [(1, 0), (0, 1), (1, 0)]


def test_digits_of_rewards_are_lost_with_a_warning() -> None:
    episode = minari.data_collector.EpisodeBuffer(
        observations=np.zeros((2, 3), np.float32),
        actions=np.zeros((1, 2), np.float32),
        rewards=[0.1],
        terminations=[True],
        truncations=[False],
    )
    space = gym.spaces.Box(-1, 1, (2,), np.float32)
    dataset = minari.create_dataset_from_buffers(
        "sb3/digits-v0", [episode], observation_space=OBSERVATIONS["float32"], action_space=space
    )
    with pytest.warns(UserWarning, match=r"keep digits of float64 rewards \(1 episode\)"):
        buffer = adapter.to_replay_buffer(dataset)
    assert adapter.from_replay_buffer(buffer, "sb3/back-v0")[0].rewards == np.float32(0.1)


def test_actions_are_scaled_as_the_algorithms_scale_them() -> None:
    dataset = make("sb3/from-v0", actions="wide")
    buffer = adapter.to_replay_buffer(dataset)
    expected = np.concatenate([episode.actions for episode in dataset]) / [2, 5] - [0, 1]
    np.testing.assert_allclose(buffer.actions[:, 0], expected, atol=1e-6)
    back = adapter.from_replay_buffer(buffer, "sb3/back-v0")
    assert_same_episodes(back, dataset, "actions")
    for found, episode in zip(back, dataset, strict=True):
        np.testing.assert_allclose(found.actions, episode.actions, atol=1e-5)
    plain = adapter.to_replay_buffer(dataset, scaled_actions=False)
    assert_same_episodes(adapter.from_replay_buffer(plain, "sb3/plain-v0", scaled_actions=False), dataset)


def environments(count: int, limit: int = 6, **options: Any) -> DummyVecEnv:
    return DummyVecEnv(
        [
            lambda number=number: gym.wrappers.TimeLimit(CountingEnv(number, **options), limit)  # type: ignore[misc]
            for number in range(count)
        ]
    )


def collected(steps: int, env: DummyVecEnv, size: int, **options: Any) -> ReplayBuffer:
    """Let an algorithm of the library fill a buffer, without training."""
    is_dict = isinstance(env.observation_space, gym.spaces.Dict)
    algorithm = SAC if isinstance(env.action_space, gym.spaces.Box) else DQN
    options = {"buffer_size": size, "learning_starts": 10**9, "train_freq": 1, **options}
    model = algorithm("MultiInputPolicy" if is_dict else "MlpPolicy", env, seed=1, **options)
    model.learn(steps)
    assert isinstance(model.replay_buffer, ReplayBuffer)
    return model.replay_buffer


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("options", [{}, {"continuous": True}, {"is_dict": True}])
def test_a_buffer_that_learn_filled_is_split_into_its_episodes(count: int, options: dict[str, Any]) -> None:
    buffer = collected(90, environments(count, **options), 120)
    dataset = adapter.from_replay_buffer(buffer, "sb3/learned-v0")
    assert dataset.total_steps == 90
    assert_counts_are_right(dataset, 6)
    assert sum(not (e.terminations[-1] or e.truncations[-1]) for e in dataset) <= count
    assert any(e.terminations[-1] for e in dataset)
    assert any(e.truncations[-1] for e in dataset)


@pytest.mark.parametrize("count", [1, 2])
def test_a_buffer_that_wrapped_around_is_read_in_order(count: int) -> None:
    buffer = collected(100, environments(count), 64, replay_buffer_class=NStepReplayBuffer)
    assert buffer.full
    with pytest.warns(UserWarning, match=rf"overwritten, so that an episode may lack its beginning \({count} "):
        dataset = adapter.from_replay_buffer(buffer, "sb3/wrapped-v0")
    assert dataset.total_steps == 64
    assert_counts_are_right(dataset, 6)
    resets = [episode.observations[0, 1] for episode in dataset if episode.observations[0, 0] == 0]
    assert resets == sorted(set(resets))


@pytest.mark.parametrize(("steps", "size"), [(22, 50), (40, 50), (70, 50), (100, 50)])  # 22: a step that ends
def test_a_buffer_of_shared_observations_repeats_final_ones(steps: int, size: int) -> None:
    options = {"optimize_memory_usage": True, "replay_buffer_kwargs": {"handle_timeout_termination": False}}
    buffer = collected(steps, environments(1), size, **options)
    with pytest.warns(UserWarning, match="The replay buffer does not keep") as caught:
        dataset = adapter.from_replay_buffer(buffer, "sb3/shared-v0")
    message = str(caught.pop(UserWarning).message)
    assert "final observations, in whose place the ones before are repeated" in message
    assert "time-outs, so that truncated episodes become terminated" in message
    assert dataset.total_steps == (steps if steps < size else size - 1)
    assert not any(episode.truncations.any() for episode in dataset)
    last = len(dataset) - 1
    assert_counts_are_right(dataset[:last], 6, repeats_final=True)
    np.testing.assert_array_equal(np.diff(dataset[last].observations[:, 2]), 1)  # whose successor is still there


def test_time_outs_that_are_not_told_apart_become_terminations() -> None:
    buffer = collected(30, environments(1), 50, replay_buffer_kwargs={"handle_timeout_termination": False})
    with pytest.warns(UserWarning, match="time-outs, so that truncated episodes become terminated"):
        dataset = adapter.from_replay_buffer(buffer, "sb3/timeouts-v0")
    assert [len(episode) for episode in dataset] == [6, 6, 4, 6, 6, 2]
    assert not any(episode.truncations.any() for episode in dataset)


def test_a_second_call_of_learn_begins_an_episode() -> None:
    model = DQN("MlpPolicy", environments(1), buffer_size=50, learning_starts=10**9, train_freq=1)
    model.learn(9)
    model.learn(9)
    dataset = adapter.from_replay_buffer(model.replay_buffer, "sb3/twice-v0")
    assert_counts_are_right(dataset, 6)
    assert [len(episode) for episode in dataset] == [6, 3, 4, 5]


def test_an_algorithm_trains_on_a_dataset_and_continues_online() -> None:
    recorded = adapter.from_replay_buffer(
        collected(60, environments(1, continuous=True), 60), "sb3/recorded-v0", description="Recorded by SAC."
    )
    model = SAC("MlpPolicy", environments(1, continuous=True), learning_starts=0, batch_size=16, seed=0)
    complete = recorded.filter_episodes(lambda episode: bool(episode.terminations[-1] or episode.truncations[-1]))
    model.replay_buffer = adapter.to_replay_buffer(complete, buffer_size=100, device=model.device)
    model.set_logger(configure(None, []))
    model.train(gradient_steps=3, batch_size=16)
    model.learn(10)
    assert_counts_are_right(adapter.from_replay_buffer(model.replay_buffer, "sb3/continued-v0"), 6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"observations": "text"}, "The observation space is .*Text.* expected a Box"),
        ({"observations": "tuple"}, "The observation space is .*Tuple.* expected a Box"),
        ({"reward_shape": (2,)}, r"shape \(4, 2\), expected one number a step"),
    ],
)
def test_datasets_that_do_not_fit_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        adapter.to_replay_buffer(make("sb3/from-v0", **options))


def test_invalid_arguments() -> None:
    dataset = make("sb3/from-v0")
    empty = ReplayBuffer(5, OBSERVATIONS["float32"], gym.spaces.Discrete(2))
    with pytest.raises(ArgumentError, match="no step in this view"):
        adapter.to_replay_buffer(dataset[[]])
    with pytest.raises(ArgumentTypeError, match="expected a MinariDataset"):
        adapter.to_replay_buffer("sb3/from-v0")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="buffer_size is 5, expected at least the 22 steps"):
        adapter.to_replay_buffer(dataset, buffer_size=5)
    with pytest.raises(ArgumentError, match="buffer_size is 0"):
        adapter.to_replay_buffer(dataset, buffer_size=0)
    with pytest.raises(ArgumentError, match="has no step"):
        adapter.from_replay_buffer(empty, "sb3/back-v0")
    with pytest.raises(ArgumentTypeError, match="buffer is a list"):
        adapter.from_replay_buffer([], "sb3/back-v0")  # type: ignore[arg-type]
