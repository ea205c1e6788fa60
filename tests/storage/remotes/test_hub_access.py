"""The Hugging Face Hub: who may read and write, and what is never told."""

from __future__ import annotations

import logging
import time
import traceback
from functools import partial
from pathlib import Path

import pytest

from minari.errors import RemoteAccessError, RemoteError, RemoteUnreachableError
from minari.storage.remotes import RemoteDatasetNotFoundError, get_cloud_storage
from minari.storage.remotes.hub.client import HubClient
from minari.storage.transfer.remote_files import RemoteFileNotFoundError
from minari.testing.sharing import tree, write_dataset, write_namespace
from support.servers.hub import HubServer
from support.servers.hub_handler import SIGNATURE


OWN = "hf_WritesForAnnOfTheLab"


def test_wrong_token_is_refused(hub: HubServer, datasets_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_dataset(datasets_root, "n/x-v0")
    monkeypatch.setenv("HF_TOKEN", "hf_NobodyKnowsThisOne")
    assert get_cloud_storage("hf://lab", OWN).list_datasets() == [], "the argument comes before the environment"
    remote = get_cloud_storage("hf://lab")
    for call in (
        remote.list_datasets,
        remote.list_namespaces,
        partial(remote.get_dataset_metadata, "n/x-v0"),
        partial(remote.upload_dataset, "n/x-v0"),
    ):
        with pytest.raises(RemoteAccessError, match="does not accept the token") as caught:
            call()
        assert "hf_Nobody" not in f"{caught.value} {remote!r}"


@pytest.mark.parametrize("token", ["hf_with a blank", "hf_line\n", "hf_Größe", ""])
def test_malformed_token_is_refused(token: str, hub: HubServer) -> None:
    with pytest.raises(RemoteAccessError, match="copy it once more") as caught:
        get_cloud_storage("hf://lab", token)
    assert not token or token not in str(caught.value)


def test_without_a_token_only_public_datasets_are_seen(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, datasets_root: Path
) -> None:
    for dataset_id in ("open/x-v0", "open/y-v0", "closed/x-v0"):
        write_dataset(datasets_root, dataset_id)
    write_namespace(datasets_root, "open")
    get_cloud_storage("hf://lab").upload_dataset("open/x-v0")
    get_cloud_storage("hf://lab", private=True).upload_dataset("closed/x-v0")
    assert get_cloud_storage("hf://lab").list_datasets() == ["closed/x-v0", "open/x-v0"]

    monkeypatch.delenv("HF_TOKEN")
    remote = get_cloud_storage("hf://lab")
    assert remote.list_datasets() == ["open/x-v0"]
    assert remote.get_dataset_metadata("open/x-v0")["total_steps"] == 3
    with pytest.raises(RemoteDatasetNotFoundError, match="log in"):
        remote.get_dataset_metadata("closed/x-v0")
    with pytest.raises(RemoteDatasetNotFoundError):
        remote.download_dataset("closed/x-v0", datasets_root / "somewhere")
    with hub.counted() as requests:
        for upload in (partial(remote.upload_dataset, "open/y-v0"), partial(remote.upload_namespace, "open")):
            with pytest.raises(RemoteAccessError, match="takes a token"):
                upload()
    assert {method for method, _ in requests} <= {"GET"}


@pytest.mark.parametrize(("organization", "writes"), [("lab", False), ("elsewhere", True)])
def test_token_without_write_access_is_refused(
    organization: str, writes: bool, hub: HubServer, datasets_root: Path
) -> None:
    remote = get_cloud_storage("hf://lab", hub.add_token("hf_MayNotWrite", "bob", organization, writes=writes))
    for dataset_id in ("n/x-v0", "n/y-v0"):  # the repository is to be created, then it is there
        write_dataset(datasets_root, dataset_id)
        with pytest.raises(RemoteAccessError, match="does not allow"):
            remote.upload_dataset(dataset_id)
        assert dataset_id not in get_cloud_storage("hf://lab").list_datasets()
        get_cloud_storage("hf://lab").upload_dataset(dataset_id)


def test_private_and_gated_repositories(hub: HubServer, datasets_root: Path, tmp_path: Path) -> None:
    for dataset_id in ("a/x-v0", "a/y-v0", "b/x-v0"):
        write_dataset(datasets_root, dataset_id)
    write_namespace(datasets_root, "b")
    get_cloud_storage("hf://lab").upload_dataset("a/x-v0")
    remote = get_cloud_storage("hf://lab", private=True)
    remote.upload_namespace("b")
    remote.upload_dataset("b/x-v0")
    with pytest.raises(RemoteError, match="is there already and public"):
        remote.upload_dataset("a/y-v0")
    assert [hub.repositories.by_name[f"lab/{name}"].private for name in "ab"] == [False, True]
    assert remote.list_datasets() == ["a/x-v0", "b/x-v0"]
    hub.repositories.by_name["lab/a"].gated = True
    outsider = get_cloud_storage("hf://lab", hub.add_token("hf_Outsider", "bob"))
    assert outsider.list_datasets() == ["a/x-v0"]
    for read in (
        partial(outsider.get_dataset_metadata, "a/x-v0"),
        partial(outsider.download_dataset, "a/x-v0", tmp_path),
    ):
        with pytest.raises(RemoteAccessError, match="ask for access"):
            read()


@pytest.mark.parametrize("status", [429, 500, 503])
def test_transient_status_is_retried(status: int, hub: HubServer, datasets_root: Path, tmp_path: Path) -> None:
    write_dataset(datasets_root, "n/x-v0", files={"data/more.txt": b"more"})
    remote = get_cloud_storage("hf://lab")
    for part in ("preupload", "info/lfs", "/upload/", "verify", "/commit/"):
        hub.fail(part, status=status, headers={"Retry-After": "0"})
    remote.upload_dataset("n/x-v0")
    for part in ("/api/datasets", "/tree/", "/resolve/", "/cdn/"):
        hub.fail(part, status=status, headers={"Retry-After": "0"})
    assert remote.list_datasets() == ["n/x-v0"]
    remote.download_dataset("n/x-v0", tmp_path)
    assert tree(tmp_path / "n/x-v0") == tree(datasets_root / "n/x-v0")
    assert all(fault.times == 0 for fault in hub.faults)


def test_pause_that_the_hub_asks_for_is_kept(hub: HubServer) -> None:
    hub.fail("/api/datasets", status=429, headers={"Retry-After": "1"})
    begun = time.monotonic()
    assert get_cloud_storage("hf://lab").list_datasets() == []
    assert time.monotonic() - begun >= 1
    hub.fail("/api/datasets", status=429, headers={"RateLimit": '"api";r=0;t=7'}, times=99)
    with pytest.raises(RemoteUnreachableError) as caught:
        HubClient().ask("/api/datasets", "listing")
    assert caught.value.retry_after == 7
    hub.faults.clear()
    hub.fail("/api/datasets", status=429, headers={"Retry-After": "3600"}, times=99)
    with hub.counted() as requests, pytest.raises(RemoteUnreachableError, match="429"):
        get_cloud_storage("hf://lab").list_datasets()
    assert len(requests) == 1


@pytest.mark.parametrize("body", [b"<html>Log in to the network</html>", b'{"error": "none"}'])
def test_login_page_of_a_network_is_no_hub(body: bytes, hub: HubServer) -> None:
    hub.fail("/api/datasets", status=200, body=body)
    with pytest.raises(RemoteError, match="is no Hub"):
        get_cloud_storage("hf://lab").list_datasets()


@pytest.mark.usefixtures("short_pauses")
@pytest.mark.parametrize("part", ["/api/datasets/lab", "preupload", "lfs/objects", "/upload/", "/commit/"])
@pytest.mark.parametrize("status", [0, 500, 403, 418])  # 0 is a connection that is cut
def test_no_secret_is_told(
    part: str, status: int, hub: HubServer, datasets_root: Path, caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Not by the client of the Hub either, which draws and warns where nobody has asked it to."""
    monkeypatch.setattr(logging.getLogger("huggingface_hub"), "propagate", True)
    write_dataset(datasets_root, "n/x-v0")
    hub.fail(part, times=999, cut=status == 0, status=status, headers={"Retry-After": "0"})
    caplog.set_level(logging.DEBUG, "minari")
    remote = get_cloud_storage("hf://lab", OWN)
    with pytest.raises(RemoteError) as caught:
        remote.upload_dataset("n/x-v0")
    assert not [record for record in caplog.records if record.name.startswith("huggingface_hub.")]
    assert "".join(capsys.readouterr()) == ""
    logged = [record.getMessage() for record in caplog.records]
    told = "".join([*traceback.format_exception(caught.value), *logged, repr(remote)])
    assert OWN not in told
    assert SIGNATURE not in told
    hub.faults.clear()
    assert remote.list_datasets() == []


def test_token_is_not_sent_elsewhere(hub: HubServer) -> None:
    """Not even the Hub itself can have it sent elsewhere by naming an address there, which would refuse the token."""
    with HubServer() as other, pytest.raises(RemoteFileNotFoundError):
        HubClient(OWN).request(f"{other.endpoint}/api/whoami-v2", "looking")
