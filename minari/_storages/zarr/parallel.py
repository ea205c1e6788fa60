"""Many episodes written by several processes at once, each into shards of its own, and committed together.

It takes the lengths of the episodes, since they say where every step will lie. All arrays with one
row a step have shards of the same steps, so that a part, which is some whole shards, is the affair of
one process alone. What is not a row a step (last observations, texts, metadata) is handed to the
process that commits, in a file beside the shards.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from minari._base.files import Directory
from minari._model.episode_buffer import EpisodeBuffer
from minari._storages.base import MinariStorage
from minari._storages.staged_directory import FolderChanges, changes_to
from minari._storages.write_session import with_jpeg
from minari._storages.zarr.appender import StoreAppender
from minari._storages.zarr.layout import Table
from minari._storages.zarr.remainders import Rest, read_records, to_record
from minari._storages.zarr.writer import STORE_NAME, put_into
from minari.errors import DatasetCorruptError, EpisodeError, MinariError
from minari.spaces import EpisodeColumns


if TYPE_CHECKING:
    from minari._storages.zarr.storage import ZarrStorage

#: An episode as a collector has it, or as it is stored.
Episode: TypeAlias = EpisodeBuffer | EpisodeColumns

_RESTS: Final = ".parts"  # the folder of what is handed over


@dataclass(frozen=True, slots=True)
class Part:
    """Some whole shards of episodes to be written; fit to be sent to another process.

    Attributes:
        number: of the part, from 0.
        episodes: which of the new episodes have steps in it, the first of them counting as 0. The
            first and the last may lie in other parts too.
    """

    number: int
    episodes: range
    _data_path: str
    _token: str  # of the change, which tells it from others
    _starts: tuple[int, ...]  # of these episodes in the arrays, and the end of the last
    _first: int  # step of the arrays
    _stop: int
    _table: dict[str, Any]

    def write(self, episodes: Iterable[Episode]) -> None:
        """Write the steps of the part; nothing is seen before the parts are committed.

        Args:
            episodes: those of :attr:`episodes`, in order.

        Raises:
            EpisodeError: an episode has another length than was said, or a column that no episode had
                which the parts were planned for.
        """
        storage: Any = MinariStorage.read(self._data_path)
        rest = self._rest()
        unfinished = rest.with_suffix(".unfinished")
        put_staged = put_into(rest.parents[1] / STORE_NAME)

        def put(key: str, parts: Sequence[memoryview]) -> None:
            if not unfinished.exists():  # the change was given up, and what is staged now is another one
                raise EpisodeError(f"Part {self.number} is no longer wanted, since the writing of parts has ended.")
            put_staged(key, parts)

        appender: StoreAppender = storage._appender_of_part(put, Table.from_json(self._table))
        columns = appender.table.columns
        with Directory(rest.parents[1]) as staged, staged.directory(_RESTS) as rests:
            descriptor = rests.create(unfinished.name, os.O_WRONLY)
        with os.fdopen(descriptor, "wb") as file:
            file.truncate()
            count = 0
            for count, given in enumerate(episodes, 1):
                episode = _columns_of(storage, given)
                start = self._start_of(count - 1, episode)
                others = appender.add_steps(episode, start, self._first, self._stop)
                if start >= self._first:  # otherwise the part before hands it over
                    file.writelines(to_record(others, columns))
            if count != len(self.episodes):
                raise EpisodeError(f"Part {self.number} was given {count} episodes, expected {len(self.episodes)}.")
            appender.flush()
        unfinished.replace(rest)

    def _rest(self) -> Path:
        """What the part hands over."""
        return FolderChanges(Path(self._data_path)).staged / _RESTS / f"{self._token}-{self.number}"

    def _start_of(self, place: int, episode: EpisodeColumns) -> int:
        """Where the steps of an episode begin in the arrays."""
        if place >= len(self.episodes) or self._starts[place] + episode.total_steps != self._starts[place + 1]:
            raise EpisodeError(
                f"Part {self.number} was given an episode of {episode.total_steps} steps as its number {place}, which "
                f"is none of those whose lengths the parts were planned with."
            )
        return self._starts[place]


class Parts:
    """The parts of one change to a dataset; made by :func:`write_in_parts`.

    Attributes:
        parts: to be written, in any order and by any processes.
    """

    def __init__(self, storage: ZarrStorage, changes: FolderChanges, appender: StoreAppender, parts: list[Part]):
        self._storage, self._changes, self._appender = storage, changes, appender
        self._planned = len(appender.table.columns)
        self.parts = parts

    def commit(self) -> None:
        """Make all episodes visible at once.

        Raises:
            EpisodeError: a part has not been written; nothing is changed then.
        """
        for part in self.parts:
            for rest in self._rests(part):
                self._appender.add_rest(rest)
        self._appender.finish()
        totals = {"total_episodes": self._appender.episodes, "total_steps": self._appender.steps}
        metadata = self._storage.stored_metadata.updated(totals, allow_protected=True)
        metadata = metadata.with_size(self._storage._size() + self._changes.growth())
        self._changes.commit(metadata.to_json())

    def _rests(self, part: Part) -> Iterator[Rest]:
        """What a part hands over, of the episodes that begin in it."""
        path = part._rest()
        try:
            with Directory(path.parents[1]) as staged:
                descriptor = staged.open(f"{_RESTS}/{path.name}")
        except FileNotFoundError:
            message = f"Part {part.number} of {len(self.parts)} has not been written; write it first."
            raise EpisodeError(message) from None
        lengths = [b - a for a, b in pairwise(part._starts) if a >= part._first]
        columns = self._appender.table.columns[: self._planned]
        try:
            for rest, length in zip_longest(read_records(descriptor, columns), lengths):
                if rest is None or rest.total_steps != length:
                    raise ValueError(f"its episodes are not those of {len(lengths)} lengths that were planned")
                yield rest
        except ValueError as error:
            if isinstance(error, MinariError):
                raise
            raise DatasetCorruptError(
                f"What part {part.number} hands over in {path} is damaged ({error}); write the parts again."
            ) from error
        finally:
            os.close(descriptor)


@contextmanager
def write_in_parts(
    storage: ZarrStorage, lengths: Sequence[int], like: Iterable[Episode], count: int
) -> Iterator[Parts]:
    """Append episodes that several processes write at the same time.

    Args:
        storage: where they go.
        lengths: the number of steps of each new episode.
        like: episodes that together have every kind of column that is to come.
        count: how many parts there are to be; fewer where there are not so many shards.

    Raises:
        DatasetBusyError: another program is writing the dataset.
    """
    with changes_to(storage.data_path, durable=storage.durable) as changes:
        appender = storage._appender(put_into(changes.staged / STORE_NAME), is_fixed=True)
        appender.plan(_columns_of(storage, episode) for episode in like)
        (changes.staged / _RESTS).mkdir(parents=True)
        yield Parts(storage, changes, appender, _planned(storage, appender, lengths, count))


def _planned(storage: ZarrStorage, appender: StoreAppender, lengths: Sequence[int], count: int) -> list[Part]:
    if not len(lengths):
        return []
    token = os.urandom(6).hex()
    starts = appender.steps + np.concatenate([[0], np.cumsum(np.asarray(lengths, np.int64))])
    shard_rows = appender.table.shard_rows or 1
    first_shard, stop_shard = int(starts[0]) // shard_rows, -(-int(starts[-1]) // shard_rows)
    bounds = np.linspace(first_shard, stop_shard, min(count, stop_shard - first_shard) + 1).astype(np.int64)
    parts = []
    for number, (begin, end) in enumerate(zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)):
        first, stop = max(int(starts[0]), begin * shard_rows), min(int(starts[-1]), end * shard_rows)
        episodes = range(
            int(np.searchsorted(starts, first, side="right")) - 1, int(np.searchsorted(starts, stop, side="left"))
        )
        own = tuple(starts[episodes.start : episodes.stop + 1].tolist())
        parts.append(Part(number, episodes, str(storage.data_path), token, own, first, stop, appender.table.to_json()))
    return parts


def _columns_of(storage: MinariStorage, episode: Episode) -> EpisodeColumns:
    if isinstance(episode, EpisodeColumns):
        return episode
    return with_jpeg(storage, storage.episode_codec.encode(episode))
