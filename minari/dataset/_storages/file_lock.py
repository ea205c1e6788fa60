"""Locks that keep two programs from writing one dataset at the same time.

They are the system's own locks on open files, so they go with a process that is killed.
"""

from __future__ import annotations

import errno
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from minari.errors import DatasetBusyError


LOCK_NAME: Final = ".lock"

#: What systems say where another program holds the lock.
_TAKEN = frozenset({errno.EACCES, errno.EAGAIN, errno.EDEADLK, errno.EWOULDBLOCK})

if sys.platform == "win32":
    import msvcrt

    def _lock(file: Any) -> None:
        # A byte far from the data, since locked bytes cannot be read on Windows.
        file.seek(0x7FFFFFFE)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(file: Any) -> None:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)


def lock_file(file: Any, path: Path, patience: float = 0.0) -> None:
    """Lock an open file until it is closed; on POSIX in the way that HDF5 libraries do.

    Args:
        file: the open file.
        path: its path, for the message.
        patience: for how many seconds to try, since readers have it locked for a moment when they look
            whether a writer is alive.

    Raises:
        DatasetBusyError: another program has it locked.
        OSError: it cannot be locked at all, as on network disks that know no locks.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            _lock(file)
        except OSError as error:
            if error.errno not in _TAKEN:
                raise OSError(error.errno, f"{path} cannot be locked: {error.strerror}") from error
            if time.monotonic() >= deadline:
                raise DatasetBusyError(
                    f"{path} is in use by another program, which writes the dataset or reads it through HDF5; "
                    f"try again when that has closed it."
                ) from error
            time.sleep(0.005)
        else:
            return


def is_locked(path: Path) -> bool:
    """Whether another program has a file locked at this moment, or may have, where that cannot be told."""
    with path.open("rb") as file:
        try:
            lock_file(file, path)
        except OSError:
            return True
    return False


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Be the only writer of a dataset.

    Args:
        folder: of its data, where a hidden file is locked.

    Raises:
        DatasetBusyError: another program is writing the dataset.
    """
    with (folder / LOCK_NAME).open("a+b") as file:
        lock_file(file, folder)
        yield
