"""Writes episodes into a staged directory in one transaction."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from minari._base.files import Directory
from minari._base.lazy import cached_property
from minari._model.metadata import DatasetMetadata
from minari._storages.core import EpisodeWriter
from minari._storages.journal import write_all
from minari._storages.staged_directory import StagedDirectory
from minari._storages.zarr.appender import Put, StoreAppender, WriterContext
from minari._storages.zarr.layout import STORE_NAME
from minari._storages.zarr.reader import StoreReader
from minari._storages.zarr.store import Arrays, DirectoryStore
from minari.spaces import EpisodeColumns


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

    @cached_property
    def _reader(self) -> StoreReader:
        """The store before the change, which is not opened to change only the metadata of the dataset."""
        return StoreReader(Arrays(DirectoryStore(self._store)), 0) if self._rewriting else self._context.open_reader()

    def append(self, first_index: int, episodes: Sequence[EpisodeColumns]) -> None:
        if self._appender is None:
            self._appender = self._new_appender(self._store, self._reader)
        for episode in episodes:
            self._appender.add(episode)

    def replace(self, index: int, episode: EpisodeColumns) -> None:
        self._replaced[index] = episode

    def update_metadata(self, index: int, metadata: Mapping[str, Any]) -> None:
        self._metadata[index] = {**self._metadata.get(index, {}), **metadata}

    def finish(self) -> int:
        if self._appender is not None:
            self._appender.finish()
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
        return self._context.appender(put_into(store, self._staged), reader)

    def _renew_metadata(self) -> None:
        reader = self._reader
        appender = self._new_appender(self._store, reader)
        appender.renew_metadata(
            {**reader.metadata(index), **self._metadata.get(index, {})} for index in range(reader.episodes)
        )
        appender.finish()
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
        shutil.rmtree(self._store, ignore_errors=True)
        fresh.rename(self._store)
        self._staged.replace(STORE_NAME)


def put_into(store: Path, staged: StagedDirectory | None = None) -> Put:
    """Return a function that stores files in a staged directory, where it follows no links.

    Args:
        store: the store in the staged directory.
        staged: records the files; the processes that write parts leave that to the one that commits.
    """

    def put(key: str, parts: Sequence[memoryview]) -> None:
        store.parent.mkdir(parents=True, exist_ok=True)
        with Directory(store.parent) as directory:
            descriptor = directory.create(f"{store.name}/{key}", os.O_WRONLY)
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            file.truncate()
            for part in parts:
                write_all(file, part)
        if staged is not None:
            staged.record(f"{STORE_NAME}/{key}", parts)

    return put
