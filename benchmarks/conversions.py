"""Our side of the benchmark of other formats: writing the episodes, reading, importing and exporting them."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

import minari
from benchmarks.loaders import arrays_of
from benchmarks.workloads.drawing import memory_of
from minari import interchange
from minari.data_collector import EpisodeBuffer


_SOURCE, _IMPORTED = "interchange/source-v0", "interchange/imported-v0"
_PEAK = Path("/proc/self/clear_refs")
#: Options of datasets whose frames are JPEG.
_EXPORT_OPTIONS: dict[str, Any] = {"jpeg": {"images": "jpeg"}, "encoded": {"images": "jpeg"}}
_IMPORT_OPTIONS: dict[str, Any] = {"encoded": {"images": "encoded"}}


def convert(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the seconds of an operation, and further what it found."""
    os.environ["MINARI_DATASETS_PATH"] = arguments["root"]
    return _OPERATIONS[arguments["operation"]](arguments)


def _store(arguments: dict[str, Any]) -> dict[str, Any]:
    _create(_SOURCE, arguments["kind"], arguments["size"])
    return {}


def _create(dataset_id: str, kind: str, size: int) -> None:
    spaces: dict[str, Any] = {
        "observation_space": gym.spaces.Box(-np.inf, np.inf, (17,), np.float32)
        if kind == "vectors"
        else gym.spaces.Box(0, 255, (84, 84, 3), np.uint8),
        "action_space": gym.spaces.Box(-1, 1, (6,), np.float32),
    }
    arrays: list[dict[str, Any]] = [dict(arrays_of(kind, number)) for number in range(size)]
    buffers = [EpisodeBuffer(**each) for each in arrays]
    minari.create_dataset_from_buffers(dataset_id, buffers, **spaces, jpeg_encoding=kind in _EXPORT_OPTIONS)


def _read(arguments: dict[str, Any]) -> dict[str, Any]:
    def read() -> tuple[int, float]:
        steps, rewards = 0, 0.0
        for episode in _source(arguments).episodes:
            assert isinstance(episode, EpisodeBuffer)
            steps += len(episode.rewards)
            rewards += float(np.sum(episode.rewards, dtype=np.float64))
        return steps, rewards

    _first_use(arguments)
    seconds, (steps, rewards) = _timed(read)
    return {"seconds": seconds, "steps": steps, "rewards": rewards}


def _import(arguments: dict[str, Any]) -> dict[str, Any]:
    _first_use(arguments)
    _create("interchange/first-v0", "vectors", 1)
    gc.collect()
    before = _peak_from_now()
    seconds, _ = _timed(
        lambda: interchange.import_dataset(
            arguments["path"],
            _IMPORTED,
            arguments["format"],
            data_format="hdf5",
            **_IMPORT_OPTIONS.get(arguments["kind"], {}),
        )
    )
    peak = None if before is None else memory_of("status", "VmHWM") - before
    return {"seconds": seconds, "peak": peak, "steps": int(minari.load_dataset(_IMPORTED).total_steps)}


def _export(arguments: dict[str, Any]) -> dict[str, Any]:
    dataset, place = minari.load_dataset(_SOURCE), Path(arguments["path"])
    first = place.with_name(f"first-{place.name}")
    options = _EXPORT_OPTIONS.get(arguments["kind"], {})
    interchange.export_dataset(dataset[:1], first, arguments["format"], **options)
    seconds, _ = _timed(lambda: interchange.export_dataset(dataset, place, arguments["format"], **options))
    return {"seconds": seconds}


def _first_use(arguments: dict[str, Any]) -> None:
    next(iter(_source(arguments).episodes))


def _source(arguments: dict[str, Any]) -> interchange.Source:
    options = _IMPORT_OPTIONS.get(arguments["kind"], {})
    return interchange.read(arguments["path"], arguments["format"], **options)


def _peak_from_now() -> int | None:
    """Forget the peak of memory so far, and return what is resident; None where the system does not say."""
    if not _PEAK.exists():
        return None
    _PEAK.write_text("5")
    return memory_of("status", "VmRSS")


def _timed(operation: Callable[[], Any]) -> tuple[float, Any]:
    gc.collect()
    begin = time.perf_counter()
    found = operation()
    return time.perf_counter() - begin, found


_OPERATIONS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "store": _store,
    "read": _read,
    "import": _import,
    "export": _export,
}
