"""Episodes on their way to disk while the recording goes on, and when the disk does not take them."""

from __future__ import annotations

import gc
import tracemalloc
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

import minari
from minari import DataCollector
from minari._catalog.recordings import RECORDINGS_DIRECTORY, list_recordings
from minari.data_collector import flush_timer
from minari.storage.local import recover_recording
from support.flushed import eventually, written
from support.scripted import ScriptedEnv, collected, listing, play, recorded, seeds
from support.toys import gradient
from support.values import assert_identical


pytestmark = pytest.mark.filterwarnings("ignore:`.*` is set to None", "ignore:.* were not saved")

FORMATS = ["hdf5", "arrow", "parquet", "zarr"]


@pytest.fixture
def disk_fails(datasets_root: Path) -> Path:
    """A file where the directory of recordings should be."""
    file = datasets_root / RECORDINGS_DIRECTORY
    file.write_text("a file where the directory should be")
    return file


@pytest.mark.parametrize("buffer_steps", [1, 7, 10, 12, 10_000])
def test_the_dataset_is_the_same_however_often_is_written(buffer_steps: int, datasets_root: Path) -> None:
    env = ScriptedEnv(inform=lambda time: {"time": time} if time else {})
    collector = DataCollector(env, record_infos=True, buffer_steps=buffer_steps)
    for seed in range(5):
        env.length = seed + 2
        play(collector, seed=seed, options={"level": seed})
        assert (collector.total_episodes, collector.total_steps) == (seed + 1, sum(range(2, seed + 3)))
    # 2, 5, 9, 14, 20 steps have been played: the third episode is the first that reaches 7, and so on.
    assert len(list_recordings()) == (0 if buffer_steps == 10_000 else 1)
    assert minari.list_local_datasets() == {}
    collector.create_dataset("test/written-v0")
    assert not (datasets_root / RECORDINGS_DIRECTORY).exists()
    dataset = minari.load_dataset("test/written-v0")
    assert [episode.id for episode in dataset] == list(range(5))
    metadatas = dataset.storage.get_episode_metadata(range(5))
    for seed, (episode, metadata) in enumerate(zip(dataset, metadatas, strict=True)):
        assert episode.observations[:, 0].tolist() == episode.infos["time"].tolist() == list(range(seed + 3))
        assert (metadata["seed"], metadata["options"], metadata["total_steps"]) == (seed, {"level": seed}, seed + 2)
        assert metadata["rewards_sum"] == episode.rewards.sum()


# What is in memory


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred times as many steps take no more memory, once they are written every 200 steps."""
    monkeypatch.setattr(flush_timer, "FLUSH_AFTER", 3600.0)  # as another thread that writes takes memory as well
    monkeypatch.setattr(flush_timer, "flush_timer", flush_timer.FlushTimer())  # since that of others waits in turn
    observation = np.zeros(1000)
    box = spaces.Box(-1, 1, (1000,), np.float64)
    collector = collected(ScriptedEnv(lambda time: observation, observation_space=box, length=50), 8, buffer_steps=200)
    gc.collect()
    tracemalloc.start()
    play(collector, 4)
    before, _ = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    play(collector, 80)
    after, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    of_200_steps = 200 * 8000
    assert after - before < of_200_steps
    assert peak < before + 5 * of_200_steps  # 80 episodes hold 20 times that
    assert collector.create_dataset("test/bounded-v0").total_steps == 92 * 50


@pytest.mark.parametrize("most", [10, 12, 33])
def test_no_more_steps_are_in_memory_than_asked_for(most: int) -> None:
    """Those of the running episode count as well: finished ones are written to make room for it."""
    env = ScriptedEnv()
    collector = DataCollector(env, buffer_steps=most)
    played = at_most = 0
    for length in [3, 9, 1, 7, 10, 10, 2, 8, 8, 4, 10, 1, 1, 1, 6]:
        env.length = length
        collector.reset()
        for _ in range(length):
            collector.step(0)
            played += 1
            in_memory = played - sum(recording.steps for recording in list_recordings())
            assert in_memory <= most
            at_most = max(at_most, in_memory)
    assert at_most >= most - 1
    dataset = collector.create_dataset("test/bounded-v0")
    assert (len(dataset), dataset.total_steps) == (15, played)
    assert all(episode.observations[:, 0].tolist() == list(range(len(episode) + 1)) for episode in dataset)


FRAMES = np.zeros((400, 400, 3), np.uint8)
#: What makes 64 MiB with the third episode of 50 steps.
LARGE: dict[str, dict[str, Any]] = {
    "frames": {"observe": lambda time: FRAMES, "observation_space": spaces.Box(0, 255, FRAMES.shape, np.uint8)},
    "text": {"inform": lambda time: {"text": "x" * 500_000}},
    "lists": {"inform": lambda time: {"nested": [{"id": 0, "text": "x" * 5_000} for _ in range(100)]}},
}


@pytest.mark.parametrize("kind", LARGE)
def test_large_episodes_are_written_at_64_mebibytes(kind: str) -> None:
    collector = collected(ScriptedEnv(**LARGE[kind], length=50), 2, record_infos=True)
    assert list_recordings() == []
    play(collector)
    assert written() >= 2
    assert collector.create_dataset("test/large-v0").total_steps == 150


def test_bytes_of_the_running_episode_count() -> None:
    box = spaces.Box(-1, 1, (12_500,), np.float64)
    env = ScriptedEnv(lambda time: np.zeros(12_500), observation_space=box, length=5)
    collector = collected(env)
    env.length = 1000
    play(collector, steps=500)
    assert written() == 0
    for _ in range(250):
        collector.step(0)
    assert written() == 1


@pytest.fixture
def flush_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write episodes right after they have ended, with a timer that does not wait for those of other tests."""
    monkeypatch.setattr(flush_timer, "FLUSH_AFTER", 0.02)
    monkeypatch.setattr(flush_timer, "flush_timer", flush_timer.FlushTimer())


# While the program does something else


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.usefixtures("flush_soon")
def test_episodes_are_written_while_the_program_sleeps(data_format: str) -> None:
    collector = DataCollector(ScriptedEnv(), data_format=data_format)
    for count in (2, 4):
        play(collector, 2)
        play(collector, steps=3)  # goes on
        eventually(lambda count=count: written() == count)
        collector.step(0)
        collector.step(0)
        collector.discard_episode(-1)
    assert [len(episode) for episode in collector.create_dataset("test/slept-v0")] == [5] * 4


@pytest.mark.usefixtures("flush_soon")
def test_a_disk_that_fails_in_the_other_thread_is_told_with_the_next_episode(disk_fails: Path) -> None:
    collector = DataCollector(ScriptedEnv())

    def is_told() -> bool:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            play(collector)
        assert all(warning.filename.endswith("scripted.py") for warning in caught)
        return any("cannot be written yet and stay in memory" in str(warning.message) for warning in caught)

    eventually(is_told)
    disk_fails.unlink()
    eventually(lambda: written() == collector.total_episodes)


@pytest.mark.usefixtures("flush_soon")
def test_a_collector_that_is_garbage_is_written_soon() -> None:
    collector = collected(steps=3)
    del collector
    gc.collect()
    eventually(lambda: written() == 1 and not list_recordings()[0].is_in_progress)


# Saving and closing


def test_adding_takes_what_was_written_already() -> None:
    collector = collected(buffer_steps=6, reset={"seed": 0})
    dataset = collector.create_dataset("test/grows-v0")
    play(collector, 5, seed=1)
    assert len(list_recordings()) == 1
    collector.add_to_dataset(dataset)
    assert list_recordings() == []
    assert (collector.total_episodes, dataset.total_episodes) == (0, 6)
    assert seeds(dataset) == [0, 1, 1, 1, 1, 1]
    assert [metadata["rewards_max"] for metadata in dataset.storage.get_episode_metadata(range(6))] == [5.0] * 6


@pytest.mark.parametrize("buffer_steps", [10, 10_000])
def test_a_dataset_can_be_created_after_closing(buffer_steps: int) -> None:
    collector = collected(None, 3, buffer_steps=buffer_steps)
    with pytest.warns(UserWarning, match=r"3 recorded episodes .* `minari recover \S+ --dataset-id ID`"):
        collector.close()
    assert len(collector.create_dataset("test/closed-v0")) == 3


def test_closing_says_nothing_when_all_was_saved(datasets_root: Path) -> None:
    collector = collected(None, 3, buffer_steps=10)
    collector.create_dataset("test/saved-v0")
    before = listing(datasets_root)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        collector.close()
        collector.close()
    assert listing(datasets_root) == before


def test_closing_goes_on_when_the_last_episodes_cannot_be_written() -> None:
    infos: dict[str, Any] = {}
    collector = collected(ScriptedEnv(inform=lambda time: infos), 2, record_infos=True, buffer_steps=10)
    infos["odd"] = object()
    play(collector)
    text = r"2 recorded episodes were not saved.*1 more could not be written.*'infos/odd'"
    with pytest.warns(UserWarning, match=text):
        collector.close()
    collector.discard_info("odd")
    assert len(collector.create_dataset("test/closed-v0")) == 3


# What goes wrong with the disk


def test_a_root_that_cannot_be_written_stops_no_step(disk_fails: Path, datasets_root: Path) -> None:
    with pytest.warns(UserWarning, match="cannot be written yet and stay in memory") as caught:
        collector = collected(None, 10, buffer_steps=6)
    # Each try waits for twice as many steps as the one before: after 6, 12, 24 and 48 of them.
    assert len(caught) == 4
    assert caught[0].filename.endswith("scripted.py")
    assert collector.total_episodes == 10
    with pytest.raises(OSError, match=RECORDINGS_DIRECTORY):
        collector.create_dataset("test/later-v0")
    assert list(listing(datasets_root)) == [RECORDINGS_DIRECTORY]
    disk_fails.unlink()
    assert len(collector.create_dataset("test/later-v0")) == 10


def test_a_disk_that_fails_in_the_middle_of_an_episode_stops_no_step(disk_fails: Path) -> None:
    collector = collected(ScriptedEnv(length=40), steps=4, buffer_steps=10)
    with pytest.warns(UserWarning, match="cannot be written yet and stay in memory") as caught:
        play(collector, steps=39)
    # Four steps are finished: the next tries come with 10, 20 and 40 in memory.
    assert [len(caught), collector.total_steps] == [3, 4]
    assert all(warning.filename.endswith("scripted.py") for warning in caught)
    disk_fails.unlink()
    collector.step(0)
    assert [len(episode) for episode in collector.create_dataset("test/later-v0")] == [4, 40]


@pytest.mark.parametrize("steps", [2, 5])
def test_a_recording_that_was_recovered_goes_on_as_another(steps: int) -> None:
    collector = collected(None, 2, buffer_steps=10)
    (recording,) = list_recordings()
    assert len(recover_recording(recording.name, "test/early-v0")) == 2

    def go_on() -> Any:
        play(collector, 2, steps=steps)  # the warning comes when they are written, or when they are saved
        return collector.create_dataset("test/late-v0")

    with pytest.warns(UserWarning, match=f"recording {recording.name} with 2 episodes is gone"):
        dataset = go_on()
    assert [len(episode) for episode in dataset] == [steps] * 2
    assert len(minari.load_dataset("test/early-v0")) == 2
    assert list_recordings() == []


@pytest.mark.parametrize("buffer_steps", [10_000, 1])
@pytest.mark.parametrize("jpeg", [False, True])
def test_frames_are_lossless_unless_jpeg_is_asked_for(jpeg: bool, buffer_steps: int) -> None:
    picture = spaces.Box(0, 255, (40, 36, 3), np.uint8)
    env = ScriptedEnv(lambda time: gradient((40, 36, 3), 9 * time), observation_space=picture)
    dataset = recorded(env, 2, jpeg_encoding=jpeg, buffer_steps=buffer_steps)
    assert dataset.storage.jpeg_encoding == dataset.storage.metadata["jpeg_encoding"] == jpeg
    expected = np.stack([gradient((40, 36, 3), 9 * time) for time in range(6)])
    for episode in dataset:
        assert_identical(episode.observations, expected, ("x",), lossy={("x",): 4.0} if jpeg else None)
        assert np.array_equal(episode.observations, expected) != jpeg
