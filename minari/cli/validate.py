"""``minari validate``: checks of datasets, and their repair."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import typer

import minari
from minari._base.settings import get_listed_root
from minari._catalog.listing import walk_catalog
from minari.cli.local_datasets import suggesting_ids
from minari.cli.progress import progress_bars
from minari.cli.running import UsageError, for_each
from minari.cli.terminal import counted, echo, print_json
from minari.dataset.validation import LEVELS, PROFILES, Report, repair


__all__ = ["validate"]

_MOST_LINES = 20  # of a kind
_PLURALS = {"error": "errors", "warning": "warnings", "note": "notes"}


def validate(
    datasets: Sequence[str] | None,
    every: bool,
    checksums: bool,
    profile: str | None,
    fix: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Validate datasets, and exit with status 1 if one of them has errors."""
    if every == bool(datasets):
        raise UsageError("Give the ids or directories of datasets, or --all for all local ones.")
    if profile is not None and profile not in PROFILES:
        raise UsageError(f"--profile is {profile!r}, expected {', '.join(map(repr, PROFILES))}.")
    if fix and any("://" in name for name in datasets or ()):
        raise UsageError("--fix repairs local datasets; download the others, or leave it out.")
    if every:  # including damaged ones
        datasets = sorted(entry.id for entry in walk_catalog(get_listed_root()) if entry.is_dataset)
    names = list(dict.fromkeys(datasets or ()))
    reports: list[Report] = []

    def examine(name: str) -> None:
        with suggesting_ids(name):
            done = repair(name) if fix else []
            with progress_bars(quiet=quiet):
                report = minari.validate(name, checksums=checksums, profile=profile)
        reports.append(report)
        if not as_json:
            for line in [*done, *_lines(report)]:
                echo(line)
            if fix and not report.ok:
                echo("  What is left concerns values and cannot be fixed; copy, download or record the dataset again.")
        if not report.ok:
            raise typer.Exit(1)

    try:
        for_each(names, examine)
    finally:
        if as_json:
            print_json([report.as_dict() for report in reports])


def _lines(report: Report) -> list[str]:
    counts = ", ".join(
        f"{count} {level if count == 1 else _PLURALS[level]}" for level, count in report.counts.items() if count
    )
    verdict = "sound" if report.ok else "damaged"
    if report.profile is not None:
        verdict = f"fit for the {report.profile}" if report.ok else f"not fit for the {report.profile}"
    lines = [
        f"{report.dataset}: {verdict}, {counted(report.episodes, 'episode')} read{f', {counts}' if counts else ''}"
    ]
    shown: Counter[tuple[str, str]] = Counter()
    for level in LEVELS:
        kinds = Counter(finding.kind for finding in report.findings if finding.level == level)
        for finding in report.findings:
            if finding.level != level:
                continue
            shown[level, finding.kind] += 1
            if shown[level, finding.kind] <= _MOST_LINES:
                lines.append(f"  {level:8}{' '.join(finding.message.split())}")
            elif shown[level, finding.kind] == kinds[finding.kind]:
                lines.append(f"  {level:8}… and {kinds[finding.kind] - _MOST_LINES} more of the kind {finding.kind!r}")
    omitted = sum(report.counts.values()) - len(report.findings)
    return [*lines, *([f"  … and {omitted} findings that are not in the report"] if omitted else [])]
