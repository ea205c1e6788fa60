"""Changes to the episodes of an Arrow or Parquet dataset, in one transaction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minari.dataset._storages import arrow_metadata
from minari.dataset._storages.arrow_changes import FolderChanges, changes_to
from minari.dataset._storages.arrow_metadata import METADATA_NAME
from minari.dataset.metadata import DatasetMetadata
from minari.dataset.minari_storage import EpisodeWriter
from minari.spaces import EpisodeColumns


if TYPE_CHECKING:
    from minari.dataset._storages.arrow_storage import ArrowStorage


class ArrowWriter(EpisodeWriter):
    """Writes the folders of episodes; made by :func:`open_writer`."""

    def __init__(self, storage: ArrowStorage, changes: FolderChanges) -> None:
        self._storage, self._changes = storage, changes
        self._schema: Any = None
        self._total: int | None = None

    def append(self, first_index: int, episodes: Sequence[EpisodeColumns]) -> None:
        for index, episode in enumerate(episodes, first_index):
            self.replace(index, episode)

    def replace(self, index: int, episode: EpisodeColumns) -> None:
        text = arrow_metadata.to_json(index, episode.total_steps, episode.metadata)
        if self._schema is None:
            self._schema = self._storage._last_schema()
        table = self._storage._layout.encode(episode, like=self._schema)
        if self._schema is None:
            self._schema = table.schema
        folder = self._staged(index)
        self._storage._files.write(table, folder / self._storage._files.name)
        (folder / METADATA_NAME).write_text(text, encoding="utf-8")

    def update_metadata(self, index: int, metadata: Mapping[str, Any]) -> None:
        file = self._staged(index) / METADATA_NAME
        known = arrow_metadata.read(file if file.exists() else self._storage._folder(index) / METADATA_NAME)
        text = arrow_metadata.to_json(index, known["total_steps"], {**known, **metadata})
        file.write_text(text, encoding="utf-8")

    def _staged(self, index: int) -> Path:
        folder = self._changes.staged / str(index)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def size(self) -> int:
        total = self._storage._size()
        for staged, place in self._changes.episodes():
            for file in staged.iterdir():
                old = place / file.name
                total += file.stat().st_size - (old.stat().st_size if old.exists() else 0)
        self._total = total
        return total

    def commit(self, metadata: DatasetMetadata) -> None:
        self._changes.commit(metadata.to_json())
        if self._total is not None:
            self._storage._remember_size(self._total)


@contextmanager
def open_writer(storage: ArrowStorage) -> Iterator[ArrowWriter]:
    """The only writer of a dataset, until the context ends.

    Raises:
        DatasetBusyError: another program is writing the dataset.
    """
    with changes_to(storage.data_path) as changes:
        yield ArrowWriter(storage, changes)
