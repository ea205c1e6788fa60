"""Remotes of every kind at a server that breaks the rules."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from minari.storage.remotes import CloudStorage, cloud_storage, get_cloud_storage
from minari.storage.transfer import limits
from minari.storage.transfer.limits import Limits
from support.servers.hostile import HostileServer, hostile_server


# The login of whoever runs the tests stays out of them; the client looks for it where this says when it is loaded.
os.environ["HF_HOME"] = str(Path(tempfile.gettempdir()) / "minari-tests-without-a-login")

PACKAGES = {"web": None, "hub": "huggingface_hub", "gcs": "google.cloud.storage", "s3": "s3fs"}


@pytest.fixture
def server() -> Iterator[HostileServer]:
    with hostile_server() as running:
        yield running


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between attempts at what fails."""
    monkeypatch.setattr(limits, "FIRST_PAUSE", 0.005)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers that are slower than this are given up after a moment."""
    monkeypatch.setattr(cloud_storage.CloudStorage, "LIMITS", Limits(bytes_per_second=10_000, interval=0.2))


@pytest.fixture(params=list(PACKAGES))
def kind(request: pytest.FixtureRequest) -> str:
    """Each kind of remote that is asked through HTTP."""
    return str(request.param)


@pytest.fixture
def remote_at(monkeypatch: pytest.MonkeyPatch) -> Callable[..., CloudStorage]:
    """A function ``remote_at(kind, server, token=None)``: a remote whose clients ask that server."""

    def make(kind: str, server: HostileServer, token: str | None = None) -> CloudStorage:
        package = PACKAGES[kind]
        if package is not None:
            pytest.importorskip(package, reason=f"{package} is not installed")
        environment = {
            "HF_ENDPOINT": server.url,
            "STORAGE_EMULATOR_HOST": server.url,
            "NO_GCE_CHECK": "true",
            "CLOUDSDK_CONFIG": "/nonexistent",
            "AWS_ENDPOINT_URL": server.url,
            "AWS_ACCESS_KEY_ID": "AKIDofthetests",
            "AWS_SECRET_ACCESS_KEY": "secret-of-the-tests",
            "AWS_DEFAULT_REGION": "us-east-1",
            "NETRC": "/nonexistent",
        }
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        for name in ("HF_TOKEN", "GOOGLE_APPLICATION_CREDENTIALS", "AWS_PROFILE"):
            monkeypatch.delenv(name, raising=False)
        addresses = {"web": server.url, "hub": "hf://lab", "gcs": "gcp://bucket-of-tests", "s3": "s3://bucket-of-tests"}
        return get_cloud_storage(addresses[kind], token, max_workers=2)

    return make
