"""Shows how far long operations are, on standard error: bars on a terminal, and plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from minari._base.lazy import LazyModule
from minari.cli.terminal import echo, open_console
from minari.progress import ProgressTask, observe_progress


if TYPE_CHECKING:
    from minari.cli import bars
else:
    bars = LazyModule("minari.cli.bars")  # most commands on whole datasets have nothing to draw


__all__ = ["PlainLines", "progress_bars"]

_INTERVAL = 10.0  # seconds that lie between two lines at least, and before the first


@contextmanager
def progress_bars(*, quiet: bool = False) -> Iterator[None]:
    """Show the operations inside the ``with`` block; nothing remains of the bars afterwards.

    Args:
        quiet: whether to draw nothing; long operations then say a line now and then, as they do where
            standard error is no terminal.
    """
    console = open_console(stderr=True)
    if quiet or not console.is_terminal:
        with observe_progress(PlainLines()):
            yield
        return
    with bars.open_bars(console) as display, observe_progress(bars.Bars(display)):
        yield


@dataclass(slots=True)
class _Count:
    done: int
    told: float
    tenths: int


class PlainLines:
    """An observer that says a line at each further tenth of a long operation, but not too often.

    Of an operation whose end is not known it says once that it goes on.

    Args:
        clock: seconds since whenever.
        say: is given the lines.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        say: Callable[[str], None] = lambda line: echo(line, err=True),
    ) -> None:
        self._clock, self._say = clock, say
        self._counts: dict[ProgressTask, _Count] = {}

    def started(self, task: ProgressTask) -> None:
        """Begin to count."""
        self._counts[task] = _Count(0, self._clock(), 0)

    def advanced(self, task: ProgressTask, amount: int) -> None:
        """Say a line where it is time for one."""
        count = self._counts[task]
        count.done += amount
        # Where there is no end, beginning is the one tenth that there is.
        tenths = 10 * count.done // task.total if task.total else 1
        now = self._clock()
        if tenths <= count.tenths or now - count.told < _INTERVAL:
            return
        count.told, count.tenths = now, tenths
        description = task.description[:1].upper() + task.description[1:]
        if task.total:
            whole = f"{task.total / 1e6:,.1f} MB" if task.unit == "bytes" else f"{task.total:,} {task.unit}"
            self._say(f"{description}: {100 * count.done // task.total}% of {whole}")
        else:
            self._say(f"{description}...")

    def finished(self, task: ProgressTask) -> None:
        """Count no more."""
        del self._counts[task]
