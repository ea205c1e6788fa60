"""Readers beside a writer: ``python -m support.beside FORMAT HOW EPISODES DIRECTORY`` prints what they saw.

One process appends episodes, changes metadata and repacks all the time. Readers (threads, forked or spawned
processes) open the dataset again and again and read. Each episode holds its own number everywhere, so that a
value of another episode, or of none, is seen; and nothing is damaged, so that each report of damage is false.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

import minari
from minari.data_collector import EpisodeBuffer
from minari.errors import DatasetBusyError, MinariError


HOWS = ("threads", "forked", "spawned")
READERS = 3
LARGEST = 400  # episodes; there the writer goes on with metadata and repacking
OBSERVATIONS = spaces.Dict({"x": spaces.Box(0, 1e9, (16,), np.float64), "t": spaces.Text(8, charset="0123456789")})
ACTIONS = spaces.Box(0, 1e9, (2,), np.float64)


@dataclass
class Seen:
    """The observations of readers.

    Attributes:
        read: how many episodes.
        wrong: how many of them had other values.
        false: how many times something was said to be damaged or missing.
        first: the first thing that was wrong.
        changes: how many the writer made meanwhile.
    """

    read: int = 0
    wrong: int = 0
    false: int = 0
    first: str = ""
    changes: int = 0

    def add(self, other: Seen) -> None:
        self.read += other.read
        self.wrong += other.wrong
        self.false += other.false
        self.first = self.first or other.first
        self.changes += other.changes


def buffer(number: int) -> EpisodeBuffer:
    steps = 1 + number % 7
    return EpisodeBuffer(
        observations={"x": np.full((steps + 1, 16), float(number)), "t": [str(number)] * (steps + 1)},
        actions=np.full((steps, 2), float(number)),
        rewards=np.full(steps, float(number)),
        terminations=np.zeros(steps, bool),
        truncations=np.arange(steps) == steps - 1,
        infos={"n": np.full(steps + 1, number)},
    )


def create(directory: Path, data_format: str) -> Path:
    """The dataset, with a few episodes."""
    dataset = minari.create_dataset_from_buffers(
        "beside/writer-v0",
        [buffer(number) for number in range(5)],
        observation_space=OBSERVATIONS,
        action_space=ACTIONS,
        data_format=data_format,
        root=directory,
    )
    return Path(dataset.spec.data_path)


def write(path: Path, stop: Path) -> None:
    """Change the dataset until there is a file ``stop``, print a line at once, and the number of changes at last."""
    rng, changes = random.Random(0), 0
    print("begins", flush=True)
    while not stop.exists():
        changes += 1
        dataset = minari.open_dataset(path)
        total = dataset.total_episodes
        choice = rng.random()
        if choice < 0.8 and total < LARGEST:
            dataset.update_dataset_from_buffer([buffer(total), buffer(total + 1)])
        elif choice < 0.9:
            dataset.storage.update_episode_metadata([{"mine": total}] * total)
        else:
            dataset.storage.repack(
                compression=rng.choice(("gzip", None)) if dataset.storage.FORMAT != "arrow" else None
            )
    print(changes)


def read(path: Path, episodes: int, seed: int) -> Seen:
    """Read so many episodes, and open the dataset now and then."""
    rng, seen = random.Random(seed), Seen()
    deadline = time.monotonic() + 120
    while seen.read < episodes and time.monotonic() < deadline:
        try:
            dataset = minari.open_dataset(path)
            for number in [rng.randrange(dataset.total_episodes) for _ in range(20)]:
                _compare(dataset[number], number, seen)
        except DatasetBusyError:
            continue
        except (MinariError, OSError, ValueError, KeyError) as error:
            seen.false += 1
            seen.first = seen.first or f"{type(error).__name__}: {error}"
    return seen


def _compare(episode: Any, number: int, seen: Seen) -> None:
    expected = buffer(number)
    same = (
        np.array_equal(episode.observations["x"], expected.observations["x"])
        and list(episode.observations["t"]) == list(expected.observations["t"])
        and np.array_equal(episode.actions, expected.actions)
        and np.array_equal(episode.rewards, expected.rewards)
        and np.array_equal(episode.infos["n"], expected.infos["n"])
    )
    seen.read += 1
    if not same:
        seen.wrong += 1
        seen.first = seen.first or f"episode {number} has other values"


def _into(queue: Any, work: Callable[..., Seen], *arguments: Any) -> None:
    queue.put(asdict(work(*arguments)))


def read_beside_writer(directory: Path, data_format: str, how: str, episodes: int) -> Seen:
    """Let readers read beside a writer.

    Args:
        directory: an empty directory.
        data_format: of the dataset.
        how: one of :data:`HOWS`.
        episodes: how many are read by all of them together.
    """
    path, stop = create(directory, data_format), directory / "stop"
    program = "import sys, pathlib; from support.beside import write; write(*map(pathlib.Path, sys.argv[1:]))"
    command = [sys.executable, "-W", "ignore", "-c", program, str(path), str(stop)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()  # until it has imported everything, nobody would read beside it
        try:
            seen = _threads(path, episodes) if how == "threads" else _processes(path, episodes, how)
        finally:
            stop.touch()
        changes, errors = writer.communicate()
    if not writer.returncode:
        seen.changes = int(changes)
    else:
        seen.add(Seen(false=1, first=f"the writer failed: {errors.strip().splitlines()[-1:]}"))
    return seen


def _threads(path: Path, episodes: int) -> Seen:
    seen = Seen()
    with ThreadPoolExecutor(READERS) as threads:
        for part in threads.map(lambda seed: read(path, episodes // READERS, seed), range(READERS)):
            seen.add(part)
    return seen


def _processes(path: Path, episodes: int, how: str) -> Seen:
    """Processes; forked ones while a thread of their parent reads, which is how data loaders do it."""
    context: Any = multiprocessing.get_context("fork" if how == "forked" else "spawn")
    queue, seen, done = context.Queue(), Seen(), threading.Event()

    def keep_reading() -> None:
        while not done.is_set():
            seen.add(read(path, 20, 99))

    thread = threading.Thread(target=keep_reading)
    if how == "forked":
        thread.start()
    try:
        rounds = 4 if how == "forked" else 1
        for number in range(rounds):
            share = episodes // READERS // rounds
            arguments = [(queue, read, path, share, 10 * number + seed) for seed in range(READERS)]
            children = [context.Process(target=_into, args=one) for one in arguments]
            for child in children:
                child.start()
            for child in children:
                child.join(120)
                if child.exitcode != 0:
                    child.kill()
                    seen.add(Seen(false=1, first=f"a reader ended with {child.exitcode}"))
                else:
                    seen.add(Seen(**queue.get(timeout=10)))
    finally:
        done.set()
        if how == "forked":
            thread.join()
    return seen


def main() -> None:
    warnings.simplefilter("ignore")
    data_format, how, episodes, directory = sys.argv[1:]
    print(json.dumps(asdict(read_beside_writer(Path(directory), data_format, how, int(episodes)))))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
