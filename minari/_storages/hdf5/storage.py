"""The HDF5 format: ``main_data.hdf5`` with one group per episode.

Reading uses the index and reads bytes directly from the file; writing creates the bytes of the file. h5py is
loaded only if it is needed: for text, JPEG, codecs other than gzip, changes to existing episodes, and files
written by other programs.
"""

from __future__ import annotations

import math
import os
import re
import time
import weakref
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeAlias, TypeVar, cast

import numpy as np
import numpy.typing as npt

from minari._base.data_file import DataFile
from minari._base.data_file import stamp_of as file_stamp
from minari._base.files import METADATA_FILE_NAME
from minari._base.lazy import LazyModule
from minari._base.locks import folder_lock, lock
from minari._base.parallel import map_in_batches
from minari._base.system_errors import failures_logged
from minari._model.compression import Codec, Codecs
from minari._model.episode_codec import REWARDS, TERMINATIONS, TRUNCATIONS
from minari._model.frame_stack import StackedLeaf
from minari._model.metadata import DatasetMetadata
from minari._model.multi_agent import MultiAgentCodec
from minari._storages.base import EpisodeWriter, MinariStorage
from minari._storages.core import changed_dataset
from minari._storages.decoded_blocks import KEPT_BYTES, MemoryBudget
from minari._storages.hdf5.format.chunks import (
    ChunkTable,
    StoredColumn,
    corners,
    decompressed,
    decompressed_rows,
    read_column,
)
from minari._storages.hdf5.format.filters import GZIP, GZIP_FRAME_LEVEL, GZIP_LEVELS, Chunking, codec_of
from minari._storages.hdf5.format.objects import Filter
from minari._storages.hdf5.index import (
    INDEX_NAME,
    NO_CHECKSUM,
    UNKNOWN,
    EpisodeIndex,
    LeafPlace,
    Schema,
    checksum_of,
    differing_place,
)
from minari._storages.hdf5.names import DATA_FILE_NAME, to_hdf5_name
from minari._storages.hdf5.rows import LeafRows
from minari._storages.journal import JOURNAL_NAME, Overlay, has_journal, pending_change
from minari._storages.mapped_file import MappedFile
from minari._storages.metadata_file import stamp_of
from minari._storages.rows import LeafRequest, RowRequest, merged, split
from minari.errors import ChecksumError, DatasetBusyError, DatasetCorruptError, MissingDependencyError
from minari.progress import track
from minari.spaces import Column, ColumnPath, Columns, EpisodeColumns, has_no_space, is_of_agent, native, path_name


if TYPE_CHECKING:
    from minari._storages.hdf5 import appender, attributes, infos, legacy, plugins, reader, writer
else:  # what reading values does not need where there is an index
    appender = LazyModule("minari._storages.hdf5.appender")
    attributes = LazyModule("minari._storages.hdf5.attributes")
    infos = LazyModule("minari._storages.hdf5.infos")
    legacy = LazyModule("minari._storages.hdf5.legacy")
    plugins = LazyModule("minari._storages.hdf5.plugins")  # imports h5py
    reader = LazyModule("minari._storages.hdf5.reader")
    writer = LazyModule("minari._storages.hdf5.writer")


_EPISODES_AT_A_TIME = 16  # read before the file is closed again
_READ_AHEAD: Final = 2**18  # bytes of them
_PLAIN_INFO: Final = 2  # parts of the path of an info that is one column; the others may have rows of another kind
_FEW_ROWS: Final = 64  # of an episode, up to which they are copied one by one rather than read together,
_FEW_BYTES: Final = 2**14  # unless they are large
MOST_AT_A_TIME = 2**26  # bytes to be decompressed, or to be read through HDF5
_PATIENCE = 30.0  # seconds to wait for a moment without a commit

T = TypeVar("T")

#: An episode: the layout of its leaves, their positions, and the checksums to verify.
_Found: TypeAlias = tuple[int, Schema, list[int], dict[ColumnPath, int]]


def _from_chunks(
    file: DataFile, offsets: Sequence[int], shape: tuple[int, ...], dtype: np.dtype[Any], chunks: tuple[int, ...]
) -> Column:
    """Read an array from chunks in the order of their indices, each as a whole.

    Raises:
        ValueError: the file is too short.
    """
    array = np.empty(shape, dtype)
    if array.size:
        chunk = np.empty(chunks, dtype)
        for offset, corner in zip(offsets, corners(shape, chunks), strict=True):
            file.read_arrays([(offset, chunk)])
            part = array[tuple(slice(start, start + side) for start, side in zip(corner, chunks, strict=True))]
            part[...] = chunk[tuple(map(slice, part.shape))]
    return array


def _gathered(
    file: DataFile, mapped: MappedFile | None, wanted: Sequence[tuple[LeafRows, RowRequest]]
) -> list[Column | None]:
    """Return the rows of each request, None where they have to be read in another way.

    What is compressed is decoded once for all requests of a leaf.
    """
    found: list[Column | None] = [None] * len(wanted)
    if mapped is not None:
        mapped.check_size()
    for leaf in {leaf.path: leaf for leaf, _ in wanted}.values():
        places = [place for place, (other, _) in enumerate(wanted) if other is leaf]
        groups = [[place] for place in places] if leaf.is_mapped else [places]
        for group in groups:
            requests = [wanted[place][1] for place in group]
            rows = leaf.gather(file, mapped, merged(requests))
            if rows is not None:
                for place, part in zip(group, split(rows, requests), strict=True):
                    found[place] = part
    return found


def _among(checksums: dict[ColumnPath, int], paths: Container[ColumnPath] | None) -> dict[ColumnPath, int]:
    """Return the checksums of the leaves at some paths, or of all."""
    return checksums if paths is None else {path: checksums[path] for path in checksums if path in paths}


class HDF5Storage(MinariStorage):
    """Episodes in one HDF5 file, read without HDF5 whenever possible."""

    FORMAT: ClassVar[str] = "hdf5"
    COMMITS: ClassVar[tuple[str, ...]] = (JOURNAL_NAME,)
    HIDDEN_CHECKSUMS: ClassVar[bool] = True
    FILES: ClassVar[re.Pattern[str] | None] = re.compile(r"main_data\.hdf5|additional_data_\d+\.hdf5|\.index\..*")
    CODECS: ClassVar[Codecs] = {
        GZIP: GZIP_LEVELS,
        "lzf": None,
        "zstd": range(1, 23),
        "blosc": range(10),
        "lz4": None,
    }
    FRAME_CODEC: ClassVar[Codec | None] = Codec(GZIP, GZIP_FRAME_LEVEL)

    def __init__(self, data_path: Path, metadata: DatasetMetadata) -> None:
        super().__init__(data_path, metadata)
        self._file = self.data_path / DATA_FILE_NAME
        self._file_place = f"{self._place}{os.sep}{DATA_FILE_NAME}"
        self._first_reward: tuple[int, ...] | None = None
        self.reads: int = 0
        self._reader: tuple[tuple[int, ...], reader.EpisodeFile] | None = None
        self._map: weakref.ref[MappedFile] | None = None  # exists while there are views of it
        self._ready: MappedFile | None = None  # a map that is kept for rows
        self._rows: dict[ColumnPath, LeafRows] = {}  # of the file in this state
        self._rows_of: tuple[tuple[int, ...], int] | None = None
        self._budget = MemoryBudget(0)  # of what they keep in memory
        self._known_steps = np.zeros(0, np.int64)  # of the episodes, as far as somebody has asked for them
        self._take_codec()
        needed = {REWARDS, TERMINATIONS, TRUNCATIONS, *self._known_paths.values()}
        for leaf in self.frame_stacks:  # an episode has one or the other
            needed -= {leaf.path, leaf.frames.path}
        self._index = EpisodeIndex(self._file, () if self._agents else needed)

    def _take_codec(self) -> None:
        codecs = (self.episode_codec.observations, self.episode_codec.actions)
        paths = [path for codec in codecs for path in codec.paths()]
        frames = [leaf.frames.path for leaf in self.frame_stacks]
        #: How many rows leaves with rows for each step have in addition to those.
        self._further_rows = {REWARDS: 0, TERMINATIONS: 0, TRUNCATIONS: 0} | {
            leaf.path: further for codec, further in zip(codecs, (1, 0), strict=True) for leaf in codec.leaves()
        }
        self._known_paths = {to_hdf5_name(path): path for path in (*paths, *frames)}
        codec = self.episode_codec
        self._agents = frozenset(codec.names.values()) if isinstance(codec, MultiAgentCodec) else frozenset[str]()
        self._reader = self._ready = None

    @classmethod
    def read_metadata_of_old_releases(cls, data_path: Path) -> dict[str, Any] | None:
        """Return the metadata that releases before 0.5 stored in the HDF5 file; None if there is no file."""
        file = data_path / DATA_FILE_NAME
        return legacy.read_metadata(file) if file.exists() else None

    @classmethod
    def check_codec(cls, codec: Codec) -> None:
        """Raise unless a codec can be used: one of those we have, or of h5py and plug-ins."""
        super().check_codec(codec)
        found = codec_of(codec.name)
        if found is None:
            plugins.require(codec)
        elif not found.is_available():
            raise MissingDependencyError(
                f"The codec {codec.name!r} needs the package {str(found.package).partition('.')[0]}; install it with: "
                'pip install "minari[compression]"'
            )

    def _count_episodes(self) -> int:
        with self._index.lock.current:
            self._opened().close()
            if self._index.total is None or self._index.total != self._metadata.total_episodes:
                self._index.total = self._at_one_moment(lambda file: self._episodes(file).count())
            return self._index.total

    # Reading

    def _opened(self) -> DataFile:
        """Return the data file as it is now, with an index that belongs to it as long as the lock is held."""
        self.reads += 1
        try:
            file = DataFile(self._file_place, self._change())
        except (FileNotFoundError, NotADirectoryError):
            raise DatasetCorruptError(
                f"The metadata claims {self.total_episodes} episodes, and the file {self._file} that "
                f"should hold them is missing; copy or download the dataset again."
            ) from None
        try:
            self._index.refresh(file)
        except BaseException:
            file.close()
            raise
        return file

    def _change(self) -> Overlay | None:
        """Return a change that a killed writer has committed but not applied; wait for a commit in progress."""
        return pending_change(self.data_path, DATA_FILE_NAME) if has_journal(self._place) else None

    def _episodes(self, file: DataFile) -> reader.EpisodeFile:
        """Return the reader of the structures of the file; its results are cached while the file is the same."""
        if self._reader is None or self._reader[0] != file.stamp:
            self._reader = file.stamp, reader.EpisodeFile(self._file, file.size, self._agents)
        self._reader[1].read_at = file.read_at
        return self._reader[1]

    def _read_columns(self, indices: Iterable[int]) -> Iterator[tuple[int, Columns]]:
        return self._read_all(indices, self._read_batch)

    def _read_episode(self, index: int) -> Columns:
        if not self.verify_checksums:
            with self._index.lock.current:
                file = self._opened()
                found = self._index.find(index)
            with file:
                if found is not None and found[0].is_mapped and found[0].is_native:
                    with suppress(ValueError):  # it is cut off, which reading it in the other way explains
                        return self._plain_leaves(file, *found)
        return super()._read_episode(index)

    def _plain_leaves(self, file: DataFile, schema: Schema, places: Sequence[int]) -> dict[ColumnPath, Column]:
        """Read all leaves of an episode that are stored as they are in memory.

        Raises:
            ValueError: the file is too short.
        """
        leaves = zip(schema.views, places[::2], strict=True)
        arrays = {path: np.empty((rows, *shape), dtype) for (path, dtype, shape), rows in leaves}
        file.read_arrays(zip(places[1::2], arrays.values(), strict=True))
        return arrays

    def get_window(self, episode_index: int, start: int, stop: int) -> dict[str, Any]:
        """Return consecutive steps of an episode; only these are read if they are stored as they are in memory."""
        columns = self.unchanged_during(self._plain_window, episode_index, start, stop)
        if columns is None:
            return super().get_window(episode_index, start, stop)
        return self.episode_codec.decode(episode_index, columns)

    def _plain_window(self, index: int, start: int, stop: int) -> Columns | None:
        """Read the rows of a window; None if the episode has to be read, or the window refused, in another way."""
        if type(index) is not int or not 0 <= index < self._metadata.total_episodes or self.verify_checksums:
            return None
        with self._index.lock.current:
            file = self._opened()
            found = self._index.find(index)
        with file:
            if found is None or not (found[0].is_mapped and found[0].is_native):
                return None
            try:
                return self._rows_of_steps(file, *found, start, stop)
            except (TypeError, ValueError):  # refused or explained by reading in the other way
                return None

    def _rows_of_steps(
        self, file: DataFile, schema: Schema, places: Sequence[int], start: int, stop: int
    ) -> dict[ColumnPath, Column]:
        """Read the rows of a window out of leaves that are stored as they are in memory.

        Raises:
            ValueError: a leaf has no such rows, or other ones than those of the steps; or the file is too short.
        """
        arrays: dict[ColumnPath, Column] = {}
        offsets = []
        steps = None
        leaves = zip(schema.views, schema.row_sizes, places[::2], places[1::2], strict=True)
        for (path, dtype, shape), (_, size), rows, offset in leaves:
            further = self._further_rows.get(path, rows + 1)
            steps = rows - further if steps is None else steps
            if rows - further != steps or not 0 <= start < stop <= steps:
                raise ValueError(f"{rows} rows for the steps from {start} to {stop}")
            arrays[path] = np.empty((stop - start + further, *shape), dtype)
            offsets.append(offset + start * size)
        file.read_arrays(zip(offsets, arrays.values(), strict=True))
        return arrays

    def _view_columns(self, indices: Iterable[int]) -> Iterator[tuple[int, Columns]]:
        return self._read_all(indices, partial(self._read_batch, mapping=True))

    def _read_leaves(self, indices: Iterable[int], paths: Container[ColumnPath]) -> Iterator[tuple[int, Columns]]:
        for index, columns in self._read_all(indices, partial(self._read_batch, paths=paths)):
            yield index, {path: column for path, column in columns.items() if path in paths}

    def _read_rows(self, requests: Sequence[RowRequest]) -> list[Column]:
        found = self._read_plain_rows(requests)
        if found is not None:
            return found
        try:
            with self._index.lock.current:
                file = self._opened()
                mapped = self._mapped(file)
                leaves = self._leaves_of(file, requests)
                self._ready = mapped
            with file:
                rows = _gathered(file, mapped, list(zip(leaves, requests, strict=True)))
        except DatasetCorruptError:
            with self._index.lock.current:
                if not self._index.distrust():  # may have been wrong
                    raise
                self._rows_of = self._ready = None
            return self._read_rows(requests)
        others = [request for request, one in zip(requests, rows, strict=True) if one is None]
        read = iter(super()._read_rows(others) if others else ())
        return [next(read) if one is None else one for one in rows]

    def _read_concatenated(self, episodes: npt.NDArray[np.int64], requests: Sequence[LeafRequest]) -> list[Column]:
        found: list[Column | None] = [None] * len(requests)
        if not self.verify_checksums:
            with suppress(DatasetCorruptError):  # reading episode by episode names the damaged one
                found = self._read_into_place(episodes, requests)
        others = [request for request, one in zip(requests, found, strict=True) if one is None]
        read = iter(super()._read_concatenated(episodes, others) if others else ())
        return [next(read) if one is None else one for one in found]

    def _read_into_place(self, episodes: npt.NDArray[np.int64], requests: Sequence[LeafRequest]) -> list[Column | None]:
        """Return all rows of leaves that are read or decoded straight into one array; None for others.

        Raises:
            DatasetCorruptError: the file is cut off, or a chunk is damaged.
        """
        found: list[Column | None] = []
        plain = []
        with ExitStack() as stack:
            with self._index.lock.current:
                file = stack.enter_context(self._opened())
                leaves = self._leaves_of(file, requests)
                mapped = self._mapped(file)
            if mapped is not None:
                mapped.check_size()
            for leaf, request in zip(leaves, requests, strict=True):
                pieces, rows = leaf.pieces_of(episodes), request.counts.mean()
                is_short = mapped is not None and rows <= _FEW_ROWS and rows * leaf.size <= _FEW_BYTES
                if pieces is None or is_short:
                    found.append(leaf.gather(file, mapped, request.rows_of(episodes, leaf.dtype)))
                else:
                    array = request.target(leaf.dtype)
                    plain.append((array, *pieces))
                    found.append(array)
            try:
                file.read_concatenated(plain)
            except ValueError as error:
                raise DatasetCorruptError(f"{self._file} is cut off ({error}); copy or download it again.") from error
        return found

    def _read_plain_rows(self, requests: Sequence[RowRequest]) -> list[Column] | None:
        """Return the rows out of the map, without opening the file again; None if it has changed, or has to be read."""
        mapped, state = self._ready, self._rows_of
        leaves = self._rows  # which another thread sets before the state
        if mapped is None or state is None or state[0] != mapped.stamp or not self._is_current(mapped):
            return None
        found = [leaves.get(request.path) for request in requests]
        if not all(leaf is not None and leaf.is_mapped for leaf in found):
            return None
        mapped.check_size()
        pairs = zip(found, requests, strict=True)
        return [leaf.from_map(mapped, request) for leaf, request in pairs if leaf is not None]

    def _is_current(self, mapped: MappedFile) -> bool:
        """Return whether a map is that of the file as it is now, without opening it."""
        if has_journal(self._place):
            return False
        try:
            return file_stamp(os.stat(self._file_place)) == mapped.stamp  # noqa: PTH116 (a path object takes longer)
        except OSError:
            return False

    def has_plain_rows(self, request: RowRequest) -> bool:
        """Return whether the rows of a request are stored as they are in memory."""
        with self._index.lock.current, self._opened() as file:
            return self._mapped(file) is not None and self._leaves_of(file, [request])[0].is_mapped

    def _leaves_of(self, file: DataFile, requests: Iterable[RowRequest | LeafRequest]) -> list[LeafRows]:
        """Return the positions of the rows of leaves, which are the same until the file changes."""
        state = (file.stamp, self.total_episodes)
        if state != self._rows_of:
            unknown = self._index.unknown(state[1]).tolist()
            if unknown:
                self._locate(unknown, file)
                self._index.save()
            self._check_steps(state[1])
            self._rows, self._rows_of, self._budget = {}, state, MemoryBudget(KEPT_BYTES)
        steps: dict[ColumnPath, npt.NDArray[np.int64]] = {}  # of all, or of each of many agents
        for request in requests:
            if request.path not in self._rows:
                whose = request.path[:2] if is_of_agent(request.path) else ()
                if whose not in steps:
                    steps[whose] = self._steps_of(request.path, state[1])
                total_rows = steps[whose] + self.rows_beyond_steps(request.path)
                found = self._index.leaf(request.path)
                self._rows[request.path] = LeafRows(request.path, request.shape, found, total_rows, self._budget)
        return [self._rows[request.path] for request in requests]

    def _check_steps(self, total: int) -> None:
        """Raise if episodes are missing or shorter now, whose rows beyond the end would be those of others.

        Raises:
            DatasetChangedError: another dataset has taken the place of this one.
        """
        known = self._known_steps
        steps = self._index.lengths(np.arange(min(total, len(known))))
        if len(known) > total or (steps is not None and (steps < known).any()):
            raise changed_dataset(self._data_path)

    def _have_column(self, path: ColumnPath, episodes: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        with self._index.lock.current, self._opened() as file:
            self._locate(episodes.tolist(), file)
            having = [places for _, places, _ in self._index.leaf(path)]
        return np.isin(episodes, np.concatenate(having)) if having else np.zeros(len(episodes), bool)

    def _gathers_frames(self, leaf: StackedLeaf, episodes: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        return self.has_stacked_frames(leaf, episodes)

    def _steps_of(self, path: ColumnPath, total: int) -> npt.NDArray[np.int64]:
        """Return the number of steps of each episode, for a column of one of many agents those of its trajectory."""
        if is_of_agent(path):
            steps = np.zeros(total, np.int64)
            for _, episodes, places in self._index.leaf((*path[:2], *REWARDS)):
                steps[episodes[episodes < total]] = places[episodes < total, 0]
            return steps
        lengths = self._index.lengths(np.arange(total))
        if lengths is None:
            raise DatasetCorruptError(f"Some of the {total} episodes are not in {self._file}.")
        return lengths

    def _read_all(
        self, indices: Iterable[int], read: Callable[[Sequence[int]], list[tuple[int, Columns]]]
    ) -> Iterator[tuple[int, Columns]]:
        remaining = iter(indices)
        while batch := list(islice(remaining, _EPISODES_AT_A_TIME)):
            while batch:
                episodes = read(batch)
                batch = batch[len(episodes) :]
                for _ in range(len(episodes)):
                    yield episodes.pop(0)  # releases it as soon as nobody else refers to it
        with self._index.lock.current:
            self._index.save()

    def _read_batch(
        self, batch: Sequence[int], *, mapping: bool = False, paths: Container[ColumnPath] | None = None
    ) -> list[tuple[int, Columns]]:
        """Read the first of these episodes, at least one.

        Args:
            batch: numbers of the episodes.
            mapping: True if columns may be views of the file.
            paths: paths of the requested columns; others need not be read.
        """
        try:
            with self._index.lock.current:
                file = self._opened()
                mapped = self._mapped(file) if mapping else None
                found = self._find_first(batch, mapped, paths)
            with file:
                if found:
                    return self._read_found(file, mapped, found, paths)
            return self._at_one_moment(partial(self._columns, batch, mapping=mapping, paths=paths))
        except DatasetCorruptError:
            with self._index.lock.current:
                if not self._index.distrust():  # may have been wrong
                    raise
            return self._read_batch(batch, mapping=mapping, paths=paths)

    def _mapped(self, file: DataFile) -> MappedFile | None:
        """Return a map of the file; None if it cannot be mapped."""
        if file.change is not None:
            return None
        mapped = self._map() if self._map is not None else None
        if mapped is None or mapped.stamp != file.stamp:
            try:
                mapped = MappedFile(file.fileno(), file.size, file.stamp)
            except (OSError, OverflowError, ValueError):
                return None
            self._map = weakref.ref(mapped)
        return mapped

    def _find_first(
        self, batch: Sequence[int], mapped: MappedFile | None, paths: Container[ColumnPath] | None
    ) -> list[_Found]:
        """Locate the first of these episodes, within a limit of memory, up to one that requires HDF5.

        Views take no memory. Checksums are looked up only if needed.
        """
        episodes: list[_Found] = []
        size = 0
        for index in batch:
            found = self._index.find(index) if size <= _READ_AHEAD else None
            if found is None or found[0].needs_hdf5_for(paths):
                break
            schema, places = found
            checksums = _among(self._index.checksums(index), paths) if self.verify_checksums else {}
            episodes.append((index, schema, places, checksums))
            if len(batch) > 1 and paths is None and (mapped is None or not schema.is_mapped):
                size += schema.size(places)
        return episodes

    def _read_found(
        self, file: DataFile, mapped: MappedFile | None, found: Iterable[_Found], paths: Container[ColumnPath] | None
    ) -> list[tuple[int, Columns]]:
        """Read episodes up to the first damaged one, whose error is raised by the next batch."""
        episodes: list[tuple[int, Columns]] = []
        for index, schema, places, checksums in found:
            try:
                columns = self._leaves(file, mapped, index, schema, places, paths)
                self._verify(index, columns, checksums)
                if not schema.is_native:
                    columns = {path: native(column) for path, column in columns.items()}
            except DatasetCorruptError:
                if episodes:
                    break
                raise
            episodes.append((index, columns))
        return episodes

    def _leaves(
        self,
        file: DataFile,
        mapped: MappedFile | None,
        index: int,
        schema: Schema,
        places: Sequence[int],
        paths: Container[ColumnPath] | None = None,
    ) -> dict[ColumnPath, Column]:
        """Read the leaves of an episode that need no HDF5, all of them or those at some paths."""
        try:
            if schema.is_mapped and paths is None:
                if mapped is not None:
                    return mapped.arrays(schema.views, places, schema.size(places))
                return self._plain_leaves(file, schema, places)
            columns: dict[ColumnPath, Column] = {}
            plain: list[tuple[int, Column]] = []
            position = 0
            for leaf in schema.leaves:
                shape = (places[position], *leaf.shape)
                offsets = places[position + 1 : position + 1 + leaf.pieces]
                position += 1 + leaf.pieces
                if leaf.dtype is None or leaf.needs_hdf5 or (paths is not None and leaf.path not in paths):
                    continue
                if leaf.filters is not None:
                    columns[leaf.path] = self._decompressed(file, index, leaf, shape, offsets[0])
                elif leaf.chunks is not None:
                    columns[leaf.path] = _from_chunks(file, offsets, shape, leaf.dtype, leaf.chunks)
                elif mapped is not None:
                    columns[leaf.path] = mapped.array(offsets[0], shape, leaf.dtype)
                else:
                    columns[leaf.path] = array = np.empty(shape, leaf.dtype)
                    plain.append((offsets[0], array))
            file.read_arrays(plain)
        except DatasetCorruptError:
            raise
        except (ValueError, MemoryError) as error:
            raise self._cut_off(index, error) from error
        return columns

    def _read_window(self, index: int, start: int, stop: int) -> Columns | None:
        if self.verify_checksums:  # of whole episodes
            return None
        with suppress(DatasetCorruptError), ExitStack() as stack:  # the whole episode says what is damaged
            with self._index.lock.current:
                file = stack.enter_context(self._opened())
                self._locate([index], file)
                schema, places = self._placed(index)
            if not schema.needs_hdf5:
                return self._window_leaves(file, index, schema, places, range(start, stop))
        return None

    def _window_leaves(
        self, file: DataFile, index: int, schema: Schema, places: Sequence[int], steps: range
    ) -> Columns | None:
        """Read the rows of consecutive steps of an episode; None if a leaf has to be read as a whole."""
        columns: dict[ColumnPath, Column] = {}
        placed, position = [], 0
        for leaf in schema.leaves:
            placed.append((leaf, places[position], places[position + 1]))
            position += 1 + leaf.pieces
        total_steps = next((count for leaf, count, _ in placed if leaf.path == REWARDS), -1)
        for leaf, count, offset in placed:
            further = self.rows_beyond_steps(leaf.path)
            if leaf.dtype is None or not self._has_rows(leaf) or count != total_steps + further:
                return None
            rows = range(steps.start, steps.stop + further)
            try:
                if leaf.chunks is None or leaf.filters is None:
                    first = offset + rows.start * math.prod(leaf.shape, start=leaf.dtype.itemsize)
                    column = file.new_array(first, (len(rows), *leaf.shape), leaf.dtype)
                else:
                    chunking = Chunking(leaf.chunks, leaf.filters)
                    shape = (count, *leaf.shape)
                    table = ChunkTable.read(file.read_at, offset, shape, leaf.dtype, chunking)
                    column = decompressed_rows(file.read_chunk, table, leaf.shape, rows, map_in_batches)
            except ValueError as error:
                raise self._damaged(index, leaf, error) from error
            columns[leaf.path] = native(column)
        return columns

    def _has_rows(self, leaf: LeafPlace) -> bool:
        """Return whether a leaf has one row a step, each of which can be read alone."""
        is_info = has_no_space(leaf.path) and len(leaf.path) == _PLAIN_INFO
        has_rows = is_info or leaf.path in self._further_rows or self.frame_stacks.of_frames(leaf.path) is not None
        return has_rows and (leaf.chunks is None or leaf.filters is not None)

    def _cut_off(self, index: int, error: Exception) -> DatasetCorruptError:
        return DatasetCorruptError(
            f"Episode {index} lies beyond the end of {self._file} ({error}); the file is cut off, so "
            f"copy or download it again."
        )

    def _decompressed(self, file: DataFile, index: int, leaf: LeafPlace, shape: tuple[int, ...], offset: int) -> Column:
        stored = self._stored(file, index, leaf, shape, offset)
        try:
            return decompressed(stored, map_in_batches)
        except ValueError as error:
            raise self._damaged(index, leaf, error) from error

    def _stored(self, file: DataFile, index: int, leaf: LeafPlace, shape: tuple[int, ...], offset: int) -> StoredColumn:
        """Return the stored form of a leaf in chunks with a table."""
        chunking = Chunking(cast("tuple[int, ...]", leaf.chunks), cast("tuple[Filter, ...]", leaf.filters))
        try:
            return read_column(file.read_at, offset, shape, cast("np.dtype[Any]", leaf.dtype), chunking)
        except ValueError as error:
            raise self._damaged(index, leaf, error) from error

    def _damaged(self, index: int, leaf: LeafPlace, error: Exception) -> DatasetCorruptError:
        return DatasetCorruptError(
            f"The {path_name(leaf.path)!r} of episode {index} in {self._file} cannot be decompressed ({error}); "
            f"the file is damaged, so copy or download it again."
        )

    def _columns(
        self, batch: Sequence[int], file: DataFile, mapping: bool = False, paths: Container[ColumnPath] | None = None
    ) -> list[tuple[int, Columns]]:
        """Return the columns of the first episodes, including those that are not stored unchanged in the file."""
        found = self._own_columns(batch, file, mapping, paths)
        return [(index, infos.without_own_types(columns)) for index, columns in found]

    def _own_columns(
        self, batch: Sequence[int], file: DataFile, mapping: bool = False, paths: Container[ColumnPath] | None = None
    ) -> list[tuple[int, dict[ColumnPath, Column]]]:
        """Return the columns of the first episodes in the form of HDF5."""
        self._locate(batch, file)
        batch = self._at_once(batch)
        others = self._read_others(batch, file, paths)
        mapped = self._mapped(file) if mapping else None
        episodes: list[tuple[int, dict[ColumnPath, Column]]] = []
        for index in batch:
            columns = {**self._leaves(file, mapped, index, *self._placed(index), paths), **others.get(index, {})}
            if self.verify_checksums:
                self._verify(index, columns, _among(self._index.checksums(index), paths))
            episodes.append((index, columns))
        return episodes

    def _at_once(self, batch: Sequence[int]) -> Sequence[int]:
        """Return the first of these episodes, within a limit of memory."""
        size = 0
        for count, index in enumerate(batch):
            schema, places = self._placed(index)
            size += schema.decompressed_size(places)
            if count and size > MOST_AT_A_TIME:
                return batch[:count]
        return batch

    def _at_one_moment(self, read: Callable[[DataFile], T]) -> T:
        """Read from the file while no change to it is being committed.

        Reading through HDF5 takes no lock, so it is repeated if a commit occurred in between.
        """
        deadline = time.monotonic() + _PATIENCE
        while True:
            self._change()  # waits for a commit in progress
            before, result, error = self._moment(), None, None
            try:
                with self._index.lock.current, self._opened() as file:
                    result = read(file)
            except Exception as raised:  # HDF5 fails in many ways on a file that is being changed
                error = raised
            # A commit writes the journal, changes the file, replaces the metadata and deletes the journal, or
            # replaces the file; checked in this order, none of these can be missed.
            if self._moment() == before:
                if error is None:
                    return cast("T", result)
                with self._index.lock.current:
                    if not (isinstance(error, DatasetCorruptError) and self._index.distrust()):  # may be wrong
                        raise error
            if time.monotonic() > deadline:
                raise DatasetBusyError(f"{self._file} is being changed all the time; try again later.") from error

    def _moment(self) -> Any:
        """Return values that differ after any change to the dataset."""
        return tuple(stamp_of(self.data_path, name) for name in (JOURNAL_NAME, METADATA_FILE_NAME, DATA_FILE_NAME))

    def _locate(self, batch: Iterable[int], file: DataFile) -> None:
        for index in batch:
            if self._index.find(index) is None:
                self._index.add(self._episodes(file).locate(index, self._known_paths))

    def _placed(self, index: int) -> tuple[Schema, list[int]]:
        found = self._index.find(index)
        if found is None:
            raise DatasetCorruptError(f"Episode {index} is not in {self._file}.")
        return found

    def _read_others(
        self, batch: Sequence[int], file: DataFile, wanted_paths: Container[ColumnPath] | None = None
    ) -> dict[int, dict[ColumnPath, Column]]:
        """Read the leaves that are not stored unchanged in the file."""
        wanted = []
        for index in batch:
            leaves = (leaf for leaf in self._placed(index)[0].leaves if leaf.needs_hdf5)
            paths = [leaf.path for leaf in leaves if wanted_paths is None or leaf.path in wanted_paths]
            if paths:
                wanted.append((index, self._index.header(index), paths))
        return self._episodes(file).read_columns(wanted) if wanted else {}

    def _read_episode_metadata(self, indices: Iterable[int]) -> Iterator[dict[str, Any]]:
        remaining = iter(indices)
        while batch := list(islice(remaining, _EPISODES_AT_A_TIME)):
            yield from self._at_one_moment(partial(self._verified_metadata, batch))

    def _metadata_of(self, batch: Sequence[int], file: DataFile) -> list[dict[str, Any]]:
        episodes, found = self._episodes(file), []
        for index in batch:
            metadata = episodes.read_metadata(index, self._index.header(index))
            number = metadata.get("id", index)
            if np.ndim(number) or number != index:  # the index refers to another episode, or others number them
                metadata = episodes.read_metadata(index)
            if "total_steps" not in metadata:  # another program has omitted it
                self._locate([index], file)
                metadata["total_steps"] = int(cast("Any", self._index.lengths(np.array([index])))[0])
            found.append({**metadata, "id": index})
        return found

    def _read_lengths(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        with self._index.lock.current:
            self._opened().close()
            lengths = self._index.lengths(indices)
            if lengths is not None and len(lengths):
                more = max(0, int(indices.max()) + 1 - len(self._known_steps))
                self._known_steps = np.concatenate([self._known_steps, np.zeros(more, np.int64)])
                self._known_steps[indices] = lengths
        return super()._read_lengths(indices) if lengths is None else lengths

    def _first_reward_shape(self) -> tuple[int, ...] | None:
        if self._first_reward is None:
            try:
                self._first_reward = self._at_one_moment(self._located_reward_shape)
            except (DatasetCorruptError, DatasetBusyError):  # reported when the episodes are read or written
                return None
        return self._first_reward

    def _located_reward_shape(self, file: DataFile) -> tuple[int, ...]:
        self._locate([0], file)
        leaf = next((leaf for leaf in self._placed(0)[0].leaves if leaf.path == REWARDS), None)
        if leaf is not None and leaf.dtype is not None:
            return leaf.shape
        ((_, columns),) = self._own_columns([0], file)
        return columns[REWARDS].shape[1:] if REWARDS in columns else ()

    # Checksums

    def _verify(self, index: int, columns: Columns, checksums: Mapping[ColumnPath, int]) -> None:
        for path, expected in checksums.items():
            if path not in columns or checksum_of(columns[path]) != expected:
                raise ChecksumError(
                    f"The {path_name(path)!r} of episode {index} in {self._file} differ from what was written: "
                    f"their checksum does not match; copy or download the dataset again, or delete {INDEX_NAME} beside "
                    f"the file if the values were changed on purpose."
                )

    def _verified_metadata(self, batch: Sequence[int], file: DataFile) -> list[dict[str, Any]]:
        found = self._metadata_of(batch, file)
        for index, metadata in zip(batch if self.verify_checksums else [], found, strict=False):
            expected = self._index.metadata_checksum(index)
            if expected != NO_CHECKSUM and attributes.is_damaged(attributes.metadata_checksum(metadata), expected):
                raise ChecksumError(
                    f"The metadata of episode {index} in {self._file} differs from what was written: its checksum "
                    f"does not match; copy or download the dataset again, or delete {INDEX_NAME} beside the file if "
                    f"it was changed on purpose."
                )
        return found

    def _add_metadata_checksums(self, indices: Iterable[int]) -> None:
        """Compute the missing checksums of the current metadata of these episodes."""
        remaining = iter(indices)
        while batch := list(islice(remaining, _EPISODES_AT_A_TIME)):
            self._at_one_moment(partial(self._add_checksums_of_metadata, batch))
        with self._index.lock.current:
            self._index.save()

    def _add_checksums_of_metadata(self, batch: Sequence[int], file: DataFile) -> None:
        for index, metadata in zip(batch, self._metadata_of(batch, file), strict=True):
            if self._index.metadata_checksum(index) == NO_CHECKSUM:
                self._index.set_metadata_checksum(index, attributes.metadata_checksum(metadata))

    def _episodes_without_checksums(self, indices: Iterable[int]) -> list[int]:
        remaining, missing = iter(indices), []
        while batch := list(islice(remaining, _EPISODES_AT_A_TIME)):
            missing += self._at_one_moment(partial(self._batch_without_checksums, batch))
        return missing

    def _batch_without_checksums(self, batch: Sequence[int], file: DataFile) -> list[int]:
        self._locate(batch, file)
        return self._index.without_checksums(batch)

    def _add_missing_checksums(self) -> int:
        missing = self._episodes_without_checksums(range(self.total_episodes))
        for index, columns in self._read_columns(missing):
            checksums = {path: checksum_of(column) for path, column in infos.with_own_types(columns).items()}
            with self._index.lock.current:
                self._index.add_checksums(index, checksums)
        self._add_metadata_checksums(range(self.total_episodes))
        return len(missing)

    def _checksums_of(self, index: int, file: DataFile) -> dict[ColumnPath, int]:
        self._locate([index], file)
        known = self._index.checksums(index)
        if len(known) == len(self._placed(index)[0].leaves):
            return known
        ((_, columns),) = self._own_columns([index], file)
        return {path: checksum_of(column) for path, column in columns.items()} | known

    # Index

    def _index_problems(self) -> Iterator[tuple[int | None, str]]:
        total = self.total_episodes
        if not total:
            return
        found = self._at_one_moment(lambda file: self._episodes(file).count())
        with self._index.lock.current:
            known = self._index.total
        if known is not None and known != found:
            yield None, f"{INDEX_NAME} claims {known} episodes, and {self._file} has {found}"
        remaining = iter(track(range(total), "checking the index", total=total))
        while batch := list(islice(remaining, _EPISODES_AT_A_TIME)):
            yield from self._at_one_moment(partial(self._misplaced, batch))

    def _misplaced(self, batch: Iterable[int], file: DataFile) -> list[tuple[int | None, str]]:
        """Return those of the episodes that lie elsewhere in the file than the index says."""
        problems: list[tuple[int | None, str]] = []
        for index in batch:
            known = self._index.find(index)
            if known is None:
                continue
            try:
                placed = self._episodes(file).locate(index, self._known_paths)
            except DatasetCorruptError as error:
                problems.append((index, f"{INDEX_NAME} has a place for episode {index}, which HDF5 does not: {error}"))
                continue
            steps, header = int(placed.total_steps[0]), int(placed.headers[0])
            schema, places = placed.schema, placed.places[0].tolist()
            lengths: Any = self._index.lengths(np.array([index]))
            wrong = differing_place(*known, schema, places)
            if wrong is None and (steps != lengths[0] or self._index.header(index) not in (header, UNKNOWN)):
                wrong = "its length" if steps != lengths[0] else "its metadata"
            if wrong is not None:
                problems.append((index, f"{INDEX_NAME} has another place for {wrong} of episode {index} than the file"))
        return problems

    def _repair_index(self) -> int:
        wrong = [index for index, _ in self._index_problems()]
        episodes = [index for index in wrong if index is not None]
        if wrong:
            with self._index.lock.current:
                self._index.forget(episodes)
                self._index.total = None
            self._at_one_moment(partial(self._locate, episodes))
            self._count_episodes()
            with self._index.lock.current:
                self._index.save()
        return len(wrong)

    # Writing

    def _start(self) -> None:
        with self._file.open("xb") as file:
            file.write(writer.empty_file())

    def _writer(self) -> AbstractContextManager[EpisodeWriter]:
        return self._open_writer(replacing=False)

    def _rewriter(self) -> AbstractContextManager[EpisodeWriter]:
        return self._open_writer(replacing=True)

    @contextmanager
    def _excluding_others(self) -> Iterator[None]:
        """Lock the file, as programs that write to it through HDF5 do."""
        held = lock(self._file, self._file) if self._file.exists() else None
        try:
            yield
        finally:
            if held is not None:
                held.release()

    @contextmanager
    def _open_writer(self, *, replacing: bool) -> Iterator[EpisodeWriter]:
        with folder_lock(self.data_path):
            context = writer.WriterContext(
                self._file,
                self._index,
                self.total_episodes,
                self._known_paths,
                self._agents,
                self._codec_for,
                self.durable,
            )
            with writer.open_writer(context, replacing=replacing) as opened:
                yield opened
            if opened.redescribed:
                with failures_logged(f"Making checksums of the metadata of episodes in {self._file}"):
                    self._add_metadata_checksums(opened.redescribed)

    def stored_episodes(self, indices: Iterable[int]) -> Iterator[appender.StoredEpisode | EpisodeColumns]:
        """Return episodes in their stored form, or with their values if their bytes cannot be copied."""
        remaining = iter(indices)
        while batch := list(islice(remaining, _EPISODES_AT_A_TIME)):
            yield from self._at_one_moment(partial(self._stored_batch, batch))

    def _stored_batch(self, batch: Sequence[int], file: DataFile) -> list[appender.StoredEpisode | EpisodeColumns]:
        self._locate(batch, file)
        episodes: list[appender.StoredEpisode | EpisodeColumns] = []
        for index, metadata in zip(batch, self._metadata_of(batch, file), strict=True):
            del metadata["id"]
            total_steps, known = int(metadata.pop("total_steps")), self._index.metadata_checksum(index)
            columns = self._stored_columns(index, file)
            if columns is None:
                ((_, values),) = self._own_columns([index], file)
                self._verify(index, values, self._index.checksums(index))  # since new ones are computed from them
                episodes.append(EpisodeColumns(total_steps, values, metadata))
            else:
                episodes.append(
                    appender.StoredEpisode(total_steps, columns, metadata, self._checksums_of(index, file), known)
                )
        return episodes

    def _stored_columns(self, index: int, file: DataFile) -> Mapping[ColumnPath, Column | StoredColumn] | None:
        schema, places = self._placed(index)
        columns: dict[ColumnPath, Column | StoredColumn] = {}
        plain: list[tuple[int, Column]] = []
        others, position = [], 0
        for leaf in schema.leaves:
            shape, offset = (places[position], *leaf.shape), places[position + 1]
            position += 1 + leaf.pieces
            if leaf.dtype is None or (leaf.filters is None and leaf.chunks is not None):
                others.append(leaf.path)
            elif leaf.filters is None:
                columns[leaf.path] = array = np.empty(shape, leaf.dtype)
                plain.append((offset, array))
            else:
                columns[leaf.path] = self._stored(file, index, leaf, shape, offset)
        try:
            file.read_arrays(plain)
        except ValueError as error:
            raise self._cut_off(index, error) from error
        if not others:
            return columns
        stored = self._episodes(file).stored_columns(index, self._index.header(index), others)
        return None if stored is None else {**columns, **stored}
