"""Vector environments: running them, splitting what they return, and one whose values are known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

import minari


FIELDS = ("observations", "actions", "rewards", "terminations", "truncations")
NEXT, SAME, DISABLED = AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP, AutoresetMode.DISABLED
MODES = (NEXT, SAME, DISABLED)


def drive(env: Any, mode: AutoresetMode, steps: int = 30, seed: int = 4, options: Any = None) -> None:
    """Run an environment, whose sub-environments are reset where they have ended if nobody else does it."""
    env.reset(seed=seed)
    env.action_space.seed(seed)
    over = np.zeros(env.num_envs, bool)
    for _ in range(steps):
        if mode is DISABLED and over.any():
            env.reset(options={"reset_mask": over, **(options or {})})
        *_, terminations, truncations, _ = env.step(env.action_space.sample())
        over = np.asarray(terminations, bool) | np.asarray(truncations, bool)


def episodes_by_env(dataset: minari.MinariDataset) -> dict[int, list[Any]]:
    found: dict[int, list[Any]] = {}
    for episode, metadata in zip(dataset, dataset.storage.get_episode_metadata(range(len(dataset))), strict=True):
        found.setdefault(int(metadata["env_index"]), []).append(episode)
    return found


def info_at(infos: dict[str, Any], row: int) -> dict[str, Any]:
    """The info of a row, without those that are missing there."""
    found = {}
    for key, values in infos.items():
        if key.startswith("_") and key[1:] in infos:
            continue
        if f"_{key}" not in infos or infos[f"_{key}"][row]:
            found[key] = info_at(values, row) if isinstance(values, dict) else values[row]
    return plain(found)


def plain(info: Any) -> Any:
    if isinstance(info, dict):
        return {key: plain(value) for key, value in info.items()}
    return np.asarray(info).tolist()


class CountingVectorEnv(VectorEnv):
    """Episode k of sub-environment i has i + 2 steps and the observations (i, k, time); its rewards are the times.

    Args:
        mode: when it resets sub-environments that have ended.
        change: makes something odd of the results.
    """

    def __init__(self, mode: AutoresetMode, change: Callable[[dict[str, Any]], Any] = lambda result: None) -> None:
        self.num_envs, self.mode, self.change = 3, mode, change
        self.metadata = {"autoreset_mode": mode}
        self.single_observation_space = spaces.Box(-1e3, 1e3, (3,), np.float64)
        self.single_action_space = spaces.Discrete(5)
        self.observation_space = batch_space(self.single_observation_space, 3)
        self.action_space = batch_space(self.single_action_space, 3)
        self.number, self.time, self.must_reset = np.full(3, -1), np.zeros(3, int), np.zeros(3, bool)

    def _observe(self) -> np.ndarray:
        return np.stack([np.arange(3.0), self.number, self.time], axis=1)

    def _start(self, mask: np.ndarray) -> None:
        self.number[mask] += 1
        self.time[mask], self.must_reset[mask] = 0, False

    def _returned(self, **result: Any) -> Any:
        self.change(result)
        return tuple(result.values())

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        mask = np.array((options or {}).get("reset_mask", np.ones(3, bool)))
        self._start(mask)
        return self._returned(observations=self._observe(), infos={"start": self.number.copy(), "_start": mask})

    def step(self, actions: Any) -> Any:
        is_start = self.must_reset.copy() if self.mode is NEXT else np.zeros(3, bool)
        self._start(is_start)
        self.time[~is_start] += 1
        rewards, over = np.where(is_start, 99.0, self.time), self.time == np.arange(3) + 2
        infos: dict[str, Any] = {}
        is_last = over & (self.mode is SAME)
        if is_last.any():
            finals = np.full(3, None, object)
            for index in np.flatnonzero(over):
                finals[index] = self._observe()[index]
            of_ended = {"time": self.time * over, "_time": over.copy()}
            infos = {"final_obs": finals, "_final_obs": over.copy(), "final_info": of_ended, "_final_info": over.copy()}
        infos |= {"time": self.time.copy(), "_time": ~(is_start | is_last)}
        if self.mode is SAME:
            self._start(over)
            is_start = over
        else:
            self.must_reset = over.copy()
        if is_start.any():
            infos |= {"start": self.number.copy(), "_start": is_start.copy()}
        return self._returned(
            observations=self._observe(), rewards=rewards, terminations=over, truncations=np.zeros(3, bool), infos=infos
        )


def assert_counted(dataset: minari.MinariDataset, *, with_infos: bool = True) -> None:
    for index, episodes in episodes_by_env(dataset).items():
        for number, episode in enumerate(episodes):
            steps = len(episode)
            assert episode.observations.tolist() == [[index, number, time] for time in range(steps + 1)]
            assert np.ravel(episode.rewards).tolist() == list(range(1, steps + 1))
            assert bool(episode.terminations[-1]) == (steps == index + 2)
            if with_infos:
                assert info_at(episode.infos, 0) == {"start": number}
                assert [info_at(episode.infos, row) for row in range(1, steps + 1)] == [
                    {"time": time} for time in range(1, steps + 1)
                ]
