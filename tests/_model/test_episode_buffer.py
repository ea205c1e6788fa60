"""Episodes put together step by step."""

from __future__ import annotations

import copy
import dataclasses
import inspect
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from minari._model.episode_buffer import EpisodeBuffer, as_episode_buffers
from minari._model.info_values import ABSENT
from minari.dataset.encoding import EpisodeCodec
from minari.errors import EpisodeError, EpisodeTypeError
from support.values import assert_identical


def step(observation: Any, action: Any = None, info: dict[str, Any] | None = None, **more: Any) -> Any:
    """The data of a step, or of a reset where there is no action."""
    values = {"reward": 0.5, "terminated": False, "truncated": True} if action is not None else {}
    base = dict.fromkeys(("reward", "terminated", "truncated"))
    return {"observation": observation, "action": action, **base, **values, "info": info or {}, **more}


def collect(*steps: Any) -> EpisodeBuffer:
    buffer = EpisodeBuffer()
    for data in steps:
        buffer = buffer.add_step_data(data)
    return buffer


def test_fields_and_defaults() -> None:
    names = ["id", "seed", "options", "observations", "actions", "rewards", "terminations", "truncations", "infos"]
    assert list(inspect.signature(EpisodeBuffer).parameters) == names
    buffer = EpisodeBuffer()
    assert (buffer.id, buffer.seed, buffer.options, buffer.observations, buffer.actions, buffer.infos) == (None,) * 6
    assert buffer.rewards == buffer.terminations == buffer.truncations == []
    assert EpisodeBuffer().rewards is not buffer.rewards
    with pytest.raises(dataclasses.FrozenInstanceError):
        buffer.id = 3  # type: ignore[misc]


def test_arrays() -> None:
    buffer = collect(step(np.zeros(2)), step(np.ones(2), 1), step(np.ones(2) * 2, 0))
    assert len(buffer) == 2
    assert [value.tolist() for value in buffer.observations] == [[0, 0], [1, 1], [2, 2]]
    assert buffer.actions == [1, 0]
    assert (buffer.rewards, buffer.terminations, buffer.truncations) == ([0.5] * 2, [False] * 2, [True] * 2)
    assert buffer.infos == {}


def test_nested() -> None:
    """Dicts and tuples are nested around the lists, as a space is; a graph is one value."""
    graph = spaces.GraphInstance(np.zeros((1, 2)), None, None)
    buffer = collect(
        step({"a": 1, "p": (2, {"b": "x"}), "g": graph}),
        step({"g": graph, "p": (4, {"b": "y"}), "a": 3}, (0, {"c": 5})),
    )
    assert buffer.observations == {"a": [1, 3], "p": ([2, 4], {"b": ["x", "y"]}), "g": [graph, graph]}
    assert buffer.actions == ([0], {"c": [5]})


def test_infos_in_some_steps() -> None:
    buffer = collect(
        step({"e": {}, "x": 0}), step({"e": {}, "x": 1}, 0, {"k": 1}), step({"e": {}, "x": 2}, 0, {"n": {"m": 2}})
    )
    assert buffer.infos == {"k": [ABSENT, 1, ABSENT], "n": {"m": [ABSENT, ABSENT, 2]}}


@pytest.mark.parametrize("observation", [{}, (), {"a": {}, "b": ()}])
def test_observations_without_any_value(observation: Any) -> None:
    """The number of steps is known anyway."""
    buffer = collect(step(observation), step(observation, 0), step(observation, 0, {"k": 1}))
    assert buffer.infos == {"k": [ABSENT, ABSENT, 1]}


def test_keys_of_a_callback_become_infos() -> None:
    buffer = collect(step(0, None, {"k": 1}, extra=2), step(1, 0, {"k": 3}, extra=4, nested={"z": 5}))
    assert buffer.infos == {"k": [1, 3], "extra": [2, 4], "nested": {"z": [ABSENT, 5]}}


# The first observation and info as they are


GRAPH = spaces.GraphInstance((1, 2), None, None)  # type: ignore[arg-type]  # no array, as these do not compare


@pytest.mark.parametrize(
    ("first", "second", "together"),
    [
        (1.5, 2, [1.5, 2]),
        ("left", "r", ["left", "r"]),
        (b"a", b"b", [b"a", b"b"]),
        (None, 3, [None, 3]),
        (np.str_("x"), "y", ["x", "y"]),
        (GRAPH, GRAPH, [GRAPH, GRAPH]),
        ([0.5], 0.7, [0.5, 0.7]),
        ({"a": 1, "b": {"c": "x"}}, {"a": 2, "b": {"c": "y"}}, {"a": [1, 2], "b": {"c": ["x", "y"]}}),
        ({"a": [1], "b": 2}, {"a": 3, "b": 4}, {"a": [1, 3], "b": [2, 4]}),
    ],
)
def test_begins_with_a_value_that_is_no_list(first: Any, second: Any, together: Any) -> None:
    def begin() -> Any:
        return {"v": copy.deepcopy(first)}

    buffer = EpisodeBuffer(observations=begin(), actions=begin(), infos=begin(), seed=5, options={"o": 1})
    more: Any = {"v": second}
    buffer = buffer.add_step_data(step(more, more, more))
    assert (buffer.seed, buffer.options, len(buffer)) == (5, {"o": 1}, 1)
    assert buffer.observations == buffer.actions == {"v": together}
    if first is not None:
        assert EpisodeBuffer(observations=first).add_step_data(step(second, 0)).observations == together


def test_begins_with_a_tuple() -> None:
    buffer = EpisodeBuffer(observations=(1, {"k": None}), actions=("a", 1))
    buffer = buffer.add_step_data(step((2, {"k": 3}), ("b", 2)))
    assert buffer.observations == ([1, 2], {"k": [None, 3]})
    assert buffer.actions == (["a", "b"], [1, 2])
    assert buffer.add_step_data(step((4,), ("c",))).observations == [(1, {"k": None}), (2, {"k": 3}), (4,)]


def test_begins_with_infos_that_are_no_lists() -> None:
    first = {"n": 1, "t": "a", "none": None, "deep": {"er": {"x": np.float32(2)}}, "e": {}, "pair": (1, 2), "l": [3]}
    buffer = EpisodeBuffer(observations=0, infos=first)
    for time in (1, 2):
        info = {"n": 2, "t": "b", "none": time, "deep": {"er": {"x": np.float32(3)}}, "e": {}, "pair": (3, 4), "l": 4}
        buffer = buffer.add_step_data(step(time, 0, {**info, "late": 9} if time == 2 else info))
    assert buffer.infos == {
        "n": [1, 2, 2],
        "t": ["a", "b", "b"],
        "none": [None, 1, 2],
        "deep": {"er": {"x": [2, 3, 3]}},
        "e": [{}, {}, {}],
        "pair": [(1, 2), (3, 4), (3, 4)],
        "l": [3, 4, 4],
        "late": [ABSENT, ABSENT, 9],
    }
    assert first["deep"] == {"er": {"x": np.float32(2)}}  # the caller's own dict is left alone


def test_infos_in_lists_may_be_tuples_of_lists() -> None:
    buffer = EpisodeBuffer(observations=[0], infos={"pair": ([1], [2])}).add_step_data(step(1, 0, {"pair": (3, 4)}))
    assert buffer.infos == {"pair": [(1, 2), (3, 4)]}


@pytest.mark.parametrize(
    ("space", "values"),
    [
        (spaces.Box(-1, 1, (1,)), [np.full(1, value, np.float32) for value in (0.1, 0.2, 0.3)]),
        (spaces.Box(-1, 1, ()), [np.array(value, np.float32) for value in (0.1, 0.2, 0.3)]),
        (spaces.MultiBinary((2, 1)), [np.ones((2, 1), np.int8)] * 3),
        (spaces.Discrete(4), [3, np.int64(0), 1]),
        (spaces.Text(5), ["", "ab", "c"]),
        (spaces.Sequence(spaces.Discrete(9)), [(1, 2), (3, 4), (5, 6)]),
        (spaces.Sequence(spaces.Discrete(9)), [(1, 2), (3, 4), ()]),
        (spaces.Sequence(spaces.Discrete(9)), [(), (3, 4), ()]),
        (spaces.Sequence(spaces.Discrete(9)), [(), (), ()]),
        (spaces.Sequence(spaces.Dict(a=spaces.Text(2))), [({"a": "x"},), ({"a": "y"},), ({"a": "z"},)]),
        (
            spaces.Sequence(spaces.Dict(a=spaces.Box(0, 1, (2,))), stack=True),
            [{"a": np.zeros((count, 2), np.float32)} for count in (2, 0, 1)],
        ),
        (spaces.OneOf((spaces.Discrete(3), spaces.Text(3))), [(0, 1), (1, "a"), (0, 2)]),
        (spaces.OneOf((spaces.Discrete(3), spaces.Dict(b=spaces.Text(3)))), [(1, {"b": "a"}), (0, 1), (1, {"b": "c"})]),
        (spaces.Graph(spaces.Box(0, 1, (2,)), None), [spaces.GraphInstance(np.zeros((2, 2)), None, None)] * 3),
        (
            spaces.Dict(s=spaces.Tuple((spaces.Sequence(spaces.Text(3)), spaces.Discrete(3))), z=spaces.Text(3)),
            [{"s": (("a",), 1), "z": "x"}, {"s": (("b", "c"), 0), "z": ""}, {"s": ((), 2), "z": "y"}],
        ),
    ],
)
def test_every_space_comes_back(space: spaces.Space[Any], values: list[Any]) -> None:
    """The first value may be given directly, in a list, or as the reset of an empty buffer."""
    steps = [step(value, value) for value in values[1:]]
    bare = EpisodeBuffer(observations=values[0])
    resets = EpisodeBuffer().add_step_data(step(values[0]))
    listed = EpisodeBuffer(observations=[values[0]])
    codec = EpisodeCodec(space, space)
    expected = {
        **codec.observations.encode(values),
        **codec.actions.encode(values[1:]),
        ("rewards",): np.full(2, 0.5),
        ("terminations",): np.zeros(2, bool),
        ("truncations",): np.ones(2, bool),
    }
    for buffer in (bare, resets, listed):
        for data in steps:
            buffer = buffer.add_step_data(data)
        assert_identical(codec.encode(buffer).columns, expected)


def test_goes_on_from_arrays() -> None:
    """Columns may be arrays at first, as in an episode of several steps that was read."""
    buffer = EpisodeBuffer(
        observations={"x": np.array([1, 2, 3])},
        actions=np.array([7, 8]),
        rewards=np.ones(2),
        terminations=np.zeros(2, bool),
        truncations=(False, False),
        infos={"i": np.array([4, 5, 6])},
    )
    buffer = buffer.add_step_data(step({"x": 4}, 9, {"i": 7}))
    assert (buffer.observations, buffer.actions, buffer.infos) == ({"x": [1, 2, 3, 4]}, [7, 8, 9], {"i": [4, 5, 6, 7]})
    assert (buffer.rewards, buffer.terminations, buffer.truncations) == ([1, 1, 0.5], [False] * 3, [False, False, True])


@pytest.mark.parametrize("rows", [np.zeros((3, 2)), np.zeros((1, 2))])
def test_an_array_is_one_value_when_the_first_step_is_added(rows: Any) -> None:
    buffer = EpisodeBuffer(observations=rows).add_step_data(step(np.ones(2), 0))
    assert [np.shape(value) for value in buffer.observations] == [rows.shape, (2,)]


def test_without_a_step() -> None:
    buffer = EpisodeBuffer(observations=np.zeros(2), infos={"x": 0})
    assert len(buffer) == 0
    with pytest.raises(EpisodeError, match="no step"):
        EpisodeCodec(spaces.Box(0, 1, (2,)), spaces.Discrete(2)).encode(buffer)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ({"a": 1}, {"b": 1}, r"observation has the keys \['b'\], expected \['a'\]"),
        ({"a": 1}, {"a": 1, "b": 1}, r"keys \['a', 'b'\]"),
        ({"a": {"b": 1}}, {"a": {"c": 1}}, r"observation has the keys \['c'\]"),
        ({"a": 1}, 3, "observation is 3, expected one nested"),
        ((1,), 3, "observation is 3"),
    ],
)
def test_steps_that_are_nested_otherwise(first: Any, second: Any, message: str) -> None:
    with pytest.raises(EpisodeError, match=message):
        collect(step(first), step(second, 0))
    with pytest.raises(EpisodeError, match=message):
        EpisodeBuffer(observations=first).add_step_data(step(second, 0))


def test_missing_key() -> None:
    data = step(1)
    del data["info"]
    with pytest.raises(KeyError, match="info"):
        EpisodeBuffer().add_step_data(data)


def test_seed_and_options_stay() -> None:
    buffer = EpisodeBuffer(id=4, seed=3, options={"a": 1}).add_step_data(step(0)).add_step_data(step(1, 0))
    assert (buffer.id, buffer.seed, buffer.options) == (4, 3, {"a": 1})


# Episodes as callers give them


def test_older_form() -> None:
    with pytest.warns(DeprecationWarning, match="plain dicts") as warned:
        (first, second) = as_episode_buffers([{"rewards": [1.0], "actions": [0]}, EpisodeBuffer(seed=3)])
    assert len(warned) == 1
    assert warned[0].filename == __file__
    assert isinstance(first, EpisodeBuffer)
    assert (first.rewards, first.actions, second.seed) == ([1.0], [0], 3)


def test_iterators_are_left_to_be_read_one_by_one() -> None:
    episodes = iter([EpisodeBuffer()])
    assert as_episode_buffers(episodes) is episodes


@pytest.mark.filterwarnings("ignore:Episodes as plain dicts")
@pytest.mark.parametrize(
    ("buffers", "message"),
    [
        (EpisodeBuffer(), "a single EpisodeBuffer, expected a list"),
        ({"rewards": [1.0]}, "dict values, expected a list"),
        (3, "int values, expected a list"),
        ([EpisodeBuffer(), 3], "Episode 1 is 3, expected an EpisodeBuffer"),
        ([{"reward": 1}], r"Episode 0 is a dict with the keys \['reward'\]"),
    ],
)
def test_what_is_no_list_of_episodes(buffers: Any, message: str) -> None:
    with pytest.raises(EpisodeTypeError, match=message):
        as_episode_buffers(buffers)
