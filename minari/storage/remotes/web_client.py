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
from typing import IO, Any
from urllib.parse import urljoin, urlsplit

from minari.errors import RemoteAccessError, RemoteError, RemoteUnreachableError
from minari.storage.transfer.remote_files import RemoteFileNotFoundError


__all__ = ["PastTheEndError", "WebClient"]

_CONNECT_TIMEOUT, _READ_TIMEOUT = 5, 15  # seconds; the second one between two pieces of an answer
_BUSY = {408, 425, 429}
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(?:\d+|\*)")


class PastTheEndError(RemoteError):
    """A part of a file was asked for that begins where the file has ended."""


class WebClient:
    """Fetches files from one web server, in several threads.

    Args:
        token: sent as ``Authorization: Bearer token``. Without one, the user and the password that
            ``~/.netrc`` (or the file of the variable ``NETRC``) has for the host are sent, if any.
    """

    def __init__(self, token: str | None = None) -> None:
        self._token = token
        self._opener = urllib.request.OpenerDirector()  # made by hand, as nothing is to lead to FTP or files
        for handler in (
            urllib.request.ProxyHandler(),
            urllib.request.UnknownHandler(),
            _HTTPHandler(),
            _HTTPSHandler(context=ssl.create_default_context()),
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.HTTPErrorProcessor(),
            _RedirectHandler(),
        ):
            self._opener.add_handler(handler)

    @contextmanager
    def answer(self, url: str, start: int | None = None, stop: int = 0) -> Iterator[http.client.HTTPResponse]:
        """The answer to a request for a file, or for its bytes from ``start`` up to ``stop``.

        A server may answer with the whole file all the same, with status 200 in place of 206.

        Raises:
            RemoteFileNotFoundError: there is no such file.
            PastTheEndError: it ends before the part begins.
            RemoteAccessError: the server wants to know who asks, or does not let them.
            RemoteUnreachableError: the server does not answer, or breaks off.
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
                    _check_range(response, start, stop, url)
                yield response
        except urllib.error.HTTPError as error:
            with error:
                raise _refusal(error, url) from None
        except (OSError, http.client.HTTPException) as error:
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


def _check_range(response: http.client.HTTPResponse, start: int | None, stop: int, url: str) -> None:
    found = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if start is None or found is None or int(found[1]) != start or int(found[2]) >= stop:
        raise RemoteError(f"{url} was asked for bytes {start} to {stop} and the server sent others; it cannot be used.")


def _refusal(error: urllib.error.HTTPError, url: str) -> RemoteError:
    what = f"{url} was answered with {error.code} {error.reason}"
    if error.code in (404, 410):
        return RemoteFileNotFoundError(f"{what}.")
    if error.code == 416:
        return PastTheEndError(f"{what}.")
    if error.code in (401, 403, 407):
        return RemoteAccessError(f"{what}; give a token, or put user and password for the host into ~/.netrc.")
    if error.code in _BUSY or error.code >= 500:
        wait = error.headers.get("Retry-After", "")
        return RemoteUnreachableError(f"{what}.", float(wait) if wait.isdecimal() else None)
    return RemoteError(f"{what}.")


def _failure(error: OSError | http.client.HTTPException, url: str) -> RemoteError:
    reason = getattr(error, "reason", error)
    if isinstance(reason, ssl.SSLCertVerificationError):
        return RemoteError(f"{url} has a certificate that is not trusted: {reason.verify_message}.")
    if isinstance(reason, OSError) and reason.errno == errno.ENOSPC:
        return RemoteError(f"There is no room for {url} in the folder for temporary files; make some, or set TMPDIR.")
    return RemoteUnreachableError(f"{url} cannot be reached: {reason or type(reason).__name__}.")


class _Patience:
    """Connecting may take so long, and each piece of an answer longer."""

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]
        self.sock: Any
        self.sock.settimeout(_READ_TIMEOUT)


class _HTTPConnection(_Patience, http.client.HTTPConnection):
    pass


class _HTTPSConnection(_Patience, http.client.HTTPSConnection):
    pass


class _HTTPHandler(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_HTTPConnection, req)


class _HTTPSHandler(urllib.request.HTTPSHandler):
    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(context=context)
        self._trusted = context

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_HTTPSConnection, req, context=self._trusted)


class _RedirectHandler(urllib.request.HTTPRedirectHandler):
    """Goes where the server sends it, but not from an encrypted connection to another; secrets stay with the host."""

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
