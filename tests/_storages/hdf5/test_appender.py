"""Many, large and mixed episodes at the end of a file, read by plain h5py and by the tools of HDF5."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from gymnasium import spaces

from minari._storages.hdf5.appender import EpisodeAppender, bytes_of
from minari._storages.hdf5.index import PlacedEpisodes
from minari._storages.hdf5.names import group_name
from minari.dataset.minari_storage import MinariStorage
from minari.errors import EpisodeError, MetadataError
from minari.spaces import EpisodeColumns, object_column
from minari.testing.examples import as_buffer, draw_truth
from support.hdf5_files import (
    BytesFile,
    appender_of,
    assert_episode_in,
    finish,
    new_file,
    run_tool,
    steps_of,
    write_episodes,
)


MEBIBYTE = 2**20


def small(index: int) -> EpisodeColumns:
    """An episode of one of five kinds."""
    steps, rng = index % 4, np.random.default_rng(index)
    columns: dict[Any, Any] = {
        0: {("observations",): rng.standard_normal((steps + 1, 3))},
        1: {("observations", "x"): rng.integers(0, 9, (steps + 1, 2), np.uint8)},
        2: {("observations", 0): object_column([f"é{index}" * step for step in range(steps + 1)])},
        3: {("observations",): object_column([bytes(range(step)) for step in range(steps + 1)])},
        4: {("observations",): object_column([rng.bytes(5) for _ in range(steps + 1)])},
    }[index % 5]
    metadata = {"seed": index, "note": f"note {index}" * (index % 3)} if index % 2 else {"seed": 2**64 - 1 - index}
    return EpisodeColumns(steps, {**columns, **steps_of(steps)}, metadata)


def assert_places(path: Path, placed: list[PlacedEpisodes], written: dict[int, EpisodeColumns]) -> None:
    """Require that numbers lie where they are said to lie, and headers where HDF5 finds them."""
    content = path.read_bytes()
    seen = {}
    with h5py.File(path) as file:
        for part in placed:
            for row, index in enumerate(part.indices.tolist()):
                episode = written[index]
                seen[index] = part.total_steps[row] == episode.total_steps
                assert h5py.h5o.get_info(file[group_name(index)].id).addr == part.headers[row]
                assert [leaf.path for leaf in part.schema.leaves] == list(episode.columns)
                places = part.places[row].reshape(-1, 2).tolist()  # of each leaf its rows and its offset
                for leaf, (rows, offset) in zip(part.schema.leaves, places, strict=True):
                    column = episode.columns[leaf.path]
                    assert (rows, offset % 8) == (len(column), 0)
                    assert (leaf.chunks, leaf.pieces) == (None, 1)
                    if leaf.dtype is not None:
                        expected = b"".join(column) if column.dtype == object else column.tobytes()
                        assert content[offset : offset + len(expected)] == expected
                        assert rows * int(np.prod(leaf.shape)) * leaf.dtype.itemsize == len(expected)
    assert seen == dict.fromkeys(written, True)


def test_thousands_of_several_kinds(tmp_path: Path) -> None:
    """More than are written at once, and with the kinds taking turns."""
    written = {index: small(index) for index in range(2600)}
    placed = write_episodes(tmp_path / "file.h5", written)
    assert len(placed) > 20, "each kind, more than twice"
    assert_places(tmp_path / "file.h5", placed, written)
    with h5py.File(tmp_path / "file.h5") as file:
        assert list(file) == sorted(map(group_name, written))
        for index in (*range(0, 2600, 7), *range(1020, 1030), *range(2045, 2055), 2599):
            assert_episode_in(file, index, written[index])


def large(index: int) -> EpisodeColumns:
    """Arrays that are larger than what waits to be written, as large as it, and smaller, in any order of memory."""
    rng = np.random.default_rng(index)
    values = rng.standard_normal((3, MEBIBYTE // 16))
    columns: dict[Any, Any] = {
        ("observations", "before"): rng.integers(0, 9, 3),
        ("observations", "larger"): values,
        ("observations", "as large"): rng.integers(0, 255, (4, MEBIBYTE // 4), np.uint8),
        ("observations", "a little smaller"): rng.integers(0, 255, MEBIBYTE - 1, np.uint8),
        ("observations", "of columns"): np.asfortranarray(values),
        ("observations", "of every other"): values[:, ::2],
        ("observations", "backwards"): values[::-1],
        ("observations", "of big ends"): values.astype(">f8"),
        ("observations", "texts"): object_column([f"{number}" * 3 for number in range(9)]),
        ("observations", "after"): rng.integers(0, 9, 5, np.int8),
    }
    return EpisodeColumns(2, {**columns, **steps_of(2)}, {"note": "x" * 9})


def test_large_arrays(tmp_path: Path) -> None:
    written = {0: small(0), 1: large(1), 2: small(2), 3: large(3), 4: small(0)}
    placed = write_episodes(tmp_path / "file.h5", written)
    assert_places(tmp_path / "file.h5", placed, written)
    with h5py.File(tmp_path / "file.h5") as file:
        for index, episode in written.items():
            assert_episode_in(file, index, episode)


def test_texts_that_fill_collections(tmp_path: Path) -> None:
    """Texts of columns and of metadata, more than are kept waiting, some larger than a collection."""
    rng, written = np.random.default_rng(3), {}
    for index in range(30):
        texts = ["漢" * int(length) for length in rng.integers(0, 4000, 11)]
        columns = {("observations",): object_column(texts), ("infos", "t"): object_column(texts[::-1])}
        metadata = {"short": "a", "long": "é" * 50_000 if index % 7 == 0 else ""}
        written[index] = EpisodeColumns(10, {**columns, **steps_of(10)}, metadata)
    write_episodes(tmp_path / "file.h5", written)
    with h5py.File(tmp_path / "file.h5") as file:
        for index, episode in written.items():
            assert_episode_in(file, index, episode)


@pytest.mark.parametrize("kind", ["numbers", "texts"])
def test_only_little_is_kept_waiting(tmp_path: Path, kind: str) -> None:
    """However much there is to write, it goes about a mebibyte at a time; small arrays not one by one."""
    file, sizes = BytesFile(new_file(tmp_path / "file.h5")), []

    def write_at(offset: int, view: memoryview) -> None:
        sizes.append(view.nbytes)
        file.write_at(offset, view)

    appender = EpisodeAppender(write_at, file.path.stat().st_size)
    column = np.zeros((11, 1000)) if kind == "numbers" else object_column(["x" * 8000] * 11)
    for index in range(100):
        appender.add(index, EpisodeColumns(10, {("observations",): column, **steps_of(10)}))
    assert sum(sizes) > 100 * 88_000 - 2 * MEBIBYTE
    appender.finish()
    assert max(sizes) < MEBIBYTE + 200_000
    assert len(sizes) < (30 if kind == "numbers" else 160)


# What the caller may do


def test_arrays_may_be_reused(tmp_path: Path) -> None:
    """Those of the metadata as well, as soon as an episode was taken."""
    path = new_file(tmp_path / "file.h5")
    appender = appender_of(path)
    numbers, texts, state = np.zeros((3, 4)), object_column(["", "", ""]), np.zeros(5)
    for index in range(3):
        numbers[...], texts[...], state[...] = index, f"{index}", index
        columns = {("observations",): numbers, ("infos", "t"): texts, **steps_of(2)}
        appender.add(index, EpisodeColumns(2, columns, {"state": state, "deep": {"er": state[1:3]}}))
    finish(path, appender)
    with h5py.File(path) as file:
        for index in range(3):
            group = file[group_name(index)]
            assert (group["observations"][()] == index).all()
            assert group["infos/t"].asstr()[:].tolist() == [f"{index}"] * 3
            assert group.attrs["state"].tolist() == [index] * 5
            assert group.attrs["deep/er"].tolist() == [index] * 2


def test_options_may_be_reused(tmp_path: Path) -> None:
    """Of a program that resets its environment with one and the same array."""
    space, state = spaces.Discrete(3), np.zeros(3)
    storage = MinariStorage.new(tmp_path / "data", space, space)

    def buffers() -> Any:
        for number in range(3):
            state[:] = number
            yield as_buffer(draw_truth(space, space, 2), options={"state": state})

    storage.update_episodes(buffers())
    found = [metadata["options"]["state"].tolist() for metadata in storage.get_episode_metadata(range(3))]
    assert found == [[0] * 3, [1] * 3, [2] * 3]


def test_an_episode_that_is_refused_leaves_the_others(tmp_path: Path) -> None:
    path = new_file(tmp_path / "file.h5")
    appender = appender_of(path)
    appender.add(0, small(1))
    with pytest.raises(MetadataError):
        appender.add(1, EpisodeColumns(2, steps_of(2), {"note": "x" * 99, "n" * 2**16: 1}))
    with pytest.raises(EpisodeError):
        appender.add(1, EpisodeColumns(2, {**steps_of(2), ("infos", ""): object_column(["x"] * 3)}))
    appender.add(1, small(2))
    finish(path, appender)
    with h5py.File(path) as file:
        assert list(file) == ["episode_0", "episode_1"]
        assert_episode_in(file, 0, small(1))
        assert_episode_in(file, 1, small(2))


@pytest.mark.parametrize("end", [800, 801, 807])
def test_nothing_is_written_for_nothing(end: int) -> None:
    appender = EpisodeAppender(lambda *_: pytest.fail("written"), end)
    assert appender.finish() == ([], 800 if end == 800 else 808)


def test_bytes_of() -> None:
    whole = np.arange(6.0).reshape(2, 3)
    assert bytes_of(whole).tobytes() == whole.tobytes()
    assert np.shares_memory(np.frombuffer(bytes_of(whole)), whole)
    for part in (whole.T, whole[:, 1:], whole[::-1], whole.astype(">f8"), whole > 3):
        assert bytes_of(part).tobytes() == part.tobytes()


# The tools of HDF5


@pytest.fixture(scope="module")
def varied_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with episodes of many kinds, written in several portions."""
    path = tmp_path_factory.mktemp("varied") / "file.h5"
    codes = "?bhilqBHILQefdFD"
    numbers = {("infos", code + order): np.ones((3, 2), order + code) for code in codes for order in "<>"}
    empty = {("observations", "é" * 200): np.zeros((3, 0, 2)), ("actions", "t"): object_column([""] * 3)}
    metadata = {"complex": np.complex128(1j), "none": None, "flags": [True, False], "empty": np.zeros((2, 0))}
    write_episodes(path, {index: small(index) for index in range(40)})
    write_episodes(path, {40: EpisodeColumns(2, {**numbers, **empty, **steps_of(2)}, {**metadata, "t": "漢" * 70_000})})
    write_episodes(path, {41: EpisodeColumns(0, steps_of(0)), 42: large(0)})
    return path


@pytest.mark.parametrize("command", ["h5ls -rv", "h5stat", "h5dump -BH", "h5dump -y -w 0"])
def test_tools_that_look(varied_file: Path, command: str) -> None:
    assert len(run_tool(*command.split(), varied_file)) > 1000


def test_tools_that_copy(varied_file: Path, tmp_path: Path) -> None:
    """Return every object as rewritten by HDF5."""
    run_tool("h5repack", varied_file, tmp_path / "copy.h5")
    compared = run_tool("h5diff", "-v", "-c", varied_file, tmp_path / "copy.h5")
    with h5py.File(varied_file) as ours, h5py.File(tmp_path / "copy.h5") as theirs:
        names, copied = list[str](), list[str]()
        ours.visit(names.append)
        theirs.visit(copied.append)
        assert names == copied
        for name in names:
            assert set(ours[name].attrs) == set(theirs[name].attrs)
        # It does not look at what has no elements, and says so without failing.
        left_out = {line.split("<")[1].split(">")[0] for line in compared.splitlines() if "Not comparable" in line}
        assert all(ours[name].size == 0 for name in left_out)
        attributes = sum(len(ours[name].attrs) for name in names)
    assert compared.count("\n0 differences found") >= len(names) - len(left_out) + attributes > 400
