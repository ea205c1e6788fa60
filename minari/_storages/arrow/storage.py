"""The formats Arrow and Parquet: a directory per episode, with its table and its metadata.

``data/<number>/part-0.arrow`` or ``part-0.parquet`` (see :mod:`.schema` for the table), and
``data/<number>/metadata.json`` (see :mod:`.metadata`). Directories whose number is not below the total of the
dataset's metadata are leftovers and are ignored.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path as FilePath
from typing import Any, ClassVar, TypeVar

from minari._base.files import FilesBeneath
from minari._model.compression import Codec, Codecs, Compression
from minari._model.metadata import DatasetMetadata
from minari._storages.arrow import metadata as arrow_metadata
from minari._storages.arrow.files import ARROW, PARQUET, TableFiles, has_codec, read_part, view_part
from minari._storages.arrow.metadata import METADATA_NAME, Checksums
from minari._storages.arrow.schema import TableLayout
from minari._storages.arrow.tables import TableReader, TableWriter
from minari._storages.arrow.writer import open_writer
from minari._storages.base import EpisodeWriter, MinariStorage
from minari._storages.metadata_file import KnownSize, stamp_of
from minari._storages.staged_directory import PendingChanges, change_under_way, pending_changes
from minari.errors import CompressionError, DatasetCorruptError, MissingDependencyError
from minari.spaces import Columns


T = TypeVar("T")


class ArrowStorage(MinariStorage):
    """Episodes in Arrow files.

    A file is compressed as a whole, so all columns have the same codec. By default, files are compressed if
    the dataset has frames, and not compressed otherwise.
    """

    FORMAT: ClassVar[str] = "arrow"
    CODECS: ClassVar[Codecs] = {"lz4": None, "zstd": range(1, 23)}
    FRAME_CODEC: ClassVar[Codec | None] = Codec("zstd", 7)
    _files: ClassVar[TableFiles] = ARROW

    def __init__(self, data_path: FilePath, metadata: DatasetMetadata) -> None:
        super().__init__(data_path, metadata)
        self._root = str(data_path)
        self._prefix = f"{self._root}{os.sep}"
        self._layout = TableLayout((self.episode_codec.observations, self.episode_codec.actions))
        self._tables = TableReader(self._layout, self._files)
        self._known_size = KnownSize(data_path)
        self._changes: PendingChanges | None = None  # committed by a killed writer but not applied
        self._known_steps: tuple[Any, dict[int, int]] = (None, {})  # of episodes when the metadata had that stamp
        self._look_for_changes()

    @classmethod
    def check_codec(cls, codec: Codec) -> None:
        """Raise unless the format supports a codec and its package is installed.

        Raises:
            CompressionError: the format does not support the codec, or not at that level.
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
        """Raise unless the format supports a choice of compression.

        Raises:
            CompressionError: a codec is not supported by the format, or several are chosen for a format that
                compresses whole files.
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

    def _count_episodes(self) -> int:
        # Of the metadata that it was opened with; further directories belong to a writer that did not finish.
        total = self._metadata.total_episodes
        try:
            with os.scandir(self.data_path) as entries:
                names = {entry.name for entry in entries if entry.name.isdecimal()}
        except OSError as error:
            raise DatasetCorruptError(f"The folder {self.data_path} cannot be read ({error}).") from error
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

    def _view_columns(self, indices: Iterable[int]) -> Iterator[tuple[int, Columns]]:
        return self._settled(self._views, indices)

    def _read_episode_metadata(self, indices: Iterable[int]) -> Iterator[dict[str, Any]]:
        for index, (metadata, _) in self._settled(self._metadata_of, indices):
            yield {**metadata, "id": index}

    def _episodes_without_checksums(self, indices: Iterable[int]) -> list[int]:
        return [index for index, (_, checksums) in self._settled(self._metadata_of, indices) if checksums is None]

    def _add_missing_checksums(self) -> int:
        missing = self._episodes_without_checksums(range(self.total_episodes))
        if missing:
            with open_writer(self) as writer:
                for index in missing:
                    writer.add_checksums(index)
                writer.commit(self.stored_metadata)
        return len(missing)

    def _settled(self, read: Callable[[int], T], indices: Iterable[int]) -> Iterator[tuple[int, T]]:
        """Return the result of a read for each episode; repeat it if its files were replaced in the meantime."""
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
        """Check whether episodes may have changed; wait for a writer that is applying a change."""
        change = change_under_way(self._data_path)
        state = change, stamp_of(self._data_path)
        if state != self._known_steps[0]:
            if change is not None:
                self.forget_metadata()  # it changes with the episodes
            self._changes = None if change is None else pending_changes(self._data_path)
            self._known_steps = state, {}

    def _name(self, index: int, name: str) -> str:
        """Return the name of a file of an episode relative to the data."""
        place = f"{index}/{name}"
        return place if self._changes is None else self._changes.name(place)

    def _open_files(self) -> FilesBeneath:
        return FilesBeneath(self._root)

    def _metadata_of(self, index: int) -> tuple[dict[str, Any], Checksums | None]:
        with self._open_files() as files:
            return self._read_metadata(files, index)

    def _read_metadata(self, files: FilesBeneath, index: int) -> tuple[dict[str, Any], Checksums | None]:
        return arrow_metadata.read(files, self._name(index, METADATA_NAME), verify=self.verify_checksums)

    def _stored(self, index: int) -> tuple[Any, Any, dict[str, Any], Checksums | None]:
        """Return the stored file of an episode, its table's schema, and the metadata and checksums beside it."""
        with self._open_files() as files:
            data = read_part(files, self._name(index, self._files.name))
            metadata, checksums = self._read_metadata(files, index)
        path = self._path(index)
        if checksums is not None and self.verify_checksums:
            checksums.check_file(data, path)
        return data, self._files.schema(data, path), metadata, checksums

    def _path(self, index: int) -> str:
        """Return the path of the file of an episode, for messages."""
        return f"{self._folder(index)}{os.sep}{self._files.name}"

    def _views(self, index: int) -> Columns:
        """Return the columns of an episode, as views of its file if they are stored unchanged."""
        return self._found(index, view_part)[1]

    def _columns(self, index: int) -> Columns:
        """Return the columns of an episode in memory that is not shared."""
        return self._found(index, read_part)[1]

    def _data_and_columns(self, index: int) -> tuple[Any, Columns]:
        """Return the bytes of the file of an episode, and its columns."""
        return self._found(index, read_part)

    def _found(self, index: int, read: Callable[[FilesBeneath, str], Any]) -> tuple[Any, Columns]:
        _, known_steps = self._known_steps
        total_steps, checksums = known_steps.get(index), None
        with self._open_files() as files:
            if total_steps is None or self.verify_checksums:
                metadata, checksums = self._read_metadata(files, index)
                total_steps = known_steps[index] = metadata["total_steps"]
            data = read(files, self._name(index, self._files.name))
        path = self._path(index)
        if checksums is not None and self.verify_checksums:
            checksums.check_file(data, path)
        columns = self._tables.read(data, path, total_steps + 1)
        if checksums is not None and self.verify_checksums:
            checksums.check_columns(columns, index, path)
        return data, columns

    # Writing

    def _writer(self) -> AbstractContextManager[EpisodeWriter]:
        return open_writer(self)

    def _table_writer(self) -> TableWriter:
        """Return the writer of tables for new episodes, which have the schema of the last existing one."""
        total = self.total_episodes
        like = self._schema(total - 1) if total else None
        return TableWriter(self._layout, self._files, self._codec_for, like)

    def _schema(self, index: int) -> Any:
        """Return the schema of the table of an episode."""
        with self._open_files() as files:
            data = read_part(files, self._name(index, self._files.name))
        return self._files.schema(data, self._path(index))

    def _file_sizes(self, index: int) -> Mapping[str, int]:
        """Return the size of each file of an episode."""
        folder = self._folder(index)
        try:
            with os.scandir(folder) as entries:
                files = [entry for entry in entries if entry.is_file(follow_symlinks=False)]
                return {entry.name: entry.stat(follow_symlinks=False).st_size for entry in files}
        except OSError as error:
            raise DatasetCorruptError(
                f"The folder {folder} of an episode cannot be read ({error}); copy or download the dataset again."
            ) from error

    def _size(self) -> int:
        """Return the total size of the files of all episodes."""
        return self._known_size.get(
            lambda: sum(sum(self._file_sizes(index).values()) for index in range(self.total_episodes))
        )


class ParquetStorage(ArrowStorage):
    """Episodes in Parquet files, compressed column by column.

    By default, only frames are compressed.
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
