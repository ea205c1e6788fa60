"""Peak memory of operations on large datasets."""

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
    """Peak memory of one case.

    Attributes:
        case: The operation.
        peak: Peak resident memory in bytes, minus what was resident after the imports.
        through: Bytes read or written by the operation.
    """

    case: Case
    peak: int
    through: int

    @property
    def within_limit(self) -> bool:
        """True if the peak stayed below the limit of the case."""
        return self.peak < self.case.limit


def measure(ours: Side, scratch: Path | None, quick: bool, progress: Progress) -> list[Held]:
    """Measure every case, each in a fresh process.

    Raises:
        BenchmarkError: The system does not report peak memory.
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
    with TemporaryDirectory(prefix="minari-benchmarks-", dir=scratch) as directory:
        data, written = Path(directory, "data"), Path(directory, "written")
        data.mkdir()
        written.mkdir()
        size = case.quick if quick else case.size
        arguments = {"name": case.name, "size": size, "data": str(data)}
        if case.make is not None:
            call_worker(ours.python, "make_large", {**arguments, "scratch": str(data)})
        answer = call_worker(ours.python, "peak", {**arguments, "scratch": str(written)})
        return Held(case, answer["peak"], answer["through"])


def as_json(held: Sequence[Held], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of `memory.json`; sizes in bytes."""
    cases = [
        {
            "name": each.case.name,
            "title": each.case.title,
            "peak": each.peak,
            "through": each.through,
        }
        for each in held
    ]
    return {**facts, "memory": cases}


def page(held: Sequence[Held], facts: Mapping[str, Any]) -> str:
    """Return the page `memory.md`."""
    rows = [[each.case.title, _megabytes(each.through), _megabytes(each.peak)] for each in held]
    header = ("operation", "read or written", "peak memory")
    note = (
        "Peak resident memory minus what is resident after the imports; each operation runs in a fresh process. "
        "Pages of a mapped file count as resident. Batches of 256 transitions of 84×84×3 frames are drawn; what counts "
        "for them is anonymous memory, of eight processes added up, as mapped pages belong to the page cache, which "
        "all processes share and the system takes back when it needs memory."
    )
    return "\n\n".join([tables.table(header, rows), note, tables.about(facts)]) + "\n"


def from_json(content: Mapping[str, Any]) -> list[Held]:
    """Return the results stored in the content of `memory.json`."""
    cases = {case.name: case for case in CASES}
    return [Held(cases[stored["name"]], stored["peak"], stored["through"]) for stored in content["memory"]]


def missed(held: Sequence[Held]) -> list[str]:
    """Return a line for each case that exceeds its limit."""
    return [
        f"{each.case.name}: expected a peak below {_megabytes(each.case.limit)}, measured {_megabytes(each.peak)}"
        for each in held
        if not each.within_limit
    ]


def _megabytes(size: int) -> str:
    return f"{digits(size / 1e6)} MB"
