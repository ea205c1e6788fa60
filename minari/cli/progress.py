"""Progress of long operations on standard error: bars on a terminal, and plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from minari._base.lazy import LazyModule
from minari.cli.terminal import complain, open_console
from minari.progress import ProgressTask, observe_progress


if TYPE_CHECKING:
    from minari.cli import bars
else:
    bars = LazyModule("minari.cli.bars")  # most commands on whole datasets have no bars


__all__ = ["PlainLines", "progress_bars"]

_INTERVAL = 10.0  # minimum seconds between two lines, and before the first


@contextmanager
def progress_bars(*, quiet: bool = False) -> Iterator[None]:
    """Show the operations inside the ``with`` block; bars disappear afterwards.

    Args:
        quiet: True to show no bars; long operations then print an occasional line, as when standard error is
            not a terminal.
    """
    console = open_console(stderr=True)
    if quiet or not console.is_terminal:
        with observe_progress(PlainLines()):
            yield
        return
    with bars.bars_on(console) as display, observe_progress(bars.Bars(display)):
        yield


@dataclass(slots=True)
class _Count:
    done: int
    told: float
    tenths: int


class PlainLines:
    """Observer that prints a line at each tenth of a long operation, but not too often.

    For an operation without a known end, it prints one line.

    Args:
        clock: returns seconds.
        say: prints a line.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, say: Callable[[str], None] = complain) -> None:
        self._clock, self._say = clock, say
        self._counts: dict[ProgressTask, _Count] = {}

    def started(self, task: ProgressTask) -> None:
        """Start counting."""
        self._counts[task] = _Count(0, self._clock(), 0)

    def advanced(self, task: ProgressTask, amount: int) -> None:
        """Print a line if it is time for one."""
        count = self._counts[task]
        count.done += amount
        # Without an end, the beginning counts as a tenth.
        tenths = 10 * count.done // task.total if task.total else 1
        now = self._clock()
        if tenths <= count.tenths or now - count.told < _INTERVAL:
            return
        count.told, count.tenths = now, tenths
        description = task.description[:1].upper() + task.description[1:]
        self._say(f"{description}: {_part(task, count.done)}" if task.total else f"{description}...")

    def finished(self, task: ProgressTask) -> None:
        """Stop counting."""
        del self._counts[task]


def _part(task: ProgressTask, done: int) -> str:
    total = task.total or 0
    whole = f"{total / 1e6:,.1f} MB" if task.unit == "bytes" else f"{total:,} {task.unit}"
    return f"{100 * done // total}% of {whole}"
