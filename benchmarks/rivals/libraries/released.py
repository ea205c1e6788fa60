"""The released package."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from benchmarks.environments import RELEASE
from benchmarks.rivals.libraries.minari_datasets import AUTHORSHIP, DATASET, Minari
from benchmarks.rivals.rival import PIXELS, Content, Draw, play
from benchmarks.rivals.source import FIELDS


class Released(Minari):
    """HDF5 with exact frames."""

    NAME = "released"
    TITLE = f"Minari {RELEASE}, HDF5"
    NOTE = (
        "`iterate_episodes`; without a sampler: a loop over `sample_episodes` that keeps a part of each whole episode."
    )
    REQUIREMENTS = (f"minari[all]=={RELEASE}", "pillow")
    ENVIRONMENT = "released"
    COLLECTOR = None
    OPTIONS: ClassVar[dict[str, Any]] = {"data_format": "hdf5", "jpeg_encoding": False}

    def read_all(self, opened: Any) -> Content:
        episodes = list(opened.iterate_episodes())
        content: dict[str, Any] = {name: [getattr(episode, name) for episode in episodes] for name in FIELDS}
        return {**content, "lengths": [len(episode.rewards) for episode in episodes]}

    def transitions(self, opened: Any, count: int, rng: np.random.Generator) -> Draw:
        windows = self._parts(opened, count, 1, rng)

        def transitions() -> dict[str, Any]:
            parts = windows()
            observations = parts.pop("observations")
            batch = {name: values[:, 0] for name, values in parts.items()}
            return {**batch, "observations": observations[:, 0], "next_observations": observations[:, 1]}

        return transitions

    def windows(self, opened: Any, count: int, length: int, rng: np.random.Generator) -> Draw:
        return self._parts(opened, count, length, rng)

    def _parts(self, opened: Any, count: int, length: int, rng: np.random.Generator) -> Callable[[], dict[str, Any]]:
        """Return the loop that users write: each element is a part of a whole episode."""

        def draw() -> dict[str, Any]:
            parts: list[tuple[Any, ...]] = []
            while len(parts) < count:
                for episode in opened.sample_episodes(min(count - len(parts), len(opened))):
                    if len(episode.rewards) < length:
                        continue
                    start = int(rng.integers(0, len(episode.rewards) - length + 1))
                    rows = slice(start, start + length)
                    flags = episode.terminations[rows], episode.truncations[rows]
                    seen = episode.observations[start : start + length + 1]
                    parts.append((seen, episode.actions[rows], episode.rewards[rows], *flags))
            names = ("observations", "actions", "rewards", "terminations", "truncations")
            return {name: np.stack(values) for name, values in zip(names, zip(*parts, strict=True), strict=True)}

        return draw

    def record(self, env: Any, actions: Sequence[Any], path: Path) -> None:
        import minari

        os.environ["MINARI_DATASETS_PATH"] = str(path)
        collector = minari.DataCollector(env, data_format="hdf5")
        play(collector, actions)
        collector.create_dataset(DATASET, **AUTHORSHIP)


class ReleasedJpeg(Released):
    """HDF5 with frames as JPEG, its default."""

    NAME = "released-jpeg"
    TITLE = f"Minari {RELEASE}, JPEG"
    NOTE = "Frames as JPEG, its default."
    KINDS = ("frames",)
    RECORDS = False
    FRAMES_LOSE = frozenset({PIXELS})
    OPTIONS: ClassVar[dict[str, Any]] = {"data_format": "hdf5", "jpeg_encoding": True}
