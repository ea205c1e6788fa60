"""``gcp://bucket[/prefix]``, or ``gs://``: Google Cloud Storage.

A file of more than 8 MiB is sent in parts, which the store composes, so that an interrupted upload can be
resumed by another process. The parts are objects below ``.uploads/``, which listings of datasets ignore, and are
deleted when the file is complete.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import requests
import urllib3
from google.api_core.exceptions import GoogleAPICallError, NotFound, PreconditionFailed, RequestRangeNotSatisfiable
from google.auth.credentials import AnonymousCredentials, Credentials
from google.auth.environment_vars import CREDENTIALS
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, TransportError
from google.cloud import storage
from google.oauth2 import service_account
from google.resumable_media import DataCorruption

from minari._base.addresses import plain_text, without_credentials
from minari._base.files import open_regular
from minari._base.json_text import shortened
from minari._base.locks import ThreadLock
from minari._base.parallel import parallel_map
from minari.errors import MinariError, RemoteAccessError, RemoteError, RemoteUnreachableError
from minari.storage.remotes.http_client import paced_pools
from minari.storage.remotes.object_storage import ABSENT, ConflictError, ObjectStorage
from minari.storage.transfer.checksums import Checksum, checksum_of, read_in_pieces
from minari.storage.transfer.limits import (
    MOST_REDIRECTS,
    DamagedInTransitError,
    Limits,
    is_transient,
    retry_after,
    until_intact,
    with_retries,
)
from minari.storage.transfer.meter import unreported
from minari.storage.transfer.remote_files import SMALL_FILE_LIMIT, RemoteFile, RemoteFileNotFoundError, too_large


__all__ = ["GCPStorage", "make_client"]

PART_SIZE = 8 << 20  # bytes in one request, which is repeated when it fails

_UPLOADS = ".uploads"
_COMPOSED = 32  # objects that the store composes in one request
_MOST_PAGES = 100_000
_PAGE = 1000  # objects; the maximum of the store
_FIELDS = "items(name,size,crc32c,generation),nextPageToken"
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")

# These are not typed.
_ServiceAccount: Any = service_account.Credentials
_Anonymous: Any = AnonymousCredentials

_HOW_TO_ACCESS = (
    "give the path of a service-account key file as the token (--key-path), set GOOGLE_APPLICATION_CREDENTIALS to "
    "it, or log in with `gcloud auth application-default login`"
)

_log = logging.getLogger(__name__)


class GCPStorage(ObjectStorage):
    """Bucket of Google Cloud Storage, or the part of it below a prefix.

    Args:
        name: name of the bucket, optionally with a prefix: ``"bucket/some/prefix"``.
        token: path of the key file of a service account. By default, the environment of the client is used
            (``GOOGLE_APPLICATION_CREDENTIALS``, the login of ``gcloud``, the service account of a machine in
            the cloud); without credentials, public buckets can be read.
        **options: as for :class:`CloudStorage`.

    Raises:
        RemoteError: the name is not a valid name of a bucket.
        RemoteAccessError: the key file is missing or malformed.
    """

    SCHEME = "gcp"
    CHECKSUMS = ("crc32c",)

    def __init__(self, name: str, token: str | None = None, **options: Any) -> None:
        super().__init__(name, token, **options)
        self._bucket_name, _, prefix = name.partition("/")
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        if _BUCKET.fullmatch(self._bucket_name) is None:
            raise RemoteError(
                f"The address of a bucket must be of the form gcp://bucket[/prefix], got "
                f"{shortened(without_credentials(self.address))}; check "
                "the name of the bucket."
            )
        self._credentials = None if token is None else _read_key(token)
        self._lock = ThreadLock()
        self._parts_at_once = threading.BoundedSemaphore(self.max_workers)  # each of them is held in memory
        self._client: storage.Client | None = None

    def find(self, prefix: str, ending: str = "") -> Iterator[RemoteFile]:
        """List all objects whose names begin with one text and end with another."""
        wanted = self._prefix + prefix
        missing = f"There is no bucket {self._bucket_name} in Google Cloud Storage; check the spelling, or create it."
        with _translated(f"Listing {self.address}", missing=missing):
            blobs = self._bucket().client.list_blobs(
                self._bucket_name,
                prefix=wanted or None,
                match_glob=f"**{ending}" if ending else None,
                fields=_FIELDS,
                page_size=_PAGE,
                timeout=self._timeout,
                retry=None,
            )
            for blob in _each_once(blobs, self.address):
                # Emulators do not filter, and directories created by the console are empty objects.
                if blob.name.startswith(wanted) and blob.name.endswith(ending) and not blob.name.endswith("/"):
                    yield self._described(blob)

    def read_file(self, name: str) -> bytes:
        """Read a small object."""
        return self.read_version(name)[0]

    def read_version(self, name: str) -> tuple[bytes, str | None]:
        """Read a small object with its generation."""
        blob = self._blob(name)
        with self._reading(name):
            content: bytes = blob.download_as_bytes(
                raw_download=True, checksum="crc32c", timeout=self._timeout, retry=None
            )
        return content, None if blob.generation is None else str(blob.generation)

    def read_range(self, name: str, start: int, stop: int) -> bytes:
        """Read the bytes of an object from ``start`` up to ``stop``, fewer if it ends before."""
        if stop <= start:
            return b""
        with self._reading(name):
            try:
                content: bytes = self._blob(name).download_as_bytes(
                    start=start, end=stop - 1, raw_download=True, checksum=None, timeout=self._timeout, retry=None
                )
            except RequestRangeNotSatisfiable:
                return b""
        if len(content) > stop - start:
            raise RemoteError(f"{self.address} sent more than the requested {stop - start} bytes of {name}.")
        return content

    def put(self, name: str, content: bytes, *, match: str | None = None) -> None:
        """Write a small object if the existing one has the expected version."""
        generation = 0 if match == ABSENT else None if match is None else int(match)

        def send() -> None:
            nonlocal generation
            blob = self._sent(name, content, generation)
            if _checksum(blob) != checksum_of(content, "crc32c"):
                generation = blob.generation  # the damaged object must not stay visible
                raise DamagedInTransitError(f"{name} arrived damaged in {self.address}.")

        until_intact(send)

    def put_file(self, name: str, path: Path, sent: Callable[[int], None] = unreported) -> RemoteFile:
        """Send a file, in parts if it is large; parts that the store already has are not sent again."""
        size = path.stat().st_size
        if size <= PART_SIZE:
            return self._described(self._sent(name, b"".join(read_in_pieces(path))))
        directory = f"{_UPLOADS}/{hashlib.sha256(f'{name} {size} {PART_SIZE}'.encode()).hexdigest()[:32]}"
        there = {file.name: file for file in with_retries(lambda: list(self.find(f"{directory}/")))}
        names = [f"{directory}/{start // PART_SIZE:08}" for start in range(0, size, PART_SIZE)]

        def send(number: int) -> None:
            with self._parts_at_once:
                part = _part(path, number)
                self._send_part(names[number], part, there.get(names[number]))
            sent(len(part))

        for _ in parallel_map(send, range(len(names)), self.max_workers):
            pass
        blob = self._joined(name, names, directory)
        self._clear(directory)
        return self._described(blob)

    def delete(self, name: str) -> None:
        """Delete an object if it exists."""
        try:
            with _translated(f"Deleting {name} from {self.address}", missing=""):
                self._blob(name).delete(timeout=self._timeout, retry=None)
        except RemoteFileNotFoundError:
            pass

    def _send_part(self, name: str, content: bytes, there: RemoteFile | None) -> None:
        checksum = checksum_of(content, "crc32c")
        if there is not None and (there.size, there.checksum) == (len(content), checksum):
            return

        def send() -> None:
            if _checksum(with_retries(partial(self._sent, name, content))) != checksum:
                raise DamagedInTransitError(f"A part of a file arrived damaged in {self.address}.")

        until_intact(send)

    def _sent(self, name: str, content: bytes, generation: int | None = None) -> storage.Blob:
        """Send an object in one request, and return its entry in the store."""
        blob = self._blob(name)
        missing = f"There is no bucket {self._bucket_name} in Google Cloud Storage; check the spelling, or create it."
        with _translated(f"Writing {name} to {self.address}", missing=missing):
            blob.upload_from_string(
                content,
                content_type="application/json" if name.endswith(".json") else "application/octet-stream",
                if_generation_match=generation,
                checksum="crc32c",
                timeout=self._timeout,
                retry=None,
            )
        return blob

    def _joined(self, name: str, parts: list[str], directory: str) -> storage.Blob:
        """Let the store compose the parts, in several rounds if there are many."""
        groups = [parts[at : at + _COMPOSED] for at in range(0, len(parts), _COMPOSED)]
        if len(groups) == 1:
            return with_retries(partial(self._compose, name, parts))
        targets = [f"{directory}/{len(parts)}-{number:08}" for number in range(len(groups))]
        for _ in parallel_map(
            lambda number: self._joined(targets[number], groups[number], directory),
            range(len(groups)),
            self.max_workers,
        ):
            pass
        return self._joined(name, targets, directory)

    def _compose(self, name: str, sources: list[str]) -> storage.Blob:
        blob = self._blob(name)
        blob.content_type = "application/octet-stream"
        try:
            with _translated(f"Putting {name} together in {self.address}", missing=""):
                blob.compose([self._blob(source) for source in sources], timeout=self._timeout, retry=None)
        except RemoteFileNotFoundError:
            # Another program that sent the same file has finished and deleted the parts.
            raise RemoteUnreachableError(
                f"The parts of {name} in {self.address} were deleted by another program."
            ) from None
        return blob

    def _clear(self, directory: str) -> None:
        """Delete the parts of a file; without permission to delete they stay, and the file is complete anyway."""
        try:
            names = [file.name for file in with_retries(lambda: list(self.find(f"{directory}/")))]
            for _ in parallel_map(lambda name: with_retries(partial(self.delete, name)), names, self.max_workers):
                pass
        except RemoteError as error:
            _log.warning("Parts of a complete file stay below %s in gcp://%s: %s", directory, self.name, error)

    def _reading(self, name: str) -> AbstractContextManager[None]:
        return _translated(f"Reading {name} from {self.address}", missing=f"There is no {name} in {self.address}.")

    @property
    def _timeout(self) -> tuple[float, float]:
        return self.LIMITS.connect_timeout, self.LIMITS.read_timeout

    def _bucket(self) -> storage.Bucket:
        with self._lock.current:
            if self._client is None:
                self._client = make_client(self._credentials, 2 * self.max_workers, self.LIMITS)
            return self._client.bucket(self._bucket_name)

    def _blob(self, name: str) -> storage.Blob:
        return self._bucket().blob(self._prefix + name)

    def _described(self, blob: storage.Blob) -> RemoteFile:
        name = blob.name.removeprefix(self._prefix)
        return RemoteFile(name, int(blob.size), _checksum(blob), str(blob.generation))


def _each_once(blobs: Any, address: str) -> Iterator[storage.Blob]:
    """Yield the objects of a paged listing, and check that it ends."""
    seen: set[str] = set()
    for number, page in enumerate(blobs.pages):
        yield from page
        token = blobs.next_page_token
        if token in seen or number == _MOST_PAGES:
            raise RemoteError(f"The listing of {address} goes on without an end; try again later.")
        seen.add(token)


def _checksum(blob: storage.Blob) -> Checksum | None:
    return None if blob.crc32c is None else Checksum("crc32c", base64.b64decode(blob.crc32c).hex())


def _part(path: Path, number: int) -> bytes:
    with os.fdopen(open_regular(path), "rb") as file:
        file.seek(number * PART_SIZE)
        return file.read(PART_SIZE)


def _read_key(token: str) -> Credentials:
    """Return the credentials in the key file of a service account.

    Args:
        token: path of the file.

    Raises:
        RemoteAccessError: there is no such file, or it does not contain a key.
    """
    # A secret that was given instead of a path must not appear in the message.
    called = f" {token}" if token.endswith(".json") and not set(token) & set('{"\n') else ""
    try:
        credentials: Credentials = _ServiceAccount.from_service_account_file(str(Path(token).expanduser()))
    except OSError:
        raise RemoteAccessError(
            f"The token for Google Cloud Storage must be the path of a service-account key file, and there is no "
            f"file{called} that can be read; check the path."
        ) from None
    except (ValueError, TypeError, KeyError, AttributeError, GoogleAuthError):
        raise RemoteAccessError(
            f"The file{called} given as the token for Google Cloud Storage holds no service-account key; "
            "download the key of the account again, as JSON."
        ) from None
    return credentials


def make_client(credentials: Credentials | None, connections: int, limits: Limits) -> storage.Client:
    """Return a client with persistent connections.

    Args:
        credentials: credentials; None for those of the environment, or anonymous access to public buckets.
        connections: number of connections.
        limits: limits of the duration of a response.

    Raises:
        RemoteAccessError: the credentials of the environment are missing or malformed.
    """
    try:
        client = storage.Client(project="<none>", credentials=credentials)
    except DefaultCredentialsError:
        if os.environ.get(CREDENTIALS):
            raise RemoteAccessError(
                f"The file that {CREDENTIALS} names is missing, or contains no credentials; correct or unset it."
            ) from None
        client = storage.Client(project="<none>", credentials=_Anonymous())
    session = client._http
    if not getattr(session, "is_mtls", False):
        for prefix in ("https://", "http://"):
            session.mount(prefix, _BoundedAdapter(limits, pool_connections=4, pool_maxsize=connections))
    session.max_redirects = MOST_REDIRECTS
    return client


class _BoundedAdapter(requests.adapters.HTTPAdapter):
    """HTTP adapter with limits for the duration and size of responses.

    Args:
        limits: limits of the duration of a response.
        **options: options of the base class.
    """

    def __init__(self, limits: Limits, **options: Any) -> None:
        self._pools = paced_pools(limits)
        super().__init__(**options)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, *args: Any, **options: Any) -> Any:
        manager = super().proxy_manager_for(*args, **options)
        manager.pool_classes_by_scheme = self._pools
        return manager

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        response = super().send(request, *args, **options)
        response.raw.stream = partial(_bounded, response.raw, response.raw.stream)
        return response


def _bounded(raw: Any, stream: Callable[..., Iterator[bytes]], *args: Any, **options: Any) -> Iterator[bytes]:
    """Yield the content of a response, limited to the size of a small file or a piece of a large one."""
    size = 0
    for piece in stream(*args, **options):
        size += len(piece)
        if size > SMALL_FILE_LIMIT:
            raw.close()
            raise too_large("What came from Google Cloud Storage", SMALL_FILE_LIMIT)
        yield piece


@contextmanager
def _translated(action: str, *, missing: str) -> Iterator[None]:
    """Turn errors of the client in the block into errors of this library.

    The messages of the client are not repeated, since they contain addresses that grant write access.

    Args:
        action: beginning of a sentence, such as "Reading x from gcp://bucket".
        missing: message if there is no object with that name.
    """
    try:
        yield
    except NotFound:
        raise RemoteFileNotFoundError(missing) from None
    except PreconditionFailed:
        raise ConflictError(
            f"{action} failed: the object has another version, since another program wrote it."
        ) from None
    except GoogleAPICallError as error:
        raise _refused(action, error) from None
    except TransportError:
        raise RemoteUnreachableError(f"{action} failed: Google's server for access tokens does not respond.") from None
    except GoogleAuthError as error:
        if getattr(error, "retryable", False):
            raise RemoteUnreachableError(f"{action} failed: Google temporarily gives no access token.") from None
        raise RemoteAccessError(f"{action} failed: it requires valid credentials; {_HOW_TO_ACCESS}.") from None
    except DataCorruption:
        raise RemoteUnreachableError(f"{action} failed: the content was damaged on the way.") from None
    except requests.exceptions.Timeout:
        raise RemoteUnreachableError(
            f"{action} failed: the server took too long to respond; try again later."
        ) from None
    except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        if isinstance(error, MinariError):
            raise
        raise RemoteUnreachableError(
            f"{action} failed: the connection was refused or broken; check the network, and try again."
        ) from None
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        if isinstance(error, MinariError):
            raise
        raise RemoteError(
            f"{action} failed: the server that responded is not Google Cloud Storage; check whether the network "
            "requires a login."
        ) from None


def _refused(action: str, error: GoogleAPICallError) -> RemoteError:
    code = int(error.code or 0)
    said = plain_text("; ".join(str(detail.get("message")) for detail in error.errors if isinstance(detail, dict)))
    text = f"{action} failed: the server answered {code}{f' ({said})' if said else ''}"
    if code in (401, 403):
        return RemoteAccessError(f"{text}; check the permissions of the account, or {_HOW_TO_ACCESS}.")
    if is_transient(code) or "crc32c" in said.lower():  # the last: damaged in transit
        return RemoteUnreachableError(f"{text}.", retry_after(_headers(error.response).get("Retry-After")))
    return RemoteError(f"{text}.")


def _headers(response: Any) -> Any:
    return response.headers if isinstance(response, requests.Response) else {}
