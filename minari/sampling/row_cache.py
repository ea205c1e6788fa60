"""Row cache: decoded rows of compressed leaves, in memory or in files, so that each chunk is decoded once."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from minari._base.checksums import bytes_checksum
from minari._base.json_text import shortened
from minari._base.locks import ThreadLock
from minari._base.settings import get_cache_root
from minari._base.system_errors import storage_errors
from minari._model.arguments import check_count
from minari._storages.base import MinariStorage
from minari._storages.rows import RowRequest
from minari._storages.stacked_rows import frame_request, stacks_from
from minari.errors import ArgumentError
from minari.spaces import Column, ColumnPath, path_name


__all__ = ["CACHE_BYTES", "CacheKind", "RowCache"]

CacheKind = Literal["memory", "disk"]

CACHE_BYTES: Final = 2**32

_UNIT: Final = 1024  # rows of an episode that are decoded together; chunks have a power of two of rows
_ALREADY_PLAIN: Final = object()


def _boot_id() -> str | None:
    """Return the identity of this start of the system; None if it is unknown."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return None


#: After a power failure, flags may be on disk and the rows before them not, so files are used until the next start of
#: the system. Where that is unknown, rows are flushed before their flags are set.
_BOOT: Final = _boot_id()


class RowCache:
    """The rows of leaves over the episodes of a view, decoded when one of their neighbors is first asked for.

    Rows are numbered over all episodes, and each leaf has one array of them, of which the first ones are kept as far
    as the limit allows; others are decoded each time.

    Args:
        storage: of the dataset.
        numbers: the episodes of the view.
        lengths: their numbers of steps.
        kind: ``"memory"``, or ``"disk"`` for files that all processes share.
        limit: the greatest number of bytes of all leaves together.
    """

    def __init__(
        self,
        storage: MinariStorage,
        numbers: npt.NDArray[np.int64],
        lengths: npt.NDArray[np.int64],
        kind: CacheKind,
        limit: int,
    ) -> None:
        if kind not in ("memory", "disk"):
            raise ArgumentError(f"cache is {shortened(kind)}, expected None, 'memory' or 'disk'.")
        check_count("cache_bytes", limit)
        self._storage, self._kind, self._limit = storage, kind, int(limit)
        self._numbers, self._lengths = numbers, lengths
        self._lock = ThreadLock()
        self._leaves: dict[ColumnPath, _KeptRows | object] = {}
        self._used = 0
        self._state: Any = None
        # A view may have an episode several times, whose rows are kept once.
        self._episodes = np.unique(numbers)
        first = np.full(int(self._episodes[-1]) + 1, -1)
        first[numbers] = np.arange(len(numbers))
        self._ranks = np.full(len(first), -1)
        self._ranks[self._episodes] = np.arange(len(self._episodes))
        self._steps = lengths[first[self._episodes]]

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._storage, self._numbers, self._lengths, self._kind, self._limit)

    def read(self, request: RowRequest) -> Column | None:
        """Return the rows of a request; None if they are not worth keeping, or there is no room left.

        Stacks of frames that are stored once are kept once, too, if that is so in all episodes.
        """
        stacked = self._storage.frame_stacks.at(request.path)
        if stacked is not None and self._storage.has_only_frames(stacked):
            frames = self._rows(frame_request(stacked, request._replace(out=None)))
            return None if frames is None else stacks_from(stacked, request, frames)
        return self._rows(request)

    def _rows(self, request: RowRequest) -> Column | None:
        leaf = self._leaf(request)
        return leaf.read(request) if isinstance(leaf, _KeptRows) else None

    def _leaf(self, request: RowRequest) -> _KeptRows | object:
        state = self._storage.state
        with self._lock.current:
            if state != self._state:
                self._leaves, self._used, self._state = {}, 0, state
            if request.path not in self._leaves:
                self._leaves[request.path] = self._made(request)
            return self._leaves[request.path]

    def _made(self, request: RowRequest) -> _KeptRows | object:
        if self._storage.has_plain_rows(request):
            return _ALREADY_PLAIN
        counts = self._steps + self._storage.rows_beyond_steps(request.path)
        one = RowRequest(request.path, request.shape, self._episodes[:1], np.zeros(1, np.int64))
        (row,) = self._storage.read_rows([one])
        rows = min(int(counts.sum()), (self._limit - self._used) // max(row.nbytes, 1))
        self._used += rows * row.nbytes
        place: _MemoryPlace | _DiskPlace
        if self._kind == "memory":
            place = _MemoryPlace(rows, row[0])
        else:
            place = _DiskPlace(rows, row[0], self._file_of(request.path, rows))
        return _KeptRows(self._storage, self._episodes, self._ranks, counts, place)

    def _file_of(self, path: ColumnPath, rows: int) -> Path:
        """Return the file of a leaf; its name identifies the dataset, its state, and what the file contains."""
        dataset = bytes_checksum(os.fsencode(str(self._storage.data_path)))
        state = bytes_checksum(str(self._state).encode())
        view = bytes_checksum(np.concatenate([self._episodes, self._steps]).astype("<i8"))
        content = bytes_checksum(f"{view} {path_name(self._storage.full_path(path))} {rows} {_BOOT}".encode())
        return get_cache_root() / f"{dataset:016x}-{state:016x}-{content:016x}.rows"


class _MemoryPlace:
    """An array in memory that rows are kept in, and a flag for each unit of them.

    Args:
        rows: the number of rows.
        like: a row.
    """

    def __init__(self, rows: int, like: Column) -> None:
        self.rows = np.empty((rows, *like.shape), like.dtype)

    def open_flags(self, units: int) -> npt.NDArray[np.bool_]:
        return np.zeros(units, bool)

    def write(self, begin: int, rows: Column, unit: int, flags: npt.NDArray[np.bool_]) -> None:
        self.rows[begin : begin + len(rows)] = rows
        flags[unit] = True


class _DiskPlace:
    """Files that rows and flags are kept in, which are read through a map and shared between processes.

    They are written with calls that fail on a full disk, where writing to a map would kill the process.

    Args:
        rows: the number of rows.
        like: a row.
        path: the file of the rows; that of the flags is beside it. Files of other states of the dataset are deleted.
    """

    def __init__(self, rows: int, like: Column, path: Path) -> None:
        self._path = path
        with storage_errors(path):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            dataset, state = path.name.split("-")[:2]
            for old in path.parent.glob(f"{dataset}-*"):
                if old.name.split("-")[1] != state:
                    with suppress(OSError):
                        old.unlink()
            self._file = _sized(path, rows * like.nbytes)
            shape = (rows, *like.shape)
            self.rows: Column = (
                np.memmap(path, like.dtype, "r", shape=shape) if rows * like.nbytes else np.empty(shape, like.dtype)
            )

    def open_flags(self, units: int) -> npt.NDArray[np.bool_]:
        path = self._path.with_suffix(".flags")
        with storage_errors(path):
            self._flag_file = _sized(path, units)
            return np.memmap(path, bool, "r", shape=(units,)) if units else np.empty(0, bool)

    def write(self, begin: int, rows: Column, unit: int, flags: npt.NDArray[np.bool_]) -> None:
        with storage_errors(self._path):
            _write_at(self._file, np.ascontiguousarray(rows).tobytes(), begin * (rows.nbytes // len(rows)))
            if _BOOT is None:
                os.fsync(self._file)
            _write_at(self._flag_file, b"\1", unit)

    def __del__(self) -> None:
        for name in ("_file", "_flag_file"):
            if hasattr(self, name):
                os.close(getattr(self, name))


def _sized(path: Path, size: int) -> int:
    """Return the descriptor of a file of a size, which holds zeros if it is new.

    It is never made shorter, as other processes may be using it; its name determines its size.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | os.O_CLOEXEC, 0o600)
    if os.fstat(descriptor).st_size < size:
        os.ftruncate(descriptor, size)
    return descriptor


def _write_at(descriptor: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        if hasattr(os, "pwrite"):
            written = os.pwrite(descriptor, view, offset)
        else:  # Windows
            os.lseek(descriptor, offset, os.SEEK_SET)
            written = os.write(descriptor, view)
        view, offset = view[written:], offset + written


class _KeptRows:
    """The rows of one leaf.

    Args:
        storage: of the dataset.
        episodes: the numbers of the episodes, increasing.
        ranks: the position in it of each number.
        counts: the number of rows of each.
        place: where they are kept; the first rows of all, in this order.
    """

    def __init__(
        self,
        storage: MinariStorage,
        episodes: npt.NDArray[np.int64],
        ranks: npt.NDArray[np.int64],
        counts: npt.NDArray[np.int64],
        place: _MemoryPlace | _DiskPlace,
    ) -> None:
        self._storage, self._episodes, self._ranks, self._counts, self._place = storage, episodes, ranks, counts, place
        self._starts = np.cumsum(counts) - counts
        units = -(-counts // _UNIT)
        self._unit_starts = np.cumsum(units) - units
        self._flags = place.open_flags(int(units.sum()))

    def read(self, request: RowRequest) -> Column | None:
        """Return the rows of a request, decoding what is missing; None if some are not kept."""
        ranks = self._ranks[request.episodes]
        rows = request.all_rows
        per_row = ranks if rows.ndim == 1 else ranks[:, None]
        at = self._starts[per_row] + rows
        if rows.size and at.max() >= len(self._place.rows):
            return None
        units = self._unit_starts[per_row] + rows // _UNIT
        missing = np.unique(units[~self._flags[units]])
        for unit in missing.tolist():
            if not self._fill(request, unit):
                return None
        # Positions are below the length; "clip" writes to the array without another copy in between.
        found = request.target(self._place.rows.dtype)
        return self._place.rows.take(at, axis=0, out=found, mode="clip")

    def _fill(self, request: RowRequest, unit: int) -> bool:
        """Decode a unit of rows; False if there is no room for all of it, or its rows have another dtype."""
        rank = int(np.searchsorted(self._unit_starts, unit, "right")) - 1
        first = (unit - int(self._unit_starts[rank])) * _UNIT
        count = min(_UNIT, int(self._counts[rank]) - first)
        begin = int(self._starts[rank]) + first
        if begin + count > len(self._place.rows):
            return False
        episodes, rows = np.repeat(self._episodes[rank], count), np.arange(first, first + count)
        whole = RowRequest(request.path, request.shape, episodes, rows, once=True)
        (rows,) = self._storage.read_rows([whole])
        if rows.dtype != self._place.rows.dtype:
            return False
        self._place.write(begin, rows, unit, self._flags)
        return True
