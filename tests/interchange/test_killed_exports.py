"""Exports of processes that are killed: nothing appears, and the next export removes what they have left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import minari
from minari.data_collector import EpisodeBuffer
from minari.interchange import export_dataset


pytestmark = pytest.mark.filterwarnings("ignore:`.*` is set to None")

#: An export that waits in the middle of its work.
WAITING = """
import sys, time
import minari
from minari.interchange import Format, Report, export_dataset, registry

class Waiting(Format):
    NAME = "waiting"
    def sniff(self, path): return False
    def read(self, path): raise NotImplementedError
    def write(self, dataset, path):
        path.mkdir() if sys.argv[2] == "directory" else path.touch()
        (path / "part" if path.is_dir() else path).write_text("part")
        print("waiting", flush=True)
        time.sleep(60)
        return Report("waiting", "export")

import minari.interchange.conversion as conversion
conversion.get_format = lambda name: Waiting()
export_dataset(minari.load_dataset("killed/some-v0"), sys.argv[1], "waiting")
"""


@pytest.fixture
def dataset() -> minari.MinariDataset:
    buffer = EpisodeBuffer(
        observations=np.zeros((3, 2), np.float32),
        actions=np.zeros((2, 1), np.float32),
        rewards=np.zeros(2),
        terminations=[False, True],
        truncations=[False, False],
    )
    space = gym.spaces.Box(-1, 1, (2,), np.float32)
    return minari.create_dataset_from_buffers(
        "killed/some-v0", [buffer], observation_space=space, action_space=gym.spaces.Box(-1, 1, (1,), np.float32)
    )


def begun(path: Path, kind: str) -> subprocess.Popen[bytes]:
    """Return a process that is exporting."""
    process = subprocess.Popen([sys.executable, "-c", WAITING, str(path), kind], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"waiting\n"
    return process


def ended(process: subprocess.Popen[bytes]) -> None:
    with process:
        process.send_signal(signal.SIGKILL)


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_export_removes_what_a_killed_one_has_left(dataset: Any, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "out.jsonl"
    ended(begun(path, kind))
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".out.jsonl.")
    long_ago = time.time() - 60
    os.utime(left, (long_ago, long_ago))
    (tmp_path / ".out.jsonl.mine").touch()
    export_dataset(dataset, tmp_path / "other.jsonl", "rllib")
    assert left.exists()
    export_dataset(dataset, path, "rllib")
    assert sorted(one.name for one in tmp_path.iterdir()) == [".out.jsonl.mine", "other.jsonl", "out.jsonl"]


def test_export_leaves_that_of_a_running_process(dataset: Any, tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    process = begun(path, "directory")
    try:
        (running,) = tmp_path.iterdir()
        long_ago = time.time() - 60
        os.utime(running, (long_ago, long_ago))
        export_dataset(dataset, path, "rllib")
        assert (running / "out.jsonl" / "part").read_text() == "part"
    finally:
        ended(process)
