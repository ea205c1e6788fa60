"""Writes episodes into a staged directory in one transaction."""

from __future__ import annotations

import os
import shutil
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, BinaryIO, Final

from minari._base.atomic import EarlyWriteBack
from minari._base.files import Directory
from minari._base.lazy import cached_property
from minari._model.metadata import DatasetMetadata
from minari._storages.core import EpisodeWriter
from minari._storages.journal import write_all
from minari._storages.staged_directory import ContentDigest, StagedDirectory
from minari._storages.zarr.appender import StoreAppender, WriterContext
from minari._storages.zarr.layout import STORE_NAME
from minari._storages.zarr.reader import StoreReader
from minari._storages.zarr.store import Arrays, DirectoryStore
from minari.spaces import EpisodeBatch, EpisodeColumns


#: Files that are open at a time, and may be on their way to the disk.
MOST_OPEN = 32
_METADATA_GROUPS: Final = ("meta/episodes", "meta/json", "meta/json_ends")


class ZarrWriter(EpisodeWriter):
    """Stages the files of a store that change.

    Args:
        context: the dataset.
        staged: the change to its files.
        rewriting: whether the episodes replace all that are there.
    """

    def __init__(self, context: WriterContext, staged: StagedDirectory, rewriting: bool) -> None:
        self._context, self._staged, self._rewriting = context, staged, rewriting
        self._store = staged.path / STORE_NAME
        self._appender: StoreAppender | None = None
        self._replaced: dict[int, EpisodeColumns] = {}
        self._metadata: dict[int, dict[str, Any]] = {}
        self._size = 0
        self._files = ExitStack()

    @cached_property
    def _reader(self) -> StoreReader:
        """The store before the change, which is not opened to change only the metadata of the dataset."""
        return StoreReader(Arrays(DirectoryStore(self._store)), 0) if self._rewriting else self._context.open_reader()

    def append(self, first_index: int, episodes: Sequence[EpisodeColumns]) -> None:
        if self._appender is None:
            self._appender = self._new_appender(self._store, self._reader)
        for episode in episodes:
            self._appender.add(episode)

    def append_batch(self, first_index: int, batch: EpisodeBatch) -> None:
        if self._appender is None:
            self._appender = self._new_appender(self._store, self._reader)
        self._appender.add_batch(batch)

    def close(self) -> None:
        """Close all files."""
        self._files.close()

    def replace(self, index: int, episode: EpisodeColumns) -> None:
        self._replaced[index] = episode

    def update_metadata(self, index: int, metadata: Mapping[str, Any]) -> None:
        self._metadata[index] = {**self._metadata.get(index, {}), **metadata}

    def finish(self) -> int:
        if self._appender is not None:
            self._appender.finish()
        self._files.close()
        if self._store.exists() and not self._reader.episodes:
            self._staged.replace(STORE_NAME)
        if self._replaced or (self._metadata and self._appender is not None):
            self._rewrite()
        elif self._metadata:
            self._renew_metadata()
        self._size = self._context.size.get() + self._staged.growth()
        return self._size

    def commit(self, metadata: DatasetMetadata) -> None:
        self._staged.commit(metadata.to_json())
        self._context.size.remember(self._size)

    def _new_appender(self, store: Path, reader: StoreReader) -> StoreAppender:
        files = self._files.enter_context(closing(StagedFiles(store, self._staged)))
        return self._context.appender(files.create, reader)

    def _renew_metadata(self) -> None:
        reader = self._reader
        appender = self._new_appender(self._store, reader)
        appender.renew_metadata(
            {**reader.metadata(index), **self._metadata.get(index, {})} for index in range(reader.episodes)
        )
        appender.finish()
        self._files.close()
        for group in _METADATA_GROUPS:
            self._staged.replace(f"{STORE_NAME}/{group}")

    def _rewrite(self) -> None:
        """Write all episodes to a new store, which replaces the old one."""
        total = self._reader.episodes if self._appender is None else self._appender.episodes
        directories = [self._store, self._context.store_path] if self._reader.episodes else [self._store]
        reader = StoreReader(Arrays(DirectoryStore(*directories), verify=True), total)
        fresh = self._staged.path / f".{STORE_NAME}.new"
        appender = self._new_appender(fresh, StoreReader(reader.arrays, 0))
        for first, stop in reader.runs(range(total)):
            for index, columns in zip(range(first, stop), reader.read(first, stop), strict=True):
                length = int(reader.ends[index + 1] - reader.ends[index])
                stored = self._replaced.get(index) or EpisodeColumns(length, columns, reader.metadata(index))
                metadata = {**stored.metadata, **self._metadata.get(index, {})}
                appender.add(EpisodeColumns(stored.total_steps, stored.columns, metadata))
        appender.finish()
        self._files.close()
        shutil.rmtree(self._store, ignore_errors=True)
        fresh.rename(self._store)
        self._staged.replace(STORE_NAME)


class StagedFiles:
    """New files of a store in a staged directory, where no links are followed.

    Only some of them are open at a time, those that were written to last.

    Args:
        store: the store in the staged directory.
        staged: records the files; the processes that write parts leave that to the one that commits.
    """

    def __init__(self, store: Path, staged: StagedDirectory | None = None) -> None:
        self._store, self._staged = store, staged
        self._open: OrderedDict[str, tuple[BinaryIO, EarlyWriteBack]] = OrderedDict()

    def create(self, key: str) -> _StagedFile:
        """Return a new file."""
        self._store.parent.mkdir(parents=True, exist_ok=True)
        self._opened(key)[0].truncate(0)
        return _StagedFile(key, self)

    def write(self, key: str, part: memoryview) -> None:
        """Write to the end of a file."""
        file, write_back = self._opened(key)
        write_all(file, part)
        write_back.written(len(part))

    def record(self, key: str, content: ContentDigest) -> None:
        """Record what is in a file."""
        if self._staged is not None:
            self._staged.record_digest(f"{STORE_NAME}/{key}", content)

    def _opened(self, key: str) -> tuple[BinaryIO, EarlyWriteBack]:
        if key not in self._open:
            with Directory(self._store.parent) as directory:
                descriptor = directory.create(f"{self._store.name}/{key}", os.O_WRONLY)
            file = os.fdopen(descriptor, "wb", buffering=0)
            file.seek(0, os.SEEK_END)
            self._open[key] = file, EarlyWriteBack(descriptor)
            while len(self._open) > MOST_OPEN:
                _close(*self._open.popitem(last=False)[1])
        self._open.move_to_end(key)
        return self._open[key]

    def close(self) -> None:
        """Wait until what is on its way to the disk is there.

        Raises:
            OSError: the system could not write it.
        """
        with ExitStack() as stack:
            while self._open:
                stack.callback(_close, *self._open.popitem()[1])


def _close(file: BinaryIO, write_back: EarlyWriteBack) -> None:
    try:
        write_back.wait()
    finally:
        file.close()


class _StagedFile:
    """A file that is written from its beginning to its end.

    Args:
        key: of the file.
        files: that it is one of.
    """

    def __init__(self, key: str, files: StagedFiles) -> None:
        self._key, self._files = key, files
        self._content = ContentDigest()

    def write(self, parts: Sequence[memoryview]) -> None:
        for part in parts:
            self._files.write(self._key, part)
            self._content.update(part)

    def finish(self) -> None:
        self._files.record(self._key, self._content)
