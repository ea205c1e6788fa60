"""Journals and staged changes that somebody else has put into a dataset: they change nothing and lead nowhere."""

from __future__ import annotations

import json
import os
import shutil
import struct
import zlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xxhash
from gymnasium import spaces

from minari._catalog.recordings import list_recordings, new_recording
from minari._storages.journal import Overlay
from minari._storages.staged_directory import StagedOverlay
from minari.dataset.episode_buffer import EpisodeBuffer
from minari.dataset.minari_storage import MinariStorage
from minari.errors import DatasetCorruptError, MinariError, UnsafePathError
from support.copies import require_format


pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows asks for a privilege to make links")

SPACE = spaces.Box(-1e6, 1e6, (3,), np.float32)
in_directories = pytest.mark.parametrize("data_format", ["arrow", "parquet", "zarr"])
in_any = pytest.mark.parametrize("data_format", ["hdf5", "arrow", "zarr"])


def episode(value: float, steps: int = 3) -> EpisodeBuffer:
    return EpisodeBuffer(
        observations=np.full((steps + 1, 3), value, np.float32),
        actions=np.zeros(steps, np.int64),
        rewards=np.full(steps, value),
        terminations=np.zeros(steps, np.bool_),
        truncations=np.zeros(steps, np.bool_),
    )


def make(directory: Path, data_format: str = "hdf5", values: Iterable[float] = (1, 2)) -> Path:
    require_format(data_format)
    storage = MinariStorage.new(directory / "data", SPACE, spaces.Discrete(2), data_format=data_format)
    storage.update_episodes([episode(value) for value in values])
    return storage.data_path


def values(data_path: Path) -> list[float]:
    storage = MinariStorage.read(data_path)
    return [float(found["rewards"][0]) for found in storage.get_episodes(range(storage.total_episodes))]


def append(data_path: Path, value: float) -> None:
    MinariStorage.read(data_path).update_episodes([episode(value)])


def read_and_change(data_path: Path) -> None:
    """Do what makes whoever does it complete the change, if it can be."""
    for work in (values, lambda path: append(path, 3), lambda path: MinariStorage.read(path).update_metadata({"a": 1})):
        with suppress(MinariError):
            work(data_path)


def tree(directory: Path) -> dict[str, Any]:
    """Everything below a directory, links and times included."""
    return {
        path.relative_to(directory).as_posix(): (
            str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else None,
            path.lstat().st_mtime_ns,
        )
        for path in sorted(directory.rglob("*"))
        if not path.name.startswith(".index") and path.is_dir() is not True
    }


def interrupted(data_path: Path, change: Callable[[MinariStorage], None] | None = None) -> None:
    """Commit a change that is not put into place."""
    with pytest.MonkeyPatch.context() as patch:
        for kind in (Overlay, StagedOverlay):
            patch.setattr(kind, "apply", lambda *_: None)
        storage = MinariStorage.read(data_path)
        (change or (lambda storage: storage.update_episodes([episode(99)])))(storage)


def sign_of(data_path: Path) -> Path:
    (sign,) = (path for name in (".journal", ".changes") if (path := data_path / name).exists())
    return sign


# What is right


@in_any
def test_readers_see_a_change_and_write_nothing(tmp_path: Path, data_format: str) -> None:
    data_path = make(tmp_path, data_format)
    interrupted(data_path)
    before = tree(tmp_path)
    assert values(data_path) == [1, 2, 99]
    assert MinariStorage.read_raw_metadata(data_path)["total_episodes"] == 3
    storage = MinariStorage.read(data_path)
    assert len(list(storage.get_episode_metadata(range(3)))) == 3
    assert storage.get_episode_lengths().tolist() == [3, 3, 3]
    assert tree(tmp_path) == before
    append(data_path, 100)
    assert values(data_path) == values(data_path) == [1, 2, 99, 100]
    assert storage.total_episodes == 4
    assert not {".journal", ".changes"} & {path.name for path in data_path.iterdir()}


@in_any
def test_change_of_metadata_is_seen(tmp_path: Path, data_format: str) -> None:
    data_path = make(tmp_path, data_format)
    interrupted(data_path, lambda storage: storage.update_episode_metadata([{"note": "new"}] * 2))
    assert [m["note"] for m in MinariStorage.read(data_path).get_episode_metadata([0, 1])] == ["new", "new"]
    assert values(data_path) == [1, 2]


@in_any
def test_change_of_another_dataset_does_not_count(tmp_path: Path, data_format: str) -> None:
    """A journal of another dataset, or of an earlier state of the same one."""
    data_path = make(tmp_path / "a", data_format)
    earlier = shutil.copytree(data_path, tmp_path / "earlier" / "data")
    interrupted(data_path)
    sign = sign_of(data_path)
    other = make(tmp_path / "b", data_format, [3, 4, 5])
    append(earlier, 7)
    for target, expected in ((other, [3, 4, 5]), (earlier, [1, 2, 7])):
        if sign.is_dir():
            shutil.copytree(sign, target / sign.name)
        else:
            shutil.copy(sign, target / sign.name)
        before = tree(target)
        assert values(target) == expected
        assert tree(target) == before
        append(target, 8)
        assert values(target) == [*expected, 8]


# What leads elsewhere


@in_directories
@pytest.mark.parametrize("place", ["part of an episode or array", "directory", "metadata"])
def test_links_in_the_place_of_what_changes_are_not_followed(tmp_path: Path, data_format: str, place: str) -> None:
    data_path = make(tmp_path / "a", data_format)
    victims = tmp_path / "victims"
    victims.mkdir()
    for name in ("metadata.json", "part-0.arrow", "part-0.parquet", "zarr.json"):
        (victims / name).write_text("mine")
    interrupted(data_path)
    if place == "metadata":
        (data_path / "metadata.json").unlink()
        (data_path / "metadata.json").symlink_to(victims / "metadata.json")
    else:
        target = data_path / ("main_data.zarr" if data_format == "zarr" else "2")
        if target.exists():
            shutil.rmtree(target)
        if place == "directory":
            target.symlink_to(victims)
        else:
            target.mkdir()
            for name in ("metadata.json", "part-0.arrow", "part-0.parquet", "zarr.json"):
                (target / name).symlink_to(victims / name)
    before = tree(victims)
    read_and_change(data_path)
    assert tree(victims) == before


@in_directories
@pytest.mark.parametrize("what", ["file", "directory", "changes", "staged"])
def test_staged_links_are_not_followed(tmp_path: Path, data_format: str, what: str) -> None:
    """Nothing that they lead to is read, moved or removed."""
    data_path = make(tmp_path / "a", data_format)
    victims = tmp_path / "victims"
    (victims / "inner").mkdir(parents=True)
    (victims / "file").write_text("mine")
    (victims / "inner" / "file").write_text("mine too")
    interrupted(data_path)
    changes = data_path / ".changes"
    if what == "file":
        (changes / "extra").symlink_to(victims / "file")
    elif what == "directory":
        (changes / "9").symlink_to(victims)
    elif what == "changes":
        shutil.rmtree(changes)
        changes.symlink_to(victims)
    else:
        shutil.rmtree(changes)
        (data_path / ".staged").symlink_to(victims)
    before = tree(victims)
    assert values(data_path) == [1, 2]
    append(data_path, 3)
    assert values(data_path) == [1, 2, 3]
    assert tree(victims) == before


@pytest.mark.parametrize("where", ["journal", "metadata", "data"])
def test_links_around_a_journal_are_not_followed(tmp_path: Path, where: str) -> None:
    data_path = make(tmp_path / "a")
    interrupted(data_path)
    victims = tmp_path / "victims"
    victims.mkdir()
    file = data_path / {"journal": ".journal", "metadata": "metadata.json", "data": "main_data.hdf5"}[where]
    shutil.move(file, victims / "file")
    file.symlink_to(victims / "file")
    before = tree(victims)
    read_and_change(data_path)
    assert tree(victims) == before


def forge(data_path: Path, header: Any, payload: bytes = b"", *, version: int = 2) -> None:
    """A journal whose checksums are right."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    if version == 1:
        checksum = zlib.crc32(payload, zlib.crc32(text))
        content = b"minari journal 1\n" + struct.pack("<QQI", len(text), len(payload), checksum) + text + payload
    else:
        content = b"minari journal 2\n" + struct.pack("<QQ", len(text), len(payload)) + text + payload
        content += xxhash.xxh3_128_digest(content)
    (data_path / ".journal").write_bytes(content)


def header_of(data_path: Path, **changes: Any) -> dict[str, Any]:
    size = (data_path / "main_data.hdf5").stat().st_size
    empty = xxhash.xxh3_128_hexdigest(b"")
    return {
        "size_before": size, "end": size, "changes": [], "texts": {}, "digests_before": [], "metadata_before": None,
        "appended": empty, "ends": empty, **changes,
    }  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        *({"texts": {name: "evil"}} for name in ("../../victim", "/etc/victim", "main_data.hdf5")),
        *({"texts": texts} for texts in ({"metadata.json": 1}, [["metadata.json", "{}"]])),
        {"file": "../victim"},
        {"size_before": 2**62},
        {"size_before": -1},
        {"end": 2**62},
        {"end": 1e300},
        {"changes": [[0, 10]], "digests_before": ["x"]},
        {"changes": [[2**70, 4]], "digests_before": ["x"]},
        {"changes": [[-4, 4]], "digests_before": ["x"]},
        {"changes": [[0, 4], [2, 4]], "digests_before": ["x", "y"]},
        {"changes": [[0, -4]], "digests_before": ["x"]},
        {"changes": [["0", 4]], "digests_before": ["x"]},
        {"changes": {"0": 4}},
        {"changes": None},
        {"digests_before": None},
        {"metadata_before": 3},
    ],
)
def test_impossible_journal_is_ignored(tmp_path: Path, changes: dict[str, Any]) -> None:
    data_path = make(tmp_path)
    forge(data_path, header_of(data_path, **changes), b"evil")
    before = tree(tmp_path)
    assert values(data_path) == [1, 2]
    assert tree(tmp_path) == before
    append(data_path, 3)
    assert values(data_path) == [1, 2, 3]


@pytest.mark.parametrize("header", [b"", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"end": ' + b"9" * 10_000 + b"}"])
def test_malformed_header_is_ignored(tmp_path: Path, header: bytes) -> None:
    data_path = make(tmp_path)
    forge(data_path, header)
    assert values(data_path) == [1, 2]


def test_journal_of_the_first_version_is_refused(tmp_path: Path) -> None:
    data_path = make(tmp_path)
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (data_path / "notes").symlink_to(victim)
    forge(data_path, {"file": "notes", "changes": [[0, 4]], "end": 4, "texts": {"notes": "evil"}}, b"evil", version=1)
    for work in (values, lambda path: MinariStorage.read(path).update_metadata({"a": 1})):
        with pytest.raises(DatasetCorruptError, match=r"version 0\.6\.0"):
            work(data_path)
    assert victim.read_text() == "mine"


# What is damaged


@in_any
def test_flipped_bits_of_a_change_are_found(tmp_path: Path, data_format: str) -> None:
    """In any file that the change has: nothing of it counts as long as nothing of it is in place."""
    data_path = make(tmp_path / "a", data_format)
    interrupted(data_path)
    sign = sign_of(data_path)
    files = [path for path in [sign, *sign.rglob("*")] if path.is_file()]
    if not sign.is_dir():
        files.append(data_path / "main_data.hdf5")
    for number, file in enumerate(files):
        copy = shutil.copytree(data_path, tmp_path / f"copy-{number}" / "data")
        damaged = copy / file.relative_to(data_path)
        content = bytearray(damaged.read_bytes())
        content[-9] ^= 4
        damaged.write_bytes(content)
        assert values(copy) == [1, 2]


@in_directories
def test_flipped_bits_of_a_change_half_in_place_are_refused(tmp_path: Path, data_format: str) -> None:
    data_path = make(tmp_path / "a", data_format)
    interrupted(data_path, lambda storage: storage.update_episodes([episode(3), episode(4)]))
    changes = data_path / ".changes"
    files = sorted(path for path in changes.rglob("*") if path.is_file() and not path.name.startswith("."))
    first, last = files[0], files[-2]
    target = data_path / first.relative_to(changes)
    target.parent.mkdir(parents=True, exist_ok=True)
    first.replace(target)
    assert values(shutil.copytree(data_path, tmp_path / "copy" / "data")) == [1, 2, 3, 4]
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 1
    last.write_bytes(content)
    for work in (values, lambda path: MinariStorage.read(path).update_metadata({"a": 1})):
        with pytest.raises(DatasetCorruptError, match=r"partly in place .*minari clean --discard-changes"):
            work(data_path)


@in_directories
@pytest.mark.parametrize("text", [b"", b"{}", b"x" * 99, None])
def test_malformed_record_is_ignored(tmp_path: Path, data_format: str, text: bytes | None) -> None:
    data_path = make(tmp_path / "a", data_format)
    interrupted(data_path)
    record = data_path / ".changes" / ".commit"
    if text is None:
        text = b'{"files": {"../../victim": [1, "x"]}, "replacing": [".."], "metadata_before": null}'
        text = xxhash.xxh3_128_hexdigest(text).encode() + text
    record.write_bytes(text)
    assert values(data_path) == [1, 2]
    append(data_path, 3)
    assert values(data_path) == [1, 2, 3]


# Other names that somebody may have put a link at


def test_link_in_the_place_of_a_new_file_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    storage = MinariStorage.new(tmp_path / "a" / "data", SPACE, spaces.Discrete(2))
    for work in (lambda: storage.update_episodes([episode(1)]), storage.repack):
        (storage.data_path / ".main_data.hdf5.partial").symlink_to(victim)
        work()
        assert victim.read_text() == "mine"
        assert values(storage.data_path) == [1]


def test_link_in_the_place_of_the_recordings_is_not_followed(datasets_root: Path, tmp_path: Path) -> None:
    victims = tmp_path / "victims"
    victims.mkdir()
    datasets_root.mkdir(exist_ok=True)
    (datasets_root / ".recordings").symlink_to(victims)
    assert list_recordings() == []
    with pytest.raises(UnsafePathError):
        new_recording(SPACE, spaces.Discrete(2), None, "hdf5", jpeg_encoding=False)
    assert list(victims.iterdir()) == []
