"""Zarr stores that somebody else has written, or that are damaged: refused, and nothing foreign runs or is opened."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pickle
import shutil
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minari._storages.json_metadata import from_json
from minari.dataset.compression import Codec
from minari.dataset.minari_storage import MinariStorage
from minari.errors import ChecksumError, DatasetCorruptError, MinariError, RemoteUnreachableError, UnsafePathError
from minari.testing.comparison import assert_episode
from minari.testing.examples import as_buffer, draw_truth
from minari.testing.storage_suites.suite import ACTIONS, OBSERVATIONS


zarr = pytest.importorskip("zarr", minversion="3", reason="zarr 3 is not installed; it needs Python 3.11")
google_crc32c = pytest.importorskip("google_crc32c")
zarr_appender = pytest.importorskip("minari._storages.zarr.appender")
codecs = pytest.importorskip("minari._storages.zarr.codecs")
decode, encoded = codecs.decode, codecs.encoded

TRUTHS = [draw_truth(OBSERVATIONS, ACTIONS, steps, steps, {"n": np.arange(steps + 1.0)}) for steps in (2, 3, 40, 5)]
REWARDS = "data/rewards/zarr.json"
SHARD = "data/rewards/c.0"
posix = pytest.mark.skipif(sys.platform == "win32", reason="links and pipes of POSIX")


def make(data_path: Path | str, **options: Any) -> Any:
    storage = MinariStorage.new(data_path, OBSERVATIONS, ACTIONS, data_format="zarr", **options)
    storage.update_episodes([as_buffer(t, seed=n, options={"a": np.float32([n])}) for n, t in enumerate(TRUTHS)])
    return storage


@pytest.fixture
def data_path(tmp_path: Path) -> Path:
    """Data without compression."""
    return Path(make(tmp_path / "data").data_path)


@pytest.fixture
def store(data_path: Path) -> Path:
    return data_path / "main_data.zarr"


def read_all(data_path: Path | str, **options: Any) -> list[Any]:
    storage = MinariStorage.read(data_path, **options)
    list(storage.get_episode_metadata(range(storage.total_episodes)))
    return list(storage.get_episodes(range(storage.total_episodes)))


def assert_sound(data_path: Path | str, **options: Any) -> None:
    for episode, truth in zip(read_all(data_path, **options), TRUTHS, strict=True):
        assert_episode(episode, OBSERVATIONS, ACTIONS, truth)


def append(data_path: Path) -> None:
    MinariStorage.read(data_path).update_episodes([as_buffer(TRUTHS[0])])


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    value = json.loads(path.read_bytes())
    change(value)
    path.write_text(json.dumps(value))


def edit_arrays(store: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change what each array of steps says of itself."""
    for file in store.glob("data/**/zarr.json"):
        edit(file, lambda value: change(value) if "shape" in value else None)


def columns_of(value: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {"/".join(map(str, column["path"])): column for column in value["attributes"]["minari"]["columns"]}


def rename(column: dict[str, Any], name: str) -> None:
    before, column["name"] = column["name"], name
    column["arrays"] = [array.replace(before, name) for array in column["arrays"]]


# Names, and the table of columns


NAMES = ["../rewards", "../../../../secret", "/etc", "a/../../../x", "a\\b", "C:x", "", ".", "x//y", ".hidden"]


@pytest.mark.parametrize("name", [*NAMES, "zarr.json"])
def test_names_of_columns_that_lead_out_are_refused(tmp_path: Path, data_path: Path, store: Path, name: str) -> None:
    edit(store / "zarr.json", lambda value: rename(columns_of(value)["rewards"], name))
    before = {path for path in tmp_path.rglob("*") if path.name != ".lock"}
    for work in (
        read_all,
        append,
        lambda path: MinariStorage.read(path).update_episode_metadata([{"k": 1}], [0]),
    ):
        with pytest.raises(DatasetCorruptError, match=r"zarr\.json of .* is damaged"):
            work(data_path)
    assert {path for path in tmp_path.rglob("*") if path.name not in (".lock", ".staged")} == before


#: What is done to the table of columns.
TABLES: dict[str, Callable[[dict[str, Any]], object]] = {
    "the place of another": lambda c: rename(c["rewards"], "actions"),
    "in letters of another size": lambda c: rename(c["rewards"], "ACTIONS"),
    "in another array": lambda c: rename(c["rewards"], "actions/c.0"),
    "in another array, deeper": lambda c: rename(c["rewards"], "actions/x"),
    "around other arrays": lambda c: rename(c["rewards"], "observations"),
    "other arrays than the name says": lambda c: c["rewards"].update(arrays=["meta/layout"]),
    "arrays of another group": lambda c: c["rewards"].update(arrays=["meta/final/rewards"]),
    "twice the same": lambda c: c["rewards"].update(path=["terminations"], dtype="|b1"),
    "an unknown kind": lambda c: c["rewards"].update(kind="pickle"),
    "a kind that is a list": lambda c: c["rewards"].update(kind=["steps"]),
    "objects": lambda c: c["rewards"].update(dtype="|O"),
    "a dtype of fields": lambda c: c["rewards"].update(dtype=[["a", "<f8"]]),
    "a path of something else": lambda c: c["rewards"].update(path=["secrets"]),
    "a path that is deep": lambda c: c["rewards"].update(path=["infos", *"a" * 5000]),
    "a path of floats": lambda c: c["rewards"].update(path=["infos", 0.5]),
    "a row that is large": lambda c: c["rewards"].update(row_shape=[2**62, 2**62]),
    "a row of many dimensions": lambda c: c["rewards"].update(row_shape=[1] * 100),
    "a row of negative size": lambda c: c["rewards"].update(row_shape=[-1]),
    "text of floats": lambda c: c["observations/t"].update(dtype="<f8"),
    "a row that is not that of the space": lambda c: c["observations/x"].update(row_shape=[1]),
}


@pytest.mark.parametrize("change", TABLES)
def test_impossible_table_of_columns_is_refused(data_path: Path, store: Path, change: str) -> None:
    edit(store / "zarr.json", lambda value: TABLES[change](columns_of(value)))
    with pytest.raises(DatasetCorruptError):
        read_all(data_path)


@pytest.mark.parametrize("layouts", [[[0, 0]], [[-1]], [[True]], [[2**70]], [["0"]], "x", [None], [[1, 2], [1, 2]]])
def test_impossible_layouts_are_refused(data_path: Path, store: Path, layouts: Any) -> None:
    edit(store / "zarr.json", lambda value: value["attributes"]["minari"].update(layouts=layouts))
    with pytest.raises(DatasetCorruptError, match=r"zarr\.json of .* is damaged"):
        read_all(data_path)


# Links, and what is no file


@posix
@pytest.mark.parametrize("place", [SHARD, "data/rewards", "data", REWARDS, "zarr.json", "meta/layout/c.0", ""])
def test_links_out_of_the_store_are_refused(tmp_path: Path, data_path: Path, store: Path, place: str) -> None:
    linked, elsewhere = store / place, tmp_path / "elsewhere"
    shutil.move(linked, elsewhere)
    linked.symlink_to(elsewhere)
    with pytest.raises(UnsafePathError, match="a link that leads out"):
        read_all(data_path)
    if place == "meta/layout/c.0":
        return
    linked.unlink()
    linked.symlink_to(linked)  # to itself
    with pytest.raises(DatasetCorruptError):
        read_all(data_path)


@posix
def test_links_inside_are_followed_and_out_of_chunks_are_not(tmp_path: Path, data_path: Path, store: Path) -> None:
    for place in (SHARD, "data/actions"):
        target = store / "meta" / place.replace("/", "-")
        shutil.move(store / place, target)
        (store / place).symlink_to(target)
    assert_sound(data_path)
    array = zarr.open_array(store, path="data/rewards", mode="r")
    zarr.create_array(store, name="data/rewards", data=array[:], chunks=(10,), overwrite=True)  # read by zarr-python
    assert_sound(data_path)
    chunk = store / "data" / "rewards" / "c" / "1"
    shutil.move(chunk, tmp_path / "elsewhere")
    chunk.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UnsafePathError, match="a link that leads out"):
        read_all(data_path)


@posix
@pytest.mark.parametrize("place", [SHARD, REWARDS, "zarr.json"])
def test_pipes_are_refused(data_path: Path, store: Path, place: str) -> None:
    (store / place).unlink()
    os.mkfifo(store / place)
    with pytest.raises(UnsafePathError, match="a device, a pipe or a socket"):
        read_all(data_path)


@posix
@pytest.mark.skipif(sys.platform != "win32" and os.geteuid() == 0, reason="the superuser may read everything")
@pytest.mark.parametrize("place", [SHARD, "zarr.json", "data", ""])
def test_closed_file_is_named(data_path: Path, store: Path, place: str) -> None:
    mode = (store / place).stat().st_mode
    (store / place).chmod(0)
    try:
        with pytest.raises(DatasetCorruptError, match=r"cannot be read \(Permission denied\)"):
            read_all(data_path)
    finally:
        (store / place).chmod(mode)


@posix
@pytest.mark.parametrize("place", ["main_data.zarr", "main_data.zarr/data", f"main_data.zarr/{SHARD}"])
def test_nothing_is_written_through_staged_links(tmp_path: Path, data_path: Path, place: str) -> None:
    """Whoever may write into the dataset may put them there while somebody else is at it."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "file").write_text("precious")

    def episodes() -> Iterator[Any]:
        link = data_path / ".staged" / place
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(tmp_path / ("file" if place.endswith("c.0") else "elsewhere"))
        yield as_buffer(TRUTHS[0])

    with pytest.raises(UnsafePathError):
        MinariStorage.read(data_path).update_episodes(episodes())
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert (tmp_path / "file").read_text() == "precious"


# Codecs


def with_codecs(*codecs: Any) -> Callable[[dict[str, Any]], object]:
    return lambda v: v["codecs"][0]["configuration"].update(codecs=[{"name": "bytes"}, *codecs])


SEPARATOR = {"name": "v2", "configuration": {"separator": "/../"}}
INDEX_CODECS = {"index_codecs": [{"name": "bytes"}, {"name": "zstd"}]}

#: What an array says of itself, and what the message names.
ARRAYS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "a codec of a package": (with_codecs({"name": "evil", "configuration": {}}), "'evil'"),
    "a codec of numcodecs": (with_codecs({"name": "numcodecs.bz2", "configuration": {}}), r"numcodecs\.bz2"),
    "objects": (with_codecs({"name": "vlen-utf8"}), "vlen-utf8"),
    "a codec without a name": (with_codecs({"configuration": {}}), "None"),
    "a codec that is a number": (with_codecs(3), "codec"),
    "shards in shards": (with_codecs({"name": "sharding_indexed", "configuration": {}}), "sharding_indexed"),
    "compressed twice": (with_codecs({"name": "zstd"}, {"name": "gzip"}), "twice"),
    "no codecs": (lambda v: v.pop("codecs"), "codecs"),
    "codecs of the index": (lambda v: v["codecs"][0]["configuration"].update(INDEX_CODECS), "zstd"),
    "a type of a package": (lambda v: v.update(data_type="evil"), "'evil'"),
    "a type with a configuration": (lambda v: v.update(data_type={"name": "numpy.void"}), r"numpy\.void"),
    "an extension": (lambda v: v.update(evil={"name": "evil"}, chunk_key_encoding="default"), "'evil'"),
    "a storage transformer": (lambda v: v.update(storage_transformers=[{"name": "evil"}]), "storage_transformers"),
    "a grid": (lambda v: v.update(chunk_grid={"name": "rectilinear"}), "rectilinear"),
    "names of chunks": (lambda v: v.update(chunk_key_encoding={"name": "evil"}), "'evil'"),
    "a separator": (lambda v: v.update(chunk_key_encoding=SEPARATOR), "separator"),
    "many dimensions": (lambda v: v.update(shape=[1] * 1000), "sizes"),
    "no dimension": (lambda v: v.update(shape=[]), "shape|rows|none"),
    "a large integer": (lambda v: v.update(shape=[10**400]), "sizes|shape"),
    "a fraction": (lambda v: v.update(shape=[50.0]), "sizes|shape"),
}


@pytest.mark.parametrize("change", ARRAYS)
def test_array_that_asks_for_something_else_is_refused(
    data_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """The registry of zarr-python, which loads what packages bring, is not asked."""
    monkeypatch.setattr("zarr.core.metadata.v3.get_codec_class", lambda *_: pytest.fail("the registry was asked"))
    edit_array, message = ARRAYS[change]
    edit(store / REWARDS, edit_array)
    with pytest.raises(DatasetCorruptError, match=rf"array data/rewards of .*({message})"):
        read_all(data_path)


def test_arrays_of_other_programs_are_read(data_path: Path, store: Path) -> None:
    """In other chunks, with other codecs, and in another byte order."""
    ways: dict[str, dict[str, Any]] = {
        "data/rewards": {"chunks": (10,), "compressors": zarr.codecs.BloscCodec(cname="lz4")},
        "data/actions": {"chunks": (8,), "shards": (32,), "compressors": zarr.codecs.GzipCodec()},
        "data/terminations": {"chunks": (7,), "compressors": (zarr.codecs.ZstdCodec(), zarr.codecs.Crc32cCodec())},
        "data/infos/n": {"chunks": (50,), "serializer": zarr.codecs.BytesCodec(endian="big")},
    }
    for name, way in ways.items():
        values = zarr.open_array(store, path=name, mode="r")[:]
        zarr.create_array(store, name=name, data=values, overwrite=True, **way)
    assert_sound(data_path)
    assert_sound(data_path, verify_checksums=True)
    assert MinariStorage.read(data_path).episodes_without_checksums(range(4)) == [0, 1, 2, 3]


# Sizes


ABSENT = 2**64 - 1


def chunks_of(store: Path) -> int:
    """Return the number of chunks of a shard of rewards."""
    value = json.loads((store / REWARDS).read_bytes())
    rows: int = value["chunk_grid"]["configuration"]["chunk_shape"][0]
    return rows // int(value["codecs"][0]["configuration"]["chunk_shape"][0])


def put_index(shard: Path, index: Any, chunks: bytes = b"") -> None:
    content = np.array(index, "<u8").tobytes()
    shard.write_bytes(chunks + content + google_crc32c.value(content).to_bytes(4, "little"))


def test_absent_chunks_of_too_many_steps_are_refused(data_path: Path, store: Path) -> None:
    """All chunks of one episode are absent, and it has more steps than any memory."""
    steps = 2**45
    edit(data_path / "metadata.json", lambda v: v.update(total_episodes=1, total_steps=steps))
    zarr.open_array(store, path="meta/episode_ends", mode="r+")[0] = steps

    def enlarge(value: dict[str, Any]) -> None:
        value["shape"][0] = steps
        value["chunk_grid"]["configuration"]["chunk_shape"][0] = steps
        value["codecs"][0]["configuration"]["chunk_shape"][0] = steps

    edit_arrays(store, enlarge)
    for shard in store.glob("data/**/c.*"):
        put_index(shard, [[ABSENT, ABSENT]])
    with pytest.raises(DatasetCorruptError, match="bytes are to be made of"):
        list(MinariStorage.read(data_path).get_episodes([0]))


@pytest.mark.parametrize("chunk", [[0, 2**63], [2**63, 8], [2**64 - 2, 8], [10**6, 8], [0, 0]])
def test_chunk_outside_of_its_shard_is_refused(data_path: Path, store: Path, chunk: list[int]) -> None:
    shard = store / SHARD
    put_index(shard, [chunk, *[[ABSENT, ABSENT]] * (chunks_of(store) - 1)], shard.read_bytes()[:1024])
    with pytest.raises(DatasetCorruptError, match=r"A shard of the array data/rewards of .* is damaged"):
        read_all(data_path)


def test_chunks_that_overlap_are_refused(tmp_path: Path) -> None:
    """A thousand of the same bytes, which would make of every byte a thousand times as many."""
    store = make(tmp_path / "data", compression="zstd").data_path / "main_data.zarr"
    chunks = chunks_of(store)
    content = (store / SHARD).read_bytes()[: -16 * chunks - 4]
    put_index(store / SHARD, [[0, len(content)]] * chunks, content)
    with pytest.raises(DatasetCorruptError, match="chunks that overlap"):
        read_all(tmp_path / "data")


@pytest.mark.parametrize("compression", ["zstd", "gzip", "blosc"])
def test_larger_chunk_is_refused_before_it_is_decompressed(compression: str) -> None:
    """The size in its header is compared; its checksum is right."""
    out = np.empty(800, np.uint8)
    with pytest.raises(ValueError, match=r"a chunk has \d+ bytes, expected 800"):
        decode(compression, encoded(Codec(compression), np.zeros(1 << 24, np.uint8)), out)
    decode(compression, encoded(Codec(compression), np.arange(100.0)), out)
    assert np.array_equal(out.view("<f8"), np.arange(100.0))


def test_gzip_that_goes_on_longer_than_it_says_is_refused() -> None:
    compressor = zlib.compressobj(9, wbits=31)
    bomb = bytearray(compressor.compress(bytes(1 << 26)) + compressor.flush())
    bomb[-4:] = (800).to_bytes(4, "little")
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="too late"):
            decode("gzip", bytes(bomb), np.empty(800, np.uint8))
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("byte", range(16))
def test_damaged_header_of_blosc_does_not_crash(byte: int) -> None:
    content, out = encoded(Codec("blosc"), np.arange(1000.0)), np.empty(8000, np.uint8)
    for value in (0, 1, 127, 128, 255):
        with contextlib.suppress(ValueError):
            decode("blosc", content[:byte] + bytes([value]) + content[byte + 1 :], out)


def test_other_sizes_that_are_not_there_are_refused(tmp_path: Path) -> None:
    def store(name: str) -> Path:
        return Path(make(tmp_path / name).data_path / "main_data.zarr")

    texts, large, shards = store("texts"), store("large"), store("shards")
    lengths = zarr.open_array(texts, path="ragged/observations/t/lengths", mode="r+")
    lengths[0], lengths[1] = 2**62, -(2**62)
    with pytest.raises(DatasetCorruptError):
        read_all(texts.parent)
    (large / REWARDS).write_bytes((large / REWARDS).read_bytes() + b" " * (2 << 20))
    with pytest.raises(UnsafePathError, match="is larger than 1,048,576 bytes"):
        read_all(large.parent)
    edit_arrays(shards, lambda v: v["chunk_grid"]["configuration"]["chunk_shape"].__setitem__(0, 2**60))
    with pytest.raises(DatasetCorruptError):
        append(shards.parent)


#: The texts of an episode's metadata.
METADATA = [
    '{"_dtypes": {"a": ["object", []]}, "a": 1}',
    '{"_dtypes": {"a": ["V1000000000000", []]}, "a": 1}',
    '{"_dtypes": {"a": [["x", "O"], []]}, "a": 1}',
    '{"_dtypes": {"a": ["float32", [1000000000000]]}, "a": 1}',
    '{"_dtypes": {"a": ["float32", [-1]]}, "a": [1]}',
    '{"_dtypes": {"a": ["float32", [1e3]]}, "a": [1]}',
    '{"_dtypes": {"a": ["uint8", []]}, "a": 300}',
    '{"_dtypes": {"a": ["int64", []]}, "a": 1e999}',
    '{"_dtypes": {"a": ["int64", [2]]}, "a": [[1], [2, 3]]}',
    '{"_dtypes": {"a": ["float32", [1]]}, "a": {"b": 1}}',
    '{"_dtypes": {"a": ["complex64", [1]]}, "a": [1]}',
    '{"_dtypes": {"a": ["float32"]}, "a": [1]}',
    '{"_dtypes": {"a": {"b": ["float32", []]}}, "a": [1]}',
    '{"_dtypes": {"b": ["float32", []]}, "a": [1]}',
    '{"_dtypes": [], "a": [1]}',
    "[]",
    "[" * 100_000 + "]" * 100_000,
    '{"a": NaN',
    "\ud800",
]


@pytest.mark.parametrize("text", METADATA, ids=range(len(METADATA)))
def test_impossible_metadata_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        from_json(text)


@posix
def test_open_datasets_hold_no_descriptors(data_path: Path) -> None:
    program = f"""
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
from minari.dataset.minari_storage import MinariStorage
opened = [MinariStorage.read({str(data_path)!r}) for _ in range(200)]
for storage in opened:
    storage.get_window(2, 3, 7)
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=300)


# Parts of several processes


class Runs:
    """A call that pickle would make."""

    def __reduce__(self) -> Any:
        return os.mkdir, (os.environ["MINARI_TEST_RUNS"],)


#: What is made of the file that a part hands over, and of that of another part.
DAMAGES: dict[str, Callable[[bytes, bytes], bytes]] = {
    "pickle": lambda content, other: pickle.dumps(Runs()),
    "cut": lambda content, other: content[:-1],
    "empty": lambda content, other: b"",
    "lengths": lambda content, other: (2**62).to_bytes(8, "little") * 2 + content[16:],
    "flipped": lambda content, other: content[:50] + bytes([content[50] ^ 1]) + content[51:],
    "another part": lambda content, other: other[:-1],
    "twice": lambda content, other: content * 2,
}


@posix
@pytest.mark.parametrize("damage", [*DAMAGES, "link"])
def test_damaged_part_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str) -> None:
    monkeypatch.setenv("MINARI_TEST_RUNS", str(tmp_path / "ran"))
    monkeypatch.setattr("minari._storages.zarr.arrays.SHARD_SIZE", 1 << 12)
    storage: Any = MinariStorage.new(tmp_path / "data", OBSERVATIONS, ACTIONS, data_format="zarr")
    truths = [draw_truth(OBSERVATIONS, ACTIONS, 100, seed, {}) for seed in range(6)]
    buffers = [as_buffer(truth, seed=n, options={"o": np.float32([n])}) for n, truth in enumerate(truths)]
    with storage.write_in_parts([100] * 6, buffers[:1], 3) as parts:
        for part in parts.parts:
            part.write(buffers[number] for number in part.episodes)
        first, second, *_ = (part.remainder_path for part in parts.parts)
        if damage == "link":
            shutil.move(first, tmp_path / "elsewhere")
            first.symlink_to(tmp_path / "elsewhere")
        else:
            first.write_bytes(DAMAGES[damage](first.read_bytes(), second.read_bytes()))
        with pytest.raises(DatasetCorruptError):
            parts.commit()
    assert MinariStorage.read(storage.data_path).total_episodes == 0
    assert not (tmp_path / "ran").exists()


# Checksums


def flip(file: Path, position: int, bit: int = 3) -> bytes:
    """Flip a bit; return the content before."""
    content = file.read_bytes()
    file.write_bytes(content[:position] + bytes([content[position] ^ 1 << bit]) + content[position + 1 :])
    return content


@pytest.fixture
def damaged(data_path: Path, store: Path) -> Path:
    """The path of data whose third episode has a wrong reward."""
    flip(store / SHARD, 8 * 10)
    return data_path


@pytest.mark.parametrize("compression", ["none", "zstd", "gzip", "blosc"])
def test_flipped_bit_in_any_file_is_found(tmp_path: Path, compression: str) -> None:
    storage = make(tmp_path / "data", compression=compression)
    assert_sound(storage.data_path, verify_checksums=True)
    assert storage.episodes_without_checksums(range(4)) == []
    rng = np.random.default_rng(0)
    files = sorted(file for file in (storage.data_path / "main_data.zarr").rglob("*") if file.is_file())
    assert len(files) > 40
    for file in files * 3:
        content = flip(file, int(rng.integers(file.stat().st_size)), int(rng.integers(8)))
        with pytest.raises(DatasetCorruptError, match=r"main_data\.zarr"):
            read_all(storage.data_path, verify_checksums=True)
        file.write_bytes(content)
    assert_sound(storage.data_path, verify_checksums=True)


def test_wrong_value_names_its_episode_and_array(damaged: Path, store: Path) -> None:
    message = r"Episode 0 is not what was written.* array data/rewards of .*; copy or download the dataset again"
    verifying = partial(MinariStorage.read, damaged, verify_checksums=True)
    with pytest.raises(ChecksumError, match=message):
        list(verifying().get_episodes([0, 1, 2, 3]))
    with pytest.raises(ChecksumError, match="array data/rewards"):
        verifying().get_window(2, 0, 1)
    with pytest.raises(ValueError, match="checksum do not match"):  # other programs verify it too
        zarr.open_group(store, mode="r")["data/rewards"][:]


def test_damage_gets_no_new_checksum(tmp_path: Path, damaged: Path) -> None:
    """Operations that copy or rewrite values verify them first."""
    storage = MinariStorage.read(damaged)
    other = MinariStorage.new(tmp_path / "other", OBSERVATIONS, ACTIONS, data_format="zarr")
    for work in (lambda: other.update_from_storage(storage, [2]), lambda: append(damaged), storage.repack):
        with pytest.raises(ChecksumError):
            work()
    assert other.total_episodes == 0
    assert not storage.verify_checksums


def without_checksums(data_path: Path) -> Any:
    """A store as 0.6.0 wrote it."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("form_of_steps", "form_of_rows"):
            form = getattr(zarr_appender, name)
            plain = lambda *a, form=form: dataclasses.replace(form(*a), has_checksums=False)  # noqa: E731
            patch.setattr(zarr_appender, name, plain)
        patch.setattr(zarr_appender, "to_zarr_json", lambda value: json.dumps(value).encode())
        return make(data_path)


def test_store_without_checksums_gets_them_by_repacking(tmp_path: Path) -> None:
    storage = without_checksums(tmp_path / "data")
    store = storage.data_path / "main_data.zarr"
    assert zarr.open_array(store, path="data/rewards", mode="r").compressors == ()
    assert_sound(storage.data_path)
    assert_sound(storage.data_path, verify_checksums=True)
    assert storage.episodes_without_checksums([0, 3]) == [0, 3]
    storage.update_episodes([as_buffer(TRUTHS[0])])
    assert storage.episodes_without_checksums([4]) == [4], "its rows share arrays with those before"
    (episode,) = MinariStorage.read(storage.data_path, verify_checksums=True).get_episodes([4])
    assert_episode(episode, OBSERVATIONS, ACTIONS, TRUTHS[0])
    storage.repack()
    assert storage.episodes_without_checksums(range(5)) == []


# Remote stores


@pytest.fixture
def memory() -> Iterator[Any]:
    """fsspec's store in memory."""
    filesystem = pytest.importorskip("fsspec").filesystem("memory")
    yield filesystem
    filesystem.rm("/hostile", recursive=True)


ADDRESS = "memory://hostile/x-v0/data"
REMOTE = "/hostile/x-v0/data/main_data.zarr"


def test_remote_store_has_checksums(memory: Any) -> None:
    make(ADDRESS)
    assert_sound(ADDRESS, verify_checksums=True)
    assert MinariStorage.read(ADDRESS).episodes_without_checksums(range(4)) == []
    for place in (SHARD, "zarr.json", REWARDS, "data/zarr.json"):
        content = memory.cat_file(f"{REMOTE}/{place}")
        memory.pipe_file(f"{REMOTE}/{place}", content[:60] + bytes([content[60] ^ 4]) + content[61:])
        with pytest.raises(DatasetCorruptError):
            read_all(ADDRESS, verify_checksums=True)
        memory.pipe_file(f"{REMOTE}/{place}", content)


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("zarr.json", lambda value: rename(columns_of(value)["rewards"], "../../other")),
        (REWARDS, lambda value: value.update(more="x" * (2 << 20))),
        (REWARDS, with_codecs({"name": "evil"})),
    ],
    ids=["a name", "a large file", "a codec"],
)
def test_remote_store_is_checked_likewise(memory: Any, file: str, change: Callable[[dict[str, Any]], object]) -> None:
    make(ADDRESS)
    value = json.loads(memory.cat_file(f"{REMOTE}/{file}"))
    change(value)
    memory.pipe_file(f"{REMOTE}/{file}", json.dumps(value).encode())
    with pytest.raises(DatasetCorruptError):
        read_all(ADDRESS)


def test_errors_of_a_client_become_ours(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class ClientError(Exception):
        pass

    def failing(*_: Any, **__: Any) -> Any:
        raise ClientError("slow down")

    storage, reader = make(ADDRESS), MinariStorage.read(ADDRESS)
    for name in ("cat_file", "pipe_file"):
        monkeypatch.setattr(type(memory), name, failing)
    for work in (lambda: list(reader.get_episodes([0])), lambda: storage.update_episodes([as_buffer(TRUTHS[0])])):
        with pytest.raises((RemoteUnreachableError, MinariError), match="slow down"):
            work()
