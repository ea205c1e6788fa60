"""The cache of decoded rows: each chunk decoded once, shared on disk, bounded, and dropped with the data."""

from __future__ import annotations

import multiprocessing
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minari
from minari import MinariDataset
from minari.errors import ArgumentError, StorageError
from support.sampling_model import assert_same, make


pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

KINDS = ("memory", "disk")


@pytest.fixture(autouse=True)
def cache_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MINARI_CACHE_PATH", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of rows of frames that the storage is asked for."""
    rows: list[int] = []
    read_rows = minari.dataset.minari_storage.MinariStorage.read_rows

    def counting(self: Any, requests: Any) -> Any:
        rows.extend(request.all_rows.size for request in requests if request.path == ("observations",))
        return read_rows(self, requests)

    monkeypatch.setattr(minari.dataset.minari_storage.MinariStorage, "read_rows", counting)
    return rows


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("data_format", ["hdf5", "arrow", "zarr"])
def test_every_row_is_decoded_once(kind: Any, data_format: str, decoded: list[int]) -> None:
    dataset = make("sampled/cached-v0", (30, 1500, 7), "frames", data_format=data_format)
    expected = [dataset.transitions()[[3, 31, 1530, 1536, 3]], dataset.windows(4, pad="left")[[0, 29, 700]]]
    decoded.clear()
    transitions, windows = dataset.transitions(cache=kind), dataset.windows(4, pad="left", cache=kind)
    for _ in range(2):
        assert_same(transitions[[3, 31, 1530, 1536, 3]], expected[0])
        assert_same(windows[[0, 29, 700]], expected[1])
    transitions[:]
    count = sum(decoded)
    transitions[:], transitions[5:900]
    assert sum(decoded) == count
    assert count <= (1 if kind == "disk" else 2) * (1540 + 2)
    batch = transitions[[0, 1]]
    batch["observations"][:] = 0  # belongs to the caller
    assert transitions[[0, 1]]["observations"].any()


def test_uncompressed_rows_are_not_cached(dataset: MinariDataset, cache_root: Path) -> None:
    transitions = dataset.transitions(cache="disk")
    assert_same(transitions[:], dataset.transitions()[:])
    assert not cache_root.exists()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("limit", [0, 1, 10 * 40 * 36 * 3, 1200 * 40 * 36 * 3])
def test_a_limit_of_bytes(frames: MinariDataset, kind: Any, limit: int, cache_root: Path) -> None:
    transitions = frames.transitions(cache=kind, cache_bytes=limit, fields=["observations"])
    rows = np.random.default_rng(0).integers(0, len(transitions), 200)
    expected = frames.transitions(fields=["observations"])[rows]
    for _ in range(2):
        assert_same(transitions[rows], expected)
    if kind == "disk":
        assert sum(path.stat().st_size for path in cache_root.glob("*.rows")) <= limit


@pytest.mark.parametrize("kind", KINDS)
def test_changed_data_is_decoded_again(frames: MinariDataset, kind: Any, cache_root: Path) -> None:
    transitions = frames.transitions(cache=kind, fields=["observations"])
    before = transitions[:50]
    first = set(cache_root.glob("*"))
    frames.storage.repack(compression="gzip:9")
    assert_same(transitions[:50], before)
    assert_same(
        minari.open_dataset(frames.storage.data_path.parent).transitions(cache=kind, fields=["observations"])[:50],
        before,
    )
    if kind == "disk":
        assert not first & set(cache_root.glob("*"))
        assert len(list(cache_root.glob("*.rows"))) == 1


def _read(transitions: Any, rows: Any) -> Any:
    return transitions[rows]["observations"].sum(), transitions[:]["observations"].sum()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_processes_share_it(frames: MinariDataset, kind: Any, method: str) -> None:
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"there is no {method}")
    transitions = frames.transitions(cache=kind, fields=["observations"])
    rows = [1, 700, 2099]
    transitions[rows]
    with multiprocessing.get_context(method).Pool(2) as pool:
        found = pool.starmap(_read, [(transitions, rows)] * 4)
    assert found == [_read(frames.transitions(), rows)] * 4
    assert_same(pickle.loads(pickle.dumps(transitions))[rows], transitions[rows])


def test_caches_of_other_limits_do_not_share_a_file(frames: MinariDataset, cache_root: Path) -> None:
    row = 40 * 36 * 3
    rows = np.arange(0, 2100, 7)
    expected = frames.transitions(fields=["observations"])[rows]
    caches = [
        frames.transitions(fields=["observations"], cache="disk", cache_bytes=row * count) for count in (2200, 1100)
    ]
    for transitions in (*caches, *reversed(caches)):  # the first one still has its file mapped
        assert_same(transitions[rows], expected)
    assert len(list(cache_root.glob("*.rows"))) == 2


def test_files_are_used_again_and_never_become_shorter(frames: MinariDataset, decoded: list[int]) -> None:
    expected = frames.transitions(cache="disk")[:50]
    first = frames.transitions(cache="disk")
    assert_same(first[:50], expected)
    decoded.clear()
    assert_same(frames.transitions(cache="disk")[:50], expected)
    assert sum(decoded) == 1  # to see the shape of a row
    assert_same(first[:50], expected)


def test_invalid_arguments(frames: MinariDataset, cache_root: Path) -> None:
    with pytest.raises(ArgumentError, match="cache is 'ram', expected None, 'memory' or 'disk'"):
        frames.transitions(cache="ram")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="cache_bytes is -1"):
        frames.windows(3, cache="disk", cache_bytes=-1)
    cache_root.write_bytes(b"a file")
    with pytest.raises(StorageError, match="cache"):
        frames.transitions(cache="disk")[0]
