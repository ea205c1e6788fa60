"""An episode buffer to checked columns, and columns to what a reader gets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from minari.dataset.encoding import EpisodeCodec
from minari.dataset.episode_buffer import EpisodeBuffer
from minari.errors import DatasetCorruptError, EpisodeError, EpisodeTypeError, MetadataError
from minari.testing.comparison import assert_same


SPACE = spaces.Dict({"x": spaces.Box(-1.0, 1.0, (2,), np.float32), "t": spaces.Text(3)})
X = np.zeros((3, 2), np.float32)


@pytest.fixture
def codec() -> EpisodeCodec:
    return EpisodeCodec(SPACE, spaces.Discrete(3))


def buffer(**fields: Any) -> EpisodeBuffer:
    """An episode of two steps; fields are replaced by those given."""
    return EpisodeBuffer(
        **{
            "observations": {"x": X, "t": ["a", "b", "c"]},
            "actions": [0, 2],
            "rewards": [0.5, 1.0],
            "terminations": [False, True],
            "truncations": [False, False],
            **fields,
        }
    )


def test_columns(codec: EpisodeCodec) -> None:
    episode = codec.encode(buffer(seed=7, options={"level": 3}, infos={"n": np.arange(3)}))
    assert episode.total_steps == 2
    assert episode.metadata == {"seed": 7, "options": {"level": 3}}
    rows = {path: (column.dtype, len(column)) for path, column in episode.columns.items()}
    assert rows == {
        ("observations", "x"): (np.float32, 3),
        ("observations", "t"): (object, 3),
        ("actions",): (np.int64, 2),
        ("rewards",): (np.float64, 2),
        ("terminations",): (np.bool_, 2),
        ("truncations",): (np.bool_, 2),
        ("infos", "n"): (np.int64, 3),
    }


def test_decode(codec: EpisodeCodec) -> None:
    fields = codec.decode(4, codec.encode(buffer(infos={"n": [1, 2, 3]})).columns)
    expected = {
        "id": 4,
        "observations": {"x": X, "t": ["a", "b", "c"]},
        "actions": np.array([0, 2]),
        "rewards": np.array([0.5, 1.0]),
        "terminations": np.array([False, True]),
        "truncations": np.array([False, False]),
        "infos": {"n": np.array([1, 2, 3])},
    }
    assert_same(fields, expected)


@pytest.mark.parametrize("missing", [("observations", "x"), ("actions",), ("rewards",), ("truncations",)])
def test_missing_columns(codec: EpisodeCodec, missing: Any) -> None:
    columns = dict(codec.encode(buffer()).columns)
    del columns[missing]
    with pytest.raises(DatasetCorruptError, match=f"Episode 4 has no '{'/'.join(missing)}'"):
        codec.decode(4, columns)


@pytest.mark.parametrize(
    ("rewards", "expected"),
    [
        ([1, 2], np.array([1, 2])),
        ([np.float32(1), np.float32(2)], np.array([1, 2], np.float32)),
        (np.array([[1.0], [2.0]]), np.array([1.0, 2.0])),
        ([np.array([1.0]), np.array([2.0])], np.array([1.0, 2.0])),
        ([True, False], np.array([True, False])),
        ([np.nan, np.inf], np.array([np.nan, np.inf])),
    ],
)
def test_rewards(codec: EpisodeCodec, rewards: Any, expected: Any) -> None:
    assert_same(codec.encode(buffer(rewards=rewards)).columns[("rewards",)], expected)


@pytest.mark.parametrize(
    ("rewards", "error", "message"),
    [
        (np.zeros((2, 0)), EpisodeError, r"shape \(2, 0\)"),
        ([[1.0, 2.0], [3.0]], EpisodeError, r"differ in shape .* \(1,\) at step 1 and \(2,\) before"),
        ([1.0, [2.0]], EpisodeError, "differ in shape"),
        (3.0, EpisodeError, r"shape \(\)"),
        (["a", "b"], EpisodeTypeError, "<U1 values, expected one number"),
        ([None, 1.0], EpisodeTypeError, "object values"),
        ([1j, 2], EpisodeTypeError, "complex128 values"),
        ([], EpisodeError, "no step"),
    ],
)
def test_rewards_that_are_refused(codec: EpisodeCodec, rewards: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as raised:
        codec.encode(buffer(rewards=rewards))
    assert type(raised.value) is error


@pytest.mark.parametrize("flags", [[0, 1], [0.0, 1.0], np.array([[False], [True]]), [np.False_, np.True_]])
def test_flags(codec: EpisodeCodec, flags: Any) -> None:
    assert_same(codec.encode(buffer(terminations=flags)).columns[("terminations",)], np.array([False, True]))


@pytest.mark.parametrize("flags", [[0, 2], [0.5, 1], ["a", "b"], [None, True], [False], [[True, False]] * 2, True])
@pytest.mark.parametrize("name", ["terminations", "truncations"])
def test_flags_that_are_refused(codec: EpisodeCodec, name: str, flags: Any) -> None:
    with pytest.raises(EpisodeError, match=name):
        codec.encode(buffer(**{name: flags}))


def test_lengths(codec: EpisodeCodec) -> None:
    with pytest.raises(EpisodeError, match=r"2 observations, expected 3 for its 2 rewards .one more than steps"):
        codec.encode(buffer(observations={"x": X[:2], "t": ["a", "b"]}))
    with pytest.raises(EpisodeError, match=r"3 actions, expected 2 for its 2 rewards\."):
        codec.encode(buffer(actions=[0, 1, 2]))
    with pytest.raises(EpisodeError, match="no actions, expected 2"):
        codec.encode(buffer(actions=None))
    with pytest.raises(EpisodeError, match="'infos/n' has 2 values, expected 3"):
        codec.encode(buffer(infos={"n": [1, 2]}))


def test_further_steps(codec: EpisodeCodec) -> None:
    """As many observations as actions; infos are left to whoever joins them with those that are stored."""
    more = codec.encode_further_steps(buffer(observations={"x": X[:2], "t": ["a", "b"]}, seed=3, infos={"n": [1]}))
    assert more.total_steps == 2
    assert {len(column) for column in more.columns.values()} == {2}
    assert ("infos", "n") not in more.columns
    with pytest.raises(EpisodeError, match=r"3 observations, expected 2 for its 2 rewards\."):
        codec.encode_further_steps(buffer())


@pytest.mark.parametrize("seed", [0, 5, np.int32(5), np.uint64(2**64 - 1), 2**100])
def test_seed(codec: EpisodeCodec, seed: Any) -> None:
    metadata = codec.encode(buffer(seed=seed)).metadata
    assert metadata == {"seed": int(seed)}
    assert type(metadata["seed"]) is int


@pytest.mark.parametrize("seed", [True, np.True_, 1.0, "1", [1]])
def test_seeds_that_are_refused(codec: EpisodeCodec, seed: Any) -> None:
    with pytest.raises(EpisodeTypeError, match="The seed of the episode is"):
        codec.encode(buffer(seed=seed))


def test_options(codec: EpisodeCodec) -> None:
    options = {"a": {"b": 1}, "c/d": np.arange(2)}
    kept = codec.encode(buffer(options=options)).metadata["options"]
    assert_same(kept, {"a": {"b": 1}, "c": {"d": np.arange(2)}})
    assert codec.encode(buffer(options={})).metadata == {}
    with pytest.raises(EpisodeTypeError, match="The options of the episode are 3"):
        codec.encode(buffer(options=3))
    for options in ({"a": object()}, {3: 1}, {"": 1}):
        with pytest.raises(MetadataError, match="options"):
            codec.encode(buffer(options=options))
