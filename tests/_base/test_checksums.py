"""A checksum changes with every bit of a column, its dtype and its shape, and with nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minari._base.checksums import column_checksum
from minari.spaces import object_column


columns = hnp.arrays(
    st.sampled_from([np.bool_, np.uint8, np.int64, np.float32, np.float64, np.complex128]),
    hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=5),
)


@given(columns)
def test_checksum_does_not_depend_on_layout(column: np.ndarray) -> None:
    spread = np.empty((*column.shape, 2), column.dtype)
    spread[..., 0] = column
    expected = column_checksum(column)
    assert column_checksum(spread[..., 0]) == expected
    assert column_checksum(np.asfortranarray(column)) == expected
    assert column_checksum(column.astype(column.dtype.newbyteorder(">"))) == expected
    assert -(2**63) <= expected < 2**63


@given(columns.filter(lambda column: column.size), st.data())
def test_checksum_changes_with_every_bit(column: np.ndarray, data: st.DataObject) -> None:
    changed = column.copy()
    raw = changed.reshape(-1).view(np.uint8)
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert column_checksum(changed) != column_checksum(column)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (np.zeros(4, np.int64), np.zeros(4, np.uint64)),
        (np.zeros(4, np.int64), np.zeros((2, 2), np.int64)),
        (np.zeros((0, 3)), np.zeros((0, 4))),
        (object_column(["ab", "c"]), object_column(["a", "bc"])),
        (object_column(["a"]), object_column([b"a"])),
        (object_column(["a", ""]), object_column(["a"])),
        (object_column(["a", None]), object_column(["a", ""])),
    ],
)
def test_checksum_tells_columns_apart(one: np.ndarray, other: np.ndarray) -> None:
    assert column_checksum(one) != column_checksum(other)
