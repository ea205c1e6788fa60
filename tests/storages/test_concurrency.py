"""Several programs at one dataset."""

from __future__ import annotations

import errno
import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from minari.dataset._storages import file_lock
from minari.dataset._storages.file_lock import LOCK_NAME, folder_lock, is_locked, lock_file
from minari.dataset.episode_buffer import EpisodeBuffer
from minari.dataset.minari_storage import MinariStorage
from minari.errors import DatasetBusyError


SPACE = spaces.Dict({"x": spaces.Box(-1e6, 1e6, (2,), np.float32), "t": spaces.Text(9)})


def episode(number: int, steps: int = 2, continues: bool = False) -> EpisodeBuffer:
    """An episode in which every value says which one it is."""
    rows = steps if continues else steps + 1
    return EpisodeBuffer(
        id=number if continues else None,
        seed=number,
        observations={"x": np.full((rows, 2), number, np.float32), "t": [f"{number}"] * rows},
        actions=np.full(steps, number % 3),
        rewards=np.full(steps, float(number)),
        terminations=np.zeros(steps, np.bool_),
        truncations=np.zeros(steps, np.bool_),
    )


def assert_whole(fields: dict[str, Any]) -> None:
    number, steps = fields["id"], len(fields["rewards"])
    assert fields["observations"]["x"].shape == (steps + 1, 2)
    assert (fields["observations"]["x"] == number).all()
    assert fields["observations"]["t"] == [f"{number}"] * (steps + 1)
    assert fields["actions"].tolist() == [number % 3] * steps
    assert fields["rewards"].tolist() == [number] * steps


def write_for(data_path: Path, seconds: float) -> None:
    """Append, continue and change metadata as fast as it goes."""
    storage, end, turn = MinariStorage.read(data_path), time.monotonic() + seconds, 0
    while time.monotonic() < end:
        last = storage.total_episodes - 1
        if turn % 5 == 3:
            storage.update_episode_metadata([{"note": np.full(9, turn)}], [last])
        elif turn % 5 == 4:
            storage.update_episodes([episode(last, 3, continues=True)])
        else:
            storage.update_episodes([episode(last + 1), episode(last + 2)])
        turn += 1


def read_until(data_path: Path, done: Any, keeps_index: bool, results: Any) -> None:
    """Open and read the newest episodes again and again; what is read must be whole each time."""
    rounds = 0
    try:
        while not done.is_set() or rounds == 0:
            if not keeps_index:
                for file in data_path.glob(".index*"):
                    file.unlink(missing_ok=True)
            storage = MinariStorage.read(data_path)
            total = storage.total_episodes
            newest = range(max(0, total - 20), total)
            for fields in storage.get_episodes(newest):
                assert_whole(fields)
            for metadata in storage.get_episode_metadata(newest):
                assert metadata["seed"] == metadata["id"]
            rounds += 1
        results.put(rounds)
    except BaseException as error:
        results.put(f"{type(error).__name__}: {error}")


@pytest.fixture
def data_path(tmp_path: Path) -> Path:
    storage = MinariStorage.new(tmp_path / "data", SPACE, spaces.Discrete(3))
    storage.update_episodes([episode(0)])
    return storage.data_path


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the other programs are forks")
def test_readers_while_another_program_writes(data_path: Path) -> None:
    """Each reader sees whole episodes of one moment, and never an error."""
    context = multiprocessing.get_context("fork")
    done, results = context.Event(), context.Queue()
    readers = [
        context.Process(target=read_until, args=(data_path, done, keeps_index, results))
        for keeps_index in (True, False)
    ]
    for reader in readers:
        reader.start()
    write_for(data_path, seconds=2.0)
    done.set()
    outcomes = [results.get(timeout=60) for _ in readers]
    for reader in readers:
        reader.join()
    assert all(isinstance(outcome, int) for outcome in outcomes), outcomes
    storage = MinariStorage.read(data_path)
    assert storage.total_episodes > 10
    for fields in storage.get_episodes(range(storage.total_episodes)):
        assert_whole(fields)


def append_each(data_path: Path, count: int) -> None:
    storage = MinariStorage.read(data_path)
    for _ in range(count):
        while True:
            try:
                # Which number it gets is known only when nobody else can write.
                storage.update_episodes(episode(storage.total_episodes) for _ in range(1))
                break
            except DatasetBusyError:
                time.sleep(0.001)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the other programs are forks")
@pytest.mark.parametrize("is_new", [False, True])
def test_writers_take_turns(tmp_path: Path, data_path: Path, is_new: bool) -> None:
    """Two programs that append: one waits for the other, and no episode gets lost, nor the first one."""
    if is_new:
        data_path = MinariStorage.new(tmp_path / "new", SPACE, spaces.Discrete(3)).data_path
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=append_each, args=(data_path, 15)) for _ in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    storage = MinariStorage.read(data_path)
    assert storage.total_episodes == 45 + (not is_new)
    for fields in storage.get_episodes(range(storage.total_episodes)):
        assert_whole(fields)


def in_child(work: Callable[[], None]) -> str:
    """The name of the error that a function raises in another process, or ``"none"``."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            work()
            name = "none"
        except BaseException as error:
            name = type(error).__name__
        os.write(writing, name.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        name = pipe.read()
    os.waitpid(child, 0)
    return name


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the other program is a fork")
def test_second_writer_of_another_program(data_path: Path) -> None:
    storage = MinariStorage.read(data_path)
    with storage._writer():
        assert in_child(lambda: MinariStorage.read(data_path).update_episodes([episode(1)])) == "DatasetBusyError"
        assert in_child(lambda: MinariStorage.read(data_path).update_metadata({"a": 1})) == "DatasetBusyError"
        assert in_child(lambda: assert_whole(next(MinariStorage.read(data_path).get_episodes([0])))) == "none"
    assert in_child(lambda: MinariStorage.read(data_path).update_episodes([episode(1)])) == "none"
    assert storage.total_episodes == 2


def test_locks(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with file.open("rb") as first:
        assert not is_locked(file)
        lock_file(first, file)
        assert is_locked(file)
        with file.open("rb") as second, pytest.raises(DatasetBusyError, match="in use by another program"):
            lock_file(second, file)
    assert not is_locked(file)
    assert issubclass(DatasetBusyError, BlockingIOError)


def test_a_writer_waits_for_readers_that_look_in_for_a_moment(data_path: Path) -> None:
    """A reader locks the file for an instant to see whether a writer is alive; that is no other program at work."""
    file = (data_path / "main_data.hdf5").open("rb")
    lock_file(file, data_path)
    timer = threading.Timer(0.05, file.close)
    timer.start()
    MinariStorage.read(data_path).update_episodes([episode(1)])
    timer.join()
    assert MinariStorage.read(data_path).total_episodes == 2


def test_folder_lock(tmp_path: Path) -> None:
    with folder_lock(tmp_path):
        assert is_locked(tmp_path / LOCK_NAME)
        with pytest.raises(DatasetBusyError, match=str(tmp_path)), folder_lock(tmp_path):
            pass
    with folder_lock(tmp_path):
        pass
    with pytest.raises(KeyError), folder_lock(tmp_path):
        raise KeyError
    with folder_lock(tmp_path):
        pass


def test_a_disk_without_locks_is_not_called_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(file: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(file_lock, "_lock", refuse)
    with (tmp_path / "file").open("wb") as file, pytest.raises(OSError, match="cannot be locked: No locks") as caught:
        lock_file(file, tmp_path / "file", patience=10)
    assert not isinstance(caught.value, DatasetBusyError)
    assert is_locked(tmp_path / "file")
