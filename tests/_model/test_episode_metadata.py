"""Metadata of an episode in the form that every format takes; `minari.testing` asserts that they come back."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

import minari
from minari._model.episode_metadata import checked_metadata, decoded_metadata
from minari.errors import MetadataError
from minari.testing.comparison import assert_same
from support.scripted import PLANE, buffer_of


def test_slashes_nest_and_what_is_given_is_not_changed() -> None:
    inner = {"f/g": 3}
    assert checked_metadata({"a/b/c": 1, "a/b/d": {"e": 2}, "a": inner, "h/i": {}}) == {
        "a": {"b": {"c": 1, "d": {"e": 2}}, "f": {"g": 3}},
        "h": {"i": {}},
    }
    assert inner == {"f/g": 3}
    assert checked_metadata({"a": np.array(["x", "y"]), "b": np.str_("z")}) == {"a": ["x", "y"], "b": "z"}
    assert checked_metadata({"mine": {"id": 1, "total_steps": 1}}) == {"mine": {"id": 1, "total_steps": 1}}


DEEP: tuple[Any, Any] = {}, []
for _ in range(100):
    DEEP = {"a": DEEP[0]}, [DEEP[1]]


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        *(
            (metadata, r"give 'a.*' twice")
            for metadata in (
                *({"a": 1, "a/b": 2}, {"a/b": 1, "a": 2}, {"a/b": 1, "a": {"b": 2}}),
                *({"a": {"b": 2}, "a/b": 1}, {"a": 1, "a/b": {}}),
            )
        ),
        *(({key: 1}, "has the key") for key in ("", "/", "a/", "/a", "a//b", "a\0b", "\ud800", 3, None, ("a",))),
        *(({"n": {key: 1}}, "has the key") for key in ("", "a/", "a\0b", 3, None)),
        *(
            ({"n": {"a": value}}, r"(?s)'n/a' is .* expected a number")
            for value in (object(), [object()], np.array([object()]), Decimal(1), 10**5000, [10**5000], len)
        ),
        *(
            ({"seed": seed}, r"'seed' is .*, expected a whole number or None")
            for seed in ("7", [1], 1.5, True, np.float64(3), {"a": 1})
        ),
        *(({"a": deep}, "nested too deeply") for deep in DEEP),
        *(({key: 1}, f"'{key}' follows from the data") for key in ("id", "total_steps")),
    ],
    ids=lambda value: str(value)[:40] if not isinstance(value, dict) else "",
)
def test_metadata_that_cannot_be_stored_are_named(metadata: dict[Any, Any], message: str) -> None:
    with pytest.raises(MetadataError, match=message):
        checked_metadata(metadata)


@pytest.mark.parametrize(
    ("value", "read"),
    [
        *(
            (value, value)
            for value in (
                *(b"a\0", [b"a", {"b": b""}], np.datetime64("2020-01-01"), np.timedelta64(3, "ms")),
                *(np.array([b"a", b"bc"]), np.zeros(2, [("a", np.int8), ("b", "S2")])),
                *([1j, {3: "x"}], {"deep": {"x": b"y"}}),
            )
        ),
        ({3, 1}, [1, 3]),
        (datetime.date(2024, 1, 2), np.datetime64("2024-01-02")),
        (1j, np.complex128(1j)),
        (memoryview(b"ab"), np.array([97, 98], np.uint8)),
    ],
)
def test_values_of_other_types_come_back_or_what_is_nearest(value: Any, read: Any) -> None:
    assert_same(decoded_metadata(checked_metadata({"a": value})), {"a": read})


@pytest.mark.filterwarnings("ignore:`.*` is set to None")
def test_plain_metadata_of_many_episodes_come_back() -> None:
    """Whole numbers of any size, and names with the suffixes that HDF5 attributes have, among plain ones."""
    seeds = [1, 2**63 - 1, 2**63, -3, 2**100, 5, 2**64 - 1]
    metadatas = [{"a:json": np.float64(seed), "b": 0.5} if seed % 2 else {"b": 7.0} for seed in seeds]
    storage = minari.create_dataset_from_buffers(
        "test/plain-v0", [], observation_space=PLANE, action_space=spaces.Discrete(3), data_format="hdf5"
    ).storage
    described = iter(metadatas)
    storage.update_episodes([buffer_of(1, seed=seed) for seed in seeds], describe=lambda episode: next(described))
    for seed, expected, found in zip(seeds, metadatas, storage.get_episode_metadata(range(len(seeds))), strict=True):
        assert found["seed"] == seed
        assert {key: value for key, value in found.items() if key not in ("id", "seed", "total_steps")} == expected
