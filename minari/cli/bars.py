"""Progress bars for operations with different units, in one display."""

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
    """Column with the amount and the total, and the speed for bytes."""

    def __init__(self) -> None:
        super().__init__()
        self._size, self._speed, self._count = DownloadColumn(), TransferSpeedColumn(), MofNCompleteColumn()

    def render(self, task: Task) -> Text:
        """Return a cell."""
        if task.fields["unit"] == "bytes":
            return Text.assemble(self._size.render(task), " ", self._speed.render(task))
        return Text.assemble(self._count.render(task), f" {task.fields['unit']}")


def bars_on(console: Console) -> Progress:
    """Return a display of bars that disappears when it is closed."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        _AmountColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )


class Bars:
    """Observer that shows one bar for each operation in progress."""

    def __init__(self, display: Progress) -> None:
        self._display = display
        self._bars: dict[ProgressTask, TaskID] = {}

    def started(self, task: ProgressTask) -> None:
        """Add a bar."""
        self._bars[task] = self._display.add_task(task.description, total=task.total, unit=task.unit)

    def advanced(self, task: ProgressTask, amount: int) -> None:
        """Advance a bar."""
        self._display.advance(self._bars[task], amount)

    def finished(self, task: ProgressTask) -> None:
        """Remove a bar."""
        self._display.remove_task(self._bars.pop(task))
