"""Fixtures of the tests of Arrow and Parquet."""

from __future__ import annotations

import pytest


@pytest.fixture(params=["arrow", "parquet"])
def data_format(request: pytest.FixtureRequest) -> str:
    """Both formats of tables."""
    pytest.importorskip("pyarrow")
    return str(request.param)
