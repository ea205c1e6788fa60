"""Every kind of remote, at servers on this machine, keeps the promises of all, also below a prefix."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from minari.storage.remotes import CloudStorage, registry, split_address
from minari.testing import RemoteConformance
from support.object_store import Store
from support.servers.hub import HubServer


if TYPE_CHECKING:
    from support.servers.s3 import S3Server


DOCUMENTED = Path(__file__).parents[3] / "docs" / "remotes.md"


class TestDirectory(RemoteConformance):
    @pytest.fixture
    def address(self, share: Path) -> str:
        return share.as_uri()


class TestObjectsInMemory(RemoteConformance):
    @pytest.fixture
    def address(self, register: Callable[[str, type], None], monkeypatch: pytest.MonkeyPatch) -> str:
        monkeypatch.setattr(Store, "shelves", {})
        register("store", Store)
        return "store://shelf"


class TestGCS(RemoteConformance):
    @pytest.fixture
    def address(self, bucket: str) -> str:
        return f"gcp://{bucket}"


class TestS3(RemoteConformance):
    @pytest.fixture
    def address(self, s3_bucket: str) -> str:
        return f"s3://{s3_bucket}"


class TestHub(RemoteConformance):
    @pytest.fixture
    def address(self, hub: HubServer) -> str:
        return "hf://lab"


class TestMemoryOfFsspec(RemoteConformance):
    @pytest.fixture
    def address(self) -> str:
        pytest.importorskip("fsspec", reason="fsspec is not installed")
        return f"memory://{uuid4()}"


class TestDirectoryOfFsspec(RemoteConformance):
    """A store that has directories, which have to be made."""

    @pytest.fixture
    def address(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
        pytest.importorskip("fsspec", reason="fsspec is not installed")
        return default(f"local://{tmp_path}/stored", monkeypatch)


class BelowAPrefix(RemoteConformance):
    """Without what has nothing to do with where datasets lie, and takes long."""

    test_several_threads = None
    test_two_that_upload_the_same = None
    test_transfers_are_reported = None
    test_an_interrupted_upload_leaves_no_dataset = None
    test_an_interrupted_download_leaves_nothing = None
    test_malformed_names = None
    test_links_that_lead_out_are_not_sent = None
    test_names_that_lead_out_elsewhere_are_not_sent = None


def default(address: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make it the default remote: where the prefix ends, an address itself does not say."""
    monkeypatch.setenv("MINARI_REMOTE", address)
    return address


class TestGCSBelowAPrefix(BelowAPrefix):
    @pytest.fixture
    def address(self, bucket: str, monkeypatch: pytest.MonkeyPatch) -> str:
        return default(f"gs://{bucket}/labs/ours", monkeypatch)


class TestS3BelowAPrefix(BelowAPrefix):
    @pytest.fixture
    def address(self, s3: S3Server, s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> str:
        s3.put(s3_bucket, "team/data-old/x-v1/data/metadata.json", b"{}")
        return default(f"s3://{s3_bucket}/team/data", monkeypatch)


class TestHubBelowANamespace(BelowAPrefix):
    @pytest.fixture
    def address(self, hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> str:
        return default("hf://lab/group/ours", monkeypatch)


class TestRemoteOfTheDocumentation(RemoteConformance):
    """The remote that the documentation builds passes the suite that it names."""

    @pytest.fixture
    def address(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
        blocks = re.findall(r"```python\n(.*?)```", DOCUMENTED.read_text(encoding="utf-8"), re.DOTALL)
        (source,) = [block for block in blocks if "class SQLiteStorage" in block]
        name = f"minari_sqlite_{tmp_path.name.replace('-', '_')}"
        (tmp_path / f"{name}.py").write_text(source, encoding="utf-8")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setitem(registry.REMOTES, "sqlite", (f"{name}:SQLiteStorage", "minari-sqlite"))
        return f"sqlite://{tmp_path}/datasets.db"

    def test_the_address_of_a_dataset(self, address: str, remote: CloudStorage) -> None:
        assert split_address(f"{address}/toy/a-v0") == (address, "toy/a-v0")
