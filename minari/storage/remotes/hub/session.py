"""Single requests in the session of ``huggingface_hub``: answers that are bounded, redirects that keep secrets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin, urlsplit

import huggingface_hub
from huggingface_hub.utils import get_session  # type: ignore[attr-defined]  # public, says its documentation

from minari._base.json_text import parse_json
from minari.errors import RemoteError
from minari.storage.remotes.http_client import check_range
from minari.storage.transfer.limits import Limits, Pace, within
from minari.storage.transfer.remote_files import SMALL_FILE_LIMIT, too_large


__all__ = ["Answer", "Request", "Timeouts", "ask"]

_ON_REQUESTS = huggingface_hub.__version__.startswith("0.")  # later releases are built on httpx
_MOVED = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS = 10
_LARGEST_REFUSAL = 1 << 16  # bytes of an answer that says why not
_READ_AT_ONCE = 1 << 13  # bytes; requests gives nothing before as many have come


@dataclass(frozen=True, slots=True)
class Timeouts:
    """For how long nothing may happen, in seconds: while connecting, reading and writing."""

    connect: float
    read: float
    write: float


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked.

    Attributes:
        method: of HTTP.
        address: whole.
        headers: of the request.
        content: bytes, or something to read from that knows its length.
        action: for messages.
        span: the bytes of a file that are wanted; the answer has no others, whatever the server sends.
    """

    method: str
    address: str = field(repr=False)  # may be signed
    headers: Mapping[str, str] = field(repr=False)
    content: Any = field(repr=False)
    action: str
    span: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered.

    Attributes:
        status_code: of HTTP.
        headers: whatever the case of their names.
        content: decompressed.
    """

    status_code: int
    headers: Mapping[str, str] = field(repr=False)
    content: bytes = field(repr=False)

    def json(self) -> Any:
        """The value of the content; raises ``ValueError`` where it is not JSON."""
        return parse_json(self.content)


def ask(request: Request, timeouts: Timeouts, limits: Limits) -> Answer:
    """Make a request, and go where the answer leads.

    Args:
        request: what is asked.
        timeouts: between two steps of the answer.
        limits: how slow all of it may be.

    Raises:
        DatasetCorruptError: the answer is too large.
        RemoteError: it leads to a place that is not gone to, or is another part than the one that was asked for.
        Exception: whatever the client raises.
    """
    for _ in range(_MOST_REDIRECTS):
        response = within(_longest_wait(request, timeouts, limits), lambda r=request: _sent(r, timeouts))  # type: ignore[misc]
        try:
            if response.status_code not in _MOVED or "Location" not in response.headers:
                return Answer(response.status_code, response.headers, _content(request, response, limits))
            request = _redirected(request, response)
        finally:
            response.close()
    raise RemoteError(f"The Hub leads from one address to another while {request.action}, and to none that answers.")


def _longest_wait(request: Request, timeouts: Timeouts, limits: Limits) -> float:
    sending = len(request.content or b"") / limits.bytes_per_second
    return timeouts.connect + timeouts.read + limits.interval + sending


def _sent(request: Request, timeouts: Timeouts) -> Any:
    """The answer up to its content, which is still to be read."""
    session: Any = get_session()
    method, address, headers = request.method, request.address, dict(request.headers)
    if _ON_REQUESTS:
        # While it sends, the limit for connecting holds for each write.
        times = (timeouts.connect, timeouts.read)
        return session.request(
            method, address, headers=headers, data=request.content, timeout=times, allow_redirects=False, stream=True
        )
    # None: for a connection of the pool, which others give back.
    limits = (timeouts.connect, timeouts.read, timeouts.write, None)
    made = session.build_request(method, address, headers=headers, content=request.content, timeout=limits)
    return session.send(made, stream=True, follow_redirects=False)


def _redirected(request: Request, response: Any) -> Request:
    """The request to the address that an answer leads to."""
    old = urlsplit(request.address)
    try:
        address = urljoin(request.address, str(response.headers["Location"]))
        new = urlsplit(address)
    except ValueError:
        raise RemoteError(f"The Hub leads to something that is no address while {request.action}.") from None
    if new.scheme not in ("http", "https") or "@" in new.netloc or (old.scheme == "https" and new.scheme != "https"):
        raise RemoteError(
            f"The Hub leads to an address that is not encrypted, or of another kind, while {request.action}; it is not "
            "followed."
        )
    method, content = request.method, request.content
    if response.status_code == 303 or (response.status_code in (301, 302) and method == "POST"):
        method, content = "GET", None
    if content is not None and not isinstance(content, bytes):
        raise RemoteError(f"The Hub leads elsewhere while {request.action}, what it had taken already.")
    headers = {name: value for name, value in request.headers.items() if content is not None or not _is_of_body(name)}
    if old[:2] != new[:2]:
        headers.pop("Authorization", None)
    return Request(method, address, headers, content, request.action, request.span)


def _is_of_body(header: str) -> bool:
    return header in ("Content-Length", "Content-Type")


def _content(request: Request, response: Any, limits: Limits) -> bytes:
    encoding = response.headers.get("Content-Encoding") or "identity"
    if encoding not in ("identity", request.headers.get("Accept-Encoding")):
        raise RemoteError(f"The Hub sent compressed what was not to be while {request.action}; it cannot be used.")
    pieces = _paced(_pieces(response), Pace(limits))
    if response.status_code >= 400:
        return _beginning(pieces, 0, _LARGEST_REFUSAL)
    if request.span is None:
        return _whole(pieces, SMALL_FILE_LIMIT, request)
    start, stop = request.span
    if response.status_code == 206:
        check_range(response.headers, start, stop, f"The Hub, while {request.action},")
        return _whole(pieces, stop - start, request)
    return _beginning(pieces, start, stop - start)  # the whole file is sent


def _pieces(response: Any) -> Iterator[bytes]:
    return iter(response.raw.stream(_READ_AT_ONCE, decode_content=True) if _ON_REQUESTS else response.iter_bytes())


def _paced(pieces: Iterable[bytes], pace: Pace) -> Iterator[bytes]:
    for piece in pieces:
        pace.moved(len(piece))
        yield piece


def _whole(pieces: Iterable[bytes], limit: int, request: Request) -> bytes:
    kept: list[bytes] = []
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > limit:
            raise too_large(f"What came while {request.action}", limit)
        kept.append(piece)
    return b"".join(kept)


def _beginning(pieces: Iterable[bytes], start: int, limit: int) -> bytes:
    """So many bytes from a position; the rest is not read."""
    kept = bytearray()
    for piece in pieces:
        kept += piece[start:]
        start = max(start - len(piece), 0)
        if len(kept) >= limit:
            break
    return bytes(kept[:limit])
