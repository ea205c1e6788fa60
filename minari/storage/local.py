"""The local catalogue: find, open and delete datasets."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from minari.dataset.dataset_id import DatasetId, dataset_id_sort_key, is_dataset_id, parse_dataset_id
from minari.dataset.minari_dataset import MinariDataset
from minari.dataset.minari_storage import MinariStorage, PathLike
from minari.dataset.versions import is_compatible
from minari.errors import DatasetNotFoundError, MinariError
from minari.storage.datasets_root_dir import get_dataset_path, get_datasets_root
from minari.storage.publishing import catalogue_folders, dataset_exists, remove_directory


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

Downloader = Callable[..., object]
_downloaders: list[Downloader] = []


def register_downloader(downloader: Downloader) -> None:
    """Say what brings a dataset that is not here; the remotes do, which this module knows nothing of.

    Args:
        downloader: called with the id, and with the catalogue's ``root`` by keyword.
    """
    _downloaders[:] = [downloader]


def load_dataset(dataset_id: str, download: bool = False, *, root: PathLike | None = None) -> MinariDataset:
    """Open a dataset of the catalogue.

    Args:
        dataset_id: ``(namespace/)*name-vN``.
        download: get it from the remote where it is not here.
        root: of the catalogue; by default that of ``MINARI_DATASETS_PATH``.

    Raises:
        DatasetIdError: the id is malformed.
        DatasetNotFoundError: it is not here, and was not to be downloaded.
        DatasetCorruptError: its files are damaged.
    """
    path = get_dataset_path(str(DatasetId.parse(dataset_id)), root=root)
    if not dataset_exists(path):
        if not (download and _downloaders):
            raise DatasetNotFoundError(
                f"Dataset {dataset_id} not found locally at {path}. Use download=True to download the dataset."
            )
        _downloaders[0](dataset_id, root=root)
    return MinariDataset(path / "data")


def open_dataset(path: PathLike) -> MinariDataset:
    """Open a dataset in any folder, whether or not it is in the catalogue.

    Args:
        path: the folder of the dataset, or the folder ``data`` in it.

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
    return MinariDataset(folder / "data" if (folder / "data").is_dir() else folder)


def list_local_datasets(
    latest_version: bool = False,
    compatible_minari_version: bool = False,
    prefix: str | None = None,
    *,
    root: PathLike | None = None,
) -> dict[str, dict[str, Any]]:
    """The datasets of the catalogue.

    Args:
        latest_version: only the newest version of each.
        compatible_minari_version: only those of a format version that this release reads.
        prefix: only what lies in this namespace, or the dataset of this id.
        root: of the catalogue; by default that of ``MINARI_DATASETS_PATH``.

    Returns:
        Id -> metadata as they are stored, sorted by namespace, name and version.

    Warns:
        UserWarning: a dataset is damaged; it is left out.
    """
    found: dict[str, dict[str, Any]] = {}
    folders = dict(catalogue_folders(get_datasets_root(root)))
    ids = [name for name, folder in folders.items() if is_dataset_id(name) and dataset_exists(folder)]
    for dataset_id in sorted(ids, key=dataset_id_sort_key):
        if prefix and not has_prefix(dataset_id, prefix):
            continue
        try:
            metadata = MinariStorage.read_raw_metadata(folders[dataset_id] / "data")
        except (MinariError, OSError) as error:
            warnings.warn(
                f"The dataset {dataset_id} is left out, it cannot be read: {error}", UserWarning, stacklevel=2
            )
            continue
        if compatible_minari_version and not is_compatible(metadata.get("minari_version")):
            continue
        found[dataset_id] = metadata
    return newest_versions(found) if latest_version else found


def has_prefix(dataset_id: str, prefix: str) -> bool:
    """Whether an id begins with these whole parts: ``D4RL/door`` or ``D4RL/door/`` or all of it."""
    return f"{dataset_id}/".startswith(f"{prefix.rstrip('/')}/")


def newest_versions(datasets: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Of datasets that differ in their version only, the newest."""
    newest: dict[tuple[str | None, str], str] = {}
    for dataset_id in sorted(datasets, key=dataset_id_sort_key):
        namespace, name, _ = parse_dataset_id(dataset_id)
        newest[namespace, name] = dataset_id
    kept = set(newest.values())
    return {dataset_id: metadata for dataset_id, metadata in datasets.items() if dataset_id in kept}


def delete_dataset(dataset_id: str, *, root: PathLike | None = None) -> None:
    """Delete a dataset of the catalogue; its namespace stays.

    Raises:
        DatasetIdError: the id is malformed.
        DatasetNotFoundError: there is no such dataset.
    """
    path = get_dataset_path(str(DatasetId.parse(dataset_id)), root=root)
    if not dataset_exists(path):
        raise DatasetNotFoundError(f"Dataset {dataset_id} not found locally at {path}, so there is nothing to delete.")
    remove_directory(path)


def list_non_hidden_dirs(path: PathLike) -> Iterator[str]:
    """The names of the folders in a folder, without those whose name begins with a dot."""
    for entry in Path(path).iterdir():
        if entry.is_dir() and not entry.name.startswith("."):
            yield entry.name
