"""An episode buffer -> the checked columns of an episode, and columns -> what a reader gets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np

from minari._base.json_text import shortened
from minari.dataset.episode_buffer import EpisodeBuffer
from minari.dataset.episode_metadata import checked_metadata
from minari.dataset.infos import RAGGED_VALUES, decode_infos, encode_infos
from minari.errors import DatasetCorruptError, EpisodeError, EpisodeTypeError
from minari.spaces import Column, Columns, EpisodeColumns, Path, SpaceCodec, codec_for, path_name


REWARDS: Path = ("rewards",)
TERMINATIONS: Path = ("terminations",)
TRUNCATIONS: Path = ("truncations",)


class EpisodeCodec:
    """Encodes and decodes the episodes of a dataset with these spaces."""

    def __init__(self, observation_space: gym.Space[Any], action_space: gym.Space[Any]) -> None:
        self.observations = codec_for(observation_space, ("observations",))
        self.actions = codec_for(action_space, ("actions",))
        self._columns_without_infos = len([*self.observations.paths(), *self.actions.paths()]) + 3

    def encode(self, buffer: EpisodeBuffer) -> EpisodeColumns:
        """Make the columns of an episode, and check everything about them.

        Raises:
            EpisodeError: the parts differ in length, or do not have the shape or kind that the
                spaces ask for, or the episode has no step.
            MetadataError: the options cannot be stored.
        """
        total_steps, columns = self._encode_steps(buffer, first_observations=1)
        if buffer.infos:
            columns.update(encode_infos(buffer.infos, total_steps + 1))
        return EpisodeColumns(total_steps, columns, checked_metadata(_metadata(buffer)))

    def encode_further_steps(self, buffer: EpisodeBuffer) -> EpisodeColumns:
        """Make the columns of steps that continue an episode, but for the infos.

        Raises:
            EpisodeError: as :meth:`encode` does, but there are as many observations as actions.
        """
        return EpisodeColumns(*self._encode_steps(buffer, first_observations=0))

    def _encode_steps(self, buffer: EpisodeBuffer, first_observations: int) -> tuple[int, dict[Path, Column]]:
        """The number of steps, and all columns but the infos."""
        rewards = _rewards(buffer.rewards)
        total_steps = len(rewards)
        if total_steps == 0:
            raise EpisodeError("The episode has no step, expected at least one; leave it out.")
        columns = {
            **_encode_space(self.observations, buffer.observations, total_steps + first_observations, total_steps),
            **_encode_space(self.actions, buffer.actions, total_steps, total_steps),
            REWARDS: rewards,
            TERMINATIONS: _flags("terminations", buffer.terminations, total_steps),
            TRUNCATIONS: _flags("truncations", buffer.truncations, total_steps),
        }
        return total_steps, columns

    def decode(self, episode_id: int, columns: Columns) -> dict[str, Any]:
        """Return the fields of an :class:`~minari.EpisodeData`.

        Raises:
            DatasetCorruptError: a column is missing, or does not have the rows that the others ask for.
        """
        try:
            self._check_rows(columns)
            return {
                "id": episode_id,
                "observations": self.observations.decode(columns),
                "actions": self.actions.decode(columns),
                "rewards": columns[REWARDS],
                "terminations": columns[TERMINATIONS],
                "truncations": columns[TRUNCATIONS],
                "infos": decode_infos(columns) if len(columns) > self._columns_without_infos else {},
            }
        except KeyError as error:
            missing = error.args[0]
            name = path_name(missing) if isinstance(missing, tuple) else missing
            raise DatasetCorruptError(
                f"Episode {episode_id} has no {name!r}, which the spaces of the dataset ask for; the "
                f"file is damaged, or belongs to another dataset."
            ) from error
        except (EpisodeError, TypeError, AttributeError) as error:  # text where numbers are expected, or the reverse
            raise DatasetCorruptError(
                f"Episode {episode_id} does not have the values that the spaces of the dataset ask for "
                f"({shortened(str(error))}); the file is damaged, or belongs to another dataset."
            ) from error

    def _check_rows(self, columns: Columns) -> None:
        """Make sure that an episode of T steps has T+1 observations and infos, and T of everything else."""
        steps = len(columns[REWARDS])
        for name, count, expected in (
            ("observations", self.observations.count(columns), steps + 1),
            ("actions", self.actions.count(columns), steps),
            ("terminations", len(columns[TERMINATIONS]), steps),
            ("truncations", len(columns[TRUNCATIONS]), steps),
        ):
            if count != expected and count is not None:
                raise EpisodeError(f"{count} {name} for {steps} rewards")
        if len(columns) > self._columns_without_infos:
            for path, column in columns.items():
                if path[0] == "infos" and path[-1] != RAGGED_VALUES and len(column) != steps + 1:
                    raise EpisodeError(f"{len(column)} rows of {path_name(path)} for {steps} rewards")


def _encode_space(codec: SpaceCodec, values: Any, rows: int, total_steps: int) -> dict[Path, Column]:
    if values is None:
        raise EpisodeError(f"The episode has no {codec.name}, expected {rows} for its {total_steps} rewards.")
    columns = codec.encode(values)
    count = codec.count(columns)
    if count is not None and count != rows:
        raise EpisodeError(
            f"The episode has {count} {codec.name}, expected {rows} for its {total_steps} rewards"
            f"{' (one more than steps: that of the reset)' if rows > total_steps else ''}."
        )
    return columns


def _rewards(values: Any) -> Column:
    try:
        rewards = np.asarray(values)
    except ValueError:
        raise EpisodeError("The rewards differ in shape from step to step, expected one number a step.") from None
    if rewards.ndim > 1 and rewards.size == len(rewards):
        rewards = rewards.reshape(len(rewards))  # environments that return arrays of one element
    if rewards.ndim != 1:
        raise EpisodeError(f"The rewards have the shape {rewards.shape}, expected one number a step, (T,).")
    if len(rewards) and rewards.dtype.kind not in "biuf":
        raise EpisodeTypeError(f"The rewards are {rewards.dtype} values, expected one number a step.")
    return rewards


def _flags(name: str, values: Any, rows: int) -> Column:
    flags = np.asarray(values)
    if flags.ndim > 1 and flags.size == len(flags):
        flags = flags.reshape(len(flags))
    if flags.ndim != 1 or len(flags) != rows:
        raise EpisodeError(f"The episode has {name} of shape {flags.shape}, expected ({rows},) for its {rows} rewards.")
    if flags.dtype.kind == "b":
        return flags
    if flags.dtype.kind not in "iuf" or not np.isin(flags, (0, 1)).all():
        raise EpisodeTypeError(f"The {name} are {flags.dtype} values, expected booleans.")
    return flags.astype(np.bool_)


def _metadata(buffer: EpisodeBuffer) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    if buffer.seed is not None:
        if isinstance(buffer.seed, (bool, np.bool_)) or not isinstance(buffer.seed, (int, np.integer)):
            raise EpisodeTypeError(f"The seed of the episode is {buffer.seed!r}, expected an int or None.")
        kept["seed"] = int(buffer.seed)
    if buffer.options:
        if not isinstance(buffer.options, Mapping):
            raise EpisodeTypeError(f"The options of the episode are {buffer.options!r}, expected a dict or None.")
        kept["options"] = dict(buffer.options)
    return kept
