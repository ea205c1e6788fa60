"""Values that no space foresees: a step never fails over them, saving says what is wrong, and nothing is lost."""

from __future__ import annotations

import datetime
import itertools
import socket
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from minari import DataCollector
from minari.errors import EpisodeError
from support.scripted import ScriptedEnv, collected, listing, place, play, recorded


pytestmark = [
    pytest.mark.filterwarnings("ignore:`.*` is set to None"),
    pytest.mark.filterwarnings("ignore:.* is not in .* space"),
]

DICT = spaces.Dict(mode=spaces.Discrete(9), at=spaces.Box(-9, 9, (2,)))
TUPLE = spaces.Tuple([spaces.Discrete(9), spaces.Box(-9, 9, (2,))])
VECTOR = spaces.Box(-9, 9, (2,))


class Uncopyable:
    """Objects of other libraries may refuse anything."""

    def __deepcopy__(self, memo: Any) -> Any:
        raise RuntimeError("no copies")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no comparison")

    __hash__ = None  # type: ignore[assignment]


class OnDevice:
    """Cannot become an array here."""

    shape = (2,)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        raise TypeError("it is on device 7")


class WithoutWords:
    """Not even its errors can be printed."""

    class Error(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    def __deepcopy__(self, memo: Any) -> Any:
        raise self.Error

    def __repr__(self) -> str:
        raise RuntimeError


def circle() -> list[Any]:
    inner: list[Any] = []
    inner += [inner, inner]
    return inner


def at_two(odd: Any, usual: Callable[[int], Any] = place) -> Callable[[int], Any]:
    return lambda time: odd if time == 2 else usual(time)


def in_dict(time: int) -> Any:
    return {"mode": time, "at": place(time)}


def in_tuple(time: int) -> Any:
    return time, place(time)


ODD: dict[str, tuple[str, dict[str, Any]]] = {
    "longer": ("observations", {"observe": at_two(np.zeros(3, np.float32))}),
    "scalar": ("observations", {"observe": at_two(1.0)}),
    "ragged": ("observations", {"observe": at_two([1.0, [2.0]])}),
    "missing": ("observations", {"observe": at_two(None)}),
    "always-missing": ("observations", {"observe": lambda time: None}),
    "object": ("observations", {"observe": at_two(Uncopyable())}),
    "device": ("observations.* at step 2 ", {"observe": at_two(OnDevice())}),
    "without-words": ("observations.* at step 2 ", {"observe": at_two(WithoutWords())}),
    "circle": ("observations.* at step 2 ", {"observe": at_two(circle())}),
    "text": ("observations", {"observe": at_two("off")}),
    "dict-in-a-box": ("observations", {"observe": at_two({"at": place(2)})}),
    "array-for-a-number": ("observations", {"observe": np.arange, "observation_space": spaces.Discrete(9)}),
    "half": ("observations", {"observe": lambda time: time / 2, "observation_space": spaces.Discrete(9)}),
    "key-missing": ("observations", {"observe": at_two({"mode": 1}, in_dict), "observation_space": DICT}),
    "key-renamed": (
        "observations",
        {"observe": at_two({"mode": 1, "x": place(1)}, in_dict), "observation_space": DICT},
    ),
    "number-for-a-dict": ("observations", {"observe": at_two(3, in_dict), "observation_space": DICT}),
    "part-missing": ("observations", {"observe": at_two((3,), in_tuple), "observation_space": TUPLE}),
    "number-for-a-tuple": ("observations", {"observe": at_two(3, in_tuple), "observation_space": TUPLE}),
    "number-for-a-text": ("observations", {"observe": at_two(3, str), "observation_space": spaces.Text(3)}),
    "no-action": ("actions", {"action": None}),
    "text-action": ("actions", {"action": "left"}),
    "object-action": ("actions.* at step 0 ", {"action": object()}),
    "ragged-action": ("actions", {"action": [1, [2]]}),
    "array-action": ("actions", {"action": np.zeros(2)}),
    "half-action": ("actions", {"action": 0.5}),
    "device-action": ("actions.* at step 0 ", {"action": OnDevice(), "action_space": VECTOR}),
    "wordless-action": ("actions.* at step 0 ", {"action": WithoutWords(), "action_space": VECTOR}),
    "circle-action": ("actions.* at step 0 ", {"action": circle(), "action_space": VECTOR}),
    "no-reward": ("rewards", {"reward": lambda time: None}),
    "text-reward": ("rewards", {"reward": lambda time: "much"}),
    "growing-reward": ("rewards", {"reward": np.zeros}),
    "device-reward": ("rewards.* at step 1 ", {"reward": at_two(OnDevice(), float)}),
    "wordless-reward": ("rewards.* at step 1 ", {"reward": at_two(WithoutWords(), float)}),
    "circle-reward": ("rewards.* at step 1 ", {"reward": at_two(circle(), float)}),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_values_stop_no_step_and_are_refused_when_they_are_saved(name: str, datasets_root: Path) -> None:
    where, arguments = ODD[name]
    action = arguments.get("action", 0)
    env = ScriptedEnv(**{key: value for key, value in arguments.items() if key != "action"})
    collector = collected(env, 2, action=action)
    before = listing(datasets_root)
    for _ in range(2):
        with pytest.raises(EpisodeError, match=rf"^Episode 0 cannot be stored\. The {where}") as caught:
            collector.create_dataset("test/odd-v0")
        assert str(caught.value).count("\n") == 0
        assert (collector.total_episodes, collector.total_steps) == (2, 10)
        assert listing(datasets_root) == before


def test_odd_options_are_refused_when_they_are_saved() -> None:
    collector = collected(reset={"options": {"renderer": Uncopyable()}})
    with pytest.raises(ValueError, match="renderer"):
        collector.create_dataset("test/odd-v0")
    assert collector.total_episodes == 1


UNSTORABLE: dict[str, Any] = {
    "object": object(),
    "lock": threading.Lock(),
    "Uncopyable": Uncopyable(),
    "generator": (number for number in range(3)),
    "time": datetime.time(12),
    "builtin_function_or_method": len,
    "OnDevice": OnDevice(),
    "socket": socket.socket(),
    "WithoutWords": WithoutWords(),
    "OnDevice.*": [1, OnDevice()],
    "itself": circle(),
}


@pytest.mark.parametrize("kind", UNSTORABLE)
@pytest.mark.parametrize("buffer_steps", [10_000, 1])
def test_infos_that_cannot_be_stored_are_named_and_can_be_discarded(
    kind: str, buffer_steps: int, datasets_root: Path
) -> None:
    odd = UNSTORABLE[kind]
    env = ScriptedEnv(inform=lambda time: {"time": time, "deep": {"odd": odd if time else None, "fine": time}})
    with warnings.catch_warnings():
        # Where they are written early, a warning already says that they could not be.
        warnings.filterwarnings("ignore", "The recorded episodes cannot be written yet")
        collector = collected(env, 2, record_infos=True, buffer_steps=buffer_steps)
        play(collector, steps=2)
    before = listing(datasets_root)
    with pytest.raises(EpisodeError, match=rf"'infos/deep/odd' at step 1 .*{kind}.*discard_info\('deep/odd'\)"):
        collector.create_dataset("test/odd-v0")
    assert listing(datasets_root) == before
    collector.discard_info("deep/odd")
    dataset = collector.create_dataset("test/odd-v0")
    assert [len(episode) for episode in dataset] == [5, 5, 2]
    assert dataset[0].infos["time"].tolist() == dataset[0].infos["deep"]["fine"].tolist() == list(range(6))
    assert set(dataset[0].infos["deep"]) == {"fine"}
    assert not isinstance(odd, socket.socket) or odd.fileno() != -1  # it is still open


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
def test_infos_of_changing_kinds_and_shapes_come_back(name: str) -> None:
    given = CHANGING[name]
    for episode in recorded(ScriptedEnv(inform=lambda time: {"odd": given(time), 7: time}), 2, record_infos=True):
        assert episode.infos.keys() == {"odd", 7}
        assert len(episode.infos["odd"]) == 6
        for value, expected in zip(episode.infos["odd"], map(given, range(6)), strict=True):
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

    infos = recorded(ScriptedEnv(inform=inform), record_infos=True)[0].infos
    assert infos["_odd"].tolist() == [False, True] * 3
    assert infos["odd"].tolist() == [[0, 0], [1, 1], [0, 0], [3, 3], [0, 0], [5, 5]]
    assert infos["early"].tolist() == infos["_early"].tolist() == [True] + 5 * [False]
    present = np.array([False] * 3 + [True] * 3)
    assert np.array_equal(infos["_late"], present)
    assert infos["late"]["deep"][present].tolist() == [3.0, 4.0, 5.0]
    assert list(np.asarray(infos["late"]["text"], object)[present]) == ["xxx", "xxxx", "xxxxx"]


def test_an_info_that_is_no_dict_is_left_out_with_a_warning_unless_it_is_none() -> None:
    env = ScriptedEnv(inform=at_two([2], lambda time: {"time": time}))
    with pytest.warns(UserWarning, match=r"info of a step is \[2\], expected a dict"):
        collector = collected(env, record_infos=True)
    env.inform = lambda time: None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        play(collector)
    episode, without = collector.create_dataset("test/odd-v0")
    assert episode.infos["_time"].tolist() == [True, True, False, True, True, True]
    assert without.infos == {}


def test_keys_that_the_space_does_not_have_are_warned_about_once() -> None:
    env = ScriptedEnv(lambda time: {**in_dict(time), "extra": 1, 7: "seven"}, observation_space=DICT)
    with pytest.warns(UserWarning, match=r"\[7, 'extra'\] are not in the space") as caught:
        collector = collected(env, 3)
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
)
def test_values_outside_their_space_are_recorded_with_a_warning(
    space: spaces.Space[Any], observe: Callable[[int], Any], where: str
) -> None:
    with pytest.warns(UserWarning, match="Observation is not in observation space") as caught:
        collector = collected(ScriptedEnv(observe, observation_space=space), 2)
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
        inside = {"a": np.zeros(2, np.float32), "b": 0}
        arguments = [recorded(ScriptedEnv(lambda time: inside, observation_space=space))]
    summary = "first at step 4 at a; 14 steps are outside up to now, and the worst value is 17.0"
    with pytest.warns(UserWarning, match=summary) as caught:
        getattr(collector, finish)(*arguments)
    assert sum("not in" in str(warning.message) for warning in caught) == 1


@pytest.mark.filterwarnings("default:.* is not in .* space")
def test_what_was_told_at_once_is_not_told_again() -> None:
    with pytest.warns(UserWarning, match="3 steps are outside up to now, and the worst value is 250.0"):
        collector = collected(ScriptedEnv(lambda time: np.full(2, 50.0 * time, np.float32)))
    with warnings.catch_warnings():
        warnings.filterwarnings("error", ".* is not in .* space")
        collector.create_dataset("test/outside-v0")
    with pytest.warns(UserWarning, match=r"Action is not in action space, in episode 0 first at step 0"):
        assert recorded(action=7)[0].actions.tolist() == [7] * 5


def test_warnings_as_errors_lose_no_episode() -> None:
    collector = DataCollector(ScriptedEnv(lambda time: np.full(2, 999, np.float32)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="Observation is not in observation space"):
            play(collector)
    assert collector.total_episodes == 1
    play(collector)
    assert [len(episode) for episode in collector.create_dataset("test/strict-v0")] == [5, 5]
