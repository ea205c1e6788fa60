"""The local catalogue: find, open and delete datasets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from minari.dataset._storages.file_lock import folder_lock, waiting_at_most
from minari.dataset.dataset_id import DatasetId, dataset_id_sort_key, parse_dataset_id
from minari.dataset.minari_dataset import MinariDataset
from minari.dataset.minari_storage import PathLike
from minari.errors import DatasetBusyError, DatasetNotFoundError, UnsafePathError
from minari.plugins import Target, load_class
from minari.storage.catalogue import list_local_datasets
from minari.storage.datasets_root_dir import get_dataset_path
from minari.storage.publishing import dataset_exists, remove_directory, restore_replaced


__all__ = [
    "dataset_id_sort_key",
    "delete_dataset",
    "get_dataset_path",
    "list_local_datasets",
    "list_non_hidden_dirs",
    "load_dataset",
    "open_dataset",
    "parse_dataset_id",
]

#: What brings a dataset that is not here. It is found by its name, since it knows this module and not the reverse.
_DOWNLOADER: Target = ("minari.storage.hosting:download_dataset", "minari")


def load_dataset(
    dataset_id: str,
    download: bool = False,
    *,
    remote: str | None = None,
    root: PathLike | None = None,
    token: str | None = None,
    verify_checksums: bool = False,
) -> MinariDataset:
    """Open a dataset of the catalogue.

    Args:
        dataset_id: ``(namespace/)*name-vN``.
        download: get it from the remote where it is not here.
        remote: the address of the remote to get it from; by default that of ``MINARI_REMOTE``.
        root: of the catalogue; by default that of ``MINARI_DATASETS_PATH``.
        token: what the remote may ask for, as for :func:`minari.download_dataset`.
        verify_checksums: compare the values of every episode that is read with the checksums that were made
            when they were written; :class:`minari.errors.ChecksumError` is raised where they differ.

    Raises:
        DatasetIdError: the id is malformed.
        DatasetNotFoundError: it is not here, and was not to be downloaded.
        DatasetCorruptError: its files are damaged.
    """
    path = get_dataset_path(str(DatasetId.parse(dataset_id)), root=root)
    if not dataset_exists(path) and not restore_replaced(path):
        if not download:
            raise DatasetNotFoundError(
                f"Dataset {dataset_id} not found locally at {path}. Use download=True to download the dataset."
            )
        load_class(_DOWNLOADER, "Downloading needs")(dataset_id, remote=remote, root=root, token=token)
    dataset = MinariDataset(path / "data", verify_checksums=verify_checksums)
    dataset.storage._placed_id = dataset_id
    return dataset


def open_dataset(path: PathLike, *, verify_checksums: bool = False) -> MinariDataset:
    """Open a dataset in any folder, whether or not it is in the catalogue.

    Args:
        path: the folder of the dataset, or the folder ``data`` in it.
        verify_checksums: as for :func:`load_dataset`.

    Raises:
        DataPathError: there is no dataset in the folder.
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
    folder = Path(path).expanduser()
    return MinariDataset(folder / "data" if (folder / "data").is_dir() else folder, verify_checksums=verify_checksums)


def delete_dataset(dataset_id: str, *, root: PathLike | None = None, lock_timeout: float | None = None) -> None:
    """Delete a dataset of the catalogue; its namespace stays.

    Args:
        dataset_id: ``(namespace/)*name-vN``.
        root: of the catalogue; by default that of ``MINARI_DATASETS_PATH``.
        lock_timeout: for how many seconds to wait for another program that is writing the dataset; by
            default 60, or what ``MINARI_LOCK_TIMEOUT`` says.

    Raises:
        DatasetIdError: the id is malformed.
        DatasetNotFoundError: there is no such dataset, or another program has just deleted it.
        DatasetBusyError: another program is still writing the dataset.
        StorageError: the system refuses to move it; it is as it was.
    """
    path = get_dataset_path(str(DatasetId.parse(dataset_id)), root=root)
    if not dataset_exists(path):
        raise DatasetNotFoundError(f"Dataset {dataset_id} not found locally at {path}, so there is nothing to delete.")
    _wait_for_writers(path / "data", lock_timeout)
    remove_directory(path)


def _wait_for_writers(data_path: Path, lock_timeout: float | None) -> None:
    try:
        with waiting_at_most(lock_timeout), folder_lock(data_path):
            return
    except DatasetBusyError:
        raise
    except (OSError, UnsafePathError):  # what may not be written to, or is damaged, can be deleted all the same
        return


def list_non_hidden_dirs(path: PathLike) -> Iterator[str]:
    """The names of the folders in a folder, without those whose name begins with a dot."""
    for entry in Path(path).iterdir():
        if entry.is_dir() and not entry.name.startswith("."):
            yield entry.name
