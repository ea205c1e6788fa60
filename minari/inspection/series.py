"""Reduction of long series to as many points as a plot can show."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt


__all__ = ["condensed", "reduced"]

_OUTLIER: Final = 3.0  # distances between the quartiles, beyond which a value is shown instead of a mean


def reduced(values: npt.NDArray[Any], most: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[Any]]:
    """Return some rows of a series with their positions, so that its plot looks like that of all rows.

    A series that is short enough is returned whole. Otherwise it is divided into stretches of equal length, and the
    rows of the least and the greatest value of each component in each of them are taken, so that no peak is lost.

    >>> positions, rows = reduced(np.array([0, 0, 9, 0, 0, 0, -5, 0]), 4)
    >>> positions.tolist(), rows.tolist()
    ([0, 2, 4, 6], [0, 9, 0, -5])

    Args:
        values: numbers of shape (T,) or (T, k).
        most: about the greatest number of rows; with k components, up to k times as many.

    Returns:
        The positions in increasing order, shape (n,), int64, and the rows at them, shape (n,) or (n, k).
    """
    if len(values) <= most:
        return np.arange(len(values)), values
    columns = values.reshape(len(values), -1)
    comparable = np.nan_to_num(columns.astype(np.float64), nan=np.inf)
    bounds = np.linspace(0, len(values), max(most // 2, 1) + 1).astype(np.int64)
    chosen: set[int] = set()
    for begin, end in pairwise(bounds.tolist()):
        if begin < end:
            stretch = comparable[begin:end]
            chosen.update((begin + stretch.argmin(axis=0)).tolist(), (begin + stretch.argmax(axis=0)).tolist())
    positions = np.array(sorted(chosen), np.int64)
    return positions, values[positions]


def condensed(values: npt.NDArray[np.float64], most: int) -> npt.NDArray[np.float64]:
    """Return a series as at most so many numbers: the mean of each stretch of it, or its outlier.

    Outliers are values far outside of the middle half of the series, such as the only reward of an episode, which a
    mean would hide.

    >>> condensed(np.array([0.0, 0, 9, 0, 0, 0]), 3).tolist(), condensed(np.array([0.0, 1, 0, 1, 0, 1]), 3).tolist()
    ([0.0, 9.0, 0.0], [0.5, 0.5, 0.5])

    Args:
        values: shape (T,).
        most: the greatest number of values.

    Returns:
        The numbers, shape (n,); NaN where a stretch has no finite value.
    """
    finite = np.where(np.isfinite(values), values, np.nan)
    if len(values) <= most or np.isnan(finite).all():
        return finite[:most]
    with np.errstate(over="ignore", invalid="ignore"):
        low, middle, high = np.nanquantile(finite, (0.25, 0.5, 0.75))
        distance = np.nan_to_num(np.abs(finite - middle), nan=-1.0)
        limit = _OUTLIER * (high - low)
    bounds = np.linspace(0, len(values), most + 1).astype(np.int64)
    points = np.full(most, np.nan)
    for place, (begin, end) in enumerate(pairwise(bounds.tolist())):
        farthest = begin + int(distance[begin:end].argmax())
        known = finite[begin:end][~np.isnan(finite[begin:end])]
        if known.size:
            points[place] = finite[farthest] if distance[farthest] > limit else (known / known.size).sum()
    return points
