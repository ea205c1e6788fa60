"""Figures and what follows from them: minima, ratios, and whether the marks are reached."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.workloads import Workload


#: A cost that should not grow may be so many times another: what the clock cannot tell apart.
FLAT = 1.2


@dataclass(frozen=True, slots=True)
class Result:
    """The figures of one workload, in seconds for each of its units.

    Attributes:
        workload: What was measured.
        ours: One figure a repeat.
        released: The same of the released package.
        floor: The same of the floor.
        opening: By side, how much of the figure went by before the first episode, where a program tells.
        written: By side, the bytes of the dataset that it made, where it made one.
    """

    workload: Workload
    ours: tuple[float, ...]
    released: tuple[float, ...]
    floor: tuple[float, ...]
    opening: Mapping[str, float] = field(default_factory=dict)
    written: Mapping[str, int] = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        """How many times less it costs us than the released package; more than 1 is better."""
        return quotient(min(self.released), min(self.ours))

    @property
    def over_floor(self) -> float:
        """How many times the floor it costs us."""
        return quotient(min(self.ours), min(self.floor))


@dataclass(frozen=True, slots=True)
class Mark:
    """Something asked of a workload, and whether it is so.

    Attributes:
        text: What is asked, in a few words.
        reached: Whether it is reached.
    """

    text: str
    reached: bool


def quotient(dividend: float, divisor: float) -> float:
    """One figure by another; infinite where a difference of two times came out as nothing or less."""
    return math.inf if divisor <= 0 else dividend / divisor


def marks(result: Result, others: Sequence[Result]) -> list[Mark]:
    """What is asked of a workload: so many times the released package, so near to the floor, no growth.

    Args:
        result: Of the workload.
        others: Of all workloads of the run; growth is judged where the smaller one was run as well.
    """
    workload = result.workload
    asked = [Mark(f"{workload.mark:g} ×", result.ratio >= workload.mark)]
    if workload.floor.at_most is not None:
        reached = result.over_floor <= workload.floor.at_most
        asked.append(Mark(f"at most {workload.floor.at_most:g} × the floor", reached))
    for other in others:
        if other.workload.name == workload.flat_with:
            reached = min(result.ours) <= FLAT * min(other.ours)
            asked.append(Mark(f"an {workload.per} at most {FLAT:g} × that of `{other.workload.name}`", reached))
    return asked


def as_json(results: Sequence[Result], about: Mapping[str, Any]) -> dict[str, Any]:
    """All of it, for `results.json`; figures in seconds."""
    return {**about, "workloads": [_as_json(result, results) for result in results]}


def _as_json(result: Result, results: Sequence[Result]) -> dict[str, Any]:
    workload = result.workload
    asked = marks(result, results)
    return {
        "name": workload.name,
        "title": workload.title,
        "per": workload.per,
        "ours": _figures(result.ours),
        "released": _figures(result.released),
        "floor": {**_figures(result.floor), "what": workload.floor.note},
        "opening": dict(result.opening),
        "bytes": dict(result.written),
        "ratio": _finite(result.ratio),
        "over_floor": _finite(result.over_floor),
        "mark": workload.mark,
        "marks": [{"asked": mark.text, "reached": mark.reached} for mark in asked],
        "reached": all(mark.reached for mark in asked),
    }


def _figures(seconds: Sequence[float]) -> dict[str, Any]:
    return {"seconds": list(seconds), "minimum": min(seconds)}


def _finite(number: float) -> float | None:
    """JSON has no infinity."""
    return number if math.isfinite(number) else None
