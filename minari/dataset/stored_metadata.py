"""The metadata of the dataset in a folder, as a typed value."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from minari._base.filenames import METADATA_FILE_NAME
from minari._model.metadata import DatasetMetadata
from minari.dataset.data_paths import is_remote
from minari.storage_tmp.metadata_file import find_raw_metadata, with_measured_size


def read_metadata(data_path: Path) -> DatasetMetadata:
    """The metadata of the dataset in a folder, after a change that a killed program has committed.

    Raises:
        DataPathError: the folder does not exist or holds no dataset.
        DatasetCorruptError: the metadata are damaged.
    """
    raw, source = find_raw_metadata(data_path)
    return DatasetMetadata(with_measured_size(raw, data_path), source)


def exists(data_path: Path) -> bool:
    """Whether a folder holds a dataset."""
    return any((data_path / name).exists() for name in (METADATA_FILE_NAME, "main_data.hdf5"))


class KnownSize:
    """How many bytes the data have, measured once for as long as the metadata file stays as it is.

    Args:
        data_path: the folder of the data.
    """

    def __init__(self, data_path: Path) -> None:
        self._data_path = data_path
        self._known: tuple[Any, int] = (None, 0)

    def get(self, measure: Callable[[], int]) -> int:
        """The number of bytes; ``measure`` looks at the files where it is not known."""
        if self._known[0] is None or self._known[0] != stamp_of(self._data_path):
            self.remember(measure())
        return self._known[1]

    def remember(self, size: int) -> None:
        """Take the number from a writer that has just changed the data."""
        self._known = stamp_of(self._data_path), size


def stamp_of(data_path: Path, name: str = METADATA_FILE_NAME) -> tuple[int, int, int] | None:
    """What changes whenever a file of the data does, by default the metadata; None where there is none."""
    if is_remote(data_path):
        return _stamp_of_remote(data_path / name)
    try:
        status = os.stat(f"{data_path}/{name}")  # noqa: PTH116 (a path object takes longer than this)
    except OSError:  # whoever reads it says what is wrong with it
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _stamp_of_remote(file: Any) -> tuple[int, int, int] | None:
    file.fs.invalidate_cache(file.parent.path)
    try:
        return 0, 0, hash(str(file.fs.ukey(file.path)))
    except FileNotFoundError:
        return None
