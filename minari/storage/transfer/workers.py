"""Moves many files at the same time, and tells how far it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from itertools import islice
from typing import Protocol, TypeVar

from minari.progress import progress


__all__ = ["Advance", "each_at_once", "transfer_progress"]

T = TypeVar("T")
R = TypeVar("R")


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


def each_at_once(call: Callable[[T], R], items: Iterable[T], max_workers: int) -> Iterator[R]:
    """What a call gives for each of the items, as they are ready; the calls run in several threads.

    The first that fails ends it: those that run are waited for, the others never begin.

    Args:
        call: safe to run in several threads.
        items: taken a few at a time, in order.
        max_workers: how many threads there are.
    """
    remaining = iter(items)
    with ThreadPoolExecutor(max_workers) as pool:
        running: set[Future[R]] = {pool.submit(call, item) for item in islice(remaining, 2 * max_workers)}
        try:
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                running |= {pool.submit(call, item) for item in islice(remaining, len(done))}
                for future in done:
                    yield future.result()
        except BaseException:
            for future in running:
                future.cancel()
            raise
