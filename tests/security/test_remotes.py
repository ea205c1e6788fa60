"""Remotes that lie, never end, crawl, or lead elsewhere: nothing but errors of ours, in bounded room and time."""

from __future__ import annotations

import gzip
import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from minari.errors import DatasetCorruptError, MinariError, RemoteError, RemoteUnreachableError
from minari.storage import hosting
from minari.storage.remotes import CloudStorage
from minari.storage.transfer.index import dump_index, parse_index
from minari.storage.transfer.limits import Limits
from minari.storage.transfer.remote_files import SMALL_FILE_LIMIT
from support.servers.hostile import Answering, Asked, HostileServer, as_json, dribbling, endless, head, whole


RemoteAt = Callable[..., CloudStorage]
MIB = 1 << 20
JSON = {"Content_Type": "application/json"}

pytestmark = pytest.mark.usefixtures("short_pauses")
followed = pytest.mark.parametrize("kind", ["web", "hub"])  # whose redirects we follow ourselves
in_json = pytest.mark.parametrize("kind", ["hub", "gcs"])


def is_bounded(server: HostileServer) -> bool:
    """Return whether no response was read beyond the limit of a small file and the buffers in between."""
    return server.sent < len(server.asked) * (SMALL_FILE_LIMIT + 32 * MIB)


def read(remote: CloudStorage) -> bytes:
    return remote.read_file("x-v0/data/metadata.json")


def read_part(remote: CloudStorage) -> bytes:
    return remote.read_range("x-v0/data/main_data.hdf5", 0, 1000)


def list_files(remote: CloudStorage) -> list[Any]:
    return list(remote.list_files("a/x-v0"))


def moved(address: str, status: int = 302) -> Answering:
    return lambda asked: iter([head(status, length=0, Location=address)])


def at_first(first: Answering, then: Answering) -> Answering:
    """Answer a request for "/there" otherwise than any other."""
    return lambda asked: then(asked) if asked.path == "/there" else first(asked)


# Answers without an end


ENDLESS = [
    *((kind, read, endless()) for kind in ("web", "hub", "gcs", "s3")),
    *((kind, read_part, endless(206, Content_Range="bytes 0-999/100000")) for kind in ("web", "hub", "gcs", "s3")),
    *((kind, list_files, endless(**JSON)) for kind in ("hub", "gcs")),
    *((kind, read_part, endless(403)) for kind in ("web", "hub", "gcs")),  # botocore's is bounded by the time only
]


def announced(asked: Asked) -> Iterator[bytes]:
    return itertools.chain([head(length=1 << 50)], itertools.repeat(b"x" * MIB))


@pytest.mark.parametrize(
    ("kind", "call", "answer"), [*ENDLESS, *((kind, read, announced) for kind in ("web", "hub", "gcs", "s3"))]
)
def test_endless_answer_is_given_up(
    kind: str, call: Callable[[CloudStorage], object], answer: Answering, server: HostileServer, remote_at: RemoteAt
) -> None:
    server.answering = answer
    with pytest.raises(MinariError):
        call(remote_at(kind, server))
    assert is_bounded(server)


@followed
def test_endless_redirect_is_not_read(kind: str, server: HostileServer, remote_at: RemoteAt) -> None:
    server.answering = at_first(endless(302, Location=f"{server.url}/there"), whole(b"ok"))
    assert remote_at(kind, server).read_file("n/x") == b"ok"
    assert server.sent < 64 * MIB


def test_endless_answer_to_the_client_of_the_hub_is_given_up(server: HostileServer, create: Callable[[], Any]) -> None:
    server.answering = endless(**JSON)
    with pytest.raises(DatasetCorruptError, match="larger than"):
        create()
    assert is_bounded(server)


# Answers that crawl


HEADERS = b"HTTP/1.1 200 OK\r\nX-Odd: "
PART = head(206, length=100_000, Content_Range="bytes 0-99999/100000")


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("kind", "call", "begin"),
    [
        *((kind, lambda remote: remote.read_range("x-v0/f", 0, 100_000), PART) for kind in ("web", "hub", "gcs", "s3")),
        *((kind, read, HEADERS) for kind in ("web", "gcs", "hub")),
    ],
)
def test_crawling_answer_is_given_up(
    kind: str, call: Callable[[CloudStorage], object], begin: bytes, server: HostileServer, remote_at: RemoteAt,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    if (kind, begin) == ("hub", HEADERS):
        monkeypatch.setattr(CloudStorage, "LIMITS", Limits(0.1, 0.1, bytes_per_second=10_000, interval=0.2))
    server.answering = dribbling(server, begin)
    with pytest.raises(RemoteUnreachableError):
        call(remote_at(kind, server))


# Lengths that are wrong


def test_answer_shorter_than_announced_is_unreachable(kind: str, server: HostileServer, remote_at: RemoteAt) -> None:
    server.answering = lambda asked: iter([head(length=100), b"0123456789"])
    with pytest.raises(RemoteUnreachableError):
        read(remote_at(kind, server))


@pytest.mark.parametrize("length", ["-1", "many", "9" * 5000, "1e3"])
def test_malformed_length_is_refused(length: str, server: HostileServer, remote_at: RemoteAt) -> None:
    server.answering = lambda asked: iter([head(Content_Length=length), b"0123456789"])
    with pytest.raises(RemoteError):
        read(remote_at("web", server))


@followed
@pytest.mark.parametrize(
    "told", ["bytes 1-10/20", "bytes 0-99/100", "bytes */20", "words 0-9/20", f"bytes 0-{'9' * 5000}/*"]
)
def test_other_range_is_refused(kind: str, told: str, server: HostileServer, remote_at: RemoteAt) -> None:
    server.answering = whole(b"0123456789", 206, Content_Range=told)
    with pytest.raises(RemoteError, match="sent others"):
        remote_at(kind, server).read_range("n/x", 0, 10)


def test_longer_range_is_cut(kind: str, server: HostileServer, remote_at: RemoteAt) -> None:
    server.answering = whole(b"0123456789" * 100, 206, Content_Range="bytes 0-9/20")
    remote = remote_at(kind, server)
    with suppress(MinariError):
        assert len(remote.read_range("n/x", 0, 10)) <= 10
    if kind in ("web", "hub"):
        server.answering = whole(b"0123456789" * 100)
        assert remote.read_range("n/x", 5, 8) == b"567", "of the whole file"


# Redirects


ELSEWHERE = ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:,x", "gopher://x", "http://[x"]
ELSEWHERE += ["http://ann:secret@127.0.0.1:1/x"]


@pytest.fixture
def create(server: HostileServer, remote_at: RemoteAt) -> Callable[[], Any]:
    """A function that asks by the client of the Hub, with a token."""
    remote_at("hub", server)
    client = pytest.importorskip("minari.storage.remotes.hub.client").HubClient("hf_canary")
    return lambda: client.call(lambda api: api.create_repo("lab/n", repo_type="dataset"), "making it")


@pytest.fixture
def ask(request: pytest.FixtureRequest, server: HostileServer, remote_at: RemoteAt) -> Callable[[], Any]:
    """A function that asks with a token: of a kind of remote, or as the client of the Hub."""
    if request.param == "client":
        return request.getfixturevalue("create")  # type: ignore[no-any-return]
    remote = remote_at(request.param, server, "hf_canary")
    return lambda: remote.read_file("n/x")


all_who_follow = pytest.mark.parametrize("ask", ["web", "hub", "client"], indirect=True)


@all_who_follow
@pytest.mark.parametrize("address", [*ELSEWHERE, "http://ann:secret@{}/there"])
def test_redirect_to_another_kind_of_address_is_refused(
    address: str, server: HostileServer, ask: Callable[[], Any]
) -> None:
    server.answering = moved(address.format(server.url.removeprefix("http://")))
    with pytest.raises(RemoteError) as caught:
        ask()
    assert "root:" not in str(caught.value)
    assert "secret" not in str(caught.value)
    assert len(server.asked) == 1


@all_who_follow
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_token_does_not_follow_a_redirect(status: int, server: HostileServer, ask: Callable[[], Any]) -> None:
    there = server.url.replace("127.0.0.1", "localhost")
    made = as_json({"url": f"{server.url}/datasets/lab/n"})
    server.answering = at_first(moved(f"{there}/there", status), made)
    ask()
    first, second = server.asked
    assert first.headers["authorization"] == "Bearer hf_canary"
    assert not any("canary" in value for value in second.headers.values())


@followed
def test_redirects_without_end_are_given_up(kind: str, server: HostileServer, remote_at: RemoteAt) -> None:
    server.answering = lambda asked: moved(f"{server.url}/{asked.number}")(asked)
    with pytest.raises(RemoteError):
        remote_at(kind, server).read_file("n/x")
    assert len(server.asked) < 100


# Compression


GROWING = gzip.compress(b"[" + b" " * (SMALL_FILE_LIMIT + MIB) + b"]")


@pytest.mark.parametrize(
    ("kind", "call", "answer", "error", "words"),
    [
        *((kind, read, whole(gzip.compress(bytes(10)), Content_Encoding="gzip"), RemoteError, "compressed")
          for kind in ("web", "hub")),
        *((kind, list_files, whole(GROWING, Content_Encoding="gzip", **JSON), DatasetCorruptError, "larger than")
          for kind in ("hub", "gcs")),
        ("web", lambda remote: remote.list_datasets(), whole(gzip.compress(bytes(80 * MIB))), DatasetCorruptError,
         r"index is damaged.*more than"),
    ],
)  # fmt: skip
def test_compressed_answer_is_bounded(
    kind: str, call: Callable[[CloudStorage], object], answer: Answering, error: type[Exception], words: str,
    server: HostileServer, remote_at: RemoteAt,
) -> None:  # fmt: skip
    server.answering = answer
    with pytest.raises(error, match=words):
        call(remote_at(kind, server))


def test_index_is_bounded() -> None:
    content = dump_index({"x-v0": b" " * MIB})
    assert len(parse_index(content)["x-v0"]) == MIB
    with pytest.raises(DatasetCorruptError, match="more than"):
        parse_index(content, largest=MIB)
    with pytest.raises(DatasetCorruptError, match="follows"):
        parse_index(content + content)


# Answers of another kind


ODD = [None, 3, "x", [], [3], [[]], {}, {"items": 3}, {"siblings": [3], "sha": 1}, {"siblings": [{}], "sha": "a"}]
ODD += [{"items": [{"name": 3}]}, {"items": [{"name": "x", "size": "many"}]}, [{"type": "file"}], [{"id": 3}]]
ODD += [[{"type": "file", "path": "x/y", "size": "z", "oid": []}], [{"id": "lab/x", "siblings": [{"rfilename": None}]}]]
NO_JSON = [b"", b"{", b"[" * 100_000, b"\xff\xfe", b'"' + b"9" * 100, b"9" * 5000]


def list_all(remote: CloudStorage) -> None:
    for call in (remote.list_datasets, remote.list_namespaces, lambda: list_files(remote)):
        with suppress(MinariError):
            call()


@in_json
@pytest.mark.parametrize("value", ODD, ids=json.dumps)
def test_odd_list_does_not_crash(kind: str, value: object, server: HostileServer, remote_at: RemoteAt) -> None:
    server.answering = as_json(value)
    list_all(remote_at(kind, server))


@pytest.mark.parametrize("text", NO_JSON)
def test_text_that_is_no_json_does_not_crash(
    kind: str, text: bytes, server: HostileServer, remote_at: RemoteAt
) -> None:
    server.answering = whole(text, **JSON)
    list_all(remote_at(kind, server))


XML = (
    b'<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><KeyCount>0</KeyCount>'
    b"<IsTruncated>true</IsTruncated><NextContinuationToken>again</NextContinuationToken></ListBucketResult>"
)


@pytest.mark.parametrize("kind", ["hub", "gcs", "s3"])
def test_pages_that_lead_to_each_other_are_given_up(kind: str, server: HostileServer, remote_at: RemoteAt) -> None:
    page = {"items": [], "nextPageToken": "again"} if kind == "gcs" else []
    again = f'<{server.url}/api/datasets?again>; rel="next"'
    server.answering = whole(XML, Content_Type="application/xml") if kind == "s3" else as_json(page, Link=again)
    with pytest.raises(RemoteError, match="without an end"):
        list(remote_at(kind, server).list_namespaces())
    assert len(server.asked) < 50


@pytest.mark.parametrize("wait", ["9" * 400, "inf", "-5", "x", "3.5", "Thu, 01 Jan 2099 00:00:00 GMT"])
def test_impossible_wait_is_ignored(wait: str, server: HostileServer, remote_at: RemoteAt) -> None:
    server.answering = lambda asked: iter([head(503, length=0, Retry_After=wait)])
    with pytest.raises(RemoteUnreachableError) as caught:
        read(remote_at("web", server))
    assert caught.value.retry_after is None


def test_combination_without_end_is_refused(
    server: HostileServer, remote_at: RemoteAt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosting, "MOST_PARTS", 20)

    def metadata(number: int) -> bytes:
        value = {"total_episodes": 1, "total_steps": 1, "observation_space": "{}", "action_space": "{}"}
        return json.dumps({**value, "minari_version": "0.5.4", "combined_datasets": [f"x-v{number + 1}"]}).encode()

    def answer(asked: Asked) -> Iterator[bytes]:
        if "index" in asked.path:
            return whole(dump_index({"x-v0": metadata(0)}))(asked)
        return whole(metadata(int(asked.path.split("-v")[1].split("/")[0])))(asked)

    server.answering = answer
    remote_at("web", server)
    with pytest.raises(DatasetCorruptError, match="combined from more than"):
        hosting.download_dataset("x-v0", remote=server.url)


def test_answer_cannot_direct_a_terminal(kind: str, server: HostileServer, remote_at: RemoteAt) -> None:
    said = b'{"error": {"message": "\\u001b[2J no", "errors": [{"message": "\\u001b[2J"}]}}'
    first = b"HTTP/1.1 400 \x1b[2J\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(said)
    server.answering = lambda asked: iter([first, said])
    with pytest.raises(MinariError) as caught:
        read(remote_at(kind, server))
    assert "\x1b" not in str(caught.value)
