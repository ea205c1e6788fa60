"""``memory://name``, ``sftp://host/directory``: stores that fsspec opens, under the names that it gives them."""

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

SLOWEST = 1 << 14  # bytes a second: a transfer that is slower than that has come to a halt

_PATIENCE = 120.0  # seconds; for a small file of which nobody knows how small
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
# What S3 and Azure say, with a status that means a mistake of ours, of content that changed on its way to them.
_DAMAGED = {"BadDigest", "IncompleteBody", "Md5Mismatch", "RequestTimeout", "XAmzContentSHA256Mismatch"}
_BUSY = 409  # two writers at the same moment; the next attempt shows who has won

# Clients that are not asynchronous are rarely made for several threads.
_in_turn = ThreadLock()


class _Sent(Callback):  # type: ignore[misc]  # fsspec has no types
    """A callback of fsspec that reports the bytes that are sent."""

    def __init__(self, sent: Callable[[int], None]) -> None:
        super().__init__()
        self._sent = sent

    def relative_update(self, inc: int = 1) -> None:
        """Count further bytes."""
        self._sent(inc)


@dataclass(frozen=True, slots=True)
class _Opened:
    """A filesystem of fsspec, the path of the remote in it, and the process that it belongs to."""

    filesystem: Any = field(repr=False)
    root: str = field(repr=False)
    process: int


class FsspecStorage(ObjectStorage):
    """A store that fsspec opens, as a remote.

    Objects that must not exist yet are created exclusively where the store can do that. A store that can
    neither do that nor report versions is looked at beforehand; of two programs that upload the same
    dataset there at the same moment, both may then believe that it is theirs. Files are read back after
    they were sent, unless the store reports their checksum. The stores of S3 and Azure have classes of
    their own, which do all of it.

    Args:
        name: what follows ``scheme://`` in the address. A user and a password in it are used, and not shown.
        token: the path of a JSON file with options for the store, as fsspec calls them. By default the
            store looks into its own environment, and into fsspec's (``FSSPEC_SFTP_USERNAME`` and so on).
        **options: as for :class:`CloudStorage`.

    Raises:
        RemoteError: the file of the token cannot be read.
    """

    #: A sentence that says where credentials come from.
    HINT: ClassVar[str] = "Give its credentials by the token, which is the path of a JSON file of options for fsspec."
    #: Whether there is a container around all objects, which exists or does not, and no directories in it.
    IN_CONTAINER: ClassVar[bool] = False

    def __init__(self, name: str, token: str | None = None, **options: Any) -> None:
        super().__init__(re.sub(r"^[^/]*@", "", name).partition("?")[0], token, **options)
        self._location = f"{self.scheme}://{name}"
        self._options = {} if token is None else _options_in(token)
        self._secrets = frozenset(_texts_in(self._options))
        self._opened: _Opened | None = None
        self._opening = ThreadLock()

    # What a kind of store may do better.

    def _client_options(self) -> dict[str, Any]:
        """Return options for the store beside those of the user."""
        return {}

    def _prepare(self, filesystem: Any) -> None:
        """Set what cannot be set by options."""

    def _checksum(self, info: Mapping[str, Any]) -> Checksum | None:
        """Return the checksum of an object, from its entry."""
        return None

    def _listed(self, prefix: str) -> Mapping[str, Mapping[str, Any]]:
        """Return the entries of the objects whose names begin with a text, and perhaps of others."""
        if not self.IN_CONTAINER:
            found = self._call("Listing", prefix.rpartition("/")[0], "find", detail=True)
        else:
            container, _, above = self._open().root.partition("/")
            begins = f"{above}/{prefix}" if above else prefix
            found = self._request("Listing", prefix, "find", container, prefix=begins, detail=True)
        return found if isinstance(found, dict) else {}  # a list where the directory is a file

    def _conditions(self, match: str) -> dict[str, Any]:
        """Return arguments by which an object is written only if it is still of a version."""
        raise ConflictError(f"{self.address} cannot compare versions of its files.")

    # The primitives.

    def find(self, prefix: str, ending: str = "") -> Iterable[RemoteFile]:
        """List the objects whose names begin with one text and end with another."""
        try:
            listed = self._listed(prefix)
        except RemoteFileNotFoundError:
            if self.IN_CONTAINER:
                raise RemoteError(
                    f"{self.address} does not exist, or nobody may know of it; check the spelling, or create it first."
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
                f"{self.address} lists something that is not a file, or not completely ({type(error).__name__}); see "
                "what answers there."
            ) from None

    def read_file(self, name: str) -> bytes:
        """Read a small object."""
        return check_size(self._read(name, 0, SMALL_FILE_LIMIT + 1, patience=_PATIENCE), SMALL_FILE_LIMIT, name)

    def read_range(self, name: str, start: int, stop: int) -> bytes:
        """Read some bytes of an object, fewer where it ends before."""
        if start >= stop:  # some clients take that for everything
            return b""
        return self._read(
            name,
            start,
            stop,
            patience=self._patience(stop - start),
        )

    def _read(self, name: str, start: int, stop: int, patience: float) -> bytes:
        """Read some bytes of an object, no more than are asked for, within ``patience`` seconds."""
        try:
            content = bytes(self._call("Reading", name, "cat_file", start=start, end=stop, patience=patience))
        except PastTheEndError:
            return b""
        if len(content) > stop - start:
            raise RemoteError(f"{self.address} was asked for {stop - start} bytes of {name} and sent more.")
        return content

    def read_version(self, name: str) -> tuple[bytes, str | None]:
        """Read a small object, and its version."""
        version = self._remote_file(name, self._call("Looking at", name, "info")).version
        return self.read_file(name), version  # if it was written in between, the version is found to be too old

    def put(self, name: str, content: bytes, *, match: str | None = None) -> None:
        """Write a small object."""
        conditions: dict[str, Any] = {}
        if match == ABSENT:
            conditions = {"mode": "create"}
            if not self.IN_CONTAINER and self._call("Looking for", name, "exists"):
                raise ConflictError(f"There is a file {name} in {self.address} already.")
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

    # How they are asked for.

    def _send(self, name: str, path: Path, size: int, sent: Callable[[int], None], **options: Any) -> None:
        """Send a file of so many bytes."""
        options["callback"] = _Sent(sent)
        self._request("Writing", name, "put_file", str(path), self._path(name), size=size, **options)

    def _patience(self, size: int) -> float:
        """Return for how many seconds to wait until so many bytes have been moved."""
        return self.LIMITS.connect_timeout + self.LIMITS.read_timeout + size / SLOWEST

    def _make_directory(self, name: str) -> None:
        if not self.IN_CONTAINER:
            self._call("Making a directory for", name.rpartition("/")[0], "makedirs", exist_ok=True)

    def _remote_file(self, name: str, info: Mapping[str, Any]) -> RemoteFile:
        version = info.get("ETag") or info.get("etag")
        return RemoteFile(name, int(info["size"]), self._checksum(info), version)

    def _path(self, name: str) -> str:
        """Return the path of an object or a directory in the filesystem; of the remote itself for an empty name."""
        root = self._open().root
        return f"{root}/{name}" if name else root

    def _call(self, action: str, name: str, method: str, *args: Any, **options: Any) -> Any:
        """Call a method of the filesystem that takes the path of an object first, as :meth:`_request` does."""
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
            action: for messages, as the beginning of a sentence.
            name: of what it is about, for messages.
            method: of the filesystem.
            args: of the method.
            size: what is moved, in bytes.
            patience: for how long to wait, in seconds; by default for as long as the size may take.
            options: arguments of the method by their names.
        """
        filesystem = self._open().filesystem
        if patience is None:
            listing = _LONGEST_LISTING if method == "find" else 0.0
            patience = self._patience(size) + listing
        try:
            # The clients wait for ever where the other side stops taking in what they send.
            if filesystem.async_impl:
                return sync(filesystem.loop, getattr(filesystem, f"_{method}"), *args, timeout=patience, **options)
            return within(patience, partial(_one_by_one, getattr(filesystem, method), *args, **options))
        except Exception as error:
            raise self._as_error(error, f"{action} {name}".strip()) from None

    def _as_error(self, error: Exception, action: str) -> Exception:
        """Return the error of this library for one of a client, whose causes are not shown: they may hold secrets."""
        if isinstance(error, MinariError):
            return error
        return as_remote_error(error, f"{action} in {self.address}", self.HINT, self._secrets)

    def _open(self) -> _Opened:
        """Return the filesystem of this process: a client does not survive a fork."""
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
    """Yield all texts in a value from JSON but addresses, which are shown without their secrets."""
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
        options = None  # the message must not repeat what may be a secret
    if not isinstance(options, dict):
        raise RemoteAccessError(
            "The token of a store of fsspec must be the path of a JSON file that holds its options, such as "
            '{"key": "...", "secret": "..."}; what was given is no such path. Without a token, the store looks into '
            "its own environment."
        )
    return options


class PastTheEndError(RemoteError):
    """A part of an object was asked for that begins where the object has ended."""


def as_remote_error(error: Exception, action: str, hint: str, secrets: Collection[str] = ()) -> Exception:
    """Return the error to raise in place of one of a client's.

    Args:
        error: of the client.
        action: what was tried, as the beginning of a sentence: ``"Reading x in s3://bucket"``.
        hint: where the client gets credentials from, as a sentence.
        secrets: that are not shown, should the client repeat them.

    Returns:
        An error of this library, or the same one where it is a mistake in a program.
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
    """Return the beginning of a text on one line, without what stands in addresses before ``@`` and after ``?``.

    >>> without_secrets("no answer from https://ann:secret@host/x?signature=5")
    'no answer from https://host/x'

    Args:
        text: what a client says.
        secrets: further ones.
    """
    for secret in sorted(secrets, key=len, reverse=True):  # one may hold another
        text = text.replace(secret, "...")
    lines = text.strip().splitlines()
    return plain_text(" ".join(lines[: 2 if lines[0].endswith(":") else 1]).rstrip(" .")) if lines else ""


def _status(error: BaseException) -> int | None:
    """Return the status of the answer, as botocore, azure and aiohttp keep it."""
    found: Any = _response(error).get("ResponseMetadata", {}).get("HTTPStatusCode")
    for name in ("status_code", "status"):
        found = found or getattr(error, name, None)
    return found if isinstance(found, int) else None


def _code(error: BaseException) -> str | None:
    """Return the name that the store gives to the error, as botocore and azure keep it."""
    found = _response(error).get("Error", {}).get("Code") or getattr(error, "error_code", None)
    return None if found is None else str(getattr(found, "value", found))


def _response(error: BaseException) -> dict[str, Any]:
    response = getattr(error, "response", None)
    return response if isinstance(response, dict) else {}
