"""Concurrent writing of many episodes by several processes, each into shards of its own, committed together.

The lengths of the episodes are given beforehand and determine the place of every step. All arrays with
one row a step have shards of the same steps, so that only one process writes to the shards of a part.
Everything else (last observations, texts, metadata) is handed to the process that commits, in a file
beside the shards. There every episode is a record: two lengths and a checksum, a header in JSON, and the
bytes of its arrays one after the other. Their lengths and types follow from the table of columns, so
that reading a record trusts nothing in it.
"""

from __future__ import annotations

import json
import math
import os
import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import pairwise, zip_longest
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt
import xxhash

from minari._base.files import Directory
from minari._base.json_text import parse_json, shortened
from minari._model.episode_buffer import EpisodeBuffer
from minari._model.metadata import DEDUPLICATED
from minari._storages import json_metadata
from minari._storages.base import MinariStorage
from minari._storages.core import read_metadata
from minari._storages.staged_directory import STAGED_NAME, StagedDirectory, open_staged_directory
from minari._storages.zarr.appender import NewFile, Remainder, StoreAppender, WriterContext, arrays_of_remainder
from minari._storages.zarr.arrays import check_sizes
from minari._storages.zarr.layout import STORE_NAME, StoredColumn, Table
from minari._storages.zarr.writer import StagedFiles
from minari.errors import DatasetCorruptError, EpisodeError, MinariError
from minari.spaces import FRAMES, EpisodeColumns, path_name


#: An episode from a collector, or in its stored form.
Episode: TypeAlias = EpisodeBuffer | EpisodeColumns

_REMAINDERS: Final = ".parts"  # the directory of the files that parts hand over
_LENGTHS: Final = struct.Struct("<QQQ")  # of the header, of the arrays, and the checksum of both


@dataclass(frozen=True, slots=True)
class Part:
    """Some whole shards of episodes to be written; may be pickled and sent to another process.

    Attributes:
        number: of the part, from 0.
        episodes: which of the new episodes have steps in it, counted from 0. The first and the last may
            lie in other parts too.
        data_path: of the dataset.
        token: of the change, which identifies it.
        starts: the places of the first steps of these episodes in the arrays, and the end of the last.
        first: the place of the first step of the part.
        stop: the place after its last step.
        table: of the columns, as JSON.
    """

    number: int
    episodes: range
    data_path: str
    token: str
    starts: tuple[int, ...]
    first: int
    stop: int
    table: dict[str, Any]

    @property
    def remainder_path(self) -> Path:
        """The file of everything that is handed over."""
        return Path(self.data_path) / STAGED_NAME / _REMAINDERS / f"{self.token}-{self.number}"

    def write(self, episodes: Iterable[Episode]) -> None:
        """Write the steps of the part, which become visible when the parts are committed.

        Args:
            episodes: the episodes of :attr:`episodes`, in order.

        Raises:
            EpisodeError: an episode has another length than was planned, or a column that no episode
                had that the parts were planned with.
        """
        storage = MinariStorage.read(self.data_path)
        if not isinstance(storage, PartStorage):
            raise self._no_longer_wanted()
        storage.write_part(self, episodes)

    def write_with(self, context: WriterContext, episodes: Iterable[EpisodeColumns]) -> None:
        """Do the same for the storage of the dataset, with episodes that are encoded."""
        remainder_path = self.remainder_path
        unfinished = remainder_path.with_suffix(".unfinished")
        staged_path = remainder_path.parents[1]
        files = StagedFiles(staged_path / STORE_NAME)

        def create(key: str) -> NewFile:
            if not unfinished.exists():  # the change was given up, and another one is staged now
                raise self._no_longer_wanted()
            return files.create(key)

        appender = context.appender(create, is_fixed=True)
        appender.table = Table.from_json(self.table)
        columns = appender.table.columns
        with Directory(staged_path) as staged, staged.directory(_REMAINDERS) as remainders:
            descriptor = remainders.create(unfinished.name, os.O_WRONLY)
        with closing(files), os.fdopen(descriptor, "wb") as file:
            file.truncate()
            count = 0
            for count, episode in enumerate(episodes, 1):
                start = self._start_of(count - 1, episode)
                remainder = appender.add_steps(episode, start, self.first, self.stop)
                if start >= self.first:  # otherwise the previous part hands it over
                    file.writelines(to_record(remainder, columns))
            if count != len(self.episodes):
                raise EpisodeError(f"Part {self.number} was given {count} episodes, expected {len(self.episodes)}.")
            appender.flush()
        unfinished.replace(remainder_path)

    def _no_longer_wanted(self) -> EpisodeError:
        return EpisodeError(f"Part {self.number} is no longer wanted, since the writing of parts has ended.")

    def _start_of(self, place: int, episode: EpisodeColumns) -> int:
        """Return the place of the first step of an episode in the arrays."""
        if place >= len(self.episodes) or self.starts[place] + episode.total_steps != self.starts[place + 1]:
            raise EpisodeError(
                f"Part {self.number} was given an episode of {episode.total_steps} steps as its number {place}, which "
                f"is none of those whose lengths the parts were planned with."
            )
        return self.starts[place]


@runtime_checkable
class PartStorage(Protocol):
    """A storage that parts can be written to, as a process finds it that knows nothing but a part."""

    def write_part(self, part: Part, episodes: Iterable[Episode]) -> None:
        """Write the steps of a part; see :meth:`Part.write`."""


class Parts:
    """The parts of one change to a dataset; created by :func:`write_in_parts`.

    Args:
        context: the dataset.
        staged: the change to its files.
        appender: to the store.
        parts: of the change.

    Attributes:
        parts: the parts to be written, in any order and by any process.
    """

    def __init__(
        self, context: WriterContext, staged: StagedDirectory, appender: StoreAppender, parts: list[Part]
    ) -> None:
        self._context, self._staged, self._appender = context, staged, appender
        self._planned = len(appender.table.columns)
        self.parts = parts

    def commit(self) -> None:
        """Commit all episodes.

        Raises:
            EpisodeError: a part has not been written; nothing is changed.
        """
        metadata = read_metadata(self._context.data_path)
        with_frames = Counter(metadata.deduplicated)
        columns = self._appender.table.columns
        for part in self.parts:
            for remainder in self._remainders(part):
                self._appender.add_remainder(remainder)
                paths = [columns[number].kind.path for number in remainder.columns]
                with_frames.update(path_name(path[1:]) for path in paths if path[0] == FRAMES)
        self._appender.finish()
        totals: dict[str, Any] = {"total_episodes": self._appender.episodes, "total_steps": self._appender.steps}
        if with_frames:
            totals[DEDUPLICATED] = dict(with_frames)
        metadata = metadata.updated(totals, allow_protected=True)
        metadata = metadata.with_size(self._context.size.get() + self._staged.growth())
        self._staged.commit(metadata.to_json())

    def _remainders(self, part: Part) -> Iterator[Remainder]:
        """Read what a part hands over of the episodes that begin in it."""
        path = part.remainder_path
        try:
            with Directory(path.parents[1]) as staged:
                descriptor = staged.open(f"{_REMAINDERS}/{path.name}")
        except FileNotFoundError:
            message = f"Part {part.number} of {len(self.parts)} has not been written; write it first."
            raise EpisodeError(message) from None
        lengths = [b - a for a, b in pairwise(part.starts) if a >= part.first]
        columns = self._appender.table.columns[: self._planned]
        try:
            for remainder, length in zip_longest(read_records(descriptor, columns), lengths):
                if remainder is None or remainder.total_steps != length:
                    raise ValueError(f"its episodes are not those of {len(lengths)} lengths that were planned")
                yield remainder
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
    context: WriterContext, lengths: Sequence[int], like: Iterable[EpisodeColumns], count: int
) -> Iterator[Parts]:
    """Append episodes that several processes write concurrently.

    Args:
        context: the dataset.
        lengths: the number of steps of each new episode.
        like: episodes that together have every kind of column that is to come.
        count: the number of parts; fewer if there are not so many shards.

    Raises:
        DatasetBusyError: another program is writing to the dataset.
    """
    with (
        open_staged_directory(context.data_path, durable=context.durable) as staged,
        closing(StagedFiles(staged.path / STORE_NAME)) as files,
    ):
        appender = context.appender(files.create, is_fixed=True)
        appender.plan(like)
        (staged.path / _REMAINDERS).mkdir(parents=True)
        yield Parts(context, staged, appender, _planned(str(context.data_path), appender, lengths, count))


def _planned(data_path: str, appender: StoreAppender, lengths: Sequence[int], count: int) -> list[Part]:
    if not len(lengths):
        return []
    token = os.urandom(6).hex()
    starts = appender.steps + np.concatenate([[0], np.cumsum(np.asarray(lengths, np.int64))])
    shard_rows = appender.table.shard_rows or 1
    first_shard, stop_shard = int(starts[0]) // shard_rows, -(-int(starts[-1]) // shard_rows)
    bounds = np.linspace(first_shard, stop_shard, min(count, stop_shard - first_shard) + 1).astype(np.int64)
    parts = []
    for number, (begin, end) in enumerate(pairwise(bounds.tolist())):
        first, stop = max(int(starts[0]), begin * shard_rows), min(int(starts[-1]), end * shard_rows)
        episodes = range(
            int(np.searchsorted(starts, first, side="right")) - 1, int(np.searchsorted(starts, stop, side="left"))
        )
        own = tuple(starts[episodes.start : episodes.stop + 1].tolist())
        parts.append(Part(number, episodes, data_path, token, own, first, stop, appender.table.to_json()))
    return parts


# Remainders as bytes


def to_record(remainder: Remainder, columns: Sequence[StoredColumn]) -> list[Any]:
    """Return the record of an episode, in several parts.

    Args:
        remainder: of an episode.
        columns: all columns that the store has.

    Raises:
        MetadataError: the metadata cannot be stored.
    """
    header = json.dumps(
        {
            "total_steps": remainder.total_steps,
            "columns": remainder.columns,
            "counts": [len(rows) for rows in remainder.rows],
            "metadata": json_metadata.to_json(remainder.metadata),
        }
    ).encode()
    arrays = arrays_of_remainder([columns[number] for number in remainder.columns])
    parts = [
        np.ascontiguousarray(rows, column.form_of(array)[0]).reshape(-1).view(np.uint8)
        for (column, array), rows in zip(arrays, remainder.rows, strict=True)
    ]
    lengths = len(header), sum(part.nbytes for part in parts)
    return [_LENGTHS.pack(*lengths, _checksum(header, *parts)), header, *parts]


def read_records(descriptor: int, columns: Sequence[StoredColumn]) -> Iterator[Remainder]:
    """Read records that :func:`to_record` has made.

    Args:
        descriptor: descriptor of the file.
        columns: all columns of the store.

    Raises:
        ValueError: the file has other content, or is damaged.
    """
    left = os.fstat(descriptor).st_size
    with open(descriptor, "rb", closefd=False) as file:
        while left:
            lengths = file.read(_LENGTHS.size)
            left -= _LENGTHS.size
            if left < 0 or len(lengths) < _LENGTHS.size:
                raise ValueError("it ends too early")
            header_size, size, expected = _LENGTHS.unpack(lengths)
            left -= header_size + size
            if left < 0:
                raise ValueError("it ends too early")
            header, content = file.read(header_size), file.read(size)
            if len(content) < size or _checksum(header, content) != expected:
                raise ValueError("it is not what its checksum says")
            yield _remainder_of(header, content, columns)


def _remainder_of(header: bytes, content: bytes, columns: Sequence[StoredColumn]) -> Remainder:
    value = parse_json(header)
    keys = ("total_steps", "columns", "counts", "metadata")
    if not isinstance(value, dict) or value.keys() != set(keys):
        raise ValueError(f"it has the keys {shortened(value)}, expected {list(keys)}")
    total_steps, numbers, counts, metadata = (value[key] for key in keys)
    check_sizes([total_steps], 1)
    if not isinstance(numbers, list) or not all(type(n) is int and 0 <= n < len(columns) for n in numbers):
        raise ValueError(f"it has the columns {shortened(numbers)}, expected numbers less than {len(columns)}")
    arrays = arrays_of_remainder([columns[number] for number in numbers])
    if not isinstance(counts, list) or len(counts) != len(arrays) or not isinstance(metadata, str):
        raise ValueError(f"it has {shortened(counts)} rows, expected a number for each of {len(arrays)} arrays")
    rows: list[npt.NDArray[Any]] = []
    start = 0
    for (column, array), count in zip(arrays, counts, strict=True):
        dtype, row_shape = column.form_of(array)
        check_sizes([count], 0)
        if column.kind.kind == "states" and count != 1:
            raise ValueError(f"it has {count} rows for {array}, expected one")
        end = start + count * dtype.itemsize * math.prod(row_shape)
        if end > len(content):
            raise ValueError(f"it ends before the rows of {array}")
        rows.append(np.frombuffer(content[start:end], dtype).reshape(count, *row_shape))
        start = end
    if start != len(content):
        raise ValueError("it continues after its rows")
    return Remainder(total_steps, numbers, rows, json_metadata.from_json(metadata))


def _checksum(*parts: Any) -> int:
    digest = xxhash.xxh3_64()
    for part in parts:
        digest.update(part)
    return digest.intdigest()
