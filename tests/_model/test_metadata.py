"""Metadata of datasets: checked when read, changed as a whole or not, and upgraded from older files.

`minari.testing` asserts in every format which values and episode metadata come back and which are refused.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st

import minari
from minari._model.metadata import DatasetMetadata, json_value, upgrade_attributes
from minari.data_collector import EpisodeBuffer
from minari.dataset.minari_storage import METADATA_FILE_NAME, MinariStorage
from minari.errors import (
    DatasetCorruptError,
    DatasetExistsError,
    EpisodeIndexError,
    MetadataError,
    UnknownFormatError,
    UnknownSpaceError,
)
from minari.serialization import serialize_space
from support.operations import METADATA
from support.scripted import PLANE, buffer_of


pytestmark = pytest.mark.filterwarnings("ignore:`.*` is set to None")

ACTIONS = spaces.Discrete(3)
BOX = spaces.Box(-1, np.inf, (2,), np.float32)
RAW: dict[str, Any] = {
    "total_episodes": 2,
    "total_steps": 9,
    "data_format": "arrow",
    "jpeg_encoding": False,
    "observation_space": serialize_space(BOX),
    "action_space": serialize_space(ACTIONS),
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


# As a value


def test_metadata_are_read_from_json() -> None:
    value = DatasetMetadata.from_json(json.dumps(RAW), Path("a", "metadata.json"))
    assert (value.total_episodes, value.total_steps, value.data_format) == (2, 9, "arrow")
    assert (value.jpeg_encoding, value.combined_datasets, value.has_spaces) == (False, [], True)
    assert (value.observation_space, value.action_space) == (BOX, ACTIONS)
    assert value.observation_space is value.observation_space is value.public()["observation_space"]  # decoded once
    assert (value.env_spec_json, value.eval_env_spec_json) == ('{"id": "CartPole-v1"}', None)
    assert (value.dataset_id, value.minari_version, value.raw) == ("toy/a-v0", "0.5.4", RAW)
    # What older releases did not write.
    value = metadata(data_format=..., jpeg_encoding=..., env_spec=..., dataset_id=..., minari_version=...)
    assert (value.data_format, value.jpeg_encoding) == ("hdf5", None)
    assert (value.env_spec_json, value.dataset_id, value.minari_version) == (None, None, None)


def test_keys_keep_their_order_and_names_are_sets_for_people() -> None:
    assert metadata().to_json() == json.dumps(RAW)
    assert metadata().updated({"requirements": "mujoco>=3"}).public()["requirements"] == ["mujoco>=3"]
    changed = metadata(requirements=["numpy"], author="Ann").updated({"new": 1, "author": {"Cy"}})
    assert list(json.loads(changed.to_json())) == list(changed.public()) == [*RAW, "requirements", "new"]
    assert (changed.public()["author"], changed.public()["author_email"]) == ({"Cy"}, {"ann@example.org"})
    assert changed.public()["requirements"] == ["numpy"]


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
    [
        *((key, value) for key in ("total_episodes", "total_steps") for value in (..., None, -1, 1.0, "3", True)),
        *(("data_format", 3), ("jpeg_encoding", "yes"), ("observation_space", 3), ("env_spec", {"id": "x"})),
        *(("minari_version", 0.5), ("dataset_id", ["a"]), ("combined_datasets", "a-v0")),
    ],
)
def test_damaged_values_are_named_with_their_file(key: str, value: Any) -> None:
    with pytest.raises(DatasetCorruptError, match=rf"the/file.*'{key}'"):
        metadata(**{key: value})


def test_damaged_unknown_and_missing_spaces_are_named() -> None:
    with pytest.raises(DatasetCorruptError, match=r"'action_space' in the/file.*JSON"):
        _ = metadata(action_space="{").action_space
    with pytest.raises(UnknownSpaceError, match="Torus"):
        _ = metadata(action_space='{"type": "Torus"}').action_space
    # They may be missing only where the environment has them.
    value = metadata(observation_space=...)
    assert not value.has_spaces
    assert "observation_space" not in value.public()
    with pytest.raises(DatasetCorruptError, match="'observation_space'"):
        _ = value.observation_space
    with pytest.raises(DatasetCorruptError, match="'action_space'"):
        metadata(action_space=..., env_spec=...)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        *((text, "not valid JSON") for text in ("", "{", '{"total_episodes": ', "\x00\x00", b"\xff\xfe\xfa")),
        *((text, "object") for text in ("[]", "null", '"text"')),
    ],
)
def test_damaged_json_is_named(text: str | bytes, message: str) -> None:
    with pytest.raises(DatasetCorruptError, match=rf"the/file.*{message}"):
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


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda parts: st.lists(parts, max_size=3) | st.dictionaries(st.text(), parts, max_size=3),
    max_leaves=8,
)


@given(json_values)
def test_json_stays_as_it_is(value: Any) -> None:
    assert json_value(value, "key") == value
    assert json.loads(metadata().updated({"mine": value}).to_json())["mine"] == value


UNSTORABLE = [object(), b"bytes", 1j, np.datetime64("2020"), Path("x"), np.array([b"x"])]


@pytest.mark.parametrize(
    ("update", "message"),
    [
        *(({"mine": value}, r"'mine.*JSON cannot hold") for value in UNSTORABLE),
        ({"mine": [1, {"deep": b"x"}]}, r"'mine.*JSON cannot hold"),
        *((update, "string") for update in ({3: 4}, {"mine": {3: 4}}, {"author": [3]}, {"author_email": 3})),
        *(
            ({"description": "x", key: new}, f"'{key}' is protected.*not allowed to update")
            for key, new in {
                **dict.fromkeys(("observation_space", "action_space", "env_spec", "data_format", "dataset_id"), "new"),
                "minari_version": "new",
                "total_episodes": 3,
                "total_steps": 12,
                "jpeg_encoding": True,
            }.items()
        ),
    ],
)
def test_updates_that_are_refused_leave_the_file_as_it_was(
    dataset: minari.MinariDataset, update: dict[Any, Any], message: str
) -> None:
    with pytest.raises(MetadataError, match=message):
        metadata().updated(update)
    before = raw(dataset)
    with pytest.raises(ValueError, match=message):
        dataset.storage.update_metadata({"fine": 1, **update})
    assert raw(dataset) == before
    assert "fine" not in dataset.storage.metadata


def test_protected_keys_may_be_set_once_or_on_request() -> None:
    value = metadata(dataset_id=..., jpeg_encoding=...).updated({"dataset_id": "b-v1", "jpeg_encoding": True})
    assert (value.dataset_id, value.jpeg_encoding) == ("b-v1", True)
    with pytest.raises(MetadataError):
        value.updated({"dataset_id": "c-v1"})
    assert value.updated({"dataset_id": "c-v1"}, allow_protected=True).dataset_id == "c-v1"
    assert metadata(action_space=...).updated({"action_space": spaces.Discrete(7)}).action_space == spaces.Discrete(7)
    with pytest.raises(DatasetCorruptError, match="'total_steps'"):
        metadata().updated({"total_steps": -1}, allow_protected=True)


# Of older files


def test_attributes_of_the_first_releases_are_upgraded(tmp_path: Path) -> None:
    attributes = {
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
    upgraded = upgrade_attributes(attributes)
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
    for damaged in ({}, {"total_episodes": "many", "total_steps": 3}):
        with pytest.raises(DatasetCorruptError, match="'total_episodes'"):
            DatasetMetadata.from_raw(upgrade_attributes({**damaged, "env_spec": "{}"}), "the/file")
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "x.hdf5", "w") as file:
        file.attrs["description"] = h5py.Empty("S1")
        assert upgrade_attributes(file.attrs)["description"] is None


# Of a dataset on disk


@pytest.fixture
def dataset() -> minari.MinariDataset:
    buffers, given_spaces = [buffer_of(2), buffer_of(3)], {"observation_space": PLANE, "action_space": ACTIONS}
    return minari.create_dataset_from_buffers("test/described-v0", buffers, "CartPole-v1", **given_spaces, **METADATA)


def raw(dataset: minari.MinariDataset) -> dict[str, Any]:
    """Return the content of the file, read without the library."""
    value: dict[str, Any] = json.loads((dataset.storage.data_path / METADATA_FILE_NAME).read_text(encoding="utf-8"))
    return value


def test_errors_of_storages_are_those_that_callers_match(tmp_path: Path) -> None:
    MinariStorage.new(tmp_path / "data", PLANE, ACTIONS)
    with pytest.raises(ValueError, match=rf"The data path {tmp_path / 'no'} doesn't exist"):
        MinariStorage.read(tmp_path / "no")
    with pytest.raises(ValueError, match=f"No data found in data path {tmp_path}"):
        MinariStorage.read(tmp_path)
    for error, message, arguments in (
        (DatasetExistsError, "already holds a dataset", {"data_path": tmp_path / "data"}),
        (UnknownFormatError, r"'parrot'.*'hdf5'", {"data_format": "parrot"}),
        (ValueError, "observation_space and action_space", {"observation_space": None, "action_space": None}),
    ):
        given_spaces = {"observation_space": PLANE, "action_space": ACTIONS}
        with pytest.raises(error, match=message) as caught:
            MinariStorage.new(**{"data_path": tmp_path / "other", **given_spaces, **arguments})
        assert isinstance(caught.value, ValueError)
    assert not (tmp_path / "other").exists()


def test_metadata_are_given_for_people_and_stored_as_json(dataset: minari.MinariDataset) -> None:
    stored, public = raw(dataset), dataset.storage.metadata
    assert MinariStorage.read_raw_metadata(dataset.storage.data_path) == stored
    assert stored.keys() == public.keys()
    assert (stored["author"], public["author"]) == (["Ann Author", "Bo Author"], {"Ann Author", "Bo Author"})
    assert isinstance(stored["observation_space"], str)
    assert public["observation_space"] == PLANE
    assert json.loads(stored["env_spec"])["id"] == "CartPole-v1"
    assert minari.list_local_datasets() == {"test/described-v0": stored}
    public["author"].add("Mallory")
    assert dataset.storage.metadata["author"] == {"Ann Author", "Bo Author"}


@pytest.mark.parametrize("indices", [[2], [-1], [0, 9], [0.5], ["0"]])
def test_episodes_that_are_not_there_are_refused(dataset: minari.MinariDataset, indices: list[Any]) -> None:
    storage = dataset.storage
    for use in (
        lambda: list(storage.get_episode_metadata(indices)),
        lambda: list(storage.get_episodes(indices)),
        lambda: list(storage.apply(len, indices)),
        lambda: storage.get_episode_lengths(indices),
        lambda: storage.update_episode_metadata([{}] * len(indices), indices),
        lambda: storage.update_from_storage(storage, indices),
    ):
        with pytest.raises(EpisodeIndexError, match="There is no episode"):
            use()


# The size


def the_size(dataset_id: str) -> float:
    """The size of a dataset, which is the same number wherever it is asked for, and that of its files."""
    storage = minari.load_dataset(dataset_id).storage
    files = (path.stat().st_size for path in storage.data_path.rglob("[!.]*") if path.is_file())
    listed = minari.list_local_datasets()[dataset_id]["dataset_size"]
    assert storage.metadata["dataset_size"] == storage.get_size() == listed == round(sum(files) / 1e6, 1)
    return float(listed)


@pytest.mark.parametrize("data_format", ["hdf5", "arrow", "zarr"])
def test_the_size_is_the_same_everywhere(data_format: str) -> None:
    def noise(seed: int) -> EpisodeBuffer:
        return buffer_of(20_000, observations=np.random.default_rng(seed).random((20_001, 2)).astype(np.float32))

    dataset = minari.create_dataset_from_buffers(
        "test/sized-v0", [noise(0)], observation_space=PLANE, action_space=ACTIONS, data_format=data_format
    )
    created = the_size("test/sized-v0")
    dataset.update_dataset_from_buffer([noise(1), noise(2)])
    appended = the_size("test/sized-v0")
    minari.load_dataset("test/sized-v0").storage.update_metadata({"note": "x" * 300_000})
    described = the_size("test/sized-v0")
    assert 0 < created < appended < described
    dataset.storage.update_episode_metadata([{"note": "y" * 60_000}] * 3)
    assert the_size("test/sized-v0") >= described
    minari.combine_datasets([dataset, dataset], "test/both-v0")
    assert the_size("test/both-v0") > appended
    dataset.convert("test/small-v0", "parquet" if data_format == "arrow" else data_format, compression="gzip")
    assert the_size("test/small-v0") > 0
    minari.split_dataset(dataset, [1, 2], seed=0)[0].save("test/part-v0")
    assert the_size("test/part-v0") < appended


def test_a_size_that_is_missing_or_wrong_is_measured_with_the_next_update(dataset: minari.MinariDataset) -> None:
    """As in what 0.5.0 combined; and 0.5.4 does not measure again where only metadata change."""
    noise = np.random.default_rng(0).random((40_001, 2)).astype(np.float32)
    dataset.update_dataset_from_buffer([buffer_of(40_000, observations=noise)])
    size, stored = the_size(dataset.id), raw(dataset)
    file = dataset.storage.data_path / METADATA_FILE_NAME
    file.write_text(json.dumps({key: value for key, value in stored.items() if key != "dataset_size"}))
    assert the_size(dataset.id) == size > 0
    dataset.storage.update_metadata({"fine": 1})
    assert raw(dataset)["dataset_size"] == size
    file.write_text(json.dumps(stored | {"dataset_size": 7.5}))
    storage = minari.load_dataset(dataset.id).storage
    assert storage.get_size() == storage.metadata["dataset_size"] == 7.5
    assert minari.list_local_datasets()[dataset.id]["dataset_size"] == 7.5
    storage.update_metadata({"fine": 1})
    assert the_size(dataset.id) == size
