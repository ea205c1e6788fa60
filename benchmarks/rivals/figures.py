"""Medians of the rounds, what they mean for this library, and the stored form."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.rivals.rival import DTYPES, Rival
from benchmarks.rivals.running import Outcome
from benchmarks.rivals.workloads import WORKS, Work


OURS, FLOOR = "minari", "numpy"
#: What counts, by the names of the figures: what it is called, and whether bytes and not seconds.
COUNTED = {
    "write": ("write", False),
    "disk": ("write, on the disk", False),
    "size": ("size", True),
    "read": ("read all", False),
    "first_transitions": ("first 1,000 transitions", False),
    "transitions": ("further 1,000 transitions", False),
    "first_windows": ("first windows", False),
    "windows": ("further windows", False),
    "record": ("a step", False),
    "record_disk": ("a step, on the disk", False),
    "record_size": ("size of a step", True),
    "collect": ("a step", False),
}
#: What is shown, and not compared: the other libraries return before anything is on the disk.
NOT_FLUSHED = ("write", "record")
#: Ratios below this are within the noise.
RESOLVED = 1.1
#: Times the floor that counts as being at it.
NEAR = 1.3


@dataclass(frozen=True, slots=True)
class Library:
    """Description of a library.

    Attributes:
        title: for people.
        note: how it is used.
        loses: what is lost of vectors, and of frames.
        versions: of what it uses.
    """

    title: str
    note: str
    loses: tuple[str, ...]
    frames_lose: tuple[str, ...]
    versions: dict[str, str]

    def keeps_all(self, has_frames: bool) -> bool:
        """Return whether all values are kept; they may have other dtypes."""
        return not {*(self.frames_lose if has_frames else self.loses)} - {DTYPES}

    def losses(self, has_frames: bool) -> str:
        """Return what is lost, for the table."""
        return "; ".join(self.frames_lose if has_frames else self.loses) or "–"


@dataclass(frozen=True, slots=True)
class Figures:
    """All that was found.

    Attributes:
        outcomes: by workload and library.
        libraries: by name.
    """

    outcomes: Mapping[str, Mapping[str, Outcome]]
    libraries: Mapping[str, Library]

    def works(self) -> list[Work]:
        """Return the workloads that were measured."""
        return [work for work in WORKS if work.name in self.outcomes]

    def median(self, work: str, name: str, figure: str) -> float | None:
        """Return the median of the rounds of a library; None if there is none."""
        outcome = self.outcomes.get(work, {}).get(name)
        values = outcome.figures.get(figure) if outcome else None
        return statistics.median(values) if values else None

    def joined(self, older: Figures) -> Figures:
        """Return these results, and older ones of what was not measured now."""
        libraries = {**older.libraries, **self.libraries}
        outcomes = {work.name: self._of_work(work.name, older, libraries) for work in WORKS}
        return Figures({work: found for work, found in outcomes.items() if found}, libraries)

    def _of_work(self, work: str, older: Figures, libraries: Mapping[str, Library]) -> Mapping[str, Outcome]:
        found = {**older.outcomes.get(work, {}), **self.outcomes.get(work, {})}
        return {name: found[name] for name in libraries if name in found}


@dataclass(frozen=True, slots=True)
class Standing:
    """Standing of this library in one row.

    Attributes:
        work: the workload.
        figure: the name of the figure.
        ours: the median of the default format.
        format: the library's own format that does best, and its median.
        floor: the median of plain NumPy, if it takes part.
        first: the other library that does best of those that keep all values, and its median.
        faster: those that lose values and do better than that.
    """

    work: Work
    figure: str
    ours: float
    format: tuple[str, float]
    floor: float | None
    first: tuple[str, float] | None
    faster: tuple[tuple[str, float], ...]

    def over_best_other(self, value: float) -> float | None:
        """Return a median relative to that of NumPy or of the best other library, whichever is better."""
        floor = math.inf if self.floor is None or self._is_size else self.floor
        best = min(floor, self.first[1] if self.first else math.inf)
        return value / best if 0 < best < math.inf else None

    @property
    def verdict(self) -> str:
        """Return whether the library is first, at the floor, or behind, with its default and with its best format."""
        if self._stands(self.ours):
            return "first" if self._is_first(self.ours) else "at the floor"
        if self._stands(self.format[1]):
            return "first with this format" if self._is_first(self.format[1]) else "at the floor with this format"
        return "**behind**"

    def _is_first(self, value: float) -> bool:
        others = [self.first[1]] if self.first else []
        others += [] if self.floor is None else [self.floor]
        return all(value <= RESOLVED * other for other in others)

    def _stands(self, value: float) -> bool:
        is_near = not self._is_size and self.floor is not None and value <= NEAR * self.floor
        return self._is_first(value) or is_near

    @property
    def _is_size(self) -> bool:
        """Return whether the figure is a size, of which the bytes of uncompressed arrays are not a bound."""
        return COUNTED[self.figure][1]


def standings(figures: Figures) -> Iterator[Standing]:
    """Yield where this library stands, for each workload and figure."""
    for work in figures.works():
        has_frames = work.kind == "frames"
        for figure in (name for name in COUNTED if name not in NOT_FLUSHED):
            found = {name: figures.median(work.name, name, figure) for name in figures.outcomes[work.name]}
            known = {name: value for name, value in found.items() if value is not None}
            if OURS not in known:
                continue
            own = {name: value for name, value in known.items() if name.startswith(OURS)}
            others = {name: value for name, value in known.items() if name not in own and name != FLOOR}
            kept = {name: value for name, value in others.items() if figures.libraries[name].keeps_all(has_frames)}
            first = min(kept.items(), key=lambda item: item[1]) if kept else None
            best = min(own.items(), key=lambda item: item[1])
            bar = min([best[1], *([first[1]] if first else [])])
            lossy = ((name, value) for name, value in others.items() if name not in kept and value < bar)
            yield Standing(work, figure, known[OURS], best, known.get(FLOOR), first, tuple(sorted(lossy)))


def libraries_of(rivals: Sequence[type[Rival]], outcomes: Mapping[str, Mapping[str, Outcome]]) -> dict[str, Library]:
    """Return what is known of each library."""
    found = {}
    for rival in rivals:
        versions: dict[str, str] = {}
        for of_work in outcomes.values():
            if rival.NAME in of_work:
                versions |= of_work[rival.NAME].versions
        loses, frames_lose = (tuple(sorted(rival.losses(has_frames))) for has_frames in (False, True))
        found[rival.NAME] = Library(rival.TITLE, rival.NOTE, loses, frames_lose, versions)
    return found


def as_json(figures: Figures, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of `rivals.json`: seconds and bytes of every round."""
    libraries = {
        name: {
            "title": library.title,
            "note": library.note,
            "loses": list(library.loses),
            "frames_lose": list(library.frames_lose),
            "versions": library.versions,
        }
        for name, library in figures.libraries.items()
    }
    workloads = {
        work: {name: {"figures": outcome.figures, "failures": outcome.failures} for name, outcome in of_work.items()}
        for work, of_work in figures.outcomes.items()
    }
    return {**facts, "libraries": libraries, "workloads": workloads}


def from_json(content: Mapping[str, Any]) -> Figures:
    """Return the results stored in the content of `rivals.json`."""
    libraries = {
        name: Library(
            each["title"], each["note"], tuple(each["loses"]), tuple(each["frames_lose"]), dict(each["versions"])
        )
        for name, each in content["libraries"].items()
    }
    outcomes = {
        work: {
            name: Outcome({figure: list(values) for figure, values in each["figures"].items()}, dict(each["failures"]))
            for name, each in of_work.items()
        }
        for work, of_work in content["workloads"].items()
    }
    return Figures(outcomes, libraries)
