"""One episode as a reader gets it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from minari._model.episode import EpisodeData, same_values


def episode(**fields: Any) -> EpisodeData:
    return EpisodeData(
        **{
            "id": 3,
            "observations": {"x": np.zeros((3, 2), np.float32), "t": ["a", "b", "c"]},
            "actions": (np.array([1, 2]),),
            "rewards": np.array([0.5, np.nan]),
            "terminations": np.array([False, True]),
            "truncations": np.array([False, False]),
            "infos": {"n": {"k": np.arange(3)}},
            **fields,
        }
    )


def test_length_and_repr() -> None:
    assert len(episode()) == 2
    assert repr(episode()) == (
        "EpisodeData(id=3, total_steps=2, observations={x: ndarray of shape (3, 2) and dtype float32, "
        "t: ['a', 'b', 'c']}, actions=(ndarray of shape (2,) and dtype int64), rewards=ndarray of 2 floats, "
        "terminations=ndarray of 2 bools, truncations=ndarray of 2 bools, infos=dict with the following keys: ['n'])"
    )
    assert "keys: []" in repr(episode(infos={}))


def test_equal_by_value() -> None:
    assert episode() == episode()
    assert episode() != episode(id=4)
    assert episode() != episode(rewards=np.array([0.5, 1.0]))
    assert episode() != episode(observations={"x": np.zeros((3, 2)), "t": ["a", "b", "c"]}), "another dtype"
    assert episode() != episode(infos={})
    assert episode() != 3
    with pytest.raises(TypeError, match="unhashable"):
        hash(episode())


def test_frozen() -> None:
    with pytest.raises(AttributeError):
        episode().id = 4  # type: ignore[misc]


def test_copy_has_arrays_of_its_own() -> None:
    graph = spaces.GraphInstance(np.zeros((2, 2)), None, None)
    original = episode(observations=[graph, graph, graph])
    for array in (original.rewards, original.infos["n"]["k"], original.actions[0]):
        array.flags.writeable = False
    copied = original.copy()
    assert copied == original
    copied.rewards[0] = 9
    copied.infos["n"]["k"][0] = 9
    copied.actions[0][0] = 9
    copied.observations[0].nodes[0] = 9
    assert original == episode(observations=[graph, graph, graph])
    assert isinstance(copied.observations[0], spaces.GraphInstance)


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
        (np.array([np.zeros(2), None], object), np.array([np.zeros(2), None], object), True),
        (np.array([np.zeros(2), None], object), np.array([np.ones(2), None], object), False),
        ([1, 2], (1, 2), False),
        ([1, 2], [1], False),
        ({"a": [np.nan]}, {"a": [np.nan]}, True),
        ({"a": 1}, {"b": 1}, False),
        ("a", "a", True),
        (None, 0, False),
    ],
)
def test_same_values(a: Any, b: Any, same: bool) -> None:
    assert same_values(a, b) is same
    assert same_values(b, a) is same
