"""The format Zarr keeps what every format promises."""

from __future__ import annotations

import pytest

from minari.testing import StorageConformance


pytest.importorskip("zarr", minversion="3", reason="zarr 3 is not installed; it needs Python 3.11")


class TestZarr(StorageConformance):
    data_format = "zarr"
