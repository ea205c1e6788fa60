"""A file holds its old text or its new one, whatever goes wrong and when."""

from __future__ import annotations

import errno
import os
import stat
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from minari._base import atomic
from minari._base.atomic import EarlyWriteBack, write_atomically
from minari.data_collector import EpisodeBuffer
from minari.dataset.minari_storage import MinariStorage
from minari.errors import StorageError


def contents(directory: Path) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in directory.iterdir()}


def full_disk(*args: Any, **kwargs: Any) -> Any:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_file_is_written_and_replaced(tmp_path: Path) -> None:
    file = tmp_path / "metadata.json"
    for text in ("first\n", "second, é漢🎉\r\n", ""):
        write_atomically(file, text)
        assert file.read_bytes() == text.encode("utf-8")
    assert list(contents(tmp_path)) == ["metadata.json"]


@pytest.mark.parametrize("function", ["os.fsync", "pathlib.Path.replace", None])
def test_a_failure_leaves_the_old_text(function: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "metadata.json"
    file.write_text("old")
    if function is not None:
        monkeypatch.setattr(function, full_disk)
    with pytest.raises(OSError if function else UnicodeEncodeError):
        write_atomically(file, "new" if function else "\ud800")
    assert contents(tmp_path) == {"metadata.json": "old"}


def test_a_directory_that_cannot_be_flushed_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "open", full_disk)
    write_atomically(tmp_path / "file", "text")
    assert (tmp_path / "file").read_text() == "text"


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_permissions_stay(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("old")
    file.chmod(0o640)
    write_atomically(file, "new")
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    (tmp_path / "plain").write_text("")
    write_atomically(tmp_path / "new", "")
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "new")}
    assert len(modes) == 1


@pytest.mark.parametrize("leads", ["to a file", "nowhere"])
def test_a_link_is_replaced_and_not_followed(tmp_path: Path, leads: str) -> None:
    target = tmp_path / "target"
    if leads == "to a file":
        target.write_text("old")
    link = tmp_path / "link"
    link.symlink_to(target)
    write_atomically(link, "new")
    assert not link.is_symlink()
    assert link.read_text() == "new"
    assert target.exists() == (leads == "to a file")
    assert not target.exists() or target.read_text() == "old"


def test_readers_find_one_text_or_the_other(tmp_path: Path) -> None:
    file = tmp_path / "file"
    texts = {letter * 200_000 for letter in "ab"}
    write_atomically(file, next(iter(texts)))
    done = threading.Event()
    odd: list[int] = []

    def read() -> None:
        while not done.is_set():
            if (text := file.read_text(encoding="utf-8")) not in texts:
                odd.append(len(text))

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(20):
        for text in texts:
            write_atomically(file, text)
    done.set()
    reader.join()
    assert odd == []


def test_write_back_begins_with_enough_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[int] = []
    monkeypatch.setattr(atomic, "_write_back", flushed.append)
    with (tmp_path / "file").open("wb") as file:
        early = EarlyWriteBack(file.fileno())
        early.written(2**20)
        early.wait()
        assert not flushed
        early.written(2**23)
        early.wait()
        assert flushed == [file.fileno()]


def test_a_failure_to_write_back_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system reports that bytes have been lost to the first flush only: the last one would succeed."""

    space = spaces.Box(-1, 1, (2**18,), np.float64)
    storage = MinariStorage.new(tmp_path, space, spaces.Discrete(2), data_format="hdf5")
    flags = np.zeros(5, bool)
    large = EpisodeBuffer(
        observations=np.zeros((6, 2**18)), actions=np.arange(5) % 2, rewards=np.ones(5), terminations=flags,
        truncations=flags,
    )  # fmt: skip
    for expected in (0, 1):  # of a new file, and of one that grows
        monkeypatch.setattr(atomic, "_write_back", full_disk)
        with pytest.raises(StorageError, match="No space left"):
            storage.update_episodes([large])
        assert MinariStorage.read(tmp_path).total_episodes == expected
        monkeypatch.setattr(atomic, "_write_back", os.fsync)
        storage.update_episodes([large])
    for episode in MinariStorage.read(tmp_path, verify_checksums=True).get_episodes(range(2)):
        assert not episode["observations"].any()
