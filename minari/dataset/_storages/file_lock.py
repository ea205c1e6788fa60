"""The lock that keeps two programs from writing one file at the same time.

On POSIX it is the lock that HDF5 libraries take as well, so that they and this library keep out of
each other's way. It goes when the file is closed, also by a process that is killed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import BinaryIO

from minari.errors import DatasetBusyError


if sys.platform == "win32":
    import msvcrt

    def _lock(file: BinaryIO) -> None:
        file.seek(0x7FFFFFFE)  # a byte far from the data, since locked bytes cannot be read on Windows
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(file: BinaryIO) -> None:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)


def lock_file(file: BinaryIO, path: Path) -> None:
    """Lock an open file until it is closed.

    Raises:
        DatasetBusyError: another program has it locked.
    """
    try:
        _lock(file)
    except OSError as error:
        raise DatasetBusyError(
            f"{path} is open in another program that reads or writes it through HDF5; "
            f"try again when that has closed it."
        ) from error
