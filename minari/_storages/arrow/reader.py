"""Reads the directories of episodes, also while another program is replacing them."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar

from minari._base.files import FilesBeneath
from minari._storages.arrow import metadata as episode_metadata
from minari._storages.arrow.files import TableFiles, read_part, view_part
from minari._storages.arrow.library import Schema
from minari._storages.arrow.metadata import METADATA_NAME, Checksums
from minari._storages.arrow.schema import TableLayout
from minari._storages.arrow.tables import TableReader
from minari._storages.metadata_file import DatasetState, state_of
from minari._storages.staged_directory import StagedOverlay, staged_overlay
from minari.errors import DatasetCorruptError
from minari.spaces import Columns


T = TypeVar("T")

#: The number of bytes that are being decompressed, and a function that waits for the result.
_Begun: TypeAlias = tuple[int, Callable[[], T]]

_MOST_AHEAD: Final = 2  # episodes
_MOST_BYTES_AHEAD: Final = 2**26


@dataclass(frozen=True, slots=True)
class StoredEpisode:
    """An episode as it is stored.

    Attributes:
        data: the bytes of its table.
        schema: of the table.
        metadata: with ``id`` and ``total_steps``.
        checksums: of the episode, None if it has none.
    """

    data: Any
    schema: Schema
    metadata: dict[str, Any]
    checksums: Checksums | None


class EpisodeReader:
    """The episodes of a dataset, each a directory with a table and its metadata.

    Args:
        data_path: the directory of the data.
        files: how tables are stored.
        layout: of the tables.
        on_change: called when a commit is found that is not in place, which also changes the metadata.

    Attributes:
        data_path: the directory of the data.
        files: how tables are stored.
        layout: of the tables.
    """

    def __init__(self, data_path: Path, files: TableFiles, layout: TableLayout, on_change: Callable[[], None]) -> None:
        self.data_path, self.files, self.layout = data_path, files, layout
        self._on_change = on_change
        self._root = str(data_path)
        self._tables = TableReader(layout, files)
        self._overlay: StagedOverlay | None = None
        self._state: DatasetState | None = None
        self._known_steps: dict[int, int] = {}  # the lengths of episodes in that state
        self.refresh()

    def refresh(self) -> None:
        """Notice that episodes may have changed; a writer that is moving a commit into place is waited for."""
        state = state_of(self.data_path)
        if state != self._state:
            if state.commit is not None:
                self._on_change()
            self._overlay = None if state.commit is None else staged_overlay(self.data_path)
            self._state, self._known_steps = state, {}

    def check_total(self, total: int) -> None:
        """Check that there is a directory for each episode of the metadata.

        Raises:
            DatasetCorruptError: one is missing.
        """
        try:
            with os.scandir(self.data_path) as entries:
                names = {entry.name for entry in entries if entry.name.isdecimal()}
        except OSError as error:
            raise DatasetCorruptError(f"The directory {self.data_path} cannot be read ({error}).") from error
        if self._overlay is not None:
            names |= self._overlay.names()
        for index in range(total):
            if str(index) not in names:
                raise DatasetCorruptError(
                    f"The metadata of {self.data_path} claims {total} episodes, and the directory "
                    f"{self._directory(index)} is missing; copy or download the dataset again."
                )

    def columns(self, indices: Iterable[int], verify: bool) -> Iterator[tuple[int, Columns]]:
        """Yield the columns of each episode, which belong to the caller.

        Args:
            indices: the numbers of the episodes.
            verify: compare everything with its checksums.

        Raises:
            DatasetCorruptError: a file is missing or damaged.
            ChecksumError: something is not as it was written.
        """
        for index, (_, columns) in self.tables(indices, verify):
            yield index, columns

    def views(self, indices: Iterable[int], verify: bool) -> Iterator[tuple[int, Columns]]:
        """Yield the columns of each episode as views of its file wherever values are stored as they are."""
        for index, (_, columns) in self._settled(partial(self._begin_table, view_part, verify), indices):
            yield index, columns

    def tables(self, indices: Iterable[int], verify: bool) -> Iterator[tuple[int, tuple[Any, Columns]]]:
        """Yield the bytes of the table of each episode, and its columns."""
        return self._settled(partial(self._begin_table, read_part, verify), indices)

    def metadata(
        self, indices: Iterable[int], verify: bool
    ) -> Iterator[tuple[int, tuple[dict[str, Any], Checksums | None]]]:
        """Yield the metadata of each episode, and its checksums if it has any."""
        return self._settled(partial(_at_once, partial(self._metadata, verify)), indices)

    def stored(self, indices: Iterable[int], verify: bool) -> Iterator[tuple[int, StoredEpisode]]:
        """Yield each episode as it is stored, without decoding its table."""
        return self._settled(partial(_at_once, partial(self._stored, verify)), indices)

    def schema(self, index: int) -> Schema:
        """Return the schema of the table of an episode."""
        with FilesBeneath(self._root) as files:
            data = read_part(files, self._name(index, self.files.name))
        return self.files.schema(data, self._path(index))

    def file_sizes(self, index: int) -> Mapping[str, int]:
        """Return the number of bytes of each file of an episode."""
        directory = self._directory(index)
        try:
            with os.scandir(directory) as entries:
                files = [entry for entry in entries if entry.is_file(follow_symlinks=False)]
                return {entry.name: entry.stat(follow_symlinks=False).st_size for entry in files}
        except OSError as error:
            raise DatasetCorruptError(
                f"The directory {directory} of an episode cannot be read ({error}); copy or download the dataset again."
            ) from error

    def _settled(self, begin: Callable[[int], _Begun[T]], indices: Iterable[int]) -> Iterator[tuple[int, T]]:
        """Read episodes one by one, and again if their files were being replaced meanwhile.

        While an episode is decompressed in other threads, the next ones are begun.
        """
        self.refresh()
        begun: deque[tuple[int, _Begun[T]]] = deque()
        for index in indices:
            begun.append((index, _begun(begin, index)))
            sizes = [size for _, (size, _) in begun]
            while begun and (sizes[0] == 0 or len(sizes) > _MOST_AHEAD or sum(sizes) > _MOST_BYTES_AHEAD):
                yield self._finished(begin, *begun.popleft())
                del sizes[0]
        while begun:
            yield self._finished(begin, *begun.popleft())

    def _finished(self, begin: Callable[[int], _Begun[T]], index: int, begun: _Begun[T]) -> tuple[int, T]:
        finish = begun[1]
        while True:
            state = self._state
            try:
                return index, finish()
            except DatasetCorruptError:
                self.refresh()
                if state == self._state:
                    raise
            finish = _begun(begin, index)[1]

    def _directory(self, index: int) -> str:
        return f"{self._root}{os.sep}{index}"

    def _path(self, index: int) -> str:
        """Return the path of the table of an episode, for messages."""
        return f"{self._root}{os.sep}{index}{os.sep}{self.files.name}"

    def _name(self, index: int, name: str) -> str:
        """Return the name that a file of an episode has now, relative to the data."""
        place = f"{index}/{name}"
        return place if self._overlay is None else self._overlay.name(place)

    def _metadata(self, verify: bool, index: int) -> tuple[dict[str, Any], Checksums | None]:
        with FilesBeneath(self._root) as files:
            return episode_metadata.read(files, self._name(index, METADATA_NAME), verify=verify)

    def _stored(self, verify: bool, index: int) -> StoredEpisode:
        with FilesBeneath(self._root) as files:
            data = read_part(files, self._name(index, self.files.name))
            metadata, checksums = episode_metadata.read(files, self._name(index, METADATA_NAME), verify=verify)
        path = self._path(index)
        if checksums is not None and verify:
            checksums.check_file(data, path)
        return StoredEpisode(data, self.files.schema(data, path), metadata, checksums)

    def _begin_table(
        self, read: Callable[[FilesBeneath, str], Any], verify: bool, index: int
    ) -> _Begun[tuple[Any, Columns]]:
        known_steps = self._known_steps
        total_steps, checksums = known_steps.get(index), None
        with FilesBeneath(self._root) as files:
            if total_steps is None or verify:
                metadata, checksums = episode_metadata.read(files, self._name(index, METADATA_NAME), verify=verify)
                total_steps = known_steps[index] = metadata["total_steps"]
            data = read(files, self._name(index, self.files.name))
        path = self._path(index)
        if checksums is not None and verify:
            checksums.check_file(data, path)
        size, finish = self._tables.begin(data, path, total_steps + 1)

        def finished() -> tuple[Any, Columns]:
            columns = finish()
            if checksums is not None and verify:
                checksums.check_columns(columns, index, path)
            return data, columns

        return size, finished


def _at_once(read: Callable[[int], T], index: int) -> _Begun[T]:
    found = read(index)
    return 0, lambda: found


def _begun(begin: Callable[[int], _Begun[T]], index: int) -> _Begun[T]:
    """Begin to read an episode; what fails already does so when it is its turn."""
    try:
        return begin(index)
    except DatasetCorruptError as error:
        problem = error

    def fail() -> T:
        raise problem

    return 0, fail
