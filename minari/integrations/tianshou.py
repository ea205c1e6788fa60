"""Tianshou: datasets as replay buffers, and replay buffers as datasets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from minari._base.json_text import shortened
from minari._base.warnings import warn
from minari._model.arguments import checked_count
from minari.dataset.minari_dataset import MinariDataset
from minari.errors import ArgumentTypeError, MissingDependencyError, SpaceError
from minari.integrations._replay import (
    FinalObservation,
    Steps,
    check_arrays,
    checked_dataset,
    continues,
    create_dataset,
    in_chunks,
    leaves,
    map_leaves,
    names,
    warn_about_lost_columns,
)


try:
    from tianshou.data import Batch, ReplayBuffer, ReplayBufferManager
except ImportError as error:
    raise MissingDependencyError(
        'minari.integrations.tianshou needs Tianshou, which is not installed; run pip install "minari[tianshou]".',
        name="tianshou",
    ) from error


__all__ = ["from_replay_buffer", "to_replay_buffer"]

_KEPT = frozenset({"obs", "act", "rew", "terminated", "truncated", "done", "obs_next"})


def to_replay_buffer(
    dataset: MinariDataset, *, stack_num: int = 1, ignore_obs_next: bool = False
) -> ReplayBufferManager:
    """Return the steps of a dataset or view as a replay buffer, in order.

    The buffer ends an episode at its termination or truncation. One that was cut without either is the last of a
    buffer of its own inside the returned one, so that steps of two episodes are never taken for one.

    Args:
        dataset: a dataset, or a view of one, with observations and actions of a ``Box``, a ``Discrete`` or similar, or
            a ``Dict`` of them.
        stack_num: the number of observations to stack when the buffer is sampled.
        ignore_obs_next: True to store no next observations, which takes half the memory and loses the last observation
            of each episode.

    Returns:
        A full buffer: ``obs``, ``obs_next`` and ``act`` with their dtypes, ``rew`` (N,) or (N, k) in float64,
        ``terminated`` and ``truncated``.

    Warns:
        UserWarning: what the buffer does not keep: infos, the last observations with ``ignore_obs_next``, steps after
            an early termination.

    Raises:
        SpaceError: the observations or actions are tuples or have no fixed shape.
    """
    checked_dataset(dataset)
    checked_count("stack_num", stack_num)
    chunks = in_chunks(dataset)
    batch, ends = next(chunks)
    for field in ("observations", "actions"):
        check_arrays(batch[field], field, "Tianshou's buffer")
    warn_about_lost_columns(
        dataset, "Tianshou's buffer", infos=True, early_ends="the buffer ends an episode there and begins another one"
    )
    sizes = _sizes(dataset)
    if ignore_obs_next:
        warn(
            f"The last observations of the episodes of {dataset.id} are left out, as ignore_obs_next is True: the "
            f"buffer repeats the ones before."
        )
    buffer = ReplayBufferManager(
        [ReplayBuffer(size, stack_num=stack_num, ignore_obs_next=ignore_obs_next) for size in sizes]
    )
    numbers = np.repeat(np.arange(len(sizes)), sizes)
    start = 0
    while True:
        stop = start + len(ends)
        buffer.add(
            Batch(
                obs=batch["observations"],
                act=batch["actions"],
                rew=batch["rewards"],
                terminated=batch["terminations"],
                truncated=batch["truncations"],
                obs_next=batch["next_observations"],
            ),
            buffer_ids=numbers[start:stop],
        )
        start = stop
        following = next(chunks, None)
        if following is None:
            return buffer
        batch, ends = following


def _sizes(dataset: MinariDataset) -> list[int]:
    """Return the numbers of steps up to each episode that was cut without an end, and of those after the last."""
    sizes, size = [], 0
    for outcome in dataset.storage.get_outcomes(dataset.episode_indices):
        size += len(outcome["rewards"])
        if not (outcome["terminations"][-1] or outcome["truncations"][-1]):
            sizes.append(size)
            size = 0
    return [*sizes, size] if size else sizes


def from_replay_buffer(
    buffer: ReplayBuffer,
    dataset_id: str,
    *,
    observation_space: gym.Space[Any] | None = None,
    action_space: gym.Space[Any] | None = None,
    final_observation: FinalObservation = "error",
    **options: Any,
) -> MinariDataset:
    """Create a dataset of the steps of a replay buffer.

    Episodes end at terminations and truncations, where the steps of a buffer end, and where the next step begins with
    another observation, as after a reset of the collector: the episodes that were not finished have no end. The
    buffers of several environments are read one after the other, each from its oldest step.

    Args:
        buffer: a ``ReplayBuffer``, ``VectorReplayBuffer`` or another manager of buffers, filled by a collector or by
            :func:`to_replay_buffer`.
        dataset_id: of the new dataset.
        observation_space: by default that of ``env``, or inferred.
        action_space: by default that of ``env``, or inferred.
        final_observation: what to do if the buffer has no next observations (``ignore_obs_next``): ``"error"`` raises,
            ``"repeat"`` repeats the last one, ``"drop_last_step"`` leaves out the last step of each episode.
        **options: arguments of :func:`minari.create_dataset_from_buffers`, such as ``env`` and ``author``.

    Warns:
        UserWarning: a space is inferred, a buffer has wrapped around, or it has entries that a dataset has no place
            for, such as those of the policy.

    Raises:
        ArgumentError: the buffer is empty, or the last observations are not known.
        SpaceError: observations or actions are not numbers.
    """
    if not isinstance(buffer, ReplayBuffer):
        raise ArgumentTypeError(f"buffer is {shortened(buffer)}, expected a replay buffer of Tianshou.")
    parts = [part for part in getattr(buffer, "buffers", [buffer]) if len(part)]
    found, lost, wrapped = [], set[str](), 0
    for part in parts:
        rows = _rows_in_order(part)
        wrapped += bool(rows[0])
        found += _steps(part, rows).episodes(final_observation)
        entries = {"info": part[rows[:1]].info, "policy": part[rows[:1]].policy}
        lost |= {name for key, value in entries.items() for name, _ in leaves(_plain(value), key)}
    if lost:
        warn(f"The entries {names(lost)} of the buffer are left out, as a dataset has no place for them.")
    if wrapped:
        warn(
            f"{wrapped} of {len(parts)} buffers have overwritten their oldest steps, so that the first episode of each "
            f"may lack its beginning."
        )
    return create_dataset(
        dataset_id, found, observation_space=observation_space, action_space=action_space, options=options
    )


def _rows_in_order(buffer: ReplayBuffer) -> npt.NDArray[np.int64]:
    """Return the indices of all steps of a single buffer, from the oldest on."""
    stacked, buffer.stack_num = buffer.stack_num, 1  # else the first steps of an episode may be left out
    try:
        rows: npt.NDArray[np.int64] = buffer.sample_indices(0)
    finally:
        buffer.stack_num = stacked
    return rows


def _steps(buffer: ReplayBuffer, rows: npt.NDArray[np.int64]) -> Steps:
    terminations, truncations = (np.asarray(buffer.terminated[rows], bool), np.asarray(buffer.truncated[rows], bool))
    ends = terminations | truncations
    ends[-1] = True
    before = _taken(buffer.obs, rows, "obs")
    after = _taken(buffer.obs_next, rows, "obs_next") if hasattr(buffer, "obs_next") else None
    if after is not None:
        ends[:-1] |= ~continues(before, after)  # the collector was reset
    return Steps(
        observations=before,
        actions=_taken(buffer.act, rows, "act"),
        rewards=np.asarray(buffer.rew[rows]),
        terminations=terminations,
        truncations=truncations,
        ends=ends,
        next_observations=after,
    )


def _plain(values: Any) -> Any:
    return {key: _plain(value) for key, value in values.items()} if isinstance(values, (Batch, Mapping)) else values


def _taken(values: Any, rows: npt.NDArray[np.int64], name: str) -> Any:
    tree = map_leaves(lambda leaf: np.asarray(leaf[rows]), _plain(values))
    for path, leaf in leaves(tree, name):
        if leaf.dtype == object:
            raise SpaceError(
                f"The entry {path} of the buffer holds Python objects such as {shortened(leaf[0])}, expected arrays of "
                f"numbers; only those can be stored in a dataset."
            )
    return tree
