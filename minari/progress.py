"""Progress reports of long operations.

The library itself is silent. Code that processes many items wraps them in :func:`track`; a program that draws
a progress bar installs an observer for the duration of a ``with`` block:

>>> from minari.progress import observe_progress, track
>>> class Counter:
...     def started(self, task): self.task, self.done = task, 0
...     def advanced(self, task, amount): self.done += amount
...     def finished(self, task): print(task.description, self.done, task.unit)
>>> with observe_progress(Counter()):
...     total = sum(track(range(4), "adding up", unit="numbers"))
adding up 4 numbers
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol, TypeVar


__all__ = ["ProgressObserver", "ProgressTask", "observe_progress", "progress", "track"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class ProgressTask:
    """An operation in progress.

    Attributes:
        description: the operation in plain words ("combining cartpole/a-v0").
        total: the number of units, None if it is not known in advance.
        unit: the unit in the plural ("episodes", "files", "bytes").
    """

    description: str
    total: int | None
    unit: str


class ProgressObserver(Protocol):
    """Observer of operations; each operation is started once and finished once, even if it fails."""

    def started(self, task: ProgressTask) -> None:
        """The operation begins."""

    def advanced(self, task: ProgressTask, amount: int) -> None:
        """``amount`` more units are done."""

    def finished(self, task: ProgressTask) -> None:
        """The operation has ended, successfully or not."""


class _Silence:
    def started(self, task: ProgressTask) -> None:
        pass

    def advanced(self, task: ProgressTask, amount: int) -> None:
        pass

    def finished(self, task: ProgressTask) -> None:
        pass


_observer: ContextVar[ProgressObserver] = ContextVar("minari_progress", default=_Silence())


@contextmanager
def observe_progress(observer: ProgressObserver) -> Iterator[None]:
    """Report the operations inside the ``with`` block to ``observer``."""
    token = _observer.set(observer)
    try:
        yield
    finally:
        _observer.reset(token)


def track(items: Iterable[T], description: str, *, total: int | None = None, unit: str = "episodes") -> Iterator[T]:
    """Yield items one by one, reporting each to the current observer.

    Args:
        items: the items to process.
        description: the operation.
        total: the number of items; by default ``len(items)`` if it has a length.
        unit: the unit of the items, in the plural.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    with progress(description, total, unit=unit) as advance:
        for item in items:
            yield item
            advance(1)


@contextmanager
def progress(description: str, total: int | None, *, unit: str = "episodes") -> Iterator[Callable[[int], None]]:
    """Report an operation to the current observer.

    Args:
        description: the operation.
        total: the number of units; None if it is not known.
        unit: the unit, in the plural.

    Yields:
        A function to call with the number of units done since the last call.
    """
    observer = _observer.get()
    task = ProgressTask(description, total, unit)
    observer.started(task)
    try:
        yield lambda amount: observer.advanced(task, amount)
    finally:
        observer.finished(task)
