"""Many calls at once, in threads."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import chain, islice
from typing import TypeVar


__all__ = ["in_threads", "parallel_map"]

T = TypeVar("T")
R = TypeVar("R")

_POLLED_EVERY = 0.2  # seconds

_pool: ThreadPoolExecutor | None = None


def _forget() -> None:
    global _pool  # (the threads do not exist in the child of a fork)
    _pool = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


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


def in_threads(function: Callable[[T], R], items: Iterable[T], at_a_time: int) -> list[R]:
    """What a function returns for each item, in order, from as many threads as there are processors.

    Args:
        function: it must leave Python for most of its time, as that of zlib does, and must not call this itself.
        items: what it is called with.
        at_a_time: how many items a thread takes, since to hand it any costs 50 µs.

    >>> in_threads(abs, [-1, 2, -3], at_a_time=2)
    [1, 2, 3]
    """
    items = list(items)
    if len(items) <= at_a_time:
        return list(map(function, items))
    parts = [items[start : start + at_a_time] for start in range(0, len(items), at_a_time)]
    try:
        results = _shared_pool().map(lambda part: list(map(function, part)), parts)
    except RuntimeError:  # at the end of a program no more threads are started
        return list(map(function, items))
    return list(chain.from_iterable(results))


def _shared_pool() -> ThreadPoolExecutor:
    global _pool
    if _pool is None:
        _pool = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="minari")
    return _pool
