"""Finds the metadata of a dataset in its folder, whichever release wrote it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from minari.dataset._storages.registry import get_minari_storage
from minari.dataset._storages.transaction import recover_abandoned
from minari.dataset.metadata import METADATA_FILE_NAME, DatasetMetadata
from minari.errors import DataPathError


_OLD_FORMAT = "hdf5"  # the only one before metadata had a file of their own


def read_metadata(data_path: Path) -> DatasetMetadata:
    """The metadata of the dataset in a folder; a change that a killed program left is finished first.

    Raises:
        DataPathError: the folder does not exist or holds no dataset.
        DatasetCorruptError: the metadata are damaged.
    """
    if not data_path.exists():
        raise DataPathError(f"The data path {data_path} doesn't exist.")
    recover_abandoned(data_path)
    file = data_path / METADATA_FILE_NAME
    try:
        return DatasetMetadata.from_json(file.read_bytes(), file)
    except FileNotFoundError:
        pass
    except NotADirectoryError:
        raise DataPathError(f"The data path {data_path} is a file, expected the folder of a dataset.") from None
    storage: Any = get_minari_storage(_OLD_FORMAT)
    raw = storage._read_metadata_of_old_releases(data_path)
    if raw is None:
        raise DataPathError(
            f"No data found in data path {data_path}; expected a folder with {METADATA_FILE_NAME} in it."
        )
    return DatasetMetadata.from_raw(raw, data_path)


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
