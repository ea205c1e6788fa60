"""Commits to a repository of the Hub, rebuilt from its new state when somebody else commits in between."""

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
    minari_dataset = LazyModule("minari.dataset.minari_dataset")  # listing and downloading do without Gymnasium

__all__ = ["HubPublisher", "Operations", "card_of"]

#: The changes of one commit; they cannot be used for another, as the client stores what it finds out in them.
Operations = Sequence[CommitOperationAdd | CommitOperationDelete]

_log = logging.getLogger(__name__)

_CONFLICTS = 60  # commits by others before this one is given up
_FAILURES = 3  # lost answers to a commit
_PAUSE = 0.5  # seconds, at most, before the next attempt
_UNSEEN = RepositoryState("", False, frozenset())


class _OutdatedError(RemoteError):
    """Somebody else has changed the repository since it was read."""

    def __init__(self, repository: str) -> None:
        super().__init__(f"The repository {repository} was changed by someone else meanwhile.")


class _CommittingApi(HfApi):
    """The client of ``huggingface_hub``, which makes no commit without changes and then looks at the repository."""

    def repo_info(self, repo_id: str, **_: Any) -> Any:
        """Raise the error that the commit would have led to: somebody else has made all of its changes."""
        raise _OutdatedError(repo_id)


@dataclass(frozen=True, slots=True)
class HubPublisher:
    """Writes to one repository.

    Attributes:
        repository: created if there is none.
        private: whether it has to be private.
        max_workers: number of concurrent requests.
        seen: recent states of repositories, by name, None for a missing one. Each is used once, and may be
            outdated: a commit names the state that it was made for.
    """

    repository: HubRepository
    private: bool
    max_workers: int
    seen: dict[str, RepositoryState | None] = field(default_factory=dict)

    def _prepared(self) -> tuple[RepositoryState, bool]:
        """Return the state of the repository, created if there is none, and whether it was known before.

        Raises:
            RemoteAccessError: the token is missing or not enough.
            RemoteError: the repository is public and should be private.
        """
        name, client = self.repository.name, self.repository.client
        if not client.has_token:
            raise RemoteAccessError(
                f"Writing to the repository {name} takes a token; give one that may write, or log in "
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
            private = self.private or None  # None: as the organization has chosen
            with_retries(
                lambda: client.call(
                    lambda api: api.create_repo(name, private=private, repo_type="dataset", exist_ok=True),
                    f"making the repository {name}",
                )
            )
            state = with_retries(self.repository.state)
        if self.private and not state.private:
            raise RemoteError(
                f"The repository {name} is there already and public, so what is uploaded to it cannot be private; "
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
        """Make one commit, unless there is nothing to change.

        Args:
            summary: for the history.
            wanted: returns the changes to a state.
            progress: of what is sent.
            check: called when all contents have been sent.
            is_done: returns whether a commit was made although its answer was lost.

        Raises:
            DatasetBusyError: others keep changing the repository.
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
                if was_seen:  # this may no longer be true
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
        raise DatasetBusyError(f"Others change the repository {self.repository.name} all the time; try again later.")

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
        """Return a file in a state of the repository, by default the current one; None if there is no such file."""
        if state is not None and path not in state.files:
            return None
        try:
            return with_retries(partial(self.repository.read, path, revision=state.commit if state else "main"))
        except RemoteFileNotFoundError:
            return None

    def write(self, path: str, content: bytes) -> None:
        """Write a small file, and the index of the repository with it if it is the metadata of a namespace."""

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
        """Return the files that the repository has beside those of a new dataset: indexes and cards.

        Args:
            state: of the repository before.
            snapshot: the dataset.
            path: of the dataset in the repository; empty if the dataset is the repository itself.
            files: the names of its files in the repository.
            card: returns the card of the dataset, needed unless it has one of its own; a second call is cheap.
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
                card()  # kept for below; it may take longer than all requests
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
        """Return empty metadata of namespaces around a file that lack it, and the outermost one with its index."""
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
        address: the absolute one, ``hf://owner/id``.
    """
    dataset_id = address.removeprefix("hf://").partition("/")[2]
    try:
        returns = minari_dataset.MinariDataset(snapshot.directory / "data").statistics().summary().get("return")
    except (MinariError, OSError) as error:
        _log.warning("The card of %s has no returns, as the episodes cannot be read: %s", dataset_id, error)
        returns = None
    card = dataset_card(dataset_id, snapshot.raw_metadata, size=snapshot.size, address=address, returns=returns)
    return card.encode("utf-8")
