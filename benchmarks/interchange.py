"""Speed of reading, importing and exporting the files of other programs, beside the loaders of their users."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import tables
from benchmarks.environments import Side
from benchmarks.errors import BenchmarkError
from benchmarks.loaders import FEW_ROWS, LENGTHS, bytes_of
from benchmarks.processes import call_worker, settle
from benchmarks.progress import Progress
from benchmarks.texts import digits


@dataclass(frozen=True, slots=True)
class Case:
    """A file of episodes.

    Attributes:
        format: the name of the format.
        loader: what users of the format read it with.
        size: the number of episodes.
        kind: "vectors", "frames", "jpeg" for frames that are JPEG, or "encoded" for those that stay so.
        rival: the library that has the loader, in an interpreter of its own; None if ours has it.
        is_exported: whether we can write the format, otherwise the library does.
    """

    format: str
    loader: str
    size: int
    kind: str = "vectors"
    rival: str | None = None
    is_exported: bool = True

    @property
    def name(self) -> str:
        """Return the name in the stored results."""
        return f"{self.format}/{self.kind}"


CASES = (
    Case("d4rl", "h5py", 150),
    Case("robomimic", "h5py", 150),
    Case("maniskill", "h5py", 150),
    Case("d3rlpy", "d3rlpy", 150, rival="d3rlpy"),
    Case("tianshou", "Tianshou", 150, rival="tianshou", is_exported=False),
    Case("torchrl", "TorchRL", 150, rival="torchrl", is_exported=False),
    Case("imitation", "imitation", 150, rival="imitation"),
    Case("rllib", "json, NumPy", 20),
    Case("rlds", "TFDS", 60, rival="tfds"),
    Case("lerobot", "LeRobot", 150, rival="lerobot"),
    Case("parquet", "PyArrow", 150),
    Case("csv", "pandas", 30),
    Case("rlds", "TFDS", 20, "frames", "tfds"),
    Case("lerobot", "LeRobot", 20, "frames", "lerobot"),
    Case("rlds", "TFDS", 20, "jpeg", "tfds"),
    Case("rlds", "TFDS", 20, "encoded", "tfds"),
    Case("lerobot", "LeRobot", 20, "jpeg", "lerobot"),
    Case("lerobot", "LeRobot", 20, "encoded", "lerobot"),
)
RIVALS = tuple(dict.fromkeys(case.rival for case in CASES if case.rival))
_KINDS = {"vectors": "", "frames": ", frames", "jpeg": ", JPEG", "encoded": ", JPEG encoded"}
OPERATIONS = ("read", "loader", "import", "export")
_FILES = {"d4rl": "file.hdf5", "robomimic": "file.hdf5", "d3rlpy": "file.hdf5", "tianshou": "file.hdf5"}

#: By case: MB of values, MB of the file, the MB/s of the operations, and the peak memory of importing in MB.
Figures = Mapping[Case, Mapping[str, float]]


def measure(
    ours: Side, rivals: Mapping[str, Path], scratch: Path | None, repeat: int, quick: bool, progress: Progress
) -> Figures:
    """Return the best of the repeats; the operations take turns, each time in a fresh process.

    Raises:
        BenchmarkError: a loader has read other values.
    """
    cases = [case for case in CASES if case.is_exported or case.rival in rivals]
    progress.expect(repeat * len(cases))
    found: dict[Case, Mapping[str, float]] = {}
    for case in cases:
        with TemporaryDirectory(prefix="minari-benchmarks-", dir=scratch) as directory:
            found[case] = _Measurement(case, ours, rivals, Path(directory), quick).run(repeat, progress)
    return found


class _Measurement:
    """The operations on one file."""

    def __init__(self, case: Case, ours: Side, rivals: Mapping[str, Path], directory: Path, quick: bool) -> None:
        self.case = case
        self.ours = ours.python
        self.loader = rivals.get(case.rival) if case.rival else ours.python
        self.size = 2 if quick else case.size
        self.directory = directory
        self.path = directory / _FILES.get(case.format, "files")

    def run(self, repeat: int, progress: Progress) -> dict[str, float]:
        """Return the best figures."""
        self._make()
        megabytes = bytes_of(self.case.kind, self.size) / 1e6
        seconds: dict[str, float] = {}
        peak = math.inf
        for turn in range(repeat):
            progress.begin(self.case.name, "ours", turn + 1, repeat)
            for name, answer in self._turn().items():
                seconds[name] = min(answer["seconds"], seconds.get(name, math.inf))
                peak = min(peak, answer["peak"]) if answer.get("peak") is not None else peak
            progress.end(
                f"{self.case.name}: {', '.join(f'{k} {digits(megabytes / v)} MB/s' for k, v in seconds.items())}"
            )
        figures = {"values": megabytes, "file": _size(self.path) / 1e6}
        figures |= {name: megabytes / spent for name, spent in seconds.items()}
        return figures if math.isinf(peak) else {**figures, "peak": peak / 1e6}

    def _make(self) -> None:
        root = self.directory / "source"
        root.mkdir()
        if self.case.is_exported:
            self._convert("store", root, self.path)
            self._convert("export", root, self.path)
        elif self.loader is not None:
            arguments = {"format": self.case.format, "kind": self.case.kind, "size": self.size}
            call_worker(self.loader, "make_foreign", {**arguments, "path": str(self.path)})

    def _turn(self) -> dict[str, dict[str, Any]]:
        steps = self.size * LENGTHS[self.case.kind]
        with TemporaryDirectory(dir=self.directory) as directory:
            empty = Path(directory, "root")
            empty.mkdir()
            answers = {"read": self._convert("read", empty, self.path)}
            if self.loader is not None:
                settle()
                arguments = {"format": self.case.format, "path": str(self.path)}
                answers["loader"] = call_worker(self.loader, "load_foreign", arguments)
                self._compare(answers["read"], answers["loader"], steps)
                answers["loader"]["seconds"] *= steps / answers["loader"]["steps"]
            answers["import"] = self._convert("import", empty, self.path)
            if self.case.is_exported:
                answers["export"] = self._convert("export", self.directory / "source", Path(directory, self.path.name))
        if answers["import"]["steps"] != steps:
            raise BenchmarkError(f"{answers['import']['steps']} steps of {self.case.name} were imported, not {steps}.")
        return answers

    def _compare(self, ours: Mapping[str, Any], theirs: Mapping[str, Any], steps: int) -> None:
        """Check that all steps were read, by both if the loader is not one of single rows, with the same rewards."""
        few = min(FEW_ROWS, steps) if self.case.format == "lerobot" else steps
        same = few < steps or math.isclose(ours["rewards"], theirs["rewards"], rel_tol=1e-5)
        if (ours["steps"], theirs["steps"]) != (steps, few) or not same:
            raise BenchmarkError(f"The values of {self.case.name} differ: {ours} here and {theirs} in the loader.")

    def _convert(self, operation: str, root: Path, path: Path) -> dict[str, Any]:
        settle()
        arguments = {"operation": operation, "root": str(root), "path": str(path), "format": self.case.format}
        return call_worker(self.ours, "convert", {**arguments, "kind": self.case.kind, "size": self.size})


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def as_json(figures: Figures, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of `interchange.json`; MB and MB/s."""
    return {**facts, "interchange": {case.name: dict(found) for case, found in figures.items()}}


def from_json(content: Mapping[str, Any]) -> Figures:
    """Return the results stored in the content of `interchange.json`."""
    stored = content["interchange"]
    return {case: stored[case.name] for case in CASES if case.name in stored}


def page(figures: Figures, facts: Mapping[str, Any]) -> str:
    """Return the page `interchange.md`."""
    header = ("format", "values", "file", "`read`", "its loader", "relative", "import", "export", "peak of import")
    rows = [_row(case, found) for case, found in figures.items()]
    repeat = facts["settings"]["repeat"]
    note = (
        f"MB/s of values, whatever the size of the file; the minimum of the times of {repeat} runs, in turns and in "
        "fresh processes, with files in the page cache. Vectors are episodes of 1,000 steps with 17 "
        "observations and 6 actions of float32, frames episodes of 100 steps with 84×84×3 uint8, stored as "
        "PNG or JPEG; with JPEG encoded, `images='encoded'` keeps them as they are, which the loader decodes. `read` "
        "is a loop over the episodes of "
        "`minari.interchange.read`, and the loader is what users of the format read the same file with, until all "
        "values are in memory: h5py with all arrays of the file or of each group, cut with NumPy; `ReplayBuffer.load`, "
        "`load_hdf5` and `loads` of d3rlpy, Tianshou and TorchRL; `serialize.load` of imitation; `json.loads` and "
        "NumPy; `builder_from_directory` of TFDS with all steps of an episode in one batch of its graph; the first "
        f"{FEW_ROWS:,} items of `LeRobotDataset`; `read_table` of PyArrow and `read_csv` of pandas. Import makes a "
        "HDF5 dataset, flushed to disk; its peak is the resident memory minus what was resident before."
    )
    if facts.get("load") is not None:
        note += (
            f" The load average of the machine was {facts['load']:.1f} when this began: other programs were running, "
            "and figures vary with them."
        )
    parts = [tables.table(header, rows), note, *_left_out(figures), tables.about(facts)]
    return "\n\n".join(parts) + "\n"


def _row(case: Case, found: Mapping[str, float]) -> list[str]:
    def speed(name: str) -> str:
        return digits(found[name]) if name in found else "–"

    relative = f"{digits(found['read'] / found['loader'])} ×" if "loader" in found else "–"
    return [
        f"`{case.format}`{_KINDS[case.kind]}",
        *(f"{digits(found[name])} MB" for name in ("values", "file")),
        speed("read"),
        f"{case.loader} {speed('loader')}",
        relative,
        speed("import"),
        speed("export"),
        f"{digits(found['peak'])} MB" if "peak" in found else "–",
    ]


def _left_out(figures: Figures) -> list[str]:
    """Return which formats and libraries were not measured."""
    absent = dict.fromkeys(case.loader for case in CASES if "loader" not in figures.get(case, {}))
    lines = [
        "`rl_unplugged`, `og_marl`, `crowdplay` and `sb3` are left out: there is nothing to write such files with."
    ]
    if absent:
        lines.append(f"Not installed, and left out: {', '.join(absent)}.")
    return [" ".join(lines)]
