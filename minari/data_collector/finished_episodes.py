"""The finished episodes of a collector in memory: encoded, and set aside if they cannot be stored.

An episode in which everything is as usual waits until there are many of them, which are encoded together. Any other
is encoded when it ends, so that problems are reported immediately.
"""

from __future__ import annotations

import sys
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, TypeAlias

from minari._base.json_text import shortened
from minari._model.buffer_batches import joined
from minari._model.episode_buffer import AnyEpisodeBuffer, BufferBatch, EpisodeBuffer, MultiAgentEpisodeBuffer
from minari._model.episode_codec import REWARDS, size_of, without_info
from minari._model.infos import discard_info
from minari._storages.write_session import other_reward_shape
from minari.data_collector.callbacks.episode_metadata import EpisodeMetadataCallback, statistics_of_batch
from minari.data_collector.open_recording import OpenRecording
from minari.errors import EpisodeError, MetadataError, MinariError, UnfitEpisodeWarning
from minari.spaces import EpisodeBatch, EpisodeColumns


#: What a collector warns about, once the lock is free: a warning may be an exception.
PendingWarning: TypeAlias = str | UnfitEpisodeWarning

_BUFFER_BYTES = 64 * 2**20
_LARGE_BYTES = 2**20  # of batches, from which on joining them costs more than it saves
_SMALL_BYTES = 2**16  # of episodes that are encoded together
_ENCODED_AT_A_TIME = 512  # episodes


@dataclass(eq=False, slots=True)
class Finished:
    """An episode in memory.

    Attributes:
        steps: number of its steps.
        index: its number among all recorded episodes; that of a storable episode may change.
        buffer: the recorded buffer, until it is encoded, or the batch of buffers that it is part of.
        kind: what episodes have in common that are encoded together; None for one that does not wait for that.
        batch: the batch with the encoded episode, if it is part of one.
        number: its number in the batch.
        episode: the encoded episode, unless it is part of a batch.
        size: its approximate memory in bytes, if it can be stored.
        error: the reason why it cannot be stored.
        row: its row in the last attempt to write; it has been written if the recording has more episodes.
    """

    steps: int
    index: int
    buffer: AnyEpisodeBuffer | BufferBatch | None
    kind: tuple[Any, ...] | None = None
    batch: EpisodeBatch | None = None
    number: int = 0
    episode: EpisodeColumns | None = None
    size: int = 0
    error: Exception | None = None
    row: int = sys.maxsize

    @property
    def is_encoded(self) -> bool:
        """Return whether it is encoded."""
        return self.episode is not None or self.batch is not None

    @property
    def is_waiting(self) -> bool:
        """Return whether it waits to be encoded with others of its kind."""
        return self.kind is not None and not self.is_encoded

    @property
    def is_ready(self) -> bool:
        """Return whether it can be stored; it is encoded, or waits for that."""
        return self.error is None and (self.kind is not None or self.is_encoded)

    def separate(self) -> EpisodeColumns | None:
        """Return the encoded episode, which is no longer part of a batch."""
        if self.batch is not None:
            self.episode = self.batch[self.number]
            self.batch = self.buffer = None
        return self.episode


class FinishedEpisodes:
    """Episodes in memory, with a limit to their steps and bytes. Not thread-safe.

    Args:
        written: the episodes before these, on disk.
        describe: returns the metadata of an episode.
        buffer_steps: maximum number of steps in memory, of these and of the current episode.

    Attributes:
        kept: the episodes, in order.
        steps: number of steps of storable episodes.
        warnings: problems that have not been reported.
    """

    def __init__(
        self, written: OpenRecording, describe: Callable[[dict[str, Any]], Mapping[str, Any]], buffer_steps: int
    ) -> None:
        self._written, self._describe, self._buffer_steps = written, describe, buffer_steps
        self._has_plain_statistics = type(describe) is EpisodeMetadataCallback
        self.kept: list[Finished] = []
        self.steps = 0
        self.warnings: list[PendingWarning] = []
        self._latest: weakref.ref[AnyEpisodeBuffer] | None = None
        self._oldest = 0.0  # end of the oldest storable episode
        self.recount()

    @property
    def ready(self) -> list[Finished]:
        """Return the episodes that can be stored."""
        return [finished for finished in self.kept if finished.is_ready]

    @property
    def has_ready(self) -> bool:
        """Return whether there is an episode that can be stored."""
        return any(finished.is_ready for finished in self.kept)

    @property
    def unfit(self) -> list[Finished]:
        """Return the episodes that cannot be stored."""
        return [finished for finished in self.kept if finished.error is not None]

    # Limits

    @property
    def is_full(self) -> bool:
        """Return whether the episodes must be written."""
        return self.steps >= self._next_flush or self._bytes >= _BUFFER_BYTES

    @property
    def age(self) -> float:
        """Return for how many seconds the oldest storable episode has been finished; 0 if there is none."""
        return time.monotonic() - self._oldest if self.steps else 0.0

    @property
    def remaining_capacity(self) -> int:
        """Return how many steps the current episode may have before the finished ones must be written."""
        return self._next_flush - self.steps if self.steps else sys.maxsize

    def capacity_for(self, row_bytes: int) -> int:
        """Return how many steps of that size the current episode may have before finished ones must be written."""
        if not self.steps:
            return sys.maxsize
        return min(self.remaining_capacity, max(0, _BUFFER_BYTES - self._bytes) // max(row_bytes, 1))

    def postpone(self, running: int) -> None:
        """Wait for as many steps and bytes again, since the episodes cannot be written now.

        Args:
            running: number of steps of the current episode.
        """
        self._next_flush = 2 * (self.steps + running)
        self._bytes = 0

    def recount(self) -> None:
        """Count the storable episodes again, after some of them or the written ones have changed."""
        ready = self.ready
        if not ready:
            self._next_flush = self._buffer_steps
        self._ready_count = len(ready)
        self.steps = sum(finished.steps for finished in ready)
        self._bytes = sum(finished.size for finished in ready)
        self._reward_shape = self._written.reward_shape  # of the storable episodes; None if there is none
        if self._reward_shape is None and ready:
            self._reward_shape = self._reward_shape_of(ready[0])

    def _reward_shape_of(self, finished: Finished) -> tuple[int, ...] | None:
        """Return the shape of the reward of a step of a storable episode."""
        encoded = finished.batch or finished.episode
        return () if encoded is None else self._written.codec.reward_shape(encoded.columns)

    # Adding

    def add(self, buffer: AnyEpisodeBuffer) -> None:
        """Add and encode an episode; a second call for the same one, after an interruption, completes the first."""
        is_known = self._latest is not None and self._latest() is buffer
        if not is_known and not (self.kept and self.kept[-1].buffer is buffer):
            self.kept.append(Finished(len(buffer), self._written.episodes + len(self.kept), buffer))
        self._latest = weakref.ref(buffer)
        self.encode_new()
        if is_known:
            self.recount()

    def add_batch(self, batch: BufferBatch) -> bool:
        """Add and encode the episodes of a batch; a second call for the same one completes the first.

        Returns:
            False if they have to be added one by one, and none has been added.
        """
        if self.kept and self.kept[-1].buffer is batch:
            self.recount()
            return True
        encoded = self._encoded_batch(batch)
        if encoded is None:
            return False
        was_empty, first = not self.steps, self._written.episodes + len(self.kept)
        size = encoded.nbytes // len(encoded)
        self.kept += [
            Finished(steps, first + number, batch, batch=encoded, number=number, size=size)
            for number, steps in enumerate(batch.total_steps.tolist())
        ]
        if was_empty:
            self._oldest = time.monotonic()
            self._reward_shape = encoded.columns[REWARDS].shape[1:]
        self._ready_count += len(encoded)
        self.steps += int(batch.total_steps.sum())
        self._bytes += encoded.nbytes
        return True

    def _encoded_batch(self, batch: BufferBatch) -> EpisodeBatch | None:
        """Return encoded episodes; None if one is unusual, or needs the callback."""
        if not self._has_plain_statistics:
            return None
        columns = self._written.codec.encode_batch(batch)
        if columns is None or self._reward_shape not in (None, columns[REWARDS].shape[1:]):
            return None
        statistics = statistics_of_batch(columns[REWARDS], batch.total_steps)
        return (
            None if statistics is None else EpisodeBatch(batch.total_steps, columns, {**batch.metadata, **statistics})
        )

    def encode_new(self) -> None:
        """Encode the latest episodes, apart from those that wait for that, and report those that cannot be stored."""
        first = len(self.kept)
        while first and not self.kept[first - 1].is_ready and self.kept[first - 1].error is None:
            first -= 1
        for finished in self.kept[first:]:
            if not self._waits(finished):
                self._encode(finished)
            if finished.error is not None:
                self.warnings.append(_unfit_warning(finished))

    def _waits(self, finished: Finished) -> bool:
        """Let an episode wait to be encoded with others if it is small and nothing in it is unusual."""
        buffer, codec = finished.buffer, self._written.codec
        if not self._has_plain_statistics or not isinstance(buffer, EpisodeBuffer):
            return False
        size, kind = finished.steps * codec.step_bytes, codec.kind_in_batch(buffer)
        if kind is None or size > _SMALL_BYTES or self._reward_shape not in (None, ()):
            return False
        finished.size, finished.kind, self._reward_shape = size, kind, ()
        self._count(finished)
        return True

    def encode_waiting(self) -> None:
        """Encode the episodes that wait for that."""
        for is_waiting, group in groupby(self.kept, lambda finished: finished.is_waiting and finished.kind):
            episodes = list(group) if is_waiting else []
            for start in range(0, len(episodes), _ENCODED_AT_A_TIME):
                self._encode_together(episodes[start : start + _ENCODED_AT_A_TIME])

    def _encode_together(self, waiting: Sequence[Finished]) -> None:
        buffers = [finished.buffer for finished in waiting if isinstance(finished.buffer, EpisodeBuffer)]
        batch = self._encoded_batch(joined(buffers))
        if batch is None:
            for finished in waiting:
                finished.kind = None
                self._encode(finished)
            self.recount()
            return
        size = batch.nbytes // len(batch)
        self._bytes += size * len(batch) - sum([finished.size for finished in waiting])
        for number, finished in enumerate(waiting):
            finished.size, finished.number, finished.batch, finished.buffer = size, number, batch, None

    def _encode(self, finished: Finished) -> None:
        """Encode an episode, or keep the reason why that is not possible."""
        if isinstance(finished.buffer, AnyEpisodeBuffer):
            try:
                finished.episode = self._encoded(finished.buffer)
            except Exception as error:  # including errors in a callback: the recording must continue
                finished.error = error
                return
            finished.buffer = None
        if finished.episode is not None:
            shape = self._written.codec.reward_shape(finished.episode.columns)
            if self._reward_shape is None:
                self._reward_shape = shape
            if shape is not None and self._reward_shape is not None:
                finished.error = other_reward_shape(shape, self._reward_shape)
            if finished.error is not None:
                return
            finished.size = size_of(finished.episode)
            self._count(finished)

    def _count(self, finished: Finished) -> None:
        self._oldest = self._oldest if self.steps else time.monotonic()
        self._ready_count += 1
        self.steps += finished.steps
        self._bytes += finished.size

    def _encoded(self, buffer: AnyEpisodeBuffer) -> EpisodeColumns:
        codec, index = self._written.codec, self._written.episodes + self._ready_count
        episode = codec.encode(buffer)
        fields = codec.fields(index, episode.columns, episode.total_steps)
        codec.describe(episode, checked_description(self._describe(fields)))
        return episode

    # Removing

    def remove_written(self) -> None:
        """Remove the episodes that the recording has."""
        rows = self._written.rows
        if any(finished.row < rows for finished in self.kept):
            self.kept = [finished for finished in self.kept if finished.row >= rows]
            self.recount()

    def renumber(self) -> None:
        """Number the episodes from 0, since no written ones precede them any more."""
        for number, finished in enumerate(self.kept):
            finished.row, finished.index = sys.maxsize, number
        self.recount()

    def discard(self, index: int) -> None:
        """Drop the episode with that number among all recorded ones, in memory or written."""
        dropped = next((finished for finished in self.unfit if finished.index == index), None)
        if dropped is None:
            position = index - sum(finished.index < index for finished in self.unfit)  # among storable ones
            written = self._written.episodes
            if position < written:
                self._written.discard_episode(position)
            else:
                dropped = self.ready[position - written]
        self.kept = [finished for finished in self.kept if finished is not dropped]
        self.recount()
        self._close_gap(index)

    def discard_info(self, name: str) -> None:
        """Drop an info from all episodes in memory."""
        for finished in self.kept:
            buffer = finished.buffer
            trajectories = buffer.agents.values() if isinstance(buffer, MultiAgentEpisodeBuffer) else [buffer]
            for trajectory in trajectories:
                if isinstance(trajectory, EpisodeBuffer) and trajectory.infos is not None:
                    discard_info(trajectory.infos, name)
            if finished.episode is not None:  # a batch has no infos
                finished.episode = without_info(finished.episode, name)
                finished.size = size_of(finished.episode)

    def _close_gap(self, index: int) -> None:
        """Close the gap in the numbers after an episode was dropped."""
        for other in self.unfit:
            if other.index > index:
                other.index -= 1

    # Episodes that cannot be stored

    def refuse(self, finished: Finished, error: Exception) -> None:
        """Set an episode aside that the format cannot store."""
        finished.error = error
        self.warnings.append(_unfit_warning(finished))
        self.recount()

    def mend(self) -> None:
        """Encode episodes again that could not be stored, since the cause may have been in a callback."""
        self.encode_new()
        for finished in self.unfit:
            finished.error = None
            self._encode(finished)
            if finished.error is None:
                self._close_gap(finished.index)

    def report_other_problems(self, reported: set[str]) -> None:
        """Warn of episodes that cannot be stored for another reason than those in a set, to which it is added."""
        for finished in self.unfit:
            if str(finished.error) not in reported:
                reported.add(str(finished.error))
                self.warnings.append(_unfit_warning(finished))

    def check_unfit(self) -> None:
        """Raise if there are episodes that cannot be stored.

        Raises:
            EpisodeError: or the exception of a callback.
        """
        unfit = self.unfit
        if not unfit:
            return
        advice = "drop them with discard_episode, or leave them out with on_error='skip'"
        error = unfit[0].error
        if error is not None and not isinstance(error, (EpisodeError, MetadataError)):
            if hasattr(error, "add_note"):
                error.add_note(f"This was raised for {_numbers(unfit)}; {advice}.")
            raise error
        causes = " ".join(f"Episode {finished.index} cannot be stored. {finished.error}" for finished in unfit[:10])
        more = f" The same holds for {_numbers(unfit)}." if len(unfit) > 10 else ""
        message = f"{causes}{more} Fix the cause, {advice}."
        if not isinstance(error, EpisodeError):
            raise (MetadataError if error else EpisodeError)(message) from error
        problem = f"Episode {unfit[0].index} cannot be stored. {error.problem}"
        raise type(error)(message, info_path=error.info_path, problem=problem) from error

    def skipped_warning(self) -> list[PendingWarning]:
        """Return a sentence about the episodes that are left out of a dataset, if there are any."""
        unfit = self.unfit
        if not unfit:
            return []
        verb = "is" if len(unfit) == 1 else "are"
        return [f"{_numbers(unfit).capitalize()} cannot be stored and {verb} left out: {unfit[0].error}"]


def in_batches(ready: Sequence[Finished]) -> list[EpisodeColumns | EpisodeBatch]:
    """Return encoded episodes, in their order, with batches that are worth their own cost."""
    found: list[EpisodeColumns | EpisodeBatch] = []
    for _, of_batch in groupby(ready, lambda finished: id(finished.batch)):
        episodes = list(of_batch)
        batch = episodes[0].batch
        if batch is None or len(episodes) < len(batch):  # or some of them have been dropped
            found += [episode for finished in episodes if (episode := finished.separate()) is not None]
        else:
            found.append(batch)
    fewer: list[EpisodeColumns | EpisodeBatch] = []
    for _, group in groupby(found, lambda part: part.kinds if isinstance(part, EpisodeBatch) else None):
        parts = list(group)
        batches = [part for part in parts if isinstance(part, EpisodeBatch)]
        fewer += _joined(batches) if batches else parts
    return fewer


def _joined(batches: Sequence[EpisodeBatch]) -> list[EpisodeBatch]:
    """Return batches of the same kind with small ones joined."""
    found, some, size = [], [], 0
    for number, batch in enumerate(batches, 1):
        some.append(batch)
        size += batch.nbytes
        if size >= _LARGE_BYTES or number == len(batches):
            found.append(EpisodeBatch.joined(some))
            some, size = [], 0
    return found


def checked_description(metadata: Any) -> Mapping[str, Any]:
    """Return what an episode metadata callback has returned.

    Raises:
        MetadataError: it is not a dict.
    """
    if isinstance(metadata, Mapping):
        return metadata
    raise MetadataError(
        f"The episode metadata callback returned {shortened(metadata)}, expected a dict; return one that is based on "
        f"what super().__call__ returns."
    )


def _unfit_warning(finished: Finished) -> UnfitEpisodeWarning:
    error, index = finished.error, finished.index
    if isinstance(error, MinariError):
        problem = f"Episode {index} cannot be stored and stays in memory, apart from the others. {error}"
    else:  # such as an exception of a callback, which is called again
        problem = f"Episode {index} cannot be written yet and stays in memory ({type(error).__name__}: {error})."
    advice = f"Drop the episode with discard_episode({index}), or save the others with on_error='skip'."
    return UnfitEpisodeWarning(f"{problem} {advice}", error)


def _numbers(unfit: list[Finished]) -> str:
    numbers = ", ".join(str(finished.index) for finished in unfit)
    return f"episode {numbers}" if len(unfit) == 1 else f"the {len(unfit)} episodes {numbers}"
