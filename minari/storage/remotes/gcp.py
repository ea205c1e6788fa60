"""``gcp://bucket[/prefix]``, or ``gs://``: Google Cloud Storage.

A file of more than 8 MiB is sent in parts that the store then puts together, so that an upload that was cut
goes on, in another process too. The parts are objects below ``.uploads/``, which no listing of datasets
looks at, and are deleted when the file is complete.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

from google.api_core.exceptions import RequestRangeNotSatisfiable
from google.cloud import storage

from minari._base.files import open_regular
from minari.errors import RemoteError, RemoteUnreachableError
from minari.storage.remotes.gcp_client import failures_told, make_client, read_key
from minari.storage.remotes.object_storage import ABSENT, ObjectStorage
from minari.storage.transfer.checksums import Checksum, checksum_of, read_in_pieces
from minari.storage.transfer.remote_files import RemoteFile, RemoteFileNotFoundError
from minari.storage.transfer.retries import retrying
from minari.storage.transfer.workers import each_at_once, untold


__all__ = ["GCPStorage"]

PART_SIZE = 8 << 20  # bytes: what the client sends in one request, and so what is sent again when it is cut

CONNECT_TIMEOUT, READ_TIMEOUT = 5.0, 15.0  # seconds; the second one between two pieces of an answer

_UPLOADS = ".uploads"
_COMPOSED = 32  # objects that the store puts together at once
_ATTEMPTS = 3  # at an object that arrives damaged
_MOST_PAGES = 100_000
_PAGE = 1000  # objects; the most that there is
_FIELDS = "items(name,size,crc32c,generation),nextPageToken"
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")

_log = logging.getLogger(__name__)


class GCPStorage(ObjectStorage):
    """A bucket of Google Cloud Storage, or what lies below a prefix in it.

    Args:
        name: of the bucket, with a prefix where there is one: ``"bucket/some/prefix"``.
        token: the path of the key file of a service account. Without one, the client's own environment
            is used (``GOOGLE_APPLICATION_CREDENTIALS``, the login of ``gcloud``, the service account of
            a machine in the cloud); where there is nothing, public buckets can still be read.
        **options: as for :class:`CloudStorage`.

    Raises:
        RemoteError: the name cannot be that of a bucket.
        RemoteAccessError: the key file is missing or malformed.
    """

    SCHEME = "gcp"
    CHECKSUMS = ("crc32c",)

    def _begin(self) -> None:
        self._bucket_name, _, prefix = self.name.partition("/")
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        if _BUCKET.fullmatch(self._bucket_name) is None:
            raise RemoteError(
                f"The address of a bucket must be of the form gcp://bucket[/prefix], got {self.address!r}; see how "
                "the bucket is called."
            )
        self._credentials = None if self.token is None else read_key(self.token)
        self._lock = threading.Lock()
        self._parts_at_once = threading.BoundedSemaphore(self.max_workers)  # each is held in memory
        self._client: storage.Client | None = None

    def find(self, prefix: str, ending: str = "") -> Iterator[RemoteFile]:
        """The objects whose names begin with one text and end with another, however many there are."""
        wanted = self._prefix + prefix
        missing = f"There is no bucket {self._bucket_name} in Google Cloud Storage; check the spelling, or create it."
        with failures_told(f"Listing {self.address}", missing=missing):
            blobs = self._bucket().client.list_blobs(
                self._bucket_name,
                prefix=wanted or None,
                match_glob=f"**{ending}" if ending else None,
                fields=_FIELDS,
                page_size=_PAGE,
                timeout=_timeout(),
                retry=None,
            )
            for blob in _each_once(blobs, self.address):
                # Emulators do not filter, and folders that the console makes are empty objects.
                if blob.name.startswith(wanted) and blob.name.endswith(ending) and not blob.name.endswith("/"):
                    yield self._described(blob)

    def read_file(self, name: str) -> bytes:
        """A small object, whole, as it was sent."""
        return self.read_version(name)[0]

    def read_version(self, name: str) -> tuple[bytes, str | None]:
        """A small object, and its generation."""
        blob = self._blob(name)
        with self._reading(name):
            content: bytes = blob.download_as_bytes(
                raw_download=True, checksum="crc32c", timeout=_timeout(), retry=None
            )
        return content, None if blob.generation is None else str(blob.generation)

    def read_range(self, name: str, start: int, stop: int) -> bytes:
        """The bytes of an object from ``start`` up to ``stop``, fewer where it ends before."""
        if stop <= start:
            return b""
        with self._reading(name):
            try:
                content: bytes = self._blob(name).download_as_bytes(
                    start=start, end=stop - 1, raw_download=True, checksum=None, timeout=_timeout(), retry=None
                )
            except RequestRangeNotSatisfiable:
                return b""
        if len(content) > stop - start:
            raise RemoteError(f"{self.address} was asked for {stop - start} bytes of {name} and sent more.")
        return content

    def put(self, name: str, content: bytes, *, match: str | None = None) -> None:
        """Send a small object, where that is still as it was to be."""
        generation = 0 if match == ABSENT else None if match is None else int(match)
        for _ in range(_ATTEMPTS):
            blob = self._sent(name, content, generation)
            if _checksum(blob) == checksum_of(content, "crc32c"):
                return
            generation = blob.generation  # nobody is to see the damaged one for longer than it takes
            _log.info("%s arrived damaged in gcp://%s", name, self.name)
        raise RemoteUnreachableError(f"{name} arrived damaged in {self.address} {_ATTEMPTS} times.")

    def put_file(self, name: str, path: Path, sent: Callable[[int], None] = untold) -> RemoteFile:
        """Send a file, in parts where it is large; those that are there already are not sent again."""
        size = path.stat().st_size
        if size <= PART_SIZE:
            return self._described(self._sent(name, b"".join(read_in_pieces(path))))
        folder = f"{_UPLOADS}/{hashlib.sha256(f'{name} {size} {PART_SIZE}'.encode()).hexdigest()[:32]}"
        there = {file.name: file for file in retrying(lambda: list(self.find(f"{folder}/")))}
        names = [f"{folder}/{start // PART_SIZE:08}" for start in range(0, size, PART_SIZE)]

        def send(number: int) -> None:
            with self._parts_at_once:
                part = _part(path, number)
                self._send_part(names[number], part, there.get(names[number]))
            sent(len(part))

        for _ in each_at_once(send, range(len(names)), self.max_workers):
            pass
        blob = self._joined(name, names, folder)
        self._clear(folder)
        return self._described(blob)

    def delete(self, name: str) -> None:
        """Take an object away; nothing happens where there is none."""
        try:
            with failures_told(f"Deleting {name} from {self.address}", missing=""):
                self._blob(name).delete(timeout=_timeout(), retry=None)
        except RemoteFileNotFoundError:
            pass

    def _send_part(self, name: str, content: bytes, there: RemoteFile | None) -> None:
        checksum = checksum_of(content, "crc32c")
        if there is not None and (there.size, there.checksum) == (len(content), checksum):
            return

        def attempt() -> None:
            if _checksum(self._sent(name, content)) != checksum:
                raise RemoteUnreachableError(f"A part of a file arrived damaged in {self.address}.")

        retrying(attempt)

    def _sent(self, name: str, content: bytes, generation: int | None = None) -> storage.Blob:
        """Send an object in one request; what the store says of it."""
        blob = self._blob(name)
        missing = f"There is no bucket {self._bucket_name} in Google Cloud Storage; check the spelling, or create it."
        with failures_told(f"Writing {name} to {self.address}", missing=missing):
            blob.upload_from_string(
                content,
                content_type="application/json" if name.endswith(".json") else "application/octet-stream",
                if_generation_match=generation,
                checksum="crc32c",
                timeout=_timeout(),
                retry=None,
            )
        return blob

    def _joined(self, name: str, parts: list[str], folder: str) -> storage.Blob:
        """Have the store put parts together, some at a time, in as many rounds as it takes."""
        groups = [parts[at : at + _COMPOSED] for at in range(0, len(parts), _COMPOSED)]
        if len(groups) == 1:
            return retrying(partial(self._compose, name, parts))
        targets = [f"{folder}/{len(parts)}-{number:08}" for number in range(len(groups))]
        for _ in each_at_once(
            lambda number: self._joined(targets[number], groups[number], folder), range(len(groups)), self.max_workers
        ):
            pass
        return self._joined(name, targets, folder)

    def _compose(self, name: str, sources: list[str]) -> storage.Blob:
        blob = self._blob(name)
        blob.content_type = "application/octet-stream"
        try:
            with failures_told(f"Putting {name} together in {self.address}", missing=""):
                blob.compose([self._blob(source) for source in sources], timeout=_timeout(), retry=None)
        except RemoteFileNotFoundError:
            # Another program that sends the same file has finished, and has deleted its parts.
            raise RemoteUnreachableError(f"The parts of {name} in {self.address} were taken away.") from None
        return blob

    def _clear(self, folder: str) -> None:
        """Delete the parts of a file; who may not delete leaves them, and the file is complete all the same."""
        try:
            names = [file.name for file in retrying(lambda: list(self.find(f"{folder}/")))]
            for _ in each_at_once(lambda name: retrying(partial(self.delete, name)), names, self.max_workers):
                pass
        except RemoteError as error:
            _log.warning("Parts of a file that is complete stay below %s in gcp://%s: %s", folder, self.name, error)

    def _reading(self, name: str) -> AbstractContextManager[None]:
        return failures_told(f"Reading {name} from {self.address}", missing=f"There is no {name} in {self.address}.")

    def _bucket(self) -> storage.Bucket:
        with self._lock:
            if self._client is None:
                self._client = make_client(self._credentials, 2 * self.max_workers, self.LIMITS)
            return self._client.bucket(self._bucket_name)

    def _blob(self, name: str) -> storage.Blob:
        return self._bucket().blob(self._prefix + name)

    def _described(self, blob: storage.Blob) -> RemoteFile:
        name = blob.name.removeprefix(self._prefix)
        return RemoteFile(name, int(blob.size), _checksum(blob), str(blob.generation))


def _each_once(blobs: Any, address: str) -> Iterator[storage.Blob]:
    """The objects of a listing that comes in pages, and has an end."""
    seen: set[str] = set()
    for number, page in enumerate(blobs.pages):
        yield from page
        token = blobs.next_page_token
        if token in seen or number == _MOST_PAGES:
            raise RemoteError(f"The list of {address} goes on without an end; try again later.")
        seen.add(token)


def _checksum(blob: storage.Blob) -> Checksum | None:
    return None if blob.crc32c is None else Checksum("crc32c", base64.b64decode(blob.crc32c).hex())


def _timeout() -> tuple[float, float]:
    return CONNECT_TIMEOUT, READ_TIMEOUT


def _part(path: Path, number: int) -> bytes:
    with os.fdopen(open_regular(path), "rb") as file:
        file.seek(number * PART_SIZE)
        return file.read(PART_SIZE)
