"""Zarr datasets for the tests of the format."""

from __future__ import annotations

import pytest

from support.copies import require_format


@pytest.fixture(autouse=True)
def needs_zarr() -> None:
    require_format("zarr")
