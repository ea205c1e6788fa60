"""Asks web servers for files and parts of them: with timeouts, through proxies, and without giving secrets away."""

from __future__ import annotations

import base64
import errno
import http.client
import netrc
import os
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import IO, Any
from urllib.parse import urljoin, urlsplit

from minari._base.addresses import plain_text
from minari._base.json_text import shortened
from minari.errors import MinariError, RemoteAccessError, RemoteError, RemoteUnreachableError
from minari.storage.remotes.paced_http import PacedResponse, check_range
from minari.storage.transfer.pace import Limits
from minari.storage.transfer.remote_files import RemoteFileNotFoundError, too_large


__all__ = ["PastTheEndError", "WebClient"]

_CONNECT_TIMEOUT, _READ_TIMEOUT = 5, 15  # seconds; the second one between two pieces of an answer
_READ_AT_ONCE = 1 << 20  # bytes
_BUSY = {408, 425, 429}


class PastTheEndError(RemoteError):
    """A part of a file was asked for that begins where the file has ended."""


class WebClient:
    """Fetches files from one web server, in several threads.

    Args:
        token: sent as ``Authorization: Bearer token``. Without one, the user and the password that
            ``~/.netrc`` (or the file of the variable ``NETRC``) has for the host are sent, if any.
        limits: how slow an answer may be.

    Raises:
        RemoteAccessError: what is given can be no token.
    """

    def __init__(self, token: str | None = None, limits: Limits | None = None) -> None:
        if token is not None and not re.fullmatch(r"[!-~]+", token):
            raise RemoteAccessError(
                "The token holds blanks, line breaks or letters that no token has; copy it once more, as it is."
            )
        self._token = token
        self._opener = urllib.request.OpenerDirector()  # made by hand, as nothing is to lead to FTP or files
        limits = limits or Limits()
        for handler in (
            urllib.request.ProxyHandler(),
            urllib.request.UnknownHandler(),
            _HTTPHandler(limits),
            _HTTPSHandler(limits, ssl.create_default_context()),
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.HTTPErrorProcessor(),
            _RedirectHandler(),
        ):
            self._opener.add_handler(handler)

    def read_file(self, url: str, limit: int) -> bytes:
        """A whole file of no more than so many bytes; raises as :meth:`answer` does.

        Raises:
            DatasetCorruptError: it is larger.
        """
        with self.answer(url) as response:
            return b"".join(_content(response, url, limit))

    def read_range(self, url: str, start: int, stop: int) -> bytes | None:
        """The bytes of a file from ``start`` up to ``stop``, fewer where it ends before.

        Returns:
            None where the server gives whole files only. Raises as :meth:`answer` does.
        """
        with self.answer(url, start, stop) as response:
            if response.status != 206 and (start or (_announced(response, url) or stop + 1) > stop):
                return None
            return b"".join(_content(response, url, stop - start))

    def copy(self, url: str, target: IO[bytes], limit: int) -> int:
        """Write a whole file of no more than so many bytes into another; how many they were.

        Raises as :meth:`read_file` does.
        """
        with self.answer(url) as response:
            return sum(map(target.write, _content(response, url, limit)))

    @contextmanager
    def answer(self, url: str, start: int | None = None, stop: int = 0) -> Iterator[http.client.HTTPResponse]:
        """The answer to a request for a file, or for its bytes from ``start`` up to ``stop``.

        A server may answer with the whole file all the same, with status 200 in place of 206.

        Raises:
            RemoteFileNotFoundError: there is no such file.
            PastTheEndError: it ends before the part begins.
            RemoteAccessError: the server wants to know who asks, or does not let them.
            RemoteUnreachableError: the server does not answer, breaks off, or sends too slowly.
            RemoteError: it answers in another way that makes no sense.
        """
        request = urllib.request.Request(url, headers={"User-Agent": "minari", "Accept-Encoding": "identity"})
        if start is not None:
            request.add_header("Range", f"bytes={start}-{stop - 1}")
        if (authorization := self._authorization(request.host)) is not None:
            request.add_unredirected_header("Authorization", authorization)
        try:
            with self._opener.open(request, timeout=_CONNECT_TIMEOUT) as response:
                if response.status == 206:
                    check_range(response.headers, -1 if start is None else start, stop, url)
                if response.headers.get("Content-Encoding", "identity") != "identity":
                    raise RemoteError(f"{url} comes compressed, which was not asked for; it cannot be used.")
                yield response
        except urllib.error.HTTPError as error:
            error.close()
            raise _refusal(error, url) from None
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, MinariError):
                raise
            raise _failure(error, url) from None

    def _authorization(self, host: str) -> str | None:
        if self._token is not None:
            return f"Bearer {self._token}"
        try:
            found = netrc.netrc(os.environ.get("NETRC")).authenticators(urlsplit(f"//{host}").hostname or "")
        except OSError:
            return None
        except netrc.NetrcParseError as error:  # whose message may repeat a password
            raise RemoteAccessError(
                f"Line {error.lineno} of {error.filename} cannot be read, which may hold the password for {host}; "
                "correct it, or let nobody but yourself read the file."
            ) from None
        if found is None:
            return None
        return f"Basic {base64.b64encode(f'{found[0]}:{found[2]}'.encode()).decode()}"


def _announced(response: http.client.HTTPResponse, url: str) -> int | None:
    """How many bytes an answer says that it has."""
    text = response.headers.get("Content-Length")
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,19}", text.strip()):
        raise RemoteError(f"{url} is announced with {shortened(text)} bytes, expected a number; it cannot be used.")
    return int(text)


def _content(response: http.client.HTTPResponse, url: str, limit: int) -> Iterator[bytes]:
    """The body of an answer, which has neither more bytes than the limit nor fewer than were announced."""
    expected = _announced(response, url)
    if expected is not None and expected > limit:
        raise too_large(url, limit)
    size = 0
    while piece := response.read(min(_READ_AT_ONCE, limit + 1 - size)):
        size += len(piece)
        if size > limit:
            raise too_large(url, limit)
        yield piece
    if expected is not None and size < expected:
        raise ConnectionError(f"the answer ended after {size} of {expected} bytes")


def _refusal(error: urllib.error.HTTPError, url: str) -> RemoteError:
    what = f"{url} was answered with {error.code} {plain_text(error.reason)}".rstrip()
    if error.code in (404, 410):
        return RemoteFileNotFoundError(f"{what}.")
    if error.code == 416:
        return PastTheEndError(f"{what}.")
    if error.code in (401, 403, 407):
        return RemoteAccessError(f"{what}; give a token, or put user and password for the host into ~/.netrc.")
    if error.code in _BUSY or error.code >= 500:
        wait = error.headers.get("Retry-After", "")
        return RemoteUnreachableError(f"{what}.", float(wait) if re.fullmatch("[0-9]{1,9}", wait) else None)
    return RemoteError(f"{what}.")


def _failure(error: OSError | http.client.HTTPException, url: str) -> RemoteError:
    reason = getattr(error, "reason", error)
    if isinstance(reason, ssl.SSLCertVerificationError):
        return RemoteError(f"{url} has a certificate that is not trusted: {reason.verify_message}.")
    if isinstance(reason, OSError) and reason.errno == errno.ENOSPC:
        return RemoteError(f"There is no room for {url} in the folder for temporary files; make some, or set TMPDIR.")
    return RemoteUnreachableError(f"{url} cannot be reached: {plain_text(reason) or type(reason).__name__}.")


class _Patience:
    """Connecting may take so long, each piece of an answer longer, and the whole of it as long as it keeps a pace."""

    def __init__(self, *args: Any, limits: Limits, **options: Any) -> None:
        super().__init__(*args, **options)
        self.response_class: Any = partial(PacedResponse, limits=limits)

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]
        self.sock: Any
        self.sock.settimeout(_READ_TIMEOUT)


class _HTTPConnection(_Patience, http.client.HTTPConnection):
    pass


class _HTTPSConnection(_Patience, http.client.HTTPSConnection):
    pass


class _HTTPHandler(urllib.request.HTTPHandler):
    def __init__(self, limits: Limits) -> None:
        super().__init__()
        self._limits = limits

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        connection: Any = _HTTPConnection
        return self.do_open(connection, req, limits=self._limits)


class _HTTPSHandler(urllib.request.HTTPSHandler):
    def __init__(self, limits: Limits, context: ssl.SSLContext) -> None:
        super().__init__(context=context)
        self._trusted, self._limits = context, limits

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        connection: Any = _HTTPSConnection
        return self.do_open(connection, req, context=self._trusted, limits=self._limits)


class _RedirectHandler(urllib.request.HTTPRedirectHandler):
    """Goes where the server sends it, but not from an encrypted connection to another; secrets stay with the host."""

    def http_error_302(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: http.client.HTTPMessage
    ) -> Any:
        fp.close()  # what else it says is not read, however long it is
        try:
            new = urlsplit(urljoin(req.full_url, headers.get("Location") or headers.get("URI") or ""))
        except ValueError:
            raise RemoteError(
                f"{req.full_url} sends to something that is not an address; it is not followed."
            ) from None
        if new.scheme not in ("http", "https"):
            raise RemoteError(f"{req.full_url} sends to an address of another kind than https; it is not followed.")
        if "@" in new.netloc:
            raise RemoteError(f"{req.full_url} sends to an address with a user in it; it is not followed.")
        return super().http_error_302(req, fp, code, msg, headers)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        old, new = urlsplit(req.full_url), urlsplit(urljoin(req.full_url, newurl))
        if old.scheme == "https" and new.scheme != "https":
            raise RemoteError(f"{req.full_url} sends to an address that is not encrypted; it is not followed.")
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        if request is not None and old[:2] == new[:2] and req.has_header("Authorization"):
            request.add_unredirected_header("Authorization", req.get_header("Authorization", ""))
        return request
