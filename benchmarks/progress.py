"""What a run shows while it works: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar


class Progress:
    """Shows the workload and side at work.

    Args:
        console: Where to.
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
            refresh_per_second=2,  # drawing takes time from what is measured
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
        """So many processes are to come."""
        self._bar.update(self._task, total=total)

    def begin(self, name: str, side: str, turn: int, turns: int) -> None:
        """A process starts."""
        self._bar.update(self._task, description=f"{name}: {side} {turn}/{turns}")

    def end(self, outcome: str) -> None:
        """It has ended, with this outcome."""
        self._bar.advance(self._task)
        if not self._console.is_terminal:
            self.note(outcome)

    def note(self, text: str) -> None:
        """Something worth a line."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)
