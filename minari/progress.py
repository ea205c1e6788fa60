"""How long operations report what they have done, to whoever wants to know.

The library itself is silent. Code that does many things of one kind wraps them in
:func:`track`; a program that wants to draw a bar installs an observer for the time of a
``with`` block:

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
    """One operation under way.

    Attributes:
        description: what is being done, as a person would say it ("combining cartpole/a-v0").
        total: how many units it will take, None where that is not known beforehand.
        unit: what is counted, in the plural ("episodes", "files", "bytes").
    """

    description: str
    total: int | None
    unit: str


class ProgressObserver(Protocol):
    """What is told about operations; each is started once and finished once, even when it fails."""

    def started(self, task: ProgressTask) -> None:
        """The operation begins."""

    def advanced(self, task: ProgressTask, amount: int) -> None:
        """``amount`` further units are done."""

    def finished(self, task: ProgressTask) -> None:
        """The operation has ended, well or not."""


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
    """Yield the items one by one, reporting each to the observer of the moment.

    Args:
        items: what is worked through.
        description: what is being done.
        total: how many items there will be; taken from ``len(items)`` where it has one.
        unit: what the items are, in the plural.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    with progress(description, total, unit=unit) as advance:
        for item in items:
            yield item
            advance(1)


@contextmanager
def progress(description: str, total: int | None, *, unit: str = "episodes") -> Iterator[Callable[[int], None]]:
    """Report an operation to the observer of the moment, whatever it does at a time.

    Args:
        description: what is being done.
        total: how many units it will take; None where that is not known.
        unit: what is counted, in the plural.

    Yields:
        What is called with the number of units that have been done since the last call.
    """
    observer = _observer.get()
    task = ProgressTask(description, total, unit)
    observer.started(task)
    try:
        yield lambda amount: observer.advanced(task, amount)
    finally:
        observer.finished(task)
