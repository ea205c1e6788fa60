"""Atomic changes to a file."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minari._base.atomic import EarlyWriteBack
from minari._base.locks import waiting_at_most
from minari._storages import journal
from minari._storages.journal import JOURNAL_NAME, FileTransaction, Overlay, has_journal, pending_change
from minari.errors import DatasetBusyError, UnsafePathError


OLD = bytes(range(256)) * 40  # two and a half pages
NEW = OLD[:10] + b"new" + OLD[13:] + b"more"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "data.bin"
    file.write_bytes(OLD)
    file.with_name("metadata.json").write_text("old")
    return file


class Interrupted(Exception):
    pass


def interrupt(*_: Any) -> None:
    raise Interrupted


def interrupted_by_the_user(*_: Any) -> None:
    raise KeyboardInterrupt


def changed(path: Path) -> FileTransaction:
    file = FileTransaction(path)
    file.write_at(10, memoryview(b"new"))
    file.write_at(len(OLD), memoryview(b"more"))
    return file


def commit_and_stop(path: Path, text: str = "new") -> None:
    """Leave a journal that is written and not applied, as a writer does that is killed."""
    file = changed(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Overlay, "apply", interrupt)
        with pytest.raises(Interrupted):
            file.commit({"metadata.json": text})
    file.discard()
    file.close()


def contents(path: Path) -> tuple[bytes, str]:
    """Return the file and the metadata on disk, which has no journal."""
    assert not has_journal(path.parent)
    return path.read_bytes(), path.with_name("metadata.json").read_text()


def seen(path: Path) -> tuple[bytes, str]:
    """Return the file and the metadata as a reader sees them."""
    change = pending_change(path.parent, path.name)
    if change is None:
        return path.read_bytes(), path.with_name("metadata.json").read_text()
    with path.open("rb") as file:
        whole = change.read_at(file.fileno(), 0, 10**6)
        assert whole == b"".join(change.read_at(file.fileno(), at, 7) for at in range(0, change.end, 7))
    return whole, change.texts["metadata.json"]


offsets = st.integers(0, 20_000)
changes = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["write", "write_at"]), offsets, st.binary(max_size=9000)),
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
def test_transaction_is_what_a_plain_file_would_be(
    tmp_path_factory: pytest.TempPathFactory, changes: Any, size: int, shrinks_by: int, commits: bool, later: Any
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
        assert contents(path) == (model, "new")
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


def test_transaction_is_a_file_object(path: Path) -> None:
    with FileTransaction(path) as file:
        assert file.readable() and file.writable() and file.seekable()  # noqa: PT018
        assert file.seek(0, os.SEEK_END) == len(OLD)
        assert file.seek(-6, os.SEEK_CUR) == len(OLD) - 6
        assert file.read(3) == OLD[-6:-3]
        assert file.seek(2) == file.truncate() == 2
        assert file.seek(0, os.SEEK_END) == 2
        file.discard()
    assert path.read_bytes() == OLD


def test_discarding_leaves_content_and_time(path: Path) -> None:
    os.utime(path, ns=(5, 7))
    with FileTransaction(path) as file:
        file.write_at(100, memoryview(b"x" * 20_000))
        assert path.stat().st_size > len(OLD)
        file.discard()
    assert (*contents(path), path.stat().st_mtime_ns) == (OLD, "old", 7)
    assert sorted(path.parent.iterdir()) == [path, path.with_name("metadata.json")]


def test_an_interrupt_while_closing_frees_the_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyboardInterrupt), FileTransaction(path):
        monkeypatch.setattr(EarlyWriteBack, "wait", interrupted_by_the_user)
    monkeypatch.undo()
    with waiting_at_most(0):
        FileTransaction(path).close()


def test_one_transaction_at_a_time(path: Path) -> None:
    with FileTransaction(path), waiting_at_most(0), pytest.raises(DatasetBusyError, match=r"data\.bin"):
        FileTransaction(path)
    FileTransaction(path).close()


def test_missing_and_linked_files_are_refused(path: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        FileTransaction(tmp_path / "nothing")
    assert pending_change(tmp_path, "nothing") is None
    (tmp_path / JOURNAL_NAME).write_bytes(b"something")
    assert pending_change(tmp_path, "nothing") is None
    (tmp_path / "link.bin").symlink_to(path)
    with pytest.raises(UnsafePathError, match="is a link"):
        FileTransaction(tmp_path / "link.bin")


# Commits


def test_readers_see_a_commit_that_the_next_writer_applies(path: Path) -> None:
    commit_and_stop(path)
    before = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    assert seen(path) == (NEW, "new")
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == before
    assert before[path.name] == OLD + b"more"
    FileTransaction(path).close()
    assert contents(path) == (NEW, "new")


def test_applying_may_be_interrupted_at_every_call(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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

    places = [(journal, "write_all"), (journal, "write_atomically"), (os, "utime"), (os, "fsync"), (Path, "unlink")]
    for owner, name in places:
        monkeypatch.setattr(owner, name, around(getattr(owner, name)))
    for at in range(1, 20):
        calls = at
        try:
            FileTransaction(path).close()
        except Interrupted:
            assert seen(path) == (NEW, "new")
        else:
            break
    assert at > 4
    assert contents(path) == (NEW, "new")


@pytest.mark.parametrize("size", [9000, 12000])
def test_commit_may_shorten_and_extend_the_file(path: Path, size: int) -> None:
    file = FileTransaction(path)
    file.write_at(10, memoryview(b"new"))
    file.truncate(size)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Overlay, "apply", lambda *_: None)
        file.commit({"metadata.json": "new"})
    file.close()
    expected = (OLD[:10] + b"new" + OLD[13:] + bytes(12000))[:size]
    assert seen(path) == (expected, "new")
    FileTransaction(path).close()
    assert contents(path) == (expected, "new")


def test_interrupt_when_the_journal_is_written_undoes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = journal.write_atomically

    def interrupted(path: Path, content: str | bytes, **options: bool) -> None:
        write(path, content, **options)
        raise KeyboardInterrupt

    file = changed(path)
    monkeypatch.setattr(journal, "write_atomically", interrupted)
    with pytest.raises(KeyboardInterrupt):
        file.commit({"metadata.json": "new"})
    file.discard()
    file.close()
    assert seen(path) == (NEW, "new")


def test_commit_of_a_living_writer_is_waited_for_and_read_anyway(path: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    commit_and_stop(path)
    with path.with_name(".lock").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        timer = threading.Timer(0.1, lambda: FileTransaction(path).close())
        timer.start()
        assert pending_change(path.parent, path.name) is None
        timer.join()
        commit_and_stop(path, "newer")
        assert seen(path)[1] == "newer"
