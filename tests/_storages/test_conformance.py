"""Each format keeps what every format promises."""

from __future__ import annotations

import pytest

from minari.testing import StorageConformance, register_memory_storage
from support.copies import is_installed


register_memory_storage()
needs_arrow = pytest.mark.skipif(not is_installed("arrow"), reason="pyarrow is not installed")
needs_zarr = pytest.mark.skipif(not is_installed("zarr"), reason="zarr 3 is not installed; it needs Python 3.11")


class TestHDF5(StorageConformance):
    data_format = "hdf5"


class TestMemory(StorageConformance):
    data_format = "memory"


@needs_arrow
class TestArrow(StorageConformance):
    data_format = "arrow"


@needs_arrow
class TestParquet(StorageConformance):
    data_format = "parquet"


@needs_zarr
class TestZarr(StorageConformance):
    data_format = "zarr"
