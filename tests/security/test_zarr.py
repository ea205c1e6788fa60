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
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minari.dataset.minari_storage import MinariStorage
from minari.errors import ChecksumError, DatasetCorruptError, MinariError, RemoteUnreachableError, UnsafePathError
from minari.testing._suite import ACTIONS, OBSERVATIONS
from minari.testing.comparison import assert_episode
from minari.testing.examples import as_buffer, draw_truth


zarr = pytest.importorskip("zarr", minversion="3", reason="zarr 3 is not installed; it needs Python 3.11")
google_crc32c = pytest.importorskip("google_crc32c")

TRUTHS = [draw_truth(OBSERVATIONS, ACTIONS, steps, steps, {"n": np.arange(steps + 1.0)}) for steps in (2, 3, 40, 5)]
posix = pytest.mark.skipif(sys.platform == "win32", reason="links and pipes of POSIX")


def make(directory: Path, **options: Any) -> Any:
    storage = MinariStorage.new(directory / "data", OBSERVATIONS, ACTIONS, data_format="zarr", **options)
    storage.update_episodes([as_buffer(t, seed=n, options={"a": np.float32([n])}) for n, t in enumerate(TRUTHS)])
    return storage


def store_of(storage: Any) -> Path:
    return storage.data_path / "main_data.zarr"


def read_all(data_path: Path, **options: Any) -> list[Any]:
    storage = MinariStorage.read(data_path, **options)
    list(storage.get_episode_metadata(range(storage.total_episodes)))
    return list(storage.get_episodes(range(storage.total_episodes)))


def assert_sound(data_path: Path, **options: Any) -> None:
    for episode, truth in zip(read_all(data_path, **options), TRUTHS, strict=True):
        assert_episode(episode, OBSERVATIONS, ACTIONS, truth)


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    value = json.loads(path.read_bytes())
    change(value)
    path.write_text(json.dumps(value))


def columns_of(value: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {"/".join(map(str, column["path"])): column for column in value["attributes"]["minari"]["columns"]}


def rename(column: dict[str, Any], name: str) -> None:
    before, column["name"] = column["name"], name
    column["arrays"] = [array.replace(before, name) for array in column["arrays"]]


# Names


@pytest.mark.parametrize(
    "name",
    [
        "../rewards",
        "../../../../secret",
        "/etc",
        "a/../../../x",
        "a\\b",
        "C:x",
        "",
        ".",
        "x//y",
        ".hidden",
        "zarr.json",
    ],
)
def test_names_of_columns_that_lead_out(tmp_path: Path, name: str) -> None:
    storage = make(tmp_path / "x")
    edit(store_of(storage) / "zarr.json", lambda value: rename(columns_of(value)["rewards"], name))
    before = {path for path in tmp_path.rglob("*") if path.name != ".lock"}
    for work in (
        lambda: read_all(storage.data_path),
        lambda: MinariStorage.read(storage.data_path).update_episodes([as_buffer(TRUTHS[0])]),
        lambda: MinariStorage.read(storage.data_path).update_episode_metadata([{"k": 1}], [0]),
    ):
        with pytest.raises(DatasetCorruptError, match=r"zarr\.json of .* is damaged"):
            work()
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
def test_tables_of_columns_that_make_no_sense(tmp_path: Path, change: str) -> None:
    data_path = make(tmp_path).data_path
    edit(data_path / "main_data.zarr" / "zarr.json", lambda value: TABLES[change](columns_of(value)))
    with pytest.raises(DatasetCorruptError):
        read_all(data_path)


@pytest.mark.parametrize("layouts", [[[0, 0]], [[-1]], [[True]], [[2**70]], [["0"]], "x", [None], [[1, 2], [1, 2]]])
def test_layouts_that_make_no_sense(tmp_path: Path, layouts: Any) -> None:
    data_path = make(tmp_path).data_path
    edit(data_path / "main_data.zarr" / "zarr.json", lambda v: v["attributes"]["minari"].update(layouts=layouts))
    with pytest.raises(DatasetCorruptError, match=r"zarr\.json of .* is damaged"):
        read_all(data_path)


# Links, and what is no file


LINKED = ["data/rewards/c.0", "data/rewards", "data", "data/rewards/zarr.json", "zarr.json", "meta/layout/c.0", ""]


@posix
@pytest.mark.parametrize("place", LINKED)
def test_links_out_of_the_store(tmp_path: Path, place: str) -> None:
    storage = make(tmp_path)
    linked = store_of(storage) / place
    shutil.move(linked, tmp_path / "elsewhere")
    linked.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UnsafePathError, match="a link that leads out"):
        read_all(storage.data_path)


@posix
def test_links_out_are_not_followed_through_zarr_python(tmp_path: Path) -> None:
    storage = make(tmp_path)
    array = zarr.open_array(store_of(storage), path="data/rewards", mode="r")
    zarr.create_array(store_of(storage), name="data/rewards", data=array[:], chunks=(10,), overwrite=True)
    assert_sound(storage.data_path)
    chunk = store_of(storage) / "data" / "rewards" / "c" / "1"
    shutil.move(chunk, tmp_path / "elsewhere")
    chunk.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UnsafePathError, match="a link that leads out"):
        read_all(storage.data_path)


@posix
def test_links_inside_are_followed(tmp_path: Path) -> None:
    storage = make(tmp_path)
    for place in ("data/rewards/c.0", "data/actions"):
        target = store_of(storage) / "meta" / place.replace("/", "-")
        shutil.move(store_of(storage) / place, target)
        (store_of(storage) / place).symlink_to(target)
    assert_sound(storage.data_path)


@posix
@pytest.mark.parametrize("place", ["data/rewards/c.0", "data/rewards/zarr.json", "zarr.json"])
def test_a_pipe_in_the_place_of_a_file(tmp_path: Path, place: str) -> None:
    storage = make(tmp_path)
    (store_of(storage) / place).unlink()
    os.mkfifo(store_of(storage) / place)
    with pytest.raises(UnsafePathError, match="a device, a pipe or a socket"):
        read_all(storage.data_path)


@posix
@pytest.mark.parametrize("place", ["data/rewards/c.0", "data/rewards/zarr.json", "zarr.json", "data", ""])
def test_links_that_lead_to_themselves(tmp_path: Path, place: str) -> None:
    storage = make(tmp_path)
    linked = store_of(storage) / place
    shutil.move(linked, tmp_path / "elsewhere")
    linked.symlink_to(linked)
    with pytest.raises(DatasetCorruptError):
        read_all(storage.data_path)


@posix
@pytest.mark.skipif(sys.platform != "win32" and os.geteuid() == 0, reason="the superuser may read everything")
@pytest.mark.parametrize("place", ["data/rewards/c.0", "zarr.json", "data", ""])
def test_what_may_not_be_read(tmp_path: Path, place: str) -> None:
    storage = make(tmp_path)
    closed = store_of(storage) / place
    mode = closed.stat().st_mode
    closed.chmod(0)
    try:
        with pytest.raises(DatasetCorruptError, match=r"cannot be read \(Permission denied\)"):
            read_all(storage.data_path)
    finally:
        closed.chmod(mode)


# Codecs


def with_codecs(*codecs: Any) -> Callable[[dict[str, Any]], object]:
    return lambda v: v["codecs"][0]["configuration"].update(codecs=[{"name": "bytes"}, *codecs])


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
    "codecs of the index": (
        lambda v: v["codecs"][0]["configuration"].update(index_codecs=[{"name": "bytes"}, {"name": "zstd"}]),
        "zstd",
    ),
    "a type of a package": (lambda v: v.update(data_type="evil"), "'evil'"),
    "a type with a configuration": (lambda v: v.update(data_type={"name": "numpy.void"}), r"numpy\.void"),
    "an extension": (lambda v: v.update(evil={"name": "evil"}, chunk_key_encoding="default"), "'evil'"),
    "a storage transformer": (lambda v: v.update(storage_transformers=[{"name": "evil"}]), "storage_transformers"),
    "a grid": (lambda v: v.update(chunk_grid={"name": "rectilinear"}), "rectilinear"),
    "names of chunks": (lambda v: v.update(chunk_key_encoding={"name": "evil"}), "'evil'"),
    "a separator": (
        lambda v: v.update(chunk_key_encoding={"name": "v2", "configuration": {"separator": "/../"}}),
        "separator",
    ),
    "many dimensions": (lambda v: v.update(shape=[1] * 1000), "sizes"),
    "no dimension": (lambda v: v.update(shape=[]), "shape|rows|none"),
    "a large integer": (lambda v: v.update(shape=[10**400]), "sizes|shape"),
    "a fraction": (lambda v: v.update(shape=[50.0]), "sizes|shape"),
}


@pytest.mark.parametrize("change", ARRAYS)
def test_arrays_that_ask_for_something_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    """The registry of zarr-python, which loads what packages bring, is not asked."""
    monkeypatch.setattr("zarr.core.metadata.v3.get_codec_class", lambda *_: pytest.fail("the registry was asked"))
    data_path = make(tmp_path).data_path
    edit_array, message = ARRAYS[change]
    edit(data_path / "main_data.zarr" / "data" / "rewards" / "zarr.json", edit_array)
    with pytest.raises(DatasetCorruptError, match=rf"array data/rewards of .*({message})"):
        read_all(data_path)


def test_arrays_that_other_programs_write(tmp_path: Path) -> None:
    """In other chunks, with other codecs, and in another byte order."""
    storage = make(tmp_path)
    ways: dict[str, dict[str, Any]] = {
        "data/rewards": {"chunks": (10,), "compressors": zarr.codecs.BloscCodec(cname="lz4")},
        "data/actions": {"chunks": (8,), "shards": (32,), "compressors": zarr.codecs.GzipCodec()},
        "data/terminations": {"chunks": (7,), "compressors": (zarr.codecs.ZstdCodec(), zarr.codecs.Crc32cCodec())},
        "data/infos/n": {"chunks": (50,), "serializer": zarr.codecs.BytesCodec(endian="big")},
    }
    for name, way in ways.items():
        values = zarr.open_array(store_of(storage), path=name, mode="r")[:]
        zarr.create_array(store_of(storage), name=name, data=values, overwrite=True, **way)
    assert_sound(storage.data_path)
    assert_sound(storage.data_path, verify_checksums=True)
    assert storage._episodes_without_checksums(range(4)) == [0, 1, 2, 3]


# Sizes


def zarr_json(store: Path, array: str) -> Path:
    return store / array / "zarr.json"


def set_rows(store: Path, rows: int) -> None:
    for file in store.glob("data/**/zarr.json"):
        edit(file, lambda value: value["shape"].__setitem__(0, rows) if "shape" in value else None)


def chunks_in(value: dict[str, Any]) -> int:
    """Return the number of chunks of a shard."""
    rows: int = value["chunk_grid"]["configuration"]["chunk_shape"][0]
    return rows // int(value["codecs"][0]["configuration"]["chunk_shape"][0])


def put_index(shard: Path, index: Any, chunks: bytes = b"") -> None:
    content = np.array(index, "<u8").tobytes()
    shard.write_bytes(chunks + content + google_crc32c.value(content).to_bytes(4, "little"))


ABSENT = 2**64 - 1


def test_many_steps_that_are_not_there(tmp_path: Path) -> None:
    """All chunks of one episode are absent, and it has more steps than any memory."""
    storage = make(tmp_path)
    store, steps = store_of(storage), 2**45
    edit(storage.data_path / "metadata.json", lambda v: v.update(total_episodes=1, total_steps=steps))
    ends = zarr.open_array(store, path="meta/episode_ends", mode="r+")
    ends[0] = steps
    set_rows(store, steps)
    for file in store.glob("data/**/zarr.json"):

        def enlarge(value: dict[str, Any]) -> None:
            if "shape" in value:
                value["chunk_grid"]["configuration"]["chunk_shape"][0] = steps
                value["codecs"][0]["configuration"]["chunk_shape"][0] = steps

        edit(file, enlarge)
        for shard in file.parent.glob("c.*"):
            put_index(shard, [[ABSENT, ABSENT]])
    with pytest.raises(DatasetCorruptError, match="bytes are to be made of"):
        list(MinariStorage.read(storage.data_path).get_episodes([0]))


@pytest.mark.parametrize(
    "index",
    [
        [[0, 2**63]],
        [[2**63, 8]],
        [[2**64 - 2, 8]],
        [[10**6, 8]],
        [[0, 0]],
    ],
)
def test_chunks_that_lie_outside_of_their_shard(tmp_path: Path, index: Any) -> None:
    storage = make(tmp_path)
    shard = store_of(storage) / "data" / "rewards" / "c.0"
    value = json.loads(zarr_json(store_of(storage), "data/rewards").read_bytes())
    put_index(shard, [*index, *[[ABSENT, ABSENT]] * (chunks_in(value) - 1)], shard.read_bytes()[:1024])
    with pytest.raises(DatasetCorruptError, match=r"A shard of the array data/rewards of .* is damaged"):
        read_all(storage.data_path)


def test_chunks_that_overlap(tmp_path: Path) -> None:
    """A thousand of the same bytes, which would make of every byte a thousand times as many."""
    storage = make(tmp_path, compression="zstd")
    shard = store_of(storage) / "data" / "rewards" / "c.0"
    value = json.loads(zarr_json(store_of(storage), "data/rewards").read_bytes())
    chunks = chunks_in(value)
    content = shard.read_bytes()[: -16 * chunks - 4]
    put_index(shard, [[0, len(content)]] * chunks, content)
    with pytest.raises(DatasetCorruptError, match="chunks that overlap"):
        read_all(storage.data_path)


@pytest.mark.parametrize("compression", ["zstd", "gzip", "blosc"])
def test_chunks_that_say_they_are_larger(tmp_path: Path, compression: str) -> None:
    """With a checksum that is right: what the chunk says of its size is compared before it is decompressed."""
    from minari._storages.zarr.codecs import decode, encoded
    from minari.dataset.compression import Codec

    bomb = encoded(Codec(compression), np.zeros(1 << 24, np.uint8))
    out = np.empty(800, np.uint8)
    with pytest.raises(ValueError, match=r"a chunk has \d+ bytes, expected 800"):
        decode(compression, bomb, out)
    small = encoded(Codec(compression), np.arange(100.0))
    decode(compression, small, out)
    assert np.array_equal(out.view("<f8"), np.arange(100.0))


def test_a_gzip_that_goes_on_longer_than_it_says() -> None:
    from minari._storages.zarr.codecs import decode

    compressor = zlib.compressobj(9, wbits=31)
    bomb = bytearray(compressor.compress(bytes(1 << 26)) + compressor.flush())
    bomb[-4:] = (800).to_bytes(4, "little")
    out = np.empty(800, np.uint8)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="too late"):
            decode("gzip", bytes(bomb), out)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("byte", range(16))
def test_headers_of_blosc(byte: int) -> None:
    from minari._storages.zarr.codecs import decode, encoded
    from minari.dataset.compression import Codec

    content, out = encoded(Codec("blosc"), np.arange(1000.0)), np.empty(8000, np.uint8)
    for value in (0, 1, 127, 128, 255):
        with contextlib.suppress(ValueError):
            decode("blosc", content[:byte] + bytes([value]) + content[byte + 1 :], out)


def test_texts_are_no_larger_than_what_there_is(tmp_path: Path) -> None:
    storage = make(tmp_path)
    store = store_of(storage)
    lengths = zarr.open_array(store, path="ragged/observations/t/lengths", mode="r+")
    lengths[0], lengths[1] = 2**62, -(2**62)
    with pytest.raises(DatasetCorruptError):
        read_all(storage.data_path)


def test_a_zarr_json_that_is_large(tmp_path: Path) -> None:
    storage = make(tmp_path)
    file = zarr_json(store_of(storage), "data/rewards")
    file.write_bytes(file.read_bytes() + b" " * (2 << 20))
    with pytest.raises(UnsafePathError, match="is larger than 1,048,576 bytes"):
        read_all(storage.data_path)


def test_shards_that_are_too_large_to_be_gone_on_with(tmp_path: Path) -> None:
    storage = make(tmp_path)
    for file in store_of(storage).glob("data/**/zarr.json"):

        def enlarge(value: dict[str, Any]) -> None:
            if "shape" in value:
                value["chunk_grid"]["configuration"]["chunk_shape"][0] = 2**60

        edit(file, enlarge)
    with pytest.raises(DatasetCorruptError):
        MinariStorage.read(storage.data_path).update_episodes([as_buffer(TRUTHS[0])])


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
def test_metadata_of_an_episode(text: str) -> None:
    from minari._storages.json_metadata import from_json

    with pytest.raises(ValueError, match=r"\w"):
        from_json(text)


# Parts of several processes


class Runs:
    """A call that pickle would make."""

    def __reduce__(self) -> Any:
        return os.mkdir, (os.environ["MINARI_TEST_RUNS"],)


@posix
@pytest.mark.parametrize("damage", ["pickle", "cut", "empty", "lengths", "flipped", "another part", "twice", "link"])
def test_what_parts_hand_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str) -> None:
    from minari._storages.zarr import arrays as zarr_arrays

    monkeypatch.setenv("MINARI_TEST_RUNS", str(tmp_path / "ran"))
    monkeypatch.setattr(zarr_arrays, "SHARD_SIZE", 1 << 12)
    storage: Any = MinariStorage.new(tmp_path / "data", OBSERVATIONS, ACTIONS, data_format="zarr")
    truths = [draw_truth(OBSERVATIONS, ACTIONS, 100, seed, {}) for seed in range(6)]
    buffers = [as_buffer(truth, seed=n, options={"o": np.float32([n])}) for n, truth in enumerate(truths)]
    with storage.write_in_parts([100] * 6, buffers[:1], 3) as parts:
        for part in parts.parts:
            part.write(buffers[number] for number in part.episodes)
        first, second, *_ = (part.remainder_path for part in parts.parts)
        content = first.read_bytes()
        if damage == "link":
            shutil.move(first, tmp_path / "elsewhere")
            first.symlink_to(tmp_path / "elsewhere")
        else:
            first.write_bytes(
                {
                    "pickle": pickle.dumps(Runs()),
                    "cut": content[:-1],
                    "empty": b"",
                    "lengths": (2**62).to_bytes(8, "little") * 2 + content[16:],
                    "flipped": content[:50] + bytes([content[50] ^ 1]) + content[51:],
                    "another part": second.read_bytes()[:-1],
                    "twice": content * 2,
                }[damage]
            )
        with pytest.raises(DatasetCorruptError):
            parts.commit()
    assert MinariStorage.read(storage.data_path).total_episodes == 0
    assert not (tmp_path / "ran").exists()


@posix
@pytest.mark.parametrize("place", ["main_data.zarr", "main_data.zarr/data", "main_data.zarr/data/rewards/c.0"])
def test_nothing_is_written_through_links_among_what_is_staged(tmp_path: Path, place: str) -> None:
    """Whoever may write into the dataset may put them there while somebody else is at it."""
    storage = make(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "file").write_text("precious")

    def episodes() -> Iterator[Any]:
        link = storage.data_path / ".staged" / place
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(tmp_path / ("file" if place.endswith("c.0") else "elsewhere"))
        yield as_buffer(TRUTHS[0])

    with pytest.raises(UnsafePathError):
        storage.update_episodes(episodes())
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert (tmp_path / "file").read_text() == "precious"


# Checksums


def damage_one_bit(file: Path, position: int, bit: int) -> bytes:
    content = file.read_bytes()
    file.write_bytes(content[:position] + bytes([content[position] ^ 1 << bit]) + content[position + 1 :])
    return content


@pytest.mark.parametrize("compression", ["none", "zstd", "gzip", "blosc"])
def test_a_flipped_bit_in_any_file_is_found(tmp_path: Path, compression: str) -> None:
    storage = make(tmp_path, compression=compression)
    assert_sound(storage.data_path, verify_checksums=True)
    assert storage._episodes_without_checksums(range(4)) == []
    rng = np.random.default_rng(0)
    files = sorted(file for file in store_of(storage).rglob("*") if file.is_file())
    assert len(files) > 40
    for file in files:
        for _ in range(3):
            content = damage_one_bit(file, int(rng.integers(file.stat().st_size)), int(rng.integers(8)))
            with pytest.raises(DatasetCorruptError, match=r"main_data\.zarr"):
                read_all(storage.data_path, verify_checksums=True)
            file.write_bytes(content)
    assert_sound(storage.data_path, verify_checksums=True)


def test_the_error_names_the_episode_and_the_array(tmp_path: Path) -> None:
    storage = make(tmp_path)
    shard = store_of(storage) / "data" / "rewards" / "c.0"
    damage_one_bit(shard, 8 * 10, 3)  # of the third episode
    message = r"Episode 0 is not what was written.* array data/rewards of .*; copy or download the dataset again"
    with pytest.raises(ChecksumError, match=message):
        list(MinariStorage.read(storage.data_path, verify_checksums=True).get_episodes([0, 1, 2, 3]))
    with pytest.raises(ChecksumError, match="array data/rewards"):
        MinariStorage.read(storage.data_path, verify_checksums=True).get_window(2, 0, 1)


def test_damage_gets_no_new_checksum(tmp_path: Path) -> None:
    """Operations that copy or rewrite values verify them first."""
    storage = make(tmp_path)
    shard = store_of(storage) / "data" / "rewards" / "c.0"
    damage_one_bit(shard, 8 * 10, 3)
    other = MinariStorage.new(tmp_path / "other", OBSERVATIONS, ACTIONS, data_format="zarr")
    for work in (
        lambda: other.update_from_storage(storage, [2]),
        lambda: storage.update_episodes([as_buffer(TRUTHS[0])]),
        lambda: storage.repack(),
    ):
        with pytest.raises(ChecksumError):
            work()
    assert other.total_episodes == 0
    assert not storage.verify_checksums


def without_checksums(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """A store as 0.6.0 wrote it."""
    from minari._storages.zarr import appender as zarr_appender

    steps, rows = zarr_appender.form_of_steps, zarr_appender.form_of_rows
    with monkeypatch.context() as patch:
        patch.setattr(zarr_appender, "form_of_steps", lambda *a: dataclasses.replace(steps(*a), has_checksums=False))
        patch.setattr(zarr_appender, "form_of_rows", lambda *a: dataclasses.replace(rows(*a), has_checksums=False))
        patch.setattr(zarr_appender, "to_zarr_json", lambda value: json.dumps(value).encode())
        return make(tmp_path)


def test_stores_without_checksums(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = without_checksums(monkeypatch, tmp_path)
    assert zarr.open_array(store_of(storage), path="data/rewards", mode="r").compressors == ()
    assert_sound(storage.data_path)
    assert_sound(storage.data_path, verify_checksums=True)
    assert storage._episodes_without_checksums([0, 3]) == [0, 3]
    storage.update_episodes([as_buffer(TRUTHS[0])])
    assert storage._episodes_without_checksums([4]) == [4], "its rows share arrays with those before"
    (episode,) = MinariStorage.read(storage.data_path, verify_checksums=True).get_episodes([4])
    assert_episode(episode, OBSERVATIONS, ACTIONS, TRUTHS[0])
    storage.repack()
    assert storage._episodes_without_checksums(range(5)) == []


def test_other_programs_verify_the_chunks(tmp_path: Path) -> None:
    storage = make(tmp_path)
    damage_one_bit(store_of(storage) / "data" / "rewards" / "c.0", 8 * 10, 3)
    with pytest.raises(ValueError, match="checksum do not match"):
        zarr.open_group(store_of(storage), mode="r")["data/rewards"][:]


# Descriptors


@posix
def test_a_thousand_open_datasets_under_a_limit_of_256_descriptors(tmp_path: Path) -> None:
    data_path = make(tmp_path).data_path
    program = f"""
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
from minari.dataset.minari_storage import MinariStorage
opened = [MinariStorage.read({str(data_path)!r}) for _ in range(1000)]
for storage in opened:
    storage.get_window(2, 3, 7)
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=300)


# Remote stores


@pytest.fixture
def address() -> Iterator[str]:
    fsspec = pytest.importorskip("fsspec")
    yield "memory://hostile/x-v0/data"
    fsspec.filesystem("memory").rm("/hostile", recursive=True)


def remote(address: str, **options: Any) -> tuple[Any, Any]:
    import fsspec

    storage = MinariStorage.new(address, OBSERVATIONS, ACTIONS, data_format="zarr", **options)
    storage.update_episodes([as_buffer(truth, seed=n) for n, truth in enumerate(TRUTHS)])
    return storage, fsspec.filesystem("memory")


def test_remote_checksums(address: str) -> None:
    _, filesystem = remote(address)
    read_all(address, verify_checksums=True)  # type: ignore[arg-type]
    assert MinariStorage.read(address)._episodes_without_checksums(range(4)) == []
    for place in ("data/rewards/c.0", "zarr.json", "data/rewards/zarr.json", "data/zarr.json"):
        path = f"/hostile/x-v0/data/main_data.zarr/{place}"
        content = filesystem.cat_file(path)
        filesystem.pipe_file(path, content[:60] + bytes([content[60] ^ 4]) + content[61:])
        with pytest.raises(DatasetCorruptError):
            read_all(address, verify_checksums=True)  # type: ignore[arg-type]
        filesystem.pipe_file(path, content)


@pytest.mark.parametrize("change", ["a name", "a large file", "a codec"])
def test_remote_stores_are_checked_likewise(address: str, change: str) -> None:
    _, filesystem = remote(address)
    path = "/hostile/x-v0/data/main_data.zarr/" + ("zarr.json" if change == "a name" else "data/rewards/zarr.json")
    value = json.loads(filesystem.cat_file(path))
    if change == "a name":
        rename(columns_of(value)["rewards"], "../../other")
    elif change == "a codec":
        with_codecs({"name": "evil"})(value)
    else:
        value["more"] = "x" * (2 << 20)
    filesystem.pipe_file(path, json.dumps(value).encode())
    with pytest.raises(DatasetCorruptError):
        read_all(address)  # type: ignore[arg-type]


def test_errors_of_a_client_become_ours(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    storage, filesystem = remote(address)

    class ClientError(Exception):
        pass

    def failing(*_: Any, **__: Any) -> Any:
        raise ClientError("slow down")

    reader = MinariStorage.read(address)
    monkeypatch.setattr(type(filesystem), "cat_file", failing)
    monkeypatch.setattr(type(filesystem), "pipe_file", failing)
    for work in (
        lambda: list(reader.get_episodes([0])),
        lambda: storage.update_episodes([as_buffer(TRUTHS[0])]),
    ):
        with pytest.raises((RemoteUnreachableError, MinariError), match="slow down"):
            work()
