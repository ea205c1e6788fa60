"""Commits to a repository of the Hub, recreated for its new state after a concurrent commit."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

from minari._base.files import NAMESPACE_METADATA_FILENAME
from minari._base.lazy import LazyModule
from minari.errors import (
    DatasetBusyError,
    DatasetExistsError,
    MinariError,
    RemoteAccessError,
    RemoteError,
    RemoteUnreachableError,
)
from minari.storage.remotes.hub.client import RefusedError
from minari.storage.remotes.hub.dataset_card import dataset_card
from minari.storage.remotes.hub.repository import HubRepository, RepositoryState
from minari.storage.remotes.hub.repository_index import (
    CARD_NAME,
    is_own_card,
    repository_card_of,
    with_repository_index,
)
from minari.storage.remotes.hub.upload import UploadProgress, send_contents
from minari.storage.transfer.index import INDEX_FILE_NAME, dump_index
from minari.storage.transfer.limits import with_retries
from minari.storage.transfer.meter import unreported
from minari.storage.transfer.remote_files import RemoteFileNotFoundError
from minari.storage.transfer.upload_snapshot import UploadSnapshot


if TYPE_CHECKING:
    from minari.dataset import minari_dataset
else:
    minari_dataset = LazyModule("minari.dataset.minari_dataset")  # listing and downloading do not need Gymnasium

__all__ = ["HubPublisher", "Operations", "card_of"]

#: Changes of one commit, which cannot be reused, since the client stores state in them.
Operations = Sequence[CommitOperationAdd | CommitOperationDelete]

_log = logging.getLogger(__name__)

_CONFLICTS = 60  # concurrent commits before an attempt is abandoned
_FAILURES = 3  # lost responses to a commit
_PAUSE = 0.5  # seconds, at most, before the next attempt
_UNSEEN = RepositoryState("", False, frozenset())


class _OutdatedError(RemoteError):
    """The repository has changed since it was read."""

    def __init__(self, repository: str) -> None:
        super().__init__(f"The repository {repository} was changed by another program.")


class _CommittingApi(HfApi):
    """Client of ``huggingface_hub``, which requests the state of the repository if a commit has no changes."""

    def repo_info(self, repo_id: str, **_: Any) -> Any:
        """Raise the error of an outdated commit, since another program has made all of its changes."""
        raise _OutdatedError(repo_id)


@dataclass(frozen=True, slots=True)
class HubPublisher:
    """Writer for one repository.

    Attributes:
        repository: the repository, created if it does not exist.
        private: True if it must be private.
        max_workers: number of concurrent requests.
        seen: name -> recent state of a repository, None for a missing one. Each is used once, and may be
            outdated, since a commit names its parent.
    """

    repository: HubRepository
    private: bool
    max_workers: int
    seen: dict[str, RepositoryState | None] = field(default_factory=dict)

    def _prepared(self) -> tuple[RepositoryState, bool]:
        """Return the state of the repository, created if it does not exist, and whether it was already known.

        Raises:
            RemoteAccessError: the token is missing or lacks permission.
            RemoteError: the repository is public but must be private.
        """
        name, client = self.repository.name, self.repository.client
        if not client.has_token:
            raise RemoteAccessError(
                f"Writing to the repository {name} takes a token; give one with write permission, or log in "
                "(`hf auth login`, or HF_TOKEN)."
            )
        state = self.seen.pop(name, _UNSEEN)
        was_seen = state is not None and state is not _UNSEEN
        if state is _UNSEEN:
            try:
                state = with_retries(self.repository.state)
            except RemoteFileNotFoundError:
                state = None
        if state is None:
            private = self.private or None  # None for the default of the organization
            with_retries(
                lambda: client.call(
                    lambda api: api.create_repo(name, private=private, repo_type="dataset", exist_ok=True),
                    f"making the repository {name}",
                )
            )
            state = with_retries(self.repository.state)
        if self.private and not state.private:
            raise RemoteError(
                f"The repository {name} is there already and public, so datasets in it cannot be private; "
                "make it private on its page, or choose another namespace."
            )
        return state, was_seen

    def change(
        self,
        summary: str,
        wanted: Callable[[RepositoryState], Operations],
        *,
        progress: UploadProgress | None = None,
        check: Callable[[], None] = lambda: None,
        is_done: Callable[[], bool] = lambda: False,
    ) -> None:
        """Make a commit, unless there is nothing to change.

        Args:
            summary: message of the commit.
            wanted: returns the changes to a state of the repository.
            progress: progress of the upload.
            check: called after all contents were sent.
            is_done: returns whether a commit was made whose response was lost.

        Raises:
            DatasetBusyError: other programs keep changing the repository.
        """
        progress = progress or UploadProgress(unreported, {})
        failures = 0
        for _ in range(_CONFLICTS):
            state, was_seen = self._prepared()
            if failures and is_done():
                return
            try:
                operations = wanted(state)
                additions = [each for each in operations if isinstance(each, CommitOperationAdd)]
                if additions:
                    send_contents(self.repository.client, self.repository.name, additions, progress, self.max_workers)
            except (DatasetExistsError, RemoteFileNotFoundError):
                if was_seen:  # the state may be outdated
                    continue
                raise
            if not operations:
                if was_seen:
                    continue
                return
            check()
            try:
                self._commit(state, summary, operations)
            except _OutdatedError:
                time.sleep(0 if was_seen else random.uniform(0, _PAUSE))
            except RemoteUnreachableError as error:
                failures += 1
                if failures == _FAILURES:
                    raise
                time.sleep(error.retry_after or _PAUSE)
            else:
                return
        raise DatasetBusyError(f"Other programs keep changing the repository {self.repository.name}; try again later.")

    def _commit(self, state: RepositoryState, summary: str, operations: Operations) -> None:
        name = self.repository.name
        try:
            commit = self.repository.client.call(
                lambda api: _CommittingApi(api.endpoint, api.token, api.library_name).create_commit(
                    name, operations, commit_message=summary, repo_type="dataset", parent_commit=state.commit
                ),
                f"writing to the repository {name}",
                size=sum(each.upload_info.size for each in operations if isinstance(each, CommitOperationAdd)),
            )
        except RefusedError as error:
            if error.status in (409, 412):
                raise _OutdatedError(name) from None
            raise
        gone = {each.path_in_repo for each in operations if isinstance(each, CommitOperationDelete)}
        files = (state.files - gone) | {each.path_in_repo for each in operations if each.path_in_repo not in gone}
        self.seen[name] = RepositoryState(commit.oid, state.private, files)

    def read(self, path: str, state: RepositoryState | None = None) -> bytes | None:
        """Return a file in a state of the repository, by default the current one; None if it does not exist."""
        if state is not None and path not in state.files:
            return None
        try:
            return with_retries(partial(self.repository.read, path, revision=state.commit if state else "main"))
        except RemoteFileNotFoundError:
            return None

    def write(self, path: str, content: bytes) -> None:
        """Write a small file, with the index of the repository if it is the metadata of a namespace."""

        def wanted(state: RepositoryState) -> Operations:
            files = {path: content}
            if path.rpartition("/")[2] == NAMESPACE_METADATA_FILENAME:
                own = files.get(NAMESPACE_METADATA_FILENAME) or self.read(NAMESPACE_METADATA_FILENAME, state) or b"{}"
                files |= self._indexed(state.files, path, own, files)
            return [CommitOperationAdd(*file) for file in files.items() if self.read(file[0], state) != file[1]]

        self.change(f"Update {path}", wanted)

    def beside(
        self,
        state: RepositoryState,
        snapshot: UploadSnapshot,
        path: str,
        files: frozenset[str],
        card: Callable[[], bytes],
    ) -> list[CommitOperationAdd]:
        """Return the files that change in addition to those of a new dataset: indexes and cards.

        Args:
            state: state of the repository before the change.
            snapshot: the dataset.
            path: path of the dataset in the repository; empty if the dataset is the whole repository.
            files: names of its files in the repository.
            card: returns the card of the dataset, which is needed unless the dataset has its own; a second call is
                cheap.
        """
        card_name = f"{path}/{CARD_NAME}" if path else CARD_NAME
        cards = {card_name: card}
        if path:
            cards[CARD_NAME] = lambda: repository_card_of(self.repository.name, entries)
        others = 1 + len(cards)
        with ThreadPoolExecutor(min(1 + others, self.max_workers)) as pool:
            own = pool.submit(self.read, NAMESPACE_METADATA_FILENAME, state)
            present = {name: pool.submit(self.read, name, state) for name in cards}
            workers = max(self.max_workers - others, 1)
            reading = pool.submit(self.repository.metadata, state.files, workers, state.commit)
            if card_name not in state.files | files:
                card()  # cached for below; it may take longer than all requests
            there = reading.result()
        entries = there | {path: snapshot.metadata or b""}
        around = "/".join([*path.split("/")[:-1], NAMESPACE_METADATA_FILENAME])
        wanted = self._indexed(state.files | files, around, own.result() or b"{}", {})
        wanted[INDEX_FILE_NAME] = dump_index(entries)
        for name, make in cards.items():
            card_there = present[name].result()
            if name not in files and (card_there is None or is_own_card(card_there)):
                wanted[name] = make()
        return [CommitOperationAdd(*file) for file in wanted.items()]

    def _indexed(self, files: frozenset[str], path: str, own: bytes, given: Mapping[str, bytes]) -> dict[str, bytes]:
        """Return empty metadata for the parent namespaces of a file that lack it, and the outermost with its index."""
        name = self.repository.name.partition("/")[2]
        directories = path.split("/")[:-1]
        around = [
            "/".join([*directories[:depth], NAMESPACE_METADATA_FILENAME]) for depth in range(1, len(directories) + 1)
        ]
        made = {file: b"{}" for file in around if file not in given and file not in files}
        known = {*files, *given, *made, NAMESPACE_METADATA_FILENAME}
        return {**made, NAMESPACE_METADATA_FILENAME: with_repository_index(own, name, known)}


def card_of(snapshot: UploadSnapshot, address: str) -> bytes:
    """Return the card of a dataset.

    Args:
        snapshot: the dataset.
        address: full address, ``hf://owner/id``.
    """
    dataset_id = address.removeprefix("hf://").partition("/")[2]
    try:
        returns = minari_dataset.MinariDataset(snapshot.directory / "data").statistics().summary().get("return")
    except (MinariError, OSError) as error:
        _log.warning("The card of %s has no returns, as the episodes cannot be read: %s", dataset_id, error)
        returns = None
    card = dataset_card(dataset_id, snapshot.raw_metadata, size=snapshot.size, address=address, returns=returns)
    return card.encode("utf-8")
