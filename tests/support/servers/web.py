"""A web server of a directory: what nginx or Apache would do for a laboratory that shares its datasets read-only."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from support.servers import serving


class WebServer(ThreadingHTTPServer):
    """Serves the files of a directory, with ranges and tags; it lists nothing.

    Attributes:
        ranges: whether it answers with parts of a file, as most servers do.
        authorization: what the header of that name must say.
        refusals: for a path, the status to answer with in place of the file.
        moved: for a path, the address to send the client to.
        delay: seconds before each answer.
        gate: what each request waits at, where it is not None.
        requests: what was asked for, in order, as ``"GET /path bytes=0-9"``.
        headers_seen: the headers of each of those.
        connections: number of connections that were accepted.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, directory: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.directory = directory
        self.ranges = True
        self.authorization: str | None = None
        self.refusals: dict[str, int] = {}
        self.moved: dict[str, str] = {}
        self.delay = 0.0
        self.gate: threading.Barrier | None = None
        self.requests: list[str] = []
        self.headers_seen: list[dict[str, str]] = []
        self.connections = 0

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up in the middle of an answer is nothing to report."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: WebServer

    def setup(self) -> None:
        self.server.connections += 1
        super().setup()

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._note()
        self._refuse(405)

    def _answer(self, *, with_body: bool) -> None:
        self._note()
        path = unquote(urlsplit(self.path).path)
        if path in self.server.moved:
            return self._refuse(302, Location=self.server.moved[path])
        if path in self.server.refusals:
            return self._refuse(self.server.refusals[path])
        if self.server.authorization is not None and self.headers.get("Authorization") != self.server.authorization:
            return self._refuse(401, **{"WWW-Authenticate": 'Basic realm="the laboratory"'})
        file = self._file(path)
        if file is None:
            return self._refuse(404)
        self._send(file, with_body)

    def _file(self, path: str) -> Path | None:
        root = self.server.directory.resolve()
        file = (root / path.lstrip("/")).resolve()
        return file if file.is_file() and root in file.parents else None

    def _send(self, file: Path, with_body: bool) -> None:
        content = file.read_bytes()
        start, stop = 0, len(content)
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")) if self.server.ranges else None
        if wanted:
            start, stop = int(wanted[1]), min(int(wanted[2] or stop) + 1, stop)
            if start >= len(content):
                return self._refuse(416, **{"Content-Range": f"bytes */{len(content)}"})
        self.send_response(206 if wanted else 200)
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(content)}")
        if self.server.ranges:
            self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", f'"{hashlib.md5(content).hexdigest()}"')
        self.send_header("Content-Length", str(stop - start))
        self.end_headers()
        if with_body:
            self.wfile.write(content[start:stop])
        return None

    def _refuse(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _note(self) -> None:
        self.server.requests.append(f"{self.command} {self.path} {self.headers.get('Range', '')}".strip())
        self.server.headers_seen.append(dict(self.headers))
        time.sleep(self.server.delay)
        if self.server.gate is not None:
            self.server.gate.wait()

    def log_message(self, format: str, *args: Any) -> None:
        """Tests look at `requests` instead."""


@contextmanager
def web_server(directory: Path) -> Iterator[WebServer]:
    """A server of a directory on a free port of this computer, while it is needed."""
    with serving(server := WebServer(directory)):
        yield server
