"""Every way out of a program: what was recorded is written, and one line says how to go on."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import textwrap
import warnings
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

import minari
from minari import DataCollector
from minari._catalog.recordings import list_recordings
from minari.errors import CombineError, DatasetBusyError, DatasetExistsError, DatasetNotFoundError
from minari.storage.local import recover_recording
from support.programs import start
from support.scripted import ScriptedEnv, collected, listing, play, seeds


pytestmark = pytest.mark.filterwarnings("ignore:`.*` is set to None", "ignore:.* were not saved")

FORMATS = ["hdf5", "arrow", "parquet", "zarr"]

HEAD = """
import os, signal, sys, time
import numpy as np
import minari
from gymnasium import spaces
from minari import DataCollector
from support.scripted import ScriptedEnv, play
"""


def start_with_head(code: str, *flags: str) -> subprocess.Popen[str]:
    return start(HEAD + textwrap.dedent(code), flags=flags)


def program(code: str, *flags: str) -> tuple[str, str]:
    """Run a program in an interpreter of its own; its output and what it complains of."""
    return start_with_head(code, *flags).communicate(timeout=120)


ENDS = {
    "end": "",
    "sys.exit": "sys.exit(3)",
    "an exception": "raise RuntimeError('of the program')",
    "ctrl-c": "os.kill(os.getpid(), signal.SIGINT); time.sleep(9)",
}


@pytest.mark.parametrize("flags", [(), ("-W", "ignore")], ids=["warnings", "no warnings"])
@pytest.mark.parametrize("block", [False, True], ids=["plain", "with"])
@pytest.mark.parametrize("end", ENDS)
def test_every_end_writes_what_is_left_and_says_how_to_go_on(end: str, block: bool, flags: tuple[str, ...]) -> None:
    first = (
        "with DataCollector(ScriptedEnv()) as collector:" if block else "if collector := DataCollector(ScriptedEnv()):"
    )
    _, complaint = program(f"{first}\n    play(collector, 3); play(collector, steps=2)\n    {ENDS[end]}", *flags)
    (recording,) = list_recordings()
    lines = [line for line in complaint.splitlines() if "minari recover" in line]
    assert len(lines) == 1, complaint
    assert f"`minari recover {recording.name} --dataset-id ID`" in lines[0]
    assert "4 recorded episodes were not saved" in lines[0]
    assert recording.status == ("closed" if block else "the program ended")
    assert [len(episode) for episode in recover_recording(recording.name, "test/left-v0")] == [5, 5, 5, 2]
    assert list_recordings() == []


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
    _, complaint = program("""
        for number in range(3):
            collector = DataCollector(ScriptedEnv())
            play(collector, number + 1)
        saved = DataCollector(ScriptedEnv()); play(saved); saved.create_dataset("test/saved-v0")
        empty = DataCollector(ScriptedEnv()); empty.reset()
        """)
    assert sorted(recording.episodes for recording in list_recordings()) == [1, 2, 3]
    (line,) = [line for line in complaint.splitlines() if "recover" in line]
    assert "In all, 3 recordings were not saved; see `minari recover`." in line


def test_the_timer_does_not_keep_a_program_alive() -> None:
    output, _ = program("collector = DataCollector(ScriptedEnv()); play(collector); print('end')")
    assert output == "end\n"


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
    output, complaint = program("""
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
    assert output == "0\n"
    (recording,) = list_recordings()
    assert len([line for line in complaint.splitlines() if "recover" in line]) == 1
    assert recording.episodes == 3
    assert len(minari.load_dataset("test/child-v0")) in (1, 2)


def test_a_killed_program_is_told_from_one_that_is_alive() -> None:
    child = start_with_head("""
        collector = DataCollector(ScriptedEnv(), buffer_steps=1)
        play(collector, 2)
        print(flush=True)
        time.sleep(99)
        """)
    assert child.stdout is not None
    child.stdout.readline()
    (recording,) = list_recordings()
    assert recording.status == f"in progress (process {child.pid})"
    with pytest.raises(DatasetBusyError, match=f"in use by process {child.pid}"):
        DataCollector(ScriptedEnv(), resume=recording.name)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    (recording,) = list_recordings()
    assert (recording.status, recording.episodes) == ("killed or crashed", 2)


# What was to become of it


def test_what_a_failed_creation_was_given_is_kept() -> None:
    collector = collected(None, 2, buffer_steps=5)
    description = {"author": {"Ann", "Bo"}, "description": "What it is.", "algorithm_name": "rules"}
    with pytest.raises(ValueError, match="NoSuchEnv"):
        collector.create_dataset("test/wanted-v3", eval_env="NoSuchEnv-v0", **description)
    with pytest.warns(UserWarning, match=r"`minari recover \S+ --dataset-id test/wanted-v3`"):
        collector.close()
    (recording,) = list_recordings()
    assert re.match("create_dataset failed: .*NoSuchEnv", recording.status)
    dataset = recover_recording(recording.name)
    assert dataset.id == "test/wanted-v3"
    assert {key: dataset.storage.metadata[key] for key in description} == description


def test_an_id_that_is_taken_is_not_suggested_again() -> None:
    collector = collected(buffer_steps=5)
    collector.create_dataset("test/taken-v0")
    play(collector)
    with pytest.raises(DatasetExistsError):
        collector.create_dataset("test/taken-v0", author="Ann")
    with pytest.warns(UserWarning, match="^1 recorded episode was not saved.* It is kept.*--dataset-id ID`"):
        collector.close()
    assert recover_recording(list_recordings()[0].name, "test/free-v0").storage.metadata["author"] == {"Ann"}


def test_the_root_of_a_recording_that_is_elsewhere_is_named_once(tmp_path: Path) -> None:
    collector = collected(root=tmp_path)
    with pytest.warns(UserWarning, match=re.escape(f"--root {tmp_path}`")):
        collector.close()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        collector.close()


def test_a_root_that_changes_while_it_is_recorded_gets_the_dataset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collector = collected(None, 3, buffer_steps=10)
    collector.discard_episode(0)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    assert len(collector.create_dataset("moved-v0")) == 2
    assert list(minari.list_local_datasets()) == ["moved-v0"]


# Going on


@pytest.mark.parametrize("data_format", FORMATS)
def test_a_recording_is_resumed(data_format: str) -> None:
    collected(None, 2, data_format=data_format, reset={"seed": 1}).close()
    (recording,) = list_recordings()
    collector = DataCollector(ScriptedEnv(), resume=recording.name)
    assert (collector.total_episodes, collector.total_steps) == (2, 10)
    play(collector, seed=2)
    assert collector.total_episodes == 3
    dataset = collector.create_dataset("test/resumed-v0")
    assert seeds(dataset) == [1, 1, 2]
    assert dataset.storage.metadata["data_format"] == data_format
    assert list_recordings() == []


def test_a_recording_of_something_else_is_not_resumed(datasets_root: Path) -> None:
    collected().close()
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
    again.close()


@pytest.mark.parametrize(("other", "options"), [("MountainCar-v0", {}), ("Pendulum-v1", {"g": 9.0})])
def test_a_recording_of_another_environment_is_not_resumed(other: str, options: dict[str, float]) -> None:
    """Also where the spaces are the same."""
    collected(gym.make("Pendulum-v1"), action=np.zeros(1, np.float32)).close()
    (recording,) = list_recordings()
    with pytest.raises(CombineError, match=r"of another environment: (id is|kwargs)"):
        DataCollector(gym.make(other, **options), resume=recording.name)
    longer = DataCollector(gym.make("Pendulum-v1", max_episode_steps=7), resume=recording.name)
    assert longer.total_episodes == 1


def test_a_collector_that_was_closed_can_go_on_unless_another_has_taken_over() -> None:
    first = collected(buffer_steps=1)
    first.close()
    play(first)
    assert list_recordings()[0].episodes == 2
    first.close()
    second = DataCollector(ScriptedEnv(), resume=list_recordings()[0].name)
    with pytest.warns(UserWarning, match="2 episodes is gone"):
        play(first)
    assert len(first.create_dataset("test/first-v0")) == 1
    assert len(second.create_dataset("test/second-v0")) == 2
