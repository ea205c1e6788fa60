"""The index of the positions of leaves, beside the data file."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minari._base.data_file import DataFile
from minari._storages.hdf5.index import INDEX_NAME, EpisodeIndex, LeafPlace, PlacedEpisodes, Schema
from support.stored import rewrite_index


X = LeafPlace(("observations", "x"), np.dtype("<f4"), (3,))
T = LeafPlace(("observations", 0), None, ())
EXTRA = [LeafPlace(("infos", f"i{i}"), np.dtype(">i2"), (i, 2)) for i in range(4)]


@pytest.fixture
def data_file(tmp_path: Path) -> Path:
    file = tmp_path / "main_data.hdf5"
    file.write_bytes(bytes(100_000))
    return file


def placed(index: int, total_steps: int, leaves: list[tuple[LeafPlace, int, int]]) -> PlacedEpisodes:
    """One episode, each leaf with its rows and its offset."""
    return PlacedEpisodes(
        schema=Schema(tuple(place for place, _, _ in leaves)),
        indices=np.array([index]),
        total_steps=np.array([total_steps]),
        headers=np.array([index + 7]),
        places=np.array([[number for _, *numbers in leaves for number in numbers]]),
    )


def places(index: int) -> list[tuple[LeafPlace, int, int]]:
    """Other leaves for every third episode."""
    leaves = [(X, index + 1, 1000 * index), (T, index + 1, 0)]
    return leaves + [(place, 7, index) for place in EXTRA[: index % 3]]


def refresh(index: EpisodeIndex, data_file: Path) -> bool:
    with DataFile(data_file) as file:
        return index.refresh(file)


def opened(data_file: Path) -> EpisodeIndex:
    index = EpisodeIndex(data_file)
    refresh(index, data_file)
    return index


def resave(data_file: Path, **changes: Any) -> None:
    """Change the header of an index so that its checksum fits."""
    rewrite_index(data_file.parent, lambda header, rows: header.update(changes))


def fill(index: EpisodeIndex, numbers: Any) -> None:
    for number in numbers:
        index.add(placed(number, number, places(number)))


def assert_finds(index: EpisodeIndex, number: int) -> None:
    found = index.find(number)
    assert found is not None
    schema, values = found
    expected = places(number)
    assert list(schema.leaves) == [place for place, _, _ in expected]
    assert values[: 2 * len(expected)] == [value for _, *values in expected for value in values]
    assert index.header(number) == number + 7


def table(data_file: Path) -> Path:
    (file,) = data_file.parent.glob(".index.*.i8")
    return file


def test_kept_and_found_again(data_file: Path) -> None:
    index = opened(data_file)
    fill(index, range(40))
    index.total = 40
    index.save()
    for read in (index, opened(data_file)):
        assert read.count == read.total == 40
        for number in range(40):
            assert_finds(read, number)
        assert read.find(40) is None
        lengths = read.lengths(np.array([5, 0, 39, 5]))
        assert lengths is not None
        assert lengths.tolist() == [5, 0, 39, 5]
        assert read.lengths(np.array([40])) is None


def test_only_some_are_known(data_file: Path) -> None:
    index = opened(data_file)
    fill(index, [30, 7])
    index.save()
    read = opened(data_file)
    for number in (30, 7):
        assert_finds(read, number)
    assert [number for number in range(40) if read.find(number)] == [7, 30]
    assert read.lengths(np.array([7, 8])) is None
    assert read.lengths(np.array([7, 30])) is not None
    assert read.lengths(np.array([], np.int64)) is not None


def test_saved_rows_are_appended_to(data_file: Path) -> None:
    """Saving after each episode writes what is new, and not all rows again."""
    index = opened(data_file)
    fill(index, [2])  # the widest, so that the table need not grow sideways
    index.save()
    first = table(data_file)
    for number in range(3, 30):
        fill(index, [number])
        index.save()
    assert table(data_file) == first
    for number in range(2, 30):
        assert_finds(opened(data_file), number)
    later = opened(data_file)
    fill(later, range(30, 33))
    later.save()
    assert table(data_file) == first
    for number in range(2, 33):
        assert_finds(opened(data_file), number)


def test_changed_rows_are_rewritten(data_file: Path) -> None:
    """A table that somebody may be reading is never changed where it has been written."""
    index = opened(data_file)
    fill(index, range(9))
    index.save()
    first = table(data_file)
    index.add(placed(4, 99, [(X, 6, 5)]))
    index.save()
    assert table(data_file) != first
    read = opened(data_file)
    assert read.find(4) is not None
    assert_finds(read, 5)
    lengths = read.lengths(np.array([4]))
    assert lengths is not None
    assert lengths.tolist() == [99]


def test_data_file_that_has_changed(data_file: Path) -> None:
    """Another size or time: the file is not the one that the index describes."""
    index = opened(data_file)
    fill(index, range(3))
    index.save()
    assert refresh(index, data_file) is False
    for change in (lambda: data_file.write_bytes(bytes(99_999)), lambda: os.utime(data_file, (1, 1))):
        change()
        for read in (opened(data_file), index):
            assert refresh(read, data_file) is (read is index)
            assert [read.find(number) for number in range(3)] == [None] * 3
            assert read.total is None
        fill(index, range(3))
        index.save()
        assert opened(data_file).count == 3
    fill(index, range(3, 5))
    data_file.write_bytes(bytes(99_998))
    index.save(data_file.stat())
    assert refresh(index, data_file) is False
    assert opened(data_file).count == 5


def test_two_readers_that_save_at_once(data_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each appends rows with schema numbers of its own to one table; the mixture is noticed and not used."""
    start = opened(data_file)
    fill(start, [0])
    start.save()
    ours, theirs = opened(data_file), opened(data_file)
    ours._reserve(1, 12)
    theirs._reserve(1, 12)
    ours.save()
    fill(ours, [1])
    fill(theirs, [2, 3])
    replace = Path.replace

    def interleaved(self: Path, target: Path) -> Path:
        monkeypatch.setattr(Path, "replace", replace)
        theirs._table_name, theirs._saved_rows = ours._table_name, ours._saved_rows
        theirs.save()
        return self.replace(target)

    monkeypatch.setattr(Path, "replace", interleaved)
    ours.save()
    for number in range(4):
        read = opened(data_file)
        if read.find(number) is not None:
            assert_finds(read, number)


def test_a_checksum_guards_every_byte(data_file: Path) -> None:
    index = opened(data_file)
    fill(index, range(3))
    index.save()
    file = table(data_file)
    content = file.read_bytes()
    for position in range(0, len(content), 7):
        changed = bytearray(content)
        changed[position] ^= 1
        file.write_bytes(changed)
        assert opened(data_file).count == 0
    file.write_bytes(content)
    assert opened(data_file).count == 3


@pytest.mark.parametrize("key", ["version", "file", "table", "width", "episodes", "schemas", "checksum", "total"])
def test_header_without_a_key(data_file: Path, key: str) -> None:
    index = opened(data_file)
    fill(index, range(3))
    index.save()
    header_file = data_file.with_name(INDEX_NAME)
    header = json.loads(header_file.read_text())
    del header[key]
    header_file.write_text(json.dumps(header))
    assert opened(data_file).count == 0


@pytest.mark.parametrize("episodes", [4, 10**15])
def test_header_that_speaks_of_more_rows_than_there_are(data_file: Path, episodes: int) -> None:
    """No room is made for rows that the table does not have."""
    index = opened(data_file)
    fill(index, range(3))
    index.save()
    resave(data_file, episodes=episodes)
    assert opened(data_file).count == 0


@pytest.mark.parametrize(
    "name", ["../{}", "{}", "/tmp/{}", "./{}", ".index.0123456.i8", ".index.01234567.i8x", 7, None]
)
def test_tables_of_other_names_are_not_touched(data_file: Path, tmp_path: Path, name: Any) -> None:
    """A header that names another file makes that file neither go nor change."""
    other = tmp_path.parent / f"{tmp_path.name}-outside.i8"
    for file in (other, tmp_path / other.name, tmp_path / ".index.0123456.i8", tmp_path / ".index.01234567.i8x"):
        file.write_bytes(b"precious")
    index = opened(data_file)
    fill(index, range(3))
    index.save()
    resave(data_file, table=name.format(other.name) if isinstance(name, str) else name)
    before = {file: file.read_bytes() for file in [other, *tmp_path.iterdir()] if file.name != INDEX_NAME}
    assert opened(data_file).count == 0
    index.add(placed(0, 1, places(0)))
    index.save()
    assert {file: file.read_bytes() for file in before} == before
    assert opened(data_file).count == 3


@pytest.mark.skipif(os.name != "posix", reason="links need rights on other systems")
@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to])
def test_tables_that_are_links_are_not_written_to(data_file: Path, tmp_path: Path, link: Any) -> None:
    index = opened(data_file)
    fill(index, range(5))
    index.save()
    elsewhere = tmp_path.parent / f"{tmp_path.name}-elsewhere"
    first = table(data_file)
    first.rename(elsewhere)
    link(first, elsewhere)
    before = elsewhere.read_bytes()
    fill(index, range(5, 9))
    index.save()
    assert elsewhere.read_bytes() == before
    for number in range(9):
        if opened(data_file).find(number) is not None:
            assert_finds(opened(data_file), number)


# The data file that it belongs to


def test_copied_with_its_time(data_file: Path, tmp_path: Path) -> None:
    """Another inode is that of a copy, which the index fits as well."""
    index = opened(data_file)
    fill(index, range(3))
    index.save()
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in tmp_path.glob("*.*"):
        shutil.copy2(file, copy)
    assert_finds(opened(copy / data_file.name), 2)


@pytest.mark.skipif(os.name != "posix", reason="there is no time of the last change on other systems")
@pytest.mark.parametrize("where", [0, 70_000, -1])
def test_times_that_are_put_back(data_file: Path, where: int) -> None:
    """A file that was written to is another one, even where its time says nothing."""
    data_file.write_bytes(bytes(200_000))
    index = opened(data_file)
    fill(index, range(3))
    index.save()
    assert_finds(opened(data_file), 2)
    status = data_file.stat()
    content = bytearray(data_file.read_bytes())
    content[where] ^= 1
    data_file.write_bytes(content)
    os.utime(data_file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert refresh(index, data_file) is True
    assert index.find(2) is opened(data_file).find(2) is None


@pytest.mark.parametrize("where", [0, 65_535, -65_536, -1])
def test_a_file_in_its_place_with_other_ends(data_file: Path, tmp_path: Path, where: int) -> None:
    data_file.write_bytes(bytes(200_000))
    index = opened(data_file)
    fill(index, range(3))
    index.save()
    content, status = bytearray(200_000), data_file.stat()
    content[where] = 1
    other = tmp_path / "other"
    other.write_bytes(content)
    other.replace(data_file)
    os.utime(data_file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert opened(data_file).find(2) is None


# Checksums


def with_checksums(index: int, *values: int) -> PlacedEpisodes:
    return dataclasses.replace(placed(index, index, places(index)), checksums=np.array([values]))


def test_checksums_are_kept(data_file: Path) -> None:
    index = opened(data_file)
    index.add(with_checksums(0, 5, -(2**63)))
    index.add(with_checksums(1, 6, 0, 2**63 - 1))
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
def test_checksums_outlive_a_change_of_the_file(data_file: Path, again: bool) -> None:
    """Of the leaves that are as they were, wherever they lie now and in whatever order; also after two changes."""
    index = opened(data_file)
    index.add(with_checksums(1, 5, 6, 7))
    index.add(with_checksums(2, 1, 2, 3, 4))
    index.save()
    data_file.write_bytes(bytes(99_000))
    if again:
        between = opened(data_file)
        between.add(placed(2, 2, [(X, 99, 0)]))
        between.save()
        data_file.write_bytes(bytes(98_000))
    for read in (opened(data_file), index):
        refresh(read, data_file)
        wider = LeafPlace(X.path, np.dtype("<f8"), X.shape)
        read.add(placed(1, 9, [(EXTRA[0], 7, 50), (T, 3, 0), (X, 2, 70)]))
        assert read.checksums(1) == {EXTRA[0].path: 7, X.path: 5}, "T has other rows"
        read.add(placed(2, 9, [*((leaf, 9, 50) for leaf in EXTRA), (wider, 3, 0), (T, 3, 0)]))
        assert read.checksums(2) == ({T.path: 2} if not again or read is index else {})
        read.add(placed(1, 9, [(X, 2, 80)]))
        assert read.checksums(1) == {}, "leaves are gone, which no checksum tells"


def test_directory_that_cannot_be_written_to(data_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No index then; what is known stays known."""

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError

    index = opened(data_file)
    fill(index, range(3))
    monkeypatch.setattr(Path, "open", refuse)
    index.save()
    monkeypatch.undo()
    assert list(data_file.parent.iterdir()) == [data_file]
    assert_finds(index, 2)


def test_missing_data_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        refresh(EpisodeIndex(tmp_path / "nothing.hdf5"), tmp_path / "nothing.hdf5")
