"""Every kind of remote with something wrong on it: files that are missing, cut short, changed, or called strangely."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import minari
from minari.errors import DatasetCorruptError, MinariError, RemoteError, RemoteUnreachableError
from minari.storage.remotes import get_cloud_storage
from minari.storage.transfer.checksums import checksum_of
from minari.storage.transfer.index import INDEX_FILE_NAME, parse_index
from minari.storage.transfer.manifest import MANIFEST_NAME, Manifest, ManifestFile
from minari.testing.sharing import tree, visible, write_dataset, write_namespace
from support.servers.backends import Backend, only


pytestmark = pytest.mark.usefixtures("short_pauses")

ID = "lab/x-v0"
DATA = f"{ID}/data/main_data.hdf5"
CONTENT = os.urandom(50_000)
STRANGE = ["../evil", "data/../../evil", "/evil", "data//evil", "data/./evil", "data\\..\\evil", "C:evil", "data/.."]


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
def nothing_arrives(arrival: Path) -> Iterator[None]:
    """Not a file, neither where it belongs nor anywhere near."""
    yield
    assert put_in_place(arrival.parent) == []
    assert not [path for path in arrival.parents[1].rglob("*evil*") if "served" not in path.parts]


def put_in_place(root: Path) -> list[str]:
    """The files that are not hidden."""
    return [name for name, content in visible(root).items() if content is not None]


def download(backend: Backend, arrival: Path) -> None:
    backend.remote().download_dataset(ID, arrival)


def manifest_of(backend: Backend) -> Manifest:
    return Manifest.parse(backend.files()[f"{ID}/{MANIFEST_NAME}"], "it")


class TestDatasets:
    @pytest.mark.usefixtures("uploaded", "nothing_arrives")
    def test_a_missing_file(self, backend: Backend, arrival: Path) -> None:
        backend.delete(DATA)
        with pytest.raises(MinariError, match=r"main_data\.hdf5"):
            download(backend, arrival)

    @pytest.mark.usefixtures("uploaded", "nothing_arrives")
    def test_a_file_of_another_size_or_content(self, backend: Backend, arrival: Path) -> None:
        changed = [b"", CONTENT[:-1], CONTENT[:100] + b"!" + CONTENT[101:]]
        if backend.lists_files:
            changed.append(CONTENT + b"x")  # else only what the manifest names is asked for
        for content in changed:
            backend.put(DATA, content)
            with pytest.raises(DatasetCorruptError, match=r"main_data\.hdf5"):
                download(backend, arrival)

    @pytest.mark.usefixtures("uploaded", "nothing_arrives")
    def test_a_damaged_manifest(self, backend: Backend, arrival: Path) -> None:
        for content in (b"", b"{", b"[]", b"\xff", b'{"manifest_version": 1}'):
            backend.put(f"{ID}/{MANIFEST_NAME}", content)
            with pytest.raises(DatasetCorruptError, match="manifest"):
                download(backend, arrival)

    def test_files_that_do_not_belong_to_it(self, backend: Backend, uploaded: Path, arrival: Path) -> None:
        backend.put(f"{ID}/data/extra.hdf5", b"x")
        backend.put(f"{ID}0/data/main_data.hdf5", b"of x-v00")
        if backend.lists_files:
            with pytest.warns(UserWarning, match=r"not .*downloaded: data/extra\.hdf5\."):
                download(backend, arrival)
        else:
            download(backend, arrival)
        assert tree(arrival / ID) == tree(uploaded)
        assert sorted(path.name for path in (arrival / "lab").iterdir()) == ["x-v0"]

    @only(lists_files=True)
    def test_one_without_a_manifest(self, backend: Backend, uploaded: Path, arrival: Path) -> None:
        backend.delete(f"{ID}/{MANIFEST_NAME}")
        if backend.has_network:
            backend.proxy.flip(20_000, larger_than=40_000)
        download(backend, arrival)
        got = tree(arrival / ID)
        got.pop("README.md", None)  # the card of a Hub, which only a manifest tells from the dataset's own
        assert got == tree(uploaded)

    @pytest.mark.filterwarnings("ignore:The remote dataset lab/x-v0 is left out")  # a directory is looked into
    @pytest.mark.usefixtures("nothing_arrives")
    def test_half_of_an_upload(self, backend: Backend, uploaded: Path, arrival: Path) -> None:
        backend.delete(f"{ID}/data/metadata.json")
        with pytest.raises(MinariError):
            download(backend, arrival)
        if backend.lists_files:
            assert minari.list_remote_datasets(backend.address) == {}


class TestNames:
    @pytest.mark.usefixtures("uploaded", "nothing_arrives")
    def test_in_a_manifest(self, backend: Backend, arrival: Path) -> None:
        manifest = manifest_of(backend)
        evil = ManifestFile(1, checksum_of(b"x", "sha256").value)
        backend.put(f"{ID}/evil", b"x")
        for name in STRANGE:
            backend.put(f"{ID}/{MANIFEST_NAME}", replace(manifest, files={**manifest.files, name: evil}).dump())
            with pytest.raises((RemoteError, DatasetCorruptError)):
                download(backend, arrival)

    @only(lists_files=True)
    @pytest.mark.usefixtures("uploaded", "nothing_arrives")
    def test_in_a_listing(self, backend: Backend, arrival: Path) -> None:
        backend.delete(f"{ID}/{MANIFEST_NAME}")
        for name in STRANGE:
            backend.put(f"{ID}/{name}", b"x")
            if f"{ID}/{name}" in backend.files():  # or the server has no such names
                with pytest.raises(RemoteError, match="same file"):
                    download(backend, arrival)
                backend.delete(f"{ID}/{name}")

    @only(lists_files=True)
    def test_in_a_listing_beside_a_manifest(self, backend: Backend, uploaded: Path, arrival: Path) -> None:
        for name in STRANGE:
            backend.put(f"{ID}/{name}", b"x")
        with pytest.warns(UserWarning, match="not downloaded"):
            download(backend, arrival)
        assert tree(arrival / ID) == tree(uploaded)
        assert [path.name for path in arrival.parent.iterdir()] == ["arrival"]

    @only(lists_files=True)
    def test_of_datasets(self, backend: Backend, uploaded: Path) -> None:
        metadata = json.loads((uploaded / "data" / "metadata.json").read_text())
        content = json.dumps({**metadata, "dataset_id": "z-v0"}).encode()
        for dataset_id in ("../x-v0", "a/../../x-v0", ".x-v0", "x", "a b-v0"):
            backend.put(f"lab/{dataset_id}/data/metadata.json", content)
        assert list(minari.list_remote_datasets(backend.address)) == [ID]

    def test_of_a_dataset_in_its_metadata(self, backend: Backend, datasets_root: Path, arrival: Path) -> None:
        write_dataset(datasets_root, ID)
        file = datasets_root / ID / "data" / "metadata.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "dataset_id": "../../evil-v0"}))
        backend.upload(ID)
        assert list(minari.list_remote_datasets(backend.address)) == [ID]
        download(backend, arrival)
        assert sorted(path.name for path in (arrival / "lab").iterdir()) == ["x-v0"]


@pytest.mark.skipif(os.name == "nt", reason="Windows asks for a privilege to make links")
@pytest.mark.usefixtures("nothing_arrives")
@pytest.mark.parametrize("goal", ["/etc/passwd", "../../../secret", "../../.."])
def test_links_on_a_shared_directory(goal: str, datasets_root: Path, arrival: Path, tmp_path: Path) -> None:
    share = tmp_path / "share"
    write_namespace(share, "lab")
    directory = write_dataset(share, ID)
    (tmp_path / "secret").write_text("private")
    (directory / "data" / "link").symlink_to(goal)
    with pytest.raises(RemoteError, match="link"):
        get_cloud_storage(share.as_uri()).download_dataset(ID, arrival)


@only("file")
def test_a_thousand_datasets_in_a_directory(backend: Backend, uploaded: Path) -> None:
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


def test_a_link_in_the_place_of_the_dataset(backend: Backend, uploaded: Path, arrival: Path, tmp_path: Path) -> None:
    """Nothing is written through it."""
    (tmp_path / "elsewhere").mkdir()
    (arrival / "lab").mkdir()
    (arrival / ID).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(MinariError):
        download(backend, arrival)
    assert tree(tmp_path / "elsewhere") == {}


@only(has_network=True)
def test_a_server_that_never_answers(backend: Backend, uploaded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each attempt ends by a timeout of ours; here it is shortened."""
    backend.shorten_timeouts(monkeypatch, 0.3)
    backend.proxy.fall_silent()
    begun = time.monotonic()
    with pytest.raises(RemoteUnreachableError):
        minari.list_remote_datasets(backend.address)
    assert time.monotonic() - begun < 10
    backend.proxy.heal()
    assert list(minari.list_remote_datasets(backend.address)) == [ID]
