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

from minari._storages.hdf5.format.btree import MemberTable, find_table
from minari._storages.hdf5.format.objects import group_messages, object_header
from minari._storages.hdf5.format.superblock import read_superblock
from support.hdf5_files import BytesFile, new_file


def make_file(path: Path, library: str) -> None:
    """An empty file, of ours or as HDF5 makes it in one of its versions."""
    if library == "ours":
        new_file(path)
        return
    h5py.File(path, "w", libver="earliest").close()
    if library == "narrow":  # with two members in a leaf and four children in a node, so of many levels
        BytesFile(path).write_at(16, memoryview(struct.pack("<HH", 1, 2)))


def add_ours(path: Path, names: Iterable[str]) -> None:
    """Add empty groups."""
    file, names = BytesFile(path), list(names)
    superblock = read_superblock(file.read_at(0, 200))
    header, _ = object_header(group_messages())
    start = -(-max(superblock.end, path.stat().st_size) // 8) * 8
    addresses = [start + number * len(header) for number in range(len(names))]
    file.write_at(start, memoryview(header * len(names)))
    table = find_table(file, superblock.root)
    assert table is not None
    members = MemberTable(file, table, start + len(header) * len(names), superblock.leaf_k, superblock.node_k)
    file.write_at(0, memoryview(superblock.with_end(members.add(names, addresses))))


def add_theirs(path: Path, names: Iterable[str]) -> None:
    with h5py.File(path, "r+") as file:
        for name in names:
            file.create_group(name)


def remove_theirs(path: Path, names: Iterable[str]) -> None:
    with h5py.File(path, "r+") as file:
        for name in names:
            del file[name]


def assert_members(path: Path, names: Iterable[str]) -> None:
    with h5py.File(path) as file:
        assert list(file) == sorted(names, key=str.encode)
        for name in names:
            assert isinstance(file[name], h5py.Group), name
        assert file.get("not there") is None


NUMBERED = st.integers(1, 60).map(lambda count: [f"episode_{number}" for number in range(count)])
NAMES = st.one_of(st.lists(st.text("abyz_0", min_size=1, max_size=12), unique=True, max_size=80), NUMBERED)
CHANGES = st.lists(st.tuples(st.sampled_from(["ours", "theirs", "remove"]), NAMES), max_size=6)


@pytest.mark.parametrize("library", ["ours", "usual", "narrow"])
@given(changes=CHANGES)
def test_together_with_hdf5(tmp_path_factory: Any, library: str, changes: list[tuple[str, list[str]]]) -> None:
    """Members that we and HDF5 add and remove in turn are all there, in order, and found by name."""
    path = tmp_path_factory.mktemp("members") / "file.h5"
    make_file(path, library)
    there: set[str] = set()
    for who, names in changes:
        if who == "remove":
            gone = there & set(names)
            remove_theirs(path, gone)
            there -= gone
        else:
            new = [name for name in names if name not in there]
            if new:
                (add_ours if who == "ours" else add_theirs)(path, new)
            there |= set(new)
        assert_members(path, there)


@pytest.mark.parametrize("library", ["ours", "usual", "narrow"])
def test_many(tmp_path: Path, library: str) -> None:
    """As many as make the tree of several levels, added at once, in large and in small portions."""
    path = tmp_path / "file.h5"
    make_file(path, library)
    names = [f"episode_{number}" for number in range(3000)]
    for begin, end in [(0, 1000), (1000, 1001), (1001, 1100), (1100, 2990), *((n, n + 1) for n in range(2990, 3000))]:
        add_ours(path, names[begin:end])
    assert_members(path, names)
    add_theirs(path, ["episode_1x", "a", "z"])
    assert_members(path, [*names, "episode_1x", "a", "z"])


def test_a_group_of_the_other_kind(tmp_path: Path) -> None:
    """Groups as newer versions of HDF5 make them have no such table."""
    path = tmp_path / "file.h5"
    h5py.File(path, "w", libver="latest").close()
    file = BytesFile(path)
    assert find_table(file, read_superblock(file.read_at(0, 200)).root) is None


def test_names_are_moved_seldom(tmp_path: Path) -> None:
    """The heap doubles when it is full, so that the file does not grow with the square of its members."""
    path = tmp_path / "file.h5"
    make_file(path, "ours")
    for number in range(500):
        add_ours(path, [f"episode_{number}"])
    assert_members(path, [f"episode_{number}" for number in range(500)])
    assert path.stat().st_size < 500 * 300
