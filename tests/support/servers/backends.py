"""One remote of each kind behind a proxy, looked at and changed behind the back of the library."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from minari.storage.remotes import CloudStorage, get_cloud_storage
from minari.storage.transfer.index import INDEX_FILE_NAME, dump_index
from support.servers.gcs import GCSServer
from support.servers.hub import HubServer
from support.servers.hub_repositories import Repository
from support.servers.proxy import FaultyProxy
from support.servers.web import WebServer


if TYPE_CHECKING:
    from support.servers.s3 import S3Server


class Backend(ABC):
    """An empty remote behind a proxy. Names are relative to its root.

    Attributes:
        address: of the remote.
        proxy: in front of the server.
        environment: the variables by which clients find it.
        token: for those who write.
        is_writable: whether the library can upload to it.
        lists_files: whether it tells which files there are.
        timeouts: where the library keeps how long it waits for an answer.
    """

    is_writable = True
    lists_files = True
    token: str | None = None
    timeouts: str

    def __init__(self, address: str, proxy: FaultyProxy, environment: dict[str, str]) -> None:
        self.address, self.proxy, self.environment = address, proxy, environment
        self._remotes: dict[int, CloudStorage] = {}

    def remote(self, max_workers: int = 16) -> CloudStorage:
        """The remote as the library sees it; making clients takes longer than all that a test moves."""
        if max_workers not in self._remotes:
            self._remotes[max_workers] = get_cloud_storage(self.address, self.token, max_workers=max_workers)
        return self._remotes[max_workers]

    def upload(self, dataset_id: str) -> None:
        """Upload a local dataset, in this process."""
        self.remote().upload_dataset(dataset_id)

    def shorten_timeouts(self, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
        """Have the library wait no longer than this for an answer."""
        monkeypatch.setattr(self.timeouts, seconds)

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
    timeouts = "minari.storage.remotes.gcp.READ_TIMEOUT"

    def __init__(self, server: GCSServer, proxy: FaultyProxy) -> None:
        self._server, self._bucket = server, server.make_bucket()
        environment = {"STORAGE_EMULATOR_HOST": proxy.url}
        super().__init__(f"gcp://{self._bucket}", proxy, environment)

    def files(self) -> dict[str, bytes]:
        return {name: self._server.get(self._bucket, name) for name in self._server.names(self._bucket)}

    def put(self, name: str, content: bytes) -> None:
        self._server.put(self._bucket, name, content)

    def delete(self, name: str) -> None:
        self._server.delete(self._bucket, name)


class S3Backend(Backend):
    timeouts = "minari.storage.remotes.s3.READ_TIMEOUT"

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
    token = "hf_of_the_tests"
    timeouts = "minari.storage.remotes.hub.client._READ"

    def __init__(self, server: HubServer, proxy: FaultyProxy, home: Path) -> None:
        self._server = server
        self._owner = f"org{len(server.repositories.accounts)}-{len(server.repositories.by_name)}"
        server.add_token(self.token, "somebody", self._owner)
        environment = {**server.environment(home), "HF_ENDPOINT": proxy.url}
        super().__init__(f"hf://{self._owner}", proxy, environment)

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


class WebBackend(Backend):
    """Read-only: datasets come to its folder by way of ``file://``."""

    is_writable = False
    lists_files = False
    timeouts = "minari.storage.remotes.web_client._READ_TIMEOUT"

    def __init__(self, server: WebServer, proxy: FaultyProxy) -> None:
        self._folder = server.folder
        super().__init__(proxy.url, proxy, {})

    def upload(self, dataset_id: str) -> None:
        get_cloud_storage(self._folder.as_uri()).upload_dataset(dataset_id)
        metadata = self._folder.rglob("data/metadata.json")
        entries = {file.parents[1].relative_to(self._folder).as_posix(): file.read_bytes() for file in metadata}
        (self._folder / INDEX_FILE_NAME).write_bytes(dump_index(entries))

    def files(self) -> dict[str, bytes]:
        found = (path for path in self._folder.rglob("*") if path.is_file())
        return {path.relative_to(self._folder).as_posix(): path.read_bytes() for path in found}

    def put(self, name: str, content: bytes) -> None:
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def delete(self, name: str) -> None:
        (self._folder / name).unlink()
