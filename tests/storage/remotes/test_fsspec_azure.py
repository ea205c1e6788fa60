"""az://: datasets in a container of Azure Blob Storage.

Its emulator, Azurite, comes by npm only. Where one runs, ``MINARI_TEST_AZURE`` says so by a connection string::

    npx azurite-blob --blobHost 127.0.0.1 --inMemoryPersistence --skipApiVersionCheck
    MINARI_TEST_AZURE='DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey=...;BlobEndpoint=...'
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from minari import errors
from minari.storage.remotes import get_cloud_storage
from minari.storage.transfer.checksums import checksum_of
from minari.testing import RemoteConformance
from support.object_store import check_conditions


CONNECTION = os.environ.get("MINARI_TEST_AZURE", "")

if not CONNECTION:
    pytest.skip("MINARI_TEST_AZURE does not name an Azurite", allow_module_level=True)

# Of how Azure's client uses aiohttp.
pytestmark = pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")

MIB = 1 << 20


@pytest.fixture
def container(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a new, empty container."""
    pytest.importorskip("adlfs", reason="adlfs is not installed")
    from azure.storage.blob import BlobServiceClient

    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", CONNECTION)
    name = f"tests-{uuid4()}"
    with BlobServiceClient.from_connection_string(CONNECTION) as client:
        client.create_container(name)
    return name


class TestAzure(RemoteConformance):
    """Conformance of a remote in a container."""

    @pytest.fixture
    def address(self, container: str) -> str:
        return f"az://{container}"


class TestAzureBelowAPrefix(RemoteConformance):
    """The same below a prefix."""

    @pytest.fixture
    def address(self, container: str, monkeypatch: pytest.MonkeyPatch) -> str:
        address = f"az://{container}/team/data"
        monkeypatch.setenv("MINARI_REMOTE", address)
        return address


def test_conditions(container: str) -> None:
    check_conditions(get_cloud_storage(f"az://{container}"))


@pytest.mark.parametrize("size", [0, 5, 70 * MIB])
def test_checksums(size: int, container: str, tmp_path: Path) -> None:
    remote: Any = get_cloud_storage(f"az://{container}")
    path = tmp_path / "big"
    path.write_bytes(os.urandom(size))
    wanted = checksum_of(path.read_bytes(), "md5")
    assert remote.put_file("big", path).checksum == wanted
    [listed] = remote.find("b")
    assert (listed.size, listed.checksum) == (size, wanted)


def test_a_container_that_does_not_exist(container: str) -> None:
    with pytest.raises(errors.RemoteError, match="does not exist"):
        get_cloud_storage("az://nobody-has-made-it").list_datasets()


def test_credentials(container: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", CONNECTION.replace("AccountKey=", "AccountKey=AAAA"))
    with pytest.raises(errors.RemoteAccessError, match="AZURE_STORAGE_CONNECTION_STRING") as caught:
        get_cloud_storage(f"az://{container}").list_datasets()
    assert "AAAA" not in str(caught.value)
    monkeypatch.delenv("AZURE_STORAGE_CONNECTION_STRING")
    with pytest.raises(errors.RemoteError, match="AZURE_STORAGE_CONNECTION_STRING"):
        get_cloud_storage(f"az://{container}").list_datasets()


def test_a_dead_server(container: str, monkeypatch: pytest.MonkeyPatch) -> None:
    dead = "DefaultEndpointsProtocol=http;AccountName=a;AccountKey=AAAA;BlobEndpoint=http://127.0.0.1:9/a;"
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", dead)
    begun = time.monotonic()
    with pytest.raises(errors.RemoteUnreachableError):
        get_cloud_storage(f"az://{container}").read_file("x")  # type: ignore[attr-defined]
    assert time.monotonic() - begun < 5, "the client does not try again by itself"
