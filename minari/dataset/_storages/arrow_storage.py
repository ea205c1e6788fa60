"""The formats Arrow and Parquet: a folder an episode, with its table and its metadata.

``data/<number>/part-0.arrow`` or ``part-0.parquet`` (see :mod:`arrow_layout` for the table), and
``data/<number>/metadata.json`` (see :mod:`arrow_metadata`). Folders whose number is not below the
total of the dataset's metadata are leftovers, and not read.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path as FilePath
from typing import Any, ClassVar, TypeVar

import pyarrow as pa

from minari.dataset._storages import arrow_metadata
from minari.dataset._storages.arrow_changes import finish_changes
from minari.dataset._storages.arrow_files import ARROW, PARQUET, TableFiles
from minari.dataset._storages.arrow_layout import TableLayout
from minari.dataset._storages.arrow_metadata import METADATA_NAME
from minari.dataset._storages.arrow_writer import open_writer
from minari.dataset.metadata import DatasetMetadata
from minari.dataset.minari_storage import EpisodeWriter, MinariStorage
from minari.dataset.stored_metadata import stamp_of
from minari.errors import DatasetCorruptError
from minari.spaces import Columns


T = TypeVar("T")


class ArrowStorage(MinariStorage):
    """Episodes in Arrow files, read as views of their memory maps."""

    FORMAT: ClassVar[str] = "arrow"
    _files: ClassVar[TableFiles] = ARROW

    def __init__(self, data_path: FilePath, metadata: DatasetMetadata) -> None:
        super().__init__(data_path, metadata)
        self._layout = TableLayout((self._codec.observations, self._codec.actions))
        self._known_size: tuple[Any, int] = (None, 0)  # of the data when the metadata had that stamp
        finish_changes(data_path)

    def _folder(self, index: int) -> FilePath:
        return self.data_path / str(index)

    def _count_episodes(self) -> int:
        # Of the metadata that it was opened with; further folders belong to a writer that did not finish.
        total = self._metadata.total_episodes
        with os.scandir(self.data_path) as entries:
            names = {entry.name for entry in entries}
        for index in range(total):
            if str(index) not in names:
                raise DatasetCorruptError(
                    f"The metadata of {self.data_path} speak of {total} episodes, and the folder "
                    f"{self._folder(index)} is missing; copy or download the dataset again."
                )
        return total

    # Reading

    def _read_columns(self, indices: Iterable[int]) -> Iterator[tuple[int, Columns]]:
        for index in indices:
            yield index, self._settled(self._columns, index)

    def _read_episode_metadata(self, indices: Iterable[int]) -> Iterator[dict[str, Any]]:
        for index in indices:
            yield self._settled(self._metadata_of, index)

    def _settled(self, read: Callable[[int], T], index: int) -> T:
        """What is read of an episode; again where its files were being replaced meanwhile."""
        while True:
            stamp = stamp_of(self.data_path)
            try:
                return read(index)
            except DatasetCorruptError:
                finish_changes(self.data_path)
                if stamp == stamp_of(self.data_path):
                    raise

    def _metadata_of(self, index: int) -> dict[str, Any]:
        return {**arrow_metadata.read(self._folder(index) / METADATA_NAME), "id": index}

    def _columns(self, index: int) -> Columns:
        path = self._folder(index) / self._files.name
        table = self._files.table(path)
        total_steps = self._metadata_of(index)["total_steps"]
        if table.num_rows != total_steps + 1:
            raise DatasetCorruptError(
                f"The table in {path} has {table.num_rows} rows, expected {total_steps + 1} for the "
                f"{total_steps} steps that {METADATA_NAME} beside it speaks of; the two do not belong "
                f"together, so copy or download them again."
            )
        try:
            return self._layout.decode(table)
        except (pa.ArrowException, ValueError, TypeError) as error:
            raise DatasetCorruptError(
                f"The table in {path} does not fit the spaces of the dataset ({error}); it is damaged, or "
                f"belongs to another dataset."
            ) from error

    # Writing

    def _writer(self) -> AbstractContextManager[EpisodeWriter]:
        return open_writer(self)

    def _last_schema(self) -> Any:
        """The schema of the last episode, which those to come follow; None where there is none."""
        total = self.total_episodes
        return self._files.schema(self._folder(total - 1) / self._files.name) if total else None

    def _size(self) -> int:
        """The number of bytes that the files of all episodes have."""
        if self._known_size[0] != stamp_of(self.data_path):
            folders = map(self._folder, range(self.total_episodes))
            self._remember_size(sum(entry.stat().st_size for folder in folders for entry in os.scandir(folder)))
        return self._known_size[1]

    def _remember_size(self, size: int) -> None:
        self._known_size = stamp_of(self.data_path), size


class ParquetStorage(ArrowStorage):
    """Episodes in Parquet files, which are compressed."""

    FORMAT: ClassVar[str] = "parquet"
    _files: ClassVar[TableFiles] = PARQUET
