"""A directory takes the place of another one, and a kill at any moment leaves one of the two."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from minari._base import files
from minari._catalog import layout as publishing
from minari._catalog.layout import replace_directory, restore_replaced
from support.killing import killed


pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the child processes are forks")


@pytest.fixture(params=["exchanged", "renamed"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With and without a file system that can exchange directories."""
    if request.param == "renamed":
        monkeypatch.setattr(publishing, "exchange", lambda first, second: False)
    return str(request.param)


def make(directory: Path, content: str) -> Path:
    directory.mkdir(parents=True)
    (directory / "file").write_text(content)
    return directory


def places(root: Path) -> tuple[Path, Path, Path]:
    (root / "work").mkdir(parents=True)
    return make(root / "work" / "new", "new"), make(root / "a-v0", "old"), root / "work" / "aside"


def test_the_new_one_is_there_and_the_old_one_aside(tmp_path: Path, way: str) -> None:
    new, destination, aside = places(tmp_path)
    replace_directory(new, destination, aside)
    assert (destination / "file").read_text() == "new"
    assert (aside / "file").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a-v0", "work"]
    assert not new.exists()
    assert not restore_replaced(destination)


def test_killed_at_any_moment(tmp_path: Path, way: str) -> None:
    found = []
    for at in range(1, 200):
        new, destination, aside = places(tmp_path / str(at))
        was_killed = killed(at, lambda: replace_directory(new, destination, aside))  # noqa: B023
        restore_replaced(destination)
        found.append((destination / "file").read_text())
        if not was_killed:
            break
    assert found == sorted(found, reverse=True), "once it is the new one, it stays the new one"
    assert set(found) == {"old", "new"}


def test_a_failure_leaves_the_old_one(tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    new, destination, aside = places(tmp_path)
    real = Path.rename

    def refuse(path: Path, target: Path) -> Path:
        if path == new and target == destination:
            raise PermissionError(13, "Permission denied")
        return real(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    if way == "renamed":
        with pytest.raises(PermissionError):
            replace_directory(new, destination, aside)
        assert (destination / "file").read_text() == "old"
    monkeypatch.undo()


def test_what_an_interrupted_replacement_left_is_not_in_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "exchange", lambda first, second: False)
    new, destination, aside = places(tmp_path)
    make(tmp_path / ".a-v0.replaced", "older still")
    replace_directory(new, destination, aside)
    assert (aside / "file").read_text() == "old"


class TestExchange:
    def exchanged(self, first: Path, second: Path) -> None:
        if not files.exchange(first, second):
            pytest.skip("this system or file system cannot exchange")

    def test_directories_and_links(self, tmp_path: Path) -> None:
        first, second = make(tmp_path / "first", "1"), make(tmp_path / "second", "2")
        self.exchanged(first, second)
        assert [(path / "file").read_text() for path in (first, second)] == ["2", "1"]
        link = tmp_path / "link"
        link.symlink_to(second)
        self.exchanged(first, link)
        assert first.is_symlink()
        assert (link / "file").read_text() == "2"

    def test_what_is_missing(self, tmp_path: Path) -> None:
        self.exchanged(make(tmp_path / "first", "1"), make(tmp_path / "second", "2"))
        with pytest.raises(FileNotFoundError):
            files.exchange(tmp_path / "first", tmp_path / "nothing")

    def test_without_the_function(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(files, "_exchange_call", lambda: None)
        assert not files.exchange(make(tmp_path / "first", "1"), make(tmp_path / "second", "2"))
        assert (tmp_path / "first" / "file").read_text() == "1"
