"""Checksums of values in HDF5: made when they are written, carried along, and compared when that is wanted."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from gymnasium import spaces

from minari.dataset.minari_storage import MinariStorage
from minari.errors import ChecksumError, DatasetCorruptError
from minari.testing.examples import Truth, as_buffer, draw_truth
from support.stored import assert_holds, flip, index_files, plain_buffer, rewrite_index, store, without_index


SPACE = spaces.Dict(
    {
        "frames": spaces.Box(0, 255, (32, 32, 3), np.uint8),
        "t": spaces.Text(9),
        "x": spaces.Box(-1.0, 1.0, (3,), np.float64),
        "s": spaces.Sequence(spaces.Discrete(9)),
    }
)
ACTIONS = spaces.Tuple([spaces.Discrete(3), spaces.MultiBinary(4)])
TRUTHS = [draw_truth(SPACE, ACTIONS, steps, steps) for steps in (5, 40, 3)]
WAYS: dict[str, dict[str, Any]] = {
    "plain": {"compression": "none"},
    "gzip": {"compression": "gzip"},
    "lzf": {"compression": "lzf"},
    "jpeg": {"compression": "none", "jpeg_encoding": True},
}
in_every_way = pytest.mark.parametrize("way", WAYS)


def new(directory: Path, way: str = "plain", truths: list[Truth] = TRUTHS) -> MinariStorage:
    return MinariStorage.read(store(directory, "hdf5", truths, SPACE, ACTIONS, **WAYS[way]))


def file_of(storage: MinariStorage) -> Path:
    return storage.data_path / "main_data.hdf5"


def verify(storage: MinariStorage, *, is_complete: bool = True) -> None:
    """Read everything, comparing checksums."""
    fresh = MinariStorage.read(storage.data_path, verify_checksums=True)
    indices = range(fresh.total_episodes)
    assert (fresh.episodes_without_checksums(indices) == []) == is_complete
    for copy in (True, False):
        assert len(list(fresh.get_episodes(indices, copy=copy))) == len(indices)
    if fresh.total_episodes == 3 and not fresh.jpeg_encoding:
        assert_holds(fresh, TRUTHS, SPACE, ACTIONS)


def places(storage: MinariStorage, index: int = 1) -> dict[str, int]:
    """A byte of the values of each leaf of numbers of an episode, by the name of the leaf."""
    found = {}

    def add(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.dtype != object:
            chunk = item.id.get_chunk_info(0) if item.chunks else None
            middle = chunk.byte_offset + chunk.size // 2 if chunk else item.id.get_offset() + item.nbytes // 2
            found[name.replace("_index_", "")] = middle

    with h5py.File(file_of(storage)) as file:
        file[f"episode_{index}"].visititems(add)
    return found


@in_every_way
def test_sound_values_are_read_wherever_checksums_come_from(tmp_path: Path, way: str) -> None:
    storage = new(tmp_path, way)
    for _ in range(2):
        verify(storage)
        os.utime(file_of(storage), (1, 1))  # so that everything is located again
    without_index(storage.data_path)
    verify(storage, is_complete=False)
    MinariStorage.read(storage.data_path).add_missing_checksums()
    verify(storage)
    before = {file: file.read_bytes() for file in index_files(storage.data_path)}
    MinariStorage.read(storage.data_path).add_missing_checksums()
    assert {file: file.read_bytes() for file in index_files(storage.data_path)} == before
    storage.repack(compression="gzip" if way == "plain" else None)
    storage.update_episode_metadata([{"note": "x"}], [1])
    storage.update_metadata({"author": "A"})
    verify(storage)
    storage.update_episodes([as_buffer(TRUTHS[2])])
    verify(storage)
    assert len(index_files(storage.data_path)) == 2


@pytest.mark.parametrize("keep_time", [False, True])
@in_every_way
def test_flipped_bit_is_found_in_any_leaf(tmp_path: Path, way: str, keep_time: bool) -> None:
    storage = new(tmp_path, way)
    found = places(storage)
    assert {"observations/x", "actions/0", "terminations"} <= found.keys()
    for name, position in found.items():
        flip(file_of(storage), position, keep_time=keep_time)
        with pytest.raises(DatasetCorruptError, match=f"{name!r} of episode 1 in .*main_data") as caught:
            verify(storage)
        if way == "plain":
            assert isinstance(caught.value, ChecksumError)
            assert "copy or download" in str(caught.value)
        assert list(MinariStorage.read(storage.data_path, verify_checksums=True).get_episodes([0, 2]))
        flip(file_of(storage), position, keep_time=keep_time)
        verify(storage)


def test_flipped_bit_of_a_text_is_found_if_that_is_asked_for(tmp_path: Path) -> None:
    text = "abcdefghi"
    storage = new(
        tmp_path, "plain", [{**TRUTHS[0], "observations": [{**v, "t": text} for v in TRUTHS[0]["observations"]]}]
    )
    flip(file_of(storage), file_of(storage).read_bytes().find(text.encode()) + 3, keep_time=True)
    with pytest.raises(ChecksumError, match="'observations/t' of episode 0"):
        verify(storage)
    assert list(MinariStorage.read(storage.data_path).get_episodes([0]))


@pytest.mark.parametrize("located", [False, True])
@in_every_way
def test_copies_have_the_checksums_of_what_was_written(tmp_path: Path, way: str, located: bool) -> None:
    """A bit that flips before stored bytes are copied is found in the copy."""
    source = new(tmp_path / "source", way)
    if located:
        os.utime(file_of(source), (1, 1))
    position = places(source)["observations/x"]
    target = new(tmp_path / "target", way, [])
    target.update_from_storage(MinariStorage.read(source.data_path), [2, 1])
    verify(target)
    flip(file_of(source), position, keep_time=True)
    copy = source
    if way in ("plain", "jpeg"):
        copy = new(tmp_path / "copy", way, [])
        copy.update_from_storage(MinariStorage.read(source.data_path), [2, 1])
    with pytest.raises(DatasetCorruptError, match="'observations/x' of episode 1"):
        verify(copy)


@in_every_way
def test_copies_of_what_has_no_checksums_get_some(tmp_path: Path, way: str) -> None:
    source, target = new(tmp_path / "source", way), new(tmp_path / "target", way, [])
    target.update_from_storage(without_index(source.data_path))
    verify(target)
    source.repack()
    verify(source)


def test_checksums_stay_with_leaves_of_the_same_length(tmp_path: Path) -> None:
    """Of episodes that other programs write: wherever they lie, and whatever their values."""
    storage = new(tmp_path)
    with h5py.File(file_of(storage), "r+") as file:
        for name, dtype in (("rewards", float), ("terminations", bool)):
            del file[f"episode_0/{name}"]
            file[f"episode_0/{name}"] = np.zeros(4, dtype)
        file.copy("episode_1", "moved")
        del file["episode_1"]
        file.move("moved", "episode_1")
    storage = MinariStorage.read(storage.data_path, verify_checksums=True)
    list(storage.stored_columns(range(3)))  # not decoded, since episode 0 is of another length now
    assert storage.episodes_without_checksums([2, 1, 0]) == [0]
    with h5py.File(file_of(storage), "r+") as file:
        file["episode_1/rewards"][3] += 1
    for read in (storage, MinariStorage.read(storage.data_path, verify_checksums=True)):
        with pytest.raises(ChecksumError, match="'rewards' of episode 1"):
            list(read.get_episodes([1, 2]))
    assert list(MinariStorage.read(storage.data_path).get_episodes([1]))


def test_wrong_index_is_no_damage(tmp_path: Path) -> None:
    """Places that are wrong give other values, and are then looked up in the file."""
    storage = new(tmp_path)

    def swap(header: dict[str, Any], rows: np.ndarray) -> None:
        leaves = [leaf[0] for leaf in header["schemas"][0]]
        rows[0, 3 + 2 * leaves.index(["observations", "x"]) + 1] += 8

    rewrite_index(storage.data_path, swap)
    verify(storage)


def test_episode_whose_leaf_is_gone_cannot_be_verified(tmp_path: Path) -> None:
    buffer = plain_buffer(np.array([1, 2, 3]), infos={"k": np.array([1, 2, 3])})
    data_path = store(tmp_path, "hdf5", [buffer] * 3, spaces.Discrete(9), spaces.Discrete(2))
    assert MinariStorage.read(data_path).episodes_without_checksums(range(3)) == []
    with h5py.File(data_path / "main_data.hdf5", "r+") as file:
        del file["episode_1/infos/k"]
    again = MinariStorage.read(data_path, verify_checksums=True)
    assert [episode["infos"].keys() for episode in again.get_episodes(range(3))] == [{"k"}, set(), {"k"}]
    assert again.episodes_without_checksums(range(3)) == [1]


# Metadata

VALUES: dict[str, Any] = {
    "text": "seventeen é letters",
    "number": 2.5,
    "array": np.arange(6.0).reshape(2, 3).astype(">f4"),
    "flags": np.array([True, False]),
    "nothing": np.zeros((0, 3)),
    "nested": {"deep": [1, None, "x"], "int": 2**70, "a/b": 7},
    "large": np.arange(9000.0),
}
CONTENTS = ["seventeen é".encode(), np.float64(2.5).tobytes(), np.arange(6, dtype=">f4").tobytes()]


def described(directory: Path) -> MinariStorage:
    storage = new(directory, "plain", [])
    storage.update_episodes([as_buffer(truth, seed=5) for truth in TRUTHS], describe=lambda episode: VALUES)
    return storage


def metadata_of(storage: MinariStorage) -> list[dict[str, Any]]:
    return list(MinariStorage.read(storage.data_path, verify_checksums=True).get_episode_metadata(range(3)))


def assert_guarded(storage: MinariStorage, index: int = 0) -> None:
    """Require that a flipped bit of the metadata is found, and sound ones are read."""
    metadata_of(storage)
    content = file_of(storage).read_bytes()
    for keep_time in (False, True):
        for part in CONTENTS:
            position = content.find(part) + len(part) - 2
            flip(file_of(storage), position, keep_time=keep_time)
            with pytest.raises(ChecksumError, match=f"metadata of episode {index}"):
                metadata_of(storage)
            flip(file_of(storage), position, keep_time=keep_time)


def test_metadata_is_guarded_however_it_is_written(tmp_path: Path) -> None:
    """Or changed, copied, located or verified later; an attribute of somebody else is no damage."""
    storage = described(tmp_path / "data")
    assert_guarded(storage)
    storage.update_episode_metadata([{"text": "other", "more": [1.5, 2]}], [1])
    assert metadata_of(storage)[1]["text"] == "other"
    copy = new(tmp_path / "copy", "plain", [])
    copy.update_from_storage(storage, [2, 0, 1])
    assert_guarded(copy)
    storage.repack(compression="gzip")
    metadata_of(storage)
    os.utime(file_of(storage), (1, 1))
    list(MinariStorage.read(storage.data_path).get_episodes(range(3)))
    assert_guarded(storage)
    without_index(storage.data_path).add_missing_checksums()
    assert_guarded(storage)
    with h5py.File(file_of(storage), "r+") as file:
        file["episode_1"].attrs["color"] = "red"
    assert metadata_of(storage)[1]["color"] == "red"
