"""Installation of remote datasets: downloaded into a hidden directory, verified, and moved into place."""

from __future__ import annotations

import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from minari._base.atomic import write_atomically
from minari._base.files import NAMESPACE_METADATA_FILENAME, NAMESPACE_METADATA_LIMIT
from minari._base.lazy import LazyModule
from minari._base.settings import get_datasets_root
from minari._base.system_errors import storage_errors
from minari._catalog.layout import (
    dataset_exists,
    ensure_namespace_directories,
    publish_directory,
    refuse_nested,
    refuse_taken,
    replace_directory,
    restore_replaced,
)
from minari._catalog.namespaces import namespace_hierarchy, parse_namespace_metadata
from minari._model.dataset_id import DatasetId, parse_namespace
from minari._storages.metadata_file import read_raw_metadata
from minari.errors import DatasetCorruptError, DatasetExistsError, MinariError, NamespaceError, RemoteError
from minari.storage.transfer.download_plan import plan_download
from minari.storage.transfer.downloader import fetch_files
from minari.storage.transfer.port import Remote
from minari.storage.transfer.remote_files import METADATA_NAME, RemoteFileNotFoundError
from minari.storage.transfer.work_dir import work_dir


if TYPE_CHECKING:
    from minari._storages import base as minari_storage
else:
    minari_storage = LazyModule("minari._storages.base")  # listing does not need Gymnasium

__all__ = [
    "fetch_dataset",
    "fetch_namespace_metadata",
    "install_dataset",
    "write_namespace_metadata",
]

_log = logging.getLogger(__name__)


def install_dataset(
    remote: Remote,
    dataset_id: str,
    root: str | os.PathLike[str] | None = None,
    *,
    existing: Literal["keep", "replace", "refuse"] = "keep",
    namespaces: bool = True,
) -> None:
    """Download one dataset, which appears when it is complete and verified.

    After a failure, the partial download stays in a hidden directory, and the next call resumes it.

    Args:
        remote: the source.
        dataset_id: id of the dataset.
        root: directory of the local datasets; by default that of ``MINARI_DATASETS_PATH``.
        existing: treatment of an existing local dataset; ``"refuse"`` raises an error.
        namespaces: True to download missing metadata of its namespaces as well.

    Raises:
        DatasetIdError: the id is malformed.
        RemoteDatasetNotFoundError: the remote has no such dataset.
        RemoteError: the remote does not respond, or sends something else.
        DatasetCorruptError: its files are incomplete, or are damaged after every attempt.
        DatasetExistsError: its path exists and is not replaced.
        DatasetBusyError: it is being changed on the remote.
        StorageError: it cannot be written.
    """
    parsed, datasets_root = DatasetId.parse(dataset_id), get_datasets_root(root)
    destination = datasets_root / str(parsed)
    if existing == "refuse":
        refuse_taken(destination)
    else:
        refuse_nested(destination)
    download_dir = destination.with_name(f".{destination.name}.download")
    with (
        storage_errors(destination, "downloaded"),
        work_dir(download_dir, f"downloading {dataset_id}") as directory,
        ThreadPoolExecutor(1) as other,
    ):
        restore_replaced(destination)
        # Another program may have downloaded it in the meantime, such as another worker.
        if existing == "refuse":
            refuse_taken(destination)
        elif existing == "keep" and dataset_exists(destination):
            return
        downloaded = other.submit(_fetch_namespaces, remote, parsed.namespace if namespaces else None, datasets_root)
        received = fetch_dataset(remote, dataset_id, directory, destination if dataset_exists(destination) else None)
        for level, content in downloaded.result().items():
            ensure_namespace_directories(datasets_root, level, content)
        if existing == "replace" and dataset_exists(destination):
            replace_directory(received, destination, directory / f"replaced-{os.urandom(6).hex()}")
            return
        try:
            publish_directory(received, destination)
        except DatasetExistsError:
            if existing == "refuse" or not dataset_exists(destination):
                raise


def fetch_dataset(remote: Remote, dataset_id: str, directory: Path, like: Path | None = None) -> Path:
    """Download the files of a dataset into a directory, and verify them.

    Args:
        remote: the source.
        dataset_id: id of the dataset.
        directory: directory that no other program uses; files of an earlier call are used.
        like: directory of a dataset that may hold some of the files already; these are copied.

    Returns:
        The directory of the files, inside ``directory``.

    Raises:
        RemoteDatasetNotFoundError: the remote has no such dataset.
        DatasetCorruptError: its files are incomplete, or are damaged after every attempt.
        DatasetBusyError: it is being changed on the remote.
        RemoteError: the remote does not respond, or sends something else.
    """
    with remote.unchanged(dataset_id):
        plan = plan_download(remote, dataset_id, moved=remote.MOVABLE)
        if not any(file.name == METADATA_NAME for file in plan.files):
            if remote.has_file(f"{dataset_id}/{METADATA_NAME}"):
                raise DatasetCorruptError(
                    f"The manifest of {dataset_id} in {remote.address} leaves out {METADATA_NAME}, which exists; "
                    "whoever uploaded the dataset should delete it there and upload it again."
                )
            if not remote.has_dataset(dataset_id):
                raise remote.missing_dataset(dataset_id)  # it is partly uploaded
        fetched = fetch_files(remote, plan, directory, like)
    if not (fetched / "data").is_dir():
        raise RemoteError(f"The remote sent something else than {dataset_id}; try again.")
    if all(file.checksum is not None for file in plan.files):
        _add_checksums(fetched / "data")
    read_raw_metadata(fetched / "data")  # raises if it is damaged
    return fetched


def _add_checksums(data_path: Path) -> None:
    """Compute missing checksums of values, while their bytes are known to be those that were uploaded.

    No downloaded file is changed.
    """
    try:
        storage = minari_storage.MinariStorage.read(data_path)
        if storage.HIDDEN_CHECKSUMS:
            storage.add_missing_checksums()
    except (MinariError, OSError) as error:  # reported again when the dataset is opened
        _log.info("No checksums are computed for the values in %s: %s", data_path, error)


def fetch_namespace_metadata(remote: Remote, namespace: str) -> bytes:
    """Download the metadata of a namespace.

    Args:
        remote: the source.
        namespace: a namespace such as ``"D4RL/door"``; its parents are not downloaded.

    Returns:
        The content of its metadata file, as it is on the remote.

    Raises:
        DatasetIdError: the namespace is malformed.
        NamespaceError: the remote has no such namespace.
        RemoteError: the remote does not respond.
    """
    name = f"{'/'.join(parse_namespace(namespace))}/{NAMESPACE_METADATA_FILENAME}"
    try:
        return remote.read_small(name, NAMESPACE_METADATA_LIMIT)
    except RemoteFileNotFoundError:
        raise NamespaceError(f"Namespace {namespace!r} does not exist in {remote.address}.") from None


def write_namespace_metadata(root: Path, namespace: str, content: bytes) -> None:
    """Write the metadata of one namespace, replacing existing metadata; its parents are unchanged."""
    directory = root.joinpath(*parse_namespace(namespace))
    directory.mkdir(parents=True, exist_ok=True)
    write_atomically(directory / NAMESPACE_METADATA_FILENAME, content)


def _fetch_namespaces(remote: Remote, namespace: str | None, root: Path) -> dict[str, bytes | str]:
    """Download missing metadata of a namespace and of its parents."""
    downloaded: dict[str, bytes | str] = {}
    for level in namespace_hierarchy(namespace):
        downloaded[level] = "{}"
        if (root / level / NAMESPACE_METADATA_FILENAME).exists():
            continue
        try:
            content = fetch_namespace_metadata(remote, level)
        except NamespaceError:
            continue  # a directory that is not a namespace on the remote; it becomes one locally
        parse_namespace_metadata(content, f"The metadata of the namespace {level} in {remote.address}")
        downloaded[level] = content
    return downloaded
