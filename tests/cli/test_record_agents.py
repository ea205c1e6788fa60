"""``minari record --pettingzoo``."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import minari
from cli.conftest import Minari, Run


pytest.importorskip("pettingzoo")


@pytest.fixture
def record(run: Minari, tmp_path: Path) -> Minari:
    """Run ``minari record --pettingzoo`` in a directory that has the module ``games``."""
    shutil.copy(Path(__file__).with_name("own_games.py"), tmp_path / "games.py")

    def record_game(*options: str, game: str = "games:together", dataset_id: str = "own/a-v0") -> Run:
        return run("record", "counting", "--dataset-id", dataset_id, "--pettingzoo", game, *options)

    return record_game


def test_records_ten_episodes_by_default(record: Minari, datasets_root: Path) -> None:
    path = datasets_root / "own" / "a-v0"
    done = record("--policy", "games:two")
    assert done.lines == [f"Dataset own/a-v0 recorded: 10 episodes, 50 steps, mean return 16, at {path}"]
    dataset = minari.load_dataset("own/a-v0")
    assert dataset.agents == ["a", "b"]
    for episode in dataset:
        assert episode["a"].actions.tolist() == [2] * 5
        assert episode["b"].timesteps.tolist() == [0, 1, 2, 3]
        assert episode.state is None
        assert episode["a"].infos == {}


@pytest.mark.parametrize("game", ["games:together", "games:in_turns"])
def test_same_seed_records_the_same_dataset(record: Minari, game: str) -> None:
    for version in (0, 1):
        record("--seed", "3", "--episodes", "4", game=game, dataset_id=f"own/a-v{version}")
    one, other = (list(minari.load_dataset(f"own/a-v{version}")) for version in (0, 1))
    assert one == other
    assert len({episode["a"].actions.tobytes() for episode in one}) > 1
    metadatas = minari.load_dataset("own/a-v0").storage.get_episode_metadata(range(4))
    assert [metadata["seed"] for metadata in metadatas] == [3, 4, 5, 6]


def test_random_policy_chooses_among_the_actions_of_a_mask(record: Minari) -> None:
    assert record("--seed", "0", "--episodes", "3", game="games:masked").code == 0
    for episode in minari.load_dataset("own/a-v0"):
        assert set(episode["a"].actions.tolist()) == {1}


def test_class_of_a_policy_is_given_the_environment(record: Minari) -> None:
    record("--policy", "games:Clock", "--episodes", "1")
    assert minari.load_dataset("own/a-v0")[0]["b"].actions.tolist() == [0, 1, 2]


def test_state_infos_and_arguments_are_recorded(record: Minari) -> None:
    record("--episodes", "1", "--record-state", "--record-infos", "--env-kwargs", '{"length": 3}')
    (episode,) = minari.load_dataset("own/a-v0")
    assert episode.state.tolist() == [[0], [1], [2], [3]]
    assert episode["a"].infos["time"].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(("game", "length"), [("games:together", 8), ("games:in_turns", 5)])
def test_number_of_steps_truncates_the_last_episode(record: Minari, game: str, length: int) -> None:
    assert "2 episodes, 13 steps" in record("--steps", "13", "--env-kwargs", f'{{"length": {length}}}', game=game).out
    dataset = minari.load_dataset("own/a-v0")
    assert dataset.total_steps == 13
    assert dataset[1]["a"].truncations[-1]


@pytest.mark.parametrize("game", ["games:together", "games:in_turns"])
def test_mean_return_is_that_of_the_dataset(record: Minari, game: str) -> None:
    done = record("--seed", "0", "--steps", "17", game=game)
    dataset = minari.load_dataset("own/a-v0")
    returns = [sum(episode[agent].rewards.sum() for agent in episode.agents) for episode in dataset]
    assert f"mean return {np.mean(returns):.6g}, at " in done.out


def test_appends_to_a_dataset_of_the_same_agents(record: Minari) -> None:
    record("--episodes", "2", "--seed", "0")
    done = record("--episodes", "1", "--seed", "0", "--append")
    assert "extended: 1 episode" in done.out
    assert [
        metadata["seed"] for metadata in minari.load_dataset("own/a-v0").storage.get_episode_metadata(range(3))
    ] == [0, 1, 2]


def test_failure_keeps_the_steps_and_says_how_to_go_on(record: Minari) -> None:
    done = record("--policy", "games:failing", "--record-state", "--episodes", "2")
    assert done.code == 1
    assert "games.py" in done.err
    assert "--pettingzoo games:together --record-state --append" in done.err
    assert len(minari.load_dataset("own/a-v0")[0]) == 2


def test_info_that_cannot_be_stored_is_left_out(record: Minari) -> None:
    done = record("--episodes", "2", "--record-infos", game="games:odd")
    assert done.code == 0
    assert done.err.count("The info 'lock' is left out") == 1
    assert set(minari.load_dataset("own/a-v0")[1]["a"].infos) == {"time"}


@pytest.mark.parametrize(
    ("game", "parts"),
    [
        ("games", ["'games'", "package.module:function"]),
        ("games:nothing", ["games:nothing", "nothing"]),
        ("nowhere:env", ["nowhere:env", "nowhere"]),
        ("games:broken", ["games:broken", "cannot be made", "no board", "games.py"]),
        ("games:number", ["games:number", "cannot be made"]),
        ("games:no_environment", ["ParallelEnv", "AECEnv"]),
    ],
)
def test_wrong_function_is_refused(record: Minari, game: str, parts: list[str]) -> None:
    record(game=game).assert_refused(*parts, code=1 if "cannot be made" in parts else 2)


def test_dataset_of_one_agent_takes_no_episodes_of_many(record: Minari, run: Minari) -> None:
    run("record", "CartPole-v1", "--dataset-id", "own/a-v0", "--episodes", "1")
    record("--append").assert_refused("own/a-v0", "one agent")


def test_dataset_of_other_agents_takes_none(record: Minari) -> None:
    record("--episodes", "1")
    record("--append", game="games:masked").assert_refused("own/a-v0", "'a'")


def test_state_is_of_many_agents(run: Minari) -> None:
    run("record", "CartPole-v1", "--dataset-id", "own/a-v0", "--record-state").assert_refused("--record-state", code=2)


def test_recording_of_many_agents_is_recovered(run: Minari, datasets_root: Path) -> None:
    from cli import own_games

    collector = minari.MultiAgentDataCollector(own_games.together())
    collector.reset(seed=1)
    while collector.agents:
        collector.step(dict.fromkeys(collector.agents, 1))
    with pytest.warns(UserWarning, match="minari recover"):
        collector.close()
    assert "5" in run("recover").out
    (name,) = [recording.name for recording in datasets_root.glob("*/recording-*")]
    assert run("recover", name, "--dataset-id", "own/back-v0").code == 0
    assert minari.load_dataset("own/back-v0")[0]["b"].rewards.tolist() == [1.0] * 3
