"""List and upload: what is done, refused and said, whatever the remote."""

from __future__ import annotations

import json
import shutil
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import minari
from minari.errors import (
    DatasetCorruptError,
    DatasetIdError,
    RemoteError,
)
from minari.progress import observe_progress
from minari.storage import hosting
from minari.storage.hosting import download_dataset, list_remote_datasets, upload_dataset
from minari.storage.remotes import MAX_WORKERS
from minari.storage.remotes.directory import FileStorage
from support.remotes import NAMESPACE_FILE, Interference, SpyStorage, tree, uploaded, write_dataset, write_namespace


pytestmark = pytest.mark.usefixtures("no_surprises")


def _as_stored(datasets: dict[str, Any]) -> dict[str, Any]:
    """Metadata without the size, which a local list measures where none is stored."""
    sized = {"dataset_size"}
    return {name: {key: metadata[key] for key in metadata if key not in sized} for name, metadata in datasets.items()}


class TestListing:
    def test_like_the_local_list(self, share: Path, datasets_root: Path) -> None:
        for dataset_id in ("x-v10", "x-v9", "n/y-v0", "n/m/z-v1", "n/m/z-v0"):
            write_dataset(share, dataset_id)
        write_dataset(share, "n/m/z-v2", version="7.0.0")
        shutil.copytree(share, datasets_root, dirs_exist_ok=True)
        for latest in (False, True):
            for compatible in (False, True):
                for prefix in (None, "", "n", "n/", "n/m", "x-v10", "nothing"):
                    remote = list_remote_datasets(None, prefix, latest, compatible)
                    local = minari.list_local_datasets(latest, compatible, prefix)
                    assert list(remote.items()) == list(_as_stored(local).items())
        assert list(list_remote_datasets(latest_version=True, prefix="n/m")) == ["n/m/z-v2"]
        assert list(list_remote_datasets(latest_version=True, prefix="n/m", compatible_minari_version=True)) == [
            "n/m/z-v1"
        ]

    def test_the_metadata_are_those_stored(self, share: Path) -> None:
        directory = write_dataset(share, "x-v0", author=["Ann"], extra={"deep": [1]})
        assert list_remote_datasets() == {"x-v0": json.loads((directory / "data/metadata.json").read_text())}

    def test_a_prefix_is_any_text(self, share: Path) -> None:
        for dataset_id in ("x-v1", "x-v10", "xx-v0", "x/y-v0"):
            write_dataset(share, dataset_id)
        assert list(list_remote_datasets(prefix="x-v1")) == ["x-v1", "x-v10"]
        assert list(list_remote_datasets(prefix="x")) == ["x-v1", "x-v10", "xx-v0", "x/y-v0"]

    def test_a_remote_by_its_address(self, tmp_path: Path) -> None:
        write_dataset(tmp_path, "x-v0")
        assert list(list_remote_datasets(tmp_path.as_uri())) == ["x-v0"]
        assert list(list_remote_datasets(remote_path=f"file://{tmp_path}/")) == ["x-v0"]

    def test_an_unknown_remote(self) -> None:
        for address in ("far://bucket", "nonsense"):
            with pytest.raises(RemoteError):
                list_remote_datasets(address)

    def test_a_damaged_dataset_is_left_out_with_a_warning(self, share: Path) -> None:
        for dataset_id in ("x-v0", "x-v1", "y-v0"):
            write_dataset(share, dataset_id)
        (share / "x-v1/data/metadata.json").write_text("{")
        with pytest.warns(UserWarning, match=r"x-v1 is left out.*not valid JSON") as caught:
            assert list(list_remote_datasets(latest_version=True)) == ["x-v0", "y-v0"]
        assert [warning.filename for warning in caught] == [__file__]

    def test_one_that_does_not_answer_is_left_out_too(self, share: Path, spy: type[SpyStorage]) -> None:
        for i in range(3):
            write_dataset(share, f"x-v{i}")
        spy.failures["get_dataset_metadata x-v0"] = RemoteError("gone")
        spy.failures["get_dataset_metadata x-v2"] = TimeoutError("too slow")
        with pytest.warns(UserWarning, match="gone|too slow") as caught:
            assert list(list_remote_datasets()) == ["x-v1"]
        assert len(caught) == 2

    def test_a_mistake_in_a_remote_is_not_hidden(self, share: Path, spy: type[SpyStorage]) -> None:
        write_dataset(share, "x-v0")
        spy.failures["get_dataset_metadata x-v0"] = ZeroDivisionError()
        with pytest.raises(ZeroDivisionError):
            list_remote_datasets()

    def test_names_that_are_no_ids_are_passed_over(
        self, share: Path, spy: type[SpyStorage], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_dataset(share, "x-v0")
        monkeypatch.setattr(spy, "list_with_metadata", lambda *_: dict.fromkeys(["../x-v0", "x", "x-v0", "a b-v0", ""]))
        assert list(list_remote_datasets()) == ["x-v0"]

    def test_metadata_are_asked_for_at_the_same_time_but_not_all_at_once(
        self, share: Path, spy: type[SpyStorage], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for i in range(40):
            write_dataset(share, f"x-v{i}")
        lock, waiting, most = threading.Lock(), 0, 0
        several = threading.Barrier(4, timeout=10)

        def get(self: SpyStorage, dataset_id: str) -> dict[str, Any]:
            nonlocal waiting, most
            with lock:
                waiting += 1
                most = max(most, waiting)
            several.wait()  # passes only with four concurrent requests
            with lock:
                waiting -= 1
            return {"id": dataset_id}

        monkeypatch.setattr(spy, "get_dataset_metadata", get)
        with observe_progress(observer := Interference(lambda: None)):
            found = list_remote_datasets()
        assert [metadata["id"] for metadata in found.values()] == list(found) == [f"x-v{i}" for i in range(40)]
        assert 4 <= most <= MAX_WORKERS
        assert [task.total for task in observer.tasks] == observer.done == [40]


class TestUpload:
    def test_with_its_namespaces(self, share: Path, datasets_root: Path) -> None:
        write_namespace(datasets_root, "a", description="outer")
        write_namespace(datasets_root, "a/b", description="inner")
        write_namespace(datasets_root, "c")
        write_dataset(datasets_root, "a/b/x-v0")
        write_dataset(datasets_root, "a/b/x-v1")
        upload_dataset("a/b/x-v0", "token")
        expected = {name: content for name, content in tree(datasets_root).items() if name != "c" and "v1" not in name}
        expected.pop(f"c/{NAMESPACE_FILE}")
        assert uploaded(share) == expected

    def test_to_a_remote_and_from_a_root_of_choice(self, share: Path, tmp_path: Path, datasets_root: Path) -> None:
        (tmp_path / "second").mkdir()
        write_namespace(tmp_path / "mine", "a", description="mine")
        write_dataset(tmp_path / "mine", "a/x-v0", combined=["part-v0"])
        write_dataset(tmp_path / "mine", "part-v0")
        upload_dataset("a/x-v0", remote=(tmp_path / "second").as_uri(), root=tmp_path / "mine")
        assert uploaded(tmp_path / "second") == tree(tmp_path / "mine")
        assert tree(share) == tree(datasets_root) == {}

    def test_namespaces_of_the_remote_stay(self, share: Path, datasets_root: Path) -> None:
        write_namespace(share, "a", owner="theirs")
        write_namespace(datasets_root, "a", owner="mine")
        write_dataset(datasets_root, "a/x-v0")
        upload_dataset("a/x-v0")
        assert json.loads((share / "a" / NAMESPACE_FILE).read_text()) == {"owner": "theirs"}

    def test_a_namespace_without_metadata_gets_some(self, share: Path, datasets_root: Path) -> None:
        write_dataset(datasets_root, "a/x-v0")
        upload_dataset("a/x-v0")
        assert json.loads((share / "a" / NAMESPACE_FILE).read_text()) == {}

    def test_one_that_is_there_is_left_alone(self, share: Path, datasets_root: Path) -> None:
        write_dataset(datasets_root, "x-v0", description="mine", combined=["part-v0"])
        write_dataset(datasets_root, "part-v0")
        write_dataset(share, "x-v0", description="theirs")
        before = tree(share)
        with pytest.warns(UserWarning, match="has x-v0 already; nothing is uploaded") as caught:
            upload_dataset("x-v0")
        assert caught[0].filename == __file__
        assert tree(share) == before

    def test_a_longer_version_is_another_one(self, share: Path, datasets_root: Path) -> None:
        write_dataset(share, "x-v10")
        write_dataset(datasets_root, "x-v1")
        upload_dataset("x-v1")
        assert (share / "x-v1").is_dir()

    def test_one_that_is_not_here(self, share: Path, spy: type[SpyStorage]) -> None:
        with pytest.raises(FileNotFoundError, match=r"no dataset x-v0 at .* to upload"):
            upload_dataset("x-v0")
        assert not spy.calls

    @pytest.mark.parametrize("dataset_id", ["../x-v0", "x", "", "hf://me/x-v0", None])
    def test_malformed_ids(self, dataset_id: Any, share: Path) -> None:
        with pytest.raises(DatasetIdError):
            upload_dataset(dataset_id)
        assert tree(share) == {}

    def test_a_damaged_one(self, share: Path, datasets_root: Path) -> None:
        (write_dataset(datasets_root, "x-v0") / "data/metadata.json").write_text("{")
        with pytest.raises(DatasetCorruptError):
            upload_dataset("x-v0")
        assert tree(share) == {}

    def test_an_unknown_remote(self, datasets_root: Path) -> None:
        write_dataset(datasets_root, "x-v0")
        with pytest.raises(RemoteError, match="no kind of remote called 'far'"):
            upload_dataset("x-v0", "token", remote="far://bucket")

    def test_the_parts_go_along_and_first(self, share: Path, datasets_root: Path, spy: type[SpyStorage]) -> None:
        write_dataset(datasets_root, "a/one-v0")
        write_dataset(datasets_root, "two-v0")
        write_dataset(datasets_root, "inner-v0", combined=["a/one-v0"])
        write_dataset(datasets_root, "all-v0", combined=["inner-v0", "two-v0"])
        write_dataset(datasets_root, "other-v0")
        write_dataset(share, "two-v0", description="theirs")
        spy.failures["upload_dataset a/one-v0"] = RemoteError("gone")
        with pytest.raises(RemoteError, match="gone"):
            upload_dataset("all-v0")
        assert not (share / "all-v0").exists()
        spy.failures.clear()
        upload_dataset("all-v0")
        assert list(list_remote_datasets()) == ["all-v0", "inner-v0", "two-v0", "a/one-v0"]
        assert list_remote_datasets()["two-v0"]["description"] == "theirs"
        assert minari.namespace.list_remote_namespaces() == ["a"]

    def test_parts_that_are_nowhere_are_named(self, share: Path, datasets_root: Path) -> None:
        write_dataset(datasets_root, "all-v0", combined=["gone-v0", "there-v0", "../outside-v0"])
        write_dataset(share, "there-v0")
        with pytest.warns(UserWarning, match=r"combined from \.\./outside-v0, gone-v0, which are neither here"):
            upload_dataset("all-v0")
        assert sorted(list_remote_datasets()) == ["all-v0", "there-v0"]

    def test_the_token_reaches_the_remote(
        self, share: Path, datasets_root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[tuple[Any, Any]] = []

        def remember(remote_path: str | None = None, token: str | None = None, **options: Any) -> FileStorage:
            asked.append((remote_path, token))
            assert options == {"max_workers": 3, "private": True}
            return FileStorage(str(share))

        monkeypatch.setattr(hosting, "get_cloud_storage", remember)
        write_dataset(datasets_root, "x-v0")
        upload_dataset("x-v0", "secret", remote="hf://me", max_workers=3, private=True)
        assert asked == [("hf://me", "secret")]


@pytest.mark.parametrize("release", ["0.3.1", "0.4.3", "0.5.2", "0.5.4"])
def test_what_official_releases_wrote_can_be_shared(
    release: str, copy_release: Callable[[str], Path], datasets_root: Path, share: Path, tmp_path: Path
) -> None:
    copy_release(release)
    for file in datasets_root.glob("*.expected.json"):
        file.unlink()
    local = minari.list_local_datasets()
    assert local
    for dataset_id in local:
        if not (share / dataset_id).exists():  # it may have come as a part of another
            upload_dataset(dataset_id)
    assert _as_stored(list_remote_datasets()) == _as_stored(local)
    for dataset_id in local:
        if not (tmp_path / "back" / dataset_id).exists():
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=".* is an older version")
                download_dataset(dataset_id, root=tmp_path / "back")
    assert minari.list_local_datasets(root=tmp_path / "back") == local
    brought = {name: content for name, content in tree(tmp_path / "back").items() if "/.index." not in name}
    assert brought == uploaded(share)  # beside which HDF5 has an index with checksums by now


def test_the_real_dataset_by_its_address(real_root: Path, tmp_path: Path) -> None:
    address = f"{real_root.as_uri()}/D4RL/door/human-v2"
    download_dataset(address, root=tmp_path)
    dataset = minari.load_dataset("D4RL/door/human-v2", root=tmp_path)
    assert (dataset.total_episodes, dataset.total_steps) == (25, 6729)
    assert minari.namespace.list_local_namespaces(root=tmp_path) == ["D4RL", "D4RL/door"]
    assert [path.name for path in tmp_path.iterdir()] == ["D4RL"]
