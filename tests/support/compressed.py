"""Datasets whose leaves are compressed, and what HDF5 finds in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from gymnasium import spaces

from minari.dataset.minari_storage import MinariStorage
from minari.testing.comparison import assert_episode, assert_metadata
from minari.testing.examples import Truth, as_buffer, draw_truth
from support.stored import index_files


PICTURES = spaces.Box(0, 255, (40, 16, 3), np.uint8)
SPACE = spaces.Dict({"pixels": PICTURES, "x": spaces.Box(-1.0, 1.0, (3,), np.float64), "on": spaces.Discrete(2)})
WITH_TEXT = spaces.Dict({"pixels": PICTURES, "t": spaces.Text(5)})
ACTIONS = spaces.Box(-1.0, 1.0, (2,), np.float32)
CODECS = ["gzip", "gzip:9", "lzf", "zstd", "blosc", "lz4"]
FILE = "main_data.hdf5"


def draw(space: Any, steps: int) -> Truth:
    """An episode with frames that are mostly alike."""
    truth = draw_truth(space, ACTIONS, steps, steps, {"n": np.arange(steps + 1.0), "on": np.arange(steps + 1) % 2 == 0})
    first, *others = (observation["pixels"] for observation in truth["observations"])
    for picture in others:
        picture[2:] = first[2:]
    return truth


def new(directory: Path, lengths: Any = (1, 31, 64, 100), *, space: Any = SPACE, codec: Any = None) -> MinariStorage:
    if codec is not None and codec.startswith(("zstd", "blosc", "lz4")):
        pytest.importorskip("hdf5plugin")
    storage = MinariStorage.new(directory / "data", space, ACTIONS, compression=codec)
    storage.update_episodes([as_buffer(draw(space, length), seed=length) for length in lengths])
    return storage


def assert_holds(storage: MinariStorage, lengths: Any = (1, 31, 64, 100), *, space: Any = SPACE) -> None:
    """Read by this object, by a new one, and after the index was lost."""
    truths = [draw(space, length) for length in lengths]
    for reader in (storage, MinariStorage.read(storage.data_path), without_index(storage)):
        for episode, truth in zip(reader.get_episodes(range(len(truths))), truths, strict=True):
            assert_episode(episode, space, ACTIONS, truth)
        for metadata, length in zip(reader.get_episode_metadata(range(len(truths))), lengths, strict=True):
            assert_metadata({"seed": metadata["seed"]}, {"seed": length})


def without_index(storage: MinariStorage) -> MinariStorage:
    for path in index_files(storage.data_path):
        path.unlink()
    return MinariStorage.read(storage.data_path)


def stored(storage: MinariStorage, name: str, index: int) -> tuple[Any, list[bytes]]:
    """The filters and the chunks of a leaf, as they are in the file."""
    with h5py.File(storage.data_path / FILE) as file:
        dataset = file[f"episode_{index}/{name}"]
        properties = dataset.id.get_create_plist()
        filters = [properties.get_filter(number)[::2] for number in range(properties.get_nfilters())]
        chunks = [dataset.id.get_chunk_info(number).chunk_offset for number in range(dataset.id.get_num_chunks())]
        return filters, [dataset.id.read_direct_chunk(offset)[1] for offset in sorted(chunks)]


def refusing(import_module: Callable[..., Any], name: str) -> Callable[..., Any]:
    def refuse(module: str, *arguments: Any) -> Any:
        if module == name:
            raise ImportError(name)
        return import_module(module, *arguments)

    return refuse
