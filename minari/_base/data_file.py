"""A data file that may change concurrently, read at given offsets.

Every read copies the bytes, so a file that is truncated during a read returns fewer bytes instead of a signal
that kills the process.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from operator import itemgetter
from types import TracebackType
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from minari._base.files import open_with_status
from minari._base.parallel import map_in_batches


__all__ = ["DataFile", "stamp_of"]

#: Minimum number of bytes to read, since structures are read in many small parts.
_READ_AHEAD: Final = 2**14
#: Maximum number of memory regions that Linux fills in one call.
_MOST_PIECES: Final = 1000
#: Bytes between two pieces that are read and discarded rather than making another call, which takes longer.
_LARGEST_GAP: Final = 2**13
_DISCARDED: Final = memoryview(bytearray(_LARGEST_GAP))  # (several threads may write to it)
#: Bytes of one call, of which several threads make some each.
_MOST_AT_ONCE: Final = 2**23


def stamp_of(status: os.stat_result) -> tuple[int, ...]:
    """Return the identity of a file that changes when it is modified or replaced: size, times, inode and device."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev


class Change(Protocol):
    """A change to a file that has not been applied yet."""

    @property
    def end(self) -> int:
        """Return the end of the file with the change."""

    def patch(self, offset: int, data: memoryview) -> None:
        """Apply the change to bytes that were read at an offset."""


class DataFile:
    """A regular file, open for reading; used by one thread at a time, and only for the duration of a read.

    Args:
        path: path of the file; a link that leads out of its directory is not followed.
        change: a change that is committed but not applied; reads return the file with this change.

    Raises:
        UnsafePathError: it is not a regular file, or it is a link that leads out of its directory.
        OSError: the file cannot be opened.

    Attributes:
        status: status of the file when it was opened.
        change: the change to the file, if any.
        size: size of the file in bytes, including the change.
        stamp: the identity of the file, see :func:`stamp_of`.
    """

    __slots__ = ("_ahead", "_ahead_at", "_descriptor", "change", "size", "stamp", "status")

    def __init__(self, path: str | os.PathLike[str], change: Change | None = None) -> None:
        self._descriptor, self.status = open_with_status(path)
        self.change = change
        self.size, self.stamp = self.status.st_size, stamp_of(self.status)
        if change is not None:
            self.size, self.stamp = min(self.size, change.end), (*self.stamp, change.end)
        self._ahead, self._ahead_at = b"", 0

    def __enter__(self) -> DataFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def fileno(self) -> int:
        """Return the descriptor of the file."""
        return self._descriptor

    def read_at(self, offset: int, size: int) -> bytes:
        """Return bytes at an offset, fewer at the end of the file.

        Raises:
            ValueError: the offset is outside the file.
        """
        if not 0 <= offset <= self.size:
            raise ValueError(f"byte {offset} of {self.size}")
        size = max(0, min(size, self.size - offset))
        begin = offset - self._ahead_at
        if begin >= 0 and begin + size <= len(self._ahead):
            return self._ahead[begin : begin + size]
        if size >= _READ_AHEAD:
            return self._read(offset, size)
        self._ahead, self._ahead_at = self._read(offset, _READ_AHEAD), offset
        return self._ahead[:size]

    def read_chunk(self, offset: int, size: int) -> bytes:
        """Return bytes at an offset, without reading ahead, so that several threads may call it.

        Raises:
            ValueError: the bytes are outside the file.
        """
        if not 0 <= offset <= offset + size <= self.size:
            raise ValueError(f"bytes {offset} to {offset + size} of {self.size}")
        return self._read(offset, size)

    def new_array(self, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        """Return the values at an offset as a new array.

        Raises:
            ValueError: they are outside the file.
        """
        size = math.prod(shape, start=dtype.itemsize)
        if not 0 <= offset <= offset + size <= self.size:
            raise ValueError(f"bytes {offset} to {offset + size} of {self.size}")
        values: npt.NDArray[Any]
        if size < _READ_AHEAD:
            data = self.read_at(offset, size)
            if len(data) < size:
                raise ValueError(f"bytes {offset + len(data)} to {offset + size} no longer exist")
            values = np.frombuffer(bytearray(data), dtype).reshape(shape)
        else:
            values = np.empty(shape, dtype)
            self.read_arrays([(offset, values)])
        return values

    def read_arrays(self, arrays: Iterable[tuple[int, npt.NDArray[Any]]]) -> None:
        """Fill arrays with the bytes at their offsets; neighbors are read in one call.

        Args:
            arrays: offsets and contiguous arrays.

        Raises:
            ValueError: the file is too short.
        """
        pieces: list[Any] = []
        begin = end = 0
        for offset, array in sorted(arrays, key=itemgetter(0)):
            size = array.nbytes
            if not size:
                continue
            if not pieces or not end <= offset <= end + _LARGEST_GAP or len(pieces) > _MOST_PIECES:
                self._fill(pieces, begin, end)
                pieces, begin = [], offset
            elif offset > end:
                pieces.append(_DISCARDED[: offset - end])
            pieces.append(array)
            end = offset + size
        self._fill(pieces, begin, end)

    def read_concatenated(
        self, arrays: Iterable[tuple[npt.NDArray[Any], npt.NDArray[np.int64], npt.NDArray[np.int64]]]
    ) -> None:
        """Fill arrays with many pieces of the file, in the order of the file and in several threads.

        Args:
            arrays: contiguous arrays, each with the offsets and the sizes in bytes of the pieces that it consists of.

        Raises:
            ValueError: the file is too short.
        """
        arrays = list(arrays)
        offsets, sizes, starts, numbers = (
            np.concatenate(several) if arrays else np.zeros(0, np.int64)
            for several in (
                [offsets for _, offsets, _ in arrays],
                [sizes for _, _, sizes in arrays],
                [np.cumsum(sizes) - sizes for _, _, sizes in arrays],
                [np.full(len(sizes), number) for number, (_, _, sizes) in enumerate(arrays)],
            )
        )
        order = np.argsort(offsets, kind="stable")
        order = order[sizes[order] > 0]
        targets = [_memory_of(array) for array, _, _ in arrays]
        calls: list[tuple[list[Any], int, int]] = []
        pieces: list[Any] = []
        begin = end = 0
        columns = (column[order].tolist() for column in (offsets, sizes, starts, numbers))
        for offset, size, start, number in zip(*columns, strict=True):
            gap = offset - end
            if not 0 <= gap <= _LARGEST_GAP or len(pieces) > _MOST_PIECES or end - begin > _MOST_AT_ONCE or not pieces:
                calls.append((pieces, begin, end))
                pieces, begin = [], offset
            elif gap:
                pieces.append(_DISCARDED[:gap])
            pieces.append(targets[number][start : start + size])
            end = offset + size
        calls.append((pieces, begin, end))
        map_in_batches(lambda call: self._fill(*call), calls, 1 if hasattr(os, "preadv") else len(calls))

    def _fill(self, pieces: Sequence[Any], begin: int, end: int) -> None:
        if begin == end:
            return
        self._fill_as_stored(pieces, begin, end)
        if self.change is not None:
            for piece in pieces:
                self.change.patch(begin, _memory_of(piece))
                begin += piece.nbytes

    def _fill_as_stored(self, pieces: Sequence[Any], begin: int, end: int) -> None:
        if begin < 0 or end > self.size:
            raise ValueError(f"bytes {begin} to {end} of {self.size}")
        if _read_into(self._descriptor, pieces, begin) == end - begin:
            return
        for piece in pieces:  # the system reads less than 2 GiB per call, or the file has been truncated
            view, done = _bytes_of(piece), 0
            while done < piece.nbytes:
                read = _read_into(self._descriptor, [view[done:]], begin + done)
                if read == 0:
                    raise ValueError(f"bytes {begin + done} to {end} no longer exist")
                done += read
            begin += done

    def _read(self, offset: int, size: int) -> bytes:
        parts: list[bytes] = []
        while size and (part := _read_bytes(self._descriptor, size, offset)):
            parts.append(part)
            offset, size = offset + len(part), size - len(part)
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        if self.change is None:
            return data
        patched = bytearray(data)
        self.change.patch(offset - len(data), memoryview(patched))
        return bytes(patched)


def _memory_of(piece: Any) -> memoryview:
    return memoryview(_bytes_of(piece))


def _bytes_of(piece: Any) -> Any:
    """Return an array or memory as an array of bytes."""
    return np.asarray(piece).reshape(-1).view(np.uint8)


if hasattr(os, "preadv"):
    _read_bytes = os.pread

    def _read_into(descriptor: int, pieces: Sequence[Any], offset: int) -> int:
        return os.preadv(descriptor, pieces, offset)

else:  # Windows, where the position has to be set; no other thread uses the descriptor

    def _read_bytes(descriptor: int, size: int, offset: int, /) -> bytes:
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.read(descriptor, min(size, 2**30))

    def _read_into(descriptor: int, pieces: Sequence[Any], offset: int) -> int:
        done = 0
        for piece in pieces:
            part = _read_bytes(descriptor, piece.nbytes, offset + done)
            _bytes_of(piece)[: len(part)] = np.frombuffer(part, np.uint8)
            done += len(part)
            if len(part) < piece.nbytes:
                break
        return done
