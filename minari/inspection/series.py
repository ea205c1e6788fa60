"""Reduction of long series to as many points as a plot can show."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt


__all__ = ["reduced"]


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
