"""Info dicts of any shape as columns and back; `minari.testing` asserts the usual ones in every format."""

from __future__ import annotations

import copy
import datetime
import enum
import pickle
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

import minari
from minari._model.infos import decode_infos, encode_infos
from minari._model.infos.values import ABSENT
from minari.data_collector import EpisodeBuffer
from minari.errors import DatasetCorruptError, EpisodeError, EpisodeTypeError
from minari.spaces import object_column
from minari.testing.comparison import assert_same
from minari.testing.examples import INFOS
from support.scripted import PLANE, buffer_of


class Fruit(enum.Enum):
    APPLE = "apple"
    PEAR = 2


class Name(str):
    """Text with a class of its own."""


def objects(*values: Any) -> Any:
    return object_column(list(values))


def there_and_back(infos: dict[Any, Any], rows: int = 3) -> dict[Any, Any]:
    return decode_infos(encode_infos(infos, rows))


def names(infos: dict[Any, Any]) -> set[str]:
    return {"/".join(map(str, path)) for path in encode_infos(infos, 3)}


@pytest.mark.parametrize("name", [name for name in INFOS if name != "slash"])
def test_what_was_read_can_be_stored_again(name: str) -> None:
    """Masks come along and are not doubled."""
    assert_same(there_and_back(INFOS[name][1]), INFOS[name][1])


def test_absent_is_one_object() -> None:
    assert copy.deepcopy(ABSENT) is copy.copy(ABSENT) is pickle.loads(pickle.dumps(ABSENT)) is ABSENT
    assert repr(ABSENT) == "<absent>"


# Types that neither NumPy's numbers nor JSON have

STRUCTURE = np.dtype([("id", np.int16), ("at", np.float32, (2,)), ("name", "S3")], align=True)
RECORDS = np.array([(7, (0.5, 1.5), b"ab"), (-1, (2.5, 3.5), b"")], STRUCTURE)
NOON = datetime.datetime(2024, 1, 1, 12, tzinfo=datetime.timezone(datetime.timedelta(hours=2)))
DAY = np.datetime64("2024-02-29")

#: Three values, and what they are read as.
TYPED: dict[str, tuple[list[Any], Any]] = {
    "bytes": ([b"ab", b"c\0", b""], objects(b"ab", b"c\0", b"")),
    "bytes-of-numpy": ([np.bytes_(b"ab"), np.bytes_(b"c"), np.bytes_(b"")], np.array([b"ab", b"c", b""])),
    "void": ([np.void(b"a\0")] * 3, np.array([b"a\0"] * 3, "V2")),
    "arrays-of-bytes": ([np.array([b"a", b"bc"])] * 3, np.array([[b"a", b"bc"]] * 3)),
    "structures": ([RECORDS] * 3, np.stack([RECORDS] * 3)),
    "one-structure": ([RECORDS[0], RECORDS[1], RECORDS[0]], RECORDS[[0, 1, 0]]),
    "dates": ([DAY, np.datetime64("NaT", "D"), DAY], np.array(["2024-02-29", "NaT", "2024-02-29"], "M8[D]")),
    "dates-of-several-units": (
        [DAY, np.datetime64("2024-02-29T12:30"), np.datetime64("2025")],
        np.array(["2024-02-29T00:00", "2024-02-29T12:30", "2025-01-01T00:00"], "M8[m]"),
    ),
    "spans": ([np.timedelta64(i, "25s") for i in range(3)], np.arange(3).astype("m8[25s]")),
    "arrays-of-dates": ([np.array(["2024", "2025"], "M8[Y]")] * 3, np.array([["2024", "2025"]] * 3, "M8[Y]")),
    "datetimes": (
        [datetime.datetime(2024, 1, 1, hour) for hour in range(3)],
        np.array([f"2024-01-01T0{hour}" for hour in range(3)], "M8[us]"),
    ),
    "datetimes-with-a-zone": ([NOON] * 3, np.array(["2024-01-01T10"] * 3, "M8[us]")),
    "days": ([datetime.date(2024, 1, day) for day in (1, 2, 3)], np.arange("2024-01-01", "2024-01-04", dtype="M8[D]")),
    "durations": ([datetime.timedelta(seconds=i) for i in range(3)], np.arange(3).astype("m8[s]").astype("m8[us]")),
    "sets": ([{3, 1}, frozenset({2, 9}), {5, 4}], np.array([[1, 3], [2, 9], [4, 5]])),
    "sets-of-text": ([{"b", "a"}, set(), {"c"}], objects(["a", "b"], [], ["c"])),
    "sets-of-anything": ([{1, "a"}] * 3, objects([1, "a"], [1, "a"], [1, "a"])),
    "enumerations": ([Fruit.APPLE, Fruit.APPLE, Fruit.APPLE], objects("apple", "apple", "apple")),
    "mixed-enumerations": ([Fruit.APPLE, Fruit.PEAR, None], objects("apple", 2, None)),
    "subclass-of-text": ([Name("x"), "y", np.str_("z")], objects("x", "y", "z")),
    "flags-that-turn-into-floats": ([True, np.float64(0.5), False], np.array([1.0, 0.5, 0.0])),
    "bytes-and-text": ([b"a", "a", 1j], objects(b"a", "a", 1j)),
    "bytes-inside": ([[b"a\0", {"d": np.datetime64(1, "s")}], {1: b""}, {"_type": "bytes"}], None),
    "big-endian": ([np.arange(2, dtype=">i4")] * 3, np.array([[0, 1]] * 3, np.int32)),
    "pairs": ([(1, "a"), (2, "b"), (3, "c")], (np.arange(1, 4), objects("a", "b", "c"))),
    "memory": ([memoryview(b"ab"), memoryview(b"cd"), memoryview(b"ef")], np.frombuffer(b"abcdef", "u1").reshape(3, 2)),
    "arrays-without-dimensions": ([np.array(0.5), 1.5, np.float64(2.5)], np.array([0.5, 1.5, 2.5])),
    # They share an array where one dtype holds them all exactly.
    "ints-and-floats": ([1, 2.5, 3], np.array([1, 2.5, 3])),
    "small-ints": ([np.int8(1), np.int32(2), 3], np.array([1, 2, 3])),
    "half-floats": ([np.float32(0.5), np.float16(1), np.nan], np.array([0.5, 1, np.nan])),
    "lists-and-arrays": ([[1, 2], (3, 4), np.array([5, 6])], np.array([[1, 2], [3, 4], [5, 6]])),
    "large-ints": ([np.uint64(2**64 - 1), np.uint64(0), np.uint64(1)], np.array([2**64 - 1, 0, 1], np.uint64)),
}


@pytest.mark.parametrize("name", TYPED)
def test_values_of_many_types_come_back(name: str) -> None:
    given, expected = TYPED[name]
    expected = objects(*given) if expected is None else expected
    read = there_and_back({"x": given})["x"]
    assert_same(read, expected)
    assert_same(there_and_back({"x": read})["x"], expected)
    if name not in ("bytes-inside", "bytes-and-text"):
        infos = there_and_back({"x": [*given, ABSENT]}, 4)
        assert infos["_x"].tolist() == [True, True, True, False]
        parts = zip(infos["x"], expected, strict=True) if isinstance(expected, tuple) else [(infos["x"], expected)]
        for part, wanted in parts:
            assert_same(part[:3], wanted)


@pytest.mark.parametrize(
    "value", [np.ones(2, np.float32), np.float32(1), b"a", np.datetime64("2024"), np.array([b"a"]), np.True_]
)
def test_none_before_what_json_does_not_know_is_masked(value: Any) -> None:
    infos = there_and_back({"x": [None, value, None]})
    assert infos["_x"].tolist() == [False, True, False]
    assert_same(infos["x"][1], value if isinstance(value, bytes) else np.asarray(value)[()])


def test_ragged_arrays_come_back_with_shape_and_dtype() -> None:
    dates = [np.array(["2024"], "M8[D]"), np.zeros((2, 0), "M8[D]"), np.zeros(2, "M8[D]")]
    infos = {"x": [RECORDS[:1], ABSENT, RECORDS], "d": dates, "n": [np.ones(2), ABSENT, np.ones((1, 2))]}
    assert {"infos/n/_ragged_values", "infos/n/_ragged_shapes", "infos/_n"} <= names(infos)
    read = there_and_back(infos)
    assert read["_x"].tolist() == read["_n"].tolist() == [True, False, True]
    for found, expected in zip(read["x"], (RECORDS[:1], RECORDS[:0], RECORDS), strict=True):
        assert_same(found, expected)
    assert [value.shape for value in read["n"]] == [(2,), (0,), (1, 2)]
    assert [date.shape for date in read["d"]] == [(1,), (2, 0), (2,)]
    assert {date.dtype for date in read["d"]} == {np.dtype("M8[D]")}


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("_dtype=S3", np.zeros((3, 2), np.uint8)),
        ("_dtype=S3", np.zeros((3, 3), np.int8)),
        ("_dtype=V2", np.zeros(3, np.uint8)),
        ("_dtype=datetime64[s]", np.zeros(3, np.int32)),
        ("_dtype=datetime64[s]", objects("a", "b", "c")),
        ("_dtype=datetime64[s]", objects(b"a", b"b", b"c")),
    ],
)
def test_damaged_typed_columns_are_named(name: str, column: Any) -> None:
    with pytest.raises(DatasetCorruptError, match="infos/x"):
        decode_infos({("infos", "x", name): column})


@pytest.mark.parametrize(
    "name",
    [
        *("O", "object", "S0", "S9999999", "datetime64[century]", "{", "{}"),
        '{"fields": [], "size": 0}',
        '{"fields": [["a", "O", [], 0]], "size": 8}',
        '{"fields": [["a", "int32", [], 6]], "size": 8}',
        '{"fields": [["a", "int32", [-1], 0]], "size": 8}',
        '{"fields": [["a", "int32", [1000000, 1000000], 0]], "size": 8}',
        '{"fields": [["a", "int32", [], 0], ["a", "int32", [], 4]], "size": 8}',
        '{"fields": 3, "size": 8}',
        '{"fields": [3], "size": 8}',
    ],
)
def test_names_of_dtypes_come_from_a_closed_list(name: str) -> None:
    read = decode_infos({("infos", "x", f"_dtype={name}"): np.zeros((3, 8), np.uint8)})
    assert read["x"].keys() == {f"_dtype={name}"}


# Columns


ONE_BY_ONE: list[list[Any]] = [
    *([0.5, -0.0, np.nan], [1, 2, -3], [1, 2**63, 2], [2**63, 2**64 - 1, 2**63], [1, 2**70, 2]),
    *([True, False, True], [1j, 2j, 3j], [np.float64(1), 1.0, 2.0], [np.float32(1), np.float64(1), np.float32(2)]),
    *([np.dtype(name).type(1)] * 3 for name in ("?", "b", "H", "i8", "e", "f", "d", "g", "F", "D")),
    *([np.full((2, 1), number, name) for number in range(3)] for name in ("?", "i1", "f4", ">f8", "D")),
    *([np.array(1), np.array(2), np.array(3)], [np.array(None), np.array(1), np.array(2)]),
    *([np.zeros(0)] * 3, [np.zeros((2, 0, 3), np.int8)] * 3, [np.zeros(2), np.zeros(2, np.float32), np.zeros(2)]),
    *([np.zeros(2), np.zeros(3), np.zeros(2)], [np.zeros(2), np.float64(1), 2.0], [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]),
    *([np.array("a"), np.array("b"), np.array("c")], [np.str_("a"), np.str_("b"), np.str_("c")]),
]


@pytest.mark.parametrize("values", ONE_BY_ONE, ids=repr)
def test_values_of_one_type_become_what_they_become_one_by_one(values: list[Any]) -> None:
    """They are made an array at once; where a step does not have the key, they are looked at singly."""

    def columns(values: list[Any]) -> Any:
        try:
            return encode_infos({"x": values}, len(values))
        except EpisodeTypeError as error:
            return str(error)

    at_once, singly = columns(values), columns([*values, ABSENT])
    if isinstance(singly, str):
        assert at_once == singly
        return
    assert at_once.keys() == singly.keys() - {("infos", "_x")}
    for path, column in at_once.items():
        assert_same(column, singly[path][: len(column)])


@pytest.mark.parametrize(
    "values",
    [
        *([True, 1, 2], [[True, 1], [0, 2], [1, 1]], [np.uint64(2**64 - 1), -1, 0], [2**53 + 1, 0.5, 0]),
        *([1, "1", None], [["a"], ["b", "c"], []], [{"a": [1]}, {}, {"b": None}], [None, None, None], [[], [1], [2]]),
    ],
)
def test_values_that_no_array_holds_exactly_become_json(values: list[Any]) -> None:
    assert names({"x": values}) == {"infos/x/_json"}
    read = there_and_back({"x": values})["x"].tolist()
    assert read == values
    assert [type(value) for value in read] == [int if isinstance(v, np.generic) else type(v) for v in values]


def test_arrays_inside_json_become_lists() -> None:
    read = there_and_back({"x": [{"a": np.arange(2)}, np.float64(1), None]})["x"].tolist()
    assert read == [{"a": [0, 1]}, 1.0, None]


def test_masks_are_written_only_where_something_is_absent() -> None:
    whole = {"x": [1, 2, 3], "n": {"y": [1, 2, 3]}, "t": (np.zeros(3),)}
    assert names(whole) == {"infos/x", "infos/n/y", "infos/t/0"}
    assert there_and_back({"n": {}})["n"].tolist() == [{}, {}, {}]
    assert encode_infos({}, 3) == encode_infos(None, 3) == {}
    mask = np.array([True, False, True])  # which may be brought along
    assert_same(there_and_back({"x": [1, ABSENT, 2], "_x": mask}), {"x": np.array([1, 0, 2]), "_x": mask})
    assert_same(there_and_back({"_x": mask, "x": [1, ABSENT, 2]})["_x"], mask)


@pytest.mark.parametrize(
    ("infos", "masks"),
    [
        ({"x": [1, ABSENT, 2], "_x": [1, 2, 3]}, {"_mask:x"}),
        ({"_x": ["a", "b", "c"], "x": [1, ABSENT, 2]}, {"_mask:x"}),
        ({"x": [1, ABSENT, 2], "_x": [4, ABSENT, 5]}, {"_mask:x", "__x"}),
        ({"x": [1, ABSENT, 2], "_x": [4, 5, 6], "_mask:x": [7, 8, 9]}, {"_mask:_mask:x"}),
        ({"x": [1, ABSENT, 2], "_x": {"y": [1, 2, 3]}}, {"_mask:x"}),
        ({"a/b": [1, 2, 3], "a": {"b": [1, 2, 4]}}, set()),
        ({"a": [1, 2, 3], "a/b": [1, 2, 3]}, set()),
        ({"a/b": [1, 2, 3], "a": [1, 2, 3]}, set()),
        ({"a": [1, 2, 3], "a/b": [1, ABSENT, 3], "a/b/c": ["x", "y", "z"]}, {"_a/b"}),
        ({"n": {"a": [1, 2, 3], "a/b": {"c": [1, 2, 3]}}}, set()),
        ({0: [1, ABSENT, 3], "0": [4, 5, 6]}, {"_0"}),
    ],
)
def test_names_that_clash_come_back_and_a_mask_gives_way(infos: dict[Any, Any], masks: set[str]) -> None:
    read = there_and_back(infos)
    assert read.keys() == {*infos, *masks}
    for name in masks:
        assert read[name].tolist() == [True, False, True]

    def compare(found: Any, given: Any) -> None:
        for key, values in given.items():
            if isinstance(values, dict):
                compare(found[key], values)
            else:
                pairs = zip(found[key].tolist(), values, strict=True)
                assert all(value == expected for value, expected in pairs if expected is not ABSENT)

    compare(read, infos)


ODD_KEYS: list[Any] = [
    *("", "/", "a/", "/a", "a//b", ".", "..", "a/../b", "a\0", "\ud800"),
    *("_json", "a/_ragged_values", "_index_3", "_dtype=float32", "_key:3", "a/_key:"),
    *(3, -1.5, None, True, (1, "a", (None,))),
]


@pytest.mark.parametrize("key", ODD_KEYS, ids=repr)
def test_keys_that_no_file_can_hold_come_back(key: Any) -> None:
    given = {"n": {key: np.arange(3), "usual": np.ones(3)}}
    assert_same(there_and_back(given), given)
    (name,) = {path[2] for path in encode_infos(given, 3)} - {"usual"}
    assert str(name).startswith("_key:")
    assert not {"/", "\0"} & set(str(name))


def test_odd_keys_stand_side_by_side() -> None:
    given = {key: np.arange(3) for key in [*ODD_KEYS, "a.b", "_index_", "_index_x", "größe", "_x", "0", "...a"]}
    assert_same(there_and_back(given), given)
    assert there_and_back({np.int8(7): [1, 2, 3]}).keys() == {7}
    for name in ("_key:", "_key:{}", "_key:x"):  # which only look like escaped ones
        assert decode_infos({("infos", name): np.arange(3)}).keys() == {name}
    assert decode_infos({("rewards",): np.zeros(3), ("observations", "infos"): np.zeros(4)}) == {}


CIRCLE: list[Any] = []
CIRCLE.append(CIRCLE)


@pytest.mark.parametrize(
    ("infos", "error", "message"),
    [
        *(
            ({"n": {key: [1, 2, 3]}}, EpisodeTypeError, r"infos/n' have the key .* rename it in a StepDataCallback")
            for key in (object(), frozenset({1}), b"bytes", (1, object()))
        ),
        ({Fruit.PEAR: [1, 2, 3], 2: [1, 2, 3]}, EpisodeError, "rename one of the two"),
        *(
            ({"n": {"x": values}}, EpisodeError, r"'infos/n/x(/0)?' has \d values, expected 3")
            for values in ([1, 2], np.zeros(4), ["a"], (np.zeros(2), np.zeros(2)))
        ),
        *(
            ({"x": values}, EpisodeTypeError, r"'infos/x' is .* expected a list or array")
            for values in (3, "abc", None, iter([1, 2, 3]))
        ),
        *(
            (
                {"n": {"x": ["a", value, None]}},
                EpisodeTypeError,
                r"(?s)'infos/n/x' at step 1 is .* discard_info\('n/x'\)",
            )
            for value in (object(), [1, {"a": object()}], len, Decimal("0.1"), float)
        ),
        ({"x": [CIRCLE, 1, 2]}, EpisodeTypeError, "contains itself"),
    ],
)
def test_infos_that_cannot_be_stored_are_named(infos: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        encode_infos(infos, 3)


# An episode of two steps that is continued by two

A = np.arange(5)
FIRST = np.array([True, True, True, False, False])
THIRD = np.array([True, False, True, True, True])


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ({"a": A[:3]}, {"a": A[3:]}, {"a": A}),
        ({"a": A[:3]}, {"a": [3, 4]}, {"a": A}),
        ({"n": {"a": A[:3]}}, {"n": {"a": A[3:]}}, {"n": {"a": A}}),
        ({"t": (A[:3], A[:3])}, {"t": (A[3:], A[3:])}, {"t": (A, A)}),
        ({"s": ["a", "b", "c"]}, {"s": ["d", "e"]}, {"s": objects(*"abcde")}),
        ({"a": A[:3]}, None, {"a": np.array([0, 1, 2, 0, 0]), "_a": FIRST}),
        ({}, {"a": A[3:]}, {"a": np.array([0, 0, 0, 3, 4]), "_a": ~FIRST}),
        ({"a": A[:3]}, {"a": ["x", None]}, {"a": objects(0, 1, 2, "x", None)}),
        (
            {"a": A[:3]},
            {"a": [np.ones(2), np.ones(1)]},
            {"a": objects(*map(np.array, (0.0, 1.0, 2.0)), np.ones(2), np.ones(1))},
        ),
        (
            {"a": [1, ABSENT, 3]},
            {"a": [4, ABSENT]},
            {"a": np.array([1, 0, 3, 4, 0]), "_a": np.array([True, False, True, True, False])},
        ),
        (
            {"n": {"a": [1, ABSENT, 3]}},
            {"n": {"a": [4, 5]}},
            {"n": {"a": np.array([1, 0, 3, 4, 5]), "_a": THIRD}, "_n": THIRD},
        ),
        ({"n": {"a": A[:3]}}, {"n": [1, 2]}, {"n": objects({"a": 0}, {"a": 1}, {"a": 2}, 1, 2)}),
        ({"s": ["a", ABSENT, ""]}, {"s": ["d", "e"]}, {"s": objects("a", "", "", "d", "e"), "_s": THIRD}),
        # Infos that were read from a dataset bring their masks along.
        (
            {"a": [1, ABSENT, 3]},
            {"a": np.array([4, 0]), "_a": np.array([True, False])},
            {"a": np.array([1, 0, 3, 4, 0]), "_a": np.array([True, False, True, True, False])},
        ),
        # It is no mask where the rows that it would hide have values.
        (
            {"a": A[:3] + 1, "_a": THIRD[:3]},
            {"a": [4, 5], "_a": [False, True]},
            {"a": A + 1, "_a": THIRD[[0, 1, 0, 1, 0]]},
        ),
        ({"a": A[:3], "_a": [True] * 3}, {"a": [3, 4], "_a": [True, True]}, {"a": A, "_a": np.array([True] * 5)}),
    ],
)
@pytest.mark.filterwarnings("ignore:`.*` is set to None")
def test_infos_of_a_continued_episode_are_joined(first: Any, second: Any, expected: dict[str, Any]) -> None:
    dataset = minari.create_dataset_from_buffers(
        "test/joined-v0", [buffer_of(2, infos=first)], observation_space=PLANE, action_space=spaces.Discrete(3)
    )
    more: EpisodeBuffer = buffer_of(2, id=0, start=3, infos=second)
    dataset.storage.update_episodes([EpisodeBuffer(**{**vars(more), "observations": more.observations[:2]})])
    episode = minari.load_dataset("test/joined-v0")[0]
    assert episode.observations[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert_same(episode.infos, expected)
