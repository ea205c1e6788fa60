"""Locks that prevent concurrent writes to a dataset by programs or threads.

They are locks of the operating system on open files, so they are released when a process is killed. A forked
child does not hold the locks of its parent: it closes the descriptors immediately. If a file system does not
support locks, writing continues without them, with one warning.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import ClassVar, Final, cast

from minari._base.files import is_directory, open_regular, read_regular
from minari._base.json_text import parse_json, shortened
from minari._base.settings import get_lock_timeout
from minari._base.warnings import warn
from minari.errors import DatasetBusyError, MinariError


__all__ = [
    "LOCK_NAME",
    "Lock",
    "ThreadLock",
    "directory_lock",
    "folder_lock",
    "is_locked",
    "lock",
    "try_lock",
    "waiting_at_most",
]

LOCK_NAME: Final = ".lock"

#: Error numbers for a lock held by another program, and for systems without locks.
_TAKEN: Final = frozenset({errno.EACCES, errno.EAGAIN, errno.EDEADLK, errno.EWOULDBLOCK})
_NO_LOCKS: Final = frozenset({errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL})
_HDF5_VARIABLE: Final = "HDF5_USE_FILE_LOCKING"
_PAUSES: Final = (0.002, 0.05)  # minimum and maximum seconds between two attempts
_OWNER_LIMIT: Final = 4096  # bytes
_OF_DIRECTORY: Final = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)

if sys.platform == "win32":
    import msvcrt

    _FAR: Final = 0x7FFFFFFE  # far from the data, since locked bytes cannot be read on Windows

    def _lock(descriptor: int, shared: bool) -> None:
        os.lseek(descriptor, _FAR, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

    def _unlock(descriptor: int) -> None:
        os.lseek(descriptor, _FAR, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _lock(descriptor: int, shared: bool) -> None:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)

    def _unlock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


_timeout: ContextVar[float | None] = ContextVar("lock_timeout", default=None)
_held: set[Lock] = set()
_warned = False


@contextmanager
def waiting_at_most(seconds: float | None) -> Iterator[None]:
    """Limit the wait for each lock in the block; None for ``MINARI_LOCK_TIMEOUT``."""
    token = _timeout.set(seconds)
    try:
        yield
    finally:
        _timeout.reset(token)


class Lock:
    """A file locked by this process, on POSIX in the same way as by HDF5 libraries.

    Args:
        path: path of the file, which must not be a link.
        create: True to create a missing file.
        directory: True if it is a directory.
    """

    def __init__(self, path: Path, *, create: bool = False, directory: bool = False) -> None:
        self.path, self.thread = path, threading.get_ident()
        self._descriptor: int | None = os.open(path, _OF_DIRECTORY) if directory else _opened(path, create)
        _held.add(self)  # before it is locked, so that no fork happens in between

    @property
    def is_held(self) -> bool:
        """Return whether this process holds the lock; a forked child does not."""
        return self._descriptor is not None

    def is_at_its_path(self) -> bool:
        """Return whether the file has not been removed or replaced since it was opened."""
        try:
            return self._descriptor is not None and os.path.samestat(os.fstat(self._descriptor), os.lstat(self.path))
        except FileNotFoundError:
            return False

    def take(self) -> bool:
        """Lock the file; return False if another program or thread holds the lock."""
        if self._descriptor is None:
            return False
        if os.environ.get(_HDF5_VARIABLE, "").upper() in ("FALSE", "0"):
            _warn_about_no_locks(f"{_HDF5_VARIABLE} turns locks off")
            return True
        try:
            _lock(self._descriptor, shared=False)
        except OSError as error:
            if error.errno in _TAKEN:
                return False
            if error.errno not in _NO_LOCKS:
                raise
            _warn_about_no_locks(f"{self.path} cannot be locked ({error.strerror})")
        return True

    def write_owner(self) -> None:
        """Write the owner into the file, for the message shown to waiting programs."""
        with suppress(OSError):
            if self._descriptor is not None:
                os.ftruncate(self._descriptor, 0)
                os.lseek(self._descriptor, 0, os.SEEK_SET)
                os.write(self._descriptor, _owner())

    def release(self, *, clear: bool = False) -> None:
        """Release the lock; has no effect the second time, or in a forked child.

        Args:
            clear: True to remove the owner written by :meth:`write_owner`.
        """
        descriptor, self._descriptor = self._descriptor, None
        _held.discard(self)
        if descriptor is not None:
            with suppress(OSError):
                if clear:
                    os.ftruncate(descriptor, 0)
                _unlock(descriptor)  # closing does not unlock while a forked child still has the descriptor
            os.close(descriptor)

    def _close_in_child(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def _opened(path: Path, create: bool) -> int:
    while True:
        try:
            return open_regular(path, os.O_RDWR, links=False)
        except FileNotFoundError:
            if not create:
                raise
        with suppress(FileExistsError):  # created concurrently by another program
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666))


def try_lock(path: Path, *, create: bool = True) -> Lock | None:
    """Lock a file, or return None if another program holds the lock."""
    found = Lock(path, create=create)
    try:
        if found.take():
            return found
    except BaseException:
        found.release()
        raise
    found.release()
    return None


def directory_lock(path: Path) -> Lock | None:
    """Lock a directory that is being built, as seen by :func:`is_locked`; None if that is not possible."""
    try:
        found = Lock(path, directory=True)
    except OSError:
        return None
    try:
        _lock(cast("int", found._descriptor), shared=False)
    except OSError:
        found.release()
        return None
    return found


def lock(path: Path, what: Path, *, create: bool = False) -> Lock:
    """Lock a file, waiting for another program as long as :func:`waiting_at_most` allows.

    Args:
        path: path of the file.
        what: the locked object, for the message.
        create: True to create a missing file.

    Raises:
        DatasetBusyError: another program still holds the lock.
        OSError: the file cannot be opened.
    """
    wanted = _timeout.get()
    timeout = get_lock_timeout() if wanted is None else wanted
    deadline, pause = time.monotonic() + timeout, _PAUSES[0]
    while True:
        found = Lock(path, create=create)
        try:
            if found.take():
                if found.is_at_its_path():
                    return found
                found.release()  # the dataset was deleted or replaced during the wait
                continue
            # If this thread holds the lock, waiting would never end.
            is_own = any(
                other is not found and other.thread == found.thread and other.path == found.path for other in set(_held)
            )
        except BaseException:
            found.release()
            raise
        found.release()
        if is_own or time.monotonic() >= deadline:
            waited = "" if is_own else f" It was waited for {timeout:g} seconds (MINARI_LOCK_TIMEOUT);"
            raise DatasetBusyError(
                f"{what} is in use by another program{_owner_of(path)}, which writes the dataset or reads it through "
                f"HDF5.{waited} try again when that has closed it."
            )
        time.sleep(pause)
        pause = min(2 * pause, _PAUSES[1])


def is_locked(path: Path) -> bool:
    """Return whether another program has locked a file or directory; False if that cannot be determined."""
    try:
        descriptor = os.open(path, _OF_DIRECTORY) if is_directory(path) else open_regular(path)
    except (OSError, MinariError):
        return False
    try:
        _lock(descriptor, shared=True)
    except OSError as error:
        return error.errno in _TAKEN
    else:
        return False
    finally:
        os.close(descriptor)


@contextmanager
def folder_lock(directory: Path) -> Iterator[Lock]:
    """Lock a dataset for writing.

    Wait for another writer for ``MINARI_LOCK_TIMEOUT`` seconds, or as long as the caller of the writing
    function allows.

    Args:
        directory: directory of its data, where a hidden file is locked.

    Yields:
        The lock; it is not held in a forked child that continues the block.

    Raises:
        DatasetBusyError: another program is still writing to the dataset.
    """
    held = lock(directory / LOCK_NAME, directory, create=True)
    try:
        held.write_owner()
        yield held
    finally:
        held.release(clear=True)


def _owner() -> bytes:
    node = os.uname().nodename if hasattr(os, "uname") else os.environ.get("COMPUTERNAME", "")
    owner = {
        "host": node,
        "pid": os.getpid(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        "program": Path(sys.argv[0] if sys.argv else sys.executable).name,
    }
    return json.dumps(owner).encode()[:_OWNER_LIMIT]


def _owner_of(path: Path) -> str:
    """Return the owner of a lock according to its file, which is not trusted."""
    with suppress(OSError, ValueError, MinariError):
        owner = parse_json(read_regular(path, _OWNER_LIMIT, links=False)) if path.name == LOCK_NAME else None
        if isinstance(owner, dict) and {"host", "pid", "since", "program"} <= owner.keys():
            program, pid, host, since = (shortened(owner[key]) for key in ("program", "pid", "host", "since"))
            return f" ({program}, process {pid} on {host}, since {since})"
    return ""


def _warn_about_no_locks(reason: str) -> None:
    global _warned
    if not _warned:
        _warned = True
        warn(
            f"{reason}, so concurrent writes to a dataset are not prevented; let only one program write to it.",
        )


def _close_in_child() -> None:
    for held in list(_held):
        held._close_in_child()
    _held.clear()


class ThreadLock:
    """Lock between threads that works across forks: ``with lock.current: ...``.

    Attributes:
        current: a reentrant lock. A forked child gets a new one, since the thread that held the old one does
            not exist there.
    """

    _all: ClassVar[weakref.WeakSet[ThreadLock]] = weakref.WeakSet()

    def __init__(self) -> None:
        self.current = threading.RLock()
        self._all.add(self)

    @classmethod
    def renew_all(cls) -> None:
        """Replace every lock in a forked child, where its owner does not exist."""
        for lock in list(cls._all):
            lock.current = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)
    os.register_at_fork(after_in_child=ThreadLock.renew_all)
