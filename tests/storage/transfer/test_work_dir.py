"""Directories that one program at a time works in."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from minari._base import locks as file_lock
from minari._base.atomic import remove_empty
from minari.errors import DatasetBusyError
from minari.progress import observe_progress
from minari.storage.transfer import work_dir as module
from minari.storage.transfer.work_dir import work_dir
from minari.testing.sharing import Interference, tree


def fail_after(directory: Path, name: str, error: BaseException) -> None:
    """Write a file in a work directory, with its name as the content, and fail."""
    with work_dir(directory, "testing"):
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_text(Path(name).name)
        raise error


def test_nothing_remains_when_it_ends_well(tmp_path: Path) -> None:
    with work_dir(tmp_path / "a/b/.x", "testing") as directory:
        (directory / "files").mkdir()
        (directory / "files" / "f").write_text("")
    assert tree(tmp_path) == {"a": None, "a/b": None}


def test_what_was_achieved_stays_when_it_fails(tmp_path: Path) -> None:
    for text in ("first", "second"):
        with pytest.raises(ZeroDivisionError):
            fail_after(tmp_path / "a/.x", f"files/{text}", ZeroDivisionError())
    assert (tmp_path / "a/.x/files/first").read_text() == "first"
    assert (tmp_path / "a/.x/files/second").read_text() == "second"


def test_nothing_stays_where_nothing_was_achieved(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        fail_after(tmp_path / "a/b/.x", "note", KeyboardInterrupt())
    assert tree(tmp_path) == {}


def test_one_at_a_time(tmp_path: Path) -> None:
    inside, most, times = 0, 0, 0
    start = threading.Barrier(6)

    def work(number: int) -> None:
        nonlocal inside, most, times
        start.wait()
        with work_dir(tmp_path / ".x", "testing") as directory:
            inside, times = inside + 1, times + 1
            most = max(most, inside)
            (directory / f"{number}").write_text("")
            assert len(list(directory.iterdir())) == 2  # the lock, and nothing of others
            inside -= 1

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    assert (most, times) == (1, 6)
    assert tree(tmp_path) == {}


def test_many_that_come_and_go(tmp_path: Path) -> None:
    """Each removes the directory that the others are about to open, and the empty one around it."""

    def work(number: int) -> None:
        for _ in range(40):
            with work_dir(tmp_path / "a" / ".x", "testing") as directory:
                (directory / f"{number}").touch()
            if number % 2:
                remove_empty([tmp_path / "a"])

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    assert set(tree(tmp_path)) <= {"a"}


def test_something_else_is_in_its_place(tmp_path: Path) -> None:
    (tmp_path / ".x").touch()
    with pytest.raises(FileExistsError), work_dir(tmp_path / ".x", "testing"):
        pass


@pytest.mark.skipif(os.name == "nt", reason="Windows asks for a privilege to make links")
@pytest.mark.parametrize("place", ["a", "a/.x"])
def test_a_link_to_a_disk_that_is_not_mounted(place: str, tmp_path: Path) -> None:
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).symlink_to(tmp_path / "absent")
    with pytest.raises(FileExistsError), work_dir(tmp_path / "a/.x", "testing"):
        pass


def test_who_waits_is_told(tmp_path: Path) -> None:
    release, waiting = threading.Event(), threading.Event()

    def hold() -> None:
        with work_dir(tmp_path / ".x", "testing"):
            waiting.set()
            release.wait(10)

    with ThreadPoolExecutor(1) as pool:
        holder = pool.submit(hold)
        waiting.wait(10)
        observer = Interference(release.set)
        with observe_progress(observer), work_dir(tmp_path / ".x", "counting sheep"):
            pass
        holder.result()
    assert [task.description for task in observer.tasks] == ["waiting for another program that is counting sheep"]


def test_a_program_that_hangs_is_not_waited_for_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0.2)
    with work_dir(tmp_path / ".x", "testing"), ThreadPoolExecutor(1) as pool:

        def wait() -> None:
            with work_dir(tmp_path / ".x", "testing"):
                pass

        with pytest.raises(DatasetBusyError, match="see whether it hangs"):
            pool.submit(wait).result()


def test_a_disk_without_locks_is_used_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(number: int) -> Any:
        def call(descriptor: int, shared: bool) -> None:
            raise OSError(number, os.strerror(number))

        return call

    monkeypatch.setattr(file_lock, "_lock", refuse(errno.ENOLCK))
    monkeypatch.setattr(file_lock, "_warned", False)
    with pytest.warns(UserWarning, match="cannot be locked"), work_dir(tmp_path / ".x", "testing"):
        pass
    assert tree(tmp_path) == {}
    monkeypatch.setattr(file_lock, "_lock", refuse(errno.EIO))
    with pytest.raises(OSError, match=os.strerror(errno.EIO)), work_dir(tmp_path / ".x", "testing"):
        pass


def test_the_directory_of_a_killed_program_is_taken_over(tmp_path: Path) -> None:
    program = """
import os, sys
from pathlib import Path
from typing import Any
from minari.storage.transfer import work_dir as module
from minari.storage.transfer.work_dir import work_dir
with work_dir(Path(sys.argv[1]), "testing") as directory:
    (directory / "files").mkdir()
    (directory / "files" / "f").write_text("half")
    os._exit(9)
"""
    killed = subprocess.run([sys.executable, "-c", program, str(tmp_path / ".x")], check=False)
    assert killed.returncode == 9
    with work_dir(tmp_path / ".x", "testing") as directory:
        assert (directory / "files" / "f").read_text() == "half"
    assert tree(tmp_path) == {}
