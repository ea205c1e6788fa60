"""Results as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.results import Result, quotient
from benchmarks.texts import digits, figure, times


SIDES = {"ours": "This release", "released": "Released package"}


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table with the first column left-aligned and the others right-aligned."""
    lines = [header, [":---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def about(facts: Mapping[str, Any]) -> str:
    """Return a list with the machine and the installed versions."""
    machine, versions = facts["machine"], facts["versions"]
    lines = [
        f"Machine: {machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB of memory, "
        f"{machine['system']}, {machine['python']}."
    ]
    for side, installed in versions.items():
        named = ", ".join(f"{name} {number}" for name, number in installed.items() if number)
        lines.append(f"{SIDES[side]}: {named}.")
    return "\n".join(f"- {line}" for line in lines)


def comparison(results: Sequence[Result], facts: Mapping[str, Any]) -> str:
    """Return the page `results.md`."""
    header = ("workload", "this release", "0.5.4", "speedup", "floor", "time / floor")
    rows = [_row(result) for result in results]
    repeat = facts["settings"]["repeat"]
    note = f"Minimum of at least {repeat} repeats. Both releases and the floor take turns, each in a fresh process."
    if facts["settings"]["quick"]:
        note += " Measured with `--quick`: the data is too small for the figures to be meaningful."
    floors = [f"- `{result.workload.name}`: {result.workload.floor.note}" for result in results]
    parts = [
        table(header, rows),
        note,
        *_sizes(results),
        about(facts),
        "The floor of each workload:",
        "\n".join(floors),
        *_shares(results),
    ]
    return "\n\n".join(parts) + "\n"


def _row(result: Result) -> list[str]:
    workload = result.workload
    return [
        workload.title,
        figure(min(result.ours), workload.per),
        figure(min(result.released), workload.per),
        times(result.ratio),
        figure(min(result.floor), workload.per),
        times(result.over_floor),
    ]


def _sizes(results: Sequence[Result]) -> list[str]:
    """Return a table of the size on disk of the datasets that were written."""
    rows = [
        [result.workload.title, *(digits(result.written[side] / 1e6) for side in ("ours", "released"))]
        for result in results
        if {"ours", "released"} <= result.written.keys()
    ]
    return [table(("size on disk (MB)", "this release", "0.5.4"), rows)] if rows else []


def _shares(results: Sequence[Result]) -> list[str]:
    """Return how the time of a program divides into the part before and after the first episode."""
    lines = []
    for result in results:
        if {"ours", "released"} <= result.opening.keys():
            opening = result.opening["ours"], result.opening["released"]
            rest = min(result.ours) - opening[0], min(result.released) - opening[1]
            lines.append(
                f"- `{result.workload.name}`: imports and opening, until the first episode is available, take "
                f"{figure(opening[0])} in this release and {figure(opening[1])} in 0.5.4. The rest, including the "
                f"start and exit of the interpreter, takes {figure(rest[0])} and {figure(rest[1])}, a speedup of "
                f"{times(quotient(rest[1], rest[0]))}."
            )
    return ["Startup and reading:", "\n".join(lines)] if lines else []
