"""robomimic and robosuite: every sample with its truth, round trips, and files that are damaged or lack something."""

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
from minari.errors import ArgumentError, InterchangeError
from minari.interchange import export_dataset, import_dataset, read
from support.official import fixtures_directory


pytestmark = [
    pytest.mark.filterwarnings("ignore:`.*` is set to None"),
    pytest.mark.filterwarnings("ignore:.*assumed that"),
]

SAMPLES: dict[tuple[str, str], dict[str, Any]] = {
    ("robomimic-hdf5", "low_dim_v141"): {},
    ("robomimic-hdf5", "image_no_next_obs_gzip"): {"final_observation": "repeat"},
    ("robomimic-hdf5", "starts_at_1_done_mode0"): {},
    ("robomimic-hdf5", "gym_flat_d4rl_converted"): {},
    ("robomimic-written", "low_dim_done2"): {},
    ("robomimic-written", "low_dim_done1"): {},
    ("robomimic-written", "image_done0_no_next"): {"final_observation": "repeat"},
}
RAW = {"states_as_observations": True, "rewards": "zeros", "final_observation": "repeat"}


@pytest.mark.parametrize(("directory", "name"), SAMPLES)
def test_samples_are_read_exactly(directory: str, name: str) -> None:
    found = sample(directory, name, ".hdf5")
    dataset = import_dataset(found.path, "robomimic/sample-v0", **SAMPLES[directory, name])
    assert isinstance(dataset, minari.MinariDataset)
    assert (dataset.total_episodes, dataset.total_steps) == (
        found.truth["total_episodes"],
        sum(one["length"] for one in found.truth["episodes"]),
    )
    for number, episode in enumerate(dataset):
        final = found.truth["final_observation_in_file"]
        assert_like_truth(episode, found, number, final=final, tolerance=found.truth.get("tolerance_by_key"))
        truth = found.episode(number)
        np.testing.assert_array_equal(episode.infos["states"][:-1], truth["infos/states"])
        if "infos/dones" in truth:
            np.testing.assert_array_equal(episode.infos["dones"][1:], truth["infos/dones"])
        assert episode.metadata["demo"] == found.truth["episodes"][number]["demo"]
        assert episode.metadata["model_file"].startswith("<mujoco")
    splits = dataset.storage.metadata.get("splits", {})
    demos = [one["demo"] for one in found.truth["episodes"]]
    for mask, members in found.truth.get("masks", {}).items():
        assert [demos[number] for number in splits[mask]] == members
    with h5py.File(found.path) as file:
        assert dataset.storage.metadata["robomimic"]["env_args"] == json.loads(file["data"].attrs["env_args"])
    assert minari.validate(dataset.id).ok


def test_mask_with_a_missing_demonstration_is_noted() -> None:
    source = read(sample("robomimic-written", "low_dim_done1", ".hdf5").path)
    assert source.metadata["splits"]["train"] == [0, 1, 2]
    assert any("mask/train" in sentence for sentence in source.report.missing)


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("robosuite-raw-real/v1.0.1/lift/panda/demo", [412]),
        ("robosuite-raw-real/v1.0.1/wipe/panda/demo", [174]),
        ("robosuite-raw-real/v0.3.0/SawyerLift/demo", [1058, 837]),
        ("robomimic-hdf5/raw_states_actions_only", [9, 7, 7]),
        ("robomimic-written/demo_raw", [36, 10, 35, 37]),
    ],
)
def test_raw_files_are_refused_or_taken_with_their_states(name: str, steps: list[int]) -> None:
    root = fixtures_directory()
    if root is None or not (root / "foreign").is_dir():
        pytest.skip("the samples of other formats are not there; MINARI_FIXTURES names their directory")
    path = root / "foreign" / f"{name}.hdf5"
    with pytest.raises(InterchangeError, match=r"has no observations.*dataset_states_to_obs"):
        read(path)
    with pytest.raises(InterchangeError, match="has no observation after the last step"):
        read(path, states_as_observations=True)
    with pytest.raises(InterchangeError, match="has no rewards"):
        list(read(path, states_as_observations=True, final_observation="repeat").episodes)
    dataset = import_dataset(path, "robomimic/raw-v0", **RAW)
    assert isinstance(dataset, minari.MinariDataset)
    assert [len(episode) for episode in dataset] == steps
    with h5py.File(path) as file:
        for number, episode in enumerate(dataset):
            group = file[f"data/{episode.metadata['demo']}"]
            np.testing.assert_array_equal(episode.observations[:-1], group["states"][()])
            if "actions" in group:
                np.testing.assert_array_equal(episode.actions, group["actions"][()])
            else:
                np.testing.assert_array_equal(episode.actions["joint_velocities"], group["joint_velocities"][()])
                assert "left_dpos" not in episode.infos
            assert episode.truncations[-1], number


def write_demos(path: Path, *, last: bool = True, **changes: Any) -> Path:
    with h5py.File(path, "w") as file:
        for number, steps in ((2, 3), (10, 1)):
            group = file.create_group(f"data/demo_{number}")
            columns: dict[str, Any] = {
                "obs/x": np.arange(steps * 2.0).reshape(steps, 2),
                "next_obs/x": np.arange(steps * 2.0).reshape(steps, 2) + 2 if last else None,
                "actions": np.ones((steps, 1)),
                "rewards": np.ones(steps),
                "dones": np.ones(steps, np.int64),
                **changes,
            }
            for name, values in columns.items():
                if values is not None:
                    group[name] = values
            group.attrs["num_samples"] = steps
    return path


@pytest.mark.parametrize(
    ("options", "lengths", "last"),
    [
        ({"final_observation": "repeat"}, [3, 1], [4.0, 0.0]),
        ({"final_observation": "drop_last_step"}, [2], [4.0]),
    ],
)
def test_final_observations(tmp_path: Path, options: dict[str, Any], lengths: list[int], last: list[float]) -> None:
    path = write_demos(tmp_path / "a.hdf5", last=False)
    with pytest.raises(InterchangeError, match="no observation after the last step of its 2 episodes"):
        read(path)
    source = read(path, **options)
    episodes = list(source.episodes)
    assert source.total == len(lengths)
    assert [len(episode.rewards) for episode in episodes] == lengths
    assert [episode.observations["x"][-1, 0] for episode in episodes] == last
    with pytest.raises(ArgumentError, match="final_observation is 'next_row'"):
        read(path, final_observation="next_row")


@pytest.mark.parametrize(
    ("options", "rewards", "terminated"),
    [
        ({}, 1, True),
        ({}, 0, False),
        ({"done": "success"}, 0, False),
        ({"done": "terminated"}, 0, True),
        ({"done": "truncated"}, 1, False),
    ],
)
def test_meanings_of_done(tmp_path: Path, options: dict[str, Any], rewards: float, terminated: bool) -> None:
    path = write_demos(tmp_path / "a.hdf5")
    with h5py.File(path, "r+") as file:
        file["data/demo_2/rewards"][-1] = rewards
    source = read(path, **options)
    first = next(iter(source.episodes))
    assert first.terminations.tolist() == [False, False, terminated]
    assert first.truncations.tolist() == [False, False, not terminated]
    assert any("done" in sentence for sentence in source.report.assumed)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dones": np.full(3, 2)}, "expected a flag a step"),
        ({"rewards": None}, "has no rewards"),
        ({"actions": None}, "has no array"),
        ({"next_obs/x": np.zeros((3, 5))}, "differ in names, dtype or shape from its obs"),
        ({"actions": h5py.ExternalLink("other.hdf5", "/actions")}, "is a link that leads elsewhere"),
        ({"actions": h5py.SoftLink("/data")}, "is a link that leads elsewhere"),
        ({"obs/x": np.array([b"a", b"b", b"c"])}, "expected numbers with a row for each step"),
        ({"actions": np.ones((5, 1))}, "5 rows and num_samples is"),
    ],
)
def test_other_contents_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InterchangeError, match=message):
        list(read(write_demos(tmp_path / "a.hdf5", **changes), "robomimic").episodes)


def test_damaged_files_give_one_clear_error(tmp_path: Path) -> None:
    data = sample("robomimic-hdf5", "starts_at_1_done_mode0", ".hdf5").path.read_bytes()
    for number, changed in enumerate(damaged_copies(data)):
        path = tmp_path / f"{number}.hdf5"
        path.write_bytes(changed)
        assert_read_or_refused(path, "robomimic")


def space_of(draw: st.DrawFn) -> gym.Space[Any]:
    box = st.builds(
        lambda shape, dtype: gym.spaces.Box(0, 100, shape, dtype),
        st.sampled_from([(), (1,), (3,), (2, 2)]),
        st.sampled_from([np.float32, np.float64, np.uint8]),
    )
    nested = st.dictionaries(st.sampled_from(["a", "b", "image"]), box, min_size=1)
    spaces = st.one_of(
        box, nested.map(gym.spaces.Dict), nested.map(lambda inner: gym.spaces.Dict({"in": gym.spaces.Dict(inner)}))
    )
    return draw(spaces)


@st.composite
def datasets(draw: st.DrawFn, dataset_id: str = "robomimic/drawn-v0") -> minari.MinariDataset:
    """A dataset that robomimic can hold."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    space, infos = space_of(draw), draw(st.booleans())
    action_space = gym.spaces.Box(-1, 1, (2,), draw(st.sampled_from([np.float32, np.float64])))
    action_space.seed(1)
    episodes = []
    for number in range(draw(st.integers(1, 12))):
        steps = draw(st.integers(1, 4))
        space.seed(number)
        flags = {name: generator.random(steps) < 0.3 for name in ("terminations", "truncations")}
        rows = [space.sample() for _ in range(steps + 1)]
        buffer = EpisodeBuffer(
            observations=stacked(rows),
            actions=np.stack([action_space.sample() for _ in range(steps)]),
            rewards=generator.random(steps),
            infos={
                "states": generator.random((steps + 1, 2)),
                "dones": np.ones(steps + 1),
                "deep": {"y": np.arange(steps + 1)},
            }
            if infos
            else {},
            **flags,
        )
        episodes.append(buffer)
    fresh(dataset_id)
    return minari.create_dataset_from_buffers(dataset_id, episodes, observation_space=space, action_space=action_space)


def stacked(rows: list[Any]) -> Any:
    if isinstance(rows[0], dict):
        return {key: stacked([row[key] for row in rows]) for key in rows[0]}
    return np.stack(rows)


@settings(deadline=None, max_examples=20)
@given(data=st.data())
def test_import_of_an_export_is_the_same(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    fresh("robomimic/again-v0")
    dataset = data.draw(datasets())
    path = tmp_path_factory.mktemp("out") / "a.hdf5"
    report = export_dataset(dataset, path, "robomimic")
    assert (report.episodes, report.steps) == (dataset.total_episodes, dataset.total_steps)
    again = import_dataset(path, "robomimic/again-v0")
    assert_same_episodes(again, dataset)
    with h5py.File(path) as file:
        assert file["data"].attrs["total"] == dataset.total_steps
        for number in range(len(dataset)):
            group = file[f"data/demo_{number}"]
            assert group.attrs["num_samples"] == len(group["actions"]) == len(group["dones"])
            assert group["dones"][-1] == 1


@pytest.mark.parametrize(("directory", "name"), SAMPLES)
def test_samples_survive_a_round_trip(directory: str, name: str, tmp_path: Path) -> None:
    found = sample(directory, name, ".hdf5")
    dataset = import_dataset(found.path, "robomimic/first-v0", **SAMPLES[directory, name])
    assert isinstance(dataset, minari.MinariDataset)
    export_dataset(dataset, tmp_path / "a.hdf5", "robomimic")
    again = import_dataset(tmp_path / "a.hdf5", "robomimic/second-v0")
    assert isinstance(again, minari.MinariDataset)
    assert_same_episodes(again, dataset)
    for key in ("robomimic", "splits"):
        ours, theirs = (one.storage.metadata.get(key) for one in (again, dataset))
        if key == "robomimic":
            ours, theirs = ours["env_args"], theirs["env_args"]
        assert ours == theirs
    assert [one.metadata["model_file"] for one in again] == [one.metadata["model_file"] for one in dataset]


LOAD = """
import sys, json
import numpy as np
from robomimic.utils import obs_utils
from robomimic.utils.dataset import SequenceDataset
path, keys, split = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3] or None
obs_utils.initialize_obs_utils_with_obs_specs({"obs": {"low_dim": keys, "rgb": []}})
dataset = SequenceDataset(
    path, obs_keys=keys, dataset_keys=("actions", "rewards", "dones"), filter_by_attribute=split, hdf5_use_swmr=False
)
steps = [dataset[number] for number in range(len(dataset))]
found = [[step[part][key] for step in steps] for part in ("obs", "next_obs") for key in keys]
found += [[step[name] for step in steps] for name in ("actions", "rewards")]
sums = [[float(value.astype(np.float64).sum()) for value in values] for values in found]
print("found", json.dumps([dataset.n_demos, *sums]))
"""


@pytest.mark.parametrize("split", ["", "train"])
def test_robomimic_reads_exports(split: str, tmp_path: Path) -> None:
    dataset = import_dataset(sample("robomimic-hdf5", "low_dim_v141", ".hdf5").path, "robomimic/sample-v0")
    assert isinstance(dataset, minari.MinariDataset)
    export_dataset(dataset, tmp_path / "a.hdf5", "robomimic")
    keys = ["object", "robot0_eef_pos"]
    printed = run_library("MINARI_ROBOMIMIC_PYTHON", LOAD, tmp_path / "a.hdf5", json.dumps(keys), split)
    found = json.loads(next(line.removeprefix("found") for line in printed.splitlines() if line.startswith("found")))
    view = dataset[dataset.storage.metadata["splits"][split]] if split else dataset
    expected = [
        *([one.observations[key][:-1] for one in view] for key in keys),
        *([one.observations[key][1:] for one in view] for key in keys),
        [one.actions for one in view],
        [one.rewards[:, None] for one in view],
    ]
    assert found[0] == len(view)
    for ours, theirs in zip(expected, found[1:], strict=True):
        sums = np.concatenate([rows.sum(axis=1) for rows in ours])
        np.testing.assert_allclose(theirs, sums, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("spaces", "message"),
    [
        ((gym.spaces.Box(0, 1), gym.spaces.Discrete(2)), "expected a Box"),
        ((gym.spaces.Text(3), gym.spaces.Box(0, 1)), "expected arrays of numbers"),
        ((gym.spaces.Dict({"a/b": gym.spaces.Box(0, 1)}), gym.spaces.Box(0, 1)), "expected arrays of numbers"),
    ],
)
def test_export_refuses_other_spaces(spaces: tuple[Any, Any], message: str, tmp_path: Path) -> None:
    observation_space, action_space = spaces
    episode = EpisodeBuffer(
        observations=stacked([observation_space.sample() for _ in range(2)])
        if not isinstance(observation_space, gym.spaces.Text)
        else ["a", "b"],
        actions=np.stack([action_space.sample()]),
        rewards=[0.0],
        terminations=[True],
        truncations=[False],
    )
    dataset = minari.create_dataset_from_buffers(
        "robomimic/other-v0", [episode], observation_space=observation_space, action_space=action_space
    )
    with pytest.raises(InterchangeError, match=message):
        export_dataset(dataset, tmp_path / "a.hdf5", "robomimic")
    assert list(tmp_path.iterdir()) == []
