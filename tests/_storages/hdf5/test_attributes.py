"""Metadata as names and values of attributes, and nested again."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import h5py
import hypothesis.strategies as st
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given

from minari._model.episode_metadata import checked_metadata
from minari._storages.hdf5.attributes import flatten_metadata, is_of, nested_metadata
from minari.dataset.minari_storage import MinariStorage
from minari.testing.comparison import assert_metadata, assert_same
from minari.testing.examples import as_buffer, draw_truth
from support.hdf5_files import METADATA, assert_same_metadata
from support.stored import store


SPACE = spaces.Discrete(3)


def npy(array: Any) -> str:
    file = io.BytesIO()
    np.save(file, array)
    return base64.b64encode(file.getvalue()).decode()


def stored(value: Any, name: str = "x") -> tuple[str, Any]:
    """The only attribute that a value becomes."""
    (attribute,) = flatten_metadata({name: value})
    return attribute


def opened(directory: Path, **fields: Any) -> MinariStorage:
    buffers = [as_buffer(draw_truth(SPACE, SPACE, 2), **fields)]
    return MinariStorage.read(store(directory, truths=buffers, observation_space=SPACE, action_space=SPACE))


@given(metadata=METADATA, other=METADATA, seed=st.integers(0, 99))
def test_metadata_comes_back_in_whatever_order_attributes_are_found(metadata: Any, other: Any, seed: int) -> None:
    attributes = list(flatten_metadata(metadata))
    assert len(dict(attributes)) == len(attributes)
    for name, value in attributes:
        assert name
        assert isinstance(value, (str, np.ndarray, np.generic))
        assert not isinstance(value, str) or "\0" not in value
    shuffled = [attributes[place] for place in np.random.default_rng(seed).permutation(len(attributes))]
    for order in (attributes, attributes[::-1], sorted(attributes, key=lambda item: item[0]), shuffled):
        assert_same_metadata(nested_metadata(order), metadata)
    for key, value in metadata.items():
        for name, _ in flatten_metadata({key: value}):
            assert is_of(name, [key])
            assert not is_of(name, other.keys() - {key})


VALUES: list[tuple[Any, Any]] = [
    *((number, np.int64(number)) for number in (3, 2**63 - 1, -(2**63))),
    *((2**64 - 1, np.uint64(2**64 - 1)), (True, np.True_), (0.1, np.float64(0.1))),
    *((np.float32(0.1), np.float32(0.1)), (np.array(0.5), np.float64(0.5))),
    *(([1, 2], np.array([1, 2])), ((1.5, 2), np.array([1.5, 2])), ([[1], [2]], np.array([[1], [2]]))),
    *(([True, False], np.array([True, False])), ([2**63] * 2, np.array([2**63] * 2, np.uint64))),
    *(("", ""), ("漢🎉", "漢🎉")),
]


@pytest.mark.parametrize(("value", "expected"), VALUES, ids=str)
def test_plain_values_are_attributes(value: Any, expected: Any) -> None:
    name, found = stored(value)
    assert name == "x"
    assert_same(found, expected)
    assert isinstance(found, np.ndarray) == isinstance(expected, np.ndarray)


OTHERS: list[Any] = [
    *(None, [], {}, [[]], 2**64, -(2**63) - 1, [2**64], [2**63 + 1, -1], [1, True], [2**53 + 1, 0.5], [[1], [2, 3]]),
    *(["a", "b"], [1, "a"], [None], [{"a": 1}, 2], "a\0b", "\ud800"),
]


@pytest.mark.parametrize("value", OTHERS, ids=ascii)
def test_other_values_are_json_and_keep_their_types(value: Any) -> None:
    name, found = stored(value)
    assert (name, json.loads(found)) == ("x:json", value)
    assert found.isascii()
    assert_same(nested_metadata([(name, found)]), {"x": value})


def test_lists_may_hold_numpy_values_and_nan() -> None:
    value = [{"a": np.float32(0.5), "b": np.arange(2)}, np.True_]
    assert nested_metadata([stored(value)]) == {"x": [{"a": 0.5, "b": [0, 1]}, True]}
    found = nested_metadata([stored([float("nan"), 1.0])])["x"]  # nothing is equal to it
    assert np.isnan(found[0])
    assert found[1] == 1.0


# Arrays that are too large are the text of a file

MOST = 60_000  # bytes, with the name


@pytest.mark.parametrize(
    ("array", "name", "expected"),
    [
        *((np.ones((MOST - 1) // np.dtype(t).itemsize, t), "x", "x") for t in ("<f8", ">i4", "?", "<c16")),
        *(
            (np.ones((MOST // np.dtype(t).itemsize + 2) // 2 * 2, t).reshape(2, -1), "x", "x:npy")
            for t in ("<f8", ">i4")
        ),
        (np.zeros(7000), "n" * 3000, "n" * 3000),
        (np.zeros(7000), "n" * 5000, "n" * 5000 + ":npy"),
        (np.zeros(7000), "漢" * 1500, "漢" * 1500 + ":npy"),  # in bytes
        (list(range(9000)), "x", "x:npy"),
        (np.zeros((1,) * 31), "x", "x"),
        (np.ones((1,) * 32), "x", "x:npy"),
    ],
    ids=range(12),
)
def test_large_and_deep_arrays_are_the_text_of_a_file(array: Any, name: str, expected: str) -> None:
    found, value = stored(array, name)
    assert found == expected
    if expected.endswith(":npy"):
        assert_same(np.load(io.BytesIO(base64.b64decode(value)), allow_pickle=False), np.asarray(array))
    back = nested_metadata([(found, value)])[name]
    assert (back.dtype.str, back.tobytes()) == (np.asarray(array).dtype.str, np.asarray(array).tobytes())


@pytest.mark.skipif(np.lib.NumpyVersion(np.__version__) < "2.0.0", reason="arrays have at most 32 dimensions")
def test_arrays_may_have_more_dimensions_than_in_hdf5() -> None:
    deep = np.arange(2.0).reshape(2, *[1] * 32)
    name, text = stored(deep)
    assert name == "x:npy"
    assert_same(nested_metadata([(name, text)]), {"x": deep})


# Names


@pytest.mark.parametrize("name", ["x:json", "x:npy", "x:json:npy", "x:npy:json", ":json", ":npy", "deep/x:npy"])
def test_keys_that_end_like_a_suffix_get_another_one(name: str) -> None:
    scalars = [1, 0.5, "text", None, True, np.float64(3), np.complex64(1j)]
    for value in [*scalars, [1, 2], np.float32([1, 2]), np.zeros(9000)]:
        metadata = checked_metadata({name: value, "x": 7})
        attributes = list(flatten_metadata(metadata))
        assert_same_metadata(nested_metadata(attributes), metadata)
        assert all(isinstance(at, str) for key, at in attributes if key != "x")


@pytest.mark.parametrize(
    ("key", "own", "others"),
    [
        ("x", ["x", "x/y", "x:json", "x:npy", "x/y:npy"], ["xy", "x:npy:json", "x:json:json", "x:json/y"]),
        ("x:npy", ["x:npy:json"], ["x"]),
        ("x:json", ["x:json:json", "x:json/y"], ["x"]),
        ("x/y", [], ["x/y", "x/y:npy"]),
        ("y", [], ["x", "x/y"]),
    ],
)
def test_attributes_belong_to_a_key(key: str, own: list[str], others: list[str]) -> None:
    assert all(is_of(name, {key}) for name in own)
    assert not any(is_of(name, {key}) for name in others)


@given(first=METADATA, second=METADATA)
def test_updated_keys_lose_all_that_was_below_them(tmp_path_factory: Any, first: Any, second: Any) -> None:
    storage = opened(tmp_path_factory.mktemp("updated"))
    for metadata in (first, second):
        storage.update_episode_metadata([metadata])
    (found,) = storage.get_episode_metadata([0])
    assert_same_metadata(found, {"id": 0, "total_steps": 2, **first, **second})


# What other programs write


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"a": 1, "a/b": 2}, {"a": 1, "a/b": 2}),
        ({"a/b": 1, "a/b/c": 2}, {"a": {"b": 1}, "a/b/c": 2}),
        ({"a": 1, "a/b/c": 2}, {"a": 1, "a/b/c": 2}),
        ({"a:json": "5", "a/b": 2}, {"a": 5, "a/b": 2}),
        ({"a:json": "{}", "a/b": 2}, {"a": {"b": 2}}),
        ({"a": 1, "a:json": "5"}, {"a": 1, "a:json": 5}),
        ({"a": 1, "a:npy": npy(np.float64(2))}, {"a": 1, "a:npy": np.float64(2)}),
        ({"/a": 1, "b/": 2, "c//d": 3}, {"": {"a": 1}, "b": {"": 2}, "c": {"": {"d": 3}}}),
    ],
    ids=str,
)
def test_names_that_exclude_each_other_lose_nothing(attributes: dict[str, Any], expected: dict[str, Any]) -> None:
    for order in (list(attributes.items()), list(attributes.items())[::-1]):
        assert_same(nested_metadata(order), expected)


HEADER = base64.b64encode(b"\x93NUMPY\1\0\x10\0this is no header" + bytes(9)).decode()
ZIP = base64.b64encode(b"PK\3\4" + bytes(99)).decode()
CUT = [npy(np.arange(3))[:20], npy(np.arange(300))[:-100]]
FOREIGN: dict[str, list[Any]] = {
    "a:json": ["hello", "", "{", 3, np.float64(0.5), np.arange(3), np.bytes_(b"\xff")],
    "a:npy": ["hello", "", "AAAA", "é", 3, np.arange(3), ZIP, HEADER, *CUT],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in FOREIGN.items() for value in values])
def test_attributes_that_only_end_like_ours_are_as_they_are(name: str, value: Any) -> None:
    assert_same(nested_metadata([(name, value), ("b", 1)]), {name: value, "b": 1})


def test_attributes_of_another_program_are_read_and_kept(tmp_path: Path) -> None:
    storage = opened(tmp_path, seed=4)
    foreign = {"scene:json": "see scene.json", "mesh:npy": "mesh.npy", "options": "none", "options/level": 2}
    with h5py.File(storage.data_path / "main_data.hdf5", "r+") as file:
        file["episode_0"].attrs.update(foreign)
    storage.update_episode_metadata([{"mine": 1}])
    (found,) = MinariStorage.read(storage.data_path).get_episode_metadata([0])
    assert_metadata(found, {"seed": 4, "mine": 1, **foreign})
