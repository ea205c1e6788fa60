"""What lies in the repositories of the Hub: their files, as far as one request tells them, and their indexes."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from minari._base.parallel import parallel_map
from minari._model.dataset_id import is_part
from minari.errors import DatasetCorruptError, RemoteAccessError
from minari.storage.remotes.hub.client import HubClient, understood
from minari.storage.remotes.hub.registers import datasets_in
from minari.storage.remotes.hub.repository import HubRepository
from minari.storage.transfer.index import INDEX_FILE_NAME, parse_index
from minari.storage.transfer.limits import with_retries
from minari.storage.transfer.remote_files import METADATA_NAME, RemoteFileNotFoundError


__all__ = ["files_of", "metadata_of", "read_index", "read_metadata", "search_repositories"]

_LIST = "/api/datasets"

_log = logging.getLogger(__name__)


def files_of(client: HubClient, name: str) -> frozenset[str]:
    """The names of the files in a repository; none where there is no such repository, or it is not to be seen."""
    try:
        return HubRepository(client, name).state().files
    except RemoteFileNotFoundError:
        return frozenset()


def search_repositories(
    client: HubClient, query: Mapping[str, str], action: str, max_workers: int
) -> dict[str, frozenset[str]]:
    """The names of the files in each repository that the Hub finds.

    Args:
        client: by which the Hub is asked.
        query: what to look for, as the Hub's list takes it.
        action: for messages.
        max_workers: how many requests may run at the same time.

    Returns:
        Owner and name of the repository, joined by ``/`` -> names. Repositories whose names can be no part
        of an id are left out.
    """
    told = client.listing(_LIST, {**query, "expand": "siblings"}, action)
    with understood(action):
        entries = {str(entry["id"]): _siblings(entry) for entry in told if is_part(entry["id"].partition("/")[2])}
    unreported = [name for name, files in entries.items() if not files]

    def looked_through(name: str) -> tuple[str, frozenset[str]]:
        return name, with_retries(partial(files_of, client, name))

    return entries | dict(parallel_map(looked_through, unreported, max_workers))


def _siblings(entry: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(str(sibling["rfilename"]) for sibling in entry.get("siblings") or ())


def read_index(
    repository: HubRepository, files: Iterable[str] | None = None, revision: str = "main"
) -> dict[str, bytes]:
    """The entries of the index of a repository; none where it has no index, or one that cannot be read.

    Args:
        repository: that may have one.
        files: the names of all files in it, where they are known.
        revision: a branch or a commit.
    """
    if files is not None and INDEX_FILE_NAME not in files:
        return {}
    try:
        return parse_index(with_retries(partial(repository.read, INDEX_FILE_NAME, revision=revision)))
    except (RemoteFileNotFoundError, RemoteAccessError):  # gone meanwhile; or the repository is gated
        return {}
    except DatasetCorruptError as error:
        _log.warning("%s It is rebuilt when a dataset is uploaded to %s.", error, repository.name)
        return {}


def read_metadata(repository: HubRepository, path: str, revision: str = "main") -> bytes:
    """The content of the ``metadata.json`` of a dataset.

    Args:
        repository: that the dataset lies in.
        path: of the dataset in there; empty where it is the repository itself.
        revision: a branch or a commit.

    Raises:
        RemoteFileNotFoundError: there is none.
    """
    return with_retries(partial(repository.read, "/".join(filter(None, (path, METADATA_NAME))), revision=revision))


def metadata_of(
    repository: HubRepository, files: Iterable[str], max_workers: int, revision: str = "main"
) -> dict[str, bytes]:
    """The metadata of all datasets in a repository; those that the index lacks are fetched.

    Args:
        repository: that they lie in.
        files: the names of all files in it.
        max_workers: how many requests may run at the same time.
        revision: a branch or a commit.

    Returns:
        Path of the dataset in the repository -> the content of its ``metadata.json``.
    """
    known = frozenset(files)
    paths = {dataset_id.partition("/")[2] for dataset_id in datasets_in(repository.name.partition("/")[2], known)}
    index = read_index(repository, known, revision) if paths else {}
    entries = {path: content for path, content in index.items() if path in paths}

    def fetched(path: str) -> tuple[str, bytes]:
        return path, read_metadata(repository, path, revision)

    return entries | dict(parallel_map(fetched, sorted(paths - set(entries)), max_workers))
