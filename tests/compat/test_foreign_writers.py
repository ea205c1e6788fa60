"""Other programs open the data file themselves; what they change is what is read from then on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from support import operations
from support.checks import assert_holds


CASE = "box-unbounded"
Truth = list[dict[str, Any]]


def change_a_value(file: h5py.File, truth: Truth) -> None:
    file["episode_1/observations"][2, 1] = truth[1]["observations"][2, 1] = -77.5


def replace_a_leaf_by_one_of_the_same_size(file: h5py.File, truth: Truth) -> None:
    turned = truth[0]["observations"][::-1].copy()
    del file["episode_0/observations"]
    file["episode_0/observations"] = truth[0]["observations"] = turned


def compress_a_leaf(file: h5py.File, truth: Truth) -> None:
    del file["episode_0/observations"]
    file["episode_0"].create_dataset("observations", data=truth[0]["observations"], chunks=(2, 1), compression="gzip")


def exchange_two_episodes(file: h5py.File, truth: Truth) -> None:
    for old, new in (("episode_0", "aside"), ("episode_1", "episode_0"), ("aside", "episode_1")):
        file.move(old, new)
    for index in (0, 1):
        file[f"episode_{index}"].attrs["id"] = index
    truth[0], truth[1] = truth[1], truth[0]


def change_a_seed(file: h5py.File, truth: Truth) -> None:
    file["episode_1"].attrs["seed"] = truth[1]["seed"] = 4321


@pytest.fixture
def file(datasets_root: Path) -> Path:
    return datasets_root / "shared-v0" / "data" / "main_data.hdf5"


@pytest.fixture
def recorded() -> Truth:
    """Three episodes that were recorded and read once, so that whatever is kept about them is there."""
    truth = operations.record("shared-v0", CASE, seed=3, episodes=3)
    assert_holds(operations.dump("shared-v0", CASE), truth)
    return truth


CHANGES = [
    *(change_a_value, replace_a_leaf_by_one_of_the_same_size, compress_a_leaf, exchange_two_episodes),
    change_a_seed,
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_made_with_h5py_is_read(
    change: Callable[[h5py.File, Truth], None], recorded: Truth, file: Path
) -> None:
    with h5py.File(file, "r+") as opened:
        change(opened, recorded)
    assert_holds(operations.dump("shared-v0", CASE), recorded)


def test_values_in_the_other_byte_order_are_read(recorded: Truth, file: Path) -> None:
    with h5py.File(file, "r+") as opened:
        del opened["episode_0/observations"]
        opened["episode_0/observations"] = recorded[0]["observations"].astype(">f8")
    episode = operations.dump("shared-v0", CASE)["episodes"][0]
    assert np.array_equal(episode["observations"], recorded[0]["observations"])


def test_the_file_is_one_that_h5py_reads(recorded: Truth, file: Path) -> None:
    """Programs that read the file themselves find the groups, rows and attributes of the format."""
    with h5py.File(file) as opened:
        assert list(opened) == ["episode_0", "episode_1", "episode_2"]
        assert dict(opened.attrs) == {}
        for index, episode in enumerate(recorded):
            group = opened[f"episode_{index}"]
            for name in ("observations", "actions", "rewards", "terminations", "truncations"):
                assert group[name].dtype == episode[name].dtype
                assert np.array_equal(group[name][()], episode[name])
            assert isinstance(group["infos"], h5py.Group)
            assert list(group["infos"]) == []
            attributes = dict(group.attrs)
            assert attributes["id"] == index
            assert attributes["total_steps"] == len(episode["rewards"])
            assert attributes["seed"] == episode["seed"]
            assert np.isclose(attributes["rewards_sum"], episode["rewards"].sum())


def test_an_episode_written_with_h5py_is_read(recorded: Truth, file: Path) -> None:
    added = {**recorded[0], "rewards": recorded[0]["rewards"] * 2, "seed": 99}
    with h5py.File(file, "a") as opened:
        group = opened.create_group("episode_3")
        for name in ("observations", "actions", "rewards", "terminations", "truncations"):
            group[name] = added[name]
        group.create_group("infos")
        group.attrs.update({"id": 3, "total_steps": len(added["rewards"]), "seed": 99})
    described = file.with_name("metadata.json")
    metadata = json.loads(described.read_text(encoding="utf-8"))
    metadata["total_episodes"] += 1
    metadata["total_steps"] += len(added["rewards"])
    described.write_text(json.dumps(metadata), encoding="utf-8")
    assert_holds(operations.dump("shared-v0", CASE), [*recorded, added])


def test_rewritten_file_is_read(recorded: Truth, file: Path) -> None:
    """As h5repack does: the same contents, compressed, elsewhere in the file."""
    packed = file.with_suffix(".packed")
    with h5py.File(file) as old, h5py.File(packed, "w", libver="latest") as new:
        for name in reversed(list(old)):
            old.copy(name, new)
            rewards = new[name]["rewards"][()]
            del new[name]["rewards"]
            new[name].create_dataset("rewards", data=rewards, compression="gzip", shuffle=True)
    packed.replace(file)
    assert_holds(operations.dump("shared-v0", CASE), recorded)
