"""Further steps joined to an episode that is stored."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from minari._model.episode_codec import append_steps
from minari._model.info_values import ABSENT
from minari.dataset.encoding import EpisodeCodec
from minari.dataset.episode_buffer import EpisodeBuffer
from minari.errors import EpisodeError
from minari.spaces import EpisodeColumns, object_column
from minari.testing.comparison import assert_same


CODEC = EpisodeCodec(spaces.Box(-1e9, 1e9, (), np.float64), spaces.Discrete(9))


def steps(observations: list[float], actions: list[int], **fields: Any) -> EpisodeBuffer:
    count = len(actions)
    return EpisodeBuffer(
        observations=observations,
        actions=actions,
        rewards=[float(action) for action in actions],
        terminations=[False] * count,
        truncations=[False] * count,
        **fields,
    )


def joined_infos(first: Any, second: Any) -> dict[str, Any]:
    """The infos of an episode of two steps that is continued by two."""
    stored = CODEC.encode(steps([0, 1, 2], [1, 2], infos=first))
    more = CODEC.encode_further_steps(steps([3, 4], [3, 4]))
    whole = append_steps(stored, more, second)
    assert whole.total_steps == 4
    infos: dict[str, Any] = CODEC.decode(0, whole.columns)["infos"]
    return infos


def test_steps_and_metadata() -> None:
    stored = CODEC.encode(steps([0, 1, 2], [1, 2], seed=5, options={"a": 1}))
    more = CODEC.encode_further_steps(steps([3, 4], [3, 4], seed=6))
    whole = append_steps(stored, more, None)
    assert whole.metadata == {"seed": 5, "options": {"a": 1}}
    fields = CODEC.decode(0, whole.columns)
    assert fields["observations"].tolist() == [0, 1, 2, 3, 4]
    assert fields["actions"].tolist() == fields["rewards"].tolist() == [1, 2, 3, 4]
    assert fields["infos"] == {}
    assert len(stored.columns[("rewards",)]) == 2, "what is stored is left alone"


A = np.arange(5)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ({"a": A[:3]}, {"a": A[3:]}, {"a": A}),
        ({"a": A[:3]}, {"a": [3, 4]}, {"a": A}),
        ({"n": {"a": A[:3]}}, {"n": {"a": A[3:]}}, {"n": {"a": A}}),
        ({"t": (A[:3], A[:3])}, {"t": (A[3:], A[3:])}, {"t": (A, A)}),
        ({"s": ["a", "b", "c"]}, {"s": ["d", "e"]}, {"s": object_column(list("abcde"))}),
        ({"a": A[:3]}, None, {"a": np.array([0, 1, 2, 0, 0]), "_a": np.array([True] * 3 + [False] * 2)}),
        ({}, {"a": A[3:]}, {"a": np.array([0, 0, 0, 3, 4]), "_a": np.array([False] * 3 + [True] * 2)}),
        ({"a": A[:3]}, {"a": ["x", None]}, {"a": object_column([0, 1, 2, "x", None])}),
        (
            {"a": A[:3]},
            {"a": [np.ones(2), np.ones(1)]},
            {"a": object_column([*map(np.array, (0.0, 1.0, 2.0)), np.ones(2), np.ones(1)])},
        ),
        (
            {"a": [1, ABSENT, 3]},
            {"a": [4, ABSENT]},
            {"a": np.array([1, 0, 3, 4, 0]), "_a": np.array([True, False, True, True, False])},
        ),
        (
            {"n": {"a": [1, ABSENT, 3]}},
            {"n": {"a": [4, 5]}},
            {
                "n": {"a": np.array([1, 0, 3, 4, 5]), "_a": np.array([True, False, True, True, True])},
                "_n": np.array([True, False, True, True, True]),
            },
        ),
        ({"n": {"a": A[:3]}}, {"n": [1, 2]}, {"n": object_column([{"a": 0}, {"a": 1}, {"a": 2}, 1, 2])}),
        (
            {"s": ["a", ABSENT, ""]},
            {"s": ["d", "e"]},
            {"s": object_column(["a", "", "", "d", "e"]), "_s": np.array([True, False, True, True, True])},
        ),
    ],
)
def test_infos(first: Any, second: Any, expected: dict[str, Any]) -> None:
    assert_same(joined_infos(first, second), expected)


def test_a_mask_in_what_follows() -> None:
    """Infos that were read from a dataset bring their masks along."""
    mask = np.array([True, False])
    read = joined_infos({"a": [1, ABSENT, 3]}, {"a": np.array([4, 0]), "_a": mask})
    assert read["a"].tolist() == [1, 0, 3, 4, 0]
    assert read["_a"].tolist() == [True, False, True, True, False]


def test_an_info_that_looks_like_a_mask() -> None:
    """It is none where the rows that it would hide have values, and nothing of them is lost."""
    first = {"a": A[:3] + 1, "_a": np.array([True, False, True])}
    read = joined_infos(first, {"a": [4, 5], "_a": [False, True]})
    assert_same(read, {"a": np.arange(1, 6), "_a": np.array([True, False, True, False, True])})
    every = {"a": A[:3], "_a": np.array([True] * 3)}
    assert_same(joined_infos(every, {"a": [3, 4], "_a": [True, True]}), {"a": A, "_a": np.array([True] * 5)})


def test_damaged_columns() -> None:
    stored = CODEC.encode(steps([0, 1, 2], [1, 2]))
    more = CODEC.encode_further_steps(steps([3], [3]))
    for odd in (None, np.zeros((3, 2))):
        columns = {path: column for path, column in stored.columns.items() if path != ("rewards",)}
        if odd is not None:
            columns[("rewards",)] = odd
        with pytest.raises(EpisodeError, match=r"'rewards'.*damaged"):
            append_steps(EpisodeColumns(2, columns), more, None)
