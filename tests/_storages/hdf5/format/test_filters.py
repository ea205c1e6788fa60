"""Chunk shapes, encoding, the table of chunks, and how HDF5 reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from minari._storages.hdf5.appender import EpisodeAppender, StoredEpisode
from minari._storages.hdf5.format.chunks import (
    Piece,
    StoredColumn,
    compressed,
    decompressed,
    has_table,
    read_column,
    table_of,
    table_size,
)
from minari._storages.hdf5.format.codecs import DEFLATE
from minari._storages.hdf5.format.filters import (
    SHUFFLE,
    Chunking,
    chunk_shape,
    chunking_of,
    decoded,
    encoded,
    is_known,
)
from minari._storages.hdf5.format.objects import Filter
from minari._storages.hdf5.index import PlacedEpisodes
from minari.dataset.compression import Codec
from minari.spaces import EpisodeColumns
from support.hdf5_files import NUMBERS, BytesFile, finish, new_file, numbers_of, run_tool, steps_of


X = ("observations", "x")
NAME = "episode_0/observations/x"
SHAPES = st.tuples(st.integers(1, 300), *[st.integers(1, 40)] * 2)


def write(path: Path, column: Any, codec: Codec | None = None) -> list[PlacedEpisodes]:
    """A file with an episode that has a column beside the usual ones; where it lies."""
    new_file(path)
    appender = EpisodeAppender(BytesFile(path).write_at, path.stat().st_size, {X: codec}.get)
    columns: Any = {X: column, **steps_of(3)}
    is_stored = isinstance(column, StoredColumn)
    appender.add(
        0, StoredEpisode(3, columns, {}, dict.fromkeys(columns, 1)) if is_stored else EpisodeColumns(3, columns)
    )
    return finish(path, appender)


def filters_of(name: str, level: int | None, shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[Filter, ...]:
    chunking = chunking_of(name, level, shape, dtype)
    assert chunking is not None
    return chunking.filters


# Chunks


@given(shape=SHAPES, dtype=st.sampled_from(NUMBERS))
def test_chunks_are_of_a_size_and_a_power_of_two_along_time(shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    chunk = chunk_shape(shape, dtype)
    rows, size = chunk[0], np.prod(chunk) * dtype.itemsize
    assert rows & (rows - 1) == 0
    assert all(1 <= part <= side for part, side in zip(chunk, shape, strict=True))
    is_whole = chunk[1:] == shape[1:]
    assert size <= 2**18
    assert 2 * rows > shape[0] or (2 * size > 2**18 if is_whole else rows == 8)
    assert rows >= min(8, (shape[0] + 1) // 2)


@pytest.mark.parametrize(
    ("shape", "chunk"),
    [
        ((161, 96, 96, 3), (8, 96, 96, 3)),
        ((161, 480, 640, 3), (8, 15, 640, 3)),
        ((10**6,), (32768,)),
        ((5, 3), (4, 3)),
        ((2, 3000, 3000), (2, 3, 3000)),
    ],
)
def test_usual_chunks(shape: tuple[int, ...], chunk: tuple[int, ...]) -> None:
    assert chunk_shape(shape, np.dtype(np.uint8 if len(shape) == 4 else np.float64)) == chunk


@settings(deadline=None)
@given(
    shape=SHAPES, chunk=st.tuples(*[st.integers(1, 50)] * 3), dtype=st.sampled_from(NUMBERS), level=st.integers(0, 9)
)
def test_compressed_columns_come_back(shape: Any, chunk: Any, dtype: np.dtype[Any], level: int) -> None:
    """Also with chunks that reach beyond the edges."""
    column, filters = numbers_of(dtype, shape, 0), filters_of("gzip", level, shape, dtype)
    assert filters[-1] == (DEFLATE, (level,), "")
    assert [values for number, values, _ in filters if number == SHUFFLE] == [(dtype.itemsize,)] * (dtype.itemsize > 1)
    assert is_known(filters)
    stored = compressed(column, Chunking(chunk, tuple(filters)))
    assert len(stored.pieces) == stored.chunking.count(shape)
    found = decompressed(stored)
    assert (found.dtype, found.shape, found.tobytes()) == (column.dtype, column.shape, column.tobytes())
    assert found.flags.writeable


def test_filters_that_hdf5_left_out_for_a_chunk_are_skipped() -> None:
    values = np.arange(100, dtype=np.float64)
    filters = filters_of("gzip", None, values.shape, values.dtype)
    for skipped in range(4):
        used = [each for place, each in enumerate(filters) if not skipped >> place & 1]
        assert decoded(encoded(values, used), values.nbytes, filters, skipped).tobytes() == values.tobytes()


@pytest.mark.parametrize("dtype", [np.float64, np.uint8])
def test_damaged_chunk_is_noticed_and_no_room_made_for_it(dtype: Any) -> None:
    values = np.arange(60, dtype=dtype)
    filters = filters_of("gzip", None, values.shape, values.dtype)
    data = encoded(values, filters)
    for position in range(len(data)):
        for changed in (data[:position], data[:position] + bytes([data[position] ^ 0x10]) + data[position + 1 :]):
            try:
                assert decoded(changed, values.nbytes, filters).tobytes() == values.tobytes()
            except ValueError:
                continue
    for size in (values.nbytes - 8, values.nbytes + 8, 2**62):
        with pytest.raises(ValueError, match="bytes"):
            decoded(data, size, filters)
    with pytest.raises(ValueError, match="are not elements"):
        decoded(bytes(7), 7, ((SHUFFLE, (0,), ""),))
    with pytest.raises(ValueError, match="too few for an array"):
        decompressed(StoredColumn(values.dtype, (2**60,), Chunking((60,), filters), [Piece(data)]))


# The table


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(0, 2**16 - 1), min_size=1, max_size=40),
    address=st.integers(0, 50),
    side=st.sampled_from([1, 255, 256, 2**16, 2**31]),
)
def test_table_is_read_back_and_that_of_another_array_refused(sizes: list[int], address: int, side: int) -> None:
    chunking, dtype = Chunking((side,), ((DEFLATE, (4,), ""),)), np.dtype(np.uint8)
    pieces = [Piece(bytes([number % 251]) * size, number % 4) for number, size in enumerate(sizes)]
    begin = address + table_size(len(pieces), side)
    table = table_of(address, [begin + sum(sizes[:at]) for at in range(len(sizes))], pieces, chunking.size(dtype))
    assert len(table) == table_size(len(pieces), side)
    file = bytes(address) + table + b"".join(piece.data for piece in pieces)

    def read_at(offset: int, size: int) -> bytes:
        return file[offset : offset + size]

    shape, other = (side * len(sizes),), (side * len(sizes) + 1,)
    assert has_table(read_at, address, shape, dtype, chunking)
    assert list(read_column(read_at, address, shape, dtype, chunking).pieces) == pieces
    assert not has_table(read_at, address, other, dtype, chunking)
    with pytest.raises(ValueError, match="not that of such an array"):
        read_column(read_at, address, other, dtype, chunking)


def test_every_byte_of_the_table_counts(tmp_path: Path) -> None:
    column = numbers_of(np.dtype(np.float32), (500, 3), 1)
    stored = compressed(column, Chunking((64, 2), filters_of("gzip", None, column.shape, column.dtype)))
    address = int(write(tmp_path / "file.h5", stored)[0].places[0, 1])
    content = (tmp_path / "file.h5").read_bytes()

    def read(content: bytes) -> StoredColumn:
        def read_at(at: int, size: int) -> bytes:
            return content[at : at + size]

        return read_column(read_at, address, column.shape, column.dtype, stored.chunking)

    assert list(read(content).pieces) == list(stored.pieces)
    for position in range(address, address + table_size(len(stored.pieces), 64 * 2 * 4)):
        changed = bytearray(content)
        changed[position] ^= 1 << position % 8
        with pytest.raises(ValueError, match=r"table of its chunks|the file ends"):
            read(bytes(changed))
    for length in range(0, address + 40, 97):
        with pytest.raises(ValueError, match="the file ends"):
            read(content[:length])


# Read by HDF5


@pytest.mark.parametrize("count", [1, 2, 255, 256, 1024, 1025, 5000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_hdf5_reads_any_number_of_chunks(tmp_path: Path, count: int) -> None:
    """It divides tables of many chunks into pages, unless the page size is large."""
    path, plain, values = tmp_path / "file.h5", tmp_path / "plain.h5", np.arange(2 * count, dtype=np.int16)
    write(path, compressed(values, Chunking((2,), ((DEFLATE, (1,), ""),))))
    with h5py.File(path) as file:
        assert file[NAME].id.get_num_chunks() == count
        assert file[NAME][()].tobytes() == values.tobytes()
    if count <= 5000:
        run_tool("h5dump", "-d", f"/{NAME}", path)
        run_tool("h5stat", path)
        run_tool("h5repack", "-f", "NONE", path, plain)
        with h5py.File(plain) as file:
            assert file[NAME][()].tobytes() == values.tobytes()


@settings(deadline=None, max_examples=60)
@given(
    dtype=st.sampled_from(NUMBERS),
    rows=st.sampled_from([1, 2, 31, 32, 33, 63, 64, 65, 1000, 40_000]),
    row_shape=st.lists(st.integers(1, 5), max_size=3),
    codec=st.sampled_from(["gzip", "gzip:0", "gzip:9", "lzf", "zstd", "zstd:9", "blosc", "blosc:9", "lz4"]),
    seed=st.integers(0, 2**32),
)
def test_hdf5_reads_every_dtype_with_every_codec(
    tmp_path_factory: Any, dtype: np.dtype[Any], rows: int, row_shape: list[int], codec: str, seed: int
) -> None:
    """Arrays too small to be worth it are not compressed."""
    if not codec.startswith(("gzip", "lzf")):
        pytest.importorskip("hdf5plugin")
    column, path = numbers_of(dtype, (rows, *row_shape), seed), tmp_path_factory.mktemp("codec") / "file.h5"
    placed = write(path, column, Codec.parse(codec))
    with h5py.File(path) as file:
        dataset = file[NAME]
        assert (dataset.dtype, dataset.shape) == (column.dtype, column.shape)
        is_compressed = column.nbytes >= 64
        assert bool(dataset.id.get_create_plist().get_nfilters()) == is_compressed
        assert (placed[0].schema.leaves[0].filters is not None) == is_compressed
        assert dataset[()].tobytes() == column.tobytes()


@pytest.mark.parametrize("shape", [(0, 3), (4, 0), (0, 0), (1,)])
def test_arrays_without_values_are_not_compressed(tmp_path: Path, shape: tuple[int, ...]) -> None:
    write(tmp_path / "file.h5", np.zeros(shape), Codec("gzip"))
    with h5py.File(tmp_path / "file.h5") as file:
        assert (file[NAME].shape, file[NAME].chunks, file[NAME].compression) == (shape, None, None)


def test_chunks_of_more_than_a_megabyte_go_to_the_file_by_themselves(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 256, (3, 3 * 2**20), np.uint8)
    write(tmp_path / "file.h5", compressed(values, Chunking((1, 3 * 2**20), ((DEFLATE, (1,), ""),))))
    with h5py.File(tmp_path / "file.h5") as file:
        assert file[NAME][()].tobytes() == values.tobytes()
