"""Arrays of a Zarr store as bytes: their ``zarr.json``, each with a checksum, and shards of chunks.

Every array is flat, with time first, and lies in shards of many chunks. A shard is its chunks one
after the other, then an index with the place of each, and the checksum of that. Shards are put
together here and not by zarr-python, with which writing takes up to twice the time.

The checksum of a ``zarr.json`` is one of the attributes, which other programs ignore. It covers what
Zarr says of an array or a group, and the attributes that are Minari's; attributes that others add make
no difference, and neither does the layout of the text.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import xxhash

from minari._base.json_text import parse_json, shortened
from minari._base.parallel import map_in_batches
from minari._model.compression import Codec
from minari._storages.zarr.codecs import CODECS, DEFAULT_LEVELS, checksum, encoded


SMALLEST_CHUNK: Final = 64  # rows of steps, so that a window of that length overlaps at most two chunks
CHUNK_SIZE, _MOST_CHUNK_ROWS = 1 << 19, 1 << 14
_OTHER_CHUNK_SIZE = 1 << 17  # of data that is read for one episode at a time
_MOST_CHUNKS = 1 << 8  # in a shard, since its index has 16 bytes for each
SHARD_SIZE, _MOST_SHARD_ROWS = 1 << 25, 1 << 16
_SHARDS_SIZE = 1 << 27  # of all arrays at the same steps, which are in memory until they are full
ABSENT: Final = np.uint64(2**64 - 1)  # in the place of a chunk that a shard does not have

#: The types that every reader of Zarr supports, as NumPy writes them.
KNOWN_TYPES: Final = frozenset(
    np.dtype(code).str
    for code in ("?", "i1", "<i2", "<i4", "<i8", "u1", "<u2", "<u4", "<u8", "<f2", "<f4", "<f8", "<c8", "<c16")
)
#: The same types by their names in Zarr.
TYPES_BY_NAME: Final = {np.dtype(code).name: np.dtype(code) for code in sorted(KNOWN_TYPES)}
MOST_DIMENSIONS: Final = 32  # the limit of every release of NumPy
MOST_ROWS: Final = 2**62


@dataclass(frozen=True, slots=True)
class ArrayForm:
    """The form of an array: everything except its length.

    Attributes:
        dtype: dtype of its values.
        row_shape: shape of a row.
        chunk_rows: rows of a chunk.
        shard_rows: rows of a shard, a multiple of those of a chunk.
        codec: of the chunks, None for none.
        has_checksums: whether every chunk is followed by one.
        row_size: the bytes of one row.
    """

    dtype: np.dtype[Any]
    row_shape: tuple[int, ...]
    chunk_rows: int
    shard_rows: int
    codec: Codec | None
    has_checksums: bool = True
    row_size: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "row_size", _row_size(self.dtype, self.row_shape))

    @property
    def has_data(self) -> bool:
        """Return whether a row has any value."""
        return self.row_size > 0

    def zarr_json(self, rows: int) -> dict[str, Any]:
        """Return the metadata of the array in Zarr 3."""
        inner = [max(1, size) for size in self.row_shape]
        little = {"name": "bytes", "configuration": {"endian": "little"}}
        sharding = {
            "chunk_shape": [self.chunk_rows, *inner],
            "codecs": [
                little,
                *([_codec_json(self.codec, self.dtype)] if self.codec else []),
                *([_CRC] if self.has_checksums else []),
            ],
            "index_codecs": [little, _CRC],
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
    def from_zarr_json(cls, value: Any) -> tuple[ArrayForm, int]:
        """Return the form of an array from metadata that :meth:`zarr_json` has made, and the number of its rows.

        Raises:
            ValueError: it was created by another program in a different way.
        """
        try:
            (sharding,) = value["codecs"]
            inner = sharding["configuration"]
            _, *codecs = inner["codecs"]
            rows, *row_shape = value["shape"]
            chunk_rows = inner["chunk_shape"][0]
            shard_rows = value["chunk_grid"]["configuration"]["chunk_shape"][0]
            has_checksums = codecs[-1:] == [_CRC]
            codec = _codec_in(codecs[:-1] if has_checksums else codecs)
            dtype = TYPES_BY_NAME[value["data_type"]]
        except (ValueError, KeyError, TypeError, IndexError, AttributeError):
            raise ValueError("it is none that Minari writes") from None
        check_sizes([rows, *row_shape], 0)
        check_sizes([chunk_rows, shard_rows], 1)
        if shard_rows % chunk_rows:
            raise ValueError(f"its shards have {shard_rows} rows and its chunks {chunk_rows}")
        form = cls(dtype, tuple(row_shape), chunk_rows, shard_rows, codec, has_checksums)
        made = form.zarr_json(rows)
        other = [key for key in made if key != "attributes" and made[key] != value.get(key, made[key])]
        if other:
            raise ValueError(f"its {other[0]} is none that Minari writes")
        return form, rows

    def key(self, shard: int) -> str:
        """Return the name of a shard among the files of the array."""
        return ".".join(["c", str(shard), *("0" for _ in self.row_shape)])

    def new_index(self) -> npt.NDArray[np.uint64]:
        """Return the index of a shard that has no chunks: the offset and the size of each."""
        return np.full((self.shard_rows // self.chunk_rows, 2), ABSENT, "<u8")

    def encoded(self, chunks: Sequence[npt.NDArray[Any]]) -> list[list[memoryview]]:
        """Return the stored form of chunks, each in several parts."""
        codec = self.codec
        if codec is None:
            return [self._with_checksum(memoryview(chunk.reshape(-1).view(np.uint8).data)) for chunk in chunks]
        return map_in_batches(lambda chunk: self._with_checksum(memoryview(encoded(codec, chunk))), chunks, at_a_time=1)

    def _with_checksum(self, content: memoryview) -> list[memoryview]:
        return [content, memoryview(checksum(content))] if self.has_checksums else [content]


def form_of_steps(dtype: np.dtype[Any], row_shape: tuple[int, ...], shard_rows: int, codec: Codec | None) -> ArrayForm:
    """Return the form of an array with one row a step.

    All have shards of the same steps, unless the rows of a later one are so large that its shards are
    halves or quarters of those, and so on.
    """
    size = _row_size(dtype, row_shape)
    own_rows = min(shard_rows, max(SMALLEST_CHUNK, _rows_in(SHARD_SIZE, size)))
    rows = min(_MOST_CHUNK_ROWS, _rows_in(CHUNK_SIZE, size))
    return ArrayForm(dtype, row_shape, min(own_rows, max(SMALLEST_CHUNK, rows)), own_rows, codec)


def form_of_rows(dtype: np.dtype[Any], row_shape: tuple[int, ...], codec: Codec | None) -> ArrayForm:
    """Return the form of any other array."""
    size = _row_size(dtype, row_shape)
    shard_rows = _rows_in(SHARD_SIZE, size)
    return ArrayForm(dtype, row_shape, min(shard_rows, _rows_in(_OTHER_CHUNK_SIZE, size)), shard_rows, codec)


def common_shard_rows(row_sizes: Sequence[int]) -> int:
    """Return the number of steps in a shard, by the bytes of a row of each of the arrays that share it."""
    together = _rows_in(_SHARDS_SIZE, sum(row_sizes))
    return max(SMALLEST_CHUNK, min(_MOST_SHARD_ROWS, together, _rows_in(SHARD_SIZE, max(row_sizes, default=1))))


def fitting(form: ArrayForm, rows: int) -> ArrayForm:
    """Return the same form with chunks no larger than so few rows need."""
    least = max(form.shard_rows // _MOST_CHUNKS, min(SMALLEST_CHUNK, form.chunk_rows))
    needed = max(least, 1 << (rows - 1).bit_length())
    if needed >= form.chunk_rows:
        return form
    return replace(form, chunk_rows=needed)


def _row_size(dtype: np.dtype[Any], row_shape: tuple[int, ...]) -> int:
    return dtype.itemsize * math.prod(row_shape)


def _rows_in(size: int, row_size: int) -> int:
    """Return how many rows make up a number of bytes: the greatest power of two that does not exceed it, or 1."""
    return 1 << max(0, (size // max(1, row_size)).bit_length() - 1)


def _codec_json(codec: Codec, dtype: np.dtype[Any]) -> dict[str, Any]:
    level = DEFAULT_LEVELS[codec.name] if codec.level is None else codec.level
    if codec.name == "blosc":
        shuffle = {"typesize": dtype.itemsize, "shuffle": "shuffle"}
        return {"name": "blosc", "configuration": {"cname": "zstd", "clevel": level, **shuffle, "blocksize": 0}}
    return {"name": codec.name, "configuration": {"level": level, **_CODEC_OPTIONS.get(codec.name, {})}}


_CODEC_OPTIONS: Final[dict[str, dict[str, Any]]] = {"zstd": {"checksum": True}}
_CRC: Final = {"name": "crc32c"}


def _codec_in(codecs: Sequence[dict[str, Any]]) -> Codec | None:
    if not codecs:
        return None
    (codec,) = codecs
    name, configuration = codec["name"], codec["configuration"]
    level = configuration["clevel" if name == "blosc" else "level"]
    if type(level) is not int or level not in (CODECS[name] or ()):
        raise ValueError
    return Codec(name, level)


def check_sizes(sizes: Any, least: int) -> None:
    """Check sizes from a ``zarr.json``, of rows, elements, and the like.

    Raises:
        ValueError: they are not a list of integers, too many or too large, or less than ``least``.
    """
    if not isinstance(sizes, list) or len(sizes) > MOST_DIMENSIONS:
        raise ValueError(f"it has the shape {shortened(sizes)}, expected a list of at most {MOST_DIMENSIONS} sizes")
    if not all(type(size) is int and least <= size <= MOST_ROWS for size in sizes):
        raise ValueError(f"it has the sizes {shortened(sizes)}, expected integers from {least} to {MOST_ROWS}")


# The files zarr.json

#: The key among the attributes.
ATTRIBUTE: Final = "minari"

_CHECKSUM: Final = "checksum"
_COVERED: Final = (
    *("zarr_format", "node_type", "shape", "data_type", "chunk_grid", "chunk_key_encoding"),
    *("fill_value", "codecs", "storage_transformers"),
)


def parse_zarr_json(text: bytes) -> dict[str, Any]:
    """Return the object in a file.

    Raises:
        ValueError: the file does not contain a JSON object.
    """
    value = parse_json(text)
    if not isinstance(value, dict):
        raise ValueError("it is no JSON object")
    return value


def to_zarr_json(value: Mapping[str, Any]) -> bytes:
    """Return the content of a file, with its checksum."""
    own = {**_own_attribute(value), _CHECKSUM: _digest_of(value)}
    return json.dumps({**value, "attributes": {**value["attributes"], ATTRIBUTE: own}}).encode()


def is_as_written(value: Mapping[str, Any]) -> bool | None:
    """Return whether the checksum of a file is right; None if it has none."""
    own = _own_attribute(value)
    return own[_CHECKSUM] == _digest_of(value) if _CHECKSUM in own else None


def _own_attribute(value: Mapping[str, Any]) -> Mapping[str, Any]:
    attributes = value.get("attributes")
    own = attributes.get(ATTRIBUTE) if isinstance(attributes, dict) else None
    return own if isinstance(own, dict) else {}


def _digest_of(value: Mapping[str, Any]) -> str:
    covered = {key: value[key] for key in _COVERED if key in value}
    own = {key: inner for key, inner in _own_attribute(value).items() if key != _CHECKSUM}
    text = json.dumps([covered, own], sort_keys=True, separators=(",", ":"))
    return xxhash.xxh3_64_hexdigest(text.encode())
