"""Every kind of remote when programs are killed, meet each other, or find no room."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from minari._model.manifest import MANIFEST_NAME
from minari.errors import RemoteError
from minari.testing.sharing import write_dataset
from support.programs import start
from support.servers.backends import Backend, only
from support.servers.moving import (
    DOWNLOAD,
    ID,
    LARGE,
    OVERHEAD,
    PIECE,
    UPLOAD,
    assert_arrives,
    assert_same,
    kill_when,
    new_files,
    put_in_place,
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
HOW = pytest.mark.parametrize("how", ["between two steps", "while it writes"])


def no_hidden_files(backend: Backend) -> bool:
    return not [name for name in backend.files() if name.startswith(".") or "/." in name]


@only(has_network=True)
def test_killed_download_resumes(backend: Backend, uploaded: Path, arrival: Path) -> None:
    backend.proxy.delay = 0.03
    program = start(DOWNLOAD, backend.address, str(arrival), "1")
    kill_when(lambda: backend.proxy.bytes_received() > 4 * PIECE + OVERHEAD, program)
    backend.proxy.heal()
    backend.proxy.forget()
    assert put_in_place(arrival) == []
    assert_arrives(backend, arrival, uploaded)
    assert backend.proxy.bytes_received() < 7 * PIECE


def kill_upload(backend: Backend, program: str, sent: int, delay: float) -> None:
    backend.proxy.delay = delay
    kill_when(lambda: backend.proxy.bytes_sent() > sent, start(program, backend.address, backend.token or ""))
    backend.proxy.heal()
    backend.proxy.forget()
    assert ID not in backend.remote(max_workers=1).list_datasets()


@only(has_network=True, is_writable=True)
def test_killed_upload_resumes(backend: Backend, datasets_root: Path, arrival: Path) -> None:
    directory = write_dataset(datasets_root, ID, files=new_files())
    kill_upload(backend, UPLOAD, 4 * PIECE + OVERHEAD, 0.03)
    backend.upload(ID, max_workers=1)
    assert backend.proxy.bytes_sent() < 8 * PIECE
    assert_arrives(backend, arrival, directory)


@only("gcs")
def test_killed_upload_in_parts_resumes_with_the_missing_parts(
    backend: Backend, datasets_root: Path, arrival: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = 1 << 16
    directory = write_dataset(datasets_root, ID, files={"data/main_data.hdf5": os.urandom(40 * part + 1)})
    program = f"from minari.storage.remotes import gcp\ngcp.PART_SIZE = {part}\n{UPLOAD}"
    kill_upload(backend, program, 20 * part, 0.01)
    monkeypatch.setattr("minari.storage.remotes.gcp.PART_SIZE", part)
    backend.upload(ID, max_workers=1)
    assert backend.proxy.bytes_sent() < 22 * part + OVERHEAD
    assert_arrives(backend, arrival, directory)
    assert no_hidden_files(backend)


@only("s3")
def test_killed_upload_in_parts_resumes_with_the_incomplete_file(
    backend: Backend, datasets_root: Path, arrival: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts that a client has left are not there for any other: of a file, the store tells all or nothing."""
    part = 1 << 20  # as small as the store allows
    size = 5 * part + 1
    directory = write_dataset(datasets_root, ID, files={f"data/{number}.hdf5": os.urandom(size) for number in range(2)})
    program = f"from minari.storage.remotes import s3\ns3.PART_SIZE = {part}\n{UPLOAD}"
    kill_upload(backend, program, size + 2 * part, 0.02)
    monkeypatch.setattr("minari.storage.remotes.s3.PART_SIZE", part)
    assert set(backend.files()) == {f"{ID}/{MANIFEST_NAME}", f"{ID}/data/0.hdf5"}
    backend.upload(ID, max_workers=1)
    assert backend.proxy.bytes_sent() < size + OVERHEAD
    assert_arrives(backend, arrival, directory)


def run_until_killed(backend: Backend, action: str, how: str, *arguments: str) -> None:
    program = start(KILLED_BY_ITSELF, backend.address, action, how, *arguments)
    _, err = program.communicate(timeout=60)
    assert program.returncode == (-signal.SIGKILL if how == "between two steps" else -signal.SIGXFSZ), err


@POSIX
@HOW
@only("file")
def test_killed_download_from_a_directory_resumes(how: str, backend: Backend, uploaded: Path, arrival: Path) -> None:
    run_until_killed(backend, "downloading", how, str(arrival))
    assert put_in_place(arrival) == []
    # What has come is not read again, or zeros would come.
    backend.put(f"{ID}/data/main_data.hdf5", bytes(3 * PIECE) + LARGE[3 * PIECE :])
    assert_arrives(backend, arrival, uploaded)


@POSIX
@HOW
@only("file")
def test_killed_upload_to_a_directory_resumes(
    how: str, backend: Backend, datasets_root: Path, arrival: Path, tmp_path: Path
) -> None:
    directory = write_dataset(datasets_root, ID, files=new_files() | {"data/part-4.hdf5": LARGE})
    run_until_killed(backend, "uploading", how)
    assert backend.remote().list_datasets() == []
    served = tmp_path / "served" / "lab"

    def copies(root: Path) -> dict[str, tuple[int, int]]:
        parts = {path.name: path.stat() for path in root.rglob("part-[0-3].hdf5")}
        return {name: (found.st_ino, found.st_mtime_ns) for name, found in parts.items()}

    before = copies(served)
    assert len(before) == 4
    backend.upload(ID)
    assert copies(served / "x-v0") == before
    assert_arrives(backend, arrival, directory)
    assert no_hidden_files(backend)


def test_one_of_two_that_download_the_same_waits(backend: Backend, uploaded: Path, arrival: Path) -> None:
    if backend.has_network:
        backend.proxy.delay = 0.02
    programs = [start(DOWNLOAD, backend.address, str(arrival), "4") for _ in range(2)]
    errors = [program.communicate(timeout=60)[1] for program in programs]
    assert [program.returncode for program in programs] == [0, 0], errors
    if backend.has_network:
        assert backend.proxy.bytes_received() < len(LARGE) + 2 * OVERHEAD
    assert_same(arrival, uploaded)


@only(is_writable=True)
def test_one_of_two_that_upload_the_same_succeeds(backend: Backend, datasets_root: Path, arrival: Path) -> None:
    directory = write_dataset(datasets_root, ID, files=new_files(3))
    if backend.has_network:
        backend.proxy.delay = 0.1
    programs = [start(UPLOAD, backend.address, backend.token or "") for _ in range(2)]
    errors = [program.communicate(timeout=60)[1] for program in programs]
    assert sorted(program.returncode for program in programs) == [0, 1], errors
    assert sum("DatasetExistsError" in each for each in errors) == 1, errors
    assert backend.remote().list_datasets() == [ID]
    assert_arrives(backend, arrival, directory)
    assert no_hidden_files(backend)


@contextmanager
def full_disk() -> Iterator[None]:
    """No file can grow beyond 1 MB, as on a full disk: writing is refused, not renaming."""
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
def test_download_without_room_can_be_repeated(backend: Backend, uploaded: Path, arrival: Path) -> None:
    with full_disk(), pytest.raises(OSError, match=r"[Ll]arge|[Ss]pace"):
        backend.remote(max_workers=1).download_dataset(ID, arrival)
    assert put_in_place(arrival) == []
    assert_arrives(backend, arrival, uploaded)


@POSIX
@only("file")
def test_upload_without_room_can_be_repeated(backend: Backend, datasets_root: Path, arrival: Path) -> None:
    directory = write_dataset(datasets_root, ID, files=new_files() | {"data/part-4.hdf5": LARGE})
    with full_disk(), pytest.raises(RemoteError, match="has room"):
        backend.upload(ID)
    assert backend.remote().list_datasets() == []
    assert put_in_place(Path(backend.address.removeprefix("file://"))) == []
    backend.upload(ID)
    assert_arrives(backend, arrival, directory)
