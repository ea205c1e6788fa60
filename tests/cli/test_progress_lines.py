"""The lines that long operations say where nothing is drawn."""

from __future__ import annotations

from minari.cli.progress import PlainLines
from minari.progress import observe_progress, progress


class Said(PlainLines):
    """Lines that are kept, after a clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self.lines: list[str] = []
        super().__init__(lambda: self.now, self.lines.append)


def test_a_short_operation_says_nothing() -> None:
    said = Said()
    with observe_progress(said), progress("downloading a-v0", 100, unit="bytes") as advance:
        said.now = 9.9
        advance(100)
    assert said.lines == []


def test_a_long_one_says_a_line_at_each_tenth_but_not_too_often() -> None:
    said = Said()
    with observe_progress(said), progress("downloading a-v0", 200_000_000, unit="bytes") as advance:
        for _ in range(100):
            said.now += 1
            advance(2_000_000)
    assert said.lines == [f"Downloading a-v0: {part}% of 200.0 MB" for part in range(10, 101, 10)]
    said = Said()
    with observe_progress(said), progress("downloading a-v0", 2000, unit="files") as advance:
        for _ in range(20):
            said.now += 3
            advance(100)
    assert said.lines == [f"Downloading a-v0: {part}% of 2,000 files" for part in (20, 40, 60, 80, 100)]


def test_a_slow_one_says_nothing_twice() -> None:
    said = Said()
    with observe_progress(said), progress("combining a-v0", 1000) as advance:
        for _ in range(50):
            said.now += 60
            advance(1)
    assert said.lines == []
    with observe_progress(said), progress("combining a-v0", 1000) as advance:
        for _ in range(150):
            said.now += 60
            advance(1)
    assert said.lines == ["Combining a-v0: 10% of 1,000 episodes"]


def test_one_without_an_end_says_once_that_it_goes_on() -> None:
    said = Said()
    with observe_progress(said), progress("waiting for another program", None, unit="looks") as advance:
        for _ in range(50):
            said.now += 1
            advance(1)
    assert said.lines == ["Waiting for another program..."]


def test_two_at_the_same_time_are_counted_apart() -> None:
    said = Said()
    with (
        observe_progress(said),
        progress("downloading a-v0", 1_000_000, unit="bytes") as bytes_done,
        progress("downloading a-v0", 4, unit="files") as files_done,
    ):
        said.now = 20
        bytes_done(500_000)
        files_done(1)
    assert said.lines == ["Downloading a-v0: 50% of 1.0 MB", "Downloading a-v0: 25% of 4 files"]


def test_an_operation_of_nothing() -> None:
    said = Said()
    with observe_progress(said), progress("downloading a-v0", 0, unit="bytes") as advance:
        advance(0)
    assert said.lines == []
