"""Lance tables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.rivals.libraries.arrow_files import tables, values_of
from benchmarks.rivals.rival import Content, Draw, Rival, Starts
from benchmarks.rivals.source import FIELDS, Array, Source


class Lance(Rival):
    """Tables of observations and of steps, whose rows are taken by number."""

    NAME = "lance"
    TITLE = "Lance"
    NOTE = "Tables of observations, steps and lengths by `lance.write_dataset`, and `take` of rows."
    REQUIREMENTS = ("pylance==14.0.2", "webdataset==1.0.2")
    ENVIRONMENT = "lance"

    def prepare(self) -> None:
        import lance  # noqa: F401
        import pyarrow  # noqa: F401

    def write(self, source: Source, path: Path) -> None:
        import lance

        for name, table in tables(source).items():
            lance.write_dataset(table, str(path / f"{name}.lance"))

    def open(self, path: Path) -> dict[str, Any]:
        import lance

        return {name: lance.dataset(str(path / f"{name}.lance")) for name in ("observations", "steps", "episodes")}

    def read_all(self, opened: dict[str, Any]) -> Content:
        found = [dataset.to_table() for dataset in opened.values()]
        return {name: np.array(values_of(table[name])) for table in found for name in table.column_names}

    def transitions(self, opened: dict[str, Any], count: int, rng: np.random.Generator) -> Draw:
        lengths = values_of(opened["episodes"].to_table()["lengths"])
        episode = np.repeat(np.arange(len(lengths)), lengths)

        def draw() -> Mapping[str, Any]:
            at = rng.integers(0, len(episode), count)
            seen = at + episode[at]
            observations = _take(opened["observations"], np.concatenate([seen, seen + 1]))["observations"]
            found = _take(opened["steps"], at)
            return {**found, "observations": observations[:count], "next_observations": observations[count:]}

        return draw

    def windows(self, opened: dict[str, Any], count: int, length: int, rng: np.random.Generator) -> Draw:
        starts = Starts(values_of(opened["episodes"].to_table()["lengths"]), length)
        offsets = np.arange(length + 1)

        def draw() -> Mapping[str, Any]:
            start, episode = starts.draw(count, rng)
            seen = (start + episode)[:, None] + offsets
            at = start[:, None] + offsets[:-1]
            steps = _take(opened["steps"], at.reshape(-1))
            found = {name: values.reshape(count, length, *values.shape[1:]) for name, values in steps.items()}
            observations = _take(opened["observations"], seen.reshape(-1))["observations"]
            return {**found, "observations": observations.reshape(count, length + 1, *observations.shape[1:])}

        return draw


def _take(dataset: Any, rows: Array) -> dict[str, Array]:
    table = dataset.take(rows.tolist())
    return {name: values_of(table[name]) for name in ("observations", *FIELDS[1:]) if name in table.column_names}
