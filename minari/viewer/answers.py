"""Answers of the viewer: JSON of any value that data can hold, and a status for every error."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from minari._base.json_text import shortened
from minari.errors import (
    DatasetBusyError,
    DatasetChangedError,
    DatasetCorruptError,
    DatasetNotFoundError,
    DatasetVersionError,
    EpisodeIndexError,
    MinariError,
    MissingDependencyError,
    SpaceError,
    StorageError,
    UnknownFormatError,
)


__all__ = ["LONGEST_TEXT", "Refusal", "as_json", "cut", "error_of", "numbers", "plain", "plotted"]

#: Characters of a text from data, after which it is cut.
LONGEST_TEXT: Final = 5_000

_MOST_ITEMS = 1_000  # of a list or dict of metadata
_MOST_LEVELS = 12  # of nested ones
_EXACT = 2**53  # integers that JavaScript holds exactly

#: The status of an error; the first class that fits counts.
_STATUS: Final[tuple[tuple[type[BaseException], int], ...]] = (
    (DatasetChangedError, 409),
    (DatasetBusyError, 409),
    (DatasetNotFoundError, 404),
    (EpisodeIndexError, 404),
    (DatasetCorruptError, 422),
    (DatasetVersionError, 422),
    (UnknownFormatError, 422),
    (MissingDependencyError, 422),
    (SpaceError, 422),
    (StorageError, 500),
    (MinariError, 400),
)


class Refusal(MinariError):
    """A request that is refused.

    Args:
        status: the status of the answer.
        kind: the name of the error in the answer.
        message: the reason and the remedy.
        headers: further headers of the answer.
    """

    def __init__(self, status: int, kind: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.kind, self.headers = status, kind, dict(headers or {})


def error_of(error: BaseException) -> tuple[int, dict[str, str]]:
    """Return the status and the JSON value of the answer for an error.

    >>> error_of(EpisodeIndexError("There is no episode 9."))
    (404, {'error': 'There is no episode 9.', 'kind': 'EpisodeIndexError'})
    """
    if isinstance(error, Refusal):
        return error.status, {"error": cut(str(error)), "kind": error.kind}
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
    if isinstance(error, MinariError):
        sentence = str(error)
    elif isinstance(error, OSError) and error.strerror:
        sentence = f"{error.strerror}{'' if error.filename is None else f': {os.fsdecode(error.filename)}'}"
    elif isinstance(error, MemoryError):
        sentence = "There is not enough memory for this; close other programs, or look at a smaller part."
    else:
        sentence = f"{type(error).__name__}: {error} (this was not expected)"
    return status, {"error": cut(sentence), "kind": type(error).__name__}


def as_json(value: Any) -> bytes:
    """Return the JSON text of a value that :func:`plain` or :func:`numbers` made.

    Raises:
        ValueError: it has a number that is not finite.
    """
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode("ascii")


def cut(text: str, length: int = LONGEST_TEXT) -> str:
    """Return a text, cut if it is longer than some number of characters."""
    return text if len(text) <= length else f"{text[:length]}…"


def numbers(values: npt.NDArray[Any]) -> list[Any]:
    """Return an array of numbers or flags as lists of JSON values: null where a number is not finite.

    >>> numbers(np.array([1.0, np.nan, np.inf])), numbers(np.array([[2**60, 1]]))
    ([1.0, None, None], [['1152921504606846976', 1]])
    """
    kind = values.dtype.kind
    if kind not in "biuf":
        return [plain(value) for value in values.tolist()]
    if kind == "f":
        exact = np.asarray(values, np.float64)
        finite = np.isfinite(exact)
        listed = exact if finite.all() else exact.astype(object)
        if listed is not exact:
            listed[~finite] = None
        return listed.tolist()  # type: ignore[no-any-return]
    if kind != "b" and values.size and (int(values.max()) > _EXACT or int(values.min()) < -_EXACT):
        return [plain(value) for value in values.tolist()]
    small: list[Any] = values.tolist()
    return small


def plotted(values: npt.NDArray[Any]) -> list[Any]:
    """Return numbers or flags of a plot, shape (n,), as JSON numbers: null where they are not finite, flags 0 or 1.

    >>> plotted(np.array([2**60, 1])), plotted(np.array([True, False]))
    ([1.152921504606847e+18, 1.0], [1, 0])
    """
    if values.dtype.kind == "b":
        return numbers(values.astype(np.int8))
    is_large = values.dtype.kind in "iu" and values.size and np.abs(values.astype(np.float64)).max() > _EXACT
    return numbers(values.astype(np.float64) if is_large else values)


def plain(value: Any, level: int = 0) -> Any:
    """Return a value of metadata as a bounded JSON value.

    Numbers that are not finite are null, integers that JavaScript cannot hold are texts, and long texts and lists are
    cut.

    >>> plain({"a": (1, float("nan")), "b": 2**60, "c": b"xyz"})
    {'a': [1, None], 'b': '1152921504606846976', 'c': '3 bytes'}
    """
    if value is None or isinstance(value, (bool, np.bool_)):
        return None if value is None else bool(value)
    if isinstance(value, str):
        return cut(str.__str__(value))
    if isinstance(value, (int, np.integer)):
        return int(value) if abs(int(value)) <= _EXACT else _digits(int(value))
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, (bytes, bytearray)):
        return f"{len(value)} bytes"
    if level >= _MOST_LEVELS:
        return cut(shortened(value))
    if isinstance(value, np.ndarray):
        return _plain_array(value, level)
    if isinstance(value, Mapping):
        return {cut(str(key)): plain(item, level + 1) for key, item in list(value.items())[:_MOST_ITEMS]}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item, level + 1) for item in list(value)[:_MOST_ITEMS]]
    return cut(str(value)) if isinstance(value, np.generic) else cut(shortened(value))


def _digits(number: int) -> str:
    try:
        return str(number)
    except ValueError:  # of more digits than Python converts
        return shortened(number)


def _plain_array(array: npt.NDArray[Any], level: int) -> Any:
    if array.size > _MOST_ITEMS:
        return f"array of shape {array.shape} and dtype {array.dtype}"
    return plain(array.tolist(), level) if array.dtype.kind in "biufUO" else [cut(str(item)) for item in array.flat]
