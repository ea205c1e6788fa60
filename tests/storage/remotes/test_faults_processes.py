"""Every kind of remote when programs are killed, meet each other, or find no room."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from minari.errors import RemoteError
from minari.storage.transfer.manifest import MANIFEST_NAME
from minari.testing.sharing import tree, visible, write_dataset
from support.programs import start
from support.servers.backends import Backend, only
from support.servers.moving import (
    DOWNLOAD,
    ID,
    LARGE,
    OVERHEAD,
    PIECE,
    UPLOAD,
    kill_when,
    new_files,
    one_by_one,
    put_in_place,
    same,
    upload_in_pieces,
)


pytestmark = pytest.mark.usefixtures("short_pauses")

KILLED_BY_ITSELF = """
import os, resource, signal, sys
from pathlib import Path
from minari.progress import observe_progress
from minari.storage.remotes import get_cloud_storage
from minari.testing.sharing import Interference

address, action, how, *to = sys.argv[1:]
if how == "while it writes":  # the system ends whoever writes more than this into a file
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
remote = get_cloud_storage(address, max_workers=1)
after = 1 << 18 << (2 if how == "between two steps" else 9)  # bytes
with observe_progress(Interference(lambda: os.kill(os.getpid(), signal.SIGKILL), after, action)):
    remote.upload_dataset("lab/x-v0") if action == "uploading" else remote.download_dataset("lab/x-v0", Path(to[0]))
"""
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of files")


@pytest.fixture
def uploaded(datasets_root: Path, backend: Backend) -> Path:
    """The directory of a local dataset with one large file, which is on the remote too."""
    directory = write_dataset(datasets_root, ID, files={"data/main_data.hdf5": LARGE})
    upload_in_pieces(backend)
    return directory


class TestKilledOverANetwork:
    @only(has_network=True)
    def test_in_the_middle_of_a_download(self, backend: Backend, uploaded: Path, arrival: Path) -> None:
        backend.proxy.delay = 0.03
        program = start(DOWNLOAD, backend.address, str(arrival), "1")
        kill_when(lambda: backend.proxy.bytes_received() > 4 * PIECE + OVERHEAD, program)
        backend.proxy.heal()
        backend.proxy.forget()
        assert put_in_place(arrival) == []
        one_by_one(backend).download_dataset(ID, arrival)
        assert same(arrival / ID, uploaded)
        assert backend.proxy.bytes_received() < 7 * PIECE
        assert tree(arrival) == visible(arrival), "nothing hidden stays"

    @only(has_network=True, is_writable=True)
    def test_in_the_middle_of_an_upload(self, backend: Backend, datasets_root: Path, arrival: Path) -> None:
        directory = write_dataset(datasets_root, ID, files=new_files())
        backend.proxy.delay = 0.03
        program = start(UPLOAD, backend.address, backend.token or "")
        kill_when(lambda: backend.proxy.bytes_sent() > (4 * PIECE) + OVERHEAD, program)
        backend.proxy.heal()
        backend.proxy.forget()
        assert ID not in one_by_one(backend).list_datasets()
        one_by_one(backend).upload_dataset(ID)
        assert backend.proxy.bytes_sent() < 8 * PIECE
        one_by_one(backend).download_dataset(ID, arrival)
        assert same(arrival / ID, directory)


class TestKilledWhileAFileIsSentInParts:
    """Files that the library sends in several requests; the parts are as small as each store allows."""

    @only("gcs")
    def test_parts_that_are_there_are_not_sent_again(
        self, backend: Backend, datasets_root: Path, arrival: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from minari.storage.remotes import gcp

        part = 1 << 16
        program = f"from minari.storage.remotes import gcp\ngcp.PART_SIZE = {part}\n{UPLOAD}"
        directory = write_dataset(datasets_root, ID, files={"data/main_data.hdf5": os.urandom(40 * part + 1)})
        backend.proxy.delay = 0.01
        kill_when(lambda: backend.proxy.bytes_sent() > 20 * part, start(program, backend.address, ""))
        backend.proxy.heal()
        backend.proxy.forget()
        monkeypatch.setattr(gcp, "PART_SIZE", part)
        assert one_by_one(backend).list_datasets() == []
        one_by_one(backend).upload_dataset(ID)
        assert backend.proxy.bytes_sent() < 22 * part + OVERHEAD
        one_by_one(backend).download_dataset(ID, arrival)
        assert same(arrival / ID, directory)
        assert not [name for name in backend.files() if name.startswith(".uploads/")], "no part stays"

    @only("s3")
    def test_files_that_are_there_are_not_sent_again(
        self, backend: Backend, datasets_root: Path, arrival: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Parts that a client has left are not there for any other: of a file, the store tells all or nothing."""
        from minari.storage.remotes import s3

        part = 1 << 20
        program = f"from minari.storage.remotes import s3\ns3._PART = {part}\n{UPLOAD}"
        size = 5 * part + 1
        files = {f"data/{number}.hdf5": os.urandom(size) for number in range(2)}
        directory = write_dataset(datasets_root, ID, files=files)
        backend.proxy.delay = 0.02
        kill_when(lambda: backend.proxy.bytes_sent() > size + 2 * part, start(program, backend.address, ""))
        backend.proxy.heal()
        backend.proxy.forget()
        monkeypatch.setattr(s3, "_PART", part)
        assert one_by_one(backend).list_datasets() == []
        assert set(backend.files()) == {f"{ID}/{MANIFEST_NAME}", f"{ID}/data/0.hdf5"}
        one_by_one(backend).upload_dataset(ID)
        assert backend.proxy.bytes_sent() < size + OVERHEAD, "only the file that was not complete"
        one_by_one(backend).download_dataset(ID, arrival)
        assert same(arrival / ID, directory)


@POSIX
@only("file")
@pytest.mark.parametrize("how", ["between two steps", "while it writes"])
class TestKilledOnASharedDirectory:
    def test_in_the_middle_of_a_download(self, how: str, backend: Backend, uploaded: Path, arrival: Path) -> None:
        program = start(KILLED_BY_ITSELF, backend.address, "downloading", how, str(arrival))
        _, err = program.communicate(timeout=60)
        assert program.returncode == (-signal.SIGKILL if how == "between two steps" else -signal.SIGXFSZ), err
        assert put_in_place(arrival) == []
        backend.put(f"{ID}/data/main_data.hdf5", bytes(3 * PIECE) + LARGE[3 * PIECE :])
        one_by_one(backend).download_dataset(ID, arrival)
        assert same(arrival / ID, uploaded), "what has come is not read again, or zeros would have come"
        assert tree(arrival) == visible(arrival), "nothing hidden stays"

    def test_in_the_middle_of_an_upload(
        self, how: str, backend: Backend, datasets_root: Path, arrival: Path, tmp_path: Path
    ) -> None:
        files = new_files() | {"data/part-4.hdf5": LARGE}
        directory = write_dataset(datasets_root, ID, files=files)
        program = start(KILLED_BY_ITSELF, backend.address, "uploading", how)
        _, err = program.communicate(timeout=60)
        assert program.returncode == (-signal.SIGKILL if how == "between two steps" else -signal.SIGXFSZ), err
        assert backend.remote().list_datasets() == []
        served = tmp_path / "served" / "lab"
        copies = {path.name: path.stat() for path in served.rglob("part-[0-3].hdf5")}
        assert len(copies) == 4
        backend.upload(ID)
        for path in (served / "x-v0").rglob("part-[0-3].hdf5"):
            found = path.stat()
            assert (found.st_ino, found.st_mtime_ns) == (copies[path.name].st_ino, copies[path.name].st_mtime_ns)
        backend.remote().download_dataset(ID, arrival)
        assert same(arrival / ID, directory)
        assert not [name for name in backend.files() if "/." in name], "nothing hidden stays"


class TestTwoAtOnce:
    def test_downloading_the_same(self, backend: Backend, uploaded: Path, arrival: Path) -> None:
        if backend.has_network:
            backend.proxy.delay = 0.02
        programs = [start(DOWNLOAD, backend.address, str(arrival), "4") for _ in range(2)]
        errors = [program.communicate(timeout=60)[1] for program in programs]
        assert [program.returncode for program in programs] == [0, 0], errors
        assert same(arrival / ID, uploaded)
        if backend.has_network:
            assert backend.proxy.bytes_received() < len(LARGE) + 2 * OVERHEAD, "one of them waits"
        assert tree(arrival) == visible(arrival)

    @only("gcs")
    def test_downloading_the_same_by_the_command(
        self, backend: Backend, uploaded: Path, arrival: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MINARI_DATASETS_PATH", str(arrival))
        backend.proxy.delay = 0.02
        command = [sys.executable, "-m", "minari", "download", ID, "--remote", backend.address]
        programs = [
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for _ in range(2)
        ]
        said = [program.communicate(timeout=60)[0] for program in programs]
        assert [program.returncode for program in programs] == [0, 0], said
        assert sum(f"downloaded to {arrival}" in each for each in said) >= 1, said
        assert same(arrival / ID, uploaded)
        assert backend.proxy.bytes_received() < len(LARGE) + 2 * OVERHEAD, "one of them waits"
        assert tree(arrival) == visible(arrival)

    @only(is_writable=True)
    def test_uploading_the_same(self, backend: Backend, datasets_root: Path, arrival: Path) -> None:
        directory = write_dataset(datasets_root, ID, files=new_files(3))
        if backend.has_network:
            backend.proxy.delay = 0.1
        programs = [start(UPLOAD, backend.address, backend.token or "") for _ in range(2)]
        errors = [program.communicate(timeout=60)[1] for program in programs]
        assert sorted(program.returncode for program in programs) == [0, 1], errors
        assert sum("DatasetExistsError" in each for each in errors) == 1, errors
        assert backend.remote().list_datasets() == [ID]
        backend.remote().download_dataset(ID, arrival)
        assert same(arrival / ID, directory)
        assert not [name for name in backend.files() if "/." in name], "nothing hidden stays"


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


@POSIX
class TestNoRoom:
    """The system refuses to write more, as it does on a full disk: while a file grows, not when one is renamed."""

    def test_for_a_download(self, backend: Backend, uploaded: Path, arrival: Path) -> None:
        with full_disk(), pytest.raises(OSError, match=r"[Ll]arge|[Ss]pace"):
            one_by_one(backend).download_dataset(ID, arrival)
        assert put_in_place(arrival) == []
        one_by_one(backend).download_dataset(ID, arrival)
        assert same(arrival / ID, uploaded)

    @only("file")
    def test_for_an_upload(self, backend: Backend, datasets_root: Path, arrival: Path) -> None:
        directory = write_dataset(datasets_root, ID, files=new_files() | {"data/part-4.hdf5": LARGE})
        with full_disk(), pytest.raises(RemoteError, match="has room"):
            backend.upload(ID)
        assert backend.remote().list_datasets() == []
        assert put_in_place(Path(backend.address.removeprefix("file://"))) == []
        backend.upload(ID)
        backend.remote().download_dataset(ID, arrival)
        assert same(arrival / ID, directory)
