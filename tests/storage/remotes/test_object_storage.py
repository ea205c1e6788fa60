"""Common behavior of object stores: the order of an upload, claims, the index; on a store in memory."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from minari.errors import DatasetBusyError, DatasetExistsError, RemoteError, RemoteUnreachableError
from minari.storage.remotes.object_storage import ConflictError
from minari.storage.transfer.index import INDEX_FILE_NAME, dump_index, parse_index
from minari.testing.sharing import tree, write_dataset, write_namespace
from support.object_store import Store


pytestmark = pytest.mark.usefixtures("short_pauses")
ID, PREFIX, METADATA = "a/x-v0", "a/x-v0/", "data/metadata.json"


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(Store, "shelves", {})
    return Store("shelf")


@pytest.fixture(autouse=True)
def dataset(datasets_root: Path) -> Path:
    return write_dataset(datasets_root, ID, files={"data/b": b"bb", "data/c/d": b"dd", "README.md": b"r"})


def fail(name_ending: str, error: Exception, times: int = 1) -> Callable[[str, bytes], bytes]:
    """Interference that raises when an object of such a name is written."""
    left = [times]

    def interfere(name: str, content: bytes) -> bytes:
        if name.endswith(name_ending) and left[0]:
            left[0] -= 1
            raise error
        return content

    return interfere


def put(store: Store, dataset_id: str, content: bytes = b'{"total_steps": 1}') -> bytes:
    """Upload a dataset as another program does."""
    store.put(f"{dataset_id}/{METADATA}", content)
    return content


def index_of(store: Store) -> dict[str, bytes]:
    return parse_index(store.read_file(INDEX_FILE_NAME))


# Uploads


def test_manifest_comes_first_and_metadata_last(store: Store) -> None:
    store.upload_dataset(ID)
    written = [name.removeprefix(PREFIX) for name in store.written]
    assert (written[0], written[-2:]) == ("data/manifest.json", [METADATA, INDEX_FILE_NAME])
    assert sorted(written[1:-2]) == ["README.md", "data/b", "data/c/d", "data/main_data.hdf5"]


def test_interrupted_upload_resumes(store: Store) -> None:
    store.max_workers = 1
    store.interfere = fail("main_data.hdf5", RemoteError("full"))
    with pytest.raises(RemoteError, match="full"):
        store.upload_dataset(ID)
    assert store.list_datasets() == []
    before = set(store.written)
    assert len(before) >= 3
    store.written.clear()
    store.upload_dataset(ID)
    assert not before & set(store.written)
    assert store.list_datasets() == [ID]


def test_rest_of_other_data_is_replaced_by_force(store: Store, dataset: Path, tmp_path: Path) -> None:
    store.interfere = fail(METADATA, RemoteError("full"))
    with pytest.raises(RemoteError, match="full"):
        store.upload_dataset(ID)
    (dataset / "data/b").write_bytes(b"BB")
    (dataset / "data/c/d").unlink()
    (dataset / "data/c").rmdir()
    with pytest.raises(DatasetBusyError, match=r"other data as a/x-v0 .*in progress.*--force"):
        store.upload_dataset(ID)
    assert store.list_datasets() == []
    store.upload_dataset(ID, force=True)
    store.download_dataset(ID, tmp_path)
    assert tree(tmp_path / ID) == tree(dataset)
    before = dict(store.objects)
    with pytest.raises(DatasetExistsError):
        store.upload_dataset(ID, force=True)
    assert store.objects == before, "what is complete is not replaced"


def test_namespace_below_the_dataset_is_kept(store: Store) -> None:
    others = {f"{PREFIX}y-v0/{METADATA}": (b"{}", 1), f"{PREFIX}namespace_metadata.json": (b"{}", 2)}
    store.objects.update({**others, f"{PREFIX}data/left": (b"", 3)})
    store.upload_dataset(ID)
    assert others.items() <= store.objects.items()
    assert f"{PREFIX}data/left" not in store.objects


def test_other_upload_that_is_complete_first_wins(store: Store) -> None:
    def overtake(name: str, content: bytes) -> bytes:
        store.objects.setdefault(PREFIX + METADATA, (b"{}", 0))
        return content

    store.interfere = overtake
    with pytest.raises(DatasetExistsError):
        store.upload_dataset(ID)
    assert store.objects[PREFIX + METADATA] == (b"{}", 0)


@pytest.mark.parametrize("ending", ["manifest.json", "main_data.hdf5", "metadata.json", INDEX_FILE_NAME])
def test_lost_answer_does_not_look_like_another_upload(ending: str, store: Store, dataset: Path) -> None:
    original = store.put

    def lose(name: str, content: bytes, *, match: str | None = None) -> None:
        original(name, content, match=match)
        if name.endswith(ending) and store.written.count(name) == 1:
            raise RemoteUnreachableError("cut")

    store.put = lose  # type: ignore[method-assign]
    store.upload_dataset(ID)
    assert store.list_datasets() == [ID]
    assert store.read_file(PREFIX + METADATA) == (dataset / METADATA).read_bytes()


@pytest.mark.parametrize("checksum", ["md5", "", "sha256"])
def test_damaged_file_is_sent_again(checksum: str, store: Store, dataset: Path, tmp_path: Path) -> None:
    store.tells = checksum
    damages = iter([True, True])
    store.interfere = lambda name, content: b"??" if name.endswith("data/b") and next(damages, False) else content
    store.upload_dataset(ID)
    store.download_dataset(ID, tmp_path)
    assert tree(tmp_path / ID) == tree(dataset)
    assert store.written.count(f"{PREFIX}data/b") == 3


@pytest.mark.parametrize("checksum", ["md5", ""])
def test_file_that_is_always_damaged_is_an_error(checksum: str, store: Store) -> None:
    store.tells = checksum
    store.interfere = lambda name, content: b"??" if name.endswith("data/b") else content
    with pytest.raises(RemoteError, match="a/x-v0/data/b arrived damaged"):
        store.upload_dataset(ID)
    assert store.list_datasets() == []


def test_changed_and_old_datasets_are_refused(
    store: Store, dataset: Path, copy_fixture: Callable[[str, str], Path]
) -> None:
    copy_fixture("0.4.3", "cartpole-random-v0")
    with pytest.raises(RemoteError, match=r"old release .*minari convert cartpole-random-v0"):
        store.upload_dataset("cartpole-random-v0")
    assert store.objects == {}
    store.interfere = lambda name, content: (dataset / "data/new").write_bytes(b"new") and content
    with pytest.raises(DatasetBusyError, match="was changed while it was copied"):
        store.upload_dataset(ID)
    assert store.list_datasets() == []


# The index


def test_index_takes_in_what_others_have_uploaded(store: Store, dataset: Path) -> None:
    others = {dataset_id: put(store, dataset_id) for dataset_id in ("y-v0", "b/c/z-v3")}
    store.put(INDEX_FILE_NAME, dump_index({"gone-v0": b"{}"}))
    store.upload_dataset(ID)
    assert index_of(store) == store.list_with_metadata() == {**others, ID: (dataset / METADATA).read_bytes()}


def test_index_is_believed_as_far_as_the_listing_agrees(store: Store) -> None:
    right = put(store, "y-v0")
    put(store, "z-v0", b"{}")
    put(store, "new-v0")
    store.put(INDEX_FILE_NAME, dump_index({"y-v0": right, "z-v0": b"[]", "gone-v0": b"{}"}))
    assert store.list_with_metadata() == {"y-v0": right, "z-v0": None, "new-v0": None}
    store.tells = ""
    assert store.list_with_metadata() == {"y-v0": right, "z-v0": b"[]", "new-v0": None}  # of the same size


def test_damaged_index_is_recreated(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    put(store, "y-v0")
    store.put(INDEX_FILE_NAME, b"nonsense")
    assert store.list_with_metadata() == {"y-v0": None}
    assert "damaged" in caplog.text
    store.upload_dataset(ID)
    assert set(index_of(store)) == {ID, "y-v0"}


def test_concurrent_writers_all_come_into_the_index(store: Store) -> None:
    times = iter(range(3))

    def overtake(name: str, content: bytes) -> bytes:
        if name == INDEX_FILE_NAME and (number := next(times, None)) is not None:
            put(store, f"other-v{number}")
            store.objects[INDEX_FILE_NAME] = dump_index({f"other-v{number}": b"{}"}), 1000 + number
        return content

    store.interfere = overtake
    store.upload_dataset(ID)
    assert set(index_of(store)) == {ID, "other-v0", "other-v1", "other-v2"}


@pytest.mark.parametrize("error", [RemoteError("no"), ConflictError("always"), OSError("disk")])
def test_dataset_is_there_without_the_index(error: Exception, store: Store, caplog: pytest.LogCaptureFixture) -> None:
    store.interfere = fail(INDEX_FILE_NAME, error, times=1000)
    with caplog.at_level(logging.WARNING):
        store.upload_dataset(ID)
    assert store.list_with_metadata() == {ID: None}
    assert "index of store://shelf was not brought up to date" in caplog.text


def test_only_well_formed_namespaces_are_listed(store: Store, datasets_root: Path) -> None:
    for name in ("a/namespace_metadata.json", "a/b c/namespace_metadata.json", "namespace_metadata.json", "x/y.json"):
        store.put(name, b"{}")
    write_namespace(datasets_root, "b")
    store.upload_namespace("b")
    assert store.list_namespaces() == ["a", "b"]
