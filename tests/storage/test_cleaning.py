"""Leftovers of killed programs: found, completed or removed; running programs are left alone."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minari
from minari._catalog import layout as publishing
from minari._catalog.layout import replace_directory
from minari._storages.journal import Overlay
from minari._storages.staged_directory import StagedOverlay
from minari.errors import DatasetBusyError, DatasetIdError, DatasetNotFoundError
from minari.storage.cleaning import clean, find_leftovers, remove
from minari.storage.transfer.work_dir import work_dir
from support.copies import require_format
from support.killing import killed


pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="the child processes are forks"),
    pytest.mark.filterwarnings("ignore:`.*` is set to None"),
    pytest.mark.filterwarnings("ignore:.*assumed that the observation space"),
]


def make(dataset_id: str, data_format: str = "hdf5", steps: int = 2) -> minari.MinariDataset:
    return minari.create_dataset_from_arrays(
        dataset_id,
        observations=np.arange(steps + 1.0),
        actions=np.zeros(steps),
        rewards=np.ones(steps),
        terminations=np.arange(steps) == steps - 1,
        data_format=data_format,
    )


def age(root: Path, seconds: float = 100.0) -> None:
    """As if everything had been there for a while."""
    then = time.time() - seconds
    for path in [root, *root.rglob("*")]:
        os.utime(path, (then, then), follow_symlinks=False)


def hidden(root: Path) -> list[str]:
    return sorted(path.name for path in root.rglob(".*") if path.name != ".lock" and not path.name.startswith(".index"))


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
def test_a_create_that_is_killed_anywhere(datasets_root: Path, then: str) -> None:
    """Nothing or all of it is there, and nothing is left of it in the end."""
    for at in range(1, 400, 7):
        was_killed = killed(at, lambda: make("n/x-v0"))
        age(datasets_root)
        if then == "clean":
            clean()
        elif not minari.list_local_datasets():
            make("n/x-v0")
        assert hidden(datasets_root) == []
        for dataset_id in minari.list_local_datasets():
            assert minari.load_dataset(dataset_id).total_steps == 2
            minari.delete_dataset(dataset_id)
        if not was_killed:
            break


def test_a_delete_that_is_killed_anywhere(datasets_root: Path) -> None:
    for at in range(1, 60):
        make("x-v0")
        was_killed = killed(at, lambda: minari.delete_dataset("x-v0"))
        is_there = "x-v0" in minari.list_local_datasets()
        clean()
        assert hidden(datasets_root) == []
        assert list(minari.list_local_datasets()) == (["x-v0"] if is_there else [])
        if is_there:
            minari.delete_dataset("x-v0")
        if not was_killed:
            break


def test_what_a_living_program_builds_is_left_alone(datasets_root: Path) -> None:
    with publishing.staged_directory(datasets_root / "x-v0") as staging:
        (staging / "data").mkdir()
        age(datasets_root, 10**6)
        assert find_leftovers() == []
        make("y-v0")
        with publishing.staged_directory(datasets_root / "x-v1"):
            pass
        assert (staging / "data").is_dir()
    assert (datasets_root / "x-v0" / "data").is_dir()


@pytest.mark.parametrize("data_format", ["hdf5", "arrow", "zarr"])
def test_a_change_is_completed(datasets_root: Path, data_format: str) -> None:
    require_format(data_format)
    dataset = make("x-v0", data_format)

    def append() -> None:
        for whole in (Overlay, StagedOverlay):
            whole.apply = die  # type: ignore[method-assign]
        dataset.storage.update_from_storage(dataset.storage)

    dying(append)
    (found,) = find_leftovers(["x-v0"])
    assert "completed" in found.what
    assert found.size > 0
    assert len(clean(["x-v0"])) == 1
    assert hidden(datasets_root) == []
    assert minari.load_dataset("x-v0").total_episodes == 2
    assert find_leftovers() == []


@pytest.mark.parametrize("name", [".journal", ".changes"])
def test_a_change_that_cannot_be_completed_is_removed_on_request(datasets_root: Path, name: str) -> None:
    dataset = make("x-v0", "hdf5" if name == ".journal" else "arrow")
    sign = dataset.storage.data_path / name
    if name == ".journal":
        sign.write_bytes(b"minari journal 1\n and so on")
    else:
        sign.mkdir()
        (sign / "metadata.json").write_text("{}")
    assert find_leftovers() == []
    assert len(clean(discard_changes=True)) == 1
    assert minari.load_dataset("x-v0").total_steps == 2
    assert hidden(datasets_root) == []


def test_a_dataset_that_was_about_to_be_replaced(datasets_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publishing, "exchange", lambda first, second: False)
    make("x-v0")
    make("new-v0", steps=5)

    def replace() -> None:
        real = Path.rename

        def rename(path: Path, target: Path) -> Path:
            return real(path, target) if target.name.startswith(".") else die()  # type: ignore[func-returns-value]

        Path.rename = rename  # type: ignore[method-assign]
        replace_directory(datasets_root / "new-v0", datasets_root / "x-v0", datasets_root / "aside")

    for bring_back in (lambda: minari.load_dataset("x-v0"), lambda: clean(["x-v0"])):
        dying(replace)
        assert hidden(datasets_root) == [".x-v0.replaced"]
        bring_back()
        assert minari.load_dataset("x-v0").total_steps == 2
        assert hidden(datasets_root) == []


def test_downloads(datasets_root: Path) -> None:
    directory = datasets_root / ".x-v0.download"
    with work_dir(directory, "testing"):
        (directory / "files").mkdir()
        (directory / "files" / "f").write_bytes(bytes(1000))
        assert find_leftovers() == []

    def fail() -> None:
        with work_dir(directory, "testing"):
            (directory / "files").mkdir()
            (directory / "files" / "f").write_bytes(bytes(1000))
            die()

    dying(fail)
    (found,) = find_leftovers(["x-v0"])
    assert (found.size, found.path) == (1000, directory)
    with work_dir(directory, "testing"), pytest.raises(DatasetBusyError):
        remove(found)
    dying(fail)
    clean()
    assert hidden(datasets_root) == []


def test_what_a_writer_is_at_is_left_alone(datasets_root: Path) -> None:
    dataset = make("x-v0", "arrow")
    staged = dataset.storage.data_path / ".staged"
    with dataset.storage._writer():
        staged.mkdir()
        assert find_leftovers() == []
    staged.mkdir()
    (dataset.storage.data_path / ".metadata.json.0123456789ab.partial").write_text("half")
    found = find_leftovers()
    assert len(found) == 2
    with dataset.storage._writer():
        for leftover in found:
            with pytest.raises(DatasetBusyError):
                remove(leftover)
    (staged / "half").parent.mkdir(exist_ok=True)
    clean()
    assert hidden(datasets_root) == []


def test_links_are_no_leftovers(datasets_root: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "file").write_text("mine")
    make("x-v0")
    for name in (".x-v0.0123456789ab.partial", ".x-v0.abcdefgh.deleted", ".y-v0.replaced", ".x-v0.download"):
        (datasets_root / name).symlink_to(victim)
    (datasets_root / "x-v0" / "data" / ".staged").symlink_to(victim)
    age(datasets_root, 10**6)
    clean()
    assert (victim / "file").read_text() == "mine"
    assert not (datasets_root / "y-v0").exists()


def test_unknown_and_malformed_ids(datasets_root: Path) -> None:
    make("x-v0")
    with pytest.raises(DatasetNotFoundError):
        find_leftovers(["x-v0", "y-v0"])
    with pytest.raises(DatasetIdError):
        clean(["../x"])
    assert clean() == []
