"""Object stores, such as buckets, as remotes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from minari._base.files import NAMESPACE_METADATA_FILENAME
from minari._base.parallel import parallel_map
from minari._model.dataset_id import is_part
from minari._model.manifest import MANIFEST_NAME, PIECE_SIZE
from minari.errors import DatasetBusyError, DatasetExistsError, RemoteUnreachableError
from minari.storage.remotes.base import CloudStorage
from minari.storage.remotes.object_index import list_indexed, put_into_index
from minari.storage.remotes.object_store import ABSENT, ConflictError, ObjectStore
from minari.storage.transfer.checksums import checksums_of
from minari.storage.transfer.limits import DamagedInTransitError, until_intact, with_retries
from minari.storage.transfer.meter import Advance, Meter
from minari.storage.transfer.remote_files import METADATA_NAME, RemoteFile, already_there
from minari.storage.transfer.upload_snapshot import SnapshotFile, UploadSnapshot, old_layout


__all__ = ["ABSENT", "ConflictError", "ObjectStorage"]


class ObjectStorage(CloudStorage, ObjectStore):
    """Base class of remotes that are object stores.

    A subclass implements the methods of :class:`ObjectStore`: ``find``, ``read_file``, ``read_range``,
    ``read_version``, ``put``, ``put_file`` and ``delete``.
    """

    def list_with_metadata(self, prefix: str | None = None) -> dict[str, bytes | None]:
        """List the complete datasets, with their metadata if the index has it."""
        return list_indexed(self, prefix or "").metadata

    def list_namespaces(self) -> list[str]:
        """Return the namespaces that have metadata, sorted."""
        ending = f"/{NAMESPACE_METADATA_FILENAME}"
        found = (file.name.removesuffix(ending) for file in self.find("", ending))
        return sorted(name for name in found if all(map(is_part, name.split("/"))))

    def list_files(self, directory: str) -> Iterable[RemoteFile]:
        """List all files below a directory."""
        return self.find(f"{directory}/")

    def write_file(self, name: str, content: bytes) -> None:
        """Write a small file, replacing an existing one."""
        self.put(name, content)

    def send_snapshot(self, snapshot: UploadSnapshot, advance: Advance, *, force: bool) -> None:
        """Send the files of a dataset, last the one that makes it visible, and add it to the index."""
        if snapshot.metadata is None:
            raise old_layout(snapshot.dataset_id)
        _Upload(self, snapshot).run(advance, force=force)
        put_into_index(self, snapshot.dataset_id, snapshot.metadata)


@dataclass(frozen=True, slots=True)
class _Upload:
    """Upload of one dataset to a store.

    The manifest is sent first and reserves the id: until the upload is finished, no other data is uploaded under
    it. The data follows, and finally ``metadata.json``, which makes the dataset visible.

    Attributes:
        store: the destination.
        snapshot: the dataset, with a ``metadata.json``.
    """

    store: ObjectStore
    snapshot: UploadSnapshot

    def run(self, advance: Advance, *, force: bool) -> None:
        """Send the files that the store does not have yet.

        Args:
            advance: called with the progress.
            force: True to replace an unfinished upload of other data.

        Raises:
            DatasetExistsError: the store already has the dataset.
            DatasetBusyError: the dataset was changed during the upload, or there is an unfinished upload of other
                data.
            DamagedInTransitError: a file is damaged after every attempt.
        """
        snapshot, directory = self.snapshot, f"{self.snapshot.dataset_id}/"
        there = {
            file.name.removeprefix(directory): file for file in with_retries(lambda: list(self.store.find(directory)))
        }
        if METADATA_NAME in there:
            raise self._already_there()
        self._claim(force)
        advance(len(snapshot.manifest), 1)
        meter = Meter(advance)
        send = partial(self._send, there, meter)
        for _ in parallel_map(send, snapshot.files, self.store.max_workers, poll=meter.report):
            advance(0, 1)
        self._clear(set(there) - {file.name for file in snapshot.files} - {MANIFEST_NAME})
        snapshot.check_unchanged()
        self._complete()
        advance(len(snapshot.metadata or b""), 1)

    def _name(self, name: str) -> str:
        return f"{self.snapshot.dataset_id}/{name}"

    def _already_there(self) -> DatasetExistsError:
        return already_there(self.store.address, self.snapshot.dataset_id)

    def _claim(self, force: bool) -> None:
        """Reserve the id with the manifest, unless another program has reserved it for other data."""
        name, manifest = self._name(MANIFEST_NAME), self.snapshot.manifest
        try:
            with_retries(partial(self.store.put, name, manifest, match=ABSENT))
        except ConflictError:
            if with_retries(partial(self.store.read_file, name)) == manifest:
                return
            if not force:
                raise DatasetBusyError(
                    f"An upload of other data as {self.snapshot.dataset_id} to {self.store.address} is in progress, or "
                    "was never finished; wait for it, or upload with force=True (--force) to replace it."
                ) from None
            with_retries(partial(self.store.put, name, manifest))

    def _send(self, there: Mapping[str, RemoteFile], meter: Meter, file: SnapshotFile) -> None:
        """Send a file unless the store has it, and verify that it has arrived."""
        name, sent = self._name(file.name), meter.file(file.size)

        def put() -> RemoteFile:
            sent.restart()
            return self.store.put_file(name, file.path, sent)

        def put_intact() -> None:
            held = file.is_held_by(with_retries(put))
            if not (held or (held is None and self._read_back(name, file.size) == file.sha256)):
                raise DamagedInTransitError(
                    f"{name} arrived damaged in {self.store.address}, or was written concurrently; the dataset was not "
                    "completed there. Upload it again."
                )

        if not (file.name in there and file.is_held_by(there[file.name])):
            until_intact(put_intact)
        sent.finish()

    def _read_back(self, name: str, size: int) -> str:
        """Return the sha256 of an object in a store that does not report checksums."""

        def content() -> Iterator[bytes]:
            for start in range(0, size, PIECE_SIZE):
                yield with_retries(partial(self.store.read_range, name, start, min(start + PIECE_SIZE, size)))

        return checksums_of(content(), size, ["sha256"])["sha256"].value

    def _clear(self, names: Iterable[str]) -> None:
        """Delete files of the data that an unfinished upload of other data left behind."""
        # Datasets whose namespace has the name of this dataset may be beside the data.
        left = [self._name(name) for name in names if name.startswith("data/")]
        for _ in parallel_map(
            lambda name: with_retries(partial(self.store.delete, name)), left, self.store.max_workers
        ):
            pass

    def _complete(self) -> None:
        """Write the file that makes the dataset visible; only one of several concurrent uploads succeeds."""
        name, metadata = self._name(METADATA_NAME), self.snapshot.metadata or b""
        doubtful = False  # True if a response was lost, so that an existing object may be our own

        def put() -> None:
            nonlocal doubtful
            try:
                self.store.put(name, metadata, match=ABSENT)
            except RemoteUnreachableError:
                doubtful = True
                raise

        try:
            with_retries(put)
        except ConflictError:
            if not doubtful or with_retries(partial(self.store.read_file, name)) != metadata:
                raise self._already_there() from None
