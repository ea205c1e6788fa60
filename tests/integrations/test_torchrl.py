"""The adapter to TorchRL, with the real library."""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import minari
from minari.errors import ArgumentError, ArgumentTypeError, SpaceError
from support.replay_datasets import (
    MARKS,
    NESTABLE,
    STRICT,
    CountingEnv,
    assert_counts_are_right,
    assert_refused,
    assert_same_episodes,
    make,
    spaces_of,
)
from support.sampling_model import make as make_other


torch = pytest.importorskip("torch")
tensordict = pytest.importorskip("tensordict")
collectors = pytest.importorskip("torchrl.collectors")
envs = pytest.importorskip("torchrl.envs")
data = pytest.importorskip("torchrl.data")
adapter = pytest.importorskip("minari.integrations.torchrl")
pytestmark = MARKS

TRAJECTORIES = ("collector", "traj_ids")


@STRICT
@pytest.mark.parametrize("space", NESTABLE)
@pytest.mark.parametrize(
    ("rewards", "shape"), [(np.float64, ()), (np.float32, (2,)), (np.int64, ())], ids=["scalar", "vector", "whole"]
)
def test_a_round_trip_keeps_all_values(space: str, rewards: type, shape: tuple[int, ...]) -> None:
    dataset = make("buffers/first-v0", space, rewards=rewards, reward_shape=shape)
    buffer = adapter.to_replay_buffer(dataset)
    again = adapter.from_replay_buffer(buffer, "buffers/again-v0", **spaces_of(dataset))
    assert len(buffer) == dataset.total_steps
    assert_same_episodes(again, dataset)


def test_the_buffer_has_the_layout_of_collectors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minari.integrations._replay.CHUNK_BYTES", 300)
    dataset = make("buffers/layout-v0", "nested")
    step = adapter.to_replay_buffer(dataset)[:]
    expected = dataset.transitions().arrays()
    assert step["observation", "arm", "joints"].numpy().tolist() == expected["observations"]["arm"]["joints"].tolist()
    following = expected["next_observations"]["camera"]
    assert step["next", "observation", "camera"].numpy().tolist() == following.tolist()
    for key, name in (("terminated", "terminations"), ("truncated", "truncations")):
        assert step["next", key].shape == (len(dataset.transitions()), 1)
        assert step["next", key][:, 0].tolist() == expected[name].tolist()
        assert not step[key].any()
    assert step["next", "done"].tolist() == (step["next", "terminated"] | step["next", "truncated"]).tolist()
    assert step["next", "reward"].dtype == torch.float64
    assert step["next", "reward"][:, 0].tolist() == expected["rewards"].tolist()
    assert step[TRAJECTORIES].tolist() == expected["episode_ids"].tolist()


def test_slices_are_of_single_episodes_also_of_those_that_were_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minari.integrations._replay.CHUNK_BYTES", 400)
    dataset = make("buffers/sliced-v0", "number", lengths=(4, 5, 4, 6), ends=("cut", "truncated", "cut", "terminated"))
    sampler = data.SliceSampler(slice_len=4, traj_key=TRAJECTORIES)
    buffer = adapter.to_replay_buffer(dataset, sampler=sampler, batch_size=40)
    slices = buffer.sample().reshape(10, 4)
    for one in slices:
        assert len(set(one[TRAJECTORIES].tolist())) == 1
        assert one["next", "observation"][:-1].tolist() == one["observation"][1:].tolist()


def test_a_view_in_a_storage_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minari.integrations._replay.CHUNK_BYTES", 200)
    view = make("buffers/viewed-v0", "frames")[[5, 3, 1]]
    storage = data.LazyMemmapStorage(50, scratch_dir=str(tmp_path))
    buffer = adapter.to_replay_buffer(view, storage=storage, batch_size=3)
    assert buffer.sample()["observation"].shape == (3, 3, 12, 10)
    assert len(buffer) == view.total_steps
    assert_same_episodes(adapter.from_replay_buffer(buffer, "buffers/again-v0", **spaces_of(view)), view)


def test_infos_are_lost_with_a_warning() -> None:
    dataset = make("buffers/infos-v0", infos=True)
    with pytest.warns(UserWarning, match=r"The infos of buffers/infos-v0 \(clock, deep\) are left out"):
        buffer = adapter.to_replay_buffer(dataset)
    assert_same_episodes(adapter.from_replay_buffer(buffer, "buffers/again-v0", **spaces_of(dataset)), dataset)


def wrapped(number: int, nested: bool, one_hot: bool) -> Any:
    return envs.GymWrapper(CountingEnv(number, nested=nested), categorical_action_encoding=not one_hot)


@pytest.mark.parametrize("nested", [False, True], ids=["plain", "nested"])
@pytest.mark.parametrize("one_hot", [False, True], ids=["numbers", "one-hot"])
@pytest.mark.parametrize("with_ids", [False, True], ids=["without ids", "with ids"])
@pytest.mark.parametrize("size", [500, 47], ids=["with room", "wrapped around"])
def test_a_buffer_filled_by_a_collector(nested: bool, one_hot: bool, with_ids: bool, size: int) -> None:
    several = envs.SerialEnv(3, [partial(wrapped, number, nested, one_hot) for number in range(3)])
    collector = collectors.Collector(several, None, frames_per_batch=30, total_frames=150)
    buffer = data.TensorDictReplayBuffer(storage=data.LazyTensorStorage(size), batch_size=4)
    for batch in collector:
        if not with_ids:
            batch = batch.exclude("collector")
        buffer.extend(batch.reshape(-1))
    collector.shutdown()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        dataset = adapter.from_replay_buffer(buffer, "buffers/collected-v0", **spaces_of(CountingEnv(nested=nested)))
    messages = [
        str(one.message) for one in caught if not issubclass(one.category, minari.errors.MissingMetadataWarning)
    ]
    assert len(messages) == (size == 47), messages
    assert all("has overwritten its oldest steps" in message for message in messages)
    assert dataset.total_steps == min(size, 150)
    if with_ids:  # else episodes that two batches have parts of are in two
        seen = assert_counts_are_right(dataset, headless=3 if size == 47 else 0)
        assert {number for number, _ in seen} == {0, 1, 2}
    else:
        for one in dataset:
            states = one.observations["counts"] if nested else one.observations
            assert (states[:, :2] == states[0, :2]).all()
            assert (np.diff(states[:, 2]) == 1).all()


def test_batches_of_a_collector_and_storages_of_two_dimensions() -> None:
    several = envs.SerialEnv(2, [partial(wrapped, number, False, False) for number in range(2)])
    collector = collectors.Collector(several, None, frames_per_batch=20, total_frames=80)
    buffer = data.TensorDictReplayBuffer(storage=data.LazyTensorStorage(34, ndim=2), dim_extend=1, batch_size=4)
    plain = spaces_of(CountingEnv())
    for number, batch in enumerate(collector):
        if not number:
            assert batch.shape == (2, 10)
            assert_counts_are_right(adapter.from_replay_buffer(batch, "buffers/batch-v0", **plain))
        buffer.extend(batch.exclude("collector"))
    collector.shutdown()
    with pytest.warns(UserWarning, match="overwritten its oldest steps"):
        dataset = adapter.from_replay_buffer(buffer, "buffers/two-v0", **plain)
    assert dataset.total_steps == 34
    assert {number for number, _ in assert_counts_are_right(dataset, headless=2)} == {0, 1}


def test_one_step_and_a_list_storage() -> None:
    dataset = make("buffers/one-v0", "nested", lengths=[1], ends=["cut"])
    again = adapter.from_replay_buffer(adapter.to_replay_buffer(dataset), "buffers/again-v0", **spaces_of(dataset))
    assert_same_episodes(again, dataset)
    dataset = make("buffers/list-v0", "nested")
    buffer = adapter.to_replay_buffer(dataset, storage=data.ListStorage(100))
    assert_same_episodes(adapter.from_replay_buffer(buffer, "buffers/listed-v0", **spaces_of(dataset)), dataset)


@pytest.mark.parametrize("kept", [("truncated",), ("terminated",), ()], ids=str)
def test_flags_that_a_buffer_lacks_follow_from_the_others(kept: tuple[str, ...]) -> None:
    dataset = make("buffers/flags-v0", "float64", lengths=(2, 3, 2), ends=("terminated", "truncated", "cut"))
    lacking = [("next", key) for key in ("terminated", "truncated") if key not in kept]
    steps = adapter.to_replay_buffer(dataset)[:].exclude("index", *lacking)
    again = adapter.from_replay_buffer(steps, "buffers/again-v0", **spaces_of(dataset))
    if kept:
        assert_same_episodes(again, dataset)
    else:
        assert_same_episodes(again, dataset, "terminations", "truncations")
        assert [one.terminations[-1] for one in again] == [True, True, False]


def test_nan_in_observations_does_not_split_an_episode() -> None:
    box = gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    observations = np.full((5, 2), np.nan, np.float32)
    dataset = minari.create_dataset_from_arrays(
        "buffers/nan-v0", observations=observations, actions=np.zeros(4, int), rewards=np.ones(4),
        terminations=np.arange(4) == 3, observation_space=box, action_space=gym.spaces.Discrete(2),
    )  # fmt: skip
    again = adapter.from_replay_buffer(adapter.to_replay_buffer(dataset), "buffers/again-v0", **spaces_of(dataset))
    assert [len(one) for one in again] == [4]


def test_entries_without_a_place_are_named_and_observations_can_be_chosen() -> None:
    buffer = adapter.to_replay_buffer(make("buffers/more-v0", "number", lengths=[5], ends=["terminated"]))
    steps = buffer[:].exclude("index")
    steps["sample_log_prob"] = torch.zeros(5)
    steps["height"], steps["next", "height"] = torch.arange(5.0), torch.arange(5.0) + 1
    steps["step_count"], steps["next", "step_count"] = torch.arange(5)[:, None], torch.arange(5)[:, None] + 1
    with pytest.warns(UserWarning, match=r"The entries sample_log_prob, step_count of the buffer"):
        both = adapter.from_replay_buffer(steps, "buffers/both-v0")
    assert set(both.observation_space.spaces) == {"height", "observation"}
    with pytest.warns(UserWarning, match=r"The entries observation, sample_log_prob, step_count of"):
        one = adapter.from_replay_buffer(steps, "buffers/one-v0", observation_keys=["height"])
    assert one[0].observations["height"].tolist() == [0, 1, 2, 3, 4, 5]


def test_episodes_are_split_where_steps_are_missing_with_a_warning() -> None:
    dataset = make("buffers/gap-v0", "float64", lengths=[6], ends=["terminated"])
    steps = adapter.to_replay_buffer(dataset)[:][torch.tensor([0, 1, 2, 4, 5])]
    with pytest.warns(UserWarning, match="1 episodes are split where a step does not begin"):
        again = adapter.from_replay_buffer(steps.exclude("index"), "buffers/again-v0", **spaces_of(dataset))
    assert [len(one) for one in again] == [3, 2]
    np.testing.assert_array_equal(again[0].observations, dataset[0].observations[:4])
    assert not again[0].terminations.any()
    assert again[1].terminations.tolist() == [False, True]


def test_what_does_not_fit_is_one_clear_error() -> None:
    dataset = make("buffers/bad-v0")
    steps = adapter.to_replay_buffer(dataset)[:]
    large = minari.create_dataset_from_arrays(
        "buffers/large-v0", observations=np.arange(3, dtype=np.uint16), actions=np.arange(2), rewards=np.ones(2),
        terminations=np.array([False, True]),
    )  # fmt: skip
    storage = data.LazyTensorStorage(5)
    one_hot = {**spaces_of(dataset), "action_space": gym.spaces.Discrete(7)}
    two = steps.exclude("action").set("action", torch.zeros(len(steps), 4))
    assert_refused(
        (lambda: adapter.to_replay_buffer(make_other("buffers/t-v0", (3,), "nested")), SpaceError, "arm are tuples"),
        (lambda: adapter.to_replay_buffer(large), SpaceError, "are uint16 values, which TorchRL's buffer does not"),
        (lambda: adapter.to_replay_buffer("buffers/bad-v0"), ArgumentTypeError, "minari.load_dataset"),
        (lambda: adapter.to_replay_buffer(dataset, storage=storage), ArgumentError, "room for 5 steps"),
        (lambda: adapter.from_replay_buffer(data.ReplayBuffer(), "buffers/e-v0"), ArgumentError, "has no step"),
        (lambda: adapter.from_replay_buffer(dataset, "buffers/e-v0"), ArgumentTypeError, "expected a replay buffer"),
        (lambda: adapter.from_replay_buffer(steps[:0], "buffers/e-v0"), ArgumentError, "has no step"),
        (lambda: adapter.from_replay_buffer(two, "buffers/e-v0", **one_hot), ArgumentError, "one-hot vectors of a"),
        (
            lambda: adapter.from_replay_buffer(steps, "buffers/e-v0", observation_keys=["pixels"]),
            ArgumentError,
            "observation_keys holds 'pixels', and the buffer has",
        ),
        (
            lambda: adapter.from_replay_buffer(steps, "buffers/e-v0", observation_keys="pixels"),
            ArgumentTypeError,
            "expected a list",
        ),
        (
            lambda: adapter.from_replay_buffer(steps.exclude(("next", "reward")), "buffers/e-v0"),
            ArgumentError,
            "no \\('next', 'reward'\\)",
        ),
    )
