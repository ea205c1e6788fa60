"""Progress bar of a recording on standard error, if that is a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from minari.cli.rollout import Goal, Tally
from minari.cli.terminal import open_console


__all__ = ["recording_bar"]

_INTERVAL = 0.1  # seconds between two updates; an environment may take a hundred thousand steps in between


@contextmanager
def recording_bar(description: str, goal: Goal) -> Iterator[Callable[[Tally], None]]:
    """Show a bar for the duration of the ``with`` block.

    Yields:
        A function to be called after every step.
    """
    console = open_console(stderr=True)
    if not console.is_terminal:
        yield lambda tally: None
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[numbers]}", markup=False),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task(description, total=goal.steps or goal.episodes, numbers="")
        started = time.monotonic()
        due = started
        last: Tally | None = None

        def report(tally: Tally) -> None:
            nonlocal due, last
            last, now = tally, time.monotonic()
            if now >= due:
                due = now + _INTERVAL
                draw(tally, now)

        def draw(tally: Tally, now: float) -> None:
            done = tally.steps if goal.steps is not None else tally.finished
            speed = tally.steps / max(now - started, _INTERVAL)
            unit = f"steps, {tally.finished} episodes" if goal.steps is not None else "episodes"
            numbers = f"{unit}, {speed:.0f} steps/s, mean return {tally.mean_return:.4g}"
            progress.update(bar, completed=done, numbers=numbers)

        yield report
        if last is not None:  # a short recording may end before anything is shown
            draw(last, time.monotonic())
