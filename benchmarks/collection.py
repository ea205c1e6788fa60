"""Time to collect a step of a vector environment, beside other libraries, and as the number of environments grows."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import tables
from benchmarks.environments import Side
from benchmarks.errors import BenchmarkError
from benchmarks.processes import call_worker, settle
from benchmarks.progress import Progress
from benchmarks.texts import digits, figure


@dataclass(frozen=True, slots=True)
class Case:
    """Vector environments to be stepped.

    Attributes:
        kind: "native", "sync" or "async".
        num_envs: the number of sub-environments.
        steps: the number of steps.
    """

    kind: str
    num_envs: int
    steps: int

    @property
    def name(self) -> str:
        """Return the name in the stored results."""
        return f"{self.kind}/{self.num_envs}"

    @property
    def title(self) -> str:
        """Return the name in the table."""
        return {
            "native": f"`CartPoleVectorEnv` with {self.num_envs}",
            "sync": f"`SyncVectorEnv` with {self.num_envs} of CartPole",
            "async": f"`AsyncVectorEnv` with {self.num_envs} of 376 observations",
        }[self.kind]


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds for each step of a sub-environment, as medians.

    Attributes:
        bare: without a collector.
        added: by the collector, the median of the differences of pairs.
    """

    bare: float
    added: float


CASES = (
    Case("native", 256, 1536),
    Case("sync", 8, 8192),
    Case("async", 8, 4096),
    Case("native", 1, 16_384),
    Case("native", 4, 16_384),
    Case("native", 16, 8192),
    Case("native", 64, 4096),
    Case("native", 1024, 512),
)
#: The first ones, which the table has.
COMPARED = CASES[:3]
#: How the libraries are called in the tables and the chart, in their order.
TITLES = {"minari": "Minari", "tianshou": "Tianshou", "torchrl": "TorchRL"}
RIVALS = ("tianshou", "torchrl")

#: By case and then by library.
Figures = Mapping[Case, Mapping[str, Cost]]


def measure(
    ours: Side, rivals: Mapping[str, Path], scratch: Path | None, repeat: int, quick: bool, progress: Progress
) -> Figures:
    """Return the medians of all pairs; the libraries take turns, each time in a fresh process.

    Raises:
        BenchmarkError: a library has not stored the steps.
    """
    pythons = {"minari": ours.python, **rivals}
    found: dict[Case, dict[str, list[tuple[float, float]]]] = {case: {side: [] for side in pythons} for case in CASES}
    progress.expect(repeat * len(CASES) * len(pythons))
    for turn in range(repeat):
        for case in CASES:
            for side, python in pythons.items():
                progress.begin(case.name, side, turn + 1, repeat)
                pairs = found[case][side]
                pairs += _pairs(python, side, case, scratch, quick)
                progress.end(f"{case.name}: {side} {figure(_cost(pairs).added)}")
    return {case: {side: _cost(pairs) for side, pairs in sides.items()} for case, sides in found.items()}


def _pairs(python: Path, side: str, case: Case, scratch: Path | None, quick: bool) -> list[tuple[float, float]]:
    """Return the seconds of bare and of collected steps."""
    with TemporaryDirectory(prefix="minari-benchmarks-", dir=scratch) as directory:
        settle()
        steps = max(2, case.steps // 64) if quick else case.steps
        arguments = {"side": side, "kind": case.kind, "num_envs": case.num_envs, "steps": steps, "quick": quick}
        answer = call_worker(python, "collect", {**arguments, "scratch": directory})
    # An episode that ends in a reset of its own is a step that is not stored.
    if not 0.8 < answer["stored"] <= 1:
        raise BenchmarkError(f"{side} stored {answer['stored']:.0%} of the steps of {case.name}, expected about all.")
    return list(zip(answer["bare"], answer["collected"], strict=True))


def _cost(pairs: Sequence[tuple[float, float]]) -> Cost:
    bare = statistics.median(bare for bare, _ in pairs)
    return Cost(bare, statistics.median(collected - bare for bare, collected in pairs))


def as_json(figures: Figures, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of `collection.json`; seconds for each step of a sub-environment."""
    return {
        **facts,
        "collection": {
            case.name: {side: {"bare": cost.bare, "added": cost.added} for side, cost in sides.items()}
            for case, sides in figures.items()
        },
    }


def from_json(content: Mapping[str, Any]) -> Figures:
    """Return the results stored in the content of `collection.json`."""
    stored = content["collection"]
    return {
        case: {side: Cost(**cost) for side, cost in stored[case.name].items()} for case in CASES if case.name in stored
    }


def growth(figures: Figures) -> dict[str, dict[int, float]]:
    """Return the seconds that each library adds to a step of a sub-environment, by their number."""
    native = sorted((case for case in figures if case.kind == "native"), key=lambda case: case.num_envs)
    return {
        side: {case.num_envs: figures[case][side].added for case in native if side in figures[case]} for side in TITLES
    }


def page(figures: Figures, facts: Mapping[str, Any]) -> str:
    """Return the page `collection.md`."""
    sides = [side for side in TITLES if any(side in found for found in figures.values())]
    rows = []
    for case in COMPARED:
        ours = figures[case]["minari"]
        added = [figure(found.added) if (found := figures[case].get(side)) else "–" for side in sides]
        rows.append([case.title, figure(ours.bare), *added, f"{digits(100 * ours.added / ours.bare)} %"])
    header = ("a step of a sub-environment", "bare", *(TITLES[side] for side in sides), "Minari / bare")
    curves = growth(figures)
    repeat = facts["settings"]["repeat"]
    times = "once" if repeat == 1 else f"{repeat} times"
    sizes = sorted({size for curve in curves.values() for size in curve})
    note = (
        f"What collecting adds to the bare step, saving included: the median of the differences between bare and "
        f"collected steps, which alternate within one process. The libraries are measured {times}, in turns and in "
        "fresh processes, and are given the same random actions. Minari writes a dataset to disk, TorchRL's "
        "`Collector` fills a buffer of memory-mapped tensors, and Tianshou's `Collector` one in memory. "
        "Tianshou steps its own vector environments, and what is added to these is shown; for `CartPoleVectorEnv`, it "
        "and TorchRL get an adapter that resets sub-environments."
    )
    if facts.get("load") is not None:
        note += f" The load average of the machine was {facts['load']:.1f} when this began."
    lines = [
        [TITLES[side], *(figure(curves[side][size]) if size in curves[side] else "–" for size in sizes)]
        for side in sides
    ]
    parts = [
        tables.table(header, rows),
        tables.table(("added, `CartPoleVectorEnv` with N", *(f"N = {size:,}" for size in sizes)), lines),
        note,
        tables.about(facts),
    ]
    return "\n\n".join(parts) + "\n"


def missed(figures: Figures) -> list[str]:
    """Return a line for each target that is missed."""
    native, asynchronous = figures[COMPARED[0]]["minari"], figures[COMPARED[2]]["minari"]
    lines = []
    if native.added > 0.5e-6:
        lines.append(f"{COMPARED[0].name}: expected at most 500 ns a step, measured {figure(native.added)}")
    if asynchronous.added > asynchronous.bare / 10:
        lines.append(
            f"{COMPARED[2].name}: expected at most a tenth of the bare step of {figure(asynchronous.bare)}, measured "
            f"{figure(asynchronous.added)}"
        )
    return lines
