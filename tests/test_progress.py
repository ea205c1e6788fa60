"""Long operations report what they have done."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from minari.progress import ProgressTask, observe_progress, track


class Recorder:
    """Observer that keeps its reports."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    def started(self, task: ProgressTask) -> None:
        self.events.append(("started", task.description, task.total, task.unit))

    def advanced(self, task: ProgressTask, amount: int) -> None:
        self.events.append(("advanced", task.description, amount))

    def finished(self, task: ProgressTask) -> None:
        self.events.append(("finished", task.description))


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    """The observer of the test."""
    with observe_progress(recorder := Recorder()):
        yield recorder


def test_silent_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track([1, 2], "counting")) == [1, 2]
    assert capsys.readouterr() == ("", "")


def test_each_item_is_reported(recorder: Recorder) -> None:
    items = track(iter("ab"), "reading", total=2, unit="files")
    assert recorder.events == [], "nothing begins before the first item is asked for"
    assert next(items) == "a"
    assert recorder.events == [("started", "reading", 2, "files")], "an item is done when the next is asked for"
    assert list(items) == ["b"]
    advanced = ("advanced", "reading", 1)
    assert recorder.events[1:] == [advanced, advanced, ("finished", "reading")]


@pytest.mark.parametrize(("items", "given", "expected"), [([1, 2], None, 2), (iter([1]), None, None), ([1, 2], 9, 9)])
def test_total(recorder: Recorder, items: Any, given: int | None, expected: int | None) -> None:
    list(track(items, "counting", total=given))
    assert recorder.events[0] == ("started", "counting", expected, "episodes")


def test_finished_even_when_it_fails(recorder: Recorder) -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise KeyError

    with pytest.raises(KeyError):
        list(track(broken(), "reading"))
    assert recorder.events[-1] == ("finished", "reading")
    left = track([1, 2], "leaving early")
    next(left)
    left.close()
    assert recorder.events[-1] == ("finished", "leaving early")


def test_tasks_inside_tasks_are_told_apart(recorder: Recorder) -> None:
    for _ in track([1], "outer"):
        list(track([1], "inner"))
    names = [event[1] for event in recorder.events]
    assert names == ["outer", "inner", "inner", "inner", "outer", "outer"]


def test_observer_of_the_moment() -> None:
    """The innermost block counts, until it ends; other threads have observers of their own."""
    outer, inner = Recorder(), Recorder()
    with observe_progress(outer):
        with observe_progress(inner):
            list(track([1], "first"))
        list(track([1], "second"))
        thread = threading.Thread(target=lambda: list(track([1], "elsewhere")))
        thread.start()
        thread.join()
    list(track([1], "third"))
    assert {event[1] for event in inner.events} == {"first"}
    assert {event[1] for event in outer.events} == {"second"}


def test_equal_tasks_are_two_tasks() -> None:
    assert ProgressTask("a", 1, "b") != ProgressTask("a", 1, "b")
