"""Info dicts of any shape: step by step into columns, and back."""

from __future__ import annotations

import copy
import datetime
import enum
import pickle
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from minari._model.info_values import ABSENT
from minari._model.infos import append_info, decode_infos, discard_info, encode_infos
from minari.errors import DatasetCorruptError, EpisodeError, EpisodeTypeError
from minari.testing.comparison import assert_same
from minari.testing.examples import INFOS


class Fruit(enum.Enum):
    APPLE = "apple"
    PEAR = 2


def appended(*steps: dict[str, Any]) -> dict[str, Any]:
    infos: dict[str, Any] = {}
    for recorded, info in enumerate(steps):
        infos = append_info(infos, info, recorded)
    return infos


def there_and_back(infos: dict[str, Any], rows: int) -> dict[str, Any]:
    return decode_infos(encode_infos(infos, rows))


def names(infos: dict[str, Any], rows: int = 3) -> set[str]:
    return {"/".join(map(str, path)) for path in encode_infos(infos, rows)}


@pytest.mark.parametrize("name", INFOS)
def test_there_and_back(name: str) -> None:
    given, expected = INFOS[name]
    infos = appended(*given)
    assert_same(there_and_back(infos, len(given)), expected)


@pytest.mark.parametrize("name", [name for name in INFOS if name != "slash"])
def test_what_was_read_can_be_stored_again(name: str) -> None:
    """Masks come along and are not doubled."""
    given, expected = INFOS[name]
    assert_same(there_and_back(there_and_back(appended(*given), 3), 3), expected)


# Step by step


def test_absent_keys_are_marked() -> None:
    assert appended({"a": 1}, {"b": 2}, {"a": 3}) == {"a": [1, ABSENT, 3], "b": [ABSENT, 2, ABSENT]}
    assert appended({}, {}, {"n": {"x": 1}}) == {"n": {"x": [ABSENT, ABSENT, 1]}}
    assert appended({"n": {"x": 1}}, {}, {"n": {"y": 2}}) == {"n": {"x": [1, ABSENT, ABSENT], "y": [ABSENT, ABSENT, 2]}}


def test_a_key_that_changes_its_kind() -> None:
    """A dict in some steps and a value in others: values, some of which are dicts."""
    assert appended({"a": {"x": 1}}, {}, {"a": 2}) == {"a": [{"x": 1}, ABSENT, 2]}
    assert appended({"a": 1}, {"a": {"x": 2}}) == {"a": [1, {"x": 2}]}
    assert appended({"a": {"x": {"y": 1}}}, {"a": {"x": 2}}) == {"a": {"x": [{"y": 1}, 2]}}
    assert appended({"a": {}}, {"a": {"x": 1}}) == {"a": [{}, {"x": 1}]}


def test_infos_are_extended_in_place_and_values_kept_as_asked() -> None:
    infos: dict[str, Any] = {}
    array = np.zeros(2)
    assert append_info(infos, {"x": array, "n": {"y": array}}, 0, keep=np.copy) is infos
    array += 1
    assert infos["x"][0].tolist() == infos["n"]["y"][0].tolist() == [0, 0]
    append_info(infos, {"x": array}, 1)
    assert infos["x"][1] is array


def test_infos_that_were_arrays() -> None:
    """Steps can be appended to infos that came as arrays."""
    infos = append_info({"x": np.array([1, 2]), "n": {"y": np.array([3.0, 4.0])}}, {"x": 5, "n": {"y": 6.0}}, 2)
    assert_same(there_and_back(infos, 3), {"x": np.array([1, 2, 5]), "n": {"y": np.array([3.0, 4.0, 6.0])}})


def test_absent_is_one_object() -> None:
    assert copy.deepcopy(ABSENT) is copy.copy(ABSENT) is pickle.loads(pickle.dumps(ABSENT)) is ABSENT
    assert repr(ABSENT) == "<absent>"


def test_discard_info() -> None:
    infos = {"a": [1], "n": {"x": [1], "y": [2]}}
    discard_info(infos, "n/x")
    discard_info(infos, "a")
    for unknown in ("b", "n/z", "a/b", "n/y/z"):
        discard_info(infos, unknown)
    discard_info(None, "a")
    assert infos == {"n": {"y": [2]}}


# Types that neither NumPy's numbers nor JSON have

STRUCTURE = np.dtype([("id", np.int16), ("at", np.float32, (2,)), ("name", "S3")], align=True)
RECORDS = np.array([(7, (0.5, 1.5), b"ab"), (-1, (2.5, 3.5), b"")], STRUCTURE)


class Name(str):
    """Text with a class of its own."""


def _objects(*values: Any) -> Any:
    column = np.empty(len(values), object)
    column[:] = values
    return column


TYPED: dict[str, tuple[list[Any], Any]] = {
    "bytes": ([b"ab", b"c\0", b""], _objects(b"ab", b"c\0", b"")),
    "bytes-of-numpy": ([np.bytes_(b"ab"), np.bytes_(b"c"), np.bytes_(b"")], np.array([b"ab", b"c", b""])),
    "void": ([np.void(b"a\0")] * 3, np.array([b"a\0"] * 3, "V2")),
    "arrays-of-bytes": ([np.array([b"a", b"bc"])] * 3, np.array([[b"a", b"bc"]] * 3)),
    "structures": ([RECORDS] * 3, np.stack([RECORDS] * 3)),
    "one-structure": ([RECORDS[0], RECORDS[1], RECORDS[0]], RECORDS[[0, 1, 0]]),
    "dates": (
        [np.datetime64("2024-02-29"), np.datetime64("NaT", "D"), np.datetime64("1969-12-31")],
        np.array(["2024-02-29", "NaT", "1969-12-31"], "M8[D]"),
    ),
    "dates-of-several-units": (
        [np.datetime64("2024-02-29"), np.datetime64("2024-02-29T12:30"), np.datetime64("2025")],
        np.array(["2024-02-29T00:00", "2024-02-29T12:30", "2025-01-01T00:00"], "M8[m]"),
    ),
    "spans": ([np.timedelta64(i, "25s") for i in range(3)], np.arange(3).astype("m8[25s]")),
    "arrays-of-dates": ([np.array(["2024", "2025"], "M8[Y]")] * 3, np.array([["2024", "2025"]] * 3, "M8[Y]")),
    "datetimes": (
        [datetime.datetime(2024, 1, 1, hour) for hour in range(3)],
        np.array([f"2024-01-01T0{hour}" for hour in range(3)], "M8[us]"),
    ),
    "datetimes-with-a-zone": (
        [datetime.datetime(2024, 1, 1, 12, tzinfo=datetime.timezone(datetime.timedelta(hours=2)))] * 3,
        np.array(["2024-01-01T10"] * 3, "M8[us]"),
    ),
    "days": ([datetime.date(2024, 1, day) for day in (1, 2, 3)], np.arange("2024-01-01", "2024-01-04", dtype="M8[D]")),
    "durations": ([datetime.timedelta(seconds=i) for i in range(3)], np.arange(3).astype("m8[s]").astype("m8[us]")),
    "sets": ([{3, 1}, frozenset({2, 9}), {5, 4}], np.array([[1, 3], [2, 9], [4, 5]])),
    "sets-of-text": ([{"b", "a"}, set(), {"c"}], _objects(["a", "b"], [], ["c"])),
    "sets-of-anything": ([{1, "a"}] * 3, _objects([1, "a"], [1, "a"], [1, "a"])),
    "enumerations": ([Fruit.APPLE, Fruit.APPLE, Fruit.APPLE], _objects("apple", "apple", "apple")),
    "mixed-enumerations": ([Fruit.APPLE, Fruit.PEAR, None], _objects("apple", 2, None)),
    "subclass-of-text": ([Name("x"), "y", np.str_("z")], _objects("x", "y", "z")),
    "flags-that-turn-into-floats": ([True, np.float64(0.5), False], np.array([1.0, 0.5, 0.0])),
    "bytes-and-text": ([b"a", "a", 1j], _objects(b"a", "a", 1j)),
    "bytes-inside": ([[b"a\0", {"d": np.datetime64(1, "s")}], {1: b""}, {"_type": "bytes"}], None),
    "big-endian": ([np.arange(2, dtype=">i4")] * 3, np.array([[0, 1]] * 3, np.int32)),
    "pairs": ([(1, "a"), (2, "b"), (3, "c")], (np.arange(1, 4), _objects("a", "b", "c"))),
    "memory": (
        [memoryview(b"ab"), memoryview(b"cd"), memoryview(b"ef")],
        np.array([[97, 98], [99, 100], [101, 102]], np.uint8),
    ),
    "scalars-and-arrays-without-dimensions": ([np.array(0.5), 1.5, np.float64(2.5)], np.array([0.5, 1.5, 2.5])),
}


@pytest.mark.parametrize("name", TYPED)
def test_types_of_their_own(name: str) -> None:
    given, expected = TYPED[name]
    expected = _objects(*given) if expected is None else expected
    read = there_and_back({"x": given}, 3)["x"]
    assert_same(read, expected)
    assert_same(there_and_back({"x": read}, 3)["x"], expected)


@pytest.mark.parametrize("name", [name for name in TYPED if name not in ("bytes-inside", "bytes-and-text")])
def test_types_of_their_own_may_be_absent_or_none(name: str) -> None:
    given, expected = TYPED[name]
    infos = there_and_back({"x": [*given, ABSENT]}, 4)
    assert infos["_x"].tolist() == [True, True, True, False]
    parts = zip(infos["x"], expected, strict=True) if isinstance(expected, tuple) else [(infos["x"], expected)]
    for part, wanted in parts:
        assert_same(part[:3], wanted)


@pytest.mark.parametrize(
    "value", [np.ones(2, np.float32), np.float32(1), b"a", np.datetime64("2024"), np.array([b"a"]), np.True_]
)
def test_none_before_what_json_does_not_know_is_masked(value: Any) -> None:
    infos = there_and_back({"x": [None, value, None]}, 3)
    assert infos["_x"].tolist() == [False, True, False]
    assert_same(infos["x"][1], value if isinstance(value, bytes) else np.asarray(value)[()])


def test_ragged_arrays_of_typed_values() -> None:
    given = [RECORDS[:1], ABSENT, RECORDS]
    infos = there_and_back(
        {"x": given, "d": [np.array(["2024"], "M8[D]"), np.zeros((2, 0), "M8[D]"), np.zeros(2, "M8[D]")]}, 3
    )
    assert infos["_x"].tolist() == [True, False, True]
    assert_same(infos["x"][0], RECORDS[:1])
    assert_same(infos["x"][1], RECORDS[:0])
    assert_same(infos["x"][2], RECORDS)
    assert [date.shape for date in infos["d"]] == [(1,), (2, 0), (2,)]
    assert {date.dtype for date in infos["d"]} == {np.dtype("M8[D]")}


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("_dtype=S3", np.zeros((3, 2), np.uint8)),
        ("_dtype=S3", np.zeros((3, 3), np.int8)),
        ("_dtype=V2", np.zeros(3, np.uint8)),
        ("_dtype=datetime64[s]", np.zeros(3, np.int32)),
        ("_dtype=datetime64[s]", _objects("a", "b", "c")),
        ("_dtype=datetime64[s]", _objects(b"a", b"b", b"c")),
    ],
)
def test_damaged_typed_columns(name: str, column: Any) -> None:
    with pytest.raises(DatasetCorruptError, match="infos/x"):
        decode_infos({("infos", "x", name): column})


@pytest.mark.parametrize(
    "name",
    [
        "O",
        "S0",
        "S9999999",
        "datetime64[century]",
        "{",
        "{}",
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


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 2.5, 3], np.array([1, 2.5, 3])),
        ([np.int8(1), np.int32(2), 3], np.array([1, 2, 3])),
        ([np.float32(0.5), 1, 2], np.array([0.5, 1, 2])),
        ([np.float32(0.5), np.float16(1), np.nan], np.array([0.5, 1, np.nan])),
        ([[1, 2], (3, 4), np.array([5, 6])], np.array([[1, 2], [3, 4], [5, 6]])),
        ([np.uint64(2**64 - 1), np.uint64(0), np.uint64(1)], np.array([2**64 - 1, 0, 1], np.uint64)),
    ],
)
def test_numbers_of_several_kinds(values: list[Any], expected: Any) -> None:
    """They share an array where one dtype holds them all exactly."""
    assert_same(there_and_back({"x": values}, 3), {"x": expected})


ONE_BY_ONE: list[list[Any]] = [
    [0.5, -0.0, np.nan],
    [1, 2, -3],
    [1, 2**63, 2],
    [2**63, 2**64 - 1, 2**63],
    [1, 2**70, 2],
    [True, False, True],
    [1j, 2j, 3j],
    *([np.dtype(name).type(1)] * 3 for name in ("?", "b", "H", "i8", "e", "f", "d", "g", "F", "D")),
    [np.float64(1), 1.0, 2.0],
    [np.float32(1), np.float64(1), np.float32(2)],
    *([np.full((2, 1), number, name) for number in range(3)] for name in ("?", "i1", "f4", ">f8", "D")),
    [np.array(1), np.array(2), np.array(3)],
    [np.zeros(0), np.zeros(0), np.zeros(0)],
    [np.zeros((2, 0, 3), np.int8)] * 3,
    [np.zeros(2), np.zeros(2, np.float32), np.zeros(2)],
    [np.zeros(2), np.zeros(3), np.zeros(2)],
    [np.zeros(2), np.float64(1), 2.0],
    [np.array("a"), np.array("b"), np.array("c")],
    [np.array(None), np.array(1), np.array(2)],
    [np.str_("a"), np.str_("b"), np.str_("c")],
    [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]],
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
        [True, 1, 2],
        [[True, 1], [0, 2], [1, 1]],
        [np.uint64(2**64 - 1), -1, 0],
        [2**53 + 1, 0.5, 0],
        [1, "1", None],
        [["a"], ["b", "c"], []],
        [{"a": [1]}, {}, {"b": None}],
        [None, None, None],
        [[], [1], [2]],
    ],
)
def test_what_becomes_json(values: list[Any]) -> None:
    """Values that no array holds exactly come back as they were."""
    assert names({"x": values}) == {"infos/x/_json"}
    read = there_and_back({"x": values}, 3)["x"].tolist()
    assert read == values
    assert [type(value) for value in read] == [int if isinstance(v, np.generic) else type(v) for v in values]


def test_arrays_inside_json_become_lists() -> None:
    read = there_and_back({"x": [{"a": np.arange(2)}, np.float64(1), None]}, 3)["x"].tolist()
    assert read == [{"a": [0, 1]}, 1.0, None]


def test_ragged() -> None:
    infos = {"x": [np.ones(2), ABSENT, np.ones((1, 2))]}
    assert names(infos) == {"infos/x/_ragged_values", "infos/x/_ragged_shapes", "infos/_x"}
    read = there_and_back(infos, 3)
    assert [value.shape for value in read["x"]] == [(2,), (0,), (1, 2)]
    assert read["_x"].tolist() == [True, False, True]


def test_no_mask_where_all_is_there() -> None:
    assert names({"x": [1, 2, 3], "n": {"y": [1, 2, 3]}, "t": (np.zeros(3),)}) == {
        "infos/x",
        "infos/n/y",
        "infos/t/0",
    }


def test_empty_dicts() -> None:
    assert there_and_back({"n": {}}, 2)["n"].tolist() == [{}, {}]
    assert encode_infos({}, 3) == encode_infos(None, 3) == {}


def test_a_mask_may_be_brought_along() -> None:
    mask = np.array([True, False, True])
    assert_same(there_and_back({"x": [1, ABSENT, 2], "_x": mask}, 3), {"x": np.array([1, 0, 2]), "_x": mask})
    assert_same(there_and_back({"_x": mask, "x": [1, ABSENT, 2]}, 3)["_x"], mask)


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
def test_names_that_clash(infos: dict[Any, Any], masks: set[str]) -> None:
    """Each comes back under its own name; a mask gives way to an info."""
    read = there_and_back(infos, 3)
    assert read.keys() == {*infos, *masks}
    for name in masks:
        assert read[name].tolist() == [True, False, True]

    def compare(found: Any, given: Any) -> None:
        for key, values in given.items():
            if isinstance(values, dict):
                compare(found[key], values)
            else:
                pairs = zip(found[key].tolist(), values, strict=True)
                assert [value for value, expected in pairs if expected is not ABSENT] == [
                    value for value in values if value is not ABSENT
                ]

    compare(read, infos)


ODD_KEYS: list[Any] = [
    "",
    "/",
    "a/",
    "/a",
    "a//b",
    ".",
    "..",
    "a/../b",
    "_json",
    "a/_ragged_values",
    "_index_3",
    "a\0",
    "\ud800",
    "_dtype=float32",
    "_key:3",
    "a/_key:",
    3,
    -1.5,
    None,
    True,
    (1, "a", (None,)),
]


@pytest.mark.parametrize("key", ODD_KEYS, ids=repr)
def test_keys_that_no_file_can_hold_come_back(key: Any) -> None:
    given = {"n": {key: np.arange(3), "usual": np.ones(3)}}
    assert_same(there_and_back(given, 3), given)
    (name,) = {path[2] for path in encode_infos(given, 3)} - {"usual"}
    assert str(name).startswith("_key:")
    assert not {"/", "\0"} & set(str(name))


def test_odd_keys_side_by_side() -> None:
    given = {key: np.arange(3) for key in ODD_KEYS}
    assert_same(there_and_back(given, 3), given)
    assert there_and_back({np.int8(7): [1, 2, 3]}, 3).keys() == {7}


@pytest.mark.parametrize("key", [object(), frozenset({1}), b"bytes", (1, object())])
def test_keys_that_are_refused(key: Any) -> None:
    with pytest.raises(EpisodeTypeError, match=r"infos/n' have the key .* rename it in a StepDataCallback"):
        encode_infos({"n": {key: [1, 2, 3]}}, 3)


def test_keys_that_are_one_in_a_file() -> None:
    with pytest.raises(EpisodeError, match="rename one of the two"):
        encode_infos({Fruit.PEAR: [1, 2, 3], 2: [1, 2, 3]}, 3)


def test_names_of_other_programs_stay() -> None:
    """Names that only look like an escaped key, or a column with a dtype, are kept."""
    for name in ("_key:", "_key:{}", "_key:x"):
        assert decode_infos({("infos", name): np.arange(3)}).keys() == {name}
    assert decode_infos({("infos", "x", "_dtype=object"): np.arange(3)})["x"].keys() == {"_dtype=object"}


@pytest.mark.parametrize("key", ["a.b", "_index_", "_index_x", "a b", "größe", "_x", "json", "0", "...a"])
def test_keys_that_are_fine(key: str) -> None:
    assert_same(there_and_back({key: np.arange(3)}, 3), {key: np.arange(3)})


@pytest.mark.parametrize("values", [[1, 2], np.zeros(4), ["a"], (np.zeros(2), np.zeros(2))])
def test_wrong_number_of_values(values: Any) -> None:
    with pytest.raises(EpisodeError, match=r"'infos/n/x(/0)?' has \d values, expected 3"):
        encode_infos({"n": {"x": values}}, 3)


@pytest.mark.parametrize("values", [3, "abc", None, iter([1, 2, 3])])
def test_what_is_no_list(values: Any) -> None:
    with pytest.raises(EpisodeTypeError, match=r"'infos/x' is .* expected a list or array"):
        encode_infos({"x": values}, 3)


@pytest.mark.parametrize("value", [object(), [1, {"a": object()}], len, Decimal("0.1"), float])
def test_values_that_cannot_be_stored(value: Any) -> None:
    with pytest.raises(EpisodeTypeError, match=r"(?s)'infos/n/x' at step 1 is .* discard_info\('n/x'\)"):
        encode_infos({"n": {"x": ["a", value, None]}}, 3)


def test_what_contains_itself_is_refused() -> None:
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(EpisodeTypeError, match="contains itself"):
        encode_infos({"x": [circle, 1, 2]}, 3)


def test_columns_of_others_are_left_alone() -> None:
    assert decode_infos({("rewards",): np.zeros(3), ("observations", "infos"): np.zeros(4)}) == {}


def test_an_info_is_dropped_by_its_name_however_it_is_nested() -> None:
    infos = {"a": {"b": [1], "c": [2]}, "a/b": [3], "d": [4], 5: [6]}
    for name in ("a/b", "d", "5", "unknown", "d/unknown"):
        discard_info(infos, name)
    assert infos == {"a": {"c": [2]}}
