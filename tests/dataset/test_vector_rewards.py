"""Rewards of several numbers a step: stored, added up component by component, and alike within a dataset."""

from __future__ import annotations

import json
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

import minari
from minari.cli.show import show_dataset
from minari.dataset.validation import validate
from minari.errors import CombineError, EpisodeError, ScoreError
from minari.testing.comparison import assert_same
from support.scripted import PLANE, ScriptedEnv, buffer_of, collected, play


pytestmark = [
    pytest.mark.filterwarnings("ignore:`.*` is set to None"),
    pytest.mark.filterwarnings("ignore:.*assumed that"),
]

FORMATS = ["hdf5", "arrow", "parquet", "zarr"]


def rewards_of(*shape: int, dtype: Any = np.float32, length: int = 3) -> Any:
    return np.arange(length * int(np.prod(shape))).reshape(length, *shape).astype(dtype)


def make(dataset_id: str, *rewards: Any, data_format: str = "hdf5") -> minari.MinariDataset:
    buffers = [buffer_of(len(values), rewards=values) for values in rewards]
    return minari.create_dataset_from_buffers(
        dataset_id, buffers, observation_space=PLANE, action_space=spaces.Discrete(3), data_format=data_format
    )


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("shape", [(2,), (4, 3)])
def test_rewards_of_any_shape_are_stored_in_every_format(data_format: str, shape: tuple[int, ...]) -> None:
    first, second = rewards_of(*shape), rewards_of(*shape, dtype=np.int64, length=2)
    made = make("mo/a-v0", first, second, data_format=data_format)
    dataset = minari.load_dataset("mo/a-v0")
    copies = [dataset.convert(f"mo/{name}-v0", name) for name in FORMATS]
    for opened in (made, dataset, *copies):
        assert_same([episode.rewards for episode in opened], [first, second])
        assert opened.storage.reward_shape == shape
        assert validate(opened.storage.data_path).ok
    assert_same(dataset.storage.get_window(0, 1, 3)["rewards"], first[1:3])
    (views,) = dataset.storage.get_episodes([0], copy=False)
    assert_same(views["rewards"], first)
    assert_same(minari.combine_datasets([dataset, copies[0]], "mo/both-v0")[2].rewards, first)
    statistics = dataset.statistics()
    assert_same(statistics.returns, np.stack([first.sum(0), second.sum(0)]).astype(np.float64))
    assert np.shape(statistics.summary()["return"]["mean"]) == shape


@pytest.mark.parametrize("data_format", FORMATS)
def test_vectors_are_recorded(data_format: str) -> None:
    env = ScriptedEnv(reward=lambda time: np.array([time, -1.5, 0]))
    collector = collected(env, 3, data_format=data_format, buffer_steps=1)
    dataset = collector.create_dataset("mo/recorded-v0")
    assert_same(dataset[2].rewards, np.array([[time, -1.5, 0] for time in range(1, 6)]))
    (metadata,) = dataset.storage.get_episode_metadata([1])
    assert metadata["rewards_sum"].tolist() == [15, -7.5, 0]
    assert metadata["rewards_max"].tolist() == [5, -1.5, 0]
    play(collector)
    collector.add_to_dataset(dataset)
    assert dataset.total_episodes == 4
    assert repr(dataset[0]).count("rewards=ndarray of shape (5, 3)") == 1


@pytest.mark.parametrize(
    ("rewards", "expected"),
    [
        ([(1, 2.5), (3, 4), (5, 6)], np.array([[1, 2.5], [3, 4], [5, 6]])),
        ([np.array([1.0, 2.0], ">f4")] * 3, np.array([[1, 2]] * 3, np.float32)),
        (np.ones((3, 1), np.float32), np.ones(3, np.float32)),
    ],
)
def test_lists_of_vectors_are_taken(rewards: Any, expected: Any) -> None:
    assert_same(make("mo/a-v0", rewards)[0].rewards, expected)


def test_rewards_are_alike_within_a_dataset() -> None:
    with pytest.raises(EpisodeError, match=r"Episode 1 .* shape \(3,\) a step, expected \(2,\)"):
        make("mo/mixed-v0", rewards_of(2), rewards_of(3))
    two, three, plain = make("mo/two-v0", rewards_of(2)), make("mo/three-v0", rewards_of(3)), make("mo/one-v0", [1.0])
    for dataset, values in ((two, rewards_of(3)), (two, [1.0, 2, 3]), (plain, rewards_of(2))):
        with pytest.raises(EpisodeError, match="a dataset of their own"):
            dataset.update_dataset_from_buffer([buffer_of(3, rewards=values)])
    two.update_dataset_from_buffer([buffer_of(3, rewards=rewards_of(2))])
    for others in ([two, three], [plain, two]):
        with pytest.raises(CombineError, match=r"rewards of the datasets differ in shape: \(.*\) a step in mo/"):
            minari.combine_datasets(others, "mo/both-v0")
        with pytest.raises(CombineError, match="rewards of"):
            others[0].storage.update_from_storage(others[1].storage)
    assert minari.list_local_datasets().keys() == {"mo/two-v0", "mo/three-v0", "mo/one-v0"}


@pytest.mark.parametrize(
    ("rewards", "last"), [(rewards_of(2, length=4), rewards_of(2, length=4)[2:]), (np.ones((4, 1)), np.ones(2))]
)
def test_arrays_of_vectors_are_taken(rewards: Any, last: Any) -> None:
    dataset = minari.create_dataset_from_arrays(
        "mo/arrays-v0",
        observations=np.zeros((4, 3), np.float32),
        actions=np.zeros(4, int),
        rewards=rewards,
        terminations=np.array([False, True, False, True]),
        final_observation="repeat",
    )
    assert_same(dataset[1].rewards, last)


def test_validation_finds_an_odd_episode() -> None:
    h5py = pytest.importorskip("h5py")
    dataset = make("mo/a-v0", rewards_of(2), rewards_of(2))
    with h5py.File(dataset.storage.data_path / "main_data.hdf5", "a") as file:
        del file["episode_1/rewards"]
        file["episode_1/rewards"] = rewards_of(5)
    messages = [finding.message for finding in validate(dataset.storage.data_path).findings]
    assert any("rewards of episode 1 have the shape (5,) a step, expected (2,)" in message for message in messages)
    with pytest.raises(EpisodeError, match="have the shapes"):
        minari.load_dataset("mo/a-v0").statistics()


class Vector(gym.RewardWrapper):  # type: ignore[type-arg]
    def reward(self, reward: Any) -> Any:
        return np.array([reward, -reward])


def test_reference_scores_are_one_number() -> None:
    env = Vector(gym.make("CartPole-v1"))
    with pytest.raises(ScoreError, match=r"shape \(2,\), and a reference score is one number"):
        minari.utils.get_average_reference_score(env, lambda observation: 0, 1)
    dataset = make("mo/a-v0", rewards_of(2))
    dataset.storage.update_metadata({"ref_min_score": 0.0, "ref_max_score": 4.0})
    returns = dataset.statistics().returns
    assert minari.get_normalized_score(dataset, returns).tolist() == (returns / 4).tolist()


def test_every_component_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    make("mo/a-v0", rewards_of(2), rewards_of(2))
    show_dataset("mo/a-v0", as_json=True, token=None, key_path=None, quiet=True)
    shown = json.loads(capsys.readouterr().out)
    assert [component["max"] for component in shown["episode_returns"]] == [6, 9]
    show_dataset("mo/a-v0", as_json=False, token=None, key_path=None, quiet=True)
    printed = capsys.readouterr().out
    assert all(f"Episode Returns, component {number}" in printed for number in range(2))
