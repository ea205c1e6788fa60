"""What a workload is. This package runs under both releases: it imports only what both have."""

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
        size: How many episodes, steps or datasets; the workload says which.
        data: Root of the datasets that were made once for this side.
        scratch: Root of what this run writes; empty at first, gone afterwards.
    """

    size: int
    data: Path
    scratch: Path

    def load(self, dataset_id: str) -> minari.MinariDataset:
        """A dataset of those made for this side; new ones still go to `scratch`."""
        with root_at(self.data):
            return minari.load_dataset(dataset_id)


@contextmanager
def root_at(folder: Path) -> Iterator[None]:
    """Let `folder` be the root of the local datasets."""
    before = os.environ.get(ROOT)
    os.environ[ROOT] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ[ROOT]
        else:
            os.environ[ROOT] = before


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """Datasets that a side makes once, for all the runs that read them.

    Attributes:
        name: What `Workload.data` calls them.
        make: Makes them in `Job.scratch`.
        size: Episodes, or datasets.
        quick: The same for a try.
    """

    name: str
    make: Callable[[Job], None]
    size: int
    quick: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """What nothing that does the same can go below, measured in the same run.

    Attributes:
        note: What is measured, for the notes below the table.
        setup: Makes the state that `run` works on; not timed.
        run: What is timed.
        command: Instead of both, for programs timed from outside: the arguments of a Python interpreter.
        at_most: Within how many times the floor the workload should be, where that is asked for.
    """

    note: str
    setup: Callable[[Job], Any] | None = None
    run: Callable[[Any], object] | None = None
    command: Callable[[Job], list[str]] | None = None
    at_most: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Something that people do with the library.

    Either `setup` and `run`, which a worker calls and times, or `command`, a program that is timed from
    outside, interpreter and imports included.

    Attributes:
        name: How it is chosen on the command line.
        title: How the table calls it.
        mark: How many times faster than the released package it should be.
        floor: What it is compared with besides.
        data: Name of the datasets it reads.
        released_data: Whether both sides read what the released package wrote.
        setup: Makes the state that the others work on; not timed.
        run: What is timed.
        check: From the state and what `run` returned, a value that both sides must agree on.
        bare: A run whose time is taken off: the same without the library.
        warm: Whether `run` is called once before the clock starts.
        command: From the job, the program: ``["-c", ...]`` for Python, or ``["minari", ...]``.
        per: What a figure is the cost of, such as "step"; empty for all of the run.
        count: From the job, by how many of these the time is divided.
        size: `Job.size`.
        quick: The same for a try.
        turns: How often a repeat runs it; short ones are noisy.
        repeats: How often it is run at most, where the released package takes minutes.
        written: Id of the dataset that `run` makes, whose size on disk is told beside the time.
        flat_with: Another workload of the same cost for each `per`, at most a fifth below this one's.
    """

    name: str
    title: str
    mark: float
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
        """By how much the time of a run is divided."""
        return 1 if self.count is None else self.count(job)
