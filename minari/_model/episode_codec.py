"""Conversion of an episode buffer to the checked columns of an episode, and of columns to the fields for readers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

import gymnasium as gym
import numpy as np

from minari._base.json_text import shortened
from minari._base.plain_values import array_of, brief, type_name
from minari._model.episode import same_values
from minari._model.episode_buffer import AnyEpisodeBuffer, BufferBatch, EpisodeBuffer, MultiAgentEpisodeBuffer
from minari._model.episode_metadata import checked_metadata
from minari._model.infos import columns_of_info, decode_infos, encode_infos, rows_so_far
from minari._model.infos.keys import RAGGED_VALUES, mask_name, second_mask_name
from minari._model.infos.values import ABSENT
from minari.errors import DatasetCorruptError, EpisodeError, EpisodeIndexError, EpisodeTypeError
from minari.spaces import (
    Column,
    ColumnPath,
    Columns,
    EpisodeColumns,
    SpaceCodec,
    codec_for,
    is_of_agent,
    kind_in_batch,
    native,
    path_name,
    without_ones,
)


OBSERVATIONS: Final = "observations"  # the first part of the paths of their columns
ACTIONS: Final = "actions"
REWARDS: ColumnPath = ("rewards",)
TERMINATIONS: ColumnPath = ("terminations",)
TRUNCATIONS: ColumnPath = ("truncations",)
#: The results of the steps of an episode, which usually decide its selection.
OUTCOMES = frozenset({REWARDS, TERMINATIONS, TRUNCATIONS})

_OUTCOME_BYTES = 80  # of a reward, an action and two flags of a step, as objects in lists
_FLOAT_TYPES = frozenset({float, np.float64})
_MOST_INT64 = 2**63 - 1
_FLOAT64 = np.dtype(np.float64)
_NUMBERS = "biufc"  # kinds of dtypes
_STORED = _NUMBERS + "OSU"  # those that the columns of any space may have
_NUMBER_TYPES = frozenset({int, np.float64})  # of most metadata
#: Exceptions raised when inconsistent values are decoded.
_ODD_VALUES = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError, MemoryError)


class EpisodeCodec:
    """Encoder and decoder of the episodes of a dataset with these spaces.

    Args:
        observation_space: space of the observations.
        action_space: space of the actions.
        least_steps: the number of steps that an episode must have.

    Attributes:
        observations: codec of the observations.
        actions: codec of the actions.
        outcomes: paths of the columns that :meth:`decode_outcomes` needs.
        step_bytes: approximate memory of a step that is recorded, in bytes, without texts and infos.
    """

    def __init__(
        self, observation_space: gym.Space[Any], action_space: gym.Space[Any], *, least_steps: int = 1
    ) -> None:
        self.observations = codec_for(observation_space, (OBSERVATIONS,))
        self.actions = codec_for(action_space, (ACTIONS,))
        self.outcomes: frozenset[ColumnPath] = OUTCOMES
        self._least_steps = least_steps
        self.step_bytes = _OUTCOME_BYTES
        self._columns_without_infos = 3  # rewards, terminations and truncations
        #: The columns of arrays: path, further rows, shape of a row, and this without sides of length 1.
        self._leaves: list[tuple[ColumnPath, int, tuple[int, ...], tuple[int, ...]]] = []
        self._other_paths: list[ColumnPath] = []
        for codec, further_rows in ((self.observations, 1), (self.actions, 0)):
            others = dict.fromkeys(codec.paths())
            self._columns_without_infos += len(others)
            for leaf in codec.leaves():
                if leaf.dtype.kind in _NUMBERS:
                    self.step_bytes += leaf.dtype.itemsize * math.prod(leaf.shape)
                    self._leaves.append((leaf.path, further_rows, leaf.shape, without_ones(leaf.shape)))
                    others.pop(leaf.path, None)
            self._other_paths += others

    @property
    def spaces(self) -> tuple[gym.Space[Any], gym.Space[Any]]:
        """Return the observation space and the action space."""
        return self.observations.space, self.actions.space

    def encode(self, buffer: AnyEpisodeBuffer) -> EpisodeColumns:
        """Return the checked columns of an episode.

        Raises:
            EpisodeError: the parts differ in length, do not match the shape or type of the spaces, or the
                episode has no step.
            MetadataError: the options cannot be stored.
        """
        buffer = _of_one_agent(buffer)
        total_steps, columns = self._encode_steps(buffer, first_observations=1)
        if buffer.infos:
            columns.update(encode_infos(buffer.infos, total_steps + 1))
        return EpisodeColumns(total_steps, columns, reset_metadata(buffer))

    def kind_in_batch(self, buffer: EpisodeBuffer) -> tuple[Any, ...] | None:
        """Return what episodes have in common of which :meth:`encode_batch` returns what :meth:`encode` does.

        None if the episode has to be encoded alone, as what may be unusual in it is found only then.
        """
        seed = buffer.seed
        is_usual = (
            not (self._other_paths or buffer.infos or buffer.options or buffer.metadata)
            and (seed is None or (type(seed) is int and 0 <= seed <= _MOST_INT64))
            and type(buffer.terminations) is type(buffer.truncations) is np.ndarray
            and type(buffer.rewards) is list
            and _FLOAT_TYPES.issuperset(map(type, buffer.rewards))
        )
        if not is_usual:
            return None
        kinds = kind_in_batch(self.observations, buffer.observations), kind_in_batch(self.actions, buffer.actions)
        return None if kinds[0] is None or kinds[1] is None else (*kinds, seed is None)

    def encode_batch(self, batch: BufferBatch) -> dict[ColumnPath, Column] | None:
        """Return the checked columns of several episodes, without their metadata.

        None if the spaces have parts that are not arrays, or if a value is unusual, so that the episodes have to be
        encoded one by one.
        """
        steps = int(batch.total_steps.sum())
        states = steps + len(batch.total_steps)
        if self._other_paths or not all(isinstance(v, np.ndarray) for v in (batch.rewards, batch.terminations)):
            return None
        try:
            return {
                **_encode_space(self.observations, batch.observations, states, steps),
                **_encode_space(self.actions, batch.actions, steps, steps),
                REWARDS: _rewards(batch.rewards),
                TERMINATIONS: _flags("terminations", batch.terminations, steps),
                TRUNCATIONS: _flags("truncations", batch.truncations, steps),
            }
        except EpisodeError:  # of one of them
            return None

    def encode_further_steps(self, buffer: AnyEpisodeBuffer) -> EpisodeColumns:
        """Return the columns of steps that extend an episode, without the infos.

        Raises:
            EpisodeError: as for :meth:`encode`, but with as many observations as actions.
        """
        return EpisodeColumns(*self._encode_steps(_of_one_agent(buffer), first_observations=0))

    def reward_shape(self, columns: Columns) -> tuple[int, ...] | None:
        """Return the shape of the reward of a step; None if the episode does not tell."""
        return columns[REWARDS].shape[1:]

    def required_paths(self, columns: Columns) -> set[ColumnPath]:
        """Return the paths of the columns that an episode with these columns must have."""
        return {*self.observations.paths(), *self.actions.paths(), *self.outcomes}

    def steps_of(self, columns: Columns, total_steps: int) -> Mapping[str, int]:
        """Return the numbers of steps that columns show, for comparison with the metadata, by its nested keys."""
        return {"total_steps": len(columns[REWARDS])}

    def describe(self, episode: EpisodeColumns, metadata: Mapping[str, Any]) -> None:
        """Add metadata to an episode.

        Raises:
            MetadataError: they cannot be stored.
        """
        episode.metadata.update(checked_metadata(metadata))

    def _encode_steps(self, buffer: EpisodeBuffer, first_observations: int) -> tuple[int, dict[ColumnPath, Column]]:
        """Return the number of steps and all columns except the infos."""
        rewards = _rewards(buffer.rewards)
        total_steps = len(rewards)
        if total_steps < self._least_steps:
            raise EpisodeError("The episode has no step, expected at least one; leave it out.")
        columns = {
            **_encode_space(self.observations, buffer.observations, total_steps + first_observations, total_steps),
            **_encode_space(self.actions, buffer.actions, total_steps, total_steps),
            REWARDS: rewards,
            TERMINATIONS: _flags("terminations", buffer.terminations, total_steps),
            TRUNCATIONS: _flags("truncations", buffer.truncations, total_steps),
        }
        return total_steps, columns

    def decode(self, episode_id: int, columns: Columns, total_steps: int | None = None) -> dict[str, Any]:
        """Return the fields of an :class:`~minari.EpisodeData`.

        Args:
            episode_id: the number of the episode.
            columns: its stored columns.
            total_steps: the number of its steps, if known, which the columns of many agents do not tell.

        Raises:
            DatasetCorruptError: a column is missing, or its rows, shape or type do not match the spaces.
        """
        try:
            self._check(episode_id, columns)
        except DatasetCorruptError:
            raise
        except _ODD_VALUES as error:
            raise _damage(episode_id, error) from error
        try:
            return self.fields(episode_id, columns)
        except DatasetCorruptError as error:
            raise DatasetCorruptError(f"Episode {episode_id} cannot be decoded: {error}") from error
        except _ODD_VALUES as error:
            raise _damage(episode_id, error) from error

    def fields(self, episode_id: int, columns: Columns, total_steps: int | None = None) -> dict[str, Any]:
        """Return the fields of an :class:`~minari.EpisodeData` of columns that :meth:`encode` has just made."""
        return {
            "id": episode_id,
            "observations": self.observations.decode(columns),
            "actions": self.actions.decode(columns),
            "rewards": columns[REWARDS],
            "terminations": columns[TERMINATIONS],
            "truncations": columns[TRUNCATIONS],
            "infos": decode_infos(columns) if len(columns) > self._columns_without_infos else {},
        }

    def decode_outcomes(self, episode_id: int, columns: Columns) -> dict[str, Any]:
        """Return the fields of an :class:`~minari.EpisodeData` that need only the columns of :attr:`outcomes`.

        Raises:
            DatasetCorruptError: a column is missing or invalid.
        """
        try:
            self._check_outcomes(episode_id, columns)
        except KeyError as error:
            raise _damage(episode_id, error) from error
        return {
            "id": episode_id,
            "rewards": columns[REWARDS],
            "terminations": columns[TERMINATIONS],
            "truncations": columns[TRUNCATIONS],
        }

    def check(self, episode_id: int, columns: Columns, total_steps: int, encoded: Iterable[ColumnPath] = ()) -> None:
        """Compare the columns of an episode with the spaces, without decoding them.

        Args:
            episode_id: the number of the episode.
            columns: the stored columns.
            total_steps: the number of its steps.
            encoded: the paths of frames that are still encoded.

        Raises:
            DatasetCorruptError: as for :meth:`decode`.
        """
        try:
            self._check(episode_id, columns, frozenset(encoded))
            if len(columns[REWARDS]) != total_steps:
                raise _odd_column(episode_id, REWARDS, columns[REWARDS], f"{total_steps} rows")
        except DatasetCorruptError:
            raise
        except _ODD_VALUES as error:
            raise _damage(episode_id, error) from error

    def _check(self, episode_id: int, columns: Columns, encoded: frozenset[ColumnPath] = frozenset()) -> None:
        """Compare the columns of an episode with the spaces.

        Any type of number is accepted, and any dimensions of length one, since other releases store what the
        environment gave; anything that no release could have written is rejected.
        """
        rows = self._check_outcomes(episode_id, columns)
        for path, more, shape, plain in self._leaves:
            column = columns[path]
            if column.shape == (rows + more, *shape) and column.dtype.kind in _NUMBERS:
                continue
            if (
                column.dtype.kind not in _NUMBERS
                or column.shape[:1] != (rows + more,)
                or (column.shape[1:] != shape and without_ones(column.shape[1:]) != plain)
            ) and path not in encoded:
                raise _odd_column(episode_id, path, column, f"{rows + more} rows of numbers of shape {shape}")
        if self._other_paths or encoded:
            self._check_others(episode_id, columns, rows)
        if len(columns) > self._columns_without_infos:
            for path, column in columns.items():
                if path[0] == "infos" and path[-1] != RAGGED_VALUES and len(column) != rows + 1:
                    raise _odd_column(episode_id, path, column, f"{rows + 1} rows")

    def _check_outcomes(self, episode_id: int, columns: Columns) -> int:
        """Compare the rewards and the flags of an episode; return the number of steps."""
        rewards = columns[REWARDS]
        if rewards.dtype.kind not in _NUMBERS or not rewards.ndim:
            raise _odd_column(episode_id, REWARDS, rewards, "numbers, one row a step")
        rows = len(rewards)
        for path in (TERMINATIONS, TRUNCATIONS):
            flags = columns[path]
            if flags.shape == (rows,) and flags.dtype.kind in _NUMBERS:
                continue  # the most frequent case
            if flags.shape[:1] != (rows,) or flags.size != rows or flags.dtype.kind not in _NUMBERS:
                raise _odd_column(episode_id, path, flags, f"{rows} flags")
        return rows

    def _check_others(self, episode_id: int, columns: Columns, rows: int) -> None:
        """Compare the columns of spaces other than arrays: the kind of their values, and the number of steps."""
        for path in self._other_paths:
            if columns[path].dtype.kind not in _STORED:
                raise _odd_column(episode_id, path, columns[path], "numbers or texts")
        for codec, expected in ((self.observations, rows + 1), (self.actions, rows)):
            count = codec.count(columns)
            if count is not None and count != expected:
                raise DatasetCorruptError(
                    f"Episode {episode_id} has {count} {codec.name}, expected {expected} for its {rows} rewards; "
                    f"the file is damaged, or belongs to another dataset."
                )


def without_info(episode: EpisodeColumns, name: str) -> EpisodeColumns:
    """Return the episode without one info, of all agents if there are many.

    Args:
        episode: an episode returned by :meth:`EpisodeCodec.encode`.
        name: the keys of the info, joined by ``/``.
    """
    dropped = columns_of_info(episode.columns, name)
    for agent in {path[:2] for path in episode.columns if is_of_agent(path)}:
        trajectory = {path[2:]: column for path, column in episode.columns.items() if path[:2] == agent}
        dropped |= {(*agent, *path) for path in columns_of_info(trajectory, name)}
    columns = {path: column for path, column in episode.columns.items() if path not in dropped}
    return EpisodeColumns(episode.total_steps, columns, episode.metadata)


def size_of(episode: EpisodeColumns) -> int:
    """Return the approximate memory of the values of an episode in bytes, including texts."""
    size = 0
    for column in episode.columns.values():
        size += column.nbytes
        if column.dtype.hasobject:
            size += sum(map(size_of_value, column))
    for value in episode.metadata.values():
        size += 32 if type(value) in _NUMBER_TYPES else size_of_value(value)
    return size


def size_of_value(value: Any) -> int:
    """Return the approximate memory of a nested value in bytes."""
    if isinstance(value, (str, bytes)):
        return 50 + len(value)
    if isinstance(value, (np.ndarray, np.generic)):
        return int(value.nbytes)
    if isinstance(value, Mapping):
        return sum(map(size_of_value, value.values()))
    return sum(map(size_of_value, value)) if isinstance(value, (list, tuple)) else 32


def _damage(episode_id: int, error: Exception) -> DatasetCorruptError:
    """Return the error for inconsistent stored values."""
    if isinstance(error, KeyError):
        missing = error.args[0] if error.args else None
        name = path_name(missing) if isinstance(missing, tuple) else missing
        problem = f"has no {shortened(name)}, which the spaces of the dataset ask for"
    else:
        problem = f"does not hold what the spaces of the dataset ask for ({shortened(str(error))})"
    return DatasetCorruptError(f"Episode {episode_id} {problem}; the file is damaged, or belongs to another dataset.")


def _odd_column(episode_id: int, path: ColumnPath, column: Column, expected: str) -> DatasetCorruptError:
    return DatasetCorruptError(
        f"The {path_name(path)} of episode {episode_id} are {column.dtype} values of shape {column.shape}, expected "
        f"{expected} as in the spaces of the dataset; the file is damaged, or belongs to another dataset."
    )


def _encode_space(codec: SpaceCodec, values: Any, rows: int, total_steps: int) -> dict[ColumnPath, Column]:
    if values is None:
        raise EpisodeError(f"The episode has no {codec.name}, expected {rows} for its {total_steps} rewards.")
    try:
        columns = codec.encode(values)
    except EpisodeError:
        raise
    except Exception as error:  # custom codecs may raise anything
        raise EpisodeTypeError(
            f"The {codec.name} cannot be stored as values of {codec.space} ({type(error).__name__}: {error}); convert "
            f"or drop them in a StepDataCallback."
        ) from error
    count = codec.count(columns)
    if count is not None and count != rows:
        raise EpisodeError(
            f"The episode has {count} {codec.name}, expected {rows} for its {total_steps} rewards"
            f"{' (one more than steps: that of the reset)' if rows > total_steps else ''}."
        )
    return columns


def _rewards(values: Any) -> Column:
    """Return the rewards as an array: one number per step, or several with the same shape."""
    try:
        rewards = np.asarray(values)
    except Exception:  # rows of different shapes, or values of other libraries, which may raise anything
        rewards = _row_by_row(values)
    if rewards.dtype is _FLOAT64 and rewards.ndim == 1:
        return rewards
    if rewards.dtype == object:
        rewards = _row_by_row(values)
    if rewards.ndim > 1 and rewards.size == len(rewards):
        rewards = rewards.reshape(len(rewards))  # of environments that return arrays of one element
    if rewards.ndim == 0 or 0 in rewards.shape[1:]:
        raise EpisodeError(
            f"The rewards have the shape {rewards.shape}, expected one number a step, (T,), or as many at each "
            f"step, (T, k)."
        )
    if len(rewards) and rewards.dtype.kind not in "biuf":
        raise EpisodeTypeError(f"The rewards are {rewards.dtype} values, expected one number a step, or several.")
    return native(rewards)


def _row_by_row(values: Any) -> Column:
    """Return an array of rewards that NumPy cannot create directly; name the first invalid one."""
    rows: list[Column] = []
    for step, value in enumerate(values):
        try:
            row = array_of(value)
            row = np.asarray(value) if row is None else row
        except Exception:  # other libraries may raise anything
            row = np.empty((), object)
        if row.dtype.kind not in "biuf":
            raise EpisodeTypeError(
                f"The rewards are {row.dtype} values, expected one number a step, or several, and at step {step} there "
                f"is {brief(value)} ({type_name(value)}); convert it to numbers."
            )
        rows.append(row.reshape(()) if row.size == 1 and not isinstance(value, (list, tuple)) else row)
        if rows[0].shape != rows[-1].shape:
            raise EpisodeError(
                f"The rewards differ in shape from step to step, {rows[-1].shape} at step {step} and {rows[0].shape} "
                f"before; give as many numbers at each step."
            )
    return np.array(rows)


def _flags(name: str, values: Any, rows: int) -> Column:
    flags = np.asarray(values)
    if flags.shape == (rows,) and flags.dtype == np.bool_:
        return flags
    if flags.ndim > 1 and flags.size == len(flags):
        flags = flags.reshape(len(flags))
    if flags.ndim != 1 or len(flags) != rows:
        raise EpisodeError(f"The episode has {name} of shape {flags.shape}, expected ({rows},) for its {rows} rewards.")
    if flags.dtype.kind == "b":
        return flags
    if flags.dtype.kind not in "iuf" or not np.isin(flags, (0, 1)).all():
        raise EpisodeTypeError(f"The {name} are {flags.dtype} values, expected booleans.")
    return flags.astype(np.bool_)


def _of_one_agent(buffer: AnyEpisodeBuffer) -> EpisodeBuffer:
    if isinstance(buffer, MultiAgentEpisodeBuffer):
        raise EpisodeTypeError(
            "The episode is a MultiAgentEpisodeBuffer, expected an EpisodeBuffer, since the dataset has one agent; "
            "give spaces for each agent, or put its trajectories into datasets of their own."
        )
    return buffer


def reset_metadata(buffer: AnyEpisodeBuffer) -> dict[str, Any]:
    """Return the seed, the options and, if it is of one agent, the further metadata of an episode.

    Raises:
        EpisodeTypeError: they have another type.
        MetadataError: the options cannot be stored.
    """
    kept = _own_metadata(buffer) if isinstance(buffer, EpisodeBuffer) and buffer.metadata else {}
    if buffer.seed is not None:
        if isinstance(buffer.seed, (bool, np.bool_)) or not isinstance(buffer.seed, (int, np.integer)):
            raise EpisodeTypeError(f"The seed of the episode is {brief(buffer.seed)}, expected an int or None.")
        kept["seed"] = int(buffer.seed)
        if kept["seed"].bit_length() > 64:
            kept = checked_metadata(kept)
    if buffer.options:
        if not isinstance(buffer.options, Mapping):
            raise EpisodeTypeError(f"The options of the episode are {brief(buffer.options)}, expected a dict or None.")
        kept.update(checked_metadata({"options": dict(buffer.options)}))
    return kept


def _own_metadata(buffer: EpisodeBuffer) -> dict[str, Any]:
    """Return the checked metadata of a buffer, without the seed and the options, which are fields of their own."""
    if not isinstance(buffer.metadata, Mapping):
        raise EpisodeTypeError(f"The metadata of the episode is {brief(buffer.metadata)}, expected a dict or None.")
    for name in ("seed", "options"):
        if name in buffer.metadata and getattr(buffer, name) is not None:
            raise EpisodeError(
                f"The episode has {name} {brief(getattr(buffer, name))}, and the {name} {brief(buffer.metadata[name])} "
                f"in its metadata; give one of them."
            )
    return checked_metadata(buffer.metadata)


def check_window(index: int, total_steps: int, start: int, stop: int) -> None:
    """Raise unless an episode has these steps.

    Raises:
        EpisodeIndexError: it does not have them, or there is no step between start and stop.
    """
    if not 0 <= start < stop <= total_steps:
        raise EpisodeIndexError(
            f"Episode {index} has {total_steps} steps and no window from {start} to {stop}, expected "
            f"0 <= start < stop <= {total_steps}."
        )


def window_of(episode: dict[str, Any], start: int, stop: int) -> dict[str, Any]:
    """Return the fields restricted to the steps from start to stop, with one more observation and info.

    >>> window_of({"id": 7, "observations": [0, 1, 2, 3], "rewards": [0.5, 1.5, 2.5]}, 1, 3)
    {'id': 7, 'observations': [1, 2, 3], 'rewards': [1.5, 2.5]}
    """
    return {
        name: values if name == "id" else _window_rows(values, start, stop + (name in _WITH_FIRST_ROW))
        for name, values in episode.items()
    }


_WITH_FIRST_ROW = ("observations", "infos")  # T+1 rows; the other fields have T


def _window_rows(values: Any, start: int, stop: int) -> Any:
    if isinstance(values, dict):
        return {key: _window_rows(part, start, stop) for key, part in values.items()}
    if isinstance(values, tuple):
        return tuple(_window_rows(part, start, stop) for part in values)
    return values[start:stop]


def append_steps(stored: EpisodeColumns, more: EpisodeColumns, more_infos: Mapping[str, Any] | None) -> EpisodeColumns:
    """Return the whole episode: the stored steps followed by further steps.

    Args:
        stored: the stored episode; its metadata is kept.
        more: the columns of the further steps without infos; as many rows of observations as of actions.
        more_infos: the infos of the further steps.

    Raises:
        EpisodeError: the two cannot be joined.
    """
    total_steps = stored.total_steps + more.total_steps
    columns = {path: _joined(stored.columns, column, path) for path, column in more.columns.items()}
    old_infos = decode_infos(stored.columns)
    if old_infos or more_infos:
        infos = _joined_infos(old_infos, more_infos or {}, stored.total_steps + 1, more.total_steps)
        columns.update(encode_infos(infos, total_steps + 1))
    return EpisodeColumns(total_steps, columns, dict(stored.metadata))


def _joined(stored: Columns, more: Column, path: ColumnPath) -> Column:
    first = stored.get(path)
    if first is None or first.shape[1:] != more.shape[1:]:
        raise EpisodeError(
            f"The stored {path_name(path)!r} and those of the steps that continue the episode have different "
            f"shapes, {None if first is None else first.shape} and {more.shape}; the stored data are damaged."
        )
    if not len(first) or not len(more):
        return first if len(first) else more.copy()  # an empty column has no meaningful dtype
    return np.concatenate([first, more])


def _joined_infos(first: Mapping[str, Any], second: Mapping[str, Any], rows: int, more: int) -> dict[str, Any]:
    first, second = _without_masks(first), _without_masks(second)
    joined: dict[str, Any] = {}
    for key in [*first, *(key for key in second if key not in first)]:
        a, b = first.get(key, ABSENT), second.get(key, ABSENT)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            joined[key] = _joined_infos(a, b, rows, more)
        elif isinstance(a, tuple) and isinstance(b, tuple) and len(a) == len(b):
            joined[key] = tuple([*x, *y] for x, y in zip(a, b, strict=True))
        else:
            joined[key] = [*_rows(a, rows), *_rows(b, more)]
    return joined


def _rows(values: Any, count: int) -> list[Any]:
    if values is ABSENT:
        return [ABSENT] * count
    if isinstance(values, tuple):
        return [tuple(step) for step in zip(*values, strict=True)]
    return rows_so_far(values, count)


def _without_masks(infos: Mapping[str, Any]) -> dict[str, Any]:
    """Return infos whose missing rows are marked in place rather than by a separate mask.

    A mask is distinguished from an info of the same name by the rows that it hides: they hold the filling.
    """
    plain = dict(infos)
    for key, values in infos.items():
        masks = {name: infos.get(name) for name in (second_mask_name(key), mask_name(key))}
        names = [
            name
            for name, mask in masks.items()
            if isinstance(mask, np.ndarray) and mask.dtype == np.bool_ and mask.ndim == 1 and not mask.all()
        ]
        if not names or names[0] not in plain:
            continue
        mask: Any = masks[names[0]]
        if isinstance(values, Mapping):
            del plain[names[0]]  # its parts have their own masks
            continue
        rows = list(zip(*values, strict=True)) if isinstance(values, tuple) else values
        if len(rows) == len(mask) and all(_is_filling(row) for row, there in zip(rows, mask, strict=True) if not there):
            del plain[names[0]]
            plain[key] = [value if there else ABSENT for value, there in zip(rows, mask, strict=True)]
    return {key: _without_masks(values) if isinstance(values, Mapping) else values for key, values in plain.items()}


def _is_filling(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_filling, value))
    if isinstance(value, (np.ndarray, np.generic)):
        return same_values(np.asarray(value), np.zeros_like(value))
    return value is None or value in ("", b"")
