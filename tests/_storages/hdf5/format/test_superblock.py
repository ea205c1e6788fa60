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

from minari._storages.hdf5.format.btree import LEAF_K, NODE_K
from minari._storages.hdf5.format.checksum import checksum
from minari._storages.hdf5.format.superblock import (
    NEW_SUPERBLOCK_SIZE,
    SUPERBLOCK_SIZE,
    new_superblock,
    read_superblock,
)
from minari.dataset.minari_storage import MinariStorage
from minari.errors import DatasetCorruptError
from minari.testing.examples import as_buffer, draw_truth
from support.hdf5_files import BytesFile, new_file, run_tool, superblock_of
from support.stored import assert_holds, store


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


@pytest.mark.parametrize("library", VERSIONS)
def test_superblock_of_each_version_is_read(tmp_path: Path, library: str) -> None:
    path = written_by_hdf5(tmp_path / "file.h5", library)
    superblock, content = superblock_of(path), path.read_bytes()
    assert (content[8], len(content)) == (VERSIONS[library], superblock.end)
    assert superblock.with_end(superblock.end) == superblock.data == content[: len(superblock.data)]
    assert (superblock.leaf_k, superblock.node_k) == (LEAF_K, NODE_K) == (4, 16)
    with h5py.File(path, "r+", libver=(library, "latest"), locking=False) as file:
        assert h5py.h5o.get_info(file.id).addr == superblock.root
        file.attrs["x"] = 1
        file.flush()
        assert superblock_of(path).in_use == (VERSIONS[library] == 3), "the mark of a file that is being written"
        if VERSIONS[library] == 3:
            file.swmr_mode = True
            assert superblock_of(path).in_use
    assert not superblock_of(path).in_use


@pytest.mark.parametrize("library", [*VERSIONS, "ours"])
def test_hdf5_takes_the_file_to_end_where_it_is_told(tmp_path: Path, library: str) -> None:
    path = new_file(tmp_path / "file.h5") if library == "ours" else written_by_hdf5(tmp_path / "file.h5", library)
    superblock, size = superblock_of(path), path.stat().st_size
    assert superblock.end == size
    assert library != "ours" or len(superblock.data) == NEW_SUPERBLOCK_SIZE == superblock.root
    BytesFile(path).write_at(0, memoryview(superblock.with_end(size + 4096)))
    with pytest.raises(OSError, match="truncated"):
        h5py.File(path)
    BytesFile(path).write_at(size, memoryview(b"x" * 4096))
    with h5py.File(path, "r+") as file:
        assert library == "ours" or np.array_equal(file["numbers"][()], NUMBERS)
        file["more"] = NUMBERS
        assert file["more"].id.get_offset() >= size + 4096
    assert superblock_of(path).end == path.stat().st_size > size + 4096
    assert path.read_bytes()[size : size + 4096] == b"x" * 4096


@pytest.mark.parametrize("library", ["v108", "latest"])
def test_checksum_is_that_of_hdf5(tmp_path: Path, library: str) -> None:
    assert (checksum(b""), checksum(b"Four score and seven years ago")) == (0xDEADBEEF, 0x17770551)  # by its author
    path = written_by_hdf5(tmp_path / "file.h5", library)
    data, superblock = path.read_bytes(), superblock_of(path)
    assert struct.unpack_from("<I", data, 44) == (checksum(data[:44]),)
    for end in (len(data) + 2**20, 2**40 + 123, 2**63 - 8):
        start = superblock.with_end(end)
        for complaint, given_start in (("truncated", start), ("checksum", start[:-1] + bytes([start[-1] ^ 1]))):
            path.write_bytes(given_start + data[48:])
            with pytest.raises(OSError, match=complaint):
                h5py.File(path)


# Files that cannot be extended


def refusal(content: bytes) -> str:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the caller looks at what it says)
        read_superblock(content[:SUPERBLOCK_SIZE])
    return str(caught.value)


@pytest.mark.parametrize("content", [b"", b"hello", b"{}" * 99, bytes(200), b"\x89HDF\r\n\x1a\n" + b"\0" * 30])
def test_other_files_are_refused(content: bytes) -> None:
    assert refusal(content) == "it is cut off, damaged or another kind of file"


@pytest.mark.parametrize("version", [4, 7, 255])
def test_versions_of_the_future_are_refused(version: int) -> None:
    data = bytearray(new_superblock(48, 800))
    data[8] = version
    assert f"superblock version {version}" in refusal(bytes(data))


LOWEST = {"earliest": h5py.h5f.LIBVER_EARLIEST, "v108": h5py.h5f.LIBVER_V18, "latest": h5py.h5f.LIBVER_LATEST}


@pytest.mark.parametrize("library", LOWEST)
def test_superblocks_that_are_cut_or_unusual_are_refused(tmp_path: Path, library: str) -> None:
    content = written_by_hdf5(tmp_path / "file.h5", library).read_bytes()
    needed = len(superblock_of(tmp_path / "file.h5").data)
    assert all(refusal(content[:length]) for length in range(needed))
    read_superblock(content[:needed])
    content = written_by_hdf5(tmp_path / "user.h5", library, userblock_size=512).read_bytes()
    assert "another kind of file" in refusal(content)
    assert "a user block" in refusal(content[512:])
    if library != "v108":
        content = written_by_hdf5(tmp_path / "pages.h5", library, fs_strategy="page").read_bytes()
        assert "an extension" in refusal(content)
    creation, access = h5py.h5p.create(h5py.h5p.FILE_CREATE), h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    creation.set_sizes(4, 4)
    access.set_libver_bounds(LOWEST[library], h5py.h5f.LIBVER_LATEST)
    h5py.h5f.create(bytes(tmp_path / "small.h5"), h5py.h5f.ACC_TRUNC, creation, access).close()
    content = (tmp_path / "small.h5").read_bytes().ljust(SUPERBLOCK_SIZE, b"\0")
    assert "unusual size of addresses" in refusal(content)


@given(content=st.binary(max_size=60), version=st.integers(0, 4))
def test_any_bytes_are_a_superblock_or_refused(content: bytes, version: int) -> None:
    for start in (content, b"\x89HDF\r\n\x1a\n" + bytes([version]) + content.ljust(SUPERBLOCK_SIZE - 9, b"\0")):
        try:
            superblock = read_superblock(start)
        except ValueError:
            continue
        changed = read_superblock(superblock.with_end(123))
        assert (changed.end, changed.root, changed.in_use) == (123, superblock.root, superblock.in_use)


def test_mark_of_a_written_file_is_taken_away_by_its_tool_and_unknown_to_version_2(tmp_path: Path) -> None:
    path = new_file(tmp_path / "file.h5")
    with h5py.File(path, "r+", locking=False) as file:
        file["numbers"] = NUMBERS
        file.flush()
        left = path.read_bytes()
    path.write_bytes(left)
    assert superblock_of(path).in_use
    data = bytearray(written_by_hdf5(tmp_path / "old.h5", "v108").read_bytes())
    data[11] = 1
    assert not read_superblock(bytes(data[:SUPERBLOCK_SIZE])).in_use
    run_tool("h5clear", "--status", path)
    assert not superblock_of(path).in_use
    with h5py.File(path) as file:
        assert list(file) == ["numbers"]


# Datasets in such files

SPACE = spaces.Box(-1.0, 1.0, (2,), np.float32)
TRUTHS = [draw_truth(SPACE, SPACE, steps, steps) for steps in (2, 5)]


@pytest.mark.parametrize("options", [{"userblock_size": 512}, {"fs_strategy": "page"}], ids=" ".join)
def test_dataset_in_an_unusual_file_is_read_and_not_extended(tmp_path: Path, options: dict[str, Any]) -> None:
    file = store(tmp_path, truths=TRUTHS, observation_space=SPACE, action_space=SPACE) / "main_data.hdf5"
    with h5py.File(file) as source, h5py.File(tmp_path / "copy.h5", "w", **options) as copy:
        for name in source:
            source.copy(name, copy)
        for name, chunks in {"rewards": (5,), "observations": (2, 1)}.items():
            del copy[f"episode_1/{name}"]
            copy["episode_1"].create_dataset(name, data=source[f"episode_1/{name}"][:], chunks=chunks)
    (tmp_path / "copy.h5").replace(file)
    content = file.read_bytes()
    for _ in range(2):
        assert_holds(file.parent, TRUTHS, SPACE, SPACE)
    refusal = r"main_data\.hdf5 (cannot be read as HDF5|is laid out in a way that cannot be extended).*h5repack first"
    with pytest.raises(DatasetCorruptError, match=refusal):
        MinariStorage.read(file.parent).update_episodes([as_buffer(TRUTHS[0])])
    assert file.read_bytes() == content


@pytest.mark.parametrize("missing", [1, 100, 2000])
def test_file_that_was_cut_off_is_not_extended(tmp_path: Path, missing: int) -> None:
    """This would make it look complete."""
    storage = MinariStorage.read(store(tmp_path, truths=TRUTHS, observation_space=SPACE, action_space=SPACE))
    file = storage.data_path / "main_data.hdf5"
    content = file.read_bytes()[:-missing]
    file.write_bytes(content)
    with pytest.raises(DatasetCorruptError, match="cut off"):
        storage.update_episodes([as_buffer(TRUTHS[0])])
    assert file.read_bytes() == content
