"""Every kind of remote over a network that fails: what has moved stays, and what came damaged is never put in place."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

import minari
from minari.errors import DatasetCorruptError, RemoteError, RemoteUnreachableError
from minari.testing.sharing import tree, write_dataset
from support.servers.backends import Backend, only
from support.servers.moving import (
    ID,
    LARGE,
    OVERHEAD,
    PIECE,
    assert_arrives,
    new_files,
    one_by_one,
    put_in_place,
)


pytestmark = pytest.mark.usefixtures("short_pauses")
over_a_network = only(has_network=True)
writable = only(has_network=True, is_writable=True)


@over_a_network
def test_download_resumes_after_each_cut(backend: Backend, uploaded: Path, arrival: Path) -> None:
    for tenth in range(1, 10):
        backend.proxy.break_after(PIECE + OVERHEAD)
        with pytest.raises(RemoteUnreachableError):
            one_by_one(backend).download_dataset(ID, arrival)
        assert put_in_place(arrival) == [], tenth
        backend.proxy.heal()
    backend.proxy.forget()
    assert_arrives(backend, arrival, uploaded)
    assert backend.proxy.bytes_received() < PIECE + 2 * OVERHEAD, "each attempt brought a tenth, and it was kept"


@over_a_network
def test_few_cuts_do_not_end_a_download(backend: Backend, uploaded: Path, arrival: Path) -> None:
    backend.proxy.cut(PIECE // 2, larger_than=PIECE // 2, times=3)
    assert_arrives(backend, arrival, uploaded)


@writable
def test_upload_resumes_after_each_cut(backend: Backend, datasets_root: Path, arrival: Path) -> None:
    directory = write_dataset(datasets_root, ID, files=new_files())
    for tenth in range(1, 10):
        backend.proxy.break_after(PIECE + OVERHEAD, side="request")
        with pytest.raises(RemoteUnreachableError):
            one_by_one(backend).upload_dataset(ID)
        backend.proxy.heal()
        assert ID not in one_by_one(backend).list_datasets(), tenth
    backend.proxy.forget()
    one_by_one(backend).upload_dataset(ID)
    assert backend.proxy.bytes_sent() < PIECE + 2 * OVERHEAD, "each attempt brought a tenth, and it was kept"
    assert_arrives(backend, arrival, directory)


@over_a_network
def test_piece_with_a_flipped_bit_is_downloaded_again(backend: Backend, uploaded: Path, arrival: Path) -> None:
    backend.proxy.flip(100_000, larger_than=PIECE // 2)
    assert_arrives(backend, arrival, uploaded)
    received = backend.proxy.bytes_received()
    assert len(LARGE) + PIECE <= received < len(LARGE) + PIECE + OVERHEAD, "one piece came twice"


@over_a_network
def test_download_that_is_always_damaged_is_an_error(backend: Backend, uploaded: Path, arrival: Path) -> None:
    backend.proxy.flip(100_000, larger_than=PIECE // 2, times=None)
    with pytest.raises(DatasetCorruptError, match="main_data"):
        one_by_one(backend).download_dataset(ID, arrival)
    assert put_in_place(arrival) == []
    backend.proxy.heal()
    assert_arrives(backend, arrival, uploaded)


@over_a_network
def test_manifest_with_a_flipped_bit_is_downloaded_again(backend: Backend, uploaded: Path, arrival: Path) -> None:
    backend.proxy.flip(150, path="manifest.json", method="GET")
    assert_arrives(backend, arrival, uploaded)


@writable
@pytest.mark.parametrize("times", [1, None])
def test_upload_with_flipped_bits_is_sent_again(
    times: int | None, backend: Backend, datasets_root: Path, arrival: Path
) -> None:
    directory = write_dataset(datasets_root, ID, files=new_files())
    backend.proxy.flip(PIECE // 2, side="request", larger_than=PIECE - 1, times=times)
    try:
        one_by_one(backend).upload_dataset(ID)
        assert times == 1
    except RemoteError:
        assert ID not in one_by_one(backend).list_datasets()
        backend.proxy.heal()
        one_by_one(backend).upload_dataset(ID)
    assert_arrives(backend, arrival, directory)


@over_a_network
def test_refused_connection_is_known_within_seconds(backend: Backend, datasets_root: Path, arrival: Path) -> None:
    write_dataset(datasets_root, ID)
    backend.proxy.refuse()
    begun = time.monotonic()
    calls = [
        lambda: one_by_one(backend).download_dataset(ID, arrival),
        lambda: minari.list_remote_datasets(backend.address),
        lambda: one_by_one(backend).upload_dataset(ID),
    ]
    for call in calls if backend.is_writable else calls[:-1]:
        with pytest.raises(RemoteUnreachableError):
            call()
    assert time.monotonic() - begun < 10
    assert tree(arrival) == {}


@over_a_network
def test_server_that_never_answers_is_given_up(
    backend: Backend, uploaded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend.shorten_timeouts(monkeypatch, 0.3)
    backend.proxy.fall_silent()
    begun = time.monotonic()
    with pytest.raises(RemoteUnreachableError):
        minari.list_remote_datasets(backend.address)
    assert time.monotonic() - begun < 10
    backend.proxy.heal()
    assert list(minari.list_remote_datasets(backend.address)) == [ID]
