"""Zarr arrays in the layout of robot learning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.rivals.rival import Content, Rival
from benchmarks.rivals.source import FIELDS, Source


class ZarrArrays(Rival):
    """One array for each field, and the ends of the episodes."""

    NAME = "zarr-python"
    TITLE = "zarr-python, robot-learning layout"
    NOTE = (
        "`data/` with one array for each field, `meta/episode_ends`, zarr's default codec, chunks of 50 episodes of "
        "vectors and of one of frames; with final observations, which the layout usually leaves out. Everything is "
        "loaded to draw from."
    )
    REQUIREMENTS = ("zarr>=3.1,<4",)

    def prepare(self) -> None:
        import zarr  # noqa: F401

    def write(self, source: Source, path: Path) -> None:
        import zarr

        root = zarr.open_group(str(path / "episodes.zarr"), mode="w")
        episodes = 1 if source.has_frames else max(50, 10_000 // int(source.lengths.mean()))
        rows = int(source.lengths.mean() * episodes)
        for name in FIELDS:
            values = getattr(source, name)
            chunks = (min(rows + episodes * (name == "observations"), len(values)), *values.shape[1:])
            root.create_array(f"data/{name}", data=values, chunks=chunks)
        root.create_array("meta/episode_ends", data=np.asarray(source.ends))

    def open(self, path: Path) -> Any:
        import zarr

        return zarr.open_group(str(path / "episodes.zarr"), mode="r")

    def read_all(self, opened: Any) -> Content:
        content: dict[str, Any] = {name: opened[f"data/{name}"][:] for name in FIELDS}
        return {**content, "lengths": np.diff(opened["meta/episode_ends"][:], prepend=0)}
