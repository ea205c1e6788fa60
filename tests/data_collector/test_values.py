"""The collector records what the environment returned, and returns it unchanged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

import minari
from minari import DataCollector
from minari.testing.comparison import assert_steps
from support.cases import SPACES
from support.checks import assert_holds
from support.operations import dump, record
from support.scripted import ScriptedEnv, place, recorded, seeds
from support.values import assert_identical


pytestmark = [
    pytest.mark.filterwarnings("ignore:`.*` is set to None"),
    pytest.mark.filterwarnings("ignore:.* is not in .* space"),
]

VECTOR = spaces.Box(-9, 9, (2,), np.float32)


class Keeping(gym.Wrapper[Any, Any, Any, Any]):
    """Keeps the very objects that the environment returned."""

    def reset(self, **arguments: Any) -> Any:
        self.returned = self.env.reset(**arguments)
        return self.returned

    def step(self, action: Any) -> Any:
        self.action = action
        self.returned = self.env.step(action)
        return self.returned


def test_the_values_of_the_environment_pass_through_untouched() -> None:
    env = Keeping(
        ScriptedEnv(
            lambda time: {"a": place(time), "b": (place(time),)},
            inform=lambda time: {"deep": {"x": np.arange(time)}},
            reward=lambda time: np.float32(time),
            observation_space=spaces.Dict(a=VECTOR, b=spaces.Tuple([VECTOR])),
            action_space=VECTOR,
        )
    )
    collector = DataCollector(env, record_infos=True)
    observation, info = collector.reset()
    assert observation is env.returned[0]
    assert info is env.returned[1]
    for _ in range(7):  # past the end of the episode as well
        action = np.ones(2, np.float32)
        result = collector.step(action)
        assert env.action is action
        assert len(result) == 5
        assert all(ours is theirs for ours, theirs in zip(result, env.returned, strict=True))


@pytest.mark.parametrize("case", SPACES)
def test_values_of_every_space_and_nested_infos_are_recorded(case: str) -> None:
    options = {"level": 3, "start": {"at": np.arange(3.0)}, "mode": "hard"}
    truth = record("test/space-v0", case, infos=True, options=options, episodes=3)
    assert_holds(dump("test/space-v0", case), truth)


RAGGED: dict[str, spaces.Space[Any]] = {
    "sequence": spaces.Sequence(spaces.Box(-1, 1, (2,)), seed=1),
    "stacked-sequence": spaces.Sequence(spaces.Discrete(5), stack=True, seed=1),
    "graph": spaces.Graph(spaces.Box(-1, 1, (3,)), spaces.Discrete(4), seed=1),
    "one-of": spaces.OneOf([spaces.Discrete(3), spaces.Box(-1, 1, (2,))], seed=1),
    "nested": spaces.Dict(s=spaces.Sequence(spaces.Text(3)), t=spaces.Tuple([spaces.Discrete(2)]), seed=1),
}


@pytest.mark.parametrize("name", RAGGED)
def test_values_that_differ_in_size_are_recorded(name: str) -> None:
    space = RAGGED[name]
    values, actions = [space.sample() for _ in range(6)], [space.sample() for _ in range(5)]
    collector = DataCollector(ScriptedEnv(values.__getitem__, observation_space=space, action_space=space))
    collector.reset()
    for action in actions:
        collector.step(action)
    collector.create_dataset("test/ragged-v0")
    dataset = minari.load_dataset("test/ragged-v0")
    assert dataset.observation_space == dataset.action_space == space
    assert_steps(space, dataset[0].observations, values)
    assert_steps(space, dataset[0].actions, actions)


def test_what_the_caller_does_to_the_returned_arrays_is_not_recorded() -> None:
    collector = DataCollector(ScriptedEnv(length=2))
    collector.reset()
    for _ in range(3):
        observation, *_ = collector.step(0)
        observation += 50
    first, second = collector.create_dataset("test/changed-v0")
    assert first.observations[:, 0].tolist() == [0, 1, 2]
    # The second one was not reset: it begins with the last observation, as the environment returned it.
    assert second.observations[:, 0].tolist() == [2, 3]


@pytest.mark.parametrize(
    ("space", "observe", "dtype"),
    [
        (VECTOR, lambda time: np.full(2, time, np.float64), np.float64),
        (spaces.Box(-9, 9, (2,), np.float64), lambda time: np.full(2, time, np.float32), np.float32),
        (VECTOR, lambda time: np.full(2, time, np.float16), np.float16),
        (spaces.Box(0, 9, (2,), np.uint8), lambda time: np.full(2, time, np.int64), np.int64),
        (spaces.Discrete(9), np.int32, np.int32),
        (spaces.Discrete(9), np.uint8, np.uint8),
        (spaces.Discrete(9), lambda time: np.array(time, np.int16), np.int16),
        (spaces.MultiBinary(2), lambda time: np.array([True, False]), np.bool_),
        (spaces.Box(-9, 9, (), np.float32), np.float64, np.float64),
        # What is no array takes the dtype of the space.
        (spaces.Discrete(9), int, np.int64),
        (spaces.Box(-9, 9, (), np.float32), float, np.float32),
        (VECTOR, lambda time: [time, 0.5], np.float32),
        (spaces.MultiDiscrete([9, 9], dtype=np.int32), lambda time: (time, 1), np.int32),
        # Even then no digit is lost.
        (spaces.Box(-9, 9, (), np.float32), lambda time: time + 1e-12, np.float64),
    ],
)
def test_the_dtype_is_that_of_the_environment(space: Any, observe: Callable[[int], Any], dtype: type) -> None:
    collector = DataCollector(ScriptedEnv(observe, observation_space=space, action_space=space))
    collector.reset()
    for time in range(5):
        collector.step(observe(time))
    (episode,) = collector.create_dataset("test/dtypes-v0")
    assert_identical(episode.observations, np.array([observe(time) for time in range(6)], dtype))
    assert_identical(episode.actions, np.array([observe(time) for time in range(5)], dtype))


REWARDS = [int, np.float32, lambda time: np.array([time]), bool, np.int8, lambda time: 0.1 * time]


@pytest.mark.parametrize("reward", REWARDS)
def test_rewards_are_one_number_a_step_with_all_its_digits(reward: Callable[[int], Any]) -> None:
    rewards = recorded(ScriptedEnv(reward=reward))[0].rewards
    assert rewards.shape == (5,)
    assert rewards.tolist() == [float(np.asarray(reward(time)).item()) for time in range(1, 6)]


# Memory that changes


class UsesActionAsScratch(ScriptedEnv):
    """Writes into the action that it was given."""

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, Any]:
        for part in action.values() if isinstance(action, dict) else [action]:
            part[...] = 7
        return super().step(action)


class Plain(minari.StepDataCallback):
    """Changes nothing, but is asked."""


class Raising(minari.StepDataCallback):
    """Raises in the place of the environment."""

    def __call__(self, env: Any, **values: Any) -> Any:
        if env.unwrapped.time == 2:
            raise KeyboardInterrupt
        return super().__call__(env, **values)


class Tensor:
    """Gives an array that shares its memory, as tensors do."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self.array

    def __setitem__(self, place: Any, value: Any) -> None:
        self.array[place] = value


@pytest.mark.parametrize("callback", [minari.StepDataCallback, Plain])
@pytest.mark.parametrize("kind", [np.asarray, Tensor, lambda array: {"arm": array, "leg": array.copy()}])
def test_an_action_is_recorded_as_it_was_given(callback: Any, kind: Callable[[Any], Any]) -> None:
    is_dict = isinstance(kind(np.zeros(2)), dict)
    env = UsesActionAsScratch(action_space=spaces.Dict(arm=VECTOR, leg=VECTOR) if is_dict else VECTOR, length=3)
    collector = minari.DataCollector(env, callback)
    collector.reset()
    for time in range(3):
        array = np.full(2, time, np.float32)
        collector.step(kind(array))
        assert array.tolist() == [7, 7]  # as without the collector
    (episode,) = collector.create_dataset("test/scratch-v0")
    for actions in episode.actions.values() if is_dict else [episode.actions]:
        assert actions.tolist() == [[0, 0], [1, 1], [2, 2]]


@pytest.mark.parametrize("callback", [minari.StepDataCallback, Plain, Raising])
def test_no_transition_is_invented_after_a_step_that_fails(callback: Any) -> None:
    def observe(time: int) -> Any:
        if time == 2 and callback is not Raising:
            raise KeyboardInterrupt
        return np.full(2, time, np.float32)

    collector = minari.DataCollector(ScriptedEnv(observe, length=5), callback)
    collector.reset(seed=6)
    collector.step(1)
    with pytest.raises(KeyboardInterrupt):
        collector.step(2)  # to the time 2
    collector.step(0)  # to the time 3, from one that nobody has seen
    collector.step(1)
    collector.step(2)
    dataset = collector.create_dataset("test/interrupted-v0")
    assert [episode.actions.tolist() for episode in dataset] == [[1], [1, 2]]
    assert [episode.observations[:, 0].tolist() for episode in dataset] == [[0, 1], [3, 4, 5]]
    assert [episode.truncations.tolist() for episode in dataset] == [[True], [False, False]]
    assert seeds(dataset) == [6, None]


@pytest.mark.parametrize("data_format", ["hdf5", "arrow", "zarr"])
def test_bytes_and_structures_that_are_read_belong_to_the_caller(data_format: str) -> None:
    info = {
        "key": np.bytes_(b"ab"),
        "raw": np.void(b"abc"),
        "pair": np.array((1, 2.0), "i4,f8"),
        "day": np.array("2024-05", "M8[D]"),
    }
    (episode,) = recorded(ScriptedEnv(inform=lambda time: info), record_infos=True, data_format=data_format)
    for name, array in episode.infos.items():
        assert array.flags.writeable, name
        assert array.tolist() == [np.asarray(info[name]).item()] * 6
