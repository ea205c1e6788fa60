"""Programs in interpreters of their own, and a dataset that they can work on."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import gymnasium as gym

import minari
from support.scripted import play


def run(program: str, *arguments: str, flags: tuple[str, ...] = ()) -> str:
    """Return the output of a program in its own interpreter."""
    done = start(program, *arguments, flags=flags)
    out, err = done.communicate(timeout=120)
    assert done.returncode == 0, err
    return out


def start(program: str, *arguments: str, flags: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    """A program that is running, and can import what the tests import."""
    paths = [str(Path(minari.__file__).parents[1]), str(Path(__file__).parents[1])]
    command = [sys.executable, *flags, "-c", textwrap.dedent(program), *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def cartpole(dataset_id: str = "test/cartpole-v0", episodes: int = 3, **arguments: Any) -> minari.MinariDataset:
    """A dataset of CartPole whose episodes have seeds and options."""
    collector = minari.DataCollector(gym.make("CartPole-v1"), **arguments)
    collector.action_space.seed(1)
    play(collector, episodes, steps=9, seed=1, options={"low": -0.1, "high": 0.1})
    return collector.create_dataset(dataset_id)
