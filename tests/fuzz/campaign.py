"""A run of many mutants in a server process, and what came of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import minari

from .subjects import FAMILIES, SUBJECTS
from .verdicts import Verdict


_TESTS = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Order:
    """A request to a server.

    Attributes:
        seeds: of the mutants.
        seconds: after which a mutant is taken to hang.
        thorough: whether each is used in every way.
        only: as for :func:`~fuzz.mutations.mutate`.
        keep: a directory that the files of a mutant are copied to.
        work: where the server makes its directory; in memory where there is room.
    """

    seeds: Sequence[int]
    seconds: float = 30.0
    thorough: bool = False
    only: str = ""
    keep: str = ""
    work: str = field(default_factory=lambda: "/dev/shm" if os.access("/dev/shm", os.W_OK) else "")


def seeds_of(family: str, count: int, first: int = 0) -> list[int]:
    """Seeds of that family, beginning with the one of that number."""
    start = FAMILIES.index(family) + len(FAMILIES) * first
    return list(range(start, start + count * len(FAMILIES), len(FAMILIES)))


def run(order: Order) -> Iterator[Verdict]:
    """The verdicts of an order, as they come.

    Raises:
        RuntimeError: the server itself failed.
    """
    environment = {
        "MALLOC_ARENA_MAX": "1",  # else every thread takes address space without using it
        "ARROW_DEFAULT_MEMORY_POOL": "system",  # the usual one takes a GiB of address space at once
        "MINARI_LOCK_TIMEOUT": "2",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    for verdict in serve("fuzz.children", order={**asdict(order), "work": order.work or None}, **environment):
        yield Verdict(**verdict)


def serve(module: str, *arguments: str, order: Any, **variables: str) -> Iterator[dict[str, Any]]:
    """Run a server of verdicts: it reads an order as JSON, and writes a verdict a line.

    Raises:
        RuntimeError: the server itself failed.
    """
    python_path = os.pathsep.join([str(_TESTS), str(Path(minari.__file__).resolve().parents[1])])
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", module, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": python_path, **variables},
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        assert server.stderr is not None
        try:
            server.stdin.write(json.dumps(order))
            server.stdin.close()
            yield from map(json.loads, server.stdout)
            errors = server.stderr.read()
            if server.wait():
                raise RuntimeError(f"{module} failed: {errors[-3000:]}")
        finally:
            server.kill()


def range_of(text: str) -> range:
    """The seeds that ``7``, ``0:5000`` or ``0:5000:5`` stands for."""
    parts = [int(part) for part in text.split(":")]
    return range(parts[0], parts[0] + 1) if len(parts) == 1 else range(*parts)


def missing() -> dict[str, str]:
    """The subjects that cannot be made here, and why."""
    return {s.name: s.missing for group in SUBJECTS.values() for s in group if s.missing}
