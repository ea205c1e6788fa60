"""``memory://name``, ``sftp://host/directory``: stores of fsspec, with its schemes."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import fsspec
from fsspec.asyn import sync
from fsspec.callbacks import Callback

from minari._base.addresses import plain_text
from minari._base.files import NAMESPACE_METADATA_LIMIT, read_regular
from minari._base.json_text import parse_json
from minari._base.locks import ThreadLock
from minari.errors import MinariError, MissingDependencyError, RemoteAccessError, RemoteError, RemoteUnreachableError
from minari.storage.remotes.object_storage import ABSENT, ConflictError, ObjectStorage
from minari.storage.transfer.checksums import Checksum
from minari.storage.transfer.limits import is_transient, within
from minari.storage.transfer.meter import unreported
from minari.storage.transfer.remote_files import SMALL_FILE_LIMIT, RemoteFile, RemoteFileNotFoundError, check_size


__all__ = ["FsspecStorage", "PastTheEndError", "as_remote_error", "without_secrets"]

T = TypeVar("T")

SLOWEST = 1 << 14  # bytes a second: a slower transfer counts as stalled

_PATIENCE = 120.0  # seconds; for a small file of unknown size
_LONGEST_LISTING = 1800.0  # seconds
_SHORTEST_SECRET = 6  # characters

_CREDENTIALS = {
    "AuthenticationException",
    "ClientAuthenticationError",
    "CredentialRetrievalError",
    "CredentialUnavailableError",
    "NoAuthTokenError",
    "NoCredentialsError",
    "PartialCredentialsError",
    "ProfileNotFound",
    "TokenRetrievalError",
    "UnauthorizedSSOTokenError",
}
_FINAL = {"ConfigParseError", "InvalidEndpointError", "NoRegionError", "ParamValidationError"}
# Errors of S3 and Azure for content that was damaged in transit, with the status of a client error.
_DAMAGED = {"BadDigest", "IncompleteBody", "Md5Mismatch", "RequestTimeout", "XAmzContentSHA256Mismatch"}
_BUSY = 409  # concurrent writers; the next attempt shows which one succeeded

# Clients that are not asynchronous are rarely thread-safe.
_in_turn = ThreadLock()


class _Sent(Callback):  # type: ignore[misc]  # fsspec has no types
    """Callback of fsspec that reports the bytes that are sent."""

    def __init__(self, sent: Callable[[int], None]) -> None:
        super().__init__()
        self._sent = sent

    def relative_update(self, inc: int = 1) -> None:
        """Count further bytes."""
        self._sent(inc)


@dataclass(frozen=True, slots=True)
class _Opened:
    """Filesystem of fsspec, with the path of the remote in it, and the process in which it was created."""

    filesystem: Any = field(repr=False)
    root: str = field(repr=False)
    process: int


class FsspecStorage(ObjectStorage):
    """Store of fsspec, as a remote.

    Objects that must not exist yet are created exclusively if the store supports it. If it supports neither
    that nor versions, their existence is checked beforehand, and two programs that upload the same dataset
    concurrently may both succeed. Files are read back after they were sent, unless the store reports their
    checksum. S3 and Azure have classes of their own, without these limitations.

    Args:
        name: part of the address after ``scheme://``. A user and a password in it are used, but not shown.
        token: path of a JSON file with options for the store, named as in fsspec. By default, the environment
            of the store and of fsspec (``FSSPEC_SFTP_USERNAME`` and so on) is used.
        **options: as for :class:`CloudStorage`.

    Raises:
        RemoteError: the token file cannot be read.
    """

    #: Sentence that explains how to give credentials.
    HINT: ClassVar[str] = "Give its credentials by the token, which is the path of a JSON file of options for fsspec."
    #: True if all objects are in a container, which may be missing, and which has no directories.
    IN_CONTAINER: ClassVar[bool] = False

    def __init__(self, name: str, token: str | None = None, **options: Any) -> None:
        super().__init__(re.sub(r"^[^/]*@", "", name).partition("?")[0], token, **options)
        self._location = f"{self.scheme}://{name}"
        self._options = {} if token is None else _options_in(token)
        self._secrets = frozenset(_texts_in(self._options))
        self._opened: _Opened | None = None
        self._opening = ThreadLock()

    # Hooks for subclasses

    def _client_options(self) -> dict[str, Any]:
        """Return options for the store in addition to those of the user."""
        return {}

    def _prepare(self, filesystem: Any) -> None:
        """Set parameters that are not options."""

    def _checksum(self, info: Mapping[str, Any]) -> Checksum | None:
        """Return the checksum of an object from its entry in a listing."""
        return None

    def _listed(self, prefix: str) -> Mapping[str, Mapping[str, Any]]:
        """Return the entries of the objects whose names begin with a text, possibly with others."""
        if not self.IN_CONTAINER:
            found = self._call("Listing", prefix.rpartition("/")[0], "find", detail=True)
        else:
            container, _, above = self._open().root.partition("/")
            begins = f"{above}/{prefix}" if above else prefix
            found = self._request("Listing", prefix, "find", container, prefix=begins, detail=True)
        return found if isinstance(found, dict) else {}  # a list if the directory is a file

    def _conditions(self, match: str) -> dict[str, Any]:
        """Return the arguments to write an object only if it still has a version."""
        raise ConflictError(f"{self.address} cannot compare versions of its files.")

    # Primitives

    def find(self, prefix: str, ending: str = "") -> Iterable[RemoteFile]:
        """List the objects whose names begin with one text and end with another."""
        try:
            listed = self._listed(prefix)
        except RemoteFileNotFoundError:
            if self.IN_CONTAINER:
                raise RemoteError(
                    f"{self.address} does not exist, or is hidden from this user; check the spelling, or create it."
                ) from None
            listed = {}
        above = f"{self._open().root}/"
        try:
            files = (info for info in listed.values() if info.get("type") == "file")
            named = ((str(info["name"]).removeprefix(above), info) for info in files)
            return [
                self._remote_file(*each) for each in named if each[0].startswith(prefix) and each[0].endswith(ending)
            ]
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise RemoteError(
                f"{self.address} lists an entry that is not a file, or is incomplete ({type(error).__name__}); check "
                "which server responds at this address."
            ) from None

    def read_file(self, name: str) -> bytes:
        """Read a small object."""
        return check_size(self._read(name, 0, SMALL_FILE_LIMIT + 1, patience=_PATIENCE), SMALL_FILE_LIMIT, name)

    def read_range(self, name: str, start: int, stop: int) -> bytes:
        """Read some bytes of an object, fewer if it ends before."""
        if start >= stop:  # some clients would read everything
            return b""
        return self._read(
            name,
            start,
            stop,
            patience=self._patience(stop - start),
        )

    def _read(self, name: str, start: int, stop: int, patience: float) -> bytes:
        """Read some bytes of an object, never more than requested, within ``patience`` seconds."""
        try:
            content = bytes(self._call("Reading", name, "cat_file", start=start, end=stop, patience=patience))
        except PastTheEndError:
            return b""
        if len(content) > stop - start:
            raise RemoteError(f"{self.address} sent more than the requested {stop - start} bytes of {name}.")
        return content

    def read_version(self, name: str) -> tuple[bytes, str | None]:
        """Read a small object, and its version."""
        version = self._remote_file(name, self._call("Looking at", name, "info")).version
        return self.read_file(name), version  # if it is written in between, the version is outdated

    def put(self, name: str, content: bytes, *, match: str | None = None) -> None:
        """Write a small object."""
        conditions: dict[str, Any] = {}
        if match == ABSENT:
            conditions = {"mode": "create"}
            if not self.IN_CONTAINER and self._call("Looking for", name, "exists"):
                raise ConflictError(f"{self.address} already has a file {name}.")
        elif match is not None:
            conditions = self._conditions(match)
        self._make_directory(name)
        try:
            self._call("Writing", name, "pipe_file", content, size=len(content), **conditions)
        except RemoteFileNotFoundError as error:
            if match is None or match == ABSENT:
                raise
            raise ConflictError(str(error)) from None

    def put_file(self, name: str, path: Path, sent: Callable[[int], None] = unreported) -> RemoteFile:
        """Send a file."""
        self._make_directory(name)
        self._send(name, path, path.stat().st_size, sent)
        return self._remote_file(name, self._call("Looking at", name, "info"))

    def delete(self, name: str) -> None:
        """Delete an object."""
        with suppress(RemoteFileNotFoundError):
            self._call("Deleting", name, "rm_file")

    # Requests

    def _send(self, name: str, path: Path, size: int, sent: Callable[[int], None], **options: Any) -> None:
        """Send a file of that size in bytes."""
        options["callback"] = _Sent(sent)
        self._request("Writing", name, "put_file", str(path), self._path(name), size=size, **options)

    def _patience(self, size: int) -> float:
        """Return the number of seconds to wait for the transfer of that many bytes."""
        return self.LIMITS.connect_timeout + self.LIMITS.read_timeout + size / SLOWEST

    def _make_directory(self, name: str) -> None:
        if not self.IN_CONTAINER:
            self._call("Making a directory for", name.rpartition("/")[0], "makedirs", exist_ok=True)

    def _remote_file(self, name: str, info: Mapping[str, Any]) -> RemoteFile:
        version = info.get("ETag") or info.get("etag")
        return RemoteFile(name, int(info["size"]), self._checksum(info), version)

    def _path(self, name: str) -> str:
        """Return the path of an object or directory in the filesystem, or of the remote itself for an empty name."""
        root = self._open().root
        return f"{root}/{name}" if name else root

    def _call(self, action: str, name: str, method: str, *args: Any, **options: Any) -> Any:
        """Call a method of the filesystem whose first argument is the path of an object; see :meth:`_request`."""
        return self._request(action, name, method, self._path(name), *args, **options)

    def _request(
        self,
        action: str,
        name: str,
        method: str,
        *args: Any,
        size: int = 0,
        patience: float | None = None,
        **options: Any,
    ) -> Any:
        """Call a method of the filesystem.

        Args:
            action: beginning of a sentence for messages.
            name: name of the object, for messages.
            method: name of the method.
            args: positional arguments of the method.
            size: number of bytes that are transferred.
            patience: seconds to wait; by default according to the size.
            options: keyword arguments of the method.
        """
        filesystem = self._open().filesystem
        if patience is None:
            listing = _LONGEST_LISTING if method == "find" else 0.0
            patience = self._patience(size) + listing
        try:
            # The clients wait forever if the other side stops receiving.
            if filesystem.async_impl:
                return sync(filesystem.loop, getattr(filesystem, f"_{method}"), *args, timeout=patience, **options)
            return within(patience, partial(_one_by_one, getattr(filesystem, method), *args, **options))
        except Exception as error:
            raise self._as_error(error, f"{action} {name}".strip()) from None

    def _as_error(self, error: Exception, action: str) -> Exception:
        """Return the error of this library for one of a client, without its causes, which may contain secrets."""
        if isinstance(error, MinariError):
            return error
        return as_remote_error(error, f"{action} in {self.address}", self.HINT, self._secrets)

    def _open(self) -> _Opened:
        """Return the filesystem of this process, since clients do not survive a fork."""
        with self._opening.current:
            if self._opened is None or self._opened.process != os.getpid():
                own = {"skip_instance_cache": True, "use_listings_cache": False, **self._client_options()}
                try:
                    filesystem, root = fsspec.url_to_fs(self._location, **{**own, **self._options})
                    self._prepare(filesystem)
                except ImportError as error:
                    raise MissingDependencyError(
                        f"Remotes of the form {self.scheme}://name need a package that is not installed: {error}."
                    ) from error
                except Exception as error:
                    raise as_remote_error(error, f"Opening {self.address}", self.HINT, self._secrets) from None
                self._opened = _Opened(filesystem, root.rstrip("/"), os.getpid())
            return self._opened


def _one_by_one(call: Callable[..., T], *args: Any, **options: Any) -> T:
    with _in_turn.current:
        return call(*args, **options)


def _texts_in(value: object) -> Iterator[str]:
    """Yield all texts in a JSON value except addresses, which are shown without their secrets."""
    if isinstance(value, str):
        if len(value) >= _SHORTEST_SECRET and "://" not in value:
            yield value
    elif isinstance(value, (dict, list)):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts_in(inner)


def _options_in(token: str) -> dict[str, Any]:
    try:
        options = parse_json(read_regular(Path(token).expanduser(), NAMESPACE_METADATA_LIMIT))
    except (OSError, ValueError):
        options = None  # the message must not repeat the value, which may be a secret
    if not isinstance(options, dict):
        raise RemoteAccessError(
            "The token for a store of fsspec must be the path of a JSON file with its options, such as "
            '{"key": "...", "secret": "..."}, but the given one is not; without a token, the environment of the store '
            "is used."
        )
    return options


class PastTheEndError(RemoteError):
    """The requested part of an object begins at or after its end."""


def as_remote_error(error: Exception, action: str, hint: str, secrets: Collection[str] = ()) -> Exception:
    """Return the error to raise instead of an error of a client.

    Args:
        error: error of the client.
        action: beginning of a sentence: ``"Reading x in s3://bucket"``.
        hint: sentence that explains how to give credentials.
        secrets: texts to remove from the message of the client.

    Returns:
        An error of this library, or the same error if it is a programming error.
    """
    causes: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and all(cause is not other for other in causes):
        causes.append(cause)
        cause = cause.__cause__
    kinds = {kind.__name__ for cause in causes for kind in type(cause).__mro__}
    status = next(filter(None, map(_status, causes)), None)
    what = f"{action} failed: {without_secrets(str(error), secrets) or type(error).__name__}"
    if isinstance(error, FileExistsError) or status == 412:
        return ConflictError(f"{what}.")
    if isinstance(error, FileNotFoundError) or status == 404:
        return RemoteFileNotFoundError(f"{what}.")
    if isinstance(error, PermissionError) or status in (401, 403) or kinds & _CREDENTIALS:
        return RemoteAccessError(f"{what}. {hint}")
    if status == 416:
        return PastTheEndError(f"{what}.")
    if any(_code(cause) in _DAMAGED for cause in causes):
        return RemoteUnreachableError(f"{what}.")
    if kinds & _FINAL or (status is not None and 400 <= status < 500 and status != _BUSY and not is_transient(status)):
        return RemoteError(f"{what}.")
    if isinstance(error, (OSError, EOFError, TimeoutError)) or type(error).__module__ != "builtins":
        return RemoteUnreachableError(f"{what}.")
    return RemoteError(f"{what}. {hint}") if isinstance(error, (ValueError, NotImplementedError)) else error


def without_secrets(text: str, secrets: Collection[str] = ()) -> str:
    """Return the beginning of a text on one line, with addresses stripped of the parts before ``@`` and after ``?``.

    >>> without_secrets("no answer from https://ann:secret@host/x?signature=5")
    'no answer from https://host/x'

    Args:
        text: message of a client.
        secrets: further texts to remove.
    """
    for secret in sorted(secrets, key=len, reverse=True):  # one may contain another
        text = text.replace(secret, "...")
    lines = text.strip().splitlines()
    return plain_text(" ".join(lines[: 2 if lines[0].endswith(":") else 1]).rstrip(" .")) if lines else ""


def _status(error: BaseException) -> int | None:
    """Return the status of the response from an error of botocore, azure or aiohttp."""
    found: Any = _response(error).get("ResponseMetadata", {}).get("HTTPStatusCode")
    for name in ("status_code", "status"):
        found = found or getattr(error, name, None)
    return found if isinstance(found, int) else None


def _code(error: BaseException) -> str | None:
    """Return the error code of the store from an error of botocore or azure."""
    found = _response(error).get("Error", {}).get("Code") or getattr(error, "error_code", None)
    return None if found is None else str(getattr(found, "value", found))


def _response(error: BaseException) -> dict[str, Any]:
    response = getattr(error, "response", None)
    return response if isinstance(response, dict) else {}
