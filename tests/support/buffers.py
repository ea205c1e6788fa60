"""Datasets for round trips through the replay buffers of other libraries, and their comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np

import minari
from minari import EpisodeData, MinariDataset
from support.sampling_model import assert_same, episode


SPACES = {
    "vector": gym.spaces.Box(-9, 9, (3,), np.float64),
    "float16": gym.spaces.Box(-9, 9, (2,), np.float16),
    "number": gym.spaces.Box(-9, 9, (), np.float32),
    "whole": gym.spaces.Box(-9, 9, (2, 2), np.int32),
    "discrete": gym.spaces.Discrete(5, start=-1),
    "binary": gym.spaces.MultiBinary(3),
    "choices": gym.spaces.MultiDiscrete([3, 4]),
    "frames": gym.spaces.Box(0, 255, (12, 10, 3), np.uint8),
    "nested": gym.spaces.Dict(
        {
            "camera": gym.spaces.Box(0, 255, (6, 5), np.uint8),
            "arm": gym.spaces.Dict({"joints": gym.spaces.Box(-1, 1, (2,), np.float32), "grip": gym.spaces.Discrete(2)}),
        }
    ),
}
ACTIONS = {"nested": gym.spaces.Dict({"a": gym.spaces.Box(-1, 1, (2,), np.float32), "b": gym.spaces.Discrete(3)})}

#: The lengths and ends of the episodes: of length 1 in each way, two cut ones in a row, and one that is both.
EPISODES = (
    (4, "terminated"),
    (1, "truncated"),
    (1, "cut"),
    (6, "cut"),
    (1, "terminated"),
    (5, "truncated"),
    (2, "both"),
    (3, "cut"),
)


def make(
    dataset_id: str,
    space: str = "vector",
    episodes: Sequence[tuple[int, str]] = EPISODES,
    *,
    rewards: np.dtype[Any] | type = np.float64,
    action_space: gym.Space[Any] | None = None,
    **choices: Any,
) -> MinariDataset:
    """Return a dataset of random values."""
    rng = np.random.default_rng(3)
    actions = action_space or ACTIONS.get(space, gym.spaces.Discrete(4))
    buffers = []
    for length, ends in episodes:
        buffer = episode(SPACES[space], actions, length, rng, ends="terminated" if ends == "both" else ends, **choices)
        if ends == "both":
            buffer = replace(buffer, truncations=buffer.terminations)
        buffers.append(replace(buffer, rewards=np.asarray(buffer.rewards).astype(rewards)))
    return minari.create_dataset_from_buffers(
        dataset_id, buffers, observation_space=SPACES[space], action_space=actions
    )


def spaces_of(dataset: MinariDataset) -> dict[str, Any]:
    """Return the arguments that give a new dataset the spaces of another one."""
    return {"observation_space": dataset.observation_space, "action_space": dataset.action_space}


def assert_same_episodes(
    found: Sequence[EpisodeData] | MinariDataset, expected: Sequence[EpisodeData] | MinariDataset, *leave_out: str
) -> None:
    """Compare the columns of episodes, their dtypes included, except the ones named."""
    assert [len(one) for one in found] == [len(one) for one in expected]
    for one, other in zip(found, expected, strict=True):
        for name in {"observations", "actions", "rewards", "terminations", "truncations"} - set(leave_out):
            assert_same(getattr(one, name), getattr(other, name), f"{name} of {other.id}")
        if "rewards" in leave_out:  # except their dtype
            np.testing.assert_array_equal(one.rewards, other.rewards)


class Track(gym.Env[Any, Any]):
    """An environment whose observations tell the episode and the step, of 3, 4, 5, 3, … steps, every other truncated.

    Args:
        number: of the environment, to tell it from others.
        nested: True for observations in a ``Dict``.
    """

    def __init__(self, number: int = 0, *, nested: bool = False) -> None:
        box = gym.spaces.Box(-1, 1000, (3,), np.float32)
        self.nested = nested
        self.observation_space = gym.spaces.Dict({"track": box, "half": box}) if nested else box
        self.action_space = gym.spaces.Discrete(3)
        self.number, self.episode, self.at = number, -1, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin the next episode."""
        super().reset(seed=seed)
        self.episode, self.at = self.episode + 1, 0
        return self.observation(), {}

    def observation(self) -> Any:
        """Return the state."""
        state = np.array([self.number, self.episode, self.at], np.float32)
        return {"track": state, "half": state / 2} if self.nested else state

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Go on; the reward tells the action."""
        self.at += 1
        ends = self.at == 3 + self.episode % 3
        truncated = ends and self.episode % 2 == 1
        return self.observation(), float(action), ends and not truncated, truncated, {}


def assert_right_tracks(dataset: MinariDataset, *, partial: int = 0) -> set[tuple[int, int]]:
    """Check that each episode is one of :class:`Track`, with all its steps in order and the right end.

    Args:
        dataset: of the episodes.
        partial: how many of them may lack their beginning.

    Returns:
        The environments and numbers of the episodes.
    """
    seen: list[tuple[int, int]] = []
    headless = 0
    for one in dataset:
        states = one.observations["track"] if isinstance(one.observations, dict) else one.observations
        if isinstance(one.observations, dict):
            np.testing.assert_array_equal(one.observations["half"], states / 2)
        number, episode_number, first = (int(value) for value in states[0])
        assert (states[:, 0] == number).all()
        assert (states[:, 1] == episode_number).all(), "steps of two episodes are in one"
        assert (np.diff(states[:, 2]) == 1).all()
        headless += first > 0
        ends = states[-1, 2] == 3 + episode_number % 3
        truncated = ends and episode_number % 2 == 1
        assert one.truncations.tolist() == [False] * (len(one) - 1) + [truncated]
        assert one.terminations.tolist() == [False] * (len(one) - 1) + [ends and not truncated]
        np.testing.assert_array_equal(one.rewards, one.actions)
        seen.append((number, episode_number))
    assert headless <= partial, f"{headless} episodes begin late"
    assert len(seen) == len(set(seen)), "one episode is in two"
    return set(seen)
