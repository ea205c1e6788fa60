"""Many calls at once, in threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import TypeVar


__all__ = ["parallel_map"]

T = TypeVar("T")
R = TypeVar("R")

_POLLED_EVERY = 0.2  # seconds


def parallel_map(
    function: Callable[[T], R], items: Iterable[T], max_workers: int, *, poll: Callable[[], None] | None = None
) -> Iterator[R]:
    """Call a function with each item in threads that wait for a network or a disk, and yield results as they are ready.

    The first failure ends it: calls that run are waited for, the others never begin.

    Args:
        function: safe to run in several threads.
        items: taken a few at a time, in order.
        max_workers: number of threads.
        poll: is called now and then, from this thread.
    """
    remaining = iter(items)
    interval = None if poll is None else _POLLED_EVERY
    with ThreadPoolExecutor(max_workers) as pool:
        running: set[Future[R]] = {pool.submit(function, item) for item in islice(remaining, 2 * max_workers)}
        try:
            while running:
                done, running = wait(running, interval, return_when=FIRST_COMPLETED)
                running |= {pool.submit(function, item) for item in islice(remaining, len(done))}
                if poll is not None:
                    poll()
                for future in done:
                    yield future.result()
        except BaseException:
            for future in running:
                future.cancel()
            raise
