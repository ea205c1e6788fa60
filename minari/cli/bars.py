"""Bars for operations that count different things, in one display."""

from __future__ import annotations

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

from minari.progress import ProgressTask


__all__ = ["Bars", "bars_on"]


class _AmountColumn(ProgressColumn):
    """How much of how much, and for bytes how fast."""

    def __init__(self) -> None:
        super().__init__()
        self._size, self._speed, self._count = DownloadColumn(), TransferSpeedColumn(), MofNCompleteColumn()

    def render(self, task: Task) -> Text:
        """One cell."""
        if task.fields["unit"] == "bytes":
            return Text.assemble(self._size.render(task), " ", self._speed.render(task))
        return Text.assemble(self._count.render(task), f" {task.fields['unit']}")


def bars_on(console: Console) -> Progress:
    """A display of bars, of which nothing remains when it is closed."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        _AmountColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )


class Bars:
    """An observer that has one bar for each operation under way."""

    def __init__(self, display: Progress) -> None:
        self._display = display
        self._bars: dict[ProgressTask, TaskID] = {}

    def started(self, task: ProgressTask) -> None:
        """Draw a bar."""
        self._bars[task] = self._display.add_task(task.description, total=task.total, unit=task.unit)

    def advanced(self, task: ProgressTask, amount: int) -> None:
        """Draw it longer."""
        self._display.advance(self._bars[task], amount)

    def finished(self, task: ProgressTask) -> None:
        """Take it away."""
        self._display.remove_task(self._bars.pop(task))
