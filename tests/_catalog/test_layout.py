"""Directories and files appear atomically, whatever fails and when."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import pytest

from minari._base.files import NAMESPACE_METADATA_FILENAME
from minari._catalog.layout import (
    dataset_exists,
    ensure_namespace_directories,
    publish_directory,
    remove_directory,
    staged_directory,
)
from minari._catalog.listing import catalog_entries
from minari.errors import DatasetExistsError, DatasetIdError, DatasetNotFoundError


def tree(root: Path) -> dict[str, str | None]:
    """Every file below a directory with its content, and every directory."""
    return {
        path.relative_to(root).as_posix(): path.read_text(encoding="utf-8") if path.is_file() else None
        for path in sorted(root.rglob("*"))
    }


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def make_dataset(directory: Path, content: str = "content") -> Path:
    (directory / "data").mkdir(parents=True)
    (directory / "data" / "file").write_text(content)
    return directory


def full_disk(*args: Any, **kwargs: Any) -> Any:
    raise OSError(errno.ENOSPC, "No space left on device")


class TestStagedDirectory:
    def test_it_appears_whole_at_the_end(self, tmp_path: Path) -> None:
        destination = tmp_path / "ns" / "deep" / "a-v0"
        with staged_directory(destination) as staging:
            assert staging.is_dir()
            assert staging.parent == destination.parent
            assert staging.name.startswith(".")
            assert list(staging.iterdir()) == []
            make_dataset(staging / "inside")
            assert not destination.exists()
        assert not staging.exists()
        assert tree(destination) == {"inside": None, "inside/data": None, "inside/data/file": "content"}
        assert [path.name for path in destination.parent.iterdir()] == ["a-v0"]

    @pytest.mark.parametrize("error", [ValueError, OSError, KeyboardInterrupt, SystemExit])
    def test_nothing_is_left_of_what_failed(self, error: type[BaseException], tmp_path: Path) -> None:
        def build() -> None:
            with staged_directory(tmp_path / "ns" / "deep" / "deeper" / "a-v0") as staging:
                make_dataset(staging)
                raise error

        (tmp_path / "ns").mkdir()
        with pytest.raises(error):
            build()
        assert tree(tmp_path) == {"ns": None}

    def test_parents_that_others_use_by_now_stay(self, tmp_path: Path) -> None:
        def build() -> None:
            with staged_directory(tmp_path / "ns" / "a-v0"):
                make_dataset(tmp_path / "ns" / "b-v0")
                raise ValueError("failed")

        with pytest.raises(ValueError, match="failed"):
            build()
        assert dataset_exists(tmp_path / "ns" / "b-v0")
        assert names(tmp_path / "ns") == ["b-v0"]

    @pytest.mark.parametrize("kind", ["dataset", "namespace", "directory", "file", "dangling link"])
    def test_what_is_there_is_never_overwritten(self, kind: str, tmp_path: Path) -> None:
        destination = tmp_path / "a-v0"
        if kind == "dataset":
            make_dataset(destination)
        elif kind == "namespace":
            ensure_namespace_directories(tmp_path, "a-v0")
        elif kind == "directory":
            destination.mkdir()
        elif kind == "file":
            destination.write_text("mine")
        else:
            destination.symlink_to(tmp_path / "nowhere")
        before = tree(tmp_path)
        with pytest.raises(DatasetExistsError, match=r"a-v0 already exists"), staged_directory(destination):
            pytest.fail("the block was entered")
        assert tree(tmp_path) == before

    def test_who_comes_second_leaves_the_first_alone(self, tmp_path: Path) -> None:
        destination = tmp_path / "a-v0"

        def overtake() -> None:
            with staged_directory(destination) as fast:
                make_dataset(fast, "fast")

        with pytest.raises(DatasetExistsError), staged_directory(destination):
            overtake()
        assert tree(tmp_path) == {"a-v0": None, "a-v0/data": None, "a-v0/data/file": "fast"}

    def test_the_rename_itself_does_not_overwrite(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        destination = tmp_path / "a-v0"
        rename = Path.rename

        def overtaken(path: Path, target: Path) -> Path:
            make_dataset(destination, "first")
            return rename(path, target)

        monkeypatch.setattr(Path, "rename", overtaken)
        with pytest.raises(DatasetExistsError), staged_directory(destination) as staging:
            make_dataset(staging, "second")
        assert tree(tmp_path) == {"a-v0": None, "a-v0/data": None, "a-v0/data/file": "first"}

    def test_one_of_many_at_once_wins(self, tmp_path: Path) -> None:
        destination = tmp_path / "ns" / "a-v0"
        barrier = threading.Barrier(8)
        outcomes: list[str] = []

        def build(number: int) -> None:
            try:
                with staged_directory(destination) as staging:
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
        assert outcomes.count("taken") == 7
        winner = next(outcome for outcome in outcomes if outcome != "taken")
        assert tree(tmp_path / "ns") == {"a-v0": None, "a-v0/data": None, "a-v0/data/file": winner}

    def test_no_dataset_inside_another(self, tmp_path: Path) -> None:
        outer = make_dataset(tmp_path / "a-v0")
        before = tree(tmp_path)
        for inner in (outer / "b-v0", outer / "data" / "ns" / "b-v0"):
            with pytest.raises(DatasetExistsError, match="inside the dataset"), staged_directory(inner):
                pytest.fail("the block was entered")
        assert tree(tmp_path) == before

    def test_a_directory_called_data_beside_the_root_is_no_dataset(self, tmp_path: Path) -> None:
        (tmp_path / "data").mkdir()
        with staged_directory(tmp_path / "datasets" / "a-v0") as staging:
            make_dataset(staging)
        assert dataset_exists(tmp_path / "datasets" / "a-v0")

    def test_a_failed_move_cleans_up(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Path, "rename", full_disk)
        with (
            pytest.raises(OSError, match="No space left"),
            staged_directory(tmp_path / "ns" / "a-v0") as staging,
        ):
            make_dataset(staging)
        assert tree(tmp_path) == {}

    def test_what_the_disk_could_not_take_does_not_appear(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Some systems say only when they flush that the disk is full."""

        def refuse(_: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "fsync", refuse)
        with pytest.raises(OSError, match="No space left"), staged_directory(tmp_path / "ns" / "a-v0") as staging:
            (staging / "file").write_bytes(b"data")
        assert list(tmp_path.iterdir()) == []

    def test_files_that_may_only_be_read_are_flushed_too(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        flushed: list[tuple[int, int]] = []
        fsync = os.fsync

        def counted(descriptor: int) -> None:
            status = os.fstat(descriptor)
            flushed.append((status.st_dev, status.st_ino))
            fsync(descriptor)

        monkeypatch.setattr(os, "fsync", counted)
        with staged_directory(tmp_path / "a-v0") as staging:
            (staging / "data").mkdir()
            (staging / "data" / "file").write_bytes(b"data")
            (staging / "data" / "file").chmod(0o444)
            (staging / "data" / ".hidden").write_bytes(b"can be recreated")
        found = {path.name: path.stat() for path in (tmp_path / "a-v0").rglob("*")}
        assert {name for name, status in found.items() if (status.st_dev, status.st_ino) in flushed} == {"data", "file"}

    def test_a_directory_that_cannot_be_made_cleans_up(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        mkdir = Path.mkdir

        def full_at_last(path: Path, *args: Any, **kwargs: Any) -> None:
            if path.name.startswith("."):
                full_disk()
            mkdir(path, *args, **kwargs)

        monkeypatch.setattr(Path, "mkdir", full_at_last)
        with pytest.raises(OSError, match="No space left"), staged_directory(tmp_path / "ns" / "a-v0"):
            pytest.fail("the block was entered")
        assert tree(tmp_path) == {}

    @pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
    def test_it_is_as_readable_as_any_new_directory(self, tmp_path: Path) -> None:
        (tmp_path / "plain").mkdir()
        with staged_directory(tmp_path / "a-v0"):
            pass
        modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "a-v0")}
        assert len(modes) == 1

    def test_a_killed_program_leaves_nothing_that_looks_like_a_dataset(self, tmp_path: Path) -> None:
        program = """
            import os, sys
            from pathlib import Path
            from minari._catalog.layout import staged_directory
            with staged_directory(Path(sys.argv[1]) / "ns" / "a-v0") as staging:
                (staging / "data").mkdir()
                (staging / "data" / "file").write_text("half")
                os._exit(9)
        """
        run = subprocess.run([sys.executable, "-c", textwrap.dedent(program), tmp_path], check=False)
        assert run.returncode == 9
        assert [name for name, _ in catalog_entries(tmp_path)] == ["ns"]
        with staged_directory(tmp_path / "ns" / "a-v0") as staging:
            make_dataset(staging)
        assert dataset_exists(tmp_path / "ns" / "a-v0")


class TestPublishDirectory:
    def test_a_finished_directory_moves_whole(self, tmp_path: Path) -> None:
        finished = make_dataset(tmp_path / ".finished")
        publish_directory(finished, tmp_path / "ns" / "a-v0")
        assert not finished.exists()
        assert tree(tmp_path / "ns") == {"a-v0": None, "a-v0/data": None, "a-v0/data/file": "content"}

    @pytest.mark.parametrize("taken", ["a-v0", "a-v0/b-v0"])
    def test_it_stays_where_it_is_when_the_place_is_taken(self, taken: str, tmp_path: Path) -> None:
        make_dataset(tmp_path / "a-v0")
        finished = make_dataset(tmp_path / ".finished")
        before = tree(tmp_path)
        with pytest.raises(DatasetExistsError):
            publish_directory(finished, tmp_path / taken)
        assert tree(tmp_path) == before

    def test_a_failed_move_changes_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        finished = make_dataset(tmp_path / ".finished")
        before = tree(tmp_path)
        monkeypatch.setattr(Path, "rename", full_disk)
        with pytest.raises(OSError, match="No space left"):
            publish_directory(finished, tmp_path / "ns" / "a-v0")
        assert tree(tmp_path) == before


class TestCatalog:
    def test_what_is_a_dataset(self, tmp_path: Path) -> None:
        assert dataset_exists(make_dataset(tmp_path / "a-v0"))
        for name in ("namespace", ".a-v0.x.partial", "a-v01"):
            assert not dataset_exists(make_dataset(tmp_path / name))
        (tmp_path / "b-v0").mkdir()
        assert not dataset_exists(tmp_path / "b-v0")
        assert not dataset_exists(tmp_path / "c-v0")

    def test_it_lists_all_directories_but_hidden_ones_and_data(self, tmp_path: Path) -> None:
        for dataset in (
            "a-v0",
            "ns/b-v1",
            "ns/deep/c-v2",
            ".hidden/d-v0",
            "ns/.e-v0.partial",
            "a-v0/inner-v0",
        ):
            make_dataset(tmp_path / dataset)
        make_dataset(tmp_path / "data" / "f-v0")
        (tmp_path / "a-v0" / "data" / "0").mkdir()
        (tmp_path / "odd name").mkdir()
        (tmp_path / "file-v0").write_text("")
        found = dict(catalog_entries(tmp_path))
        assert sorted(found) == [
            *("a-v0", "a-v0/inner-v0", "data", "data/f-v0", "ns", "ns/b-v1", "ns/deep", "ns/deep/c-v2")
        ]
        assert all(found[name] == tmp_path / name for name in found)

    def test_nothing_without_a_root(self, tmp_path: Path) -> None:
        assert list(catalog_entries(tmp_path / "nowhere")) == []

    def test_links_are_followed_but_not_for_ever(self, tmp_path: Path) -> None:
        root = tmp_path / "root"
        make_dataset(root / "disk" / "a-v0")
        (root / "linked").symlink_to(root / "disk", target_is_directory=True)
        (root / "disk" / "loop").symlink_to(root, target_is_directory=True)
        names = [name for name, _ in catalog_entries(root)]
        assert "linked/a-v0" in names
        assert len(names) < 10


class TestNamespaceDirectories:
    def test_each_level_gets_its_metadata(self, tmp_path: Path) -> None:
        ensure_namespace_directories(tmp_path / "root", "a/b")
        assert tree(tmp_path / "root") == {
            "a": None,
            f"a/{NAMESPACE_METADATA_FILENAME}": "{}",
            "a/b": None,
            f"a/b/{NAMESPACE_METADATA_FILENAME}": "{}",
        }

    def test_what_is_there_stays(self, tmp_path: Path) -> None:
        file = tmp_path / "a" / NAMESPACE_METADATA_FILENAME
        file.parent.mkdir()
        file.write_text('{"description": "mine"}')
        ensure_namespace_directories(tmp_path, "a/b")
        ensure_namespace_directories(tmp_path, None)
        assert file.read_text() == '{"description": "mine"}'
        assert (tmp_path / "a" / "b" / NAMESPACE_METADATA_FILENAME).read_text() == "{}"

    def test_a_dataset_is_no_namespace(self, tmp_path: Path) -> None:
        make_dataset(tmp_path / "a" / "b-v0")
        before = tree(tmp_path)
        for namespace in ("a/b-v0", "a/b-v0/c"):
            with pytest.raises(DatasetExistsError, match="is a dataset"):
                ensure_namespace_directories(tmp_path, namespace)
        with pytest.raises(DatasetIdError):
            ensure_namespace_directories(tmp_path, "../a")
        assert tree(tmp_path) == before

    def test_a_full_disk_leaves_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        calls: list[int] = []
        fsync = os.fsync

        def second_time_full(descriptor: int) -> None:
            calls.append(descriptor)
            if len(calls) > 2:  # the first file and its directory
                full_disk()
            fsync(descriptor)

        monkeypatch.setattr(os, "fsync", second_time_full)
        with pytest.raises(OSError, match="No space left"):
            ensure_namespace_directories(tmp_path, "a/b")
        assert tree(tmp_path) == {}


class TestRemoveDirectory:
    def test_it_is_gone_with_all_that_is_in_it(self, tmp_path: Path) -> None:
        make_dataset(tmp_path / "a-v0")
        make_dataset(tmp_path / "b-v0")
        remove_directory(tmp_path / "a-v0")
        assert names(tmp_path) == ["b-v0"]

    @pytest.mark.parametrize("name", ["nowhere", "file"])
    def test_only_directories(self, name: str, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("mine")
        with pytest.raises(DatasetNotFoundError, match=name):
            remove_directory(tmp_path / name)
        assert tree(tmp_path) == {"file": "mine"}

    def test_what_cannot_be_moved_is_as_before(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        make_dataset(tmp_path / "a-v0")
        before = tree(tmp_path)
        monkeypatch.setattr(Path, "rename", full_disk)
        with pytest.raises(OSError, match="No space left"):
            remove_directory(tmp_path / "a-v0")
        assert tree(tmp_path) == before

    def test_what_cannot_be_deleted_is_hidden(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        make_dataset(tmp_path / "a-v0")
        monkeypatch.setattr("shutil.rmtree", full_disk)
        remove_directory(tmp_path / "a-v0")
        assert "No space left" in caplog.text
        assert list(catalog_entries(tmp_path)) == []

    def test_of_two_that_delete_it_one_is_told(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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

    def test_a_link_is_deleted_and_not_what_it_points_to(self, tmp_path: Path) -> None:
        target = make_dataset(tmp_path / "disk" / "a-v0")
        link = tmp_path / "a-v0"
        link.symlink_to(target, target_is_directory=True)
        remove_directory(link)
        assert not link.is_symlink()
        assert dataset_exists(target)
