"""A file whose changes happen whole or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minari.dataset._storages import transaction
from minari.dataset._storages.transaction import JOURNAL_NAME, FileTransaction, has_journal, recover_abandoned
from minari.errors import DatasetBusyError, DatasetCorruptError


OLD = bytes(range(256)) * 40  # two and a half pages


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "data.bin"
    file.write_bytes(OLD)
    return file


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
        file.commit({"note.txt": "new"})
        assert path.read_bytes() == model
        assert path.with_name("note.txt").read_text() == "new"
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
    assert list(path.parent.iterdir()) == [path]


def test_one_at_a_time(path: Path) -> None:
    with FileTransaction(path), pytest.raises(DatasetBusyError, match=r"data\.bin"):
        FileTransaction(path)
    FileTransaction(path).close()


class Interrupted(Exception):
    pass


@pytest.fixture
def interrupt(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """A function after whose call the journal is written and not applied."""

    def stop(*_: Any) -> None:
        raise Interrupted

    return lambda: monkeypatch.setattr(transaction, "_apply", stop)


def commit_and_stop(path: Path) -> None:
    file = FileTransaction(path)
    file.write_at(10, memoryview(b"new"))
    file.write_at(len(OLD), memoryview(b"more"))
    with pytest.raises(Interrupted):
        file.commit({"note.txt": "new"})
    file.discard()
    file.close()


NEW = OLD[:10] + b"new" + OLD[13:] + b"more"


@pytest.mark.parametrize("times", [1, 2])
def test_journal_is_applied_by_the_next_one(
    path: Path, interrupt: Callable[[], None], monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """By a reader or by the next writer, and again where that one is interrupted too."""
    real = transaction._apply
    interrupt()
    commit_and_stop(path)
    assert has_journal(path.parent)
    for recover in (lambda: recover_abandoned(path.parent), lambda: FileTransaction(path))[:times]:
        with pytest.raises(Interrupted):
            recover()
    monkeypatch.setattr(transaction, "_apply", real)
    if times == 1:
        recover_abandoned(path.parent)
    else:
        FileTransaction(path).close()
    assert path.read_bytes() == NEW
    assert path.with_name("note.txt").read_text() == "new"
    assert not has_journal(path.parent)


def test_journal_that_is_half_applied(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No room for the small file: the error is raised, and the change is made when there is room again."""

    def full(path: Path, content: str | bytes) -> None:
        if path.name == "note.txt":
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path, content)

    real = transaction.write_atomically
    monkeypatch.setattr(transaction, "write_atomically", full)
    file = FileTransaction(path)
    file.write_at(10, memoryview(b"new"))
    file.write_at(len(OLD), memoryview(b"more"))
    with pytest.raises(OSError, match="No space left"):
        file.commit({"note.txt": "new"})
    file.discard()
    file.close()
    with pytest.raises(OSError, match="No space left"):
        recover_abandoned(path.parent)
    monkeypatch.undo()
    recover_abandoned(path.parent)
    assert path.read_bytes() == NEW
    assert path.with_name("note.txt").read_text() == "new"


def test_no_room_for_the_journal(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: str | bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(transaction, "write_atomically", full)
    with FileTransaction(path) as file:
        file.write_at(10, memoryview(b"new"))
        with pytest.raises(OSError, match="No space left"):
            file.commit({})
        file.discard()
    assert path.read_bytes() == OLD
    assert not has_journal(path.parent)


def test_writer_that_is_alive_is_waited_for(path: Path, interrupt: Callable[[], None]) -> None:
    interrupt()
    commit_and_stop(path)
    journal = path.with_name(JOURNAL_NAME)
    content = journal.read_bytes()
    journal.unlink()
    with FileTransaction(path):
        journal.write_bytes(content)
        with pytest.raises(DatasetBusyError):
            recover_abandoned(path.parent, timeout=0.05)
        journal.unlink()
    recover_abandoned(path.parent)
    assert path.read_bytes() == OLD + b"more"  # the rest was in the journal


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_without_permission(
    path: Path, interrupt: Callable[[], None], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    interrupt()
    commit_and_stop(path)

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(transaction, "lock_file", refuse)
    with pytest.raises(DatasetCorruptError, match=r"unfinished change .* as a user who may write"):
        recover_abandoned(path.parent)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        FileTransaction(tmp_path / "nothing")
    recover_abandoned(tmp_path)
