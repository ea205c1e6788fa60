"""Cost of an episode, or of a listed dataset, as their number grows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import tables
from benchmarks.environments import Side
from benchmarks.processes import call_worker, settle
from benchmarks.progress import Progress
from benchmarks.texts import figure, times


SIZES = (1000, 3000, 10_000, 30_000, 100_000)
QUICK = (250, 400)

#: Titles of the measurements and the units of their figures.
KINDS = {
    "writing": ("Write a dataset of N episodes", "episode"),
    "appending": ("Append 200 episodes to N", "episode"),
    "sampling": ("sample_episodes(32) of N", "episode"),
    "listing": ("List N datasets", "dataset"),
}

#: By kind and then by N, seconds for each episode or dataset.
Curves = Mapping[str, Mapping[int, float]]


def measure(ours: Side, scratch: Path | None, repeat: int, quick: bool, progress: Progress) -> Curves:
    """Return the minimum of the repeats for every kind and N; the sizes take turns.

    The datasets to list are created once, because creating and deleting them takes most of the time.
    """
    sizes = QUICK if quick else SIZES
    progress.expect((repeat + 1) * len(sizes))
    curves: dict[str, dict[int, float]] = {kind: {} for kind in KINDS}
    for turn in range(repeat):
        for size in sizes:
            for name in ("episodes",) if turn else ("episodes", "datasets"):
                progress.begin(f"{size:,} {name}", "ours", turn + 1, repeat)
                found = _grow(ours, name, size, scratch)
                for kind, seconds in found.items():
                    curves[kind][size] = min(seconds, curves[kind].get(size, seconds))
                shown = ", ".join(f"{kind} {figure(seconds, KINDS[kind][1])}" for kind, seconds in found.items())
                progress.end(f"{size:,} {name}: {shown}")
    return curves


def _grow(ours: Side, name: str, size: int, scratch: Path | None) -> dict[str, float]:
    with TemporaryDirectory(prefix="minari-benchmarks-", dir=scratch) as directory:
        settle()
        arguments = {"name": name, "size": size, "data": directory, "scratch": directory}
        return call_worker(ours.python, "grow", arguments)


def as_json(curves: Curves, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of `growth.json`; times in seconds."""
    growth = {kind: {str(size): seconds for size, seconds in curve.items()} for kind, curve in curves.items()}
    return {**facts, "growth": growth}


def from_json(content: Mapping[str, Any]) -> Curves:
    """Return the results stored in the content of `growth.json`."""
    return {kind: {int(size): seconds for size, seconds in curve.items()} for kind, curve in content["growth"].items()}


def page(curves: Curves, facts: Mapping[str, Any]) -> str:
    """Return the page `growth.md`."""
    sizes = sorted(curves["writing"])
    header = ["", *(f"N = {size:,}" for size in sizes), "last / first"]
    rows = [_row(kind, curves[kind], sizes) for kind in KINDS]
    note = f"Time for each episode, or for each listed dataset; minimum of {facts['settings']['repeat']} repeats."
    return "\n\n".join([tables.table(header, rows), note, tables.about(facts)]) + "\n"


def _row(kind: str, curve: Mapping[int, float], sizes: Sequence[int]) -> list[str]:
    title, _ = KINDS[kind]
    return [title, *(figure(curve[size]) for size in sizes), times(curve[sizes[-1]] / curve[sizes[0]])]
