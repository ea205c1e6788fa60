"""Files of records as TensorFlow writes them: lengths and contents, each with a masked CRC-32C.

A record is its length (unsigned, 64 bits, little-endian), the checksum of these eight bytes, its bytes, and their
checksum. A whole file may be one gzip stream. The layout is that of https://www.tensorflow.org/tutorials/load_data/tfrecord.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

import google_crc32c

from minari._base.data_file import DataFile
from minari.errors import InterchangeError, UnsafePathError


__all__ = ["RecordWriter", "damaged", "is_gzip_of_records", "read_gzip_records", "read_records"]

_HEADER: Final = struct.Struct("<QI")
_CHECKSUM: Final = struct.Struct("<I")
_GZIP: Final = b"\x1f\x8b"
_PIECE: Final = 2**20  # bytes
_MOST_PER_BYTE: Final = 128  # bytes of a record for each byte of a compressed file
_SMALL_RECORD: Final = 2**24  # bytes, of any compressed file


def damaged(path: object, why: object) -> InterchangeError:
    """Return the error for a file that cannot be read."""
    return InterchangeError(
        f"{path} cannot be read ({why}); it is damaged or incomplete, so copy or download it again."
    )


def masked_checksum(data: bytes) -> int:
    """Return the checksum of bytes in the form in which records have it.

    >>> hex(masked_checksum(b"123456789"))
    '0xc78ab0e5'
    """
    checksum = int(google_crc32c.value(data))
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF


def read_records(path: Path) -> Iterator[bytes]:
    """Yield the records of a file.

    Raises:
        InterchangeError: the file is damaged, or no regular file in its directory.
    """
    with _opened(path) as file:
        place = 0

        def read(size: int) -> bytes:
            nonlocal place
            if size > file.size - place:
                raise ValueError(f"it ends at byte {file.size}, within a record")
            data = file.read_at(place, size)
            place += size
            return data

        yield from _records(path, read, lambda: place < file.size, file.size)


def read_gzip_records(path: Path) -> Iterator[bytes]:
    """Yield the records of a file that is one gzip stream; errors as for :func:`read_records`."""
    with _opened(path) as file, os.fdopen(os.dup(file.fileno()), "rb") as raw:
        stream = _Unzipped(raw)
        limit = _SMALL_RECORD + _MOST_PER_BYTE * file.size
        yield from _records(path, lambda size: _read_exactly(stream, size), stream.has_more, limit)


def is_gzip_of_records(path: Path) -> bool:
    """Return whether a file is a gzip stream that begins with a record."""
    with DataFile(path) as file:
        if file.read_at(0, 2) != _GZIP:
            return False
        start = zlib.decompressobj(wbits=31).decompress(file.read_at(0, 2**12), _HEADER.size)
    return len(start) == _HEADER.size and masked_checksum(start[:8]) == _HEADER.unpack(start)[1]


class RecordWriter:
    """Writer of records.

    Args:
        file: the open file, to which records are appended.

    Attributes:
        count: number of written records.
        size: number of bytes of their contents.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.count = self.size = 0

    def append(self, data: bytes) -> None:
        """Append a record."""
        length = struct.pack("<Q", len(data))
        self._file.write(length + _CHECKSUM.pack(masked_checksum(length)))
        self._file.write(data)
        self._file.write(_CHECKSUM.pack(masked_checksum(data)))
        self.count += 1
        self.size += len(data)


def _opened(path: Path) -> DataFile:
    try:
        return DataFile(path)
    except (OSError, UnsafePathError) as error:
        raise InterchangeError(f"{path} cannot be opened ({error}); copy or download it again.") from error


def _records(path: Path, read: Callable[[int], bytes], has_more: Callable[[], bool], limit: int) -> Iterator[bytes]:
    """Yield records of at most ``limit`` bytes from a function that reads so many bytes."""
    number = 0
    while True:
        try:
            if not has_more():
                return
            header = read(_HEADER.size)
            length, checksum = _HEADER.unpack(header)
            if masked_checksum(header[:8]) != checksum:
                raise ValueError(f"the checksum of the length of record {number} is wrong")
            if length > limit:
                raise ValueError(f"record {number} has {length} bytes")
            data = read(length)
            (checksum,) = _CHECKSUM.unpack(read(_CHECKSUM.size))
            if masked_checksum(data) != checksum:
                raise ValueError(f"the checksum of record {number} is wrong")
        except (ValueError, OSError, EOFError, zlib.error, MemoryError) as error:
            raise damaged(path, error) from error
        yield data
        number += 1


class _Unzipped:
    """Decompressed bytes of a gzip file; padding after it is skipped piecewise, of which there may be gigabytes.

    Args:
        raw: the open file.
    """

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw
        self._unzip = zlib.decompressobj(wbits=31)
        self._waiting = b""
        self._ready = memoryview(b"")
        self._is_inside = True

    def has_more(self) -> bool:
        """Return whether there are further bytes."""
        self._ready = self._ready or memoryview(self._next())
        return bool(self._ready)

    def read(self, size: int) -> bytes:
        """Return at most so many bytes; none at the end."""
        if not self.has_more():
            return b""
        found, self._ready = bytes(self._ready[:size]), self._ready[size:]
        return found

    def _next(self) -> bytes:
        """Return some bytes; none at the end."""
        while True:
            data = self._waiting or self._raw.read(_PIECE)
            is_end = not data
            self._waiting = b""
            if not self._is_inside:
                if is_end:
                    return b""
                data = b"" if data == bytes(len(data)) else data.lstrip(b"\0")  # comparing is far faster
                if not data:
                    continue
                self._is_inside, self._unzip = True, zlib.decompressobj(wbits=31)
            found = self._unzip.decompress(data, _PIECE)
            self._waiting = self._unzip.unconsumed_tail
            if self._unzip.eof:
                self._is_inside, self._waiting = False, self._unzip.unused_data
            elif is_end and not found:
                raise ValueError("it ends within the gzip stream")
            if found:
                return found


def _read_exactly(stream: Any, size: int) -> bytes:
    pieces = []
    while size and (piece := stream.read(min(size, _PIECE))):
        pieces.append(piece)
        size -= len(piece)
    if size:
        raise ValueError("it ends within a record")
    return b"".join(pieces)
