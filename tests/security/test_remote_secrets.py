"""A token, a password or a signature is in no message, log, warning, repr or traceback, malformed ones included."""

from __future__ import annotations

import gc
import json
import logging
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import minari
from minari.errors import MinariError
from minari.storage.remotes import get_cloud_storage
from minari.testing.sharing import write_dataset
from support.servers.hostile import Answering, HostileServer, head, whole


CANARY = "c4narySecret"

pytestmark = pytest.mark.usefixtures("short_pauses")
Told = Callable[[Callable[[], object]], str]


@pytest.fixture(scope="module", autouse=True)
def _frozen() -> None:
    """Leave what other tests have loaded out of each collection."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """Clients of stores leave the sockets of answers that were given up to the garbage collector."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
def told_by(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> Told:
    """A function: all that anybody gets to see when a call fails."""

    def told(call: Callable[[], object]) -> str:
        caplog.set_level(logging.DEBUG, "minari")
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            with pytest.raises(MinariError) as caught:
                call()
        records = [record for record in caplog.records if record.name.startswith("minari")]
        logs = [record.getMessage() + str(record.exc_info) for record in records]
        shown = "".join(traceback.format_exception(caught.value))
        # The lines of this file that tracebacks quote are no secrets.
        quoted = [line for line in shown.splitlines() if "CANARY" not in line]
        return "\n".join([*quoted, repr(caught.value), *logs, *map(str, warned), *capsys.readouterr()])

    return told


def refusing(status: int) -> Answering:
    text = json.dumps({"error": f"no, see https://ann:{CANARY}@host/x?signature={CANARY}"}).encode()
    return whole(text, status, Content_Type="application/json")


ANSWERS: dict[str, Answering] = {
    **{str(status): refusing(status) for status in (401, 403, 404, 418, 429, 500)},
    "cut": lambda asked: iter([head(length=100), b"x"]),
    "nonsense": lambda asked: iter([b"nonsense\r\n\r\n"]),
    "moved": lambda asked: iter([head(302, length=0, Location=f"ftp://ann:{CANARY}@host/x?token={CANARY}")]),
    "moved to nowhere": lambda asked: iter([head(302, length=0, Location=f"http://127.0.0.1:1/x?token={CANARY}")]),
}
CALLS: dict[str, Callable[[Any, Path], object]] = {
    "list": lambda remote, arrival: remote.list_datasets(),
    "read": lambda remote, arrival: remote.read_range("n/x-v0/data/f", 0, 10),
    "download": lambda remote, arrival: remote.download_dataset("n/x-v0", arrival),
}


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("call", CALLS)
def test_failure_shows_no_secret(
    kind: str, answer: str, call: str, server: HostileServer, remote_at: Callable[..., Any], told_by: Told,
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    remote = remote_at(kind, server, f"hf_{CANARY}" if kind in ("web", "hub") else None)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CANARY)
    monkeypatch.setenv("AWS_SESSION_TOKEN", CANARY)
    server.answering = ANSWERS[answer]
    assert CANARY not in told_by(lambda: CALLS[call](remote, tmp_path))
    assert CANARY not in repr(remote) + str(remote)


PACKAGES = {"gcp": "google.cloud.storage", "s3": "s3fs", "az": "adlfs"}


@pytest.mark.parametrize("scheme", ["https", "hf", *PACKAGES])
@pytest.mark.parametrize(
    "odd", ["{}\n", "{} {}", "\u00e9{}", "{}\r\nX-Evil: 1", '{{"key": "{}"', "{}\0", "/nonexistent/{}.txt"]
)
def test_malformed_token_is_not_shown(scheme: str, odd: str, told_by: Told) -> None:
    token = odd.format(CANARY, CANARY)
    if scheme in ("https", "hf") and token.startswith("/"):
        pytest.skip("it may be a token")
    pytest.importorskip(PACKAGES.get(scheme, "json"))
    assert CANARY not in told_by(lambda: get_cloud_storage(f"{scheme}://lab-of-tests", token))


def test_malformed_token_of_the_environment_is_not_shown(
    server: HostileServer, remote_at: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, told_by: Told
) -> None:
    remote = remote_at("hub", server)
    monkeypatch.setenv("HF_TOKEN", f"{CANARY} \u00e9 {CANARY}")
    assert CANARY not in told_by(remote.list_datasets)


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
def test_secret_in_an_address_is_not_shown(
    address: str, datasets_root: Path, monkeypatch: pytest.MonkeyPatch, told_by: Told
) -> None:
    write_dataset(datasets_root, "x-v0")
    for variable in ("AWS_ENDPOINT_URL", "STORAGE_EMULATOR_HOST"):
        monkeypatch.setenv(variable, "http://127.0.0.1:1")
    for call in (
        lambda: minari.list_remote_datasets(address),
        lambda: minari.download_dataset(f"{address}/y-v0"),
        lambda: minari.download_dataset(f"{address}/y-v0", remote=address),
        lambda: minari.upload_dataset("x-v0", remote=address),
    ):
        assert CANARY not in told_by(call)


def test_options_of_a_store_are_not_shown(
    server: HostileServer, remote_at: Callable[..., Any], tmp_path: Path, told_by: Told
) -> None:
    """Error messages of a client repeat its options."""
    pytest.importorskip("fsspec")
    options = tmp_path / "options.json"
    options.write_text(json.dumps({"secret": CANARY, "client_kwargs": {"aws_session_token": [CANARY]}}))
    remote_at("s3", server)
    assert CANARY not in told_by(get_cloud_storage("s3://bucket-of-tests", str(options)).list_datasets)
