"""Many at once, and the count of what they move."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minari._base.parallel import parallel_map
from minari.storage.transfer.meter import FileMeter, Meter


class Told:
    """Observer that records its reports and their threads."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.threads: set[int] = set()

    def __call__(self, size: int, files: int = 0) -> None:
        self.sizes.append(size)
        self.threads.add(threading.get_ident())


def test_each_is_called_once_and_never_too_many_at_a_time() -> None:
    lock, inside, most = threading.Lock(), 0, 0
    three = threading.Barrier(3, timeout=10)

    def call(number: int) -> int:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        three.wait()  # passes only with three concurrent calls
        with lock:
            inside -= 1
        return number * number

    assert sorted(parallel_map(call, iter(range(30)), 3)) == [number * number for number in range(30)]
    assert most == 3


def test_items_are_taken_as_they_are_needed() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(1000):
            taken.append(number)
            yield number

    results = parallel_map(abs, items(), 2)
    assert next(results) in range(10)
    assert len(taken) < 20
    results.close()  # type: ignore[attr-defined]
    assert len(taken) < 20


def test_the_first_that_fails_ends_it() -> None:
    called: list[int] = []

    def call(number: int) -> None:
        called.append(number)
        if number == 3:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(parallel_map(call, range(1000), 1))
    assert len(called) < 20


def test_what_the_threads_move_is_told_from_this_one() -> None:
    told = Told()
    meter = Meter(told)
    was_told = threading.Event()
    told_now = told.__call__

    def advance(size: int, files: int = 0) -> None:
        told_now(size)
        was_told.set()

    meter = Meter(advance)

    def call(number: int) -> None:
        meter.add(number)
        assert was_told.wait(10)  # while the call still runs

    assert len(list(parallel_map(call, [5, 7], 2, poll=meter.report))) == 2
    assert sum(told.sizes) == 12
    assert told.threads == {threading.get_ident()}


@given(st.lists(st.one_of(st.just("restart"), st.just("finish"), st.integers(0, 50)), max_size=30), st.integers(0, 100))
def test_no_byte_of_a_file_counts_twice(events: list[str | int], size: int) -> None:
    told = Told()
    meter = Meter(told)
    file: FileMeter = meter.file(size)
    moved = furthest = 0
    for event in events:
        if event == "restart":
            file.restart()
            moved = 0
        elif event == "finish":
            file.finish()
            moved = size
        else:
            file(int(event))
            moved = min(moved + int(event), size)
        furthest = max(furthest, moved)
        meter.report()
        assert sum(told.sizes) == furthest
    file.finish()
    meter.report()
    assert sum(told.sizes) == size
    assert 0 not in told.sizes
