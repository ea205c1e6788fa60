"""The command line on datasets of many agents."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

import minari
from cli.conftest import Minari
from minari.data_collector import EpisodeBuffer, MultiAgentEpisodeBuffer


pytestmark = pytest.mark.filterwarnings("ignore::minari.errors.MissingMetadataWarning")

SPACES = {"predator": spaces.Box(-1.0, 1.0, (2,), np.float32), 7: spaces.Discrete(4)}
ACTIONS = dict.fromkeys(SPACES, spaces.Discrete(3))


def made(name: str = "hunt/agents-v0", **arguments: Any) -> minari.MinariDataset:
    def trajectory(observations: Any, rewards: list[float]) -> EpisodeBuffer:
        steps = len(rewards)
        flags = np.arange(steps) == steps - 1
        return EpisodeBuffer(
            observations=observations,
            actions=[1] * steps,
            rewards=rewards,
            terminations=flags,
            truncations=flags & False,
        )

    predators = [trajectory(np.zeros((3, 2), np.float32), [1.5, 2.0]), trajectory(np.zeros((2, 2), np.float32), [7.5])]
    prey = trajectory([1, 2], [-1.0])
    episodes = [
        MultiAgentEpisodeBuffer({"predator": predators[0], 7: prey}),
        MultiAgentEpisodeBuffer({"predator": predators[1]}),
    ]
    return minari.create_dataset_from_buffers(
        name, episodes, observation_space=SPACES, action_space=ACTIONS, **arguments
    )


def test_show_lists_the_agents_with_their_spaces_and_returns(run: Minari) -> None:
    made()
    done = run("show", "hunt/agents-v0", COLUMNS="160")
    assert (done.code, done.err) == (0, "")
    rows = [[cell.strip() for cell in line.strip("│┃").replace("┃", "│").split("│")] for line in done.lines]
    table = [row for row in rows if len(row) == 5]
    assert table == [
        ["Agent", "Observation Space", "Action Space", "# Steps", "Return (min, mean, max)"],
        ["predator", "Box(-1.0, 1.0, (2,), float32)", "Discrete(3)", "3", "3.5, 5.5, 7.5"],
        ["7", "Discrete(4)", "Discrete(3)", "1", "-1, -1, -1"],
    ]
    assert "Dataset Observation Space" not in done.out
    assert "0.6 (supported)" in done.out
    assert "Episode Returns" in done.out


def test_show_as_json_has_the_returns_of_each_agent(run: Minari) -> None:
    made()
    shown = json.loads(run("show", "hunt/agents-v0", "--json").out)
    assert shown["multi_agent"] is True
    assert shown["episode_returns"]["mean"] == (2.5 + 7.5) / 2
    assert list(shown["agents"]) == ["predator", "_key:7"]
    assert shown["agents"]["predator"]["episode_returns"]["max"] == 7.5
    assert (shown["agents"]["_key:7"]["episodes"], shown["agents"]["_key:7"]["steps"]) == (1, 1)
    assert json.loads(shown["observation_space"])["subspaces"].keys() == {"predator", "_key:7"}


def test_dataset_of_agents_is_listed_validated_converted_and_combined(run: Minari) -> None:
    dataset = made()
    assert "hunt/agents-v0" in run("list", "local").out
    assert run("validate", "hunt/agents-v0").code == 0
    done = run("convert", "hunt/agents-v0", "hunt/zarr-v0", "--format", "zarr")
    assert (done.code, done.err) == (0, "")
    done = run("combine", "hunt/agents-v0", "hunt/zarr-v0", "--dataset-id", "hunt/both-v0")
    assert (done.code, done.err) == (0, "")
    both = minari.load_dataset("hunt/both-v0")
    assert both.total_episodes == 4
    assert both.agents == dataset.agents
    done = run("convert", "hunt/agents-v0", "hunt/old-v0", "--compatible-with", "0.5")
    assert done.code != 0
    assert "The dataset has many agents" in done.err
    assert run("rename", "hunt/both-v0", "hunt/all-v0").code == 0
    assert minari.validate("hunt/all-v0").ok


def test_show_tells_what_is_damaged(run: Minari) -> None:
    dataset = made()
    file = dataset.storage.data_path / "metadata.json"
    raw = json.loads(file.read_text())
    file.write_text(json.dumps({**raw, "action_space": raw["observation_space"].replace("predator", "z")}))
    done = run("show", "hunt/agents-v0")
    assert done.code == 0
    assert "The episodes cannot be read: The spaces in" in done.err
