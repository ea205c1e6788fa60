"""Time for a batch of transitions or windows, beside NumPy and other libraries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import tables
from benchmarks.environments import Side, rival_interpreters
from benchmarks.processes import call_worker, settle
from benchmarks.progress import Progress
from benchmarks.samplers import BATCH, LENGTH, WINDOWS
from benchmarks.texts import digits, figure


FORMATS = {"arrow": "Arrow", "parquet": "Parquet", "zarr": "Zarr"}


@dataclass(frozen=True, slots=True)
class Case:
    """Batches to be drawn.

    Attributes:
        data: the episodes, "vectors" or "frames".
        kind: "transitions" or "windows".
        dataset: the name of the dataset: "plain", "compressed", or the format if it is not HDF5.
        cache: the cache of decoded rows, None for none.
    """

    data: str
    kind: str
    dataset: str = "plain"
    cache: str | None = None

    @property
    def name(self) -> str:
        """Return the name in the stored results."""
        return "/".join([self.data, self.dataset if self.cache is None else "cached", self.kind])

    @property
    def title(self) -> str:
        """Return the name in the table."""
        what = f"{BATCH} transitions" if self.kind == "transitions" else f"{WINDOWS} windows of {LENGTH}"
        if self.dataset in FORMATS:
            return f"{self.data}, {FORMATS[self.dataset]}, {what}"
        stored = "" if self.data == "vectors" else f", {self.dataset if self.cache is None else 'compressed, cached'}"
        return f"{self.data}{stored}, {what}"


CASES = (
    Case("vectors", "transitions"),
    Case("vectors", "windows"),
    *(Case("vectors", kind, dataset) for dataset in FORMATS for kind in ("transitions", "windows")),
    Case("frames", "transitions"),
    Case("frames", "windows"),
    Case("frames", "transitions", "compressed"),
    Case("frames", "windows", "compressed"),
    Case("frames", "transitions", "compressed", "memory"),
    Case("frames", "windows", "compressed", "memory"),
)
#: Episodes of each kind, and for a try.
EPISODES = {"vectors": (1000, 10), "frames": (250, 4)}
RIVALS = ("torchrl", "d3rlpy", "tianshou")
#: How the sides are called in the table and the chart, in their order.
TITLES = {
    "minari": "Minari",
    "torchrl": "TorchRL",
    "torchrl, 1 thread": "TorchRL, 1 thread",
    "d3rlpy": "d3rlpy",
    "tianshou": "Tianshou",
    "released": "loop over 0.5.4",
}

#: Seconds by case and side; None where a library has no such batches.
Figures = Mapping[Case, Mapping[str, float | None]]


def interpreters(given: Sequence[str]) -> dict[str, Path]:
    """Return the interpreters of rivals, given as ``NAME=PYTHON``; TorchRL draws with one thread as well."""
    found = rival_interpreters(given, RIVALS)
    if "torchrl" in found:
        found["torchrl, 1 thread"] = found["torchrl"]
    return found


def measure(
    ours: Side,
    released: Path | None,
    rivals: Mapping[str, Path],
    scratch: Path | None,
    repeat: int,
    quick: bool,
    progress: Progress,
) -> Figures:
    """Return the least of the repeats; the sides take turns, each time in a fresh process."""
    found: dict[Case, dict[str, float | None]] = {case: {} for case in CASES}
    progress.expect(repeat * sum(len(_sides(case, released, rivals)) for case in CASES))
    for data in EPISODES:
        with TemporaryDirectory(prefix="minari-benchmarks-", dir=scratch) as directory:
            call_worker(
                ours.python,
                "make_samples",
                {"data": directory, "kind": data, "size": EPISODES[data][1 if quick else 0]},
            )
            for turn in range(repeat):
                for case in CASES:
                    if case.data != data:
                        continue
                    for side in _sides(case, released, rivals):
                        progress.begin(case.name, side, turn + 1, repeat)
                        seconds = _seconds(ours, released, rivals, case, side, directory)
                        known = found[case].get(side)
                        found[case][side] = seconds if known is None or seconds is None else min(known, seconds)
                        progress.end(f"{case.name}: {side} {'none' if seconds is None else figure(seconds)}")
    return found


def _sides(case: Case, released: Path | None, rivals: Mapping[str, Path]) -> list[str]:
    """Return who draws such batches; rivals have no formats, and do not read compressed data in place."""
    if case.dataset in FORMATS:
        return ["numpy", "minari"]
    if case.dataset == "compressed":
        if case.cache is not None:
            return ["numpy", "minari"]
        return ["decoding", "minari", *(["released"] if released else [])]
    return ["numpy", "minari", *(["released"] if released else []), *rivals]


def _seconds(
    ours: Side, released: Path | None, rivals: Mapping[str, Path], case: Case, side: str, directory: str
) -> float | None:
    options: dict[str, Any] = {"dataset_id": f"samples/{case.dataset}-v0", "cache": case.cache}
    python = rivals.get(side, ours.python)
    if side == "released" and released is not None:
        python = released
    name = side
    if side == "torchrl, 1 thread":
        name, options["threads"] = "torchrl", 1
    settle()
    answer = call_worker(python, "sample", {"side": name, "data": directory, "kind": case.kind, "options": options})
    seconds: float | None = answer["seconds"]
    return seconds


def as_json(figures: Figures, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of `sampling.json`; seconds."""
    return {**facts, "sampling": {case.name: dict(found) for case, found in figures.items()}}


def from_json(content: Mapping[str, Any]) -> Figures:
    """Return the results stored in the content of `sampling.json`, which may be older than some of the cases."""
    return {case: content["sampling"][case.name] for case in CASES if case.name in content["sampling"]}


def page(figures: Figures, facts: Mapping[str, Any]) -> str:
    """Return the page `sampling.md`."""
    sides = [side for side in TITLES if side != "minari" and any(side in found for found in figures.values())]
    rows = []
    for case, found in figures.items():
        ratio = over_floor(found).get("minari")
        rows.append(
            [
                case.title,
                _time(found.get("minari")),
                _time(_floor(found)),
                "–" if ratio is None else digits(ratio),
                *(_time(found.get(side)) for side in sides),
            ]
        )
    header = ("batch", "Minari", "floor", "relative to it", *(TITLES[side] for side in sides))
    note = (
        f"Least of {facts['settings']['repeat']} medians; the libraries take turns, each time in a fresh process. The "
        "floor is fancy indexing of arrays in memory with NumPy, and, for compressed frames, decompressing the chunks "
        "that a batch touches in all cores. Vectors are 200,000 steps of 39 float64 and 28 float32, frames 50,000 of "
        "84×84×3 uint8. Datasets are HDF5 files unless another format is named. Everything is warm. Minari and TorchRL "
        "read from memory-mapped files, the others hold all data in memory."
    )
    return "\n\n".join([tables.table(header, rows), note, tables.about(facts)]) + "\n"


def over_floor(found: Mapping[str, float | None]) -> dict[str, float]:
    """Return the times of the sides that were measured, relative to the floor, in the order of the table."""
    floor = _floor(found)
    if not floor:
        return {}
    return {side: seconds / floor for side in TITLES if (seconds := found.get(side)) is not None}


def _floor(found: Mapping[str, float | None]) -> float | None:
    return found.get("numpy", found.get("decoding"))


def _time(seconds: float | None) -> str:
    return "–" if seconds is None else figure(seconds)
