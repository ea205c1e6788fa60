"""Queue of the finished episodes of a collector, between recording and a dataset.

An episode is encoded when it ends, so that problems are reported immediately. Valid episodes are written to a
recording when there are enough, or soon after; one that cannot be stored stays in memory separately, until it
is fixed or dropped.
"""

from __future__ import annotations

import os
import shlex
import sys
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields, replace
from typing import Any, Final, TypeAlias

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec

from minari._base.json_text import shortened
from minari._base.locks import Lock, ThreadLock
from minari._base.settings import get_datasets_root
from minari._base.system_errors import failures_logged
from minari._base.warnings import warn
from minari._catalog.layout import get_dataset_path
from minari._catalog.recordings import Recording, RecordingState, new_recording, resume_recording
from minari._model.arguments import check_whole_number
from minari._model.compression import CompressionChoice
from minari._model.env_spec import difference_up_to_max_episode_steps
from minari._model.episode_buffer import EpisodeBuffer
from minari._model.episode_codec import REWARDS, EpisodeCodec, size_of, without_info
from minari._model.episode_metadata import checked_metadata
from minari._model.infos import discard_info
from minari._storages.base import PathLike
from minari._storages.core import checked_compression
from minari._storages.registry import get_minari_storage
from minari._storages.write_session import append_encoded, other_reward_shape
from minari.data_collector import flush_timer
from minari.dataset.minari_dataset import MinariDataset
from minari.errors import (
    CombineError,
    DatasetBusyError,
    DatasetExistsError,
    DatasetIdError,
    DatasetNotFoundError,
    EpisodeError,
    EpisodeIndexError,
    MetadataError,
    MinariError,
    UnfitEpisodeWarning,
)
from minari.spaces import EpisodeColumns, codec_for
from minari.spaces.differences import differing_leaf


#: What a collector warns about, once the lock is free: a warning may be an exception.
PendingWarning: TypeAlias = str | UnfitEpisodeWarning

_BUFFER_BYTES = 64 * 2**20
#: Errors that concern the disk or the machine, not an episode.
_OF_THE_SYSTEM: Final = (OSError, DatasetBusyError, DatasetNotFoundError, MemoryError)


@dataclass(frozen=True, slots=True)
class Medium:
    """The spaces, environment and storage options of a recording.

    Attributes:
        observation_space: space of the observations.
        action_space: space of the actions.
        env_spec: spec of the environment.
        data_format: format of the storage; None for the default.
        jpeg_encoding: True to store frames as JPEG.
        compression: compression of the columns.
    """

    observation_space: gym.Space[Any]
    action_space: gym.Space[Any]
    env_spec: EnvSpec | None
    data_format: str | None
    jpeg_encoding: bool
    compression: CompressionChoice


@dataclass(eq=False, slots=True)
class _Finished:
    """An episode in memory.

    Attributes:
        steps: number of its steps.
        index: its number among all recorded episodes; that of a storable episode may change.
        buffer: the recorded buffer, until it is encoded.
        episode: the encoded episode.
        error: the reason why it cannot be stored.
        row: its row in the last attempt to write; it has been written if the recording has more episodes.
    """

    steps: int
    index: int
    buffer: EpisodeBuffer | None
    episode: EpisodeColumns | None = None
    error: Exception | None = None
    row: int = sys.maxsize

    @property
    def is_ready(self) -> bool:
        return self.episode is not None and self.error is None


class EpisodeQueue:
    """Queue that keeps finished episodes and writes them when there are enough or they are some seconds old.

    It is thread-safe. In a forked child it has the episodes in memory, and no recording.

    Args:
        medium: the spaces, environment and storage options.
        describe: returns the metadata of an episode.
        buffer_steps: maximum number of steps in memory, of these and of the current episode.
        root: root of the catalog.
        resume: name of a recording to continue.
    """

    def __init__(
        self,
        medium: Medium,
        *,
        describe: Callable[[dict[str, Any]], Mapping[str, Any]],
        buffer_steps: int,
        root: PathLike | None,
        resume: str | None = None,
    ) -> None:
        self._codec = EpisodeCodec(medium.observation_space, medium.action_space)
        self._describe, self._buffer_steps = describe, buffer_steps
        # The current value: at the end of the program, or some seconds later, the variable may be different.
        self._root = get_datasets_root(root)
        self._given_root = root
        self._lock = ThreadLock()
        self._is_inherited = False
        recording, held = None, None
        if resume is not None:
            recording, held = resume_recording(resume, root)
            try:
                medium = _checked_medium(medium, recording)
            except BaseException:
                if held is not None:
                    held.release()
                raise
        self._medium, self._data_format = medium, medium.data_format or "hdf5"
        # Options that the format does not support are rejected before anything is recorded.
        storage_type = get_minari_storage(self._data_format)
        checked_compression(storage_type, self._codec, medium.compression, medium.jpeg_encoding)
        self._start_again(recording, held)
        if recording is not None:
            self._state = replace(recording.state, pid=os.getpid(), ended=None, failure=None)
            recording.write_state(self._state)
        _all.add(self)

    def _start_again(self, recording: Recording | None = None, held: Lock | None = None) -> None:
        """Reset to an empty queue, with only what a recording has on disk."""
        self._recording, self._held = recording, held
        # Counted here, since other programs may remove a recording at any time.
        self._rows = recording.storage.total_episodes if recording else 0
        self._discarded = recording.discarded_rows if recording else []
        self._written_steps = recording.steps if recording else 0
        self._kept: list[_Finished] = []
        self._reward_shape = self._reward_shape_of([])
        self._latest: weakref.ref[EpisodeBuffer] | None = None
        self._ready_count = self._steps = self._bytes = 0  # of storable episodes
        self._next_flush = self._buffer_steps
        self._oldest = 0.0  # end of the oldest storable episode
        self._is_scheduled = self._has_failed = self._is_told = False
        self._is_unsure = False  # whether what was written last has been written
        self._warnings: list[PendingWarning] = []  # of the other thread
        self._state = RecordingState(pid=os.getpid())

    @property
    def total_episodes(self) -> int:
        """Return the number of episodes, in memory and written."""
        with self._lock.current:
            return self._written_episodes + len(self._kept)

    @property
    def total_steps(self) -> int:
        """Return the number of steps, in memory and written."""
        with self._lock.current:
            return self._written_steps + sum([finished.steps for finished in self._kept])

    @property
    def _written_episodes(self) -> int:
        return self._rows - len(self._discarded)

    @property
    def _ready(self) -> list[_Finished]:
        return [finished for finished in self._kept if finished.is_ready]

    @property
    def _unfit(self) -> list[_Finished]:
        return [finished for finished in self._kept if finished.error is not None]

    @property
    def remaining_capacity(self) -> int:
        """Return how many steps the current episode may have before the finished ones must be written."""
        return self._next_flush - self._steps if self._steps else sys.maxsize

    def capacity_for(self, row_bytes: int) -> int:
        """Return how many steps of that size the current episode may have before finished ones must be written."""
        return (
            min(self.remaining_capacity, max(0, _BUFFER_BYTES - self._bytes) // max(row_bytes, 1))
            if self._steps
            else sys.maxsize
        )

    def add(self, buffer: EpisodeBuffer) -> list[PendingWarning]:
        """Add a finished episode; a second call for the same one, after an interruption, completes the first.

        Returns:
            Problems with storing or writing, one sentence each.
        """
        with self._lock.current:
            is_known = self._latest is not None and self._latest() is buffer
            if not is_known and not (self._kept and self._kept[-1].buffer is buffer):
                self._kept.append(_Finished(len(buffer), self._written_episodes + len(self._kept), buffer))
            self._latest, self._is_inherited, self._is_told = weakref.ref(buffer), False, False
            self._encode_new()
            # Overdue: the other thread has not done its work, or there could be none.
            is_overdue = bool(self._steps) and time.monotonic() - self._oldest > flush_timer.FLUSH_AFTER + 1
            if self._steps >= self._next_flush or self._bytes >= _BUFFER_BYTES or is_overdue:
                return self.free_memory()
            self._schedule()
            return self.take_warnings()

    def take_warnings(self) -> list[PendingWarning]:
        """Return the problems with storing or writing since the last call, one sentence each."""
        warnings = list(self._warnings)
        self._warnings.clear()
        return warnings

    def _schedule(self) -> None:
        """Ensure that the episodes in memory will be written, whatever the program does."""
        if self._steps and not self._is_scheduled:
            self._is_scheduled = flush_timer.flush_timer.call_later(self._flush_in_time)

    def _encode_new(self) -> None:
        """Encode the latest episodes that are not encoded yet, and report those that cannot be stored."""
        first = len(self._kept)
        while first and self._kept[first - 1].episode is None and self._kept[first - 1].error is None:
            first -= 1
        for finished in self._kept[first:]:
            self._encode(finished)
            if finished.error is not None:
                self._warnings.append(_unfit_warning(finished))

    def _encode(self, finished: _Finished) -> None:
        """Encode an episode, or keep the reason why that is not possible."""
        if finished.buffer is not None:
            try:
                finished.episode = self._encoded(finished.buffer)
            except Exception as error:  # including errors in a callback: the recording must continue
                finished.error = error
                return
            finished.buffer = None
        if finished.episode is not None:
            shape = finished.episode.columns[REWARDS].shape[1:]
            if self._reward_shape is None:
                self._reward_shape = shape
            finished.error = other_reward_shape(shape, self._reward_shape)
            if finished.error is not None:
                return
            self._oldest = self._oldest if self._steps else time.monotonic()
            self._ready_count += 1
            self._steps += finished.steps
            self._bytes += size_of(finished.episode)

    def _encoded(self, buffer: EpisodeBuffer) -> EpisodeColumns:
        index = self._written_episodes + self._ready_count
        episode = self._codec.encode(buffer)
        metadata = self._describe(self._codec.fields(index, episode.columns))
        if not isinstance(metadata, Mapping):
            raise MetadataError(
                f"The episode metadata callback returned {shortened(metadata)}, expected a dict; return one that is "
                f"based on what super().__call__ returns."
            )
        episode.metadata.update(checked_metadata(metadata))
        return episode

    def free_memory(self, running: int = 0) -> list[PendingWarning]:
        """Write the episodes in memory to the recording; return problems like :meth:`add`.

        Args:
            running: number of steps of the current episode.
        """
        with self._lock.current:
            try:
                self._flush()
            except Exception as error:  # the step must not fail
                # The episodes stay in memory, and the next attempt is made after as many again.
                self._next_flush = 2 * (self._steps + running)
                self._bytes = 0
                self._warnings.append(_not_yet(error))
            return self.take_warnings()

    def _flush_in_time(self) -> None:
        """Write the episodes in memory, in the thread of the timer; the next call reports problems."""
        with self._lock.current:
            self._is_scheduled = False
            try:
                self._flush()
            except Exception as error:  # the disk may have space again in some seconds
                if not self._has_failed:
                    self._warnings.append(_not_yet(error))
                self._has_failed = True
                self._schedule()

    def _flush(self) -> None:
        """Write the storable episodes in memory to the recording, all of them or none."""
        if not self._kept:
            return
        self._forget_what_is_gone()
        self._settle()
        if not self._ready:
            return
        begins = self._recording is None
        if begins:
            self._begin()
        try:
            self._append()
            self._has_failed = False
        finally:
            if begins and self._recording is not None and self._recording.storage.total_episodes == 0:
                self._abandon()

    def _begin(self) -> Recording:
        """Start a recording, and register it as soon as it exists."""
        self._recording = recording = new_recording(
            self._medium.observation_space,
            self._medium.action_space,
            self._medium.env_spec,
            self._data_format,
            jpeg_encoding=self._medium.jpeg_encoding,
            compression=self._medium.compression,
            root=self._root,
            codec=self._codec,
        )
        self._held = recording.hold()
        self._state = replace(self._state, pid=os.getpid(), ended=None)
        recording.write_state(self._state)
        return recording

    def _abandon(self) -> None:
        recording, held = self._recording, self._held
        self._recording = self._held = None
        if held is not None:
            held.release()
        if recording is not None:
            with failures_logged(f"Removing the recording {recording.name}, which has no episode,"):
                recording.discard()

    def _append(self) -> None:
        """Write storable episodes together, or one by one if the format rejects one."""
        try:
            self._append_to_recording(self._ready)
        except _OF_THE_SYSTEM:
            raise
        except Exception:
            self._settle()  # the error may have occurred after they were written
            for finished in list(self._ready):
                try:
                    self._append_to_recording([finished])
                except _OF_THE_SYSTEM:
                    raise
                except Exception as error:
                    self._settle()
                    if any(kept is finished for kept in self._kept):
                        finished.error = error
                        self._warnings.append(_unfit_warning(finished))
                        self._recount()
        except BaseException:
            with suppress(Exception):  # the next flush tries again
                self._settle()
            raise

    def _append_to_recording(self, ready: list[_Finished]) -> None:
        if self._recording is None:  # it was found to be removed
            return
        for finished in self._kept:
            finished.row = sys.maxsize
        for row, finished in enumerate(ready, self._rows):
            finished.row = row
        episodes = [finished.episode for finished in ready if finished.episode is not None]
        self._is_unsure = True
        append_encoded(self._recording.storage, episodes)
        # If the system failed after the commit, the next writer applies the change.
        self._is_unsure = self._recording.storage.total_episodes < self._rows + len(episodes)
        self._settle()

    def _settle(self) -> None:
        """Remove written episodes from the queue, even if an interruption occurred just after writing."""
        if self._recording is not None:
            if self._is_unsure:
                with self._recording.storage.writing():  # completes a committed change
                    self._is_unsure = False
            self._rows = self._recording.storage.total_episodes
            if any(finished.row < self._rows for finished in self._kept):
                self._kept = [finished for finished in self._kept if finished.row >= self._rows]
                self._written_steps = self._recording.steps
                self._recount()

    def _recount(self) -> None:
        ready = self._ready
        if not ready:
            self._next_flush = self._buffer_steps
        self._ready_count = len(ready)
        self._steps = sum(finished.steps for finished in ready)
        self._bytes = sum(size_of(finished.episode) for finished in ready if finished.episode is not None)
        self._reward_shape = self._reward_shape_of(ready)

    def _reward_shape_of(self, ready: list[_Finished]) -> tuple[int, ...] | None:
        """Return the shape of the reward of a step in the storable episodes; None if there is none."""
        if self._recording is not None and self._rows:
            return self._recording.storage.reward_shape
        first = next((finished.episode for finished in ready if finished.episode is not None), None)
        return None if first is None else first.columns[REWARDS].shape[1:]

    def _forget_what_is_gone(self) -> None:
        """Detect that the recording was recovered, deleted or resumed elsewhere; a new one begins then."""
        recording = self._recording
        if recording is None:
            return
        is_there = recording.path.exists()
        if is_there and (self._held is None or not self._held.is_held):
            self._held = recording.hold()
            is_there = self._held is not None or not recording.is_in_progress
        if is_there:
            return
        self._release()
        gone, episodes = recording.name, self._written_episodes
        self._recording, self._rows, self._discarded, self._written_steps = None, 0, [], 0
        self._state = RecordingState(pid=os.getpid())
        for number, finished in enumerate(self._kept):
            finished.row, finished.index = sys.maxsize, number
        self._recount()
        self._warnings.append(
            f"The recording {gone} with {episodes} episodes is gone; `minari recover` may have made a dataset of "
            f"it while it was in progress. A new one begins with the {len(self._kept)} episodes after it."
        )

    def _release(self) -> None:
        if self._held is not None:
            self._held.release()
            self._held = None

    # Saving

    @contextmanager
    def saving(self, dataset_id: str, description: Mapping[str, Any]) -> Iterator[None]:
        """Store the intended dataset in the recording until it has been created.

        Args:
            dataset_id: id of the dataset.
            description: its metadata, as far as JSON can represent it.
        """
        if self._is_inherited and not self._kept:
            yield
            return
        self._update_state(dataset_id=str(dataset_id), metadata=dict(description), failure=None)
        try:
            yield
        except BaseException as error:
            if isinstance(error, (DatasetIdError, DatasetExistsError)):
                self._update_state(dataset_id=None)  # it would be rejected again
            reason = str(error).partition("\n")[0] or type(error).__name__
            self._update_state(failure=f"{reason[:200]}…" if len(reason) > 200 else reason)
            raise

    def _update_state(self, **changes: Any) -> None:
        with self._lock.current:
            self._state = replace(self._state, **changes)
            if self._recording is not None:
                with suppress(MinariError, OSError):  # a full disk must not prevent anything else
                    self._recording.write_state(self._state)

    def publish(self, dataset_id: str, metadata: Mapping[str, Any], skips: bool) -> MinariDataset:
        """Create a dataset from all episodes.

        Args:
            dataset_id: id of the dataset.
            metadata: metadata of the dataset.
            skips: True to omit episodes that cannot be stored.

        Raises:
            EpisodeError: there is none, or one cannot be stored and is not omitted; all are kept.
        """
        with self._lock.current:
            self._forget_what_is_gone()
            self._follow_root()
            if self.total_episodes == 0:
                _warn(self.take_warnings())
                raise EpisodeError(
                    f"Nothing has been recorded for the dataset {dataset_id}, expected at least one step after a "
                    f"reset; run the environment first."
                )
            kept = {key: value for key, value in metadata.items() if key not in ("dataset_id", "minari_version")}
            self._update_state(metadata=kept)
            self._mend_or_raise(skips)
            self._flush()
            self._check_unfit(skips)  # the format may have rejected one
            if self._recording is None or not self._written_episodes:
                raise EpisodeError(f"No episode can be stored, so there is none for the dataset {dataset_id}.")
            warnings = self.take_warnings() + _skipped_warning(self._unfit)
            data_path = self._recording.publish(dataset_id, metadata)
            self._release()
            self._start_again()
        _warn(warnings)
        return MinariDataset(data_path)

    def _follow_root(self) -> None:
        """Move to the current root, if the program has changed it since the collector was created."""
        root = get_datasets_root(self._given_root)
        if root == self._root:
            return
        self._root, before, held = root, self._recording, self._held
        if before is not None:
            before.append_to(self._begin().storage)
            self._rows, self._discarded = self._written_episodes, []
            if held is not None:
                held.release()
            before.discard()

    def append_to(self, dataset: MinariDataset, skips: bool) -> None:
        """Append all episodes to a dataset."""
        _check_same_layout(self._medium, dataset)
        with self._lock.current:
            self._forget_what_is_gone()
            self._mend_or_raise(skips)
            refused: list[PendingWarning] = []
            try:
                self._append_all_to(dataset, skips)
            except (EpisodeError, MetadataError) as error:
                if not skips:
                    raise
                refused = self._append_others_to(dataset, error)
            warnings = self.take_warnings() + _skipped_warning(self._unfit) + refused
            saved = self._recording
            self._release()
            self._start_again()
            if saved is not None:
                with failures_logged(f"Removing the recording {saved.name}, whose episodes are in {dataset.id} now,"):
                    saved.discard()
        _warn(warnings)

    def _append_all_to(self, dataset: MinariDataset, skips: bool) -> None:
        if self._recording is None:
            ready = [finished.episode for finished in self._ready if finished.episode is not None]
            with dataset.appending():
                append_encoded(dataset.storage, ready)
            return
        self._flush()
        self._check_unfit(skips)
        recording = self._recording
        self._update_state(adding=self._mark_of(dataset))
        with dataset.appending():
            recording.append_to(dataset.storage)

    def _append_others_to(self, dataset: MinariDataset, reason: Exception) -> list[PendingWarning]:
        """Append the episodes that the format of the dataset can store, if it cannot store all of them.

        Args:
            dataset: the dataset.
            reason: the error, which is raised if no episode remains.

        Returns:
            A sentence about those that are omitted.
        """
        self._flush()  # finds those that the format of the recording cannot store
        recording = self._recording
        refused = {} if recording is None else recording.refused_by(dataset.storage)
        if recording is None or len(refused) == recording.episodes:
            raise reason
        rows = [row for row in recording.rows if row not in refused]
        with dataset.appending():
            recording.append_to(dataset.storage, rows)
        if not refused:
            return []
        first = next(iter(refused.values()))
        return [f"{len(refused)} more cannot be stored in the dataset {dataset.id} and are left out: {first}"]

    def _mark_of(self, dataset: MinariDataset) -> dict[str, Any]:
        """Return the state that identifies the recording in a dataset if the program is killed before deleting it."""
        with suppress(MinariError, OSError):
            place = get_dataset_path(dataset.id, root=self._root) / "data"
            if place.samefile(dataset.storage.data_path):
                return {"dataset_id": dataset.id, "first": dataset.storage.total_episodes}
        return {}

    def _mend_or_raise(self, skips: bool) -> None:
        """Encode invalid episodes again, since the cause may have been in a callback."""
        self._mend()
        self._check_unfit(skips)

    def _mend(self) -> None:
        self._encode_new()
        for finished in self._unfit:
            finished.error = None
            self._encode(finished)
            if finished.error is None:
                self._close_gap(finished.index)

    def _close_gap(self, index: int) -> None:
        """Close the gap in the numbers after an episode was dropped."""
        for other in self._unfit:
            if other.index > index:
                other.index -= 1

    def _check_unfit(self, skips: bool) -> None:
        """Report the episodes that cannot be stored, unless they are omitted.

        Raises:
            EpisodeError: or the exception of a callback.
        """
        unfit = self._unfit
        if not unfit or skips:
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

    # Dropping

    def discard_episode(self, index: int) -> None:
        """Drop one episode.

        Raises:
            EpisodeIndexError: there is none of that number.
            ArgumentTypeError: the number is not an int.
        """
        check_whole_number("index", index)
        with self._lock.current:
            total = self.total_episodes
            if not -total <= index < total:
                raise EpisodeIndexError(
                    f"There is no recorded episode {index}, expected a number from {-total} to {total - 1}."
                    if total
                    else f"There is no recorded episode {index}, since nothing is recorded."
                )
            self._forget_what_is_gone()
            self._settle()
            index %= total
            unfit = {finished.index: finished for finished in self._unfit}
            dropped = unfit.get(index)
            if dropped is None:
                place = index - sum(number < index for number in unfit) - self._written_episodes
                if place < 0:
                    self._discard_written(place + self._written_episodes)
                else:
                    dropped = self._ready[place]
            if dropped is not None:
                self._kept = [finished for finished in self._kept if finished is not dropped]
                self._recount()
            self._close_gap(index)

    def _discard_written(self, place: int) -> None:
        if self._recording is not None:
            self._recording.discard_rows([self._recording.rows[place]])
            self._discarded = self._recording.discarded_rows
            self._written_steps = self._recording.steps
            if not self._written_episodes:
                self._abandon()  # a new one may have other rewards
                self._rows, self._discarded = 0, []
                self._recount()

    def discard_info(self, name: str) -> list[PendingWarning]:
        """Drop an info from all episodes.

        Returns:
            Problems of episodes that could not be stored for another reason before, one sentence each.
        """
        with self._lock.current:
            self._forget_what_is_gone()
            for finished in self._kept:
                if finished.buffer is not None and finished.buffer.infos is not None:
                    discard_info(finished.buffer.infos, name)
                if finished.episode is not None:
                    finished.episode = without_info(finished.episode, name)
            if self._recording is not None and self._written_episodes:
                self._recording.discard_info(name)
            reasons = {str(finished.error) for finished in self._unfit}
            self._mend()
            for finished in self._unfit:
                if str(finished.error) not in reasons:
                    reasons.add(str(finished.error))
                    self._warnings.append(_unfit_warning(finished))
            self._recount()
            self._schedule()
            return self.take_warnings()

    # The end

    def leave(self, how: str) -> str | None:
        """Write the episodes in memory when the collector is left.

        Args:
            how: how the collector is left, as a phrase.

        Returns:
            A sentence about the recording or the loss; None if there is nothing to report, or it has been reported.
        """
        with self._lock.current:
            if self._is_inherited or self._is_told:
                return None
            problem = None
            try:
                self._encode_new()
                self._forget_what_is_gone()
                self._flush()
            except Exception as error:  # leaving continues, and written episodes can be recovered
                problem = error
            if self._recording is not None:
                self._update_state(ended=how)
                self._release()
            if not self.total_episodes:
                return None
            self._is_told = True
            return self._farewell(problem)

    def _farewell(self, problem: Exception | None) -> str:
        unfit = self._unfit
        left = len(self._kept)
        problem = problem or (unfit[0].error if unfit else None)
        lost = f" {left} more could not be written: {problem}" if left else ""
        if self._recording is None or not self._written_episodes:
            return f"{_recorded(left)} not saved as a dataset and could not be written: {problem}"
        words = ["minari", "recover", self._recording.name, "--dataset-id", self._state.dataset_id or "ID"]
        if get_datasets_root() != self._root:
            words += ["--root", str(self._root)]
        kept, them = ("It is", "it") if self._written_episodes == 1 else ("They are", "them")
        return (
            f"{_recorded(self._written_episodes)} not saved as a dataset. {kept} kept: run "
            f"`{shlex.join(words)}` to make a dataset of {them}.{lost}"
        )

    @property
    def is_inherited(self) -> bool:
        """Return whether this is a forked child, whose parent is responsible for the episodes in memory."""
        return self._is_inherited

    def is_left_behind(self) -> bool:
        """Return whether there is a recording that has not been saved."""
        return self._recording is not None and self._recording.path.exists()

    def disown(self) -> None:
        """Detach from the recording in a forked child; the parent remains responsible for it."""
        self._recording = self._held = None
        self._rows, self._discarded, self._written_steps = 0, [], 0
        self._is_scheduled, self._is_inherited = False, True
        self._state = RecordingState(pid=os.getpid())
        for number, finished in enumerate(self._kept):
            finished.row, finished.index = sys.maxsize, number
        self._recount()


def _recorded(episodes: int) -> str:
    return "1 recorded episode was" if episodes == 1 else f"{episodes} recorded episodes were"


_all: weakref.WeakSet[EpisodeQueue] = weakref.WeakSet()


def _disown_all() -> None:
    for queue in list(_all):
        queue.disown()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_disown_all)


def _checked_medium(medium: Medium, recording: Recording) -> Medium:
    """Return the recording options, adjusted to those of a recording that is resumed.

    Raises:
        CombineError: they do not match.
    """
    storage = recording.storage
    their_spec = MinariDataset(storage).env_spec
    if their_spec is not None and medium.env_spec is not None:
        difference = difference_up_to_max_episode_steps(their_spec, medium.env_spec)
        if difference:
            raise CombineError(
                f"The recording {recording.name} is of another environment: {difference}; resume it with that one, or "
                f"leave out resume."
            )
    theirs = Medium(
        storage.observation_space,
        storage.action_space,
        medium.env_spec,
        storage.FORMAT,
        storage.jpeg_encoding,
        storage.compression,
    )
    asked = replace(
        medium,
        data_format=medium.data_format or theirs.data_format,
        jpeg_encoding=medium.jpeg_encoding or theirs.jpeg_encoding,
        compression=theirs.compression if medium.compression is None else medium.compression,
    )
    for field in fields(Medium):
        ours, other = getattr(asked, field.name), getattr(theirs, field.name)
        if ours != other:
            raise CombineError(
                f"The {field.name} is {shortened(ours)}, expected {shortened(other)} as in the recording "
                f"{recording.name}; resume it with the same options, or leave out resume."
            )
    return theirs


def _check_same_layout(medium: Medium, dataset: MinariDataset) -> None:
    for name, ours, other in (
        ("observations", medium.observation_space, dataset.observation_space),
        ("actions", medium.action_space, dataset.action_space),
    ):
        if codec_for(ours).layout() != codec_for(other).layout():
            raise CombineError(
                f"The recorded {name} are of another space than those of the dataset {dataset.id}: "
                f"{differing_leaf(ours, other, (name,))}."
            )


def _unfit_warning(finished: _Finished) -> UnfitEpisodeWarning:
    error, index = finished.error, finished.index
    if isinstance(error, MinariError):
        problem = f"Episode {index} cannot be stored and stays in memory, apart from the others. {error}"
    else:  # such as an exception of a callback, which is called again
        problem = f"Episode {index} cannot be written yet and stays in memory ({type(error).__name__}: {error})."
    advice = f"Drop the episode with discard_episode({index}), or save the others with on_error='skip'."
    return UnfitEpisodeWarning(f"{problem} {advice}", error)


def _not_yet(error: Exception) -> str:
    return f"The recorded episodes cannot be written yet and stay in memory: {error}"


def _skipped_warning(unfit: list[_Finished]) -> list[PendingWarning]:
    if not unfit:
        return []
    verb = "is" if len(unfit) == 1 else "are"
    return [f"{_numbers(unfit).capitalize()} cannot be stored and {verb} left out: {unfit[0].error}"]


def _numbers(unfit: list[_Finished]) -> str:
    numbers = ", ".join(str(finished.index) for finished in unfit)
    return f"episode {numbers}" if len(unfit) == 1 else f"the {len(unfit)} episodes {numbers}"


def _warn(warnings: list[PendingWarning]) -> None:
    for warning in warnings:
        warn(warning)
