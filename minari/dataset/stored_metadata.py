"""The metadata of the dataset in a folder, as a typed value."""

from __future__ import annotations

from pathlib import Path

from minari.dataset.metadata import METADATA_FILE_NAME, DatasetMetadata
from minari.dataset.raw_metadata import find_raw_metadata


def read_metadata(data_path: Path) -> DatasetMetadata:
    """The metadata of the dataset in a folder; a change that a killed program left is finished first.

    Raises:
        DataPathError: the folder does not exist or holds no dataset.
        DatasetCorruptError: the metadata are damaged.
    """
    return DatasetMetadata(*find_raw_metadata(data_path))


def exists(data_path: Path) -> bool:
    """Whether a folder holds a dataset."""
    return any((data_path / name).exists() for name in (METADATA_FILE_NAME, "main_data.hdf5"))


def stamp_of(data_path: Path) -> tuple[int, int, int] | None:
    """What changes whenever the metadata file does; None where there is none."""
    try:
        status = (data_path / METADATA_FILE_NAME).stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
