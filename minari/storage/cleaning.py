"""Files left behind by killed programs: finding, completing and removing them.

Files of running programs are left alone, and so are recordings, which `minari recover` turns into datasets.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from minari._base.files import is_directory
from minari._base.locks import directory_lock, folder_lock, is_locked, try_lock, waiting_at_most
from minari._base.settings import get_datasets_root
from minari._base.system_errors import storage_errors
from minari._catalog.layout import dataset_exists, get_dataset_path, restore_replaced
from minari._catalog.listing import catalog_entries
from minari._model.dataset_id import DatasetId
from minari._storages.base import PathLike
from minari._storages.journal import JOURNAL_NAME, FileTransaction, pending_change
from minari._storages.staged_directory import (
    CHANGES_NAME,
    STAGED_NAME,
    directory_size,
    open_staged_directory,
    staged_overlay,
)
from minari.errors import DatasetBusyError, DatasetCorruptError, DatasetNotFoundError, MinariError
from minari.storage.transfer.work_dir import LOCK_FILE_NAME


__all__ = ["Leftover", "clean", "find_leftovers", "remove"]

_DATA_FILE: Final = "main_data.hdf5"
#: Age in seconds above which files are considered abandoned if it is unknown whether a program is running.
_OLD: Final = 24 * 3600.0
_WRITTEN: Final = 60.0  # seconds that no program needs to write a small file
_SETTLED: Final = 1.0  # seconds that a program may take between creating a directory and locking it

_BUILT = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{12}\.partial")
_DELETED = re.compile(r"\.(?P<name>.+)\.\w{8}\.deleted")
_REPLACED = re.compile(r"\.(?P<name>.+)\.replaced")
_MOVED = re.compile(r"\.(?P<name>.+)\.(?P<how>download|upload)")
_IN_DATA = re.compile(r"\..+\.partial|\.[0-9a-f]{12}\.ignored|\.index\.[0-9a-f]+\.(json|i8)")


@dataclass(frozen=True, slots=True)
class Leftover:
    """A file or directory left behind by a killed program.

    Attributes:
        path: its path.
        what: its description and what will be done, as a phrase.
        size: size in bytes.
    """

    path: Path
    what: str
    size: int
    _act: Callable[[], object]


def find_leftovers(
    dataset_ids: Iterable[str] = (), *, root: PathLike | None = None, discard_changes: bool = False
) -> list[Leftover]:
    """Find files left behind by killed programs, without changing anything.

    Args:
        dataset_ids: ids of the datasets; by default all of the catalog.
        root: root of the catalog; by default that of ``MINARI_DATASETS_PATH``.
        discard_changes: True to include changes to datasets that cannot be completed.

    Raises:
        DatasetIdError: an id is malformed.
        DatasetNotFoundError: there is nothing with that id.
    """
    wanted = [get_dataset_path(str(DatasetId.parse(dataset_id)), root=root) for dataset_id in dataset_ids]
    if not wanted:
        base = get_datasets_root(root)
        directories = [base, *(path for _, path in catalog_entries(base))] if base.is_dir() else []
        found = [leftover for directory in directories for leftover in _beside(directory, None)]
        return found + [
            leftover
            for directory in directories
            if dataset_exists(directory)
            for leftover in _inside(directory / "data", discard_changes)
        ]
    found = []
    for path in wanted:
        own = list(_beside(path.parent, path.name))
        if path.is_dir():
            own += _beside(path, "data")
        if dataset_exists(path):
            own += _inside(path / "data", discard_changes)
        elif not own:
            raise DatasetNotFoundError(f"There is no dataset at {path}, and nothing that is left of one.")
        found += own
    return found


def clean(
    dataset_ids: Iterable[str] = (), *, root: PathLike | None = None, discard_changes: bool = False
) -> list[Leftover]:
    """Complete or remove what killed programs have left behind.

    Args:
        dataset_ids: ids of the datasets; by default all of the catalog.
        root: root of the catalog; by default that of ``MINARI_DATASETS_PATH``.
        discard_changes: True to also remove changes to datasets that cannot be completed; the parts that have
            been applied stay.

    Returns:
        The completed actions.

    Raises:
        DatasetIdError: an id is malformed.
        DatasetNotFoundError: there is nothing with that id.
        StorageError: a file operation failed.
    """
    done = []
    for leftover in find_leftovers(dataset_ids, root=root, discard_changes=discard_changes):
        remove(leftover)
        done.append(leftover)
    return done


def remove(leftover: Leftover) -> None:
    """Complete or remove something that was found.

    Raises:
        DatasetBusyError: a program is using it again.
        StorageError: a file operation failed.
    """
    with storage_errors(leftover.path, "cleaned"), waiting_at_most(0), suppress(FileNotFoundError):
        leftover._act()


def _beside(directory: Path, name: str | None) -> Iterator[Leftover]:
    """Yield leftovers in a directory of datasets, of one of them or of all."""
    for path in _hidden(directory):
        for pattern, look in _BESIDE.items():
            match = pattern.fullmatch(path.name)
            if match is not None and name in (None, match["name"]):
                found = look(path, match["name"])
                if found is not None:
                    yield found
                break


def _built(path: Path, name: str) -> Leftover | None:
    if not is_directory(path):
        what = f"part of a file {name!r} that was never finished; removed"
        return Leftover(path, what, _size(path), path.unlink) if _is_older(path, _WRITTEN) else None
    if not _is_abandoned(path):
        return None
    what = f"the beginning of {name}, which was never finished; removed"
    if name == "data" and dataset_exists(path.parent):
        what = f"a version of {path.parent.name} that an interrupted edit left; removed"
    return Leftover(path, what, _size(path), _rmtree(path))


def _deleted(path: Path, name: str) -> Leftover | None:
    if not is_directory(path):
        return None
    return Leftover(path, f"the rest of {name}, which was deleted; removed", _size(path), _rmtree(path))


def _replaced(path: Path, name: str) -> Leftover | None:
    place = path.with_name(name)
    if not is_directory(path):
        return None
    if not os.path.lexists(place):
        return Leftover(
            path, f"{name}, which was about to be replaced; put back", _size(path), partial(restore_replaced, place)
        )
    return Leftover(path, f"an older {name}, which was replaced; removed", _size(path), _rmtree(path))


def _moved(path: Path, name: str) -> Leftover | None:
    if not is_directory(path) or is_locked(path / LOCK_FILE_NAME):
        return None

    def act() -> None:
        held = try_lock(path / LOCK_FILE_NAME)
        if held is None:
            raise DatasetBusyError(f"{path} is in use by another program; it was left alone.")
        try:
            shutil.rmtree(path)
        finally:
            held.release()

    return Leftover(path, f"the beginning of a {path.suffix[1:]} of {name}; removed", _size(path), act)


_BESIDE: Final = {_BUILT: _built, _DELETED: _deleted, _REPLACED: _replaced, _MOVED: _moved}


def _inside(data_path: Path, discard_changes: bool) -> Iterator[Leftover]:
    """Yield leftovers in the data of a dataset that nobody is writing to."""
    if is_locked(data_path / ".lock"):
        return
    for sign, is_pending in (
        (data_path / JOURNAL_NAME, lambda: pending_change(data_path, _DATA_FILE)),
        (data_path / CHANGES_NAME, lambda: staged_overlay(data_path)),
    ):
        if not os.path.lexists(sign):
            continue
        try:
            counts = is_pending() is not None
        except DatasetCorruptError:
            counts = False
        if counts:
            act = partial(_complete, data_path, sign)
            yield Leftover(sign, "a change that is committed; completed", _size(sign), act)
        elif discard_changes:
            act = partial(_taken_away, data_path, sign)
            yield Leftover(sign, "a change that cannot be completed; removed", _size(sign), act)
    for path in _hidden(data_path):
        if path.name == STAGED_NAME or _IN_DATA.fullmatch(path.name):
            act = partial(_taken_away, data_path, path)
            if path.name.startswith(".index.") and not _is_old(path):
                continue  # readers write these too
            yield Leftover(path, "what was never committed; removed", _size(path), act)


def _complete(data_path: Path, sign: Path) -> None:
    """Complete a committed change, of which a journal or a directory is the sign."""
    if sign.name == JOURNAL_NAME:
        with folder_lock(data_path):
            FileTransaction(data_path / _DATA_FILE).close()
    else:
        with open_staged_directory(data_path):
            pass  # locking the data for writing completes the change


def _taken_away(data_path: Path, path: Path) -> None:
    with folder_lock(data_path):
        if is_directory(path):
            shutil.rmtree(path)
        else:
            path.unlink()


def _rmtree(path: Path) -> Callable[[], None]:
    return partial(shutil.rmtree, path)


def _hidden(directory: Path) -> list[Path]:
    try:
        with os.scandir(directory) as entries:
            names = sorted(entry.name for entry in entries if entry.name.startswith("."))
    except OSError:
        return []
    return [directory / name for name in names]


def _is_abandoned(path: Path) -> bool:
    """Return whether the program that was building a directory is no longer running."""
    if not _is_older(path, _SETTLED):
        return False
    held = directory_lock(path)
    if held is None:
        return not is_locked(path) and _is_old(path)
    held.release()
    return True


def _is_old(path: Path) -> bool:
    return _is_older(path, _OLD)


def _is_older(path: Path, seconds: float) -> bool:
    try:
        return time.time() - path.lstat().st_mtime > seconds
    except OSError:
        return False


def _size(path: Path) -> int:
    try:
        return directory_size(path) if is_directory(path) else path.lstat().st_size
    except (OSError, MinariError):
        return 0
