"""``metadata.json`` as it is stored: found in a folder, read and checked, without making anything of it.

Nothing here needs Gymnasium or NumPy, so that catalogues of thousands of datasets are listed at once.
What the descriptions of spaces and environments stand for, :mod:`minari.dataset.metadata` finds out.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minari._base.files import read_regular
from minari._base.json_text import parse_json, shortened
from minari.dataset._storages.folder_changes import CHANGES_NAME, folder_size, pending_changes
from minari.dataset._storages.registry import get_minari_storage
from minari.dataset._storages.transaction import JOURNAL_NAME, pending_change
from minari.dataset._storages.unfinished import METADATA_FILE_NAME
from minari.dataset.data_paths import is_remote
from minari.dataset.dataset_id import is_dataset_id
from minari.errors import DataPathError, DatasetBusyError, DatasetCorruptError


__all__ = [
    "METADATA_FILE_NAME",
    "MOST_METADATA",
    "SPACES",
    "TOTALS",
    "check_metadata",
    "damaged",
    "find_raw_metadata",
    "parse_metadata",
    "read_raw_metadata",
    "refuse_unfinished",
    "size_of",
    "texts_of",
    "with_measured_size",
    "with_id_of_place",
]

#: The most bytes that the metadata of a dataset may have; those of the largest images have a third of it.
MOST_METADATA = 1 << 26

TOTALS = ("total_episodes", "total_steps")
SPACES = ("observation_space", "action_space")

_MOST = 2**63 - 1  # of a total
_DATA_FILE_NAME = "main_data.hdf5"  # of the format that has journals
_OLD_FORMAT = "hdf5"  # the only one before metadata had a file of their own
_KINDS: dict[str, tuple[type | tuple[type, ...], str]] = {
    **dict.fromkeys(("data_format", "env_spec", "eval_env_spec", "dataset_id", "minari_version"), (str, "a string")),
    **dict.fromkeys(SPACES, ((str, dict), "the description of a space")),
    "jpeg_encoding": (bool, "true or false"),
    "combined_datasets": (list, "a list of dataset ids"),
}


def read_raw_metadata(data_path: str | os.PathLike[str]) -> dict[str, Any]:
    """The metadata of the dataset in a folder, after a change that a killed program has committed.

    Args:
        data_path: the ``data`` folder of a dataset.

    Raises:
        DataPathError: the folder does not exist or holds no dataset.
        DatasetCorruptError: the metadata are damaged.
    """
    return find_raw_metadata(data_path)[0]


def find_raw_metadata(data_path: str | os.PathLike[str]) -> tuple[dict[str, Any], str]:
    """What :func:`read_raw_metadata` gives, and the file or folder that it was found in."""
    if is_remote(data_path):
        return _remote_metadata(data_path)
    # One file is opened, and no path object made: most of the time of a long list goes by here.
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
    """Make sure that all that was committed to a dataset is in place, so that its files can be copied.

    Raises:
        DatasetBusyError: a writer is at it, or was killed before it was done.
        DatasetCorruptError: a change is partly in place, and damaged.
    """
    if pending_change(data_path, _DATA_FILE_NAME) is not None or pending_changes(data_path) is not None:
        raise DatasetBusyError(
            f"An interrupted change to {data_path} is committed and not in place; `minari clean`, or the next program "
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
    """What the releases without a metadata file keep elsewhere."""
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


def parse_metadata(text: str | bytes, source: object) -> dict[str, Any]:
    """The object that the text of a metadata file holds, checked.

    Args:
        text: the content of the file.
        source: its path, for messages.

    Raises:
        DatasetCorruptError: the text is no JSON object, or a key is missing or has a wrong value.
    """
    if len(text) > MOST_METADATA:
        raise DatasetCorruptError(
            f"The metadata of {source} are larger than {MOST_METADATA:,} bytes, which no dataset needs; download it "
            f"again, or leave it alone."
        )
    try:
        value = parse_json(text)
    except ValueError as error:
        raise DatasetCorruptError(f"The metadata file {source} is damaged, it is not valid JSON: {error}.") from error
    if not isinstance(value, dict):
        raise DatasetCorruptError(f"The metadata file {source} must hold a JSON object, got {shortened(value)}.")
    return check_metadata(value, source)


def check_metadata(raw: dict[str, Any], source: object) -> dict[str, Any]:
    """The same object, when everything in it that the library goes by is there and of the right kind.

    Args:
        raw: what a metadata file holds, spaces and specs being JSON strings.
        source: where it comes from, for messages.

    Raises:
        DatasetCorruptError: a key is missing or has a wrong value.
    """
    for key in TOTALS:
        value = raw.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MOST:
            raise damaged(source, key, "a count from 0", raw)
    for key in SPACES:
        # The datasets of 0.3 leave the spaces to the environment.
        if key not in raw and raw.get("env_spec") is None:
            raise damaged(source, key, "the description of a space, as there is no 'env_spec' to take it from", raw)
    for key, (kind, expected) in _KINDS.items():
        value = raw.get(key)
        if value is not None and not isinstance(value, kind):
            raise damaged(source, key, expected, raw)
    if not all(isinstance(dataset_id, str) for dataset_id in raw.get("combined_datasets") or []):
        raise damaged(source, "combined_datasets", "a list of dataset ids", raw)
    return raw


def with_measured_size(raw: dict[str, Any], data_path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return metadata with the size of the dataset, measured where the release that wrote it stored none."""
    if raw.get("dataset_size") is not None or not raw["total_episodes"] or is_remote(data_path):
        return raw
    return {**raw, "dataset_size": round(folder_size(Path(data_path)) / 1e6, 1)}


def size_of(raw: Mapping[str, Any]) -> float | None:
    """Return the size of a dataset in MB, from its metadata; None where they have none that a size can be."""
    size = raw.get("dataset_size")
    if isinstance(size, bool) or not isinstance(size, (int, float)) or not 0 <= size < _MOST:
        return None
    return float(size)


def texts_of(value: object) -> list[str]:
    """Return the texts that a key of the metadata holds, whatever that is: several in a list, one, or none.

    >>> texts_of(["Ada", 3]), texts_of("Ada"), texts_of(None)
    (['Ada', '3'], ['Ada'], [])
    """
    if isinstance(value, (list, tuple, set, frozenset)):
        return [str(item) for item in value]
    return [] if value is None else [str(value)]


def with_id_of_place(raw: dict[str, Any], dataset_id: str) -> dict[str, Any]:
    """Return metadata with the id that says where the dataset lies, which may have been moved or copied there."""
    return {**raw, "dataset_id": dataset_id} if raw.get("dataset_id") else raw


def damaged(source: object, key: str, expected: str, raw: Mapping[str, Any]) -> DatasetCorruptError:
    """The error about a key of the metadata."""
    found = f"got {shortened(raw[key])}" if key in raw else "which is missing"
    return DatasetCorruptError(f"The metadata in {source} is damaged: {key!r} must be {expected}, {found}.")
