"""How the library stands damage, lies, kills and neighbors: the harnesses of the tests, with counts of choice."""

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
    "remote": "files of a remote, downloaded",
}
FORMATS = ("hdf5", "arrow", "parquet", "zarr")
HOWS = {"threads": "in threads", "forked": "in forked processes", "spawned": "in spawned processes"}
_BAD = ("crash", "hang", "foreign", "memory", "wrong", "escape")


@dataclass(frozen=True, slots=True)
class Counts:
    """How often everything is tried.

    Attributes:
        mutants: of each format.
        faults: of all operations together.
        flips: bits, in each format.
        reads: episodes, of each format and kind of reader.
    """

    mutants: int
    faults: int
    flips: int
    reads: int


@dataclass(slots=True)
class Figures:
    """What came out.

    Attributes:
        mutants: by format, how many ended how.
        flips: the same of flipped bits.
        faults: by what went wrong, how often it was tried and how often the outcome was not as promised.
        operations: how many operations, in how many formats, the faults happened in.
        reads: by format and kind of reader: episodes read, wrong ones, false reports of damage.
        problems: what to do over, as text.
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
        BenchmarkError: what the tests need is not installed, or this is not Linux.
    """
    if not sys.platform.startswith("linux"):
        raise BenchmarkError("The limits of the children are those of Linux; run it there.")
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
    with TemporaryDirectory(prefix="minari-benchmarks-", ignore_cleanup_errors=True) as folder:
        command = [sys.executable, "-W", "ignore", "-m", "support.beside", data_format, how, str(number), folder]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise BenchmarkError(f"Reading {data_format} beside a writer failed: {done.stderr.strip()[-300:]}")
    seen = json.loads(done.stdout)
    if seen["first"]:
        figures.problems.append(f"{data_format} {how}: {seen['first']}")
    return {name: seen[name] for name in ("read", "wrong", "false")}


def as_json(figures: Figures, counts: Counts, facts: Mapping[str, Any]) -> dict[str, Any]:
    """All of it, for `reliability.json`."""
    return {**facts, "counts": asdict(counts), **asdict(figures)}


def page(figures: Figures, facts: Mapping[str, Any]) -> str:
    """The page `reliability.md`."""
    header = ("what was tried", "tries", "read right", "refused", "other values¹", "failures", "which")
    rows = [
        *(_outcomes(f"damaged and hostile, {FAMILIES[name]}", kinds) for name, kinds in figures.mutants.items()),
        *(_outcomes(f"one flipped bit, {FAMILIES[name]}", kinds) for name, kinds in figures.flips.items()),
    ]
    note = (
        "¹ Read without `verify_checksums`, or after a well-formed lie about the values. *Read right* are changes that "
        "no value depends on, such as padding, or derived files that are made again."
    )
    faults = [_row(kind, tried, failed) for kind, (tried, failed) in figures.faults.items()]
    beside = [
        (name.replace(" ", ", ", 1), _n(seen["read"]), _n(seen["wrong"]), _n(seen["false"]))
        for name, seen in figures.reads.items()
    ]
    parts = [
        tables.table(header, rows),
        note,
        tables.table(("a system call that goes wrong", "tries", "neither before nor after, or lost"), faults),
        f"In {figures.operations} operations and formats, at calls that are drawn evenly.",
        tables.table(("readers beside a writer", "episodes", "wrong", "false reports of damage"), beside),
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
