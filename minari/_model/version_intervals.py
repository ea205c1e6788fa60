"""Versions and specifiers (PEP 440) as intervals of versions, and their intersections as text."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, reduce

import portion  # type: ignore[import-untyped]
from packaging.specifiers import InvalidSpecifier, Specifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from minari._base.json_text import shortened


__all__ = ["interval", "is_exact", "specifier_of"]

_LONGEST = 200  # characters; the time for many exclusions grows with the square of their number


def is_exact(text: str) -> bool:
    """Return whether a text is a version and not a specifier."""
    try:
        Version(text)
    except InvalidVersion:
        return False
    return True


def interval(text: object) -> portion.Interval:
    """Return the interval of versions of a text.

    >>> interval("0.4.3") in interval("~=0.4")
    True

    Raises:
        ValueError: it is neither a version nor a specifier.
    """
    if not isinstance(text, str) or not text.strip() or len(text) > _LONGEST:
        raise ValueError(f"expected a version, got {shortened(text)}")
    return _interval(text)


@lru_cache(maxsize=128)  # the datasets of a catalog have the same few
def _interval(text: str) -> portion.Interval:
    if is_exact(text):
        return portion.singleton(Version(text))
    try:
        specifiers = SpecifierSet(text)
    except InvalidSpecifier as error:
        raise ValueError(str(error)) from error
    if not len(specifiers):  # commas alone
        raise ValueError(f"expected a version, got {text!r}")
    return reduce(lambda left, right: left & right, map(_specified, specifiers))


def _specified(specifier: Specifier) -> portion.Interval:
    operator, text = specifier.operator, specifier.version
    if operator in ("==", "!=") and text.endswith(".*"):
        start = Version(text.removesuffix(".*"))
        interval = portion.closedopen(start, _next(start.release))
        return interval if operator == "==" else ~interval
    try:
        version = Version(text)
    except InvalidVersion as error:  # `===` takes any text
        raise ValueError(str(error)) from error
    if operator == "~=":
        return portion.closedopen(version, _next(version.release[:-1]))
    return {
        "==": portion.singleton(version),
        "===": portion.singleton(version),
        "!=": ~portion.singleton(version),
        ">=": portion.closedopen(version, portion.inf),
        ">": portion.open(version, portion.inf),
        "<=": portion.openclosed(-portion.inf, version),
        "<": portion.open(-portion.inf, version),
    }[operator]


def _next(release: tuple[int, ...]) -> Version:
    """Return the first version after all those that begin with ``release``."""
    return Version(".".join(map(str, (*release[:-1], release[-1] + 1))))


def specifier_of(interval: portion.Interval, texts: Sequence[str]) -> str:
    """Return an interval as a specifier that admits the same versions.

    Gaps can only come from ``!=`` in the texts, so those inside the interval are kept unchanged.
    """
    bounds = interval.enclosure
    if bounds.lower == bounds.upper:
        return f"=={bounds.lower}"
    parts = []
    if bounds.lower != -portion.inf:
        parts.append(f"{'>=' if bounds.left is portion.CLOSED else '>'}{bounds.lower}")
    if bounds.upper != portion.inf:
        parts.append(f"{'<=' if bounds.right is portion.CLOSED else '<'}{bounds.upper}")
    excluded = {part for text in texts for part in SpecifierSet(text) if part.operator == "!="}
    parts += sorted(str(part) for part in excluded if (~_specified(part)).overlaps(bounds))
    return ",".join(parts)
