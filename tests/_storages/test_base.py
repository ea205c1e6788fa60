"""Operations of a storage in any format: opening, creating, properties."""

from __future__ import annotations

import inspect
import itertools
import json
import os
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from minari._storages.base import create_storage
from minari.dataset._storages.hdf5_storage import HDF5Storage
from minari.dataset.minari_storage import METADATA_FILE_NAME, EpisodeWriter, MinariStorage, is_image_space
from minari.errors import (
    DataPathError,
    DatasetCorruptError,
    DatasetExistsError,
    EpisodeIndexError,
    MetadataError,
    SpaceError,
    UnknownFormatError,
)
from minari.testing.examples import as_buffer, draw_truth
from minari.testing.memory_storage import MemoryStorage, register_memory_storage
from support.stored import edit_metadata, store


SPACE = spaces.Box(-1.0, 1.0, (2,), np.float32)
ACTIONS = spaces.Discrete(3)


def draw(steps: int, seed: int = 0) -> dict[str, Any]:
    return draw_truth(SPACE, ACTIONS, steps, seed)


@pytest.fixture(params=["hdf5", "memory"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> MinariStorage:
    """A storage with three episodes of 1, 2 and 3 steps."""
    register_memory_storage()
    return MinariStorage.read(store(tmp_path / "a-v0", request.param, [draw(n, n) for n in (1, 2, 3)], SPACE, ACTIONS))


def test_signatures_and_hooks_are_those_that_programs_rely_on() -> None:
    new = inspect.signature(MinariStorage.new).parameters
    first = ["data_path", "observation_space", "action_space", "env_spec", "data_format", "jpeg_encoding"]
    assert list(new) == [*first, "compression", "frame_stack", "compatible_with"]
    assert (new["data_format"].default, new["jpeg_encoding"].default) == ("hdf5", False)
    update = inspect.signature(MinariStorage.update_episode_metadata).parameters
    assert list(update) == ["self", "metadatas", "episode_indices", "lock_timeout"]
    assert list(inspect.signature(MinariStorage.apply).parameters) == ["self", "function", "episode_indices"]
    hooks = {"_read_columns", "_read_episode_metadata", "_writer", "_count_episodes"}
    assert MinariStorage.__abstractmethods__ == hooks
    assert EpisodeWriter.__abstractmethods__ == {"append", "replace", "update_metadata", "commit"}
    assert not HDF5Storage.__abstractmethods__ | MemoryStorage.__abstractmethods__
    assert METADATA_FILE_NAME == "metadata.json"
    assert is_image_space(spaces.Box(0, 255, (64, 64, 3), np.uint8))


@pytest.mark.parametrize(
    ("error", "builtin"), [(DatasetExistsError, ValueError), (SpaceError, ValueError), (EpisodeIndexError, IndexError)]
)
def test_errors_are_those_of_python_too(error: type[Exception], builtin: type[Exception]) -> None:
    assert issubclass(error, builtin)


def test_metadata_is_a_copy(storage: MinariStorage) -> None:
    storage.update_metadata({"list": [1]})
    metadata = storage.metadata
    metadata["list"].append(2)
    metadata["total_episodes"] = 9
    assert (storage.metadata["list"], storage.total_episodes) == ([1], 3)


def test_raw_metadata_is_the_content_of_the_file(storage: MinariStorage) -> None:
    raw = MinariStorage.read_raw_metadata(str(storage.data_path))
    assert raw == json.loads((storage.data_path / METADATA_FILE_NAME).read_text())
    assert isinstance(raw["observation_space"], str)
    with pytest.raises(DataPathError, match="doesn't exist"):
        MinariStorage.read_raw_metadata(storage.data_path / "nowhere")


def test_size_is_that_of_visible_files_where_no_writer_has_stored_it(storage: MinariStorage) -> None:
    edit_metadata(storage.data_path, dataset_size=None)
    (storage.data_path / "directory").mkdir()
    for name, size in {"big.bin": 1_260_000, ".hidden": 1_000_000, "directory/more.bin": 1_000_000}.items():
        (storage.data_path / name).write_bytes(bytes(size))
    assert storage.get_size() == 2.3


# Creating


@pytest.mark.parametrize("name", ["a/b/data", "empty"])
def test_new_creates_missing_directories_and_takes_empty_ones(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    storage = MinariStorage.new(str(tmp_path / name), SPACE, ACTIONS)
    assert storage.data_path == tmp_path / name
    assert {file.name for file in storage.data_path.iterdir()} == {"main_data.hdf5", "metadata.json"}


def test_new_refuses_a_directory_with_data_of_old_releases(tmp_path: Path) -> None:
    (tmp_path / "main_data.hdf5").touch()
    with pytest.raises(DatasetExistsError, match="already holds a dataset"):
        MinariStorage.new(tmp_path, SPACE, ACTIONS)


def test_spaces_that_are_not_given_are_those_of_the_environment(tmp_path: Path) -> None:
    storage = MinariStorage.new(tmp_path / "half", observation_space=SPACE, env_spec=gym.spec("CartPole-v1"))
    assert (storage.observation_space, storage.action_space) == (SPACE, spaces.Discrete(2))
    assert json.loads(storage.metadata["env_spec"])["id"] == "CartPole-v1"
    storage = MinariStorage.new(tmp_path / "both", env_spec=gym.spec("CartPole-v1"))
    assert storage.observation_space.shape == (4,)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "give observation_space and action_space"),
        ({"observation_space": SPACE}, "give observation_space and action_space"),
        ({"action_space": ACTIONS}, "give observation_space and action_space"),
        ({"observation_space": type("Odd", (gym.Space,), {})(), "action_space": ACTIONS}, "Odd"),
    ],
)
def test_new_refuses_missing_and_unknown_spaces(tmp_path: Path, given: dict[str, Any], message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        MinariStorage.new(tmp_path / "data", **given)
    assert not (tmp_path / "data").exists()


# Opening


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"data_format": "csv"}, UnknownFormatError, "'csv'"),
        ({"total_episodes": 2}, DatasetCorruptError, "claims 2 episodes and the data has 3"),
        ({"total_episodes": 4}, DatasetCorruptError, "claims 4 episodes and the data has 3"),
    ],
)
def test_metadata_that_disagrees_is_refused(storage: MinariStorage, changes: Any, error: Any, message: str) -> None:
    edit_metadata(storage.data_path, **changes)
    with pytest.raises(error, match=message):
        MinariStorage.read(storage.data_path)


def test_moved_dataset_is_missed_and_found_elsewhere(storage: MinariStorage) -> None:
    storage.data_path.rename(storage.data_path.with_name("moved"))
    with pytest.raises(DataPathError, match="doesn't exist"):
        _ = storage.total_episodes
    moved = MinariStorage.read(storage.data_path.with_name("moved"))
    assert type(moved) is type(storage)
    assert [len(episode["rewards"]) for episode in moved.get_episodes(range(3))] == [1, 2, 3]


# Reading and writing


def test_episodes_are_read_as_they_are_asked_for(storage: MinariStorage) -> None:
    episodes = storage.get_episodes(itertools.cycle([2, 0]))
    assert [next(episodes)["id"] for _ in range(50)] == [2, 0] * 25
    with pytest.raises(EpisodeIndexError, match=r"no episode 99 in .*, expected a number from 0 to 2"):
        list(storage.get_episodes(iter([0, 99])))


def test_describe_sees_each_whole_episode_once(storage: MinariStorage) -> None:
    seen = []

    def describe(episode: dict[str, Any]) -> dict[str, Any]:
        steps = len(episode["rewards"])
        seen.append((episode["id"], steps, episode["observations"].shape))
        return {"length": steps, "sum": float(episode["rewards"].sum())}

    truth = draw(2)
    more = as_buffer(truth, id=1, observations=truth["observations"][1:], infos=None)
    storage.update_episodes([more, as_buffer(draw(5)), more], describe=describe)
    assert seen == [(3, 5, (6, 2)), (1, 6, (7, 2))]
    metadatas = list(storage.get_episode_metadata([0, 1, 3]))
    assert [metadata.get("length") for metadata in metadatas] == [None, 6, 5]
    (episode,) = storage.get_episodes([1])
    assert metadatas[1]["sum"] == episode["rewards"].sum()


def test_failing_describe_stores_nothing(storage: MinariStorage) -> None:
    with pytest.raises(ZeroDivisionError):
        storage.update_episodes([as_buffer(draw(4))], describe=lambda _: {"x": 1 / 0})
    with pytest.raises(MetadataError, match="Episode 3 cannot be stored"):
        storage.update_episodes([as_buffer(draw(4))], describe=lambda _: {"id": 3})
    assert storage.total_episodes == 3


def test_memory_storage_is_process_wide_and_follows_a_rename(tmp_path: Path) -> None:
    register_memory_storage()
    store(tmp_path / "hidden", "memory", [draw(2)], SPACE, ACTIONS)
    (tmp_path / "hidden").rename(tmp_path / "a-v0")
    assert MinariStorage.read(tmp_path / "a-v0" / "data").total_steps == 2


@pytest.mark.parametrize("durable", [True, False])
@pytest.mark.parametrize("directory", [".recordings/.a.partial", "a"])
def test_changes_are_flushed_if_they_are_durable(
    data_format: str, tmp_path: Path, directory: str, durable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda descriptor: flushed.append(descriptor) or fsync(descriptor))
    options: Any = {"jpeg_encoding": False, "compression": None, "durable": durable}
    storage = create_storage(tmp_path / directory / "data", SPACE, ACTIONS, None, data_format, **options)
    for change in (
        lambda: storage.update_episodes([as_buffer(draw(2))]),
        lambda: storage.update_episodes([as_buffer(draw(2))]),
        lambda: storage.update_episode_metadata([{"key": 1}], [0]),
        lambda: storage.update_metadata({"key": 1}),
        storage.repack,
    ):
        flushed.clear()
        change()
        assert bool(flushed) == durable
