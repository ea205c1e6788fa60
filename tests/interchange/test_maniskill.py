"""ManiSkill: every sample with its truth, round trips, and files that are damaged or lack something."""

from __future__ import annotations

import json
import shutil
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
    flat,
    fresh,
    run_library,
)
from interchange.conftest import sample
from minari.data_collector import EpisodeBuffer
from minari.errors import InterchangeError
from minari.interchange import export_dataset, import_dataset, read


pytestmark = [
    pytest.mark.filterwarnings("ignore:`.*` is set to None"),
    pytest.mark.filterwarnings("ignore:.*assumed that"),
]

SAMPLES: dict[tuple[str, str], dict[str, Any]] = {
    ("maniskill3-h5", "PickCube-state"): {},
    ("maniskill3-h5", "PickCube-rgbd"): {},
    ("maniskill3-h5", "StackCube-no-reward"): {"rewards": "zeros"},
    ("maniskill3-h5", "PickCube-partial-dictaction"): {},
    ("maniskill3-h5", "PushT-obs-none"): {"states_as_observations": True},
    ("maniskill3-written", "PickCube-state"): {},
    ("maniskill3-written", "PickCube-state_dict"): {},
    ("maniskill3-written", "PushCube-no-reward"): {"rewards": "zeros"},
    ("maniskill3-written", "PickCube-obs-none"): {"states_as_observations": True},
}


@pytest.mark.parametrize(("directory", "name"), SAMPLES)
def test_samples_are_read_exactly(directory: str, name: str) -> None:
    found = sample(directory, name)
    options = SAMPLES[directory, name]
    dataset = import_dataset(found.path, "maniskill/sample-v0", **options)
    assert isinstance(dataset, minari.MinariDataset)
    assert (dataset.total_episodes, dataset.total_steps) == (
        found.truth["total_episodes"],
        found.truth["total_steps"],
    )
    description = json.loads((found.path / "trajectory.json").read_text())
    by_number = {one["episode_id"]: one for one in description["episodes"]}
    takes_states = "states_as_observations" in options
    with h5py.File(found.path / "trajectory.h5") as file:
        for number, episode in enumerate(dataset):
            assert_like_truth(
                episode,
                found,
                number,
                skip=lambda name: (
                    (takes_states and name.startswith("obs")) or (name == "rewards" and "rewards" in options)
                ),
            )
            known = found.truth["episodes"][number]
            entry = by_number[int(known["traj"].removeprefix("traj_"))]
            assert episode.metadata["seed"] == known["episode_seed"] == entry["episode_seed"]
            assert episode.metadata.get("options") == entry["reset_kwargs"]["options"]
            assert episode.metadata["control_mode"] == entry["control_mode"]
            for key in ("success", "fail"):
                if key in file[known["traj"]]:
                    np.testing.assert_array_equal(episode.infos[key][1:], file[known["traj"]][key][()])
                    assert episode.infos[f"_{key}"].tolist() == [False] + [True] * len(episode)
            states = episode.observations if takes_states else episode.infos["env_states"]
            for path, values in flat(states, "env_states"):
                np.testing.assert_array_equal(values, file[known["traj"]][path][()])
            if "rewards" in options:
                assert not episode.rewards.any()
    assert dataset.env_spec is not None
    assert dataset.env_spec.id == description["env_info"]["env_id"]
    assert dataset.env_spec.kwargs == description["env_info"]["env_kwargs"]
    assert minari.validate(dataset.id).ok


@pytest.mark.parametrize(
    ("directory", "name", "message"),
    [
        ("maniskill3-h5", "PushT-obs-none", "has no observations.*replay_trajectory"),
        ("maniskill3-written", "PickCube-obs-none", "has no observations.*replay_trajectory"),
        ("maniskill3-h5", "StackCube-no-reward", "has no rewards"),
        ("maniskill3-written", "PushCube-no-reward", "has no rewards"),
    ],
)
def test_what_is_missing_is_refused(directory: str, name: str, message: str) -> None:
    with pytest.raises(InterchangeError, match=message):
        list(read(sample(directory, name).path).episodes)


def test_sample_without_json_is_refused() -> None:
    path = sample("maniskill3-h5", "PickCube-state").path.with_name("BROKEN-no-json")
    with pytest.raises(InterchangeError, match="There is no JSON file"):
        import_dataset(path, "maniskill/broken-v0", rewards="zeros")
    assert minari.list_local_datasets() == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read as JSON"),
        ("[" * 1000, "cannot be read as JSON"),
        ("[]", "expected a JSON object"),
        ("{}", "has no list of episodes"),
        ('{"episodes": [3]}', "has no list of episodes"),
        ('{"episodes": [{"episode_id": 0}]}', "has no entry for traj_1"),
    ],
)
def test_other_json_is_refused(text: str, message: str, tmp_path: Path) -> None:
    shutil.copy(sample("maniskill3-h5", "PickCube-state").path / "trajectory.h5", tmp_path)
    (tmp_path / "trajectory.json").write_text(text)
    with pytest.raises(InterchangeError, match=message):
        read(tmp_path)


def test_link_out_of_the_directory_is_not_followed(tmp_path: Path) -> None:
    source = sample("maniskill3-h5", "PickCube-state").path
    inside = tmp_path / "inside"
    inside.mkdir()
    shutil.copy(source / "trajectory.h5", inside)
    shutil.copy(source / "trajectory.json", tmp_path / "elsewhere.json")
    (inside / "trajectory.json").symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(InterchangeError, match="There is no JSON file"):
        read(inside)


def test_directory_with_several_files_is_refused(tmp_path: Path) -> None:
    source = sample("maniskill3-h5", "PickCube-state").path
    for name in ("a", "b"):
        shutil.copy(source / "trajectory.h5", tmp_path / f"{name}.h5")
        shutil.copy(source / "trajectory.json", tmp_path / f"{name}.json")
    with pytest.raises(InterchangeError, match=r"has 2 files \*.h5"):
        read(tmp_path)
    assert read(tmp_path / "b.h5").total == 12


def test_damaged_files_give_one_clear_error(tmp_path: Path) -> None:
    source = sample("maniskill3-h5", "PickCube-rgbd").path
    shutil.copy(source / "trajectory.json", tmp_path)
    for changed in damaged_copies((source / "trajectory.h5").read_bytes()):
        (tmp_path / "trajectory.h5").write_bytes(changed)
        assert_read_or_refused(tmp_path, "maniskill")
    shutil.copy(source / "trajectory.h5", tmp_path)
    for changed in damaged_copies((source / "trajectory.json").read_bytes()):
        (tmp_path / "trajectory.json").write_bytes(changed)
        assert_read_or_refused(tmp_path, "maniskill")


def stacked(rows: list[Any]) -> Any:
    if isinstance(rows[0], dict):
        return {key: stacked([row[key] for row in rows]) for key in rows[0]}
    return np.stack(rows)


@st.composite
def datasets(draw: st.DrawFn) -> minari.MinariDataset:
    """A dataset that ManiSkill can hold."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    box = st.builds(
        lambda shape, dtype: gym.spaces.Box(0, 100, shape, dtype),
        st.sampled_from([(), (1,), (2, 2)]),
        st.sampled_from([np.float32, np.int16, np.uint8]),
    )
    nested = st.dictionaries(st.sampled_from("abc"), box, min_size=1).map(gym.spaces.Dict)
    space = draw(st.one_of(box, nested, nested.map(lambda inner: gym.spaces.Dict({"in": inner}))))
    actions = gym.spaces.Box(-1, 1, (2,), np.float32)
    action_space = draw(st.sampled_from([actions, gym.spaces.Discrete(3), gym.spaces.Dict({"arm": actions})]))
    action_space.seed(1)
    infos, episodes = draw(st.booleans()), []
    for number in range(draw(st.integers(1, 12))):
        steps = draw(st.integers(1, 4))
        space.seed(number)
        success = {"success": np.arange(steps + 1) > 1, "_success": np.arange(steps + 1) > 0}
        buffer = EpisodeBuffer(
            seed=draw(st.none() | st.integers(0, 2**40)),
            options=draw(st.sampled_from([None, {"reconfigure": True}])),
            observations=stacked([space.sample() for _ in range(steps + 1)]),
            actions=stacked([action_space.sample() for _ in range(steps)]),
            rewards=generator.random(steps).astype(np.float32),
            terminations=generator.random(steps) < 0.3,
            truncations=generator.random(steps) < 0.3,
            infos={
                **success,
                "env_states": {"actors": {"cube": generator.random((steps + 1, 13))}},
                "deep": {"y": np.arange(steps + 1)},
            }
            if infos
            else {},
            metadata={"control_mode": "pd"},
        )
        episodes.append(buffer)
    fresh("maniskill/drawn-v0")
    return minari.create_dataset_from_buffers(
        "maniskill/drawn-v0", episodes, observation_space=space, action_space=action_space
    )


@settings(deadline=None, max_examples=20)
@given(data=st.data())
def test_import_of_an_export_is_the_same(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    fresh("maniskill/again-v0")
    dataset = data.draw(datasets())
    path = tmp_path_factory.mktemp("out") / "PickCube"
    report = export_dataset(dataset, path, "maniskill")
    assert (report.episodes, report.steps) == (dataset.total_episodes, dataset.total_steps)
    again = import_dataset(path, "maniskill/again-v0")
    assert isinstance(again, minari.MinariDataset)
    assert_same_episodes(again, dataset)
    for ours, theirs in zip(again, dataset, strict=True):
        for key in ("seed", "options", "control_mode"):
            assert ours.metadata.get(key) == theirs.metadata.get(key)
    assert_readable_as_by_maniskill(path)


def assert_readable_as_by_maniskill(path: Path) -> None:
    """Follow the reading of the library: episodes by their ids in the JSON file, each a group of arrays."""
    description = json.loads((path / "trajectory.json").read_text())
    assert description["env_info"]["env_id"]
    assert isinstance(description["env_info"]["env_kwargs"], dict)
    with h5py.File(path / "trajectory.h5") as file:
        for entry in description["episodes"]:
            group = file[f"traj_{entry['episode_id']}"]
            assert {"obs", "actions", "terminated", "truncated"} <= set(group)
            assert len(group["terminated"]) == entry["elapsed_steps"]
            assert group["terminated"].dtype == bool
            assert set(entry["reset_kwargs"]) == {"seed", "options"}


@pytest.mark.parametrize(("directory", "name"), SAMPLES)
def test_samples_survive_a_round_trip(directory: str, name: str, tmp_path: Path) -> None:
    found = sample(directory, name)
    dataset = import_dataset(found.path, "maniskill/first-v0", **SAMPLES[directory, name])
    assert isinstance(dataset, minari.MinariDataset)
    export_dataset(dataset, tmp_path / "out", "maniskill")
    again = import_dataset(tmp_path / "out", "maniskill/second-v0")
    assert isinstance(again, minari.MinariDataset)
    assert_same_episodes(again, dataset)
    assert again.storage.metadata["maniskill"] == dataset.storage.metadata["maniskill"]
    assert [one.metadata for one in again] == [one.metadata for one in dataset]


#: ManiSkill's own loader of trajectories, without the simulator, which it imports and does not need for that.
LOAD = """
import importlib.abc, importlib.machinery, importlib.util, json, sys, types
from unittest.mock import MagicMock
import numpy as np

class Absent(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path, target=None):
        absent = ("sapien", "trimesh", "pytorch_kinematics", "transforms3d", "tyro", "dacite", "fast_kinematics")
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if name.split(".")[0] in absent else None
    def create_module(self, spec):
        return MagicMock(__spec__=spec, __path__=[], __name__=spec.name)
    def exec_module(self, module):
        pass

sys.meta_path.insert(0, Absent())
package = types.ModuleType("mani_skill")
package.__path__ = list(importlib.util.find_spec("mani_skill").submodule_search_locations)
sys.modules["mani_skill"] = package
from mani_skill.trajectory.dataset import ManiSkillTrajectoryDataset
rows = [row for row in ManiSkillTrajectoryDataset(sys.argv[1])]
names = ("obs", "action", "reward", "terminated", "truncated")
print("found", json.dumps({name: [np.asarray(row[name], np.float64).tolist() for row in rows] for name in names}))
"""


def test_maniskill_reads_exports(tmp_path: Path) -> None:
    dataset = import_dataset(sample("maniskill3-written", "PickCube-state").path, "maniskill/sample-v0")
    assert isinstance(dataset, minari.MinariDataset)
    export_dataset(dataset, tmp_path / "a", "maniskill")
    (path,) = (tmp_path / "a").glob("*.h5")
    lines = run_library("MINARI_MANISKILL_PYTHON", LOAD, path).splitlines()
    found = json.loads(next(line.removeprefix("found") for line in lines if line.startswith("found")))
    expected = {
        "obs": [one.observations[:-1] for one in dataset],
        "action": [one.actions for one in dataset],
        "reward": [one.rewards for one in dataset],
        "terminated": [one.terminations for one in dataset],
        "truncated": [one.truncations for one in dataset],
    }
    for name, values in expected.items():
        np.testing.assert_array_equal(np.asarray(found[name]), np.concatenate(values).astype(np.float64), err_msg=name)


def test_export_refuses_other_spaces(tmp_path: Path) -> None:
    episode = EpisodeBuffer(
        observations=["a", "b"], actions=[0], rewards=[0.0], terminations=[True], truncations=[False]
    )
    dataset = minari.create_dataset_from_buffers(
        "maniskill/other-v0",
        [episode],
        observation_space=gym.spaces.Text(3),
        action_space=gym.spaces.Discrete(2),
    )
    with pytest.raises(InterchangeError, match="expected arrays of numbers"):
        export_dataset(dataset, tmp_path / "out", "maniskill")
    assert list(tmp_path.iterdir()) == []
