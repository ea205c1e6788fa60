"""Chunk shapes, encoding, the table of chunks, and how HDF5 reads it."""

from __future__ import annotations

import struct
from typing import Any

import h5py
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from minari._base import parallel as thread_pool
from minari._base.parallel import map_in_batches
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
from minari._storages.hdf5.format.filters import (
    DEFLATE,
    SHUFFLE,
    Chunking,
    chunk_shape,
    decoded,
    encoded,
    gzip_chunking,
    is_known,
)
from minari._storages.hdf5.index import PlacedEpisodes
from minari.dataset.compression import Codec
from minari.spaces import ColumnPath, EpisodeColumns
from support.hdf5_files import NUMBERS, BytesFile, finish, new_file, numbers_of, run_tool, steps_of


GZIP = Codec("gzip")
X: ColumnPath = ("observations", "x")
SHAPES = st.tuples(st.integers(1, 300), *[st.integers(1, 40)] * 2)


def write(path: ColumnPath, column: Any, codec: Codec | None = None) -> list[PlacedEpisodes]:
    """A file with an episode that has a column beside the usual ones; where it lies."""
    new_file(path)
    appender = EpisodeAppender(BytesFile(path).write_at, path.stat().st_size, {X: codec}.get)
    steps = steps_of(3)
    appender.add(
        0,
        StoredEpisode(3, {X: column, **steps}, {}, dict.fromkeys([X, *steps], 1))
        if isinstance(column, StoredColumn)
        else EpisodeColumns(3, {X: column, **steps}),
    )
    return finish(path, appender)


# Chunks


@given(shape=SHAPES, dtype=st.sampled_from(NUMBERS))
def test_chunks_are_of_a_size(shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Neither large nor needlessly small, and along time a power of two."""
    chunk = chunk_shape(shape, dtype)
    rows, size = chunk[0], np.prod(chunk) * dtype.itemsize
    assert rows & (rows - 1) == 0
    assert all(1 <= part <= side for part, side in zip(chunk, shape, strict=True))
    is_whole = chunk[1:] == shape[1:]
    assert size <= (2**18 if is_whole else 2**17)
    assert 2 * rows > shape[0] or (2 * size > 2**18 if is_whole else rows == 32)
    assert rows >= min(32, (shape[0] + 1) // 2)


@pytest.mark.parametrize(
    ("shape", "chunk"),
    [((161, 96, 96, 3), (32, 12, 96, 3)), ((10**6,), (32768,)), ((5, 3), (4, 3)), ((2, 3000, 3000), (2, 2, 3000))],
)
def test_usual_chunks(shape: tuple[int, ...], chunk: tuple[int, ...]) -> None:
    dtype = np.dtype(np.uint8 if len(shape) == 4 else np.float64)
    assert chunk_shape(shape, dtype) == chunk


@settings(deadline=None)
@given(
    shape=SHAPES,
    chunk=st.tuples(*[st.integers(1, 50)] * 3),
    dtype=st.sampled_from(NUMBERS),
    level=st.integers(0, 9),
)
def test_there_and_back(shape: tuple[int, ...], chunk: tuple[int, ...], dtype: np.dtype[Any], level: int) -> None:
    """Also with chunks that reach beyond the edges."""
    column = numbers_of(dtype, shape, 0)
    _, *filters = (None, *gzip_chunking(shape, dtype, level).filters)
    assert filters[-1] == (DEFLATE, (level,), "")
    assert [values for number, values, _ in filters if number == SHUFFLE] == [(dtype.itemsize,)] * (dtype.itemsize > 1)
    assert is_known(filters)
    stored = compressed(column, Chunking(chunk, tuple(filters)))
    assert len(stored.pieces) == stored.chunking.count(shape)
    found = decompressed(stored)
    assert (found.dtype, found.shape, found.tobytes()) == (column.dtype, column.shape, column.tobytes())
    assert found.flags.writeable


def test_filters_that_were_skipped() -> None:
    """HDF5 leaves a filter out for a chunk that it does not make smaller, and says so in a bit."""
    values = np.arange(100, dtype=np.float64)
    filters = gzip_chunking(values.shape, values.dtype).filters
    for skipped in range(4):
        used = [each for place, each in enumerate(filters) if not skipped >> place & 1]
        assert decoded(encoded(values, used), values.nbytes, filters, skipped).tobytes() == values.tobytes()


@pytest.mark.parametrize("wide", [False, True])
def test_damaged_chunks(wide: bool) -> None:
    """No byte that has changed goes unnoticed, and no room is made for what cannot come out."""
    values = np.arange(60, dtype=np.float64 if wide else np.uint8)
    filters = gzip_chunking(values.shape, values.dtype).filters
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
    column = StoredColumn(values.dtype, (2**60,), Chunking((60,), filters), [Piece(data)])
    with pytest.raises(ValueError, match="too few for an array"):
        decompressed(column)


# The table


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(0, 2**16 - 1), min_size=1, max_size=40),
    address=st.integers(0, 50),
    side=st.sampled_from([1, 255, 256, 2**16, 2**31]),
)
def test_tables_are_read_back(sizes: list[int], address: int, side: int) -> None:
    chunking, dtype = Chunking((side,), ((DEFLATE, (4,), ""),)), np.dtype(np.uint8)
    pieces = [Piece(bytes([number % 251]) * size, number % 4) for number, size in enumerate(sizes)]
    table = table_of(address, [1000 + sum(sizes[:at]) for at in range(len(sizes))], pieces, chunking.size(dtype))
    assert len(table) == table_size(len(pieces), side)
    file = (bytes(address) + table).ljust(1000, b"\0") + b"".join(piece.data for piece in pieces)
    if len(file) > 1000 + sum(sizes):
        return  # (the table does not end before the chunks)

    def read_at(offset: int, size: int) -> bytes:
        return file[offset : offset + size]

    shape = (side * len(sizes),)
    assert has_table(read_at, address, shape, dtype, chunking)
    assert list(read_column(read_at, address, shape, dtype, chunking).pieces) == pieces
    assert not has_table(read_at, address, (shape[0] + 1,), dtype, chunking)
    with pytest.raises(ValueError, match="not that of such an array"):
        read_column(read_at, address, (shape[0] + 1,), dtype, chunking)


def test_damaged_tables(tmp_path: ColumnPath) -> None:
    """Every byte of the table counts."""
    column = numbers_of(np.dtype(np.float32), (500, 3), 1)
    stored = compressed(column, Chunking((64, 2), gzip_chunking(column.shape, column.dtype).filters))
    path = tmp_path / "file.h5"
    placed = write(path, stored)
    address = int(placed[0].places[0, 1])
    content = path.read_bytes()

    def read(content: bytes) -> StoredColumn:
        return read_column(
            lambda at, size: content[at : at + size], address, column.shape, column.dtype, stored.chunking
        )

    assert list(read(content).pieces) == list(stored.pieces)
    for position in range(address, address + table_size(len(stored.pieces), 64 * 2 * 4)):
        changed = bytearray(content)
        changed[position] ^= 1 << position % 8
        with pytest.raises(ValueError, match=r"table of its chunks|the file ends"):
            read(bytes(changed))
    for length in range(0, address + 40, 97):
        with pytest.raises(ValueError, match="the file ends"):
            read(content[:length])


@pytest.mark.parametrize("count", [1, 2, 255, 256, 1024, 1025, 5000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_any_number_of_chunks(tmp_path: ColumnPath, count: int) -> None:
    """HDF5 divides tables of many chunks into pages, unless the page size is large."""
    path, values = tmp_path / "file.h5", np.arange(2 * count, dtype=np.int16)
    filters = ((DEFLATE, (1,), ""),)
    write(path, compressed(values, Chunking((2,), filters)))
    with h5py.File(path) as file:
        dataset = file["episode_0/observations/x"]
        assert dataset.id.get_num_chunks() == count
        assert dataset[()].tobytes() == values.tobytes()
    if count <= 5000:
        run_tool("h5dump", "-d", "/episode_0/observations/x", path)
        run_tool("h5stat", path)
        run_tool("h5repack", "-f", "NONE", path, tmp_path / "plain.h5")
        with h5py.File(tmp_path / "plain.h5") as file:
            assert file["episode_0/observations/x"][()].tobytes() == values.tobytes()


@settings(deadline=None, max_examples=60)
@given(
    dtype=st.sampled_from(NUMBERS),
    rows=st.sampled_from([1, 2, 31, 32, 33, 63, 64, 65, 1000, 40_000]),
    row_shape=st.lists(st.integers(1, 5), max_size=3),
    codec=st.sampled_from(["gzip", "gzip:0", "gzip:9", "lzf", "zstd", "zstd:9", "blosc", "blosc:9", "lz4"]),
    data=st.data(),
)
def test_hdf5_reads_what_is_written(
    tmp_path_factory: pytest.TempPathFactory,
    dtype: np.dtype[Any],
    rows: int,
    row_shape: list[int],
    codec: str,
    data: st.DataObject,
) -> None:
    """Every dtype, with every codec; what is too small to be worth it is not compressed."""
    if not codec.startswith(("gzip", "lzf")):
        pytest.importorskip("hdf5plugin")
    column = numbers_of(dtype, (rows, *row_shape), data.draw(st.integers(0, 2**32)))
    path = tmp_path_factory.mktemp("codec") / "file.h5"
    placed = write(path, column, Codec.parse(codec))
    with h5py.File(path) as file:
        dataset = file["episode_0/observations/x"]
        assert (dataset.dtype, dataset.shape) == (column.dtype, column.shape)
        is_compressed = column.nbytes >= 64
        assert bool(dataset.id.get_create_plist().get_nfilters()) == is_compressed
        assert (placed[0].schema.leaves[0].filters is not None) == is_compressed
        assert dataset[()].tobytes() == column.tobytes()


@pytest.mark.parametrize("shape", [(0, 3), (4, 0), (0, 0), (1,)])
def test_what_has_no_values_is_not_compressed(tmp_path: ColumnPath, shape: tuple[int, ...]) -> None:
    write(tmp_path / "file.h5", np.zeros(shape), GZIP)
    with h5py.File(tmp_path / "file.h5") as file:
        dataset = file["episode_0/observations/x"]
        assert (dataset.shape, dataset.chunks, dataset.compression) == (shape, None, None)


def test_more_chunks_than_wait_in_memory(tmp_path: ColumnPath) -> None:
    """Chunks of more than a megabyte go to the file by themselves."""
    values = np.random.default_rng(0).integers(0, 256, (3, 3 * 2**20), np.uint8)
    write(tmp_path / "file.h5", compressed(values, Chunking((1, 3 * 2**20), ((DEFLATE, (1,), ""),))))
    with h5py.File(tmp_path / "file.h5") as file:
        assert file["episode_0/observations/x"][()].tobytes() == values.tobytes()


# Threads


def test_threads_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the end of a program there are no new threads; then it is done without."""

    class Closed:
        def map(self, *_: Any) -> None:
            raise RuntimeError("cannot schedule new futures after interpreter shutdown")

    monkeypatch.setattr(thread_pool, "_pool", Closed())
    assert list(map_in_batches(abs, iter([-3, 2]), 1)) == [3, 2]


def test_an_error_in_a_thread() -> None:
    with pytest.raises(struct.error):
        list(map_in_batches(lambda data: struct.unpack("<Q", data), [bytes(8), b""], 1))
