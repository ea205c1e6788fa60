"""Datasets whose leaves are compressed: read without HDF5, found again, copied byte for byte, changed."""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from minari._storages.hdf5 import reader as hdf5_reader
from minari._storages.hdf5.format import filters as hdf5_filters
from minari._storages.hdf5.index import INDEX_NAME
from minari.dataset.minari_storage import MinariStorage
from minari.testing.comparison import assert_episode
from minari.testing.examples import as_buffer, as_continuation, nested
from support.compressed import (
    ACTIONS,
    CODECS,
    FILE,
    SPACE,
    WITH_TEXT,
    assert_holds,
    draw,
    new,
    refusing,
    stored,
    without_index,
)
from support.hdf5_files import run_tool


every_codec = pytest.mark.parametrize("codec", CODECS)


# Writing and reading


@every_codec
def test_every_leaf(tmp_path: Path, codec: str) -> None:
    """All columns of numbers, and every program that has HDF5 finds the same."""
    storage = new(tmp_path, codec=codec)
    assert_holds(storage)
    with h5py.File(storage.data_path / FILE) as file:
        truth = draw(SPACE, 100)
        observations = nested(SPACE, truth["observations"])
        for name, values in {
            "observations/pixels": observations["pixels"],
            "observations/x": observations["x"],
            "actions": nested(ACTIONS, truth["actions"]),
            "rewards": truth["rewards"],
            "terminations": truth["terminations"],
            "infos/n": truth["infos"]["n"],
            "infos/on": truth["infos"]["on"],
        }.items():
            dataset = file[f"episode_3/{name}"]
            assert dataset.chunks is not None
            assert dataset[()].tobytes() == np.asarray(values).tobytes()
    run_tool("h5stat", storage.data_path / FILE)
    if codec.startswith("gzip"):
        run_tool("h5dump", storage.data_path / FILE)


def test_frames_unless_told_otherwise(tmp_path: Path) -> None:
    """With what every HDF5 library has; other leaves, and frames of storages that do not want it, as they are."""
    storage = new(tmp_path)
    assert_holds(storage)
    assert [number for number, _ in stored(storage, "observations/pixels", 3)[0]] == [hdf5_filters.DEFLATE]
    with h5py.File(storage.data_path / FILE) as file:
        assert file["episode_3/observations/pixels"].compression == "gzip"
        assert file["episode_3/observations/x"].chunks is None
    plain = new(tmp_path / "plain", codec="none")
    with h5py.File(plain.data_path / FILE) as file:
        assert file["episode_3/observations/pixels"].chunks is None
    assert (storage.data_path / FILE).stat().st_size < (plain.data_path / FILE).stat().st_size / 2


def test_without_a_look_at_headers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data compressed with gzip is read from the map, even after the index was lost and recreated."""
    storage = new(tmp_path, codec="gzip")
    list(without_index(storage).get_episodes(range(4)))
    monkeypatch.setattr(hdf5_reader, "read_messages", None)
    for reader in (storage, MinariStorage.read(storage.data_path)):
        for episode, length in zip(reader.get_episodes(range(4)), (1, 31, 64, 100), strict=True):
            assert_episode(episode, SPACE, ACTIONS, draw(SPACE, length))


def test_arrays_belong_to_the_caller(tmp_path: Path) -> None:
    storage = new(tmp_path)
    (episode,) = storage.get_episodes([3])
    before = episode["observations"]["pixels"].copy()
    episode["observations"]["pixels"][...] = 0
    (again,) = storage.get_episodes([3])
    np.testing.assert_array_equal(again["observations"]["pixels"], before)


def test_an_index_of_before(tmp_path: Path) -> None:
    """It does not record what is compressed, and is recreated."""
    storage = new(tmp_path)
    header = json.loads((storage.data_path / INDEX_NAME).read_text())
    (storage.data_path / INDEX_NAME).write_text(json.dumps({**header, "version": header["version"] - 1}))
    assert_holds(MinariStorage.read(storage.data_path))


def test_in_one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes do not depend on the threads."""
    first = new(tmp_path / "a", [600])
    monkeypatch.setattr("minari._storages.hdf5.format.chunks._ENOUGH_FOR_A_THREAD", 2**60)
    second = new(tmp_path / "b", [600])
    assert (first.data_path / FILE).read_bytes() == (second.data_path / FILE).read_bytes()
    assert_holds(first, [600])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_in_the_child_of_a_fork(tmp_path: Path) -> None:
    """The threads of the parent are not there, and nobody waits for them."""
    storage = new(tmp_path, [600])
    assert_holds(storage, [600])
    child = multiprocessing.get_context("fork").Process(target=assert_holds, args=(storage, [600]))
    child.start()
    child.join(30)
    assert child.exitcode == 0


def test_at_the_end_of_a_program(tmp_path: Path) -> None:
    """Python cannot start more threads."""
    storage = new(tmp_path, [600])
    program = (
        "import atexit, sys\n"
        "from minari._storages.base import MinariStorage\n"
        "storage = MinariStorage.read(sys.argv[1])\n"
        "atexit.register(lambda: print(next(storage.get_episodes([0]))['observations']['pixels'].shape))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, storage.data_path], capture_output=True, text=True, check=False
    )
    assert (done.stdout.strip(), done.stderr) == ("(601, 40, 16, 3)", "")


# Changes


@every_codec
def test_continuing(tmp_path: Path, codec: str) -> None:
    """An episode that is continued is compressed as new ones are."""
    storage = new(tmp_path, [40, 2], codec=codec)
    whole, buffer = as_continuation(draw(SPACE, 40), draw(SPACE, 100), 0, SPACE, ACTIONS)
    storage.update_episodes([buffer])
    for reader in (storage, MinariStorage.read(storage.data_path), without_index(storage)):
        for episode, truth in zip(reader.get_episodes(range(2)), (whole, draw(SPACE, 2)), strict=True):
            assert_episode(episode, SPACE, ACTIONS, truth)
    with h5py.File(storage.data_path / FILE) as file:
        assert file["episode_0/observations/pixels"].chunks == (128, 40, 16, 3)


@every_codec
def test_metadata(tmp_path: Path, codec: str) -> None:
    """HDF5 changes them in the same file, and what is compressed stays where it is."""
    storage = new(tmp_path, codec=codec)
    before = [stored(storage, "observations/pixels", index) for index in range(4)]
    storage.update_episode_metadata([{"note": f"{index}" * 100} for index in range(4)])
    assert [stored(storage, "observations/pixels", index) for index in range(4)] == before
    assert [metadata["note"] for metadata in storage.get_episode_metadata([2, 0])] == ["2" * 100, "0" * 100]
    assert_holds(storage)
    storage.update_episodes([as_buffer(draw(SPACE, 5), seed=5)])
    assert_holds(storage, (1, 31, 64, 100, 5))


# Copies


@every_codec
@pytest.mark.parametrize("space", [SPACE, WITH_TEXT], ids=["by us", "by HDF5"])
def test_copies(tmp_path: Path, codec: str, space: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stored bytes, whatever the other storage would do, also where the plug-in is missing; a second time too."""
    source = new(tmp_path / "a", codec=codec, space=space)
    targets = [new(tmp_path / f"{choice}", [3], space=space, codec=choice) for choice in ("none", "gzip:1", None)]
    with monkeypatch.context() as context:
        context.setattr(importlib, "import_module", refusing(importlib.import_module, "hdf5plugin"))
        for target in targets:
            target.update_from_storage(source)
            target.update_from_storage(target, [4, 1])
    for target in targets:
        for index, origin in ((1, 0), (4, 3), (5, 3), (6, 0)):
            assert stored(target, "observations/pixels", index) == stored(source, "observations/pixels", origin)
        assert_holds(target, (3, 1, 31, 64, 100, 100, 1), space=space)


def test_copies_are_as_fast_to_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their places are known."""
    source = new(tmp_path / "a", codec="gzip")
    target = new(tmp_path / "b", [], codec="none")
    target.update_from_storage(without_index(source), [3, 1])
    monkeypatch.setattr(hdf5_reader, "read_messages", None)
    for episode, length in zip(MinariStorage.read(target.data_path).get_episodes(range(2)), (100, 31), strict=True):
        assert_episode(episode, SPACE, ACTIONS, draw(SPACE, length))


def test_text_beside_frames_that_were_copied(tmp_path: Path) -> None:
    """The frames are copied as they are stored, and read by their places afterwards."""
    target = new(tmp_path / "b", [2], space=WITH_TEXT)
    target.update_from_storage(new(tmp_path / "a", space=WITH_TEXT))
    for reader in (target, without_index(target)):
        list(reader.get_episodes(range(5)))
        leaves = {leaf.path: leaf for leaf in reader._index.find(4)[0].leaves}
        assert not leaves["observations", "pixels"].needs_hdf5
        assert leaves["observations", "t"].needs_hdf5


def test_repacked(tmp_path: Path) -> None:
    """The tools of HDF5 rewrite the file in their own way."""
    for codec in ("gzip", None):
        storage = new(tmp_path / f"{codec}", codec=codec)
        file = storage.data_path / FILE
        run_tool("h5repack", file, file.with_suffix(".new"))
        file.with_suffix(".new").replace(file)
        assert_holds(MinariStorage.read(storage.data_path))
        storage.update_episodes([as_buffer(draw(SPACE, 5), seed=5)])
        assert_holds(storage, (1, 31, 64, 100, 5))


@pytest.mark.parametrize("library", ["earliest", "latest"])
def test_written_by_others(tmp_path: Path, library: str) -> None:
    """Chunks that HDF5 has compressed, with any table of them."""
    storage = new(tmp_path, codec="none")
    with h5py.File(storage.data_path / FILE, "r+", libver=library) as file:
        for episode in file.values():
            for name in ("observations/pixels", "rewards"):
                values = episode[name][()]
                del episode[name]
                episode.create_dataset(name, data=values, compression="gzip", shuffle=True, fletcher32=True)
    assert_holds(MinariStorage.read(storage.data_path))
    target = new(tmp_path / "b", [])
    target.update_from_storage(storage)
    if library == "earliest":  # data that older libraries cannot read is rewritten
        assert stored(target, "rewards", 3) == stored(storage, "rewards", 3)
    assert_holds(target)


def test_what_is_not_compressed_is_copied_as_it_is(tmp_path: Path) -> None:
    """The storage would compress it; new data is compressed."""
    target = new(tmp_path / "b", [2], codec="gzip")
    target.update_from_storage(new(tmp_path / "a", codec="none"))
    target.update_episodes([as_buffer(draw(SPACE, 5), seed=5)])
    assert_holds(target, (2, 1, 31, 64, 100, 5))
    with h5py.File(target.data_path / FILE) as file:
        chunked = [file[f"episode_{index}/observations/pixels"].chunks is not None for index in range(6)]
    assert chunked == [True, False, False, False, False, True]


@pytest.mark.parametrize("codec", ["gzip", "lzf"])
def test_one_episode_at_a_time(tmp_path: Path, codec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what has to be decompressed, memory holds no more than is asked for, or fits."""
    storage = new(tmp_path, [100] * 8, codec=codec)
    monkeypatch.setattr("minari._storages.hdf5.storage._MOST_AT_A_TIME", 2**18)
    list(storage.get_episodes([0]))  # what is used for the first time
    for reader in (storage, without_index(storage)):
        tracemalloc.start()
        steps = [len(episode["rewards"]) for episode in reader.get_episodes(range(8))]
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert steps == [100] * 8
        assert peak < 5 * 101 * 40 * 16 * 3
