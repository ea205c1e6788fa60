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
from support.cases import SPACES
from support.checks import assert_holds
from support.operations import dump, record
from support.scripted import ScriptedEnv, place, play
from support.values import assert_identical


pytestmark = [
    pytest.mark.filterwarnings("ignore:`.*` is set to None"),
    pytest.mark.filterwarnings("ignore:.* is not in .* space"),
]


def recorded(collector: DataCollector, dataset_id: str = "test/values-v0") -> list[minari.EpisodeData]:
    """Return the episodes of a dataset that was loaded again."""
    collector.create_dataset(dataset_id)
    return list(minari.load_dataset(dataset_id))


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
            observation_space=spaces.Dict(a=spaces.Box(-9, 9, (2,)), b=spaces.Tuple([spaces.Box(-9, 9, (2,))])),
            action_space=spaces.Box(-1, 1, (2,)),
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
def test_every_space_and_nested_infos(case: str) -> None:
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
def test_spaces_whose_values_differ_in_size(name: str) -> None:
    space = RAGGED[name]
    values = [space.sample() for _ in range(6)]
    actions = [space.sample() for _ in range(5)]
    collector = DataCollector(ScriptedEnv(values.__getitem__, observation_space=space, action_space=space))
    collector.reset()
    for action in actions:
        collector.step(action)
    (episode,) = recorded(collector)
    dataset = minari.load_dataset("test/values-v0")
    assert dataset.observation_space == dataset.action_space == space
    codec = dataset.storage.episode_codec
    assert_same(codec.observations.steps(episode.observations, 6), values)
    assert_same(codec.actions.steps(episode.actions, 5), actions)


def assert_same(actual: Any, expected: Any) -> None:
    """Require equal nested values, arrays with their dtype."""
    if isinstance(expected, dict):
        assert actual.keys() == expected.keys()
        for key in expected:
            assert_same(actual[key], expected[key])
    elif isinstance(expected, (list, tuple)):
        assert len(actual) == len(expected)
        for one, other in zip(actual, expected, strict=True):
            assert_same(one, other)
    elif expected is None or isinstance(expected, str):
        assert actual == expected
    else:
        assert_identical(np.asarray(actual), np.asarray(expected))


class Reusing(ScriptedEnv):
    """Writes all that it returns into the same arrays over and over."""

    def __init__(self) -> None:
        self.flat, self.deep, self.note = np.zeros(2, np.float32), np.zeros((2, 2), np.int64), np.zeros(3)
        self.nested_info: dict[str, Any] = {"deep": {"note": self.note}, "list": [0]}
        super().__init__(
            observation_space=spaces.Dict(
                flat=spaces.Box(-99, 99, (2,)),
                pair=spaces.Tuple([spaces.Dict(deep=spaces.Box(-99, 99, (2, 2), np.int64)), spaces.Discrete(99)]),
            ),
            action_space=spaces.Dict(push=spaces.Box(-99, 99, (2,))),
            observe=self._observe,
            inform=self._inform,
        )

    def _observe(self, time: int) -> Any:
        self.flat[:], self.deep[:] = time, 10 * time
        return {"flat": self.flat, "pair": ({"deep": self.deep}, time)}

    def _inform(self, time: int) -> Any:
        self.note[:] = time
        self.nested_info["list"][0] = time
        return self.nested_info


def test_arrays_overwritten_each_step_are_copied() -> None:
    collector = DataCollector(Reusing(), record_infos=True)
    push = np.zeros(2, np.float32)
    options = {"start": push}
    collector.reset(options=options)
    for time in range(1, 6):
        push[:] = -time
        collector.step({"push": push})
    (episode,) = recorded(collector)
    times = np.arange(6)
    assert_identical(episode.observations["flat"], np.repeat(times[:, None], 2, 1).astype(np.float32))
    assert_identical(episode.observations["pair"][0]["deep"], np.broadcast_to(10 * times[:, None, None], (6, 2, 2)))
    assert_identical(episode.observations["pair"][1], times)
    assert_identical(episode.actions["push"], -np.repeat(times[1:, None], 2, 1).astype(np.float32))
    assert_identical(episode.infos["deep"]["note"], np.repeat(times[:, None], 3, 1).astype(np.float64))
    assert np.array_equal(episode.infos["list"], times[:, None])
    metadata = next(iter(minari.load_dataset("test/values-v0").storage.get_episode_metadata([0])))
    assert_identical(metadata["options"]["start"], np.zeros(2, np.float32))


def test_what_the_caller_does_to_the_returned_arrays_is_not_recorded() -> None:
    collector = DataCollector(ScriptedEnv(length=2), record_infos=True)
    collector.reset()
    for _ in range(3):
        observation, *_ = collector.step(0)
        observation += 50
    first, second = recorded(collector)
    assert first.observations[:, 0].tolist() == [0, 1, 2]
    # The second one was not reset: it begins with the last observation, as the environment returned it.
    assert second.observations[:, 0].tolist() == [2, 3]


@pytest.mark.parametrize(
    ("space", "observe", "dtype"),
    [
        (spaces.Box(-9, 9, (2,), np.float32), lambda time: np.full(2, time, np.float64), np.float64),
        (spaces.Box(-9, 9, (2,), np.float64), lambda time: np.full(2, time, np.float32), np.float32),
        (spaces.Box(-9, 9, (2,), np.float32), lambda time: np.full(2, time, np.float16), np.float16),
        (spaces.Box(0, 9, (2,), np.uint8), lambda time: np.full(2, time, np.int64), np.int64),
        (spaces.Discrete(9), np.int32, np.int32),
        (spaces.Discrete(9), np.uint8, np.uint8),
        (spaces.Discrete(9), lambda time: np.array(time, np.int16), np.int16),
        (spaces.MultiBinary(2), lambda time: np.array([True, False]), np.bool_),
        (spaces.Box(-9, 9, (), np.float32), np.float64, np.float64),
        # What is no array takes the dtype of the space.
        (spaces.Discrete(9), int, np.int64),
        (spaces.Box(-9, 9, (), np.float32), float, np.float32),
        (spaces.Box(-9, 9, (2,), np.float32), lambda time: [time, 0.5], np.float32),
        (spaces.MultiDiscrete([9, 9], dtype=np.int32), lambda time: (time, 1), np.int32),
        # Even then no digit is lost.
        (spaces.Box(-9, 9, (), np.float32), lambda time: time + 1e-12, np.float64),
    ],
)
def test_the_dtype_is_that_of_the_environment(
    space: spaces.Space[Any], observe: Callable[[int], Any], dtype: type
) -> None:
    collector = DataCollector(ScriptedEnv(observe, observation_space=space, action_space=space))
    collector.reset()
    for time in range(5):
        collector.step(observe(time))
    (episode,) = recorded(collector)
    assert_identical(episode.observations, np.array([observe(time) for time in range(6)], dtype))
    assert_identical(episode.actions, np.array([observe(time) for time in range(5)], dtype))


@pytest.mark.parametrize("reward", [int, np.float32, np.float64, lambda time: np.array([time]), bool, np.int8])
def test_rewards_are_one_number_a_step(reward: Callable[[int], Any]) -> None:
    collector = DataCollector(ScriptedEnv(reward=reward))
    play(collector)
    (episode,) = recorded(collector)
    assert episode.rewards.shape == (5,)
    assert episode.rewards.tolist() == [float(np.asarray(reward(time)).item()) for time in range(1, 6)]


def test_a_reward_with_all_digits() -> None:
    collector = DataCollector(ScriptedEnv(reward=lambda time: 0.1 * time))
    play(collector)
    (episode,) = recorded(collector)
    assert_identical(episode.rewards, np.array([0.1 * time for time in range(1, 6)]))


def test_infos_are_recorded_only_when_asked_for() -> None:
    collector = DataCollector(ScriptedEnv(inform=lambda time: {"time": time}))
    play(collector)
    (episode,) = recorded(collector)
    assert episode.infos == {}


# Memory that changes


class UsesActionAsScratch(ScriptedEnv):
    """Writes into the action that it was given."""

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, Any]:
        for part in action.values() if isinstance(action, dict) else [action]:
            part[...] = 7
        return super().step(action)


class Plain(minari.StepDataCallback):
    """Changes nothing, but is asked."""

    def __call__(self, env: Any, **values: Any) -> Any:
        return super().__call__(env, **values)


@pytest.mark.parametrize("callback", [minari.StepDataCallback, Plain])
@pytest.mark.parametrize("is_dict", [False, True])
def test_an_action_is_recorded_as_it_was_given(callback: Any, is_dict: bool) -> None:
    part = spaces.Box(-9, 9, (2,), np.float32)
    env = UsesActionAsScratch(action_space=spaces.Dict(arm=part, leg=part) if is_dict else part, length=3)
    collector = minari.DataCollector(env, callback)
    collector.reset()
    for time in range(3):
        array = np.full(2, time, np.float32)
        collector.step({"arm": array, "leg": array.copy()} if is_dict else array)
        assert array.tolist() == [7, 7]  # as without the collector
    (episode,) = collector.create_dataset("test/scratch-v0")
    for actions in episode.actions.values() if is_dict else [episode.actions]:
        assert actions.tolist() == [[0, 0], [1, 1], [2, 2]]


class Tensor:
    """Gives an array that shares its memory, as tensors do."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self.array

    def __setitem__(self, place: Any, value: Any) -> None:
        self.array[place] = value


@pytest.mark.parametrize("callback", [minari.StepDataCallback, Plain])
def test_a_tensor_is_recorded_as_it_was_given(callback: Any) -> None:
    action_space = spaces.Box(-9, 9, (2,), np.float32)
    collector = minari.DataCollector(UsesActionAsScratch(action_space=action_space, length=2), callback)
    collector.reset()
    arrays = np.eye(2, dtype=np.float32)
    for array in arrays:
        collector.step(Tensor(array))
    (episode,) = collector.create_dataset("test/scratch-v0")
    assert episode.actions.tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize("callback", [minari.StepDataCallback, Plain])
def test_a_step_that_fails_in_the_environment_leaves_nothing(callback: Any) -> None:
    def observe(time: int) -> Any:
        if time == 2 and not collector.total_episodes:
            raise KeyboardInterrupt
        return np.full(2, time, np.float32)

    collector = minari.DataCollector(ScriptedEnv(length=3), callback)
    collector.env.observe = observe  # type: ignore[attr-defined]
    collector.reset()
    collector.step(1)
    with pytest.raises(KeyboardInterrupt):
        collector.step(2)
    collector.step(0)  # to the time 3
    (episode,) = collector.create_dataset("test/interrupted-v0")
    assert episode.actions.tolist() == [1, 0]
    assert episode.observations[:, 0].tolist() == [0, 1, 3]


@pytest.mark.parametrize("data_format", ["hdf5", "arrow", "zarr"])
def test_bytes_and_structures_belong_to_the_caller(data_format: str) -> None:
    info = {
        "key": np.bytes_(b"ab"),
        "raw": np.void(b"abc"),
        "pair": np.array((1, 2.0), "i4,f8"),
        "day": np.array("2024-05", "M8[D]"),
    }
    collector = DataCollector(ScriptedEnv(inform=lambda time: info), record_infos=True, data_format=data_format)
    play(collector)
    (episode,) = recorded(collector)
    for name, array in episode.infos.items():
        assert array.flags.writeable, name
        assert array.tolist() == [np.asarray(info[name]).item()] * 6
