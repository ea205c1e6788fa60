"""Files that are read at offsets, whatever others do to them meanwhile."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from minari._base.data_file import DataFile
from minari.errors import UnsafePathError


SIZE = 70_001
CONTENT = np.random.default_rng(0).bytes(SIZE)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "file").write_bytes(CONTENT)
    return tmp_path / "file"


PLACES = st.lists(st.tuples(st.integers(0, SIZE), st.integers(0, 3000) | st.just(40_000)), max_size=12)


@given(places=PLACES)
def test_bytes_and_arrays_are_read_anywhere(
    tmp_path_factory: pytest.TempPathFactory, places: list[tuple[int, int]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "content of a data file"
    path.write_bytes(CONTENT)
    with DataFile(path) as file:
        assert file.size == SIZE
        for offset, size in places:
            assert file.read_at(offset, size) == CONTENT[offset : offset + size]
        inside = [(offset, np.empty(min(size, SIZE - offset), np.uint8)) for offset, size in places]
        file.read_arrays(inside)
        for offset, array in inside:
            assert array.tobytes() == CONTENT[offset : offset + array.nbytes]


@pytest.mark.parametrize("dtype", ["<f8", ">i4", "?", "<c16", "<f2"])
def test_arrays_of_any_kind_are_filled(path: Path, dtype: str) -> None:
    arrays = [(at, np.empty(shape, dtype)) for at, shape in ((8, (3, 2)), (3000, ()), (56, (0, 7)), (3020, (5,)))]
    with DataFile(path) as file:
        file.read_arrays(arrays)
    for offset, array in arrays:
        assert array.tobytes() == CONTENT[offset : offset + array.nbytes]
        assert array.flags.writeable
        assert array.flags.owndata


def test_more_pieces_than_one_call_takes_are_read(path: Path) -> None:
    arrays = [(offset, np.empty(9, np.uint8)) for offset in range(0, 60_000, 10)]
    with DataFile(path) as file:
        file.read_arrays(reversed(arrays))
    assert all(array.tobytes() == CONTENT[offset : offset + 9] for offset, array in arrays)


def test_nothing_is_read_beyond_the_end(path: Path) -> None:
    with DataFile(path) as file:
        for offset, size in ((-1, 1), (0, SIZE + 1), (SIZE, 1), (SIZE - 1, 2), (2**62, 8)):
            with pytest.raises(ValueError, match=f"of {SIZE}"):
                file.read_arrays([(0, np.empty(4)), (offset, np.empty(size, np.uint8))])
        assert file.read_at(SIZE - 3, 2**62) == CONTENT[-3:]
        assert file.read_at(SIZE, 5) == file.read_at(5, -1) == b""
        for offset in (-1, SIZE + 1, 2**70):
            with pytest.raises(ValueError, match=f"of {SIZE}"):
                file.read_at(offset, 1)


def test_a_file_that_is_cut_while_it_is_open_is_told(path: Path) -> None:
    with DataFile(path) as file:
        os.truncate(path, 1000)
        array = np.empty(500, np.uint8)
        file.read_arrays([(400, array)])
        assert array.tobytes() == CONTENT[400:900]
        for offset in (900, 2000):
            with pytest.raises(ValueError, match="no longer exist"):
                file.read_arrays([(offset, np.empty(500, np.uint8))])
        assert file.read_at(900, 500) == CONTENT[900:1000]
        assert file.read_at(2000, 500) == b""


@pytest.mark.skipif(not hasattr(os, "preadv"), reason="the system reads otherwise")
def test_reads_that_give_less_than_was_asked_for_go_on(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As those of more than 2 GiB do."""
    read = os.preadv

    def little(descriptor: int, pieces: list[np.ndarray], offset: int) -> int:
        return read(descriptor, [pieces[0].reshape(-1).view(np.uint8)[:7]], offset)

    monkeypatch.setattr(os, "preadv", little)
    arrays = [(offset, np.empty(20, ">i2")) for offset in range(0, 800, 40)]
    with DataFile(path) as file:
        file.read_arrays(arrays)
    assert all(array.tobytes() == CONTENT[offset : offset + 40] for offset, array in arrays)


@pytest.mark.skipif(os.name != "posix", reason="other systems have no FIFOs, and links need rights")
def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "link").symlink_to("../file")
    (tmp_path / "file").write_bytes(b"secret")
    for name in ("fifo", "inside/link"):
        with pytest.raises(UnsafePathError):
            DataFile(tmp_path / name)
