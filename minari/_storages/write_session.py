"""Write sessions: encode and check episodes, and pass them to the writer of a format."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import groupby, islice
from typing import Any, TypeAlias, cast

import numpy as np

from minari._model.buffer_batches import in_batches
from minari._model.episode_buffer import AnyEpisodeBuffer, BufferBatch, EpisodeBuffer
from minari._model.episode_codec import REWARDS, EpisodeCodec, append_steps
from minari._model.episode_metadata import encoded_metadata
from minari._model.metadata import DEDUPLICATED, REWARD_SHAPE, DatasetMetadata
from minari._model.multi_agent import MultiAgentCodec
from minari._storages.core import EpisodeWriter, StorageCore
from minari._storages.images import decode_frames, encode_frames, encoded_frame, is_encoded, is_encoded_in
from minari.errors import CombineError, EpisodeError, MetadataError, SpaceError
from minari.progress import progress
from minari.spaces import (
    Column,
    ColumnPath,
    Columns,
    EpisodeBatch,
    EpisodeColumns,
    Leaf,
    object_column,
    without_ones,
)
from minari.spaces.differences import differing_leaf


#: Function from the fields of an ``EpisodeData`` to metadata to store with the episode.
Describe: TypeAlias = Callable[[dict[str, Any]], Mapping[str, Any]]
#: Function that is called with each episode, or each batch of them, after it has been checked and written.
Written: TypeAlias = Callable[[AnyEpisodeBuffer | BufferBatch], None]

_log = logging.getLogger(__name__)

_COPIED_AT_A_TIME = 256


def append_buffers(
    storage: StorageCore,
    buffers: Iterable[Any],
    describe: Describe | None,
    lock_timeout: float | None = None,
    written: Written | None = None,
) -> None:
    """Append all episodes or none, also some that are encoded already; see :meth:`StorageCore.update_episodes`.

    Args:
        storage: the destination.
        buffers: the episodes; consumed one by one unless they are a list, so that each may reuse the memory of the
            one before.
        describe: returns metadata for the fields of an episode.
        lock_timeout: seconds to wait for another writer.
        written: called with what has been checked and written.
    """
    together = type(buffers) is list and describe is None and type(storage.episode_codec) is EpisodeCodec
    with storage.writing(lock_timeout) as writer:
        metadata = storage.current_metadata  # read only after locking out other writers
        writer.values_stay = type(buffers) is list
        session = _Session(storage, writer, metadata, describe)
        for buffer in in_batches(buffers) if together else buffers:
            if isinstance(buffer, BufferBatch):
                session.add_batch(buffer)
            else:
                session.add(buffer)
            if written is not None:
                written(buffer)
        session.commit()


def append_encoded(
    storage: StorageCore, episodes: Iterable[EpisodeColumns | EpisodeBatch], codec: EpisodeCodec | None = None
) -> None:
    """Append episodes that are encoded for the spaces of the storage, one by one or in batches, all or none.

    Args:
        storage: the destination.
        episodes: the encoded episodes.
        codec: their codec; the storage takes the spaces of agents that it does not know yet.

    Raises:
        EpisodeError: the format cannot store an episode.
        SpaceError: an agent has another space in the storage.
        DatasetBusyError: another program is still writing to the dataset.
        StorageError: writing failed; nothing is changed.
    """
    with _writing(storage, None, [codec]) as writer:
        session = _Session(storage, writer, storage.current_metadata)  # read only after locking out other writers
        for is_single, group in groupby(episodes, lambda episode: isinstance(episode, EpisodeColumns)):
            if is_single:
                session.take(*[stored_form(storage, cast("EpisodeColumns", episode)) for episode in group])
            else:
                for batch in group:
                    session.take_batch(cast("EpisodeBatch", batch))
        session.commit()


def append_stored(
    storage: StorageCore,
    parts: Sequence[tuple[StorageCore, Sequence[int]]],
    *,
    as_stored: bool = True,
    change: Callable[[int, EpisodeColumns], EpisodeColumns] | None = None,
    lock_timeout: float | None = None,
) -> None:
    """Append episodes of other storages, all or none; see :meth:`StorageCore.update_from_storage`.

    Args:
        storage: the destination.
        parts: storages, each with the numbers of its episodes to append.
        as_stored: True to copy stored bytes if the format can; False to write the episodes again with the
            compression of this storage.
        change: function applied to an episode and its number before it is written; disables copying of stored bytes.
        lock_timeout: seconds to wait for another writer.
    """
    for source, _ in parts:
        _check_same_layout(storage, source)
    with _writing(storage, lock_timeout, [source.episode_codec for source, _ in parts]) as writer:
        session = _Session(storage, writer, storage.current_metadata)  # read only after locking out other writers
        with progress("copying episodes", sum(len(indices) for _, indices in parts)) as advance:
            for source, indices in parts:
                for start in range(0, len(indices), _COPIED_AT_A_TIME):
                    batch = indices[start : start + _COPIED_AT_A_TIME]
                    session.copy(source, batch, as_stored, change)
                    advance(len(batch))
        session.commit()


def append_changed(
    storage: StorageCore,
    source: StorageCore,
    indices: Sequence[int],
    change: Callable[[int, EpisodeColumns], EpisodeColumns],
    changed: Container[int],
) -> None:
    """Append episodes of a storage to one with other spaces, all or none.

    Values are never converted: JPEG frames stay as they are, and episodes that do not change are copied as stored.

    Args:
        storage: the destination.
        source: the storage of the episodes.
        indices: their numbers.
        change: function applied to an episode and its number, which returns its columns in the spaces of the
            destination.
        changed: the numbers of the episodes that it has to be applied to.
    """
    with storage.writing() as writer, progress("copying episodes", len(indices)) as advance:
        session = _Session(storage, writer, storage.current_metadata)
        for is_changed, group in groupby(indices, lambda index: index in changed):
            numbers = iter(group)
            while batch := list(islice(numbers, _COPIED_AT_A_TIME)):
                session.copy(source, batch, True, change if is_changed else None)
                advance(len(batch))
        session.commit()


def rewrite(
    storage: StorageCore, source: StorageCore, changes: Mapping[str, Any], lock_timeout: float | None = None
) -> None:
    """Rewrite the episodes of a dataset in place, all or none.

    Args:
        storage: the dataset as it should be written.
        source: the same dataset as it is read.
        changes: changes of its metadata.
        lock_timeout: seconds to wait for another writer.
    """
    with storage.writing(lock_timeout, rewriting=True) as writer:
        total = source.total_episodes  # read only after locking out other writers
        empty = {**changes, "total_episodes": 0, "total_steps": 0}
        if storage.frame_stacks:
            empty[DEDUPLICATED] = {}
        session = _Session(storage, writer, source.current_metadata.updated(empty, allow_protected=True))
        with progress("rewriting episodes", total) as advance:
            for start in range(0, total, _COPIED_AT_A_TIME):
                batch = range(start, min(start + _COPIED_AT_A_TIME, total))
                session.copy(source, batch, as_stored=False)
                advance(len(batch))
        session.commit()


@contextmanager
def _writing(
    storage: StorageCore, lock_timeout: float | None, codecs: Iterable[EpisodeCodec | None]
) -> Iterator[EpisodeWriter]:
    """Lock the dataset and yield a writer, to which the agents of the codecs are known."""
    further = [codec for codec in codecs if isinstance(codec, MultiAgentCodec)]
    if not further:
        with storage.writing(lock_timeout) as writer:
            yield writer
        return
    while True:
        grown = _grown(storage.current_metadata.episode_codec, further)
        if grown is not storage.episode_codec:
            storage.use_codec(grown)
        try:
            with storage.writing(lock_timeout) as writer:
                stored = storage.current_metadata.episode_codec  # with agents that others have added meanwhile
                if _grown(grown, [stored]) is grown:
                    if storage.episode_codec is not grown:
                        storage.use_codec(grown)
                    yield writer
                    return
        finally:
            if storage.episode_codec is not storage.current_metadata.episode_codec:
                storage.use_codec(storage.current_metadata.episode_codec)


def _grown(codec: EpisodeCodec, further: Iterable[EpisodeCodec]) -> EpisodeCodec:
    for other in further:
        if isinstance(codec, MultiAgentCodec) and isinstance(other, MultiAgentCodec):
            codec = codec.with_agents(other.observation_spaces, other.action_spaces)
    return codec


def _check_same_layout(storage: StorageCore, source: StorageCore) -> None:
    ours, theirs = storage.episode_codec, source.episode_codec
    expected, found = storage.reward_shape, source.reward_shape
    if None not in (expected, found) and without_ones(expected or ()) != without_ones(found or ()):
        raise CombineError(
            f"The rewards of {source.data_path} have the shape {found} a step, expected {expected} as in "
            f"{storage.data_path}."
        )
    if isinstance(ours, MultiAgentCodec) or isinstance(theirs, MultiAgentCodec):
        _check_same_agents(storage, source)
        return
    for name in ("observations", "actions"):
        if getattr(ours, name).layout() != getattr(theirs, name).layout():
            raise CombineError(
                f"The {name} of {source.data_path} are of another space than those of {storage.data_path}: "
                f"{differing_leaf(getattr(theirs, name).space, getattr(ours, name).space, (name,))}."
            )


def _check_same_agents(storage: StorageCore, source: StorageCore) -> None:
    ours, theirs = storage.episode_codec, source.episode_codec
    if not (isinstance(ours, MultiAgentCodec) and isinstance(theirs, MultiAgentCodec)):
        many, one = (storage, source) if isinstance(ours, MultiAgentCodec) else (source, storage)
        raise CombineError(
            f"The episodes of {many.data_path} are of many agents, and those of {one.data_path} of one; combine "
            f"datasets of one kind, such as MinariDataset.for_agent of the first."
        )
    try:
        ours.with_agents(theirs.observation_spaces, theirs.action_spaces)
    except SpaceError as error:
        raise CombineError(f"{source.data_path} does not fit to {storage.data_path}: {error}") from error


def stored_form(storage: StorageCore, episode: EpisodeColumns) -> EpisodeColumns:
    """Return the episode with each frame of its stacks once and encoded frames, as the storage wants it."""
    stacks = storage.frame_stacks
    columns = stacks.deduplicated(episode.columns) if stacks else episode.columns
    columns = _with_jpeg(storage, columns)
    return episode if columns is episode.columns else EpisodeColumns(episode.total_steps, columns, episode.metadata)


def _with_jpeg(storage: StorageCore, columns: Columns) -> Columns:
    """Return the columns with encoded frames, if the storage uses JPEG."""
    leaves = storage.image_leaves if storage.jpeg_encoding else []
    present = [  # agents may come and go
        leaf.path for leaf in leaves if len(columns.get(leaf.path, ())) and not is_encoded_in(columns, leaf)
    ]
    return {**columns, **{path: encode_frames(columns[path]) for path in present}} if present else columns


def other_reward_shape(shape: tuple[int, ...], expected: tuple[int, ...]) -> EpisodeError | None:
    """Return what is wrong with an episode whose rewards have another shape than those of the others."""
    if without_ones(shape) == without_ones(expected):
        return None
    return EpisodeError(
        f"The rewards have the shape {shape} a step, expected {expected} as in the other episodes of the dataset; put "
        f"these episodes into a dataset of their own."
    )


@contextmanager
def episode_errors(index: int) -> Iterator[None]:
    """Let an error name the episode that cannot be stored."""
    try:
        yield
    except (EpisodeError, MetadataError) as error:
        raise type(error)(f"Episode {index} cannot be stored. {error}") from error


class _Session:
    """A transaction that counts episodes and passes them to the writer of the format.

    Args:
        storage: the destination.
        writer: the writer of its format.
        metadata: the metadata of the storage before the transaction.
    """

    def __init__(
        self, storage: StorageCore, writer: EpisodeWriter, metadata: DatasetMetadata, describe: Describe | None = None
    ) -> None:
        self._storage, self._writer, self._metadata = storage, writer, metadata
        self._describe = describe
        self._episodes = self._stored_episodes = self._metadata.total_episodes
        self._steps = self._metadata.total_steps
        self._continued: dict[int, EpisodeColumns] = {}
        self._reward_shape = storage.reward_shape
        self._with_frames = Counter(metadata.deduplicated)  # episodes, by the names of their stacked leaves

    def add(self, buffer: AnyEpisodeBuffer | EpisodeColumns | Mapping[str, Any]) -> None:
        """Check and write an episode; buffers can be reused afterwards."""
        if isinstance(buffer, EpisodeColumns):
            self.take(stored_form(self._storage, buffer))
            return
        if isinstance(buffer, Mapping):
            buffer = EpisodeBuffer(**buffer)
        index = self._episodes if buffer.id is None else buffer.id
        if not 0 <= index <= self._episodes or self._stored_episodes <= index < self._episodes:
            raise EpisodeError(
                f"The episode has the id {buffer.id}, expected None or {self._episodes}, the number of the "
                f"next episode, or that of one already stored, which it continues."
            )
        codec = self._storage.episode_codec
        with episode_errors(index):
            if index < self._stored_episodes:
                self._continue(index, buffer)
                return
            episode = codec.encode(buffer)
            if self._describe is not None:
                codec.describe(episode, self._describe(codec.fields(index, episode.columns, episode.total_steps)))
            self.take(stored_form(self._storage, episode))

    def add_batch(self, batch: BufferBatch) -> None:
        """Check and write the episodes of a batch together; one by one if one of them is unusual, or faulty."""
        columns = self._storage.episode_codec.encode_batch(batch)
        if columns is None or self._reward_shape not in (None, columns[REWARDS].shape[1:]):
            for buffer in batch.buffers():
                self.add(buffer)
            return
        with episode_errors(self._episodes):  # the first has what no episode of its kind may have
            self.take_batch(EpisodeBatch(batch.total_steps, columns, batch.metadata))

    def _continue(self, index: int, buffer: AnyEpisodeBuffer) -> None:
        stored = self._continued.get(index)
        if stored is None:
            (stored,) = stored_episodes(self._storage, [index], all_frames=False)
            self._with_frames.subtract(self._storage.frame_stacks.counted(stored.columns))
        more = self._storage.episode_codec.encode_further_steps(buffer)
        stored, more = self._with_same_stacks(stored, more)
        more = replace(more, columns=_with_jpeg(self._storage, more.columns))
        infos = buffer.infos if isinstance(buffer, EpisodeBuffer) else None
        self._continued[index] = append_steps(self._with_same_frames(stored, more), more, infos)
        self._steps += more.total_steps

    def _with_same_stacks(self, stored: EpisodeColumns, more: EpisodeColumns) -> tuple[EpisodeColumns, EpisodeColumns]:
        """Return the stored episode and further steps, where both have frames of a stack, or both have it whole."""
        columns, further = dict(stored.columns), dict(more.columns)
        for leaf in self._storage.frame_stacks:
            path = leaf.frames.path
            if path not in columns or leaf.path not in further:
                continue
            stacks, last = further[leaf.path], columns[path][1 - leaf.length :]
            if is_encoded_in(columns, leaf.frames):  # JPEG is lossy: the same frames have the same bytes
                again = encode_frames(stacks[0, :-1]) if len(stacks) else last
                last = stacks[0, :-1] if len(stacks) and again.tolist() == last.tolist() else last
            frames = leaf.following(last, stacks)
            if frames is None:
                columns[leaf.path] = leaf.stacks_of(_decoded(columns.pop(path), leaf.frames))
            else:
                del further[leaf.path]
                further[path] = frames
        return replace(stored, columns=columns), replace(more, columns=further)

    def _with_same_frames(self, stored: EpisodeColumns, more: EpisodeColumns) -> EpisodeColumns:
        """Return the stored episode with decoded frames if the further steps are not encoded."""
        frames = {
            leaf.path: decode_frames(stored.columns[leaf.path], leaf)
            for leaf in self._storage.frame_leaves
            if is_encoded_in(stored.columns, leaf) and not is_encoded_in(more.columns, leaf)
        }
        return EpisodeColumns(stored.total_steps, {**stored.columns, **frames}, stored.metadata)

    def _check_rewards(self, shape: tuple[int, ...]) -> None:
        """Raise unless the rewards have as many components as those of all other episodes."""
        if self._reward_shape is None:
            self._reward_shape = shape
        elif shape != self._reward_shape:
            error = other_reward_shape(shape, self._reward_shape)
            if error is not None:
                raise error

    def take(self, *episodes: EpisodeColumns) -> None:
        """Write encoded episodes."""
        for episode in episodes:
            shape = self._storage.episode_codec.reward_shape(episode.columns)
            if shape is not None:
                self._check_rewards(shape)
            self._steps += episode.total_steps
            self._with_frames.update(self._storage.frame_stacks.counted(episode.columns))
        self._writer.append(self._episodes, episodes)
        self._episodes += len(episodes)

    def take_batch(self, batch: EpisodeBatch) -> None:
        """Write the episodes of a batch."""
        if self._storage.frame_stacks or (self._storage.jpeg_encoding and self._storage.image_leaves):
            self.take(*[stored_form(self._storage, episode) for episode in batch])
            return
        self._check_rewards(batch.columns[REWARDS].shape[1:])
        self._steps += int(batch.total_steps.sum())
        self._writer.append_batch(self._episodes, batch)
        self._episodes += len(batch)

    def copy(
        self,
        source: StorageCore,
        indices: Sequence[int],
        as_stored: bool,
        change: Callable[[int, EpisodeColumns], EpisodeColumns] | None = None,
    ) -> None:
        """Copy episodes of another storage, byte for byte if requested and supported by the format."""
        if source.reward_shape is not None:
            self._check_rewards(source.reward_shape)
        same_images = source.jpeg_encoding == self._storage.jpeg_encoding or not source.image_leaves
        same_stacks = source.frame_stack == self._storage.frame_stack
        copyable = as_stored and change is None and same_images and same_stacks and not source.has_small_jpeg
        if copyable and self._writer.copy_from(self._episodes, source, indices):
            lengths = source.get_episode_lengths(indices)
            self._episodes += len(indices)
            self._steps += int(lengths.sum())
            for leaf in self._storage.frame_stacks:
                having = source.has_stacked_frames(leaf, np.asarray(indices, np.int64))
                self._with_frames[leaf.name] += int(having.sum())
            return
        stored = stored_episodes(source, indices, all_frames=not same_images, all_stacks=not same_stacks)
        is_same = same_images and same_stacks
        for episode in stored if change is None else map(change, indices, stored):
            self.take(episode if is_same else stored_form(self._storage, episode))

    def commit(self) -> None:
        """Make all changes visible."""
        for index, episode in self._continued.items():
            with episode_errors(index):
                if self._describe is not None:
                    fields = self._storage.episode_codec.decode(index, self._storage.with_frames(episode.columns))
                    self._storage.episode_codec.describe(episode, self._describe(fields))
            self._with_frames.update(self._storage.frame_stacks.counted(episode.columns))
            self._writer.replace(index, episode)
        totals = {
            "total_episodes": self._episodes,
            "total_steps": self._steps,
            **({REWARD_SHAPE: list(self._reward_shape)} if self._reward_shape else {}),
            **({DEDUPLICATED: dict(+self._with_frames)} if self._storage.frame_stacks else {}),
            **self._new_spaces(),
        }
        self._writer.commit(self._metadata.updated(totals, allow_protected=True))

    def _new_spaces(self) -> dict[str, Any]:
        """Return the spaces of the dataset, if agents have been added."""
        codec = self._storage.episode_codec
        if not isinstance(codec, MultiAgentCodec) or codec is self._metadata.episode_codec:
            return {}
        return {"observation_space": codec.observation_spaces, "action_space": codec.action_spaces}


def stored_episodes(
    source: StorageCore, indices: Sequence[int], all_frames: bool, all_stacks: bool = False
) -> Iterator[EpisodeColumns]:
    """Yield the stored episodes.

    Args:
        source: their storage.
        indices: their numbers.
        all_frames: True to decode frames that are encoded.
        all_stacks: True to rebuild stacks from their frames.
    """
    metadatas = source.get_episode_metadata(indices)
    for (index, columns), metadata in zip(_verified_columns(source, indices), metadatas, strict=True):
        total_steps = metadata.pop("total_steps")
        del metadata["id"]
        encoded = [leaf.path for leaf in source.frame_leaves if is_encoded_in(columns, leaf)]
        checked = source.frame_stacks.rebuilt(columns, encoded=encoded)
        stacks = [leaf.path for leaf in source.frame_stacks if leaf.frames.path in encoded]
        source.episode_codec.check(index, checked, total_steps, [*encoded, *stacks])
        stored = source.with_frames(columns) if all_frames else _as_bytes(source, dict(columns))
        if all_stacks:
            frames = [leaf.frames for leaf in source.frame_stacks if leaf.frames.path in stored]
            decoded = {leaf.path: _decoded(stored[leaf.path], leaf) for leaf in frames}
            stored = source.frame_stacks.rebuilt({**stored, **decoded}, copy=True)
        yield EpisodeColumns(total_steps, stored, encoded_metadata(metadata))


def _decoded(frames: Column, leaf: Leaf) -> Column:
    """Return the frames of a leaf, decoded if they are encoded."""
    return decode_frames(frames, leaf) if is_encoded(frames, leaf) else frames


def _verified_columns(source: StorageCore, indices: Sequence[int]) -> Iterator[tuple[int, Columns]]:
    """Yield the columns of episodes after verifying their checksums, so that damaged values do not get new ones."""
    before, source.verify_checksums = source.verify_checksums, True
    try:
        yield from source.stored_columns(indices)
    finally:
        source.verify_checksums = before


def _as_bytes(source: StorageCore, columns: dict[ColumnPath, Column]) -> dict[ColumnPath, Column]:
    """Return JPEG byte strings as ``bytes``; decode frames of a size that the format does not encode."""
    for leaf in source.frame_leaves:
        if not is_encoded_in(columns, leaf):
            continue
        if leaf not in source.image_leaves:
            columns[leaf.path] = decode_frames(columns[leaf.path], leaf)
        else:
            frames = [encoded_frame(frame, row, leaf.path) for row, frame in enumerate(columns[leaf.path])]
            columns[leaf.path] = object_column(frames)
    return columns
