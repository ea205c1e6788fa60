"""The page `rivals.md`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks import tables
from benchmarks.rivals.figures import COUNTED, NEAR, OURS, Figures, Standing, standings
from benchmarks.rivals.workloads import Work
from benchmarks.texts import digits, figure


def page(figures: Figures, facts: Mapping[str, Any]) -> str:
    """Return the page."""
    parts = [_note(facts), _summary(figures)]
    for work in figures.works():
        parts += [f"**{work.title[0].upper()}{work.title[1:]}**", _table(figures, work), *_failed(figures, work)]
    return "\n\n".join([*parts, "How each is used:", _uses(figures), tables.about(facts)]) + "\n"


def _note(facts: Mapping[str, Any]) -> str:
    settings = facts["settings"]
    note = (
        f"Medians of {settings['repeat']} rounds, with the least and the most of them in brackets; times without "
        "brackets were measured once. Every operation runs in a process of its own, in which the library has been "
        "imported and nothing else has happened; the libraries take turns, from the other end in every second round. "
        "Writing begins with the arrays of the episodes in memory and ends when the call returns, or when `fsync` of "
        "everything has returned after it. Reading ends when all values are in memory that belongs to the caller. The "
        "first batch includes opening; the further ones are the median within a process. Files are in the page cache. "
        "Everything that is read is compared with the source, and each library loses exactly what its row says."
    )
    if settings["quick"]:
        note += " Measured with `--quick`: the data is too small for the figures to be meaningful."
    if facts.get("load") is not None:
        note += f" The load average of the machine was {facts['load']:.1f} when this began."
    return note


def _summary(figures: Figures) -> str:
    header = ("", "Minari, HDF5", "ratio", "its best format", "ratio", "NumPy", "best other library", "")
    rows = [_standing(figures, standing) for standing in standings(figures)]
    legend = (
        "The ratios are those to NumPy or to the best other library that keeps all values, whichever is better; for "
        "sizes, to the library. Minari is first if neither is more than a tenth better, and at the floor within "
        f"{NEAR} times NumPy. Times of writing are those on the disk, since Minari returns when everything is there, "
        "and the others before. *Faster, but loses values* names those that are faster than Minari and than that "
        "library."
    )
    return "\n\n".join([tables.table(header, rows), legend])


def _standing(figures: Figures, standing: Standing) -> list[str]:
    def shown(value: float | None) -> str:
        return "–" if value is None else _amount(value, standing.figure)

    def named(name: str) -> str:
        return figures.libraries[name].title.replace("**", "")

    best = standing.format
    other = "–" if standing.first is None else f"{named(standing.first[0])} {shown(standing.first[1])}"
    verdict = standing.verdict
    if standing.faster:
        verdict += f" (*faster, but loses values*: {', '.join(named(name) for name, _ in standing.faster)})"
    return [
        f"`{standing.work.name}` {COUNTED[standing.figure][0]}",
        shown(standing.ours),
        _ratio(standing.over_best_other(standing.ours)),
        "the same" if best[0] == OURS else f"{named(best[0]).removeprefix('Minari, ')} {shown(best[1])}",
        _ratio(standing.over_best_other(best[1])),
        shown(standing.floor),
        other,
        verdict,
    ]


def _ratio(value: float | None) -> str:
    return "–" if value is None else digits(value)


def _table(figures: Figures, work: Work) -> str:
    """Return all figures of a workload, a row for each library."""
    columns = [
        name for name in COUNTED if any(name in outcome.figures for outcome in figures.outcomes[work.name].values())
    ]
    has_frames = work.kind == "frames"
    rows = []
    for name, outcome in figures.outcomes[work.name].items():
        library = figures.libraries[name]
        cells = [_cell(outcome.figures.get(column), column) for column in columns]
        if outcome.figures and work.batches:
            cells += [_megabytes(outcome.figures.get(column)) for column in ("memory", "read_memory")]
            cells.append(_imports(outcome.figures.get("imports")))
        if outcome.figures:
            rows.append([library.title, *cells, library.losses(has_frames)])
    further = ("memory to write", "to read", "imports") if work.batches else ()
    return tables.table(("", *(COUNTED[name][0] for name in columns), *further, "loses"), rows)


def _cell(values: list[float] | None, name: str) -> str:
    if not values:
        return "–"
    ordered = sorted(values)
    middle = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
    shown = _amount(middle, name)
    if len(ordered) == 1 or COUNTED[name][1]:
        return shown
    return f"{shown} ({_amount(ordered[0], name)} – {_amount(ordered[-1], name)})"


def _amount(value: float, name: str) -> str:
    if not COUNTED[name][1]:
        return figure(value)
    return f"{digits(value)} B" if value < 1e4 else f"{digits(value / 1e6)} MB"


def _megabytes(values: list[float] | None) -> str:
    return f"{digits(min(values) / 1e6)} MB" if values else "–"


def _imports(values: list[float] | None) -> str:
    return figure(min(values)) if values else "–"


def _failed(figures: Figures, work: Work) -> Iterator[str]:
    lines = [
        f"- {figures.libraries[name].title}, {operation}: failed: {reason}"
        for name, outcome in figures.outcomes[work.name].items()
        for operation, reason in outcome.failures.items()
    ]
    if lines:
        yield "\n".join(lines)


def _uses(figures: Figures) -> str:
    lines = []
    measured = {name for of_work in figures.outcomes.values() for name, each in of_work.items() if each.figures}
    for name, library in figures.libraries.items():
        if name not in measured:
            continue
        versions = ", ".join(f"{package} {version}" for package, version in library.versions.items())
        lines.append(f"- {library.title}: {library.note} ({versions})")
    return "\n".join(lines)
