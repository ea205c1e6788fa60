"""The metadata file of a dataset: found, read, and compared with unfinished changes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from minari._base.files import METADATA_FILE_NAME, read_regular
from minari._model.dataset_id import is_dataset_id
from minari._model.metadata_json import MOST_METADATA, check_metadata, parse_metadata
from minari._storages.journal import JOURNAL_NAME, pending_change
from minari._storages.paths import is_remote
from minari._storages.registry import get_minari_storage
from minari._storages.staged_directory import CHANGES_NAME, folder_size, pending_changes
from minari.errors import DataPathError, DatasetBusyError, DatasetCorruptError


__all__ = ["find_raw_metadata", "read_raw_metadata", "refuse_unfinished", "with_measured_size"]

_DATA_FILE_NAME = "main_data.hdf5"  # of the format with journals
_OLD_FORMAT = "hdf5"  # the only one before metadata had its own file


def read_raw_metadata(data_path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the metadata of the dataset in a directory, including changes committed by a killed program.

    Args:
        data_path: the ``data`` directory of a dataset.

    Raises:
        DataPathError: the directory does not exist or holds no dataset.
        DatasetCorruptError: the metadata is damaged.
    """
    return find_raw_metadata(data_path)[0]


def find_raw_metadata(data_path: str | os.PathLike[str]) -> tuple[dict[str, Any], str]:
    """Return the metadata, see :func:`read_raw_metadata`, and the file or directory it was found in."""
    if is_remote(data_path):
        return _remote_metadata(data_path)
    # Opens one file and creates no path object: this is most of the time of a long list.
    folder = os.fspath(data_path)
    source = f"{folder}{os.sep}{METADATA_FILE_NAME}"
    if os.access(f"{folder}{os.sep}{JOURNAL_NAME}", os.F_OK):
        change = pending_change(Path(folder), _DATA_FILE_NAME)
        if change is not None and METADATA_FILE_NAME in change.texts:
            return parse_metadata(change.texts[METADATA_FILE_NAME], source), source
    if os.access(f"{folder}{os.sep}{CHANGES_NAME}", os.F_OK):
        changes = pending_changes(Path(folder))
        name = METADATA_FILE_NAME if changes is None else changes.name(METADATA_FILE_NAME)
        source = f"{folder}{os.sep}{name}"
    try:
        text = read_regular(source, MOST_METADATA)
    except FileNotFoundError:
        return _older_metadata(Path(folder)), folder
    except NotADirectoryError:
        raise DataPathError(
            f"The data path {folder} doesn't exist as a directory, it is a file; give the directory of a dataset."
        ) from None
    except OSError as error:
        raise DatasetCorruptError(
            f"The metadata file {source} cannot be read ({error.strerror or error}); see what it is."
        ) from error
    return parse_metadata(text, source), source


def refuse_unfinished(data_path: Path) -> None:
    """Raise unless everything committed to a dataset has been applied, so that its files can be copied.

    Raises:
        DatasetBusyError: a writer is active, or was killed before it finished.
        DatasetCorruptError: a change has been partly applied and is damaged.
    """
    if pending_change(data_path, _DATA_FILE_NAME) is not None or pending_changes(data_path) is not None:
        raise DatasetBusyError(
            f"An interrupted change to {data_path} is committed but not applied; `minari clean`, or the next program "
            f"that writes to the dataset, completes it."
        )


def _remote_metadata(data_path: Any) -> tuple[dict[str, Any], str]:
    file = data_path / METADATA_FILE_NAME
    try:
        with file.open("rb") as opened:
            text = opened.read(MOST_METADATA + 1)
    except FileNotFoundError:
        raise DataPathError(f"No data found in data path {data_path}; expected {METADATA_FILE_NAME} in it.") from None
    return parse_metadata(text, file), str(file)


def _older_metadata(data_path: Path) -> dict[str, Any]:
    """Return the metadata of releases without a metadata file."""
    if not data_path.exists():
        is_id = is_dataset_id(str(data_path))
        advice = f"; to open a dataset by its id, use minari.load_dataset({str(data_path)!r})" if is_id else ""
        raise DataPathError(f"The data path {data_path} doesn't exist{advice}.")
    storage: Any = get_minari_storage(_OLD_FORMAT)
    raw: dict[str, Any] | None = storage._read_metadata_of_old_releases(data_path)
    if raw is None:
        raise DataPathError(
            f"No data found in data path {data_path}; expected a folder with {METADATA_FILE_NAME} in it."
        )
    return check_metadata(raw, data_path)


def with_measured_size(raw: dict[str, Any], data_path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return metadata with the size of the dataset, measured if the release that wrote it did not store it."""
    if raw.get("dataset_size") is not None or not raw["total_episodes"] or is_remote(data_path):
        return raw
    return {**raw, "dataset_size": round(folder_size(Path(data_path)) / 1e6, 1)}


def exists(data_path: Path) -> bool:
    """Return whether a directory holds a dataset."""
    return any((data_path / name).exists() for name in (METADATA_FILE_NAME, "main_data.hdf5"))


class KnownSize:
    """The size of the data in bytes, measured once while the metadata file stays the same.

    Args:
        data_path: the directory of the data.
    """

    def __init__(self, data_path: Path) -> None:
        self._data_path = data_path
        self._known: tuple[Any, int] = (None, 0)

    def get(self, measure: Callable[[], int]) -> int:
        """Return the number of bytes; call ``measure`` if it is unknown."""
        if self._known[0] is None or self._known[0] != stamp_of(self._data_path):
            self.remember(measure())
        return self._known[1]

    def remember(self, size: int) -> None:
        """Set the number measured by a writer that has just changed the data."""
        self._known = stamp_of(self._data_path), size


def stamp_of(data_path: Path, name: str = METADATA_FILE_NAME) -> tuple[int, int, int] | None:
    """Return the identity of a file, by default of the metadata, which changes with it; None if missing."""
    if is_remote(data_path):
        return _stamp_of_remote(data_path / name)
    try:
        status = os.stat(f"{data_path}/{name}")  # noqa: PTH116 (a path object takes longer than this)
    except OSError:  # reported when the file is read
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _stamp_of_remote(file: Any) -> tuple[int, int, int] | None:
    file.fs.invalidate_cache(file.parent.path)
    try:
        return 0, 0, hash(str(file.fs.ukey(file.path)))
    except FileNotFoundError:
        return None
