"""Operations that are measured in the environment of a library, one in each process."""

from __future__ import annotations

import gc
import importlib.metadata
import os
import re
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.rivals import checking
from benchmarks.rivals.registry import find
from benchmarks.rivals.rival import OURS, Draw, Rival, play
from benchmarks.rivals.source import Source, make


TRANSITIONS = 1000  # of a batch
WINDOW = 32  # steps
#: Windows of a batch of vectors, of frames, and of short episodes, whose windows are shorter.
WINDOWS = {"vectors": (256, WINDOW), "frames": (64, WINDOW), "short": (256, 4)}
_SECONDS, _LEAST, _MOST = 0.6, 3, 200  # of further batches
_MEGABYTE = 2**20


def make_source(arguments: dict[str, Any]) -> dict[str, Any]:
    """Write the source of a workload."""
    source = make(arguments["kind"], arguments["episodes"], arguments["steps"])
    source.save(Path(arguments["directory"]))
    return {"steps": source.steps, "bytes": sum(getattr(source, name).nbytes for name in vars(source))}


def operate(arguments: dict[str, Any]) -> dict[str, Any]:
    """Run an operation of a library; return its figures, in seconds and bytes."""
    rival = find(arguments["rival"], arguments.get("file"))()
    run: Callable[[Rival, dict[str, Any]], dict[str, Any]] = _OPERATIONS[arguments["operation"]]
    return run(rival, arguments)


def _write(rival: Rival, arguments: dict[str, Any]) -> dict[str, Any]:
    source, path = Source.load(Path(arguments["source"])), Path(arguments["path"])
    imports, _ = _timed(rival.prepare)
    before = _resident_from_now()
    seconds, _ = _timed(lambda: rival.write(source, path))
    peak = _peak_since(before)
    flushing, _ = _timed(lambda: flush(path))
    figures = {"imports": imports, "write": seconds, "disk": seconds + flushing, "size": bytes_below(path)}
    return {**figures, **peak, "versions": versions(rival)}


def _read(rival: Rival, arguments: dict[str, Any]) -> dict[str, Any]:
    rival.prepare()
    before = _resident_from_now()
    seconds, content = _timed(lambda: rival.read_all(rival.open(Path(arguments["path"]))))
    peak = _peak_since(before)
    source = Source.load(Path(arguments["source"]))
    checking.check_all(content, source, rival.losses(source.has_frames))
    return {"read": seconds, **{f"read_{name}": value for name, value in peak.items()}}


def _transitions(rival: Rival, arguments: dict[str, Any]) -> dict[str, Any]:
    count = arguments["count"]

    def check(batch: Any, source: Source, loses: frozenset[str]) -> None:
        checking.check_transitions(batch, source, loses, count)

    return _batches(rival, arguments, lambda opened, rng: rival.transitions(opened, count, rng), check)


def _windows(rival: Rival, arguments: dict[str, Any]) -> dict[str, Any]:
    count, length = arguments["count"], arguments["length"]

    def check(batch: Any, source: Source, loses: frozenset[str]) -> None:
        checking.check_windows(batch, source, loses, (count, length))

    return _batches(rival, arguments, lambda opened, rng: rival.windows(opened, count, length, rng), check)


def _batches(
    rival: Rival,
    arguments: dict[str, Any],
    begin: Callable[[Any, np.random.Generator], Draw | None],
    check: Callable[[Any, Source, frozenset[str]], None],
) -> dict[str, Any]:
    """Return the seconds from opening to the first batch, and of each further one; nothing if there are none."""
    rival.prepare()
    rng = np.random.default_rng(arguments["seed"])

    def first() -> tuple[Draw, Any] | None:
        draw = begin(rival.open(Path(arguments["path"])), rng)
        return None if draw is None else (draw, draw())

    seconds, found = _timed(first)
    if found is None:
        return {}
    draw, batch = found
    further: list[float] = []
    end = time.perf_counter() + _SECONDS
    last = batch
    while len(further) < _LEAST or (len(further) < _MOST and time.perf_counter() < end):
        spent, last = _timed(draw, collect=False)
        further.append(spent)
    source = Source.load(Path(arguments["source"]))
    loses = rival.losses(source.has_frames) | rival.BATCHES_LOSE
    for each in (batch, last):
        check(each, source, loses)
    name = arguments["operation"]
    return {f"first_{name}": seconds, name: statistics.median(further)}


def _record(rival: Rival, arguments: dict[str, Any]) -> dict[str, Any]:
    import gymnasium as gym

    path = Path(arguments["path"])
    env = gym.make("CartPole-v1", disable_env_checker=True)
    actions, source = _rehearse(env, arguments["steps"])
    rival.prepare()
    bare = min(_timed(lambda: play(env, actions))[0] for _ in range(3))
    recorded, _ = _timed(lambda: rival.record(env, actions, path))
    flushing, _ = _timed(lambda: flush(path))
    bare = min(bare, *(_timed(lambda: play(env, actions))[0] for _ in range(2)))
    loses = rival.losses(has_frames=False) | rival.RECORDING_LOSES
    checking.check_all(rival.read_all(rival.open(path)), source, loses)
    figures = {"record": (recorded - bare) / len(actions), "record_disk": (recorded + flushing - bare) / len(actions)}
    return {**figures, "record_size": bytes_below(path) / len(actions), "versions": versions(rival)}


def _rehearse(env: Any, steps: int) -> tuple[list[Any], Source]:
    """Return at least so many actions, the last of which ends an episode, and what the environment makes of them."""
    rng = np.random.default_rng(0)
    actions = [np.int64(number) for number in rng.integers(0, 2, steps + 1000)]
    columns: dict[str, list[Any]] = {name: [] for name in ("observations", "rewards", "terminations", "truncations")}
    ends: list[int] = []

    def keep(action: Any, result: Any) -> None:
        columns["observations"].append(result[0])
        if action is not None:
            for name, value in zip(("rewards", "terminations", "truncations"), result[1:4], strict=True):
                columns[name].append(value)
            if result[2] or result[3]:
                ends.append(len(columns["rewards"]))

    play(env, actions, keep)
    end = next(end for end in ends if end >= steps)
    lengths = np.diff([0, *ends[: ends.index(end) + 1]])
    return actions[:end], Source(
        np.array(columns["observations"][: end + len(lengths)]),
        np.array(actions[:end]),
        np.array(columns["rewards"][:end], np.float64),
        np.array(columns["terminations"][:end]),
        np.array(columns["truncations"][:end]),
        lengths,
    )


def _collect(rival: Rival, arguments: dict[str, Any]) -> dict[str, Any]:
    from benchmarks.collectors import collect

    found = collect({**arguments, "side": rival.COLLECTOR, "kind": "native", "scratch": arguments["path"]})
    if found["stored"] < 0.9:
        raise ValueError(f"only {found['stored']:.0%} of the steps were stored")
    pairs = zip(found["bare"], found["collected"], strict=True)
    return {"collect": statistics.median(collected - bare for bare, collected in pairs), "versions": versions(rival)}


_OPERATIONS = {
    "write": _write,
    "read": _read,
    "transitions": _transitions,
    "windows": _windows,
    "record": _record,
    "collect": _collect,
}


def flush(path: Path) -> None:
    """Wait until all files and directories are on the disk."""
    for place in (path, *path.rglob("*")):
        descriptor = os.open(place, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def bytes_below(path: Path) -> int:
    """Return the size of all files below a directory."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def versions(rival: Rival) -> dict[str, str]:
    """Return the versions of NumPy and of what the library requires."""
    names = ["numpy", "minari"] if rival.environment() == OURS else ["numpy"]
    names += [re.split(r"[\[<>=!~;]", requirement)[0].strip() for requirement in rival.REQUIREMENTS]
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _timed(operation: Callable[[], Any], collect: bool = True) -> tuple[float, Any]:
    if collect:
        gc.collect()
    begin = time.perf_counter()
    result = operation()
    return time.perf_counter() - begin, result


def _resident_from_now() -> int | None:
    """Return the resident bytes, and reset the peak; None where that is unknown."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return None
    return _status("VmRSS")


def _peak_since(before: int | None) -> dict[str, int]:
    return {} if before is None else {"memory": max(0, _status("VmHWM") - before)}


def _status(name: str) -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.findall(rf"^{name}:\s+(\d+) kB", status, re.MULTILINE)[0]) * 1024
