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
from minari._storages import mapped_file
from minari._storages.mapped_file import MappedFile


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
        return MappedFile(file.fileno(), file.size, file.stamp)


@given(
    places=st.lists(st.tuples(st.integers(0, SIZE), st.integers(0, 7 * GRAIN)), max_size=12),
    dtype=st.sampled_from(["<f8", ">i4", "?", "<c16", "<f2"]).map(np.dtype),
    resident=st.sampled_from([1, GRAIN, 2**40]),
)
@example(places=[(SIZE - 1, 1), (0, 1), (20 * GRAIN, 77), (20 * GRAIN - 1, 78)], dtype=np.dtype("?"), resident=1)
def test_arrays_are_views_of_any_place_and_stay_as_they_are(
    tmp_path_factory: pytest.TempPathFactory, places: list[tuple[int, int]], dtype: np.dtype, resident: int
) -> None:
    """Also while pages are given back."""
    path = tmp_path_factory.getbasetemp() / "content"
    if not path.exists():
        path.write_bytes(CONTENT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mapped_file, "RESIDENT_BYTES", resident)
        mapped, seen = mapped_at(path), []
        for offset, size in places:
            rows = min(size, SIZE - offset) // dtype.itemsize // 2
            leaves = [("x", dtype, (2,)), (("y", 0), BYTE, ()), ("none", dtype, (0, 2))]
            several = mapped.arrays(leaves, [rows, offset, 5, 7, 3, 0], size)
            assert list(several) == ["x", ("y", 0), "none"]
            assert several["none"].shape == (3, 0, 2)
            for array in (several["x"], mapped.array(offset, (rows, 2), dtype)):
                assert (array.shape, array.dtype, array.flags.c_contiguous) == ((rows, 2), dtype, True)
                assert not array.flags.owndata
                seen.append((array, CONTENT[offset : offset + array.nbytes]))
            seen.append((several["y", 0], CONTENT[7:12]))
        assert all(array.tobytes() == content for array, content in seen)


def test_arrays_cannot_be_written_to(path: Path) -> None:
    array = mapped_at(path).array(100, (50,), BYTE)
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 0
    with pytest.raises(ValueError, match="WRITEABLE"):
        array.flags.writeable = True


@pytest.mark.parametrize(
    ("offset", "size"), [(-1, 1), (-GRAIN, GRAIN), (0, SIZE + 1), (SIZE, 1), (SIZE - 1, 2), (SIZE + 1, 8), (2**40, 8)]
)
def test_places_beyond_the_file_are_refused(path: Path, offset: int, size: int) -> None:
    mapped = mapped_at(path)
    for beyond in (
        lambda: mapped.array(offset, (size,), BYTE),
        lambda: mapped.arrays([("before", BYTE, ()), ("x", BYTE, ())], [3, 0, size, offset], size),
    ):
        with pytest.raises(ValueError, match=r"byte|offset"):
            beyond()
    assert mapped.array(0, (8,), BYTE).tobytes() == CONTENT[:8], "it can be read from afterwards"


def test_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with pytest.raises(ValueError, match="empty"):
        mapped_at(tmp_path / "empty")


def resident_bytes(path: Path) -> int:
    """Return the memory of this process used by the maps of a file."""
    total, is_of_file = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        first = line.split(maxsplit=1)[0]
        if not first.endswith(":"):
            is_of_file = line.endswith(str(path))
        elif first == "Rss:" and is_of_file:
            total += 1024 * int(line.split()[1])
    return total


@pytest.mark.skipif(not hasattr(mmap, "MADV_DONTNEED"), reason="the system has no MADV_DONTNEED")
@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="/proc tells what is resident, which is of Linux")
@pytest.mark.parametrize(("resident", "is_kept"), [(2**21, False), (2**40, True)])
def test_pages_of_large_files_are_released(
    tmp_path: Path, resident: int, is_kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, step = np.random.default_rng(1).bytes(16 * 2**20), 2**20
    (tmp_path / "file").write_bytes(content)
    monkeypatch.setattr(mapped_file, "RESIDENT_BYTES", resident)
    mapped, views = mapped_at(tmp_path / "file"), []
    for offset in range(0, len(content), step):
        views.append(mapped.arrays([("x", BYTE, ())], [step, offset], step)["x"])
        assert views[-1].max() == 255, "every byte was looked at"
    kept = resident_bytes(tmp_path / "file")
    assert kept >= len(content) if is_kept else kept < len(content) / 2
    assert b"".join(views) == content


@pytest.mark.skipif(os.name != "posix", reason="other systems do not let go of a file that is mapped")
def test_map_is_of_the_file_that_was_there_and_kept_by_arrays_alone(path: Path, tmp_path: Path) -> None:
    mapped = mapped_at(path)
    (tmp_path / "other").write_bytes(bytes(SIZE))
    (tmp_path / "other").replace(path)
    remembered = weakref.ref(mapped)
    first, second = mapped.array(0, (9,), BYTE), mapped.arrays([("x", BYTE, ())], [5, 15 * GRAIN], 5)["x"]
    del mapped, first
    assert remembered() is not None
    assert second.tobytes() == CONTENT[15 * GRAIN : 15 * GRAIN + 5]
    del second
    gc.collect()
    assert remembered() is None
