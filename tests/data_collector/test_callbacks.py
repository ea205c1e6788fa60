"""Callbacks: what they change and add is what is recorded."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.wrappers import Autoreset
from hypothesis import given
from hypothesis import strategies as st

import minari
from minari import DataCollector, EpisodeMetadataCallback, StepDataCallback
from minari.errors import EpisodeError, MinariError
from minari.testing.memory_storage import register_memory_storage
from support.cases import SPACES
from support.scripted import ScriptedEnv, collected, play, recorded
from support.toys import ToyEnv
from support.values import assert_identical


pytestmark = pytest.mark.filterwarnings("ignore:`.*` is set to None")

register_memory_storage()


class WithMore(StepDataCallback):
    """Adds to the step what the environment keeps to itself."""

    def __call__(self, env: gym.Env[Any, Any], **kwargs: Any) -> Any:
        step_data = super().__call__(env, **kwargs)
        time = env.unwrapped.time
        step_data |= {"time": time, "state": {"double": np.array([2.0 * time]), "deep": {"odd": time % 2}}}
        if step_data["action"] is not None:
            step_data["force"] = -1.0 * step_data["action"]
        return step_data


@pytest.mark.parametrize("record_infos", [False, True])
def test_additions_of_a_callback_are_recorded_among_the_infos(record_infos: bool) -> None:
    env = ScriptedEnv(inform=lambda time: {"own": time})
    (episode,) = recorded(env, action=2, step_data_callback=WithMore, record_infos=record_infos)
    assert episode.infos.keys() == {"time", "state", "force", "_force"} | ({"own"} if record_infos else set())
    assert_identical(episode.infos["time"], np.arange(6))
    assert_identical(episode.infos["state"]["double"], 2.0 * np.arange(6)[:, None])
    assert_identical(episode.infos["state"]["deep"]["odd"], np.arange(6) % 2)
    # Only steps have it, so it is masked at the reset.
    assert episode.infos["force"].tolist() == [0.0] + [-2.0] * 5
    assert episode.infos["_force"].tolist() == [False] + [True] * 5


def test_nested_additions_of_the_last_step_begin_the_next_episode() -> None:
    collector = collected(step_data_callback=WithMore)
    collector.step(0)
    _, second = collector.create_dataset("test/nested-v0")
    assert second.infos["state"]["double"].tolist() == [[10.0], [12.0]]
    assert second.infos["state"]["deep"]["odd"].tolist() == [1, 0]
    assert second.observations[:, 0].tolist() == [5, 6]


class Unchanged(StepDataCallback):
    """Is asked about every step, and changes nothing."""


@pytest.mark.parametrize("record_infos", [False, True])
@pytest.mark.parametrize("case", SPACES)
def test_a_callback_that_changes_nothing_is_as_good_as_none(case: str, record_infos: bool) -> None:
    """With none of the user's own, what the environment returned is recorded without asking."""
    datasets = []
    for number, callback in enumerate([StepDataCallback, Unchanged]):
        env = Autoreset(ToyEnv(SPACES[case], spaces.Discrete(3), infos=True))
        collector = DataCollector(env, callback, record_infos=record_infos, data_format="memory")
        play(collector, 2, seed=4)
        collector.step(1)  # resets
        collector.step(2)
        datasets.append(collector.create_dataset(f"test/seen-v{number}"))
    one, other = datasets
    assert list(one) == list(other)
    metadata = [list(dataset.storage.get_episode_metadata(range(3))) for dataset in datasets]
    assert metadata[0] == metadata[1]
    assert [len(episode) for episode in one] == [4, 4, 1]
    assert bool(one[0].infos) == record_infos


class Halving(StepDataCallback):
    """Records a part of the observation and another action; the environment sees nothing of it."""

    def __call__(self, env: gym.Env[Any, Any], **kwargs: Any) -> Any:
        step_data = super().__call__(env, **kwargs)
        step_data["observation"] = {"x": step_data["observation"][:1] / 2}
        if step_data["action"] is not None:
            step_data["action"] = np.array([step_data["action"], 0.5], np.float32)
            step_data["reward"] *= 10
        return step_data


def test_changed_observations_and_actions_have_spaces_of_their_own() -> None:
    given_spaces = {
        "observation_space": spaces.Dict(x=spaces.Box(-9, 9, (1,))),
        "action_space": spaces.Box(-9, 9, (2,)),
    }
    collector = DataCollector(ScriptedEnv(), Halving, **given_spaces)
    observation, _ = collector.reset()
    assert observation.shape == (2,)
    assert collector.observation_space == given_spaces["observation_space"]
    for _ in range(5):
        observation, reward, *_ = collector.step(1)
    assert (observation.tolist(), reward) == ([5.0, 5.0], 5.0)
    collector.create_dataset("test/changed-v0")
    dataset = minari.load_dataset("test/changed-v0")
    assert (dataset.observation_space, dataset.action_space) == tuple(given_spaces.values())
    (episode,) = dataset
    assert_identical(episode.observations["x"], np.arange(6, dtype=np.float32)[:, None] / 2)
    assert_identical(episode.actions, np.array([[1.0, 0.5]] * 5, np.float32))
    assert episode.rewards.tolist() == [10.0, 20.0, 30.0, 40.0, 50.0]


@pytest.mark.parametrize(
    ("returned", "error", "text"),
    [
        ({"observation": 0}, EpisodeError, r"left out \['action', 'info', 'reward', 'terminated', 'truncated'\]"),
        (None, TypeError, "The StepDataCallback returned None, expected a dict"),
    ],
)
def test_a_step_callback_that_returns_something_else_is_told_so(returned: Any, error: Any, text: str) -> None:
    with pytest.raises(error, match=text):
        DataCollector(ScriptedEnv(), type("Odd", (StepDataCallback,), {"__call__": lambda *_, **__: returned})).reset()


# Where recorded episodes end


class Windows(StepDataCallback):
    """Cuts what happens into episodes of so many steps, whatever the environment says."""

    length = 4
    steps = 0

    def __call__(self, env: gym.Env[Any, Any], **kwargs: Any) -> Any:
        step_data = super().__call__(env, **kwargs)
        if step_data["action"] is not None:
            self.steps += 1
            step_data["terminated"], step_data["truncated"] = self.steps % self.length == 0, False
        return step_data


def test_what_a_callback_says_decides_where_episodes_end() -> None:
    told = {"time": np.zeros(1, np.int64)}  # which the environment uses again and again

    def inform(time: int) -> dict[str, Any]:
        told["time"][0] = time
        return told

    collector = DataCollector(ScriptedEnv(inform=inform, length=3), Windows, record_infos=True)
    collector.reset(seed=1)
    returned = [collector.step(0)[2] for _ in range(10)]
    assert returned == [False, False, *[True] * 8]  # the environment's own, unchanged
    told["time"][0] = 99
    dataset = collector.create_dataset("test/windows-v0")
    expected = [[0, 1, 2, 3, 4], [4, 5, 6, 7, 8], [8, 9, 10]]
    assert [episode.observations[:, 0].tolist() for episode in dataset] == expected
    assert [episode.infos["time"][:, 0].tolist() for episode in dataset] == expected
    first, _, last = dataset
    assert first.terminations.tolist() == [False, False, False, True]
    assert (last.terminations.tolist(), last.truncations.tolist()) == ([False, False], [False, True])


def test_an_end_that_a_callback_denies_is_a_truncation_at_the_next_reset() -> None:
    class Endless(Windows):
        length = 99

    for episode in recorded(ScriptedEnv(length=3), 2, step_data_callback=Endless):
        assert (episode.terminations.tolist(), episode.truncations.tolist()) == ([False] * 3, [False, False, True])


def test_steps_that_reset_are_no_transitions_whatever_a_callback_says() -> None:
    collector = DataCollector(Autoreset(ScriptedEnv(length=3)), Windows)
    collector.reset(seed=0)
    for _ in range(9):
        collector.step(0)
    episodes = collector.create_dataset("test/autoreset-v0")
    # Times 1 to 3, the reset, 1 (the fourth step that was recorded), 2 and 3, the reset, 1.
    assert [episode.observations[:, 0].tolist() for episode in episodes] == [[0, 1, 2, 3], [0, 1], [1, 2, 3], [0, 1]]


# Metadata of episodes


class Graded(EpisodeMetadataCallback):
    """Keeps numbers, texts, arrays and nested values with each episode."""

    def __call__(self, episode: dict[str, Any]) -> dict[str, Any]:
        fields = {"id", "observations", "actions", "rewards", "terminations", "truncations", "infos"}
        assert set(episode) == fields
        assert episode["observations"].shape == (6, 2)
        assert episode["observations"].flags.writeable  # as ever, whatever they were recorded in
        return {
            **super().__call__(episode),
            "success": bool(episode["terminations"][-1]),
            "grade": "gut 🎲",
            "path": episode["observations"].sum(axis=1),
            "nested": {"count": np.int64(len(episode["rewards"])), "list": [1, 2]},
        }


def test_metadata_of_a_callback_and_statistics_are_stored() -> None:
    dataset = recorded(None, 2, reset={"seed": 3}, episode_metadata_callback=Graded)
    for metadata in dataset.storage.get_episode_metadata(range(2)):
        assert metadata["success"] in (True, np.True_)
        assert metadata["grade"] == "gut 🎲"
        assert_identical(metadata["path"], 2 * np.arange(6, dtype=np.float32))
        assert (metadata["nested"]["count"], list(metadata["nested"]["list"])) == (5, [1, 2])
        assert (metadata["seed"], metadata["total_steps"]) == (3, 5)
        assert [metadata[f"rewards_{name}"] for name in ("sum", "mean", "min", "max")] == [15.0, 3.0, 1.0, 5.0]
        assert metadata["rewards_std"] == pytest.approx(np.std([1, 2, 3, 4, 5]))


@pytest.mark.parametrize("buffer_steps", [10_000, 1])
def test_a_metadata_callback_that_raises_stops_no_step_and_loses_nothing(buffer_steps: int) -> None:
    class Failing(EpisodeMetadataCallback):
        broken = True

        def __call__(self, episode: dict[str, Any]) -> dict[str, Any]:
            if self.broken:
                raise KeyError("grade")
            return super().__call__(episode)

    with pytest.warns(UserWarning, match="cannot be written yet"):
        collector = collected(None, 2, episode_metadata_callback=Failing, buffer_steps=buffer_steps)
    with pytest.raises(KeyError, match="grade"):
        collector.create_dataset("test/failing-v0")
    Failing.broken = False
    assert len(collector.create_dataset("test/failing-v0")) == 2


@pytest.mark.parametrize(
    ("returned", "text"),
    [({"policy": object()}, "Episode 0 cannot be stored.*'policy'"), (5, "returned 5, expected a")],
)
def test_metadata_that_cannot_be_stored_name_their_episode(returned: Any, text: str, datasets_root: Any) -> None:
    class Odd(EpisodeMetadataCallback):
        def __call__(self, episode: dict[str, Any]) -> Any:
            return returned if len(episode["rewards"]) == 5 else {}

    with pytest.warns(UserWarning, match=text) as caught:
        collector = collected(episode_metadata_callback=Odd)
    assert [warning.filename.endswith("scripted.py") for warning in caught] == [True]
    play(collector, steps=2, seed=7)
    with pytest.raises((MinariError, TypeError), match=text):
        collector.create_dataset("test/odd-v0")
    assert list(datasets_root.iterdir()) == []
    collector.discard_episode(0)
    assert len(collector.create_dataset("test/odd-v0")[0]) == 2


numbers = st.floats() | st.sampled_from([0.1, 1e16, -1.0])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of infinities
@given(st.lists(numbers, min_size=1, max_size=300), st.sampled_from([np.float64, np.float32, np.int64, np.bool_]))
def test_statistics_are_those_of_numpy_bit_for_bit(rewards: list[float], dtype: type) -> None:
    array = np.array(rewards)
    array = (np.nan_to_num(array, posinf=9, neginf=-9) if dtype is np.int64 else array).astype(dtype)
    statistics = EpisodeMetadataCallback()({"rewards": array})
    for name in ("sum", "mean", "std", "max", "min"):
        expected, actual = getattr(np, name)(array), statistics[f"rewards_{name}"]
        assert type(actual) is type(expected)
        assert actual.tobytes() == expected.tobytes()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_statistics_of_huge_rewards_are_infinite_without_a_warning(dtype: type) -> None:
    rewards = np.full(2, np.finfo(dtype).max)
    with np.errstate(all="raise"):
        statistics = EpisodeMetadataCallback()({"rewards": rewards})
    assert statistics["rewards_sum"] == statistics["rewards_std"] == np.inf


def test_a_metadata_callback_sees_every_episode_once() -> None:
    seen: list[int] = []

    class Seeing(EpisodeMetadataCallback):
        def __call__(self, episode: dict[str, Any]) -> dict[str, Any]:
            seen.append(episode["id"])
            return {**super().__call__(episode), "first": episode["observations"][0]}

    dataset = recorded(None, 5, episode_metadata_callback=Seeing, buffer_steps=10)
    assert seen == list(range(5))
    assert all(np.array_equal(m["first"], [0, 0]) for m in dataset.storage.get_episode_metadata(range(5)))
