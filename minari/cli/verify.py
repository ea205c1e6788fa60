"""``minari verify``: replays a dataset in its environment, and prints what differs."""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import typer

import minari
from minari.cli.local_datasets import find_dataset, suggesting_ids
from minari.cli.options import parse_env_kwargs, parse_episodes
from minari.cli.progress import progress_bars
from minari.cli.terminal import counted, echo, print_json
from minari.data_collector.verification import VerificationReport
from minari.dataset.minari_storage import MinariStorage


__all__ = ["Plan", "verify"]

_MOST_LINES = 20  # of episodes that have diverged


@dataclass(frozen=True, slots=True)
class Plan:
    """A verification as the user requested it; the fields are the options of the command."""

    dataset: str
    episodes: str | None
    sample: int | None
    seed: int | None
    tolerance: float
    processes: int
    env: str | None
    env_kwargs: str | None
    keeps_report: bool
    as_json: bool
    quiet: bool


def verify(plan: Plan) -> None:
    """Verify a dataset, and exit with status 1 if an episode has diverged."""
    sys.path.insert(0, str(Path.cwd()))  # where the user's own environments are
    env_kwargs = parse_env_kwargs(plan.env_kwargs)
    episodes: list[int] | None = None
    if plan.episodes is not None:
        total = MinariStorage.read(find_dataset(plan.dataset)).total_episodes
        episodes = parse_episodes("--episodes", plan.episodes, total)
    # What an environment prints is not part of the report.
    with progress_bars(quiet=plan.quiet), suggesting_ids(plan.dataset), redirect_stdout(sys.stderr):
        report = minari.verify(
            plan.dataset,
            episodes=episodes,
            sample=plan.sample,
            seed=plan.seed,
            tolerance=plan.tolerance,
            env=plan.env,
            env_kwargs=env_kwargs,
            processes=plan.processes,
            keep_report=plan.keeps_report,
        )
    if plan.as_json:
        print_json(report.as_dict())
    else:
        for line in _lines(report):
            echo(line)
    if not report.ok:
        raise typer.Exit(1)


def _lines(report: VerificationReport) -> list[str]:
    diverged = [episode for episode in report.episodes if episode.status == "diverged"]
    lines = [" ".join(str(episode).split()) for episode in diverged[:_MOST_LINES]]
    if len(diverged) > _MOST_LINES:
        lines.append(f"{len(diverged) - _MOST_LINES} more diverged, which --json shows.")
    notes = Counter((one.status, one.note) for one in report.episodes if one.note and one.status != "diverged")
    for (status, note), count in notes.items():
        lines.append(f"{counted(count, 'episode')} {status}: {note}")
    lines += [" ".join(note.split()) for note in report.notes]
    differing = report.differing_versions
    if differing:
        pairs = ", ".join(f"{name} {before} (now {now})" for name, (before, now) in differing.items())
        lines.append(f"Recorded with {pairs}.")
    results = ", ".join(f"{status} in {count}" for status, count in report.counts.items() if count)
    return [*lines, f"{report.dataset}: {results or 'none'} of {counted(len(report.episodes), 'episode')}"]
