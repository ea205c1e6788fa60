"""HDF5 files that other programs wrote or changed: read from their bytes as h5py reads them, or through HDF5."""

from __future__ import annotations

import itertools
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from gymnasium import spaces

from minari._base.data_file import DataFile
from minari._storages.hdf5 import process
from minari._storages.hdf5.format.objects import CONTINUATION, HEADER, MESSAGE
from minari._storages.hdf5.index import UNKNOWN
from minari._storages.hdf5.reader import EpisodeFile, open_episodes
from minari._storages.hdf5.writer import HDF5Writer
from minari.dataset.minari_storage import MinariStorage
from minari.errors import DatasetCorruptError
from minari.spaces import object_column
from minari.testing.comparison import assert_metadata
from minari.testing.examples import as_buffer, draw_truth
from support.hdf5_files import BytesFile, assert_value, attributes_at
from support.programs import run
from support.stored import assert_holds, in_child, store, without_index


LIBRARIES = ["earliest", "v108", "v110", "latest"]
STORED: dict[str, dict[str, Any]] = {
    "in one piece": {},
    "chunks": {"chunks": (2, 2)},
    "filters": {"chunks": (2, 2), "compression": "gzip", "shuffle": True, "fletcher32": True},
    "growing": {"chunks": (2, 2), "maxshape": (None, 3)},
    "growing to a limit": {"chunks": (4, 2), "maxshape": (10, 9), "compression": "gzip"},
    "checksum only": {"chunks": (6, 3), "fletcher32": True},
    "one chunk": {"chunks": (6, 3), "compression": "gzip"},
    "many chunks": {"chunks": (1, 1), "compression": "gzip"},
}
UNUSUAL_FILES = [
    {"userblock_size": 512},
    {"userblock_size": 4096},
    {"fs_strategy": "page"},
    {"fs_strategy": "aggregate"},
]


@pytest.fixture
def no_process(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing be read through HDF5, except chunks with the tables of newer versions."""
    if library in ("earliest", "v108"):
        monkeypatch.setattr("minari._storages.hdf5.reader.process", None)


def fill(group: h5py.Group, index: int, stored: dict[str, Any]) -> None:
    """Make an episode of six observations, with values of all kinds."""
    rng = np.random.default_rng(index)
    group.attrs["total_steps"], group.attrs["note"] = 5, "é" * index
    for number in range(20 if index == 0 else 1):
        group.attrs[f"array {number}"] = np.arange(number * 10)
    observations, infos = group.create_group("observations"), group.create_group("infos")
    observations.create_dataset("x", data=rng.standard_normal((6, 3)), **stored)
    texts = ["", "a", "é" * 100, "x" * 70_000, "日本", "q"]
    observations.create_dataset("t", data=texts, dtype=h5py.string_dtype())
    images = observations.create_dataset("bytes", (6,), dtype=h5py.vlen_dtype("u1"))
    for row in range(6):
        images[row] = rng.integers(0, 255, row * 100).astype("u1")
    group["actions"] = rng.integers(0, 9, 5).astype(">i4")
    group["rewards"], group["terminations"], group["truncations"] = np.ones(5), np.zeros(5, bool), np.zeros(5, bool)
    infos["fixed"], infos["none"], infos["half"] = np.array([b"ab", b"c"] * 3), np.zeros((6, 0)), np.zeros(6, "f2")
    infos.create_dataset("never written", (6, 4), "f4", fillvalue=3.5)
    infos.create_dataset("no text", (0,), dtype=h5py.string_dtype())
    infos.create_dataset("partly written", (6, 4), "f4", chunks=(2, 3), fillvalue=2.5)[0:2] = 1
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_layout(h5py.h5d.COMPACT)
    compact = h5py.h5d.create(infos.id, b"compact", h5py.h5t.STD_I32LE, h5py.h5s.create_simple((6,)), properties)
    compact.write(h5py.h5s.ALL, h5py.h5s.ALL, np.arange(6, dtype="i4"))


def assert_reads_as_h5py(path: Path) -> None:
    """Require the same attributes and values, of all arrays of all episodes."""
    read_at, size = BytesFile(path).read_at, path.stat().st_size
    with open_episodes(path) as episodes, h5py.File(path) as file:
        assert episodes.count() == len(file)
        base = file.userblock_size
        for index in range(len(file)):
            expected = file[f"episode_{index}"]
            if not base:
                found = dict(attributes_at(read_at, size, h5py.h5o.get_info(expected.id).addr) or [])
                assert found.keys() == set(expected.attrs)
                for name, value in found.items():
                    assert_value(value, expected.attrs[name], name)
            assert expected.attrs.keys() == episodes.read_metadata(index).keys()
            names: list[str] = []
            expected.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)  # noqa: B023
            paths: dict[str, Any] = {name: tuple(name.split("/")) for name in names}
            assert {leaf.path for leaf in episodes.locate(index, paths).schema.leaves} == set(paths.values())
            for column_path, column in episodes.read_columns([(index, UNKNOWN, [*paths.values()])])[index].items():
                dataset = expected["/".join(column_path)]
                if column.dtype == object:
                    is_text = h5py.check_string_dtype(dataset.dtype) is not None
                    rows = dataset.asstr()[:] if is_text else map(bytes, dataset[:])
                    assert list(column) == list(rows), column_path
                else:
                    assert_value(column, dataset[()], str(column_path))


@pytest.mark.parametrize("track_order", [False, True])
@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize("library", LIBRARIES)
def test_episodes_are_read_as_by_h5py(
    tmp_path: Path, library: str, stored: str, track_order: bool, no_process: None
) -> None:
    with h5py.File(tmp_path / "file.h5", "w", libver=library, track_order=track_order) as file:
        for index in range(3):
            fill(file.create_group(f"episode_{index}", track_order=track_order), index, STORED[stored])
    assert_reads_as_h5py(tmp_path / "file.h5")


@pytest.mark.parametrize("options", UNUSUAL_FILES, ids=str)
@pytest.mark.parametrize("library", ["earliest", "latest"])
def test_unusual_files_are_read_as_by_h5py(
    tmp_path: Path, library: str, options: dict[str, Any], no_process: None
) -> None:
    with h5py.File(tmp_path / "file.h5", "w", libver=library, **options) as file:
        for index, stored in enumerate(("filters", "in one piece")):
            fill(file.create_group(f"episode_{index}"), index, STORED[stored])
    assert_reads_as_h5py(tmp_path / "file.h5")


@pytest.mark.parametrize("track_order", [False, True])
@pytest.mark.parametrize("library", ["earliest", "v108", "latest"])
def test_many_members_are_read_as_by_h5py(tmp_path: Path, library: str, track_order: bool, no_process: None) -> None:
    """More than a node of any tree, or a header, can hold; some of them deleted again."""
    with h5py.File(tmp_path / "file.h5", "w", libver=library, track_order=track_order) as file:
        for index in range(700):
            file.create_group(f"episode_{index}")["rewards"] = np.full(1, index)
        group = file["episode_5"]
        for number in range(300):
            group.attrs[f"attribute {number}"] = number
            group[f"infos/n{number}"] = np.full(2, number)
        for number in range(0, 300, 2):
            del group[f"infos/n{number}"]
        for number in range(0, 300, 15):  # which takes long
            del group.attrs[f"attribute {number}"]
    assert_reads_as_h5py(tmp_path / "file.h5")


# Links

LEAVES = ("observations", "actions", "rewards", "terminations", "truncations")
KNOWN = {"observations": ("observations",), "actions": ("actions",)}


def an_episode(file: h5py.File, name: str = "episode_0") -> h5py.Group:
    group = file.create_group(name)
    for leaf in LEAVES:
        group[leaf] = np.arange(4.0)
    return group


def test_links_are_followed_and_foreign_members_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "main_data.hdf5"
    with h5py.File(tmp_path / "additional_data_0.hdf5", "w") as file:  # as releases before 0.5 combined datasets
        an_episode(file, "episode_7").attrs["seed"] = 5
    with h5py.File(path, "w") as file:
        group = an_episode(file)
        group.move("observations", "aside")
        group["observations"], file["episode_1"] = h5py.SoftLink("aside"), h5py.SoftLink("/episode_0")
        file["episode_2"] = group
        file["episode_3"] = h5py.ExternalLink("additional_data_0.hdf5", "/episode_7")
        file["notes"], file["episode_x"], file["episode_01"] = 1, 2, 3
        file["elsewhere"] = h5py.ExternalLink("/etc/passwd", "/")
        group["extra"], group["gone"], group["reference"] = np.arange(9), h5py.SoftLink("/nowhere"), group.ref
    with open_episodes(path) as episodes:
        assert episodes.count() == 4
        for index in range(4):
            columns = episodes.read_columns([(index, UNKNOWN, [("observations",), ("rewards",)])])[index]
            assert [column.tolist() for column in columns.values()] == [[0, 1, 2, 3]] * 2
            placed = episodes.locate(index, KNOWN)
            assert sorted(leaf.path for leaf in placed.schema.leaves) == sorted((name,) for name in LEAVES)
        assert episodes.read_metadata(3) == {"seed": 5}
    assert (placed.headers.tolist(), placed.total_steps.tolist()) == ([UNKNOWN], [4])


# Datasets that other programs change

SPACE = spaces.Dict({"x": spaces.Box(-1.0, 1.0, (3,), np.float32), "t": spaces.Text(5)})
ACTIONS = spaces.Discrete(3)
TRUTHS = [draw_truth(SPACE, ACTIONS, steps, steps) for steps in (2, 5, 3)]
OPTIONS = pytest.mark.parametrize("options", [{}, {"libver": "earliest"}, {"libver": "latest"}], ids=str)


@pytest.fixture
def data_path(tmp_path: Path) -> Path:
    return store(tmp_path, truths=[as_buffer(truth, seed=7) for truth in TRUTHS], observation_space=SPACE)


def opened(data_path: Path, **options: Any) -> h5py.File:
    return h5py.File(data_path / "main_data.hdf5", "r+", **options)


def assert_read(data_path: Path, truths: list[Any], metadata: dict[int, dict[str, Any]] | None = None) -> None:
    """By a storage that has to find everything, and by one that has an index of it."""
    for storage in (without_index(data_path), MinariStorage.read(data_path)):
        assert_holds(storage, truths, SPACE, ACTIONS)
        found = list(storage.get_episode_metadata(range(len(truths))))
        for index, expected in (metadata or {}).items():
            assert_metadata(found[index], expected)


def kinds_of_messages(block: bytes) -> list[int]:
    kinds, position = [], 0
    while position + MESSAGE.size <= len(block):
        kind, size, _ = MESSAGE.unpack_from(block, position)
        kinds.append(kind)
        position += MESSAGE.size + size
    return kinds


@OPTIONS
@pytest.mark.parametrize("is_old", [False, True], ids=["compact", "counted"])
def test_attributes_that_h5py_changes_are_read_and_changed(
    is_old: bool, options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the header has continuations, and holes where attributes were; in headers of both versions."""
    if is_old:  # as in files that other programs have begun, and as HDF5 writes by default
        monkeypatch.setattr(HDF5Writer, "_has_table", False)
    data_path = store(tmp_path, truths=[as_buffer(truth, seed=7) for truth in TRUTHS], observation_space=SPACE)
    with opened(data_path, **options) as file:
        attributes = file["episode_1"].attrs
        for number in range(60):
            attributes[f"a{number}"] = np.arange(number)
        for number in range(0, 60, 2):
            del attributes[f"a{number}"]
        del attributes["seed"]
        attributes["a1"], attributes["note"], attributes["total_steps"] = "now a text", "x" * 3000, np.int32(5)
        for number in range(20):  # as releases before 0.5 have them
            file.attrs[f"a{number}"] = "x" * number
        address = h5py.h5o.get_info(file["episode_1"].id).addr
    read_at = BytesFile(data_path / "main_data.hdf5").read_at
    version, _, _, size = HEADER.unpack(read_at(address, HEADER.size))
    if is_old:
        assert version == 1
        assert CONTINUATION in kinds_of_messages(read_at(address + HEADER.size, size))
    else:
        assert read_at(address, 5) == b"OHDR\2"
        assert b"OCHK" in read_at(0, 2**24)
    expected = {"a1": "now a text", "a3": np.arange(3), "a59": np.arange(59), "note": "x" * 3000}
    assert_read(data_path, TRUTHS, {0: {"seed": 7}, 1: expected, 2: {"seed": 7}})
    MinariStorage.read(data_path).update_episodes([as_buffer(TRUTHS[0], seed=8)])
    MinariStorage.read(data_path).update_episode_metadata([{"a1": 5, "mine": {"x": 1}}], [1])
    assert_read(data_path, [*TRUTHS, TRUTHS[0]], {1: {**expected, "a1": 5, "mine": {"x": 1}}, 3: {"seed": 8}})
    (found,) = MinariStorage.read(data_path).get_episode_metadata([1])
    assert not {"a0", "a58", "seed"} & found.keys()
    with opened(data_path) as file:
        assert {name: len(text) for name, text in file.attrs.items()} == {f"a{number}": number for number in range(20)}


@OPTIONS
def test_members_that_h5py_adds_and_episodes_that_it_makes_are_read(data_path: Path, options: dict[str, Any]) -> None:
    """More than a header holds, so that HDF5 moves all links elsewhere; and takes some away again."""
    with opened(data_path, **options) as file:
        del file["episode_1"]
        group = file.create_group("episode_1")
        group.attrs["id"], group.attrs["total_steps"], group.attrs["by"] = 1, 5, "another program"
        group["observations/x"] = np.stack([value["x"] for value in TRUTHS[1]["observations"]])
        group.create_dataset("observations/t", data=[value["t"] for value in TRUTHS[1]["observations"]])
        group["actions"] = np.stack(TRUTHS[1]["actions"])
        for name in ("rewards", "terminations", "truncations"):
            group.create_dataset(name, data=TRUTHS[1][name], chunks=True, compression="gzip")
        for number in range(12):
            file[f"episode_0/infos/i{number}"] = np.full(3, number)
            group.create_dataset(f"infos/deep/er/i{number}", data=[f"{number}"] * 6)
            file[f"episode_2/infos/i{number}"] = np.full(4, number)
        for number in range(10):
            del file[f"episode_2/infos/i{number}"]
    infos: list[Any] = [
        {f"i{number}": np.full(3, number) for number in range(12)},
        {"deep": {"er": {f"i{n}": object_column([f"{n}"] * 6) for n in range(12)}}},
        {f"i{number}": np.full(4, number) for number in (10, 11)},
    ]
    truths = [{**truth, "infos": each} for truth, each in zip(TRUTHS, infos, strict=True)]
    assert_read(data_path, truths, {0: {"seed": 7}, 1: {"by": "another program"}, 2: {"seed": 7}})
    for more in TRUTHS:
        MinariStorage.read(data_path).update_episodes([as_buffer(more, seed=9)])
        truths.append(more)
        assert_read(data_path, truths, {1: {"by": "another program"}, len(truths) - 1: {"seed": 9}})
    with opened(data_path) as file:
        assert sorted(file) == [f"episode_{index}" for index in range(6)]
        assert all(h5py.h5o.get_info(group.id).rc == 1 for group in file.values())


def test_episode_at_the_same_place_of_another_file_is_not_taken_for_it(data_path: Path) -> None:
    shutil.copy(data_path / "main_data.hdf5", data_path / "additional_data_0.hdf5")
    rewards = TRUTHS[1]["rewards"] + 1
    with opened(data_path) as file, h5py.File(data_path / "additional_data_0.hdf5", "r+") as other:
        other["episode_1"].attrs.modify("seed", 8)
        other["episode_1/rewards"][...] = rewards
        assert len({h5py.h5o.get_info(each["episode_1"].id).addr for each in (file, other)}) == 1
        del file["episode_1"]
        file["episode_1"] = h5py.ExternalLink("additional_data_0.hdf5", "/episode_1")
    assert_read(data_path, [TRUTHS[0], {**TRUTHS[1], "rewards": rewards}, TRUTHS[2]], {0: {"seed": 7}, 1: {"seed": 8}})


@pytest.mark.parametrize("padding", [0, 100_000], ids=["other places", "places that both files have"])
def test_episodes_linked_from_another_file_are_read(data_path: Path, padding: int) -> None:
    with opened(data_path) as file, h5py.File(data_path / "additional_data_0.hdf5", "w") as other:
        other["before"] = np.zeros(500)
        for index in (1, 2):
            file.copy(f"episode_{index}", other)
            del file[f"episode_{index}"]
            file[f"episode_{index}"] = h5py.ExternalLink("additional_data_0.hdf5", f"/episode_{index}")
        other["episode_2"].attrs["note"] = "here"
        other["rewards"] = TRUTHS[0]["rewards"]
        del file["episode_0/rewards"]
        file["episode_0/rewards"] = h5py.ExternalLink("additional_data_0.hdf5", "/rewards")
        file["episode_0"].attrs["note"] = "x" * padding
    assert_read(data_path, TRUTHS, {0: {"seed": 7}, 1: {"seed": 7}, 2: {"seed": 7, "note": "here"}})
    MinariStorage.read(data_path).update_episodes([as_buffer(TRUTHS[0])])
    assert_read(data_path, [*TRUTHS, TRUTHS[0]])


# Through HDF5 in another process


def rewrite(data_path: Path, change: Callable[[h5py.Group], object], library: str = "earliest") -> None:
    with opened(data_path, libver=(library, "latest")) as file:
        for group in file.values():
            change(group)


def again_with(name: str, **options: Any) -> Callable[[h5py.Group], object]:
    def change(group: h5py.Group) -> None:
        values, dtype = group[name][()], group[name].dtype
        del group[name]
        group.create_dataset(name, data=values, dtype=dtype, **options)

    return change


LZF = again_with("observations/x", compression="lzf")
UNUSUAL: dict[str, tuple[Callable[[h5py.Group], object], str]] = {
    "lzf": (LZF, "earliest"),
    "text in lzf": (again_with("observations/t", compression="lzf"), "earliest"),
    "growing without end": (again_with("rewards", chunks=(1,), maxshape=(None,), compression="gzip"), "latest"),
    "an attribute": (lambda group: group.attrs.create("odd", np.zeros(2, [("a", "i4"), ("b", "f8")])), "earliest"),
    "a reference": (lambda group: group.attrs.create("odd", group.ref), "earliest"),
}


@pytest.mark.parametrize("kind", UNUSUAL)
def test_what_only_hdf5_reads_is_read_and_copied(data_path: Path, tmp_path: Path, kind: str) -> None:
    rewrite(data_path, *UNUSUAL[kind])
    assert_read(data_path, TRUTHS, {0: {"seed": 7}, 1: {"seed": 7}})
    if kind != "an attribute":  # of a kind that no format of ours stores
        other = MinariStorage.new(tmp_path / "other" / "data", SPACE, ACTIONS)
        other.update_from_storage(MinariStorage.read(data_path))
        assert_holds(other, TRUTHS, SPACE, ACTIONS)


def test_text_of_others_needs_neither_h5py_nor_another_process(data_path: Path) -> None:
    rewrite(data_path, again_with("observations/t", chunks=(2,), compression="gzip"))
    program = """
        import sys
        from minari.dataset.minari_storage import MinariStorage
        storage = MinariStorage.read(sys.argv[1])
        print([len(episode["observations"]["t"]) for episode in storage.get_episodes([0, 1])])
        print(list(storage.get_episode_metadata([0]))[0]["seed"])
        print(sys.modules.keys() & {"h5py", "minari._storages.hdf5.process"})
    """
    without_index(data_path)
    assert run(program, str(data_path)).splitlines() == ["[3, 6]", "7", "set()"]


def saying(text: str) -> str:
    """A program that gives an answer and waits."""
    answer = len(text).to_bytes(8, "little") + text.encode()
    return f"import sys, time; sys.stdout.buffer.write({answer!r}); sys.stdout.flush(); time.sleep(99)"


PROGRAMS = {
    "hangs": ("import time\nwhile True: time.sleep(1)", "too long"),
    "crashes": ("import os, sys; sys.stdin.readline(); os.abort()", "crashed"),
    "ends": ("import sys; sys.stdin.readline()", "status 0"),
    "says nonsense": (saying("[1, 2]"), "cannot be"),
    "promises too much": (saying('["part", 1, [["<f8", [1152921504606846976]]]]'), "cannot be"),
    "brings objects": (saying('["part", 1, [["|O", [1]]]]'), "cannot be"),
    "brings negative shapes": (saying('["part", 1, [["<f8", [-1]]]]'), "cannot be"),
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_process_that_fails_is_an_error_of_the_dataset(
    data_path: Path, program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next request has a new process, until there have been enough for the file."""
    rewrite(data_path, LZF)
    code, message = PROGRAMS[program]
    process.end()
    with monkeypatch.context() as context:
        context.setattr(process, "PROGRAM", code)
        context.setattr(process, "PATIENCE", 0.1)
        context.setattr(process, "MOMENT", 0.1)
        storage = MinariStorage.read(data_path)
        for expected in (message, message, message, "has failed on it", "has failed on it"):
            with pytest.raises(DatasetCorruptError, match=rf"main_data\.hdf5 .*{expected}"):
                list(storage.get_episodes([0]))
    process.failures.clear()
    assert_holds(data_path, TRUTHS, SPACE, ACTIONS)


def test_process_that_was_ended_by_others_is_started_again(data_path: Path) -> None:
    rewrite(data_path, LZF)
    storage = MinariStorage.read(data_path)
    for _ in range(3):
        list(storage.get_episodes([0, 1]))
        child = process.process_id()
        assert child is not None
        os.kill(child, 9)
        os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_forks_while_a_thread_reads_through_hdf5_have_processes_of_their_own(data_path: Path) -> None:
    rewrite(data_path, LZF)
    storage, stop = MinariStorage.read(data_path), threading.Event()

    def keep_reading() -> None:
        while not stop.is_set():
            list(storage.get_episodes([0, 1]))

    def read() -> None:
        for each in (storage, MinariStorage.read(data_path)):
            assert_holds(each, TRUTHS, SPACE, ACTIONS)

    thread = threading.Thread(target=keep_reading)
    thread.start()
    try:
        assert [in_child(read) for _ in range(5)] == ["None"] * 5
    finally:
        stop.set()
        thread.join()


def test_members_of_the_root_are_read_once(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "file.h5", "w") as file:
        for index in range(100):
            an_episode(file, f"episode_{index}")
    with DataFile(tmp_path / "file.h5") as data:
        episodes, read = EpisodeFile(tmp_path / "file.h5", data.size), itertools.count()

        def read_at(offset: int, size: int) -> bytes:
            next(read)
            return data.read_at(offset, size)

        episodes.read_at = read_at
        episodes.locate(0, KNOWN)
        first = next(read)
        episodes.locate(1, KNOWN)
        assert next(read) - first < 30
