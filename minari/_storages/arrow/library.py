"""pyarrow, which has no types of its own: the only place where it is imported, and where its values are named."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import numpy as np
import pyarrow
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet


__all__ = ["Array", "DataType", "Field", "Schema", "Table", "csv", "pa", "pq"]

pa: Final[Any] = pyarrow
pq: Final[Any] = pyarrow.parquet
csv: Final[Any] = pyarrow.csv

Table: TypeAlias = Any
Schema: TypeAlias = Any
Field: TypeAlias = Any
DataType: TypeAlias = Any
Array: TypeAlias = Any

# The first conversions import `pyarrow.compute` and, if installed, pandas. Done here, this is part of the
# import of this module, which a fork waits for (see `minari._base.lazy`); later, a forked child might hang.
for _first in (np.zeros(1, np.bool_), [""]):
    pa.array(_first).to_numpy(zero_copy_only=False)

# So would one that is forked while a thread makes the pools of threads, which the first reading of a Parquet file does,
# even with `use_threads=False`: C++ locks what it initializes once.
pa.cpu_count()
pa.io_thread_count()
