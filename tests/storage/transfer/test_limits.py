"""Asking again."""

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


class Remote:
    """Fails so many times, each time after so many seconds."""

    def __init__(self, clock: Clock, failures: int, error: Exception, seconds: float = 0.0) -> None:
        self.clock, self.failures, self.error, self.seconds = clock, failures, error, seconds
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        self.clock.now += self.seconds
        if self.calls <= self.failures:
            raise self.error
        return "answer"


@pytest.mark.parametrize("failures", [0, 1, 4])
def test_a_failure_that_passes(failures: int, clock: Clock) -> None:
    assert with_retries(Remote(clock, failures, RemoteUnreachableError("away"))) == "answer"
    assert len(clock.pauses) == failures
    assert all(0.1 * 2**n <= pause <= 0.2 * 2**n for n, pause in enumerate(clock.pauses))


def test_a_failure_that_stays(clock: Clock) -> None:
    remote = Remote(clock, 99, RemoteUnreachableError("away"))
    with pytest.raises(RemoteUnreachableError, match="away"):
        with_retries(remote)
    assert remote.calls == 5
    assert clock.now < 5  # seconds: a dead remote is known to be dead soon


def test_answers_that_take_long_are_not_waited_for_again_and_again(clock: Clock) -> None:
    remote = Remote(clock, 99, RemoteUnreachableError("no answer in 15 s"), seconds=15)
    with pytest.raises(RemoteUnreachableError):
        with_retries(remote)
    assert remote.calls == 2


def test_a_remote_says_when_to_come_back(clock: Clock) -> None:
    assert with_retries(Remote(clock, 1, RemoteUnreachableError("busy", retry_after=7.5))) == "answer"
    assert clock.pauses == [7.5]
    remote = Remote(clock, 1, RemoteUnreachableError("busy for an hour", retry_after=3600))
    with pytest.raises(RemoteUnreachableError):
        with_retries(remote)
    assert remote.calls == 1


def test_what_will_not_change_is_not_asked_again(clock: Clock) -> None:
    remote = Remote(clock, 1, RemoteAccessError("no"))
    with pytest.raises(RemoteAccessError):
        with_retries(remote)
    assert remote.calls == 1
