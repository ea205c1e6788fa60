"""Files of 0.3, which stored no spaces: where they come from, and what is never done to find them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import h5py
import numpy as np
import pytest
from gymnasium import spaces

import minari
from minari.errors import DatasetCorruptError, MinariError


OWN = "gymnasium.envs.classic_control.cartpole:CartPoleEnv"
CARTPOLE = {"id": "CartPole-v1", "entry_point": OWN, "max_episode_steps": 500, "kwargs": {}, "additional_wrappers": []}
WRAPPER = {"name": "W", "entry_point": "gymnasium.wrappers:TimeLimit", "kwargs": {"max_episode_steps": 3}}


def write(root: Path, spec: Any, observations: Any = None, actions: Any = None, **attributes: Any) -> Path:
    """Write a file of 0.3 with one episode of two steps."""
    data_path = root / "old-v0" / "data"
    data_path.mkdir(parents=True, exist_ok=True)
    with h5py.File(data_path / "main_data.hdf5", "w") as file:
        text = spec if isinstance(spec, str) else json.dumps(spec)
        file.attrs.update({"total_episodes": 1, "total_steps": 2, "env_spec": text, **attributes})
        episode = file.create_group("episode_0")
        episode.attrs.update({"id": 0, "total_steps": 2})
        put(episode, "observations", np.zeros((3, 4), np.float32) if observations is None else observations)
        put(episode, "actions", np.array([0, 1]) if actions is None else actions)
        episode["rewards"] = np.ones(2)
        episode["terminations"] = episode["truncations"] = np.array([False, True])
    return data_path


def put(group: Any, name: str, value: Any) -> None:
    if isinstance(value, dict):
        inner = group.create_group(name)
        for key, part in value.items():
            put(inner, key, part)
    else:
        group[name] = value


def test_spaces_are_those_of_an_environment_of_gymnasium(datasets_root: Path) -> None:
    write(datasets_root, CARTPOLE)
    dataset = minari.load_dataset("old-v0")
    env = gym.make("CartPole-v1")
    assert (dataset.observation_space, dataset.action_space) == (env.observation_space, env.action_space)
    assert "inferred_spaces" not in dataset.storage.metadata
    assert dataset[0].actions.tolist() == [0, 1]


@pytest.mark.parametrize(
    "spec",
    [
        {**CARTPOLE, "entry_point": "gymnasium.envs.classic_control.pendulum:PendulumEnv"},
        {**CARTPOLE, "entry_point": "os:system"},
        {**CARTPOLE, "entry_point": None},
        {**CARTPOLE, "kwargs": {"sutton_barto_reward": True}},
        {**CARTPOLE, "additional_wrappers": [WRAPPER]},
        {**CARTPOLE, "id": "CartPole-v99"},
        {**CARTPOLE, "id": "os:CartPole-v1"},
        {"id": "Reacher-v2", "entry_point": "gymnasium.envs.mujoco:ReacherEnv"},
        "no JSON",
        "[" * 5000,
        {"id": "FrozenLake-v1", "entry_point": "gymnasium.envs.toy_text.frozen_lake:FrozenLakeEnv"},
    ],
)
def test_any_other_environment_is_not_made(datasets_root: Path, spec: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gym, "make", lambda *_, **__: pytest.fail("an environment is made"))
    write(datasets_root, spec)
    dataset = minari.load_dataset("old-v0")
    assert dataset.observation_space == spaces.Box(-np.inf, np.inf, (4,), np.float32)
    assert dataset.action_space == spaces.Box(-(2**63), 2**63 - 1, (), np.int64)
    assert dataset.storage.metadata["inferred_spaces"] is True
    assert minari.list_local_datasets()["old-v0"]["inferred_spaces"] is True
    assert [finding.kind for finding in minari.validate("old-v0").findings if finding.kind == "spaces"] == ["spaces"]


def test_an_environment_that_a_program_registered_is_not_made(datasets_root: Path) -> None:
    """Its code is not Gymnasium's, even if the program trusts it: a dataset must not be what runs it."""
    made: list[Any] = []
    gym.register("Own-v0", entry_point=lambda **arguments: made.append(arguments))
    try:
        write(datasets_root, {"id": "Own-v0", "entry_point": None})
        assert minari.load_dataset("old-v0").storage.metadata["inferred_spaces"] is True
    finally:
        del gym.registry["Own-v0"]
    assert not made


def test_spaces_that_do_not_fit_the_data_are_not_taken(datasets_root: Path) -> None:
    write(datasets_root, CARTPOLE, observations=np.zeros((3, 7)))
    dataset = minari.load_dataset("old-v0")
    assert dataset.observation_space == spaces.Box(-np.inf, np.inf, (7,), np.float64)
    assert dataset[0].observations.shape == (3, 7)


def test_spaces_are_inferred_from_the_data(datasets_root: Path) -> None:
    observations = {
        "pixels": np.zeros((3, 8, 8, 3), np.uint8),
        "pair": {"_index_0": np.zeros((3, 2), np.float16), "_index_1": np.zeros(3, np.bool_)},
        "count": np.zeros(3, np.int16),
    }
    write(datasets_root, CARTPOLE, observations, {"_index_0": np.zeros((2, 1), np.float32)})
    dataset = minari.load_dataset("old-v0")
    assert dataset.observation_space == spaces.Dict(
        {
            "count": spaces.Box(-(2**15), 2**15 - 1, (), np.int16),
            "pair": spaces.Tuple(
                [spaces.Box(-np.inf, np.inf, (2,), np.float16), spaces.Box(0, 1, (), np.bool_)]  # type: ignore[arg-type]
            ),
            "pixels": spaces.Box(0, 255, (8, 8, 3), np.uint8),
        }
    )
    assert dataset.action_space == spaces.Tuple([spaces.Box(-np.inf, np.inf, (1,), np.float32)])
    assert dataset[0].observations["pair"][1].tolist() == [False] * 3


def test_inferred_spaces_are_kept_by_a_conversion(datasets_root: Path) -> None:
    write(datasets_root, "{}")
    copy = minari.load_dataset("old-v0").convert("copy-v0")
    assert copy.storage.metadata["inferred_spaces"] is True
    assert copy.observation_space == minari.load_dataset("old-v0").observation_space


def nested(levels: int) -> Any:
    return {"a": nested(levels - 1)} if levels else np.zeros(3)


#: Data that no space holds.
ODD = {
    "complex": np.zeros(3, np.complex64),
    "bytes": np.zeros(3, "S4"),
    "one number": np.zeros((), np.float32),
    "structured": np.zeros(3, [("x", "<f4")]),
    "nested": nested(100),
}


@pytest.mark.parametrize("kind", ODD)
def test_data_that_no_space_holds_are_damaged(datasets_root: Path, kind: str) -> None:
    data_path = write(datasets_root, "{}", ODD[kind])
    with pytest.raises(MinariError):
        minari.open_dataset(data_path)


def large_rows(episode: Any) -> None:
    del episode["observations"]
    episode.create_dataset("observations", (3, 10**6, 10**6), np.float64, chunks=(1, 1, 1000))


def circle(episode: Any) -> None:
    del episode["observations"]
    episode.create_group("observations/a")
    episode["observations/a/again"] = episode["observations"]


def no_actions(episode: Any) -> None:
    del episode["actions"]


def no_episode(episode: Any) -> None:
    del episode.parent["episode_0"]


@pytest.mark.parametrize("change", [large_rows, circle, no_actions, no_episode])
def test_data_to_infer_nothing_from_are_damaged(datasets_root: Path, change: Callable[[Any], None]) -> None:
    """Rows larger than the file allocate nothing."""
    data_path = write(datasets_root, "{}")
    with h5py.File(data_path / "main_data.hdf5", "r+") as file:
        change(file["episode_0"])
    with pytest.raises(MinariError if change is circle else DatasetCorruptError):
        minari.open_dataset(data_path)
