"""Files that are missing, cut, foreign or disagree: a clear error, or nothing at all where nothing is lost."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import h5py
import numpy as np
import pytest

from minari._storages.hdf5.index import INDEX_NAME
from minari._storages.journal import JOURNAL_NAME
from minari.dataset.minari_storage import METADATA_FILE_NAME, MinariStorage
from minari.errors import DataPathError, DatasetCorruptError
from minari.testing.examples import as_buffer, draw_truth
from minari.testing.storage_suites.suite import ACTIONS, OBSERVATIONS
from support.copies import require_format
from support.killing import killed
from support.stored import (
    TRUTHS,
    assert_holds,
    edit_json,
    edit_metadata,
    flip,
    index_files,
    read_all,
    rewrite_index,
    store,
    without_index,
)


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="the writer that is killed is a fork")


@pytest.fixture
def data_path(tmp_path: Path) -> Path:
    return store(tmp_path)


# What is done to the data of a format, and the message

Damage = dict[str, tuple[Callable[[Path], object], str]]


def rewrite(**changes: Any) -> Callable[[Path], None]:
    """Replace the content of the HDF5 file by these groups and arrays."""

    def change(path: Path) -> None:
        with h5py.File(path / "main_data.hdf5", "w") as file:
            for name, value in changes.items():
                file[name] = value

    return change


def without_texts(path: Path) -> None:
    with h5py.File(path / "main_data.hdf5", "r+") as file:
        del file["episode_1/observations/t"]


def write(name: str, content: bytes | Callable[[bytes], bytes]) -> Callable[[Path], object]:
    """Replace the content of a file."""

    def change(path: Path) -> None:
        (path / name).write_bytes(content if isinstance(content, bytes) else content((path / name).read_bytes()))

    return change


def delete(name: str) -> Callable[[Path], object]:
    return lambda path: shutil.rmtree(path / name) if (path / name).is_dir() else (path / name).unlink()


def copy(source: str, target: str) -> Callable[[Path], object]:
    return lambda path: shutil.copy(path / source, path / target)


def edit(name: str, change: Callable[[Any], object]) -> Callable[[Path], object]:
    return lambda path: edit_json(path / name, change)


NO_HDF5 = "cannot be read as HDF5"
SIGNATURE = b"\x89HDF\r\n\x1a\n"
HDF5: Damage = {
    "empty": (write("main_data.hdf5", b""), NO_HDF5),
    "text": (write("main_data.hdf5", b"hello"), NO_HDF5),
    "signature only": (write("main_data.hdf5", SIGNATURE), NO_HDF5),
    "signature and zeros": (write("main_data.hdf5", SIGNATURE + bytes(5000)), NO_HDF5),
    "missing": (delete("main_data.hdf5"), r"main_data\.hdf5 .* missing"),
    "other groups": (rewrite(weights=1, layer_0=2), "claims 4 episodes and the data has 0"),
    "groups without arrays": (rewrite(**{f"episode_{i}/x": i for i in range(4)}), "Episode 0"),
    "an array missing": (without_texts, "Episode 1 has no 'observations/t'"),
}


def tables(data_format: str) -> Damage:
    part, metadata = f"2/part-0.{data_format}", "2/metadata.json"
    unreadable = rf"2.part-0\.{data_format} cannot be read"
    return {
        "empty": (write(part, b""), unreadable),
        "text": (write(part, b"no table at all"), unreadable),
        "foreign": (write(part, lambda content: b"PK" + content), unreadable),
        "zeros": (write(part, lambda content: bytes(len(content))), unreadable),
        "only the end": (write(part, lambda content: content[-40:]), unreadable),
        "missing": (delete(part), rf"2.part-0\.{data_format} .*missing"),
        "directory missing": (delete("2"), r"data.2 is missing"),
        "another length": (copy(f"0/part-0.{data_format}", part), rf"part-0\.{data_format} has 3 rows, expected 41"),
        "metadata missing": (delete(metadata), r"2.metadata\.json .*missing"),
        **{
            f"metadata {text!r}": (write(metadata, text.encode()), r"2.metadata\.json is damaged")
            for text in ("", "{", "[]", "null", "{}", '{"total_steps": "3"}', '{"id": 0}')
        },
    }


STORE = "main_data.zarr/"
SHARD = f"{STORE}data/rewards/c.0"
BAD_SHARD = "shard of the array data/rewards of .* is damaged"
ZARR: Damage = {
    "no store": (delete(STORE), r"meta/episode_ends of .*main_data.zarr has no zarr.json"),
    "no zarr.json": (delete(f"{STORE}zarr.json"), r"zarr.json of .*main_data.zarr is missing"),
    "cut zarr.json": (write(f"{STORE}zarr.json", b'{"zarr_'), r"zarr.json of .* is damaged"),
    "zarr.json of something else": (
        write(f"{STORE}zarr.json", b'{"attributes": {}}'),
        r"zarr.json of .* not of a dataset of Minari",
    ),
    "newer layout": (
        edit(f"{STORE}zarr.json", lambda value: value["attributes"]["minari"].update(version=9)),
        "version of its layout is 9, expected 1",
    ),
    "array that the layout has not": (
        edit(f"{STORE}zarr.json", lambda value: value["attributes"]["minari"].update(layouts=[[99]])),
        "zarr.json of .* is damaged",
    ),
    "no array": (delete(f"{STORE}data/actions"), r"array data/actions of .* has no zarr.json"),
    "cut zarr.json of an array": (
        write(f"{STORE}data/actions/zarr.json", b"{"),
        r"array data/actions of .* has no zarr.json, or a damaged one",
    ),
    "no shard": (delete(SHARD), r"shard data/rewards/c.0 of .* is missing"),
    "no shard of metadata": (delete(f"{STORE}meta/episode_ends/c.0"), r"shard meta/episode_ends/c.0 of .* is missing"),
    "cut shard": (write(SHARD, lambda content: content[:-7]), BAD_SHARD),
    "empty shard": (write(SHARD, b""), BAD_SHARD),
    "index of a shard": (lambda path: flip(path / SHARD, -9, 255), BAD_SHARD),
    "shard of another array": (copy(f"{STORE}data/terminations/c.0", SHARD), BAD_SHARD),
    "short array": (
        edit(f"{STORE}data/rewards/zarr.json", lambda value: value.update(shape=[49])),
        "array data/rewards of .* has 49 rows, expected 50",
    ),
    "short ends": (
        edit(f"{STORE}meta/episode_ends/zarr.json", lambda value: value.update(shape=[3])),
        "claims 4 episodes and the data has 3",
    ),
    "other dtype": (
        edit(f"{STORE}data/rewards/zarr.json", lambda value: value.update(data_type="int64")),
        "array data/rewards of .* holds int64 values of the shape",
    ),
    "other total": (
        lambda path: edit_metadata(path, total_steps=51),
        r"claims 51 steps and the episodes of .* have 50",
    ),
}
DAMAGE = {"hdf5": HDF5, "arrow": tables("arrow"), "parquet": tables("parquet"), "zarr": ZARR}


@pytest.mark.parametrize(("data_format", "damage"), [(name, damage) for name in DAMAGE for damage in DAMAGE[name]])
def test_damage_is_reported(tmp_path: Path, data_format: str, damage: str) -> None:
    data_path = store(tmp_path, data_format)
    change, message = DAMAGE[data_format][damage]
    change(data_path)
    with pytest.raises(DatasetCorruptError, match=message):
        read_all(data_path)
    assert MinariStorage.read_raw_metadata(data_path)["total_episodes"] == 4
    if data_format in ("arrow", "parquet") and damage != "directory missing":
        storage = MinariStorage.read(data_path)
        for read in (storage.get_episodes, storage.get_episode_metadata, storage.get_episode_lengths):
            assert len(list(read([0, 1, 3]))) == 3
            if "metadata" in damage:
                with pytest.raises(DatasetCorruptError, match=message):
                    list(read([2]))


@pytest.mark.parametrize("data_format", ["hdf5", "arrow", "parquet"])
def test_file_cut_anywhere_is_reported(tmp_path: Path, data_format: str) -> None:
    data_path = store(tmp_path, data_format)
    file = data_path / ("main_data.hdf5" if data_format == "hdf5" else f"2/part-0.{data_format}")
    content = file.read_bytes()
    index = {path: path.read_bytes() for path in index_files(data_path)}
    for length in [*range(0, len(content), len(content) // 23), len(content) - 1]:
        file.write_bytes(content[:length])
        for path, data in index.items():
            path.write_bytes(data)
        with pytest.raises(DatasetCorruptError, match=file.name):
            read_all(data_path)
    file.write_bytes(content)
    assert_holds(data_path, TRUTHS)


def test_cut_file_is_reported_though_the_index_fits(data_path: Path) -> None:
    file = data_path / "main_data.hdf5"
    os.truncate(file, file.stat().st_size // 2)
    rewrite_index(data_path, lambda header, rows: None)
    with pytest.raises(DatasetCorruptError, match=r"main_data\.hdf5"):
        read_all(data_path)


@pytest.mark.parametrize("content", [None, b"hello" * 100])
def test_missing_or_foreign_file_is_not_written_to(data_path: Path, content: bytes | None) -> None:
    storage, file = MinariStorage.read(data_path), data_path / "main_data.hdf5"
    file.unlink() if content is None else file.write_bytes(content)
    for use in (
        lambda: list(storage.get_episodes([0])),
        lambda: list(storage.get_episode_metadata([0])),
        lambda: storage.update_episodes([as_buffer(TRUTHS[0])]),
    ):
        with pytest.raises(DatasetCorruptError, match=r"main_data\.hdf5 .* (missing|as HDF5)"):
            use()
    assert (file.read_bytes() if file.exists() else None) == content


# Metadata


def test_metadata_cut_anywhere_is_reported(data_path: Path) -> None:
    file = data_path / METADATA_FILE_NAME
    content = file.read_bytes()
    for length in range(0, len(content), 37):
        file.write_bytes(content[:length])
        with pytest.raises(DatasetCorruptError, match=r"metadata\.json is damaged"):
            MinariStorage.read(data_path)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (".", "No data found in data path"),
        ("nowhere", "doesn't exist"),
        ("main_data.hdf5", r"data path .* doesn't exist as a directory, it is a file"),
    ],
)
def test_place_without_metadata_is_no_dataset(data_path: Path, place: str, message: str) -> None:
    (data_path / METADATA_FILE_NAME).unlink()
    with pytest.raises(DataPathError, match=message):
        MinariStorage.read(data_path / place)


def test_totals_are_compared_with_the_episodes(tmp_path: Path, data_format: str) -> None:
    data_path = store(tmp_path, data_format)
    assert MinariStorage.read(data_path, verify_checksums=True).total_steps == 50
    for steps in (49, 51):
        edit_metadata(data_path, total_steps=steps)
        with pytest.raises(DatasetCorruptError, match=f"{steps} steps"):
            MinariStorage.read(data_path, verify_checksums=True)
    edit_metadata(data_path, total_episodes=0)
    with pytest.raises(DatasetCorruptError, match=r"no episodes and \d+ steps"):
        MinariStorage.read(data_path)


# The journal


@pytest.mark.parametrize("content", [b"", b"minari journal 2\n", b"minari journal 2\n" + bytes(20), b"x" * 100])
def test_damaged_journal_does_not_count(data_path: Path, content: bytes) -> None:
    (data_path / JOURNAL_NAME).write_bytes(content)
    assert_holds(data_path, TRUTHS)
    assert (data_path / JOURNAL_NAME).read_bytes() == content


def test_journal_of_the_first_release_is_refused(data_path: Path) -> None:
    (data_path / JOURNAL_NAME).write_bytes(b"minari journal 1\n")
    with pytest.raises(DatasetCorruptError, match=r"version 0\.6\.0 .*minari clean --discard-changes"):
        MinariStorage.read(data_path)


def uncommitted(data_path: Path) -> Path:
    """Let a writer be killed when the journal is there."""
    at, journal = 1, data_path / JOURNAL_NAME
    while not journal.exists():
        assert killed(at, lambda: MinariStorage.read(data_path).update_episodes([as_buffer(TRUTHS[0])]))
        at += 1
    return journal


@needs_fork
def test_journal_of_a_missing_file_is_reported(data_path: Path) -> None:
    uncommitted(data_path)
    (data_path / "main_data.hdf5").unlink()
    with pytest.raises(DatasetCorruptError, match=r"main_data\.hdf5 .* is missing"):
        MinariStorage.read(data_path)


@needs_fork
def test_journal_damaged_anywhere_does_not_count(data_path: Path) -> None:
    journal = uncommitted(data_path)
    content = journal.read_bytes()
    for place in range(0, len(content), len(content) // 19):
        journal.write_bytes(content[:place])
        assert_holds(data_path, TRUTHS)
        journal.write_bytes(content)
        flip(journal, place)
        assert_holds(data_path, TRUTHS)
    journal.write_bytes(content)
    assert_holds(data_path, [*TRUTHS, TRUTHS[0]])
    assert journal.exists()
    MinariStorage.read(data_path).update_metadata({"note": "completed"})
    assert not journal.exists()
    assert_holds(data_path, [*TRUTHS, TRUTHS[0]])


# The index, which only makes reading faster


def table(data_path: Path) -> Path:
    (file,) = data_path.glob(".index.*.i8")
    return file


def swap_with_other(path: Path) -> None:
    other = store(path / ".other", truths=TRUTHS[::-1])
    for old in index_files(path):
        old.unlink()
    for file in index_files(other):
        shutil.copy2(file, path)
    shutil.rmtree(path / ".other")


def replace_by_directory(path: Path) -> None:
    (path / INDEX_NAME).unlink()
    (path / INDEX_NAME).mkdir()


INDEX_DAMAGE: dict[str, Callable[[Path], object]] = {
    "deleted": lambda path: [file.unlink() for file in index_files(path)],
    "header deleted": delete(INDEX_NAME),
    "table deleted": lambda path: table(path).unlink(),
    "header cut": write(INDEX_NAME, lambda content: content[:50]),
    "table cut": lambda path: os.truncate(table(path), 50),
    "table of zeros": lambda path: table(path).write_bytes(bytes(table(path).stat().st_size)),
    "table of noise": lambda path: table(path).write_bytes(os.urandom(table(path).stat().st_size)),
    "one byte wrong": lambda path: flip(table(path), 5 * 8, 8),
    "no json": write(INDEX_NAME, b"hello"),
    "other json": write(INDEX_NAME, b"[1, 2]"),
    "other keys": write(INDEX_NAME, b'{"version": 1}'),
    "of another version": edit(INDEX_NAME, lambda header: header.update(version=header["version"] - 1)),
    "of another file": swap_with_other,
    "a directory": replace_by_directory,
}


@pytest.mark.parametrize("damage", INDEX_DAMAGE)
def test_damaged_index_is_not_used(data_path: Path, damage: str) -> None:
    INDEX_DAMAGE[damage](data_path)
    assert_holds(data_path, TRUTHS)
    assert_holds(data_path, TRUTHS)
    MinariStorage.read(data_path).update_episodes([as_buffer(TRUTHS[0])])
    assert_holds(data_path, [*TRUTHS, TRUTHS[0]])


# Attributes and arrays of an odd kind


def test_number_of_an_episode_may_be_an_array(data_path: Path) -> None:
    with h5py.File(data_path / "main_data.hdf5", "a") as file:
        file["episode_1"].attrs["id"] = np.array([1, 1, 1])
    assert [each["id"] for each in MinariStorage.read(data_path).get_episode_metadata(range(2))] == [0, 1]


def test_structures_in_place_of_texts_are_damage(tmp_path: Path) -> None:
    space = gym.spaces.Text(8)
    data_path = store(tmp_path, truths=[draw_truth(space, ACTIONS)], observation_space=space)
    with h5py.File(data_path / "main_data.hdf5", "a") as file:
        del file["episode_0/observations"]
        file["episode_0/observations"] = np.zeros(4, [("a", "u1"), ("b", "<f4")])
    storage = without_index(data_path)
    with pytest.raises(DatasetCorruptError, match="observations of episode 0"):
        list(storage.get_episodes([0]))
    require_format("arrow")
    other = MinariStorage.new(tmp_path / "other", space, ACTIONS, data_format="arrow")
    with pytest.raises(DatasetCorruptError, match="observations of episode 0"):
        other.update_from_storage(storage)


@pytest.mark.parametrize("data_format", ["arrow", "parquet"])
@pytest.mark.parametrize("kind", ["another length", "another space"])
def test_table_that_belongs_elsewhere_is_refused_whatever_was_read_before(
    tmp_path: Path, kind: str, data_format: str
) -> None:
    storage = MinariStorage.read(store(tmp_path, data_format))
    space = OBSERVATIONS if kind == "another length" else ACTIONS
    other = store(
        tmp_path / "other", data_format, [draw_truth(space, ACTIONS, 9 if space is OBSERVATIONS else 40)], space
    )
    list(storage.get_episodes(range(4)))
    shutil.copy(other / "0" / f"part-0.{data_format}", storage.data_path / "2")
    message = "has 10 rows, expected 41" if kind == "another length" else "Episode 2 has no 'observations/"
    for opened in (storage, MinariStorage.read(storage.data_path)):
        with pytest.raises(DatasetCorruptError, match=message):
            list(opened.get_episodes([1, 2]))
        assert [episode["id"] for episode in opened.get_episodes([3, 0, 1])] == [3, 0, 1]
