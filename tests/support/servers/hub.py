"""A Hugging Face Hub on the loopback interface, as far as datasets go, with its CDN on another host name.

The Hub is at ``127.0.0.1`` and its CDN at ``localhost``, so that a token which is passed on to the CDN
is noticed: it refuses, as the real one does. Addresses in answers name the port that was asked, so that
a proxy can stand in front.
"""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

from support.servers.hub_handler import HubHandler
from support.servers.hub_repositories import Account, Blob, Repositories, Repository


__all__ = ["HubServer"]


@dataclass(slots=True)
class Fault:
    """Fault in the answers to requests, so many times.

    Attributes:
        path: a regular expression that is searched for in theirs.
        times: how often.
        status: of the error that is answered, where nothing else is asked for.
        headers: of that answer.
        body: of that answer, where it is not the usual one.
        seconds: for so long the request is not even read; then the connection ends.
        cut: the connection ends at once.
        lost: what was asked for is done, but instead of the answer the connection ends.
    """

    path: str
    times: int = 1
    status: int = 500
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    seconds: float = 0.0
    cut: bool = False
    lost: bool = False


class HubServer(ThreadingHTTPServer):
    """The server; it answers inside of a ``with`` block.

    Args:
        page_size: how many entries a page of a listing has.
        part_size: contents larger than this are sent in parts of this size, in bytes.
    """

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, *, page_size: int = 1000, part_size: int = 64 << 20) -> None:
        self.page_size, self.part_size = page_size, part_size
        self.repositories = Repositories()
        self.parts: dict[tuple[str, int], bytes] = {}
        self.requests: list[tuple[str, str]] = []
        self.received: Counter[str] = Counter()  # bytes of LFS contents, by SHA-256
        self.delay = 0.0  # seconds before every answer
        self.delayed = ""  # a regular expression for the paths that this is about
        self.tells_siblings = True  # whether the list of repositories has their files
        self.faults: list[Fault] = []
        self.meanwhile: Callable[[str], object] = lambda path: None  # what others do before each request
        self.lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), HubHandler)
        self.port = int(self.server_address[1])
        self.endpoint = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> HubServer:
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()

    def environment(self, home: Path) -> dict[str, str]:
        """The variables that make huggingface_hub ask this Hub and nothing of the machine's own."""
        return {
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }

    def add_token(self, token: str, user: str, *organizations: str, writes: bool = True) -> str:
        """A token of a user who belongs to organizations."""
        self.repositories.accounts[token] = Account(user, frozenset(organizations), writes)
        return token

    def put(self, repository: str, files: Mapping[str, bytes], *, private: bool = False) -> Repository:
        """Files put into a repository, which is made where it is missing, without a request."""
        return self.repositories.put(repository, files, private=private)

    def files(self, repository: str) -> dict[str, bytes]:
        """The files of a repository with their contents, without those that every repository begins with."""
        found = self.repositories.by_name[repository].files
        contents = {path: self.repositories.content(blob) for path, blob in sorted(found.items())}
        return {path: content for path, content in contents.items() if path != ".gitattributes"}

    def blobs(self, repository: str) -> dict[str, Blob]:
        return dict(self.repositories.by_name[repository].files)

    def fail(self, path: str, **fault: Any) -> None:
        """Let something go wrong with requests whose path matches; see :class:`Fault`."""
        self.faults.append(Fault(path, **fault))

    def fault(self, path: str) -> Fault | None:
        """Return the fault for this request."""
        with self.lock:
            for fault in self.faults:
                if fault.times > 0 and re.search(fault.path, path):
                    fault.times -= 1
                    return fault
        return None

    @contextmanager
    def counted(self) -> Iterator[list[tuple[str, str]]]:
        """The requests that are made inside, as (method, path)."""
        first, seen = len(self.requests), list[tuple[str, str]]()
        try:
            yield seen
        finally:
            seen += self.requests[first:]

    def note(self, method: str, path: str) -> None:
        self.meanwhile(path)
        with self.lock:
            self.requests.append((method, path))
        if self.delay and re.search(self.delayed, path):
            time.sleep(self.delay)

    def clear(self) -> None:
        """Forget everything, for the next test; the server goes on."""
        self.repositories = Repositories()
        self.parts.clear()
        self.requests.clear()
        self.received.clear()
        self.faults.clear()
        self.meanwhile = lambda path: None
        self.delay = 0.0
        self.delayed = ""
        self.tells_siblings = True
