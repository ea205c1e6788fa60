"""For any spaces, values, infos and metadata, what is stored is what is read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st

from minari._model.infos import append_info
from minari.dataset.minari_storage import MinariStorage
from minari.spaces import codec_for
from minari.testing import strategies
from minari.testing.comparison import assert_episode, assert_metadata, assert_steps
from minari.testing.examples import as_buffer, as_continuation, draw_truth, nested
from support.copies import in_every_format


# Gymnasium warns about boxes without numbers in them, and about their bounds.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")

SPACE, ACTIONS = spaces.Box(-1.0, 1.0, (2,), np.float32), spaces.Discrete(3)


def new(factory: pytest.TempPathFactory, data_format: str = "hdf5", *of: Any) -> MinariStorage:
    directory = factory.mktemp("storage") / "data"
    return MinariStorage.new(directory, *(of or (SPACE, ACTIONS)), data_format=data_format)


@given(space=strategies.spaces(), data=st.data())
def test_codecs(space: spaces.Space[Any], data: st.DataObject) -> None:
    """Values of a space to columns and back, whether given step by step or column by column."""
    values = data.draw(strategies.truths(space, ACTIONS))["observations"]
    codec = codec_for(space, ("x",))
    for given_values in (values, nested(space, values)):
        columns = codec.encode(given_values)
        assert codec.count(columns) in (None, len(values))
        assert_steps(space, codec.decode(columns), values)


@in_every_format
@given(data=st.data(), of=st.tuples(strategies.spaces(), strategies.spaces()))
def test_episodes(data_format: str, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, of: Any) -> None:
    """Episodes of any spaces, read by the storage that wrote them and after opening it again; one is extended."""
    truths = data.draw(st.lists(strategies.truths(*of), min_size=1, max_size=3))
    storage = new(tmp_path_factory, data_format, *of)
    storage.update_episodes(map(as_buffer, truths))
    index = data.draw(st.integers(0, len(truths) - 1))
    truths[index], more = as_continuation(truths[index], data.draw(strategies.truths(*of)), index, *of)
    storage.update_episodes([more])
    for opened in (storage, MinariStorage.read(storage.data_path)):
        assert opened.total_steps == sum(len(truth["rewards"]) for truth in truths)
        for episode, truth in zip(opened.get_episodes(range(len(truths))), truths, strict=True):
            assert_episode(episode, *of, truth)


@in_every_format
@given(data=st.data())
def test_infos(data_format: str, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Infos whose keys come and go and change their kind: the rows that are there are as they were given."""
    steps = data.draw(st.integers(1, 4))
    given_infos = data.draw(strategies.infos(steps + 1))
    infos: dict[str, Any] = {}
    for recorded, info in enumerate(given_infos):
        append_info(infos, info, recorded)
    storage = new(tmp_path_factory, data_format)
    storage.update_episodes([as_buffer(draw_truth(SPACE, ACTIONS, steps), infos=infos)])
    for opened in (storage, MinariStorage.read(storage.data_path)):
        (episode,) = opened.get_episodes([0])
        assert_infos(episode["infos"], given_infos)


def assert_infos(read: Any, given_infos: list[dict[str, Any]]) -> None:
    """Require the infos of some steps, independent of how they are encoded."""
    keys = {key for info in given_infos for key in info}
    expected_keys = set(keys)
    for key in keys:
        present = [key in info for info in given_infos]
        if not all(present):
            expected_keys.add(f"_{key}")
            assert read[f"_{key}"].tolist() == present
        rows = [info.get(key) for info in given_infos]
        if isinstance(read[key], dict):
            assert all(row is None or isinstance(row, Mapping) for row in rows)
            assert_infos(read[key], [row or {} for row in rows])
            continue
        assert len(read[key]) == len(rows)
        kinds = {_kind(row) for row in rows}
        for actual, expected, there in zip(read[key], rows, present, strict=True):
            if kinds >= {"b", "f"} and _kind(expected) == "b":  # flags among floats are floats
                expected = np.asarray(expected, np.asarray(actual).dtype)
            assert not there or plain(actual) == plain(expected)
    assert set(read) == expected_keys


def _kind(value: Any) -> str:
    numbers = (bool, float, np.ndarray, np.generic)
    items = value if isinstance(value, list) and value else [value]
    return np.asarray(value).dtype.kind if all(isinstance(item, numbers) for item in items) else ""


def plain(value: Any) -> Any:
    """The value as Python's own, so that an array and the same list are equal, True and 1 are not."""
    if isinstance(value, (np.ndarray, np.generic)):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, float) and math.isnan(value):
        return "not a number"
    return (isinstance(value, bool), value)


@in_every_format
@given(first=strategies.metadata(), second=strategies.metadata(), seed=st.none() | st.integers(0, 2**80))
def test_metadata(data_format: str, tmp_path_factory: Any, first: Any, second: Any, seed: int | None) -> None:
    """Metadata given with an episode, and set later: keys that are set again lose their old value."""
    storage = new(tmp_path_factory, data_format)
    buffer = as_buffer(draw_truth(SPACE, ACTIONS, 2), seed=seed, options={"o": first})
    storage.update_episodes([buffer], describe=lambda _: first)
    storage.update_episode_metadata([second])
    expected = {"total_steps": 2, "options": {"o": first}, **first, **second}
    if seed is not None:
        expected["seed"] = seed
    for opened in (storage, MinariStorage.read(storage.data_path)):
        (metadata,) = opened.get_episode_metadata([0])
        assert metadata.keys() - {"seed"} == {"id", *expected} - {"seed"}
        assert metadata.get("seed") == seed
        assert_metadata(metadata, expected)
