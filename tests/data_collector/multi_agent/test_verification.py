"""Replays of episodes of many agents, by joint step and by turn."""

from __future__ import annotations

import os
import warnings
from functools import partial
from importlib import import_module
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Discrete
from hypothesis import given
from hypothesis import strategies as st

import minari
from minari.data_collector import EpisodeBuffer, MultiAgentEpisodeBuffer
from minari.errors import EnvironmentSpecError
from support.agents import Part, parallel_env, turns_env


pytest.importorskip("pettingzoo")

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*is set to None"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:pettingzoo"),
    pytest.mark.filterwarnings("ignore:.*:UserWarning:pettingzoo"),
]


@pytest.fixture(autouse=True)
def no_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.setenv("SDL_AUDIODRIVER", "dummy")


def play(collector: Any, seed: int, most: int = 40) -> None:
    """Play one episode at random, at most so many joint steps or turns."""
    rng = np.random.default_rng(seed)
    collector.reset(seed=seed)
    if callable(getattr(collector.env, "last", None)):
        for agent in collector.agent_iter(most):
            observation, _, terminated, truncated, _ = collector.last()
            mask = observation.get("action_mask") if isinstance(observation, dict) else None
            collector.action_space(agent).seed(int(rng.integers(2**31)))
            action = collector.action_space(agent).sample(None if mask is None else np.asarray(mask, np.int8))
            collector.step(None if terminated or truncated else action)
        return
    for _ in range(most):
        if not collector.agents:
            return
        for agent in collector.agents:
            collector.action_space(agent).seed(int(rng.integers(2**31)))
        collector.step({agent: collector.action_space(agent).sample() for agent in collector.agents})


def record(env: Any, *, episodes: int = 3, most: int = 40, **options: Any) -> minari.MinariDataset:
    collector = minari.MultiAgentDataCollector(env, **options)
    for seed in range(episodes):
        play(collector, seed, most)
    return collector.create_dataset("verified/agents-v0")


def tampered(dataset: minari.MinariDataset, number: int, agent: Any, step: int, field: str = "actions") -> Any:
    """The dataset with another value of an agent in one of its steps."""
    buffers = []
    metadatas = dataset.storage.get_episode_metadata(range(len(dataset)))
    for episode, metadata in zip(dataset, metadatas, strict=True):
        agents = {}
        for name, trajectory in episode.episodes.items():
            values = {
                key: getattr(trajectory, key)
                for key in ("observations", "actions", "rewards", "terminations", "truncations")
            }
            if (episode.id, name) == (number, agent):
                changed = np.array(values[field])
                space = dataset.action_space[agent]
                after = (changed[step] + 1) % space.n if isinstance(space, Discrete) else -changed[step] - 0.5
                changed[step] = changed[step] + 1 if field == "rewards" else after
                values[field] = changed
            agents[name] = EpisodeBuffer(**values)
        buffers.append(
            MultiAgentEpisodeBuffer(
                agents,
                timesteps=episode.timesteps,
                total_steps=len(episode),
                state=episode.state,
                seed=metadata["seed"],
            )
        )
    return minari.create_dataset_from_buffers(
        "verified/tampered-v0",
        buffers,
        observation_space=dataset.observation_space,
        action_space=dataset.action_space,
        data_format=dataset.storage.FORMAT,
    )


def game(place: str) -> Any:
    """The function of a game, if what it needs is installed."""
    module, _, function = place.partition(":")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return getattr(import_module(module), function)
        except ImportError as error:
            pytest.skip(str(error))


GAMES = [
    "mpe2.simple_tag_v3:parallel_env",
    "mpe2.simple_tag_v3:env",
    "mpe2.simple_speaker_listener_v4:parallel_env",
    "pettingzoo.classic.tictactoe_v3:env",
    "pettingzoo.classic.connect_four_v3:env",
    "pettingzoo.classic.rps_v2:env",
    "pettingzoo.butterfly.cooperative_pong_v6:parallel_env",
]


@pytest.mark.parametrize("place", GAMES)
def test_games_are_exact(place: str) -> None:
    env = game(place)()
    dataset = record(env, record_state="rps" not in place and "classic" not in place, most=30)
    report = minari.verify(dataset, env=place)
    assert report.counts["exact"] == 3, report.first_divergence
    assert report.notes == ()
    assert report.env == place
    assert report.recorded_with == report.replayed_with
    assert "pettingzoo" in report.replayed_with


@pytest.mark.parametrize("data_format", ["hdf5", "arrow", "parquet", "zarr"])
@pytest.mark.parametrize("kind", ["parallel_env", "env"])
def test_tampered_actions_are_found_at_their_step(kind: str, data_format: str) -> None:
    pytest.importorskip({"zarr": "zarr", "hdf5": "h5py"}.get(data_format, "pyarrow"))
    make = game(f"mpe2.simple_tag_v3:{kind}")
    dataset = record(make(), data_format=data_format, episodes=2)
    agent, step = "adversary_1", 3
    action = dataset[1][agent].actions[step]
    turn = int(dataset[1][agent].timesteps[step])
    report = minari.verify(tampered(dataset, 1, agent, step), env=make)
    assert [one.status for one in report.episodes] == ["exact", "diverged"]
    assert report.first_divergence is not None
    found = report.first_divergence.divergence
    assert found is not None
    # The game moves when all have acted, and each action has another effect.
    agents = 1 if kind == "parallel_env" else len(dataset.agents)
    assert found.step is not None
    assert turn <= found.step <= turn + agents, action
    assert found.leaf.split("/")[0] in dataset.agents


def test_agents_that_act_elsewhere_are_found_at_their_turn() -> None:
    make = game("pettingzoo.classic.connect_four_v3:env")
    dataset = record(make(), episodes=1)
    report = minari.verify(tampered(dataset, 0, "player_1", 2), env=make)
    assert report.first_divergence is not None
    found = report.first_divergence.divergence
    assert found is not None
    assert found.step == dataset[0]["player_1"].timesteps[2]
    assert found.leaf.startswith("player_0/observations")


def test_tampered_rewards_and_states() -> None:
    make = game("mpe2.simple_tag_v3:parallel_env")
    dataset = record(make(), episodes=1, record_state=True)
    report = minari.verify(tampered(dataset, 0, "agent_0", 4, "rewards"), env=make)
    assert str(report.first_divergence).startswith("episode 0 diverged at step 4 in agent_0/rewards: recorded")
    report = minari.verify(dataset, env=make, env_kwargs={"num_obstacles": 1})
    assert report.first_divergence is not None
    assert report.notes  # the observations have another shape
    assert "Of the agent" in report.notes[0]


@pytest.mark.parametrize(
    ("env", "message"),
    [
        (None, "has no env_spec to make its environment of; give a function"),
        ("CartPole-v1", "expected a ParallelEnv or an AECEnv of PettingZoo"),
        ("mpe2.simple_tag_v3:nothing", "The module mpe2.simple_tag_v3 has no 'nothing'"),
        (partial(gym.make, "Pendulum-v1"), "expected a ParallelEnv or an AECEnv of PettingZoo"),
    ],
)
def test_environment_of_another_kind_is_refused(env: Any, message: str) -> None:
    dataset = record(game("mpe2.simple_tag_v3:env")(), episodes=1)
    with pytest.raises(EnvironmentSpecError, match=message):
        minari.verify(dataset, env=env)


def test_dataset_of_one_agent_is_not_replayed_with_many() -> None:
    collector = minari.DataCollector(gym.make("CartPole-v1"))
    collector.reset(seed=1)
    collector.step(0)
    with pytest.raises(EnvironmentSpecError, match="expected an environment of Gymnasium"):
        minari.verify(collector.create_dataset("verified/single-v0"), env="pettingzoo.classic.tictactoe_v3:env")


def test_other_agents_diverge_from_the_start() -> None:
    dataset = record(game("mpe2.simple_tag_v3:parallel_env")(), episodes=1)
    report = minari.verify(dataset, env="mpe2.simple_tag_v3:parallel_env", env_kwargs={"num_adversaries": 2})
    assert report.first_divergence is not None
    found = report.first_divergence.divergence
    assert found is not None
    assert str(found) == "step 0 in agents: recorded 'adversary_2' acts, replayed it is not alive"


def test_processes_replay_agents() -> None:
    place = "mpe2.simple_tag_v3:parallel_env"
    dataset = record(game(place)(), episodes=3)
    assert minari.verify(dataset, env=place, processes=2) == minari.verify(dataset, env=place)


parts = st.lists(
    st.builds(
        Part,
        agent=st.sampled_from(["a", "b", 3]),
        kind=st.sampled_from(["box", "nested", "number"]),
        first=st.sampled_from([0, 0, 0, 2, 5]),
        last=st.integers(2, 20),
        terminates=st.booleans(),
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda part: part.agent,
)


@given(
    parts=parts,
    length=st.integers(2, 15),
    seed=st.integers(0, 1000),
    most=st.integers(2, 40),
    turns=st.booleans(),
    states=st.booleans(),
)
def test_scripted_agents_are_exact(
    parts: list[Part], length: int, seed: int, most: int, turns: bool, states: bool
) -> None:
    parts[0].first = 0
    # A script goes on from one episode to the next, so that there is one.
    make = (lambda: turns_env(parts, length, seed)) if turns else (lambda: parallel_env(parts, length, seed))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        collector = minari.MultiAgentDataCollector(make(), record_state=states)
        play(collector, seed, most)
        if not collector.total_episodes and not len(getattr(collector, "_running", ())):
            return
        name = f"verified/scripted-{os.urandom(6).hex()}-v0"
        dataset = collector.create_dataset(name)
        report = minari.verify(dataset, env=make, keep_report=False)
    assert report.episodes[0].status == "exact", (report.first_divergence, dataset[0])
