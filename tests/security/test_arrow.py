"""Arrow and Parquet files that are hostile, damaged or changed while they are read end in errors of ours."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xxhash
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
COLUMNS = ["observations", "actions", "rewards", "terminations", "truncations"]

both_formats = pytest.mark.parametrize("data_format", ["arrow", "parquet"])
both_compressions = pytest.mark.parametrize("compression", [None, "zstd"])


def buffer_of(space: spaces.Space[Any], steps: int, number: int, infos: Any = None) -> EpisodeBuffer:
    space.seed(number)
    generator = np.random.default_rng(1000 + number)
    is_array = isinstance(space, spaces.Box)  # and there may be many
    return EpisodeBuffer(
        observations=generator.normal(size=(steps + 1, *space.shape))
        if is_array
        else [space.sample() for _ in range(steps + 1)],
        actions=generator.integers(0, 3, steps),
        rewards=generator.normal(size=steps),
        terminations=generator.random(steps) < 0.5,
        truncations=np.zeros(steps, np.bool_),
        infos=infos,
    )


def make(
    directory: Path, data_format: str, space: Any = VECTOR, steps: int = 20, count: int = 3, **options: Any
) -> Any:
    storage = MinariStorage.new(directory, space, ACTIONS, data_format=data_format, **options)
    infos = {"speed": np.arange(steps + 1.0), "text": ["a"] * (steps + 1)}
    storage.update_episodes(buffer_of(space, steps, number, infos) for number in range(count))
    return storage


@pytest.fixture(params=["arrow", "parquet"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """One of three episodes with 20 steps each, in both formats."""
    return make(tmp_path / "data", request.param)


def part_of(storage: Any, index: int) -> Path:
    return Path(storage.data_path / str(index) / f"part-0.{storage.FORMAT}")


def metadata_of(storage: Any, index: int) -> Path:
    return Path(storage.data_path / str(index) / "metadata.json")


def read(storage: Any, index: int, **options: Any) -> dict[str, Any]:
    (episode,) = storage.get_episodes([index], **options)
    return episode


def read_again(storage: Any, index: int) -> dict[str, Any]:
    return read(MinariStorage.read(storage.data_path), index)


def flipped(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


# Nothing leads out of the dataset


@pytest.mark.parametrize("name", ["part", "metadata.json", "directory", "inside"])
def test_links_out_of_the_dataset_are_refused(storage: Any, tmp_path: Path, name: str) -> None:
    """Those that stay inside are as a tool leaves them that keeps equal files once."""
    other = make(tmp_path / "other", storage.FORMAT)
    place, target = part_of(storage, 1), part_of(storage if name == "inside" else other, 2)
    if name == "directory":
        place, target = place.parent, target.parent
        shutil.rmtree(place)
    else:
        if name == "metadata.json":
            place, target = metadata_of(storage, 1), metadata_of(other, 1)
        place.unlink()
    place.symlink_to(target)
    if name == "inside":
        assert_same(read_again(storage, 1)["rewards"], read(storage, 2)["rewards"], "rewards")
    else:
        with pytest.raises(UnsafePathError, match="leads out"):
            read_again(storage, 1)
    assert len(read_again(storage, 2)["rewards"]) == 20


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
@pytest.mark.parametrize("file_of", [part_of, metadata_of])
def test_pipes_are_refused(storage: Any, file_of: Callable[[Any, int], Path]) -> None:
    file = file_of(storage, 0)
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(UnsafePathError, match="pipe"):
        read_again(storage, 0)


# Files that change while they are read


CUTTING = """
import os, sys
from pathlib import Path
from minari.dataset.minari_storage import MinariStorage

for path in sys.argv[1:]:
    storage = MinariStorage.read(path)
    for _ in range(2):
        episodes = list(storage.get_episodes([0, 1]))
    expected = [episode["observations"].copy() for episode in episodes]
    kind = Path(path).name
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
    same = all((episode["observations"] == values).all() for episode, values in zip(episodes, expected))
    print(kind, same, flush=True)
"""


@both_formats
@both_compressions
def test_episodes_do_not_change_with_their_files(tmp_path: Path, data_format: str, compression: str | None) -> None:
    kinds = ("cut", "overwritten", "replaced")
    make(tmp_path / kinds[0], data_format, steps=40_000, count=2, compression=compression)
    for kind in kinds[1:]:
        shutil.copytree(tmp_path / kinds[0], tmp_path / kind)
    run = [sys.executable, "-c", CUTTING, *(str(tmp_path / kind) for kind in kinds)]
    done = subprocess.run(run, capture_output=True, text=True, encoding="utf-8")
    assert (done.returncode, done.stdout) == (0, "".join(f"{kind} True\n" for kind in kinds)), done.stderr


@both_formats
@both_compressions
@pytest.mark.parametrize("steps", [9, 30_000])
def test_arrays_belong_to_the_caller(tmp_path: Path, data_format: str, compression: str | None, steps: int) -> None:
    """At the first reading, by way of pyarrow, and through a template."""
    storage = make(tmp_path / "data", data_format, steps=steps, compression=compression)
    expected = [read_again(storage, index) for index in range(3)]
    for _ in range(3):
        for episode, truth in zip(storage.get_episodes(range(3)), expected, strict=True):
            assert_same(episode, truth, "episode")
            for array in (*(episode[name] for name in COLUMNS), *episode["infos"].values()):
                array[:] = array[::-1].copy()  # what is written to one is in no other
            for name in COLUMNS[:-1]:
                assert np.array_equal(episode[name], truth[name][::-1]), name


def test_small_column_does_not_keep_a_large_file(tmp_path: Path) -> None:
    space = spaces.Box(-np.inf, np.inf, (100,), np.float64)
    storage = make(tmp_path / "data", "arrow", space, steps=5000)
    for _ in range(2):
        for episode in storage.get_episodes(range(3)):
            rewards = episode["rewards"]
            assert (rewards if rewards.base is None else rewards.base).nbytes < 10 * rewards.nbytes


# Checksums


@pytest.mark.parametrize(
    ("data_format", "compression"),
    [("arrow", None), ("arrow", "lz4"), ("parquet", None), ("parquet", "snappy"), ("parquet", "gzip")],
)
def test_every_flipped_bit_is_found(tmp_path: Path, data_format: str, compression: str | None) -> None:
    storage = make(tmp_path / "data", data_format, NESTED, steps=5, compression=compression)
    opened = MinariStorage.read(storage.data_path, verify_checksums=True)
    for file in (part_of(storage, 1), metadata_of(storage, 1)):
        content = file.read_bytes()
        for bit in np.random.default_rng(1).choice(8 * len(content), 120, replace=False).tolist():
            file.write_bytes(flipped(content, bit))
            with pytest.raises(DatasetCorruptError, match=r"1/|episode 1"):
                read(opened, 1)
        file.write_bytes(content)
        read(opened, 1)


def test_wrong_value_names_its_column(storage: Any) -> None:
    """If the checksum of the file is replaced, that of the column is still wrong."""
    part, rewards = part_of(storage, 1), read(storage, 1)["rewards"]
    content = part.read_bytes()
    part.write_bytes(flipped(content, 8 * content.index(rewards.tobytes())))
    assert (read_again(storage, 1)["rewards"] != rewards).sum() == 1  # not asked for
    verifying = MinariStorage.read(storage.data_path, verify_checksums=True)
    with pytest.raises(ChecksumError, match=f"bytes of .*{part.name}.*copy or download"):
        read(verifying, 1)
    values = json.loads(metadata_of(storage, 1).read_text())
    values["_checksums"]["file"] = xxhash.xxh3_64_intdigest(part.read_bytes())
    metadata_of(storage, 1).write_text(json.dumps(values))
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
    assert opened.episodes_without_checksums(range(3)) == []
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


def test_missing_checksums_are_added(storage: Any) -> None:
    file = metadata_of(storage, 0)
    values = json.loads(file.read_text())
    file.write_text(json.dumps({**values, "mine": 1}))  # as 0.5.4 changes metadata: the others are kept
    opened = MinariStorage.read(storage.data_path, verify_checksums=True)
    assert opened.episodes_without_checksums([0, 1]) == []
    read(opened, 0)
    del values["_checksums"]
    file.write_text(json.dumps(values))
    assert opened.episodes_without_checksums([0, 1, 2]) == [0]
    read(opened, 0)
    opened.add_missing_checksums()
    assert opened.episodes_without_checksums([0, 1, 2]) == []
    read(opened, 0)
    assert list(opened.get_episode_metadata([0])) == [values]
    with pytest.raises(MetadataError, match="_checksums"):
        storage.update_episode_metadata([{"_checksums": 3}], [0])


@both_formats
@pytest.mark.parametrize("steps", [3, 700])
def test_values_that_are_widened_keep_their_checksums(tmp_path: Path, data_format: str, steps: int) -> None:
    """With numbers that are not quite equal to themselves."""
    odd = {
        "rewards": np.full(steps, 0x7FA00001, np.uint32).view(np.float32),  # a NaN that signals
        "observations": np.full((steps + 1, 4), np.nan, np.float16),
        "actions": np.zeros(steps, ">i2"),
    }
    storage = MinariStorage.new(tmp_path / "data", VECTOR, ACTIONS, data_format=data_format)
    storage.update_episodes(dataclasses.replace(buffer_of(VECTOR, steps, number), **odd) for number in range(4))
    for episode in MinariStorage.read(storage.data_path, verify_checksums=True).get_episodes(range(4)):
        assert np.isnan(episode["rewards"]).all()


# Files that claim what they do not have


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (3 * 2**30, 3 * 2**30))
from minari.dataset.minari_storage import MinariStorage
from minari.errors import DatasetCorruptError
for path in sys.argv[1:]:
    try:
        list(MinariStorage.read(path).get_episodes([0]))
    except DatasetCorruptError as error:
        print(error)
print(next(int(line.split()[1]) // 1024 for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def refused(*storages: Any) -> list[str]:
    """The message with which an episode of each is refused, without taking much memory."""
    if not Path("/proc/self/status").exists():
        pytest.skip("peak memory is read from Linux's /proc")
    run = [sys.executable, "-W", "ignore", "-c", LIMITED, *(str(storage.data_path) for storage in storages)]
    done = subprocess.run(run, capture_output=True, text=True, encoding="utf-8", timeout=60)
    assert done.returncode == 0, (done.returncode, done.stderr)
    *messages, memory = done.stdout.splitlines()
    assert len(messages) == len(storages), messages
    assert int(memory) < 400
    return messages


def table_of(storage: Any) -> Any:
    part = part_of(storage, 0)
    return pq.read_table(part) if storage.FORMAT == "parquet" else pa.ipc.open_file(part.read_bytes()).read_all()


def replace(storage: Any, table: Any) -> None:
    if storage.FORMAT == "parquet":
        pq.write_table(table, part_of(storage, 0))
        return
    with pa.ipc.new_file(str(part_of(storage, 0)), table.schema) as writer:
        writer.write_table(table)


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_buffer_that_claims_to_expand_is_refused(tmp_path: Path, codec: str) -> None:
    storages = []
    for claimed in (2**36, 2**50, 2**63 - 1):
        storages.append(make(tmp_path / str(claimed), "arrow", steps=5000, compression=codec))
        part = part_of(storages[-1], 0)
        content, size = part.read_bytes(), struct.pack("<q", 5001 * 32)  # of the observations
        assert size in content
        part.write_bytes(content.replace(size, struct.pack("<q", claimed)))
    assert all("claim to expand" in message for message in refused(*storages))


def test_parquet_that_is_all_one_value_is_refused(tmp_path: Path) -> None:
    storage = make(tmp_path / "data", "parquet")
    rows = 20_000_000
    table = pa.table(dict.fromkeys(COLUMNS, pa.array(np.zeros(rows, np.int64))))
    options = {"compression": "brotli", "use_dictionary": False, "data_page_size": 2**30}
    try:
        pq.write_table(table, part_of(storage, 0), row_group_size=rows, max_rows_per_page=rows, **options)
    except TypeError:
        pytest.skip("this pyarrow makes many pages")
    assert part_of(storage, 0).stat().st_size < 100_000
    metadata_of(storage, 0).write_text(json.dumps({"id": 0, "total_steps": rows - 1}))
    assert "claim to expand" in refused(storage)[0]


def test_deep_schema_is_refused(tmp_path: Path) -> None:
    storage = make(tmp_path / "data", "arrow")
    array = pa.array(np.zeros(21))
    for _ in range(55):
        array = pa.StructArray.from_arrays([array], names=["a"])
    replace(storage, pa.table({"infos": array}))
    assert "nested too deeply" in refused(storage)[0]


#: What a column is replaced by, or what is appended, and what the message says.
ODD_COLUMNS: dict[str, tuple[str, Any, str]] = {
    "map": ("observations", pa.array([{"a": 1}] * 21, pa.map_(pa.string(), pa.int64())), ""),
    "lists of text": ("observations", pa.array([["a"]] * 21, pa.list_(pa.string())), ""),
    "decimal": ("observations", pa.array([None] * 21, pa.decimal128(30, 2)), ""),
    "dictionary": ("observations", pa.array(["a", "b", "c"] * 7).dictionary_encode(), "dictionary"),
    "nulls for numbers": ("actions", pa.array([None, *range(20)], pa.int64()), "nulls, expected numbers"),
    "ragged nulls": ("ragged", pa.nulls(21), "expected a struct"),
    "ragged text": ("ragged", pa.array(["a"] * 21), "expected a struct"),
    "ragged lists": ("ragged", pa.array([[1]] * 21), "expected a struct"),
}


@both_formats
def test_column_of_another_type_is_refused(tmp_path: Path, data_format: str) -> None:
    storages = []
    for kind, (name, column, _) in ODD_COLUMNS.items():
        storages.append(make(tmp_path / kind, data_format))
        table = table_of(storages[-1])
        place = table.schema.get_field_index(name)
        changed = table.append_column(name, column) if place < 0 else table.set_column(place, name, column)
        replace(storages[-1], changed)
    for (kind, (_, _, words)), message in zip(ODD_COLUMNS.items(), refused(*storages), strict=True):
        assert (kind == "dictionary" and data_format == "parquet") or words in message, kind


class Registered(pa.ExtensionType):  # type: ignore[misc]
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


@pytest.fixture
def registered() -> Iterator[Any]:
    pa.register_extension_type(Registered())
    yield pa.ExtensionArray.from_storage(Registered(), pa.array(range(21)))
    pa.unregister_extension_type("minari.tests.registered")


@pytest.mark.parametrize("nested", [False, True])
def test_extension_types_are_not_made(storage: Any, tmp_path: Path, registered: Any, nested: bool) -> None:
    column = pa.StructArray.from_arrays([registered], names=["x"]) if nested else registered
    replace(storage, table_of(storage).append_column("aside", column))
    Registered.made = 0
    copy = MinariStorage.new(tmp_path / "copy", VECTOR, ACTIONS, data_format=storage.FORMAT)
    for use in (lambda opened: read(opened, 0), lambda opened: copy.update_from_storage(opened, [0])):
        with pytest.raises(DatasetCorruptError, match="extension type"):
            use(MinariStorage.read(storage.data_path))
    assert Registered.made == 0


@pytest.mark.parametrize("dtype", ["O", "object", "V8", "M8[ns]", "float64\0", "S100000000", "i4,i4"])
def test_odd_dtype_of_a_column_is_refused(storage: Any, dtype: str) -> None:
    table = table_of(storage)
    place = table.schema.get_field_index("rewards")
    field = table.schema.field(place).with_metadata({"dtype": dtype})
    replace(storage, table.set_column(place, field, table.column(place)))
    with pytest.raises(DatasetCorruptError, match="numeric dtype"):
        read_again(storage, 0)


@pytest.mark.parametrize("steps", [2**62, -1, 1.5, True, None, "9", [3]])
def test_odd_number_of_steps_is_refused(storage: Any, steps: Any) -> None:
    metadata_of(storage, 0).write_text(json.dumps({"id": 0, "total_steps": steps}))
    with pytest.raises(DatasetCorruptError, match=r"0/.*(damaged|21 rows, expected)"):
        read_again(storage, 0)


@pytest.mark.parametrize(
    "values",
    [
        '"a": [1], "_dtypes": {"a": ["O", [1]]}',
        '"a": 1, "_dtypes": {"a": ["V4000000000", []]}',
        '"a": 1, "_dtypes": {"a": ["(100000,100000)f8", []]}',
        '"a": 1e999, "_dtypes": {"a": ["int8", []]}',
        '"a": 1000000000000000000000, "_dtypes": {"a": ["int64", []]}',
        '"a": 1, "_dtypes": {"a": ["int8", [4000000000, 1000000000]]}',
        '"_dtypes": []',
        '"_dtypes": {"a": {"b": {}}}',
        '"a": ' + "[" * 100_000 + "]" * 100_000,
    ],
)
def test_odd_metadata_is_refused(storage: Any, values: str) -> None:
    metadata_of(storage, 0).write_text(f'{{"total_steps": 20, {values}}}')
    with pytest.raises(DatasetCorruptError, match=r"metadata.json is damaged.{0,400}$"):
        list(MinariStorage.read(storage.data_path).get_episode_metadata([0]))
