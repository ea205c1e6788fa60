"""Several programs at one dataset."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from minari._base import locks as file_lock
from minari._base.locks import LOCK_NAME, folder_lock, is_locked, lock, waiting_at_most
from minari.dataset.episode_buffer import EpisodeBuffer
from minari.dataset.minari_storage import MinariStorage
from minari.errors import DatasetBusyError, UnsafePathError
from support.copies import require_format


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="the other programs are forks")

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
        # Which number it gets is known only when nobody else can write.
        storage.update_episodes(episode(storage.total_episodes) for _ in range(1))


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
def test_second_writer_of_another_program(data_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = MinariStorage.read(data_path)
    monkeypatch.setenv("MINARI_LOCK_TIMEOUT", "0")
    with storage._writer():
        assert in_child(lambda: MinariStorage.read(data_path).update_episodes([episode(1)])) == "DatasetBusyError"
        assert in_child(lambda: MinariStorage.read(data_path).update_metadata({"a": 1})) == "DatasetBusyError"
        assert in_child(lambda: assert_whole(next(MinariStorage.read(data_path).get_episodes([0])))) == "none"
    assert in_child(lambda: MinariStorage.read(data_path).update_episodes([episode(1)])) == "none"
    assert storage.total_episodes == 2


def test_locks(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    assert not is_locked(file)
    first = lock(file, file)
    assert is_locked(file)
    with waiting_at_most(0), pytest.raises(DatasetBusyError, match="in use by another program"):
        lock(file, file)
    first.release()
    first.release()
    assert not is_locked(file)
    assert not is_locked(tmp_path / "nothing")
    assert issubclass(DatasetBusyError, BlockingIOError)


def test_a_writer_waits_for_a_program_that_has_the_file_open_through_hdf5(data_path: Path) -> None:
    file = (data_path / "main_data.hdf5").open("rb")
    fcntl = pytest.importorskip("fcntl")
    fcntl.flock(file, fcntl.LOCK_EX)
    timer = threading.Timer(0.05, file.close)
    timer.start()
    MinariStorage.read(data_path).update_episodes([episode(1)])
    timer.join()
    assert MinariStorage.read(data_path).total_episodes == 2


def test_folder_lock(tmp_path: Path) -> None:
    with folder_lock(tmp_path):
        assert is_locked(tmp_path / LOCK_NAME)
        # This thread would wait for itself, so it does not wait at all.
        with pytest.raises(DatasetBusyError, match=str(tmp_path)), folder_lock(tmp_path):
            pass
    with folder_lock(tmp_path):
        pass
    with pytest.raises(KeyError), folder_lock(tmp_path):
        raise KeyError
    with folder_lock(tmp_path):
        pass


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_disk_without_locks_is_written_to_with_one_warning(
    data_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(descriptor: int, shared: bool) -> None:
        raise OSError(number, "No locks available")

    monkeypatch.setattr(file_lock, "_lock", refuse)
    monkeypatch.setattr(file_lock, "_warned", False)
    with pytest.warns(UserWarning, match="cannot be locked"):
        MinariStorage.read(data_path).update_episodes([episode(1)])
    MinariStorage.read(data_path).update_episodes([episode(2)])
    assert MinariStorage.read(data_path).total_episodes == 3
    assert not is_locked(data_path / LOCK_NAME)


def test_without_locks_by_order_of_hdf5(data_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HDF5_USE_FILE_LOCKING", "FALSE")
    monkeypatch.setattr(file_lock, "_warned", False)
    with pytest.warns(UserWarning, match="HDF5_USE_FILE_LOCKING"):
        MinariStorage.read(data_path).update_episodes([episode(1)])
    assert MinariStorage.read(data_path).total_episodes == 2


@pytest.mark.parametrize("value", ["soon", "-1", "nan"])
def test_a_timeout_that_is_no_number(data_path: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("MINARI_LOCK_TIMEOUT", value)
    with pytest.raises(DatasetBusyError, match=r"MINARI_LOCK_TIMEOUT is .* from 0"):
        MinariStorage.read(data_path).update_episodes([episode(1)])


def test_threads_wait_for_each_other(data_path: Path) -> None:
    def work() -> None:
        storage = MinariStorage.read(data_path)
        for _ in range(4):
            storage.update_episodes(episode(storage.total_episodes) for _ in range(1))

    with ThreadPoolExecutor(3) as threads:
        list(threads.map(lambda _: work(), range(3)))
    storage = MinariStorage.read(data_path)
    assert storage.total_episodes == 13
    for fields in storage.get_episodes(range(13)):
        assert_whole(fields)


@needs_fork
class TestOwner:
    """A waiting writer learns the owner of the lock; a dead process owns none."""

    def holding(self, data_path: Path, then: Callable[[], None]) -> int:
        """Another process that has the lock."""
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            with folder_lock(data_path):
                os.write(writing, b"!")
                then()
            os._exit(0)
        assert os.read(reading, 1) == b"!"
        os.close(reading)
        os.close(writing)
        return child

    def test_it_is_named(self, data_path: Path) -> None:
        child = self.holding(data_path, lambda: time.sleep(60))
        try:
            with pytest.raises(DatasetBusyError, match=rf"process {child} on '.*', since '20.*waited for 0.05 seconds"):
                MinariStorage.read(data_path).update_metadata({"a": 1}, lock_timeout=0.05)
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        MinariStorage.read(data_path).update_metadata({"a": 1}, lock_timeout=0)

    def test_it_is_waited_for(self, data_path: Path) -> None:
        child = self.holding(data_path, lambda: time.sleep(0.2))
        MinariStorage.read(data_path).update_episodes([episode(1)])
        os.waitpid(child, 0)
        assert MinariStorage.read(data_path).total_episodes == 2

    @pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff" * 9, b'{"pid": 1}', b"[" * 4000, b"x" * 10**6])
    def test_what_anybody_may_write_there(self, tmp_path: Path, text: bytes) -> None:
        (tmp_path / LOCK_NAME).write_bytes(text)
        held = lock(tmp_path / LOCK_NAME, tmp_path)
        with waiting_at_most(0), pytest.raises(DatasetBusyError, match="in use by another program, which"):
            lock(tmp_path / LOCK_NAME, tmp_path)
        held.release()

    def test_escape_sequences_are_shown_as_such(self, tmp_path: Path) -> None:
        owner = {"host": "\x1b[2J", "pid": "9" * 3000, "since": 1, "program": None}
        (tmp_path / LOCK_NAME).write_text(json.dumps(owner))
        held = lock(tmp_path / LOCK_NAME, tmp_path)
        with waiting_at_most(0), pytest.raises(DatasetBusyError) as caught:
            lock(tmp_path / LOCK_NAME, tmp_path)
        held.release()
        assert "\x1b" not in str(caught.value)
        assert len(str(caught.value)) < 1000

    def test_a_forked_child_does_not_keep_it(self, data_path: Path) -> None:
        """Such as a worker of a DataLoader, which lives on when its parent is killed."""
        reading, writing = os.pipe()
        parent = os.fork()
        if parent == 0:
            with folder_lock(data_path):
                if os.fork() == 0:
                    os.write(writing, f"{os.getpid()}\n".encode())
                    time.sleep(60)
                time.sleep(60)
        child = int(os.read(reading, 100))
        assert is_locked(data_path / LOCK_NAME)
        os.kill(parent, signal.SIGKILL)
        os.waitpid(parent, 0)
        try:
            MinariStorage.read(data_path).update_metadata({"a": 1}, lock_timeout=0)
        finally:
            os.kill(child, signal.SIGKILL)

    @pytest.mark.parametrize("data_format", ["hdf5", "arrow", "zarr"])
    def test_a_forked_child_that_leaves_the_block_undoes_nothing(self, tmp_path: Path, data_format: str) -> None:
        require_format(data_format)
        storage = MinariStorage.new(tmp_path / "data", SPACE, spaces.Discrete(3), data_format=data_format)
        storage.update_episodes([episode(0)])

        def episodes() -> Iterator[EpisodeBuffer]:
            yield episode(1)
            child = os.fork()
            if child == 0:
                raise KeyboardInterrupt
            os.waitpid(child, 0)
            yield episode(2)

        main = os.getpid()
        try:
            storage.update_episodes(episodes())
        except KeyboardInterrupt:
            assert os.getpid() != main
            os._exit(0)
        for fields in MinariStorage.read(storage.data_path).get_episodes(range(3)):
            assert_whole(fields)


@needs_fork
def test_a_link_in_the_place_of_the_lock(data_path: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    (data_path / LOCK_NAME).unlink()
    for content in (None, "mine"):
        if content is not None:
            victim.write_text(content)
        (data_path / LOCK_NAME).unlink(missing_ok=True)
        (data_path / LOCK_NAME).symlink_to(victim)
        with pytest.raises(UnsafePathError):
            MinariStorage.read(data_path).update_metadata({"a": 1})
        assert (victim.read_text() if victim.exists() else None) == content
