"""Fixtures of the tests of storage formats."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.copies import require_format


@pytest.fixture(params=["hdf5", "arrow", "parquet", "zarr"])
def data_format(request: pytest.FixtureRequest) -> str:
    """Each format that keeps datasets on disk."""
    require_format(request.param)
    return str(request.param)


@pytest.fixture
def memory_path() -> Iterator[Path]:
    """A directory on a file system in memory where there is one, for tests that do not depend on a slow disk."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if os.access(shared, os.W_OK) else None) as directory:
        yield Path(directory)
