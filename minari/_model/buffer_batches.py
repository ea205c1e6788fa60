"""Joining of consecutive episodes of one kind into batches, which cost little for each episode."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, Final, TypeAlias

import numpy as np

from minari._model.episode_buffer import BufferBatch, EpisodeBuffer


__all__ = ["in_batches", "joined"]

#: What the arrays of an episode have in common with those of others it can be joined with: for each one its dtype and
#: the shape of a row, nested like the values.
_Kind: TypeAlias = Any

_LARGE: Final = 2**18  # bytes of an episode, from which on joining it costs more than it saves
_BATCH_BYTES: Final = 2**22
_BATCH_EPISODES: Final = 1024
_FEWEST: Final = 16  # episodes of a batch
_NUMBERS: Final = frozenset("biufc")
_INT64: Final = range(-(2**63) + 1, 2**63)
_FLAGS: Final = np.dtype(np.bool_), ()


def in_batches(buffers: Iterable[Any]) -> Iterator[Any]:
    """Yield episodes in their order, many small ones of one kind as a :class:`BufferBatch`, the others unchanged.

    Those in a batch are new, and have arrays of numbers of the same types and of matching lengths, and neither infos
    nor options nor metadata other than a seed. The values of a batch are copies.
    """
    group: list[EpisodeBuffer] = []
    group_kind, group_size = None, 0
    for buffer in buffers:
        kind, size = _kind_and_size(buffer)
        if group and (kind != group_kind or group_size + size > _BATCH_BYTES or len(group) == _BATCH_EPISODES):
            yield from _joined(group)
            group, group_size = [], 0
        if kind is None:
            yield buffer
        else:
            group.append(buffer)
            group_kind, group_size = kind, group_size + size
    yield from _joined(group)


def _joined(buffers: Sequence[EpisodeBuffer]) -> Iterator[EpisodeBuffer | BufferBatch]:
    """Yield episodes of one kind as a batch, if that is worthwhile."""
    if len(buffers) < _FEWEST:
        yield from buffers
    else:
        yield joined(buffers)


def joined(buffers: Sequence[EpisodeBuffer]) -> BufferBatch:
    """Return episodes of one kind as a batch; their columns may be lists of numbers."""
    steps = np.array([len(buffer.rewards) for buffer in buffers], np.int64)
    seeds = {} if buffers[0].seed is None else {"seed": np.array([buffer.seed for buffer in buffers], np.int64)}
    return BufferBatch(
        steps,
        _concatenated([buffer.observations for buffer in buffers]),
        _concatenated([buffer.actions for buffer in buffers]),
        _concatenated([buffer.rewards for buffer in buffers]),
        _concatenated([buffer.terminations for buffer in buffers]),
        _concatenated([buffer.truncations for buffer in buffers]),
        seeds,
    )


def _concatenated(values: Sequence[Any]) -> Any:
    first = values[0]
    if isinstance(first, dict):
        return {key: _concatenated([value[key] for value in values]) for key in first}
    if isinstance(first, tuple):
        return tuple(map(_concatenated, zip(*values, strict=True)))
    if type(first) is list:  # an array of each would take twice as long
        return np.array(list(chain.from_iterable(values)))
    return np.concatenate(values)


def _kind_and_size(buffer: Any) -> tuple[_Kind | None, int]:
    """Return the kind of an episode that can be joined with others, and its bytes; None for any other one."""
    if type(buffer) is not EpisodeBuffer or buffer.infos or buffer.options or buffer.metadata or buffer.id is not None:
        return None, 0
    seed, rewards = buffer.seed, buffer.rewards
    if not (seed is None or (type(seed) is int and seed in _INT64)) or type(rewards) is not np.ndarray:
        return None, 0
    steps = len(rewards) if rewards.ndim else 0
    sizes: list[int] = []
    kinds = (
        _kind_of(rewards, steps, sizes),
        _kind_of(buffer.terminations, steps, sizes),
        _kind_of(buffer.truncations, steps, sizes),
        _kind_of(buffer.observations, steps + 1, sizes),
        _kind_of(buffer.actions, steps, sizes),
    )
    size = sum(sizes)
    if not steps or None in kinds or kinds[1] != _FLAGS or kinds[2] != _FLAGS or size > _LARGE:
        return None, 0
    return (seed is None, kinds), size


def _kind_of(values: Any, rows: int, sizes: list[int]) -> _Kind | None:
    """Return the kind of values with so many rows, and add their bytes to a list; None if they are not arrays."""
    if type(values) is np.ndarray:
        dtype, shape = values.dtype, values.shape
        if dtype.kind not in _NUMBERS or not dtype.isnative or shape[:1] != (rows,):
            return None
        sizes.append(values.nbytes)
        return dtype, shape[1:]
    if type(values) is dict:
        kinds = tuple([(key, _kind_of(value, rows, sizes)) for key, value in values.items()])
        return None if any(kind is None for _, kind in kinds) else kinds
    if type(values) is tuple:
        parts = tuple([_kind_of(value, rows, sizes) for value in values])
        return None if None in parts else parts
    return None
