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


SPACE = spaces.Box(-1.0, 1.0, (2,), np.float32)
ACTIONS = spaces.Discrete(3)


@pytest.fixture(params=["hdf5", "memory"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> MinariStorage:
    """A storage with three episodes of 1, 2 and 3 steps."""
    register_memory_storage()
    storage = MinariStorage.new(tmp_path / "a-v0" / "data", SPACE, ACTIONS, data_format=request.param)
    storage.update_episodes(as_buffer(draw_truth(SPACE, ACTIONS, steps, steps)) for steps in (1, 2, 3))
    return storage


def test_signatures() -> None:
    """The names and defaults that programs rely on."""

    def parameters(function: Any) -> list[str]:
        return [str(p).split(":")[0] for p in inspect.signature(function).parameters.values()]

    assert parameters(MinariStorage.new) == [
        "data_path", "observation_space", "action_space", "env_spec", "data_format", "jpeg_encoding",
        "compression",
    ]  # fmt: skip
    defaults = {p.name: p.default for p in inspect.signature(MinariStorage.new).parameters.values()}
    assert defaults["data_format"] == "hdf5"
    assert defaults["jpeg_encoding"] is False
    assert parameters(MinariStorage.update_episode_metadata) == [
        "self", "metadatas", "episode_indices", "lock_timeout"
    ]  # fmt: skip
    assert parameters(MinariStorage.apply) == ["self", "function", "episode_indices"]
    assert METADATA_FILE_NAME == "metadata.json"
    assert is_image_space(spaces.Box(0, 255, (64, 64, 3), np.uint8))


def test_hooks_of_a_format() -> None:
    """The hooks that a format has to implement."""
    assert MinariStorage.__abstractmethods__ == {
        "_read_columns", "_read_episode_metadata", "_writer", "_count_episodes"
    }  # fmt: skip
    assert EpisodeWriter.__abstractmethods__ == {"append", "replace", "update_metadata", "commit"}
    for format_type in (HDF5Storage, MemoryStorage):
        assert not format_type.__abstractmethods__


def test_what_it_is(storage: MinariStorage, tmp_path: Path) -> None:
    assert storage.data_path == tmp_path / "a-v0" / "data"
    assert isinstance(storage.data_path, Path)
    assert (storage.total_episodes, storage.total_steps) == (3, 6)
    assert (storage.observation_space, storage.action_space) == (SPACE, ACTIONS)
    assert storage.jpeg_encoding is False
    for path in (str(storage.data_path), storage.data_path):
        assert type(MinariStorage.read(path)) is type(storage)


def test_metadata_are_a_copy(storage: MinariStorage) -> None:
    storage.update_metadata({"list": [1]})
    metadata = storage.metadata
    metadata["list"].append(2)
    metadata["total_episodes"] = 9
    assert storage.metadata["list"] == [1]
    assert storage.total_episodes == 3


def test_raw_metadata(storage: MinariStorage) -> None:
    raw = MinariStorage.read_raw_metadata(storage.data_path)
    assert raw == json.loads((storage.data_path / METADATA_FILE_NAME).read_text())
    assert isinstance(raw["observation_space"], str)
    with pytest.raises(DataPathError, match="doesn't exist"):
        MinariStorage.read_raw_metadata(storage.data_path / "nowhere")


def test_size(storage: MinariStorage) -> None:
    """Of the files that count, in MB with one decimal, where no writer has stored it."""
    forget_size(storage.data_path)
    (storage.data_path / "big.bin").write_bytes(bytes(1_260_000))
    (storage.data_path / ".hidden").write_bytes(bytes(1_000_000))
    (storage.data_path / "directory").mkdir()
    (storage.data_path / "directory" / "more.bin").write_bytes(bytes(1_000_000))
    assert storage.get_size() == 2.3


def forget_size(data_path: Path) -> None:
    raw = json.loads((data_path / METADATA_FILE_NAME).read_text())
    del raw["dataset_size"]
    (data_path / METADATA_FILE_NAME).write_text(json.dumps(raw))


# Making one


def test_new_makes_directories_and_takes_empty_ones(tmp_path: Path) -> None:
    for path in (tmp_path / "a" / "b" / "data", tmp_path / "empty"):
        if path.name == "empty":
            path.mkdir()
        storage = MinariStorage.new(str(path), SPACE, ACTIONS)
        assert storage.data_path == path
        assert sorted(file.name for file in path.iterdir()) == ["main_data.hdf5", "metadata.json"]


def test_new_refuses_what_is_taken(storage: MinariStorage, tmp_path: Path) -> None:
    with pytest.raises(DatasetExistsError, match="already holds a dataset"):
        MinariStorage.new(storage.data_path, SPACE, ACTIONS)
    old = tmp_path / "old"
    old.mkdir()
    (old / "main_data.hdf5").touch()
    with pytest.raises(DatasetExistsError, match="already holds a dataset"):
        MinariStorage.new(old, SPACE, ACTIONS)
    assert issubclass(DatasetExistsError, ValueError)


def test_spaces_of_an_environment(tmp_path: Path) -> None:
    spec = gym.spec("CartPole-v1")
    storage = MinariStorage.new(tmp_path / "data", env_spec=spec)
    assert storage.action_space == spaces.Discrete(2)
    assert storage.observation_space.shape == (4,)
    assert json.loads(storage.metadata["env_spec"])["id"] == "CartPole-v1"
    half = MinariStorage.new(tmp_path / "half", observation_space=SPACE, env_spec=spec)
    assert half.observation_space == SPACE
    assert half.action_space == spaces.Discrete(2)


@pytest.mark.parametrize("given", [{}, {"observation_space": SPACE}, {"action_space": ACTIONS}])
def test_new_without_spaces(tmp_path: Path, given: dict[str, Any]) -> None:
    with pytest.raises(SpaceError, match="give observation_space and action_space"):
        MinariStorage.new(tmp_path / "data", **given)
    assert not (tmp_path / "data").exists()
    assert issubclass(SpaceError, ValueError)


def test_new_with_a_space_that_has_no_description(tmp_path: Path) -> None:
    class Odd(gym.Space[Any]):
        pass

    with pytest.raises(SpaceError):
        MinariStorage.new(tmp_path / "data", Odd(), ACTIONS)
    assert not (tmp_path / "data").exists()


# Opening one


def test_unknown_format(storage: MinariStorage) -> None:
    file = storage.data_path / METADATA_FILE_NAME
    metadata = json.loads(file.read_text())
    file.write_text(json.dumps({**metadata, "data_format": "csv"}))
    with pytest.raises(UnknownFormatError, match="'csv'"):
        MinariStorage.read(storage.data_path)


def test_data_and_metadata_that_disagree(storage: MinariStorage) -> None:
    file = storage.data_path / METADATA_FILE_NAME
    metadata = json.loads(file.read_text())
    file.write_text(json.dumps({**metadata, "total_episodes": 5}))
    with pytest.raises(DatasetCorruptError, match="claims 5 episodes and the data has 3"):
        MinariStorage.read(storage.data_path)


def test_dataset_that_was_moved_or_deleted_meanwhile(storage: MinariStorage) -> None:
    storage.data_path.rename(storage.data_path.with_name("moved"))
    with pytest.raises(DataPathError, match="doesn't exist"):
        _ = storage.total_episodes
    moved = MinariStorage.read(storage.data_path.with_name("moved"))
    assert [len(episode["rewards"]) for episode in moved.get_episodes(range(3))] == [1, 2, 3]


# Reading and writing


def test_reading_is_lazy(storage: MinariStorage) -> None:
    """Episodes are read as they are asked for, so indices may go on for ever; a wrong one is an error."""
    episodes = storage.get_episodes(itertools.cycle([2, 0]))
    assert [next(episodes)["id"] for _ in range(50)] == [2, 0] * 25
    with pytest.raises(EpisodeIndexError, match=r"no episode 99 in .*, expected a number from 0 to 2"):
        list(storage.get_episodes(iter([0, 99])))
    assert issubclass(EpisodeIndexError, IndexError)


def test_describe_gets_the_episode_and_says_what_is_kept(storage: MinariStorage) -> None:
    seen = []

    def describe(episode: dict[str, Any]) -> dict[str, Any]:
        seen.append((episode["id"], len(episode["rewards"]), episode["observations"].shape))
        return {"rewards_sum": float(episode["rewards"].sum())}

    truth = draw_truth(SPACE, ACTIONS, 4, 9)
    storage.update_episodes([as_buffer(truth)], describe=describe)
    more = as_buffer(truth, id=0, observations=truth["observations"][1:], infos=None)
    storage.update_episodes([more], describe=describe)
    assert seen == [(3, 4, (5, 2)), (0, 5, (6, 2))]
    first, last = storage.get_episode_metadata([0, 3])
    assert last["rewards_sum"] == truth["rewards"].sum()
    (episode,) = storage.get_episodes([0])
    assert first["rewards_sum"] == episode["rewards"].sum()


def test_an_episode_is_described_once_when_it_is_whole(storage: MinariStorage) -> None:
    """Also one that several buffers continue."""
    lengths = []

    def describe(episode: dict[str, Any]) -> dict[str, Any]:
        lengths.append(len(episode["rewards"]))
        return {"length": lengths[-1]}

    truth = draw_truth(SPACE, ACTIONS, 2)
    more = as_buffer(truth, id=1, observations=truth["observations"][1:], infos=None)
    storage.update_episodes([more, as_buffer(draw_truth(SPACE, ACTIONS, 5)), more], describe=describe)
    assert lengths == [5, 6]
    assert [metadata.get("length") for metadata in storage.get_episode_metadata([0, 1, 3])] == [None, 6, 5]


def test_an_error_of_describe_stores_nothing(storage: MinariStorage) -> None:
    def broken(_: dict[str, Any]) -> dict[str, Any]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        storage.update_episodes([as_buffer(draw_truth(SPACE, ACTIONS, 4))], describe=broken)
    with pytest.raises(MetadataError, match="Episode 3 cannot be stored"):
        storage.update_episodes([as_buffer(draw_truth(SPACE, ACTIONS, 4))], describe=lambda _: {"id": 3})
    assert storage.total_episodes == 3


def test_totals_follow(storage: MinariStorage) -> None:
    storage.update_from_storage(storage, [2, 2])
    assert (storage.total_episodes, storage.total_steps) == (5, 12)
    raw = MinariStorage.read_raw_metadata(storage.data_path)
    assert (raw["total_episodes"], raw["total_steps"]) == (5, 12)
    assert raw["dataset_size"] >= 0


def test_memory_is_process_wide_and_follows_a_rename(tmp_path: Path) -> None:
    register_memory_storage()
    storage = MinariStorage.new(tmp_path / "hidden" / "data", SPACE, ACTIONS, data_format="memory")
    storage.update_episodes([as_buffer(draw_truth(SPACE, ACTIONS, 2))])
    (tmp_path / "hidden").rename(tmp_path / "a-v0")
    assert MinariStorage.read(tmp_path / "a-v0" / "data").total_steps == 2


@pytest.mark.parametrize("data_format", ["hdf5", "arrow", "parquet", "zarr", "memory"])
def test_durable_is_said_and_not_guessed(data_format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However a directory is called: changes are flushed, unless whoever builds a dataset flushes them later."""
    register_memory_storage()
    flushed = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda descriptor: flushed.append(descriptor) or fsync(descriptor))
    for name, durable in ((".recordings/.a.partial", True), ("a", False)):
        storage = create_storage(
            tmp_path / name / "data",
            SPACE,
            ACTIONS,
            None,
            data_format,
            jpeg_encoding=False,
            compression=None,
            durable=durable,
        )
        for change in (
            lambda: storage.update_episodes([as_buffer(draw_truth(SPACE, ACTIONS, 2))]),  # noqa: B023
            lambda: storage.update_episodes([as_buffer(draw_truth(SPACE, ACTIONS, 2))]),  # noqa: B023
            lambda: storage.update_episode_metadata([{"key": 1}], [0]),  # noqa: B023
            lambda: storage.update_metadata({"key": 1}),  # noqa: B023
            storage.repack,
        ):
            flushed.clear()
            change()
            assert bool(flushed) == durable
