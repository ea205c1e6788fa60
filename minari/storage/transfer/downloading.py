"""Fetches the files of a dataset, piece by piece and many at once; goes on where it was cut, and checks everything."""

from __future__ import annotations

import logging
import os
import shutil
from collections import Counter
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from minari.errors import DatasetCorruptError, RemoteError
from minari.progress import progress
from minari.storage.transfer.checksums import checksums_of, read_in_pieces
from minari.storage.transfer.download_plan import DownloadPlan, ExpectedFile, Source
from minari.storage.transfer.remote_files import file_within
from minari.storage.transfer.retries import retrying
from minari.storage.transfer.workers import Advance, each_at_once, transfer_progress


__all__ = ["fetch_files"]

_FILES_NAME, _JOURNAL_NAME = "files", "pieces"  # in the folder of a download under way
_ATTEMPTS = 3  # at a piece, and at a file, that arrive damaged
_WRITTEN_AT_ONCE = 1 << 20  # bytes; some systems take larger ones many times more slowly

_log = logging.getLogger(__name__)


class _Piece(NamedTuple):
    """A piece of a file, by the numbers of both."""

    file: int
    number: int


class _Journal:
    """Which pieces have been written, so that another process can go on; it belongs to one plan."""

    def __init__(self, path: Path, plan: DownloadPlan) -> None:
        self.done: set[_Piece] = set()
        header = f"{plan.digest}\n"
        lines = path.read_text(encoding="ascii", errors="replace").splitlines(keepends=True) if path.exists() else []
        self.is_new = lines[:1] != [header]
        if not self.is_new:
            for line in lines[1:]:
                if line.endswith("\n"):  # the last one may have been cut
                    self._take(line)
        self._file = path.open("wb" if self.is_new else "ab", buffering=0)
        self._file.write(header.encode() if self.is_new else b"\n")

    def _take(self, line: str) -> None:
        words = line.split()
        if len(words) == 2 and all(word.isdecimal() for word in words):
            self.done.add(_Piece(int(words[0]), int(words[1])))
        elif len(words) == 2 and words[0] == "again" and words[1].isdecimal():
            self.done = {piece for piece in self.done if piece.file != int(words[1])}

    def add(self, piece: _Piece) -> None:
        """A piece has been written; safe in several threads, as each line is one write."""
        self._file.write(f"{piece.file} {piece.number}\n".encode())

    def forget(self, file: int) -> None:
        """All pieces of a file have to be fetched again."""
        self._file.write(f"again {file}\n".encode())

    def __enter__(self) -> _Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()


def fetch_files(source: Source, plan: DownloadPlan, folder: Path, like: Path | None = None) -> Path:
    """Bring the files of a plan into a folder, and make sure that they are what they should be.

    Args:
        source: the remote.
        plan: what to bring.
        folder: that nobody else works in. What an earlier call has left there of the same plan is kept.
        like: the folder of a dataset that may hold some of the files already; these are copied.

    Returns:
        The folder of the files, inside the folder.

    Raises:
        DatasetCorruptError: a file comes damaged again and again.
        RemoteError: the remote does not answer, or there is too little room.
        OSError: a file cannot be written.
    """
    files = folder / _FILES_NAME
    with _Journal(folder / _JOURNAL_NAME, plan) as journal:
        if journal.is_new:
            shutil.rmtree(files, ignore_errors=True)
        _Fetching(source, plan, files, journal).run(like)
    return files


class _Fetching:
    """One call of :func:`fetch_files`."""

    def __init__(self, source: Source, plan: DownloadPlan, files: Path, journal: _Journal) -> None:
        self._source, self._plan, self._files, self._journal = source, plan, files, journal

    def run(self, like: Path | None) -> None:
        plan = self._plan
        for parent in {self._path(file).parent for file in plan.files} | {self._files}:
            parent.mkdir(parents=True, exist_ok=True)
        here = self._kept() | self._copied(like)
        missing = [piece for number in range(len(plan.files)) for piece in self._pieces(number) if piece not in here]
        size = sum(map(self._size, missing))
        self._refuse_without_room(size)
        # What is here already does not count, or the speed and the time left would be too good to be true.
        files = len({piece.file for piece in missing})
        with transfer_progress(f"downloading {plan.dataset_id}", size, files) as advance:
            self._fetch(missing, advance)
        self._check_all({piece.file for piece in here})

    def _path(self, file: ExpectedFile) -> Path:
        return file_within(self._files, file.name)

    def _pieces(self, file: int) -> list[_Piece]:
        return [_Piece(file, number) for number in range(self._plan.files[file].count)]

    def _size(self, piece: _Piece) -> int:
        start, stop = self._plan.files[piece.file].bounds(piece.number)
        return stop - start

    def _kept(self) -> set[_Piece]:
        """The pieces that an earlier call has written, of files whose content can be checked in the end."""
        files = self._plan.files
        return {
            piece
            for piece in self._journal.done
            if piece.file < len(files)
            and piece.number < files[piece.file].count
            and files[piece.file].checksum is not None
            and self._path(files[piece.file]).is_file()
        }

    def _copied(self, like: Path | None) -> set[_Piece]:
        """The pieces of files that another folder holds, now copied from there."""
        if like is None:
            return set()
        found: set[_Piece] = set()
        for number, file in enumerate(self._plan.files):
            path = file_within(like, file.name)
            if file.checksum is not None and path.is_file() and _is_whole(file, path):
                shutil.copyfile(path, self._path(file))
                found.update(self._pieces(number))
        return found

    def _refuse_without_room(self, needed: int) -> None:
        free = shutil.disk_usage(self._files).free
        if needed > free:
            raise RemoteError(
                f"Downloading {self._plan.dataset_id} takes {needed / 1e6:,.1f} MB more and {self._files.parent} has "
                f"{free / 1e6:,.1f} MB left; make room, then download it again."
            )

    def _fetch(self, pieces: Iterable[_Piece], advance: Advance) -> None:
        wanted = list(pieces)
        missing = Counter(piece.file for piece in wanted)
        for piece in each_at_once(self._fetch_piece, wanted, self._source.max_workers):
            missing[piece.file] -= 1
            advance(self._size(piece), int(not missing[piece.file]))

    def _fetch_piece(self, piece: _Piece) -> _Piece:
        file = self._plan.files[piece.file]
        start, stop = file.bounds(piece.number)
        name = f"{self._plan.dataset_id}/{file.name}"
        content = b""
        for _ in range(_ATTEMPTS):
            if stop > start:
                content = retrying(partial(self._source.read_range, name, start, stop))
            if file.accepts(piece.number, content):
                break
            _log.info("bytes %d to %d of %s came damaged", start, stop, name)
        else:
            raise DatasetCorruptError(
                f"{name} came damaged {_ATTEMPTS} times: bytes {start} to {stop} are not what the remote promised. "
                "Nothing was put in place; if it happens again, the file is damaged there."
            )
        _write(self._path(file), start, content)
        self._journal.add(piece)
        return piece

    def _check_all(self, kept: set[int]) -> None:
        """See whether each file is whole, where that was not seen when it came."""
        doubtful = {
            number
            for number, file in enumerate(self._plan.files)
            if file.checksum is not None and (file.count > 1 or number in kept)
        }
        for _ in range(_ATTEMPTS):
            damaged = self._damaged(doubtful)
            if not damaged:
                return
            for number in damaged:
                _log.info("%s came damaged", self._plan.files[number].name)
                self._journal.forget(number)
            self._fetch([piece for number in sorted(damaged) for piece in self._pieces(number)], _silent)
            doubtful = damaged
        damaged = self._damaged(doubtful)
        if damaged:
            names = ", ".join(self._plan.files[number].name for number in sorted(damaged))
            raise DatasetCorruptError(
                f"Files of {self._plan.dataset_id} came damaged again and again: {names}. Nothing was put in place; "
                "if it happens again, they are damaged on the remote."
            )

    def _damaged(self, numbers: set[int]) -> set[int]:
        size = sum(self._plan.files[number].size for number in numbers)
        damaged: set[int] = set()

        def look_at(number: int) -> tuple[int, bool]:
            file = self._plan.files[number]
            return number, _is_whole(file, self._path(file))

        with progress(f"checking {self._plan.dataset_id}", size, unit="bytes") as advance:
            for number, is_whole in each_at_once(look_at, sorted(numbers), self._source.max_workers):
                advance(self._plan.files[number].size)
                if not is_whole:
                    damaged.add(number)
        return damaged


def _silent(size: int, files: int = 0) -> None:
    pass


def _is_whole(file: ExpectedFile, path: Path) -> bool:
    if file.checksum is None or path.stat().st_size != file.size:
        return file.checksum is None
    algorithm = file.checksum.algorithm
    return checksums_of(read_in_pieces(path), file.size, [algorithm])[algorithm] == file.checksum


def _write(path: Path, start: int, content: bytes) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
    with os.fdopen(descriptor, "r+b", buffering=0) as file:
        file.seek(start)
        view = memoryview(content)
        while view:
            view = view[file.write(view[:_WRITTEN_AT_ONCE]) :]
