"""HTTP client with persistent connections, limits for the time and size of responses, and protection of secrets.

It is urllib3 with stricter rules for redirects and credentials. The connection pools are also used by the client
of Google Cloud Storage, which is built on the same library.
"""

from __future__ import annotations

import base64
import errno
import http.client
import io
import netrc
import os
import re
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import IO, Any
from urllib.parse import SplitResult, unquote, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3

from minari._base.addresses import plain_text
from minari._base.json_text import shortened
from minari._base.locks import ThreadLock
from minari.errors import MinariError, RemoteAccessError, RemoteError, RemoteUnreachableError
from minari.storage.transfer.limits import MOST_REDIRECTS, Limits, Pace, is_transient, retry_after
from minari.storage.transfer.remote_files import RemoteFileNotFoundError, too_large


__all__ = ["HttpClient", "PastTheEndError", "check_range", "paced_pools"]

_HEADERS = {"User-Agent": "minari", "Accept-Encoding": "identity"}
_MOVED = frozenset({301, 302, 303, 307, 308})
_READ_AT_ONCE = 1 << 20  # bytes
_READ_FOR_THE_CONNECTION = (
    1 << 16
)  # bytes of an unused response that are read; the connection of a longer one is closed
_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(?:\d+|\*)", re.ASCII)


class PastTheEndError(RemoteError):
    """The requested part of a file begins at or after its end."""


class HttpClient:
    """Thread-safe client that reads files from web servers over persistent connections.

    Args:
        token: sent as ``Authorization: Bearer token``. By default, the user and password for the host in
            ``~/.netrc`` (or the file of the variable ``NETRC``) are sent, if there are any.
        limits: limits of the duration of a response.
        connections: number of persistent connections.

    Raises:
        RemoteAccessError: the token has invalid characters.
    """

    def __init__(self, token: str | None, limits: Limits, connections: int) -> None:
        if token is not None and not re.fullmatch(r"[!-~]+", token):
            raise RemoteAccessError(
                "The token contains spaces, line breaks or other characters that tokens do not have; copy it again."
            )
        self._token, self._limits, self._connections = token, limits, connections
        self._lock = ThreadLock()
        self._managers: dict[tuple[int, str, str | None], urllib3.PoolManager] = {}

    def read_file(self, url: str, limit: int) -> bytes:
        """Read a whole file of at most ``limit`` bytes; raises as :meth:`answer` does.

        Raises:
            DatasetCorruptError: it is larger.
        """
        with self.answer(url) as response:
            return b"".join(_content(response, url, limit))

    def read_range(self, url: str, start: int, stop: int) -> bytes | None:
        """Read the bytes of a file from ``start`` up to ``stop``, fewer if it ends before.

        Returns:
            The bytes; None if the server only sends whole files. Raises as :meth:`answer` does.
        """
        with self.answer(url, start, stop) as response:
            if response.status != 206 and (start or (_announced(response, url) or stop + 1) > stop):
                return None
            return b"".join(_content(response, url, stop - start))

    def copy(self, url: str, target: IO[bytes], limit: int) -> int:
        """Write a whole file of at most ``limit`` bytes into another, and return its size.

        Raises as :meth:`read_file` does.
        """
        with self.answer(url) as response:
            return sum(map(target.write, _content(response, url, limit)))

    @contextmanager
    def answer(self, url: str, start: int | None = None, stop: int = 0) -> Iterator[urllib3.BaseHTTPResponse]:
        """Open the response to a request for a file, or for its bytes from ``start`` up to ``stop``.

        A server may respond with the whole file nevertheless, with status 200 instead of 206.

        Raises:
            RemoteFileNotFoundError: there is no such file.
            PastTheEndError: the file ends before the part begins.
            RemoteAccessError: the server requires credentials, or denies access.
            RemoteUnreachableError: the server does not respond, breaks the connection, or sends too slowly.
            RemoteError: the response is unusable for another reason.
        """
        headers = _HEADERS if start is None else {**_HEADERS, "Range": f"bytes={start}-{stop - 1}"}
        try:
            response = self._followed(url, headers)
            try:
                if response.status >= 300:
                    raise _refusal(response, url)
                if response.status == 206:
                    check_range(response.headers, -1 if start is None else start, stop, url)
                if response.headers.get("Content-Encoding", "identity") != "identity":
                    raise RemoteError(f"{url} was sent compressed, which was not requested; it cannot be used.")
                yield response
            finally:
                response.close()  # unless it was read completely, and the connection is back in its pool
        except (OSError, urllib3.exceptions.HTTPError, http.client.HTTPException) as error:
            if isinstance(error, MinariError):
                raise
            raise _failure(error, url) from None

    def _followed(self, url: str, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        """Send a request and follow redirects, but not from an encrypted connection to an unencrypted one."""
        at = urlsplit(url)
        authorization = self._authorization(at.hostname or "")
        for _ in range(MOST_REDIRECTS + 1):
            sent = headers if authorization is None else {**headers, "Authorization": authorization}
            response = self._manager(at).request(
                "GET", at.geturl(), headers=sent, redirect=False, retries=False, preload_content=False,
                decode_content=False,
            )  # fmt: skip
            target = response.headers.get("Location")
            if response.status not in _MOVED or target is None:
                return response
            response.close()  # its body is not read, whatever its length
            moved = _redirect(at, target, url)
            if moved[:2] != at[:2]:
                authorization = None
            at = moved
        raise RemoteError(f"{url} redirects more than {MOST_REDIRECTS} times.")

    def _manager(self, at: SplitResult) -> urllib3.PoolManager:
        """Return the connection pools for an address, since connections do not survive a fork."""
        proxy = None if proxy_bypass(at.netloc) else getproxies().get(at.scheme)
        key = os.getpid(), at.scheme, proxy
        with self._lock.current:
            if key not in self._managers:
                options: dict[str, Any] = {
                    "num_pools": 4,
                    "maxsize": self._connections,
                    "timeout": urllib3.Timeout(connect=self._limits.connect_timeout, read=self._limits.read_timeout),
                }
                if at.scheme == "https":
                    options["ssl_context"] = ssl.create_default_context()  # the certificates of the system
                self._managers[key] = manager = _new_manager(proxy, options)
                manager.pool_classes_by_scheme = paced_pools(self._limits)
            return self._managers[key]

    def _authorization(self, host: str) -> str | None:
        if self._token is not None:
            return f"Bearer {self._token}"
        try:
            found = netrc.netrc(os.environ.get("NETRC")).authenticators(host)
        except OSError:
            return None
        except netrc.NetrcParseError as error:  # the message of which may contain a password
            raise RemoteAccessError(
                f"Line {error.lineno} of {error.filename} cannot be read, which may contain the password for {host}; "
                "correct it, or make the file readable only for yourself."
            ) from None
        if found is None:
            return None
        return f"Basic {base64.b64encode(f'{found[0]}:{found[2]}'.encode()).decode()}"


def _new_manager(proxy: str | None, options: Mapping[str, Any]) -> urllib3.PoolManager:
    if proxy is None:
        return urllib3.PoolManager(**options)
    at = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    user = f"{unquote(at.username)}:{unquote(at.password or '')}" if at.username else None
    return urllib3.ProxyManager(
        f"{at.scheme}://{at.netloc.rpartition('@')[2]}",
        proxy_headers=urllib3.make_headers(proxy_basic_auth=user) if user else None,
        **options,
    )


def _redirect(at: SplitResult, location: str, url: str) -> SplitResult:
    """Return the address to which a response redirects.

    Args:
        at: the requested address.
        location: location in the response.
        url: the original address, for messages, since a redirect may lead to a signed address.

    Raises:
        RemoteError: it must not be followed.
    """
    try:
        new = urlsplit(urljoin(at.geturl(), location))
        new.port  # noqa: B018 (raises if it is not a number)
    except ValueError:
        raise RemoteError(f"{url} redirects to something that is not an address; it is not followed.") from None
    if new.scheme not in ("http", "https"):
        raise RemoteError(f"{url} redirects to an address of another kind than https; it is not followed.")
    if "@" in new.netloc:
        raise RemoteError(f"{url} redirects to an address with a user in it; it is not followed.")
    if at.scheme == "https" and new.scheme != "https":
        raise RemoteError(f"{url} redirects to an address that is not encrypted; it is not followed.")
    return new


def _announced(response: urllib3.BaseHTTPResponse, url: str) -> int | None:
    """Return the size that a response announces."""
    text = response.headers.get("Content-Length")
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,19}", text.strip()):
        raise RemoteError(f"{url} has the announced size {shortened(text)}, expected a number; it cannot be used.")
    return int(text)


def _content(response: urllib3.BaseHTTPResponse, url: str, limit: int) -> Iterator[bytes]:
    """Yield the body of a response, and raise if it is longer than the limit or shorter than announced."""
    expected = _announced(response, url)
    if expected is not None and expected > limit:
        raise too_large(url, limit)
    size = 0
    while piece := response.read(min(_READ_AT_ONCE, limit + 1 - size)):
        size += len(piece)
        if size > limit:
            raise too_large(url, limit)
        yield piece


def _refusal(response: urllib3.BaseHTTPResponse, url: str) -> RemoteError:
    if 0 <= (_announced(response, url) or 0) <= _READ_FOR_THE_CONNECTION:
        response.read(_READ_FOR_THE_CONNECTION)
    status = response.status
    what = f"{url} was answered with {status} {plain_text(response.reason or '')}".rstrip()
    if status in (404, 410):
        return RemoteFileNotFoundError(f"{what}.")
    if status == 416:
        return PastTheEndError(f"{what}.")
    if status in (401, 403, 407):
        return RemoteAccessError(f"{what}; give a token, or put user and password for the host into ~/.netrc.")
    if is_transient(status):
        return RemoteUnreachableError(f"{what}.", retry_after(response.headers.get("Retry-After")))
    return RemoteError(f"{what}.")


def _failure(error: Exception, url: str) -> RemoteError:
    reason: BaseException = error
    while True:  # down to the error of the system
        inner = reason.__cause__ or next((each for each in reason.args if isinstance(each, BaseException)), None)
        if inner is None:
            break
        reason = inner
    if isinstance(reason, ssl.SSLCertVerificationError):
        return RemoteError(f"{url} has a certificate that is not trusted: {reason.verify_message}.")
    if isinstance(reason, OSError) and reason.errno == errno.ENOSPC:
        return RemoteError(
            f"There is no space for {url} in the directory for temporary files; free some, or set TMPDIR."
        )
    return RemoteUnreachableError(f"{url} cannot be reached: {plain_text(reason) or type(reason).__name__}.")


def check_range(headers: Any, start: int, stop: int, what: str) -> None:
    """Check that a response with status 206 contains a requested part from its beginning.

    Raises:
        RemoteError: it contains another part.
    """
    found = _RANGE.fullmatch(headers.get("Content-Range") or "")
    if found is None or int(found[1]) != start or int(found[2]) >= stop:
        raise RemoteError(
            f"{what} was asked for bytes {start} to {stop} and the server sent others; they cannot be used."
        )


def paced_pools(limits: Limits) -> dict[str, Any]:
    """Return the classes of connection pools, by scheme, that enforce a minimum pace of responses."""
    answers = {"response_class": staticmethod(partial(_PacedResponse, limits=limits))}
    pools: dict[str, Any] = {"http": urllib3.HTTPConnectionPool, "https": urllib3.HTTPSConnectionPool}
    return {
        scheme: type("PacedPool", (pool,), {"ConnectionCls": type("PacedConnection", (pool.ConnectionCls,), answers)})
        for scheme, pool in pools.items()
    }


class _PacedResponse(http.client.HTTPResponse):
    """Response with a minimum pace of headers and body, since timeouts of sockets restart with each byte."""

    def __init__(self, sock: Any, *args: Any, limits: Limits, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        stream: Any = self.fp
        self.fp = io.BufferedReader(_PacedStream(stream.detach(), Pace(limits)))


class _PacedStream(io.RawIOBase):
    """Stream that counts the bytes that arrive at a socket.

    Args:
        stream: the socket as a stream.
        pace: pace that counts the bytes.
    """

    def __init__(self, stream: io.RawIOBase, pace: Pace) -> None:
        self._stream, self._pace = stream, pace

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        size = self._stream.readinto(buffer)
        self._pace.moved(size or 0)
        return size

    def close(self) -> None:
        self._stream.close()
        super().close()
