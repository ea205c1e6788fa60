"""Episodes of every kind as bytes at the end of a file, read by plain h5py and by the tools of HDF5."""

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

from minari._storages.hdf5.appender import EpisodeAppender, template_of
from minari._storages.hdf5.format import template as hdf5_template
from minari._storages.hdf5.format.datatypes import TEXT
from minari._storages.hdf5.format.objects import LONGEST_NAME, MOST_MESSAGES
from minari.data_collector import EpisodeBuffer
from minari.data_collector.callbacks import EpisodeMetadataCallback
from minari.dataset.minari_storage import MinariStorage
from minari.errors import EpisodeError, MetadataError
from minari.spaces import EpisodeColumns, object_column
from minari.testing.examples import draw_truth
from support.hdf5_files import (
    BytesFile,
    appender_of,
    assert_episode_in,
    episodes,
    finish,
    new_file,
    run_tool,
    steps_of,
    write_episodes,
)
from support.stored import store


MEBIBYTE = 2**20
FLOAT = np.dtype("<f8")
REWARDS = (("rewards",), FLOAT, (), None)


def of_steps(steps: int, columns: Any = None, metadata: Any = None) -> EpisodeColumns:
    return EpisodeColumns(steps, {**steps_of(steps), **(columns or {})}, metadata or {})


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


def large(index: int) -> EpisodeColumns:
    """Arrays that are larger than what waits to be written, as large as it, and smaller, in any order of memory."""
    rng = np.random.default_rng(index)
    values = rng.standard_normal((3, MEBIBYTE // 16))
    columns: dict[Any, Any] = {
        "before": rng.integers(0, 9, 3),
        "larger": values,
        "as large": rng.integers(0, 255, (4, MEBIBYTE // 4), np.uint8),
        "a little smaller": rng.integers(0, 255, MEBIBYTE - 1, np.uint8),
        "of columns": np.asfortranarray(values),
        "of every other": values[:, ::2],
        "backwards": values[::-1],
        "of big ends": values.astype(">f8"),
        "texts": object_column([f"{number}" * 3 for number in range(9)]),
        "after": rng.integers(0, 9, 5, np.int8),
    }
    return of_steps(2, {("observations", name): column for name, column in columns.items()}, {"note": "x" * 9})


def wide() -> EpisodeColumns:
    """Far more members in one group than HDF5 keeps in a header on its own, deep paths, long names, many dimensions."""
    columns: dict[Any, Any] = {("infos", f"n{number}"): np.full((3, 1), number, np.int16) for number in range(2000)}
    columns |= {("observations", number): np.full(3, number) for number in range(300)}
    columns[("actions", *(part for number in range(40) for part in (f"d{number}", number)))] = np.arange(3)
    columns[("infos", "n" * LONGEST_NAME, "é" * (LONGEST_NAME // 2))] = np.arange(3)
    columns[("infos", "dimensions")] = np.zeros((3, *[1] * 31))
    columns |= {("infos", "a/b"): np.arange(3), ("infos", "a", "c"): np.arange(3.0), ("infos", "d/e", 0): np.zeros(3)}
    return of_steps(2, columns, {**{f"m{number}": number for number in range(1500)}, "long": "x" * 2**24})


def texts() -> list[EpisodeColumns]:
    """Texts that fill collections of the heap to any byte, some larger than a collection, and more than 2**16."""
    lengths = [*range(4096 - 16 - 16 - 33, 4096 + 16, 8), 2**16, 2**17 + 3]
    rows = [["x" * length, *rest, "y"] for length in lengths for rest in ([], ["after"], [""])]
    rng = np.random.default_rng(3)
    rows += [["漢" * int(length) for length in rng.integers(0, 4000, 11)] for _ in range(30)]
    rows.append([""] * 70_000)
    metadata = {"short": "a", "long": "é" * 50_000}
    return [of_steps(len(row) - 1, {("infos", "t"): object_column(row)}, metadata) for row in rows]


KINDS = {
    "thousands": lambda: [small(index) for index in range(2600)],  # more than are written at once, in turns
    "large": lambda: [small(0), large(1), small(2), large(3), small(0)],
    "wide": lambda: [wide()],
    "texts": texts,
    "without steps": lambda: [
        of_steps(0, {("observations",): np.zeros((1, 0, 3), np.float16), ("actions", "t"): object_column([])}),
        of_steps(0),
    ],
}


@pytest.mark.parametrize("kind", KINDS)
def test_hdf5_reads_what_is_written_where_it_is_said_to_lie(tmp_path: Path, kind: str) -> None:
    path, written = tmp_path / "file.h5", KINDS[kind]()
    placed = write_episodes(path, dict(enumerate(written)))
    assert kind != "thousands" or len(placed) > 20, "each kind, more than twice"
    content, seen = path.read_bytes(), set[int]()
    with h5py.File(path) as file:
        assert sorted(file) == sorted(f"episode_{index}" for index in range(len(written)))
        for index in range(0, len(written), 7 if kind == "thousands" else 1):
            assert_episode_in(file, index, written[index])
        for part in placed:
            for row, index in enumerate(part.indices.tolist()):
                episode = written[index]
                seen.add(index)
                assert part.total_steps[row] == episode.total_steps
                assert part.headers[row] == h5py.h5o.get_info(file[f"episode_{index}"].id).addr
                places = part.places[row].reshape(-1, 2).tolist()  # of each leaf its rows and its offset
                for leaf, (rows, offset), (name, column) in zip(
                    part.schema.leaves, places, episode.columns.items(), strict=True
                ):
                    assert (leaf.path, rows, offset % 8, leaf.chunks) == (name, len(column), 0, None)
                    if leaf.dtype is not None:
                        expected = b"".join(column) if column.dtype == object else column.tobytes()
                        assert content[offset : offset + len(expected)] == expected
    assert seen == set(range(len(written)))


@given(first=st.lists(episodes(), min_size=1, max_size=3), second=episodes())
def test_any_episodes_are_read_by_hdf5(tmp_path_factory: Any, first: list[EpisodeColumns], second: Any) -> None:
    """Further ones are added to a file that h5py has changed in between."""
    path = tmp_path_factory.mktemp("episodes") / "file.h5"
    write_episodes(path, dict(enumerate(first)))
    with h5py.File(path, "r+") as file:
        file.attrs["note"] = "x" * 100
    write_episodes(path, {len(first): second})
    with h5py.File(path) as file:
        assert file.attrs["note"] == "x" * 100
        for index, episode in enumerate([*first, second]):
            assert_episode_in(file, index, episode)


def test_collections_of_the_heap_have_about_64_kib(tmp_path: Path) -> None:
    """So that HDF5 need not read much for one text."""
    rng = np.random.default_rng(0)
    column = object_column(["x" * int(length) for length in [*rng.integers(0, 2000, 900), 300_000]])
    write_episodes(tmp_path / "file.h5", {0: of_steps(len(column) - 1, {("infos", "t"): column})})
    content, sizes = (tmp_path / "file.h5").read_bytes(), []
    at = content.index(b"GCOL")
    while content[at : at + 4] == b"GCOL":
        sizes.append(struct.unpack_from("<Q", content, at + 8)[0])
        at += sizes[-1]
    assert len(sizes) > 10
    assert sorted(sizes)[-2] < 70_000
    assert 300_000 < max(sizes) < 370_000


@pytest.mark.parametrize("kind", ["numbers", "texts"])
def test_about_a_mebibyte_is_kept_waiting(tmp_path: Path, kind: str) -> None:
    """And small arrays are not written one by one."""
    file, sizes = BytesFile(new_file(tmp_path / "file.h5")), []

    def write_at(offset: int, view: memoryview) -> None:
        sizes.append(view.nbytes)
        file.write_at(offset, view)

    appender = EpisodeAppender(write_at, file.path.stat().st_size)
    column = np.zeros((11, 1000)) if kind == "numbers" else object_column(["x" * 8000] * 11)
    for index in range(100):
        appender.add(index, of_steps(10, {("observations",): column}))
    assert sum(sizes) > 100 * 88_000 - 2 * MEBIBYTE
    appender.finish()
    assert max(sizes) < MEBIBYTE + 200_000
    assert len(sizes) < (30 if kind == "numbers" else 160)


@pytest.mark.parametrize("end", [800, 801, 807])
def test_nothing_is_written_for_no_episodes(end: int) -> None:
    appender = EpisodeAppender(lambda *_: pytest.fail("written"), end)
    assert appender.finish() == ([], 800 if end == 800 else 808)


def test_arrays_may_be_reused_as_soon_as_an_episode_was_taken(tmp_path: Path) -> None:
    path = new_file(tmp_path / "file.h5")
    appender = appender_of(path)
    numbers, texts, state = np.zeros((3, 4)), object_column(["", "", ""]), np.zeros(5)
    for index in range(3):
        numbers[...], texts[...], state[...] = index, f"{index}", index
        columns = {("observations",): numbers, ("infos", "t"): texts}
        appender.add(index, of_steps(2, columns, {"state": state, "deep": {"er": state[1:3]}}))
    finish(path, appender)
    with h5py.File(path) as file:
        for index, group in enumerate(file.values()):
            assert (group["observations"][()] == index).all()
            assert group["infos/t"].asstr()[:].tolist() == [f"{index}"] * 3
            assert group.attrs["state"].tolist() == [index] * 5
            assert group.attrs["deep/er"].tolist() == [index] * 2


def test_template_is_made_once() -> None:
    def template(order: str) -> Any:
        leaves = (REWARDS, (("observations",), np.dtype(f"{order}i2"), (3,), None))
        return template_of(leaves, (("id", np.dtype("i8"), ()),))

    assert template(">") is template(">")  # making it takes as long as writing a hundred episodes
    assert template("<") is not template(">")


# What cannot be written


def test_refused_episode_leaves_the_others(tmp_path: Path) -> None:
    path = new_file(tmp_path / "file.h5")
    appender = appender_of(path)
    appender.add(0, small(1))
    with pytest.raises(MetadataError):
        appender.add(1, of_steps(2, {}, {"note": "x" * 99, "n" * 2**16: 1}))
    with pytest.raises(EpisodeError):
        appender.add(1, of_steps(2, {("infos", ""): object_column(["x"] * 3)}))
    appender.add(1, small(2))
    finish(path, appender)
    with h5py.File(path) as file:
        assert list(file) == ["episode_0", "episode_1"]
        assert_episode_in(file, 0, small(1))
        assert_episode_in(file, 1, small(2))


LONG = ["n" * (LONGEST_NAME + 1), "é" * (LONGEST_NAME // 2 + 1)]


@pytest.mark.parametrize(
    "paths",
    [
        *([(key,)] for key in ("", ".", "a/", "a//b", "a\0b", "\ud800", *LONG)),
        [("n" * 2**16, "x")],
        [("a",), ("a", "b")],
        [("a", "b"), ("a",)],
        [("a", "b"), ("a/b",)],
        [(0,), ("_index_0",)],
    ],
    ids=lambda paths: " ".join("/".join(map(str, path))[:12] for path in paths).encode("unicode_escape").decode(),
)
def test_names_that_hdf5_cannot_have_are_refused(paths: list[Any]) -> None:
    with pytest.raises(EpisodeError, match="cannot be written as HDF5; the keys of a space must not be"):
        template_of((REWARDS, *((("infos", *path), FLOAT, (), None) for path in paths)), ())


def test_dimensions_that_hdf5_cannot_have_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EpisodeError, match=r"'observations' .* 33 dimensions where HDF5 allows 32"):
        template_of((REWARDS, (("observations",), FLOAT, (1,) * 32, None)), ())
    space = spaces.Box(-1.0, 1.0, (1,) * 32, np.float32)
    with pytest.raises(EpisodeError, match="Episode 0 cannot be stored"):  # NumPy 1 has no such array itself
        store(tmp_path, truths=[draw_truth(space, space, 2)], observation_space=space)


def test_more_keys_than_hdf5_can_count_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MOST_MESSAGES == 2**16 - 1  # making so many takes seconds
    monkeypatch.setattr(hdf5_template, "MOST_MESSAGES", 500)
    leaves = tuple((("infos", f"{number}"), FLOAT, (), None) for number in range(499))
    attributes = tuple((f"{number}", FLOAT, ()) for number in range(494))
    assert template_of((REWARDS, *leaves[:-1]), attributes[:-1]).leaves == 499
    for parts in (((REWARDS, *leaves), ()), ((REWARDS,), attributes)):
        with pytest.raises(EpisodeError, match="501 keys in one place where HDF5 allows 500"):
            template_of(*parts)


@pytest.mark.parametrize(
    ("name", "kind", "shape"),
    [("n" * 70_000, FLOAT, ()), ("n" * LONGEST_NAME, TEXT, ()), ("x", FLOAT, (8192,)), ("x", FLOAT, (1,) * 33)],
    ids=["name", "name of a text", "value", "dimensions"],
)
def test_attributes_that_are_too_large_are_refused(name: str, kind: Any, shape: tuple[int, ...]) -> None:
    with pytest.raises(MetadataError, match=r"The episode metadata .* cannot be written as HDF5: it"):
        template_of((REWARDS,), ((name, kind, shape),))


# The tools of HDF5


@pytest.fixture(scope="module")
def varied_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with episodes of many kinds, written in several portions."""
    path = tmp_path_factory.mktemp("varied") / "file.h5"
    codes = "?bhilqBHILQefdFD"
    numbers: Any = {("infos", code + order): np.ones((3, 2), order + code) for code in codes for order in "<>"}
    empty = {("observations", "é" * 200): np.zeros((3, 0, 2)), ("actions", "t"): object_column([""] * 3)}
    metadata = {"complex": np.complex128(1j), "none": None, "flags": [True, False], "empty": np.zeros((2, 0))}
    write_episodes(path, {index: small(index) for index in range(40)})
    write_episodes(path, {40: of_steps(2, {**numbers, **empty}, {**metadata, "t": "漢" * 70_000})})
    write_episodes(path, {41: of_steps(0), 42: large(0)})
    return path


@pytest.mark.parametrize("command", ["h5ls -rv", "h5stat", "h5dump -BH", "h5dump -y -w 0"])
def test_tools_of_hdf5_look_at_it(varied_file: Path, command: str) -> None:
    assert len(run_tool(*command.split(), varied_file)) > 1000


def test_tools_of_hdf5_copy_it(varied_file: Path, tmp_path: Path) -> None:
    run_tool("h5repack", varied_file, tmp_path / "copy.h5")
    compared = run_tool("h5diff", "-v", "-c", varied_file, tmp_path / "copy.h5")
    with h5py.File(varied_file) as ours, h5py.File(tmp_path / "copy.h5") as theirs:
        names, copied = list[str](), list[str]()
        ours.visit(names.append)
        theirs.visit(copied.append)
        assert names == copied
        assert all(set(ours[name].attrs) == set(theirs[name].attrs) for name in names)
        # It does not look at what has no elements, and says so without failing.
        left_out = {line.split("<")[1].split(">")[0] for line in compared.splitlines() if "Not comparable" in line}
        assert all(ours[name].size == 0 for name in left_out)
        attributes = sum(len(ours[name].attrs) for name in names)
    assert compared.count("\n0 differences found") >= len(names) - len(left_out) + attributes > 400


@pytest.mark.parametrize("count", [1, 100])
def test_episodes_are_compact(count: int, tmp_path: Path) -> None:
    """Beyond its values, an episode takes little, in headers that HDF5 verifies and changes."""
    steps, space = 22, spaces.Box(-1.0, 1.0, (4,), np.float32)
    flags = np.zeros(steps, bool)
    buffer = EpisodeBuffer(
        seed=1, observations=np.zeros((steps + 1, 4), np.float32), actions=np.zeros(steps, int), rewards=np.ones(steps),
        terminations=flags, truncations=flags,
    )  # fmt: skip
    storage = MinariStorage.new(tmp_path, space, spaces.Discrete(2), data_format="hdf5")
    empty = (tmp_path / "main_data.hdf5").stat().st_size
    storage.update_episodes([buffer] * count, describe=EpisodeMetadataCallback())
    size = (tmp_path / "main_data.hdf5").stat().st_size - empty
    assert size < count * (34 * steps + 16 + 1200) + 400
    with h5py.File(tmp_path / "main_data.hdf5", "r+") as file:
        for number in range(count):
            group = file[f"episode_{number}"]
            for name in range(9):  # more than HDF5 usually keeps in a header
                group.attrs[f"a{name}"] = name
            group["infos/x"] = np.arange(steps + 1)
            assert len(group.attrs) == 8 + 9
            assert group.attrs["rewards_sum"] == steps
    for metadata, episode in zip(
        storage.get_episode_metadata(range(count)), storage.get_episodes(range(count)), strict=True
    ):
        assert (metadata["a8"], metadata["seed"], len(episode["rewards"])) == (8, 1, steps)
        assert episode["infos"]["x"].tolist() == list(range(steps + 1))
