"""Untrusted datasets of many agents: what does not fit together is one clear error, in every format."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

import minari
from minari._base.files import METADATA_FILE_NAME
from minari._storages.base import MinariStorage
from minari.errors import DatasetCorruptError, MinariError
from minari.spaces import EpisodeColumns
from minari.testing.examples import as_buffer, draw_truth
from minari.testing.storage_suites.agents import draw_agents
from support.copies import is_installed


FORMATS = [name for name in ("hdf5", "arrow", "parquet", "zarr") if name == "hdf5" or is_installed(name)]
AGENTS = {"a": spaces.Box(-1.0, 1.0, (2,), np.float32), 7: spaces.Discrete(4)}
ACTIONS = dict.fromkeys(AGENTS, spaces.Discrete(3))


@pytest.fixture(params=FORMATS)
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> MinariStorage:
    storage = MinariStorage.new(tmp_path / "data", AGENTS, ACTIONS, data_format=request.param)
    storage.update_episodes([draw_agents(AGENTS, ACTIONS, 3, 2, state=np.zeros(4))[0] for _ in range(2)])
    return storage


def changed(storage: MinariStorage, **changes: Any) -> Path:
    """Return the directory after changing its metadata, as another program could."""
    file = storage.data_path / METADATA_FILE_NAME
    raw = {**json.loads(file.read_text()), **changes}
    file.write_text(json.dumps({key: value for key, value in raw.items() if value is not None}))
    return storage.data_path


def use(data_path: Path) -> None:
    """Do what a program does with a dataset."""
    dataset = minari.MinariDataset(data_path)
    list(dataset)
    list(dataset.iterate_episodes(copy=False))
    for agent in dataset.agents:
        view = dataset.for_agent(agent)
        list(view)
        if len(view):
            view.transitions().arrays()
    if dataset.agents:
        dataset.transitions(joint=True, fields=["rewards"]).arrays()
    dataset.statistics()
    dataset.agent_steps  # noqa: B018


def test_intact_dataset_can_be_used(storage: MinariStorage) -> None:
    with pytest.raises(MinariError, match=r"agents 'a' and 7 differ"):  # (their spaces are not alike)
        use(storage.data_path)


def described(**agents: Any) -> str:
    return json.dumps({"type": "Dict", "subspaces": agents})


DISCRETE = {"type": "Discrete", "dtype": "int64", "start": 0, "n": 4}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"multi_agent": "yes"}, "'multi_agent' must be true or false"),
        ({"multi_agent": None}, "Episode 0"),
        ({"observation_space": json.dumps(DISCRETE)}, "expected a Dict with the space of each"),
        ({"observation_space": described(**{"..": DISCRETE})}, "which is not the name of one"),
        ({"observation_space": described(**{"a/b": DISCRETE})}, "which is not the name of one"),
        ({"observation_space": described(a=DISCRETE, **{'_key:"a"': DISCRETE})}, "which is not the name of one"),
        ({"observation_space": described(a=DISCRETE)}, "has no space of the agent 7"),
        ({"observation_space": described(), "action_space": described()}, "Episode 0"),
        (
            {"observation_space": described(a=DISCRETE), "action_space": described(a=DISCRETE)},
            r"_key:7'? *|a trajectory of 7|which is none of its agents",
        ),
        (
            {"observation_space": described(z=DISCRETE), "action_space": described(z=DISCRETE)},
            r"which is none of its agents|a trajectory of",
        ),
        (
            {"observation_space": described(a=DISCRETE, **{"_key:7": DISCRETE})},
            "agent 'a' cannot be read|have the shape|as in the spaces|in the space",
        ),
        ({"total_steps": 7}, "7|steps"),
    ],
)
def test_metadata_of_another_dataset_is_refused(storage: MinariStorage, changes: Any, sentence: str) -> None:
    with pytest.raises(MinariError, match=sentence):
        use(changed(storage, **changes))


@pytest.mark.parametrize("data_format", FORMATS)
def test_episodes_of_one_agent_are_no_episodes_of_many(tmp_path: Path, data_format: str) -> None:
    of_one = spaces.Dict({"a": spaces.Discrete(4)})
    storage = MinariStorage.new(tmp_path / "data", of_one, of_one, data_format=data_format)
    storage.update_episodes([as_buffer(draw_truth(of_one, of_one, 3))])
    with pytest.raises(DatasetCorruptError, match="Episode 0"):
        use(changed(storage, multi_agent=True))


def _without(*path: str) -> Callable[[dict[Any, Any]], None]:
    return lambda columns: columns.pop(path)


def _with(path: tuple[Any, ...], column: Any) -> Callable[[dict[Any, Any]], None]:
    return lambda columns: columns.update({path: column})


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (_without("agents", "a", "timesteps"), "has no timesteps"),
        (_without("agents", "a", "rewards"), "has no"),
        (_without("agents", "a", "observations"), "has no .*observations"),
        (_with(("agents", "a", "timesteps"), np.array([0, 2, 1, 3])), "expected increasing numbers from 0 to 3"),
        (_with(("agents", "a", "timesteps"), np.array([0, 1, 2, 9])), "expected increasing numbers from 0 to 3"),
        (_with(("agents", "a", "timesteps"), np.array([-1, 1, 2, 3])), "expected increasing numbers from 0 to 3"),
        (_with(("agents", "a", "timesteps"), np.arange(3)), "are 3, expected 4"),
        (_with(("agents", "a", "timesteps"), np.zeros((4, 2), np.int64)), "whole numbers"),
        (_with(("agents", "a", "timesteps"), np.linspace(0, 3, 4)), "float64 values"),
        (_with(("agents", "a", "actions"), np.zeros(9, np.int64)), "'a' cannot be read"),
        (_with(("agents", "a", "observations"), np.zeros((4, 3), np.float32)), "'a' cannot be read"),
        (_with(("agents", "a", "terminations"), np.zeros(2, bool)), "'a' cannot be read"),
        (_with(("agents", "a", "infos", "x"), np.zeros(2)), "'a' cannot be read"),
        (_with(("state",), np.zeros(2)), "The state of episode 0 has 2 values, expected 4"),
    ],
)
def test_trajectories_that_do_not_fit_together_are_refused(
    storage: MinariStorage, tmp_path: Path, change: Callable[[dict[Any, Any]], None], sentence: str
) -> None:
    ((_, columns),) = storage.stored_columns([1])
    (metadata,) = storage.get_episode_metadata([1])
    damaged = dict(columns)
    change(damaged)
    other = MinariStorage.new(tmp_path / "other" / "data", AGENTS, ACTIONS, data_format=storage.FORMAT)
    kept = {key: value for key, value in metadata.items() if key not in ("id", "total_steps")}
    with other.writing() as writer:  # as a program that does not check what it writes
        writer.append(0, [EpisodeColumns(3, damaged, kept)])
        totals = {"total_episodes": 1, "total_steps": 3}
        writer.commit(other.current_metadata.updated(totals, allow_protected=True))
    with pytest.raises(DatasetCorruptError, match=sentence):
        list(minari.MinariDataset(other.data_path))
    copies = MinariStorage.new(tmp_path / "copies" / "data", AGENTS, ACTIONS, data_format="hdf5", compression="gzip")
    if storage.FORMAT != "hdf5":  # whose bytes are copied as they are, like those of one agent
        with pytest.raises(DatasetCorruptError, match=sentence):
            copies.update_from_storage(MinariStorage.read(other.data_path))
    report = minari.validate(other.data_path)
    assert not report.ok


def claim(storage: MinariStorage, of_agents: Any) -> None:
    """Set what the metadata of an episode says of its agents, as another program could."""
    with storage.writing() as writer:
        writer.update_metadata(1, {"agents": of_agents})
        writer.commit(storage.current_metadata)


@pytest.mark.parametrize(
    "of_agents",
    [3, {"a": 3}, {"a": {}}, {"a": {"total_steps": -1}}, {"a": {"total_steps": 99}}, {"a": {"total_steps": "x"}}],
)
def test_metadata_of_agents_is_checked(storage: MinariStorage, of_agents: Any) -> None:
    claim(storage, of_agents)
    dataset = minari.MinariDataset(storage.data_path)
    assert len(list(dataset)) == 2
    for read in (lambda: dataset.agent_steps, lambda: dataset.for_agent("a")):
        with pytest.raises(DatasetCorruptError, match=r"of episode 1 in .*, expected the number of steps of"):
            read()
    assert not minari.validate(storage.data_path).ok


def test_wrong_number_of_steps_of_an_agent_is_found(storage: MinariStorage) -> None:
    claim(storage, {"a": {"total_steps": 1}, "_key:7": {"total_steps": 1}})
    view = minari.MinariDataset(storage.data_path).for_agent("a")
    with pytest.raises(DatasetCorruptError, match=r"The rewards of episode 1 are .* expected 1 rows"):
        view.save("agents/saved-v0")
    report = minari.validate(storage.data_path)
    assert any("of the agent 'a', and its metadata claims 1 steps" in finding.message for finding in report.findings)
