"""Arguments of public functions, checked before anything is done with them."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import gymnasium as gym
import numpy as np

from minari._base.json_text import shortened
from minari._model.dataset_id import is_dataset_id
from minari.errors import ArgumentError, ArgumentTypeError, EpisodeIndexError, MinariError, SpaceError


__all__ = [
    "check_callable",
    "check_count",
    "check_score",
    "check_seed",
    "check_space",
    "check_whole_number",
    "expected_dataset",
    "made_callback",
    "no_dataset",
]

T = TypeVar("T")


def check_callable(name: str, value: object, what: str) -> None:
    """Make sure that an argument can be called.

    Args:
        name: of the argument.
        value: of it.
        what: it should be, as a phrase.

    Raises:
        ArgumentTypeError: it cannot be called.
    """
    if not callable(value):
        raise ArgumentTypeError(f"{name} is {shortened(value)}, expected {what}; it cannot be called.")


def check_whole_number(name: str, value: object) -> None:
    """Make sure that an argument is a whole number.

    Raises:
        ArgumentTypeError: it is none.
    """
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise ArgumentTypeError(f"{name} is {shortened(value)}, expected a whole number.")


def check_count(name: str, value: Any, least: int = 0, error: type[MinariError] = ArgumentError) -> None:
    """Make sure that an argument is a whole number that is large enough.

    Raises:
        ArgumentTypeError: it is not a whole number.
        MinariError: it is too small; of the class ``error``.
    """
    check_whole_number(name, value)
    if value < least:
        raise error(f"{name} is {value}, expected a whole number from {least}.")


def check_seed(name: str, value: object) -> None:
    """Make sure that an argument is None or a seed.

    Raises:
        ArgumentTypeError: it is not a whole number.
        ArgumentError: it is negative.
    """
    if value is not None:
        check_count(name, value)


def check_score(name: str, value: object) -> None:
    """Make sure that an argument is None or a number.

    Raises:
        ArgumentTypeError: it is not a number.
        ArgumentError: it is NaN.
    """
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise ArgumentTypeError(f"{name} is {shortened(value)}, expected a number, the mean return of a policy.")
    if math.isnan(value):
        raise ArgumentError(f"{name} is {value}, expected a number, the mean return of a policy.")


def check_space(name: str, value: object) -> None:
    """Make sure that an argument is None or a space.

    Raises:
        SpaceError: it is something else.
    """
    if value is not None and not isinstance(value, gym.Space):
        raise SpaceError(f"{name} is {shortened(value)}, expected a gymnasium space such as gymnasium.spaces.Box.")


def made_callback(name: str, given: Callable[[], T], expected: type[T], other: type) -> T:
    """Make a callback of the class that a user gave.

    Args:
        name: of the argument.
        given: a class, or anything else that makes a callback when it is called.
        expected: what it should inherit from.
        other: what the argument is mistaken for.

    Raises:
        ArgumentTypeError: it is an instance, the class of the other callback, or makes nothing that can be called.
    """
    if isinstance(given, (expected, other)):
        kind = type(given).__name__
        raise ArgumentTypeError(
            f"{name} is an instance of {kind}, expected a class, of which the collector makes its own instance; give "
            f"{kind} without parentheses."
        )
    if isinstance(given, type) and issubclass(given, other) and not issubclass(given, expected):
        raise ArgumentTypeError(f"{name} is {given.__name__}, expected a class like {expected.__name__}.")
    try:
        made: Any = given()
    except TypeError as error:
        raise ArgumentTypeError(
            f"{name} is {shortened(given)}, expected a class like {expected.__name__}, which is called without "
            f"arguments; that failed: {error}."
        ) from error
    check_callable(f"What {name} makes", made, f"an object like those of {expected.__name__}")
    return made  # type: ignore[no-any-return]


def no_dataset(name: str, value: object) -> ArgumentTypeError:
    """Return the error about an argument that should be an open dataset, and how to get one."""
    return ArgumentTypeError(expected_dataset(name, value))


def expected_dataset(name: str, value: object) -> str:
    """Return what :func:`no_dataset` says."""
    advice = "load one with minari.load_dataset(ID)"
    if isinstance(value, str) and is_dataset_id(value):
        advice = f"load it with minari.load_dataset({value!r})"
    elif isinstance(value, (str, os.PathLike)):
        advice = f"open it with minari.open_dataset({shortened(os.fspath(value))})"
    elif hasattr(value, "update_from_storage"):
        advice = "make one of the storage with minari.MinariDataset(storage)"
    elif isinstance(value, (list, tuple)):
        advice = "give them one by one, or make one of them with minari.combine_datasets"
    return f"{name} is {shortened(value)}, expected a MinariDataset; {advice}."


def checked_indices(indices: Iterable[int], total: int, place: object) -> Iterator[int]:
    """The numbers one by one, as ints.

    Args:
        indices: of any kind that can be gone through once.
        total: how many episodes there are.
        place: where, for the message.

    Raises:
        EpisodeIndexError: there is no episode of that number.
    """
    if isinstance(indices, np.ndarray) and indices.dtype.kind in "iu" and indices.size:
        least, greatest = indices.min(), indices.max()
        if indices.ndim == 1 and least >= 0 and greatest < total:
            return iter(indices.tolist())  # looked at together, which takes a tenth of the time
    return _index_by_index(indices, total, place)


def _index_by_index(indices: Iterable[int], total: int, place: object) -> Iterator[int]:
    for index in indices:
        if not isinstance(index, (int, np.integer)) or isinstance(index, bool) or not 0 <= index < total:
            raise EpisodeIndexError(
                f"There is no episode {index!r} in {place}, expected a number from 0 to {total - 1}."
            )
        yield int(index)
