"""Format versions: the readable ones, and the version of a combination of datasets.

A dataset has either an exact version (``0.5.4``) or a specifier (``~=0.4``), as defined by PEP 440; those of
0.3 have none.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import TYPE_CHECKING

from minari._base.json_text import shortened
from minari._base.lazy import LazyModule
from minari._base.warnings import warn
from minari.errors import CombineError, DatasetVersionError


if TYPE_CHECKING:
    import portion  # type: ignore[import-untyped]

    from minari._model import version_intervals as version_intervals
else:
    # It imports two libraries, and versions in the list below, as nearly all are, do not need it.
    version_intervals = LazyModule("minari._model.version_intervals")


__all__ = [
    "BYTE_FRAMES_VERSION",
    "FIRST_VERSION",
    "FORMAT_VERSION",
    "FRAME_STACK_VERSION",
    "MULTI_AGENT_VERSION",
    "UNIFORM_BOUNDS_VERSION",
    "check_readable",
    "combine_versions",
    "is_compatible",
    "supported_dataset_versions",
]

#: The newest format version that 0.5.4 can read, which is the one that is written.
FORMAT_VERSION = "0.5.4"

#: The format version of datasets with a short form of uniform bounds, which 0.5.4 rejects.
UNIFORM_BOUNDS_VERSION = "0.6"

#: The format version of datasets of many agents, which 0.5.4 rejects too.
MULTI_AGENT_VERSION = "0.6"

#: The format version of datasets whose stacks of frames are stored once, which 0.5.4 rejects too.
FRAME_STACK_VERSION = "0.6"

#: The format version of Parquet datasets with frames as bytes, which 0.5.4 rejects too.
BYTE_FRAMES_VERSION = "0.6"

#: The format version of datasets without one.
FIRST_VERSION = "~=0.3.0"

#: The releases whose datasets can be read.
supported_dataset_versions: set[str] = {
    *("0.3.0", "0.3.1"),
    *("0.4.0", "0.4.1", "0.4.2", "0.4.3"),
    *("0.5.0", "0.5.1", "0.5.2", "0.5.3", "0.5.4"),
    UNIFORM_BOUNDS_VERSION,
    MULTI_AGENT_VERSION,
    FRAME_STACK_VERSION,
    BYTE_FRAMES_VERSION,
}

_OLDEST = "0.3.0"
_READABLE = f">={_OLDEST},<={FORMAT_VERSION}"
# The rest of the major line, which may change what is stored but not where.
_NEWER = f">{FORMAT_VERSION},<1.dev0"


def is_compatible(version_text: str | None) -> bool:
    """Return whether datasets of that version can be read without reservation.

    >>> is_compatible("0.5.4"), is_compatible("~=0.4"), is_compatible("0.6.0")
    (True, True, False)

    Args:
        version_text: an exact version, a specifier, or None for the datasets of 0.3. Any other text is not compatible.
    """
    if _is_release(version_text):
        return True
    try:
        return bool(_interval(version_text).overlaps(_interval(_READABLE)))
    except ValueError:
        return False


def check_readable(version_text: str | None, dataset: str) -> None:
    """Raise unless a dataset can be read.

    Args:
        version_text: its version, None for the datasets of 0.3.
        dataset: its id or path, for the message.

    Warns:
        UserWarning: the version is newer, with the same major version.

    Raises:
        DatasetVersionError: the major version differs, or the text is not a version.
    """
    if _is_release(version_text):
        return
    try:
        interval = _interval(version_text)
    except ValueError as error:
        raise DatasetVersionError(
            f"The dataset {dataset} carries {shortened(version_text)}, which is not a version (PEP 440)."
        ) from error
    if interval.overlaps(_interval(_READABLE)):
        return
    if interval.overlaps(_interval(_NEWER)):
        warn(
            f"The dataset {dataset} follows the format version {version_text}, which is newer than "
            f"{FORMAT_VERSION}; parts of it may be missing until Minari is upgraded.",
        )
        return
    raise DatasetVersionError(
        f"The dataset {dataset} follows the format version {version_text}, and this release reads "
        f"{_OLDEST} to {FORMAT_VERSION}; install a release of Minari that reads it."
    )


def combine_versions(version_texts: Sequence[str | None]) -> str:
    """Return the version of a combination of datasets.

    If all datasets have specifiers, it is their intersection; otherwise it is the newest format version.

    >>> combine_versions(["~=0.4", "~=0.4.1"])
    '>=0.4.1,<0.5'
    >>> combine_versions(["~=0.4", "0.5.3"])
    '0.5.4'

    Raises:
        CombineError: the specifiers exclude each other.
        DatasetVersionError: one of the texts is not a version.
    """
    texts = [FIRST_VERSION if text is None else text for text in version_texts]
    if all(map(_is_release, texts)):
        return FORMAT_VERSION
    try:
        intervals = [_interval(text) for text in texts]
    except ValueError as error:
        raise DatasetVersionError(
            f"One of the versions {shortened(texts)} is not a version (PEP 440): {error}."
        ) from error
    if any(map(version_intervals.is_exact, texts)):
        return FORMAT_VERSION
    shared = reduce(lambda left, right: left & right, intervals)
    if shared.empty:
        raise CombineError(f"The datasets follow the format versions {shortened(texts)}, which exclude each other.")
    return version_intervals.specifier_of(shared, texts)


def _is_release(text: object) -> bool:
    return isinstance(text, str) and text in supported_dataset_versions


def _interval(text: object) -> portion.Interval:
    return version_intervals.interval(FIRST_VERSION if text is None else text)


def frames_were_jpeg(version_text: str | None) -> bool:
    """Return whether a release that does not record how it stores frames stores them as JPEG.

    Up to 0.5.2 frames are raw, in 0.5.3 they are JPEG, and since 0.5.4 the metadata records it.
    """
    return version_text == "0.5.3"
