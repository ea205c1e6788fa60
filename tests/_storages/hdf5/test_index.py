"""The index of the positions of leaves, beside the data file."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minari._base.data_file import DataFile
from minari._storages.hdf5.index import INDEX_NAME, EpisodeIndex, LeafPlace, PlacedEpisodes, Schema
from support.stored import flip, rewrite_index


X = LeafPlace(("observations", "x"), np.dtype("<f4"), (3,))
T = LeafPlace(("observations", 0), None, ())
EXTRA = [LeafPlace(("infos", f"i{i}"), np.dtype(">i2"), (i, 2)) for i in range(4)]
needs_posix = pytest.mark.skipif(os.name != "posix", reason="links and times of changes are those of POSIX")


@pytest.fixture
def data_file(tmp_path: Path) -> Path:
    file = tmp_path / "main_data.hdf5"
    file.write_bytes(bytes(200_000))
    return file


def placed(index: int, total_steps: int, leaves: list[tuple[LeafPlace, int, int]], *checksums: int) -> PlacedEpisodes:
    """One episode, each leaf with its rows and its offset."""
    episode = PlacedEpisodes(
        schema=Schema(tuple(place for place, _, _ in leaves)),
        indices=np.array([index]),
        total_steps=np.array([total_steps]),
        headers=np.array([index + 7]),
        places=np.array([[number for _, *numbers in leaves for number in numbers]]),
    )
    return dataclasses.replace(episode, checksums=np.array([checksums])) if checksums else episode


def places(index: int) -> list[tuple[LeafPlace, int, int]]:
    """Other leaves for every third episode."""
    return [(X, index + 1, 1000 * index), (T, index + 1, 0), *((place, 7, index) for place in EXTRA[: index % 3])]


def refresh(index: EpisodeIndex, data_file: Path) -> bool:
    with DataFile(data_file) as file:
        return index.refresh(file)


def opened(data_file: Path) -> EpisodeIndex:
    index = EpisodeIndex(data_file)
    refresh(index, data_file)
    return index


def add(index: EpisodeIndex, numbers: Iterable[int], *, save: bool = True) -> None:
    for number in numbers:
        index.add(placed(number, number, places(number)))
    if save:
        index.save()


@pytest.fixture
def index(data_file: Path) -> EpisodeIndex:
    """The index of three episodes, saved."""
    index = opened(data_file)
    add(index, range(3))
    return index


def known(index: EpisodeIndex, below: int = 50) -> list[int]:
    """The numbers of the known episodes, whose places are the right ones."""
    numbers = [number for number in range(below) if index.find(number) is not None]
    for number in numbers:
        schema, values = index.find(number) or pytest.fail("unknown")
        expected = places(number)
        assert list(schema.leaves) == [place for place, _, _ in expected]
        assert values == [value for _, *values in expected for value in values]
        assert index.header(number) == number + 7
    return numbers


def table(data_file: Path) -> Path:
    (file,) = data_file.parent.glob(".index.*.i8")
    return file


# Kept and found again


def test_saved_rows_are_found_and_appended_to(data_file: Path) -> None:
    """Saving after each episode writes what is new, and not all rows again."""
    index = opened(data_file)
    add(index, [2])  # the widest, so that the table need not grow sideways
    first = table(data_file)
    for number in range(3, 30):
        add(index, [number])
    later = opened(data_file)
    add(later, [30, 40])
    assert table(data_file) == first
    for read in (later, opened(data_file)):
        assert known(read) == [*range(2, 31), 40]
        lengths = read.lengths(np.array([5, 2, 29, 5]))
        assert lengths is not None
        assert lengths.tolist() == [5, 2, 29, 5]
        assert read.lengths(np.array([7, 31])) is read.lengths(np.array([50])) is None
        assert read.lengths(np.array([], np.int64)) is not None


def test_table_is_never_changed_where_it_has_been_written(data_file: Path, index: EpisodeIndex) -> None:
    first = table(data_file)
    index.add(placed(1, 99, [(X, 6, 5)]))
    index.save()
    assert table(data_file) != first
    lengths = opened(data_file).lengths(np.array([0, 1, 2]))
    assert lengths is not None
    assert lengths.tolist() == [0, 99, 2]


def test_readers_that_save_at_once_do_not_mix_their_rows(data_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each appends rows with schema numbers of its own to one table."""
    add(opened(data_file), [2])
    ours, theirs = opened(data_file), opened(data_file)
    add(ours, [3], save=False)
    add(theirs, [4, 5], save=False)
    replace = Path.replace

    def interleaved(self: Path, target: Path) -> Path:
        monkeypatch.setattr(Path, "replace", replace)
        theirs.save()
        return self.replace(target)

    monkeypatch.setattr(Path, "replace", interleaved)
    ours.save()
    assert Path.replace is replace
    known(opened(data_file))


OTHER_NAMES = ["../{}", "{}", "/tmp/{}", "./{}", ".index.0123456.i8", ".index.01234567.i8x", 7, None]


@pytest.mark.parametrize("name", OTHER_NAMES)
def test_tables_of_other_names_are_not_touched(data_file: Path, index: EpisodeIndex, tmp_path: Path, name: Any) -> None:
    other = tmp_path.parent / f"{tmp_path.name}-outside.i8"
    for file in (other, tmp_path / other.name, tmp_path / ".index.0123456.i8", tmp_path / ".index.01234567.i8x"):
        file.write_bytes(b"precious")
    name = name.format(other.name) if isinstance(name, str) else name
    rewrite_index(data_file.parent, lambda header, rows: header.update(table=name))
    before = {file: file.read_bytes() for file in [other, *tmp_path.iterdir()] if file.name != INDEX_NAME}
    assert opened(data_file).count == 0
    index.add(placed(0, 1, places(0)))
    index.save()
    assert {file: file.read_bytes() for file in before} == before
    assert opened(data_file).count == 3


@needs_posix
@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to])
def test_tables_that_are_links_are_not_written_to(
    data_file: Path, index: EpisodeIndex, tmp_path: Path, link: Any
) -> None:
    elsewhere, first = tmp_path.parent / f"{tmp_path.name}-elsewhere", table(data_file)
    first.rename(elsewhere)
    link(first, elsewhere)
    before = elsewhere.read_bytes()
    add(index, range(3, 9))
    assert elsewhere.read_bytes() == before
    known(opened(data_file))


# The data file that it belongs to


def test_index_of_another_size_or_time_is_not_used(data_file: Path, index: EpisodeIndex) -> None:
    assert refresh(index, data_file) is False
    for change in (lambda: data_file.write_bytes(bytes(99_999)), lambda: os.utime(data_file, (1, 1))):
        change()
        for read in (opened(data_file), index):
            assert refresh(read, data_file) is (read is index)
            assert known(read) == []
            assert read.total is None
        add(index, range(3))
        assert opened(data_file).count == 3
    add(index, range(3, 5), save=False)
    data_file.write_bytes(bytes(99_998))
    index.save(data_file.stat())  # as a writer does
    assert refresh(index, data_file) is False
    assert opened(data_file).count == 5
    with pytest.raises(FileNotFoundError):
        refresh(index, data_file.with_name("nothing.hdf5"))


def test_index_fits_a_copy_with_its_time(data_file: Path, index: EpisodeIndex, tmp_path: Path) -> None:
    copy = shutil.copytree(tmp_path, tmp_path.with_name(f"{tmp_path.name}-copy"))
    assert known(opened(copy / data_file.name)) == [0, 1, 2]


@needs_posix
@pytest.mark.parametrize("where", [0, 65_535, 70_000, -65_536, -1])
def test_index_of_changed_content_is_not_used_whatever_the_time(
    data_file: Path, index: EpisodeIndex, tmp_path: Path, where: int
) -> None:
    status = data_file.stat()
    if where != 70_000:  # a file in its place with other ends
        other = shutil.copy2(data_file, tmp_path / "other")
        flip(other, where)
        original = data_file.rename(tmp_path / "original")
        other.rename(data_file)
        os.utime(data_file, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert known(opened(data_file)) == []
        original.replace(data_file)
    flip(data_file, where, keep_time=True)
    assert refresh(index, data_file) is True
    assert known(index) == known(opened(data_file)) == []


# Checksums


def test_checksums_are_kept_and_added_to(data_file: Path) -> None:
    index = opened(data_file)
    index.add(placed(0, 0, places(0), 5, -(2**63)))
    index.add(placed(1, 1, places(1), 6, 0, 2**63 - 1))
    index.save()
    for read in (index, opened(data_file)):
        assert read.checksums(0) == {X.path: 5, T.path: -(2**63)}
        assert read.checksums(1) == {X.path: 6, EXTRA[0].path: 2**63 - 1}
        assert read.checksums(2) == {}
        assert read.without_checksums(range(3)) == [1, 2]
    index.add_checksums(1, {X.path: 1, T.path: 2, EXTRA[0].path: 3})
    index.save()
    assert opened(data_file).checksums(1) == {X.path: 6, T.path: 2, EXTRA[0].path: 2**63 - 1}


@pytest.mark.parametrize("again", [False, True])
def test_checksums_of_unchanged_leaves_outlive_changes_of_the_file(data_file: Path, again: bool) -> None:
    """Wherever they lie now and in whatever order; also after two changes."""
    index = opened(data_file)
    index.add(placed(1, 1, places(1), 5, 6, 7))
    index.add(placed(2, 2, places(2), 1, 2, 3, 4))
    index.save()
    data_file.write_bytes(bytes(99_000))
    if again:
        between = opened(data_file)
        between.add(placed(2, 2, [(X, 99, 0)]))
        between.save()
        data_file.write_bytes(bytes(98_000))
    wider = LeafPlace(X.path, np.dtype("<f8"), X.shape)
    for read in (opened(data_file), index):
        refresh(read, data_file)
        read.add(placed(1, 9, [(EXTRA[0], 7, 50), (T, 3, 0), (X, 2, 70)]))
        assert read.checksums(1) == {EXTRA[0].path: 7, X.path: 5}, "T has other rows"
        read.add(placed(2, 9, [*((leaf, 9, 50) for leaf in EXTRA), (wider, 3, 0), (T, 3, 0)]))
        assert read.checksums(2) == ({T.path: 2} if not again or read is index else {})
        read.add(placed(1, 9, [(X, 2, 80)]))
        assert read.checksums(1) == {}, "leaves are gone, which no checksum tells"
