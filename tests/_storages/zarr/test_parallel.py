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

from minari.dataset.minari_storage import MinariStorage
from minari.errors import DatasetBusyError, EpisodeError
from minari.spaces import EpisodeColumns
from minari.testing.comparison import assert_episode, assert_metadata
from minari.testing.examples import Truth, as_buffer, draw_truth


pytest.importorskip("zarr", minversion="3", reason="zarr 3 is not installed; it needs Python 3.11")

OBSERVATIONS = spaces.Dict({"x": spaces.Box(-1.0, 1.0, (8,), np.float64), "t": spaces.Text(4)})
ACTIONS = spaces.Discrete(5)
LENGTHS = [50, 1, 300, 128, 5, 700, 2, 64, 90]


def truth(number: int) -> Truth:
    infos = {"n": np.arange(LENGTHS[number] + 1.0)} if number % 3 else {}
    return draw_truth(OBSERVATIONS, ACTIONS, LENGTHS[number], number, infos)


def encoded(storage: Any, number: int) -> EpisodeColumns:
    return storage.episode_codec.encode(as_buffer(truth(number), seed=number, options={"o": [number]}))


def new(directory: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Any:
    from minari._storages.zarr import arrays as zarr_arrays

    monkeypatch.setattr(zarr_arrays, "SHARD_SIZE", 1 << 13)  # shards of 128 steps
    return MinariStorage.new(directory / "data", OBSERVATIONS, ACTIONS, data_format="zarr", **options)


def write(part: Any) -> int:
    storage = MinariStorage.read(part.data_path)
    if part.number % 2:  # as they are to be stored, or as a collector has them
        part.write(encoded(storage, number) for number in part.episodes)
    else:
        part.write(as_buffer(truth(number), seed=number, options={"o": [number]}) for number in part.episodes)
    return os.getpid()


def write_or_die(part: Any) -> None:
    storage = MinariStorage.read(part.data_path)
    for number in part.episodes:
        if part.number == 2 and number == part.episodes[-1]:
            os.kill(os.getpid(), signal.SIGKILL)
        encoded(storage, number)
    write(part)


def assert_holds(storage: MinariStorage, before: list[Truth]) -> None:
    expected = [*before, *map(truth, range(len(LENGTHS)))]
    for opened in (storage, MinariStorage.read(storage.data_path)):
        assert opened.total_episodes == len(expected)
        assert opened.total_steps == sum(len(episode["rewards"]) for episode in expected)
        for episode, wanted in zip(opened.get_episodes(range(len(expected))), expected, strict=True):
            assert_episode(episode, OBSERVATIONS, ACTIONS, wanted)
        for number, metadata in enumerate(opened.get_episode_metadata(range(len(before), len(expected)))):
            assert_metadata(metadata, {"seed": number, "options": {"o": [number]}, "total_steps": LENGTHS[number]})


def pool() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn"))


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("compression", [None, "zstd"])
def test_parts_of_several_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: int, compression: str | None
) -> None:
    storage = new(tmp_path, monkeypatch, compression=compression)
    before = [draw_truth(OBSERVATIONS, ACTIONS, 77, 70, {})] * first
    storage.update_episodes(map(as_buffer, before))
    with storage.write_in_parts(LENGTHS, [encoded(storage, 0), encoded(storage, 1)], 5) as parts:
        assert len(parts.parts) == 5
        assert pickle.loads(pickle.dumps(parts.parts)) == parts.parts
        assert parts.parts[0].episodes.start == 0
        assert parts.parts[-1].episodes.stop == len(LENGTHS)
        with pool() as processes:
            list(processes.map(write, reversed(parts.parts)))
        with pytest.raises(DatasetBusyError):
            MinariStorage.read(storage.data_path).update_episodes([as_buffer(truth(0))])
        assert MinariStorage.read(storage.data_path).total_episodes == first
        parts.commit()
    assert_holds(storage, before)
    storage.update_episodes([as_buffer(truth(3))])
    (episode,) = storage.get_episodes([len(LENGTHS) + first])
    assert_episode(episode, OBSERVATIONS, ACTIONS, truth(3))


def test_a_process_that_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then nothing appears, and a later attempt succeeds."""
    storage = new(tmp_path, monkeypatch)
    like = [encoded(storage, 0), encoded(storage, 1)]
    with (
        pytest.raises(BrokenProcessPool),
        storage.write_in_parts(LENGTHS, like, 5) as parts,
        pool() as processes,
    ):
        list(processes.map(write_or_die, parts.parts))
    assert MinariStorage.read(storage.data_path).total_episodes == 0
    assert {entry.name for entry in storage.data_path.iterdir()} == {"metadata.json", ".lock"}
    with pytest.raises(FileNotFoundError):
        write(parts.parts[0])  # a process that has missed what happened
    with storage.write_in_parts(LENGTHS, like, 3) as parts:
        list(map(write, parts.parts))
        parts.commit()
    assert_holds(storage, [])


def test_parts_that_are_not_as_planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = new(tmp_path, monkeypatch)
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
    assert MinariStorage.read(storage.data_path).total_episodes == 0
    with storage.write_in_parts([], [], 4) as parts:
        assert parts.parts == []
        parts.commit()
    assert MinariStorage.read(storage.data_path).total_episodes == 0
