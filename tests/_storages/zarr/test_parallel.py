"""Several processes that write one Zarr dataset at once."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from minari.dataset.episode_buffer import EpisodeBuffer
from minari.dataset.minari_storage import MinariStorage
from minari.errors import DatasetBusyError, EpisodeError
from minari.spaces import EpisodeColumns
from minari.testing.comparison import assert_metadata
from minari.testing.examples import Truth, as_buffer, draw_truth
from support.stored import assert_holds, store


SPACES = spaces.Dict({"x": spaces.Box(-1.0, 1.0, (8,), np.float64), "t": spaces.Text(4)}), spaces.Discrete(5)
LENGTHS = [50, 1, 300, 128, 5, 700, 2, 64, 90]


def truth(number: int) -> Truth:
    infos = {"n": np.arange(LENGTHS[number] + 1.0)} if number % 3 else {}
    return draw_truth(*SPACES, LENGTHS[number], number, infos)


def buffer(number: int) -> EpisodeBuffer:
    return as_buffer(truth(number), seed=number, options={"o": [number]})


def encoded(storage: Any, number: int) -> EpisodeColumns:
    return storage.episode_codec.encode(buffer(number))


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An empty storage whose shards have 128 steps."""
    monkeypatch.setattr("minari._storages.zarr.arrays.SHARD_SIZE", 1 << 13)
    return MinariStorage.read(store(tmp_path, "zarr", [], *SPACES))


def write(part: Any) -> None:
    storage = MinariStorage.read(part.data_path)
    # As they are to be stored, or as a collector has them.
    part.write(encoded(storage, number) if part.number % 2 else buffer(number) for number in part.episodes)


def write_or_die(part: Any) -> None:
    if part.number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    write(part)


def pool() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn"))


@pytest.mark.parametrize(("first", "compression"), [(0, None), (1, "zstd")])
def test_parts_of_several_processes_appear_together(storage: Any, first: int, compression: str | None) -> None:
    storage.repack(compression=compression)
    before = [draw_truth(*SPACES, 77, 70, {})] * first
    storage.update_episodes(map(as_buffer, before))
    with storage.write_in_parts(LENGTHS, [encoded(storage, 0), encoded(storage, 1)], 5) as parts:
        assert len(parts.parts) == 5
        assert pickle.loads(pickle.dumps(parts.parts)) == parts.parts
        assert (parts.parts[0].episodes.start, parts.parts[-1].episodes.stop) == (0, len(LENGTHS))
        with pool() as processes:
            list(processes.map(write, reversed(parts.parts)))
        with pytest.raises(DatasetBusyError):
            MinariStorage.read(storage.data_path).update_episodes([buffer(0)])
        assert MinariStorage.read(storage.data_path).total_episodes == first
        parts.commit()
    expected = [*before, *map(truth, range(len(LENGTHS)))]
    for opened in (storage, MinariStorage.read(storage.data_path)):
        assert_holds(opened, expected, *SPACES)
        for number, metadata in enumerate(opened.get_episode_metadata(range(first, len(expected)))):
            assert_metadata(metadata, {"seed": number, "options": {"o": [number]}, "total_steps": LENGTHS[number]})
    storage.update_episodes([buffer(3)])
    assert_holds(storage, [*expected, truth(3)], *SPACES)


def test_killed_process_leaves_nothing_and_a_later_attempt_succeeds(storage: Any) -> None:
    like = [encoded(storage, 0), encoded(storage, 1)]
    with pool() as processes, pytest.raises(BrokenProcessPool), storage.write_in_parts(LENGTHS, like, 5) as parts:
        list(processes.map(write_or_die, parts.parts))
    assert MinariStorage.read(storage.data_path).total_episodes == 0
    assert {entry.name for entry in storage.data_path.iterdir()} == {"metadata.json", ".lock"}
    with pytest.raises(FileNotFoundError):
        write(parts.parts[0])  # a process that has missed what happened
    with storage.write_in_parts(LENGTHS, like, 3) as parts:
        list(map(write, parts.parts))
        parts.commit()
    assert_holds(storage, list(map(truth, range(len(LENGTHS)))), *SPACES)


def test_parts_that_are_not_as_planned_are_refused(storage: Any) -> None:
    with storage.write_in_parts(LENGTHS, [encoded(storage, 0)], 4) as parts:
        first, second, *_ = parts.parts
        with pytest.raises(EpisodeError, match="column 'infos/n'"):
            write(first)
        with pytest.raises(EpisodeError, match="none of those whose lengths"):
            second.write([encoded(storage, 0)] * len(second.episodes))
        with pytest.raises(EpisodeError, match="was given 0 episodes"):
            second.write([])
        with pytest.raises(EpisodeError, match="Part 0 of 4 has not been written"):
            parts.commit()
    with storage.write_in_parts([], [], 4) as parts:
        assert parts.parts == []
        parts.commit()
    assert MinariStorage.read(storage.data_path).total_episodes == 0
