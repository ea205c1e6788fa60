"""Metadata as JSON for other programs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any


__all__ = ["plain"]


def plain(value: Any) -> Any:
    """Return a value of the metadata as JSON.

    Sets become sorted lists. JSON has neither infinity nor NaN, so numbers that are not finite become null;
    inside the description of a space, which is a text, they stay.

    >>> plain({"author": {"Grace", "Ada"}, "ref_max_score": float("inf")})
    {'author': ['Ada', 'Grace'], 'ref_max_score': None}
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted(map(plain, value), key=str)
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [plain(item) for item in value]
    return value
