"""Share datasets: download, upload and list those of a remote. Policy only; remotes move the bytes."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias

from minari.dataset.dataset_id import DatasetId, dataset_id_sort_key, is_dataset_id
from minari.dataset.minari_storage import MinariStorage, PathLike
from minari.dataset.versions import FORMAT_VERSION, is_compatible
from minari.errors import (
    DatasetExistsError,
    DatasetIdError,
    DatasetNotFoundError,
    DatasetVersionError,
    MinariError,
)
from minari.namespace import namespace_hierarchy
from minari.progress import track
from minari.storage.catalogue import newest_versions
from minari.storage.datasets_root_dir import get_dataset_path, get_datasets_root, get_default_remote
from minari.storage.publishing import dataset_exists, ensure_namespace_directories
from minari.storage.receiving import receive_dataset
from minari.storage.remotes import CloudStorage, RemoteDatasetNotFoundError, get_cloud_storage, split_address


__all__ = ["download_dataset", "list_remote_datasets", "upload_dataset"]

Metadata: TypeAlias = dict[str, Any]

_REQUESTS_AT_ONCE = 16


def list_remote_datasets(
    remote_path: str | None = None,
    prefix: str | None = None,
    latest_version: bool = False,
    compatible_minari_version: bool = False,
) -> dict[str, dict[str, Any]]:
    """The datasets of a remote.

    Args:
        remote_path: the address of the remote, such as ``file:///folder``; by default that of
            ``MINARI_REMOTE``.
        prefix: only ids that begin with this text; unlike in :func:`minari.list_local_datasets`, it may
            end inside a part of an id.
        latest_version: only the newest version of each.
        compatible_minari_version: only those of a format version that this release reads.

    Returns:
        Id -> metadata as they are stored, sorted by namespace, name and version.

    Warns:
        UserWarning: the metadata of a dataset cannot be read; it is left out.

    Raises:
        RemoteError: the remote is unknown, or does not answer.
    """
    remote = get_cloud_storage(remote_path)
    found: dict[str, Metadata] = {}
    for dataset_id, answer in _metadata_of(remote, remote.list_datasets(prefix=prefix or None)).items():
        if isinstance(answer, Exception):
            warnings.warn(
                f"The remote dataset {dataset_id} is left out, its metadata cannot be read: {answer}",
                UserWarning,
                stacklevel=2,
            )
        elif not compatible_minari_version or is_compatible(answer.get("minari_version")):
            found[dataset_id] = answer
    return newest_versions(found) if latest_version else found


def _metadata_of(remote: CloudStorage, dataset_ids: Iterable[str]) -> dict[str, Metadata | MinariError | OSError]:
    """The metadata of datasets, or the error in their place, sorted by id; asked for at the same time."""

    def read(dataset_id: str) -> Metadata | MinariError | OSError:
        try:
            return remote.get_dataset_metadata(dataset_id)
        except (MinariError, OSError) as error:
            return error

    in_order = sorted(filter(is_dataset_id, dataset_ids), key=dataset_id_sort_key)
    with ThreadPoolExecutor(_REQUESTS_AT_ONCE) as pool:
        answers = pool.map(read, in_order)
        tracked = track(answers, "reading metadata", total=len(in_order), unit="datasets")
        return dict(zip(in_order, tracked, strict=True))


def download_dataset(
    dataset_id: str | None = None,
    force_download: bool = False,
    *,
    root: PathLike | None = None,
    dataset_name: str | None = None,
) -> None:
    """Bring a dataset from a remote, with the metadata of its namespaces.

    Of a combined dataset the parts are brought as well, as far as the remote has them and they are not
    here. A dataset appears when it is complete, and a failed download leaves nothing of it behind.

    Args:
        dataset_id: ``(namespace/)*name-vN`` for the remote of ``MINARI_REMOTE``, or a full address such
            as ``hf://farama-minari/D4RL/door/human-v2``. In ``file:///folder/D4RL/door/human-v2`` those
            folders belong to the id that are namespaces, that is, hold a ``namespace_metadata.json``.
        force_download: bring it even if it is here, in place of that, and even if this release does not
            read its format version.
        root: of the local datasets; by default that of ``MINARI_DATASETS_PATH``.
        dataset_name: the older name of ``dataset_id``.

    Warns:
        UserWarning: the dataset is here already, and nothing is done; or there is a newer version that
            this release reads; or the remote lacks a part of it; or what was forced cannot be read.

    Raises:
        DatasetIdError: the id is malformed.
        RemoteDatasetNotFoundError: the remote has no such dataset, or not this version of it.
        DatasetVersionError: this release does not read its format version.
        DatasetCorruptError: its metadata are damaged.
        DatasetExistsError: something that is no dataset is in its place.
        RemoteError: the remote is unknown, or does not answer.
    """
    if dataset_name is not None:
        warnings.warn("dataset_name is the older name of dataset_id; use that.", DeprecationWarning, stacklevel=2)
    wanted, remote_path = _located(dataset_name if dataset_id is None else dataset_id)
    path = get_dataset_path(wanted, root=root)
    if dataset_exists(path) and not force_download:
        warnings.warn(
            f"The dataset {wanted} is at {path} already and is not downloaded; force_download=True replaces it.",
            UserWarning,
            stacklevel=2,
        )
        return
    if os.path.lexists(path) and not dataset_exists(path):
        raise DatasetExistsError(f"{path} is in the way and is no dataset; move it away, then download {wanted}.")
    remote = get_cloud_storage(remote_path)
    metadata, advice = _requested(remote, wanted, remote_path, force_download)
    parts, missing = _parts(metadata, remote.get_dataset_metadata)
    lost = [part for part in missing if not _is_here(part, root)]
    if lost:
        advice.append(f"{wanted} was combined from {', '.join(lost)}, which {remote_path} does not have.")
    for text in advice:
        warnings.warn(text, UserWarning, stacklevel=2)
    for part in parts:  # before the dataset itself, so that a download that is tried again brings the rest
        if not _is_here(part, root):
            receive_dataset(remote, part, root)
    receive_dataset(remote, wanted, root, replace=force_download)


def _is_here(dataset_id: str, root: PathLike | None) -> bool:
    return is_dataset_id(dataset_id) and dataset_exists(get_dataset_path(dataset_id, root=root))


def _located(address: str | None) -> tuple[str, str]:
    """The id that is asked for, checked, and the address of the remote."""
    if isinstance(address, str) and "://" in address:
        remote_path, dataset_id = split_address(address)
        return str(DatasetId.parse(dataset_id)), remote_path
    return str(DatasetId.parse(address)), get_default_remote()  # type: ignore[arg-type]  # None is what it checks for


def _requested(remote: CloudStorage, wanted: str, remote_path: str, force: bool) -> tuple[Metadata, list[str]]:
    """The metadata of the dataset that is asked for, and what its user should know before having it."""
    stem = wanted.rpartition("-v")[0]
    listed = remote.list_datasets(prefix=f"{stem}-v")
    versions = _metadata_of(remote, (name for name in listed if name.rpartition("-v")[0] == stem))
    compatible = [
        version
        for version, answer in versions.items()
        if not isinstance(answer, Exception) and is_compatible(answer.get("minari_version"))
    ]
    hint = (
        f"the latest version that this release reads is {compatible[-1]}"
        if compatible
        else f"no version of it follows a format that this release (up to {FORMAT_VERSION}) reads"
    )
    if not versions:
        raise RemoteDatasetNotFoundError(f"{remote_path} has no version of a dataset {stem}; check the spelling.")
    if wanted not in versions:
        raise RemoteDatasetNotFoundError(f"{remote_path} does not have {wanted}, but other versions; {hint}.")
    found = versions[wanted]
    if isinstance(found, Exception):
        raise found
    if wanted not in compatible:
        text = f"{wanted} follows the format version {found.get('minari_version')}, which is not compatible; {hint}"
        if not force:
            raise DatasetVersionError(f"{text}; force_download=True downloads it all the same.")
        return found, [f"{text}."]
    is_older = wanted != compatible[-1]
    return found, [f"{wanted} is an older version of the dataset; {hint}."] if is_older else []


def _parts(metadata: Mapping[str, Any], read: Callable[[str], Metadata]) -> tuple[list[str], list[str]]:
    """What a dataset was combined from, and what that was combined from; and what there is not of it."""
    found: dict[str, Metadata] = {}
    missing: list[str] = []
    pending = [metadata]
    while pending:
        for part in map(str, pending.pop().get("combined_datasets") or ()):
            if part in found or part in missing:
                continue
            try:
                found[part] = read(part)
            except (DatasetNotFoundError, DatasetIdError):
                missing.append(part)
            else:
                pending.append(found[part])
    return list(found), missing


def upload_dataset(
    dataset_id: str, token: str | None = None, *, remote: str | None = None, root: PathLike | None = None
) -> None:
    """Send a local dataset to a remote, with the metadata of its namespaces.

    Of a combined dataset the parts are sent as well, as far as they are here and the remote lacks them.
    Others see a dataset on the remote when it is complete.

    Args:
        dataset_id: ``(namespace/)*name-vN``.
        token: the token of a Hub, or the path of a service-account key, for remotes that ask for one.
        remote: its address, such as ``file:///folder``; by default that of ``MINARI_REMOTE``.
        root: of the local datasets; by default that of ``MINARI_DATASETS_PATH``.

    Warns:
        UserWarning: the remote has the dataset already, and nothing is done; or a part of it is
            neither here nor there.

    Raises:
        DatasetIdError: the id is malformed.
        DatasetNotFoundError: there is no such dataset here.
        DatasetCorruptError: its metadata are damaged.
        RemoteError: the remote is unknown, or does not answer.
    """

    def read(name: str) -> Metadata:
        path = get_dataset_path(str(DatasetId.parse(name)), root=root)
        if not dataset_exists(path):
            raise DatasetNotFoundError(f"There is no dataset {name} at {path} to upload.")
        return MinariStorage.read_raw_metadata(path / "data")

    metadata = read(dataset_id)
    address = get_default_remote() if remote is None else remote
    storage = get_cloud_storage(address, token)
    there = set(storage.list_datasets())
    if dataset_id in there:
        warnings.warn(f"{address} has {dataset_id} already; nothing is uploaded.", UserWarning, stacklevel=2)
        return
    parts, missing = _parts(metadata, read)
    lost = set(missing) - there
    if lost:
        warnings.warn(
            f"{dataset_id} was combined from {', '.join(sorted(lost))}, which are neither here nor on {address}.",
            UserWarning,
            stacklevel=2,
        )
    namespaces = set(storage.list_namespaces())
    for name in [*parts, dataset_id]:
        if name not in there:
            _send_namespaces(storage, DatasetId.parse(name).namespace, namespaces, root)
            storage.upload_dataset(name, root=root)


def _send_namespaces(remote: CloudStorage, namespace: str | None, known: set[str], root: PathLike | None) -> None:
    """Upload the metadata of a namespace and of those around it that the remote does not know yet."""
    ensure_namespace_directories(get_datasets_root(root), namespace)
    for level in namespace_hierarchy(namespace):
        if level not in known:
            remote.upload_namespace(level, root=root)
            known.add(level)
