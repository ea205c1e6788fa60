"""A change to the folders of episodes that happens whole or not at all, even when the process is killed.

A writer puts new and changed files, ordered as they are to lie, into the hidden folder ``.staged``.
To commit, it is renamed to ``.changes``, and what is in it is moved into place then, the metadata of
the dataset last. A folder ``.changes`` that is found later belongs to a writer that died, and is moved
into place by whoever finds it; one called ``.staged`` is thrown away by the next writer.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from minari.dataset._storages.file_lock import folder_lock
from minari.dataset._storages.unfinished import finish_change
from minari.dataset.metadata import METADATA_FILE_NAME
from minari.storage.publishing import flush, write_atomically


_STAGED, _COMMITTED = ".staged", ".changes"
_FLUSHED_AT_A_TIME = 8  # to a disk that takes several requests at once


class FolderChanges:
    """Files to be put into a folder in one go; made by :func:`changes_to`.

    Args:
        folder: the data of a dataset.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.staged = folder / _STAGED

    def episodes(self) -> Iterator[tuple[Path, Path]]:
        """The folders of episodes that are changed, each with the place where it will lie."""
        if self.staged.is_dir():
            for staged in self.staged.iterdir():
                yield staged, self._folder / staged.name

    def commit(self, metadata: str) -> None:
        """Put everything into place, together with the metadata of the dataset."""
        if not self.staged.is_dir():
            write_atomically(self._folder / METADATA_FILE_NAME, metadata)
            return
        with ThreadPoolExecutor(_FLUSHED_AT_A_TIME) as threads:
            list(threads.map(_flush, (file for staged, _ in self.episodes() for file in staged.iterdir())))
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
    for staged in sorted(changes.iterdir()):
        if staged.name.isdecimal():
            _replace_episode(staged, folder / staged.name)
    metadata = changes / METADATA_FILE_NAME
    if metadata.exists():
        metadata.replace(folder / METADATA_FILE_NAME)
    shutil.rmtree(changes)


def _replace_episode(staged: Path, place: Path) -> None:
    files = list(staged.iterdir())
    if any(file.name.startswith("part-") for file in files):
        if place.exists():  # aside first, since a folder is not renamed over one that is not empty
            place.rename(staged.with_name(f".{staged.name}.replaced"))
        staged.rename(place)
    else:
        for file in files:
            file.replace(place / file.name)


def _flush(path: Path) -> None:
    with path.open("r+b") as file:
        flush(file.fileno(), path)
