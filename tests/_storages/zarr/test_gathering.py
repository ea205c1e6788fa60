"""Rows of many episodes, gathered from maps of shards and from chunks that are decoded."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from minari._storages.rows import RowRequest
from minari._storages.zarr import gathering
from minari.dataset.minari_storage import MinariStorage
from minari.errors import DatasetCorruptError
from minari.testing.examples import as_buffer, draw_truth
from support.stored import store


zarr = pytest.importorskip("zarr", minversion="3", reason="zarr 3 is not installed; it needs Python 3.11")
SPACE = spaces.Dict({"image": spaces.Box(0, 255, (8, 8, 3), np.uint8), "x": spaces.Box(-1.0, 1.0, (3,), np.float64)})
ACTIONS = spaces.Discrete(5)
LENGTHS = (70, 1, 33, 300, 129, 2)
TRUTHS = [draw_truth(SPACE, ACTIONS, length, seed) for seed, length in enumerate(LENGTHS)]
SHAPES = {("observations", "image"): (8, 8, 3), ("observations", "x"): (3,), ("rewards",): (), ("actions",): ()}


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minari._storages.zarr.arrays.SHARD_SIZE", 1 << 15)
    monkeypatch.setattr("minari._storages.zarr.arrays.CHUNK_SIZE", 1 << 11)


def new(directory: Path, truths: Any = TRUTHS, **options: Any) -> Any:
    return MinariStorage.read(store(directory, "zarr", truths, SPACE, ACTIONS, **options))


def array_of(storage: Any, name: str) -> Path:
    return Path(storage.data_path / "main_data.zarr" / name)


def requests(seed: int, length: int | None, count: int = 40) -> list[RowRequest]:
    """Requests of rows anywhere, among them the last ones of episodes."""
    rng = np.random.default_rng(seed)
    found = []
    for path, shape in SHAPES.items():
        beyond = path[0] == "observations"
        episodes = rng.integers(len(LENGTHS), size=count)
        last = np.array(LENGTHS)[episodes] + beyond - (length or 1)
        episodes, last = episodes[last >= 0], last[last >= 0]
        rows = rng.integers(last + 1)
        rows[::5] = last[::5]
        if length is None and seed % 2:
            rows = np.minimum(rows[:, None] + np.arange(3), last[:, None])
        found.append(RowRequest(path, shape, episodes, rows, length))
    return found


def expected_rows(storage: Any, request: RowRequest) -> Any:
    columns = [columns[request.path] for _, columns in storage.stored_columns(range(len(LENGTHS)))]
    rows = request.all_rows
    return np.stack([columns[episode][at] for episode, at in zip(request.episodes, rows, strict=True)])


def assert_gathered(storage: Any, wanted: list[RowRequest]) -> None:
    for request, rows in zip(wanted, storage.read_rows(wanted), strict=True):
        expected = expected_rows(storage, request)
        assert (rows.dtype, rows.shape) == (expected.dtype, expected.shape)
        assert np.array_equal(rows, expected)


@pytest.mark.parametrize("compression", ["none", "zstd", {"observations/x": "gzip"}])
@pytest.mark.parametrize("length", [None, 1, 17, 65])
def test_rows_are_those_of_the_episodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compression: Any, length: int | None
) -> None:
    """Also if there is room for a few chunks only, and for a few maps."""
    storage = new(tmp_path, compression=compression)
    assert len(list(array_of(storage, "data/observations/x").glob("c.*"))) > 3
    for _ in range(2):
        for seed in range(6):
            assert_gathered(storage, requests(seed, length))
        monkeypatch.setattr(gathering, "MOST_MAPS", 3)
        monkeypatch.setattr(gathering, "KEPT_BYTES", 1 << 16)
        storage = MinariStorage.read(storage.data_path)
    (request,) = (request for request in requests(0, None) if request.path == ("rewards",))
    assert storage.has_plain_rows(request) == (compression != "zstd" and os.name != "nt")


def test_rows_are_written_to_an_array_that_is_given(tmp_path: Path) -> None:
    storage = new(tmp_path)
    for request in requests(2, 5):
        (rows,) = storage.read_rows([request])
        out = np.zeros_like(rows)
        (found,) = storage.read_rows([request._replace(out=out)])
        assert found is out
        assert np.array_equal(out, rows)


def test_appended_episodes_are_read_and_no_file_stays_open(tmp_path: Path) -> None:
    storage = new(tmp_path, TRUTHS[:3])
    episodes, rows = np.arange(3), np.zeros(3, np.int64)
    request = RowRequest(("observations", "x"), (3,), episodes, rows)
    before = storage.read_rows([request])[0]
    storage.update_episodes([as_buffer(truth) for truth in TRUTHS[3:]])
    assert np.array_equal(storage.read_rows([request])[0], before)
    assert_gathered(storage, requests(3, 7))
    del storage
    gc.collect()
    if sys.platform == "linux":
        links = [str(file.readlink()) for file in Path("/proc/self/fd").iterdir() if file.is_symlink()]
        assert not [link for link in links if str(tmp_path) in link]


def test_zeros_that_another_program_left_out_are_read(tmp_path: Path) -> None:
    storage = new(tmp_path)
    zarr.open_array(array_of(storage, "data/rewards"), mode="r+")[:64] = 0  # deletes the first chunk of a shard
    storage = MinariStorage.read(storage.data_path)
    assert_gathered(storage, requests(1, 3))
    (rows,) = storage.read_rows([RowRequest(("rewards",), (), np.zeros(64, np.int64), np.arange(64))])
    assert not rows.any()


def test_episodes_with_other_types_are_read_as_a_whole(tmp_path: Path) -> None:
    storage = new(tmp_path)
    other = dict(TRUTHS[0], rewards=TRUTHS[0]["rewards"].astype(np.float32))
    storage.update_episodes([as_buffer(other)])
    (rows,) = storage.read_rows([RowRequest(("rewards",), (), np.array([0, 6]), np.array([1, 1]))])
    assert rows.tolist() == [TRUTHS[0]["rewards"][1], np.float32(TRUTHS[0]["rewards"][1])]


@pytest.mark.parametrize("compression", ["none", "zstd"])
@pytest.mark.parametrize("damage", ["cut", "emptied", "deleted", "flipped"])
@pytest.mark.parametrize("was_read", [False, True])
def test_damaged_shard_is_refused(tmp_path: Path, compression: str, damage: str, was_read: bool) -> None:
    """Also if it is cut off after it was mapped, where reading beyond its end would kill the process."""
    storage = new(tmp_path, compression=compression)
    wanted = [RowRequest(("observations", "image"), (8, 8, 3), np.full(200, 3), np.arange(200))]
    if was_read:
        storage.read_rows(wanted)
    for file in array_of(storage, "data/observations/image").glob("c.*"):
        if damage == "deleted":
            file.unlink()
        elif damage == "flipped":
            content = bytearray(file.read_bytes())
            content[40] ^= 1
            content[-6] ^= 1  # in the index
            file.write_bytes(content)
        else:
            os.truncate(file, 0 if damage == "emptied" else file.stat().st_size // 2)
    if was_read and (compression == "zstd" or damage in ("deleted", "flipped")):
        storage.read_rows(wanted)  # what has been read, or mapped, is still there
        storage = MinariStorage.read(storage.data_path)
    with pytest.raises(DatasetCorruptError, match=r"copy or download|missing"):
        storage.read_rows(wanted)
