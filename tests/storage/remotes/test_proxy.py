"""The proxy that the tests of remotes put before servers does to messages what it says, and nothing else."""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from support.servers.proxy import FaultyProxy
from support.servers.web import WebServer, web_server


CONTENT = bytes(range(256)) * 1000
BROKEN = (ConnectionError, http.client.HTTPException)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WebServer]:
    (tmp_path / "file").write_bytes(CONTENT)
    (tmp_path / "small").write_bytes(b"small")
    with web_server(tmp_path) as running:
        yield running


@pytest.fixture
def proxy(server: WebServer) -> Iterator[FaultyProxy]:
    with closing(FaultyProxy(server.port)) as made:
        yield made


def ask(proxy: FaultyProxy, path: str = "/file", method: str = "GET", body: bytes | None = None) -> tuple[int, bytes]:
    with closing(http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=5)) as connection:
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status, answer.read()


def test_everything_passes_and_is_counted(proxy: FaultyProxy, server: WebServer) -> None:
    assert ask(proxy) == (200, CONTENT)
    assert ask(proxy, method="HEAD") == (200, b"")
    assert ask(proxy, "/upload", "PUT", b"x" * 70_000) == (405, b"")
    assert ask(proxy, "/absent")[0] == 404
    assert (proxy.count(), proxy.count("GET"), proxy.count(path="/file")) == (4, 2, 2)
    assert (proxy.bytes_received(), proxy.bytes_sent()) == (len(CONTENT), 70_000)
    proxy.forget()
    with closing(http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=5)) as connection:
        for _ in range(3):
            connection.request("GET", "/file", headers={"Range": "bytes=10-19"})
            assert connection.getresponse().read() == CONTENT[10:20]
        assert (proxy.count(), proxy.bytes_received(), proxy.bytes_sent()) == (3, 30, 0)
        server.moved["/old"] = f"{server.address}/small"
        connection.request("GET", "/old")
        assert connection.getresponse().getheader("Location") == f"{proxy.url}/small"


def test_bodies_are_cut(proxy: FaultyProxy) -> None:
    proxy.cut(100_000, times=2)
    for _ in range(2):
        with pytest.raises(http.client.IncompleteRead) as caught:
            ask(proxy)
        assert caught.value.partial == CONTENT[:100_000]
    proxy.cut(1_000, side="request")
    with pytest.raises(BROKEN):
        ask(proxy, "/upload", "PUT", b"x" * 5_000)
    assert proxy.bytes_sent() == 1_000
    assert ask(proxy, "/upload", "PUT", b"x" * 5_000) == (405, b"")
    assert ask(proxy) == (200, CONTENT)


def test_one_bit_is_flipped(proxy: FaultyProxy) -> None:
    proxy.flip(70_001)
    _, content = ask(proxy)
    assert [at for at in range(len(CONTENT)) if content[at] != CONTENT[at]] == [70_001]
    assert (content[70_001] ^ CONTENT[70_001]).bit_count() == 1
    assert ask(proxy) == (200, CONTENT)


def test_faults_fall_only_to_what_they_are_meant_for(proxy: FaultyProxy, server: WebServer) -> None:
    proxy.flip(2, larger_than=1_000, times=None)
    proxy.answer_with(503, method="HEAD")
    proxy.answer_with(429, path="/absent")
    assert ask(proxy, method="HEAD")[0] == 503
    assert server.requests == []
    assert ask(proxy, "/small") == (200, b"small")
    assert ask(proxy)[1] != CONTENT
    assert ask(proxy, method="HEAD")[0] == 200
    assert [ask(proxy, "/absent")[0] for _ in range(2)] == [429, 404]
    proxy.heal()
    assert ask(proxy) == (200, CONTENT)


def test_it_breaks_after_so_many_bytes_of_all_connections(proxy: FaultyProxy) -> None:
    proxy.break_after(len(CONTENT) + 7)
    assert ask(proxy) == (200, CONTENT)
    with pytest.raises(BROKEN):
        ask(proxy)
    assert proxy.bytes_received() == len(CONTENT) + 7
    with pytest.raises(ConnectionRefusedError):
        ask(proxy)
    proxy.heal()
    assert ask(proxy) == (200, CONTENT)


def test_it_refuses_falls_silent_and_delays(proxy: FaultyProxy, server: WebServer) -> None:
    port = proxy.port
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=0.2)
    connection.request("GET", "/small")
    assert connection.getresponse().read() == b"small"
    proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        ask(proxy)
    assert connection.sock.recv(1) == b"", "connections that were open are ended"
    connection.close()
    proxy.heal()
    assert proxy.port == port, "its address stays"
    server.requests.clear()
    proxy.fall_silent()
    connection.request("GET", "/small")
    with pytest.raises(TimeoutError):
        connection.getresponse()
    connection.close()
    assert server.requests == []
    proxy.heal()
    proxy.delay = 0.1
    begun = time.monotonic()
    assert ask(proxy, "/small") == (200, b"small")
    assert time.monotonic() - begun >= 0.1
