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

NEW: dict[str, Any] = {"observation_space": PLANE, "action_space": spaces.Discrete(3)}


def played(collector: DataCollector | None = None, **arguments: Any) -> DataCollector:
    collector = collector or DataCollector(ScriptedEnv(), **arguments)
    play(collector, 2, seed=1)
    return collector


def saved() -> MinariDataset:
    return played().create_dataset("test/old-v0")


def plain(length: int = 3) -> dict[str, Any]:
    """An episode as a plain dict."""
    return vars(buffer_of(length, infos={"k": np.arange(length + 1)}))


def described(**arguments: Any) -> MinariDataset:
    """Create a dataset in the older form, by position or by name."""
    given = {"algorithm_name": "random", "author": "Ann", "author_email": "a@x"}
    if not arguments:
        return minari.create_dataset_from_collector_env("test/old-v0", played(), **given)
    return minari.create_dataset_from_collector_env(
        **arguments, collector_env=played(), code_permalink="https://code", **given
    )


def lengths(dataset: MinariDataset) -> list[int]:
    """The lengths of the episodes, which another object that reads the dataset finds as well."""
    found = [len(episode) for episode in dataset]
    assert found == [len(episode) for episode in minari.load_dataset(dataset.id)]
    return found


def grown(use: Callable[[MinariDataset], Any]) -> list[int]:
    dataset = saved()
    use(dataset)
    return lengths(dataset)


def length_of_collected(**arguments: Any) -> list[int]:
    return lengths(played(minari.DataCollectorV0(ScriptedEnv(), **arguments)).create_dataset("test/old-v0"))


#: What programs did, the older name, the one of today, and what comes of it.
USES: list[tuple[Callable[[], Any], str, str, Any]] = [
    (lambda: length_of_collected(), "DataCollectorV0", "DataCollector", [5, 5]),
    (lambda: length_of_collected(max_buffer_steps=10, max_buffer_episodes=3), "DataCollectorV0", "Collector", [5, 5]),
    (lambda: lengths(played(max_buffer_steps=10).create_dataset("x-v0")), "max_buffer_steps", "buffer_steps", [5, 5]),
    (lambda: lengths(played(max_buffer_episodes=1).create_dataset("x-v0")), "max_buffer_episodes", "steps", [5, 5]),
    (lambda: lengths(described()), "create_dataset_from_collector_env", "DataCollector.create_dataset", [5, 5]),
    (lambda: described(dataset_id="a-v0").storage.metadata["author"], "collector_env", "create_dataset", {"Ann"}),
    (lambda: described(dataset_name="a-v0").id, "collector_env", "DataCollector.create_dataset", "a-v0"),
    (
        lambda: grown(lambda dataset: dataset.update_dataset_from_collector_env(played())),
        "MinariDataset.update_dataset_from_collector_env",
        "DataCollector.add_to_dataset",
        [5, 5, 5, 5],
    ),
    (lambda: saved().name, "MinariDataset.name", "MinariDataset.id", "test/old-v0"),
    (
        lambda: lengths(minari.combine_datasets([saved()], new_dataset_name="test/both-v0")),
        "new_dataset_name",
        "new_dataset_id",
        [5, 5],
    ),
    (
        lambda: lengths(minari.create_dataset_from_buffers("test/old-v0", [plain(2), plain(3)], **NEW)),
        "plain dicts",
        "EpisodeBuffer(**episode)",
        [2, 3],
    ),
    (
        lambda: grown(lambda dataset: dataset.update_dataset_from_buffer([plain(2), buffer_of(1)])),
        "plain dicts",
        "EpisodeBuffer",
        [5, 5, 2, 1],
    ),
]


@pytest.mark.parametrize(
    ("use", "old", "new", "expected"), USES, ids=[f"{old} {n}" for n, (_, old, *_) in enumerate(USES)]
)
def test_older_names_work_and_warn_once_in_the_program(
    use: Callable[[], Any], old: str, new: str, expected: Any
) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert use() == expected
    (warning,) = [one for one in caught if issubclass(one.category, DeprecationWarning)]
    assert warning.filename == __file__
    assert old in str(warning.message)
    assert new in str(warning.message)
    assert str(warning.message).endswith("use that.")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_older_collectors_record_and_write_as_they_were_told(datasets_root: Path) -> None:
    collector = minari.DataCollectorV0(ScriptedEnv(inform=lambda t: {"k": t}), record_infos=True, max_buffer_steps=10)
    play(collector)
    assert not (datasets_root / ".recordings").exists()
    play(collector)
    assert (datasets_root / ".recordings").exists()
    dataset = minari.create_dataset_from_collector_env("test/old-v0", collector)
    assert [episode.infos["k"].tolist() for episode in dataset] == [[0, 1, 2, 3, 4, 5]] * 2
    assert collector.total_episodes == 0


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_values_of_plain_dicts_are_stored() -> None:
    (episode,) = minari.create_dataset_from_buffers("test/old-v0", [plain(3)], **NEW)
    assert episode.infos["k"].tolist() == episode.observations[:, 0].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("lacking", ["dataset_id", "collector_env"])
def test_create_dataset_from_collector_env_needs_both(lacking: str) -> None:
    arguments = {"dataset_id": "test/old-v0", "collector_env": played()}
    del arguments[lacking]
    with pytest.warns(DeprecationWarning, match="older form"), pytest.raises(TypeError, match="needs a dataset_id"):
        minari.create_dataset_from_collector_env(**arguments)


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
        minari.create_dataset_from_buffers("test/new-v2", [buffer_of(2)], **NEW)
        assert dataset.id == "test/new-v0"
