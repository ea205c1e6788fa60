"""Runs workloads: this release, the released package and the floor in turns."""

from __future__ import annotations

import math
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.environments import Side
from benchmarks.errors import BenchmarkError
from benchmarks.processes import call_worker, settle, time_program
from benchmarks.progress import Progress
from benchmarks.results import Result
from benchmarks.texts import figure
from benchmarks.workloads import DATA, Data, Job, Workload


#: Directories with at least this many entries are deleted only after all runs: file systems search for space
#: among recently deleted files, which would slow down the next measurement.
MANY = 100

FLOOR = "floor"
SIDES = ("ours", "released", FLOOR)


@dataclass(frozen=True, slots=True)
class Sample:
    """Time of one run, the value both sides must agree on, the time until the first episode, the bytes written."""

    seconds: float
    check: float | None = None
    opened: float | None = None
    written: int | None = None


class Runner:
    """Runs workloads in fresh processes.

    Args:
        ours: The side to measure; the floor is measured by the same interpreter.
        released: The side to compare it with.
        scratch: An empty directory on the disk to measure, owned by the runner.
        repeat: Number of runs for each workload and side.
        quick: True for small data.
        progress: Receives progress reports.
    """

    def __init__(self, ours: Side, released: Side, scratch: Path, repeat: int, quick: bool, progress: Progress) -> None:
        self._sides = {"ours": ours, "released": released, FLOOR: ours}
        self._scratch = scratch
        self._repeat = repeat
        self._quick = quick
        self._progress = progress

    def turns(self, workloads: Sequence[Workload]) -> int:
        """Return the number of processes to time."""
        return sum(self._repeats(workload) * len(SIDES) for workload in workloads)

    def run(self, workload: Workload) -> Result:
        """Run a workload.

        Raises:
            BenchmarkError: A process failed, or the sides do not agree on what they read or wrote.
        """
        data = {side: self._data(workload, side) for side in SIDES}
        commands = {side: self._command(workload, side, data[side]) for side in SIDES}
        samples: dict[str, list[Sample]] = {side: [] for side in SIDES}
        for turn in range(self._repeats(workload)):
            for side in SIDES:
                self._progress.begin(workload.name, side, turn + 1, self._repeats(workload))
                command = commands[side]
                if command is None:
                    sample = self._work(workload, side, data[side])
                else:
                    sample = self._time(command, data[side], first=turn == 0)
                samples[side].append(sample)
                self._progress.end(f"{workload.name}: {side} {figure(sample.seconds, workload.per)}")
        compare(workload, samples)
        ours, released, floor = (tuple(sample.seconds for sample in samples[side]) for side in SIDES)
        return Result(workload, ours, released, floor, _opening(samples), bytes_written(samples))

    def forget(self, upcoming: Sequence[Workload]) -> None:
        """Remove the datasets that none of these workloads reads."""
        needed = {workload.data for workload in upcoming}
        for each in DATA:
            if each.name not in needed:
                for maker in ("ours", "released"):
                    shutil.rmtree(self._scratch / f"{each.name}-{maker}", ignore_errors=True)

    def _repeats(self, workload: Workload) -> int:
        repeat = self._repeat if workload.repeats is None else min(self._repeat, workload.repeats)
        return repeat * (1 if self._quick else workload.turns)

    def _work(self, workload: Workload, side: str, data: Path) -> Sample:
        scratch = self._directory()
        settle()
        task = "floor" if side == FLOOR else "run"
        answer = call_worker(self._sides[side].python, task, self._arguments(workload, data, scratch))
        if sum(1 for _ in scratch.rglob("*")) < MANY:
            shutil.rmtree(scratch)
        return Sample(answer["seconds"], answer["check"], written=answer.get("bytes"))

    def _time(self, command: list[str], data: Path, first: bool) -> Sample:
        if first:
            time_program(command, data)  # brings the files into the page cache
        seconds, printed = time_program(command, data)
        numbers = _numbers(printed)
        if len(numbers) < 2:
            return Sample(seconds)
        return Sample(seconds, check=numbers[1], opened=numbers[0])

    def _command(self, workload: Workload, side: str, data: Path) -> list[str] | None:
        """Return the command line of a workload or floor; None if a worker runs it."""
        make = workload.floor.command if side == FLOOR else workload.command
        if make is None:
            return None
        program, *arguments = make(Job(self._size(workload), data, self._directory()))
        if program == "minari":
            return [str(self._sides[side].command_line), *arguments]
        return [str(self._sides[side].python), "-I", program, *arguments]

    def _data(self, workload: Workload, side: str) -> Path:
        """Return the root of the datasets that this side reads; create them if needed."""
        if workload.data is None:
            return self._directory()
        maker = "released" if workload.released_data or side == "released" else "ours"
        directory = self._scratch / f"{workload.data}-{maker}"
        if not directory.exists():
            self._progress.note(f"creating the data `{workload.data}` ({maker})")
            directory.mkdir()
            data = next(each for each in DATA if each.name == workload.data)
            call_worker(self._sides[maker].python, "make", self._arguments(data, directory, directory))
        return directory

    def _arguments(self, chosen: Workload | Data, data: Path, scratch: Path) -> dict[str, Any]:
        return {
            "name": chosen.name,
            "size": self._size(chosen),
            "data": str(data),
            "scratch": str(scratch),
        }

    def _size(self, chosen: Workload | Data) -> int:
        return chosen.quick if self._quick else chosen.size

    def _directory(self) -> Path:
        directory = self._scratch / uuid.uuid4().hex[:12]
        directory.mkdir()
        return directory


def _numbers(printed: str) -> list[float]:
    """Return the numbers that a program printed; empty if it printed text."""
    try:
        return [float(word) for word in printed.split()]
    except ValueError:
        return []


def _opening(samples: Mapping[str, Sequence[Sample]]) -> dict[str, float]:
    """Return the minimum time until the first episode was available, by side."""
    told = {side: [sample.opened for sample in each if sample.opened is not None] for side, each in samples.items()}
    return {side: min(each) for side, each in told.items() if each}


def bytes_written(samples: Mapping[str, Sequence[Sample]]) -> dict[str, int]:
    """Return the number of bytes written, by side, where the workload reports it."""
    told = {side: [sample.written for sample in each if sample.written is not None] for side, each in samples.items()}
    return {side: min(each) for side, each in told.items() if each}


def compare(workload: Workload, samples: Mapping[str, Sequence[Sample]]) -> None:
    """Raise unless all runs of both sides computed the same value."""
    found = [sample.check for side in ("ours", "released") for sample in samples[side]]
    known = [value for value in found if value is not None]
    if len(known) not in (0, len(found)):
        raise BenchmarkError(f"Some runs of {workload.name} gave no value to compare: {found}.")
    if known and not all(math.isclose(value, known[0], rel_tol=1e-9) for value in known):
        raise BenchmarkError(f"The runs of {workload.name} do not agree on what they read or wrote: {found}.")
