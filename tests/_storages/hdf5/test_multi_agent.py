"""Episodes of many agents in HDF5: their groups, without the index, and written by another program."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from gymnasium import spaces

import minari
from minari._storages.base import MinariStorage
from minari._storages.hdf5 import process
from minari.testing.storage_suites.agents import AGENTS, draw_agents


ACTIONS = dict.fromkeys(AGENTS, spaces.Discrete(3))


@pytest.fixture
def storage(tmp_path: Path) -> MinariStorage:
    storage = MinariStorage.new(tmp_path / "data", AGENTS, ACTIONS)
    storage.update_episodes([draw_agents(AGENTS, ACTIONS, 4, number, state=list("abcde"))[0] for number in range(3)])
    return storage


def read(storage: MinariStorage) -> list[Any]:
    return list(minari.MinariDataset(MinariStorage.read(storage.data_path)))


def test_each_agent_has_a_group_in_that_of_the_episode(storage: MinariStorage) -> None:
    with h5py.File(storage.data_path / "main_data.hdf5") as file:
        assert set(file) == {"episode_0", "episode_1", "episode_2"}
        group = file["episode_2"]
        assert set(group) == {"walker", "_key:0", '_key:["red", 1]', '_key:"state"', "state"}
        assert group.attrs["total_steps"] == 4
        assert set(group["walker"]) == {
            "observations", "actions", "rewards", "terminations", "truncations", "infos", "timesteps",
        }  # fmt: skip
        assert list(group["walker/observations"]) == ["t", "x"]
        assert group["walker/timesteps"].dtype == np.int64
        assert group.attrs["agents/walker/total_steps"] == len(group["walker/rewards"])
        assert group["state"].asstr()[:].tolist() == list("abcde")


def without_index(storage: MinariStorage) -> None:
    for file in storage.data_path.glob(".index*"):
        file.unlink()


def _copy(source: h5py.Group, target: h5py.Group) -> None:
    for name, item in source.items():
        if isinstance(item, h5py.Group):
            _copy(item, target.create_group(name))
        else:
            target.create_dataset(name, data=item[()], dtype=item.dtype, maxshape=(None, *item.shape[1:]))


def rewritten(**options: Any) -> Callable[[MinariStorage], None]:
    """Return a function that writes the file as h5py does."""

    def rewrite(storage: MinariStorage) -> None:
        file = storage.data_path / "main_data.hdf5"
        file.rename(file.with_suffix(".old"))
        with h5py.File(file.with_suffix(".old")) as old, h5py.File(file, "w", **options) as new:
            for name in old:
                group = new.create_group(name)
                group.attrs.update(old[name].attrs)
                _copy(old[name], group)
        file.with_suffix(".old").unlink()
        without_index(storage)

    return rewrite


@pytest.mark.parametrize(
    "change", [without_index, rewritten(), rewritten(libver="latest")], ids=["index", "h5py", "new"]
)
def test_episodes_are_located_in_the_file(storage: MinariStorage, change: Callable[[MinariStorage], None]) -> None:
    before = read(storage)
    change(storage)
    for _ in range(2):  # by the file, and by the index that was made of it
        assert read(storage) == before
    dataset = minari.MinariDataset(storage.data_path)
    assert dataset.for_agent(0).transitions()[:]["observations"].shape[1:] == (3,)
    dataset.update_dataset_from_buffer([draw_agents(AGENTS, ACTIONS, 2, 5)[0]])
    assert read(storage)[:3] == before
    assert len(read(storage)) == 4


def test_hdf5_itself_knows_the_agents(storage: MinariStorage) -> None:
    """The process that reads what this library does not understand finds the same arrays."""
    before = read(storage)[2]
    path, names = storage.data_path / "main_data.hdf5", ["walker", "_key:0", '_key:["red", 1]', '_key:"state"']
    total_steps, found = process.leaves(path, 2, names)
    assert total_steps == 4
    assert {name.partition("/")[0] for name, _ in found} == {*names, "state"}
    ((columns),) = process.columns(path, [(2, ["state", "walker/rewards", "_key:0/infos/t"])], names)
    assert columns["state"].tolist() == before.state.tolist()
    np.testing.assert_array_equal(columns["walker/rewards"], before["walker"].rewards)
    assert columns["_key:0/infos/t"].tolist() == before[0].infos["t"].tolist()


def test_frames_of_agents_are_compressed_and_decoded(tmp_path: Path) -> None:
    frames = {"a": spaces.Box(0, 255, (64, 64, 3), np.uint8), "b": spaces.Discrete(2)}
    actions = dict.fromkeys(frames, spaces.Discrete(2))
    storage = MinariStorage.new(tmp_path / "data", frames, actions, compression={"agents/b": "gzip", "rewards": "lzf"})
    drawn = draw_agents(frames, actions, 100, 2)
    storage.update_episodes([drawn[0]])
    with h5py.File(storage.data_path / "main_data.hdf5") as file:
        group = file["episode_0"]
        assert group["a/observations"].compression == "gzip"
        assert group["b/actions"].compression == "gzip"
        assert group["a/actions"].compression is None
        assert {group[f"{agent}/rewards"].compression for agent in "ab"} == {"lzf", "gzip"}
    ((columns),) = [dict(columns) for _, columns in storage.stored_columns([0])]
    np.testing.assert_array_equal(columns["agents", "a", "observations"], drawn[0].agents["a"].observations)
    with pytest.raises(minari.errors.CompressionError, match="the dataset has no such column"):
        MinariStorage.new(tmp_path / "other", frames, actions, compression={"agents/z": "gzip"})
