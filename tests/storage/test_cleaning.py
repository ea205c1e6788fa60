"""Leftovers of killed programs: found, completed or removed; running programs are left alone."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import minari
from minari._catalog import layout
from minari._storages.journal import Overlay
from minari._storages.staged_directory import StagedOverlay
from minari.dataset._storages.file_lock import folder_lock
from minari.errors import DatasetBusyError, DatasetIdError, DatasetNotFoundError
from minari.storage.cleaning import clean, find_leftovers, remove
from minari.storage.transfer.work_dir import work_dir
from support.copies import require_format
from support.killing import killed


pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="the child processes are forks"),
    pytest.mark.filterwarnings("ignore:`.*` is set to None"),
]
Record = Callable[..., minari.MinariDataset]


def age(root: Path, seconds: float = 100.0) -> None:
    """As if everything had been there for a while."""
    then = time.time() - seconds
    for path in [root, *root.rglob("*")]:
        os.utime(path, (then, then), follow_symlinks=False)


def hidden(root: Path) -> list[str]:
    return sorted(path.name for path in root.rglob(".*") if path.name != ".lock" and not path.name.startswith(".index"))


def assert_clean(root: Path, totals: dict[str, int]) -> None:
    """Require that nothing is left, and the local datasets with their numbers of episodes."""
    assert hidden(root) == []
    assert find_leftovers() == []
    assert {name: minari.load_dataset(name).total_episodes for name in minari.list_local_datasets()} == totals


def dying(work: Callable[[], Any]) -> None:
    """Do something in a process that is killed when it says so, by calling ``die``."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(1)
    os.waitpid(child, 0)


def die(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("then", ["clean", "make it again"])
def test_killed_create_leaves_nothing_or_all(datasets_root: Path, record: Record, then: str) -> None:
    for at in range(1, 400, 7):
        was_killed = killed(at, lambda: record("n/x-v0"))
        age(datasets_root)
        if then == "clean":
            clean()
        elif not minari.list_local_datasets():
            record("n/x-v0")
        assert hidden(datasets_root) == []
        for dataset_id in minari.list_local_datasets():
            assert minari.load_dataset(dataset_id).total_steps == 2
            minari.delete_dataset(dataset_id)
        if not was_killed:
            break


def test_killed_delete_leaves_nothing_or_all(datasets_root: Path, record: Record) -> None:
    for at in range(1, 60):
        record("x-v0")
        was_killed = killed(at, lambda: minari.delete_dataset("x-v0"))
        is_there = "x-v0" in minari.list_local_datasets()
        clean()
        assert_clean(datasets_root, {"x-v0": 1} if is_there else {})
        if is_there:
            minari.delete_dataset("x-v0")
        if not was_killed:
            break


def test_running_programs_are_left_alone(datasets_root: Path, record: Record) -> None:
    with layout.staged_directory(datasets_root / "x-v0") as staging:
        (staging / "data").mkdir()
        age(datasets_root, 10**6)
        assert find_leftovers() == []
        record("y-v0")
        with layout.staged_directory(datasets_root / "x-v1"):
            pass
        assert (staging / "data").is_dir()
    assert (datasets_root / "x-v0" / "data").is_dir()


def test_writers_are_left_alone(datasets_root: Path, record: Record) -> None:
    data_path = record("x-v0", data_format="arrow").storage.data_path
    staged = data_path / ".staged"
    with folder_lock(data_path):
        staged.mkdir()
        assert find_leftovers() == []
    (data_path / ".metadata.json.0123456789ab.partial").write_text("half")
    found = find_leftovers()
    assert len(found) == 2
    with folder_lock(data_path):
        for leftover in found:
            with pytest.raises(DatasetBusyError):
                remove(leftover)
    staged.mkdir(exist_ok=True)
    clean()
    assert_clean(datasets_root, {"x-v0": 1})


@pytest.mark.parametrize("data_format", ["hdf5", "arrow", "zarr"])
def test_interrupted_change_is_completed(datasets_root: Path, record: Record, data_format: str) -> None:
    require_format(data_format)
    dataset = record("x-v0", data_format=data_format)

    def append() -> None:
        for kind in (Overlay, StagedOverlay):
            kind.apply = die  # type: ignore[method-assign]
        dataset.storage.update_from_storage(dataset.storage)

    dying(append)
    (found,) = find_leftovers(["x-v0"])
    assert "completed" in found.what
    assert found.size > 0
    assert len(clean(["x-v0"])) == 1
    assert_clean(datasets_root, {"x-v0": 2})


@pytest.mark.parametrize("name", [".journal", ".changes"])
def test_incomplete_change_is_removed_on_request(datasets_root: Path, record: Record, name: str) -> None:
    sign = record("x-v0", data_format="hdf5" if name == ".journal" else "arrow").storage.data_path / name
    if name == ".journal":
        sign.write_bytes(b"minari journal 1\n and so on")
    else:
        sign.mkdir()
        (sign / "metadata.json").write_text("{}")
    assert find_leftovers() == []
    assert len(clean(discard_changes=True)) == 1
    assert_clean(datasets_root, {"x-v0": 1})


def test_replaced_dataset_is_brought_back(datasets_root: Path, record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "exchange", lambda first, second: False)
    record("x-v0")
    record("new-v0", 5)

    def replace() -> None:
        rename = Path.rename
        Path.rename = lambda path, to: rename(path, to) if to.name.startswith(".") else die()  # type: ignore
        layout.replace_directory(datasets_root / "new-v0", datasets_root / "x-v0", datasets_root / "aside")

    for bring_back in (lambda: minari.load_dataset("x-v0"), lambda: clean(["x-v0"])):
        dying(replace)
        assert hidden(datasets_root) == [".x-v0.replaced"]
        bring_back()
        assert_clean(datasets_root, {"new-v0": 5, "x-v0": 1})


def test_killed_download_is_removed(datasets_root: Path) -> None:
    directory = datasets_root / ".x-v0.download"

    def download(then: Callable[[], object]) -> None:
        with work_dir(directory, "testing"):
            (directory / "files").mkdir(exist_ok=True)
            (directory / "files" / "f").write_bytes(bytes(1000))
            then()

    found: list[Any] = []
    download(lambda: found.extend(find_leftovers()))
    assert found == []
    dying(lambda: download(die))
    (leftover,) = find_leftovers(["x-v0"])
    assert (leftover.size, leftover.path) == (1000, directory)
    with work_dir(directory, "testing"), pytest.raises(DatasetBusyError):
        remove(leftover)
    dying(lambda: download(die))
    clean()
    assert_clean(datasets_root, {})


def test_links_are_no_leftovers(datasets_root: Path, record: Record, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "file").write_text("mine")
    record("x-v0")
    names = (".x-v0.0123456789ab.partial", ".x-v0.abcdefgh.deleted", ".y-v0.replaced", ".x-v0.download")
    for name in (*names, "x-v0/data/.staged"):
        (datasets_root / name).symlink_to(victim)
    age(datasets_root, 10**6)
    clean()
    assert (victim / "file").read_text() == "mine"
    assert not (datasets_root / "y-v0").exists()


def test_unknown_and_malformed_ids_are_refused(datasets_root: Path, record: Record) -> None:
    record("x-v0")
    with pytest.raises(DatasetNotFoundError):
        find_leftovers(["x-v0", "y-v0"])
    with pytest.raises(DatasetIdError):
        clean(["../x"])
    assert clean() == []
