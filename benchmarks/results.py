"""Measured times and derived figures: minima, ratios and targets."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.workloads import WORKLOADS, Workload


#: Tolerance for a cost that should not grow: smaller differences are noise.
FLAT = 1.2


@dataclass(frozen=True, slots=True)
class Result:
    """Measured times of one workload, in seconds for each of its units.

    Attributes:
        workload: The workload.
        ours: One time for each repeat.
        released: The same for the released package.
        floor: The same for the floor.
        opening: By side, the time until the first episode was available, where a program reports it.
        written: By side, the size in bytes of the dataset that was written, if any.
    """

    workload: Workload
    ours: tuple[float, ...]
    released: tuple[float, ...]
    floor: tuple[float, ...]
    opening: Mapping[str, float] = field(default_factory=dict)
    written: Mapping[str, int] = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        """Speedup over the released package; more than 1 is faster."""
        return quotient(min(self.released), min(self.ours))

    @property
    def over_floor(self) -> float:
        """Our time as a multiple of the floor."""
        return quotient(min(self.ours), min(self.floor))


@dataclass(frozen=True, slots=True)
class Target:
    """A figure that maintainers want to keep.

    Attributes:
        text: The target in a few words.
        met: True if the measured times meet it.
    """

    text: str
    met: bool


def quotient(dividend: float, divisor: float) -> float:
    """Divide one time by another; infinite where a difference of two times is zero or negative."""
    return math.inf if divisor <= 0 else dividend / divisor


def targets(result: Result, others: Sequence[Result]) -> list[Target]:
    """Return the targets of a workload: its speedup, its ratio to the floor, no growth.

    Args:
        result: The result to judge.
        others: All results of the run; growth is judged if the smaller workload is among them.
    """
    workload = result.workload
    found = [Target(f"speedup of at least {workload.target:g}", result.ratio >= workload.target)]
    if workload.floor.at_most is not None:
        met = result.over_floor <= workload.floor.at_most
        found.append(Target(f"at most {workload.floor.at_most:g} times the floor", met))
    for other in others:
        if other.workload.name == workload.flat_with:
            met = min(result.ours) <= FLAT * min(other.ours)
            found.append(Target(f"at most {FLAT:g} times {other.workload.name} for each {workload.per}", met))
    return found


def missed(results: Sequence[Result]) -> list[str]:
    """Return a line for each target that is missed."""
    return [
        f"{result.workload.name}: expected {target.text}; measured {result.ratio:.3g} times the speed of the released "
        f"package and {result.over_floor:.3g} times the floor"
        for result in results
        for target in targets(result, results)
        if not target.met
    ]


def as_json(results: Sequence[Result], about: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of `results.json`; times in seconds."""
    return {**about, "workloads": [_as_json(result) for result in results]}


def from_json(content: Mapping[str, Any]) -> list[Result]:
    """Return the results stored in the content of `results.json`."""
    known = {workload.name: workload for workload in WORKLOADS}
    results = []
    for stored in content["workloads"]:
        ours, released, floor = (tuple(stored[side]["seconds"]) for side in ("ours", "released", "floor"))
        workload = known[stored["name"]]
        results.append(Result(workload, ours, released, floor, stored["opening"], stored["bytes"]))
    return results


def _as_json(result: Result) -> dict[str, Any]:
    workload = result.workload
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
    }


def _figures(seconds: Sequence[float]) -> dict[str, Any]:
    return {"seconds": list(seconds), "minimum": min(seconds)}


def _finite(number: float) -> float | None:
    """Replace infinity by None, as JSON has no infinity."""
    return number if math.isfinite(number) else None
