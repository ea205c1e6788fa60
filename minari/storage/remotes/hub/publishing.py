"""Commits to a repository of the Hub, made anew from what there is as long as others commit in between."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

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
from minari.storage.remotes.hub.contents import Content, send_contents
from minari.storage.remotes.hub.dataset_card import dataset_card
from minari.storage.remotes.hub.listing import metadata_of
from minari.storage.remotes.hub.registers import CARD_NAME, is_own_card, registered, repository_card_of
from minari.storage.remotes.hub.repository import Change, HubRepository, OutdatedError, RepositoryState
from minari.storage.transfer.index import INDEX_FILE_NAME, dump_index
from minari.storage.transfer.outgoing import OutgoingDataset
from minari.storage.transfer.remote_files import RemoteFileNotFoundError
from minari.storage.transfer.retries import retrying
from minari.storage.transfer.workers import Advance


if TYPE_CHECKING:
    from minari.dataset import minari_dataset
else:
    minari_dataset = LazyModule("minari.dataset.minari_dataset")  # listing and downloading do without Gymnasium

__all__ = ["HubPublisher", "Wanted", "card_of"]

_log = logging.getLogger(__name__)

_CONFLICTS = 60  # times that others may change the repository in between
_FAILURES = 3  # times that the answer to a commit may be lost
_PAUSE = 0.5  # seconds, at most, before a commit is made anew
_UNSEEN = RepositoryState("", False, frozenset())


def _silent(size: int, files: int = 0) -> None:
    pass


class Wanted(NamedTuple):
    """What a commit is to do: contents that files get, and further changes."""

    contents: Sequence[Content]
    others: Sequence[Change] = ()


@dataclass(frozen=True, slots=True)
class HubPublisher:
    """Writes to one repository.

    Attributes:
        repository: made where there is none.
        private: whether it has to be private.
        max_workers: how many requests may run at the same time.
        seen: repositories as they were not long ago, by name, None where there was none. A commit names the
            state that it was made for, so that no harm comes of one that is outdated; each is used but once.
    """

    repository: HubRepository
    private: bool
    max_workers: int
    seen: dict[str, RepositoryState | None] = field(default_factory=dict)

    def _prepared(self) -> tuple[RepositoryState, bool]:
        """The repository as it is, made where there is none; and whether it was looked at before.

        Raises:
            RemoteAccessError: the token is missing or not enough.
            RemoteError: it is public and should be private.
        """
        repository = self.repository
        if not repository.client.has_token:
            raise RemoteAccessError(
                f"Writing to the repository {repository.name} takes a token; give one that may write, or log in "
                "(`hf auth login`, or HF_TOKEN)."
            )
        state = self.seen.pop(repository.name, _UNSEEN)
        was_seen = state is not None and state is not _UNSEEN
        if state is _UNSEEN:
            state = self._look()
        if state is None:
            retrying(partial(repository.create, private=self.private))
            state = retrying(repository.state)
        if self.private and not state.private:
            raise RemoteError(
                f"The repository {repository.name} is there already and public, so what is uploaded to it cannot be "
                "private; make it private on its page, or choose another namespace."
            )
        return state, was_seen

    def _look(self) -> RepositoryState | None:
        try:
            return retrying(self.repository.state)
        except RemoteFileNotFoundError:
            return None

    def change(
        self,
        summary: str,
        wanted: Callable[[RepositoryState], Wanted],
        *,
        advance: Advance = _silent,
        check: Callable[[], None] = lambda: None,
        is_done: Callable[[], bool] = lambda: False,
    ) -> None:
        """Make one commit; none where nothing is to be changed.

        Args:
            summary: for the history.
            wanted: what to change in what there is.
            advance: is told what has been sent of the contents that count.
            check: is called when all contents have been sent.
            is_done: whether a commit whose answer was lost has been made after all.

        Raises:
            DatasetBusyError: others change the repository all the time.
        """
        sent: dict[tuple[str, str], Change] = {}
        failures = 0
        for _ in range(_CONFLICTS):
            state, was_seen = self._prepared()
            if failures and is_done():
                return
            try:
                contents, others = wanted(state)
                if contents or others:
                    self._send(contents, sent, advance)
            except (DatasetExistsError, RemoteFileNotFoundError):
                if was_seen:  # it may be so no more
                    continue
                raise
            if not contents and not others:
                if was_seen:
                    continue
                return
            check()
            changes = [*others, *(sent[content.path, content.sha256] for content in contents)]
            try:
                self._commit(state, summary, changes)
            except OutdatedError:
                time.sleep(0 if was_seen else random.uniform(0, _PAUSE))
            except RemoteUnreachableError as error:
                failures += 1
                if failures == _FAILURES:
                    raise
                time.sleep(error.retry_after or _PAUSE)
            else:
                return
        raise DatasetBusyError(f"Others change the repository {self.repository.name} all the time; try again later.")

    def _commit(self, state: RepositoryState, summary: str, changes: Sequence[Change]) -> None:
        state_then = self.repository.commit(state, summary, changes)
        if state_then is not None:
            self.seen[self.repository.name] = state_then

    def _send(self, contents: Sequence[Content], sent: dict[tuple[str, str], Change], advance: Advance) -> None:
        """Send those contents that have not been sent."""
        missing = [content for content in contents if (content.path, content.sha256) not in sent]
        changes = send_contents(self.repository, missing, advance, self.max_workers)
        sent |= {(content.path, content.sha256): change for content, change in zip(missing, changes, strict=True)}

    def read(self, path: str, state: RepositoryState | None = None) -> bytes | None:
        """A file as of a moment, or as of now; None where there is none."""
        if state is not None and path not in state.files:
            return None
        try:
            return retrying(partial(self.repository.read, path, revision=state.commit if state else "main"))
        except RemoteFileNotFoundError:
            return None

    def write(self, path: str, content: bytes) -> None:
        """Write a small file; the registers of the repository follow where it is the metadata of a namespace."""

        def wanted(state: RepositoryState) -> Wanted:
            files = {path: content}
            if path.rpartition("/")[2] == NAMESPACE_METADATA_FILENAME:
                own = files.get(NAMESPACE_METADATA_FILENAME) or self.read(NAMESPACE_METADATA_FILENAME, state) or b"{}"
                files |= self._registers(state.files, path, own, files)
            return Wanted([Content.of_bytes(*file) for file in files.items() if self.read(file[0], state) != file[1]])

        self.change(f"Update {path}", wanted)

    def beside(
        self,
        state: RepositoryState,
        outgoing: OutgoingDataset,
        path: str,
        files: frozenset[str],
        card: Callable[[], bytes],
    ) -> list[Content]:
        """What the repository is to hold beside the files of a dataset when these have come.

        Args:
            state: of the repository now.
            outgoing: the dataset.
            path: of the dataset in the repository; empty where it is the repository itself.
            files: the names of its files in the repository.
            card: makes that of the dataset, where it has none that somebody wrote; a second call is cheap.
        """
        card_name = "/".join(filter(None, (path, CARD_NAME)))
        cards = {card_name: card}
        if path:
            cards[CARD_NAME] = lambda: repository_card_of(self.repository.name, entries)
        others = 1 + len(cards)
        with ThreadPoolExecutor(min(1 + others, self.max_workers)) as pool:  # what there is, read at the same time
            own = pool.submit(self.read, NAMESPACE_METADATA_FILENAME, state)
            present = {name: pool.submit(self.read, name, state) for name in cards}
            workers = max(self.max_workers - others, 1)
            reading = pool.submit(metadata_of, self.repository, state.files, workers, state.commit)
            if card_name not in state.files | files:
                card()  # which it keeps; the card may take longer than all of them
            there = reading.result()
        entries = there | {path: outgoing.metadata or b""}
        around = "/".join([*path.split("/")[:-1], NAMESPACE_METADATA_FILENAME])
        registers = self._registers(state.files | files, around, own.result() or b"{}", {})
        wanted = registers | {INDEX_FILE_NAME: dump_index(entries)}
        for name, make in cards.items():
            card_there = present[name].result()
            if name not in files and (card_there is None or is_own_card(card_there)):
                wanted[name] = make()
        return [Content.of_bytes(*file) for file in wanted.items()]

    def _registers(self, files: frozenset[str], path: str, own: bytes, given: Mapping[str, bytes]) -> dict[str, bytes]:
        """The metadata of all namespaces around a file that have none yet, and the outermost one's registers."""
        name = self.repository.name.partition("/")[2]
        folders = path.split("/")[:-1]
        around = ["/".join([*folders[:depth], NAMESPACE_METADATA_FILENAME]) for depth in range(1, len(folders) + 1)]
        made = {file: b"{}" for file in around if file not in given and file not in files}
        known = {*files, *given, *made, NAMESPACE_METADATA_FILENAME}
        return {**made, NAMESPACE_METADATA_FILENAME: registered(own, name, known)}


def card_of(outgoing: OutgoingDataset, address: str) -> bytes:
    """The card of a dataset.

    Args:
        outgoing: the dataset.
        address: the whole one, ``hf://owner/id``.
    """
    dataset_id = address.removeprefix("hf://").partition("/")[2]
    try:
        returns = minari_dataset.MinariDataset(outgoing.folder / "data").statistics().summary().get("return")
    except (MinariError, OSError) as error:
        _log.warning("The card of %s tells no returns, as the episodes cannot be read: %s", dataset_id, error)
        returns = None
    return dataset_card(dataset_id, outgoing.raw_metadata, size=outgoing.size, address=address, returns=returns).encode(
        "utf-8"
    )
