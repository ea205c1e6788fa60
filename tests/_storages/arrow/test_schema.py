"""The tables as other programs see them, and what comes out of them again."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from minari.dataset.episode_buffer import EpisodeBuffer
from minari.dataset.minari_storage import MinariStorage
from minari.errors import MetadataError
from minari.testing.comparison import assert_same


pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

VECTOR = spaces.Box(-1.0, 1.0, (2,), np.float32)
FLAGS = {"terminations": np.array([False, False, True]), "truncations": np.zeros(3, np.bool_)}

both_formats = pytest.mark.parametrize("data_format", ["arrow", "parquet"])


def store(
    directory: Path,
    data_format: str,
    observations: Any,
    space: spaces.Space[Any],
    actions: Any = None,
    action_space: spaces.Space[Any] | None = None,
    **fields: Any,
) -> MinariStorage:
    """A storage with one episode of three steps."""
    storage = MinariStorage.new(directory / "data", space, action_space or VECTOR, data_format=data_format)
    append(storage, observations, actions, **fields)
    return storage


def append(storage: MinariStorage, observations: Any, actions: Any = None, **fields: Any) -> None:
    actions = np.zeros((3, 2), np.float32) if actions is None else actions
    rewards = fields.pop("rewards", np.arange(3.0))
    buffer = EpisodeBuffer(observations=observations, actions=actions, rewards=rewards, **FLAGS, **fields)
    storage.update_episodes([buffer])


def table_of(storage: MinariStorage, index: int = 0) -> Any:
    file = storage.data_path / str(index) / f"part-0.{storage.FORMAT}"
    return (
        pq.ParquetFile(file).read() if storage.FORMAT == "parquet" else pa.ipc.open_file(file.read_bytes()).read_all()
    )


def type_of(storage: MinariStorage, *names: str, index: int = 0) -> str:
    """The Arrow type at a place in the table, without the names that the formats give to elements."""
    field: Any = table_of(storage, index).schema.field(names[0])
    for name in names[1:]:
        field = field.type[field.type.get_field_index(name)]
    return str(field.type).replace("element: ", "item: ")


@both_formats
@pytest.mark.parametrize(
    ("space", "values", "expected"),
    [
        (VECTOR, np.ones((4, 2), np.float32), "fixed_size_list<item: float>[2]"),
        (spaces.Box(-1, 1, (2, 3), np.float64), np.ones((4, 2, 3)), "fixed_size_list<item: double>[6]"),
        (spaces.Box(-1, 1, (), np.float32), np.ones(4, np.float32), "fixed_size_list<item: float>[1]"),
        (spaces.MultiDiscrete([3, 4]), np.ones((4, 2), np.int64), "fixed_size_list<item: int64>[2]"),
        (spaces.MultiBinary(5), np.ones((4, 5), np.int8), "fixed_size_list<item: int8>[5]"),
        (spaces.Discrete(5), np.arange(4), "int64"),
        (spaces.Discrete(200, dtype=np.uint8), np.arange(4, dtype=np.uint8), "int64"),
        (spaces.Text(4), ["a", "bb", "ccc", "d"], "string"),
    ],
)
def test_types(tmp_path: Path, data_format: str, space: spaces.Space[Any], values: Any, expected: str) -> None:
    """The types expected by the 0.5 releases for a space, alone, in a Dict and in a Tuple."""
    observations = spaces.Dict({"part": space, "pair": spaces.Tuple((space, space))})
    storage = store(tmp_path, data_format, {"part": values, "pair": (values, values)}, observations)
    assert type_of(storage, "observations", "part") == expected
    assert type_of(storage, "observations", "pair", "0") == expected
    assert type_of(storage, "observations", "pair", "1") == expected
    (episode,) = storage.get_episodes([0])
    assert_same(episode["observations"], {"part": values, "pair": (values, values)}, "observations")


@both_formats
def test_rows(tmp_path: Path, data_format: str) -> None:
    """T+1 rows: what has T values is filled up with one more."""
    space = spaces.Dict({"force": VECTOR, "say": spaces.Text(4)})
    actions = {"force": np.ones((3, 2), np.float32), "say": ["a", "b", "c"]}
    infos = {"tick": np.arange(4.0).reshape(4, 1), "count": np.arange(4), "name": ["w", "x", "y", "z"]}
    storage = store(tmp_path, data_format, np.ones((4, 2), np.float32), VECTOR, actions, space, infos=infos)
    table = table_of(storage)
    assert table.schema.names == ["observations", "actions", "rewards", "terminations", "truncations", "infos"]
    assert table.num_rows == 4
    assert table.slice(2).to_pylist() == [
        {
            "observations": [1.0, 1.0],
            "actions": {"force": [1.0, 1.0], "say": "c"},
            "rewards": 2.0,
            "terminations": True,
            "truncations": False,
            "infos": {"count": 2, "name": "y", "tick": [2.0]},
        },
        {
            "observations": [1.0, 1.0],
            "actions": {"force": [0.0, 0.0], "say": None},
            "rewards": 0.0,
            "terminations": False,
            "truncations": False,
            "infos": {"count": 3, "name": "z", "tick": [3.0]},
        },
    ]
    struct = table.schema.field("infos").type
    assert struct[struct.get_field_index("tick")].metadata == {b"dtype": b"float64", b"shape": b"1"}
    assert not pa.types.is_fixed_size_list(struct[struct.get_field_index("count")].type)


@both_formats
def test_types_are_widened_and_come_back(tmp_path: Path, data_format: str) -> None:
    """Whole rewards and small integers are stored with the types that other programs write."""
    rewards, actions = np.array([1, 0, -1]), np.array([0, 1, 2], np.uint8)
    observations = np.ones((4, 2), np.float16)
    wide = spaces.Box(-1.0, 1.0, (2,), np.float64)
    storage = store(tmp_path, data_format, observations, wide, actions, spaces.Discrete(3), rewards=rewards)
    assert type_of(storage, "rewards") == "double"
    assert type_of(storage, "actions") == "int64"
    assert type_of(storage, "observations") == "fixed_size_list<item: double>[2]"
    (episode,) = storage.get_episodes([0])
    for name, given in {"rewards": rewards, "actions": actions, "observations": observations}.items():
        assert_same(episode[name], given, name)


@both_formats
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
    storage = store(tmp_path, data_format, np.ones((4, 2), np.float32), VECTOR, rewards=rewards)
    (episode,) = storage.get_episodes([0])
    assert_same(episode["rewards"], rewards, "rewards")


@both_formats
def test_episodes_follow_those_before_them(tmp_path: Path, data_format: str) -> None:
    """Fields in the order of the stored episodes, and of their types where these hold the values."""
    space = spaces.Dict({"a": VECTOR, "b": spaces.Discrete(9)})
    given = {"a": np.ones((4, 2), np.float32), "b": np.arange(4)}
    infos = {"y": np.arange(4.0), "x": np.arange(4)}
    storage = store(tmp_path, data_format, given, space, infos=infos)
    assert [field.name for field in table_of(storage).schema.field("observations").type] == ["a", "b"]

    table = table_of(storage)  # now as a program writes it that keeps the order of its dicts
    for name in ("observations", "infos"):
        column = table[name].combine_chunks()
        column = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
        names = [field.name for field in column.type][::-1]
        arrays = [column.field(key).cast(pa.int32()) if key == "b" else column.field(key) for key in names]
        table = table.set_column(table.schema.names.index(name), name, pa.StructArray.from_arrays(arrays, names=names))
    file = storage.data_path / "0" / f"part-0.{data_format}"
    if data_format == "parquet":
        pq.write_table(table, file)
    else:
        with pa.ipc.new_file(str(file), table.schema) as writer:
            writer.write_table(table)

    append(storage, given, infos={"x": np.arange(4, dtype=np.int8), "new": np.arange(4), "y": np.arange(4)})
    append(storage, given, infos={"y": np.arange(4) * 1j, "x": ["a", "b", "c", "d"]})
    for index in (0, 1, 2):
        assert [field.name for field in table_of(storage, index).schema.field("observations").type] == ["b", "a"]
    assert type_of(storage, "observations", "b", index=1) == "int32"
    names = [field.name for field in table_of(storage, 1).schema.field("infos").type]
    assert names == ["y", "x", "new"]
    assert type_of(storage, "infos", "y", index=1) == "double"
    first, second, third = MinariStorage.read(storage.data_path).get_episodes(range(3))
    for episode in (first, second, third):
        assert_same(episode["observations"], given, "observations")
    expected = {"x": np.arange(4, dtype=np.int8), "new": np.arange(4), "y": np.arange(4)}
    assert_same(second["infos"], expected, "infos")
    assert third["infos"]["y"].dtype == np.complex128
    assert third["infos"]["x"].tolist() == ["a", "b", "c", "d"]


@both_formats
def test_what_has_no_row_for_each_step(tmp_path: Path, data_format: str) -> None:
    """Elements of a Sequence and arrays without elements lie in a column of their own, each as a whole."""
    space = spaces.Dict({"seen": spaces.Sequence(VECTOR), "void": spaces.Box(-1, 1, (0, 2), np.float32)})
    # As many elements as steps: whether a column is one must not be guessed from its length.
    seen = [(np.ones(2, np.float32),)] * 2 + [()] + [(np.zeros(2, np.float32), np.ones(2, np.float32))]
    infos = {"ragged": [np.arange(size) for size in (1, 0, 2, 1)], "void": np.empty((4, 0), np.int8)}
    observations = {"seen": seen, "void": np.empty((4, 0, 2), np.float32)}
    storage = store(tmp_path, data_format, observations, space, infos=infos)
    table = table_of(storage)
    assert table.schema.names[-1] == "ragged"
    first, *others = table.column("ragged").to_pylist()
    assert first["infos"]["ragged"]["_ragged_values"] == [0, 0, 1, 0]
    assert first["observations"]["void"] == [None] * 4
    assert all(row["infos"] == {"ragged": {"_ragged_values": []}, "void": []} for row in others)
    (episode,) = MinariStorage.read(storage.data_path).get_episodes([0])
    assert_same(episode["observations"], observations, "observations")
    assert_same(list(episode["infos"]["ragged"]), infos["ragged"], "ragged")
    assert_same(episode["infos"]["void"], infos["void"], "void")


@both_formats
def test_infos_whose_keys_are_numbers(tmp_path: Path, data_format: str) -> None:
    """A dict with the keys of a tuple stays a dict, and a tuple a tuple."""
    infos = {
        "dict": {"0": np.arange(4), "1": np.arange(4.0)},
        "tuple": (np.arange(4), np.arange(4.0)),
        "other": {"1": np.arange(4), "2": np.arange(4.0)},
        "0": np.ones((4, 2), np.bool_),
    }
    storage = store(tmp_path, data_format, np.ones((4, 2), np.float32), VECTOR, infos=infos)
    (episode,) = storage.get_episodes([0])
    assert_same(episode["infos"], infos, "infos")


def test_arrow_arrays_are_views(tmp_path: Path) -> None:
    """Nothing is copied: the file of a long episode is mapped, and closed as soon as it is."""
    steps = 200_000
    space = spaces.Box(-np.inf, np.inf, (20,), np.float64)
    storage = MinariStorage.new(tmp_path / "data", space, spaces.Discrete(9), data_format="arrow")
    rewards = np.arange(float(steps))
    buffer = EpisodeBuffer(
        observations=np.arange(20.0 * (steps + 1)).reshape(-1, 20),
        actions=np.arange(steps) % 9,
        rewards=rewards,
        terminations=np.zeros(steps, np.bool_),
        truncations=np.zeros(steps, np.bool_),
    )
    storage.update_episodes([buffer])
    before = pa.total_allocated_bytes()
    open_files = _open_files()
    kept = [next(iter(storage.get_episodes([0], copy=False))) for _ in range(40)]
    assert pa.total_allocated_bytes() - before <= 40 * 2.1 * steps  # the flags, which are bits in the file
    assert _open_files() == open_files
    assert np.array_equal(kept[-1]["observations"], buffer.observations)
    assert np.array_equal(kept[-1]["rewards"], rewards)
    for name in ("observations", "actions", "rewards"):
        assert not kept[0][name].flags.owndata
        assert not kept[0][name].flags.writeable


def _open_files() -> int:
    descriptors = Path("/proc/self/fd")
    return len(list(descriptors.iterdir())) if descriptors.is_dir() else 0


@both_formats
def test_episode_metadata_are_plain_json(tmp_path: Path, data_format: str) -> None:
    """Any program reads them; what JSON does not know of a value is said beside."""
    options = {
        "state": {"qpos": np.float32([[0.1, 0.2]]), "empty": np.empty((0, 3)), "level": 3},
        "gain": np.float16(0.1),
        "half": np.complex64([1 + 2j, complex(math.nan, math.inf)]),
        "whole": np.int64(2**62),
        "flag": np.True_,
        "names": ["a", None],
    }
    storage = store(tmp_path, data_format, np.ones((4, 2), np.float32), VECTOR, seed=2**64 - 1, options=options)
    file = storage.data_path / "0" / "metadata.json"
    stored = json.loads(file.read_text(encoding="utf-8"))
    assert list(stored)[:4] == ["id", "total_steps", "seed", "options"]
    assert (stored["id"], stored["total_steps"], stored["seed"]) == (0, 3, 2**64 - 1)
    assert stored["options"]["state"] == {"qpos": np.float32([[0.1, 0.2]]).tolist(), "empty": [], "level": 3}
    assert stored["options"]["flag"] is True
    assert stored["_dtypes"]["options"]["state"] == {"qpos": ["float32", [1, 2]], "empty": ["float64", [0, 3]]}
    assert stored["_dtypes"]["options"]["gain"] == ["float16", []]
    (metadata,) = storage.get_episode_metadata([0])
    assert metadata.keys() == {"id", "total_steps", "seed", "options"}
    assert_same(metadata["options"], {**options, "whole": 2**62, "flag": True}, "options")


@both_formats
@pytest.mark.parametrize("value", [{"_dtypes": 1}, {"deep": np.longdouble([1])}])
def test_episode_metadata_that_are_refused(tmp_path: Path, data_format: str, value: dict[str, Any]) -> None:
    if isinstance(value.get("deep"), np.ndarray) and value["deep"].itemsize <= 8:
        pytest.skip("this system has no extended precision")
    storage = store(tmp_path, data_format, np.ones((4, 2), np.float32), VECTOR)
    with pytest.raises(MetadataError, match=r"_dtypes|float64"):
        storage.update_episode_metadata([value])
    (metadata,) = storage.get_episode_metadata([0])
    assert metadata == {"id": 0, "total_steps": 3}
