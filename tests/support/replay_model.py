"""Datasets for the adapters to replay buffers, with episodes that end in every way."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np

import minari
from minari import EpisodeData, MinariDataset
from minari._model.episode import same_values
from minari.errors import MissingMetadataWarning
from support.sampling_model import episode, stacked


OBSERVATIONS = {
    "float32": gym.spaces.Box(-9, 9, (3,), np.float32),
    "float64": gym.spaces.Box(-np.inf, np.inf, (3,), np.float64),
    "frames": gym.spaces.Box(0, 255, (3, 12, 10), np.uint8),
    "number": gym.spaces.Box(-9, 9, (), np.float32),
    "discrete": gym.spaces.Discrete(50),
    "bits": gym.spaces.MultiBinary(4),
    "dict": gym.spaces.Dict(
        {
            "pose": gym.spaces.Box(-1, 1, (2,), np.float32),
            "camera": gym.spaces.Box(0, 255, (3, 8, 9), np.uint8),
            "mode": gym.spaces.Discrete(30),
        }
    ),
    "tuple": gym.spaces.Tuple((gym.spaces.Box(-1, 1, (2,), np.float64), gym.spaces.Box(0, 255, (5,), np.uint8))),
    "text": gym.spaces.Text(5),
}
ACTIONS = {
    "unit": gym.spaces.Box(-1, 1, (2,), np.float32),
    "wide": gym.spaces.Box(np.array([-2, 0], np.float32), np.array([2, 10], np.float32)),
    "double": gym.spaces.Box(-1, 1, (2,), np.float64),
    "choice": gym.spaces.Discrete(4),
    "choices": gym.spaces.MultiDiscrete([3, 2]),
    "shifted": gym.spaces.Discrete(3, start=2),
}
ENDS = ("terminated", "truncated", "cut", "both")


def make(
    dataset_id: str,
    observations: str = "float32",
    actions: str = "unit",
    lengths: Sequence[int] = (4, 1, 7, 1, 2, 5, 1, 1),
    ends: Sequence[str] = ENDS[:2],
    **choices: Any,
) -> MinariDataset:
    """Return a dataset of random episodes, which end in each way in turn; see ``sampling_model.episode``."""
    rng = np.random.default_rng(3)
    buffers = []
    for number, length in enumerate(lengths):
        how = ends[number % len(ends)]
        flags = {"both": "terminated", "early": "truncated"}.get(how, how)
        buffer = episode(OBSERVATIONS[observations], ACTIONS[actions], length, rng, ends=flags, **choices)
        if observations == "tuple":
            buffer = replace(buffer, observations=stacked(buffer.observations))
        if how == "both":
            buffer = replace(buffer, truncations=buffer.terminations)
        elif how == "early":  # and continues after that
            buffer = replace(buffer, terminations=np.arange(length) == 1)
        buffers.append(buffer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MissingMetadataWarning)
        return minari.create_dataset_from_buffers(
            dataset_id, buffers, observation_space=OBSERVATIONS[observations], action_space=ACTIONS[actions]
        )


def assert_same_episodes(found: MinariDataset, expected: MinariDataset, *without: str) -> None:
    """Compare all episodes of two datasets, besides infos and some fields."""
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert_same_episode(one, other, *without)


def assert_same_episode(one: EpisodeData, other: EpisodeData, *without: str) -> None:
    for name in {"observations", "actions", "rewards", "terminations", "truncations"}.difference(without):
        a, b = getattr(one, name), getattr(other, name)
        if name == "rewards":
            np.testing.assert_array_equal(a, b)
        else:
            assert same_values(a, b), (one.id, name, a, b)


class CountingEnv(gym.Env[Any, Any]):
    """An environment whose observations say which reset and step they come from.

    The observation is (environment, reset, step). Every third episode is terminated, at step ``reset % 5 + 1`` or at
    ``shortest``; the others run into the time limit of the wrapper.
    """

    def __init__(self, number: int = 0, continuous: bool = False, is_dict: bool = False, shortest: int = 1) -> None:
        box = gym.spaces.Box(0, 10_000, (3,), np.float32)
        self.observation_space = gym.spaces.Dict({"counts": box}) if is_dict else box
        self.action_space = gym.spaces.Box(-2, 6, (1,), np.float32) if continuous else gym.spaces.Discrete(3)
        self._number, self._shortest, self._resets, self._steps = number, shortest, 0, 0

    def _observation(self) -> Any:
        counts = np.array([self._number, self._resets, self._steps], np.float32)
        return {"counts": counts} if isinstance(self.observation_space, gym.spaces.Dict) else counts

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._resets, self._steps = self._resets + 1, 0
        return self._observation(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._steps += 1
        # The reward holds the action, so that both can be compared.
        reward = float(np.asarray(action).ravel()[0])
        terminated = self._resets % 3 == 0 and self._steps == max(self._resets % 5 + 1, self._shortest)
        return self._observation(), reward, terminated, False, {"clock": self._steps}


def assert_counts_are_right(dataset: MinariDataset, limit: int, *, repeats_final: bool = False) -> None:
    """Check that each episode of :class:`CountingEnv` is one run, and that it ended as it did."""
    for one in dataset:
        counts = one.observations["counts"] if isinstance(one.observations, dict) else one.observations
        environment, resets, steps = counts.T
        assert len(set(environment)) == len(set(resets)) == 1, counts
        if repeats_final and (one.terminations | one.truncations)[-1]:
            assert steps[-1] == steps[-2]
            steps = steps[:-1]
        np.testing.assert_array_equal(np.diff(steps), 1)
        np.testing.assert_allclose(one.rewards, one.actions.reshape(len(one)), rtol=1e-5, atol=1e-5)
        if repeats_final:
            continue
        ends_here = resets[0] % 3 == 0 and steps[-1] == resets[0] % 5 + 1
        assert one.terminations[-1] == ends_here
        assert one.truncations[-1] == (steps[-1] == limit and not ends_here)
