"""pyarrow, which has no types of its own: the only place where it is imported, and where its values are named.

Storing episodes makes arrays of buffers and buffers of arrays. Conversions (``pa.array``, ``to_numpy``) import
``pyarrow.compute`` and, if it is installed, pandas, which takes longer than reading most datasets; who needs them
imports :mod:`~minari._storages.arrow.conversions`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

import pyarrow

from minari._base.lazy import LazyModule


if TYPE_CHECKING:
    csv: Any
    pq: Any
else:
    csv = LazyModule("pyarrow.csv")
    pq = LazyModule("pyarrow.parquet")

__all__ = ["Array", "DataType", "Field", "Schema", "Table", "csv", "pa", "pq"]

pa: Final[Any] = pyarrow

Table: TypeAlias = Any
Schema: TypeAlias = Any
Field: TypeAlias = Any
DataType: TypeAlias = Any
Array: TypeAlias = Any

# A child that is forked while a thread makes the pools of threads, which the first reading of a Parquet file does, even
# with `use_threads=False`, would hang: C++ locks what it initializes once. A fork waits for the import of this module.
pa.cpu_count()
pa.io_thread_count()
