"""MinariStorage: what every storage format can do, written once over a handful of hooks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import gymnasium as gym
import numpy as np

from minari._base.files import METADATA_FILE_NAME
from minari._base.json_text import shortened
from minari._base.system_errors import storage_errors
from minari._model.compression import CompressionChoice
from minari._model.dataset_id import dataset_id_at
from minari._model.env_spec import env_spec_to_json, spaces_of
from minari._model.episode_buffer import EpisodeBuffer
from minari._model.episode_codec import OUTCOMES, EpisodeCodec, check_window, window_of
from minari._model.episode_metadata import checked_metadata
from minari._model.format_version import FORMAT_VERSION
from minari._model.metadata import DatasetMetadata, warn_about_mistyped
from minari._model.metadata_json import SPACES
from minari._storages import write_session as storing
from minari._storages.core import EpisodeWriter, StorageCore, checked_compression
from minari._storages.images import is_image_space
from minari._storages.metadata_file import exists, read_metadata, read_raw_metadata, stamp_of
from minari._storages.paths import PathLike, as_data_path, is_remote, put_file
from minari._storages.registry import get_minari_storage
from minari._storages.staged_directory import folder_size
from minari.errors import (
    ArgumentTypeError,
    DatasetCorruptError,
    DatasetExistsError,
    MetadataError,
    SpaceError,
)
from minari.spaces.serialization import serialize_space, space_classes


__all__ = ["METADATA_FILE_NAME", "EpisodeWriter", "MinariStorage", "PathLike", "is_image_space"]

_MANY_EPISODES = 1 << 20  # more than these are held against the size of the data first


class MinariStorage(StorageCore):
    """The episodes and metadata of one dataset, in one folder.

    Obtained from :meth:`new` or :meth:`read`. A format is a subclass that fills in the hooks of
    :class:`~minari._storages.core.StorageCore`.
    """

    def __getstate__(self) -> dict[str, Any]:
        return {
            "data_path": self.data_path,
            "verify_checksums": self.verify_checksums,
            "placed_id": self.placed_id,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        data_path = as_data_path(state["data_path"] if "data_path" in state else state["_data_path"])  # as in 0.5
        self.__init__(data_path, read_metadata(data_path))  # type: ignore[misc]
        self.verify_checksums = state.get("verify_checksums", False)
        self.placed_id = state.get("placed_id")

    # Opening

    @classmethod
    def read(cls, data_path: PathLike, *, verify_checksums: bool = False) -> MinariStorage:
        """Open the storage in a folder.

        Args:
            data_path: the ``data`` folder of a dataset, or its address (``"s3://bucket/data"``).
            verify_checksums: compare the values of every episode that is read with the checksums that
                were made when they were written.

        Raises:
            DataPathError: the folder does not exist or holds no dataset.
            DatasetCorruptError: the metadata are damaged, or disagree with the data.
            UnknownFormatError: the format of the dataset is not known.
        """
        path = as_data_path(data_path)
        stamp = stamp_of(path)  # taken first: what another program writes from now on is noticed later
        metadata = read_metadata(path)
        storage: MinariStorage = get_minari_storage(metadata.data_format)._for_place(path)(path, metadata)
        storage._metadata_stamp = stamp
        storage.verify_checksums = verify_checksums
        storage._check_total()
        return storage

    def _check_total(self) -> None:
        """Hold the metadata against the data, which another program may be changing."""
        while True:
            told = self._metadata.total_episodes  # which has just been read
            self._check_room(told)
            found = self._count_episodes() if told else 0
            if found == told:
                return
            self.forget_metadata()
            if self.total_episodes == told:
                raise DatasetCorruptError(
                    f"The metadata of {self._data_path} speak of {told} episodes and the data hold "
                    f"{found}; the files do not belong together, so copy or download the dataset again."
                )

    def _check_room(self, total: int) -> None:
        """Make sure that the data have a byte for each episode at least, before anything is made of that size."""
        if total <= _MANY_EPISODES or is_remote(self._data_path):
            return
        size = folder_size(self._data_path)
        if total > size:
            raise DatasetCorruptError(
                f"The metadata of {self._data_path} speak of {total} episodes, which do not fit into the {size} bytes "
                f"that are there; copy or download the dataset again."
            )

    @classmethod
    def read_raw_metadata(cls, data_path: PathLike) -> dict[str, Any]:
        """The metadata as they are stored: spaces and environment specs as JSON strings.

        Raises:
            DataPathError: the folder does not exist or holds no dataset.
            DatasetCorruptError: the metadata are damaged.
        """
        return read_raw_metadata(as_data_path(data_path))

    @classmethod
    def new(
        cls,
        data_path: PathLike,
        observation_space: gym.Space[Any] | None = None,
        action_space: gym.Space[Any] | None = None,
        env_spec: Any = None,
        data_format: str = "hdf5",
        *,
        jpeg_encoding: bool = False,
        compression: CompressionChoice = None,
    ) -> MinariStorage:
        """Make an empty storage.

        Args:
            data_path: a folder, or an address for ``"zarr"``, that holds no dataset; made if need be.
            observation_space: of the episodes; by default that of the environment.
            action_space: likewise.
            env_spec: the ``EnvSpec`` of the environment, where there is one.
            data_format: one of :func:`minari.dataset._storages.get_storage_keys`.
            jpeg_encoding: store frames as JPEG, which loses detail, rather than as they are.
            compression: a codec for all columns, with a level if wanted (``"gzip"``, ``"gzip:9"``,
                ``"none"``), or for some (``{"observations/pixels": "gzip:9"}``). Unless it is said,
                frames are compressed without loss, and nothing else is.

        Raises:
            DatasetExistsError: the folder holds a dataset.
            UnknownFormatError: no format has that name.
            SpaceError: a space is missing and there is no environment to ask.
            CompressionError: the format does not have the codec, or there is no such column.
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
        )

    # What it is

    @property
    def dataset_id(self) -> str:
        """The id of the dataset: where it lies, also where it was moved or copied there."""
        if self.placed_id is not None:
            return self.placed_id
        stored = self._metadata.dataset_id
        if is_remote(self._data_path):
            return stored or self._data_path.parent.name
        return dataset_id_at(self._data_path.absolute().parent, stored)

    @property
    def metadata(self) -> dict[str, Any]:
        """The metadata, with spaces as spaces, authors and emails as sets, and the id that says where it lies."""
        public = self.stored_metadata.public()
        if public.get("dataset_id"):
            public["dataset_id"] = self.dataset_id
        return public

    def get_size(self) -> float:
        """The size of the dataset in MB, to one decimal: that of all its files, hidden ones aside.

        It is what the last writer has measured and what lists show, and is measured now where the
        metadata do not say.
        """
        stored = self.stored_metadata.size
        return self.measured_size() if stored is None else stored

    # Reading

    def get_episodes(self, episode_indices: Iterable[int], *, copy: bool = True) -> Iterator[dict[str, Any]]:
        """The episodes of these numbers, in that order, one at a time.

        Args:
            episode_indices: the numbers of the episodes.
            copy: whether the arrays belong to the caller. Otherwise they may be read-only views of the
                files, which must not be truncated by another program as long as a view is used.

        Yields:
            Dicts with the fields of :class:`minari.EpisodeData`.

        Raises:
            EpisodeIndexError: there is no episode of that number.
            ChecksumError: the values are not those that were written, where that is verified.
        """
        read = self._read_columns if copy else self._view_columns
        for index, columns in read(self._checked(episode_indices)):
            yield self.episode_codec.decode(index, self.with_frames(columns) if self.frame_leaves else columns)

    def _get_outcomes(self, episode_indices: Iterable[int]) -> Iterator[dict[str, Any]]:
        """The id, rewards, terminations and truncations of these episodes, as :meth:`get_episodes` gives them."""
        for index, columns in self._read_leaves(self._checked(episode_indices), OUTCOMES):
            yield self.episode_codec.decode_outcomes(index, columns)

    def get_window(self, episode_index: int, start: int, stop: int) -> dict[str, Any]:
        """Some consecutive steps of an episode; ``zarr`` reads no other chunks for them.

        Args:
            episode_index: the number of the episode.
            start: the first step.
            stop: the step after the last one.

        Returns:
            A dict with the fields of :class:`minari.EpisodeData`: ``stop - start`` actions, rewards and
            flags, and one observation and info more than that, as in an episode.

        Raises:
            EpisodeIndexError: there is no episode of that number, or it does not have these steps.
        """
        (index,) = self._checked([episode_index])
        (total_steps,) = self._read_lengths(np.array([index])).tolist()
        check_window(index, total_steps, start, stop)
        columns = self._read_window(index, start, stop)
        if columns is not None:
            return self.episode_codec.decode(index, self.with_frames(columns))
        (episode,) = self.get_episodes([index])
        return window_of(episode, start, stop)

    def apply(
        self, function: Callable[[dict[str, Any]], Any], episode_indices: Iterable[int] | None = None
    ) -> Iterator[Any]:
        """What a function returns for each of these episodes, or for all; computed as it is asked for."""
        if episode_indices is None:
            episode_indices = range(self.total_episodes)
        return map(function, self.get_episodes(episode_indices))

    # Writing

    def update_metadata(self, metadata: Mapping[str, Any], *, lock_timeout: float | None = None) -> None:
        """Set metadata of the dataset, leaving the other keys as they are.

        Args:
            metadata: the keys and their values. One that looks like a key of this library and is none is
                stored with a warning.
            lock_timeout: for how many seconds to wait for another program that is writing the dataset; by
                default 60, or what ``MINARI_LOCK_TIMEOUT`` says.

        Raises:
            ArgumentTypeError: ``metadata`` is not a dict.
            MetadataError: a key that must not be changed, or a value that JSON cannot hold; the
                stored metadata are then as they were.
            DatasetBusyError: another program is still writing the dataset.
            StorageError: the system refuses to write; nothing is changed.
        """
        if not isinstance(metadata, Mapping):
            raise ArgumentTypeError(f"metadata is {shortened(metadata)}, expected a dict.")
        with self.writing(lock_timeout) as writer:
            warn_about_mistyped(metadata, self.stored_metadata.raw)
            writer.commit(self.stored_metadata.updated(metadata))

    def update_episode_metadata(
        self,
        metadatas: Iterable[Mapping[str, Any]],
        episode_indices: Iterable[int] | None = None,
        *,
        lock_timeout: float | None = None,
    ) -> None:
        """Set metadata of episodes, leaving their other keys as they are.

        Args:
            metadatas: one dict for each episode; where it has nested dicts, they replace what the key
                had before.
            episode_indices: the episodes, by default all.
            lock_timeout: for how many seconds to wait for another program that is writing the dataset; by
                default 60, or what ``MINARI_LOCK_TIMEOUT`` says.

        Raises:
            MetadataError: the numbers of both differ, or a value cannot be stored.
            DatasetBusyError: another program is still writing the dataset.
            StorageError: the system refuses to write; nothing is changed.
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
                writer.update_metadata(index, checked_metadata(metadata))
            writer.commit(self.stored_metadata)

    def update_episodes(
        self,
        episodes: Iterable[EpisodeBuffer],
        *,
        describe: Callable[[dict[str, Any]], Mapping[str, Any]] | None = None,
        lock_timeout: float | None = None,
    ) -> None:
        """Append episodes; all of them, or none where one is refused.

        An episode whose ``id`` is that of one that is stored continues it: its observations, infos,
        actions and so on, one each a step, are appended to those.

        Args:
            episodes: the episodes, taken one by one.
            describe: called with the fields of each episode's :class:`minari.EpisodeData`; returns
                what is to be kept with it beside its seed and options, such as statistics.
            lock_timeout: for how many seconds to wait for another program that is writing the dataset; by
                default 60, or what ``MINARI_LOCK_TIMEOUT`` says.

        Raises:
            EpisodeError: an episode does not fit the spaces, or its parts do not fit together.
            DatasetBusyError: another program is still writing the dataset.
            StorageError: the system refuses to write; nothing is changed.
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

        Stored bytes are copied as they are wherever both formats are the same.

        Args:
            storage: where they come from.
            episode_indices: which episodes, by default all.
            lock_timeout: for how many seconds to wait for another program that is writing the dataset; by
                default 60, or what ``MINARI_LOCK_TIMEOUT`` says.

        Raises:
            CombineError: the episodes do not fit the spaces of this storage.
            DatasetBusyError: another program is still writing the dataset.
            StorageError: the system refuses to write; nothing is changed.
        """
        if episode_indices is None:
            episode_indices = range(storage.total_episodes)
        storing.append_stored(self, [(storage, list(storage._checked(episode_indices)))], lock_timeout=lock_timeout)

    def repack(self, *, compression: CompressionChoice = None, lock_timeout: float | None = None) -> None:
        """Rewrite all episodes in place, as this release writes them.

        What another release or another program wrote is read as fast afterwards as what this one
        writes. Values and metadata stay what they are, and frames that are JPEG stay the same JPEG. The
        change is atomic: concurrent readers find either the old episodes or the new ones.

        Args:
            compression: of all columns or of some, as in :meth:`new`; unless it is said, what was chosen
                when the dataset was made.
            lock_timeout: for how many seconds to wait for another program that is writing the dataset; by
                default 60, or what ``MINARI_LOCK_TIMEOUT`` says.

        Raises:
            CompressionError: the format does not have the codec, or there is no such column.
            MissingDependencyError: the codec needs a package that is not installed.
            DatasetBusyError: another program is still writing the dataset.
            StorageError: the system refuses to write; nothing is changed.
        """
        choice = self.compression if compression is None else compression
        chosen = checked_compression(type(self), self.episode_codec, choice, self.jpeg_encoding)
        changes: dict[str, Any] = {
            key: serialize_space(getattr(self, key)) for key in SPACES
        }  # which 0.3 did not store
        changes.update(minari_version=FORMAT_VERSION, jpeg_encoding=self.jpeg_encoding)
        if chosen.stored is not None:
            changes["compression"] = chosen.stored
        target = type(self)(self._data_path, self.stored_metadata)
        target._compression, target.durable = chosen, self.durable
        storing.rewrite(target, self, changes, lock_timeout)
        self._compression = None


def create_storage(
    data_path: PathLike,
    observation_space: gym.Space[Any] | None,
    action_space: gym.Space[Any] | None,
    env_spec: Any,
    data_format: str,
    *,
    jpeg_encoding: bool,
    compression: CompressionChoice,
    durable: bool = True,
    codec: EpisodeCodec | None = None,
) -> MinariStorage:
    """Make an empty storage, as :meth:`MinariStorage.new` does.

    Without ``durable`` a change does not outlast a power cut; whoever builds the dataset flushes all of its files
    before it appears. ``codec`` is that of episodes with these spaces, where there is one already.
    """
    path = as_data_path(data_path)
    storage_type = get_minari_storage(data_format)._for_place(path)
    if exists(path):
        raise DatasetExistsError(f"{path} already holds a dataset; delete it or give another path.")
    raw = metadata_of_new(observation_space, action_space, env_spec, data_format, jpeg_encoding)
    metadata = DatasetMetadata.from_raw(raw, path / METADATA_FILE_NAME)
    if codec is not None:
        metadata = metadata.with_codec(codec)
    chosen = checked_compression(storage_type, metadata.episode_codec, compression, jpeg_encoding)
    if chosen.stored is not None:
        metadata = metadata.updated({"compression": chosen.stored}, allow_protected=True)
    with storage_errors(path, "made"):
        put_file(path / METADATA_FILE_NAME, metadata.to_json(), durable=durable)
        storage: MinariStorage = storage_type(path, metadata)
        storage.durable = durable
        storage._start()
    return storage


def metadata_of_new(
    observation_space: gym.Space[Any] | None,
    action_space: gym.Space[Any] | None,
    env_spec: Any,
    data_format: str,
    jpeg_encoding: bool,
) -> dict[str, Any]:
    """The metadata of a storage without episodes.

    Raises:
        SpaceError: a space is missing and there is no environment to ask.
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
    raw: dict[str, Any] = {
        "total_episodes": 0,
        "total_steps": 0,
        "data_format": data_format,
        "jpeg_encoding": bool(jpeg_encoding),
        "observation_space": serialize_space(observation_space),
        "action_space": serialize_space(action_space),
    }
    classes = {**space_classes(observation_space, ("observations",)), **space_classes(action_space, ("actions",))}
    if classes:
        raw["space_classes"] = classes  # a note for people: nothing is ever imported by it
    if env_spec is not None:
        raw["env_spec"] = env_spec_to_json(env_spec)
    return raw
