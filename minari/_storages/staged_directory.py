"""A change to the files of a directory that is atomic, even when the process is killed.

A writer puts new and changed files, ordered as they are to lie, into the hidden directory ``.staged``,
at last a record of them. To commit, it is renamed to ``.changes``, and what is in it is moved into
place then, the metadata of the dataset last.

A directory ``.changes`` that is found later belongs to a writer that died. Readers take its files
before those that are in place and move nothing; the next writer moves them. It counts only for the
metadata that it was made for, and where every file is what the record says. One called ``.staged`` is
thrown away by the next writer.

A directory that is staged adds its files to those of the directory that is in place already, or
takes that one's place, where the record says so.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from minari._base.atomic import flush_tree, sync_directory, write_atomically
from minari._base.files import (
    METADATA_FILE_NAME,
    METADATA_LIMIT,
    Directory,
    is_directory,
    read_at,
    read_regular,
    relative_parts,
)
from minari._base.json_text import parse_json
from minari._base.lazy import LazyModule
from minari._base.locks import folder_lock
from minari._base.system_errors import failures_logged
from minari._storages.paths import is_remote
from minari._storages.unfinished import corrupt_change, ignored_change, wait_for_writer
from minari.errors import DatasetCorruptError, UnsafePathError


if TYPE_CHECKING:
    import xxhash
else:
    xxhash = LazyModule("xxhash")  # lists of datasets do without it


__all__ = [
    "CHANGES_NAME",
    "STAGED_NAME",
    "FolderChanges",
    "PendingChanges",
    "change_under_way",
    "changes_to",
    "folder_size",
    "pending_changes",
]

STAGED_NAME: Final = ".staged"
CHANGES_NAME: Final = ".changes"
_RECORD_NAME: Final = ".commit"
_RECORD_LIMIT: Final = 2**30  # bytes; a file takes about 70
_READ_AT_ONCE: Final = 2**22
_DIGEST_SIZE: Final = 32
_REPLACED: Final = ".replaced"  # how the name of a directory ends that has been moved out of its place

#: The size of a file, and the digest of its content.
Content: TypeAlias = tuple[int, str]


class FolderChanges:
    """Files to be put into a directory in one go; made by :func:`changes_to`.

    Args:
        folder: the data of a dataset.
        durable: outlast a power cut.
    """

    def __init__(self, folder: Path, *, durable: bool = True) -> None:
        self._folder, self._durable = folder, durable
        self.staged = folder / STAGED_NAME
        self._contents: dict[str, Content] = {}
        self._replacing: set[str] = set()

    def note(self, name: str, parts: Iterable[Any]) -> None:
        """Remember what a staged file holds, so that it need not be read to be recorded.

        Args:
            name: of the file below ``staged``, its parts joined by ``/``.
            parts: of its content, one after the other.
        """
        digest, size = xxhash.xxh3_128(), 0
        for part in parts:
            digest.update(part)
            size += memoryview(part).nbytes
        self._contents[name] = size, digest.hexdigest()

    def entries(self) -> Iterator[tuple[Path, Path]]:
        """What is staged at the top, each with the place where it will lie."""
        if self.staged.is_dir():
            for staged in self.staged.iterdir():
                if not staged.name.startswith("."):
                    yield staged, self._folder / staged.name

    def take_the_place_of(self, staged: Path) -> None:
        """A staged directory is to replace, as a whole, the one that is in place now."""
        self._replacing.add(staged.relative_to(self.staged).as_posix())

    def growth(self) -> int:
        """By how many bytes the directory will be larger."""
        return sum(self._growth(staged, place) for staged, place in self.entries())

    def _growth(self, staged: Path, place: Path) -> int:
        if not staged.is_dir():
            return staged.stat().st_size - (place.lstat().st_size if place.is_file() else 0)
        if staged.relative_to(self.staged).as_posix() in self._replacing:
            return folder_size(staged) - folder_size(place)
        inner = (entry for entry in staged.iterdir() if not entry.name.startswith("."))
        return sum(self._growth(entry, place / entry.name) for entry in inner)

    def commit(self, metadata: str) -> None:
        """Put everything into place, together with the metadata of the dataset.

        Raises:
            OSError: the change cannot be committed. What fails after that is logged, and the next writer
                completes the change.
        """
        if not self.staged.is_dir():
            write_atomically(self._folder / METADATA_FILE_NAME, metadata, durable=self._durable)
            return
        text = metadata.encode("utf-8")
        self.note(METADATA_FILE_NAME, [text])
        (self.staged / METADATA_FILE_NAME).write_bytes(text)
        with Directory(self.staged) as staged:
            files = {
                name: self._contents.get(name) or _content_of(directory, name.rpartition("/")[2])
                for name, directory in _files_in(staged)
            }
        record = _Record(files, sorted(self._replacing), _metadata_digest(self._folder))
        if self._durable:
            flush_tree(self.staged)
        write_atomically(self.staged / _RECORD_NAME, record.dump(), durable=self._durable)
        self.staged.rename(self._folder / CHANGES_NAME)
        if self._durable:
            sync_directory(self._folder)
        with failures_logged(f"Moving the change of {self._folder} into place, which the next writer does again,"):
            PendingChanges(self._folder, record).apply()


@dataclass(frozen=True, slots=True)
class _Record:
    """What a change consists of.

    Attributes:
        files: by their name below the directory, its parts joined by ``/``.
        replacing: directories that take the place of those that are there.
        metadata_before: the digest of the metadata before the change, None where there were none.
    """

    files: Mapping[str, Content]
    replacing: list[str]
    metadata_before: str | None

    def dump(self) -> bytes:
        content = json.dumps(
            {"files": self.files, "replacing": self.replacing, "metadata_before": self.metadata_before}
        ).encode()
        return xxhash.xxh3_128_hexdigest(content).encode() + content

    @classmethod
    def parse(cls, text: bytes) -> _Record:
        """Raise ``ValueError`` where the text is damaged or makes no sense."""
        if xxhash.xxh3_128_hexdigest(text[_DIGEST_SIZE:]).encode() != text[:_DIGEST_SIZE]:
            raise ValueError("the checksum of its record is wrong")
        try:
            record = cls(**parse_json(text[_DIGEST_SIZE:]))
            files = {name: (size + 0, digest + "") for name, (size, digest) in record.files.items()}
            names = [*files, *record.replacing]
        except (TypeError, AttributeError) as error:
            raise ValueError(f"its record makes no sense ({error})") from None
        if any(part.startswith(".") for name in names for part in relative_parts(name)):
            raise ValueError("its record names hidden files")
        return cls(files, record.replacing, record.metadata_before)


class PendingChanges:
    """A committed change that is not in place, or not all of it.

    Args:
        folder: the data of the dataset.
        record: of the change.
    """

    def __init__(self, folder: Path, record: _Record) -> None:
        self._folder, self._record = folder, record
        self.staged = folder / CHANGES_NAME

    def name(self, name: str) -> str:
        """Where a file of the dataset lies that may have changed: where it is staged, or else in place.

        Args:
            name: relative to the data, its parts joined by ``/``; so is what is returned.
        """
        is_staged = name in self._record.files and os.path.lexists(f"{self.staged}{os.sep}{name}")
        return f"{CHANGES_NAME}/{name}" if is_staged else name

    def names(self) -> set[str]:
        """The first parts of the names of the files that change."""
        return {name.partition("/")[0] for name in self._record.files}

    def apply(self) -> None:
        """Move everything into place; what was moved before an interruption stays where it is.

        Raises:
            OSError: something cannot be moved; done again later, this goes on.
            UnsafePathError: a link is in the way.
        """
        with Directory(self._folder) as folder, folder.inner(CHANGES_NAME) as staged:
            for name in staged.names():
                if name != METADATA_FILE_NAME and not name.startswith("."):
                    self._move(staged, folder, name, name)
            if staged.kind(METADATA_FILE_NAME) is not None:
                staged.move(METADATA_FILE_NAME, folder)
        shutil.rmtree(self.staged)

    def _move(self, staged: Directory, place: Directory, name: str, path: str) -> None:
        if staged.kind(name) != stat.S_IFDIR:
            staged.move(name, place)
            return
        if path in self._record.replacing and place.kind(name) is not None:
            place.move(name, staged, f".{name}{_REPLACED}")  # no directory is moved over one that is not empty
        if place.kind(name) is None:
            staged.move(name, place)
            return
        with staged.inner(name) as inner_staged, place.inner(name) as inner_place:
            for inner in inner_staged.names():
                if not inner.startswith("."):
                    self._move(inner_staged, inner_place, inner, f"{path}/{inner}")

    def mismatch(self) -> str | None:
        """What is not as the record says; None if nothing."""
        try:
            with Directory(self._folder) as folder, folder.inner(CHANGES_NAME) as staged:
                unknown = {name for name, _ in _files_in(staged)} - self._record.files.keys()
                if unknown:
                    return f"{min(unknown)} is not in its record"
                for name, content in self._record.files.items():
                    found = _content_below(staged, name) or _content_below(folder, name)
                    if found != content:
                        return f"{name} is {'missing' if found is None else 'damaged'}"
        except UnsafePathError as error:
            return str(error)
        is_staged = os.path.lexists(self.staged / METADATA_FILE_NAME)  # which is moved last
        if METADATA_FILE_NAME not in self._record.files or (
            is_staged and _metadata_digest(self._folder) != self._record.metadata_before
        ):
            return f"it was not made for the {METADATA_FILE_NAME} that is there"
        return None

    def is_partly_in_place(self) -> bool:
        """Whether a file of the change has been moved."""
        with Directory(self._folder) as folder, folder.inner(CHANGES_NAME) as staged:
            for name, content in self._record.files.items():
                with suppress(UnsafePathError):
                    if _content_below(staged, name) is None and _content_below(folder, name) == content:
                        return True
        return False


@contextmanager
def changes_to(folder: Path, *, durable: bool = True) -> Iterator[FolderChanges]:
    """Begin changes to a directory, which nobody else can make until the context ends.

    Args:
        folder: the data of a dataset.
        durable: outlast a power cut.

    Raises:
        DatasetBusyError: another program is writing the dataset.
        DatasetCorruptError: an interrupted change is partly in place, and damaged.
    """
    with folder_lock(folder) as held:
        found = _pending(folder)
        if found is not None:
            found.apply()
        elif os.path.lexists(folder / CHANGES_NAME):  # not a change of this dataset, but in the way
            (folder / CHANGES_NAME).rename(folder / f".{secrets.token_hex(6)}.ignored")
        _remove(folder / STAGED_NAME)
        changes = FolderChanges(folder, durable=durable)
        try:
            yield changes
        finally:
            if held.is_held:
                shutil.rmtree(changes.staged, ignore_errors=True)


def change_under_way(folder: Path) -> int | None:
    """Tell the change that is committed and not in place from others; None where there is none.

    A writer that is putting it into place is waited for.
    """
    if not os.access(f"{folder}{os.sep}{CHANGES_NAME}", os.F_OK):
        return None
    sign = folder / CHANGES_NAME
    if wait_for_writer(sign):
        return None
    try:
        return sign.lstat().st_ino
    except FileNotFoundError:
        return None


#: What was found last for a few directories, since all files of a change are read to check it.
_known: dict[str, tuple[Any, PendingChanges | None]] = {}
_MOST_KNOWN: Final = 16


def pending_changes(folder: Path) -> PendingChanges | None:
    """Return the change to a dataset that is committed and not in place, or None.

    A writer that is putting it into place is waited for. Nothing is written.

    Args:
        folder: of the data.

    Raises:
        DatasetCorruptError: the change is partly in place, and the rest of it is damaged or missing.
    """
    while (number := change_under_way(folder)) is not None:
        state = number, _stamp(folder / CHANGES_NAME / _RECORD_NAME), _stamp(folder / METADATA_FILE_NAME)
        known = _known.get(str(folder))
        if known is not None and known[0] == state:
            return known[1]
        try:
            found = _pending(folder)
        except DatasetCorruptError:
            if change_under_way(folder) == number:
                raise
            continue
        if change_under_way(folder) == number:
            _known[str(folder)] = state, found
            while len(_known) > _MOST_KNOWN:
                with suppress(KeyError, StopIteration, RuntimeError):  # of another thread
                    del _known[next(iter(_known))]
            return found
    return None


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _pending(folder: Path) -> PendingChanges | None:
    """The change that lies in a directory; None where there is none, or none that counts."""
    sign = folder / CHANGES_NAME
    if not os.path.lexists(sign):
        return None
    if not is_directory(sign):
        ignored_change(sign, "it is not a directory")
        return None
    try:
        record = _Record.parse(read_regular(sign / _RECORD_NAME, _RECORD_LIMIT, links=False))
    except FileNotFoundError:
        if (sign / METADATA_FILE_NAME).is_file():
            raise DatasetCorruptError(
                f"{folder} has an interrupted change that version 0.6.0 has left ({CHANGES_NAME}), which is not "
                f"completed; complete it with that version, or remove it with `minari clean --discard-changes` and "
                f"look at what the dataset holds."
            ) from None
        ignored_change(sign, "it has no record")
        return None
    except (OSError, ValueError) as error:
        ignored_change(sign, error)
        return None
    found = PendingChanges(folder, record)
    mismatch = found.mismatch()
    if mismatch is None:
        return found
    if found.is_partly_in_place():
        raise corrupt_change(sign, mismatch)
    ignored_change(sign, mismatch)
    return None


def _files_in(directory: Directory, prefix: str = "") -> Iterator[tuple[str, Directory]]:
    """The files of a change by their name, each with the directory that it lies in.

    Raises:
        UnsafePathError: something is a link, or neither file nor directory.
    """
    for name, kind in directory.entries():
        if name.startswith("."):
            if not (name.endswith(_REPLACED) or not prefix):
                raise UnsafePathError(f"{prefix}{name} in {directory.path} is hidden, which no file of a change is.")
            continue
        if kind == stat.S_IFDIR:
            with directory.inner(name) as inner:
                yield from _files_in(inner, f"{prefix}{name}/")
        elif kind == stat.S_IFREG:
            yield f"{prefix}{name}", directory
        else:
            raise UnsafePathError(f"{prefix}{name} in {directory.path} is a link or no file; remove the change.")


def _content_below(directory: Directory, name: str) -> Content | None:
    """What a file below a directory holds; None where there is none."""
    first, _, rest = name.partition("/")
    if not rest:
        return _content_of(directory, name) if directory.kind(name) is not None else None
    try:
        with directory.inner(first) as inner:
            return _content_below(inner, rest)
    except FileNotFoundError:
        return None


def _content_of(directory: Directory, name: str) -> Content:
    if directory.kind(name) != stat.S_IFREG:
        raise UnsafePathError(f"{name} in {directory.path} is a link or no file, expected a file of the dataset.")
    descriptor = directory.open(name)
    try:
        digest, size = xxhash.xxh3_128(), 0
        while data := read_at(descriptor, size, _READ_AT_ONCE):
            digest.update(data)
            size += len(data)
    finally:
        os.close(descriptor)
    return size, digest.hexdigest()


def _metadata_digest(folder: Path) -> str | None:
    try:
        return xxhash.xxh3_128_hexdigest(read_regular(folder / METADATA_FILE_NAME, METADATA_LIMIT, links=False))
    except FileNotFoundError:
        return None


def _remove(path: Path) -> None:
    """Remove a directory with all that is in it; where it is a link or a file, only that."""
    if is_directory(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        path.unlink()


def folder_size(folder: Path) -> int:
    """The number of bytes of the files in a directory, hidden ones aside; no link is followed."""
    if is_remote(folder):
        found = (entry for entry in folder.rglob("*") if not entry.name.startswith("."))
        return sum(entry.stat().st_size for entry in found if entry.is_file())
    size, pending = 0, [str(folder)]
    while pending:
        with suppress(FileNotFoundError, NotADirectoryError), os.scandir(pending.pop()) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
                elif entry.is_file(follow_symlinks=False):
                    with suppress(FileNotFoundError):
                        size += entry.stat(follow_symlinks=False).st_size
    return size
