"""Reduction of series for plots."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from minari.inspection import reduced


@given(arrays.arrays(np.float64, st.tuples(st.integers(0, 200), st.integers(1, 3))), st.integers(1, 50))
def test_extremes_and_order_are_kept(values: np.ndarray, most: int) -> None:
    positions, rows = reduced(values, most)
    np.testing.assert_array_equal(rows, values[positions])
    assert (np.diff(positions) > 0).all()
    assert len(rows) <= max(most, 2) * values.shape[1]
    finite = values[np.isfinite(values).all(axis=1)]
    if len(finite) == len(values) > 0:
        np.testing.assert_array_equal(rows.max(axis=0), values.max(axis=0))
        np.testing.assert_array_equal(rows.min(axis=0), values.min(axis=0))


@pytest.mark.parametrize("values", [np.arange(5), np.zeros((5, 2), bool), np.zeros(0)], ids=["int", "bool", "empty"])
def test_short_series_is_returned_whole(values: np.ndarray) -> None:
    positions, rows = reduced(values, 5)
    np.testing.assert_array_equal(positions, np.arange(len(values)))
    assert rows is values
