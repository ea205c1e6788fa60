"""The released package and datasets of many agents, which it does not know."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

import minari
from minari.data_collector import EpisodeBuffer, MultiAgentEpisodeBuffer


pytestmark = pytest.mark.filterwarnings("ignore::minari.errors.MissingMetadataWarning")

SPACES = dict.fromkeys(("predator", "prey"), spaces.Box(-1.0, 1.0, (2,), np.float32))


def made(data_format: str) -> minari.MinariDataset:
    trajectory = EpisodeBuffer(
        observations=np.zeros((3, 2), np.float32), actions=np.zeros((2, 2), np.float32), rewards=[1.0, 2.0],
        terminations=[False, True], truncations=[False, False],
    )  # fmt: skip
    return minari.create_dataset_from_buffers(
        f"hunt/{data_format}-v0", [MultiAgentEpisodeBuffer(dict.fromkeys(SPACES, trajectory))],
        observation_space=SPACES, action_space=SPACES, data_format=data_format,
    )  # fmt: skip


@pytest.mark.parametrize("data_format", ["hdf5", "arrow"])
def test_released_package_refuses_many_agents_in_one_sentence(
    released: Callable[..., Any], datasets_root: Path, data_format: str
) -> None:
    dataset = made(data_format)
    program = f"""
        try:
            minari.load_dataset({dataset.id!r})
        except Exception as error:
            result = [type(error).__name__, str(error)]
    """
    kind, message = released(program, datasets_root)
    assert kind == "ValueError"
    assert "0.6" in message
    assert len(message.splitlines()) == 1


def test_released_package_reads_the_trajectories_of_one_agent(
    released: Callable[..., Any], datasets_root: Path
) -> None:
    made("hdf5").for_agent("prey").convert("hunt/prey-v0", compatible_with="0.5")
    program = """
        dataset = minari.load_dataset("hunt/prey-v0")
        result = [episode.rewards.tolist() for episode in dataset]
    """
    assert released(program, datasets_root) == [[1.0, 2.0]]
