"""Datasets for the adapters, whose episodes end in every way, their comparison, and an environment that counts.

They are for libraries with episodes, replay buffers or tables; ``sampling_model`` has those for batches.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import minari
from minari import EpisodeData, MinariDataset
from minari._model.episode import same_values
from minari.errors import MissingMetadataWarning
from support.sampling_model import episode, stacked


#: For all tests of an adapter.
MARKS = [pytest.mark.integrations, pytest.mark.filterwarnings("ignore::minari.errors.MissingMetadataWarning")]
#: For tests in which an adapter loses nothing, or names it in a warning that the test expects.
STRICT = pytest.mark.filterwarnings(
    "error",
    "ignore::minari.errors.MissingMetadataWarning",
    # Of the libraries themselves.
    "ignore::DeprecationWarning",
    "ignore:.*Gym has been unmaintained",
)

OBSERVATIONS = {
    "float16": gym.spaces.Box(-9, 9, (2,), np.float16),
    "float32": gym.spaces.Box(-9, 9, (3,), np.float32),
    "float64": gym.spaces.Box(-np.inf, np.inf, (3,), np.float64),
    "whole": gym.spaces.Box(-9, 9, (2, 2), np.int32),
    "frames": gym.spaces.Box(0, 255, (3, 12, 10), np.uint8),
    "number": gym.spaces.Box(-9, 9, (), np.float32),
    "discrete": gym.spaces.Discrete(50),
    "shifted": gym.spaces.Discrete(5, start=-1),
    "bits": gym.spaces.MultiBinary(4),
    "choices": gym.spaces.MultiDiscrete([3, 4]),
    "dict": gym.spaces.Dict(
        {
            "pose": gym.spaces.Box(-1, 1, (2,), np.float32),
            "camera": gym.spaces.Box(0, 255, (3, 8, 9), np.uint8),
            "mode": gym.spaces.Discrete(30),
        }
    ),
    "nested": gym.spaces.Dict(
        {
            "camera": gym.spaces.Box(0, 255, (6, 5), np.uint8),
            "arm": gym.spaces.Dict({"joints": gym.spaces.Box(-1, 1, (2,), np.float32), "grip": gym.spaces.Discrete(2)}),
        }
    ),
    "tuple": gym.spaces.Tuple((gym.spaces.Box(-1, 1, (2,), np.float64), gym.spaces.Box(0, 255, (5,), np.uint8))),
    "text": gym.spaces.Text(5),
}
#: Those that the libraries keep in which dicts can be in dicts.
NESTABLE = [name for name in OBSERVATIONS if name not in ("dict", "tuple", "text")]
ACTIONS = {
    "unit": gym.spaces.Box(-1, 1, (2,), np.float32),
    "wide": gym.spaces.Box(np.array([-2, 0], np.float32), np.array([2, 10], np.float32)),
    "double": gym.spaces.Box(-1, 1, (2,), np.float64),
    "choice": gym.spaces.Discrete(4),
    "choices": gym.spaces.MultiDiscrete([3, 2]),
    "shifted": gym.spaces.Discrete(3, start=2),
    "nested": gym.spaces.Dict({"a": gym.spaces.Box(-1, 1, (2,), np.float32), "b": gym.spaces.Discrete(3)}),
}

LENGTHS = (4, 1, 7, 1, 2, 5, 1, 1)
ENDS = ("terminated", "truncated", "cut", "both")
#: The ends that every library keeps.
KEPT = ENDS[:2]
#: One end for each of LENGTHS: episodes of one step that end in each way, two cut ones in a row, and the last one cut.
ALL_ENDS = ("terminated", "truncated", "cut", "cut", "both", "truncated", "terminated", "cut")

#: Options of :func:`make` for what no library with arrays keeps, and the error.
UNFIT: list[tuple[dict[str, Any], str]] = [
    ({"observations": "text"}, "The observation space is .*Text.* expected a Box"),
    ({"reward_shape": (2,)}, r"shape \(4, 2\), expected one number a step"),
]


def make(
    dataset_id: str,
    observations: str = "float32",
    actions: str | None = None,
    lengths: Sequence[int] = LENGTHS,
    ends: Sequence[str] = ALL_ENDS,
    rewards: np.dtype[Any] | type = np.float64,
    **choices: Any,
) -> MinariDataset:
    """Return a dataset of random episodes.

    Args:
        dataset_id: its id.
        observations: a key of OBSERVATIONS.
        actions: a key of ACTIONS; by default nested for nested observations, else one of four.
        lengths: the number of steps of each episode.
        ends: how the episodes end, in turn: one of ENDS, or "early" for one that is terminated at its second step, goes
            on, and is truncated.
        rewards: the dtype of the rewards.
        **choices: see ``sampling_model.episode``.
    """
    rng = np.random.default_rng(3)
    actions = actions or ("nested" if observations == "nested" else "choice")
    buffers = []
    for number, length in enumerate(lengths):
        how = ends[number % len(ends)]
        flags = {"both": "terminated", "early": "truncated"}.get(how, how)
        buffer = episode(OBSERVATIONS[observations], ACTIONS[actions], length, rng, ends=flags, **choices)
        buffer = replace(buffer, rewards=np.asarray(buffer.rewards).astype(rewards))
        if observations == "tuple":
            buffer = replace(buffer, observations=stacked(buffer.observations))
        if how == "both":
            buffer = replace(buffer, truncations=buffer.terminations)
        elif how == "early":
            buffer = replace(buffer, terminations=np.arange(length) == 1)
        buffers.append(buffer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MissingMetadataWarning)
        return minari.create_dataset_from_buffers(
            dataset_id, buffers, observation_space=OBSERVATIONS[observations], action_space=ACTIONS[actions]
        )


def spaces_of(dataset: Any) -> dict[str, Any]:
    """Return the arguments that give a new dataset the spaces of another one, or of an environment."""
    return {"observation_space": dataset.observation_space, "action_space": dataset.action_space}


def assert_same_episodes(found: Iterable[EpisodeData], expected: Iterable[EpisodeData], *without: str) -> None:
    """Compare the columns of all episodes, besides infos and those named; see :func:`assert_same_episode`."""
    for one, other in zip(found, expected, strict=True):
        assert_same_episode(one, other, *without)


def assert_same_episode(one: EpisodeData, other: EpisodeData, *without: str) -> None:
    """Compare the columns of two episodes, their dtypes included, besides infos and those named.

    Args:
        one, other: the episodes.
        *without: names of columns, or "reward dtype" for rewards whose values are the same in another dtype.
    """
    for name in ("observations", "actions", "rewards", "terminations", "truncations"):
        a, b = getattr(one, name), getattr(other, name)
        if name == "rewards" and "reward dtype" in without:
            np.testing.assert_array_equal(a, b)
        elif name not in without:
            assert same_values(a, b), (one.id, name, a, b)


def assert_refused(*calls: tuple[Callable[[], Any], type[Exception], str]) -> None:
    """Check that each call raises an error with such a message."""
    for call, error, message in calls:
        with pytest.raises(error, match=message):
            call()


class CountingEnv(gym.Env[Any, Any]):
    """An environment whose observations say which reset and step they come from.

    The observation is (environment, reset, step), the reward is the action. Every third episode is terminated, after
    ``reset % 5 + 1`` steps or after ``shortest``; the others are truncated after LIMIT.

    Args:
        number: of the environment, to tell it from others.
        continuous: True for actions from a ``Box`` that is not of unit size.
        nested: True for observations in a ``Dict``, with a second entry of half the values.
        shortest: the fewest steps of an episode.
    """

    LIMIT = 6

    def __init__(self, number: int = 0, continuous: bool = False, nested: bool = False, shortest: int = 1) -> None:
        box = gym.spaces.Box(0, 10_000, (3,), np.float32)
        self.observation_space = gym.spaces.Dict({"counts": box, "halves": box}) if nested else box
        self.action_space = gym.spaces.Box(-2, 6, (1,), np.float32) if continuous else gym.spaces.Discrete(3)
        self._number, self._nested, self._shortest = number, nested, shortest
        self._resets, self._steps = 0, 0

    def _observation(self) -> Any:
        counts = np.array([self._number, self._resets, self._steps], np.float32)
        return {"counts": counts, "halves": counts / 2} if self._nested else counts

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin the next episode."""
        super().reset(seed=seed)
        self._resets, self._steps = self._resets + 1, 0
        return self._observation(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Go on."""
        self._steps += 1
        terminated = self._resets % 3 == 0 and self._steps == max(self._resets % 5 + 1, self._shortest)
        truncated = self._steps == self.LIMIT and not terminated
        return self._observation(), float(np.ravel(action)[0]), terminated, truncated, {"clock": self._steps}


def counting(count: int, **options: Any) -> list[Callable[[], CountingEnv]]:
    """Return what makes so many environments, with numbers from 0."""
    return [partial(CountingEnv, number, **options) for number in range(count)]


def assert_counts_are_right(
    dataset: MinariDataset, *, headless: int = 0, repeats_final: bool = False
) -> set[tuple[int, int]]:
    """Check that each episode is one of :class:`CountingEnv`, with all its steps in order, and ended as it did.

    Args:
        dataset: of the episodes.
        headless: how many of them may lack their beginning.
        repeats_final: True where the final observation repeats the one before, and flags are not told apart.

    Returns:
        The environments and resets of the episodes.
    """
    seen: list[tuple[int, int]] = []
    beginnings = 0
    for one in dataset:
        counts = one.observations
        if isinstance(counts, dict):
            np.testing.assert_array_equal(counts["halves"], counts["counts"] / 2)
            counts = counts["counts"]
        environment, resets, steps = counts.astype(int).T
        assert len(set(environment)) == len(set(resets)) == 1, counts
        if repeats_final and (one.terminations | one.truncations)[-1]:
            assert steps[-1] == steps[-2]
            steps = steps[:-1]
        np.testing.assert_array_equal(np.diff(steps), 1)
        np.testing.assert_allclose(one.rewards, one.actions.reshape(len(one)), rtol=1e-5, atol=1e-5)
        beginnings += steps[0] == 0
        seen.append((environment[0], resets[0]))
        if not repeats_final:
            terminated = resets[0] % 3 == 0 and steps[-1] == resets[0] % 5 + 1
            truncated = steps[-1] == CountingEnv.LIMIT and not terminated
            assert one.terminations.tolist() == [False] * (len(one) - 1) + [terminated]
            assert one.truncations.tolist() == [False] * (len(one) - 1) + [truncated]
    assert beginnings >= len(dataset) - headless, "episodes begin late"
    assert len(seen) == len(set(seen)), "one episode is in two"
    return set(seen)
