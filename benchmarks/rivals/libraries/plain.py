"""Files of plain NumPy, which are the floor, and what the standard library has."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.rivals.rival import Content, Draw, Rival, Rows, play
from benchmarks.rivals.source import FIELDS, Source


_NAMES = (*FIELDS, "lengths")


class NumPy(Rival):
    """One .npy file for each array."""

    NAME = "numpy"
    TITLE = "NumPy, `.npy`"
    NOTE = "The floor: one `np.save` for each array over all episodes, `np.load` with `mmap_mode`, and fancy indexing."
    REQUIREMENTS = ("numpy",)
    RECORDS = True

    def write(self, source: Source, path: Path) -> None:
        for name in _NAMES:
            np.save(path / f"{name}.npy", getattr(source, name))

    def open(self, path: Path) -> Content:
        return {name: np.load(path / f"{name}.npy", mmap_mode="r") for name in _NAMES}

    def read_all(self, opened: Content) -> Content:
        return {name: np.array(values) for name, values in opened.items()}

    def transitions(self, opened: Content, count: int, rng: np.random.Generator) -> Draw:
        return Rows(_views(opened)).transitions(count, rng)

    def windows(self, opened: Content, count: int, length: int, rng: np.random.Generator) -> Draw:
        return Rows(_views(opened)).windows(count, length, rng)

    def record(self, env: Any, actions: Sequence[Any], path: Path) -> None:
        observations: list[Any] = []
        steps: list[Any] = []
        ends: list[int] = []

        def keep(action: Any, result: Any) -> None:
            observations.append(result[0])
            if action is not None:
                steps.append((action, *result[1:4]))
                if result[2] or result[3]:
                    ends.append(len(steps))

        play(env, actions, keep)
        acted, rewards, terminations, truncations = (np.array(column) for column in zip(*steps, strict=True))
        lengths = np.diff([0, *ends])
        self.write(Source(np.array(observations), acted, rewards, terminations, truncations, lengths), path)


def _views(opened: Content) -> Content:
    """Return plain arrays over the maps, which are indexed without the overhead of their subclass."""
    return {name: np.asarray(values) for name, values in opened.items()}


class CompressedNumPy(Rival):
    """One compressed .npz file."""

    NAME = "npz"
    TITLE = "NumPy, `.npz`"
    NOTE = "`np.savez_compressed` of the same arrays."
    REQUIREMENTS = ("numpy",)

    def write(self, source: Source, path: Path) -> None:
        np.savez_compressed(path / "episodes.npz", **{name: getattr(source, name) for name in _NAMES})

    def open(self, path: Path) -> Content:
        with np.load(path / "episodes.npz") as file:
            return dict(file)

    def read_all(self, opened: Content) -> Content:
        return opened


class Pickle(Rival):
    """One pickle of a list of episodes."""

    NAME = "pickle"
    TITLE = "pickle"
    NOTE = "`pickle.dump` of a list of dicts of arrays; loading one runs whatever code it names."
    REQUIREMENTS = ("numpy",)

    def write(self, source: Source, path: Path) -> None:
        episodes = [{name: getattr(episode, name) for name in FIELDS} for episode in source.episodes()]
        with (path / "episodes.pkl").open("wb") as file:
            pickle.dump(episodes, file, pickle.HIGHEST_PROTOCOL)

    def open(self, path: Path) -> list[dict[str, Any]]:
        with (path / "episodes.pkl").open("rb") as file:
            episodes: list[dict[str, Any]] = pickle.load(file)
        return episodes

    def read_all(self, opened: list[dict[str, Any]]) -> Content:
        content: dict[str, Any] = {name: [episode[name] for episode in opened] for name in FIELDS}
        return {**content, "lengths": [len(episode["rewards"]) for episode in opened]}
