"""Other programs at the file, and systems that refuse: no permission, no room."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from gymnasium import spaces

from minari.dataset.minari_storage import METADATA_FILE_NAME, MinariStorage
from minari.errors import DatasetBusyError, DatasetCorruptError, MinariError
from minari.testing._suite import ACTIONS, OBSERVATIONS
from minari.testing.comparison import assert_episode, assert_same
from minari.testing.examples import Truth, as_buffer, draw_truth
from support.stored import TRUTHS, as_nobody, assert_holds, index_files, read_all, store


resource: Any = pytest.importorskip("resource", reason="the limits of processes are those of POSIX")
pytestmark = pytest.mark.skipif(os.name != "posix", reason="locks, limits and users are those of POSIX")


@pytest.fixture
def data_path(tmp_path: Path) -> Path:
    return store(tmp_path)


# Other programs


def append_as_another_program(data_path: Path, truth: Truth) -> None:
    """Write the format through h5py, like a program without this library."""
    with h5py.File(data_path / "main_data.hdf5", "a") as file:
        index = len(file)
        group = file.create_group(f"episode_{index}")
        group.attrs["id"], group.attrs["total_steps"] = index, len(truth["rewards"])
        group["observations/x"] = np.stack([value["x"] for value in truth["observations"]])
        group.create_dataset("observations/t", data=[value["t"] for value in truth["observations"]])
        group["actions"] = np.stack(truth["actions"])
        for name in ("rewards", "terminations", "truncations"):
            group.create_dataset(name, data=truth[name], chunks=True, compression="gzip")
        group.create_group("infos")
    metadata = json.loads((data_path / METADATA_FILE_NAME).read_text())
    metadata["total_episodes"] += 1
    metadata["total_steps"] += len(truth["rewards"])
    (data_path / METADATA_FILE_NAME).write_text(json.dumps(metadata))


def test_another_program_appends(data_path: Path) -> None:
    """The index is noticed to be out of date, by those that are open as well."""
    storage = MinariStorage.read(data_path)
    iterator = storage.get_episodes(range(4))
    first = next(iterator)
    append_as_another_program(data_path, TRUTHS[1])
    assert_holds(data_path, [*TRUTHS, TRUTHS[1]])
    assert storage.total_episodes == 5
    assert_episode(next(storage.get_episodes([4])), OBSERVATIONS, ACTIONS, TRUTHS[1])
    for episode, truth in zip([first, *iterator], TRUTHS, strict=True):
        assert_episode(episode, OBSERVATIONS, ACTIONS, truth)
    storage.update_episodes([as_buffer(TRUTHS[2])])
    append_as_another_program(data_path, TRUTHS[3])
    assert_holds(data_path, [*TRUTHS, *TRUTHS[1:]])


def test_another_program_changes_an_episode(tmp_path: Path) -> None:
    """Arrays are located again, even by a storage that has read them before."""
    space = spaces.Box(-1.0, 1.0, (2,), np.float32)
    storage = MinariStorage.new(tmp_path / "data", space, ACTIONS)
    storage.update_episodes(as_buffer(draw_truth(space, ACTIONS, 3, seed)) for seed in range(2))
    next(storage.get_episodes([0]))
    with h5py.File(storage.data_path / "main_data.hdf5", "r+") as file:
        del file["episode_0/rewards"]
        file["episode_0/rewards"] = np.float32([1, 2, 3])
        file["episode_1/rewards"][...] = 7
    assert_same(next(storage.get_episodes([0]))["rewards"], np.float32([1, 2, 3]))
    assert (next(storage.get_episodes([1]))["rewards"] == 7).all()


def test_a_reader_through_hdf5_is_waited_for(data_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing would pull the file away under a program that reads it through HDF5; reading goes on."""
    monkeypatch.setenv("MINARI_LOCK_TIMEOUT", "0.2")
    with h5py.File(data_path / "main_data.hdf5", "r"):
        assert_holds(data_path, TRUTHS)
        with pytest.raises(DatasetBusyError, match="in use by another program"):
            MinariStorage.read(data_path).update_episodes([as_buffer(TRUTHS[0])])
    MinariStorage.read(data_path).update_episodes([as_buffer(TRUTHS[0])])
    assert_holds(data_path, [*TRUTHS, TRUTHS[0]])


WRITES_IN_PLACE = """
import os, signal, sys, h5py
file = h5py.File(sys.argv[1], "r+")
file["episode_0"].attrs["k"] = 1
file.flush()
print("writing", flush=True)
sys.stdin.readline()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_another_program_writes_in_place_and_dies(data_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it writes, other programs get an error to wait; after it was killed, that the file may be damaged."""
    monkeypatch.setenv("MINARI_LOCK_TIMEOUT", "0.2")
    storage = MinariStorage.read(data_path)
    child = subprocess.Popen(
        [sys.executable, "-c", WRITES_IN_PLACE, data_path / "main_data.hdf5"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with child:
        assert child.stdout
        assert child.stdout.readline() == b"writing\n"
        for use in (
            lambda: list(storage.get_episode_metadata([0])),
            lambda: storage.update_episodes([as_buffer(TRUTHS[0])]),
        ):
            with pytest.raises(DatasetBusyError):
                use()
        child.communicate(b"\n")
    with pytest.raises(DatasetCorruptError, match="h5clear"):
        list(storage.get_episode_metadata([0]))
    with pytest.raises(DatasetCorruptError, match="h5clear"):
        storage.update_episodes([as_buffer(TRUTHS[0])])


# What the system refuses


@pytest.mark.skipif(os.name != "posix" or os.getuid() != 0, reason="becomes another user, which needs root")
def test_directory_that_may_only_be_read(data_path: Path) -> None:
    """Reading works without an index, and without writing one; writing is refused and changes nothing."""
    for directory in (data_path, *data_path.parents[:-1]):
        directory.chmod(directory.stat().st_mode | 0o055)
    for file in index_files(data_path):
        file.unlink()

    def read() -> str:
        assert_holds(data_path, TRUTHS)
        read_all(data_path)
        return "read"

    assert as_nobody(read) == "read"
    assert not index_files(data_path)

    def write() -> str:
        MinariStorage.read(data_path).update_episodes([as_buffer(TRUTHS[0])])
        return "written"

    assert "StorageError" in as_nobody(write)
    assert_holds(data_path, TRUTHS)


def test_disk_that_is_full(data_path: Path) -> None:
    """No room at any point of the change: an error, and the old data, or all is well."""
    sizes = {file: file.stat().st_size for file in data_path.iterdir()}
    outcomes = []
    big = draw_truth(OBSERVATIONS, ACTIONS, 3000, 5)
    largest = max(sizes.values())
    for limit in [*range(largest, largest + 12_000, 900), *range(largest, largest + 400_000, 17_000)]:
        copy = shutil.copytree(data_path, data_path.with_name(f"copy-{limit}"))
        child = os.fork()
        if child == 0:
            code = 2
            try:
                storage = MinariStorage.read(copy)
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
                storage.update_episodes([as_buffer(big)])
                code = 0
            except (OSError, MinariError):
                code = 1
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        assert os.WIFEXITED(status)
        code = os.WEXITSTATUS(status)
        assert code in (0, 1), "another kind of error than one of the system"
        assert_holds(copy, [*TRUTHS, big] if code == 0 else TRUTHS)
        MinariStorage.read(copy).update_episodes([as_buffer(TRUTHS[0])])
        assert_holds(copy, [*TRUTHS, big, TRUTHS[0]] if code == 0 else [*TRUTHS, TRUTHS[0]])
        if code == 1:
            assert not list(copy.glob("*.partial")), "a temporary file is left"
        outcomes.append(code)
        shutil.rmtree(copy)
    assert {0, 1} == set(outcomes)
