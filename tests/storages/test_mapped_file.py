"""Arrays over a file through a map of it, or through maps of parts where the process may not map it all."""

from __future__ import annotations

import errno
import gc
import mmap
import os
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import example, given

from minari.dataset._storages import mapped_file
from minari.dataset._storages.mapped_file import MappedFile


GRAIN = mmap.ALLOCATIONGRANULARITY
SIZE = 20 * GRAIN + 77
CONTENT = np.random.default_rng(0).bytes(SIZE)
BYTE = np.dtype(np.uint8)

#: What a process may map at a time that is short of address space, and the window it gets then.
MOST, WINDOW = 8 * GRAIN, 2 * GRAIN


@contextmanager
def maps(refuse: Callable[[int], bool] = lambda _: False) -> Iterator[list[int]]:
    """The sizes of the maps of files that are made meanwhile; those that are refused are not."""
    made: list[int] = []
    make = mmap.mmap

    def counted(file: int, size: int, *args: Any, **more: Any) -> mmap.mmap:
        if file != -1 and refuse(size):
            raise OSError(errno.ENOMEM, "no address space")
        made.extend([size] if file != -1 else [])
        return make(file, size, *args, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mmap, "mmap", counted)
        yield made


@pytest.fixture(params=["whole", "in windows"])
def path(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file that may be mapped as a whole, or only in windows."""
    file = tmp_path / "file"
    file.write_bytes(CONTENT)
    is_limited = request.param == "in windows"
    monkeypatch.setattr(mapped_file, "_WINDOW", WINDOW)
    with maps(lambda size: is_limited and size > MOST):
        yield file


def view(mapped: MappedFile, offset: int, size: int) -> np.ndarray:
    return mapped.array(offset, (size,), BYTE)


PLACES = st.lists(st.tuples(st.integers(0, SIZE), st.integers(0, MOST - GRAIN)), max_size=12)


@pytest.mark.parametrize("is_limited", [False, True], ids=["whole", "in windows"])
@given(places=PLACES, resident=st.sampled_from([1, GRAIN, 2**40]))
@example(places=[(SIZE - 1, 1), (0, 1), (20 * GRAIN, 77), (20 * GRAIN - 1, 78)], resident=1)
@example(places=[(GRAIN - 1, 2), (2 * GRAIN - 1, 1), (2 * GRAIN, 1), (0, 1), (10 * GRAIN, 1)], resident=1)
def test_anywhere(tmp_path_factory: Any, is_limited: bool, places: list[tuple[int, int]], resident: int) -> None:
    """In any order, across the borders of windows; all arrays stay as they are, whatever is given back meanwhile."""
    path = tmp_path_factory.getbasetemp() / "content"
    if not path.exists():
        path.write_bytes(CONTENT)
    with maps(lambda size: is_limited and size > MOST), pytest.MonkeyPatch.context() as patch:
        patch.setattr(mapped_file, "_WINDOW", WINDOW)
        patch.setattr(mapped_file, "_RESIDENT", resident)
        mapped, seen = MappedFile(path), []
        assert mapped.size == SIZE
        for offset, size in places:
            expected = CONTENT[offset : offset + size]
            if expected:
                several = mapped.arrays([("a", BYTE, ()), ("b", BYTE, (1,))], [len(expected), offset, 1, offset], size)
                seen += [(view(mapped, offset, len(expected)), expected), (several["a"], expected)]
                seen += [(several["b"], expected[:1])]
            if expected or offset < SIZE:
                assert mapped.read_at(offset, size) == expected
        for array, content in seen:
            assert array.tobytes() == content


@pytest.mark.parametrize("dtype", ["<f8", ">i4", "?", "<c16", "<f2"])
@pytest.mark.parametrize("offset", [0, 8, 3, 5 * GRAIN - 1, 19 * GRAIN + 5])
def test_arrays(path: Path, dtype: str, offset: int) -> None:
    """Of any type and shape, at places that are no multiple of anything, one by one and together."""
    kind, size, mapped = np.dtype(dtype), 24 * np.dtype(dtype).itemsize, MappedFile(path)
    alone = mapped.array(offset, (2, 3, 4), kind)
    leaves = [("x", kind, (3, 4)), (("y", 0), BYTE, ()), ("none", kind, (0, 2))]
    several = mapped.arrays(leaves, [2, offset, 5, 7, 3, 0], size)
    assert list(several) == ["x", ("y", 0), "none"]
    for array in (alone, several["x"]):
        assert (array.shape, array.dtype) == ((2, 3, 4), kind)
        assert array.tobytes() == CONTENT[offset : offset + size]
        assert array.flags.c_contiguous
        assert not array.flags.owndata, "a view"
    assert several["y", 0].tobytes() == CONTENT[7:12]
    assert several["none"].shape == (3, 0, 2)


def test_arrays_without_anything(path: Path) -> None:
    mapped = MappedFile(path)
    for offset in (0, 7 * GRAIN, SIZE - 1):
        for shape in ((0,), (0, 3), (2, 0)):
            assert mapped.array(offset, shape, BYTE).shape == shape
    assert mapped.arrays([], [], 0) == {}
    assert mapped.read_at(5, 0) == mapped.read_at(5, -3) == b""


def test_nobody_writes_into_the_file(path: Path) -> None:
    mapped = MappedFile(path)
    chunked = mapped.array_of_chunks([0, 9], (2, 9), BYTE, (1, 9))
    for array in (view(mapped, 100, 50), mapped.arrays([("x", BYTE, ())], [50, 100], 50)["x"], chunked):
        assert not array.flags.writeable
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    with pytest.raises(ValueError, match="WRITEABLE"):
        view(mapped, 100, 50).flags.writeable = True
    assert path.read_bytes() == CONTENT


# Chunks


@given(
    sides=st.lists(st.tuples(st.integers(1, 7), st.integers(1, 4)), min_size=1, max_size=3),
    dtype=st.sampled_from(["<f8", ">i2", "u1"]),
    seed=st.integers(0, 99),
)
def test_chunks(tmp_path_factory: Any, sides: list[tuple[int, int]], dtype: str, seed: int) -> None:
    """Put together as they were taken apart, those at the edges cut; in any order in the file."""
    path, rng = tmp_path_factory.getbasetemp() / "chunks", np.random.default_rng(seed)
    shape, chunks = tuple(side for side, _ in sides), tuple(chunk for _, chunk in sides)
    whole = rng.integers(0, 99, shape).astype(dtype)
    padded = np.pad(whole, [(0, -side % chunk) for side, chunk in sides], constant_values=77)
    corners = np.ndindex(*(-(-side // chunk) for side, chunk in sides))
    parts = []
    for corner in corners:
        starts = [at * chunk for at, chunk in zip(corner, chunks, strict=True)]
        parts.append(padded[tuple(slice(at, at + chunk) for at, chunk in zip(starts, chunks, strict=True))].tobytes())
    order, offsets, content = rng.permutation(len(parts)), [0] * len(parts), b"before"
    for number in order.tolist():
        offsets[number] = len(content)
        content += parts[number] + b"-"
    path.write_bytes(content)
    found = MappedFile(path).array_of_chunks(offsets, shape, np.dtype(dtype), chunks)
    assert (found.shape, found.dtype, found.tobytes()) == (whole.shape, whole.dtype, whole.tobytes())


def test_chunks_beyond_the_end(path: Path) -> None:
    with pytest.raises(ValueError, match=f"of {SIZE}"):
        MappedFile(path).array_of_chunks([0, SIZE - 4], (4, 2), BYTE, (3, 2))


# How long maps are kept


@pytest.mark.parametrize("is_limited", [False, True], ids=["whole", "in windows"])
def test_maps_are_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_limited: bool) -> None:
    """Of a whole file one; otherwise one more for two places that are read in turn, and few for reading in order."""
    (tmp_path / "file").write_bytes(CONTENT)
    monkeypatch.setattr(mapped_file, "_WINDOW", WINDOW)
    with maps(lambda size: is_limited and size > MOST) as made:
        mapped = MappedFile(tmp_path / "file")
        assert made == [WINDOW if is_limited else SIZE]
        made.clear()
        for _ in range(50):
            view(mapped, 10 * GRAIN, 9)
            view(mapped, 3, 9)
            mapped.read_at(10 * GRAIN + 50, 9)
        assert made == ([WINDOW] if is_limited else [])
        made.clear()
        for offset in range(0, SIZE - 64, 64):
            view(mapped, offset, 64)
        assert len(made) <= (11 if is_limited else 0)


def test_views_outlive_the_file_and_its_windows(path: Path) -> None:
    mapped = MappedFile(path)
    views = [(offset, view(mapped, offset, 300)) for offset in range(0, SIZE - 300, GRAIN // 2)]
    gone = weakref.ref(mapped)
    del mapped
    gc.collect()
    assert gone() is None
    path.unlink()
    for offset, array in views:
        assert array.tobytes() == CONTENT[offset : offset + 300]


def test_windows_are_not_kept(path: Path) -> None:
    """A map goes with its last view; two are kept for reading on."""
    mapped = MappedFile(path)
    arrays = [view(mapped, offset, 9) for offset in range(0, SIZE - 9, GRAIN)]
    is_whole = len({id(array.base) for array in arrays}) == 1
    assert mapped_bytes(path) >= SIZE
    del arrays
    gc.collect()
    assert mapped_bytes(path) <= (SIZE + GRAIN if is_whole else 2 * (WINDOW + GRAIN))
    del mapped
    gc.collect()
    assert mapped_bytes(path) == 0


def mapped_bytes(path: Path) -> int:
    """How much of a file this process has mapped."""
    listed = Path("/proc/self/maps")
    if not listed.exists():
        pytest.skip("/proc tells what is mapped, which is of Linux")
    ranges = [line.split()[0].split("-") for line in listed.read_text().splitlines() if line.endswith(str(path))]
    return sum(int(end, 16) - int(begin, 16) for begin, end in ranges)


def resident_bytes(path: Path) -> int:
    """How much of the maps of a file counts as memory of this process."""
    listed = Path("/proc/self/smaps")
    if not listed.exists():
        pytest.skip("/proc tells what counts as memory, which is of Linux")
    total, is_of_file = 0, False
    for line in listed.read_text().splitlines():
        first = line.split(maxsplit=1)[0]
        if not first.endswith(":"):
            is_of_file = line.endswith(str(path))
        elif first == "Rss:" and is_of_file:
            total += 1024 * int(line.split()[1])
    return total


@pytest.mark.skipif(not hasattr(mmap, "MADV_DONTNEED"), reason="the system cannot be told to take memory back")
def test_memory_is_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was read of a large file does not stay; of a small one it may. Views are good all the same."""
    content, step = np.random.default_rng(1).bytes(16 * 2**20), 2**20
    (tmp_path / "file").write_bytes(content)
    kept = {}
    for resident in (2**21, 2**40):
        monkeypatch.setattr(mapped_file, "_RESIDENT", resident)
        mapped, views = MappedFile(tmp_path / "file"), []
        for offset in range(0, len(content), step):
            views.append(mapped.arrays([("x", BYTE, ())], [step, offset], step)["x"])
            assert views[-1].max() == 255, "every byte was looked at"
        kept[resident] = resident_bytes(tmp_path / "file")
        assert b"".join(views) == content
        del mapped, views
        gc.collect()
    assert kept[2**40] >= len(content)
    assert kept[2**21] < len(content) / 2


# What happens to the file meanwhile


@pytest.mark.skipif(os.name != "posix", reason="other systems do not let go of a file that is mapped")
@pytest.mark.parametrize("change", ["replaced", "deleted", "renamed"])
def test_what_is_at_the_path_later_does_not_matter(path: Path, tmp_path: Path, change: str) -> None:
    """Also for windows that are opened only then."""
    mapped = MappedFile(path)
    first = view(mapped, 5, 20)
    if change == "replaced":
        (tmp_path / "other").write_bytes(bytes(SIZE))
        (tmp_path / "other").replace(path)
    elif change == "deleted":
        path.unlink()
    else:
        path.rename(tmp_path / "elsewhere")
    assert first.tobytes() == CONTENT[5:25]
    for offset in (8 * GRAIN, 15 * GRAIN, 0):
        assert view(mapped, offset, 20).tobytes() == CONTENT[offset : offset + 20]
    assert mapped.size == SIZE


def test_a_file_that_grows(path: Path) -> None:
    """Is as long as it was."""
    mapped = MappedFile(path)
    with path.open("ab") as file:
        file.write(b"more" * GRAIN)
    for beyond in (lambda: view(mapped, SIZE, 4), lambda: mapped.arrays([("x", BYTE, ())], [4, SIZE], 4)):
        with pytest.raises(ValueError, match=f"of {SIZE}"):
            beyond()
    assert mapped.read_at(SIZE - 3, 99) == CONTENT[-3:]


@pytest.mark.parametrize(
    ("offset", "size"), [(-1, 1), (-GRAIN, GRAIN), (0, SIZE + 1), (SIZE, 1), (SIZE - 1, 2), (SIZE + 1, 8), (2**40, 8)]
)
def test_beyond_the_end(path: Path, offset: int, size: int) -> None:
    mapped = MappedFile(path)
    for beyond in (
        lambda: view(mapped, offset, size),
        lambda: mapped.arrays([("before", BYTE, ()), ("x", BYTE, ())], [3, 0, size, offset], size),
    ):
        with pytest.raises(ValueError, match=r"bytes|offset"):
            beyond()
    assert view(mapped, 0, 8).tobytes() == CONTENT[:8], "it can be read from afterwards"


@pytest.mark.parametrize(("offset", "size"), [(SIZE - 7, SIZE), (SIZE - 1, 2), (SIZE - 5, 2**64), (18 * GRAIN, 2**40)])
def test_fewer_bytes_where_the_file_ends(path: Path, offset: int, size: int) -> None:
    assert MappedFile(path).read_at(offset, size) == CONTENT[offset:]


@pytest.mark.parametrize("offset", [-1, SIZE + 1, 2**40, 2**64])
def test_bytes_from_outside(path: Path, offset: int) -> None:
    with pytest.raises(ValueError, match=f"of {SIZE}"):
        MappedFile(path).read_at(offset, 8)


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    mapped = MappedFile(tmp_path / "empty")
    assert mapped.size == 0
    assert mapped.array(0, (0, 3), BYTE).shape == (0, 3)
    assert mapped.read_at(0, 8) == b""
    with pytest.raises(ValueError, match="bytes 0 to 1 of 0"):
        view(mapped, 0, 1)


def test_an_empty_file_has_no_arrays(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    mapped = MappedFile(tmp_path / "empty")
    assert mapped.arrays([("x", BYTE, (3,))], [0, 0], 0)["x"].shape == (0, 3)
    for rows in (1, 8):
        with pytest.raises(ValueError, match="of 0"):
            mapped.arrays([("x", BYTE, ())], [rows, 0], rows)


def test_more_than_can_be_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is an error of the system, and no part of what was asked for."""
    (tmp_path / "file").write_bytes(CONTENT)
    monkeypatch.setattr(mapped_file, "_WINDOW", WINDOW)
    with maps(lambda size: size > MOST):
        mapped = MappedFile(tmp_path / "file")
        size = MOST + GRAIN
        for read in (lambda: view(mapped, GRAIN, size), lambda: mapped.read_at(GRAIN, size)):
            with pytest.raises(OSError, match="no address space"):
                read()
        assert view(mapped, GRAIN, MOST).tobytes() == CONTENT[GRAIN : GRAIN + MOST]


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        MappedFile(tmp_path / "nothing")


# What is left open


def open_files() -> int:
    folder = Path("/proc/self/fd")
    if not folder.exists():
        pytest.skip("/proc tells what is open, which is of Linux")
    return len(list(folder.iterdir()))


def test_no_file_stays_open(path: Path) -> None:
    """Neither of those that are gone nor of windows that have moved on."""
    gc.collect()
    before = open_files()
    for _ in range(200):
        mapped = MappedFile(path)
        for offset in range(0, SIZE - 9, 3 * GRAIN):
            view(mapped, offset, 9)
    del mapped
    gc.collect()
    assert open_files() == before


def test_a_file_that_cannot_be_mapped_is_closed(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(CONTENT)
    gc.collect()
    before = open_files()
    with maps(lambda _: True):
        for _ in range(5):
            with pytest.raises(OSError, match="no address space"):
                MappedFile(tmp_path / "file")
    gc.collect()
    assert open_files() == before
