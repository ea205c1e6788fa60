"""Tables of other programs: rows are read in parts, however large the groups of rows are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from minari.errors import InterchangeError
from minari.interchange.foreign_tables import ParquetTable, values_of


ROWS = 200_000


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tables")
    numbers = np.random.default_rng(0).standard_normal((ROWS, 30))
    pairs = [{"x": row, "y": [row, 1]} for row in range(ROWS)]
    lists = pa.FixedSizeListArray.from_arrays(pa.array(numbers.reshape(-1)), 30)
    table = pa.table(
        {"a": np.arange(ROWS), "a.b": lists, "s": pa.array(pairs), "t": [f"text {i}" for i in range(ROWS)]}
    )
    for size in (1000, ROWS):
        pq.write_table(table, path / f"{size}.parquet", row_group_size=size)
    return path


@pytest.mark.parametrize("size", [1000, ROWS])
def test_rows_are_read_in_parts(directory: Path, size: int) -> None:
    table = ParquetTable(directory, f"{size}.parquet")
    whole = pq.read_table(directory / f"{size}.parquet")
    before = pa.total_allocated_bytes()
    for start, stop in [(0, 1), (10, 999), (999, 70_001), (70_000, 90_000), (5, 6), (ROWS - 1, ROWS), (3, 3)]:
        for name in ("a", "a.b", "t"):
            found, expected = table.column(name, start, stop), whole.column(name)[start:stop]
            np.testing.assert_array_equal(values_of(found, name), values_of(expected.combine_chunks(), name))
        assert table.column("s", start, stop).to_pylist() == whole.column("s")[start:stop].to_pylist()
        del found, expected
    grown = pa.total_allocated_bytes() - before
    assert grown < 4e7  # `a.b` alone has 48 MB


def test_rows_that_are_not_there_are_refused(directory: Path) -> None:
    table = ParquetTable(directory, "1000.parquet")
    with pytest.raises(InterchangeError, match="has no column 'b'"):
        table.column("b", 0, 1)
    with pytest.raises(InterchangeError, match=f"has {ROWS} rows, and the rows 0 to {ROWS + 1} are asked for"):
        table.column("a", 0, ROWS + 1)
