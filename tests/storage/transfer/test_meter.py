"""Many at once, and the count of what they move."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minari._base.parallel import parallel_map
from minari.storage.transfer.meter import FileMeter, Meter


def test_each_item_is_called_once_and_never_too_many_concurrently() -> None:
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


def test_items_are_taken_as_needed_and_not_after_a_failure() -> None:
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
    taken.clear()
    with pytest.raises(ZeroDivisionError):
        list(parallel_map(lambda number: 1 / (3 - number), items(), 1))
    assert len(taken) < 20


def test_bytes_of_threads_are_reported_from_the_calling_thread() -> None:
    sizes: list[int] = []
    threads: set[int] = set()
    reported = threading.Event()

    def advance(size: int, files: int = 0) -> None:
        sizes.append(size)
        threads.add(threading.get_ident())
        reported.set()

    meter = Meter(advance)

    def call(number: int) -> None:
        meter.add(number)
        assert reported.wait(10)  # while the call still runs

    assert len(list(parallel_map(call, [5, 7], 2, poll=meter.report))) == 2
    assert sum(sizes) == 12
    assert threads == {threading.get_ident()}


@given(st.lists(st.one_of(st.just("restart"), st.just("finish"), st.integers(0, 50)), max_size=30), st.integers(0, 100))
def test_no_byte_of_a_file_counts_twice(events: list[str | int], size: int) -> None:
    sizes: list[int] = []
    meter = Meter(lambda size, files=0: sizes.append(size))
    file: FileMeter = meter.file(size)
    moved = furthest = 0
    for event in [*events, "finish"]:
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
        assert sum(sizes) == furthest
    assert 0 not in sizes
