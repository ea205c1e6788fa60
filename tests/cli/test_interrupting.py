"""Recordings that are interrupted or killed."""

from __future__ import annotations

import os
import select
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minari


Minari = Callable[..., Any]
Start = Callable[..., "subprocess.Popen[str]"]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")

#: A slow policy that reports by a file that the recording is in progress.
POLICY = """
import pathlib, time

class Slow:
    def __init__(self, env):
        self.steps = 0

    def __call__(self, observation):
        self.steps += 1
        if self.steps == 60:
            pathlib.Path("under-way").touch()
        time.sleep(PAUSE if self.steps >= 60 else 0)
        return 0
"""


@pytest.fixture
def start_recording(start: Start, tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """A function that starts a recording and returns when it has sixty steps."""

    def start_and_wait(*options: str, pause: float = 0.002) -> subprocess.Popen[str]:
        (tmp_path / "slow.py").write_text(POLICY.replace("PAUSE", str(pause)))
        recording = ("CartPole-v1", "--dataset-id", "slow/a-v0", "--policy", "slow:Slow", "--seed", "5")
        process = start("record", *recording, *options)
        deadline = time.monotonic() + 60
        while not (tmp_path / "under-way").exists():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(0.1)
        return process

    return start_and_wait


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_what_was_recorded_before_a_signal_is_kept(
    start_recording: Start, run: Minari, number: signal.Signals, code: int
) -> None:
    process = start_recording("--episodes", "100000")
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in err
    dataset = minari.load_dataset("slow/a-v0")
    assert dataset.total_steps >= 60
    assert out.startswith(f"Dataset slow/a-v0 recorded: {len(dataset)} episodes, {dataset.total_steps} steps, ")
    endings = [bool(episode.terminations[-1]) for episode in dataset]
    assert all(endings[:-1])
    assert all(
        np.array_equal(episode.terminations | episode.truncations, np.arange(len(episode)) == len(episode) - 1)
        for episode in dataset
    )

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


def test_a_second_signal_ends_a_step_that_hangs(start_recording: Start) -> None:
    process = start_recording("--steps", "100000", pause=300)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert minari.load_dataset("slow/a-v0").total_steps == 59


def test_a_signal_at_the_question_deletes_nothing(
    start: Start, make_dataset: Callable[..., minari.MinariDataset]
) -> None:
    make_dataset("toy/a-v0")
    process = start("delete", "toy/a-v0")
    time.sleep(3)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode in (1, 130)
    assert "Traceback" not in err
    assert list(minari.list_local_datasets()) == ["toy/a-v0"]


class TestRecover:
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

    @pytest.fixture
    def killed(self, process_environment: dict[str, str]) -> None:
        done = subprocess.run(
            [sys.executable, "-c", self.KILLED], env=process_environment, capture_output=True, timeout=60
        )
        assert done.returncode == -signal.SIGKILL, done.stderr

    def test_a_killed_recording_becomes_a_dataset(self, run: Minari, killed: None, datasets_root: Path) -> None:
        listed = run("recover")
        assert (listed.code, listed.err) == (0, "")
        (row,) = [line for line in listed.lines if "CartPole-v1" in line]
        name, env_id, episodes, steps, _ = (cell.strip() for cell in row.strip("│").split("│"))
        assert env_id == "CartPole-v1"
        assert 0 < int(episodes) <= 20
        done = run("recover", name, "--dataset-id", "saved/a-v0")
        assert (done.code, done.err) == (0, "")
        path = datasets_root / "saved" / "a-v0"
        assert done.lines == [f"Dataset saved/a-v0 recovered: {episodes} episodes, {steps} steps, at {path}"]
        dataset = minari.load_dataset("saved/a-v0")
        assert dataset.total_episodes == int(episodes)
        assert [set(episode.actions.tolist()) for episode in dataset][:2] == [{0}, {1}]
        assert run("recover").lines == [f"There are no recordings to recover in {datasets_root}."]

    def test_what_makes_no_sense_is_refused(self, run: Minari, killed: None) -> None:
        for arguments, code in (
            (["nothing", "--dataset-id", "a-v0"], 1),
            (["nothing"], 2),
            (["--dataset-id", "a-v0"], 2),
        ):
            done = run("recover", *arguments)
            assert (done.code, done.out) == (code, "")
            (complaint,) = done.complaints
            assert complaint.startswith("Error: ")
        assert minari.list_local_datasets() == {}


def test_a_terminal_that_is_closed_ends_the_recording_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pty

    (tmp_path / "slow.py").write_text(POLICY.replace("PAUSE", "0.01"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(minari.__file__).parents[1]), *filter(None, sys.path)]))
    command = ["record", "CartPole-v1", "--dataset-id", "slow/a-v0", "--policy", "slow:Slow", "--episodes", "100000"]
    child, terminal = pty.fork()
    if child == 0:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        os.chdir(tmp_path)
        os.execv(sys.executable, [sys.executable, "-m", "minari", *command])
    deadline = time.monotonic() + 60
    while not (tmp_path / "under-way").exists():
        assert time.monotonic() < deadline
        if select.select([terminal], [], [], 0.02)[0]:
            os.read(terminal, 10_000)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 129
    assert minari.load_dataset("slow/a-v0").total_steps >= 60
