"""Progress display: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar


class Progress:
    """Display of the current workload and side.

    Args:
        console: The output.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
            refresh_per_second=2,  # drawing takes time from the measurement
            transient=True,
        )
        self._task = self._bar.add_task("", total=None)

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def expect(self, total: int) -> None:
        """Set the number of processes to run."""
        self._bar.update(self._task, total=total)

    def begin(self, name: str, side: str, turn: int, turns: int) -> None:
        """Show that a process starts."""
        self._bar.update(self._task, description=f"{name}: {side} {turn}/{turns}")

    def end(self, outcome: str) -> None:
        """Show that the process has ended, with its outcome."""
        self._bar.advance(self._task)
        if not self._console.is_terminal:
            self.note(outcome)

    def note(self, text: str) -> None:
        """Print a line."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)
