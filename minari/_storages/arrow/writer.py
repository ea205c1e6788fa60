"""Changes to the episodes of an Arrow or Parquet dataset, in one transaction."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from minari._base.files import FilesBeneath
from minari._base.parallel import in_threads
from minari._model.metadata import DatasetMetadata
from minari._storages.arrow import metadata as arrow_metadata
from minari._storages.arrow.metadata import METADATA_NAME, Checksums
from minari._storages.arrow.tables import TableWriter
from minari._storages.core import EpisodeWriter, StorageCore
from minari._storages.journal import WRITTEN_AT_ONCE
from minari._storages.staged_directory import FolderChanges, changes_to
from minari.spaces import EpisodeColumns


if TYPE_CHECKING:
    from minari._storages.arrow.storage import ArrowStorage

# Episodes are written several at a time, since making a folder with two files is mostly waiting.
_AT_A_TIME: Final = 128
_BY_A_THREAD: Final = 32
_HELD_BYTES: Final = 16 * 2**20
_TO_WRITE: Final = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0)


class ArrowWriter(EpisodeWriter):
    """Writes the folders of episodes; made by :func:`open_writer`."""

    def __init__(self, storage: ArrowStorage, changes: FolderChanges) -> None:
        self._storage, self._changes = storage, changes
        self._root = str(storage.data_path)
        self._tables: TableWriter | None = None
        self._held: dict[int, Mapping[str, Any]] = {}  # episodes, each with the bytes of its files
        self._held_bytes = 0
        self._sizes: dict[int, dict[str, int]] = {}  # of the files of each episode that is changed
        self._whole: set[int] = set()  # episodes that are replaced with all their files
        self._total: int | None = None

    def append(self, first_index: int, episodes: Sequence[EpisodeColumns]) -> None:
        for index, episode in enumerate(episodes, first_index):
            self.replace(index, episode)

    def replace(self, index: int, episode: EpisodeColumns) -> None:
        data = self._table_writer().encode(episode)
        checksums = Checksums.of(episode.total_steps, data, episode.columns)
        self._put(index, data, arrow_metadata.to_json(index, episode.total_steps, episode.metadata, checksums))

    def copy_from(self, first_index: int, storage: StorageCore, indices: Sequence[int]) -> bool:
        if type(storage) is not type(self._storage):
            return False
        stored = [found for _, found in storage._settled(storage._stored, indices)]
        if not all(self._table_writer().takes(schema) for _, schema, _, _ in stored):
            return False  # other programs read the tables of all episodes as one
        for index, (data, _, metadata, checksums) in enumerate(stored, first_index):
            self._put(index, data, arrow_metadata.to_json(index, metadata["total_steps"], metadata, checksums))
        return True

    def _table_writer(self) -> TableWriter:
        if self._tables is None:
            self._tables = self._storage._table_writer()
        return self._tables

    def _put(self, index: int, data: Any, text: str) -> None:
        """Take the file of a whole episode, and the text of its metadata."""
        if index not in self._whole and os.access(f"{self._root}/{index}", os.F_OK):
            self._changes.staged.mkdir(exist_ok=True)
            self._changes.take_the_place_of(self._changes.staged / str(index))  # with all parts by other writers
            self._whole.add(index)
        self._hold(index, {self._storage._files.name: data, METADATA_NAME: text.encode("utf-8")})

    def update_metadata(self, index: int, metadata: Mapping[str, Any]) -> None:
        known, checksums = self._known(index)
        self._put_metadata(index, {**known, **metadata}, checksums)

    def add_checksums(self, index: int) -> None:
        """Make the checksums of an episode that is stored without."""
        ((_, (data, columns)),) = self._storage._settled(self._storage._data_and_columns, [index])
        known, _ = self._known(index)
        self._put_metadata(index, known, Checksums.of(known["total_steps"], data, columns))

    def _known(self, index: int) -> tuple[dict[str, Any], Checksums | None]:
        """The metadata of an episode and its checksums, as they are staged or stored."""
        if index in self._held:
            self._write_held()
        staged = self._changes.staged
        name = f"{index}/{METADATA_NAME}"
        with FilesBeneath(str(staged) if (staged / name).exists() else self._root) as files:
            return arrow_metadata.read(files, name)

    def _put_metadata(self, index: int, metadata: Mapping[str, Any], checksums: Checksums | None) -> None:
        text = arrow_metadata.to_json(index, metadata["total_steps"], metadata, checksums)
        self._hold(index, {METADATA_NAME: text.encode("utf-8")})

    def _hold(self, index: int, files: Mapping[str, Any]) -> None:
        if index in self._held:
            self._write_held()
        sizes = {name: len(data) for name, data in files.items()}
        self._sizes.setdefault(index, {}).update(sizes)
        self._held[index] = files
        self._held_bytes += sum(sizes.values())
        if len(self._held) >= _AT_A_TIME or self._held_bytes >= _HELD_BYTES:
            self._write_held()

    def _write_held(self) -> None:
        if self._held:
            self._changes.staged.mkdir(exist_ok=True)
            in_threads(self._write, self._held.items(), _BY_A_THREAD)
        self._held, self._held_bytes = {}, 0

    def _write(self, episode: tuple[int, Mapping[str, Any]]) -> None:
        index, files = episode
        folder = self._changes.staged / str(index)
        folder.mkdir(exist_ok=True)
        for name, data in files.items():
            _write_file(f"{folder}{os.sep}{name}", data)
            self._changes.note(f"{index}/{name}", [data])

    def finish(self) -> int:
        self._write_held()
        total, stored_episodes = self._storage._size(), self._storage.total_episodes
        for index, sizes in self._sizes.items():
            total += sum(sizes.values())
            if index < stored_episodes:
                stored = self._storage._file_sizes(index)
                total -= sum(size for name, size in stored.items() if index in self._whole or name in sizes)
        self._total = total
        return total

    def commit(self, metadata: DatasetMetadata) -> None:
        self._changes.commit(metadata.to_json())
        if self._total is not None:
            self._storage._known_size.remember(self._total)


def _write_file(path: str, data: Any) -> None:
    descriptor = os.open(path, _TO_WRITE, 0o666)
    try:
        view = memoryview(data)
        while view:  # the system may take less than it is given
            view = view[os.write(descriptor, view[:WRITTEN_AT_ONCE]) :]
    finally:
        os.close(descriptor)


@contextmanager
def open_writer(storage: ArrowStorage) -> Iterator[ArrowWriter]:
    """The only writer of a dataset, until the context ends.

    Raises:
        DatasetBusyError: another program is writing the dataset.
    """
    with changes_to(storage.data_path, durable=storage.durable) as changes:
        storage._look_for_changes()
        yield ArrowWriter(storage, changes)
