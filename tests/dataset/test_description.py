"""Descriptions of datasets and environments."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gymnasium as gym
import pytest
from gymnasium.envs.registration import EnvSpec

import minari
from minari.utils import get_dataset_spec_dict, get_env_spec_dict


ENV_KEYS = [
    "ID",
    "Observation Space",
    "Action Space",
    "entry_point",
    "max_episode_steps",
    "reward_threshold",
    "nondeterministic",
    "order_enforce",
    "disable_env_checker",
    "kwargs",
    "additional_wrappers",
    "vector_entry_point",
]


def test_an_environment() -> None:
    env = gym.wrappers.ClipAction(gym.make("Pendulum-v1", g=9.8))
    assert env.spec is not None
    description = get_env_spec_dict(env.spec)
    assert list(description) == ENV_KEYS
    assert description["ID"] == "Pendulum-v1"
    assert description["Observation Space"] == "`Box([-1. -1. -8.], [1. 1. 8.], (3,), float32)`"
    assert description["max_episode_steps"] == "200"
    assert description["reward_threshold"] == "None"
    assert description["nondeterministic"] == "`False`"
    assert description["kwargs"] == "`{'g': 9.8}`"
    assert "ClipAction" in description["additional_wrappers"]


def test_an_environment_that_is_not_installed_has_no_spaces() -> None:
    description = get_env_spec_dict(EnvSpec("Nothing-v0", entry_point="missing_module:Nothing"))
    assert list(description) == [key for key in ENV_KEYS if "Space" not in key]
    assert description["entry_point"] == "`missing_module:Nothing`"


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"author": {"b", "a"}}, {"Author": "a, b"}),
        ({"author": ["b", "a"]}, {"Author": "a, b"}),
        ({"author": "a"}, {"Author": "a"}),
        ({"author": None, "author_email": []}, {"Author": "Not provided", "Email": "Not provided"}),
        ({"algorithm_name": None}, {"Algorithm": "Not provided"}),
        ({"code_permalink": "https://x.org"}, {"Code Permalink": "[https://x.org](https://x.org)"}),
        ({"minari_version": "~=0.4"}, {"Minari Version": "`~=0.4` (supported)"}),
        ({"minari_version": "9.0"}, {"Minari Version": "`9.0` (not supported)"}),
        ({"action_space": gym.spaces.Discrete(2)}, {"Dataset Action Space": "`Discrete(2)`"}),
        (
            {"action_space": '{"type": "Discrete", "dtype": "int64", "start": 0, "n": 2}'},
            {"Dataset Action Space": "`Discrete(2)`"},
        ),
        ({"dataset_id": "x/a-v1"}, {"Download": "`minari download x/a-v1`"}),
    ],
)
def test_a_dataset(metadata: dict[str, object], expected: dict[str, str]) -> None:
    description = get_dataset_spec_dict({"total_steps": 9, "total_episodes": 2, **metadata})
    assert list(description.items())[:2] == [("Total Steps", "9"), ("Total Episodes", "2")]
    assert description.items() >= expected.items()


def test_a_dataset_of_the_catalog(copy_fixture: Callable[[str, str], Path]) -> None:
    copy_fixture("0.5.4", "cartpole/random-v0")
    metadata = minari.load_dataset("cartpole/random-v0").storage.metadata
    assert get_dataset_spec_dict(metadata) == get_dataset_spec_dict(minari.list_local_datasets()["cartpole/random-v0"])
    assert list(get_dataset_spec_dict(metadata).items())[4:] == [
        ("Algorithm", "random"),
        ("Author", "Fixture Author"),
        ("Email", "fixture@example.org"),
        ("Code Permalink", "[https://example.org/gen](https://example.org/gen)"),
        ("Minari Version", "`0.5.4` (supported)"),
        ("Download", "`minari download cartpole/random-v0`"),
    ]
