"""A server that breaks the rules: it answers with whatever bytes a test wants, as fast or as slowly."""

from __future__ import annotations

import json
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from support.servers import serving


@dataclass(frozen=True)
class Asked:
    """A request: its path with the query, headers by their names in lower case, and number, from 0."""

    path: str
    headers: dict[str, str]
    number: int


#: Gives the pieces of the answer to a request, the first line included.
Answering = Callable[[Asked], Iterator[bytes]]


class HostileServer(socketserver.ThreadingTCPServer):
    """Answers each request by a function, and counts the requests and the bytes that clients took in."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answering: Answering = lambda asked: iter([head(404, length=0)])
        self.asked: list[Asked] = []
        self.sent = 0
        self.is_closed = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is what tests wait for."""


class _Handler(socketserver.StreamRequestHandler):
    server: HostileServer

    def handle(self) -> None:
        line = self.rfile.readline().decode("latin-1").split()
        if len(line) != 3:
            return
        headers: dict[str, str] = {}
        while (text := self.rfile.readline().decode("latin-1").strip()) != "":
            name, _, value = text.partition(":")
            headers[name.lower()] = value.strip()
        self.rfile.read(int(headers.get("content-length", 0)))
        asked = Asked(line[1], headers, len(self.server.asked))
        self.server.asked.append(asked)
        with suppress(OSError):
            for piece in self.server.answering(asked):
                self.request.sendall(piece)
                self.server.sent += len(piece)


@contextmanager
def hostile_server() -> Iterator[HostileServer]:
    """A server on a free port of this computer, while it is needed."""
    with serving(server := HostileServer()):
        try:
            yield server
        finally:
            server.is_closed.set()


def head(status: int = 200, *, length: int | None = None, **headers: str) -> bytes:
    """The beginning of an answer; the connection is closed after it."""
    lines = [f"HTTP/1.1 {status} Whatever", "Connection: close"]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def whole(content: bytes, status: int = 200, **headers: str) -> Answering:
    """An ordinary answer, whatever is asked."""
    return lambda asked: iter([head(status, length=len(content), **headers), content])


def as_json(value: object, **headers: str) -> Answering:
    """An ordinary answer in JSON."""
    return whole(json.dumps(value).encode(), Content_Type="application/json", **headers)


def endless(status: int = 200, **headers: str) -> Answering:
    """An answer without an end, and without a length."""

    def answer(asked: Asked) -> Iterator[bytes]:
        yield head(status, Transfer_Encoding="chunked", **headers)
        piece = b"100000\r\n" + b"[" * 0x100000 + b"\r\n"
        while True:
            yield piece

    return answer


def dribbling(server: HostileServer, text: bytes) -> Answering:
    """An answer that begins with a text and goes on with a byte now and then."""

    def answer(asked: Asked) -> Iterator[bytes]:
        yield text
        while not server.is_closed.is_set():
            yield b"x"
            time.sleep(0.02)

    return answer
