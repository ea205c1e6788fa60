"""Layouts of HDF5 files, written with h5py."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.rivals.libraries.records import as_transitions
from benchmarks.rivals.rival import DTYPES, FLAGS, FLOAT32, Content, Draw, Rival
from benchmarks.rivals.source import Source


class D4RL(Rival):
    """One array for each field over all episodes."""

    NAME = "d4rl"
    TITLE = "D4RL layout, h5py"
    NOTE = "One array for each field, each observation twice, gzip for frames; everything is loaded to draw from."
    REQUIREMENTS = ("h5py>=3.8",)
    _FLAGS = (("terminations", "terminals"), ("truncations", "timeouts"))

    def prepare(self) -> None:
        import h5py  # noqa: F401

    def write(self, source: Source, path: Path) -> None:
        import h5py

        rows = source.transitions()
        for name, stored in self._FLAGS:
            rows[stored] = rows.pop(name)
        with h5py.File(path / "episodes.hdf5", "w") as file:
            for name, values in rows.items():
                file.create_dataset(name, data=values, compression="gzip" if source.has_frames else None)

    def open(self, path: Path) -> dict[str, Any]:
        import h5py

        file: Any
        with h5py.File(path / "episodes.hdf5", "r") as file:
            return {name: values[:] for name, values in file.items()}

    def read_all(self, opened: dict[str, Any]) -> Content:
        content = dict(opened)
        for name, stored in self._FLAGS:
            content[name] = content.pop(stored)
        ends = np.flatnonzero(content["terminations"] | content["truncations"]) + 1
        return {**content, "lengths": np.diff(ends, prepend=0)}


class Robomimic(Rival):
    """One group for each demonstration."""

    NAME = "robomimic"
    TITLE = "robomimic"
    NOTE = "One group for each episode, written with h5py; `SequenceDataset`, with everything cached for vectors."
    REQUIREMENTS = ("torch==2.13.0", "robomimic==0.3.0", "h5py>=3.8")
    ENVIRONMENT = "robomimic"
    # Without padding, every episode has to be as long as a window.
    KINDS = ("vectors", "frames")
    LOSES = frozenset({FLAGS})
    BATCHES_LOSE = frozenset({FLOAT32, DTYPES})

    def prepare(self) -> None:
        import h5py  # noqa: F401
        from robomimic.utils import obs_utils
        from robomimic.utils.dataset import SequenceDataset  # noqa: F401

        with redirect_stdout(sys.stderr):
            obs_utils.initialize_obs_utils_with_obs_specs({"obs": {"low_dim": ["state"], "rgb": ["frames_image"]}})

    def write(self, source: Source, path: Path) -> None:
        import h5py

        key = "frames_image" if source.has_frames else "state"
        options: dict[str, Any] = {"compression": "gzip"} if source.has_frames else {}
        file: Any
        with h5py.File(path / "episodes.hdf5", "w") as file:
            data = file.create_group("data")
            data.attrs["total"] = source.steps
            data.attrs["env_args"] = "{}"
            for number, episode in enumerate(source.episodes()):
                demo = data.create_group(f"demo_{number}")
                demo.attrs["num_samples"] = len(episode.rewards)
                demo.create_dataset(f"obs/{key}", data=episode.observations[:-1], **options)
                demo.create_dataset(f"next_obs/{key}", data=episode.observations[1:], **options)
                demo.create_dataset("actions", data=episode.actions)
                demo.create_dataset("rewards", data=episode.rewards)
                demo.create_dataset("dones", data=(episode.terminations | episode.truncations).astype(np.int64))

    def open(self, path: Path) -> Path:
        return path / "episodes.hdf5"

    def read_all(self, opened: Path) -> Content:
        import h5py

        found: dict[str, list[Any]] = {}
        file: Any
        with h5py.File(opened, "r") as file:
            demos = file["data"]
            for number in range(len(demos)):
                demo = demos[f"demo_{number}"]
                (key,) = demo["obs"]
                columns = {"observations": f"obs/{key}", "next_observations": f"next_obs/{key}"}
                for name, stored in {**columns, "actions": "actions", "rewards": "rewards"}.items():
                    found.setdefault(name, []).append(demo[stored][:])
        return {**found, "lengths": [len(rewards) for rewards in found["rewards"]]}

    def transitions(self, opened: Path, count: int, rng: np.random.Generator) -> Draw:
        return as_transitions(self._draw(opened, count, 1, rng))

    def windows(self, opened: Path, count: int, length: int, rng: np.random.Generator) -> Draw:
        return self._draw(opened, count, length, rng)

    def _draw(self, path: Path, count: int, length: int, rng: np.random.Generator) -> Draw:
        import h5py
        from robomimic.utils.dataset import SequenceDataset

        file: Any
        with h5py.File(path, "r") as file:
            (key,) = file["data/demo_0/obs"]
        with redirect_stdout(sys.stderr):
            sequences = SequenceDataset(
                str(path),
                obs_keys=(key,),
                dataset_keys=("actions", "rewards"),
                seq_length=length,
                pad_seq_length=False,
                hdf5_cache_mode="low_dim" if key == "state" else None,
            )

        def draw() -> Mapping[str, Any]:
            found = [sequences[int(number)] for number in rng.integers(0, len(sequences), count)]
            return {
                "observations": np.stack([one["obs"][key] for one in found]),
                "next_observations": np.stack([one["next_obs"][key] for one in found]),
                "actions": np.stack([one["actions"] for one in found]),
                "rewards": np.stack([one["rewards"] for one in found]),
            }

        return draw
