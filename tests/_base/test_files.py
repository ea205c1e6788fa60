"""Files are opened beneath their directory only, and read up to a limit."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Callable
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
def test_plain_names_are_relative_parts(name: str) -> None:
    assert "/".join(relative_parts(name)) == name


@pytest.mark.parametrize(
    "name",
    ["", "/", "/etc/passwd", ".", "..", "a/..", "../a", "a//b", "a/", "...", "a\\b", "C:a", "a\0b", "a/./b", None, 3],
)
def test_names_that_may_lead_out_are_refused(name: str) -> None:
    with pytest.raises(UnsafePathError, match="plain relative name"):
        relative_parts(name)


def test_files_beneath_a_directory_are_read(read: Reading, directory: Path) -> None:
    assert read(directory, "file") == read_regular(directory / "file", 7) == b"content"
    assert read(directory, "deep/file") == b"deep"


LEADS_OUT = "leads out of"


@pytest.mark.parametrize(
    ("name", "target", "error", "message"),
    [
        *((name, None, FileNotFoundError, "") for name in ("missing", "deep/missing", "missing/file")),
        ("file/inner", None, NotADirectoryError, ""),
        ("deep", None, UnsafePathError, "is a directory"),
        *(("link", target, UnsafePathError, LEADS_OUT) for target in ("../secret", "{outside}/secret", "/etc/passwd")),
        ("link/file", "{outside}/elsewhere", UnsafePathError, LEADS_OUT),
        ("link", "link", UnsafePathError, "in a circle"),
    ],
)
def test_what_is_missing_or_leads_out_is_refused(
    read: Reading, directory: Path, name: str, target: str | None, error: type[Exception], message: str
) -> None:
    if target is not None:
        if sys.platform == "win32":
            pytest.skip("links of POSIX")
        (directory / "link").symlink_to(target.format(outside=directory.parent))
        if name == "link":
            with pytest.raises(UnsafePathError):
                open_regular(directory / name)
    with pytest.raises(error, match=message):
        read(directory, name)
    with pytest.raises(UnsafePathError, match="larger than 6 bytes"):
        read(directory, "file", 6)
    with pytest.raises(UnsafePathError, match="larger than 6 bytes"):
        read_regular(directory / "file", 6)


@posix
def test_links_inside_are_followed(read: Reading, directory: Path) -> None:
    (directory / "link").symlink_to("deep/file")
    (directory / "also").symlink_to("deep")
    assert read(directory, "link") == read(directory, "also/file") == b"deep"


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


def test_no_descriptor_is_left_open(read: Reading, directory: Path) -> None:
    if not Path("/proc/self/fd").exists():
        pytest.skip("the system does not list descriptors")
    (directory / "link").symlink_to("../secret")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for name in ("file", "deep/file", "missing", "deep", "link"):
        with contextlib.suppress(OSError, UnsafePathError):
            read(directory, name)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_files_of_several_directories_are_read(directory: Path) -> None:
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
def test_a_directory_that_a_link_took_the_place_of_is_refused(directory: Path) -> None:
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
def test_a_file_that_becomes_longer_is_read_up_to_the_limit(
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


@posix
def test_a_directory_in_a_directory_is_opened(directory: Path) -> None:
    (directory / "inside").symlink_to(directory / "deep")
    (directory / "outside").symlink_to(directory.parent / "elsewhere")
    refused = {
        "missing": FileNotFoundError,
        "file": NotADirectoryError,
        "..": UnsafePathError,
        "outside": UnsafePathError,
    }
    with Directory(directory) as opened:
        for name in ("deep", "inside"):
            with opened.directory(name) as inner:
                assert inner.read("file", 100) == b"deep"
                assert name == "inside" or inner.path == str(directory / "deep")
                with pytest.raises(UnsafePathError):
                    inner.read("../file", 100)
        for name, error in refused.items():
            with pytest.raises(error, match=LEADS_OUT if name == "outside" else ""):
                opened.directory(name)


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


TAKEN: dict[str, Callable[[Path], object]] = {
    "link": lambda path: path.symlink_to(path.parent.parent / "secret"),
    "link inside": lambda path: path.symlink_to("file"),
    "hard link": lambda path: os.link(path.parent.parent / "secret", path),
    "pipe": os.mkfifo,
    "directory": Path.mkdir,
    "linked directory": lambda path: path.symlink_to(path.parent.parent / "elsewhere"),
}


@posix
@pytest.mark.parametrize("kind", TAKEN)
def test_create_writes_to_no_other_file(kind: str, directory: Path) -> None:
    TAKEN[kind](directory / "taken")
    with pytest.raises(UnsafePathError):
        write(directory, "taken/file" if kind == "linked directory" else "taken")
    outside = (directory.parent / "elsewhere" / "file", directory.parent / "secret")
    assert {file.read_bytes() for file in outside} == {b"secret"}
    assert (directory / "file").read_bytes() == b"content"
