"""Download: what is done, refused and said, whatever the remote."""

from __future__ import annotations

import os
import shutil
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minari
from minari import errors
from minari.errors import (
    DatasetCorruptError,
    DatasetExistsError,
    DatasetIdError,
    DatasetNotFoundError,
    DatasetVersionError,
    MinariError,
    RemoteError,
)
from minari.progress import observe_progress
from minari.storage import hosting
from minari.storage.hosting import download_dataset, upload_dataset
from minari.storage.remotes import RemoteDatasetNotFoundError, RemoteFile
from minari.storage.transfer import installer
from support.remotes import (
    NAMESPACE_FILE,
    Interference,
    SpyStorage,
    interrupt,
    tree,
    visible,
    write_dataset,
    write_namespace,
)


pytestmark = pytest.mark.usefixtures("no_surprises")


class TestDownload:
    def test_a_real_one_with_its_namespaces(self, share: Path, datasets_root: Path) -> None:
        rng = np.random.default_rng(0)
        ends = np.arange(30) % 10 == 9
        arrays = {
            "observations": rng.normal(size=(30, 3)),
            "actions": rng.normal(size=(30, 2)),
            "rewards": rng.random(30),
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = minari.create_dataset_from_arrays(
                "a/b/real-v0", **arrays, terminations=ends, final_observation="repeat"
            )
        minari.namespace.update_namespace_metadata("a", description="outer")
        upload_dataset("a/b/real-v0")
        expected = list(made)
        shutil.rmtree(datasets_root)
        got = minari.load_dataset("a/b/real-v0", download=True)
        assert got.total_episodes == len(expected) == 3
        for one, other in zip(got, expected, strict=True):
            np.testing.assert_array_equal(one.observations, other.observations)
            np.testing.assert_array_equal(one.rewards, other.rewards)
        assert minari.namespace.get_namespace_metadata("a")["description"] == "outer"
        assert minari.namespace.list_local_namespaces() == ["a", "a/b"]

    def test_into_another_root(self, share: Path, datasets_root: Path, tmp_path: Path) -> None:
        write_dataset(share, "x-v0")
        download_dataset("x-v0", root=tmp_path / "other")
        assert tree(tmp_path / "other") == tree(share)
        assert tree(datasets_root) == {}

    def test_load_dataset_downloads_into_its_root(self, share: Path, datasets_root: Path, tmp_path: Path) -> None:
        write_dataset(share, "x-v0", total_episodes=0, total_steps=0)
        assert minari.load_dataset("x-v0", download=True, root=tmp_path / "other").total_episodes == 0
        assert tree(datasets_root) == {}
        with pytest.raises(DatasetNotFoundError, match="download=True"):
            minari.load_dataset("x-v0")

    def test_by_its_full_address(self, share: Path, datasets_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("MINARI_REMOTE")
        write_namespace(share, "a")
        write_dataset(share, "a/x-v0")
        download_dataset(f"{share.as_uri()}/a/x-v0")
        assert tree(datasets_root) == tree(share)
        with pytest.raises(RemoteError, match="no kind of remote called 'far'"):
            download_dataset("far://farama-minari/D4RL/door/human-v2")
        with pytest.raises(RemoteError, match="names its remote itself"):
            download_dataset(f"{share.as_uri()}/a/x-v0", remote=share.as_uri())
        with pytest.raises(DatasetIdError):
            download_dataset(f"{share.as_uri()}/a/x")

    @pytest.mark.parametrize("dataset_id", ["../x-v0", "/x-v0", "x", "", "x-v", ".x-v0", "a//x-v0", None])
    def test_malformed_ids(self, dataset_id: Any, share: Path, datasets_root: Path) -> None:
        with pytest.raises(DatasetIdError):
            download_dataset(dataset_id)
        assert tree(datasets_root) == {}

    def test_the_older_name_of_its_argument(self, share: Path, datasets_root: Path) -> None:
        write_dataset(share, "x-v0")
        with pytest.warns(DeprecationWarning, match="dataset_id") as caught:
            download_dataset(dataset_name="x-v0")
        assert len(caught) == 1
        assert caught[0].filename == __file__
        assert (datasets_root / "x-v0").is_dir()

    def test_unknown_datasets(self, share: Path, datasets_root: Path) -> None:
        write_dataset(share, "xy-v0")
        write_dataset(share, "x-vw-v0")
        write_dataset(share, "n/x-v0")
        with pytest.raises(ValueError, match="no version of a dataset x;"):
            download_dataset("x-v0")
        assert tree(datasets_root) == {}

    def test_only_its_own_versions_are_asked_for(self, share: Path, spy: type[SpyStorage]) -> None:
        for dataset_id in ("a/x-v0", "a/x-vw-v0", "a/xy-v0", "b/x-v0"):
            write_dataset(share, dataset_id)
        download_dataset("a/x-v0")
        calls = ["list_datasets a/x-v", "get_dataset_metadata a/x-v0", "download_dataset a/x-v0"]
        assert spy.calls == dict.fromkeys(calls, 1)

    def test_an_unknown_version_names_the_latest_compatible(self, share: Path) -> None:
        for version in (2, 9, 10):
            write_dataset(share, f"a/x-v{version}")
        write_dataset(share, "a/x-v11", version="7.0.0")
        with pytest.raises(RemoteDatasetNotFoundError, match=r"does not have a/x-v3,.* is a/x-v10\.$") as caught:
            download_dataset("a/x-v3")
        assert isinstance(caught.value, ValueError)

    def test_an_unknown_version_without_a_compatible_one(self, share: Path) -> None:
        write_dataset(share, "x-v1", version="7.0.0")
        with pytest.raises(ValueError, match=r"does not have x-v0,.* no version of it"):
            download_dataset("x-v0")

    def test_an_older_version_is_a_warning(self, share: Path, datasets_root: Path) -> None:
        for version in (2, 10):
            write_dataset(share, f"x-v{version}")
        write_dataset(share, "x-v11", version="7.0.0")
        with pytest.warns(UserWarning, match=r"x-v2 is an older version.* is x-v10\.$") as caught:
            download_dataset("x-v2")
        assert len(caught) == 1
        assert caught[0].filename == __file__
        download_dataset("x-v10")
        assert sorted(path.name for path in datasets_root.iterdir()) == ["x-v10", "x-v2"]

    def test_an_incompatible_version(self, share: Path, datasets_root: Path) -> None:
        write_dataset(share, "x-v0")
        write_dataset(share, "x-v1", version="7.0.0")
        with pytest.raises(DatasetVersionError, match=r"7\.0\.0.* is x-v0; force_download=True") as caught:
            download_dataset("x-v1")
        assert isinstance(caught.value, ValueError)
        assert tree(datasets_root) == {}
        with pytest.warns(UserWarning, match=r"7\.0\.0, which is not compatible.* is x-v0\.$"):
            download_dataset("x-v1", force_download=True)
        assert (datasets_root / "x-v1").is_dir()

    def test_only_incompatible_versions(self, share: Path) -> None:
        write_dataset(share, "x-v1", version="7.0.0")
        with pytest.raises(ValueError, match="not compatible; no version of it"):
            download_dataset("x-v1")

    def test_versions_as_specifiers(self, share: Path, datasets_root: Path) -> None:
        write_dataset(share, "x-v0", version="~=0.4")
        download_dataset("x-v0")
        assert (datasets_root / "x-v0").is_dir()

    def test_a_damaged_one(self, share: Path, datasets_root: Path) -> None:
        write_dataset(share, "x-v0")
        write_dataset(share, "x-v1")
        (share / "x-v1/data/metadata.json").write_text("{")
        with pytest.raises(DatasetCorruptError):
            download_dataset("x-v1")
        assert tree(datasets_root) == {}
        download_dataset("x-v0")

    def test_one_that_is_here_is_left_alone(
        self, share: Path, datasets_root: Path, spy: type[SpyStorage], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_dataset(datasets_root, "x-v0", description="mine")
        before = tree(datasets_root)
        with pytest.warns(UserWarning, match="x-v0 is at .* already.*force_download=True") as caught:
            download_dataset("x-v0")
        assert caught[0].filename == __file__
        assert tree(datasets_root) == before
        assert not spy.calls  # it takes no network to know

    def test_force_replaces_it(self, share: Path, datasets_root: Path) -> None:
        write_dataset(datasets_root, "a/x-v0", description="mine", files={"data/old": b"", "data/.index.json": b""})
        write_dataset(share, "a/x-v0", description="theirs", files={"data/new": b"1"})
        download_dataset("a/x-v0", force_download=True)
        assert tree(datasets_root / "a/x-v0") == tree(share / "a/x-v0")
        assert sorted(path.name for path in (datasets_root / "a").iterdir()) == [NAMESPACE_FILE, "x-v0"]

    @pytest.mark.parametrize("here", [True, False])
    def test_a_failure_changes_nothing(self, here: bool, share: Path, datasets_root: Path) -> None:
        write_dataset(share, "a/b/x-v0", files={f"data/{name}": bytes(1 << 20) for name in ("big", "k", "l", "last")})
        if here:
            write_dataset(datasets_root, "a/b/x-v0", description="mine")
        before = tree(datasets_root)
        shorten = Interference(lambda: (share / "a/b/x-v0/data/last").write_bytes(b""), during="downloading")
        with observe_progress(shorten), pytest.raises(MinariError):
            download_dataset("a/b/x-v0", force_download=here, max_workers=1)
        assert visible(datasets_root) == (before if here else {"a": None, "a/b": None})

    def test_an_interruption_changes_nothing(self, share: Path, datasets_root: Path) -> None:
        write_dataset(share, "a/b/x-v0", files={"data/big": bytes(3 << 20)})
        write_dataset(datasets_root, "a/b/x-v0", description="mine")
        before = tree(datasets_root)
        with observe_progress(Interference(interrupt, during="downloading")), pytest.raises(KeyboardInterrupt):
            download_dataset("a/b/x-v0", True)
        assert visible(datasets_root) == before

    def test_force_leaves_the_old_one_when_the_new_one_cannot_be_placed(
        self, share: Path, datasets_root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_dataset(share, "x-v0")
        write_dataset(datasets_root, "x-v0", description="mine")
        before = tree(datasets_root)

        def refuse(new: Path, destination: Path, aside: Path) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(installer, "replace_directory", refuse)
        with pytest.raises(errors.StorageError, match=r"cannot be downloaded .*Permission denied.* as it was before"):
            download_dataset("x-v0", True)
        assert visible(datasets_root) == before

    def test_the_old_one_stays_until_the_new_one_is_complete(self, share: Path, datasets_root: Path) -> None:
        seen: list[str] = []
        write_dataset(share, "x-v0", description="theirs", files={"data/big": bytes(3 << 20)})
        write_dataset(datasets_root, "x-v0", description="mine")

        def look() -> None:
            seen.append(minari.list_local_datasets()["x-v0"]["description"])

        with observe_progress(Interference(look, during="downloading")):
            download_dataset("x-v0", True)
        assert seen == ["mine"]
        assert minari.list_local_datasets()["x-v0"]["description"] == "theirs"

    def test_one_that_arrives_meanwhile_is_not_replaced(self, share: Path, datasets_root: Path) -> None:
        write_dataset(share, "x-v0", description="theirs")
        arrive = Interference(lambda: write_dataset(datasets_root, "x-v0", description="mine"), during="downloading")
        with observe_progress(arrive):
            download_dataset("x-v0")
        assert minari.list_local_datasets()["x-v0"]["description"] == "mine"
        assert [path.name for path in datasets_root.iterdir()] == ["x-v0"]

    @pytest.mark.skipif(os.name == "nt", reason="Windows asks for a privilege to make links")
    def test_a_namespace_on_another_disk(self, share: Path, datasets_root: Path, tmp_path: Path) -> None:
        disk = tmp_path / "large disk"
        disk.mkdir()
        (datasets_root / "a").symlink_to(disk)
        write_dataset(share, "a/b/x-v0", files={"data/big": bytes(2 << 20)})
        seen: list[list[str]] = []
        # Work directories are on the disk of the destination, as a move to another one is no rename.
        look = Interference(lambda: seen.append([path.name for path in (disk / "b").iterdir()]), during="downloading")
        with observe_progress(look):
            download_dataset("a/b/x-v0")
        assert seen == [[".x-v0.download"]]
        assert tree(disk / "b/x-v0") == tree(share / "a/b/x-v0")

    @pytest.mark.parametrize("force", [False, True])
    @pytest.mark.parametrize("kind", ["file", "directory", "namespace"])
    def test_what_is_no_dataset_is_never_replaced(
        self, kind: str, force: bool, share: Path, datasets_root: Path, spy: type[SpyStorage]
    ) -> None:
        write_dataset(share, "x-v0")
        if kind == "file":
            (datasets_root / "x-v0").write_text("mine")
        elif kind == "directory":
            (datasets_root / "x-v0" / "precious").mkdir(parents=True)
        else:
            write_namespace(datasets_root, "x-v0")
        before = tree(datasets_root)
        with pytest.raises(DatasetExistsError, match="is not a dataset"):
            download_dataset("x-v0", force)
        assert tree(datasets_root) == before
        assert spy.downloads() == []

    def test_not_into_another_dataset(self, share: Path, datasets_root: Path) -> None:
        write_dataset(share, "x-v0/y-v0")
        write_dataset(datasets_root, "x-v0")
        before = tree(datasets_root)
        with pytest.raises(DatasetExistsError):
            download_dataset("x-v0/y-v0")
        assert tree(datasets_root) == before

    def test_a_remote_that_sends_nothing(
        self, share: Path, datasets_root: Path, spy: type[SpyStorage], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_dataset(share, "x-v1")

        monkeypatch.setattr(spy, "list_files", lambda self, directory: [RemoteFile(f"{directory}/x-v10.txt", 0)])
        monkeypatch.setattr(spy, "has_file", lambda self, name: False)
        with pytest.raises(RemoteError, match="sent something else"):
            download_dataset("x-v1")
        assert visible(datasets_root) == {}

    def test_a_remote_that_sends_half_of_it(
        self, share: Path, datasets_root: Path, spy: type[SpyStorage], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_dataset(share, "a/x-v1")

        def read_range(self: SpyStorage, name: str, start: int, stop: int) -> bytes:
            return b'{"total_'.ljust(stop - start)

        monkeypatch.setattr(spy, "read_range", read_range)
        with pytest.raises(DatasetCorruptError):
            download_dataset("a/x-v1")
        assert visible(datasets_root) == {"a": None}

    def test_workers_that_start_together(self, share: Path, datasets_root: Path) -> None:
        write_dataset(share, "a/x-v0", files={"data/big": bytes(2 << 20)})
        start = threading.Barrier(4)

        def work(_: int) -> None:
            start.wait()
            hosting.download_dataset("a/x-v0")

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # one that is late may find the dataset here
            with ThreadPoolExecutor(4) as pool:
                list(pool.map(work, range(4)))
        assert tree(datasets_root / "a/x-v0") == tree(share / "a/x-v0")
        assert sorted(path.name for path in (datasets_root / "a").iterdir()) == [NAMESPACE_FILE, "x-v0"]
