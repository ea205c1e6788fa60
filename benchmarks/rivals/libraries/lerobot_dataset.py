"""Datasets of LeRobot."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from benchmarks.rivals.rival import FINALS, FLOAT32, PIXELS, Content, Draw, Rival, Starts
from benchmarks.rivals.source import Source


_ID = "benchmarks/rivals"
_FPS = 50
_STORED = {
    "actions": "action",
    "rewards": "next.reward",
    "terminations": "next.terminated",
    "truncations": "next.truncated",
}


class LeRobot(Rival):
    """Tables of frames, with images as PNG."""

    NAME = "lerobot"
    TITLE = "LeRobot"
    NOTE = (
        "`add_frame` and `save_episode`, with columns for the reward and both flags, images as PNG; the table is read "
        "as a whole, batches by items with `delta_timestamps`."
    )
    REQUIREMENTS = ("lerobot==0.4.4",)
    ENVIRONMENT = "lerobot"
    # The values are stored as float64, and read as float32 by the formats of NumPy and of PyTorch.
    LOSES = frozenset({FINALS, FLOAT32})
    IMAGES: ClassVar[str] = "image"

    def prepare(self) -> None:
        from lerobot.datasets.lerobot_dataset import LeRobotDataset  # noqa: F401

    def write(self, source: Source, path: Path) -> None:
        from lerobot.datasets.lerobot_dataset import LeRobotDataset

        key = "observation.image" if source.has_frames else "observation.state"
        shape = source.observations.shape[1:]
        names = {"names": ["height", "width", "channels"]} if source.has_frames else {"names": None}
        dtype = self.IMAGES if source.has_frames else source.observations.dtype.name
        features: dict[str, Any] = {key: {"dtype": dtype, "shape": shape, **names}}
        for field, stored in _STORED.items():
            values = getattr(source, field)
            features[stored] = {"dtype": values.dtype.name, "shape": values.shape[1:] or (1,), "names": None}
        dataset = LeRobotDataset.create(
            _ID, _FPS, features, root=path / "dataset", use_videos=self.IMAGES == "video", video_backend="pyav"
        )
        for episode in source.episodes():
            for step in range(len(episode.rewards)):
                columns = {stored: np.atleast_1d(getattr(episode, field)[step]) for field, stored in _STORED.items()}
                dataset.add_frame({key: episode.observations[step], "task": "none", **columns})
            dataset.save_episode()
        dataset.finalize()

    def open(self, path: Path) -> Path:
        return path / "dataset"

    def read_all(self, opened: Path) -> Content:
        dataset = self._load(opened)
        table = dataset.hf_dataset.with_format("numpy")[:]
        found = {field: np.asarray(table[stored]) for field, stored in _STORED.items()}
        key = _observation(dataset)
        if key in table:
            found["observations"] = np.asarray(table[key])
        else:  # a video, whose frames only the items have
            frames = [dataset[number][key] for number in range(len(dataset))]
            found["observations"] = _pixels(np.stack([np.asarray(frame) for frame in frames]))
        lengths = np.unique(np.asarray(table["episode_index"]), return_counts=True)[1]
        return {**found, "lengths": lengths}

    def transitions(self, opened: Path, count: int, rng: np.random.Generator) -> Draw:
        dataset = self._load(opened, 1)
        key = _observation(dataset)

        def draw() -> Mapping[str, Any]:
            batch = _stacked([dataset[int(number)] for number in rng.integers(0, len(dataset), count)], key)
            observations = batch.pop("observations")
            return {**batch, "observations": observations[:, 0], "next_observations": observations[:, 1]}

        return draw

    def windows(self, opened: Path, count: int, length: int, rng: np.random.Generator) -> Draw:
        dataset = self._load(opened, length - 1, every=True)
        key = _observation(dataset)
        lengths = np.unique(np.asarray(dataset.hf_dataset.with_format("numpy")["episode_index"][:]), return_counts=True)
        starts = Starts(lengths[1], length)

        def draw() -> Mapping[str, Any]:
            return _stacked([dataset[int(number)] for number in starts.draw(count, rng)[0]], key)

        return draw

    def _load(self, path: Path, further: int = 0, every: bool = False) -> Any:
        """Return the dataset, whose items have some further frames, or further values of every column."""
        from lerobot.datasets.lerobot_dataset import LeRobotDataset

        deltas = None
        if further or every:
            meta = LeRobotDataset(_ID, root=path, video_backend="pyav").meta
            names = [_observation_of(meta.features), *(_STORED.values() if every else [])]
            deltas = {name: [step / _FPS for step in range(further + 1)] for name in names}
        return LeRobotDataset(_ID, root=path, video_backend="pyav", delta_timestamps=deltas)


class LeRobotVideo(LeRobot):
    """The same with videos."""

    NAME = "lerobot-video"
    TITLE = "LeRobot, video"
    NOTE = "The same with videos by AV1, its default."
    KINDS = ("frames",)
    FRAMES_LOSE = frozenset({PIXELS})
    IMAGES: ClassVar[str] = "video"


def _observation(dataset: Any) -> str:
    return _observation_of(dataset.meta.features)


def _observation_of(features: Mapping[str, Any]) -> str:
    return next(name for name in features if name.startswith("observation."))


def _stacked(items: list[Any], key: str) -> dict[str, Any]:
    found = {field: np.stack([np.asarray(item[stored]) for item in items]) for field, stored in _STORED.items()}
    observations = np.stack([np.asarray(item[key]) for item in items])
    return {**found, "observations": _pixels(observations) if key == "observation.image" else observations}


def _pixels(frames: Any) -> Any:
    """Return bytes of the numbers from 0 to 1 that LeRobot gives, which is not part of what it loses."""
    return np.round(frames * 255).astype(np.uint8)
