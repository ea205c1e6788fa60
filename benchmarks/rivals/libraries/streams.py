"""Shards that are made to be streamed: WebDataset and MosaicML's MDS."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.rivals.libraries.lance_tables import Lance
from benchmarks.rivals.libraries.records import as_transitions, gathered, parts_of_episodes
from benchmarks.rivals.rival import Content, Draw, Rival
from benchmarks.rivals.source import FIELDS, Array, Source


class WebDataset(Rival):
    """Archives of .npy files, an episode in each sample."""

    NAME = "webdataset"
    TITLE = "WebDataset"
    NOTE = "A sample with one `.npy` for each field for each episode; everything is loaded to draw from."
    REQUIREMENTS = Lance.REQUIREMENTS
    ENVIRONMENT = "lance"

    def prepare(self) -> None:
        import webdataset  # noqa: F401

    def write(self, source: Source, path: Path) -> None:
        import webdataset

        with webdataset.ShardWriter(str(path / "episodes-%06d.tar"), maxcount=10**9, maxsize=1e12, verbose=0) as shards:
            for number, episode in enumerate(source.episodes()):
                values = {f"{name}.npy": getattr(episode, name) for name in FIELDS}
                shards.write({"__key__": f"{number:07}", **values})

    def open(self, path: Path) -> Any:
        import webdataset

        shards = [str(file) for file in sorted(path.glob("*.tar"))]
        return webdataset.WebDataset(shards, shardshuffle=False).decode()

    def read_all(self, opened: Any) -> Content:
        return gathered([{name: sample[f"{name}.npy"] for name in FIELDS} for sample in opened])


class MDS(Rival):
    """Shards with an index, an episode in each sample, which is read by its number."""

    NAME = "mds"
    TITLE = "MDS, MosaicML streaming"
    NOTE = "A sample with one array for each field for each episode; Zstandard for frames; `LocalDataset`."
    REQUIREMENTS = ("torch==2.13.0", "mosaicml-streaming==0.13.0")
    ENVIRONMENT = "mds"

    def prepare(self) -> None:
        from streaming import MDSWriter, StreamingDataset  # noqa: F401

    def write(self, source: Source, path: Path) -> None:
        from streaming import MDSWriter

        columns = {name: f"ndarray:{getattr(source, name).dtype.name}" for name in FIELDS}
        columns |= dict.fromkeys(FIELDS[3:], "ndarray:uint8")
        compression = "zstd:3" if source.has_frames else None
        with MDSWriter(out=str(path / "episodes"), columns=columns, compression=compression) as writer:
            for episode in source.episodes():
                writer.write(
                    {
                        name: getattr(episode, name).view(np.uint8) if name in FIELDS[3:] else getattr(episode, name)
                        for name in FIELDS
                    }
                )
        np.save(path / "lengths.npy", source.lengths)

    def open(self, path: Path) -> tuple[Any, Array]:
        from streaming import StreamingDataset

        return StreamingDataset(local=str(path / "episodes"), batch_size=1), np.load(path / "lengths.npy")

    def read_all(self, opened: tuple[Any, Array]) -> Content:
        return gathered([_episode(opened[0], number) for number in range(len(opened[1]))])

    def transitions(self, opened: tuple[Any, Array], count: int, rng: np.random.Generator) -> Draw:
        return as_transitions(self.windows(opened, count, 1, rng))

    def windows(self, opened: tuple[Any, Array], count: int, length: int, rng: np.random.Generator) -> Draw:
        episodes, lengths = opened
        return parts_of_episodes(
            lengths, count, length, rng, lambda chosen: [_episode(episodes, number) for number in chosen]
        )


def _episode(episodes: Any, number: int) -> Mapping[str, Array]:
    sample = episodes[number]
    return {name: sample[name].view(np.bool_) if name in FIELDS[3:] else sample[name] for name in FIELDS}
