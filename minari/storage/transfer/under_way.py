"""Folders for what takes long and may be broken off: one program at a time works in one, the next goes on there."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from minari.dataset._storages.file_lock import lock_file
from minari.errors import DatasetBusyError
from minari.progress import progress
from minari.storage.publishing import make_folder, make_parents, remove_empty


__all__ = ["folder_under_way"]

_log = logging.getLogger(__name__)

_LOCK_NAME = "lock"
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})  # on some network disks
_PAUSE = 0.1  # seconds between two looks whether the other program has finished


@contextmanager
def folder_under_way(folder: Path, purpose: str) -> Iterator[Path]:
    """Work alone in a hidden folder; another program that is at it is waited for.

    The folder is gone when the block ends well. When it fails, or the process is killed, what is in it
    stays for the next that comes, unless nothing was achieved.

    Args:
        folder: made where missing, with its parents.
        purpose: what it is for, for who watches the progress.

    Yields:
        The folder.
    """
    created = make_parents(folder.parent)
    try:
        with _locked(folder, purpose):
            try:
                yield folder
            except BaseException:
                if not _is_worth_keeping(folder):
                    shutil.rmtree(folder, ignore_errors=True)
                raise
            shutil.rmtree(folder, ignore_errors=True)
    except BaseException:
        remove_empty(created)
        raise


def _is_worth_keeping(folder: Path) -> bool:
    return any(files for path, _, files in os.walk(folder) if Path(path) != folder)


def _locked(folder: Path, purpose: str) -> BinaryIO:
    while True:
        file = _opened(folder)
        try:
            _wait_for(file, folder, purpose)
            if _is_still(file, folder / _LOCK_NAME):
                return file
        except BaseException:
            file.close()
            raise
        file.close()  # the other program has finished, and removed the folder


def _opened(folder: Path) -> BinaryIO:
    while True:  # as the folder, and empty ones around it, may be removed between any two lines
        make_folder(folder)
        try:
            return (folder / _LOCK_NAME).open("a+b")
        except FileNotFoundError:
            continue


def _wait_for(file: BinaryIO, folder: Path, purpose: str) -> None:
    if _lock(file, folder):
        return
    with progress(f"waiting for another program that is {purpose}", None, unit="looks") as advance:
        while not _lock(file, folder):
            time.sleep(_PAUSE)
            advance(1)


def _lock(file: BinaryIO, folder: Path) -> bool:
    try:
        lock_file(file, folder)
    except DatasetBusyError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        _log.warning("%s; two programs that download the same dataset at once would disturb each other.", error)
    return True


def _is_still(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
