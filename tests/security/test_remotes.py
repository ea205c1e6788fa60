"""Remotes that lie, never end, crawl, or lead elsewhere: nothing but errors of ours, in bounded room and time."""

from __future__ import annotations

import gzip
import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from minari import errors
from minari.errors import DatasetCorruptError, MinariError, RemoteError, RemoteUnreachableError
from minari.storage.remotes import CloudStorage
from minari.storage.transfer.index import dump_index, parse_index
from minari.storage.transfer.limits import Limits
from minari.storage.transfer.remote_files import SMALL_FILE_LIMIT
from support.servers.hostile import Asked, HostileServer, as_json, dribbling, endless, head, whole


RemoteAt = Callable[..., CloudStorage]
MIB = 1 << 20

pytestmark = pytest.mark.usefixtures("short_pauses")


def is_bounded(server: HostileServer) -> bool:
    """Return whether no response was read beyond the limit of a small file and the buffers in between."""
    return server.sent < len(server.asked) * (SMALL_FILE_LIMIT + 32 * MIB)


class TestAnswersWithoutAnEnd:
    def test_of_a_small_file(self, kind: str, server: HostileServer, remote_at: RemoteAt) -> None:
        server.answering = endless()
        with pytest.raises(MinariError):
            remote_at(kind, server).read_file("x-v0/data/metadata.json")
        assert is_bounded(server)

    def test_of_a_part_of_a_file(self, kind: str, server: HostileServer, remote_at: RemoteAt) -> None:
        server.answering = endless(206, Content_Range="bytes 0-999/100000")
        with pytest.raises(MinariError):
            remote_at(kind, server).read_range("x-v0/data/main_data.hdf5", 0, 1000)
        assert is_bounded(server)

    @pytest.mark.parametrize("kind", ["hub", "gcs"])
    def test_of_a_list(self, kind: str, server: HostileServer, remote_at: RemoteAt) -> None:
        server.answering = endless(Content_Type="application/json")
        with pytest.raises(MinariError):
            list(remote_at(kind, server).list_files("a/x-v0"))
        assert is_bounded(server)

    @pytest.mark.parametrize("kind", ["web", "hub", "gcs"])  # what botocore reads of it is bounded by the time only
    def test_of_a_refusal(self, kind: str, server: HostileServer, remote_at: RemoteAt) -> None:
        server.answering = endless(403)
        with pytest.raises(MinariError):
            remote_at(kind, server).read_range("x-v0/data/metadata.json", 0, 10)
        assert is_bounded(server)

    def test_of_what_the_client_of_the_hub_asks(self, server: HostileServer, remote_at: RemoteAt) -> None:
        remote_at("hub", server)
        client = pytest.importorskip("minari.storage.remotes.hub.client").HubClient()
        server.answering = endless(Content_Type="application/json")
        with pytest.raises(DatasetCorruptError, match="larger than"):
            client.call(lambda api: api.create_repo("lab/n", repo_type="dataset"), "making it")
        assert is_bounded(server)

    @pytest.mark.parametrize("kind", ["web", "hub"])
    def test_of_a_redirect(self, kind: str, server: HostileServer, remote_at: RemoteAt) -> None:
        def answer(asked: Asked) -> Iterator[bytes]:
            return (
                endless(302, Location=f"{server.url}/there")(asked)
                if "there" not in asked.path
                else whole(b"ok")(asked)
            )

        server.answering = answer
        assert remote_at(kind, server).read_file("n/x") == b"ok"
        assert server.sent < 64 * MIB


@pytest.mark.usefixtures("impatient")
class TestAnswersThatCrawl:
    def test_a_byte_now_and_then(self, kind: str, server: HostileServer, remote_at: RemoteAt) -> None:
        server.answering = dribbling(server, head(206, length=100_000, Content_Range="bytes 0-99999/100000"))
        with pytest.raises(RemoteUnreachableError):
            remote_at(kind, server).read_range("x-v0/data/main_data.hdf5", 0, 100_000)

    @pytest.mark.parametrize("kind", ["web", "gcs"])
    def test_already_in_the_headers(self, kind: str, server: HostileServer, remote_at: RemoteAt) -> None:
        server.answering = dribbling(server, b"HTTP/1.1 200 OK\r\nX-Odd: ")
        with pytest.raises(RemoteUnreachableError):
            remote_at(kind, server).read_file("x-v0/data/metadata.json")

    def test_already_in_the_headers_of_the_hub(
        self, server: HostileServer, remote_at: RemoteAt, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(CloudStorage, "LIMITS", Limits(0.1, 0.1, bytes_per_second=10_000, interval=0.2))
        server.answering = dribbling(server, b"HTTP/1.1 200 OK\r\nX-Odd: ")
        with pytest.raises(RemoteUnreachableError):
            remote_at("hub", server).read_file("x-v0/data/metadata.json")


class TestLengthsThatAreWrong:
    def test_more_is_announced_than_comes(self, kind: str, server: HostileServer, remote_at: RemoteAt) -> None:
        server.answering = lambda asked: iter([head(length=100), b"0123456789"])
        with pytest.raises(RemoteUnreachableError):
            remote_at(kind, server).read_file("x-v0/data/metadata.json")

    def test_too_much_is_announced(self, kind: str, server: HostileServer, remote_at: RemoteAt) -> None:
        server.answering = lambda asked: itertools.chain([head(length=1 << 50)], itertools.repeat(b"x" * MIB))
        with pytest.raises(MinariError):
            remote_at(kind, server).read_file("x-v0/data/metadata.json")
        assert is_bounded(server)

    @pytest.mark.parametrize("length", ["-1", "many", "9" * 5000, "1e3"])
    def test_a_length_that_is_none(self, length: str, server: HostileServer, remote_at: RemoteAt) -> None:
        server.answering = lambda asked: iter([head(Content_Length=length), b"0123456789"])
        with pytest.raises(RemoteError):
            remote_at("web", server).read_file("x-v0/data/metadata.json")

    @pytest.mark.parametrize("kind", ["web", "hub"])
    @pytest.mark.parametrize(
        "told", ["bytes 1-10/20", "bytes 0-99/100", "bytes */20", "words 0-9/20", f"bytes 0-{'9' * 5000}/*"]
    )
    def test_another_part_than_was_asked_for(
        self, kind: str, told: str, server: HostileServer, remote_at: RemoteAt
    ) -> None:
        server.answering = whole(b"0123456789", 206, Content_Range=told)
        with pytest.raises(RemoteError, match="sent others"):
            remote_at(kind, server).read_range("n/x", 0, 10)

    def test_a_part_that_is_longer_than_it_says(self, kind: str, server: HostileServer, remote_at: RemoteAt) -> None:
        server.answering = whole(b"0123456789" * 100, 206, Content_Range="bytes 0-9/20")
        with suppress(MinariError):
            assert len(remote_at(kind, server).read_range("n/x", 0, 10)) <= 10

    @pytest.mark.parametrize("kind", ["web", "hub"])
    def test_the_whole_file_in_place_of_a_part(self, kind: str, server: HostileServer, remote_at: RemoteAt) -> None:
        server.answering = whole(b"0123456789" * 100)
        assert remote_at(kind, server).read_range("n/x", 5, 8) == b"567"


ELSEWHERE = ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:,x", "gopher://x", "http://[x"]
ELSEWHERE += ["http://ann:secret@127.0.0.1:1/x"]


class TestRedirects:
    @pytest.mark.parametrize("kind", ["web", "hub"])
    @pytest.mark.parametrize("address", ELSEWHERE)
    def test_to_another_kind_of_address(
        self, kind: str, address: str, server: HostileServer, remote_at: RemoteAt
    ) -> None:
        server.answering = lambda asked: iter([head(302, length=0, Location=address)])
        with pytest.raises(RemoteError) as caught:
            remote_at(kind, server).read_file("n/x")
        assert "root:" not in str(caught.value)
        assert "secret" not in str(caught.value)
        assert len(server.asked) == 1

    @pytest.mark.parametrize("kind", ["web", "hub"])
    def test_without_an_end(self, kind: str, server: HostileServer, remote_at: RemoteAt) -> None:
        server.answering = lambda asked: iter([head(302, length=0, Location=f"{server.url}/{asked.number}")])
        with pytest.raises(RemoteError):
            remote_at(kind, server).read_file("n/x")
        assert len(server.asked) < 100

    @pytest.mark.parametrize("kind", ["web", "hub"])
    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_the_token_stays(self, kind: str, status: int, server: HostileServer, remote_at: RemoteAt) -> None:
        there = server.url.replace("127.0.0.1", "localhost")
        server.answering = lambda asked: (
            whole(b"ok")(asked) if asked.path == "/there" else iter([head(status, length=0, Location=f"{there}/there")])
        )
        assert remote_at(kind, server, "hf_canary").read_file("n/x") == b"ok"
        first, second = server.asked
        assert first.headers["authorization"] == "Bearer hf_canary"
        assert not any("canary" in value for value in second.headers.values())


class TestRedirectsOfTheClientOfTheHub:
    @pytest.fixture
    def create(self, server: HostileServer, remote_at: RemoteAt) -> Callable[[], object]:
        remote_at("hub", server)
        client = pytest.importorskip("minari.storage.remotes.hub.client").HubClient("hf_canary")
        return lambda: client.call(lambda api: api.create_repo("lab/n", repo_type="dataset"), "making it")

    @pytest.mark.parametrize("status", [302, 303, 307, 308])
    def test_the_token_stays(self, status: int, server: HostileServer, create: Callable[[], object]) -> None:
        there = server.url.replace("127.0.0.1", "localhost")
        made = as_json({"url": f"{server.url}/datasets/lab/n"})
        server.answering = lambda asked: (
            made(asked) if asked.path == "/there" else iter([head(status, length=0, Location=f"{there}/there")])
        )
        create()
        first, second = server.asked
        assert first.headers["authorization"] == "Bearer hf_canary"
        assert not any("canary" in value for value in second.headers.values())

    @pytest.mark.parametrize("address", ELSEWHERE)
    def test_to_another_kind_of_address(
        self, address: str, server: HostileServer, create: Callable[[], object]
    ) -> None:
        server.answering = lambda asked: iter([head(302, length=0, Location=address)])
        with pytest.raises(RemoteError) as caught:
            create()
        assert "secret" not in str(caught.value)
        assert len(server.asked) == 1

    def test_to_somebody(self, server: HostileServer, create: Callable[[], object]) -> None:
        there = server.url.replace("//", "//ann:secret@")
        server.answering = lambda asked: iter([head(302, length=0, Location=f"{there}/there")])
        with pytest.raises(RemoteError, match="not followed"):
            create()
        assert len(server.asked) == 1


class TestCompression:
    @pytest.mark.parametrize("kind", ["web", "hub"])
    def test_what_was_not_to_be_compressed(self, kind: str, server: HostileServer, remote_at: RemoteAt) -> None:
        server.answering = whole(gzip.compress(bytes(10)), Content_Encoding="gzip")
        with pytest.raises(RemoteError, match="compressed"):
            remote_at(kind, server).read_file("n/x")

    @pytest.mark.parametrize("kind", ["hub", "gcs"])
    def test_a_list_that_grows(self, kind: str, server: HostileServer, remote_at: RemoteAt) -> None:
        bomb = gzip.compress(b"[" + b" " * (SMALL_FILE_LIMIT + MIB) + b"]")
        server.answering = whole(bomb, Content_Encoding="gzip", Content_Type="application/json")
        with pytest.raises(DatasetCorruptError, match="larger than"):
            list(remote_at(kind, server).list_files("a/x-v0"))

    def test_an_index_that_grows(self, server: HostileServer, remote_at: RemoteAt) -> None:
        server.answering = whole(gzip.compress(bytes(80 * MIB)))
        with pytest.raises(DatasetCorruptError, match=r"index is damaged.*more than"):
            remote_at("web", server).list_datasets()

    def test_the_limits_of_an_index(self) -> None:
        content = dump_index({"x-v0": b" " * MIB})
        assert len(parse_index(content)["x-v0"]) == MIB
        with pytest.raises(DatasetCorruptError, match="more than"):
            parse_index(content, largest=MIB)
        with pytest.raises(DatasetCorruptError, match="follows"):
            parse_index(content + content)


ODD = [None, 3, "x", [], [3], [[]], {}, {"items": 3}, {"siblings": [3], "sha": 1}, {"siblings": [{}], "sha": "a"}]
ODD += [{"items": [{"name": 3}]}, {"items": [{"name": "x", "size": "many"}]}, [{"type": "file"}], [{"id": 3}]]
ODD += [[{"type": "file", "path": "x/y", "size": "z", "oid": []}], [{"id": "lab/x", "siblings": [{"rfilename": None}]}]]


class TestAnswersOfAnotherKind:
    @pytest.mark.parametrize("kind", ["hub", "gcs"])
    @pytest.mark.parametrize("value", ODD, ids=json.dumps)
    def test_lists(self, kind: str, value: object, server: HostileServer, remote_at: RemoteAt) -> None:
        server.answering = as_json(value)
        remote = remote_at(kind, server)
        for call in (remote.list_datasets, remote.list_namespaces, lambda: list(remote.list_files("x-v0"))):
            with suppress(MinariError):
                call()

    @pytest.mark.parametrize("text", [b"", b"{", b"[" * 100_000, b"\xff\xfe", b'"' + b"9" * 100, b"9" * 5000])
    def test_what_is_no_json(self, kind: str, text: bytes, server: HostileServer, remote_at: RemoteAt) -> None:
        server.answering = whole(text, Content_Type="application/json")
        remote = remote_at(kind, server)
        with suppress(MinariError):
            remote.list_datasets()
        with suppress(MinariError):
            list(remote.list_files("n/x-v0"))

    @pytest.mark.parametrize("kind", ["hub", "gcs"])
    def test_pages_that_lead_to_each_other(self, kind: str, server: HostileServer, remote_at: RemoteAt) -> None:
        page: object = {"items": [], "nextPageToken": "again"} if kind == "gcs" else []
        server.answering = as_json(page, Link=f'<{server.url}/api/datasets?again>; rel="next"')
        with pytest.raises(RemoteError, match="without an end"):
            remote_at(kind, server).list_datasets()
        assert len(server.asked) < 50

    def test_pages_of_a_bucket_that_lead_to_each_other(self, server: HostileServer, remote_at: RemoteAt) -> None:
        page = (
            b'<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><KeyCount>0</KeyCount>'
            b"<IsTruncated>true</IsTruncated><NextContinuationToken>again</NextContinuationToken></ListBucketResult>"
        )
        server.answering = whole(page, Content_Type="application/xml")
        with pytest.raises(RemoteError, match="without an end"):
            remote_at("s3", server).list_namespaces()
        assert len(server.asked) < 50


@pytest.mark.parametrize("wait", ["9" * 400, "inf", "-5", "\u0661", "3.5", "Thu, 01 Jan 2099 00:00:00 GMT"])
def test_waits_that_nobody_waits(wait: str, server: HostileServer, remote_at: RemoteAt) -> None:
    header = wait if wait.isascii() else "x"
    server.answering = lambda asked: iter([head(503, length=0, Retry_After=header)])
    with pytest.raises(errors.RemoteUnreachableError) as caught:
        remote_at("web", server).read_file("x")
    assert caught.value.retry_after is None


def test_a_combined_dataset_of_datasets_without_an_end(
    server: HostileServer, remote_at: RemoteAt, monkeypatch: pytest.MonkeyPatch
) -> None:
    from minari.storage import hosting

    monkeypatch.setattr(hosting, "_MOST_PARTS", 20)

    def metadata(number: int) -> bytes:
        value = {"total_episodes": 1, "total_steps": 1, "observation_space": "{}", "action_space": "{}"}
        return json.dumps({**value, "minari_version": "0.5.4", "combined_datasets": [f"x-v{number + 1}"]}).encode()

    def answer(asked: Asked) -> Iterator[bytes]:
        if "index" in asked.path:
            index = {"index_version": 1, "datasets": {"x-v0": metadata(0).decode()}}
            return whole(gzip.compress(json.dumps(index).encode()))(asked)
        return whole(metadata(int(asked.path.split("-v")[1].split("/")[0])))(asked)

    server.answering = answer
    remote_at("web", server)
    with pytest.raises(DatasetCorruptError, match="combined from more than"):
        hosting.download_dataset("x-v0", remote=server.url)


def test_what_a_server_says_cannot_direct_a_terminal(kind: str, server: HostileServer, remote_at: RemoteAt) -> None:
    said = b'{"error": {"message": "\\u001b[2J no", "errors": [{"message": "\\u001b[2J"}]}}'
    first = b"HTTP/1.1 400 \x1b[2J\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(said)
    server.answering = lambda asked: iter([first, said])
    with pytest.raises(MinariError) as caught:
        remote_at(kind, server).read_file("n/x")
    assert "\x1b" not in str(caught.value)
