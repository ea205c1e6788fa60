"""Codecs of chunks, without an HDF5 library: deflate, Zstandard and LZ4, all with bounded output.

Zstandard and LZ4 are those of the registered filters 32015 and 32004, as hdf5plugin has them. A chunk is one frame of
Zstandard, which may be followed by what it does not decode. With LZ4, it is a header and blocks.
"""

from __future__ import annotations

import struct
import threading
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from minari._base.lazy import import_late


DEFLATE, LZ4, ZSTD = 1, 32004, 32015  # numbers of filters

#: Maximum expansion of a byte by deflate. What we write never expands more, with any codec.
MOST_EXPANDED: Final = 1032
#: Bytes that any array may have if its chunks are of Zstandard, which makes 128 KiB of 4 bytes, as much as black frames
#: compress to. Larger arrays are limited as those of deflate are, so that a small file cannot fill the memory.
_LARGEST_OF_ZSTD: Final = 2**28
_MOST_EXPANDED_BY_ZSTD: Final = 2**15
_MOST_EXPANDED_BY_LZ4: Final = 255
_LARGEST_WINDOW: Final = 2**27  # bytes that a frame without a declared size may refer back; used only as far as needed

_ZLIB_FAST: Final = 3  # level of frames
_SKIPPED_FRAME: Final = struct.Struct("<II")  # magic number, and number of bytes that follow
_SKIPPED: Final = 0x184D2A50
_LZ4_HEADER: Final = struct.Struct(">QI")  # number of bytes, and those of a block
_LZ4_BLOCK: Final = struct.Struct(">I")  # stored bytes of a block
_LARGEST_LZ4_BLOCK: Final = 2**30


@dataclass(frozen=True, slots=True)
class ChunkCodec:
    """A codec of chunks.

    Attributes:
        name: name in a choice of compression.
        package: the package that it needs; None if Python has it.
        encode: returns the stored form of bytes, for the values of the filter.
        decode: returns the original bytes, of which there may be at most as many as given.
        most_decoded: returns the greatest number of bytes that so many stored ones can become.
    """

    name: str
    package: str | None
    encode: Callable[[Any, Sequence[int]], bytes]
    decode: Callable[[Any, int], bytes]
    most_decoded: Callable[[int], int]

    def is_available(self) -> bool:
        """Return whether its package is installed."""
        return self.package is None or _module(self.package) is not None


@cache
def _module(name: str) -> Any:
    """Return a module; None if it is not installed."""
    try:
        return import_late(name)
    except ImportError:
        return None


def _deflate_module() -> Any:
    """Return what deflates and inflates: zlib-ng if it is installed, which is several times faster, or zlib."""
    return _module("zlib_ng.zlib_ng") or zlib


def _deflated(data: Any, values: Sequence[int]) -> bytes:
    module, level = _deflate_module(), values[0]
    if module is not zlib and level == _ZLIB_FAST:
        level += 1  # of zlib-ng, for which the next one is as fast and compresses better
    compressed: bytes = module.compress(data, level)
    return compressed


def _inflated(data: Any, most: int) -> bytes:
    module = _deflate_module()
    inflater = module.decompressobj()
    try:
        result: bytes = inflater.decompress(data, max(most, 1))  # 0 would be no limit
    except module.error as error:
        raise ValueError(str(error)) from None
    if not inflater.eof:
        raise ValueError(f"it ends too early, or becomes more than {most} bytes")
    return result


class _ZstdContexts(threading.local):
    """The contexts of a thread, which take longer to make than many chunks to encode."""

    def __init__(self) -> None:
        self.compressors: dict[int, Any] = {}
        self.decompressor: Any = None


_contexts = _ZstdContexts()


def _zstd_encoded(data: Any, values: Sequence[int]) -> bytes:
    level = values[0]
    compressor = _contexts.compressors.get(level)
    if compressor is None:
        compressor = _module("zstandard").ZstdCompressor(level=level, write_checksum=True)
        _contexts.compressors[level] = compressor
    result: bytes = compressor.compress(data)
    missing = memoryview(data).nbytes // MOST_EXPANDED + 1 - len(result)
    if missing > 0:
        result += _SKIPPED_FRAME.pack(_SKIPPED, missing) + bytes(missing)
    return result


def _zstd_decompressor() -> Any:
    if _contexts.decompressor is None:
        _contexts.decompressor = _module("zstandard").ZstdDecompressor(max_window_size=_LARGEST_WINDOW)
    return _contexts.decompressor


def _zstd_decoded(data: Any, most: int) -> bytes:
    zstandard = _module("zstandard")
    try:
        declared = zstandard.frame_content_size(data)  # -1 if the frame does not say
        if declared > most:
            raise ValueError(f"it becomes {declared} bytes, at most {most} are expected")
        result: bytes = _zstd_decompressor().decompress(data, max_output_size=most)
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from None
    return result


def _lz4_encoded(data: Any, values: Sequence[int]) -> bytes:
    raw = memoryview(data).cast("B")
    length = min(len(raw), values[0] or _LARGEST_LZ4_BLOCK, _LARGEST_LZ4_BLOCK)
    parts: list[Any] = [_LZ4_HEADER.pack(len(raw), length)]
    for begin in range(0, len(raw), max(length, 1)):
        block = raw[begin : begin + length]
        stored = _module("lz4.block").compress(block, store_size=False)
        stored = block if len(stored) >= len(block) else stored
        parts += [_LZ4_BLOCK.pack(len(stored)), stored]
    return b"".join(parts)


def _lz4_decoded(data: Any, most: int) -> bytes:
    block = _module("lz4.block")
    if len(data) < _LZ4_HEADER.size:
        raise ValueError("it ends too early")
    size, length = _LZ4_HEADER.unpack_from(data)
    if size > most or (size and not length):
        raise ValueError(f"it becomes {size} bytes in blocks of {length}, at most {most} are expected")
    data, at, parts = memoryview(data), _LZ4_HEADER.size, []
    for begin in range(0, size, length or 1):
        expected = min(length, size - begin)
        if at + _LZ4_BLOCK.size > len(data):
            raise ValueError("it ends too early")
        (stored,) = _LZ4_BLOCK.unpack_from(data, at)
        part = data[at + _LZ4_BLOCK.size : at + _LZ4_BLOCK.size + stored]
        at += _LZ4_BLOCK.size + stored
        if len(part) < stored:
            raise ValueError("it ends too early")
        if stored != expected:
            try:
                part = block.decompress(part, uncompressed_size=expected)
            except block.LZ4BlockError as error:
                raise ValueError(str(error)) from None
            if len(part) != expected:
                raise ValueError(f"a block has {len(part)} bytes, expected {expected}")
        parts.append(part)
    return bytes(parts[0]) if len(parts) == 1 else b"".join(parts)


def _most_of_zstd(stored: int) -> int:
    return min(_MOST_EXPANDED_BY_ZSTD * stored, max(MOST_EXPANDED * stored, _LARGEST_OF_ZSTD))


#: By the numbers of their filters.
CODECS: Final = {
    DEFLATE: ChunkCodec("gzip", None, _deflated, _inflated, lambda stored: MOST_EXPANDED * stored),
    LZ4: ChunkCodec("lz4", "lz4.block", _lz4_encoded, _lz4_decoded, lambda stored: _MOST_EXPANDED_BY_LZ4 * stored),
    ZSTD: ChunkCodec("zstd", "zstandard", _zstd_encoded, _zstd_decoded, _most_of_zstd),
}
