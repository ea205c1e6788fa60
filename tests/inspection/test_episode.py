"""The leaves of episodes, compared with the episodes that `dataset[i]` returns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

import minari
from minari._model.episode import same_values
from minari._model.multi_agent import MultiAgentEpisodeData
from minari._storages.core import StorageCore
from minari.data_collector import EpisodeBuffer
from minari.errors import ArgumentError, EpisodeIndexError
from minari.inspection import EpisodeReader, summarize_leaves
from support.copies import make_rich
from support.viewing import make_agents


pytestmark = pytest.mark.filterwarnings("ignore::minari.errors.MissingMetadataWarning")

BOX = spaces.Box(-1.0, 1.0, (2,), np.float32)
CAMERA = spaces.Box(0, 255, (16, 12, 3), np.uint8)


def flat(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The leaves of nested values, by the names that they should have."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from flat(f"{name}/{key}", inner)
    elif isinstance(value, tuple):
        for place, inner in enumerate(value):
            yield from flat(f"{name}/{place}", inner)
    elif value is not None:
        yield name, value


def truth(episode: Any, prefix: str = "") -> dict[str, Any]:
    fields = ("observations", "actions", "rewards", "terminations", "truncations", "infos")
    return {name: value for field in fields for name, value in flat(f"{prefix}{field}", getattr(episode, field))}


def truth_of_all(episode: Any) -> dict[str, Any]:
    if not isinstance(episode, MultiAgentEpisodeData):
        return truth(episode)
    found = dict(flat("state", episode.state))
    for agent, one in episode.episodes.items():
        if len(one):
            found |= truth(one, f"agents/{agent}/")
    return found


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray) and one.dtype != object:
        return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
    return bool(np.all([np.array_equal(a, b) for a, b in zip(one, other, strict=True)]))


@pytest.mark.parametrize("data_format", ["hdf5", "arrow", "parquet", "zarr"])
def test_leaves_are_those_of_the_episode(data_format: str) -> None:
    dataset = make_rich("rich/a-v0", data_format)
    for number, episode in enumerate(dataset):
        reader = EpisodeReader(dataset.storage, number)
        expected = truth(episode)
        read = {leaf.name: reader.values(leaf.name) for leaf in reader.leaves}
        # Values without a fixed shape are one leaf here, and some of them arrays or tuples there.
        plain = {name for name, value in expected.items() if isinstance(value, np.ndarray)}
        assert plain <= read.keys()
        assert [name for name in sorted(plain) if not equal(expected[name], read[name])] == []
        for leaf in reader.leaves:
            assert reader.rows(leaf.name) == len(read[leaf.name]) == len(reader.timesteps(leaf.name))
        assert reader.length == len(episode)
        assert same_values(reader.metadata, episode.metadata)


def camera_dataset(name: str, **options: Any) -> minari.MinariDataset:
    rng = np.random.default_rng(5)
    buffers = [
        EpisodeBuffer(
            observations={
                "front": rng.integers(0, 256, (steps + 1, 16, 12, 3), np.uint8),
                "task": ["go"] * (steps + 1),
            },
            actions=rng.uniform(-1, 1, (steps, 2)).astype(np.float32),
            rewards=np.arange(float(steps)),
            terminations=[False] * steps,
            truncations=[False] * (steps - 1) + [True],
            infos={"wrist": rng.integers(0, 256, (steps + 1, 9, 9), np.uint8), "success": np.zeros(steps + 1, bool)},
        )
        for steps in (3, 7)
    ]
    space = spaces.Dict(front=CAMERA, task=spaces.Text(8))
    return minari.create_dataset_from_buffers(name, buffers, observation_space=space, action_space=BOX, **options)


@pytest.mark.parametrize("data_format", ["hdf5", "arrow", "parquet", "zarr"])
def test_frames_of_a_stretch(data_format: str) -> None:
    dataset = camera_dataset("cameras/a-v0", data_format=data_format)
    episode, reader = dataset[1], EpisodeReader(dataset.storage, 1)
    kinds = {leaf.name: leaf.kind for leaf in reader.leaves}
    assert kinds["observations/front"] == kinds["infos/wrist"] == "frames"
    assert (kinds["observations/task"], kinds["infos/success"]) == ("text", "flag")
    for start, stop in ((0, 8), (2, 5), (6, 100), (-3, 2), (8, 9), (5, 5)):
        expected = episode.observations["front"][max(start, 0) : stop]
        np.testing.assert_array_equal(reader.frames("observations/front", start, stop), expected)
        gray = episode.infos["wrist"][max(start, 0) : stop]
        np.testing.assert_array_equal(reader.frames("infos/wrist", start, stop), gray[..., None].repeat(3, axis=-1))
    np.testing.assert_array_equal(reader.frames("observations/front"), episode.observations["front"])
    with pytest.raises(ArgumentError, match=r"The leaf 'rewards' has float64 of shape \(\), expected pictures"):
        reader.frames("rewards")


def test_cameras_are_not_decoded_to_read_other_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = camera_dataset("cameras/b-v0")
    read, asked = StorageCore.read_parts, []

    def noting(self: Any, indices: Any, paths: Any) -> Any:
        asked.append(("observations", "front") in paths)
        return read(self, indices, paths)

    monkeypatch.setattr(StorageCore, "read_parts", noting)
    reader = EpisodeReader(dataset.storage, 1)
    for leaf in reader.leaves:
        if leaf.kind != "frames":
            reader.values(leaf.name)
    summarize_leaves(dataset.storage, dataset.episode_indices)
    assert asked
    assert not any(asked)


@pytest.mark.parametrize("data_format", ["hdf5", "arrow", "parquet", "zarr"])
def test_many_agents(data_format: str) -> None:
    dataset = make_agents("many/a-v0", data_format=data_format)
    for number, episode in enumerate(dataset):
        reader = EpisodeReader(dataset.storage, number)
        expected = truth_of_all(episode)
        assert {leaf.name for leaf in reader.leaves} == expected.keys()
        for name, values in expected.items():
            assert equal(values, reader.values(name)), name
    reader = EpisodeReader(dataset.storage, 0)
    assert reader.agents == ["a", "b"]
    assert reader.timesteps("agents/b/rewards").tolist() == [1]
    assert reader.timesteps("agents/b/observations/number").tolist() == [1, 2]
    assert EpisodeReader(dataset.storage, 1).agents == ["a"]
    found = {one.leaf.name: one for one in summarize_leaves(dataset.storage, dataset.episode_indices).leaves}
    assert found["agents/b/rewards"].components[0][1].count == 1
    assert found["agents/b/observations/text"].texts == [("p", 1), ("q", 1)]
    assert found["agents/a/rewards"].components[0][1].count == 6


def test_summaries_are_those_of_all_values() -> None:
    dataset = camera_dataset("cameras/c-v0")
    found = summarize_leaves(dataset.storage, dataset.episode_indices)
    assert (found.episodes, found.steps) == (2, 10)
    by_name = {one.leaf.name: one for one in found.leaves}
    actions = np.concatenate([episode.actions for episode in dataset])
    assert [label for label, _, _ in by_name["actions"].components] == ["0", "1"]
    for place, (_, distribution, bins) in enumerate(by_name["actions"].components):
        assert distribution.minimum == actions[:, place].min()
        assert distribution.mean == pytest.approx(actions[:, place].mean())
        assert sum(bins.counts) == 10
    assert by_name["observations/task"].texts == [("go", 12)]
    assert by_name["observations/front"].components == []
    assert by_name["truncations"].components[0][2].counts == [8, 2]


def test_long_datasets_are_sampled_evenly() -> None:
    buffers = [
        EpisodeBuffer(
            observations=np.full((11, 1), number, np.float32), actions=np.zeros(10, np.int64), rewards=np.zeros(10),
            terminations=np.zeros(10, bool), truncations=np.zeros(10, bool),
        )
        for number in range(40)
    ]  # fmt: skip
    dataset = minari.create_dataset_from_buffers(
        "many/b-v0", buffers, observation_space=spaces.Box(0, 99, (1,), np.float32), action_space=spaces.Discrete(2)
    )
    found = summarize_leaves(dataset.storage, dataset.episode_indices, most_steps=100)
    assert (found.episodes, found.steps) == (10, 100)
    (observations,) = (one for one in found.leaves if one.leaf.name == "observations")
    assert (observations.components[0][1].minimum, observations.components[0][1].maximum) == (0, 36)
    nothing = summarize_leaves(dataset.storage, dataset.episode_indices[:0])
    assert (nothing.episodes, nothing.steps, nothing.leaves[0].components) == (0, 0, [])


def test_wrong_names_and_numbers() -> None:
    dataset = camera_dataset("cameras/d-v0")
    for number in (-1, 2):
        with pytest.raises(EpisodeIndexError, match=f"There is no episode {number} in cameras/d-v0, expected a number"):
            EpisodeReader(dataset.storage, number)
    with pytest.raises(ArgumentError, match="Episode 0 has no leaf 'observations/frnt'; the nearest names are 'obs"):
        EpisodeReader(dataset.storage, 0).values("observations/frnt")
