"""Nested values of episodes: put together from single steps, and compared without any tolerance.

Nothing here imports the library under test, so what it compares with was never read back through it.
"""

from __future__ import annotations

from typing import Any

import numpy as np


#: Where a leaf lies, for instance ``("observations", "deep", 0)``.
Path = tuple[Any, ...]


def stack_steps(steps: list[Any]) -> Any:
    """Turn a list of single values (nested dicts and tuples) into nested columns with time first.

    Text becomes a list of strings, everything else an array of the dtype that NumPy gives the steps.
    """
    first = steps[0]
    if isinstance(first, dict):
        keys = set(first)
        if any(set(step) != keys for step in steps):
            raise ValueError(f"the steps hold different keys: {[sorted(step) for step in steps]}")
        return {key: stack_steps([step[key] for step in steps]) for key in first}
    if isinstance(first, tuple):
        return tuple(stack_steps([step[place] for step in steps]) for place in range(len(first)))
    if isinstance(first, str):
        return list(steps)
    return np.stack([np.asarray(step) for step in steps])


def leaves(value: Any, path: Path = ()) -> dict[Path, Any]:
    """All leaves of a nested value by their path."""
    if isinstance(value, dict):
        parts = value.items()
    elif isinstance(value, tuple):
        parts = enumerate(value)
    else:
        return {path: value}
    found: dict[Path, Any] = {}
    for key, part in parts:
        found |= leaves(part, (*path, key))
    return found


def assert_identical(actual: Any, expected: Any, path: Path = (), *, lossy: dict[Path, float] | None = None) -> None:
    """Require the same structure, types, dtypes, shapes and bits.

    Args:
        actual: What the library returned.
        expected: What it should have returned.
        path: Where the two lie, for the message.
        lossy: Paths of leaves that went through JPEG, with the mean absolute error allowed there.
    """
    where = "/".join(str(part) for part in path) or "value"
    if isinstance(expected, dict):
        assert isinstance(actual, dict), f"{where}: {type(actual).__name__}, expected a dict"
        assert set(actual) == set(expected), f"{where}: keys {sorted(actual)}, expected {sorted(expected)}"
        for key in expected:
            assert_identical(actual[key], expected[key], (*path, key), lossy=lossy)
    elif isinstance(expected, tuple):
        assert isinstance(actual, tuple), f"{where}: {type(actual).__name__}, expected a tuple"
        assert len(actual) == len(expected), f"{where}: {len(actual)} parts, expected {len(expected)}"
        for place, part in enumerate(expected):
            assert_identical(actual[place], part, (*path, place), lossy=lossy)
    elif isinstance(expected, list):
        assert isinstance(actual, (list, np.ndarray)), f"{where}: {type(actual).__name__}, expected texts"
        assert all(isinstance(text, str) for text in actual), f"{where}: not all are str: {actual!r}"
        assert list(actual) == expected, f"{where}: {list(actual)!r}, expected {expected!r}"
    else:
        _assert_same_array(actual, expected, where, (lossy or {}).get(path))


def _assert_same_array(actual: Any, expected: np.ndarray, where: str, tolerance: float | None) -> None:
    assert isinstance(actual, np.ndarray), f"{where}: {type(actual).__name__}, expected an array"
    assert actual.dtype == expected.dtype, f"{where}: dtype {actual.dtype}, expected {expected.dtype}"
    assert actual.shape == expected.shape, f"{where}: shape {actual.shape}, expected {expected.shape}"
    if tolerance is not None:
        error = np.abs(actual.astype(np.float64) - expected.astype(np.float64)).mean()
        assert error <= tolerance, f"{where}: mean error {error:.2f}, at most {tolerance} is expected"
        return
    if actual.tobytes() == expected.tobytes():
        return
    rows = [row for row in range(len(expected)) if actual[row].tobytes() != expected[row].tobytes()]
    row = rows[0]
    raise AssertionError(
        f"{where}: rows {rows[:5]} of {len(expected)} differ, {actual[row]!r} should be {expected[row]!r}"
    )
