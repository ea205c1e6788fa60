"""Every kind of remote over a network that fails: what has moved stays, and what came damaged is never put in place."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

import minari
from minari.errors import DatasetCorruptError, RemoteError, RemoteUnreachableError
from minari.testing.sharing import tree, write_dataset
from support.programs import start
from support.servers.backends import Backend, only
from support.servers.moving import (
    DOWNLOAD,
    ID,
    LARGE,
    OVERHEAD,
    PIECE,
    new_files,
    one_by_one,
    put_in_place,
    same,
    upload_in_pieces,
)


pytestmark = pytest.mark.usefixtures("short_pauses")


@pytest.fixture
def uploaded(datasets_root: Path, backend: Backend) -> Path:
    """The directory of a local dataset with one large file, which is on the remote too."""
    directory = write_dataset(datasets_root, ID, files={"data/main_data.hdf5": LARGE})
    upload_in_pieces(backend)
    return directory


class TestCuts:
    @only(has_network=True)
    def test_a_download_that_is_cut_at_every_tenth(self, backend: Backend, uploaded: Path, arrival: Path) -> None:
        remote = one_by_one(backend)
        for tenth in range(1, 10):
            backend.proxy.break_after(PIECE + OVERHEAD)
            with pytest.raises(RemoteUnreachableError):
                remote.download_dataset(ID, arrival)
            assert put_in_place(arrival) == [], tenth
            backend.proxy.heal()
        backend.proxy.forget()
        remote.download_dataset(ID, arrival)
        assert same(arrival / ID, uploaded)
        assert backend.proxy.bytes_received() < PIECE + 2 * OVERHEAD, "each attempt brought a tenth, and it was kept"

    @only(has_network=True)
    def test_another_process_goes_on_with_a_download(self, backend: Backend, uploaded: Path, arrival: Path) -> None:
        backend.proxy.break_after(4 * PIECE + OVERHEAD)
        program = start(DOWNLOAD, backend.address, str(arrival), "1")
        _, err = program.communicate(timeout=60)
        assert program.returncode == 1
        assert "RemoteUnreachableError" in err
        assert put_in_place(arrival) == []
        backend.proxy.heal()
        backend.proxy.forget()
        one_by_one(backend).download_dataset(ID, arrival)
        assert same(arrival / ID, uploaded)
        assert backend.proxy.bytes_received() < 6 * PIECE + OVERHEAD

    @only(has_network=True)
    def test_a_connection_that_is_cut_once_is_nobodys_affair(
        self, backend: Backend, uploaded: Path, arrival: Path
    ) -> None:
        backend.proxy.cut(PIECE // 2, larger_than=PIECE // 2, times=3)
        backend.remote().download_dataset(ID, arrival)
        assert same(arrival / ID, uploaded)

    @only(has_network=True, is_writable=True)
    def test_an_upload_that_is_cut_at_every_tenth(self, backend: Backend, datasets_root: Path, arrival: Path) -> None:
        remote = one_by_one(backend)
        directory = write_dataset(datasets_root, ID, files=new_files())
        for tenth in range(1, 10):
            backend.proxy.break_after(PIECE + OVERHEAD, side="request")
            with pytest.raises(RemoteUnreachableError):
                remote.upload_dataset(ID)
            backend.proxy.heal()
            assert ID not in remote.list_datasets(), tenth
        backend.proxy.forget()
        remote.upload_dataset(ID)
        assert backend.proxy.bytes_sent() < PIECE + 2 * OVERHEAD, "each attempt brought a tenth, and it was kept"
        remote.download_dataset(ID, arrival)
        assert same(arrival / ID, directory)


class TestFlippedBits:
    @only(has_network=True)
    def test_once_in_a_download(self, backend: Backend, uploaded: Path, arrival: Path) -> None:
        backend.proxy.flip(100_000, larger_than=PIECE // 2)
        one_by_one(backend).download_dataset(ID, arrival)
        assert same(arrival / ID, uploaded)
        received = backend.proxy.bytes_received()
        assert len(LARGE) + PIECE <= received < len(LARGE) + PIECE + OVERHEAD, "one piece came twice"

    @only(has_network=True)
    def test_always_in_a_download(self, backend: Backend, uploaded: Path, arrival: Path) -> None:
        backend.proxy.flip(100_000, larger_than=PIECE // 2, times=None)
        with pytest.raises(DatasetCorruptError, match="main_data"):
            one_by_one(backend).download_dataset(ID, arrival)
        assert put_in_place(arrival) == []
        backend.proxy.heal()
        one_by_one(backend).download_dataset(ID, arrival)
        assert same(arrival / ID, uploaded)

    @only(has_network=True)
    def test_in_a_manifest(self, backend: Backend, datasets_root: Path, arrival: Path) -> None:
        directory = write_dataset(datasets_root, ID)
        backend.upload(ID, max_workers=1)
        backend.proxy.flip(150, path="manifest.json", method="GET")
        one_by_one(backend).download_dataset(ID, arrival)
        assert same(arrival / ID, directory)

    @only(has_network=True, is_writable=True)
    def test_once_in_an_upload(self, backend: Backend, datasets_root: Path, arrival: Path) -> None:
        directory = write_dataset(datasets_root, ID, files=new_files())
        backend.proxy.flip(PIECE // 2, side="request", larger_than=PIECE - 1)
        try:
            one_by_one(backend).upload_dataset(ID)
        except RemoteError:
            assert ID not in one_by_one(backend).list_datasets()
            one_by_one(backend).upload_dataset(ID)
        one_by_one(backend).download_dataset(ID, arrival)
        assert same(arrival / ID, directory)

    @only(has_network=True, is_writable=True)
    def test_always_in_an_upload(self, backend: Backend, datasets_root: Path, arrival: Path) -> None:
        directory = write_dataset(datasets_root, ID, files=new_files())
        backend.proxy.flip(PIECE // 2, side="request", larger_than=PIECE - 1, times=None)
        with pytest.raises(RemoteError):
            one_by_one(backend).upload_dataset(ID)
        assert ID not in one_by_one(backend).list_datasets()
        backend.proxy.heal()
        one_by_one(backend).upload_dataset(ID)
        one_by_one(backend).download_dataset(ID, arrival)
        assert same(arrival / ID, directory)


class TestDeadServers:
    @only(has_network=True)
    def test_one_that_refuses(self, backend: Backend, datasets_root: Path, arrival: Path) -> None:
        write_dataset(datasets_root, ID)
        backend.proxy.refuse()
        begun = time.monotonic()
        with pytest.raises(RemoteUnreachableError):
            one_by_one(backend).download_dataset(ID, arrival)
        with pytest.raises(RemoteUnreachableError):
            minari.list_remote_datasets(backend.address)
        if backend.is_writable:
            with pytest.raises(RemoteUnreachableError):
                one_by_one(backend).upload_dataset(ID)
        assert time.monotonic() - begun < 10
        assert tree(arrival) == {}
