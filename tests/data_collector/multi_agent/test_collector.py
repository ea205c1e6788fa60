"""`MultiAgentDataCollector`: what agents get, when episodes end, and what is said about environments with odd ways."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

import minari
from minari import EpisodeMetadataCallback, MultiAgentDataCollector, StepDataCallback
from minari._catalog.recordings import list_recordings
from minari.errors import ArgumentError, CombineError, EpisodeError, MinariError, SpaceError
from support.agents import BOX, Part, all_differences, parallel_env, turns_env


pettingzoo = pytest.importorskip("pettingzoo")
pytestmark = pytest.mark.filterwarnings("ignore:`.*` is set to None")

FORMATS = ["hdf5", "arrow", "parquet", "zarr"]
ENVS = {"parallel": parallel_env, "turns": turns_env}


def parts(*agents: Any, last: int = 99) -> list[Part]:
    return [Part(agent, "box", 0, last, True) for agent in agents]


def collecting(env: Any, *arguments: Any, **options: Any) -> Any:
    """A collector that records the infos too."""
    return MultiAgentDataCollector(env, *arguments, record_infos=True, **options)


def play(collector: Any, episodes: int = 1, *, steps: int = 99, action: Any = 1, **reset: Any) -> None:
    """Play whole episodes, or one of so many joint steps or turns."""
    for _ in range(episodes):
        collector.reset(**reset)
        step(collector, steps, action)


def step(collector: Any, steps: int = 99, action: Any = 1) -> None:
    """Take so many joint steps or turns, if the episode has them."""
    for _ in range(steps):
        if not collector.agents:
            return
        if hasattr(collector.env, "last"):
            *_, terminated, truncated, _ = collector.last()
            collector.step(None if terminated or truncated else action)
        else:
            collector.step(dict.fromkeys(collector.agents, action))


@pytest.fixture(params=ENVS)
def env(request: pytest.FixtureRequest) -> Any:
    """An environment of two agents whose episodes last five steps."""
    return ENVS[request.param](parts("a", "b"), 5, seed=1)


# Arguments


class Counting(gym.Env[Any, Any]):
    observation_space, action_space = spaces.Discrete(2), spaces.Discrete(2)


@pytest.mark.parametrize(
    ("other", "advice"),
    [
        (Counting(), "record an environment of one agent with DataCollector"),
        (gym.vector.SyncVectorEnv([Counting]), "VectorDataCollector"),
        (3, "parallel_env"),
        (Part, "env()"),
    ],
)
def test_other_environments_are_refused(other: Any, advice: str) -> None:
    with pytest.raises(TypeError, match="ParallelEnv or an AECEnv") as raised:
        MultiAgentDataCollector(other)
    assert advice in str(raised.value)


def test_collector_of_one_agent_names_the_one_of_many(env: Any) -> None:
    with pytest.raises(TypeError, match="record it with MultiAgentDataCollector"):
        minari.DataCollector(env)


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"step_data_callback": StepDataCallback()}, TypeError),
        ({"episode_metadata_callback": StepDataCallback}, TypeError),
        ({"buffer_steps": 0}, ArgumentError),
        ({"observation_space": {"a": 3}}, SpaceError),
        ({"action_space": "all"}, SpaceError),
        ({"data_format": "csv"}, MinariError),
        ({"compression": "rar"}, MinariError),
    ],
)
def test_wrong_arguments_are_refused_before_the_first_step(env: Any, options: dict[str, Any], kind: Any) -> None:
    with pytest.raises(kind):
        MultiAgentDataCollector(env, **options)


def test_pettingzoo_is_imported_by_nobody_but_its_users() -> None:
    code = "import sys, minari; minari.MultiAgentDataCollector; assert 'pettingzoo' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


class Named(MultiAgentDataCollector):
    """A collector of a user's own."""


@pytest.mark.parametrize("kind", [MultiAgentDataCollector, Named])
def test_collector_is_an_environment_of_the_same_api(env: Any, kind: Any) -> None:
    with kind(env) as collector:
        assert isinstance(collector, kind)
        assert isinstance(collector, (pettingzoo.AECEnv, pettingzoo.ParallelEnv))
        assert isinstance(collector, pettingzoo.AECEnv) == isinstance(env, pettingzoo.AECEnv)
        assert collector.unwrapped is env
        assert collector.possible_agents == ["a", "b"]
        assert (collector.max_num_agents, collector.metadata) == (2, env.metadata)
        assert collector.observation_space("a") is env.observation_space("a")
        assert collector.action_space("b") is env.action_space("b")
        assert collector.render() is None
        assert str(collector).startswith(kind.__name__)
        with pytest.raises(AttributeError, match="nothing"):
            collector.nothing  # noqa: B018
    assert env.closed


def test_values_of_the_environment_are_returned_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    env = parallel_env(parts("a", "b"), 3)
    returned = []
    for name in ("reset", "step"):
        method = getattr(env, name)
        monkeypatch.setattr(
            env, name, lambda *given, m=method, **more: returned.append(m(*given, **more)) or returned[-1]
        )
    collector = MultiAgentDataCollector(env)
    assert collector.reset() is returned[-1]
    actions = {"a": 1, "b": np.array(2)}
    assert collector.step(actions) is returned[-1]
    assert actions["a"] == 1


def test_observations_of_turns_are_returned_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    env = turns_env(parts("a", "b"), 3, reuses=True)
    collector = MultiAgentDataCollector(env)
    assert collector.reset() is None
    assert collector.last()[0] is env._own[env.agent_selection]
    assert collector.last(observe=False)[0] is None
    assert collector.observe(env.agents[0]) is env._own[env.agents[0]]
    assert collector.step(0) is None


def test_what_a_policy_does_to_its_values_is_not_recorded() -> None:
    env = turns_env(parts("a", "b"), 9)
    collector = MultiAgentDataCollector(env, record_infos=True)
    collector.reset()
    for _ in collector.agent_iter():
        observation, _, terminated, truncated, info = collector.last()
        observation[:] = -1
        info.clear()
        collector.step(None if terminated or truncated else 1)
    assert all_differences(collector.create_dataset("test/a-v0"), env) == []


# Seeds, options, episodes


def metadatas(dataset: Any) -> list[dict[str, Any]]:
    return list(dataset.storage.get_episode_metadata(range(len(dataset))))


def test_seeds_and_options_are_recorded_and_passed_on(env: Any) -> None:
    collector = MultiAgentDataCollector(env)
    play(collector, seed=3, options={"level": 2})
    play(collector)
    play(collector, options={"minari_autoseed": False})
    play(collector, options={"minari_autoseed": False, "level": 1})
    first, second, third, fourth = metadatas(collector.create_dataset("test/a-v0"))
    assert (first["seed"], first["options"]) == (3, {"level": 2})
    assert 0 <= second["seed"] < 2**32
    assert "seed" not in third
    assert "options" not in third
    assert fourth["options"] == {"level": 1}
    assert env.resets == [(3, {"level": 2}), (second["seed"], None), (None, None), (None, {"level": 1})]


@pytest.mark.parametrize(("reset", "kind"), [({"seed": -1}, ArgumentError), ({"options": 3}, TypeError)])
def test_wrong_arguments_of_a_reset_are_refused(env: Any, reset: dict[str, Any], kind: Any) -> None:
    with pytest.raises(kind):
        MultiAgentDataCollector(env).reset(**reset)


def test_step_needs_a_reset(env: Any) -> None:
    with pytest.raises(gym.error.ResetNeeded):
        MultiAgentDataCollector(env).step({})


@pytest.mark.parametrize("how", ["reset", "save"])
def test_cut_in_the_middle_truncates_everybody_who_is_alive(env: Any, how: str) -> None:
    collector = collecting(env)
    play(collector, steps=4)
    if how == "reset":
        collector.reset()
        env.episodes.pop()
    dataset = collector.create_dataset("test/a-v0")
    assert all_differences(dataset, env) == []
    for agent in ("a", "b"):
        assert dataset[0][agent].truncations[-1:].all()
        assert not dataset[0][agent].terminations.any()


def test_episode_goes_on_after_a_save(env: Any) -> None:
    collector = MultiAgentDataCollector(env, record_infos=True, record_state=True)
    play(collector, steps=3)
    first = collector.create_dataset("test/a-v0")
    env.saved()
    step(collector)
    assert collector.total_episodes == 1
    collector.add_to_dataset(first)
    assert all_differences(first, env) == []
    assert "seed" not in metadatas(first)[1]
    assert np.array_equal(first[0].state[-1], first[1].state[0])


def test_reset_without_a_step_is_no_episode(env: Any) -> None:
    collector = MultiAgentDataCollector(env)
    collector.reset()
    collector.reset()
    assert (collector.total_episodes, collector.total_steps) == (0, 0)
    with pytest.raises(EpisodeError, match="Nothing has been recorded"):
        collector.create_dataset("test/a-v0")


@pytest.mark.filterwarnings("ignore:.*step.* is called after")
def test_steps_after_the_end_are_passed_on(env: Any) -> None:
    collector = MultiAgentDataCollector(env)
    play(collector)
    if isinstance(env, pettingzoo.ParallelEnv):
        assert collector.step({}) == ({}, {}, {}, {}, {})
    assert collector.total_episodes == 1


@pytest.mark.parametrize("data_format", FORMATS)
def test_state_has_a_row_for_each_step_and_the_first(env: Any, data_format: str) -> None:
    collector = MultiAgentDataCollector(env, record_state=True, data_format=data_format)
    play(collector, 2)
    for episode in collector.create_dataset("test/a-v0"):
        assert episode.state.shape == (len(episode) + 1, 3)
        assert episode.state[:, 0].tolist() == list(range(len(episode) + 1))


def test_state_may_be_an_attribute(env: Any) -> None:
    env.state = np.array([7, 8])
    collector = MultiAgentDataCollector(env, record_state=True)
    play(collector)
    episode = collector.create_dataset("test/a-v0")[0]
    assert episode.state.tolist() == [[7, 8]] * (len(episode) + 1)


def test_state_that_there_is_not_is_said_once(env: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(env), "state", lambda self: pettingzoo.ParallelEnv.state(self))
    collector = MultiAgentDataCollector(env, record_state=True)
    with pytest.warns(UserWarning, match="global state is not recorded") as warned:
        play(collector, 3)
    assert len(warned) == 1
    assert [episode.state for episode in collector.create_dataset("test/a-v0")] == [None] * 3


def test_state_is_not_recorded_unless_asked_for(env: Any) -> None:
    collector = MultiAgentDataCollector(env)
    play(collector)
    assert collector.create_dataset("test/a-v0")[0].state is None


def test_error_of_a_step_changes_nothing(env: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    collector = collecting(env, record_state=True)
    play(collector, steps=2)
    take = env.step

    def fail(action: Any) -> None:
        raise RuntimeError("the motor broke")

    monkeypatch.setattr(env, "step", fail)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="motor"):
            step(collector, 1, action=3)
    monkeypatch.setattr(env, "step", take)
    step(collector)
    dataset = collector.create_dataset("test/a-v0")
    assert all_differences(dataset, env) == []
    assert all(3 not in dataset[0][agent].actions for agent in ("a", "b"))


# Agents


@pytest.mark.parametrize("knows", [True, False], ids=["possible_agents", "no possible_agents"])
@pytest.mark.parametrize("data_format", FORMATS)
def test_agents_of_any_id_come_and_go(env: Any, knows: bool, data_format: str) -> None:
    script = [Part("a", "box", 0, 99, True), Part("b/c", "nested", 2, 4, True), Part(7, "number", 1, 2, False)]
    env = type(env)(script, 6, seed=2, knows=knows)
    collector = MultiAgentDataCollector(env, data_format=data_format, buffer_steps=3, record_infos=True)
    play(collector, 3)
    dataset = collector.create_dataset("test/a-v0")
    assert all_differences(dataset, env) == []
    assert set(dataset.agents) == {"a", "b/c", 7}
    assert dataset.observation_space["b/c"] == env.observation_space("b/c")
    assert dataset.action_space[7] == spaces.Discrete(5)


def test_agents_that_appear_after_the_first_write_are_added(env: Any) -> None:
    env = type(env)(parts("a"), 3, knows=False)
    collector = collecting(env, buffer_steps=1)
    play(collector)
    env.parts["late"] = Part("late", "number", 1, 99, True)
    env._spaces["late"] = spaces.Discrete(1_000_000), spaces.Discrete(5)
    play(collector)
    dataset = collector.create_dataset("test/a-v0")
    assert all_differences(dataset, env) == []
    assert [episode.agents for episode in dataset] == [["a"], ["a", "late"]]


def test_agent_whose_space_changes_is_refused_at_the_reset(env: Any) -> None:
    collector = MultiAgentDataCollector(env)
    play(collector)
    env._spaces["b"] = spaces.Discrete(3), env._spaces["b"][1]
    with pytest.raises(SpaceError, match="'b'"):
        collector.reset()
    with pytest.raises(gym.error.ResetNeeded):
        collector.step({})
    assert len(collector.create_dataset("test/a-v0")) == 1  # (what was recorded before is there)


def test_agent_that_appears_with_another_space_is_left_out(env: Any) -> None:
    env = type(env)([*parts("a"), Part("late", "box", 2, 99, True)], 5)
    collector = MultiAgentDataCollector(env)
    play(collector)
    env._spaces["late"] = spaces.Box(-1, 1, (3,)), env._spaces["late"][1]
    with pytest.warns(UserWarning, match="'late' is left out of the episode") as warned:
        play(collector)
    assert len(warned) == 1
    assert [episode.agents for episode in collector.create_dataset("test/a-v0")] == [["a", "late"], ["a"]]


def test_rewards_before_the_first_action_belong_to_no_row() -> None:
    class Waiting(type(turns_env([], 1))):  # type: ignore[misc]
        def reward(self) -> float:
            return 1.0

    env = Waiting(parts("a", "b"), 6, seed=3)
    collector = collecting(env)
    play(collector)
    dataset = collector.create_dataset("test/a-v0")
    assert all_differences(dataset, env) == []
    early = {
        name: values.get("rewards_before_first_action") for name, values in metadatas(dataset)[0]["agents"].items()
    }
    first = env.episodes[0].keys() - {agent for agent, value in early.items() if value}
    assert len(first) == 1
    assert sum(filter(None, early.values())) >= 1
    for agent in ("a", "b"):
        assert dataset[0][agent].rewards.sum() + (early[agent] or 0) == 6


@pytest.mark.parametrize("kind", ENVS)
def test_agent_that_never_acts_has_a_trajectory_without_steps(kind: str) -> None:
    script = [
        Part("a", "box", 0, 99, True),
        Part("b", "box", 0 if kind == "turns" else 2, 1 if kind == "turns" else 3, True),
    ]
    env = ENVS[kind](script, 4, seed=5)
    collector = collecting(env)
    collector.reset()
    while collector.agents:
        if kind == "turns":
            if env.agent_selection == "b" and not env.terminations["b"]:
                env.agent_selection = "a"
            step(collector, 1)
        else:
            collector.step({"a": 1})
    dataset = collector.create_dataset("test/a-v0")
    assert all_differences(dataset, env) == []
    assert len(dataset[0]["b"]) == 0
    assert dataset[0]["b"].observations.shape == (1, 2)


class Returning:
    """Agent "b" is away at time 2, and is back at time 3."""

    def __init__(self) -> None:
        self.agents: list[str] = []
        self.possible_agents = ["a", "b"]

    def observation_space(self, agent: str) -> Any:
        return BOX

    def action_space(self, agent: str) -> Any:
        return spaces.Discrete(2)

    def reset(self, seed: Any = None, options: Any = None) -> Any:
        self.time, self.agents = 0, ["a", "b"]
        return {agent: np.zeros(2) for agent in self.agents}, {}

    def step(self, actions: Any) -> Any:
        self.time += 1
        terminations = {"a": self.time >= 5, "b": self.time in (2, 5)}
        seen = self.agents if self.time != 3 else ["a", "b"]
        observations = {agent: np.full(2, self.time, np.float64) for agent in seen}
        self.agents = [agent for agent in ("a", "b") if not terminations[agent]]
        return observations, dict.fromkeys(seen, 1.0), terminations, dict.fromkeys(seen, False), {}


class ReturningWithoutFlag(Returning):
    """Does not say that agent "b" has ended at time 2."""

    def step(self, actions: Any) -> Any:
        observations, rewards, terminations, truncations, infos = super().step(actions)
        return observations, rewards, {**terminations, "b": self.time == 5}, truncations, infos


@pytest.mark.parametrize("kind", [Returning, ReturningWithoutFlag])
def test_agent_that_comes_back_has_one_trajectory_and_a_warning(kind: Any) -> None:
    collector = MultiAgentDataCollector(kind())
    assert not isinstance(collector, pettingzoo.ParallelEnv)  # (nor is the environment)
    with pytest.warns(UserWarning, match="'b' came back after its end") as warned:
        play(collector)
    assert len(warned) == 1
    episode = collector.create_dataset("test/a-v0")[0]
    assert episode["b"].timesteps.tolist() == [0, 1, 2]
    assert episode["b"].terminations.tolist() == [False, kind is Returning]
    assert episode["b"].truncations.tolist() == [False, kind is not Returning]
    assert len(episode["a"]) == len(episode) == 5


class Outdated(Returning):
    """Returns observations alone, as old releases of PettingZoo did."""

    def reset(self, seed: Any = None, options: Any = None) -> Any:
        return super().reset(seed, options)[0]


def test_reset_of_an_outdated_environment_is_refused() -> None:
    with pytest.raises(TypeError, match="expected observations and infos"):
        MultiAgentDataCollector(Outdated()).reset()


class Silent(Returning):
    """Says nothing to agents that are gone."""

    def step(self, actions: Any) -> Any:
        self.time += 1
        terminations = {"a": self.time >= 3, "b": self.time >= 2}
        rewards = dict.fromkeys(self.agents, 2.0)
        self.agents = [agent for agent in self.agents if not terminations[agent]]
        return {agent: np.full(2, self.time, np.float64) for agent in self.agents}, rewards, terminations, {}, {}


def test_agent_without_a_last_observation_keeps_its_last_reward() -> None:
    collector = MultiAgentDataCollector(Silent())
    with pytest.warns(UserWarning, match="no last observation to the agent 'a'") as warned:
        play(collector)
    assert len(warned) == 2  # one for each agent
    episode = collector.create_dataset("test/a-v0")[0]
    assert episode["b"].rewards.tolist() == [2, 2]
    assert episode["b"].terminations.tolist() == [False, True]
    assert episode["b"].observations[:, 0].tolist() == [0, 1, 1]
    assert episode["a"].timesteps.tolist() == [0, 1, 2, 3]


class Leaving(Silent):
    """Agent "b" leaves without a flag."""

    def step(self, actions: Any) -> Any:
        observations, rewards, terminations, *others = super().step(actions)
        terminations["b"] = False
        observations["b"] = np.full(2, -1.0)
        return observations, rewards, terminations, *others


@pytest.mark.filterwarnings("ignore:.*no last observation")
def test_agent_that_leaves_without_a_flag_is_truncated() -> None:
    collector = MultiAgentDataCollector(Leaving())
    play(collector)
    episode = collector.create_dataset("test/a-v0")[0]
    assert episode["b"].truncations.tolist() == [False, True]
    assert episode["b"].timesteps.tolist() == [0, 1, 2]


class Ending(type(turns_env([], 1))):  # type: ignore[misc]
    """Ends without a turn of the dead."""

    def step(self, action: Any) -> None:
        super().step(action)
        if self.time >= self.length:
            self.agents = []


def test_game_that_ends_without_turns_of_the_dead_is_complete() -> None:
    env = Ending(parts("a", "b"), 5, seed=4)
    collector = collecting(env)
    play(collector)
    dataset = collector.create_dataset("test/a-v0")
    assert all_differences(dataset, env) == []
    assert all(dataset[0][agent].truncations[-1] for agent in ("a", "b"))


def test_loop_that_is_left_at_the_first_end_is_complete() -> None:
    env = turns_env(parts("a", "b", last=4), 9, seed=4)
    collector = collecting(env)
    collector.reset()
    for _ in collector.agent_iter():
        *_, terminated, truncated, _ = collector.last()
        if terminated or truncated:
            break
        collector.step(1)
    dataset = collector.create_dataset("test/a-v0")
    assert all_differences(dataset, env) == []
    assert all(dataset[0][agent].terminations[-1] for agent in ("a", "b"))
    step(collector)  # the last turns of the dead are no episode
    assert collector.total_episodes == 0


# Callbacks


class Halved(StepDataCallback):
    """Half of the observation, the agent as an info, and the end of "b" after its second step."""

    def __init__(self) -> None:
        self.steps = 0

    def __call__(self, env: Any, **values: Any) -> Any:
        data = super().__call__(env, **values)
        data["observation"] = data["observation"][:1]
        data["who"] = values["agent"]
        if data["action"] is not None:
            self.steps += 1
            data["terminated"] = values["agent"] == "b" and self.steps == 2
        data["steps"] = self.steps
        return data


class Scored(EpisodeMetadataCallback):
    """The number of calls, and whom it is about."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, episode: Any) -> Any:
        self.calls += 1
        return {**super().__call__(episode), "agent": episode["agent"], "calls": self.calls}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("by_agent", [True, False], ids=["a space for each agent", "a space for all"])
def test_each_agent_has_its_callbacks(env: Any, by_agent: bool) -> None:
    half = spaces.Box(-1e6, 1e6, (1,), np.float64)
    collector = MultiAgentDataCollector(
        env, Halved, Scored, observation_space={"a": half, "b": half} if by_agent else half
    )
    play(collector, 2)
    dataset = collector.create_dataset("test/a-v0")
    assert dataset.observation_space["a"] == half
    logged = [{agent: events.trajectory(cut=True) for agent, events in log.items()} for log in env.episodes]
    for number, (episode, metadata) in enumerate(zip(dataset, metadatas(dataset), strict=True)):
        for agent in ("a", "b"):
            given, values = logged[number][agent], metadata["agents"][agent]
            assert np.array_equal(
                episode[agent].observations[:, 0], [row[0] for row in given["observations"]][: len(episode[agent]) + 1]
            )
            assert set(episode[agent].infos["who"]) == {agent}
            assert (values["agent"], values["calls"]) == (agent, number + 1)
            assert values["rewards_sum"] == episode[agent].rewards.sum()
    if len(dataset[0]["b"]) > 1:
        assert dataset[0]["b"].terminations.tolist() == [False, True]


class Plain(StepDataCallback):
    """Does not know of agents."""

    def __call__(self, env, obs, info, action=None, rew=None, terminated=None, truncated=None):  # type: ignore[no-untyped-def,override]
        data = super().__call__(env, obs, info, action, rew, terminated, truncated)
        data["observation"] = obs * 2
        return data


def test_callback_need_not_know_of_agents(env: Any) -> None:
    collector = MultiAgentDataCollector(env, Plain)
    play(collector)
    episode = collector.create_dataset("test/a-v0")[0]
    for agent, events in env.episodes[0].items():
        assert same_doubled(episode[agent].observations, events.trajectory(cut=True)["observations"])


def same_doubled(recorded: Any, given: Any) -> bool:
    return bool(np.array_equal(recorded, 2 * np.array(given)))


class Raising(Plain):
    def __call__(self, env, obs, info, action=None, rew=None, terminated=None, truncated=None):  # type: ignore[no-untyped-def,override]
        if action is not None and env.time == 3 and not env.has_failed:
            env.has_failed = True
            raise RuntimeError("no such key")
        return super().__call__(env, obs, info, action, rew, terminated, truncated)


def test_error_of_a_callback_leaves_whole_rows(env: Any) -> None:
    env.has_failed = False
    collector = MultiAgentDataCollector(env, Raising)
    collector.reset()
    with pytest.raises(RuntimeError, match="no such key"):
        step(collector)
    step(collector)
    episode = collector.create_dataset("test/a-v0")[0]
    for agent in episode.agents:
        trajectory = episode[agent]
        assert len(trajectory.observations) == len(trajectory.timesteps) == len(trajectory) + 1


# Odd values


def test_infos_are_recorded_on_request_only(env: Any) -> None:
    collector = MultiAgentDataCollector(env)
    play(collector)
    assert collector.create_dataset("test/a-v0")[0]["a"].infos == {}


def test_info_that_cannot_be_stored_is_reported_and_can_be_discarded(env: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(env, "inform", lambda agent: {"lock": object(), "fine": 1})
    collector = MultiAgentDataCollector(env, record_infos=True)
    with pytest.warns(UserWarning, match="Episode 0 cannot be stored") as warned:
        play(collector)
    assert warned[0].message.error.info_path == "lock"  # type: ignore[union-attr]
    with pytest.raises(EpisodeError, match="lock"):
        collector.create_dataset("test/a-v0")
    collector.discard_info("lock")
    episode = collector.create_dataset("test/a-v0")[0]
    assert all(set(episode[agent].infos) == {"fine"} for agent in episode.agents)


def test_info_of_written_episodes_can_be_discarded(env: Any) -> None:
    collector = MultiAgentDataCollector(env, record_infos=True, buffer_steps=1)
    play(collector, 2)
    collector.discard_info("count")
    assert all(
        not episode[agent].infos for episode in collector.create_dataset("test/a-v0") for agent in episode.agents
    )


def test_values_outside_a_space_are_reported_with_the_agent(env: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    env._spaces["b"] = spaces.Box(0, 1, (2,), np.float64), env._spaces["b"][1]
    collector = MultiAgentDataCollector(env)
    with pytest.warns(UserWarning, match="Observation of the agent 'b' is not in observation space"):
        play(collector)
    play(collector)
    with pytest.warns(UserWarning, match="Observation of the agent 'b' is not"):
        collector.create_dataset("test/a-v0")


@pytest.mark.parametrize("wrong", ["text", None, np.zeros(3)])
def test_episode_with_wrong_values_is_set_apart(env: Any, wrong: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    collector = MultiAgentDataCollector(env)
    play(collector)
    monkeypatch.setattr(env, "make", lambda agent: wrong)
    with pytest.warns(UserWarning, match="Episode 1 cannot be stored"):
        play(collector)
    with pytest.warns(UserWarning, match="left out"):
        assert len(collector.create_dataset("test/a-v0", on_error="skip")) == 1


@pytest.mark.parametrize("reward", ["much", None, np.zeros(2)])
def test_odd_rewards_do_not_stop_a_step(reward: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    env = parallel_env(parts("a", "b"), 4)
    monkeypatch.setattr(env, "reward", lambda: reward)
    monkeypatch.setattr(env, "events", lambda agent: type("Log", (), {"log": []})())
    collector = MultiAgentDataCollector(env)
    collector.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number in range(4):
            collector.step({"a": 1} if number % 2 else {"b": 1})
    assert collector.total_episodes == 1


# Saving


def test_episodes_are_added_to_a_dataset_and_discarded(env: Any) -> None:
    collector = collecting(env)
    play(collector, 3)
    collector.discard_episode(1)
    del env.episodes[1]
    dataset = collector.create_dataset("test/a-v0")
    play(collector)
    collector.add_to_dataset(dataset)
    assert all_differences(dataset, env) == []
    assert dataset.total_episodes == 3
    assert all_differences(minari.load_dataset("test/a-v0"), env) == []


def test_dataset_of_one_agent_takes_no_episodes_of_many(env: Any) -> None:
    one = minari.create_dataset_from_arrays(
        "test/one-v0", np.zeros((3, 1)), np.zeros(2, np.int64), np.ones(2), np.array([False, True])
    )
    collector = MultiAgentDataCollector(env)
    play(collector)
    with pytest.raises(CombineError, match="of many agents"):
        collector.add_to_dataset(one)
    assert collector.total_episodes == 1


def test_dataset_with_another_space_of_an_agent_takes_none(env: Any) -> None:
    collector = MultiAgentDataCollector(env)
    play(collector)
    dataset = collector.create_dataset("test/a-v0")
    other = MultiAgentDataCollector(type(env)([Part("a", "number", 0, 9, True)], 3))
    play(other)
    with pytest.raises(CombineError, match="'a'"):
        other.add_to_dataset(dataset)


def test_recording_with_another_space_of_an_agent_is_not_resumed(env: Any) -> None:
    first = MultiAgentDataCollector(env)
    play(first)
    with pytest.warns(UserWarning, match="minari recover"):
        first.close()
    (recording,) = list_recordings()
    for other in (type(env)([Part("b", "number", 0, 9, True)], 3), Counting()):
        collector = minari.DataCollector if isinstance(other, gym.Env) else MultiAgentDataCollector
        with pytest.raises(CombineError, match="observation_space"):
            collector(other, resume=recording.name)
    unknown = MultiAgentDataCollector(
        type(env)([Part("b", "number", 0, 9, True)], 3, knows=False), resume=recording.name
    )
    for _ in range(2):
        with pytest.raises(SpaceError, match="'b'"):
            unknown.reset()


@pytest.mark.parametrize("data_format", FORMATS)
def test_recording_is_resumed(env: Any, data_format: str, datasets_root: Path) -> None:
    first = collecting(env, data_format=data_format)
    play(first, 2)
    play(first, steps=3)
    with pytest.warns(UserWarning, match="minari recover"):
        first.close()
    (recording,) = list_recordings()
    second = MultiAgentDataCollector(type(env)(parts("a", "b", "c"), 4), resume=recording.name)
    play(second)
    dataset = second.create_dataset("test/a-v0")
    assert [len(episode.agents) for episode in dataset] == [2, 2, 2, 3]
    assert all_differences(dataset.filter_episodes(lambda episode: episode.id < 3), env) == []
