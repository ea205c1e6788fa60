"""Summaries and histograms of numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minari.inspection import Histogram, histogram
from minari.inspection.distributions import components


FLOATS = st.lists(st.floats(width=64), max_size=40)
WHOLE = st.lists(st.integers(-(10**9), 10**9), min_size=1, max_size=40)


@given(FLOATS | WHOLE, st.integers(1, 30))
def test_every_number_is_counted_once(values: list[float], bins: int) -> None:
    array = np.array(values, np.float64)
    found = histogram(array, bins)
    assert sum(found.counts) + found.not_finite == len(values)
    assert len(found.counts) == len(found.labels) <= bins
    assert found.edges == sorted(found.edges)
    assert len(found.edges) in (0, len(found.counts) + 1)


@given(WHOLE)
def test_bins_of_whole_numbers_are_ranges(values: list[int]) -> None:
    found = histogram(np.array(values, np.float64))
    for begin, end, count in zip(found.edges[:-1], found.edges[1:], found.counts, strict=True):
        assert begin == int(begin)
        assert count == sum(begin <= value < end for value in values)


@given(FLOATS, st.floats(-1e6, 1e6), st.floats(0.1, 1e6))
def test_bounds_decide_what_is_counted(values: list[float], low: float, width: float) -> None:
    array = np.array(values, np.float64)
    found = histogram(array, 8, (low, low + width))
    assert found.edges[0] == low
    assert sum(found.counts) == np.sum((array >= low) & (array <= low + width))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], Histogram([], [], [], 0)),
        ([np.nan, np.inf], Histogram([], [], [], 2)),
        ([0.5, 0.5], Histogram([0.5, 0.5], [2], ["0.5"], 0)),
        ([3.0], Histogram([3.0, 4.0], [1], ["3"], 0)),
        ([-1e308, 1e308], Histogram([-1e308, 1e308], [2], ["-1e+308 to 1e+308"], 0)),
        ([1.0, np.nextafter(1.0, 2.0)], Histogram([1.0, np.nextafter(1.0, 2.0)], [2], ["1 to 1"], 0)),
    ],
    ids=["none", "not-finite", "one-fraction", "one-integer", "too-wide", "too-narrow"],
)
def test_numbers_that_bins_cannot_divide(values: list[float], expected: Histogram) -> None:
    assert histogram(np.array(values)) == expected


def test_nothing_has_components_too() -> None:
    assert [(label, len(numbers)) for label, numbers in components(np.zeros((0, 2)))] == [("0", 0), ("1", 0)]
    assert [(label, len(numbers)) for label, numbers in components(np.zeros(0))] == [("", 0)]


def test_components_are_labeled_by_their_place() -> None:
    values = np.arange(12).reshape(2, 2, 3)
    found = dict(components(values))
    assert list(found) == ["0, 0", "0, 1", "0, 2", "1, 0", "1, 1", "1, 2"]
    np.testing.assert_array_equal(found["1, 2"], [5, 11])
