"""Checksums of values in HDF5: made when they are written, carried along, and compared when that is wanted."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from gymnasium import spaces

from minari._storages.hdf5.names import to_hdf5_name
from minari.data_collector import EpisodeBuffer
from minari.dataset.minari_storage import MinariStorage
from minari.errors import ChecksumError, DatasetCorruptError
from minari.spaces import path_name
from minari.testing.comparison import assert_episode
from minari.testing.examples import Truth, as_buffer, draw_truth
from support.stored import index_files, rewrite_index


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


def new(path: Path, way: str, truths: list[Truth] = TRUTHS) -> MinariStorage:
    storage = MinariStorage.new(path, SPACE, ACTIONS, **WAYS[way])
    storage.update_episodes(map(as_buffer, truths))
    return storage


def verify(data_path: Path, *, is_complete: bool = True) -> list[dict[str, Any]]:
    """Read everything, comparing checksums."""
    storage = MinariStorage.read(data_path, verify_checksums=True)
    indices = range(storage.total_episodes)
    assert (storage.episodes_without_checksums(indices) == []) == is_complete
    assert len(list(storage.get_episodes(indices, copy=False))) == len(indices)
    return list(storage.get_episodes(indices))


def places(data_path: Path) -> Iterator[tuple[str, int]]:
    """A byte of the values of each leaf of episode 1, by the name of the leaf."""
    storage: Any = MinariStorage.read(data_path)
    list(storage.get_episodes([1]))
    schema, numbers = storage._index.find(1)
    with h5py.File(data_path / "main_data.hdf5") as file:
        for leaf, offset in zip(schema.leaves, numbers[1::2], strict=True):
            name = path_name(leaf.path)
            dataset = file[f"episode_1/{to_hdf5_name(leaf.path)}"]
            if dataset.chunks:
                chunk = dataset.id.get_chunk_info(0)
                yield name, chunk.byte_offset + chunk.size // 2
            elif leaf.dtype is not None:
                yield name, offset + dataset.nbytes // 2


def flip(data_path: Path, position: int, *, pinned: bool) -> None:
    path = data_path / "main_data.hdf5"
    status = path.stat()
    with path.open("r+b") as file:
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ 1]))
    if pinned:
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("way", WAYS)
def test_what_is_sound_is_read(tmp_path: Path, way: str) -> None:
    """Also where everything has to be located again, whose checksums are kept, and where nothing is known of it."""
    path = new(tmp_path / "data", way).data_path
    for _ in range(2):
        for episode, truth in zip(verify(path), TRUTHS, strict=True):
            if way != "jpeg":
                assert_episode(episode, SPACE, ACTIONS, truth)
        os.utime(path / "main_data.hdf5", (1, 1))
    for file in index_files(path):
        file.unlink()
    verify(path, is_complete=False)
    MinariStorage.read(path)._add_missing_checksums()
    verify(path)


@pytest.mark.parametrize("pinned", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_a_flipped_bit_is_found(tmp_path: Path, way: str, pinned: bool) -> None:
    """In any leaf, whether or not the time of the file tells that it was written to."""
    path = new(tmp_path / "data", way).data_path
    seen = set()
    for name, position in list(places(path)):
        flip(path, position, pinned=pinned)
        with pytest.raises(DatasetCorruptError, match=f"{name!r} of episode 1 in .*main_data") as caught:
            verify(path)
        if way == "plain":
            assert isinstance(caught.value, ChecksumError)
            assert "copy or download" in str(caught.value)
            seen.add(name)
            MinariStorage.read(path, verify_checksums=True).get_episodes([0, 2])
        flip(path, position, pinned=pinned)
        verify(path)
    assert way != "plain" or {"observations/x", "observations/frames", "actions/0", "terminations"} <= seen


def test_a_flipped_bit_of_a_text_is_found(tmp_path: Path) -> None:
    text = "".join(map(chr, range(97, 106)))
    truth = {**TRUTHS[0], "observations": [{**step, "t": text} for step in TRUTHS[0]["observations"]]}
    path = new(tmp_path / "data", "plain", [truth]).data_path
    position = (path / "main_data.hdf5").read_bytes().find(text.encode())
    flip(path, position + 3, pinned=True)
    with pytest.raises(ChecksumError, match="'observations/t' of episode 0"):
        verify(path)
    assert list(MinariStorage.read(path).get_episodes([0])), "nobody asked for it"


@pytest.mark.parametrize("located", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_copies_have_the_checksums_of_what_was_written(tmp_path: Path, way: str, located: bool) -> None:
    """A bit that flips before stored bytes are copied is found in the copy."""
    source = new(tmp_path / "source", way)
    if located:
        os.utime(source.data_path / "main_data.hdf5", (1, 1))
    name, position = next((name, at) for name, at in places(source.data_path) if name == "observations/x")
    target = MinariStorage.new(tmp_path / "target", SPACE, ACTIONS, **WAYS[way])
    target.update_from_storage(MinariStorage.read(source.data_path), [2, 1])
    verify(target.data_path)
    flip(source.data_path, position, pinned=True)
    copy = MinariStorage.new(tmp_path / "copy", SPACE, ACTIONS, **WAYS[way])
    if way in ("gzip", "lzf"):
        copy = source
    else:
        copy.update_from_storage(MinariStorage.read(source.data_path), [2, 1])
    with pytest.raises(DatasetCorruptError, match=f"{name!r} of episode 1"):
        verify(copy.data_path)


@pytest.mark.parametrize("way", WAYS)
def test_copies_of_what_has_no_checksums(tmp_path: Path, way: str) -> None:
    source = new(tmp_path / "source", way)
    for file in index_files(source.data_path):
        file.unlink()
    target = MinariStorage.new(tmp_path / "target", SPACE, ACTIONS, **WAYS[way])
    target.update_from_storage(MinariStorage.read(source.data_path))
    verify(target.data_path)
    source.repack()
    verify(source.data_path)


def test_repacked_and_continued(tmp_path: Path) -> None:
    storage = new(tmp_path / "data", "plain")
    storage.repack(compression="gzip")
    verify(storage.data_path)
    storage.update_episode_metadata([{"note": "x"}], [1])
    storage.update_metadata({"author": "A"})
    verify(storage.data_path)
    more = as_buffer(draw_truth(SPACE, ACTIONS, 2, 7))
    storage.update_episodes([more])
    verify(storage.data_path)
    assert len(index_files(storage.data_path)) == 2


def test_episodes_that_other_programs_write(tmp_path: Path) -> None:
    """Another length drops the checksum; the same length with other values does not, and nor does another place."""
    path = new(tmp_path / "data", "plain").data_path
    with h5py.File(path / "main_data.hdf5", "r+") as file:
        for name, rows in (("rewards", 4), ("terminations", 4)):
            del file[f"episode_0/{name}"]
            file[f"episode_0/{name}"] = np.zeros(rows, bool if name == "terminations" else float)
        file.copy("episode_1", "moved")
        del file["episode_1"]
        file.move("moved", "episode_1")
        file["foreign"] = np.arange(3)
        del file["foreign"]
    storage = MinariStorage.read(path, verify_checksums=True)
    list(storage.stored_columns(range(3)))  # not decoded, since episode 0 is of another length now
    assert storage.episodes_without_checksums([2, 1, 0]) == [0]
    with h5py.File(path / "main_data.hdf5", "r+") as file:
        file["episode_1/rewards"][3] += 1
    for read in (storage, MinariStorage.read(path, verify_checksums=True)):
        with pytest.raises(ChecksumError, match="'rewards' of episode 1"):
            list(read.get_episodes([1, 2]))
    assert list(MinariStorage.read(path).get_episodes([1]))


def test_nothing_is_saved_again_when_all_have_checksums(tmp_path: Path) -> None:
    path = new(tmp_path / "data", "plain").data_path
    before = {file: file.read_bytes() for file in index_files(path)}
    MinariStorage.read(path)._add_missing_checksums()
    assert {file: file.read_bytes() for file in index_files(path)} == before


def test_a_wrong_index_is_no_damage(tmp_path: Path) -> None:
    """Places that are wrong give other values, and are then looked up in the file."""
    path = new(tmp_path / "data", "plain").data_path

    def swap(header: dict[str, Any], rows: np.ndarray) -> None:
        leaves = [leaf[0] for leaf in header["schemas"][0]]
        column = 3 + 2 * leaves.index(["observations", "x"]) + 1
        rows[0, column] += 8

    rewrite_index(path, swap)
    for episode, truth in zip(verify(path), TRUTHS, strict=True):
        assert_episode(episode, SPACE, ACTIONS, truth)


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


def described(path: Path) -> MinariStorage:
    storage = MinariStorage.new(path, SPACE, ACTIONS, compression="none")
    storage.update_episodes([as_buffer(truth, seed=5) for truth in TRUTHS], describe=lambda episode: VALUES)
    return storage


def metadata_of(data_path: Path) -> list[dict[str, Any]]:
    storage: Any = MinariStorage.read(data_path, verify_checksums=True)
    found = list(storage.get_episode_metadata(range(storage.total_episodes)))
    assert all(storage._index.metadata_checksum(index) for index in range(storage.total_episodes))
    return found


def test_metadata_that_are_sound(tmp_path: Path) -> None:
    """However they are written, changed, copied, located or verified later."""
    storage = described(tmp_path / "data")
    metadata_of(storage.data_path)
    storage.update_episode_metadata([{"text": "other", "more": [1.5, 2]}], [1])
    assert metadata_of(storage.data_path)[1]["text"] == "other"
    copy = MinariStorage.new(tmp_path / "copy", SPACE, ACTIONS, compression="none")
    copy.update_from_storage(storage, [2, 1])
    metadata_of(copy.data_path)
    storage.repack(compression="gzip")
    metadata_of(storage.data_path)
    os.utime(storage.data_path / "main_data.hdf5", (1, 1))
    list(MinariStorage.read(storage.data_path).get_episodes(range(3)))
    metadata_of(storage.data_path)
    for file in index_files(storage.data_path):
        file.unlink()
    MinariStorage.read(storage.data_path)._add_missing_checksums()
    metadata_of(storage.data_path)


@pytest.mark.parametrize("pinned", [False, True])
@pytest.mark.parametrize(
    "content", ["seventeen é".encode(), np.float64(2.5).tobytes(), np.arange(6, dtype=">f4").tobytes()]
)
def test_a_flipped_bit_of_metadata_is_found(tmp_path: Path, content: bytes, pinned: bool) -> None:
    path = described(tmp_path / "data").data_path
    position = (path / "main_data.hdf5").read_bytes().find(content)
    flip(path, position + len(content) - 2, pinned=pinned)
    with pytest.raises(ChecksumError, match="metadata of episode 0"):
        metadata_of(path)


def test_an_attribute_of_somebody_else_is_no_damage(tmp_path: Path) -> None:
    path = described(tmp_path / "data").data_path
    with h5py.File(path / "main_data.hdf5", "r+") as file:
        file["episode_1"].attrs["color"] = "red"
    assert metadata_of(path)[1]["color"] == "red"


def test_an_episode_whose_leaf_is_gone_is_one_that_cannot_be_verified(tmp_path: Path) -> None:
    storage = MinariStorage.new(tmp_path / "data", spaces.Discrete(9), spaces.Discrete(2))
    episode = EpisodeBuffer(
        observations=[1, 2, 3], actions=[0, 1], rewards=[0.5, 1.5], terminations=[False, True],
        truncations=[False, False], infos={"k": [1, 2, 3]},
    )  # fmt: skip
    storage.update_episodes([episode] * 3)
    assert storage.episodes_without_checksums(range(3)) == []
    with h5py.File(tmp_path / "data" / "main_data.hdf5", "r+") as file:
        del file["episode_1/infos/k"]
    again = MinariStorage.read(tmp_path / "data", verify_checksums=True)
    assert [episode["infos"].keys() for episode in again.get_episodes(range(3))] == [{"k"}, set(), {"k"}]
    assert again._episodes_without_checksums(range(3)) == [1]
