"""Episodes on their way to disk while the recording goes on, and when the disk does not take them."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import textwrap
import tracemalloc
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

import minari
from minari import DataCollector, EpisodeMetadataCallback
from minari._catalog.recordings import RECORDINGS_DIRECTORY, list_recordings
from minari.data_collector import flush_timer
from minari.errors import UnknownFormatError
from minari.storage.local import recover_recording
from support.scripted import ScriptedEnv, listing, play
from support.toys import gradient
from support.values import assert_identical


pytestmark = pytest.mark.filterwarnings("ignore:`.*` is set to None")

PICTURE = spaces.Box(0, 255, (40, 36, 3), np.uint8)


def recordings(root: Path) -> list[str]:
    directory = root / RECORDINGS_DIRECTORY
    return sorted(path.name for path in directory.iterdir()) if directory.exists() else []


@pytest.mark.parametrize("buffer_steps", [1, 7, 10, 12, 10_000])
def test_the_dataset_is_the_same_however_often_is_written(buffer_steps: int, datasets_root: Path) -> None:
    env = ScriptedEnv(inform=lambda time: {"time": time} if time else {})
    collector = DataCollector(env, record_infos=True, buffer_steps=buffer_steps)
    for seed in range(5):
        env.length = seed + 2
        play(collector, seed=seed, options={"level": seed})
        assert (collector.total_episodes, collector.total_steps) == (seed + 1, sum(range(2, seed + 3)))
    # 2, 5, 9, 14, 20 steps have been played: the third episode is the first that reaches 7, and so on.
    assert len(recordings(datasets_root)) == (0 if buffer_steps == 10_000 else 1)
    assert minari.list_local_datasets() == {}
    collector.create_dataset("test/written-v0")
    assert recordings(datasets_root) == []
    dataset = minari.load_dataset("test/written-v0")
    assert [episode.id for episode in dataset] == list(range(5))
    assert [len(episode) for episode in dataset] == [2, 3, 4, 5, 6]
    for seed, (episode, metadata) in enumerate(
        zip(dataset, dataset.storage.get_episode_metadata(range(5)), strict=True)
    ):
        assert episode.observations[:, 0].tolist() == list(range(seed + 3))
        assert episode.infos["time"].tolist() == list(range(seed + 3))
        assert (metadata["seed"], metadata["options"], metadata["total_steps"]) == (seed, {"level": seed}, seed + 2)
        assert metadata["rewards_sum"] == episode.rewards.sum()


def test_what_is_in_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred times as many steps take no more memory, once they are written every 200 steps."""
    monkeypatch.setattr(flush_timer, "FLUSH_AFTER", 3600.0)  # as another thread that writes takes memory as well
    monkeypatch.setattr(flush_timer, "flush_timer", flush_timer.FlushTimer())  # since that of others waits in turn
    box = spaces.Box(-1, 1, (1000,), np.float64)
    observation = np.zeros(1000)
    env = ScriptedEnv(lambda time: observation, observation_space=box, length=50)
    collector = DataCollector(env, buffer_steps=200)
    play(collector, 8)
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


def test_an_episode_stays_in_memory_until_it_ends(datasets_root: Path) -> None:
    collector = DataCollector(ScriptedEnv(length=30), buffer_steps=10)
    play(collector, steps=29)
    assert recordings(datasets_root) == []
    collector.step(0)
    assert [recording.steps for recording in list_recordings()] == [30]


def test_a_disk_that_fails_in_the_middle_of_an_episode_stops_no_step(datasets_root: Path) -> None:
    (datasets_root / RECORDINGS_DIRECTORY).write_text("a file where the directory should be")
    collector = DataCollector(ScriptedEnv(length=40), buffer_steps=10)
    play(collector, steps=4)
    with pytest.warns(UserWarning, match="cannot be written yet and stay in memory") as caught:
        play(collector, steps=39)
    # Four steps are finished: the next tries come with 10, 20 and 40 in memory.
    assert [len(caught), collector.total_steps] == [3, 4]
    assert all(warning.filename.endswith("scripted.py") for warning in caught)
    (datasets_root / RECORDINGS_DIRECTORY).unlink()
    collector.step(0)
    assert [len(episode) for episode in collector.create_dataset("test/later-v0")] == [4, 40]


def test_frames_are_written_earlier(datasets_root: Path) -> None:
    frame = np.zeros((400, 400, 3), np.uint8)
    env = ScriptedEnv(lambda time: frame, observation_space=spaces.Box(0, 255, frame.shape, np.uint8), length=50)
    collector = DataCollector(env)
    play(collector, 2)
    assert recordings(datasets_root) == []
    play(collector)  # 73 MB in 150 steps
    assert len(recordings(datasets_root)) == 1
    assert collector.create_dataset("test/frames-v0").total_steps == 150


def test_adding_what_was_written_already(datasets_root: Path) -> None:
    collector = DataCollector(ScriptedEnv(), buffer_steps=6)
    play(collector, seed=0)
    dataset = collector.create_dataset("test/grows-v0")
    play(collector, 5, seed=1)
    assert len(recordings(datasets_root)) == 1
    collector.add_to_dataset(dataset)
    assert recordings(datasets_root) == []
    assert (collector.total_episodes, dataset.total_episodes) == (0, 6)
    assert [metadata["seed"] for metadata in dataset.storage.get_episode_metadata(range(6))] == [0, 1, 1, 1, 1, 1]
    assert [metadata["rewards_max"] for metadata in dataset.storage.get_episode_metadata(range(6))] == [5.0] * 6


def test_metadata_callbacks_see_every_episode_once(datasets_root: Path) -> None:
    seen: list[int] = []

    class Seeing(EpisodeMetadataCallback):
        def __call__(self, episode: dict[str, Any]) -> dict[str, Any]:
            seen.append(episode["id"])
            return {**super().__call__(episode), "first": episode["observations"][0]}

    collector = DataCollector(ScriptedEnv(), episode_metadata_callback=Seeing, buffer_steps=10)
    play(collector, 5)
    dataset = collector.create_dataset("test/seen-v0")
    assert seen == list(range(5))
    assert all(np.array_equal(m["first"], [0, 0]) for m in dataset.storage.get_episode_metadata(range(5)))


# Closing


def test_closing_without_saving_keeps_what_was_written_and_says_how_to_get_it(datasets_root: Path) -> None:
    collector = DataCollector(ScriptedEnv(), buffer_steps=10)
    play(collector, 3)
    play(collector, steps=2)  # not finished, and not lost either
    with pytest.warns(UserWarning, match=r"4 recorded episodes .* `minari recover \S+ --dataset-id ID`") as caught:
        collector.close()
    (recording,) = list_recordings()
    assert recording.name in str(caught[0].message)
    dataset = recover_recording(recording.name, "test/recovered-v0")
    assert [len(episode) for episode in dataset] == [5, 5, 5, 2]
    assert recordings(datasets_root) == []


def test_a_dataset_can_be_created_after_closing() -> None:
    for version, buffer_steps in enumerate([10, 10_000]):
        collector = DataCollector(ScriptedEnv(), buffer_steps=buffer_steps)
        play(collector, 3)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".* were not saved")
            collector.close()
        assert len(collector.create_dataset(f"test/closed-v{version}")) == 3


def test_closing_says_nothing_when_all_was_saved(datasets_root: Path) -> None:
    collector = DataCollector(ScriptedEnv(), buffer_steps=10)
    play(collector, 3)
    collector.create_dataset("test/saved-v0")
    before = listing(datasets_root)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        collector.close()
        collector.close()
    assert listing(datasets_root) == before


def test_closing_goes_on_when_the_last_episodes_cannot_be_written() -> None:
    infos: dict[str, Any] = {}
    collector = DataCollector(ScriptedEnv(inform=lambda time: infos), record_infos=True, buffer_steps=10)
    play(collector, 2)
    infos["odd"] = object()
    play(collector)
    with pytest.warns(
        UserWarning, match=r"2 recorded episodes were not saved.*1 more could not be written.*'infos/odd'"
    ):
        collector.close()
    collector.discard_info("odd")
    assert len(collector.create_dataset("test/closed-v0")) == 3


# What goes wrong with the disk


def test_a_root_that_cannot_be_written_stops_no_step(datasets_root: Path) -> None:
    (datasets_root / RECORDINGS_DIRECTORY).write_text("a file where the directory should be")
    collector = DataCollector(ScriptedEnv(), buffer_steps=6)
    with pytest.warns(UserWarning, match="cannot be written yet and stay in memory") as caught:
        play(collector, 10)
    # Each try waits for twice as many steps as the one before: after 6, 12, 24 and 48 of them.
    assert len(caught) == 4
    assert caught[0].filename.endswith("scripted.py")
    assert collector.total_episodes == 10
    with pytest.raises(OSError, match=RECORDINGS_DIRECTORY):
        collector.create_dataset("test/later-v0")
    assert list(listing(datasets_root)) == [RECORDINGS_DIRECTORY]
    (datasets_root / RECORDINGS_DIRECTORY).unlink()
    assert len(collector.create_dataset("test/later-v0")) == 10
    assert set(listing(datasets_root)) == set(listing(datasets_root)) - {RECORDINGS_DIRECTORY}


@pytest.mark.parametrize("steps", [2, 5])
def test_a_recording_that_was_recovered_while_it_went_on(steps: int, datasets_root: Path) -> None:
    collector = DataCollector(ScriptedEnv(), buffer_steps=10)
    play(collector, 2)
    (recording,) = list_recordings()
    assert len(recover_recording(recording.name, "test/early-v0")) == 2

    def go_on() -> Any:
        play(collector, 2, steps=steps)  # the warning comes when they are written, or when they are saved
        return collector.create_dataset("test/late-v0")

    with pytest.warns(UserWarning, match=f"recording {recording.name} with 2 episodes is gone"):
        dataset = go_on()
    assert [len(episode) for episode in dataset] == [steps] * 2
    assert len(minari.load_dataset("test/early-v0")) == 2
    assert recordings(datasets_root) == []


FULL_DISK = """
    import resource, signal, sys, warnings
    import numpy as np
    from pathlib import Path
    import minari
    from gymnasium import spaces
    from support.scripted import ScriptedEnv, listing, play

    root = Path(sys.argv[1])
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    noise = np.random.default_rng(0)
    collector = minari.DataCollector(
        ScriptedEnv(lambda time: noise.random(1000), observation_space=spaces.Box(0, 1, (1000,), np.float64)),
        buffer_steps=30,
    )
    warnings.simplefilter("ignore")
    play(collector, 6)
    written = minari._catalog.recordings.list_recordings()[0]
    assert written.episodes == 6
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        play(collector, 6)
    assert [w for w in caught if "cannot be written yet" in str(w.message)], caught
    assert collector.total_episodes == 12
    try:
        collector.create_dataset("test/full-v0")
    except OSError as error:
        print("refused:", error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert len(collector.create_dataset("test/full-v0")) == 12
    assert [len(episode) for episode in minari.load_dataset("test/full-v0")] == [5] * 12
    print(sorted(listing(root)))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of files")
def test_a_full_disk_loses_nothing(datasets_root: Path) -> None:
    done = run_in_child(FULL_DISK, str(datasets_root))
    refused, files = done.splitlines()
    assert refused.startswith("refused: ")
    assert "test/full-v0/data/main_data.hdf5" in files
    assert RECORDINGS_DIRECTORY not in files


def run_in_child(program: str, *arguments: str) -> str:
    """Return the output of a program in its own interpreter."""
    paths = [str(Path(__file__).parents[1]), *sys.path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}
    command = [sys.executable, "-c", textwrap.dedent(program), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


# Formats and frames


def test_an_unknown_format_is_refused_before_anything_is_recorded() -> None:
    with pytest.raises(UnknownFormatError, match=r"'parrot'.*hdf5") as caught:
        DataCollector(ScriptedEnv(), data_format="parrot")
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("buffer_steps", [10_000, 1])
@pytest.mark.parametrize("jpeg_encoding", [False, True])
def test_frames_are_lossless_unless_jpeg_is_asked_for(jpeg_encoding: bool, buffer_steps: int) -> None:
    env = ScriptedEnv(lambda time: gradient((40, 36, 3), 9 * time), observation_space=PICTURE)
    collector = DataCollector(env, jpeg_encoding=jpeg_encoding, buffer_steps=buffer_steps)
    play(collector, 2)
    collector.create_dataset("test/frames-v0")
    dataset = minari.load_dataset("test/frames-v0")
    assert dataset.storage.jpeg_encoding == dataset.storage.metadata["jpeg_encoding"] == jpeg_encoding
    expected = np.stack([gradient((40, 36, 3), 9 * time) for time in range(6)])
    for episode in dataset:
        assert_identical(
            episode.observations, expected, ("frames",), lossy={("frames",): 4.0} if jpeg_encoding else None
        )
        assert np.array_equal(episode.observations, expected) != jpeg_encoding
