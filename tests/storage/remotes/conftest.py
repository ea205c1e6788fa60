"""Servers for the tests of remotes: real ones, on this computer, that the real clients talk to."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from minari.storage.remotes import object_index
from minari.storage.transfer import limits
from minari.testing.sharing import write_dataset
from support.servers.backends import KINDS, Backend, FileBackend, WebBackend
from support.servers.gcs import GCSServer, running_gcs_server
from support.servers.hub import HubServer
from support.servers.moving import ID, LARGE, upload_in_pieces
from support.servers.proxy import FaultyProxy
from support.servers.web import WebServer, web_server


if TYPE_CHECKING:
    from support.servers.s3 import S3Server
    from support.servers.token import TokenServer

# The login of whoever runs the tests stays out of them; the client looks for it where this says when it is loaded.
os.environ["HF_HOME"] = str(Path(tempfile.gettempdir()) / "minari-tests-without-a-login")
# Parts of files may be smaller than at Amazon, so that tests of them are fast; read when moto is loaded.
os.environ["S3_UPLOAD_PART_MIN_SIZE"] = str(1 << 20)

HUB_TOKEN = "hf_WritesForAnnOfTheLab"


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between attempts at what fails, so that tests of what fails in the end do not wait."""
    monkeypatch.setattr(limits, "FIRST_PAUSE", 0.005)
    monkeypatch.setattr(object_index, "PAUSE", 0.0)
    with suppress(ImportError):  # the client of the Hub pauses for seconds between its own attempts
        impatient = SimpleNamespace(sleep=lambda seconds: time.sleep(seconds / 100))
        monkeypatch.setattr(import_module("huggingface_hub.utils._http"), "time", impatient)


@pytest.fixture(scope="session")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Any]]:
    """A function ``started("s3")``: the server of a kind of remote, running until the end of the session."""
    running, servers = ExitStack(), dict[str, Any]()

    def make(kind: str) -> Any:
        if kind == "gcs":
            return running_gcs_server()
        if kind == "s3":
            pytest.importorskip("moto", reason="moto is not installed")
            return pytest.importorskip("support.servers.s3").s3_server()
        return HubServer() if kind == "hub" else web_server(tmp_path_factory.mktemp("web"))

    def start(kind: str) -> Any:
        if (package := KINDS[kind].requires) is not None:
            pytest.importorskip(package, reason=f"{package} is not installed")
        if kind not in servers:
            servers[kind] = running.enter_context(make(kind))
        return servers[kind]

    with running:
        yield start


@pytest.fixture
def proxied() -> Iterator[Callable[[int], FaultyProxy]]:
    """A function ``proxied(port)``: a proxy before the server on that port, until the end of the test."""
    with ExitStack() as proxies:
        yield lambda port: proxies.enter_context(closing(FaultyProxy(port)))


# All kinds of remotes.


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
    (directory := tmp_path / "served").mkdir()
    if kind == "file":
        return FileBackend(directory)
    server = started(kind)
    if kind == "web":
        server.directory = directory
        return WebBackend(server, proxied(server.port))
    made = KINDS[kind](server, proxied(server.port))
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    return made


@pytest.fixture
def uploaded(datasets_root: Path, backend: Backend) -> Path:
    """The directory of a local dataset with one large file, which is on the remote too."""
    directory = write_dataset(datasets_root, ID, files={"data/main_data.hdf5": LARGE})
    upload_in_pieces(backend)
    return directory


# Google Cloud Storage.


@pytest.fixture(scope="session")
def token_server() -> Iterator[TokenServer]:
    """Gives access tokens to the one service account that it knows."""
    token = pytest.importorskip("support.servers.token", reason="the package cryptography is not installed")
    with token.running_token_server() as server:
        yield server


@pytest.fixture
def gcs(started: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> GCSServer:
    """fake-gcs-server, which the client library finds by its environment; without credentials of this machine."""
    server: GCSServer = started("gcs")
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("CLOUDSDK_CONFIG", "/nonexistent")
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    return server


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


# S3.


@pytest.fixture
def s3(started: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """moto's server, which the client libraries find by their environment; without credentials of this machine."""
    server: S3Server = started("s3")
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    return server


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


# The Hub, and web servers.


@pytest.fixture
def hub(started: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> HubServer:
    """An empty Hub that the client library finds by its environment, where Ann of the lab is logged in."""
    server: HubServer = started("hub")
    server.clear()
    server.add_token(HUB_TOKEN, "ann", "lab")
    monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
    monkeypatch.setenv("HF_TOKEN", HUB_TOKEN)
    return server


@pytest.fixture
def web(tmp_path: Path) -> Iterator[WebServer]:
    """A web server of an empty directory."""
    directory = tmp_path / "shared directory"
    directory.mkdir()
    with web_server(directory) as server:
        yield server
