"""Progress of long operations on standard error: bars on a terminal, plain lines elsewhere."""

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
    bars = LazyModule("minari.cli.bars")  # most commands draw no bar


__all__ = ["PlainLines", "progress_bars"]

_INTERVAL = 10.0  # minimum time in seconds before the first line and between lines


@contextmanager
def progress_bars(*, quiet: bool = False) -> Iterator[None]:
    """Show the progress of operations inside the ``with`` block; the bars disappear afterwards.

    Args:
        quiet: draw no bars; long operations print a line now and then instead, as they do if standard error is not
            a terminal.
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
    reported: float
    tenths: int


class PlainLines:
    """Observer that prints a line at each further tenth of a long operation, at limited rate.

    For an operation of unknown length, it prints one line.

    Args:
        clock: returns a monotonic time in seconds.
        say: called with each line.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        say: Callable[[str], None] = lambda line: echo(line, err=True),
    ) -> None:
        self._clock, self._say = clock, say
        self._counts: dict[ProgressTask, _Count] = {}

    def started(self, task: ProgressTask) -> None:
        """Start counting."""
        self._counts[task] = _Count(0, self._clock(), 0)

    def advanced(self, task: ProgressTask, amount: int) -> None:
        """Print a line if one is due."""
        count = self._counts[task]
        count.done += amount
        # Of unknown length: the one line is due once anything is done.
        tenths = 10 * count.done // task.total if task.total else 1
        now = self._clock()
        if tenths <= count.tenths or now - count.reported < _INTERVAL:
            return
        count.reported, count.tenths = now, tenths
        description = task.description[:1].upper() + task.description[1:]
        if task.total:
            whole = f"{task.total / 1e6:,.1f} MB" if task.unit == "bytes" else f"{task.total:,} {task.unit}"
            self._say(f"{description}: {100 * count.done // task.total}% of {whole}")
        else:
            self._say(f"{description}...")

    def finished(self, task: ProgressTask) -> None:
        """Stop counting."""
        del self._counts[task]
