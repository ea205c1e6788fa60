"""How slow an answer may be: a remote that sends a byte now and then is out of reach, and is not waited for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar


__all__ = ["Limits", "Pace", "within"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Limits:
    """How slow an answer may be.

    Attributes:
        bytes_per_second: what has to come on average over each interval.
        interval: in seconds.
        clock: what tells the time.
    """

    bytes_per_second: float = 1024.0
    interval: float = 30.0
    clock: Callable[[], float] = time.monotonic


class Pace:
    """Watches one answer, from the moment at which it is made.

    Args:
        limits: how slow it may be.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._begun = limits.clock()
        self._moved = 0

    def moved(self, size: int) -> None:
        """So many further bytes have come.

        Raises:
            TimeoutError: too few have come for too long.
        """
        self._moved += size
        now, interval = self._limits.clock(), self._limits.interval
        if now - self._begun < interval:
            return
        if self._moved < self._limits.bytes_per_second * (now - self._begun):
            raise TimeoutError(f"fewer than {self._limits.bytes_per_second:,.0f} bytes a second for {interval:g} s")
        self._begun, self._moved = now, 0


def within(seconds: float, call: Callable[[], T]) -> T:
    """Return what a call gives, unless it takes too long.

    It runs in a thread of its own, which is left behind when the time is over: there is no other way to
    end a wait inside a client library.

    Args:
        seconds: for how long to wait.
        call: what may take too long.

    Raises:
        TimeoutError: the time is over.
    """
    answer: list[T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            answer.append(call())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=run, name="minari-remote", daemon=True)
    thread.start()
    thread.join(seconds)
    if failure:
        try:
            raise failure[0]
        finally:
            failure.clear()  # or the exception and this frame would keep each other alive
    if not answer:
        raise TimeoutError(f"no answer after {seconds:g} seconds")
    return answer[0]
