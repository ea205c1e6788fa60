"""The adapter to d3rlpy, with the real library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from minari.errors import ArgumentError, ArgumentTypeError
from support.replay_datasets import (
    ACTIONS,
    ENDS,
    MARKS,
    OBSERVATIONS,
    STRICT,
    UNFIT,
    CountingEnv,
    assert_counts_are_right,
    assert_refused,
    assert_same_episode,
    assert_same_episodes,
    make,
    spaces_of,
)


pytest.importorskip("d3rlpy")

import d3rlpy
from d3rlpy.constants import ActionSpace
from d3rlpy.dataset import (
    BasicTransitionPicker,
    Episode,
    FIFOBuffer,
    InfiniteBuffer,
    MultiStepTransitionPicker,
    ReplayBuffer,
    create_fifo_replay_buffer,
)

from minari.integrations import d3rlpy as adapter


pytestmark = [*MARKS, STRICT]


@pytest.mark.parametrize("actions", ["unit", "double", "choice"])
@pytest.mark.parametrize("observations", ["float32", "float64", "frames", "number", "discrete", "dict", "tuple"])
def test_a_round_trip_keeps_every_value(observations: str, actions: str) -> None:
    dataset = make("d3rlpy/from-v0", observations, actions)
    buffer = adapter.to_replay_buffer(dataset)
    assert buffer.size() == 8
    assert buffer.transition_count == dataset.total_steps == 22
    back = adapter.from_replay_buffer(buffer, "d3rlpy/back-v0", **spaces_of(dataset))
    assert_same_episodes(back, dataset)


def test_spaces_are_inferred() -> None:
    back = adapter.from_replay_buffer(adapter.to_replay_buffer(make("d3rlpy/a-v0")), "d3rlpy/b-v0")
    assert back.action_space == gym.spaces.Discrete(4)
    assert back.observation_space == gym.spaces.Box(-np.inf, np.inf, (3,), np.float32)
    back = adapter.from_replay_buffer(adapter.to_replay_buffer(make("d3rlpy/c-v0", "dict", "unit")), "d3rlpy/d-v0")
    assert isinstance(back.observation_space, gym.spaces.Tuple)
    assert back.action_space == gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)


def test_spaces_are_those_of_the_environment() -> None:
    rng = np.random.default_rng(0)
    episode = Episode(rng.random((4, 4), np.float32) / 10, np.ones((4, 1), int), np.ones((4, 1)), True)
    buffer = ReplayBuffer(InfiniteBuffer(), episodes=[episode])
    with pytest.warns(UserWarning, match="final observations"):
        dataset = adapter.from_replay_buffer(buffer, "d3rlpy/env-v0", env="CartPole-v1")
    assert dataset.env_spec is not None
    assert dataset.env_spec.id == "CartPole-v1"
    assert dataset.action_space == gym.spaces.Discrete(2)


def test_transitions_lead_to_final_observations() -> None:
    dataset = make("d3rlpy/from-v0", actions="unit")
    buffer = adapter.to_replay_buffer(dataset)
    for number, episode in enumerate(dataset):
        recorded = buffer.episodes[number]
        for step in range(len(episode)):
            found = buffer.transition_picker(recorded, step)
            is_last = step == len(episode) - 1
            np.testing.assert_array_equal(found.observation, episode.observations[step])
            np.testing.assert_array_equal(found.next_observation, episode.observations[step + 1])
            np.testing.assert_array_equal(found.action, episode.actions[step])
            np.testing.assert_array_equal(found.next_action, 0 if is_last else episode.actions[step + 1])
            assert found.reward == episode.rewards[step]
            assert found.rewards_to_go.sum() == episode.rewards[step:].sum()
            assert found.terminal == (is_last and episode.terminations[-1])
    batch = buffer.sample_transition_batch(500)
    assert {tuple(row) for row in batch.next_observations} == {
        tuple(row) for episode in dataset for row in episode.observations[1:]
    }
    assert buffer.sample_trajectory_batch(5, 3).observations.shape == (5, 3, 3)


def test_a_buffer_is_dumped_and_loaded_by_the_library(tmp_path: Path) -> None:
    dataset = make("d3rlpy/from-v0", "tuple")
    with (tmp_path / "buffer.h5").open("w+b") as file:
        adapter.to_replay_buffer(dataset).dump(file)
    with (tmp_path / "buffer.h5").open("rb") as file:
        loaded = ReplayBuffer.load(
            file,
            InfiniteBuffer(),
            episode_cls=adapter.RecordedEpisode,
            transition_picker=adapter.FinalObservationPicker(),
        )
    back = adapter.from_replay_buffer(loaded, "d3rlpy/back-v0", observation_space=dataset.observation_space)
    assert_same_episodes(back, dataset)


def test_early_flags_are_lost_with_a_warning() -> None:
    dataset = make("d3rlpy/from-v0", lengths=(5, 3), ends=("early", "terminated"))
    with pytest.warns(UserWarning, match=r"terminations and truncations before the last step \(1 episode\)"):
        buffer = adapter.to_replay_buffer(dataset)
    back = adapter.from_replay_buffer(buffer, "d3rlpy/back-v0")
    assert_same_episode(back[0], dataset[0], "terminations")
    assert not back[0].terminations.any()


def test_infos_are_lost_with_a_warning() -> None:
    dataset = make("d3rlpy/from-v0", infos=True)
    with pytest.warns(UserWarning, match=r"d3rlpy does not keep infos \(8 episodes\)\."):
        buffer = adapter.to_replay_buffer(dataset)
    back = adapter.from_replay_buffer(buffer, "d3rlpy/back-v0")
    assert_same_episodes(back, dataset)
    assert not back[0].infos


def test_with_a_picker_of_the_library_final_observations_are_lost_with_a_warning() -> None:
    dataset = make("d3rlpy/from-v0", ends=ENDS)
    with pytest.warns(UserWarning, match="d3rlpy does not keep") as caught:
        buffer = adapter.to_replay_buffer(dataset, transition_picker=MultiStepTransitionPicker(2, 0.9))
    message = str(caught.pop(UserWarning).message)
    assert "final observations of terminated episodes (4 episodes)" in message
    assert "without which their last steps are not transitions (4 episodes)" in message
    assert "truncations of steps that are also terminated (2 episodes)" in message
    assert "the difference between cut and truncated episodes (2 episodes)" in message
    assert buffer.transition_count == 22 - 4
    assert buffer.sample_transition_batch(8).observations.shape == (8, 3)


def test_episodes_of_the_library_end_where_their_observations_do() -> None:
    rng = np.random.default_rng(0)

    def made(steps: int, terminated: bool) -> Episode:
        observations = rng.random((steps, 3), np.float32)
        return Episode(observations, rng.random((steps, 2), np.float32), np.arange(steps)[:, None] * 1.0, terminated)

    episodes = [made(4, True), made(5, False), made(2, False), made(1, True)]
    buffer = ReplayBuffer(InfiniteBuffer(), episodes=episodes)
    with pytest.warns(UserWarning, match="The replay buffer does not keep") as caught:
        dataset = adapter.from_replay_buffer(buffer, "d3rlpy/plain-v0")
    message = str(caught.pop(UserWarning).message)
    assert "final observations of terminated episodes, in whose place the ones before are repeated (2 " in message
    assert "which end one step earlier for that, truncated (2 episodes)" in message
    assert [len(episode) for episode in dataset] == [4, 4, 1, 1]
    assert sum(len(episode) for episode in dataset) == buffer.transition_count
    for found, original in zip(dataset, episodes, strict=True):
        steps = len(found)
        np.testing.assert_array_equal(found.observations[:steps], original.observations[:steps])
        np.testing.assert_array_equal(found.observations[-1], original.observations[-1])
        np.testing.assert_array_equal(found.actions, original.actions[:steps])
        np.testing.assert_array_equal(found.rewards, np.arange(steps))
        assert found.terminations.tolist() == [False] * (steps - 1) + [original.terminated]
        assert found.truncations.tolist() == [False] * (steps - 1) + [not original.terminated]


@pytest.mark.parametrize("limit", [1000, 40])
@pytest.mark.parametrize("continuous", [False, True])
def test_a_buffer_that_the_library_collected_is_split_into_its_episodes(limit: int, continuous: bool) -> None:
    # Its writer joins an episode of one step to the next one.
    env = CountingEnv(continuous=continuous, shortest=2)
    buffer = create_fifo_replay_buffer(limit, env=env)
    config = d3rlpy.algos.SACConfig() if continuous else d3rlpy.algos.DQNConfig()
    config.create().collect(env, buffer, n_steps=100, show_progress=False)
    with pytest.warns(UserWarning, match="final observations"):
        dataset = adapter.from_replay_buffer(buffer, "d3rlpy/collected-v0", env=CountingEnv(continuous=continuous))
    assert dataset.total_steps > min(60, limit - 10)
    assert any(episode.terminations[-1] for episode in dataset)
    resets = [episode.observations[0, 1] for episode in dataset]
    assert resets == sorted(set(resets))
    terminated = dataset.filter_episodes(lambda episode: bool(episode.terminations[-1]))
    assert_counts_are_right(terminated, repeats_final=True)
    for episode in dataset.filter_episodes(lambda episode: bool(episode.truncations[-1])):
        np.testing.assert_array_equal(np.diff(episode.observations[:, 2]), 1)
        assert len(set(episode.observations[:, 1])) == 1
        np.testing.assert_allclose(episode.rewards, episode.actions.reshape(len(episode)), rtol=1e-5)


@pytest.mark.parametrize(
    ("config", "actions"),
    [
        (d3rlpy.algos.IQLConfig(batch_size=8), "unit"),
        (d3rlpy.algos.TD3PlusBCConfig(batch_size=8), "unit"),
        (d3rlpy.algos.DiscreteCQLConfig(batch_size=8), "choice"),
        (d3rlpy.algos.DecisionTransformerConfig(batch_size=8, context_size=3), "unit"),
    ],
)
def test_algorithms_train(config: Any, actions: str, tmp_path: Path) -> None:
    buffer = adapter.to_replay_buffer(make("d3rlpy/from-v0", actions=actions, ends=ENDS[:3]))
    assert buffer.dataset_info.action_space == (ActionSpace.DISCRETE if actions == "choice" else ActionSpace.CONTINUOUS)
    assert buffer.dataset_info.action_size == (4 if actions == "choice" else 2)
    config.create().fit(
        buffer,
        n_steps=3,
        n_steps_per_epoch=3,
        show_progress=False,
        logger_adapter=d3rlpy.logging.NoopAdapterFactory(),
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        *UNFIT,
        ({"actions": "choices"}, "The action space is .*MultiDiscrete.* expected a Box of vectors or a Discrete"),
        ({"actions": "shifted"}, "expected a Box of vectors or a Discrete space that starts at 0"),
    ],
)
def test_datasets_that_do_not_fit_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        adapter.to_replay_buffer(make("d3rlpy/from-v0", **options))


def test_invalid_arguments() -> None:
    dataset = make("d3rlpy/from-v0", "dict")
    buffer = adapter.to_replay_buffer(dataset)
    one = {"observation_space": OBSERVATIONS["float32"]}
    empty = ReplayBuffer(FIFOBuffer(5), transition_picker=BasicTransitionPicker(), env=CountingEnv())
    choice = {"action_space": ACTIONS["choice"]}
    assert_refused(
        (lambda: adapter.to_replay_buffer(dataset[[]]), ArgumentError, "no step in this view"),
        (lambda: adapter.to_replay_buffer("d3rlpy/from-v0"), ArgumentTypeError, "expected a MinariDataset"),
        (lambda: adapter.from_replay_buffer([], "d3rlpy/back-v0"), ArgumentTypeError, "buffer is a list"),
        (lambda: adapter.from_replay_buffer(buffer, "d3rlpy/b-v0", **one), ArgumentError, "are 3 arrays, expected 1"),
        (lambda: adapter.from_replay_buffer(empty, "d3rlpy/b-v0", **choice), ArgumentError, "has no transition"),
    )


def test_plain_episodes_keep_their_last_observation_as_the_final_one() -> None:
    dataset = make("d3rlpy/from-v0", ends=("truncated",), lengths=(4, 3))
    with pytest.warns(UserWarning, match="final observations of other episodes"):
        buffer = adapter.to_replay_buffer(dataset, transition_picker=BasicTransitionPicker())
    with pytest.warns(UserWarning, match="one step earlier"):
        back = adapter.from_replay_buffer(buffer, "d3rlpy/back-v0")
    for found, episode in zip(back, dataset, strict=True):
        assert len(found) == len(episode) - 1
        shortened = type(episode)(
            episode.id,
            episode.observations[:-1],
            episode.actions[:-1],
            episode.rewards[:-1],
            episode.terminations[:-1],
            episode.truncations[1:],
            {},
        )
        assert_same_episode(found, shortened)
