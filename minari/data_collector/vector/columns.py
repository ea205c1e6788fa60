"""The values of a space in a vector environment, in blocks of steps.

A step copies one batch per leaf into a block of shape (rows, environments, ...), from which the values of an
episode are gathered when it ends. Unusual values are kept one by one, and examined when the episode is stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from minari._base.plain_values import array_of
from minari._model.infos.values import ABSENT
from minari.data_collector.columns import snapshot
from minari.spaces import object_column, without_ones


#: Numbers of rows of a block, or of sub-environments.
Numbers: TypeAlias = npt.NDArray[np.int64]

_NUMBERS = "biufc"  # kinds of dtypes


class Separate(list[Any]):
    """One value for each sub-environment, instead of a batch."""


class BatchColumns:
    """The values of a space, by row and sub-environment.

    Args:
        space: space of one sub-environment.
        num_envs: number of sub-environments.
        capacity: number of rows.
    """

    def __init__(self, space: gym.Space[Any], num_envs: int, capacity: int) -> None:
        self._space = space
        self._leaves = [(path, LeafBatches.of(leaf, num_envs, capacity)) for path, leaf in _leaves_of(space)]

    def put(self, row: int, batch: Any, envs: Numbers | None = None) -> None:
        """Copy a batch of the batched space, or of separate values, for some or all sub-environments."""
        for path, leaf in self._leaves:
            if type(batch) is Separate:
                leaf.put(row, [_part(value, path) for value in batch], envs)
            else:
                leaf.put(row, _part(batch, path) if path else batch, envs)

    def take(self, rows: Numbers, envs: Numbers) -> Any:
        """Return copies of values column by column, one for each pair of a row and a sub-environment."""
        return _nested(self._space, iter([leaf.take(rows, envs) for _, leaf in self._leaves]))

    def replaced(self, taken: Any, positions: Numbers, values: Sequence[Any]) -> Any:
        """Return the result of :meth:`take` with other values at some positions."""
        columns = [
            leaf.replaced(_part(taken, path), positions, [_part(value, path) for value in values])
            for path, leaf in self._leaves
        ]
        return _nested(self._space, iter(columns))

    def continued(self, start: int, stop: int) -> BatchColumns:
        """Return columns for the next rows, which begin with a copy of some of these."""
        columns = object.__new__(BatchColumns)
        columns._space = self._space
        columns._leaves = [(path, leaf.continued(start, stop)) for path, leaf in self._leaves]
        return columns


class LeafBatches:
    """The values of a leaf, by row and sub-environment.

    Args:
        num_envs: number of sub-environments, n.
        capacity: number of rows.
        shape: shape of one value; None for any.
        is_array: True if a batch is an array of shape (n, ...), False if it is a sequence of n values.
    """

    def __init__(
        self, num_envs: int, capacity: int, shape: tuple[int, ...] | None = None, *, is_array: bool = True
    ) -> None:
        self._num_envs, self._capacity, self._shape, self._is_array = num_envs, capacity, shape, is_array
        self._block: npt.NDArray[Any] | None = None  # of numbers, or of objects

    @classmethod
    def of(cls, space: gym.Space[Any], num_envs: int, capacity: int) -> LeafBatches:
        """Return the values of a space that is not a container."""
        is_array = space.shape is not None and space.dtype is not None and space.dtype.kind in _NUMBERS
        return cls(num_envs, capacity, space.shape, is_array=is_array)

    def put(self, row: int, batch: Any, envs: Numbers | None = None) -> None:
        """Copy a batch for some or all sub-environments."""
        block = self._block
        if (
            envs is None
            and type(batch) is np.ndarray
            and block is not None
            and (batch.dtype is block.dtype or batch.dtype == block.dtype)
            and batch.shape == block.shape[1:]
            and not batch.dtype.hasobject
        ):
            block[row] = batch
            return
        values = self._values_of(batch)
        if envs is None:
            self._assign(row, slice(None), values)
        else:
            some = values[envs] if isinstance(values, np.ndarray) else [values[env] for env in envs.tolist()]
            self._assign(row, envs, some)

    def _assign(self, row: int, envs: Any, values: Any) -> None:
        """Assign numbers to a block of numbers, whose type is adapted, or anything to a block of objects."""
        block = self._block
        if block is None:
            shape, dtype = (values.shape[1:], values.dtype) if isinstance(values, np.ndarray) else ((), object)
            block = np.empty((self._capacity, self._num_envs, *shape), dtype)
        elif isinstance(values, np.ndarray) and not block.dtype.hasobject and values.shape[1:] == block.shape[2:]:
            if values.dtype != block.dtype:  # as NumPy converts the values of several steps to one array
                block = block.astype(np.result_type(block.dtype, values.dtype))
        elif not block.dtype.hasobject:
            block = object_column(list(block.reshape(-1, *block.shape[2:]))).reshape(block.shape[:2])
        block[row, envs] = object_column(list(values)) if block.dtype.hasobject else values
        self._block = block

    def _values_of(self, batch: Any) -> Any:
        """Return the values of all sub-environments: an array of numbers, or a list of copies."""
        try:
            array = array_of(batch)
        except Exception:  # other libraries may raise anything, and a step must not fail
            array = None
        values = batch if array is None else array
        if not isinstance(values, (list, tuple)) and not (isinstance(values, np.ndarray) and values.ndim):
            return [ABSENT] * self._num_envs
        if len(values) != self._num_envs:
            return [ABSENT] * self._num_envs
        is_batch = isinstance(values, np.ndarray) and values.dtype.kind in _NUMBERS and self._fits(values.shape[1:])
        return values if is_batch else self._one_by_one(values)

    def _fits(self, shape: tuple[int, ...]) -> bool:
        return self._shape is None or without_ones(shape) == without_ones(self._shape)

    def _one_by_one(self, values: Any) -> Any:
        """Return values as an array if all are arrays, or scalars, of one type; otherwise a list of copies."""
        first = values[0] if len(values) else None
        if self._is_array and isinstance(first, (np.ndarray, np.generic)) and first.dtype.kind in _NUMBERS:
            kinds = {(type(value), getattr(value, "dtype", None), np.shape(value)) for value in values}
            if len(kinds) == 1 and self._fits(first.shape):
                return np.array(values)
        return [snapshot(value) for value in values]

    def take(self, rows: Numbers, envs: Numbers) -> Any:
        """Return copies of values, one for each pair of a row and a sub-environment: an array, or a list."""
        if self._block is None:
            return []
        taken = self._block[rows, envs]
        return taken.tolist() if taken.dtype.hasobject else taken

    def replaced(self, taken: Any, positions: Numbers, values: Sequence[Any]) -> Any:
        """Return the result of :meth:`take` with other values at some positions."""
        new = self._one_by_one(values)
        if isinstance(taken, np.ndarray) and isinstance(new, np.ndarray) and new.shape[1:] == taken.shape[1:]:
            if new.dtype != taken.dtype:
                taken = taken.astype(np.result_type(taken.dtype, new.dtype))
            taken[positions] = new
            return taken
        taken = list(taken)
        for position, value in zip(positions.tolist(), new, strict=True):
            taken[position] = value
        return taken

    def continued(self, start: int, stop: int) -> LeafBatches:
        """Return the leaf for the next rows, which begin with a copy of some of these."""
        leaf = LeafBatches(self._num_envs, self._capacity, self._shape, is_array=self._is_array)
        if self._block is not None:
            leaf._block = np.empty_like(self._block)
            leaf._block[: stop - start] = self._block[start:stop]
        return leaf


def row_size(space: gym.Space[Any]) -> int:
    """Return the approximate number of bytes of one value of a space."""
    sizes = [
        int(np.prod(leaf.shape, dtype=np.int64)) * leaf.dtype.itemsize if leaf.shape is not None and leaf.dtype else 64
        for _, leaf in _leaves_of(space)
    ]
    return sum(sizes)


def concatenated(parts: Sequence[Any]) -> Any:
    """Return the values of several results of ``take``, one after the other."""
    first = parts[0]
    if isinstance(first, dict):
        return {key: concatenated([part[key] for part in parts]) for key in first}
    if isinstance(first, tuple):
        return tuple(concatenated(group) for group in zip(*parts, strict=True))
    if all(isinstance(part, np.ndarray) for part in parts) and len({part.shape[1:] for part in parts}) == 1:
        return np.concatenate(parts)
    return [value for part in parts for value in part]


def copied(values: Any, count: int) -> Any:
    """Return copies of the first values of a result of ``take``."""
    if isinstance(values, dict):
        return {key: copied(part, count) for key, part in values.items()}
    if isinstance(values, tuple):
        return tuple(copied(part, count) for part in values)
    return values[:count].copy()


#: The way from a value to one of its parts: keys, each with the type of the container that has it.
_Path: TypeAlias = tuple[tuple[Any, Any], ...]


def _leaves_of(space: gym.Space[Any], path: _Path = ()) -> Iterator[tuple[_Path, gym.Space[Any]]]:
    if isinstance(space, gym.spaces.Dict):
        for key, part in space.spaces.items():
            yield from _leaves_of(part, (*path, (Mapping, key)))
    elif isinstance(space, gym.spaces.Tuple):
        for position, part in enumerate(space.spaces):
            yield from _leaves_of(part, (*path, (Sequence, position)))
    else:
        yield path, space


def _nested(space: gym.Space[Any], leaves: Iterator[Any]) -> Any:
    """Return the values of leaves, in the order of :func:`_leaves_of`, nested like their space."""
    if isinstance(space, gym.spaces.Dict):
        return {key: _nested(part, leaves) for key, part in space.spaces.items()}
    if isinstance(space, gym.spaces.Tuple):
        return tuple(_nested(part, leaves) for part in space.spaces)
    return next(leaves)


def _part(value: Any, path: _Path) -> Any:
    """Return the part of a nested value at a path; ABSENT if it is nested differently."""
    for kind, key in path:
        if not isinstance(value, kind):
            return ABSENT
        try:
            value = value[key]
        except LookupError:
            return ABSENT
    return value
