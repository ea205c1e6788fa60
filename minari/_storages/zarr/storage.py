"""Storage backend for Zarr: one flat array a leaf with time first, in shards of compressed chunks.

``data/main_data.zarr`` has the groups ``data``, ``meta`` and ``ragged``; ``docs/zarr_layout.md``
documents them for programs that read the store without this library.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt

from minari._base.lazy import LazyModule
from minari._model.compression import Codec, Codecs
from minari._model.frame_stack import StackedLeaf
from minari._model.metadata import DatasetMetadata
from minari._storages.base import MinariStorage
from minari._storages.core import EpisodeWriter
from minari._storages.metadata_file import DatasetState, SizeCache, state_of
from minari._storages.paths import is_remote
from minari._storages.rows import LeafRequest, RowRequest
from minari._storages.staged_directory import CHANGES_NAME, directory_size, open_staged_directory, staged_overlay
from minari._storages.write_session import stored_form
from minari._storages.zarr.codecs import CODECS
from minari._storages.zarr.gathering import Gatherer
from minari._storages.zarr.layout import STORE_NAME
from minari._storages.zarr.reader import EPISODE_ENDS, StoreReader
from minari._storages.zarr.store import Arrays, store_at
from minari.errors import ChecksumError, DatasetCorruptError
from minari.spaces import Column, ColumnPath, Columns, EpisodeColumns, path_name


if TYPE_CHECKING:
    from minari._storages.zarr import appender, parallel, remote_writer, writer
else:  # reading needs none of them
    appender = LazyModule("minari._storages.zarr.appender")
    parallel = LazyModule("minari._storages.zarr.parallel")
    remote_writer = LazyModule("minari._storages.zarr.remote_writer")
    writer = LazyModule("minari._storages.zarr.writer")

for _name in ("numcodecs", "zarr"):  # which are imported when they are needed
    if find_spec(_name) is None:
        raise ModuleNotFoundError(f"No module named {_name!r}", name=_name)

T = TypeVar("T")


class ZarrStorage(MinariStorage):
    """Episodes in the arrays of a Zarr store."""

    FORMAT: ClassVar[str] = "zarr"
    COMMITS: ClassVar[tuple[str, ...]] = (CHANGES_NAME,)
    CODECS: ClassVar[Codecs] = CODECS
    FRAME_CODEC: ClassVar[Codec | None] = Codec("zstd", 7)  # a sixth smaller than at level 3, and as fast to read
    REMOTE: ClassVar[bool] = True
    FILES: ClassVar[re.Pattern[str] | None] = re.compile(re.escape(STORE_NAME))

    def __init__(self, data_path: Path, metadata: DatasetMetadata) -> None:
        super().__init__(data_path, metadata)
        self._take_codec()
        self._store_path = data_path / STORE_NAME
        self._size = SizeCache(data_path, lambda: directory_size(data_path / STORE_NAME))
        self._known_reader: tuple[DatasetState, bool, StoreReader] | None = None
        self._gatherer: tuple[StoreReader, Gatherer] | None = None

    def _take_codec(self) -> None:
        spaces = (self.episode_codec.observations, self.episode_codec.actions)
        self._leaves = {leaf.path: leaf for space in spaces for leaf in space.leaves()}

    def _count_episodes(self) -> int:
        # Rows after the episodes of the metadata belong to a writer of a remote store that did not finish.
        found = self._arrays().open(EPISODE_ENDS).rows
        return min(found, self._metadata.total_episodes)

    # Reading

    def _arrays(self, verify: bool = False) -> Arrays:
        """Return the arrays of the store, with the files of a committed change that is not in place."""
        path = self._store_path
        overlay = None if is_remote(path) else staged_overlay(self.data_path)
        return Arrays(store_at(path, None if overlay is None else overlay.path / STORE_NAME), verify)

    def _reader(self, state: DatasetState | None = None, *, verify: bool | None = None) -> StoreReader:
        """Return a reader of the store as it is at this moment.

        Args:
            state: of the store, if it has just been determined.
            verify: whether checksums are verified; by default as the storage does.
        """
        verify = self.verify_checksums if verify is None else verify
        while True:
            state = state or state_of(self.data_path)
            if self._known_reader is not None and self._known_reader[:2] == (state, verify):
                return self._known_reader[2]
            if state.commit is not None:
                self.forget_metadata()  # it changes with the store
            try:
                reader = StoreReader(self._arrays(verify), self.total_episodes)
                self._check(reader)
            except DatasetCorruptError:
                if state == state_of(self.data_path):
                    raise
            else:
                if state == state_of(self.data_path):
                    self._known_reader = state, verify, reader
                    return reader
            state = None

    def _check(self, reader: StoreReader) -> None:
        """Check that there are as many steps as the metadata says, with values as large as the spaces say."""
        if reader.ends[-1] != self.total_steps:
            raise DatasetCorruptError(
                f"The metadata of {self.data_path} claims {self.total_steps} steps and the episodes of "
                f"{self._store_path} have {reader.ends[-1]}; the two do not belong together, so copy or "
                f"download the dataset again."
            )
        for column in reader.table.columns:
            leaf = self._leaves.get(column.kind.path)
            if leaf is not None and column.kind.has_steps and math.prod(leaf.shape) != math.prod(column.kind.row_shape):
                raise DatasetCorruptError(
                    f"The values of {path_name(leaf.path)} in {self._store_path} have the shape "
                    f"{column.kind.row_shape}, expected {leaf.shape} as the spaces of the dataset say; copy or "
                    f"download the dataset again."
                )

    def _settled(self, read: Callable[[StoreReader], T]) -> T:
        """Read from the store, and again if it was being changed meanwhile."""
        while True:
            state = state_of(self.data_path)
            reader = self._reader(state)
            try:
                found = read(reader)
            except DatasetCorruptError:
                if state == state_of(self.data_path):
                    raise
            else:
                if state == state_of(self.data_path):
                    return found

    def _read_columns(self, indices: Iterable[int]) -> Iterator[tuple[int, Columns]]:
        return self._read_runs(indices, None)

    def _read_leaves(self, indices: Iterable[int], paths: Container[ColumnPath]) -> Iterator[tuple[int, Columns]]:
        return self._read_runs(indices, paths)

    def _read_runs(self, indices: Iterable[int], paths: Container[ColumnPath] | None) -> Iterator[tuple[int, Columns]]:
        for first, stop in self._reader().runs(indices):
            try:
                read = self._settled(partial(StoreReader.read, first=first, stop=stop, paths=paths))
            except ChecksumError as error:
                raise self._damaged_episode(first, stop, error) from error
            yield from zip(range(first, stop), read, strict=True)

    def _damaged_episode(self, first: int, stop: int, error: ChecksumError) -> ChecksumError:
        """Return the error about a range of episodes, with the first of them that is damaged."""
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

    def _have_column(self, path: ColumnPath, episodes: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        return self._settled(lambda reader: reader.have_column(path, episodes))

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

    def _read_rows(self, requests: Sequence[RowRequest]) -> list[Column]:
        rows = self._settled(lambda reader: self._gatherer_of(reader).gather(requests))
        others = [request for request, one in zip(requests, rows, strict=True) if one is None]
        read = iter(super()._read_rows(others) if others else ())
        return [next(read) if one is None else one for one in rows]

    def _read_concatenated(self, episodes: npt.NDArray[np.int64], requests: Sequence[LeafRequest]) -> list[Column]:
        found: list[Column | None] = [None] * len(requests)
        with suppress(DatasetCorruptError):  # the episodes say which of them is damaged
            found = self._settled(lambda reader: [reader.concatenated(episodes, request) for request in requests])
        others = [request for request, one in zip(requests, found, strict=True) if one is None]
        read = iter(super()._read_concatenated(episodes, others) if others else ())
        return [next(read) if one is None else one for one in found]

    def has_plain_rows(self, request: RowRequest) -> bool:
        """Return whether the rows of a request are stored as they are in memory."""
        return self._settled(lambda reader: self._gatherer_of(reader).is_mapped(request))

    def _gathers_frames(self, leaf: StackedLeaf, episodes: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        return self.has_stacked_frames(leaf, episodes)

    def _gatherer_of(self, reader: StoreReader) -> Gatherer:
        """Return what gathers rows of a store in the state of a reader."""
        if self._gatherer is None or self._gatherer[0] is not reader:
            self._gatherer = reader, Gatherer(reader)
        return self._gatherer[1]

    # Writing

    def _context(self) -> appender.WriterContext:
        open_reader = partial(self._reader, verify=True)  # damaged values must not get new checksums
        return appender.WriterContext(
            self.data_path, frozenset(self._leaves), self._codec_for, open_reader, self._size, self.durable
        )

    @contextmanager
    def _writer(self) -> Iterator[EpisodeWriter]:
        if is_remote(self.data_path):
            yield remote_writer.RemoteWriter(self._context())
            return
        with self._local_writer(rewriting=False) as local:
            yield local

    def _rewriter(self) -> AbstractContextManager[EpisodeWriter]:
        self._check_local()
        return self._local_writer(rewriting=True)

    @contextmanager
    def _local_writer(self, rewriting: bool) -> Iterator[EpisodeWriter]:
        with open_staged_directory(self.data_path, durable=self.durable) as staged:
            local = writer.ZarrWriter(self._context(), staged, rewriting)
            try:
                yield local
            finally:
                local.close()

    def _check_local(self) -> None:
        if is_remote(self.data_path):
            raise remote_writer.refusal(self.data_path)

    def write_in_parts(
        self, lengths: Sequence[int], like: Iterable[parallel.Episode], count: int
    ) -> AbstractContextManager[parallel.Parts]:
        """Append episodes that several processes write concurrently, each into shards of its own.

        Send each of the ``parts`` to a process, which calls its ``write`` with the episodes of its range
        ``episodes``; ``commit`` then makes all of them visible atomically.

        Args:
            lengths: the number of steps of each new episode.
            like: episodes that together have every kind of column that is to come.
            count: the number of parts; fewer if there are not so many shards.

        Returns:
            A context with :class:`~minari._storages.zarr.parallel.Parts`. Without a commit, nothing is changed.
        """
        self._check_local()
        return parallel.write_in_parts(self._context(), lengths, map(self._encoded, like), count)

    def write_part(self, part: parallel.Part, episodes: Iterable[parallel.Episode]) -> None:
        """Write the steps of a part; see :meth:`~minari._storages.zarr.parallel.Part.write`."""
        part.write_with(self._context(), map(self._encoded, episodes))

    def _encoded(self, episode: parallel.Episode) -> EpisodeColumns:
        return episode if isinstance(episode, EpisodeColumns) else stored_form(self, self.episode_codec.encode(episode))
