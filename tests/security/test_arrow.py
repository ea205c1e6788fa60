"""Arrow and Parquet files that are hostile, damaged or changed while they are read end in errors of ours."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import struct
import subprocess
import sys
import textwrap
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from minari.dataset.episode_buffer import EpisodeBuffer
from minari.dataset.minari_storage import MinariStorage
from minari.errors import ChecksumError, DatasetCorruptError, MetadataError, UnsafePathError
from minari.testing.comparison import assert_same


pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

VECTOR = spaces.Box(-np.inf, np.inf, (4,), np.float64)
ACTIONS = spaces.Discrete(3)
NESTED = spaces.Dict({"x": VECTOR, "word": spaces.Text(9), "many": spaces.Sequence(spaces.Box(0, 1, (2,)))})

both_formats = pytest.mark.parametrize("data_format", ["arrow", "parquet"])


def buffer_of(space: spaces.Space[Any], steps: int, number: int, infos: Any = None) -> EpisodeBuffer:
    space.seed(number)
    generator = np.random.default_rng(1000 + number)
    return EpisodeBuffer(
        observations=[space.sample() for _ in range(steps + 1)],
        actions=generator.integers(0, 3, steps),
        rewards=generator.normal(size=steps),
        terminations=generator.random(steps) < 0.5,
        truncations=np.zeros(steps, np.bool_),
        infos=infos,
    )


def make(
    directory: Path,
    data_format: str,
    space: spaces.Space[Any] = VECTOR,
    steps: int = 20,
    count: int = 3,
    **options: Any,
) -> MinariStorage:
    storage = MinariStorage.new(directory, space, ACTIONS, data_format=data_format, **options)
    infos = {"speed": np.arange(steps + 1.0), "text": ["a"] * (steps + 1)}
    storage.update_episodes(buffer_of(space, steps, number, infos) for number in range(count))
    return storage


def part_of(storage: MinariStorage, index: int) -> Path:
    return storage.data_path / str(index) / f"part-0.{storage.FORMAT}"


def read(storage: MinariStorage, index: int, **options: Any) -> dict[str, Any]:
    (episode,) = storage.get_episodes([index], **options)
    return episode


# Nothing leads out of the dataset


@both_formats
@pytest.mark.parametrize("name", ["part", "metadata.json", "directory"])
def test_links_out_of_the_dataset(tmp_path: Path, data_format: str, name: str) -> None:
    storage = make(tmp_path / "data", data_format)
    other = make(tmp_path / "other", data_format)
    place, target = storage.data_path / "1", other.data_path / "1"
    if name == "directory":
        shutil.rmtree(place)
    else:
        file = part_of(storage, 1).name if name == "part" else name
        place, target = place / file, target / file
        place.unlink()
    place.symlink_to(target)
    with pytest.raises(UnsafePathError, match="leads out"):
        read(MinariStorage.read(storage.data_path), 1)
    assert len(read(MinariStorage.read(storage.data_path), 2)["rewards"]) == 20


@both_formats
def test_links_that_stay_inside(tmp_path: Path, data_format: str) -> None:
    """As a tool leaves them that keeps equal files once."""
    storage = make(tmp_path / "data", data_format)
    part_of(storage, 1).unlink()
    part_of(storage, 1).symlink_to(part_of(storage, 2))
    assert_same(read(storage, 1)["rewards"], read(storage, 2)["rewards"], "rewards")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
@both_formats
@pytest.mark.parametrize("name", ["part", "metadata.json"])
def test_pipes(tmp_path: Path, data_format: str, name: str) -> None:
    storage = make(tmp_path / "data", data_format)
    file = part_of(storage, 0) if name == "part" else storage.data_path / "0" / name
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(UnsafePathError, match="pipe"):
        read(MinariStorage.read(storage.data_path), 0)


# Files that change while they are read


CUTTING = """
import os, sys
from pathlib import Path
from minari.dataset.minari_storage import MinariStorage

path, kind = sys.argv[1:]
storage = MinariStorage.read(path)
for _ in range(2):
    episodes = list(storage.get_episodes([0, 1]))
expected = [episode["observations"].copy() for episode in episodes]
for part in Path(path).glob("*/part-0.*"):
    if kind == "cut":
        os.truncate(part, 0)
    elif kind == "overwritten":
        size = part.stat().st_size
        with part.open("r+b") as file:
            file.write(bytes(size))
    else:
        part.unlink()
        part.write_bytes(b"")
print(all((episode["observations"] == values).all() for episode, values in zip(episodes, expected)))
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str | None], Path]:
    """A function that gives the path of data with long episodes, made once; to be copied."""

    @cache
    def made(data_format: str, compression: str | None) -> Path:
        path = tmp_path_factory.mktemp("large") / "data"
        make(path, data_format, steps=40_000, count=2, compression=compression)
        return path

    return made


@both_formats
@pytest.mark.parametrize("kind", ["cut", "overwritten", "replaced"])
@pytest.mark.parametrize("compression", [None, "zstd"])
def test_files_that_change_under_an_episode(
    tmp_path: Path, large: Callable[..., Path], data_format: str, kind: str, compression: str | None
) -> None:
    shutil.copytree(large(data_format, compression), tmp_path / "data")
    run = [sys.executable, "-c", CUTTING, str(tmp_path / "data"), kind]
    done = subprocess.run(run, capture_output=True, text=True, encoding="utf-8")
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr


@both_formats
@pytest.mark.parametrize("compression", [None, "zstd"])
def test_arrays_belong_to_the_caller(tmp_path: Path, data_format: str, compression: str | None) -> None:
    """At the first reading, by way of pyarrow, and through a template; large files and small ones."""
    for number, steps in enumerate((9, 30_000)):
        storage = make(tmp_path / f"{number}", data_format, steps=steps, compression=compression)
        expected = [read(MinariStorage.read(storage.data_path), index) for index in range(3)]
        for _ in range(3):
            for episode, truth in zip(storage.get_episodes(range(3)), expected, strict=True):
                assert_same(episode, truth, "episode")
                arrays = [episode[name] for name in ("observations", "actions", "rewards", "terminations")]
                arrays += [episode["truncations"], *episode["infos"].values()]
                for array in arrays:
                    array[:] = array[::-1].copy()  # what is written to one is in no other
                for array, name in zip(arrays, ("observations", "actions", "rewards", "terminations"), strict=False):
                    assert np.array_equal(array, truth[name][::-1]), name


def test_a_small_column_does_not_keep_a_large_file(tmp_path: Path) -> None:
    space = spaces.Box(-np.inf, np.inf, (100,), np.float64)
    storage = make(tmp_path / "data", "arrow", space, steps=5000)
    for _ in range(2):
        for episode in storage.get_episodes(range(3)):
            rewards = episode["rewards"]
            assert (rewards if rewards.base is None else rewards.base).nbytes < 10 * rewards.nbytes


# Checksums


def flipped(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@pytest.mark.parametrize(
    ("data_format", "compression"),
    [("arrow", None), ("arrow", "lz4"), ("parquet", None), ("parquet", "snappy"), ("parquet", "gzip")],
)
def test_every_flipped_bit_is_found(tmp_path: Path, data_format: str, compression: str | None) -> None:
    storage = make(tmp_path / "data", data_format, NESTED, steps=5, compression=compression)
    for file in (part_of(storage, 1), storage.data_path / "1" / "metadata.json"):
        content = file.read_bytes()
        opened = MinariStorage.read(storage.data_path, verify_checksums=True)
        bits = np.random.default_rng(1).choice(8 * len(content), 120, replace=False).tolist()
        for bit in bits:
            file.write_bytes(flipped(content, bit))
            with pytest.raises(DatasetCorruptError, match=r"1/|episode 1"):
                read(opened, 1)
        file.write_bytes(content)
        read(opened, 1)


@both_formats
def test_a_wrong_value_names_its_column(tmp_path: Path, data_format: str) -> None:
    """If the checksum of the file is replaced, that of the column is still wrong."""
    storage = make(tmp_path / "data", data_format)
    part, metadata = part_of(storage, 1), storage.data_path / "1" / "metadata.json"
    rewards = read(storage, 1)["rewards"]
    content = part.read_bytes()
    place = content.index(rewards.tobytes())
    part.write_bytes(flipped(content, 8 * place))
    assert (read(MinariStorage.read(storage.data_path), 1)["rewards"] != rewards).sum() == 1  # not asked for
    verifying = MinariStorage.read(storage.data_path, verify_checksums=True)
    with pytest.raises(ChecksumError, match=f"bytes of .*{part.name}.*copy or download"):
        read(verifying, 1)
    import xxhash

    values = json.loads(metadata.read_text())
    values["_checksums"]["file"] = xxhash.xxh3_64_intdigest(part.read_bytes())
    metadata.write_text(json.dumps(values))
    with pytest.raises(ChecksumError, match="values of 'rewards' of episode 1"):
        read(verifying, 1)


@both_formats
def test_checksums_follow_copies_and_changes(tmp_path: Path, data_format: str) -> None:
    storage = make(tmp_path / "data", data_format, NESTED)
    copy = MinariStorage.new(tmp_path / "copy", NESTED, ACTIONS, data_format=data_format)
    copy.update_from_storage(storage, [2, 0])
    copy.update_episode_metadata([{"note": 1}, {"note": 2}])
    copy.update_episodes([buffer_of(NESTED, 4, 9)])
    opened = MinariStorage.read(copy.data_path, verify_checksums=True)
    assert opened._episodes_without_checksums(range(3)) == []
    assert [len(episode["rewards"]) for episode in opened.get_episodes(range(3))] == [20, 20, 4]
    assert [metadata.get("note") for metadata in opened.get_episode_metadata(range(3))] == [1, 2, None]
    assert not any("_checksums" in metadata for metadata in opened.get_episode_metadata(range(3)))
    opened.repack()
    assert len(list(opened.get_episodes(range(3)))) == 3
    part = part_of(storage, 1)
    part.write_bytes(flipped(part.read_bytes(), 4000))
    damaged = MinariStorage.new(tmp_path / "damaged", NESTED, ACTIONS, data_format=data_format)
    with pytest.raises(ChecksumError):
        damaged.update_from_storage(MinariStorage.read(storage.data_path, verify_checksums=True))


@both_formats
def test_checksums_that_are_missing_or_of_another_program(tmp_path: Path, data_format: str) -> None:
    storage = make(tmp_path / "data", data_format)
    file = storage.data_path / "0" / "metadata.json"
    values = json.loads(file.read_text())
    file.write_text(json.dumps({**values, "mine": 1}))  # as 0.5.4 changes metadata: the others are kept
    opened = MinariStorage.read(storage.data_path, verify_checksums=True)
    assert opened._episodes_without_checksums([0, 1]) == []
    read(opened, 0)
    del values["_checksums"]
    file.write_text(json.dumps(values))
    assert opened._episodes_without_checksums([0, 1, 2]) == [0]
    read(opened, 0)
    opened._add_missing_checksums()
    assert opened._episodes_without_checksums([0, 1, 2]) == []
    read(opened, 0)
    (metadata,) = opened.get_episode_metadata([0])
    assert metadata == values
    with pytest.raises(MetadataError, match="_checksums"):
        storage.update_episode_metadata([{"_checksums": 3}], [0])


@both_formats
@pytest.mark.parametrize("steps", [3, 700])
def test_values_that_change_on_the_way(tmp_path: Path, data_format: str, steps: int) -> None:
    """Types that are stored as wider ones, with numbers that are not quite equal to themselves."""
    rewards = np.full(steps, 0x7FA00001, np.uint32).view(np.float32)  # a NaN that signals
    storage = MinariStorage.new(tmp_path / "data", VECTOR, ACTIONS, data_format=data_format)
    storage.update_episodes(
        dataclasses.replace(
            buffer_of(VECTOR, steps, number),
            rewards=rewards,
            observations=np.full((steps + 1, 4), np.nan, np.float16),
            actions=np.zeros(steps, ">i2"),
        )
        for number in range(4)
    )
    for episode in MinariStorage.read(storage.data_path, verify_checksums=True).get_episodes(range(4)):
        assert np.isnan(episode["rewards"]).all()


# Files that claim what they do not have


def patched(storage: MinariStorage, old: bytes, new: bytes) -> None:
    part = part_of(storage, 0)
    content = part.read_bytes()
    assert old in content
    part.write_bytes(content.replace(old, new))


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (3 * 2**30, 3 * 2**30))
from minari.dataset.minari_storage import MinariStorage
from minari.errors import DatasetCorruptError
try:
    list(MinariStorage.read(sys.argv[1]).get_episodes([0]))
except DatasetCorruptError as error:
    print(error)
print(next(int(line.split()[1]) // 1024 for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def refused(storage: MinariStorage) -> str:
    """The message with which an episode is refused, without taking much memory."""
    if not Path("/proc/self/status").exists():
        pytest.skip("peak memory is read from Linux's /proc")
    run = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(LIMITED), str(storage.data_path)]
    done = subprocess.run(run, capture_output=True, text=True, encoding="utf-8", timeout=60)
    assert done.returncode == 0, (done.returncode, done.stderr)
    message, memory = done.stdout.splitlines()
    assert int(memory) < 400
    return message


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
@pytest.mark.parametrize("claimed", [2**36, 2**50, 2**63 - 1])
def test_buffers_that_claim_to_expand(tmp_path: Path, codec: str, claimed: int) -> None:
    storage = make(tmp_path / "data", "arrow", steps=5000, compression=codec)
    patched(storage, struct.pack("<q", 5001 * 32), struct.pack("<q", claimed))  # of the observations
    assert "claim to expand" in refused(storage)


def test_an_arrow_schema_that_is_nested_deeply(tmp_path: Path) -> None:
    storage = make(tmp_path / "data", "arrow")
    array = pa.array(np.zeros(21))
    for _ in range(55):
        array = pa.StructArray.from_arrays([array], names=["a"])
    with pa.ipc.new_file(str(part_of(storage, 0)), pa.schema([pa.field("infos", array.type)])) as writer:
        writer.write_table(pa.table({"infos": array}))
    assert "nested too deeply" in refused(storage)


@both_formats
@pytest.mark.parametrize(
    "column",
    [
        pa.array([{"a": 1}] * 21, pa.map_(pa.string(), pa.int64())),
        pa.array([["a"]] * 21, pa.list_(pa.string())),
        pa.array([None] * 21, pa.decimal128(30, 2)),
    ],
    ids=["map", "lists of text", "decimal"],
)
def test_columns_of_types_that_no_dataset_has(tmp_path: Path, data_format: str, column: Any) -> None:
    storage = make(tmp_path / "data", data_format)
    part = part_of(storage, 0)
    table = pq.read_table(part) if data_format == "parquet" else pa.ipc.open_file(part.read_bytes()).read_all()
    replace(part, table.set_column(0, "observations", column), data_format)
    assert refused(storage)


def replace(part: Path, table: Any, data_format: str) -> None:
    if data_format == "parquet":
        pq.write_table(table, part)
        return
    with pa.ipc.new_file(str(part), table.schema) as writer:
        writer.write_table(table)


def test_dictionaries(tmp_path: Path) -> None:
    storage = make(tmp_path / "data", "arrow")
    part = part_of(storage, 0)
    table = pa.ipc.open_file(part.read_bytes()).read_all()
    replace(part, table.set_column(0, "observations", pa.array(["a", "b", "c"] * 7).dictionary_encode()), "arrow")
    assert "dictionary" in refused(storage)


class _Registered(pa.ExtensionType):  # type: ignore[misc]
    """A type that a program has registered, which data must not make it read."""

    made = 0

    def __init__(self) -> None:
        super().__init__(pa.int64(), "minari.tests.registered")

    def __arrow_ext_serialize__(self) -> bytes:
        return b"anything"

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type: Any, serialized: bytes) -> Any:
        cls.made += 1
        return cls()


@both_formats
@pytest.mark.parametrize("nested", [False, True])
def test_extension_types_are_not_made(tmp_path: Path, data_format: str, nested: bool) -> None:
    storage = make(tmp_path / "data", data_format)
    part = part_of(storage, 0)
    table = pq.read_table(part) if data_format == "parquet" else pa.ipc.open_file(part.read_bytes()).read_all()
    pa.register_extension_type(_Registered())
    try:
        column = pa.ExtensionArray.from_storage(_Registered(), pa.array(range(21)))
        if nested:
            column = pa.StructArray.from_arrays([column], names=["x"])
        replace(part, table.append_column("aside", column), data_format)
        _Registered.made = 0
        with pytest.raises(DatasetCorruptError, match="extension type"):
            read(MinariStorage.read(storage.data_path), 0)
        copy = MinariStorage.new(tmp_path / "copy", VECTOR, ACTIONS, data_format=data_format)
        with pytest.raises(DatasetCorruptError, match="extension type"):
            copy.update_from_storage(MinariStorage.read(storage.data_path), [0])
        assert _Registered.made == 0
    finally:
        pa.unregister_extension_type("minari.tests.registered")


def test_parquet_that_is_all_one_value(tmp_path: Path) -> None:
    storage = make(tmp_path / "data", "parquet")
    part, metadata = part_of(storage, 0), storage.data_path / "0" / "metadata.json"
    rows = 20_000_000
    column = pa.array(np.zeros(rows, np.int64))
    names = ["observations", "actions", "rewards", "terminations", "truncations"]
    table = pa.table(dict.fromkeys(names, column))
    options = {"compression": "brotli", "use_dictionary": False, "data_page_size": 2**30}
    try:
        pq.write_table(table, part, row_group_size=rows, max_rows_per_page=rows, **options)
    except TypeError:
        pytest.skip("this pyarrow makes many pages")
    assert part.stat().st_size < 100_000
    metadata.write_text(json.dumps({"id": 0, "total_steps": rows - 1}))
    assert "claim to expand" in refused(storage)


@both_formats
@pytest.mark.parametrize("steps", [2**62, -1, 1.5, True, None, "9", [3]])
def test_numbers_of_steps(tmp_path: Path, data_format: str, steps: Any) -> None:
    storage = make(tmp_path / "data", data_format)
    file = storage.data_path / "0" / "metadata.json"
    file.write_text(json.dumps({"id": 0, "total_steps": steps}))
    with pytest.raises(DatasetCorruptError, match=r"0/.*(damaged|21 rows, expected)"):
        read(MinariStorage.read(storage.data_path), 0)


@both_formats
@pytest.mark.parametrize(
    "values",
    [
        '{"total_steps": 20, "a": [1], "_dtypes": {"a": ["O", [1]]}}',
        '{"total_steps": 20, "a": 1, "_dtypes": {"a": ["V4000000000", []]}}',
        '{"total_steps": 20, "a": 1, "_dtypes": {"a": ["(100000,100000)f8", []]}}',
        '{"total_steps": 20, "a": 1e999, "_dtypes": {"a": ["int8", []]}}',
        '{"total_steps": 20, "a": 1000000000000000000000, "_dtypes": {"a": ["int64", []]}}',
        '{"total_steps": 20, "a": 1, "_dtypes": {"a": ["int8", [4000000000, 1000000000]]}}',
        '{"total_steps": 20, "_dtypes": []}',
        '{"total_steps": 20, "_dtypes": {"a": {"b": {}}}}',
        '{"total_steps": 20, "a": ' + "[" * 100_000 + "]" * 100_000 + "}",
    ],
)
def test_metadata_of_odd_types(tmp_path: Path, data_format: str, values: str) -> None:
    storage = make(tmp_path / "data", data_format)
    (storage.data_path / "0" / "metadata.json").write_text(values)
    with pytest.raises(DatasetCorruptError, match=r"metadata.json is damaged.{0,400}$"):
        list(MinariStorage.read(storage.data_path).get_episode_metadata([0]))


@both_formats
@pytest.mark.parametrize("dtype", ["O", "object", "V8", "M8[ns]", "float64\0", "S100000000", "i4,i4"])
def test_columns_that_name_odd_dtypes(tmp_path: Path, data_format: str, dtype: str) -> None:
    storage = make(tmp_path / "data", data_format)
    part = part_of(storage, 0)
    table = pq.read_table(part) if data_format == "parquet" else pa.ipc.open_file(part.read_bytes()).read_all()
    place = table.schema.get_field_index("rewards")
    field = table.schema.field(place).with_metadata({"dtype": dtype})
    replace(part, table.set_column(place, field, table.column(place)), data_format)
    with pytest.raises(DatasetCorruptError, match="numeric dtype"):
        read(MinariStorage.read(storage.data_path), 0)


@both_formats
def test_nulls_where_numbers_belong(tmp_path: Path, data_format: str) -> None:
    storage = make(tmp_path / "data", data_format)
    part = part_of(storage, 0)
    table = pq.read_table(part) if data_format == "parquet" else pa.ipc.open_file(part.read_bytes()).read_all()
    place = table.schema.get_field_index("actions")
    replace(part, table.set_column(place, "actions", pa.array([None, *range(20)], pa.int64())), data_format)
    with pytest.raises(DatasetCorruptError, match="nulls, expected numbers"):
        read(MinariStorage.read(storage.data_path), 0)


@both_formats
@pytest.mark.parametrize(
    "column", [pa.nulls(21), pa.array(["a"] * 21), pa.array([[1]] * 21)], ids=["nulls", "text", "lists"]
)
def test_a_ragged_column_that_is_no_struct(tmp_path: Path, data_format: str, column: Any) -> None:
    storage = make(tmp_path / "data", data_format)
    part = part_of(storage, 0)
    table = pq.read_table(part) if data_format == "parquet" else pa.ipc.open_file(part.read_bytes()).read_all()
    replace(part, table.append_column("ragged", column), data_format)
    with pytest.raises(DatasetCorruptError, match="expected a struct"):
        read(MinariStorage.read(storage.data_path), 0)
