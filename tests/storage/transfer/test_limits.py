"""Retries of what fails: how often, after which pauses, and for how long."""

from __future__ import annotations

import pytest

from minari.errors import RemoteAccessError, RemoteUnreachableError
from minari.storage.transfer import limits
from minari.storage.transfer.limits import with_retries


class Clock:
    """Time that passes only when somebody sleeps, or works."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(limits, "time", clock)
    return clock


def calls_until(clock: Clock, error: Exception, failures: int = 99, seconds: float = 0.0) -> tuple[int, bool]:
    """Call what fails so many times, each time after so many seconds; return the calls and whether one succeeded."""
    calls = 0

    def call() -> str:
        nonlocal calls
        calls += 1
        clock.now += seconds
        if calls <= failures:
            raise error
        return "answer"

    try:
        assert with_retries(call) == "answer"
    except (RemoteAccessError, RemoteUnreachableError):
        return calls, False
    return calls, True


@pytest.mark.parametrize("failures", [0, 1, 4])
def test_transient_failure_is_retried_after_growing_pauses(failures: int, clock: Clock) -> None:
    assert calls_until(clock, RemoteUnreachableError("away"), failures) == (failures + 1, True)
    assert len(clock.pauses) == failures
    assert all(0.1 * 2**n <= pause <= 0.2 * 2**n for n, pause in enumerate(clock.pauses))


def test_permanent_failure_is_known_within_seconds(clock: Clock) -> None:
    assert calls_until(clock, RemoteUnreachableError("away")) == (5, False)
    assert clock.now < 5
    assert calls_until(clock, RemoteUnreachableError("no answer in 15 s"), seconds=15) == (2, False)
    assert calls_until(clock, RemoteAccessError("no"), failures=1) == (1, False)


def test_remote_says_when_to_come_back(clock: Clock) -> None:
    assert calls_until(clock, RemoteUnreachableError("busy", retry_after=7.5), failures=1) == (2, True)
    assert clock.pauses == [7.5]
    assert calls_until(clock, RemoteUnreachableError("busy for an hour", retry_after=3600), failures=1) == (1, False)
