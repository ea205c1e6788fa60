"""The format Zarr: one flat array a leaf with time first, in shards of compressed chunks.

``data/main_data.zarr`` has the groups ``data``, ``meta`` and ``ragged``; ``docs/zarr_layout.md`` says
what is in them, for those who read the store without this library.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path as FilePath
from typing import Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt

from minari._model.compression import Codec, Codecs
from minari._model.metadata import DatasetMetadata
from minari._storages.base import EpisodeWriter, MinariStorage
from minari._storages.metadata_file import KnownSize, stamp_of
from minari._storages.paths import is_remote
from minari._storages.staged_directory import change_under_way, folder_size, pending_changes
from minari._storages.zarr.appender import StoreAppender
from minari._storages.zarr.codecs import CODECS
from minari._storages.zarr.layout import Table
from minari._storages.zarr.parallel import Episode, Parts, write_in_parts
from minari._storages.zarr.reader import EPISODE_ENDS, StoreReader
from minari._storages.zarr.remote_writer import open_remote_writer, refusal
from minari._storages.zarr.store import Arrays, FolderStore, store_at
from minari._storages.zarr.stream import Put
from minari._storages.zarr.writer import STORE_NAME, open_writer
from minari.errors import ChecksumError, DatasetCorruptError
from minari.spaces import Columns, Path, path_name


T = TypeVar("T")


class ZarrStorage(MinariStorage):
    """Episodes in the arrays of a Zarr store."""

    FORMAT: ClassVar[str] = "zarr"
    CODECS: ClassVar[Codecs] = CODECS
    FRAME_CODEC: ClassVar[Codec | None] = Codec("zstd", 7)  # a sixth smaller than at level 3, and as fast to read
    REMOTE: ClassVar[bool] = True

    def __init__(self, data_path: FilePath, metadata: DatasetMetadata) -> None:
        super().__init__(data_path, metadata)
        spaces = (self.episode_codec.observations, self.episode_codec.actions)
        self._leaves = {leaf.path: leaf for space in spaces for leaf in space.leaves()}
        self._known_size = KnownSize(data_path)
        self._known_reader: tuple[Any, StoreReader] | None = None  # and what the metadata file was like

    @property
    def _store_path(self) -> FilePath:
        return self.data_path / STORE_NAME

    def _count_episodes(self) -> int:
        # What lies behind the episodes of the metadata was left by a writer of a remote store that did not finish.
        found = Arrays(self._store()).open(EPISODE_ENDS).rows
        return min(found, self._metadata.total_episodes)

    # Reading

    def _store(self) -> Any:
        """The store, before whose files those come that a killed writer has committed and not put into place."""
        if not is_remote(self.data_path):
            changes = pending_changes(self.data_path)
            if changes is not None:
                return FolderStore(changes.staged / STORE_NAME, self._store_path)
        return store_at(self._store_path)

    def _state(self) -> tuple[int | None, Any]:
        """What is not the same any more when the store has changed; waits for a change that is being made."""
        change = None if is_remote(self.data_path) else change_under_way(self.data_path)
        return change, stamp_of(self.data_path)

    def _reader(self, verify: bool | None = None, state: Any = None) -> StoreReader:
        """What the store holds at this moment.

        Args:
            verify: whether checksums are verified; by default as the storage does.
            state: of the store, where that was looked at just now.
        """
        verify = self.verify_checksums if verify is None else verify
        while True:
            state = state or self._state()
            if self._known_reader is not None and self._known_reader[0] == (state, verify):
                return self._known_reader[1]
            if state[0] is not None:
                self.forget_metadata()  # they change with the store
            try:
                reader = StoreReader(Arrays(self._store(), verify), self.total_episodes)
                self._check_steps(reader)
                self._check_leaves(reader.table)
            except DatasetCorruptError:
                if state == self._state():
                    raise
            else:
                if state == self._state():
                    self._known_reader = (state, verify), reader
                    return reader
            state = None

    def _check_steps(self, reader: StoreReader) -> None:
        if reader.ends[-1] != self.total_steps:
            raise DatasetCorruptError(
                f"The metadata of {self.data_path} speak of {self.total_steps} steps and the episodes of "
                f"{self._store_path} have {reader.ends[-1]}; the two do not belong together, so copy or download "
                f"the dataset again."
            )

    def _check_leaves(self, table: Table) -> None:
        """See that values of the spaces are as large as those say."""
        for column in table.columns:
            leaf = self._leaves.get(column.kind.path)
            if leaf is not None and column.kind.has_steps and math.prod(leaf.shape) != math.prod(column.kind.row_shape):
                raise DatasetCorruptError(
                    f"The values of {path_name(leaf.path)} in {self._store_path} have the shape "
                    f"{column.kind.row_shape}, expected {leaf.shape} as the spaces of the dataset say; copy or "
                    f"download the dataset again."
                )

    def _settled(self, read: Callable[[StoreReader], T]) -> T:
        """What is read from the store; again where it was being changed meanwhile."""
        while True:
            state = self._state()
            reader = self._reader(state=state)
            try:
                found = read(reader)
            except DatasetCorruptError:
                if state == self._state():
                    raise
            else:
                if state == self._state():
                    return found

    def _read_columns(self, indices: Iterable[int]) -> Iterator[tuple[int, Columns]]:
        return self._read_runs(indices, None)

    def _read_leaves(self, indices: Iterable[int], paths: Container[Path]) -> Iterator[tuple[int, Columns]]:
        return self._read_runs(indices, paths)

    def _read_runs(self, indices: Iterable[int], paths: Container[Path] | None) -> Iterator[tuple[int, Columns]]:
        for first, stop in self._reader().runs(indices):
            try:
                read = self._settled(lambda reader: reader.read(first, stop, paths))  # noqa: B023
            except ChecksumError as error:
                raise self._damaged_episode(first, stop, error) from error
            yield from zip(range(first, stop), read, strict=True)

    def _damaged_episode(self, first: int, stop: int, error: ChecksumError) -> ChecksumError:
        """The error about some episodes, with the first of them that it is about."""
        reader = self._reader(verify=True)
        for index in range(first, stop):
            try:
                reader.read(index, index + 1)
            except DatasetCorruptError:
                return ChecksumError(f"Episode {index} is not what was written. {error}")
        return error

    def _episodes_without_checksums(self, indices: Iterable[int]) -> list[int]:
        reader = self._reader()
        return [index for index in indices if not reader.has_checksums(index)]

    def _read_window(self, index: int, start: int, stop: int) -> Columns | None:
        return self._settled(lambda reader: reader.window(index, start, stop))

    def _read_episode_metadata(self, indices: Iterable[int]) -> Iterator[dict[str, Any]]:
        reader: StoreReader | None = None
        for index in indices:
            reader = reader or self._reader()
            total_steps = int(reader.ends[index + 1] - reader.ends[index])
            yield {**reader.metadata(index), "id": index, "total_steps": total_steps}

    def _read_lengths(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        ends = self._reader().ends
        lengths: npt.NDArray[np.int64] = ends[indices + 1] - ends[indices]
        return lengths

    # Writing

    def _writer(self) -> AbstractContextManager[EpisodeWriter]:
        return open_remote_writer(self) if is_remote(self.data_path) else open_writer(self)

    def _rewriter(self) -> AbstractContextManager[EpisodeWriter]:
        if is_remote(self.data_path):
            raise refusal(self.data_path)
        return open_writer(self, anew=True)

    def _appender(self, put: Put, reader: StoreReader | None = None, is_fixed: bool = False) -> StoreAppender:
        """What appends to the store as it is, or as a reader says."""
        reader = reader or self._reader(verify=True)  # what is damaged does not get a new checksum
        return StoreAppender(put, reader, frozenset(self._leaves), self._codec_for, is_fixed)

    def _appender_of_part(self, put: Put, table: Table) -> StoreAppender:
        """What writes a part of many episodes, whose columns are known beforehand."""
        appender = self._appender(put, is_fixed=True)
        appender.table = table
        return appender

    def write_in_parts(
        self, lengths: Sequence[int], like: Iterable[Episode], count: int
    ) -> AbstractContextManager[Parts]:
        """Append episodes that several processes write at the same time, each into shards of its own.

        Each of the ``parts`` is sent to a process, which calls its ``write`` with the episodes of its
        range ``episodes``; ``commit`` then makes all of them visible at once.

        Args:
            lengths: the number of steps of each new episode.
            like: episodes that together have every kind of column that is to come.
            count: how many parts there are to be; fewer where there are not so many shards.

        Returns:
            A context with :class:`~minari._storages.zarr.parallel.Parts`. Without a commit nothing
            is changed.
        """
        if is_remote(self.data_path):
            raise refusal(self.data_path)
        return write_in_parts(self, lengths, like, count)

    def _size(self) -> int:
        """The number of bytes that the store has."""
        return self._known_size.get(lambda: folder_size(self._store_path))
