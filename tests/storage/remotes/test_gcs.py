"""Google Cloud Storage: credentials, large files, pages, and what is said of a bucket that is not as it should be."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import minari
from minari.errors import RemoteAccessError, RemoteError, RemoteUnreachableError
from minari.storage.remotes import get_cloud_storage
from minari.storage.transfer.index import INDEX_FILE_NAME, dump_index
from minari.storage.transfer.limits import Limits
from minari.testing.sharing import tree, write_dataset
from support.remotes import upload_dataset
from support.servers.gcs import GCSServer
from support.servers.proxy import FaultyProxy
from support.servers.token import ACCESS_TOKEN, ServiceAccount, TokenServer


gcp = pytest.importorskip("minari.storage.remotes.gcp", reason="google-cloud-storage is not installed")
GCPStorage = gcp.GCPStorage


# Credentials


def test_key_file_is_exchanged_for_an_access_token(
    bucket: str, gcs_proxy: FaultyProxy, token_server: TokenServer, datasets_root: Path, tmp_path: Path
) -> None:
    key = token_server.account.write(tmp_path / "key.json")
    write_dataset(datasets_root, "x-v0")
    upload_dataset("x-v0", str(key), remote=f"gcp://{bucket}")
    assert token_server.given >= 1
    authorized = [e for e in gcs_proxy.exchanges if e.authorization == f"Bearer {ACCESS_TOKEN}"]
    assert len(authorized) == len(gcs_proxy.exchanges) > 3
    assert list(minari.list_remote_datasets(f"gcp://{bucket}")) == ["x-v0"]
    remote = GCPStorage(bucket, str(key))
    gcs_proxy.answer_with(403, times=None)
    with pytest.raises(RemoteAccessError, match="answered 403") as caught:
        remote.read_file("x")
    for secret in (ACCESS_TOKEN, "key.json", "PRIVATE"):
        assert secret not in f"{remote!r} {caught.value} {caught.value!r}"


def test_key_of_another_account_is_refused(
    bucket: str, token_server: TokenServer, datasets_root: Path, tmp_path: Path
) -> None:
    key = ServiceAccount(token_server.url).write(tmp_path / "key.json")
    write_dataset(datasets_root, "x-v0")
    begun, refused = time.monotonic(), token_server.refused
    with pytest.raises(RemoteAccessError, match="--key-path") as caught:
        upload_dataset("x-v0", str(key), remote=f"gcp://{bucket}")
    assert time.monotonic() - begun < 10
    assert token_server.refused > refused
    assert isinstance(caught.value, PermissionError)
    assert caught.value.__cause__ is None


def test_token_server_that_is_gone_is_unreachable(
    bucket: str, proxied: Callable[[int], FaultyProxy], token_server: TokenServer, tmp_path: Path
) -> None:
    proxy = proxied(token_server.server_address[1])
    key = token_server.account.write(tmp_path / "key.json", token_uri=f"{proxy.url}/token")
    proxy.refuse()
    with pytest.raises(RemoteUnreachableError, match="access tokens"):
        GCPStorage(bucket, str(key)).read_file("x")


KEYS = [{"private_key": "-----BEGIN"}, {"private_key": None}, {"client_email": None}, {"token_uri": None}]


@pytest.mark.parametrize("key", [*KEYS, "", "{", "[]", "\0", None], ids=repr)
def test_malformed_key_file_is_named(
    key: dict[str, str | None] | str | None, token_server: TokenServer, tmp_path: Path
) -> None:
    file = tmp_path / "key.json"
    if isinstance(key, dict):
        token_server.account.write(file, **key)
    elif key is not None:
        file.write_text(key)
    words = "no file .*key.json that can be read" if key is None else "key.json given as the token .* holds no service-"
    with pytest.raises(RemoteAccessError, match=words):
        get_cloud_storage("gcp://bucket", str(file))


@pytest.mark.parametrize("secret", ["hf_aBcDeFgHiJkL", '{"private_key": "s3cret"}.json', "line\nline.json"])
def test_secret_in_place_of_a_path_is_not_repeated(secret: str) -> None:
    with pytest.raises(RemoteAccessError) as caught:
        get_cloud_storage("gcp://bucket", secret)
    assert secret not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("status", [401, 403])
def test_refused_upload_asks_for_a_key_and_is_not_retried(
    status: int, bucket: str, gcs_proxy: FaultyProxy, datasets_root: Path
) -> None:
    write_dataset(datasets_root, "x-v0")
    gcs_proxy.answer_with(status, times=None, method="POST")
    with pytest.raises(RemoteAccessError, match="give the path of a service-account key file"):
        upload_dataset("x-v0", remote=f"gcp://{bucket}")
    assert gcs_proxy.count("POST") == 1


@pytest.mark.usefixtures("gcs")
def test_credentials_of_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("STORAGE_EMULATOR_HOST")
    credentials = gcp.make_client(None, 4, Limits())._credentials
    assert type(credentials).__name__ == "AnonymousCredentials"
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "absent.json"))
    with pytest.raises(RemoteAccessError, match="GOOGLE_APPLICATION_CREDENTIALS"):
        GCPStorage("some-bucket").read_file("x")


# Buckets


@pytest.mark.parametrize("name", ["a", "-ab", "ab-", "UPPER", "with space", "a" * 223, "/x", "ab$cd"])
def test_impossible_bucket_names_are_refused(name: str) -> None:
    with pytest.raises(RemoteError, match=r"gcp://bucket\[/prefix\]"):
        GCPStorage(name)


@pytest.mark.usefixtures("gcs")
def test_missing_bucket_is_named(datasets_root: Path) -> None:
    write_dataset(datasets_root, "x-v0")
    for call in (minari.list_remote_datasets, lambda remote: upload_dataset("x-v0", remote=remote)):
        with pytest.raises(RemoteError, match="no bucket there-is-none"):
            call("gcp://there-is-none")


def test_listing_has_several_pages(bucket: str, gcs: GCSServer, gcs_proxy: FaultyProxy, tmp_path: Path) -> None:
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
    assert len(list(GCPStorage(bucket).list_files("lab"))) == 1_050


def test_directories_that_the_console_makes_are_ignored(bucket: str, gcs: GCSServer, tmp_path: Path) -> None:
    directory = write_dataset(tmp_path / "local", "x-v0")
    for name in ("x-v0/", "x-v0/data/", "x-v0/data/metadata.json", "x-v0/data/main_data.hdf5"):
        gcs.put(bucket, name, b"" if name.endswith("/") else (directory.parent / name).read_bytes())
    GCPStorage(bucket).download_dataset("x-v0", tmp_path / "arrival")
    assert tree(tmp_path / "arrival") == tree(tmp_path / "local")


def test_listing_has_the_checksum_and_version(bucket: str, gcs: GCSServer) -> None:
    gcs.put(bucket, "a/x", b"123456789")
    (file,) = GCPStorage(f"{bucket}/a").find("")
    assert (file.name, file.size, file.checksum) == ("x", 9, ("crc32c", "e3069283"))
    assert GCPStorage(bucket).read_version("a/x") == (b"123456789", file.version)


def test_small_file_damaged_in_transit_is_noticed(bucket: str, gcs_proxy: FaultyProxy) -> None:
    remote, content = GCPStorage(bucket), os.urandom(50_000)
    gcs_proxy.flip(30_000, side="request", larger_than=40_000)
    remote.put("x", content)
    gcs_proxy.flip(30_000, larger_than=40_000)
    with pytest.raises(RemoteUnreachableError, match="damaged on the way"):
        remote.read_file("x")
    assert remote.read_file("x") == content


# Files that are sent in parts, here of 64 KiB


@pytest.fixture
def big(monkeypatch: pytest.MonkeyPatch, short_pauses: None, tmp_path: Path) -> Path:
    """A file of 40 parts."""
    monkeypatch.setattr(gcp, "PART_SIZE", 1 << 16)
    (tmp_path / "big").write_bytes(os.urandom(40 << 16))
    return tmp_path / "big"


@pytest.mark.parametrize("parts", [1, 2, 32, 33, 70])
@pytest.mark.parametrize("more", [0, 1, -1])
def test_file_is_composed_of_its_parts(parts: int, more: int, bucket: str, gcs: GCSServer, big: Path) -> None:
    content = os.urandom(parts * (1 << 16) + more)
    big.write_bytes(content)
    sent: list[int] = []
    stored = GCPStorage(f"{bucket}/n").put_file("x/big", big, sent.append)
    assert gcs.get(bucket, "n/x/big") == content
    assert (stored.name, stored.size) == ("x/big", len(content))
    assert stored.holds(content)
    assert gcs.names(bucket) == ["n/x/big"], "no part stays"
    sizes = [1 << 16] * (len(content) >> 16) + [len(content) % (1 << 16)]
    assert sorted(sent) == (sorted(filter(None, sizes)) if len(content) > 1 << 16 else [])


@pytest.mark.parametrize("changed", [False, True])
def test_only_missing_parts_are_sent_again(changed: bool, bucket: str, gcs_proxy: FaultyProxy, big: Path) -> None:
    gcs_proxy.break_after(30 << 16, side="request")
    with pytest.raises(RemoteUnreachableError):
        GCPStorage(bucket, max_workers=4).put_file("big", big)
    gcs_proxy.heal()
    gcs_proxy.forget()
    if changed:
        big.write_bytes(os.urandom(40 << 16))
    assert GCPStorage(bucket).put_file("big", big).holds(big.read_bytes())
    assert (gcs_proxy.bytes_sent() < 16 << 16) != changed


def test_damaged_part_is_sent_again(bucket: str, gcs_proxy: FaultyProxy, big: Path) -> None:
    gcs_proxy.flip(30_000, side="request", larger_than=60_000, times=2)
    assert GCPStorage(bucket).put_file("big", big).holds(big.read_bytes())


def test_upload_succeeds_without_the_right_to_delete(
    bucket: str, gcs: GCSServer, gcs_proxy: FaultyProxy, big: Path, caplog: pytest.LogCaptureFixture
) -> None:
    big.write_bytes(os.urandom(2 << 16))
    gcs_proxy.answer_with(403, times=None, method="DELETE")
    assert GCPStorage(bucket).put_file("big", big).holds(big.read_bytes())
    assert "stay below .uploads/" in caplog.text
    assert len(gcs.names(bucket)) == 3
