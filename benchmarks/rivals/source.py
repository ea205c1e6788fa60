"""The episodes that every library stores, made from a seed with NumPy and handed over as .npy files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


Array = npt.NDArray[Any]

FIELDS = ("observations", "actions", "rewards", "terminations", "truncations")
SHORTEST, LONGEST = 1, 9  # steps of a short episode


@dataclass(frozen=True, slots=True)
class Episode:
    """The arrays of one episode; there is one more observation than steps."""

    observations: Array
    actions: Array
    rewards: Array
    terminations: Array
    truncations: Array


@dataclass(frozen=True)
class Source:
    """Episodes, as arrays over all of them.

    Attributes:
        observations: one row for each step, and one more at the end of each episode.
        actions: one row for each step.
        rewards: numbers that differ from each other and are exact in float32, unless the episodes were recorded.
        terminations: True in the last step of some episodes.
        truncations: True in the last step of the others.
        lengths: steps of each episode.
    """

    observations: Array
    actions: Array
    rewards: Array
    terminations: Array
    truncations: Array
    lengths: Array

    @property
    def steps(self) -> int:
        """Return the number of steps."""
        return len(self.rewards)

    @property
    def has_frames(self) -> bool:
        """Return whether the observations are images."""
        return self.observations.ndim == 4

    @cached_property
    def ends(self) -> Array:
        """Return the number of steps up to the end of each episode."""
        return np.cumsum(self.lengths)

    @cached_property
    def numbers(self) -> Array:
        """Return the episode of each step."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)

    def seen(self) -> Array:
        """Return the rows of the observations in which the steps began; their successors are one further."""
        return np.arange(self.steps) + self.numbers

    def episodes(self) -> Iterator[Episode]:
        """Yield views of each episode."""
        begin = 0
        for number, length in enumerate(self.lengths.tolist()):
            rows = slice(begin, begin + length)
            yield Episode(
                self.observations[begin + number : begin + number + length + 1],
                *(getattr(self, name)[rows] for name in FIELDS[1:]),
            )
            begin += length

    def transitions(self) -> dict[str, Array]:
        """Return one row for each step, with the next observation: a copy of nearly everything."""
        seen = self.seen()
        return {
            "observations": self.observations[seen],
            "next_observations": self.observations[seen + 1],
            **{name: getattr(self, name) for name in FIELDS[1:]},
        }

    def find(self, rewards: Array) -> Array:
        """Return the steps that have these rewards; -1 if there are none."""
        order, values = self._by_reward
        places = np.clip(np.searchsorted(values, rewards), 0, len(values) - 1)
        return np.where(values[places] == rewards, order[places], -1)

    @cached_property
    def _by_reward(self) -> tuple[Array, Array]:
        order = np.argsort(self.rewards)
        return order, self.rewards[order]

    def save(self, directory: Path) -> None:
        """Write a file for each array."""
        for name in (*FIELDS, "lengths"):
            np.save(directory / f"{name}.npy", getattr(self, name))

    @classmethod
    def load(cls, directory: Path) -> Source:
        """Read what `save` has written."""
        return cls(*(np.load(directory / f"{name}.npy") for name in (*FIELDS, "lengths")))


def make(kind: str, episodes: int, steps: int) -> Source:
    """Return episodes of a kind: "vectors", "short", or "frames" with a background after a hyphen."""
    rng = np.random.default_rng(0)
    lengths = np.full(episodes, steps)
    if kind == "short":
        lengths = rng.integers(SHORTEST, LONGEST + 1, episodes)
    total = int(lengths.sum())
    if kind == "vectors":
        observations: Array = rng.standard_normal((total + episodes, 39))
        actions: Array = rng.uniform(-1, 1, (total, 28)).astype(np.float32)
    elif kind == "short":
        observations = rng.standard_normal((total + episodes, 4), np.float32)
        actions = rng.integers(0, 2, total)
    else:
        observations = _frames(rng, episodes, steps, kind.partition("-")[2])
        actions = rng.integers(0, 4, total)
    return _with_ends(observations, actions, rng.permutation(total) / 2.0**20, lengths)


def _with_ends(observations: Array, actions: Array, rewards: Array, lengths: Array) -> Source:
    """Return the source in which every second episode is truncated and the others are terminated."""
    flags = np.zeros((2, len(rewards)), np.bool_)
    last = np.cumsum(lengths) - 1
    flags[np.arange(len(last)) % 2, last] = True
    return Source(observations, actions, rewards, flags[0], flags[1], lengths)


def _frames(rng: np.random.Generator, episodes: int, steps: int, background: str) -> Array:
    """Return 84×84×3 frames in which a square moves.

    The background is "still", scrolls ("moving"), or is still below noise that differs in every pixel of every frame,
    as that of a camera does ("noise").
    """
    frames = np.empty((episodes, steps + 1, 84, 84, 3), np.uint8)
    for episode in frames:
        tiles = rng.integers(0, 240, (12, 12, 3), np.uint8).repeat(7, 0).repeat(7, 1)
        x, y = rng.integers(0, 70, 2)
        for step, frame in enumerate(episode):
            frame[:] = np.roll(tiles, (step, 2 * step), (0, 1)) if background == "moving" else tiles
            left, top = (x + 2 * step) % 70, (y + step) % 70
            frame[top : top + 14, left : left + 14] = (17 * step % 240, 120, 60)
        if background == "noise":
            episode += rng.integers(0, 8, episode.shape, np.uint8)
    return frames.reshape(-1, 84, 84, 3)
