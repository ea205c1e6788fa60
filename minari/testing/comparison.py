"""Comparison of what a storage returns with what was stored, value by value.

Nothing here uses the codecs of the library, so a codec that is wrong in both directions is detected.
Differences raise :class:`AssertionError` with their position.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces


__all__ = ["assert_arrays", "assert_episode", "assert_metadata", "assert_same", "assert_steps"]


def assert_episode(
    episode: Mapping[str, Any],
    observation_space: gym.Space[Any],
    action_space: gym.Space[Any],
    truth: Mapping[str, Any],
) -> None:
    """Require that an episode has the values of a list of steps.

    Args:
        episode: the fields of an :class:`minari.EpisodeData`.
        observation_space: observation space of the dataset.
        action_space: action space of the dataset.
        truth: ``observations`` and ``actions`` as lists of single values, and the expected ``rewards``,
            ``terminations``, ``truncations`` and, if they are to be compared, ``infos``.
    """
    assert_steps(observation_space, episode["observations"], truth["observations"], "observations")
    assert_steps(action_space, episode["actions"], truth["actions"], "actions")
    for field in ("rewards", "terminations", "truncations", "infos"):
        if field in truth:
            assert_same(episode[field], truth[field], field)


def assert_steps(space: gym.Space[Any], columns: Any, values: Sequence[Any], where: str = "values") -> None:
    """Require that columns, nested like a space and with time first, contain these single values.

    Args:
        space: space of the values.
        columns: the columns returned by a storage.
        values: one value per step, as returned by ``space.sample()``.
        where: their name, for the message.
    """
    if isinstance(space, spaces.Dict):
        assert isinstance(columns, dict), f"{where}: a {type(columns).__name__}, expected a dict"
        assert columns.keys() == space.spaces.keys(), f"{where}: keys {list(columns)}"
        for key, part in space.spaces.items():
            assert_steps(part, columns[key], [value[key] for value in values], f"{where}/{key}")
    elif isinstance(space, spaces.Tuple):
        assert isinstance(columns, tuple), f"{where}: a {type(columns).__name__}, expected a tuple"
        assert len(columns) == len(space.spaces), f"{where}: {len(columns)} parts"
        for i, part in enumerate(space.spaces):
            assert_steps(part, columns[i], [value[i] for value in values], f"{where}/{i}")
    elif isinstance(space, (spaces.Text, spaces.Sequence, spaces.Graph, spaces.OneOf)):
        assert isinstance(columns, list), f"{where}: a {type(columns).__name__}, expected a list"
        assert len(columns) == len(values), f"{where}: {len(columns)} steps, expected {len(values)}"
        for step, (actual, expected) in enumerate(zip(columns, values, strict=True)):
            assert_same(actual, expected, f"{where}[{step}]")
    else:
        rows = [np.asarray(value, dtype=space.dtype) for value in values]
        assert_same(columns, np.stack(rows) if rows else np.empty((0, *(space.shape or ())), space.dtype), where)


def assert_same(actual: Any, expected: Any, where: str = "value") -> None:
    """Require the same structure, dtypes, shapes and values; NaN equals NaN, 0-d arrays their scalars."""
    if isinstance(expected, (dict, list, tuple)) or isinstance(actual, (dict, list, tuple)):
        assert type(actual) is type(expected), f"{where}: {actual!r}, expected {expected!r}"
    if isinstance(expected, dict):
        assert actual.keys() == expected.keys(), f"{where}: keys {list(actual)}, expected {list(expected)}"
        for key in expected:
            assert_same(actual[key], expected[key], f"{where}/{key}")
    elif isinstance(expected, (list, tuple)):
        assert len(actual) == len(expected), f"{where}: {len(actual)} parts, expected {len(expected)}"
        for i, (a, b) in enumerate(zip(actual, expected, strict=True)):
            assert_same(a, b, f"{where}[{i}]")
    elif isinstance(expected, (np.ndarray, np.generic)):
        _assert_same_array(actual, np.asarray(expected), where)
    elif isinstance(expected, float) and expected != expected:
        assert actual != actual, f"{where}: {actual!r}, expected NaN"
    else:
        same = type(actual) is type(expected) and actual == expected
        assert same, f"{where}: {actual!r}, expected {expected!r}"


def assert_arrays(dataset: Any, infos: Sequence[str] = ()) -> None:
    """Require that the arrays of a dataset or view have the values of its episodes.

    Args:
        dataset: a :class:`minari.MinariDataset`.
        infos: the names of infos; keys of nested ones are joined by ``/``.
    """
    arrays, episodes = dataset.arrays(infos=infos), list(dataset)
    starts = arrays["episode_starts"].tolist()
    assert_same(arrays["episode_ids"], np.asarray(dataset.episode_indices), "episode_ids")
    assert starts == [0, *np.cumsum([len(episode) for episode in episodes]).tolist()], "episode_starts"
    for place, episode in enumerate(episodes):
        begin, end = starts[place : place + 2]
        where = f"arrays of the episode at {place}"
        for name in ("actions", "rewards", "terminations", "truncations"):
            assert_same(_part_of(arrays[name], begin, end), getattr(episode, name), f"{where}: {name}")
        begin, end = begin + place, end + place + 1
        assert_same(_part_of(arrays["observations"], begin, end), episode.observations, f"{where}: observations")
        for name in infos:
            value = episode.infos
            for key in name.split("/"):
                value = value[key]
            assert_same(_part_of(arrays["infos"][name], begin, end), value, f"{where}: {name}")


def _part_of(values: Any, begin: int, end: int) -> Any:
    if isinstance(values, dict):
        return {key: _part_of(inner, begin, end) for key, inner in values.items()}
    if isinstance(values, tuple):
        return tuple(_part_of(inner, begin, end) for inner in values)
    return values[begin:end]


def _assert_same_array(actual: Any, expected: Any, where: str) -> None:
    assert isinstance(actual, (np.ndarray, np.generic)), f"{where}: {actual!r}, expected {expected!r}"
    array = np.asarray(actual)
    found, wanted = (array.dtype, array.shape), (expected.dtype, expected.shape)
    assert found == wanted, f"{where}: dtype and shape {found}, expected {wanted}"
    if expected.dtype == object:
        for i, (a, b) in enumerate(zip(array.ravel(), expected.ravel(), strict=True)):
            assert_same(a, b, f"{where}[{i}]")
    else:
        same = np.array_equal(array, expected, equal_nan=expected.dtype.kind in "fcMm")
        assert same, f"{where}: {array!r}, expected {expected!r}"


def assert_metadata(actual: Mapping[str, Any], expected: Mapping[str, Any], where: str = "metadata") -> None:
    """Require at least these metadata of an episode.

    Numbers and lists may be restored as NumPy types, which is all that the formats guarantee.
    """
    for key, value in expected.items():
        assert key in actual, f"{where}: no {key!r}, only {list(actual)}"
        if isinstance(value, Mapping) and value:
            assert actual[key].keys() == value.keys(), f"{where}/{key}: {actual[key]!r}, expected {value!r}"
            assert_metadata(actual[key], value, f"{where}/{key}")
        elif value is None or isinstance(value, (str, Mapping)):
            assert actual[key] == value, f"{where}/{key}: {actual[key]!r}, expected {value!r}"
        else:
            same = _same_plain(_plain(actual[key]), _plain(value))
            assert same, f"{where}/{key}: {actual[key]!r}, expected {value!r}"


def _plain(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _same_plain(actual: Any, expected: Any) -> bool:
    if isinstance(expected, list) and isinstance(actual, list):
        return len(actual) == len(expected) and all(map(_same_plain, actual, expected))
    if isinstance(expected, dict) and isinstance(actual, dict):
        return actual.keys() == expected.keys() and all(_same_plain(actual[key], expected[key]) for key in expected)
    if isinstance(expected, float) and expected != expected:
        return bool(actual != actual)
    return isinstance(actual, bool) == isinstance(expected, bool) and bool(actual == expected)
