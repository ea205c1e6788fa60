"""Changes to the episodes of a Zarr dataset in a folder, in one transaction."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from minari._base.files import Directory
from minari._model.metadata import DatasetMetadata
from minari._storages import journal as transaction
from minari._storages.base import EpisodeWriter
from minari._storages.staged_directory import FolderChanges, changes_to
from minari._storages.zarr.appender import StoreAppender
from minari._storages.zarr.reader import StoreReader
from minari._storages.zarr.store import Arrays, FolderStore
from minari._storages.zarr.stream import Put
from minari.spaces import EpisodeColumns


if TYPE_CHECKING:
    from minari._storages.zarr.storage import ZarrStorage

STORE_NAME: Final = "main_data.zarr"
_OF_METADATA = ("meta/episodes", "meta/json", "meta/json_ends")  # groups that are made anew as a whole


class ZarrWriter(EpisodeWriter):
    """Writes into a staged folder; made by :func:`open_writer`.

    Args:
        storage: whose episodes are changed.
        changes: to its folder.
        anew: whether the store begins without an episode, and takes the place of the one there is.
    """

    def __init__(self, storage: ZarrStorage, changes: FolderChanges, anew: bool) -> None:
        self._storage, self._changes = storage, changes
        self._store = changes.staged / STORE_NAME
        self._anew = anew
        self._appender: StoreAppender | None = None
        self._replaced: dict[int, EpisodeColumns] = {}
        self._metadata: dict[int, dict[str, Any]] = {}
        self._total: int | None = None  # bytes

    @cached_property
    def _reader(self) -> StoreReader:
        """Of what there is before, which a change of nothing but the dataset's metadata does not look at."""
        return StoreReader(Arrays(FolderStore(self._store)), 0) if self._anew else self._storage._reader(verify=True)

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
        self._write_rest()
        self._total = self._storage._size() + self._changes.growth()
        return self._total

    def commit(self, metadata: DatasetMetadata) -> None:
        self._changes.commit(metadata.to_json())
        if self._total is not None:
            self._storage._known_size.remember(self._total)

    def _new_appender(self, store: Path, reader: StoreReader) -> StoreAppender:
        return self._storage._appender(put_into(store, self._changes), reader)

    def _write_rest(self) -> None:
        if self._appender is not None:
            self._appender.finish()
        if self._store.exists() and not self._reader.episodes:  # whatever may lie there
            self._changes.take_the_place_of(self._store)
        if self._replaced or (self._metadata and self._appender is not None):
            self._rewrite()
        elif self._metadata:
            self._renew_metadata()

    def _renew_metadata(self) -> None:
        reader = self._reader
        appender = self._new_appender(self._store, reader)
        appender.renew_metadata(
            {**reader.metadata(index), **self._metadata.get(index, {})} for index in range(reader.episodes)
        )
        appender.finish()
        for group in _OF_METADATA:
            staged = self._store / group
            staged.mkdir(parents=True, exist_ok=True)
            self._changes.take_the_place_of(staged)

    def _rewrite(self) -> None:
        """All episodes into a new store, which takes the place of the old one."""
        total = self._reader.episodes if self._appender is None else self._appender.episodes
        folders = [self._store, self._storage._store_path] if self._reader.episodes else [self._store]
        reader = StoreReader(Arrays(FolderStore(*folders), verify=True), total)
        fresh = self._changes.staged / f".{STORE_NAME}.new"
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
        self._changes.take_the_place_of(self._store)


@contextmanager
def open_writer(storage: ZarrStorage, anew: bool = False) -> Iterator[ZarrWriter]:
    """The only writer of a dataset, until the context ends.

    Args:
        storage: of the dataset.
        anew: whether its episodes take the place of all that are there.

    Raises:
        DatasetBusyError: another program is writing the dataset.
    """
    with changes_to(storage.data_path, durable=storage.durable) as changes:
        yield ZarrWriter(storage, changes, anew)


def put_into(store: Path, changes: FolderChanges | None = None) -> Put:
    """Return what puts files into a staged directory, where no link is followed that somebody else may have put there.

    Args:
        store: the store in the staged directory.
        changes: takes note of the files; the processes of parts leave that to the one that commits.
    """
    staged = store.parent

    def put(key: str, parts: Sequence[memoryview]) -> None:
        staged.mkdir(parents=True, exist_ok=True)
        with Directory(staged) as directory:
            descriptor = directory.create(f"{store.name}/{key}", os.O_WRONLY)
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            file.truncate()
            for part in parts:
                transaction.write_all(file, part)
        if changes is not None:
            changes.note(f"{STORE_NAME}/{key}", parts)

    return put
