"""OG-MARL: vaults of flashbax with their truth, and damaged ones."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import minari
from interchange.conftest import Sample, sample
from minari.errors import ArgumentError, InterchangeError
from minari.interchange import export_dataset, import_dataset, read


pytest.importorskip("tensorstore")

pytestmark = [
    pytest.mark.filterwarnings("ignore:`.*` is set to None"),
    pytest.mark.filterwarnings("ignore:.*assumed that"),
]

SAMPLES = ["3m-Good", "3m-Medium", "simple_world-Poor"]


def vault(name: str) -> tuple[Path, Sample]:
    found = sample("flashbax-vault", name)
    return found.path.parent / found.truth["path"], found


@pytest.mark.parametrize("after_done", ["keep", "drop"])
@pytest.mark.parametrize("name", SAMPLES)
def test_samples_are_read_exactly(name: str, after_done: str) -> None:
    path, found = vault(name)
    dataset = import_dataset(path, "og/sample-v0", "og_marl", final_observation="repeat", after_done=after_done)
    assert isinstance(dataset, minari.MinariDataset)
    assert (dataset.total_episodes, dataset.total_steps) == (found.truth["total_episodes"], found.truth["total_steps"])
    assert dataset.agents == [f"agent_{number}" for number in range(found.truth["agents"])]
    for number, episode in enumerate(dataset):
        truth = found.episode(number)
        np.testing.assert_array_equal(episode.state[:-1], truth["infos/state"][:-1])
        for agent, trajectory in enumerate(episode.episodes.values()):
            done = truth["infos/terminals"][:, agent] | truth["infos/truncations"][:, agent]
            steps = len(done) if after_done == "keep" else int(done.argmax()) + 1
            rows = min(steps + 1, len(done))  # the last observation is not in the file
            pairs = [
                (trajectory.observations[:rows], truth["observations"][:rows, agent]),
                (trajectory.actions, truth["actions"][:steps, agent]),
                (trajectory.rewards, truth["infos/agent_rewards"][:steps, agent]),
                (trajectory.terminations, truth["infos/terminals"][:steps, agent]),
                (trajectory.truncations, truth["infos/truncations"][:steps, agent]),
            ]
            if "infos/legals" in truth:
                pairs.append((trajectory.infos["legals"][:rows], truth["infos/legals"][:rows, agent]))
            for ours, theirs in pairs:
                assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
                np.testing.assert_array_equal(ours, theirs)
    assert dataset.storage.metadata["og_marl"]["algorithm"] == "qmix"
    if name.startswith("3m"):
        assert dataset.action_space["agent_0"] == gym.spaces.Discrete(5)


@pytest.mark.parametrize(("choice", "lengths"), [("drop_last_step", [12, 11, 12, 5]), ("next_row", [13, 12, 13, 5])])
def test_final_observations(choice: str, lengths: list[int]) -> None:
    path, found = vault("3m-Medium")
    with pytest.raises(InterchangeError, match="no observation after the last step of its 4 episodes"):
        read(path, "og_marl")
    source = read(path, "og_marl", final_observation=choice, after_done="keep")
    episodes = list(source.episodes)
    assert [len(episode) for episode in episodes] == lengths
    assert all(
        trajectory.terminations[-1] or trajectory.truncations[-1]
        for episode in episodes
        for trajectory in episode.agents.values()
    )
    if choice == "next_row":
        first = episodes[0].agents["agent_1"].observations
        np.testing.assert_array_equal(first[-1], found.episode(1)["observations"][0, 1])


def test_agents_can_be_named(tmp_path: Path) -> None:
    path, _ = vault("simple_world-Poor")
    source = read(path.parent, "og_marl", final_observation="repeat", agents="predator, prey")
    assert list(source.observation_space) == ["predator", "prey"]
    for names in ("a", "a,a", "a,b,c"):
        with pytest.raises(ArgumentError, match="expected 2 different names"):
            read(path, "og_marl", final_observation="repeat", agents=names)
    with pytest.raises(InterchangeError, match="one of Good, Medium in it"):
        read(vault("3m-Good")[0].parent, "og_marl")


def test_vaults_are_recognized_and_not_written(tmp_path: Path) -> None:
    path, _ = vault("3m-Good")
    dataset = import_dataset(path, "og/sniffed-v0", final_observation="repeat")
    assert isinstance(dataset, minari.MinariDataset)
    with pytest.raises(InterchangeError, match="can be read and not written"):
        export_dataset(dataset, tmp_path / "a", "og_marl")


def copy_of(path: Path, place: Path) -> Path:
    shutil.copytree(path, place)
    for one in (place, *place.rglob("*")):
        one.chmod(0o755 if one.is_dir() else 0o644)
    return place


def read_all(path: Path) -> None:
    for _ in read(path, "og_marl", final_observation="repeat").episodes:
        pass


@pytest.mark.parametrize("seed", range(12))
def test_damage_is_an_error_of_ours(tmp_path: Path, seed: int) -> None:
    generator = np.random.default_rng(seed)
    path = copy_of(vault("3m-Good")[0], tmp_path / "a")
    files = sorted(one for one in path.rglob("*") if one.is_file())
    for file in files[:: 1 + seed % 3]:
        data = bytearray(file.read_bytes())
        if seed % 2:
            data[int(generator.integers(len(data)))] ^= 1 << int(generator.integers(8))
        else:
            del data[int(generator.integers(len(data))) :]
        file.write_bytes(data)
    with suppress(InterchangeError):
        read_all(path)


@pytest.mark.parametrize(
    ("structure", "message"),
    [
        ({}, "no observations and no actions"),
        (None, "describes no leaves"),
        ({"../../x": "()"}, "expected a plain name"),
        ({"nothing": "()"}, "cannot be read"),
    ],
)
def test_other_descriptions_are_refused(tmp_path: Path, structure: Any, message: str) -> None:
    path = copy_of(vault("3m-Good")[0], tmp_path / "a")
    (path / "metadata.json").write_text(json.dumps({"version": 1.2, "structure_shape": structure}))
    with pytest.raises(InterchangeError, match=message) as raised:
        read_all(path)
    assert "\n" not in str(raised.value)


def test_links_are_refused(tmp_path: Path) -> None:
    path = copy_of(vault("3m-Good")[0], tmp_path / "a")
    file = next(iter((path / "d").iterdir()))
    shutil.move(file, tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InterchangeError, match="is a link"):
        read_all(path)
