"""Threads that read stop when nobody waits for them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from itertools import count
from typing import Any

import anyio
import pytest

from minari.progress import track
from minari.viewer.work import Stopped, Workers


class Reading:
    """Work that goes on until it is stopped.

    Attributes:
        begun: set when it has begun.
        ended: set when it has ended.
    """

    def __init__(self) -> None:
        self.begun, self.ended = threading.Event(), threading.Event()

    def __call__(self) -> None:
        try:
            for _ in track(count(), "reading"):
                self.begun.set()
                time.sleep(0.001)
        finally:
            self.ended.set()


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(20):
        while not condition():
            await anyio.sleep(0.005)


async def never() -> dict[str, Any]:
    await anyio.sleep_forever()
    raise AssertionError


def test_reading_stops_when_the_client_leaves() -> None:
    reading = Reading()

    async def leave() -> dict[str, Any]:
        await until(reading.begun.is_set)
        return {"type": "http.disconnect"}

    async def main() -> None:
        with pytest.raises(Stopped, match="The client has left"):
            await Workers().run_for(leave, reading)
        await until(reading.ended.is_set)

    anyio.run(main)


def test_reading_stops_when_the_server_ends() -> None:
    readings = [Reading(), Reading()]
    workers = Workers()

    async def main() -> None:
        async def read(reading: Reading, *, for_client: bool) -> None:
            with pytest.raises(Stopped):
                await (workers.run_for(never, reading) if for_client else workers.run(reading))

        async with anyio.create_task_group() as group:
            for place, reading in enumerate(readings):
                group.start_soon(lambda place=place, reading=reading: read(reading, for_client=bool(place)))
            await until(lambda: all(reading.begun.is_set() for reading in readings))
            workers.stop()
        assert all(reading.ended.is_set() for reading in readings)

    anyio.run(main)


def test_results_and_errors_are_those_of_the_function() -> None:
    def fail() -> None:
        raise KeyError("reason")

    async def main() -> None:
        workers = Workers()
        for run in (workers.run, workers.run_to_the_end, lambda *given: workers.run_for(never, *given)):
            assert await run(lambda: 3) == 3  # type: ignore[operator]
            with pytest.raises(KeyError, match="reason"):
                await run(fail)  # type: ignore[operator]

    anyio.run(main)


def test_writing_is_not_stopped() -> None:
    workers = Workers()
    workers.stop()

    async def main() -> int:
        return await workers.run_to_the_end(lambda: sum(track(range(4), "writing")))

    assert anyio.run(main) == 6
