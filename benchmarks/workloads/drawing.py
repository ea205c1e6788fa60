"""Batches out of datasets that are larger than the memory they may take.

Pages of a mapped file belong to the page cache of the system, which takes them back when memory is needed; what
counts here is anonymous memory, which it cannot take back.
"""

from __future__ import annotations

import gc
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmarks.workloads.samples import STEPS, make_samples
from benchmarks.workloads.workload import Job


BATCH, WORKERS, BATCHES_OF_WORKER = 256, 8, 20
_EVERY = 0.001  # seconds

Draw = Callable[[], int]

#: Peak memory of an operation, and what it read or wrote, in bytes.
Measured = tuple[int, int]


def make_frames(job: Job) -> None:
    """Create the same frames as arrays, as a dataset, and as a compressed one."""
    make_samples(job.data, "frames", job.size)


def draw_epoch(name: str, **options: Any) -> Callable[[Job], int]:
    """Return the operation that draws all batches of an epoch of a dataset, and returns their bytes."""

    def operation(job: Job) -> int:
        draw = draw_with_minari(job, name, **options)
        return sum(draw() for _ in range(job.size * STEPS // BATCH))

    return operation


def draw_with_minari(
    job: Job, name: str, order: Literal["uniform", "blocks"] = "uniform", prefetch: int = 2, **cache: Any
) -> Draw:
    """Return batches of transitions, each of which is counted in bytes."""
    transitions = job.load(f"samples/{name}-v0").transitions(**cache)
    batches: Any = transitions.batches(BATCH, seed=0, order=order, prefetch=prefetch)
    held: list[Any] = []  # until there is the next one, as in a training loop

    def draw() -> int:
        held[:] = next(batches).values()
        return sum(values.nbytes for values in held)

    return draw


def draw_with_numpy(job: Job) -> Draw:
    """Return batches as NumPy's indexing makes them of the same arrays, mapped."""
    observations = np.load(job.data / "observations.npy", mmap_mode="r")
    observations = observations.reshape(-1, *observations.shape[2:])
    others = [np.load(job.data / f"{name}.npy", mmap_mode="r").reshape(-1) for name in ("actions", "rewards")]
    rng = np.random.default_rng(0)
    held: list[Any] = []

    def draw() -> int:
        at = rng.integers(0, len(others[0]), BATCH)
        seen = at + at // STEPS
        held[:] = [observations[seen], observations[seen + 1], *(values[at] for values in others)]
        return sum(values.nbytes for values in held)

    return draw


def draw_in_workers(make: Callable[[Job], Draw]) -> Callable[[Job], Measured]:
    """Return the operation that draws in forked processes, with the anonymous memory that they do not share.

    It is the most that each has after a batch, beyond that at the beginning, added up.
    """

    def measured(job: Job) -> Measured:
        draw = make(job)
        os.sync()  # pages of files that are not on disk yet would count
        gc.freeze()  # a collection in a child would copy every object
        children = [_forked(draw) for _ in range(WORKERS)]
        answers = [_answer(*child) for child in children]
        return sum(grown for grown, _ in answers), sum(through for _, through in answers)

    return measured


def _forked(draw: Draw) -> tuple[int, int]:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            before = memory_of("smaps_rollup", "Private_Dirty")
            through = most = 0
            for _ in range(BATCHES_OF_WORKER):
                through += draw()
                most = max(most, memory_of("smaps_rollup", "Private_Dirty"))
            os.write(writing, f"{most - before} {through}".encode())
        finally:
            os._exit(0)
    os.close(writing)
    return child, reading


def _answer(child: int, reading: int) -> Measured:
    with os.fdopen(reading) as pipe:
        words = pipe.read().split()
    os.waitpid(child, 0)
    if len(words) != 2:
        raise RuntimeError(f"a forked process answered {words}")
    return int(words[0]), int(words[1])


def anonymous(operation: Callable[[Job], int]) -> Callable[[Job], Measured]:
    """Return the operation with the greatest anonymous memory, beyond that at the beginning."""

    def measured(job: Job) -> Measured:
        before = most = memory_of("status", "RssAnon")
        done = threading.Event()

        def watch() -> None:
            nonlocal most
            while not done.wait(_EVERY):
                most = max(most, memory_of("status", "RssAnon"))

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        through = operation(job)
        done.set()
        watcher.join()
        return most - before, through

    return measured


def memory_of(file: str, key: str) -> int:
    """Return a figure of this process in bytes, out of a file in ``/proc``."""
    text = Path("/proc/self", file).read_text()
    found = re.search(rf"^{key}:\s+(\d+) kB$", text, flags=re.MULTILINE)
    if found is None:
        raise RuntimeError(f"/proc/self/{file} has no {key}")
    return int(found[1]) * 1024
