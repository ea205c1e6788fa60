"""Every way out of a program: what was recorded is written, and one line says how to go on."""

from __future__ import annotations

import gc
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

import minari
from minari import DataCollector
from minari._catalog.recordings import RECORDINGS_DIRECTORY, list_recordings
from minari.data_collector import flush_timer
from minari.errors import CombineError, DatasetBusyError, DatasetExistsError, DatasetNotFoundError
from minari.storage.local import recover_recording
from support.scripted import ScriptedEnv, listing, play


pytestmark = pytest.mark.filterwarnings("ignore:`.*` is set to None", "ignore:.* were not saved")

FORMATS = ["hdf5", "arrow", "parquet", "zarr"]


def eventually(condition: Any) -> None:
    """Wait until something is so, which other threads see to."""
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it never came about")


def written() -> int:
    return sum(recording.episodes for recording in list_recordings())


# While the program does something else


@pytest.mark.parametrize("data_format", FORMATS)
def test_episodes_are_written_while_the_program_sleeps(data_format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flush_timer, "FLUSH_AFTER", 0.02)
    collector = DataCollector(ScriptedEnv(), data_format=data_format)
    for count in (2, 4):
        play(collector, 2)
        play(collector, steps=3)  # goes on
        eventually(lambda count=count: written() == count)
        collector.step(0)
        collector.step(0)
        collector.discard_episode(-1)
    assert [len(episode) for episode in collector.create_dataset("test/slept-v0")] == [5] * 4


def test_a_program_that_does_not_save_is_not_kept_alive_by_the_timer() -> None:
    done = program("collector = DataCollector(ScriptedEnv()); play(collector); print('end')")
    assert done.stdout == "end\n"
    assert done.returncode == 0


def test_a_disk_that_fails_in_the_other_thread_is_told_with_the_next_episode(
    monkeypatch: pytest.MonkeyPatch, datasets_root: Path
) -> None:
    monkeypatch.setattr(flush_timer, "FLUSH_AFTER", 0.01)
    (datasets_root / RECORDINGS_DIRECTORY).write_text("a file where the directory should be")
    collector = DataCollector(ScriptedEnv())
    play(collector)
    eventually(lambda: collector._queue._has_failed)
    with pytest.warns(UserWarning, match="cannot be written yet and stay in memory") as caught:
        play(collector)
    assert caught[0].filename.endswith("scripted.py")
    (datasets_root / RECORDINGS_DIRECTORY).unlink()
    eventually(lambda: written() == 2)


def test_text_and_lists_count(datasets_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, info in enumerate([{"text": "x" * 50_000}, {"nested": [{"id": i, "at": [0.5]} for i in range(400)]}]):
        collector = DataCollector(ScriptedEnv(inform=lambda time, info=info: info), record_infos=True)
        monkeypatch.setattr("minari.data_collector.finished_episodes._BUFFER_BYTES", 400_000)
        play(collector, 8)
        assert len(list_recordings()) == 1, number
        assert list_recordings()[0].episodes >= 2
        collector.create_dataset(f"test/large-v{number}")


def test_bytes_of_the_running_episode_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minari.data_collector.finished_episodes._BUFFER_BYTES", 1_000_000)
    env = ScriptedEnv(lambda time: np.zeros(1000), observation_space=spaces.Box(-1, 1, (1000,), np.float64), length=5)
    collector = DataCollector(env)
    play(collector)
    env.length = 1000
    play(collector, steps=100)
    assert written() == 0
    for _ in range(300):
        collector.step(0)
    assert written() == 1


# The end


def program(code: str, *options: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a program in an interpreter of its own."""
    done = subprocess.run(
        [*command(*options), textwrap.dedent(HEAD) + textwrap.dedent(code)],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=120,
        check=False,
    )
    assert not check or done.returncode == 0, done.stderr
    return done


def command(*options: str) -> list[str]:
    return [sys.executable, *options, "-c"]


def environment() -> dict[str, str]:
    paths = [str(Path(__file__).parents[1]), *sys.path]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}


HEAD = """
    import os, signal, sys, time
    import numpy as np
    import minari
    from gymnasium import spaces
    from minari import DataCollector
    from support.scripted import ScriptedEnv, play
"""

ENDS = {
    "end": "",
    "sys.exit": "sys.exit(3)",
    "an exception": "raise RuntimeError('of the program')",
    "ctrl-c": "os.kill(os.getpid(), signal.SIGINT); time.sleep(9)",
}


@pytest.mark.parametrize("options", [(), ("-W", "ignore")], ids=["warnings", "no warnings"])
@pytest.mark.parametrize("block", [False, True], ids=["plain", "with"])
@pytest.mark.parametrize("end", ENDS)
def test_every_end_writes_what_is_left_and_says_how_to_go_on(end: str, block: bool, options: tuple[str, ...]) -> None:
    if block:
        code = f"""
            with DataCollector(ScriptedEnv()) as collector:
                play(collector, 3); play(collector, steps=2)
                {ENDS[end]}
        """
    else:
        code = f"""
            collector = DataCollector(ScriptedEnv())
            play(collector, 3); play(collector, steps=2)
            {ENDS[end]}
        """
    done = program(code, *options, check=False)
    (recording,) = list_recordings()
    lines = [line for line in done.stderr.splitlines() if "minari recover" in line]
    assert len(lines) == 1, done.stderr
    assert f"`minari recover {recording.name} --dataset-id ID`" in lines[0]
    assert "4 recorded episodes were not saved" in lines[0]
    assert recording.status == ("closed" if block else "the program ended")
    assert [len(episode) for episode in recover_recording(recording.name, "test/left-v0")] == [5, 5, 5, 2]


@pytest.mark.parametrize("data_format", FORMATS)
def test_frames_are_written_at_the_end_too(data_format: str) -> None:
    program(f"""
        frames = spaces.Box(0, 255, (64, 64, 3), np.uint8)
        env = ScriptedEnv(lambda time: np.full(frames.shape, time, np.uint8), observation_space=frames, length=60)
        collector = DataCollector(env, data_format="{data_format}")
        play(collector, 2)
    """)
    (recording,) = list_recordings()
    for episode in recover_recording(recording.name, "test/frames-v0"):
        assert episode.observations[:, 5, 5, 1].tolist() == list(range(61))


def test_several_collectors_are_told_in_one_line_and_dropped_ones_are_written() -> None:
    done = program("""
        for number in range(3):
            collector = DataCollector(ScriptedEnv())
            play(collector, number + 1)
        saved = DataCollector(ScriptedEnv()); play(saved); saved.create_dataset("test/saved-v0")
        empty = DataCollector(ScriptedEnv()); empty.reset()
        """)
    assert sorted(recording.episodes for recording in list_recordings()) == [1, 2, 3]
    (line,) = [line for line in done.stderr.splitlines() if "recover" in line]
    assert "In all, 3 recordings were not saved; see `minari recover`." in line


def test_a_collector_that_is_garbage_is_written_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flush_timer, "FLUSH_AFTER", 0.01)
    collector = DataCollector(ScriptedEnv())
    play(collector, steps=3)
    del collector
    gc.collect()
    eventually(lambda: written() == 1 and not list_recordings()[0].is_in_progress)


def test_processes_of_multiprocessing_write_what_is_left() -> None:
    program("""
        import multiprocessing

        def work():
            global collector
            collector = DataCollector(ScriptedEnv())
            play(collector, 2)

        process = multiprocessing.get_context("fork").Process(target=work)
        process.start(); process.join()
        """)
    assert [recording.episodes for recording in list_recordings()] == [2]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_the_child_of_a_fork_leaves_the_recording_alone() -> None:
    done = program("""
        import minari.data_collector.flush_timer as timer
        timer.FLUSH_AFTER = 0.05
        collector = DataCollector(ScriptedEnv(), buffer_steps=10)
        play(collector, 3)  # two are written, one is in memory
        if os.fork() == 0:
            assert (collector.total_episodes, collector.total_steps) == (1, 5)
            time.sleep(0.3)
            sys.exit()  # which says nothing, and writes nothing
        os.wait()
        if os.fork() == 0:
            inherited = collector.total_episodes
            play(collector)
            assert inherited <= 1
            assert len(collector.create_dataset("test/child-v0")) == inherited + 1
            os._exit(0)
        print(os.wait()[1])
        """)
    assert done.stdout == "0\n"
    (recording,) = list_recordings()
    assert len([line for line in done.stderr.splitlines() if "recover" in line]) == 1
    assert recording.episodes == 3
    assert len(minari.load_dataset("test/child-v0")) in (1, 2)


def test_a_killed_program_is_told_from_one_that_is_alive() -> None:
    child = subprocess.Popen(
        [
            *command(),
            textwrap.dedent(HEAD)
            + "collector = DataCollector(ScriptedEnv(), buffer_steps=1)\nplay(collector, 2)\nprint(flush=True)\n"
            + "time.sleep(99)",
        ],
        stdout=subprocess.PIPE,
        env=environment(),
    )
    assert child.stdout is not None
    child.stdout.readline()
    (recording,) = list_recordings()
    assert recording.status == f"in progress (process {child.pid})"
    with pytest.raises(DatasetBusyError, match=f"in use by process {child.pid}"):
        DataCollector(ScriptedEnv(), resume=recording.name)
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert list_recordings()[0].status == "killed or crashed"
    assert list_recordings()[0].episodes == 2


# What was to become of it


def test_what_a_failed_creation_was_given_is_kept() -> None:
    collector = DataCollector(ScriptedEnv(), buffer_steps=5)
    play(collector, 2)
    with pytest.raises(ValueError, match="NoSuchEnv"):
        collector.create_dataset(
            "test/wanted-v3", eval_env="NoSuchEnv-v0", author={"Ann", "Bo"}, description="What it is.",
            algorithm_name="rules",
        )  # fmt: skip
    with pytest.warns(UserWarning, match=r"`minari recover \S+ --dataset-id test/wanted-v3`"):
        collector.close()
    (recording,) = list_recordings()
    assert recording.status.startswith("create_dataset failed: ")
    assert "NoSuchEnv" in recording.status
    dataset = recover_recording(recording.name)
    assert dataset.id == "test/wanted-v3"
    metadata = dataset.storage.metadata
    assert (metadata["author"], metadata["description"]) == ({"Ann", "Bo"}, "What it is.")
    assert metadata["algorithm_name"] == "rules"


def test_an_id_that_is_taken_is_not_suggested_again() -> None:
    collector = DataCollector(ScriptedEnv(), buffer_steps=5)
    play(collector)
    collector.create_dataset("test/taken-v0")
    play(collector)
    with pytest.raises(DatasetExistsError):
        collector.create_dataset("test/taken-v0", author="Ann")
    with pytest.warns(UserWarning, match="--dataset-id ID`"):
        collector.close()
    assert recover_recording(list_recordings()[0].name, "test/free-v0").storage.metadata["author"] == {"Ann"}


def test_the_root_of_a_recording_that_is_elsewhere_is_named(tmp_path: Path) -> None:
    collector = DataCollector(ScriptedEnv(), root=tmp_path)
    play(collector)
    with pytest.warns(UserWarning, match=re.escape(f"--root {tmp_path}`")):
        collector.close()
    collector.close()  # and says nothing more


def test_a_root_that_changes_while_it_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    collector = DataCollector(ScriptedEnv(), buffer_steps=10)
    play(collector, 3)
    collector.discard_episode(0)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    assert len(collector.create_dataset("moved-v0")) == 2
    assert list(minari.list_local_datasets()) == ["moved-v0"]


# Going on


@pytest.mark.parametrize("data_format", FORMATS)
def test_a_recording_goes_on(data_format: str) -> None:
    first = DataCollector(ScriptedEnv(), data_format=data_format)
    play(first, 2, seed=1)
    first.close()
    (recording,) = list_recordings()
    collector = DataCollector(ScriptedEnv(), resume=recording.name)
    assert (collector.total_episodes, collector.total_steps) == (2, 10)
    play(collector, seed=2)
    assert collector.total_episodes == 3
    dataset = collector.create_dataset("test/resumed-v0")
    assert [metadata["seed"] for metadata in dataset.storage.get_episode_metadata(range(3))] == [1, 1, 2]
    assert dataset.storage.metadata["data_format"] == data_format
    assert list_recordings() == []


def test_a_recording_of_something_else_does_not_go_on(datasets_root: Path) -> None:
    first = DataCollector(ScriptedEnv())
    play(first)
    first.close()
    (recording,) = list_recordings()
    before = listing(datasets_root)
    wider = ScriptedEnv(action_space=spaces.Discrete(5))
    with pytest.raises(CombineError, match=r"action_space is Discrete\(5\), expected Discrete\(3\)"):
        DataCollector(wider, resume=recording.name)
    with pytest.raises(CombineError, match=r"data_format is 'zarr', expected 'hdf5'"):
        DataCollector(ScriptedEnv(), resume=recording.name, data_format="zarr")
    with pytest.raises(DatasetNotFoundError, match="no recording 'other'"):
        DataCollector(ScriptedEnv(), resume="other")
    assert listing(datasets_root) == before
    again = DataCollector(ScriptedEnv(), resume=recording.name)
    with pytest.raises(DatasetBusyError, match=str(os.getpid())):
        DataCollector(ScriptedEnv(), resume=recording.name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        again.close()


@pytest.mark.parametrize("other", ["MountainCar-v0", "Pendulum-v1"])
def test_a_recording_of_another_environment_does_not_go_on(other: str) -> None:
    """Also where the spaces are the same."""
    g = {"g": 9.0} if other == "Pendulum-v1" else {}
    first = DataCollector(gym.make("Pendulum-v1"))
    play(first, action=np.zeros(1, np.float32))
    first.close()
    (recording,) = list_recordings()
    with pytest.raises(CombineError, match=r"of another environment: (id is|kwargs)"):
        DataCollector(gym.make(other, **g), resume=recording.name)
    longer = DataCollector(gym.make("Pendulum-v1", max_episode_steps=7), resume=recording.name)
    assert longer.total_episodes == 1


def test_a_collector_that_was_closed_can_go_on_unless_another_has_taken_over() -> None:
    first = DataCollector(ScriptedEnv(), buffer_steps=1)
    play(first)
    first.close()
    play(first)
    assert list_recordings()[0].episodes == 2
    first.close()
    second = DataCollector(ScriptedEnv(), resume=list_recordings()[0].name)
    with pytest.warns(UserWarning, match="2 episodes is gone"):
        play(first)
    assert len(first.create_dataset("test/first-v0")) == 1
    assert len(second.create_dataset("test/second-v0")) == 2
