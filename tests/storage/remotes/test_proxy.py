"""The proxy that the tests of remotes put before servers does to messages what it says, and nothing else."""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.servers.proxy import FaultyProxy
from support.servers.web import WebServer, web_server


CONTENT = bytes(range(256)) * 1000


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WebServer]:
    (tmp_path / "file").write_bytes(CONTENT)
    (tmp_path / "small").write_bytes(b"small")
    with web_server(tmp_path) as running:
        yield running


@pytest.fixture
def proxy(server: WebServer) -> Iterator[FaultyProxy]:
    made = FaultyProxy(server.server_address[1])
    yield made
    made.close()


def ask(proxy: FaultyProxy, path: str = "/file", method: str = "GET", body: bytes | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=5)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_without_a_fault_everything_passes_and_is_counted(proxy: FaultyProxy) -> None:
    assert ask(proxy) == (200, CONTENT)
    assert ask(proxy, method="HEAD") == (200, b"")
    assert ask(proxy, "/upload", "PUT", b"x" * 70_000) == (405, b"")
    assert ask(proxy, "/absent")[0] == 404
    assert (proxy.count(), proxy.count("GET"), proxy.count(path="/file")) == (4, 2, 2)
    assert (proxy.bytes_received(), proxy.bytes_sent()) == (len(CONTENT), 70_000)
    proxy.forget()
    assert (proxy.count(), proxy.bytes_received(), proxy.bytes_sent()) == (0, 0, 0)


def test_several_requests_on_one_connection(proxy: FaultyProxy) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=5)
    for _ in range(3):
        connection.request("GET", "/file", headers={"Range": "bytes=10-19"})
        assert connection.getresponse().read() == CONTENT[10:20]
    connection.close()
    assert proxy.bytes_received() == 30


def test_an_answer_is_cut_as_often_as_was_said(proxy: FaultyProxy) -> None:
    proxy.cut(100_000, times=2)
    for _ in range(2):
        with pytest.raises(http.client.IncompleteRead) as caught:
            ask(proxy)
        assert caught.value.partial == CONTENT[:100_000]
    assert ask(proxy) == (200, CONTENT)


def test_a_request_is_cut_before_the_server_has_all_of_it(proxy: FaultyProxy, server: WebServer) -> None:
    proxy.cut(1_000, side="request")
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        ask(proxy, "/upload", "PUT", b"x" * 5_000)
    assert proxy.bytes_sent() == 1_000
    assert ask(proxy, "/upload", "PUT", b"x" * 5_000) == (405, b"")


def test_one_bit_is_flipped(proxy: FaultyProxy) -> None:
    proxy.flip(70_001)
    _, content = ask(proxy)
    assert [at for at in range(len(CONTENT)) if content[at] != CONTENT[at]] == [70_001]
    assert (content[70_001] ^ CONTENT[70_001]).bit_count() == 1
    assert ask(proxy) == (200, CONTENT)


def test_faults_fall_only_to_what_they_are_meant_for(proxy: FaultyProxy) -> None:
    proxy.flip(2, larger_than=1_000, times=None)
    proxy.answer_with(503, method="HEAD")
    proxy.answer_with(429, path="/absent")
    assert ask(proxy, "/small") == (200, b"small")
    assert ask(proxy)[1] != CONTENT
    assert [ask(proxy, method="HEAD")[0] for _ in range(2)] == [503, 200]
    assert [ask(proxy, "/absent")[0] for _ in range(2)] == [429, 404]
    proxy.heal()
    assert ask(proxy) == (200, CONTENT)


def test_the_server_does_not_hear_of_what_is_answered_for_it(proxy: FaultyProxy, server: WebServer) -> None:
    proxy.answer_with(500)
    assert ask(proxy)[0] == 500
    assert server.requests == []


def test_it_breaks_after_so_many_bytes_of_all_connections(proxy: FaultyProxy) -> None:
    proxy.break_after(len(CONTENT) + 7)
    assert ask(proxy) == (200, CONTENT)
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        ask(proxy)
    assert proxy.bytes_received() == len(CONTENT) + 7
    with pytest.raises(ConnectionRefusedError):
        ask(proxy)
    proxy.heal()
    assert ask(proxy) == (200, CONTENT)


def test_it_refuses(proxy: FaultyProxy) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=5)
    connection.request("GET", "/small")
    assert connection.getresponse().read() == b"small"
    port = proxy.port
    proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        ask(proxy)
    assert connection.sock.recv(1) == b"", "connections that were open are ended"
    connection.close()
    proxy.heal()
    assert proxy.port == port, "its address stays"
    assert ask(proxy, "/small") == (200, b"small")


def test_it_falls_silent(proxy: FaultyProxy, server: WebServer) -> None:
    proxy.fall_silent()
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=0.2)
    connection.request("GET", "/small")
    with pytest.raises(TimeoutError):
        connection.getresponse()
    connection.close()
    assert server.requests == []
    proxy.heal()
    assert ask(proxy, "/small") == (200, b"small")


def test_it_delays(proxy: FaultyProxy) -> None:
    proxy.delay = 0.1
    begun = time.monotonic()
    assert ask(proxy, "/small") == (200, b"small")
    assert time.monotonic() - begun >= 0.1


def test_the_server_is_never_met_behind_its_back(proxy: FaultyProxy, server: WebServer) -> None:
    server.moved["/old"] = f"{server.address}/small"
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=5)
    connection.request("GET", "/old")
    assert connection.getresponse().getheader("Location") == f"{proxy.url}/small"
    connection.close()
