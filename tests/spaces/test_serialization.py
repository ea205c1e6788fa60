"""Spaces survive the way through JSON by value and dtype, and what is damaged is named."""

from __future__ import annotations

import json
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from minari.errors import SpaceError, UnknownSpaceError
from minari.serialization import deserialize_space, serialize_space


Space = spaces.Space[Any]

FLOATS = ("float16", "float32", "float64")
INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")


def facts(space: Space) -> Any:
    """Everything that makes a space, compared exactly; their own ``==`` allows for small differences."""
    kind = type(space).__name__
    if isinstance(space, spaces.Box):
        return kind, space.dtype, space.shape, space.low.tobytes(), space.high.tobytes()
    if isinstance(space, spaces.Discrete):
        return kind, space.dtype, int(space.n), int(space.start)
    if isinstance(space, spaces.MultiDiscrete):
        return kind, space.dtype, space.nvec.dtype, space.nvec.tolist(), space.start.tolist()
    if isinstance(space, spaces.MultiBinary):
        return kind, space.n, space.shape
    if isinstance(space, spaces.Text):
        return kind, space.min_length, space.max_length, space.character_list
    if isinstance(space, spaces.Dict):
        return kind, [(key, facts(part)) for key, part in space.spaces.items()]
    if isinstance(space, (spaces.Tuple, spaces.OneOf)):
        return kind, [facts(part) for part in space.spaces]
    if isinstance(space, spaces.Sequence):
        return kind, space.stack, facts(space.feature_space)
    assert isinstance(space, spaces.Graph)
    return kind, facts(space.node_space), space.edge_space and facts(space.edge_space)


@st.composite
def boxes(draw: st.DrawFn) -> spaces.Box:
    dtype = np.dtype(draw(st.sampled_from((*FLOATS, *INTEGERS, "bool"))))
    shape = draw(npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
    elements = npst.from_dtype(dtype, allow_nan=False)
    first, second = (draw(npst.arrays(dtype, shape, elements=elements)) for _ in range(2))
    low, high = np.minimum(first, second), np.maximum(first, second)
    if dtype.kind == "f":
        low = np.where(np.isposinf(low), dtype.type(0), low)
        high = np.where(np.isneginf(high), dtype.type(0), high)
        low = np.minimum(low, high)
    return spaces.Box(low=np.asarray(low), high=np.asarray(high), shape=shape, dtype=dtype.type)


@st.composite
def discretes(draw: st.DrawFn) -> spaces.Discrete:
    dtype = np.dtype(draw(st.sampled_from(INTEGERS)))
    limits = np.iinfo(dtype)
    n = draw(st.integers(1, int(limits.max)))
    start = draw(st.integers(int(limits.min), int(limits.max) - n))
    return spaces.Discrete(n, start=start, dtype=dtype.type)


@st.composite
def multi_discretes(draw: st.DrawFn) -> spaces.MultiDiscrete:
    dtype = np.dtype(draw(st.sampled_from(INTEGERS)))
    shape = draw(npst.array_shapes(max_dims=2, max_side=3))
    nvec = draw(npst.arrays(dtype, shape, elements=st.integers(1, int(np.iinfo(dtype).max))))
    start = draw(npst.arrays(dtype, shape))
    return spaces.MultiDiscrete(nvec, dtype=dtype.type, start=start)


@st.composite
def texts(draw: st.DrawFn) -> spaces.Text:
    charset = draw(st.lists(st.characters(), min_size=1, max_size=8, unique=True))
    shortest = draw(st.integers(0, 4))
    return spaces.Text(shortest + draw(st.integers(0, 4)), min_length=shortest, charset="".join(charset))


multi_binaries = st.one_of(st.integers(1, 9), st.lists(st.integers(1, 4), min_size=1, max_size=3)).map(
    spaces.MultiBinary
)
plain_spaces = st.one_of(boxes(), discretes(), multi_discretes(), multi_binaries, texts())
graphs = st.builds(
    spaces.Graph,
    st.one_of(boxes(), st.integers(1, 9).map(spaces.Discrete)),
    st.one_of(st.none(), boxes(), st.integers(1, 9).map(spaces.Discrete)),
)


def nested(parts: st.SearchStrategy[Space]) -> st.SearchStrategy[Space]:
    return st.one_of(
        st.dictionaries(st.text(max_size=4), parts, max_size=3).map(lambda parts: spaces.Dict(OrderedDict(parts))),
        st.lists(parts, max_size=3).map(spaces.Tuple),
        st.lists(parts, min_size=1, max_size=3).map(spaces.OneOf),
        parts.map(spaces.Sequence),
        # Stacked sequences make batches of their feature space, which Gymnasium does for these.
        boxes().map(lambda part: spaces.Sequence(part, stack=True)),
    )


all_spaces = st.recursive(st.one_of(plain_spaces, graphs), nested, max_leaves=6)


@given(all_spaces)
@example(spaces.Box(np.iinfo(np.uint64).min, np.iinfo(np.uint64).max, (2,), np.uint64))
@example(spaces.Box(np.array([-np.inf, 0], np.float16), np.array([0, np.inf], np.float16), dtype=np.float16))
@example(spaces.Box(-1.0, 1.0, (1, 0, 3), np.float32))
def test_every_space_comes_back_as_it_was(space: Space) -> None:
    text, description = serialize_space(space), serialize_space(space, to_string=False)
    assert json.loads(text) == json.loads(json.dumps(description))
    for given_form in (text, text.encode(), description):
        assert facts(deserialize_space(given_form)) == facts(space)


@pytest.mark.parametrize(
    ("space", "text"),
    [
        (
            spaces.Box(-1, np.inf, (1,), np.float32),
            '{"type": "Box", "dtype": "float32", "shape": [1], "low": [-1.0], "high": [Infinity]}',
        ),
        (
            spaces.Box(0, 255, (), np.uint8),
            '{"type": "Box", "dtype": "uint8", "shape": [], "low": 0, "high": 255}',
        ),
        (spaces.Discrete(3, start=2), '{"type": "Discrete", "dtype": "int64", "start": 2, "n": 3}'),
        (
            spaces.MultiDiscrete([2, 3]),
            '{"type": "MultiDiscrete", "dtype": "int64", "nvec": [2, 3], "start": [0, 0]}',
        ),
        (spaces.MultiBinary(3), '{"type": "MultiBinary", "n": 3}'),
        (spaces.MultiBinary([2, 3]), '{"type": "MultiBinary", "n": [2, 3]}'),
        (
            spaces.Text(5, min_length=2, charset="ab😀"),
            '{"type": "Text", "max_length": 5, "min_length": 2, "charset": "ab\\ud83d\\ude00"}',
        ),
        (spaces.Tuple([]), '{"type": "Tuple", "subspaces": []}'),
        (
            spaces.Dict(b=spaces.MultiBinary(1), a=spaces.Dict()),
            '{"type": "Dict", "subspaces": {"b": {"type": "MultiBinary", "n": 1}, '
            '"a": {"type": "Dict", "subspaces": {}}}}',
        ),
    ],
)
def test_the_text_is_what_every_release_writes(space: Space, text: str) -> None:
    assert serialize_space(space) == text


def test_values_of_older_releases() -> None:
    assert deserialize_space('{"type": "Discrete", "n": 3}') == spaces.Discrete(3)
    old = '{"type": "MultiDiscrete", "dtype": "int64", "nvec": [2, 3]}'
    assert deserialize_space(old) == spaces.MultiDiscrete([2, 3])
    picture = spaces.Box(0, 255, (4, 3, 3), np.uint8)
    text = json.dumps({**json.loads(serialize_space(picture)), "low": np.zeros((4, 3, 3)).tolist()})
    assert facts(deserialize_space(text)) == facts(picture)


@pytest.mark.parametrize(
    ("damaged", "named"),
    [
        ("{", "not valid JSON"),
        ("[]", "JSON object"),
        (None, "JSON object"),
        ("{}", "'type'"),
        ('{"type": "Box", "dtype": "float32", "shape": [1], "low": [0.0]}', "'high'"),
        ('{"type": "Box", "dtype": "float32", "shape": [2], "low": [0.0], "high": [1.0]}', r"'low'.*\(1,\)"),
        ('{"type": "Box", "dtype": "uint8", "shape": [1], "low": [0], "high": [300]}', "300"),
        ('{"type": "Box", "dtype": "float31", "shape": [1], "low": [0], "high": [1]}', "float31"),
        ('{"type": "Discrete", "n": "many"}', "Discrete"),
        ('{"type": "Discrete", "n": -2}', "Discrete"),
        ('{"type": "Dict", "subspaces": [1]}', "Dict"),
        ('{"type": "Tuple", "subspaces": [{"type": "MultiBinary"}]}', "'n'"),
    ],
)
def test_a_damaged_description_says_what_is_wrong(damaged: Any, named: str) -> None:
    with pytest.raises(SpaceError, match=named):
        deserialize_space(damaged)


class Torus(spaces.Space[Any]):
    """A space that nobody has described."""


def test_an_unknown_type_says_how_to_register_it() -> None:
    with pytest.raises(UnknownSpaceError, match=r"deserialize_space\.register\('Torus'\)"):
        deserialize_space('{"type": "Tuple", "subspaces": [{"type": "Torus"}]}')
    with pytest.raises(UnknownSpaceError, match=r"serialize_space\.register\(Torus\)"):
        serialize_space(spaces.Tuple([Torus()]))
    with pytest.raises(NotImplementedError):
        serialize_space(Torus())


@pytest.mark.parametrize(
    ("value", "message"),
    [
        *((value, "gymnasium space") for value in (None, "Discrete(3)", 3)),
        (spaces.Dict({1: spaces.Discrete(2)}), "strings"),  # type: ignore[dict-item]
        *([(spaces.Box(0, 1, (1,), np.longdouble), "float64")] if np.dtype(np.longdouble).itemsize > 8 else []),
    ],
)
def test_what_json_cannot_hold_is_refused(value: Any, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        serialize_space(value)
