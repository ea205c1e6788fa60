"""pyarrow after its first conversions, for those that convert values, see :mod:`~minari._storages.arrow.library`.

The first conversions import ``pyarrow.compute`` and, if it is installed, pandas. Done here, this is part of the
import of this module, which a fork waits for (see :mod:`minari._base.lazy`); later, a forked child might hang.
"""

from __future__ import annotations

import numpy as np

from minari._storages.arrow.library import Array, csv, pa, pq


__all__ = ["as_numpy", "csv", "pa", "pq"]

for _first in (np.zeros(1, np.bool_), [""]):
    pa.array(_first).to_numpy(zero_copy_only=False)


def as_numpy(array: Array) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
    """Return the values of an Arrow array; nulls become NaN or None."""
    values: np.ndarray[tuple[int, ...], np.dtype[np.generic]] = array.to_numpy(zero_copy_only=False)
    return values
