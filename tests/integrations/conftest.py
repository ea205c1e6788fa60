"""Small datasets to sample from."""

from __future__ import annotations

import pytest

from minari import MinariDataset
from support.sampling_model import make


@pytest.fixture
def dataset() -> MinariDataset:
    """A dataset of 65 steps."""
    return make("sampled/small-v0")
