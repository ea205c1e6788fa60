"""Values of spaces to columns and back, and what does not fit; `minari.testing` asserts it in every format."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from minari.errors import EpisodeError, EpisodeTypeError, UnknownSpaceError
from minari.spaces import ArrayCodec, SpaceCodec, codec_for, object_column, path_name, register_codec
from minari.spaces.codecs import TextCodec
from minari.spaces.columns import is_utf8_text
from minari.testing.comparison import assert_same, assert_steps
from minari.testing.examples import SPACES, nested


BOX = spaces.Box(-1.0, 1.0, (2,), np.float32)
CHOICE = spaces.Discrete(3)
DICT = spaces.Dict({"x": BOX, "n": CHOICE})
PAIR = spaces.Tuple((BOX, CHOICE))
X = np.zeros((2, 2), np.float32)


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_values_given_by_step_or_by_column_come_back(name: str, steps: int) -> None:
    space = SPACES[name]
    space.seed(steps)
    values = [space.sample() for _ in range(steps)]
    codec = codec_for(space, ("actions", 3))
    for given in (values, nested(space, values)):
        columns = codec.encode(given)
        assert set(columns) == set(codec.paths())
        assert all(path[:2] == ("actions", 3) for path in columns)
        assert codec.count(columns) in (steps, None)
        decoded = codec.decode(columns)
        assert_steps(space, decoded, values)
        for actual, expected in zip(codec.steps(decoded, steps), values, strict=True):
            assert_same(actual, expected)
            assert space.contains(actual)
    if isinstance(space, spaces.Box):
        array = np.zeros((3, *space.shape), space.dtype)
        assert codec_for(space).encode(array)[()] is array  # not copied


def test_columns_of_no_steps_have_the_shapes_and_dtypes_of_the_space() -> None:
    space = spaces.Dict({"x": BOX, "n": CHOICE, "t": spaces.Text(3), "p": spaces.Tuple((BOX,))})
    columns = codec_for(space).encode([])
    assert {path: (column.dtype, column.shape) for path, column in columns.items()} == {
        ("x",): (np.float32, (0, 2)),
        ("n",): (np.int64, (0,)),
        ("t",): (np.dtype(object), (0,)),
        ("p", 0): (np.float32, (0, 2)),
    }
    assert codec_for(DICT).encode([{"n": 1, "x": X[0]}])[("n",)].tolist() == [1]  # keys in any order


SMALL = spaces.Discrete(5, dtype=np.uint8)


@pytest.mark.parametrize(
    ("space", "values", "dtype"),
    [
        (BOX, [[0, 1], [1, 0]], np.float32),
        (BOX, [[0.5, 0.25]], np.float32),
        (BOX, [(0.1, 0.2)], np.float64),  # float32 would round them
        (BOX, [[16777217, 0]], np.int64),  # more than float32 can hold
        (BOX, [[True, False]], np.float32),
        (BOX, [[2**53 + 1, 0]], np.int64),
        (BOX, np.array([[0.1, 0.2]]), np.float64),
        (BOX, np.array([[1, 2]], np.int8), np.int8),
        (BOX, [np.array([0.5, 0.5], np.float16)], np.float16),
        (BOX, [[np.nan, np.inf]], np.float32),
        (SMALL, [1, 2], np.uint8),
        (SMALL, [300, 2], np.int64),
        (SMALL, [-1, 2], np.int64),
        (SMALL, np.array([1, 2], np.int32), np.int32),
        (SMALL, np.array([1.0, 2.0]), np.uint8),
        (SMALL, [1.0, 2.0], np.uint8),
        (SMALL, [np.float32(3)], np.uint8),
        (SMALL, [True, False], np.uint8),
    ],
)
def test_python_numbers_take_the_dtype_of_the_space_that_holds_them(space: Any, values: Any, dtype: Any) -> None:
    """Arrays keep their own."""
    (column,) = codec_for(space).encode(values).values()
    assert column.dtype == dtype
    assert np.array_equal(column, np.asarray(values), equal_nan=True)


@pytest.mark.parametrize("texts", [["a", ""], ["漢\ufeff🎉"], [np.str_("a")], np.array(["a", "bc"])])
def test_texts_come_back_as_str(texts: Any) -> None:
    codec = codec_for(spaces.Text(3))
    decoded = codec.decode(codec.encode(texts))
    assert decoded == list(texts)
    assert all(type(text) is str for text in decoded)


def test_utf8_text_has_no_nul_and_no_surrogate() -> None:
    assert all(map(is_utf8_text, ["", "a", "漢", "\U0010ffff", "\ue000", "\u007f"]))
    assert not any(map(is_utf8_text, ["\0", "a\0b", "\ud800", "\udfff", "漢\udc00"]))


FRACTION = r"o at step \d are .* expected whole numbers of dtype int64"


@pytest.mark.parametrize(
    ("space", "values", "error", "message"),
    [
        *((CHOICE, values, EpisodeTypeError, FRACTION) for values in ([0.5, 1.0], [1.0, np.inf], [1e30])),
        (CHOICE, np.array([1.0, np.nan]), EpisodeTypeError, FRACTION),
        (BOX, [[1.0], [2.0]], EpisodeError, r"shape \(1,\) a step, expected \(2,\)"),
        (BOX, [[1.0, 2.0], [1.0]], EpisodeError, r"at step 1 have the shape \(1,\), expected \(2,\)"),
        (BOX, [[1.0, 2.0], [[1.0], 2.0]], EpisodeError, "at step 1 have the shape ragged"),
        (BOX, 3.0, EpisodeError, r"shape \(\) a step"),
        (BOX, [1.0, 2.0], EpisodeError, r"shape \(\) a step, expected \(2,\)"),
        (BOX, [["a", "b"]], EpisodeTypeError, "<U1 values, expected float32"),
        (BOX, [None], EpisodeTypeError, "object values"),
        (BOX, [[object(), 1]], EpisodeTypeError, "object values"),
        (BOX, np.array([["2020-01-01"] * 2], "M8[D]"), EpisodeTypeError, "datetime64"),
        *((spaces.Text(3), ["a", text], EpisodeTypeError, "o at step 1 are .*a string") for text in (3, b"a")),
        (spaces.Text(3), ["a", "a\0"], EpisodeTypeError, "o at step 1 are .*NUL"),
        (spaces.Text(3), ["a", "\ud800"], EpisodeTypeError, "o at step 1 are .*surrogate"),
        (DICT, {"x": X}, EpisodeError, r"have the keys \['x'\], expected \['n', 'x'\]"),
        (DICT, {"x": X, "n": [0, 1], "y": X}, EpisodeError, r"have the keys \['n', 'x', 'y'\]"),
        (DICT, [{"x": X[0], "n": 0}, {"x": X[0]}], EpisodeError, "at step 1 are .* expected a dict with the keys"),
        (DICT, [{"x": X[0], "n": 0}, 3], EpisodeError, "at step 1 are 3, expected a dict"),
        (DICT, {"x": X[:, :1], "n": [0, 1]}, EpisodeError, r"o/x have the shape \(1,\)"),
        (DICT, [{"y": list(range(1000))}], EpisodeError, r"^(?s:.){0,250}$"),
        (PAIR, (X,), EpisodeError, "a tuple of 1 parts, expected 2"),
        (PAIR, [(X[0], 0), (X[0],)], EpisodeError, "at step 1 are .* expected a tuple of 2 parts"),
        (PAIR, [(X[0], 0), 3], EpisodeError, "at step 1 are 3, expected a tuple of 2 parts"),
        (PAIR, (X, ["a", "b"]), EpisodeError, "o/1 hold <U1 values"),
    ],
)
def test_values_that_do_not_fit_are_refused(space: Any, values: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        codec_for(space, ("o",)).encode(values)


@pytest.mark.parametrize(("space", "values"), [(DICT, {"x": X, "n": [0, 1, 2]}), (PAIR, (X, [0]))])
def test_parts_of_different_length_are_refused(space: Any, values: Any) -> None:
    codec = codec_for(space, ("observations",))
    with pytest.raises(EpisodeError, match=r"parts of the observations differ in length: .*2"):
        codec.count(codec.encode(values))


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        (BOX, spaces.Box(-9.0, 9.0, (2,), np.float32), True),
        (CHOICE, spaces.Discrete(9, start=4), True),
        (spaces.Text(3), spaces.Text(9), True),
        (DICT, spaces.Dict({"n": spaces.Discrete(8), "x": BOX}), True),
        (BOX, spaces.Box(-1.0, 1.0, (2,), np.float64), False),
        (BOX, spaces.Box(-1.0, 1.0, (3,), np.float32), False),
        (DICT, spaces.Dict({"x": BOX}), False),
        (spaces.Tuple((BOX,)), spaces.Tuple((BOX, BOX)), False),
        (spaces.Sequence(BOX), spaces.Sequence(BOX, stack=True), False),
        (spaces.OneOf((BOX,)), spaces.OneOf((spaces.Text(3),)), False),
        (spaces.Graph(BOX, None), spaces.Graph(BOX, BOX), False),
    ],
)
def test_layouts_are_equal_where_episodes_can_be_mixed(a: Any, b: Any, same: bool) -> None:
    """Bounds and the order of keys do not matter, dtypes and shapes do."""
    assert (codec_for(a).layout() == codec_for(b).layout()) is same


def test_leaves_are_the_places_with_one_row_a_step() -> None:
    space = spaces.Dict({"x": BOX, "p": spaces.Tuple((CHOICE, spaces.Text(2))), "s": spaces.Sequence(BOX)})
    leaves = {leaf.path: leaf for leaf in codec_for(space, ("o",)).leaves()}
    assert leaves.keys() == {("o", "x"), ("o", "p", 0)}
    assert (leaves[("o", "x")].dtype, leaves[("o", "x")].shape) == (np.float32, (2,))
    assert np.array_equal(leaves[("o", "x")].low, BOX.low)
    assert leaves[("o", "p", 0)].high is None
    assert path_name(("observations", "a", 0)) == "observations/a/0"
    column = object_column([[1, 2], [3, 4]])
    assert (column.shape, column.tolist()) == ((2,), [[1, 2], [3, 4]])


# Spaces whose values differ in size


def vectors(count: int) -> Any:
    return np.arange(2 * count, dtype=np.float32).reshape(count, 2)


STACKED = spaces.Sequence(spaces.Dict({"x": BOX, "n": CHOICE}), stack=True)
ONE_OF = spaces.OneOf((spaces.Discrete(9), BOX, spaces.Text(2)))
GRAPHS = [
    spaces.GraphInstance(vectors(3), np.array([1, 2]), np.array([[0, 1], [1, 2]], np.int32)),
    spaces.GraphInstance(vectors(1), None, None),
    spaces.GraphInstance(vectors(0), np.array([], np.int64), np.zeros((0, 2), np.int32)),
]
STACKS = [{"x": vectors(2), "n": np.array([1, 2])}, {"x": vectors(0), "n": np.array([], np.int64)}]
OPTIONS = [(0, 4), (2, "ab"), (np.int64(0), 5), [1, vectors(1)[0]]]


@pytest.mark.parametrize(
    ("space", "values", "columns"),
    [
        (
            spaces.Sequence(BOX),
            [tuple(vectors(2)), (), [vectors(1)[0]]],
            {"_lengths": [2, 0, 1], "_values": [[0, 1], [2, 3], [0, 1]]},
        ),
        (spaces.Sequence(DICT), [(), ()], {"_lengths": [0, 0], "_values/x": [], "_values/n": []}),
        (STACKED, STACKS, {"_lengths": [2, 0], "_values/n": [1, 2], "_values/x": [[0, 1], [2, 3]]}),
        (
            spaces.Graph(BOX, spaces.Discrete(4)),
            GRAPHS,
            {
                "_node_counts": [3, 1, 0],
                "_edge_counts": [2, -1, 0],
                "_link_counts": [2, -1, 0],
                "_nodes": [[0, 1], [2, 3], [4, 5], [0, 1]],
                "_edges": [1, 2],
            },
        ),
        (ONE_OF, OPTIONS, {"_choice": [0, 2, 0, 1], "_option_0": [4, 5], "_option_1": [[0, 1]], "_option_2": ["ab"]}),
    ],
)
def test_values_that_differ_in_size_are_joined(space: Any, values: list[Any], columns: dict[str, Any]) -> None:
    codec = codec_for(space, ("o",))
    encoded = codec.encode(values)
    found = {"/".join(map(str, path[1:])): column.tolist() for path, column in encoded.items()}
    assert found.items() >= columns.items()
    decoded = codec.decode(encoded)
    if space is ONE_OF:
        assert all(space.contains(value) for value in decoded)
        assert [int(choice) for choice, _ in decoded] == columns["_choice"]
    elif not isinstance(values[-1], list):
        assert_same(decoded, values)


@pytest.mark.parametrize(
    ("space", "values", "message"),
    [
        *(
            (spaces.Sequence(BOX), [(), value], r"(?s)o at step 1 are .* expected a tuple of elements")
            for value in (3, "abc", np.zeros((2, 2)), None)
        ),
        *((STACKED, [value], r"(?s)o at step 0 are .* expected stacked elements") for value in (3, None, {"y": X})),
        (spaces.Sequence(BOX), [(np.zeros(3),)], r"o/_values have the shape \(3,\)"),
        *(
            (spaces.Graph(BOX, None), [value], r"(?s)o at step 0 are .* expected a gymnasium\.spaces\.GraphInstance")
            for value in (3, (vectors(1), None, None), {"nodes": vectors(1)})
        ),
        *(
            (ONE_OF, [(0, 1), value], r"o at step 1 are .* expected a pair of a number below 3")
            for value in (3, (0,), (3, 1), (-1, 1), ("0", 1), (0.0, 1), (0, 1, 2))
        ),
    ],
)
def test_values_of_ragged_spaces_that_do_not_fit_are_refused(space: Any, values: list[Any], message: str) -> None:
    with pytest.raises(EpisodeError, match=message):
        codec_for(space, ("o",)).encode(values)


# Spaces of users


class Angle(spaces.Box):
    """A space of a user that is a kind of Box."""


class Direction(gym.Space[Any]):
    """A space of a user that has a shape and a dtype."""

    def __init__(self) -> None:
        super().__init__((2,), np.float32)


class Word(gym.Space[Any]):
    """A space of a user that has neither."""


def test_spaces_of_users_are_taken_as_what_they_are() -> None:
    assert isinstance(codec_for(Angle(-1.0, 1.0, (2,))), ArrayCodec)
    codec = codec_for(Direction(), ("x",))
    assert codec.decode(codec.encode([[1, 2]])).dtype == np.float32
    with pytest.raises(UnknownSpaceError, match="register_codec"):
        codec_for(Word())
    assert issubclass(UnknownSpaceError, NotImplementedError)
    with pytest.raises(EpisodeTypeError, match="Expected a gymnasium space for observations, got 3"):
        codec_for(3, ("observations",))  # type: ignore[arg-type]


def test_a_registered_codec_is_used() -> None:
    class Sentence(Word):
        pass

    @register_codec(Sentence)
    class SentenceCodec(TextCodec):
        pass

    codec: SpaceCodec = codec_for(spaces.Dict({"s": Sentence()}))
    assert codec.decode(codec.encode([{"s": "a"}])) == {"s": ["a"]}
    assert type(codec_for(Sentence())) is SentenceCodec
