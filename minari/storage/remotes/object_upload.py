"""Uploads a dataset to a store of objects, in an order that makes it appear whole."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from minari.errors import DatasetBusyError, DatasetExistsError, RemoteError, RemoteUnreachableError
from minari.storage.remotes.object_store import ABSENT, ConflictError, ObjectStore
from minari.storage.transfer.checksums import checksums_of
from minari.storage.transfer.manifest import MANIFEST_NAME, PIECE_SIZE
from minari.storage.transfer.outgoing import OutgoingDataset, OutgoingFile
from minari.storage.transfer.remote_files import METADATA_NAME, RemoteFile, already_there
from minari.storage.transfer.retries import retrying
from minari.storage.transfer.workers import Advance, Meter, each_at_once


__all__ = ["ObjectUpload"]

_ATTEMPTS = 3  # at a file that arrives damaged

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ObjectUpload:
    """One dataset on its way to a store.

    The manifest comes first and claims the id: as long as the upload is not finished, nobody else puts
    other data there. Then come the data, and at last ``metadata.json``, by which the dataset is listed.

    Attributes:
        store: where it goes.
        outgoing: the dataset, which has a ``metadata.json``.
    """

    store: ObjectStore
    outgoing: OutgoingDataset

    def run(self, advance: Advance, *, force: bool) -> None:
        """Send what is not there yet.

        Args:
            advance: is told what has been sent.
            force: whether to take the place of an upload of other data that was never finished.

        Raises:
            DatasetExistsError: the store has the dataset.
            DatasetBusyError: the dataset is changed meanwhile, or an upload of other data was never finished.
            RemoteError: a file arrives damaged again and again.
        """
        outgoing, folder = self.outgoing, f"{self.outgoing.dataset_id}/"
        there = {file.name.removeprefix(folder): file for file in retrying(lambda: list(self.store.find(folder)))}
        if METADATA_NAME in there:
            raise self._already_there()
        self._claim(force)
        advance(len(outgoing.manifest), 1)
        meter = Meter(advance)
        send = partial(self._send, there, meter)
        for _ in each_at_once(send, outgoing.files, self.store.max_workers, meter):
            advance(0, 1)
        self._clear(set(there) - {file.name for file in outgoing.files} - {MANIFEST_NAME})
        outgoing.check_unchanged()
        self._complete()
        advance(len(outgoing.metadata or b""), 1)

    def _name(self, name: str) -> str:
        return f"{self.outgoing.dataset_id}/{name}"

    def _already_there(self) -> DatasetExistsError:
        return already_there(self.store.address, self.outgoing.dataset_id)

    def _claim(self, force: bool) -> None:
        """Say by the manifest what is going to be uploaded, unless someone else has said otherwise."""
        name, manifest = self._name(MANIFEST_NAME), self.outgoing.manifest
        try:
            retrying(partial(self.store.put, name, manifest, match=ABSENT))
        except ConflictError:
            if retrying(partial(self.store.read_file, name)) == manifest:
                return
            if not force:
                raise DatasetBusyError(
                    f"An upload of other data as {self.outgoing.dataset_id} to {self.store.address} is in progress, or "
                    "was never finished; wait for it, or upload with force=True (--force) to take its place."
                ) from None
            retrying(partial(self.store.put, name, manifest))

    def _send(self, there: Mapping[str, RemoteFile], meter: Meter, file: OutgoingFile) -> None:
        """Send a file, unless it is there, and make sure that it has arrived."""
        name, sent = self._name(file.name), meter.file(file.size)

        def put() -> RemoteFile:
            sent.restart()
            return self.store.put_file(name, file.path, sent)

        if file.name in there and file.is_held_by(there[file.name]):
            sent.finish()
            return
        for _ in range(_ATTEMPTS):
            stored = retrying(put)
            held = file.is_held_by(stored)
            if held or (held is None and self._read_back(name, file.size) == file.sha256):
                sent.finish()
                return
            _log.info("%s arrived damaged", name)
        raise RemoteError(
            f"{name} arrived damaged in {self.store.address} {_ATTEMPTS} times, or was written meanwhile; the "
            "dataset was not completed there. Try again."
        )

    def _read_back(self, name: str, size: int) -> str:
        """The sha256 of what a store holds that does not tell checksums."""

        def content() -> Iterator[bytes]:
            for start in range(0, size, PIECE_SIZE):
                yield retrying(partial(self.store.read_range, name, start, min(start + PIECE_SIZE, size)))

        return checksums_of(content(), size, ["sha256"])["sha256"].value

    def _clear(self, names: Iterable[str]) -> None:
        """Delete what an upload of other data, which was never finished, has left among the data."""
        # Beside the data may lie datasets whose namespace is called like this one.
        left = [self._name(name) for name in names if name.startswith("data/")]
        for _ in each_at_once(lambda name: retrying(partial(self.store.delete, name)), left, self.store.max_workers):
            pass

    def _complete(self) -> None:
        """Write what makes the dataset appear; of several uploaders, one does."""
        name, metadata = self._name(METADATA_NAME), self.outgoing.metadata or b""
        doubtful = False  # whether an answer was lost, so that an object that is found may be our own

        def put() -> None:
            nonlocal doubtful
            try:
                self.store.put(name, metadata, match=ABSENT)
            except RemoteUnreachableError:
                doubtful = True
                raise

        try:
            retrying(put)
        except ConflictError:
            if not doubtful or retrying(partial(self.store.read_file, name)) != metadata:
                raise self._already_there() from None
