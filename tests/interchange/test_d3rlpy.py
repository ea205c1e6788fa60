"""d3rlpy: every sample with its truth, round trips, its own reader and writer, and files that are damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minari
from interchange.checks import (
    assert_like_truth,
    assert_read_or_refused,
    assert_same_episodes,
    damaged_copies,
    fresh,
    run_library,
)
from interchange.conftest import sample
from minari.data_collector import EpisodeBuffer
from minari.errors import InterchangeError
from minari.interchange import export_dataset, import_dataset, read
from support.official import fixtures_directory


pytestmark = [
    pytest.mark.filterwarnings("ignore:`.*` is set to None"),
    pytest.mark.filterwarnings("ignore:.*assumed that"),
]

REPEAT = {"final_observation": "repeat"}


@pytest.mark.parametrize("name", ["cartpole_online", "cartpole_many", "pendulum_mdpdataset", "tuple_obs"])
def test_samples_are_read_exactly(name: str) -> None:
    found = sample("d3rlpy-2.x", name, ".h5")
    dataset = import_dataset(found.path, "d3rlpy/sample-v0", **REPEAT)
    assert isinstance(dataset, minari.MinariDataset)
    assert (dataset.total_episodes, dataset.total_steps) == (
        found.truth["total_episodes"],
        found.truth["total_steps"],
    )
    for number, episode in enumerate(dataset):
        # d3rlpy rounds rewards to float32; the truth has those of the environment.
        assert_like_truth(episode, found, number, final=False, skip=lambda name: name == "rewards")
        truth = found.episode(number)["rewards"]
        assert episode.rewards.shape == truth.shape
        np.testing.assert_array_equal(episode.rewards, truth.astype(np.float32))
        if isinstance(episode.observations, tuple):
            assert all(np.array_equal(rows[-1], rows[-2]) for rows in episode.observations)
        else:
            np.testing.assert_array_equal(episode.observations[-1], episode.observations[-2])
    assert minari.validate(dataset.id).ok


def version_1() -> Path:
    root = fixtures_directory()
    if root is None or not (root / "foreign").is_dir():
        pytest.skip("the samples of other formats are not there; MINARI_FIXTURES names their directory")
    return root / "foreign" / "d3rlpy-v1-real" / "cartpole_v1.1.0.h5"


def test_version_1_is_cut_at_episode_terminals_only() -> None:
    dataset = import_dataset(version_1(), "d3rlpy/real-v0", **REPEAT)
    assert isinstance(dataset, minari.MinariDataset)
    assert (len(dataset), dataset.total_steps) == (1582, 99866)
    with h5py.File(version_1()) as file:
        flags, ends = file["terminals"][()] == 1, np.flatnonzero(file["episode_terminals"][()] == 1) + 1
        columns = {name: file[name][()] for name in ("observations", "actions", "rewards")}
    starts = np.concatenate([[0], ends[:-1]])
    for episode, start, end in zip(dataset, starts, ends, strict=True):
        np.testing.assert_array_equal(episode.observations[:-1], columns["observations"][start:end])
        np.testing.assert_array_equal(episode.actions, columns["actions"][start:end])
        np.testing.assert_array_equal(episode.rewards, columns["rewards"][start:end])
        assert not episode.terminations[:-1].any()
        assert not episode.truncations[:-1].any()
        assert (episode.terminations[-1], episode.truncations[-1]) == (flags[end - 1], not flags[end - 1])
    assert sum(bool(episode.truncations[-1]) for episode in dataset) == 134
    report = dataset.storage.metadata["conversion"]
    assert any("1448 rows" in sentence for sentence in report["missing"])


def test_final_observations_are_missing() -> None:
    for path in (version_1(), sample("d3rlpy-2.x", "cartpole_many", ".h5").path):
        with pytest.raises(InterchangeError, match="no observation after the last step"):
            read(path)
    source = read(sample("d3rlpy-2.x", "cartpole_many", ".h5").path, final_observation="drop_last_step")
    assert [len(episode.rewards) for episode in source.episodes] == [11] * 13


def write_version_1(path: Path, **changes: Any) -> Path:
    columns: dict[str, Any] = {
        "observations": np.arange(12.0).reshape(6, 2),
        "actions": np.arange(6, dtype=np.float32)[:, None],
        "rewards": np.ones((6, 1)),
        "terminals": np.array([0, 1, 1, 0, 0, 0]),
        "episode_terminals": np.array([0, 0, 1, 0, 1, 0]),
        **changes,
    }
    with h5py.File(path, "w") as file:
        for name, values in columns.items():
            if values is not None:
                file[name] = values
    return path


def test_version_1_of_vectors(tmp_path: Path) -> None:
    source = read(write_version_1(tmp_path / "a.h5"), **REPEAT)
    episodes = list(source.episodes)
    assert [len(one.rewards) for one in episodes] == [3, 2, 1]
    assert [one.rewards.shape for one in episodes] == [(3,), (2,), (1,)]
    assert [bool(one.terminations[-1]) for one in episodes] == [True, False, False]
    assert source.action_space == gym.spaces.Box(-np.inf, np.inf, (1,), np.float32)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rewards": np.ones((5, 1))}, "5 rewards"),
        ({"rewards": None}, "has no rewards"),
        ({"terminals": np.full(6, 3)}, "expected a flag a step"),
        ({"observations": np.array([b"a"] * 6)}, "expected numbers"),
        ({"num_episodes": 10**12}, "num_episodes of .* is 1000000000000"),
        ({"num_episodes": 1}, "has no array|choose"),
        ({"num_episodes": 0.5}, "expected one number"),
    ],
)
def test_other_contents_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InterchangeError, match=message):
        list(read(write_version_1(tmp_path / "a.h5", **changes), "d3rlpy", **REPEAT).episodes)


def test_claimed_rows_that_were_never_written_allocate_nothing(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name in ("observations", "actions", "rewards", "terminals", "episode_terminals"):
            file.create_dataset(name, (10**12,), np.float32, chunks=(1024,), compression="gzip")
    with pytest.raises(InterchangeError, match="that were never written"):
        read(tmp_path / "a.h5", "d3rlpy", **REPEAT)


def test_damaged_files_give_one_clear_error(tmp_path: Path) -> None:
    for name in ("cartpole_online", "tuple_obs"):
        data = sample("d3rlpy-2.x", name, ".h5").path.read_bytes()
        for changed in damaged_copies(data):
            (tmp_path / "a.h5").write_bytes(changed)
            assert_read_or_refused(tmp_path / "a.h5", "d3rlpy", **REPEAT)


@st.composite
def datasets(draw: st.DrawFn, most: int = 12) -> minari.MinariDataset:
    """A dataset that d3rlpy can hold."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    vector, image = gym.spaces.Box(-9, 9, (3,), np.float32), gym.spaces.Box(0, 255, (1, 4, 4), np.uint8)
    space = draw(st.sampled_from([vector, image, gym.spaces.Tuple([vector, image])]))
    action_space = draw(st.sampled_from([gym.spaces.Box(-1, 1, (2,), np.float32), gym.spaces.Discrete(3)]))
    action_space.seed(1)
    episodes = []
    for number in range(draw(st.integers(1, most))):
        steps, terminated = draw(st.integers(1, 4)), draw(st.booleans())
        space.seed(number)
        rows = [space.sample() for _ in range(steps + 1)]
        last = np.arange(steps) == steps - 1
        buffer = EpisodeBuffer(
            observations=tuple(map(np.stack, zip(*rows, strict=True)))
            if isinstance(rows[0], tuple)
            else np.stack(rows),
            actions=np.stack([action_space.sample() for _ in range(steps)]),
            rewards=generator.random(steps).astype(np.float32),
            terminations=last & terminated,
            truncations=last & (not terminated),
        )
        episodes.append(buffer)
    fresh("d3rlpy/drawn-v0")
    return minari.create_dataset_from_buffers(
        "d3rlpy/drawn-v0", episodes, observation_space=space, action_space=action_space
    )


@settings(deadline=None, max_examples=20)
@given(data=st.data())
def test_import_of_an_export_is_the_same(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    fresh("d3rlpy/again-v0")
    dataset = data.draw(datasets())
    path = tmp_path_factory.mktemp("out") / "a.h5"
    report = export_dataset(dataset, path, "d3rlpy")
    assert (report.episodes, report.steps) == (dataset.total_episodes, dataset.total_steps)
    assert_same_episodes(import_dataset(path, "d3rlpy/again-v0"), dataset)


LOAD = """
import sys, json, numpy as np, d3rlpy
for path in sys.argv[1:]:
    with open(path, "rb") as file:
        buffer = d3rlpy.dataset.ReplayBuffer.load(file, d3rlpy.dataset.InfiniteBuffer())
    buffer.sample_transition_batch(4)
    print(json.dumps({
        "sizes": [episode.size() for episode in buffer.episodes],
        "terminated": [bool(episode.terminated) for episode in buffer.episodes],
        "observations": [float(np.sum(np.asarray(e.observations, np.float64))) for e in buffer.episodes],
        "actions": [float(np.sum(np.asarray(e.actions, np.float64))) for e in buffer.episodes],
        "space": buffer.dataset_info.action_space.name,
    }))
    with open(path + ".copy", "w+b") as file:
        buffer.dump(file)
"""


def small_dataset(dataset_id: str, actions: gym.Space[Any]) -> minari.MinariDataset:
    generator = np.random.default_rng(0)
    actions.seed(0)
    episodes = [
        EpisodeBuffer(
            observations=generator.random((steps + 1, 3)).astype(np.float32),
            actions=np.stack([actions.sample() for _ in range(steps)]),
            rewards=generator.random(steps),
            terminations=np.arange(steps) == (steps - 1 if steps % 2 else -1),
            truncations=np.arange(steps) == (-1 if steps % 2 else steps - 1),
        )
        for steps in range(2, 14)
    ]
    return minari.create_dataset_from_buffers(
        dataset_id, episodes, observation_space=gym.spaces.Box(-9, 9, (3,), np.float32), action_space=actions
    )


def test_d3rlpy_reads_exports_and_we_read_what_it_writes(tmp_path: Path) -> None:
    spaces = {"DISCRETE": gym.spaces.Discrete(2), "CONTINUOUS": gym.spaces.Box(-1, 1, (2,), np.float32)}
    datasets = {kind: small_dataset(f"d3rlpy/{kind.lower()}-v0", space) for kind, space in spaces.items()}
    for kind, dataset in datasets.items():
        export_dataset(dataset, tmp_path / kind, "d3rlpy")
    lines = run_library("MINARI_D3RLPY_PYTHON", LOAD, *(tmp_path / kind for kind in datasets)).splitlines()
    reports = [json.loads(line) for line in lines if line.startswith("{")]
    for found, (kind, dataset) in zip(reports, datasets.items(), strict=True):
        assert found["sizes"] == [len(episode) for episode in dataset]
        assert found["terminated"] == [bool(episode.terminations[-1]) for episode in dataset]
        assert found["space"] == kind
        sums = [episode.observations[:-1].astype(float).sum() for episode in dataset]
        np.testing.assert_allclose(found["observations"], sums)
        np.testing.assert_allclose(found["actions"], [episode.actions.astype(float).sum() for episode in dataset])
        again = import_dataset(tmp_path / f"{kind}.copy", f"d3rlpy/{kind.lower()}-again-v0", **REPEAT)
        assert isinstance(again, minari.MinariDataset)
        for ours, theirs in zip(dataset, again, strict=True):
            np.testing.assert_array_equal(ours.observations[:-1], theirs.observations[:-1])
            for name in ("actions", "rewards", "terminations", "truncations"):
                np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name), err_msg=name)


@pytest.mark.parametrize(
    ("observation_space", "action_space", "message"),
    [
        (gym.spaces.Discrete(3), gym.spaces.Discrete(2), "The observations .* expected a Box"),
        (gym.spaces.Box(0, 1, (2,)), gym.spaces.Discrete(2, start=1), "The actions .* choices from 0 on"),
        (gym.spaces.Box(0, 1, (2,)), gym.spaces.MultiDiscrete([2, 2]), "The actions .* choices from 0 on"),
        (gym.spaces.Dict({"a": gym.spaces.Box(0, 1, (2,))}), gym.spaces.Discrete(2), "The observations"),
    ],
)
def test_export_refuses_other_spaces(
    observation_space: gym.Space[Any], action_space: gym.Space[Any], message: str, tmp_path: Path
) -> None:
    rows = [observation_space.sample() for _ in range(2)]
    episode = EpisodeBuffer(
        observations=rows if not isinstance(rows[0], dict) else {"a": np.stack([row["a"] for row in rows])},
        actions=np.stack([action_space.sample()]),
        rewards=[0.0],
        terminations=[True],
        truncations=[False],
    )
    dataset = minari.create_dataset_from_buffers(
        "d3rlpy/other-v0", [episode], observation_space=observation_space, action_space=action_space
    )
    with pytest.raises(InterchangeError, match=message):
        export_dataset(dataset, tmp_path / "a.h5", "d3rlpy")
    assert list(tmp_path.iterdir()) == []
