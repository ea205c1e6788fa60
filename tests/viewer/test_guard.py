"""Requests that must get nowhere: without the token, from other origins, for other hosts, in other forms."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from minari.errors import ArgumentError
from minari.viewer import app as viewer_app
from minari.viewer import create_app
from minari.viewer.guard import Guard
from support.programs import cartpole
from support.viewing import TOKEN, client, get


READS = (
    *("catalog", "dataset", "distributions", "leaves", "episodes", "episode", "series", "frames", "texts", "compare"),
)
CHANGES = ("mark", "drop")
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of a page, with a secret beside it."""
    directory = tmp_path / "static"
    directory.mkdir()
    (directory / "index.html").write_text("<title>Minari</title>")
    (directory / "viewer.js").write_text("'use strict'")
    (directory / "notes.json").write_text("{}")
    (directory / "inner").mkdir()
    (tmp_path / "secret.txt").write_text("secret")
    monkeypatch.setattr(viewer_app, "STATIC", directory)
    return directory


@pytest.fixture
def browser(page: Path) -> Iterator[Any]:
    with client() as opened:
        yield opened


def assert_guarded(answer: Any, status: int, kind: str | None = None) -> None:
    assert answer.status_code == status, answer.text
    for name, value in HEADERS.items():
        assert answer.headers[name] == value
    assert not [name for name in answer.headers if name.startswith("access-control")]
    if kind is not None:
        assert answer.headers["cache-control"] == "no-store"
        assert answer.json()["kind"] == kind
        assert TOKEN not in answer.text


@pytest.mark.parametrize("path", [*READS, *CHANGES, "nothing", ""])
@pytest.mark.parametrize(
    "given",
    [
        None, "", "Bearer", "Bearer ", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", TOKEN, f"bearer {TOKEN}",
        f"Basic {TOKEN}", f"Bearer {TOKEN} ", f"Bearer  {TOKEN}",
    ],
)  # fmt: skip
def test_nothing_without_the_token(browser: Any, path: str, given: str | None) -> None:
    method = "POST" if path in CHANGES else "GET"
    del browser.headers["Authorization"]
    headers = [] if given is None else [("Authorization", given.encode())]
    answer = browser.request(method, f"/api/{path}", headers=headers, params={"token": TOKEN})
    assert_guarded(answer, 401, "WrongToken")
    browser.headers["Authorization"] = f"Bearer {TOKEN}"


def test_two_tokens_are_none(browser: Any) -> None:
    headers = [("Authorization", f"Bearer {TOKEN}"), ("Authorization", "Bearer other")]
    assert_guarded(browser.get("/api/catalog", headers=headers), 401, "WrongToken")


@pytest.mark.parametrize("path", ["/", "/viewer.js", "/api/catalog", "/api/mark", "/nothing"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "https://testserver"},
        {"Origin": "http://testserver:81"},
        {"Origin": "http://testserver.evil.example"},
        {"Origin": ""},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "new"},
        {"Origin": "http://testserver", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "http://evil.example", "Host": "evil.example"},
    ],
    ids=str,
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_other_origins_get_nothing(browser: Any, path: str, headers: dict[str, str], method: str) -> None:
    answer = browser.request(method, path, headers=headers)
    status = 400 if headers.get("Host") else 403
    assert_guarded(answer, status, "WrongHost" if headers.get("Host") else "ForeignOrigin")


def test_our_own_page_may_ask(browser: Any) -> None:
    for headers in (
        {"Origin": "http://testserver", "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "HTTP://TESTSERVER"},
    ):
        assert_guarded(browser.get("/api/catalog", headers=headers), 200)
        assert_guarded(browser.get("/", headers=headers), 200)


def test_a_link_leads_to_the_page_and_to_nothing_else(browser: Any) -> None:
    visit = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert_guarded(browser.get("/", headers=visit), 200)
    for path, headers in (
        ("/api/catalog", visit),
        ("/api", visit),
        ("/", {**visit, "Sec-Fetch-Dest": "iframe"}),
        ("/", {**visit, "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script"}),
        ("/", {**visit, "Origin": "http://evil.example"}),
    ):
        assert_guarded(browser.get(path, headers=headers), 403, "ForeignOrigin")
    assert_guarded(browser.post("/", headers=visit), 403, "ForeignOrigin")


@pytest.mark.parametrize("path", ["/", "/api/catalog"])
@pytest.mark.parametrize(
    "host",
    [
        "evil.example", "testserver:81", "testserver.evil.example", "127.0.0.1", "localhost", "", "testserver,evil",
        "testserver@evil.example", "evil.example#testserver", "[::1]", "0.0.0.0", "testserver.",
    ],
)  # fmt: skip
def test_other_hosts_get_nothing(page: Path, path: str, host: str) -> None:
    app = create_app(token=TOKEN, hosts=("testserver:80",))
    from starlette.testclient import TestClient

    with TestClient(app) as browser:
        answer = browser.get(path, headers={"Host": host, "Authorization": f"Bearer {TOKEN}"})
        assert_guarded(answer, 400, "WrongHost")


@pytest.mark.parametrize(
    ("hosts", "host", "is_allowed"),
    [
        (["127.0.0.1:80"], "127.0.0.1:80", True),
        (["127.0.0.1:80"], "127.0.0.1:81", False),
        (["localhost"], "LOCALHOST:1234", True),
        (["[::1]:80"], "[::1]:80", True),
        (["0.0.0.0:80"], "192.168.1.7:80", True),
        (["[::]:80"], "[fe80::1]:80", True),
        (["0.0.0.0:80"], "192.168.1.7:81", False),
        (["0.0.0.0:80"], "evil.example:80", False),
        (["127.0.0.1:80"], "192.168.1.7:80", False),
    ],
)
def test_hosts_are_names_with_their_port(hosts: list[str], host: str, is_allowed: bool) -> None:
    assert Guard(None, hosts)._is_allowed(host.lower()) is is_allowed  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT"])
@pytest.mark.parametrize("path", ["/api/catalog", "/api/drop", "/"])
def test_other_methods_are_refused(browser: Any, method: str, path: str) -> None:
    preflight = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    assert_guarded(browser.request(method, path, headers=preflight), 405, "WrongMethod")


@pytest.mark.parametrize("path", [f"/api/{name}" for name in CHANGES])
def test_changes_take_only_json(browser: Any, path: str) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""):
        answer = browser.post(path, content=b"{}", headers={"Content-Type": kind})
        assert_guarded(answer, 415, "WrongContentType")
    assert_guarded(browser.get(path), 405, "WrongMethod")
    for content in (b"", b"{", b"\xff", b"[" * 5000, b'{"dataset": "x", "other": 1}', b"[]", b"3", b"null"):
        answer = browser.post(path, content=content, headers={"Content-Type": "application/json; charset=utf-8"})
        assert_guarded(answer, 400, "ArgumentError")


def test_large_bodies_are_refused(browser: Any) -> None:
    headers = {"Content-Type": "application/json"}
    content = b'{"dataset": "' + b"x" * 1_000_000 + b'"}'
    assert_guarded(browser.post("/api/mark", content=content, headers=headers), 413, "TooLarge")
    chunks = (b" " * 100_000 for _ in range(100))
    assert_guarded(browser.post("/api/mark", content=chunks, headers=headers), 413, "TooLarge")
    for length in ("9" * 30, "-1", "x"):
        answer = browser.post("/api/mark", content=b"{}", headers={**headers, "Content-Length": length})
        assert_guarded(answer, 413, "TooLarge")


def test_files_of_the_page(browser: Any, page: Path) -> None:
    for path, kind in (("/", "text/html"), ("/index.html", "text/html"), ("/viewer.js", "text/javascript")):
        answer = browser.get(path, headers={"Authorization": ""})
        assert_guarded(answer, 200)
        assert answer.headers["content-type"].startswith(kind)
        assert answer.headers["cache-control"] == "no-cache"
        assert browser.get(path, headers={"If-None-Match": answer.headers["etag"]}).status_code == 304
        assert browser.head(path).content == b""


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.txt", "/..%2fsecret.txt", "/%2e%2e/secret.txt", "/inner/../../secret.txt", "/inner", "/inner/",
        "//etc/passwd", "/..\\secret.txt", "/viewer.js%00", "/viewer.js/", "/notes.json", "/static/viewer.js", "/.",
        "/%2fetc%2fpasswd", "/C:/secret.txt",
    ],
)  # fmt: skip
def test_no_other_file(browser: Any, page: Path, path: str) -> None:
    answer = browser.get(f"http://testserver{path}")
    assert answer.status_code == 404 or answer.text == "<title>Minari</title>", answer.text
    assert "secret" not in answer.text.replace("secret.txt", "")


def test_a_page_that_is_not_built_is_a_clear_error(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(viewer_app, "STATIC", page / "missing")
    with client() as browser:
        answer = browser.get("/")
        assert_guarded(answer, 503, "PageNotBuilt")
        assert "npm run build" in answer.json()["error"]
        assert get(browser, "catalog")["datasets"] == []


def test_no_web_sockets(browser: Any) -> None:
    from starlette.websockets import WebSocketDisconnect

    with pytest.raises(WebSocketDisconnect), browser.websocket_connect("/api/catalog"):
        pass


def test_a_token_is_needed_to_begin_with() -> None:
    with pytest.raises(ArgumentError, match="token is empty"):
        create_app(token="")


def test_an_application_inside_another_one_is_guarded_alike(page: Path) -> None:
    from starlette.applications import Starlette
    from starlette.routing import Mount
    from starlette.testclient import TestClient

    outer = Starlette(routes=[Mount("/look", create_app(token=TOKEN, hosts=("testserver",)))])
    with TestClient(outer) as browser:
        assert browser.get("/look/").status_code == 200
        assert_guarded(browser.get("/look/api/catalog"), 401, "WrongToken")
        assert browser.get("/look/api/catalog", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "name",
    [
        "../..", "..", "/", "/etc", "test/../test/cartpole-v0", "test/cartpole-v0/", "./test/cartpole-v0", "~", "",
        "test\\cartpole-v0", "test/cartpole-v0/data", "s3://bucket/x-v0", "hf://a/b-v0", "file:///etc/x-v0",
        "test/cartpole-v0\0", "test/cartpole-v0\n", "x" * 5000,
    ],
)  # fmt: skip
def test_datasets_are_ids_and_not_paths(name: str, datasets_root: Path) -> None:
    cartpole()
    outside = datasets_root.parent / "outside-v0"
    (datasets_root / "test" / "cartpole-v0").rename(outside)
    with client() as browser:
        for path in ("dataset", "episodes", "distributions", "leaves"):
            answer = browser.get(f"/api/{path}", params={"dataset": name})
            assert answer.status_code in (400, 404), answer.text
            assert answer.json().keys() == {"error", "kind"}
        for given in (str(outside), "../outside-v0"):
            assert browser.get("/api/dataset", params={"dataset": given}).status_code in (400, 404)
    with client(datasets=[outside]) as browser:
        (first,) = get(browser, "catalog")["datasets"]
        assert first["id"] == str(outside)
        assert get(browser, "dataset", dataset=str(outside))["episodes"] == 3
        for given in (f"{outside}/", f"{outside}/../outside-v0", str(outside.parent)):
            assert browser.get("/api/dataset", params={"dataset": given}).status_code in (400, 404)


def test_requests_as_they_come_over_a_socket(page: Path) -> None:
    """Headers that a client library would never send, through the real server."""
    import threading

    import uvicorn

    app = create_app(token=TOKEN, hosts=("localhost",))
    config = uvicorn.Config(app, http="h11", log_config=None, log_level="critical", lifespan="off", ws="none")
    server = uvicorn.Server(config)
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        authorization = f"Authorization: Bearer {TOKEN}\r\n"
        for text, status in (
            (f"GET /api/catalog HTTP/1.1\r\nHost: localhost\r\n{authorization}\r\n", 200),
            (f"GET /api/catalog HTTP/1.1\r\n{authorization}\r\n", 400),
            (f"GET /api/catalog HTTP/1.0\r\n{authorization}\r\n", 400),
            (f"GET /api/catalog HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n{authorization}\r\n", 400),
            (f"GET http://evil.example/api/catalog HTTP/1.1\r\nHost: evil.example\r\n{authorization}\r\n", 400),
            ("GET /api/catalog HTTP/1.1\r\nHost: localhost\r\n\r\n", 401),
            ("GET //api/catalog HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
            ("GET /../secret.txt HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
            ("GET /%2e%2e/secret.txt HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
            ("GET /api/../api/catalog HTTP/1.1\r\nHost: localhost\r\n\r\n", 401),
            ("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 200),
            ("nonsense\r\n\r\n", 400),
        ):
            with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
                connection.sendall(text.encode())
                answer = http.client.HTTPResponse(connection)
                answer.begin()
                assert answer.status == status, text
                body = answer.read()
                if status not in (200, 400):
                    assert json.loads(body).keys() == {"error", "kind"}
    finally:
        server.should_exit = True
        thread.join(timeout=10)
