"""How much memory is resident at most in what could hold too much."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import tables
from benchmarks.environments import Side
from benchmarks.errors import BenchmarkError
from benchmarks.processes import call_worker
from benchmarks.progress import Progress
from benchmarks.texts import digits
from benchmarks.workloads.holding import CASES, Case


@dataclass(frozen=True, slots=True)
class Held:
    """What a case held.

    Attributes:
        case: What was done.
        peak: Bytes resident at most, beyond what was resident after the imports.
        through: Bytes that were read or written meanwhile.
    """

    case: Case
    peak: int
    through: int

    @property
    def reached(self) -> bool:
        """Whether it stayed under its limit."""
        return self.peak < self.case.limit


def measure(ours: Side, scratch: Path | None, quick: bool, progress: Progress) -> list[Held]:
    """Every case, each in a process of its own.

    Raises:
        BenchmarkError: The system does not tell.
    """
    if not Path("/proc/self/clear_refs").exists():
        raise BenchmarkError("Peak memory is read from /proc, which this system does not have; run it on Linux.")
    progress.expect(len(CASES))
    held = []
    for case in CASES:
        progress.begin(case.name, "ours", 1, 1)
        held.append(_hold(ours, case, quick, scratch))
        progress.end(f"{case.name}: {_megabytes(held[-1].peak)} of {_megabytes(held[-1].through)}")
    return held


def _hold(ours: Side, case: Case, quick: bool, scratch: Path | None) -> Held:
    with TemporaryDirectory(prefix="minari-benchmarks-", dir=scratch) as folder:
        data, written = Path(folder, "data"), Path(folder, "written")
        data.mkdir()
        written.mkdir()
        size = case.quick if quick else case.size
        arguments = {"name": case.name, "size": size, "data": str(data)}
        if case.make is not None:
            call_worker(ours.python, "make_large", {**arguments, "scratch": str(data)})
        answer = call_worker(ours.python, "peak", {**arguments, "scratch": str(written)})
        return Held(case, answer["peak"], answer["through"])


def as_json(held: Sequence[Held], facts: Mapping[str, Any]) -> dict[str, Any]:
    """All of it, for `memory.json`; sizes in bytes."""
    cases = [
        {
            "name": each.case.name,
            "title": each.case.title,
            "peak": each.peak,
            "through": each.through,
            "limit": each.case.limit,
            "reached": each.reached,
        }
        for each in held
    ]
    return {**facts, "memory": cases}


def page(held: Sequence[Held], facts: Mapping[str, Any]) -> str:
    """The page `memory.md`."""
    rows = [
        [
            each.case.title,
            _megabytes(each.through),
            _megabytes(each.peak),
            _megabytes(each.case.limit),
            "yes" if each.reached else "**no**",
        ]
        for each in held
    ]
    header = ("", "read or written", "resident at most", "asked: under", "reached")
    note = (
        "Resident memory beyond that after the imports, at its highest; each in a process of its own. "
        "Pages of a mapped file count while they are mapped."
    )
    return "\n\n".join([tables.table(header, rows), note, tables.about(facts)]) + "\n"


def _megabytes(size: int) -> str:
    return f"{digits(size / 1e6)} MB"
