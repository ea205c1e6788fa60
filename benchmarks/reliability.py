"""Behavior under damage, hostile data, kills and concurrency: the harnesses of the test suite with chosen counts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import minari
from benchmarks import tables
from benchmarks.errors import BenchmarkError
from benchmarks.progress import Progress


TESTS = Path(__file__).resolve().parents[1] / "tests"
FAMILIES = {
    "hdf5": "HDF5",
    "arrow": "Arrow",
    "parquet": "Parquet",
    "zarr": "Zarr",
    "remote": "downloads from a remote",
}
FORMATS = ("hdf5", "arrow", "parquet", "zarr")
HOWS = {"threads": "in threads", "forked": "in forked processes", "spawned": "in spawned processes"}
_BAD = ("crash", "hang", "foreign", "memory", "wrong", "escape")


@dataclass(frozen=True, slots=True)
class Counts:
    """Numbers of attempts.

    Attributes:
        mutants: damaged or hostile datasets of each format.
        faults: failing system calls over all operations.
        flips: flipped bits in each format.
        reads: episodes read in each format and by each kind of reader.
    """

    mutants: int
    faults: int
    flips: int
    reads: int


@dataclass(slots=True)
class Figures:
    """Outcomes.

    Attributes:
        mutants: by format, the number of mutants for each outcome.
        flips: the same for flipped bits.
        faults: by kind of fault, the number of attempts and of broken promises.
        operations: number of combinations of operation and format.
        reads: by format and kind of reader: episodes read, wrong values, false reports of damage.
        problems: reports that say how to reproduce each failure.
    """

    mutants: dict[str, dict[str, int]] = field(default_factory=dict)
    flips: dict[str, dict[str, int]] = field(default_factory=dict)
    faults: dict[str, tuple[int, int]] = field(default_factory=dict)
    operations: int = 0
    reads: dict[str, dict[str, int]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def measure(counts: Counts, progress: Progress) -> Figures:
    """Run the harnesses.

    Raises:
        BenchmarkError: a requirement of the tests is not installed, or the system is not Linux.
    """
    if not sys.platform.startswith("linux"):
        raise BenchmarkError("The limits of the child processes need Linux; run this benchmark on Linux.")
    figures = Figures()
    progress.expect(2 * len(FAMILIES) + 1 + len(FORMATS) * len(HOWS))
    for kind, number, only in (("mutants", counts.mutants, ""), ("flips", counts.flips, "flip")):
        for family, title in FAMILIES.items():
            progress.begin(f"{kind} of {title}", "ours", 1, 1)
            verdicts = _mutants(family, number, only)
            getattr(figures, kind)[family] = dict(Counter(verdict.kind for verdict in verdicts))
            report = _of_the_tests("fuzz.verdicts").report(verdicts)
            figures.problems += [report] if report else []
            progress.end(f"{kind} of {title}: {number}")
    progress.begin("faults", "ours", 1, 1)
    _faults(counts.faults, figures)
    progress.end(f"faults: {counts.faults}")
    for data_format in FORMATS:
        for how in HOWS:
            progress.begin(f"reading {data_format} {HOWS[how]}", "ours", 1, 1)
            figures.reads[f"{data_format} {how}"] = _reads(data_format, how, counts.reads, figures)
            progress.end(f"reading {data_format} {HOWS[how]}: {counts.reads}")
    return figures


def _of_the_tests(name: str) -> Any:
    if str(TESTS) not in sys.path:
        sys.path.append(str(TESTS))
    try:
        return import_module(name)
    except ImportError as error:
        raise BenchmarkError(f'{error}: run pip install -e ".[testing]" in a checkout.') from error


def _mutants(family: str, number: int, only: str) -> list[Any]:
    campaign = _of_the_tests("fuzz.campaign")
    seeds = campaign.seeds_of(family, number)
    orders = [campaign.Order(share, only=only) for share in _shares(seeds)]
    return list(_at_once(campaign.run, orders))


def _faults(number: int, figures: Figures) -> None:
    campaign = _of_the_tests("kill.campaign")
    if campaign.missing():
        raise BenchmarkError(f"Faults need {campaign.missing()}.")
    processes = os.cpu_count() or 1
    verdicts = list(_at_once(campaign.run, [campaign.seeds(number, share, processes) for share in range(processes)]))
    tried, failed = Counter[str](), Counter[str]()
    for verdict in verdicts:
        kind = verdict.fault.partition(" at call")[0]
        tried[kind] += 1
        failed[kind] += bool(verdict.problem)
    figures.faults = {kind: (tried[kind], failed[kind]) for kind in sorted(tried)}
    figures.operations = len({verdict.operation for verdict in verdicts})
    report = campaign.report(verdicts)
    figures.problems += [report] if report else []


def _shares(seeds: Sequence[int]) -> list[Sequence[int]]:
    processes = min(os.cpu_count() or 1, max(1, len(seeds) // 50))
    return [seeds[share::processes] for share in range(processes)]


def _at_once(run: Any, orders: Iterable[Any]) -> Iterator[Any]:
    listed = list(orders)
    with ThreadPoolExecutor(len(listed)) as threads:
        for verdicts in threads.map(lambda order: list(run(order)), listed):
            yield from verdicts


def _reads(data_format: str, how: str, number: int, figures: Figures) -> dict[str, int]:
    paths = [str(TESTS), str(Path(minari.__file__).resolve().parents[1])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    with TemporaryDirectory(prefix="minari-benchmarks-", ignore_cleanup_errors=True) as directory:
        command = [sys.executable, "-W", "ignore", "-m", "support.beside", data_format, how, str(number), directory]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise BenchmarkError(f"Reading {data_format} concurrently with a writer failed: {done.stderr.strip()[-300:]}")
    seen = json.loads(done.stdout)
    if seen["first"]:
        figures.problems.append(f"{data_format} {how}: {seen['first']}")
    return {name: seen[name] for name in ("read", "wrong", "false")}


def as_json(figures: Figures, counts: Counts, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of `reliability.json`."""
    return {**facts, "counts": asdict(counts), **asdict(figures)}


def from_json(content: Mapping[str, Any]) -> Figures:
    """Return the results stored in the content of `reliability.json`."""
    faults = {kind: (tried, failed) for kind, (tried, failed) in content["faults"].items()}
    return Figures(
        content["mutants"], content["flips"], faults, content["operations"], content["reads"], content["problems"]
    )


def page(figures: Figures, facts: Mapping[str, Any]) -> str:
    """Return the page `reliability.md`."""
    header = ("input", "attempts", "correct values", "rejected", "other values¹", "failures", "kinds of failure")
    rows = [
        *(_outcomes(f"damaged or hostile: {FAMILIES[name]}", kinds) for name, kinds in figures.mutants.items()),
        *(_outcomes(f"one flipped bit: {FAMILIES[name]}", kinds) for name, kinds in figures.flips.items()),
    ]
    note = (
        "¹ Read without `verify_checksums`, or with well-formed but false metadata about the values. *Correct values* "
        "are returned when the change affects no value, for example in padding or in derived files that are rebuilt."
    )
    faults = [_row(kind, tried, failed) for kind, (tried, failed) in figures.faults.items()]
    beside = [
        (name.replace(" ", ", ", 1), _n(seen["read"]), _n(seen["wrong"]), _n(seen["false"]))
        for name, seen in figures.reads.items()
    ]
    parts = [
        tables.table(header, rows),
        note,
        tables.table(("fault in a system call", "attempts", "inconsistent or lost state"), faults),
        f"Faults are drawn uniformly over the calls of {figures.operations} combinations of operation and format.",
        tables.table(
            ("readers concurrent with a writer", "episodes", "wrong values", "false reports of damage"), beside
        ),
        tables.about(facts),
    ]
    return "\n\n".join(parts) + "\n"


def _n(number: int) -> str:
    return f"{number:,}"


def _row(kind: str, tried: int, failed: int) -> tuple[str, str, str]:
    return kind, _n(tried), _n(failed) if not failed else f"**{_n(failed)}**"


def _outcomes(title: str, kinds: Mapping[str, int]) -> tuple[str, ...]:
    bad = {kind: kinds[kind] for kind in _BAD if kinds.get(kind)}
    fine = [_n(kinds.get(kind, 0)) for kind in ("ok", "refused", "unverified")]
    which = ", ".join(f"{number} {kind}" for kind, number in bad.items())
    failures = sum(bad.values())
    return title, _n(sum(kinds.values())), *fine, f"**{failures}**" if failures else "0", which or "none"
