"""Common behavior of object stores: the order of an upload, claims, the index; on a store in memory."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from minari.errors import DatasetBusyError, DatasetExistsError, RemoteError, RemoteUnreachableError
from minari.storage.remotes import object_index, registry
from minari.storage.remotes.object_storage import ConflictError
from minari.storage.transfer import limits
from minari.storage.transfer.index import dump_index, parse_index
from minari.testing import RemoteConformance
from minari.testing.sharing import tree, write_dataset, write_namespace
from support.object_store import Store


INDEX = "datasets_index.json.gz"


@pytest.fixture
def store() -> Store:
    return Store("shelf")


@pytest.fixture
def dataset(datasets_root: Path) -> Path:
    return write_dataset(datasets_root, "a/x-v0", files={"data/b": b"bb", "data/c/d": b"dd", "README.md": b"r"})


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry immediately, and isolate tests from each other."""
    monkeypatch.setattr(Store, "shelves", {})
    monkeypatch.setattr(limits, "FIRST_PAUSE", 0.0)
    monkeypatch.setattr(object_index, "_PAUSE", 0.0)


class TestStore(RemoteConformance):
    """The parts that this class is made of keep the promises of every remote."""

    @pytest.fixture
    def address(self, monkeypatch: pytest.MonkeyPatch) -> str:
        target = ("support.object_store:Store", "")
        monkeypatch.setattr(registry, "_remotes", {**registry._remotes, "store": target})
        return "store://shelf"


def fail(name_ending: str, error: Exception, times: int = 1) -> Callable[[str, bytes], bytes]:
    """Interference that raises when an object of such a name is written."""
    left = [times]

    def interfere(name: str, content: bytes) -> bytes:
        if name.endswith(name_ending) and left[0]:
            left[0] -= 1
            raise error
        return content

    return interfere


@pytest.mark.usefixtures("dataset")
class TestUploads:
    def test_the_manifest_comes_first_and_the_metadata_last(self, store: Store) -> None:
        store.upload_dataset("a/x-v0")
        written = [name.removeprefix("a/x-v0/") for name in store.written]
        assert written[0] == "data/manifest.json"
        assert sorted(written[1:-2]) == ["README.md", "data/b", "data/c/d", "data/main_data.hdf5"]
        assert written[-2:] == ["data/metadata.json", INDEX]

    def test_it_goes_on_where_it_was_broken_off(self, store: Store) -> None:
        store.max_workers = 1
        store.interfere = fail("main_data.hdf5", RemoteError("full"))
        with pytest.raises(RemoteError, match="full"):
            store.upload_dataset("a/x-v0")
        assert store.list_datasets() == []
        before = set(store.written)
        assert len(before) >= 3
        store.written.clear()
        store.upload_dataset("a/x-v0")
        assert not before & set(store.written)
        assert store.list_datasets() == ["a/x-v0"]

    def test_what_was_sent_of_other_data_is_replaced(self, store: Store, dataset: Path, tmp_path: Path) -> None:
        store.interfere = fail("data/metadata.json", RemoteError("full"))
        with pytest.raises(RemoteError, match="full"):
            store.upload_dataset("a/x-v0")
        (dataset / "data/b").write_bytes(b"BB")
        (dataset / "data/c/d").unlink()
        (dataset / "data/c").rmdir()
        with pytest.raises(DatasetBusyError, match=r"other data as a/x-v0 .*in progress.*--force"):
            store.upload_dataset("a/x-v0")
        assert store.list_datasets() == []
        store.upload_dataset("a/x-v0", force=True)
        store.download_dataset("a/x-v0", tmp_path)
        assert tree(tmp_path / "a/x-v0") == tree(dataset)

    def test_a_namespace_that_is_called_like_the_dataset_stays(self, store: Store, dataset: Path) -> None:
        others = {"a/x-v0/y-v0/data/metadata.json": (b"{}", 1), "a/x-v0/namespace_metadata.json": (b"{}", 2)}
        store.objects.update(others)
        store.objects["a/x-v0/data/left"] = b"", 3
        store.upload_dataset("a/x-v0")
        assert others.items() <= store.objects.items()
        assert "a/x-v0/data/left" not in store.objects

    def test_force_does_not_replace_what_is_complete(self, store: Store, dataset: Path) -> None:
        store.upload_dataset("a/x-v0")
        before = dict(store.objects)
        (dataset / "data/b").write_bytes(b"BB")
        with pytest.raises(DatasetExistsError):
            store.upload_dataset("a/x-v0", force=True)
        assert store.objects == before

    def test_another_that_is_complete_first(self, store: Store) -> None:
        def overtake(name: str, content: bytes) -> bytes:
            store.objects.setdefault("a/x-v0/data/metadata.json", (b"{}", 0))
            return content

        store.interfere = overtake
        with pytest.raises(DatasetExistsError):
            store.upload_dataset("a/x-v0")
        assert store.objects["a/x-v0/data/metadata.json"] == (b"{}", 0)

    @pytest.mark.parametrize("ending", ["manifest.json", "main_data.hdf5", "metadata.json", INDEX])
    def test_answers_that_are_lost(self, ending: str, store: Store, dataset: Path) -> None:
        put = store.put

        def lose(name: str, content: bytes, *, match: str | None = None) -> None:
            put(name, content, match=match)
            if name.endswith(ending) and store.written.count(name) == 1:
                raise RemoteUnreachableError("cut")

        store.put = lose  # type: ignore[method-assign]
        store.upload_dataset("a/x-v0")
        assert store.list_datasets() == ["a/x-v0"]
        assert store.read_file("a/x-v0/data/metadata.json") == (dataset / "data/metadata.json").read_bytes()

    @pytest.mark.parametrize("tells", ["md5", "", "sha256", "unheard-of"])
    def test_what_arrives_damaged_is_sent_again(self, tells: str, store: Store, dataset: Path, tmp_path: Path) -> None:
        store.tells = "" if tells == "unheard-of" else tells
        times = iter([True, True])
        store.interfere = lambda name, content: b"??" if name.endswith("data/b") and next(times, False) else content
        store.upload_dataset("a/x-v0")
        store.download_dataset("a/x-v0", tmp_path)
        assert tree(tmp_path / "a/x-v0") == tree(dataset)
        assert store.written.count("a/x-v0/data/b") == 3

    @pytest.mark.parametrize("tells", ["md5", ""])
    def test_what_arrives_damaged_for_good_is_an_error(self, tells: str, store: Store) -> None:
        store.tells = tells
        store.interfere = lambda name, content: b"??" if name.endswith("data/b") else content
        with pytest.raises(RemoteError, match="a/x-v0/data/b arrived damaged"):
            store.upload_dataset("a/x-v0")
        assert store.list_datasets() == []

    def test_a_dataset_that_is_written_meanwhile(self, store: Store, dataset: Path) -> None:
        def change(name: str, content: bytes) -> bytes:
            (dataset / "data/new").write_bytes(b"new")
            return content

        store.interfere = change
        with pytest.raises(DatasetBusyError, match="was changed while it was copied"):
            store.upload_dataset("a/x-v0")
        assert store.list_datasets() == []

    def test_one_of_an_old_release(self, store: Store, copy_fixture: Callable[[str, str], Path]) -> None:
        copy_fixture("0.4.3", "cartpole-random-v0")
        with pytest.raises(RemoteError, match=r"old release .*minari convert cartpole-random-v0"):
            store.upload_dataset("cartpole-random-v0")
        assert store.objects == {}


class TestIndex:
    def entries(self, store: Store) -> dict[str, bytes]:
        return parse_index(store.read_file(INDEX))

    def put(self, store: Store, dataset_id: str, content: bytes = b'{"total_steps": 1}') -> bytes:
        """A dataset as another program would upload it."""
        store.put(f"{dataset_id}/data/metadata.json", content)
        return content

    def test_it_takes_in_what_others_have_uploaded(self, store: Store, dataset: Path) -> None:
        others = {dataset_id: self.put(store, dataset_id) for dataset_id in ("y-v0", "b/c/z-v3")}
        store.upload_dataset("a/x-v0")
        metadata = (dataset / "data/metadata.json").read_bytes()
        assert self.entries(store) == {**others, "a/x-v0": metadata} == store.list_with_metadata()

    def test_it_is_believed_as_far_as_the_listing_agrees(self, store: Store) -> None:
        right = self.put(store, "y-v0")
        self.put(store, "z-v0", b"{}")
        self.put(store, "new-v0")
        store.put(INDEX, dump_index({"y-v0": right, "z-v0": b"[]", "gone-v0": b"{}"}))
        assert store.list_with_metadata() == {"y-v0": right, "z-v0": None, "new-v0": None}
        store.tells = ""
        assert store.list_with_metadata() == {"y-v0": right, "z-v0": b"[]", "new-v0": None}  # of the same size

    def test_what_is_gone_leaves_it(self, store: Store, dataset: Path) -> None:
        store.put(INDEX, dump_index({"gone-v0": b"{}"}))
        store.upload_dataset("a/x-v0")
        assert set(self.entries(store)) == {"a/x-v0"}

    def test_damaged_index_is_recreated(self, store: Store, dataset: Path, caplog: pytest.LogCaptureFixture) -> None:
        self.put(store, "y-v0")
        store.put(INDEX, b"nonsense")
        assert store.list_with_metadata() == {"y-v0": None}
        assert "damaged" in caplog.text
        store.upload_dataset("a/x-v0")
        assert set(self.entries(store)) == {"a/x-v0", "y-v0"}

    def test_two_that_write_it_at_the_same_time(self, store: Store, dataset: Path) -> None:
        times = iter(range(3))

        def overtake(name: str, content: bytes) -> bytes:
            if name == INDEX and (number := next(times, None)) is not None:
                self.put(store, f"other-v{number}")
                store.objects[INDEX] = dump_index({f"other-v{number}": b"{}"}), 1000 + number
            return content

        store.interfere = overtake
        store.upload_dataset("a/x-v0")
        assert set(self.entries(store)) == {"a/x-v0", "other-v0", "other-v1", "other-v2"}

    @pytest.mark.parametrize("error", [RemoteError("no"), ConflictError("always"), OSError("disk")])
    def test_a_dataset_is_there_without_it(
        self, error: Exception, store: Store, dataset: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        store.interfere = fail(INDEX, error, times=1000)
        with caplog.at_level(logging.WARNING):
            store.upload_dataset("a/x-v0")
        assert store.list_with_metadata() == {"a/x-v0": None}
        assert "index of store://shelf was not brought up to date" in caplog.text


def test_namespaces_of_others(store: Store, datasets_root: Path) -> None:
    for name in ("a/namespace_metadata.json", "a/b c/namespace_metadata.json", "namespace_metadata.json", "x/y.json"):
        store.put(name, b"{}")
    write_namespace(datasets_root, "b")
    store.upload_namespace("b")
    assert store.list_namespaces() == ["a", "b"]
