"""Small datasets to sample from."""

from __future__ import annotations

import pytest

from minari import MinariDataset
from support.sampling_model import make


@pytest.fixture
def dataset() -> MinariDataset:
    """A dataset of 65 steps."""
    return make("sampled/small-v0")


@pytest.fixture
def frames() -> MinariDataset:
    """A dataset of 2,100 compressed frames, of which a batch takes more than a millisecond."""
    return make("sampled/frames-v0", (700, 900, 500), "frames")
