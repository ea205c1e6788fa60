"""Warnings that point at the line of the user's program, however deep inside the library they arise."""

from __future__ import annotations

import sys
import warnings
from types import FrameType


__all__ = ["warn"]

#: Packages between the user's code and a warning: this library, environment wrappers, context managers.
_PASSED_OVER = frozenset({"minari", "gymnasium", "contextlib", "functools"})


def warn(message: str | Warning, category: type[Warning] = UserWarning) -> None:
    """Issue a warning for the line outside of this library that led here.

    Args:
        message: the text, or the warning itself.
        category: the class of the warning, if only its text is given.
    """
    level = 2
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and str(frame.f_globals.get("__name__", "")).partition(".")[0] in _PASSED_OVER:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
