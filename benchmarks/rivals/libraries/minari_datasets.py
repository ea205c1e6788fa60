"""This library, in each of its formats."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from benchmarks.rivals.rival import OURS, Content, Draw, Rival, play
from benchmarks.rivals.source import FIELDS, Source


DATASET = "rivals/episodes-v0"
AUTHORSHIP: dict[str, Any] = {
    "algorithm_name": "random",
    "author": "Ada",
    "author_email": "ada@example.org",
    "code_permalink": "https://example.org/code",
    "description": "Made for a benchmark.",
}


def spaces(source: Source) -> dict[str, Any]:
    """Return the spaces of the episodes."""
    import gymnasium as gym

    observations, actions = source.observations, source.actions
    return {
        "observation_space": gym.spaces.Box(0, 255, observations.shape[1:], np.uint8)
        if source.has_frames
        else gym.spaces.Box(-np.inf, np.inf, observations.shape[1:], observations.dtype.type),
        "action_space": gym.spaces.Discrete(int(actions.max()) + 1)
        if actions.ndim == 1
        else gym.spaces.Box(-1, 1, actions.shape[1:], actions.dtype.type),
    }


class Minari(Rival):
    """HDF5, the default."""

    NAME = "minari"
    TITLE = "**Minari**, HDF5"
    NOTE = (
        "`create_dataset_from_buffers`, `arrays`, and `batches` of `transitions` and `windows`, with replacement as "
        "the others draw; zlib-ng for frames."
    )
    ENVIRONMENT = OURS
    REQUIREMENTS: ClassVar[tuple[str, ...]] = ("zlib-ng>=0.5",)
    RECORDS = True
    COLLECTOR: ClassVar[str | None] = "minari"
    OPTIONS: ClassVar[dict[str, Any]] = {}
    #: What is imported when it is first needed, and counts as an import like that of pyarrow by those that use it.
    PARTS: ClassVar[tuple[str, ...]] = ("minari._storages.hdf5.writer", "zlib_ng.zlib_ng")

    def prepare(self) -> None:
        from minari import DataCollector, create_dataset_from_buffers, load_dataset  # noqa: F401
        from minari.data_collector import EpisodeBuffer  # noqa: F401

        for name in self.PARTS:
            with suppress(ImportError):  # zlib-ng need not be there
                import_module(name)
        warnings.simplefilter("ignore")

    def write(self, source: Source, path: Path) -> None:
        import minari
        from minari.data_collector import EpisodeBuffer

        os.environ["MINARI_DATASETS_PATH"] = str(path)
        buffers = [EpisodeBuffer(**{name: getattr(episode, name) for name in FIELDS}) for episode in source.episodes()]
        minari.create_dataset_from_buffers(DATASET, buffers, **spaces(source), **AUTHORSHIP, **self.OPTIONS)

    def open(self, path: Path) -> Any:
        import minari

        os.environ["MINARI_DATASETS_PATH"] = str(path)
        return minari.load_dataset(DATASET)

    def read_all(self, opened: Any) -> Content:
        arrays = opened.arrays()
        return {**{name: arrays[name] for name in FIELDS}, "lengths": np.diff(arrays["episode_starts"])}

    def transitions(self, opened: Any, count: int, rng: np.random.Generator) -> Draw:
        return _drawing(opened.transitions(), count, rng)

    def windows(self, opened: Any, count: int, length: int, rng: np.random.Generator) -> Draw:
        return _drawing(opened.windows(length, final_observation=True), count, rng)

    def record(self, env: Any, actions: Sequence[Any], path: Path) -> None:
        import minari

        os.environ["MINARI_DATASETS_PATH"] = str(path)
        collector = minari.DataCollector(env, **self.OPTIONS)
        play(collector, actions)
        collector.create_dataset(DATASET, **AUTHORSHIP)


def _drawing(samples: Any, count: int, rng: np.random.Generator) -> Draw:
    batches = samples.batches(count, replace=True, seed=int(rng.integers(2**31)), prefetch=0)
    return lambda: next(batches)


class Uncompressed(Minari):
    """HDF5 without compression."""

    NAME = "minari-none"
    TITLE = "**Minari**, HDF5, uncompressed"
    NOTE = '`compression="none"`.'
    REQUIREMENTS: ClassVar[tuple[str, ...]] = ()
    KINDS = ("frames",)
    RECORDS = False
    COLLECTOR = None
    OPTIONS: ClassVar[dict[str, Any]] = {"compression": "none"}


class Zstandard(Uncompressed):
    """HDF5 with Zstandard."""

    NAME = "minari-zstd"
    TITLE = "**Minari**, HDF5, Zstandard"
    NOTE = '`compression={"observations": "zstd"}`.'
    REQUIREMENTS = ("hdf5plugin>=4", "zstandard>=0.22")
    OPTIONS: ClassVar[dict[str, Any]] = {"compression": {"observations": "zstd"}}
    PARTS = ("minari._storages.hdf5.writer", "zstandard")


class LZ4(Uncompressed):
    """HDF5 with LZ4."""

    NAME = "minari-lz4"
    TITLE = "**Minari**, HDF5, LZ4"
    NOTE = '`compression={"observations": "lz4"}`.'
    REQUIREMENTS = ("hdf5plugin>=4", "lz4>=4")
    OPTIONS: ClassVar[dict[str, Any]] = {"compression": {"observations": "lz4"}}
    PARTS = ("minari._storages.hdf5.writer", "lz4.block")


class Arrow(Minari):
    """Arrow files."""

    NAME = "minari-arrow"
    TITLE = "**Minari**, Arrow"
    NOTE = '`data_format="arrow"`.'
    REQUIREMENTS = ("pyarrow>=15",)
    COLLECTOR = None
    OPTIONS: ClassVar[dict[str, Any]] = {"data_format": "arrow"}
    PARTS: ClassVar[tuple[str, ...]] = ("minari._storages.arrow.storage",)


class Parquet(Arrow):
    """Parquet files."""

    NAME = "minari-parquet"
    TITLE = "**Minari**, Parquet"
    NOTE = '`data_format="parquet"`.'
    OPTIONS: ClassVar[dict[str, Any]] = {"data_format": "parquet"}


class Zarr(Arrow):
    """Zarr."""

    NAME = "minari-zarr"
    TITLE = "**Minari**, Zarr"
    NOTE = '`data_format="zarr"`.'
    REQUIREMENTS = ("zarr>=3.1,<4",)
    OPTIONS: ClassVar[dict[str, Any]] = {"data_format": "zarr"}
    PARTS = (
        "minari._storages.zarr.storage",
        "minari._storages.zarr.appender",
        "minari._storages.zarr.writer",
        "numcodecs",
    )
