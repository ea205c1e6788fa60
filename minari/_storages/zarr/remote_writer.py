"""Episodes appended to a Zarr dataset in a store that fsspec knows, such as a bucket.

There nothing can be renamed, and only a file at a time appears whole. So everything is written first
that the metadata of the dataset do not speak of yet, and those in the end: who reads them before finds
what was there, and rows that a writer without an end has left are written over by the next one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minari._base.files import METADATA_FILE_NAME, relative_parts
from minari._model.metadata import DatasetMetadata
from minari._storages.base import EpisodeWriter
from minari._storages.metadata_file import stamp_of
from minari._storages.paths import put_file
from minari._storages.zarr.appender import StoreAppender
from minari._storages.zarr.store import store_errors
from minari.errors import DatasetBusyError, MetadataError
from minari.spaces import EpisodeColumns


if TYPE_CHECKING:
    from minari._storages.zarr.storage import ZarrStorage


class RemoteWriter(EpisodeWriter):
    """Appends, and refuses what cannot happen all at once; made by :func:`open_remote_writer`."""

    def __init__(self, storage: ZarrStorage) -> None:
        self._storage = storage
        self._stamp = stamp_of(storage.data_path)
        self._appender: StoreAppender | None = None

    def append(self, first_index: int, episodes: Sequence[EpisodeColumns]) -> None:
        if self._appender is None:
            self._appender = self._storage._appender(self._put, is_fixed=True)
        for episode in episodes:
            self._appender.add(episode)

    def replace(self, index: int, episode: EpisodeColumns) -> None:
        raise refusal(self._storage.data_path)

    def update_metadata(self, index: int, metadata: Mapping[str, Any]) -> None:
        raise refusal(self._storage.data_path)

    def finish(self) -> int:
        if self._appender is not None:
            self._appender.finish()
        store: Any = self._storage._store_path
        with store_errors(store):
            store.fs.invalidate_cache(store.path)
            return int(store.fs.du(store.path)) if store.exists() else 0

    def commit(self, metadata: DatasetMetadata) -> None:
        self._check_alone()
        with store_errors(self._storage.data_path):
            put_file(self._storage.data_path / METADATA_FILE_NAME, metadata.to_json())

    def _put(self, key: str, parts: Sequence[memoryview]) -> None:
        if not key.endswith("zarr.json"):  # before each shard, since one that is overwritten is lost
            self._check_alone()
        file: Any = self._storage._store_path / "/".join(relative_parts(key))
        with store_errors(file):
            file.fs.pipe_file(file.path, b"".join(parts))

    def _check_alone(self) -> None:
        path = self._storage.data_path
        if stamp_of(path) != self._stamp:
            raise DatasetBusyError(
                f"Another program has changed {path} meanwhile, and a remote store has no lock; append again, one "
                f"program at a time."
            )


@contextmanager
def open_remote_writer(storage: ZarrStorage) -> Iterator[RemoteWriter]:
    """A writer for a remote store; that there is no other one, the caller has to see to."""
    yield RemoteWriter(storage)


def refusal(path: Path) -> MetadataError:
    """What says that a change is none that a remote store can make all at once."""
    return MetadataError(
        f"{path} is a remote store, to which episodes can be appended, and where nothing that is there can be changed "
        f"all at once; copy the dataset to a folder, change it there, and copy it back."
    )
