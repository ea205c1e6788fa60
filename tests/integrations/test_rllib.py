"""The adapter to RLlib, with the real library."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minari.errors import ArgumentError, ArgumentTypeError
from support.replay_datasets import (
    MARKS,
    NESTABLE,
    STRICT,
    CountingEnv,
    assert_counts_are_right,
    assert_refused,
    assert_same_episodes,
    make,
    spaces_of,
)
from support.sampling_model import make as make_other


pytest.importorskip("ray")
SingleAgentEpisode = pytest.importorskip("ray.rllib.env.single_agent_episode").SingleAgentEpisode
EpisodeReplayBuffer = pytest.importorskip("ray.rllib.utils.replay_buffers.episode_replay_buffer").EpisodeReplayBuffer
adapter = pytest.importorskip("minari.integrations.rllib")
pytestmark = MARKS


@STRICT
@pytest.mark.parametrize("space", NESTABLE)
@pytest.mark.parametrize("rewards", [np.float64, np.float32])
@pytest.mark.parametrize("infos", [False, True], ids=["without infos", "with infos"])
def test_a_round_trip_keeps_all_values(space: str, rewards: type, infos: bool) -> None:
    dataset = make("buffers/first-v0", space, rewards=rewards, infos=infos)
    buffer = adapter.to_replay_buffer(dataset)
    again = adapter.from_replay_buffer(buffer, "buffers/again-v0")
    assert len(buffer) == dataset.total_steps
    assert spaces_of(again) == spaces_of(dataset)
    assert_same_episodes(again, dataset)
    for one, other in zip(again, dataset, strict=True):
        assert str(one.infos) == str(other.infos)
        assert bool(one.infos) == infos


def test_episodes_are_those_of_rllib() -> None:
    dataset = make("buffers/episodes-v0", "nested")
    episodes = adapter.to_episodes(dataset[1:])
    for one, expected in zip(episodes, dataset[1:], strict=True):
        assert len(one) == len(expected)
        assert one.id_ == f"buffers/episodes-v0/{expected.id}"
        assert (one.is_terminated, one.is_truncated) == (expected.terminations[-1], expected.truncations[-1])
        assert one.is_numpy
        np.testing.assert_array_equal(one.get_observations()["camera"], expected.observations["camera"])
        np.testing.assert_array_equal(one.get_observations(-1)["camera"], expected.observations["camera"][-1])
        assert one.observation_space == dataset.observation_space


def test_a_buffer_samples_the_transitions() -> None:
    dataset = make("buffers/sampled-v0", "number")
    sampled = adapter.to_replay_buffer(dataset).sample(20, n_step=1, sample_episodes=True)
    every = dataset.transitions().arrays()
    columns = (every["observations"], every["next_observations"], every["rewards"], every["terminations"])
    known = set(zip(*(column.tolist() for column in columns), strict=True))
    assert len(sampled) == 20
    for one in sampled:
        step = (*np.ravel(one.get_observations()).tolist(), float(one.get_rewards(0)), one.is_terminated)
        assert step in known


def test_tuples_are_kept() -> None:
    dataset = make_other("buffers/tuples-v0", (4, 1), "nested")
    assert_same_episodes(adapter.from_replay_buffer(adapter.to_episodes(dataset), "buffers/again-v0"), dataset)


def runner(number: int, **options: Any) -> Any:
    from ray.rllib.algorithms.ppo import PPOConfig
    from ray.rllib.core.rl_module.rl_module import RLModuleSpec
    from ray.rllib.core.rl_module.torch import TorchRLModule
    from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
    from ray.tune.registry import register_env

    class Unused(TorchRLModule):
        """A module without layers, as RLlib has none for nested observations, and actions are drawn at random."""

        def setup(self) -> None:
            pass

    register_env("CountingEnv", lambda config: CountingEnv(number, **options))
    config = (
        PPOConfig()
        .environment("CountingEnv")
        .env_runners(num_envs_per_env_runner=1, batch_mode="truncate_episodes")
        .rl_module(rl_module_spec=RLModuleSpec(module_class=Unused))
    )
    return SingleAgentEnvRunner(config=config)


@pytest.mark.parametrize("nested", [False, True], ids=["plain", "nested"])
@pytest.mark.parametrize("through", ["list", "buffer", "lists before to_numpy"])
def test_parts_of_episodes_sampled_by_a_runner_are_joined(nested: bool, through: str) -> None:
    sampler = runner(7, nested=nested)
    sampled: list[Any] = []
    for _ in range(6):
        sampled += sampler.sample(num_timesteps=5, random_actions=True)
    sampler.stop()
    assert any(one.t_started for one in sampled)
    if through == "buffer":
        buffer = EpisodeReplayBuffer(capacity=1000)
        buffer.add(sampled)
        sampled = buffer
    elif through != "list":
        sampled = [_in_lists(one) for one in sampled]
    with pytest.warns(UserWarning, match="extra_model_outputs/weights_seq_no of the episodes are left out"):
        dataset = adapter.from_replay_buffer(sampled, "buffers/sampled-v0", **spaces_of(CountingEnv(nested=nested)))
    assert dataset.total_steps == 30
    assert_counts_are_right(dataset)
    assert sum(not (one.terminations[-1] or one.truncations[-1]) for one in dataset) <= 1


def _in_lists(one: Any) -> Any:
    return SingleAgentEpisode(
        one.id_,
        observations=[one.get_observations(step) for step in range(len(one) + 1)],
        actions=[one.get_actions(step) for step in range(len(one))],
        rewards=[one.get_rewards(step) for step in range(len(one))],
        extra_model_outputs={key: list(range(len(one))) for key in one.extra_model_outputs},
        terminated=one.is_terminated,
        truncated=one.is_truncated,
        t_started=one.t_started,
        len_lookback_buffer=0,
    )


def test_missing_parts_are_told() -> None:
    dataset = make("buffers/parts-v0", "float64", lengths=[9], ends=["terminated"])
    (whole,) = adapter.to_episodes(dataset)
    parts = [whole[0:2], whole[4:6], whole[6:9]]
    for part, start in zip(parts, (0, 4, 6), strict=True):
        part.t_started, part.id_ = start, whole.id_
    with pytest.warns(UserWarning, match="1 of 2 episodes lack their beginning"):
        again = adapter.from_replay_buffer([parts[2], parts[0], parts[1]], "buffers/again-v0")
    assert [len(one) for one in again] == [2, 5]
    np.testing.assert_array_equal(again[1].observations, dataset[0].observations[4:])
    np.testing.assert_array_equal(again[0].observations, dataset[0].observations[:3])


def test_an_early_termination_is_lost_with_a_warning() -> None:
    dataset = make("buffers/early-v0", lengths=[3], ends=["early"])
    with pytest.warns(UserWarning, match="only the flags of the last step are kept"):
        episodes = adapter.to_episodes(dataset)
    again = adapter.from_replay_buffer(episodes, "buffers/again-v0")
    assert_same_episodes(again, dataset, "terminations")
    assert not again[0].terminations.any()


def test_what_does_not_fit_is_one_clear_error() -> None:
    dataset = make("buffers/bad-v0")
    vectors = make("buffers/vectors-v0", reward_shape=(2,))
    assert_refused(
        (lambda: adapter.to_episodes(vectors), ArgumentError, "have 2 numbers a step, and RLlib's"),
        (lambda: adapter.to_episodes(make_other("buffers/w-v0", (3,), "text")), ArgumentError, "no fixed shape"),
        (lambda: adapter.to_episodes("buffers/bad-v0"), ArgumentTypeError, "minari.load_dataset"),
        (lambda: adapter.to_replay_buffer(dataset, capacity=5), ArgumentError, "capacity is 5 and"),
        (lambda: adapter.from_replay_buffer([], "buffers/e-v0"), ArgumentError, "has no step"),
        (lambda: adapter.from_replay_buffer([1], "buffers/e-v0"), ArgumentTypeError, "list of SingleAgentEpisode"),
    )
