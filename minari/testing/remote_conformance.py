"""The guarantees of every kind of remote, as tests to inherit."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from minari.errors import DatasetExistsError, DatasetIdError, DatasetNotFoundError, NamespaceError, RemoteError
from minari.progress import observe_progress
from minari.storage.remotes import CloudStorage, RemoteDatasetNotFoundError, get_cloud_storage, split_address
from minari.testing.sharing import (
    NAMESPACE_FILE,
    Interference,
    interrupt,
    tree,
    visible,
    write_dataset,
    write_namespace,
)


MALFORMED = ["", "..", "../x-v0", "/x-v0", "x-v0/", "a//x-v0", "a/../x-v0", ".x-v0", "a\\x-v0", "x-v0\n", "x y-v0"]
BIG = bytes(range(256)) * 4096 * 3  # 3 MiB: several parts, whatever their size


class RemoteConformance:
    """The tests of a kind of remote, for pytest.

    Inherit from it in a class whose name begins with ``Test``, and provide the address of a remote that is
    empty at the beginning of each test.
    """

    token: str | None = None

    @pytest.fixture
    def address(self) -> str:
        """Return the address of an empty remote."""
        raise NotImplementedError("give the address of an empty remote")

    @pytest.fixture
    def remote(self, address: str) -> CloudStorage:
        """Return that remote."""
        return get_cloud_storage(address, self.token)

    @pytest.fixture
    def datasets_root(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """Return the root of the local datasets, empty."""
        directory = tmp_path / "local datasets"
        directory.mkdir()
        monkeypatch.setenv("MINARI_DATASETS_PATH", str(directory))
        return directory

    @pytest.fixture
    def arrival(self, tmp_path: Path) -> Path:
        """Return another root, for downloaded datasets."""
        directory = tmp_path / "arrival"
        directory.mkdir()
        return directory

    def test_an_empty_one(self, remote: CloudStorage) -> None:
        """An empty remote lists nothing and raises no error."""
        assert list(remote.list_datasets()) == []
        assert list(remote.list_namespaces()) == []

    def test_a_dataset_comes_back_as_it_went(
        self, remote: CloudStorage, address: str, datasets_root: Path, arrival: Path
    ) -> None:
        """Every byte of every file is restored, under its name, in this and in another connection."""
        files = {
            "data/main_data.hdf5": BIG,
            "data/0/part-0.arrow": b"",
            "data/1/Größe é.arrow": b"x",
            "README.md": b"?",
        }
        directory = write_dataset(datasets_root, "a/b/x-v0", files=files, author=["Ann"])
        remote.upload_dataset("a/b/x-v0")
        again = get_cloud_storage(address)
        assert list(again.list_datasets()) == ["a/b/x-v0"]
        assert again.get_dataset_metadata("a/b/x-v0") == json.loads((directory / "data/metadata.json").read_bytes())
        again.download_dataset("a/b/x-v0", arrival)
        assert tree(arrival / "a/b/x-v0") == tree(directory)
        assert [name for name in tree(arrival) if "x-v0" not in name] == ["a", "a/b"]

    def test_its_root_can_be_named(self, remote: CloudStorage, tmp_path: Path) -> None:
        """Transfer datasets and namespaces of another root than the default."""
        write_dataset(tmp_path / "elsewhere", "x-v0")
        write_namespace(tmp_path / "elsewhere", "n", kept=True)
        remote.upload_dataset("x-v0", root=tmp_path / "elsewhere")
        remote.upload_namespace("n", root=str(tmp_path / "elsewhere"))
        assert list(remote.list_datasets()) == ["x-v0"]
        assert list(remote.list_namespaces()) == ["n"]

    def test_hidden_files_stay_where_they_are(self, remote: CloudStorage, datasets_root: Path, arrival: Path) -> None:
        """Indexes and similar files belong to a machine."""
        hidden = {"data/.index.json": b"{}", ".git/config": b"", "data/.a/b": b""}
        write_dataset(datasets_root, "x-v0", files=hidden)
        remote.upload_dataset("x-v0")
        remote.download_dataset("x-v0", arrival)
        assert sorted(tree(arrival)) == ["x-v0", "x-v0/data", "x-v0/data/main_data.hdf5", "x-v0/data/metadata.json"]

    def test_exactly_what_was_asked_for(self, remote: CloudStorage, datasets_root: Path, arrival: Path) -> None:
        """Ids with a common prefix are different datasets."""
        ids = ["x-v1", "x-v10", "x-v1-more-v0", "xx-v1", "n/x-v1"]
        for dataset_id in ids:
            write_dataset(datasets_root, dataset_id)
        remote.upload_dataset("x-v1")
        assert list(remote.list_datasets()) == ["x-v1"]
        for dataset_id in ids[1:]:
            remote.upload_dataset(dataset_id)
        remote.download_dataset("x-v1", arrival)
        assert [path.name for path in arrival.iterdir()] == ["x-v1"]
        assert sorted(remote.list_datasets()) == sorted(ids)
        assert sorted(remote.list_datasets("x-v1")) == ["x-v1", "x-v1-more-v0", "x-v10"]
        assert sorted(remote.list_datasets(prefix="n/")) == ["n/x-v1"]
        assert list(remote.list_datasets("nothing")) == []

    def test_a_dataset_is_never_overwritten(self, remote: CloudStorage, datasets_root: Path, arrival: Path) -> None:
        """Neither a remote nor a local dataset is overwritten."""
        write_dataset(datasets_root, "x-v0", description="first")
        remote.upload_dataset("x-v0")
        write_dataset(datasets_root, "x-v0", description="second")
        with pytest.raises(DatasetExistsError):
            remote.upload_dataset("x-v0")
        assert remote.get_dataset_metadata("x-v0")["description"] == "first"
        write_dataset(arrival, "x-v0", description="mine")
        before = tree(arrival)
        with pytest.raises(DatasetExistsError):
            remote.download_dataset("x-v0", arrival)
        assert tree(arrival) == before

    def test_what_is_not_there(self, remote: CloudStorage, datasets_root: Path, arrival: Path) -> None:
        """Reject unknown ids, remote and local."""
        write_dataset(datasets_root, "x-v10")
        remote.upload_dataset("x-v10")
        for wanted in ("x-v1", "n/x-v10", "x-v100"):
            with pytest.raises(RemoteDatasetNotFoundError) as caught:
                remote.get_dataset_metadata(wanted)
            assert isinstance(caught.value, ValueError)
            assert isinstance(caught.value, FileNotFoundError)
            with pytest.raises(RemoteDatasetNotFoundError):
                remote.download_dataset(wanted, arrival)
            with pytest.raises(DatasetNotFoundError):
                remote.upload_dataset(wanted)
        assert tree(arrival) == {}
        assert list(remote.list_datasets()) == ["x-v10"]

    @pytest.mark.parametrize("name", MALFORMED)
    def test_malformed_names(self, name: str, remote: CloudStorage, datasets_root: Path, arrival: Path) -> None:
        """A malformed id never becomes a path."""
        write_dataset(datasets_root.parent / "outside", "x-v0")
        for call in (
            lambda: remote.get_dataset_metadata(name),
            lambda: remote.download_dataset(name, arrival),
            lambda: remote.upload_dataset(name),
            lambda: remote.download_namespace_metadata(name, arrival),
            lambda: remote.upload_namespace(name),
        ):
            with pytest.raises(DatasetIdError):
                call()
        assert tree(arrival) == {}

    def test_namespaces(self, remote: CloudStorage, datasets_root: Path, arrival: Path) -> None:
        """Namespaces have their own metadata and transfer no datasets."""
        write_namespace(datasets_root, "a/b", description="inner")
        write_namespace(datasets_root, "a", description="outer")
        remote.upload_namespace("a")
        assert list(remote.list_namespaces()) == ["a"]
        remote.upload_namespace("a/b")
        assert sorted(remote.list_namespaces()) == ["a", "a/b"]
        assert list(remote.list_datasets()) == []
        remote.download_namespace_metadata("a/b", arrival)
        contents = {name: content for name, content in tree(arrival).items() if content is not None}
        assert contents == {f"a/b/{NAMESPACE_FILE}": b'{"description": "inner"}'}

    def test_namespace_metadata_are_replaced(self, remote: CloudStorage, datasets_root: Path, arrival: Path) -> None:
        """Unlike datasets, namespace metadata is replaced."""
        for text in ("old", "new"):
            write_namespace(datasets_root, "a", description=text)
            remote.upload_namespace("a")
            remote.download_namespace_metadata("a", arrival)
            assert json.loads((arrival / "a" / NAMESPACE_FILE).read_text()) == {"description": text}

    def test_a_namespace_that_is_not_there(self, remote: CloudStorage, datasets_root: Path, arrival: Path) -> None:
        """Reject unknown namespaces, remote and local."""
        (datasets_root / "a").mkdir()
        with pytest.raises(NamespaceError):
            remote.upload_namespace("a")
        with pytest.raises(NamespaceError):
            remote.download_namespace_metadata("a", arrival)
        assert tree(arrival) == {}
        assert list(remote.list_namespaces()) == []

    @pytest.mark.skipif(os.name == "nt", reason="Windows asks for a privilege to make links")
    @pytest.mark.parametrize("kind", ["file", "directory", "parent", "nothing"])
    def test_links_that_lead_out_are_not_sent(
        self, kind: str, remote: CloudStorage, datasets_root: Path, tmp_path: Path
    ) -> None:
        """Nothing but what lies in the directory of the dataset is anybody else's to see."""
        secret = tmp_path / "secret"
        secret.mkdir()
        (secret / "key").write_text("private")
        directory = write_dataset(datasets_root, "x-v0")
        goals = {"file": secret / "key", "directory": secret, "parent": Path("../.."), "nothing": secret / "absent"}
        (directory / "data" / "link").symlink_to(goals[kind])
        with pytest.raises(RemoteError):
            remote.upload_dataset("x-v0")
        assert list(remote.list_datasets()) == []

    @pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
    @pytest.mark.parametrize("name", ["a\\b", "a\\..\\b", "C:b"])
    def test_names_that_lead_out_elsewhere_are_not_sent(
        self, name: str, remote: CloudStorage, datasets_root: Path
    ) -> None:
        """A name that is harmless here may be a path on another system."""
        write_dataset(datasets_root, "x-v0", files={f"data/{name}": b""})
        with pytest.raises(RemoteError, match="not be the same file on every system"):
            remote.upload_dataset("x-v0")
        assert list(remote.list_datasets()) == []

    def test_transfers_are_reported(self, remote: CloudStorage, datasets_root: Path, arrival: Path) -> None:
        """All transfers are counted, as bytes and as files."""
        write_dataset(datasets_root, "x-v0", files={"data/main_data.hdf5": BIG})
        transfers: list[Callable[[], None]] = [
            lambda: remote.upload_dataset("x-v0"),
            lambda: remote.download_dataset("x-v0", arrival),
        ]
        for transfer in transfers:
            with observe_progress(observer := Interference(lambda: None)):
                transfer()
            assert all("x-v0" in task.description for task in observer.tasks)
            assert observer.done
            assert observer.done == [task.total for task in observer.tasks]
            assert set(map(id, observer.finished_tasks)) == set(map(id, observer.tasks))

    def test_an_interrupted_upload_leaves_no_dataset(self, remote: CloudStorage, datasets_root: Path) -> None:
        """The next upload completes it."""
        write_dataset(datasets_root, "x-v0", files={"data/main_data.hdf5": BIG})
        with observe_progress(Interference(interrupt, during="uploading")), pytest.raises(KeyboardInterrupt):
            remote.upload_dataset("x-v0")
        assert list(remote.list_datasets()) == []
        remote.upload_dataset("x-v0")
        assert list(remote.list_datasets()) == ["x-v0"]

    def test_an_interrupted_download_leaves_nothing(
        self, remote: CloudStorage, datasets_root: Path, arrival: Path
    ) -> None:
        """Nothing becomes visible; the next download completes it and cleans up."""
        write_dataset(datasets_root, "n/x-v0", files={"data/main_data.hdf5": BIG})
        remote.upload_dataset("n/x-v0")
        with observe_progress(Interference(interrupt, during="downloading")), pytest.raises(KeyboardInterrupt):
            remote.download_dataset("n/x-v0", arrival)
        assert set(visible(arrival)) <= {"n"}
        remote.download_dataset("n/x-v0", arrival)
        assert tree(arrival) == {"n": None, **tree(datasets_root)}

    def test_several_threads(self, remote: CloudStorage, datasets_root: Path, arrival: Path) -> None:
        """A remote can be used by many threads concurrently."""
        ids = [f"n/x-v{i}" for i in range(12)]
        for dataset_id in ids:
            write_dataset(datasets_root, dataset_id, description=dataset_id)
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(remote.upload_dataset, ids))
            found = list(pool.map(remote.get_dataset_metadata, ids))
            list(pool.map(lambda dataset_id: remote.download_dataset(dataset_id, arrival), ids))
        assert [metadata["description"] for metadata in found] == ids
        assert tree(arrival) == tree(datasets_root)

    def test_two_that_upload_the_same(self, remote: CloudStorage, datasets_root: Path, arrival: Path) -> None:
        """One of them uploads it, the others are informed that it exists."""
        write_dataset(datasets_root, "x-v0", files={"data/main_data.hdf5": BIG})

        def upload(_: int) -> bool:
            try:
                remote.upload_dataset("x-v0")
            except DatasetExistsError:
                return False
            return True

        with ThreadPoolExecutor(4) as pool:
            assert sum(pool.map(upload, range(4))) == 1
        remote.download_dataset("x-v0", arrival)
        assert tree(arrival) == tree(datasets_root)

    def test_the_address_of_a_dataset(self, remote: CloudStorage, address: str, datasets_root: Path) -> None:
        """An address is split into the remote and the id."""
        for namespace in ("a", "a/b"):
            write_namespace(datasets_root, namespace)
            remote.upload_namespace(namespace)
        for dataset_id in ("x-v0", "a/x-v0", "a/b/x-v0"):
            remote_path, found = split_address(f"{address}/{dataset_id}")
            assert found == dataset_id
            assert list(get_cloud_storage(remote_path).list_namespaces()) == ["a", "a/b"]
