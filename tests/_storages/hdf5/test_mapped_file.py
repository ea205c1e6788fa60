"""Arrays over a file through a map of it."""

from __future__ import annotations

import gc
import mmap
import os
import weakref
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import example, given

from minari._base.data_file import DataFile
from minari._storages.hdf5 import mapped_file
from minari._storages.hdf5.mapped_file import MappedFile


GRAIN = mmap.ALLOCATIONGRANULARITY
SIZE = 20 * GRAIN + 77
CONTENT = np.random.default_rng(0).bytes(SIZE)
BYTE = np.dtype(np.uint8)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "file"
    file.write_bytes(CONTENT)
    return file


def mapped_at(path: Path) -> MappedFile:
    with DataFile(path) as file:
        return MappedFile(file)


def view(mapped: MappedFile, offset: int, size: int) -> np.ndarray:
    return mapped.array(offset, (size,), BYTE)


PLACES = st.lists(st.tuples(st.integers(0, SIZE), st.integers(0, 7 * GRAIN)), max_size=12)


@given(places=PLACES, resident=st.sampled_from([1, GRAIN, 2**40]))
@example(places=[(SIZE - 1, 1), (0, 1), (20 * GRAIN, 77), (20 * GRAIN - 1, 78)], resident=1)
def test_anywhere(tmp_path_factory: pytest.TempPathFactory, places: list[tuple[int, int]], resident: int) -> None:
    """In any order; all arrays stay as they are, whatever is given back meanwhile."""
    path = tmp_path_factory.getbasetemp() / "content"
    if not path.exists():
        path.write_bytes(CONTENT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mapped_file, "_RESIDENT", resident)
        mapped, seen = mapped_at(path), []
        for offset, size in places:
            expected = CONTENT[offset : offset + size]
            if expected:
                several = mapped.arrays([("a", BYTE, ()), ("b", BYTE, (1,))], [len(expected), offset, 1, offset], size)
                seen += [(view(mapped, offset, len(expected)), expected), (several["a"], expected)]
                seen += [(several["b"], expected[:1])]
        for array, content in seen:
            assert array.tobytes() == content


@pytest.mark.parametrize("dtype", ["<f8", ">i4", "?", "<c16", "<f2"])
@pytest.mark.parametrize("offset", [0, 8, 3, 5 * GRAIN - 1, 19 * GRAIN + 5])
def test_arrays(path: Path, dtype: str, offset: int) -> None:
    """Of any type and shape, at places that are no multiple of anything, one by one and together."""
    kind, size, mapped = np.dtype(dtype), 24 * np.dtype(dtype).itemsize, mapped_at(path)
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


def test_arrays_cannot_be_written_to(path: Path) -> None:
    array = view(mapped_at(path), 100, 50)
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 0
    with pytest.raises(ValueError, match="WRITEABLE"):
        array.flags.writeable = True


@pytest.mark.parametrize(
    ("offset", "size"), [(-1, 1), (-GRAIN, GRAIN), (0, SIZE + 1), (SIZE, 1), (SIZE - 1, 2), (SIZE + 1, 8), (2**40, 8)]
)
def test_beyond_the_end(path: Path, offset: int, size: int) -> None:
    mapped = mapped_at(path)
    for beyond in (
        lambda: view(mapped, offset, size),
        lambda: mapped.arrays([("before", BYTE, ()), ("x", BYTE, ())], [3, 0, size, offset], size),
    ):
        with pytest.raises(ValueError, match=r"byte|offset"):
            beyond()
    assert view(mapped, 0, 8).tobytes() == CONTENT[:8], "it can be read from afterwards"


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with pytest.raises(ValueError, match="empty"):
        mapped_at(tmp_path / "empty")


def resident_bytes(path: Path) -> int:
    """Return the memory of this process used by the maps of a file."""
    listed = Path("/proc/self/smaps")
    if not listed.exists():
        pytest.skip("/proc tells what is resident, which is of Linux")
    total, is_of_file = 0, False
    for line in listed.read_text().splitlines():
        first = line.split(maxsplit=1)[0]
        if not first.endswith(":"):
            is_of_file = line.endswith(str(path))
        elif first == "Rss:" and is_of_file:
            total += 1024 * int(line.split()[1])
    return total


@pytest.mark.skipif(not hasattr(mmap, "MADV_DONTNEED"), reason="the system has no MADV_DONTNEED")
def test_memory_is_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of a large file are released; those of a small one may stay. Views remain valid."""
    content, step = np.random.default_rng(1).bytes(16 * 2**20), 2**20
    (tmp_path / "file").write_bytes(content)
    kept = {}
    for resident in (2**21, 2**40):
        monkeypatch.setattr(mapped_file, "_RESIDENT", resident)
        mapped, views = mapped_at(tmp_path / "file"), []
        for offset in range(0, len(content), step):
            views.append(mapped.arrays([("x", BYTE, ())], [step, offset], step)["x"])
            assert views[-1].max() == 255, "every byte was looked at"
        kept[resident] = resident_bytes(tmp_path / "file")
        assert b"".join(views) == content
        del mapped, views
        gc.collect()
    assert kept[2**40] >= len(content)
    assert kept[2**21] < len(content) / 2


@pytest.mark.skipif(os.name != "posix", reason="other systems do not let go of a file that is mapped")
def test_what_is_at_the_path_later_does_not_matter(path: Path, tmp_path: Path) -> None:
    mapped = mapped_at(path)
    (tmp_path / "other").write_bytes(bytes(SIZE))
    (tmp_path / "other").replace(path)
    for offset in (8 * GRAIN, 15 * GRAIN, 0):
        assert view(mapped, offset, 20).tobytes() == CONTENT[offset : offset + 20]


def test_arrays_keep_the_map_and_nothing_else_does(path: Path) -> None:
    mapped = mapped_at(path)
    remembered = weakref.ref(mapped)
    first, second = view(mapped, 0, 9), mapped.arrays([("x", BYTE, ())], [5, 4], 5)["x"]
    del mapped, first
    assert remembered() is not None
    assert second.tobytes() == CONTENT[4:9]
    del second
    gc.collect()
    assert remembered() is None
