"""The values of a space over an episode, in growing columns.

Appending only copies the values of a step. Unusual values are kept as they are, and examined when the episode
is stored.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from minari._base.plain_values import Unkept, array_of
from minari._model.infos.values import ABSENT, IMMUTABLE
from minari.spaces import object_column


class GrowingColumn(Protocol):
    """The values of one node of a space, step by step."""

    def append(self, value: Any) -> None:
        """Append the value of one more step."""

    def cut(self, rows: int) -> None:
        """Drop the values after the first ``rows``."""

    def values(self) -> Any:
        """Return the values so far, column by column."""

    def clear(self) -> None:
        """Start again without values, leaving those already returned unchanged."""


class _ArrayColumn:
    """Arrays of numbers of one shape and dtype."""

    def __init__(self, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
        self._dtype, self._shape = dtype, shape
        # Joining bytes at the end takes half the time of assigning rows of an array.
        self._rows: list[bytes] = []
        self._odd: list[Any] | None = None  # the values, once one did not fit

    def append(self, value: Any) -> None:
        if (
            type(value) is np.ndarray
            and ((dtype := value.dtype) is self._dtype or dtype == self._dtype)
            and value.shape == self._shape
            and self._odd is None
        ):
            self._rows.append(value.tobytes())
        else:
            self._append_odd(value)

    def _append_odd(self, value: Any) -> None:
        value = snapshot(value)
        if self._odd is None:
            is_plain = isinstance(value, np.ndarray) and value.dtype.kind in "biuf" and value.shape == self._shape
            if is_plain and (value.dtype == self._dtype or not self._rows):
                # The dtype may differ from that of the space; the returned value is recorded.
                self._dtype = value.dtype
                self._rows.append(value.tobytes())
                return
            self._odd = list(self._array())
        self._odd.append(value)

    def _array(self) -> npt.NDArray[Any]:
        joined = bytearray().join(self._rows)  # not bytes, whose arrays would be read-only
        return np.frombuffer(joined, self._dtype).reshape(len(self._rows), *self._shape)

    def cut(self, rows: int) -> None:
        del (self._rows if self._odd is None else self._odd)[rows:]

    def values(self) -> Any:
        return self._array() if self._odd is None else self._odd

    def clear(self) -> None:
        self._rows, self._odd = [], None


class _ValueColumn:
    """Scalars, text and values without a fixed shape, in a list."""

    def __init__(self) -> None:
        self._values: list[Any] = []

    def append(self, value: Any) -> None:
        self._values.append(value if type(value) in IMMUTABLE else snapshot(value))

    def cut(self, rows: int) -> None:
        del self._values[rows:]

    def values(self) -> Any:
        return self._values

    def clear(self) -> None:
        self._values = []


class _DictColumn:
    """One column for each key of a ``Dict``."""

    def __init__(self, space: gym.spaces.Dict, warnings: list[str]) -> None:
        self._columns = {key: growing_column(sub, warnings) for key, sub in space.spaces.items()}
        self._appends = [(key, column.append) for key, column in self._columns.items()]
        self._warnings, self._has_warned = warnings, False

    def append(self, value: Any) -> None:
        if type(value) is not dict and not isinstance(value, Mapping):
            value = {}
        for key, append in self._appends:
            append(value.get(key, ABSENT))
        if len(value) > len(self._appends) and not self._has_warned:
            self._has_warned = True
            self._warnings.append(
                f"The keys {sorted(value.keys() - self._columns.keys(), key=str)} are not in the space "
                f"{sorted(self._columns)} and are not recorded; give DataCollector a space that has them."
            )

    def cut(self, rows: int) -> None:
        for column in self._columns.values():
            column.cut(rows)

    def values(self) -> Any:
        return {key: column.values() for key, column in self._columns.items()}

    def clear(self) -> None:
        for column in self._columns.values():
            column.clear()


class _TupleColumn:
    """One column for each part of a ``Tuple``."""

    def __init__(self, space: gym.spaces.Tuple[Any], warnings: list[str]) -> None:
        self._columns = tuple(growing_column(sub, warnings) for sub in space.spaces)

    def append(self, value: Any) -> None:
        parts = value if isinstance(value, (tuple, list)) and len(value) == len(self._columns) else None
        for position, column in enumerate(self._columns):
            column.append(ABSENT if parts is None else parts[position])

    def cut(self, rows: int) -> None:
        for column in self._columns:
            column.cut(rows)

    def values(self) -> Any:
        return tuple(column.values() for column in self._columns)

    def clear(self) -> None:
        for column in self._columns:
            column.clear()


def growing_column(space: gym.Space[Any], warnings: list[str]) -> GrowingColumn:
    """Return the column for the values of a space.

    Args:
        space: the space.
        warnings: list to which the column adds the reasons for omitted values.
    """
    if isinstance(space, gym.spaces.Dict):
        return _DictColumn(space, warnings)
    if isinstance(space, gym.spaces.Tuple):
        return _TupleColumn(space, warnings)
    if space.shape and space.dtype is not None and space.dtype.kind in "biufc":
        return _ArrayColumn(space.dtype, tuple(space.shape))
    return _ValueColumn()


def snapshot(value: Any) -> Any:
    """Return a copy that stays unchanged when the environment modifies its own memory.

    An object that provides an array (tensors, memory views, handles of other libraries) is copied as that
    array, since copies of such objects may share memory. If a value cannot be copied, only the reason is
    kept.
    """
    kind = type(value)
    if kind in IMMUTABLE:
        return value
    if kind is np.ndarray and not value.dtype.hasobject:
        return value.copy()
    return _kept_once(value, {})


def _kept_once(value: Any, memo: dict[int, Any]) -> Any:
    """Return a copy of a value in which each part that cannot be copied is replaced by the reason.

    Args:
        value: any value.
        memo: copies of the containers already visited, by their ids.
    """
    if type(value) in IMMUTABLE:
        return value
    if id(value) in memo:
        return memo[id(value)]
    memo[id(value)] = Unkept(value, "it contains itself")
    try:
        copied = _copied(value, memo)
    except Exception as error:  # objects may raise anything, and a step must not fail
        copied = Unkept.because(value, error)
    memo[id(value)] = copied
    return copied


def _copied(value: Any, memo: dict[int, Any]) -> Any:
    if isinstance(value, Mapping):
        return {key: _kept_once(part, memo) for key, part in value.items()}
    if type(value) is list:
        return [_kept_once(part, memo) for part in value]
    if isinstance(value, tuple):
        parts = [_kept_once(part, memo) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    array = np.asarray(value) if isinstance(value, np.generic) else array_of(value)
    if array is None:
        return copy.deepcopy(value)
    if array.dtype == object:
        return object_column([_kept_once(part, memo) for part in array.ravel().tolist()]).reshape(array.shape)
    return copy.deepcopy(array) if array.dtype.hasobject else np.array(array)


def private(value: Any) -> Any:
    """Return the value in its own memory, with the same types; unchanged if it cannot be copied."""
    kind = type(value)
    if kind in IMMUTABLE:
        return value
    if kind is np.ndarray and not value.dtype.hasobject:
        return value.copy()
    if kind is dict:
        return {key: private(part) for key, part in value.items()}
    if kind is list or kind is tuple:
        return kind(map(private, value))
    try:
        return copy.deepcopy(value)
    except Exception:  # objects may raise anything, and a step must not fail
        return value


def last_row(values: Any) -> Any:
    """Return a copy of the value of the last step, from values column by column."""
    if isinstance(values, dict):
        return {key: last_row(part) for key, part in values.items()}
    if isinstance(values, tuple):
        return tuple(map(last_row, values))
    return snapshot(values[-1])


def last_info(infos: Mapping[str, Any]) -> dict[str, Any]:
    """Return the info of the last step, from infos key by key, without copying values."""
    info: dict[str, Any] = {}
    for key, values in infos.items():
        if not isinstance(values, dict):
            if values[-1] is not ABSENT:
                info[key] = values[-1]
        elif part := last_info(values):
            info[key] = part
    return info
