"""Zstandard, LZ4 and deflate: what HDF5 plug-ins write and read, and chunks that claim too much."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from typing import Any

import h5py
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from minari._storages.hdf5.format.chunks import Piece, StoredColumn, compressed, decompressed
from minari._storages.hdf5.format.codecs import CODECS, DEFLATE, LZ4, MOST_EXPANDED, ZSTD
from minari._storages.hdf5.format.filters import Chunking, chunking_of, decoded, encoded, most_decoded
from minari._storages.hdf5.format.objects import Filter
from minari._storages.hdf5.plugins import filters_of


zstandard = pytest.importorskip("zstandard")
hdf5plugin = pytest.importorskip("hdf5plugin")
pytest.importorskip("lz4.block")

ZSTD_FILTERS: tuple[Filter, ...] = ((ZSTD, (3,), "zstd"),)
LZ4_FILTERS: tuple[Filter, ...] = ((LZ4, (0,), "lz4"),)


@given(
    data=st.binary(max_size=300).map(lambda part: part * 9),
    codec=st.sampled_from([(DEFLATE, 3), (DEFLATE, 0), (ZSTD, 1), (ZSTD, 19), (LZ4, 0), (LZ4, 100)]),
)
def test_bytes_come_back(data: bytes, codec: tuple[int, int]) -> None:
    number, value = codec
    stored = CODECS[number].encode(data, (value,))
    assert CODECS[number].decode(stored, len(data)) == data
    assert len(data) <= MOST_EXPANDED * len(stored)
    if data:
        with pytest.raises(ValueError, match="bytes"):
            CODECS[number].decode(stored, len(data) - 1)


@pytest.mark.parametrize("plugin", ["zstd", "zstd:19", "lz4", "lz4:1024"])
@pytest.mark.parametrize("options", [{}, {"shuffle": True}, {"fletcher32": True}], ids=str)
def test_chunks_of_plugins_are_read(plugin: str, options: dict[str, Any]) -> None:
    name, _, value = plugin.partition(":")
    made = {"zstd": lambda: hdf5plugin.Zstd(int(value or 3)), "lz4": lambda: hdf5plugin.LZ4(int(value or 0))}[name]()
    values = np.arange(3000, dtype=np.int32).reshape(100, 30) // 7
    with h5py.File("chunks", "w", driver="core", backing_store=False) as file:
        dataset = file.create_dataset("x", data=values, chunks=values.shape, **made, **options)
        filters, (skipped, data) = filters_of(dataset), dataset.id.read_direct_chunk((0, 0))
    assert decoded(data, values.nbytes, filters, skipped).tobytes() == values.tobytes()


@pytest.mark.parametrize("name", ["zstd", "lz4"])
def test_plugins_read_black_frames_of_ours(name: str) -> None:
    """They compress far more than deflate could, and are filled up so that every limit is that of deflate."""
    values = np.zeros((64, 96, 96, 3), np.uint8)
    chunking = chunking_of(name, None, values.shape, values.dtype)
    assert chunking is not None
    stored = compressed(values, chunking)
    assert values.nbytes <= MOST_EXPANDED * sum(len(piece.data) for piece in stored.pieces)
    plugin = {"zstd": hdf5plugin.Zstd, "lz4": hdf5plugin.LZ4}[name]()
    with h5py.File("chunks", "w", driver="core", backing_store=False) as file:
        dataset = file.create_dataset("x", values.shape, values.dtype, chunks=chunking.shape, **plugin)
        for number, piece in enumerate(stored.pieces):
            dataset.id.write_direct_chunk((number * chunking.shape[0], 0, 0, 0), piece.data)
        assert not dataset[()].any()
    assert not decompressed(stored).any()


def test_black_frames_of_others_are_read_within_a_limit() -> None:
    size = 2**25
    frame = zstandard.ZstdCompressor(level=1).compress(bytes(size))
    assert size > 20 * MOST_EXPANDED * len(frame)
    assert not decoded(frame, size, ZSTD_FILTERS).any()
    assert most_decoded(ZSTD_FILTERS, 100) == 100 * 2**15
    assert most_decoded(ZSTD_FILTERS, 2**14) == 2**28
    assert most_decoded(ZSTD_FILTERS, 2**20) == 2**20 * MOST_EXPANDED
    assert most_decoded(((2, (4,), ""),), 100) == 100
    with pytest.raises(ValueError, match="cannot become"):
        decoded(frame, 2**50, ZSTD_FILTERS)


@pytest.mark.parametrize(("count", "is_read"), [(8, True), (512, False)])
def test_all_chunks_of_an_array_share_the_limit(count: int, is_read: bool) -> None:
    """Each of them alone is within it."""
    size = 2**20
    piece = Piece(zstandard.ZstdCompressor().compress(bytes(size)))
    stored = StoredColumn(np.dtype(np.uint8), (count * size,), Chunking((size,), ZSTD_FILTERS), [piece] * count)
    if is_read:
        assert not decompressed(stored).any()
    else:
        with pytest.raises(ValueError, match="too few for an array"):
            decompressed(stored)


def unsized(data: bytes, **options: Any) -> bytes:
    """A frame that does not declare its size."""
    compressor = zstandard.ZstdCompressor(write_content_size=False, **options).compressobj()
    made: bytes = compressor.compress(data) + compressor.flush()
    return made


VALUES = np.arange(3000, dtype=np.uint16).view(np.uint8)
FRAME = zstandard.ZstdCompressor(write_checksum=True).compress(VALUES.tobytes())


@pytest.mark.parametrize(
    "frame",
    [
        FRAME,
        unsized(VALUES.tobytes()),
        FRAME + b"\x50\x2a\x4d\x18\4\0\0\0four",  # followed by a frame to be skipped
        FRAME + FRAME,
        FRAME + b"more",
        zstandard.ZstdCompressor(compression_params=zstandard.ZstdCompressionParameters(window_log=27)).compress(
            VALUES.tobytes()
        ),
    ],
    ids=["sized", "unsized", "skipped", "two", "trailing", "window"],
)
def test_frames_of_all_kinds_are_read(frame: bytes) -> None:
    assert decoded(frame, VALUES.nbytes, ZSTD_FILTERS).tobytes() == VALUES.tobytes()


def lying(size: int) -> bytes:
    """A frame that declares another size than it has."""
    header = zstandard.get_frame_parameters(FRAME)
    assert header.content_size == VALUES.nbytes
    at = FRAME.index(struct.pack("<H", VALUES.nbytes - 256))  # as two bytes are written
    return FRAME[:at] + struct.pack("<H", size - 256) + FRAME[at + 2 :]


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        FRAME[:3],
        FRAME[:-1],
        FRAME[: len(FRAME) // 2],
        lying(VALUES.nbytes - 1),
        lying(VALUES.nbytes + 1),
        lying(2**16),
        zstandard.ZstdCompressor().compress(bytes(2**24)),
        unsized(bytes(2**24)),
        unsized(bytes(VALUES.nbytes + 100)),
        b"\x50\x2a\x4d\x18\4\0\0\0four" + FRAME,
        zstandard.ZstdCompressor(
            dict_data=zstandard.ZstdCompressionDict(bytes(range(256)) * 8, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
        ).compress(bytes(range(256)) * 24)[: VALUES.nbytes],
        # A frame that asks for a window of 2 GiB.
        b"\x28\xb5\x2f\xfd\x00\xa8" + FRAME[6:],
        FRAME[:-1] + bytes([FRAME[-1] ^ 1]),
    ],
)
def test_frames_that_lie_are_refused_without_room_for_them(frame: bytes) -> None:
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"."):
        decoded(frame, VALUES.nbytes, ZSTD_FILTERS)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


def lz4(size: int, block: int, *parts: bytes) -> bytes:
    return struct.pack(">QI", size, block) + b"".join(struct.pack(">I", len(part)) + part for part in parts)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        lz4(100, 100)[:11],
        lz4(100, 100),
        lz4(2**60, 2**30, b"x"),
        lz4(100, 0, b"x" * 100),
        lz4(100, 100, b"x" * 99),
        lz4(100, 100, b"x" * 100)[:-1],
        lz4(100, 2**31, b"\xff" * 50),
        lz4(100, 60, b"x" * 60),
        lz4(100, 60, b"x" * 60, b"y" * 39),
        lz4(90, 60, b"x" * 60, b"y" * 30),
        lz4(100, 1, *[b"x"] * 99),
    ],
)
def test_blocks_that_lie_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        decoded(data, 100, LZ4_FILTERS)


def test_every_change_of_a_frame_is_noticed() -> None:
    """It ends with a checksum."""
    data = encoded(VALUES, ZSTD_FILTERS)
    assert zstandard.get_frame_parameters(data).has_checksum
    for position in range(len(data)):
        changed = data[:position] + bytes([data[position] ^ 0x10]) + data[position + 1 :]
        try:
            assert decoded(changed, VALUES.nbytes, ZSTD_FILTERS).tobytes() == VALUES.tobytes()
        except ValueError:
            continue


@pytest.mark.parametrize("number", [ZSTD, LZ4])
def test_filter_that_was_left_out_is_skipped(number: int) -> None:
    filters: tuple[Filter, ...] = ((2, (2,), ""), (number, (3 if number == ZSTD else 0,), ""))
    for skipped in range(4):
        used = [each for place, each in enumerate(filters) if not skipped >> place & 1]
        assert decoded(encoded(VALUES, used), VALUES.nbytes, filters, skipped).tobytes() == VALUES.tobytes()


def test_deflate_is_that_of_python() -> None:
    """Whichever package does it."""
    assert zlib.decompress(CODECS[DEFLATE].encode(VALUES, (3,))) == VALUES.tobytes()
    assert CODECS[DEFLATE].decode(zlib.compress(VALUES, 9), VALUES.nbytes) == VALUES.tobytes()
    assert CODECS[DEFLATE].decode(zlib.compress(b""), 0) == b""


def test_chunks_of_zstandard_are_longer() -> None:
    found = {name: chunking_of(name, None, (201, 84, 84, 3), np.dtype(np.uint8)) for name in ("gzip", "zstd", "lz4")}
    shapes = {name: chunking.shape for name, chunking in found.items() if isinstance(chunking, Chunking)}
    assert shapes == {"gzip": (8, 84, 84, 3), "zstd": (16, 84, 84, 3), "lz4": (8, 84, 84, 3)}
    assert chunking_of("blosc", None, (201, 84, 84, 3), np.dtype(np.uint8)) is None
