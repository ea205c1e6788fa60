"""The adapter to Stable-Baselines3, with the real library."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import minari
from minari.errors import ArgumentError, ArgumentTypeError
from support.replay_datasets import (
    KEPT,
    MARKS,
    OBSERVATIONS,
    STRICT,
    UNFIT,
    assert_counts_are_right,
    assert_refused,
    assert_same_episode,
    assert_same_episodes,
    counting,
    make,
    spaces_of,
)


pytest.importorskip("stable_baselines3")

from stable_baselines3 import DQN, SAC
from stable_baselines3.common.buffers import DictReplayBuffer, NStepReplayBuffer, ReplayBuffer
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import DummyVecEnv

from minari.integrations import sb3 as adapter


pytestmark = [*MARKS, STRICT]


@pytest.mark.parametrize("actions", ["unit", "choice", "choices"])
@pytest.mark.parametrize("observations", ["float32", "float64", "frames", "number", "discrete", "bits", "dict"])
def test_a_round_trip_keeps_every_value(observations: str, actions: str) -> None:
    dataset = make("sb3/from-v0", observations, actions, ends=KEPT)
    buffer = adapter.to_replay_buffer(dataset)
    assert buffer.size() == dataset.total_steps == 22
    assert isinstance(buffer, DictReplayBuffer) == (observations == "dict")
    back = adapter.from_replay_buffer(buffer, "sb3/back-v0")
    assert_same_episodes(back, dataset, "reward dtype")
    assert spaces_of(back) == spaces_of(dataset)


def test_views_keep_their_order_and_leave_room_to_continue() -> None:
    dataset = make("sb3/from-v0", ends=KEPT)[[5, 0, 1]]
    buffer = adapter.to_replay_buffer(dataset, buffer_size=20)
    assert (buffer.pos, buffer.full, buffer.buffer_size) == (10, False, 20)
    assert_same_episodes(adapter.from_replay_buffer(buffer, "sb3/back-v0"), dataset, "reward dtype")


def test_samples_bootstrap_from_final_observations_unless_terminated() -> None:
    dataset = make("sb3/from-v0", lengths=(1, 1), ends=KEPT)
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
        assert_same_episode(found, episode, "actions", "truncations", "reward dtype")
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
    dataset = make("sb3/from-v0", actions="wide", ends=KEPT)
    buffer = adapter.to_replay_buffer(dataset)
    expected = np.concatenate([episode.actions for episode in dataset]) / [2, 5] - [0, 1]
    np.testing.assert_allclose(buffer.actions[:, 0], expected, atol=1e-6)
    back = adapter.from_replay_buffer(buffer, "sb3/back-v0")
    assert_same_episodes(back, dataset, "actions", "reward dtype")
    for found, episode in zip(back, dataset, strict=True):
        np.testing.assert_allclose(found.actions, episode.actions, atol=1e-5)
    plain = adapter.to_replay_buffer(dataset, scaled_actions=False)
    assert_same_episodes(
        adapter.from_replay_buffer(plain, "sb3/plain-v0", scaled_actions=False), dataset, "reward dtype"
    )


def collected(steps: int, env: DummyVecEnv, size: int, **options: Any) -> ReplayBuffer:
    """Let an algorithm of the library fill a buffer, without training."""
    algorithm = SAC if isinstance(env.action_space, gym.spaces.Box) else DQN
    options = {"buffer_size": size, "learning_starts": 10**9, "train_freq": 1, **options}
    model = algorithm(
        "MultiInputPolicy" if isinstance(env.observation_space, gym.spaces.Dict) else "MlpPolicy",
        env,
        seed=1,
        **options,
    )
    model.learn(steps)
    assert isinstance(model.replay_buffer, ReplayBuffer)
    return model.replay_buffer


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("options", [{}, {"continuous": True}, {"nested": True}])
def test_a_buffer_that_learn_filled_is_split_into_its_episodes(count: int, options: dict[str, Any]) -> None:
    buffer = collected(90, DummyVecEnv(counting(count, **options)), 120)
    dataset = adapter.from_replay_buffer(buffer, "sb3/learned-v0")
    assert dataset.total_steps == 90
    assert_counts_are_right(dataset)
    assert sum(not (e.terminations[-1] or e.truncations[-1]) for e in dataset) <= count
    assert any(e.terminations[-1] for e in dataset)
    assert any(e.truncations[-1] for e in dataset)


@pytest.mark.parametrize("count", [1, 2])
def test_a_buffer_that_wrapped_around_is_read_in_order(count: int) -> None:
    buffer = collected(100, DummyVecEnv(counting(count)), 64, replay_buffer_class=NStepReplayBuffer)
    assert buffer.full
    with pytest.warns(UserWarning, match=rf"overwritten, so that an episode may lack its beginning \({count} "):
        dataset = adapter.from_replay_buffer(buffer, "sb3/wrapped-v0")
    assert dataset.total_steps == 64
    assert_counts_are_right(dataset, headless=count)
    resets = [episode.observations[0, 1] for episode in dataset if episode.observations[0, 0] == 0]
    assert resets == sorted(set(resets))


@pytest.mark.parametrize(("steps", "size"), [(22, 50), (40, 50), (70, 50), (100, 50)])  # 22: a step that ends
def test_a_buffer_of_shared_observations_repeats_final_ones(steps: int, size: int) -> None:
    options = {"optimize_memory_usage": True, "replay_buffer_kwargs": {"handle_timeout_termination": False}}
    buffer = collected(steps, DummyVecEnv(counting(1)), size, **options)
    with pytest.warns(UserWarning, match="The replay buffer does not keep") as caught:
        dataset = adapter.from_replay_buffer(buffer, "sb3/shared-v0")
    message = str(caught.pop(UserWarning).message)
    assert "final observations, in whose place the ones before are repeated" in message
    assert "time-outs, so that truncated episodes become terminated" in message
    assert dataset.total_steps == (steps if steps < size else size - 1)
    assert not any(episode.truncations.any() for episode in dataset)
    last = len(dataset) - 1
    assert_counts_are_right(dataset[:last], headless=1, repeats_final=True)
    np.testing.assert_array_equal(np.diff(dataset[last].observations[:, 2]), 1)  # whose successor is still there


def test_time_outs_that_are_not_told_apart_become_terminations() -> None:
    buffer = collected(30, DummyVecEnv(counting(1)), 50, replay_buffer_kwargs={"handle_timeout_termination": False})
    with pytest.warns(UserWarning, match="time-outs, so that truncated episodes become terminated"):
        dataset = adapter.from_replay_buffer(buffer, "sb3/timeouts-v0")
    assert [len(episode) for episode in dataset] == [6, 6, 4, 6, 6, 2]
    assert not any(episode.truncations.any() for episode in dataset)


def test_a_second_call_of_learn_begins_an_episode() -> None:
    model = DQN("MlpPolicy", DummyVecEnv(counting(1)), buffer_size=50, learning_starts=10**9, train_freq=1)
    model.learn(9)
    model.learn(9)
    dataset = adapter.from_replay_buffer(model.replay_buffer, "sb3/twice-v0")
    assert_counts_are_right(dataset)
    assert [len(episode) for episode in dataset] == [6, 3, 4, 5]


def test_an_algorithm_trains_on_a_dataset_and_continues_online() -> None:
    recorded = adapter.from_replay_buffer(
        collected(60, DummyVecEnv(counting(1, continuous=True)), 60), "sb3/recorded-v0", description="Recorded by SAC."
    )
    model = SAC("MlpPolicy", DummyVecEnv(counting(2, continuous=True)[1:]), learning_starts=0, batch_size=16, seed=0)
    complete = recorded.filter_episodes(lambda episode: bool(episode.terminations[-1] or episode.truncations[-1]))
    model.replay_buffer = adapter.to_replay_buffer(complete, buffer_size=100, device=model.device)
    model.set_logger(configure(None, []))
    model.train(gradient_steps=3, batch_size=16)
    model.learn(10)
    assert_counts_are_right(adapter.from_replay_buffer(model.replay_buffer, "sb3/continued-v0"))


@pytest.mark.parametrize(
    ("options", "message"), [*UNFIT, ({"observations": "tuple"}, "The observation space is .*Tuple.* expected a Box")]
)
def test_datasets_that_do_not_fit_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        adapter.to_replay_buffer(make("sb3/from-v0", **options))


def test_invalid_arguments() -> None:
    dataset = make("sb3/from-v0", ends=KEPT)
    empty = ReplayBuffer(5, OBSERVATIONS["float32"], gym.spaces.Discrete(2))
    assert_refused(
        (lambda: adapter.to_replay_buffer(dataset[[]]), ArgumentError, "no step in this view"),
        (lambda: adapter.to_replay_buffer("sb3/from-v0"), ArgumentTypeError, "expected a MinariDataset"),
        (
            lambda: adapter.to_replay_buffer(dataset, buffer_size=5),
            ArgumentError,
            "buffer_size is 5, expected at least the 22 steps",
        ),
        (lambda: adapter.to_replay_buffer(dataset, buffer_size=0), ArgumentError, "buffer_size is 0"),
        (lambda: adapter.from_replay_buffer(empty, "sb3/back-v0"), ArgumentError, "has no step"),
        (lambda: adapter.from_replay_buffer([], "sb3/back-v0"), ArgumentTypeError, "buffer is a list"),
    )
