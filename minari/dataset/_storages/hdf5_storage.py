"""The HDF5 format: ``main_data.hdf5`` with one group an episode.

Reading goes through the index and a map of the file, writing makes the bytes of the file. h5py is
loaded only for what needs it: text, JPEG, compressed arrays, changes to episodes that are there, and
files that another program wrote.
"""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from itertools import islice
from pathlib import Path as FilePath
from typing import Any, ClassVar, TypeVar, cast

import numpy as np
import numpy.typing as npt

from minari.dataset._storages.hdf5_attributes import nested_metadata
from minari.dataset._storages.hdf5_headers import read_attributes
from minari.dataset._storages.hdf5_index import UNKNOWN, EpisodeIndex, PlacedEpisodes, Schema
from minari.dataset._storages.hdf5_library import hdf5
from minari.dataset._storages.hdf5_names import DATA_FILE_NAME, spell
from minari.dataset._storages.hdf5_writer import open_writer
from minari.dataset._storages.mapped_file import MappedFile
from minari.dataset._storages.transaction import has_journal, recover_abandoned
from minari.dataset.metadata import DatasetMetadata
from minari.dataset.minari_storage import EpisodeWriter, MinariStorage
from minari.dataset.stored_metadata import stamp_of
from minari.errors import DatasetBusyError, DatasetCorruptError
from minari.spaces import Column, Columns


_EPISODES_AT_A_TIME = 16  # read through HDF5 before the file is closed again
_PATIENCE = 30.0  # seconds to wait for a moment in which nobody commits

T = TypeVar("T")


def _metadata_of_group(index: int, group: Any) -> dict[str, Any]:
    metadata: dict[str, Any] = hdf5().read_metadata(group)
    return metadata


class HDF5Storage(MinariStorage):
    """Episodes in one HDF5 file, read as views of its memory map wherever that is possible."""

    FORMAT: ClassVar[str] = "hdf5"

    def __init__(self, data_path: FilePath, metadata: DatasetMetadata) -> None:
        super().__init__(data_path, metadata)
        self._file = self.data_path / DATA_FILE_NAME
        self._index = EpisodeIndex(self._file)
        self._map: MappedFile | None = None
        codecs = (self._codec.observations, self._codec.actions)
        self._known_paths = {spell(path): path for codec in codecs for path in codec.paths()}

    @classmethod
    def _read_metadata_of_old_releases(cls, data_path: FilePath) -> dict[str, Any] | None:
        """The metadata that releases before 0.5 kept in the HDF5 file; None where there is no file."""
        file = data_path / DATA_FILE_NAME
        return (
            importlib.import_module("minari.dataset._storages.hdf5_old").read_metadata(file) if file.exists() else None
        )

    def _count_episodes(self) -> int:
        self._refresh()
        if self._index.total is None:
            self._index.total = self._at_one_moment(lambda: int(hdf5().count_episodes(self._file)))
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
        if self._map is None:
            self._map = MappedFile(self._file)
        return self._map

    def _file_size(self) -> int:
        return self._file.stat().st_size if self._file.exists() else 0

    def _read_columns(self, indices: Iterable[int]) -> Iterator[tuple[int, Columns]]:
        remaining = iter(indices)
        batch = list(islice(remaining, _EPISODES_AT_A_TIME))
        if batch:
            self._refresh()
        while batch:
            yield from self._read_batch(batch)
            batch = list(islice(remaining, _EPISODES_AT_A_TIME))
        self._index.save()

    def _read_batch(self, batch: Sequence[int]) -> list[tuple[int, Columns]]:
        mapped = self._mapped()
        episodes: list[tuple[int, Columns]] = []
        for index in batch:
            found = self._index.find(index)
            columns = {} if found is None else self._views(mapped, index, *found)
            if found is None or len(columns) < len(found[0].leaves):
                return self._at_one_moment(lambda: self._columns(batch))
            episodes.append((index, columns))
        return episodes

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
                if leaf.dtype is not None and leaf.chunks is not None:
                    columns[leaf.path] = mapped.array_of_chunks(offsets, shape, leaf.dtype, leaf.chunks)
                elif leaf.dtype is not None:
                    columns[leaf.path] = mapped.array(offsets[0], shape, leaf.dtype)
                position += 1 + leaf.pieces
            return columns
        except ValueError as error:
            raise DatasetCorruptError(
                f"Episode {index} lies beyond the end of {self._file} ({error}); the file is cut off, so "
                f"copy or download it again."
            ) from error

    def _columns(self, batch: Sequence[int]) -> list[tuple[int, Columns]]:
        """The columns of episodes, read through HDF5 where they have to be."""
        self._locate(batch)
        mapped, through_hdf5 = self._mapped(), self._read_through_hdf5(batch)
        return [
            (index, {**self._views(mapped, index, *self._placed(index)), **through_hdf5.get(index, {})})
            for index in batch
        ]

    def _at_one_moment(self, read: Callable[[], T]) -> T:
        """What ``read`` finds in the file while no change to it is being committed.

        Reading through HDF5 takes no lock, so it is done again where a commit came in between.
        """
        deadline = time.monotonic() + _PATIENCE
        while True:
            recover_abandoned(self.data_path)  # waits for a commit under way
            before, result, error = stamp_of(self.data_path), None, None
            try:
                self._refresh()
                result = read()
            except Exception as raised:  # HDF5 has many ways to fail at a file that is half changed
                error = raised
            # A commit writes the journal, changes the file, replaces the metadata and takes the journal away;
            # asked for in this order, none of it can be missed.
            if not has_journal(self.data_path) and stamp_of(self.data_path) == before:
                if error is not None:
                    raise error
                return cast("T", result)
            if time.monotonic() > deadline:
                raise DatasetBusyError(f"{self._file} is being changed all the time; try again later.") from error

    def _locate(self, batch: Iterable[int]) -> None:
        unknown = [index for index in batch if self._index.find(index) is None]
        if unknown:
            locate = partial(hdf5().locate, known=self._known_paths, file=self._file)
            for found in hdf5().with_episode_groups(self._file, unknown, locate):
                self._index.add(found)

    def _placed(self, index: int) -> tuple[Schema, list[int]]:
        found = self._index.find(index)
        if found is None:
            raise DatasetCorruptError(f"Episode {index} is not in {self._file}.")
        return found

    def _read_through_hdf5(self, batch: Sequence[int]) -> dict[int, dict[Any, Column]]:
        wanted = {}
        for index in batch:
            paths = [leaf.path for leaf in self._placed(index)[0].leaves if leaf.dtype is None]
            if paths:
                wanted[index] = paths
        if not wanted:
            return {}
        read_column = hdf5().read_column
        columns = hdf5().with_episode_groups(
            self._file, wanted, lambda index, group: {path: read_column(group, path) for path in wanted[index]}
        )
        return dict(zip(wanted, columns, strict=True))

    def _read_episode_metadata(self, indices: Iterable[int]) -> Iterator[dict[str, Any]]:
        remaining = iter(indices)
        while batch := list(islice(remaining, _EPISODES_AT_A_TIME)):
            yield from self._at_one_moment(partial(self._metadata_of, batch))

    def _metadata_of(self, batch: Sequence[int]) -> list[dict[str, Any]]:
        mapped = self._mapped()
        found = {index: self._mapped_metadata(mapped, index) for index in batch}
        others = [index for index, metadata in found.items() if metadata is None]
        if others:
            read = hdf5().with_episode_groups(self._file, others, _metadata_of_group)
            found.update(zip(others, read, strict=True))
        return [{**cast("dict[str, Any]", found[index]), "id": index} for index in batch]

    def _mapped_metadata(self, mapped: MappedFile, index: int) -> dict[str, Any] | None:
        """The metadata of an episode whose place is known and which was written as usual, otherwise None."""
        header = self._index.header(index)
        attributes = None if header == UNKNOWN else read_attributes(mapped.read_at, header)
        return None if attributes is None else nested_metadata(attributes)

    def _read_lengths(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        self._refresh()
        lengths = self._index.lengths(indices)
        return super()._read_lengths(indices) if lengths is None else lengths

    # Writing

    def _writer(self) -> AbstractContextManager[EpisodeWriter]:
        return open_writer(self)

    def _are_mapped(self, indices: Sequence[int]) -> bool:
        """Whether every leaf of these episodes lies in the file as it is."""
        self._at_one_moment(lambda: self._locate(indices))
        return all(self._placed(index)[0].is_mapped for index in indices)

    def _remember(self, placed: Iterable[PlacedEpisodes], status: os.stat_result, total: int) -> None:
        """Take over what a writer has changed."""
        for episodes in placed:
            self._index.add(episodes)
        self._index.total = total
        self._index.save(status)
        self._map = None
