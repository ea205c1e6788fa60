"""Names of NumPy dtypes that data bring along, taken from a closed list."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from minari._base.json_text import shortened


__all__ = ["numeric_dtype"]

_NUMERIC: Final = {np.dtype(code).name: np.dtype(code) for code in "?bhilqBHILQefdgFDG"}


def numeric_dtype(name: object) -> np.dtype[Any]:
    """Return the dtype of numbers or booleans that has this name.

    >>> numeric_dtype("float32")
    dtype('float32')

    Raises:
        ValueError: it is the name of another kind of dtype, or of none.
    """
    dtype = _NUMERIC.get(name) if isinstance(name, str) else None
    if dtype is None:
        raise ValueError(f"{shortened(name)} is the name of no numeric dtype")
    return dtype
