"""A proxy before a server on this machine: it delays, cuts, damages, refuses, and counts what passes."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import IO, Any

from support.servers.faults import (
    BrokenMessageError,
    CutError,
    Exchange,
    Fault,
    Faults,
    Head,
    Side,
    framed,
    read_body,
    read_head,
)


_HOST = "127.0.0.1"
_BODILESS = (204, 304)


class FaultyProxy:
    """Stands before a server on 127.0.0.1, as a network does.

    Bodies are counted and damaged without their framing. Absolute addresses of the server in heads and in
    JSON, under the names ``127.0.0.1`` and ``localhost``, become those of the proxy, so that a client
    that begins at the proxy stays with it.

    Args:
        target_port: of the server.

    Attributes:
        delay: seconds that every answer is held back; connections do not wait for each other.
        exchanges: what has passed since the last :meth:`forget`.
    """

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.delay = 0.0
        self.exchanges: list[Exchange] = []
        self._faults = Faults(self.refuse)
        self._lock = threading.Lock()
        self._is_silent = False
        self._connections: set[socket.socket] = set()
        self._listener: socket.socket | None = None
        self.port = 0
        self._listen()

    @property
    def url(self) -> str:
        return f"http://{_HOST}:{self.port}"

    # What is to go wrong.

    def cut(self, at: int, **where: Any) -> None:
        """End the connection after ``at`` bytes of a body; see :class:`Fault` for which bodies."""
        self._faults.add(Fault("cut", at, **where))

    def flip(self, at: int, **where: Any) -> None:
        """Flip a bit of the byte at ``at`` of a body; see :class:`Fault` for which bodies."""
        self._faults.add(Fault("flip", at, **where))

    def answer_with(self, status: int, **where: Any) -> None:
        """Answer with a status of our own; the server does not hear of the request."""
        self._faults.add(Fault("status", status, **where))

    def break_after(self, total: int, *, side: Side = "answer") -> None:
        """Let so many bytes of bodies pass in all, over all connections, then end these and refuse others."""
        self._faults.allow(total, side)

    def refuse(self) -> None:
        """End all connections, and refuse others."""
        with self._lock:
            listener, self._listener = self._listener, None
        if listener is not None:
            _close(listener)
        self._drop_connections()

    def fall_silent(self) -> None:
        """Accept connections and requests, and never answer."""
        self._is_silent = True

    def heal(self) -> None:
        """Be an ordinary proxy again."""
        was_silent, self._is_silent = self._is_silent, False
        self._faults.clear()
        with self._lock:
            is_deaf = self._listener is None
        self.delay = 0.0
        if was_silent:
            self._drop_connections()
        if is_deaf:
            self._listen()

    # What has passed.

    def forget(self) -> None:
        """Count from here."""
        with self._lock:
            self.exchanges = []

    def count(self, method: str = "", path: str = "") -> int:
        """Return the number of requests with that method whose path contains this text."""
        return sum(1 for exchange in list(self.exchanges) if exchange.concerns(method, path))

    def bytes_sent(self) -> int:
        """Return the number of bytes of bodies sent to the server."""
        return sum(exchange.sent for exchange in list(self.exchanges))

    def bytes_received(self) -> int:
        """Return the number of bytes of bodies received from it."""
        return sum(exchange.received for exchange in list(self.exchanges))

    def close(self) -> None:
        self.refuse()

    # How it is done.

    def _listen(self) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((_HOST, self.port))
        listener.listen(256)
        self.port = listener.getsockname()[1]
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with self._lock:
                if listener is not self._listener:
                    _close(connection)
                    return
                self._connections.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _drop_connections(self) -> None:
        with self._lock:
            dropped, self._connections = self._connections, set()
        for connection in dropped:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _serve(self, client: socket.socket) -> None:
        """One connection of a client, and ours to the server, until either ends."""
        try:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with client.makefile("rb") as from_client, closing(_Upstream(self.target_port)) as upstream:
                while self._pass_on(client, from_client, upstream):
                    pass
        except (OSError, ValueError, BrokenMessageError, CutError):
            pass  # either side is gone, or is to be
        finally:
            with self._lock:
                self._connections.discard(client)
            _close(client)

    def _pass_on(self, client: socket.socket, from_client: IO[bytes], upstream: _Upstream) -> bool:
        """One request and its answer; whether there may be more on this connection."""
        request = read_head(from_client)
        if request is None:
            return False
        if self._is_silent:
            while from_client.read(1):
                pass  # until the client has had enough
            return False
        method, path, *_ = request.first.decode("latin-1").split(" ")
        exchange = Exchange(method, path, request.get(b"authorization", lower=False).decode("latin-1"))
        with self._lock:
            self.exchanges.append(exchange)
        if request.get(b"expect") == b"100-continue":
            request.drop(b"expect")
            client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = self._faults.damage(read_body(from_client, request, until_end=False), request, exchange, "request")
        if (status := self._faults.status(exchange)) is not None:
            for _ in body:
                pass
            time.sleep(self.delay)
            client.sendall(b"HTTP/1.1 %d Of The Proxy\r\nContent-Length: 0\r\n\r\n" % status)
            return True
        server, from_server = upstream.ready()
        _send(server, request, body)
        answer = read_head(from_server)
        while answer is not None and answer.first.split(b" ")[1].startswith(b"1"):
            answer = read_head(from_server)  # the server is willing to continue
        if answer is None:
            return False
        exchange.status = int(answer.first.split(b" ")[1])
        time.sleep(self.delay)
        has_body = method != "HEAD" and exchange.status not in _BODILESS
        pieces = read_body(from_server, answer, until_end=True) if has_body else iter(())
        pieces = self._with_our_address(answer, pieces, has_body=has_body)
        _send(client, answer, self._faults.damage(pieces, answer, exchange, "answer"), has_body=has_body)
        has_end = not has_body or answer.length is not None or answer.is_chunked
        closes = b"close" in (answer.get(b"connection"), request.get(b"connection"))
        return has_end and not closes and not answer.first.startswith(b"HTTP/1.0")

    def _with_our_address(self, answer: Head, pieces: Iterator[bytes], *, has_body: bool) -> Iterator[bytes]:
        answer.fields = [(key, self._renamed(value)) for key, value in answer.fields]
        if not has_body or b"json" not in answer.get(b"content-type") or answer.get(b"content-encoding"):
            return pieces
        content = self._renamed(b"".join(pieces))
        answer.drop(b"content-length", b"transfer-encoding")
        answer.fields.append((b"Content-Length", b"%d" % len(content)))
        return iter([content] if content else [])

    def _renamed(self, text: bytes) -> bytes:
        for host in (b"127.0.0.1", b"localhost"):
            text = text.replace(b"%s:%d" % (host, self.target_port), b"%s:%d" % (host, self.port))
        return text


class _Upstream:
    """The connection to the server; made again where the server has ended it between two requests."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._open: tuple[socket.socket, IO[bytes]] | None = None

    def ready(self) -> tuple[socket.socket, IO[bytes]]:
        if self._open is not None and select.select([self._open[0]], [], [], 0)[0]:
            self.close()
        if self._open is None:
            server = socket.create_connection((_HOST, self._port))
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._open = server, server.makefile("rb")
        return self._open

    def close(self) -> None:
        if self._open is not None:
            server, stream = self._open
            stream.close()
            server.close()
            self._open = None


def _send(end: socket.socket, head: Head, body: Iterator[bytes], *, has_body: bool = True) -> None:
    """A message; its head goes with the first piece of its body."""
    waiting = head.to_bytes()
    is_chunked = head.is_chunked and has_body
    try:
        for piece in body:
            end.sendall(waiting + framed(piece, is_chunked=is_chunked))
            waiting = b""
    finally:
        if waiting:
            end.sendall(waiting)
    if is_chunked:
        end.sendall(b"0\r\n\r\n")


def _close(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
