"""Writes the directories of episodes in one transaction."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from minari._base.files import FilesBeneath
from minari._base.lazy import cached_property
from minari._base.parallel import in_background, map_in_batches
from minari._model.compression import Codec
from minari._model.metadata import DatasetMetadata
from minari._storages.arrow import metadata as episode_metadata
from minari._storages.arrow.metadata import METADATA_NAME, Checksums, with_checksums
from minari._storages.arrow.reader import EpisodeReader
from minari._storages.arrow.tables import TableWriter
from minari._storages.core import EpisodeWriter, StorageCore
from minari._storages.journal import WRITTEN_AT_ONCE
from minari._storages.metadata_file import SizeCache
from minari._storages.staged_directory import StagedDirectory
from minari.spaces import ColumnPath, EpisodeColumns


# Episodes are written several at a time, since making a directory with two files is mostly waiting.
_AT_A_TIME: Final = 128
_BY_A_THREAD: Final = 32
_HELD_BYTES: Final = 16 * 2**20
_LARGE: Final = 2**18  # bytes of an episode, from which on another thread encodes it
_MOST_AT_ONCE: Final = 4
_TO_WRITE: Final = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0)


@dataclass(frozen=True, slots=True)
class WriterContext:
    """The dataset that a writer changes, as it is when nobody else can write any more.

    Attributes:
        reader: of its episodes.
        total_episodes: their number.
        size: of their files.
        codec_for: returns the codec of a column.
        reader_of: returns the reader of another storage of the same format, None for other formats.
    """

    reader: EpisodeReader
    total_episodes: int
    size: SizeCache
    codec_for: Callable[[ColumnPath], Codec | None]
    reader_of: Callable[[StorageCore], EpisodeReader | None]


class ArrowWriter(EpisodeWriter):
    """Stages the directories of episodes.

    Args:
        context: the dataset.
        staged: the change to its files.
    """

    def __init__(self, context: WriterContext, staged: StagedDirectory) -> None:
        self._context, self._staged = context, staged
        self._encoding: deque[tuple[int, Callable[[], tuple[Any, str]]]] = deque()
        self._held: dict[int, Mapping[str, Any]] = {}  # episodes, each with the bytes of its files
        self._held_bytes = 0
        self._sizes: dict[int, dict[str, int]] = {}  # of the files of each changed episode
        self._whole: set[int] = set()  # episodes that are replaced with all their files
        self._total = 0

    @cached_property
    def _tables(self) -> TableWriter:
        """Return the writer of tables for new episodes, which have the schema of the last existing one."""
        reader, total = self._context.reader, self._context.total_episodes
        like = reader.schema(total - 1) if total else None
        return TableWriter(reader.layout, reader.files, self._context.codec_for, like)

    def append(self, first_index: int, episodes: Sequence[EpisodeColumns]) -> None:
        for index, episode in enumerate(episodes, first_index):
            self.replace(index, episode)

    def replace(self, index: int, episode: EpisodeColumns) -> None:
        encode = self._tables.begin(episode)
        text = episode_metadata.to_json(index, episode.total_steps, episode.metadata)

        def finished() -> tuple[Any, str]:
            data = encode()
            return data, with_checksums(text, Checksums.of(episode.total_steps, data, episode.columns))

        if not self.values_stay or sum(column.nbytes for column in episode.columns.values()) < _LARGE:
            self._encoded()
            self._put(index, *finished())
            return
        self._encoding.append((index, in_background(finished)))
        self._encoded(_MOST_AT_ONCE)

    def _encoded(self, most: int = 0) -> None:
        """Take the episodes that have been encoded in other threads; leave at most so many of them."""
        while len(self._encoding) > most:
            index, finished = self._encoding.popleft()
            self._put(index, *finished())

    def copy_from(self, first_index: int, storage: StorageCore, indices: Sequence[int]) -> bool:
        reader = self._context.reader_of(storage)
        if reader is None:
            return False
        self._encoded()
        stored = [episode for _, episode in reader.stored(indices, storage.verify_checksums)]
        if not all(self._tables.takes(episode.schema) for episode in stored):
            return False  # other programs read the tables of all episodes as one
        for index, episode in enumerate(stored, first_index):
            total_steps = episode.metadata["total_steps"]
            text = episode_metadata.to_json(index, total_steps, episode.metadata)
            self._put(index, episode.data, with_checksums(text, episode.checksums))
        return True

    def _put(self, index: int, data: Any, text: str) -> None:
        """Take the table of a whole episode, and the text of its metadata."""
        reader = self._context.reader
        if index not in self._whole and os.access(f"{reader.data_path}/{index}", os.F_OK):
            self._staged.replace(str(index))  # with all parts by other writers
            self._whole.add(index)
        self._hold(index, {reader.files.name: data, METADATA_NAME: text.encode("utf-8")})

    def update_metadata(self, index: int, metadata: Mapping[str, Any]) -> None:
        known, checksums = self._known(index)
        self._put_metadata(index, {**known, **metadata}, checksums)

    def add_checksums(self, index: int, verify: bool) -> None:
        """Make the checksums of an episode that is stored without them.

        Args:
            index: the number of the episode.
            verify: compare the checksums that there are.
        """
        ((_, (data, columns)),) = self._context.reader.tables([index], verify)
        known, _ = self._known(index)
        self._put_metadata(index, known, Checksums.of(known["total_steps"], data, columns))

    def _known(self, index: int) -> tuple[dict[str, Any], Checksums | None]:
        """Return the metadata of an episode and its checksums, as they are staged or stored."""
        self._encoded()
        if index in self._held:
            self._write_held()
        staged, name = self._staged.path, f"{index}/{METADATA_NAME}"
        with FilesBeneath(str(staged if (staged / name).exists() else self._context.reader.data_path)) as files:
            return episode_metadata.read(files, name)

    def _put_metadata(self, index: int, metadata: Mapping[str, Any], checksums: Checksums | None) -> None:
        text = episode_metadata.to_json(index, metadata["total_steps"], metadata)
        self._hold(index, {METADATA_NAME: with_checksums(text, checksums).encode("utf-8")})

    def _hold(self, index: int, files: Mapping[str, Any]) -> None:
        if index in self._held:
            self._write_held()
        sizes = {name: len(data) for name, data in files.items()}
        self._sizes.setdefault(index, {}).update(sizes)
        self._held[index] = files
        self._held_bytes += sum(sizes.values())
        if len(self._held) >= _AT_A_TIME or self._held_bytes >= _HELD_BYTES:
            self._write_held()

    def _write_held(self) -> None:
        if self._held:
            self._staged.path.mkdir(exist_ok=True)
            map_in_batches(self._write, self._held.items(), _BY_A_THREAD)
        self._held, self._held_bytes = {}, 0

    def _write(self, episode: tuple[int, Mapping[str, Any]]) -> None:
        index, files = episode
        directory = self._staged.path / str(index)
        directory.mkdir(exist_ok=True)
        for name, data in files.items():
            _write_file(f"{directory}{os.sep}{name}", data)
            self._staged.record(f"{index}/{name}", [data])

    def finish(self) -> int:
        self._encoded()
        self._write_held()
        total = self._context.size.get()
        for index, sizes in self._sizes.items():
            total += sum(sizes.values())
            if index < self._context.total_episodes:
                stored = self._context.reader.file_sizes(index)
                total -= sum(size for name, size in stored.items() if index in self._whole or name in sizes)
        self._total = total
        return total

    def commit(self, metadata: DatasetMetadata) -> None:
        self._staged.commit(metadata.to_json())
        self._context.size.remember(self._total)


def _write_file(path: str, data: Any) -> None:
    descriptor = os.open(path, _TO_WRITE, 0o666)
    try:
        view = memoryview(data)
        while view:  # the system may write less than requested
            view = view[os.write(descriptor, view[:WRITTEN_AT_ONCE]) :]
    finally:
        os.close(descriptor)
