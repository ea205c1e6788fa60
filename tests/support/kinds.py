"""Kinds of values that the released package stores, as functions of the time; the same in both packages."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np

from support.scripted import ScriptedEnv


class Signal(str, enum.Enum):
    """Text that is an enumeration."""

    STOP = "stop"
    GO = "go"


class Level(enum.IntEnum):
    """Whole numbers that are an enumeration."""

    LOW = 1
    HIGH = 7


class Label(str):
    """Text of a class of its own."""


STRUCTURE = np.dtype([("id", np.int16), ("at", np.float32, (2,)), ("ok", np.bool_)])
PADDED = np.dtype([("a", np.int8), ("b", np.float64), ("c", "S3"), ("d", np.complex64)], align=True)


def _structure(time: int) -> Any:
    return np.array([(time, (0.5, time), True), (-time, (1.5, 2.5), False)], STRUCTURE)


#: What an info is at a time.
INFOS: dict[str, Callable[[int], Any]] = {
    "bytes": lambda time: b"state-%d" % time,
    "bytes-of-any-length": lambda time: b"x" * (3 * time % 5),
    "bytes-that-are-no-text": lambda time: b"\xff\xfe" * (time + 1),
    "bytes-of-numpy": lambda time: np.bytes_(b"ab%d" % time),
    "arrays-of-bytes": lambda time: np.array([b"ab", b"c" * (1 + time % 2)]),
    "void": lambda time: np.void(b"a\0%d" % (time % 10)),
    "structures": _structure,
    "structures-with-gaps": lambda time: np.array([(time, 0.5, b"ab", 1j)] * 2, PADDED),
    "one-structure": lambda time: _structure(time)[0],
    "complex": lambda time: time + 2j,
    "arrays-of-complex": lambda time: np.full(2, time * 1j, np.complex64),
    "half-precision": lambda time: np.float16(time / 2),
    "extended-precision": lambda time: np.longdouble(time) / 3,
    "unsigned": lambda time: 2**63 + time,
    "flags-then-floats": lambda time: True if time < 2 else time / 2,
    "integers-then-floats": lambda time: time if time < 2 else time / 2,
    "empty": lambda time: np.zeros((0, 3), np.int8),
    "without-dimensions": lambda time: np.array(time / 2, np.float32),
    "sometimes-without-dimensions": lambda time: np.array(0.5) if time % 2 else 1.5,
    "enumerated-text": lambda time: Signal.GO if time % 2 else Signal.STOP,
    "enumerated-numbers": lambda time: Level.HIGH if time % 2 else Level.LOW,
    "subclass-of-text": lambda time: Label("é" * time),
    "big-endian": lambda time: np.arange(time, time + 2, dtype=">i4"),
    "memory": lambda time: memoryview(np.full(3, time, np.uint16)),
    "masked": lambda time: np.ma.array([1.0, time], mask=[True, False]),
    "pairs-of-different-kinds": lambda time: (time, "a" * time),
    "odd-names": lambda time: {"a.b": time, "größe 🎲": 0.5, " x ": True, "_x": 1, "shape": 2},
}

REWARDS: dict[str, Callable[[int], Any]] = {
    "two": lambda time: np.array([time, -1.0], np.float32),
    "three-integers": lambda time: np.array([time, 0, 7]),
    "matrix": lambda time: np.full((2, 3), time / 2),
    "big-endian": lambda time: np.full(2, time, ">f8"),
}


def environment(info: str, reward: str) -> ScriptedEnv:
    """Return an environment that gives values of one kind."""
    inform, pay = INFOS.get(info, lambda time: time), REWARDS.get(reward, float)
    unit = gym.spaces.Box(-1, 1, (2,), np.float32)
    return ScriptedEnv(
        lambda time: np.zeros(2, np.float32),
        inform=lambda time: {"value": inform(time)},
        reward=pay,
        length=4,
        observation_space=unit,
        action_space=gym.spaces.Discrete(2),
    )
