"""The bars of ``minari show``."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from minari.cli.show import Distribution, histogram_lines


numbers = arrays(np.float64, st.integers(1, 40), elements=st.floats(-1e12, 1e12) | st.integers(-30, 30).map(float))


@given(numbers, st.integers(50, 120), st.booleans())
def test_every_number_is_counted_once_and_every_line_fits(values: np.ndarray, width: int, ascii_only: bool) -> None:
    lines = histogram_lines(values, width, ascii_only=ascii_only)
    assert 1 <= len(lines) <= 10
    assert sum(int(line.rpartition(" ")[2]) for line in lines) == values.size
    assert all(len(line) <= width for line in lines)
    assert not ascii_only or all(line.isascii() for line in lines)


def test_bars_are_as_long_as_what_they_count() -> None:
    lines = histogram_lines(np.repeat([1.0, 2.0, 4.0], [8, 1, 4]), 16 + 5)
    assert lines == ["1 │████████████████ 8", "2 │██ 1", "3 │ 0", "4 │████████ 4"]


def test_parts_of_a_character() -> None:
    (_, second) = histogram_lines(np.repeat([1.0, 2.0], [16, 1]), 6 + 2)
    assert second == "2 │▏ 1"


@pytest.mark.parametrize("ascii_only", [False, True])
def test_what_is_rare_is_seen(ascii_only: bool) -> None:
    (_, second) = histogram_lines(np.repeat([1.0, 2.0], [10_000, 1]), 20, ascii_only=ascii_only)
    assert second == ("2 |# 1" if ascii_only else "2 │▏ 1")


def test_whole_numbers_are_counted_in_whole_intervals() -> None:
    lines = histogram_lines(np.arange(25.0), 40)
    assert [line.split(" │")[0].strip() for line in lines][-2:] == ["21 to 23", "24 to 24"]
    assert [line.rpartition(" ")[2] for line in lines] == ["3"] * 8 + ["1"]


def test_numbers_that_are_not_finite_are_told_apart() -> None:
    values = np.array([np.nan, np.inf, 1.0])
    assert histogram_lines(values, 20)[-1] == "not finite: 2"
    assert Distribution.of(values).numbers() == {"min": 1.0, "mean": 1.0, "max": 1.0, "std": 0.0}
    assert Distribution.of(values).count == 1
    nothing = np.array([np.nan])
    assert histogram_lines(nothing, 20) == ["not finite: 1"]
    assert Distribution.of(nothing).summary() == "min nan  mean nan  max nan  std nan"


def test_the_summary_is_that_of_numpy() -> None:
    values = np.array([1.5, -2.25, 1000.7, 3.0])
    assert Distribution.of(values).numbers() == {
        "min": values.min(),
        "mean": values.mean(),
        "max": values.max(),
        "std": values.std(),
    }
    assert Distribution.of(values).summary() == f"min -2.25  mean 250.7  max 1001  std {values.std():.4g}"
