"""Many calls at once, in threads."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from itertools import chain, islice
from typing import TypeVar


__all__ = ["in_background", "map_in_batches", "parallel_map"]

T = TypeVar("T")
R = TypeVar("R")

_POLLED_EVERY = 0.2  # seconds

_pool: ThreadPoolExecutor | None = None


def _forget() -> None:
    global _pool  # (a forked child has no threads)
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


def in_background(function: Callable[[], R]) -> Callable[[], R]:
    """Begin a call in one of the threads of :func:`map_in_batches`; return a function that waits for its result.

    If no thread has taken the call by then, it is made while waiting, so that one of these threads may wait as well.

    Args:
        function: must release the GIL for most of its time, and must not wait for another call.

    >>> in_background(lambda: 3)()
    3
    """
    process = os.getpid()
    try:
        future = _threads().submit(function)
    except RuntimeError:  # no more threads can be started while the program exits
        return function

    def result() -> R:
        if os.getpid() != process or future.cancel():  # (a forked child has no threads)
            return function()
        return future.result()

    return result


def map_in_batches(function: Callable[[T], R], items: Iterable[T], at_a_time: int) -> list[R]:
    """Return the results of a function for each item, in order, using one thread per CPU.

    This thread is one of them. Each takes the next items when it has done its own.

    Args:
        function: must release the GIL for most of its time, like zlib, and must not call this function.
        items: the arguments.
        at_a_time: number of items that a thread takes at once.

    >>> map_in_batches(abs, [-1, 2, -3], at_a_time=2)
    [1, 2, 3]
    """
    items = list(items)
    if len(items) <= at_a_time:
        return list(map(function, items))
    waiting = deque(range(0, len(items), at_a_time))
    results: list[list[R] | None] = [None] * len(waiting)

    def work() -> None:
        while waiting:
            try:
                start = waiting.popleft()
            except IndexError:  # another thread was faster
                return
            results[start // at_a_time] = list(map(function, items[start : start + at_a_time]))

    others = _start(work, len(waiting) - 1)
    try:
        work()
    finally:
        waiting.clear()
        failures = [other.exception() for other in others if not other.cancel()]
    for failure in filter(None, failures):
        raise failure
    starts = range(0, len(items), at_a_time)
    return list(
        chain.from_iterable(
            # A thread that could not be started while the program exits may have taken some.
            map(function, items[start : start + at_a_time]) if part is None else part
            for start, part in zip(starts, results, strict=True)
        )
    )


def _start(work: Callable[[], None], most: int) -> list[Future[None]]:
    """Call a function in the other threads that there are, up to a number of them."""
    others: list[Future[None]] = []
    with suppress(RuntimeError):  # no more threads can be started while the program exits
        while len(others) < min((os.cpu_count() or 1) - 1, most):
            others.append(_threads().submit(work))
    return others


def _threads() -> ThreadPoolExecutor:
    """Return the threads that are shared, one for each CPU."""
    global _pool
    pool = _pool
    if pool is None:
        _pool = pool = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="minari")
    return pool
