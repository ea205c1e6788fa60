"""VectorDataCollector among Gymnasium's wrappers: of each sub-environment, and of vector environments."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces, wrappers
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv, VectorWrapper
from gymnasium.vector.utils import iterate
from gymnasium.wrappers import vector as vector_wrappers

import minari
from minari import VectorDataCollector
from minari.testing.comparison import assert_same
from support.logged_env import LoggedEnv
from support.scripted import ScriptedEnv
from support.toys import Witness
from support.vector import DISABLED, FIELDS, MODES, NEXT, SAME, drive, episodes_by_env, info_at, plain


pytestmark = [
    pytest.mark.filterwarnings("ignore:`.*` is set to None", "ignore:.*Casting"),
    pytest.mark.filterwarnings("ignore:.*lies? outside", "ignore:.*outside .* space"),
]

BOX = spaces.Box(-1.0, 1.0, (3,), np.float32)
NESTED = spaces.Dict({"image": spaces.Box(0, 255, (4, 4), np.uint8), "speed": BOX})


# Wrappers inside of each sub-environment

INNER: dict[str, Callable[[Any], Any]] = {
    "Autoreset": wrappers.Autoreset,
    "RecordEpisodeStatistics": wrappers.RecordEpisodeStatistics,
    "TimeLimit": lambda env: wrappers.TimeLimit(env, 3),
    "FrameStackObservation": lambda env: wrappers.FrameStackObservation(env, 3),
    "NormalizeObservation": wrappers.NormalizeObservation,
    "NormalizeReward": wrappers.NormalizeReward,
    "TransformReward": lambda env: wrappers.TransformReward(env, lambda reward: 2 * reward),
    "ClipAction": wrappers.ClipAction,
    "RescaleAction": lambda env: wrappers.RescaleAction(env, np.float32(-2), np.float32(2)),
    "PassiveEnvChecker": wrappers.PassiveEnvChecker,
    "TimeAwareObservation": lambda env: wrappers.TimeAwareObservation(wrappers.TimeLimit(env, 5)),
    "DtypeObservation": lambda env: wrappers.DtypeObservation(env, np.float64),
}


def sub_environment(seed: int, wrap: Callable[[Any], Any]) -> Witness:
    return Witness(wrap(LoggedEnv(BOX, BOX, seed)))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", INNER)
def test_wrappers_inside_of_the_sub_environments_change_what_is_recorded(name: str, mode: AutoresetMode) -> None:
    env = SyncVectorEnv([partial(sub_environment, seed, INNER[name]) for seed in range(3)], autoreset_mode=mode)
    collector = VectorDataCollector(env, record_infos=True)
    drive(collector, mode)
    recorded = episodes_by_env(collector.create_dataset("test/inner-v0"))
    for index, witness in enumerate(env.envs):
        truth = [episode for episode in witness.episodes if episode["actions"]]  # type: ignore[attr-defined]
        assert len(truth) == len(recorded[index]) >= 3
        for episode, expected in zip(recorded[index], truth, strict=True):
            expected["truncations"][-1] |= not expected["terminations"][-1]  # such as the one that was running
            for field in FIELDS:
                assert_same(getattr(episode, field), np.array(expected[field]), field)
            for row, info in enumerate(expected["infos"]):
                assert episode.infos["always"][row] == info["always"]
                if "episode" in info:
                    assert [episode.infos["episode"][key][row] for key in "rl"] == [
                        info["episode"][key] for key in "rl"
                    ]


# Vector wrappers


class VectorWitness(VectorWrapper):
    """Splits what passes between a vector environment and its collector into episodes, one value at a time."""

    def __init__(self, env: VectorEnv) -> None:
        super().__init__(env)
        self.mode = env.metadata["autoreset_mode"]
        self.ended: list[dict[str, Any]] = []
        self.running: list[dict[str, Any] | None] = [None] * env.num_envs

    def _part(self, space: Any, batch: Any, index: int) -> Any:
        return copy.deepcopy(list(iterate(space, batch))[index])

    def _info(self, infos: Any, index: int) -> dict[str, Any]:
        found = {}
        for key, values in infos.items():
            if key.startswith("_") and key[1:] in infos:
                continue
            if f"_{key}" not in infos or infos[f"_{key}"][index]:
                found[key] = (
                    self._info(values, index) if isinstance(values, dict) else copy.deepcopy(np.asarray(values)[index])
                )
        return found

    def _begin(self, index: int, observations: Any, info: dict[str, Any]) -> None:
        observation = self._part(self.observation_space, observations, index)
        others: dict[str, Any] = {name: [] for name in FIELDS[1:]}
        self.running[index] = {"env": index, "observations": [observation], **others, "infos": [info]}

    def _end(self, index: int) -> None:
        episode, self.running[index] = self.running[index], None
        if episode is not None and episode["rewards"]:
            episode["truncations"][-1] |= not episode["terminations"][-1]
            self.ended.append(episode)

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        mask = copy.copy((options or {}).get("reset_mask", np.ones(self.num_envs, bool)))
        observations, infos = self.env.reset(seed=seed, options=options)
        for index in np.flatnonzero(mask).tolist():
            self._end(index)
            self._begin(index, observations, self._info(infos, index))
        return observations, infos

    def step(self, actions: Any) -> Any:
        given = copy.deepcopy(actions)
        observations, rewards, terminations, truncations, infos = result = self.env.step(actions)
        for index in range(self.num_envs):
            episode, info = self.running[index], self._info(infos, index)
            if episode is None:
                if self.mode is NEXT:
                    self._begin(index, observations, info)
                continue
            over = terminations[index] or truncations[index]
            last, last_info = self._part(self.observation_space, observations, index), info
            if over and self.mode is SAME:
                last = copy.deepcopy(infos["final_obs"][index])
                of_ended = {key: info.pop(key) for key in ("episode",) if key in info}
                last_info = {**info.pop("final_info"), **of_ended}
                info.pop("final_obs")
            episode["observations"].append(last)
            episode["infos"].append(last_info)
            values = (
                self._part(self.action_space, given, index),
                rewards[index],
                terminations[index],
                truncations[index],
            )
            for name, value in zip(FIELDS[1:], values, strict=True):
                episode[name].append(copy.deepcopy(value))
            if over:
                self._end(index)
                if self.mode is SAME:
                    self._begin(index, observations, info)
        return result

    def finish(self) -> list[dict[str, Any]]:
        for index in range(self.num_envs):
            self._end(index)
        return self.ended


def assert_witnessed(dataset: minari.MinariDataset, witness: VectorWitness) -> None:
    """Compare a dataset with what a witness just inside of the collector has seen."""
    expected = witness.finish()
    assert len(dataset) == len(expected) >= 10
    indices = [metadata["env_index"] for metadata in dataset.storage.get_episode_metadata(range(len(dataset)))]
    assert indices == [episode["env"] for episode in expected]
    for episode, truth in zip(dataset, expected, strict=True):
        assert_same(episode.observations, stacked(truth["observations"]), "observations")
        assert_same(episode.actions, stacked(truth["actions"]), "actions")
        for field in FIELDS[2:]:
            assert_same(getattr(episode, field), np.array(truth[field]), field)
        for row, info in enumerate(truth["infos"]):
            assert_same(info_at(episode.infos or {}, row), plain(info), f"infos at {row}")


def stacked(values: list[Any]) -> Any:
    if isinstance(values[0], dict):
        return {key: stacked([value[key] for value in values]) for key in values[0]}
    return np.array(values)


def inverted(observations: Any) -> Any:
    return -observations


OUTER: dict[str, tuple[Any, Any]] = {
    "nothing": (lambda env: env, MODES),
    "RecordEpisodeStatistics": (vector_wrappers.RecordEpisodeStatistics, MODES),
    "TransformObservation": (lambda env: vector_wrappers.TransformObservation(env, inverted), [NEXT, DISABLED]),
    "VectorizeTransformObservation": (
        lambda env: vector_wrappers.VectorizeTransformObservation(
            env, wrappers.TransformObservation, func=inverted, observation_space=BOX
        ),
        [NEXT, DISABLED],
    ),
    "RescaleObservation": (
        lambda env: vector_wrappers.RescaleObservation(env, np.float32(-9), np.float32(9)),
        [NEXT, DISABLED],
    ),
    "DtypeObservation": (lambda env: vector_wrappers.DtypeObservation(env, np.float64), [NEXT, DISABLED]),
    "NormalizeObservation": (vector_wrappers.NormalizeObservation, [NEXT]),
    "TransformReward": (lambda env: vector_wrappers.TransformReward(env, lambda rewards: 2 * rewards), MODES),
    "ClipReward": (lambda env: vector_wrappers.ClipReward(env, -0.5, 0.5), MODES),
    "NormalizeReward": (vector_wrappers.NormalizeReward, [NEXT]),
    "ClipAction": (vector_wrappers.ClipAction, MODES),
    "RescaleAction": (lambda env: vector_wrappers.RescaleAction(env, np.float32(-2), np.float32(2)), MODES),
}
OUTER_CASES = [
    pytest.param(name, mode, id=f"{name}-{mode.value}") for name, (_, modes) in OUTER.items() for mode in modes
]


@pytest.mark.parametrize(("name", "mode"), OUTER_CASES)
def test_vector_wrappers_inside_of_the_collector_change_what_is_recorded(name: str, mode: AutoresetMode) -> None:
    envs = [partial(LoggedEnv, BOX, BOX, seed) for seed in range(3)]
    witness = VectorWitness(OUTER[name][0](SyncVectorEnv(envs, autoreset_mode=mode, copy=False)))
    collector = VectorDataCollector(witness, record_infos=True)
    drive(collector, mode)
    assert_witnessed(collector.create_dataset("test/outer-v0"), witness)


@pytest.mark.parametrize(("name", "mode"), OUTER_CASES)
def test_vector_wrappers_around_the_collector_are_not_recorded(name: str, mode: AutoresetMode) -> None:
    envs = [partial(LoggedEnv, BOX, BOX, seed) for seed in range(3)]
    witness = VectorWitness(SyncVectorEnv(envs, autoreset_mode=mode))
    collector = VectorDataCollector(witness, record_infos=True)
    drive(OUTER[name][0](collector), mode)
    dataset = collector.create_dataset("test/outer-v0")
    assert dataset.observation_space == dataset.action_space == BOX
    assert_witnessed(dataset, witness)


@pytest.mark.parametrize("mode", [NEXT, SAME])
def test_processes_with_shared_memory(mode: AutoresetMode) -> None:
    envs = [partial(LoggedEnv, NESTED, BOX, seed) for seed in range(2)]
    async_env = AsyncVectorEnv(envs, autoreset_mode=mode, copy=False)
    witness = VectorWitness(vector_wrappers.RecordEpisodeStatistics(async_env))
    collector = VectorDataCollector(witness, record_infos=True)
    try:
        drive(collector, mode)
        assert_witnessed(collector.create_dataset("test/processes-v0"), witness)
    finally:
        collector.close()


def test_a_reset_by_hand_that_is_followed_by_another_is_no_transition() -> None:
    """Without shared memory, a process resets its environment in the step after an end, whatever came in between."""
    env = AsyncVectorEnv([partial(ScriptedEnv, length=length) for length in (2, 3)], shared_memory=False)
    collector = VectorDataCollector(env)
    try:
        for _ in range(2):
            collector.reset(seed=1)
            for _ in range(2):
                collector.step(np.zeros(2, int))
        collector.step(np.zeros(2, int))
        dataset = collector.create_dataset("test/again-v0")
    finally:
        collector.close()
    observations = [
        [episode.observations[:, 0].tolist() for episode in each] for each in episodes_by_env(dataset).values()
    ]
    assert observations == [[[0, 1, 2], [0, 1, 2]], [[0, 1, 2], [0, 1, 2, 3]]]


@pytest.mark.parametrize("mode", MODES)
def test_infos_as_a_list_are_recorded_like_those_in_a_dict(mode: AutoresetMode) -> None:
    def recorded(name: str, wrap: Callable[[Any], Any]) -> minari.MinariDataset:
        envs = [partial(LoggedEnv, BOX, BOX, seed) for seed in range(3)]
        inner = vector_wrappers.RecordEpisodeStatistics(SyncVectorEnv(envs, autoreset_mode=mode))
        collector = VectorDataCollector(wrap(inner), record_infos=True)
        drive(collector, mode, options={"minari_autoseed": False})
        collector.discard_info("episode/t")
        collector.discard_info("_own")  # which the wrapper drops
        return collector.create_dataset(name)

    from_dict = recorded("test/dict-v0", lambda env: env)
    from_list = recorded("test/list-v0", vector_wrappers.DictInfoToList)
    assert len(from_dict) == len(from_list) >= 10
    for one, other in zip(from_dict, from_list, strict=True):
        assert_same(one.infos, other.infos, "infos")
