"""The arrays of a Zarr store as bytes: their ``zarr.json``, and shards of chunks.

Every array is flat, with time first, and lies in shards of many chunks. A shard is its chunks one
after the other, then an index with the place of each, and the checksum of that. Shards are put
together here and not by zarr-python, which takes several times as long as the disk does.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import google_crc32c
import numpy as np
import numpy.typing as npt
from numcodecs import Blosc, GZip, Zstd

from minari.dataset._storages.thread_pool import in_threads
from minari.dataset.compression import Codec, Codecs


#: The codecs of chunks, with their levels.
CODECS: Final[Codecs] = {"zstd": range(1, 23), "blosc": range(10), "gzip": range(1, 10)}

SMALLEST_CHUNK: Final = 64  # rows of steps, so that a window of as many lies in two chunks
_CHUNK_SIZE, _MOST_CHUNK_ROWS = 1 << 19, 1 << 14
_OTHER_CHUNK_SIZE = 1 << 17  # of what is read for one episode at a time
_MOST_CHUNKS = 1 << 8  # in a shard, since its index has 16 bytes for each
_SHARD_SIZE, _MOST_SHARD_ROWS = 1 << 25, 1 << 16
_SHARDS_SIZE = 1 << 27  # of all arrays at the same steps, which are in memory until they are full
ABSENT: Final = np.uint64(2**64 - 1)  # instead of the place of a chunk that a shard does not have

_ZSTD_FRAME = b"\x28\xb5\x2f\xfd"
_DEFAULT_LEVELS = {"zstd": 3, "blosc": 5, "gzip": 6}


@dataclass(frozen=True, slots=True)
class ArrayForm:
    """What an array is like, but for its length.

    Attributes:
        dtype: of its values.
        row_shape: of one row.
        chunk_rows: rows of a chunk.
        shard_rows: rows of a shard, a multiple of those of a chunk.
        codec: with which chunks are compressed, None for none.
    """

    dtype: np.dtype[Any]
    row_shape: tuple[int, ...]
    chunk_rows: int
    shard_rows: int
    codec: Codec | None

    @property
    def has_data(self) -> bool:
        """Whether a row has any value."""
        return math.prod(self.row_shape) > 0

    def zarr_json(self, rows: int) -> dict[str, Any]:
        """The metadata of the array as Zarr 3 has them."""
        inner = [max(1, size) for size in self.row_shape]
        little = {"name": "bytes", "configuration": {"endian": "little"}}
        sharding = {
            "chunk_shape": [self.chunk_rows, *inner],
            "codecs": [little, *([_codec_json(self.codec, self.dtype)] if self.codec else [])],
            "index_codecs": [little, {"name": "crc32c"}],
            "index_location": "end",
        }
        return {
            "zarr_format": 3,
            "node_type": "array",
            "shape": [rows, *self.row_shape],
            "data_type": self.dtype.name,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [self.shard_rows, *inner]}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
            "fill_value": {"b": False, "c": [0.0, 0.0], "f": 0.0}.get(self.dtype.kind, 0),
            "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
            "attributes": {},
            "storage_transformers": [],
        }

    @classmethod
    def from_zarr_json(cls, text: str | bytes) -> ArrayForm:
        """The form of an array whose metadata :meth:`zarr_json` has made.

        Raises:
            ValueError, KeyError, TypeError, IndexError: another program has made it, in another way.
        """
        value = json.loads(text)
        (sharding,) = value["codecs"]
        inner = sharding["configuration"]
        codec = _codec_in(inner["codecs"][1:])
        form = cls(
            np.dtype(value["data_type"]),
            tuple(value["shape"][1:]),
            inner["chunk_shape"][0],
            value["chunk_grid"]["configuration"]["chunk_shape"][0],
            codec,
        )
        made = form.zarr_json(value["shape"][0])
        other = [key for key in made if key != "attributes" and made[key] != value.get(key, made[key])]
        if other:
            raise ValueError(f"its {other[0]} is none that Minari writes")
        return form

    def key(self, shard: int) -> str:
        """The name of a shard among the files of the array."""
        return ".".join(["c", str(shard), *("0" for _ in self.row_shape)])

    def shard(self, block: npt.NDArray[Any], present: npt.NDArray[np.bool_]) -> list[memoryview]:
        """The bytes of a shard, in several parts.

        Args:
            block: its rows, a whole number of chunks.
            present: which of these chunks it is to have; the others count as zeros.
        """
        chunks = self.shard_rows // self.chunk_rows
        index = np.full((chunks, 2), ABSENT, "<u8")
        numbers = np.flatnonzero(present)
        if self.codec is None and len(numbers) == len(present):
            parts = [_bytes_of(block)]
            sizes = np.full(len(numbers), block.nbytes // len(numbers))
        else:
            parts = self._encoded([block[n * self.chunk_rows : (n + 1) * self.chunk_rows] for n in numbers])
            sizes = np.array([part.nbytes for part in parts])
        index[numbers, 0] = np.cumsum(sizes) - sizes
        index[numbers, 1] = sizes
        content = index.tobytes()
        return [*parts, memoryview(content + checksum(content))]

    def _encoded(self, chunks: Sequence[npt.NDArray[Any]]) -> list[memoryview]:
        if self.codec is None:
            return [_bytes_of(chunk) for chunk in chunks]
        compressor, is_blosc = codec_of(self.codec), self.codec.name == "blosc"

        def encode(chunk: npt.NDArray[Any]) -> bytes:
            # Blosc goes by the size of the values.
            return bytes(compressor.encode(chunk.reshape(-1) if is_blosc else _bytes_of(chunk)))

        return [memoryview(part) for part in in_threads(encode, chunks, at_a_time=1)]


def _bytes_of(rows: npt.NDArray[Any]) -> memoryview:
    content: Any = rows.reshape(-1).view(np.uint8)
    return memoryview(content)


def form_of_steps(dtype: np.dtype[Any], row_shape: tuple[int, ...], shard_rows: int, codec: Codec | None) -> ArrayForm:
    """The form of an array with one row a step.

    All have shards of the same steps, unless the rows of one that comes later are so large that its
    shards are halves or quarters of those, and so on.
    """
    size = _row_size(dtype, row_shape)
    own_rows = min(shard_rows, max(SMALLEST_CHUNK, _rows_in(_SHARD_SIZE, size)))
    rows = min(_MOST_CHUNK_ROWS, _rows_in(_CHUNK_SIZE, size))
    return ArrayForm(dtype, row_shape, min(own_rows, max(SMALLEST_CHUNK, rows)), own_rows, codec)


def form_of_rows(dtype: np.dtype[Any], row_shape: tuple[int, ...], codec: Codec | None) -> ArrayForm:
    """The form of any other array."""
    size = _row_size(dtype, row_shape)
    shard_rows = _rows_in(_SHARD_SIZE, size)
    return ArrayForm(dtype, row_shape, min(shard_rows, _rows_in(_OTHER_CHUNK_SIZE, size)), shard_rows, codec)


def common_shard_rows(row_sizes: Sequence[int]) -> int:
    """How many steps a shard has, by the bytes of a row of each of the arrays that share it."""
    together = _rows_in(_SHARDS_SIZE, sum(row_sizes))
    return max(SMALLEST_CHUNK, min(_MOST_SHARD_ROWS, together, _rows_in(_SHARD_SIZE, max(row_sizes, default=1))))


def fitting(form: ArrayForm, rows: int) -> ArrayForm:
    """The same form with chunks that are no larger than it takes for so few rows."""
    least = max(form.shard_rows // _MOST_CHUNKS, min(SMALLEST_CHUNK, form.chunk_rows))
    needed = max(least, 1 << (rows - 1).bit_length())
    if needed >= form.chunk_rows:
        return form
    return ArrayForm(form.dtype, form.row_shape, needed, form.shard_rows, form.codec)


def _row_size(dtype: np.dtype[Any], row_shape: tuple[int, ...]) -> int:
    return dtype.itemsize * math.prod(row_shape)


def _rows_in(size: int, row_size: int) -> int:
    """How many rows make up a number of bytes, as a power of two."""
    return _power_of_two(size // max(1, row_size))


def _power_of_two(number: int) -> int:
    """The greatest one that is not above a number, and 1 at least."""
    return 1 << max(0, number.bit_length() - 1)


def _codec_json(codec: Codec, dtype: np.dtype[Any]) -> dict[str, Any]:
    level = _DEFAULT_LEVELS[codec.name] if codec.level is None else codec.level
    if codec.name == "blosc":
        shuffle = {"typesize": dtype.itemsize, "shuffle": "shuffle"}
        return {"name": "blosc", "configuration": {"cname": "zstd", "clevel": level, **shuffle, "blocksize": 0}}
    return {"name": codec.name, "configuration": {"level": level, **_CHECKSUM.get(codec.name, {})}}


_CHECKSUM: dict[str, dict[str, Any]] = {"zstd": {"checksum": True}}


def _codec_in(codecs: Sequence[dict[str, Any]]) -> Codec | None:
    if not codecs:
        return None
    (codec,) = codecs
    configuration = codec["configuration"]
    return Codec(codec["name"], configuration["clevel" if codec["name"] == "blosc" else "level"])


@cache
def codec_of(codec: Codec) -> Any:
    """What compresses bytes and decompresses them."""
    level = _DEFAULT_LEVELS[codec.name] if codec.level is None else codec.level
    if codec.name == "blosc":
        return Blosc("zstd", level, Blosc.SHUFFLE)
    return Zstd(level, checksum=True) if codec.name == "zstd" else GZip(level)


def decoded_size(codec: Codec, content: bytes) -> int | None:
    """How many bytes a chunk says that it has when it is decompressed; None where it does not say so."""
    if codec.name == "blosc":
        return int.from_bytes(content[4:8], "little")
    if codec.name == "gzip":
        return int.from_bytes(content[-4:], "little")
    if content[:4] != _ZSTD_FRAME:
        return None
    flags = content[4]
    is_single = flags >> 5 & 1
    length = (is_single, 2, 4, 8)[flags >> 6]
    start = 6 - is_single + (0, 1, 2, 4)[flags & 3]
    size = int.from_bytes(content[start : start + length], "little")
    return size + 256 if length == 2 else size


def checksum(content: bytes) -> bytes:
    """That of an index, as it stands behind it."""
    value: int = google_crc32c.value(content)
    return value.to_bytes(4, "little")
