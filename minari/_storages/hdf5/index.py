"""Index of an HDF5 file: the position of each leaf of each episode, and the checksums of their values.

With the index, an episode is read without HDF5. It is stored in two files beside the data: ``.index.json``
describes the leaves and identifies the data file, and a table of integers has one row per episode.

It is not trusted. Its content is compared with the data file before use, one checksum covers both files, and
an index that is wrong in any way is ignored: episodes are then located in the data file when they are first
read. The index belongs to the data file if the size, the modification time and the checksum of both ends
agree, and also the change time, which nobody can set, unless the file is a copy with another inode. For
another data file, only the checksums are kept, as expectations for episodes whose leaves are unchanged.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import secrets
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from minari._base.checksums import bytes_checksum, column_checksum
from minari._base.data_file import DataFile, stamp_of
from minari._base.files import open_regular, read_regular
from minari._base.json_text import parse_json
from minari._base.locks import ThreadLock
from minari._storages.hdf5.format.codecs import MOST_EXPANDED
from minari._storages.hdf5.format.filters import is_known, most_decoded
from minari._storages.hdf5.format.objects import MOST_DIMENSIONS, Filter
from minari.errors import UnsafePathError
from minari.spaces import Column, ColumnPath, path_name


INDEX_NAME: Final = ".index.json"
_VERSION: Final = 5
#: Values of the first column: the episode has not been located yet; for headers: HDF5 is required. A smaller
#: value in the first column gives the schema that the episode had when the checksums were computed.
UNKNOWN: Final = -1
#: Value for a missing checksum of a leaf.
NO_CHECKSUM: Final = 0
#: Columns before those of the leaves: schema, number of steps, header, and checksum of the metadata.
_FIXED: Final = 4
_PLACED: Final = 3  # of those, the ones that describe the current file
_ENDS: Final = 2**16  # bytes at the beginning and the end of the data file that are covered by a checksum

# Limits for a header.
_LARGEST_HEADER: Final = 2**23  # bytes
_LARGEST_TABLE: Final = 2**26  # bytes, in addition to eight times those of the data file
_TABLE_NAME: Final = re.compile(r"\.index\.[0-9a-f]{8}\.i8")
_DTYPE: Final = re.compile(r"[<>|]([biu][1248]|f(2|4|8|12|16)|c(8|16|24|32))")
_MOST_PIECES: Final = 2**12
_MOST_FILTERS: Final = 32
_LARGEST: Final = 2**53  # of factors


@dataclass(frozen=True, slots=True)
class LeafPlace:
    """The layout of a leaf in the file, without its position and number of rows.

    Attributes:
        path: path of its column.
        dtype: dtype of its numbers; None if the leaf has to be read through HDF5.
        shape: shape of a row.
        chunks: the shape of its chunks; None if it is contiguous.
        pieces: the number of positions that locate it: one for each chunk, or one for all. With filters, it
            is the position of the table of chunks.
        filters: filters of the chunks; None if they are stored unfiltered.
    """

    path: ColumnPath
    dtype: np.dtype[Any] | None
    shape: tuple[int, ...]
    chunks: tuple[int, ...] | None = None
    pieces: int = 1
    filters: tuple[Filter, ...] | None = None

    @property
    def needs_hdf5(self) -> bool:
        """Return whether it has to be read through HDF5."""
        return self.dtype is None or (self.filters is not None and not is_known(self.filters))


@dataclass(frozen=True, slots=True)
class Schema:
    """The layout of the leaves of an episode.

    Attributes:
        leaves: the leaves, in the order of a row of the index.
        width: the number of positions: for each leaf its rows and the offset of each piece.
        row_width: the length of a row of the index: these, the fixed columns, and a checksum for each leaf.
        is_mapped: True if each leaf is contiguous and stored unchanged.
        needs_hdf5: True if one of them has to be read through HDF5.
        is_copyable: True if each is contiguous, or in chunks with a table.
        views: if it is mapped, the path, dtype and row shape of each leaf.
        row_sizes: for each leaf that needs no HDF5, the position of its number of rows, and the size of a row
            in bytes.
        is_native: True if the numbers that need no HDF5 are in native byte order.
    """

    leaves: tuple[LeafPlace, ...]
    width: int = field(init=False, compare=False)
    row_width: int = field(init=False, compare=False)
    is_mapped: bool = field(init=False, compare=False)
    needs_hdf5: bool = field(init=False, compare=False)
    is_copyable: bool = field(init=False, compare=False)
    views: tuple[tuple[ColumnPath, np.dtype[Any], tuple[int, ...]], ...] = field(init=False, compare=False)
    row_sizes: tuple[tuple[int, int], ...] = field(init=False, compare=False)
    is_native: bool = field(init=False, compare=False)

    def __post_init__(self) -> None:
        views: list[tuple[ColumnPath, np.dtype[Any], tuple[int, ...]]] = []
        row_sizes: list[tuple[int, int]] = []
        width = tables = 0
        is_native, needs_hdf5 = True, False
        for leaf in self.leaves:
            if leaf.dtype is not None:
                row_sizes.append((width, math.prod(leaf.shape, start=leaf.dtype.itemsize)))
                is_native &= leaf.dtype.isnative
                if leaf.chunks is None:
                    views.append((leaf.path, leaf.dtype, leaf.shape))
            needs_hdf5 |= leaf.needs_hdf5
            tables += leaf.filters is not None
            width += 1 + leaf.pieces
        derived = {
            "width": width,
            "row_width": _FIXED + width + len(self.leaves),
            "is_native": is_native,
            "is_mapped": len(views) == len(self.leaves),
            "needs_hdf5": needs_hdf5,
            "is_copyable": len(views) + tables == len(self.leaves),
            "views": tuple(views),
            "row_sizes": tuple(row_sizes),
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)

    def needs_hdf5_for(self, paths: Container[ColumnPath] | None) -> bool:
        """Return whether one of the leaves at these paths, or of all, has to be read through HDF5."""
        if paths is None or not self.needs_hdf5:
            return self.needs_hdf5
        return any(leaf.needs_hdf5 and leaf.path in paths for leaf in self.leaves)

    def size(self, places: Sequence[int]) -> int:
        """Return the number of bytes of the values of an episode."""
        return sum([places[place] * size for place, size in self.row_sizes])

    def decompressed_size(self, places: Sequence[int]) -> int:
        """Return the number of decompressed bytes of the compressed leaves of an episode."""
        size = position = 0
        for leaf in self.leaves:
            if leaf.filters is not None and leaf.dtype is not None:
                size += places[position] * math.prod(leaf.shape, start=leaf.dtype.itemsize)
            position += 1 + leaf.pieces
        return size


@dataclass(frozen=True, slots=True)
class PlacedEpisodes:
    """Positions of episodes with the same layout.

    Attributes:
        schema: the layout of their leaves.
        indices: numbers of the episodes.
        total_steps: number of steps of each episode.
        headers: the address of the group of each episode, or ``UNKNOWN`` if its attributes are not all of its
            metadata.
        places: for each leaf its rows and the offset of each piece, of shape (episodes, width of the schema).
        checksums: of the values of each leaf, of shape (episodes, leaves); None if they were only located.
        metadata_checksums: of the metadata of each episode; None if they were only located.
    """

    schema: Schema
    indices: npt.NDArray[np.int64]
    total_steps: npt.NDArray[np.int64]
    headers: npt.NDArray[np.int64]
    places: npt.NDArray[np.int64]
    checksums: npt.NDArray[np.int64] | None = None
    metadata_checksums: npt.NDArray[np.int64] | None = None


def checksum_of(column: Column) -> int:
    """Return the checksum of a leaf in the form used by the index."""
    return column_checksum(column) or ~NO_CHECKSUM


class EpisodeIndex:
    """The positions of the leaves of the episodes of one file.

    Args:
        data_file: the HDF5 file; the index is stored beside it.
        needed: leaves that every episode has; an index without them is not used.

    Attributes:
        lock: must be held while the index is used.
    """

    def __init__(self, data_file: Path, needed: Iterable[ColumnPath] = ()) -> None:
        self._data_file, self._needed = data_file, frozenset(needed)
        self._header_file = data_file.with_name(INDEX_NAME)
        self.lock = ThreadLock()
        self._forget()

    def _forget(self) -> None:
        self._schemas: list[Schema] = []
        self._schema_numbers: dict[Schema, int] = {}
        self._rows: npt.NDArray[np.int64] = np.full((0, _FIXED), UNKNOWN, dtype=np.int64)
        self._count = 0
        self.total: int | None = None  # number of episodes in the file, if known
        self.stamp: tuple[int, ...] | None = None  # of the data file
        self._is_read = False  # True if it was read from a file
        self._table_name: str | None = None
        self._saved_rows = 0
        self._unsaved = False

    @property
    def count(self) -> int:
        """Return the number of episodes up to the last known one."""
        return self._count

    def refresh(self, file: DataFile) -> bool:
        """Check whether the index still describes the data file; otherwise read it again.

        Args:
            file: the current data file.

        Returns:
            True if anything has changed.
        """
        stamp = file.stamp
        if stamp == self.stamp:
            return False
        is_in_place = self.stamp is not None and self.stamp[3:] == stamp[3:]
        known = (self._schemas, self._rows, self._count) if is_in_place else ([], self._rows, 0)
        self._forget()
        with contextlib.suppress(*_IGNORED):
            self._read(file)
        if known[2] and not self._is_read:
            self._forget()
            self._schemas, self._rows, self._count = known
            self._schema_numbers = {schema: number for number, schema in enumerate(self._schemas)}
            self._keep_checksums_only()
        self.stamp = stamp
        return True

    def reread(self) -> None:
        """Detect changes of the data file while no change to it is pending.

        Raises:
            FileNotFoundError: there is no such file.
        """
        with self.lock.current, DataFile(self._data_file) as file:
            self.refresh(file)

    def _read(self, file: DataFile) -> None:
        """Load the saved index.

        Raises:
            ValueError: or another exception in ``_IGNORED``: it cannot be used.
        """
        header = parse_json(read_regular(self._header_file, _LARGEST_HEADER))
        if header["version"] != _VERSION:
            return
        width = _checked(header["width"], _FIXED, _LARGEST_HEADER)
        schemas = []
        for leaves in header["schemas"]:
            schema = Schema(tuple(map(_place_from_json, leaves)))
            paths = {leaf.path for leaf in schema.leaves}
            if len(paths) < len(schema.leaves) or not self._needed <= paths:
                raise ValueError("a leaf comes twice, or is missing")
            if schema.row_width > width:
                raise ValueError("a row is too short")
            schemas.append(schema)
        most = (_LARGEST_TABLE + 8 * _stored_size(file.status)) // (8 * width)
        count = _checked(header["episodes"], 0, most)
        total = None if header["total"] is None else _checked(header["total"], count, most)
        name = _checked_name(header["table"])
        with DataFile(self._data_file.with_name(name)) as table:
            if table.size < 8 * width * count:
                raise ValueError("cut off by a crash")
            rows = np.empty((count, width), dtype="<i8")
            table.read_arrays([(0, rows)])
        if header["checksum"] != index_checksum(header, rows):
            raise ValueError("damaged, or written by two readers concurrently")
        numbers = rows[:, 0]
        if count and not -1 - len(schemas) <= numbers.min() <= numbers.max() < len(schemas):
            raise ValueError("a row has a schema that is missing")
        is_current = file.change is None and _is_of(header["file"], file) and _are_sound(schemas, rows, file.size)
        self._schemas, self._rows, self._count = schemas, rows, count
        self._schema_numbers = {schema: number for number, schema in enumerate(schemas)}
        if is_current:
            self._is_read = True
            self._saved_rows, self._table_name, self.total = count, name, total
        else:
            self._keep_checksums_only()

    def _keep_checksums_only(self) -> None:
        """Discard all positions and keep the checksums as expectations."""
        self._rows = self._rows[: self._count].copy()
        numbers = self._rows[:, 0]
        is_placed = numbers > UNKNOWN
        self._rows[is_placed, 1:_PLACED] = UNKNOWN
        self._rows[is_placed, 0] = UNKNOWN - 1 - numbers[is_placed]
        self._is_read, self._table_name, self._saved_rows, self.total = False, None, 0, None

    def distrust(self) -> bool:
        """Discard all positions if they come from a file that may be wrong.

        Returns:
            True if they do.
        """
        was_read = self._is_read
        if was_read:
            self._keep_checksums_only()
        return was_read

    def find(self, index: int) -> tuple[Schema, list[int]] | None:
        """Return the leaves of an episode, with rows and offsets of each in turn; None if unknown."""
        if index >= self._count:
            return None
        row: list[int] = self._rows[index].tolist()
        if row[0] < 0:
            return None
        schema = self._schemas[row[0]]
        return schema, row[_FIXED : _FIXED + schema.width]

    def leaf(self, path: ColumnPath) -> list[tuple[LeafPlace, npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
        """Return where a leaf lies: its layouts, each with the episodes and, in a row, their row counts and offsets."""
        found = []
        rows = self._rows[: self._count]
        for number, episodes in self._episodes_by_schema(rows[:, 0]):
            schema = self._schemas[number]
            for leaf, place in zip(schema.leaves, _row_places(schema), strict=True):
                if leaf.path == path:
                    of_leaf = rows[:, _FIXED + place : _FIXED + place + 1 + leaf.pieces]
                    found.append((leaf, episodes, of_leaf if len(episodes) == len(rows) else of_leaf[episodes]))
        return found

    def _episodes_by_schema(self, numbers: npt.NDArray[np.int64]) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
        """Yield the number of each schema, and its episodes, of which there are some."""
        if len(numbers) and numbers[0] >= 0 and (numbers == numbers[0]).all():  # the most frequent case
            yield int(numbers[0]), np.arange(len(numbers))
            return
        for number in range(len(self._schemas)):
            if len(episodes := np.flatnonzero(numbers == number)):
                yield number, episodes

    def unknown(self, total: int) -> npt.NDArray[np.int64]:
        """Return the episodes below a number whose positions are not known."""
        known = min(self._count, total)
        missing = np.flatnonzero(self._rows[:known, 0] < 0)
        return missing if known == total else np.concatenate([missing, np.arange(known, total)])

    def lengths(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int64] | None:
        """Return the numbers of steps of these episodes; None if one of them is unknown."""
        if len(indices) and indices.max() >= self._count:
            return None
        if (self._rows[indices, 0] < 0).any():
            return None
        lengths: npt.NDArray[np.int64] = self._rows[indices, 1]
        return lengths

    def header(self, index: int) -> int:
        """Return the address of the group of an episode whose attributes are all of its metadata, or ``UNKNOWN``."""
        known = index < self._count and self._rows[index, 0] >= 0
        return int(self._rows[index, 2]) if known else UNKNOWN

    def checksums(self, index: int) -> dict[ColumnPath, int]:
        """Return the known checksums of the leaves of a located episode."""
        if index >= self._count or self._rows[index, 0] < 0:
            return {}
        schema = self._schemas[self._rows[index, 0]]
        checksums: list[int] = self._rows[index, _FIXED + schema.width : schema.row_width].tolist()
        return {
            leaf.path: checksum
            for leaf, checksum in zip(schema.leaves, checksums, strict=True)
            if checksum != NO_CHECKSUM
        }

    def metadata_checksum(self, index: int) -> int:
        """Return the checksum of the metadata of an episode when it was written, or ``NO_CHECKSUM``."""
        known = index < self._count and self._rows[index, 0] != UNKNOWN
        return int(self._rows[index, _FIXED - 1]) if known else NO_CHECKSUM

    def set_metadata_checksum(self, index: int, checksum: int) -> None:
        """Set the checksum of the metadata of a known episode."""
        if index < self._count and self._rows[index, 0] != UNKNOWN:
            self._rows[index, _FIXED - 1] = checksum
            self._table_name = None
            self._unsaved = True

    def forget(self, indices: Iterable[int]) -> None:
        """Discard what is known about some episodes, and their checksums."""
        for index in indices:
            if index < self._count:
                self._rows[index] = UNKNOWN
        self._table_name = None
        self._unsaved = True

    def without_checksums(self, indices: Iterable[int]) -> list[int]:
        """Return those of the episodes that are unknown, or have a leaf without a checksum."""
        return [
            index
            for index in indices
            if (found := self.find(index)) is None or len(self.checksums(index)) < len(found[0].leaves)
        ]

    def add_checksums(self, index: int, checksums: dict[ColumnPath, int]) -> None:
        """Add the missing checksums of a located episode."""
        schema = self._schemas[self._rows[index, 0]]
        known = self._rows[index, _FIXED + schema.width : schema.row_width]
        new = [checksums[leaf.path] for leaf in schema.leaves]
        known[:] = np.where(known == NO_CHECKSUM, new, known)
        self._table_name = None
        self._unsaved = True

    def add(self, episodes: PlacedEpisodes) -> None:
        """Add the positions of episodes."""
        schema = episodes.schema
        checksums = episodes.checksums
        if checksums is None:
            checksums = np.array([self._expected(episodes, row) for row in range(len(episodes.indices))], np.int64)
        number = self._schema_numbers.setdefault(schema, len(self._schemas))
        if number == len(self._schemas):
            self._schemas.append(schema)
        indices, end = episodes.indices, int(episodes.indices.max()) + 1
        self._reserve(end, schema.row_width)
        of_metadata = episodes.metadata_checksums
        if of_metadata is None:
            of_metadata = np.array([self.metadata_checksum(index) for index in indices.tolist()], np.int64)
        first = np.full(len(indices), number), episodes.total_steps, episodes.headers, of_metadata
        self._rows[indices, : schema.row_width] = np.column_stack([*first, episodes.places, checksums])
        if indices.min() < self._saved_rows:
            self._table_name = None  # a saved row has changed: rewrite the table
        self._count = max(self._count, end)
        self._unsaved = True

    def _expected(self, episodes: PlacedEpisodes, row: int) -> list[int]:
        """Return the checksums computed when the leaves of an episode were the same as now."""
        index = int(episodes.indices[row])
        number = int(self._rows[index, 0]) if index < self._count else UNKNOWN
        if number == UNKNOWN:
            return [NO_CHECKSUM] * len(episodes.schema.leaves)
        schema = self._schemas[number if number > UNKNOWN else UNKNOWN - 1 - number]
        if not {leaf.path for leaf in schema.leaves} <= {leaf.path for leaf in episodes.schema.leaves}:
            return [NO_CHECKSUM] * len(episodes.schema.leaves)  # no checksum can show that a leaf is missing
        values: list[int] = self._rows[index, _FIXED : schema.row_width].tolist()
        known = {
            (leaf.path, leaf.dtype, leaf.shape, values[place]): checksum
            for leaf, place, checksum in zip(schema.leaves, _row_places(schema), values[schema.width :], strict=True)
        }
        places = episodes.places[row].tolist()
        return [
            known.get((leaf.path, leaf.dtype, leaf.shape, places[place]), NO_CHECKSUM)
            for leaf, place in zip(episodes.schema.leaves, _row_places(episodes.schema), strict=True)
        ]

    def _reserve(self, rows: int, width: int) -> None:
        old_rows, old_width = self._rows.shape
        if rows > old_rows or width > old_width:
            grown_rows = max(old_rows, rows if rows <= old_rows else max(rows, 2 * old_rows))
            grown = np.full((grown_rows, max(width, old_width)), UNKNOWN, dtype=np.int64)
            grown[: self._count, :old_width] = self._rows[: self._count]
            self._rows = grown

    def save(self, status: os.stat_result | None = None) -> None:
        """Save new entries that are still valid; a read-only directory is not an error.

        Args:
            status: the current status of the data file, if the caller has just changed it.
        """
        if status is not None:
            self.stamp, self._unsaved = stamp_of(status), True
        if self._unsaved:
            with contextlib.suppress(OSError, UnsafePathError), DataFile(self._data_file) as file:
                if self.stamp == file.stamp:
                    self._write(file)
            self._unsaved = False

    def remember(
        self, placed: Iterable[PlacedEpisodes], redescribed: Iterable[int], status: os.stat_result, total: int
    ) -> None:
        """Update the index with the changes of a writer, and save it.

        Args:
            placed: the written episodes.
            redescribed: the episodes with changed metadata, which has no checksums any more.
            status: the new status of the data file.
            total: the number of episodes in the file.
        """
        with self.lock.current:
            for episodes in placed:
                self.add(episodes)
            for index in redescribed:
                self.set_metadata_checksum(index, NO_CHECKSUM)
            self.total = total
            self.save(status)

    def confirm(self) -> None:
        """Accept the data file, which a writer has left unchanged, as the one that is described."""
        with self.lock.current, contextlib.suppress(OSError):
            status = self._data_file.stat()
            if self.stamp is not None and self.stamp[:2] == (status.st_size, status.st_mtime_ns):
                self.save(status)

    def _write(self, file: DataFile) -> None:
        width = self._rows.shape[1]
        old_name, old_width = None, 0
        with contextlib.suppress(*_IGNORED):
            saved = parse_json(read_regular(self._header_file, _LARGEST_HEADER))
            old_name, old_width = _checked_name(saved["table"]), saved["width"]
        appending = old_name is not None and (old_name, old_width) == (self._table_name, width)
        name = old_name if appending and old_name else f".index.{secrets.token_hex(4)}.i8"
        first = self._saved_rows if appending else 0
        rows = np.ascontiguousarray(self._rows[: self._count], dtype="<i8")
        header: dict[str, Any] = {
            "version": _VERSION,
            "file": identity_of(file),
            "table": name,
            "width": width,
            "episodes": self._count,
            "total": self.total,
            "schemas": [[_place_to_json(leaf) for leaf in schema.leaves] for schema in self._schemas],
        }
        text = json.dumps({**header, "checksum": index_checksum(header, rows)})
        if len(text) > _LARGEST_HEADER:
            return
        self._write_rows(name, rows[first:], first * width * 8, appending)
        temporary = self._header_file.with_name(f".index.{secrets.token_hex(4)}.json")
        with temporary.open("x", encoding="utf-8") as new:
            new.write(text)
        temporary.replace(self._header_file)
        if old_name is not None and old_name != name:
            with contextlib.suppress(OSError):
                self._data_file.with_name(old_name).unlink()
        self._table_name, self._saved_rows = name, self._count

    def _write_rows(self, name: str, rows: npt.NDArray[np.int64], offset: int, appending: bool) -> None:
        path = self._data_file.with_name(name)
        if not appending:
            with path.open("xb") as file:
                file.write(rows.data)
            return
        with os.fdopen(open_regular(path, os.O_RDWR, links=False), "r+b") as file:
            if os.fstat(file.fileno()).st_nlink > 1:
                raise OSError(f"{path} is another file as well")
            file.seek(offset)
            file.write(rows.data)


def differing_place(schema: Schema, places: Sequence[int], other: Schema, other_places: Sequence[int]) -> str | None:
    """Return the name of a leaf that lies elsewhere in one of two descriptions of an episode; None if none does.

    The order of the leaves does not matter, nor where an empty leaf lies, or one that is read through HDF5.
    """
    found, expected = _leaf_places(schema, places), _leaf_places(other, other_places)
    for path in [*found, *expected]:
        if path not in found or path not in expected:
            return path_name(path)
        (leaf, rows, offsets), (wanted, wanted_rows, wanted_offsets) = found[path], expected[path]
        is_elsewhere = leaf != wanted or (offsets != wanted_offsets and rows * math.prod(leaf.shape) > 0)
        if rows != wanted_rows or (is_elsewhere and leaf.dtype is not None and wanted.dtype is not None):
            return path_name(path)
    return None


def _leaf_places(schema: Schema, places: Sequence[int]) -> dict[ColumnPath, tuple[LeafPlace, int, Sequence[int]]]:
    """Return the layout of each leaf of an episode, its number of rows, and the offsets of its pieces."""
    return {
        leaf.path: (leaf, places[place], places[place + 1 : place + 1 + leaf.pieces])
        for leaf, place in zip(schema.leaves, _row_places(schema), strict=True)
    }


#: Exceptions raised by invalid index files, which are then ignored.
_IGNORED: Final = (OSError, ValueError, LookupError, TypeError, ArithmeticError, RecursionError, MemoryError)


def identity_of(file: DataFile) -> list[int]:
    """Return the identity of a data file: size, modification time, inode, change time, and ends."""
    status = file.status
    head = file.read_at(0, _ENDS)
    tail = file.read_at(max(0, file.size - _ENDS), _ENDS)
    ends = bytes_checksum(tail, bytes_checksum(head))
    return [status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns, ends]


def _is_of(identity: list[int], file: DataFile) -> bool:
    """Return whether an identity is that of a data file, or of the file that it is a copy of."""
    size, modified, inode, changed, ends = identity_of(file)
    if (identity[0], identity[1], identity[4]) != (size, modified, ends):
        return False
    return identity[2] != inode or identity[3] == changed


def _stored_size(status: os.stat_result) -> int:
    """Return the number of stored bytes of a file, since a sparse file can claim any size."""
    return min(status.st_size, 512 * getattr(status, "st_blocks", status.st_size))


def index_checksum(header: dict[str, Any], rows: npt.NDArray[np.int64]) -> int:
    """Return the checksum of the header, without the checksum itself, and of the rows of the table."""
    covered = {key: value for key, value in header.items() if key != "checksum"}
    return bytes_checksum(json.dumps(covered, sort_keys=True).encode(), bytes_checksum(rows))


def _are_sound(schemas: Sequence[Schema], rows: npt.NDArray[np.int64], size: int) -> bool:
    """Return whether all rows of a table are possible in a file of a size."""
    numbers = rows[:, 0]
    if len(rows) and (numbers == numbers[0]).all():  # the most frequent case
        return bool(numbers[0] < 0) or _are_possible(schemas[int(numbers[0])], rows, size)
    order = np.argsort(numbers, kind="stable")
    bounds = np.searchsorted(rows[order, 0], np.arange(len(schemas) + 1)).tolist()
    parts = zip(schemas, bounds, bounds[1:], strict=False)
    return all(_are_possible(schema, rows[order[begin:end]], size) for schema, begin, end in parts if begin < end)


def _are_possible(schema: Schema, rows: npt.NDArray[np.int64], size: int) -> bool:
    """Return whether episodes with these leaves can be in a file of a size as their rows claim."""
    least, most = rows.min(axis=0).tolist(), rows.max(axis=0).tolist()
    if least[1] < 0 or most[1] > MOST_EXPANDED * size or least[2] < UNKNOWN or most[2] > size:
        return False
    position = _FIXED
    for leaf in schema.leaves:
        of_offsets = slice(position + 1, position + 1 + leaf.pieces)
        counts, offsets = rows[:, position], rows[:, of_offsets]
        row_size = math.prod(leaf.shape, start=leaf.dtype.itemsize if leaf.dtype else 1)
        expanded = most_decoded(leaf.filters or (), size)
        if least[position] < 0 or most[position] > expanded // max(row_size, 1):
            return False
        if min(least[of_offsets]) < 0 or max(most[of_offsets]) > size:
            return False
        position = of_offsets.stop
        if leaf.path == ("rewards",) and (counts != rows[:, 1]).any():
            return False
        if leaf.filters is not None or leaf.dtype is None:
            continue
        if leaf.chunks is None:
            piece_sizes = counts * row_size
        else:
            piece_sizes = np.full(len(counts), math.prod(leaf.chunks, start=leaf.dtype.itemsize))
            sides = zip(leaf.shape, leaf.chunks[1:], strict=True)
            if (
                -(-counts // leaf.chunks[0]) * math.prod(-(-side // chunk) for side, chunk in sides) != leaf.pieces
            ).any():
                return False
        if (offsets > size - piece_sizes[:, None]).any():
            return False
    return True


def _row_places(schema: Schema) -> list[int]:
    """Return the columns with the number of rows of each leaf."""
    places, position = [], 0
    for leaf in schema.leaves:
        places.append(position)
        position += 1 + leaf.pieces
    return places


# Untrusted header


def _checked(value: Any, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"a number is not one from {least} to {most}")
    return value


def _checked_name(name: Any) -> str:
    if not isinstance(name, str) or not _TABLE_NAME.fullmatch(name):
        raise ValueError("the table has a name that no table has")
    return name


def _sides(values: Any, least: int, item_size: int) -> tuple[int, ...]:
    sides = tuple(values)
    if len(sides) > MOST_DIMENSIONS:
        raise ValueError("an array has too many dimensions")
    size = item_size
    for side in sides:
        size *= max(_checked(side, least, _LARGEST), 1)
    if size > _LARGEST:
        raise ValueError("an array is too large")
    return sides


def _place_to_json(place: LeafPlace) -> list[Any]:
    dtype = place.dtype.str if place.dtype is not None else None
    return [place.path, dtype, place.shape, place.chunks, place.pieces, place.filters]


def _place_from_json(item: list[Any]) -> LeafPlace:
    path, dtype_text, shape, chunks, pieces, filters = item
    if not path or not all(type(part) is str or (type(part) is int and part >= 0) for part in path):
        raise ValueError("a leaf has no name")
    if dtype_text is None:
        if [shape, chunks, pieces, filters] != [[], None, 1, None]:
            raise ValueError("a leaf without a dtype has more than rows")
        return LeafPlace(tuple(path), None, ())
    if not _DTYPE.fullmatch(dtype_text):
        raise ValueError("the dtype is not one of numbers")
    dtype = np.dtype(dtype_text)
    place = LeafPlace(
        tuple(path),
        dtype,
        _sides(shape, 0, dtype.itemsize),
        _sides(chunks, 1, dtype.itemsize) if chunks is not None else None,
        _checked(pieces, 1, _MOST_PIECES),
        tuple(map(_filter_from_json, filters)) if filters is not None else None,
    )
    if place.chunks is not None and len(place.chunks) != 1 + len(place.shape):
        raise ValueError("chunks have as many sides as the array")
    if place.pieces > 1 and (place.chunks is None or place.filters is not None):
        raise ValueError("only chunks are several pieces")
    if place.filters is not None and (place.chunks is None or not 1 <= len(place.filters) <= _MOST_FILTERS):
        raise ValueError("only chunks go through filters")
    return place


def _filter_from_json(item: list[Any]) -> Filter:
    number, values, name = item
    if not isinstance(name, str) or not isinstance(values, list):
        raise TypeError("a filter is a number, a list and a name")
    return _checked(number, 0, 2**16 - 1), tuple(_checked(value, 0, 2**32 - 1) for value in values), name
