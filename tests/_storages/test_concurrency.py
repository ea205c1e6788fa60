"""Several threads and programs at one dataset, and the locks between them."""

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

from minari._base.locks import LOCK_NAME, folder_lock, is_locked, lock, waiting_at_most
from minari.dataset.episode_buffer import EpisodeBuffer
from minari.dataset.minari_storage import MinariStorage
from minari.errors import DatasetBusyError, UnsafePathError
from minari.testing.examples import as_buffer, as_continuation
from minari.testing.storage_suites.suite import ACTIONS, OBSERVATIONS
from support.programs import run
from support.stored import TRUTHS, plain_buffer, store


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="the other programs are forks")
SPACE = spaces.Box(-1e6, 1e6, (2,), np.float32)
FORMATS = pytest.mark.parametrize("data_format", ["hdf5", "arrow", "zarr"])


def episode(number: int) -> EpisodeBuffer:
    """An episode in which every value says which one it is."""
    return plain_buffer(np.full((3, 2), number, np.float32), rewards=np.full(2, float(number)), seed=number)


def append(data_path: Path, count: int = 1) -> None:
    storage = MinariStorage.read(data_path)
    for _ in range(count):  # the number of an episode is known only when nobody else can write
        storage.update_episodes(episode(storage.total_episodes) for _ in range(1))


def assert_whole(data_path: Path, count: int) -> None:
    storage = MinariStorage.read(data_path)
    assert storage.total_episodes == count
    for fields in storage.get_episodes(range(count)):
        assert (fields["observations"] == fields["id"]).all()
        assert fields["rewards"].tolist() == [fields["id"]] * 2


@pytest.fixture
def data_path(tmp_path: Path) -> Path:
    return store(tmp_path, truths=[episode(0)], observation_space=SPACE)


@needs_fork
@pytest.mark.parametrize("existing", [0, 1])
def test_processes_take_turns_in_writing(tmp_path: Path, existing: int) -> None:
    data_path = store(tmp_path, truths=[episode(0)] * existing, observation_space=SPACE)
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=append, args=(data_path, 15)) for _ in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert_whole(data_path, 45 + existing)


def test_threads_take_turns_in_writing(data_path: Path) -> None:
    with ThreadPoolExecutor(3) as threads:
        list(threads.map(lambda _: append(data_path, 4), range(3)))
    assert_whole(data_path, 13)


def test_readers_see_extended_episodes_as_they_were_or_are(tmp_path: Path, data_format: str) -> None:
    data_path = store(tmp_path, data_format)
    storage, stop = MinariStorage.read(data_path), threading.Event()

    def keep_changing() -> None:
        try:
            writer = MinariStorage.read(data_path)
            for number in range(12):
                _, continues = as_continuation(TRUTHS[0], TRUTHS[1], 0, OBSERVATIONS, ACTIONS)
                writer.update_episodes([continues, as_buffer(TRUTHS[1])])
                writer.update_episode_metadata([{"n": number}], [0])
        finally:
            stop.set()

    lengths = [2]
    with ThreadPoolExecutor(1) as threads:
        changing = threads.submit(keep_changing)
        while not stop.is_set():
            (fields,) = storage.get_episodes([0])
            lengths.append(len(fields["rewards"]))
            assert np.array_equal(fields["rewards"][:2], TRUTHS[0]["rewards"])
            assert np.array_equal(fields["rewards"][-3:], TRUTHS[1]["rewards"]) or lengths[-1] == 2
            (metadata,) = storage.get_episode_metadata([0])
            assert metadata["total_steps"] >= lengths[-1]
        changing.result()
    assert lengths == sorted(lengths)
    assert {(length - 2) % 3 for length in lengths} == {0}
    assert storage.get_episode_lengths([0]).tolist() == [2 + 12 * 3]


# Locks


def test_lock_is_exclusive_until_it_is_released(tmp_path: Path) -> None:
    file = tmp_path / "file"
    assert not is_locked(file)
    file.touch()
    assert not is_locked(file)
    first = lock(file, file)
    assert is_locked(file)
    with waiting_at_most(0), pytest.raises(DatasetBusyError, match="in use by another program"):
        lock(file, file)
    first.release()
    first.release()
    assert not is_locked(file)
    assert issubclass(DatasetBusyError, BlockingIOError)


def test_lock_of_a_directory_is_released_after_errors_and_not_waited_for_by_its_thread(tmp_path: Path) -> None:
    with folder_lock(tmp_path):
        assert is_locked(tmp_path / LOCK_NAME)
        with pytest.raises(DatasetBusyError, match=str(tmp_path)), folder_lock(tmp_path):
            pass
    with pytest.raises(KeyError), folder_lock(tmp_path):
        raise KeyError
    assert not is_locked(tmp_path / LOCK_NAME)


@pytest.mark.parametrize(
    ("number", "message"),
    [(number, "cannot be locked") for number in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)]
    + [(None, "HDF5_USE_FILE_LOCKING")],
)
def test_disk_without_locks_is_written_to_with_one_warning(data_path: Path, number: Any, message: str) -> None:
    pytest.importorskip("fcntl")
    program = f"""
        import fcntl, os, sys, warnings
        from minari.dataset.minari_storage import MinariStorage
        from minari._base.locks import LOCK_NAME, is_locked

        def refuse(*_):
            raise OSError({number}, "no locks")

        if {number}:
            fcntl.flock = refuse
        else:
            os.environ["HDF5_USE_FILE_LOCKING"] = "FALSE"
        storage = MinariStorage.read(sys.argv[1])
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in range(2):
                storage.update_from_storage(storage, [0])
        print(storage.total_episodes, len(caught), "{message}" in str(caught[0].message))
        print({number} and is_locked(os.path.join(sys.argv[1], LOCK_NAME)))
    """
    assert run(program, str(data_path)).split() == ["3", "1", "True", "False" if number else "None"]


def test_another_failure_of_locking_is_an_error_and_nothing_is_written(data_path: Path) -> None:
    pytest.importorskip("fcntl")
    program = """
        import errno, fcntl, sys
        from minari.dataset.minari_storage import MinariStorage

        def refuse(*_):
            raise OSError(errno.EIO, "broken disk")

        fcntl.flock = refuse
        storage = MinariStorage.read(sys.argv[1])
        try:
            storage.update_from_storage(storage, [0])
        except OSError as error:
            print("broken disk" in str(error), storage.total_episodes)
    """
    assert run(program, str(data_path)).split() == ["True", "1"]


@pytest.mark.parametrize("value", ["soon", "-1", "nan"])
def test_timeout_that_is_no_number_is_refused(data_path: Path, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINARI_LOCK_TIMEOUT", value)
    with pytest.raises(DatasetBusyError, match=r"MINARI_LOCK_TIMEOUT is .* from 0"):
        append(data_path)


def holding(data_path: Path, then: Callable[[], object]) -> int:
    """Fork a process that takes the lock and does something."""
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


@needs_fork
def test_owner_is_named_until_it_dies(data_path: Path) -> None:
    child = holding(data_path, lambda: time.sleep(60))
    try:
        with pytest.raises(DatasetBusyError, match=rf"process {child} on '.*', since '20.*waited for 0.05 seconds"):
            MinariStorage.read(data_path).update_metadata({"a": 1}, lock_timeout=0.05)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    MinariStorage.read(data_path).update_metadata({"a": 1}, lock_timeout=0)


OWNERS = [b"", b"{", b"[]", b"\xff" * 9, b'{"pid": 1}', b"[" * 4000, b"x" * 10**6]
HOSTILE_OWNER = json.dumps({"host": "\x1b[2J", "pid": "9" * 3000, "since": 1, "program": None}).encode()


@pytest.mark.parametrize("text", [*OWNERS, HOSTILE_OWNER], ids=range(8))
def test_anything_may_be_written_in_place_of_the_owner(tmp_path: Path, text: bytes) -> None:
    (tmp_path / LOCK_NAME).write_bytes(text)
    held = lock(tmp_path / LOCK_NAME, tmp_path)
    with waiting_at_most(0), pytest.raises(DatasetBusyError, match="in use by") as caught:
        lock(tmp_path / LOCK_NAME, tmp_path)
    held.release()
    assert text == HOSTILE_OWNER or "another program, which" in str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 1000


@needs_fork
def test_forked_child_does_not_keep_the_lock_of_a_killed_parent(data_path: Path) -> None:
    reading, writing = os.pipe()
    parent = os.fork()
    if parent == 0:
        with folder_lock(data_path):
            if os.fork() == 0:  # such as a worker of a DataLoader
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


@needs_fork
@FORMATS
def test_forked_child_that_leaves_a_write_undoes_nothing(tmp_path: Path, data_format: str) -> None:
    data_path = store(tmp_path, data_format, [episode(0)], SPACE)
    main = os.getpid()

    def episodes() -> Iterator[EpisodeBuffer]:
        yield episode(1)
        child = os.fork()
        if child == 0:
            raise KeyboardInterrupt
        os.waitpid(child, 0)
        yield episode(2)

    try:
        MinariStorage.read(data_path).update_episodes(episodes())
    except KeyboardInterrupt:
        assert os.getpid() != main
        os._exit(0)
    assert_whole(data_path, 3)


@pytest.mark.skipif(os.name != "posix", reason="links need rights on other systems")
@pytest.mark.parametrize("content", [None, "mine"])
def test_link_in_place_of_the_lock_is_not_followed(data_path: Path, tmp_path: Path, content: str | None) -> None:
    victim = tmp_path / "victim"
    if content is not None:
        victim.write_text(content)
    (data_path / LOCK_NAME).unlink()
    (data_path / LOCK_NAME).symlink_to(victim)
    with pytest.raises(UnsafePathError):
        MinariStorage.read(data_path).update_metadata({"a": 1})
    assert (victim.read_text() if victim.exists() else None) == content
