"""Takes in what a remote sends: looks at it out of sight, and moves it to its place."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from minari._base.files import NAMESPACE_METADATA_FILENAME, NAMESPACE_METADATA_LIMIT, read_regular
from minari._base.settings import get_datasets_root
from minari._base.system_errors import storage_errors
from minari._catalog.layout import (
    dataset_exists,
    ensure_namespace_directories,
    get_dataset_path,
    publish_directory,
    replace_directory,
    restore_replaced,
)
from minari._catalog.namespaces import get_namespace_metadata, namespace_hierarchy
from minari._model.dataset_id import DatasetId
from minari._storages.base import PathLike
from minari._storages.metadata_file import read_raw_metadata
from minari.errors import DatasetExistsError, NamespaceError, RemoteError
from minari.storage.remotes import CloudStorage


def receive_dataset(remote: CloudStorage, dataset_id: str, root: PathLike | None, *, replace: bool = False) -> None:
    """Download one dataset with the metadata of its namespaces; it appears when it is complete.

    What has come when it fails is kept out of sight, and the next call goes on with it.

    Args:
        remote: where it is.
        dataset_id: of the dataset.
        root: of the local datasets; by default that of ``MINARI_DATASETS_PATH``.
        replace: put it in the place of the one that is here. Without, that one stays.

    Raises:
        RemoteError: the remote does not answer, or sends something else.
        DatasetCorruptError: what has come is damaged.
        DatasetExistsError: something that is no dataset is in its place.
        StorageError: the system refuses to write it.
    """
    destination = get_dataset_path(dataset_id, root=root)
    namespace = DatasetId.parse(dataset_id).namespace
    with (
        storage_errors(destination, "downloaded"),
        remote.downloading(dataset_id, destination) as folder,
        ThreadPoolExecutor(1) as other,
    ):
        restore_replaced(destination)
        if dataset_exists(destination) and not replace:
            return  # another program has brought it meanwhile, as workers do that start together
        namespaces = other.submit(_fetch_namespaces, remote, namespace, root)
        received = remote.fetch_dataset(dataset_id, folder, like=destination if dataset_exists(destination) else None)
        if not (received / "data").is_dir():
            raise RemoteError(f"The remote was asked for {dataset_id} and sent something else; ask it again.")
        read_raw_metadata(received / "data")
        brought = namespaces.result()
        for level in namespace_hierarchy(namespace):
            ensure_namespace_directories(get_datasets_root(root), level, brought.get(level, "{}"))
        _put(received, destination, folder / f"replaced-{os.urandom(6).hex()}", replace)


def _fetch_namespaces(remote: CloudStorage, namespace: str | None, root: PathLike | None) -> dict[str, bytes]:
    """The metadata of a namespace and of those around it by its name, where there are none here."""
    brought: dict[str, bytes] = {}
    for level in namespace_hierarchy(namespace):
        if (get_dataset_path(level, root=root) / NAMESPACE_METADATA_FILENAME).exists():
            continue
        with TemporaryDirectory() as staging:
            try:
                remote.download_namespace_metadata(level, Path(staging))
            except NamespaceError:
                continue  # a folder on the remote that was never made a namespace; here it becomes one
            get_namespace_metadata(level, root=staging)  # raises where they are damaged
            received = get_dataset_path(level, root=staging) / NAMESPACE_METADATA_FILENAME
            brought[level] = read_regular(received, NAMESPACE_METADATA_LIMIT)
    return brought


def _put(received: Path, destination: Path, aside: Path, replace: bool) -> None:
    """Move a dataset to its place; the one that it replaces is moved aside."""
    if replace and dataset_exists(destination):
        replace_directory(received, destination, aside)
        return
    try:
        publish_directory(received, destination)
    except DatasetExistsError:
        if not dataset_exists(destination):
            raise
        # Another program has brought it meanwhile, as workers do that start together.
