"""Directories that one program at a time works in."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from minari._base.atomic import remove_empty
from minari.errors import DatasetBusyError
from minari.progress import observe_progress
from minari.storage.transfer.work_dir import work_dir
from minari.testing.sharing import Interference, tree


def fail_after(directory: Path, name: str, error: BaseException) -> None:
    """Write a file in a work directory, and fail."""
    with suppress(type(error)), work_dir(directory, "testing"):
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_text("half")
        raise error


def test_work_directory_is_removed_unless_something_was_achieved(tmp_path: Path) -> None:
    with work_dir(tmp_path / "a/b/.x", "testing") as directory:
        (directory / "files").mkdir()
        (directory / "files" / "f").write_text("")
    assert tree(tmp_path) == {"a": None, "a/b": None}
    fail_after(tmp_path / "c/.x", "note", KeyboardInterrupt())
    assert tree(tmp_path) == {"a": None, "a/b": None}, "nothing was achieved"
    for name in ("files/first", "files/second"):
        fail_after(tmp_path / "a/.x", name, ZeroDivisionError())
    assert sorted(path.name for path in (tmp_path / "a/.x/files").iterdir()) == ["first", "second"]


def test_one_program_works_at_a_time(tmp_path: Path) -> None:
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


def test_programs_that_come_and_go_do_not_disturb_each_other(tmp_path: Path) -> None:
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


@pytest.mark.parametrize("place", ["file", "link", "link around it"])
def test_something_else_in_its_place_is_an_error(place: str, tmp_path: Path) -> None:
    if place != "file" and os.name == "nt":
        pytest.skip("Windows asks for a privilege to make links")
    blocked = tmp_path / ("a" if place == "link around it" else "a/.x")
    blocked.parent.mkdir(exist_ok=True)
    if place == "file":
        blocked.touch()
    else:
        blocked.symlink_to(tmp_path / "absent")  # a disk that is not mounted
    with pytest.raises(FileExistsError), work_dir(tmp_path / "a/.x", "testing"):
        pass


def test_who_waits_is_told_and_does_not_wait_for_ever(tmp_path: Path) -> None:
    release, waiting = threading.Event(), threading.Event()

    def hold() -> None:
        with work_dir(tmp_path / ".x", "testing"):
            waiting.set()
            release.wait(10)

    with ThreadPoolExecutor(1) as pool:
        holder = pool.submit(hold)
        waiting.wait(10)
        with (
            pytest.raises(DatasetBusyError, match="see whether it hangs"),
            work_dir(tmp_path / ".x", "testing", patience=0.2),
        ):
            pass
        observer = Interference(release.set)
        with observe_progress(observer), work_dir(tmp_path / ".x", "counting sheep"):
            pass
        holder.result()
    assert [task.description for task in observer.tasks] == ["waiting for another program that is counting sheep"]


def test_directory_of_a_killed_program_is_taken_over(tmp_path: Path) -> None:
    program = """
import os, sys
from pathlib import Path
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
