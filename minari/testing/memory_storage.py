"""A minimal storage format that keeps its episodes in memory.

Other formats are compared with it, and it is a fast substitute in tests of other things. ``metadata.json`` is
on disk as usual; the episodes are lost when the process ends.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, TypeAlias

from minari._base.atomic import write_atomically
from minari._base.files import METADATA_FILE_NAME
from minari._base.locks import folder_lock
from minari._model.metadata import DatasetMetadata
from minari._storages.base import EpisodeWriter, MinariStorage
from minari._storages.registry import register_storage
from minari.spaces import Columns, EpisodeColumns


# A directory is identified by its inode and device, which it keeps when it is renamed, for example when a
# dataset is published.
_Directory: TypeAlias = tuple[int, int]

_stored: dict[_Directory, tuple[EpisodeColumns, ...]] = {}


def register_memory_storage() -> None:
    """Register the format ``"memory"``.

    Example:
        >>> from minari.dataset._storages import get_minari_storage
        >>> register_memory_storage()
        >>> get_minari_storage("memory")
        <class 'minari.testing.memory_storage.MemoryStorage'>
    """
    register_storage("memory", f"{__name__}:{MemoryStorage.__name__}", "minari")


class MemoryStorage(MinariStorage):
    """Episodes in a tuple, which a commit replaces."""

    FORMAT: ClassVar[str] = "memory"

    @property
    def _directory(self) -> _Directory:
        status = self.data_path.stat()
        return status.st_dev, status.st_ino

    @property
    def _episodes(self) -> tuple[EpisodeColumns, ...]:
        return _stored.get(self._directory, ())

    def _read_columns(self, indices: Iterable[int]) -> Iterator[tuple[int, Columns]]:
        episodes = self._episodes
        for index in indices:
            yield index, dict(episodes[index].columns)

    def _read_episode_metadata(self, indices: Iterable[int]) -> Iterator[dict[str, Any]]:
        episodes = self._episodes
        for index in indices:
            episode = episodes[index]
            yield {**copy.deepcopy(episode.metadata), "id": index, "total_steps": episode.total_steps}

    def _count_episodes(self) -> int:
        return len(self._episodes)

    @contextmanager
    def _writer(self) -> Iterator[EpisodeWriter]:
        with folder_lock(self.data_path):
            yield _MemoryWriter(self)


class _MemoryWriter(EpisodeWriter):
    def __init__(self, storage: MemoryStorage) -> None:
        self._storage = storage
        # A new dataset may be in a directory with the inode of a deleted one.
        self._episodes = list(storage._episodes[: storage.total_episodes])

    def append(self, first_index: int, episodes: Sequence[EpisodeColumns]) -> None:
        self._episodes[first_index:] = map(_frozen, episodes)

    def replace(self, index: int, episode: EpisodeColumns) -> None:
        self._episodes[index] = _frozen(episode)

    def update_metadata(self, index: int, metadata: Mapping[str, Any]) -> None:
        old = self._episodes[index]
        new = copy.deepcopy({**old.metadata, **metadata})
        self._episodes[index] = EpisodeColumns(old.total_steps, old.columns, new)

    def finish(self) -> int:
        return sum(column.nbytes for episode in self._episodes for column in episode.columns.values())

    def commit(self, metadata: DatasetMetadata) -> None:
        file = self._storage.data_path / METADATA_FILE_NAME
        write_atomically(file, metadata.to_json(), durable=self._storage.durable)
        _stored[self._storage._directory] = tuple(self._episodes)


def _frozen(episode: EpisodeColumns) -> EpisodeColumns:
    """Return the episode with its own read-only arrays."""
    columns = {path: column.copy() for path, column in episode.columns.items()}
    for column in columns.values():
        column.flags.writeable = False
    return EpisodeColumns(episode.total_steps, columns, copy.deepcopy(episode.metadata))
