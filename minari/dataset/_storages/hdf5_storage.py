"""The HDF5 format: ``main_data.hdf5`` with one group an episode.

Reading goes through the index and a map of the file, writing makes the bytes of the file. h5py is
loaded only for what needs it: text, JPEG, codecs other than gzip, changes to episodes that are there,
and files that another program wrote.
"""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from itertools import islice
from pathlib import Path as FilePath
from typing import Any, ClassVar, TypeVar, cast

import numpy as np
import numpy.typing as npt

from minari.dataset._storages.hdf5_appending import StoredEpisode
from minari.dataset._storages.hdf5_chunks import StoredColumn, decompressed, read_column
from minari.dataset._storages.hdf5_filters import GZIP, GZIP_FRAME_LEVEL, GZIP_LEVELS, Chunking
from minari.dataset._storages.hdf5_index import EpisodeIndex, LeafPlace, PlacedEpisodes, Schema
from minari.dataset._storages.hdf5_library import plugins
from minari.dataset._storages.hdf5_names import DATA_FILE_NAME, spell
from minari.dataset._storages.hdf5_objects import Filter
from minari.dataset._storages.hdf5_reader import EpisodeFile
from minari.dataset._storages.hdf5_writer import open_writer
from minari.dataset._storages.mapped_file import MappedFile
from minari.dataset._storages.thread_lock import ThreadLock
from minari.dataset._storages.transaction import has_journal, recover_abandoned
from minari.dataset.compression import Codec, Codecs
from minari.dataset.metadata import DatasetMetadata
from minari.dataset.minari_storage import EpisodeWriter, MinariStorage
from minari.dataset.stored_metadata import stamp_of
from minari.errors import DatasetBusyError, DatasetCorruptError
from minari.spaces import Column, Columns, EpisodeColumns, Path, path_name


_EPISODES_AT_A_TIME = 16  # read through HDF5 before the file is closed again
_MOST_AT_A_TIME = 2**26  # bytes of them that have to be decompressed
_PATIENCE = 30.0  # seconds to wait for a moment in which nobody commits

T = TypeVar("T")


class HDF5Storage(MinariStorage):
    """Episodes in one HDF5 file, read as views of its memory map wherever that is possible."""

    FORMAT: ClassVar[str] = "hdf5"
    CODECS: ClassVar[Codecs] = {
        GZIP: GZIP_LEVELS,
        "lzf": None,
        "zstd": range(1, 23),
        "blosc": range(10),
        "lz4": None,
    }
    FRAME_CODEC: ClassVar[Codec | None] = Codec(GZIP, GZIP_FRAME_LEVEL)

    def __init__(self, data_path: FilePath, metadata: DatasetMetadata) -> None:
        super().__init__(data_path, metadata)
        self._file = self.data_path / DATA_FILE_NAME
        self._lock = ThreadLock()  # of the index and the map, which belong together
        self._index = EpisodeIndex(self._file)
        self._map: MappedFile | None = None
        self._reader: tuple[MappedFile, EpisodeFile] | None = None
        codecs = (self._codec.observations, self._codec.actions)
        self._known_paths = {spell(path): path for codec in codecs for path in codec.paths()}

    @classmethod
    def _read_metadata_of_old_releases(cls, data_path: FilePath) -> dict[str, Any] | None:
        """The metadata that releases before 0.5 kept in the HDF5 file; None where there is no file."""
        file = data_path / DATA_FILE_NAME
        return (
            importlib.import_module("minari.dataset._storages.hdf5_old").read_metadata(file) if file.exists() else None
        )

    @classmethod
    def check_codec(cls, codec: Codec) -> None:
        """See whether a codec can be used here; beside gzip they are h5py's and those of plug-ins."""
        super().check_codec(codec)
        if codec.name != GZIP:
            plugins().require(codec)

    def _count_episodes(self) -> int:
        with self._lock.current:
            self._refresh()
            if self._index.total is None:
                self._index.total = self._at_one_moment(lambda: self._episodes().count())
            return self._index.total

    # Reading

    def _refresh(self) -> None:
        """Notice that the file has grown or changed, by this program or another."""
        try:
            if self._index.refresh():
                self._map = None
        except FileNotFoundError:
            raise DatasetCorruptError(
                f"The metadata speak of {self.total_episodes} episodes, and the file {self._file} that "
                f"should hold them is missing; copy or download the dataset again."
            ) from None

    def _mapped(self) -> MappedFile:
        """A map of the file that the index describes; others may have put another one in its place meanwhile."""
        while self._map is None:
            mapped = MappedFile(self._file)
            if mapped.stamp == self._index.stamp:
                self._map = mapped
            else:
                self._refresh()
        return self._map

    def _episodes(self) -> EpisodeFile:
        """What reads the structures of the file that is mapped."""
        mapped = self._mapped()
        if self._reader is None or self._reader[0] is not mapped:
            self._reader = mapped, EpisodeFile(self._file, mapped.read_at, mapped.size)
        return self._reader[1]

    def _read_columns(self, indices: Iterable[int]) -> Iterator[tuple[int, Columns]]:
        remaining = iter(indices)
        batch = list(islice(remaining, _EPISODES_AT_A_TIME))
        if batch:
            with self._lock.current:
                self._refresh()
        while batch:
            yield from self._read_batch(batch)
            batch = list(islice(remaining, _EPISODES_AT_A_TIME))
        with self._lock.current:
            self._index.save()

    def _read_batch(self, batch: Sequence[int]) -> Iterator[tuple[int, Columns]]:
        while batch:
            with self._lock.current:
                mapped, found = self._mapped(), self._index.find(batch[0])
            if found is None or found[0].needs_hdf5:
                episodes = self._at_one_moment(partial(self._columns, batch))
                yield from episodes
                batch = batch[len(episodes) :]
            else:
                yield batch[0], self._views(mapped, batch[0], *found)
                batch = batch[1:]

    def _views(self, mapped: MappedFile, index: int, schema: Schema, places: Sequence[int]) -> dict[Any, Column]:
        """The leaves of an episode that lie in the file as they are: views, or copies of their chunks."""
        try:
            if schema.is_mapped:
                return mapped.arrays(schema.views, places, places[0] * schema.step_size)
            columns: dict[Any, Column] = {}
            position = 0
            for leaf in schema.leaves:
                shape = (places[position], *leaf.shape)
                offsets = places[position + 1 : position + 1 + leaf.pieces]
                if leaf.filters is not None and not leaf.needs_hdf5:
                    columns[leaf.path] = self._decompressed(mapped, index, leaf, shape, offsets[0])
                elif leaf.filters is None and leaf.dtype is not None and leaf.chunks is not None:
                    columns[leaf.path] = mapped.array_of_chunks(offsets, shape, leaf.dtype, leaf.chunks)
                elif leaf.filters is None and leaf.dtype is not None:
                    columns[leaf.path] = mapped.array(offsets[0], shape, leaf.dtype)
                position += 1 + leaf.pieces
            return columns
        except DatasetCorruptError:
            raise
        except ValueError as error:
            raise DatasetCorruptError(
                f"Episode {index} lies beyond the end of {self._file} ({error}); the file is cut off, so "
                f"copy or download it again."
            ) from error

    def _decompressed(
        self, mapped: MappedFile, index: int, leaf: LeafPlace, shape: tuple[int, ...], offset: int
    ) -> Column:
        stored = self._stored(mapped, index, leaf, shape, offset)
        try:
            return decompressed(stored)
        except ValueError as error:
            raise self._damaged(index, leaf, error) from error

    def _stored(
        self, mapped: MappedFile, index: int, leaf: LeafPlace, shape: tuple[int, ...], offset: int
    ) -> StoredColumn:
        """A leaf as it is stored in chunks that have a table."""
        chunking = Chunking(cast("tuple[int, ...]", leaf.chunks), cast("tuple[Filter, ...]", leaf.filters))
        try:
            return read_column(mapped.read_at, offset, shape, cast("np.dtype[Any]", leaf.dtype), chunking)
        except ValueError as error:
            raise self._damaged(index, leaf, error) from error

    def _damaged(self, index: int, leaf: LeafPlace, error: Exception) -> DatasetCorruptError:
        return DatasetCorruptError(
            f"The {path_name(leaf.path)!r} of episode {index} in {self._file} cannot be decompressed ({error}); "
            f"the file is damaged, so copy or download it again."
        )

    def _columns(self, batch: Sequence[int]) -> list[tuple[int, Columns]]:
        """The columns of the first episodes, read through HDF5 where they have to be."""
        self._locate(batch)
        batch = self._at_once(batch)
        mapped, others = self._mapped(), self._read_others(batch)
        return [
            (index, {**self._views(mapped, index, *self._placed(index)), **others.get(index, {})}) for index in batch
        ]

    def _at_once(self, batch: Sequence[int]) -> Sequence[int]:
        """The first of these episodes, as many as memory shall hold."""
        size = 0
        for count, index in enumerate(batch):
            schema, places = self._placed(index)
            size += schema.decompressed_size(places)
            if count and size > _MOST_AT_A_TIME:
                return batch[:count]
        return batch

    def _at_one_moment(self, read: Callable[[], T]) -> T:
        """What ``read`` finds in the file while no change to it is being committed.

        Reading through HDF5 takes no lock, so it is done again where a commit came in between.
        """
        deadline = time.monotonic() + _PATIENCE
        while True:
            recover_abandoned(self.data_path)  # waits for a commit under way
            before, result, error = self._moment(), None, None
            try:
                with self._lock.current:
                    self._refresh()
                    result = read()
            except Exception as raised:  # HDF5 has many ways to fail at a file that is half changed
                error = raised
            # A commit writes the journal, changes the file, replaces the metadata and takes the journal away, or
            # puts another file in the place of this one; asked for in this order, none of it can be missed.
            if not has_journal(self.data_path) and self._moment() == before:
                if error is not None:
                    raise error
                return cast("T", result)
            if time.monotonic() > deadline:
                raise DatasetBusyError(f"{self._file} is being changed all the time; try again later.") from error

    def _moment(self) -> Any:
        """What is not the same any more when the dataset has changed."""
        status = self._file.stat() if self._file.exists() else None
        return stamp_of(self.data_path), status and (status.st_ino, status.st_size, status.st_mtime_ns)

    def _locate(self, batch: Iterable[int]) -> None:
        for index in batch:
            if self._index.find(index) is None:
                self._index.add(self._episodes().locate(index, self._known_paths))

    def _placed(self, index: int) -> tuple[Schema, list[int]]:
        found = self._index.find(index)
        if found is None:
            raise DatasetCorruptError(f"Episode {index} is not in {self._file}.")
        return found

    def _read_others(self, batch: Sequence[int]) -> dict[int, dict[Any, Column]]:
        """The leaves that do not lie in the file as they are."""
        wanted = []
        for index in batch:
            paths = [leaf.path for leaf in self._placed(index)[0].leaves if leaf.needs_hdf5]
            if paths:
                wanted.append((index, self._index.header(index), paths))
        return self._episodes().read_columns(wanted) if wanted else {}

    def _read_episode_metadata(self, indices: Iterable[int]) -> Iterator[dict[str, Any]]:
        remaining = iter(indices)
        while batch := list(islice(remaining, _EPISODES_AT_A_TIME)):
            yield from self._at_one_moment(partial(self._metadata_of, batch))

    def _metadata_of(self, batch: Sequence[int]) -> list[dict[str, Any]]:
        episodes, found = self._episodes(), []
        for index in batch:
            metadata = episodes.read_metadata(index, self._index.header(index))
            if "total_steps" not in metadata:  # where another program has left it out
                self._locate([index])
                metadata["total_steps"] = int(cast("Any", self._index.lengths(np.array([index])))[0])
            found.append({**metadata, "id": index})
        return found

    def _read_lengths(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        with self._lock.current:
            self._refresh()
            lengths = self._index.lengths(indices)
        return super()._read_lengths(indices) if lengths is None else lengths

    # Writing

    def _writer(self) -> AbstractContextManager[EpisodeWriter]:
        return open_writer(self)

    def _rewriter(self) -> AbstractContextManager[EpisodeWriter]:
        return open_writer(self, replacing=True)

    def _stored_episodes(self, indices: Iterable[int]) -> Iterator[StoredEpisode | EpisodeColumns]:
        """Episodes as they are stored, or with their values where their bytes cannot be copied."""
        remaining = iter(indices)
        while batch := list(islice(remaining, _EPISODES_AT_A_TIME)):
            stored = self._at_one_moment(partial(self._stored_batch, batch))
            for index, (episode, metadata) in zip(batch, stored, strict=True):
                if episode is not None:
                    yield StoredEpisode(metadata.pop("total_steps"), episode, metadata)
                else:
                    ((_, columns),) = self._read_columns([index])
                    yield EpisodeColumns(metadata.pop("total_steps"), columns, metadata)

    def _stored_batch(self, batch: Sequence[int]) -> list[tuple[Mapping[Path, Column | StoredColumn] | None, Any]]:
        """Of each episode its columns as they are stored, None where that is not possible, and its metadata."""
        self._locate(batch)
        metadatas = self._metadata_of(batch)
        for metadata in metadatas:
            del metadata["id"]
        return [(self._stored_columns(index), metadata) for index, metadata in zip(batch, metadatas, strict=True)]

    def _stored_columns(self, index: int) -> Mapping[Path, Column | StoredColumn] | None:
        mapped, (schema, places) = self._mapped(), self._placed(index)
        columns: dict[Any, Column | StoredColumn] = {}
        others, position = [], 0
        for leaf in schema.leaves:
            shape, offset = (places[position], *leaf.shape), places[position + 1]
            if leaf.dtype is None or (leaf.filters is None and leaf.chunks is not None):
                others.append(leaf.path)
            elif leaf.filters is None:
                columns[leaf.path] = mapped.array(offset, shape, leaf.dtype)
            else:
                columns[leaf.path] = self._stored(mapped, index, leaf, shape, offset)
            position += 1 + leaf.pieces
        if not others:
            return columns
        stored = self._episodes().stored_columns(index, self._index.header(index), others)
        return None if stored is None else {**columns, **stored}

    def _remember(self, placed: Iterable[PlacedEpisodes], status: os.stat_result, total: int) -> None:
        """Take over what a writer has changed."""
        with self._lock.current:
            for episodes in placed:
                self._index.add(episodes)
            self._index.total = total
            self._index.save(status)
            self._map = None
