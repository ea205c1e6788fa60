"""The Hugging Face Hub: who may read and write, and what is never told."""

from __future__ import annotations

import logging
import socket
import time
import traceback
from functools import partial
from pathlib import Path

import pytest

from minari.errors import RemoteAccessError, RemoteError, RemoteUnreachableError
from minari.storage.remotes import CloudStorage, RemoteDatasetNotFoundError, get_cloud_storage
from minari.storage.remotes.hub.client import HubClient
from minari.storage.transfer.installer import fetch_dataset
from minari.storage.transfer.limits import Limits
from minari.storage.transfer.remote_files import RemoteFileNotFoundError
from minari.testing.sharing import tree, write_dataset, write_namespace
from support.servers.hub import HubServer
from support.servers.hub_handler import SIGNATURE


OWN = "hf_WritesForAnnOfTheLab"


def test_a_wrong_token(hub: HubServer, datasets_root: Path) -> None:
    write_dataset(datasets_root, "n/x-v0")
    remote = get_cloud_storage("hf://lab", "hf_NobodyKnowsThisOne")
    for call in (
        remote.list_datasets,
        remote.list_namespaces,
        lambda: remote.get_dataset_metadata("n/x-v0"),
        lambda: remote.upload_dataset("n/x-v0"),
    ):
        with pytest.raises(RemoteAccessError, match="does not accept the token") as caught:
            call()
        assert "hf_Nobody" not in str(caught.value)
    assert "hf_Nobody" not in repr(remote)


@pytest.mark.parametrize("token", ["hf_with a blank", "hf_line\n", "hf_Größe", ""])
def test_what_can_be_no_token(token: str, hub: HubServer) -> None:
    with pytest.raises(RemoteAccessError, match="copy it once more") as caught:
        get_cloud_storage("hf://lab", token)
    assert not token or token not in str(caught.value)


def test_without_a_token(hub: HubServer, monkeypatch: pytest.MonkeyPatch, datasets_root: Path) -> None:
    write_dataset(datasets_root, "open/x-v0")
    write_dataset(datasets_root, "closed/x-v0")
    write_namespace(datasets_root, "open")
    get_cloud_storage("hf://lab").upload_dataset("open/x-v0")
    get_cloud_storage("hf://lab", private=True).upload_dataset("closed/x-v0")
    assert get_cloud_storage("hf://lab").list_datasets() == ["closed/x-v0", "open/x-v0"]

    monkeypatch.delenv("HF_TOKEN")
    remote = get_cloud_storage("hf://lab")
    assert remote.list_datasets() == ["open/x-v0"]
    assert remote.get_dataset_metadata("open/x-v0")["total_steps"] == 3
    for call in (
        lambda: remote.get_dataset_metadata("closed/x-v0"),
        lambda: fetch_dataset(remote, "closed/x-v0", datasets_root / "somewhere"),
    ):
        with pytest.raises(RemoteDatasetNotFoundError):
            call()
    with pytest.raises(RemoteDatasetNotFoundError, match="log in"):
        remote.get_dataset_metadata("closed/x-v0")
    write_dataset(datasets_root, "open/y-v0")
    with hub.counted() as requests:
        with pytest.raises(RemoteAccessError, match="takes a token"):
            remote.upload_dataset("open/y-v0")
        with pytest.raises(RemoteAccessError, match="takes a token"):
            remote.upload_namespace("open")
    assert {method for method, _ in requests} <= {"GET"}


def test_the_argument_comes_before_the_environment(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_NobodyKnowsThisOne")
    assert get_cloud_storage("hf://lab", OWN).list_datasets() == []


@pytest.mark.parametrize("kind", ["reads only", "of another organization"])
def test_a_token_that_may_not_write(kind: str, hub: HubServer, datasets_root: Path) -> None:
    organizations = ["lab"] if kind == "reads only" else ["elsewhere"]
    token = hub.add_token("hf_MayNotWrite", "bob", *organizations, writes=kind != "reads only")
    write_dataset(datasets_root, "n/x-v0")
    remote = get_cloud_storage("hf://lab", token)
    with pytest.raises(RemoteAccessError, match="does not allow"):
        remote.upload_dataset("n/x-v0")
    get_cloud_storage("hf://lab").upload_dataset("n/x-v0")
    write_dataset(datasets_root, "n/y-v0")
    with pytest.raises(RemoteAccessError, match="does not allow"):
        remote.upload_dataset("n/y-v0")
    assert get_cloud_storage("hf://lab").list_datasets() == ["n/x-v0"]


def test_private_repositories(hub: HubServer, datasets_root: Path) -> None:
    for dataset_id in ("a/x-v0", "a/y-v0", "b/x-v0"):
        write_dataset(datasets_root, dataset_id)
    write_namespace(datasets_root, "b")
    get_cloud_storage("hf://lab").upload_dataset("a/x-v0")
    remote = get_cloud_storage("hf://lab", private=True)
    remote.upload_namespace("b")
    remote.upload_dataset("b/x-v0")
    assert hub.repositories.by_name["lab/b"].private
    with pytest.raises(RemoteError, match="is there already and public"):
        remote.upload_dataset("a/y-v0")
    assert not hub.repositories.by_name["lab/a"].private
    assert remote.list_datasets() == ["a/x-v0", "b/x-v0"]


def test_a_gated_repository(hub: HubServer, datasets_root: Path, tmp_path: Path) -> None:
    write_dataset(datasets_root, "n/x-v0")
    get_cloud_storage("hf://lab").upload_dataset("n/x-v0")
    hub.repositories.by_name["lab/n"].gated = True
    remote = get_cloud_storage("hf://lab", hub.add_token("hf_Outsider", "bob"))
    assert remote.list_datasets() == ["n/x-v0"]
    for call in (
        lambda: remote.get_dataset_metadata("n/x-v0"),
        lambda: remote.download_dataset("n/x-v0", tmp_path),
    ):
        with pytest.raises(RemoteAccessError, match="ask for access"):
            call()


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_passes_is_tried_again(status: int, hub: HubServer, datasets_root: Path, tmp_path: Path) -> None:
    write_dataset(datasets_root, "n/x-v0", files={"data/more.txt": b"more"})
    for part in ("preupload", "info/lfs", "/upload/", "verify", "/commit/"):
        hub.fail(part, status=status, headers={"Retry-After": "0"})
    remote = get_cloud_storage("hf://lab")
    remote.upload_dataset("n/x-v0")
    for part in ("/api/datasets", "/tree/", "/resolve/", "/cdn/"):
        hub.fail(part, status=status, headers={"Retry-After": "0"})
    assert remote.list_datasets() == ["n/x-v0"]
    remote.download_dataset("n/x-v0", tmp_path)
    assert tree(tmp_path / "n/x-v0") == tree(datasets_root / "n/x-v0")
    assert all(fault.times == 0 for fault in hub.faults)


def test_it_is_left_alone_for_as_long_as_it_asks(hub: HubServer) -> None:
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


@pytest.mark.usefixtures("short_pauses")
def test_a_dead_hub(hub: HubServer, monkeypatch: pytest.MonkeyPatch, datasets_root: Path, tmp_path: Path) -> None:
    """It refuses connections, or accepts them and says nothing."""
    write_dataset(datasets_root, "n/x-v0")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        refusing = f"http://127.0.0.1:{closed.getsockname()[1]}"
    monkeypatch.setattr(CloudStorage, "LIMITS", Limits(read_timeout=0.1))
    begun = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for endpoint in (refusing, f"http://127.0.0.1:{silent.getsockname()[1]}"):
            monkeypatch.setenv("HF_ENDPOINT", endpoint)
            remote = get_cloud_storage("hf://lab")
            for call in (
                remote.list_datasets,
                partial(remote.upload_dataset, "n/x-v0"),
                partial(remote.download_dataset, "n/x-v0", tmp_path),
            ):
                with pytest.raises(RemoteUnreachableError, match="see that it can be reached"):
                    call()
    assert time.monotonic() - begun < 10
    assert not any("x-v0" in name for name in tree(tmp_path))


@pytest.mark.parametrize("body", [b"<html>Log in to the network</html>", b'{"error": "none"}'])
def test_what_is_no_hub(body: bytes, hub: HubServer) -> None:
    """Such as the page by which a network asks for a login."""
    hub.fail("/api/datasets", status=200, body=body)
    with pytest.raises(RemoteError, match="is no Hub"):
        get_cloud_storage("hf://lab").list_datasets()


@pytest.mark.usefixtures("short_pauses")
@pytest.mark.parametrize("part", ["/api/datasets/lab", "preupload", "lfs/objects", "/upload/", "/commit/"])
@pytest.mark.parametrize("kind", ["cut", "500", "403", "418"])
def test_no_secret_is_told(
    part: str,
    kind: str,
    hub: HubServer,
    datasets_root: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not by the client of the Hub either, which draws and warns where nobody has asked it to."""
    monkeypatch.setattr(logging.getLogger("huggingface_hub"), "propagate", True)
    write_dataset(datasets_root, "n/x-v0")
    hub.fail(part, times=999, cut=kind == "cut", status=0 if kind == "cut" else int(kind), headers={"Retry-After": "0"})
    caplog.set_level(logging.DEBUG, "minari")
    remote = get_cloud_storage("hf://lab", OWN)
    with pytest.raises(RemoteError) as caught:
        remote.upload_dataset("n/x-v0")
    logged = [record.getMessage() for record in caplog.records]
    assert not [record for record in caplog.records if record.name.startswith("huggingface_hub.")]
    output = capsys.readouterr()
    assert output.err + output.out == ""
    told = "".join([*traceback.format_exception(caught.value), *logged, repr(remote)])
    assert OWN not in told
    assert SIGNATURE not in told
    hub.faults.clear()
    assert remote.list_datasets() == []


def test_the_token_stays_at_the_hub(hub: HubServer) -> None:
    """Not even the Hub itself can have it sent elsewhere by naming an address there."""
    with HubServer() as other, pytest.raises(RemoteFileNotFoundError):
        # It would not accept the token.
        HubClient(OWN).request(f"{other.endpoint}/api/whoami-v2", "looking")
