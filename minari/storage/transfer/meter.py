"""Progress of transfers, reported to the current observer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Protocol

from minari._base.locks import ThreadLock
from minari.progress import progress


__all__ = ["Advance", "FileMeter", "Meter", "transfer_progress", "unreported"]


class Advance(Protocol):
    """Callback for the progress of a transfer, called in the thread that began it."""

    def __call__(self, size: int, files: int = 0) -> None:
        """Count ``size`` further bytes, and ``files`` files that these complete."""


@contextmanager
def transfer_progress(description: str, size: int, files: int) -> Iterator[Advance]:
    """Report a transfer to the current observer, in bytes and in files.

    Args:
        description: description such as ``"downloading cartpole/random-v0"``.
        size: in bytes.
        files: number of files.
    """
    with ExitStack() as tasks:
        moved = tasks.enter_context(progress(description, size, unit="bytes"))
        finished = tasks.enter_context(progress(description, files, unit="files"))

        def advance(size: int, files: int = 0) -> None:
            if size:
                moved(size)
            if files:
                finished(files)

        yield advance


def unreported(size: int, files: int = 0) -> None:
    """Ignore progress."""


class Meter:
    """Sum of the progress of several threads, reported by one of them.

    Args:
        advance: called by :meth:`report` with the sums.
    """

    def __init__(self, advance: Advance) -> None:
        self._advance = advance
        self._lock = ThreadLock()
        self._unreported = 0

    def file(self, size: int) -> FileMeter:
        """Return a counter for one file."""
        return FileMeter(self, size)

    def add(self, size: int) -> None:
        """Count further bytes; can be called from any thread."""
        with self._lock.current:
            self._unreported += size

    def report(self) -> None:
        """Report the progress since the last report."""
        with self._lock.current:
            size, self._unreported = self._unreported, 0
        if size:
            self._advance(size)


class FileMeter:
    """Counter of one file that counts each byte once, even if it is transferred several times.

    Args:
        meter: meter of the transfer.
        size: of the file, in bytes.
    """

    def __init__(self, meter: Meter, size: int) -> None:
        self._meter, self._size = meter, size
        self._lock = ThreadLock()
        self._moved = self._reported = 0

    def __call__(self, size: int) -> None:
        """Count further bytes; can be called from any thread."""
        with self._lock.current:
            self._moved = min(self._moved + size, self._size)
            further = max(self._moved - self._reported, 0)
            self._reported += further
        self._meter.add(further)

    def restart(self) -> None:
        """Start again at the beginning of the file."""
        with self._lock.current:
            self._moved = 0

    def finish(self) -> None:
        """Count the file as complete."""
        self(self._size)
