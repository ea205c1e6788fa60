"""The types that episodes are made of between a collector, a storage format and a reader."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt


#: Where a column lies: a string is the key of a ``Dict``, an int the position in a ``Tuple``.
Path: TypeAlias = tuple[str | int, ...]

#: An array with time first. Text and encoded frames are object arrays of ``str`` and ``bytes``.
Column: TypeAlias = npt.NDArray[Any]

#: The columns of an episode, by path; the first part of a path is ``"observations"``,
#: ``"actions"``, ``"rewards"``, ``"terminations"``, ``"truncations"`` or ``"infos"``.
Columns: TypeAlias = Mapping[Path, Column]


@dataclass(frozen=True, slots=True)
class EpisodeColumns:
    """One episode as a storage format takes it: checked, flat, and with time first.

    Attributes:
        total_steps: the number of steps, T.
        columns: observations and infos with T+1 rows, the rest with T.
        metadata: the seed and the options where there are any, statistics, and whatever else
            describes the episode; nested mappings are allowed.
    """

    total_steps: int
    columns: Columns
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Leaf:
    """A place in a space that has one row a step.

    Attributes:
        path: the way from the root of the space.
        dtype: of one row.
        shape: of one row, without time.
        low, high: the bounds of a ``Box``, None for other leaves.
    """

    path: Path
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    low: npt.NDArray[Any] | None = None
    high: npt.NDArray[Any] | None = None


def path_name(path: Path) -> str:
    """The path as a person would write it: ``observations/camera/0``."""
    return "/".join(str(part) for part in path)


def is_utf8_text(text: str) -> bool:
    """Whether UTF-8 on disk can hold a text: it has no NUL character and no half of a surrogate pair."""
    return "\0" not in text and (text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text))


def uniform_bound(bounds: npt.NDArray[Any]) -> Any:
    """Return the number that all bounds of a Box are, None where they differ or there are none.

    Views of one number, which take no memory, are not gone through.
    """
    if not bounds.size:
        return None
    first = bounds.flat[0]
    return first if not any(bounds.strides) or (bounds == first).all() else None


def without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape without its dimensions of length one.

    >>> without_ones((1, 3, 1))
    (3,)
    """
    return tuple([length for length in shape if length != 1])


def has_flags(value: Any) -> bool:
    """Whether there is a boolean in nested lists, which NumPy makes a number where it is among numbers."""
    if isinstance(value, (list, tuple)):
        return any(map(has_flags, value))
    return isinstance(value, (bool, np.bool_))


def native(array: Column) -> Column:
    """The array in the byte order of this machine; a copy where it has another one."""
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def object_column(values: list[Any]) -> Column:
    """A one-dimensional object array of the values as they are, even where they are sequences."""
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column
