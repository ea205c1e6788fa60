"""Children that are killed at the n-th place where the state of the disk changes."""

from __future__ import annotations

import os
import shutil
import signal
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from minari._storages import journal as transaction
from minari._storages.hdf5 import appender as hdf5_appending
from minari._storages.hdf5 import writer as hdf5_writer


_OF_PATHS = ("replace", "rename", "unlink", "mkdir", "rmdir", "open", "write_text", "write_bytes")
_OF_OS = ("fsync", "replace", "rename", "unlink", "remove", "mkdir", "rmdir", "link")


class _Killer:
    """Kills this process at the n-th place, before or after something is done, or in the middle of a write."""

    def __init__(self, at: int) -> None:
        self.left = at

    def tick(self) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            self.tick()
            result = function(*args, **kwargs)
            self.tick()
            return result

        return wrapped

    def write_all(self, file: Any, view: memoryview) -> None:
        half = len(view) // 2
        for part in (view[:half], view[half:]):
            self.tick()
            while part:
                part = part[file.write(part) :]
        self.tick()

    def lie_in_wait(self) -> None:
        transaction.write_all = hdf5_writer.write_all = self.write_all
        owners = ((Path, _OF_PATHS), (os, _OF_OS), (shutil, ("rmtree",)), (hdf5_appending.EpisodeAppender, ("add",)))
        for owner, names in owners:
            for name in names:
                setattr(owner, name, self.around(getattr(owner, name)))


def killed(at: int, work: Callable[[], object], before: Callable[[], object] = lambda: None) -> bool:
    """Do something in a child process that is killed at the n-th place; False when it got through.

    Args:
        at: the place.
        work: what is done.
        before: what the child does before the first place.
    """
    child = os.fork()
    if child == 0:
        try:
            before()
            _Killer(at).lie_in_wait()
            work()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return True
    assert os.WEXITSTATUS(status) == 0, "the child failed"
    return False
