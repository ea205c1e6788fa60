"""Programs written for releases before 0.5 run, with one deprecation warning for each older name."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import minari


def one_warning(call: Callable[[], Any], replacement: str) -> Any:
    """What a call returns, once it has warned exactly once and named what replaces it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = call()
    deprecations = [str(warning.message) for warning in caught if warning.category is DeprecationWarning]
    assert len(deprecations) == 1, deprecations
    assert replacement in deprecations[0]
    return result


def record(collector: minari.DataCollector, episodes: int = 2) -> None:
    for seed in range(episodes):
        collector.reset(seed=seed)
        for _ in range(3):
            collector.step(0)


@pytest.mark.filterwarnings("ignore::UserWarning")
class TestOlderNames:
    def test_data_collector_v0(self) -> None:
        collector = one_warning(
            lambda: minari.DataCollectorV0(gym.make("CartPole-v1"), record_infos=True), "DataCollector"
        )
        record(collector)
        assert collector.create_dataset("old/v0-v0").total_episodes == 2

    def test_data_collector_v0_with_older_arguments_warns_once(self) -> None:
        one_warning(
            lambda: minari.DataCollectorV0(gym.make("CartPole-v1"), max_buffer_steps=50, max_buffer_episodes=2),
            "DataCollector",
        )

    @pytest.mark.parametrize("name", ["max_buffer_steps", "max_buffer_episodes"])
    def test_buffer_limits(self, name: str) -> None:
        collector = one_warning(lambda: minari.DataCollector(gym.make("CartPole-v1"), **{name: 4}), "buffer_steps")
        record(collector, 5)
        assert [len(episode) for episode in collector.create_dataset("old/limits-v0")] == [3] * 5

    @pytest.mark.parametrize("name", ["dataset_id", "dataset_name"])
    def test_create_dataset_from_collector_env(self, name: str) -> None:
        collector = minari.DataCollector(gym.make("CartPole-v1"))
        record(collector)
        arguments: dict[str, Any] = {name: "old/created-v0", "collector_env": collector, "algorithm_name": "zero"}
        dataset = one_warning(lambda: minari.create_dataset_from_collector_env(**arguments), "create_dataset")
        assert dataset.id == "old/created-v0"
        assert dataset.storage.metadata["algorithm_name"] == "zero"

    def test_update_dataset_from_collector_env(self) -> None:
        collector = minari.DataCollector(gym.make("CartPole-v1"))
        record(collector)
        dataset = collector.create_dataset("old/updated-v0")
        record(collector, 3)
        one_warning(lambda: dataset.update_dataset_from_collector_env(collector), "add_to_dataset")
        assert dataset.total_episodes == minari.load_dataset("old/updated-v0").total_episodes == 5

    def test_name(self) -> None:
        collector = minari.DataCollector(gym.make("CartPole-v1"))
        record(collector)
        dataset = collector.create_dataset("old/named-v0")
        assert one_warning(lambda: dataset.name, "MinariDataset.id") == "old/named-v0"

    def test_combine_with_new_dataset_name(self) -> None:
        collector = minari.DataCollector(gym.make("CartPole-v1"))
        record(collector)
        dataset = collector.create_dataset("old/part-v0")
        both = one_warning(
            lambda: minari.combine_datasets([dataset, dataset], new_dataset_name="old/both-v0"), "new_dataset_id"
        )
        assert (both.id, both.total_episodes) == ("old/both-v0", 4)

    def test_download_with_dataset_name(self) -> None:
        collector = minari.DataCollector(gym.make("CartPole-v1"))
        record(collector)
        collector.create_dataset("old/here-v0")
        one_warning(lambda: minari.download_dataset(dataset_name="old/here-v0"), "dataset_id")

    def test_buffers_as_plain_dicts(self) -> None:
        episode = {
            "observations": np.arange(6, dtype=np.float32).reshape(3, 2),
            "actions": np.array([0, 1]),
            "rewards": np.array([1.0, 2.0]),
            "terminations": np.array([False, True]),
            "truncations": np.array([False, False]),
            "infos": {"speed": np.array([0.0, 0.5, 1.0])},
        }
        dataset = one_warning(
            lambda: minari.create_dataset_from_buffers(
                "old/dicts-v0",
                [episode, episode],
                observation_space=gym.spaces.Box(-10, 10, (2,)),
                action_space=gym.spaces.Discrete(2),
            ),
            "EpisodeBuffer",
        )
        for stored in dataset:
            np.testing.assert_array_equal(stored.observations, episode["observations"])
            np.testing.assert_array_equal(stored.infos["speed"], episode["infos"]["speed"])
        one_warning(lambda: dataset.update_dataset_from_buffer([episode]), "EpisodeBuffer")
        assert dataset.total_episodes == 3

    def test_a_dict_with_another_key_is_refused(self) -> None:
        with pytest.raises(minari.errors.EpisodeError, match="reward"), pytest.warns(DeprecationWarning):
            minari.create_dataset_from_buffers(
                "old/wrong-v0",
                [{"reward": [1.0]}],
                observation_space=gym.spaces.Discrete(2),
                action_space=gym.spaces.Discrete(2),
            )
        assert minari.list_local_datasets() == {}
