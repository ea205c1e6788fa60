"""Datasets whose leaves are compressed and damaged, or compressed with what is not installed."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from minari._storages.hdf5 import process as hdf5_process
from minari.dataset.minari_storage import MinariStorage
from minari.errors import DatasetCorruptError, MissingDependencyError
from minari.testing.comparison import assert_episode, assert_same
from minari.testing.examples import nested
from support.compressed import ACTIONS, FILE, SPACE, draw, new, refusing, without_index


# Plug-ins that are missing


@pytest.mark.parametrize("codec", ["zstd", "blosc:5", "lz4"])
def test_a_codec_that_is_not_installed(tmp_path: Path, codec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Said before anything is made, and again where a dataset that has it is read."""
    storage = new(tmp_path / "a", codec=codec)
    monkeypatch.setattr(importlib, "import_module", refusing(importlib.import_module, "hdf5plugin"))
    with pytest.raises(MissingDependencyError, match=r'hdf5plugin; install it with: pip install "minari\[compression'):
        MinariStorage.new(tmp_path / "b" / "data", SPACE, ACTIONS, compression=codec)
    assert not (tmp_path / "b").exists()
    (tmp_path / "hdf5plugin.py").write_text("raise ImportError")
    with monkeypatch.context() as context:
        context.syspath_prepend(tmp_path)
        hdf5_process.end()  # the next one does not find the package either
        for reader in (storage, without_index(storage)):
            with pytest.raises(MissingDependencyError, match=rf'{FILE} .*pip install "minari\[compression\]"'):
                list(reader.get_episodes([3]))
            assert [metadata["seed"] for metadata in reader.get_episode_metadata([3])] == [100]
    hdf5_process.end()


# Damage


@pytest.fixture
def small(tmp_path: Path) -> MinariStorage:
    return new(tmp_path, [2, 33], codec="gzip")


def read(storage: MinariStorage) -> bool:
    """Return whether the values are correct, if they can be read."""
    try:
        episodes = list(MinariStorage.read(storage.data_path).get_episodes(range(2)))
    except DatasetCorruptError:
        return True
    for episode, length in zip(episodes, (2, 33), strict=True):
        truth = nested(SPACE, draw(SPACE, length)["observations"])
        for name in ("pixels", "x"):  # what is compressed in both
            assert_same(episode["observations"][name], np.stack(truth[name]))
    return False


def test_bytes_that_have_changed(small: MinariStorage) -> None:
    """Wherever they are, none leads to wrong values while the index is there."""
    file = small.data_path / FILE
    content, status = file.read_bytes(), file.stat()
    damaged = 0
    for position in range(0, len(content), max(1, len(content) // 400)):
        changed = bytearray(content)
        changed[position] ^= 1 << position % 8
        file.write_bytes(changed)
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
        damaged += read(small)
    assert damaged > 200


def test_bytes_that_have_changed_and_no_index(small: MinariStorage) -> None:
    """Those of chunks and of their tables; headers have no checksum of their own."""
    file = small.data_path / FILE
    content = file.read_bytes()
    with h5py.File(file) as opened:
        chunks = [
            opened[f"episode_1/{name}"].id.get_chunk_info(0) for name in ("observations/pixels", "rewards", "infos/n")
        ]
    table = content.index(b"FAHD")
    positions = [*range(table, table + 60, 5)]
    for chunk in chunks:
        positions += range(chunk.byte_offset, chunk.byte_offset + chunk.size, max(1, chunk.size // 20))
    for position in positions:
        changed = bytearray(content)
        changed[position] ^= 0x40
        file.write_bytes(changed)
        without_index(small)
        read(small)


def test_which_leaf_is_damaged(small: MinariStorage) -> None:
    (episode, name) = (1, "observations/pixels")
    with h5py.File(small.data_path / FILE) as file:
        chunk = file[f"episode_{episode}/{name}"].id.get_chunk_info(0)
    with (small.data_path / FILE).open("r+b") as raw:
        raw.seek(chunk.byte_offset + chunk.size // 2)
        raw.write(b"damage")
    for reader in (small, without_index(small)):
        with pytest.raises(DatasetCorruptError, match=rf"'{name}' of episode {episode} in .*{FILE} cannot be decomp"):
            list(reader.get_episodes([0, 1]))
        assert_episode(next(reader.get_episodes([0])), SPACE, ACTIONS, draw(SPACE, 2))
    with pytest.raises(DatasetCorruptError, match="cannot be decompressed"):
        new(small.data_path.parent / "copy", [1]).update_from_storage(truncated(small))


def truncated(storage: MinariStorage) -> MinariStorage:
    """A storage whose tables of chunks are damaged."""
    file = storage.data_path / FILE
    file.write_bytes(file.read_bytes().replace(b"FADB", b"FADC"))
    return storage


@pytest.mark.parametrize("name", ["observations/pixels", "observations/x"])
def test_an_array_that_claims_too_much(tmp_path: Path, name: str) -> None:
    """No room is made for more than the file can hold."""
    storage = new(tmp_path, [33], codec="gzip")
    file = storage.data_path / FILE
    with h5py.File(file) as opened:
        address = h5py.h5o.get_info(opened[f"episode_0/{name}"].id).addr
    content = bytearray(file.read_bytes())
    rows = content.index((34).to_bytes(8, "little"), address)
    content[rows + 5] = 1  # 2 to the power of 40 rows more
    file.write_bytes(content)
    with pytest.raises(DatasetCorruptError, match="Episode 0"):
        list(without_index(storage).get_episodes([0]))


def test_a_damaged_list_of_episodes(small: MinariStorage) -> None:
    file = small.data_path / FILE
    file.write_bytes(file.read_bytes().replace(b"TREE", b"TREF"))
    with pytest.raises(DatasetCorruptError, match=rf"{FILE} cannot be read as HDF5"):
        without_index(small)
