"""Atomic writes, and durable files and directories.

Files and directories are built under a name that begins with a dot, beside their destination. Writes to them
need not be durable: they are flushed once, when they appear there, and not after every change.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Final


__all__ = [
    "EarlyWriteBack",
    "atomic_file",
    "flush_tree",
    "make_directory",
    "make_parents",
    "remove_empty",
    "sync_directory",
    "write_atomically",
]

_TO_FLUSH = os.O_RDWR if os.name == "nt" else os.O_RDONLY  # Windows flushes only files opened for writing
_FLUSHING_THREADS = 16
_MOST_TRIES = 1000  # to create a directory that others remove
_WORTHWHILE: Final = 2**23  # bytes, from which on it pays to write them back early

#: The function that writes back a file, without its times where the system can do that.
_write_back: Callable[[int], None] = getattr(os, "fdatasync", os.fsync)


def make_parents(directory: Path) -> list[Path]:
    """Create a directory with its parents and return the created ones, the outermost first."""
    missing = [directory, *directory.parents]
    missing = missing[: next((n for n, parent in enumerate(missing) if parent.exists()), len(missing))]
    created: list[Path] = []
    try:
        for parent in reversed(missing):
            make_directory(parent)
            created.append(parent)
    except BaseException:
        remove_empty(created)
        raise
    return created


def make_directory(directory: Path) -> None:
    """Create a directory with its parents, even if others create or remove them concurrently.

    Raises:
        FileExistsError: something else exists at the path, such as a link to a disk that is not mounted.
    """
    for tries_left in reversed(range(_MOST_TRIES)):
        try:
            directory.mkdir(parents=True)
        except FileNotFoundError:
            if not tries_left:
                raise
            continue  # a parent was removed in the meantime
        except FileExistsError as error:
            try:
                is_directory = stat.S_ISDIR(directory.stat().st_mode)
            except FileNotFoundError:
                if directory.is_symlink():
                    raise error from None
                continue  # removed in the meantime
            if not is_directory:
                raise
        return


def remove_empty(directories: list[Path]) -> None:
    """Remove the empty ones of some directories, the last one first."""
    for directory in reversed(directories):
        with suppress(OSError):  # no longer empty, so it stays
            directory.rmdir()


@contextmanager
def atomic_file(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Let a block write a new file beside a path, and move it there when the block ends without an error.

    Args:
        path: the file; a link is replaced, and its target is not changed.
        durable: True if the content must survive a power failure, False if it is flushed later.

    Yields:
        The path of the new file, which the block creates.

    Raises:
        OSError: the file cannot be written; it is unchanged, and no other file is left behind.
    """
    temporary = path.with_name(f".{path.name}.{os.urandom(6).hex()}.partial")
    try:
        yield temporary
        if durable:
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
        with suppress(FileNotFoundError):
            status = path.lstat()
            if stat.S_ISREG(status.st_mode):
                temporary.chmod(stat.S_IMODE(status.st_mode))
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    if durable:
        sync_directory(path.parent)


def write_atomically(path: Path, content: str | bytes, *, durable: bool = True) -> None:
    """Write a file so that readers find either the old or the new content, even after a crash.

    Args:
        path: the file; a link is replaced, and its target is not changed.
        content: the new content; text is written as UTF-8.
        durable: True if the content must survive a power failure, False if it is flushed later.

    Raises:
        OSError: the file cannot be written; it is unchanged, and no other file is left behind.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    with atomic_file(path, durable=durable) as temporary, temporary.open("xb") as file:
        file.write(data)


def flush_tree(directory: Path) -> None:
    """Flush a directory with all files and directories below it, except hidden files, which can be recreated.

    Raises:
        OSError: the operating system could not write buffered data.
    """
    directories: list[str] = []
    files: list[str] = []
    for path, _, names in os.walk(directory):
        directories.append(path)
        files += [f"{path}{os.sep}{name}" for name in names if not name.startswith(".")]
    _in_shares(_flush_files, files)
    _in_shares(_flush_directories, directories)


def _in_shares(flush_all: Callable[[list[str]], None], paths: list[str]) -> None:
    """Flush several files concurrently: disks handle many requests, and a file system combines their commits."""
    share = -(-len(paths) // _FLUSHING_THREADS)
    if len(paths) <= 2:
        flush_all(paths)
        return
    shares = [paths[start : start + share] for start in range(0, len(paths), share)]
    with ThreadPoolExecutor(_FLUSHING_THREADS) as threads:
        try:
            running = [threads.submit(flush_all, part) for part in shares]
        except RuntimeError:  # the process cannot start more threads
            running = []
        for future in running:
            future.result()
    if not running:
        flush_all(paths)


def _flush_files(paths: list[str]) -> None:
    for path in paths:
        descriptor = os.open(path, _TO_FLUSH)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _flush_directories(paths: list[str]) -> None:
    for path in paths:
        sync_directory(Path(path))


def sync_directory(directory: Path) -> None:
    """Make a rename durable if the system supports flushing directories."""
    with suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class EarlyWriteBack:
    """Write-back of the bytes written to a file so far, in a thread.

    It makes the flush at the end short and does not replace it. A failure is reported by :meth:`wait`, as systems
    report it only once, to whoever flushes first.

    Args:
        descriptor: of the file, which must stay open until :meth:`wait` has returned.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._written = 0  # bytes since the last start
        self._thread: Thread | None = None
        self._failure: OSError | None = None

    def written(self, size: int) -> None:
        """Start to write back if enough bytes have been written, and what was started before has ended.

        Raises:
            OSError: the system could not write earlier bytes.
        """
        self._written += size
        if self._written < _WORTHWHILE or (self._thread is not None and self._thread.is_alive()):
            return
        self.wait()
        thread = Thread(target=self._run, name="minari write-back")
        with suppress(RuntimeError):  # no more threads can be started, as while the program exits
            thread.start()
            self._written, self._thread = 0, thread

    def wait(self) -> None:
        """Wait for what was started.

        Raises:
            OSError: the system could not write the bytes.
        """
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            _write_back(self._descriptor)
        except OSError as error:
            self._failure = error
