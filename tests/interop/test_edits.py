"""Edited datasets, read and extended by the released package."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

import minari
from minari.data_collector import EpisodeBuffer
from minari.testing.comparison import assert_same


pytestmark = pytest.mark.filterwarnings("ignore::minari.errors.MissingMetadataWarning")

PROGRAM = """
import numpy as np
from minari.data_collector import EpisodeBuffer
dataset = minari.load_dataset("edited/a-v0")
def plain(value):
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    return value.tolist() if hasattr(value, "tolist") else value
episodes = [
    [plain(episode.observations), plain(episode.actions), plain(episode.rewards), plain(episode.infos)]
    for episode in dataset
]
one = dict(observations={"cam": np.full((2, 2), 9), "deep": {"z": np.full(2, 9)}}, actions=np.ones(1, int))
ends = dict(rewards=np.full(1, 9.0), terminations=np.ones(1, bool), truncations=np.zeros(1, bool))
dataset.update_dataset_from_buffer([EpisodeBuffer(**one, **ends)])
metadata = list(dataset.storage.get_episode_metadata([0, 1]))
result = [episodes, [item.get("task") for item in metadata], dataset.storage.metadata.get("description"), len(dataset)]
"""


@pytest.mark.parametrize("data_format", ["hdf5", "arrow"])
def test_released_package_reads_edited_dataset(
    released: Callable[..., Any], datasets_root: Path, data_format: str
) -> None:
    space = spaces.Dict(
        a=spaces.Box(0, 100, (2,), np.int64), b=spaces.Discrete(9), deep=spaces.Dict(x=spaces.Discrete(100))
    )
    buffers = []
    for seed in range(4):
        rows = np.full(3, seed)
        buffers.append(
            EpisodeBuffer(
                observations={"a": np.full((3, 2), seed), "b": rows, "deep": {"x": rows}},
                actions=[0, 1],
                rewards=[float(seed)] * 2,
                terminations=[False, True],
                truncations=[False, False],
                infos={"debug": rows, "time": rows + 1},
            )
        )
    dataset = minari.create_dataset_from_buffers(
        "edited/a-v0", buffers, observation_space=space, action_space=spaces.Discrete(2), data_format=data_format
    )
    dataset.edit(
        drop_episodes=[0, 2],
        drop_fields=["observations/b", "infos/debug"],
        rename_fields={
            "observations/a": "observations/cam",
            "observations/deep/x": "observations/deep/z",
            "infos/time": "infos/clock",
        },
        set_metadata={"description": "Edited."},
        episode_metadata={3: {"task": "pick"}},
    )
    episodes, tasks, description, length = released(PROGRAM, datasets_root)
    for (observations, actions, rewards, infos), seed in zip(episodes, (1, 3), strict=True):
        assert observations == {"cam": [[seed] * 2] * 3, "deep": {"z": [seed] * 3}}
        assert (actions, rewards) == ([0, 1], [float(seed)] * 2)
        assert infos == {"clock": [seed + 1] * 3}
    assert (tasks, description, length) == ([None, "pick"], "Edited.", 3)
    opened = minari.load_dataset("edited/a-v0")
    assert_same([episode.rewards.tolist() for episode in opened], [[1.0] * 2, [3.0] * 2, [9.0]])
