"""The results as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.results import Result, marks, quotient
from benchmarks.texts import digits, figure, times


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; the first column to the left, the others to the right."""
    lines = [header, [":---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def about(facts: Mapping[str, Any]) -> str:
    """The machine and the versions, as two sentences."""
    machine, versions = facts["machine"], facts["versions"]
    lines = [
        f"Machine: {machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB of memory, "
        f"{machine['system']}, {machine['python']}."
    ]
    for side, installed in versions.items():
        named = ", ".join(f"{name} {number}" for name, number in installed.items() if number)
        lines.append(f"{side.capitalize()}: {named}.")
    return "\n".join(f"- {line}" for line in lines)


def comparison(results: Sequence[Result], facts: Mapping[str, Any]) -> str:
    """The page `results.md`."""
    header = ("workload", "ours", "released", "ratio", "asked", "reached", "floor", "ours / floor")
    rows = [_row(result, results) for result in results]
    repeat = facts["settings"]["repeat"]
    note = f"Each figure is the least of {repeat} repeats or more, in turns, each in a process of its own."
    if facts["settings"]["quick"]:
        note += " Made with `--quick`: the data are too small for the figures to mean anything."
    floors = [f"- `{result.workload.name}`: {result.workload.floor.note}" for result in results]
    parts = [
        table(header, rows),
        note,
        *_sizes(results),
        about(facts),
        "The floors:",
        "\n".join(floors),
        *_shares(results),
    ]
    return "\n\n".join(parts) + "\n"


def _row(result: Result, results: Sequence[Result]) -> list[str]:
    workload = result.workload
    asked = marks(result, results)
    return [
        workload.title,
        figure(min(result.ours), workload.per),
        figure(min(result.released), workload.per),
        times(result.ratio),
        "; ".join(mark.text for mark in asked),
        _reached([mark.reached for mark in asked]),
        figure(min(result.floor), workload.per),
        times(result.over_floor),
    ]


def _reached(each: Sequence[bool]) -> str:
    """One word if all marks fare alike."""
    words = ["yes" if reached else "**no**" for reached in each]
    return words[0] if len(set(words)) == 1 else "; ".join(words)


def _sizes(results: Sequence[Result]) -> list[str]:
    """What the datasets that were written take on disk."""
    rows = [
        [result.workload.title, *(digits(result.written[side] / 1e6) for side in ("ours", "released"))]
        for result in results
        if {"ours", "released"} <= result.written.keys()
    ]
    return [table(("MB on disk", "ours", "released"), rows)] if rows else []


def _shares(results: Sequence[Result]) -> list[str]:
    """What a program spent before it had the first episode, and after."""
    lines = []
    for result in results:
        if {"ours", "released"} <= result.opening.keys():
            opening = result.opening["ours"], result.opening["released"]
            rest = min(result.ours) - opening[0], min(result.released) - opening[1]
            lines.append(
                f"- `{result.workload.name}`: imports and opening, until the first episode is there, take "
                f"{figure(opening[0])} of ours and {figure(opening[1])} of the released package's; the rest, with the "
                f"interpreter's start and end, is {figure(rest[0])} and {figure(rest[1])}: "
                f"{times(quotient(rest[1], rest[0]))}"
            )
    return ["Shares:", "\n".join(lines)] if lines else []
