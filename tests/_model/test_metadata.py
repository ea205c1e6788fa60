"""metadata.json as a value: checked when read, never changed in place, and upgraded from older files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st

from minari._model.metadata import DatasetMetadata, json_value, upgrade_attributes
from minari.errors import DatasetCorruptError, MetadataError, UnknownSpaceError
from minari.serialization import serialize_space
from support.official import data_directories


BOX = spaces.Box(-1, np.inf, (2,), np.float32)
RAW: dict[str, Any] = {
    "total_episodes": 2,
    "total_steps": 9,
    "data_format": "arrow",
    "jpeg_encoding": False,
    "observation_space": serialize_space(BOX),
    "action_space": serialize_space(spaces.Discrete(3)),
    "env_spec": '{"id": "CartPole-v1"}',
    "author": ["Bo", "Ann"],
    "author_email": ["ann@example.org"],
    "dataset_id": "toy/a-v0",
    "minari_version": "0.5.4",
    "mine": {"deep": [1, None]},
}


def metadata(**changes: Any) -> DatasetMetadata:
    """The metadata above with some keys changed; those set to ``...`` left out."""
    raw = {key: value for key, value in {**RAW, **changes}.items() if value is not ...}
    return DatasetMetadata.from_raw(raw, "the/file")


def test_what_is_read() -> None:
    value = DatasetMetadata.from_json(json.dumps(RAW), Path("a", "metadata.json"))
    assert (value.total_episodes, value.total_steps, value.data_format) == (2, 9, "arrow")
    assert value.jpeg_encoding is False
    assert (value.observation_space, value.action_space) == (BOX, spaces.Discrete(3))
    assert (value.env_spec_json, value.eval_env_spec_json) == ('{"id": "CartPole-v1"}', None)
    assert (value.dataset_id, value.minari_version) == ("toy/a-v0", "0.5.4")
    assert value.combined_datasets == []
    assert value.has_spaces
    assert value.raw == RAW


def test_what_older_releases_did_not_write() -> None:
    value = metadata(data_format=..., jpeg_encoding=..., env_spec=..., dataset_id=..., minari_version=...)
    assert (value.data_format, value.jpeg_encoding) == ("hdf5", None)
    assert (value.env_spec_json, value.dataset_id, value.minari_version) == (None, None, None)


def test_the_text_keeps_the_keys_in_order() -> None:
    assert metadata().to_json() == json.dumps(RAW)
    changed = metadata().updated({"new": 1, "author": {"Cy"}})
    assert list(json.loads(changed.to_json())) == [*RAW, "new"]


def test_spaces_are_decoded_once() -> None:
    value = metadata()
    assert value.observation_space is value.observation_space
    assert value.public()["observation_space"] is value.observation_space


def test_the_public_view() -> None:
    public = metadata(requirements=["numpy"], author="Ann").public()
    assert public["observation_space"] == BOX
    assert public["author"] == {"Ann"}
    assert public["author_email"] == {"ann@example.org"}
    assert public["env_spec"] == '{"id": "CartPole-v1"}'
    assert public["requirements"] == ["numpy"]
    assert list(public) == [*RAW, "requirements"]


def test_nothing_changes_from_outside() -> None:
    raw = json.loads(json.dumps(RAW))
    value = DatasetMetadata.from_raw(raw, "the/file")
    for view in (raw, value.raw, value.public()):
        view["mine"]["deep"].append(2)
        view["total_steps"] = 0
    value.combined_datasets.append("x-v0")
    value.updated({"description": "new"})
    assert value.raw == RAW
    with pytest.raises(AttributeError):
        value.source = "elsewhere"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("key", "value"),
    [(key, value) for key in ("total_episodes", "total_steps") for value in (..., None, -1, 1.0, "3", True)]
    + [("data_format", 3), ("jpeg_encoding", "yes"), ("observation_space", 3), ("env_spec", {"id": "x"})]
    + [("minari_version", 0.5), ("dataset_id", ["a"]), ("combined_datasets", "a-v0")],
)
def test_damaged_values_are_named_with_their_file(key: str, value: Any) -> None:
    with pytest.raises(DatasetCorruptError, match=rf"the/file.*'{key}'"):
        metadata(**{key: value})


def test_spaces_may_be_missing_only_where_the_environment_has_them() -> None:
    value = metadata(observation_space=...)
    assert not value.has_spaces
    with pytest.raises(DatasetCorruptError, match="'observation_space'"):
        _ = value.observation_space
    assert "observation_space" not in value.public()
    with pytest.raises(DatasetCorruptError, match="'action_space'"):
        metadata(action_space=..., env_spec=...)


def test_damaged_and_unknown_spaces() -> None:
    with pytest.raises(DatasetCorruptError, match=r"'action_space' in the/file.*JSON"):
        _ = metadata(action_space="{").action_space
    with pytest.raises(UnknownSpaceError, match="Torus"):
        _ = metadata(action_space='{"type": "Torus"}').action_space


@pytest.mark.parametrize("text", ["", "{", '{"total_episodes": ', "\x00\x00", b"\xff\xfe\xfa"])
def test_damaged_json_is_named(text: str | bytes) -> None:
    with pytest.raises(DatasetCorruptError, match=r"the/file.*not valid JSON"):
        DatasetMetadata.from_json(text, "the/file")


@pytest.mark.parametrize("text", ["[]", "null", '"text"'])
def test_the_file_holds_an_object(text: str) -> None:
    with pytest.raises(DatasetCorruptError, match=r"the/file.*object"):
        DatasetMetadata.from_json(text, "the/file")


@pytest.mark.parametrize(
    ("key", "value", "stored"),
    [
        ("score", np.float32(1.5), 1.5),
        ("count", np.uint64(2**64 - 1), 2**64 - 1),
        ("flag", np.bool_(True), True),
        ("array", np.arange(4).reshape(2, 2), [[0, 1], [2, 3]]),
        ("scalar", np.array(2.0), 2.0),
        ("pair", (1, (2, 3)), [1, [2, 3]]),
        ("set", {"b", "a"}, ["a", "b"]),
        ("mixed", frozenset({2, "b", 1}), [1, 2, "b"]),
        ("nested", {"x": {"y": {np.int8(1)}}}, {"x": {"y": [1]}}),
        ("text", np.str_("é"), "é"),
        ("nothing", None, None),
        ("author", "Ann", ["Ann"]),
        ("author", {"Bo", "Ann"}, ["Ann", "Bo"]),
        ("author_email", ["b@x", "a@x"], ["b@x", "a@x"]),
    ],
)
def test_values_become_what_json_holds(key: str, value: Any, stored: Any) -> None:
    updated = metadata().updated({key: value})
    assert updated.raw[key] == stored
    assert json.loads(updated.to_json())[key] == stored


@pytest.mark.parametrize("value", [object(), b"bytes", 1j, np.datetime64("2020"), Path("x"), np.array([b"x"])])
def test_what_json_cannot_hold_is_named(value: Any) -> None:
    for update in ({"mine": value}, {"mine": [1, {"deep": value}]}):
        with pytest.raises(MetadataError, match=r"'mine.*JSON cannot hold"):
            metadata().updated(update)


@pytest.mark.parametrize("update", [{3: 4}, {"mine": {3: 4}}, {"author": [3]}, {"author_email": 3}])
def test_keys_and_names_are_strings(update: dict[Any, Any]) -> None:
    with pytest.raises(MetadataError, match="string"):
        metadata().updated(update)


PROTECTED = ["observation_space", "action_space", "env_spec", "data_format", "jpeg_encoding", "dataset_id"]
PROTECTED += ["minari_version", "total_episodes", "total_steps"]


@pytest.mark.parametrize("key", PROTECTED)
def test_protected_keys(key: str) -> None:
    new = {"total_episodes": 3, "total_steps": 12, "jpeg_encoding": True}.get(key, "new")
    with pytest.raises(MetadataError, match=f"'{key}' is protected"):
        metadata().updated({key: new})
    with pytest.raises(ValueError, match="not allowed to update"):
        metadata().updated({"description": "x", key: RAW[key]})
    assert metadata().updated({key: new}, allow_protected=True).raw[key] == new


def test_what_was_never_set_may_be_set_once() -> None:
    value = metadata(dataset_id=..., jpeg_encoding=...).updated({"dataset_id": "b-v1", "jpeg_encoding": True})
    assert (value.dataset_id, value.jpeg_encoding) == ("b-v1", True)
    with pytest.raises(MetadataError):
        value.updated({"dataset_id": "c-v1"})
    described = metadata(action_space=...).updated({"action_space": spaces.Discrete(7)})
    assert described.action_space == spaces.Discrete(7)


def test_an_update_is_checked_as_a_file_is() -> None:
    with pytest.raises(DatasetCorruptError, match="'total_steps'"):
        metadata().updated({"total_steps": -1}, allow_protected=True)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda parts: st.lists(parts, max_size=3) | st.dictionaries(st.text(), parts, max_size=3),
    max_leaves=8,
)


@given(json_values)
def test_json_stays_as_it_is(value: Any) -> None:
    assert json_value(value, "key") == value
    assert json.loads(metadata().updated({"mine": value}).to_json())["mine"] == value


def test_attributes_of_the_first_releases() -> None:
    upgraded = upgrade_attributes(
        {
            "total_episodes": "12",
            "total_steps": np.int64(345),
            "dataset_size": "1.5",
            "ref_min_score": np.float64(-2.0),
            "num_episodes_average_score": np.array(100),
            "author": "Ann",
            "author_email": np.array(["a@x", "b@x"], dtype=object),
            "combined_datasets": np.array([b"a-v0", b"b-v0"], dtype=object),
            "flatten_observation": np.bool_(False),
            "env_spec": b'{"id": "X-v0"}',
            "anything": np.array([[1, 2]]),
        }
    )
    assert upgraded == {
        "total_episodes": 12,
        "total_steps": 345,
        "data_format": "hdf5",
        "minari_version": "~=0.3.0",
        "dataset_size": 1.5,
        "ref_min_score": -2.0,
        "num_episodes_average_score": 100,
        "author": ["Ann"],
        "author_email": ["a@x", "b@x"],
        "combined_datasets": ["a-v0", "b-v0"],
        "flatten_observation": False,
        "env_spec": '{"id": "X-v0"}',
        "anything": [[1, 2]],
    }
    assert not DatasetMetadata.from_raw(upgraded, "the/file").has_spaces


@pytest.mark.parametrize("attributes", [{}, {"total_episodes": "many", "total_steps": 3}])
def test_attributes_without_totals_are_damage(attributes: dict[str, Any]) -> None:
    with pytest.raises(DatasetCorruptError, match="'total_episodes'"):
        DatasetMetadata.from_raw(upgrade_attributes({**attributes, "env_spec": "{}"}), "the/file")


def test_empty_attributes_are_nothing(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "x.hdf5", "w") as file:
        file.attrs["description"] = h5py.Empty("S1")
        file.attrs["total_steps"] = 3
        upgraded = upgrade_attributes(file.attrs)
    assert (upgraded["description"], upgraded["total_steps"]) == (None, 3)


def test_every_official_release(fixtures_dir: Path) -> None:
    h5py = pytest.importorskip("h5py")
    seen = 0
    for data in data_directories(fixtures_dir):
        file = data / "metadata.json"
        if file.exists():
            value = DatasetMetadata.from_json(file.read_bytes(), file)
            assert value.raw == json.loads(file.read_text(encoding="utf-8"))
        else:
            with h5py.File(data / "main_data.hdf5", "r") as hdf5:
                value = DatasetMetadata.from_raw(upgrade_attributes(hdf5.attrs), data)
                assert value.total_episodes == sum(name.startswith("episode_") for name in hdf5)
            assert value.has_spaces == (value.minari_version != "~=0.3.0")
        assert value.total_steps >= value.total_episodes > 0
        if value.has_spaces:
            assert isinstance(value.observation_space, gym.Space)
            assert isinstance(value.action_space, gym.Space)
        seen += 1
    assert seen >= 78
