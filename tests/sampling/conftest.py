"""Small datasets to sample from."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import minari
from minari import MinariDataset
from support.sampling_model import make


@pytest.fixture
def dataset() -> MinariDataset:
    """A dataset of 65 steps."""
    return make("sampled/small-v0")


@pytest.fixture(scope="session")
def root_of_frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with the dataset of `frames`, which takes a while to compress; to be copied."""
    root = tmp_path_factory.mktemp("frames")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", str(root))
        make("sampled/frames-v0", (700, 900, 500), "frames")
    return root


@pytest.fixture
def frames(root_of_frames: Path, datasets_root: Path) -> MinariDataset:
    """A dataset of 2,100 compressed frames, of which a batch takes more than a millisecond."""
    shutil.copytree(root_of_frames, datasets_root, dirs_exist_ok=True)
    return minari.load_dataset("sampled/frames-v0")
