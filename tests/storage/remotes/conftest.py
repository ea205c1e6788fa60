"""Servers for the tests of remotes: real ones, on this computer, that the real clients talk to."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, suppress
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from minari.storage.transfer import limits
from support.servers.backends import KINDS, Backend, FileBackend, GCSBackend, HubBackend, S3Backend, WebBackend
from support.servers.gcs import GCSServer, running_gcs_server
from support.servers.hub import HubServer
from support.servers.proxy import FaultyProxy
from support.servers.web import WebServer, web_server


if TYPE_CHECKING:
    from support.servers.s3 import S3Server
    from support.servers.token import TokenServer


# Google Cloud Storage.
@pytest.fixture(scope="session")
def gcs_server(started: Callable[[str], Any]) -> GCSServer:
    """fake-gcs-server, running until the end of the session."""
    server: GCSServer = started("gcs")
    return server


@pytest.fixture(scope="session")
def token_server() -> Iterator[TokenServer]:
    """Gives access tokens to the one service account that it knows."""
    token = pytest.importorskip("support.servers.token", reason="the package cryptography is not installed")
    with token.running_token_server() as server:
        yield server


@pytest.fixture
def gcs(gcs_server: GCSServer, monkeypatch: pytest.MonkeyPatch) -> GCSServer:
    """fake-gcs-server, which the client library finds by its environment; without credentials of this machine."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs_server.url)
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("CLOUDSDK_CONFIG", "/nonexistent")
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    return gcs_server


@pytest.fixture
def bucket(gcs: GCSServer) -> str:
    """The name of a new, empty bucket."""
    return gcs.make_bucket()


@pytest.fixture
def gcs_proxy(gcs: GCSServer, proxied: Callable[[int], FaultyProxy], monkeypatch: pytest.MonkeyPatch) -> FaultyProxy:
    """A proxy between the client library and fake-gcs-server."""
    proxy = proxied(gcs.port)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.url)
    return proxy


# Faults, over all kinds of remotes.
@pytest.fixture
def proxied() -> Iterator[Callable[[int], FaultyProxy]]:
    """A function ``proxied(port)``: a proxy before the server on that port, until the end of the test."""
    with ExitStack() as proxies:

        def make(port: int) -> FaultyProxy:
            return proxies.enter_context(closing(FaultyProxy(port)))

        yield make


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between attempts at what fails, so that tests of what fails in the end do not wait."""
    monkeypatch.setattr(limits, "FIRST_PAUSE", 0.005)
    with suppress(ImportError):  # the client of the Hub pauses for seconds between its own attempts
        impatient = SimpleNamespace(sleep=lambda seconds: time.sleep(seconds / 100))
        monkeypatch.setattr(import_module("huggingface_hub.utils._http"), "time", impatient)


@pytest.fixture(scope="session")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Any]]:
    """A function ``started("s3")``: the server of a kind of remote, running until the end of the session."""
    with ExitStack() as running:
        servers: dict[str, Any] = {}

        def start(kind: str) -> Any:
            if kind not in servers:
                servers[kind] = running.enter_context(_server_of(kind, tmp_path_factory))
            return servers[kind]

        yield start


def _server_of(kind: str, directories: pytest.TempPathFactory) -> AbstractContextManager[Any]:
    if kind == "gcs":
        return running_gcs_server()
    if kind == "s3":
        pytest.importorskip("moto", reason="moto is not installed")
        return pytest.importorskip("support.servers.s3").s3_server()
    if kind == "hub":
        return HubServer()
    return web_server(directories.mktemp("web"))


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Each kind of remote in turn; tests that do not apply to all are marked with `only`."""
    return str(request.param)


@pytest.fixture
def backend(
    kind: str,
    started: Callable[[str], Any],
    proxied: Callable[[int], FaultyProxy],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Backend:
    """An empty remote of that kind, behind a proxy, that the client libraries find by their environment."""
    if (package := KINDS[kind].requires) is not None:
        pytest.importorskip(package, reason=f"{package} is not installed")
    made = _empty(kind, started, proxied, tmp_path)
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    return made


def _empty(kind: str, started: Callable[[str], Any], proxied: Callable[[int], FaultyProxy], tmp_path: Path) -> Backend:
    if kind in ("file", "web"):
        directory = tmp_path / "served"
        directory.mkdir()
        if kind == "file":
            return FileBackend(directory)
        server = started(kind)
        server.directory = directory
        return WebBackend(server, proxied(server.server_address[1]))
    server = started(kind)
    proxy = proxied(server.port)
    if kind == "gcs":
        return GCSBackend(server, proxy)
    return S3Backend(server, proxy) if kind == "s3" else HubBackend(server, proxy, tmp_path / "hf home")


@pytest.fixture
def arrival(tmp_path: Path) -> Path:
    """A root of datasets that is empty, for those that are downloaded."""
    directory = tmp_path / "arrival"
    directory.mkdir()
    return directory


# The Hub.
# The login of whoever runs the tests stays out of them; the client looks for it where this says when it is loaded.
os.environ["HF_HOME"] = str(Path(tempfile.gettempdir()) / "minari-tests-without-a-login")

HUB_TOKEN = "hf_WritesForAnnOfTheLab"


@pytest.fixture(scope="session")
def hub_server(started: Callable[[str], Any]) -> HubServer:
    """A Hub, running until the end of the session."""
    pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
    server: HubServer = started("hub")
    return server


@pytest.fixture
def hub(hub_server: HubServer, monkeypatch: pytest.MonkeyPatch) -> HubServer:
    """An empty Hub that the client library finds by its environment, where Ann of the lab is logged in."""
    hub_server.clear()
    hub_server.add_token(HUB_TOKEN, "ann", "lab")
    monkeypatch.setenv("HF_ENDPOINT", hub_server.endpoint)
    monkeypatch.setenv("HF_TOKEN", HUB_TOKEN)
    return hub_server


@pytest.fixture
def hub_proxy(hub: HubServer, proxied: Callable[[int], FaultyProxy], monkeypatch: pytest.MonkeyPatch) -> FaultyProxy:
    """A proxy between the client library and the Hub, and the Hub's CDN."""
    proxy = proxied(hub.port)
    monkeypatch.setenv("HF_ENDPOINT", proxy.url)
    return proxy


# S3.
# Parts of files may be smaller than at Amazon, so that tests of them are fast; read when moto is loaded.
os.environ["S3_UPLOAD_PART_MIN_SIZE"] = str(1 << 20)


@pytest.fixture(scope="session")
def s3_server(started: Callable[[str], Any]) -> S3Server:
    """moto's server for S3, running until the end of the session."""
    server: S3Server = started("s3")
    return server


@pytest.fixture
def s3(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """The server, which the client libraries find by their environment; without credentials of this machine."""
    pytest.importorskip("s3fs", reason="s3fs is not installed")
    for name, value in s3_server.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    return s3_server


@pytest.fixture
def s3_bucket(s3: S3Server) -> str:
    """The name of a new, empty bucket."""
    return s3.new_bucket()


@pytest.fixture
def s3_proxy(s3: S3Server, proxied: Callable[[int], FaultyProxy], monkeypatch: pytest.MonkeyPatch) -> FaultyProxy:
    """A proxy between the client library and the server."""
    proxy = proxied(s3.port)
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
    return proxy


# Web servers.
@pytest.fixture
def web(tmp_path: Path) -> Iterator[WebServer]:
    """A web server of an empty directory."""
    directory = tmp_path / "shared directory"
    directory.mkdir()
    with web_server(directory) as server:
        yield server
