"""Write time, read time and size of every format."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import tables
from benchmarks.environments import Side
from benchmarks.processes import call_worker, settle
from benchmarks.progress import Progress
from benchmarks.texts import digits, figure
from benchmarks.workloads.storing import FORMS, KINDS, WINDOW, Form


#: Seconds and bytes by form and name.
Figures = Mapping[Form, Mapping[str, float]]


def measure(ours: Side, scratch: Path | None, repeat: int, quick: bool, progress: Progress) -> Figures:
    """Return the minimum of the repeats; the forms take turns, each time in a fresh process."""
    progress.expect(repeat * len(FORMS))
    found: dict[Form, dict[str, float]] = {form: {} for form in FORMS}
    for turn in range(repeat):
        for form in FORMS:
            progress.begin(form.name, "ours", turn + 1, repeat)
            kind = KINDS[form.kind]
            figures = _store(ours, form, kind.quick if quick else kind.size, scratch)
            found[form] = {name: min(value, found[form].get(name, value)) for name, value in figures.items()}
            progress.end(f"{form.name}: {figure(figures['writing'])}, {_megabytes(figures['bytes'])}")
    return found


def _store(ours: Side, form: Form, size: int, scratch: Path | None) -> dict[str, float]:
    with TemporaryDirectory(prefix="minari-benchmarks-", dir=scratch) as directory:
        settle()
        return call_worker(
            ours.python, "store", {"name": form.name, "size": size, "data": directory, "scratch": directory}
        )


def as_json(figures: Figures, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of `formats.json`; seconds and bytes."""
    return {**facts, "formats": {form.name: dict(found) for form, found in figures.items()}}


def from_json(content: Mapping[str, Any]) -> Figures:
    """Return the results stored in the content of `formats.json`."""
    return {form: content["formats"][form.name] for form in FORMS}


def page(figures: Figures, facts: Mapping[str, Any]) -> str:
    """Return the page `formats.md`."""
    parts = []
    for name, kind in KINDS.items():
        forms = [form for form in FORMS if form.kind == name]
        fastest = figures[forms[0]]["writing"]
        rows = [_row(form, figures[form], fastest) for form in forms]
        header = (
            "format",
            "compression",
            "write",
            "relative to HDF5",
            "read all",
            f"window of {WINDOW} steps",
            "on disk",
        )
        parts += [f"{kind.title}:", tables.table(header, rows)]
    note = (
        f"Minimum of {facts['settings']['repeat']} repeats. The formats take turns, each in a fresh process. Files are "
        "in the page cache, as they were just written. Reading sums a part of every observation. Sizes exclude "
        "`metadata.json`, which is the same for all."
    )
    return "\n\n".join([*parts, note, tables.about(facts)]) + "\n"


def _row(form: Form, found: Mapping[str, float], fastest: float) -> list[str]:
    return [
        f"`{form.data_format}`",
        "JPEG" if form.jpeg else form.compression or "default",
        figure(found["writing"]),
        digits(found["writing"] / fastest),
        figure(found["reading"]),
        figure(found["window"]),
        _megabytes(found["bytes"]),
    ]


def _megabytes(size: float) -> str:
    return f"{digits(size / 1e6)} MB"
