"""The running episodes of a vector environment, in blocks of steps.

A row of a block holds one step of all sub-environments: the observations after it, and the actions that led to
them. The episode of a sub-environment lies in its column, from the row of the reset to that of the last step. When a
block is full, the steps of running episodes are moved to parts of their own, and the next block begins with a copy
of the last row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from minari._model.episode_buffer import EpisodeBuffer
from minari._model.infos import append_info
from minari.data_collector.batch_columns import BatchColumns, LeafBatches, Numbers, concatenated, cut, row_size
from minari.data_collector.vector_infos import info_of, without_info


if TYPE_CHECKING:
    from minari.data_collector.episode_queue import EpisodeQueue
    from minari.data_collector.finished_episodes import PendingWarning


_BLOCK_BYTES = 4 * 2**20
_FEWEST_ROWS, _MOST_ROWS = 16, 1024
_COLUMNS = ("observations", "actions", "rewards", "terminations", "truncations")


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """Episodes that end at the last row, and episodes that start there afterwards.

    The last step of an episode that ends becomes truncated, unless it is terminated.

    Attributes:
        ended: sub-environments whose episodes end; those without a step are dropped.
        started: sub-environments whose episodes start.
        observations: the last observation of each episode that ends; None if the row has them.
        infos: the last info of each; None if the row has them.
        origins: for each of all sub-environments, the seed, options and metadata of an episode that starts, as
            arguments of :class:`EpisodeBuffer`; None if there are none.
    """

    ended: Numbers
    started: Numbers
    observations: Sequence[Any] | None = None
    infos: Sequence[Any] | None = None
    origins: Sequence[Mapping[str, Any]] | None = None


@dataclass(slots=True, eq=False)
class _Part:
    """Consecutive steps of an episode; the infos are one dict per row."""

    observations: Any
    actions: Any
    rewards: Any
    terminations: Any
    truncations: Any
    infos: list[Any]

    def copied(self) -> _Part:
        """Return the same steps in their own memory."""
        values = {name: concatenated([getattr(self, name)]) for name in _COLUMNS}
        return _Part(**values, infos=self.infos)


class _Block:
    """Rows of all sub-environments, with their running episodes.

    Attributes:
        head: the last complete row, and what happens there until it is done.
        infos: the infos of all sub-environments, by row.
        own_infos: the info of one sub-environment, by row and index, instead of these.
        first: the row in which the episode of each sub-environment starts, or continues from the previous block.
        is_running: whether each sub-environment has an episode.
        parts: the steps of each episode in previous blocks, without the last observation.
        earlier_steps: the number of these steps.
        origins: seed, options and metadata of each episode.
    """

    def __init__(self, num_envs: int, columns: Sequence[Any]) -> None:
        self.observations: BatchColumns = columns[0]
        self.actions: BatchColumns = columns[1]
        self.rewards: LeafBatches = columns[2]
        self.terminations: LeafBatches = columns[3]
        self.truncations: LeafBatches = columns[4]
        self.head: tuple[int, Change | None] = 0, None
        self.infos: dict[int, Any] = {}
        self.own_infos: dict[tuple[int, int], Any] = {}
        self.first: Numbers = np.zeros(num_envs, np.int64)
        self.is_running: npt.NDArray[np.bool_] = np.zeros(num_envs, np.bool_)
        self.parts: list[list[_Part]] = [[] for _ in range(num_envs)]
        self.earlier_steps: Numbers = np.zeros(num_envs, np.int64)
        self.origins: list[Mapping[str, Any]] = [{}] * num_envs

    @property
    def columns(self) -> list[Any]:
        return [self.observations, self.actions, self.rewards, self.terminations, self.truncations]

    def steps(self) -> Numbers:
        """Return the number of steps of each running episode in this block."""
        return np.where(self.is_running, self.head[0] - self.first, 0)

    def info(self, row: int, env: int) -> Any:
        own = self.own_infos.get((row, env))
        return info_of(self.infos.get(row), env, len(self.first)) if own is None else own

    def gather(self, envs: Numbers, change: Change | None = None) -> list[_Part]:
        """Return the steps of running episodes, with the last observation of those that end.

        Args:
            envs: sub-environments, each with a step in this block or before.
            change: the end of these episodes; None if they continue in the next block.
        """
        row, with_last = self.head[0], change is not None
        first = self.first[envs]
        counts = row - first + 1  # rows, each with an observation
        bounds = np.concatenate([[0], np.cumsum(counts)])
        rows = np.arange(bounds[-1]) + np.repeat(first - bounds[:-1], counts)
        columns = np.repeat(envs, counts)
        with_step = np.ones(len(rows), np.bool_)
        with_step[bounds[:-1]] = False
        observations = self.observations.take(rows, columns)
        if change is not None and change.observations is not None:
            observations = self.observations.replaced(observations, bounds[1:] - 1, change.observations)
        steps = [column.take(rows[with_step], columns[with_step]) for column in self.columns[1:]]
        parts = []
        for number, (env, begin, end) in enumerate(
            zip(envs.tolist(), bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)
        ):
            infos = [self.info(at, env) for at in range(row - (end - begin) + 1, row + with_last)] if self.infos else []
            if infos and change is not None and change.infos is not None:
                infos[-1] = change.infos[number]
            actions, rewards, terminations, truncations = (
                cut(column, begin - number, end - number - 1) for column in steps
            )
            states = cut(observations, begin, end - (not with_last))
            parts.append(_Part(states, actions, rewards, terminations, truncations, infos))
        return parts


class VectorRecorder:
    """Recorder of the steps of all sub-environments.

    Each change becomes valid by one assignment, so that an interruption at any moment loses and doubles nothing.

    Args:
        num_envs: number of sub-environments.
        observation_space: space of the recorded observations of one sub-environment.
        action_space: space of its recorded actions.
    """

    def __init__(self, num_envs: int, observation_space: gym.Space[Any], action_space: gym.Space[Any]) -> None:
        self.num_envs = num_envs
        row_bytes = num_envs * (row_size(observation_space) + row_size(action_space) + 10)
        self._capacity = int(np.clip(_BLOCK_BYTES // row_bytes, _FEWEST_ROWS, _MOST_ROWS))
        self._spaces = observation_space, action_space
        self._plain_origins = [{"metadata": {"env_index": env}} for env in range(num_envs)]
        self._ended: list[EpisodeBuffer] | None = None  # by a change, until the queue has them
        self.clear()

    def clear(self) -> None:
        """Drop the running episodes; the environment must be reset."""
        leaf = self.num_envs, self._capacity
        self._block = _Block(
            self.num_envs,
            [*(BatchColumns(space, *leaf) for space in self._spaces), *(LeafBatches(*leaf) for _ in range(3))],
        )
        self.is_started = False

    def __len__(self) -> int:
        """Return the number of steps of the running episodes."""
        return int((self._block.steps() + self._block.earlier_steps).sum())

    @property
    def is_running(self) -> npt.NDArray[np.bool_]:
        """Return whether each sub-environment has an episode, shape (n,)."""
        return self._block.is_running

    def start_all(self, observations: Any, infos: Any, origins: Sequence[Mapping[str, Any]]) -> None:
        """Start an episode in each sub-environment, with the result of a reset.

        Args:
            observations: of all sub-environments.
            infos: of all sub-environments; None to record none.
            origins: seed, options and metadata of each episode.
        """
        self.clear()
        block = self._block
        block.observations.put(0, observations)
        if infos is not None:
            block.infos[0] = infos
        block.is_running[:] = True
        block.origins = list(origins)
        self.is_started = True

    def start(self, envs: Numbers, observations: Any, infos: Any, origins: Sequence[Mapping[str, Any]]) -> None:
        """Start episodes in some sub-environments, which have none, with the result of their reset.

        Args:
            envs: the sub-environments.
            observations: of all sub-environments.
            infos: of all sub-environments; None to record none.
            origins: for each of all sub-environments, seed, options and metadata of the episode.
        """
        block = self._block
        row, _ = block.head
        block.observations.put(row, observations, envs)
        if infos is not None:
            block.own_infos.update({(row, env): info_of(infos, env, self.num_envs) for env in envs.tolist()})
        change = Change(envs[:0], envs, origins=origins)
        block.head = row, change
        self._apply(change)

    def act(self, actions: Any) -> None:
        """Keep the actions of the step that begins, before the environment can modify them; None if there are none."""
        if self._block.head[0] + 1 == self._capacity:
            self._continue_in_next_block()
        if actions is not None:
            self._block.actions.put(self._block.head[0] + 1, actions)

    def add(
        self, observations: Any, rewards: Any, terminations: Any, truncations: Any, infos: Any, change: Change | None
    ) -> None:
        """Add one step, whose actions have already been kept.

        Args:
            observations: of all sub-environments, like the following.
            rewards: None, as for the following two, if all sub-environments were reset.
            terminations: of all sub-environments.
            truncations: of all sub-environments.
            infos: None to record none.
            change: the episodes that end or start with this step.
        """
        block = self._block
        row = block.head[0] + 1
        block.observations.put(row, observations)
        if rewards is not None:
            block.rewards.put(row, rewards)
            block.terminations.put(row, terminations)
            block.truncations.put(row, truncations)
        if infos is not None:
            block.infos[row] = infos
        block.head = row, change

    def end(self, envs: Numbers, *, continues: bool) -> None:
        """End running episodes at the last step, truncated unless they have terminated.

        Args:
            envs: the sub-environments.
            continues: True if other episodes start there without a reset.
        """
        block = self._block
        ended = envs[block.is_running[envs]]
        continued = ended[(block.steps() + block.earlier_steps)[ended] > 0] if continues else ended[:0]
        block.head = block.head[0], Change(continued if continues else ended, continued)

    def settle(self, add: Callable[[EpisodeBuffer], list[PendingWarning]]) -> list[PendingWarning]:
        """Hand over the episodes that have ended, and start those that follow.

        Args:
            add: function that keeps an episode, and may be called again with the same one after an interruption.

        Returns:
            Problems with storing or writing, one sentence each.
        """
        change = self._block.head[1]
        if change is None:
            return []
        if self._ended is None:
            self._ended = self._buffers_of(change)
        warnings = []
        while self._ended:
            warnings += add(self._ended[0])
            del self._ended[0]
        self._apply(change)
        return warnings

    def _buffers_of(self, change: Change) -> list[EpisodeBuffer]:
        block = self._block
        has_step = (block.steps() + block.earlier_steps)[change.ended] > 0
        if not has_step.all():
            numbers = np.flatnonzero(has_step).tolist()
            observations, infos = (
                None if values is None else [values[number] for number in numbers]
                for values in (change.observations, change.infos)
            )
            change = replace(change, ended=change.ended[has_step], observations=observations, infos=infos)
        return [
            _joined([*block.parts[env], last], block.origins[env])
            for env, last in zip(change.ended.tolist(), block.gather(change.ended, change), strict=True)
        ]

    def _apply(self, change: Change) -> None:
        """Update the running episodes; to do it twice, after an interruption, is to do it once."""
        block, origins = self._block, change.origins or self._plain_origins
        row = block.head[0]
        block.is_running[change.ended] = False
        block.earlier_steps[change.ended] = 0
        for env in change.ended.tolist():
            block.parts[env] = []
        block.first[change.started] = row
        block.is_running[change.started] = True
        for env in change.started.tolist():
            block.origins[env] = origins[env]
        self._ended = None
        block.head = row, None

    def _continue_in_next_block(self) -> None:
        old = self._block
        row = old.head[0]
        new = _Block(self.num_envs, [column.continued(row) for column in old.columns])
        new.infos = {0: old.infos[row]} if row in old.infos else {}
        new.own_infos = {(0, env): info for (at, env), info in old.own_infos.items() if at == row}
        new.is_running, new.origins = old.is_running.copy(), [*old.origins]
        new.earlier_steps, new.parts = old.earlier_steps + old.steps(), [[*parts] for parts in old.parts]
        envs = np.flatnonzero(old.steps())
        for env, part in zip(envs.tolist(), old.gather(envs), strict=True):
            new.parts[env].append(part.copied())  # not a view of the values of all sub-environments
        self._block = new

    # The end

    def discard_info(self, name: str) -> None:
        """Drop one info of the running episodes."""
        block = self._block
        block.infos = {row: without_info(infos, name) for row, infos in block.infos.items()}
        block.own_infos = {place: without_info(info, name) for place, info in block.own_infos.items()}
        for parts in block.parts:
            for part in parts:
                part.infos = [without_info(info, name) for info in part.infos]

    def finish(self, queue: EpisodeQueue) -> None:
        """End all episodes, truncated unless they have terminated, and add them to a queue."""
        self.settle(queue.add)
        self.end(np.arange(self.num_envs), continues=False)
        self.settle(queue.add)
        self.clear()


def _joined(parts: Sequence[_Part], origin: Mapping[str, Any]) -> EpisodeBuffer:
    """Return the episode of consecutive steps."""
    values = [
        getattr(parts[0], name) if len(parts) == 1 else concatenated([getattr(part, name) for part in parts])
        for name in _COLUMNS
    ]
    *_, terminations, truncations = values
    if not terminations[-1]:
        truncations[-1] = True
    infos: dict[str, Any] = {}
    for row, info in enumerate(info for part in parts for info in part.infos):
        append_info(infos, info, row)
    return EpisodeBuffer(**dict(zip(_COLUMNS, values, strict=True)), infos=infos or None, **origin)
