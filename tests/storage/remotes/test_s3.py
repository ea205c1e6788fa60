"""s3://: datasets in a bucket, on a server that speaks S3 to the real client."""

from __future__ import annotations

import json
import os
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from minari import errors
from minari.storage.remotes import get_cloud_storage, split_address
from minari.storage.remotes.object_storage import ABSENT, ConflictError
from minari.storage.transfer.checksums import checksum_of
from minari.storage.transfer.index import INDEX_FILE_NAME, parse_index
from minari.storage.transfer.limits import Limits
from minari.storage.transfer.remote_files import RemoteFileNotFoundError
from minari.testing import RemoteConformance
from minari.testing.sharing import tree, write_dataset, write_namespace
from support.servers.proxy import FaultyProxy


if TYPE_CHECKING:
    from minari.storage.remotes.s3 import S3Storage
    from support.servers.s3 import S3Server

MIB = 1 << 20


class TestS3(RemoteConformance):
    """Conformance of a remote in a bucket."""

    @pytest.fixture
    def address(self, s3_bucket: str) -> str:
        return f"s3://{s3_bucket}"


def test_below_a_prefix(
    s3: S3Server, s3_bucket: str, datasets_root: Path, arrival: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.put(s3_bucket, "team/data-old/x-v1/data/metadata.json", b"{}")
    address = f"s3://{s3_bucket}/team/data"
    directory = write_dataset(datasets_root, "n/x-v0")
    write_namespace(datasets_root, "n")
    get_cloud_storage(address).upload_dataset("n/x-v0")
    get_cloud_storage(address).upload_namespace("n")
    remote = get_cloud_storage(address)
    assert (remote.list_datasets(), list(remote.list_namespaces())) == (["n/x-v0"], ["n"])
    remote.download_dataset("n/x-v0", arrival)
    assert tree(arrival / "n/x-v0") == tree(directory)
    assert all(name.startswith(("team/data/", "team/data-old/")) for name in s3.objects(s3_bucket))
    monkeypatch.setenv("MINARI_REMOTE", address)  # by which the prefix is known in addresses of datasets
    assert split_address(f"{address}/n/x-v0") == (address, "n/x-v0")


@pytest.fixture
def remote(s3_bucket: str) -> S3Storage:
    found = get_cloud_storage(f"s3://{s3_bucket}")
    assert type(found).__name__ == "S3Storage"
    return found  # type: ignore[return-value]


def big_file(directory: Path, size: int) -> Path:
    path = directory / "big"
    path.write_bytes(os.urandom(size))
    return path


class TestCredentials:
    def test_of_the_environment(self, s3: S3Server, s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
        key, secret = s3.add_user("ann")
        with s3.credentials_checked():
            monkeypatch.setenv("AWS_ACCESS_KEY_ID", key)
            monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
            assert list(get_cloud_storage(f"s3://{s3_bucket}").list_datasets()) == []

    def test_of_the_token(
        self, s3: S3Server, s3_bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, datasets_root: Path
    ) -> None:
        key, secret = s3.add_user("ben")
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        token = tmp_path / "ben.json"
        token.write_text(json.dumps({"key": key, "secret": secret}))
        write_dataset(datasets_root, "x-v0")
        with s3.credentials_checked():
            remote = get_cloud_storage(f"s3://{s3_bucket}", str(token))
            remote.upload_dataset("x-v0")
            assert remote.list_datasets() == ["x-v0"]

    @pytest.mark.parametrize("wrong", ["key", "secret"])
    def test_wrong_ones(
        self, wrong: str, s3: S3Server, s3_bucket: str, tmp_path: Path, datasets_root: Path, arrival: Path
    ) -> None:
        key, secret = s3.add_user(f"carl {wrong}".replace(" ", "-"))
        token = tmp_path / "token.json"
        token.write_text(json.dumps({"key": key, "secret": secret, wrong: "nobody-has-this"}))
        write_dataset(datasets_root, "x-v0")
        with s3.credentials_checked():
            remote = get_cloud_storage(f"s3://{s3_bucket}", str(token))
            for action in (
                remote.list_datasets,
                lambda: remote.upload_dataset("x-v0"),
                lambda: remote.download_dataset("x-v0", arrival),
                lambda: remote.get_dataset_metadata("x-v0"),
            ):
                with pytest.raises(errors.RemoteAccessError, match="AWS_ACCESS_KEY_ID") as caught:
                    action()
                assert secret not in str(caught.value)
                assert "nobody-has-this" not in str(caught.value)
        assert secret not in repr(remote)

    def test_none(self, remote: S3Storage, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        with pytest.raises(errors.RemoteAccessError, match=r"FSSPEC_S3_ANON"):
            remote.list_datasets()

    @pytest.mark.parametrize("content", [None, "not json", "[1]"])
    def test_a_token_that_is_none(self, content: str | None, s3_bucket: str, tmp_path: Path) -> None:
        path = tmp_path / "my-secret"
        if content is not None:
            path.write_text(content)
        with pytest.raises(errors.RemoteAccessError, match="path of a JSON file") as caught:
            get_cloud_storage(f"s3://{s3_bucket}", str(path))
        assert "my-secret" not in str(caught.value)


def test_a_bucket_that_does_not_exist(s3: S3Server, datasets_root: Path) -> None:
    remote = get_cloud_storage("s3://nobody-has-made-it")
    write_dataset(datasets_root, "x-v0")
    for action in (remote.list_datasets, remote.list_namespaces, lambda: remote.upload_dataset("x-v0")):
        with pytest.raises(errors.RemoteError, match=r"s3://nobody-has-made-it does not exist"):
            action()


def test_a_bucket_whose_name_cannot_be(s3: S3Server) -> None:
    with pytest.raises(errors.RemoteError, match="bucket"):
        get_cloud_storage("s3://No Bucket!").list_datasets()


def test_nothing_is_asked_before_it_has_to_be(s3_proxy: FaultyProxy, s3_bucket: str) -> None:
    get_cloud_storage(f"s3://{s3_bucket}")
    assert s3_proxy.count() == 0


def test_more_than_a_page(s3: S3Server, s3_bucket: str, remote: S3Storage) -> None:
    ids = [f"n/d{number}-v0" for number in range(1_100)]
    s3.fill(s3_bucket, {f"{name}/data/metadata.json": b"{}" for name in ids})
    assert sorted(remote.list_datasets()) == sorted(ids)
    assert remote.list_datasets("n/d109") == ["n/d109-v0", *(f"n/d{number}-v0" for number in range(1090, 1100))]
    assert len(list(remote.list_files("n"))) == 1_100


@pytest.mark.parametrize("name", ["data/../../../evil", "../evil", "/evil", "data//evil", "data/", "C:evil", "a\\evil"])
def test_names_that_lead_elsewhere(
    name: str, s3: S3Server, s3_bucket: str, remote: S3Storage, datasets_root: Path, arrival: Path
) -> None:
    metadata = write_dataset(datasets_root, "x-v0") / "data/metadata.json"
    s3.fill(s3_bucket, {"x-v0/data/metadata.json": metadata.read_bytes(), f"x-v0/{name}": b"evil"})
    with pytest.raises(errors.RemoteError, match="may not be the same file"):
        remote.download_dataset("x-v0", arrival)
    assert not [path for path in tree(arrival) if "evil" in path or not path.startswith(".")]
    assert not list(arrival.parent.glob("evil*"))


class TestPrimitives:
    def test_what_is_not_there(self, remote: S3Storage) -> None:
        for read in (
            lambda: remote.read_file("x"),
            lambda: remote.read_range("x", 0, 5),
            lambda: remote.read_version("x"),
        ):
            with pytest.raises(RemoteFileNotFoundError):
                read()
        remote.delete("x")
        assert list(remote.list_files("x")) == []

    def test_ranges(self, remote: S3Storage) -> None:
        remote.write_file("a/x", b"0123456789")
        assert remote.read_range("a/x", 2, 5) == b"234"
        assert remote.read_range("a/x", 8, 50) == b"89"
        assert remote.read_range("a/x", 0, 0) == b""
        assert remote.read_range("a/x", 10, 12) == b""
        assert remote.read_file("a/x") == b"0123456789"

    def test_conditions(self, remote: S3Storage) -> None:
        remote.put("x", b"1", match=ABSENT)
        with pytest.raises(ConflictError):
            remote.put("x", b"2", match=ABSENT)
        content, version = remote.read_version("x")
        assert content == b"1"
        remote.put("x", b"3", match=version)
        with pytest.raises(ConflictError):
            remote.put("x", b"4", match=version)
        assert remote.read_file("x") == b"3"
        remote.delete("x")
        with pytest.raises(ConflictError):
            remote.put("x", b"5", match=version)
        assert list(remote.find("")) == []

    def test_checksums_in_a_listing(self, remote: S3Storage) -> None:
        remote.write_file("x", b"content")
        [file] = remote.find("")
        assert (file.size, file.checksum) == (7, checksum_of(b"content", "md5"))

    def test_no_checksums_of_what_has_a_key_of_its_own(
        self, s3: S3Server, s3_bucket: str, remote: S3Storage, tmp_path: Path
    ) -> None:
        s3.put(s3_bucket, "x", b"content", ServerSideEncryption="aws:kms")
        [file] = remote.find("")
        assert file.checksum is None

    @pytest.mark.parametrize("size", [0, 16 * MIB - 1, 16 * MIB, 24 * MIB + 1])
    def test_the_checksum_of_a_file(self, size: int, remote: S3Storage, tmp_path: Path) -> None:
        path = big_file(tmp_path, size)
        stored = remote.put_file("a/x", path)
        assert (stored.name, stored.size) == ("a/x", size)
        assert stored.checksum == checksum_of(path.read_bytes(), "md5")

    def test_the_parts_are_told_as_they_are_sent(self, remote: S3Storage, tmp_path: Path) -> None:
        told: list[int] = []
        remote.put_file("a/x", big_file(tmp_path, 24 * MIB + 1), told.append)
        assert sorted(told) == [1, 8 * MIB, 8 * MIB, 8 * MIB]

    def test_a_file_in_parts_is_not_sent_again(
        self, s3_proxy: FaultyProxy, s3_bucket: str, remote: S3Storage, tmp_path: Path
    ) -> None:
        path = big_file(tmp_path, 17 * MIB)
        remote.put_file("x", path)
        assert s3_proxy.bytes_sent() > 17 * MIB
        s3_proxy.forget()
        assert remote.put_file("x", path).checksum == checksum_of(path.read_bytes(), "md5")
        assert s3_proxy.bytes_sent() < MIB
        big_file(tmp_path, 17 * MIB)
        assert remote.put_file("x", path).checksum == checksum_of(path.read_bytes(), "md5")
        assert s3_proxy.bytes_sent() > 17 * MIB

    def test_a_bit_that_was_flipped_on_the_way_there(
        self, s3_proxy: FaultyProxy, s3_bucket: str, remote: S3Storage, tmp_path: Path
    ) -> None:
        path = big_file(tmp_path, 100_000)
        s3_proxy.flip(50_000, side="request", larger_than=90_000)
        stored = remote.put_file("x", path)
        assert stored.size == 100_000
        assert stored.checksum is None, "nothing is claimed of what does not agree"
        assert remote.put_file("x", path).checksum == checksum_of(path.read_bytes(), "md5")


def test_uploaders_at_the_same_time_all_come_into_the_index(s3: S3Server, s3_bucket: str, datasets_root: Path) -> None:
    ids = [f"n/x{number}-v0" for number in range(4)]
    for dataset_id in ids:
        write_dataset(datasets_root, dataset_id)
    with ThreadPoolExecutor(len(ids)) as pool:
        list(pool.map(lambda name: get_cloud_storage(f"s3://{s3_bucket}").upload_dataset(name), ids))
    assert sorted(parse_index(s3.objects(s3_bucket)[INDEX_FILE_NAME])) == ids


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
def test_after_a_fork(remote: S3Storage, s3_bucket: str) -> None:
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


class TestDeadServers:
    def test_refusing(self, s3_proxy: FaultyProxy, remote: S3Storage) -> None:
        s3_proxy.refuse()
        begun = time.monotonic()
        with pytest.raises(errors.RemoteUnreachableError, match="Could not connect"):
            remote.read_file("x")
        assert time.monotonic() - begun < 10, "a dead server is known to be dead within seconds"

    def test_it_asks_once(self, s3_proxy: FaultyProxy, remote: S3Storage) -> None:
        for status in (500, 503, 429):
            s3_proxy.forget()
            s3_proxy.answer_with(status, times=None)
            with pytest.raises(errors.RemoteUnreachableError):
                remote.read_range("x", 0, 5)
            assert s3_proxy.count() == 1
            s3_proxy.heal()

    def test_one_that_takes_nothing_in(
        self, s3_proxy: FaultyProxy, remote: S3Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(type(remote), "LIMITS", Limits(connect_timeout=0.5, read_timeout=0.5))
        monkeypatch.setattr("minari.storage.remotes.fsspec._SLOWEST", 1 << 30)
        s3_proxy.fall_silent()
        begun = time.monotonic()
        with pytest.raises(errors.RemoteUnreachableError):
            remote.put_file("x", big_file(tmp_path, 14 * MIB))
        assert time.monotonic() - begun < 10


@pytest.fixture
def arrival(tmp_path: Path) -> Path:
    directory = tmp_path / "arrival"
    directory.mkdir()
    return directory
