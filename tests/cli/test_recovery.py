"""Recordings that are interrupted or killed, and ``minari recover``."""

from __future__ import annotations

import json
import os
import select
import shlex
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import minari
from cli.conftest import MakeDataset, Minari
from minari import DataCollector
from minari.storage.recordings import list_recordings
from support.scripted import ScriptedEnv, play


Start = Callable[..., "subprocess.Popen[str]"]

pytestmark = pytest.mark.filterwarnings("ignore:`.*` is set to None")
with_signals = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")

RECORD = ("record", "CartPole-v1", "--dataset-id", "slow/a-v0", "--seed", "5", "--policy")


@pytest.fixture
def start_recording(start: Start, own_module: Path) -> Start:
    """A function that starts a recording and returns when it has sixty steps."""

    def start_and_wait(*options: str) -> subprocess.Popen[str]:
        process = start(*RECORD, *options)
        deadline = time.monotonic() + 60
        while not own_module.with_name("sixty-steps").exists():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(0.1)
        return process

    return start_and_wait


@with_signals
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_what_was_recorded_before_a_signal_is_kept(start_recording: Start, run: Minari, name: str, code: int) -> None:
    process = start_recording("own:Slow", "--episodes", "100000")
    process.send_signal(getattr(signal, name))
    out, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in err
    dataset = minari.load_dataset("slow/a-v0")
    assert dataset.total_steps >= 60
    assert out.startswith(f"Dataset slow/a-v0 recorded: {len(dataset)} episodes, {dataset.total_steps} steps, ")
    endings = [bool(episode.terminations[-1]) for episode in dataset]
    assert all(endings[:-1])
    for episode in dataset:
        ends = episode.terminations | episode.truncations
        assert np.array_equal(ends, np.arange(len(episode)) == len(episode) - 1)

    # The command that is shown goes on where it stopped.
    last = err.splitlines()[-1]
    assert f"{len(dataset)} episodes are kept" in last
    command = shlex.split(last.partition("To continue: ")[2])
    assert command[-1] == "--append"
    rest = command.index("--episodes") + 1
    assert int(command[rest]) == 100000 - sum(endings)
    command[rest] = "2"
    assert run(*command[1:]).code == 0
    extended = minari.load_dataset("slow/a-v0")
    seeds = [metadata["seed"] for metadata in extended.storage.get_episode_metadata(range(len(extended)))]
    assert seeds == list(range(5, 5 + len(dataset) + 2))


@with_signals
def test_second_signal_ends_a_step_that_hangs(start_recording: Start) -> None:
    process = start_recording("own:Hanging", "--steps", "100000")
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert minari.load_dataset("slow/a-v0").total_steps == 59


@with_signals
def test_signal_at_the_question_deletes_nothing(start: Start, make_dataset: MakeDataset) -> None:
    make_dataset("toy/a-v0")
    process = start("delete", "toy/a-v0")
    time.sleep(3)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode in (1, 130)
    assert "Traceback" not in err
    assert list(minari.list_local_datasets()) == ["toy/a-v0"]


@with_signals
def test_closed_terminal_ends_the_recording_well(own_module: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pty

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(minari.__file__).parents[1]), *filter(None, sys.path)]))
    child, terminal = pty.fork()
    if child == 0:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        os.chdir(own_module.parent)
        command = [sys.executable, "-m", "minari", *RECORD, "own:Slow", "--episodes", "100000"]
        os.execv(sys.executable, command)
    deadline = time.monotonic() + 60
    while not own_module.with_name("sixty-steps").exists():
        assert time.monotonic() < deadline
        if select.select([terminal], [], [], 0.02)[0]:
            os.read(terminal, 10_000)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 129
    assert minari.load_dataset("slow/a-v0").total_steps >= 60


KILLED = """
import os, signal
import gymnasium as gym
import minari

collector = minari.DataCollector(gym.make("CartPole-v1"), buffer_steps=50)
for seed in range(20):
    collector.reset(seed=seed)
    over = False
    while not over:
        *_, terminated, truncated, _ = collector.step(seed % 2)
        over = terminated or truncated
os.kill(os.getpid(), signal.SIGKILL)
"""


@with_signals
def test_killed_recording_becomes_a_dataset(
    run: Minari, process_environment: dict[str, str], datasets_root: Path
) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED], env=process_environment, capture_output=True, timeout=60)
    assert done.returncode == -signal.SIGKILL, done.stderr
    ((name, (env_id, episodes, steps, *_)),) = run("recover").rows.items()
    assert env_id == "CartPole-v1"
    assert 0 < int(episodes) <= 20
    place = datasets_root / "saved" / "a-v0"
    run("recover", name, "--dataset-id", "saved/a-v0").assert_done(
        f"Dataset saved/a-v0 recovered: {episodes} episodes, {steps} steps, at {place}"
    )
    dataset = minari.load_dataset("saved/a-v0")
    assert dataset.total_episodes == int(episodes)
    assert [set(episode.actions.tolist()) for episode in dataset][:2] == [{0}, {1}]
    run("recover").assert_done(f"There are no recordings to recover in {datasets_root}.")


def leave(root: Path, episodes: int = 2, **given: str) -> str:
    """Record and close; the name of the recording."""
    known = {recording.name for recording in list_recordings(root)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        collector = DataCollector(ScriptedEnv(), root=root)
        play(collector, episodes)
        if given:
            with pytest.raises(ValueError, match="NoSuchEnv"):
                collector.create_dataset(eval_env="NoSuchEnv-v0", **given)
        collector.close()
    (name,) = {recording.name for recording in list_recordings(root)} - known
    return name


@pytest.fixture
def alive(datasets_root: Path) -> DataCollector:
    """A collector with three episodes on disk."""
    collector = DataCollector(ScriptedEnv(), root=datasets_root, buffer_steps=1)
    play(collector, 3)
    return collector


def test_what_is_known_of_recordings_is_listed(run: Minari, datasets_root: Path) -> None:
    plain = leave(datasets_root)
    given = leave(datasets_root, 3, dataset_id="toy/wanted-v0", author="Ada", description="Steps\nthat count")
    rows = run("recover", COLUMNS="400").rows
    assert rows[plain][:3] == ["–", "2", "10"]
    assert ", closed " in " ".join(rows[plain])
    for text in ("toy/wanted-v0", "Ada", "Steps that count", "create_dataset failed: ", "15"):
        assert text in " ".join(rows[given])


def test_id_and_the_rest_are_kept(run: Minari, datasets_root: Path) -> None:
    name = leave(datasets_root, dataset_id="toy/wanted-v0", author="Ada", description="Steps that count")
    done = run("recover", name)
    assert done.code == 0
    assert done.lines[0].startswith("Dataset toy/wanted-v0 recovered: 2 episodes, 10 steps")
    metadata = minari.load_dataset("toy/wanted-v0").storage.metadata
    assert (metadata["author"], metadata["description"]) == ({"Ada"}, "Steps that count")


def test_recover_all_but_those_in_progress(run: Minari, datasets_root: Path, alive: DataCollector) -> None:
    plain, given = leave(datasets_root), leave(datasets_root, dataset_id="toy/wanted-v0")
    taken = leave(datasets_root, dataset_id="toy/wanted-v0")
    done = run("recover", "--all")
    assert done.code == 0
    assert any("in progress" in line for line in done.lines)
    ids = {"toy/wanted-v0", f"recovered/{plain}-v0", f"recovered/{taken}-v0"}
    assert set(minari.list_local_datasets()) in (ids, ids - {f"recovered/{taken}-v0"} | {f"recovered/{given}-v0"})
    assert [recording.is_in_progress for recording in list_recordings()] == [True]
    alive.create_dataset("toy/alive-v0")


def test_discard_asks_and_refuses_what_is_in_use(run: Minari, datasets_root: Path, alive: DataCollector) -> None:
    (in_use,) = list_recordings()
    name, other = leave(datasets_root), leave(datasets_root)
    assert run("recover", "--discard", name, answer="n\n").code == 1
    assert len(list_recordings()) == 3
    done = run("recover", "--discard", name, "--yes")
    assert (done.code, done.err) == (0, "")
    assert done.lines[-1] == f"Recording {name} deleted."
    assert {recording.name for recording in list_recordings()} == {in_use.name, other}
    assert run("recover", "--discard", name, "--yes").code == 1
    refused = run("recover", "--discard", in_use.name, "--yes")
    assert refused.code == 1
    assert "in progress (process " in refused.complaints[0]
    assert len(alive.create_dataset("toy/alive-v0")) == 3


def test_recover_in_another_root(run: Minari, tmp_path: Path) -> None:
    name = leave(tmp_path)
    assert "no recordings" in run("recover").lines[0]
    assert run("recover", name, "--dataset-id", "a-v0", "--root", str(tmp_path)).code == 0
    assert list(minari.list_local_datasets(root=tmp_path)) == ["a-v0"]


def test_list_of_recordings_in_progress(run: Minari, datasets_root: Path) -> None:
    assert "No program records" in run("list", "local", "--recordings").lines[0]
    leave(datasets_root)
    alive = DataCollector(ScriptedEnv(), root=datasets_root, buffer_steps=1)
    play(alive, 3)
    (row,) = run("list", "local", "--recordings", COLUMNS="400").rows.values()
    assert "in progress (process " in " ".join(row)
    assert "15" in row
    (listed,) = json.loads(run("list", "local", "--recordings", "--json").out).values()
    assert (listed["episodes"], listed["steps"]) == (3, 15)
    alive.create_dataset("toy/alive-v0")
