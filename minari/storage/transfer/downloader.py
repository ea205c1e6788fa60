"""Concurrent download of the files of a dataset in pieces, which are verified and resumed after interruptions."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple

from minari._base.files import Directory
from minari._base.parallel import parallel_map
from minari.errors import DatasetCorruptError, RemoteError, UnsafePathError
from minari.progress import progress
from minari.storage.transfer.checksums import checksums_of
from minari.storage.transfer.download_plan import DownloadPlan, ExpectedFile, Source
from minari.storage.transfer.limits import until_intact, with_retries
from minari.storage.transfer.meter import Advance, transfer_progress, unreported


__all__ = ["fetch_files"]

_FILES_NAME, _JOURNAL_NAME = "files", "pieces"  # in the work directory
_LARGEST_JOURNAL = 1 << 24  # bytes; of more than a million pieces
_MOST_DIGITS = 18  # of a number in it
_WRITTEN_AT_ONCE = 1 << 20  # bytes; some systems take larger ones many times more slowly


class _Piece(NamedTuple):
    """Number of a file and of a piece of it."""

    file: int
    number: int


class _Journal:
    """Journal of the pieces that have been written, with which another process resumes the same plan.

    Attributes:
        done: numbers of the written pieces of each file, without those that the plan does not have.
        is_new: True if there was no journal of this plan.
    """

    def __init__(self, directory: Directory, plan: DownloadPlan) -> None:
        self.done: dict[int, set[int]] = {}
        self._plan = plan
        header = f"{plan.digest}\n"
        lines = _lines_left(directory)
        self.is_new = lines[:1] != [header]
        if not self.is_new:
            for line in lines[1:]:
                if line.endswith("\n"):  # the last one may have been cut
                    self._take(line.split())
        flags = os.O_WRONLY | (os.O_TRUNC if self.is_new else os.O_APPEND)
        self._file = os.fdopen(directory.create(_JOURNAL_NAME, flags), "wb" if self.is_new else "ab", buffering=0)
        self._file.write(header.encode() if self.is_new else b"\n")

    def _take(self, words: list[str]) -> None:
        *first, last = words or ("",)
        if len(first) != 1 or not _is_number(last):
            return
        if first[0] == "again":
            self.done.pop(int(last), None)
        elif _is_number(first[0]) and int(first[0]) < len(self._plan.files):
            file = int(first[0])
            if int(last) < self._plan.files[file].count:
                self.done.setdefault(file, set()).add(int(last))

    def add(self, piece: _Piece) -> None:
        """Record that a piece has been written; thread-safe, since each line is a single write."""
        self._file.write(f"{piece.file} {piece.number}\n".encode())

    def forget(self, file: int) -> None:
        """Record that all pieces of a file have to be fetched again."""
        self._file.write(f"again {file}\n".encode())

    def __enter__(self) -> _Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()


def _lines_left(directory: Directory) -> list[str]:
    """Return the lines of the journal of an earlier call; anything else with its name is removed."""
    try:
        return directory.read(_JOURNAL_NAME, _LARGEST_JOURNAL).decode("ascii", "replace").splitlines(keepends=True)
    except FileNotFoundError:
        return []
    except (UnsafePathError, OSError):
        _remove(Path(directory.path, _JOURNAL_NAME))
        return []


def _is_number(word: str) -> bool:
    return word.isdecimal() and len(word) <= _MOST_DIGITS


def _remove(path: Path) -> None:
    """Remove a directory entry of any kind, but nothing that it links to."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def fetch_files(source: Source, plan: DownloadPlan, directory: Path, like: Path | None = None) -> Path:
    """Download the files of a plan into a directory, and verify them.

    Args:
        source: the remote.
        plan: the expected files.
        directory: directory that no other program uses. Files of an earlier call with the same plan are kept.
        like: directory of a dataset that may hold some of the files already; these are copied.

    Returns:
        The directory of the files, inside ``directory``.

    Raises:
        DatasetCorruptError: a file arrives damaged again and again.
        RemoteError: the remote does not respond, or there is not enough disk space.
        OSError: a file cannot be written.
    """
    files = directory / _FILES_NAME
    with Directory(directory) as opened, _Journal(opened, plan) as journal:
        if journal.is_new or files.is_symlink() or not files.is_dir():
            _remove(files)
            files.mkdir()
        with Directory(files) as target:
            _Fetching(source, plan, target, journal).run(like)
    return files


class _Fetching:
    """One call of :func:`fetch_files`; it makes no list of all pieces, which may not fit into memory."""

    def __init__(self, source: Source, plan: DownloadPlan, files: Directory, journal: _Journal) -> None:
        self._source, self._plan, self._files, self._journal = source, plan, files, journal
        self._here: dict[int, set[int]] = {}  # file -> pieces that need not be fetched
        self._complete: set[int] = set()  # files that need no further pieces

    def run(self, like: Path | None) -> None:
        plan = self._plan
        self._here = {file: pieces for file, pieces in self._journal.done.items() if self._is_resumable(file)}
        self._refuse_without_room(plan.size - self._size_here())
        self._complete = {file for file, pieces in self._here.items() if len(pieces) == plan.files[file].count}
        if like is not None:
            self._copy(like)
        size = plan.size - self._size_here() - sum(plan.files[file].size for file in self._complete - set(self._here))
        # Existing pieces do not count, since they would distort the speed and the remaining time.
        missing = set(range(len(plan.files))) - self._complete
        with transfer_progress(f"downloading {plan.dataset_id}", size, len(missing)) as advance:
            self._fetch(missing, advance)
        self._check_all(self._complete | set(self._here))

    def _pieces(self, files: Iterable[int]) -> Iterator[_Piece]:
        """Yield the pieces of files that have to be fetched."""
        for file in sorted(files):
            here = self._here.get(file, ())
            for number in range(self._plan.files[file].count):
                if number not in here:
                    yield _Piece(file, number)

    def _size(self, file: int, number: int) -> int:
        start, stop = self._plan.files[file].bounds(number)
        return stop - start

    def _size_here(self) -> int:
        return sum(self._size(file, number) for file, pieces in self._here.items() for number in pieces)

    def _is_resumable(self, file: int) -> bool:
        """Return whether the pieces that an earlier call wrote still exist and can be verified at the end."""
        if self._plan.files[file].checksum is None:
            return False
        try:
            os.close(self._files.open(self._plan.files[file].name))
        except (OSError, UnsafePathError):
            return False
        return True

    def _copy(self, like: Path) -> None:
        """Copy the files that exist in another directory with the expected content."""
        with Directory(like) as directory:
            for number, file in enumerate(self._plan.files):
                if number not in self._complete and self._is_copied(file, directory):
                    self._here.pop(number, None)
                    self._complete.add(number)

    def _is_copied(self, file: ExpectedFile, directory: Directory) -> bool:
        if file.checksum is None:
            return False
        try:
            descriptor = directory.open(file.name)
        except (OSError, UnsafePathError):
            return False
        with os.fdopen(descriptor, "rb") as source:
            if os.fstat(descriptor).st_size != file.size or not _is_whole(file, source):
                return False
            source.seek(0)
            with os.fdopen(self._files.create(file.name, os.O_WRONLY | os.O_TRUNC), "wb") as target:
                shutil.copyfileobj(source, target, _WRITTEN_AT_ONCE)
        return True

    def _refuse_without_room(self, needed: int) -> None:
        free = shutil.disk_usage(self._files.path).free
        if needed > free:
            raise RemoteError(
                f"Downloading {self._plan.dataset_id} takes {needed / 1e6:,.1f} MB more and "
                f"{Path(self._files.path).parent} has {free / 1e6:,.1f} MB left; make room, then download it again."
            )

    def _fetch(self, files: set[int], advance: Advance) -> None:
        missing = {file: self._plan.files[file].count - len(self._here.get(file, ())) for file in files}
        for piece in parallel_map(self._fetch_piece, self._pieces(files), self._source.max_workers):
            missing[piece.file] -= 1
            advance(self._size(*piece), int(not missing[piece.file]))

    def _fetch_piece(self, piece: _Piece) -> _Piece:
        file = self._plan.files[piece.file]
        start, stop = file.bounds(piece.number)
        name = f"{self._plan.dataset_id}/{file.name}"

        def read() -> bytes:
            content = with_retries(partial(self._source.read_range, name, start, stop)) if stop > start else b""
            if not file.accepts(piece.number, content):
                raise DatasetCorruptError(
                    f"{name} came damaged: bytes {start} to {stop} do not match their checksum. Nothing was "
                    "installed; if this happens again, the file is damaged on the remote."
                )
            return content

        _write(self._files.create(file.name), start, until_intact(read))
        self._journal.add(piece)
        return piece

    def _check_all(self, kept: set[int]) -> None:
        """Verify each file that was not verified when it arrived, and download damaged ones again."""
        doubtful = {
            number
            for number, file in enumerate(self._plan.files)
            if file.checksum is not None and (file.count > 1 or number in kept)
        }
        damaged: set[int] = set()

        def check() -> None:
            nonlocal doubtful, damaged
            if damaged:
                self._fetch(damaged, unreported)
                doubtful = damaged
            damaged = self._damaged(doubtful)
            for number in damaged:
                self._journal.forget(number)
                self._here.pop(number, None)
            if damaged:
                names = ", ".join(self._plan.files[number].name for number in sorted(damaged))
                raise DatasetCorruptError(
                    f"Files of {self._plan.dataset_id} came damaged: {names}. Nothing was installed; if this happens "
                    "again, they are damaged on the remote."
                )

        until_intact(check)

    def _damaged(self, numbers: set[int]) -> set[int]:
        size = sum(self._plan.files[number].size for number in numbers)
        damaged: set[int] = set()

        def look_at(number: int) -> tuple[int, bool]:
            file = self._plan.files[number]
            with os.fdopen(self._files.open(file.name), "rb") as content:
                return number, _is_whole(file, content)

        with progress(f"checking {self._plan.dataset_id}", size, unit="bytes") as advance:
            for number, is_whole in parallel_map(look_at, sorted(numbers), self._source.max_workers):
                advance(self._plan.files[number].size)
                if not is_whole:
                    damaged.add(number)
        return damaged


def _is_whole(file: ExpectedFile, content: BinaryIO) -> bool:
    if file.checksum is None or os.fstat(content.fileno()).st_size != file.size:
        return file.checksum is None
    algorithm = file.checksum.algorithm
    pieces = iter(partial(content.read, _WRITTEN_AT_ONCE), b"")
    return checksums_of(pieces, file.size, [algorithm])[algorithm] == file.checksum


def _write(descriptor: int, start: int, content: bytes) -> None:
    with os.fdopen(descriptor, "r+b", buffering=0) as file:
        file.seek(start)
        view = memoryview(content)
        while view:
            view = view[file.write(view[:_WRITTEN_AT_ONCE]) :]
