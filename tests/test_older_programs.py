"""Programs written for the first releases run, with one warning that names the replacement of a name."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

import minari
from minari import DataCollector, MinariDataset
from support.scripted import PLANE, ScriptedEnv, buffer_of, play


pytestmark = pytest.mark.filterwarnings("ignore:`.*` is set to None")

ACTIONS = spaces.Discrete(3)


def warned_once(use: Callable[[], Any], old: str, new: str) -> Any:
    """Return the result of a use; it must issue one `DeprecationWarning` here, with the old and the new name."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = use()
    (warning,) = [one for one in caught if issubclass(one.category, DeprecationWarning)]
    assert warning.filename == __file__
    text = str(warning.message)
    assert old in text
    assert new in text
    assert text.endswith("use that.")
    return result


def played(**arguments: Any) -> DataCollector:
    collector = DataCollector(ScriptedEnv(), **arguments)
    play(collector, 2, seed=1)
    return collector


# The collector


def test_data_collector_v0() -> None:
    collector = warned_once(
        lambda: minari.DataCollectorV0(ScriptedEnv(inform=lambda time: {"k": time}), record_infos=True),
        "DataCollectorV0",
        "DataCollector",
    )
    assert isinstance(collector, DataCollector)
    play(collector)
    assert collector.create_dataset("test/old-v0")[0].infos["k"].tolist() == list(range(6))


def test_data_collector_v0_with_the_arguments_of_its_time() -> None:
    collector = warned_once(
        lambda: minari.DataCollectorV0(ScriptedEnv(), max_buffer_steps=10, max_buffer_episodes=3),
        "DataCollectorV0",
        "DataCollector",
    )
    play(collector, 3)
    assert len(collector.create_dataset("test/old-v0")) == 3


def test_max_buffer_steps_is_buffer_steps(datasets_root: Path) -> None:
    collector = warned_once(
        lambda: DataCollector(ScriptedEnv(), max_buffer_steps=10), "max_buffer_steps", "buffer_steps"
    )
    play(collector)
    assert not (datasets_root / ".recordings").exists()
    play(collector)
    assert (datasets_root / ".recordings").exists()
    assert len(collector.create_dataset("test/old-v0")) == 2


def test_max_buffer_episodes() -> None:
    collector = warned_once(
        lambda: DataCollector(ScriptedEnv(), max_buffer_episodes=1), "max_buffer_episodes", "buffer_steps"
    )
    play(collector, 3)
    assert len(collector.create_dataset("test/old-v0")) == 3


@pytest.mark.parametrize("by_position", [True, False])
@pytest.mark.parametrize("name", ["dataset_id", "dataset_name"])
def test_create_dataset_from_collector_env(name: str, by_position: bool) -> None:
    collector = played()
    description: dict[str, Any] = {"algorithm_name": "random", "author": "Ann", "author_email": "a@x"}

    def create() -> MinariDataset:
        if by_position:
            return minari.create_dataset_from_collector_env("test/old-v0", collector, **description)
        return minari.create_dataset_from_collector_env(
            **{name: "test/old-v0"}, collector_env=collector, code_permalink="https://code", **description
        )

    dataset = warned_once(create, "create_dataset_from_collector_env", "DataCollector.create_dataset")
    assert (dataset.id, len(dataset)) == ("test/old-v0", 2)
    assert dataset.storage.metadata["author"] == {"Ann"}
    assert collector.total_episodes == 0


def test_create_dataset_from_collector_env_needs_both() -> None:
    for arguments in ({"dataset_id": "test/old-v0"}, {"collector_env": played()}):
        with pytest.warns(DeprecationWarning, match="older form"), pytest.raises(TypeError, match="needs a dataset_id"):
            minari.create_dataset_from_collector_env(**arguments)


# The dataset


def test_update_dataset_from_collector_env() -> None:
    dataset = played().create_dataset("test/old-v0")
    collector = played()
    warned_once(
        lambda: dataset.update_dataset_from_collector_env(collector),
        "MinariDataset.update_dataset_from_collector_env",
        "DataCollector.add_to_dataset",
    )
    assert (len(dataset), len(minari.load_dataset("test/old-v0")), collector.total_episodes) == (4, 4, 0)


def test_the_name_of_a_dataset() -> None:
    dataset = played().create_dataset("test/old-v0")
    assert warned_once(lambda: dataset.name, "MinariDataset.name", "MinariDataset.id") == "test/old-v0"


def test_combining_to_a_new_name() -> None:
    dataset = played().create_dataset("test/old-v0")
    combined = warned_once(
        lambda: minari.combine_datasets([dataset, dataset], new_dataset_name="test/both-v0"),
        "new_dataset_name",
        "new_dataset_id",
    )
    assert (combined.id, len(combined)) == ("test/both-v0", 4)


# Episodes as plain dicts


def plain(length: int = 3) -> dict[str, Any]:
    buffer = buffer_of(length)
    names = ("observations", "actions", "rewards", "terminations", "truncations", "infos")
    return {name: getattr(buffer, name) for name in names} | {"infos": {"k": np.arange(length + 1)}}


def test_creating_from_plain_dicts() -> None:
    dataset = warned_once(
        lambda: minari.create_dataset_from_buffers(
            "test/old-v0", [plain(2), plain(3)], observation_space=PLANE, action_space=ACTIONS
        ),
        "plain dicts",
        "EpisodeBuffer(**episode)",
    )
    assert [len(episode) for episode in dataset] == [2, 3]
    assert dataset[1].infos["k"].tolist() == [0, 1, 2, 3]
    assert dataset[1].observations[:, 0].tolist() == [0, 1, 2, 3]


def test_appending_plain_dicts() -> None:
    dataset = played().create_dataset("test/old-v0")
    warned_once(lambda: dataset.update_dataset_from_buffer([plain(2), buffer_of(1)]), "plain dicts", "EpisodeBuffer")
    assert [len(episode) for episode in minari.load_dataset("test/old-v0")] == [5, 5, 2, 1]


# How such a program looks


TUTORIAL = """
    import gymnasium as gym
    import minari
    from minari import DataCollectorV0

    env = DataCollectorV0(gym.make("CartPole-v1"), record_infos=True, max_buffer_steps=100000)
    dataset = None
    for number in range(6):
        env.reset(seed=42 + number)
        while True:
            observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
            if terminated or truncated:
                break
        if (number + 1) % 2 == 0:
            if dataset is None:
                dataset = minari.create_dataset_from_collector_env(
                    dataset_id="cartpole-test-v0", collector_env=env, algorithm_name="random",
                    code_permalink="https://example.org", author="Ann", author_email="ann@example.org",
                )
            else:
                dataset.update_dataset_from_collector_env(env)
    env.close()
    other = minari.combine_datasets([dataset, dataset], new_dataset_name="cartpole-both-v0")
    print(dataset.name, len(dataset), other.name, len(other), sorted(minari.list_local_datasets()))
"""


def test_a_program_of_the_first_tutorials(datasets_root: Path) -> None:
    """Run as people run it: deprecations are shown, as they happen in the program itself."""
    command = [sys.executable, "-c", textwrap.dedent(TUTORIAL)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(minari.__file__).parents[1], check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "cartpole-test-v0 6 cartpole-both-v0 12 ['cartpole-both-v0', 'cartpole-test-v0']\n"
    shown = [line for line in done.stderr.splitlines() if "DeprecationWarning" in line]
    assert len(shown) == 5  # one for each old name, although the loop passes by one of them twice
    assert all(line.startswith("<string>:") for line in shown)


def test_today_nothing_is_deprecated() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        collector = DataCollector(gym.make("CartPole-v1"), buffer_steps=10)
        play(collector, 3)
        dataset = collector.create_dataset("test/new-v0")
        play(collector)
        collector.add_to_dataset(dataset)
        minari.combine_datasets([dataset], new_dataset_id="test/new-v1")
        minari.create_dataset_from_buffers("test/new-v2", [buffer_of(2)], observation_space=PLANE, action_space=ACTIONS)
        assert dataset.id == "test/new-v0"
