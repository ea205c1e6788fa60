"""A whole episode held against its space finds what the space itself says of each value."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st

from minari._model.space_check import SpaceCheck
from minari.testing.examples import SPACES, nested


SPACES_OF_NUMBERS: list[spaces.Space[Any]] = [
    spaces.Box(-1, 1, (2,), np.float32),
    spaces.Box(-1, 1, (2, 1), np.float64),
    spaces.Box(np.array([-np.inf, 0], np.float32), np.array([0.5, np.inf], np.float32)),
    spaces.Box(np.array([0.0, 0.0]), np.array([1.0, 2.0]), dtype=np.float64),
    spaces.Box(-np.inf, np.inf, (2,), np.float64),
    spaces.Box(-1, 1, (), np.float16),
    *(spaces.Box(low, 255 - low, (2,), np.uint8) for low in (0, 1)),
    spaces.Box(-(2**63), 2**63 - 1, (2,), np.int64),
    spaces.Box(0, 2**64 - 1, (2,), np.uint64),
    *(spaces.Discrete(3), spaces.Discrete(3, start=-1), spaces.MultiBinary(2)),
    *(spaces.MultiDiscrete([3, 3]), spaces.MultiDiscrete([3, 4], start=[0, 1])),
]
DTYPES = ["float64", "float32", "float16", "int64", "int8", "uint8", "uint64", ">f4"]
NUMBERS = [-np.inf, -2.0, -1.0, -0.0, 0.5, 1.0, 2.0, 3.0, 254.0, np.inf, np.nan]


def first_outside(check: SpaceCheck, values: Any) -> tuple[int, str] | None:
    """The first step that is outside, with the path of the leaf."""
    return min(((found.first, found.path) for found in check.outside(values)), default=None)


def is_inside(space: spaces.Space[Any], row: np.ndarray) -> bool:
    """Return whether one value lies in a space: element by element, as Python numbers."""
    if isinstance(space, spaces.Box):
        bounds, fits = (space.low, space.high), np.can_cast(row.dtype, space.dtype)
    else:
        fits = row.dtype.kind in "iu"
        if isinstance(space, spaces.MultiBinary):
            bounds = 0, 1
        else:
            count = space.n if isinstance(space, spaces.Discrete) else space.nvec
            bounds = space.start, space.start + count - 1
    low, high = (np.broadcast_to(bound, space.shape).ravel().tolist() for bound in bounds)
    return fits and all(a <= x <= b for a, x, b in zip(low, row.ravel().tolist(), high, strict=True))


@pytest.mark.parametrize("space", SPACES_OF_NUMBERS, ids=str)
@given(st.data())
def test_the_first_row_of_an_array_that_is_outside_is_found(space: spaces.Space[Any], data: st.DataObject) -> None:
    dtype = np.dtype(data.draw(st.sampled_from([space.dtype.str, *DTYPES])))
    limits = np.iinfo(dtype) if dtype.kind in "iu" else None
    numbers = NUMBERS if limits is None else [limits.min, limits.max, *range(max(-2, limits.min), 4), 100]
    shape = (data.draw(st.integers(1, 4)), *space.shape)
    count = int(np.prod(shape))
    values = data.draw(st.lists(st.sampled_from(numbers), min_size=count, max_size=count))
    array = np.array(values, dtype).reshape(shape)
    outside = [number for number in range(len(array)) if not is_inside(space, array[number, ...])]
    assert first_outside(SpaceCheck(space), array) == ((outside[0], "") if outside else None)


class Even(spaces.Discrete):
    """A space of one's own, which is asked."""

    def contains(self, value: Any) -> bool:
        return bool(value % 2 == 0)


CHOICE, PARTS = spaces.Discrete(3), spaces.Tuple([spaces.Discrete(2), spaces.Text(1)])
NESTED = spaces.Dict(a=spaces.Box(0, 1, (2,)), b=PARTS, c=spaces.Dict())
INSIDE: dict[str, Any] = {"a": np.zeros((4, 2), np.float32), "b": (np.zeros(4, np.int64), ["a"] * 4), "c": {}}
OUTSIDE = INSIDE | {"a": np.array([[0, 0]] * 3 + [[0, 2]], np.float32)}


@pytest.mark.parametrize(
    ("space", "values", "outside"),
    [
        *((CHOICE, values, None) for values in ([0, 1, 2], [0, True, np.int8(2), np.uint16(1)])),
        *((CHOICE, values, (1, "")) for values in ([0, 3, 4], [0, -1], [np.int64(0), np.int64(3)], [0, None])),
        *((CHOICE, values, (2, "")) for values in ([0, 1, "1"], [0, 2, -(2**70)])),
        (CHOICE, [0.0, 1.0], (0, "")),
        (NESTED, INSIDE, None),
        (NESTED, OUTSIDE, (3, "x/a")),
        (NESTED, OUTSIDE | {"b": (np.array([0, 1, 2, 3]), ["a"] * 4)}, (2, "x/b/0")),
        (NESTED, OUTSIDE | {"b": ([0, 1, 0, 1], ["a", "", "a", "a"])}, (1, "x/b/1")),
        (
            NESTED,
            [{"a": np.zeros(2), "b": (0, "a"), "c": {}}, {"a": np.zeros(2), "b": (2, "a"), "c": {}}],
            (1, "x/b/0"),
        ),
        (PARTS, [(0, "a"), (1, "a")], None),
        (PARTS, [(0, "a"), (1, "bc")], (1, "1")),
        (spaces.Tuple([]), (), None),
        *((Even(3), values, place) for values, place in (([0, 2, 100, 5], (3, "")), ([0, "odd"], (1, "")))),
        (spaces.Box(-1, 1, (2,)), np.zeros((3, 1), np.float32), (0, "")),
    ],
)
def test_the_first_value_of_all_parts_that_is_outside_is_found(space: Any, values: Any, outside: Any) -> None:
    assert first_outside(SpaceCheck(space, ("x",) if space is NESTED else ()), values) == outside


@pytest.mark.parametrize("name", SPACES)
def test_what_a_space_draws_lies_inside(name: str) -> None:
    space = SPACES[name]
    space.seed(1)
    steps = [space.sample() for _ in range(5)]
    assert first_outside(SpaceCheck(space), nested(space, steps)) is None
    assert first_outside(SpaceCheck(space), steps) is None
