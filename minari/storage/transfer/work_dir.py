"""Hidden work directories of operations that can be resumed, each used by one program at a time."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from minari._base.atomic import make_directory, make_parents, remove_empty
from minari._base.locks import Lock, try_lock
from minari.errors import DatasetBusyError
from minari.progress import progress


__all__ = ["LOCK_FILE_NAME", "work_dir"]

#: Name of the file in a work directory that is locked while a program uses it.
LOCK_FILE_NAME = "lock"
_PAUSE = 0.1  # seconds between two checks whether the other program has finished
#: Seconds without a change, which computing checksums may take.
PATIENCE = 600.0


@contextmanager
def work_dir(directory: Path, purpose: str, *, patience: float = PATIENCE) -> Iterator[Path]:
    """Use a hidden directory exclusively, waiting for another program that uses it.

    The directory is removed when the block succeeds. If it fails, or the process is killed, its content stays
    for the next program, unless it has no files yet.

    Args:
        directory: the directory, created if missing, with its parents.
        purpose: phrase that is shown to waiting programs, such as ``"downloading x-v0"``.
        patience: seconds without a change after which the other program is considered to hang.

    Yields:
        The directory.

    Raises:
        DatasetBusyError: the other program seems to hang.
    """
    created = make_parents(directory.parent)
    try:
        held = _locked(directory, purpose, patience)
        try:
            yield directory
        except BaseException:
            if held.is_held and not any(files for path, _, files in os.walk(directory) if Path(path) != directory):
                shutil.rmtree(directory, ignore_errors=True)
            raise
        else:
            if held.is_held:
                shutil.rmtree(directory, ignore_errors=True)
        finally:
            held.release()
    except BaseException:
        remove_empty(created)
        raise


def _locked(directory: Path, purpose: str, patience: float) -> Lock:
    while True:
        held = _opened(directory)
        if held is None:
            held = _waited_for(directory, purpose, patience)
        if held.is_at_its_path():
            return held
        held.release()  # the other program has finished and removed the directory


def _opened(directory: Path) -> Lock | None:
    while True:  # since the directory and its empty parents may be removed at any time
        make_directory(directory)
        try:
            return try_lock(directory / LOCK_FILE_NAME)
        except FileNotFoundError:
            continue


def _waited_for(directory: Path, purpose: str, patience: float) -> Lock:
    seen, since = _newest(directory), time.monotonic()
    with progress(f"waiting for another program that is {purpose}", None, unit="looks") as advance:
        while (held := _opened(directory)) is None:
            time.sleep(_PAUSE)
            advance(1)
            if time.monotonic() - since > patience:
                if seen == (newest := _newest(directory)):
                    raise DatasetBusyError(
                        f"Another program that is {purpose} has changed nothing in {directory} for {patience / 60:g} "
                        f"minutes; see whether it hangs, end it, and try again."
                    )
                seen, since = newest, time.monotonic()
    return held


def _newest(directory: Path) -> tuple[int, int]:
    """Return the number of files in a directory and the latest time, which change while a program writes to it."""
    times = [0]
    for path, _, names in os.walk(directory):
        for name in names:
            with suppress(OSError):
                times.append(os.lstat(os.path.join(path, name)).st_mtime_ns)  # noqa: PTH118
    return len(times), max(times)
