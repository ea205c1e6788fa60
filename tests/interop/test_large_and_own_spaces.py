"""The released package with camera spaces, custom spaces and arguments that JSON cannot represent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

import minari
from minari.data_collector import EpisodeBuffer
from support.scripted import ScriptedEnv, play


pytestmark = pytest.mark.filterwarnings("ignore:`.*` is set to None")

LOOK = """
sys.path.insert(0, os.getcwd())
try:
    dataset = minari.load_dataset({dataset_id!r})
    said = [str(dataset.observation_space), dataset.total_episodes, str(dataset[0].observations)[:200]]
except Exception as error:
    said = [type(error).__name__, str(error)]
listed = list(minari.list_local_datasets(compatible_minari_version=True))
recovered = None
if len(said) == 3 and dataset.env_spec is not None:
    try:
        recovered = str(dataset.recover_environment().unwrapped.length)
    except Exception as error:
        recovered = f"{{type(error).__name__}}: {{error}}"
result = [said, listed, recovered]
"""


@pytest.fixture
def look(released: Any, datasets_root: Path) -> Callable[[str], Any]:
    """Load a dataset with the released package, which can import modules of the temporary directory."""
    return lambda dataset_id: released(LOOK.format(dataset_id=dataset_id), datasets_root)


def test_a_camera_dataset_is_refused_and_its_long_form_read(look: Any) -> None:
    space = spaces.Box(0, 255, (200, 120, 3), np.uint8)
    episode = EpisodeBuffer(
        observations=np.zeros((3, *space.shape), np.uint8), actions=[0, 1], rewards=[0.0, 1.0],
        terminations=[False, True], truncations=[False, False],
    )  # fmt: skip
    dataset = minari.create_dataset_from_buffers(
        "camera/short-v0", [episode], observation_space=space, action_space=spaces.Discrete(2)
    )
    dataset.convert("camera/long-v0", compatible_with="0.5")
    said, listed, _ = look("camera/short-v0")
    assert said[0] == "ValueError"
    assert "\n" not in said[1]
    assert listed == ["camera/long-v0"]
    said, _, _ = look("camera/long-v0")
    assert said[:2] == [str(space), 1]


class Request(spaces.Space[str]):
    def __init__(self) -> None:
        super().__init__(dtype=str)

    def contains(self, x: Any) -> bool:
        return isinstance(x, str)


def test_a_space_of_texts_is_read_as_text(look: Any) -> None:
    space = spaces.Dict(request=Request())
    collector = minari.DataCollector(ScriptedEnv(lambda time: {"request": "bring tea"}, observation_space=space))
    play(collector, seed=1)
    collector.create_dataset("texts/own-v0")
    said, _, _ = look("texts/own-v0")
    assert said[0].startswith("Dict('request': Text(0, 4096")
    assert "bring tea" in said[2]


@pytest.mark.filterwarnings("ignore:The spec of the environment")
@pytest.mark.parametrize(("length", "recovered"), [({1: 0.5}, "{'1': 0.5}"), (len, "length (not stored)")])
def test_arguments_that_json_cannot_hold_are_refused_by_both(
    look: Any, length: Any, recovered: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "corridors.py").write_text(
        "import gymnasium as gym\n"
        "class Corridor(gym.Env):\n"
        "    observation_space = action_space = gym.spaces.Discrete(2)\n"
        "    def __init__(self, length=5, render_mode=None): self.length = length\n"
        "    def reset(self, *, seed=None, options=None): return 0, {}\n"
        "    def step(self, action): return 0, 0.0, True, False, {}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("gymnasium.envs.registration.registry", dict(gym.registry))
    gym.register("Corridor-v0", entry_point="corridors:Corridor")
    collector = minari.DataCollector(gym.make("Corridor-v0", length=length))
    play(collector, seed=1)
    collector.create_dataset("corridors/a-v0")
    said, _, found = look("corridors/a-v0")
    assert said[1] == 1
    assert recovered in found
