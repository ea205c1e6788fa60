"""``hf://owner[/namespace]``: the dataset repositories of a user or an organization on the Hugging Face Hub.

The first part of a dataset's id is a repository of the owner, the rest is its folder in there. A dataset is
uploaded by one commit, so that it is there as a whole or not at all.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache, partial
from typing import Any, ClassVar, NamedTuple

from minari._base.addresses import without_credentials
from minari._base.files import NAMESPACE_METADATA_FILENAME
from minari._base.json_text import shortened
from minari._model.dataset_id import is_part
from minari._model.metadata_json import parse_metadata, with_id_of_place
from minari.errors import DatasetCorruptError, RemoteAccessError, RemoteError
from minari.storage.remotes.cloud_storage import MAX_WORKERS, CloudStorage
from minari.storage.remotes.hub.client import HubClient, RefusedError
from minari.storage.remotes.hub.contents import Content
from minari.storage.remotes.hub.lfs import find_contents
from minari.storage.remotes.hub.listing import files_of, metadata_of, read_index, search_repositories
from minari.storage.remotes.hub.publishing import HubPublisher, Wanted, card_of
from minari.storage.remotes.hub.registers import datasets_in, namespaces_in, without_registers
from minari.storage.remotes.hub.repository import Change, HubRepository, RepositoryState
from minari.storage.transfer.index import INDEX_FILE_NAME
from minari.storage.transfer.manifest import MANIFEST_NAME
from minari.storage.transfer.outgoing import OutgoingDataset, old_layout
from minari.storage.transfer.remote_files import (
    METADATA_NAME,
    RemoteDatasetNotFoundError,
    RemoteFile,
    RemoteFileNotFoundError,
)
from minari.storage.transfer.retries import retrying
from minari.storage.transfer.workers import Advance, each_at_once


__all__ = ["HuggingFaceStorage", "list_community"]

_OWNER = re.compile(r"[\w.-]+", re.ASCII)
_TAG = "minari"  # in every card that is made here

_log = logging.getLogger(__name__)


class _Place(NamedTuple):
    """Where something lies: in which repository of the owner, and where in there."""

    repository: str
    path: str


class HuggingFaceStorage(CloudStorage):
    """A user or an organization on the Hub, as a remote.

    Args:
        name: the owner, and the namespace that all datasets lie in where not all of them are meant.
        token: of a user; by default that of the Hub's own login or environment (``HF_TOKEN``).
        **options: as for :class:`CloudStorage`.

    Raises:
        RemoteError: the name is no owner.
        RemoteAccessError: what is given as the token can be none.
    """

    SCHEME: ClassVar[str] = "hf"
    PRIVATE: ClassVar[bool] = True

    def _begin(self) -> None:
        self._owner, slash, namespace = self.name.partition("/")
        self._prefix = namespace + slash  # of all full names, which are those that count from the owner
        if _OWNER.fullmatch(self._owner) is None or (slash and not all(map(is_part, namespace.split("/")))):
            raise RemoteError(
                f"Expected hf://user-or-organization or hf://user-or-organization/namespace, got "
                f"{shortened(without_credentials(self.address))}."
            )
        self._client = HubClient(self.token, self.LIMITS)
        self._addresses: dict[str, Future[dict[str, str]]] = {}  # of large contents, by the names of their files
        self._seen: dict[str, RepositoryState | None] = {}  # repositories, for the writer that comes next

    def _place(self, name: str) -> _Place:
        repository, _, path = f"{self._prefix}{name}".partition("/")
        return _Place(repository, path)

    def _relative(self, full_names: Iterable[str], prefix: str = "") -> list[str]:
        """Full names as they are called on this remote, as far as they begin with a prefix."""
        whole = f"{self._prefix}{prefix}"
        return [name.removeprefix(self._prefix) for name in full_names if name.startswith(whole)]

    def _repository(self, name: str) -> HubRepository:
        return HubRepository(self._client, f"{self._owner}/{name}")

    def _publisher(self, name: str) -> HubPublisher:
        return HubPublisher(self._repository(name), self.private, self.max_workers, self._seen)

    def _has_file(self, name: str) -> bool:
        """Whether there is a file, found out in a way that spares a writer who comes next a look."""
        place = self._place(name)
        repository = self._repository(place.repository)
        try:
            state = self._seen[repository.name] = retrying(repository.state)
        except RemoteFileNotFoundError:
            self._seen[repository.name] = None
            return False
        return place.path in state.files

    def survey(self, prefix: str | None = None) -> dict[str, bytes | None]:
        """The datasets that are complete, with their metadata as far as the index of each repository has them."""
        wanted, slash, _ = f"{self._prefix}{prefix or ''}".partition("/")
        if slash:
            return self._survey_one(wanted, prefix or "")
        listed = {
            repository: (names, files)
            for repository, files in self._contents().items()
            if (names := self._relative(datasets_in(repository, files), prefix or ""))
        }

        def with_index(repository: str) -> dict[str, bytes | None]:
            names, files = listed[repository]
            return self._with_entries(names, read_index(self._repository(repository), files))

        surveyed: dict[str, bytes | None] = {}
        for found in each_at_once(with_index, listed, self.max_workers):
            surveyed |= found
        return surveyed

    def _survey_one(self, repository: str, prefix: str) -> dict[str, bytes | None]:
        """The datasets in one repository; its index is read while it is not known whether there is one."""
        with ThreadPoolExecutor(min(2, self.max_workers)) as pool:
            files = pool.submit(files_of, self._client, f"{self._owner}/{repository}")
            index = pool.submit(read_index, self._repository(repository))
        return self._with_entries(self._relative(datasets_in(repository, files.result()), prefix), index.result())

    def _with_entries(self, names: Iterable[str], entries: Mapping[str, bytes]) -> dict[str, bytes | None]:
        return {name: entries.get(self._place(name).path) for name in names}

    def _contents(self) -> dict[str, frozenset[str]]:
        """The names of the files in each repository of the owner, those only that can hold what is meant."""
        wanted, slash, _ = self._prefix.partition("/")
        if slash:
            return {wanted: files_of(self._client, f"{self._owner}/{wanted}")}
        action = f"listing the datasets of {self._owner}"
        found = search_repositories(self._client, {"author": self._owner}, action, self.max_workers)
        return {name.partition("/")[2]: files for name, files in found.items()}

    def list_namespaces(self) -> list[str]:
        """The namespaces that have metadata, sorted."""
        contents = self._contents()
        full_names = (name for repository, files in contents.items() for name in namespaces_in(repository, files))
        return sorted(self._relative(full_names))

    def list_files(self, folder: str) -> list[RemoteFile]:
        """All files below a folder; what a repository keeps beside its datasets is left out."""
        repository, path = self._place(folder)
        beside = () if path else (NAMESPACE_METADATA_FILENAME, INDEX_FILE_NAME)
        prefix = f"{path}/" if path else ""
        try:
            files = [file for file in self._repository(repository).tree(path) if file.name not in beside]
        except RemoteFileNotFoundError:
            return []
        listed = [file._replace(name=f"{folder}/{file.name.removeprefix(prefix)}") for file in files]
        self._find(self._repository(repository), listed)
        return listed

    def _find(self, repository: HubRepository, files: Iterable[RemoteFile]) -> None:
        """Ask for all large contents at once where they lie, as it takes two requests to be led to each.

        The answer comes while the caller does something else.
        """
        large = [file for file in files if file.checksum and file.checksum.algorithm == "sha256"]
        if not large:
            return
        wanted = [(file.checksum.value, file.size) for file in large if file.checksum]

        def found() -> dict[str, str]:
            try:
                addresses = find_contents(repository, wanted, max(self.max_workers - 1, 1))
            except RemoteError as error:
                _log.debug("Each file is asked for by itself: %s", error)
                return {}
            return {file.name: addresses[oid] for file, (oid, _) in zip(large, wanted, strict=True) if oid in addresses}

        pool = ThreadPoolExecutor(1)
        answer = pool.submit(found)
        pool.shutdown(wait=self.max_workers == 1)
        self._addresses.update({file.name: answer for file in large})

    def read_file(self, name: str) -> bytes:
        """A small file; the metadata of a namespace as the user wrote them, without the Hub's registers."""
        repository, path = self._place(name)
        content = self._repository(repository).read(path)
        return without_registers(content, repository) if path == NAMESPACE_METADATA_FILENAME else content

    def read_range(self, name: str, start: int, stop: int) -> bytes:
        """A part of a file."""
        repository, path = self._place(name)
        asked = self._addresses.get(name)
        address = None if asked is None else asked.result().get(name)
        if address is not None:
            action = f"reading {name}"
            try:
                return self._repository(repository).read_at(address, (start, stop), action, signed=True)
            except (RefusedError, RemoteAccessError, RemoteFileNotFoundError):  # it is good for a while only
                self._addresses.pop(name, None)
        return self._repository(repository).read(path, (start, stop))

    def write_file(self, name: str, content: bytes) -> None:
        """Write a small file, in the place of the one that may be there."""
        repository, path = self._place(name)
        self._publisher(repository).write(path, content)

    def send_dataset(self, outgoing: OutgoingDataset, advance: Advance, *, force: bool) -> None:
        """Send the contents of a dataset, then make them its files, by one commit.

        Nobody sees what was sent and not committed, so that there is nothing for ``force`` to replace.
        """
        if outgoing.metadata is None:
            raise old_layout(outgoing.dataset_id)
        repository, path = self._place(outgoing.dataset_id)
        publisher, folder = self._publisher(repository), f"{path}/" if path else ""
        card = cache(partial(card_of, outgoing, f"{self.address}/{outgoing.dataset_id}"))
        contents = [
            *(Content.of_file(folder + file.name, file) for file in outgoing.files),
            Content.of_bytes(folder + MANIFEST_NAME, outgoing.manifest, counts=True),
            Content.of_bytes(folder + METADATA_NAME, outgoing.metadata, counts=True),
        ]
        files = frozenset(content.path for content in contents)

        def wanted(state: RepositoryState) -> Wanted:
            if folder + METADATA_NAME in state.files:
                raise self.already_has(outgoing.dataset_id)
            left = [Change(name) for name in sorted(state.files - files) if name.startswith(f"{folder}data/")]
            return Wanted([*contents, *publisher.beside(state, outgoing, path, files, card)], left)

        publisher.change(
            f"Add the dataset {outgoing.dataset_id}",
            wanted,
            advance=advance,
            check=outgoing.check_unchanged,
            is_done=lambda: publisher.read(folder + MANIFEST_NAME) == outgoing.manifest,
        )

    def _no_dataset(self, dataset_id: str) -> RemoteDatasetNotFoundError:
        if self._client.has_token:
            return super()._no_dataset(dataset_id)
        return RemoteDatasetNotFoundError(
            f"There is no dataset {dataset_id} in {self.address} that everybody may see; check the spelling, and if it "
            "is private, give a token, or log in (`hf auth login`, or HF_TOKEN)."
        )


def list_community(
    prefix: str | None = None, *, token: str | None = None, max_workers: int = MAX_WORKERS
) -> dict[str, dict[str, Any]]:
    """The datasets of all authors on the Hub whose cards say that they are datasets of this library.

    Args:
        prefix: of the ids, without the owner.
        token: by default that of the Hub's own login or environment.
        max_workers: how many requests may run at the same time.

    Returns:
        Address, such as ``hf://owner/door/human-v2`` -> metadata, sorted.

    Raises:
        RemoteError: the Hub cannot do it.
    """
    client, begins = HubClient(token), prefix or ""
    search = partial(search_repositories, client, {"filter": _TAG}, "listing datasets", max_workers)
    found = retrying(search)

    def described(name: str) -> dict[str, dict[str, Any]]:
        owner, _, repository = name.partition("/")
        wanted = {dataset_id for dataset_id in datasets_in(repository, found[name]) if dataset_id.startswith(begins)}
        if not wanted:
            return {}
        try:
            entries = metadata_of(HubRepository(client, name), found[name], 1)
        except (RemoteAccessError, RemoteFileNotFoundError) as error:  # gated, or gone meanwhile
            _log.warning("The datasets of %s are left out: %s", name, error)
            return {}
        ids = {"/".join(filter(None, (repository, path))): content for path, content in entries.items()}
        return {f"hf://{owner}/{key}": _parsed(content, key) for key, content in ids.items() if key in wanted}

    result: dict[str, dict[str, Any]] = {}
    for part in each_at_once(described, found, max_workers):
        result |= {address: metadata for address, metadata in part.items() if metadata}
    return dict(sorted(result.items()))


def _parsed(content: bytes, dataset_id: str) -> dict[str, Any]:
    """Metadata, empty where they are damaged."""
    try:
        return with_id_of_place(parse_metadata(content, f"of {dataset_id}"), dataset_id)
    except DatasetCorruptError as error:
        _log.warning("The dataset %s is left out: %s", dataset_id, error)
        return {}
