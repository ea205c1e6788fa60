"""Fetching: pieces, going on where it was cut, and what comes damaged; from a remote in memory that can misbehave."""

from __future__ import annotations

import hashlib
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minari.errors import DatasetCorruptError, MinariError, RemoteAccessError, RemoteError, RemoteUnreachableError
from minari.storage.transfer import downloader, limits
from minari.storage.transfer.checksums import Checksum, checksum_of
from minari.storage.transfer.download_plan import DownloadPlan, ExpectedFile, plan_download
from minari.storage.transfer.downloader import fetch_files
from minari.storage.transfer.manifest import MANIFEST_NAME, PIECE_SIZE, Manifest, ManifestFile
from minari.storage.transfer.remote_files import RemoteDatasetNotFoundError, RemoteFile, RemoteFileNotFoundError


BIG = hashlib.sha256(b"seed").digest() * (3 * PIECE_SIZE // 32) + b"and a bit"  # three pieces and a short one


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
                checksum = checksum_of(content, self.checksums) if self.checksums else None
                yield RemoteFile(name, len(content), checksum)

    def read_file(self, name: str) -> bytes:
        if name not in self.files:
            raise RemoteFileNotFoundError(name)
        return self.interfere(name, 0, self.files[name])

    def read_range(self, name: str, start: int, stop: int) -> bytes:
        self.asked[name, start] += 1
        return self.interfere(name, start, self.files[name][start:stop])

    def add_manifest(self, dataset_id: str) -> None:
        prefix = f"{dataset_id}/"
        files = {name.removeprefix(prefix): _listed(content) for name, content in self.files.items()}
        self.files[prefix + MANIFEST_NAME] = Manifest(dataset_id, "0.5.4", files).dump()


def _listed(content: bytes) -> ManifestFile:
    def sha256(part: bytes) -> str:
        return hashlib.sha256(part).hexdigest()

    pieces = [content[start : start + PIECE_SIZE] for start in range(0, len(content), PIECE_SIZE)]
    return ManifestFile(len(content), sha256(content), tuple(map(sha256, pieces)) if len(pieces) > 1 else ())


@pytest.fixture
def shelf() -> Shelf:
    contents = {"data/main_data.hdf5": BIG, "data/metadata.json": b"{}", "data/0/empty": b"", "README.md": b"?"}
    return Shelf({f"a/x-v0/{name}": content for name, content in contents.items()})


@pytest.fixture
def checked(shelf: Shelf) -> Shelf:
    shelf.add_manifest("a/x-v0")
    return shelf


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry immediately."""
    monkeypatch.setattr(limits, "FIRST_PAUSE", 0.0)


def content_of(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


def expected(shelf: Shelf) -> dict[str, bytes]:
    contents = {name.removeprefix("a/x-v0/"): content for name, content in shelf.files.items()}
    return {name: content for name, content in contents.items() if name != MANIFEST_NAME}


def fetch(shelf: Shelf, directory: Path, like: Path | None = None) -> dict[str, bytes]:
    directory.mkdir(exist_ok=True)
    return content_of(fetch_files(shelf, plan_download(shelf, "a/x-v0"), directory, like))


@pytest.mark.parametrize("manifest", [False, True])
@pytest.mark.parametrize("checksums", [None, "md5", "sha256", "git-sha1"])
def test_everything_comes_in_pieces(shelf: Shelf, manifest: bool, checksums: str | None, tmp_path: Path) -> None:
    shelf.checksums = checksums
    if manifest:
        shelf.add_manifest("a/x-v0")
    assert fetch(shelf, tmp_path) == expected(shelf)
    assert set(shelf.asked.values()) == {1}
    assert sorted(start for name, start in shelf.asked if "main_data" in name) == [n * PIECE_SIZE for n in range(4)]


def test_it_goes_on_where_it_was_cut(checked: Shelf, tmp_path: Path) -> None:
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
        fetch(checked, tmp_path)
    before = set(checked.asked)
    checked.asked.clear()
    checked.interfere = lambda name, start, content: content
    assert fetch(checked, tmp_path) == expected(checked)
    assert ("a/x-v0/data/main_data.hdf5", 3 * PIECE_SIZE) in checked.asked
    assert len(set(checked.asked) & before) <= 2  # in progress when it was interrupted
    checked.asked.clear()
    assert fetch(checked, tmp_path) == expected(checked)
    assert not checked.asked


def test_other_contents_are_not_mixed_with_what_is_there(checked: Shelf, tmp_path: Path) -> None:
    fetch(checked, tmp_path)
    del checked.files[f"a/x-v0/{MANIFEST_NAME}"], checked.files["a/x-v0/README.md"]
    checked.files["a/x-v0/data/main_data.hdf5"] = BIG[::-1]
    checked.add_manifest("a/x-v0")
    assert fetch(checked, tmp_path) == expected(checked)


@pytest.mark.parametrize("damage", ["nothing", "a bit", "short", "journal cut", "journal nonsense"])
def test_what_an_earlier_call_left_is_not_trusted(damage: str, checked: Shelf, tmp_path: Path) -> None:
    fetch(checked, tmp_path)
    checked.asked.clear()
    file, journal = tmp_path / "files/data/main_data.hdf5", tmp_path / "pieces"
    content = bytearray(BIG)
    content[PIECE_SIZE + 7] ^= 1
    if damage == "nothing":
        file.unlink()
    elif damage == "a bit":
        file.write_bytes(content)
    elif damage == "short":
        file.write_bytes(BIG[:-1])
    elif damage == "journal cut":
        journal.write_bytes(journal.read_bytes()[:-1])
        assert b"\n" in journal.read_bytes()
    else:
        journal.write_bytes(journal.read_bytes() + b"9 9\n0 99\n-1 0\nx y\nagain x\n\xff 1\n1")
    assert fetch(checked, tmp_path) == expected(checked)


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("manifest", [True, False])
def test_what_comes_damaged_is_fetched_again(shelf: Shelf, manifest: bool, times: int, tmp_path: Path) -> None:
    shelf.checksums = "md5"
    if manifest:
        shelf.add_manifest("a/x-v0")
    damaged: Counter[tuple[str, int]] = Counter()

    def flip(name: str, start: int, content: bytes) -> bytes:
        if content and damaged[name, start] < times:
            damaged[name, start] += 1
            return bytes([content[0] ^ 4]) + content[1:]
        return content

    shelf.interfere = flip
    assert fetch(shelf, tmp_path) == expected(shelf)
    assert set(damaged.values()) == {times}


@pytest.mark.parametrize("checksums", ["md5", "sha256"])
def test_what_is_damaged_for_good_is_an_error(shelf: Shelf, checksums: str, tmp_path: Path) -> None:
    shelf.checksums = checksums
    shelf.interfere = lambda name, start, content: content[:-1] + b"?" if start == PIECE_SIZE else content
    with pytest.raises(DatasetCorruptError, match=r"main_data\.hdf5"):
        fetch(shelf, tmp_path)
    assert 3 <= shelf.asked["a/x-v0/data/main_data.hdf5", PIECE_SIZE] <= 4
    shelf.interfere = lambda name, start, content: content
    assert fetch(shelf, tmp_path) == expected(shelf)


def test_pieces_that_are_too_short_are_fetched_again(shelf: Shelf, tmp_path: Path) -> None:
    cut = iter([True, True])
    shelf.interfere = lambda name, start, content: content[:10] if start and next(cut, False) else content
    assert fetch(shelf, tmp_path) == expected(shelf)


def test_a_remote_that_is_away_for_a_moment(checked: Shelf, tmp_path: Path) -> None:
    times: Counter[tuple[str, int]] = Counter()

    def fail(name: str, start: int, content: bytes) -> bytes:
        times[name, start] += 1
        if times[name, start] < 4:
            raise RemoteUnreachableError("away")
        return content

    checked.interfere = fail
    assert fetch(checked, tmp_path) == expected(checked)


def test_the_files_of_another_directory_are_copied(checked: Shelf, tmp_path: Path) -> None:
    (tmp_path / "mine/data").mkdir(parents=True)
    (tmp_path / "mine/data/main_data.hdf5").write_bytes(BIG)
    (tmp_path / "mine/data/metadata.json").write_bytes(b"[]")
    assert fetch(checked, tmp_path / "here", like=tmp_path / "mine") == expected(checked)
    assert {name for name, _ in checked.asked} == {"a/x-v0/README.md", "a/x-v0/data/metadata.json"}


def test_too_little_room_is_seen_beforehand(checked: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloader.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    with pytest.raises(RemoteError, match=r"takes 12\.6 MB more and .* has 0\.0 MB left"):
        fetch(checked, tmp_path)
    assert not checked.asked


class TestPlan:
    def test_what_is_not_there(self, shelf: Shelf) -> None:
        with pytest.raises(RemoteDatasetNotFoundError):
            plan_download(shelf, "a/x-v")

    def test_hidden_files_stay_where_they_are(self, shelf: Shelf) -> None:
        shelf.files |= {"a/x-v0/.git/config": b"", "a/x-v0/data/.journal": b"evil"}
        assert [file.name for file in plan_download(shelf, "a/x-v0").files] == sorted(
            name for name in expected(shelf) if "/." not in f"/{name}"
        )
        shelf.add_manifest("a/x-v0")
        with pytest.raises(DatasetCorruptError, match=r"names hidden files.*\.git/config, data/\.journal"):
            plan_download(shelf, "a/x-v0")

    def test_datasets_of_a_namespace_that_is_called_like_this_one(self, checked: Shelf) -> None:
        expected_names = [file.name for file in plan_download(checked, "a/x-v0").files]
        for name in ("y-v0/data/metadata.json", "y-v0/data/main_data.hdf5", "n/z-v1/data/metadata.json"):
            checked.files[f"a/x-v0/{name}"] = b"{}"
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert [file.name for file in plan_download(checked, "a/x-v0").files] == expected_names
        del checked.files[f"a/x-v0/{MANIFEST_NAME}"]
        assert [file.name for file in plan_download(checked, "a/x-v0").files] == expected_names

    def test_missing_and_truncated_files(self, checked: Shelf) -> None:
        content = checked.files.pop("a/x-v0/README.md")
        with pytest.raises(DatasetCorruptError, match=r"incomplete .*README\.md \(is missing\)"):
            plan_download(checked, "a/x-v0")
        checked.files["a/x-v0/README.md"] = content + b"more"
        with pytest.raises(DatasetCorruptError, match=r"README\.md \(has 5 bytes instead of 1\)"):
            plan_download(checked, "a/x-v0")

    def test_files_that_do_not_belong_there(self, checked: Shelf) -> None:
        checked.files |= {"a/x-v0/data/more": b"", "a/x-v0/data/z": b""}
        with pytest.warns(UserWarning, match="not downloaded: data/more, data/z"):
            plan = plan_download(checked, "a/x-v0")
        assert not {"data/more", "data/z"} & {file.name for file in plan.files}

    def test_a_manifest_that_comes_damaged_once(self, checked: Shelf) -> None:
        times = iter([True])
        checked.interfere = lambda name, start, content: content[:50] if next(times, False) else content
        assert len(plan_download(checked, "a/x-v0").files) == 4
        checked.interfere = lambda name, start, content: content[:50]
        with pytest.raises(DatasetCorruptError, match="manifest"):
            plan_download(checked, "a/x-v0")

    @pytest.mark.parametrize("name", ["../y", "data/../../y", "/etc/x", "data//x", "data/", "a\\b", "C:x", "data/..."])
    @pytest.mark.parametrize("manifest", [False, True])
    def test_names_that_would_lead_elsewhere(self, name: str, manifest: bool, shelf: Shelf, tmp_path: Path) -> None:
        shelf.files[f"a/x-v0/{name}"] = b"evil"
        if manifest:
            shelf.add_manifest("a/x-v0")
        directory = tmp_path / "a" / "b" / "c"
        directory.mkdir(parents=True)
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(MinariError):
            fetch(shelf, directory)
        assert sorted(tmp_path.rglob("*")) == before
        assert not shelf.asked

    def test_a_file_in_the_place_of_a_directory(self, shelf: Shelf) -> None:
        shelf.files["a/x-v0/data"] = b""
        with pytest.raises(RemoteError, match="in place of its directory"):
            plan_download(shelf, "a/x-v0")

    def test_the_digest_tells_contents_apart(self) -> None:
        def digest(**changes: object) -> str:
            values = {"name": "f", "size": 3, "checksum": Checksum("md5", "0"), "version": "1", **changes}
            return DownloadPlan("x-v0", (ExpectedFile(pieces=(), piece_size=9, **values),)).digest  # type: ignore[arg-type]

        others = [{"name": "g"}, {"size": 4}, {"checksum": Checksum("md5", "1")}, {"version": "2"}]
        assert len({digest(), *(digest(**other) for other in others)}) == 5
        assert digest() == digest()


class TestManifest:
    @given(
        st.dictionaries(
            st.text(min_size=1),
            st.builds(
                ManifestFile,
                st.integers(0, PIECE_SIZE),
                st.binary(min_size=32, max_size=32).map(bytes.hex),
            ),
        )
    )
    def test_it_comes_back(self, files: dict[str, ManifestFile]) -> None:
        manifest = Manifest("a/x-v0", "0.5.4", files)
        assert Manifest.parse(manifest.dump(), "here") == manifest
        assert manifest.dump() == Manifest("a/x-v0", "0.5.4", dict(reversed(files.items()))).dump()

    @given(st.integers(0), st.integers(0, 7))
    def test_no_bit_can_change(self, position: int, bit: int) -> None:
        good = Manifest("a/x-v0", "0.5.4", {"data/f": _listed(b"content"), "data/g": _listed(BIG)}).dump()
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
    def test_one_that_makes_no_sense(self, file: ManifestFile, piece_size: int) -> None:
        content = Manifest("a/x-v0", "0.5.4", {"data/f": file}, piece_size).dump()
        with pytest.raises(DatasetCorruptError, match="The manifest here is damaged"):
            Manifest.parse(content, "here")

    def test_a_later_one_asks_for_a_later_release(self) -> None:
        content = Manifest("a/x-v0", "0.5.4", {}).dump().replace(b'"manifest_version": 1', b'"manifest_version": 2')
        with pytest.raises(DatasetCorruptError, match=r"version 2.* upgrade minari"):
            Manifest.parse(content, "here")
