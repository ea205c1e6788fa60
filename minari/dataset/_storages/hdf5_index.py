"""Where each leaf of each episode lies in an HDF5 file, kept beside it.

With the index an episode is read without HDF5: look up, map, view. It lives in two files beside the
data, ``.index.json`` (what the leaves are, and the size and time of the data file it belongs to) and
a table of integers, one row an episode. Where size and time do not agree with the data file, another
program has changed it, and the index starts anew: episodes are then located through HDF5 when they
are first read.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import secrets
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from minari.dataset._storages.hdf5_filters import is_known
from minari.dataset._storages.hdf5_objects import Filter
from minari.dataset._storages.mapped_file import stamp_of
from minari.spaces import Path


INDEX_NAME: Final = ".index.json"
_VERSION: Final = 4
#: In the first column: the episode has not been located yet; among the headers: HDF5 has to be asked.
UNKNOWN: Final = -1
_MORE_ROWS: Final = 1024  # at least, so that appending to a table does not move it each time
_FIXED: Final = 3  # columns before those of the leaves: which schema, the number of steps, and the header


@dataclass(frozen=True, slots=True)
class LeafPlace:
    """What a leaf is like in the file, apart from where it lies and how many rows it has.

    Attributes:
        path: of its column.
        dtype: of its numbers; None where the leaf has to be read through HDF5.
        shape: of one row.
        chunks: the shape of the chunks that it lies in; None where it lies in one piece.
        pieces: the number of places that tell where it lies: one for each chunk, or one for all. Where there
            are filters it is that of the table of chunks.
        filters: that the chunks have gone through; None where they lie there as they are.
    """

    path: Path
    dtype: np.dtype[Any] | None
    shape: tuple[int, ...]
    chunks: tuple[int, ...] | None = None
    pieces: int = 1
    filters: tuple[Filter, ...] | None = None

    @property
    def needs_hdf5(self) -> bool:
        """Whether it has to be read through HDF5."""
        return self.dtype is None or (self.filters is not None and not is_known(self.filters))


@dataclass(frozen=True, slots=True)
class Schema:
    """What the leaves of an episode are like.

    Attributes:
        leaves: in their order in a row of the index.
        width: how many numbers tell where they lie: for each leaf its rows and the offset of each piece.
        is_mapped: whether each lies in the file as it is, in one piece.
        needs_hdf5: whether one of them has to be read through HDF5.
        is_copyable: whether each lies in one piece, or in chunks that have a table.
        views: where it is mapped, the path, dtype and shape of a row of each leaf.
        step_size: bytes of a row of all leaves.
    """

    leaves: tuple[LeafPlace, ...]
    width: int = field(init=False, compare=False)
    is_mapped: bool = field(init=False, compare=False)
    needs_hdf5: bool = field(init=False, compare=False)
    is_copyable: bool = field(init=False, compare=False)
    views: tuple[tuple[Path, np.dtype[Any], tuple[int, ...]], ...] = field(init=False, compare=False)
    step_size: int = field(init=False, compare=False)

    def __post_init__(self) -> None:
        views = [
            (leaf.path, leaf.dtype, leaf.shape)
            for leaf in self.leaves
            if leaf.dtype is not None and leaf.chunks is None
        ]
        tables = sum(leaf.filters is not None for leaf in self.leaves)
        derived = {
            "width": sum(1 + leaf.pieces for leaf in self.leaves),
            "is_mapped": len(views) == len(self.leaves),
            "needs_hdf5": any(leaf.needs_hdf5 for leaf in self.leaves),
            "is_copyable": len(views) + tables == len(self.leaves),
            "views": tuple(views),
            "step_size": sum(math.prod(shape, start=dtype.itemsize) for _, dtype, shape in views),
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)

    def decompressed_size(self, places: Sequence[int]) -> int:
        """The number of bytes of the compressed leaves of an episode when they are no longer that."""
        size = position = 0
        for leaf in self.leaves:
            if leaf.filters is not None and leaf.dtype is not None:
                size += places[position] * math.prod(leaf.shape, start=leaf.dtype.itemsize)
            position += 1 + leaf.pieces
        return size


@dataclass(frozen=True, slots=True)
class PlacedEpisodes:
    """Where episodes lie whose leaves are alike.

    Attributes:
        schema: what their leaves are like.
        indices: of the episodes.
        total_steps: of each episode.
        headers: the address of the group of each episode, or ``UNKNOWN`` where its attributes are not all
            of its metadata.
        places: for each leaf its rows and the offset of each piece, of shape (episodes, width of the schema).
    """

    schema: Schema
    indices: npt.NDArray[np.int64]
    total_steps: npt.NDArray[np.int64]
    headers: npt.NDArray[np.int64]
    places: npt.NDArray[np.int64]


class EpisodeIndex:
    """The places of the leaves of the episodes of one file.

    Args:
        data_file: the HDF5 file; the index lies beside it.
    """

    def __init__(self, data_file: FilePath) -> None:
        self._data_file = data_file
        self._header_file = data_file.with_name(INDEX_NAME)
        self._forget()

    def _forget(self) -> None:
        self._schemas: list[Schema] = []
        self._schema_numbers: dict[Schema, int] = {}
        self._rows: npt.NDArray[np.int64] = np.full((0, _FIXED), UNKNOWN, dtype=np.int64)
        self._count = 0
        self.total: int | None = None  # episodes in the file, where that is known
        self.stamp: tuple[int, int] | None = None  # of the data file
        self._table_name: str | None = None
        self._saved_rows = 0
        self._checksum = 0  # of the saved rows
        self._unsaved = False

    @property
    def count(self) -> int:
        """The number of episodes up to the last one that is known."""
        return self._count

    def refresh(self) -> bool:
        """Look whether the data file is still the one that the index describes; read it anew if not.

        Returns:
            Whether anything changed, so that a map of the file has to be made again.
        """
        stamp = stamp_of(self._data_file.stat())
        if stamp == self.stamp:
            return False
        self._forget()
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            self._load(stamp)
        self.stamp = stamp
        return True

    def _load(self, stamp: tuple[int, int]) -> None:
        header = json.loads(self._header_file.read_text(encoding="utf-8"))
        if header["version"] != _VERSION or tuple(header["stamp"]) != stamp:
            return
        width, count, total = header["width"], header["episodes"], header["total"]
        with self._data_file.with_name(header["table"]).open("rb") as file:
            if os.fstat(file.fileno()).st_size < 8 * width * count:
                return  # cut off by a crash
            rows = np.full((count + max(count // 8, _MORE_ROWS), width), UNKNOWN, dtype="<i8")  # room to append
            file.readinto(_bytes_of(rows[:count]))
        schemas = [Schema(tuple(map(_place_from_json, leaves))) for leaves in header["schemas"]]
        checksum = zlib.crc32(_bytes_of(rows[:count]))
        if checksum != header["checksum"] or (rows[:count, 0] >= len(schemas)).any():
            return  # damaged, or two readers wrote it at once
        self._rows, self._count, self._saved_rows, self._checksum = rows, count, count, checksum
        self._schemas = schemas
        self._schema_numbers = {schema: number for number, schema in enumerate(schemas)}
        self._table_name, self.total = header["table"], total

    def find(self, index: int) -> tuple[Schema, list[int]] | None:
        """The leaves of an episode, and rows and offsets of each in turn; None where not known."""
        if index >= self._count:
            return None
        row: list[int] = self._rows[index].tolist()
        return None if row[0] == UNKNOWN else (self._schemas[row[0]], row[_FIXED:])

    def lengths(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int64] | None:
        """The numbers of steps of these episodes; None where one of them is not known."""
        if len(indices) and indices.max() >= self._count:
            return None
        if (self._rows[indices, 0] == UNKNOWN).any():
            return None
        lengths: npt.NDArray[np.int64] = self._rows[indices, 1]
        return lengths

    def header(self, index: int) -> int:
        """The address of the group of an episode, whose attributes are all of its metadata, or ``UNKNOWN``."""
        known = index < self._count and self._rows[index, 0] != UNKNOWN
        return int(self._rows[index, 2]) if known else UNKNOWN

    def add(self, episodes: PlacedEpisodes) -> None:
        """Remember where episodes lie."""
        number = self._schema_numbers.setdefault(episodes.schema, len(self._schemas))
        if number == len(self._schemas):
            self._schemas.append(episodes.schema)
        indices, end = episodes.indices, int(episodes.indices.max()) + 1
        self._reserve(end, _FIXED + episodes.schema.width)
        first = np.full(len(indices), number), episodes.total_steps, episodes.headers
        self._rows[indices, : _FIXED + episodes.schema.width] = np.column_stack([*first, episodes.places])
        if indices.min() < self._saved_rows:
            self._table_name = None  # a saved row has changed: the table is written anew
        self._count = max(self._count, end)
        self._unsaved = True

    def _reserve(self, rows: int, width: int) -> None:
        old_rows, old_width = self._rows.shape
        if rows > old_rows or width > old_width:
            grown_rows = max(old_rows, rows if rows <= old_rows else max(rows, 2 * old_rows))
            grown = np.full((grown_rows, max(width, old_width)), UNKNOWN, dtype=np.int64)
            grown[: self._count, :old_width] = self._rows[: self._count]
            self._rows = grown

    def save(self, stat: os.stat_result | None = None) -> None:
        """Write what is new, if anything and if it is still true; a folder that is read-only is no error.

        Args:
            stat: what the data file is like now, where the caller has just changed it.
        """
        if stat is not None:
            self.stamp, self._unsaved = stamp_of(stat), True
        if self._unsaved:
            with contextlib.suppress(OSError):
                if self.stamp == stamp_of(self._data_file.stat()):
                    self._write()
            self._unsaved = False

    def _write(self) -> None:
        width = self._rows.shape[1]
        old_table = self._saved_table()
        appending = old_table is not None and old_table == self._table_name and self._saved_width == width
        name = self._table_name if appending and self._table_name else f".index.{secrets.token_hex(4)}.i8"
        table = self._data_file.with_name(name)
        first = self._saved_rows if appending else 0
        new_rows = np.ascontiguousarray(self._rows[first : self._count], dtype="<i8")
        checksum = zlib.crc32(_bytes_of(new_rows), self._checksum if appending else 0)
        with table.open("r+b" if appending else "xb") as file:
            file.seek(first * width * 8)
            file.write(new_rows.data)
        header = {
            "version": _VERSION,
            "stamp": self.stamp,
            "table": name,
            "width": width,
            "episodes": self._count,
            "checksum": checksum,
            "total": self.total,
            "schemas": [[_place_to_json(leaf) for leaf in schema.leaves] for schema in self._schemas],
        }
        temporary = self._header_file.with_name(f".index.{secrets.token_hex(4)}.json")
        temporary.write_text(json.dumps(header), encoding="utf-8")
        temporary.replace(self._header_file)
        if old_table is not None and old_table != name:
            with contextlib.suppress(OSError):
                self._data_file.with_name(old_table).unlink()
        self._table_name, self._saved_rows, self._checksum = name, self._count, checksum

    def _saved_table(self) -> str | None:
        self._saved_width = 0
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            header = json.loads(self._header_file.read_text(encoding="utf-8"))
            self._saved_width = header["width"]
            name: str = header["table"]
            return name if FilePath(name).name == name else None
        return None


def _bytes_of(rows: npt.NDArray[np.int64]) -> memoryview:
    flat: Any = rows.reshape(-1).view(np.uint8)
    return memoryview(flat)


def _place_to_json(place: LeafPlace) -> list[Any]:
    dtype = place.dtype.str if place.dtype is not None else None
    return [place.path, dtype, place.shape, place.chunks, place.pieces, place.filters]


def _place_from_json(item: list[Any]) -> LeafPlace:
    path, dtype, shape, chunks, pieces, filters = item
    return LeafPlace(
        tuple(path),
        np.dtype(dtype) if dtype is not None else None,
        tuple(shape),
        tuple(chunks) if chunks is not None else None,
        pieces,
        tuple((number, tuple(values), name) for number, values, name in filters) if filters is not None else None,
    )
