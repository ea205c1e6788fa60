"""Batches as nested values: arrays with the batch first, in dicts and tuples, and lists of values of no fixed shape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from minari.errors import ArgumentError


__all__ = ["Batch", "concatenated", "element_of", "filled", "taken", "without_batch"]

#: A batch by the names of its fields.
Batch = dict[str, Any]


def _mapped(function: Callable[[Any], Any], value: Any) -> Any:
    """Return the result of a function for each array and list, nested as they are."""
    if isinstance(value, dict):
        return {key: _mapped(function, inner) for key, inner in value.items()}
    if isinstance(value, tuple):
        return tuple(_mapped(function, inner) for inner in value)
    return None if value is None else function(value)


def element_of(batch: Any, position: int) -> Any:
    """Return one element of a batch; its arrays are views."""
    return _mapped(lambda value: value[position], batch)


def without_batch(batch: Any, position: int = 0) -> Any:
    """Return one element of a batch, with arrays of its own."""
    return _mapped(lambda value: _copied(value[position]), batch)


def _copied(value: Any) -> Any:
    return value.copy() if isinstance(value, np.ndarray) else value


def taken(batch: Any, positions: npt.NDArray[np.int64]) -> Any:
    """Return the elements at some positions, as a batch of its own."""
    return _mapped(
        lambda value: value[positions] if isinstance(value, np.ndarray) else [value[i] for i in positions.tolist()],
        batch,
    )


def concatenated(batches: Sequence[Any]) -> Any:
    """Return batches of equal structure as one."""
    first = batches[0]
    if len(batches) == 1 or first is None:
        return first
    if isinstance(first, dict):
        return {key: concatenated([batch[key] for batch in batches]) for key in first}
    if isinstance(first, tuple):
        return tuple(map(concatenated, zip(*batches, strict=True)))
    if isinstance(first, np.ndarray):
        return np.concatenate(batches)
    return [value for batch in batches for value in batch]


def filled(batch: Any, out: Any) -> Any:
    """Return a batch in the arrays of another one, which is changed; the batch itself if there is no other.

    Raises:
        ArgumentError: their fields, shapes or dtypes differ.
    """
    if out is None:
        return batch
    _fill(batch, out, "out")
    return out


def _fill(value: Any, out: Any, name: str) -> None:
    if isinstance(value, dict) and isinstance(out, dict) and value.keys() == out.keys():
        for key, inner in value.items():
            _fill(inner, out[key], f"{name}[{key!r}]")
    elif isinstance(value, tuple) and isinstance(out, tuple) and len(value) == len(out):
        for place, inner in enumerate(value):
            _fill(inner, out[place], f"{name}[{place}]")
    elif isinstance(value, np.ndarray) and isinstance(out, np.ndarray):
        if (value.shape, value.dtype) != (out.shape, out.dtype) or not out.flags.writeable:
            raise ArgumentError(
                f"{name} is a{'' if out.flags.writeable else ' read-only'} array of shape {out.shape} and {out.dtype}, "
                f"expected one of shape {value.shape} and {value.dtype}; give a batch of the same size and fields."
            )
        if value is not out:
            out[...] = value
    elif isinstance(value, list) and isinstance(out, list):
        out[:] = value
    elif value is not None or out is not None:
        raise ArgumentError(f"{name} has other fields than the batch; give a batch of the same size and fields.")
