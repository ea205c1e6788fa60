"""Replay buffers that are overwritten from their beginning when they are full: their rows in the order of time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from minari.interchange.flat_rows import FlatRows, Rows, map_rows
from minari.interchange.format import Report


__all__ = ["Ring", "RowsInOrder", "cut_episodes", "in_order"]


@dataclass(frozen=True, slots=True)
class Ring:
    """Consecutive rows of a storage that one environment has filled.

    Attributes:
        start: the first row.
        size: the number of rows.
        length: how many of them are filled.
        oldest: the oldest of these, counted from ``start``.
    """

    start: int
    size: int
    length: int
    oldest: int = 0

    def ranges(self) -> list[tuple[int, int]]:
        """Return the ranges of rows, in the order of time."""
        if not self.oldest:
            return [(self.start, self.start + self.length)]
        return [(self.start + self.oldest, self.start + self.length), (self.start, self.start + self.oldest)]


class RowsInOrder:
    """The rows of a storage, range after range.

    Args:
        rows: the rows in the order of the storage.
        ranges: the first row of each range, and the row after its last one.
    """

    def __init__(self, rows: Rows, ranges: Sequence[tuple[int, int]]) -> None:
        self._rows = rows
        self._starts = np.array([start for start, _ in ranges], np.int64)
        self._ends = np.cumsum([end - start for start, end in ranges])
        self.shape, self.dtype = (int(self._ends[-1]), *rows.shape[1:]), rows.dtype

    def __getitem__(self, rows: slice) -> npt.NDArray[Any]:
        """Return consecutive rows."""
        start, stop, _ = rows.indices(self.shape[0])
        parts = []
        number = int(np.searchsorted(self._ends, start, "right"))
        while start < stop:
            end = int(self._ends[number])
            shift = int(self._starts[number]) - (int(self._ends[number - 1]) if number else 0)
            here = min(stop, end)
            parts.append(self._rows[start + shift : here + shift])
            start, number = here, number + 1
        if not parts:
            return self._rows[0:0]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


def in_order(tree: Any, rings: Iterable[Ring]) -> Any:
    """Return the rows of nested storages, ring after ring, each in the order of time."""
    ranges = [one for ring in rings for one in ring.ranges() if one[1] > one[0]]
    return map_rows(lambda rows: RowsInOrder(rows, ranges), tree)


def cut_episodes(
    rows: FlatRows, rings: Sequence[Ring], ends: npt.NDArray[np.bool_], cuts: npt.NDArray[np.bool_], report: Report
) -> FlatRows:
    """Return rows in the order of time with the bounds of their episodes.

    Args:
        rows: the rows, whose bounds are not used.
        rings: the rings, one after the other.
        ends: which rows end an episode by their flags.
        cuts: after which rows other values begin, in spite of the flags.
        report: the report of the conversion.
    """
    last = np.zeros(len(ends), np.bool_)
    lengths = np.array([ring.length for ring in rings if ring.length])
    last[np.cumsum(lengths) - 1] = True
    if inside := int((cuts & ~ends & ~last).sum()):
        report.note("assumed", f"episodes that end without a flag, where the next row does not continue them: {inside}")
    if unfinished := int((last & ~ends).sum()):
        report.note("taken", f"unfinished episodes, which have no flag at their end: {unfinished}")
    if wrapped := sum(ring.oldest > 0 for ring in rings):
        report.note("taken", f"full buffers, whose rows are put in the order of time: {wrapped}")
        report.note("missing", "the steps that were overwritten, also those at the beginning of the oldest episodes")
    stops = np.flatnonzero(ends | cuts | last) + 1
    return replace(rows, starts=np.concatenate([[0], stops[:-1]]), ends=stops)
