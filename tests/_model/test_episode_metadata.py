"""Metadata of an episode in the form that every format takes."""

from __future__ import annotations

import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from minari._model.episode_metadata import checked_metadata, decoded_metadata
from minari.dataset.episode_buffer import EpisodeBuffer
from minari.dataset.minari_storage import MinariStorage
from minari.errors import MetadataError
from minari.testing.comparison import assert_same


@pytest.mark.parametrize(
    "metadata",
    [
        {"i": 1, "f": 0.5, "t": True, "s": "a\0", "none": None, "big": 2**100, "nan": float("inf")},
        {"a": np.arange(3), "n": np.float32(1), "c": np.array([1j])},
        {"l": [1, "a", None, {"b": [np.int64(3), np.arange(2)]}], "t": (1, 2)},
        {"d": {"e": {"f": 1}}, "empty": {}},
        {" ": 1, "größe": 2, "a.b": 3, "id_": 4},
    ],
)
def test_kept_as_it_is(metadata: dict[str, Any]) -> None:
    assert checked_metadata(metadata) == metadata


def test_arrays_of_text_become_lists() -> None:
    assert checked_metadata({"a": np.array(["x", "y"]), "b": np.str_("z")}) == {"a": ["x", "y"], "b": "z"}


def test_slashes_nest() -> None:
    assert checked_metadata({"a/b/c": 1, "a/b/d": {"e": 2}, "a": {"f/g": 3}, "h/i": {}}) == {
        "a": {"b": {"c": 1, "d": {"e": 2}}, "f": {"g": 3}},
        "h": {"i": {}},
    }


def test_what_is_given_is_not_changed() -> None:
    inner = {"x": 1}
    checked_metadata({"a": inner, "a/y": 2})
    assert inner == {"x": 1}


@pytest.mark.parametrize(
    "metadata",
    [{"a": 1, "a/b": 2}, {"a/b": 1, "a": 2}, {"a/b": 1, "a": {"b": 2}}, {"a": {"b": 2}, "a/b": 1}, {"a": 1, "a/b": {}}],
)
def test_given_twice(metadata: dict[str, Any]) -> None:
    with pytest.raises(MetadataError, match=r"give 'a.*' twice"):
        checked_metadata(metadata)


@pytest.mark.parametrize("key", ["", "/", "a/", "/a", "a//b", "a\0b", "\ud800", 3, None, ("a",)])
def test_keys_that_are_refused(key: Any) -> None:
    for metadata in ({key: 1}, {"n": {key: 1}}):
        with pytest.raises(MetadataError, match="has the key"):
            checked_metadata(metadata)


@pytest.mark.parametrize(
    "value",
    [object(), [object()], np.array([object()]), Decimal(1), pytest.param(10**5000, id="huge"), [10**5000], len],
)
def test_values_that_are_refused(value: Any) -> None:
    with pytest.raises(MetadataError, match=r"(?s)'n/a' is .* expected a number"):
        checked_metadata({"n": {"a": value}})


@pytest.mark.parametrize(
    "value",
    [
        b"a\0",
        [b"a", {"b": b""}],
        np.datetime64("2020-01-01"),
        np.timedelta64(3, "ms"),
        np.array([b"a", b"bc"]),
        np.zeros(2, [("a", np.int8), ("b", "S2")]),
        [1j, {3: "x"}],
        {"deep": {"x": b"y"}},
    ],
    ids=repr,
)
def test_values_of_other_types_come_back(value: Any) -> None:
    assert_same(decoded_metadata(checked_metadata({"a": value})), {"a": value})


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        ({3, 1}, [1, 3]),
        (datetime.date(2024, 1, 2), np.datetime64("2024-01-02")),
        (1j, np.complex128(1j)),
        (memoryview(b"ab"), np.array([97, 98], np.uint8)),
    ],
)
def test_values_that_come_back_as_what_is_nearest(value: Any, plain: Any) -> None:
    assert_same(decoded_metadata(checked_metadata({"a": value})), {"a": plain})


@pytest.mark.parametrize("seed", ["7", [1], 1.5, True, np.float64(3), {"a": 1}])
def test_seeds_that_are_none(seed: Any) -> None:
    with pytest.raises(MetadataError, match=r"'seed' is .*, expected a whole number or None"):
        checked_metadata({"seed": seed})


def test_metadata_that_could_not_be_read_again() -> None:
    deep: dict[str, Any] = {}
    lists: list[Any] = []
    for _ in range(100):
        deep, lists = {"a": deep}, [lists]
    for metadata in (deep, {"a": lists}):
        with pytest.raises(MetadataError, match="nested too deeply"):
            checked_metadata(metadata)


@pytest.mark.parametrize("key", ["id", "total_steps"])
def test_keys_of_the_library(key: str) -> None:
    with pytest.raises(MetadataError, match=f"'{key}' follows from the data"):
        checked_metadata({key: 1})
    assert checked_metadata({"mine": {key: 1}}) == {"mine": {key: 1}}


def test_plain_metadata_of_many_episodes_come_back(tmp_path: Path) -> None:
    """Whole numbers of any size, and names with the suffixes that HDF5 attributes have, among plain ones."""
    seeds = [1, 2**63 - 1, 2**63, -3, 2**100, 5, 2**64 - 1]
    metadatas = [
        {"a:json": np.float64(seed), "b": np.float64(0.5)} if seed % 2 else {"b": np.float64(7)} for seed in seeds
    ]
    storage = MinariStorage.new(tmp_path, Box(-1, 1, (2,)), Discrete(2), data_format="hdf5")
    described = iter(metadatas)
    buffers = [
        EpisodeBuffer(None, seed, None, np.zeros((2, 2), np.float32), [1], [1.0], [True], [False]) for seed in seeds
    ]
    storage.update_episodes(buffers, describe=lambda episode: next(described))
    for seed, expected, found in zip(seeds, metadatas, storage.get_episode_metadata(range(len(seeds))), strict=True):
        assert found["seed"] == seed
        assert {key: value for key, value in found.items() if key not in ("id", "seed", "total_steps")} == expected
