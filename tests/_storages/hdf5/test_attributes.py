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
from support.hdf5_files import METADATA, NUMBERS, assert_same_metadata, numbers_of


def npy(array: Any) -> str:
    file = io.BytesIO()
    np.save(file, array)
    return base64.b64encode(file.getvalue()).decode()


def stored(value: Any, name: str = "x") -> tuple[str, Any]:
    """The only attribute that a value becomes."""
    ((stored_name, stored_value),) = flatten_metadata({name: value})
    return stored_name, stored_value


@given(metadata=METADATA, seed=st.integers(0, 99))
def test_back_and_forth(metadata: dict[str, Any], seed: int) -> None:
    """In whatever order the attributes are found."""
    attributes = list(flatten_metadata(metadata))
    assert len(dict(attributes)) == len(attributes)
    for name, value in attributes:
        assert name
        assert isinstance(value, (str, np.ndarray, np.generic))
        assert not isinstance(value, str) or "\0" not in value
    shuffled = [attributes[place] for place in np.random.default_rng(seed).permutation(len(attributes))]
    for order in (attributes, attributes[::-1], sorted(attributes, key=lambda item: item[0]), shuffled):
        assert_same_metadata(nested_metadata(order), metadata)


@pytest.mark.parametrize("dtype", NUMBERS, ids=str)
@pytest.mark.parametrize("name", ["x", "x:npy", "x:json"])
def test_numbers_of_numpy(dtype: np.dtype[Any], name: str) -> None:
    """Arrays and scalars with the dtype that they have, under any name."""
    for array in (numbers_of(dtype, (2, 3), 1), numbers_of(dtype, (0, 3), 1), numbers_of(dtype, (1,), 1)[0]):
        found = nested_metadata([stored(array, name)])
        assert found.keys() == {name}
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert found[name].tobytes() == array.tobytes()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (3, np.int64(3)),
        (2**63 - 1, np.int64(2**63 - 1)),
        (-(2**63), np.int64(-(2**63))),
        (2**64 - 1, np.uint64(2**64 - 1)),
        (True, np.True_),
        (0.1, np.float64(0.1)),
        (np.float32(0.1), np.float32(0.1)),
        (np.array(0.5), np.float64(0.5)),
        ([1, 2], np.array([1, 2])),
        ((1.5, 2), np.array([1.5, 2])),
        ([[1], [2]], np.array([[1], [2]])),
        ([True, False], np.array([True, False])),
        ([2**63, 2**63], np.array([2**63, 2**63], np.uint64)),
        ("", ""),
        ("漢🎉", "漢🎉"),
    ],
    ids=str,
)
def test_values_that_are_attributes(value: Any, expected: Any) -> None:
    name, found = stored(value)
    assert name == "x"
    assert_same(found, expected)
    assert isinstance(found, np.ndarray) == isinstance(expected, np.ndarray)


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        [[]],
        2**64,
        -(2**63) - 1,
        [2**64],
        [2**63 + 1, -1],
        [1, True],
        [2**53 + 1, 0.5],
        [[1], [2, 3]],
        ["a", "b"],
        [1, "a"],
        [None],
        [{"a": 1}, 2],
        "a\0b",
        "\ud800",
    ],
    ids=ascii,
)
def test_values_that_are_json(value: Any) -> None:
    """They are restored with their own types instead of those of NumPy."""
    name, found = stored(value)
    assert (name, json.loads(found)) == ("x:json", value)
    assert found.isascii()
    assert_same(nested_metadata([(name, found)]), {"x": value})


def test_json_with_numbers_of_numpy() -> None:
    value = [{"a": np.float32(0.5), "b": np.arange(2)}, np.True_]
    assert nested_metadata([stored(value)]) == {"x": [{"a": 0.5, "b": [0, 1]}, True]}


def test_lists_with_nan() -> None:
    """Nothing is equal to it, so whether the list is stored exactly cannot be seen."""
    found = nested_metadata([stored([float("nan"), 1.0])])["x"]
    assert np.isnan(found[0])
    assert found[1] == 1.0


# Arrays that are too large


@pytest.mark.parametrize("dtype", ["<f8", ">i4", "?", "<c16"])
def test_large_arrays(dtype: str) -> None:
    """As the text of a file; 60,000 bytes with the name are allowed."""
    count = (60_000 - 1) // np.dtype(dtype).itemsize
    assert stored(np.ones(count, dtype))[0] == "x"
    array = numbers_of(np.dtype(dtype), (2, count // 2 + 1), 5)
    name, text = stored(array)
    assert name == "x:npy"
    assert isinstance(text, str)
    assert_same(np.load(io.BytesIO(base64.b64decode(text)), allow_pickle=False), array)
    found = nested_metadata([(name, text)])["x"]
    assert (found.dtype, found.shape, found.tobytes()) == (array.dtype, array.shape, array.tobytes())


def test_large_for_their_name() -> None:
    assert stored(np.zeros(7000), "n" * 3000)[0] == "n" * 3000
    assert stored(np.zeros(7000), "n" * 5000)[0] == "n" * 5000 + ":npy"
    assert stored(np.zeros(7000), "漢" * 1500)[0] == "漢" * 1500 + ":npy", "in bytes"


def test_large_lists_and_deep_arrays() -> None:
    name, text = stored(list(range(9000)))
    assert name == "x:npy"
    assert_same(nested_metadata([(name, text)]), {"x": np.arange(9000)})
    assert stored(np.zeros((1,) * 31))[0] == "x"
    name, text = stored(np.ones((1,) * 32))
    assert name == "x:npy"
    assert_same(nested_metadata([(name, text)]), {"x": np.ones((1,) * 32)})


@pytest.mark.skipif(np.lib.NumpyVersion(np.__version__) < "2.0.0", reason="arrays have at most 32 dimensions")
def test_arrays_with_more_dimensions_than_hdf5_has() -> None:
    deep = np.arange(2.0).reshape(2, *[1] * 32)
    name, text = stored(deep)
    assert name == "x:npy"
    assert_same(nested_metadata([(name, text)]), {"x": deep})


# Names


@pytest.mark.parametrize("name", ["x:json", "x:npy", "x:json:npy", "x:npy:json", ":json", ":npy", "deep/x:npy"])
@pytest.mark.parametrize(
    "value", [1, 0.5, "text", None, [1, 2], np.float64(3), np.float32([1, 2]), np.complex64(1j), True, np.zeros(9000)]
)
def test_keys_that_end_like_a_suffix(name: str, value: Any) -> None:
    """Names with a suffix get another one, to distinguish them from values stored under it."""
    metadata = checked_metadata({name: value, "x": 7})
    attributes = list(flatten_metadata(metadata))
    assert_same_metadata(nested_metadata(attributes), metadata)
    for _, at in [pair for pair in attributes if pair[0] != "x"]:
        assert isinstance(at, str)


@pytest.mark.parametrize(
    ("name", "keys", "expected"),
    [
        ("x", {"x"}, True),
        ("x", {"y"}, False),
        ("xy", {"x"}, False),
        ("x/y", {"x"}, True),
        ("x/y", {"y", "x/y"}, False),
        ("x:json", {"x"}, True),
        ("x:npy", {"x"}, True),
        ("x/y:npy", {"x"}, True),
        ("x/y:npy", {"x/y"}, False),
        ("x:npy:json", {"x:npy"}, True),
        ("x:npy:json", {"x"}, False),
        ("x:json:json", {"x:json"}, True),
        ("x:json:json", {"x"}, False),
        ("x:json/y", {"x:json"}, True),
        ("x:json/y", {"x"}, False),
    ],
)
def test_which_attributes_belong_to_a_key(name: str, keys: set[str], expected: bool) -> None:
    assert is_of(name, keys) is expected


@given(metadata=METADATA, other=METADATA)
def test_each_attribute_belongs_to_its_key(metadata: dict[str, Any], other: dict[str, Any]) -> None:
    for key, value in metadata.items():
        for name, _ in flatten_metadata({key: value}):
            assert is_of(name, [key])
            assert not is_of(name, other.keys() - {key})


SPACE = spaces.Discrete(3)


@given(first=METADATA, second=METADATA)
def test_metadata_that_are_updated(tmp_path_factory: Any, first: dict[str, Any], second: dict[str, Any]) -> None:
    """Keys that are given are replaced with all that is below them; the others stay."""
    storage = MinariStorage.new(tmp_path_factory.mktemp("updated") / "data", SPACE, SPACE)
    storage.update_episodes([as_buffer(draw_truth(SPACE, SPACE, 2))])
    for metadata in (first, second):
        storage.update_episode_metadata([metadata])
    (found,) = storage.get_episode_metadata([0])
    assert_same_metadata(found, {"id": 0, "total_steps": 2, **first, **second})


def test_metadata_that_are_too_large_for_an_attribute(tmp_path: Path) -> None:
    """With a long name an array of less than 60,000 bytes is."""
    arrays = {name: np.arange(7450.0) for name in ("x", "n" * 3000, "n" * 9000)}
    arrays["deep"] = np.ones((1,) * 32)
    storage = MinariStorage.new(tmp_path / "data", SPACE, SPACE)
    storage.update_episodes([as_buffer(draw_truth(SPACE, SPACE, 2), options=arrays)])
    storage.update_episode_metadata([arrays])
    (metadata,) = MinariStorage.read(storage.data_path).get_episode_metadata([0])
    for found in (metadata, metadata["options"]):
        for name, value in arrays.items():
            assert np.array_equal(found[name], value)


def test_a_key_that_only_looks_like_another_is_left_alone(tmp_path: Path) -> None:
    storage = MinariStorage.new(tmp_path / "data", SPACE, SPACE)
    storage.update_episodes([as_buffer(draw_truth(SPACE, SPACE, 2))])
    storage.update_episode_metadata([{"x": 1, "x:npy": 2, "x:json": 3, "x:": 4, "xy": 5}])
    storage.update_episode_metadata([{"x": None}])
    (found,) = storage.get_episode_metadata([0])
    assert_metadata(found, {"x": None, "x:npy": 2, "x:json": 3, "x:": 4, "xy": 5})


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
def test_names_that_exclude_each_other(attributes: dict[str, Any], expected: dict[str, Any]) -> None:
    """Nothing is lost, in whatever order they are found."""
    for order in (list(attributes.items()), list(attributes.items())[::-1]):
        assert_same(nested_metadata(order), expected)


FOREIGN = {
    "a:json": ["hello", "", "{", 3, np.float64(0.5), np.arange(3), np.bytes_(b"\xff")],
    "a:npy": [
        "hello",
        "",
        "AAAA",
        "é",
        3,
        np.arange(3),
        base64.b64encode(b"PK\3\4" + bytes(99)).decode(),
        npy(np.arange(3))[:20],
        npy(np.arange(300))[:-100],
        base64.b64encode(b"\x93NUMPY\1\0\x10\0this is no header" + bytes(9)).decode(),
    ],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in FOREIGN.items() for value in values])
def test_names_that_mean_something_else(name: str, value: Any) -> None:
    """Attributes that only happen to end so are as they are."""
    assert_same(nested_metadata([(name, value), ("b", 1)]), {name: value, "b": 1})


def test_attributes_of_another_program(tmp_path: Path) -> None:
    """Do not keep the metadata from being read, nor from being changed."""
    storage = MinariStorage.new(tmp_path / "data", SPACE, SPACE)
    storage.update_episodes([as_buffer(draw_truth(SPACE, SPACE, 2), seed=4)])
    with h5py.File(storage.data_path / "main_data.hdf5", "r+") as file:
        attributes = file["episode_0"].attrs
        attributes["scene:json"], attributes["mesh:npy"], attributes["options"] = "see scene.json", "mesh.npy", "none"
        attributes["options/level"] = 2
    storage.update_episode_metadata([{"mine": 1}])
    (found,) = MinariStorage.read(storage.data_path).get_episode_metadata([0])
    expected = {"seed": 4, "scene:json": "see scene.json", "mesh:npy": "mesh.npy", "mine": 1}
    assert_metadata(found, {**expected, "options": "none", "options/level": 2})
