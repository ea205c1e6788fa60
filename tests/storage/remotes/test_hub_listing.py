"""The Hugging Face Hub: what is listed, and in how many requests."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from minari.storage.hosting import list_remote_datasets
from minari.storage.remotes import get_cloud_storage
from minari.storage.transfer.index import INDEX_FILE_NAME, dump_index
from minari.testing.sharing import tree, write_dataset
from support.servers.hub import HubServer


def put_datasets(hub: HubServer, root: Path, repository: str, names: list[str], *, index: bool) -> dict[str, bytes]:
    """Put datasets into a repository from behind, with an index or without; the content of their metadata."""
    directory = write_dataset(root, f"{repository}/pattern-v0")
    metadata = (directory / "data/metadata.json").read_text()
    entries = {name: metadata.replace("pattern-v0", name).encode() for name in names}
    files = {f"{name}/data/metadata.json": content for name, content in entries.items()}
    files |= {f"{name}/data/main_data.hdf5": b"data" for name in names}
    if index:
        files[INDEX_FILE_NAME] = dump_index(entries)
    hub.put(f"lab/{repository}", {**files, "namespace_metadata.json": b"{}"})
    return {f"{repository}/{name}": content for name, content in entries.items()}


def paths(requests: list[tuple[str, str]]) -> list[str]:
    """Return the requests to the Hub itself; its CDN serves the targets of redirects."""
    return [urlsplit(path).path for _, path in requests if not path.startswith("/cdn/")]


def test_a_thousand_datasets_over_pages(hub: HubServer, datasets_root: Path) -> None:
    truth: dict[str, bytes] = {}
    for number in range(100):
        names = [f"x{number}-v{version}" for version in range(10)]
        truth |= put_datasets(hub, datasets_root, f"r{number}", names, index=True)
    hub.page_size = 30
    try:
        with hub.counted() as requests:
            listed = list_remote_datasets("hf://lab")
    finally:
        hub.page_size = 1000
    assert {key: metadata["dataset_id"] for key, metadata in listed.items()} == {key: key for key in truth}
    asked = paths(requests)
    assert asked.count("/api/datasets") == 4
    assert len(asked) == 4 + 100


def test_one_request_and_one_a_repository(hub: HubServer, datasets_root: Path) -> None:
    for number in range(5):
        for dataset_id in (f"r{number}/x-v0", f"r{number}/deep/x-v0"):
            write_dataset(datasets_root, dataset_id)
            get_cloud_storage("hf://lab").upload_dataset(dataset_id)
    hub.put("lab/foreign", {"README.md": b"# Something else", "data/train.csv": b"1,2"})
    hub.put("lab/not.ours", {"x-v0/data/metadata.json": b"{}"})
    hub.put("lab/half", {"x-v0/data/main_data.hdf5": b"", "namespace_metadata.json": b'{"datasets": ["half/x-v0"]}'})
    hub.put("other/r0", {"x-v0/data/metadata.json": b"{}"})
    with hub.counted() as requests:
        listed = list_remote_datasets("hf://lab")
    assert sorted(listed) == sorted(f"r{number}/{name}" for number in range(5) for name in ("x-v0", "deep/x-v0"))
    assert len(paths(requests)) == 1 + 5
    with hub.counted() as requests:
        assert list(list_remote_datasets("hf://lab", prefix="r1/deep/")) == ["r1/deep/x-v0"]
    assert sorted(paths(requests)) == ["/api/datasets/lab/r1", f"/datasets/lab/r1/resolve/main/{INDEX_FILE_NAME}"]
    with hub.counted() as requests:
        assert "half" in get_cloud_storage("hf://lab").list_namespaces()
    assert len(paths(requests)) == 1
    assert get_cloud_storage("hf://nobody").list_datasets() == []


def test_without_indexes(hub: HubServer, datasets_root: Path) -> None:
    """As the released package leaves its repositories."""
    truth = put_datasets(hub, datasets_root, "a", ["x-v0", "y-v1"], index=False)
    truth |= put_datasets(hub, datasets_root, "b", ["z-v0"], index=False)
    with hub.counted() as requests:
        assert sorted(list_remote_datasets("hf://lab")) == sorted(truth)
    assert len(requests) == 1 + 3


@pytest.mark.parametrize("index", [b"", b"no gzip", dump_index({"x-v0": b"{}"})[:-9]])
def test_a_damaged_index(index: bytes, hub: HubServer, datasets_root: Path, caplog: pytest.LogCaptureFixture) -> None:
    truth = put_datasets(hub, datasets_root, "a", ["x-v0", "y-v1"], index=False)
    hub.put("lab/a", {INDEX_FILE_NAME: index})
    caplog.set_level(logging.WARNING, "minari")
    assert sorted(list_remote_datasets("hf://lab")) == sorted(truth)
    assert "is rebuilt" in caplog.text
    write_dataset(datasets_root, "a/z-v0")
    get_cloud_storage("hf://lab").upload_dataset("a/z-v0")
    with hub.counted() as requests:
        assert sorted(list_remote_datasets("hf://lab")) == ["a/x-v0", "a/y-v1", "a/z-v0"]
    assert len(paths(requests)) == 2


def test_the_index_does_not_bring_datasets_back(hub: HubServer, datasets_root: Path) -> None:
    put_datasets(hub, datasets_root, "a", ["x-v0", "y-v1"], index=True)
    repository = hub.repositories.by_name["lab/a"]
    repository.commit({path: blob for path, blob in repository.files.items() if "x-v0/" not in path}, "delete")
    put_datasets(hub, datasets_root, "a", ["z-v0"], index=False)
    assert list(list_remote_datasets("hf://lab")) == ["a/y-v1", "a/z-v0"]


def test_a_hub_whose_list_does_not_tell_the_files(hub: HubServer, datasets_root: Path) -> None:
    truth = put_datasets(hub, datasets_root, "a", ["x-v0", "y-v1"], index=True)
    hub.tells_siblings = False
    with hub.counted() as requests:
        assert sorted(list_remote_datasets("hf://lab")) == sorted(truth)
    assert len(paths(requests)) == 1 + 2
    assert get_cloud_storage("hf://lab").list_namespaces() == ["a"]


def test_community_datasets(hub: HubServer, datasets_root: Path) -> None:
    for owner, dataset_id in (("ann", "mine/x-v0"), ("lab", "n/deep/y-v1"), ("lab", "alone-v0"), ("lab", "n/z-v0")):
        write_dataset(datasets_root, dataset_id, author=[owner])
        get_cloud_storage(f"hf://{owner}").upload_dataset(dataset_id)
    put_datasets(hub, datasets_root, "untagged", ["x-v0"], index=False)
    hub.put("bob/words", {"README.md": b"---\ntags:\n- minari\n---\n"})
    hub.put("bob/broken", {"README.md": b"---\ntags: [minari]\n---\n", "x-v0/data/metadata.json": b"{"})
    list_community = get_cloud_storage("hf://lab").list_community
    found = list_community()
    assert list(found) == ["hf://ann/mine/x-v0", "hf://lab/alone-v0", "hf://lab/n/deep/y-v1", "hf://lab/n/z-v0"]
    assert [metadata["author"] for metadata in found.values()] == [["ann"], ["lab"], ["lab"], ["lab"]]
    assert list(list_community("n/d")) == ["hf://lab/n/deep/y-v1"]
    assert list(list_community("al")) == ["hf://lab/alone-v0"]
    assert json.loads(json.dumps(found)) == found


def test_downloading_takes_a_request_a_file(hub: HubServer, datasets_root: Path, tmp_path: Path) -> None:
    """Large contents are found all at once; and should their addresses be too old, one by one."""
    files = {f"data/{number}.hdf5": bytes([number]) * 1000 for number in range(20)}
    directory = write_dataset(datasets_root, "n/x-v0", files=files)
    get_cloud_storage("hf://lab").upload_dataset("n/x-v0")
    for rounds in range(2):
        (arrival := tmp_path / str(rounds)).mkdir()
        if rounds:
            hub.fail("/cdn/", status=403)
        with hub.counted() as requests:
            get_cloud_storage("hf://lab").download_dataset("n/x-v0", arrival)
        assert tree(arrival / "n/x-v0") == tree(directory)
        # The tree, the manifest, the addresses, and metadata.json, which is small.
        assert len(requests) == 4 + len(files) + 1 + rounds * 2
