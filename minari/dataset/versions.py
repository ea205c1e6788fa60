"""Format versions: which datasets can be read, and what a combination of datasets carries.

A dataset carries either an exact version (``0.5.4``) or a specifier (``~=0.4``), in the sense of
PEP 440; those of 0.3 carry none. Both are intervals of versions here.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import reduce

import portion  # type: ignore[import-untyped]
from packaging.specifiers import InvalidSpecifier, Specifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from minari.errors import CombineError, DatasetVersionError


__all__ = [
    "FIRST_VERSION",
    "FORMAT_VERSION",
    "check_readable",
    "combine_versions",
    "is_compatible",
    "supported_dataset_versions",
]

#: The newest format version, which is the one that is written.
FORMAT_VERSION = "0.5.4"

#: What a dataset without any version follows.
FIRST_VERSION = "~=0.3.0"

#: The releases whose datasets can be read.
supported_dataset_versions: set[str] = {
    *("0.3.0", "0.3.1"),
    *("0.4.0", "0.4.1", "0.4.2", "0.4.3"),
    *("0.5.0", "0.5.1", "0.5.2", "0.5.3", "0.5.4"),
}

_OLDEST = Version("0.3.0")
_NEWEST = Version(FORMAT_VERSION)
_READABLE = portion.closed(_OLDEST, _NEWEST)
# The rest of the major line, which may change what is stored but not where.
_NEWER = portion.open(_NEWEST, Version(f"{_NEWEST.major + 1}.dev0"))


def is_compatible(version_text: str | None) -> bool:
    """Whether datasets of that version are read without reservation.

    >>> is_compatible("0.5.4"), is_compatible("~=0.4"), is_compatible("0.6.0")
    (True, True, False)

    Args:
        version_text: an exact version, a specifier, or None for the datasets of 0.3. A text that
            is neither is not compatible.
    """
    try:
        return bool(_interval(version_text).overlaps(_READABLE))
    except ValueError:
        return False


def check_readable(version_text: str | None, dataset: str) -> None:
    """Make sure that a dataset can be read.

    Args:
        version_text: the version it carries, None for the datasets of 0.3.
        dataset: its id or path, for the message.

    Warns:
        UserWarning: the version is newer, of the same major line.

    Raises:
        DatasetVersionError: the version is of another major line, or not a version at all.
    """
    try:
        interval = _interval(version_text)
    except ValueError as error:
        raise DatasetVersionError(
            f"The dataset {dataset} carries {version_text!r}, which is not a version (PEP 440)."
        ) from error
    if interval.overlaps(_READABLE):
        return
    if interval.overlaps(_NEWER):
        warnings.warn(
            f"The dataset {dataset} follows the format version {version_text}, which is newer than "
            f"{FORMAT_VERSION}; parts of it may be missing until Minari is upgraded.",
            UserWarning,
            stacklevel=2,
        )
        return
    raise DatasetVersionError(
        f"The dataset {dataset} follows the format version {version_text}, and this release reads "
        f"{_OLDEST} to {FORMAT_VERSION}; install a release of Minari that reads it."
    )


def combine_versions(version_texts: Sequence[str | None]) -> str:
    """The version that a combination of datasets carries.

    Datasets that all carry specifiers give the intersection of these; otherwise the combination
    carries the newest format version.

    >>> combine_versions(["~=0.4", "~=0.4.1"])
    '>=0.4.1,<0.5'
    >>> combine_versions(["~=0.4", "0.5.3"])
    '0.5.4'

    Raises:
        CombineError: the specifiers exclude each other.
        DatasetVersionError: one of the texts is not a version.
    """
    texts = [FIRST_VERSION if text is None else text for text in version_texts]
    try:
        intervals = [_interval(text) for text in texts]
    except ValueError as error:
        raise DatasetVersionError(f"One of the versions {texts} is not a version (PEP 440): {error}.") from error
    if not texts or any(_is_exact(text) for text in texts):
        return FORMAT_VERSION
    shared = reduce(lambda left, right: left & right, intervals)
    if shared.empty:
        raise CombineError(f"The datasets follow the format versions {texts}, which exclude each other.")
    return _specifier_of(shared, texts)


def _is_exact(text: str) -> bool:
    try:
        Version(text)
    except InvalidVersion:
        return False
    return True


def _interval(text: object) -> portion.Interval:
    """The versions that a text stands for; ValueError where it stands for none."""
    if text is None:
        text = FIRST_VERSION
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"expected a version, got {text!r}")
    if _is_exact(text):
        return portion.singleton(Version(text))
    try:
        specifiers = SpecifierSet(text)
    except InvalidSpecifier as error:
        raise ValueError(str(error)) from error
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
    """The first version after all those that begin with ``release``."""
    return Version(".".join(map(str, (*release[:-1], release[-1] + 1))))


def _specifier_of(interval: portion.Interval, texts: Sequence[str]) -> str:
    """Write an interval as a specifier that admits the same versions.

    Holes can only come from the ``!=`` of the texts, so those that lie inside are kept as they are.
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


def frames_were_jpeg(version_text: str | None) -> bool:
    """Whether a release that does not say how it stores frames stores them as JPEG.

    Up to 0.5.2 they are raw, in 0.5.3 they are JPEG, and from 0.5.4 on the metadata say.
    """
    return version_text == "0.5.3"
