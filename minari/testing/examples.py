"""Spaces, infos and episodes that every storage format must support."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from minari._model.episode_buffer import EpisodeBuffer


__all__ = ["INFOS", "SPACES", "Truth", "as_buffer", "as_continuation", "draw_truth", "nested"]

Space = gym.Space[Any]

#: The content of an episode: ``observations`` and ``actions`` as lists of single values, the rest as it is read.
Truth = dict[str, Any]

#: Whether this release of Gymnasium supports other dtypes of a Discrete than int64; the first ones of 1.0 do not.
DISCRETE_HAS_DTYPE = "dtype" in inspect.signature(spaces.Discrete).parameters

_VECTOR = spaces.Box(-1.0, 1.0, (3,), np.float32)
_INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
_EVERY_UNICODE_PLANE = "aß\u0301漢\ufeff🎉𝔐\U0010fffd\"'\\/\n\t "


#: Spaces of every kind, by a name that describes them.
SPACES: dict[str, Space] = {
    "box-float16": spaces.Box(-2.0, 2.0, (2,), np.float16),
    "box-float32": _VECTOR,
    "box-float64": spaces.Box(-1e300, 1e300, (2, 3), np.float64),
    **{
        f"box-{name}": spaces.Box(np.iinfo(name).min, np.iinfo(name).max, (2,), np.dtype(name).type)
        for name in _INTEGERS
    },
    "box-bool": spaces.Box(0, 1, (4,), np.bool_),
    "box-0d": spaces.Box(-1.0, 1.0, (), np.float64),
    "box-empty": spaces.Box(-1.0, 1.0, (0,), np.float32),
    "box-empty-inside": spaces.Box(-1.0, 1.0, (2, 0, 3), np.float32),
    "box-five-dimensions": spaces.Box(-1.0, 1.0, (1, 2, 1, 2, 3), np.float32),
    "box-unbounded": spaces.Box(-np.inf, np.inf, (3,), np.float64),
    "box-half-bounded": spaces.Box(np.array([-np.inf, 0, -1], np.float32), np.array([0, np.inf, 1], np.float32)),
    "discrete": spaces.Discrete(5),
    "discrete-start": spaces.Discrete(4, start=-2),
    **({"discrete-dtype": spaces.Discrete(200, dtype=np.uint8)} if DISCRETE_HAS_DTYPE else {}),
    "multi-discrete": spaces.MultiDiscrete([3, 4, 5]),
    "multi-discrete-start": spaces.MultiDiscrete(np.array([[2, 3], [4, 5]]), start=np.array([[1, -1], [0, 9]])),
    "multi-binary": spaces.MultiBinary(5),
    "multi-binary-matrix": spaces.MultiBinary([2, 3]),
    "text": spaces.Text(12),
    "text-may-be-empty": spaces.Text(2, min_length=0, charset="a"),
    "text-unicode": spaces.Text(6, charset=_EVERY_UNICODE_PLANE),
    "dict": spaces.Dict({"position": _VECTOR, "mode": spaces.Discrete(3), "größe ": spaces.MultiBinary(2)}),
    "dict-nested": spaces.Dict({"z": spaces.Dict({"b": spaces.Dict({"deep": _VECTOR})}), "a": spaces.Text(4)}),
    "dict-empty": spaces.Dict({}),
    "dict-odd-keys": spaces.Dict({"_index_0": _VECTOR, "0": _VECTOR, "_mask": _VECTOR, "a.b": _VECTOR}),
    "dict-slash": spaces.Dict({"a/b": _VECTOR, "a": spaces.Dict({"c": _VECTOR})}),
    "tuple": spaces.Tuple((spaces.Discrete(4, start=2), _VECTOR, spaces.Text(4))),
    "tuple-nested": spaces.Tuple((spaces.Tuple((spaces.Tuple((_VECTOR,)), spaces.Discrete(2))), _VECTOR)),
    "tuple-of-eleven": spaces.Tuple([spaces.Discrete(20, start=20 * i) for i in range(11)]),
    "tuple-empty": spaces.Tuple(()),
    "empty-parts": spaces.Dict({"nothing": spaces.Dict({}), "t": spaces.Tuple(()), "x": _VECTOR}),
    "sequence": spaces.Sequence(_VECTOR),
    "sequence-of-scalars": spaces.Sequence(spaces.Box(-1.0, 1.0, (), np.float32)),
    "sequence-of-text": spaces.Sequence(spaces.Text(3)),
    "sequence-of-dicts": spaces.Sequence(spaces.Dict({"x": _VECTOR, "t": spaces.Text(2)})),
    "sequence-of-sequences": spaces.Sequence(spaces.Sequence(spaces.Discrete(4))),
    "sequence-of-nothing": spaces.Sequence(spaces.Tuple(())),
    "sequence-stacked": spaces.Sequence(_VECTOR, stack=True),
    "sequence-stacked-dicts": spaces.Sequence(
        spaces.Dict({"x": _VECTOR, "pair": spaces.Tuple((spaces.Discrete(3), spaces.MultiBinary(2)))}), stack=True
    ),
    "sequence-stacked-text": spaces.Sequence(spaces.Text(3), stack=True),
    "sequence-stacked-sequences": spaces.Sequence(spaces.Sequence(spaces.Discrete(3)), stack=True),
    "graph": spaces.Graph(_VECTOR, spaces.Discrete(4)),
    "graph-discrete-nodes": spaces.Graph(spaces.Discrete(3), _VECTOR),
    "graph-without-edges": spaces.Graph(_VECTOR, None),
    "one-of": spaces.OneOf((spaces.Discrete(3), _VECTOR, spaces.Text(3))),
    "one-of-nested": spaces.OneOf((spaces.Dict({"x": _VECTOR}), spaces.Sequence(spaces.Discrete(3)))),
    "everything": spaces.Dict(
        {
            "graph": spaces.Graph(spaces.Discrete(3), spaces.Discrete(2)),
            "pair": spaces.Tuple((spaces.OneOf((spaces.Discrete(2), spaces.Text(2))), spaces.MultiBinary(2))),
        }
    ),
}


def _objects(*values: Any) -> Any:
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column


#: The infos of three steps, and the values that are read.
INFOS: dict[str, tuple[Sequence[dict[str, Any]], dict[str, Any]]] = {
    "none": ([{}, {}, {}], {}),
    "numbers": ([{"x": 0.5}, {"x": 1.5}, {"x": -1.0}], {"x": np.array([0.5, 1.5, -1.0])}),
    "flags": ([{"x": True}, {"x": False}, {"x": True}], {"x": np.array([True, False, True])}),
    "numbers-of-numpy": ([{"x": np.float32(i)} for i in range(3)], {"x": np.arange(3, dtype=np.float32)}),
    "arrays": (
        [{"x": np.full((2, 2), i, np.int16)} for i in range(3)],
        {"x": np.arange(3, dtype=np.int16).repeat(4).reshape(3, 2, 2)},
    ),
    "complex": ([{"x": np.complex64(i + 1j)} for i in range(3)], {"x": np.array([1j, 1 + 1j, 2 + 1j], np.complex64)}),
    "not-a-number": ([{"x": np.nan}, {"x": np.inf}, {"x": -0.0}], {"x": np.array([np.nan, np.inf, -0.0])}),
    "text": ([{"x": ""}, {"x": "漢🎉"}, {"x": "a\nb"}], {"x": _objects("", "漢🎉", "a\nb")}),
    "text-no-utf8-can-hold": ([{"x": "a\0"}, {"x": "\ud800"}, {"x": ""}], {"x": _objects("a\0", "\ud800", "")}),
    "nested": (
        [{"n": {"x": i, "deep": {"t": str(i)}}} for i in range(3)],
        {"n": {"x": np.arange(3), "deep": {"t": _objects("0", "1", "2")}}},
    ),
    "slash": ([{"a/b": i, "a": {"c": i}} for i in range(3)], {"a": {"b": np.arange(3), "c": np.arange(3)}}),
    "absent-at-first": (
        [{}, {"x": 1.5}, {"x": 2.5}],
        {"x": np.array([0, 1.5, 2.5]), "_x": np.array([False, True, True])},
    ),
    "absent-later": (
        [{"x": np.ones(2)}, {}, {}],
        {"x": np.array([[1.0, 1], [0, 0], [0, 0]]), "_x": np.array([True, False, False])},
    ),
    "absent-text": ([{"t": "a"}, {}, {"t": "b"}], {"t": _objects("a", "", "b"), "_t": np.array([True, False, True])}),
    "absent-nested": (
        [{"n": {"x": 1}}, {}, {"n": {"x": 2, "y": True}}],
        {
            "n": {
                "x": np.array([1, 0, 2]),
                "_x": np.array([True, False, True]),
                "y": np.array([False, False, True]),
                "_y": np.array([False, False, True]),
            },
            "_n": np.array([True, False, True]),
        },
    ),
    "ragged": (
        [{"x": np.arange(size, dtype=np.float32)} for size in (2, 0, 3)],
        {"x": _objects(*(np.arange(size, dtype=np.float32) for size in (2, 0, 3)))},
    ),
    "ragged-in-depth": (
        [{"x": np.ones((2, 1))}, {"x": np.ones(3)}, {"x": np.float64(1)}],
        {"x": _objects(np.ones((2, 1)), np.ones(3), np.array(1.0))},
    ),
    "of-several-kinds": ([{"x": 1}, {"x": "one"}, {"x": None}], {"x": _objects(1, "one", None)}),
    "json": ([{"x": {"a": None}}, {"x": ["b"]}, {"x": []}], {"x": _objects({"a": None}, ["b"], [])}),
    "big-integers": ([{"x": 2**70}, {"x": -1}, {"x": 0}], {"x": _objects(2**70, -1, 0)}),
}


def draw_truth(
    observation_space: Space, action_space: Space, steps: int = 3, seed: int = 0, infos: Any = None
) -> Truth:
    """Return the values of a random episode; the same for the same seed."""
    observation_space.seed(seed)
    action_space.seed(seed + 1)
    rng = np.random.default_rng(seed)
    return {
        "observations": [observation_space.sample() for _ in range(steps + 1)],
        "actions": [action_space.sample() for _ in range(steps)],
        "rewards": rng.normal(size=steps),
        "terminations": rng.random(steps) < 0.5,
        "truncations": rng.random(steps) < 0.5,
        "infos": {} if infos is None else infos,
    }


def nested(space: Space, values: Sequence[Any]) -> Any:
    """Return the values of some steps column by column, nested like the space, with lists as leaves."""
    if isinstance(space, spaces.Dict):
        return {key: nested(part, [value[key] for value in values]) for key, part in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(nested(part, [value[i] for value in values]) for i, part in enumerate(space.spaces))
    return list(values)


def as_buffer(truth: Truth, **fields: Any) -> EpisodeBuffer:
    """Return the episode as a buffer; further fields, such as the seed, replace or extend those of the truth."""
    return EpisodeBuffer(**{**truth, **fields})


def as_continuation(truth: Truth, more: Truth, index: int, *of: Space) -> tuple[Truth, EpisodeBuffer]:
    """Return an extended episode, and a buffer that extends the stored one.

    Args:
        truth: the stored episode.
        more: an episode; its first observation and info are omitted.
        index: the number of the stored episode.
        of: the observation space and the action space.
    """
    infos = {name: values[1:] for name, values in more["infos"].items()}
    whole: Truth = {
        "observations": [*truth["observations"], *more["observations"][1:]],
        "actions": [*truth["actions"], *more["actions"]],
        "infos": {name: np.concatenate([truth["infos"][name], infos[name]]) for name in infos},
    }
    rest = ("rewards", "terminations", "truncations")
    whole.update({name: np.concatenate([truth[name], more[name]]) for name in rest})
    buffer = EpisodeBuffer(
        id=index,
        observations=nested(of[0], more["observations"][1:]),
        actions=nested(of[1], more["actions"]),
        **{name: more[name] for name in rest},
        infos=infos,
    )
    return whole, buffer
