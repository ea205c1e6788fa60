"""Codecs and checksums of chunks.

A chunk is decompressed into memory that is allocated already. The size that it claims is compared with
that before a library sees it, so that no chunk can cause a larger allocation.
"""

from __future__ import annotations

import zlib
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import google_crc32c
import numpy as np
import numpy.typing as npt

from minari._base.lazy import LazyModule
from minari._model.compression import Codec, Codecs


if TYPE_CHECKING:
    import numcodecs
else:
    numcodecs = LazyModule("numcodecs")  # looks for codecs among all installed packages, which takes a while


#: The codecs, with their levels.
CODECS: Final[Codecs] = {"zstd": range(1, 23), "blosc": range(10), "gzip": range(1, 10)}
DEFAULT_LEVELS: Final = {"zstd": 3, "blosc": 5, "gzip": 6}

#: Levels of Zstandard that search for repetitions for a while; in noise, they take seven times as long as level 1 to
#: save half a percent. Whoever asks for a higher level wants every byte.
_SEARCHING: Final = range(4, 8)
_FAST: Final = Codec("zstd", 1)
_PROBED_ROWS, _PROBED_BYTES, _HARDLY = 4, 1 << 14, 0.95

#: Bytes of the checksum after an index or a chunk.
CHECKSUM_SIZE: Final = 4

_ZSTD_FRAME = b"\x28\xb5\x2f\xfd"
_ZSTD_HEADER = 18  # maximum number of bytes
_BLOSC_HEADER = 16
_BLOSC_VERSION = 2
_GZIP = 16 + zlib.MAX_WBITS  # the value of zlib for the container


def encoded(codec: Codec, chunk: npt.NDArray[Any]) -> bytes:
    """Return a chunk compressed."""
    flat = chunk.reshape(-1)  # Blosc asks for the size of the values
    if codec.name == "zstd" and codec.level in _SEARCHING and _is_noise(chunk):
        codec = _FAST
    content: bytes = _compressor(codec).encode(flat if codec.name == "blosc" else flat.view(np.uint8))
    return content


def _is_noise(chunk: npt.NDArray[Any]) -> bool:
    """Return whether the first values of the first rows hardly shrink together, such as those of a noisy camera."""
    rows = chunk[:_PROBED_ROWS]
    probe = rows.reshape(len(rows), -1)[:, : _PROBED_BYTES // chunk.itemsize].reshape(-1).view(np.uint8)
    return len(_compressor(_FAST).encode(probe)) > _HARDLY * len(probe)


def decode(name: str, content: memoryview | bytes, out: npt.NDArray[np.uint8]) -> None:
    """Decompress a chunk.

    Args:
        name: of the codec.
        content: of the chunk, without a checksum.
        out: the memory for its bytes.

    Raises:
        ValueError: the content is damaged, or its size differs from that of ``out``.
    """
    if name == "gzip":
        _decode_gzip(content, out)
        return
    if name == "zstd":
        _check_size(_size_of_zstd(bytes(content[:_ZSTD_HEADER])), out)
    else:
        _check_blosc(bytes(content[:_BLOSC_HEADER]), len(content), out)
    try:
        _compressor(Codec(name)).decode(content, out)
    except RuntimeError as error:
        raise ValueError(str(error)) from None


def _decode_gzip(content: memoryview | bytes, out: npt.NDArray[np.uint8]) -> None:
    decompressor = zlib.decompressobj(_GZIP)
    try:
        decoded = decompressor.decompress(content, out.nbytes + 1)
    except zlib.error as error:
        raise ValueError(str(error)) from None
    if len(decoded) > out.nbytes or not decompressor.eof or decompressor.unused_data:
        _check_size(int.from_bytes(content[-4:], "little"), out)
        raise ValueError("a chunk ends too early, or too late")
    _check_size(len(decoded), out)
    out[:] = np.frombuffer(decoded, np.uint8)


def _check_size(size: int | None, out: npt.NDArray[np.uint8]) -> None:
    if size is not None and size != out.nbytes:
        raise ValueError(f"a chunk has {size} bytes, expected {out.nbytes}")


def _size_of_zstd(header: bytes) -> int | None:
    """Return the decompressed size of a frame; None if it does not say, and has to be tried."""
    if header[:4] != _ZSTD_FRAME or len(header) < 6:
        raise ValueError("a chunk is none of Zstandard")
    flags = header[4]
    is_single = flags >> 5 & 1
    length = (is_single, 2, 4, 8)[flags >> 6]
    start = 6 - is_single + (0, 1, 2, 4)[flags & 3]
    if length == 0:
        return None
    size = int.from_bytes(header[start : start + length], "little")
    return size + 256 if length == 2 else size


def _check_blosc(header: bytes, length: int, out: npt.NDArray[np.uint8]) -> None:
    if len(header) < _BLOSC_HEADER or header[0] != _BLOSC_VERSION or header[3] == 0:
        raise ValueError("a chunk is none of Blosc")
    size, block, compressed = (int.from_bytes(header[start : start + 4], "little") for start in (4, 8, 12))
    _check_size(size, out)
    if compressed != length or not (0 < block <= size or size == 0):
        raise ValueError(f"a chunk says that it has {compressed} bytes in blocks of {block}, and it has {length}")


@cache
def _compressor(codec: Codec) -> Any:
    level = DEFAULT_LEVELS[codec.name] if codec.level is None else codec.level
    if codec.name == "blosc":
        return numcodecs.Blosc("zstd", level, numcodecs.Blosc.SHUFFLE)
    return numcodecs.Zstd(level, checksum=True) if codec.name == "zstd" else numcodecs.GZip(level)


def checksum(*parts: Any) -> bytes:
    """Return the checksum of an index or a chunk in several parts, as it is stored after it."""
    value = 0
    for part in parts:
        value = google_crc32c.extend(value, np.frombuffer(part, np.uint8))
    return value.to_bytes(CHECKSUM_SIZE, "little")
