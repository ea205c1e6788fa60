"""``hf://owner[/namespace]``: dataset repositories of a user or organization on the Hugging Face Hub.

The first part of a dataset id is a repository of the owner, the rest is a directory in it. A dataset is
uploaded by one commit, so that it appears atomically.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache, partial
from typing import Any, ClassVar, NamedTuple

from huggingface_hub import CommitOperationAdd, CommitOperationDelete

from minari._base.addresses import without_credentials
from minari._base.files import NAMESPACE_METADATA_FILENAME
from minari._base.json_text import shortened
from minari._base.parallel import parallel_map
from minari._model.dataset_id import is_part
from minari._model.manifest import MANIFEST_NAME
from minari._model.metadata_json import parse_metadata, with_id_of_place
from minari.errors import DatasetCorruptError, RemoteAccessError, RemoteError
from minari.storage.remotes.base import CloudStorage
from minari.storage.remotes.hub.client import HubClient, RefusedError
from minari.storage.remotes.hub.publisher import HubPublisher, Operations, card_of
from minari.storage.remotes.hub.repository import HubRepository, RepositoryState, search_repositories
from minari.storage.remotes.hub.repository_index import datasets_in, namespaces_in, without_repository_index
from minari.storage.remotes.hub.upload import FileAddition, UploadProgress
from minari.storage.transfer.index import INDEX_FILE_NAME
from minari.storage.transfer.limits import with_retries
from minari.storage.transfer.meter import Advance
from minari.storage.transfer.remote_files import (
    METADATA_NAME,
    RemoteDatasetNotFoundError,
    RemoteFile,
    RemoteFileNotFoundError,
    already_there,
)
from minari.storage.transfer.upload_snapshot import UploadSnapshot, old_layout


__all__ = ["HuggingFaceStorage"]

_OWNER = re.compile(r"[\w.-]+", re.ASCII)
_TAG = "minari"  # in every card of this library

_log = logging.getLogger(__name__)


class _Place(NamedTuple):
    """Location on the remote: a repository of the owner, and a path in it."""

    repository: str
    path: str


class HuggingFaceStorage(CloudStorage):
    """User or organization on the Hub, as a remote.

    Args:
        name: the owner, optionally with the namespace to which the remote is limited.
        token: token of a user; by default that of the login or environment of the Hub (``HF_TOKEN``).
        **options: as for :class:`CloudStorage`.

    Raises:
        RemoteError: the name is not that of an owner.
        RemoteAccessError: the token has invalid characters.
    """

    SCHEME: ClassVar[str] = "hf"
    PRIVATE: ClassVar[bool] = True
    TOKEN_IS_TEXT: ClassVar[bool] = True

    def __init__(self, name: str, token: str | None = None, **options: Any) -> None:
        super().__init__(name, token, **options)
        self._owner, slash, namespace = self.name.partition("/")
        self._prefix = namespace + slash  # of full names, which are relative to the owner
        if _OWNER.fullmatch(self._owner) is None or (slash and not all(map(is_part, namespace.split("/")))):
            raise RemoteError(
                f"Expected hf://user-or-organization or hf://user-or-organization/namespace, got "
                f"{shortened(without_credentials(self.address))}."
            )
        self._client = HubClient(self.token, self.LIMITS)
        self._addresses: dict[str, Future[dict[str, str]]] = {}  # file name -> addresses of large contents
        self._seen: dict[str, RepositoryState | None] = {}  # states of repositories, for the next writer

    def _place(self, name: str) -> _Place:
        repository, _, path = f"{self._prefix}{name}".partition("/")
        return _Place(repository, path)

    def _relative(self, full_names: Iterable[str], prefix: str = "") -> list[str]:
        """Return the full names that begin with a prefix, relative to this remote."""
        whole = f"{self._prefix}{prefix}"
        return [name.removeprefix(self._prefix) for name in full_names if name.startswith(whole)]

    def _repository(self, name: str) -> HubRepository:
        return HubRepository(self._client, f"{self._owner}/{name}")

    def _publisher(self, name: str) -> HubPublisher:
        return HubPublisher(self._repository(name), self.private, self.max_workers, self._seen)

    def has_file(self, name: str) -> bool:
        """Return whether there is a file, and keep the state of its repository for the next writer."""
        place = self._place(name)
        repository = self._repository(place.repository)
        try:
            state = self._seen[repository.name] = with_retries(repository.state)
        except RemoteFileNotFoundError:
            self._seen[repository.name] = None
            return False
        return place.path in state.files

    def list_with_metadata(self, prefix: str | None = None) -> dict[str, bytes | None]:
        """List the complete datasets, with their metadata if the index of their repository has it."""
        wanted, slash, _ = f"{self._prefix}{prefix or ''}".partition("/")
        if slash:  # the files and the index of one repository are read concurrently
            with ThreadPoolExecutor(min(2, self.max_workers)) as pool:
                files = pool.submit(self._repository(wanted).files)
                index = pool.submit(self._repository(wanted).read_index)
            return self._with_entries(self._relative(datasets_in(wanted, files.result()), prefix or ""), index.result())
        listed = {
            repository: (names, contents)
            for repository, contents in self._contents().items()
            if (names := self._relative(datasets_in(repository, contents), prefix or ""))
        }

        def with_index(repository: str) -> dict[str, bytes | None]:
            names, contents = listed[repository]
            return self._with_entries(names, self._repository(repository).read_index(contents))

        listed_all: dict[str, bytes | None] = {}
        for found in parallel_map(with_index, listed, self.max_workers):
            listed_all |= found
        return listed_all

    def _with_entries(self, names: Iterable[str], entries: Mapping[str, bytes]) -> dict[str, bytes | None]:
        return {name: entries.get(self._place(name).path) for name in names}

    def _contents(self) -> dict[str, frozenset[str]]:
        """Return the names of the files in each repository of the owner that can hold datasets of this remote."""
        wanted, slash, _ = self._prefix.partition("/")
        if slash:
            return {wanted: self._repository(wanted).files()}
        action = f"listing the datasets of {self._owner}"
        found = search_repositories(self._client, {"author": self._owner}, action, self.max_workers)
        return {name.partition("/")[2]: files for name, files in found.items()}

    def list_namespaces(self) -> list[str]:
        """Return the namespaces that have metadata, sorted."""
        contents = self._contents()
        full_names = (name for repository, files in contents.items() for name in namespaces_in(repository, files))
        return sorted(self._relative(full_names))

    def list_files(self, directory: str) -> list[RemoteFile]:
        """List all files below a directory, without the metadata of the namespace and the index of a repository."""
        repository, path = self._place(directory)
        beside = () if path else (NAMESPACE_METADATA_FILENAME, INDEX_FILE_NAME)
        prefix = f"{path}/" if path else ""
        try:
            files = [file for file in self._repository(repository).tree(path) if file.name not in beside]
        except RemoteFileNotFoundError:
            return []
        listed = [file._replace(name=f"{directory}/{file.name.removeprefix(prefix)}") for file in files]
        self._find(self._repository(repository), listed)
        return listed

    def _find(self, repository: HubRepository, files: Iterable[RemoteFile]) -> None:
        """Request the addresses of all large contents together, since each one would take two requests.

        The response arrives in the background.
        """
        large = [file for file in files if file.checksum and file.checksum.algorithm == "sha256"]
        if not large:
            return
        wanted = [(file.checksum.value, file.size) for file in large if file.checksum]

        def found() -> dict[str, str]:
            try:
                addresses = repository.find_contents(wanted, max(self.max_workers - 1, 1))
            except RemoteError as error:
                _log.debug("The address of each file is requested individually: %s", error)
                return {}
            return {file.name: addresses[oid] for file, (oid, _) in zip(large, wanted, strict=True) if oid in addresses}

        pool = ThreadPoolExecutor(1)
        answer = pool.submit(found)
        pool.shutdown(wait=self.max_workers == 1)
        self._addresses.update({file.name: answer for file in large})

    def read_file(self, name: str) -> bytes:
        """Read a small file; the metadata of a namespace without the index of the repository."""
        repository, path = self._place(name)
        content = self._repository(repository).read(path)
        return without_repository_index(content, repository) if path == NAMESPACE_METADATA_FILENAME else content

    def read_range(self, name: str, start: int, stop: int) -> bytes:
        """Read some bytes of a file."""
        repository, path = self._place(name)
        asked = self._addresses.get(name)
        address = None if asked is None else asked.result().get(name)
        if address is not None:
            try:
                return self._repository(repository).read_signed(address, (start, stop), f"reading {name}")
            except (RefusedError, RemoteAccessError, RemoteFileNotFoundError):  # it has expired
                self._addresses.pop(name, None)
        return self._repository(repository).read(path, (start, stop))

    def write_file(self, name: str, content: bytes) -> None:
        """Write a small file, replacing an existing one."""
        repository, path = self._place(name)
        self._publisher(repository).write(path, content)

    def send_snapshot(self, snapshot: UploadSnapshot, advance: Advance, *, force: bool) -> None:
        """Send the contents of a dataset, then commit them as its files.

        Contents without a commit are not visible, so ``force`` has nothing to replace.
        """
        if snapshot.metadata is None:
            raise old_layout(snapshot.dataset_id)
        repository, path = self._place(snapshot.dataset_id)
        publisher, directory = self._publisher(repository), f"{path}/" if path else ""
        card = cache(partial(card_of, snapshot, f"{self.address}/{snapshot.dataset_id}"))
        small = {directory + MANIFEST_NAME: snapshot.manifest, directory + METADATA_NAME: snapshot.metadata}
        sizes = {directory + file.name: file.size for file in snapshot.files}
        sizes |= {path: len(content) for path, content in small.items()}
        files, progress = frozenset(sizes), UploadProgress(advance, sizes)

        def wanted(state: RepositoryState) -> Operations:
            if directory + METADATA_NAME in state.files:
                raise already_there(self.address, snapshot.dataset_id)
            left = sorted(name for name in state.files - files if name.startswith(f"{directory}data/"))
            return [
                *(CommitOperationDelete(name, is_folder=False) for name in left),
                *(
                    FileAddition(directory + file.name, str(file.path), file=file, progress=progress)
                    for file in snapshot.files
                ),
                *(CommitOperationAdd(*file) for file in small.items()),
                *publisher.beside(state, snapshot, path, files, card),
            ]

        publisher.change(
            f"Add the dataset {snapshot.dataset_id}",
            wanted,
            progress=progress,
            check=snapshot.check_unchanged,
            is_done=lambda: publisher.read(directory + MANIFEST_NAME) == snapshot.manifest,
        )

    def missing_dataset(self, dataset_id: str) -> RemoteDatasetNotFoundError:
        """Return the error for a dataset that does not exist, or is not public."""
        if self._client.has_token:
            return super().missing_dataset(dataset_id)
        return RemoteDatasetNotFoundError(
            f"There is no public dataset {dataset_id} in {self.address}; check the spelling, and if it is private, "
            "give a token, or log in (`hf auth login`, or HF_TOKEN)."
        )

    def list_community(self, prefix: str | None = None) -> dict[str, dict[str, Any]]:
        """Return the datasets of all owners on the Hub whose cards have the tag of this library.

        Args:
            prefix: only ids that begin with this text, without the owner.

        Returns:
            Address, such as ``hf://owner/door/human-v2`` -> metadata, sorted.

        Raises:
            RemoteError: the Hub does not respond, or rejects the request.
        """
        client, begins = self._client, prefix or ""
        search = partial(search_repositories, client, {"filter": _TAG}, "listing datasets", self.max_workers)
        found = with_retries(search)

        def described(name: str) -> dict[str, dict[str, Any]]:
            owner, _, repository = name.partition("/")
            ids = {dataset_id for dataset_id in datasets_in(repository, found[name]) if dataset_id.startswith(begins)}
            if not ids:
                return {}
            try:
                entries = HubRepository(client, name).metadata(found[name], 1)
            except (RemoteAccessError, RemoteFileNotFoundError) as error:  # gated, or deleted in the meantime
                _log.warning("The datasets of %s are left out: %s", name, error)
                return {}
            by_id = {"/".join(filter(None, (repository, path))): content for path, content in entries.items()}
            return {f"hf://{owner}/{key}": _parsed(content, key) for key, content in by_id.items() if key in ids}

        result: dict[str, dict[str, Any]] = {}
        for part in parallel_map(described, found, self.max_workers):
            result |= {address: metadata for address, metadata in part.items() if metadata}
        return dict(sorted(result.items()))


def _parsed(content: bytes, dataset_id: str) -> dict[str, Any]:
    """Return metadata, empty if it is damaged."""
    try:
        return with_id_of_place(parse_metadata(content, f"of {dataset_id}"), dataset_id)
    except DatasetCorruptError as error:
        _log.warning("The dataset %s is left out: %s", dataset_id, error)
        return {}
