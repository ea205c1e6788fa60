"""Histograms of numbers with block characters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


__all__ = ["Distribution", "histogram_lines"]

_BINS = 10
_EIGHTHS = " ▏▎▍▌▋▊▉"
_FULL = "█"


@dataclass(frozen=True, slots=True)
class Distribution:
    """Summary of numbers: their count and distribution.

    >>> Distribution.of(np.array([1.0, 3.0])).summary()
    'min 1  mean 2  max 3  std 1'

    Attributes:
        count: number of finite values.
        minimum, mean, maximum, std: their statistics; NaN if there are none.
    """

    count: int
    minimum: float
    mean: float
    maximum: float
    std: float

    @classmethod
    def of(cls, values: npt.NDArray[np.float64]) -> Distribution:
        """Describe an array of shape (n,)."""
        finite = values[np.isfinite(values)]
        if not finite.size:
            return cls(0, np.nan, np.nan, np.nan, np.nan)
        mean, std = float(finite.mean()), float(finite.std())
        return cls(finite.size, float(finite.min()), mean, float(finite.max()), std)

    def numbers(self) -> dict[str, float]:
        """Return the statistics by their names, in the order in which they are shown."""
        return {"min": self.minimum, "mean": self.mean, "max": self.maximum, "std": self.std}

    def summary(self) -> str:
        """Return the statistics in one line."""
        return "  ".join(f"{name} {_short(value)}" for name, value in self.numbers().items())


def histogram_lines(values: npt.NDArray[np.float64], width: int, *, ascii_only: bool = False) -> list[str]:
    """Return the lines of a histogram.

    Integers are counted individually or in ranges, other numbers in intervals of which each but the last
    excludes its upper end. Numbers that are not finite are counted on a separate line, without a bar.

    >>> for line in histogram_lines(np.array([1.0, 1.0, 2.0]), 16):
    ...     print(line)
    1 │███████████ 2
    2 │█████▌ 1

    Args:
        values: values of shape (n,).
        width: maximum number of characters of a line.
        ascii_only: True to draw with ``#``.
    """
    finite = values[np.isfinite(values)]
    lines: list[str] = []
    if finite.size:
        labels, counts = _whole_bins(finite) if _are_whole(finite) else _bins(finite)
        label_width, number_width = max(map(len, labels)), len(str(max(counts)))
        room = max(width - label_width - number_width - 3, 1)
        axis = "|" if ascii_only else "│"
        for label, count in zip(labels, counts, strict=True):
            lines.append(f"{label:>{label_width}} {axis}{_bar(count / max(counts), room, ascii_only)} {count}")
    if finite.size < values.size:
        lines.append(f"not finite: {values.size - finite.size}")
    return lines


def _are_whole(values: npt.NDArray[np.float64]) -> bool:
    # Beyond 2**53 every float is an integer, and not all integers are floats.
    return bool(np.all(values == np.round(values)) and np.abs(values).max() < 2**53)


def _whole_bins(values: npt.NDArray[np.float64]) -> tuple[list[str], list[int]]:
    low, high = int(values.min()), int(values.max())
    step = -(-(high - low + 1) // _BINS)
    starts = range(low, high + 1, step)
    places = ((values - low) // step).astype(np.int64)
    counts = np.bincount(places, minlength=len(starts)).tolist()
    if step == 1:
        return [str(start) for start in starts], counts
    return [f"{start} to {min(start + step - 1, high)}" for start in starts], counts


def _bins(values: npt.NDArray[np.float64]) -> tuple[list[str], list[int]]:
    if values.min() == values.max():
        return [_short(float(values[0]))], [values.size]
    counts, edges = np.histogram(values, bins=_BINS)
    pairs = zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)
    return [f"{_short(low)} to {_short(high)}" for low, high in pairs], counts.tolist()


def _bar(share: float, room: int, ascii_only: bool) -> str:
    """Return a bar that is visible for every nonzero share."""
    if ascii_only:
        return "#" * max(round(share * room), share > 0)
    eighths = max(round(share * room * 8), share > 0)
    return _FULL * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def _short(value: float) -> str:
    """Return a number with at most four significant digits."""
    return f"{value:.4g}" if abs(value) < 1000 or abs(value) >= 1e9 else f"{value:.0f}"
