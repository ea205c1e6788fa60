"""The first bytes of HDF5 files of every version, and files that are no such files."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import h5py
import hypothesis.strategies as st
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given

from minari._storages.hdf5.format.btree import LEAF_K, NODE_K, MemberTable, empty_group, find_table
from minari._storages.hdf5.format.checksum import checksum
from minari._storages.hdf5.format.objects import UNDEFINED, group_messages, object_header
from minari._storages.hdf5.format.superblock import (
    NEW_SUPERBLOCK_SIZE,
    SUPERBLOCK_SIZE,
    new_superblock,
    read_superblock,
)
from minari.dataset.minari_storage import MinariStorage
from minari.errors import DatasetCorruptError
from minari.spaces import EpisodeColumns
from minari.testing.comparison import assert_episode
from minari.testing.examples import as_buffer, draw_truth
from support.hdf5_files import BytesFile, new_file, run_tool, steps_of, write_episodes


#: What h5py calls the versions of HDF5, and which version of the superblock each writes.
VERSIONS = {"earliest": 0, "v108": 2, "v110": 3, "v112": 3, "v114": 3, "v200": 3, "latest": 3}

NUMBERS = np.arange(7.0)


def written_by_hdf5(path: Path, library: str, **options: Any) -> Path:
    try:
        file = h5py.File(path, "w", libver=(library, "latest"), **options)
    except (ValueError, KeyError):
        pytest.skip(f"this version of h5py does not know {library!r}")
    with file:
        file["numbers"] = NUMBERS
        file.create_group("group")
    return path


def superblock_of(path: Path) -> Any:
    with path.open("rb") as file:
        return read_superblock(file.read(SUPERBLOCK_SIZE))


@pytest.mark.parametrize("library", VERSIONS)
def test_read(tmp_path: Path, library: str) -> None:
    path = written_by_hdf5(tmp_path / "file.h5", library)
    superblock = superblock_of(path)
    assert path.read_bytes()[8] == VERSIONS[library]
    assert superblock.end == path.stat().st_size
    assert superblock.with_end(superblock.end) == superblock.data == path.read_bytes()[: len(superblock.data)]
    assert (superblock.leaf_k, superblock.node_k) == (LEAF_K, NODE_K) == (4, 16)
    assert not superblock.in_use
    with h5py.File(path) as file:
        assert h5py.h5o.get_info(file.id).addr == superblock.root


@pytest.mark.parametrize("library", VERSIONS)
def test_another_end(tmp_path: Path, library: str) -> None:
    """HDF5 takes the file to end there: it finds all of it, writes beyond, and notices where it is too short."""
    path = written_by_hdf5(tmp_path / "file.h5", library)
    superblock, size = superblock_of(path), path.stat().st_size
    end = size + 4096
    BytesFile(path).write_at(0, memoryview(superblock.with_end(end)))
    with pytest.raises(OSError, match="truncated"):
        h5py.File(path)
    BytesFile(path).write_at(size, memoryview(b"x" * 4096))
    with h5py.File(path, "r+") as file:
        assert np.array_equal(file["numbers"][()], NUMBERS)
        file["more"] = NUMBERS
        assert file["more"].id.get_offset() >= end
    assert superblock_of(path).end == path.stat().st_size > end
    assert path.read_bytes()[size:end] == b"x" * 4096


def test_our_own(tmp_path: Path) -> None:
    path = new_file(tmp_path / "file.h5")
    superblock = superblock_of(path)
    assert len(superblock.data) == NEW_SUPERBLOCK_SIZE == superblock.root
    assert superblock.end == path.stat().st_size
    with h5py.File(path, "r+") as file:
        assert len(file) == 0
        file["numbers"] = NUMBERS
    with h5py.File(path) as file:
        assert np.array_equal(file["numbers"][()], NUMBERS)


def test_version_1(tmp_path: Path) -> None:
    """HDF5 writes an extension for chunk trees of an unusual size, here with small leaves and nodes too."""
    path, root = tmp_path / "file.h5", 104
    content = struct.pack("<8s8BHHIHH", b"\x89HDF\r\n\x1a\n", 1, 0, 0, 0, 0, 8, 8, 0, 1, 2, 0, 32, 0)
    group = empty_group(root)
    content += struct.pack("<QQQQ", 0, UNDEFINED, root + len(group), UNDEFINED) + struct.pack("<QQII16x", 0, root, 0, 0)
    path.write_bytes(content.ljust(root, b"\0") + group)
    superblock = superblock_of(path)
    assert (superblock.root, superblock.leaf_k, superblock.node_k) == (root, 1, 2)
    assert (superblock.end, superblock.in_use) == (path.stat().st_size, False)
    members, file = [f"m{number}" for number in range(60)], BytesFile(path)
    header, _ = object_header(group_messages())
    file.write_at(superblock.end, memoryview(header))
    table = find_table(file, root)
    assert table is not None
    table_of_members = MemberTable(file, table, superblock.end + len(header), superblock.leaf_k, superblock.node_k)
    end = table_of_members.add(members, [superblock.end] * len(members))
    file.write_at(0, memoryview(superblock.with_end(end)))
    with h5py.File(path, "r+") as opened:
        assert list(opened) == sorted(members)
        opened.create_group("another")
    with h5py.File(path) as opened:
        assert list(opened) == sorted([*members, "another"])


@pytest.mark.parametrize("library", ["v108", "latest"])
def test_checksum(tmp_path: Path, library: str) -> None:
    """HDF5 refuses what has another than it computes itself, and we compute the same."""
    data = written_by_hdf5(tmp_path / "file.h5", library).read_bytes()
    assert struct.unpack_from("<I", data, 44) == (checksum(data[:44]),)
    path = tmp_path / "other.h5"
    for end in (len(data) + 2**20, 2**40 + 123, 2**63 - 8):
        start = superblock_of(tmp_path / "file.h5").with_end(end)
        for complaint, superblock in (("truncated", start), ("checksum", start[:-1] + bytes([start[-1] ^ 1]))):
            path.write_bytes(superblock + data[48:])
            with pytest.raises(OSError, match=complaint):
                h5py.File(path)


def test_checksums_of_the_function() -> None:
    """As its author gives them."""
    assert checksum(b"") == 0xDEADBEEF
    assert checksum(b"Four score and seven years ago") == 0x17770551


# Files that cannot be extended


def refusal(content: bytes) -> str:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the caller looks at what it says)
        read_superblock(content[:SUPERBLOCK_SIZE])
    return str(caught.value)


@pytest.mark.parametrize("content", [b"", b"hello", b"{}" * 99, bytes(200), b"\x89HDF\r\n\x1a\n" + b"\0" * 30])
def test_no_hdf5(content: bytes) -> None:
    assert refusal(content) == "it is cut off, damaged or another kind of file"


@pytest.mark.parametrize("library", ["earliest", "v108", "latest"])
def test_cut_off(tmp_path: Path, library: str) -> None:
    """Anywhere in the superblock."""
    path = written_by_hdf5(tmp_path / "file.h5", library)
    content, needed = path.read_bytes(), len(superblock_of(path).data)
    for length in range(needed):
        assert refusal(content[:length])
    read_superblock(content[:needed])


@pytest.mark.parametrize("library", ["earliest", "latest"])
def test_user_block(tmp_path: Path, library: str) -> None:
    path = written_by_hdf5(tmp_path / "file.h5", library, userblock_size=512)
    assert "another kind of file" in refusal(path.read_bytes())
    assert "a user block" in refusal(path.read_bytes()[512:])


@pytest.mark.parametrize("library", ["earliest", "latest"])
def test_extension(tmp_path: Path, library: str) -> None:
    """Of which a file in pages has one."""
    path = written_by_hdf5(tmp_path / "file.h5", library, fs_strategy="page")
    assert "an extension" in refusal(path.read_bytes())


@pytest.mark.parametrize("library", ["earliest", "v108", "latest"])
def test_small_addresses(tmp_path: Path, library: str) -> None:
    creation, access = h5py.h5p.create(h5py.h5p.FILE_CREATE), h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    creation.set_sizes(4, 4)
    lowest = {"earliest": h5py.h5f.LIBVER_EARLIEST, "v108": h5py.h5f.LIBVER_V18, "latest": h5py.h5f.LIBVER_LATEST}
    access.set_libver_bounds(lowest[library], h5py.h5f.LIBVER_LATEST)
    h5py.h5f.create(bytes(tmp_path / "file.h5"), h5py.h5f.ACC_TRUNC, creation, access).close()
    content = (tmp_path / "file.h5").read_bytes().ljust(SUPERBLOCK_SIZE, b"\0")
    assert "unusual size of addresses" in refusal(content)


@pytest.mark.parametrize("version", [4, 7, 255])
def test_version_of_the_future(version: int) -> None:
    data = bytearray(new_superblock(48, 800))
    data[8] = version
    assert f"superblock version {version}" in refusal(bytes(data))


@given(content=st.binary(max_size=60), version=st.integers(0, 4))
def test_anything_else(content: bytes, version: int) -> None:
    """A superblock that can be given another end, or the error that is announced."""
    for start in (content, b"\x89HDF\r\n\x1a\n" + bytes([version]) + content.ljust(SUPERBLOCK_SIZE - 9, b"\0")):
        try:
            superblock = read_superblock(start)
        except ValueError:
            continue
        changed = read_superblock(superblock.with_end(123))
        assert (changed.end, changed.root, changed.in_use) == (123, superblock.root, superblock.in_use)


# The mark of a file that is being written


@pytest.mark.parametrize("library", VERSIONS)
def test_in_use(tmp_path: Path, library: str) -> None:
    """Marked by HDF5 while it writes, in files that can be read meanwhile; closing takes it back."""
    path = written_by_hdf5(tmp_path / "file.h5", library)
    with h5py.File(path, "r+", libver=(library, "latest"), locking=False) as file:
        file.attrs["x"] = 1
        file.flush()
        assert superblock_of(path).in_use == (VERSIONS[library] == 3)
        if VERSIONS[library] == 3:
            file.swmr_mode = True
            assert superblock_of(path).in_use
    assert not superblock_of(path).in_use


def test_the_mark_is_taken_away_by_its_tool(tmp_path: Path) -> None:
    path = new_file(tmp_path / "file.h5")
    write_episodes(path, {0: EpisodeColumns(2, steps_of(2))})
    with h5py.File(path, "r+", locking=False) as file:
        file.flush()
        left = path.read_bytes()
    path.write_bytes(left)
    assert superblock_of(path).in_use
    run_tool("h5clear", "--status", path)
    assert not superblock_of(path).in_use
    with h5py.File(path) as file:
        assert list(file) == ["episode_0"]


def test_version_2_has_no_mark(tmp_path: Path) -> None:
    """Any bytes in its place are rejected."""
    data = bytearray(written_by_hdf5(tmp_path / "file.h5", "v108").read_bytes())
    data[11] = 1
    assert not read_superblock(bytes(data[:SUPERBLOCK_SIZE])).in_use


# Datasets in such files

SPACE = spaces.Box(-1.0, 1.0, (2,), np.float32)
TRUTHS = [draw_truth(SPACE, SPACE, steps, steps) for steps in (2, 5)]


def stored(directory: Path) -> MinariStorage:
    storage = MinariStorage.new(directory / "data", SPACE, SPACE)
    storage.update_episodes(as_buffer(truth, seed=3) for truth in TRUTHS)
    return storage


@pytest.mark.parametrize(
    "options", [{"userblock_size": 512}, {"fs_strategy": "page"}], ids=lambda options: " ".join(options)
)
def test_a_dataset_in_an_unusual_file(tmp_path: Path, options: dict[str, Any]) -> None:
    """Is read, and not extended."""
    file = stored(tmp_path).data_path / "main_data.hdf5"
    with h5py.File(file) as source, h5py.File(tmp_path / "copy.h5", "w", **options) as copy:
        for name in source:
            source.copy(name, copy)
        chunked = source["episode_1/rewards"][:]
        del copy["episode_1/rewards"]
        copy["episode_1"].create_dataset("rewards", data=chunked, chunks=chunked.shape)
        observations = source["episode_1/observations"][:]
        del copy["episode_1/observations"]
        copy["episode_1"].create_dataset("observations", data=observations, chunks=(2, 1))
    (tmp_path / "copy.h5").replace(file)
    content = file.read_bytes()
    for _ in range(2):
        storage = MinariStorage.read(file.parent)
        for episode, truth in zip(storage.get_episodes([0, 1]), TRUTHS, strict=True):
            assert_episode(episode, SPACE, SPACE, truth)
        assert [metadata["seed"] for metadata in storage.get_episode_metadata([0, 1])] == [3, 3]
    refusal = r"main_data\.hdf5 (cannot be read as HDF5|is laid out in a way that cannot be extended).*h5repack first"
    with pytest.raises(DatasetCorruptError, match=refusal):
        storage.update_episodes([as_buffer(TRUTHS[0])])
    assert file.read_bytes() == content


@pytest.mark.parametrize("missing", [1, 100, 2000])
def test_a_file_that_was_cut_off_is_not_extended(tmp_path: Path, missing: int) -> None:
    """This would make it look complete; an open storage has seen the mark."""
    storage = stored(tmp_path)
    file = storage.data_path / "main_data.hdf5"
    content = file.read_bytes()[:-missing]
    file.write_bytes(content)
    with pytest.raises(DatasetCorruptError, match="cut off"):
        storage.update_episodes([as_buffer(TRUTHS[0])])
    assert file.read_bytes() == content
