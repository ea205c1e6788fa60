"""List and upload: what is done, refused and said, whatever the remote."""

from __future__ import annotations

import json
import re
import shutil
import threading
import warnings
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest

import minari
from minari.errors import DatasetCorruptError, DatasetIdError, RemoteError
from minari.progress import observe_progress
from minari.storage.hosting import download_dataset, list_remote_datasets
from minari.storage.remotes import MAX_WORKERS
from minari.storage.remotes.directory import FileStorage
from support.remotes import (
    NAMESPACE_FILE,
    Interference,
    SpyStorage,
    tree,
    upload_dataset,
    uploaded,
    write_dataset,
    write_namespace,
)


pytestmark = pytest.mark.usefixtures("no_surprises")


def as_stored(datasets: dict[str, Any]) -> dict[str, Any]:
    """Metadata without the size, which a local list measures where none is stored."""
    return {name: {key: raw[key] for key in raw if key != "dataset_size"} for name, raw in datasets.items()}


# Lists


def test_remote_list_is_like_the_local_one(share: Path, datasets_root: Path) -> None:
    for dataset_id in ("x-v10", "x-v9", "n/y-v0", "n/m/z-v1", "n/m/z-v0"):
        write_dataset(share, dataset_id)
    write_dataset(share, "n/m/z-v2", version="7.0.0")
    shutil.copytree(share, datasets_root, dirs_exist_ok=True)
    prefixes = (None, "", "n", "n/", "n/m", "x-v10", "nothing")
    for latest, compatible, prefix in product((False, True), (False, True), prefixes):
        remote = list_remote_datasets(None, prefix, latest, compatible)
        local = minari.list_local_datasets(latest, compatible, prefix)
        assert list(remote.items()) == list(as_stored(local).items())
    assert list(list_remote_datasets(latest_version=True, prefix="n/m")) == ["n/m/z-v2"]
    compatible = list_remote_datasets(latest_version=True, prefix="n/m", compatible_minari_version=True)
    assert list(compatible) == ["n/m/z-v1"]


def test_listed_metadata_is_what_is_stored(share: Path) -> None:
    directory = write_dataset(share, "x-v0", author=["Ann"], extra={"deep": [1]})
    expected = {"x-v0": json.loads((directory / "data/metadata.json").read_text())}
    assert list_remote_datasets() == list_remote_datasets(remote_path=f"file://{share}/") == expected


def test_prefix_of_a_remote_list_is_any_text(share: Path) -> None:
    for dataset_id in ("x-v1", "x-v10", "xx-v0", "x/y-v0"):
        write_dataset(share, dataset_id)
    assert list(list_remote_datasets(prefix="x-v1")) == ["x-v1", "x-v10"]
    assert list(list_remote_datasets(prefix="x")) == ["x-v1", "x-v10", "xx-v0", "x/y-v0"]


def test_damaged_dataset_is_left_out_with_a_warning(share: Path, spy: type[SpyStorage]) -> None:
    for dataset_id in ("x-v0", "x-v1", "x-v2", "y-v0", "z-v0"):
        write_dataset(share, dataset_id)
    (share / "x-v1/data/metadata.json").write_text("{")
    spy.failures["get_dataset_metadata x-v2"] = RemoteError("gone")
    spy.failures["get_dataset_metadata z-v0"] = TimeoutError("too slow")
    with pytest.warns(UserWarning, match="left out") as caught:
        assert list(list_remote_datasets(latest_version=True)) == ["x-v0", "y-v0"]
    assert [warning.filename for warning in caught] == [__file__] * 3
    for warning, words in zip(caught, ("x-v1 .*not valid JSON", "x-v2 .*gone", "z-v0 .*too slow"), strict=True):
        assert re.search(words, str(warning.message))


def test_programming_error_in_a_remote_is_not_hidden(share: Path, spy: type[SpyStorage]) -> None:
    write_dataset(share, "x-v0")
    spy.failures["get_dataset_metadata x-v0"] = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        list_remote_datasets()


def test_names_that_are_no_ids_are_ignored(share: Path, spy: type[SpyStorage], monkeypatch: pytest.MonkeyPatch) -> None:
    write_dataset(share, "x-v0")
    monkeypatch.setattr(spy, "list_with_metadata", lambda *_: dict.fromkeys(["../x-v0", "x", "x-v0", "a b-v0", ""]))
    assert list(list_remote_datasets()) == ["x-v0"]


def test_metadata_is_requested_concurrently_within_a_limit(
    share: Path, spy: type[SpyStorage], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(40):
        write_dataset(share, f"x-v{number}")
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
    assert [metadata["id"] for metadata in found.values()] == list(found) == [f"x-v{number}" for number in range(40)]
    assert 4 <= most <= MAX_WORKERS
    assert [task.total for task in observer.tasks] == observer.done == [40]


# Uploads


def test_upload_takes_the_namespaces_along(share: Path, datasets_root: Path) -> None:
    write_namespace(share, "s", owner="theirs")
    for namespace in ("a", "a/b", "c", "s"):
        write_namespace(datasets_root, namespace, owner="mine")
    for dataset_id in ("a/b/x-v0", "a/b/x-v1", "s/x-v0", "new/x-v0"):
        write_dataset(datasets_root, dataset_id)
    upload_dataset("a/b/x-v0", "token")
    sent = {name: content for name, content in uploaded(share).items() if not name.startswith("s")}
    assert sent == {k: v for k, v in tree(datasets_root).items() if k.startswith("a") and "x-v1" not in k}
    for namespace, expected in {"s": {"owner": "theirs"}, "new": {}}.items():
        upload_dataset(f"{namespace}/x-v0")
        assert json.loads((share / namespace / NAMESPACE_FILE).read_text()) == expected


def test_upload_from_one_root_to_another_remote(share: Path, tmp_path: Path, datasets_root: Path) -> None:
    (tmp_path / "second").mkdir()
    write_namespace(tmp_path / "mine", "a", description="mine")
    write_dataset(tmp_path / "mine", "a/x-v0", combined=["part-v0"])
    write_dataset(tmp_path / "mine", "part-v0")
    upload_dataset("a/x-v0", remote=(tmp_path / "second").as_uri(), root=tmp_path / "mine")
    assert uploaded(tmp_path / "second") == tree(tmp_path / "mine")
    assert tree(share) == tree(datasets_root) == {}


def test_existing_remote_dataset_is_kept(share: Path, datasets_root: Path) -> None:
    write_dataset(datasets_root, "x-v0", description="mine", combined=["part-v0"])
    write_dataset(datasets_root, "part-v0")
    write_dataset(share, "x-v0", description="theirs")
    before = tree(share)
    with pytest.warns(UserWarning, match="has x-v0 already; nothing is uploaded") as caught:
        upload_dataset("x-v0")
    assert caught[0].filename == __file__
    assert tree(share) == before


def test_unknown_dataset_is_not_uploaded(share: Path, datasets_root: Path, spy: type[SpyStorage]) -> None:
    with pytest.raises(FileNotFoundError, match=r"no dataset x-v0 at .* to upload"):
        upload_dataset("x-v0")
    assert not spy.calls
    write_dataset(datasets_root, "x-v0")
    with pytest.raises(RemoteError, match="no kind of remote called 'far'"):
        upload_dataset("x-v0", "token", remote="far://bucket")


@pytest.mark.parametrize("dataset_id", ["../x-v0", "x", "", "hf://me/x-v0", None])
def test_malformed_ids_are_refused(dataset_id: Any, share: Path) -> None:
    with pytest.raises(DatasetIdError):
        upload_dataset(dataset_id)
    assert tree(share) == {}


def test_damaged_dataset_is_not_uploaded(share: Path, datasets_root: Path) -> None:
    (write_dataset(datasets_root, "x-v0") / "data/metadata.json").write_text("{")
    with pytest.raises(DatasetCorruptError):
        upload_dataset("x-v0")
    assert tree(share) == {}


def test_parts_are_uploaded_first(share: Path, datasets_root: Path, spy: type[SpyStorage]) -> None:
    for dataset_id in ("a/one-v0", "two-v0", "other-v0"):
        write_dataset(datasets_root, dataset_id)
    write_dataset(datasets_root, "inner-v0", combined=["a/one-v0"])
    write_dataset(datasets_root, "all-v0", combined=["inner-v0", "two-v0"])
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


def test_parts_that_are_nowhere_are_named(share: Path, datasets_root: Path) -> None:
    write_dataset(datasets_root, "all-v0", combined=["gone-v0", "there-v0", "../outside-v0"])
    write_dataset(share, "there-v0")
    with pytest.warns(UserWarning, match=r"combined from \.\./outside-v0, gone-v0, which are neither here"):
        upload_dataset("all-v0")
    assert sorted(list_remote_datasets()) == ["all-v0", "there-v0"]


def test_token_and_options_reach_the_remote(
    share: Path, datasets_root: Path, register: Callable[[str, type], None]
) -> None:
    made: list[tuple[Any, ...]] = []

    class Remote(FileStorage):
        def __init__(self, name: str, token: str, *, max_workers: int, private: bool, **_: Any) -> None:
            made.append((name, token, max_workers, private))
            super().__init__(str(share))

    register("own", Remote)
    write_dataset(datasets_root, "x-v0")
    upload_dataset("x-v0", "secret", remote="own://me", max_workers=3, private=True)
    assert made == [("me", "secret", 3, True)]


# What there is to share


@pytest.mark.parametrize("release", ["0.3.1", "0.4.3", "0.5.2", "0.5.4"])
def test_datasets_of_official_releases_can_be_shared(
    release: str, copy_release: Callable[[str], Path], datasets_root: Path, share: Path, arrival: Path
) -> None:
    copy_release(release)
    for file in datasets_root.glob("*.expected.json"):
        file.unlink()
    local = minari.list_local_datasets()
    assert local
    for dataset_id in local:
        if not (share / dataset_id).exists():  # it may have come as a part of another
            upload_dataset(dataset_id)
    assert as_stored(list_remote_datasets()) == as_stored(local)
    for dataset_id in local:
        if not (arrival / dataset_id).exists():
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=".* is an older version")
                download_dataset(dataset_id, root=arrival)
    assert minari.list_local_datasets(root=arrival) == local
    brought = {name: content for name, content in tree(arrival).items() if "/.index." not in name}
    assert brought == uploaded(share)  # beside which HDF5 has an index with checksums by now


def test_real_dataset_is_downloaded_by_its_address(real_root: Path, tmp_path: Path) -> None:
    download_dataset(f"{real_root.as_uri()}/D4RL/door/human-v2", root=tmp_path)
    dataset = minari.load_dataset("D4RL/door/human-v2", root=tmp_path)
    assert (dataset.total_episodes, dataset.total_steps) == (25, 6729)
    assert minari.namespace.list_local_namespaces(root=tmp_path) == ["D4RL", "D4RL/door"]
    assert [path.name for path in tmp_path.iterdir()] == ["D4RL"]
