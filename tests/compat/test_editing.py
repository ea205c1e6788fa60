"""Edits of datasets as people have them: of the hosted ``D4RL/door/human-v2``, and of every release."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import minari
from minari.testing.comparison import assert_same
from support.official import OfficialDataset, official_datasets


pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

ID = "D4RL/door/human-v2"


@pytest.mark.parametrize("new_id", [None, "door/best-v0"])
def test_door(real_root: Path, new_id: str | None) -> None:
    dataset = minari.load_dataset(ID)
    before = list(dataset)
    returns = np.array([episode.rewards.sum() for episode in before])
    lowest = float(np.sort(returns)[10])
    report = dataset.edit(
        drop_episodes=[3, 24],
        keep=lambda episode: episode.rewards.sum() >= lowest,
        rename_fields={"infos/success": "infos/open"},
        set_metadata={"description": "The better ones."},
        episode_metadata={18: {"best": True}},
        new_dataset_id=new_id,
    )
    kept = [number for number in range(25) if number not in (3, 24) and returns[number] >= lowest]
    assert report.episodes_after == len(kept)
    edited = minari.load_dataset(new_id or ID)
    for episode, number in zip(edited, kept, strict=True):
        old = before[number]
        for name in ("observations", "actions", "rewards", "terminations", "truncations"):
            assert_same(getattr(episode, name), getattr(old, name), name)
        assert_same(episode.infos, {{"success": "open"}.get(key, key): value for key, value in old.infos.items()})
    (best,) = edited.storage.get_episode_metadata([kept.index(18)])
    assert best["best"]
    assert set(best["options"]["initial_state_dict"]) == {"door_body_pos", "qpos", "qvel"}
    assert edited.env_spec == dataset.env_spec if new_id else edited.env_spec is not None
    assert minari.validate(edited.id, checksums=True).ok


@pytest.mark.parametrize("official", official_datasets(), ids=str)
def test_dataset_of_each_release_without_its_first_episode(official: OfficialDataset, tmp_path: Path) -> None:
    shutil.copytree(official.data_path, tmp_path / "data")
    dataset = minari.open_dataset(tmp_path)
    expected = list(dataset.storage.get_episodes(range(len(dataset))))
    report = dataset.edit(drop_episodes=[0], set_metadata={"note": "edited"})
    assert report.dataset is not None
    found = report.dataset.storage.get_episodes(range(len(report.dataset)))
    for number, (episode, old) in enumerate(zip(found, expected[1:], strict=True)):
        assert_same(episode, {**old, "id": number}, str(number))
    assert minari.open_dataset(tmp_path).storage.metadata["note"] == "edited"
