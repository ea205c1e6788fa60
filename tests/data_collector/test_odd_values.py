"""Values that no space foresees: a step never fails over them, saving says what is wrong, and nothing is lost."""

from __future__ import annotations

import datetime
import itertools
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

import minari
from minari import DataCollector
from minari.errors import EpisodeError
from support.scripted import ScriptedEnv, listing, place, play


pytestmark = [
    pytest.mark.filterwarnings("ignore:`.*` is set to None"),
    pytest.mark.filterwarnings("ignore:.* is not in .* space"),
]

DICT = spaces.Dict(mode=spaces.Discrete(9), at=spaces.Box(-9, 9, (2,)))
TUPLE = spaces.Tuple([spaces.Discrete(9), spaces.Box(-9, 9, (2,))])


class Uncopyable:
    """Objects of other libraries may refuse anything."""

    def __deepcopy__(self, memo: Any) -> Any:
        raise RuntimeError("no copies")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no comparison")

    __hash__ = None  # type: ignore[assignment]


def at_step_two(odd: Any, usual: Callable[[int], Any] = place) -> Callable[[int], Any]:
    return lambda time: odd if time == 2 else usual(time)


def in_dict(time: int) -> Any:
    return {"mode": time, "at": place(time)}


def in_tuple(time: int) -> Any:
    return time, place(time)


ODD_OBSERVATIONS: dict[str, tuple[Callable[[int], Any], dict[str, Any]]] = {
    "longer": (at_step_two(np.zeros(3, np.float32)), {}),
    "scalar": (at_step_two(1.0), {}),
    "ragged": (at_step_two([1.0, [2.0]]), {}),
    "missing": (at_step_two(None), {}),
    "always-missing": (lambda time: None, {}),
    "object": (at_step_two(Uncopyable()), {}),
    "text": (at_step_two("off"), {}),
    "dict-in-a-box": (at_step_two({"at": place(2)}), {}),
    "array-for-a-number": (lambda time: np.array([time, time]), {"observation_space": spaces.Discrete(9)}),
    "half": (lambda time: time / 2, {"observation_space": spaces.Discrete(9)}),
    "key-missing": (at_step_two({"mode": 1}, in_dict), {"observation_space": DICT}),
    "key-renamed": (at_step_two({"mode": 1, "place": place(1)}, in_dict), {"observation_space": DICT}),
    "number-for-a-dict": (at_step_two(3, in_dict), {"observation_space": DICT}),
    "part-missing": (at_step_two((3,), in_tuple), {"observation_space": TUPLE}),
    "number-for-a-tuple": (at_step_two(3, in_tuple), {"observation_space": TUPLE}),
    "number-for-a-text": (at_step_two(3, lambda time: "on"), {"observation_space": spaces.Text(3)}),
}


@pytest.mark.parametrize("name", ODD_OBSERVATIONS)
def test_odd_observations_are_refused_when_they_are_saved(name: str, datasets_root: Path) -> None:
    observe, arguments = ODD_OBSERVATIONS[name]
    collector = DataCollector(ScriptedEnv(observe, **arguments))
    play(collector, 2)
    before = listing(datasets_root)
    for _ in range(2):
        with pytest.raises(EpisodeError, match=r"^Episode 0 cannot be stored\. The observations") as caught:
            collector.create_dataset("test/odd-v0")
        assert str(caught.value).count("\n") == 0
        assert (collector.total_episodes, collector.total_steps) == (2, 10)
        assert listing(datasets_root) == before


@pytest.mark.parametrize("action", [None, "left", object(), [1, [2]], np.zeros(2), 0.5])
def test_odd_actions_are_refused_when_they_are_saved(action: Any) -> None:
    collector = DataCollector(ScriptedEnv())
    play(collector, action=action)
    with pytest.raises(EpisodeError, match=r"^Episode 0 cannot be stored\. The actions"):
        collector.create_dataset("test/odd-v0")


@pytest.mark.parametrize("reward", [lambda time: None, lambda time: "much", lambda time: np.zeros(time)])
def test_odd_rewards_are_refused_when_they_are_saved(reward: Callable[[int], Any]) -> None:
    collector = DataCollector(ScriptedEnv(reward=reward))
    play(collector)
    with pytest.raises(EpisodeError, match=r"^Episode 0 cannot be stored\. The rewards"):
        collector.create_dataset("test/odd-v0")


def test_odd_options_are_refused_when_they_are_saved() -> None:
    collector = DataCollector(ScriptedEnv())
    play(collector, options={"renderer": Uncopyable()})
    with pytest.raises(ValueError, match="renderer"):
        collector.create_dataset("test/odd-v0")
    assert collector.total_episodes == 1


UNSTORABLE: dict[str, Any] = {
    "object": object(),
    "lock": threading.Lock(),
    "uncopyable": Uncopyable(),
    "generator": (number for number in range(3)),
    "time-of-day": datetime.time(12),
    "function": len,
    "objects-in-a-list": [1, object()],
}


@pytest.mark.parametrize("name", UNSTORABLE)
@pytest.mark.parametrize("buffer_steps", [10_000, 1])
def test_infos_that_cannot_be_stored_can_be_discarded(name: str, buffer_steps: int, datasets_root: Path) -> None:
    def inform(time: int) -> dict[str, Any]:
        return {"time": time, "deep": {"odd": UNSTORABLE[name], "fine": time}}

    collector = DataCollector(ScriptedEnv(inform=inform), record_infos=True, buffer_steps=buffer_steps)
    with warnings.catch_warnings():
        # Where they are written early, a warning already says that they could not be.
        warnings.filterwarnings("ignore", "The recorded episodes cannot be written yet")
        play(collector, 2)
        play(collector, steps=2)
    before = listing(datasets_root)
    with pytest.raises(EpisodeError, match=r"'infos/deep/odd' at step 0 .*discard_info\('deep/odd'\)"):
        collector.create_dataset("test/odd-v0")
    assert listing(datasets_root) == before
    collector.discard_info("deep/odd")
    dataset = collector.create_dataset("test/odd-v0")
    assert [len(episode) for episode in dataset] == [5, 5, 2]
    assert dataset[0].infos["time"].tolist() == dataset[0].infos["deep"]["fine"].tolist() == list(range(6))
    assert set(dataset[0].infos["deep"]) == {"fine"}


@pytest.mark.parametrize("key", [b"a", frozenset({1}), ("a", object())])
def test_keys_of_infos_that_cannot_be_stored_are_named(key: Any) -> None:
    collector = DataCollector(ScriptedEnv(inform=lambda time: {key: time}), record_infos=True)
    play(collector)
    with pytest.raises(EpisodeError, match="have the key") as caught:
        collector.create_dataset("test/odd-v0")
    assert repr(key) in str(caught.value)


@pytest.mark.parametrize("key", [3, "", ".", "..", None, ("a", "b"), "a/"])
def test_keys_of_any_kind_come_back(key: Any) -> None:
    collector = DataCollector(ScriptedEnv(inform=lambda time: {key: time, "a": time}), record_infos=True)
    play(collector)
    infos = collector.create_dataset("test/odd-v0")[0].infos
    assert infos.keys() == {key, "a"}
    assert infos[key].tolist() == list(range(6))


#: What an info holds at a time; it is read as it was given.
CHANGING: dict[str, Callable[[int], Any]] = {
    "none": lambda time: None,
    "sometimes-none": lambda time: None if time % 2 else time,
    "growing-array": np.arange,
    "changing-rank": lambda time: np.zeros((2,) * (time % 3)),
    "growing-list": lambda time: ["x"] * time,
    "mixed": lambda time: [time, "a", None, {"b": [1.5]}][time % 4],
    "number-then-dict": lambda time: {"x": time} if time > 2 else time,
    "dict-then-number": lambda time: {"x": time} if time < 2 else time,
    "bool-and-int": lambda time: time > 2 if time % 2 else time,
    "huge": lambda time: 10**30 + time,
    "text": lambda time: "ä" * time,
    "nan": lambda time: np.nan,
    "float-and-int": lambda time: time if time % 2 else time + 0.5,
    "empty-dict": lambda time: {},
    "lists-of-lists": lambda time: [[0.0, 0.0], [1.0, 1.0, 1.0]],
}


@pytest.mark.parametrize("name", CHANGING)
def test_infos_of_changing_kinds_and_shapes(name: str) -> None:
    given = CHANGING[name]
    collector = DataCollector(ScriptedEnv(inform=lambda time: {"odd": given(time), "usual": time}), record_infos=True)
    play(collector, 2)
    collector.create_dataset("test/changing-v0")
    for episode in minari.load_dataset("test/changing-v0"):
        assert episode.infos.keys() == {"odd", "usual"}
        assert len(episode.infos["odd"]) == 6
        for time, value in enumerate(episode.infos["odd"]):
            assert_equal(value, given(time))


def assert_equal(value: Any, expected: Any) -> None:
    if isinstance(expected, (np.ndarray, float)):
        assert np.array_equal(value, expected, equal_nan=True)
        assert np.shape(value) == np.shape(expected)
    else:
        assert value == expected
        assert isinstance(value, (bool, np.bool_)) == isinstance(expected, bool)


def test_keys_that_come_and_go_are_masked() -> None:
    def inform(time: int) -> dict[str, Any]:
        return {
            **({"odd": np.full(2, time)} if time % 2 else {}),
            **({"late": {"deep": float(time), "text": "x" * time}} if time >= 3 else {}),
            **({"early": True} if time == 0 else {}),
        }

    collector = DataCollector(ScriptedEnv(inform=inform), record_infos=True)
    play(collector)
    collector.create_dataset("test/masked-v0")
    infos = minari.load_dataset("test/masked-v0")[0].infos
    assert infos["_odd"].tolist() == [False, True] * 3
    assert infos["odd"].tolist() == [[0, 0], [1, 1], [0, 0], [3, 3], [0, 0], [5, 5]]
    assert infos["early"].tolist() == infos["_early"].tolist() == [True] + 5 * [False]
    present = np.array([False] * 3 + [True] * 3)
    assert np.array_equal(infos["_late"], present)
    assert infos["late"]["deep"][present].tolist() == [3.0, 4.0, 5.0]
    assert list(np.asarray(infos["late"]["text"], object)[present]) == ["xxx", "xxxx", "xxxxx"]


def test_an_info_that_is_no_dict_is_left_out_with_a_warning() -> None:
    collector = DataCollector(
        ScriptedEnv(inform=lambda time: [time] if time == 2 else {"time": time}), record_infos=True
    )
    with pytest.warns(UserWarning, match=r"info of a step is \[2\], expected a dict"):
        play(collector)
    episode = collector.create_dataset("test/odd-v0")[0]
    assert episode.infos["_time"].tolist() == [True, True, False, True, True, True]


def test_no_info_at_all_is_an_empty_one() -> None:
    collector = DataCollector(ScriptedEnv(inform=lambda time: None), record_infos=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        play(collector)
    assert collector.create_dataset("test/odd-v0")[0].infos == {}


def test_keys_that_the_space_does_not_have_are_warned_about_once() -> None:
    collector = DataCollector(
        ScriptedEnv(lambda time: {**in_dict(time), "extra": 1, 7: "seven"}, observation_space=DICT)
    )
    with pytest.warns(UserWarning, match=r"\[7, 'extra'\] are not in the space") as caught:
        play(collector, 3)
    assert sum("are not in the space" in str(warning.message) for warning in caught) == 1
    observations = collector.create_dataset("test/odd-v0")[0].observations
    assert set(observations) == {"mode", "at"}
    assert observations["mode"].tolist() == list(range(6))


# Values outside their space are recorded, and the warning says where the first one is


@pytest.mark.filterwarnings("default:.* is not in .* space")
@pytest.mark.parametrize(
    ("space", "observe", "where"),
    [
        (spaces.Box(-3, 3, (2,)), place, "at step 4"),
        (spaces.Discrete(4), int, "at step 4"),
        (spaces.Discrete(5, start=1), int, "at step 0"),
        (spaces.MultiDiscrete([9, 3]), lambda time: np.array([time, time]), "at step 3"),
        (spaces.MultiBinary(1), lambda time: np.array([time // 2]), "at step 4"),
        (spaces.Text(2), lambda time: "x" * max(1, time), "at step 3"),
        (spaces.Dict(b=spaces.Tuple([spaces.Discrete(2)])), lambda time: {"b": (time,)}, "at step 2 at b/0"),
        (spaces.Box(-9, 9, (2,), np.float32), lambda time: np.full(2, 1.0), "at step 0"),
        (spaces.Box(-9, 9, (2,)), lambda time: np.full(2, np.nan if time == 3 else 0, np.float32), "at step 3"),
    ],
)  # fmt: skip
def test_values_outside_their_space_are_recorded_with_a_warning(
    space: spaces.Space[Any], observe: Callable[[int], Any], where: str
) -> None:
    collector = DataCollector(ScriptedEnv(observe, observation_space=space))
    with pytest.warns(UserWarning, match="Observation is not in observation space") as caught:
        play(collector, 2)
    (first,) = caught
    assert f"in episode 0 first {where};" in str(first.message)
    assert first.filename.endswith("scripted.py")  # who plays, not the library
    with pytest.warns(UserWarning, match="Observation is not in observation space") as caught:
        assert collector.create_dataset("test/outside-v0").total_steps == 10
    (summary,) = (warning for warning in caught if "not in" in str(warning.message))
    assert f"in episode 0 first {where};" in str(summary.message)
    assert summary.filename == __file__


@pytest.mark.filterwarnings("default:.* is not in .* space")
@pytest.mark.parametrize("finish", ["create_dataset", "add_to_dataset", "close"])
def test_all_steps_outside_are_counted_when_a_recording_ends(finish: str) -> None:
    space = spaces.Dict(a=spaces.Box(-3, 3, (2,)), b=spaces.Discrete(99))
    clock = itertools.count()
    collector = DataCollector(
        ScriptedEnv(lambda time: {"a": np.full(2, next(clock), np.float32), "b": time}, observation_space=space)
    )
    with pytest.warns(UserWarning, match="2 steps are outside up to now, and the worst value is 5.0"):
        play(collector, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        play(collector, 2)
    arguments: list[Any] = ["test/outside-v0"] if finish == "create_dataset" else []
    if finish == "add_to_dataset":
        zeros = np.zeros(2, np.float32)
        play(other := DataCollector(ScriptedEnv(lambda time: {"a": zeros, "b": 0}, observation_space=space)))
        arguments = [other.create_dataset("test/outside-v0")]
    summary = "first at step 4 at a; 14 steps are outside up to now, and the worst value is 17.0"
    with pytest.warns(UserWarning, match=summary) as caught:
        getattr(collector, finish)(*arguments)
    assert sum("not in" in str(warning.message) for warning in caught) == 1


@pytest.mark.filterwarnings("default:.* is not in .* space")
def test_what_was_told_at_once_is_not_told_again() -> None:
    collector = DataCollector(ScriptedEnv(lambda time: np.full(2, 50.0 * time, np.float32)))
    with pytest.warns(UserWarning, match="3 steps are outside up to now, and the worst value is 250.0"):
        play(collector)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", ".* is not in .* space")
        collector.create_dataset("test/outside-v0")


@pytest.mark.filterwarnings("default:.* is not in .* space")
def test_actions_outside_their_space_are_recorded_with_a_warning() -> None:
    collector = DataCollector(ScriptedEnv())
    with pytest.warns(UserWarning, match=r"Action is not in action space, in episode 0 first at step 0"):
        play(collector, action=7)
    assert collector.create_dataset("test/outside-v0")[0].actions.tolist() == [7] * 5


def test_warnings_as_errors_lose_no_episode() -> None:
    collector = DataCollector(ScriptedEnv(lambda time: np.full(2, 999, np.float32)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="Observation is not in observation space"):
            play(collector)
    assert collector.total_episodes == 1
    play(collector)
    assert [len(episode) for episode in collector.create_dataset("test/strict-v0")] == [5, 5]
