"""The formats Arrow and Parquet keep what every format promises."""

from __future__ import annotations

import pytest

from minari.testing import StorageConformance


pytest.importorskip("pyarrow")


class TestArrow(StorageConformance):
    data_format = "arrow"


class TestParquet(StorageConformance):
    data_format = "parquet"
