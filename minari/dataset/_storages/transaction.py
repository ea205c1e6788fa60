"""A change to a file that happens whole or not at all, even when the process is killed.

HDF5 writes its own structures in place, so a process that dies while it appends leaves a file
that nobody can open. Here an HDF5 library gets a file-like object instead of the file: what it
writes beyond the old end goes to the file, where nothing refers to it yet, and what it would change
inside is kept in memory. To commit, these changes are written to a journal first and applied
then; a journal that is found later belongs to a writer that died, and is applied again.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import struct
import time
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from minari.dataset._storages.file_lock import lock_file
from minari.dataset._storages.unfinished import finish_change
from minari.errors import DatasetCorruptError
from minari.storage.publishing import flush, write_atomically


JOURNAL_NAME = ".journal"
#: Bytes that are written in one call. Linux takes larger pieces many times more slowly, and some systems none of
#: more than 2 GiB.
WRITTEN_AT_ONCE = 2**20
_PAGE = 4096
_PATIENCE = 0.25  # seconds, for readers that are at the file for a moment
_MAGIC = b"minari journal 1\n"
_LENGTHS = struct.Struct("<QQI")  # of the header, of the payload, and their checksum


class FileTransaction(io.RawIOBase):
    """A binary file whose changes appear at :meth:`commit`, and are undone by :meth:`discard`.

    Args:
        path: an existing file; the journal goes into the same folder.

    Raises:
        DatasetBusyError: another program has the file open for writing.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path, self._journal = path, path.with_name(JOURNAL_NAME)
        self._file: BinaryIO = path.open("r+b", buffering=0)
        try:
            lock_file(self._file, path, patience=_PATIENCE)
            self._apply_journal()
        except BaseException:
            self._file.close()
            raise
        self._status = os.fstat(self._file.fileno())
        self._old_end = self._status.st_size
        self._end = self._old_end
        self._position = 0
        self._pages: dict[int, bytearray] = {}
        self._discarding = False

    # What an HDF5 library calls.

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._end}[whence]
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        position, length = self._position, len(view)
        self._file.seek(position)
        read = self._file.readinto(view) or 0  # type: ignore[attr-defined]
        for page in range(position // _PAGE, (min(position + read, self._old_end) + _PAGE - 1) // _PAGE):
            if page in self._pages:
                start, end = max(position, page * _PAGE), min(position + read, self._page_end(page))
                changed = self._pages[page][start - page * _PAGE : end - page * _PAGE]
                view[start - position : start - position + len(changed)] = changed
        self._position += min(read, length)
        return read

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        self.write_at(self._position, view)
        self._position += len(view)
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        self._end = self._position if size is None else size
        if self._end >= self._old_end and not self._discarding:
            self._file.truncate(self._end)
        return self._end

    # What a storage calls.

    @property
    def end(self) -> int:
        """Where the file ends, with the changes that are not committed yet."""
        return self._end

    def read_at(self, offset: int, size: int) -> bytes:
        """Bytes at an offset, fewer where the file ends, with the changes so far."""
        self.seek(offset)
        return self.read(size) or b""

    def write_at(self, offset: int, view: memoryview) -> None:
        """Write bytes at an offset: into the file beyond its old end, into memory before it."""
        if self._discarding:
            return
        inside = max(0, min(len(view), self._old_end - offset))
        done = 0
        while done < inside:
            page, start = divmod(offset + done, _PAGE)
            length = min(_PAGE - start, inside - done)
            self._page(page)[start : start + length] = view[done : done + length]
            done += length
        if done < len(view):
            self._file.seek(offset + done)
            write_all(self._file, view[done:])
        self._end = max(self._end, offset + len(view))

    def commit(self, texts: Mapping[str, str]) -> os.stat_result:
        """Make the changes, together with the new contents of small files in the same folder.

        Args:
            texts: file name -> text, for files that are replaced as a whole.

        Returns:
            What the file is like afterwards.
        """
        flush(self._file.fileno(), self.path)
        changes = [
            (page * _PAGE, bytes(data[: self._page_end(page) - page * _PAGE]))
            for page, data in sorted(self._pages.items())
        ]
        _write_journal(self._journal, self.path.name, changes, self._end, texts)
        self._old_end = self._end  # from here on the change is made, if not now then by whoever comes next
        self._apply_journal()
        self._pages.clear()
        return os.fstat(self._file.fileno())

    def discard(self) -> None:
        """Undo what has not been committed; whatever is written from now on is thrown away."""
        self._pages.clear()
        self._discarding = True
        self._file.truncate(self._old_end)
        if self._old_end == self._status.st_size:  # as it was before, for whoever goes by its time as well
            _set_time(self.path, self._status.st_mtime_ns)

    def close(self) -> None:
        if not self.closed:
            self._file.close()  # which also gives up the lock
        super().close()

    def _apply_journal(self) -> None:
        if self._journal.exists():
            _apply(*_read_journal(self._journal), self._journal, self._file)

    def _page(self, page: int) -> bytearray:
        if page not in self._pages:
            data = bytearray(_PAGE)
            self._file.seek(page * _PAGE)
            self._file.readinto(data)  # type: ignore[attr-defined]
            self._pages[page] = data
        return self._pages[page]

    def _page_end(self, page: int) -> int:
        return min((page + 1) * _PAGE, self._old_end)


def has_journal(folder: Path) -> bool:
    """Whether a change to a file in this folder is under way, or was left unfinished."""
    return (folder / JOURNAL_NAME).exists()


def recover_abandoned(folder: Path, timeout: float = 10.0) -> None:
    """Apply the journal that a killed writer left in a folder; wait for a writer that is alive.

    Raises:
        DatasetBusyError: the writer is still at it after ``timeout`` seconds.
        DatasetCorruptError: the journal is damaged, or cannot be applied for want of permission.
    """
    journal = folder / JOURNAL_NAME
    finish_change(journal, lambda: _apply_abandoned(journal), timeout)


def _apply_abandoned(journal: Path) -> None:
    try:
        path = journal.with_name(_read_journal(journal)[0]["file"])
        with path.open("r+b", buffering=0) as file:
            lock_file(file, path)
            _apply(*_read_journal(journal), journal, file)  # read again, now that no writer is alive
    except FileNotFoundError as error:
        if Path(error.filename) != journal:  # otherwise its writer was alive, and is done
            raise DatasetCorruptError(
                f"{journal.parent} has an unfinished change ({journal.name}) to a file that is missing; copy or "
                f"download the dataset again."
            ) from None


def _apply(header: dict[str, Any], payload: memoryview, journal: Path, file: BinaryIO) -> None:
    for offset, length in header["changes"]:
        file.seek(offset)
        write_all(file, payload[:length])
        payload = payload[length:]
    file.truncate(header["end"])
    # The time of a change may be that of a tick of the clock, milliseconds ago, and then the file would look
    # the same as before to those who go by size and time.
    _set_time(journal.with_name(header["file"]), time.time_ns())
    flush(file.fileno(), journal)
    for name, text in header["texts"].items():
        write_atomically(journal.with_name(name), text)
    journal.unlink()


def _set_time(path: Path, nanoseconds: int) -> None:
    with contextlib.suppress(PermissionError):  # of a user who may write to a file of somebody else
        os.utime(path, ns=(nanoseconds, nanoseconds))


def _write_journal(
    journal: Path, file_name: str, changes: list[tuple[int, bytes]], end: int, texts: Mapping[str, str]
) -> None:
    places = [(offset, len(data)) for offset, data in changes]
    header = json.dumps({"file": file_name, "changes": places, "end": end, "texts": dict(texts)}).encode()
    payload = b"".join(data for _, data in changes)
    checksum = zlib.crc32(payload, zlib.crc32(header))
    content = _MAGIC + _LENGTHS.pack(len(header), len(payload), checksum) + header + payload
    write_atomically(journal, content)


def _read_journal(journal: Path) -> tuple[dict[str, Any], memoryview]:
    content = journal.read_bytes()
    view = memoryview(content)
    start = len(_MAGIC) + _LENGTHS.size
    if content[: len(_MAGIC)] == _MAGIC and len(content) >= start:
        header_length, payload_length, checksum = _LENGTHS.unpack(content[len(_MAGIC) : start])
        header, payload = view[start : start + header_length], view[start + header_length :]
        if len(header) > 0 and len(payload) == payload_length and zlib.crc32(payload, zlib.crc32(header)) == checksum:
            return json.loads(bytes(header)), payload
    raise DatasetCorruptError(
        f"The journal {journal} is damaged; move it away to read the dataset as it was before the change."
    )


def write_all(file: BinaryIO, view: memoryview) -> None:
    """Write all bytes to an unbuffered file, in pieces that the system takes quickly."""
    for start in range(0, len(view), WRITTEN_AT_ONCE):
        piece = view[start : start + WRITTEN_AT_ONCE]
        while piece:
            piece = piece[file.write(piece) :]
