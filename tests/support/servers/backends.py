"""One remote of each kind, behind a proxy where there is a network, looked at and changed behind the library's back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from minari.storage.remotes import CloudStorage, get_cloud_storage
from minari.storage.transfer.limits import Limits
from support.servers.gcs import GCSServer
from support.servers.hub import HubServer
from support.servers.hub_repositories import Repository
from support.servers.proxy import FaultyProxy
from support.servers.web import WebServer


if TYPE_CHECKING:
    from support.servers.s3 import S3Server


class Backend(ABC):
    """An empty remote. Names are relative to its root."""

    requires: str | None = None  # the package that its client comes from
    has_network = True  # that can fail, and so a proxy
    is_writable = True  # by the library
    lists_files = True
    token: str | None = None  # for those who write
    proxy: FaultyProxy

    def __init__(self, address: str, proxy: FaultyProxy | None, environment: dict[str, str]) -> None:
        self.address, self.environment = address, environment
        if proxy is not None:
            self.proxy = proxy
        self._remotes: dict[int, CloudStorage] = {}

    def remote(self, max_workers: int = 16) -> CloudStorage:
        """The remote as the library sees it; making clients takes longer than all that a test moves."""
        if max_workers not in self._remotes:
            self._remotes[max_workers] = get_cloud_storage(self.address, self.token, max_workers=max_workers)
        return self._remotes[max_workers]

    def upload(self, dataset_id: str, max_workers: int = 16) -> None:
        """Upload a local dataset, in this process."""
        self.remote(max_workers).upload_dataset(dataset_id)

    def shorten_timeouts(self, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
        """Have the library wait no longer than this for an answer."""
        monkeypatch.setattr(CloudStorage, "LIMITS", Limits(read_timeout=seconds))

    @abstractmethod
    def files(self) -> dict[str, bytes]:
        """All that is there."""

    @abstractmethod
    def put(self, name: str, content: bytes) -> None:
        """Write a file."""

    @abstractmethod
    def delete(self, name: str) -> None:
        """Take a file away."""


class GCSBackend(Backend):
    requires = "google.cloud.storage"

    def __init__(self, server: GCSServer, proxy: FaultyProxy) -> None:
        self._server, self._bucket = server, server.make_bucket()
        super().__init__(f"gcp://{self._bucket}", proxy, {"STORAGE_EMULATOR_HOST": proxy.url})

    def files(self) -> dict[str, bytes]:
        return {name: self._server.get(self._bucket, name) for name in self._server.names(self._bucket)}

    def put(self, name: str, content: bytes) -> None:
        self._server.put(self._bucket, name, content)

    def delete(self, name: str) -> None:
        self._server.delete(self._bucket, name)


class S3Backend(Backend):
    requires = "s3fs"

    def __init__(self, server: S3Server, proxy: FaultyProxy) -> None:
        self._server, self._bucket = server, server.new_bucket()
        super().__init__(f"s3://{self._bucket}", proxy, server.environment(proxy.url))

    def files(self) -> dict[str, bytes]:
        return self._server.objects(self._bucket)

    def put(self, name: str, content: bytes) -> None:
        self._server.put(self._bucket, name, content)

    def delete(self, name: str) -> None:
        self._server.client().delete_object(Bucket=self._bucket, Key=name)


class HubBackend(Backend):
    requires = "huggingface_hub"
    token = "hf_of_the_tests"

    def __init__(self, server: HubServer, proxy: FaultyProxy) -> None:
        self._server = server
        self._owner = f"org{len(server.repositories.accounts)}-{len(server.repositories.by_name)}"
        server.add_token(self.token, "somebody", self._owner)
        super().__init__(f"hf://{self._owner}", proxy, {"HF_ENDPOINT": proxy.url})

    def _repository(self, name: str) -> tuple[str, str]:
        first, _, rest = name.partition("/")
        return f"{self._owner}/{first}", rest

    def files(self) -> dict[str, bytes]:
        names = [name for name in self._server.repositories.by_name if name.startswith(f"{self._owner}/")]
        return {
            f"{name.partition('/')[2]}/{file}": content
            for name in names
            for file, content in self._server.files(name).items()
        }

    def put(self, name: str, content: bytes) -> None:
        repository, file = self._repository(name)
        self._server.put(repository, {file: content})

    def delete(self, name: str) -> None:
        full, file = self._repository(name)
        repository: Repository = self._server.repositories.by_name[full]
        repository.commit({path: blob for path, blob in repository.files.items() if path != file}, "delete")


class FileBackend(Backend):
    """A shared directory, without any server."""

    has_network = False

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        super().__init__(directory.as_uri(), None, {})

    def files(self) -> dict[str, bytes]:
        found = (path for path in self._directory.rglob("*") if path.is_file())
        return {path.relative_to(self._directory).as_posix(): path.read_bytes() for path in found}

    def put(self, name: str, content: bytes) -> None:
        if {"", ".", ".."} & set(name.split("/")):
            return  # no file can have that name
        path = self._directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def delete(self, name: str) -> None:
        (self._directory / name).unlink()


class WebBackend(FileBackend):
    """Read-only: datasets come to its directory by way of ``file://``."""

    has_network = True
    is_writable = False
    lists_files = False

    def __init__(self, server: WebServer, proxy: FaultyProxy) -> None:
        self._directory = server.directory
        Backend.__init__(self, proxy.url, proxy, {})

    def upload(self, dataset_id: str, max_workers: int = 16) -> None:
        get_cloud_storage(self._directory.as_uri()).upload_dataset(dataset_id)


KINDS: dict[str, type[Backend]] = {
    "gcs": GCSBackend,
    "s3": S3Backend,
    "hub": HubBackend,
    "web": WebBackend,
    "file": FileBackend,
}


def only(*names: str, **facts: bool) -> pytest.MarkDecorator:
    """Run a test with those kinds of remote alone that have these names, or of which this is so."""
    wanted = [
        name
        for name, kind in KINDS.items()
        if (not names or name in names) and all(getattr(kind, fact) == value for fact, value in facts.items())
    ]
    return pytest.mark.parametrize("kind", wanted)
