"""Atomic changes to the files of a dataset, also when the writer is killed.

A writer stages new and changed files in the hidden directory ``.staged``, laid out as in the dataset,
and writes a record of them last. To commit, it renames that directory to ``.changes``, and then moves
what is in it into place, the metadata of the dataset last.

A directory ``.changes`` that is found later belongs to a writer that died. Readers look for files there
first and move nothing; the next writer moves them. It counts only for the metadata that it was made
for, and only if every file is what the record says. The next writer removes a directory ``.staged``.

A staged directory adds its files to those of the directory in place, or replaces that directory if the
record says so.
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
from minari._base.files import METADATA_FILE_NAME, Directory, is_directory, read_at, read_regular, relative_parts
from minari._base.json_text import parse_json
from minari._base.lazy import LazyModule
from minari._base.locks import folder_lock
from minari._base.system_errors import failures_logged
from minari._storages.paths import is_remote
from minari._storages.unfinished import (
    change_of_older_version,
    corrupt_change,
    ignored_change,
    metadata_digest,
    wait_for_writer,
)
from minari.errors import DatasetCorruptError, UnsafePathError


if TYPE_CHECKING:
    import xxhash
else:
    xxhash = LazyModule("xxhash")  # lists of datasets do not need it


__all__ = [
    "CHANGES_NAME",
    "STAGED_NAME",
    "ContentDigest",
    "StagedDirectory",
    "StagedOverlay",
    "directory_size",
    "open_staged_directory",
    "pending_commit",
    "staged_overlay",
]

STAGED_NAME: Final = ".staged"
CHANGES_NAME: Final = ".changes"
_RECORD_NAME: Final = ".commit"
_RECORD_LIMIT: Final = 2**30  # bytes; a file takes about 70
_READ_AT_ONCE: Final = 2**22
_DIGEST_SIZE: Final = 32
_REPLACED: Final = ".replaced"  # suffix of the name of a directory that has been replaced

#: The size of a file, and the digest of its content.
Content: TypeAlias = tuple[int, str]


class ContentDigest:
    """The digest of the content of a file, which is made of one part after the other."""

    def __init__(self) -> None:
        self._digest, self._size = xxhash.xxh3_128(), 0

    def update(self, part: Any) -> None:
        """Add the next part."""
        self._digest.update(part)
        self._size += memoryview(part).nbytes

    @property
    def value(self) -> Content:
        """Return the size and the digest of all parts."""
        return self._size, self._digest.hexdigest()


class StagedDirectory:
    """The files of one change, staged below the directory that they change.

    Only the block of :func:`open_staged_directory` may commit one.

    Args:
        target: the directory of the data of a dataset.
        durable: True if the change must survive a power failure.

    Attributes:
        path: where files are staged; made by whoever stages the first.
    """

    def __init__(self, target: Path, *, durable: bool = True) -> None:
        self._target, self._durable = target, durable
        self.path = target / STAGED_NAME
        self._contents: dict[str, Content] = {}
        self._replacing: set[str] = set()

    def record(self, name: str, parts: Iterable[Any]) -> None:
        """Record the content of a staged file, which then need not be read for the commit.

        Args:
            name: of the file, relative to :attr:`path`, its parts joined by ``/``.
            parts: of its content, one after the other.
        """
        content = ContentDigest()
        for part in parts:
            content.update(part)
        self.record_digest(name, content)

    def record_digest(self, name: str, content: ContentDigest) -> None:
        """Record the content of a staged file by its digest, as :meth:`record` does."""
        self._contents[name] = content.value

    def replace(self, name: str) -> Path:
        """Make a staged directory replace the one in place as a whole, with all files in it.

        Args:
            name: of the directory, relative to :attr:`path`; made if need be.

        Returns:
            The staged directory.
        """
        directory = self.path / name
        directory.mkdir(parents=True, exist_ok=True)
        self._replacing.add(name)
        return directory

    def growth(self) -> int:
        """Return by how many bytes the change makes the data larger."""
        return self._growth("") if self.path.is_dir() else 0

    def _growth(self, name: str) -> int:
        staged, place = self.path / name, self._target / name
        if not staged.is_dir():
            return staged.stat().st_size - (place.lstat().st_size if place.is_file() else 0)
        if name in self._replacing:
            return directory_size(staged) - directory_size(place)
        inner = (entry.name for entry in staged.iterdir() if not entry.name.startswith("."))
        return sum(self._growth(f"{name}/{entry}" if name else entry) for entry in inner)

    def commit(self, metadata: str) -> None:
        """Commit the change together with the metadata of the dataset, and move it into place.

        Raises:
            OSError: the change cannot be committed. A failure after the commit is logged, and the next
                writer completes the change.
        """
        if not self.path.is_dir():
            write_atomically(self._target / METADATA_FILE_NAME, metadata, durable=self._durable)
            return
        text = metadata.encode("utf-8")
        self.record(METADATA_FILE_NAME, [text])
        (self.path / METADATA_FILE_NAME).write_bytes(text)
        with Directory(self.path) as staged:
            files = {
                name: self._contents.get(name) or _content_of(directory, name.rpartition("/")[2])
                for name, directory in _files_in(staged)
            }
        record = _Record(files, sorted(self._replacing), metadata_digest(self._target))
        if self._durable:
            flush_tree(self.path)
        write_atomically(self.path / _RECORD_NAME, record.dump(), durable=self._durable)
        self.path.rename(self._target / CHANGES_NAME)
        if self._durable:
            sync_directory(self._target)
        with failures_logged(f"Moving the change of {self._target} into place, which the next writer does again,"):
            StagedOverlay(self._target, record).apply()


@dataclass(frozen=True, slots=True)
class _Record:
    """The record of a change.

    Attributes:
        files: the content of each file, by its name relative to the data, its parts joined by ``/``.
        replacing: names of staged directories that replace those in place.
        metadata_before: the digest of the metadata before the change, None if there was none.
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
        """Parse a record; raise ``ValueError`` if it is damaged or inconsistent."""
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


class StagedOverlay:
    """A committed change that is not in place yet, laid over the files that are.

    Args:
        target: the directory of the data of the dataset.
        record: of the change.

    Attributes:
        path: where its files are staged.
    """

    def __init__(self, target: Path, record: _Record) -> None:
        self._target, self._record = target, record
        self.path = target / CHANGES_NAME

    def name(self, name: str) -> str:
        """Return the name that a file of the dataset has now: that of the staged file, or else its own.

        Args:
            name: name relative to the data, with parts joined by ``/``, like the result.
        """
        is_staged = name in self._record.files and os.path.lexists(f"{self.path}{os.sep}{name}")
        return f"{CHANGES_NAME}/{name}" if is_staged else name

    def names(self) -> set[str]:
        """Return the first parts of the names of the files that change."""
        return {name.partition("/")[0] for name in self._record.files}

    def apply(self) -> None:
        """Move everything into place; a file that was moved before an interruption stays there.

        Raises:
            OSError: something cannot be moved; a later call resumes.
            UnsafePathError: a link is in the way.
        """
        with Directory(self._target) as target, target.inner(CHANGES_NAME) as staged:
            for name in staged.names():
                if name != METADATA_FILE_NAME and not name.startswith("."):
                    self._move(staged, target, name, name)
            if staged.kind(METADATA_FILE_NAME) is not None:
                staged.move(METADATA_FILE_NAME, target)
        shutil.rmtree(self.path)

    def _move(self, staged: Directory, place: Directory, name: str, path: str) -> None:
        if staged.kind(name) != stat.S_IFDIR:
            staged.move(name, place)
            return
        if path in self._record.replacing and place.kind(name) is not None:
            place.move(name, staged, f".{name}{_REPLACED}")  # no directory can be moved over a non-empty one
        if place.kind(name) is None:
            staged.move(name, place)
            return
        with staged.inner(name) as inner_staged, place.inner(name) as inner_place:
            for inner in inner_staged.names():
                if not inner.startswith("."):
                    self._move(inner_staged, inner_place, inner, f"{path}/{inner}")

    def mismatch(self) -> str | None:
        """Return how the files disagree with the record, None if they do not."""
        try:
            with Directory(self._target) as target, target.inner(CHANGES_NAME) as staged:
                unknown = {name for name, _ in _files_in(staged)} - self._record.files.keys()
                if unknown:
                    return f"{min(unknown)} is not in its record"
                for name, content in self._record.files.items():
                    found = _content_below(staged, name) or _content_below(target, name)
                    if found != content:
                        return f"{name} is {'missing' if found is None else 'damaged'}"
        except UnsafePathError as error:
            return str(error)
        is_staged = os.path.lexists(self.path / METADATA_FILE_NAME)  # which is moved last
        if METADATA_FILE_NAME not in self._record.files or (
            is_staged and metadata_digest(self._target) != self._record.metadata_before
        ):
            return f"it was not made for the {METADATA_FILE_NAME} that is there"
        return None

    def is_partly_in_place(self) -> bool:
        """Return whether a file of the change has been moved."""
        with Directory(self._target) as target, target.inner(CHANGES_NAME) as staged:
            for name, content in self._record.files.items():
                with suppress(UnsafePathError):
                    if _content_below(staged, name) is None and _content_below(target, name) == content:
                        return True
        return False


@contextmanager
def open_staged_directory(target: Path, *, durable: bool = True) -> Iterator[StagedDirectory]:
    """Stage a change to a directory as its only writer; what is not committed is removed in the end.

    Args:
        target: the directory of the data of a dataset.
        durable: True if the change must survive a power failure.

    Raises:
        DatasetBusyError: another program is writing to the dataset.
        DatasetCorruptError: an interrupted change has been partly applied and is damaged.
    """
    with folder_lock(target) as held:
        found = _overlay(target)
        if found is not None:
            found.apply()
        elif os.path.lexists(target / CHANGES_NAME):  # not a change of this dataset, but in the way
            (target / CHANGES_NAME).rename(target / f".{secrets.token_hex(6)}.ignored")
        staged = StagedDirectory(target, durable=durable)
        if is_directory(staged.path):
            shutil.rmtree(staged.path)
        elif os.path.lexists(staged.path):  # a link or a file
            staged.path.unlink()
        try:
            yield staged
        finally:
            if held.is_held:
                shutil.rmtree(staged.path, ignore_errors=True)


def pending_commit(target: Path) -> int | None:
    """Return a number that identifies the commit that is not in place yet, None if there is none.

    A writer that is moving its commit into place is waited for.
    """
    if not os.access(f"{target}{os.sep}{CHANGES_NAME}", os.F_OK):
        return None
    changes = target / CHANGES_NAME
    if wait_for_writer(changes):
        return None
    try:
        return changes.lstat().st_ino
    except FileNotFoundError:
        return None


#: The overlays found last for a few directories, since checking one reads all of its files.
_known: dict[str, tuple[Any, StagedOverlay | None]] = {}
_MOST_KNOWN: Final = 16


def staged_overlay(target: Path) -> StagedOverlay | None:
    """Return the committed change to a dataset that is not in place yet, or None.

    A writer that is moving it into place is waited for. Nothing is written.

    Args:
        target: the directory of the data.

    Raises:
        DatasetCorruptError: the change has been partly applied, and the rest of it is damaged or missing.
    """
    while (number := pending_commit(target)) is not None:
        state = number, _stamp(target / CHANGES_NAME / _RECORD_NAME), _stamp(target / METADATA_FILE_NAME)
        known = _known.get(str(target))
        if known is not None and known[0] == state:
            return known[1]
        try:
            found = _overlay(target)
        except DatasetCorruptError:
            if pending_commit(target) == number:
                raise
            continue
        if pending_commit(target) == number:
            _known[str(target)] = state, found
            while len(_known) > _MOST_KNOWN:
                with suppress(KeyError, StopIteration, RuntimeError):  # from another thread
                    del _known[next(iter(_known))]
            return found
    return None


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _overlay(target: Path) -> StagedOverlay | None:
    """Return the change in a directory; None if there is none, or none that counts."""
    changes = target / CHANGES_NAME
    if not os.path.lexists(changes):
        return None
    if not is_directory(changes):
        ignored_change(changes, "it is not a directory")
        return None
    try:
        record = _Record.parse(read_regular(changes / _RECORD_NAME, _RECORD_LIMIT, links=False))
    except FileNotFoundError:
        if (changes / METADATA_FILE_NAME).is_file():
            raise change_of_older_version(changes) from None
        ignored_change(changes, "it has no record")
        return None
    except (OSError, ValueError) as error:
        ignored_change(changes, error)
        return None
    found = StagedOverlay(target, record)
    mismatch = found.mismatch()
    if mismatch is None:
        return found
    if found.is_partly_in_place():
        raise corrupt_change(changes, mismatch)
    ignored_change(changes, mismatch)
    return None


def _files_in(directory: Directory, prefix: str = "") -> Iterator[tuple[str, Directory]]:
    """Yield the name of each file of a change, and the directory that it lies in.

    Raises:
        UnsafePathError: something is a link, or neither a file nor a directory.
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
    """Return the size and digest of a file below a directory, None if there is none."""
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


def directory_size(directory: Path) -> int:
    """Return the number of bytes of the files in a directory, except hidden ones; no link is followed."""
    if is_remote(directory):
        found = (entry for entry in directory.rglob("*") if not entry.name.startswith("."))
        return sum(entry.stat().st_size for entry in found if entry.is_file())
    size, pending = 0, [str(directory)]
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
