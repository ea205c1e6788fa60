"""Queue of the finished episodes of a collector, between recording and a dataset.

An episode is encoded when it ends, so that problems are reported immediately. Valid episodes are written to a
recording when there are enough, or soon after; one that cannot be stored stays in memory separately, until it
is fixed or dropped.
"""

from __future__ import annotations

import os
import shlex
import sys
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final, Protocol

from minari._base.locks import ThreadLock
from minari._base.settings import get_datasets_root
from minari._base.system_errors import failures_logged
from minari._base.warnings import warn
from minari._catalog.layout import get_dataset_path
from minari._model.arguments import check_whole_number
from minari._model.episode_buffer import AnyEpisodeBuffer, BufferBatch
from minari._model.multi_agent import MultiAgentCodec, SpacesByAgent, codec_for_spaces
from minari._model.recorded_with import RECORDED_WITH, merged_versions
from minari._storages.base import PathLike
from minari._storages.write_session import append_encoded
from minari.data_collector import flush_timer
from minari.data_collector.finished_episodes import Finished, FinishedEpisodes, PendingWarning, in_batches
from minari.data_collector.open_recording import Medium, OpenRecording
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
    SpaceError,
)
from minari.spaces import codec_for
from minari.spaces.differences import differing_leaf


#: Errors that concern the disk or the machine, not an episode.
_OF_THE_SYSTEM: Final = (OSError, DatasetBusyError, DatasetNotFoundError, MemoryError)


class EpisodeSource(Protocol):
    """Episodes that have ended and are not in the queue yet."""

    def hand_over(self) -> list[PendingWarning]:
        """Add them to the queue; return problems, one sentence each."""

    def disown(self) -> None:
        """Drop them in a forked child, whose parent has them."""


class EpisodeQueue:
    """Queue that keeps finished episodes and writes them when there are enough or they are some seconds old.

    It is thread-safe. In a forked child it has the episodes in memory, and no recording.

    Args:
        medium: the spaces, environment and storage options.
        describe: returns the metadata of an episode.
        buffer_steps: maximum number of steps in memory, of these and of the current episode.
        root: root of the catalog.
        resume: name of a recording to continue.
        recorded_with: the versions of what records.

    Attributes:
        source: where further episodes are that have ended; None if there are none elsewhere.
    """

    def __init__(
        self,
        medium: Medium,
        *,
        describe: Callable[[dict[str, Any]], Mapping[str, Any]],
        buffer_steps: int,
        root: PathLike | None,
        resume: str | None = None,
        recorded_with: Mapping[str, Any] | None = None,
    ) -> None:
        self._describe, self._buffer_steps = describe, buffer_steps
        self._lock = ThreadLock()
        self._is_inherited = False
        self.source: EpisodeSource | None = None
        self._written = OpenRecording(medium, root, resume, recorded_with)
        self._start_again()
        _all.add(self)

    def _start_again(self) -> None:
        """Reset to a queue without episodes in memory."""
        self._memory = FinishedEpisodes(self._written, self._describe, self._buffer_steps)
        self._is_scheduled = self._has_failed = self._is_told = False

    @property
    def total_episodes(self) -> int:
        """Return the number of episodes, in memory and written."""
        with self._lock.current:
            return self._written.episodes + len(self._memory.kept)

    @property
    def total_steps(self) -> int:
        """Return the number of steps, in memory and written."""
        with self._lock.current:
            return self._written.steps + sum([finished.steps for finished in self._memory.kept])

    @property
    def recorded_with(self) -> dict[str, Any]:
        """Return the metadata with the versions of what has recorded the episodes."""
        versions = self._written.recorded_with
        return {} if versions is None else {RECORDED_WITH: dict(versions)}

    @property
    def remaining_capacity(self) -> int:
        """Return how many steps the current episode may have before the finished ones must be written."""
        return self._memory.remaining_capacity

    def capacity_for(self, row_bytes: int) -> int:
        """Return how many steps of that size the current episode may have before finished ones must be written."""
        return self._memory.capacity_for(row_bytes)

    def know_agents(self, observation_spaces: SpacesByAgent, action_spaces: SpacesByAgent) -> None:
        """Take in the spaces of agents that have appeared in an episode of many, before it is added.

        Raises:
            SpaceError: an agent has another space than before.
        """
        with self._lock.current:
            self._written.know_agents(observation_spaces, action_spaces)

    def add(self, buffer: AnyEpisodeBuffer) -> list[PendingWarning]:
        """Add a finished episode; a second call for the same one, after an interruption, completes the first.

        Returns:
            Problems with storing or writing, one sentence each.
        """
        with self._lock.current:
            self._memory.add(buffer)
            return self._after_adding()

    def _after_adding(self) -> list[PendingWarning]:
        self._is_inherited = self._is_told = False
        # Overdue: the other thread has not done its work, or there could be none.
        if self._memory.is_full or self._memory.age > flush_timer.FLUSH_AFTER + 1:
            return self.free_memory()
        if self._memory.steps:
            self.schedule()
        return self.take_warnings()

    def add_batch(self, batch: BufferBatch) -> list[PendingWarning] | None:
        """Add finished episodes, as :meth:`add`; None if they have to be added one by one instead."""
        with self._lock.current:
            if not self._memory.add_batch(batch):
                return None
            return self._after_adding()

    def take_warnings(self) -> list[PendingWarning]:
        """Return the problems with storing or writing since the last call, one sentence each."""
        warnings = list(self._memory.warnings)
        self._memory.warnings.clear()
        return warnings

    # Writing

    def schedule(self) -> None:
        """Ensure that the episodes in memory, and those of the source, will be written, whatever the program does."""
        if not self._is_scheduled:
            self._is_scheduled = flush_timer.flush_timer.call_later(self._flush_in_time)

    def free_memory(self, running: int = 0) -> list[PendingWarning]:
        """Write the episodes in memory to the recording; return problems like :meth:`add`.

        Args:
            running: number of steps of the current episode.
        """
        with self._lock.current:
            try:
                self._flush()
            except Exception as error:  # the step must not fail, and the episodes stay in memory
                self._memory.postpone(running)
                self._memory.warnings.append(_not_yet(error))
            return self.take_warnings()

    def _flush_in_time(self) -> None:
        """Write the episodes in memory, in the thread of the timer; the next call reports problems."""
        with self._lock.current:
            self._is_scheduled = False
        try:
            warnings = [] if self.source is None else self.source.hand_over()  # without the lock, which it takes itself
        except Exception as error:  # the thread must go on
            warnings = [_not_yet(error)]
        with self._lock.current:
            self._memory.warnings += warnings
            try:
                self._flush()
            except Exception as error:  # the disk may have space again in some seconds
                if not self._has_failed:
                    self._memory.warnings.append(_not_yet(error))
                self._has_failed = True
                self.schedule()

    def _flush(self) -> None:
        """Write the storable episodes in memory to the recording, all of them or none."""
        if not self._memory.kept:
            return
        self._forget_what_is_gone()
        self._settle()
        self._memory.encode_waiting()
        if not self._memory.has_ready:
            return
        begins = self._written.recording is None
        if begins:
            self._written.begin()
        try:
            self._append()
            self._has_failed = False
        finally:
            recording = self._written.recording
            if begins and recording is not None and recording.storage.total_episodes == 0:
                self._written.abandon()

    def _append(self) -> None:
        """Write storable episodes together, or one by one if the format rejects one."""
        try:
            self._append_to_recording(self._memory.ready)
        except _OF_THE_SYSTEM:
            raise
        except Exception:
            self._settle()  # the error may have occurred after they were written
            for finished in self._memory.ready:
                try:
                    self._append_to_recording([finished])
                except _OF_THE_SYSTEM:
                    raise
                except Exception as error:
                    self._settle()
                    if any(kept is finished for kept in self._memory.kept):
                        self._memory.refuse(finished, error)
        except BaseException:
            with suppress(Exception):  # the next flush tries again
                self._settle()
            raise

    def _append_to_recording(self, ready: list[Finished]) -> None:
        for finished in self._memory.kept:
            finished.row = sys.maxsize
        for row, finished in enumerate(ready, self._written.rows):
            finished.row = row
        self._written.append(in_batches(ready))
        self._settle()

    def _settle(self) -> None:
        """Remove written episodes from memory, even if an interruption occurred just after writing."""
        self._written.settle()
        self._memory.remove_written()

    def _forget_what_is_gone(self) -> None:
        """Detect that the recording was recovered, deleted or resumed elsewhere; a new one begins then."""
        recording, episodes = self._written.recording, self._written.episodes
        if recording is None or not self._written.is_gone():
            return
        self._written.forget()
        self._memory.renumber()
        self._memory.warnings.append(
            f"The recording {recording.name} with {episodes} episodes is gone; `minari recover` may have made a "
            f"dataset of it while it was in progress. A new one begins with the {len(self._memory.kept)} episodes "
            f"after it."
        )

    # Saving

    @contextmanager
    def saving(self, dataset_id: str, description: Mapping[str, Any]) -> Iterator[None]:
        """Store the intended dataset in the recording until it has been created.

        Args:
            dataset_id: id of the dataset.
            description: its metadata, as far as JSON can represent it.
        """
        if self._is_inherited and not self._memory.kept:
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
            self._written.update_state(**changes)

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
            self._written.follow_root()
            if self.total_episodes == 0:
                _warn(self.take_warnings())
                raise EpisodeError(
                    f"Nothing has been recorded for the dataset {dataset_id}, expected at least one step after a "
                    f"reset; run the environment first."
                )
            kept = {key: value for key, value in metadata.items() if key not in ("dataset_id", "minari_version")}
            self._update_state(metadata=kept)
            self._mend(skips)
            self._flush()
            if not skips:
                self._memory.check_unfit()  # the format may have rejected one
            if self._written.recording is None or not self._written.episodes:
                raise EpisodeError(f"No episode can be stored, so there is none for the dataset {dataset_id}.")
            warnings = self.take_warnings() + self._memory.skipped_warning()
            data_path = self._written.recording.publish(dataset_id, metadata)
            self._written.forget()
            self._start_again()
        _warn(warnings)
        return MinariDataset(data_path)

    def append_to(self, dataset: MinariDataset, skips: bool) -> None:
        """Append all episodes to a dataset."""
        _check_same_layout(self._written.medium, dataset)
        with self._lock.current:
            self._forget_what_is_gone()
            self._mend(skips)
            refused: list[PendingWarning] = []
            try:
                self._append_all_to(dataset, skips)
            except (EpisodeError, MetadataError) as error:
                if not skips:
                    raise
                refused = self._append_others_to(dataset, error)
            warnings = self.take_warnings() + self._memory.skipped_warning() + refused
            self._note_versions_in(dataset)
            saved = self._written.recording
            self._written.forget()
            self._start_again()
            if saved is not None:
                with failures_logged(f"Removing the recording {saved.name}, whose episodes are in {dataset.id} now,"):
                    saved.discard()
        _warn(warnings)

    def _append_all_to(self, dataset: MinariDataset, skips: bool) -> None:
        if self._written.recording is None:
            self._memory.encode_waiting()
            with dataset.appending():
                append_encoded(dataset.storage, in_batches(self._memory.ready), self._written.codec)
            return
        self._flush()
        if not skips:
            self._memory.check_unfit()
        recording = self._written.recording
        self._update_state(adding=self._mark_of(dataset))
        with dataset.appending():
            recording.append_to(dataset.storage)

    def _note_versions_in(self, dataset: MinariDataset) -> None:
        """Add the versions of what has recorded the episodes to those of a dataset that has them now."""
        known = dataset.storage.current_metadata.raw.get(RECORDED_WITH)
        merged = merged_versions([known, self._written.recorded_with])
        if known is not None and merged != known:
            dataset.storage.update_metadata({RECORDED_WITH: merged})

    def _append_others_to(self, dataset: MinariDataset, reason: Exception) -> list[PendingWarning]:
        """Append the episodes that the format of the dataset can store, if it cannot store all of them.

        Args:
            dataset: the dataset.
            reason: the error, which is raised if no episode remains.

        Returns:
            A sentence about those that are omitted.
        """
        self._flush()  # finds those that the format of the recording cannot store
        recording = self._written.recording
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
            place = get_dataset_path(dataset.id, root=self._written.root) / "data"
            if place.samefile(dataset.storage.data_path):
                return {"dataset_id": dataset.id, "first": dataset.storage.total_episodes}
        return {}

    def _mend(self, skips: bool) -> None:
        """Encode invalid episodes again, and raise if some remain and are not omitted."""
        self._memory.mend()
        if not skips:
            self._memory.check_unfit()

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
            self._memory.discard(index % total)

    def discard_info(self, name: str) -> list[PendingWarning]:
        """Drop an info from all episodes.

        Returns:
            Problems of episodes that could not be stored for another reason before, one sentence each.
        """
        with self._lock.current:
            self._forget_what_is_gone()
            self._memory.discard_info(name)
            if self._written.recording is not None and self._written.episodes:
                self._written.recording.discard_info(name)
            reasons = {str(finished.error) for finished in self._memory.unfit}
            self._memory.mend()
            self._memory.report_other_problems(reasons)
            self._memory.recount()
            if self._memory.steps:
                self.schedule()
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
                self._memory.encode_new()
                self._forget_what_is_gone()
                self._flush()
            except Exception as error:  # leaving continues, and written episodes can be recovered
                problem = error
            if self._written.recording is not None:
                self._update_state(ended=how)
                self._written.release()
            if not self.total_episodes:
                return None
            self._is_told = True
            return self._farewell(problem)

    def _farewell(self, problem: Exception | None) -> str:
        unfit, left = self._memory.unfit, len(self._memory.kept)
        written, recording, root = self._written.episodes, self._written.recording, self._written.root
        problem = problem or (unfit[0].error if unfit else None)
        lost = f" {left} more could not be written: {problem}" if left else ""
        if recording is None or not written:
            return f"{_recorded(left)} not saved as a dataset and could not be written: {problem}"
        words = ["minari", "recover", recording.name, "--dataset-id", self._written.state.dataset_id or "ID"]
        if get_datasets_root() != root:
            words += ["--root", str(root)]
        kept, them = ("It is", "it") if written == 1 else ("They are", "them")
        return (
            f"{_recorded(written)} not saved as a dataset. {kept} kept: run "
            f"`{shlex.join(words)}` to make a dataset of {them}.{lost}"
        )

    @property
    def is_inherited(self) -> bool:
        """Return whether this is a forked child, whose parent is responsible for the episodes in memory."""
        return self._is_inherited

    def is_left_behind(self) -> bool:
        """Return whether there is a recording that has not been saved."""
        return self._written.recording is not None and self._written.recording.path.exists()

    def disown(self) -> None:
        """Detach from the recording in a forked child; the parent remains responsible for it."""
        self._is_scheduled, self._is_inherited = False, True
        if self.source is not None:
            self.source.disown()
        self._written.disown()
        self._memory.renumber()


def _recorded(episodes: int) -> str:
    return "1 recorded episode was" if episodes == 1 else f"{episodes} recorded episodes were"


_all: weakref.WeakSet[EpisodeQueue] = weakref.WeakSet()


def _disown_all() -> None:
    for queue in list(_all):
        queue.disown()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_disown_all)


def _check_same_layout(medium: Medium, dataset: MinariDataset) -> None:
    codec, stored = codec_for_spaces(medium.observation_space, medium.action_space), dataset.storage.episode_codec
    if isinstance(codec, MultiAgentCodec) and isinstance(stored, MultiAgentCodec):
        try:
            stored.with_agents(codec.observation_spaces, codec.action_spaces)
        except SpaceError as error:
            raise CombineError(f"The recorded episodes do not fit into the dataset {dataset.id}: {error}") from error
        return
    if isinstance(codec, MultiAgentCodec) or isinstance(stored, MultiAgentCodec):
        kinds = ("many agents", "one") if isinstance(codec, MultiAgentCodec) else ("one agent", "many")
        raise CombineError(
            f"The recorded episodes are of {kinds[0]}, and those of the dataset {dataset.id} of {kinds[1]}; make a "
            f"dataset of their own with create_dataset."
        )
    for name, ours, other in (
        ("observations", medium.observation_space, dataset.observation_space),
        ("actions", medium.action_space, dataset.action_space),
    ):
        if codec_for(ours).layout() != codec_for(other).layout():
            raise CombineError(
                f"The recorded {name} are of another space than those of the dataset {dataset.id}: "
                f"{differing_leaf(ours, other, (name,))}."
            )


def _not_yet(error: Exception) -> str:
    return f"The recorded episodes cannot be written yet and stay in memory: {error}"


def _warn(warnings: list[PendingWarning]) -> None:
    for warning in warnings:
        warn(warning)
