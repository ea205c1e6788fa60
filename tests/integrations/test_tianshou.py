"""The adapter to Tianshou, with the real library."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from minari.errors import ArgumentError, ArgumentTypeError, SpaceError
from support.replay_datasets import (
    MARKS,
    NESTABLE,
    STRICT,
    CountingEnv,
    assert_counts_are_right,
    assert_refused,
    assert_same_episodes,
    counting,
    make,
    spaces_of,
)
from support.sampling_model import make as make_other


tianshou = pytest.importorskip("tianshou")
data = pytest.importorskip("tianshou.data")
algorithms = pytest.importorskip("tianshou.algorithm.algorithm_base")
adapter = pytest.importorskip("minari.integrations.tianshou")
pytestmark = MARKS


@STRICT
@pytest.mark.parametrize("space", NESTABLE)
@pytest.mark.parametrize("rewards", [{}, {"reward_shape": (2,)}], ids=["scalar", "vector"])
def test_a_round_trip_keeps_all_values(space: str, rewards: dict[str, Any]) -> None:
    dataset = make("buffers/first-v0", space, **rewards)
    buffer = adapter.to_replay_buffer(dataset)
    again = adapter.from_replay_buffer(buffer, "buffers/again-v0", **spaces_of(dataset))
    assert len(buffer) == dataset.total_steps
    assert again.observation_space == dataset.observation_space
    assert_same_episodes(again, dataset)


def test_the_buffer_samples_the_transitions_of_the_dataset() -> None:
    dataset = make("buffers/sampled-v0", "nested")
    buffer = adapter.to_replay_buffer(dataset)
    batch, indices = buffer.sample(50)
    expected = dataset.transitions()[indices]
    assert isinstance(batch.obs, data.Batch)
    np.testing.assert_array_equal(batch.obs.arm.joints, expected["observations"]["arm"]["joints"])
    np.testing.assert_array_equal(batch.obs_next.camera, expected["next_observations"]["camera"])
    np.testing.assert_array_equal(batch.terminated, expected["terminations"])
    np.testing.assert_array_equal(batch.truncated, expected["truncations"])
    cut = [int(stop) - 1 for stop, one in zip(np.cumsum([len(e) for e in dataset]), dataset, strict=True)
           if not (one.terminations[-1] or one.truncations[-1])]  # fmt: skip
    assert buffer.unfinished_index().tolist() == cut
    assert buffer.next(np.array(cut)).tolist() == cut


def test_a_view_and_several_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = make("buffers/viewed-v0")
    monkeypatch.setattr("minari.integrations._replay.CHUNK_BYTES", 200)
    view = dataset[[5, 3, 1]]
    again = adapter.from_replay_buffer(adapter.to_replay_buffer(view), "buffers/again-v0", **spaces_of(dataset))
    assert_same_episodes(again, view)


def test_rewards_become_float64() -> None:
    dataset = make("buffers/rewards-v0", rewards=np.float32)
    again = adapter.from_replay_buffer(adapter.to_replay_buffer(dataset), "buffers/again-v0", **spaces_of(dataset))
    assert dataset[0].rewards.dtype == np.float32
    assert again[0].rewards.dtype == np.float64
    assert_same_episodes(again, dataset, "reward dtype")


def test_infos_are_lost_with_a_warning() -> None:
    dataset = make("buffers/infos-v0", infos=True)
    with pytest.warns(UserWarning, match=r"The infos of buffers/infos-v0 \(clock, deep\) are left out"):
        buffer = adapter.to_replay_buffer(dataset)
    again = adapter.from_replay_buffer(buffer, "buffers/again-v0", **spaces_of(dataset))
    assert again[0].infos == {}
    assert_same_episodes(again, dataset)


def test_last_observations_are_lost_with_a_warning_where_the_buffer_has_none() -> None:
    dataset = make("buffers/short-v0")
    with pytest.warns(UserWarning, match="last observations of the episodes of buffers/short-v0 are left out"):
        buffer = adapter.to_replay_buffer(dataset, ignore_obs_next=True)
    with pytest.raises(ArgumentError, match="choose final_observation="):
        adapter.from_replay_buffer(buffer, "buffers/error-v0", **spaces_of(dataset))
    with pytest.warns(UserWarning, match="so the one before is repeated"):
        repeated = adapter.from_replay_buffer(
            buffer, "buffers/repeated-v0", final_observation="repeat", **spaces_of(dataset)
        )
    assert_same_episodes(repeated, dataset, "observations")
    for found, expected in zip(repeated, dataset, strict=True):
        np.testing.assert_array_equal(found.observations[:-1], expected.observations[:-1])
        np.testing.assert_array_equal(found.observations[-1], expected.observations[-2])
    with pytest.warns(UserWarning, match="the last step of each is left out"):
        dropped = adapter.from_replay_buffer(
            buffer, "buffers/dropped-v0", final_observation="drop_last_step", **spaces_of(dataset)
        )
    longer = [one for one in dataset if len(one) > 1]
    assert [len(one) for one in dropped] == [len(one) - 1 for one in longer]
    for found, expected in zip(dropped, longer, strict=True):
        np.testing.assert_array_equal(found.observations, expected.observations[:-1])
        assert found.truncations.tolist() == [False] * (len(found) - 1) + [True]


def test_an_early_termination_ends_the_episode_with_a_warning() -> None:
    dataset = make("buffers/early-v0", lengths=[3], ends=["early"])
    with pytest.warns(UserWarning, match="1 episodes of buffers/early-v0 go on after a step"):
        buffer = adapter.to_replay_buffer(dataset)
    again = adapter.from_replay_buffer(buffer, "buffers/again-v0", **spaces_of(dataset))
    observations = dataset[0].observations.tolist()
    assert [one.observations.tolist() for one in again] == [observations[:3], observations[2:]]


class Cycle(algorithms.Policy):
    """A policy that takes one action after the other, and tells so in the entry ``policy``."""

    def __init__(self) -> None:
        super().__init__(action_space=gym.spaces.Discrete(3), observation_space=None, action_scaling=False)
        self.calls = 0

    def forward(self, batch: Any, state: Any = None, **_: Any) -> Any:
        self.calls += 1
        count = len(batch.obs)
        actions = np.full(count, self.calls % 3)
        return data.Batch(act=actions, policy=data.Batch(score=actions * 2.0))


@pytest.mark.parametrize("nested", [False, True], ids=["plain", "nested"])
@pytest.mark.parametrize(("size", "steps"), [(300, 60), (36, 150)], ids=["with room", "wrapped around"])
def test_a_buffer_of_several_environments_filled_by_a_collector(nested: bool, size: int, steps: int) -> None:
    envs = tianshou.env.DummyVectorEnv(counting(3, nested=nested))
    buffer = data.VectorReplayBuffer(size, 3)
    collector = data.Collector(Cycle(), envs, buffer)
    collector.reset()
    collector.collect(n_step=steps, reset_before_collect=False)
    with pytest.warns(UserWarning, match="of the buffer are left out") as caught:
        dataset = adapter.from_replay_buffer(buffer, "buffers/collected-v0", **spaces_of(CountingEnv(nested=nested)))
    messages = [str(one.message) for one in caught]
    assert any("policy/score" in message for message in messages)
    wrapped = size < steps
    assert any("have overwritten their oldest steps" in message for message in messages) == wrapped
    assert dataset.total_steps == len(buffer) == min(size, steps)
    seen = assert_counts_are_right(dataset, headless=3 if wrapped else 0)
    assert {number for number, _ in seen} == {0, 1, 2}


def test_a_collector_that_is_reset_leaves_unfinished_episodes() -> None:
    buffer = data.VectorReplayBuffer(100, 2)
    collector = data.Collector(Cycle(), tianshou.env.DummyVectorEnv(counting(2)), buffer)
    for _ in range(3):
        collector.collect(n_step=4, reset_before_collect=True)
    dataset = adapter.from_replay_buffer(buffer, "buffers/reset-v0", **spaces_of(CountingEnv()))
    assert [len(one) for one in dataset] == [2] * 6
    assert len(assert_counts_are_right(dataset)) == 6


def test_one_step() -> None:
    dataset = make("buffers/one-v0", "nested", lengths=[1], ends=["cut"])
    again = adapter.from_replay_buffer(adapter.to_replay_buffer(dataset), "buffers/again-v0", **spaces_of(dataset))
    assert_same_episodes(again, dataset)


def test_a_single_buffer_that_wrapped_around() -> None:
    buffer = data.ReplayBuffer(7, stack_num=2, sample_avail=True)
    env = CountingEnv()
    observation, _ = env.reset()
    for step in range(17):
        following, reward, terminated, truncated, _ = env.step(step % 3)
        buffer.add(
            data.Batch(
                obs=observation, act=step % 3, rew=reward, terminated=terminated, truncated=truncated,
                obs_next=following, info={},
            )
        )  # fmt: skip
        observation = env.reset()[0] if terminated or truncated else following
    with pytest.warns(UserWarning, match="1 of 1 buffers have overwritten their oldest steps"):
        dataset = adapter.from_replay_buffer(buffer, "buffers/single-v0", **spaces_of(env))
    assert dataset.total_steps == 7
    assert_counts_are_right(dataset, headless=1)
    assert buffer.stack_num == 2
    with pytest.warns(UserWarning, match="assumed that the observation space is Box"):
        inferred = adapter.from_replay_buffer(buffer, "buffers/inferred-v0", author="Ada")
    assert inferred.action_space == gym.spaces.Discrete(3)
    assert "the action space is Discrete(3)" in inferred.storage.metadata["assumptions"]
    assert inferred.storage.metadata["author"] == {"Ada"}


def test_what_does_not_fit_is_one_clear_error() -> None:
    dataset = make("buffers/bad-v0")
    assert_refused(
        (lambda: adapter.to_replay_buffer(make_other("buffers/t-v0", (3,), "nested")), SpaceError, "arm are tuples"),
        (lambda: adapter.to_replay_buffer(make_other("buffers/w-v0", (3,), "text")), SpaceError, "mission are lists"),
        (lambda: adapter.to_replay_buffer("buffers/bad-v0"), ArgumentTypeError, "minari.load_dataset"),
        (lambda: adapter.to_replay_buffer(dataset, stack_num=0), ArgumentError, "stack_num is 0"),
        (lambda: adapter.from_replay_buffer(data.ReplayBuffer(5), "buffers/e-v0"), ArgumentError, "has no step"),
        (lambda: adapter.from_replay_buffer(dataset, "buffers/e-v0"), ArgumentTypeError, "a replay buffer of Tianshou"),
    )
