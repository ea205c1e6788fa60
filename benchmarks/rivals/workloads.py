"""The workloads: which episodes are stored, and what is measured of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from benchmarks.errors import BenchmarkError
from benchmarks.rivals.operations import TRANSITIONS, WINDOWS
from benchmarks.rivals.rival import Rival


STORED = ("write", "read", "transitions", "windows")


@dataclass(frozen=True, slots=True)
class Work:
    """One workload.

    Attributes:
        name: for the command line and the stored results.
        title: for the page.
        episodes: number of episodes; of sub-environments, where they are recorded.
        steps: steps of each; of all of them, where they are recorded.
        quick: the same two for a try.
        operations: what is measured, each in a process of its own.
    """

    name: str
    title: str
    episodes: int
    steps: int
    quick: tuple[int, int]
    operations: tuple[str, ...] = STORED

    @property
    def kind(self) -> str:
        """Return the name without what follows a hyphen."""
        return self.name.partition("-")[0]

    @property
    def batches(self) -> dict[str, tuple[int, int]]:
        """Return the elements of a batch and the steps of each, by operation."""
        return {"transitions": (TRANSITIONS, 1), "windows": WINDOWS[self.kind]} if self.kind in WINDOWS else {}

    def size(self, is_quick: bool) -> tuple[int, int]:
        """Return the episodes, and the steps of each."""
        return self.quick if is_quick else (self.episodes, self.steps)

    def has(self, rival: type[Rival]) -> bool:
        """Return whether a library takes part."""
        if self.operations == ("record",):
            return rival.RECORDS
        if self.operations == ("collect",):
            return rival.COLLECTOR is not None
        return self.name.startswith(rival.KINDS)


WORKS = (
    Work("vectors", "1,000 episodes of 200 steps, 39 float64 and 28 float32", 1000, 200, (50, 200)),
    Work("frames-still", "50 episodes of 200 frames of 84×84×3, still background", 50, 200, (10, 120)),
    Work("frames-moving", "50 episodes of 200 frames of 84×84×3, moving background", 50, 200, (10, 120)),
    Work("frames-noise", "50 episodes of 200 frames of 84×84×3, noise of a camera", 50, 200, (10, 120)),
    Work("short", "1,000,000 episodes of 1 to 9 steps, 4 float32 and an int64", 1_000_000, 0, (2000, 0)),
    Work("cartpole", "recording CartPole-v1", 1, 50_000, (1, 2000), ("record",)),
    Work("carts", "recording 64 CartPole-v1 in a vector environment", 64, 2048, (64, 256), ("collect",)),
)


def choose(patterns: Sequence[str]) -> list[Work]:
    """Return the workloads with these names, beginnings or patterns, which commas may separate; all if none is given.

    Raises:
        BenchmarkError: there is none.
    """
    names = matching(patterns, [work.name for work in WORKS], "workload")
    return [work for work in WORKS if work.name in names]


def matching(patterns: Sequence[str], names: Sequence[str], what: str) -> list[str]:
    """Return the names that equal a pattern, or else begin with it or match it; all if there are no patterns.

    Raises:
        BenchmarkError: a pattern matches nothing.
    """
    if not patterns:
        return list(names)
    wanted: set[str] = set()
    for pattern in (part.strip() for text in patterns for part in text.split(",")):
        found = [name for name in names if name == pattern] or [
            name for name in names if pattern and (name.startswith(pattern) or fnmatchcase(name, pattern))
        ]
        if not found:
            raise BenchmarkError(
                f"There is no {what} {pattern!r}, expected a name, prefix or pattern of: {', '.join(names)}."
            )
        wanted |= {*found}
    return [name for name in names if name in wanted]
