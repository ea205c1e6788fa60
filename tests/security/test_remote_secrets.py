"""A token, a password or a signature is in no message, log, warning, repr or traceback, malformed ones included."""

from __future__ import annotations

import gc
import json
import logging
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import minari
from minari.errors import MinariError
from minari.storage.remotes import CloudStorage, get_cloud_storage
from minari.testing.sharing import write_dataset
from support.servers.hostile import Answering, HostileServer, head, whole


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """Clients of stores leave the sockets of answers that were given up to the garbage collector."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


CANARY = "c4narySecret"

pytestmark = pytest.mark.usefixtures("short_pauses")


def told_by(call: Callable[[], object], caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> str:
    """All that anybody gets to see when a call fails."""
    caplog.set_level(logging.DEBUG, "minari")
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with pytest.raises(MinariError) as caught:
            call()
    logs = [record.getMessage() + str(record.exc_info) for record in caplog.records if record.name.startswith("minari")]
    output = capsys.readouterr()
    shown = "".join(traceback.format_exception(caught.value))
    # The lines of this file that tracebacks quote are no secrets.
    quoted = "\n".join(line for line in shown.splitlines() if "CANARY" not in line)
    return "\n".join([quoted, repr(caught.value), *logs, *map(str, warned), output.out, output.err])


def refusing(status: int) -> Answering:
    text = json.dumps({"error": f"no, see https://ann:{CANARY}@host/x?signature={CANARY}"}).encode()
    return whole(text, status, Content_Type="application/json")


ANSWERS: dict[str, Answering] = {
    "401": refusing(401),
    "403": refusing(403),
    "404": refusing(404),
    "418": refusing(418),
    "429": refusing(429),
    "500": refusing(500),
    "cut": lambda asked: iter([head(length=100), b"x"]),
    "nonsense": lambda asked: iter([b"nonsense\r\n\r\n"]),
    "moved": lambda asked: iter([head(302, length=0, Location=f"ftp://ann:{CANARY}@host/x?token={CANARY}")]),
    "moved to nowhere": lambda asked: iter([head(302, length=0, Location=f"http://127.0.0.1:1/x?token={CANARY}")]),
}


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("call", ["list", "read", "download"])
def test_what_fails(
    kind: str,
    answer: str,
    call: str,
    server: HostileServer,
    remote_at: Callable[..., CloudStorage],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    token = f"hf_{CANARY}" if kind in ("web", "hub") else None
    remote = remote_at(kind, server, token)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CANARY)
    monkeypatch.setenv("AWS_SESSION_TOKEN", CANARY)
    server.answering = ANSWERS[answer]
    calls: dict[str, Callable[[], object]] = {
        "list": remote.list_datasets,
        "read": lambda: remote.read_range("n/x-v0/data/f", 0, 10),
        "download": lambda: remote.download_dataset("n/x-v0", tmp_path),
    }
    assert CANARY not in told_by(calls[call], caplog, capsys)
    assert CANARY not in repr(remote) + str(remote)


ODD = ["{}\n", "{} {}", "\u00e9{}", "{}\r\nX-Evil: 1", '{{"key": "{}"', "{}\0", "/nonexistent/{}.txt"]


@pytest.mark.parametrize("scheme", ["https", "hf", "gcp", "s3", "az"])
@pytest.mark.parametrize(
    "odd", ["{}\n", "{} {}", "\u00e9{}", "{}\r\nX-Evil: 1", '{{"key": "{}"', "{}\0", "/nonexistent/{}.txt"]
)
def test_tokens_that_are_none(
    scheme: str,
    odd: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    token = odd.format(CANARY, CANARY)
    if scheme == "https" and token.startswith("/"):
        pytest.skip("it may be a token")
    if scheme == "hf" and token.startswith("/"):
        pytest.skip("it may be a token")
    pytest.importorskip({"gcp": "google.cloud.storage", "s3": "s3fs", "az": "adlfs"}.get(scheme, "json"))
    assert CANARY not in told_by(lambda: get_cloud_storage(f"{scheme}://lab-of-tests", token), caplog, capsys)


def test_a_token_of_the_environment_that_is_none(
    server: HostileServer,
    remote_at: Callable[..., CloudStorage],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    remote = remote_at("hub", server)
    monkeypatch.setenv("HF_TOKEN", f"{CANARY} \u00e9 {CANARY}")
    assert CANARY not in told_by(remote.list_datasets, caplog, capsys)


@pytest.mark.parametrize(
    "address",
    [
        f"https://ann:{CANARY}@127.0.0.1:1/x",
        f"https://127.0.0.1:1/x?token={CANARY}",
        f"hf://ann:{CANARY}@/x",
        f"gcp://ann:{CANARY}@bucket",
        f"s3://ann:{CANARY}@bucket?token={CANARY}",
        f"https:/ann:{CANARY}@host",
        f"nothing://ann:{CANARY}@host",
        f"ftp://ann:{CANARY}@127.0.0.1:1/x",
        f"://ann:{CANARY}@host",
    ],
)
def test_addresses(
    address: str,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    datasets_root: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_dataset(datasets_root, "x-v0")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:1")
    for call in (
        lambda: minari.list_remote_datasets(address),
        lambda: minari.download_dataset(f"{address}/y-v0"),
        lambda: minari.download_dataset(f"{address}/y-v0", remote=address),
        lambda: minari.upload_dataset("x-v0", remote=address),
    ):
        assert CANARY not in told_by(call, caplog, capsys)


def test_options_of_a_store(
    server: HostileServer,
    remote_at: Callable[..., CloudStorage],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Error messages of a client repeat its options."""
    pytest.importorskip("fsspec")
    options = tmp_path / "options.json"
    options.write_text(json.dumps({"secret": CANARY, "client_kwargs": {"aws_session_token": [CANARY]}}))
    remote_at("s3", server)
    remote = get_cloud_storage("s3://bucket-of-tests", str(options))
    assert CANARY not in told_by(remote.list_datasets, caplog, capsys)
