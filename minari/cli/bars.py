"""Bars on a terminal: of operations that count different things, and of a recording."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text

from minari.cli.rollouts.episodes import Goal, Tally
from minari.cli.terminal import open_console
from minari.progress import ProgressTask


__all__ = ["Bars", "open_bars", "recording_bar"]

_INTERVAL = 0.1  # seconds between updates; an environment may take a hundred thousand steps per second


class _AmountColumn(ProgressColumn):
    """The amount done and the total, with the rate for bytes."""

    def __init__(self) -> None:
        super().__init__()
        self._size, self._speed, self._count = DownloadColumn(), TransferSpeedColumn(), MofNCompleteColumn()

    def render(self, task: Task) -> Text:
        """Return the cell of a task."""
        if task.fields["unit"] == "bytes":
            return Text.assemble(self._size.render(task), " ", self._speed.render(task))
        return Text.assemble(self._count.render(task), f" {task.fields['unit']}")


def open_bars(console: Console) -> Progress:
    """Return a display of bars, which disappear when it is closed."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        _AmountColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )


class Bars:
    """Observer that draws one bar for each running operation."""

    def __init__(self, display: Progress) -> None:
        self._display = display
        self._bars: dict[ProgressTask, TaskID] = {}

    def started(self, task: ProgressTask) -> None:
        """Add a bar."""
        self._bars[task] = self._display.add_task(task.description, total=task.total, unit=task.unit)

    def advanced(self, task: ProgressTask, amount: int) -> None:
        """Extend the bar."""
        self._display.advance(self._bars[task], amount)

    def finished(self, task: ProgressTask) -> None:
        """Remove the bar."""
        self._display.remove_task(self._bars.pop(task))


@contextmanager
def recording_bar(description: str, goal: Goal) -> Iterator[Callable[[Tally], None]]:
    """Draw a bar inside the ``with`` block, if standard error is a terminal.

    Yields:
        A function to call with the tally after every step.
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
        if last is not None:  # a short recording may end before anything is drawn
            draw(last, time.monotonic())
