"""Draws the progress of long operations on standard error, where that is a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from minari.cli.terminal import open_console
from minari.progress import ProgressTask, observe_progress


__all__ = ["progress_bars"]


class _Bars:
    """One bar for each operation under way."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._bars: dict[ProgressTask, TaskID] = {}

    def started(self, task: ProgressTask) -> None:
        self._bars[task] = self._progress.add_task(task.description, total=task.total, unit=task.unit)

    def advanced(self, task: ProgressTask, amount: int) -> None:
        self._progress.advance(self._bars[task], amount)

    def finished(self, task: ProgressTask) -> None:
        self._progress.remove_task(self._bars.pop(task))


@contextmanager
def progress_bars() -> Iterator[None]:
    """Show the operations inside the ``with`` block; nothing remains of the bars afterwards."""
    console = open_console(stderr=True)
    if not console.is_terminal:
        yield
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}", markup=False),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress, observe_progress(_Bars(progress)):
        yield
