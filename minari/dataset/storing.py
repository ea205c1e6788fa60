"""Episodes into a storage: encoded, checked and handed to the writer of its format in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from minari.dataset._storages.images import encode_frames, is_encoded
from minari.dataset.continuing import continued
from minari.dataset.episode_buffer import EpisodeBuffer
from minari.errors import CombineError, EpisodeError
from minari.progress import track
from minari.spaces import Column, EpisodeColumns, Path, object_column


if TYPE_CHECKING:
    from minari.dataset.minari_storage import EpisodeWriter, MinariStorage

#: What is to be kept with an episode, from the fields of its ``EpisodeData``.
Describe: TypeAlias = Callable[[dict[str, Any]], Mapping[str, Any]]

_BATCH_BYTES = 64 * 2**20  # episodes are encoded and written that much at a time
_COPIED_AT_A_TIME = 256


def append_buffers(
    storage: MinariStorage,
    buffers: Iterable[EpisodeBuffer | Mapping[str, Any]],
    describe: Describe | None,
) -> None:
    """Append episodes, all or none; see :meth:`MinariStorage.update_episodes`."""
    with storage._writer() as writer:
        session = _Session(storage, writer)
        for buffer in buffers:
            session.add(buffer, describe)
        session.commit()


def append_stored(storage: MinariStorage, source: MinariStorage, indices: Sequence[int]) -> None:
    """Append episodes of another storage; see :meth:`MinariStorage.update_from_storage`."""
    ours, theirs = storage._codec, source._codec
    for name in ("observations", "actions"):
        if getattr(ours, name).layout() != getattr(theirs, name).layout():
            raise CombineError(
                f"The {name} of {source.data_path} are of the space {getattr(theirs, name).space}, expected "
                f"one laid out like {getattr(ours, name).space} as in {storage.data_path}."
            )
    with storage._writer() as writer:
        session = _Session(storage, writer)
        for start in track(range(0, len(indices), _COPIED_AT_A_TIME), "copying episodes", unit="batches"):
            session.copy(source, indices[start : start + _COPIED_AT_A_TIME])
        session.commit()


class _Session:
    """One transaction: counts what goes in, and writes it in batches."""

    def __init__(self, storage: MinariStorage, writer: EpisodeWriter) -> None:
        self._storage, self._writer = storage, writer
        self._metadata = storage._current  # read only now, when nobody else can write
        self._episodes = self._stored_episodes = self._metadata.total_episodes
        self._steps = self._metadata.total_steps
        self._batch: list[EpisodeColumns] = []
        self._batch_bytes = 0

    def add(self, buffer: EpisodeBuffer | Mapping[str, Any], describe: Describe | None) -> None:
        """Take an episode; it is checked here, and written when the batch is full."""
        if isinstance(buffer, Mapping):
            buffer = EpisodeBuffer(**buffer)
        if buffer.id is not None and buffer.id < self._stored_episodes:
            self._continue(buffer, describe)
            return
        if buffer.id not in (None, self._episodes):
            raise EpisodeError(
                f"The episode has the id {buffer.id}, expected None or {self._episodes}, the number of the "
                f"next episode, or that of one already stored, which it continues."
            )
        try:
            episode = self._encoded(self._episodes, buffer, describe)
        except EpisodeError as error:
            raise type(error)(f"Episode {self._episodes} cannot be stored. {error}") from error
        self._take(self._with_jpeg(episode))

    def _encoded(self, index: int, buffer: EpisodeBuffer, describe: Describe | None) -> EpisodeColumns:
        episode = self._storage._codec.encode(buffer)
        if describe is not None:
            episode.metadata.update(describe(self._storage._codec.decode(index, episode.columns)))
        return episode

    def _take(self, episode: EpisodeColumns) -> None:
        self._batch.append(episode)
        self._batch_bytes += sum(column.nbytes for column in episode.columns.values())
        self._episodes += 1
        self._steps += episode.total_steps
        if self._batch_bytes > _BATCH_BYTES:
            self._flush()

    def _with_jpeg(self, episode: EpisodeColumns) -> EpisodeColumns:
        leaves = self._storage._image_leaves if self._storage.jpeg_encoding else []
        if not leaves:
            return episode
        frames = {leaf.path: encode_frames(episode.columns[leaf.path]) for leaf in leaves}
        return EpisodeColumns(episode.total_steps, {**episode.columns, **frames}, episode.metadata)

    def _continue(self, buffer: EpisodeBuffer, describe: Describe | None) -> None:
        index = int(buffer.id or 0)
        stored = next(iter(self._storage.get_episodes([index])))
        known = next(iter(self._storage.get_episode_metadata([index])))
        whole = self._encoded(index, continued(stored, known, buffer), describe)
        for key in known.keys() - {"id", "total_steps"}:
            whole.metadata.setdefault(key, known[key])
        self._writer.replace(index, self._with_jpeg(whole))
        self._steps += whole.total_steps - len(stored["rewards"])

    def copy(self, source: MinariStorage, indices: Sequence[int]) -> None:
        """Take episodes of another storage, byte for byte where the format can."""
        same_images = source.jpeg_encoding == self._storage.jpeg_encoding or not source._image_leaves
        if same_images and self._writer.copy_from(self._episodes, source, indices):
            lengths = source.get_episode_lengths(indices)
            self._episodes += len(indices)
            self._steps += int(lengths.sum())
            return
        for episode in _stored_episodes(source, indices, decode_frames=not same_images):
            self._take(episode if same_images else self._with_jpeg(episode))
        self._flush()

    def _flush(self) -> None:
        if self._batch:
            self._writer.append(self._episodes - len(self._batch), self._batch)
            self._batch, self._batch_bytes = [], 0

    def commit(self) -> None:
        """Write the rest, and make it all visible."""
        self._flush()
        totals = {
            "total_episodes": self._episodes,
            "total_steps": self._steps,
            "dataset_size": round(self._writer.size() / 1e6, 1),
        }
        self._writer.commit(self._metadata.updated(totals, allow_protected=True))


def _stored_episodes(source: MinariStorage, indices: Sequence[int], decode_frames: bool) -> Iterator[EpisodeColumns]:
    """The episodes as they are stored; encoded frames stay encoded unless asked otherwise."""
    metadatas = source.get_episode_metadata(indices)
    for (_, columns), metadata in zip(source._read_columns(indices), metadatas, strict=True):
        stored = source._with_frames(columns) if decode_frames else _as_bytes(source, dict(columns))
        total_steps = metadata.pop("total_steps")
        del metadata["id"]
        yield EpisodeColumns(total_steps, stored, metadata)


def _as_bytes(source: MinariStorage, columns: dict[Path, Column]) -> dict[Path, Column]:
    for leaf in source._frame_leaves:
        if is_encoded(columns[leaf.path], leaf):
            rows = [np.asarray(row, dtype=np.uint8).tobytes() for row in columns[leaf.path]]
            columns[leaf.path] = object_column(rows)
    return columns
