"""Files are opened beneath their directory only, and read up to a limit."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from pathlib import Path
from typing import Protocol

import pytest

from minari._base.files import Directory, FilesBeneath, open_regular, read_regular, relative_parts
from minari.errors import UnsafePathError


posix = pytest.mark.skipif(sys.platform == "win32", reason="links and pipes of POSIX")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory with files in it, and one outside."""
    inside = tmp_path / "inside"
    (inside / "deep").mkdir(parents=True)
    (inside / "deep" / "file").write_bytes(b"deep")
    (inside / "file").write_bytes(b"content")
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").write_bytes(b"secret")
    return inside


class Reading(Protocol):
    def __call__(self, directory: Path, name: str, limit: int = 100) -> bytes: ...


@pytest.fixture(params=[Directory, FilesBeneath])
def read(request: pytest.FixtureRequest) -> Reading:
    """Read a file beneath a directory, in each of the ways to open it."""

    def reading(directory: Path, name: str, limit: int = 100) -> bytes:
        with request.param(str(directory)) as opened:
            content: bytes = opened.read(name, limit)
            return content

    return reading


@pytest.mark.parametrize("name", ["a", "a/b", "..a", "a..b/c", " ", "é/ü"])
def test_relative_parts_accepts_plain_names(name: str) -> None:
    assert "/".join(relative_parts(name)) == name


@pytest.mark.parametrize(
    "name",
    ["", "/", "/etc/passwd", ".", "..", "a/..", "../a", "a//b", "a/", "...", "a\\b", "C:a", "a\0b", "a/./b", None, 3],
)
def test_relative_parts_refuses_names_that_may_lead_out(name: str) -> None:
    with pytest.raises(UnsafePathError, match="plain relative name"):
        relative_parts(name)


def test_directory_reads_files_beneath_it(read: Reading, directory: Path) -> None:
    assert read(directory, "file") == b"content"
    assert read(directory, "deep/file") == b"deep"


@pytest.mark.parametrize("name", ["missing", "deep/missing", "missing/file"])
def test_directory_says_what_is_missing(read: Reading, directory: Path, name: str) -> None:
    with pytest.raises(FileNotFoundError):
        read(directory, name)


def test_directory_refuses_a_file_as_a_directory(read: Reading, directory: Path) -> None:
    with pytest.raises(NotADirectoryError):
        read(directory, "file/inner")


def test_directory_refuses_a_directory_as_a_file(read: Reading, directory: Path) -> None:
    with pytest.raises(UnsafePathError, match="is a directory"):
        read(directory, "deep")


@posix
@pytest.mark.parametrize("target", ["../secret", "{outside}/secret", "/etc/passwd"])
def test_directory_follows_no_link_out(read: Reading, directory: Path, target: str) -> None:
    (directory / "link").symlink_to(target.format(outside=directory.parent))
    with pytest.raises(UnsafePathError, match="leads out of"):
        read(directory, "link")
    with pytest.raises(UnsafePathError):
        open_regular(directory / "link")


@posix
def test_directory_follows_no_link_of_a_directory_out(read: Reading, directory: Path) -> None:
    (directory / "out").symlink_to(directory.parent / "elsewhere")
    with pytest.raises(UnsafePathError, match="leads out of"):
        read(directory, "out/file")


@posix
def test_directory_follows_links_inside(read: Reading, directory: Path) -> None:
    (directory / "link").symlink_to("deep/file")
    (directory / "also").symlink_to("deep")
    assert read(directory, "link") == read(directory, "also/file") == b"deep"


@posix
def test_links_in_a_circle_are_refused(read: Reading, directory: Path) -> None:
    (directory / "one").symlink_to("two")
    (directory / "two").symlink_to("one")
    with pytest.raises(UnsafePathError, match="in a circle"):
        read(directory, "one")


@posix
def test_pipes_and_sockets_are_refused_at_once(read: Reading, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(directory / "pipe")
    with pytest.raises(UnsafePathError, match="regular file"):
        read(directory, "pipe")
    with pytest.raises(UnsafePathError, match="regular file"):
        read_regular(directory / "pipe", 100)
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(directory)  # the name of a socket is short
        server.bind("socket")
        with pytest.raises(OSError, match=r"socket|No such device"):
            read(directory, "socket")


def test_files_are_read_up_to_their_limit(read: Reading, directory: Path) -> None:
    assert read_regular(directory / "file", len(b"content")) == b"content"
    with pytest.raises(UnsafePathError, match="larger than 6 bytes"):
        read_regular(directory / "file", 6)
    with pytest.raises(UnsafePathError, match="larger than 6 bytes"):
        read(directory, "file", 6)


def test_no_descriptor_is_left_open(read: Reading, directory: Path) -> None:
    if not Path("/proc/self/fd").exists():
        pytest.skip("the system does not list descriptors")
    (directory / "link").symlink_to("../secret")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for name in ("file", "deep/file", "missing", "deep", "link"):
        with contextlib.suppress(OSError, UnsafePathError):
            read(directory, name)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_files_of_several_directories(directory: Path) -> None:
    """Each is read from its own, also where one of them is missing or reached through a link."""
    (directory / "other").mkdir()
    (directory / "other" / "file").write_bytes(b"other")
    (directory / "other" / "more").write_bytes(b"more")
    with FilesBeneath(str(directory)) as files:
        assert [files.read(name, 100) for name in ("deep/file", "other/file", "other/more")] == [
            b"deep",
            b"other",
            b"more",
        ]
        with pytest.raises(FileNotFoundError):
            files.read("missing/file", 100)
        assert files.read("other/more", 100) == b"more"


@posix
def test_a_file_of_a_directory_that_a_link_took_the_place_of(directory: Path) -> None:
    """A checked name is checked again after another directory was opened."""
    (directory / "other").mkdir()
    with FilesBeneath(str(directory)) as files:
        assert files.read("deep/file", 100) == b"deep"
        (directory / "other" / "link").symlink_to("../deep/file")
        assert files.read("other/link", 100) == b"deep"
        (directory / "deep").rename(directory / "moved")
        (directory / "deep").symlink_to(directory.parent / "elsewhere")
        with pytest.raises(FileNotFoundError):
            files.read("moved/missing", 100)
        with pytest.raises(UnsafePathError, match="leads out of"):
            files.read("deep/file", 100)


@pytest.mark.parametrize("size", [0, 5, 2**20 - 1, 2**20, 2**20 + 1, 3 * 2**20])
def test_files_of_any_size_are_read_whole(read: Reading, directory: Path, size: int) -> None:
    content = os.urandom(size)
    (directory / "deep" / "big").write_bytes(content)
    assert read(directory, "deep/big", size) == content
    assert read_regular(directory / "deep" / "big", size + 1) == content


@pytest.mark.parametrize("grown", [6, 3000])
def test_a_file_that_becomes_longer(
    read: Reading, directory: Path, grown: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read up to the limit, in as few calls as another."""
    calls: list[int] = []

    def growing(descriptor: int, size: int) -> bytes:
        if not calls:
            (directory / "deep" / "file").write_bytes(b"a" * grown)
        calls.append(size)
        return original(descriptor, size)

    original = os.read
    monkeypatch.setattr(os, "read", growing)
    assert read(directory, "deep/file", 3000) == b"a" * grown
    assert len(calls) < 4
    calls.clear()
    (directory / "deep" / "file").write_bytes(b"deep")
    with pytest.raises(UnsafePathError, match="larger than 5 bytes"):
        read(directory, "deep/file", 5)


def test_a_directory_in_a_directory(directory: Path) -> None:
    with Directory(directory) as opened, opened.directory("deep") as inner:
        assert inner.read("file", 100) == b"deep"
        assert inner.path == str(directory / "deep")
        for name, error in {"missing": FileNotFoundError, "file": NotADirectoryError, "..": UnsafePathError}.items():
            with pytest.raises(error):
                opened.directory(name)
        with pytest.raises(UnsafePathError):
            inner.read("../file", 100)


@posix
def test_a_link_to_a_directory(directory: Path) -> None:
    """It is followed inside the directory, and not out of it."""
    (directory / "inside").symlink_to(directory / "deep")
    (directory / "outside").symlink_to(directory.parent / "elsewhere")
    with Directory(directory) as opened:
        with opened.directory("inside") as inner:
            assert inner.read("file", 100) == b"deep"
        with pytest.raises(UnsafePathError, match="leads out of the directory"):
            opened.directory("outside")


def write(directory: Path, name: str) -> None:
    with Directory(directory) as opened, os.fdopen(opened.create(name), "wb") as file:
        file.write(b"new")


def test_create_makes_the_file_and_the_directories_around_it(directory: Path) -> None:
    for name in ("new", "deep/new", "a/b/new", "file"):
        write(directory, name)
        assert (directory / name).read_bytes() == b"new" + b"tent" * (name == "file")


def test_create_refuses_names_that_cannot_be_encoded_or_lead_out(directory: Path) -> None:
    for name in ("../new", "/new", "\ud800"):
        with pytest.raises(UnsafePathError):
            write(directory, name)


@posix
@pytest.mark.parametrize("kind", ["link", "link inside", "hard link", "pipe", "directory", "linked directory"])
def test_create_writes_to_no_other_file(kind: str, directory: Path) -> None:
    target = directory / "taken"
    secret = directory.parent / "secret"
    if kind == "link":
        target.symlink_to(secret)
    elif kind == "link inside":
        target.symlink_to("file")
    elif kind == "hard link":
        os.link(secret, target)
    elif kind == "pipe":
        os.mkfifo(target)
    elif kind == "directory":
        target.mkdir()
    else:
        target.symlink_to(directory.parent / "elsewhere")
    with pytest.raises(UnsafePathError):
        write(directory, "taken/file" if kind == "linked directory" else "taken")
    assert (directory.parent / "elsewhere" / "file").read_bytes() == secret.read_bytes() == b"secret"
    assert (directory / "file").read_bytes() == b"content"
