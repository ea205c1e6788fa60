"""Attacks by a remote, or by users of the same disk, during a download or upload."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import tracemalloc
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from minari._model.manifest import MANIFEST_NAME, Manifest, ManifestFile
from minari.errors import DatasetCorruptError, RemoteError, UnsafePathError
from minari.storage.remotes import get_cloud_storage
from minari.storage.transfer.download_plan import plan_download
from minari.storage.transfer.downloader import fetch_files
from minari.storage.transfer.remote_files import RemoteFile, RemoteFileNotFoundError
from minari.storage.transfer.upload_snapshot import take_snapshot
from minari.testing.sharing import tree, write_dataset


METADATA = "data/metadata.json"


def listed(content: bytes) -> ManifestFile:
    return ManifestFile(len(content), hashlib.sha256(content).hexdigest())


@dataclass
class Liar:
    """A remote in memory whose manifest says what a test wants."""

    manifest: bytes
    files: dict[str, bytes] = field(default_factory=lambda: {METADATA: b"{}"})
    sizes: dict[str, int] = field(default_factory=dict)
    max_workers: int = 2
    asked: list[str] = field(default_factory=list)

    def list_files(self, directory: str) -> Iterable[RemoteFile]:
        sizes = {name: len(content) for name, content in self.files.items()} | self.sizes
        yield from (RemoteFile(f"{directory}/{name}", size) for name, size in sizes.items())
        yield RemoteFile(f"{directory}/{MANIFEST_NAME}", len(self.manifest))

    def read_file(self, name: str) -> bytes:
        if not name.endswith(MANIFEST_NAME):
            raise RemoteFileNotFoundError(name)
        return self.manifest

    def read_range(self, name: str, start: int, stop: int) -> bytes:
        self.asked.append(name)
        return self.files[name.partition("/")[2]][start:stop]


def liar(files: dict[str, ManifestFile], dataset_id: str = "x-v0") -> Liar:
    manifest = Manifest(dataset_id, "0.5.4", {METADATA: listed(b"{}")} | files)
    return Liar(manifest.dump(), sizes={name: file.size for name, file in files.items()})


#: Names that some system does not tell apart.
PAIRS = [["A", "a"], ["stra\u00dfe", "STRASSE"], ["\u00e9", "e\u0301"], ["x", "X/y"], ["x/y", "x"]]


class TestManifests:
    @pytest.mark.parametrize("size", [10**15, 10**18, 2**63 - 1])
    def test_sizes_without_room_allocate_nothing(self, size: int, tmp_path: Path) -> None:
        remote = liar({f"data/{number}": ManifestFile(size, "0" * 64) for number in range(5)})
        tracemalloc.start()
        try:
            with pytest.raises(RemoteError, match="make room"):
                fetch_files(remote, plan_download(remote, "x-v0"), tmp_path)
            assert tracemalloc.get_traced_memory()[1] < 20_000_000
        finally:
            tracemalloc.stop()
        assert not remote.asked

    @pytest.mark.parametrize("names", [*PAIRS, ["n" * 256], ["n/" * 2000 + "n"], ["\ud800"], ["nul\0"]])
    def test_names_not_for_every_system_are_refused(self, names: list[str], tmp_path: Path) -> None:
        remote = liar({f"data/{name}": listed(b"") for name in names})
        with pytest.raises(UnsafePathError) as caught:
            plan_download(remote, "x-v0")
        assert isinstance(caught.value, RemoteError)
        assert len(str(caught.value)) < 1000

    def test_manifest_of_another_dataset_is_refused(self) -> None:
        with pytest.raises(DatasetCorruptError, match="is that of 'y-v0'"):
            plan_download(liar({}, "y-v0"), "x-v0")

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("dataset_id", ["x-v0"]),
            ("format_version", {}),
            ("piece_size", 4194304.0),
            ("piece_size", True),
            ("piece_size", "4194304"),
            ("files", [["data/f", {}]]),
            *(
                ("files", {"data/f": {"size": 1, "sha256": "0" * 64, **change}})
                for change in ({"size": 1 << 64}, {"size": 1.0}, {"sha256": "Z" * 64}, {"pieces": "0" * 64})
            ),
            ("files", {"data/f": {"size": 1, "sha256": "0" * 64, "pieces": {"0" * 64: 1}}}),
        ],
    )
    def test_values_of_another_kind_are_refused(self, key: str, value: object) -> None:
        written: dict[str, Any] = json.loads(Manifest("x-v0", "0.5.4", {}).dump())
        del written["digest"]
        written[key] = value
        text = json.dumps(written, sort_keys=True, separators=(",", ":"))
        written["digest"] = hashlib.sha256(text.encode()).hexdigest()
        with pytest.raises(DatasetCorruptError, match="damaged"):
            Manifest.parse(json.dumps(written).encode(), "here")

    @pytest.mark.parametrize("content", [b"[" * 200_000, b'{"files":' * 5000, b'{"size": ' + b"9" * 5000 + b"}"])
    def test_texts_that_lead_parsers_astray_are_refused(self, content: bytes) -> None:
        with pytest.raises(DatasetCorruptError, match="damaged"):
            Manifest.parse(content, "here")

    def test_manifest_without_the_metadata_is_refused(self, tmp_path: Path, datasets_root: Path) -> None:
        write_dataset(datasets_root, "x-v0")
        (tmp_path / "share").mkdir()
        remote = get_cloud_storage((tmp_path / "share").as_uri())
        remote.upload_dataset("x-v0")
        manifest = tmp_path / "share/x-v0" / MANIFEST_NAME
        parsed = Manifest.parse(manifest.read_bytes(), "")
        files = {name: file for name, file in parsed.files.items() if name != METADATA}
        manifest.write_bytes(Manifest("x-v0", parsed.format_version, files).dump())
        with pytest.warns(UserWarning, match="does not name"), pytest.raises(DatasetCorruptError, match="leaves out"):
            remote.download_dataset("x-v0", tmp_path / "arrival")

    @pytest.mark.parametrize("size", [-1, 1 << 63, "3", None])
    def test_impossible_sizes_of_a_list_are_refused(self, size: Any) -> None:
        remote = liar({})
        remote.sizes["data/odd"] = size
        with pytest.raises(DatasetCorruptError, match="expected a size"):
            plan_download(remote, "x-v0")


@pytest.mark.skipif(os.name == "nt", reason="Windows asks for a privilege to make links")
class TestLeftovers:
    """Files in the directory of a download, where others may write."""

    @pytest.fixture
    def remote(self) -> Liar:
        made = liar({"data/deep/f": listed(b"theirs")})
        made.files["data/deep/f"] = b"theirs"
        return made

    @pytest.fixture
    def mine(self, tmp_path: Path) -> Path:
        directory = tmp_path / "mine"
        directory.mkdir()
        (directory / "f").write_bytes(b"precious")
        return directory

    def fetch(self, remote: Liar, work: Path) -> dict[str, bytes | None]:
        return tree(fetch_files(remote, plan_download(remote, "x-v0"), work))

    def journal(self, remote: Liar, work: Path, lines: str = "") -> None:
        (work / "pieces").write_text(f"{plan_download(remote, 'x-v0').digest}\n{lines}")

    @pytest.mark.parametrize("place", ["files", "files/data", "files/data/deep", "files/data/deep/f"])
    @pytest.mark.parametrize("is_known", [False, True])
    def test_links_are_not_written_through(
        self, place: str, is_known: bool, remote: Liar, mine: Path, tmp_path: Path
    ) -> None:
        work = tmp_path / "work"
        (work / place).parent.mkdir(parents=True)
        (work / place).symlink_to(mine / "f" if place.endswith("f") else mine)
        if is_known:
            self.journal(remote, work)
        with suppress(UnsafePathError):
            assert self.fetch(remote, work)["data/deep/f"] == b"theirs"
        assert tree(mine) == {"f": b"precious"}

    def test_other_names_of_a_file_are_not_written_to(self, remote: Liar, mine: Path, tmp_path: Path) -> None:
        (tmp_path / "work/files/data/deep").mkdir(parents=True)
        os.link(mine / "f", tmp_path / "work/files/data/deep/f")
        self.journal(remote, tmp_path / "work")
        with pytest.raises(UnsafePathError):
            self.fetch(remote, tmp_path / "work")
        assert (mine / "f").read_bytes() == b"precious"

    @pytest.mark.parametrize("kind", ["pipe", "link", "directory", "link to a pipe", "huge"])
    def test_journal_that_is_no_file_is_ignored(self, kind: str, remote: Liar, mine: Path, tmp_path: Path) -> None:
        work = tmp_path / "work"
        work.mkdir()
        if kind == "pipe":
            os.mkfifo(work / "pieces")
        elif kind == "link":
            (work / "pieces").symlink_to(mine / "f")
        elif kind == "link to a pipe":
            os.mkfifo(work / "other")
            (work / "pieces").symlink_to("other")
        elif kind == "directory":
            (work / "pieces").mkdir()
        else:
            self.journal(remote, work)
            os.truncate(work / "pieces", 1 << 40)
        assert self.fetch(remote, work)["data/deep/f"] == b"theirs"
        assert tree(mine) == {"f": b"precious"}

    @pytest.mark.parametrize(
        "lines", ["0 99999\n", "7 0\n", f"{'9' * 5000} 0\n", f"0 {'9' * 5000}\n", "again 99\n", "\n\n"]
    )
    def test_journal_of_impossible_pieces_is_ignored(self, lines: str, remote: Liar, tmp_path: Path) -> None:
        self.journal(remote, tmp_path, lines)
        (tmp_path / "files").mkdir()
        assert self.fetch(remote, tmp_path)["data/deep/f"] == b"theirs"

    def test_existing_dataset_is_not_left_through_links(self, remote: Liar, mine: Path, tmp_path: Path) -> None:
        (mine / "f").write_bytes(b"theirs")
        like = tmp_path / "like"
        (like / "data").mkdir(parents=True)
        (like / "data/deep").symlink_to(mine)
        os.mkfifo(like / METADATA)
        (tmp_path / "work").mkdir()
        fetch_files(remote, plan_download(remote, "x-v0"), tmp_path / "work", like)
        assert sorted(remote.asked) == ["x-v0/data/deep/f", f"x-v0/{METADATA}"]


@pytest.mark.skipif(os.name == "nt", reason="Windows asks for a privilege to make links")
class TestUploads:
    @pytest.mark.parametrize("kind", ["pipe", "socket", "link out", "directory link", "pipe behind a link"])
    def test_what_is_no_file_is_not_uploaded(
        self, kind: str, datasets_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        directory = write_dataset(datasets_root, "x-v0")
        (tmp_path / "secret").write_text("private")
        odd = directory / "data/odd"
        if kind == "pipe":
            os.mkfifo(odd)
        elif kind == "socket":
            with socket.socket(socket.AF_UNIX) as made:
                monkeypatch.chdir(directory / "data")  # as such addresses are short
                made.bind("odd")
        elif kind == "link out":
            odd.symlink_to(tmp_path / "secret")
        elif kind == "directory link":
            odd.symlink_to(directory)
        else:
            os.mkfifo(directory / "data/.pipe")
            odd.symlink_to(".pipe")
        with pytest.raises(RemoteError, match="odd"):
            take_snapshot("x-v0", root=datasets_root)

    def test_deep_directories_are_uploaded(self, datasets_root: Path) -> None:
        directory = write_dataset(datasets_root, "x-v0")
        deep = directory / "data" / "/".join("d" * 900)
        deep.mkdir(parents=True)
        (deep / "f").write_bytes(b"")
        assert len(take_snapshot("x-v0", root=datasets_root).files) == 2

    def test_link_that_another_upload_has_left_is_not_followed(self, datasets_root: Path, tmp_path: Path) -> None:
        directory = write_dataset(datasets_root, "x-v0")
        share, mine = tmp_path / "share", tmp_path / "mine"
        (share / ".x-v0.upload").mkdir(parents=True)
        mine.mkdir()
        (mine / "main_data.hdf5").write_bytes(b"precious")
        (share / ".x-v0.upload/files").mkdir()
        (share / ".x-v0.upload/files/data").symlink_to(mine)
        get_cloud_storage(share.as_uri()).upload_dataset("x-v0", root=datasets_root)
        assert tree(mine) == {"main_data.hdf5": b"precious"}
        assert tree(directory).items() <= tree(share / "x-v0").items()
