"""Stores of objects under names, such as buckets: what is the same for all of them."""

from __future__ import annotations

import logging
import random
import time
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from minari.dataset.dataset_id import is_dataset_id, is_part
from minari.errors import (
    DatasetBusyError,
    DatasetCorruptError,
    MinariError,
    RemoteError,
    RemoteUnreachableError,
)
from minari.storage.publishing import NAMESPACE_METADATA_FILENAME
from minari.storage.remotes.cloud_storage import CloudStorage
from minari.storage.transfer.checksums import checksums_of
from minari.storage.transfer.index import INDEX_FILE_NAME, dump_index, parse_index
from minari.storage.transfer.manifest import MANIFEST_NAME, PIECE_SIZE
from minari.storage.transfer.outgoing import OutgoingDataset, OutgoingFile
from minari.storage.transfer.remote_files import METADATA_NAME, RemoteFile, RemoteFileNotFoundError
from minari.storage.transfer.retries import retrying
from minari.storage.transfer.workers import Advance, Meter, each_at_once, untold


__all__ = ["ABSENT", "ConflictError", "ObjectStorage"]

#: What :meth:`ObjectStorage.put` is told where there must be no object yet.
ABSENT = "absent"

_ATTEMPTS = 3  # at a file that arrives damaged
_CONFLICTS = 10  # times that others may change the index in between
_PAUSE = 0.1  # seconds

_log = logging.getLogger(__name__)


class ConflictError(RemoteError):
    """An object is not, or no longer, what it was to be when it was written."""


class ObjectStorage(CloudStorage):
    """A remote that keeps objects under names, each of which is written whole.

    A dataset is uploaded in an order that makes it appear whole: its manifest first, which keeps others
    from uploading something else under its id meanwhile, the data, and at last ``metadata.json``, by
    which it is listed.
    """

    # What a kind of store fills in, beside `read_file` and `read_range`.

    @abstractmethod
    def find(self, prefix: str, ending: str = "") -> Iterable[RemoteFile]:
        """The objects whose names begin with one text and end with another, however many there are."""

    @abstractmethod
    def put_file(self, name: str, path: Path, sent: Callable[[int], None] = untold) -> RemoteFile:
        """Send a file.

        Args:
            name: of the object.
            path: of the file.
            sent: may be told of bytes as they are sent, from any thread; what it is not told of counts when
                the file is there.

        Returns:
            What the store says of the object now, its checksum above all.
        """

    @abstractmethod
    def put(self, name: str, content: bytes, *, match: str | None = None) -> None:
        """Send a small object.

        Args:
            name: of the object.
            content: its whole content.
            match: :data:`ABSENT` where there must be none yet, what :meth:`read_version` has told where
                it must still be that; None where that does not matter.

        Raises:
            ConflictError: it is not so.
        """

    @abstractmethod
    def read_version(self, name: str) -> tuple[bytes, str | None]:
        """A small object, and what :meth:`put` takes as ``match``; None where the store cannot compare."""

    @abstractmethod
    def delete(self, name: str) -> None:
        """Take an object away; nothing happens where there is none."""

    # What is done with them.

    def list_files(self, folder: str) -> Iterable[RemoteFile]:
        """All files below a folder."""
        return self.find(f"{folder}/")

    def write_file(self, name: str, content: bytes) -> None:
        """Write a small file, in the place of the one that may be there."""
        self.put(name, content)

    def list_namespaces(self) -> list[str]:
        """The namespaces that have metadata, sorted."""
        ending = f"/{NAMESPACE_METADATA_FILENAME}"
        found = [file.name.removesuffix(ending) for file in retrying(lambda: list(self.find("", ending)))]
        return sorted(name for name in found if all(map(is_part, name.split("/"))))

    def survey(self, prefix: str | None = None) -> dict[str, bytes | None]:
        """The datasets that are complete, with their metadata as far as the index has them."""
        listed, entries, _ = self._catalogue(prefix or "")
        return {
            dataset_id: content if (content := entries.get(dataset_id)) and file.holds(content) else None
            for dataset_id, file in listed.items()
        }

    def _catalogue(self, prefix: str) -> tuple[dict[str, RemoteFile], dict[str, bytes], str | None]:
        """The metadata files by the ids of their datasets, and the index with its version; asked at the same time."""
        with ThreadPoolExecutor(1) as other:
            index = other.submit(self._read_index)
            return self._metadata_files(prefix), *index.result()

    def _metadata_files(self, prefix: str) -> dict[str, RemoteFile]:
        ending = f"/{METADATA_NAME}"
        named = ((file.name.removesuffix(ending), file) for file in self.find(prefix, ending))
        return {dataset_id: file for dataset_id, file in named if is_dataset_id(dataset_id)}

    def _read_index(self) -> tuple[dict[str, bytes], str | None]:
        """The entries of the index, and what it is to be written back with."""
        try:
            content, version = self.read_version(INDEX_FILE_NAME)
        except RemoteFileNotFoundError:
            return {}, ABSENT
        try:
            return parse_index(content), version
        except DatasetCorruptError as error:
            _log.warning("%s It is made anew when a dataset is uploaded.", error)
            return {}, version

    def send_dataset(self, outgoing: OutgoingDataset, advance: Advance, *, force: bool) -> None:
        """Send the files of a dataset; the last one is that by which it is listed."""
        folder, metadata = outgoing.dataset_id, outgoing.metadata
        if metadata is None:
            raise RemoteError(
                f"{folder} is of an old release that kept no metadata.json, by which remotes tell datasets; upload "
                f"a copy in today's layout: `minari convert {folder} NEW_ID`."
            )
        there = {file.name: file for file in retrying(lambda: list(self.list_files(folder)))}
        self._claim(outgoing, there, force)
        advance(len(outgoing.manifest), 1)
        meter = Meter(advance)
        send = partial(self._deliver, folder, there, meter)
        for _ in each_at_once(send, outgoing.files, self.max_workers, meter):
            advance(0, 1)
        self._clear(folder, set(there) - {f"{folder}/{file.name}" for file in outgoing.files})
        outgoing.check_unchanged()
        self._complete(f"{folder}/{METADATA_NAME}", metadata, folder)
        advance(len(metadata), 1)
        self._register(folder, metadata)

    def _claim(self, outgoing: OutgoingDataset, there: dict[str, RemoteFile], force: bool) -> None:
        """Say by the manifest what is going to be uploaded, unless someone else has said otherwise."""
        name = f"{outgoing.dataset_id}/{MANIFEST_NAME}"
        if f"{outgoing.dataset_id}/{METADATA_NAME}" in there:
            raise self.already_has(outgoing.dataset_id)
        if name not in there or not force:
            try:
                retrying(partial(self.put, name, outgoing.manifest, match=ABSENT))
            except ConflictError:
                if retrying(partial(self.read_file, name)) == outgoing.manifest:
                    return
                if not force:
                    raise DatasetBusyError(
                        f"An upload of other data as {outgoing.dataset_id} to {self.address} is under way, or was "
                        "never finished; wait for it, or upload with force=True (--force) to take its place."
                    ) from None
            else:
                return
        retrying(partial(self.put, name, outgoing.manifest))

    def _deliver(self, folder: str, there: dict[str, RemoteFile], meter: Meter, file: OutgoingFile) -> None:
        name, sent = f"{folder}/{file.name}", meter.file(file.size)

        def put() -> RemoteFile:
            sent.restart()
            return self.put_file(name, file.path, sent)

        if name in there and file.is_held_by(there[name]):
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
            f"{name} arrived damaged in {self.address} {_ATTEMPTS} times, or was written meanwhile; the dataset was "
            "not completed there. Try again."
        )

    def _read_back(self, name: str, size: int) -> str:
        """The sha256 of what a store holds that does not tell checksums."""

        def content() -> Iterator[bytes]:
            for start in range(0, size, PIECE_SIZE):
                yield retrying(partial(self.read_range, name, start, min(start + PIECE_SIZE, size)))

        return checksums_of(content(), size, ["sha256"])["sha256"].value

    def _clear(self, dataset_id: str, names: Iterable[str]) -> None:
        """Delete what an upload of other data, which was never finished, has left among the data."""
        data = f"{dataset_id}/data/"  # beside it may lie datasets whose namespace is called like this one
        left = [name for name in names if name.startswith(data) and name != f"{dataset_id}/{MANIFEST_NAME}"]
        for _ in each_at_once(lambda name: retrying(partial(self.delete, name)), left, self.max_workers):
            pass

    def _complete(self, name: str, metadata: bytes, dataset_id: str) -> None:
        """Write what makes the dataset appear; of several uploaders, one does."""
        doubtful = False  # whether an answer was lost, so that an object that is found may be our own

        def put() -> None:
            nonlocal doubtful
            try:
                self.put(name, metadata, match=ABSENT)
            except RemoteUnreachableError:
                doubtful = True
                raise

        try:
            retrying(put)
        except ConflictError:
            if not doubtful or retrying(partial(self.read_file, name)) != metadata:
                raise self.already_has(dataset_id) from None

    def _register(self, dataset_id: str, metadata: bytes) -> None:
        """Put a dataset into the index, with those that are missing there; a list can do without."""
        try:
            for _ in range(_CONFLICTS):
                listed, entries, version = self._catalogue("")
                kept = {
                    name: content for name, content in entries.items() if name in listed and listed[name].holds(content)
                }
                kept[dataset_id] = metadata
                kept.update(self._metadata_of(sorted(set(listed) - set(kept))))
                try:
                    self.put(INDEX_FILE_NAME, dump_index(kept), match=version)
                except ConflictError:
                    time.sleep(random.uniform(0, _PAUSE))
                else:
                    return
            raise ConflictError(f"others write {INDEX_FILE_NAME} all the time")
        except (MinariError, OSError) as error:
            _log.warning("The index of %s was not brought up to date: %s", self.address, error)

    def _metadata_of(self, dataset_ids: list[str]) -> dict[str, bytes]:
        read = partial(_content_of, self)
        return {name: content for name, content in each_at_once(read, dataset_ids, self.max_workers) if content}


def _content_of(storage: ObjectStorage, dataset_id: str) -> tuple[str, bytes | None]:
    try:
        return dataset_id, retrying(partial(storage.read_file, f"{dataset_id}/{METADATA_NAME}"))
    except RemoteFileNotFoundError:
        return dataset_id, None
