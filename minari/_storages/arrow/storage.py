"""Storage backends for Arrow and Parquet: a directory for each episode, with its table and its metadata.

``data/<number>/part-0.arrow`` or ``part-0.parquet`` holds the table (see
:mod:`~minari._storages.arrow.schema`), and ``data/<number>/metadata.json`` the metadata (see
:mod:`~minari._storages.arrow.metadata`). Directories whose number is not below the total of the
dataset are leftovers, and are not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from minari._model.compression import Codec, Codecs, Compression
from minari._model.metadata import DatasetMetadata
from minari._storages.arrow.files import ARROW, PARQUET, TableFiles, has_codec
from minari._storages.arrow.reader import EpisodeReader
from minari._storages.arrow.schema import TableLayout
from minari._storages.arrow.writer import ArrowWriter, WriterContext
from minari._storages.base import MinariStorage
from minari._storages.core import StorageCore, compression_of
from minari._storages.metadata_file import SizeCache
from minari._storages.staged_directory import CHANGES_NAME, open_staged_directory
from minari.errors import CompressionError, MissingDependencyError
from minari.spaces import ColumnPath, Columns


_OF_FRAMES_IN_LISTS = Codec("zstd", 7)  # lower levels do not find what stays from one frame to the next
_MOST_DIGITS = 18  # of a number that is compared; names may be anything


class ArrowStorage(MinariStorage):
    """Episodes in Arrow files.

    A file is compressed as a whole, so one codec is for all columns. By default it is compressed if the
    dataset has frames.
    """

    FORMAT: ClassVar[str] = "arrow"
    COMMITS: ClassVar[tuple[str, ...]] = (CHANGES_NAME,)
    CODECS: ClassVar[Codecs] = {"lz4": None, "zstd": range(1, 23)}
    FRAME_CODEC: ClassVar[Codec | None] = Codec("zstd", 1)
    FILES: ClassVar[re.Pattern[str] | None] = re.compile(r"\d+")  # a directory for each episode
    _files: ClassVar[TableFiles] = ARROW

    def __init__(self, data_path: Path, metadata: DatasetMetadata) -> None:
        super().__init__(data_path, metadata)
        self._take_codec()
        self._size = SizeCache(
            data_path, lambda: sum(sum(self._reader.file_sizes(i).values()) for i in range(self.total_episodes))
        )

    def _take_codec(self) -> None:
        spaces = (self.episode_codec.observations, self.episode_codec.actions)
        layout = TableLayout(spaces, self._frames() if self.has_byte_frames else ())
        self._reader = EpisodeReader(self.data_path, self._files, layout, on_change=self.forget_metadata)

    def _frames(self) -> frozenset[ColumnPath]:
        """Return the paths of the frames."""
        return compression_of(type(self), self.episode_codec, None, self.jpeg_encoding, self.frame_stack).frames

    @classmethod
    def check_codec(cls, codec: Codec) -> None:
        """Check that the format can compress with a codec, here and now.

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
        """Check that the format can carry out a choice.

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

    # Reading

    def _count_episodes(self) -> int:
        total = self._metadata.total_episodes  # further directories belong to a writer that did not finish
        self._reader.check_total(total)
        return total

    def has_file(self, name: str) -> bool:
        """Return whether a directory is that of an episode, and not beyond their number."""
        return len(name) <= _MOST_DIGITS and int(name) < self.total_episodes

    def _read_columns(self, indices: Iterable[int]) -> Iterator[tuple[int, Columns]]:
        return self._reader.columns(indices, self.verify_checksums)

    def _view_columns(self, indices: Iterable[int]) -> Iterator[tuple[int, Columns]]:
        return self._reader.views(indices, self.verify_checksums)

    def _read_episode_metadata(self, indices: Iterable[int]) -> Iterator[dict[str, Any]]:
        for index, (metadata, _) in self._reader.metadata(indices, self.verify_checksums):
            yield {**metadata, "id": index}

    def _episodes_without_checksums(self, indices: Iterable[int]) -> list[int]:
        found = self._reader.metadata(indices, self.verify_checksums)
        return [index for index, (_, checksums) in found if checksums is None]

    # Writing

    @contextmanager
    def _writer(self) -> Iterator[ArrowWriter]:
        with open_staged_directory(self.data_path, durable=self.durable) as staged:
            self._reader.refresh()
            context = WriterContext(self._reader, self.total_episodes, self._size, self._codec_for, self._reader_of)
            yield ArrowWriter(context, staged)

    def _reader_of(self, storage: StorageCore) -> EpisodeReader | None:
        if not isinstance(storage, ArrowStorage) or type(storage) is not type(self):
            return None
        return storage._reader if storage.has_byte_frames == self.has_byte_frames else None

    def _add_missing_checksums(self) -> int:
        missing = self._episodes_without_checksums(range(self.total_episodes))
        if missing:
            with self._writer() as writer:
                for index in missing:
                    writer.add_checksums(index, self.verify_checksums)
                writer.finish()
                writer.commit(self.current_metadata)
        return len(missing)


class ParquetStorage(ArrowStorage):
    """Episodes in Parquet files, compressed column by column.

    By default only frames are compressed. Each is one binary value, unless earlier releases are to read the dataset:
    then it is a list of numbers, of which Parquet stores each with 32 bits and a level.
    """

    FORMAT: ClassVar[str] = "parquet"
    CODECS: ClassVar[Codecs] = {
        "snappy": None,
        "gzip": range(1, 10),
        "zstd": range(1, 23),
        "lz4": None,
        "brotli": range(12),
    }
    BYTE_FRAMES: ClassVar[bool] = True
    _files: ClassVar[TableFiles] = PARQUET

    def _codec_for(self, path: ColumnPath) -> Codec | None:
        codec = super()._codec_for(path)
        is_default = self.compression is None and codec == self.FRAME_CODEC
        return _OF_FRAMES_IN_LISTS if is_default and not self.has_byte_frames else codec
