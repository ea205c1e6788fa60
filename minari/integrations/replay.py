"""Common parts of the adapters to replay buffers: episodes of a dataset, splitting into episodes, lost data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from minari._base.json_text import shortened
from minari._base.warnings import warn
from minari._model.arguments import no_dataset
from minari._model.env_spec import spaces_of, spec_of
from minari._model.episode import EpisodeData
from minari.dataset.minari_dataset import MinariDataset
from minari.errors import ArgumentError


__all__ = [
    "Losses",
    "check_dataset",
    "episode_slices",
    "episodes_of",
    "is_one_array",
    "joined",
    "known_spaces",
    "last_flags",
    "part_of",
    "rows_equal",
    "unsupported",
]

Flags = npt.NDArray[np.bool_]


class Losses:
    """The data that a library does not keep, for one warning at the end.

    Args:
        library: its name.
    """

    def __init__(self, library: str) -> None:
        self._library = library
        self._episodes: Counter[str] = Counter()

    def add(self, what: str) -> None:
        """Note that something of an episode is lost."""
        self._episodes[what] += 1

    def warn(self) -> None:
        """Name everything that is lost, if anything is."""
        if self._episodes:
            parts = (
                f"{what} ({number} {'episode' if number == 1 else 'episodes'})"
                for what, number in self._episodes.items()
            )
            warn(f"{self._library} does not keep {'; '.join(parts)}.")


def check_dataset(dataset: object) -> None:
    """Raise an error if something is not a dataset with at least one step.

    Raises:
        ArgumentTypeError: it is not a dataset.
        ArgumentError: it is empty.
    """
    if not isinstance(dataset, MinariDataset):
        raise no_dataset("dataset", dataset)
    if not len(dataset) or not dataset.total_steps:
        raise ArgumentError(f"{dataset.id} has no step in this view, expected at least one; choose other episodes.")


def episodes_of(dataset: MinariDataset, losses: Losses) -> Iterator[EpisodeData]:
    """Yield the episodes that have a step, with one reward each.

    Args:
        dataset: or a view.
        losses: of the library, to which the infos are added.

    Raises:
        ArgumentError: rewards are vectors.
    """
    for episode in dataset.iterate_episodes():
        if episode.rewards.ndim > 1:
            raise ArgumentError(
                f"The rewards of episode {episode.id} have the shape {episode.rewards.shape}, expected one number a "
                f"step; make a dataset with one of them, or with their sum."
            )
        if not len(episode):
            losses.add("episodes without a step")
            continue
        if episode.infos:
            losses.add("infos")
        yield episode


def last_flags(episode: EpisodeData, losses: Losses) -> tuple[bool, bool]:
    """Return whether an episode is terminated and truncated, for libraries with one flag an episode."""
    if episode.terminations[:-1].any() or episode.truncations[:-1].any():
        losses.add("terminations and truncations before the last step")
    return bool(episode.terminations[-1]), bool(episode.truncations[-1])


def is_one_array(space: gym.Space[Any]) -> bool:
    """Return whether the values of a space are arrays, or numbers, of one shape and dtype."""
    return isinstance(space, (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary))


def unsupported(what: str, library: str, space: gym.Space[Any], supported: str) -> ArgumentError:
    """Return the error for a space that a library does not support."""
    return ArgumentError(
        f"The {what} space is {shortened(space)}, expected {supported}, which is what {library} supports; convert the "
        f"dataset."
    )


def rows_equal(one: Any, other: Any) -> Flags:
    """Return for each row whether two nested values agree, with NaN equal to NaN."""
    if isinstance(one, dict):
        both: Flags = np.logical_and.reduce([rows_equal(one[key], other[key]) for key in one])
        return both
    with np.errstate(invalid="ignore"):
        same = (one == other) | ((one != one) & (other != other))
    flags: Flags = same.all(axis=tuple(range(1, same.ndim)))
    return flags


def part_of(values: Any, steps: slice) -> Any:
    """Return some steps of an array, or of each array in a dict."""
    return {key: leaf[steps] for key, leaf in values.items()} if isinstance(values, dict) else values[steps]


def joined(values: Any, final: Any) -> Any:
    """Return an array with the rows of another after its own, or such arrays in a dict."""
    if isinstance(values, dict):
        return {key: joined(leaf, final[key]) for key, leaf in values.items()}
    return np.concatenate([values, final])


def episode_slices(ends: Flags) -> list[slice]:
    """Return the steps of each episode.

    Args:
        ends: True at the last step of each; the steps after the last True are an episode, too.
    """
    places = (np.flatnonzero(ends) + 1).tolist()
    if not places or places[-1] < len(ends):
        places.append(len(ends))
    return [slice(start, end) for start, end in zip([0, *places], places, strict=False)]


def known_spaces(
    observation_space: gym.Space[Any] | None, action_space: gym.Space[Any] | None, env: Any
) -> Sequence[gym.Space[Any] | None]:
    """Return the spaces that were given, and those of the environment in place of the others.

    Raises:
        EnvironmentSpecError: the environment is unknown, or cannot be created.
    """
    found: Sequence[gym.Space[Any] | None] = (None, None)
    if env is not None and (observation_space is None or action_space is None):
        if isinstance(env, gym.Env):
            found = env.observation_space, env.action_space
        elif (spec := spec_of(env)) is not None:
            found = spaces_of(spec)
    return [
        other if space is None else space for space, other in zip((observation_space, action_space), found, strict=True)
    ]
