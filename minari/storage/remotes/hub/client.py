"""Requests to the Hugging Face Hub, with limits of time and size, safe redirects, and the errors of this library.

The session, login and endpoint are those of ``huggingface_hub``, so that its settings (proxies, certificates,
mirrors, offline mode) apply. ``HfApi`` is used to write to the Hub. Reading is implemented here, because ``HfApi``
cannot read ranges of files, follows the pages of listings forever, and waits for responses that arrive byte by byte.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlencode, urljoin, urlsplit

import huggingface_hub
from huggingface_hub import HfApi, constants, get_session, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from minari._base.addresses import plain_text, without_credentials
from minari._base.json_text import parse_json
from minari.errors import MinariError, RemoteAccessError, RemoteError, RemoteUnreachableError
from minari.storage.remotes.http_client import check_range
from minari.storage.transfer.limits import MOST_REDIRECTS, Limits, Pace, is_transient, retry_after, within
from minari.storage.transfer.remote_files import SMALL_FILE_LIMIT, RemoteFileNotFoundError, too_large


__all__ = ["LONG", "HubClient", "RefusedError", "understood"]

T = TypeVar("T")

#: Timeout of slow operations of the Hub, in seconds.
LONG = 60.0

_LIBRARY = "minari"
_AGENT = f"{_LIBRARY}; hf_hub/{huggingface_hub.__version__}"
# The error of the HTTP library is a base of that of the Hub. A session closed by another thread raises RuntimeError.
_FAILURES: tuple[type[Exception], ...] = (OSError, RuntimeError, *HfHubHTTPError.__bases__)
_WRONG_TOKEN = "Invalid credentials in Authorization header"  # the only 401 that concerns the token itself
_NEXT_PAGE = re.compile(r'<([^<>]+)>\s*;\s*rel="next"')
_MOST_PAGES = 10_000
_MOST_ENTRIES = 1_000_000  # of a listing
_LARGEST_REFUSAL = 1 << 16  # bytes of an error response


class RefusedError(RemoteError):
    """The Hub rejects a request for an unusual reason.

    Attributes:
        status: status of the response.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class _Answer:
    """Response of the Hub, with decompressed content."""

    status_code: int
    headers: Mapping[str, str] = field(repr=False)
    content: bytes = field(repr=False)

    def json(self) -> Any:
        return parse_json(self.content)


class HubClient:
    """Client of the Hub for one user.

    Args:
        token: by default that of the login or environment of the Hub, determined at each request.
        limits: limits of the duration of a response.

    Raises:
        RemoteAccessError: the token has invalid characters.
    """

    def __init__(self, token: str | None = None, limits: Limits | None = None) -> None:
        self._token = _checked_token(token)
        self.limits = limits or Limits()

    @property
    def endpoint(self) -> str:
        """Return the address of the Hub."""
        return (os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")

    @property
    def has_token(self) -> bool:
        """Return whether requests carry a token."""
        return self._current_token() is not None

    def _current_token(self) -> str | None:
        if self._token is not None or constants.HF_HUB_DISABLE_IMPLICIT_TOKEN:
            return self._token
        return _checked_token(get_token())

    def call(self, call: Callable[[HfApi], T], action: str, *, size: int = 0) -> T:
        """Return the result of a call of ``huggingface_hub``, unless it takes too long.

        Args:
            call: function of the client of ``huggingface_hub``.
            action: phrase for messages, such as ``"reading x"``.
            size: number of bytes that are sent.

        Raises:
            RemoteError: as for :meth:`request`.
        """
        with self.translated(action):
            api = self.api()
            return within(LONG + self.limits.interval + size / self.limits.bytes_per_second, lambda: call(api))

    def api(self) -> HfApi:
        """Return the client of ``huggingface_hub``, for one call."""
        session = _session()
        if (
            session.timeout.read is None
        ):  # not set by the user; without a timeout for the pool, whose connections other threads return
            session.timeout = (self.limits.connect_timeout, LONG, self.limits.read_timeout, None)
        return HfApi(self.endpoint, self._current_token() or False, library_name=_LIBRARY)

    @contextmanager
    def translated(self, action: str) -> Iterator[None]:
        """Turn errors of ``huggingface_hub`` and its HTTP library in the block into errors of this library.

        Args:
            action: phrase for messages.
        """
        try:
            yield
        except MinariError:
            raise
        except HfHubHTTPError as error:
            raise self._error(error.response, action, self.has_token) from None
        except HFValidationError:
            raise RefusedError(
                f"The Hub has no repositories of such a name, used while {action}; a name has at most 96 "
                "letters, digits, '-', '_' and '.', no '--' or '..', and no '-' or '.' at its ends.",
                400,
            ) from None
        except _FAILURES as error:
            # Its text and its traceback may contain a signed address.
            raise RemoteUnreachableError(
                f"The Hub at {without_credentials(self.endpoint)} broke off or did not respond in time while {action} "
                f"({type(error).__name__}); see that it can be reached, and try again."
            ) from None
        except ValueError as error:
            raise RemoteError(
                f"The client of the Hub failed while {action}: {plain_text(error).rstrip('.')}."
            ) from None
        except (LookupError, TypeError, AttributeError):
            raise _no_hub(action) from None

    def request(
        self,
        address: str,
        action: str,
        *,
        content: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        signed: bool = False,
        span: tuple[int, int] | None = None,
    ) -> _Answer:
        """Send a request and follow redirects.

        Args:
            address: path on the Hub, beginning with ``/``, or an absolute address that the Hub has given.
            action: phrase for messages, such as ``"reading x"``.
            content: value that is sent as JSON by a POST; without it, the request is a GET.
            headers: further headers.
            signed: True if the address itself grants access, so that no token is sent.
            span: start and stop of the requested bytes of a file; by default all.

        Raises:
            RemoteUnreachableError: the Hub did not respond, or asked to try again later.
            RemoteAccessError: the token is missing, invalid, or lacks permission.
            RemoteFileNotFoundError: the resource does not exist, or is hidden from this user.
            DatasetCorruptError: the response is too large.
            RefusedError: the Hub rejects the request for another reason.
        """
        address = self._absolute(address)
        sent = {"User-Agent": _AGENT, "Accept-Encoding": "gzip", **(headers or {})}
        if span is not None:
            sent["Range"] = f"bytes={span[0]}-{span[1] - 1}"
        token = self._current_token() if address.startswith(f"{self.endpoint}/") and not signed else None
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        with self.translated(action):
            answer = self._answer(address, action, sent, None if content is None else json.dumps(content), span)
        if answer.status_code >= 300:
            raise self._error(answer, action, token is not None)
        return answer

    def _answer(
        self, address: str, action: str, headers: Mapping[str, str], content: str | None, span: tuple[int, int] | None
    ) -> _Answer:
        session = _session()
        method, connect, read = (
            "GET" if content is None else "POST",
            self.limits.connect_timeout,
            self.limits.read_timeout,
        )
        times = (connect, read, read, None)
        request = session.build_request(method, address, headers=headers, content=content, timeout=times)
        for _ in range(MOST_REDIRECTS):
            send = partial(session.send, request, stream=True, follow_redirects=False)
            response = within(connect + read + self.limits.interval, send)
            try:
                if not response.has_redirect_location or content is not None:
                    body = self._body(response, headers["Accept-Encoding"], span, action)
                    return _Answer(response.status_code, response.headers, body)
                request = response.next_request  # without the token if it leads to another host
            finally:
                response.close()
        raise RemoteError(f"The Hub redirects too often while {action}.")

    def _body(self, response: Any, accepted: str, span: tuple[int, int] | None, action: str) -> bytes:
        if (response.headers.get("Content-Encoding") or "identity") not in ("identity", accepted):
            raise RemoteError(
                f"The Hub sent a compressed response that was not requested while {action}; it cannot be used."
            )
        pieces = _paced(response.iter_bytes(), Pace(self.limits))
        if response.status_code >= 300:
            return _beginning(pieces, 0, _LARGEST_REFUSAL)
        if span is None:
            return b"".join(_limited(pieces, SMALL_FILE_LIMIT, action))
        start, stop = span
        if response.status_code == 206:
            check_range(response.headers, start, stop, f"The Hub, while {action},")
            return b"".join(_limited(pieces, stop - start, action))
        return _beginning(pieces, start, stop - start)  # the server sends the whole file

    def ask(self, address: str, action: str, **details: Any) -> Any:
        """Send a request whose response is JSON, and return its value; see :meth:`request`."""
        return _parsed(self.request(address, action, **details), action)

    def list(self, address: str, query: Mapping[str, object], action: str) -> list[dict[str, Any]]:
        """Return the entries of all pages of a listing.

        Raises:
            RefusedError: the number of pages exceeds a limit.
        """
        following: str | None = f"{address}?{urlencode(query, doseq=True)}"
        seen: set[str] = set()
        entries: list[dict[str, Any]] = []
        while following is not None:
            if following in seen or len(seen) == _MOST_PAGES or len(entries) > _MOST_ENTRIES:
                raise RefusedError(f"The Hub sends pages without an end while {action}; try again later.", 200)
            seen.add(following)
            answer = self.request(following, action)
            page = _parsed(answer, action)
            if not isinstance(page, list):
                raise _no_hub(action)
            entries += page
            found = _NEXT_PAGE.search(answer.headers.get("Link", ""))
            following = self._absolute(urljoin(self.endpoint, found[1])) if found else None
        return entries

    def _absolute(self, address: str) -> str:
        """Return an absolute address, with the endpoint, which may be a mirror, instead of the public Hub."""
        if address.startswith("/"):
            return self.endpoint + address
        public = "https://huggingface.co/"
        return f"{self.endpoint}/{address.removeprefix(public)}" if address.startswith(public) else address

    def _error(self, answer: Any, action: str, has_token: bool) -> Exception:
        status = answer.status_code
        said = _message(answer)
        told = f" (it says: {said})" if said else ""
        if is_transient(status):
            # The newer header with the seconds to wait: ratelimit: "api";r=0;t=55
            found = re.search(r";\s*r=0\s*;\s*t=(\d{1,9})", answer.headers.get("RateLimit", ""))
            pause = retry_after(answer.headers.get("Retry-After") or (found[1] if found else None))
            return RemoteUnreachableError(
                f"The Hub answered with {status} while {action}{told}; try again later.", pause
            )
        if answer.headers.get("X-Error-Code") == "GatedRepo":
            return RemoteAccessError(
                f"The Hub does not allow {action}: the repository is gated; ask for access on its page, and log in "
                "(`hf auth login`, or HF_TOKEN) as a user who has it."
            )
        if status == 401 and (has_token or answer.headers.get("X-Error-Message") == _WRONG_TOKEN):
            return RemoteAccessError(
                f"The Hub does not accept the token given for {action}; create another one at "
                f"{without_credentials(self.endpoint)}/settings/tokens, or log in (`hf auth login`)."
            )
        if status == 403:
            return RemoteAccessError(
                f"The Hub does not allow {action}{told}; check that the token has permission, and that its user "
                "belongs to the organization."
            )
        if status in (401, 404):
            return RemoteFileNotFoundError(
                f"The Hub does not find the resource while {action}, or it is private: check the spelling, and log in "
                "(`hf auth login`, or HF_TOKEN) as a user with access."
            )
        return RefusedError(f"The Hub answered with {status} while {action}{told}.", status)


@contextmanager
def understood(action: str) -> Iterator[None]:
    """Turn errors of interpreting a response in the block into an error about the Hub.

    Args:
        action: phrase for the message.

    Raises:
        RefusedError: the response is not one of a Hub.
    """
    try:
        yield
    except MinariError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError):
        raise _no_hub(action) from None


def _checked_token(token: str | None) -> str | None:
    if token is not None and not re.fullmatch(r"[!-~]+", token):
        raise RemoteAccessError("The token contains characters that tokens of the Hub do not have; copy it once more.")
    return token


def _check_redirect(old: str, location: str, action: str) -> None:
    try:
        new = urlsplit(urljoin(old, location))
    except ValueError:
        raise RemoteError(f"The Hub redirects to something that is not an address while {action}.") from None
    if new.scheme not in ("http", "https") or "@" in new.netloc or (old.startswith("https:") and new.scheme != "https"):
        raise RemoteError(
            f"The Hub redirects to an address that is not encrypted, or of another kind, while {action}; it is not "
            "followed."
        )


def _session() -> Any:
    """Return the session of ``huggingface_hub``, with a guard for the responses to this library."""
    session: Any = get_session()
    if _guard not in session.event_hooks["response"]:
        session.event_hooks = session.event_hooks | {"response": [*session.event_hooks["response"], _guard]}
    return session


def _guard(response: Any) -> None:
    """Check the redirect and limit the size of a response to this library, or to ``huggingface_hub`` on its behalf."""
    request = response.request
    agent = request.headers.get("User-Agent", "")
    if request.method != "PUT" and not agent.startswith(_LIBRARY):  # uploads of content have no user agent
        return
    action = f"asking {request.url.host}"
    if response.has_redirect_location:
        _check_redirect(str(request.url), response.headers["Location"], action)
    if agent != _AGENT:  # whose responses are limited where they are read
        pieces = response.iter_bytes
        response.iter_bytes = lambda *size: _limited(pieces(*size), SMALL_FILE_LIMIT, action)


def _paced(pieces: Iterable[bytes], pace: Pace) -> Iterator[bytes]:
    for piece in pieces:
        pace.moved(len(piece))
        yield piece


def _limited(pieces: Iterable[bytes], limit: int, action: str) -> Iterator[bytes]:
    for piece in pieces:
        limit -= len(piece)
        if limit < 0:
            raise too_large(f"What came while {action}", SMALL_FILE_LIMIT)
        yield piece


def _beginning(pieces: Iterable[bytes], start: int, limit: int) -> bytes:
    """Return that many bytes from a position, without reading the rest."""
    content = bytearray()
    for piece in pieces:
        content += piece[start:]
        start = max(start - len(piece), 0)
        if len(content) >= limit:
            break
    return bytes(content[:limit])


def _parsed(answer: _Answer, action: str) -> Any:
    with understood(action):
        return answer.json()


def _no_hub(action: str) -> RefusedError:
    return RefusedError(
        f"The server that responded while {action} is no Hub; check HF_ENDPOINT, and whether the network "
        "requires a login.",
        200,
    )


def _message(answer: Any) -> str:
    """Return the message of the Hub about an error, as one short line."""
    said = answer.headers.get("X-Error-Message")
    if not said:
        try:
            said = answer.json()["error"]
        except (ValueError, KeyError, TypeError):
            return ""
    return plain_text(said).rstrip(".")
