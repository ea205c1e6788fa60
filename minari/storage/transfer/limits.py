"""Timeouts, minimum pace of responses, transient statuses, and retries of all remotes."""

from __future__ import annotations

import logging
import random
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from minari.errors import DatasetCorruptError, RemoteError, RemoteUnreachableError


__all__ = [
    "ATTEMPTS",
    "DamagedInTransitError",
    "Limits",
    "Pace",
    "is_transient",
    "retry_after",
    "until_intact",
    "with_retries",
    "within",
]

T = TypeVar("T")

#: Number of attempts of a request to a remote that is unreachable.
ATTEMPTS = 5
#: Seconds after which a failure is final, even after fewer attempts.
PATIENCE = 20.0
#: Seconds before the second attempt; each pause is up to twice as long as the previous one.
FIRST_PAUSE = 0.2
#: The longest pause that a remote may ask for, in seconds.
LONGEST_WAIT = 60.0

#: Number of attempts to transfer content that arrives damaged.
ATTEMPTS_AT_DAMAGED = 3

#: Maximum number of redirects of one request.
MOST_REDIRECTS = 10

_TRANSIENT = frozenset({408, 425, 429})  # in addition to all from 500

_log = logging.getLogger(__name__)


class DamagedInTransitError(RemoteError):
    """Content that arrived at a remote differs from what was sent."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of the duration of a response.

    Attributes:
        connect_timeout: time to connect, in seconds.
        read_timeout: time between two pieces of a response, in seconds.
        bytes_per_second: minimum average rate over each interval.
        interval: length of the interval, in seconds.
        clock: function that returns the time in seconds.
    """

    connect_timeout: float = 5.0
    read_timeout: float = 15.0
    bytes_per_second: float = 1024.0
    interval: float = 30.0
    clock: Callable[[], float] = time.monotonic


class Pace:
    """Pace of one response, measured from the creation of this object.

    Args:
        limits: minimum pace of the response.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._begun = limits.clock()
        self._moved = 0

    def moved(self, size: int) -> None:
        """Count further bytes.

        Raises:
            TimeoutError: fewer bytes have arrived than the limits require.
        """
        self._moved += size
        now, interval = self._limits.clock(), self._limits.interval
        if now - self._begun < interval:
            return
        if self._moved < self._limits.bytes_per_second * (now - self._begun):
            raise TimeoutError(f"fewer than {self._limits.bytes_per_second:,.0f} bytes a second for {interval:g} s")
        self._begun, self._moved = now, 0


def within(seconds: float, call: Callable[[], T]) -> T:
    """Return the result of a call, unless it takes too long.

    The call runs in a separate thread, which is abandoned on a timeout: there is no other way to end a wait
    inside a client library.

    Args:
        seconds: maximum time to wait.
        call: function that may take too long.

    Raises:
        TimeoutError: the call took longer.
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
            failure.clear()  # otherwise the exception and this frame would keep each other alive
    if not answer:
        raise TimeoutError(f"no response after {seconds:g} seconds")
    return answer[0]


def is_transient(status: int) -> bool:
    """Return whether an HTTP status means that the same request may succeed later."""
    return status in _TRANSIENT or status >= 500


def retry_after(value: str | None) -> float | None:
    """Return the seconds in a ``Retry-After`` header; None if it is absent or a date."""
    return float(value) if value and re.fullmatch("[0-9]{1,9}", value) else None


def with_retries(call: Callable[[], T]) -> T:
    """Return the result of a call, which is repeated while the remote is unreachable.

    Args:
        call: function that is safe to repeat.

    Raises:
        RemoteUnreachableError: the remote was unreachable in every attempt.
    """
    begun = time.monotonic()
    pause = FIRST_PAUSE
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return call()
        except RemoteUnreachableError as error:
            wanted = error.retry_after
            if attempt == ATTEMPTS or time.monotonic() - begun > PATIENCE or (wanted or 0.0) > LONGEST_WAIT:
                raise
            _log.debug("attempt %d failed: %s", attempt, error)
            # Random, so that many clients that were rejected together do not come back together.
            time.sleep(wanted if wanted is not None else pause * random.uniform(0.5, 1.0))
            pause *= 2
    raise AssertionError("unreachable: the last attempt returns or raises")


def until_intact(call: Callable[[], T]) -> T:
    """Return the result of a call, which is repeated while content is damaged in transit.

    Args:
        call: function that is safe to repeat; raises one of the errors below if the content is not as expected.

    Raises:
        DatasetCorruptError: the content that was read was damaged in every attempt.
        DamagedInTransitError: the content that was sent was damaged in every attempt.
    """
    for attempts_left in reversed(range(ATTEMPTS_AT_DAMAGED)):
        try:
            return call()
        except (DatasetCorruptError, DamagedInTransitError) as error:
            if not attempts_left:
                raise
            _log.info("%s Trying again.", error)
    raise AssertionError("unreachable: the last attempt returns or raises")
