"""Formatting of numbers."""

from __future__ import annotations

import math


def figure(seconds: float, per: str = "") -> str:
    """Format a time with three digits: ``figure(4.21e-5, "step")`` is ``"42.1 µs a step"``."""
    article = "an" if per[:1] in "aeiou" else "a"
    return f"{_time(seconds)} {article} {per}" if per else _time(seconds)


def _time(seconds: float) -> str:
    for unit, length in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if abs(seconds) >= length:
            return f"{digits(seconds / length)} {unit}"
    return f"{digits(seconds * 1e9)} ns"


def times(number: float) -> str:
    """Format a ratio: ``"52.3 ×"``."""
    return f"{digits(number)} ×"


def digits(number: float) -> str:
    """Format a number with three significant digits and no exponent: ``"0.123"``, ``"4.56"``, ``"1,234"``."""
    if math.isinf(number):
        return "∞"
    if number == 0:
        return "0"
    if abs(number) < 1000:
        number = float(f"{number:.3g}")  # before the places are counted: 9.996 is 10.0, not 10.00
    places = max(0, 2 - math.floor(math.log10(abs(number))))
    return f"{number:,.{places}f}"
