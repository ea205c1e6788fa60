"""Folders for what takes long and may be broken off: one program at a time works in one, the next goes on there."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from minari.dataset._storages.file_lock import Lock, try_lock
from minari.progress import progress
from minari.storage.publishing import make_folder, make_parents, remove_empty


__all__ = ["LOCK_NAME_WITHIN", "folder_under_way"]

#: The file in such a folder that is locked as long as a program works there.
LOCK_NAME_WITHIN = "lock"
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
        held = _locked(folder, purpose)
        try:
            yield folder
        except BaseException:
            if held.is_held and not _is_worth_keeping(folder):
                shutil.rmtree(folder, ignore_errors=True)
            raise
        else:
            if held.is_held:
                shutil.rmtree(folder, ignore_errors=True)
        finally:
            held.release()
    except BaseException:
        remove_empty(created)
        raise


def _is_worth_keeping(folder: Path) -> bool:
    return any(files for path, _, files in os.walk(folder) if Path(path) != folder)


def _locked(folder: Path, purpose: str) -> Lock:
    while True:
        held = _opened(folder)
        if held is None:
            held = _waited_for(folder, purpose)
        if held.is_at_its_path():
            return held
        held.release()  # the other program has finished, and removed the folder


def _opened(folder: Path) -> Lock | None:
    while True:  # as the folder, and empty ones around it, may be removed between any two lines
        make_folder(folder)
        try:
            return try_lock(folder / LOCK_NAME_WITHIN)
        except FileNotFoundError:
            continue


def _waited_for(folder: Path, purpose: str) -> Lock:
    with progress(f"waiting for another program that is {purpose}", None, unit="looks") as advance:
        while (held := _opened(folder)) is None:
            time.sleep(_PAUSE)
            advance(1)
    return held
