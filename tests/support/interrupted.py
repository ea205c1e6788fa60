"""A server that forks recorders, interrupts them, and says what became of their episodes.

It reads seeds as JSON and writes a verdict a line: an empty text, or what is wrong. A recorder makes episodes
whose values follow from their number, reports each that has ended, and is stopped in a way and at a time
that follow from the seed.
"""

from __future__ import annotations

import atexit
import ctypes
import errno
import gc
import json
import os
import random
import shutil
import signal
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

import minari
from minari._catalog.recordings import list_recordings
from minari.data_collector import flush_timer


FORMATS = ("hdf5", "arrow", "parquet", "zarr")
WAYS = ("SIGINT", "SIGTERM", "SIGKILL", "exception", "full disk", "exit")
LOADED = ("hdf5_storage", "arrow_storage", "zarr_storage")
FLUSH_AFTER, LATE = 0.1, 3.0  # seconds: the promise, and what a busy machine may take longer


class Counted(gym.Env[Any, Any]):
    """The episode of a seed: its length, observations, rewards and infos follow from that number."""

    observation_space, action_space = gym.spaces.Box(-1e9, 1e9, (2,), np.float64), gym.spaces.Discrete(9)

    def __init__(self, fails_at: int | None) -> None:
        self.fails_at, self.steps = fails_at, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, Any]:
        self.seed, self.time = seed or 0, 0
        return self._observation(), {"text": str(self.seed)}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, Any]:
        self.steps += 1
        if self.steps == self.fails_at:
            raise RuntimeError("the environment fails")
        self.time += 1
        return self._observation(), float(self.seed), self.time > self.seed % 5, False, {"text": str(self.seed)}

    def _observation(self) -> Any:
        return np.array([self.seed, self.time], np.float64)


@dataclass(frozen=True)
class Kind:
    """A kind of recorder.

    Attributes:
        make: Makes the collector of an environment that fails at a step; options follow.
        play: Plays the episode of a number.
        wrong_values: Whether an episode differs from the one of its number.
        is_running: Whether an episode has been cut off.
        number: The number of an episode with its metadata; None for one that a save has cut off before.
    """

    make: Callable[..., Any]
    play: Callable[[Any, int], None]
    wrong_values: Callable[[Any, int], bool]
    is_running: Callable[[Any], bool]
    number: Callable[[Any, Any], int | None] = lambda episode, metadata: int(metadata["seed"])


def make_collector(fails_at: int | None, **options: Any) -> Any:
    return minari.DataCollector(Counted(fails_at), **options)


def play_episode(collector: Any, number: int) -> None:
    collector.reset(seed=number)
    over, step = False, 0
    while not over:
        _, _, over, _, _ = collector.step(step % 9)
        step += 1


def is_running(episode: Any) -> bool:
    return not episode.terminations[-1]


def wrong_values(episode: Any, seed: int) -> bool:
    """Return whether an episode differs from the one of its seed."""
    steps = seed % 5 + 1
    return not (
        np.array_equal(episode.observations, [[seed, t] for t in range(steps + 1)])
        and episode.rewards.tolist() == [seed] * steps
        and episode.actions.tolist() == [t % 9 for t in range(steps)]
        and list(episode.infos["text"]) == [str(seed)] * (steps + 1)
        and episode.terminations.tolist() == [False] * (steps - 1) + [True]
    )


ONE_AGENT = Kind(make_collector, play_episode, wrong_values, is_running)


def record(rng: random.Random, way: str, report: int, kind: Kind) -> None:
    """Record until something happens."""
    flush_timer.FLUSH_AFTER = FLUSH_AFTER
    fails_at = rng.randint(1, 200) if way == "exception" else None
    last = rng.randint(1, 50) if way == "exit" else 10**9
    saves = rng.choice([7, 40, 10**9])
    collector = kind.make(
        fails_at,
        record_infos=True,
        data_format=rng.choice(FORMATS),
        buffer_steps=rng.choice([1, 1, 20, 10_000]),
    )
    pause = rng.choice([0, 0.001])
    number = 0
    while number < last:
        number += 1
        kind.play(collector, number)
        os.write(report, f"{number} {time.monotonic()}\n".encode())
        if pause:
            time.sleep(pause)
        if number % saves == 0:
            collector.create_dataset(f"saved/part{number}-v0")


def recorder(rng: random.Random, way: str, report: int, library: str, root: Path, kind: Kind) -> None:
    """The life of a recorder, to its end as that of a program."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    if way == "full disk" and library:
        faults = ctypes.CDLL(library)
        faults.faults_arm(os.fsencode(root), ctypes.c_long(rng.randint(1, 400)), 6, errno.ENOSPC)
    status = 0
    try:
        if rng.random() < 0.5:
            record(rng, way, report, kind)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                record(rng, way, report, kind)
    except BaseException:
        status = 1
    finally:
        atexit._run_exitfuncs()
        os._exit(status)


def interrupt(seed: int, library: str, work: Path, kind: Kind) -> str:
    """Stop a recorder once; what is wrong after that."""
    rng = random.Random(seed)
    way = WAYS[seed % len(WAYS)]
    root = work / "root"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    os.environ["MINARI_DATASETS_PATH"] = str(root)
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ours)
        recorder(rng, way, theirs, library, root, kind)
    os.close(theirs)
    delay = rng.choice([0.02, 0.1, 0.3]) * rng.random() + (LATE if rng.random() < 0.04 else 0)
    if way in ("exception", "exit"):
        delay = 60
    ended = {}
    with os.fdopen(ours, "rb") as reports:
        first = reports.readline()  # so that it has begun
        started = time.monotonic()
        stopper = os.fork()
        if stopper == 0:
            while time.monotonic() < started + delay and os.getppid() != 1:
                time.sleep(0.002)
            while os.getppid() != 1:
                os.kill(child, getattr(signal, way, signal.SIGTERM))
                time.sleep(20)  # Python swallows a Ctrl-C that comes while an object is finalized
            os._exit(0)
        for line in (first, *reports):
            if line.endswith(b"\n"):
                number, moment = line.split()
                ended[int(number)] = float(moment)
    os.waitpid(child, 0)
    died = time.monotonic()
    os.kill(stopper, signal.SIGKILL)
    os.waitpid(stopper, 0)
    graceful = way in ("SIGINT", "exception", "exit")
    due = [number for number, moment in ended.items() if graceful or moment < died - FLUSH_AFTER - LATE]
    return in_child(lambda: compare(due, seed, way, kind))


def compare(due: list[int], seed: int, way: str, kind: Kind) -> str:
    """Hold what is there against what must be."""
    found: Counter[int] = Counter()
    storages = [recording.storage for recording in list_recordings()]
    storages += [minari.load_dataset(name).storage for name in minari.list_local_datasets(latest_version=False)]
    for storage in storages:
        dataset = minari.MinariDataset(storage)
        metadatas = storage.get_episode_metadata(range(len(dataset)))
        for episode, metadata in zip(dataset, metadatas, strict=True):
            number = kind.number(episode, metadata)
            if number is None:
                continue
            if not kind.is_running(episode) and kind.wrong_values(episode, number):
                return f"{seed} ({way}): the values of {number} are wrong"
            found[number] += 1
    lost = sorted(set(due) - found.keys())
    doubled = [number for number, count in found.items() if count > 1]
    if lost or doubled:
        return f"{seed} ({way}): of {len(due)} are lost {lost[:9]}, doubled {doubled[:9]}"
    return ""


def in_child(function: Any) -> str:
    """Return the result of a function in a separate process, so that this one is unchanged."""
    ours, theirs = os.pipe()
    if os.fork() == 0:
        try:
            text = function()
        except BaseException:
            text = traceback.format_exc()
        os.write(theirs, text.encode()[:60_000])
        os._exit(0)
    os.close(theirs)
    with os.fdopen(ours, "rb") as answer:
        text = answer.read().decode()
    os.wait()
    return str(text)


def main(kind: Kind = ONE_AGENT) -> None:
    """Serve."""
    library, work = sys.argv[1:]
    for name in LOADED:
        import_module(f"minari.dataset._storages.{name}")
    warnings.simplefilter("ignore")
    gc.collect()
    gc.freeze()
    for seed in json.load(sys.stdin):
        print(json.dumps(interrupt(seed, library, Path(work), kind)), flush=True)


if __name__ == "__main__":
    main()
