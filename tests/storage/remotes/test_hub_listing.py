"""The Hugging Face Hub: what is listed and downloaded, and in how many requests."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from minari.storage.hosting import list_remote_datasets
from minari.storage.remotes import get_cloud_storage
from minari.storage.transfer.index import INDEX_FILE_NAME, dump_index
from minari.testing.sharing import tree, write_dataset
from support.servers.hub import HubServer


def put_datasets(hub: HubServer, root: Path, repository: str, names: list[str], *, index: bool) -> list[str]:
    """Put datasets into a repository from behind, with an index or without; return their ids."""
    directory = write_dataset(root, f"{repository}/pattern-v0")
    metadata = (directory / "data/metadata.json").read_text()
    entries = {name: metadata.replace("pattern-v0", name).encode() for name in names}
    files = {f"{name}/data/metadata.json": content for name, content in entries.items()}
    files |= {f"{name}/data/main_data.hdf5": b"data" for name in names}
    if index:
        files[INDEX_FILE_NAME] = dump_index(entries)
    hub.put(f"lab/{repository}", {**files, "namespace_metadata.json": b"{}"})
    return [f"{repository}/{name}" for name in names]


def upload(root: Path, *dataset_ids: str, owner: str = "lab") -> None:
    for dataset_id in dataset_ids:
        write_dataset(root, dataset_id, author=[owner])
        get_cloud_storage(f"hf://{owner}").upload_dataset(dataset_id)


def paths(requests: list[tuple[str, str]]) -> list[str]:
    """Return the requests to the Hub itself; its CDN serves the targets of redirects."""
    return [urlsplit(path).path for _, path in requests if not path.startswith("/cdn/")]


@pytest.fixture
def short_pages(hub: HubServer) -> Iterator[None]:
    hub.page_size = 30
    yield
    hub.page_size = 1000


@pytest.mark.usefixtures("short_pages")
def test_listing_takes_a_request_per_page_and_repository(hub: HubServer, datasets_root: Path) -> None:
    names = [[f"x{number}-v{version}" for version in range(10)] for number in range(100)]
    ids = [put_datasets(hub, datasets_root, f"r{n}", names[n], index=True) for n in range(100)]
    with hub.counted() as requests:
        listed = list_remote_datasets("hf://lab")
    assert sorted(listed) == sorted(dataset_id for some in ids for dataset_id in some)
    assert all(metadata["dataset_id"] == key for key, metadata in listed.items())
    assert paths(requests).count("/api/datasets") == 4
    assert len(paths(requests)) == 4 + 100


def test_only_repositories_with_datasets_are_listed(hub: HubServer, datasets_root: Path) -> None:
    ids = [f"r{number}/{name}" for number in range(5) for name in ("deep/x-v0", "x-v0")]
    upload(datasets_root, *ids)
    hub.put("lab/foreign", {"README.md": b"# Something else", "data/train.csv": b"1,2"})
    hub.put("lab/not.ours", {"x-v0/data/metadata.json": b"{}"})
    hub.put("lab/half", {"x-v0/data/main_data.hdf5": b"", "namespace_metadata.json": b'{"datasets": ["half/x-v0"]}'})
    hub.put("other/r0", {"x-v0/data/metadata.json": b"{}"})
    with hub.counted() as requests:
        assert sorted(list_remote_datasets("hf://lab")) == ids
    assert len(paths(requests)) == 1 + 5
    with hub.counted() as requests:
        assert list(list_remote_datasets("hf://lab", prefix="r1/deep/")) == ["r1/deep/x-v0"]
    assert sorted(paths(requests)) == ["/api/datasets/lab/r1", f"/datasets/lab/r1/resolve/main/{INDEX_FILE_NAME}"]
    with hub.counted() as requests:
        assert "half" in get_cloud_storage("hf://lab").list_namespaces()
    assert len(paths(requests)) == 1
    assert get_cloud_storage("hf://nobody").list_datasets() == []


@pytest.mark.parametrize("index", [None, b"", b"no gzip", dump_index({"x-v0": b"{}"})[:-9]])
def test_missing_or_damaged_index_is_rebuilt(
    index: bytes | None, hub: HubServer, datasets_root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The released package leaves its repositories without an index."""
    ids = put_datasets(hub, datasets_root, "a", ["x-v0", "y-v1"], index=False)
    if index is not None:
        hub.put("lab/a", {INDEX_FILE_NAME: index})
    caplog.set_level(logging.WARNING, "minari")
    with hub.counted() as requests:
        assert sorted(list_remote_datasets("hf://lab")) == ids
    assert len(paths(requests)) == 1 + len(ids) + (index is not None)
    assert ("is rebuilt" in caplog.text) == (index is not None)
    upload(datasets_root, "a/z-v0")
    with hub.counted() as requests:
        assert sorted(list_remote_datasets("hf://lab")) == [*ids, "a/z-v0"]
    assert len(paths(requests)) == 2


def test_index_does_not_bring_datasets_back(hub: HubServer, datasets_root: Path) -> None:
    put_datasets(hub, datasets_root, "a", ["x-v0", "y-v1"], index=True)
    repository = hub.repositories.by_name["lab/a"]
    repository.commit({path: blob for path, blob in repository.files.items() if "x-v0/" not in path}, "delete")
    put_datasets(hub, datasets_root, "a", ["z-v0"], index=False)
    hub.tells_siblings = False  # the list of repositories has not their files
    for _ in range(2):
        with hub.counted() as requests:
            assert list(list_remote_datasets("hf://lab")) == ["a/y-v1", "a/z-v0"]
        assert len(paths(requests)) <= 1 + 2 + 1
        assert get_cloud_storage("hf://lab").list_namespaces() == ["a"]
        hub.tells_siblings = True


def test_datasets_of_the_community_are_found_by_their_tag(hub: HubServer, datasets_root: Path) -> None:
    upload(datasets_root, "mine/x-v0", owner="ann")
    upload(datasets_root, "n/deep/y-v1", "alone-v0", "n/z-v0")
    put_datasets(hub, datasets_root, "untagged", ["x-v0"], index=False)
    hub.put("bob/words", {"README.md": b"---\ntags:\n- minari\n---\n"})
    hub.put("bob/broken", {"README.md": b"---\ntags: [minari]\n---\n", "x-v0/data/metadata.json": b"{"})
    list_community = get_cloud_storage("hf://lab").list_community
    found = list_community()
    assert list(found) == ["hf://ann/mine/x-v0", "hf://lab/alone-v0", "hf://lab/n/deep/y-v1", "hf://lab/n/z-v0"]
    assert [metadata["author"] for metadata in found.values()] == [["ann"], ["lab"], ["lab"], ["lab"]]
    assert list(list_community("n/d")) == ["hf://lab/n/deep/y-v1"]
    assert list(list_community("al")) == ["hf://lab/alone-v0"]


@pytest.mark.parametrize("expired", [False, True])
def test_download_takes_a_request_per_file(expired: bool, hub: HubServer, datasets_root: Path, arrival: Path) -> None:
    """Addresses of large contents are requested all at once; should they be too old, one by one."""
    files = {f"data/{number}.hdf5": bytes([number]) * 1000 for number in range(20)}
    directory = write_dataset(datasets_root, "n/x-v0", files=files)
    get_cloud_storage("hf://lab").upload_dataset("n/x-v0")
    if expired:
        hub.fail("/cdn/", status=403)
    with hub.counted() as requests:
        get_cloud_storage("hf://lab").download_dataset("n/x-v0", arrival)
    assert tree(arrival / "n/x-v0") == tree(directory)
    # The tree, the manifest, the addresses, and metadata.json, which is small.
    assert len(requests) == 4 + len(files) + 1 + expired * 2
