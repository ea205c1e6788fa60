"""Frames of a simulator: kept exactly by every format, and about as small as a video of them."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from minari import MinariDataset
from minari.dataset.minari_storage import METADATA_FILE_NAME, MinariStorage
from minari.errors import DatasetCorruptError
from minari.testing.examples import as_buffer
from support.copies import require_format
from support.scenes import pushed_block


SPACE = spaces.Box(0, 255, (96, 96, 3), np.uint8)
in_every_format = pytest.mark.parametrize("data_format", ["hdf5", "arrow", "parquet", "zarr"])


@pytest.fixture(scope="module")
def frames() -> Any:
    """161 frames, 4.45 MB."""
    drawn = pushed_block()
    drawn.flags.writeable = False
    return drawn


def store(directory: Path, data_format: str, frames: Any, **options: Any) -> MinariStorage:
    require_format(data_format)
    storage = MinariStorage.new(directory / "data", SPACE, spaces.Discrete(2), data_format=data_format, **options)
    storage.update_episodes([_buffer(frames)])
    return storage


def _buffer(frames: Any) -> Any:
    steps = np.arange(len(frames) - 1)
    flags = {"terminations": steps < 0, "truncations": steps == steps[-1]}
    return as_buffer({"observations": frames, "actions": steps % 2, "rewards": steps / 2.0, **flags, "infos": {}})


def size(storage: MinariStorage) -> int:
    """Bytes of the data; the space, whose bounds are a number for each pixel, is in the metadata."""
    files = [file for file in storage.data_path.rglob("*") if file.is_file() and not file.name.startswith(".")]
    return sum(file.stat().st_size for file in files if file.name != METADATA_FILE_NAME)


def test_they_are_like_those_of_a_simulator(frames: Any) -> None:
    """Each by itself is a PNG of more than a kilobyte."""
    image = pytest.importorskip("PIL.Image")
    total = 0
    for frame in frames:
        stream = io.BytesIO()
        image.fromarray(frame).save(stream, format="PNG")
        total += len(stream.getvalue())
    assert 170_000 < total < 210_000


@in_every_format
def test_an_episode_takes_less_than_its_pictures(data_format: str, frames: Any, tmp_path: Path) -> None:
    """At most 100 KB by default, where PNG takes 186 KB; and not a bit of it is lost."""
    storage = store(tmp_path, data_format, frames)
    assert size(storage) <= 100_000
    for opened in (storage, MinariStorage.read(storage.data_path)):
        (episode,) = opened.get_episodes([0])
        assert np.array_equal(episode["observations"], frames)
        window = opened.get_window(0, 60, 124)
        assert np.array_equal(window["observations"], frames[60:125])


@in_every_format
def test_appending_copying_and_converting_keep_them_small(data_format: str, frames: Any, tmp_path: Path) -> None:
    """However an episode comes to its place."""
    storage = store(tmp_path / "first", data_format, frames)
    storage.update_episodes([_buffer(frames[:80])])
    copy = MinariStorage.new(tmp_path / "copy" / "data", SPACE, spaces.Discrete(2), data_format=data_format)
    copy.update_from_storage(storage)
    copy.repack()
    for each in (storage, copy):
        assert size(each) <= 160_000
        first, second = each.get_episodes([0, 1])
        assert np.array_equal(first["observations"], frames)
        assert np.array_equal(second["observations"], frames[:80])


@pytest.mark.parametrize("data_format", ["hdf5", "zarr"])
def test_selecting_by_rewards_decodes_none(data_format: str, frames: Any, tmp_path: Path) -> None:
    """Frames whose stored bytes are damaged disturb nobody who does not look at them."""
    storage = store(tmp_path, data_format, frames[:33])
    files = (file for file in storage.data_path.rglob("*") if file.is_file() and file.suffix != ".json")
    largest = max(files, key=lambda file: file.stat().st_size)
    content = largest.read_bytes()
    middle, quarter = len(content) // 2, len(content) // 4
    largest.write_bytes(content[:middle] + bytes(quarter) + content[middle + quarter :])
    dataset = MinariDataset(tmp_path / "data")
    assert len(dataset.filter_episodes(lambda episode: bool(episode.rewards.sum() > 1))) == 1
    with pytest.raises(DatasetCorruptError):
        dataset.filter_episodes(lambda episode: episode.observations is not None)


@in_every_format
def test_selecting_by_rewards_decodes_no_jpeg(data_format: str, frames: Any, tmp_path: Path) -> None:
    storage = store(tmp_path, data_format, frames[:17], jpeg_encoding=True)
    script = (
        "import sys, minari; d = minari.MinariDataset(sys.argv[1]);"
        "print(len(d.filter_episodes(lambda e: len(e) == 16)), 'PIL' in sys.modules, d[0].observations.shape)"
    )
    command = [sys.executable, "-c", script, storage.data_path]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "1 False (17, 96, 96, 3)\n"
