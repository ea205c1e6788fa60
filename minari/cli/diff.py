"""``minari diff``: the differences of two datasets, in short."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import typer

import minari
from minari._base.json_text import parse_json, shortened
from minari.cli.local_datasets import open_dataset
from minari.cli.progress import progress_bars
from minari.cli.running import run_command
from minari.cli.terminal import counted, echo, print_json
from minari.dataset.diff import DatasetDiff, EpisodesDiff, MetadataDiff
from minari.spaces.differences import differing_key


__all__ = ["condensed", "diff"]

_MOST_LINES = 20  # of one kind
_DIFFERENT, _FAILED = 1, 2  # as of diff(1)


def diff(a: str, b: str, ignore_metadata: bool, as_json: bool, quiet: bool) -> None:
    """Print the differences of two datasets, and exit with status 1 if there are any and 2 if it fails."""
    try:
        found = run_command(lambda: _compared(a, b, ignore_metadata, quiet))
    except typer.Exit as failed:
        raise typer.Exit(_FAILED if failed.exit_code == 1 else failed.exit_code) from None
    if as_json:
        print_json(found.as_dict())
    else:
        for line in _lines(found, a, b):
            echo(line)
    if not found.equal:
        raise typer.Exit(_DIFFERENT)


def _compared(a: str, b: str, ignore_metadata: bool, quiet: bool) -> DatasetDiff:
    one, other = open_dataset(a), open_dataset(b)
    with progress_bars(quiet=quiet):
        return minari.diff_datasets(one, other, ignore_metadata=ignore_metadata)


def _lines(found: DatasetDiff, a: str, b: str) -> Iterator[str]:
    verdict = "are equal" if found.equal else "differ"
    sizes = dict.fromkeys((_size(found.a), _size(found.b)))
    yield f"{a} and {b} {verdict}: {', and '.join(sizes)}{'' if len(sizes) > 1 or found.equal else ' each'}"
    for title, lines in (
        ("Metadata", list(_metadata(found.metadata, a, b))),
        ("Spaces", list(found.spaces)),
        ("Episodes", list(_episodes(found.episodes, a, b))),
    ):
        if lines:
            yield title
            yield from (f"  {' '.join(line.split())}" for line in lines)


def _size(described: Mapping[str, Any]) -> str:
    return f"{counted(described['total_episodes'], 'episode')}, {counted(described['total_steps'], 'step')}"


def _metadata(found: MetadataDiff, a: str, b: str) -> Iterator[str]:
    for name, only in ((a, found.only_in_a), (b, found.only_in_b)):
        yield from _first_lines([f"only in {name}: {key} {_brief(value)}" for key, value in only.items()])
    yield from _first_lines([f"changed: {_change(key, *values)}" for key, values in found.changed.items()])
    if found.of_copies:
        yield f"of the copies, no difference: {', '.join(found.of_copies)}"


def _change(key: str, mine: Any, other: Any) -> str:
    """Return what differs between two values of the metadata; of environment specs, their first difference."""
    try:
        described = {key: parse_json(mine)}, {key: parse_json(other)}
    except (ValueError, TypeError):
        described = {key: mine}, {key: other}
    return differing_key(*described) or f"{key} is {_brief(mine)} and {_brief(other)}"


def _brief(value: Any) -> str:
    return shortened(value)


def _episodes(found: EpisodesDiff, a: str, b: str) -> Iterator[str]:
    if found.are_equal:
        return
    yield f"equal: {found.equal}"
    if found.moved:
        yield f"moved: {_condensed_moves(found.moved)}"
    for name, only in ((a, found.only_in_a), (b, found.only_in_b)):
        if only:
            yield f"only in {name}: {condensed(only)}"
    described = [change for change in found.changed if change.description]
    shown = [
        f"changed: {change.a}{f' ({change.b} in {b})' if change.a != change.b else ''}, {change.description}"
        for change in described[:_MOST_LINES]
    ]
    yield from shown
    if rest := [change.a for change in found.changed][len(shown) :]:
        yield f"changed too: {condensed(rest)}"


def _first_lines(lines: list[str]) -> list[str]:
    more = len(lines) - _MOST_LINES
    return lines if more <= 0 else [*lines[:_MOST_LINES], f"and {more} more"]


def condensed(numbers: Iterable[int]) -> str:
    """Return ascending numbers as text, in which consecutive ones are ranges.

    >>> condensed([3, 7, 10, 11, 12])
    '3, 7, 10-12'
    """
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1] = runs[-1][0], number
        else:
            runs.append((number, number))
    return _joined([str(first) if first == last else f"{first}-{last}" for first, last in runs])


def _condensed_moves(moves: Sequence[tuple[int, int]]) -> str:
    runs: list[tuple[int, int, int]] = []
    for mine, other in moves:
        if runs and (mine, other) == (runs[-1][0] + runs[-1][2], runs[-1][1] + runs[-1][2]):
            runs[-1] = *runs[-1][:2], runs[-1][2] + 1
        else:
            runs.append((mine, other, 1))
    return _joined(
        [" to ".join(condensed(range(start, start + count)) for start in (mine, other)) for mine, other, count in runs]
    )


def _joined(parts: list[str]) -> str:
    more = len(parts) - _MOST_LINES
    return ", ".join(parts) if more <= 0 else f"{', '.join(parts[:_MOST_LINES])} and {more} more ranges"
