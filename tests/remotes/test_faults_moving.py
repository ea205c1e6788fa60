"""Every kind of remote over a network that fails: what has moved stays, and what came damaged is never put in place."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import minari
from minari.errors import DatasetCorruptError, RemoteError, RemoteUnreachableError
from minari.storage.remotes import CloudStorage
from minari.storage.transfer.checksums import checksum_of
from minari.storage.transfer.manifest import MANIFEST_NAME, Manifest, ManifestFile
from minari.testing.sharing import tree, visible, write_dataset
from support.programs import start
from support.servers.backends import Backend


pytestmark = pytest.mark.usefixtures("short_pauses")

ID = "lab/x-v0"
PIECE = 1 << 18  # bytes: small enough that ten of them move in no time, larger than OVERHEAD
LARGE = np.random.default_rng(0).bytes(10 * PIECE)
OVERHEAD = 100_000  # bytes: listings, manifests, metadata, more than there ever are

DOWNLOAD = """
import sys
from minari import download_dataset
from minari.storage.transfer import retries
retries._FIRST_PAUSE = 0.01
download_dataset("lab/x-v0", remote=sys.argv[1], root=sys.argv[2], max_workers=int(sys.argv[3]))
"""
UPLOAD = """
import sys
from minari.storage.remotes import get_cloud_storage
from minari.storage.transfer import retries
retries._FIRST_PAUSE = 0.01
get_cloud_storage(sys.argv[1], sys.argv[2] or None, max_workers=1).upload_dataset("lab/x-v0")
"""


@pytest.fixture
def arrival(tmp_path: Path) -> Path:
    folder = tmp_path / "arrival"
    folder.mkdir()
    return folder


@pytest.fixture
def source(datasets_root: Path) -> Path:
    """The folder of a local dataset with one large file."""
    return write_dataset(datasets_root, ID, files={"data/main_data.hdf5": LARGE})


@pytest.fixture
def uploaded(source: Path, backend: Backend) -> Path:
    """The same, now on the remote too, with a manifest of small pieces."""
    backend.upload(ID)
    manifest = Manifest.parse(backend.files()[f"{ID}/{MANIFEST_NAME}"], "it")
    pieces = tuple(checksum_of(LARGE[at : at + PIECE], "sha256").value for at in range(0, len(LARGE), PIECE))
    large = ManifestFile(len(LARGE), checksum_of(LARGE, "sha256").value, pieces)
    smaller = replace(manifest, files={**manifest.files, "data/main_data.hdf5": large}, piece_size=PIECE)
    backend.put(f"{ID}/{MANIFEST_NAME}", smaller.dump())
    backend.proxy.forget()
    return source


def new_files() -> dict[str, bytes]:
    """Ten that no server has ever seen."""
    return {f"data/part-{number}.hdf5": os.urandom(PIECE) for number in range(10)}


@pytest.fixture
def writable(backend: Backend) -> Backend:
    if not backend.is_writable:
        pytest.skip("nothing can be uploaded to it")
    return backend


def one_by_one(backend: Backend) -> CloudStorage:
    """One piece after another, so that what has come can be counted."""
    return backend.remote(max_workers=1)


def put_in_place(root: Path) -> list[str]:
    """The files that are not hidden."""
    return [name for name, content in visible(root).items() if content is not None]


def same(one: Path, other: Path) -> bool:
    return tree(one) == tree(other)


class TestCuts:
    def test_a_download_goes_on_where_it_was_cut(self, backend: Backend, uploaded: Path, tmp_path: Path) -> None:
        remote = one_by_one(backend)
        for tenth in range(1, 10):
            arrival = tmp_path / str(tenth)
            arrival.mkdir()
            backend.proxy.break_after(tenth * PIECE + OVERHEAD)
            with pytest.raises(RemoteUnreachableError):
                remote.download_dataset(ID, arrival)
            assert put_in_place(arrival) == [], tenth
            backend.proxy.heal()
            backend.proxy.forget()
            remote.download_dataset(ID, arrival)
            assert same(arrival / ID, uploaded)
            assert backend.proxy.bytes_received() < (10 - tenth) * PIECE + 2 * OVERHEAD, tenth

    def test_other_processes_go_on_with_a_download(self, backend: Backend, uploaded: Path, arrival: Path) -> None:
        for _ in range(2):
            backend.proxy.break_after(3 * PIECE + OVERHEAD)
            program = start(DOWNLOAD, backend.address, str(arrival), "1")
            _, err = program.communicate(timeout=60)
            assert program.returncode == 1
            assert "RemoteUnreachableError" in err
            assert put_in_place(arrival) == []
            backend.proxy.heal()
        program = start(DOWNLOAD, backend.address, str(arrival), "1")
        _, err = program.communicate(timeout=60)
        assert program.returncode == 0, err
        assert same(arrival / ID, uploaded)
        assert backend.proxy.bytes_received() < len(LARGE) + 2 * PIECE + 4 * OVERHEAD

    def test_a_connection_that_is_cut_once_is_nobodys_affair(
        self, backend: Backend, uploaded: Path, arrival: Path
    ) -> None:
        backend.proxy.cut(PIECE // 2, larger_than=PIECE // 2, times=3)
        backend.remote().download_dataset(ID, arrival)
        assert same(arrival / ID, uploaded)

    def test_an_upload_goes_on_where_it_was_cut(self, writable: Backend, datasets_root: Path, tmp_path: Path) -> None:
        remote = one_by_one(writable)
        for tenth in range(1, 10):
            dataset_id = f"lab/x-v{tenth}"
            folder = write_dataset(datasets_root, dataset_id, files=new_files())
            writable.proxy.break_after(tenth * PIECE + OVERHEAD, side="request")
            with pytest.raises(RemoteUnreachableError):
                remote.upload_dataset(dataset_id)
            writable.proxy.heal()
            assert dataset_id not in remote.list_datasets()
            writable.proxy.forget()
            remote.upload_dataset(dataset_id)
            assert writable.proxy.bytes_sent() < (10 - tenth) * PIECE + 2 * OVERHEAD, tenth
            remote.download_dataset(dataset_id, tmp_path)
            assert same(tmp_path / dataset_id, folder)


class TestFlippedBits:
    def test_once_in_a_download(self, backend: Backend, uploaded: Path, arrival: Path) -> None:
        backend.proxy.flip(100_000, larger_than=PIECE // 2)
        one_by_one(backend).download_dataset(ID, arrival)
        assert same(arrival / ID, uploaded)
        received = backend.proxy.bytes_received()
        assert len(LARGE) + PIECE <= received < len(LARGE) + PIECE + OVERHEAD, "one piece came twice"

    def test_always_in_a_download(self, backend: Backend, uploaded: Path, arrival: Path) -> None:
        backend.proxy.flip(100_000, larger_than=PIECE // 2, times=None)
        with pytest.raises(DatasetCorruptError, match="main_data"):
            one_by_one(backend).download_dataset(ID, arrival)
        assert put_in_place(arrival) == []
        backend.proxy.heal()
        one_by_one(backend).download_dataset(ID, arrival)
        assert same(arrival / ID, uploaded)

    def test_in_a_manifest(self, backend: Backend, datasets_root: Path, arrival: Path) -> None:
        folder = write_dataset(datasets_root, ID)
        backend.upload(ID)
        backend.proxy.flip(150, path="manifest.json", method="GET")
        one_by_one(backend).download_dataset(ID, arrival)
        assert same(arrival / ID, folder)

    def test_once_in_an_upload(self, writable: Backend, datasets_root: Path, arrival: Path) -> None:
        folder = write_dataset(datasets_root, ID, files=new_files())
        writable.proxy.flip(PIECE // 2, side="request", larger_than=PIECE - 1)
        try:
            one_by_one(writable).upload_dataset(ID)
        except RemoteError:
            assert ID not in one_by_one(writable).list_datasets()
            one_by_one(writable).upload_dataset(ID)
        one_by_one(writable).download_dataset(ID, arrival)
        assert same(arrival / ID, folder)

    def test_always_in_an_upload(self, writable: Backend, datasets_root: Path, arrival: Path) -> None:
        folder = write_dataset(datasets_root, ID, files=new_files())
        writable.proxy.flip(PIECE // 2, side="request", larger_than=PIECE - 1, times=None)
        with pytest.raises(RemoteError):
            one_by_one(writable).upload_dataset(ID)
        assert ID not in one_by_one(writable).list_datasets()
        writable.proxy.heal()
        one_by_one(writable).upload_dataset(ID)
        one_by_one(writable).download_dataset(ID, arrival)
        assert same(arrival / ID, folder)


def wait_until(condition: Callable[[], bool], program: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert program.poll() is None, program.communicate()
        assert time.monotonic() < end, "nothing moves"
        time.sleep(0.002)


class TestKilledPrograms:
    def test_in_the_middle_of_a_download(self, backend: Backend, uploaded: Path, arrival: Path) -> None:
        backend.proxy.delay = 0.03
        program = start(DOWNLOAD, backend.address, str(arrival), "1")
        wait_until(lambda: backend.proxy.bytes_received() > 4 * PIECE + OVERHEAD, program)
        program.kill()
        program.communicate()
        backend.proxy.heal()
        backend.proxy.forget()
        assert put_in_place(arrival) == []
        one_by_one(backend).download_dataset(ID, arrival)
        assert same(arrival / ID, uploaded)
        assert backend.proxy.bytes_received() < 7 * PIECE
        assert tree(arrival) == visible(arrival), "nothing hidden stays"

    def test_in_the_middle_of_an_upload(self, writable: Backend, datasets_root: Path, arrival: Path) -> None:
        folder = write_dataset(datasets_root, ID, files=new_files())
        writable.proxy.delay = 0.03
        program = start(UPLOAD, writable.address, writable.token or "")
        wait_until(lambda: writable.proxy.bytes_sent() > (4 * PIECE) + OVERHEAD, program)
        program.kill()
        program.communicate()
        writable.proxy.heal()
        writable.proxy.forget()
        assert ID not in one_by_one(writable).list_datasets()
        one_by_one(writable).upload_dataset(ID)
        assert writable.proxy.bytes_sent() < 8 * PIECE
        one_by_one(writable).download_dataset(ID, arrival)
        assert same(arrival / ID, folder)


def test_two_processes_download_the_same(backend: Backend, uploaded: Path, arrival: Path) -> None:
    backend.proxy.delay = 0.02
    programs = [start(DOWNLOAD, backend.address, str(arrival), "4") for _ in range(2)]
    errors = [program.communicate(timeout=60)[1] for program in programs]
    assert [program.returncode for program in programs] == [0, 0], errors
    assert same(arrival / ID, uploaded)
    assert backend.proxy.bytes_received() < len(LARGE) + 2 * OVERHEAD, "one of them waits"
    assert tree(arrival) == visible(arrival)


@contextmanager
def full_disk() -> Iterator[None]:
    """No file can grow beyond 1 MB."""
    import resource

    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of files")
def test_a_full_disk(backend: Backend, uploaded: Path, arrival: Path) -> None:
    with full_disk(), pytest.raises(OSError, match=r"[Ll]arge|[Ss]pace"):
        backend.remote().download_dataset(ID, arrival)
    assert put_in_place(arrival) == []
    one_by_one(backend).download_dataset(ID, arrival)
    assert same(arrival / ID, uploaded)


class TestDeadServers:
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
