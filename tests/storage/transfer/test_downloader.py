"""Downloads in pieces: resumed where they were cut, and checked; from a remote in memory that can misbehave."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minari._model.manifest import MANIFEST_NAME, PIECE_SIZE, Manifest, ManifestFile
from minari.errors import DatasetCorruptError, MinariError, RemoteAccessError, RemoteError, RemoteUnreachableError
from minari.storage.transfer import limits
from minari.storage.transfer.checksums import Checksum, checksum_of
from minari.storage.transfer.download_plan import DownloadPlan, ExpectedFile, plan_download
from minari.storage.transfer.downloader import fetch_files
from minari.storage.transfer.index import dump_index, parse_index
from minari.storage.transfer.remote_files import RemoteDatasetNotFoundError, RemoteFile, RemoteFileNotFoundError


ID = "a/x-v0"
BIG = hashlib.sha256(b"seed").digest() * (3 * PIECE_SIZE // 32) + b"and a bit"  # three pieces and a short one
DATA = "data/main_data.hdf5"


@dataclass
class Shelf:
    """A remote in memory: counts what it is asked for, and does something to what it answers."""

    files: dict[str, bytes]
    max_workers: int = 4
    checksums: str | None = None
    asked: Counter[tuple[str, int]] = field(default_factory=Counter)
    interfere: Callable[[str, int, bytes], bytes] = lambda name, start, content: content

    def list_files(self, directory: str) -> Iterable[RemoteFile]:
        for name, content in self.files.items():
            if name.startswith(f"{directory}/"):
                yield RemoteFile(name, len(content), checksum_of(content, self.checksums) if self.checksums else None)

    def read_file(self, name: str) -> bytes:
        if name not in self.files:
            raise RemoteFileNotFoundError(name)
        return self.interfere(name, 0, self.files[name])

    def read_range(self, name: str, start: int, stop: int) -> bytes:
        self.asked[name, start] += 1
        return self.interfere(name, start, self.files[name][start:stop])

    def heal(self) -> None:
        self.interfere = lambda name, start, content: content
        self.asked.clear()

    def contents(self) -> dict[str, bytes]:
        """The files of the dataset, without a manifest."""
        found = {name.removeprefix(f"{ID}/"): content for name, content in self.files.items()}
        return {name: content for name, content in found.items() if name != MANIFEST_NAME}

    def add_manifest(self) -> None:
        files = {name: listed(content) for name, content in self.contents().items()}
        self.files[f"{ID}/{MANIFEST_NAME}"] = Manifest(ID, "0.5.4", files).dump()

    def fetch(self, directory: Path, like: Path | None = None) -> None:
        """Download, and require every file."""
        directory.mkdir(exist_ok=True)
        found = fetch_files(self, plan_download(self, ID), directory, like)
        files = {path.relative_to(found).as_posix(): path for path in found.rglob("*") if path.is_file()}
        assert {name: path.read_bytes() for name, path in files.items()} == self.contents()

    def plan(self) -> list[str]:
        return [file.name for file in plan_download(self, ID).files]


def listed(content: bytes) -> ManifestFile:
    pieces = [content[start : start + PIECE_SIZE] for start in range(0, len(content), PIECE_SIZE)]
    checksums = tuple(hashlib.sha256(piece).hexdigest() for piece in pieces)
    return ManifestFile(len(content), hashlib.sha256(content).hexdigest(), checksums if len(pieces) > 1 else ())


@pytest.fixture
def shelf() -> Shelf:
    contents = {DATA: BIG, "data/metadata.json": b"{}", "data/0/empty": b"", "README.md": b"?"}
    return Shelf({f"{ID}/{name}": content for name, content in contents.items()})


@pytest.fixture
def checked(shelf: Shelf) -> Shelf:
    shelf.add_manifest()
    return shelf


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry immediately."""
    monkeypatch.setattr(limits, "FIRST_PAUSE", 0.0)


# Pieces


@pytest.mark.parametrize("manifest", [False, True])
@pytest.mark.parametrize("checksums", [None, "md5", "sha256", "git-sha1"])
def test_each_piece_is_requested_once(shelf: Shelf, manifest: bool, checksums: str | None, tmp_path: Path) -> None:
    shelf.checksums = checksums
    if manifest:
        shelf.add_manifest()
    shelf.fetch(tmp_path)
    assert set(shelf.asked.values()) == {1}
    assert sorted(start for name, start in shelf.asked if DATA in name) == [n * PIECE_SIZE for n in range(4)]


def test_download_resumes_after_cut(checked: Shelf, tmp_path: Path) -> None:
    done = threading.Event()

    def refuse_the_last(name: str, start: int, content: bytes) -> bytes:
        if start == 3 * PIECE_SIZE:
            done.wait(10)  # for the other pieces
            raise RemoteAccessError("you have seen enough")
        if start == 2 * PIECE_SIZE:
            done.set()
        return content

    checked.max_workers, checked.interfere = 2, refuse_the_last
    with pytest.raises(RemoteAccessError):
        checked.fetch(tmp_path)
    before = set(checked.asked)
    checked.heal()
    checked.fetch(tmp_path)
    assert (f"{ID}/{DATA}", 3 * PIECE_SIZE) in checked.asked
    assert len(set(checked.asked) & before) <= 2  # in progress when it was interrupted
    checked.asked.clear()
    checked.fetch(tmp_path)
    assert not checked.asked


CHANGED = BIG[: PIECE_SIZE + 7] + b"\0" + BIG[PIECE_SIZE + 8 :]
NONSENSE = b"9 9\n0 99\n-1 0\nx y\nagain x\n\xff 1\n1"


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        (f"files/{DATA}", lambda content: None),
        (f"files/{DATA}", lambda content: CHANGED),
        (f"files/{DATA}", lambda content: content[:-1]),
        ("pieces", lambda content: content[:-1]),
        ("pieces", lambda content: content + NONSENSE),
    ],
    ids=["no file", "a byte", "cut", "journal cut", "journal of nonsense"],
)
def test_rest_of_an_earlier_download_is_not_trusted(
    name: str, damage: Callable[[bytes], bytes | None], checked: Shelf, tmp_path: Path
) -> None:
    checked.fetch(tmp_path)
    content = damage((tmp_path / name).read_bytes())
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    checked.fetch(tmp_path)
    checked.files[f"{ID}/{DATA}"] = BIG[::-1]
    del checked.files[f"{ID}/README.md"]
    checked.add_manifest()
    checked.fetch(tmp_path)  # other contents are not mixed with it


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("manifest", [True, False])
def test_damaged_piece_is_requested_again(shelf: Shelf, manifest: bool, times: int, tmp_path: Path) -> None:
    shelf.checksums = "md5"
    if manifest:
        shelf.add_manifest()
    damaged: Counter[tuple[str, int]] = Counter()

    def flip(name: str, start: int, content: bytes) -> bytes:
        if content and damaged[name, start] < times:
            damaged[name, start] += 1
            return bytes([content[0] ^ 4]) + content[1:]
        return content

    shelf.interfere = flip
    shelf.fetch(tmp_path)
    assert set(damaged.values()) == {times}


@pytest.mark.parametrize("checksums", ["md5", "sha256"])
def test_piece_that_is_always_damaged_is_an_error(shelf: Shelf, checksums: str, tmp_path: Path) -> None:
    shelf.checksums = checksums
    shelf.interfere = lambda name, start, content: content[:-1] + b"?" if start == PIECE_SIZE else content
    with pytest.raises(DatasetCorruptError, match=r"main_data\.hdf5"):
        shelf.fetch(tmp_path)
    assert 3 <= shelf.asked[f"{ID}/{DATA}", PIECE_SIZE] <= 4
    shelf.heal()
    shelf.fetch(tmp_path)


def test_short_and_refused_pieces_are_requested_again(shelf: Shelf, tmp_path: Path) -> None:
    times: Counter[tuple[str, int]] = Counter()

    def fail(name: str, start: int, content: bytes) -> bytes:
        times[name, start] += 1
        if times[name, start] < 4:
            raise RemoteUnreachableError("away")
        return content[:10] if start and times[name, start] < 6 else content

    shelf.interfere = fail
    shelf.fetch(tmp_path)


def test_equal_files_of_another_directory_are_copied(checked: Shelf, tmp_path: Path) -> None:
    (tmp_path / "mine/data").mkdir(parents=True)
    (tmp_path / "mine" / DATA).write_bytes(BIG)
    (tmp_path / "mine/data/metadata.json").write_bytes(b"[]")
    checked.fetch(tmp_path / "here", like=tmp_path / "mine")
    assert {name for name, _ in checked.asked} == {f"{ID}/README.md", f"{ID}/data/metadata.json"}


def test_full_disk_is_seen_beforehand(checked: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(RemoteError, match=r"takes 12\.6 MB more and .* has 0\.0 MB left"):
        checked.fetch(tmp_path)
    assert not checked.asked


# Plans


def test_missing_dataset_and_misplaced_file_are_refused(shelf: Shelf) -> None:
    with pytest.raises(RemoteDatasetNotFoundError):
        plan_download(shelf, "a/x-v")
    shelf.files[f"{ID}/data"] = b""
    with pytest.raises(RemoteError, match="in place of its directory"):
        shelf.plan()


def test_hidden_files_are_left_and_not_in_a_manifest(shelf: Shelf) -> None:
    names = sorted(shelf.contents())
    shelf.files |= {f"{ID}/.git/config": b"", f"{ID}/data/.journal": b"evil"}
    assert shelf.plan() == names
    shelf.add_manifest()
    with pytest.raises(DatasetCorruptError, match=r"names hidden files.*\.git/config, data/\.journal"):
        shelf.plan()


def test_namespace_below_the_dataset_is_left(checked: Shelf) -> None:
    names = checked.plan()
    for name in ("y-v0/data/metadata.json", "y-v0/data/main_data.hdf5", "n/z-v1/data/metadata.json"):
        checked.files[f"{ID}/{name}"] = b"{}"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert checked.plan() == names
    del checked.files[f"{ID}/{MANIFEST_NAME}"]
    assert checked.plan() == names


def test_listing_must_agree_with_the_manifest(checked: Shelf) -> None:
    names = checked.plan()
    checked.files |= {f"{ID}/data/more": b"", f"{ID}/data/z": b""}
    with pytest.warns(UserWarning, match="not downloaded: data/more, data/z"):
        assert checked.plan() == names
    for content, words in (
        (None, r"incomplete .*README\.md \(is missing\)"),
        (b"?more", r"\(has 5 bytes instead of 1\)"),
    ):
        del checked.files[f"{ID}/README.md"]
        if content is not None:
            checked.files[f"{ID}/README.md"] = content
        with pytest.raises(DatasetCorruptError, match=words):
            checked.plan()
        checked.files[f"{ID}/README.md"] = b"?"


def test_damaged_manifest_is_requested_again(checked: Shelf) -> None:
    times = iter([True])
    checked.interfere = lambda name, start, content: content[:50] if next(times, False) else content
    assert len(checked.plan()) == 4
    checked.interfere = lambda name, start, content: content[:50]
    with pytest.raises(DatasetCorruptError, match="manifest"):
        checked.plan()


@pytest.mark.parametrize("name", ["../y", "data/../../y", "/etc/x", "data//x", "data/", "a\\b", "C:x", "data/..."])
@pytest.mark.parametrize("manifest", [False, True])
def test_names_that_lead_elsewhere_are_refused(name: str, manifest: bool, shelf: Shelf, tmp_path: Path) -> None:
    shelf.files[f"{ID}/{name}"] = b"evil"
    if manifest:
        shelf.add_manifest()
    directory = tmp_path / "a" / "b" / "c"
    directory.mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(MinariError):
        shelf.fetch(directory)
    assert sorted(tmp_path.rglob("*")) == before
    assert not shelf.asked


def test_digest_tells_contents_apart() -> None:
    def digest(**changes: object) -> str:
        values = {"name": "f", "size": 3, "checksum": Checksum("md5", "0"), "version": "1", **changes}
        return DownloadPlan("x-v0", (ExpectedFile(pieces=(), piece_size=9, **values),)).digest  # type: ignore[arg-type]

    others = [{"name": "g"}, {"size": 4}, {"checksum": Checksum("md5", "1")}, {"version": "2"}]
    assert len({digest(), *(digest(**other) for other in others)}) == 5
    assert digest() == digest()


# Manifests and indexes; hostile ones are in tests/security


SHA256 = st.binary(min_size=32, max_size=32).map(bytes.hex)


@given(st.dictionaries(st.text(min_size=1), st.builds(ManifestFile, st.integers(0, PIECE_SIZE), SHA256)))
def test_manifest_comes_back(files: dict[str, ManifestFile]) -> None:
    manifest = Manifest(ID, "0.5.4", files)
    assert Manifest.parse(manifest.dump(), "here") == manifest
    assert manifest.dump() == Manifest(ID, "0.5.4", dict(reversed(files.items()))).dump()


@given(st.integers(0), st.integers(0, 7))
def test_no_bit_of_a_manifest_can_change(position: int, bit: int) -> None:
    good = Manifest(ID, "0.5.4", {"data/f": listed(b"content"), "data/g": listed(BIG)}).dump()
    content = bytearray(good)
    content[position % len(content)] ^= 1 << bit
    try:
        found = Manifest.parse(bytes(content), "here")
    except DatasetCorruptError:
        return
    assert found.dump() == good  # it was one of the blanks, which mean nothing


@pytest.mark.parametrize(
    ("file", "piece_size"),
    [
        (ManifestFile(9, "0" * 64), 0),
        (ManifestFile(9, "0" * 64), -(1 << 22)),
        (ManifestFile(1 << 40, "0" * 64), 1 << 40),
        (ManifestFile(3 << 20, "0" * 64, ("0" * 64,)), 1 << 20),
        (ManifestFile(-1, "0" * 64), 1 << 20),
        (ManifestFile(9, "0"), 1 << 20),
    ],
)
def test_impossible_manifest_is_refused(file: ManifestFile, piece_size: int) -> None:
    with pytest.raises(DatasetCorruptError, match="The manifest here is damaged"):
        Manifest.parse(Manifest(ID, "0.5.4", {"data/f": file}, piece_size).dump(), "here")


def test_later_manifest_asks_for_a_later_release() -> None:
    content = Manifest(ID, "0.5.4", {}).dump().replace(b'"manifest_version": 1', b'"manifest_version": 2')
    with pytest.raises(DatasetCorruptError, match=r"version 2.* upgrade minari"):
        Manifest.parse(content, "here")


@given(st.dictionaries(st.text(), st.text().map(str.encode)))
def test_index_comes_back(entries: dict[str, bytes]) -> None:
    content = dump_index(entries)
    assert parse_index(content) == entries
    assert dump_index(dict(reversed(entries.items()))) == content


TEXTS = [b"{}", b"[]", b"{", b'{"index_version": 1, "datasets": []}', b'{"index_version": 1, "datasets": {"x": 3}}']
TEXTS += [b'{"index_version": 2, "datasets": {}}']


@pytest.mark.parametrize(
    "content", [*(gzip.compress(text, mtime=0) for text in TEXTS), b"", b"{}", dump_index({"x-v0": b"{}"})[:-9]]
)
def test_damaged_index_is_refused(content: bytes) -> None:
    with pytest.raises(DatasetCorruptError, match="index"):
        parse_index(content)


def test_repeated_bounds_take_little_room_in_an_index() -> None:
    metadata = json.dumps({"low": [0.0] * 10_000}).encode()
    assert len(dump_index({f"x-v{n}": metadata for n in range(20)})) < len(metadata) / 10
