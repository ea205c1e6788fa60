"""Episodes put together step by step."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from minari.dataset.episode_buffer import EpisodeBuffer, as_episode_buffers
from minari.dataset.infos import ABSENT
from minari.errors import EpisodeError, EpisodeTypeError


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
    """How many steps there are is known all the same."""
    buffer = collect(step(observation), step(observation, 0), step(observation, 0, {"k": 1}))
    assert buffer.infos == {"k": [ABSENT, ABSENT, 1]}


def test_keys_of_a_callback_become_infos() -> None:
    buffer = collect(step(0, None, {"k": 1}, extra=2), step(1, 0, {"k": 3}, extra=4, nested={"z": 5}))
    assert buffer.infos == {"k": [1, 3], "extra": [2, 4], "nested": {"z": [ABSENT, 5]}}


def test_goes_on_from_arrays() -> None:
    """Columns may be arrays at first, as in an episode that was read."""
    buffer = EpisodeBuffer(
        observations={"x": np.array([1, 2])},
        actions=np.array([7]),
        rewards=[1.0],
        terminations=[False],
        truncations=[False],
    )
    buffer = buffer.add_step_data(step({"x": 3}, 8))
    assert buffer.observations == {"x": [1, 2, 3]}
    assert buffer.actions == [7, 8]


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ({"a": 1}, {"b": 1}, r"observation has the keys \['b'\], expected \['a'\]"),
        ({"a": 1}, {"a": 1, "b": 1}, r"keys \['a', 'b'\]"),
        ((1, 2), (1,), "observation has 1 parts, expected 2"),
        ({"a": 1}, 3, "observation is 3, expected one nested"),
        ((1,), 3, "observation is 3"),
    ],
)
def test_steps_that_are_nested_otherwise(first: Any, second: Any, message: str) -> None:
    with pytest.raises(EpisodeError, match=message):
        collect(step(first), step(second, 0))


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
