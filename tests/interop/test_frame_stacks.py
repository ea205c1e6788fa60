"""The released package and stacks of frames that are stored once, which it does not know."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

import minari
from minari.data_collector import EpisodeBuffer


pytestmark = pytest.mark.filterwarnings("ignore::minari.errors.MissingMetadataWarning")


@pytest.mark.parametrize("data_format", ["hdf5", "arrow"])
def test_released_package_refuses_frames_and_reads_whole_stacks(
    released: Callable[..., Any], datasets_root: Path, data_format: str
) -> None:
    frames = np.arange(14.0, dtype=np.float32).reshape(7, 2)
    stacks = np.stack([frames[step : step + 3] for step in range(5)])
    flags = np.zeros(4, bool)
    dataset = minari.create_dataset_from_buffers(
        "stacks/once-v0",
        [
            EpisodeBuffer(
                observations=stacks,
                actions=np.zeros(4, np.int64),
                rewards=np.ones(4),
                terminations=flags,
                truncations=flags,
            )
        ],
        observation_space=spaces.Box(-np.inf, np.inf, (3, 2), np.float32),
        action_space=spaces.Discrete(2),
        data_format=data_format,
        frame_stack="deduplicate",
    )
    dataset.convert("stacks/whole-v0", compatible_with="0.5")
    program = """
import numpy as np
try:
    minari.load_dataset("stacks/once-v0")
except Exception as error:
    refused = [type(error).__name__, str(error)]
observations = np.asarray(minari.load_dataset("stacks/whole-v0")[0].observations)
result = [*refused, observations.tolist()]
"""
    kind, message, observations = released(program, datasets_root)
    assert kind == "ValueError"
    assert "0.6" in message
    assert len(message.splitlines()) == 1
    assert observations == stacks.tolist()
