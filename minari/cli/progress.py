"""Draws the progress of long operations on standard error, where that is a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from minari.cli.terminal import open_console
from minari.lazy import LazyModule
from minari.progress import ProgressTask, observe_progress


if TYPE_CHECKING:
    import rich.progress
else:
    rich = LazyModule("rich")


__all__ = ["progress_bars"]


class _Bars:
    """One bar for each operation under way."""

    def __init__(self, progress: rich.progress.Progress) -> None:
        self._progress = progress
        self._bars: dict[ProgressTask, rich.progress.TaskID] = {}

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
        rich.progress.TextColumn("{task.description}", markup=False),
        rich.progress.BarColumn(),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TextColumn("{task.fields[unit]}", markup=False),
        rich.progress.TimeRemainingColumn(),
    )
    with (
        rich.progress.Progress(*columns, console=console, transient=True) as progress,
        observe_progress(_Bars(progress)),
    ):
        yield
