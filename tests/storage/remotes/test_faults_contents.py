"""Every kind of remote with something wrong on it: files that are missing, cut short, changed, or called strangely."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import minari
from minari._model.manifest import MANIFEST_NAME, Manifest, ManifestFile
from minari.errors import DatasetCorruptError, MinariError, RemoteError
from minari.storage.remotes import get_cloud_storage
from minari.storage.transfer.checksums import checksum_of
from minari.storage.transfer.index import INDEX_FILE_NAME, parse_index
from minari.testing.sharing import tree, write_dataset, write_namespace
from support.servers.backends import Backend, only
from support.servers.moving import ID, put_in_place


pytestmark = pytest.mark.usefixtures("short_pauses")

DATA, METADATA, MANIFEST = (f"{ID}/{name}" for name in ("data/main_data.hdf5", "data/metadata.json", MANIFEST_NAME))
CONTENT = os.urandom(50_000)
STRANGE = ["../evil", "data/../../evil", "/evil", "data//evil", "data/./evil", "data\\..\\evil", "C:evil", "data/.."]

listing = only(lists_files=True)
posix_links = pytest.mark.skipif(os.name == "nt", reason="Windows asks for a privilege to make links")


@pytest.fixture
def arrival(tmp_path: Path) -> Path:
    directory = tmp_path / "deep" / "arrival"
    directory.mkdir(parents=True)
    return directory


@pytest.fixture
def uploaded(datasets_root: Path, backend: Backend) -> Path:
    directory = write_dataset(datasets_root, ID, files={"data/main_data.hdf5": CONTENT})
    backend.upload(ID)
    return directory


@pytest.fixture
def refused(arrival: Path) -> Iterator[None]:
    """No file arrives, neither where it belongs nor anywhere near."""
    yield
    assert put_in_place(arrival.parent) == []
    assert not [path for path in arrival.parents[1].rglob("*evil*") if "served" not in path.parts]


def download(backend: Backend, arrival: Path) -> None:
    backend.remote().download_dataset(ID, arrival)


@pytest.mark.usefixtures("uploaded", "refused")
def test_changed_and_missing_files_are_refused(backend: Backend, arrival: Path) -> None:
    changed = [b"", CONTENT[:-1], CONTENT[:100] + b"!" + CONTENT[101:]]
    if backend.lists_files:
        changed.append(CONTENT + b"x")  # else only what the manifest names is asked for
    for content in changed:
        backend.put(DATA, content)
        with pytest.raises(DatasetCorruptError, match=r"main_data\.hdf5"):
            download(backend, arrival)
    backend.delete(DATA)
    with pytest.raises(MinariError, match=r"main_data\.hdf5"):
        download(backend, arrival)


@pytest.mark.usefixtures("uploaded", "refused")
def test_damaged_manifest_is_refused(backend: Backend, arrival: Path) -> None:
    manifest = Manifest.parse(backend.files()[MANIFEST], "it")
    for content in (b"", b"{", b"[]", b"\xff", b'{"manifest_version": 1}'):
        backend.put(MANIFEST, content)
        with pytest.raises(DatasetCorruptError, match="manifest"):
            download(backend, arrival)
    evil = ManifestFile(1, checksum_of(b"x", "sha256").value)
    backend.put(f"{ID}/evil", b"x")
    for name in STRANGE:
        backend.put(MANIFEST, replace(manifest, files={**manifest.files, name: evil}).dump())
        with pytest.raises((RemoteError, DatasetCorruptError)):
            download(backend, arrival)


def test_files_that_do_not_belong_to_it_are_left(backend: Backend, uploaded: Path, arrival: Path) -> None:
    backend.put(f"{ID}0/data/main_data.hdf5", b"of x-v00")
    for name in ("!extra.hdf5", *STRANGE):
        backend.put(f"{ID}/{name}", b"x")
    if backend.lists_files:
        with pytest.warns(UserWarning, match=r"not .*downloaded: !extra\.hdf5"):
            download(backend, arrival)
    else:
        download(backend, arrival)
    assert tree(arrival / ID) == tree(uploaded)
    assert [path.name for path in (*arrival.parent.iterdir(), *(arrival / "lab").iterdir())] == ["arrival", "x-v0"]


@listing
def test_dataset_without_a_manifest(backend: Backend, uploaded: Path, arrival: Path) -> None:
    backend.delete(MANIFEST)
    for name in STRANGE:
        backend.put(f"{ID}/{name}", b"x")
        if f"{ID}/{name}" in backend.files():  # or the server has no such names
            with pytest.raises(RemoteError, match="same file"):
                download(backend, arrival)
            backend.delete(f"{ID}/{name}")
    assert put_in_place(arrival.parent) == []
    if backend.has_network:
        backend.proxy.flip(20_000, larger_than=40_000)
    download(backend, arrival)
    got = tree(arrival / ID)
    got.pop("README.md", None)  # the card of a Hub, which only a manifest tells from the dataset's own
    assert got == tree(uploaded)


@pytest.mark.filterwarnings("ignore:The remote dataset lab/x-v0 is left out")  # a directory is looked into
@pytest.mark.usefixtures("uploaded", "refused")
def test_half_of_an_upload_is_no_dataset(backend: Backend, arrival: Path) -> None:
    backend.delete(METADATA)
    with pytest.raises(MinariError):
        download(backend, arrival)
    if backend.lists_files:
        assert minari.list_remote_datasets(backend.address) == {}


def test_names_of_datasets_are_their_places(backend: Backend, datasets_root: Path, arrival: Path) -> None:
    file = write_dataset(datasets_root, ID) / "data" / "metadata.json"
    content = json.dumps({**json.loads(file.read_text()), "dataset_id": "../../evil-v0"})
    file.write_text(content)
    backend.upload(ID)
    if backend.lists_files:
        for dataset_id in ("../x-v0", "a/../../x-v0", ".x-v0", "x", "a b-v0"):
            backend.put(f"lab/{dataset_id}/data/metadata.json", content.encode())
    assert list(minari.list_remote_datasets(backend.address)) == [ID]
    download(backend, arrival)
    assert sorted(path.name for path in (arrival / "lab").iterdir()) == ["x-v0"]


@posix_links
@pytest.mark.usefixtures("refused")
@pytest.mark.parametrize("goal", ["/etc/passwd", "../../../secret", "../../.."])
def test_links_on_a_shared_directory_are_refused(goal: str, arrival: Path, tmp_path: Path) -> None:
    share = tmp_path / "share"
    namespace = write_namespace(share, "lab")
    directory = write_dataset(share, ID)
    (tmp_path / "secret").write_text("private")
    (directory / "data" / "link").symlink_to(goal)
    namespace.unlink()
    namespace.symlink_to(tmp_path / "secret")
    remote = get_cloud_storage(share.as_uri())
    for call in (remote.download_dataset, lambda _, to: remote.download_namespace_metadata("lab", to)):
        with pytest.raises(RemoteError, match=r"link|leads out"):
            call(ID, arrival)


@posix_links
def test_link_in_the_place_of_the_dataset_is_not_followed(
    backend: Backend, uploaded: Path, arrival: Path, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (arrival / "lab").mkdir()
    (arrival / ID).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(MinariError):
        download(backend, arrival)
    assert tree(tmp_path / "elsewhere") == {}


@only("file")
def test_directory_lists_a_thousand_datasets(backend: Backend, uploaded: Path) -> None:
    """Those of buckets and of a Hub come over pages, which their own tests count."""
    metadata = json.loads((uploaded / "data" / "metadata.json").read_text())
    ids = [f"lab/y-v{number}" for number in range(1_000)]
    for name in ids:
        backend.put(f"{name}/data/metadata.json", json.dumps({**metadata, "dataset_id": name}).encode())
    found = minari.list_remote_datasets(backend.address)
    assert list(found) == [ID, *ids]
    assert found["lab/y-v999"]["dataset_id"] == "lab/y-v999"
    write_dataset(uploaded.parents[1], "lab/z-v0")
    backend.upload("lab/z-v0")
    assert len(parse_index(backend.files()[INDEX_FILE_NAME])) == 1_002, "what a web server before it would show"
