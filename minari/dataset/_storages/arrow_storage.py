"""The formats Arrow and Parquet: a folder an episode, with its table and its metadata.

``data/<number>/part-0.arrow`` or ``part-0.parquet`` (see :mod:`arrow_layout` for the table), and
``data/<number>/metadata.json`` (see :mod:`arrow_metadata`). Folders whose number is not below the
total of the dataset's metadata are leftovers, and not read.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path as FilePath
from typing import Any, ClassVar, TypeVar

from minari.dataset._storages import arrow_metadata
from minari.dataset._storages.arrow_files import ARROW, PARQUET, TableFiles, has_codec, read_bytes
from minari.dataset._storages.arrow_layout import TableLayout
from minari.dataset._storages.arrow_metadata import METADATA_NAME
from minari.dataset._storages.arrow_tables import TableReader, TableWriter
from minari.dataset._storages.arrow_writer import open_writer
from minari.dataset._storages.folder_changes import PendingChanges, change_under_way, pending_changes
from minari.dataset.compression import Codec, Codecs, Compression
from minari.dataset.metadata import DatasetMetadata
from minari.dataset.minari_storage import EpisodeWriter, MinariStorage
from minari.dataset.stored_metadata import KnownSize, stamp_of
from minari.errors import CompressionError, DatasetCorruptError, MissingDependencyError
from minari.spaces import Columns


T = TypeVar("T")


class ArrowStorage(MinariStorage):
    """Episodes in Arrow files, read as views of their memory maps unless they are compressed.

    A file is compressed as a whole, so one codec is for all columns. By default that is so where the
    dataset has frames, and nothing is compressed where it has none.
    """

    FORMAT: ClassVar[str] = "arrow"
    CODECS: ClassVar[Codecs] = {"lz4": None, "zstd": range(1, 23)}
    FRAME_CODEC: ClassVar[Codec | None] = Codec("zstd", 7)
    _files: ClassVar[TableFiles] = ARROW

    def __init__(self, data_path: FilePath, metadata: DatasetMetadata) -> None:
        super().__init__(data_path, metadata)
        self._prefix = f"{data_path}{os.sep}"
        self._layout = TableLayout((self._codec.observations, self._codec.actions))
        self._tables = TableReader(self._layout, self._files)
        self._known_size = KnownSize(data_path)
        self._changes: PendingChanges | None = None  # which a killed writer has committed and not put into place
        self._known_steps: tuple[Any, dict[int, int]] = (None, {})  # of episodes when the data were in that state
        self._look_for_changes()

    @classmethod
    def check_codec(cls, codec: Codec) -> None:
        """See whether the format can compress with a codec, here and now.

        Raises:
            CompressionError: it does not have the codec, or not at that level.
            MissingDependencyError: pyarrow was built without it.
        """
        super().check_codec(codec)
        if not has_codec(codec.name):
            raise MissingDependencyError(
                f"The codec {codec.name!r} is missing from this build of pyarrow; install the usual one: "
                f"pip install --force-reinstall pyarrow"
            )

    @classmethod
    def check_compression(cls, compression: Compression) -> None:
        """See whether the format can carry out a choice.

        Raises:
            CompressionError: a codec is not among those of the format, or several are to be used at
                once in a format that compresses whole files.
        """
        super().check_compression(compression)
        chosen = compression.stored
        if cls._files.is_compressed_whole and isinstance(chosen, Mapping):
            codecs = {*chosen.values(), *(str(compression.codec_for(path) or "none") for path in compression.frames)}
            if len(codecs) > 1:
                raise CompressionError(
                    f"The compression {dict(chosen)!r} is another for some columns ({', '.join(sorted(codecs))}), and "
                    f"the format {cls.FORMAT!r} compresses a file as a whole; choose one, or the format 'parquet'."
                )

    def _folder(self, index: int) -> str:
        return f"{self._prefix}{index}"

    def _part(self, index: int) -> str:
        return self._path(f"{index}/{self._files.name}")

    def _path(self, name: str) -> str:
        return self._prefix + (name if self._changes is None else self._changes.name(name))

    def _count_episodes(self) -> int:
        # Of the metadata that it was opened with; further folders belong to a writer that did not finish.
        total = self._metadata.total_episodes
        with os.scandir(self.data_path) as entries:
            names = {entry.name for entry in entries}
        if self._changes is not None:
            names |= self._changes.names()
        for index in range(total):
            if str(index) not in names:
                raise DatasetCorruptError(
                    f"The metadata of {self.data_path} speak of {total} episodes, and the folder "
                    f"{self._folder(index)} is missing; copy or download the dataset again."
                )
        return total

    # Reading

    def _read_columns(self, indices: Iterable[int]) -> Iterator[tuple[int, Columns]]:
        return self._settled(self._columns, indices)

    def _read_episode_metadata(self, indices: Iterable[int]) -> Iterator[dict[str, Any]]:
        for _, metadata in self._settled(self._metadata_of, indices):
            yield metadata

    def _settled(self, read: Callable[[int], T], indices: Iterable[int]) -> Iterator[tuple[int, T]]:
        """What is read of each episode; again where its files were being replaced meanwhile."""
        self._look_for_changes()
        for index in indices:
            try:
                found = read(index)
            except DatasetCorruptError:
                found = self._read_again(read, index)
            yield index, found

    def _read_again(self, read: Callable[[int], T], index: int) -> T:
        while True:
            state = self._known_steps[0]
            self._look_for_changes()
            try:
                return read(index)
            except DatasetCorruptError:
                self._look_for_changes()
                if state == self._known_steps[0]:
                    raise

    def _look_for_changes(self) -> None:
        """Notice that episodes may have changed; a writer that is putting a change into place is waited for."""
        change = change_under_way(self._data_path)
        state = change, stamp_of(self._data_path)
        if state != self._known_steps[0]:
            if change is not None:
                self._forget_metadata()  # they change with the episodes
            self._changes = None if change is None else pending_changes(self._data_path)
            self._known_steps = state, {}

    def _metadata_of(self, index: int) -> dict[str, Any]:
        return {**arrow_metadata.read(FilePath(self._path(f"{index}/{METADATA_NAME}"))), "id": index}

    def _stored(self, index: int) -> tuple[Any, Any, dict[str, Any]]:
        """The file of an episode as it is, the schema of the table in it, and the metadata beside it."""
        part = self._part(index)
        data = read_bytes(part)
        return data, self._files.schema(data, part), self._metadata_of(index)

    def _columns(self, index: int) -> Columns:
        _, known_steps = self._known_steps
        columns, rows = self._tables.read(self._part(index))
        if known_steps.get(index) != rows - 1:
            total_steps = known_steps[index] = self._metadata_of(index)["total_steps"]
            if rows != total_steps + 1:
                raise DatasetCorruptError(
                    f"The table in {self._part(index)} has {rows} rows, expected {total_steps + 1} for the "
                    f"{total_steps} steps that {METADATA_NAME} beside it speaks of; the two do not belong "
                    f"together, so copy or download them again."
                )
        return columns

    # Writing

    def _writer(self) -> AbstractContextManager[EpisodeWriter]:
        return open_writer(self)

    def _table_writer(self) -> TableWriter:
        """What makes the tables of the episodes to come, which follow the last one that is there."""
        total = self.total_episodes
        like = self._tables.schema(self._part(total - 1)) if total else None
        return TableWriter(self._layout, self._files, self._codec_for, like)

    def _file_sizes(self, index: int) -> Mapping[str, int]:
        """The number of bytes of each file of an episode."""
        with os.scandir(self._folder(index)) as entries:
            return {entry.name: entry.stat().st_size for entry in entries}

    def _size(self) -> int:
        """The number of bytes that the files of all episodes have."""
        return self._known_size.get(
            lambda: sum(sum(self._file_sizes(index).values()) for index in range(self.total_episodes))
        )


class ParquetStorage(ArrowStorage):
    """Episodes in Parquet files, which are compressed column by column.

    By default frames are compressed, and nothing else is.
    """

    FORMAT: ClassVar[str] = "parquet"
    CODECS: ClassVar[Codecs] = {
        "snappy": None,
        "gzip": range(1, 10),
        "zstd": range(1, 23),
        "lz4": None,
        "brotli": range(12),
    }
    _files: ClassVar[TableFiles] = PARQUET
