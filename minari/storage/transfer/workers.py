"""Moves many files at the same time, and tells how far it is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from itertools import islice
from typing import Protocol, TypeVar

from minari.progress import progress


__all__ = ["Advance", "FileMeter", "Meter", "each_at_once", "transfer_progress", "untold"]

T = TypeVar("T")
R = TypeVar("R")

_TOLD_EVERY = 0.2  # seconds


class Advance(Protocol):
    """What is told that so much of a transfer is done, from the thread that began it."""

    def __call__(self, size: int, files: int = 0) -> None:
        """``size`` further bytes, and ``files`` files that are complete with these."""


@contextmanager
def transfer_progress(description: str, size: int, files: int) -> Iterator[Advance]:
    """Report a transfer to the observer of the moment, as bytes and as files.

    Args:
        description: such as ``"downloading cartpole/random-v0"``.
        size: in bytes.
        files: how many.
    """
    with ExitStack() as tasks:
        moved = tasks.enter_context(progress(description, size, unit="bytes"))
        finished = tasks.enter_context(progress(description, files, unit="files"))

        def advance(size: int, files: int = 0) -> None:
            if size:
                moved(size)
            if files:
                finished(files)

        yield advance


def untold(size: int) -> None:
    """What is told of bytes where nobody wants to know."""


class Meter:
    """Adds up what several threads are moving, for the one thread that tells of it.

    Args:
        advance: is told, by :meth:`tell`.
    """

    def __init__(self, advance: Advance) -> None:
        self._advance = advance
        self._lock = threading.Lock()
        self._untold = 0

    def file(self, size: int) -> FileMeter:
        """What counts the bytes of one file."""
        return FileMeter(self, size)

    def add(self, size: int) -> None:
        """So many further bytes have been moved; from any thread."""
        with self._lock:
            self._untold += size

    def tell(self) -> None:
        """Tell what has been added since the last time."""
        with self._lock:
            size, self._untold = self._untold, 0
        if size:
            self._advance(size)


class FileMeter:
    """Counts the bytes of one file, each once, however often they have to be moved.

    Args:
        meter: that of the transfer.
        size: of the file, in bytes.
    """

    def __init__(self, meter: Meter, size: int) -> None:
        self._meter, self._size = meter, size
        self._lock = threading.Lock()
        self._moved = self._told = 0

    def __call__(self, size: int) -> None:
        """So many further bytes have been moved; from any thread."""
        with self._lock:
            self._moved = min(self._moved + size, self._size)
            further = max(self._moved - self._told, 0)
            self._told += further
        self._meter.add(further)

    def restart(self) -> None:
        """The file is moved once more, from the beginning."""
        with self._lock:
            self._moved = 0

    def finish(self) -> None:
        """The whole file is there."""
        self(self._size)


def each_at_once(
    call: Callable[[T], R], items: Iterable[T], max_workers: int, meter: Meter | None = None
) -> Iterator[R]:
    """What a call gives for each of the items, as they are ready; the calls run in several threads.

    The first that fails ends it: those that run are waited for, the others never begin.

    Args:
        call: safe to run in several threads.
        items: taken a few at a time, in order.
        max_workers: how many threads there are.
        meter: tells now and then, from this thread, what the calls have added to it.
    """
    remaining = iter(items)
    interval = None if meter is None else _TOLD_EVERY
    with ThreadPoolExecutor(max_workers) as pool:
        running: set[Future[R]] = {pool.submit(call, item) for item in islice(remaining, 2 * max_workers)}
        try:
            while running:
                done, running = wait(running, interval, return_when=FIRST_COMPLETED)
                running |= {pool.submit(call, item) for item in islice(remaining, len(done))}
                if meter is not None:
                    meter.tell()
                for future in done:
                    yield future.result()
        except BaseException:
            for future in running:
                future.cancel()
            raise
