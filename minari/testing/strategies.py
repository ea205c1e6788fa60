"""Hypothesis strategies for spaces and for the input of a storage.

Example:
    >>> from minari.testing.strategies import spaces, truths
    >>> space = spaces().example()  # doctest: +SKIP
"""

from __future__ import annotations

import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from minari.testing.examples import DISCRETE_HAS_DTYPE, Truth, draw_truth


__all__ = ["infos", "metadata", "spaces", "truths"]

Space = gym.Space[Any]

_FLOATS: tuple[Any, ...] = (np.float16, np.float32, np.float64)
_INTEGERS: tuple[Any, ...] = (np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64)

#: Letters that UTF-8 on disk can represent.
_letters = st.characters(codec="utf-8", exclude_characters="\0")
#: Names that are valid in every format.
names = st.text(_letters.filter(lambda letter: letter != "/"), min_size=1, max_size=6).filter(
    lambda name: name.strip(".") != "" and not name.startswith("_")
)
_shapes = st.lists(st.integers(0, 3), max_size=3).map(tuple)


@st.composite
def _boxes(draw: st.DrawFn) -> Space:
    dtype, shape = draw(st.sampled_from((*_FLOATS, *_INTEGERS))), draw(_shapes)
    if dtype in _FLOATS:
        low, high = draw(st.sampled_from([(-1.0, 1.0), (-np.inf, np.inf), (0.0, np.inf), (-np.inf, 5.0), (2.0, 2.0)]))
        return gym.spaces.Box(low, high, shape, dtype)
    limits = np.iinfo(dtype)
    # Beyond 2**53 Gymnasium itself cannot sample.
    bounds = st.integers(max(int(limits.min), -(2**53)), min(int(limits.max), 2**53))
    ends = sorted(draw(st.tuples(bounds, bounds)))
    return gym.spaces.Box(ends[0], ends[1], shape, dtype)


@st.composite
def _discretes(draw: st.DrawFn) -> Space:
    dtype: Any = draw(st.sampled_from((np.int64, np.int16, np.uint8) if DISCRETE_HAS_DTYPE else (np.int64,)))
    limits = np.iinfo(dtype)
    n = draw(st.integers(1, 100))
    start = draw(st.integers(int(limits.min), int(limits.max) - n))
    return gym.spaces.Discrete(n, start=start, **({"dtype": dtype} if DISCRETE_HAS_DTYPE else {}))


@st.composite
def _multi_discretes(draw: st.DrawFn) -> Space:
    nvec = draw(st.lists(st.integers(1, 9), min_size=1, max_size=4))
    start = draw(st.lists(st.integers(-9, 9), min_size=len(nvec), max_size=len(nvec)))
    return gym.spaces.MultiDiscrete(np.array(nvec), start=np.array(start))


@st.composite
def _texts(draw: st.DrawFn) -> Space:
    least = draw(st.integers(0, 3))
    charset = draw(st.text(_letters, min_size=1, max_size=5))
    return gym.spaces.Text(least + draw(st.integers(1, 4)), min_length=least, charset=charset)


_multi_binaries = st.one_of(st.integers(1, 5), st.lists(st.integers(1, 3), min_size=1, max_size=3)).map(
    gym.spaces.MultiBinary
)
_leaves = st.one_of(_boxes(), _discretes(), _multi_discretes(), _multi_binaries, _texts())
_of_graphs = st.one_of(
    st.integers(1, 9).map(gym.spaces.Discrete),
    st.integers(1, 3).map(lambda size: gym.spaces.Box(-1.0, 1.0, (size,), np.float32)),
)
_graphs = st.builds(gym.spaces.Graph, _of_graphs, st.none() | _of_graphs)


def _nested(parts: st.SearchStrategy[Space]) -> st.SearchStrategy[Space]:
    return st.one_of(
        st.dictionaries(names, parts, max_size=3).map(gym.spaces.Dict),
        st.lists(parts, max_size=3).map(gym.spaces.Tuple),
        st.lists(parts, min_size=1, max_size=3).map(gym.spaces.OneOf),
        st.builds(gym.spaces.Sequence, parts),
        st.builds(gym.spaces.Sequence, _leaves, stack=st.just(True)),
    )


def spaces() -> st.SearchStrategy[Space]:
    """Generate any Gymnasium space, with any nesting."""
    return st.recursive(st.one_of(_leaves, _graphs), _nested, max_leaves=4)


@st.composite
def truths(draw: st.DrawFn, observation_space: Space, action_space: Space, infos: Any = None) -> Truth:
    """Generate an episode of these spaces, as described in :mod:`minari.testing.examples`."""
    steps, seed = draw(st.integers(1, 5)), draw(st.integers(0, 2**31 - 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # samples at the ends of an integer's range
        return draw_truth(observation_space, action_space, steps, seed, infos)


# Metadata and infos

_numbers = st.one_of(
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.integers(-9, 9).map(np.int16),
    st.floats(width=32).map(np.float32),
)


def _array(shape: tuple[int, ...], dtype: Any, first: int) -> npt.NDArray[Any]:
    size = int(np.prod(shape))
    return (np.arange(first, first + size) % 100).astype(dtype).reshape(shape)


_arrays = st.builds(_array, _shapes, st.sampled_from([np.float32, np.int8, np.bool_, np.float64]), st.integers(0, 9))
_plain = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.floats(), st.text(max_size=5)),
    lambda parts: st.lists(parts, max_size=3) | st.dictionaries(names, parts, max_size=3),
    max_leaves=4,
)


def metadata() -> st.SearchStrategy[dict[str, Any]]:
    """Generate metadata of an episode of all supported kinds."""
    values = st.one_of(_numbers, _arrays, st.text(max_size=9), _plain)
    nested = st.recursive(values, lambda parts: st.dictionaries(names, parts, max_size=3), max_leaves=4)
    return st.dictionaries(
        names.filter(lambda name: name not in ("id", "total_steps", "seed", "options")), nested, max_size=4
    )


def infos(rows: int) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Generate the info dicts of some steps, whose keys appear, disappear and change their type."""
    kinds = st.sampled_from(
        [_numbers, st.floats(), st.text(max_size=5), _arrays, _plain, st.just(np.zeros(2, np.float32))]
    )
    values = st.one_of(kinds.flatmap(lambda kind: st.lists(kind, min_size=rows, max_size=rows)))
    absent = st.lists(st.booleans(), min_size=rows, max_size=rows)

    def rows_of(columns: dict[str, tuple[list[Any], list[bool]]]) -> list[dict[str, Any]]:
        return [
            {key: column[row] for key, (column, is_absent) in columns.items() if not is_absent[row]}
            for row in range(rows)
        ]

    columns = st.recursive(
        values,
        lambda parts: st.dictionaries(names, st.tuples(parts, absent), max_size=3).map(rows_of),
        max_leaves=4,
    )
    return st.dictionaries(names, st.tuples(columns, absent), max_size=3).map(rows_of)
