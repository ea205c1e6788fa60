"""The local catalog: find, open, rename and delete datasets."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import minari._storages.hdf5.storage  # noqa: F401 (the default format, so that opening a dataset imports nothing)
from minari._base.addresses import is_path
from minari._base.files import METADATA_FILE_NAME
from minari._base.json_text import shortened
from minari._base.lazy import LazyModule
from minari._base.locks import folder_lock, waiting_at_most
from minari._base.system_errors import failures_logged, storage_errors
from minari._catalog.layout import (
    dataset_exists,
    free_dataset_path,
    get_dataset_path,
    make_namespace,
    publish_directory,
    remove_directory,
    restore_replaced,
)
from minari._catalog.listing import did_you_mean_local, list_local_datasets
from minari._catalog.recordings import publish_recording
from minari._model.dataset_id import DatasetId, dataset_id_sort_key, is_dataset_id, parse_dataset_id
from minari._storages.base import MinariStorage, PathLike
from minari._storages.metadata_file import read_raw_metadata
from minari.dataset.minari_dataset import MinariDataset
from minari.errors import (
    ArgumentTypeError,
    DataPathError,
    DatasetBusyError,
    DatasetIdError,
    DatasetNotFoundError,
    UnsafePathError,
)


if TYPE_CHECKING:
    from minari.storage import hosting
else:  # most programs download nothing
    hosting = LazyModule("minari.storage.hosting")


__all__ = [
    "dataset_id_sort_key",
    "delete_dataset",
    "get_dataset_path",
    "list_local_datasets",
    "list_non_hidden_dirs",
    "load_dataset",
    "open_dataset",
    "parse_dataset_id",
    "recover_recording",
    "rename_dataset",
]


def load_dataset(
    dataset_id: str,
    download: bool = False,
    *,
    remote: str | None = None,
    root: PathLike | None = None,
    token: str | None = None,
    verify_checksums: bool = False,
) -> MinariDataset:
    """Open a local dataset.

    Args:
        dataset_id: ``(namespace/)*name-vN``.
        download: True to download it from the remote if it is missing.
        remote: address of the remote; by default that of ``MINARI_REMOTE``.
        root: root of the catalog; by default that of ``MINARI_DATASETS_PATH``.
        token: credentials for the remote, as for :func:`minari.download_dataset`.
        verify_checksums: True to verify the values of every episode that is read with the checksums from when
            they were written; raises :class:`minari.errors.ChecksumError` on a mismatch.

    Raises:
        DatasetIdError: the id is malformed.
        DatasetNotFoundError: it does not exist locally, and ``download`` is false.
        DatasetCorruptError: its files are damaged.
    """
    try:
        path = get_dataset_path(DatasetId.parse(dataset_id), root=root)
    except DatasetIdError:
        if not is_path(dataset_id):
            raise
        raise DatasetIdError(
            f"{shortened(os.fspath(dataset_id))} is a path, expected an id such as 'name-v0'; a dataset in any "
            f"directory is opened with minari.open_dataset(PATH)."
        ) from None
    if not dataset_exists(path) and not restore_replaced(path):
        if not download:
            raise DatasetNotFoundError(
                f"Dataset {dataset_id} not found locally at {path}. Use download=True to download the dataset."
                f"{did_you_mean_local(dataset_id, root)}"
            )
        hosting.download_dataset(dataset_id, remote=remote, root=root, token=token)
    storage = MinariStorage.read(path / "data")
    storage.placed_id = dataset_id
    return MinariDataset(storage, verify_checksums=verify_checksums)


def recover_recording(name: str, dataset_id: str | None = None, root: PathLike | None = None) -> MinariDataset:
    """Make a dataset of a recording that a program left behind, and open it.

    Args:
        name: name of the recording.
        dataset_id: id of the dataset; by default the id given by the program.
        root: root of the catalog.

    Raises:
        DatasetNotFoundError: there is no recording with that name.
        EpisodeError: no episode was recorded.
        DatasetIdError: neither the program nor the caller gave an id.
        DatasetExistsError: a dataset with this id already exists, or a dataset already has the episodes.
    """
    return MinariDataset(publish_recording(name, dataset_id, root))


def open_dataset(path: PathLike, *, verify_checksums: bool = False) -> MinariDataset:
    """Open a dataset in any directory, inside or outside of the catalog.

    Args:
        path: the directory of the dataset, or its subdirectory ``data``.
        verify_checksums: as for :func:`load_dataset`.

    Raises:
        ArgumentTypeError: the argument is not a path.
        DataPathError: there is no dataset in the directory.
        DatasetCorruptError: its files are damaged.

    Example:
        >>> import minari, numpy as np
        >>> saved = minari.create_dataset_from_arrays(
        ...     "docs/anywhere-v0", observations=np.arange(3.0), actions=np.zeros(2),
        ...     rewards=np.ones(2), terminations=np.array([False, True]),
        ... )
        >>> minari.open_dataset(saved.spec.data_path).total_steps
        2
    """
    if not isinstance(path, (str, os.PathLike)):
        raise ArgumentTypeError(f"path is {shortened(path)}, expected the path of the directory of a dataset.")
    directory = Path(path).expanduser()
    try:
        is_missing, has_data = not directory.exists(), (directory / "data").is_dir()
    except PermissionError as error:
        raise DataPathError(f"The data path {path} may not be read ({error.strerror}); ask for access.") from error
    if is_missing and is_dataset_id(str(path)):
        raise DataPathError(
            f"The data path {path} doesn't exist, and is an id: a dataset of the catalog is opened with "
            f"minari.load_dataset({str(path)!r})."
        )
    storage = MinariStorage.read(directory / "data" if has_data else directory)
    return MinariDataset(storage, verify_checksums=verify_checksums)


def delete_dataset(dataset_id: str, *, root: PathLike | None = None, lock_timeout: float | None = None) -> None:
    """Delete a local dataset; its namespace stays.

    Args:
        dataset_id: ``(namespace/)*name-vN``.
        root: root of the catalog; by default that of ``MINARI_DATASETS_PATH``.
        lock_timeout: for how many seconds to wait for another program that is writing the dataset; by
            default 60, or what ``MINARI_LOCK_TIMEOUT`` says.

    Raises:
        DatasetIdError: the id is malformed.
        DatasetNotFoundError: there is no such dataset, or another program has just deleted it.
        DatasetBusyError: another program is still writing to the dataset.
        StorageError: it cannot be moved; it is unchanged.
    """
    path = get_dataset_path(DatasetId.parse(dataset_id), root=root)
    if not dataset_exists(path):
        raise DatasetNotFoundError(
            f"Dataset {dataset_id} not found locally at {path}, so there is nothing to delete."
            f"{did_you_mean_local(dataset_id, root)}"
        )
    with _only_writer(path / "data", lock_timeout):
        pass  # waits until no change is in progress
    remove_directory(path)


def rename_dataset(
    old_id: str, new_id: str, *, root: PathLike | None = None, lock_timeout: float | None = None
) -> None:
    """Change the id of a local dataset atomically: it is found under either the old or the new id.

    Missing namespaces of the new id are created, and those of the old one stay. Local datasets that were
    combined from it refer to the new id afterwards. Remote datasets are not renamed.

    Args:
        old_id: ``(namespace/)*name-vN``.
        new_id: likewise.
        root: root of the catalog; by default that of ``MINARI_DATASETS_PATH``.
        lock_timeout: for how many seconds to wait for another program that is writing the dataset; by
            default 60, or what ``MINARI_LOCK_TIMEOUT`` says.

    Raises:
        DatasetIdError: an id is malformed.
        DatasetNotFoundError: there is no dataset with the old id.
        DatasetExistsError: the new id exists, or is below a dataset.
        DatasetBusyError: another program is still writing to the dataset.
        StorageError: it cannot be moved; it is unchanged.

    Example:
        >>> import minari, numpy as np
        >>> _ = minari.create_dataset_from_arrays(
        ...     "docs/draft-v0", observations=np.arange(3.0), actions=np.zeros(2),
        ...     rewards=np.ones(2), terminations=np.array([False, True]),
        ... )
        >>> minari.rename_dataset("docs/draft-v0", "docs/final-v0")
        >>> minari.load_dataset("docs/final-v0").id
        'docs/final-v0'
    """
    old, new = DatasetId.parse(old_id), DatasetId.parse(new_id)
    source = get_dataset_path(old, root=root)
    if not dataset_exists(source) and not restore_replaced(source):
        raise DatasetNotFoundError(
            f"Dataset {old_id} not found locally at {source}, so it cannot be renamed."
            f"{did_you_mean_local(old_id, root)}"
        )
    destination = free_dataset_path(str(new), root=root)
    with _only_writer(source / "data", lock_timeout), storage_errors(source, "renamed"):
        make_namespace(str(new), root)
        publish_directory(source, destination)
    with failures_logged(f"Writing the id {new_id} into the metadata of {destination}"):
        _update_ids(destination / "data", {"dataset_id": str(new)}, lock_timeout)
    _rename_in_combined(str(old), str(new), root, lock_timeout)


def _update_ids(data_path: Path, changes: dict[str, Any], lock_timeout: float | None) -> None:
    """Set ids in the metadata, if the dataset stores them in a metadata file."""
    if not (data_path / METADATA_FILE_NAME).exists() or "dataset_id" not in read_raw_metadata(data_path):
        return
    storage = MinariStorage.read(data_path)
    with storage.writing(lock_timeout) as writer:
        writer.commit(storage.current_metadata.updated(changes, allow_protected=True))


def _rename_in_combined(old_id: str, new_id: str, root: PathLike | None, lock_timeout: float | None) -> None:
    """Update the id in the local datasets that were combined from the renamed one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about damaged ones, which lists report
        listed = list_local_datasets(root=root)
    for dataset_id, metadata in listed.items():
        parts = metadata.get("combined_datasets") or []
        if old_id in parts:
            renamed = [new_id if part == old_id else part for part in parts]
            with failures_logged(f"Writing the id {new_id} into the list of datasets that {dataset_id} combines"):
                data_path = get_dataset_path(dataset_id, root=root) / "data"
                _update_ids(data_path, {"combined_datasets": renamed}, lock_timeout)


@contextmanager
def _only_writer(data_path: Path, lock_timeout: float | None) -> Iterator[None]:
    """Wait for other writers and exclude new ones; a read-only dataset has none."""
    with ExitStack() as stack:
        try:
            stack.enter_context(waiting_at_most(lock_timeout))
            stack.enter_context(folder_lock(data_path))
        except DatasetBusyError:
            raise
        except (OSError, UnsafePathError):  # a read-only or damaged dataset can be moved anyway
            pass
        yield


def list_non_hidden_dirs(path: PathLike) -> Iterator[str]:
    """Return the names of the subdirectories of a directory that are not hidden."""
    for entry in Path(path).iterdir():
        if entry.is_dir() and not entry.name.startswith("."):
            yield entry.name
