"""Appends episodes to a Zarr dataset in a store that fsspec knows, such as a bucket.

Such a store can rename nothing, and only single files appear atomically. So all files are written
first that the metadata of the dataset does not include yet, and the metadata last: a reader before
that finds the old episodes, and the next writer overwrites rows of a writer that did not finish.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from minari._base.files import METADATA_FILE_NAME, relative_parts
from minari._model.metadata import DatasetMetadata
from minari._storages.core import EpisodeWriter
from minari._storages.metadata_file import stamp_of
from minari._storages.paths import put_file
from minari._storages.zarr.appender import StoreAppender, WriterContext
from minari._storages.zarr.zarr_python import store_errors
from minari.errors import DatasetBusyError, MetadataError
from minari.spaces import EpisodeColumns


class RemoteWriter(EpisodeWriter):
    """Appends, and refuses changes that cannot be atomic.

    The caller has to make sure that it is the only writer, since remote stores have no locks.

    Args:
        context: the dataset.
    """

    def __init__(self, context: WriterContext) -> None:
        self._context = context
        self._stamp = stamp_of(context.data_path)
        self._appender: StoreAppender | None = None

    def append(self, first_index: int, episodes: Sequence[EpisodeColumns]) -> None:
        if self._appender is None:
            self._appender = self._context.appender(partial(_RemoteFile, self._put), is_fixed=True)
        for episode in episodes:
            self._appender.add(episode)

    def replace(self, index: int, episode: EpisodeColumns) -> None:
        raise refusal(self._context.data_path)

    def update_metadata(self, index: int, metadata: Mapping[str, Any]) -> None:
        raise refusal(self._context.data_path)

    def finish(self) -> int:
        if self._appender is not None:
            self._appender.finish()
        store: Any = self._context.store_path
        with store_errors(store):
            store.fs.invalidate_cache(store.path)
            return int(store.fs.du(store.path)) if store.exists() else 0

    def commit(self, metadata: DatasetMetadata) -> None:
        self._check_alone()
        with store_errors(self._context.data_path):
            put_file(self._context.data_path / METADATA_FILE_NAME, metadata.to_json())

    def _put(self, key: str, content: bytes) -> None:
        if not key.endswith("zarr.json"):  # before each shard, since overwriting loses it
            self._check_alone()
        file: Any = self._context.store_path / "/".join(relative_parts(key))
        with store_errors(file):
            file.fs.pipe_file(file.path, content)

    def _check_alone(self) -> None:
        path = self._context.data_path
        if stamp_of(path) != self._stamp:
            raise DatasetBusyError(
                f"Another program has changed {path} meanwhile, and a remote store has no lock; append again, one "
                f"program at a time."
            )


class _RemoteFile:
    """A file that is put into a store when it is complete.

    Args:
        put: stores it.
        key: of the file.
    """

    def __init__(self, put: Callable[[str, bytes], None], key: str) -> None:
        self._put, self._key = put, key
        self._parts: list[bytes] = []

    def write(self, parts: Sequence[memoryview]) -> None:
        self._parts += map(bytes, parts)

    def finish(self) -> None:
        self._put(self._key, b"".join(self._parts))
        self._parts.clear()


def refusal(path: Path) -> MetadataError:
    """Return the error about a change that cannot be atomic in a remote store."""
    return MetadataError(
        f"{path} is a remote store, to which episodes can be appended, and where nothing that is there can be changed "
        f"all at once; copy the dataset to a local directory, change it there, and copy it back."
    )
