"""The finished episodes of a collector, on their way to a dataset."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec

from minari._base.notices import warn
from minari._base.outcomes import failures_logged
from minari.dataset._storages import get_minari_storage
from minari.dataset.compression import CompressionChoice
from minari.dataset.differences import differing_leaf
from minari.dataset.encoding import EpisodeCodec
from minari.dataset.episode_buffer import EpisodeBuffer
from minari.dataset.infos import discard_info
from minari.dataset.minari_dataset import MinariDataset
from minari.dataset.minari_storage import PathLike
from minari.dataset.new_storage import checked_compression
from minari.errors import CombineError, EpisodeError
from minari.spaces import codec_for
from minari.storage.recordings import Recording, new_recording


_BUFFER_BYTES = 64 * 2**20


class PendingEpisodes:
    """Keeps finished episodes in memory, and writes them to a recording when there are many.

    Args:
        observation_space: of the episodes.
        action_space: of the episodes.
        env_spec: of the environment.
        data_format: of the storage.
        jpeg_encoding: store frames as JPEG.
        compression: of the columns.
        describe: gives the metadata of an episode.
        buffer_steps: how many steps may be in memory, of these and of the running episode.
        root: of the catalogue.
    """

    def __init__(
        self,
        *,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        env_spec: EnvSpec | None,
        data_format: str,
        jpeg_encoding: bool,
        compression: CompressionChoice,
        describe: Callable[[dict[str, Any]], Mapping[str, Any]],
        buffer_steps: int,
        root: PathLike | None,
    ) -> None:
        self._spaces = observation_space, action_space
        # What the format cannot do is refused before anything is recorded.
        checked_compression(get_minari_storage(data_format), EpisodeCodec(*self._spaces), compression, jpeg_encoding)
        self._env_spec, self._data_format = env_spec, data_format
        self._jpeg_encoding, self._compression = jpeg_encoding, compression
        self._describe, self._buffer_steps, self._root = describe, buffer_steps, root
        self._start_again(None)

    def _start_again(self, recording: Recording | None) -> None:
        """With nothing in memory, and nothing on disk but what the recording has."""
        self._recording = recording
        # Counted here, since others may take a recording away at any time.
        self._written_episodes = recording.episodes if recording else 0
        self._written_steps = recording.steps if recording else 0
        self._buffers: list[EpisodeBuffer] = []
        self._steps = self._bytes = 0
        self._next_flush = self._buffer_steps

    @property
    def total_episodes(self) -> int:
        """The number of episodes, in memory and written."""
        return self._written_episodes + len(self._buffers)

    @property
    def total_steps(self) -> int:
        """The number of steps, in memory and written."""
        return self._written_steps + self._steps

    @property
    def is_written(self) -> bool:
        """Whether episodes have been written to disk."""
        return self._recording is not None

    @property
    def room(self) -> int:
        """How many steps a running episode can have before the finished ones must be written."""
        return self._next_flush - self._steps if self._buffers else sys.maxsize

    def add(self, buffer: EpisodeBuffer) -> list[str]:
        """Take a finished episode.

        Returns:
            What went wrong with writing, in a sentence. It is raised when the dataset is saved.
        """
        self._buffers.append(buffer)
        self._steps += len(buffer)
        self._bytes += _size(buffer.observations) + _size(buffer.actions) + _size(buffer.infos)
        if self._steps >= self._next_flush or self._bytes >= _BUFFER_BYTES:
            return self.make_room()
        return []

    def make_room(self, running: int = 0) -> list[str]:
        """Write the episodes in memory to the recording, or say what went wrong, as :meth:`add` does.

        Args:
            running: the steps of an episode that is not finished.
        """
        try:
            self.flush()
        except Exception as error:  # whatever it is, also in a callback: the step must go on
            # The episodes stay in memory, and the next try waits for as many again.
            self._next_flush = 2 * (self._steps + running)
            self._bytes = 0
            return [f"The recorded episodes cannot be written yet and stay in memory: {error}"]
        return []

    def flush(self) -> None:
        """Write the episodes in memory to the recording, all of them or none."""
        if self._buffers:
            self._written()

    def _written(self) -> Recording:
        """The recording, with the episodes in memory written to it."""
        self._forget_what_is_gone()
        recording = self._recording or new_recording(
            *self._spaces,
            self._env_spec,
            self._data_format,
            jpeg_encoding=self._jpeg_encoding,
            compression=self._compression,
            root=self._root,
        )
        try:
            recording.storage.update_episodes(self._buffers, describe=self._describe)
        except BaseException:
            if self._recording is None:
                with failures_logged(f"Removing the recording {recording.name}, which has no episode,"):
                    recording.discard()
            raise
        self._start_again(recording)
        return recording

    def _forget_what_is_gone(self) -> None:
        """Notice that someone has recovered or deleted the recording; a new one begins then."""
        if self._recording is None or self._recording.path.exists():
            return
        gone, episodes = self._recording.name, self._written_episodes
        self._recording, self._written_episodes, self._written_steps = None, 0, 0
        warn(
            f"The recording {gone} with {episodes} episodes is gone; `minari recover` may have made a dataset of "
            f"it while it was under way. A new one begins with the {len(self._buffers)} episodes after it.",
        )

    def publish(self, dataset_id: str, metadata: Mapping[str, Any]) -> MinariDataset:
        """Make a dataset of all episodes.

        Raises:
            EpisodeError: there is none, or one cannot be stored; all are then still there.
        """
        self._forget_what_is_gone()
        if self.total_episodes == 0:
            raise EpisodeError(
                f"Nothing has been recorded for the dataset {dataset_id}, expected at least one step after a "
                f"reset; run the environment first."
            )
        dataset = self._written().publish(dataset_id, metadata)
        self._start_again(None)
        return dataset

    def append_to(self, dataset: MinariDataset) -> None:
        """Append all episodes to a dataset."""
        _check_same_layout(self._spaces, dataset)
        self._forget_what_is_gone()
        if self._recording is None:
            dataset._append(lambda: dataset.storage.update_episodes(self._buffers, describe=self._describe))
            self._start_again(None)
            return
        recording = self._written()
        dataset._append(lambda: dataset.storage.update_from_storage(recording.storage))
        self._start_again(None)
        with failures_logged(f"Removing the recording {recording.name}, whose episodes are in {dataset.id} now,"):
            recording.discard()

    def discard_info(self, name: str) -> None:
        """Drop an info from the episodes in memory; those that are written could be stored with it."""
        for buffer in self._buffers:
            discard_info(buffer.infos, name)

    def leave(self) -> None:
        """Write what is in memory too, and say where the recording is, if there is one."""
        if self._recording is None:
            return
        lost = ""
        try:
            self.flush()
        except Exception as error:  # closing goes on, and what is written already can be recovered
            lost = f" {len(self._buffers)} more could not be written: {error}"
        warn(
            f"{self._written_episodes} recorded episodes were not saved as a dataset. They are kept: run "
            f"`minari recover {self._recording.name} --dataset-id ID` to make a dataset of them.{lost}",
        )


def _check_same_layout(spaces: tuple[gym.Space[Any], gym.Space[Any]], dataset: MinariDataset) -> None:
    theirs = dataset.observation_space, dataset.action_space
    for name, ours, other in zip(("observations", "actions"), spaces, theirs, strict=True):
        if codec_for(ours).layout() != codec_for(other).layout():
            raise CombineError(
                f"The recorded {name} are of another space than those of the dataset {dataset.id}: "
                f"{differing_leaf(ours, other, (name,))}."
            )


def _size(values: Any) -> int:
    """About how many bytes the arrays among nested values take."""
    if isinstance(values, np.ndarray):
        return values.nbytes
    if isinstance(values, dict):
        return sum(map(_size, values.values()))
    if isinstance(values, tuple):
        return sum(map(_size, values))
    if isinstance(values, list) and values and isinstance(values[0], np.ndarray):
        return len(values) * values[0].nbytes
    return 0
