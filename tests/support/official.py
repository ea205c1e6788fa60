"""The datasets that official releases wrote, and what their environments really returned."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from support.values import stack_steps


#: How many datasets of the collection were recorded step by step, and how many were combined from others.
RECORDED_DATASETS, COMBINED_DATASETS = 78, 5


def fixtures_directory() -> Path | None:
    """The directory with the recorded datasets, or None where it is absent."""
    default = Path(__file__).resolve().parents[3] / "shared" / "fixtures"
    directory = Path(os.environ.get("MINARI_FIXTURES") or default)
    return directory if directory.is_dir() else None


@dataclass(frozen=True, slots=True)
class OfficialDataset:
    """One dataset of the collection, where it lies untouched."""

    release: str
    dataset_id: str
    root: Path

    def __str__(self) -> str:
        return f"{self.release}-{self.dataset_id}"

    @property
    def data_path(self) -> Path:
        return self.root.joinpath(*self.dataset_id.split("/")) / "data"

    @property
    def name(self) -> str:
        """The name that all releases share: the first ones could not have namespaces."""
        return self.dataset_id.replace("/", "-")

    @property
    def version(self) -> tuple[int, ...]:
        return tuple(int(part) for part in self.release.split("."))

    @property
    def raw_metadata(self) -> dict[str, Any] | None:
        """The content of ``metadata.json``; None for the releases without it."""
        file = self.data_path / "metadata.json"
        return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None

    @property
    def data_format(self) -> str:
        raw = self.raw_metadata
        return "hdf5" if raw is None else raw["data_format"]

    @property
    def combines(self) -> list[str]:
        """The ids of its parts, when it is a combined dataset."""
        raw = self.raw_metadata
        return [] if raw is None else raw.get("combined_datasets", [])

    def truth(self) -> list[dict[str, Any]]:
        """Return the values of the environment as columns, one dict per episode."""
        if self.combines:
            return [episode for part in self.combines for episode in self.part(part).truth()]
        text = (self.root / f"{self.dataset_id.replace('/', '__')}.expected.json").read_text(encoding="utf-8")
        record = json.loads(text)
        return [_columns(episode, record["record_infos"]) for episode in record["episodes"]]

    def part(self, dataset_id: str) -> OfficialDataset:
        return OfficialDataset(self.release, dataset_id, self.root)


def official_releases() -> list[Path]:
    """The datasets root of each release."""
    directory = fixtures_directory()
    return [] if directory is None else sorted(root for root in (directory / "official").iterdir() if root.is_dir())


def official_datasets() -> list[OfficialDataset]:
    """Every dataset of every release, found by its ``data`` directory."""
    return [
        OfficialDataset(root.name, data.parent.relative_to(root).as_posix(), root)
        for root in official_releases()
        for data in sorted(root.rglob("data"))
        if data.is_dir()
    ]


def _columns(episode: dict[str, Any], record_infos: bool) -> dict[str, Any]:
    """The recorded steps of an episode as columns; infos are empty where they were not recorded."""
    fields = ("observations", "actions", "rewards", "terminations", "truncations", "infos")
    columns = {field: stack_steps([_decoded(step) for step in episode[field]]) for field in fields}
    if not record_infos:
        columns["infos"] = {}
    return columns | {"seed": episode["seed"]}


def _decoded(value: Any) -> Any:
    """A value out of an ``.expected.json`` as the environment returned it."""
    if isinstance(value, list):
        return [_decoded(part) for part in value]
    if not isinstance(value, dict):
        return value
    if "array" in value:
        return np.array(value["array"], dtype=value["dtype"]).reshape(value["shape"])
    if "scalar" in value:
        return np.dtype(value["dtype"]).type(value["scalar"])
    if "tuple" in value:
        return tuple(_decoded(part) for part in value["tuple"])
    return {key: _decoded(part) for key, part in value.items()}


_POSITION = spaces.Box(-1, 1, (3,), np.float32)
_PICTURE = spaces.Box(0, 255, (40, 36, 3), np.uint8)

#: The spaces of the toy environments that the collection was recorded with: observations, actions.
TOY_SPACES: dict[str, tuple[spaces.Space[Any], spaces.Space[Any]]] = {
    "toy-dict-v0": (
        spaces.Dict(
            {
                "pos": _POSITION,
                "img": spaces.Box(0, 255, (4, 4, 3), np.uint8),
                "deep": spaces.Dict({"n": spaces.Discrete(5), "bits": spaces.MultiBinary(4)}),
            }
        ),
        spaces.Dict({"move": spaces.Discrete(3), "force": _POSITION}),
    ),
    "toy-tuple-v0": (
        spaces.Tuple(
            (
                spaces.Discrete(4, start=2),
                _POSITION,
                spaces.Tuple((spaces.MultiDiscrete([3, 4]), spaces.Box(-5, 5, (2, 2), np.float64))),
            )
        ),
        spaces.Tuple((spaces.Discrete(2), _POSITION)),
    ),
    "toy-simpledict-v0": (
        spaces.Dict({"pos": _POSITION, "deep": spaces.Dict({"n": spaces.Discrete(5)})}),
        spaces.Dict({"move": spaces.Discrete(3), "force": _POSITION}),
    ),
    "toy-simpletuple-v0": (
        spaces.Tuple((spaces.Discrete(4, start=2), _POSITION)),
        spaces.Tuple((spaces.Discrete(2), _POSITION)),
    ),
    "toy-text-v0": (spaces.Text(12), spaces.Discrete(3)),
    "toy-frames-v0": (_PICTURE, spaces.Discrete(3)),
    "toy-raw-v0": (_PICTURE, spaces.Discrete(3)),
    "toy-arrowdict-v0": (spaces.Dict({"pos": _POSITION, "n": spaces.Discrete(5)}), _POSITION),
    "toy-parquetdict-v0": (spaces.Dict({"pos": _POSITION, "n": spaces.Discrete(5)}), _POSITION),
}


def data_directories(fixtures: Path) -> list[Path]:
    """The ``data`` directories of all datasets of official releases, and of the real one."""
    return [path for part in ("official", "real") for path in (fixtures / part).rglob("data") if path.is_dir()]
