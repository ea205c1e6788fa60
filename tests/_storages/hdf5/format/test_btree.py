"""The table of members of a group, against what HDF5 finds in it and adds to it."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import h5py
import hypothesis.strategies as st
import pytest
from hypothesis import given

from minari._storages.hdf5.format.btree import empty_group, find_table
from minari._storages.hdf5.format.objects import UNDEFINED, group_messages, object_header
from support.hdf5_files import BytesFile, add_members, new_file, superblock_of


#: Who made the file: ourselves, HDF5, and HDF5 with two members in a leaf and four children in a node, so of many
#: levels; version 1 of the superblock is that of files with chunk trees of an unusual size.
LIBRARIES = ["ours", "usual", "narrow", "version 1"]


def make_file(path: Path, library: str) -> None:
    if library == "ours":
        new_file(path)
    elif library == "version 1":
        root = 104
        group = empty_group(root)
        content = struct.pack("<8s8BHHIHH", b"\x89HDF\r\n\x1a\n", 1, 0, 0, 0, 0, 8, 8, 0, 1, 2, 0, 32, 0)
        content += struct.pack("<QQQQ", 0, UNDEFINED, root + len(group), UNDEFINED)
        path.write_bytes((content + struct.pack("<QQII16x", 0, root, 0, 0)).ljust(root, b"\0") + group)
    else:
        h5py.File(path, "w", libver="earliest").close()
        if library == "narrow":
            BytesFile(path).write_at(16, memoryview(struct.pack("<HH", 1, 2)))


def add_ours(path: Path, names: Iterable[str]) -> None:
    """Add empty groups."""
    names = list(names)
    header, _ = object_header(group_messages())
    start = -(-max(superblock_of(path).end, path.stat().st_size) // 8) * 8
    BytesFile(path).write_at(start, memoryview(header * len(names)))
    addresses = [start + number * len(header) for number in range(len(names))]
    add_members(path, names, addresses, start + len(header) * len(names))


def assert_members(path: Path, names: Iterable[str]) -> None:
    with h5py.File(path) as file:
        assert list(file) == sorted(names, key=str.encode)
        assert all(isinstance(file[name], h5py.Group) for name in names)
        assert file.get("not there") is None


NUMBERED = st.integers(1, 60).map(lambda count: [f"episode_{number}" for number in range(count)])
NAMES = st.one_of(st.lists(st.text("abyz_0", min_size=1, max_size=12), unique=True, max_size=80), NUMBERED)
CHANGES = st.lists(st.tuples(st.sampled_from(["ours", "theirs", "remove"]), NAMES), max_size=6)


@pytest.mark.parametrize("library", LIBRARIES)
@given(changes=CHANGES)
def test_members_are_added_and_removed_in_turn_with_hdf5(tmp_path_factory: Any, library: str, changes: Any) -> None:
    path = tmp_path_factory.mktemp("members") / "file.h5"
    make_file(path, library)
    there: set[str] = set()
    for who, names in changes:
        new, gone = set(names) - there, there & set(names)
        if who == "ours" and new:
            add_ours(path, [name for name in names if name in new])
        with h5py.File(path, "r+") as file:
            for name in new if who == "theirs" else ():
                file.create_group(name)
            for name in gone if who == "remove" else ():
                del file[name]
        there = there - gone if who == "remove" else there | new
        assert_members(path, there)


@pytest.mark.parametrize("library", LIBRARIES)
def test_thousands_of_members_are_added_in_large_and_small_portions(tmp_path: Path, library: str) -> None:
    path = tmp_path / "file.h5"
    make_file(path, library)
    names = [f"episode_{number}" for number in range(3000)]
    for begin, end in [(0, 1000), (1000, 1001), (1001, 1100), (1100, 2990), *((n, n + 1) for n in range(2990, 3000))]:
        add_ours(path, names[begin:end])
    assert_members(path, names)
    with h5py.File(path, "r+") as file:
        for name in ("episode_1x", "a", "z"):
            file.create_group(name)
    assert_members(path, [*names, "episode_1x", "a", "z"])


def test_groups_of_newer_versions_have_no_table(tmp_path: Path) -> None:
    path = tmp_path / "file.h5"
    h5py.File(path, "w", libver="latest").close()
    assert find_table(BytesFile(path), superblock_of(path).root) is None


def test_heap_of_names_doubles_so_that_the_file_grows_linearly(tmp_path: Path) -> None:
    path = new_file(tmp_path / "file.h5")
    for number in range(500):
        add_ours(path, [f"episode_{number}"])
    assert_members(path, [f"episode_{number}" for number in range(500)])
    assert path.stat().st_size < 500 * 300
