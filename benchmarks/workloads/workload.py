"""The definition of a workload. This package runs under both releases and imports only what both have."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import minari


ROOT = "MINARI_DATASETS_PATH"


@dataclass(frozen=True, slots=True)
class Job:
    """One run of a workload in one process.

    Attributes:
        size: Number of episodes, steps or datasets, depending on the workload.
        data: Root of the datasets that were created once for this side.
        scratch: Root of what this run writes; empty at first, deleted afterwards.
    """

    size: int
    data: Path
    scratch: Path

    def load(self, dataset_id: str) -> minari.MinariDataset:
        """Load a dataset created for this side; new ones still go to `scratch`."""
        with root_at(self.data):
            return minari.load_dataset(dataset_id)


@contextmanager
def root_at(directory: Path) -> Iterator[None]:
    """Make `directory` the root of the local datasets."""
    before = os.environ.get(ROOT)
    os.environ[ROOT] = str(directory)
    try:
        yield
    finally:
        if before is None:
            del os.environ[ROOT]
        else:
            os.environ[ROOT] = before


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """Datasets that a side creates once, for all the runs that read them.

    Attributes:
        name: Name used by `Workload.data`.
        make: Creates them in `Job.scratch`.
        size: Number of episodes, or of datasets.
        quick: `size` with `--quick`.
    """

    name: str
    make: Callable[[Job], None]
    size: int
    quick: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """A lower bound for the time of a workload, measured in the same run.

    Attributes:
        note: Description of what is measured, for the notes below the table.
        setup: Creates the state that `run` works on; not timed.
        run: The timed operation.
        command: Instead of both, for programs timed from outside: the arguments of a Python interpreter.
        at_most: The largest ratio to the floor that maintainers accept; None for no limit.
    """

    note: str
    setup: Callable[[Job], Any] | None = None
    run: Callable[[Any], object] | None = None
    command: Callable[[Job], list[str]] | None = None
    at_most: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A typical use of the library.

    Either `setup` and `run`, which a worker calls and times, or `command`, a program that is timed from
    outside, interpreter and imports included.

    Attributes:
        name: Name on the command line.
        title: Title in the table.
        target: The speedup over the released package that maintainers want to keep.
        floor: The lower bound it is compared with.
        data: Name of the datasets it reads.
        released_data: True if both sides read what the released package wrote.
        setup: Creates the state that the others work on; not timed.
        run: The timed operation.
        check: Computes, from the state and the result of `run`, a value that both sides must agree on.
        bare: The same work without the library; its time is subtracted.
        warm: True to call `run` once before the clock starts.
        command: Returns the program for a job: ``["-c", ...]`` for Python, or ``["minari", ...]``.
        per: The unit of a figure, such as "step"; empty for the whole run.
        count: Returns the number of units that the time of a job is divided by.
        size: `Job.size`.
        quick: `size` with `--quick`.
        turns: Runs for each repeat; short workloads are noisy.
        repeats: Upper limit for the repeats, where the released package takes minutes.
        written: Id of the dataset that `run` creates, whose size on disk is reported beside the time.
        flat_with: Another workload whose cost for each `per` should be no more than a fifth lower.
    """

    name: str
    title: str
    target: float
    floor: Floor
    data: str | None = None
    released_data: bool = False
    setup: Callable[[Job], Any] | None = None
    run: Callable[[Any], object] | None = None
    check: Callable[[Any, Any], float] | None = None
    bare: Callable[[Any], object] | None = None
    warm: bool = False
    command: Callable[[Job], list[str]] | None = None
    per: str = ""
    count: Callable[[Job], int] | None = None
    size: int = 1
    quick: int = 1
    turns: int = 1
    repeats: int | None = None
    written: str | None = None
    flat_with: str | None = None

    def divisor(self, job: Job) -> int:
        """Return the number that the time of a run is divided by."""
        return 1 if self.count is None else self.count(job)
