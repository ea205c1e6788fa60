"""s3://: what is special about a bucket on a server that speaks S3 to the real client."""

from __future__ import annotations

import json
import os
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from minari import errors
from minari.storage.remotes import get_cloud_storage
from minari.storage.transfer.checksums import checksum_of
from minari.storage.transfer.index import INDEX_FILE_NAME, parse_index
from minari.storage.transfer.limits import Limits
from minari.testing.sharing import write_dataset
from support.servers.proxy import FaultyProxy


if TYPE_CHECKING:
    from minari.storage.remotes.s3 import S3Storage
    from support.servers.s3 import S3Server

MIB = 1 << 20


@pytest.fixture
def remote(s3_bucket: str) -> S3Storage:
    return get_cloud_storage(f"s3://{s3_bucket}")  # type: ignore[return-value]


def big_file(directory: Path, size: int) -> Path:
    path = directory / "big"
    path.write_bytes(os.urandom(size))
    return path


# Credentials


def actions(remote: S3Storage, arrival: Path) -> list[Callable[[], object]]:
    return [
        lambda: remote.upload_dataset("x-v0"),
        remote.list_datasets,
        lambda: remote.get_dataset_metadata("x-v0"),
        lambda: remote.download_dataset("x-v0", arrival),
    ]


@pytest.mark.parametrize("place", ["environment", "token"])
def test_right_credentials_are_accepted(
    place: str, s3: S3Server, s3_bucket: str, datasets_root: Path, arrival: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, secret = s3.add_user(f"ann-{place}")
    token = arrival / ".ann.json"
    for name, value in {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret}.items():
        if place == "environment":
            monkeypatch.setenv(name, value)
        else:
            monkeypatch.delenv(name)
            token.write_text(json.dumps({"key": key, "secret": secret}))
    write_dataset(datasets_root, "x-v0")
    with s3.credentials_checked():
        remote = get_cloud_storage(f"s3://{s3_bucket}", str(token) if place == "token" else None)
        for action in actions(remote, arrival):
            action()
    assert secret not in repr(remote)


@pytest.mark.parametrize("wrong", ["key", "secret"])
def test_wrong_credentials_are_refused_and_not_shown(
    wrong: str, s3: S3Server, s3_bucket: str, tmp_path: Path, datasets_root: Path, arrival: Path
) -> None:
    key, secret = s3.add_user(f"carl-{wrong}")
    token = tmp_path / "token.json"
    token.write_text(json.dumps({"key": key, "secret": secret, wrong: "nobody-has-this"}))
    write_dataset(datasets_root, "x-v0")
    with s3.credentials_checked():
        for action in actions(get_cloud_storage(f"s3://{s3_bucket}", str(token)), arrival):
            with pytest.raises(errors.RemoteAccessError, match="AWS_ACCESS_KEY_ID") as caught:
                action()
            assert secret not in str(caught.value)
            assert "nobody-has-this" not in str(caught.value)


def test_missing_credentials_are_named(remote: S3Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(errors.RemoteAccessError, match=r"FSSPEC_S3_ANON"):
        remote.list_datasets()


@pytest.mark.parametrize("content", [None, "not json", "[1]"])
def test_token_must_be_the_path_of_a_json_file(content: str | None, s3_bucket: str, tmp_path: Path) -> None:
    path = tmp_path / "my-secret"
    if content is not None:
        path.write_text(content)
    with pytest.raises(errors.RemoteAccessError, match="path of a JSON file") as caught:
        get_cloud_storage(f"s3://{s3_bucket}", str(path))
    assert "my-secret" not in str(caught.value)


# Buckets


@pytest.mark.parametrize(
    ("name", "words"), [("nobody-has-made-it", r"s3://nobody-has-made-it does not exist"), ("No Bucket!", "bucket")]
)
def test_missing_bucket_is_named(name: str, words: str, s3: S3Server, datasets_root: Path) -> None:
    remote = get_cloud_storage(f"s3://{name}")
    write_dataset(datasets_root, "x-v0")
    for action in (remote.list_datasets, remote.list_namespaces, lambda: remote.upload_dataset("x-v0")):
        with pytest.raises(errors.RemoteError, match=words):
            action()


def test_listing_has_several_pages(s3: S3Server, s3_bucket: str, remote: S3Storage) -> None:
    ids = [f"n/d{number}-v0" for number in range(1_100)]
    s3.fill(s3_bucket, {f"{name}/data/metadata.json": b"{}" for name in ids})
    assert sorted(remote.list_datasets()) == sorted(ids)
    assert remote.list_datasets("n/d109") == ["n/d109-v0", *(f"n/d{number}-v0" for number in range(1090, 1100))]
    assert len(list(remote.list_files("n"))) == 1_100


def test_concurrent_uploads_all_come_into_the_index(s3: S3Server, s3_bucket: str, datasets_root: Path) -> None:
    ids = [f"n/x{number}-v0" for number in range(4)]
    for dataset_id in ids:
        write_dataset(datasets_root, dataset_id)
    with ThreadPoolExecutor(len(ids)) as pool:
        list(pool.map(lambda name: get_cloud_storage(f"s3://{s3_bucket}").upload_dataset(name), ids))
    assert sorted(parse_index(s3.objects(s3_bucket)[INDEX_FILE_NAME])) == ids


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
def test_remote_works_after_a_fork(remote: S3Storage) -> None:
    remote.write_file("x", b"content")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # this process has threads
        child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if remote.read_file("x") == b"content" else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert remote.read_file("x") == b"content"


# Files


@pytest.mark.parametrize("options", [{}, {"ServerSideEncryption": "aws:kms"}])
def test_listing_has_checksums_unless_encrypted(
    options: dict[str, str], s3: S3Server, s3_bucket: str, remote: S3Storage
) -> None:
    s3.put(s3_bucket, "x", b"content", **options)
    [file] = remote.find("")
    assert (file.size, file.checksum) == (7, None if options else checksum_of(b"content", "md5"))


@pytest.mark.parametrize("size", [0, 16 * MIB - 1, 16 * MIB, 24 * MIB + 1])
def test_checksum_of_a_file_in_parts(size: int, remote: S3Storage, tmp_path: Path) -> None:
    sent: list[int] = []
    path = big_file(tmp_path, size)
    stored = remote.put_file("a/x", path, sent.append)
    assert (stored.name, stored.size, stored.checksum) == ("a/x", size, checksum_of(path.read_bytes(), "md5"))
    if size > 24 * MIB:
        assert sorted(sent) == [1, 8 * MIB, 8 * MIB, 8 * MIB]


def test_file_in_parts_is_sent_again_only_if_it_changed(
    s3_proxy: FaultyProxy, remote: S3Storage, tmp_path: Path
) -> None:
    assert s3_proxy.count() == 0, "making a remote takes no request"
    path = big_file(tmp_path, 17 * MIB)
    for sent_again in (True, False, True):
        s3_proxy.forget()
        assert remote.put_file("x", path).checksum == checksum_of(path.read_bytes(), "md5")
        assert (s3_proxy.bytes_sent() > 17 * MIB) == sent_again
        assert (s3_proxy.bytes_sent() < MIB) != sent_again
        if not sent_again:
            big_file(tmp_path, 17 * MIB)


def test_nothing_is_claimed_of_a_damaged_file(s3_proxy: FaultyProxy, remote: S3Storage, tmp_path: Path) -> None:
    path = big_file(tmp_path, 100_000)
    s3_proxy.flip(50_000, side="request", larger_than=90_000)
    stored = remote.put_file("x", path)
    assert (stored.size, stored.checksum) == (100_000, None)
    assert remote.put_file("x", path).checksum == checksum_of(path.read_bytes(), "md5")


# Servers that are out of order


@pytest.mark.parametrize("status", [500, 503, 429])
def test_client_does_not_retry_by_itself(status: int, s3_proxy: FaultyProxy, remote: S3Storage) -> None:
    s3_proxy.answer_with(status, times=None)
    with pytest.raises(errors.RemoteUnreachableError):
        remote.read_range("x", 0, 5)
    assert s3_proxy.count() == 1


def test_upload_to_a_silent_server_is_given_up(
    s3_proxy: FaultyProxy, remote: S3Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(remote), "LIMITS", Limits(connect_timeout=0.5, read_timeout=0.5))
    monkeypatch.setattr("minari.storage.remotes.fsspec.SLOWEST", 1 << 30)
    s3_proxy.fall_silent()
    begun = time.monotonic()
    with pytest.raises(errors.RemoteUnreachableError):
        remote.put_file("x", big_file(tmp_path, 14 * MIB))
    assert time.monotonic() - begun < 10
