"""Large spaces with uniform bounds: described in a line, whatever their shape."""

from __future__ import annotations

import json
import pickle
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

import minari
from minari.dataset.minari_storage import MinariStorage
from minari.errors import DatasetCorruptError, DatasetVersionError, SpaceError
from minari.spaces.serialization import (
    MOST_WRITTEN_OUT,
    deserialize_space,
    has_uniform_bounds,
    serialize_space,
    with_written_bounds,
)
from support.scripted import buffer_of


pytestmark = pytest.mark.filterwarnings("ignore:`.*` is set to None")

CAMERA = spaces.Box(0, 255, (160, 140, 3), np.uint8)
SPACE = spaces.Dict(left=CAMERA, speed=spaces.Box(-1, 1, (2,)))


def written_out(space: spaces.Box) -> dict[str, Any]:
    """The description that 0.5.4 writes."""
    return {
        "type": "Box",
        "dtype": str(space.dtype),
        "shape": list(space.shape),
        "low": space.low.tolist(),
        "high": space.high.tolist(),
    }


def uniform(shape: Any, dtype: str = "int8", low: Any = 0, high: Any = 1) -> dict[str, Any]:
    """The description of a space with uniform bounds."""
    return {"type": "Box", "dtype": dtype, "shape": shape, "low": low, "high": high}


def assert_same_box(box: Any, expected: spaces.Box) -> None:
    assert type(box) is spaces.Box
    assert (box.dtype, box.shape, str(box)) == (expected.dtype, expected.shape, str(expected))
    for name in ("low", "high", "bounded_below", "bounded_above"):
        ours, theirs = getattr(box, name), getattr(expected, name)
        assert ours.dtype == theirs.dtype
        assert np.array_equal(ours, theirs)
    assert box == expected
    assert expected == box
    box.seed(4)
    assert box.contains(box.sample())
    assert pickle.loads(pickle.dumps(box)) == expected


def create(name: str = "camera/a-v0", **options: Any) -> minari.MinariDataset:
    pixels = np.random.default_rng(0).integers(0, 256, (3, *CAMERA.shape)).astype(np.uint8)
    episode = buffer_of(2, observations={"left": pixels, "speed": np.zeros((3, 2), np.float32)})
    given_spaces = {"observation_space": SPACE, "action_space": spaces.Discrete(2)}
    return minari.create_dataset_from_buffers(name, [episode], **given_spaces, **options)


@pytest.mark.parametrize(
    "space",
    [
        CAMERA,
        spaces.Box(-np.inf, np.inf, (300, 300), np.float32),
        spaces.Box(-np.inf, 0.1, (70_000,), np.float64),
        spaces.Box(-(2**31), 2**31 - 1, (2, 200, 200), np.int32),
        spaces.Box(0, 1, (300, 300), np.bool_),
    ],
)
def test_a_large_space_with_uniform_bounds_is_a_line(space: spaces.Box) -> None:
    text = str(serialize_space(space))
    assert len(text) < 200
    description = json.loads(text)
    assert description["low"] == written_out(space)["low"][0] or np.ndim(description["low"]) == 0
    assert description["shape"] == list(space.shape)
    assert_same_box(deserialize_space(text), space)
    assert serialize_space(deserialize_space(text)) == text
    # What earlier releases wrote, and what we write for them.
    long = json.dumps(written_out(space))
    assert with_written_bounds(text, 1 << 23) == long
    assert_same_box(deserialize_space(long), space)
    assert (has_uniform_bounds(text), has_uniform_bounds(long)) == (True, False)


def test_other_spaces_are_described_as_before() -> None:
    uneven = spaces.Box(np.arange(70_000.0), np.full(70_000, 1e6), dtype=np.float64)
    for space in (spaces.Box(0, 1, (MOST_WRITTEN_OUT,)), uneven, spaces.Box(0, 1, ())):
        assert serialize_space(space) == json.dumps(written_out(space))
        assert deserialize_space(serialize_space(space)) == space
        assert not has_uniform_bounds(str(serialize_space(space)))
    assert has_uniform_bounds(str(serialize_space(spaces.Box(0, 1, (MOST_WRITTEN_OUT + 1,)))))


@pytest.mark.parametrize("change", ["value", "spaces", "indent", "short"])
def test_written_bounds_that_are_not_uniform_or_not_as_usual(change: str) -> None:
    """Texts that the shortcut for long ones does not support are read number by number."""
    space = spaces.Box(0, 9, (300, 300), np.int64)
    description = written_out(space)
    expected = space
    if change == "value":
        description["high"][299][299] = 10
        expected = spaces.Box(np.array(description["low"]), np.array(description["high"]), dtype=np.int64)
    elif change == "short":
        description["high"][299].pop()
        with pytest.raises(SpaceError):
            deserialize_space(json.dumps(description))
        return
    text = json.dumps(
        {"type": "Tuple", "subspaces": [description, description]},
        indent=1 if change == "indent" else None,
        separators=(",", ":") if change == "spaces" else None,
    )
    for part in deserialize_space(text):
        assert_same_box(part, expected)


@pytest.mark.parametrize("shape", [[10**6, 10**6], [2**31, 2**31, 4], [1] * 70, [3, -1], [2.0, 3], "ab", {"a": 1}, 7])
def test_a_shape_is_bounded(shape: Any) -> None:
    with pytest.raises(SpaceError):
        deserialize_space(json.dumps({"type": "Dict", "subspaces": {"x": uniform(shape, "float64")}}))


@pytest.mark.parametrize("shape", [[1024, 1024, 1000], [0, 10**9], [10**9, 0]])
def test_bounds_of_a_large_shape_take_no_memory(shape: list[int]) -> None:
    text = json.dumps(uniform(shape))
    box = deserialize_space(text)
    assert box.shape == tuple(shape)
    for name in ("low", "high", "bounded_below", "bounded_above"):
        assert 0 in shape or getattr(box, name).base.nbytes <= 8
    with pytest.raises(SpaceError, match="1,048,576 bytes when they are written out"):
        with_written_bounds(text, 1 << 20)


def test_descriptions_that_are_given_stay_as_they_are() -> None:
    description = {"type": "Tuple", "subspaces": [json.loads(serialize_space(CAMERA))]}
    given = json.dumps(description)
    with_written_bounds(description, 1 << 23)
    assert json.dumps(description) == given


@pytest.mark.parametrize(
    ("low", "high"), [(0, [[1, 1], [1, 1]]), ("a", "b"), (None, 1), (2, 1), (0, 10**400), ({}, 1), ([], 1), (0, 256)]
)
def test_uniform_bounds_are_two_numbers(low: Any, high: Any) -> None:
    with pytest.raises(SpaceError):
        deserialize_space(uniform([2, 2], "uint8", low, high))


@pytest.mark.parametrize("data_format", ["hdf5", "arrow", "zarr"])
def test_a_camera_dataset_has_small_metadata_and_handles(data_format: str) -> None:
    dataset = create(data_format=data_format)
    text = (dataset.storage.data_path / "metadata.json").read_text(encoding="utf-8")
    assert len(text) < 3000
    assert dataset.minari_version == "0.6"
    assert len(pickle.dumps(dataset)) + len(pickle.dumps(dataset.storage)) < 3000
    again = pickle.loads(pickle.dumps(dataset))
    assert again.observation_space == SPACE
    assert again.minari_version == "0.6"
    assert np.array_equal(again[0].observations["left"], dataset[0].observations["left"])
    assert minari.list_local_datasets(compatible_minari_version=True)["camera/a-v0"]["minari_version"] == "0.6"


@pytest.mark.parametrize("data_format", ["hdf5", "parquet"])
def test_what_0_5_4_reads_can_be_asked_for(data_format: str) -> None:
    dataset = create()
    older = dataset.convert("camera/older-v0", data_format, compatible_with="0.5")
    raw = MinariStorage.read_raw_metadata(older.storage.data_path)
    assert raw["minari_version"] == older.minari_version == "0.5.4"
    assert json.loads(raw["observation_space"])["subspaces"]["left"] == written_out(CAMERA)
    assert older.observation_space == SPACE
    assert np.array_equal(older[0].observations["left"], dataset[0].observations["left"])
    # It stays so when it is written to; what is made of it is as usual.
    older.storage.update_metadata({"note": 1})
    assert MinariStorage.read_raw_metadata(older.storage.data_path)["observation_space"] == raw["observation_space"]
    assert len(pickle.dumps(older)) < 3000
    both = minari.combine_datasets([older, dataset], "camera/both-v0")
    assert both.minari_version == "0.6"
    assert both.total_episodes == 2
    older.update_dataset_from_buffer([])


def test_what_0_5_4_cannot_read_is_refused() -> None:
    dataset = create()
    with pytest.raises(DatasetVersionError, match=r"'0.4', expected '0.5'"):
        dataset.convert("camera/b-v0", compatible_with="0.4")
    with pytest.raises(DatasetVersionError, match="format 'zarr'"):
        dataset.convert("camera/b-v0", "zarr", compatible_with="0.5")
    ragged = minari.create_dataset_from_buffers(
        "camera/ragged-v0",
        [buffer_of(2, observations=[(1,), (), (0, 1)])],
        observation_space=spaces.Sequence(spaces.Discrete(2)),
        action_space=spaces.Discrete(3),
    )
    with pytest.raises(DatasetVersionError, match="Sequence"):
        ragged.convert("camera/c-v0", compatible_with="0.5")
    assert set(minari.list_local_datasets()) == {"camera/a-v0", "camera/ragged-v0"}


def test_the_version_follows_the_spaces(tmp_path: Any) -> None:
    storage = MinariStorage.new(tmp_path / "large", SPACE, spaces.Discrete(2))
    assert "minari_version" not in storage.metadata
    storage.update_metadata({"minari_version": "0.5.4"})
    assert storage.metadata["minari_version"] == "0.6"
    storage = MinariStorage.new(tmp_path / "small", spaces.Discrete(2), spaces.Discrete(2))
    storage.update_metadata({"minari_version": "0.5.4"})
    assert storage.metadata["minari_version"] == "0.5.4"


def test_a_hostile_shape_is_damage() -> None:
    path = create().storage.data_path / "metadata.json"
    raw = json.loads(path.read_text(encoding="utf-8"))
    box = uniform([10**9, 10**9], "float64")
    path.write_text(json.dumps(raw | {"observation_space": json.dumps(box)}), encoding="utf-8")
    assert "camera/a-v0" in minari.list_local_datasets()
    with pytest.raises(DatasetCorruptError, match="observation_space"):
        minari.load_dataset("camera/a-v0")
