"""The recording of one collector on disk, from its first episode until it is saved, removed or left to others."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec

from minari._base.json_text import shortened
from minari._base.locks import Lock
from minari._base.settings import get_datasets_root
from minari._base.system_errors import failures_logged
from minari._catalog.recordings import Recording, RecordingState, new_recording, resume_recording
from minari._model.compression import CompressionChoice
from minari._model.env_spec import difference_up_to_max_episode_steps
from minari._model.frame_stack import KEEP, FrameStackChoice, check_frame_stack
from minari._model.multi_agent import AgentSpaces, MultiAgentCodec, SpacesByAgent, codec_for_spaces
from minari._model.recorded_with import RECORDED_WITH, merged_versions
from minari._storages.base import PathLike, check_compatible
from minari._storages.core import checked_compression
from minari._storages.registry import get_minari_storage
from minari._storages.write_session import append_encoded
from minari.dataset.minari_dataset import MinariDataset
from minari.errors import CombineError, MinariError
from minari.spaces import EpisodeBatch, EpisodeColumns


@dataclass(frozen=True, slots=True)
class Medium:
    """The spaces, environment and storage options of a recording.

    Attributes:
        observation_space: space of the observations; those of each agent, if there are many.
        action_space: space of the actions.
        env_spec: spec of the environment.
        data_format: format of the storage; None for the default.
        jpeg_encoding: True to store frames as JPEG.
        compression: compression of the columns.
        frame_stack: how stacks of frames are stored.
        compatible_with: the release that is to read the dataset; None for this one.
    """

    observation_space: gym.Space[Any]
    action_space: gym.Space[Any]
    env_spec: EnvSpec | None
    data_format: str | None
    jpeg_encoding: bool
    compression: CompressionChoice
    frame_stack: FrameStackChoice = KEEP
    compatible_with: str | None = None


class OpenRecording:
    """Recording that begins with the first episodes to be written, and is locked for this process.

    Other programs may recover or remove it at any time, so its episodes are counted here.

    Args:
        medium: the spaces, environment and storage options.
        root: root of the catalog.
        resume: name of a recording to continue.
        recorded_with: the versions of what records.

    Attributes:
        medium: the options, adjusted to those of a resumed recording.
        codec: codec of its episodes.
        root: the current root of the catalog.
        recording: the recording; None while nothing is written.
        rows: number of stored episodes, including discarded ones.
        steps: number of steps, without those of discarded episodes.
        state: what is stored in addition to the episodes.
        recorded_with: the versions of what has recorded the episodes; None if they are unknown.

    Raises:
        CombineError: the options differ from those of the recording.
        CompressionError: the format does not support the compression.
    """

    def __init__(
        self,
        medium: Medium,
        root: PathLike | None,
        resume: str | None = None,
        recorded_with: Mapping[str, Any] | None = None,
    ) -> None:
        self.codec = codec_for_spaces(medium.observation_space, medium.action_space)
        # The current value: at the end of the program, or some seconds later, the variable may be different.
        self.root = get_datasets_root(root)
        self._given_root = root
        self.recorded_with: Mapping[str, Any] | None = recorded_with
        self.recording: Recording | None = None
        self._held: Lock | None = None
        self._discarded: list[int] = []
        self._clear()
        if resume is not None:
            self.recording, self._held = resume_recording(resume, root)
        try:
            self.medium = medium if self.recording is None else _checked_medium(medium, self.recording)
            if self.medium is not medium:
                self.codec = codec_for_spaces(self.medium.observation_space, self.medium.action_space)
                if isinstance(medium.observation_space, AgentSpaces) and isinstance(medium.action_space, AgentSpaces):
                    self.know_agents(medium.observation_space, medium.action_space)  # which need not be in it
            # Options that the format does not support are rejected before anything is recorded.
            data_format = self.medium.data_format or "hdf5"
            check_compatible(self.medium.compatible_with, data_format, self.medium.frame_stack, self.codec)
            storage_type = get_minari_storage(data_format)
            checked_compression(
                storage_type,
                self.codec,
                self.medium.compression,
                self.medium.jpeg_encoding,
                check_frame_stack(self.medium.frame_stack),
            )
        except BaseException:
            self.release()
            raise
        self.state = RecordingState(pid=os.getpid())
        if self.recording is not None:
            self.rows, self.steps = self.recording.storage.total_episodes, self.recording.steps
            self._discarded = self.recording.discarded_rows
            before = self.recording.state
            self.recorded_with = merged_versions([before.metadata.get(RECORDED_WITH), recorded_with])
            self.state = replace(
                before, pid=os.getpid(), ended=None, failure=None, metadata=self._with(before.metadata)
            )
            self.recording.write_state(self.state)

    def _clear(self) -> None:
        self.recording = None
        self.rows = self.steps = 0
        self._discarded = []
        self._is_unsure = False  # whether what was written last has been written

    @property
    def episodes(self) -> int:
        """Return the number of episodes, without discarded ones."""
        return self.rows - len(self._discarded)

    @property
    def reward_shape(self) -> tuple[int, ...] | None:
        """Return the shape of the reward of a step; None if there is no episode."""
        return self.recording.storage.reward_shape if self.recording is not None and self.rows else None

    def begin(self) -> Recording:
        """Start a recording, and register it as soon as it exists."""
        self.recording = recording = new_recording(
            self.medium.observation_space,
            self.medium.action_space,
            self.medium.env_spec,
            self.medium.data_format or "hdf5",
            jpeg_encoding=self.medium.jpeg_encoding,
            compression=self.medium.compression,
            frame_stack=self.medium.frame_stack,
            compatible_with=self.medium.compatible_with,
            root=self.root,
            codec=self.codec,
        )
        self._held = recording.hold()
        self.state = replace(self.state, pid=os.getpid(), ended=None, metadata=self._with(self.state.metadata))
        recording.write_state(self.state)
        return recording

    def _with(self, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """Return the metadata of the intended dataset with the versions of what has recorded it."""
        known = {} if self.recorded_with is None else {RECORDED_WITH: dict(self.recorded_with)}
        return {**metadata, **known}

    def know_agents(self, observation_spaces: SpacesByAgent, action_spaces: SpacesByAgent) -> None:
        """Take in the spaces of agents that have appeared.

        Raises:
            SpaceError: an agent has another space than before.
        """
        if isinstance(self.codec, MultiAgentCodec):
            self.codec = codec = self.codec.with_agents(observation_spaces, action_spaces)
            self.medium = replace(
                self.medium, observation_space=codec.observation_spaces, action_space=codec.action_spaces
            )

    def append(self, episodes: Sequence[EpisodeColumns | EpisodeBatch]) -> None:
        """Write episodes; :meth:`settle` says how many there are, even if this is interrupted."""
        if self.recording is None:
            return
        self._is_unsure = True
        count = sum(len(part) if isinstance(part, EpisodeBatch) else 1 for part in episodes)
        append_encoded(self.recording.storage, episodes, self.codec)
        # If the system failed after the commit, the next writer applies the change.
        self._is_unsure = self.recording.storage.total_episodes < self.rows + count

    def settle(self) -> None:
        """Count the stored episodes, even if an interruption occurred just after writing."""
        if self.recording is None:
            return
        if self._is_unsure:
            with self.recording.storage.writing():  # completes a committed change
                self._is_unsure = False
        rows = self.recording.storage.total_episodes
        if rows != self.rows:
            self.steps, self.rows = self.recording.steps, rows

    def discard_episode(self, position: int) -> None:
        """Discard an episode by its position among those that are not discarded."""
        if self.recording is not None:
            self.recording.discard_rows([self.recording.rows[position]])
            self._discarded, self.steps = self.recording.discarded_rows, self.recording.steps
            if not self.episodes:
                self.abandon()  # a new one may have other rewards

    def update_state(self, **changes: Any) -> None:
        """Change the state, and store it if there is a recording."""
        self.state = replace(self.state, **changes)
        if self.recording is not None:
            with suppress(MinariError, OSError):  # a full disk must not prevent anything else
                self.recording.write_state(self.state)

    def is_gone(self) -> bool:
        """Return whether another program has recovered, deleted or resumed the recording."""
        if self.recording is None:
            return False
        is_there = self.recording.path.exists()
        if is_there and (self._held is None or not self._held.is_held):
            self._held = self.recording.hold()
            is_there = self._held is not None or not self.recording.is_in_progress
        return not is_there

    def follow_root(self) -> None:
        """Move to the current root, if the program has changed it since the collector was created."""
        root = get_datasets_root(self._given_root)
        if root == self.root:
            return
        self.root, before, held = root, self.recording, self._held
        if before is not None:
            before.append_to(self.begin().storage)
            self.rows, self._discarded = self.episodes, []
            if held is not None:
                held.release()
            before.discard()

    def release(self) -> None:
        """Unlock the recording for other programs."""
        if self._held is not None:
            self._held.release()
            self._held = None

    def abandon(self) -> None:
        """Remove the recording, which has no episode."""
        recording = self.recording
        self._clear()
        self.release()
        if recording is not None:
            with failures_logged(f"Removing the recording {recording.name}, which has no episode,"):
                recording.discard()

    def forget(self) -> None:
        """Detach from the recording, so that the next episodes begin a new one."""
        self.release()
        self._clear()
        self.state = RecordingState(pid=os.getpid())

    def disown(self) -> None:
        """Detach from the recording in a forked child, whose parent still holds the lock."""
        self._held = None
        self.forget()


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
        storage.frame_stack,
        None if storage.has_byte_frames else medium.compatible_with,
    )
    asked = replace(
        medium,
        data_format=medium.data_format or theirs.data_format,
        jpeg_encoding=medium.jpeg_encoding or theirs.jpeg_encoding,
        compression=theirs.compression if medium.compression is None else medium.compression,
        frame_stack=theirs.frame_stack if medium.frame_stack == KEEP else medium.frame_stack,
    )
    for field in fields(Medium):
        ours, other = getattr(asked, field.name), getattr(theirs, field.name)
        if isinstance(ours, AgentSpaces) and isinstance(other, AgentSpaces):
            ours = {agent: space for agent, space in ours.items() if agent in other}  # others are new ones
            other = {agent: space for agent, space in other.items() if agent in ours}
        if ours != other:
            raise CombineError(
                f"The {field.name} is {shortened(ours)}, expected {shortened(other)} as in the recording "
                f"{recording.name}; resume it with the same options, or leave out resume."
            )
    return theirs
