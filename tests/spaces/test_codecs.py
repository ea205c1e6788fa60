"""Values of spaces to columns and back: arrays, text, dicts and tuples."""

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


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_there_and_back(name: str, steps: int) -> None:
    """Given step by step, or column by column; all columns lie below the path."""
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


@pytest.mark.parametrize("name", [name for name, space in SPACES.items() if isinstance(space, spaces.Box)])
def test_arrays_are_not_copied(name: str) -> None:
    """An array with time first stays the same object."""
    space = SPACES[name]
    array = np.zeros((3, *space.shape), space.dtype)
    assert codec_for(space).encode(array)[()] is array


def test_no_steps() -> None:
    """The columns of no steps have the shapes and dtypes that the space says."""
    space = spaces.Dict({"x": BOX, "n": spaces.Discrete(3), "t": spaces.Text(3), "p": spaces.Tuple((BOX,))})
    columns = codec_for(space).encode([])
    assert {path: (column.dtype, column.shape) for path, column in columns.items()} == {
        ("x",): (np.float32, (0, 2)),
        ("n",): (np.int64, (0,)),
        ("t",): (np.dtype(object), (0,)),
        ("p", 0): (np.float32, (0, 2)),
    }


# Arrays


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([[0, 1], [1, 0]], np.float32),
        ([[0.5, 0.25]], np.float32),
        ([(0.1, 0.2)], np.float64),  # float32 would round them
        ([[16777217, 0]], np.int64),  # more than float32 can hold
        ([[True, False]], np.float32),
        ([[2**53 + 1, 0]], np.int64),
        (np.array([[0.1, 0.2]]), np.float64),
        (np.array([[1, 2]], np.int8), np.int8),
        ([np.array([0.5, 0.5], np.float16)], np.float16),
        ([[np.nan, np.inf]], np.float32),
    ],
)
def test_dtype_of_floats(values: Any, dtype: Any) -> None:
    """Python numbers take the dtype of the space where that holds them; arrays keep their own."""
    (column,) = codec_for(BOX).encode(values).values()
    assert column.dtype == dtype
    assert np.array_equal(column, np.asarray(values), equal_nan=True)


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([1, 2], np.uint8),
        ([300, 2], np.int64),
        ([-1, 2], np.int64),
        (np.array([1, 2], np.int32), np.int32),
        (np.array([1.0, 2.0]), np.uint8),
        ([1.0, 2.0], np.uint8),
        ([np.float32(3)], np.uint8),
        ([True, False], np.uint8),
    ],
)
def test_dtype_of_integers(values: Any, dtype: Any) -> None:
    (column,) = codec_for(spaces.Discrete(5, dtype=np.uint8)).encode(values).values()
    assert column.dtype == dtype
    assert np.array_equal(column, np.asarray(values))


@pytest.mark.parametrize("values", [[0.5, 1.0], np.array([1.0, np.nan]), [1.0, np.inf], [1e30]])
def test_fractions_for_integers(values: Any) -> None:
    with pytest.raises(EpisodeTypeError, match=r"actions at step \d are .* expected whole numbers of dtype int64"):
        codec_for(spaces.Discrete(5), ("actions",)).encode(values)


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ([[1.0], [2.0]], EpisodeError, r"shape \(1,\) a step, expected \(2,\)"),
        ([[1.0, 2.0], [1.0]], EpisodeError, r"at step 1 have the shape \(1,\), expected \(2,\)"),
        ([[1.0, 2.0], [[1.0], 2.0]], EpisodeError, "at step 1 have the shape ragged"),
        (3.0, EpisodeError, r"shape \(\) a step"),
        ([1.0, 2.0], EpisodeError, r"shape \(\) a step, expected \(2,\)"),
        ([["a", "b"]], EpisodeTypeError, "<U1 values, expected float32"),
        ([None], EpisodeTypeError, "object values"),
        ([[object(), 1]], EpisodeTypeError, "object values"),
        (np.array([["2020-01-01"] * 2], "M8[D]"), EpisodeTypeError, "datetime64"),
    ],
)
def test_what_an_array_refuses(values: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as raised:
        codec_for(BOX, ("observations", "x")).encode(values)
    assert type(raised.value) is error
    assert "observations/x" in str(raised.value)


# Text


@pytest.mark.parametrize("texts", [["a", ""], ["漢\ufeff🎉"], [np.str_("a")], np.array(["a", "bc"])])
def test_text(texts: Any) -> None:
    codec = codec_for(spaces.Text(3))
    decoded = codec.decode(codec.encode(texts))
    assert decoded == list(texts)
    assert all(type(text) is str for text in decoded)


@pytest.mark.parametrize(
    ("text", "reason"), [(3, "a string"), (b"a", "a string"), ("a\0", "NUL"), ("\ud800", "surrogate")]
)
def test_what_text_refuses(text: Any, reason: str) -> None:
    with pytest.raises(EpisodeTypeError, match=f"observations at step 1 are .*{reason}"):
        codec_for(spaces.Text(3), ("observations",)).encode(["a", text])


def test_utf8_text() -> None:
    assert all(map(is_utf8_text, ["", "a", "漢", "\U0010ffff", "\ue000", "\u007f"]))
    assert not any(map(is_utf8_text, ["\0", "a\0b", "\ud800", "\udfff", "漢\udc00"]))


# Dict and Tuple


DICT = spaces.Dict({"x": BOX, "n": spaces.Discrete(3)})
X = np.zeros((2, 2), np.float32)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"x": X}, r"have the keys \['x'\], expected \['n', 'x'\]"),
        ({"x": X, "n": [0, 1], "y": X}, r"have the keys \['n', 'x', 'y'\]"),
        ([{"x": X[0], "n": 0}, {"x": X[0]}], "at step 1 are .* expected a dict with the keys"),
        ([{"x": X[0], "n": 0}, 3], "at step 1 are 3, expected a dict"),
        ({"x": X[:, :1], "n": [0, 1]}, r"observations/x have the shape \(1,\)"),
    ],
)
def test_what_a_dict_refuses(values: Any, message: str) -> None:
    with pytest.raises(EpisodeError, match=message):
        codec_for(DICT, ("observations",)).encode(values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((X,), "a tuple of 1 parts, expected 2"),
        ([(X[0], 0), (X[0],)], "at step 1 are .* expected a tuple of 2 parts"),
        ([(X[0], 0), 3], "at step 1 are 3, expected a tuple of 2 parts"),
        ((X, ["a", "b"]), "observations/1 hold <U1 values"),
    ],
)
def test_what_a_tuple_refuses(values: Any, message: str) -> None:
    with pytest.raises(EpisodeError, match=message):
        codec_for(spaces.Tuple((BOX, spaces.Discrete(3))), ("observations",)).encode(values)


def test_long_values_are_shortened_in_messages() -> None:
    with pytest.raises(EpisodeError) as raised:
        codec_for(DICT).encode([{"y": list(range(1000))}])
    assert len(str(raised.value)) < 250


def test_parts_of_different_length() -> None:
    for space, values in ((DICT, {"x": X, "n": [0, 1, 2]}), (spaces.Tuple((BOX, spaces.Discrete(3))), (X, [0]))):
        codec = codec_for(space, ("observations",))
        with pytest.raises(EpisodeError, match=r"parts of the observations differ in length: .*2"):
            codec.count(codec.encode(values))


def test_order_of_keys_does_not_matter() -> None:
    columns = codec_for(DICT).encode([{"n": 1, "x": X[0]}])
    assert columns[("n",)].tolist() == [1]


# All of them


def test_layout() -> None:
    """Equal where episodes can be mixed: bounds and the order of keys do not matter, dtypes and shapes do."""

    def same(a: spaces.Space[Any], b: spaces.Space[Any]) -> bool:
        return bool(codec_for(a).layout() == codec_for(b).layout())

    assert same(BOX, spaces.Box(-9.0, 9.0, (2,), np.float32))
    assert same(spaces.Discrete(3), spaces.Discrete(9, start=4))
    assert same(spaces.Text(3), spaces.Text(9))
    assert same(DICT, spaces.Dict({"n": spaces.Discrete(8), "x": BOX}))
    assert not same(BOX, spaces.Box(-1.0, 1.0, (2,), np.float64))
    assert not same(BOX, spaces.Box(-1.0, 1.0, (3,), np.float32))
    assert not same(DICT, spaces.Dict({"x": BOX}))
    assert not same(spaces.Tuple((BOX,)), spaces.Tuple((BOX, BOX)))
    assert not same(spaces.Sequence(BOX), spaces.Sequence(BOX, stack=True))
    assert not same(spaces.OneOf((BOX,)), spaces.OneOf((spaces.Text(3),)))
    assert not same(spaces.Graph(BOX, None), spaces.Graph(BOX, BOX))


def test_leaves() -> None:
    """The places with one row a step, with the bounds of boxes."""
    space = spaces.Dict({"x": BOX, "p": spaces.Tuple((spaces.Discrete(3), spaces.Text(2))), "s": spaces.Sequence(BOX)})
    leaves = {leaf.path: leaf for leaf in codec_for(space, ("o",)).leaves()}
    assert leaves.keys() == {("o", "x"), ("o", "p", 0)}
    assert (leaves[("o", "x")].dtype, leaves[("o", "x")].shape) == (np.float32, (2,))
    assert np.array_equal(leaves[("o", "x")].low, BOX.low)
    assert leaves[("o", "p", 0)].high is None


# Spaces of users


class Angle(spaces.Box):
    """A space of a user that is a kind of Box."""


class Direction(gym.Space[Any]):
    """A space of a user that has a shape and a dtype."""

    def __init__(self) -> None:
        super().__init__((2,), np.float32)


class Word(gym.Space[Any]):
    """A space of a user that has neither."""


def test_spaces_of_users() -> None:
    assert isinstance(codec_for(Angle(-1.0, 1.0, (2,))), ArrayCodec)
    codec = codec_for(Direction(), ("x",))
    assert codec.decode(codec.encode([[1, 2]])).dtype == np.float32
    with pytest.raises(UnknownSpaceError, match="register_codec"):
        codec_for(Word())
    assert issubclass(UnknownSpaceError, NotImplementedError)


def test_registered_codec() -> None:
    class Sentence(Word):
        pass

    @register_codec(Sentence)
    class SentenceCodec(TextCodec):
        pass

    codec: SpaceCodec = codec_for(spaces.Dict({"s": Sentence()}))
    assert codec.decode(codec.encode([{"s": "a"}])) == {"s": ["a"]}
    assert type(codec_for(Sentence())) is SentenceCodec


def test_no_space_at_all() -> None:
    with pytest.raises(EpisodeTypeError, match="Expected a gymnasium space for observations, got 3"):
        codec_for(3, ("observations",))  # type: ignore[arg-type]


def test_helpers() -> None:
    assert path_name(("observations", "a", 0)) == "observations/a/0"
    column = object_column([[1, 2], [3, 4]])
    assert column.shape == (2,)
    assert column.tolist() == [[1, 2], [3, 4]]
