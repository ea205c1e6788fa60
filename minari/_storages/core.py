"""StorageCore and EpisodeWriter: an open dataset on disk, and the hooks of a storage format."""

from __future__ import annotations

import logging
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import wraps
from pathlib import Path
from typing import Any, ClassVar, Concatenate, ParamSpec, TypeVar

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from minari._base.json_text import shortened
from minari._base.lazy import cached_property
from minari._base.locks import folder_lock, waiting_at_most
from minari._base.system_errors import storage_errors
from minari._base.warnings import warn
from minari._model.arguments import checked_indices
from minari._model.compression import Codec, Codecs, Compression, CompressionChoice, check_codec, is_frame
from minari._model.episode_codec import EpisodeCodec
from minari._model.episode_metadata import decoded_metadata
from minari._model.format_version import frames_were_jpeg
from minari._model.frame_stack import DEDUPLICATE, KEEP, FrameStackChoice, FrameStacks, StackedLeaf
from minari._model.metadata import REWARD_SHAPE, DatasetMetadata
from minari._model.metadata_json import SPACES
from minari._model.multi_agent import AgentSpaces
from minari._storages.images import image_leaves, with_decoded_frames
from minari._storages.metadata_file import find_raw_metadata, local_stamp_of, stamp_of, with_measured_size
from minari._storages.paths import is_remote
from minari._storages.recent_rows import RecentRows
from minari._storages.rows import LeafRequest, RowRequest, concatenated
from minari._storages.stacked_rows import read_stacked_rows
from minari._storages.staged_directory import directory_size
from minari.errors import (
    DataPathError,
    DatasetChangedError,
    DatasetCorruptError,
    DatasetNotFoundError,
    StorageError,
)
from minari.spaces import AGENTS, Column, ColumnPath, Columns, EpisodeBatch, EpisodeColumns, Leaf, field_of


_log = logging.getLogger(__name__)

_WITH_LAST_ROW = ("observations", "infos", "timesteps")

Storage = TypeVar("Storage", bound="StorageCore")
P = ParamSpec("P")
T = TypeVar("T")


def of_one_dataset(
    read: Callable[Concatenate[Storage, P], Iterator[T]],
) -> Callable[Concatenate[Storage, P], Iterator[T]]:
    """Let a method that yields values of a dataset raise once the dataset has been edited.

    The check follows each read: an edit replaces all files atomically, so that what was read before them is old.

    Raises:
        DatasetChangedError: the episodes or fields of the dataset were edited after it was opened.
    """

    @wraps(read)
    def checking(self: Storage, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        return _unchanged(self, read(self, *args, **kwargs))

    return checking


def _unchanged(storage: StorageCore, values: Iterator[T]) -> Iterator[T]:
    """Yield the values of an iterator, as long as the dataset that they come from is the one that was opened."""
    checked = -1
    try:
        for value in values:
            if storage.reads is None or storage.reads != checked:
                checked = storage.reads or 0
                storage.check_unchanged()
            yield value
    except Exception:
        storage.check_unchanged()  # which explains why it failed
        raise


class EpisodeWriter(ABC):
    """The hooks of a format for changing a dataset, for the duration of one transaction.

    Nothing that a writer receives is visible before :meth:`commit`; without it, everything is undone when the
    context of the writer ends.

    Attributes:
        values_stay: True if the arrays of episodes stay as they are until the commit, so that a format may encode them
            in other threads meanwhile; otherwise they may be used again after each call.
    """

    values_stay: bool = False

    @abstractmethod
    def append(self, first_index: int, episodes: Sequence[EpisodeColumns]) -> None:
        """Append episodes as number ``first_index`` and following."""

    def append_batch(self, first_index: int, batch: EpisodeBatch) -> None:
        """Append the episodes of a batch, for formats that can do that faster than one by one."""
        self.append(first_index, list(batch))

    @abstractmethod
    def replace(self, index: int, episode: EpisodeColumns) -> None:
        """Replace an existing episode."""

    @abstractmethod
    def update_metadata(self, index: int, metadata: Mapping[str, Any]) -> None:
        """Set metadata of an existing episode, keeping other keys unchanged.

        If a key has a dict, the whole dict is replaced.
        """

    def copy_from(self, first_index: int, storage: StorageCore, indices: Sequence[int]) -> bool:
        """Append episodes of another storage in their stored form; return False if this format cannot."""
        return False

    def finish(self) -> int:
        """Write what is left, and return the number of bytes that the data will take, without ``metadata.json``.

        Called once, after the last change and before :meth:`commit`. A format whose changes are written as
        they come may have :meth:`size` instead.
        """
        return self.size()

    def size(self) -> int:
        """Return the number of bytes that the data will take, for :meth:`finish`, unless a format has its own."""
        raise NotImplementedError(f"{type(self).__name__} has neither finish() nor size(), expected one of them.")

    @abstractmethod
    def commit(self, metadata: DatasetMetadata) -> None:
        """Make everything visible at once, together with the new metadata; :meth:`finish` has been called."""


class ReplacingWriter(EpisodeWriter):
    """Writer that replaces existing episodes by appended ones, one by one.

    Args:
        writer: the writer of the format.
    """

    def __init__(self, writer: EpisodeWriter) -> None:
        self._writer = writer

    def append(self, first_index: int, episodes: Sequence[EpisodeColumns]) -> None:
        """Replace number ``first_index`` and following."""
        for index, episode in enumerate(episodes, first_index):
            self._writer.replace(index, episode)

    def replace(self, index: int, episode: EpisodeColumns) -> None:
        """Replace an episode, see :class:`EpisodeWriter`."""
        self._writer.replace(index, episode)

    def update_metadata(self, index: int, metadata: Mapping[str, Any]) -> None:
        """Set metadata, see :class:`EpisodeWriter`."""
        self._writer.update_metadata(index, metadata)

    def finish(self) -> int:
        """Write what is left and return the size, see :class:`EpisodeWriter`."""
        return self._writer.finish()

    def commit(self, metadata: DatasetMetadata) -> None:
        """Commit the changes, see :class:`EpisodeWriter`."""
        self._writer.commit(metadata)


class StorageCore(ABC):
    """Base class of :class:`MinariStorage` with the hooks that differ between formats.

    A format has ``FORMAT`` and the hooks ``_read_columns``, ``_read_episode_metadata``, ``_writer`` and
    ``_count_episodes``; ``FILES``, if its files can be validated; ``CODECS`` and ``FRAME_CODEC``, if it can
    compress. The others have defaults, which a format overrides if it can do better.
    """

    #: The name of the format.
    FORMAT: ClassVar[str]
    #: The supported codecs of columns, and the levels of each.
    CODECS: ClassVar[Codecs] = {}
    #: The default codec of frames.
    FRAME_CODEC: ClassVar[Codec | None] = None
    #: True if each frame of a new dataset is one binary value, unless earlier releases are to read it.
    BYTE_FRAMES: ClassVar[bool] = False
    #: True if a dataset can be in any store that fsspec supports, and not only in a local directory.
    REMOTE: ClassVar[bool] = False

    #: Names of the files and directories that hold the data; None if validation should not judge them.
    FILES: ClassVar[re.Pattern[str] | None] = None

    #: True if checksums of values are in a hidden file, so that adding them changes no file of the dataset.
    HIDDEN_CHECKSUMS: ClassVar[bool] = False

    #: The names, beside the metadata, of what holds changes that are committed but not applied.
    COMMITS: ClassVar[tuple[str, ...]] = ()

    #: The number of times that episodes were read from files up to now, which may be several at once; None if each
    #: episode is read on its own.
    reads: int | None = None

    #: True if every change survives a power failure. While a dataset is built in a hidden directory, this is False:
    #: all of it is flushed once, when it appears.
    durable: bool = True

    #: True if every read verifies the values with the checksums from when they were written.
    verify_checksums: bool = False

    def __init__(self, data_path: Path, metadata: DatasetMetadata) -> None:
        self._data_path = data_path
        self._place = str(data_path)  # which is needed for every read, and takes a path object its time
        self._is_remote = is_remote(data_path)
        self._metadata = self._metadata_at_first = metadata
        self.placed_id: str | None = None  # in a catalog, if it was opened by its id
        self._metadata_state: object = self._state_of_metadata(data_path)
        self._checked_stamp: object = None  # of the metadata file, when it was last found to be of this dataset
        self.episode_codec: EpisodeCodec = metadata.episode_codec
        self._compression: Compression | None = None  # created by the first write
        self._recent = RecentRows()
        self._verified: set[int] = set()
        #: Which episodes have the frames of stacks, by the path of the frames: 1, 0, or -1 if it is unknown.
        self._with_frames: dict[ColumnPath, npt.NDArray[np.int8]] = {}
        self._with_frames_of: object = None

    # Properties

    @cached_property
    def image_leaves(self) -> list[Leaf]:
        """The leaves of frames that JPEG can represent, among them those of stacks that are stored as frames."""
        return image_leaves(
            self.episode_codec.observations,
            self.episode_codec.actions,
            further=(leaf.frames for leaf in self.frame_stacks),
        )

    @cached_property
    def frame_stacks(self) -> FrameStacks:
        """The leaves whose stacks of frames are stored once."""
        return FrameStacks.of(self.episode_codec.observations, self.frame_stack)

    @cached_property
    def frame_leaves(self) -> list[Leaf]:
        """The leaves that may be JPEG: those declared by the metadata, or, in old datasets, all that look like it."""
        if self._metadata_at_first.jpeg_encoding is not None:
            return self.image_leaves
        codecs = (self.episode_codec.observations, self.episode_codec.actions)
        return [leaf for codec in codecs for leaf in codec.leaves() if leaf.dtype == np.uint8 and leaf.shape]

    @property
    def data_path(self) -> Path:
        """Return the directory of the data."""
        return self._data_path

    @property
    def observation_space(self) -> gym.Space[Any]:
        """Return the space of the observations."""
        return self._metadata.observation_space

    @property
    def action_space(self) -> gym.Space[Any]:
        """Return the space of the actions."""
        return self._metadata.action_space

    @property
    def is_multi_agent(self) -> bool:
        """Return whether episodes are of many agents."""
        return self._metadata.is_multi_agent

    @property
    def jpeg_encoding(self) -> bool:
        """Return whether frames are stored as JPEG."""
        declared = self._metadata.jpeg_encoding
        return frames_were_jpeg(self._metadata.minari_version) if declared is None else declared

    @property
    def frame_stack(self) -> FrameStackChoice:
        """Return how stacks of frames are stored: ``"keep"``, or ``"deduplicate"`` for each frame once."""
        return self._metadata.frame_stack

    @property
    def has_byte_frames(self) -> bool:
        """Return whether each frame is stored as one binary value."""
        return self._metadata.has_byte_frames

    @property
    def compression(self) -> str | dict[str, str] | None:
        """Return the chosen compression of the columns; None if none was chosen."""
        stored: str | dict[str, str] | None = self.current_metadata.raw.get("compression")
        return stored

    @property
    def total_episodes(self) -> int:
        """Return the number of episodes."""
        return self.current_metadata.total_episodes

    @property
    def total_steps(self) -> int:
        """Return the number of steps of all episodes."""
        return self.current_metadata.total_steps

    @property
    def reward_shape(self) -> tuple[int, ...] | None:
        """Return the shape of the reward of one step, ``()`` for a number; None if there is no episode yet."""
        stored = self.current_metadata.raw.get(REWARD_SHAPE)
        if stored is None and self.is_multi_agent:
            return () if self.total_episodes else None
        if isinstance(stored, list) and all(type(length) is int and length > 0 for length in stored):
            return tuple(stored)
        return self._first_reward_shape() if self.total_episodes else None

    @property
    def current_metadata(self) -> DatasetMetadata:
        """Return the current metadata on disk."""
        state = self._state_of_metadata(self._data_path)
        if state != self._metadata_state:
            codec = self._metadata.episode_codec
            new = self._metadata.with_spaces_kept(read_metadata(self._data_path))
            if new.revision != self._metadata_at_first.revision:
                raise changed_dataset(self._data_path)
            self._metadata, self._metadata_state = new, state
            if self._metadata.is_multi_agent and self._metadata.episode_codec is not codec:
                self.use_codec(self._metadata.episode_codec)
        return self._metadata

    def check_unchanged(self) -> None:
        """Raise if the episodes or fields have been edited since the dataset was opened; called after reading them.

        Raises:
            DatasetChangedError: they have.
        """
        if self._is_remote:
            return  # which is not edited in place
        stamp = local_stamp_of(self._place)
        if stamp is not None and stamp != self._checked_stamp:
            self.current_metadata  # noqa: B018 (raises)
            self._checked_stamp = stamp

    def unchanged_during(self, read: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return the result of a function that reads; raise if the dataset was edited before it had been read.

        Raises:
            DatasetChangedError: it was.
        """
        try:
            result = read(*args, **kwargs)
        except Exception:
            self.check_unchanged()  # which explains why it failed
            raise
        self.check_unchanged()
        return result

    def use_codec(self, codec: EpisodeCodec) -> None:
        """Encode and decode episodes with another codec, which knows more agents."""
        self.episode_codec, self._compression = codec, None
        for name in ("image_leaves", "frame_leaves", "frame_stacks"):
            vars(self).pop(name, None)
        self._take_codec()

    def _take_codec(self) -> None:  # noqa: B027 (most formats need nothing)
        """Follow a change of :attr:`episode_codec`, for formats that derive something from it."""

    @property
    def state(self) -> object:
        """Return what differs after every change that has been committed, for caches."""
        return self._state_of_metadata(self._data_path)

    @classmethod
    def _state_of_metadata(cls, data_path: Path) -> object:
        """Return what differs when other metadata has been committed, even before its file is replaced."""
        if is_remote(data_path):
            return stamp_of(data_path)
        place = str(data_path)
        return (local_stamp_of(place), *[local_stamp_of(place, name) for name in cls.COMMITS])

    def forget_metadata(self) -> None:
        """Read the metadata again when it is needed."""
        self._metadata_state = object()

    def measured_size(self) -> float:
        """Return the current size of the files in MB."""
        return round(directory_size(self._data_path) / 1e6, 1)

    @property
    def has_small_jpeg(self) -> bool:
        """Return whether frames too small for the current format may be JPEG, as written by 0.5.3."""
        small = len(self.frame_leaves) > len(self.image_leaves)
        return small and self._metadata.jpeg_encoding is None and self.jpeg_encoding

    def _codec_for(self, path: ColumnPath) -> Codec | None:
        """Return the codec for a new column of numbers, None for none."""
        if self._compression is None:
            self._compression = compression_of(
                type(self), self.episode_codec, self.compression, self.jpeg_encoding, self.frame_stack
            )
        return self._compression.codec_for(path)

    def with_frames(
        self, columns: Columns, *, copy: bool = False, paths: Container[ColumnPath] | None = None
    ) -> Columns:
        """Return the columns of an episode with JPEG frames decoded, and with stacks instead of their frames.

        Args:
            columns: as they are stored.
            copy: True if stacks should be new arrays; otherwise they are read-only views of their frames.
            paths: the paths that are wanted: the frames of stacks stay where they are among them.
        """
        if self.frame_leaves:
            columns = with_decoded_frames(columns, self.frame_leaves)
        return self.frame_stacks.rebuilt(columns, copy=copy, paths=paths) if self.frame_stacks else columns

    def has_only_frames(self, leaf: StackedLeaf) -> bool:
        """Return whether all episodes have the frames of a stacked leaf, according to the metadata."""
        metadata = self.current_metadata
        return metadata.deduplicated.get(leaf.name, 0) == metadata.total_episodes

    def has_stacked_frames(self, leaf: StackedLeaf, episodes: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Return which of these episodes have the frames of a stacked leaf, and not its stacks.

        The number in the metadata tells if it is all or none; for others, the episodes are looked at once.
        """
        metadata = self.current_metadata
        count = metadata.deduplicated.get(leaf.name, 0)
        if count in (0, metadata.total_episodes):
            return np.full(len(episodes), count > 0)
        state = self.state
        if state != self._with_frames_of:
            self._with_frames, self._with_frames_of = {}, state
        path = leaf.frames.path
        known = self._with_frames.get(path)
        if known is None:
            known = self._with_frames[path] = np.full(metadata.total_episodes, -1, np.int8)
        unknown = np.unique(episodes[known[episodes] < 0])
        if len(unknown):
            known[unknown] = self._have_column(path, unknown)
        return known[episodes] > 0

    def count_stacked_frames(self) -> dict[str, int]:
        """Return the number of episodes with the frames of stacks, by the names of the leaves, from the data."""
        episodes = np.arange(self.total_episodes)
        counts = {leaf.name: int(self._have_column(leaf.frames.path, episodes).sum()) for leaf in self.frame_stacks}
        return {name: count for name, count in counts.items() if count}

    def rows_beyond_steps(self, path: ColumnPath) -> int:
        """Return the number of rows that a column of numbers has in addition to those of the steps."""
        stacked = self.frame_stacks.of_frames(path)
        if stacked is not None:
            return stacked.length
        return int(field_of(path) in _WITH_LAST_ROW)

    def _checked(self, indices: Iterable[int]) -> Iterator[int]:
        return checked_indices(indices, self.total_episodes, self._data_path)

    def get_episode_lengths(self, episode_indices: Iterable[int] | None = None) -> npt.NDArray[np.int64]:
        """Return the number of steps of each of these episodes, or of all."""
        if episode_indices is None:
            episode_indices = range(self.total_episodes)
        indices = np.fromiter(self._checked(episode_indices), dtype=np.int64)
        return self.unchanged_during(self._read_lengths, indices) if len(indices) else indices

    @of_one_dataset
    def get_episode_metadata(self, episode_indices: Iterable[int]) -> Iterator[dict[str, Any]]:
        """Return the metadata of these episodes: id, total_steps, seed, options, statistics, and so on.

        Raises:
            EpisodeIndexError: there is no episode with that number.
        """
        for metadata in self._read_episode_metadata(self._checked(episode_indices)):
            metadata = decoded_metadata(metadata)
            for key in ("id", "total_steps", "seed"):
                if metadata.get(key) is not None:
                    metadata[key] = self._whole_number(key, metadata[key])
            of_agents = metadata.get(AGENTS) if self.is_multi_agent else None
            for of_agent in of_agents.values() if isinstance(of_agents, dict) else ():
                if isinstance(of_agent, dict) and isinstance(of_agent.get("total_steps"), np.integer):
                    of_agent["total_steps"] = int(of_agent["total_steps"])
            yield metadata

    def _whole_number(self, key: str, value: Any) -> int:
        try:
            number = int(value)
            if isinstance(value, (float, np.floating)) and number != value:
                raise ValueError("it has a fraction")
            return number
        except (TypeError, ValueError, OverflowError) as error:
            raise DatasetCorruptError(
                f"The metadata of an episode in {self._data_path} has {shortened(value)} as {key!r}, expected a whole "
                f"number; copy or download the dataset again."
            ) from error

    def _check_place(self) -> None:
        """Raise unless the dataset about to be written is the one that was opened.

        Raises:
            DatasetNotFoundError: another program has replaced it by another dataset.
        """
        now = self.current_metadata
        if now is self._metadata_at_first or is_remote(self._data_path):
            return
        for key in ("data_format", "dataset_id", *SPACES):
            before, after = self._metadata_at_first.raw.get(key), now.raw.get(key)
            if (
                before == after
                or before is None
                or (key in SPACES and self._are_continued(getattr(self._metadata_at_first, key), getattr(now, key)))
            ):
                continue
            raise DatasetNotFoundError(
                f"The dataset that was opened at {self._data_path} is no longer there, and one with another {key!r} is "
                f"in its place, to which nothing was written; open it again."
            )

    @staticmethod
    def _are_continued(before: gym.Space[Any], after: gym.Space[Any]) -> bool:
        """Return whether spaces are the same, or those of more agents."""
        if isinstance(before, AgentSpaces) and isinstance(after, AgentSpaces):
            return before.spaces.items() <= {agent: after[agent] for agent in after}.items()
        return before == after

    @contextmanager
    def excluding_writers(self, lock_timeout: float | None = None) -> Iterator[None]:
        """Let no program write to the dataset as long as the block runs; it stays as it is.

        Args:
            lock_timeout: seconds to wait for another writer; None for ``MINARI_LOCK_TIMEOUT``.

        Raises:
            DatasetBusyError: another program is still writing to the dataset.
            DatasetNotFoundError: it was deleted or replaced by another dataset.
            StorageError: it cannot be locked.
        """
        self._check_present()
        with ExitStack() as stack:
            with storage_errors(self._data_path, "locked"), waiting_at_most(lock_timeout):
                stack.enter_context(folder_lock(self._data_path))
                stack.enter_context(self._excluding_others())
            self._check_place()
            yield

    def _check_present(self) -> None:
        if not is_remote(self._data_path) and not self._data_path.is_dir():
            raise DatasetNotFoundError(
                f"The dataset that was opened at {self._data_path} is no longer there, it was deleted or moved; "
                f"nothing was written."
            )

    @contextmanager
    def writing(self, lock_timeout: float | None = None, *, rewriting: bool = False) -> Iterator[EpisodeWriter]:
        """Lock the dataset and yield a writer; failures of the operating system become errors of this library.

        Args:
            lock_timeout: seconds to wait for another writer; None for ``MINARI_LOCK_TIMEOUT``.
            rewriting: True if the episodes replace all existing ones.

        Raises:
            DatasetBusyError: another program is still writing to the dataset.
            DatasetNotFoundError: it was replaced by another dataset.
            StorageError: writing failed.
        """
        self._check_present()
        writer = self._rewriter() if rewriting else self._writer()
        with ExitStack() as stack:
            with storage_errors(self._data_path), waiting_at_most(lock_timeout):
                opened = stack.enter_context(writer)
            self._check_place()
            yield _GuardedWriter(opened, self)

    @of_one_dataset
    def column_paths(self, indices: Iterable[int]) -> Iterator[tuple[int, frozenset[ColumnPath]]]:
        """Yield the paths of the stored columns of each episode, with as few of their values as the format can."""
        for index in self._checked(indices):
            noted = _NotedPaths()
            ((_, columns),) = self._read_leaves([index], noted)
            yield index, frozenset({*noted.paths, *columns})

    def read_rows(self, requests: Sequence[RowRequest]) -> list[Column]:
        """Return rows of leaves out of many episodes, for samplers.

        Args:
            requests: the rows to read; numbers of episodes and rows that exist.

        Returns:
            A new array for each request, of the shape of its rows followed by that of a row, in native byte order.
            Its dtype is that of the stored values; if episodes differ in that, it represents the values of all.

        Raises:
            DatasetCorruptError: a leaf is missing or damaged.
            DatasetChangedError: a dataset with fewer episodes has taken the place of this one.
            ChecksumError: the values of an episode differ from those written, if verified.
        """
        try:
            return self.unchanged_during(self._read_verified_rows, requests)
        except IndexError:
            if any(request.episodes.max(initial=0) >= self.total_episodes for request in requests):
                raise changed_dataset(self._data_path) from None
            raise

    def _read_verified_rows(self, requests: Sequence[RowRequest]) -> list[Column]:
        if self.verify_checksums:  # of whole episodes, when they are read for the first time
            asked = {index for request in requests for index in np.unique(request.episodes).tolist()}
            for index, _ in self._read_columns(sorted(asked - self._verified)):
                self._verified.add(index)
        if self.frame_stacks:
            return read_stacked_rows(requests, self.frame_stacks, self._gathers_frames, self._read_rows)
        return self._read_rows(requests)

    def read_concatenated(self, episodes: npt.NDArray[np.int64], requests: Sequence[LeafRequest]) -> list[Column]:
        """Return all rows of leaves of several episodes, those of one episode after those of another.

        Args:
            episodes: the numbers of the episodes, at least one, shape (E,).
            requests: the leaves, and how many rows each episode has of them.

        Returns:
            A new array for each request, with a dtype as that of :meth:`read_rows`.

        Raises:
            DatasetCorruptError: a leaf is missing or damaged.
            ChecksumError: the values of an episode differ from those written, if verified.
            MemoryError: an array is too large.
        """
        return self.unchanged_during(self._read_concatenated, episodes, requests)

    def has_plain_rows(self, request: RowRequest) -> bool:
        """Return whether the rows of a request are stored as they are in memory, so that caching them does not pay."""
        return False

    @of_one_dataset
    def read_parts(self, indices: Iterable[int], paths: Container[ColumnPath]) -> Iterator[tuple[int, Columns]]:
        """Yield the columns at some paths of episodes, frames decoded, in the order of the indices."""
        for index, columns in self._read_leaves(self._checked(indices), self.frame_stacks.with_frames(paths)):
            yield index, self.with_frames(columns, paths=paths)

    def full_path(self, path: ColumnPath) -> ColumnPath:
        """Return the path of a column in the whole dataset, of which this may be the part of one agent."""
        return path

    @of_one_dataset
    def stored_columns(self, indices: Iterable[int]) -> Iterator[tuple[int, Columns]]:
        """Yield the columns of each episode as they are stored, in the order of the indices."""
        return self._read_columns(indices)

    def episodes_without_checksums(self, indices: Iterable[int]) -> list[int]:
        """Return those of the episodes that have no checksums, so that their values cannot be verified."""
        return self._episodes_without_checksums(indices)

    def add_missing_checksums(self) -> int:
        """Compute the missing checksums from the current values, without changing a value.

        Returns:
            The number of episodes whose values have new checksums.

        Raises:
            DatasetBusyError: another program is writing to the dataset.
        """
        return self._add_missing_checksums()

    def index_problems(self) -> Iterator[tuple[int | None, str]]:
        """Yield the episodes that an index kept beside the data does not describe as they are, each with a clause.

        The number is None where it is not about one episode.
        """
        return self._index_problems()

    def repair_index(self) -> int:
        """Make an index kept beside the data again where it is wrong; return for how many episodes."""
        return self._repair_index()

    # Hooks

    @abstractmethod
    def _read_columns(self, indices: Iterable[int]) -> Iterator[tuple[int, Columns]]:
        """Yield the stored columns of each episode, in the order of the indices.

        The arrays belong to the caller. If :attr:`verify_checksums` is set, values that differ from those
        written raise :class:`minari.errors.ChecksumError`.
        """

    def _read_episode(self, index: int) -> Columns:
        """Return the stored columns of one episode, for formats that can do that faster than as one of many."""
        ((_, columns),) = self._read_columns([index])
        return columns

    def _view_columns(self, indices: Iterable[int]) -> Iterator[tuple[int, Columns]]:
        """Yield the columns as read-only views of the files, without a copy, if the format supports it."""
        return self._read_columns(indices)

    def _read_leaves(self, indices: Iterable[int], paths: Container[ColumnPath]) -> Iterator[tuple[int, Columns]]:
        """Yield only the columns at some paths; a format may read the others too."""
        for index, columns in self._read_columns(indices):
            yield index, {path: column for path, column in columns.items() if path in paths}

    def _read_rows(self, requests: Sequence[RowRequest]) -> list[Column]:
        """Return the rows of each request, see :meth:`read_rows`; by default out of whole episodes."""
        totals = self.total_episodes, self.total_steps
        return self._recent.gather(requests, self.state, *totals, self.rows_beyond_steps, self.read_parts)

    def _read_concatenated(self, episodes: npt.NDArray[np.int64], requests: Sequence[LeafRequest]) -> list[Column]:
        """Return all rows of leaves, see :meth:`read_concatenated`; by default each episode is read and copied."""
        paths = frozenset(request.path for request in requests)
        return concatenated(requests, self.read_parts(episodes.tolist(), paths))

    def _gathers_frames(self, leaf: StackedLeaf, episodes: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Return which of these episodes have frames that rows of stacks are gathered from.

        The stacks of others are rebuilt when the whole episode is read; by default, of all if some have no frames.
        """
        return np.full(len(episodes), self.has_only_frames(leaf))

    def _have_column(self, path: ColumnPath, episodes: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Return which of these episodes have a column; by default the episodes are read."""
        found = (path in columns for _, columns in self._read_leaves(episodes.tolist(), frozenset([path])))
        return np.fromiter(found, bool, count=len(episodes))

    def _episodes_without_checksums(self, indices: Iterable[int]) -> list[int]:
        """Return those of the episodes that have no checksums, so that their values cannot be verified."""
        return list(indices)

    def _add_missing_checksums(self) -> int:
        """Compute the missing checksums from the current values, without changing a value.

        Returns:
            The number of episodes whose values have new checksums.

        Raises:
            DatasetBusyError: another program is writing to the dataset.
        """
        return 0

    def _index_problems(self) -> Iterator[tuple[int | None, str]]:
        """Yield the problems of an index, see :meth:`index_problems`; by default there is no index."""
        return iter(())

    def _repair_index(self) -> int:
        """Make an index again where it is wrong, see :meth:`repair_index`."""
        return 0

    @abstractmethod
    def _read_episode_metadata(self, indices: Iterable[int]) -> Iterator[dict[str, Any]]:
        """Yield the metadata of each episode, nested, with ``id`` and ``total_steps``."""

    def _start(self) -> None:  # noqa: B027 (most formats need nothing)
        """Create what other programs expect beside the metadata of a dataset without episodes."""

    @abstractmethod
    def _writer(self) -> AbstractContextManager[EpisodeWriter]:
        """Return the context of an exclusive writer."""

    def _excluding_others(self) -> AbstractContextManager[object]:
        """Return a context that excludes writers which do not know the lock of the directory."""
        return nullcontext()

    def _rewriter(self) -> AbstractContextManager[EpisodeWriter]:
        """Return the context of a writer whose episodes, from number 0 on, replace all existing ones."""
        return self._replacing_one_by_one()

    @contextmanager
    def _replacing_one_by_one(self) -> Iterator[EpisodeWriter]:
        with self._writer() as writer:
            yield ReplacingWriter(writer)

    @abstractmethod
    def _count_episodes(self) -> int:
        """Return the number of episodes in the data, independent of the metadata."""

    def has_file(self, name: str) -> bool:
        """Return whether a file with one of the names :data:`FILES` is part of the dataset, and not a leftover."""
        return True

    def _read_window(self, index: int, start: int, stop: int) -> Columns | None:
        """Return the columns of the steps from start to stop; None if the episode has to be read as a whole."""
        return None

    def _read_lengths(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the number of steps of each episode."""
        lengths = (metadata["total_steps"] for metadata in self._read_episode_metadata(indices.tolist()))
        return np.fromiter(lengths, dtype=np.int64, count=len(indices))

    def _first_reward_shape(self) -> tuple[int, ...] | None:
        """Return the shape of the reward of a step in the first episode, for metadata that does not have it.

        Only formats that other programs write need to look; None if it is unknown.
        """
        return ()

    @classmethod
    def check_codec(cls, codec: Codec) -> None:
        """Raise unless the format supports a codec and its package is installed.

        Raises:
            CompressionError: the format does not support the codec, or not at that level.
            MissingDependencyError: the codec needs a package that is not installed.
        """
        check_codec(codec, cls.CODECS, cls.FORMAT)

    @classmethod
    def check_compression(cls, compression: Compression) -> None:
        """Raise unless the format supports a choice of compression; see :meth:`check_codec`."""
        for codec in sorted(filter(None, compression.codecs), key=str):
            cls.check_codec(codec)

    @classmethod
    def _for_place(cls: type[Storage], path: Path) -> type[Storage]:
        """Return the format, which rejects a location where it cannot store a dataset."""
        if is_remote(path) and not cls.REMOTE:
            raise DataPathError(
                f"The format {cls.FORMAT!r} keeps a dataset in a directory of this computer, and {path} is none; use "
                f"the format 'zarr', or give a directory."
            )
        return cls


def changed_dataset(data_path: Path) -> DatasetChangedError:
    """Return the error about a dataset whose episodes or fields were edited after it was opened."""
    return DatasetChangedError(
        f"The dataset at {data_path} was edited after it was opened here, and its episodes have other numbers or "
        f"fields now; open it again."
    )


class _NotedPaths:
    """A container of paths that has none, and notes which it is asked for."""

    def __init__(self) -> None:
        self.paths: set[ColumnPath] = set()

    def __contains__(self, path: object) -> bool:
        if isinstance(path, tuple):
            self.paths.add(path)
        return False


class _GuardedWriter(EpisodeWriter):
    """Writer whose failures with the files of the dataset become errors of this library.

    Args:
        writer: the writer of the format.
        storage: the storage of the dataset.
    """

    def __init__(self, writer: EpisodeWriter, storage: StorageCore) -> None:
        self._writer, self._storage, self._path = writer, storage, storage.data_path

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "values_stay":
            self._writer.values_stay = value

    def append(self, first_index: int, episodes: Sequence[EpisodeColumns]) -> None:
        with storage_errors(self._path):
            self._writer.append(first_index, episodes)

    def append_batch(self, first_index: int, batch: EpisodeBatch) -> None:
        with storage_errors(self._path):
            self._writer.append_batch(first_index, batch)

    def replace(self, index: int, episode: EpisodeColumns) -> None:
        with storage_errors(self._path):
            self._writer.replace(index, episode)

    def update_metadata(self, index: int, metadata: Mapping[str, Any]) -> None:
        with storage_errors(self._path):
            self._writer.update_metadata(index, metadata)

    def copy_from(self, first_index: int, storage: StorageCore, indices: Sequence[int]) -> bool:
        with storage_errors(self._path):
            return self._writer.copy_from(first_index, storage, indices)

    def finish(self) -> int:
        with storage_errors(self._path):
            return self._writer.finish()

    def commit(self, metadata: DatasetMetadata) -> None:
        before, size = self._storage.current_metadata.raw, self.finish()
        if metadata.total_episodes or metadata.size is not None:
            metadata = metadata.with_size(size)
        try:
            with storage_errors(self._path):
                self._writer.commit(metadata)
        except StorageError as error:
            self._storage.forget_metadata()
            if before == metadata.raw or self._storage.current_metadata.raw != metadata.raw:
                raise
            _log.warning("What failed after the change to %s was made does not undo it: %s", self._path, error)


def checked_compression(
    storage_type: type[StorageCore],
    codec: EpisodeCodec,
    choice: CompressionChoice,
    jpeg_encoding: bool,
    frame_stack: FrameStackChoice = KEEP,
) -> Compression:
    """Return a choice of compression, checked against what its format supports.

    Raises:
        CompressionError: the format does not support the codec, or there is no such column.
        MissingDependencyError: the codec needs a package that is not installed.
    """
    compression = compression_of(storage_type, codec, choice, jpeg_encoding, frame_stack)
    storage_type.check_compression(compression)
    return compression


def compression_of(
    storage_type: type[StorageCore],
    codec: EpisodeCodec,
    choice: CompressionChoice,
    jpeg_encoding: bool,
    frame_stack: FrameStackChoice = KEEP,
) -> Compression:
    """Return the compression of a dataset for a choice.

    Args:
        storage_type: the format, which has its own default codec for frames.
        codec: the episode codec of the spaces.
        choice: the choice of the user.
        jpeg_encoding: True if frames are JPEG, which is not compressed further.
        frame_stack: how stacks of frames are stored.

    Raises:
        CompressionError: the choice is invalid, or names an unknown column.
    """
    spaces = codec.observations, codec.actions
    stacked = [leaf.frames for leaf in FrameStacks.of(codec.observations, frame_stack)]
    encoded = {leaf.path for leaf in image_leaves(*spaces, further=stacked)} if jpeg_encoding else set()
    leaves = [*(leaf for space in spaces for leaf in space.leaves()), *stacked]
    return Compression(
        choice,
        frames=[leaf.path for leaf in leaves if is_frame(leaf)],
        frame_codec=storage_type.FRAME_CODEC,
        columns=[path for space in spaces for path in space.paths()],
        encoded=encoded,
    )


def warn_about_whole_stacks(storage: StorageCore) -> None:
    """Warn if stacks of frames that were to be stored once are stored as they are in some episodes.

    Args:
        storage: of the dataset, which has been saved.

    Warns:
        UserWarning: names the leaves and the number of episodes.
    """
    if storage.frame_stack == DEDUPLICATE:
        metadata = storage.current_metadata
        sentence = storage.frame_stacks.summary(metadata.deduplicated, metadata.total_episodes)
        if sentence is not None:
            warn(f"{metadata.dataset_id or storage.data_path}: {sentence}")


def read_metadata(data_path: Path) -> DatasetMetadata:
    """Return the metadata of the dataset in a directory, including changes committed by a killed program.

    Raises:
        DataPathError: the directory does not exist or holds no dataset.
        DatasetCorruptError: the metadata is damaged.
    """
    raw, source = find_raw_metadata(data_path)
    return DatasetMetadata(with_measured_size(raw, data_path), source)
