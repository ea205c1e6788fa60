"""Files that are missing, cut, foreign or disagree: a clear error, or nothing at all where nothing is lost."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import gymnasium as gym
import h5py
import numpy as np
import pytest

from minari._storages.hdf5.index import INDEX_NAME
from minari._storages.journal import JOURNAL_NAME
from minari.dataset.minari_storage import METADATA_FILE_NAME, MinariStorage
from minari.errors import DataPathError, DatasetCorruptError
from minari.testing._suite import ACTIONS, OBSERVATIONS
from minari.testing.examples import as_buffer, draw_truth
from support.copies import make_rich, require_format
from support.stored import TRUTHS, assert_holds, index_files, read_all, rewrite_index, store


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="the writer that is killed is a fork")


@pytest.fixture
def data_path(tmp_path: Path) -> Path:
    return store(tmp_path)


# The data file


def test_cut_anywhere(data_path: Path) -> None:
    """A file that was not copied to its end is noticed, whether or not its index came along."""
    file = data_path / "main_data.hdf5"
    content = file.read_bytes()
    index = {path: path.read_bytes() for path in index_files(data_path)}
    for length in [*range(0, len(content), len(content) // 23), len(content) - 1]:
        file.write_bytes(content[:length])
        for path, data in index.items():
            path.write_bytes(data)
        with pytest.raises(DatasetCorruptError, match=r"main_data\.hdf5"):
            read_all(data_path)
    file.write_bytes(content)
    assert_holds(data_path, TRUTHS)


def test_cut_file_whose_index_fits(data_path: Path) -> None:
    """Even where somebody made the index fit, nothing is read from beyond the end."""
    file = data_path / "main_data.hdf5"
    os.truncate(file, file.stat().st_size // 2)
    rewrite_index(data_path, lambda header, rows: None)
    with pytest.raises(DatasetCorruptError, match=r"main_data\.hdf5"):
        read_all(data_path)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89HDF\r\n\x1a\n", b"\x89HDF\r\n\x1a\n" + bytes(5000)])
def test_garbage(data_path: Path, content: bytes) -> None:
    (data_path / "main_data.hdf5").write_bytes(content)
    with pytest.raises(DatasetCorruptError, match="cannot be read as HDF5"):
        read_all(data_path)


def test_garbage_is_not_written_to(data_path: Path) -> None:
    storage = MinariStorage.read(data_path)
    file = data_path / "main_data.hdf5"
    file.write_bytes(b"hello" * 100)
    with pytest.raises(DatasetCorruptError, match="cannot be read as HDF5"):
        storage.update_episodes([as_buffer(TRUTHS[0])])
    assert file.read_bytes() == b"hello" * 100


def test_missing_file(data_path: Path) -> None:
    storage = MinariStorage.read(data_path)
    (data_path / "main_data.hdf5").unlink()
    for use in (
        lambda: read_all(data_path),
        lambda: list(storage.get_episodes([0])),
        lambda: list(storage.get_episode_metadata([0])),
        lambda: storage.update_episodes([as_buffer(TRUTHS[0])]),
    ):
        with pytest.raises(DatasetCorruptError, match=r"main_data\.hdf5 .* missing"):
            use()


def test_foreign_hdf5_file(data_path: Path) -> None:
    """A file of something else: with groups of other names, and with groups that hold no episodes."""
    with h5py.File(data_path / "main_data.hdf5", "w") as file:
        file["weights"] = np.zeros(3)
        for i in range(4):
            file.create_group(f"layer_{i}")
    with pytest.raises(DatasetCorruptError, match="claims 4 episodes and the data has 0"):
        read_all(data_path)
    with h5py.File(data_path / "main_data.hdf5", "w") as file:
        for i in range(4):
            file.create_group(f"episode_{i}")
    with pytest.raises(DatasetCorruptError, match="Episode 0"):
        read_all(data_path)


def test_episode_of_other_spaces(data_path: Path) -> None:
    with h5py.File(data_path / "main_data.hdf5", "r+") as file:
        del file["episode_1/observations/t"]
    with pytest.raises(DatasetCorruptError, match="Episode 1 has no 'observations/t'"):
        read_all(data_path)


# The metadata


@pytest.mark.parametrize("change", [-1, 1])
def test_metadata_that_disagree(data_path: Path, change: int) -> None:
    file = data_path / METADATA_FILE_NAME
    metadata = json.loads(file.read_text())
    metadata["total_episodes"] += change
    file.write_text(json.dumps(metadata))
    with pytest.raises(DatasetCorruptError, match=f"claims {4 + change} episodes and the data has 4"):
        MinariStorage.read(data_path)


def test_metadata_cut_anywhere(data_path: Path) -> None:
    file = data_path / METADATA_FILE_NAME
    content = file.read_bytes()
    for length in range(0, len(content), 37):
        file.write_bytes(content[:length])
        with pytest.raises(DatasetCorruptError, match=r"metadata\.json is damaged"):
            MinariStorage.read(data_path)


def test_no_metadata(data_path: Path, tmp_path: Path) -> None:
    (data_path / METADATA_FILE_NAME).unlink()
    with pytest.raises(DataPathError, match="No data found in data path"):
        MinariStorage.read(data_path)
    with pytest.raises(DataPathError, match="doesn't exist"):
        MinariStorage.read(tmp_path / "nowhere")
    with pytest.raises(DataPathError, match=r"data path .* doesn't exist as a directory, it is a file"):
        MinariStorage.read(data_path / "main_data.hdf5")


# The journal


def test_damaged_journal(data_path: Path) -> None:
    """It does not count, and the dataset is as it was before; that of version 0.6.0 may be half in place."""
    journal = data_path / JOURNAL_NAME
    for content in (b"", b"minari journal 2\n", b"minari journal 2\n" + bytes(20), b"x" * 100):
        journal.write_bytes(content)
        assert_holds(data_path, TRUTHS)
        assert journal.read_bytes() == content
    journal.write_bytes(b"minari journal 1\n")
    with pytest.raises(DatasetCorruptError, match=r"version 0\.6\.0 .*minari clean --discard-changes"):
        MinariStorage.read(data_path)
    journal.unlink()
    assert_holds(data_path, TRUTHS)


@needs_fork
def test_journal_of_a_file_that_is_gone(data_path: Path) -> None:
    with uncommitted(data_path):
        (data_path / "main_data.hdf5").unlink()
        with pytest.raises(DatasetCorruptError, match=r"main_data\.hdf5 .* is missing"):
            MinariStorage.read(data_path)


@contextlib.contextmanager
def uncommitted(data_path: Path) -> Iterator[Path]:
    """A directory in which a writer was killed when the journal was there."""
    child = os.fork()
    if child == 0:
        from minari._storages.journal import Overlay

        Overlay.apply = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        try:
            MinariStorage.read(data_path).update_episodes([as_buffer(TRUTHS[0])])
        finally:
            os._exit(1)
    os.waitpid(child, 0)
    journal = data_path / JOURNAL_NAME
    assert journal.exists()
    yield journal


@needs_fork
def test_journal_cut_anywhere_is_found_out(data_path: Path) -> None:
    with uncommitted(data_path) as journal:
        content = journal.read_bytes()
        for length in range(0, len(content), len(content) // 19):
            journal.write_bytes(content[:length])
            assert_holds(data_path, TRUTHS)
        for place in range(0, len(content), len(content) // 19):
            flipped = bytearray(content)
            flipped[place] ^= 1
            journal.write_bytes(flipped)
            assert_holds(data_path, TRUTHS)
        journal.write_bytes(content)
        assert_holds(data_path, [*TRUTHS, TRUTHS[0]])
        assert journal.exists()
        MinariStorage.read(data_path).update_metadata({"note": "completed"})
        assert not journal.exists()
        assert_holds(data_path, [*TRUTHS, TRUTHS[0]])


# The index


def swap_with_other(path: Path, tmp_path: Path) -> None:
    other = MinariStorage.new(tmp_path / "other" / "data", OBSERVATIONS, ACTIONS)
    other.update_episodes(map(as_buffer, reversed(TRUTHS)))
    for old in index_files(path):
        old.unlink()
    for file in index_files(other.data_path):
        shutil.copy2(file, path)


INDEX_DAMAGE: dict[str, Callable[[Path, Path], object]] = {
    "deleted": lambda path, _: [file.unlink() for file in index_files(path)],
    "header deleted": lambda path, _: (path / INDEX_NAME).unlink(),
    "table deleted": lambda path, _: table(path).unlink(),
    "header cut": lambda path, _: os.truncate(path / INDEX_NAME, 50),
    "table cut": lambda path, _: os.truncate(table(path), 50),
    "table of zeros": lambda path, _: table(path).write_bytes(bytes(table(path).stat().st_size)),
    "table of noise": lambda path, _: table(path).write_bytes(os.urandom(table(path).stat().st_size)),
    "one byte wrong": lambda path, _: flip(table(path), 5 * 8),
    "no json": lambda path, _: (path / INDEX_NAME).write_text("hello"),
    "other json": lambda path, _: (path / INDEX_NAME).write_text("[1, 2]"),
    "other keys": lambda path, _: (path / INDEX_NAME).write_text('{"version": 1}'),
    "of another file": swap_with_other,
    "a directory": lambda path, _: ((path / INDEX_NAME).unlink(), (path / INDEX_NAME).mkdir()),
}


def table(data_path: Path) -> Path:
    (file,) = data_path.glob(".index.*.i8")
    return file


def flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 8
    path.write_bytes(content)


@pytest.mark.parametrize("damage", INDEX_DAMAGE)
def test_index_that_cannot_be_used(data_path: Path, tmp_path: Path, damage: str) -> None:
    """The index only makes reading faster: without it, or with a wrong one, the data are the same."""
    INDEX_DAMAGE[damage](data_path, tmp_path)
    assert_holds(data_path, TRUTHS)
    assert_holds(data_path, TRUTHS)
    MinariStorage.read(data_path).update_episodes([as_buffer(TRUTHS[0])])
    assert_holds(data_path, [*TRUTHS, TRUTHS[0]])


# Totals


def with_totals(data_path: Path, **totals: int) -> None:
    file = data_path / METADATA_FILE_NAME
    file.write_text(json.dumps({**json.loads(file.read_text()), **totals}))


@pytest.mark.parametrize("data_format", ["hdf5", "arrow", "parquet", "zarr"])
def test_no_episodes_with_steps(tmp_path: Path, data_format: str) -> None:
    require_format(data_format)
    dataset = make_rich("test/rich-v0", data_format)
    data_path = dataset.storage.data_path
    with_totals(data_path, total_episodes=0)
    with pytest.raises(DatasetCorruptError, match=r"no episodes and \d+ steps"):
        MinariStorage.read(data_path)


@pytest.mark.parametrize("data_format", ["hdf5", "arrow", "parquet", "zarr"])
@pytest.mark.parametrize("change", [-1, 1])
def test_steps_are_added_up_where_values_are_verified(tmp_path: Path, data_format: str, change: int) -> None:
    require_format(data_format)
    dataset = make_rich("test/rich-v0", data_format)
    data_path = dataset.storage.data_path
    assert MinariStorage.read(data_path, verify_checksums=True).total_steps == dataset.total_steps
    with_totals(data_path, total_steps=dataset.total_steps + change)
    with pytest.raises(DatasetCorruptError, match=f"{dataset.total_steps + change} steps"):
        MinariStorage.read(data_path, verify_checksums=True)


# Attributes and leaves of an odd kind


def test_number_of_an_episode_is_an_array(data_path: Path) -> None:
    with h5py.File(data_path / "main_data.hdf5", "a") as file:
        file["episode_1"].attrs["id"] = np.array([1, 1, 1])
    metadata = list(MinariStorage.read(data_path).get_episode_metadata(range(2)))
    assert [episode["id"] for episode in metadata] == [0, 1]


def test_texts_are_structures(tmp_path: Path) -> None:
    space = gym.spaces.Text(8)
    storage = MinariStorage.new(tmp_path / "text", space, ACTIONS)
    storage.update_episodes([as_buffer(draw_truth(space, ACTIONS))])
    with h5py.File(tmp_path / "text" / "main_data.hdf5", "a") as file:
        del file["episode_0/observations"]
        file["episode_0/observations"] = np.zeros(4, [("a", "u1"), ("b", "<f4")])
    for path in index_files(tmp_path / "text"):
        path.unlink()
    with pytest.raises(DatasetCorruptError, match="observations of episode 0"):
        list(MinariStorage.read(tmp_path / "text").get_episodes([0]))
    require_format("arrow")
    other = MinariStorage.new(tmp_path / "other", space, ACTIONS, data_format="arrow")
    with pytest.raises(DatasetCorruptError, match="observations of episode 0"):
        other.update_from_storage(MinariStorage.read(tmp_path / "text"))
