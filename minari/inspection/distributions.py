"""Distributions of numbers: their summary and their histogram."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt


__all__ = ["Distribution", "Histogram", "components", "histogram", "shared_histograms", "short"]

_EXACT = 2**53  # beyond it, every float is an integer, and not every integer is a float


@dataclass(frozen=True, slots=True)
class Distribution:
    """Summary of numbers.

    >>> Distribution.of(np.array([1.0, 3.0])).summary()
    'min 1  mean 2  max 3  std 1'

    Attributes:
        count: number of finite values.
        minimum, mean, maximum, std: statistics of the finite values; NaN if there are none.
    """

    count: int
    minimum: float
    mean: float
    maximum: float
    std: float

    @classmethod
    def of(cls, values: npt.NDArray[np.float64]) -> Distribution:
        """Summarize an array of shape (n,)."""
        finite = values[np.isfinite(values)]
        if not finite.size:
            return cls(0, np.nan, np.nan, np.nan, np.nan)
        with np.errstate(over="ignore", invalid="ignore"):
            mean, std = float(finite.mean()), float(finite.std())
        return cls(finite.size, float(finite.min()), mean, float(finite.max()), std)

    def numbers(self) -> dict[str, float]:
        """Return the statistics by name, in the order in which they are shown."""
        return {"min": self.minimum, "mean": self.mean, "max": self.maximum, "std": self.std}

    def summary(self) -> str:
        """Return the statistics as one line."""
        return "  ".join(f"{name} {short(value)}" for name, value in self.numbers().items())


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of numbers in bins.

    Attributes:
        edges: the bounds of n bins in increasing order, n + 1 floats. A bin includes its lower bound, the last one its
            upper bound as well.
        counts: the number of values in each bin, n ints.
        labels: the text of each bin: ``"3"`` or ``"0 to 9"`` for ranges of whole numbers, ``"0.5 to 1"`` for others.
        not_finite: the number of values that are infinite or not a number, which are in none of the bins.
    """

    edges: list[float]
    counts: list[int]
    labels: list[str]
    not_finite: int


def histogram(values: npt.NDArray[np.float64], bins: int = 10, bounds: tuple[float, float] | None = None) -> Histogram:
    """Return the histogram of an array of shape (n,).

    Bins of whole numbers are ranges of whole numbers; others are half-open intervals, except the last one.

    >>> histogram(np.array([1.0, 1.0, 2.0, np.nan]))
    Histogram(edges=[1.0, 2.0, 3.0], counts=[2, 1], labels=['1', '2'], not_finite=1)

    Args:
        values: the numbers.
        bins: the greatest number of bins.
        bounds: the least and the greatest value that the bins cover, for histograms to be compared; by default those
            of the values. Values outside are in none of the bins. They are taken as bounds of whole numbers if they,
            and all values, are whole.

    Returns:
        The histogram; without bins if no value is finite and no bounds are given.
    """
    finite = values[np.isfinite(values)]
    if bounds is None and not finite.size:
        return Histogram([], [], [], int(values.size))
    low, high = bounds or (float(finite.min()), float(finite.max()))
    not_finite = int(values.size - finite.size)
    is_whole = bool(np.all(finite == np.round(finite))) and low == round(low) and high == round(high)
    if is_whole and max(abs(low), abs(high)) < _EXACT:
        step = -(-(int(high) - int(low) + 1) // bins)
        starts = range(int(low), int(high) + 1, step)
        inside = finite[(finite >= low) & (finite <= high)]
        counts = np.bincount(((inside - low) // step).astype(np.int64), minlength=len(starts)).tolist()
        labels = [str(start) if step == 1 else f"{start} to {min(start + step - 1, int(high))}" for start in starts]
        edges = [float(start) for start in (*starts, starts[-1] + step)]
        return Histogram(edges, counts, labels, not_finite)
    width = high - low
    if low == high or not np.isfinite(width) or width / bins <= math.ulp(max(abs(low), abs(high))):
        # One value, or a range that floats cannot divide.
        label = short(low) if low == high else f"{short(low)} to {short(high)}"
        return Histogram([low, high], [int(np.sum((finite >= low) & (finite <= high)))], [label], not_finite)
    counts, edges = (array.tolist() for array in np.histogram(finite, bins=bins, range=(low, high)))
    labels = [f"{short(begin)} to {short(end)}" for begin, end in pairwise(edges)]
    return Histogram(edges, counts, labels, not_finite)


def shared_histograms(series: Sequence[npt.NDArray[np.float64]], bins: int = 10) -> list[Histogram]:
    """Return the histograms of several arrays of shape (n,) with the same bins, those of all their values together.

    >>> [one.counts for one in shared_histograms([np.array([1.0, 2.0]), np.array([4.0])])]
    [[1, 1, 0, 0], [0, 0, 0, 1]]
    """
    together = histogram(np.concatenate([np.zeros(0), *series]), bins)
    inner = np.array(together.edges[1:-1])
    found = []
    for values in series:
        finite = values[np.isfinite(values)]
        places = np.searchsorted(inner, finite, "right")
        counts = np.bincount(places, minlength=len(together.counts)).tolist() if together.counts else []
        found.append(Histogram(together.edges, counts, together.labels, int(values.size - finite.size)))
    return found


def components(values: npt.NDArray[np.generic]) -> Iterator[tuple[str, npt.NDArray[np.float64]]]:
    """Yield the label and the numbers of each component of an array of shape (n, …), in the order of C.

    >>> [(label, numbers.tolist()) for label, numbers in components(np.array([[1, 2], [3, 4]]))]
    [('0', [1.0, 3.0]), ('1', [2.0, 4.0])]

    The label of an array of shape (n,) is empty.
    """
    flat = values.reshape(len(values), math.prod(values.shape[1:]))
    names = (", ".join(map(str, place)) for place in np.ndindex(values.shape[1:]))
    for place, name in enumerate(names):
        yield name, flat[:, place].astype(np.float64)


def short(value: float) -> str:
    """Format a number with up to four significant digits."""
    return f"{value:.4g}" if abs(value) < 1000 or abs(value) >= 1e9 else f"{value:.0f}"
