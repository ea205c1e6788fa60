"""Threads for compression and decompression, shared by the whole process."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import TypeVar


_A = TypeVar("_A")
_B = TypeVar("_B")

_pool: ThreadPoolExecutor | None = None


def _forget() -> None:
    global _pool  # (a forked child has no threads)
    _pool = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def in_threads(function: Callable[[_A], _B], items: Iterable[_A], at_a_time: int) -> list[_B]:
    """Return the results of a function for each item, in order, using one thread per CPU.

    Args:
        function: must release the GIL for most of its time, like zlib, and must not call this function.
        items: the arguments.
        at_a_time: number of items that a thread takes at once, since each handover costs 50 µs.

    >>> in_threads(abs, [-1, 2, -3], at_a_time=2)
    [1, 2, 3]
    """
    items = list(items)
    if len(items) <= at_a_time:
        return list(map(function, items))
    parts = [items[start : start + at_a_time] for start in range(0, len(items), at_a_time)]
    try:
        results = _shared_pool().map(lambda part: list(map(function, part)), parts)
    except RuntimeError:  # no more threads can be started while the program exits
        return list(map(function, items))
    return list(chain.from_iterable(results))


def _shared_pool() -> ThreadPoolExecutor:
    global _pool
    if _pool is None:
        _pool = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="minari")
    return _pool
