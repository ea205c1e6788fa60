"""Blocks that are kept after decoding: the same rows as without, decoded as rarely as they fit."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from minari._storages.decoded_blocks import DecodedBlocks, MemoryBudget
from minari._storages.hdf5 import rows as hdf5_rows
from minari._storages.rows import RowRequest
from minari.dataset.minari_storage import MinariStorage
from minari.errors import DatasetCorruptError
from minari.testing.comparison import assert_same
from minari.testing.examples import as_buffer
from support.compressed import FILE, SPACE, draw, new
from support.stored import flip


HEIGHT, SHAPE = 4, (16, 32)
SIZE = HEIGHT * 16 * 32 * 8  # bytes of a block
ROWS = np.arange(100 * HEIGHT)[:, None, None] + np.zeros(SHAPE, np.int64)


class Blocks:
    """Blocks of those rows that count how often they are decoded."""

    def __init__(self, count: int, size: int) -> None:
        self.blocks = DecodedBlocks(count, HEIGHT, SHAPE, np.dtype(np.int64), MemoryBudget(size))
        self.decoded: list[int] = []
        self.failing = False

    def decode(self, blocks: Any, places: Any, kept: Any) -> None:
        if self.failing:
            raise DatasetCorruptError("damaged")
        self.decoded += blocks.tolist()
        for block, place in zip(blocks.tolist(), places.tolist(), strict=True):
            kept[place : place + HEIGHT] = ROWS[block * HEIGHT : (block + 1) * HEIGHT]

    def gather(self, wanted: Any) -> bool:
        numbers = np.array(wanted, np.int64)
        target = np.zeros((len(numbers), *SHAPE), np.int64)
        is_done = self.blocks.gather(numbers // HEIGHT, numbers % HEIGHT, target, self.decode)
        if is_done:
            assert_same(target, ROWS[numbers])
        else:
            assert not target.any()
        return is_done


@given(
    batches=st.lists(st.lists(st.integers(0, 20 * HEIGHT - 1), max_size=30), max_size=12),
    capacity=st.integers(4, 30),
)
def test_rows_are_those_of_the_blocks_whatever_was_kept(batches: list[list[int]], capacity: int) -> None:
    blocks = Blocks(20, capacity * SIZE + 17)
    for batch in batches:
        needed = {row // HEIGHT for row in batch}
        before = len(blocks.decoded)
        assert blocks.gather(batch) == (len(needed) <= min(capacity, 20))
        new_ones = blocks.decoded[before:]
        assert set(new_ones) <= needed
        assert len(new_ones) == len(set(new_ones))
    if capacity >= 20:
        assert len(blocks.decoded) == len(set(blocks.decoded))


def test_block_decoded_first_makes_room_unless_it_is_needed() -> None:
    blocks = Blocks(20, 4 * SIZE)
    for wanted, decoded in (([0, 4, 8, 12], [0, 1, 2, 3]), ([0, 16], [4]), ([4], [1]), ([0, 16, 4], [])):
        before = len(blocks.decoded)
        assert blocks.gather(wanted)
        assert blocks.decoded[before:] == decoded


def test_nothing_is_kept_of_what_could_not_be_decoded() -> None:
    blocks = Blocks(20, 4 * SIZE)
    blocks.gather([0, 4, 8, 12])
    blocks.failing = True
    with pytest.raises(DatasetCorruptError):
        blocks.gather([16])
    blocks.failing = False
    for row in (16, 0, 4, 8, 12):
        assert blocks.gather([row])


def test_budget_is_shared_and_small_blocks_are_not_kept() -> None:
    budget = MemoryBudget(10 * SIZE)
    assert [budget.take(most * SIZE) // SIZE for most in (3, 4, 100, 1)] == [3, 4, 3, 0]
    assert not Blocks(20, 3 * SIZE).gather([0])
    small = DecodedBlocks(20, 1, (4,), np.dtype(np.int64), MemoryBudget(2**20))
    assert not small.gather(
        np.zeros(1, np.int64), np.zeros(1, np.int64), np.zeros((1, 4), np.int64), Blocks(1, 0).decode
    )


def test_whole_chunks_are_written_in_the_order_that_is_asked_for(tmp_path: Path) -> None:
    storage = new(tmp_path, [300], codec="zstd")
    truth = np.stack([one["pixels"] for one in draw(SPACE, 300)["observations"]])
    rng = np.random.default_rng(0)
    for rows in (np.arange(256), np.arange(256)[::-1], rng.permutation(256), np.arange(1, 257), np.zeros(256, int)):
        for once in (False, True):
            request = RowRequest(PIXELS, (40, 16, 3), np.zeros(256, np.int64), rows, once=once)
            assert_same(storage.read_rows([request])[0], truth[rows])


# In a dataset

PIXELS = ("observations", "pixels")
LENGTHS = (5, 300, 31, 64)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The chunks that are decoded for rows."""
    decoded: list[int] = []
    decode = hdf5_rows.decode_chunk

    def counting(read_at: Any, table: Any, number: int, *arguments: Any) -> None:
        decoded.append(number)
        decode(read_at, table, number, *arguments)

    monkeypatch.setattr(hdf5_rows, "decode_chunk", counting)
    return decoded


def requests(rng: np.random.Generator, count: int, **options: Any) -> RowRequest:
    episodes = rng.integers(0, len(LENGTHS), count)
    rows = (rng.random(count) * (np.array(LENGTHS)[episodes] + 1)).astype(np.int64)
    return RowRequest(PIXELS, (40, 16, 3), episodes, rows, **options)


@pytest.mark.parametrize("codec", ["gzip", "zstd", "lz4"])
def test_chunks_are_decoded_once(tmp_path: Path, codec: str, counted: list[int]) -> None:
    """Episodes of different lengths have chunks of different numbers of rows."""
    storage, rng = new(tmp_path, LENGTHS, codec=codec), np.random.default_rng(0)
    truth = [np.stack([one["pixels"] for one in draw(SPACE, length)["observations"]]) for length in LENGTHS]

    def check(request: RowRequest) -> None:
        (found,) = storage.read_rows([request])
        pairs = zip(request.episodes.tolist(), request.rows.tolist(), strict=True)
        assert_same(found, np.stack([truth[episode][row] for episode, row in pairs]))

    for _ in range(4):
        check(requests(rng, 100))
    assert 0 < len(counted) <= sum(-(-(length + 1) // 2) for length in LENGTHS)
    del counted[:]
    check(requests(rng, 1000))
    missing = len(counted)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(check, [requests(np.random.default_rng(seed), 50) for seed in range(8)]))
    assert len(counted) <= missing + 2
    check(requests(rng, 100, once=True))  # for somebody who keeps them
    assert len(counted) > missing
    storage.update_episodes([as_buffer(draw(SPACE, 5), seed=5)])
    del counted[:]
    check(requests(rng, 10))
    assert counted


def test_window_needs_only_its_chunks(tmp_path: Path) -> None:
    """Others may be damaged."""
    storage = new(tmp_path, [3, 900], codec="zstd")
    (episode,) = storage.get_episodes([1])
    with h5py.File(storage.data_path / FILE) as file:
        dataset = file[f"episode_1/{'/'.join(PIXELS)}"]
        height = dataset.chunks[0]
        chunk = dataset.id.get_chunk_info(0)
    flip(storage.data_path / FILE, chunk.byte_offset + chunk.size // 2, 0x40, keep_time=True)
    assert 2 * height < 900
    for opened in (storage, MinariStorage.read(storage.data_path)):
        for start, stop in ((height, height + 1), (height, 900), (2 * height - 1, 2 * height)):
            window = opened.get_window(1, start, stop)
            assert_same(window["observations"]["pixels"], episode["observations"]["pixels"][start : stop + 1])
            assert_same(window["rewards"], episode["rewards"][start:stop])
        for start, stop in ((height - 1, height), (0, 1), (0, 900)):
            with pytest.raises(DatasetCorruptError, match=r"pixels' of episode 1 in .* cannot be decompressed"):
                opened.get_window(1, start, stop)
    opened = MinariStorage.read(storage.data_path)
    opened.verify_checksums = True
    with pytest.raises(DatasetCorruptError):  # of whole episodes
        opened.get_window(1, height, height + 1)
