"""Metadata of foreign arrays for zarr-python, from a ``zarr.json`` that anybody may have written.

zarr-python looks up codecs by name among those of all installed packages, and trusts an array about the
size of its chunks. Here its objects are made from closed lists of types and codecs, and the decompression
is our own, which is given the expected size.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from zarr.abc.codec import BytesBytesCodec
from zarr.codecs import BytesCodec, Crc32cCodec, ShardingCodec, TransposeCodec
from zarr.core.array_spec import ArraySpec
from zarr.core.buffer import Buffer
from zarr.core.dtype import get_data_type_from_json
from zarr.core.metadata.v3 import ArrayV3Metadata

from minari._base.json_text import shortened
from minari._storages.zarr.arrays import TYPES_BY_NAME, check_sizes
from minari._storages.zarr.codecs import CHECKSUM_SIZE, CODECS, decode


_MOST_CHUNKS: Final = 1 << 18  # in one read
_KNOWN_KEYS: Final = frozenset(
    {"zarr_format", "node_type", "shape", "data_type", "chunk_grid", "chunk_key_encoding", "fill_value", "codecs"}
    | {"attributes", "dimension_names", "storage_transformers"}
)


@dataclass(frozen=True)
class Compressed(BytesBytesCodec):
    """A codec of compressed chunks, which are only read.

    Attributes:
        name: of the codec.
        more: the number of bytes after those of a chunk.
    """

    is_fixed_size = False

    name: str
    more: int

    async def _decode_single(self, chunk_bytes: Buffer, chunk_spec: ArraySpec) -> Buffer:
        size = math.prod(chunk_spec.shape) * chunk_spec.dtype.to_native_dtype().itemsize
        out = np.empty(size + self.more, np.uint8)
        await asyncio.to_thread(decode, self.name, chunk_bytes.to_bytes(), out)
        found: Buffer = chunk_spec.prototype.buffer.from_array_like(out)
        return found

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: ArraySpec) -> int:
        raise NotImplementedError


def metadata_of(value: Mapping[str, Any]) -> ArrayV3Metadata:
    """Return the metadata of an array for zarr-python.

    Raises:
        ValueError: it is not an array of Zarr 3, or has an unsupported type or codec.
    """
    if value.get("zarr_format") != 3 or value.get("node_type") != "array":
        raise ValueError("it is none of an array of Zarr 3")
    others = [
        key
        for key in value.keys() - _KNOWN_KEYS
        if not isinstance(value[key], dict) or value[key].get("must_understand") is not False
    ]
    if others or value.get("storage_transformers"):
        raise ValueError(f"it asks for {shortened((others or ['storage_transformers'])[0])}, which is not known here")
    name = value.get("data_type")
    if not isinstance(name, str) or name not in TYPES_BY_NAME:
        raise ValueError(f"its data_type is {shortened(name)}, expected one of {sorted(TYPES_BY_NAME)}")
    shape = value.get("shape")
    check_sizes(shape, 0)
    if not shape:
        raise ValueError("it has no rows")
    chunk_shape: Any = _configuration(value.get("chunk_grid"), "chunk_grid", "regular").get("chunk_shape")
    _check_chunks(chunk_shape, len(shape))
    codecs = _codecs(value.get("codecs"), len(shape))
    for codec in codecs:
        if isinstance(codec, ShardingCodec) and np.mod(chunk_shape, codec.chunk_shape).any():
            raise ValueError(f"its shards have the shape {chunk_shape} and its chunks {codec.chunk_shape}")
    dtype = get_data_type_from_json(name, zarr_format=3)
    try:
        return ArrayV3Metadata(
            shape=shape,
            data_type=dtype,
            chunk_grid={"name": "regular", "configuration": {"chunk_shape": chunk_shape}},
            chunk_key_encoding=_key_encoding(value.get("chunk_key_encoding")),
            fill_value=dtype.from_json_scalar(value.get("fill_value"), zarr_format=3),
            codecs=codecs,
            attributes={},
            dimension_names=None,
        )
    except Exception as error:  # zarr-python raises many types of exceptions
        raise ValueError((str(error).splitlines() or [type(error).__name__])[0]) from error


def passing_size(metadata: Any, start: int, stop: int) -> int:
    """Return the number of bytes of a chunk that are decoded at a time to read some rows.

    Raises:
        ValueError: they are in far too many chunks.
    """
    inner = [codec.chunk_shape for codec in metadata.codecs if isinstance(codec, ShardingCodec)]
    shape: tuple[int, ...] = inner[0] if inner else metadata.chunk_grid.chunk_shape
    others = (-(-size // chunk) for size, chunk in zip(metadata.shape[1:], shape[1:], strict=True))
    count = (-(-stop // shape[0]) - start // shape[0]) * math.prod(others)
    if count > _MOST_CHUNKS:
        raise ValueError(f"its rows lie in {count:,} chunks, expected no more than {_MOST_CHUNKS:,}")
    size: int = math.prod(shape) * metadata.dtype.to_native_dtype().itemsize
    return size


def _configuration(value: Any, what: str, *names: str) -> Mapping[str, Any]:
    """Return the configuration of something that has one of some known names."""
    name = value if isinstance(value, str) else value.get("name") if isinstance(value, dict) else None
    if name not in names:
        raise ValueError(f"its {what} is {shortened(name)}, expected one of {sorted(names)}")
    configuration = value.get("configuration", {}) if isinstance(value, dict) else {}
    if not isinstance(configuration, dict):
        raise ValueError(f"its {what} has the configuration {shortened(configuration)}, expected an object")
    return configuration


def _key_encoding(value: Any) -> dict[str, Any]:
    configuration = _configuration(value, "chunk_key_encoding", "default", "v2")
    name = value if isinstance(value, str) else value["name"]
    separator = configuration.get("separator", "/" if name == "default" else ".")
    if separator not in ("/", "."):
        raise ValueError(f"the separator of its chunks is {shortened(separator)}, expected '/' or '.'")
    return {"name": name, "configuration": {"separator": separator}}


def _check_chunks(shape: Any, dimensions: int) -> None:
    check_sizes(shape, 1)
    if len(shape) != dimensions:
        raise ValueError(f"its chunks have {len(shape)} dimensions, expected {dimensions}")


def _codecs(value: Any, dimensions: int, is_inner: bool = False, is_index: bool = False) -> list[Any]:
    """Return the codecs of chunks, in the order in which they encode."""
    if not isinstance(value, list):
        raise ValueError(f"its codecs are {shortened(value)}, expected a list")
    known = ["bytes", "crc32c"] if is_index else ["bytes", "crc32c", "transpose", *CODECS]
    known += [] if is_index or is_inner else ["sharding_indexed"]
    codecs: list[Any] = []
    more: int | None = 0  # bytes after those of a chunk; None once their number is not known
    for stored in value:
        configuration = _configuration(stored, "codec", *known)
        name = stored if isinstance(stored, str) else stored["name"]
        if name in CODECS:
            if more is None:
                raise ValueError(f"it is compressed twice, the second time with {name}, expected once")
            codecs.append(Compressed(name, more))
            more = None
        elif name == "crc32c":
            codecs.append(Crc32cCodec())
            more = None if more is None else more + CHECKSUM_SIZE
        elif name == "bytes":
            endian = configuration.get("endian", "little")
            if endian not in ("little", "big"):
                raise ValueError(f"its byte order is {shortened(endian)}, expected 'little' or 'big'")
            codecs.append(BytesCodec(endian=endian))
        elif name == "transpose":
            order = configuration.get("order")
            if not isinstance(order, list) or sorted(map(repr, order)) != sorted(map(repr, range(dimensions))):
                raise ValueError(f"its dimensions have the order {shortened(order)}, expected each of them once")
            codecs.append(TransposeCodec(order=order))
        else:
            codecs.append(_sharding(configuration, dimensions))
    return codecs


def _sharding(configuration: Mapping[str, Any], dimensions: int) -> ShardingCodec:
    _check_chunks(configuration.get("chunk_shape"), dimensions)
    location = configuration.get("index_location", "end")
    if location not in ("start", "end"):
        raise ValueError(f"the index of its shards lies at {shortened(location)}, expected 'start' or 'end'")
    return ShardingCodec(
        chunk_shape=configuration["chunk_shape"],
        codecs=_codecs(configuration.get("codecs"), dimensions, is_inner=True),
        index_codecs=_codecs(configuration.get("index_codecs"), dimensions, is_index=True),
        index_location=location,
    )
