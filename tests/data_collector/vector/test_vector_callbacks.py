"""Callbacks of VectorDataCollector: they are called as by a DataCollector of each sub-environment."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import Autoreset

import minari
from minari import DataCollector, VectorDataCollector
from minari.testing.comparison import assert_same
from support.logged_env import LoggedEnv
from support.vector import DISABLED, FIELDS, MODES, NEXT, SAME, CountingVectorEnv, drive, episodes_by_env


pytestmark = pytest.mark.filterwarnings("ignore:`.*` is set to None")

BOX = spaces.Box(-1.0, 1.0, (3,), np.float32)
DOUBLED = spaces.Box(-2.0, 2.0, (3,), np.float32)


class Meddling(minari.StepDataCallback):
    """Changes everything, adds an info, ends episodes early, and denies the ends of others."""

    def __call__(self, env: Any, obs: Any, info: Any, action: Any = None, rew: Any = None, **flags: Any) -> Any:
        data = super().__call__(env, obs, info, action, rew, **flags)
        data["observation"] = 2 * obs
        data["height"] = float(obs[0])
        data["at_reset"] = "reset" if action is None else "step"
        if action is not None:
            data["action"], data["reward"] = -action, rew + 1
            if obs[0] > 0.6:
                data["terminated"] = True
            if obs[1] > 0.5:
                data["truncated"] = True
            if obs[2] > 0.3:
                data["terminated"] = data["truncated"] = False
        return data


class Counting(minari.EpisodeMetadataCallback):
    def __call__(self, episode: dict[str, Any]) -> dict[str, Any]:
        return {**super().__call__(episode), "steps": len(episode["rewards"])}


@pytest.mark.parametrize("with_infos", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_they_are_called_as_if_each_environment_was_recorded_alone(mode: AutoresetMode, with_infos: bool) -> None:
    rng, no_seeds = np.random.default_rng(3), {"minari_autoseed": False}
    batches = [rng.uniform(-1, 1, (3, 3)).astype(np.float32) for _ in range(60)]
    options: dict[str, Any] = {
        "step_data_callback": Meddling,
        "episode_metadata_callback": Counting,
        "record_infos": with_infos,
        "observation_space": DOUBLED,
    }
    envs = [partial(LoggedEnv, BOX, BOX, seed) for seed in range(3)]
    collector = VectorDataCollector(SyncVectorEnv(envs, autoreset_mode=mode), **options)
    collector.reset(seed=7)
    over = np.zeros(3, bool)
    for actions in batches:
        if mode is DISABLED and over.any():
            collector.reset(options={"reset_mask": over, **no_seeds})
        *_, terminations, truncations, _ = collector.step(actions)
        over = terminations | truncations
    recorded = episodes_by_env(collector.create_dataset("test/together-v0"))
    for index in range(3):
        env = LoggedEnv(BOX, BOX, index)
        alone = DataCollector(Autoreset(env) if mode is NEXT else env, **options)
        alone.reset(seed=7 + index)
        is_over = False
        for actions in batches:
            if is_over and mode is DISABLED:
                alone.reset(options=dict(no_seeds))
            *_, terminated, truncated, _ = alone.step(actions[index])
            is_over = terminated or truncated
            if is_over and mode is SAME:
                alone.reset(options=dict(no_seeds))
        dataset = alone.create_dataset(f"test/alone{index}-v0")
        assert len(dataset) == len(recorded[index]) >= 5
        for episode, expected in zip(recorded[index], dataset, strict=True):
            for field in (*FIELDS, "infos"):
                assert_same(getattr(episode, field), getattr(expected, field), field)


def test_the_environment_that_they_get_is_the_sub_environment_if_it_is_in_this_process() -> None:
    class Names(minari.StepDataCallback):
        def __call__(self, env: Any, **values: Any) -> Any:
            return {**super().__call__(env, **values), "kind": type(env).__name__}

    def kinds(env: Any) -> set[str]:
        collector = VectorDataCollector(env, step_data_callback=Names)
        drive(collector, NEXT, steps=12)
        dataset = collector.create_dataset(f"test/{type(env).__name__}-v0")
        collector.close()
        return {str(kind) for episode in dataset for kind in episode.infos["kind"]}

    envs = [partial(LoggedEnv, BOX, BOX, seed) for seed in range(2)]
    assert kinds(SyncVectorEnv(envs)) == {"LoggedEnv"}
    assert kinds(AsyncVectorEnv(envs)) == {"AsyncVectorEnv"}
    assert kinds(CountingVectorEnv(NEXT)) == {"CountingVectorEnv"}


def test_an_error_of_a_callback_ends_the_episodes_that_run() -> None:
    class Failing(minari.StepDataCallback):
        def __call__(self, env: Any, obs: Any, info: Any, **values: Any) -> Any:
            if obs[0] == 1 and failures:
                raise failures.pop()
            return super().__call__(env, obs, info, **values)

    failures: list[Exception] = []
    collector = VectorDataCollector(CountingVectorEnv(NEXT), step_data_callback=Failing)
    drive(collector, NEXT, steps=3)
    failures.append(RuntimeError("of the callback"))
    with pytest.raises(RuntimeError, match="of the callback"):
        collector.step(np.zeros(3, int))
    for _ in range(4):
        collector.step(np.zeros(3, int))
    dataset = collector.create_dataset("test/failing-v0")
    found = {
        index: [episode.observations[:, 1:].tolist() for episode in episodes]
        for index, episodes in episodes_by_env(dataset).items()
    }
    assert found == {
        0: [[[0, 0], [0, 1], [0, 2]], [[2, 0], [2, 1], [2, 2]]],  # the second has ended while nobody saw it
        1: [[[0, 0], [0, 1], [0, 2], [0, 3]], [[1, 1], [1, 2], [1, 3]]],
        2: [[[0, 0], [0, 1], [0, 2], [0, 3]], [[1, 0], [1, 1], [1, 2], [1, 3]]],
    }
