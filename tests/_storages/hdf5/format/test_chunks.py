"""Arrays that other programs stored in chunks: put together from the map where each chunk is there as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import hypothesis.strategies as st
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given

from minari._storages.hdf5 import reader as hdf5_reader
from minari.dataset.minari_storage import MinariStorage
from minari.testing.comparison import assert_same
from minari.testing.examples import as_buffer, draw_truth


SPACE = spaces.Box(-1.0, 1.0, (5, 3), np.float32)
STEPS = 40


def storage_with_chunks(directory: Path, rewrite: Any) -> MinariStorage:
    """A dataset whose observations another program has stored in another way."""
    storage = MinariStorage.new(directory / "data", SPACE, SPACE)
    storage.update_episodes(as_buffer(draw_truth(SPACE, SPACE, STEPS, seed)) for seed in range(3))
    with h5py.File(storage.data_path / "main_data.hdf5", "r+", libver="earliest") as file:
        for episode in file.values():
            values = episode["observations"][()]
            del episode["observations"]
            rewrite(episode, values)
    return MinariStorage.read(storage.data_path)


def observations(storage: MinariStorage) -> list[Any]:
    return [episode["observations"] for episode in storage.get_episodes(range(3))]


def stored(storage: MinariStorage) -> list[Any]:
    with h5py.File(storage.data_path / "main_data.hdf5") as file:
        return [file[f"episode_{number}/observations"][()] for number in range(3)]


@given(chunks=st.tuples(st.integers(1, STEPS + 1), st.integers(1, 5), st.integers(1, 3)))
def test_any_chunks(tmp_path_factory: pytest.TempPathFactory, chunks: tuple[int, int, int]) -> None:
    """Also those that reach beyond the edges, and those of arrays that can grow."""
    storage = storage_with_chunks(
        tmp_path_factory.mktemp("chunks"),
        lambda episode, values: episode.create_dataset(
            "observations", data=values, chunks=chunks, maxshape=(None, *values.shape[1:])
        ),
    )
    expected = stored(storage)
    for _ in range(2):  # located through HDF5 first, then by the index
        for found, values in zip(observations(storage), expected, strict=True):
            assert_same(found, values)
        storage = MinariStorage.read(storage.data_path)


def test_the_second_time_without_a_look_at_headers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = storage_with_chunks(
        tmp_path, lambda episode, values: episode.create_dataset("observations", data=values, chunks=(7, 2, 3))
    )
    expected = observations(storage)
    monkeypatch.setattr(hdf5_reader, "read_messages", None)
    for found, values in zip(observations(MinariStorage.read(storage.data_path)), expected, strict=True):
        assert_same(found, values)


def test_chunks_that_were_never_written(tmp_path: Path) -> None:
    """They have no place in the file, and hold the fill value."""

    def rewrite(episode: h5py.Group, values: Any) -> None:
        dataset = episode.create_dataset("observations", values.shape, np.float32, chunks=(10, 5, 3), fillvalue=0.5)
        dataset[:10] = values[:10]

    storage = storage_with_chunks(tmp_path, rewrite)
    for found, values in zip(observations(storage), stored(storage), strict=True):
        assert_same(found, values)
        assert (found[10:] == 0.5).all()


@pytest.mark.parametrize("chunks", [(1, 1, 1), (16, 5, 3)])
def test_compressed_and_tiny_chunks(tmp_path: Path, chunks: tuple[int, int, int]) -> None:
    """Compressed data, and data in very many chunks, is located in the file each time."""
    compression = "gzip" if chunks[0] > 1 else None
    storage = storage_with_chunks(
        tmp_path,
        lambda episode, values: episode.create_dataset(
            "observations", data=values, chunks=chunks, compression=compression
        ),
    )
    for found, values in zip(observations(storage), stored(storage), strict=True):
        assert_same(found, values)


def test_combined_with_others(tmp_path: Path) -> None:
    """Data in uncompressed chunks is written contiguously."""
    storage = storage_with_chunks(
        tmp_path / "a", lambda episode, values: episode.create_dataset("observations", data=values, chunks=(7, 2, 3))
    )
    plain = MinariStorage.new(tmp_path / "b" / "data", SPACE, SPACE)
    plain.update_episodes([as_buffer(draw_truth(SPACE, SPACE, 4, 9))])
    plain.update_from_storage(storage)
    with h5py.File(plain.data_path / "main_data.hdf5") as file:
        assert file["episode_3/observations"].chunks is None
    for found, values in zip(plain.get_episodes([1, 2, 3]), stored(storage), strict=True):
        assert_same(found["observations"], values)
