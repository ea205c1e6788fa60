"""Threads in which the viewer reads, and their end when nobody waits for them any more."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from threading import Event
from typing import Final, ParamSpec, TypeVar

import anyio
import anyio.to_thread

from minari.errors import MinariError
from minari.progress import ProgressTask, observe_progress


__all__ = ["Stopped", "Workers"]

P = ParamSpec("P")
T = TypeVar("T")

_MOST_THREADS: Final = 4  # that read; each may hold an episode


class Stopped(MinariError):
    """Work that is stopped, as the server ends."""


class Workers:
    """The threads of a server."""

    def __init__(self) -> None:
        self._stopped = Event()
        self._limiter: anyio.CapacityLimiter | None = None

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return the result of a function that reads, called in a thread.

        Raises:
            Stopped: the server ends.
        """
        call = partial(self._stoppable, partial(work, *args, **kwargs))
        return await anyio.to_thread.run_sync(call, abandon_on_cancel=True, limiter=self._limit())

    async def run_to_the_end(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return the result of a function that writes, which is never stopped."""
        return await anyio.to_thread.run_sync(partial(work, *args, **kwargs), limiter=self._limit())

    def stop(self) -> None:
        """End the work that goes on, at the next episode."""
        self._stopped.set()

    def _limit(self) -> anyio.CapacityLimiter:
        if self._limiter is None:  # made within the event loop
            self._limiter = anyio.CapacityLimiter(_MOST_THREADS)
        return self._limiter

    def _stoppable(self, work: Callable[[], T]) -> T:
        with observe_progress(_Stopping(self._stopped)):
            return work()


class _Stopping:
    """Observer that ends an operation."""

    def __init__(self, stopped: Event) -> None:
        self._stopped = stopped

    def started(self, task: ProgressTask) -> None:
        self._check()

    def advanced(self, task: ProgressTask, amount: int) -> None:
        self._check()

    def finished(self, task: ProgressTask) -> None:
        pass

    def _check(self) -> None:
        if self._stopped.is_set():
            raise Stopped("The server ends.")
