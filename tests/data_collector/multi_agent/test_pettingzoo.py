"""Real games of PettingZoo and MPE2, which install without a compiler, inside and outside of PettingZoo's wrappers."""

from __future__ import annotations

import copy
import random
import warnings
from importlib import import_module
from typing import Any

import numpy as np
import pytest

import minari
from minari import MultiAgentDataCollector
from support.agents import rows, same


pytest.importorskip("pettingzoo")
from pettingzoo.test import api_test, parallel_api_test
from pettingzoo.utils import aec_to_parallel, parallel_to_aec, wrappers


pytestmark = [
    pytest.mark.filterwarnings("ignore:`.*` is set to None"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:pettingzoo"),
    pytest.mark.filterwarnings("ignore:.*:UserWarning:pettingzoo"),
]

TURNS = ["pettingzoo.classic.tictactoe_v3", "pettingzoo.classic.connect_four_v3", "pettingzoo.classic.rps_v2"]
BOTH = ["mpe2.simple_tag_v3", "mpe2.simple_speaker_listener_v4", "pettingzoo.butterfly.cooperative_pong_v6"]
BIG = "pettingzoo.butterfly.pistonball_v6"


@pytest.fixture(autouse=True)
def no_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.setenv("SDL_AUDIODRIVER", "dummy")


def game(name: str, **arguments: Any) -> Any:
    """The function of a game, if what it needs is installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip(name.partition(".")[0])
        try:
            module = import_module(name)
        except ImportError as error:
            pytest.skip(str(error))
    return module


class TurnsLogger(wrappers.BaseWrapper):  # type: ignore[misc]
    """Logs, inside of the collector, what each agent gets at its turn, and does."""

    def reset(self, seed: Any = None, options: Any = None) -> None:
        super().reset(seed, options)
        self.turn, self.log = 0, {}

    def step(self, action: Any) -> None:
        agent = self.agent_selection
        observation, reward, terminated, truncated, _ = copy.deepcopy(self.env.last())
        self.log.setdefault(agent, []).append((self.turn, observation, reward, terminated, truncated, action))
        super().step(action)
        self.turn += 1


def legal_action(env: Any, agent: Any, observation: Any, rng: random.Random) -> Any:
    space = env.action_space(agent)
    mask = observation.get("action_mask") if isinstance(observation, dict) else None
    if mask is not None:
        return rng.choice(np.flatnonzero(mask).tolist())
    space.seed(rng.randrange(2**31))
    return space.sample()


def play_turns(collector: Any, seed: int, most: int = 10_000) -> None:
    rng = random.Random(seed)
    collector.reset(seed=seed)
    for agent in collector.agent_iter(most):
        observation, _, terminated, truncated, _ = collector.last()
        collector.step(None if terminated or truncated else legal_action(collector, agent, observation, rng))


@pytest.mark.parametrize("name", [*TURNS, *BOTH])
def test_turns_of_a_game_are_recorded(name: str) -> None:
    env = TurnsLogger(game(name).env())
    collector = MultiAgentDataCollector(env)
    logs = []
    for seed in range(2):
        play_turns(collector, seed, most=400)
        logs.append(env.log)
    collector.reset()
    dataset = collector.create_dataset("test/a-v0")
    assert dataset.agents == env.possible_agents
    for episode, log in zip(dataset, logs, strict=True):
        for agent in episode.agents:
            compare(episode[agent], log[agent])
            assert dataset.observation_space[agent] == env.observation_space(agent)
    collector.close()


def compare(trajectory: Any, log: list[tuple[Any, ...]]) -> None:
    turns, observations, rewards, terminations, truncations, actions = zip(*log, strict=True)
    steps = len(log) - 1
    is_whole = terminations[-1] or truncations[-1]  # otherwise the last row was observed at the end
    if not is_whole:
        steps += 1
    assert len(trajectory) == steps
    assert all(map(same, rows(trajectory.observations, len(log)), observations))
    assert trajectory.timesteps[: len(log)].tolist() == list(turns)
    assert all(map(same, rows(trajectory.actions, steps), actions[:steps]))
    assert np.allclose(trajectory.rewards[: len(log) - 1], rewards[1:])
    assert trajectory.terminations[: len(log) - 1].tolist() == list(terminations[1:])
    assert trajectory.truncations[-1] or trajectory.terminations[-1]


def test_winner_and_loser_of_a_game_get_their_rewards() -> None:
    collector = MultiAgentDataCollector(game("pettingzoo.classic.tictactoe_v3").env())
    collector.reset(seed=1)
    for action in (0, 3, 1, 4, 2, None, None):  # the first player takes the first row
        collector.step(action)
    episode = collector.create_dataset("test/a-v0")[0]
    assert len(episode) == 7
    assert episode["player_1"].rewards.tolist() == [0, 0, 1]
    assert episode["player_2"].rewards.tolist() == [0, -1]
    assert episode["player_1"].timesteps.tolist() == [0, 2, 4, 6]
    assert episode["player_2"].timesteps.tolist() == [1, 3, 5]
    assert episode["player_2"].actions.tolist() == [3, 4]
    assert episode["player_1"].terminations.tolist() == [False, False, True]


class JointLogger(wrappers.BaseParallelWrapper):  # type: ignore[misc]
    """Logs, inside of the collector, what all agents get and do."""

    def reset(self, seed: Any = None, options: Any = None) -> Any:
        result = super().reset(seed, options)
        self.log = [copy.deepcopy((None, result[0]))]
        return result

    def step(self, actions: Any) -> Any:
        given = copy.deepcopy(actions)
        result = super().step(actions)
        self.log.append(copy.deepcopy((given, *result)))
        return result


def play_jointly(collector: Any, seed: int, most: int = 10_000) -> None:
    rng = random.Random(seed)
    observations, _ = collector.reset(seed=seed)
    while collector.agents and most:
        most -= 1
        observations = collector.step(
            {agent: legal_action(collector, agent, observations[agent], rng) for agent in collector.agents}
        )[0]


@pytest.mark.parametrize("name", BOTH)
def test_joint_steps_of_a_game_are_recorded(name: str) -> None:
    env = JointLogger(game(name).parallel_env())
    collector = MultiAgentDataCollector(env, record_state=True)
    play_jointly(collector, 3, most=100)
    log = env.log
    dataset = collector.create_dataset("test/a-v0")
    assert dataset.agents == env.possible_agents
    (episode,) = dataset
    steps = len(log) - 1
    assert len(episode) == steps
    for agent in episode.agents:
        trajectory = episode[agent]
        assert all(map(same, rows(trajectory.observations, steps + 1), [entry[1][agent] for entry in log]))
        assert all(map(same, rows(trajectory.actions, steps), [entry[0][agent] for entry in log[1:]]))
        assert np.allclose(trajectory.rewards, [entry[2][agent] for entry in log[1:]])
        assert trajectory.timesteps.tolist() == list(range(steps + 1))
    collector.close()


def test_frames_of_many_agents_are_recorded() -> None:
    env = JointLogger(game(BIG).parallel_env(n_pistons=4, max_cycles=9))
    collector = MultiAgentDataCollector(env)
    play_jointly(collector, 3)
    (episode,) = collector.create_dataset("test/a-v0")
    for agent in env.possible_agents:
        assert np.array_equal(episode[agent].observations, [entry[1][agent] for entry in env.log])
        assert np.array_equal(episode[agent].actions, [entry[0][agent] for entry in env.log[1:]])
    collector.close()


# Around and inside of other wrappers


@pytest.mark.parametrize("name", [*TURNS, "mpe2.simple_tag_v3"])
def test_collector_passes_the_tests_of_the_turns_api(name: str) -> None:
    collector = MultiAgentDataCollector(game(name).env(), record_infos=True)
    api_test(collector, num_cycles=50)
    assert collector.total_episodes > 0


@pytest.mark.parametrize("name", ["mpe2.simple_tag_v3", "mpe2.simple_spread_v3"])
def test_collector_passes_the_tests_of_the_parallel_api(name: str) -> None:
    collector = MultiAgentDataCollector(game(name).parallel_env(), record_infos=True, record_state=True)
    parallel_api_test(collector, num_cycles=50)
    assert collector.total_episodes > 0


def same_apart_from_times(one: Any, other: Any) -> bool:
    return all(
        np.array_equal(getattr(one[agent], field), getattr(other[agent], field))
        for agent in one.agents
        for field in ("observations", "actions", "rewards", "terminations", "truncations")
    )


def test_converted_games_give_the_same_trajectories() -> None:
    module = game("mpe2.simple_spread_v3")
    joint = MultiAgentDataCollector(module.parallel_env())
    turns = MultiAgentDataCollector(parallel_to_aec(module.parallel_env()))
    inside = MultiAgentDataCollector(module.parallel_env())
    episodes = []
    for number, (env, collector) in enumerate([(joint, joint), (turns, turns), (parallel_to_aec(inside), inside)]):
        play_by_table(env)
        episodes += collector.create_dataset(f"test/a-v{number}")
    assert [len(episode) for episode in episodes] == [25, 25 * 3 + 3, 25]  # with the last turn of each agent
    assert same_apart_from_times(episodes[0], episodes[1])
    assert episodes[0] == episodes[2]


def play_by_table(env: Any) -> None:
    """Play one episode in which the action of an agent follows from its number and how often it has acted."""
    counts: dict[Any, int] = {}

    def action(agent: str) -> int:
        counts[agent] = counts.get(agent, 0) + 1
        return (counts[agent] * 7 + int(agent[-1])) % 5

    env.reset(seed=4)
    if not hasattr(env, "last"):
        while env.agents:
            env.step({agent: action(agent) for agent in env.agents})
        return
    for agent in env.agent_iter():
        *_, terminated, truncated, _ = env.last()
        env.step(None if terminated or truncated else action(agent))


def test_collector_can_be_wrapped_like_any_environment() -> None:
    inner = MultiAgentDataCollector(game("mpe2.simple_spread_v3").env())
    env = aec_to_parallel(wrappers.OrderEnforcingWrapper(inner))
    env.reset(seed=1)
    while env.agents:
        env.step(dict.fromkeys(env.agents, 1))
    (episode,) = inner.create_dataset("test/a-v0")
    assert {len(episode[agent]) for agent in episode.agents} == {25}


def test_games_in_a_row_are_one_episode_after_another() -> None:
    env = wrappers.MultiEpisodeEnv(game("pettingzoo.classic.tictactoe_v3").env(), num_episodes=3)
    collector = MultiAgentDataCollector(env)
    rng = random.Random(0)
    collector.reset(seed=1)
    for agent in collector.agent_iter(100):
        observation, _, terminated, truncated, _ = collector.last()
        collector.step(None if terminated or truncated else legal_action(env, agent, observation, rng))
    dataset = collector.create_dataset("test/a-v0")
    assert len(dataset) == 3
    assert all(episode[agent].terminations[-1] for episode in dataset for agent in episode.agents)
    assert ["seed" in metadata for metadata in dataset.storage.get_episode_metadata(range(3))] == [True, False, False]


def test_from_a_game_to_batches() -> None:
    collector = MultiAgentDataCollector(game("mpe2.simple_spread_v3").parallel_env())
    for seed in range(4):
        play_jointly(collector, seed)
    dataset = collector.create_dataset("test/a-v0")
    view = dataset.for_agent("agent_1")
    assert [len(episode) for episode in view] == [25] * 4
    assert np.array_equal(view[2].observations, dataset[2]["agent_1"].observations)
    batch = next(iter(view.transitions().batches(8, seed=0)))
    assert batch["observations"].shape == (8, 18)
    joint = next(iter(dataset.transitions(joint=True).batches(8, seed=0)))
    assert joint["observations"].shape == (8, 3, 18)
    assert joint["masks"].shape == (8, 3)
    assert not minari.validate("test/a-v0").findings
