"""Directories and files appear atomically, whatever fails and when."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minari._base.files import NAMESPACE_METADATA_FILENAME, exchange
from minari._catalog import layout
from minari._catalog.layout import (
    dataset_exists,
    ensure_namespace_directories,
    publish_directory,
    remove_directory,
    replace_directory,
    restore_replaced,
    staged_directory,
)
from minari._catalog.listing import catalog_entries
from minari.errors import DatasetExistsError, DatasetIdError, DatasetNotFoundError
from support.killing import killed
from support.programs import start


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="the child processes are forks")


def tree(root: Path) -> dict[str, str | None]:
    """Every file below a directory with its content, and every directory."""
    return {
        path.relative_to(root).as_posix(): path.read_text(encoding="utf-8") if path.is_file() else None
        for path in sorted(root.rglob("*"))
    }


def make_dataset(directory: Path, content: str = "content") -> Path:
    (directory / "data").mkdir(parents=True)
    (directory / "data" / "file").write_text(content)
    return directory


def as_tree(name: str, content: str = "content") -> dict[str, str | None]:
    return {name: None, f"{name}/data": None, f"{name}/data/file": content}


def full_disk(*args: Any, **kwargs: Any) -> Any:
    raise OSError(errno.ENOSPC, "No space left on device")


# staged_directory


def test_a_staged_directory_appears_at_the_end(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()  # beside the root, which makes no dataset of what is around it
    destination = tmp_path / "datasets" / "deep" / "a-v0"
    with staged_directory(destination) as staging:
        assert staging.is_dir()
        assert staging.parent == destination.parent
        assert staging.name.startswith(".")
        assert list(staging.iterdir()) == []
        make_dataset(staging / "inside")
        assert not destination.exists()
    assert not staging.exists()
    assert tree(destination) == as_tree("inside")
    assert [path.name for path in destination.parent.iterdir()] == ["a-v0"]


@pytest.mark.parametrize("error", [ValueError, OSError, KeyboardInterrupt, SystemExit])
def test_nothing_is_left_of_what_failed_but_parents_that_others_use(error: type[BaseException], tmp_path: Path) -> None:
    def build(others: bool) -> None:
        with staged_directory(tmp_path / "ns" / "deep" / "deeper" / "a-v0") as staging:
            make_dataset(staging)
            if others:
                make_dataset(tmp_path / "ns" / "deep" / "b-v0")
            raise error

    (tmp_path / "ns").mkdir()
    with pytest.raises(error):
        build(others=False)
    assert tree(tmp_path) == {"ns": None}
    with pytest.raises(error):
        build(others=True)
    assert tree(tmp_path / "ns" / "deep") == as_tree("b-v0")


TAKEN: dict[str, Callable[[Path], object]] = {
    "dataset": make_dataset,
    "namespace": lambda path: ensure_namespace_directories(path.parent, path.name),
    "directory": Path.mkdir,
    "file": lambda path: path.write_text("mine"),
    "dangling link": lambda path: path.symlink_to("nowhere"),
}


@pytest.mark.parametrize("kind", TAKEN)
def test_what_is_there_is_never_overwritten(kind: str, tmp_path: Path) -> None:
    TAKEN[kind](tmp_path / "a-v0")
    finished = make_dataset(tmp_path / ".finished")
    before = tree(tmp_path)
    with pytest.raises(DatasetExistsError, match=r"a-v0 already exists"), staged_directory(tmp_path / "a-v0"):
        pytest.fail("the block was entered")
    with pytest.raises(DatasetExistsError):
        publish_directory(finished, tmp_path / "a-v0")
    if kind == "dataset":
        for inner in ("a-v0/b-v0", "a-v0/data/ns/b-v0"):
            with pytest.raises(DatasetExistsError, match="inside the dataset"), staged_directory(tmp_path / inner):
                pytest.fail("the block was entered")
            with pytest.raises(DatasetExistsError):
                publish_directory(finished, tmp_path / inner)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("moment", ["before the end", "before the rename"])
def test_who_comes_second_leaves_the_first_alone(moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    destination, rename = tmp_path / "a-v0", Path.rename

    def overtaken(path: Path, target: Path) -> Path:
        make_dataset(destination, "first")
        return rename(path, target)

    if moment == "before the rename":
        monkeypatch.setattr(Path, "rename", overtaken)
    with pytest.raises(DatasetExistsError), staged_directory(destination):
        make_dataset(destination if moment == "before the end" else tmp_path / "other", "first")
    shutil.rmtree(tmp_path / "other", ignore_errors=True)
    assert tree(tmp_path) == as_tree("a-v0", "first")


def test_one_of_many_at_once_wins(tmp_path: Path) -> None:
    barrier = threading.Barrier(8)
    outcomes: list[str] = []

    def build(number: int) -> None:
        try:
            with staged_directory(tmp_path / "ns" / "a-v0") as staging:
                make_dataset(staging, str(number))
                barrier.wait()
            outcomes.append(str(number))
        except DatasetExistsError:
            outcomes.append("taken")

    threads = [threading.Thread(target=build, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 8
    (winner,) = (outcome for outcome in outcomes if outcome != "taken")
    assert tree(tmp_path / "ns") == as_tree("a-v0", winner)


def full_for_hidden_directories(monkeypatch: pytest.MonkeyPatch) -> None:
    mkdir = Path.mkdir

    def refuse(path: Path, *args: Any, **kwargs: Any) -> None:
        (full_disk if path.name.startswith(".") else mkdir)(path, *args, **kwargs)

    monkeypatch.setattr(Path, "mkdir", refuse)


@pytest.mark.parametrize(
    "fill",
    [
        lambda monkeypatch: monkeypatch.setattr(Path, "rename", full_disk),
        lambda monkeypatch: monkeypatch.setattr(os, "fsync", full_disk),  # as some systems say only then
        full_for_hidden_directories,
    ],
    ids=["rename", "flush", "mkdir"],
)
def test_a_full_disk_leaves_nothing(fill: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(monkeypatch)
    with pytest.raises(OSError, match="No space left"), staged_directory(tmp_path / "ns" / "a-v0") as staging:
        make_dataset(staging)
    assert tree(tmp_path) == {}


def test_files_that_may_only_be_read_are_flushed_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[tuple[int, int]] = []
    fsync = os.fsync

    def counted(descriptor: int) -> None:
        status = os.fstat(descriptor)
        flushed.append((status.st_dev, status.st_ino))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", counted)
    with staged_directory(tmp_path / "a-v0") as staging:
        make_dataset(staging)
        (staging / "data" / "file").chmod(0o444)
        (staging / "data" / ".hidden").write_bytes(b"can be recreated")
    found = {path.name: path.stat() for path in (tmp_path / "a-v0").rglob("*")}
    assert {name for name, status in found.items() if (status.st_dev, status.st_ino) in flushed} == {"data", "file"}
    if os.name == "posix":  # as readable as any new directory
        (tmp_path / "plain").mkdir()
        assert len({stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "a-v0")}) == 1


def test_a_killed_program_leaves_nothing_that_looks_like_a_dataset(tmp_path: Path) -> None:
    program = """
        import os, sys
        from pathlib import Path
        from minari._catalog.layout import staged_directory
        with staged_directory(Path(sys.argv[1]) / "ns" / "a-v0") as staging:
            (staging / "data").mkdir()
            (staging / "data" / "file").write_text("half")
            os._exit(9)
    """
    child = start(program, str(tmp_path))
    child.communicate()
    assert child.returncode == 9
    assert [name for name, _ in catalog_entries(tmp_path)] == ["ns"]
    with staged_directory(tmp_path / "ns" / "a-v0") as staging:
        make_dataset(staging)
    assert dataset_exists(tmp_path / "ns" / "a-v0")


def test_a_finished_directory_is_published_or_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finished = make_dataset(tmp_path / ".finished")
    before = tree(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", full_disk)
        with pytest.raises(OSError, match="No space left"):
            publish_directory(finished, tmp_path / "ns" / "a-v0")
    assert tree(tmp_path) == before
    publish_directory(finished, tmp_path / "ns" / "a-v0")
    assert not finished.exists()
    assert tree(tmp_path / "ns") == as_tree("a-v0")


# The catalog


def test_datasets_are_directories_with_data_that_are_called_so(tmp_path: Path) -> None:
    assert dataset_exists(make_dataset(tmp_path / "a-v0"))
    for name in ("namespace", ".a-v0.x.partial", "a-v01"):
        assert not dataset_exists(make_dataset(tmp_path / name))
    (tmp_path / "b-v0").mkdir()
    assert not dataset_exists(tmp_path / "b-v0")
    assert not dataset_exists(tmp_path / "c-v0")


def test_the_catalog_holds_all_directories_but_hidden_ones_and_data(tmp_path: Path) -> None:
    for dataset in ("a-v0", "ns/b-v1", "ns/deep/c-v2", ".hidden/d-v0", "ns/.e-v0.partial", "a-v0/inner-v0"):
        make_dataset(tmp_path / dataset)
    make_dataset(tmp_path / "data" / "f-v0")
    (tmp_path / "a-v0" / "data" / "0").mkdir()
    (tmp_path / "odd name").mkdir()
    (tmp_path / "file-v0").write_text("")
    found = dict(catalog_entries(tmp_path))
    expected = ["a-v0", "a-v0/inner-v0", "data", "data/f-v0", "ns", "ns/b-v1", "ns/deep", "ns/deep/c-v2"]
    assert sorted(found) == expected
    assert all(found[name] == tmp_path / name for name in found)
    assert list(catalog_entries(tmp_path / "nowhere")) == []


# Namespaces


def test_each_level_of_a_namespace_gets_its_metadata_and_what_is_there_stays(tmp_path: Path) -> None:
    file = tmp_path / "a" / NAMESPACE_METADATA_FILENAME
    file.parent.mkdir()
    file.write_text('{"description": "mine"}')
    ensure_namespace_directories(tmp_path, "a/b/c")
    ensure_namespace_directories(tmp_path, None)
    files = {
        path.removesuffix(f"/{NAMESPACE_METADATA_FILENAME}"): text for path, text in tree(tmp_path).items() if text
    }
    assert files == {"a": '{"description": "mine"}', "a/b": "{}", "a/b/c": "{}"}


def test_a_dataset_is_no_namespace(tmp_path: Path) -> None:
    make_dataset(tmp_path / "a" / "b-v0")
    before = tree(tmp_path)
    for namespace in ("a/b-v0", "a/b-v0/c"):
        with pytest.raises(DatasetExistsError, match="is a dataset"):
            ensure_namespace_directories(tmp_path, namespace)
    with pytest.raises(DatasetIdError):
        ensure_namespace_directories(tmp_path, "../a")
    assert tree(tmp_path) == before


def test_a_disk_that_is_full_at_the_second_level_leaves_no_namespace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    fsync = os.fsync

    def second_time_full(descriptor: int) -> None:
        calls.append(descriptor)
        (full_disk if len(calls) > 2 else fsync)(descriptor)  # after the first file and its directory

    monkeypatch.setattr(os, "fsync", second_time_full)
    with pytest.raises(OSError, match="No space left"):
        ensure_namespace_directories(tmp_path, "a/b")
    assert tree(tmp_path) == {}


# remove_directory


def test_a_directory_is_removed_with_all_that_is_in_it(tmp_path: Path) -> None:
    make_dataset(tmp_path / "a-v0")
    remove_directory(tmp_path / "a-v0")
    (tmp_path / "file").write_text("mine")
    for name in ("nowhere", "file"):
        with pytest.raises(DatasetNotFoundError, match=name):
            remove_directory(tmp_path / name)
    target = make_dataset(tmp_path / "disk" / "a-v0")
    (tmp_path / "a-v0").symlink_to(target, target_is_directory=True)  # which is deleted, and not what it points to
    remove_directory(tmp_path / "a-v0")
    assert tree(tmp_path) == {"file": "mine", "disk": None, **as_tree("disk/a-v0")}


def test_a_directory_that_cannot_be_removed_stays_or_is_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    make_dataset(tmp_path / "a-v0")
    before = tree(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", full_disk)
        with pytest.raises(OSError, match="No space left"):
            remove_directory(tmp_path / "a-v0")
    assert tree(tmp_path) == before
    monkeypatch.setattr(shutil, "rmtree", full_disk)
    remove_directory(tmp_path / "a-v0")
    assert "No space left" in caplog.text
    assert list(catalog_entries(tmp_path)) == []


def test_of_two_that_remove_a_directory_one_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_dataset(tmp_path / "a-v0")
    real, calls = Path.rename, []

    def rename(path: Path, target: Path) -> Path:
        if not calls:
            calls.append(path)
            remove_directory(path)
        return real(path, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(DatasetNotFoundError, match="at the same moment"):
        remove_directory(tmp_path / "a-v0")
    assert list(tmp_path.iterdir()) == []


# replace_directory


@pytest.fixture(params=["exchanged", "renamed"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With and without a file system that can exchange directories."""
    if request.param == "renamed":
        monkeypatch.setattr(layout, "exchange", lambda first, second: False)
    return str(request.param)


def make(directory: Path, content: str) -> Path:
    directory.mkdir(parents=True)
    (directory / "file").write_text(content)
    return directory


def places(root: Path) -> tuple[Path, Path, Path]:
    (root / "work").mkdir(parents=True)
    return make(root / "work" / "new", "new"), make(root / "a-v0", "old"), root / "work" / "aside"


@needs_fork
def test_a_directory_is_replaced_at_once_wherever_it_is_killed(tmp_path: Path, way: str) -> None:
    found = []
    for at in range(1, 200):
        root = tmp_path / str(at)
        new, destination, aside = places(root)
        was_killed = killed(at, lambda: replace_directory(new, destination, aside))  # noqa: B023
        restored = restore_replaced(destination)
        found.append((destination / "file").read_text())
        if not was_killed:
            assert not restored
            assert tree(root) == {
                "a-v0": None,
                "a-v0/file": "new",
                "work": None,
                "work/aside": None,
                "work/aside/file": "old",
            }
            break
    assert found == sorted(found, reverse=True), "once it is the new one, it stays the new one"
    assert set(found) == {"old", "new"}


def test_a_replacement_that_fails_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "exchange", lambda first, second: False)
    new, destination, aside = places(tmp_path)
    make(tmp_path / ".a-v0.replaced", "older still")  # left by an interrupted one, and not in the way
    rename = Path.rename

    def refuse(path: Path, target: Path) -> Path:
        if path == new and target == destination:
            raise PermissionError(13, "Permission denied")
        return rename(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", refuse)
        with pytest.raises(PermissionError):
            replace_directory(new, destination, aside)
    assert (destination / "file").read_text() == "old"
    replace_directory(new, destination, aside)
    assert [(path / "file").read_text() for path in (destination, aside)] == ["new", "old"]


def test_directories_and_links_are_exchanged_where_the_system_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, link = make(tmp_path / "first", "1"), make(tmp_path / "second", "2"), tmp_path / "link"
    if not exchange(first, second):
        pytest.skip("this system or file system cannot exchange")
    assert [(path / "file").read_text() for path in (first, second)] == ["2", "1"]
    with pytest.raises(FileNotFoundError):
        exchange(first, tmp_path / "nothing")
    link.symlink_to(second)
    assert exchange(first, link)
    assert first.is_symlink()
    assert (link / "file").read_text() == "2"
    monkeypatch.setattr(sys, "platform", "another")
    assert not exchange(second, link)
    assert (link / "file").read_text() == "2"
