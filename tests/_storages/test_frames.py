"""Frames of a simulator: kept exactly by every format, and about as small as a video of them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from gymnasium import spaces

from minari import MinariDataset
from minari.dataset.minari_storage import METADATA_FILE_NAME, MinariStorage
from minari.errors import DatasetCorruptError
from support.programs import run
from support.scenes import pushed_block
from support.stored import plain_buffer, store


SPACE = spaces.Box(0, 255, (96, 96, 3), np.uint8)


@cache
def pictures() -> npt.NDArray[np.uint8]:
    """161 frames, 4.45 MB, 186 KB as PNG."""
    return pushed_block()


def new(directory: Path, data_format: str, *frames: Any, **options: Any) -> MinariStorage:
    buffers = [plain_buffer(each, rewards=np.arange(len(each) - 1) / 2.0) for each in frames]
    return MinariStorage.read(store(directory, data_format, buffers, SPACE, spaces.Discrete(2), **options))


def size(storage: MinariStorage) -> int:
    """Bytes of the data; the space, whose bounds are a number for each pixel, is in the metadata."""
    files = [file for file in storage.data_path.rglob("*") if file.is_file() and not file.name.startswith(".")]
    return sum(file.stat().st_size for file in files if file.name != METADATA_FILE_NAME)


def test_episodes_are_exact_and_smaller_than_their_pictures(data_format: str, tmp_path: Path) -> None:
    storage = new(tmp_path, data_format, pictures())
    assert size(storage) <= 100_000
    for opened in (storage, MinariStorage.read(storage.data_path)):
        (episode,) = opened.get_episodes([0])
        assert np.array_equal(episode["observations"], pictures())
        assert np.array_equal(opened.get_window(0, 60, 124)["observations"], pictures()[60:125])


def test_appended_copied_and_repacked_episodes_are_small(data_format: str, tmp_path: Path) -> None:
    storage = new(tmp_path, data_format, pictures(), pictures()[:80])
    copy = new(tmp_path / "copy", data_format)
    copy.update_from_storage(storage)
    copy.repack()
    for each in (storage, copy):
        assert size(each) <= 160_000
        first, second = each.get_episodes([0, 1])
        assert np.array_equal(first["observations"], pictures())
        assert np.array_equal(second["observations"], pictures()[:80])


@pytest.mark.parametrize("data_format", ["hdf5", "zarr"])
def test_selecting_by_rewards_decodes_no_frame(data_format: str, tmp_path: Path) -> None:
    storage = new(tmp_path, data_format, pictures()[:33])
    files = (file for file in storage.data_path.rglob("*") if file.is_file() and file.suffix != ".json")
    largest = max(files, key=lambda file: file.stat().st_size)
    content = largest.read_bytes()
    middle, quarter = len(content) // 2, len(content) // 4
    largest.write_bytes(content[:middle] + bytes(quarter) + content[middle + quarter :])
    dataset = MinariDataset(tmp_path / "data")
    assert len(dataset.filter_episodes(lambda episode: bool(episode.rewards.sum() > 1))) == 1
    with pytest.raises(DatasetCorruptError):
        dataset.filter_episodes(lambda episode: episode.observations is not None)


def test_selecting_by_rewards_decodes_no_jpeg(data_format: str, tmp_path: Path) -> None:
    storage = new(tmp_path, data_format, pictures()[:17], jpeg_encoding=True)
    program = """
        import sys, minari
        dataset = minari.MinariDataset(sys.argv[1])
        print(len(dataset.filter_episodes(lambda episode: len(episode) == 16)), "PIL" in sys.modules)
        print(dataset[0].observations.shape)
    """
    assert run(program, str(storage.data_path)) == "1 False\n(17, 96, 96, 3)\n"
