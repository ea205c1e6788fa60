"""Write sessions: encode and check episodes, and pass them to the writer of a format."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Any, TypeAlias, cast

from minari._model.episode_buffer import AnyEpisodeBuffer, EpisodeBuffer
from minari._model.episode_codec import REWARDS, EpisodeCodec, append_steps
from minari._model.metadata import REWARD_SHAPE, DatasetMetadata
from minari._model.multi_agent import MultiAgentCodec
from minari._storages.core import EpisodeWriter, StorageCore
from minari._storages.images import decode_frames, encode_frames, encoded_frame, is_encoded, is_encoded_in
from minari.errors import CombineError, EpisodeError, MetadataError, SpaceError
from minari.progress import progress
from minari.spaces import Column, ColumnPath, Columns, EpisodeBatch, EpisodeColumns, object_column, without_ones
from minari.spaces.differences import differing_leaf


#: Function from the fields of an ``EpisodeData`` to metadata to store with the episode.
Describe: TypeAlias = Callable[[dict[str, Any]], Mapping[str, Any]]

_log = logging.getLogger(__name__)

_COPIED_AT_A_TIME = 256


def append_buffers(
    storage: StorageCore,
    buffers: Iterable[AnyEpisodeBuffer | Mapping[str, Any]],
    describe: Describe | None,
    lock_timeout: float | None = None,
) -> None:
    """Append all episodes or none; see :meth:`StorageCore.update_episodes`."""
    with storage.writing(lock_timeout) as writer:
        metadata = storage.current_metadata  # read only after locking out other writers
        session = _Session(storage, writer, metadata, describe)
        for buffer in buffers:
            session.add(buffer)
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
                session.take(*[with_jpeg(storage, cast("EpisodeColumns", episode)) for episode in group])
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


def with_jpeg(storage: StorageCore, episode: EpisodeColumns) -> EpisodeColumns:
    """Return the episode with encoded frames, if the storage uses JPEG."""
    leaves = storage.image_leaves if storage.jpeg_encoding else []
    if not leaves:
        return episode
    present = [leaf.path for leaf in leaves if len(episode.columns.get(leaf.path, ()))]  # agents may come and go
    frames = {path: encode_frames(episode.columns[path]) for path in present}
    return EpisodeColumns(episode.total_steps, {**episode.columns, **frames}, episode.metadata)


def other_reward_shape(shape: tuple[int, ...], expected: tuple[int, ...]) -> EpisodeError | None:
    """Return what is wrong with an episode whose rewards have another shape than those of the others."""
    if without_ones(shape) == without_ones(expected):
        return None
    return EpisodeError(
        f"The rewards have the shape {shape} a step, expected {expected} as in the other episodes of the dataset; put "
        f"these episodes into a dataset of their own."
    )


@contextmanager
def _episode_errors(index: int) -> Iterator[None]:
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

    def add(self, buffer: AnyEpisodeBuffer | Mapping[str, Any]) -> None:
        """Check and write an episode; buffers can be reused afterwards."""
        if isinstance(buffer, Mapping):
            buffer = EpisodeBuffer(**buffer)
        index = self._episodes if buffer.id is None else buffer.id
        if not 0 <= index <= self._episodes or self._stored_episodes <= index < self._episodes:
            raise EpisodeError(
                f"The episode has the id {buffer.id}, expected None or {self._episodes}, the number of the "
                f"next episode, or that of one already stored, which it continues."
            )
        codec = self._storage.episode_codec
        with _episode_errors(index):
            if index < self._stored_episodes:
                self._continue(index, buffer)
                return
            episode = codec.encode(buffer)
            if self._describe is not None:
                codec.describe(episode, self._describe(codec.fields(index, episode.columns, episode.total_steps)))
            self.take(with_jpeg(self._storage, episode))

    def _continue(self, index: int, buffer: AnyEpisodeBuffer) -> None:
        stored = self._continued.get(index)
        if stored is None:
            (stored,) = _stored_episodes(self._storage, [index], all_frames=False)
        more = with_jpeg(self._storage, self._storage.episode_codec.encode_further_steps(buffer))
        infos = buffer.infos if isinstance(buffer, EpisodeBuffer) else None
        self._continued[index] = append_steps(self._with_same_frames(stored, more), more, infos)
        self._steps += more.total_steps

    def _with_same_frames(self, stored: EpisodeColumns, more: EpisodeColumns) -> EpisodeColumns:
        """Return the stored episode with decoded frames if the further steps are not encoded."""
        frames = {
            leaf.path: decode_frames(stored.columns[leaf.path], leaf)
            for leaf in self._storage.frame_leaves
            if is_encoded(stored.columns[leaf.path], leaf) and not is_encoded(more.columns[leaf.path], leaf)
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
        self._writer.append(self._episodes, episodes)
        self._episodes += len(episodes)

    def take_batch(self, batch: EpisodeBatch) -> None:
        """Write the episodes of a batch."""
        if self._storage.jpeg_encoding and self._storage.image_leaves:
            self.take(*[with_jpeg(self._storage, episode) for episode in batch])
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
        copyable = as_stored and change is None and same_images and not source.has_small_jpeg
        if copyable and self._writer.copy_from(self._episodes, source, indices):
            lengths = source.get_episode_lengths(indices)
            self._episodes += len(indices)
            self._steps += int(lengths.sum())
            return
        stored = _stored_episodes(source, indices, all_frames=not same_images)
        for episode in stored if change is None else map(change, indices, stored):
            self.take(episode if same_images else with_jpeg(self._storage, episode))

    def commit(self) -> None:
        """Make all changes visible."""
        for index, episode in self._continued.items():
            with _episode_errors(index):
                if self._describe is not None:
                    fields = self._storage.episode_codec.decode(index, self._storage.with_frames(episode.columns))
                    self._storage.episode_codec.describe(episode, self._describe(fields))
            self._writer.replace(index, episode)
        totals = {
            "total_episodes": self._episodes,
            "total_steps": self._steps,
            **({REWARD_SHAPE: list(self._reward_shape)} if self._reward_shape else {}),
            **self._new_spaces(),
        }
        self._writer.commit(self._metadata.updated(totals, allow_protected=True))

    def _new_spaces(self) -> dict[str, Any]:
        """Return the spaces of the dataset, if agents have been added."""
        codec = self._storage.episode_codec
        if not isinstance(codec, MultiAgentCodec) or codec is self._metadata.episode_codec:
            return {}
        return {"observation_space": codec.observation_spaces, "action_space": codec.action_spaces}


def _stored_episodes(source: StorageCore, indices: Sequence[int], all_frames: bool) -> Iterator[EpisodeColumns]:
    """Yield the stored episodes; encoded frames stay encoded unless requested otherwise."""
    metadatas = source.get_episode_metadata(indices)
    for (index, columns), metadata in zip(_verified_columns(source, indices), metadatas, strict=True):
        total_steps = metadata.pop("total_steps")
        del metadata["id"]
        encoded = [leaf.path for leaf in source.frame_leaves if is_encoded_in(columns, leaf)]
        source.episode_codec.check(index, columns, total_steps, encoded)
        stored = source.with_frames(columns) if all_frames else _as_bytes(source, dict(columns))
        yield EpisodeColumns(total_steps, stored, metadata)


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
