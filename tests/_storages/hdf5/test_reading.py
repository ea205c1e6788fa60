"""Episodes of an HDF5 file as they are read: private arrays, or views for whoever asks for them."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import minari
from minari._storages.hdf5 import storage as hdf5_storage
from minari._storages.hdf5.mapped_file import MappedFile
from minari.dataset.minari_storage import MinariStorage
from minari.testing._suite import ACTIONS, OBSERVATIONS
from minari.testing.comparison import assert_episode
from minari.testing.examples import as_buffer, draw_truth
from support.stored import TRUTHS, assert_holds, rewrite_index, store


needs_fds = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="/proc tells what is open, which is of Linux")


def arrays_of(value: Any) -> list[np.ndarray]:
    if isinstance(value, np.ndarray):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (tuple, list)) else ()
    return [array for part in parts for array in arrays_of(part)]


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_arrays_are_private_and_writable(tmp_path: Path, compression: str) -> None:
    storage = MinariStorage.new(tmp_path / "data", OBSERVATIONS, ACTIONS, compression=compression)
    storage.update_episodes(map(as_buffer, TRUTHS))
    episodes = list(storage.get_episodes(range(4)))
    for array in arrays_of(episodes):
        assert array.flags.writeable
        assert array.base is None or array.base.flags.owndata, "memory of its own"
        array[...] = np.zeros((), array.dtype)
    assert_holds(storage.data_path, TRUTHS)


def test_views_are_read_only(tmp_path: Path) -> None:
    storage = MinariStorage.read(store(tmp_path))
    episodes = list(storage.get_episodes(range(4), copy=False))
    for episode, truth in zip(episodes, TRUTHS, strict=True):
        assert_episode(episode, OBSERVATIONS, ACTIONS, truth)
        with pytest.raises(ValueError, match="read-only"):
            episode["rewards"][0] = 1


def test_datasets_give_copies_or_views() -> None:
    dataset = minari.create_dataset_from_arrays(
        "views-v0",
        observations=np.arange(6.0),
        actions=np.zeros(5),
        rewards=np.ones(5),
        terminations=np.eye(1, 5, 4)[0],
    )
    for given in (dataset[0], next(iter(dataset)), *dataset.sample_episodes(1), *dataset.iterate_episodes()):
        assert given.rewards.flags.writeable
        given.rewards[...] = 9
    (view,) = dataset.iterate_episodes(copy=False)
    assert not view.rewards.flags.writeable
    assert view.rewards.tolist() == [1] * 5


def test_views_of_one_file_share_a_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage, made = MinariStorage.read(store(tmp_path)), []

    def counted(file: Any) -> MappedFile:
        made.append(file.size)
        return MappedFile(file)

    monkeypatch.setattr(hdf5_storage, "MappedFile", counted)
    kept = [list(storage.get_episodes([index], copy=False)) for index in (0, 1, 2, 3, 0)]
    assert len(made) == 1
    del kept
    list(storage.get_episodes([0], copy=False))
    assert len(made) == 2


def test_copies_where_nothing_can_be_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(file: Any) -> MappedFile:
        raise OSError("no address space")

    storage = MinariStorage.read(store(tmp_path))
    monkeypatch.setattr(hdf5_storage, "MappedFile", refuse)
    for episode, truth in zip(storage.get_episodes(range(4), copy=False), TRUTHS, strict=True):
        assert_episode(episode, OBSERVATIONS, ACTIONS, truth)


@needs_fds
def test_nothing_stays_open(tmp_path: Path) -> None:
    """Neither by iterators that wait nor by datasets that were read from."""
    path = store(tmp_path)
    before = open_files()
    storages = [MinariStorage.read(path) for _ in range(30)]
    kept = [next(storage.get_episodes([0])) for storage in storages]
    iterators = [storage.get_episodes(itertools.cycle([0, 1])) for storage in storages]
    kept += map(next, iterators)
    list(storages[0].get_episode_metadata(range(4)))
    assert open_files() == before


@pytest.mark.skipif(os.name != "posix", reason="the limit is one of POSIX")
def test_a_thousand_open_datasets(tmp_path: Path) -> None:
    code = """
import resource, sys
import numpy as np, minari, os
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
from minari import MinariDataset
from minari.dataset.minari_storage import MinariStorage
path = sys.argv[1]
datasets = [MinariDataset(path) for _ in range(1000)]
episodes = [dataset[1] for dataset in datasets]
views = [list(dataset.iterate_episodes([2], copy=False)) and None for dataset in datasets]
lengths = [dataset.total_steps for dataset in datasets]
child = os.fork()
if child == 0:
    episodes = [dataset[3] for dataset in datasets]
    os._exit(len(episodes) != 1000)
print(len(episodes), os.waitpid(child, 0)[1])
"""
    path = store(tmp_path)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(path)], capture_output=True, text=True, check=False
    )
    assert done.stdout == "1000 0\n", done.stderr[-2000:]


# Files that others change in place

SPACE = gym.spaces.Dict(
    {"x": gym.spaces.Box(-1.0, 1.0, (50,), np.float64), "frames": gym.spaces.Box(0, 255, (16, 16, 3), np.uint8)}
)

READER = """
import os, shutil, sys
import numpy as np
from minari.dataset.minari_storage import MinariStorage
from minari.errors import MinariError
path, change, way = sys.argv[1:]
file = path + "/main_data.hdf5"
content = open(file, "rb").read()
storage = MinariStorage.read(path)
expected = [episode["observations"]["x"].sum() for episode in storage.get_episodes(range(40))]

def disturb():
    if change == "cut":
        os.truncate(file, 0)
    elif change == "half":
        os.truncate(file, len(content) // 2)
    elif change == "overwritten":
        with open(file, "r+b") as opened:
            opened.write(bytes(len(content)))
    elif change == "rewritten":
        with open(file, "wb") as opened:
            opened.write(content)
    elif change == "replaced":
        with open(file + "2", "wb") as opened:
            opened.write(content[::-1])
        os.replace(file + "2", file)
    elif change == "deleted":
        os.unlink(file)

if way == "one by one":
    read = (next(storage.get_episodes([index])) for index in range(40))
elif way == "windows":
    read = (storage.get_window(index, 3, 9) for index in range(40))
elif way == "metadata":
    read = storage.get_episode_metadata(range(40))
else:
    read = storage.get_episodes(range(40))
first = next(read)
disturb()
try:
    if way != "metadata":
        first["observations"]["x"].sum(), first["observations"]["frames"].sum()
    for index, episode in enumerate(read, 1):
        if way in ("one by one", "iterating") and change != "overwritten":
            assert episode["observations"]["x"].sum() == expected[index]
    print("read")
except MinariError as error:
    print(type(error).__name__)
"""


@pytest.fixture(scope="module", params=["none", "gzip"])
def large(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset that is not read at once."""
    path = tmp_path_factory.mktemp("large") / "data"
    storage = MinariStorage.new(path, SPACE, ACTIONS, compression=request.param)
    storage.update_episodes(as_buffer(draw_truth(SPACE, ACTIONS, 60, seed)) for seed in range(40))
    return path


@pytest.mark.parametrize("way", ["iterating", "one by one", "windows", "metadata"])
@pytest.mark.parametrize("change", ["cut", "half", "overwritten", "rewritten", "replaced", "deleted"])
def test_a_file_that_changes_while_it_is_read(large: Path, tmp_path: Path, change: str, way: str) -> None:
    """Right values or an error of ours, and no signal."""
    path = tmp_path / "data"
    path.mkdir()
    for file in large.iterdir():
        (path / file.name).write_bytes(file.read_bytes())
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", READER, str(path), change, way],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
    assert done.stdout.strip() in ("DatasetCorruptError", "read"), done.stdout
    if change == "rewritten":
        assert done.stdout.strip() == "read"
    if change in ("cut", "deleted"):
        assert done.stdout.strip() == "DatasetCorruptError"


# An index that is wrong


def test_an_index_that_leads_astray(tmp_path: Path) -> None:
    """An entry that matches the file but is wrong is not used a second time."""
    path = store(tmp_path)

    def astray(header: dict[str, Any], rows: np.ndarray) -> None:
        header["total"] += 3
        rows[:, 2] = rows[0, 2]  # the attributes of another episode

    rewrite_index(path, astray)
    assert_holds(path, TRUTHS)
    assert [metadata["id"] for metadata in MinariStorage.read(path).get_episode_metadata(range(4))] == [0, 1, 2, 3]
