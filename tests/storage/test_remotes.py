"""Remotes: how they are found by their address, and the directory as a remote."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import textwrap
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minari._base.settings import get_default_remote
from minari._storages.journal import JOURNAL_NAME, FileTransaction, Overlay
from minari.errors import (
    DatasetBusyError,
    MinariError,
    MissingDependencyError,
    RemoteError,
)
from minari.progress import observe_progress
from minari.storage.remotes import (
    DEFAULT_REMOTE,
    CloudStorage,
    get_cloud_storage,
    get_remote_schemes,
    register_remote,
    registry,
    split_address,
)
from minari.storage.remotes.directory import FileStorage
from minari.storage.transfer.index import parse_index
from minari.storage.transfer.remote_files import file_within
from minari.testing.remote_conformance import BIG, RemoteConformance
from support.remotes import (
    NAMESPACE_FILE,
    Interference,
    interrupt,
    tree,
    uploaded,
    visible,
    write_dataset,
    write_namespace,
)


@pytest.fixture
def share(tmp_path: Path) -> Path:
    directory = tmp_path / "shared lab"
    directory.mkdir()
    return directory


class Elsewhere(FileStorage):
    """A remote that a package would bring; it only remembers what it was made with."""

    __init__ = CloudStorage.__init__
    find_location = CloudStorage.find_location
    split_location = CloudStorage.split_location


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Registers a remote for the time of one test."""
    module = types.ModuleType("elsewhere_of_a_package")
    module.Elsewhere = Elsewhere  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(registry, "_remotes", dict(registry._remotes))
    return lambda scheme, target: register_remote(scheme, target, "a-package")


class TestAddresses:
    def test_the_default(self, share: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert DEFAULT_REMOTE == "hf://farama-minari" == get_default_remote()
        assert get_cloud_storage().address == DEFAULT_REMOTE
        monkeypatch.setenv("MINARI_REMOTE", share.as_uri())
        assert isinstance(get_cloud_storage(), FileStorage)
        monkeypatch.setenv("MINARI_REMOTE", "nonsense")
        with pytest.raises(RemoteError, match="nonsense"):
            get_cloud_storage()

    @pytest.mark.parametrize("address", ["", "file", "file:/x", "file://", "://x", "1x://y", "a b://c", None, 3])
    def test_malformed(self, address: Any) -> None:
        with pytest.raises(RemoteError, match=r"scheme://name.*got .*file") as caught:
            get_cloud_storage(address if address is not None else "")
        assert isinstance(caught.value, ValueError)
        with pytest.raises(RemoteError, match="scheme://name"):
            split_address(address)

    def test_an_unknown_scheme_names_the_known_ones(self) -> None:
        for call in (get_cloud_storage, split_address):
            with pytest.raises(RemoteError, match=r"'far'.*file://.*hf://.*minari\.remotes"):
                call("far://bucket/x-v0")

    def test_what_lies_on_the_default_remote(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert split_address("gcp://bucket/lab/a/x-v0") == ("gcp://bucket", "lab/a/x-v0")
        monkeypatch.setenv("MINARI_REMOTE", "gcp://bucket/lab/")
        assert split_address("gcp://bucket/lab/a/x-v0") == ("gcp://bucket/lab", "a/x-v0")
        assert split_address("gcp://bucket/lab2/x-v0") == ("gcp://bucket", "lab2/x-v0")

    @pytest.mark.parametrize("number", [0, -1, True, 1.5, "2"])
    def test_a_number_of_workers(self, number: Any, share: Path) -> None:
        with pytest.raises(RemoteError, match="max_workers must be a number from 1"):
            get_cloud_storage(share.as_uri(), max_workers=number)

    def test_a_directory_has_nothing_private(self, share: Path) -> None:
        with pytest.raises(RemoteError, match="cannot keep single datasets private"):
            get_cloud_storage(share.as_uri(), private=True)

    def test_the_token_is_not_shown(self, share: Path) -> None:
        assert "secret" not in repr(get_cloud_storage(share.as_uri(), "secret"))

    def test_a_registered_one(self, registered: Callable[[str, str], None]) -> None:
        registered("hf", "elsewhere_of_a_package:Elsewhere")
        assert "hf" in get_remote_schemes()
        remote = get_cloud_storage("HF://farama-minari/", "secret")
        assert isinstance(remote, Elsewhere)
        assert (remote.name, remote.token) == ("farama-minari", "secret")
        assert split_address("hf://org/D4RL/door/human-v2") == ("hf://org", "D4RL/door/human-v2")
        assert split_address("hf://org") == ("hf://org", "")

    def test_one_that_is_not_installed(self, registered: Callable[[str, str], None]) -> None:
        registered("far", "package_that_is_absent:Far")
        with pytest.raises(MissingDependencyError, match=r'package_that_is_absent.*pip install "a-package"'):
            get_cloud_storage("far://x")

    def test_an_entry_point(self, registered: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch) -> None:
        def entry_points(group: str) -> list[Any]:
            assert group == "minari.remotes"
            point = types.SimpleNamespace(name="far", value="elsewhere_of_a_package:Elsewhere", dist=None, module="m")
            # A package does not take the place of what the library brings itself.
            return [point, types.SimpleNamespace(name="file", value="absent:X", dist=None, module="m")]

        monkeypatch.setattr("importlib.metadata.entry_points", entry_points)
        assert {"far", "file", "hf"} <= set(get_remote_schemes())
        assert isinstance(get_cloud_storage("far://bucket"), Elsewhere)
        assert split_address("file:///x-v0") == ("file:///", "x-v0")


@pytest.mark.parametrize("name", ["", ".", "..", "a/..", "/a", "a//b", "a/", "a\\b", "C:a", "a\0b"])
def test_names_that_lead_out_of_a_directory(name: str) -> None:
    with pytest.raises(RemoteError, match="nothing is copied"):
        file_within(Path("x-v0"), name)


class TestFileStorage(RemoteConformance):
    """The promises of every remote, and those of a directory."""

    @pytest.fixture
    def address(self, share: Path) -> str:
        return share.as_uri()

    def test_the_layout_is_that_of_a_root(self, remote: CloudStorage, share: Path, datasets_root: Path) -> None:
        write_namespace(datasets_root, "a")
        write_dataset(datasets_root, "a/x-v0")
        remote.upload_namespace("a")
        remote.upload_dataset("a/x-v0")
        assert "a/x-v0/data/manifest.json" in tree(share)
        assert uploaded(share) == tree(datasets_root)

    def test_the_index_tells_what_there_is(self, remote: CloudStorage, share: Path, datasets_root: Path) -> None:
        write_dataset(share, "a/put-here-v0")
        for dataset_id in ("x-v0", "a/x-v1"):
            write_dataset(datasets_root, dataset_id)
            remote.upload_dataset(dataset_id)
        index = parse_index((share / "datasets_index.json.gz").read_bytes())
        assert index == {
            dataset_id: (share / dataset_id / "data/metadata.json").read_bytes()
            for dataset_id in ("a/put-here-v0", "a/x-v1", "x-v0")
        }

    def test_a_dataset_is_there_even_where_the_index_cannot_be_written(
        self, remote: CloudStorage, share: Path, datasets_root: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (share / "datasets_index.json.gz").mkdir()
        write_dataset(datasets_root, "x-v0")
        remote.upload_dataset("x-v0")
        assert remote.list_datasets() == ["x-v0"]
        assert "index of file://" in caplog.text

    def test_a_manifest_does_not_count_after_a_recording_in_place(
        self, remote: CloudStorage, share: Path, datasets_root: Path, arrival: Path
    ) -> None:
        write_dataset(datasets_root, "x-v0")
        remote.upload_dataset("x-v0")
        directory = write_dataset(share, "x-v0", total_steps=5, files={"data/main_data.hdf5": b"longer than it was"})
        os.utime(directory / "data/metadata.json", ns=(2**62, 2**62))
        with pytest.warns(UserWarning, match="changed there after it was uploaded"):
            remote.download_dataset("x-v0", arrival)
        assert uploaded(arrival) == uploaded(share)

    def test_spaces_may_stand_in_the_address(self, share: Path) -> None:
        assert "%20" in share.as_uri()
        write_dataset(share, "x-v0")
        for address in (share.as_uri(), f"file://{share}/", f"FILE://{share}"):
            assert list(get_cloud_storage(address).list_datasets()) == ["x-v0"]

    def test_directories_that_cannot_be_one(self, share: Path) -> None:
        with pytest.raises(RemoteError, match="There is no directory"):
            get_cloud_storage(f"{share.as_uri()}/absent")
        (share / "file").write_text("")
        with pytest.raises(RemoteError, match="There is no directory"):
            get_cloud_storage(f"{share.as_uri()}/file")
        with pytest.raises(RemoteError, match=r"form file:///directory, got 'file://lab/x'"):
            get_cloud_storage("file://lab/x")

    def test_datasets_are_sorted_by_version(self, remote: CloudStorage, share: Path) -> None:
        for dataset_id in ("x-v10", "x-v9", "a/y-v0"):
            write_dataset(share, dataset_id)
        assert remote.list_datasets() == ["x-v9", "x-v10", "a/y-v0"]

    def test_what_is_no_dataset_is_not_listed(self, remote: CloudStorage, share: Path) -> None:
        write_dataset(share, ".x-v0.partial")
        write_dataset(share, ".hidden/x-v0")
        write_dataset(share, "without-version")
        (share / "empty-v0").mkdir()
        (share / "file-v0").write_text("")
        assert remote.list_datasets() == []

    def test_where_the_remote_ends(self, share: Path) -> None:
        write_namespace(share, "a/b")  # `a` itself is none
        base = share.as_uri()
        assert split_address(f"{base}/a/b/x-v0") == (f"{base}/a", "b/x-v0")
        assert split_address(f"{base}/a/x-v0/") == (f"{base}/a", "x-v0")
        assert split_address(f"file://{share}/a/b/x-v0") == (f"file://{share}/a", "b/x-v0")
        write_namespace(share, "a")
        assert split_address(f"{base}/a/b/x-v0") == (base, "a/b/x-v0")
        assert split_address("file:///x-v0") == ("file:///", "x-v0")
        write_namespace(share, "größe")
        assert split_address(f"{base}/gr%C3%B6%C3%9Fe/x-v0") == (base, "größe/x-v0")

    def test_a_namespace_of_several_levels_goes_alone(
        self, remote: CloudStorage, share: Path, datasets_root: Path
    ) -> None:
        write_namespace(datasets_root, "a/b", n=1)
        remote.upload_namespace("a/b")  # a directory of the remote has metadata where it is a namespace
        assert tree(share) == {
            "a": None,
            f"a/{NAMESPACE_FILE}": b"{}",
            "a/b": None,
            f"a/b/{NAMESPACE_FILE}": b'{"n": 1}',
        }

    def test_a_download_also_refuses_links(self, remote: CloudStorage, share: Path, tmp_path: Path) -> None:
        (tmp_path / "secret").write_text("private")
        directory = write_dataset(share, "x-v0")
        (directory / "data" / "link").symlink_to(tmp_path / "secret")
        write_namespace(share, "a").unlink()
        (share / "a" / NAMESPACE_FILE).symlink_to(tmp_path / "secret")
        arrival = tmp_path / "arrival"
        with pytest.raises(RemoteError, match="leads out of"):
            remote.download_dataset("x-v0", arrival)
        with pytest.raises(RemoteError, match="leads out of"):
            remote.download_namespace_metadata("a", arrival)
        assert not arrival.exists()

    def test_links_that_stay_inside_are_followed(
        self, remote: CloudStorage, datasets_root: Path, arrival: Path, tmp_path: Path
    ) -> None:
        directory = write_dataset(tmp_path / "large disk", "x-v0")
        (directory / "data" / "again").symlink_to("main_data.hdf5")
        (datasets_root / "x-v0").symlink_to(directory)  # the directory of a dataset may lie elsewhere
        remote.upload_dataset("x-v0")
        remote.download_dataset("x-v0", arrival)
        assert not (arrival / "x-v0").is_symlink()
        assert not (arrival / "x-v0/data/again").is_symlink()
        assert tree(arrival / "x-v0") == tree(directory)

    def test_a_link_to_a_directory_is_refused_and_not_walked_for_ever(
        self, remote: CloudStorage, share: Path, datasets_root: Path
    ) -> None:
        directory = write_dataset(datasets_root, "x-v0")
        (directory / "data" / "again").symlink_to(".")
        with pytest.raises(RemoteError, match="link to a directory"):
            remote.upload_dataset("x-v0")
        assert tree(share) == {}

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes in the directories of this system")
    def test_a_pipe_is_refused_and_not_waited_for(self, remote: CloudStorage, share: Path, datasets_root: Path) -> None:
        directory = write_dataset(datasets_root, "x-v0")
        os.mkfifo(directory / "data" / "pipe")
        assert stat.S_ISFIFO((directory / "data" / "pipe").stat().st_mode)
        with pytest.raises(RemoteError, match="no file at all"):
            remote.upload_dataset("x-v0")
        assert tree(share) == {}

    @pytest.mark.parametrize("change", ["grow", "shrink", "rewrite", "add", "remove"])
    def test_a_dataset_that_is_written_meanwhile(
        self, change: str, remote: CloudStorage, share: Path, datasets_root: Path
    ) -> None:
        directory = write_dataset(datasets_root, "n/x-v0", files={"data/z": BIG, "data/main_data.hdf5": BIG})
        file = directory / "data" / "z"
        changes: dict[str, Callable[[], object]] = {
            "grow": lambda: file.write_bytes(BIG + b"more"),
            "shrink": lambda: file.write_bytes(b"less"),
            "rewrite": lambda: (file.write_bytes(BIG), os.utime(file, ns=(0, 0))),
            "add": lambda: (directory / "data" / "new").write_bytes(b""),
            "remove": lambda: (directory / "data" / "main_data.hdf5").unlink(),
        }
        with observe_progress(Interference(changes[change], during="uploading")), pytest.raises(MinariError) as caught:
            remote.upload_dataset("n/x-v0")
        assert isinstance(caught.value, DatasetBusyError if change in ("rewrite", "add", "remove") else RemoteError)
        assert set(visible(share)) <= {"a", "a/b", "n"}

    def test_a_change_that_was_never_finished_is_not_copied(
        self, remote: CloudStorage, share: Path, datasets_root: Path
    ) -> None:
        data = write_dataset(datasets_root, "x-v0", files={"data/main_data.hdf5": BIG}) / "data"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Overlay, "apply", lambda *_: None)  # as if it had been killed
            with FileTransaction(data / "main_data.hdf5") as file:
                file.commit({})
        assert (data / JOURNAL_NAME).exists()
        with pytest.raises(DatasetBusyError, match=r"interrupted change .*minari clean"):
            remote.upload_dataset("x-v0")
        assert tree(share) == {}

    def test_a_full_disk_leaves_nothing(self, remote: CloudStorage, share: Path, datasets_root: Path) -> None:
        def full() -> None:
            raise OSError(28, "No space left on device")

        write_dataset(datasets_root, "n/x-v0", files={"data/main_data.hdf5": BIG})
        with (
            observe_progress(Interference(full, during="uploading")),
            pytest.raises(RemoteError, match=r"Copying n/x-v0 to .* failed \(.*No space left.*has room"),
        ):
            remote.upload_dataset("n/x-v0")
        assert set(visible(share)) <= {"a", "a/b", "n"}

    def test_others_see_a_dataset_when_it_is_complete(
        self, remote: CloudStorage, share: Path, datasets_root: Path
    ) -> None:
        seen: list[list[str]] = []
        write_dataset(datasets_root, "x-v0", files={"data/main_data.hdf5": BIG})
        with observe_progress(Interference(lambda: seen.append(remote.list_datasets()), during="uploading")):
            remote.upload_dataset("x-v0")
        assert seen == [[]]
        assert remote.list_datasets() == ["x-v0"]

    def test_a_killed_upload_can_be_repeated(self, remote: CloudStorage, share: Path, datasets_root: Path) -> None:
        write_dataset(datasets_root, "x-v0", files={"data/main_data.hdf5": BIG})
        program = """
            import os, sys
            from minari.progress import observe_progress
            from minari.storage.remotes import get_cloud_storage
            from support.remotes import Interference
            with observe_progress(Interference(lambda: os._exit(9), during="uploading")):
                get_cloud_storage(sys.argv[1]).upload_dataset("x-v0")
        """
        tests = Path(__file__).resolve().parents[1]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tests.parent), str(tests)])}
        killed = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(program), share.as_uri()], env=environment, check=False
        )
        assert killed.returncode == 9
        assert all(path.name.startswith(".") for path in share.iterdir())
        assert any(share.iterdir())
        assert remote.list_datasets() == []
        remote.upload_dataset("x-v0")
        assert remote.list_datasets() == ["x-v0"]

    def test_a_directory_that_went_away(
        self, remote: CloudStorage, share: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object) -> None:
            raise PermissionError(13, "Permission denied", str(share))

        monkeypatch.setattr(os, "scandir", refuse)
        for call in (remote.list_datasets, remote.list_namespaces):
            with pytest.raises(RemoteError, match=r"Listing .* failed .*Permission denied"):
                call()

    def test_an_interrupted_upload_leaves_nothing_at_all(
        self, remote: CloudStorage, share: Path, datasets_root: Path
    ) -> None:
        write_dataset(datasets_root, "a/b/x-v0", files={"data/main_data.hdf5": BIG})
        with observe_progress(Interference(interrupt, during="uploading")), pytest.raises(KeyboardInterrupt):
            remote.upload_dataset("a/b/x-v0")
        assert set(visible(share)) <= {"a", "a/b", "n"}
