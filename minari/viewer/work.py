"""Threads in which the viewer reads, and their end when nobody waits for them any more."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from threading import Event
from typing import Any, Final, ParamSpec, TypeVar

import anyio
import anyio.to_thread

from minari.errors import MinariError
from minari.progress import ProgressTask, observe_progress


__all__ = ["Receive", "Stopped", "Workers"]

P = ParamSpec("P")
T = TypeVar("T")

#: The channel of ASGI by which a client says that it has left.
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

_MOST_THREADS: Final = 4  # that read; each may hold an episode


class Stopped(MinariError):
    """Work that is stopped, as the client has left or the server ends."""


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
        return await self._run(partial(work, *args, **kwargs), [self._stopped])

    async def run_for(self, receive: Receive, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return the result of a function that reads, as :meth:`run` does, unless the client leaves before.

        Raises:
            Stopped: the client has left, or the server ends.
        """
        has_left = Event()
        outcome: list[T | Exception] = []

        async def read() -> None:
            try:
                outcome.append(await self._run(partial(work, *args, **kwargs), [self._stopped, has_left]))
            except Exception as error:
                outcome.append(error)
            group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            group.start_soon(read)
            while (await receive())["type"] != "http.disconnect":
                pass
            has_left.set()
            group.cancel_scope.cancel()
        result = outcome[0] if outcome else Stopped("The client has left.")
        if isinstance(result, Exception):
            raise result
        return result

    async def run_to_the_end(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return the result of a function that writes, which is never stopped."""
        return await anyio.to_thread.run_sync(partial(work, *args, **kwargs), limiter=self._limit())

    def stop(self) -> None:
        """End the work that goes on, at the next episode."""
        self._stopped.set()

    async def _run(self, work: Callable[[], T], stops: list[Event]) -> T:
        def stoppable() -> T:
            with observe_progress(_Stopping(stops)):
                return work()

        return await anyio.to_thread.run_sync(stoppable, abandon_on_cancel=True, limiter=self._limit())

    def _limit(self) -> anyio.CapacityLimiter:
        if self._limiter is None:  # made within the event loop
            self._limiter = anyio.CapacityLimiter(_MOST_THREADS)
        return self._limiter


class _Stopping:
    """Observer that ends an operation once one of several events has happened."""

    def __init__(self, stops: list[Event]) -> None:
        self._stops = stops

    def started(self, task: ProgressTask) -> None:
        self._check()

    def advanced(self, task: ProgressTask, amount: int) -> None:
        self._check()

    def finished(self, task: ProgressTask) -> None:
        pass

    def _check(self) -> None:
        if any(stop.is_set() for stop in self._stops):
            raise Stopped("The reading is stopped, as nobody waits for it.")
