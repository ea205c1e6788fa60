"""The checksums of HDF5, of one text and of many rows at once."""

from __future__ import annotations

import numpy as np
import pytest

from minari._storages.hdf5.format.checksum import checksum, checksums


@pytest.mark.parametrize("size", [0, 1, 11, 12, 13, 24, 25, 79, 640])
@pytest.mark.parametrize("count", [0, 1, 3, 50])
def test_rows_have_the_checksums_of_their_bytes(count: int, size: int) -> None:
    rng = np.random.default_rng(size)
    for equal in (0, 5, 12, 30, size):
        rows = rng.integers(0, 256, (count, size), np.uint8)
        rows[:, :equal] = rows[:1, :equal]
        assert checksums(rows, min(equal, size)).tolist() == [checksum(row.tobytes()) for row in rows]
