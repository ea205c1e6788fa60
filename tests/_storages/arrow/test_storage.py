"""Arrow and Parquet: the tables as other programs see them, and the directories of episodes."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from minari.dataset.minari_storage import MinariStorage
from minari.errors import DatasetCorruptError, MetadataError
from minari.testing.comparison import assert_same
from minari.testing.examples import as_buffer, as_continuation, draw_truth
from minari.testing.storage_suites.suite import ACTIONS, OBSERVATIONS
from support.programs import run
from support.stored import TRUTHS, assert_holds, plain_buffer, read_all, store


pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

VECTOR = spaces.Box(-1.0, 1.0, (2,), np.float32)
ONES, NO_ACTIONS = np.ones((4, 2), np.float32), np.zeros((3, 2), np.float32)
MAPS = Path("/proc/self/maps")


def new(
    directory: Path, data_format: str, observations: Any = ONES, space: Any = VECTOR, of: Any = VECTOR, **fields: Any
) -> MinariStorage:
    """A storage with one episode of three steps, whose actions are of another space."""
    fields = {"actions": NO_ACTIONS, "rewards": np.arange(3.0), **fields}
    return MinariStorage.read(store(directory, data_format, [plain_buffer(observations, **fields)], space, of))


def episode_of(storage: MinariStorage, index: int = 0) -> dict[str, Any]:
    (episode,) = MinariStorage.read(storage.data_path).get_episodes([index])
    return episode


def part_of(storage: MinariStorage, index: int = 0) -> Path:
    return storage.data_path / str(index) / f"part-0.{storage.FORMAT}"


def table_of(storage: MinariStorage, index: int = 0) -> Any:
    file = part_of(storage, index)
    if storage.FORMAT == "parquet":
        return pq.ParquetFile(file).read()
    return pa.ipc.open_file(file.read_bytes()).read_all()


def write_table(storage: MinariStorage, table: Any) -> None:
    """Write the first episode as another program does."""
    if storage.FORMAT == "parquet":
        pq.write_table(table, part_of(storage))
    else:
        with pa.ipc.new_file(str(part_of(storage)), table.schema) as writer:
            writer.write_table(table)


def type_of(storage: MinariStorage, *names: str, index: int = 0) -> str:
    """The Arrow type at a place in the table, without the names that the formats give to elements."""
    field: Any = table_of(storage, index).schema.field(names[0])
    for name in names[1:]:
        field = field.type[field.type.get_field_index(name)]
    return str(field.type).replace("element: ", "item: ")


# Tables


@pytest.mark.parametrize(
    ("space", "values", "expected"),
    [
        (VECTOR, ONES, "fixed_size_list<item: float>[2]"),
        (spaces.Box(-1, 1, (2, 3), np.float64), np.ones((4, 2, 3)), "fixed_size_list<item: double>[6]"),
        (spaces.Box(-1, 1, (), np.float32), np.ones(4, np.float32), "fixed_size_list<item: float>[1]"),
        (spaces.MultiDiscrete([3, 4]), np.ones((4, 2), np.int64), "fixed_size_list<item: int64>[2]"),
        (spaces.MultiBinary(5), np.ones((4, 5), np.int8), "fixed_size_list<item: int8>[5]"),
        (spaces.Discrete(5), np.arange(4), "int64"),
        (spaces.Discrete(200, dtype=np.uint8), np.arange(4, dtype=np.uint8), "int64"),
        (spaces.Text(4), ["a", "bb", "ccc", "d"], "string"),
    ],
)
def test_types_are_those_that_old_releases_expect(
    tmp_path: Path, data_format: str, space: spaces.Space[Any], values: Any, expected: str
) -> None:
    observations, pair = {"part": values, "pair": (values, values)}, spaces.Tuple((space, space))
    storage = new(tmp_path, data_format, observations, spaces.Dict({"part": space, "pair": pair}))
    for place in (("part",), ("pair", "0"), ("pair", "1")):
        assert type_of(storage, "observations", *place) == expected
    assert_same(episode_of(storage)["observations"], observations, "observations")


def test_rows_are_one_more_than_steps(tmp_path: Path, data_format: str) -> None:
    space = spaces.Dict({"force": VECTOR, "say": spaces.Text(4)})
    actions = {"force": np.ones((3, 2), np.float32), "say": ["a", "b", "c"]}
    infos = {"tick": np.arange(4.0).reshape(4, 1), "count": np.arange(4), "name": ["w", "x", "y", "z"]}
    flags = {"terminations": np.array([False, False, True])}
    table = table_of(new(tmp_path, data_format, of=space, actions=actions, infos=infos, **flags))
    assert table.schema.names == ["observations", "actions", "rewards", "terminations", "truncations", "infos"]
    assert table.num_rows == 4
    third, last = table.slice(2).to_pylist()
    same = {"observations": [1.0, 1.0], "truncations": False}
    assert third == {
        **same,
        "actions": {"force": [1.0, 1.0], "say": "c"},
        "rewards": 2.0,
        "terminations": True,
        "infos": {"count": 2, "name": "y", "tick": [2.0]},
    }
    assert last == {
        **same,
        "actions": {"force": [0.0, 0.0], "say": None},
        "rewards": 0.0,
        "terminations": False,
        "infos": {"count": 3, "name": "z", "tick": [3.0]},
    }
    struct = table.schema.field("infos").type
    assert struct[struct.get_field_index("tick")].metadata == {b"dtype": b"float64", b"shape": b"1"}
    assert not pa.types.is_fixed_size_list(struct[struct.get_field_index("count")].type)


def test_types_are_widened_and_come_back(tmp_path: Path, data_format: str) -> None:
    given = {"rewards": np.array([1, 0, -1]), "actions": np.array([0, 1, 2], np.uint8)}
    observations = np.ones((4, 2), np.float16)
    wide = spaces.Box(-1.0, 1.0, (2,), np.float64)
    storage = new(tmp_path, data_format, observations, wide, spaces.Discrete(3), **given)
    types = [type_of(storage, name) for name in ("rewards", "actions", "observations")]
    assert types == ["double", "int64", "fixed_size_list<item: double>[2]"]
    for name, values in {**given, "observations": observations}.items():
        assert_same(episode_of(storage)[name], values, name)


@pytest.mark.parametrize(
    "rewards",
    [
        np.array([2**53 + 1, 0, 0]),
        np.array([2**64 - 1, 0, 1], np.uint64),
        np.array([-(2**63), 2**63 - 1, 0]),
        np.array([1.5, np.nan, -np.inf], np.longdouble) / 3,
    ],
)
def test_no_type_is_widened_at_the_cost_of_a_value(tmp_path: Path, data_format: str, rewards: Any) -> None:
    assert_same(episode_of(new(tmp_path, data_format, rewards=rewards))["rewards"], rewards, "rewards")


def test_fields_follow_those_of_stored_episodes(tmp_path: Path, data_format: str) -> None:
    space = spaces.Dict({"a": VECTOR, "b": spaces.Discrete(9)})
    given = {"a": ONES, "b": np.arange(4)}
    storage = new(tmp_path, data_format, given, space, infos={"y": np.arange(4.0), "x": np.arange(4)})
    table = table_of(storage)
    assert [field.name for field in table.schema.field("observations").type] == ["a", "b"]
    for name in ("observations", "infos"):  # as a program writes it that keeps the order of its dicts
        column = table[name].combine_chunks()
        column = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
        names = [field.name for field in column.type][::-1]
        arrays = [column.field(key).cast(pa.int32()) if key == "b" else column.field(key) for key in names]
        table = table.set_column(table.schema.names.index(name), name, pa.StructArray.from_arrays(arrays, names=names))
    write_table(storage, table)
    infos = [
        {"x": np.arange(4, dtype=np.int8), "new": np.arange(4), "y": np.arange(4)},
        {"y": np.arange(4) * 1j, "x": np.array(list("abcd"), object)},
    ]
    for each in infos:
        storage.update_episodes([plain_buffer(given, actions=NO_ACTIONS, infos=each)])
    for index in (0, 1, 2):
        assert [field.name for field in table_of(storage, index).schema.field("observations").type] == ["b", "a"]
        assert_same(episode_of(storage, index)["observations"], given, "observations")
    assert type_of(storage, "observations", "b", index=1) == "int32"
    assert [field.name for field in table_of(storage, 1).schema.field("infos").type] == ["y", "x", "new"]
    assert type_of(storage, "infos", "y", index=1) == "double"
    for index, each in enumerate(infos, 1):
        assert_same(episode_of(storage, index)["infos"], each, "infos")


def test_columns_without_a_row_for_each_step_are_whole(tmp_path: Path, data_format: str) -> None:
    space = spaces.Dict({"seen": spaces.Sequence(VECTOR), "void": spaces.Box(-1, 1, (0, 2), np.float32)})
    # As many elements as steps: whether a column is one must not be guessed from its length.
    seen = [(np.ones(2, np.float32),)] * 2 + [()] + [(np.zeros(2, np.float32), np.ones(2, np.float32))]
    ragged = [np.arange(size) for size in (1, 0, 2, 1)]
    observations = {"void": np.empty((4, 0, 2), np.float32), "seen": seen}
    storage = new(
        tmp_path, data_format, observations, space, infos={"ragged": ragged, "void": np.empty((4, 0), np.int8)}
    )
    table = table_of(storage)
    assert table.schema.names[-1] == "ragged"
    first, *others = table.column("ragged").to_pylist()
    assert first["infos"]["ragged"]["_ragged_values"] == [0, 0, 1, 0]
    assert first["observations"]["void"] == [None] * 4
    assert all(row["infos"] == {"ragged": {"_ragged_values": []}, "void": []} for row in others)
    episode = episode_of(storage)
    assert_same(episode["observations"], {"seen": seen, "void": observations["void"]}, "observations")
    assert_same(list(episode["infos"]["ragged"]), ragged, "ragged")
    assert episode["infos"]["void"].shape == (4, 0)


def test_rows_of_another_shape_are_damage(tmp_path: Path, data_format: str) -> None:
    storage = MinariStorage.read(store(tmp_path, data_format, TRUTHS[:1]))
    x = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(9, np.float32)), 3)
    struct = pa.StructArray.from_arrays([pa.array(["a"] * 3), x], names=["t", "x"])
    write_table(storage, table_of(storage).set_column(0, "observations", struct))
    with pytest.raises(DatasetCorruptError, match=f"{part_of(storage)} does not fit the spaces"):
        read_all(storage.data_path)


# Metadata of episodes


def test_episode_metadata_is_json_with_dtypes_beside(tmp_path: Path, data_format: str) -> None:
    options = {
        "state": {"qpos": np.float32([[0.1, 0.2]]), "empty": np.empty((0, 3)), "level": 3},
        "gain": np.float16(0.1),
        "half": np.complex64([1 + 2j, complex(math.nan, math.inf)]),
        "whole": np.int64(2**62),
        "flag": np.True_,
        "names": ["a", None],
    }
    storage = new(tmp_path, data_format, seed=2**64 - 1, options=options)
    stored = json.loads((storage.data_path / "0" / "metadata.json").read_text(encoding="utf-8"))
    assert list(stored)[:4] == ["id", "total_steps", "seed", "options"]
    assert (stored["id"], stored["total_steps"], stored["seed"]) == (0, 3, 2**64 - 1)
    assert stored["options"]["state"] == {"qpos": np.float32([[0.1, 0.2]]).tolist(), "empty": [], "level": 3}
    assert stored["options"]["flag"] is True
    dtypes = stored["_dtypes"]["options"]
    assert dtypes["state"] == {"qpos": ["float32", [1, 2]], "empty": ["float64", [0, 3]]}
    assert dtypes["gain"] == ["float16", []]
    (metadata,) = storage.get_episode_metadata([0])
    assert metadata.keys() == {"id", "total_steps", "seed", "options"}
    assert_same(metadata["options"], {**options, "whole": 2**62, "flag": True}, "options")


@pytest.mark.parametrize("value", [{"_dtypes": 1}, {"deep": np.longdouble([1])}])
def test_metadata_that_json_cannot_hold_is_refused(tmp_path: Path, data_format: str, value: dict[str, Any]) -> None:
    if isinstance(value.get("deep"), np.ndarray) and value["deep"].itemsize <= 8:
        pytest.skip("this system has no extended precision")
    storage = new(tmp_path, data_format)
    with pytest.raises(MetadataError, match=r"_dtypes|float64"):
        storage.update_episode_metadata([value])
    assert list(storage.get_episode_metadata([0])) == [{"id": 0, "total_steps": 3}]


def test_metadata_is_changed_without_touching_the_tables(tmp_path: Path, data_format: str) -> None:
    data_path = store(tmp_path, data_format)
    before = {part: part.stat().st_ino for part in data_path.glob("*/part-*")}
    MinariStorage.read(data_path).update_episode_metadata([{"note": index} for index in range(4)])
    assert {part: part.stat().st_ino for part in data_path.glob("*/part-*")} == before
    metadata = json.loads((data_path / "3" / "metadata.json").read_text())
    assert metadata.pop("_checksums")["rows"] == 6
    assert metadata == {"id": 3, "total_steps": 5, "note": 3}


# Directories


def test_leftovers_of_killed_writers_are_ignored_and_overwritten(tmp_path: Path, data_format: str) -> None:
    data_path = store(tmp_path, data_format)
    (data_path / "4").mkdir()
    (data_path / "4" / "part-0.tmp").write_bytes(b"half")
    shutil.copytree(data_path / "2", data_path / "5")
    (data_path / ".staged" / "4").mkdir(parents=True)
    (data_path / ".staged" / "9").mkdir()
    assert_holds(data_path, TRUTHS)
    MinariStorage.read(data_path).update_episodes([as_buffer(TRUTHS[1])])
    assert_holds(data_path, [*TRUTHS, TRUTHS[1]])
    assert {file.name for file in (data_path / "4").iterdir()} == {"metadata.json", f"part-0.{data_format}"}
    assert {entry.name for entry in data_path.iterdir()} == {*"012345", "metadata.json", ".lock"}


def test_stored_size_is_that_of_the_files(tmp_path: Path, data_format: str) -> None:
    noise = {"noise": np.random.default_rng(0).random((6, 60_000))}
    storage = MinariStorage.read(store(tmp_path, data_format))
    for _ in range(3):
        storage.update_episodes([as_buffer(draw_truth(OBSERVATIONS, ACTIONS, 5, 1, noise))])
        storage.update_episodes([as_continuation(TRUTHS[0], TRUTHS[2], 0, OBSERVATIONS, ACTIONS)[1]])
        storage.update_episode_metadata([{"long": "x" * 200_000}], [1])
        MinariStorage.read(storage.data_path).update_episodes([as_buffer(TRUTHS[0])])
    size = sum(file.stat().st_size for file in storage.data_path.glob("*/*") if file.is_file()) / 1e6
    assert size > 8
    assert storage.metadata["dataset_size"] == round(size, 1)


# Memory


def mapped_file(array: Any) -> str:
    """The file that the memory of an array is a map of."""
    address = array.__array_interface__["data"][0]
    for line in MAPS.read_text().splitlines():
        begin, end = (int(place, 16) for place in line.split()[0].split("-"))
        if begin <= address < end:
            return line
    return ""


@pytest.mark.skipif(not MAPS.exists(), reason="what is mapped is read from Linux's /proc")
def test_views_of_large_arrow_files_are_their_maps(tmp_path: Path) -> None:
    space, steps = spaces.Box(-np.inf, np.inf, (8,), np.float64), 20_000
    buffers = [plain_buffer(np.full((steps + 1, 8), float(number))) for number in range(2)]
    storage = MinariStorage.read(store(tmp_path, "arrow", buffers, space, ACTIONS))
    before, descriptors = pa.total_allocated_bytes(), Path("/proc/self/fd")
    open_files = len(list(descriptors.iterdir()))
    kept = [list(storage.get_episodes([0, 1], copy=False)) for _ in range(20)]  # at first through pyarrow
    assert pa.total_allocated_bytes() - before <= 40 * 2.1 * steps  # the flags, which are bits in the file
    assert len(list(descriptors.iterdir())) == open_files
    for episodes in (kept[0], kept[-1]):
        for index, episode in enumerate(episodes):
            assert (episode["observations"] == index).all()
            for name in ("observations", "actions", "rewards"):
                assert str(part_of(storage, index)) in mapped_file(episode[name])
                assert not episode[name].flags.writeable


READING = r"""
    import re, sys
    from pathlib import Path
    from minari.dataset.minari_storage import MinariStorage

    def resident(key):
        return int(re.search(rf"^{key}:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)[1]) / 1024

    storage = MinariStorage.read(sys.argv[1])
    for index, episode in enumerate(storage.get_episodes(range(4))):  # what is used for the first time
        episode["observations"].sum()
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    for index, episode in enumerate(storage.get_episodes(range(storage.total_episodes))):
        assert (episode["observations"] == index).all()
    print(resident("VmHWM") - before)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from Linux's /proc")
def test_iterating_holds_an_episode_or_two(tmp_path: Path, data_format: str) -> None:
    space = spaces.Box(-np.inf, np.inf, (20,), np.float64)
    buffers = (plain_buffer(np.full((20_001, 20), float(number))) for number in range(40))  # 3.7 MB each
    data_path = store(tmp_path, data_format, buffers, space, ACTIONS)  # type: ignore[arg-type]
    assert float(run(READING, str(data_path))) < 40
