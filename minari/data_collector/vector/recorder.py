"""The episodes of a vector environment, in blocks of steps, until they have ended and are handed over.

A row of a block holds one step of all sub-environments: the observations after it, and the actions that led to
them. The episode of a sub-environment lies in its column, from the row of the reset to that of the last step. Many
episodes that have ended are gathered together. When a block is full, the next one begins with a copy of the rows
since the first running episode started, of which there are at most half as many as fit into a block; steps before
these are moved to parts of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final, Protocol

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from minari._base.locks import ThreadLock
from minari._model.episode_buffer import BufferBatch, EpisodeBuffer
from minari._model.infos import append_info
from minari.data_collector.vector.columns import BatchColumns, LeafBatches, Numbers, concatenated, copied, row_size
from minari.data_collector.vector.infos import info_of, without_info


if TYPE_CHECKING:
    from minari.data_collector.episode_queue import EpisodeQueue
    from minari.data_collector.finished_episodes import PendingWarning


_BLOCK_BYTES: Final = 16 * 2**20
_FEWEST_ROWS, _MOST_ROWS = 16, 1024
_MANY: Final = 512  # number of episodes that are gathered together
_IN_ROW: Final = object()  # stands for a value that is in the row of the block
_COLUMNS: Final = ("observations", "actions", "rewards", "terminations", "truncations")


class EpisodeKeeper(Protocol):
    """Keeper of the episodes that have ended; it may get the same one again after an interruption.

    Both methods return problems with storing or writing, one sentence each; ``add_batch`` returns None if the
    episodes have to be added one by one, and none has been added.
    """

    def add(self, buffer: EpisodeBuffer) -> list[PendingWarning]:
        """Add an episode."""

    def add_batch(self, batch: BufferBatch) -> list[PendingWarning] | None:
        """Add several episodes."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Facts about an episode that are known when it starts.

    Attributes:
        seed: seed of the reset.
        options: options of the reset.
        metadata: further metadata, integers.
    """

    seed: int | None = None
    options: dict[str, Any] | None = None
    metadata: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """Episodes that end at the last row, and episodes that start there afterwards.

    The last step of an episode that ends becomes truncated, unless it is terminated.

    Attributes:
        ended: sub-environments whose episodes end; those without a step are dropped.
        started: sub-environments whose episodes start.
        observations: the last observation of each episode that ends; None if the row has them.
        infos: the last info of each; None if the row has them.
        origins: for each of all sub-environments, the origin of an episode that starts; None for a start without
            a reset of its own.
    """

    ended: Numbers
    started: Numbers
    observations: Sequence[Any] | None = None
    infos: Sequence[Any] | None = None
    origins: Sequence[Origin] | None = None


@dataclass(slots=True, eq=False)
class _Part:
    """Consecutive steps of an episode; the infos are one dict per row."""

    observations: Any
    actions: Any
    rewards: Any
    terminations: Any
    truncations: Any
    infos: list[Any]


@dataclass(frozen=True, slots=True, eq=False)
class _Ended:
    """Episodes that have ended together, in the rows of the current block and in parts before it.

    Attributes:
        change: their end.
        first: the first row of each.
        last: their last row.
        parts: the steps of each in previous blocks, without the last observation; None if none has any.
        origins: the origin of each.
        total_episodes: number of these and of those that have ended before and have not been handed over.
        total_steps: number of their steps.
    """

    change: Change
    first: Numbers
    last: int
    parts: list[list[_Part]] | None
    origins: list[Origin]
    total_episodes: int
    total_steps: int


class _Block:
    """Rows of all sub-environments, with their running episodes.

    Attributes:
        head: the last complete row, and what happens there until it is done.
        infos: the infos of all sub-environments, by row.
        own_infos: the info of one sub-environment, by row and index, instead of these.
        first: the row in which the episode of each sub-environment starts, or continues from the previous block.
        is_running: whether each sub-environment has an episode.
        parts: the steps of each running episode in previous blocks, without the last observation.
        earlier_steps: the number of these steps.
        origins: the origin of each running episode.
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
        self.origins: list[Origin] = [Origin()] * num_envs

    @property
    def columns(self) -> list[Any]:
        return [self.observations, self.actions, self.rewards, self.terminations, self.truncations]

    def steps(self) -> Numbers:
        """Return the number of steps of each running episode in this block."""
        return np.where(self.is_running, self.head[0] - self.first, 0)

    def info(self, row: int, env: int) -> Any:
        own = self.own_infos.get((row, env))
        return info_of(self.infos.get(row), env, len(self.first)) if own is None else own

    def gather(self, envs: Numbers, first: Numbers, last: Numbers) -> BufferBatch:
        """Return the steps of sub-environments in this block.

        Args:
            envs: the sub-environments.
            first: the row of the first observation of each.
            last: the row of the last step of each.
        """
        steps = last - first
        ends = np.cumsum(steps + 1)  # in rows, of which each has an observation
        starts = ends - (steps + 1)
        rows = np.arange(ends[-1]) + np.repeat(first - starts, steps + 1)
        columns = np.repeat(envs, steps + 1)
        with_step = np.ones(len(rows), np.bool_)
        with_step[starts] = False
        observations = self.observations.take(rows, columns)
        rows, columns = rows[with_step], columns[with_step]
        actions, *outcomes = [column.take(rows, columns) for column in self.columns[1:]]
        return BufferBatch(steps, observations, actions, outcomes[0], outcomes[1], outcomes[2])

    def parts_of(self, envs: Numbers, last: int) -> list[_Part]:
        """Return the steps of some running episodes with their infos, up to a row, without the last observation."""
        if not len(envs):
            return []
        first, parts = self.first[envs], []
        buffers = self.gather(envs, first, np.full(len(envs), last)).buffers()
        for env, start, buffer in zip(envs.tolist(), first.tolist(), buffers, strict=True):
            # Copies, as views would keep the steps of all of them in memory.
            values = {name: copied(getattr(buffer, name), last - start) for name in _COLUMNS}
            infos = [self.info(row, env) for row in range(start, last)] if self.infos else []
            parts.append(_Part(**values, infos=infos))
        return parts


class VectorRecorder:
    """Recorder of the steps of all sub-environments.

    Each change becomes valid by one assignment, so that an interruption at any moment loses and doubles nothing.

    Args:
        num_envs: number of sub-environments.
        observation_space: space of the recorded observations of one sub-environment.
        action_space: space of its recorded actions.
        keeper: keeper of the episodes that have ended.
        buffer_steps: maximum number of steps of episodes that have ended, until they must be handed over.

    Attributes:
        is_started: True after the first reset.
        lock: held while anything changes, as another thread may take the episodes that have ended.
    """

    def __init__(
        self,
        num_envs: int,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        keeper: EpisodeKeeper,
        buffer_steps: int,
    ) -> None:
        self.num_envs, self.lock = num_envs, ThreadLock()
        self._keeper, self._buffer_steps = keeper, buffer_steps
        row_bytes = num_envs * (row_size(observation_space) + row_size(action_space) + 10)
        self._capacity = int(np.clip(_BLOCK_BYTES // row_bytes, _FEWEST_ROWS, _MOST_ROWS))
        self._spaces = observation_space, action_space
        self._plain_origins = [Origin(metadata={"env_index": env}) for env in range(num_envs)]
        # Episodes that have ended in the block, and those that have been gathered, until the keeper has them.
        self._out: tuple[list[_Ended], list[EpisodeBuffer | BufferBatch]] = [], []
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
        """Return the number of steps of the running episodes, and of those that have not been handed over."""
        ended, leaving = self._out
        running = int((self._block.steps() + self._block.earlier_steps).sum())
        return running + (ended[-1].total_steps if ended else 0) + sum(map(_steps_of, leaving))

    @property
    def is_running(self) -> npt.NDArray[np.bool_]:
        """Return whether each sub-environment has a running episode, shape (n,)."""
        return self._block.is_running

    # Recording

    def start_all(self, observations: Any, infos: Any, origins: Sequence[Origin]) -> None:
        """Start an episode in each sub-environment, with the result of a reset.

        Args:
            observations: of all sub-environments.
            infos: of all sub-environments; None to record none.
            origins: of all episodes.
        """
        self.clear()
        block = self._block
        block.observations.put(0, observations)
        if infos is not None:
            block.infos[0] = infos
        block.is_running[:] = True
        block.origins = list(origins)
        self.is_started = True

    def start(self, envs: Numbers, observations: Any, infos: Any, origins: Sequence[Origin]) -> None:
        """Start episodes in some sub-environments, which have none, with the result of their reset.

        Args:
            envs: the sub-environments; the episodes that ended there have been handed over.
            observations: of all sub-environments.
            infos: of all sub-environments; None to record none.
            origins: for each of all sub-environments, the origin of the episode.
        """
        block = self._block
        row, _ = block.head
        block.observations.put(row, observations, envs)
        if infos is not None:
            block.own_infos.update({(row, env): info_of(infos, env, self.num_envs) for env in envs.tolist()})
        block.head = row, Change(envs[:0], envs, origins=origins)
        self.settle()

    def act(self, actions: Any) -> None:
        """Keep the actions of the step that begins, before the environment can modify them; None if there are none."""
        if actions is not None:
            self._block.actions.put(self._block.head[0] + 1, actions)

    def add(
        self,
        observations: Any,
        rewards: Any,
        terminations: Any,
        truncations: Any,
        infos: Any,
        change: Change | None,
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
        self.settle()

    def end(self, envs: Numbers, *, continues: bool) -> None:
        """End running episodes at the last step, truncated unless they have terminated.

        Args:
            envs: the sub-environments.
            continues: True if other episodes start there without a reset.
        """
        self.settle()
        block = self._block
        ended = envs[block.is_running[envs]]
        continued = ended[(block.steps() + block.earlier_steps)[ended] > 0] if continues else ended[:0]
        block.head = block.head[0], Change(continued if continues else ended, continued)
        self.settle()

    def settle(self) -> None:
        """Do what happens at the last row; to do it twice, after an interruption, is to do it once."""
        block, (ended, _) = self._block, self._out
        row, change = block.head
        if change is None:
            return
        if not ended or ended[-1].change is not change:
            ended.append(self._ended_at(row, change))
        block.is_running[change.ended] = False
        if ended[-1].parts is not None:
            block.earlier_steps[change.ended] = 0
            for env in change.ended.tolist():
                block.parts[env] = []
        block.first[change.started] = row
        block.is_running[change.started] = True
        starting = change.origins or self._plain_origins
        for env in change.started.tolist():
            block.origins[env] = starting[env]
        block.head = row, None

    def _ended_at(self, row: int, change: Change) -> _Ended:
        """Return the episodes that end at a row."""
        block, (ended, _) = self._block, self._out
        envs, first, earlier = change.ended.tolist(), block.first[change.ended], block.earlier_steps[change.ended]
        has_parts = bool(np.count_nonzero(earlier))
        steps = row * len(envs) - int(np.add.reduce(first)) + (int(np.add.reduce(earlier)) if has_parts else 0)
        total_episodes, total_steps = (ended[-1].total_episodes, ended[-1].total_steps) if ended else (0, 0)
        return _Ended(
            change,
            first,
            row,
            parts=[block.parts[env] for env in envs] if has_parts else None,
            origins=[block.origins[env] for env in envs],
            total_episodes=total_episodes + len(envs),
            total_steps=total_steps + steps,
        )

    # Handing over

    @property
    def has_ended(self) -> bool:
        """Return whether there are episodes that have ended."""
        return any(self._out)

    @property
    def must_hand_over(self) -> bool:
        """Return whether many episodes have ended, or there is no space for another step."""
        ended, _ = self._out
        return self._is_full or (
            bool(ended) and (ended[-1].total_episodes >= _MANY or ended[-1].total_steps >= self._buffer_steps)
        )

    @property
    def _is_full(self) -> bool:
        return self._block.head[0] + 1 == self._capacity

    def hand_over(self) -> list[PendingWarning]:
        """Give the episodes that have ended to the keeper, and make space for another step.

        Returns:
            Problems with storing or writing, one sentence each.
        """
        warnings: list[PendingWarning] = []
        with self.lock.current:
            self.settle()
            ended, leaving = self._out
            if ended:
                self._out = [], [*leaving, *self._episodes_of(ended)]
                leaving = self._out[1]
            while leaving:
                first = leaving[0]
                found = self._keeper.add_batch(first) if isinstance(first, BufferBatch) else self._keeper.add(first)
                leaving[:1] = first.buffers() if isinstance(first, BufferBatch) and found is None else []
                warnings += found or []
            if self._is_full:
                self._continue_in_next_block()
        return warnings

    def _episodes_of(self, ended: Sequence[_Ended]) -> list[EpisodeBuffer | BufferBatch]:
        """Return episodes that have a step, in their order."""
        block = self._block
        envs, first = (np.concatenate(arrays) for arrays in ([e.change.ended for e in ended], [e.first for e in ended]))
        last = np.repeat([e.last for e in ended], [len(e.origins) for e in ended])
        parts = [part for e in ended for part in e.parts or [[]] * len(e.origins)]
        origins = [origin for e in ended for origin in e.origins]
        finals = [value for e in ended for value in e.change.observations or [_IN_ROW] * len(e.origins)]
        infos = [value for e in ended for value in e.change.infos or [_IN_ROW] * len(e.origins)]
        kept = [number for number, steps in enumerate((last - first).tolist()) if steps or parts[number]]
        if not kept:
            return []
        batch = block.gather(envs[kept], first[kept], last[kept])
        replaced = [place for place, number in enumerate(kept) if finals[number] is not _IN_ROW]
        if replaced:
            ends = np.cumsum(batch.total_steps + 1) - 1
            values = [finals[kept[place]] for place in replaced]
            batch = replace(batch, observations=block.observations.replaced(batch.observations, ends[replaced], values))
        found: list[EpisodeBuffer | BufferBatch] = []
        for kind, group in groupby(
            range(len(kept)), lambda place: self._kind(origins[kept[place]], parts[kept[place]])
        ):
            places = [*group]
            start, stop = places[0], places[-1] + 1
            some = batch.part(start, stop)
            if kind is not None and len(places) > 1 and _cut(some):
                metadata = [_metadata_of(origins[number]) for number in kept[start:stop]]
                found.append(
                    replace(some, metadata={key: np.array([row[key] for row in metadata]) for key in metadata[0]})
                )
                continue
            for number, buffer in zip(kept[start:stop], some.buffers(), strict=True):
                rows = range(int(first[number]), int(last[number]) + 1) if block.infos else ()
                row_infos = [block.info(row, int(envs[number])) for row in rows]
                if row_infos and infos[number] is not _IN_ROW:
                    row_infos[-1] = infos[number]
                part = _Part(**{name: getattr(buffer, name) for name in _COLUMNS}, infos=row_infos)
                found.append(_joined([*parts[number], part], origins[number]))
        return found

    def _kind(self, origin: Origin, parts: Sequence[_Part]) -> Any:
        """Return what episodes in one batch have in common; None for an episode that is stored alone."""
        if self._block.infos or parts or origin.options:
            return None
        return origin.seed is not None, tuple(origin.metadata)

    def _continue_in_next_block(self) -> None:
        old = self._block
        row, running = old.head[0], np.flatnonzero(old.is_running)
        start = max(int(old.first[running].min(initial=row)), row - self._capacity // 2)
        new = _Block(self.num_envs, [column.continued(start, row + 1) for column in old.columns])
        new.head = row - start, None
        new.infos = {at - start: infos for at, infos in old.infos.items() if at >= start}
        new.own_infos = {(at - start, env): info for (at, env), info in old.own_infos.items() if at >= start}
        new.is_running, new.origins = old.is_running.copy(), [*old.origins]
        new.first = np.maximum(old.first - start, 0)
        new.earlier_steps, new.parts = old.earlier_steps.copy(), [[*parts] for parts in old.parts]
        begun = running[old.first[running] < start]
        new.earlier_steps[begun] += start - old.first[begun]
        for env, part in zip(begun.tolist(), old.parts_of(begun, start), strict=True):
            new.parts[env].append(part)
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
        """End all episodes, truncated unless they have terminated, and give them to the keeper."""
        with self.lock.current:
            self.end(np.arange(self.num_envs), continues=False)
            self.hand_over()
            self.clear()

    def disown(self) -> None:
        """Drop the episodes that have ended, in a forked child, whose parent has them."""
        self._out = [], []


def _steps_of(episodes: EpisodeBuffer | BufferBatch) -> int:
    return len(episodes) if isinstance(episodes, EpisodeBuffer) else int(episodes.total_steps.sum())


def _metadata_of(origin: Origin) -> dict[str, int]:
    return {**origin.metadata, **({} if origin.seed is None else {"seed": origin.seed})}


def _cut(batch: BufferBatch) -> bool:
    """Mark the last step of each episode as truncated unless it is terminated; return False if the flags are odd."""
    flags = batch.terminations, batch.truncations
    if not all(isinstance(values, np.ndarray) and values.dtype == np.bool_ for values in flags):
        return False
    last = np.cumsum(batch.total_steps) - 1
    batch.truncations[last] |= ~batch.terminations[last]
    return True


def _joined(parts: Sequence[_Part], origin: Origin) -> EpisodeBuffer:
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
    fields = dict(zip(_COLUMNS, values, strict=True))
    return EpisodeBuffer(
        **fields, infos=infos or None, seed=origin.seed, options=origin.options, metadata=origin.metadata
    )
