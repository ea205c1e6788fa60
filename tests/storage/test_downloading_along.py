"""Download: what comes along with a dataset, namespaces and the parts of a combined one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import minari
from minari.errors import (
    DatasetCorruptError,
    RemoteError,
)
from minari.storage.hosting import download_dataset
from support.remotes import SpyStorage, visible, write_dataset, write_namespace


pytestmark = pytest.mark.usefixtures("no_surprises")


class TestNamespacesOfADownload:
    def test_local_metadata_are_kept(self, share: Path, datasets_root: Path) -> None:
        for namespace in ("a", "a/b", "c"):
            write_namespace(share, namespace, owner="theirs")
        write_namespace(datasets_root, "a", owner="mine")
        write_dataset(share, "a/b/x-v0")
        download_dataset("a/b/x-v0")
        owners = {name: minari.namespace.get_namespace_metadata(name)["owner"] for name in ("a", "a/b")}
        assert owners == {"a": "mine", "a/b": "theirs"}
        assert minari.namespace.list_local_namespaces() == ["a", "a/b"]

    def test_a_remote_without_them(self, share: Path) -> None:
        write_dataset(share, "a/b/x-v0")
        download_dataset("a/b/x-v0")
        assert minari.namespace.get_namespace_metadata("a") == {}
        assert minari.namespace.get_namespace_metadata("a/b") == {}

    def test_damaged_ones_stop_the_download(self, share: Path, datasets_root: Path) -> None:
        write_dataset(share, "a/b/x-v0")
        write_namespace(share, "a/b").write_text("[]")
        with pytest.raises(DatasetCorruptError):
            download_dataset("a/b/x-v0")
        assert visible(datasets_root) == {"a": None, "a/b": None}


class TestCombinedDatasets:
    @pytest.fixture
    def combined(self, share: Path) -> None:
        write_dataset(share, "a/one-v0")
        write_dataset(share, "a/one-v1")  # a newer version of a part is nobody's concern
        write_dataset(share, "two-v0")
        write_dataset(share, "b/inner-v0", combined=["a/one-v0", "two-v0"])
        write_dataset(share, "all-v0", combined=["b/inner-v0", "two-v0"])
        write_dataset(share, "other-v0")

    @pytest.mark.usefixtures("combined")
    def test_the_parts_come_along(self, spy: type[SpyStorage]) -> None:
        download_dataset("all-v0")
        ids = ["a/one-v0", "all-v0", "b/inner-v0", "two-v0"]
        assert sorted(minari.list_local_datasets()) == ids
        assert sorted(spy.downloads()) == ids
        assert spy.downloads()[-1] == "all-v0"
        assert minari.namespace.list_local_namespaces() == ["a", "b"]

    @pytest.mark.usefixtures("combined")
    def test_parts_that_are_here_stay(self, datasets_root: Path, spy: type[SpyStorage]) -> None:
        write_dataset(datasets_root, "two-v0", description="mine")
        write_dataset(datasets_root, "all-v0", description="mine")
        download_dataset("all-v0", force_download=True)
        assert sorted(spy.downloads()) == ["a/one-v0", "all-v0", "b/inner-v0"]
        listed = minari.list_local_datasets()
        assert listed["two-v0"]["description"] == "mine"
        assert "description" not in listed["all-v0"]

    @pytest.mark.usefixtures("combined")
    def test_parts_that_the_remote_lacks_are_named(self, share: Path, datasets_root: Path) -> None:
        shutil.rmtree(share / "two-v0")
        shutil.rmtree(share / "a")
        write_dataset(datasets_root, "a/one-v0")  # it is here, so that it is not missed
        with pytest.warns(UserWarning, match=r"all-v0 was combined from two-v0, which file://.* not have") as caught:
            download_dataset("all-v0")
        assert len(caught) == 1
        assert sorted(minari.list_local_datasets()) == ["a/one-v0", "all-v0", "b/inner-v0"]

    def test_parts_with_malicious_names(self, share: Path, datasets_root: Path) -> None:
        write_dataset(share.parent, "outside-v0")
        write_dataset(share, "x-v0", combined=["../outside-v0", "/etc", "y"])
        with pytest.warns(UserWarning, match=r"\.\./outside-v0, /etc, y, which"):
            download_dataset("x-v0")
        assert list(minari.list_local_datasets()) == ["x-v0"]

    def test_a_dataset_that_names_itself(self, share: Path, spy: type[SpyStorage]) -> None:
        write_dataset(share, "x-v0", combined=["y-v0", "x-v0"])
        write_dataset(share, "y-v0", combined=["x-v0"])
        download_dataset("x-v0")
        assert sorted(minari.list_local_datasets()) == ["x-v0", "y-v0"]
        assert set(spy.calls.values()) <= {1, 2, 3}

    @pytest.mark.usefixtures("combined")
    def test_a_failed_part_can_be_tried_again(self, spy: type[SpyStorage]) -> None:
        spy.failures["download_dataset two-v0"] = RemoteError("gone")
        with pytest.raises(RemoteError, match="gone"):
            download_dataset("all-v0")
        assert "all-v0" not in minari.list_local_datasets()
        spy.failures.clear()
        download_dataset("all-v0")
        assert len(minari.list_local_datasets()) == 4
        assert spy.calls["download_dataset b/inner-v0"] == 1

    def test_a_part_that_does_not_answer_stops_the_download(self, share: Path, spy: type[SpyStorage]) -> None:
        write_dataset(share, "x-v0", combined=["y-v0"])
        write_dataset(share, "y-v0")
        spy.failures["get_dataset_metadata y-v0"] = RemoteError("gone")
        with pytest.raises(RemoteError, match="gone"):
            download_dataset("x-v0")
        assert minari.list_local_datasets() == {}
