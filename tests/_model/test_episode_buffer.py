"""Episodes as programs put them together step by step, and as a reader gets them."""

from __future__ import annotations

import copy
import dataclasses
import inspect
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from minari._model.episode import EpisodeData, same_values
from minari._model.episode_buffer import EpisodeBuffer, as_episode_buffers
from minari._model.infos.values import ABSENT
from minari.dataset.encoding import EpisodeCodec
from minari.errors import EpisodeError, EpisodeTypeError
from support.values import assert_identical


def step(observation: Any, action: Any = None, info: dict[str, Any] | None = None, **more: Any) -> Any:
    """The data of a step, or of a reset where there is no action."""
    values = {"reward": 0.5, "terminated": False, "truncated": True} if action is not None else {}
    base = dict.fromkeys(("reward", "terminated", "truncated"))
    return {"observation": observation, "action": action, **base, **values, "info": info or {}, **more}


def collect(*steps: Any, buffer: EpisodeBuffer | None = None) -> EpisodeBuffer:
    buffer = EpisodeBuffer() if buffer is None else buffer
    for data in steps:
        buffer = buffer.add_step_data(data)
    return buffer


def test_a_buffer_is_empty_at_first_and_frozen() -> None:
    names = ["id", "seed", "options", "observations", "actions", "rewards", "terminations", "truncations", "infos"]
    assert list(inspect.signature(EpisodeBuffer).parameters) == [*names, "metadata"]
    buffer = EpisodeBuffer()
    assert (buffer.id, buffer.seed, buffer.options, buffer.observations, buffer.actions, buffer.infos) == (None,) * 6
    assert buffer.rewards == buffer.terminations == buffer.truncations == []
    assert EpisodeBuffer().rewards is not buffer.rewards
    with pytest.raises(dataclasses.FrozenInstanceError):
        buffer.id = 3  # type: ignore[misc]


def test_steps_are_appended_to_lists_nested_as_a_space_is() -> None:
    graph = spaces.GraphInstance(np.zeros((1, 2)), None, None)  # which is one value
    buffer = collect(
        step({"a": 1, "p": (2, {"b": "x"}), "g": graph}),
        step({"g": graph, "p": (4, {"b": "y"}), "a": 3}, (0, {"c": 5})),
        buffer=EpisodeBuffer(id=4, seed=3, options={"a": 1}),
    )
    assert len(buffer) == 1
    assert buffer.observations == {"a": [1, 3], "p": ([2, 4], {"b": ["x", "y"]}), "g": [graph, graph]}
    assert buffer.actions == ([0], {"c": [5]})
    assert (buffer.rewards, buffer.terminations, buffer.truncations, buffer.infos) == ([0.5], [False], [True], {})
    assert (buffer.id, buffer.seed, buffer.options) == (4, 3, {"a": 1})


@pytest.mark.parametrize(
    ("steps", "infos"),
    [
        (
            [step({"x": 0}), step({"x": 1}, 0, {"k": 1}), step({"x": 2}, 0, {"n": {"m": 2}})],
            {"k": [ABSENT, 1, ABSENT], "n": {"m": [ABSENT, ABSENT, 2]}},
        ),
        # The number of steps is known although the observations have no value.
        *(
            ([step(empty), step(empty, 0), step(empty, 0, {"k": 1})], {"k": [ABSENT, ABSENT, 1]})
            for empty in ({}, (), {"a": {}, "b": ()})
        ),
        # A dict in some steps and a value in others: values, some of which are dicts.
        ([step(0, None, {"a": {"x": 1}}), step(0, 0), step(0, 0, {"a": 2})], {"a": [{"x": 1}, ABSENT, 2]}),
        ([step(0, None, {"a": {"x": {"y": 1}}}), step(0, 0, {"a": {"x": 2}})], {"a": {"x": [{"y": 1}, 2]}}),
        ([step(0, None, {"a": {}}), step(0, 0, {"a": {"x": 1}})], {"a": [{}, {"x": 1}]}),
        # Keys that a callback adds.
        (
            [step(0, None, {"k": 1}, extra=2), step(1, 0, {"k": 3}, extra=4, nested={"z": 5})],
            {"k": [1, 3], "extra": [2, 4], "nested": {"z": [ABSENT, 5]}},
        ),
    ],
)
def test_infos_of_some_steps_are_absent_in_the_others(steps: list[Any], infos: dict[str, Any]) -> None:
    assert collect(*steps).infos == infos


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
def test_a_buffer_may_begin_with_a_value_that_is_no_list(first: Any, second: Any, together: Any) -> None:
    def begin() -> Any:
        return {"v": copy.deepcopy(first)}

    buffer = EpisodeBuffer(observations=begin(), actions=begin(), infos=begin(), seed=5, options={"o": 1})
    more: Any = {"v": second}
    buffer = buffer.add_step_data(step(more, more, more))
    assert (buffer.seed, buffer.options, len(buffer)) == (5, {"o": 1}, 1)
    assert buffer.observations == buffer.actions == {"v": together}
    if first is not None:
        assert EpisodeBuffer(observations=first).add_step_data(step(second, 0)).observations == together


def test_a_buffer_may_begin_with_a_tuple() -> None:
    buffer = EpisodeBuffer(observations=(1, {"k": None}), actions=("a", 1))
    buffer = buffer.add_step_data(step((2, {"k": 3}), ("b", 2)))
    assert buffer.observations == ([1, 2], {"k": [None, 3]})
    assert buffer.actions == (["a", "b"], [1, 2])
    assert buffer.add_step_data(step((4,), ("c",))).observations == [(1, {"k": None}), (2, {"k": 3}), (4,)]
    buffer = EpisodeBuffer(observations=[0], infos={"pair": ([1], [2])}).add_step_data(step(1, 0, {"pair": (3, 4)}))
    assert buffer.infos == {"pair": [(1, 2), (3, 4)]}


def test_a_buffer_may_begin_with_infos_that_are_no_lists() -> None:
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


BAG = spaces.Sequence(spaces.Discrete(9))


@pytest.mark.parametrize(
    ("space", "values"),
    [
        (spaces.Box(-1, 1, (1,)), [np.full(1, value, np.float32) for value in (0.1, 0.2, 0.3)]),
        (spaces.Box(-1, 1, ()), [np.array(value, np.float32) for value in (0.1, 0.2, 0.3)]),
        (spaces.MultiBinary((2, 1)), [np.ones((2, 1), np.int8)] * 3),
        (spaces.Discrete(4), [3, np.int64(0), 1]),
        (spaces.Text(5), ["", "ab", "c"]),
        *((BAG, [(1, 2), (3, 4), last]) for last in ((5, 6), ())),
        *((BAG, [(), middle, ()]) for middle in ((3, 4), ())),
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
def test_the_first_value_may_be_given_directly_in_a_list_or_as_a_reset(space: Any, values: list[Any]) -> None:
    codec = EpisodeCodec(space, space)
    expected = {
        **codec.observations.encode(values),
        **codec.actions.encode(values[1:]),
        ("rewards",): np.full(2, 0.5),
        ("terminations",): np.zeros(2, bool),
        ("truncations",): np.ones(2, bool),
    }
    first = values[0]
    resets = EpisodeBuffer().add_step_data(step(first))
    for buffer in (EpisodeBuffer(observations=first), resets, EpisodeBuffer(observations=[first])):
        buffer = collect(*(step(value, value) for value in values[1:]), buffer=buffer)
        assert_identical(codec.encode(buffer).columns, expected)


def test_columns_that_are_arrays_are_continued() -> None:
    """As those of an episode of several steps that was read."""
    buffer = EpisodeBuffer(
        observations={"x": np.array([1, 2, 3])},
        actions=np.array([7, 8]),
        rewards=np.ones(2),
        terminations=np.zeros(2, bool),
        truncations=(False, False),
        infos={"i": np.array([4, 5, 6]), "n": {"y": np.array([3.0, 4.0, 5.0])}},
    )
    buffer = buffer.add_step_data(step({"x": 4}, 9, {"i": 7, "n": {"y": 6.0}}))
    assert (buffer.observations, buffer.actions) == ({"x": [1, 2, 3, 4]}, [7, 8, 9])
    assert buffer.infos == {"i": [4, 5, 6, 7], "n": {"y": [3.0, 4.0, 5.0, 6.0]}}
    assert (buffer.rewards, buffer.terminations, buffer.truncations) == ([1, 1, 0.5], [False] * 3, [False, False, True])
    for rows in (np.zeros((3, 2)), np.zeros((1, 2))):  # one value when the first step is added
        buffer = EpisodeBuffer(observations=rows).add_step_data(step(np.ones(2), 0))
        assert [np.shape(value) for value in buffer.observations] == [rows.shape, (2,)]
    assert len(EpisodeBuffer(observations=np.zeros(2), infos={"x": 0})) == 0


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
def test_steps_that_are_nested_otherwise_are_refused(first: Any, second: Any, message: str) -> None:
    for buffer in (collect(step(first)), EpisodeBuffer(observations=first)):
        with pytest.raises(EpisodeError, match=message):
            buffer.add_step_data(step(second, 0))


@pytest.mark.parametrize("missing", ["info", "truncated"])
def test_a_step_that_lacks_a_key_is_refused(missing: str) -> None:
    data = {key: value for key, value in step(1).items() if key != missing}
    with pytest.raises(KeyError, match=rf"^The step has the keys .*'action'.* expected all of .*'{missing}'"):
        EpisodeBuffer().add_step_data(data)


# Episodes as callers give them


def test_dicts_and_iterators_are_taken_as_episodes() -> None:
    with pytest.warns(DeprecationWarning, match="plain dicts") as warned:
        (first, second) = as_episode_buffers([{"rewards": [1.0], "actions": [0]}, EpisodeBuffer(seed=3)])
    assert [warning.filename for warning in warned] == [__file__]
    assert isinstance(first, EpisodeBuffer)
    assert (first.rewards, first.actions, second.seed) == ([1.0], [0], 3)
    episodes = iter([EpisodeBuffer()])
    assert as_episode_buffers(episodes) is episodes  # to be read one by one


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
def test_what_is_no_list_of_episodes_is_refused(buffers: Any, message: str) -> None:
    with pytest.raises(EpisodeTypeError, match=message):
        as_episode_buffers(buffers)


# An episode that is read


def episode(**fields: Any) -> EpisodeData:
    base = {
        "id": 3,
        "observations": {"x": np.zeros((3, 2), np.float32), "t": ["a", "b", "c"]},
        "actions": (np.array([1, 2]),),
        "rewards": np.array([0.5, np.nan]),
        "terminations": np.array([False, True]),
        "truncations": np.array([False, False]),
        "infos": {"n": {"k": np.arange(3)}},
    }
    return EpisodeData(**{**base, **fields})


def test_an_episode_has_a_length_and_a_repr_and_is_frozen() -> None:
    assert len(episode()) == 2
    assert repr(episode()) == (
        "EpisodeData(id=3, total_steps=2, observations={x: ndarray of shape (3, 2) and dtype float32, "
        "t: ['a', 'b', 'c']}, actions=(ndarray of shape (2,) and dtype int64), rewards=ndarray of 2 floats, "
        "terminations=ndarray of 2 bools, truncations=ndarray of 2 bools, infos=dict with the following keys: ['n'])"
    )
    assert "keys: []" in repr(episode(infos={}))
    with pytest.raises(AttributeError):
        episode().id = 4  # type: ignore[misc]
    with pytest.raises(TypeError, match="unhashable"):
        hash(episode())


def test_episodes_are_equal_by_value() -> None:
    assert episode() == episode()
    other_dtype = {"x": np.zeros((3, 2)), "t": ["a", "b", "c"]}
    for changes in ({"id": 4}, {"rewards": np.array([0.5, 1.0])}, {"observations": other_dtype}, {"infos": {}}):
        assert episode() != episode(**changes)
    assert episode() != 3


def test_a_copy_has_arrays_of_its_own() -> None:
    graph = spaces.GraphInstance(np.zeros((2, 2)), None, None)
    original = episode(observations=[graph, graph, graph])
    for array in (original.rewards, original.infos["n"]["k"], original.actions[0]):
        array.flags.writeable = False
    copied = original.copy()
    assert copied == original
    assert isinstance(copied.observations[0], spaces.GraphInstance)
    for array in (copied.rewards, copied.infos["n"]["k"], copied.actions[0], copied.observations[0].nodes):
        array[0] = 9
    assert original == episode(observations=[graph, graph, graph])


NESTED = np.array([np.zeros(2), None], object)


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        (np.nan, np.nan, True),
        (np.float32("nan"), float("nan"), True),
        (1.0, np.nan, False),
        (np.array([np.nan]), np.array([np.nan]), True),
        (np.array([1]), np.array([1.0]), False),
        (np.array([1]), [1], False),
        (np.array([1]), np.array([[1]]), False),
        (NESTED, copy.deepcopy(NESTED), True),
        (NESTED, np.array([np.ones(2), None], object), False),
        ([1, 2], (1, 2), False),
        ([1, 2], [1], False),
        ({"a": [np.nan]}, {"a": [np.nan]}, True),
        ({"a": 1}, {"b": 1}, False),
        ("a", "a", True),
        (None, 0, False),
    ],
)
def test_values_are_compared_with_their_types(a: Any, b: Any, same: bool) -> None:
    assert same_values(a, b) is same
    assert same_values(b, a) is same
