"""MinariStorage: the operations of every storage format, built on a few hooks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import gymnasium as gym
import numpy as np

from minari._base.files import METADATA_FILE_NAME
from minari._base.json_text import shortened
from minari._base.system_errors import storage_errors
from minari._model.compression import CompressionChoice
from minari._model.dataset_id import dataset_id_at
from minari._model.env_spec import env_spec_to_json, spaces_of
from minari._model.episode_buffer import AnyEpisodeBuffer
from minari._model.episode_codec import EpisodeCodec, check_window, window_of
from minari._model.episode_metadata import checked_metadata
from minari._model.format_version import FORMAT_VERSION
from minari._model.frame_stack import DEDUPLICATE, KEEP, FrameStackChoice, check_frame_stack
from minari._model.metadata import BYTES, FRAME_LAYOUT, FRAME_STACK, DatasetMetadata, warn_about_mistyped
from minari._model.metadata_json import MOST_METADATA, SPACES
from minari._model.multi_agent import MultiAgentCodec, SpacesByAgent, codec_for_spaces, is_of_agents
from minari._storages import write_session as storing
from minari._storages.core import (
    EpisodeWriter,
    StorageCore,
    changed_dataset,
    checked_compression,
    of_one_dataset,
    read_metadata,
)
from minari._storages.images import is_image_space
from minari._storages.metadata_file import exists, read_raw_metadata, stamp_of
from minari._storages.paths import PathLike, as_data_path, is_remote, put_file
from minari._storages.registry import get_minari_storage
from minari._storages.staged_directory import directory_size
from minari.errors import (
    ArgumentError,
    ArgumentTypeError,
    DatasetChangedError,
    DatasetCorruptError,
    DatasetExistsError,
    DatasetVersionError,
    EpisodeTypeError,
    MetadataError,
    SpaceError,
)
from minari.spaces import AGENTS, Columns, EpisodeColumns
from minari.spaces.serialization import described_types, serialize_space, space_classes, with_written_bounds


__all__ = ["METADATA_FILE_NAME", "EpisodeWriter", "MinariStorage", "PathLike", "is_image_space"]

_OLDER_RELEASE = "0.5"
_FORMATS_BEFORE = ("hdf5", "arrow", "parquet")
_NEW_SPACES = {"Sequence", "Graph", "OneOf"}
_MANY_EPISODES = 1 << 20  # above this number, it is first compared with the size of the data


class MinariStorage(StorageCore):
    """The episodes and metadata of one dataset, in one directory.

    Created by :meth:`new` or :meth:`read`. A format is a subclass that implements the hooks of
    :class:`~minari._storages.core.StorageCore`.
    """

    def __getstate__(self) -> dict[str, Any]:
        return {
            "data_path": self.data_path,
            "verify_checksums": self.verify_checksums,
            "placed_id": self.placed_id,
            "revision": self._metadata_at_first.revision,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        data_path = as_data_path(state["data_path"] if "data_path" in state else state["_data_path"])  # as in 0.5
        stamp, metadata = stamp_of(data_path), read_metadata(data_path)
        if state.get("revision", metadata.revision) != metadata.revision:
            raise changed_dataset(data_path)
        self.__init__(data_path, metadata)  # type: ignore[misc]
        if stamp_of(data_path) != stamp:  # another program has changed it meanwhile
            self.forget_metadata()
        self.verify_checksums = state.get("verify_checksums", False)
        self.placed_id = state.get("placed_id")

    # Opening

    @classmethod
    def read(cls, data_path: PathLike, *, verify_checksums: bool = False) -> MinariStorage:
        """Open the storage in a directory.

        Args:
            data_path: the ``data`` directory of a dataset, or its address (``"s3://bucket/data"``).
            verify_checksums: True to verify the values of every episode that is read with the checksums from
                when they were written.

        Raises:
            DataPathError: the directory does not exist or holds no dataset.
            DatasetCorruptError: the metadata is damaged, or inconsistent with the data.
            UnknownFormatError: the format of the dataset is unknown.
        """
        path = as_data_path(data_path)
        while True:
            stamp = stamp_of(path)
            metadata = read_metadata(path)
            storage: MinariStorage = get_minari_storage(metadata.data_format)._for_place(path)(path, metadata)
            if stamp_of(path) != stamp:  # another program has changed it meanwhile
                storage.forget_metadata()
            storage.verify_checksums = verify_checksums
            with suppress(DatasetChangedError):  # just now
                storage._check_total()
                return storage

    def _check_total(self) -> None:
        """Compare the totals of the metadata with the data, which may be changing concurrently.

        Steps are counted only if checksums are verified.
        """
        while True:
            told = self._metadata  # which has just been read
            episodes, steps = told.total_episodes, told.total_steps
            if episodes > _MANY_EPISODES:
                self._check_room(episodes)
            found = self.unchanged_during(self._count_episodes) if episodes else 0
            problem = None
            if found != episodes:
                problem = f"{episodes} episodes and the data has {found}"
            elif not episodes and steps:
                problem = f"no episodes and {steps} steps"
            elif self.verify_checksums and episodes:
                added = int(self.get_episode_lengths(range(episodes)).sum())
                problem = f"{steps} steps and the {episodes} episodes have {added}" if added != steps else None
            if problem is None:
                return
            self.forget_metadata()
            now = self.current_metadata
            if (now.total_episodes, now.total_steps) == (episodes, steps):
                raise DatasetCorruptError(
                    f"The metadata of {self._data_path} claims {problem}; the files do not belong together, so copy "
                    f"or download the dataset again."
                )

    def _check_room(self, total: int) -> None:
        """Raise unless the data has at least one byte for each episode, before anything of that size is allocated."""
        if is_remote(self._data_path):
            return
        size = directory_size(self._data_path)
        if total > size:
            raise DatasetCorruptError(
                f"The metadata of {self._data_path} claims {total} episodes, which do not fit into the {size} bytes "
                f"that are there; copy or download the dataset again."
            )

    @classmethod
    def read_raw_metadata(cls, data_path: PathLike) -> dict[str, Any]:
        """Return the stored metadata: spaces and environment specs as JSON strings.

        Raises:
            DataPathError: the directory does not exist or holds no dataset.
            DatasetCorruptError: the metadata is damaged.
        """
        return read_raw_metadata(as_data_path(data_path))

    @classmethod
    def new(
        cls,
        data_path: PathLike,
        observation_space: gym.Space[Any] | SpacesByAgent | None = None,
        action_space: gym.Space[Any] | SpacesByAgent | None = None,
        env_spec: Any = None,
        data_format: str = "hdf5",
        *,
        jpeg_encoding: bool = False,
        compression: CompressionChoice = None,
        frame_stack: FrameStackChoice = KEEP,
        compatible_with: str | None = None,
    ) -> MinariStorage:
        """Create an empty storage.

        Args:
            data_path: a directory, or an address for ``"zarr"``, without a dataset; created if necessary.
            observation_space: space of the observations; by default that of the environment.
            action_space: space of the actions; by default that of the environment.
            env_spec: the ``EnvSpec`` of the environment, if there is one.
            data_format: one of :func:`minari.dataset._storages.get_storage_keys`.
            jpeg_encoding: True to store frames as JPEG, which is lossy.
            compression: a codec for all columns, with an optional level (``"gzip"``, ``"gzip:9"``,
                ``"none"``), or codecs for some (``{"observations/pixels": "gzip:9"}``). By default, only
                frames are compressed, without loss.
            frame_stack: ``"deduplicate"`` to store each frame of stacks once where the stacks can be rebuilt exactly,
                for boxes of shape (k, …) among the observations, as from ``FrameStackObservation``.
            compatible_with: ``"0.5"`` for a dataset that 0.5.4 can read; None for this release.

        Raises:
            DatasetExistsError: the directory holds a dataset.
            UnknownFormatError: no format has that name.
            ArgumentError: ``frame_stack`` is not a choice, or there are many agents and it is ``"deduplicate"``.
            SpaceError: a space is missing and there is no environment to take it from.
            CompressionError: the format does not support the codec, or there is no such column.
            DatasetVersionError: ``compatible_with`` is not a known release, or that release does not support the
                format or a space.
            MissingDependencyError: the format or the codec needs a package that is not installed.
        """
        return create_storage(
            data_path,
            observation_space,
            action_space,
            env_spec,
            data_format,
            jpeg_encoding=jpeg_encoding,
            compression=compression,
            frame_stack=frame_stack,
            compatible_with=compatible_with,
        )

    # Properties

    @property
    def dataset_id(self) -> str:
        """Return the id of the dataset, which follows from its location, even after it was moved or copied."""
        if self.placed_id is not None:
            return self.placed_id
        stored = self._metadata.dataset_id
        if is_remote(self._data_path):
            return stored or self._data_path.parent.name
        return dataset_id_at(self._data_path.absolute().parent, stored)

    @property
    def metadata(self) -> dict[str, Any]:
        """Return the metadata, with spaces as objects, authors and emails as sets, and the id from the location."""
        public = self.current_metadata.public()
        if public.get("dataset_id"):
            public["dataset_id"] = self.dataset_id
        return public

    def get_size(self) -> float:
        """Return the size of the dataset in MB, to one decimal: that of all its files except hidden ones.

        It is the size measured by the last writer, which lists show too; if the metadata does not have it, it
        is measured now.
        """
        stored = self.current_metadata.size
        return self.measured_size() if stored is None else stored

    # Reading

    def get_episodes(self, episode_indices: Iterable[int], *, copy: bool = True) -> Iterator[dict[str, Any]]:
        """Return an iterator over the episodes with these numbers, in this order, each read when it is asked for.

        Args:
            episode_indices: the numbers of the episodes.
            copy: True if the arrays should belong to the caller. Otherwise they may be read-only views of the
                files, which other programs must not truncate while a view is used.

        Returns:
            An iterator of dicts with the fields of :class:`minari.EpisodeData`.

        Raises:
            EpisodeIndexError: there is no episode with that number.
            ChecksumError: the values differ from those written, if verified.
        """
        if copy and isinstance(episode_indices, (list, tuple)) and len(episode_indices) == 1:
            return map(self.get_episode, episode_indices)
        return self._each_episode(episode_indices, copy)

    @of_one_dataset
    def _each_episode(self, episode_indices: Iterable[int], copy: bool) -> Iterator[dict[str, Any]]:
        read = self._read_columns if copy else self._view_columns
        for index, columns in read(self._checked(episode_indices)):
            yield self._decoded(index, self.with_frames(columns, copy=copy))

    def get_episode(self, episode_index: int) -> dict[str, Any]:
        """Return one episode, as :meth:`get_episodes` yields it.

        Raises:
            EpisodeIndexError: there is no episode with that number.
            ChecksumError: the values differ from those written, if verified.
        """
        if type(episode_index) is not int or not 0 <= episode_index < self._metadata.total_episodes:
            (episode_index,) = self._checked([episode_index])  # there may be more by now
        columns = self.unchanged_during(self._read_episode, episode_index)
        return self._decoded(episode_index, self.with_frames(columns, copy=True))

    def _decoded(self, index: int, columns: Columns) -> dict[str, Any]:
        """Return the fields of an episode with decoded frames."""
        if not self.is_multi_agent:
            return self.episode_codec.decode(index, columns)
        return self.episode_codec.decode(index, columns, int(self._read_lengths(np.array([index]))[0]))

    @of_one_dataset
    def get_outcomes(self, episode_indices: Iterable[int]) -> Iterator[dict[str, Any]]:
        """Yield the id, rewards, terminations and truncations of episodes, in the form of :meth:`get_episodes`.

        Those of many agents have ``"agents"``, with the outcomes of each agent by its id.
        """
        for index, columns in self._read_leaves(self._checked(episode_indices), self.episode_codec.outcomes):
            yield self.episode_codec.decode_outcomes(index, columns)

    def get_window(self, episode_index: int, start: int, stop: int) -> dict[str, Any]:
        """Return consecutive steps of an episode; ``zarr`` reads only their chunks.

        Args:
            episode_index: the number of the episode.
            start: the first step.
            stop: the step after the last one.

        Returns:
            A dict with the fields of :class:`minari.EpisodeData`: ``stop - start`` actions, rewards and
            flags, and one more observation and info, as in an episode.

        Raises:
            EpisodeIndexError: there is no episode with that number, or it does not have these steps.
            EpisodeTypeError: it is an episode of many agents.
        """
        if self.is_multi_agent:
            raise EpisodeTypeError(
                "The dataset has many agents, whose steps are not those of the episode; read windows of one of them, "
                "with MinariDataset.for_agent."
            )
        (index,) = self._checked([episode_index])
        (total_steps,) = self.get_episode_lengths([index]).tolist()
        check_window(index, total_steps, start, stop)
        columns = self.unchanged_during(self._read_window, index, start, stop)
        if columns is not None:
            return self.episode_codec.decode(index, self.with_frames(columns, copy=True))
        return window_of(self.get_episode(index), start, stop)

    def apply(
        self, function: Callable[[dict[str, Any]], Any], episode_indices: Iterable[int] | None = None
    ) -> Iterator[Any]:
        """Yield the result of a function for each of these episodes, or for all; computed on demand."""
        if episode_indices is None:
            episode_indices = range(self.total_episodes)
        return map(function, self.get_episodes(episode_indices))

    # Writing

    def update_metadata(self, metadata: Mapping[str, Any], *, lock_timeout: float | None = None) -> None:
        """Set metadata of the dataset, keeping other keys unchanged.

        Args:
            metadata: the keys and their values. An unknown key that resembles one of this library is stored
                with a warning.
            lock_timeout: seconds to wait for another program that is writing to the dataset; by default
                ``MINARI_LOCK_TIMEOUT``, or 60.

        Raises:
            ArgumentTypeError: ``metadata`` is not a dict.
            MetadataError: a key is protected, or JSON cannot represent a value; the stored metadata is then unchanged.
            DatasetBusyError: another program is still writing to the dataset.
            StorageError: writing failed; nothing is changed.
        """
        if not isinstance(metadata, Mapping):
            raise ArgumentTypeError(f"metadata is {shortened(metadata)}, expected a dict.")
        with self.writing(lock_timeout) as writer:
            warn_about_mistyped(metadata, self.current_metadata.raw)
            writer.commit(self.current_metadata.updated(metadata))

    def edit_metadata(
        self,
        metadata: Mapping[str, Any],
        removed: Iterable[str] = (),
        of_episodes: Mapping[int, Mapping[str, Any]] | None = None,
        *,
        lock_timeout: float | None = None,
    ) -> None:
        """Set and remove metadata of the dataset, and set that of episodes, in one transaction.

        Args:
            metadata: the keys to set, and their values.
            removed: the keys to remove.
            of_episodes: metadata to set by the number of the episode, as :meth:`update_episode_metadata` does.
            lock_timeout: seconds to wait for another program that is writing to the dataset.

        Raises:
            MetadataError: a key is protected, or one to remove is missing, or a value cannot be stored.
            EpisodeIndexError: there is no episode with that number.
            DatasetBusyError: another program is still writing to the dataset.
            StorageError: writing failed; nothing is changed.
        """
        with self.writing(lock_timeout) as writer:
            for index, more in (of_episodes or {}).items():
                (number,) = self._checked([index])
                writer.update_metadata(number, self.checked_episode_metadata(number, more))
            writer.commit(self.current_metadata.edited(metadata, removed))

    def update_episode_metadata(
        self,
        metadatas: Iterable[Mapping[str, Any]],
        episode_indices: Iterable[int] | None = None,
        *,
        lock_timeout: float | None = None,
    ) -> None:
        """Set metadata of episodes, keeping other keys unchanged.

        Args:
            metadatas: one dict for each episode; nested dicts replace the previous value of their key. In a dataset of
                many agents, what is below ``"agents"`` is metadata of each, by its id, and is added to what is there.
            episode_indices: the episodes, by default all.
            lock_timeout: seconds to wait for another program that is writing to the dataset; by default
                ``MINARI_LOCK_TIMEOUT``, or 60.

        Raises:
            MetadataError: the lengths of both differ, or a value cannot be stored.
            DatasetBusyError: another program is still writing to the dataset.
            StorageError: writing failed; nothing is changed.
        """
        if episode_indices is None:
            episode_indices = range(self.total_episodes)
        indices, new = list(self._checked(episode_indices)), list(metadatas)
        if len(indices) != len(new):
            raise MetadataError(
                f"There are {len(new)} metadata for {len(indices)} episodes; give one dict for each episode."
            )
        with self.writing(lock_timeout) as writer:
            for index, metadata in zip(indices, new, strict=True):
                writer.update_metadata(index, self.checked_episode_metadata(index, metadata))
            writer.commit(self.current_metadata)

    def checked_episode_metadata(self, index: int, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """Return metadata to set for an episode; that of an agent is added to that it has.

        Raises:
            MetadataError: it cannot be stored.
            EpisodeError: an agent has no trajectory in the episode.
        """
        if not self.is_multi_agent or not any(map(is_of_agents, metadata)):
            return checked_metadata(metadata)
        (stored,) = self._read_episode_metadata([index])
        of_agents = {name: dict(one) for name, one in (stored.get(AGENTS) or {}).items() if isinstance(one, Mapping)}
        changed = EpisodeColumns(0, {}, {AGENTS: of_agents})
        self.episode_codec.describe(changed, metadata)
        return changed.metadata

    def update_episodes(
        self,
        episodes: Iterable[AnyEpisodeBuffer],
        *,
        describe: Callable[[dict[str, Any]], Mapping[str, Any]] | None = None,
        lock_timeout: float | None = None,
    ) -> None:
        """Append episodes: all of them, or none if one is rejected.

        An episode with the ``id`` of a stored one extends it: its observations, infos, actions and so on, one
        of each per step, are appended to the stored ones.

        Args:
            episodes: the episodes, consumed one by one.
            describe: called with the fields of each episode's :class:`minari.EpisodeData`; returns metadata
                to store beside its seed and options, such as statistics.
            lock_timeout: seconds to wait for another program that is writing to the dataset; by default
                ``MINARI_LOCK_TIMEOUT``, or 60.

        Raises:
            EpisodeError: an episode does not match the spaces, or its parts are inconsistent.
            DatasetBusyError: another program is still writing to the dataset.
            StorageError: writing failed; nothing is changed.
        """
        storing.append_buffers(self, episodes, describe, lock_timeout)

    def update_from_storage(
        self,
        storage: MinariStorage,
        episode_indices: Iterable[int] | None = None,
        *,
        lock_timeout: float | None = None,
    ) -> None:
        """Append episodes of another storage with all their metadata.

        Stored bytes are copied unchanged if both formats are the same.

        Args:
            storage: the source of the episodes.
            episode_indices: the episodes, by default all.
            lock_timeout: seconds to wait for another program that is writing to the dataset; by default
                ``MINARI_LOCK_TIMEOUT``, or 60.

        Raises:
            CombineError: the episodes do not match the spaces of this storage.
            DatasetBusyError: another program is still writing to the dataset.
            StorageError: writing failed; nothing is changed.
        """
        if episode_indices is None:
            episode_indices = range(storage.total_episodes)
        storing.append_stored(self, [(storage, list(storage._checked(episode_indices)))], lock_timeout=lock_timeout)

    def repack(self, *, compression: CompressionChoice = None, lock_timeout: float | None = None) -> None:
        """Rewrite all episodes in place, in the layout of this release.

        A dataset written by another release or program can then be read as fast as one written by this
        release. Values and metadata stay the same, and JPEG frames are copied unchanged. The change is
        atomic: concurrent readers find either the old episodes or the new ones.

        Args:
            compression: the codec of all columns or of some, as in :meth:`new`; by default, the choice stored
                in the dataset.
            lock_timeout: seconds to wait for another program that is writing to the dataset; by default
                ``MINARI_LOCK_TIMEOUT``, or 60.

        Raises:
            CompressionError: the format does not support the codec, or there is no such column.
            MissingDependencyError: the codec needs a package that is not installed.
            DatasetBusyError: another program is still writing to the dataset.
            StorageError: writing failed; nothing is changed.
        """
        choice = self.compression if compression is None else compression
        chosen = checked_compression(type(self), self.episode_codec, choice, self.jpeg_encoding, self.frame_stack)
        changes: dict[str, Any] = {key: serialize_space(getattr(self, key)) for key in SPACES}  # 0.3 did not store them
        changes.update(minari_version=FORMAT_VERSION, jpeg_encoding=self.jpeg_encoding)
        if chosen.stored is not None:
            changes["compression"] = chosen.stored
        target = type(self)(self._data_path, self.current_metadata)
        target._compression, target.durable = chosen, self.durable
        storing.rewrite(target, self, changes, lock_timeout)
        self._compression = None


def create_storage(
    data_path: PathLike,
    observation_space: gym.Space[Any] | SpacesByAgent | None,
    action_space: gym.Space[Any] | SpacesByAgent | None,
    env_spec: Any,
    data_format: str,
    *,
    jpeg_encoding: bool,
    compression: CompressionChoice,
    frame_stack: FrameStackChoice = KEEP,
    compatible_with: str | None = None,
    like: Sequence[StorageCore] = (),
    durable: bool = True,
    codec: EpisodeCodec | None = None,
) -> MinariStorage:
    """Create an empty storage, as :meth:`MinariStorage.new` does.

    If all storages in ``like`` have the same format and the layout of earlier releases, the new one has it too.

    Without ``durable``, changes need not survive a power failure: whoever builds the dataset flushes all of its files
    before it appears. ``codec`` is the codec of episodes with these spaces, if there is one already.
    """
    path = as_data_path(data_path)
    storage_type = get_minari_storage(data_format)._for_place(path)
    if exists(path):
        raise DatasetExistsError(f"{path} already holds a dataset; delete it or give another path.")
    raw = metadata_of_new(observation_space, action_space, env_spec, data_format, jpeg_encoding)
    if check_frame_stack(frame_stack) == DEDUPLICATE:
        if raw.get("multi_agent"):
            raise ArgumentError(
                "frame_stack is 'deduplicate' and the dataset has many agents, whose stacks are stored as they are; "
                "leave it out, or give it when a dataset is made of one agent (MinariDataset.for_agent)."
            )
        raw[FRAME_STACK] = frame_stack
    metadata = DatasetMetadata.from_raw(raw, path / METADATA_FILE_NAME)
    if codec is not None:
        metadata = metadata.with_codec(codec)
    check_compatible(compatible_with, data_format, frame_stack, metadata.episode_codec)
    chosen = checked_compression(storage_type, metadata.episode_codec, compression, jpeg_encoding, frame_stack)
    if chosen.stored is not None:
        metadata = metadata.updated({"compression": chosen.stored}, allow_protected=True)
    is_older = bool(like) and all(not one.has_byte_frames and data_format == one.FORMAT for one in like)
    if compatible_with is not None:  # each bound of each number, as earlier releases read them
        written = {key: with_written_bounds(raw[key], MOST_METADATA // 2) for key in SPACES}
        metadata = metadata.updated(written, allow_protected=True)
    elif storage_type.BYTE_FRAMES and chosen.frames and not is_older:
        metadata = metadata.updated({FRAME_LAYOUT: BYTES}, allow_protected=True)
    with storage_errors(path, "made"):
        put_file(path / METADATA_FILE_NAME, metadata.to_json(), durable=durable)
        storage: MinariStorage = storage_type(path, metadata)
        storage.durable = durable
        storage._start()
    return storage


def check_compatible(release: str | None, data_format: str, frame_stack: FrameStackChoice, codec: EpisodeCodec) -> None:
    """Raise unless an earlier release supports datasets of that kind.

    Args:
        release: the release; None for this one, which does.
        data_format: the format.
        frame_stack: how stacks of frames are stored.
        codec: of the episodes.

    Raises:
        DatasetVersionError: it does not, or this release cannot write for it.
    """
    if release is None:
        return
    if release != _OLDER_RELEASE:
        raise DatasetVersionError(f"compatible_with is {shortened(release)}, expected {_OLDER_RELEASE!r} or None.")
    if data_format not in _FORMATS_BEFORE:
        raise DatasetVersionError(
            f"Releases {release} do not have the format {data_format!r}, expected one of {_FORMATS_BEFORE}; give "
            f"another data_format."
        )
    if frame_stack == DEDUPLICATE:
        raise DatasetVersionError(
            f"frame_stack is {frame_stack!r}, and releases {release} read stacks of frames only as they are; leave out "
            f"one of frame_stack and compatible_with."
        )
    if isinstance(codec, MultiAgentCodec):
        raise DatasetVersionError(
            f"The dataset has many agents, which releases {release} cannot read; convert one of them "
            f"(MinariDataset.for_agent), or leave out compatible_with."
        )
    new = {kind for space in codec.spaces for kind in described_types(serialize_space(space))} & _NEW_SPACES
    if new:
        raise DatasetVersionError(
            f"The dataset has spaces of the types {sorted(new)}, which releases {release} cannot read; leave out "
            f"compatible_with."
        )


def metadata_of_new(
    observation_space: gym.Space[Any] | SpacesByAgent | None,
    action_space: gym.Space[Any] | SpacesByAgent | None,
    env_spec: Any,
    data_format: str,
    jpeg_encoding: bool,
) -> dict[str, Any]:
    """Return the metadata of a storage without episodes.

    Raises:
        SpaceError: a space is missing and there is no environment to take it from.
    """
    if observation_space is None or action_space is None:
        if env_spec is None:
            raise SpaceError(
                "Without an env_spec both the observation space and the action space are needed; give "
                "observation_space and action_space."
            )
        env_observation_space, env_action_space = spaces_of(env_spec)
        # Not `or`: an empty Dict space counts as false.
        observation_space = env_observation_space if observation_space is None else observation_space
        action_space = env_action_space if action_space is None else action_space
    codec = codec_for_spaces(observation_space, action_space)
    raw: dict[str, Any] = {
        "total_episodes": 0,
        "total_steps": 0,
        "data_format": data_format,
        "jpeg_encoding": bool(jpeg_encoding),
        "observation_space": serialize_space(codec.observations.space),
        "action_space": serialize_space(codec.actions.space),
    }
    if isinstance(codec, MultiAgentCodec):
        raw["multi_agent"] = True
    classes = {
        **space_classes(codec.observations.space, ("observations",)),
        **space_classes(codec.actions.space, ("actions",)),
    }
    if classes:
        raw["space_classes"] = classes  # for information only: nothing is ever imported by it
    if env_spec is not None:
        raw["env_spec"] = env_spec_to_json(env_spec)
    return raw
