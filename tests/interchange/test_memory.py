"""Memory of conversions: about 1 GB goes through every format, both ways, in bounded memory."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import minari
from interchange.large_files import FOREIGN, measured, megabytes


@dataclass(frozen=True)
class Case:
    """A file of a format, written by our export, or by hand in the layout of its library.

    Attributes:
        name: of the format, or that of the layout in :data:`~interchange.large_files.FOREIGN`.
        kind: "vectors" or "frames".
        episodes: their number; fewer where the format is slow, or spends many bytes on a value.
        options: of the import.
        written: options of the export.
        most: MB of memory.
    """

    name: str
    kind: str = "vectors"
    episodes: int = 3500
    options: dict[str, Any] = field(default_factory=dict)
    written: dict[str, Any] = field(default_factory=dict)
    most: float = 300

    @property
    def id(self) -> str:
        """The name in the report of the tests."""
        return "-".join([self.name, self.kind, *self.written.values()])


FRAMES = 480
CASES = (
    Case("d4rl"),
    Case("robomimic"),
    Case("maniskill"),
    Case("d3rlpy"),
    Case("tianshou"),
    Case("tianshou-gzip", episodes=1000),
    Case("torchrl"),
    Case("imitation"),
    Case("imitation-npz"),
    Case("rllib", episodes=350),
    Case("rlds"),
    Case("rlds", "frames", FRAMES),
    Case("rl_unplugged"),
    Case("lerobot"),
    Case("lerobot", "frames", FRAMES),
    Case("lerobot", "frames", FRAMES, written={"images": "video"}),
    Case("parquet"),
    Case("parquet", "frames", FRAMES),
    Case("parquet-groups", options={"final_observation": "repeat"}, most=450),  # of a million rows: pages of 72 columns
    Case("csv", episodes=350),
    Case("og_marl", options={"final_observation": "repeat"}, episodes=1000),
    Case("crowdplay", "frames", 150, options={"trust_pickles": True}),
)


@pytest.mark.soak
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_large_files_go_through_in_bounded_memory(case: Case, tmp_path: Path) -> None:
    path = tmp_path / ("file.csv" if case.name == "csv" else "file")
    if case.name in FOREIGN:
        written = measured("write", case.name, case.kind, case.episodes, path)
    else:
        measured("store", case.name, case.kind, case.episodes, path)
        written = measured("export", case.name, case.kind, case.episodes, path, **case.written)
        assert written.peak < case.most
        minari.delete_dataset("large/source-v0")
    try:
        read = measured("import", case.name, case.kind, case.episodes, path, **case.options)
        minari.delete_dataset("large/copy-v0")
    finally:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert max(megabytes(case.kind, case.episodes), written.size) > 250
    assert read.steps > 0
    assert read.peak < case.most
    print(f"{case.id}: {written.size:.0f} MB, export {written.peak:.0f} MB, import {read.peak:.0f} MB")
