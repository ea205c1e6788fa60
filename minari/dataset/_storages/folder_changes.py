"""A change to the files of a folder that happens whole or not at all, even when the process is killed.

A writer puts new and changed files, ordered as they are to lie, into the hidden folder ``.staged``.
To commit, it is renamed to ``.changes``, and what is in it is moved into place then, the metadata of
the dataset last. A folder ``.changes`` that is found later belongs to a writer that died, and is moved
into place by whoever finds it; one called ``.staged`` is thrown away by the next writer.

A folder that is staged adds its files to those of the folder that is in place already. Where it is
to take that one's place instead, an empty file ``.<name>.whole`` beside it says so.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from minari.dataset._storages.file_lock import folder_lock
from minari.dataset._storages.unfinished import finish_change
from minari.dataset.metadata import METADATA_FILE_NAME
from minari.storage.publishing import flush_changes, write_atomically


_STAGED, _COMMITTED = ".staged", ".changes"


class FolderChanges:
    """Files to be put into a folder in one go; made by :func:`changes_to`.

    Args:
        folder: the data of a dataset.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.staged = folder / _STAGED

    def entries(self) -> Iterator[tuple[Path, Path]]:
        """What is staged at the top, each with the place where it will lie."""
        if self.staged.is_dir():
            for staged in self.staged.iterdir():
                if not staged.name.startswith("."):
                    yield staged, self._folder / staged.name

    def take_the_place_of(self, staged: Path) -> None:
        """A staged folder is to replace, as a whole, the one that is in place now."""
        _sign_of_whole(staged).touch()

    def growth(self) -> int:
        """By how many bytes the folder will be larger."""
        return sum(_growth(staged, place) for staged, place in self.entries())

    def commit(self, metadata: str) -> None:
        """Put everything into place, together with the metadata of the dataset."""
        if not self.staged.is_dir():
            write_atomically(self._folder / METADATA_FILE_NAME, metadata)
            return
        flush_changes(self.staged)
        write_atomically(self.staged / METADATA_FILE_NAME, metadata)
        self.staged.rename(self._folder / _COMMITTED)
        _apply(self._folder)


@contextmanager
def changes_to(folder: Path) -> Iterator[FolderChanges]:
    """Changes to a folder, which nobody else can make at the same time.

    Raises:
        DatasetBusyError: another program is writing the dataset.
    """
    with folder_lock(folder):
        _apply(folder)
        shutil.rmtree(folder / _STAGED, ignore_errors=True)
        changes = FolderChanges(folder)
        try:
            yield changes
        finally:
            shutil.rmtree(changes.staged, ignore_errors=True)


def is_changing(folder: Path) -> bool:
    """Whether a change that is committed is being moved into place, or was left unfinished."""
    return os.access(folder / _COMMITTED, os.F_OK)


def finish_changes(folder: Path, timeout: float = 10.0) -> None:
    """Finish what a killed writer has committed; wait for a writer that is alive.

    Raises:
        DatasetBusyError: the writer is still at it after ``timeout`` seconds.
        DatasetCorruptError: the folder may not be written to, which finishing takes.
    """

    def finish() -> None:
        with folder_lock(folder):
            _apply(folder)

    finish_change(folder / _COMMITTED, finish, timeout)


def _apply(folder: Path) -> None:
    """Move a committed change into place; what was moved before an interruption stays where it is."""
    changes = folder / _COMMITTED
    if not changes.is_dir():
        return
    in_place = {path.name for path in folder.iterdir()}
    for staged in sorted(changes.iterdir()):
        if staged.name == METADATA_FILE_NAME or staged.name.startswith("."):
            continue
        if staged.name in in_place:
            _move(staged, folder / staged.name)
        else:
            staged.rename(folder / staged.name)
    metadata = changes / METADATA_FILE_NAME
    if metadata.exists():
        metadata.replace(folder / METADATA_FILE_NAME)
    shutil.rmtree(changes)


def _move(staged: Path, place: Path) -> None:
    if not staged.is_dir():
        staged.replace(place)
        return
    if place.exists() and _replaces(staged):  # aside first: no folder is renamed over one that is not empty
        place.rename(staged.with_name(f".{staged.name}.replaced"))
    if not place.exists():
        staged.rename(place)
        return
    for inner in sorted(staged.iterdir()):
        if not inner.name.startswith("."):
            _move(inner, place / inner.name)


def _replaces(staged: Path) -> bool:
    return _sign_of_whole(staged).exists()


def _sign_of_whole(staged: Path) -> Path:
    return staged.with_name(f".{staged.name}.whole")


def _growth(staged: Path, place: Path) -> int:
    if not staged.is_dir():
        return staged.stat().st_size - (place.stat().st_size if place.is_file() else 0)
    inner = (_growth(entry, place / entry.name) for entry in staged.iterdir() if not entry.name.startswith("."))
    if not _replaces(staged):
        return sum(inner)
    return folder_size(staged) - folder_size(place)


def folder_size(folder: Path) -> int:
    """The number of bytes of the files in a folder, hidden ones aside."""
    files = (entry for entry in folder.rglob("*") if not entry.name.startswith("."))
    return sum(entry.stat().st_size for entry in files if entry.is_file())
