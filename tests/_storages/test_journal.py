"""Atomic changes to a file."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minari._base.locks import waiting_at_most
from minari._storages import journal as transaction
from minari._storages.journal import (
    JOURNAL_NAME,
    FileTransaction,
    Overlay,
    has_journal,
    pending_change,
)
from minari.errors import DatasetBusyError, DatasetCorruptError, UnsafePathError


OLD = bytes(range(256)) * 40  # two and a half pages


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "data.bin"
    file.write_bytes(OLD)
    file.with_name("metadata.json").write_text("old")
    return file


def change_of(path: Path) -> Overlay | None:
    return pending_change(path.parent, path.name)


offsets = st.integers(0, 20_000)
changes = st.lists(
    st.one_of(
        st.tuples(st.just("write"), offsets, st.binary(max_size=9000)),
        st.tuples(st.just("write_at"), offsets, st.binary(max_size=9000)),
        st.tuples(st.just("extend"), st.integers(1, 9_000)),
        st.tuples(st.just("read"), offsets, st.integers(0, 9000)),
    ),
    max_size=12,
)


@given(
    changes=changes,
    size=st.integers(0, len(OLD)),
    shrinks_by=st.sampled_from([0, 1, 5000]),
    commits=st.booleans(),
    later=changes,
)
def test_is_what_a_plain_file_would_be(
    tmp_path_factory: pytest.TempPathFactory,
    changes: list[Any],
    size: int,
    shrinks_by: int,
    commits: bool,
    later: list[Any],
) -> None:
    """Reads see the writes before them; the file on disk is the old one until the commit, then the new one."""
    old = OLD[:size]
    path = tmp_path_factory.mktemp("transaction") / "data.bin"
    path.write_bytes(old)
    model = bytearray(old)
    file = FileTransaction(path)
    apply(changes, file, model)
    del model[max(0, len(model) - shrinks_by) :]
    file.truncate(len(model))
    assert path.read_bytes()[: len(old)] == old
    if commits:
        file.commit({"metadata.json": "new"})
        assert path.read_bytes() == model
        assert path.with_name("metadata.json").read_text() == "new"
        old = bytes(model)
        apply(later, file, model)
        assert path.read_bytes()[: len(old)] == old
    file.discard()
    file.write_at(0, memoryview(b"thrown away"))
    file.close()
    assert path.read_bytes() == old
    assert not has_journal(path.parent)


def apply(changes: list[Any], file: FileTransaction, model: bytearray) -> None:
    for kind, *arguments in changes:
        if kind == "extend":
            model += bytes(arguments[0])
            file.truncate(len(model))
            continue
        offset, what = arguments
        offset = min(offset, len(model))  # HDF5 leaves no holes: it extends a file before it writes there
        if kind == "read":
            file.seek(offset)
            buffer = bytearray(min(what, len(model) - offset))
            file.readinto(buffer)
            assert bytes(buffer) == bytes(model[offset : offset + len(buffer)])
            continue
        model[offset : offset + len(what)] = what
        if kind == "write":
            assert file.seek(offset) == offset
            assert file.write(what) == len(what)
            assert file.tell() == offset + len(what)
        else:
            file.write_at(offset, memoryview(what))


def test_file_interface(path: Path) -> None:
    with FileTransaction(path) as file:
        assert file.readable()
        assert file.writable()
        assert file.seekable()
        assert file.seek(0, os.SEEK_END) == len(OLD)
        assert file.seek(-6, os.SEEK_CUR) == len(OLD) - 6
        assert file.read(3) == OLD[-6:-3]
        assert file.seek(2) == 2
        assert file.truncate() == 2
        assert file.seek(0, os.SEEK_END) == 2
        file.discard()
    assert path.read_bytes() == OLD


def test_discard_leaves_no_trace(path: Path) -> None:
    """Content and time are as before, so that what is derived from the file stays valid."""
    os.utime(path, ns=(5, 7))
    with FileTransaction(path) as file:
        file.write_at(100, memoryview(b"x" * 20_000))
        assert path.stat().st_size > len(OLD)
        file.discard()
    assert path.read_bytes() == OLD
    assert path.stat().st_mtime_ns == 7
    assert sorted(path.parent.iterdir()) == [path, path.with_name("metadata.json")]


def test_one_at_a_time(path: Path) -> None:
    with FileTransaction(path), waiting_at_most(0), pytest.raises(DatasetBusyError, match=r"data\.bin"):
        FileTransaction(path)
    FileTransaction(path).close()


class Interrupted(Exception):
    pass


def commit_and_stop(path: Path, texts: dict[str, str] | None = None) -> None:
    """Leave a journal that is written and not applied, as a writer does that is killed."""

    def stop(*_: Any) -> None:
        raise Interrupted

    file = FileTransaction(path)
    file.write_at(10, memoryview(b"new"))
    file.write_at(len(OLD), memoryview(b"more"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Overlay, "apply", stop)
        with pytest.raises(Interrupted):
            file.commit({"metadata.json": "new"} if texts is None else texts)
    file.discard()
    file.close()


NEW = OLD[:10] + b"new" + OLD[13:] + b"more"


def contents(directory: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in directory.iterdir() if file.is_file()}


def seen(path: Path) -> tuple[bytes, str]:
    """Return the file and the metadata as seen by a reader."""
    change = change_of(path)
    metadata = path.with_name("metadata.json").read_text()
    if change is None:
        return path.read_bytes(), metadata
    with path.open("rb") as file:
        whole = change.read_at(file.fileno(), 0, 10**6)
        pieces = b"".join(change.read_at(file.fileno(), at, 7) for at in range(0, change.end, 7))
        assert whole == pieces
    return whole, change.texts.get("metadata.json", metadata)


def test_readers_see_what_is_committed_and_write_nothing(path: Path) -> None:
    commit_and_stop(path)
    before = contents(path.parent)
    assert seen(path) == (NEW, "new")
    assert contents(path.parent) == before
    assert before[path.name] == OLD + b"more"


def test_the_next_writer_applies_it(path: Path) -> None:
    commit_and_stop(path)
    FileTransaction(path).close()
    assert path.read_bytes() == NEW
    assert path.with_name("metadata.json").read_text() == "new"
    assert not has_journal(path.parent)


def test_interrupted_again_and_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At every call that changes the disk, what is read is the same."""
    commit_and_stop(path)
    calls = 0

    def around(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            nonlocal calls
            calls -= 1
            if calls == 0:
                raise Interrupted
            return function(*arguments, **keywords)

        return call

    for name in ("write_all", "write_atomically", "_set_time"):
        monkeypatch.setattr(transaction, name, around(getattr(transaction, name)))
    monkeypatch.setattr(os, "fsync", around(os.fsync))
    monkeypatch.setattr(Path, "unlink", around(Path.unlink))
    for at in range(1, 20):
        calls = at
        try:
            FileTransaction(path).close()
        except Interrupted:
            assert seen(path) == (NEW, "new")
        else:
            break
    assert at > 4
    assert seen(path) == (NEW, "new")
    assert not has_journal(path.parent)


@pytest.mark.parametrize("shrinks", [True, False])
def test_a_file_that_gets_shorter(path: Path, shrinks: bool) -> None:
    file = FileTransaction(path)
    file.write_at(10, memoryview(b"new"))
    file.truncate(9000 if shrinks else 12000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Overlay, "apply", lambda *_: None)
        file.commit({"metadata.json": "new"})
    file.close()
    expected = (OLD[:10] + b"new" + OLD[13:] + bytes(12000))[: 9000 if shrinks else 12000]
    assert seen(path) == (expected, "new")
    FileTransaction(path).close()
    assert path.read_bytes() == expected


def test_a_failure_after_the_commit_is_none_of_it(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """No room for the metadata: the change is made all the same, and put into place when there is room again."""

    def full(path: Path, content: str | bytes, **options: bool) -> None:
        if path.name == "metadata.json":
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path, content, **options)

    real = transaction.write_atomically
    monkeypatch.setattr(transaction, "write_atomically", full)
    file = FileTransaction(path)
    file.write_at(10, memoryview(b"new"))
    file.write_at(len(OLD), memoryview(b"more"))
    file.commit({"metadata.json": "new"})
    assert "No space left" in caplog.text
    file.discard()
    file.close()
    assert seen(path) == (NEW, "new")
    with pytest.raises(OSError, match="No space left"):
        FileTransaction(path)
    monkeypatch.undo()
    FileTransaction(path).close()
    assert path.read_bytes() == NEW
    assert path.with_name("metadata.json").read_text() == "new"


def test_no_room_for_the_journal(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: str | bytes, **options: bool) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(transaction, "write_atomically", full)
    with FileTransaction(path) as file:
        file.write_at(10, memoryview(b"new"))
        with pytest.raises(OSError, match="No space left"):
            file.commit({})
        file.discard()
    assert path.read_bytes() == OLD
    assert not has_journal(path.parent)


def test_an_interrupt_when_the_journal_is_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The change is made, and is not undone."""

    def interrupted(path: Path, content: str | bytes, **options: bool) -> None:
        real(path, content, **options)
        raise KeyboardInterrupt

    real = transaction.write_atomically
    monkeypatch.setattr(transaction, "write_atomically", interrupted)
    file = FileTransaction(path)
    file.write_at(len(OLD), memoryview(b"more"))
    with pytest.raises(KeyboardInterrupt):
        file.commit({"metadata.json": "new"})
    file.discard()
    file.close()
    assert seen(path) == (OLD + b"more", "new")


def test_a_writer_that_is_alive_is_waited_for_a_moment(path: Path) -> None:
    """Then what it has committed is read, as it would be if it had died."""
    commit_and_stop(path)
    with path.with_name(".lock").open("wb") as file:
        fcntl = pytest.importorskip("fcntl")
        fcntl.flock(file, fcntl.LOCK_EX)
        timer = threading.Timer(0.1, lambda: FileTransaction(path).close())
        timer.start()
        assert change_of(path) is None
        timer.join()
        commit_and_stop(path, {"metadata.json": "newer"})
        assert seen(path)[1] == "newer"


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        FileTransaction(tmp_path / "nothing")
    assert pending_change(tmp_path, "nothing") is None
    (tmp_path / JOURNAL_NAME).write_bytes(b"something")
    assert pending_change(tmp_path, "nothing") is None


def test_a_link_is_not_written_to(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.bin"
    link.symlink_to(path)
    with pytest.raises(UnsafePathError, match="is a link"):
        FileTransaction(link)


def test_a_journal_half_in_place_with_damage(path: Path) -> None:
    commit_and_stop(path)
    with path.open("r+b") as file:
        file.seek(10)
        file.write(b"new")
        file.seek(len(OLD) + 1)
        file.write(b"?")
    with pytest.raises(DatasetCorruptError, match="partly in place"):
        change_of(path)
    with pytest.raises(DatasetCorruptError, match="minari clean"):
        FileTransaction(path)
