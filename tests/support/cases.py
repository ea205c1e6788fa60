"""Pairs of spaces by name, so that two processes can make the same ones without exchanging any."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces


Space = spaces.Space[Any]

_VECTOR = spaces.Box(-1.0, 1.0, (3,), np.float32)

#: Every space that the released package stores, one of a kind, and what is special about it.
SPACES: dict[str, Space] = {
    **{f"box-{np.dtype(kind).name}": spaces.Box(-2.5, 2.5, (2,), kind) for kind in (np.float16, np.float32)},
    "box-float64-matrix": spaces.Box(-1e300, 1e300, (2, 3), np.float64),
    **{
        f"box-{name}": spaces.Box(np.iinfo(name).min, np.iinfo(name).max, (3,), np.dtype(name).type)
        for name in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
    },
    "box-bool": spaces.Box(0, 1, (4,), np.bool_),
    "box-scalar": spaces.Box(-1.0, 1.0, (), np.float32),
    "box-empty": spaces.Box(-1.0, 1.0, (0,), np.float32),
    "box-unbounded": spaces.Box(-np.inf, np.inf, (3,), np.float64),
    "box-half-bounded": spaces.Box(np.float32([-np.inf, 0.0, -1.0]), np.float32([0.0, np.inf, 1.0])),
    "box-bounds-by-element": spaces.Box(
        np.arange(6.0).reshape(2, 3), np.arange(6.0).reshape(2, 3) + 1, dtype=np.float64
    ),
    "picture-small": spaces.Box(0, 255, (8, 6, 3), np.uint8),
    "picture-other-bounds": spaces.Box(0, 254, (33, 32, 3), np.uint8),
    "discrete": spaces.Discrete(5),
    "discrete-start": spaces.Discrete(4, start=-2),
    "multi-discrete": spaces.MultiDiscrete([3, 4, 5]),
    "multi-discrete-matrix": spaces.MultiDiscrete(np.array([[2, 3], [4, 5]]), dtype=np.int32),
    "multi-discrete-start": spaces.MultiDiscrete(np.array([2, 3]), start=np.array([-1, 7])),
    "multi-binary": spaces.MultiBinary(5),
    "multi-binary-matrix": spaces.MultiBinary([2, 3]),
    "text": spaces.Text(12),
    "text-may-be-empty": spaces.Text(3, min_length=0),
    "text-unicode": spaces.Text(6, charset="aé漢🎉𝔐\"'\\\n "),
    "dict": spaces.Dict({"position": _VECTOR, "mode": spaces.Discrete(3), "größe": spaces.MultiBinary(2)}),
    "dict-nested": spaces.Dict(
        {"z": spaces.Dict({"b": spaces.Dict({"deep": _VECTOR}), "a": spaces.Discrete(2)}), "a": spaces.Text(4)}
    ),
    "tuple": spaces.Tuple((spaces.Discrete(4, start=2), _VECTOR, spaces.Text(4))),
    "tuple-nested": spaces.Tuple((spaces.Tuple((spaces.Tuple((_VECTOR,)), spaces.Discrete(2))), _VECTOR)),
    "tuple-of-eleven": spaces.Tuple([spaces.Discrete(20, start=20 * place) for place in range(11)]),
    "dict-of-tuples": spaces.Dict(
        {"pair": spaces.Tuple((spaces.Text(3), spaces.Dict({"in": spaces.Tuple((spaces.Discrete(3), _VECTOR))})))}
    ),
    "tuple-of-dicts": spaces.Tuple(
        (spaces.Dict({"x": _VECTOR}), spaces.Dict({"x": spaces.MultiDiscrete([2, 2]), "y": spaces.Discrete(3)}))
    ),
}

#: Spaces of frames that `jpeg_encoding` is about.
PICTURES: dict[str, Space] = {
    "picture": spaces.Box(0, 255, (40, 36, 3), np.uint8),
    "picture-gray": spaces.Box(0, 255, (33, 48), np.uint8),
}


def spaces_of(case: str) -> tuple[Space, Space]:
    """The observation and the action space of a case.

    A case is the name of the observation space; the action space is the next one in the list, so that over
    all cases each space serves as both. ``random:7`` stands for two nested spaces drawn with the seed 7.
    """
    if case in PICTURES:
        return PICTURES[case], spaces.Discrete(3)
    if case.startswith("random:"):
        rng = np.random.default_rng(int(case.removeprefix("random:")))
        return random_space(rng), random_space(rng)
    names = list(SPACES)
    return SPACES[case], SPACES[names[(names.index(case) + 1) % len(names)]]


def random_space(rng: np.random.Generator, depth: int = 3) -> Space:
    """Draw a space, nested at most `depth` deep."""
    kind = rng.integers(0, 7 if depth > 0 else 5)
    size = int(rng.integers(1, 4))
    if kind == 0:
        shape = tuple(int(length) for length in rng.integers(1, 4, rng.integers(0, 4)))
        dtype = (np.float32, np.float64, np.int16, np.uint8)[rng.integers(0, 4)]
        return spaces.Box(0, int(rng.integers(1, 100)), shape, dtype)
    if kind == 1:
        return spaces.Discrete(int(rng.integers(1, 9)), start=int(rng.integers(-4, 4)))
    if kind == 2:
        return spaces.MultiDiscrete(rng.integers(1, 6, size))
    if kind == 3:
        return spaces.MultiBinary(size)
    if kind == 4:
        return spaces.Text(size, min_length=int(rng.integers(0, size + 1)), charset="abé漢🎉")
    parts = [random_space(rng, depth - 1) for _ in range(size)]
    if kind == 5:
        return spaces.Tuple(parts)
    return spaces.Dict({f"key-{place}": part for place, part in enumerate(parts)})
