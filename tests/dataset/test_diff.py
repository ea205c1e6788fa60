"""Differences of datasets: what they are, in every format, and by a slow model over whole episodes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st

import minari
from minari.data_collector import EpisodeBuffer, MultiAgentEpisodeBuffer
from minari.dataset.diff import DatasetDiff, EpisodeChange
from minari.errors import DataPathError, DatasetNotFoundError
from support.copies import in_every_format, make_rich
from support.official import OfficialDataset, official_datasets
from support.scripted import PLANE, buffer_of


pytestmark = [
    pytest.mark.filterwarnings("ignore::minari.errors.MissingMetadataWarning"),
    pytest.mark.filterwarnings("ignore:.*outside"),
    pytest.mark.filterwarnings("ignore:.*cannot be rebuilt"),
]

FORMATS = ["hdf5", "arrow", "parquet", "zarr"]
ACTIONS = spaces.Discrete(3)


def create(dataset_id: str, buffers: list[Any], **arguments: Any) -> minari.MinariDataset:
    arguments = {"observation_space": PLANE, "action_space": ACTIONS, **arguments}
    return minari.create_dataset_from_buffers(dataset_id, buffers, **arguments)


def numbered(number: int, length: int = 3, **fields: Any) -> EpisodeBuffer:
    """An episode with values and metadata of its own."""
    buffer = buffer_of(length, start=10.0 * number, seed=number, metadata={"task": f"t{number}"})
    return dataclasses.replace(buffer, **fields)


def assert_equal(found: DatasetDiff) -> None:
    assert found.equal, found
    assert found.as_dict()["equal"] is True
    assert found.episodes.are_equal


# What is equal


@pytest.mark.parametrize("data_format", FORMATS)
def test_door_equals_its_copies(real_root: Any, data_format: str) -> None:
    dataset = minari.load_dataset("D4RL/door/human-v2")
    copy = dataset.convert("door/copy-v0", data_format, compression="gzip" if data_format == "hdf5" else None)
    found = minari.diff_datasets("D4RL/door/human-v2", copy.storage.data_path.parent)
    assert_equal(found)
    assert found.episodes.equal == 25
    assert found.metadata.of_copies["dataset_id"] == ("D4RL/door/human-v2", "door/copy-v0")
    assert {"id": "door/copy-v0", "total_episodes": 25, "total_steps": 6729}.items() <= found.b.items()


@in_every_format
def test_values_of_every_kind_are_equal_across_formats(data_format: str) -> None:
    dataset = make_rich("rich/a-v0", "hdf5")
    copy = dataset.convert("rich/b-v0", data_format)
    assert_equal(minari.diff_datasets(dataset, copy))
    copy.storage.update_episode_metadata([{"list": [1, "a", 0]}], [2])
    found = minari.diff_datasets(dataset, copy)
    assert found.episodes.changed == (
        EpisodeChange(2, 2, None, None, ("list",), "metadata list is [1, 'a', None] and [1, 'a', 0]"),
    )


def stacked(number: int, *, broken: bool = False) -> EpisodeBuffer:
    frames = np.random.default_rng(number).integers(0, 255, (7, 40, 36), np.uint8)
    camera = np.stack([frames[t : t + 3] for t in range(5)])
    camera[3, 1, 2, 5] ^= np.uint8(broken)
    return buffer_of(4, observations={"camera": camera})


def frames(dataset_id: str, buffers: list[Any], **choices: Any) -> minari.MinariDataset:
    space = spaces.Dict(camera=spaces.Box(0, 255, (3, 40, 36), np.uint8))
    return create(dataset_id, buffers, observation_space=space, **choices)


@pytest.mark.parametrize("data_format", FORMATS)
def test_frames_are_compared_decoded(data_format: str) -> None:
    buffers = [stacked(number) for number in range(3)]
    kept = frames("frames/kept-v0", buffers, data_format=data_format)
    once = frames("frames/once-v0", buffers, data_format="hdf5", frame_stack="deduplicate")
    assert_equal(minari.diff_datasets(kept, once))
    other = frames("frames/other-v0", [buffers[0], stacked(1, broken=True), buffers[2]], frame_stack="deduplicate")
    value = buffers[1].observations["camera"][3, 1, 2, 5]
    (change,) = minari.diff_datasets(kept, other).episodes.changed
    assert (change.a, change.leaf, change.step) == (1, "observations/camera", 3)
    assert change.description == f"observations/camera at step 3 is {value} and {value ^ 1}, at [1, 2, 5]"


@pytest.mark.parametrize("data_format", FORMATS)
def test_jpeg_equals_its_copies_and_not_the_frames(data_format: str) -> None:
    space = spaces.Dict(camera=spaces.Box(0, 255, (40, 36, 3), np.uint8))
    camera = np.random.default_rng(0).integers(0, 255, (2, 4, 40, 36, 3), np.uint8)
    buffers = [buffer_of(3, observations={"camera": one}) for one in camera]
    jpeg = create("jpeg/a-v0", buffers, observation_space=space, jpeg_encoding=True, data_format=data_format)
    lossless = create("jpeg/b-v0", buffers, observation_space=space)
    assert_equal(minari.diff_datasets(jpeg, jpeg.convert("jpeg/c-v0", "hdf5", jpeg_encoding=True)))
    assert_equal(minari.diff_datasets(jpeg, jpeg.convert("jpeg/d-v0", "zarr", jpeg_encoding=False)))
    found = minari.diff_datasets(jpeg, lossless)
    assert [change.leaf for change in found.episodes.changed] == ["observations/camera"] * 2
    assert found.metadata.equal


@pytest.mark.parametrize("official", official_datasets()[::9], ids=str)
def test_old_releases_equal_their_copies(official: OfficialDataset) -> None:
    dataset = minari.open_dataset(official.data_path)
    copy = dataset.convert("copies/a-v0", "parquet" if official.data_format == "hdf5" else "hdf5")
    assert_equal(minari.diff_datasets(official.data_path, copy))
    assert len(dataset.filter_episodes("length > 0 and return > -1e9")) == len(dataset)


# What differs


CHANGES: dict[str, tuple[Callable[[EpisodeBuffer], dict[str, Any]], str | None, int | None, str]] = {
    "reward": (lambda one: {"rewards": [0.0, 1.5, 2.0]}, "rewards", 1, "rewards at step 1 is 1.0 and 1.5"),
    "negative zero": (lambda one: {"rewards": [-0.0, 1.0, 2.0]}, "rewards", 0, "rewards at step 0 is 0.0 and -0.0"),
    "dtype": (
        lambda one: {"rewards": np.array([0, 1, 2])},
        "rewards",
        None,
        "rewards is float64 of shape () and int64 of shape ()",
    ),
    "observation": (
        lambda one: {"observations": one.observations + np.float32([[0, 0]] * 2 + [[0, 1]] * 2)},
        "observations",
        2,
        "observations at step 2 is 12.0 and 13.0, at [1]",
    ),
    "first of several": (
        lambda one: {"actions": np.array([0, 1, 1]), "rewards": [9.0, 9.0, 9.0]},
        "actions",
        2,
        "actions at step 2 is 2 and 1",
    ),
    "flag": (
        lambda one: {"truncations": [False, False, True]},
        "truncations",
        2,
        "truncations at step 2 is False and True",
    ),
    "length": (
        lambda one: dataclasses.asdict(buffer_of(4, start=10.0)) | {"metadata": {"task": "t1"}, "seed": 1},
        "observations",
        4,
        "observations has 4 and 5 rows",
    ),
    "info": (lambda one: {"infos": {"x": np.ones(4)}}, "infos/x", None, "infos/x is only in the second"),
    "metadata": (lambda one: {"metadata": {"task": "other"}}, None, None, "metadata task is 't1' and 'other'"),
    "seed": (lambda one: {"seed": 5}, None, None, "metadata seed is 1 and 5"),
    "both": (
        lambda one: {"rewards": [0.0, 1.0, 3.0], "metadata": {"task": "other"}},
        "rewards",
        2,
        "rewards at step 2 is 2.0 and 3.0; metadata task is 't1' and 'other'",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_changes_name_the_leaf_and_the_step(name: str) -> None:
    change, leaf, step, description = CHANGES[name]
    buffers = [numbered(number) for number in range(3)]
    before = create("changes/a-v0", buffers)
    after = create("changes/b-v0", [buffers[0], dataclasses.replace(buffers[1], **change(buffers[1])), buffers[2]])
    found = minari.diff_datasets(before, after)
    assert not found.equal
    assert found.metadata.equal
    assert (found.episodes.equal, found.episodes.moved) == (2, ())
    (one,) = found.episodes.changed
    shown = one.description.split("; metadata rewards")[0]  # (statistics that follow from the rewards)
    assert (one.a, one.b, one.leaf, one.step, shown) == (1, 1, leaf, step, description)
    assert bool(one.metadata) == ("metadata" in description)
    back = minari.diff_datasets(after, before)
    assert [(change.leaf, change.step) for change in back.episodes.changed] == [(leaf, step)]
    ignoring = minari.diff_datasets(before, after, ignore_metadata=True)
    assert ignoring.equal == (leaf is None)


def test_moved_added_and_removed_episodes() -> None:
    buffers = [numbered(number) for number in range(8)]
    before = create("moves/a-v0", buffers)
    found = minari.diff_datasets(before, before[[0, 2, 3, 1, 4, 4]])
    assert (found.episodes.equal, found.episodes.moved) == (2, ((1, 3), (2, 1), (3, 2)))
    assert (found.episodes.only_in_a, found.episodes.only_in_b) == ((6, 7), ())
    (change,) = found.episodes.changed
    assert (change.a, change.leaf, change.step) == (5, "observations", 0)
    after = create(
        "moves/b-v0", [*buffers[1:], dataclasses.replace(buffers[0], metadata={"task": "other"}), numbered(9)]
    )
    found = minari.diff_datasets(before, after)
    assert found.episodes.moved == ((0, 7), *((number, number - 1) for number in range(1, 8)))
    assert (found.episodes.only_in_a, found.episodes.only_in_b) == ((), (8,))
    assert found.episodes.changed == (EpisodeChange(0, 7, None, None, ("task",), "metadata task is 't0' and 'other'"),)


def test_moved_episodes_are_those_with_the_same_metadata_first() -> None:
    def episodes(*drawn: tuple[float, str]) -> list[EpisodeBuffer]:
        return [buffer_of(2, start=start, metadata={"task": task}) for start, task in drawn]

    before = create("twins/a-v0", episodes((5, "x"), (5, "y"), (1, "x")))
    after = create("twins/b-v0", episodes((1, "x"), (2, "x"), (5, "y"), (5, "x")))
    found = minari.diff_datasets(before, after).episodes
    assert (found.moved, found.only_in_b, found.changed) == (((0, 3), (1, 2), (2, 0)), (1,), ())


def test_metadata_of_datasets() -> None:
    before = create("meta/a-v0", [numbered(0)], author="Ada", description="One.")
    after = before.convert("meta/b-v0", "zarr")
    after.storage.update_metadata({"author": "Grace", "gain": 0.5, "description": "One."})
    before.storage.update_metadata({"lab": "north"})
    found = minari.diff_datasets(before, after)
    assert not found.equal
    assert dict(found.metadata.only_in_a) == {"lab": "north"}
    assert dict(found.metadata.only_in_b) == {"gain": 0.5}
    assert dict(found.metadata.changed) == {"author": (["Ada"], ["Grace"])}
    assert {"dataset_id", "data_format"} <= found.metadata.of_copies.keys()
    assert found.episodes.are_equal
    assert minari.diff_datasets(before, after, ignore_metadata=True).equal
    json.dumps(found.as_dict())


SPACES: dict[str, tuple[Any, Any, tuple[str, ...]]] = {
    "bounds": (spaces.Dict(a=spaces.Box(-1, 1, (2,))), spaces.Dict(a=spaces.Box(-1, 2, (2,))), ("observations/a is",)),
    "leaf": (
        spaces.Dict(a=spaces.Box(-1, 1, (2,))),
        spaces.Dict(b=spaces.Box(-1, 1, (2,))),
        ("observations has the keys",),
    ),
    "same": (spaces.Dict(a=spaces.Box(-1, 1, (2,))), spaces.Dict(a=spaces.Box(-1, 1, (2,))), ()),
}


@pytest.mark.parametrize("name", SPACES)
def test_spaces(name: str) -> None:
    *both, expected = SPACES[name]
    one, other = (
        create(f"spaces/a-v{number}", [buffer_of(1, observations={key: np.zeros((2, 2), np.float32) for key in space})],
               observation_space=space)
        for number, space in enumerate(both)
    )  # fmt: skip
    found = minari.diff_datasets(one, other)
    assert len(found.spaces) == len(expected)
    assert all(text.startswith(start) for text, start in zip(found.spaces, expected, strict=True))
    assert found.equal == (not expected)


@pytest.mark.parametrize("data_format", FORMATS)
def test_vector_rewards(data_format: str) -> None:
    rewards = np.arange(6, dtype=np.float32).reshape(3, 2)
    before = create("vector/a-v0", [buffer_of(3, rewards=rewards)] * 2)
    after = create(
        "vector/b-v0", [buffer_of(3, rewards=rewards), buffer_of(3, rewards=rewards[::-1])], data_format=data_format
    )
    (change,) = minari.diff_datasets(before, after).episodes.changed
    assert (change.leaf, change.step) == ("rewards", 0)
    assert change.description.startswith("rewards at step 0 is 0.0 and 4.0, at [0]")


@pytest.mark.parametrize("data_format", FORMATS)
def test_many_agents(data_format: str) -> None:
    agents: dict[Any, gym.Space[Any]] = {"a": PLANE, 7: PLANE}

    def many(dataset_id: str, buffers: list[Any], **choices: Any) -> minari.MinariDataset:
        return create(
            dataset_id, buffers, observation_space=agents, action_space=dict.fromkeys(agents, ACTIONS), **choices
        )

    both = [MultiAgentEpisodeBuffer({"a": buffer_of(3), 7: buffer_of(2, start=number)}) for number in range(2)]
    before, after = many("many/a-v0", both), many("many/b-v0", both, data_format=data_format)
    assert_equal(minari.diff_datasets(before, after))
    assert_equal(minari.diff_datasets(before.for_agent(7), after.for_agent(7)))
    other = many("many/c-v0", [both[0], MultiAgentEpisodeBuffer({"a": buffer_of(3), 7: buffer_of(2, start=5)})])
    (change,) = minari.diff_datasets(before, other).episodes.changed
    assert (change.leaf, change.step) == ("agents/_key:7/observations", 0)
    found = minari.diff_datasets(before, create("many/d-v0", [buffer_of(3)]))
    assert found.spaces == ("the datasets have 2 agents and one agent",)
    assert minari.diff_datasets(before.for_agent("a"), before.for_agent(7)).episodes.equal == 0


def test_what_is_no_dataset_is_an_error(tmp_path: Any) -> None:
    dataset = create("errors/a-v0", [buffer_of(3)])
    with pytest.raises(DatasetNotFoundError):
        minari.diff_datasets(dataset, "errors/b-v0")
    with pytest.raises(DataPathError):
        minari.diff_datasets(tmp_path, dataset)


# A slow model


@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from("xy")), min_size=1, max_size=6),
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from("xy")), min_size=1, max_size=6),
)
def test_episodes_are_compared_as_a_model_does(ours: list[tuple[int, str]], theirs: list[tuple[int, str]]) -> None:
    for name in ("model/a-v0", "model/b-v0"):
        if name in minari.list_local_datasets():
            minari.delete_dataset(name)
    a, b = (
        create(name, [buffer_of(2, start=float(value), metadata={"task": task}) for value, task in drawn])
        for name, drawn in (("model/a-v0", ours), ("model/b-v0", theirs))
    )
    found = minari.diff_datasets(a, b).episodes
    in_place = {place for place, (one, other) in enumerate(zip(ours, theirs, strict=False)) if one[0] == other[0]}
    assert found.equal == sum(ours[place] == theirs[place] for place in in_place)
    moves = dict(found.moved)
    assert all(ours[one][0] == theirs[other][0] and one != other for one, other in moves.items())
    assert not moves.keys() & in_place
    assert not set(moves.values()) & in_place
    assert len(set(moves.values())) == len(moves)
    left_a = set(range(len(ours))) - in_place - moves.keys()
    left_b = set(range(len(theirs))) - in_place - set(moves.values())
    assert not {ours[place][0] for place in left_a} & {theirs[place][0] for place in left_b}
    assert found.only_in_a == tuple(sorted(left_a - left_b))
    assert found.only_in_b == tuple(sorted(left_b - left_a))
    pairs = [(place, place) for place in in_place] + list(moves.items())
    other_metadata = {(one, other) for one, other in pairs if ours[one][1] != theirs[other][1]}
    other_values = {(place, place) for place in left_a & left_b}
    assert {(change.a, change.b) for change in found.changed} == other_metadata | other_values
    assert {(change.a, change.b) for change in found.changed if change.leaf} == other_values
    assert found.are_equal == (ours == theirs)


def test_only_some_changes_are_described(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minari.dataset.diff._MOST_DESCRIBED", 2)
    before, after = (create(f"most/a-v{start}", [numbered(start + number) for number in range(4)]) for start in (0, 10))
    changed = minari.diff_datasets(before, after).episodes.changed
    assert [(change.a, bool(change.description)) for change in changed] == [
        (0, True),
        (1, True),
        (2, False),
        (3, False),
    ]
