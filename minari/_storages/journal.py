"""Atomic changes to a file, also when the writer is killed.

HDF5 writes its own structures in place, so a process that dies while it appends leaves a file that
cannot be opened. Here an HDF5 library gets a file-like object instead of the file: bytes that it writes
beyond the old end go to the file, where nothing refers to them yet, and its changes inside are held in
memory. To commit, these changes are written to a journal first, and then applied.

A journal that is found later belongs to a writer that died. Readers see its changes through an
:class:`Overlay` and write nothing; the next writer applies it. It counts only for the file and the
metadata that it was made for, and only if its checksums are right, which cover every byte that is used.
"""

from __future__ import annotations

import io
import json
import os
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, TypeAlias

from minari._base.atomic import EarlyWriteBack, write_atomically
from minari._base.files import METADATA_FILE_NAME, METADATA_LIMIT, open_regular, read_at, read_regular
from minari._base.json_text import parse_json
from minari._base.lazy import LazyModule
from minari._base.locks import lock
from minari._base.system_errors import failures_logged
from minari._storages.unfinished import (
    change_of_older_version,
    corrupt_change,
    ignored_change,
    metadata_digest,
    wait_for_writer,
)
from minari.errors import UnsafePathError


if TYPE_CHECKING:
    import xxhash
else:
    xxhash = LazyModule("xxhash")  # lists of datasets do not need it


__all__ = [
    "JOURNAL_NAME",
    "WRITTEN_AT_ONCE",
    "FileTransaction",
    "Overlay",
    "has_journal",
    "pending_change",
    "write_all",
]

JOURNAL_NAME: Final = ".journal"
#: Bytes that are written in one call. Linux is many times slower with larger pieces, and some systems refuse more
#: than 2 GiB.
WRITTEN_AT_ONCE: Final = 2**20
_PAGE: Final = 4096
_HASHED_AT_ONCE: Final = 2**22
_MAGIC: Final = b"minari journal 2\n"
_OLD_MAGIC: Final = b"minari journal 1\n"
_LENGTHS: Final = struct.Struct("<QQ")  # of the header and of the payload
_DIGEST_SIZE: Final = 16

#: An offset, and the new bytes there.
Change: TypeAlias = tuple[int, bytes]


class FileTransaction(io.RawIOBase):
    """A binary file whose changes become visible with :meth:`commit`, and are undone by :meth:`discard`.

    The caller is the only writer of the dataset.

    Args:
        path: an existing file; the journal is stored in the same directory.
        durable: True if changes must survive a power failure.

    Raises:
        DatasetBusyError: another program has the file open for writing.
        DatasetCorruptError: an interrupted change has been partly applied and is damaged.
        UnsafePathError: the file is a link.

    Attributes:
        path: of the file.
        failure: the error of the system that an HDF5 library has met, if any.
    """

    def __init__(self, path: Path, *, durable: bool = True) -> None:
        super().__init__()
        self.failure: OSError | None = None
        self.path, self._journal = path, path.with_name(JOURNAL_NAME)
        self._durable = durable
        self._lock = lock(path, path)  # excludes programs that use HDF5 directly
        try:
            self._file: BinaryIO = os.fdopen(open_regular(path, os.O_RDWR, links=False), "r+b", buffering=0)
            try:
                found = _overlay(self._journal, self._file.fileno())
                if found is not None:  # committed by a killed writer
                    found.apply(self._file, self.path, durable)
            except BaseException:
                self._file.close()
                raise
        except BaseException:
            self._lock.release()
            raise
        self._write_back = EarlyWriteBack(self._file.fileno())
        self._status = os.fstat(self._file.fileno())
        self._old_end = self._status.st_size
        self._end = self._old_end
        self._position = 0
        self._pages: dict[int, bytearray] = {}
        self._appended = _RunningDigest(self._old_end)
        self._discarding = False

    # Called by an HDF5 library

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
        with self._failure_kept():
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
        with self._failure_kept():
            self.write_at(self._position, view)
        self._position += len(view)
        return len(view)

    @contextmanager
    def _failure_kept(self) -> Iterator[None]:
        """Keep an error of the system, which HDF5 replaces by one of its own."""
        try:
            yield
        except OSError as error:
            self.failure = error
            raise

    def truncate(self, size: int | None = None) -> int:
        self._end = self._position if size is None else size
        if self._end >= self._old_end and not self._discarding:
            with self._failure_kept():
                self._file.truncate(self._end)
            self._appended.changed_from(self._end)
        return self._end

    # Called by a storage

    @property
    def end(self) -> int:
        """The end of the file, with the changes that are not committed yet."""
        return self._end

    def read_at(self, offset: int, size: int) -> bytes:
        """Return bytes at an offset, fewer at the end of the file, with the changes so far."""
        self.seek(offset)
        return self.read(size) or b""

    def write_at(self, offset: int, view: memoryview) -> None:
        """Write bytes at an offset: to the file beyond its old end, to memory before it."""
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
            self._appended.written(offset + done, view[done:])
            self._write_back.written(len(view) - done)
        self._end = max(self._end, offset + len(view))

    def commit(self, texts: Mapping[str, str]) -> os.stat_result:
        """Commit the changes, together with new metadata of the dataset.

        Args:
            texts: the new content of ``metadata.json`` under that name, or nothing.

        Returns:
            The status of the file afterwards.

        Raises:
            OSError: the changes cannot be committed. A failure after the commit is logged, and the next
                writer completes the change.
        """
        descriptor = self._file.fileno()
        self._write_back.wait()
        self._file.truncate(max(self._end, self._old_end))
        if self._durable:
            os.fsync(descriptor)
        changes = [
            (page * _PAGE, bytes(data[: self._page_end(page) - page * _PAGE]))
            for page, data in sorted(self._pages.items())
        ]
        overlay = Overlay(
            size_before=self._old_end,
            end=self._end,
            changes=tuple(changes),
            texts=dict(texts),
            digests_before=tuple(_digest(read_at(descriptor, offset, len(data))) for offset, data in changes),
            metadata_before=metadata_digest(self.path.parent),
            appended=self._appended.digest(descriptor, self._end),
            ends=_digest_of_ends(descriptor, self._old_end, changes),
        )
        content = overlay.dump()
        try:
            write_atomically(self._journal, content, durable=self._durable)
        except BaseException:  # an interrupt may have come after it was written
            is_written = False
            with suppress(OSError, UnsafePathError):
                is_written = read_regular(self._journal, len(content), links=False) == content
            if is_written:
                self._settle()
            raise
        self._settle()
        with failures_logged(f"Applying the journal of {self.path}, which the next writer does again,"):
            overlay.apply(self._file, self.path, self._durable)
        return os.fstat(descriptor)

    def _settle(self) -> None:
        """Take the change as made, if not by this writer, then by the next one."""
        self._old_end = self._end
        self._pages.clear()
        self._appended = _RunningDigest(self._end)

    def discard(self) -> None:
        """Undo changes that are not committed; later ones are dropped."""
        self._pages.clear()
        self._discarding = True
        if not self._lock.is_held:  # of a parent process, which continues with it
            return
        self._file.truncate(self._old_end)
        if self._old_end == self._status.st_size:  # as it was before, also for programs that compare its time
            _set_time(self.path, self._status.st_mtime_ns)

    def close(self) -> None:
        if not self.closed:
            try:
                with suppress(OSError):  # of data that has been discarded, or has met the error itself
                    self._write_back.wait()
            finally:  # even if the program is interrupted once more
                self._file.close()
                self._lock.release()
        super().close()

    def _page(self, page: int) -> bytearray:
        if page not in self._pages:
            data = bytearray(_PAGE)
            self._file.seek(page * _PAGE)
            self._file.readinto(data)  # type: ignore[attr-defined]
            self._pages[page] = data
        return self._pages[page]

    def _page_end(self, page: int) -> int:
        return min((page + 1) * _PAGE, self._old_end)


@dataclass(frozen=True, slots=True)
class Overlay:
    """A committed change to a file, checked, as seen by readers and the next writer.

    Attributes:
        size_before: of the file before the change.
        end: of the file with the change.
        changes: inside the old file, in order and without overlaps.
        texts: the new content of ``metadata.json`` under that name, or nothing.
        digests_before: of the bytes that were in the places of the changes.
        metadata_before: of the ``metadata.json`` before the change, None if there was none.
        appended: of the bytes of the file beyond its old size.
        ends: of the first and last bytes of the old file, as they are with the changes.
    """

    size_before: int
    end: int
    changes: Sequence[Change]
    texts: Mapping[str, str]
    digests_before: Sequence[str]
    metadata_before: str | None
    appended: str
    ends: str

    def read_at(self, descriptor: int, offset: int, size: int) -> bytes:
        """Return bytes of the file as they are after the change, fewer at its end.

        Args:
            descriptor: of the file.
            offset: of the first byte.
            size: their number.
        """
        data = bytearray(read_at(descriptor, offset, max(0, min(size, self.end - offset))))
        self.patch(offset, memoryview(data))
        return bytes(data)

    def patch(self, offset: int, data: memoryview) -> None:
        """Put the changes into bytes that were read from the file.

        Args:
            offset: of the bytes.
            data: the bytes, which must be writable.
        """
        end = offset + len(data)
        for at, new in self.changes:
            start, stop = max(at, offset), min(at + len(new), end)
            if start < stop:
                data[start - offset : stop - offset] = new[start - at : stop - at]

    def apply(self, file: BinaryIO, path: Path, durable: bool) -> None:
        """Make the change; a second time after an interruption gives the same result.

        Args:
            file: the file, open for writing.
            path: path of the file, beside which the journal is.
            durable: True if the change must survive a power failure.
        """
        for offset, data in self.changes:
            file.seek(offset)
            write_all(file, memoryview(data))
        file.truncate(self.end)
        # The time of a change may be that of a tick of the clock milliseconds ago, and then the file would look
        # unchanged to programs that compare size and time.
        _set_time(path, time.time_ns())
        if durable:
            os.fsync(file.fileno())
        for name, text in self.texts.items():
            write_atomically(path.with_name(name), text, durable=durable)
        path.with_name(JOURNAL_NAME).unlink()

    def dump(self) -> bytes:
        """Return the content of the journal."""
        payload = b"".join(data for _, data in self.changes)
        header = {
            "size_before": self.size_before,
            "end": self.end,
            "changes": [[offset, len(data)] for offset, data in self.changes],
            "texts": dict(self.texts),
            "digests_before": list(self.digests_before),
            "metadata_before": self.metadata_before,
            "appended": self.appended,
            "ends": self.ends,
        }
        text = json.dumps(header).encode()
        content = b"".join((_MAGIC, _LENGTHS.pack(len(text), len(payload)), text, payload))
        return content + xxhash.xxh3_128_digest(content)

    @classmethod
    def parse(cls, content: bytes) -> Overlay:
        """Return the change in the content of a journal.

        Raises:
            ValueError: it is damaged or inconsistent.
        """
        start = len(_MAGIC) + _LENGTHS.size
        if not content.startswith(_MAGIC) or len(content) < start + _DIGEST_SIZE:
            raise ValueError("it is not a journal")
        header_size, payload_size = _LENGTHS.unpack_from(content, len(_MAGIC))
        if start + header_size + payload_size + _DIGEST_SIZE != len(content):
            raise ValueError("it is cut off")
        if xxhash.xxh3_128_digest(content[:-_DIGEST_SIZE]) != content[-_DIGEST_SIZE:]:
            raise ValueError("its checksum is wrong")
        header = parse_json(content[start : start + header_size])
        try:
            overlay = cls(
                **{**header, "changes": _cut(header["changes"], content[start + header_size : -_DIGEST_SIZE])}
            )
        except (TypeError, KeyError) as error:
            raise ValueError(f"its header makes no sense ({error})") from None
        overlay._check()
        return overlay

    def _check(self) -> None:
        """Check that the values are possible."""
        end = 0
        if not all(type(size) is int and size >= 0 for size in (self.size_before, self.end)):
            raise ValueError("its sizes are not numbers of bytes")
        for offset, data in self.changes:
            if offset < end or offset + len(data) > self.size_before:
                raise ValueError("a change lies outside the file")
            end = offset + len(data)
        if len(self.digests_before) != len(self.changes):
            raise ValueError("it has not one digest for each change")
        if not isinstance(self.texts, dict) or not set(self.texts) <= {METADATA_FILE_NAME}:
            raise ValueError(f"it changes other files than {METADATA_FILE_NAME}")
        if not all(isinstance(text, str) and len(text) <= METADATA_LIMIT for text in self.texts.values()):
            raise ValueError("the metadata in it is not text")

    def mismatch(self, descriptor: int, directory: Path) -> str | None:
        """Return how a file and its metadata differ from those that the change was made for, None if they do not."""
        size = os.fstat(descriptor).st_size
        if size not in (max(self.size_before, self.end), self.end):
            return f"the file has {size} bytes, expected {max(self.size_before, self.end)}"
        if _digest_of_ends(descriptor, min(self.size_before, size), self.changes) != self.ends and size >= (
            self.size_before
        ):
            return "it was made for another file"
        if _RunningDigest(self.size_before).digest(descriptor, self.end) != self.appended:
            return "what was appended to the file is damaged"
        metadata = metadata_digest(directory)
        if metadata != self.metadata_before and metadata not in {_digest(t.encode()) for t in self.texts.values()}:
            return f"{METADATA_FILE_NAME} is another one"
        return None

    def is_partly_in_place(self, descriptor: int) -> bool:
        """Return whether bytes of the change are in the file that were not there before."""
        for (offset, data), before in zip(self.changes, self.digests_before, strict=True):
            if _digest(data) != before and read_at(descriptor, offset, len(data)) == data:
                return True
        return False

    def is_in_place(self, descriptor: int, directory: Path) -> bool:
        """Return whether the whole change is in place."""
        return (
            os.fstat(descriptor).st_size == self.end
            and metadata_digest(directory) in {_digest(text.encode()) for text in self.texts.values()}
            and all(read_at(descriptor, offset, len(data)) == data for offset, data in self.changes)
        )


def has_journal(directory: Path | str) -> bool:
    """Return whether a change to a file in a directory is being made, or was left unfinished."""
    return os.access(f"{directory}{os.sep}{JOURNAL_NAME}", os.F_OK)


def pending_change(directory: Path, data_file: str) -> Overlay | None:
    """Return the change to the data file of a dataset that is committed but not applied, or None.

    Waits for a writer that is applying it. Nothing is written.

    Args:
        directory: of the data.
        data_file: the name of the file that a journal is for.

    Raises:
        DatasetCorruptError: the change has been partly applied, and the rest of it is damaged or missing.
    """
    while has_journal(directory):
        journal = directory / JOURNAL_NAME
        if wait_for_writer(journal):
            return None
        with suppress(FileNotFoundError):
            before = journal.lstat().st_ino
            descriptor = open_regular(directory / data_file)
            try:
                found = _overlay(journal, descriptor)
            finally:
                os.close(descriptor)
            if journal.lstat().st_ino == before:
                return found
            continue
        if not os.path.lexists(directory / data_file):
            return None  # whoever needs the file reports that
    return None


def _overlay(journal: Path, descriptor: int) -> Overlay | None:
    """Return the change in a journal to the file beside it; None if there is none, or none that counts."""
    limit = os.fstat(descriptor).st_size + 4 * METADATA_LIMIT
    try:
        content = read_regular(journal, limit, links=False)
    except FileNotFoundError:
        return None
    except UnsafePathError as error:
        ignored_change(journal, error)
        return None
    if content.startswith(_OLD_MAGIC):
        raise change_of_older_version(journal)
    try:
        overlay = Overlay.parse(content)
    except ValueError as error:
        ignored_change(journal, error)
        return None
    mismatch = overlay.mismatch(descriptor, journal.parent)
    if mismatch is None:
        return overlay
    if overlay.is_partly_in_place(descriptor) and not overlay.is_in_place(descriptor, journal.parent):
        raise corrupt_change(journal, mismatch)
    ignored_change(journal, mismatch)
    return None


def _cut(places: Any, payload: bytes) -> tuple[Change, ...]:
    """Cut the payload of a journal into the bytes of its changes."""
    changes: list[Change] = []
    position = 0
    for offset, length in places:
        if type(offset) is not int or type(length) is not int or length <= 0:
            raise ValueError("a change has no place")
        changes.append((offset, payload[position : position + length]))
        position += length
    if position != len(payload):
        raise ValueError("its changes have not the size of its payload")
    return tuple(changes)


def _digest(data: bytes) -> str:
    return xxhash.xxh3_128_hexdigest(data)


def _digest_of_ends(descriptor: int, size: int, changes: Sequence[Change]) -> str:
    """Return the digest of the first and last bytes of a file, as they are with the changes."""
    places = (0, max(0, size - _PAGE))
    overlay = Overlay(size, size, changes, {}, (), None, "", "")
    return _digest(b"".join(overlay.read_at(descriptor, at, min(_PAGE, size)) for at in places))


class _RunningDigest:
    """The digest of all bytes of a file from an offset on, computed as they are written in order.

    Args:
        start: the offset.
    """

    def __init__(self, start: int) -> None:
        self._start = self._end = start
        self._hash: Any = xxhash.xxh3_128()

    def written(self, offset: int, view: memoryview) -> None:
        """Add bytes that were written."""
        if offset == self._end:
            self._hash.update(view)
            self._end += len(view)
        else:
            self.changed_from(offset)

    def changed_from(self, offset: int) -> None:
        """Forget bytes from an offset on, which have changed."""
        if offset < self._end:
            self._end, self._hash = self._start, xxhash.xxh3_128()

    def digest(self, descriptor: int, end: int) -> str:
        """Return the digest of the bytes up to an end; bytes that are not known are read."""
        if end < self._end:
            self.changed_from(end)
        while self._end < end and (data := read_at(descriptor, self._end, min(_HASHED_AT_ONCE, end - self._end))):
            self._hash.update(data)
            self._end += len(data)
        return str(self._hash.hexdigest())


def _set_time(path: Path, nanoseconds: int) -> None:
    with suppress(PermissionError):  # a user may write to the file of another user
        os.utime(path, ns=(nanoseconds, nanoseconds), follow_symlinks=os.utime not in os.supports_follow_symlinks)


def write_all(file: BinaryIO, view: memoryview) -> None:
    """Write all bytes to an unbuffered file, in pieces of the size that the system is fast with."""
    for start in range(0, len(view), WRITTEN_AT_ONCE):
        piece = view[start : start + WRITTEN_AT_ONCE]
        while piece:
            piece = piece[file.write(piece) :]
