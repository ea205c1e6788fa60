"""Google Cloud Storage: credentials, large files, pages, and what is said of a bucket that is not as it should be."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

import minari
from minari.errors import RemoteAccessError, RemoteError, RemoteUnreachableError
from minari.storage.remotes import get_cloud_storage
from minari.storage.remotes.gcp import GCPStorage
from minari.storage.remotes.object_storage import ABSENT, ConflictError
from minari.storage.transfer.index import INDEX_FILE_NAME, dump_index
from minari.storage.transfer.limits import Limits, with_retries
from minari.testing.sharing import tree, write_dataset
from support.servers.gcs import GCSServer
from support.servers.proxy import FaultyProxy
from support.servers.token import ACCESS_TOKEN, ServiceAccount, TokenServer


gcp = pytest.importorskip("minari.storage.remotes.gcp", reason="google-cloud-storage is not installed")


class TestCredentials:
    def test_a_key_file(
        self, bucket: str, gcs_proxy: FaultyProxy, token_server: TokenServer, datasets_root: Path, tmp_path: Path
    ) -> None:
        key = token_server.account.write(tmp_path / "key.json")
        write_dataset(datasets_root, "x-v0")
        minari.upload_dataset("x-v0", str(key), remote=f"gcp://{bucket}")
        assert token_server.given >= 1
        authorized = [e for e in gcs_proxy.exchanges if e.authorization == f"Bearer {ACCESS_TOKEN}"]
        assert len(authorized) == len(gcs_proxy.exchanges) > 3
        assert list(minari.list_remote_datasets(f"gcp://{bucket}")) == ["x-v0"]

    def test_the_key_of_another_account(
        self, bucket: str, token_server: TokenServer, datasets_root: Path, tmp_path: Path
    ) -> None:
        stranger = ServiceAccount(token_server.url)
        key = stranger.write(tmp_path / "key.json")
        write_dataset(datasets_root, "x-v0")
        begun, refused = time.monotonic(), token_server.refused
        with pytest.raises(RemoteAccessError, match="--key-path") as caught:
            minari.upload_dataset("x-v0", str(key), remote=f"gcp://{bucket}")
        assert time.monotonic() - begun < 10
        assert token_server.refused > refused
        assert isinstance(caught.value, PermissionError)
        assert caught.value.__cause__ is None

    def test_a_server_of_tokens_that_is_gone(
        self, bucket: str, proxied: Callable[[int], FaultyProxy], token_server: TokenServer, tmp_path: Path
    ) -> None:
        proxy = proxied(token_server.server_address[1])
        key = token_server.account.write(tmp_path / "key.json", token_uri=f"{proxy.url}/token")
        proxy.refuse()
        with pytest.raises(RemoteUnreachableError, match="access tokens"):
            GCPStorage(bucket, str(key)).read_file("x")

    @pytest.mark.parametrize(
        "changes", [{"private_key": "-----BEGIN"}, {"private_key": None}, {"client_email": None}, {"token_uri": None}]
    )
    def test_a_malformed_key(self, changes: dict[str, str | None], token_server: TokenServer, tmp_path: Path) -> None:
        key = token_server.account.write(tmp_path / "key.json", **changes)
        with pytest.raises(RemoteAccessError, match=r"key\.json given as the token .* holds no service-account key"):
            get_cloud_storage("gcp://bucket", str(key))

    @pytest.mark.parametrize("content", ["", "{", "[]", "\0"])
    def test_a_file_that_is_no_key(self, content: str, tmp_path: Path) -> None:
        key = tmp_path / "key.json"
        key.write_text(content)
        with pytest.raises(RemoteAccessError, match="holds no service-account key"):
            get_cloud_storage("gcp://bucket", str(key))

    def test_a_missing_key_file(self, tmp_path: Path) -> None:
        with pytest.raises(RemoteAccessError, match=r"no file .*absent\.json that can be read"):
            get_cloud_storage("gcp://bucket", str(tmp_path / "absent.json"))

    @pytest.mark.parametrize("secret", ["hf_aBcDeFgHiJkL", '{"private_key": "s3cret"}.json', "line\nline.json"])
    def test_a_secret_in_place_of_a_path_is_not_repeated(self, secret: str) -> None:
        with pytest.raises(RemoteAccessError) as caught:
            get_cloud_storage("gcp://bucket", secret)
        assert secret not in str(caught.value)
        assert caught.value.__cause__ is None

    def test_neither_a_repr_nor_an_error_tells_of_a_key(
        self, bucket: str, gcs_proxy: FaultyProxy, token_server: TokenServer, tmp_path: Path
    ) -> None:
        key = token_server.account.write(tmp_path / "key.json")
        remote = GCPStorage(bucket, str(key))
        gcs_proxy.answer_with(403, times=None)
        with pytest.raises(RemoteAccessError, match="answered 403") as caught:
            remote.read_file("x")
        for text in (repr(remote), str(caught.value), repr(caught.value)):
            assert ACCESS_TOKEN not in text
            assert "key.json" not in text
            assert "PRIVATE" not in text

    @pytest.mark.parametrize("status", [401, 403])
    def test_without_credentials(self, status: int, bucket: str, gcs_proxy: FaultyProxy, datasets_root: Path) -> None:
        write_dataset(datasets_root, "x-v0")
        gcs_proxy.answer_with(status, times=None, method="POST")
        with pytest.raises(RemoteAccessError, match="give the path of a service-account key file"):
            minari.upload_dataset("x-v0", remote=f"gcp://{bucket}")
        assert gcs_proxy.count("POST") == 1, "what is refused is not tried again"

    @pytest.mark.usefixtures("gcs")
    def test_a_machine_without_credentials_reads_anonymously(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("STORAGE_EMULATOR_HOST")
        credentials = gcp.make_client(None, 4, Limits())._credentials
        assert type(credentials).__name__ == "AnonymousCredentials"

    @pytest.mark.usefixtures("gcs")
    def test_credentials_of_the_environment_that_are_missing(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.delenv("STORAGE_EMULATOR_HOST")
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "absent.json"))
        with pytest.raises(RemoteAccessError, match="GOOGLE_APPLICATION_CREDENTIALS"):
            GCPStorage("some-bucket").read_file("x")


class TestBuckets:
    @pytest.mark.parametrize("name", ["a", "-ab", "ab-", "UPPER", "with space", "a" * 223, "/x", "ab$cd"])
    def test_impossible_names(self, name: str) -> None:
        with pytest.raises(RemoteError, match=r"gcp://bucket\[/prefix\]"):
            GCPStorage(name)

    @pytest.mark.usefixtures("gcs")
    def test_a_missing_bucket(self, datasets_root: Path) -> None:
        write_dataset(datasets_root, "x-v0")
        for call in (
            lambda: minari.list_remote_datasets("gcp://there-is-none"),
            lambda: minari.upload_dataset("x-v0", remote="gcp://there-is-none"),
        ):
            with pytest.raises(RemoteError, match="no bucket there-is-none"):
                call()

    def test_a_thousand_datasets_over_pages(
        self, bucket: str, gcs: GCSServer, gcs_proxy: FaultyProxy, tmp_path: Path
    ) -> None:
        ids = [f"lab/x-v{number}" for number in range(1_050)]
        metadata = json.loads((write_dataset(tmp_path, "lab/x-v0") / "data" / "metadata.json").read_text())
        texts = {name: json.dumps({**metadata, "dataset_id": name}).encode() for name in ids}
        for name in ids:
            gcs.put(bucket, f"{name}/data/metadata.json", texts[name])
        gcs.put(bucket, INDEX_FILE_NAME, dump_index(texts))
        found = minari.list_remote_datasets(f"gcp://{bucket}")
        assert list(found) == ids
        assert found["lab/x-v1049"] == {**metadata, "dataset_id": "lab/x-v1049"}
        assert gcs_proxy.count("GET", "/o?") == 2, "pages of a thousand"
        assert gcs_proxy.count("GET", "alt=media") == 1, "the index"

    def test_a_dataset_of_many_files_over_pages(self, bucket: str, gcs: GCSServer, datasets_root: Path) -> None:
        remote = GCPStorage(bucket)
        for number in range(1_010):
            gcs.put(bucket, f"x-v1/data/{number}", b"")
        gcs.put(bucket, "x-v10/data/0", b"")
        assert len(list(remote.list_files("x-v1"))) == 1_010

    def test_directories_that_the_console_makes(self, bucket: str, gcs: GCSServer, tmp_path: Path) -> None:
        directory = write_dataset(tmp_path / "local", "x-v0")
        for name in ("x-v0/", "x-v0/data/", "x-v0/data/metadata.json", "x-v0/data/main_data.hdf5"):
            gcs.put(bucket, name, b"" if name.endswith("/") else (directory.parent / name).read_bytes())
        GCPStorage(bucket).download_dataset("x-v0", tmp_path / "arrival")
        assert sorted(tree(tmp_path / "arrival")) == [
            "x-v0",
            "x-v0/data",
            "x-v0/data/main_data.hdf5",
            "x-v0/data/metadata.json",
        ]

    def test_what_it_says_of_a_file(self, bucket: str, gcs: GCSServer) -> None:
        gcs.put(bucket, "a/x", b"123456789")
        (file,) = GCPStorage(f"{bucket}/a").find("")
        assert (file.name, file.size, file.checksum) == ("x", 9, ("crc32c", "e3069283"))
        assert GCPStorage(bucket).read_version("a/x") == (b"123456789", file.version)


class TestObjects:
    def test_conditions(self, bucket: str) -> None:
        remote = GCPStorage(bucket)
        remote.put("x", b"1", match=ABSENT)
        with pytest.raises(ConflictError):
            remote.put("x", b"2", match=ABSENT)
        content, version = remote.read_version("x")
        remote.put("x", b"3", match=version)
        with pytest.raises(ConflictError):
            remote.put("x", b"4", match=version)
        assert (content, remote.read_file("x")) == (b"1", b"3")
        remote.put("x", b"5")
        assert remote.read_file("x") == b"5"

    def test_ranges(self, bucket: str) -> None:
        remote = GCPStorage(bucket)
        remote.put("x", b"0123456789")
        ranges = ((0, 3), (8, 20), (4, 4), (10, 12), (50, 60))
        # The server closes connections that are kept when it likes, as any server may.
        got = [with_retries(partial(remote.read_range, "x", start, stop)) for start, stop in ranges]
        assert got == [b"012", b"89", b"", b"", b""]

    def test_deleting_twice(self, bucket: str, gcs: GCSServer) -> None:
        gcs.put(bucket, "x", b"")
        for _ in range(2):
            GCPStorage(bucket).delete("x")
        assert gcs.names(bucket) == []

    def test_a_small_object_that_arrives_damaged_is_sent_again(self, bucket: str, gcs_proxy: FaultyProxy) -> None:
        remote = GCPStorage(bucket)
        content = os.urandom(50_000)
        gcs_proxy.flip(30_000, side="request", larger_than=40_000)
        remote.put("x", content, match=ABSENT)
        assert remote.read_file("x") == content

    def test_a_small_object_that_is_damaged_on_the_way_is_noticed(self, bucket: str, gcs_proxy: FaultyProxy) -> None:
        remote = GCPStorage(bucket)
        remote.put("x", content := os.urandom(50_000))
        gcs_proxy.flip(30_000, larger_than=40_000)
        with pytest.raises(RemoteUnreachableError, match="damaged on the way"):
            remote.read_file("x")
        assert remote.read_file("x") == content


class TestLargeFiles:
    """Files that are sent in parts, here of 64 KiB."""

    @pytest.fixture(autouse=True)
    def small_parts(self, monkeypatch: pytest.MonkeyPatch, short_pauses: None) -> None:
        monkeypatch.setattr(gcp, "PART_SIZE", 1 << 16)

    @pytest.mark.parametrize("parts", [1, 2, 32, 33, 70])
    @pytest.mark.parametrize("more", [0, 1, -1])
    def test_as_many_parts_as_it_takes(
        self, parts: int, more: int, bucket: str, gcs: GCSServer, tmp_path: Path
    ) -> None:
        content = os.urandom(parts * (1 << 16) + more)
        (tmp_path / "big").write_bytes(content)
        stored = GCPStorage(f"{bucket}/n").put_file("x/big", tmp_path / "big")
        assert gcs.get(bucket, "n/x/big") == content
        assert (stored.name, stored.size) == ("x/big", len(content))
        assert stored.holds(content)
        assert gcs.names(bucket) == ["n/x/big"], "no part stays"

    def test_the_parts_are_told_as_they_are_sent(self, bucket: str, gcs: GCSServer, tmp_path: Path) -> None:
        (tmp_path / "big").write_bytes(os.urandom((5 << 16) + 3))
        told: list[int] = []
        GCPStorage(bucket).put_file("big", tmp_path / "big", told.append)
        assert sorted(told) == [3, *[1 << 16] * 5]

    def test_only_what_is_missing_is_sent_again(self, bucket: str, gcs_proxy: FaultyProxy, tmp_path: Path) -> None:
        content = os.urandom(40 << 16)
        (tmp_path / "big").write_bytes(content)
        gcs_proxy.break_after(30 << 16, side="request")
        with pytest.raises(RemoteUnreachableError):
            GCPStorage(bucket, max_workers=4).put_file("big", tmp_path / "big")
        gcs_proxy.heal()
        gcs_proxy.forget()
        stored = GCPStorage(bucket).put_file("big", tmp_path / "big")
        assert stored.holds(content)
        assert gcs_proxy.bytes_sent() < 16 << 16

    def test_parts_of_another_content_are_replaced(self, bucket: str, gcs_proxy: FaultyProxy, tmp_path: Path) -> None:
        file = tmp_path / "big"
        file.write_bytes(bytes(10 << 16))
        gcs_proxy.break_after(8 << 16, side="request")
        with pytest.raises(RemoteUnreachableError):
            GCPStorage(bucket, max_workers=2).put_file("big", file)
        gcs_proxy.heal()
        content = os.urandom(10 << 16)
        file.write_bytes(content)
        assert GCPStorage(bucket).put_file("big", file).holds(content)

    def test_a_damaged_part_is_sent_again(self, bucket: str, gcs_proxy: FaultyProxy, tmp_path: Path) -> None:
        content = os.urandom(5 << 16)
        (tmp_path / "big").write_bytes(content)
        gcs_proxy.flip(30_000, side="request", larger_than=60_000, times=2)
        assert GCPStorage(bucket).put_file("big", tmp_path / "big").holds(content)

    def test_who_may_not_delete_has_uploaded_all_the_same(
        self, bucket: str, gcs: GCSServer, gcs_proxy: FaultyProxy, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        content = os.urandom(2 << 16)
        (tmp_path / "big").write_bytes(content)
        gcs_proxy.answer_with(403, times=None, method="DELETE")
        assert GCPStorage(bucket).put_file("big", tmp_path / "big").holds(content)
        assert "stay below .uploads/" in caplog.text
        assert len(gcs.names(bucket)) == 3
