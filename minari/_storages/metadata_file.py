"""The metadata file of a dataset: found, whichever release wrote it, read, and its state remembered."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from minari._base.files import METADATA_FILE_NAME, read_regular
from minari._model.dataset_id import is_dataset_id
from minari._model.metadata_json import MOST_METADATA, check_metadata, parse_metadata
from minari._storages.journal import JOURNAL_NAME, pending_change
from minari._storages.paths import is_remote
from minari._storages.registry import get_minari_storage
from minari._storages.staged_directory import CHANGES_NAME, directory_size, pending_commit, staged_overlay
from minari.errors import DataPathError, DatasetBusyError, DatasetCorruptError


__all__ = [
    "DatasetState",
    "SizeCache",
    "exists",
    "find_raw_metadata",
    "read_raw_metadata",
    "refuse_unfinished",
    "stamp_of",
    "state_of",
    "with_measured_size",
]

_DATA_FILE_NAME = "main_data.hdf5"  # of the format with journals
_OLD_FORMAT = "hdf5"  # the only one before metadata had its own file


def read_raw_metadata(data_path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the stored metadata of a dataset, with a change that a killed program has committed.

    Args:
        data_path: the ``data`` directory of a dataset.

    Raises:
        DataPathError: the directory does not exist or holds no dataset.
        DatasetCorruptError: the metadata is damaged.
    """
    return find_raw_metadata(data_path)[0]


def find_raw_metadata(data_path: str | os.PathLike[str]) -> tuple[dict[str, Any], str]:
    """Return what :func:`read_raw_metadata` does, and the file or directory that it was found in."""
    if is_remote(data_path):
        return _remote_metadata(data_path)
    # One file is opened, and no path object made: a long list spends most of its time here.
    directory = os.fspath(data_path)
    source = f"{directory}{os.sep}{METADATA_FILE_NAME}"
    if os.access(f"{directory}{os.sep}{JOURNAL_NAME}", os.F_OK):
        change = pending_change(Path(directory), _DATA_FILE_NAME)
        if change is not None and METADATA_FILE_NAME in change.texts:
            return parse_metadata(change.texts[METADATA_FILE_NAME], source), source
    if os.access(f"{directory}{os.sep}{CHANGES_NAME}", os.F_OK):
        changes = staged_overlay(Path(directory))
        name = METADATA_FILE_NAME if changes is None else changes.name(METADATA_FILE_NAME)
        source = f"{directory}{os.sep}{name}"
    try:
        text = read_regular(source, MOST_METADATA)
    except FileNotFoundError:
        return _older_metadata(Path(directory)), directory
    except NotADirectoryError:
        raise DataPathError(
            f"The data path {directory} doesn't exist as a directory, it is a file; give the directory of a dataset."
        ) from None
    except OSError as error:
        raise DatasetCorruptError(
            f"The metadata file {source} cannot be read ({error.strerror or error}); see what it is."
        ) from error
    return parse_metadata(text, source), source


def refuse_unfinished(data_path: Path) -> None:
    """Refuse to copy the files of a dataset as long as a committed change is not in place.

    Raises:
        DatasetBusyError: a writer is putting it into place, or was killed before it was done.
        DatasetCorruptError: a change is partly in place, and damaged.
    """
    if pending_change(data_path, _DATA_FILE_NAME) is not None or staged_overlay(data_path) is not None:
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
    """Return the metadata that releases without a metadata file keep elsewhere."""
    if not data_path.exists():
        is_id = is_dataset_id(str(data_path))
        advice = f"; to open a dataset by its id, use minari.load_dataset({str(data_path)!r})" if is_id else ""
        raise DataPathError(f"The data path {data_path} doesn't exist{advice}.")
    storage: Any = get_minari_storage(_OLD_FORMAT)
    raw: dict[str, Any] | None = storage.read_metadata_of_old_releases(data_path)
    if raw is None:
        raise DataPathError(
            f"No data found in data path {data_path}; expected a directory with {METADATA_FILE_NAME} in it."
        )
    return check_metadata(raw, data_path)


def with_measured_size(raw: dict[str, Any], data_path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return metadata with the size of the dataset, measured if the release that wrote it did not store it."""
    if raw.get("dataset_size") is not None or not raw["total_episodes"] or is_remote(data_path):
        return raw
    return {**raw, "dataset_size": round(directory_size(Path(data_path)) / 1e6, 1)}


def exists(data_path: Path) -> bool:
    """Return whether a directory holds a dataset."""
    return any((data_path / name).exists() for name in (METADATA_FILE_NAME, _DATA_FILE_NAME))


class DatasetState(NamedTuple):
    """A state of a dataset on disk, equal to another one if nothing was committed in between.

    Attributes:
        commit: the number of a commit that is not in place yet, None if there is none.
        stamp: of the metadata file, None if there is none.
    """

    commit: int | None
    stamp: tuple[int, int, int] | None


def state_of(data_path: Path) -> DatasetState:
    """Return the state of a dataset; a writer that is moving a commit into place is waited for."""
    return DatasetState(None if is_remote(data_path) else pending_commit(data_path), stamp_of(data_path))


class SizeCache:
    """The number of bytes of the data, measured once for as long as the metadata file stays as it is.

    Args:
        data_path: the directory of the data.
        measure: returns the number of bytes.
    """

    def __init__(self, data_path: Path, measure: Callable[[], int]) -> None:
        self._data_path, self._measure = data_path, measure
        self._known: tuple[Any, int] = (None, 0)

    def get(self) -> int:
        """Return the number of bytes, measured if the data has changed."""
        if self._known[0] is None or self._known[0] != stamp_of(self._data_path):
            self.remember(self._measure())
        return self._known[1]

    def remember(self, size: int) -> None:
        """Set the number measured by a writer that has just changed the data."""
        self._known = stamp_of(self._data_path), size


def stamp_of(data_path: Path, name: str = METADATA_FILE_NAME) -> tuple[int, int, int] | None:
    """Return the identity of a file of the data, by default the metadata; None if there is no such file."""
    if is_remote(data_path):
        file: Any = data_path / name
        file.fs.invalidate_cache(file.parent.path)
        try:
            return 0, 0, hash(str(file.fs.ukey(file.path)))
        except FileNotFoundError:
            return None
    return local_stamp_of(str(data_path), name)


def local_stamp_of(place: str, name: str = METADATA_FILE_NAME) -> tuple[int, int, int] | None:
    """Return the same of a file in a local directory."""
    try:
        status = os.stat(f"{place}/{name}")  # noqa: PTH116 (a path object takes longer than this)
    except OSError:  # reading it reports what is wrong
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
