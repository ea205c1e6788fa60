"""HDF5 files of any program read from their bytes: the same values as h5py reads, whatever the settings."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from gymnasium import spaces

from minari._base.data_file import DataFile
from minari._storages.hdf5 import process as hdf5_process
from minari._storages.hdf5.format.headers import read_attributes
from minari._storages.hdf5.index import UNKNOWN
from minari._storages.hdf5.reader import EpisodeFile, _arrays, open_episodes
from minari.dataset.minari_storage import MinariStorage
from minari.errors import DatasetCorruptError
from minari.testing.comparison import assert_episode
from minari.testing.examples import as_buffer, draw_truth
from support.stored import index_files


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
TEXTS = ["", "a", "é" * 100, "x" * 70_000, "日本", "q"]


def fill(group: h5py.Group, index: int, stored: dict[str, Any]) -> None:
    """Make an episode of six observations, with values of all kinds."""
    rng = np.random.default_rng(index)
    group.attrs["total_steps"], group.attrs["note"] = 5, "é" * index
    for number in range(20 if index == 0 else 1):
        group.attrs[f"array {number}"] = np.arange(number * 10)
    observations = group.create_group("observations")
    observations.create_dataset("x", data=rng.standard_normal((6, 3)), **stored)
    observations.create_dataset("t", data=TEXTS, dtype=h5py.string_dtype())
    images = observations.create_dataset("bytes", (6,), dtype=h5py.vlen_dtype("u1"))
    for row in range(6):
        images[row] = rng.integers(0, 255, row * 100).astype("u1")
    group["actions"] = rng.integers(0, 9, 5).astype(">i4")
    group["rewards"], group["terminations"], group["truncations"] = np.ones(5), np.zeros(5, bool), np.zeros(5, bool)
    infos = group.create_group("infos")
    infos["fixed"], infos["none"], infos["half"] = np.array([b"ab", b"c"] * 3), np.zeros((6, 0)), np.zeros(6, "f2")
    infos.create_dataset("never written", (6, 4), "f4", fillvalue=3.5)
    infos.create_dataset("no text", (0,), dtype=h5py.string_dtype())
    infos.create_dataset("partly written", (6, 4), "f4", chunks=(2, 3), fillvalue=2.5)[0:2] = 1
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_layout(h5py.h5d.COMPACT)
    compact = h5py.h5d.create(infos.id, b"compact", h5py.h5t.STD_I32LE, h5py.h5s.create_simple((6,)), properties)
    compact.write(h5py.h5s.ALL, h5py.h5s.ALL, np.arange(6, dtype="i4"))


def assert_same(found: Any, expected: Any, name: str) -> None:
    if isinstance(expected, str):
        assert found == expected, name
        return
    found, expected = np.asarray(found), np.asarray(expected)
    if object in (found.dtype, expected.dtype):
        assert [bytes(item) if isinstance(item, np.ndarray) else item for item in expected] == list(found), name
    else:
        assert (found.dtype, found.shape, found.tobytes()) == (expected.dtype, expected.shape, expected.tobytes()), name


def assert_reads_as_h5py(path: Path) -> None:
    """Require the same members, attributes and values, of all arrays of all episodes, without another process."""
    with open_episodes(path) as episodes, h5py.File(path) as file:
        assert set(episodes._file().root_members()) == set(file)
        assert episodes.count() == len(file)
        for index in range(len(file)):
            group, expected = episodes._episode(index), file[f"episode_{index}"]
            attributes = dict(read_attributes(group.file.source, group.messages))
            assert attributes.keys() == set(expected.attrs)
            for name, value in attributes.items():
                assert_same(value, expected.attrs[name], name)
            names: list[str] = []
            expected.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)  # noqa: B023
            assert sorted(item.name for item in _arrays(group)) == sorted(names)
            paths = [tuple(name.split("/")) for name in names]
            for path_of, column in episodes.read_columns([(index, UNKNOWN, paths)])[index].items():
                dataset = expected["/".join(path_of)]
                is_text = h5py.check_string_dtype(dataset.dtype) is not None and dataset.dtype == object
                assert_same(column, dataset.asstr()[:] if is_text else dataset[()], "/".join(path_of))


@pytest.mark.parametrize("track_order", [False, True])
@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize("library", LIBRARIES)
def test_as_h5py_writes(tmp_path: Path, library: str, stored: str, track_order: bool) -> None:
    with h5py.File(tmp_path / "file.h5", "w", libver=library, track_order=track_order) as file:
        for index in range(3):
            fill(file.create_group(f"episode_{index}", track_order=track_order), index, STORED[stored])
    assert_reads_as_h5py(tmp_path / "file.h5")


@pytest.mark.parametrize(
    "options",
    [{"userblock_size": 512}, {"userblock_size": 4096}, {"fs_strategy": "page"}, {"fs_strategy": "aggregate"}],
    ids=str,
)
@pytest.mark.parametrize("library", ["earliest", "latest"])
def test_unusual_files(tmp_path: Path, library: str, options: dict[str, Any]) -> None:
    with h5py.File(tmp_path / "file.h5", "w", libver=library, **options) as file:
        fill(file.create_group("episode_0"), 0, STORED["filters"])
        fill(file.create_group("episode_1"), 1, STORED["in one piece"])
    assert_reads_as_h5py(tmp_path / "file.h5")


@pytest.mark.parametrize("track_order", [False, True])
@pytest.mark.parametrize("library", ["earliest", "v108", "latest"])
def test_many_members(tmp_path: Path, library: str, track_order: bool) -> None:
    """More than a node of any tree, or a header, can hold; some of them deleted again."""
    with h5py.File(tmp_path / "file.h5", "w", libver=library, track_order=track_order) as file:
        for index in range(700):
            file.create_group(f"episode_{index}")["rewards"] = np.full(1, index)
        group = file["episode_5"]
        for number in range(300):
            group.attrs[f"attribute {number}"] = number
            group[f"infos/n{number}"] = np.full(2, number)
        for number in range(0, 300, 2):
            del group[f"infos/n{number}"], group.attrs[f"attribute {number}"]
    assert_reads_as_h5py(tmp_path / "file.h5")


# Links


def an_episode(file: h5py.File, name: str = "episode_0") -> h5py.Group:
    group = file.create_group(name)
    for leaf in ("observations", "actions", "rewards", "terminations", "truncations"):
        group[leaf] = np.arange(4.0)
    return group


KNOWN = {"observations": ("observations",), "actions": ("actions",)}


def columns_of(path: Path, index: int = 0) -> dict[Any, Any]:
    with open_episodes(path) as episodes:
        return episodes.read_columns([(index, UNKNOWN, [("observations",), ("rewards",)])])[index]


def test_links_within_the_file(tmp_path: Path) -> None:
    path = tmp_path / "main_data.hdf5"
    with h5py.File(path, "w") as file:
        group = an_episode(file)
        group.move("observations", "aside")
        group["observations"] = h5py.SoftLink("aside")
        file["episode_1"] = h5py.SoftLink("/episode_0")
        file["episode_2"] = group
    for index in range(3):
        assert columns_of(path, index)["observations",].tolist() == [0, 1, 2, 3]


def test_episodes_in_a_file_beside(tmp_path: Path) -> None:
    """As releases before 0.5 combined datasets."""
    with h5py.File(tmp_path / "additional_data_0.hdf5", "w") as file:
        an_episode(file, "episode_7").attrs["seed"] = 5
    with h5py.File(tmp_path / "main_data.hdf5", "w") as file:
        an_episode(file)
        file["episode_1"] = h5py.ExternalLink("additional_data_0.hdf5", "/episode_7")
    assert columns_of(tmp_path / "main_data.hdf5", 1)["rewards",].tolist() == [0, 1, 2, 3]
    with open_episodes(tmp_path / "main_data.hdf5") as episodes:
        assert episodes.count() == 2
        assert episodes.read_metadata(1) == {"seed": 5}
        placed = episodes.locate(1, KNOWN)
    assert placed.headers.tolist() == [UNKNOWN]
    assert placed.total_steps.tolist() == [4]


def test_what_is_foreign_is_passed_over(tmp_path: Path) -> None:
    """In the root, in an episode, and among the observations; also what cannot be opened."""
    path = tmp_path / "main_data.hdf5"
    with h5py.File(path, "w") as file:
        group = an_episode(file)
        file["notes"], file["episode_x"], file["episode_01"] = 1, 2, 3
        file["elsewhere"] = h5py.ExternalLink("/etc/passwd", "/")
        group["extra"], group["gone"] = np.arange(9), h5py.SoftLink("/nowhere")
        group["reference"] = group.ref
    with open_episodes(path) as episodes:
        assert episodes.count() == 1
        paths = [leaf.path for leaf in episodes.locate(0, KNOWN).schema.leaves]
    assert sorted(paths) == sorted([("actions",), ("observations",), ("rewards",), ("terminations",), ("truncations",)])


# Through HDF5 in another process


SPACE = spaces.Dict({"x": spaces.Box(-1.0, 1.0, (3,), np.float32), "t": spaces.Text(5)})
ACTIONS = spaces.Discrete(3)
TRUTHS = [draw_truth(SPACE, ACTIONS, steps, steps, {"n": np.arange(steps + 1)}) for steps in (2, 5)]


def rewritten(directory: Path, change: Callable[[h5py.Group], object], library: str = "earliest") -> Path:
    """A dataset in which another program has changed every episode."""
    storage = MinariStorage.new(directory / "data", SPACE, ACTIONS)
    storage.update_episodes(as_buffer(truth, seed=3) for truth in TRUTHS)
    with h5py.File(storage.data_path / "main_data.hdf5", "r+", libver=(library, "latest")) as file:
        for group in file.values():
            change(group)
    for file_of_index in index_files(storage.data_path):
        file_of_index.unlink()
    return storage.data_path


def again_with(name: str, **options: Any) -> Callable[[h5py.Group], object]:
    def change(group: h5py.Group) -> None:
        values = group[name][()]
        dtype = group[name].dtype
        del group[name]
        group.create_dataset(name, data=values, dtype=dtype, **options)

    return change


UNUSUAL: dict[str, tuple[Callable[[h5py.Group], object], str]] = {
    "lzf": (again_with("observations/x", compression="lzf"), "earliest"),
    "text in lzf": (again_with("observations/t", compression="lzf"), "earliest"),
    "growing without end": (again_with("rewards", chunks=(1,), maxshape=(None,), compression="gzip"), "latest"),
    "an attribute": (lambda group: group.attrs.create("odd", np.zeros(2, [("a", "i4"), ("b", "f8")])), "earliest"),
    "a reference": (lambda group: group.attrs.create("odd", group.ref), "earliest"),
}


@pytest.mark.parametrize("kind", UNUSUAL)
def test_what_only_hdf5_reads(tmp_path: Path, kind: str) -> None:
    data_path = rewritten(tmp_path, *UNUSUAL[kind])
    for _ in range(2):
        storage = MinariStorage.read(data_path)
        for episode, truth in zip(storage.get_episodes([0, 1]), TRUTHS, strict=True):
            assert_episode(episode, SPACE, ACTIONS, truth)
        assert [metadata["seed"] for metadata in storage.get_episode_metadata([0, 1])] == [3, 3]
    if kind == "an attribute":  # of a kind that no format of ours stores
        return
    other = MinariStorage.new(tmp_path / "other" / "data", SPACE, ACTIONS)
    other.update_from_storage(storage)
    for episode, truth in zip(other.get_episodes([0, 1]), TRUTHS, strict=True):
        assert_episode(episode, SPACE, ACTIONS, truth)


def test_text_of_others_needs_no_h5py(tmp_path: Path) -> None:
    """Nor another process: neither to find episodes nor to read them and their metadata."""
    data_path = rewritten(tmp_path, again_with("observations/t", chunks=(2,), compression="gzip"))
    code = """
import sys
from minari.dataset.minari_storage import MinariStorage
storage = MinariStorage.read(sys.argv[1])
print([episode["observations"]["t"] for episode in storage.get_episodes([0, 1])] != [], sys.argv[0])
print(list(storage.get_episode_metadata([0]))[0]["seed"])
print(sys.modules.keys() & {"h5py", "minari._storages.hdf5.process"})
"""
    output = subprocess.run(
        [sys.executable, "-c", code, str(data_path)], capture_output=True, text=True, check=True
    ).stdout
    assert output.splitlines() == ["True -c", "3", "set()"]


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
def test_a_process_that_fails(tmp_path: Path, program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is an error of the dataset; the next request has a new process, until there have been enough for the file."""
    data_path = rewritten(tmp_path, again_with("observations/x", compression="lzf"))
    code, message = PROGRAMS[program]
    hdf5_process.end()
    with monkeypatch.context() as context:
        context.setattr(hdf5_process, "_PROGRAM", code)
        context.setattr(hdf5_process, "_PATIENCE", 0.1)
        storage = MinariStorage.read(data_path)
        with pytest.raises(DatasetCorruptError, match=rf"main_data\.hdf5 .*{message}"):
            list(storage.get_episodes([0]))
        for _ in range(3):
            with pytest.raises(DatasetCorruptError):
                list(storage.get_episodes([0]))
        with pytest.raises(DatasetCorruptError, match="has failed on it"):
            list(storage.get_episodes([0]))
    hdf5_process._failures.clear()
    assert_episode(next(MinariStorage.read(data_path).get_episodes([0])), SPACE, ACTIONS, TRUTHS[0])


def test_a_process_that_was_ended_by_others(tmp_path: Path) -> None:
    data_path = rewritten(tmp_path, again_with("observations/x", compression="lzf"))
    storage = MinariStorage.read(data_path)
    for _ in range(2):
        list(storage.get_episodes([0, 1]))
        child = hdf5_process._child
        assert child is not None
        child._process.kill()
        child._process.wait()
    list(storage.get_episodes([0, 1]))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_forks_while_a_thread_reads_through_hdf5(tmp_path: Path) -> None:
    """Each has a process of its own, and sees what has been written since."""
    data_path = rewritten(tmp_path, again_with("observations/x", compression="lzf"))
    storage, stop = MinariStorage.read(data_path), threading.Event()

    def read() -> None:
        while not stop.is_set():
            list(storage.get_episodes([0, 1]))

    thread = threading.Thread(target=read)
    thread.start()
    try:
        for _ in range(5):
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    for opened in (storage, MinariStorage.read(data_path)):
                        for episode, truth in zip(opened.get_episodes([0, 1]), TRUTHS, strict=True):
                            assert_episode(episode, SPACE, ACTIONS, truth)
                    code = 0
                finally:
                    os._exit(code)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        stop.set()
        thread.join()


# What is kept


def test_the_file_is_only_read_where_it_is_needed(tmp_path: Path) -> None:
    """The members of the root once, and not for each episode."""
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
