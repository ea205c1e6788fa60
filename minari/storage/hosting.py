"""Download, upload and list the datasets of a remote: policy only, as minari.storage.transfer moves the bytes."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

from minari._base.addresses import is_path, without_credentials
from minari._base.json_text import shortened
from minari._base.parallel import parallel_map
from minari._base.settings import get_datasets_root, get_default_remote
from minari._base.suggestions import did_you_mean
from minari._base.warnings import warn
from minari._catalog.layout import dataset_exists, ensure_namespace_directories, get_dataset_path
from minari._catalog.listing import did_you_mean_local, newest_versions
from minari._catalog.namespaces import namespace_hierarchy
from minari._model.dataset_id import DatasetId, dataset_id_sort_key, is_dataset_id
from minari._model.format_version import FORMAT_VERSION, is_compatible
from minari._model.metadata_json import parse_metadata, with_id_of_place
from minari._storages.base import PathLike
from minari._storages.metadata_file import read_raw_metadata
from minari.dataset.validation import validate as validate_dataset
from minari.errors import (
    DatasetCorruptError,
    DatasetExistsError,
    DatasetIdError,
    DatasetNotFoundError,
    DatasetVersionError,
    MinariError,
    RemoteError,
)
from minari.progress import track
from minari.storage.remotes import (
    DEFAULT_REMOTE,
    MAX_WORKERS,
    CloudStorage,
    RemoteDatasetNotFoundError,
    get_cloud_storage,
    split_address,
)
from minari.storage.transfer.installer import install_dataset
from minari.storage.transfer.limits import with_retries
from minari.storage.transfer.uploader import upload_dataset as send_snapshot
from minari.storage.transfer.uploader import upload_namespace


__all__ = ["download_dataset", "list_community_datasets", "list_remote_datasets", "refuse_path", "upload_dataset"]

Metadata: TypeAlias = dict[str, Any]

MOST_PARTS = 10_000  # of a combined dataset


def list_remote_datasets(
    remote_path: str | None = None,
    prefix: str | None = None,
    latest_version: bool = False,
    compatible_minari_version: bool = False,
    *,
    token: str | None = None,
    max_workers: int = MAX_WORKERS,
) -> dict[str, dict[str, Any]]:
    """Return the datasets of a remote.

    Args:
        remote_path: the address of the remote, such as ``file:///directory``; by default that of
            ``MINARI_REMOTE``.
        prefix: only ids that begin with this text; unlike in :func:`minari.list_local_datasets`, it may
            end inside a part of an id.
        latest_version: only the newest version of each.
        compatible_minari_version: only those of a format version that this release reads.
        token: as for :func:`download_dataset`.
        max_workers: number of concurrent requests.

    Returns:
        Id -> metadata as it is stored, sorted by namespace, name and version.

    Warns:
        UserWarning: the metadata of a dataset cannot be read; the dataset is left out.

    Raises:
        RemoteError: the remote is unknown, or does not respond.
    """
    remote = get_cloud_storage(remote_path, token, max_workers=max_workers)
    found: dict[str, Metadata] = {}
    for dataset_id, answer in _metadata_of(
        remote, with_retries(lambda: remote.list_with_metadata(prefix or None))
    ).items():
        if isinstance(answer, Exception):
            warn(
                f"The remote dataset {dataset_id} is left out, its metadata cannot be read: {answer}",
            )
        elif not compatible_minari_version or is_compatible(answer.get("minari_version")):
            found[dataset_id] = answer
    return newest_versions(found) if latest_version else found


def list_community_datasets(
    prefix: str | None = None,
    latest_version: bool = False,
    compatible_minari_version: bool = False,
    *,
    token: str | None = None,
    max_workers: int = MAX_WORKERS,
) -> dict[str, dict[str, Any]]:
    """Return the datasets that anybody has uploaded to the Hugging Face Hub with this library.

    They are found by the tag ``minari`` of their repositories, which an upload sets.

    Args:
        prefix: only ids that begin with this text, whoever they belong to.
        latest_version: only the newest version of each.
        compatible_minari_version: only those of a format version that this release reads.
        token: of the Hub; by default that of its own login or environment.
        max_workers: number of concurrent requests.

    Returns:
        Address -> metadata as it is stored, sorted by owner and id. An address such as
        ``hf://owner/door/human-v2`` is what :func:`minari.download_dataset` takes.

    Raises:
        RemoteError: the Hub does not respond.
        MissingDependencyError: its client is not installed.
    """
    remote = get_cloud_storage(DEFAULT_REMOTE, token, max_workers=max_workers)
    found: dict[str, Metadata] = {
        address: metadata
        for address, metadata in remote.list_community(prefix).items()
        if not compatible_minari_version or is_compatible(metadata.get("minari_version"))
    }
    if not latest_version:
        return found
    by_owner: dict[str, dict[str, Metadata]] = {}
    for address, metadata in found.items():
        owner, _, dataset_id = address.removeprefix("hf://").partition("/")
        by_owner.setdefault(owner, {})[dataset_id] = metadata
    return {
        f"hf://{owner}/{dataset_id}": metadata
        for owner, datasets in by_owner.items()
        for dataset_id, metadata in newest_versions(datasets).items()
    }


def _metadata_of(
    remote: CloudStorage, listed: Mapping[str, bytes | None]
) -> dict[str, Metadata | MinariError | OSError]:
    """Return the metadata of datasets, or the errors in their place, sorted by id.

    Args:
        remote: is asked concurrently for what the list does not hold.
        listed: id -> content of the metadata file, or None.
    """

    def read(dataset_id: str) -> tuple[str, Metadata | MinariError | OSError]:
        content = listed[dataset_id]
        try:
            if content is None:
                return dataset_id, remote.get_dataset_metadata(dataset_id)
            metadata = parse_metadata(content, f"{dataset_id} of {remote.address}")
            return dataset_id, with_id_of_place(metadata, dataset_id)
        except (MinariError, OSError) as error:
            return dataset_id, error

    in_order = sorted(filter(is_dataset_id, listed), key=dataset_id_sort_key)
    answers = parallel_map(read, in_order, remote.max_workers)
    found = dict(track(answers, "reading metadata", total=len(in_order), unit="datasets"))
    return {dataset_id: found[dataset_id] for dataset_id in in_order}


def download_dataset(
    dataset_id: str | None = None,
    force_download: bool = False,
    *,
    remote: str | None = None,
    root: PathLike | None = None,
    token: str | None = None,
    max_workers: int = MAX_WORKERS,
    dataset_name: str | None = None,
) -> None:
    """Download a dataset from a remote, with the metadata of its namespaces.

    The source datasets of a combined dataset are downloaded as well, as far as the remote has them and they are
    not here. A dataset appears when it is complete and every file has the checksum that the remote reports.
    A download that fails or is killed leaves what has arrived in a hidden directory, and the next one resumes
    with it.

    Args:
        dataset_id: ``(namespace/)*name-vN`` for the remote of ``MINARI_REMOTE``, or a full address such
            as ``hf://farama-minari/D4RL/door/human-v2``. In ``file:///shared/D4RL/door/human-v2`` those
            directories belong to the id that are namespaces, that is, hold a ``namespace_metadata.json``.
        force_download: bring it even if it is here, in place of that, and even if this release does not
            read its format version. Files that are here already as the remote has them are not moved again.
        remote: the address of the remote, where ``dataset_id`` is not a full address; by default that of
            ``MINARI_REMOTE``.
        root: of the local datasets; by default that of ``MINARI_DATASETS_PATH``.
        token: of a Hub, or the path of a service-account key, for what is not public; by default what
            the client of the remote finds by itself, in its environment or from its login.
        max_workers: number of concurrent requests.
        dataset_name: the older name of ``dataset_id``.

    Warns:
        UserWarning: the dataset exists locally, and nothing is done; or there is a newer version that this
            release can read; or the remote lacks a source dataset; or a forced download cannot be read.

    Raises:
        DatasetIdError: the id is malformed.
        RemoteDatasetNotFoundError: the remote has no such dataset, or not this version.
        DatasetVersionError: this release cannot read its format version.
        DatasetCorruptError: its files on the remote are incomplete or damaged.
        DatasetExistsError: its path exists and is not a dataset.
        RemoteError: the remote is unknown, or does not support the operation; :class:`RemoteUnreachableError`
            if it does not respond, :class:`RemoteAccessError` if access is denied.
    """
    if dataset_name is not None:
        warn("dataset_name is the older name of dataset_id; use that.", DeprecationWarning)
    wanted, remote_path = _located(dataset_name if dataset_id is None else dataset_id, remote)
    path = get_dataset_path(wanted, root=root)
    if dataset_exists(path) and not force_download:
        warn(
            f"The dataset {wanted} is at {path} already and is not downloaded; force_download=True replaces it.",
        )
        return
    if os.path.lexists(path) and not dataset_exists(path):
        raise DatasetExistsError(f"{path} is in the way and is not a dataset; move it away, then download {wanted}.")
    storage = get_cloud_storage(remote_path, token, max_workers=max_workers)
    metadata, advice = _requested(storage, wanted, force_download)
    parts, missing = _parts(metadata, storage.get_dataset_metadata)
    lost = [part for part in missing if not _is_here(part, root)]
    if lost:
        advice.append(f"{wanted} was combined from {', '.join(lost)}, which {storage.address} does not have.")
    for text in advice:
        warn(text)
    for part in parts:  # before the dataset itself, so that a repeated download includes the rest
        if not _is_here(part, root):
            install_dataset(storage, part, root)
    install_dataset(storage, wanted, root, existing="replace" if force_download else "keep")


def _is_here(dataset_id: str, root: PathLike | None) -> bool:
    return is_dataset_id(dataset_id) and dataset_exists(get_dataset_path(dataset_id, root=root))


def _located(address: str | None, remote: str | None) -> tuple[str, str]:
    """Return the id that is asked for, checked, and the address of the remote."""
    if isinstance(address, str) and "://" in address:
        if remote is not None:
            raise RemoteError(
                f"{without_credentials(address)} names its remote itself; give either that, or the id and a remote."
            )
        remote_path, dataset_id = split_address(address)
        return str(DatasetId.parse(dataset_id)), remote_path
    if isinstance(address, str) and "@" in address:  # an address that is malformed
        address = without_credentials(address)
    refuse_path(address)
    dataset_id = str(DatasetId.parse(address))  # type: ignore[arg-type]  # None is what it checks for
    return dataset_id, get_default_remote() if remote is None else remote


def refuse_path(dataset_id: object) -> None:
    """Raise if an id is a path where an id or an address is expected.

    Raises:
        DatasetIdError: it is a path; the message has the corresponding address.
    """
    if is_path(dataset_id):
        raise DatasetIdError(
            f"{shortened(str(dataset_id))} is a path, expected an id such as 'name-v0', or a full address; for a "
            f"dataset in a directory, write {Path(str(dataset_id)).expanduser().absolute().as_uri()}."
        )


def _requested(remote: CloudStorage, wanted: str, force: bool) -> tuple[Metadata, list[str]]:
    """Return the metadata of the dataset that is asked for, and warnings for its user."""
    stem = wanted.rpartition("-v")[0]
    listed = with_retries(lambda: remote.list_with_metadata(f"{stem}-v"))
    versions = _metadata_of(
        remote, {name: content for name, content in listed.items() if name.rpartition("-v")[0] == stem}
    )
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
        question = ""
        with suppress(MinariError, OSError):
            question = did_you_mean(wanted, remote.list_with_metadata())
        raise RemoteDatasetNotFoundError(
            f"{remote.address} has no version of a dataset {stem}; check the spelling.{question}"
        )
    if wanted not in versions:
        raise RemoteDatasetNotFoundError(f"{remote.address} does not have {wanted}, but other versions; {hint}.")
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
    """Return the source datasets of a dataset with theirs in turn, and those that are missing."""
    found: dict[str, Metadata] = {}
    missing: dict[str, None] = {}
    pending = [metadata]
    while pending:
        for part in map(str, pending.pop().get("combined_datasets") or ()):
            if part in found or part in missing:
                continue
            if len(found) + len(missing) == MOST_PARTS:
                raise DatasetCorruptError(
                    f"The dataset is said to be combined from more than {MOST_PARTS:,} others, each naming further "
                    "ones; see where it comes from."
                )
            try:
                found[part] = read(part)
            except (DatasetNotFoundError, DatasetIdError):
                missing[part] = None
            else:
                pending.append(found[part])
    return list(found), list(missing)


def upload_dataset(
    dataset_id: str,
    token: str | None = None,
    *,
    remote: str | None = None,
    root: PathLike | None = None,
    private: bool = False,
    force: bool = False,
    max_workers: int = MAX_WORKERS,
    verify: bool = True,
    validate: bool = True,
) -> None:
    """Upload a local dataset to a remote, with the metadata of its namespaces.

    The source datasets of a combined dataset are uploaded as well, as far as they are here and the remote lacks
    them. A dataset appears on the remote when it is complete. An upload that fails or is killed resumes when it
    is called again.

    Args:
        dataset_id: ``(namespace/)*name-vN``.
        token: the token of a Hub, or the path of a service-account key; by default what the client of
            the remote finds by itself, in its environment or from its login.
        remote: its address, such as ``file:///directory``; by default that of ``MINARI_REMOTE``.
        root: of the local datasets; by default that of ``MINARI_DATASETS_PATH``.
        private: whether it is for those only who are let in; a Hub can do that.
        force: whether to take the place of an upload of other data under this id that was never
            finished. A dataset that is complete is never overwritten.
        max_workers: number of concurrent requests.
        verify: whether to verify first that values are those that were written, by their checksums.
        validate: whether to compare what is sent with the profile ``"hub"`` of :func:`minari.validate` first; a
            dataset with an error by that standard is refused. Missing metadata is none.

    Warns:
        UserWarning: the remote already has the dataset, and nothing is done; or a source dataset exists
            neither locally nor on the remote.

    Raises:
        DatasetIdError: the id is malformed.
        DatasetNotFoundError: there is no such dataset here.
        DatasetCorruptError: its metadata is damaged, its values are not those that were written, or it has errors
            by the standard of shared datasets.
        DatasetBusyError: it is being changed, or an upload of other data was never finished there.
        RemoteError: the remote is unknown, or cannot do what it is asked; :class:`RemoteUnreachableError`
            where it does not answer, :class:`RemoteAccessError` where it does not let this user write.
    """

    def read(name: str) -> Metadata:
        path = get_dataset_path(str(DatasetId.parse(name)), root=root)
        if not dataset_exists(path):
            raise DatasetNotFoundError(
                f"There is no dataset {name} at {path} to upload.{did_you_mean_local(name, root)}"
            )
        return read_raw_metadata(path / "data")

    metadata = read(dataset_id)
    storage = get_cloud_storage(remote, token, max_workers=max_workers, private=private)
    parts, missing = _parts(metadata, read)
    there, known = _known(storage, [*parts, dataset_id], [*filter(is_dataset_id, missing)])
    if dataset_id in there:
        warn(f"{storage.address} has {dataset_id} already; nothing is uploaded.")
        return
    lost = set(missing) - there
    if lost:
        warn(
            f"{dataset_id} was combined from {', '.join(sorted(lost))}, which are neither here nor on "
            f"{storage.address}.",
        )
    wanted = [name for name in [*parts, dataset_id] if name not in there]
    for name in wanted if verify or validate else []:
        _refuse_damaged(name, root, checksums=verify, profile="hub" if validate else None)
    for name in wanted:
        _send_namespaces(storage, DatasetId.parse(name).namespace, known, root)
        send_snapshot(storage, name, root=root, force=force)


def _refuse_damaged(dataset_id: str, root: PathLike | None, *, checksums: bool, profile: str | None) -> None:
    """Make sure that a dataset can be read, and meets the standard of shared ones, before others get it.

    Without a profile, only episodes that cannot be read, or are not as they were written, count.
    """
    report = validate_dataset(dataset_id, checksums=checksums, profile=profile, root=root)
    errors = [finding for finding in report.findings if finding.level == "error"]
    if profile is None:
        errors = [finding for finding in errors if finding.episode is not None and finding.kind != "seed"]
    if not errors:
        return
    first, others = errors[0].message.strip().removesuffix("."), len(errors) - 1
    more = f", and {others} other error{'' if others == 1 else 's'}" if others else ""
    option = " --checksums" if checksums else ""
    shown = f"`minari validate {dataset_id}{option}{f' --profile {profile}' if profile else ''}`"
    way = "validate=False and verify=False upload" if profile and checksums else "validate=False uploads"
    if not profile:
        way = "verify=False uploads"
    raise DatasetCorruptError(f"{dataset_id} is not uploaded ({first}{more}); {shown} shows all, {way} it as it is.")


def _known(remote: CloudStorage, dataset_ids: list[str], others: list[str]) -> tuple[set[str], set[str]]:
    """Return which datasets the remote has, and which namespaces of the first ones; it is asked concurrently."""
    namespaces = {level for name in dataset_ids for level in namespace_hierarchy(DatasetId.parse(name).namespace)}
    questions: list[tuple[Callable[[str], bool], str]] = [
        *((remote.has_dataset, name) for name in [*dataset_ids, *others]),
        *((remote.has_namespace, name) for name in sorted(namespaces)),
    ]
    answers = parallel_map(lambda question: (question, question[0](question[1])), questions, remote.max_workers)
    known = [question for question, is_known in answers if is_known]
    return (
        {name for ask, name in known if ask == remote.has_dataset},
        {name for ask, name in known if ask == remote.has_namespace},
    )


def _send_namespaces(remote: CloudStorage, namespace: str | None, known: set[str], root: PathLike | None) -> None:
    """Upload the metadata of a namespace and of those around it that the remote does not know yet."""
    ensure_namespace_directories(get_datasets_root(root), namespace)
    for level in namespace_hierarchy(namespace):
        if level not in known:
            upload_namespace(remote, level, root=root)
            known.add(level)
